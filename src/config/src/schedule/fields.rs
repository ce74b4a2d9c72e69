//! The five fields of a crontab line: text to sets of numbers, and what the way of writing says beyond the set.
//!
//! Two things are read off the text and not off the set, as cron does it: whether the day **and** the weekday must match or
//! either is enough, and whether a job runs by the minute or at fixed times (which matters where a clock is put forward or
//! back). Both depend on a field *beginning with* `*`, so `*/2` and `*,5` count, and `0-59` does not.

use std::ops::Range;

use super::error::{ScheduleError, shown};
use crate::values::did_you_mean;

/// A set of numbers below 64.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Set(u64);

impl Set {
    pub fn insert(&mut self, number: u32) {
        self.0 |= 1 << number;
    }

    pub fn contains(self, number: u32) -> bool {
        self.0 & (1 << number) != 0
    }

    /// In ascending order.
    pub fn iter(self) -> impl Iterator<Item = u32> {
        (0..u64::BITS).filter(move |number| self.contains(*number))
    }

    pub fn len(self) -> u32 {
        self.0.count_ones()
    }

    pub fn is_full(self, of: &Field) -> bool {
        self.len() == of.size
    }
}

/// How day and weekday go together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DayRule {
    /// One of the two begins with `*`: both must match.
    Both,
    /// Neither does: a day that one of them names is enough.
    Either,
}

/// What becomes of a job where the clock is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pace {
    /// Minute or hour begins with `*`: it runs as time passes, whatever the clock shows.
    Wildcard,
    /// It is meant for times of day: these are neither skipped nor repeated.
    FixedTime,
}

/// What a line selects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fields {
    pub minutes: Set,
    pub hours: Set,
    pub days: Set,
    pub months: Set,
    /// 0 is Sunday; there is no 7.
    pub weekdays: Set,
    pub day_rule: DayRule,
    pub pace: Pace,
}

/// One of the five.
#[derive(Debug)]
pub(crate) struct Field {
    pub name: &'static str,
    /// As it may be written.
    pub range: (u32, u32),
    /// How many different values there are.
    size: u32,
    /// Names of the numbers from `range.0` on.
    pub names: &'static [&'static str],
}

const MONTH_NAMES: &[&str] = &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const DAY_NAMES: &[&str] = &["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

pub(crate) const MINUTE: Field = Field { name: "minute", range: (0, 59), size: 60, names: &[] };
pub(crate) const HOUR: Field = Field { name: "hour", range: (0, 23), size: 24, names: &[] };
pub(crate) const DAY: Field = Field { name: "day", range: (1, 31), size: 31, names: &[] };
pub(crate) const MONTH: Field = Field { name: "month", range: (1, 12), size: 12, names: MONTH_NAMES };
/// 0 and 7 are both Sunday.
pub(crate) const WEEKDAY: Field = Field { name: "weekday", range: (0, 7), size: 7, names: DAY_NAMES };

const FIVE: &str = "a schedule has five fields: minute, hour, day, month and weekday, as in \"*/15 6-22 * * mon-fri\"";

/// Days of each month, in a leap year.
const LENGTHS: [u32; 12] = [31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];

/// A word of the text, and where it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Piece<'t> {
    pub text: &'t str,
    pub at: usize,
}

impl<'t> Piece<'t> {
    pub fn span(self) -> Range<usize> {
        self.at..self.at + self.text.len()
    }

    /// The pieces between a separator.
    fn split(self, separator: char) -> impl Iterator<Item = Piece<'t>> {
        let mut at = self.at;
        self.text.split(separator).map(move |text| {
            let piece = Piece { text, at };
            at += text.len() + separator.len_utf8();
            piece
        })
    }

    fn split_once(self, separator: char) -> Option<(Piece<'t>, Piece<'t>)> {
        let (left, right) = self.text.split_once(separator)?;
        let at = self.at + left.len() + separator.len_utf8();
        Some((Piece { text: left, at: self.at }, Piece { text: right, at }))
    }
}

/// Splits at runs of blanks and tabs, and at nothing else.
pub(crate) fn pieces(text: &str) -> Vec<Piece<'_>> {
    let whole = Piece { text, at: 0 };
    whole.split(' ').flat_map(|part| part.split('\t')).filter(|piece| !piece.text.is_empty()).collect()
}

