//! Text of others made fit to be shown, and numbers and times made fit to be read. Pure.

use std::borrow::Cow;

use jiff::Timestamp;
use svd_config::{Sgr, is_printable, printable};

use crate::now::Now;
use crate::screen::{Paint, Place};

/// Text of a reason, a message or a name: no control character of any kind reaches the output, wherever that goes.
pub(crate) fn plain(text: &str) -> Cow<'_, str> {
    if is_printable(text) { Cow::Borrowed(text) } else { Cow::Owned(printable(text.as_bytes(), Sgr::Show)) }
}

/// Text of several lines: as [`plain`], but newlines and tabs stay.
pub(crate) fn plain_lines(text: &str) -> String {
    text.split('\n').map(plain).collect::<Vec<_>>().join("\n")
}

/// A line that an instance wrote. A terminal gets tabs and colours and sees everything else as `\x1b`; a file or pipe
/// gets what was written, so that `svctl logs | grep` finds it.
pub(crate) fn log_line(text: &str, place: Place, paint: Paint) -> Cow<'_, str> {
    match (place, paint) {
        (Place::Other, _) => Cow::Borrowed(text),
        (Place::Terminal, _) if is_printable(text) => Cow::Borrowed(text),
        (Place::Terminal, Paint::Colors) => Cow::Owned(printable(text.as_bytes(), Sgr::Keep)),
        (Place::Terminal, Paint::Plain) => Cow::Owned(printable(text.as_bytes(), Sgr::Drop)),
    }
}

/// `12s`, `4m 10s`, `3h 5m`, `3d 4h`: two units at most.
pub(crate) fn duration(seconds: i64) -> String {
    let seconds = seconds.max(0);
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    let two = |large: i64, unit: &str, small: i64, small_unit: &str| match small {
        0 => format!("{large}{unit}"),
        _ => format!("{large}{unit} {small}{small_unit}"),
    };
    if days > 0 {
        two(days, "d", hours % 24, "h")
    } else if hours > 0 {
        two(hours, "h", minutes % 60, "m")
    } else if minutes > 0 {
        two(minutes, "m", seconds % 60, "s")
    } else {
        format!("{seconds}s")
    }
}

/// How long ago an RFC 3339 instant was; empty where it is none.
pub(crate) fn since(instant: &str, now: &Now) -> String {
    match instant.parse::<Timestamp>() {
        Ok(instant) => duration(now.timestamp().as_second() - instant.as_second()),
        Err(_) => String::new(),
    }
}

/// The time of day in the user's zone, with the date where that is another than today's; what is no RFC 3339 instant is
/// shown as it is.
pub(crate) fn clock(instant: &str, now: &Now) -> String {
    let Ok(parsed) = instant.parse::<Timestamp>() else { return plain(instant).into_owned() };
    let now = now.zoned();
    let local = parsed.to_zoned(now.time_zone().clone());
    let (date, time) = (local.date(), local.time());
    let clock = format!("{:02}:{:02}:{:02}", time.hour(), time.minute(), time.second());
    if date == now.date() { clock } else { format!("{date} {clock}") }
}

/// `512K`, `50M`, `1.2G`: powers of 1024, as ps and top show them.
pub(crate) fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["K", "M", "G", "T", "P"];
    if count < 1024 {
        return format!("{count}B");
    }
    // A rounded display value: the precision of f64 is plenty.
    let mut value = count as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1023.5 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if value < 9.95 && unit > 0 { format!("{value:.1}{}", UNITS[unit]) } else { format!("{value:.0}{}", UNITS[unit]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_gets_colours_and_no_other_escape_sequence() {
        // given a line that colours a word, then sets the window's title and moves the cursor
        let line = "\x1b[1;31mred\x1b[0m\t\x1b]0;owned\x07 \x1b[2J\r\u{9b}31m \u{202e}txt";
        // then only the colours and the tab arrive as they are
        assert_eq!(
            log_line(line, Place::Terminal, Paint::Colors),
            "\x1b[1;31mred\x1b[0m\t\\x1b]0;owned\\x07 \\x1b[2J\\x0d\\u{9b}31m \\u{202e}txt\x1b[0m"
        );
        // without colours they are left out
        assert_eq!(log_line("\x1b[31mred\x1b[m!", Place::Terminal, Paint::Plain), "red!");
        // and a pipe gets what was written
        assert_eq!(log_line(line, Place::Other, Paint::Plain), line);
    }

    #[test]
    fn a_reason_never_carries_control_characters_anywhere() {
        assert_eq!(plain("loading\n\x1b[31m50 %"), "loading\\x0a\\x1b[31m50 %");
        assert_eq!(plain("grün, 50 %"), "grün, 50 %");
        assert_eq!(plain_lines("a\n\x07b"), "a\n\\x07b");
    }

    #[test]
    fn durations_have_two_units_at_most() {
        for (seconds, expected) in [
            (0, "0s"),
            (12, "12s"),
            (60, "1m"),
            (250, "4m 10s"),
            (3600, "1h"),
            (3 * 3600 + 5 * 60 + 7, "3h 5m"),
            (3 * 86_400 + 4 * 3600 + 59, "3d 4h"),
            (-5, "0s"),
        ] {
            assert_eq!(duration(seconds), expected);
        }
    }

    #[test]
    fn sizes_are_short() {
        for (count, expected) in [
            (0, "0B"),
            (1023, "1023B"),
            (1024, "1K"),
            (52_428_800, "50M"),
            (1_288_490_189, "1.2G"),
            (10 << 30, "10G"),
            (1 << 20, "1.0M"),
            ((1 << 20) - 1, "1.0M"),
        ] {
            assert_eq!(bytes(count), expected);
        }
    }

    #[test]
    fn times_are_the_users_and_carry_a_date_when_it_is_not_today() {
        let now: Now = "2026-11-23T15:00:00+01:00[Europe/Berlin]".parse().unwrap();
        assert_eq!(clock("2026-11-23T13:00:05.123456Z", &now), "14:00:05");
        assert_eq!(clock("2026-11-22T22:59:59Z", &now), "2026-11-22 23:59:59");
        assert_eq!(clock("soon", &now), "soon");
        assert_eq!(since("2026-11-23T13:59:48Z", &now), "12s");
        assert_eq!(since("soon", &now), "");
    }
}
