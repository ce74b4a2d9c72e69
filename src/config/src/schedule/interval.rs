//! `every 90s`.

use std::time::Duration;

use jiff::Timestamp;

use super::error::{ScheduleError, shown};
use super::fields::Piece;
use crate::values::duration;

/// A run every so many seconds.
///
/// Counted from 1970-01-01 00:00 UTC and not from a start of svd: so the instants are the same whoever asks and when, a
/// restart moves none of them, and `every 1h` is on the hour. No zone matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interval {
    /// At least 1.
    seconds: i64,
}

const HELP: &str = "write every and a time of whole seconds, at most 365d, as in \"every 90s\" or \"every 1h30m\"";

impl Interval {
    /// Reads what follows `every`.
    pub(crate) fn read(every: Piece<'_>, words: &[Piece<'_>]) -> Result<Interval, ScheduleError> {
        let [word] = words else {
            let last = words.last().copied().unwrap_or(every);
            let found = if words.is_empty() { "every what?" } else { "more than one time after every" };
            return Err(ScheduleError::new(every.at..last.span().end, found, HELP));
        };
        let whole = |time: &Duration| time.subsec_nanos() == 0 && time.as_secs() > 0;
        let seconds = duration(word.text).filter(whole).and_then(|time| i64::try_from(time.as_secs()).ok());
        match seconds {
            Some(seconds) => Ok(Interval { seconds }),
            None => Err(ScheduleError::new(word.span(), format!("{} is no interval", shown(word.text)), HELP)),
        }
    }

    /// The time between two runs.
    pub fn period(self) -> Duration {
        Duration::from_secs(self.seconds.unsigned_abs())
    }

    /// The first instant after another one.
    pub fn next(self, after: Timestamp) -> Option<Timestamp> {
        let whole = i64::try_from(after.as_nanosecond().div_euclid(1_000_000_000)).ok()?;
        let next = whole.div_euclid(self.seconds).checked_add(1)?.checked_mul(self.seconds)?;
        Timestamp::from_second(next).ok()
    }
}
