//! Signals: names, blocking, and reading them from a descriptor.

use crate::cvt::{cvt, cvt_long, errno};
use std::io;
use std::mem;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// The classic signals by the names people write, without `SIG`.
const NAMES: &[(&str, i32)] = &[
    ("HUP", libc::SIGHUP),
    ("INT", libc::SIGINT),
    ("QUIT", libc::SIGQUIT),
    ("ILL", libc::SIGILL),
    ("TRAP", libc::SIGTRAP),
    ("ABRT", libc::SIGABRT),
    ("BUS", libc::SIGBUS),
    ("FPE", libc::SIGFPE),
    ("KILL", libc::SIGKILL),
    ("USR1", libc::SIGUSR1),
    ("SEGV", libc::SIGSEGV),
    ("USR2", libc::SIGUSR2),
    ("PIPE", libc::SIGPIPE),
    ("ALRM", libc::SIGALRM),
    ("TERM", libc::SIGTERM),
    ("STKFLT", 16),
    ("CHLD", libc::SIGCHLD),
    ("CONT", libc::SIGCONT),
    ("STOP", libc::SIGSTOP),
    ("TSTP", libc::SIGTSTP),
    ("TTIN", libc::SIGTTIN),
    ("TTOU", libc::SIGTTOU),
    ("URG", libc::SIGURG),
    ("XCPU", libc::SIGXCPU),
    ("XFSZ", libc::SIGXFSZ),
    ("VTALRM", libc::SIGVTALRM),
    ("PROF", libc::SIGPROF),
    ("WINCH", libc::SIGWINCH),
    ("IO", libc::SIGIO),
    ("PWR", libc::SIGPWR),
    ("SYS", libc::SIGSYS),
];

/// SIGHUP.
pub const HUP: i32 = libc::SIGHUP;
/// SIGINT.
pub const INT: i32 = libc::SIGINT;
/// SIGQUIT.
pub const QUIT: i32 = libc::SIGQUIT;
/// SIGABRT.
pub const ABRT: i32 = libc::SIGABRT;
/// SIGKILL.
pub const KILL: i32 = libc::SIGKILL;
/// SIGUSR1.
pub const USR1: i32 = libc::SIGUSR1;
/// SIGUSR2.
pub const USR2: i32 = libc::SIGUSR2;
/// SIGTERM.
pub const TERM: i32 = libc::SIGTERM;
/// SIGCHLD.
pub const CHLD: i32 = libc::SIGCHLD;
/// SIGCONT.
pub const CONT: i32 = libc::SIGCONT;
/// SIGTTIN.
pub const TTIN: i32 = libc::SIGTTIN;
/// SIGTTOU.
pub const TTOU: i32 = libc::SIGTTOU;
/// SIGPWR.
pub const PWR: i32 = libc::SIGPWR;

/// The largest signal number of Linux.
pub const MAX: i32 = 64;

/// The first real-time signal that programs may use, as glibc and with it everybody counts who sends one by name: engines' and
/// systemd's RTMIN+3 is 37. A libc that keeps more for itself (musl) counts from 35, and would not hear them.
pub fn rtmin() -> i32 {
    34
}

/// The name of a signal without `SIG`, as `TERM` or `RTMIN+3`; the number for one without a name.
pub fn name(signal: i32) -> String {
    if let Some((name, _)) = NAMES.iter().find(|(_, number)| *number == signal) {
        return (*name).to_owned();
    }
    match signal.checked_sub(rtmin()) {
        Some(0) => "RTMIN".to_owned(),
        Some(above) if above > 0 && signal <= MAX => format!("RTMIN+{above}"),
        _ => signal.to_string(),
    }
}

/// The number of a signal by name (`TERM`, `SIGTERM`, `RTMIN+3`, `RTMAX-1`, upper or lower case) or number, 1 to 64.
pub fn number(text: &str) -> Option<i32> {
    let upper = text.trim().to_ascii_uppercase();
    let bare = upper.strip_prefix("SIG").unwrap_or(&upper);
    let number = if let Some((_, number)) = NAMES.iter().find(|(name, _)| *name == bare) {
        *number
    } else if let Some(above) = bare.strip_prefix("RTMIN") {
        rtmin().checked_add(offset(above, '+')?).filter(|number| *number <= libc::SIGRTMAX())?
    } else if let Some(below) = bare.strip_prefix("RTMAX") {
        libc::SIGRTMAX().checked_sub(offset(below, '-')?).filter(|number| *number >= rtmin())?
    } else {
        bare.parse().ok()?
    };
    (1..=MAX).contains(&number).then_some(number)
}

