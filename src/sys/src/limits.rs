//! Resource limits of this process.

use crate::cvt::{cvt, errno};
use std::io;

/// A soft and a hard limit; `u64::MAX` is unlimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// What applies.
    pub soft: u64,
    /// What the soft one may be raised to.
    pub hard: u64,
}

/// The kernel's number of the limit on open descriptors.
#[allow(clippy::unnecessary_cast)] // An int with musl.
pub const NOFILE: u32 = libc::RLIMIT_NOFILE as u32;

/// The limit of this process on `resource`.
pub fn get(resource: u32) -> io::Result<Limit> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is a valid rlimit.
    cvt(unsafe { libc::getrlimit(resource as _, &mut limit) })?;
    Ok(Limit { soft: limit.rlim_cur, hard: limit.rlim_max })
}

/// Sets the limit of this process on `resource`. EPERM when the hard one is raised without privilege.
pub fn set(resource: u32, limit: Limit) -> io::Result<()> {
    if limit.soft > limit.hard {
        return Err(errno(libc::EINVAL));
    }
    let limit = libc::rlimit { rlim_cur: limit.soft, rlim_max: limit.hard };
    // SAFETY: `limit` is a valid rlimit.
    cvt(unsafe { libc::setrlimit(resource as _, &limit) })?;
    Ok(())
}

/// The limit on open descriptors.
pub fn nofile() -> io::Result<Limit> {
    get(NOFILE)
}

/// Sets the limit on open descriptors.
pub fn set_nofile(limit: Limit) -> io::Result<()> {
    set(NOFILE, limit)
}
