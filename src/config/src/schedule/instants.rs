//! From a calendar to instants: what a zone's changes of offset do to a crontab line.
//!
//! A wildcard job runs as time passes. A fixed-time job runs once a day also on the day when its time does not exist (then
//! at the end of the gap, once however many of its times fell in) or comes twice (then the first time only). A change of
//! three hours or more is not daylight saving but a new zone, and gets no such care; one of exactly three hours back does.
//! The rules are Debian cron's; they are written per segment of constant offset, so that the result is one fixed
//! increasing set of instants, whoever asks and when.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use super::calendar::Calendar;
use super::error::ScheduleError;
use super::fields::{Fields, Pace};
use super::segment::{Known, Segment};

/// What daylight saving stays below (forward) or does not exceed (back).
const THREE_HOURS: i64 = 3 * 3600;

/// Five fields of a crontab, understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Crontab {
    pub(crate) fields: Fields,
    calendar: Calendar,
}

/// How a segment begins, for a job of a given pace.
enum Begin {
    /// Like any other minute.
    Plainly,
    /// The clock skipped the civil time from here to the segment's own.
    AfterGap(i64),
    /// Civil time before this one has been there already.
    AfterFold(i64),
}

impl Crontab {
    pub(crate) fn new(fields: Fields) -> Result<Crontab, ScheduleError> {
        Ok(Crontab { calendar: Calendar::new(&fields)?, fields })
    }

    /// The first instant after another one. `None` when there is none before 2101.
    pub fn next(&self, after: Timestamp, zone: &TimeZone, known: &mut Known) -> Option<Timestamp> {
        let next = self.next_second(after, zone, known).and_then(|instant| Timestamp::from_second(instant).ok());
        debug_assert!(next.is_none_or(|next| next > after), "{next:?} is not after {after}");
        next
    }

    fn next_second(&self, after: Timestamp, zone: &TimeZone, known: &mut Known) -> Option<i64> {
        // Whole seconds suffice, since what is looked for are whole minutes.
        let mut from = i64::try_from(after.as_nanosecond().div_euclid(1_000_000_000)).ok()? + 1;
        loop {
            let segment = known.containing(zone, from)?;
            let mut civil = from + segment.offset;
            match self.begin(&segment) {
                Begin::AfterGap(skipped)
                    if segment.start == Some(from) && self.calendar.first_from(skipped)? < civil =>
                {
                    return Some(from);
                }
                Begin::AfterFold(seen) => civil = civil.max(seen),
                Begin::AfterGap(_) | Begin::Plainly => {}
            }
            let instant = self.calendar.first_from(civil)? - segment.offset;
            match segment.end {
                Some(end) if instant >= end => from = end,
                _ => return Some(instant),
            }
        }
    }

    fn begin(&self, segment: &Segment) -> Begin {
        match (self.fields.pace, segment.start) {
            (Pace::FixedTime, Some(start)) => {
                let before = start + segment.offset - segment.jump;
                match segment.jump {
                    jump if (1..THREE_HOURS).contains(&jump) => Begin::AfterGap(before),
                    jump if (-THREE_HOURS..0).contains(&jump) => Begin::AfterFold(before),
                    _ => Begin::Plainly,
                }
            }
            (Pace::Wildcard, _) | (_, None) => Begin::Plainly,
        }
    }

    /// What a change of the clock does to one of the instants, in words. `None` for all but a few days a year.
    pub fn clock_change(&self, instant: Timestamp, zone: &TimeZone) -> Option<String> {
        let at = instant.as_second();
        let segment = Segment::containing(zone, at)?;
        if let (Begin::AfterGap(skipped), Some(start)) = (self.begin(&segment), segment.start)
            && start == at
        {
            let first = self.calendar.first_from(skipped).filter(|first| *first < start + segment.offset)?;
            let more = self.calendar.first_from(first + 60).filter(|second| *second < start + segment.offset);
            let (from, to) = (clock(skipped)?, clock(start + segment.offset)?);
            let lost = match more {
                None => format!("{} runs at {}", clock(first)?.strftime("%H:%M"), to.strftime("%H:%M")),
                Some(_) => format!("what falls between runs once, at {}", to.strftime("%H:%M")),
            };
            return Some(format!(
                "{}: the clock goes from {} to {}; {lost}",
                to.date(),
                from.strftime("%H:%M"),
                to.strftime("%H:%M")
            ));
        }
        self.repeated(at, &segment, zone)
    }

    /// Where a time of day comes twice: which of the two it is to run at.
    fn repeated(&self, at: i64, segment: &Segment, zone: &TimeZone) -> Option<String> {
        let ahead = segment.end.and_then(|end| Segment::containing(zone, end));
        let (fold, first) =
            [ahead, Some(*segment)].into_iter().flatten().filter_map(|later| Some((later, later.start?))).find(
                |(later, start)| later.jump < 0 && (at - start).abs() <= -later.jump && at < start - later.jump,
            )?;
        let (from, to) = (clock(first + fold.offset)?, clock(first + fold.offset - fold.jump)?);
        let runs = match self.begin(&fold) {
            Begin::AfterFold(_) => "runs the first time only",
            Begin::AfterGap(_) | Begin::Plainly => "runs both times",
        };
        let (date, from, to) = (from.date(), from.strftime("%H:%M"), to.strftime("%H:%M"));
        Some(format!("{date}: the clock goes back from {to} to {from}; what falls between {runs}"))
    }
}

/// A civil time from its seconds.
fn clock(civil: i64) -> Option<DateTime> {
    DateTime::constant(1970, 1, 1, 0, 0, 0, 0).checked_add(SignedDuration::from_secs(civil)).ok()
}
