//! The kinds of schedules, and which of them a text is.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::error::{ScheduleError, shown};
use super::fields::{self, Piece, pieces};
use super::instants::Crontab;
use super::interval::Interval;
use super::reading;
use super::segment::Known;
use crate::values::did_you_mean;

/// When a job runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Schedule {
    /// At times of the calendar: five fields, or a macro for them.
    Crontab(Box<Crontab>),
    /// At equal distances.
    Every(Interval),
    /// Once when svd starts. It has no instants.
    Reboot,
}

/// Cron's words for common lines. Lower case only, as there.
const MACROS: &[(&str, &str)] = &[
    ("@yearly", "0 0 1 1 *"),
    ("@annually", "0 0 1 1 *"),
    ("@monthly", "0 0 1 * *"),
    ("@weekly", "0 0 * * 0"),
    ("@daily", "0 0 * * *"),
    ("@midnight", "0 0 * * *"),
    ("@hourly", "0 * * * *"),
];

const REBOOT: &str = "@reboot";

impl Schedule {
    /// Reads `"*/15 6-22 * * mon-fri"`, `"@daily"`, `"every 90s"` or `"@reboot"`.
    ///
    /// # Errors
    /// When the text is none of them, or one that never runs, like 30 February.
    pub fn parse(text: &str) -> Result<Schedule, ScheduleError> {
        let words = pieces(text);
        match words.as_slice() {
            [word] if word.text == REBOOT => Ok(Schedule::Reboot),
            [word, rest @ ..] if word.text.starts_with('@') => crontab(&pieces(line_of(*word, rest)?)),
            [word, rest @ ..] if word.text == "every" => Interval::read(*word, rest).map(Schedule::Every),
            words => crontab(words),
        }
    }

    /// The first instant after another one, a whole second. `None` when there is none: never for an interval, before 2101
    /// for the calendar, always for `@reboot`. The calendar begins in 1970.
    pub fn next(&self, after: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        self.next_by(after, zone, &mut Known::default())
    }

    /// As [`Schedule::next`], for those who ask again and again: `known` is of this zone.
    pub fn next_by(&self, after: Timestamp, zone: &TimeZone, known: &mut Known) -> Option<Timestamp> {
        match self {
            Schedule::Crontab(crontab) => crontab.next(after, zone, known),
            Schedule::Every(interval) => interval.next(after),
            Schedule::Reboot => None,
        }
    }

    /// What it means, in words: `at 00:00 on day 13 of the month, and also on Friday (…)`.
    pub fn reading(&self) -> String {
        match self {
            Schedule::Crontab(crontab) => reading::crontab(&crontab.fields),
            Schedule::Every(interval) => reading::interval(*interval),
            Schedule::Reboot => "once when svd starts, and not when only its manager is replaced".to_owned(),
        }
    }

    /// What daylight saving (or another change of the clock) does to one of its instants, in words; `None` on most days.
    pub fn clock_change(&self, instant: Timestamp, zone: &TimeZone) -> Option<String> {
        match self {
            Schedule::Crontab(crontab) => crontab.clock_change(instant, zone),
            Schedule::Every(_) | Schedule::Reboot => None,
        }
    }
}

fn crontab(words: &[Piece<'_>]) -> Result<Schedule, ScheduleError> {
    fields::read(words).and_then(Crontab::new).map(|crontab| Schedule::Crontab(Box::new(crontab)))
}

/// The line that a macro stands for.
fn line_of(word: Piece<'_>, rest: &[Piece<'_>]) -> Result<&'static str, ScheduleError> {
    let names = || MACROS.iter().map(|(name, _)| *name).chain([REBOOT]);
    if let (Some(first), Some(last)) = (rest.first(), rest.last())
        && names().any(|name| name == word.text)
    {
        let message = format!("{} stands alone", word.text);
        return Err(ScheduleError::new(first.at..last.span().end, message, "leave out what follows it"));
    }
    if let Some((_, line)) = MACROS.iter().find(|(name, _)| *name == word.text) {
        return Ok(line);
    }
    let help = match word.text {
        "@every" => "write \"every 90s\", without @".to_owned(),
        _ => format!("there are {}, in lower case", names().collect::<Vec<_>>().join(", ")),
    };
    let message = format!("no macro {}{}", shown(word.text), did_you_mean(word.text, names()));
    Err(ScheduleError::new(word.span(), message, help))
}
