//! The writing side of one stream: bytes from pipes into the current segment, rotation, room, marks.
//!
//! The state that matters is on disk: the last segment's length says where the next byte goes. What is kept here can
//! be built again from a directory listing, which is what happens after a crash, and whenever a stream is opened.
//! Several pipes may feed one track: a new start of an instance while a grandchild of the old one still writes.
//!
//! Rotation is only between lines. When a segment is full and its last byte is no newline, what comes next is copied
//! (tee(2)) and searched, and then exactly the rest of the line is moved. A line that does not end within a quarter
//! of a segment is split.

use super::index::{COALESCE_NS, IndexWriter, Kind, Mark};
use super::segment::{Place, Segment};
use super::types::{Limits, Position};

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileExt, MetadataExt};
use svd_sys::{fd, splice};

/// Linux errno values that std has no stable kind for.
mod errno {
    pub const EINVAL: i32 = 22;
    pub const ENFILE: i32 = 23;
    pub const EMFILE: i32 = 24;
}

/// The smallest segment size that is used.
const SMALLEST_SEGMENT: u64 = 4096;

/// What the pump owns once for all tracks.
pub(super) struct Scratch {
    /// A private pipe for copies; empty between calls.
    copy: (OwnedFd, OwnedFd),
    /// Bytes of a copy, or bytes that are being dropped.
    pub buffer: Vec<u8>,
}

impl Scratch {
    pub fn new() -> io::Result<Scratch> {
        Ok(Scratch { copy: fd::pipe()?, buffer: vec![0; 64 * 1024] })
    }

    /// Copies what is next in the pipe without consuming it: at most `limit` bytes, `Ok(0)` at its end.
    fn peek(&mut self, pipe: BorrowedFd<'_>, limit: usize) -> io::Result<usize> {
        let count = splice::tee(pipe, self.copy.1.as_fd(), limit.min(self.buffer.len()))?;
        let mut filled = 0;
        while filled < count {
            match fd::read(self.copy.0.as_fd(), &mut self.buffer[filled..count]) {
                Ok(0) => break,
                Ok(more) => filled += more,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => {
                    // Bytes that stay in the copy would be taken for those of the next stream.
                    self.copy = fd::pipe()?;
                    return Err(error);
                }
            }
        }
        Ok(filled)
    }
}

/// How bytes get from a pipe into the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Splice,
    /// The file system cannot be spliced to: copied, written, then dropped from the pipe. A kill of the manager in
    /// between doubles a piece, which is better than losing it.
    Copy,
}

#[derive(Debug)]
struct Open {
    log: File,
    index: IndexWriter,
}

/// How one try to move bytes ended.
enum Step {
    Moved(u64),
    Empty,
    End,
}

/// Why a turn ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The budget is used up; there may be more.
    More,
    /// The pipe is empty.
    Empty,
    /// The pipe is empty and nobody can write to it.
    End,
    /// No descriptor is free: close some of other tracks and come again.
    NoDescriptor,
}

/// What changed for others during a turn.
pub(super) enum Note {
    Dropping { bytes: u64, error: io::Error },
    Resumed { bytes: u64 },
}

/// What a turn did.
pub(super) struct Turn {
    pub outcome: Outcome,
    /// Bytes stored.
    pub stored: u64,
    /// Bytes thrown away.
    pub dropped: u64,
    pub notes: Vec<Note>,
}

/// What is to be moved.
pub(super) struct Batch<'a> {
    pub pipe: BorrowedFd<'a>,
    /// The start of the instance that writes to it.
    pub spawn: u64,
    /// `CLOCK_REALTIME`, nanoseconds.
    pub now: u64,
    /// At most so many bytes.
    pub budget: u64,
    pub patience: Patience,
}

/// What to do when no descriptor is free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Patience {
    /// Say so.
    Ask,
    /// Asking did not help: throw away.
    None,
}

pub(super) struct Track {
    place: Place,
    limits: Limits,
    closed: VecDeque<Segment>,
    closed_bytes: u64,
    current: Segment,
    open: Option<Open>,
    listed: bool,
    way: Way,
    last_mark: Option<(u64, u64)>,
    /// Bytes lost in the gap that is going on.
    gap: Option<u64>,
    made_room: bool,
    /// When it was last written to, in turns of the pump.
    pub used: u64,
}

