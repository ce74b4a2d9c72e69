//! Why a listener cannot be had, in words, with the way out.

use std::io;
use std::net::SocketAddr;

use svd_sys::owner::{self, Owner};

/// What was to be bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A TCP port.
    Tcp,
    /// A UDP port.
    Udp,
}

/// Why the address cannot be bound.
pub fn bind(error: &io::Error, kind: Kind, address: SocketAddr) -> String {
    let port = address.port();
    match error.kind() {
        io::ErrorKind::AddrInUse => taken(kind, address),
        io::ErrorKind::PermissionDenied if port < 1024 => format!(
            "port {port} is refused ({error}): ports below 1024 are for root; start svd as root, give it \
             CAP_NET_BIND_SERVICE, or lower net.ipv4.ip_unprivileged_port_start"
        ),
        io::ErrorKind::AddrNotAvailable => format!("{} is no address of this machine", address.ip()),
        _ if error.raw_os_error() == Some(AFNOSUPPORT) => format!("{}: this machine has no IPv6", address.ip()),
        _ => format!("{address} cannot be listened on: {error}"),
    }
}

const AFNOSUPPORT: i32 = 97;

fn taken(kind: Kind, address: SocketAddr) -> String {
    let port = address.port();
    let owner = match kind {
        Kind::Tcp => owner::of_tcp(address),
        Kind::Udp => owner::of_udp(address),
    };
    // Where the kernel does not tell, nobody is named.
    match owner.unwrap_or_default() {
        Some(Owner { pid, name }) => {
            format!("port {port} is taken by {name} (pid {pid}); stop that or choose another port")
        }
        None => {
            let flag = if kind == Kind::Tcp { "-ltnp" } else { "-lunp" };
            format!("port {port} is taken by another program (as root, ss {flag} tells which); choose another port")
        }
    }
}
