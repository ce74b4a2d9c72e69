//! Opening files without being led elsewhere, and hearing of names that are taken away and of contents that change.

use crate::cvt::{cvt, errno};
use std::collections::BTreeSet;
use std::ffi::CString;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Makes the open fail with ELOOP where the last part of the path is a symbolic link (`O_NOFOLLOW`). std always
/// adds close-on-exec.
pub fn no_follow(options: &mut OpenOptions) -> &mut OpenOptions {
    options.custom_flags(libc::O_NOFOLLOW)
}

/// A descriptor that becomes readable when a file gets or loses a name, or its mode or owner changes (inotify(7),
/// IN_ATTRIB); close-on-exec, non-blocking. What happens to other files of its directory is not told. ENOENT where the file
/// does not exist; ENOSPC or EMFILE at the user's limit of watches.
pub fn watch_names(file: &Path) -> io::Result<OwnedFd> {
    let path = CString::new(file.as_os_str().as_bytes()).map_err(|_| errno(libc::EINVAL))?;
    // SAFETY: no pointers.
    let raw = cvt(unsafe { libc::inotify_init1(libc::IN_CLOEXEC | libc::IN_NONBLOCK) })?;
    // SAFETY: just created, owned by nobody else.
    let watch = unsafe { OwnedFd::from_raw_fd(raw) };
    // SAFETY: a NUL-terminated path.
    cvt(unsafe { libc::inotify_add_watch(raw, path.as_ptr(), libc::IN_ATTRIB | libc::IN_DONT_FOLLOW) })?;
    Ok(watch)
}

