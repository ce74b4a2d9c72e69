//! A `SOCK_SEQPACKET` socket that carries whole messages and descriptors, never half of one.

use crate::cvt::{cvt, cvt_size, errno};
use std::io;
use std::mem;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// The most descriptors in one message; the kernel's limit is 253 (SCM_MAX_FD).
pub const MAX_FDS: usize = 64;

/// The sender's pidfd (unix(7), Linux 6.5); not in libc.
const SCM_PIDFD: libc::c_int = 4;

/// Room for [`MAX_FDS`] descriptors, the sender's credentials and its pidfd, aligned as cmsghdr wants.
const CONTROL_WORDS: usize = 48;
type Control = [u64; CONTROL_WORDS];

/// One end, non-blocking.
#[derive(Debug)]
pub struct PacketSocket(OwnedFd);

impl PacketSocket {
    /// Two connected ends, close-on-exec.
    pub fn pair() -> io::Result<(PacketSocket, PacketSocket)> {
        let mut ends = [0; 2];
        let kind = libc::SOCK_SEQPACKET | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
        // SAFETY: room for two descriptors.
        cvt(unsafe { libc::socketpair(libc::AF_UNIX, kind, 0, ends.as_mut_ptr()) })?;
        let [first, second] = ends;
        // SAFETY: both just created, owned by nobody else.
        unsafe { Ok((PacketSocket(OwnedFd::from_raw_fd(first)), PacketSocket(OwnedFd::from_raw_fd(second)))) }
    }

    /// Takes over a connected socket and makes it non-blocking and close-on-exec.
    pub fn from_fd(fd: OwnedFd) -> io::Result<Self> {
        crate::fd::set_nonblocking(fd.as_fd())?;
        // SAFETY: fcntl without pointers.
        cvt(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFD, libc::FD_CLOEXEC) })?;
        Ok(PacketSocket(fd))
    }

    /// Asks for send and receive buffers of `bytes`. The kernel gives what `wmem_max` and `rmem_max` permit; with
    /// CAP_NET_ADMIN more.
    pub fn set_buffers(&self, bytes: usize) {
        let bytes = libc::c_int::try_from(bytes).unwrap_or(libc::c_int::MAX);
        for (forced, plain) in [(libc::SO_SNDBUFFORCE, libc::SO_SNDBUF), (libc::SO_RCVBUFFORCE, libc::SO_RCVBUF)] {
            if set_int(self.as_fd(), forced, bytes).is_err() {
                // A smaller buffer only means more turns of the loop.
                let _smaller = set_int(self.as_fd(), plain, bytes);
            }
        }
    }

    /// Sends one message whole. `WouldBlock` when the other side does not read; EMSGSIZE when it is too large for
    /// the socket's buffer; EPIPE when the other side is gone (no SIGPIPE).
    pub fn send(&self, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        send(self.as_fd(), bytes, fds)
    }

    /// Receives one message: its length and its descriptors (close-on-exec). `None` when the other side is gone,
    /// `WouldBlock` when there is nothing. A message that is larger than `buffer`, or whose descriptors did not all
    /// arrive (MSG_CTRUNC: this process is at its limit), is `InvalidData`, and what arrived of it is closed.
    pub fn recv(&self, buffer: &mut [u8]) -> io::Result<Option<(usize, Vec<OwnedFd>)>> {
        match self.recv_even_without_fds(buffer)? {
            None => Ok(None),
            Some(Packet::Whole { len, fds }) => Ok(Some((len, fds))),
            Some(Packet::FdsLost { .. }) => {
                Err(io::Error::new(io::ErrorKind::InvalidData, "descriptors were lost: at the limit of open files"))
            }
        }
    }

    /// As [`recv`](Self::recv), but tells what was said in a message whose descriptors did not all arrive.
    pub fn recv_even_without_fds(&self, buffer: &mut [u8]) -> io::Result<Option<Packet>> {
        let received = receive(self.as_fd(), buffer)?;
        let len = received.len;
        if received.flags & libc::MSG_TRUNC != 0 {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "message truncated"));
        }
        if received.flags & libc::MSG_CTRUNC != 0 {
            return Ok(Some(Packet::FdsLost { len }));
        }
        // Nobody sends empty messages, so an empty one is the end.
        Ok((len > 0).then_some(Packet::Whole { len, fds: received.fds }))
    }
}

/// One received message.
#[derive(Debug)]
pub enum Packet {
    /// All of it.
    Whole {
        /// Bytes of the buffer that it filled.
        len: usize,
        /// Its descriptors.
        fds: Vec<OwnedFd>,
    },
    /// Its descriptors did not all arrive; those that did were closed.
    FdsLost {
        /// Bytes of the buffer that it filled.
        len: usize,
    },
}

