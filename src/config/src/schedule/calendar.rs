//! The next minute of a calendar without zones, by the `cron` crate.
//!
//! The crate never sees a text of the user's: its grammar, its weekdays (1 is Sunday), its day rule (always both) and its
//! daylight saving are not cron's. It is given numbers, and civil time dressed as UTC, for which it walks the calendar.

use std::fmt::Write;

use chrono::DateTime;

use super::error::ScheduleError;
use super::fields::{DAY, DayRule, Field, Fields, HOUR, MINUTE, MONTH, Set, WEEKDAY};

/// Finds the minutes that fields select.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Calendar {
    both: cron::Schedule,
    /// The second way to match, where either day or weekday is enough.
    either: Option<cron::Schedule>,
}

impl Calendar {
    pub fn new(fields: &Fields) -> Result<Calendar, ScheduleError> {
        match fields.day_rule {
            DayRule::Both => {
                Ok(Calendar { both: engine(fields, Some(fields.days), Some(fields.weekdays))?, either: None })
            }
            DayRule::Either => Ok(Calendar {
                both: engine(fields, Some(fields.days), None)?,
                either: Some(engine(fields, None, Some(fields.weekdays))?),
            }),
        }
    }

    /// The first selected minute that is not before a civil time. Both are seconds since 1970-01-01 00:00 on the clock on
    /// the wall. `None` when there is none in 1970 to 2100, which is as far as the crate goes.
    pub fn first_from(&self, civil: i64) -> Option<i64> {
        let before = DateTime::from_timestamp(civil.checked_sub(1)?, 0)?;
        let first = |engine: &cron::Schedule| engine.after(&before).next().map(|found| found.timestamp());
        let either = self.either.as_ref().and_then(first);
        match (first(&self.both), either) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        }
    }
}

fn engine(fields: &Fields, days: Option<Set>, weekdays: Option<Set>) -> Result<cron::Schedule, ScheduleError> {
    let mut text = "0".to_owned();
    for (field, set, shift) in [
        (&MINUTE, Some(fields.minutes), 0),
        (&HOUR, Some(fields.hours), 0),
        (&DAY, days, 0),
        (&MONTH, Some(fields.months), 0),
        (&WEEKDAY, weekdays, 1),
    ] {
        list(&mut text, field, set, shift);
    }
    // Lists of numbers in range are always taken; an error is passed on rather than made a panic.
    text.parse()
        .map_err(|error| ScheduleError::new(0..0, format!("cannot be planned: {error}"), "this is a fault of svd"))
}

/// A blank and the numbers; `*` only for all of them.
fn list(text: &mut String, field: &Field, set: Option<Set>, shift: u32) {
    match set.filter(|set| !set.is_full(field)) {
        None => text.push_str(" *"),
        Some(set) => {
            for (position, number) in set.iter().enumerate() {
                // Writing to a String cannot fail.
                let _infallible = write!(text, "{}{}", if position == 0 { ' ' } else { ',' }, number + shift);
            }
        }
    }
}
