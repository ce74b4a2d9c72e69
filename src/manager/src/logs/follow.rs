//! Live lines. A follower is woken by the log thread's bell and reads the files at its own pace: however slow it is,
//! it holds up nobody, and where segments were deleted before it came to them it says so.

use super::cursor::{Begin, Cursor};
use super::merge::Merge;
use super::printed::Printed;
use super::progress::{Ear, Progress};
use super::segment::{Place, places};
use super::types::{LogItem, Position, Selector, TrackId};
use regex::bytes::Regex;
use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;

/// After so many items in a row the runtime gets its turn.
const YIELD_EVERY: u32 = 128;

/// What is followed, and how it is learnt that there is more.
pub(super) struct Source {
    /// Where the streams are.
    pub root: PathBuf,
    pub selector: Selector,
    /// Only lines that match.
    pub grep: Option<Regex>,
    pub progress: Progress,
    pub ear: Ear,
}

/// New lines of the chosen streams, also of instances that come later.
pub struct Follow {
    source: Source,
    merge: Merge,
    before: VecDeque<LogItem>,
    given: u32,
    ended: bool,
}

impl Follow {
    /// From the present end on.
    pub(super) fn from_now(source: Source) -> io::Result<Follow> {
        let mut merge = Merge::default();
        for place in places(&source.root)? {
            let id = place.id().clone();
            if source.selector.selects(&id.instance, id.stream) {
                let end = match source.progress.get(&id) {
                    Some(end) => end,
                    None => place.end()?,
                };
                merge.add(Cursor::at_next_line(place, end)?, end);
            }
        }
        Ok(Follow::resume(source, merge, VecDeque::new()))
    }

    /// From where the foreground of the manager before has printed.
    pub(super) fn from_printed(source: Source, printed: &Printed) -> io::Result<Follow> {
        let mut merge = Merge::default();
        for place in places(&source.root)? {
            let end = match source.progress.get(place.id()) {
                Some(end) => end,
                None => place.end()?,
            };
            let spot = printed.spot(&place)?;
            merge.add(Cursor::new(place, spot.at, spot.begin), end);
        }
        Ok(Follow::resume(source, merge, VecDeque::new()))
    }

    /// Up to where a stream has been given with the item that was given last.
    pub(super) fn given(&self) -> Option<(&TrackId, Position)> {
        self.merge.given()
    }

    /// Gives what was read before, then goes on from where reading is.
    pub(super) fn resume(mut source: Source, merge: Merge, before: VecDeque<LogItem>) -> Follow {
        // What was written between the reader's start and now must be looked at even if the bell is silent from here.
        source.ear.mark_changed();
        Follow { source, merge, before, given: 0, ended: false }
    }

    /// The next item; waits for one. `None` when the log thread has ended and everything was given. Safe to cancel:
    /// nothing is lost.
    pub async fn next(&mut self) -> io::Result<Option<LogItem>> {
        if let Some(item) = self.before.pop_front() {
            return Ok(Some(item));
        }
        self.given += 1;
        if self.given >= YIELD_EVERY {
            self.given = 0;
            tokio::task::yield_now().await;
        }
        let mut skipped = 0;
        loop {
            while let Some(item) = self.merge.next()? {
                if self.wants(&item) {
                    return Ok(Some(item));
                }
                skipped += 1;
                if skipped >= YIELD_EVERY {
                    skipped = 0;
                    tokio::task::yield_now().await;
                }
            }
            if self.ended {
                let mut last = VecDeque::from(self.merge.take_unfinished());
                last.retain(|item| self.wants(item));
                self.before = last;
                return Ok(self.before.pop_front());
            }
            // An error says that the thread is gone; its last bytes may not have been looked at yet.
            self.ended = self.source.ear.changed().await.is_err();
            self.refresh()?;
        }
    }

    fn wants(&self, item: &LogItem) -> bool {
        match (item, &self.source.grep) {
            (LogItem::Line(line), Some(grep)) => grep.is_match(&line.text),
            _ => true,
        }
    }

    fn refresh(&mut self) -> io::Result<()> {
        let mut new: Vec<(TrackId, Position)> = Vec::new();
        let (merge, selector) = (&mut self.merge, &self.source.selector);
        self.source.progress.for_each(|id, end| {
            if merge.has(id) {
                merge.extend(id, end);
            } else if selector.selects(&id.instance, id.stream) {
                new.push((id.clone(), end));
            }
        });
        for (id, end) in new {
            // It was not there when following began: all of it is new.
            if let Some(place) = Place::new(&self.source.root, &id.instance, id.stream) {
                self.merge.add(Cursor::new(place, Position::default(), Begin::AtLine), end);
            }
        }
        self.merge.fill()
    }
}
