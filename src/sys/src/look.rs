//! A look into a task of another user's, where root may not look: in a container root usually has no CAP_SYS_PTRACE, and
//! then the kernel lets only the same user look (ptrace(2), "Ptrace access mode checking"). But root may become that user.
//!
//! It is done by a process that is forked for it, and never by this one: whoever has become a user can be signalled by that
//! user's processes. It has no descriptor, cannot be traced by that user (it is not dumpable), writes what it saw into memory
//! that it shares with us, and ends. Only async-signal-safe calls on memory prepared before the fork are made in it.

use crate::cvt::{cvt_long, errno};
use nix::sys::signal::{SigSet, SigmaskHow};
use std::ffi::CString;
use std::fs;
use std::io;
use std::os::fd::{AsFd, FromRawFd, OwnedFd, RawFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

/// One thing to look at.
#[derive(Debug)]
pub(crate) enum Sight {
    /// So many bytes of its memory, at most [`ROOM`].
    Memory(u64, usize),
    /// Where a link in /proc leads.
    Link(CString),
    /// The text of a file in /proc.
    Text(CString),
    /// The attribute of a socket that names its protocol.
    Protocol(CString),
}

/// The most bytes of one sight.
pub(crate) const ROOM: usize = 1024;
const SIGHTS: usize = 4;
/// How long the forked process may take. It takes microseconds, unless that user stops it.
const PATIENCE: Duration = Duration::from_secs(2);

/// What was seen of one sight: a length, or a negative errno.
#[repr(C)]
struct Seen {
    result: AtomicI32,
    bytes: [u8; ROOM],
}

type Page = [Seen; SIGHTS];

struct Shared(NonNull<Page>);

impl Shared {
    fn new() -> io::Result<Shared> {
        let flags = libc::MAP_SHARED | libc::MAP_ANONYMOUS;
        // SAFETY: a new mapping at an address of the kernel's choice, zeroed.
        let at = unsafe {
            libc::mmap(std::ptr::null_mut(), size_of::<Page>(), libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0)
        };
        if at == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(Shared(NonNull::new(at.cast()).ok_or_else(|| errno(libc::EFAULT))?))
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // SAFETY: mapped with this size; nobody has a reference into it any more.
        unsafe { libc::munmap(self.0.as_ptr().cast(), size_of::<Page>()) };
    }
}

/// Looks at these as the user of the task. EPERM where that would not help or cannot be: we are not root, or are that user
/// already. Waits for a process that does it, two seconds at most.
pub(crate) fn as_its_user(tid: i32, sights: &[Sight]) -> io::Result<Vec<io::Result<Vec<u8>>>> {
    // SAFETY: cannot fail, touches no memory.
    let ours = (crate::process::uid(), unsafe { libc::getegid() });
    let (uid, gid) = user_of(tid)?;
    // With fs.suid_dumpable 1 that user could trace the process that we fork.
    let untraceable = fs::read_to_string("/proc/sys/fs/suid_dumpable").is_ok_and(|text| text.trim() != "1");
    if ours.0 != 0 || (uid, gid) == ours || !untraceable || sights.len() > SIGHTS {
        return Err(errno(libc::EPERM));
    }
    let shared = Shared::new()?;
    // A handler of ours must not run in the child, where it would tell this process of a signal that it did not get.
    let mask = SigSet::all().thread_swap_mask(SigmaskHow::SIG_SETMASK)?;
    let forked = fork(&shared, (uid, gid), tid, sights);
    let _cannot_fail = mask.thread_set_mask();
    let (pid, pidfd) = forked?;
    if !crate::fd::wait_readable(pidfd.as_fd(), PATIENCE).unwrap_or(false) {
        let _ended = crate::pidfd::send_signal(pidfd.as_fd(), libc::SIGKILL);
    }
    let mut status = 0;
    // SAFETY: our own child, which ends by itself or was killed; without an exit signal it is waited for by __WALL only.
    while unsafe { libc::waitpid(pid, &raw mut status, libc::__WALL) } == -1 {
        if io::Error::last_os_error().kind() != io::ErrorKind::Interrupted {
            return Err(io::Error::last_os_error());
        }
    }
    if status != 0 {
        return Err(errno(libc::EPERM));
    }
    // SAFETY: the only other process that had it has ended; all bit patterns are valid.
    let page = unsafe { shared.0.as_ref() };
    Ok(page.iter().zip(sights).map(|(seen, _)| seen.take()).collect())
}

impl Seen {
    fn take(&self) -> io::Result<Vec<u8>> {
        let result = self.result.load(Ordering::Acquire);
        let len = usize::try_from(result).map_err(|_| errno(result.saturating_neg()))?;
        Ok(self.bytes.get(..len).unwrap_or_default().to_vec())
    }
}

/// User and group, where all three of each are the same: the kernel compares with all (`ptrace(2)`).
fn user_of(tid: i32) -> io::Result<(u32, u32)> {
    let status = fs::read_to_string(format!("/proc/{tid}/status"))?;
    let one = |key: &str| {
        let ids = status.lines().find_map(|line| line.strip_prefix(key))?;
        let mut ids = ids.split_ascii_whitespace().take(3).map(|id| id.parse::<u32>().ok());
        let first = ids.next()??;
        ids.all(|id| id == Some(first)).then_some(first)
    };
    one("Uid:").zip(one("Gid:")).ok_or_else(|| errno(libc::EPERM))
}

fn fork(shared: &Shared, user: (u32, u32), tid: i32, sights: &[Sight]) -> io::Result<(i32, OwnedFd)> {
    let mut raw_pidfd: RawFd = -1;
    // No exit signal, so that nobody else who waits for children takes it for one of his.
    let flags = libc::c_long::from(libc::CLONE_PIDFD);
    // SAFETY: without CLONE_VM a fork; the child only makes the calls of `child` and never returns.
    let pid = cvt_long(unsafe { libc::syscall(libc::SYS_clone, flags, 0, &raw mut raw_pidfd, 0, 0) })?;
    if pid == 0 {
        // SAFETY: this is the child, with one thread.
        unsafe { child(shared, user, tid, sights) }
    }
    let pid = i32::try_from(pid).map_err(|_| errno(libc::EOVERFLOW))?;
    // SAFETY: the kernel just made it for us: whoever has seccomp notifications has CLONE_PIDFD.
    Ok((pid, unsafe { OwnedFd::from_raw_fd(raw_pidfd) }))
}

/// # Safety
/// Only in a freshly forked child with one thread.
unsafe fn child(shared: &Shared, (uid, gid): (u32, u32), tid: i32, sights: &[Sight]) -> ! {
    // SAFETY: async-signal-safe system calls; the paths are NUL-terminated and were made before the fork. The page is
    // only written here until this process has ended.
    unsafe {
        libc::syscall(libc::SYS_close_range, 0, libc::c_uint::MAX, 0);
        if libc::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0) == -1
            || libc::syscall(libc::SYS_setresgid, gid, gid, gid) == -1
            || libc::syscall(libc::SYS_setresuid, uid, uid, uid) == -1
        {
            libc::_exit(1);
        }
        let page = &mut *shared.0.as_ptr();
        for (seen, sight) in page.iter_mut().zip(sights) {
            let result = see(sight, tid, &mut seen.bytes);
            seen.result.store(result, Ordering::Release);
        }
        libc::_exit(0)
    }
}

