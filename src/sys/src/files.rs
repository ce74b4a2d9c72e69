//! Opening files without being led elsewhere.

use crate::cvt::cvt;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Makes the open fail with ELOOP where the last part of the path is a symbolic link (`O_NOFOLLOW`). std always
/// adds close-on-exec.
pub fn no_follow(options: &mut OpenOptions) -> &mut OpenOptions {
    options.custom_flags(libc::O_NOFOLLOW)
}

/// What is at a path, of any kind, a symbolic link itself included, held fast without being opened (`O_PATH`, open(2)): what is
/// asked and changed by way of this is of that very file, whatever becomes of the path. It cannot be read or written.
pub fn pin(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).custom_flags(libc::O_PATH | libc::O_NOFOLLOW).open(path)
}

/// Gives a file to another owner and group (fchownat(2)); `None` keeps the one it has. Works for a [`pin`]ned one. EPERM where
/// this process may not.
pub fn give(file: BorrowedFd<'_>, uid: Option<u32>, gid: Option<u32>) -> io::Result<()> {
    const SAME: u32 = u32::MAX;
    let (uid, gid) = (uid.unwrap_or(SAME), gid.unwrap_or(SAME));
    // SAFETY: an empty NUL-terminated path, which stands for the descriptor itself.
    cvt(unsafe { libc::fchownat(file.as_raw_fd(), c"".as_ptr(), uid, gid, libc::AT_EMPTY_PATH) })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn what_is_pinned_stays_itself_and_a_link_is_not_followed() {
        let dir = std::env::temp_dir().join(format!("svd-sys-files-{}", std::process::id()));
        let _stale = std::fs::remove_dir_all(&dir);
        std::fs::create_dir(&dir).unwrap();
        let (file, link) = (dir.join("file"), dir.join("link"));
        std::fs::write(&file, "x").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        let pinned = pin(&file).unwrap();
        assert!(pin(&link).unwrap().metadata().unwrap().is_symlink());
        let inode = std::fs::metadata(&file).unwrap().ino();
        std::fs::remove_file(&file).unwrap();
        assert_eq!(pinned.metadata().unwrap().ino(), inode);
        give(pinned.as_fd(), None, None).unwrap();
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