impl Track {
    pub fn new(place: Place, limits: Limits) -> Track {
        Track {
            place,
            limits,
            closed: VecDeque::new(),
            closed_bytes: 0,
            current: Segment { number: 0, len: 0 },
            open: None,
            listed: false,
            way: Way::Splice,
            last_mark: None,
            gap: None,
            made_room: false,
            used: 0,
        }
    }

    pub fn place(&self) -> &Place {
        &self.place
    }

    pub fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    pub fn end(&self) -> Position {
        Position { segment: self.current.number, offset: self.current.len }
    }

    pub fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// Lets go of the files; the next byte opens them again.
    pub fn close(&mut self) {
        self.open = None;
    }

    fn segment_size(&self) -> u64 {
        self.limits.segment.max(SMALLEST_SEGMENT)
    }

    /// Moves what `batch` says. `seen` is given the bytes that had to be thrown away.
    pub fn turn(&mut self, batch: &Batch<'_>, scratch: &mut Scratch, mut seen: impl FnMut(&[u8])) -> Turn {
        let mut turn = Turn { outcome: Outcome::More, stored: 0, dropped: 0, notes: Vec::new() };
        while turn.stored + turn.dropped < batch.budget {
            let left = batch.budget - turn.stored - turn.dropped;
            let error = match self.step(batch, left, scratch) {
                Ok(Step::Moved(count)) => {
                    turn.stored += count;
                    self.made_room = false;
                    if let Some(bytes) = self.gap.take() {
                        turn.notes.push(Note::Resumed { bytes });
                    }
                    self.trim();
                    continue;
                }
                Ok(Step::Empty) => {
                    turn.outcome = Outcome::Empty;
                    return turn;
                }
                Ok(Step::End) => {
                    turn.outcome = Outcome::End;
                    return turn;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => error,
            };
            match error.raw_os_error() {
                Some(errno::EINVAL) if self.way == Way::Splice => {
                    self.way = Way::Copy;
                    continue;
                }
                Some(errno::EMFILE | errno::ENFILE) if batch.patience == Patience::Ask => {
                    turn.outcome = Outcome::NoDescriptor;
                    return turn;
                }
                _ if is_full(&error) && !self.made_room && self.delete_oldest() => {
                    self.made_room = true;
                    continue;
                }
                _ => {}
            }
            match discard(batch.pipe, scratch) {
                Ok(0) => {
                    turn.outcome = Outcome::End;
                    return turn;
                }
                Ok(count) => {
                    seen(&scratch.buffer[..count]);
                    turn.dropped += count as u64;
                    let lost = self.gap.unwrap_or(0) + count as u64;
                    if self.gap.replace(lost).is_none() {
                        turn.notes.push(Note::Dropping { bytes: lost, error });
                    }
                }
                // Empty, or not readable at all: there is nothing to be done for it now.
                Err(_) => {
                    turn.outcome = Outcome::Empty;
                    return turn;
                }
            }
        }
        turn
    }

    /// One move of bytes from the pipe to the current segment. The caller decides about errors.
    fn step(&mut self, batch: &Batch<'_>, budget: u64, scratch: &mut Scratch) -> io::Result<Step> {
        let Batch { pipe, spawn, now, .. } = *batch;
        let mut kind = Kind::Bytes;
        let size = self.segment_size();
        if self.open.is_none() || self.current.len >= size {
            // Nothing is made for a pipe that has nothing to say.
            match scratch.peek(pipe, 1) {
                Ok(0) => return Ok(Step::End),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Step::Empty),
                Err(error) => return Err(error),
            }
            self.ensure_open(now)?;
        } else if self.mark_is_due(spawn, now) {
            self.check_file(now)?;
        }
        if self.current.len >= size && self.ends_with_newline()? {
            self.rotate()?;
        } else if self.current.len >= size + size / 4 {
            self.rotate()?;
            kind = Kind::Partial;
        }
        let mut limit = budget;
        if self.current.len < size {
            limit = limit.min(size - self.current.len);
        } else {
            let cap = size + size / 4 - self.current.len;
            let count = match scratch.peek(pipe, usize::try_from(cap).unwrap_or(usize::MAX)) {
                Ok(0) => return Ok(Step::End),
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Step::Empty),
                Err(error) => return Err(error),
            };
            let rest = scratch.buffer[..count].iter().position(|byte| *byte == b'\n').map_or(count, |at| at + 1);
            limit = rest as u64;
        }
        let start = self.current.len;
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        match self.store(pipe, limit, scratch) {
            Ok(0) => Ok(Step::End),
            Ok(count) => {
                self.mark(start, count as u64, spawn, now, kind);
                Ok(Step::Moved(count as u64))
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(Step::Empty),
            Err(error) => Err(error),
        }
    }