/// The length, or a negative errno. No allocation.
///
/// # Safety
/// As [`child`].
unsafe fn see(sight: &Sight, tid: i32, bytes: &mut [u8; ROOM]) -> i32 {
    let at = bytes.as_mut_ptr();
    // SAFETY: the buffer has ROOM bytes; the rest is passed on from the caller.
    let len = unsafe {
        match sight {
            Sight::Memory(address, len) => match bytes.get_mut(..*len) {
                Some(part) => match crate::task::read_vm(tid, *address, part) {
                    Ok(()) => return i32::try_from(*len).unwrap_or(-libc::EINVAL),
                    Err(error) => return error.raw_os_error().unwrap_or(libc::EIO).saturating_neg(),
                },
                None => return -libc::EINVAL,
            },
            Sight::Link(path) => libc::readlink(path.as_ptr(), at.cast(), ROOM),
            Sight::Text(path) => {
                let file = libc::open(path.as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC);
                if file == -1 { -1 } else { libc::read(file, at.cast(), ROOM) }
            }
            Sight::Protocol(path) => libc::getxattr(path.as_ptr(), c"system.sockprotoname".as_ptr(), at.cast(), ROOM),
        }
    };
    match i32::try_from(len) {
        Ok(len) if len >= 0 => len,
        // SAFETY: errno's location is valid for the calling thread.
        _ => unsafe { *libc::__errno_location() }.saturating_neg(),
    }
}