fn offset(text: &str, sign: char) -> Option<i32> {
    if text.is_empty() { Some(0) } else { text.strip_prefix(sign)?.parse::<u8>().ok().map(i32::from) }
}

/// A signal mask, as the kernel keeps it: bit n-1 is signal n.
type Mask = u64;

/// Blocks every signal that can be blocked and sets every disposition to default, whatever was inherited: an ignored
/// SIGCHLD would reap our children behind our back, and an ignored one would be ignored in them too. A blocked signal
/// is kept for [`SignalFd`] even where its default is to be ignored (signal(7)).
pub fn block_all_and_reset() -> io::Result<()> {
    set_mask(Mask::MAX)?;
    for signal in 1..=MAX {
        // KILL and STOP cannot be changed; all others can.
        let _refused = set_default(signal);
    }
    Ok(())
}

/// Sets the signal mask of the calling thread through the kernel itself: libc's function keeps its own signals out.
pub(crate) fn set_mask(mask: Mask) -> io::Result<()> {
    let old: *mut Mask = std::ptr::null_mut();
    // SAFETY: `mask` has the eight bytes that the kernel is told. Async-signal-safe.
    cvt_long(unsafe { libc::syscall(libc::SYS_rt_sigprocmask, libc::SIG_SETMASK, &raw const mask, old, 8) })?;
    Ok(())
}

/// Sets one disposition to default. Async-signal-safe.
pub(crate) fn set_default(signal: i32) -> io::Result<()> {
    // Larger than every architecture's struct sigaction; all zero means SIG_DFL, no flags, empty mask.
    let action = [0_u64; 8];
    let old: *mut u64 = std::ptr::null_mut();
    // SAFETY: `action` outlives the call and is at least as large as what the kernel reads.
    cvt_long(unsafe { libc::syscall(libc::SYS_rt_sigaction, signal, action.as_ptr(), old, 8) })?;
    Ok(())
}

/// All blocked signals, read from a descriptor (signalfd(2)). Non-blocking, close-on-exec.
#[derive(Debug)]
pub struct SignalFd(OwnedFd);

impl SignalFd {
    /// For every signal. They must be blocked, else their dispositions act as well.
    pub fn new() -> io::Result<Self> {
        // SAFETY: all-zero is a valid sigset_t, which sigfillset overwrites.
        let mut mask: libc::sigset_t = unsafe { mem::zeroed() };
        // SAFETY: a valid set.
        cvt(unsafe { libc::sigfillset(&mut mask) })?;
        // SAFETY: a valid set; -1 asks for a new descriptor.
        let raw = cvt(unsafe { libc::signalfd(-1, &mask, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) })?;
        // SAFETY: just created, owned by nobody else.
        Ok(SignalFd(unsafe { OwnedFd::from_raw_fd(raw) }))
    }

    /// The next pending signal, `None` when there is none. Signals of one number that came together are one.
    pub fn read(&self) -> io::Result<Option<i32>> {
        // SAFETY: all-zero is a valid siginfo.
        let mut info: libc::signalfd_siginfo = unsafe { mem::zeroed() };
        let size = mem::size_of::<libc::signalfd_siginfo>();
        // SAFETY: `info` has the stated size, of which the kernel writes one whole record or nothing.
        let got = unsafe { libc::read(self.0.as_raw_fd(), (&raw mut info).cast(), size) };
        match crate::cvt::cvt_size(got) {
            Ok(got) if got == size => Ok(i32::try_from(info.ssi_signo).ok()),
            Ok(_) => Err(errno(libc::EIO)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(None),
            Err(error) => Err(error),
        }
    }
}

impl AsFd for SignalFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_are_one_table() {
        for (text, expected) in [
            ("TERM", Some(15)),
            ("sigterm", Some(15)),
            ("SIGKILL", Some(9)),
            ("10", Some(10)),
            ("RTMIN", Some(rtmin())),
            ("RTMIN+3", Some(rtmin() + 3)),
            ("SIGRTMAX-1", Some(63)),
            ("RTMIN+99", None),
            ("RTMIN3", None),
            ("0", None),
            ("65", None),
            ("NOPE", None),
            ("", None),
        ] {
            assert_eq!(number(text), expected, "{text}");
        }
        for signal in 1..=MAX {
            assert_eq!(number(&name(signal)), Some(signal));
        }
    }
}
