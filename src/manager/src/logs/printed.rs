//! Up to where the foreground has printed each stream, noted where it outlives the manager: the next one's foreground
//! goes on from there.
//!
//! Owns the notes: a memfd that the keeper holds for the next manager, one slot for each stream and a head. Only the
//! printing thread writes to it, and only around its own writing: while nothing is printed, nothing is noted. Nobody
//! waits for it. What it says is checked when it is read: a manager may be killed in the middle of a note.
//!
//! ```text
//! head  magic, 1 while the terminal is being written to
//! slot  length of the name, stream, name, two copies of: number, segment, offset, begin, check (u64, little-endian)
//! ```
//!
//! The copies are written in turn and the valid one with the higher number counts, so that a torn note leaves the one
//! before it: some lines come twice, none is lost. When svd starts, every stream that is there is noted as printed up
//! to its end; a stream without a slot is therefore new, and is printed from its beginning.

use super::cursor::Begin;
use super::segment::{Place, places};
use super::types::{Position, Stream, TrackId};
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

/// Head and slots are of this size, bytes.
const SLOT: usize = 256;
/// As many streams are noted, 4 MiB of notes; others are printed from now on after the death of a manager.
const SLOTS: u64 = 16 * 1024;
const MAGIC: &[u8; 8] = b"printed1";
/// Where the head says that the terminal is being written to.
const WRITING: u64 = MAGIC.len() as u64;
/// Where the copies begin: behind the longest name, 128 bytes.
const COPIES: usize = 136;
const COPY: usize = 40;

/// Where reading a stream goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Spot {
    pub at: Position,
    pub begin: Begin,
}

#[derive(Debug)]
struct Slot {
    /// Its place in the file; the head is number 0.
    number: u64,
    /// Of the copy that counts.
    copy: u64,
    spot: Spot,
}

/// The notes.
#[derive(Debug)]
pub struct Printed {
    file: File,
    slots: HashMap<TrackId, Slot>,
    /// The number of the next new slot.
    next: u64,
    cut: bool,
}

impl Printed {
    /// New notes: what lies below `logs` by now is not printed.
    ///
    /// # Errors
    /// The logs cannot be read, or no memory is to be had.
    pub fn begin(logs: &Path) -> io::Result<Printed> {
        let file = File::from(svd_sys::fd::shared_memfd("svd-printed")?);
        let mut head = [0; SLOT];
        head[..MAGIC.len()].copy_from_slice(MAGIC);
        file.write_all_at(&head, 0)?;
        let mut printed = Printed { file, slots: HashMap::new(), next: 1, cut: false };
        for place in places(logs)? {
            let spot = Spot::at_end(&place)?;
            printed.note(place.id(), spot)?;
        }
        Ok(printed)
    }

    /// The notes of the manager before.
    ///
    /// # Errors
    /// They are of another kind, or cannot be read.
    pub fn resume(memfd: OwnedFd) -> io::Result<Printed> {
        let file = File::from(memfd);
        let mut head = [0; SLOT];
        file.read_exact_at(&mut head, 0)?;
        if !head.starts_with(MAGIC) {
            return Err(io::Error::new(ErrorKind::InvalidData, "notes of another kind"));
        }
        let cut = head[MAGIC.len()] != 0;
        // The last slot may be torn: what is there of it is not used again.
        let next = file.metadata()?.len().div_ceil(SLOT as u64).clamp(1, SLOTS + 1);
        let mut slots = HashMap::new();
        for number in 1..next {
            let mut bytes = [0; SLOT];
            match file.read_exact_at(&mut bytes, number * SLOT as u64) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => break,
                Err(error) => return Err(error),
            }
            if let Some((id, copy, spot)) = decode(&bytes) {
                slots.insert(id, Slot { number, copy, spot });
            }
        }
        Ok(Printed { file, slots, next, cut })
    }

    /// A descriptor of the notes, for the keeper.
    ///
    /// # Errors
    /// No descriptor is free.
    pub fn share(&self) -> io::Result<OwnedFd> {
        Ok(self.file.try_clone()?.into())
    }

    /// The manager before was killed while it wrote: its last line may be incomplete.
    pub(super) fn is_cut(&self) -> bool {
        self.cut
    }

    /// Where printing of a stream goes on that has been there since before this manager.
    pub(super) fn spot(&self, place: &Place) -> io::Result<Spot> {
        let Some(slot) = self.slots.get(place.id()) else {
            // With no room for a note, nothing is known of a stream that has none.
            return if self.is_full() { Spot::at_end(place) } else { Ok(Spot::default()) };
        };
        // Only if somebody has truncated the file.
        let at = slot.spot.at.min(place.end()?);
        Ok(Spot { at, begin: slot.spot.begin })
    }

    fn is_full(&self) -> bool {
        self.next > SLOTS
    }

    /// To be called before the terminal is written to.
    pub(super) fn writing(&mut self) -> io::Result<()> {
        self.file.write_all_at(&[1], WRITING)
    }

    /// To be called after it was written to: these streams are printed up to these places.
    pub(super) fn written(&mut self, ends: impl Iterator<Item = (TrackId, Position)>) -> io::Result<()> {
        for (id, at) in ends {
            self.note(&id, Spot { at, begin: Begin::AtLine })?;
        }
        self.file.write_all_at(&[0], WRITING)
    }

    /// No more can be noted: a later manager must not go by what these notes say.
    pub(super) fn give_up(self) {
        if let Err(error) = self.file.write_all_at(&[0; MAGIC.len()], 0) {
            tracing::warn!(%error, "a later manager will print output again that was printed already");
        }
    }

    fn note(&mut self, id: &TrackId, spot: Spot) -> io::Result<()> {
        if let Some(slot) = self.slots.get_mut(id) {
            if slot.spot == spot {
                return Ok(());
            }
            let name = encode_name(id)?;
            let copy = slot.copy + 1;
            let at = slot.number * SLOT as u64 + copy_at(copy) as u64;
            self.file.write_all_at(&encode_copy(&name, copy, spot), at)?;
            (slot.copy, slot.spot) = (copy, spot);
            return Ok(());
        }
        if self.is_full() {
            return Ok(());
        }
        let name = encode_name(id)?;
        let mut bytes = [0; SLOT];
        bytes[..COPIES].copy_from_slice(&name);
        bytes[copy_at(1)..copy_at(1) + COPY].copy_from_slice(&encode_copy(&name, 1, spot));
        self.file.write_all_at(&bytes, self.next * SLOT as u64)?;
        self.slots.insert(id.clone(), Slot { number: self.next, copy: 1, spot });
        self.next += 1;
        Ok(())
    }
}

