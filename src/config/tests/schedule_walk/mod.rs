//! What cron's own main loop does, minute by minute on the clock on the wall. Shares nothing with the code under test but
//! the zones: a reader of expressions of its own, and no calendar arithmetic beyond jiff's.

use std::cell::Cell;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

/// The values that one field selects, read naively.
fn selected(field: &str, low: usize, high: usize, names: &[&str]) -> Vec<bool> {
    let number = |word: &str| match names.iter().position(|name| name.eq_ignore_ascii_case(word)) {
        Some(at) => at + low,
        None => word.parse().unwrap(),
    };
    (0..=high)
        .map(|value| {
            value >= low
                && field.split(',').any(|item| {
                    let (base, step) = item.split_once('/').unwrap_or((item, "1"));
                    let (first, last) = match base.split_once('-') {
                        Some((first, last)) => (number(first), number(last)),
                        None if base == "*" => (low, high),
                        None => (number(base), number(base)),
                    };
                    (first..=last).contains(&value) && (value - first).is_multiple_of(step.parse::<usize>().unwrap())
                })
        })
        .collect()
}

const MONTHS: [&str; 12] = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const DAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

struct Line {
    minutes: Vec<bool>,
    hours: Vec<bool>,
    days: Vec<bool>,
    months: Vec<bool>,
    weekdays: Vec<bool>,
    both: bool,
    wildcard: bool,
    /// The day that was looked at last, and whether it is selected.
    last_day: Cell<Option<(i64, bool)>>,
}

impl Line {
    fn new(text: &str) -> Line {
        let fields: Vec<&str> = text.split(' ').collect();
        let star = |field: usize| fields[field].starts_with('*');
        Line {
            minutes: selected(fields[0], 0, 59, &[]),
            hours: selected(fields[1], 0, 23, &[]),
            days: selected(fields[2], 1, 31, &[]),
            months: selected(fields[3], 1, 12, &MONTHS),
            weekdays: selected(fields[4], 0, 7, &DAYS),
            both: star(2) || star(4),
            wildcard: star(0) || star(1),
            last_day: Cell::new(None),
        }
    }

    /// Whether a minute of the wall clock is selected, counted from 1970-01-01 00:00.
    fn matches(&self, wall: i64) -> bool {
        let (minute, hour) = (wall.rem_euclid(60) as usize, wall.div_euclid(60).rem_euclid(24) as usize);
        if !self.minutes[minute] || !self.hours[hour] {
            return false;
        }
        let day = wall.div_euclid(24 * 60);
        match self.last_day.get() {
            Some((last, selected)) if last == day => selected,
            _ => {
                let selected = self.matches_day(day);
                self.last_day.set(Some((day, selected)));
                selected
            }
        }
    }

    /// The same of a day, counted from 1970-01-01.
    fn matches_day(&self, day: i64) -> bool {
        let date = jiff::civil::date(1970, 1, 1) + SignedDuration::from_hours(24 * day);
        let weekday = date.weekday().to_sunday_zero_offset() as usize;
        let day = self.days[date.day() as usize];
        let weekday = self.weekdays[weekday] || weekday == 0 && self.weekdays[7];
        self.months[date.month() as usize] && if self.both { day && weekday } else { day || weekday }
    }
}

/// All runs after `after`, up to `until`.
pub fn walk(text: &str, zone: &TimeZone, after: Timestamp, until: Timestamp) -> Vec<Timestamp> {
    let line = Line::new(text);
    // Ten hours ahead: whatever change of the clock is in progress has then begun within the walk.
    let first = after.as_second().div_euclid(60) - 600;
    let mut wall_clock = WallClock { zone, block: i64::MIN, offsets: Vec::new() };
    let mut handled = wall_clock.at(first - 1);
    let mut runs = Vec::new();
    for minute in first..=until.as_second().div_euclid(60) {
        let wall = wall_clock.at(minute);
        let runs_now = match wall - handled {
            1 => line.matches(wall),
            2..=180 if line.wildcard => line.matches(wall),
            2..=180 => (handled + 1..=wall).any(|missed| line.matches(missed)),
            -179..=0 => line.wildcard && line.matches(wall),
            _ => line.matches(wall),
        };
        if !(-179..=0).contains(&(wall - handled)) {
            handled = wall;
        }
        let instant = Timestamp::from_second(minute * 60).unwrap();
        if runs_now && instant > after && instant <= until {
            runs.push(instant);
        }
    }
    runs
}

