//! A schedule in words, for people who want to know whether it says what they mean.

use super::fields::{DAY, DayRule, Fields, HOUR, MINUTE, MONTH, Set, WEEKDAY};
use super::interval::Interval;

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
/// In the order in which people name them; cron's 0 comes last.
const DAYS: [&str; 7] = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];

/// So many times of a day are listed one by one.
const LISTED: u32 = 6;

pub(crate) fn interval(interval: Interval) -> String {
    let mut rest = interval.period().as_secs();
    let mut text = String::new();
    for (unit, seconds) in [("d", 86_400), ("h", 3600), ("m", 60), ("s", 1)] {
        if rest >= seconds {
            text.push_str(&format!("{}{unit}", rest / seconds));
            rest %= seconds;
        }
    }
    format!("every {text}, counted from 1970-01-01 00:00 UTC whatever the zone")
}

pub(crate) fn crontab(fields: &Fields) -> String {
    let months = match fields.months.is_full(&MONTH) {
        true => String::new(),
        false => format!(", in {}", names(fields.months, 1, &MONTHS)),
    };
    let (days, rule) = days(fields);
    format!("{}{days}{months}{rule}", times(fields))
}

/// `every 15 minutes in the hours 6 to 22`, `at 02:30`.
fn times(fields: &Fields) -> String {
    let (minutes, hours) = (fields.minutes, fields.hours);
    let all_hours = hours.is_full(&HOUR);
    if !all_hours && minutes.len() * hours.len() <= LISTED {
        let clock = hours.iter().flat_map(|hour| minutes.iter().map(move |minute| format!("{hour:02}:{minute:02}")));
        return format!("at {}", joined(clock.collect()));
    }
    let every = match regular(minutes, 60) {
        _ if minutes.is_full(&MINUTE) => Some("every minute".to_owned()),
        Some(step) => Some(format!("every {step} minutes")),
        None => None,
    };
    let at = match minutes.len() {
        1 => format!("at minute {}", numbers(minutes)),
        _ => format!("at the minutes {}", numbers(minutes)),
    };
    match (every, regular(hours, 24)) {
        (Some(every), _) if all_hours => every,
        (None, _) if all_hours => format!("{at} of every hour"),
        (None, Some(step)) => format!("{at} of every {} hour from 00:00", ordinal(step)),
        (Some(every), _) if hours.len() == 1 => format!("{every} in the hour {}", numbers(hours)),
        (Some(every), _) => format!("{every} in the hours {}", numbers(hours)),
        (None, None) if hours.len() == 1 => format!("{at} of the hour {}", numbers(hours)),
        (None, None) => format!("{at} of the hours {}", numbers(hours)),
    }
}

/// Which days, and by which rule where that is a question.
fn days(fields: &Fields) -> (String, &'static str) {
    const BOTH: &str = " (both the day and the weekday must match, because one of the two fields begins with *)";
    const EITHER: &str = " (either the day or the weekday is enough, because neither field begins with *)";
    let day = match (fields.days.len(), fields.months.is_full(&MONTH)) {
        (1, true) => format!("on day {} of the month", numbers(fields.days)),
        (1, false) => format!("on day {}", numbers(fields.days)),
        (_, true) => format!("on the days {} of the month", numbers(fields.days)),
        (_, false) => format!("on the days {}", numbers(fields.days)),
    };
    // Sunday last.
    let mut from_monday = Set::default();
    for weekday in fields.weekdays.iter() {
        from_monday.insert((weekday + 6) % 7);
    }
    let weekday = names(from_monday, 0, &DAYS);
    let every = if fields.hours.is_full(&HOUR) { String::new() } else { " every day".to_owned() };
    let (all_days, all_weekdays) = (fields.days.is_full(&DAY), fields.weekdays.is_full(&WEEKDAY));
    match (fields.day_rule, all_days, all_weekdays) {
        (DayRule::Both, true, true) => (every, ""),
        (DayRule::Both, false, true) => (format!(" {day}"), ""),
        (DayRule::Both, true, false) => (format!(" on {weekday}"), ""),
        (DayRule::Both, false, false) => (format!(" {day} if that is a {}", weekday.replace(" and ", " or ")), BOTH),
        (DayRule::Either, false, false) => (format!(" {day}, and also on {weekday}"), EITHER),
        (DayRule::Either, _, _) => (" every day".to_owned(), EITHER),
    }
}

