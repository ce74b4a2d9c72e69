//! Who has accepted a connection.

use crate::netdiag::{connection, holder as process, unix_peer};
use std::io;
use std::net::SocketAddr;
use std::os::fd::BorrowedFd;

/// The process among these that holds the server's side of the TCP connection between `local` (the server's end) and
/// `remote` (the client's). `None` where none of them does: it is not accepted yet, or by somebody else, or closed again.
/// Where several have it, the first. EACCES where it is none that can be seen, but one of them may not be looked at.
pub fn holder(local: SocketAddr, remote: SocketAddr, among: &[i32]) -> io::Result<Option<i32>> {
    match connection(local, remote)? {
        Some(row) if row.inode != 0 => process(row.inode, among.iter().copied()),
        _ => Ok(None),
    }
}

/// As [`holder`], of the connection of a Unix socket, of which `client` is the client's side. ENOENT also where the kernel does
/// not tell (unix_diag).
pub fn unix_holder(client: BorrowedFd<'_>, among: &[i32]) -> io::Result<Option<i32>> {
    match unix_peer(crate::listen::cookie(client)?)? {
        Some(inode) => process(inode, among.iter().copied()),
        None => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn so_has_one_of_a_unix_socket() {
        use std::os::fd::AsFd;
        use std::os::linux::net::SocketAddrExt;
        let me = std::process::id().cast_signed();
        let address = std::os::unix::net::SocketAddr::from_abstract_name(format!("svd-accepted-{me}")).unwrap();
        let listener = std::os::unix::net::UnixListener::bind_addr(&address).unwrap();
        let client = std::os::unix::net::UnixStream::connect_addr(&address).unwrap();
        let holder = |among: &[i32]| match unix_holder(client.as_fd(), among) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                eprintln!("SKIPPED: this kernel does not tell of Unix sockets");
                None
            }
            other => Some(other.unwrap()),
        };
        let Some(nobody) = holder(&[me]) else { return };
        assert_eq!(nobody, None);
        let _accepted = listener.accept().unwrap();
        assert_eq!(holder(&[1, me]), Some(Some(me)));
        assert_eq!(holder(&[]), Some(None));
    }

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
