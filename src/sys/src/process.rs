//! What this process is to the kernel: subreaper, oom score, name.

use crate::cvt::cvt;
use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};

/// The process id of the caller, as it sees it itself.
pub fn pid() -> i32 {
    std::process::id().cast_signed()
}

/// The process id of the parent; 0 when it is in another pid namespace.
pub fn parent_pid() -> i32 {
    std::os::unix::process::parent_id().cast_signed()
}

/// The effective user id.
pub fn uid() -> u32 {
    // SAFETY: cannot fail, touches no memory.
    unsafe { libc::geteuid() }
}

/// Makes this process the one that adopts the orphans among its descendants (PR_SET_CHILD_SUBREAPER, Linux 3.4).
/// Kept over exec, not inherited by children.
pub fn set_subreaper() -> io::Result<()> {
    // SAFETY: prctl without pointers.
    cvt(unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) })?;
    Ok(())
}

/// Sets the name that ps(1) shows for this thread, at most 15 bytes.
pub fn set_name(name: &str) {
    if let Ok(name) = CString::new(name) {
        // SAFETY: a NUL-terminated string; the kernel copies at most 16 bytes. A name has no effect but to be shown.
        unsafe { libc::prctl(libc::PR_SET_NAME, name.as_ptr(), 0, 0, 0) };
    }
}

/// Becomes the program behind this descriptor (execveat(2)), in the same process: children, signal mask, pending signals and
/// the state of being a subreaper stay. Of the descriptors only 0, 1, 2 and `keep` do; that the latter are close-on-exec
/// is undone at the last moment, and done again where the call fails, which is the only way in which this returns.
pub fn become_pinned(program: BorrowedFd<'_>, argv: &[CString], env: &[CString], keep: &[RawFd]) -> io::Error {
    let mut argv: Vec<*const libc::c_char> = argv.iter().map(|arg| arg.as_ptr()).collect();
    argv.push(std::ptr::null());
    let mut env: Vec<*const libc::c_char> = env.iter().map(|entry| entry.as_ptr()).collect();
    env.push(std::ptr::null());
    let mark = |flags: libc::c_int| -> io::Result<()> {
        for number in keep {
            // SAFETY: fcntl without pointers.
            cvt(unsafe { libc::fcntl(*number, libc::F_SETFD, flags) })?;
        }
        Ok(())
    };
    let error = match mark(0) {
        Err(error) => error,
        Ok(()) => {
            let (fd, empty) = (program.as_raw_fd(), c"".as_ptr());
            // SAFETY: null-terminated arrays of NUL-terminated strings that live through the call.
            unsafe { libc::syscall(libc::SYS_execveat, fd, empty, argv.as_ptr(), env.as_ptr(), libc::AT_EMPTY_PATH) };
            io::Error::last_os_error()
        }
    };
    // A number that is not open was the error; all others are close-on-exec again.
    for number in keep {
        // SAFETY: fcntl without pointers.
        let _not_open = unsafe { libc::fcntl(*number, libc::F_SETFD, libc::FD_CLOEXEC) };
    }
    error
}

/// Asks that this process be sent KILL when its parent's thread ends (PR_SET_PDEATHSIG).
pub fn die_with_parent() -> io::Result<()> {
    // SAFETY: prctl without pointers.
    cvt(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0) })?;
    Ok(())
}

/// This process's oom_score_adj, -1000 to 1000.
pub fn oom_score_adj() -> io::Result<i32> {
    let text = std::fs::read_to_string("/proc/self/oom_score_adj")?;
    text.trim().parse().map_err(|_| io::ErrorKind::InvalidData.into())
}

/// Sets this process's oom_score_adj. Lowering it needs CAP_SYS_RESOURCE (EACCES).
pub fn set_oom_score_adj(value: i32) -> io::Result<()> {
    std::fs::write("/proc/self/oom_score_adj", value.to_string())
}

/// Sends a signal to every process that this one may signal except itself: as PID 1, to its whole namespace. It is
/// refused (EPERM) anywhere else, where it would reach strangers.
pub fn signal_namespace(signal: i32) -> io::Result<()> {
    if pid() != 1 {
        return Err(crate::cvt::errno(libc::EPERM));
    }
    // SAFETY: kill without pointers; as PID 1, -1 reaches its namespace and nobody else, and not PID 1 itself.
    cvt(unsafe { libc::kill(-1, signal) })?;
    Ok(())
}

/// Whether a process does something of its own about a signal: catches or ignores it (proc_pid_status(5)). `None` where it is
/// gone or may not be looked at.
pub fn handles(pid: i32, signal: i32) -> Option<bool> {
    is_in_a_mask(pid, signal, &["SigIgn:", "SigCgt:"])
}

/// Whether a process would end by a signal (signal(7)): it neither handles it nor blocks it, as those do that wait for it or read it from
/// a descriptor. `None` as for [`handles`].
pub fn ends_by(pid: i32, signal: i32) -> Option<bool> {
    let is_harmless = [libc::SIGCHLD, libc::SIGCONT, libc::SIGURG, libc::SIGWINCH].contains(&signal);
    let is_met = is_in_a_mask(pid, signal, &["SigIgn:", "SigCgt:", "SigBlk:"])?;
    Some(!is_harmless && !is_met)
}

fn is_in_a_mask(pid: i32, signal: i32, masks: &[&str]) -> Option<bool> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let bit = 1_u64.checked_shl(u32::try_from(signal).ok()?.checked_sub(1)?)?;
    let mut found = false;
    for name in masks {
        let mask = status.lines().find_map(|line| line.strip_prefix(name))?;
        found |= u64::from_str_radix(mask.trim(), 16).ok()? & bit != 0;
    }
    Some(found)
}
