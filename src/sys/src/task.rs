//! Looking into another task that stands still: its memory and its sockets.
//!
//! Each is tried by the system call that is made for it, then by /proc, which containers forbid less often, then by
//! /proc as the task's own user (`look.rs`).

use crate::cvt::{cvt_long, cvt_size, errno};
use crate::listen;
use crate::look::{self, Sight};
use crate::packet::get_int;
use std::ffi::{CString, OsString};
use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

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
    let refused = match read_vm(tid, address, buffer) {
        Err(error) if matches!(error.raw_os_error(), Some(libc::EPERM | libc::ENOSYS)) => error,
        other => return other,
    };
    // Some containers forbid the call and not the file.
    if let Ok(file) = fs::File::open(format!("/proc/{tid}/mem")) {
        return file.read_exact_at(buffer, address).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => errno(libc::EFAULT),
            _ => error,
        });
    }
    let seen = look::as_its_user(tid, &[Sight::Memory(address, buffer.len())]).map_err(|_| refused)?;
    let bytes = seen.into_iter().next().ok_or_else(|| errno(libc::EPERM))??;
    for (to, from) in buffer.iter_mut().zip(bytes) {
        *to = from;
    }
    Ok(())
}

pub(crate) fn read_vm(tid: i32, address: u64, buffer: &mut [u8]) -> io::Result<()> {
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
    let (link, fdinfo, protocol) = match shown(tid, fd) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => shown_to_its_user(tid, fd)
            .map_err(|again| if again.raw_os_error() == Some(libc::EPERM) { error } else { again }),
        other => other,
    }
    .map_err(|error| if error.kind() == io::ErrorKind::NotFound { errno(libc::EBADF) } else { error })?;
    let cookie = inode(&link).ok_or_else(|| errno(libc::ENOTSOCK))?;
    let flags = flags(&fdinfo).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))?;
    // Its descriptor may be closed by another thread meanwhile, and another file have the number.
    let copy = copy(tid, fd).ok().filter(|copy| listen::cookie(copy.as_fd()).is_ok_and(|number| number == cookie));
    let kind = match &copy {
        Some(copy) => kind_of(copy.as_fd())?,
        None => kind_by_name(&protocol),
    };
    Ok(Sock {
        kind,
        nonblocking: flags & libc::O_NONBLOCK != 0,
        cloexec: flags & libc::O_CLOEXEC != 0,
        cookie,
        fd: copy,
    })
}

/// What /proc shows of a descriptor: where it leads, its flags, and the name of its protocol, an attribute that lsof(8)
/// shows too. It tells the kind of a socket that cannot be had itself.
type Shown = (Vec<u8>, Vec<u8>, Vec<u8>);

fn shown(tid: i32, fd: i32) -> io::Result<Shown> {
    let link = fs::read_link(format!("/proc/{tid}/fd/{fd}"))?.into_os_string().into_vec();
    let fdinfo = fs::read(format!("/proc/{tid}/fdinfo/{fd}"))?;
    let mut name = vec![0; 32];
    let path = CString::new(format!("/proc/{tid}/fd/{fd}"))?;
    // SAFETY: two NUL-terminated strings, and a buffer with its length.
    let len = cvt_size(unsafe {
        libc::getxattr(path.as_ptr(), c"system.sockprotoname".as_ptr(), name.as_mut_ptr().cast(), name.len())
    });
    name.truncate(len.unwrap_or(0));
    Ok((link, fdinfo, name))
}

fn shown_to_its_user(tid: i32, fd: i32) -> io::Result<Shown> {
    let link = CString::new(format!("/proc/{tid}/fd/{fd}"))?;
    let info = CString::new(format!("/proc/{tid}/fdinfo/{fd}"))?;
    let sights = [Sight::Link(link.clone()), Sight::Text(info), Sight::Protocol(link)];
    let mut seen = look::as_its_user(tid, &sights)?.into_iter();
    let mut next = || seen.next().unwrap_or_else(|| Err(errno(libc::EPERM)));
    Ok((next()?, next()?, next().unwrap_or_default()))
}

/// The task's working directory.
pub(crate) fn directory(tid: i32) -> io::Result<PathBuf> {
    if tid <= 0 {
        return Err(errno(libc::ESRCH));
    }
    let path = format!("/proc/{tid}/cwd");
    let refused = match fs::read_link(&path) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => error,
        other => return other,
    };
    let seen = look::as_its_user(tid, &[Sight::Link(CString::new(path)?)]).map_err(|_| refused)?;
    let bytes = seen.into_iter().next().ok_or_else(|| errno(libc::EPERM))??;
    Ok(OsString::from_vec(bytes).into())
}

/// The number in `socket:[NUMBER]`.
fn inode(link: &[u8]) -> Option<u64> {
    std::str::from_utf8(link).ok()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

/// The octal flags of /proc/PID/fdinfo/FD (proc_pid_fdinfo(5)), close-on-exec among them.
fn flags(fdinfo: &[u8]) -> Option<libc::c_int> {
    let digits = std::str::from_utf8(fdinfo).ok()?.lines().find_map(|line| line.strip_prefix("flags:"))?;
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

fn kind_by_name(protocol: &[u8]) -> Kind {
    match protocol.strip_suffix(&[0]).unwrap_or(protocol) {
        b"TCP" | b"TCPv6" | b"MPTCP" | b"MPTCPv6" | b"UNIX-STREAM" => Kind::Stream,
        b"UDP" | b"UDPv6" => Kind::Datagram,
        _ => Kind::Else,
    }
}
