//! Connections whose handshake has begun and not ended.
//!
//! They belong already to the listening socket that the first packet was directed to, and will be in its accept queue
//! when the client's answer comes, however late. Whoever wants to stop accepting from a socket has to wait for those
//! that there are.

use crate::netdiag::{Protocol, SYN_RECV, Source, list, source};
use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;

/// Both ends of one. IPv4 addresses in IPv6 form, as an IPv6 socket has them, are IPv4 addresses here.
#[derive(PartialEq, Eq, PartialOrd, Ord, Hash, Clone, Copy, Debug)]
pub struct Handshake {
    /// Our end.
    pub local: SocketAddr,
    /// The client's.
    pub remote: SocketAddr,
}

/// Those that are pending at this local port (state TCP_SYN_RECV), in this network namespace. The kernel gives each up after about a
/// minute (net.ipv4.tcp_synack_retries). It does not know of those that it answered with a SYN cookie: they are told by
/// the weights of the [`crate::gate`] again when they complete.
pub fn pending(port: u16) -> io::Result<BTreeSet<Handshake>> {
    let rows = list(Protocol::Tcp, SYN_RECV, port)?;
    // An accepted connection is never in this state, but for one that TCP fast open lets in early.
    Ok(rows.into_iter().map(|row| Handshake { local: row.local, remote: row.remote }).collect())
}

/// Where [`pending`] has it from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// The kernel is asked for the connections of one port (sock_diag(7)).
    Netlink,
    /// /proc/net/tcp and tcp6 are read, with all connections there are.
    Proc,
}

/// How [`pending`] works on this host; the error of the second way where neither does.
pub fn way() -> io::Result<Way> {
    source().map(|source| match source {
        Source::Netlink => Way::Netlink,
        Source::Proc => Way::Proc,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::listen::{self, Group};
    use std::io::Write;
    use std::net::TcpStream;
    use std::os::fd::AsFd;

    #[test]
    fn a_half_open_connection_is_pending_until_it_is_complete() {
        for (address, client) in
            [("127.0.0.1:0", "127.0.0.1"), ("[::1]:0", "::1"), ("[::]:0", "127.0.0.1"), ("[::]:0", "::1")]
        {
            let listener = listen::tcp(address.parse().unwrap(), false, Group::Alone, 10).unwrap();
            let port = listen::address(listener.as_fd()).unwrap().port();
            // With this option the server's side stays where it is until the client has sent something (tcp(7)).
            crate::packet::set_int_at(listener.as_fd(), libc::IPPROTO_TCP, libc::TCP_DEFER_ACCEPT, 30).unwrap();
            assert!(pending(port).unwrap().is_empty());
            let mut stream = TcpStream::connect((client, port)).unwrap();
            let expected = Handshake { local: stream.peer_addr().unwrap(), remote: stream.local_addr().unwrap() };
            assert_eq!(pending(port).unwrap().into_iter().collect::<Vec<_>>(), [expected], "{address} {client}");
            assert_eq!(listen::waiting(listener.as_fd()).unwrap(), 0);
            stream.write_all(b"x").unwrap();
            // On the loopback the packet has arrived when the call returns.
            assert!(pending(port).unwrap().is_empty());
            assert_eq!(listen::waiting(listener.as_fd()).unwrap(), 1);
        }
    }
}