/// Reads the five fields.
pub(crate) fn read(words: &[Piece<'_>]) -> Result<Fields, ScheduleError> {
    let [minute, hour, day, month, weekday] = words else { return Err(not_five(words)) };
    let mut weekdays = set(&WEEKDAY, *weekday)?;
    if weekdays.contains(7) {
        weekdays = Set(weekdays.0 & !(1 << 7));
        weekdays.insert(0);
    }
    let starred = |words: [&Piece<'_>; 2]| words.iter().any(|word| word.text.starts_with('*'));
    let fields = Fields {
        minutes: set(&MINUTE, *minute)?,
        hours: set(&HOUR, *hour)?,
        days: set(&DAY, *day)?,
        months: set(&MONTH, *month)?,
        weekdays,
        day_rule: if starred([day, weekday]) { DayRule::Both } else { DayRule::Either },
        pace: if starred([minute, hour]) { Pace::Wildcard } else { Pace::FixedTime },
    };
    match fields.first_day_that_is_too_late() {
        None => Ok(fields),
        Some((first, longest)) => Err(ScheduleError::new(
            day.at..month.span().end,
            format!("never runs: the selected months have no day {first}"),
            format!("the longest of them has {longest} days"),
        )),
    }
}

fn not_five(words: &[Piece<'_>]) -> ScheduleError {
    let (Some(first), Some(last)) = (words.first(), words.last()) else {
        let help = format!("{FIVE}; or write @daily, \"every 90s\" or @reboot");
        return ScheduleError::new(0..0, "the schedule is empty", help);
    };
    let found = format!("{} field{}", words.len(), if words.len() == 1 { "" } else { "s" });
    match words.get(5) {
        Some(extra) => {
            let help =
                format!("{FIVE}; there is none for seconds or years: write \"every 10s\" for what runs by the second");
            ScheduleError::new(extra.at..last.span().end, found, help)
        }
        None => ScheduleError::new(first.at..last.span().end, found, FIVE),
    }
}

impl Fields {
    /// Where no selected month is long enough for the first selected day: that day, and the longest month's length.
    /// With [`DayRule::Either`] there is always a weekday that matches.
    fn first_day_that_is_too_late(&self) -> Option<(u32, u32)> {
        let first = self.days.iter().next().unwrap_or(1);
        let longest =
            LENGTHS.iter().zip(1..).filter(|(_, month)| self.months.contains(*month)).map(|(days, _)| *days).max();
        match self.day_rule {
            DayRule::Both => longest.filter(|longest| first > *longest).map(|longest| (first, longest)),
            DayRule::Either => None,
        }
    }
}

/// A list of items.
fn set(field: &Field, word: Piece<'_>) -> Result<Set, ScheduleError> {
    let mut set = Set::default();
    for item in word.split(',') {
        let (first, last, step) = item_of(field, item)?;
        let mut number = Some(first);
        while let Some(selected) = number.filter(|number| *number <= last) {
            set.insert(selected);
            number = u32::try_from(step).ok().and_then(|step| selected.checked_add(step));
        }
    }
    Ok(set)
}

/// `*`, `N` or `A-B`, the first and the last with a step or not: first, last, step.
fn item_of(field: &Field, item: Piece<'_>) -> Result<(u32, u32, u64), ScheduleError> {
    if item.text.is_empty() {
        let message = format!("nothing stands here, in the list of the {}", field.name);
        return Err(ScheduleError::new(item.span(), message, field.allowed()));
    }
    let (base, step) = match item.split_once('/') {
        Some((base, step)) => (base, Some(step)),
        None => (item, None),
    };
    let (first, last) = match base.split_once('-') {
        _ if base.text == "*" => field.range,
        Some((low, high)) => range(field, base, low, high)?,
        None => {
            let value = value(field, base)?;
            if step.is_some() {
                let (low, high) = field.range;
                let message = format!("{} has a step without a range", shown(item.text));
                let help = format!(
                    "a step stands after * or A-B: write {}-{high}/N to begin at {}, or {low}-{high}/N",
                    base.text, base.text
                );
                return Err(ScheduleError::new(item.span(), message, help));
            }
            (value, value)
        }
    };
    let step = step.map_or(Ok(1), |step| step_of(field, step))?;
    Ok((first, last, step))
}

fn range(field: &Field, whole: Piece<'_>, low: Piece<'_>, high: Piece<'_>) -> Result<(u32, u32), ScheduleError> {
    let (first, last) = (value(field, low)?, value(field, high)?);
    if first <= last {
        return Ok((first, last));
    }
    // Cron takes such a range, and the job never runs.
    let end = if field.names.len() == 7 { 6 } else { field.range.1 };
    let side = |from: u32, to: u32, ends: [&str; 2]| match from == to {
        true => ends[0].to_owned(),
        false => format!("{}-{}", ends[0], ends[1]),
    };
    let (top, bottom) = (field.spelt(end, low), field.spelt(field.range.0, low));
    let help = format!(
        "a range goes upwards: write {},{}",
        side(first, end, [low.text, &top]),
        side(field.range.0, last, if last == field.range.0 { [high.text, ""] } else { [bottom.as_str(), high.text] })
    );
    Err(ScheduleError::new(whole.span(), format!("{} runs backwards", shown(whole.text)), help))
}

fn step_of(field: &Field, step: Piece<'_>) -> Result<u64, ScheduleError> {
    let digits = !step.text.is_empty() && step.text.bytes().all(|byte| byte.is_ascii_digit());
    match step.text.parse::<u64>() {
        Ok(number) if digits && number > 0 => Ok(number),
        _ => {
            let message = format!("{} is no step of the {}", shown(step.text), field.name);
            Err(ScheduleError::new(step.span(), message, "a step is a number from 1 on, as in */15"))
        }
    }
}

fn value(field: &Field, word: Piece<'_>) -> Result<u32, ScheduleError> {
    let (low, high) = field.range;
    if !word.text.is_empty() && word.text.bytes().all(|byte| byte.is_ascii_digit()) {
        // A number that is too long to be read is out of range, too.
        return word.text.parse().ok().filter(|number| (low..=high).contains(number)).ok_or_else(|| {
            ScheduleError::new(word.span(), format!("{} is no {}", shown(word.text), field.name), field.allowed())
        });
    }
    if let Some(at) = field.names.iter().position(|name| name.eq_ignore_ascii_case(word.text)) {
        // At most twelve names.
        return Ok(low + at as u32);
    }
    let lower = word.text.to_ascii_lowercase();
    let meant = match field.names.iter().find(|name| word.text.len() > 3 && lower.starts_with(**name)) {
        Some(name) => format!("; did you mean \"{name}\"?"),
        None if word.text.is_empty() => String::new(),
        None => did_you_mean(word.text, field.names.iter().copied()),
    };
    let message = format!("{} is no {}{meant}", shown(word.text), field.name);
    Err(ScheduleError::new(word.span(), message, field.allowed()))
}

impl Field {
    fn allowed(&self) -> String {
        let (low, high) = self.range;
        let names = match self.names {
            [first, .., last] => format!(", or {first} to {last}"),
            _ => String::new(),
        };
        let article = if self.name == "hour" { "an" } else { "a" };
        format!(
            "{article} {} is {low} to {high}{names}; allowed are *, N, A-B, */N, A-B/N and lists of them with commas",
            self.name
        )
    }

    /// A number in the manner of another one: by name where that is a name.
    fn spelt(&self, number: u32, like: Piece<'_>) -> String {
        let by_name = like.text.bytes().all(|byte| byte.is_ascii_alphabetic());
        let name = self.names.get((number - self.range.0) as usize).filter(|_| by_name);
        name.map_or_else(|| number.to_string(), |name| (*name).to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(text: &str) -> Result<Fields, ScheduleError> {
        read(&pieces(text))
    }

    fn list(set: Set) -> Vec<u32> {
        set.iter().collect()
    }

    #[test]
    fn items_are_single_values_ranges_steps_and_lists() {
        let read = fields("1,5-7,*/20 0-6/3 31,1 JAN-mar,12 mon-fri").unwrap();
        assert_eq!(list(read.minutes), [0, 1, 5, 6, 7, 20, 40]);
        assert_eq!(list(read.hours), [0, 3, 6]);
        assert_eq!(list(read.days), [1, 31]);
        assert_eq!(list(read.months), [1, 2, 3, 12]);
        assert_eq!(list(read.weekdays), [1, 2, 3, 4, 5]);
    }

    #[test]
    fn a_step_beyond_the_field_selects_the_first_value() {
        let read = fields("*/60 */99999999999 * * *").unwrap();
        assert_eq!((list(read.minutes), list(read.hours)), (vec![0], vec![0]));
    }

    #[test]
    fn seven_is_sunday_and_the_weekdays_star_reaches_to_it() {
        for (text, expected) in [
            ("7", vec![0]),
            ("0", vec![0]),
            ("*/2", vec![0, 2, 4, 6]),
            ("*/7", vec![0]),
            ("1-7/2", vec![0, 1, 3, 5]),
            ("mon-7", vec![0, 1, 2, 3, 4, 5, 6]),
        ] {
            assert_eq!(list(fields(&format!("0 0 * * {text}")).unwrap().weekdays), expected, "{text}");
        }
    }

    #[test]
    fn a_field_that_begins_with_a_star_decides_about_days_and_daylight_saving() {
        for (text, day_rule, pace) in [
            ("0 0 1 * 1", DayRule::Either, Pace::FixedTime),
            ("0 0 1-31 * 1", DayRule::Either, Pace::FixedTime),
            ("0 0 */2 * 1", DayRule::Both, Pace::FixedTime),
            ("0 0 1 * *,5", DayRule::Both, Pace::FixedTime),
            ("0 0 1,* * 1", DayRule::Either, Pace::FixedTime),
            ("*/5 2 1 * 1", DayRule::Either, Pace::Wildcard),
            ("0 * 1 * 1", DayRule::Either, Pace::Wildcard),
            ("0-59 0-23 1 * 1", DayRule::Either, Pace::FixedTime),
        ] {
            let read = fields(text).unwrap();
            assert_eq!((read.day_rule, read.pace), (day_rule, pace), "{text}");
        }
    }

    #[test]
    fn an_error_names_what_was_found_what_is_allowed_and_where() {
        for (text, marked, words) in [
            ("", "", "the schedule is empty; a schedule has five fields"),
            ("* * * *", "* * * *", "4 fields; a schedule has five fields"),
            ("0 * * * * *", "*", "6 fields; a schedule has five fields: minute, hour, day, month and weekday"),
            ("60 * * * *", "60", "\"60\" is no minute; a minute is 0 to 59; allowed are *, N, A-B"),
            ("0 24 * * *", "24", "\"24\" is no hour"),
            ("0 0 0 * *", "0", "\"0\" is no day; a day is 1 to 31"),
            ("4294967297 * * * *", "4294967297", "\"4294967297\" is no minute"),
            (
                "0 0 * january *",
                "january",
                "\"january\" is no month; did you mean \"jan\"?; a month is 1 to 12, or jan to dec",
            ),
            ("0 0 * * mno", "mno", "did you mean \"mon\"?"),
            ("0 0 ? * 1", "?", "\"?\" is no day"),
            ("0 0 L * *", "L", "\"L\" is no day"),
            ("0 0 * * 5#2", "5#2", "\"5#2\" is no weekday"),
            ("1,,2 * * * *", "", "nothing stands here, in the list of the minute"),
            ("5/15 * * * *", "5/15", "a step stands after * or A-B: write 5-59/N"),
            ("*/0 * * * *", "0", "\"0\" is no step of the minute; a step is a number from 1 on"),
            ("*/ * * * *", "", "\"\" is no step"),
            ("*/18446744073709551616 * * * *", "18446744073709551616", "is no step"),
            ("1-5-7 * * * *", "5-7", "\"5-7\" is no minute"),
            ("*x * * * *", "*x", "\"*x\" is no minute"),
            ("-5 * * * *", "", "\"\" is no minute"),
            ("0 22-2 * * *", "22-2", "\"22-2\" runs backwards; a range goes upwards: write 22-23,0-2"),
            ("0 23-0 * * *", "23-0", "write 23,0"),
            ("0 0 * * fri-sun", "fri-sun", "write fri-sat,sun"),
            ("0 0 * * sat-mon", "sat-mon", "write sat,sun-mon"),
            ("0 0 * nov-feb *", "nov-feb", "write nov-dec,jan-feb"),
            ("0 0 30 2 *", "30 2", "never runs: the selected months have no day 30; the longest of them has 29 days"),
            ("0 0 31 4,6 *", "31 4,6", "never runs"),
            ("0 0 1\u{a0}* * *", "1\u{a0}*", "\"1\\u{a0}*\" is no day"),
        ] {
            let error = fields(text).unwrap_err();
            assert!(error.to_string().contains(words), "{text}: {error}");
            assert_eq!(&text[error.span.clone()], marked, "{text}: {error}");
        }
    }

    #[test]
    fn a_day_that_only_weekdays_save_is_no_error() {
        assert!(fields("0 0 30 2 1").is_ok());
        assert!(fields("0 0 29 2 *").is_ok());
        assert!(fields("0 0 31 4,5 *").is_ok());
    }
}