    fn store(&mut self, pipe: BorrowedFd<'_>, limit: usize, scratch: &mut Scratch) -> io::Result<usize> {
        let Some(open) = &self.open else { return Err(io::Error::from(ErrorKind::NotFound)) };
        if self.way == Way::Splice {
            return splice::splice_to_file(pipe, open.log.as_fd(), &mut self.current.len, limit);
        }
        let count = scratch.peek(pipe, limit)?;
        if count == 0 {
            return Ok(0);
        }
        let written = open.log.write_at(&scratch.buffer[..count], self.current.len)?;
        self.current.len += written as u64;
        let mut left = written;
        while left > 0 {
            match fd::read(pipe, &mut scratch.buffer[..left]) {
                // Nobody else takes from the pipe, so what was copied is there.
                Ok(0) => break,
                Ok(count) => left -= count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(written)
    }

    fn ensure_open(&mut self, now: u64) -> io::Result<()> {
        if self.open.is_some() {
            return Ok(());
        }
        if !self.listed {
            let mut found = self.place.segments()?;
            self.current = found.pop().unwrap_or(Segment { number: 1, len: 0 });
            self.closed_bytes = found.iter().map(|segment| segment.len).sum();
            self.closed = found.into();
        }
        self.open_current()?;
        if !self.listed {
            self.mark_recovered(now);
            self.listed = true;
        }
        Ok(())
    }

    fn open_current(&mut self) -> io::Result<()> {
        let (log, index) = self.place.create(self.current.number)?;
        self.current.len = log.metadata()?.len();
        if self.current.len == 0 {
            // An index that outlived its segment speaks of other bytes.
            index.set_len(0)?;
        }
        self.open = Some(Open { log, index: IndexWriter::new(index)? });
        // The first bytes behind an opening are always marked.
        self.last_mark = None;
        Ok(())
    }

    /// Bytes without a mark were stored by a manager that was killed before it could write one: they get the file's
    /// time, and the start of the instance that was writing last.
    fn mark_recovered(&mut self, now: u64) {
        let Some(open) = &mut self.open else { return };
        let last = open.index.last();
        let covered = last.map_or(0, Mark::end);
        let modified = modified_ns(&open.log).unwrap_or(now);
        let coalesced = last.is_some_and(|last| modified <= last.time_ns + 2 * COALESCE_NS);
        if covered < self.current.len && !coalesced {
            open.index.append(Mark {
                offset: covered,
                time_ns: modified,
                spawn: last.map_or(0, |last| last.spawn),
                length: u32::try_from(self.current.len - covered).unwrap_or(u32::MAX),
                kind: Kind::Recovered,
            });
        }
    }

    /// Somebody may have deleted or truncated the file: then what comes goes to a new segment, or to where it ends now.
    fn check_file(&mut self, now: u64) -> io::Result<()> {
        let Some(open) = &self.open else { return Ok(()) };
        let metadata = open.log.metadata()?;
        if metadata.nlink() == 0 {
            self.current.number += 1;
            self.open = None;
            return self.ensure_open(now);
        }
        self.current.len = metadata.len();
        Ok(())
    }

    fn ends_with_newline(&self) -> io::Result<bool> {
        let Some(open) = &self.open else { return Ok(false) };
        let mut last = [0];
        open.log.read_exact_at(&mut last, self.current.len.saturating_sub(1))?;
        Ok(last[0] == b'\n')
    }

    fn rotate(&mut self) -> io::Result<()> {
        let next = Segment { number: self.current.number + 1, len: 0 };
        let (log, index) = self.place.create(next.number)?;
        let open = Open { log, index: IndexWriter::new(index)? };
        self.closed_bytes += self.current.len;
        self.closed.push_back(self.current);
        self.current = next;
        self.open = Some(open);
        self.last_mark = None;
        self.trim();
        Ok(())
    }

    fn trim(&mut self) {
        while self.closed_bytes + self.current.len > self.limits.max_size && self.delete_oldest() {}
    }

    fn delete_oldest(&mut self) -> bool {
        let Some(oldest) = self.closed.front().copied() else { return false };
        // One that cannot be deleted (read-only) stays first in the list and is tried again with the next bytes.
        if self.place.delete(oldest.number).is_err() {
            return false;
        }
        self.closed.pop_front();
        self.closed_bytes -= oldest.len;
        true
    }

    fn mark_is_due(&self, spawn: u64, now: u64) -> bool {
        // A clock that was set back must not silence the marks until it has caught up.
        self.gap.is_some()
            || self.last_mark.is_none_or(|(last, of)| of != spawn || now < last || now - last >= COALESCE_NS)
    }

    fn mark(&mut self, offset: u64, length: u64, spawn: u64, now: u64, kind: Kind) {
        if !self.mark_is_due(spawn, now) {
            return;
        }
        let Some(open) = &mut self.open else { return };
        let mut lost = self.gap.unwrap_or(0);
        while lost > 0 {
            let piece = u32::try_from(lost).unwrap_or(u32::MAX);
            open.index.append(Mark { offset, time_ns: now, spawn, length: piece, kind: Kind::Gap });
            lost -= u64::from(piece);
        }
        let length = u32::try_from(length).unwrap_or(u32::MAX);
        open.index.append(Mark { offset, time_ns: now, spawn, length, kind });
        self.last_mark = Some((now, spawn));
    }
}

/// Throws away what is next in the pipe; it stays in the buffer.
fn discard(pipe: BorrowedFd<'_>, scratch: &mut Scratch) -> io::Result<usize> {
    loop {
        match fd::read(pipe, &mut scratch.buffer) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
}

/// When the file was last written to, `CLOCK_REALTIME` nanoseconds.
pub(super) fn modified_ns(file: &File) -> io::Result<u64> {
    let metadata = file.metadata()?;
    let seconds = u64::try_from(metadata.mtime()).unwrap_or(0);
    Ok(seconds * 1_000_000_000 + u64::try_from(metadata.mtime_nsec()).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::super::types::Stream;
    use super::*;
    use std::fs;
    use std::io::Read;

    fn bytes(mut file: &File) -> Vec<u8> {
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).unwrap();
        bytes
    }

    /// Fault 25.
    #[test]
    fn a_file_system_that_cannot_be_spliced_to_is_written_to() {
        let root = std::env::temp_dir().join(format!("svd-logs-copy-{}", std::process::id()));
        let limits = Limits { segment: 4096, max_size: 1 << 30 };
        let mut track = Track::new(Place::new(&root, "web.1", Stream::Stdout).unwrap(), limits);
        track.way = Way::Copy;
        let (read, write) = fd::pipe().unwrap();
        let lines: Vec<u8> = (0..2000).flat_map(|number| format!("line {number}\n").into_bytes()).collect();
        assert_eq!(fd::write(write.as_fd(), &lines).unwrap(), lines.len());
        drop(write);
        let batch = Batch { pipe: read.as_fd(), spawn: 1, now: 1, budget: 1 << 20, patience: Patience::None };
        let turn = track.turn(&batch, &mut Scratch::new().unwrap(), |_| {});
        assert!(turn.outcome == Outcome::End && turn.dropped == 0);
        let segments = track.place.segments().unwrap();
        assert!(segments.len() > 4);
        let stored: Vec<u8> =
            segments.iter().flat_map(|segment| bytes(&track.place.open_log(segment.number).unwrap())).collect();
        assert_eq!(stored, lines);
        fs::remove_dir_all(root).unwrap();
    }
}
