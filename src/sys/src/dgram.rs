//! Unix datagram sockets, as sd_notify(3) uses them, and who is at the other end of a stream socket.

use crate::cvt::cvt;
use crate::packet::{PeerCredentials, receive, set_int};
use std::io;
use std::mem;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::path::Path;

/// A datagram socket bound to `path`, close-on-exec, that asks for the sender's credentials. EADDRINUSE where the
/// path exists.
pub fn unix_dgram_bind(path: &Path) -> io::Result<OwnedFd> {
    let socket: OwnedFd = UnixDatagram::bind(path)?.into();
    pass_credentials(socket.as_fd())?;
    Ok(socket)
}

/// Asks for the sender's credentials with each datagram (`SO_PASSCRED`).
pub fn pass_credentials(socket: BorrowedFd<'_>) -> io::Result<()> {
    set_int(socket, libc::SO_PASSCRED, 1)
}

/// One received datagram.
#[derive(Debug)]
pub enum Datagram {
    /// It arrived whole: its length, and who sent it.
    Whole {
        /// Bytes of the buffer that it filled; 0 for an empty datagram.
        len: usize,
        /// Its sender, where the kernel said so.
        sender: Option<PeerCredentials>,
        /// The descriptors that came along, close-on-exec; at most [`MAX_FDS`](crate::packet::MAX_FDS).
        fds: Vec<OwnedFd>,
    },
    /// It, or what came with it, did not fit. What arrived of it is closed.
    Truncated,
}

/// Receives one datagram, not waiting.
pub fn recv(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<Datagram> {
    let received = receive(socket, buffer)?;
    if received.flags & (libc::MSG_TRUNC | libc::MSG_CTRUNC) != 0 {
        return Ok(Datagram::Truncated);
    }
    Ok(Datagram::Whole { len: received.len, sender: received.sender, fds: received.fds })
}

/// Who connected a Unix stream socket (`SO_PEERCRED`), as of the moment it connected. Of a socket pair it tells the
/// creator, which is of no use.
pub fn peer_credentials(socket: BorrowedFd<'_>) -> io::Result<PeerCredentials> {
    let mut peer = libc::ucred { pid: 0, uid: 0, gid: 0 };
    let mut size = libc::socklen_t::try_from(mem::size_of::<libc::ucred>()).unwrap_or(0);
    // SAFETY: `peer` has the stated size.
    cvt(unsafe {
        libc::getsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_PEERCRED, (&raw mut peer).cast(), &mut size)
    })?;
    Ok(PeerCredentials { pid: peer.pid, uid: peer.uid, gid: peer.gid })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_datagram_tells_who_sent_it_and_a_large_one_is_truncated() {
        let path = std::env::temp_dir().join(format!("svd-sys-dgram-{}", std::process::id()));
        let _gone = std::fs::remove_file(&path);
        let socket = unix_dgram_bind(&path).unwrap();
        let sender = UnixDatagram::unbound().unwrap();
        sender.send_to(b"READY=1", &path).unwrap();
        sender.send_to(&[b'x'; 100], &path).unwrap();
        let mut buffer = [0; 64];
        let Datagram::Whole { len: 7, sender: Some(who), .. } = recv(socket.as_fd(), &mut buffer).unwrap() else {
            panic!("not as sent");
        };
        assert_eq!(who.pid, std::process::id().cast_signed());
        assert!(matches!(recv(socket.as_fd(), &mut buffer).unwrap(), Datagram::Truncated));
        std::fs::remove_file(path).unwrap();
    }
}