impl AsFd for PacketSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for PacketSocket {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl From<PacketSocket> for OwnedFd {
    fn from(socket: PacketSocket) -> OwnedFd {
        socket.0
    }
}

/// Who sent a datagram, as the kernel attests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerCredentials {
    /// Process id; of a privileged sender whatever it claims.
    pub pid: i32,
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
}

/// A handle of the process that has sent something. Unlike its number it never means another process.
#[derive(Debug)]
pub enum SenderProcess {
    /// None was asked for, or the kernel gives none.
    NotTold,
    /// There was none to be had: the process is gone, or this one has no room for another descriptor.
    Gone,
    /// Its pidfd.
    Held(OwnedFd),
}

pub(crate) struct Received {
    pub(crate) len: usize,
    pub(crate) flags: libc::c_int,
    pub(crate) fds: Vec<OwnedFd>,
    pub(crate) sender: Option<PeerCredentials>,
    pub(crate) process: SenderProcess,
}

/// sendmsg(2), not waiting, with descriptors. No allocation: a child may use it between fork and exec.
pub(crate) fn send(socket: BorrowedFd<'_>, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    if fds.len() > MAX_FDS {
        return Err(errno(libc::EINVAL));
    }
    let mut control: Control = [0; CONTROL_WORDS];
    let mut iov = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    // SAFETY: all-zero is a valid msghdr.
    let mut message: libc::msghdr = unsafe { mem::zeroed() };
    message.msg_iov = &mut iov;
    message.msg_iovlen = 1;
    if !fds.is_empty() {
        let payload = libc::c_uint::try_from(mem::size_of_val(fds)).map_err(|_| errno(libc::EINVAL))?;
        message.msg_control = control.as_mut_ptr().cast();
        // SAFETY: the macros only compute; CONTROL_WORDS covers CMSG_SPACE of MAX_FDS descriptors, so the first
        // header and its data lie inside `control`, which is aligned for it.
        unsafe {
            message.msg_controllen = libc::CMSG_SPACE(payload) as _;
            let header = libc::CMSG_FIRSTHDR(&message);
            if header.is_null() {
                return Err(errno(libc::EINVAL));
            }
            (*header).cmsg_level = libc::SOL_SOCKET;
            (*header).cmsg_type = libc::SCM_RIGHTS;
            (*header).cmsg_len = libc::CMSG_LEN(payload) as _;
            let data = libc::CMSG_DATA(header).cast::<RawFd>();
            for (index, fd) in fds.iter().enumerate() {
                data.wrapping_add(index).write_unaligned(fd.as_raw_fd());
            }
        }
    }
    // SAFETY: `message` points at buffers that live through the call; the kernel only reads them.
    cvt_size(unsafe { libc::sendmsg(socket.as_raw_fd(), &message, libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL) })?;
    Ok(())
}

