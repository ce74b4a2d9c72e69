//! Terminals.

use crate::cvt::cvt;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Whether the descriptor is a terminal.
pub fn is_tty(fd: BorrowedFd<'_>) -> bool {
    // SAFETY: isatty without pointers.
    unsafe { libc::isatty(fd.as_raw_fd()) == 1 }
}

/// Whether the descriptor is the terminal that controls this session, so that its foreground group can be chosen.
pub fn is_controlling(fd: BorrowedFd<'_>) -> bool {
    // SAFETY: tcgetpgrp without pointers.
    is_tty(fd) && unsafe { libc::tcgetpgrp(fd.as_raw_fd()) } != -1
}

/// Makes a process group the terminal's foreground group. ENOTTY where it is not this session's terminal. The caller
/// must have SIGTTOU blocked or ignored, else it is stopped when it is in the background.
pub fn set_foreground(terminal: BorrowedFd<'_>, group: i32) -> io::Result<()> {
    // SAFETY: tcsetpgrp without pointers.
    cvt(unsafe { libc::tcsetpgrp(terminal.as_raw_fd(), group) })?;
    Ok(())
}
