//! Reaping: who has ended, and how.

use crate::cvt::{cvt, errno};
use std::io;
use std::mem;

/// How a process ended, as wait4(2) told it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// exit(code).
    Code(u8),
    /// A signal; whether a core was dumped.
    Signal {
        /// Its number.
        signal: i32,
        /// Whether the kernel wrote a core dump.
        core: bool,
    },
    /// A status that is neither.
    Unknown,
}

/// What a process and the children it waited for used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// CPU time in user mode, microseconds.
    pub user_us: u64,
    /// CPU time in kernel mode, microseconds.
    pub system_us: u64,
    /// Largest resident set, bytes.
    pub max_rss: u64,
}

/// What there is to reap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peek {
    /// This child is a zombie.
    Zombie(i32),
    /// There are children, all alive.
    NoneYet,
    /// There is no child at all.
    NoChildren,
}

/// Looks for a zombie among the children without reaping it, so that its /proc entry can still be read.
pub fn peek() -> io::Result<Peek> {
    // SAFETY: all-zero is a valid siginfo_t.
    let mut info: libc::siginfo_t = unsafe { mem::zeroed() };
    let options = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT | libc::__WALL;
    // SAFETY: a valid siginfo_t.
    match cvt(unsafe { libc::waitid(libc::P_ALL, 0, &mut info, options) }) {
        // SAFETY: waitid succeeded, so si_pid is set; it is 0 when nobody has ended.
        Ok(_) => match unsafe { info.si_pid() } {
            0 => Ok(Peek::NoneYet),
            pid => Ok(Peek::Zombie(pid)),
        },
        Err(error) if error.raw_os_error() == Some(libc::ECHILD) => Ok(Peek::NoChildren),
        Err(error) => Err(error),
    }
}

/// Reaps this child if it has ended.
pub fn reap(pid: i32) -> io::Result<Option<(Ended, Usage)>> {
    if pid <= 0 {
        return Err(errno(libc::EINVAL));
    }
    let mut status = 0;
    // SAFETY: all-zero is a valid rusage.
    let mut usage: libc::rusage = unsafe { mem::zeroed() };
    // SAFETY: both pointers are to valid objects.
    let got = cvt(unsafe { libc::wait4(pid, &mut status, libc::WNOHANG | libc::__WALL, &mut usage) })?;
    if got == 0 {
        return Ok(None);
    }
    let ended = if libc::WIFEXITED(status) {
        u8::try_from(libc::WEXITSTATUS(status)).map_or(Ended::Unknown, Ended::Code)
    } else if libc::WIFSIGNALED(status) {
        Ended::Signal { signal: libc::WTERMSIG(status), core: libc::WCOREDUMP(status) }
    } else {
        Ended::Unknown
    };
    let usage = Usage {
        user_us: micros(usage.ru_utime),
        system_us: micros(usage.ru_stime),
        max_rss: u64::try_from(usage.ru_maxrss).unwrap_or(0).saturating_mul(1024),
    };
    Ok(Some((ended, usage)))
}

fn micros(time: libc::timeval) -> u64 {
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    seconds.saturating_mul(1_000_000).saturating_add(u64::try_from(time.tv_usec).unwrap_or(0))
}