/// recvmsg(2), not waiting, with descriptors and credentials.
pub(crate) fn receive(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<Received> {
    receive_with(socket, buffer, 0)
}

/// As [`receive`], but the message stays in the queue, and whoever looks again gets descriptors of their own
/// (MSG_PEEK, unix(7)).
pub(crate) fn look(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<Received> {
    receive_with(socket, buffer, libc::MSG_PEEK)
}

fn receive_with(socket: BorrowedFd<'_>, buffer: &mut [u8], flags: libc::c_int) -> io::Result<Received> {
    let mut control: Control = [0; CONTROL_WORDS];
    let mut iov = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    // SAFETY: all-zero is a valid msghdr.
    let mut message: libc::msghdr = unsafe { mem::zeroed() };
    message.msg_iov = &mut iov;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = mem::size_of::<Control>() as _;
    // SAFETY: `message` points at buffers that live through the call and says their true sizes.
    let len = cvt_size(unsafe {
        libc::recvmsg(socket.as_raw_fd(), &mut message, libc::MSG_DONTWAIT | libc::MSG_CMSG_CLOEXEC | flags)
    })?;
    let mut received =
        Received { len, flags: message.msg_flags, fds: Vec::new(), sender: None, process: SenderProcess::NotTold };
    // SAFETY: the kernel wrote a well-formed chain of control messages into `control` and its length into `message`;
    // the macros stay inside it. Each descriptor appears once and is owned by nobody else.
    unsafe {
        let mut header = libc::CMSG_FIRSTHDR(&message);
        while !header.is_null() {
            let data = libc::CMSG_DATA(header);
            let size = ((*header).cmsg_len as usize).saturating_sub(libc::CMSG_LEN(0) as usize);
            match ((*header).cmsg_level, (*header).cmsg_type) {
                (libc::SOL_SOCKET, libc::SCM_RIGHTS) => {
                    for index in 0..size.div_euclid(mem::size_of::<RawFd>()) {
                        let raw = data.cast::<RawFd>().wrapping_add(index).read_unaligned();
                        received.fds.push(OwnedFd::from_raw_fd(raw));
                    }
                }
                (libc::SOL_SOCKET, libc::SCM_CREDENTIALS) if size >= mem::size_of::<libc::ucred>() => {
                    let sender = data.cast::<libc::ucred>().read_unaligned();
                    received.sender = Some(PeerCredentials { pid: sender.pid, uid: sender.uid, gid: sender.gid });
                }
                (libc::SOL_SOCKET, SCM_PIDFD) if size >= mem::size_of::<RawFd>() => {
                    let raw = data.cast::<RawFd>().read_unaligned();
                    received.process = match raw {
                        0.. => SenderProcess::Held(OwnedFd::from_raw_fd(raw)),
                        ..0 => SenderProcess::Gone,
                    };
                }
                _ => {}
            }
            header = libc::CMSG_NXTHDR(&message, header);
        }
    }
    Ok(received)
}

/// setsockopt(2) at SOL_SOCKET with an integer.
pub(crate) fn set_int(socket: BorrowedFd<'_>, option: libc::c_int, value: libc::c_int) -> io::Result<()> {
    set_int_at(socket, libc::SOL_SOCKET, option, value)
}

/// setsockopt(2) with an integer.
pub(crate) fn set_int_at(
    socket: BorrowedFd<'_>,
    level: libc::c_int,
    option: libc::c_int,
    value: libc::c_int,
) -> io::Result<()> {
    let size = libc::socklen_t::try_from(mem::size_of::<libc::c_int>()).unwrap_or(4);
    // SAFETY: the pointer is to one int of the stated size.
    cvt(unsafe { libc::setsockopt(socket.as_raw_fd(), level, option, (&raw const value).cast(), size) })?;
    Ok(())
}

/// getsockopt(2) at SOL_SOCKET of an integer.
pub(crate) fn get_int(socket: BorrowedFd<'_>, option: libc::c_int) -> io::Result<libc::c_int> {
    get_int_at(socket, libc::SOL_SOCKET, option)
}

/// getsockopt(2) with an integer.
pub(crate) fn get_int_at(socket: BorrowedFd<'_>, level: libc::c_int, option: libc::c_int) -> io::Result<libc::c_int> {
    let mut value: libc::c_int = 0;
    let mut size = libc::socklen_t::try_from(mem::size_of::<libc::c_int>()).unwrap_or(4);
    // SAFETY: the pointer is to one int of the stated size.
    cvt(unsafe { libc::getsockopt(socket.as_raw_fd(), level, option, (&raw mut value).cast(), &mut size) })?;
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_arrives_whole_with_its_descriptors() {
        let (left, right) = PacketSocket::pair().unwrap();
        let (read, write) = crate::fd::pipe().unwrap();
        left.send(b"hello", &[read.as_fd(), write.as_fd()]).unwrap();
        let mut buffer = [0; 64];
        let (len, fds) = right.recv(&mut buffer).unwrap().unwrap();
        assert_eq!(&buffer[..len], b"hello");
        assert_eq!(fds.len(), 2);
        crate::fd::write(fds[1].as_fd(), b"x").unwrap();
        assert_eq!(crate::fd::read(read.as_fd(), &mut buffer).unwrap(), 1);
    }

    #[test]
    fn nothing_there_would_block_and_a_closed_peer_is_the_end() {
        let (left, right) = PacketSocket::pair().unwrap();
        let mut buffer = [0; 8];
        assert_eq!(right.recv(&mut buffer).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        drop(left);
        assert!(right.recv(&mut buffer).unwrap().is_none());
        assert_eq!(right.send(b"x", &[]).unwrap_err().raw_os_error(), Some(libc::EPIPE));
    }

    #[test]
    fn a_message_that_does_not_fit_is_refused_and_the_next_one_arrives() {
        let (left, right) = PacketSocket::pair().unwrap();
        left.send(b"0123456789", &[]).unwrap();
        left.send(b"next", &[]).unwrap();
        let mut buffer = [0; 8];
        assert_eq!(right.recv(&mut buffer).unwrap_err().kind(), io::ErrorKind::InvalidData);
        assert_eq!(right.recv(&mut buffer).unwrap().unwrap().0, 4);
    }

    #[test]
    fn the_largest_number_of_descriptors_goes_through() {
        let (left, right) = PacketSocket::pair().unwrap();
        let (read, _write) = crate::fd::pipe().unwrap();
        left.send(b"many", &vec![read.as_fd(); MAX_FDS]).unwrap();
        assert_eq!(right.recv(&mut [0; 8]).unwrap().unwrap().1.len(), MAX_FDS);
        assert!(left.send(b"too many", &vec![read.as_fd(); MAX_FDS + 1]).is_err());
    }
}
