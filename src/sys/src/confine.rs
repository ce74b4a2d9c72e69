//! What a child gives up between fork and exec: places that it may write to, and capabilities.
//!
//! As `child.rs`: async-signal-safe system calls only, on memory prepared before the fork.

use crate::landlock;
use std::ffi::{CStr, CString};
use std::os::fd::RawFd;

/// What a child may do less than we; by default nothing less.
#[derive(Clone, Copy, Debug, Default)]
pub struct Confine<'a> {
    /// It has exactly these, bit by bit (capabilities(7)), and can get no others; `None`: what the kernel makes of its user.
    pub capabilities: Option<u64>,
    /// Programs that it starts gain no privileges (PR_SET_NO_NEW_PRIVS).
    pub no_new_privs: bool,
    /// It has a /tmp and a /var/tmp of its own, in memory.
    pub private_tmp: bool,
    /// Absolute paths that it cannot write to, with all below them, parents before children.
    pub read_only: &'a [CString],
    /// Absolute paths below those that it can write to all the same.
    pub read_write: &'a [CString],
}

impl Confine<'_> {
    /// How many descriptors [`mounts`] needs a place for.
    pub(crate) fn copies(&self) -> usize {
        self.read_only.len().saturating_add(self.read_write.len())
    }
}

const ROOT: &CStr = c"/";
const OPEN_TREE_CLONE: libc::c_uint = 1;
const OPEN_TREE_CLOEXEC: libc::c_uint = libc::O_CLOEXEC as libc::c_uint;
const AT_RECURSIVE: libc::c_uint = 0x8000;
const MOVE_MOUNT_F_EMPTY_PATH: libc::c_uint = 4;
const MOVE_MOUNT_T_SYMLINKS: libc::c_uint = 0x10;
const MOUNT_ATTR_RDONLY: u64 = 1;
/// Size of struct mount_attr (MOUNT_ATTR_SIZE_VER0).
const MOUNT_ATTR_SIZE: usize = 32;
/// Numbers of the calls that libc does not have on all targets; the same on all architectures.
const SYS_OPEN_TREE: libc::c_long = 428;
const SYS_MOVE_MOUNT: libc::c_long = 429;
const SYS_MOUNT_SETATTR: libc::c_long = 442;

/// A mount namespace of its own with what is asked for; needs CAP_SYS_ADMIN, and Linux 5.12 for paths. Without the capability,
/// Landlock does what it can say ([`landlock::can_say`]).
///
/// Paths that stay writable are copied before anything is made read-only and put back on top, so that one which was read-only
/// already stays so.
///
/// # Safety
/// Only in a freshly forked child. `copies` has [`Confine::copies`] places.
pub(crate) unsafe fn mounts(confine: &Confine<'_>, copies: &mut [RawFd]) -> Result<(), i32> {
    if !confine.private_tmp && copies.is_empty() {
        return Ok(());
    }
    let none = std::ptr::null();
    // SAFETY: system calls on NUL-terminated strings and a structure that live through them.
    unsafe {
        match check(libc::unshare(libc::CLONE_NEWNS)) {
            Err(libc::EPERM) if landlock::can_say(confine) => {
                // Where that cannot be either, what is lacking is the capability.
                return landlock::write_only_below(confine.read_write).map_err(|errno| match errno {
                    libc::EOPNOTSUPP | libc::ENOSYS => libc::EPERM,
                    other => other,
                });
            }
            other => other?,
        }
        // Nothing of this reaches the host; what is mounted there later still comes here.
        check(libc::mount(none, ROOT.as_ptr(), none, libc::MS_REC | libc::MS_SLAVE, none.cast()))?;
        for (path, place) in confine.read_only.iter().chain(confine.read_write).zip(copies.iter_mut()) {
            *place = -1;
            if path.as_c_str() != ROOT {
                let flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE;
                let copy = check_long(libc::syscall(SYS_OPEN_TREE, libc::AT_FDCWD, path.as_ptr(), flags))?;
                *place = RawFd::try_from(copy).unwrap_or(-1);
            }
        }
        for (path, place) in confine.read_only.iter().zip(copies.iter()) {
            let (from, name) = if *place == -1 { (libc::AT_FDCWD, path.as_c_str()) } else { (*place, c"") };
            let attr: [u64; 4] = [MOUNT_ATTR_RDONLY, 0, 0, 0];
            let flags = AT_RECURSIVE | libc::AT_EMPTY_PATH as libc::c_uint;
            check_long(libc::syscall(SYS_MOUNT_SETATTR, from, name.as_ptr(), flags, attr.as_ptr(), MOUNT_ATTR_SIZE))?;
        }
        if confine.private_tmp {
            for (place, required) in [(c"/tmp", true), (c"/var/tmp", false)] {
                let tmpfs = c"tmpfs".as_ptr();
                let flags = libc::MS_NOSUID | libc::MS_NODEV;
                let options = c"mode=1777".as_ptr().cast();
                match check(libc::mount(tmpfs, place.as_ptr(), tmpfs, flags, options)) {
                    Err(libc::ENOENT) if !required => {}
                    other => other?,
                }
            }
        }
        for (path, place) in confine.read_only.iter().chain(confine.read_write).zip(copies.iter_mut()) {
            if *place != -1 {
                let flags = MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_SYMLINKS;
                let (empty, here) = (c"".as_ptr(), libc::AT_FDCWD);
                check_long(libc::syscall(SYS_MOVE_MOUNT, *place, empty, here, path.as_ptr(), flags))?;
                libc::close(*place);
                *place = -1;
            }
        }
    }
    Ok(())
}

