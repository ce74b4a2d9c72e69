//! Unix datagram sockets, as sd_notify(3) uses them, and who is at the other end of a stream socket.

use crate::cvt::cvt;
use crate::packet::{PeerCredentials, SenderProcess, receive, set_int};
use std::io;
use std::mem;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;

/// A datagram socket bound to `path`, close-on-exec, that asks for the sender's credentials. EADDRINUSE where the
/// path exists.
pub fn unix_dgram_bind(path: &Path) -> io::Result<OwnedFd> {
    let socket: OwnedFd = UnixDatagram::bind(path)?.into();
    pass_credentials(socket.as_fd())?;
    Ok(socket)
}

/// A datagram socket whose datagrams go to `name`, close-on-exec: a path, or with `@` in front a name of the abstract namespace,
/// as `$NOTIFY_SOCKET` has it (sd_notify(3)). EINVAL for other names; ENOENT and ECONNREFUSED where nobody receives.
pub fn connect(name: &[u8]) -> io::Result<OwnedFd> {
    let address = match name {
        [b'@', rest @ ..] => SocketAddr::from_abstract_name(rest)?,
        [b'/', ..] => SocketAddr::from_pathname(std::ffi::OsStr::from_bytes(name))?,
        _ => return Err(io::ErrorKind::InvalidInput.into()),
    };
    let socket = UnixDatagram::unbound()?;
    socket.connect_addr(&address)?;
    Ok(socket.into())
}

/// Sends one datagram with descriptors, not waiting: EAGAIN where the receiver's queue is full, and then the socket becomes
/// writable when there is room.
pub fn send(socket: BorrowedFd<'_>, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    crate::packet::send(socket, bytes, fds)
}

/// Asks for the sender's credentials with each datagram (`SO_PASSCRED`).
pub fn pass_credentials(socket: BorrowedFd<'_>) -> io::Result<()> {
    set_int(socket, libc::SO_PASSCRED, 1)
}

/// Asks for a pidfd of the sender with each datagram, or for none any more (`SO_PASSPIDFD`, Linux 6.5). Whoever receives from this
/// socket then has to take it, so it is for him to ask, and to take that back before somebody else receives.
pub fn pass_process(socket: BorrowedFd<'_>, wanted: bool) -> io::Result<()> {
    set_int(socket, libc::SO_PASSPIDFD, wanted.into())
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
        /// A handle of it, where one was asked for.
        process: SenderProcess,
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
    Ok(Datagram::Whole { len: received.len, sender: received.sender, process: received.process, fds: received.fds })
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
        // and where the kernel can, it comes with a handle of its process, also when there is no room for more descriptors
        if pass_process(socket.as_fd(), true).is_ok() {
            let largest = vec![socket.as_fd(); crate::packet::MAX_FDS];
            for fds in [&[][..], &largest] {
                let connected = connect(path.as_os_str().as_bytes()).unwrap();
                send(connected.as_fd(), b"READY=1", fds).unwrap();
                let Datagram::Whole { process: SenderProcess::Held(process), fds: got, .. } =
                    recv(socket.as_fd(), &mut buffer).unwrap()
                else {
                    panic!("without a pidfd");
                };
                assert_eq!((crate::pidfd::pid_of(process.as_fd()), got.len()), (Some(who.pid), fds.len()));
            }
        }
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn a_connected_socket_reaches_paths_and_abstract_names_with_descriptors() {
        let path = std::env::temp_dir().join(format!("svd-sys-dgram-to-{}", std::process::id()));
        let _gone = std::fs::remove_file(&path);
        let at_path = UnixDatagram::bind(&path).unwrap();
        let name = format!("svd-sys-dgram-{}", std::process::id());
        let at_name = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        for (to, receiver) in [(path.as_os_str().as_bytes(), &at_path), (format!("@{name}").as_bytes(), &at_name)] {
            let socket = connect(to).unwrap();
            send(socket.as_fd(), b"FDSTORE=1", &[receiver.as_fd()]).unwrap();
            let got = receive(receiver.as_fd(), &mut [0; 64]).unwrap();
            assert_eq!((got.len, got.fds.len()), (9, 1));
            // and where nobody reads, nobody waits
            let full = (0..10_000).find_map(|_| send(socket.as_fd(), b"x", &[]).err()).unwrap();
            assert_eq!(full.kind(), io::ErrorKind::WouldBlock);
        }
        std::fs::remove_file(&path).unwrap();
        assert_eq!(connect(path.as_os_str().as_bytes()).unwrap_err().kind(), io::ErrorKind::NotFound);
        assert_eq!(connect(b"vsock:2:1").unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }
}
