//! The index beside a segment: time marks of 32 bytes, little-endian, written after the bytes that they are about.
//!
//! ```text
//! 0 offset u64 | 8 time u64, CLOCK_REALTIME ns | 16 spawn u64 | 24 length u32 | 28 flags u16 | 30 check u16
//! ```
//!
//! A mark says: from `offset` on, bytes were read at `time` from this start of the instance; `length` bytes are
//! certain, and what follows up to the next mark came within [`COALESCE_NS`]. The manager can be killed between bytes
//! and mark, and power can fail: a reader believes a mark only by its check, and an index may be short or missing.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;

/// At most one mark in this time as long as the same process writes, so that the index stays small.
pub(super) const COALESCE_NS: u64 = 10_000_000;
/// Size of a mark in the file.
pub(super) const MARK_LEN: usize = 32;

/// What a mark is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Bytes.
    Bytes,
    /// Bytes that were found without a mark after the manager had died; the time is the file's.
    Recovered,
    /// The segment begins within a line, which was too long for the one before.
    Partial,
    /// `length` bytes were lost before `offset`.
    Gap,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    pub offset: u64,
    pub time_ns: u64,
    pub spawn: u64,
    pub length: u32,
    pub kind: Kind,
}

impl Mark {
    pub fn encode(self) -> [u8; MARK_LEN] {
        let flags: u16 = match self.kind {
            Kind::Bytes => 0,
            Kind::Recovered => 1,
            Kind::Partial => 2,
            Kind::Gap => 4,
        };
        let mut bytes = [0; MARK_LEN];
        bytes[0..8].copy_from_slice(&self.offset.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.time_ns.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.spawn.to_le_bytes());
        bytes[24..28].copy_from_slice(&self.length.to_le_bytes());
        bytes[28..30].copy_from_slice(&flags.to_le_bytes());
        let check = check(&bytes);
        bytes[30..32].copy_from_slice(&check.to_le_bytes());
        bytes
    }

    /// `None` for what is no mark: torn, zeroed by a power cut, or of a kind that this version does not know.
    pub fn decode(bytes: &[u8; MARK_LEN]) -> Option<Mark> {
        let u64_at = |at: usize| u64::from_le_bytes(std::array::from_fn(|i| bytes[at + i]));
        let u16_at = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
        let kind = match u16_at(28) {
            0 => Kind::Bytes,
            1 => Kind::Recovered,
            2 => Kind::Partial,
            4 => Kind::Gap,
            _ => return None,
        };
        (u16_at(30) == check(bytes)).then(|| Mark {
            offset: u64_at(0),
            time_ns: u64_at(8),
            spawn: u64_at(16),
            length: u32::from_le_bytes([bytes[24], bytes[25], bytes[26], bytes[27]]),
            kind,
        })
    }

    /// Up to where it is certain.
    pub fn end(self) -> u64 {
        match self.kind {
            Kind::Gap => self.offset,
            _ => self.offset + u64::from(self.length),
        }
    }
}

/// FNV-1a over all but the check, folded. It is never right for zeros.
fn check(bytes: &[u8; MARK_LEN]) -> u16 {
    let hash =
        bytes[..30].iter().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193));
    ((hash >> 16) ^ (hash & 0xffff)) as u16
}

/// An index that is being written. What cannot be written is left out: the readers cope.
#[derive(Debug)]
pub(super) struct IndexWriter {
    file: File,
    count: u64,
}

impl IndexWriter {
    /// Goes on behind the whole records of `file`; a torn one is written over.
    pub fn new(file: File) -> io::Result<IndexWriter> {
        let count = file.metadata()?.len() / MARK_LEN as u64;
        Ok(IndexWriter { file, count })
    }

    pub fn append(&mut self, mark: Mark) {
        if self.file.write_all_at(&mark.encode(), self.count * MARK_LEN as u64).is_ok() {
            self.count += 1;
        }
    }

    pub fn last(&self) -> Option<Mark> {
        (0..self.count).rev().take(64).find_map(|number| read_one(&self.file, number))
    }
}

fn read_one(file: &File, number: u64) -> Option<Mark> {
    let mut bytes = [0; MARK_LEN];
    file.read_exact_at(&mut bytes, number * MARK_LEN as u64).ok()?;
    Mark::decode(&bytes)
}

/// At most `limit` marks from record `from` on, and the number of the record behind them. Records that are no marks
/// are left out.
pub(super) fn read_block(file: &File, from: u64, limit: usize) -> (Vec<Mark>, u64) {
    let mut bytes = vec![0; limit * MARK_LEN];
    let mut filled = 0;
    while filled < bytes.len() {
        match file.read_at(&mut bytes[filled..], from * MARK_LEN as u64 + filled as u64) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => break,
        }
    }
    let (records, _) = bytes[..filled].as_chunks::<MARK_LEN>();
    (records.iter().filter_map(Mark::decode).collect(), from + records.len() as u64)
}

/// The record number of the first mark at or after `time_ns`, by bisection; equal to the count where there is none.
/// After a step of the clock it may be off; callers check each line's own time.
pub(super) fn first_since(file: &File, time_ns: u64) -> io::Result<u64> {
    let (mut low, mut high) = (0, file.metadata()?.len() / MARK_LEN as u64);
    while low < high {
        let middle = low + (high - low) / 2;
        // What cannot be read sends the search to the left: too much is read rather than too little.
        match read_one(file, middle) {
            Some(mark) if mark.time_ns < time_ns => low = middle + 1,
            _ => high = middle,
        }
    }
    Ok(low)
}

/// The record number of the last mark at or before `offset`, by bisection; 0 where all are behind it.
pub(super) fn last_at_or_before(file: &File, offset: u64) -> io::Result<u64> {
    let (mut low, mut high) = (0, file.metadata()?.len() / MARK_LEN as u64);
    while low < high {
        let middle = low + (high - low) / 2;
        match read_one(file, middle) {
            Some(mark) if mark.offset <= offset => low = middle + 1,
            _ => high = middle,
        }
    }
    Ok(low.saturating_sub(1))
}