impl Default for Spot {
    /// The beginning of a stream that has never been read.
    fn default() -> Spot {
        Spot { at: Position::default(), begin: Begin::AtLine }
    }
}

impl Spot {
    fn at_end(place: &Place) -> io::Result<Spot> {
        let at = place.end()?;
        Ok(Spot { at, begin: Begin::at(place, at)? })
    }
}

fn copy_at(copy: u64) -> usize {
    if copy.is_multiple_of(2) { COPIES } else { COPIES + COPY }
}

fn encode_name(id: &TrackId) -> io::Result<[u8; COPIES]> {
    let name = id.instance.as_bytes();
    let mut bytes = [0; COPIES];
    let room = bytes.get_mut(2..2 + name.len()).ok_or(ErrorKind::InvalidInput)?;
    room.copy_from_slice(name);
    bytes[0] = name.len() as u8; // At most COPIES.
    bytes[1] = match id.stream {
        Stream::Stdout => 1,
        Stream::Stderr => 2,
    };
    Ok(bytes)
}

fn encode_copy(name: &[u8; COPIES], copy: u64, spot: Spot) -> [u8; COPY] {
    let begin = match spot.begin {
        Begin::AtLine => 0,
        Begin::WithinLine => 1,
    };
    let mut bytes = [0; COPY];
    for (place, number) in bytes.chunks_exact_mut(8).zip([copy, spot.at.segment, spot.at.offset, begin]) {
        place.copy_from_slice(&number.to_le_bytes());
    }
    let check = check(name, &bytes[..COPY - 8]);
    bytes[COPY - 8..].copy_from_slice(&check.to_le_bytes());
    bytes
}

/// Stream, number of the copy that counts, and what it says; `None` where no copy is whole.
fn decode(slot: &[u8; SLOT]) -> Option<(TrackId, u64, Spot)> {
    let (name, rest) = slot.split_first_chunk::<COPIES>()?;
    let copies = rest[..2 * COPY].chunks_exact(COPY).filter_map(|bytes| {
        let mut numbers = bytes.chunks_exact(8).filter_map(|number| Some(u64::from_le_bytes(number.try_into().ok()?)));
        let mut next = || numbers.next();
        let (copy, segment, offset, begin) = (next()?, next()?, next()?, next()?);
        let begin = if begin == 0 { Begin::AtLine } else { Begin::WithinLine };
        let whole = next()? == check(name, &bytes[..COPY - 8]);
        whole.then_some((copy, Spot { at: Position { segment, offset }, begin }))
    });
    let (copy, spot) = copies.max_by_key(|(copy, _)| *copy)?;
    let stream = match name[1] {
        1 => Stream::Stdout,
        2 => Stream::Stderr,
        _ => return None,
    };
    let instance = std::str::from_utf8(name.get(2..2 + usize::from(name[0]))?).ok()?;
    Some((TrackId { instance: Arc::from(instance), stream }, copy, spot))
}

