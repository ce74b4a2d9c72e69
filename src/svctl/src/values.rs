//! Values on the command line: durations, points in time, counts, signals. Pure: whoever uses a [`When`] says what
//! time it is.

use std::time::Duration;

use jiff::civil::{Date, DateTime, Time};
use jiff::{Timestamp, Zoned};
use svd_api::ScaleCount;

/// A point in time as people write it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum When {
    /// `10m`: so long ago.
    Ago(Duration),
    /// `2026-11-23T14:30:00Z`
    At(Timestamp),
    /// `2026-11-23 14:30`, `2026-11-23`: in the user's zone.
    Local(DateTime),
    /// `14:30`: the last time the clock showed this.
    Clock(Time),
}

impl When {
    /// The instant that is meant by one who says it at `now`.
    pub fn resolve(&self, now: &Zoned) -> Result<Timestamp, String> {
        let zoned = |local: DateTime| local.to_zoned(now.time_zone().clone()).map(|z| z.timestamp());
        let instant = match self {
            When::Ago(duration) => now.timestamp().checked_sub(*duration),
            When::At(instant) => Ok(*instant),
            When::Local(local) => zoned(*local),
            When::Clock(clock) => {
                let today = now.date().to_datetime(*clock);
                match zoned(today) {
                    Ok(instant) if instant > now.timestamp() => {
                        now.date().yesterday().and_then(|d| zoned(d.to_datetime(*clock)))
                    }
                    other => other,
                }
            }
        };
        instant.map_err(|error| error.to_string())
    }
}

/// Reads a [`When`].
pub(crate) fn when(text: &str) -> Result<When, String> {
    if let Ok(ago) = duration(text.strip_suffix(" ago").unwrap_or(text)) {
        return Ok(When::Ago(ago));
    }
    if let Ok(instant) = text.parse::<Timestamp>() {
        return Ok(When::At(instant));
    }
    if text.contains('-') {
        if let Ok(local) = text.parse::<DateTime>() {
            return Ok(When::Local(local));
        }
        if let Ok(date) = text.parse::<Date>() {
            return Ok(When::Local(date.to_datetime(Time::midnight())));
        }
    }
    if text.contains(':')
        && let Ok(clock) = text.parse::<Time>()
    {
        return Ok(When::Clock(clock));
    }
    Err("write 10m (ago), 14:30, 2026-11-23, \"2026-11-23 14:30\" or 2026-11-23T14:30:00Z".to_owned())
}

/// Reads `500ms`, `30s`, `1h30m`, `2d`; a bare number is seconds.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let help = || "write a number with its unit, as in 500ms, 30s, 5m, 1h30m or 2d".to_owned();
    svd_config::typed_duration(text).ok_or_else(help)
}

/// Reads how often something is looked at, 200 ms to an hour.
pub(crate) fn interval(text: &str) -> Result<Duration, String> {
    let time = duration(text)?;
    let allowed = Duration::from_millis(200)..=Duration::from_secs(3600);
    if allowed.contains(&time) { Ok(time) } else { Err("write a time from 200ms to 1h".to_owned()) }
}

/// Reads a number of things to show, 1 to 10000.
pub(crate) fn count(text: &str) -> Result<usize, String> {
    let count = text.parse().ok().filter(|count| (1..=10_000).contains(count));
    count.ok_or_else(|| "write a number from 1 to 10000".to_owned())
}

/// Reads `web=4`, `web=+2`, `web=-1`.
pub(crate) fn scale(text: &str) -> Result<(String, ScaleCount), String> {
    const HELP: &str = "write PROCESS=COUNT, as in web=4, web=+2 or web=-1";
    let (name, count) = text.split_once('=').ok_or(HELP)?;
    if name.is_empty() {
        return Err(HELP.to_owned());
    }
    let relative = count.starts_with(['+', '-']);
    let count = if relative { count.parse().map(ScaleCount::By) } else { count.parse().map(ScaleCount::To) };
    Ok((name.to_owned(), count.map_err(|_| HELP)?))
}

/// The number of a signal as svd names it.
pub(crate) fn signal_number(name: &str) -> Option<i32> {
    let bare = name.strip_prefix("SIG").unwrap_or(name);
    let known = format!("SIG{bare}").parse::<nix::sys::signal::Signal>().ok().map(|signal| signal as i32);
    known.or_else(|| bare.parse().ok())
}

/// Reads a signal and gives it back as it was written: which number it has is the server's to say.
pub(crate) fn signal(text: &str) -> Result<String, String> {
    let upper = text.to_ascii_uppercase();
    let bare = upper.strip_prefix("SIG").unwrap_or(&upper);
    let offset =
        |tail: &str, sign: char| tail.is_empty() || tail.strip_prefix(sign).is_some_and(|n| n.parse::<u8>().is_ok());
    let known = format!("SIG{bare}").parse::<nix::sys::signal::Signal>().is_ok()
        || bare.parse::<u8>().is_ok_and(|number| (1..=64).contains(&number))
        || bare.strip_prefix("RTMIN").is_some_and(|tail| offset(tail, '+'))
        || bare.strip_prefix("RTMAX").is_some_and(|tail| offset(tail, '-'));
    if known {
        Ok(text.to_owned())
    } else {
        Err("no such signal; the signal comes first, then its targets: svctl signal USR1 web".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scale_takes_counts_and_differences() {
        assert_eq!(scale("web=4"), Ok(("web".to_owned(), ScaleCount::To(4))));
        assert_eq!(scale("web=+2"), Ok(("web".to_owned(), ScaleCount::By(2))));
        assert_eq!(scale("db=-1"), Ok(("db".to_owned(), ScaleCount::By(-1))));
        for wrong in ["web", "=4", "web=", "web=x", "web=++2", "web=4.5", "web=99999999999"] {
            assert!(scale(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_signal_that_does_not_exist_is_a_usage_error_that_shows_the_order() {
        for right in ["SIGUSR1", "usr1", "10", "RTMIN", "RTMIN+3", "sigrtmax-1", "TERM"] {
            assert_eq!(signal(right), Ok(right.to_owned()));
        }
        for wrong in ["web", "0", "65", "RTMIN3", ""] {
            assert!(signal(wrong).unwrap_err().contains("svctl signal USR1 web"), "{wrong}");
        }
    }

    #[test]
    fn points_in_time_are_resolved_in_the_users_zone() {
        let now: Zoned = "2026-11-23T15:00:00+01:00[Europe/Berlin]".parse().unwrap();
        for (text, expected) in [
            ("10m", "2026-11-23T13:50:00Z"),
            ("10m ago", "2026-11-23T13:50:00Z"),
            ("14:30", "2026-11-23T13:30:00Z"),
            // Later than now: it was yesterday.
            ("15:30", "2026-11-22T14:30:00Z"),
            ("2026-11-01", "2026-10-31T23:00:00Z"),
            ("2026-07-01 12:00", "2026-07-01T10:00:00Z"),
            ("2026-11-23T14:30:00Z", "2026-11-23T14:30:00Z"),
            ("2026-11-23T14:30:00+02:00", "2026-11-23T12:30:00Z"),
        ] {
            let instant = when(text).unwrap().resolve(&now).unwrap();
            assert_eq!(instant.to_string(), expected, "{text}");
        }
        for wrong in ["", "yesterdayish", "25:00", "2026-13-01"] {
            assert!(when(wrong).is_err(), "{wrong}");
        }
    }
}
