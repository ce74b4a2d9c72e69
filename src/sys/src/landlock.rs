//! What a child may write to, where it may have no mounts of its own: Landlock (landlock(7), Linux 5.13).
//!
//! It names what is allowed, never what is not, so it can say "nothing but this" and no more: a part of a place that may be written to
//! cannot be taken out of it again. As `child.rs`: async-signal-safe system calls only, on memory prepared before the fork.

use crate::confine::Confine;
use std::ffi::CString;
use std::os::fd::RawFd;

/// Numbers of the calls, the same on all architectures.
const SYS_CREATE_RULESET: libc::c_long = 444;
const SYS_ADD_RULE: libc::c_long = 445;
const SYS_RESTRICT_SELF: libc::c_long = 446;
const CREATE_RULESET_VERSION: libc::c_uint = 1;
const RULE_PATH_BENEATH: libc::c_uint = 1;

/// Opening for writing, and, since version 3, truncating.
const WRITE_FILE: u64 = 1 << 1;
const TRUNCATE: u64 = 1 << 14;
/// Making and removing what a directory has, since version 2 also from one directory to another.
const MAKE_AND_REMOVE: u64 = 0x1ff0;
const REFER: u64 = 1 << 13;

/// struct landlock_path_beneath_attr, which is packed.
#[repr(C, packed)]
struct PathBeneath {
    allowed: u64,
    parent: RawFd,
}

/// All kinds of writing that this version of it can forbid.
fn writing(version: libc::c_long) -> u64 {
    let refer = if version >= 2 { REFER } else { 0 };
    let truncate = if version >= 3 { TRUNCATE } else { 0 };
    WRITE_FILE | MAKE_AND_REMOVE | refer | truncate
}

/// Whether what is asked for can be said: everything is read-only but some places, whole.
pub(crate) fn can_say(confine: &Confine<'_>) -> bool {
    let is_below = |path: &CString, above: &CString| {
        let (path, above) = (path.to_bytes(), above.to_bytes());
        path.strip_prefix(above).is_some_and(|rest| rest.first() == Some(&b'/'))
    };
    let taken_out = |path: &CString| confine.read_write.iter().any(|above| is_below(path, above) || path == above);
    !confine.private_tmp
        && confine.read_only.iter().any(|path| path.as_bytes() == b"/")
        && !confine.read_only.iter().any(taken_out)
}

/// Nothing can be written to from now on but what is below `writable`, and devices. Whoever may not do it else gains no privileges by
/// programs that it starts, as with no_new_privs. EOPNOTSUPP or ENOSYS where the kernel does not have it.
///
/// # Safety
/// Only in a freshly forked child.
pub(crate) unsafe fn write_only_below(writable: &[CString]) -> Result<(), i32> {
    // SAFETY: system calls on structures and NUL-terminated strings that live through them; their sizes are passed along.
    unsafe {
        let version =
            check(libc::syscall(SYS_CREATE_RULESET, std::ptr::null::<u64>(), 0_usize, CREATE_RULESET_VERSION))?;
        let handled = writing(version);
        let rules = check(libc::syscall(SYS_CREATE_RULESET, &raw const handled, size_of::<u64>(), 0))?;
        for path in writable {
            allow(rules, path, handled, handled & (WRITE_FILE | TRUNCATE))?;
        }
        // As on a read-only mount, which lets devices be written to and nothing be made.
        let devices = handled & (WRITE_FILE | TRUNCATE);
        match allow(rules, c"/dev", devices, devices) {
            Err(libc::ENOENT) | Ok(()) => {}
            Err(errno) => return Err(errno),
        }
        check(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0).into())?;
        check(libc::syscall(SYS_RESTRICT_SELF, rules, 0))?;
        libc::syscall(libc::SYS_close, rules);
    }
    Ok(())
}

/// # Safety
/// As [`write_only_below`].
unsafe fn allow(rules: libc::c_long, path: &std::ffi::CStr, in_directory: u64, of_file: u64) -> Result<(), i32> {
    // SAFETY: as above; all-zero is a valid struct stat.
    unsafe {
        let parent = check(libc::open(path.as_ptr(), libc::O_PATH | libc::O_CLOEXEC).into())?;
        let parent = RawFd::try_from(parent).unwrap_or(-1);
        let mut stat: libc::stat = std::mem::zeroed();
        check(libc::fstat(parent, &raw mut stat).into())?;
        let allowed = if stat.st_mode & libc::S_IFMT == libc::S_IFDIR { in_directory } else { of_file };
        let rule = PathBeneath { allowed, parent };
        check(libc::syscall(SYS_ADD_RULE, rules, RULE_PATH_BENEATH, &raw const rule, 0))?;
        libc::close(parent);
    }
    Ok(())
}

fn check(result: libc::c_long) -> Result<libc::c_long, i32> {
    // SAFETY: errno's location is valid for the calling thread.
    if result == -1 { Err(unsafe { *libc::__errno_location() }) } else { Ok(result) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_writable_as_a_whole_can_be_said_and_an_exception_within_it_cannot() {
        let paths = |paths: &[&str]| paths.iter().map(|path| CString::new(*path).unwrap()).collect::<Vec<_>>();
        let says = |read_only: &[&str], read_write: &[&str]| {
            let (read_only, read_write) = (paths(read_only), paths(read_write));
            can_say(&Confine { read_only: &read_only, read_write: &read_write, ..Confine::default() })
        };
        assert!(says(&["/"], &[]) && says(&["/"], &["/srv/data"]) && says(&["/", "/etc"], &["/srv", "/srv2"]));
        assert!(says(&["/", "/srv"], &["/srv/data"]), "the part is below the whole");
        assert!(!says(&["/srv"], &[]) && !says(&[], &[]), "the rest cannot be named");
        assert!(!says(&["/", "/srv/data/fixed"], &["/srv/data"]));
        let all = paths(&["/"]);
        assert!(!can_say(&Confine { private_tmp: true, read_only: &all, ..Confine::default() }));
    }

    #[test]
    fn only_what_a_version_knows_is_forbidden() {
        assert_eq!((writing(1), writing(2), writing(3)), (0x1ff2, 0x3ff2, 0x7ff2));
    }
}
