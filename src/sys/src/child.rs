//! The child between fork and exec.
//!
//! Only async-signal-safe system calls on memory prepared before the fork: no allocation, no lock, no libc function
//! that has state (libc's setuid would signal threads that do not exist here). All signals are blocked on entry and
//! stay so until the last step, so that no handler of ours can run in it.
//!
//! Order: session, dispositions, cgroups, oom_score_adj, mounts, descriptors, filter, limits, bounding set, user, capabilities,
//! parent check, directory, mark, mask, exec. Cgroups and mounts come first, while their descriptors are where they were and
//! /proc can be written to, and so that what the rest costs is counted; descriptors come before limits, which may be lower than the numbers they pass through, and so does the filter, whose listener is
//! one; the filter before the user, who may not be allowed to install one; the directory comes after the user, who
//! must be able to enter it; the death signal after user and capabilities, since changing those clears it (prctl(2)).

use crate::limits::Limit;
use crate::signal;
use crate::spawn::{Child, FAILURE, MARK, Others, Program, SLOT_ROOM, Session, Stage, decimal, stage_number};
use crate::{confine, filter};
use std::os::fd::{AsRawFd, RawFd};

/// A descriptor on its way to its number in the child.
pub(crate) struct Move {
    pub(crate) source: RawFd,
    pub(crate) target: RawFd,
    /// Where it waits meanwhile, above all targets; written by the child.
    pub(crate) above: RawFd,
}

/// Everything the child needs, prepared before the fork.
pub(crate) struct Image<'a> {
    pub(crate) child: &'a Child<'a>,
    /// Null-terminated, as execve wants it.
    pub(crate) argv: &'a [*const libc::c_char],
    /// Null-terminated, as execve wants it.
    pub(crate) env: &'a [*const libc::c_char],
    /// Where the digits of the child's process id go: each has room for `SLOT_ROOM` zeroed bytes.
    pub(crate) pid_slots: &'a [*mut u8],
    pub(crate) moves: &'a mut [Move],
    /// Numbers below `above` that nobody gets.
    pub(crate) gaps: &'a [RawFd],
    /// The first number above all targets.
    pub(crate) above: RawFd,
    pub(crate) oom_text: &'a [u8],
    pub(crate) status: RawFd,
    /// The pinned program above all targets; written by the child.
    pub(crate) pinned: RawFd,
    /// The socket for the filter's listener above all targets; written by the child.
    pub(crate) filter: RawFd,
    /// Places for what [`confine::mounts`] opens.
    pub(crate) copies: &'a mut [RawFd],
}

type Failure = (Stage, i32);

/// Becomes the program, or tells why not and exits with 127 (not found) or 126.
///
/// # Safety
/// Only in a freshly forked child with one thread, with an `image` whose pointers are valid.
pub(crate) unsafe fn run(image: &mut Image<'_>) -> ! {
    // SAFETY: passed on from the caller.
    let Err((stage, errno)) = unsafe { become_program(image) };
    let [a, b, c, d] = errno.to_le_bytes();
    let message = [FAILURE, stage_number(stage), a, b, c, d];
    // SAFETY: write and _exit are async-signal-safe. A failed write leaves the pipe's end to speak.
    unsafe {
        libc::write(image.status, message.as_ptr().cast(), message.len());
        libc::_exit(if stage == Stage::Exec && errno == libc::ENOENT { 127 } else { 126 })
    }
}

