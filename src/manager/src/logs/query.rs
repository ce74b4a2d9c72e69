//! Questions about what is stored: a window, the last lines, a pattern; answered in time order with bounded memory.
//! Everything here blocks on files, for short pieces: callers on an async runtime use a blocking thread for long
//! answers.

use super::cursor::{Begin, Cursor};
use super::follow::{Follow, Source};
use super::index;
use super::merge::Merge;
use super::progress::{Ear, Progress};
use super::segment::{Place, Segment, places};
use super::track::modified_ns;
use super::types::{LogItem, Position, Selector};
use regex::bytes::Regex;
use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};

/// What to do with a line that has no end yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unfinished {
    /// Give it, as partial.
    #[default]
    Give,
    /// Keep it for [`Query::follow`], which gives it whole.
    Keep,
}

/// What to read.
#[derive(Clone, Debug, Default)]
pub struct LogQuery {
    /// Which streams, also of instances that no longer run.
    pub selector: Selector,
    /// Not before, `CLOCK_REALTIME` nanoseconds.
    pub since_ns: Option<u64>,
    /// Not after, `CLOCK_REALTIME` nanoseconds.
    pub until_ns: Option<u64>,
    /// Only the last so many lines of all streams together. So many are held in memory.
    pub last: Option<usize>,
    /// Only lines that match; gaps are always given.
    pub grep: Option<Regex>,
    /// Only lines of this start of an instance, and no gaps.
    pub spawn: Option<u64>,
    /// What to do with lines that have no end yet.
    pub unfinished: Unfinished,
}

impl LogQuery {
    fn wants(&self, item: &LogItem) -> bool {
        let time = item.time_ns();
        self.since_ns.is_none_or(|since| time >= since)
            && self.until_ns.is_none_or(|until| time <= until)
            && match (item, &self.grep) {
                (LogItem::Line(line), Some(grep)) => grep.is_match(&line.text),
                _ => true,
            }
            && match (item, self.spawn) {
                (LogItem::Line(line), Some(spawn)) => line.spawn == spawn,
                (LogItem::Gap(_), Some(_)) => false,
                (_, None) => true,
            }
    }
}

/// The answer, as it was when it was asked for: an iterator in time order.
pub struct Query {
    root: PathBuf,
    query: LogQuery,
    merge: Merge,
    last: Option<VecDeque<LogItem>>,
    tail: Option<VecDeque<LogItem>>,
    progress: Progress,
    ear: Ear,
}

impl Query {
    pub(super) fn new(root: &Path, query: LogQuery, progress: Progress, ear: Ear) -> io::Result<Query> {
        let mut merge = Merge::default();
        for place in places(root)? {
            let id = place.id().clone();
            if !query.selector.selects(&id.instance, id.stream) {
                continue;
            }
            let end = match progress.get(&id) {
                Some(end) => end,
                None => place.end()?,
            };
            let segments = place.segments()?;
            let mut cursor = since(&place, &segments, query.since_ns)?;
            if let Some(last) = query.last
                && let Some(nearer) = tail(&place, &segments, &cursor, end, last, &query)?
            {
                cursor = nearer;
            }
            merge.add(cursor, end);
        }
        merge.fill()?;
        let mut answer = Query { root: root.to_owned(), last: None, tail: None, merge, progress, ear, query };
        if let Some(count) = answer.query.last {
            let mut last = VecDeque::new();
            while let Some(item) = answer.advance()? {
                if last.len() == count {
                    last.pop_front();
                }
                if count > 0 {
                    last.push_back(item);
                }
            }
            answer.last = Some(last);
        }
        Ok(answer)
    }

    fn advance(&mut self) -> io::Result<Option<LogItem>> {
        while let Some(item) = self.merge.next()? {
            if self.query.wants(&item) {
                return Ok(Some(item));
            }
        }
        if self.query.unfinished == Unfinished::Keep {
            return Ok(None);
        }
        if self.tail.is_none() {
            self.tail = Some(self.merge.take_unfinished().into());
        }
        let tail = self.tail.get_or_insert_default();
        while let Some(item) = tail.pop_front() {
            if self.query.wants(&item) {
                return Ok(Some(item));
            }
        }
        Ok(None)
    }

    /// Goes on with what is written from here on, without a gap and without a line twice. What was not taken from
    /// this iterator is given first. Use [`Unfinished::Keep`], or an unfinished line comes in two pieces.
    pub fn follow(self) -> Follow {
        let LogQuery { selector, grep, .. } = self.query;
        let source = Source { root: self.root, selector, grep, progress: self.progress, ear: self.ear };
        Follow::resume(source, self.merge, self.last.unwrap_or_default())
    }
}

impl Iterator for Query {
    type Item = io::Result<LogItem>;

    fn next(&mut self) -> Option<Self::Item> {
        match &mut self.last {
            Some(last) => last.pop_front().map(Ok),
            None => self.advance().transpose(),
        }
    }
}

/// A cursor at the first line that can be as late as `since_ns`.
fn since(place: &Place, segments: &[Segment], since_ns: Option<u64>) -> io::Result<Cursor> {
    let first = segments.first().map_or(0, |first| first.number);
    let Some(since_ns) = since_ns else {
        return Ok(Cursor::new(place.clone(), Position { segment: first, offset: 0 }, Begin::AtLine));
    };
    // A segment that was last written to before is left out as a whole.
    let late = |segment: &&Segment| {
        place.open_log(segment.number).and_then(|log| modified_ns(&log)).is_ok_and(|time| time >= since_ns)
    };
    let Some(segment) = segments.iter().find(late).or(segments.last()) else {
        return Ok(Cursor::new(place.clone(), Position::default(), Begin::AtLine));
    };
    let mut at = Position { segment: segment.number, offset: 0 };
    if let Ok(index) = place.open_index(segment.number) {
        // From the mark before: bytes behind the last mark may be later than it says.
        let record = index::first_since(&index, since_ns)?.saturating_sub(1);
        if let (marks, _) = index::read_block(&index, record, 1)
            && let Some(mark) = marks.first()
        {
            at.offset = mark.offset.min(segment.len);
        }
    }
    Cursor::at_next_line(place.clone(), at)
}

/// A cursor from which on `count` wanted lines lie before `end`, found by looking at more and more from the end;
/// `None` where `from` is that place.
fn tail(
    place: &Place,
    segments: &[Segment],
    from: &Cursor,
    end: Position,
    count: usize,
    query: &LogQuery,
) -> io::Result<Option<Cursor>> {
    let mut window = 16 * 1024;
    loop {
        let start = back(segments, end, window);
        if start <= from.at() {
            return Ok(None);
        }
        let mut cursor = Cursor::at_next_line(place.clone(), start)?;
        let mut found = 0;
        while let Some(item) = cursor.next(end)? {
            found += usize::from(query.wants(&item));
        }
        if found >= count {
            return Cursor::at_next_line(place.clone(), start).map(Some);
        }
        window *= 4;
    }
}

/// The place `bytes` before `end`, or the very beginning.
fn back(segments: &[Segment], end: Position, mut bytes: u64) -> Position {
    for segment in segments.iter().rev().filter(|segment| segment.number <= end.segment) {
        let len = if segment.number == end.segment { end.offset } else { segment.len };
        if bytes <= len {
            return Position { segment: segment.number, offset: len - bytes };
        }
        bytes -= len;
    }
    Position::default()
}
