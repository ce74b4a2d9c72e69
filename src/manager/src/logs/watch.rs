//! `ready = { log = "…" }`: the first line of one start of an instance that matches. Reads the files behind the pump,
//! so that a slow pattern never holds up the storing of bytes for longer than one step.

use super::cursor::{Begin, Cursor};
use super::index::{self, MARK_LEN};
use super::segment::Place;
use super::types::{LogItem, Position, TrackId};
use regex::bytes::Regex;
use std::io;

/// Lines looked at in one step.
const STEP: usize = 512;
/// How far back in an index the beginning of a start is looked for: some five minutes of steady writing.
const LOOK_BACK: usize = 1024 * 1024 / MARK_LEN;

/// How a step ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    Match,
    /// All that is stored has been looked at.
    AllNothing,
    /// There is more to look at.
    More,
}

pub(super) struct Watch {
    pub spawn: u64,
    pattern: Regex,
    cursors: Vec<Cursor>,
}

impl Watch {
    pub fn new(spawn: u64, pattern: Regex) -> Watch {
        Watch { spawn, pattern, cursors: Vec::new() }
    }

    /// Looks at this stream too, from where `spawn` began to write to it.
    pub fn add(&mut self, place: Place) -> io::Result<()> {
        if self.cursors.iter().any(|cursor| cursor.place().id() == place.id()) {
            return Ok(());
        }
        let at = beginning(&place, self.spawn)?;
        self.cursors.push(Cursor::new(place, at, Begin::AtLine));
        Ok(())
    }

    /// Looks at some lines; `end` says how far a stream is stored.
    pub fn step(&mut self, end: impl Fn(&TrackId) -> Option<Position>) -> io::Result<Seen> {
        let mut left = STEP;
        for cursor in &mut self.cursors {
            let Some(limit) = end(cursor.place().id()) else { continue };
            while let Some(item) = cursor.next(limit)? {
                if let LogItem::Line(line) = item
                    && line.spawn == self.spawn
                    && self.pattern.is_match(&line.text)
                {
                    return Ok(Seen::Match);
                }
                left -= 1;
                if left == 0 {
                    return Ok(Seen::More);
                }
            }
        }
        Ok(Seen::AllNothing)
    }

    /// Lines that could not be stored count too: a full disk must not make a process unready.
    pub fn matches_dropped(&self, bytes: &[u8]) -> bool {
        bytes.split(|byte| *byte == b'\n').any(|line| self.pattern.is_match(line))
    }
}

/// Where `spawn` began to write; the end of the stream where it has written nothing yet.
fn beginning(place: &Place, spawn: u64) -> io::Result<Position> {
    let segments = place.segments()?;
    let Some(last) = segments.last() else { return Ok(Position::default()) };
    let mut at = Position { segment: last.number, offset: last.len };
    let mut left = LOOK_BACK;
    for segment in segments.iter().rev() {
        let Ok(index) = place.open_index(segment.number) else { break };
        let records = usize::try_from(index.metadata()?.len()).unwrap_or(usize::MAX) / MARK_LEN;
        let count = records.min(left);
        let (marks, _) = index::read_block(&index, (records - count) as u64, count);
        if let Some(mark) = marks.iter().find(|mark| mark.spawn == spawn) {
            at = Position { segment: segment.number, offset: mark.offset };
        } else if !marks.is_empty() {
            break;
        }
        left -= count;
        if left == 0 {
            break;
        }
    }
    Ok(at)
}
