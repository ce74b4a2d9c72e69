//! Names and files of one stream: `<root>/web.1/out.00000001.log` and `.idx`. Knows no pipe.

use super::types::{Position, Stream, TrackId};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A segment as it lies on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Segment {
    pub number: u64,
    pub len: u64,
}

/// Where the files of one stream are.
#[derive(Clone, Debug)]
pub(super) struct Place {
    dir: PathBuf,
    id: TrackId,
}

/// `job:` or not, then letters, digits, `_`, `-`, one dot, digits: nothing that leads out of a directory.
pub(super) fn is_instance_name(name: &str) -> bool {
    let word = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
    // The runs of a job are called like that.
    let name = name.strip_prefix("job:").unwrap_or(name);
    name.len() <= 128
        && name.split_once('.').is_some_and(|(process, index)| {
            !process.is_empty() && word(process) && !index.is_empty() && index.bytes().all(|byte| byte.is_ascii_digit())
        })
}

impl Place {
    /// `None` where the name is no instance's.
    pub fn new(root: &Path, instance: &str, stream: Stream) -> Option<Place> {
        is_instance_name(instance)
            .then(|| Place { dir: root.join(instance), id: TrackId { instance: Arc::from(instance), stream } })
    }

    /// Deletes all of an instance. One that has nothing is as good.
    pub fn remove(root: &Path, instance: &str) -> io::Result<()> {
        let dir = root.join(instance);
        let there = is_instance_name(instance) && fs::symlink_metadata(&dir).is_ok_and(|found| found.is_dir());
        if there { fs::remove_dir_all(dir) } else { Ok(()) }
    }

    pub fn id(&self) -> &TrackId {
        &self.id
    }

    fn file(&self, number: u64, suffix: &str) -> PathBuf {
        self.dir.join(format!("{}.{number:08}.{suffix}", self.id.stream.stem()))
    }

    /// All segments, oldest first. None where the directory does not exist.
    pub fn segments(&self) -> io::Result<Vec<Segment>> {
        let mut found = Vec::new();
        for entry in entries(&self.dir)? {
            let entry = entry?;
            let Some(number) = entry.file_name().to_str().and_then(|name| self.number_of(name)) else { continue };
            // Deleted since it was listed: it is not there.
            if let Ok(metadata) = entry.metadata()
                && metadata.is_file()
            {
                found.push(Segment { number, len: metadata.len() });
            }
        }
        found.sort_unstable();
        Ok(found)
    }

    fn number_of(&self, name: &str) -> Option<u64> {
        let digits = name.strip_prefix(self.id.stream.stem())?.strip_prefix('.')?.strip_suffix(".log")?;
        (digits.len() >= 8 && digits.bytes().all(|byte| byte.is_ascii_digit())).then(|| digits.parse().ok())?
    }

    /// Opens a segment for reading and writing, making it and its directories.
    pub fn create(&self, number: u64) -> io::Result<(File, File)> {
        let both = || -> io::Result<_> { Ok((self.open_write(number, "log")?, self.open_write(number, "idx")?)) };
        match both() {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                DirBuilder::new().recursive(true).mode(0o750).create(&self.dir)?;
                both()
            }
            other => other,
        }
    }

    fn open_write(&self, number: u64, suffix: &str) -> io::Result<File> {
        // A link in the place of the directory would lead elsewhere; only its last part is guarded by O_NOFOLLOW.
        if fs::symlink_metadata(&self.dir)?.is_symlink() {
            return Err(io::Error::from(ErrorKind::NotADirectory));
        }
        svd_sys::files::no_follow(OpenOptions::new().read(true).write(true).create(true).mode(0o640))
            .open(self.file(number, suffix))
    }

    pub fn open_log(&self, number: u64) -> io::Result<File> {
        svd_sys::files::no_follow(OpenOptions::new().read(true)).open(self.file(number, "log"))
    }

    pub fn open_index(&self, number: u64) -> io::Result<File> {
        svd_sys::files::no_follow(OpenOptions::new().read(true)).open(self.file(number, "idx"))
    }

    pub fn exists(&self, number: u64) -> bool {
        fs::symlink_metadata(self.file(number, "log")).is_ok()
    }

    /// Deletes a segment and its index. One that is gone already is deleted.
    pub fn delete(&self, number: u64) -> io::Result<()> {
        for suffix in ["idx", "log"] {
            match fs::remove_file(self.file(number, suffix)) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    /// The end of the stream on disk; segment 0 where there is nothing.
    pub fn end(&self) -> io::Result<Position> {
        Ok(self
            .segments()?
            .last()
            .map_or_else(Position::default, |last| Position { segment: last.number, offset: last.len }))
    }
}

/// What a directory holds: nothing where it does not exist.
fn entries(dir: &Path) -> io::Result<impl Iterator<Item = io::Result<fs::DirEntry>>> {
    match fs::read_dir(dir) {
        Ok(entries) => Ok(Some(entries).into_iter().flatten()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None.into_iter().flatten()),
        Err(error) => Err(error),
    }
}

/// Every stream that has files below `root`, also of instances that no longer run.
pub(super) fn places(root: &Path) -> io::Result<Vec<Place>> {
    let mut found = Vec::new();
    for entry in entries(root)? {
        let entry = entry?;
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue };
        if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            continue;
        }
        for stream in Stream::ALL {
            if let Some(place) = Place::new(root, name, stream)
                && !place.segments()?.is_empty()
            {
                found.push(place);
            }
        }
    }
    Ok(found)
}
