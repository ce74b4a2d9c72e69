//! Intercepted bind(2), listen(2) and shutdown(2) calls: the side that is told of them and answers.
//!
//! A child that is started with a [`channel`]'s one end hands out the listener of its system call filter over it
//! (seccomp_unotify(2)). Here it is looked at, never taken out: the descriptor stays in the queue of our end, so whoever
//! holds that end can always get another copy, and the calls of the child's programs find a listener for as long as it
//! is held. (Without any they fail with ENOSYS.)
//!
//! A call waits until it is answered, its task is killed, or a signal comes: then the task may make it again, as a new
//! call. What is read of a task is worth something only if the call still waits afterwards, since its number may have
//! gone to another one; the functions here look after the reading. The program can change its memory while we look; that
//! is its own affair, as nothing here guards anything against it.
//!
//! Looking into a task needs what ptrace(2) needs: the same user, or CAP_SYS_PTRACE. Without it, root becomes the task's
//! user for the moment, in a process of its own. Where Yama lets only ancestors look (ptrace_scope 1), the child itself
//! has permitted it, but not for those whom it forks. What remains is EPERM or EACCES: the call can still be answered with
//! [`Answer::Continue`].

use crate::cvt::{cvt, errno};
use crate::{fd, filter, packet, task};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::path::PathBuf;

pub use crate::ledger::Ledger;
pub use crate::task::{Kind, Sock};

/// The two ends over which a listener comes: ours (close-on-exec, non-blocking) and the child's, to be given to
/// [`crate::spawn::Child::filter`]. ENOSYS before Linux 5.9, which lacks what an answer needs.
pub fn channel() -> io::Result<(OwnedFd, OwnedFd)> {
    if !is_at_least(nix::sys::utsname::uname()?.release().to_str().unwrap_or_default(), (5, 9)) {
        return Err(errno(libc::ENOSYS));
    }
    let mut ends = [0; 2];
    let kind = libc::SOCK_SEQPACKET | libc::SOCK_CLOEXEC;
    // SAFETY: room for two descriptors.
    cvt(unsafe { libc::socketpair(libc::AF_UNIX, kind, 0, ends.as_mut_ptr()) })?;
    let [ours, childs] = ends;
    // SAFETY: both just created, owned by nobody else.
    let (ours, childs) = unsafe { (OwnedFd::from_raw_fd(ours), OwnedFd::from_raw_fd(childs)) };
    fd::set_nonblocking(ours.as_fd())?;
    Ok((ours, childs))
}

fn is_at_least(release: &str, wanted: (u32, u32)) -> bool {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|number| number.parse::<u32>().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= wanted
}

/// What a child has handed out.
#[derive(Debug)]
pub enum Handed {
    /// Nothing yet; our end becomes readable when it does.
    Nothing,
    /// The listener: a copy of our own, close-on-exec. It is readable while a call waits that nobody has received, and hangs
    /// up when the last process that has the filter has ended (before Linux 6.11: when it was reaped).
    Listener(OwnedFd),
    /// The kernel did not let the child have its filter, for this reason: its calls are not intercepted. EBUSY: it has one
    /// already, because svd itself runs under one that has a listener.
    Refused(io::Error),
    /// The child ended before it came to that.
    Closed,
}

/// What has come over our end of the [`channel`]; it stays there for those who look later, so that the end is readable for
/// ever after: whoever waits for it stops then. EMFILE where this process has no
/// room for another descriptor.
pub fn peek(ours: BorrowedFd<'_>) -> io::Result<Handed> {
    let mut buffer = [0; 8];
    let mut received = match packet::look(ours, &mut buffer) {
        Ok(received) => received,
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Handed::Nothing),
        Err(error) => return Err(error),
    };
    match (buffer.get(..received.len).unwrap_or_default(), received.fds.pop()) {
        ([], _) => Ok(Handed::Closed),
        ([filter::LISTENER], Some(listener)) => Ok(Handed::Listener(listener)),
        ([filter::LISTENER], None) => Err(errno(libc::EMFILE)),
        ([filter::REFUSED, a, b, c, d], _) => Ok(Handed::Refused(errno(i32::from_le_bytes([*a, *b, *c, *d])))),
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}

