//! Several streams as one, in time order. Holds one line of each at a time.

use super::cursor::Cursor;
use super::types::{LogItem, Position, TrackId};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::io;

#[derive(Debug)]
struct Lane {
    cursor: Cursor,
    limit: Position,
    head: Option<LogItem>,
}

/// Within a stream the order is that of the bytes, whatever the clock did; between streams it is that of time.
#[derive(Debug, Default)]
pub(super) struct Merge {
    lanes: Vec<Lane>,
    by_track: HashMap<TrackId, usize>,
    /// (time, lane) of each lane that has a head.
    heads: BinaryHeap<Reverse<(u64, usize)>>,
    /// Lane of the item that was given last, and the place behind that item.
    given: Option<(usize, Position)>,
}

impl Merge {
    pub fn add(&mut self, cursor: Cursor, limit: Position) {
        self.by_track.insert(cursor.place().id().clone(), self.lanes.len());
        self.lanes.push(Lane { cursor, limit, head: None });
    }

    pub fn has(&self, track: &TrackId) -> bool {
        self.by_track.contains_key(track)
    }

    /// Lets the stream be read up to `limit`.
    pub fn extend(&mut self, track: &TrackId, limit: Position) {
        if let Some(lane) = self.by_track.get(track).and_then(|number| self.lanes.get_mut(*number)) {
            lane.limit = limit;
        }
    }

    /// Looks for heads where there is none and something may be read.
    pub fn fill(&mut self) -> io::Result<()> {
        for number in 0..self.lanes.len() {
            let lane = &self.lanes[number];
            if lane.head.is_none() && lane.cursor.at() < lane.limit {
                self.pull(number)?;
            }
        }
        Ok(())
    }

    fn pull(&mut self, number: usize) -> io::Result<()> {
        let lane = &mut self.lanes[number];
        lane.head = lane.cursor.next(lane.limit)?;
        if let Some(head) = &lane.head {
            self.heads.push(Reverse((head.time_ns(), number)));
        }
        Ok(())
    }

    /// The earliest item; `None` when all lanes are at their limits.
    pub fn next(&mut self) -> io::Result<Option<LogItem>> {
        let Some(Reverse((_, number))) = self.heads.pop() else { return Ok(None) };
        let lane = &mut self.lanes[number];
        let item = lane.head.take();
        self.given = Some((number, lane.cursor.behind()));
        self.pull(number)?;
        Ok(item)
    }

    /// Up to where a stream has been given with what [`Merge::next`] gave last.
    pub fn given(&self) -> Option<(&TrackId, Position)> {
        let (number, behind) = self.given?;
        Some((self.lanes.get(number)?.cursor.place().id(), behind))
    }

    /// What has been read of unfinished lines, in time order.
    pub fn take_unfinished(&mut self) -> Vec<LogItem> {
        let mut items: Vec<_> = self.lanes.iter_mut().filter_map(|lane| lane.cursor.take_unfinished()).collect();
        items.sort_by_key(LogItem::time_ns);
        items
    }
}
