//! One svd for one state directory: a lock that lives as long as its open file description.

use crate::cvt::cvt;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Why the lock was not taken.
#[derive(Debug)]
pub enum LockError {
    /// Somebody has it; its pid where it is written in the file.
    LockedBy {
        /// The pid that the holder wrote.
        pid: Option<i32>,
    },
    /// The file cannot be opened, locked or written.
    Io(io::Error),
}

impl std::fmt::Display for LockError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            LockError::LockedBy { pid: Some(pid) } => write!(f, "locked by process {pid}"),
            LockError::LockedBy { pid: None } => write!(f, "locked by another process"),
            LockError::Io(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for LockError {}

/// Takes the lock on `path` (flock(2)), creating the file with mode 0644, and writes `pid` into it. It never waits and
/// never removes the file: a lock file that is unlinked can be held twice. The lock ends when the last duplicate of
/// the descriptor is closed, so a keeper that holds one keeps the lock over the death of the manager that took it.
pub fn lock_file(path: &Path, pid: i32) -> Result<OwnedFd, LockError> {
    let mut file = File::options()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .mode(0o644)
        .custom_flags(libc::O_NOFOLLOW)
        .open(path)
        .map_err(LockError::Io)?;
    // SAFETY: flock without pointers on an open descriptor.
    match cvt(unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) }) {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            let mut text = String::new();
            let _unread = (&mut file).take(32).read_to_string(&mut text);
            return Err(LockError::LockedBy { pid: text.trim().parse().ok() });
        }
        Err(error) => return Err(LockError::Io(error)),
    }
    file.set_len(0).map_err(LockError::Io)?;
    file.write_all(format!("{pid}\n").as_bytes()).map_err(LockError::Io)?;
    Ok(file.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_taker_is_told_who_holds_it_until_the_last_duplicate_is_closed() {
        let path = std::env::temp_dir().join(format!("svd-sys-lock-{}", std::process::id()));
        let lock = lock_file(&path, 42).unwrap();
        let held_elsewhere = lock.try_clone().unwrap();
        drop(lock);
        let Err(LockError::LockedBy { pid: Some(42) }) = lock_file(&path, 43) else {
            panic!("the lock was not held");
        };
        drop(held_elsewhere);
        lock_file(&path, 43).unwrap();
        std::fs::remove_file(path).unwrap();
    }
}