/// FNV-1a, 64 bits: against torn notes, not against malice.
fn check(name: &[u8], copy: &[u8]) -> u64 {
    name.iter()
        .chain(copy)
        .fold(0xcbf2_9ce4_8422_2325, |sum, byte| (sum ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(instance: &str, stream: Stream) -> TrackId {
        TrackId { instance: Arc::from(instance), stream }
    }

    fn at(segment: u64, offset: u64) -> Position {
        Position { segment, offset }
    }

    fn fresh() -> Printed {
        Printed::begin(Path::new("/nonexistent")).unwrap()
    }

    fn again(printed: &Printed) -> Printed {
        Printed::resume(printed.share().unwrap()).unwrap()
    }

    fn noted(printed: &Printed) -> Vec<(TrackId, Position)> {
        let mut all: Vec<_> = printed.slots.iter().map(|(id, slot)| (id.clone(), slot.spot.at)).collect();
        all.sort();
        all
    }

    #[test]
    fn the_next_manager_reads_what_was_noted_last_and_notes_on() {
        let mut printed = fresh();
        let streams = [id("web.1", Stream::Stdout), id("web.1", Stream::Stderr), id(&"w".repeat(128), Stream::Stdout)];
        for offset in 0..5 {
            for id in &streams {
                printed.written([(id.clone(), at(1, offset))].into_iter()).unwrap();
            }
            printed = again(&printed);
            assert_eq!(printed.next, 4);
            assert!(noted(&printed).iter().all(|(_, spot)| *spot == at(1, offset)));
        }
        let mut names: Vec<_> = noted(&printed).into_iter().map(|(id, _)| id).collect();
        names.sort();
        let mut expected = streams.to_vec();
        expected.sort();
        assert_eq!(names, expected);
    }

    /// Fault 52.
    #[test]
    fn a_torn_note_leaves_the_one_before_it() {
        // given: two notes of one stream
        let web = id("web.1", Stream::Stdout);
        let mut printed = fresh();
        printed.written([(web.clone(), at(1, 10))].into_iter()).unwrap();
        printed.written([(web.clone(), at(1, 20))].into_iter()).unwrap();
        let second = (SLOT + copy_at(2)) as u64;
        let mut whole = [0; COPY];
        printed.file.read_exact_at(&mut whole, second).unwrap();
        for torn in 0..COPY as u64 - 8 {
            // when: a byte of the second is not what it was to be
            printed.file.write_all_at(&[whole[torn as usize] ^ 0x55], second + torn).unwrap();
            // then
            let mut next = again(&printed);
            assert_eq!(noted(&next), [(web.clone(), at(1, 10))]);
            // and: the next note takes its place
            next.written([(web.clone(), at(1, 30))].into_iter()).unwrap();
            assert_eq!(noted(&again(&next)), [(web.clone(), at(1, 30))]);
            printed.file.write_all_at(&whole, second).unwrap();
        }
    }

    #[test]
    fn a_slot_that_is_torn_or_makes_no_sense_is_as_if_it_were_not_there() {
        let web = id("web.1", Stream::Stdout);
        let mut printed = fresh();
        printed.written([(web.clone(), at(1, 10))].into_iter()).unwrap();
        let len = printed.file.metadata().unwrap().len();
        for junk in [vec![0; SLOT], vec![0xff; SLOT], b"\x05\x01web.2".to_vec()] {
            printed.file.set_len(len).unwrap();
            printed.file.write_all_at(&junk, len).unwrap();
            let mut next = again(&printed);
            assert_eq!(noted(&next), [(web.clone(), at(1, 10))]);
            // and: later ones stand behind it
            let other = id("web.3", Stream::Stdout);
            next.written([(other.clone(), at(7, 7))].into_iter()).unwrap();
            assert_eq!(noted(&again(&next)), [(web.clone(), at(1, 10)), (other, at(7, 7))]);
        }
    }

    #[test]
    fn notes_that_are_full_take_no_new_stream_and_keep_the_others_up_to_date() {
        let mut printed = fresh();
        let name = |number: u64| id(&format!("web.{number}"), Stream::Stdout);
        printed.written((0..SLOTS + 10).map(|number| (name(number), at(1, 1)))).unwrap();
        printed.written((0..SLOTS + 10).map(|number| (name(number), at(1, 2)))).unwrap();
        let next = again(&printed);
        assert!(next.is_full());
        assert_eq!(next.file.metadata().unwrap().len(), (SLOTS + 1) * SLOT as u64);
        assert_eq!(next.slots.len() as u64, SLOTS);
        assert!(next.slots.values().all(|slot| slot.spot.at == at(1, 2)));
    }

    #[test]
    fn an_interrupted_write_to_the_terminal_is_known_to_the_next_manager() {
        let mut printed = fresh();
        assert!(!again(&printed).is_cut());
        printed.writing().unwrap();
        assert!(again(&printed).is_cut());
        printed.written(std::iter::empty()).unwrap();
        assert!(!again(&printed).is_cut());
    }

    #[test]
    fn notes_of_another_kind_and_notes_that_were_given_up_are_refused() {
        let other = svd_sys::fd::shared_memfd("other").unwrap();
        assert!(Printed::resume(other).is_err());
        let printed = fresh();
        let kept = printed.share().unwrap();
        printed.give_up();
        assert!(Printed::resume(kept).is_err());
    }
}