/// # Safety
/// As [`run`].
unsafe fn become_program(image: &mut Image<'_>) -> Result<std::convert::Infallible, Failure> {
    let child = image.child;
    // SAFETY: all calls are async-signal-safe system calls; pointers come from `image`.
    unsafe {
        match child.session {
            Session::Own => check(libc::setsid(), Stage::Session)?,
            Session::Group => check(libc::setpgid(0, 0), Stage::Session)?,
            Session::Foreground => {
                check(libc::setpgid(0, 0), Stage::Session)?;
                // SIGTTOU is blocked, so this works from the background too.
                check(libc::tcsetpgrp(0, libc::getpid()), Stage::Session)?;
            }
        }
        for number in 1..=signal::MAX {
            let _kill_and_stop_refuse = signal::set_default(number);
        }
        for procs in child.cgroups {
            // 0 is the writer itself.
            let written = libc::write(procs.as_raw_fd(), c"0".as_ptr().cast(), 1);
            if written < 0 {
                return Err(last(Stage::Cgroup));
            }
        }
        if !image.oom_text.is_empty() {
            write_oom(image.oom_text)?;
        }
        confine::mounts(&child.confine, image.copies).map_err(|errno| (Stage::Mounts, errno))?;
        place(image)?;
        if child.filter.is_some() {
            filter::install(image.filter).map_err(|errno| (Stage::Descriptors, errno))?;
        }
        if let Some(nice) = child.nice {
            check(libc::setpriority(libc::PRIO_PROCESS, 0, nice), Stage::Limits)?;
        }
        for (resource, Limit { soft, hard }) in child.limits {
            let limit = libc::rlimit { rlim_cur: *soft, rlim_max: *hard };
            check(libc::setrlimit(*resource as _, &limit), Stage::Limits)?;
        }
        if let Some(umask) = child.umask {
            libc::umask(umask);
        }
        let refused = |errno| (Stage::Capabilities, errno);
        if let Some(capabilities) = child.confine.capabilities {
            confine::bound(capabilities).map_err(refused)?;
        }
        if let Some(identity) = child.identity {
            let groups = identity.groups;
            check_long(libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr()), Stage::Credentials)?;
            let (gid, uid) = (identity.gid, identity.uid);
            check_long(libc::syscall(libc::SYS_setresgid, gid, gid, gid), Stage::Credentials)?;
            check_long(libc::syscall(libc::SYS_setresuid, uid, uid, uid), Stage::Credentials)?;
        }
        if let Some(capabilities) = child.confine.capabilities {
            confine::take(capabilities).map_err(refused)?;
        }
        if child.confine.no_new_privs {
            confine::no_new_privs().map_err(refused)?;
        }
        if let Some(parent) = child.die_with {
            check(libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0), Stage::Credentials)?;
            // The parent may have died before the line above.
            if libc::getppid() != parent {
                libc::_exit(126);
            }
        }
        if let Some(cwd) = child.cwd {
            check(libc::chdir(cwd.as_ptr()), Stage::Directory)?;
        }
        let mut digits = [0; SLOT_ROOM];
        let pid = decimal(libc::getpid(), &mut digits);
        for slot in image.pid_slots {
            std::ptr::copy_nonoverlapping(pid.as_ptr(), *slot, pid.len().min(SLOT_ROOM.saturating_sub(1)));
        }
        libc::write(image.status, [MARK].as_ptr().cast(), 1);
        if signal::set_mask(0).is_err() {
            return Err(last(Stage::Session));
        }
        match child.program {
            Program::Path(path) => {
                libc::execve(path.as_ptr(), image.argv.as_ptr(), image.env.as_ptr());
            }
            Program::Pinned(_) => {
                let empty = c"".as_ptr();
                let (argv, env) = (image.argv.as_ptr(), image.env.as_ptr());
                libc::syscall(libc::SYS_execveat, image.pinned, empty, argv, env, libc::AT_EMPTY_PATH);
            }
        }
        Err(last(Stage::Exec))
    }
}

/// Puts each descriptor on its number. All are first moved above the highest number, so that none is overwritten
/// before it was placed; the status pipe goes there too. What is left is marked close-on-exec rather than closed,
/// because the status pipe and a pinned program are among it.
///
/// # Safety
/// As [`run`].
unsafe fn place(image: &mut Image<'_>) -> Result<(), Failure> {
    const CLOSE_RANGE_CLOEXEC: libc::c_uint = 4;
    // SAFETY: fcntl, dup3 and close_range without pointers.
    unsafe {
        let above = image.above;
        for placed in image.moves.iter_mut() {
            placed.above = check_fd(libc::fcntl(placed.source, libc::F_DUPFD_CLOEXEC, above))?;
        }
        image.status = check_fd(libc::fcntl(image.status, libc::F_DUPFD_CLOEXEC, above))?;
        if let Program::Pinned(file) = image.child.program {
            image.pinned = check_fd(libc::fcntl(file.as_raw_fd(), libc::F_DUPFD_CLOEXEC, above))?;
        }
        if let Some(socket) = image.child.filter {
            image.filter = check_fd(libc::fcntl(socket.as_raw_fd(), libc::F_DUPFD_CLOEXEC, above))?;
        }
        for placed in image.moves.iter() {
            check_fd(libc::dup2(placed.above, placed.target))?;
        }
        if image.child.others == Others::Close {
            // Where the kernel lacks the call, close-on-exec is set already: everything that svd opens has it, and
            // what it inherited was given it at the start.
            for gap in image.gaps {
                libc::syscall(libc::SYS_close_range, *gap, *gap, CLOSE_RANGE_CLOEXEC);
            }
            libc::syscall(libc::SYS_close_range, above, libc::c_uint::MAX, CLOSE_RANGE_CLOEXEC);
        }
    }
    Ok(())
}

/// # Safety
/// As [`run`].
unsafe fn write_oom(text: &[u8]) -> Result<(), Failure> {
    // SAFETY: open, write and close are async-signal-safe; `text` has the stated length.
    unsafe {
        let file = libc::open(c"/proc/self/oom_score_adj".as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC);
        check(file, Stage::Limits)?;
        let written = libc::write(file, text.as_ptr().cast(), text.len());
        let failure = last(Stage::Limits);
        libc::close(file);
        if written < 0 { Err(failure) } else { Ok(()) }
    }
}

fn last(stage: Stage) -> Failure {
    // SAFETY: errno's location is valid for the calling thread.
    (stage, unsafe { *libc::__errno_location() })
}

fn check(result: libc::c_int, stage: Stage) -> Result<(), Failure> {
    if result == -1 { Err(last(stage)) } else { Ok(()) }
}

fn check_long(result: libc::c_long, stage: Stage) -> Result<(), Failure> {
    if result == -1 { Err(last(stage)) } else { Ok(()) }
}

fn check_fd(result: libc::c_int) -> Result<RawFd, Failure> {
    check(result, Stage::Descriptors).map(|()| result)
}
