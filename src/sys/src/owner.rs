//! Who has a port: for the words of an error.

use crate::netdiag::{ANY, BOUND, LISTEN, Protocol, Row, holder, list};
use std::fs;
use std::io;
use std::net::SocketAddr;

/// A process that has a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// Its process id.
    pub pid: i32,
    /// Its name, as ps(1) shows it.
    pub name: String,
}

/// The process whose TCP socket keeps us from listening on this address. `None` where there is none, or where its owner
/// cannot be seen: it is another user's, or in another container.
pub fn of_tcp(address: SocketAddr) -> io::Result<Option<Owner>> {
    of(address, list(Protocol::Tcp, LISTEN | BOUND, address.port())?)
}

/// As [`of_tcp`], of UDP.
pub fn of_udp(address: SocketAddr) -> io::Result<Option<Owner>> {
    of(address, list(Protocol::Udp, ANY, address.port())?)
}

fn of(address: SocketAddr, rows: Vec<Row>) -> io::Result<Option<Owner>> {
    let ip = address.ip().to_canonical();
    let collides = |row: &Row| {
        let other = row.local.ip();
        other == ip || other.is_unspecified() || ip.is_unspecified()
    };
    for row in rows.into_iter().filter(|row| row.inode != 0 && collides(row)) {
        let all = fs::read_dir("/proc")?.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
        // Those that may not be looked at are as good as not there.
        if let Ok(Some(pid)) = holder(row.inode, all) {
            let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            return Ok(Some(Owner { pid, name: name.trim_end().to_owned() }));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, UdpSocket};

    #[test]
    fn the_process_that_has_a_port_is_named() {
        let us = |owner: io::Result<Option<Owner>>| owner.unwrap().map(|owner| owner.pid);
        let me = Some(std::process::id().cast_signed());
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = listener.local_addr().unwrap();
        assert_eq!(us(of_tcp(at)), me);
        assert_eq!(us(of_tcp(SocketAddr::new([0, 0, 0, 0].into(), at.port()))), me, "a wildcard collides with it");
        assert_eq!(us(of_tcp(SocketAddr::new([127, 0, 0, 2].into(), at.port()))), None);
        let name = fs::read_to_string("/proc/self/comm").unwrap();
        assert_eq!(of_tcp(at).unwrap().unwrap().name, name.trim_end());
        drop(listener);
        assert_eq!(us(of_tcp(at)), None);
        let wide = UdpSocket::bind("[::]:0").unwrap();
        let at = SocketAddr::new([127, 0, 0, 1].into(), wide.local_addr().unwrap().port());
        assert_eq!(us(of_udp(at)), me);
        assert_eq!(us(of_tcp(at)), None);
    }
}
