//! A time zone as a list of segments with one offset each.

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

/// A stretch of time in which a zone keeps its offset. All numbers are seconds, instants since the epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Segment {
    /// First instant; `None` where the zone has always been like this.
    pub start: Option<i64>,
    /// Civil time is instant plus this.
    pub offset: i64,
    /// By how much clocks were put forward at the start (or back, when negative); 0 without one.
    pub jump: i64,
    /// First instant of the next segment.
    pub end: Option<i64>,
}

/// What was last looked up of one zone. Instants that are near each other lie in one segment mostly, and to find one takes
/// longer than all the rest. Belongs to one zone with its data as it is.
#[derive(Clone, Copy, Debug, Default)]
pub struct Known(Option<Segment>);

impl Known {
    /// The segment that an instant lies in.
    pub(crate) fn containing(&mut self, zone: &TimeZone, instant: i64) -> Option<Segment> {
        let covers = |known: &Segment| {
            known.start.is_none_or(|start| start <= instant) && known.end.is_none_or(|end| instant < end)
        };
        if !self.0.as_ref().is_some_and(covers) {
            self.0 = Segment::containing(zone, instant);
        }
        self.0
    }
}

impl Segment {
    /// The segment that an instant lies in. `None` beyond what an instant can be (year 9999).
    pub fn containing(zone: &TimeZone, instant: i64) -> Option<Segment> {
        let at = Timestamp::from_second(instant).ok()?;
        let offset = seconds(zone, at);
        // `preceding` is about what is strictly earlier: this second's own change is to be among it.
        let later = at.checked_add(SignedDuration::from_secs(1)).unwrap_or(at);
        let mut changes = zone.preceding(later).filter_map(|change| jump_at(zone, change.timestamp()));
        let (start, jump) = changes.next().map_or((None, 0), |(start, jump)| (Some(start), jump));
        let end = zone.following(at).find_map(|change| jump_at(zone, change.timestamp())).map(|(end, _)| end);
        Some(Segment { start, offset, jump, end })
    }
}

/// An instant of change and by how much; changes that only rename the time are none.
fn jump_at(zone: &TimeZone, at: Timestamp) -> Option<(i64, i64)> {
    let before = at.checked_sub(SignedDuration::from_secs(1)).ok()?;
    let jump = seconds(zone, at) - seconds(zone, before);
    (jump != 0).then_some((at.as_second(), jump))
}

fn seconds(zone: &TimeZone, at: Timestamp) -> i64 {
    i64::from(zone.to_offset(at).seconds())
}