/// The wall clock of a zone, asked an hour at a time where the zone is at rest.
struct WallClock<'z> {
    zone: &'z TimeZone,
    block: i64,
    offsets: Vec<i64>,
}

impl WallClock<'_> {
    fn at(&mut self, minute: i64) -> i64 {
        let block = minute.div_euclid(60);
        if block != self.block {
            self.block = block;
            let (start, end) = (self.offset(block * 60), self.offset(block * 60 + 59));
            self.offsets = match start == end {
                true => vec![start; 60],
                false => (0..60).map(|minute| self.offset(block * 60 + minute)).collect(),
            };
        }
        minute + self.offsets[minute.rem_euclid(60) as usize]
    }

    fn offset(&self, minute: i64) -> i64 {
        let seconds = self.zone.to_offset(Timestamp::from_second(minute * 60).unwrap()).seconds();
        i64::from(seconds / 60)
    }
}

/// An instant, mostly from 1975 to 2040, and whether it is close to a change of the zone's clock; `None` for what an evaluator by
/// the minute cannot follow.
pub fn some_instant(random: &mut fastrand::Rng, zone: &TimeZone) -> Option<(Timestamp, bool)> {
    // 1975-01-01 to 2040-01-01.
    let anywhere = Timestamp::from_second(random.i64(157_766_400..2_208_988_800)).unwrap();
    let change = zone.following(anywhere).next().or_else(|| zone.preceding(anywhere).next());
    // The calendar begins in 1970.
    let change = change.map(|change| change.timestamp()).filter(|change| change.as_second() > 86_400);
    let near = change.filter(|_| random.u8(..10) > 0);
    let instant = match near {
        // Half of them in the few hours about the change, to the second.
        Some(change) if random.bool() => change + SignedDuration::from_secs(random.i64(-4 * 3600..4 * 3600)),
        Some(change) => change - SignedDuration::from_mins(random.i64(-240..36 * 60)),
        None => anywhere,
    };
    let whole = |hours: i64| (zone.to_offset(instant + SignedDuration::from_hours(hours)).seconds() % 60) == 0;
    (whole(-12) && whole(0) && whole(44)).then_some((instant, near.is_some()))
}

/// An expression that often has something to do in the nights in which clocks are changed.
pub fn some_expression(random: &mut fastrand::Rng) -> String {
    let minute = field(random, 0, 59, 15);
    let hour = match random.u8(..10) {
        0..5 => field(random, 0, 4, 60),
        _ => field(random, 0, 23, 50),
    };
    let day = field(random, 1, 31, 65);
    let month = field(random, 1, 12, 85);
    let weekday = match random.u8(..10) {
        0 => DAYS[random.usize(..7)].to_owned(),
        1 => "Mon-fri".to_owned(),
        _ => field(random, 0, 7, 65),
    };
    format!("{minute} {hour} {day} {month} {weekday}")
}

/// `stars` of a hundred are `*`.
fn field(random: &mut fastrand::Rng, low: u32, high: u32, stars: u32) -> String {
    if random.u32(..100) < stars {
        return "*".to_owned();
    }
    let items: Vec<String> = (0..random.u32(1..4)).map(|_| item(random, low, high)).collect();
    items.join(",")
}

fn item(random: &mut fastrand::Rng, low: u32, high: u32) -> String {
    let first = random.u32(low..=high);
    let last = random.u32(first..=high);
    let step = random.u32(1..=high + 2);
    match random.u8(..12) {
        0..5 => first.to_string(),
        5..8 => format!("{first}-{last}"),
        8..10 => format!("{first}-{last}/{step}"),
        10 => format!("*/{step}"),
        _ => format!("{low}-{high}"),
    }
}
