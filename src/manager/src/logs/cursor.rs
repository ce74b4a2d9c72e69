//! Reads one stream from the files, forwards, as lines with time and origin.
//!
//! A cursor holds no descriptor: it opens a segment, takes a piece, closes it. So readers neither keep deleted
//! segments alive nor use up descriptors, however many they are and however slow. It never reads beyond the limit it
//! is given: up to there bytes and marks are both written.

use super::index::{self, COALESCE_NS, Kind, Mark};
use super::segment::Place;
use super::track::modified_ns;
use super::types::{Gap, GapCause, LogItem, LogLine, Position};
use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;

/// Longer lines are given in pieces of this size.
pub(super) const MAX_LINE: usize = 64 * 1024;
const PIECE: usize = 16 * 1024;
const MARKS: usize = 128;

/// What is done with the bytes up to the next newline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Begin {
    /// Reading begins with a line.
    AtLine,
    /// Reading begins within a line, which is left out.
    WithinLine,
}

impl Begin {
    /// How a reader begins at `at` that was given nothing before it: the rest of a line is of no use to it.
    pub fn at(place: &Place, at: Position) -> io::Result<Begin> {
        if at.offset == 0 {
            return Ok(Begin::AtLine);
        }
        let mut before = [0];
        match place.open_log(at.segment).and_then(|log| log.read_exact_at(&mut before, at.offset - 1)) {
            Ok(()) if before[0] != b'\n' => Ok(Begin::WithinLine),
            Err(error) if !matches!(error.kind(), ErrorKind::NotFound | ErrorKind::UnexpectedEof) => Err(error),
            _ => Ok(Begin::AtLine),
        }
    }
}

/// The marks of the segment that is being read, a block at a time.
#[derive(Debug, Default)]
struct Marks {
    /// The one that holds for the byte to come.
    now: Option<Mark>,
    ahead: VecDeque<Mark>,
    next_record: u64,
    /// Nothing more was there when it was last looked for; looked for again after new bytes.
    drained: bool,
    /// The time of bytes behind the last mark, once it has been found out for this piece.
    tail_ns: Option<u64>,
}

#[derive(Clone, Copy, Debug)]
struct Head {
    time_ns: u64,
    spawn: u64,
}

#[derive(Debug)]
pub(super) struct Cursor {
    place: Place,
    /// Of the byte that comes next.
    at: Position,
    piece: Vec<u8>,
    used: usize,
    marks: Marks,
    line: Vec<u8>,
    head: Option<Head>,
    begin: Begin,
    /// Each with the place behind it: where a reader goes on that was given it.
    ready: VecDeque<(LogItem, Position)>,
    /// The place behind what was given last.
    behind: Position,
}

impl Cursor {
    pub fn new(place: Place, at: Position, begin: Begin) -> Cursor {
        Cursor {
            place,
            at,
            piece: Vec::new(),
            used: 0,
            marks: Marks::default(),
            line: Vec::new(),
            head: None,
            begin,
            ready: VecDeque::new(),
            behind: at,
        }
    }

    /// A cursor at `at`, which leaves out the rest of a line that began before it.
    pub fn at_next_line(place: Place, at: Position) -> io::Result<Cursor> {
        let begin = Begin::at(&place, at)?;
        Ok(Cursor::new(place, at, begin))
    }

    pub fn place(&self) -> &Place {
        &self.place
    }

    pub fn at(&self) -> Position {
        self.at
    }

    /// The place behind the item that was given last: a new cursor there, with [`Begin::AtLine`], gives what follows it.
    pub fn behind(&self) -> Position {
        self.behind
    }

    fn give(&mut self) -> Option<LogItem> {
        let (item, behind) = self.ready.pop_front()?;
        self.behind = behind;
        Some(item)
    }

    /// The next line or gap before `limit`; `None` where there is none yet.
    pub fn next(&mut self, limit: Position) -> io::Result<Option<LogItem>> {
        loop {
            if let Some(item) = self.give() {
                return Ok(Some(item));
            }
            if self.used == self.piece.len() && !self.fetch(limit)? {
                // Thousands of idle cursors keep no buffers.
                self.piece = Vec::new();
                self.used = 0;
                return Ok(self.give());
            }
            self.take_run()?;
        }
    }

