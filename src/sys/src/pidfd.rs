//! pidfds: a process by descriptor, which never means another one, as a number can.

use crate::cvt::{cvt_long, errno};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// A pidfd of the process that has this number now (pidfd_open(2), Linux 5.3). ESRCH when there is none. It is
/// readable in poll once the process has ended.
pub fn open(pid: i32) -> io::Result<OwnedFd> {
    // SAFETY: no pointers.
    let raw = cvt_long(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) })?;
    let raw = RawFd::try_from(raw).map_err(|_| errno(libc::EBADF))?;
    // SAFETY: just created, owned by nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(raw) })
}

/// The number of the process behind a pidfd. `None` where it has ended, or is not visible from here, or `fd` is no pidfd.
pub fn pid_of(fd: BorrowedFd<'_>) -> Option<i32> {
    let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", fd.as_raw_fd())).ok()?;
    let pid = info.lines().find_map(|line| line.strip_prefix("Pid:"))?.trim().parse().ok()?;
    (pid > 0).then_some(pid)
}

/// Sends a signal to the process (pidfd_send_signal(2), Linux 5.1). ESRCH when it was reaped.
pub fn send_signal(pidfd: BorrowedFd<'_>, signal: i32) -> io::Result<()> {
    let info: *const libc::siginfo_t = std::ptr::null();
    // SAFETY: a null siginfo asks the kernel to fill in its own.
    cvt_long(unsafe { libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), signal, info, 0) })?;
    Ok(())
}

/// Whether the process has ended (it may still be a zombie).
pub fn has_ended(pidfd: BorrowedFd<'_>) -> io::Result<bool> {
    crate::fd::wait_readable(pidfd, std::time::Duration::ZERO)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn a_pidfd_tells_its_process_and_others_tell_none() {
        let me = std::process::id().cast_signed();
        assert_eq!(pid_of(open(me).unwrap().as_fd()), Some(me));
        let (read, write) = crate::fd::pipe().unwrap();
        assert_eq!(pid_of(read.as_fd()), None);
        let again = read.try_clone().unwrap();
        assert!(crate::fd::is_duplicate(read.as_fd(), again.as_fd()));
        assert!(!crate::fd::is_duplicate(read.as_fd(), write.as_fd()));
    }
}