/// The step of 0, n, 2n… that goes evenly into the whole; at least two values.
fn regular(set: Set, whole: u32) -> Option<u32> {
    let step = whole.checked_div(set.len()).filter(|step| set.len() > 1 && *step > 1)?;
    (step * set.len() == whole && set.iter().all(|number| number % step == 0)).then_some(step)
}

fn ordinal(number: u32) -> String {
    match number {
        2 => "second".to_owned(),
        3 => "third".to_owned(),
        _ => format!("{number}th"),
    }
}

/// `1 to 3, 5 and 8`.
fn numbers(set: Set) -> String {
    joined(runs(set).into_iter().map(|(first, last)| span(first, last, &|number| number.to_string())).collect())
}

fn names(set: Set, first: u32, names: &[&str]) -> String {
    let name = |number: u32| names.get((number - first) as usize).map_or(String::new(), |name| (*name).to_owned());
    joined(runs(set).into_iter().map(|(first, last)| span(first, last, &name)).collect())
}

fn span(first: u32, last: u32, word: &dyn Fn(u32) -> String) -> String {
    if first == last { word(first) } else { format!("{} to {}", word(first), word(last)) }
}

/// Runs of three or more neighbours together, everything else alone.
fn runs(set: Set) -> Vec<(u32, u32)> {
    let mut runs: Vec<(u32, u32)> = Vec::new();
    for number in set.iter() {
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == number => *last = number,
            _ => runs.push((number, number)),
        }
    }
    let apart = |(first, last): (u32, u32)| {
        if last == first + 1 { vec![(first, first), (last, last)] } else { vec![(first, last)] }
    };
    runs.into_iter().flat_map(apart).collect()
}

fn joined(mut words: Vec<String>) -> String {
    match words.pop() {
        Some(last) if words.is_empty() => last,
        Some(last) => format!("{} and {last}", words.join(", ")),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use crate::schedule::Schedule;

    #[test]
    fn a_schedule_reads_as_people_would_say_it() {
        for (text, words) in [
            ("* * * * *", "every minute"),
            ("*/15 * * * *", "every 15 minutes"),
            ("*/15 6-22 * * mon-fri", "every 15 minutes in the hours 6 to 22 on Monday to Friday"),
            ("* 3 * * *", "every minute in the hour 3 every day"),
            ("@hourly", "at minute 0 of every hour"),
            ("5,7 * * * *", "at the minutes 5 and 7 of every hour"),
            ("*/7 * * * *", "at the minutes 0, 7, 14, 21, 28, 35, 42, 49 and 56 of every hour"),
            ("30 2 * * *", "at 02:30 every day"),
            ("0 0,6,12 * * 6,7", "at 00:00, 06:00 and 12:00 on Saturday and Sunday"),
            ("0 */2 * * *", "at minute 0 of every second hour from 00:00 every day"),
            ("0 9-17 * * *", "at minute 0 of the hours 9 to 17 every day"),
            ("@monthly", "at 00:00 on day 1 of the month"),
            ("@yearly", "at 00:00 on day 1, in January"),
            ("0 0 1,15 6-8 *", "at 00:00 on the days 1 and 15, in June to August"),
            ("0 * * 1 *", "at minute 0 of every hour, in January"),
            (
                "0 0 13 * 5",
                "at 00:00 on day 13 of the month, and also on Friday (either the day or the weekday is enough, because neither field begins with *)",
            ),
            (
                "0 0 1-31 * 1",
                "at 00:00 every day (either the day or the weekday is enough, because neither field begins with *)",
            ),
            (
                "0 0 */10 * mon,wed",
                "at 00:00 on the days 1, 11, 21 and 31 of the month if that is a Monday or Wednesday (both the day and the weekday must match, because one of the two fields begins with *)",
            ),
            ("every 90s", "every 1m30s, counted from 1970-01-01 00:00 UTC whatever the zone"),
            ("@reboot", "once when svd starts, and not when only its manager is replaced"),
        ] {
            assert_eq!(Schedule::parse(text).unwrap().reading(), words, "{text}");
        }
    }
}