const CAPABILITY_VERSION_3: u32 = 0x2008_0522;
const PR_CAP_AMBIENT: libc::c_int = 47;
const PR_CAP_AMBIENT_RAISE: libc::c_ulong = 2;
const PR_CAP_AMBIENT_CLEAR_ALL: libc::c_ulong = 4;
/// As many as the kernel's sets have room for.
const CAPABILITIES: u32 = 64;

/// Takes away what nobody below the child can get back, and keeps the rest over the change of user that follows. Needs
/// CAP_SETPCAP where there is something to take away.
///
/// # Safety
/// Only in a freshly forked child.
pub(crate) unsafe fn bound(capabilities: u64) -> Result<(), i32> {
    // SAFETY: prctl without pointers.
    unsafe {
        for number in (0..CAPABILITIES).filter(|number| !has(capabilities, *number)) {
            match libc::prctl(libc::PR_CAPBSET_READ, libc::c_ulong::from(number), 0, 0, 0) {
                // The kernel has no more.
                -1 => break,
                0 => {}
                _ => check(libc::prctl(libc::PR_CAPBSET_DROP, libc::c_ulong::from(number), 0, 0, 0))?,
            }
        }
        // The kernel forgets it at exec.
        check(libc::prctl(libc::PR_SET_KEEPCAPS, 1, 0, 0, 0))
    }
}

/// Has exactly these from now on, and over exec. EPERM where we lack one.
///
/// # Safety
/// Only in a freshly forked child.
pub(crate) unsafe fn take(capabilities: u64) -> Result<(), i32> {
    let (low, high) = (capabilities as u32, (capabilities >> 32) as u32);
    let header: [u32; 2] = [CAPABILITY_VERSION_3, 0];
    // Effective, permitted, inheritable; the lower 32 of each, then the upper ones.
    let sets: [u32; 6] = [low, low, low, high, high, high];
    // SAFETY: the kernel reads a header of 8 bytes and, in this version, 24 bytes of sets; prctl without pointers.
    unsafe {
        check_long(libc::syscall(libc::SYS_capset, header.as_ptr(), sets.as_ptr()))?;
        check(libc::prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0))?;
        for number in (0..CAPABILITIES).filter(|number| has(capabilities, *number)) {
            let number = libc::c_ulong::from(number);
            check(libc::prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, number, 0, 0))?;
        }
    }
    Ok(())
}

/// # Safety
/// Only in a freshly forked child.
pub(crate) unsafe fn no_new_privs() -> Result<(), i32> {
    // SAFETY: prctl without pointers.
    check(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) })
}

fn has(capabilities: u64, number: u32) -> bool {
    capabilities.checked_shr(number).is_some_and(|bits| bits & 1 == 1)
}

fn check(result: libc::c_int) -> Result<(), i32> {
    check_long(result.into()).map(drop)
}

fn check_long(result: libc::c_long) -> Result<libc::c_long, i32> {
    // SAFETY: errno's location is valid for the calling thread.
    if result == -1 { Err(unsafe { *libc::__errno_location() }) } else { Ok(result) }
}