    /// What has been read of a line that is not finished.
    pub fn take_unfinished(&mut self) -> Option<LogItem> {
        self.break_line();
        self.give()
    }

    /// Gets more bytes; false at the limit.
    fn fetch(&mut self, limit: Position) -> io::Result<bool> {
        loop {
            if self.at >= limit {
                return Ok(false);
            }
            let log = match self.place.open_log(self.at.segment) {
                Ok(log) => log,
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    if !self.skip_deleted()? {
                        return Ok(false);
                    }
                    continue;
                }
                Err(error) => return Err(error),
            };
            let mut room = PIECE as u64;
            if limit.segment == self.at.segment {
                room = room.min(limit.offset - self.at.offset);
            }
            let room = usize::try_from(room).unwrap_or(PIECE);
            self.piece.resize(room, 0);
            self.used = 0;
            let count = loop {
                match log.read_at(&mut self.piece, self.at.offset) {
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    other => break other,
                }
            };
            let count = count.inspect_err(|_| self.piece.clear())?;
            self.piece.truncate(count);
            if count > 0 {
                self.marks.drained = false;
                self.marks.tail_ns = None;
                return Ok(true);
            }
            // A limit in a later segment says that this one grows no more.
            if limit.segment <= self.at.segment || !self.enter_next(None)? {
                return Ok(false);
            }
        }
    }

    fn enter(&mut self, segment: u64) {
        self.at = Position { segment, offset: 0 };
        self.marks = Marks::default();
    }

    /// Goes on in the next segment that there is.
    fn enter_next(&mut self, gap_at: Option<u64>) -> io::Result<bool> {
        let next = self.at.segment + 1;
        if gap_at.is_none() && self.place.exists(next) {
            self.enter(next);
            return Ok(true);
        }
        let Some(found) = self.place.segments()?.into_iter().find(|found| found.number > self.at.segment) else {
            return Ok(false);
        };
        if found.number > next || gap_at.is_some() {
            self.break_line();
            let time_ns = self.place.open_log(found.number).and_then(|log| modified_ns(&log)).unwrap_or(0);
            let time_ns = gap_at.filter(|time| *time > 0).unwrap_or(time_ns);
            self.enter(found.number);
            self.push_gap(time_ns, GapCause::Deleted);
        } else {
            self.enter(found.number);
        }
        Ok(true)
    }

    /// The segment is gone. From its very beginning nothing is missing that this reader was promised only if it has
    /// never been there (number 0: a stream that did not exist yet).
    fn skip_deleted(&mut self) -> io::Result<bool> {
        if self.at.segment == 0 {
            let first = self.place.segments()?.first().map(|first| first.number);
            if let Some(first) = first {
                self.enter(first);
                if first > 1 {
                    self.push_gap(0, GapCause::Deleted);
                }
            }
            return Ok(first.is_some());
        }
        let time = self.head.map_or(0, |head| head.time_ns).max(self.marks.now.map_or(0, |mark| mark.time_ns));
        self.enter_next(Some(time))
    }

    fn push_gap(&mut self, time_ns: u64, cause: GapCause) {
        let id = self.place.id();
        let gap = Gap { time_ns, instance: id.instance.clone(), stream: id.stream, cause };
        self.ready.push_back((LogItem::Gap(gap), self.at));
    }

    /// Takes bytes up to the next newline, mark, or end of the piece.
    fn take_run(&mut self) -> io::Result<()> {
        while let Some(mark) = self.next_mark() {
            if mark.offset > self.at.offset {
                break;
            }
            self.pass(mark);
        }
        let mut run = &self.piece[self.used..];
        if let Some(mark) = self.marks.ahead.front() {
            let until = usize::try_from(mark.offset - self.at.offset).unwrap_or(usize::MAX);
            run = &run[..until.min(run.len())];
        }
        run = &run[..run.len().min(MAX_LINE - self.line.len())];
        let newline = run.iter().position(|byte| *byte == b'\n');
        let text = &run[..newline.unwrap_or(run.len())];
        let text_len = text.len();
        let ends_line = newline.is_some();
        if self.begin == Begin::AtLine {
            self.line.extend_from_slice(text);
            if self.head.is_none() && (text_len > 0 || ends_line) {
                self.head = Some(self.origin()?);
            }
        }
        let taken = text_len + usize::from(ends_line);
        self.used += taken;
        self.at.offset += taken as u64;
        if ends_line {
            self.end_line(false);
        } else if self.line.len() == MAX_LINE {
            self.end_line(true);
        }
        Ok(())
    }

    fn end_line(&mut self, partial: bool) {
        self.begin = Begin::AtLine;
        let Some(head) = self.head.take() else { return };
        let id = self.place.id();
        let line = LogLine {
            time_ns: head.time_ns,
            instance: id.instance.clone(),
            stream: id.stream,
            spawn: head.spawn,
            text: std::mem::take(&mut self.line),
            partial,
        };
        self.ready.push_back((LogItem::Line(line), self.at));
    }

    /// What follows is not the rest of this line.
    fn break_line(&mut self) {
        if self.line.is_empty() {
            self.head = None;
            self.begin = Begin::AtLine;
        } else {
            self.end_line(true);
        }
    }

    /// From the next byte on, `mark` holds.
    fn pass(&mut self, mark: Mark) {
        self.marks.ahead.pop_front();
        // A cursor that starts in the middle passes earlier marks: what they tell was before it.
        if mark.kind == Kind::Gap && mark.offset == self.at.offset {
            self.break_line();
            self.push_gap(mark.time_ns, GapCause::NotStored { bytes: u64::from(mark.length) });
        } else if self.marks.now.is_some_and(|now| now.spawn != mark.spawn && now.spawn != 0 && mark.spawn != 0) {
            // 0 is unknown (stored by a manager that was killed before its first mark): most likely the same.
            self.break_line();
        }
        self.marks.now = Some(mark);
        self.marks.tail_ns = None;
    }

    fn next_mark(&mut self) -> Option<Mark> {
        if self.marks.ahead.is_empty() && !self.marks.drained {
            if self.marks.next_record == 0 && self.at.offset > 0 {
                self.seek_marks();
            }
            if let Ok(index) = self.place.open_index(self.at.segment) {
                let (marks, next) = index::read_block(&index, self.marks.next_record, MARKS);
                self.marks.drained = next == self.marks.next_record;
                self.marks.next_record = next;
                self.marks.ahead.extend(marks);
            } else {
                self.marks.drained = true;
            }
        }
        self.marks.ahead.front().copied()
    }

    /// Begins with the marks a little before the offset, not with the segment's first.
    fn seek_marks(&mut self) {
        let Ok(index) = self.place.open_index(self.at.segment) else { return };
        self.marks.next_record = index::last_at_or_before(&index, self.at.offset).unwrap_or(0);
    }

    /// Time and start of the instance of the byte that comes next.
    fn origin(&mut self) -> io::Result<Head> {
        let now = self.marks.now;
        if let Some(mark) = now {
            let head = Head { time_ns: mark.time_ns, spawn: mark.spawn };
            if !self.marks.ahead.is_empty() || self.at.offset < mark.end() {
                return Ok(head);
            }
        }
        let spawn = now.map_or(0, |mark| mark.spawn);
        if let Some(time_ns) = self.marks.tail_ns {
            return Ok(Head { time_ns, spawn });
        }
        // Beyond what is marked. The file's time is asked for before the marks are looked at again: if they still end
        // here, no later byte has moved that time.
        let Ok(modified) = self.place.open_log(self.at.segment).and_then(|log| modified_ns(&log)) else {
            return Ok(Head { time_ns: now.map_or(0, |mark| mark.time_ns), spawn });
        };
        self.marks.drained = false;
        let followed = self.next_mark().is_some();
        let time_ns = match now {
            Some(mark) if followed || modified <= mark.time_ns + 2 * COALESCE_NS => mark.time_ns,
            Some(mark) => modified.max(mark.time_ns),
            None => modified,
        };
        self.marks.tail_ns = Some(time_ns);
        Ok(Head { time_ns, spawn })
    }
}
