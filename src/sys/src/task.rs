//! Looking into another task that stands still: its memory and its sockets.

use crate::cvt::{cvt_long, cvt_size, errno};
use crate::listen;
use crate::packet::get_int;
use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::FileExt;

/// What a socket carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A byte stream with connections: TCP, Unix streams.
    Stream,
    /// Datagrams: UDP, Unix datagrams.
    Datagram,
    /// Anything else.
    Else,
}

/// A socket of another task's.
#[derive(Debug)]
pub struct Sock {
    /// What it carries.
    pub kind: Kind,
    /// Whether it is non-blocking (O_NONBLOCK, of the open file description).
    pub nonblocking: bool,
    /// Whether the task's descriptor is close-on-exec.
    pub cloexec: bool,
    /// Which socket it is: equal to [`crate::listen::cookie`] of any descriptor of the same one.
    pub cookie: u64,
    /// A descriptor of our own for it; `None` where the kernel does not give one (pidfd_getfd(2) needs Linux 5.6, and
    /// containers often forbid it).
    pub fd: Option<OwnedFd>,
}

/// Fills `buffer` from the task's memory.
pub(crate) fn memory(tid: i32, address: u64, buffer: &mut [u8]) -> io::Result<()> {
    if tid <= 0 {
        return Err(errno(libc::ESRCH));
    }
    if buffer.is_empty() {
        return Ok(());
    }
    match read_vm(tid, address, buffer) {
        // Container runtimes forbid the call where they do not forbid the file.
        Err(error) if matches!(error.raw_os_error(), Some(libc::EPERM | libc::ENOSYS)) => {
            let file = fs::File::open(format!("/proc/{tid}/mem")).map_err(|_| error)?;
            file.read_exact_at(buffer, address).map_err(|error| match error.kind() {
                io::ErrorKind::UnexpectedEof => errno(libc::EFAULT),
                _ => error,
            })
        }
        other => other,
    }
}

fn read_vm(tid: i32, address: u64, buffer: &mut [u8]) -> io::Result<()> {
    let local = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    let at = usize::try_from(address).map_err(|_| errno(libc::EFAULT))?;
    let remote = libc::iovec { iov_base: std::ptr::without_provenance_mut(at), iov_len: buffer.len() };
    // SAFETY: `local` is the buffer with its true length; the remote address is only a number to the kernel.
    let read = cvt_size(unsafe { libc::process_vm_readv(tid, &local, 1, &remote, 1, 0) })?;
    if read == buffer.len() { Ok(()) } else { Err(errno(libc::EFAULT)) }
}

/// What is behind a descriptor of the task's.
pub(crate) fn socket(tid: i32, fd: i32) -> io::Result<Sock> {
    if tid <= 0 {
        return Err(errno(libc::ESRCH));
    }
    let absent = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => errno(libc::EBADF),
        _ => error,
    };
    let link = fs::read_link(format!("/proc/{tid}/fd/{fd}")).map_err(absent)?;
    let number = link.to_str().and_then(|link| link.strip_prefix("socket:[")?.strip_suffix(']')?.parse::<u64>().ok());
    let cookie = number.ok_or_else(|| errno(libc::ENOTSOCK))?;
    let flags = flags(&fs::read_to_string(format!("/proc/{tid}/fdinfo/{fd}")).map_err(absent)?);
    let flags = flags.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))?;
    // Its descriptor may be closed by another thread meanwhile, and another file have the number.
    let copy = copy(tid, fd).ok().filter(|copy| listen::cookie(copy.as_fd()).is_ok_and(|number| number == cookie));
    let kind = match &copy {
        Some(copy) => kind_of(copy.as_fd())?,
        None => kind_by_name(tid, fd),
    };
    Ok(Sock {
        kind,
        nonblocking: flags & libc::O_NONBLOCK != 0,
        cloexec: flags & libc::O_CLOEXEC != 0,
        cookie,
        fd: copy,
    })
}

/// The octal flags of /proc/PID/fdinfo/FD (proc_pid_fdinfo(5)), close-on-exec among them.
fn flags(fdinfo: &str) -> Option<libc::c_int> {
    let digits = fdinfo.lines().find_map(|line| line.strip_prefix("flags:"))?;
    libc::c_int::from_str_radix(digits.trim(), 8).ok()
}

fn copy(tid: i32, fd: i32) -> io::Result<OwnedFd> {
    let pidfd = match open_thread(tid) {
        // Before Linux 6.9 a pidfd is of a whole process. Its threads have the same descriptors, nearly always; the caller
        // compares.
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => crate::pidfd::open(process_of(tid)?)?,
        other => other?,
    };
    // SAFETY: no pointers.
    owned(cvt_long(unsafe { libc::syscall(libc::SYS_pidfd_getfd, pidfd.as_raw_fd(), fd, 0) })?)
}

fn open_thread(tid: i32) -> io::Result<OwnedFd> {
    const PIDFD_THREAD: libc::c_int = libc::O_EXCL;
    // SAFETY: no pointers.
    owned(cvt_long(unsafe { libc::syscall(libc::SYS_pidfd_open, tid, PIDFD_THREAD) })?)
}

fn owned(raw: libc::c_long) -> io::Result<OwnedFd> {
    let raw = RawFd::try_from(raw).map_err(|_| errno(libc::EBADF))?;
    // SAFETY: the result of a call that just made it, owned by nobody else. Close-on-exec, as both calls make them.
    Ok(unsafe { OwnedFd::from_raw_fd(raw) })
}

fn process_of(tid: i32) -> io::Result<i32> {
    let status = fs::read_to_string(format!("/proc/{tid}/status"))?;
    let tgid = status.lines().find_map(|line| line.strip_prefix("Tgid:"));
    tgid.and_then(|tgid| tgid.trim().parse().ok()).ok_or_else(|| errno(libc::ESRCH))
}

fn kind_of(socket: BorrowedFd<'_>) -> io::Result<Kind> {
    Ok(match get_int(socket, libc::SO_TYPE)? {
        libc::SOCK_STREAM => Kind::Stream,
        libc::SOCK_DGRAM => Kind::Datagram,
        _ => Kind::Else,
    })
}

/// The name of the protocol, which tells the kind where the socket itself cannot be had: an attribute of the link in
/// /proc, as lsof(8) shows it.
fn kind_by_name(tid: i32, fd: i32) -> Kind {
    let Ok(path) = std::ffi::CString::new(format!("/proc/{tid}/fd/{fd}")) else { return Kind::Else };
    let mut name = [0_u8; 32];
    // SAFETY: two NUL-terminated strings, and a buffer with its length.
    let len = cvt_size(unsafe {
        libc::getxattr(path.as_ptr(), c"system.sockprotoname".as_ptr(), name.as_mut_ptr().cast(), name.len())
    });
    let name = name.get(..len.unwrap_or(0)).unwrap_or_default();
    match name.strip_suffix(&[0]).unwrap_or(name) {
        b"TCP" | b"TCPv6" | b"MPTCP" | b"MPTCPv6" | b"UNIX-STREAM" => Kind::Stream,
        b"UDP" | b"UDPv6" => Kind::Datagram,
        _ => Kind::Else,
    }
}

#[cfg(test)]
mod tests;