/// A descriptor that becomes readable when a file in one of these directories is written, made, moved there or taken away
/// (inotify(7)), or when the directory itself is; close-on-exec, non-blocking. Directories below them are not looked into, and
/// those that do not exist are left out. ENOSPC or EMFILE at the user's limit of watches.
pub fn watch_directories<'p>(directories: impl Iterator<Item = &'p Path>) -> io::Result<OwnedFd> {
    const FILES: u32 =
        libc::IN_CLOSE_WRITE | libc::IN_CREATE | libc::IN_MOVED_TO | libc::IN_MOVED_FROM | libc::IN_DELETE;
    const ITSELF: u32 = libc::IN_DELETE_SELF | libc::IN_MOVE_SELF | libc::IN_ONLYDIR;
    // SAFETY: no pointers.
    let raw = cvt(unsafe { libc::inotify_init1(libc::IN_CLOEXEC | libc::IN_NONBLOCK) })?;
    // SAFETY: just created, owned by nobody else.
    let watch = unsafe { OwnedFd::from_raw_fd(raw) };
    for directory in directories {
        let path = CString::new(directory.as_os_str().as_bytes()).map_err(|_| errno(libc::EINVAL))?;
        // SAFETY: a NUL-terminated path.
        match cvt(unsafe { libc::inotify_add_watch(raw, path.as_ptr(), FILES | ITSELF) }) {
            Ok(_) => {}
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(watch)
}

/// Hears of files whose contents change (inotify(7), `IN_MODIFY`). Close-on-exec, non-blocking; readable when one has.
#[derive(Debug)]
pub struct Changes(OwnedFd);

impl Changes {
    /// One that hears of nothing yet. EMFILE at the user's limit of such descriptors.
    pub fn new() -> io::Result<Changes> {
        // SAFETY: no pointers.
        let raw = cvt(unsafe { libc::inotify_init1(libc::IN_CLOEXEC | libc::IN_NONBLOCK) })?;
        // SAFETY: just created, owned by nobody else.
        Ok(Changes(unsafe { OwnedFd::from_raw_fd(raw) }))
    }

    /// Another descriptor for the same.
    pub fn try_clone(&self) -> io::Result<Changes> {
        self.0.try_clone().map(Changes)
    }

    /// Hears of this file from now on, until it goes; answers the number that stands for it, which no other one gets later. ENOENT where
    /// there is none, ENOSPC at the user's limit of watches.
    pub fn add(&self, file: &Path) -> io::Result<i32> {
        let path = CString::new(file.as_os_str().as_bytes()).map_err(|_| errno(libc::EINVAL))?;
        // SAFETY: a NUL-terminated path.
        cvt(unsafe { libc::inotify_add_watch(self.0.as_raw_fd(), path.as_ptr(), libc::IN_MODIFY) })
    }

    /// Hears of it no more. A file of a cgroup that is removed is heard of, and kept in memory, until this is said.
    pub fn remove(&self, number: i32) {
        // SAFETY: no pointers. EINVAL where it has gone by itself, which is as good.
        let _gone = unsafe { libc::inotify_rm_watch(self.0.as_raw_fd(), number) };
    }

    /// The numbers of those that have changed, or gone, since this was last asked. Never waits.
    pub fn take(&self) -> io::Result<BTreeSet<i32>> {
        const HEAD: usize = 16;
        let mut changed = BTreeSet::new();
        let mut events = [0; 4096];
        loop {
            let count = match crate::fd::read(self.0.as_fd(), &mut events) {
                Ok(0) => return Ok(changed),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(changed),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            let mut rest = events.get(..count).unwrap_or_default();
            // A number, three fields of four bytes of which the last is the length of the name that follows.
            while let Some((head, after)) = rest.split_at_checked(HEAD) {
                let field = |at: usize| head.get(at..at.saturating_add(4)).and_then(|field| field.try_into().ok());
                changed.extend(field(0).map(i32::from_ne_bytes));
                let name = field(12).map_or(0, u32::from_ne_bytes);
                rest = after.get(usize::try_from(name).unwrap_or(usize::MAX)..).unwrap_or_default();
            }
        }
    }
}

impl AsRawFd for Changes {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
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
    use std::os::unix::fs::MetadataExt;
    use std::time::Duration;

    #[test]
    fn a_name_that_is_taken_away_is_heard_of_and_others_of_the_directory_are_not() {
        let dir = std::env::temp_dir().join(format!("svd-names-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let (one, two) = (dir.join("one"), dir.join("two"));
        std::fs::write(&one, "x").unwrap();
        std::fs::hard_link(&one, &two).unwrap();
        let watch = watch_names(&two).unwrap();
        std::fs::write(dir.join("three"), "x").unwrap();
        std::fs::remove_file(dir.join("three")).unwrap();
        assert!(!crate::fd::wait_readable(watch.as_fd(), Duration::ZERO).unwrap());
        std::fs::remove_file(&one).unwrap();
        assert!(crate::fd::wait_readable(watch.as_fd(), Duration::ZERO).unwrap());
        std::fs::remove_dir_all(&dir).unwrap();
        assert_eq!(watch_names(&two).unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn what_becomes_of_the_files_of_a_directory_is_heard_of_and_one_that_is_missing_is_left_out() {
        let dir = std::env::temp_dir().join(format!("svd-dirs-{}", std::process::id()));
        std::fs::create_dir_all(dir.join("below")).unwrap();
        std::fs::write(dir.join("file"), "x").unwrap();
        let told = |change: &dyn Fn()| {
            let (missing, one) = (dir.join("missing"), dir.clone());
            let watch = watch_directories([missing.as_path(), one.as_path()].into_iter()).unwrap();
            change();
            crate::fd::wait_readable(watch.as_fd(), Duration::ZERO).unwrap()
        };
        assert!(!told(&|| std::fs::write(dir.join("below/file"), "x").unwrap()));
        assert!(!told(&|| assert_eq!(std::fs::read(dir.join("file")).unwrap(), b"x")));
        assert!(told(&|| std::fs::write(dir.join("file"), "y").unwrap()));
        assert!(told(&|| std::fs::rename(dir.join("below/file"), dir.join("file")).unwrap()));
        assert!(told(&|| std::os::unix::fs::symlink("file", dir.join("link")).unwrap()));
        assert!(told(&|| std::fs::remove_file(dir.join("link")).unwrap()));
        assert!(told(&|| std::fs::remove_dir_all(&dir).unwrap()));
    }

    #[test]
    fn contents_that_change_are_heard_of_by_number_once() {
        let dir = std::env::temp_dir().join(format!("svd-changes-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let files = ["one", "two", "three"].map(|name| dir.join(name));
        files.iter().for_each(|file| std::fs::write(file, "x").unwrap());
        let changes = Changes::new().unwrap();
        let numbers = files.each_ref().map(|file| changes.add(file).unwrap());
        assert_eq!(changes.take().unwrap(), BTreeSet::new());
        for file in [&files[2], &files[0], &files[2]] {
            std::fs::write(file, "y").unwrap();
        }
        let other = changes.try_clone().unwrap();
        assert_eq!(other.take().unwrap(), BTreeSet::from([numbers[0], numbers[2]]));
        assert_eq!(changes.take().unwrap(), BTreeSet::new());
        std::fs::remove_file(&files[1]).unwrap();
        assert_eq!(changes.take().unwrap(), BTreeSet::from([numbers[1]]));
        changes.remove(numbers[0]);
        assert_eq!(changes.take().unwrap(), BTreeSet::from([numbers[0]]), "its end is told");
        std::fs::write(&files[0], "z").unwrap();
        assert_eq!(changes.take().unwrap(), BTreeSet::new());
        assert_eq!(changes.add(&files[1]).unwrap_err().kind(), io::ErrorKind::NotFound);
        std::fs::remove_dir_all(&dir).unwrap();
    }

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