/// One call that waits for an answer. It is written down in a [`Ledger`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// What it was received under.
    pub tag: u64,
    /// The thread that makes it, as this process sees its number; 0 where it cannot see it.
    pub pid: i32,
    /// Which call.
    pub what: What,
    pub(crate) id: u64,
    pub(crate) entry: usize,
}

/// Which call, with its arguments as they stood in the registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// bind(2).
    Bind {
        /// The caller's descriptor.
        fd: i32,
        /// Where in its memory the address is.
        address: u64,
        /// The address's length in bytes.
        len: u32,
    },
    /// listen(2).
    Listen {
        /// The caller's descriptor.
        fd: i32,
    },
    /// shutdown(2) of reading, or of both ways.
    Shutdown {
        /// The caller's descriptor.
        fd: i32,
    },
    /// One that the filter does not tell: [`Answer::Continue`] is right.
    Other,
}

/// What a bind is to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bound {
    /// An IPv4 or IPv6 address and port, as the program gave them (IPv4 in IPv6 form stays so).
    Inet(SocketAddr),
    /// The bytes of a Unix socket's path, not empty, as the program gave it: relative to its working directory where it
    /// does not begin with a slash; an abstract one begins with NUL.
    Unix(Vec<u8>),
    /// Something else, or what the kernel is going to refuse.
    Else,
}

/// Whether the call still waits for its answer (SECCOMP_IOCTL_NOTIF_ID_VALID).
pub fn is_waiting(listener: BorrowedFd<'_>, call: &Call) -> io::Result<bool> {
    // SAFETY: the kernel reads one u64.
    match cvt(unsafe { libc::ioctl(listener.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_ID_VALID, &raw const call.id) }) {
        Ok(_) => Ok(true),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(false),
        Err(error) => Err(error),
    }
}

/// ENOENT where the call does not wait any more.
fn still(listener: BorrowedFd<'_>, call: &Call) -> io::Result<()> {
    if is_waiting(listener, call)? { Ok(()) } else { Err(errno(libc::ENOENT)) }
}

/// The address of a bind, read from the task's memory. ENOENT where the call does not wait any more; EINVAL where it is
/// no bind; EPERM or EACCES where this process may not look; EFAULT where there is nothing at the address.
pub fn address_of(listener: BorrowedFd<'_>, call: &Call) -> io::Result<Bound> {
    let What::Bind { address, len, .. } = call.what else { return Err(errno(libc::EINVAL)) };
    let mut bytes = [0; std::mem::size_of::<libc::sockaddr_storage>()];
    let Some(bytes) = usize::try_from(len).ok().and_then(|len| bytes.get_mut(..len)) else { return Ok(Bound::Else) };
    let read = task::memory(call.pid, address, bytes);
    still(listener, call)?;
    read.map(|()| parse(bytes))
}

