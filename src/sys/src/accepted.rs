//! Who has accepted a connection.

use crate::netdiag::{connection, holder as process};
use std::io;
use std::net::SocketAddr;

/// The process among these that holds the server's side of the TCP connection between `local` (the server's end) and
/// `remote` (the client's). `None` where none of them does: it is not accepted yet, or by somebody else, or closed again.
/// Where several have it, the first. EACCES where it is none that can be seen, but one of them may not be looked at.
pub fn holder(local: SocketAddr, remote: SocketAddr, among: &[i32]) -> io::Result<Option<i32>> {
    match connection(local, remote)? {
        Some(row) if row.inode != 0 => process(row.inode, among.iter().copied()),
        _ => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn a_connection_has_a_holder_from_the_moment_it_is_accepted() {
        for (address, client) in [("127.0.0.1:0", "127.0.0.1"), ("[::]:0", "127.0.0.1"), ("[::]:0", "::1")] {
            let listener = TcpListener::bind(address).unwrap();
            let stream = TcpStream::connect((client, listener.local_addr().unwrap().port())).unwrap();
            let (server, ours) = (stream.peer_addr().unwrap(), stream.local_addr().unwrap());
            let me = std::process::id().cast_signed();
            assert_eq!(holder(server, ours, &[me]).unwrap(), None);
            let accepted = listener.accept().unwrap();
            assert_eq!(holder(server, ours, &[1, me]).unwrap(), Some(me));
            assert_eq!(holder(server, ours, &[]).unwrap(), None);
            drop((accepted, stream));
            assert_eq!(holder(server, ours, &[me]).unwrap(), None);
        }
    }
}