/// A sockaddr as bind(2) takes it.
fn parse(bytes: &[u8]) -> Bound {
    let Some((family, rest)) = bytes.split_first_chunk::<2>() else { return Bound::Else };
    match i32::from(u16::from_ne_bytes(*family)) {
        libc::AF_INET => {
            // Port, address, eight bytes of nothing, all of which the kernel wants to be there.
            let ([a, b, c, d, e, f, ..], true) = (rest, rest.len() >= 14) else { return Bound::Else };
            let port = u16::from_be_bytes([*a, *b]);
            Bound::Inet(SocketAddrV4::new(Ipv4Addr::new(*c, *d, *e, *f), port).into())
        }
        libc::AF_INET6 => {
            let Some((port, rest)) = rest.split_first_chunk::<2>() else { return Bound::Else };
            let Some((flow, rest)) = rest.split_first_chunk::<4>() else { return Bound::Else };
            let Some((ip, rest)) = rest.split_first_chunk::<16>() else { return Bound::Else };
            // A short form without it is allowed (RFC 2133).
            let scope = rest.first_chunk::<4>().map_or(0, |scope| u32::from_ne_bytes(*scope));
            let (port, flow) = (u16::from_be_bytes(*port), u32::from_ne_bytes(*flow));
            Bound::Inet(SocketAddrV6::new(Ipv6Addr::from(*ip), port, flow, scope).into())
        }
        libc::AF_UNIX => match rest {
            // No name at all: the kernel gives one.
            [] => Bound::Else,
            [0, ..] => Bound::Unix(rest.to_vec()),
            path => Bound::Unix(path.iter().copied().take_while(|byte| *byte != 0).collect()),
        },
        _ => Bound::Else,
    }
}

/// The socket behind a descriptor of the caller's. ENOENT where the call does not wait any more; EBADF where the
/// descriptor is not open, ENOTSOCK where it is no socket; EPERM or EACCES where this process may not look.
pub fn socket_of(listener: BorrowedFd<'_>, call: &Call, fd: i32) -> io::Result<Sock> {
    let socket = task::socket(call.pid, fd);
    still(listener, call)?;
    socket
}

/// The working directory of the caller, which relative paths of Unix sockets are relative to. Errors as of [`socket_of`].
pub fn directory_of(listener: BorrowedFd<'_>, call: &Call) -> io::Result<PathBuf> {
    let directory = task::directory(call.pid);
    still(listener, call)?;
    directory
}

/// Puts a socket of ours in the place of the caller's descriptor (SECCOMP_IOCTL_NOTIF_ADDFD), which needs no more than the
/// listener. It waits for the caller to take it, which it does as soon as it gets a processor. ENOENT or ESRCH where the call does not
/// wait any more; EBADF where the number is beyond the caller's limit.
pub fn replace(listener: BorrowedFd<'_>, call: &Call, fd: i32, by: BorrowedFd<'_>, cloexec: bool) -> io::Result<()> {
    let number = |fd: i32| u32::try_from(fd).map_err(|_| errno(libc::EBADF));
    let add = libc::seccomp_notif_addfd {
        id: call.id,
        flags: u32::try_from(libc::SECCOMP_ADDFD_FLAG_SETFD).unwrap_or(1),
        srcfd: number(by.as_raw_fd())?,
        newfd: number(fd)?,
        newfd_flags: if cloexec { libc::O_CLOEXEC.cast_unsigned() } else { 0 },
    };
    loop {
        // SAFETY: the kernel reads one seccomp_notif_addfd.
        match cvt(unsafe { libc::ioctl(listener.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_ADDFD, &raw const add) }) {
            Ok(_) => return Ok(()),
            Err(error) if error.raw_os_error() == Some(libc::EINTR) => {}
            Err(error) => return Err(error),
        }
    }
}

/// What becomes of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It is not run and returns 0.
    Done,
    /// It is run as if nobody had asked.
    Continue,
    /// It is not run and fails with this errno, 1 to 4095.
    Errno(i32),
}

/// Answers a call. ENOENT where it does not wait any more. The ledger keeps it until it is [`Ledger::done`].
pub fn answer(listener: BorrowedFd<'_>, call: &Call, answer: Answer) -> io::Result<()> {
    let mut response = libc::seccomp_notif_resp { id: call.id, val: 0, error: 0, flags: 0 };
    match answer {
        Answer::Done => {}
        Answer::Continue => response.flags = u32::try_from(libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE).unwrap_or(1),
        Answer::Errno(errno) => response.error = errno.saturating_neg(),
    }
    // SAFETY: the kernel reads one seccomp_notif_resp.
    cvt(unsafe { libc::ioctl(listener.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_SEND, &raw const response) })?;
    Ok(())
}

#[cfg(test)]
mod tests;
