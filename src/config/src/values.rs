//! Texts that mean a time, a size, a signal, a mode or a limit. Every function is total: text in, value or nothing out.

use std::time::Duration;

/// The longest time that a config may name.
pub(crate) const LONGEST: Duration = Duration::from_secs(365 * 86_400);

/// Signal names without `SIG` and their numbers on Linux (x86, arm, riscv; signal(7)).
pub(crate) const SIGNALS: &[(&str, i32)] = &[
    ("HUP", 1),
    ("INT", 2),
    ("QUIT", 3),
    ("ILL", 4),
    ("TRAP", 5),
    ("ABRT", 6),
    ("BUS", 7),
    ("FPE", 8),
    ("KILL", 9),
    ("USR1", 10),
    ("SEGV", 11),
    ("USR2", 12),
    ("PIPE", 13),
    ("ALRM", 14),
    ("TERM", 15),
    ("STKFLT", 16),
    ("CHLD", 17),
    ("CONT", 18),
    ("STOP", 19),
    ("TSTP", 20),
    ("TTIN", 21),
    ("TTOU", 22),
    ("URG", 23),
    ("XCPU", 24),
    ("XFSZ", 25),
    ("VTALRM", 26),
    ("PROF", 27),
    ("WINCH", 28),
    ("IO", 29),
    ("PWR", 30),
    ("SYS", 31),
];

/// The number of SIGKILL.
pub(crate) const KILL: i32 = 9;

/// The number of SIGTERM.
pub(crate) const TERM: i32 = 15;

/// The number of SIGSTOP.
pub(crate) const STOP: i32 = 19;

/// Resource limits and their numbers on Linux (x86, arm, riscv; asm-generic/resource.h).
pub(crate) const RLIMITS: &[(&str, u32)] = &[
    ("cpu", 0),
    ("fsize", 1),
    ("data", 2),
    ("stack", 3),
    ("core", 4),
    ("rss", 5),
    ("nproc", 6),
    ("nofile", 7),
    ("memlock", 8),
    ("as", 9),
    ("locks", 10),
    ("sigpending", 11),
    ("msgqueue", 12),
    ("nice", 13),
    ("rtprio", 14),
    ("rttime", 15),
];

/// A signal's name without SIG; the number where it has none.
pub fn signal_name(number: i32) -> String {
    let known = SIGNALS.iter().find(|(_, n)| *n == number);
    known.map_or_else(|| number.to_string(), |(name, _)| (*name).to_owned())
}

/// `TERM` or `SIGTERM`.
pub(crate) fn signal(text: &str) -> Option<i32> {
    let name = text.strip_prefix("SIG").unwrap_or(text);
    SIGNALS.iter().find(|(n, _)| *n == name).map(|(_, number)| *number)
}

/// `500ms`, `30s`, `1m30s`, `2h`, `1d`; at most [`LONGEST`].
pub(crate) fn duration(text: &str) -> Option<Duration> {
    span(text).filter(|span| *span <= LONGEST)
}

/// A duration as people type it on a command line or in a query: as in a config, but of any length, and a bare number
/// is seconds.
pub fn typed_duration(text: &str) -> Option<Duration> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if digits { text.parse().ok().map(Duration::from_secs) } else { span(text) }
}

fn span(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut total = Duration::ZERO;
    let mut last_unit = u64::MAX;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).filter(|at| *at > 0)?;
        let number: u64 = rest.get(..digits)?.parse().ok()?;
        rest = rest.get(digits..)?;
        let letters = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
        let millis: u64 = match rest.get(..letters)? {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return None,
        };
        // Units go down: "30s1m" is a slip.
        if millis >= last_unit {
            return None;
        }
        last_unit = millis;
        rest = rest.get(letters..)?;
        total = total.checked_add(Duration::from_millis(number.checked_mul(millis)?))?;
    }
    (last_unit != u64::MAX).then_some(total)
}

/// `500ms..30s`, or one time for both ends.
pub(crate) fn duration_range(text: &str) -> Option<(Duration, Duration)> {
    match text.split_once("..") {
        Some((low, high)) => Some((duration(low.trim())?, duration(high.trim())?)),
        None => duration(text).map(|d| (d, d)),
    }
    .filter(|(low, high)| low <= high)
}

/// `5 in 1m`.
pub(crate) fn count_in_time(text: &str) -> Option<(u32, Duration)> {
    let (count, window) = text.split_once(" in ")?;
    let count: u32 = count.trim().parse().ok()?;
    let window = duration(window.trim())?;
    ((1..=1_000_000).contains(&count) && !window.is_zero()).then_some((count, window))
}

/// `64M`: bytes, or with K, M, G or T multiples of 1024.
pub(crate) fn size(text: &str) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number: u64 = text.get(..digits)?.parse().ok()?;
    let shift = match text.get(digits..)? {
        "" => 0,
        "K" => 10,
        "M" => 20,
        "G" => 30,
        "T" => 40,
        _ => return None,
    };
    number.checked_mul(1 << shift)
}

/// `022`, `0660`: octal digits.
pub(crate) fn octal(text: &str) -> Option<u32> {
    let plain = !text.is_empty() && text.len() <= 5 && text.bytes().all(|b| (b'0'..=b'7').contains(&b));
    plain.then(|| u32::from_str_radix(text, 8).ok()).flatten()
}

/// `65536`, `unlimited`, `1024:unlimited` as (soft, hard). The soft limit may not be above the hard one.
pub(crate) fn limit(text: &str) -> Option<(u64, u64)> {
    let one = |t: &str| match t {
        "unlimited" => Some(u64::MAX),
        _ if t.bytes().all(|b| b.is_ascii_digit()) => t.parse().ok(),
        _ => None,
    };
    match text.split_once(':') {
        Some((soft, hard)) => Some((one(soft)?, one(hard)?)),
        None => one(text).map(|v| (v, v)),
    }
    .filter(|(soft, hard)| soft <= hard)
}

/// Names of processes and environments.
pub(crate) fn is_name(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
}

/// Names of apps.
pub(crate) fn is_app(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && !text.starts_with('-')
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

/// What the kernel and every libc take as the name of a variable.
pub(crate) fn is_variable(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c != '=' && !c.is_control() && !c.is_whitespace())
}

/// The nearest of the names, where it is near enough to be meant.
pub(crate) fn nearest<'a>(text: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let allowed = (text.chars().count() / 3).clamp(1, 3);
    names
        .map(|name| (strsim::damerau_levenshtein(&text.to_lowercase(), &name.to_lowercase()), name))
        .filter(|(distance, name)| *distance <= allowed && *distance < name.chars().count())
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// `; did you mean "restart"?`, or nothing.
pub(crate) fn did_you_mean<'a>(text: &str, names: impl Iterator<Item = &'a str>) -> String {
    nearest(text, names).map(|name| format!("; did you mean \"{name}\"?")).unwrap_or_default()
}

/// Whether there may be a user or a group of this name.
pub(crate) fn is_account(text: &str) -> bool {
    !text.is_empty() && !text.contains(|c: char| c.is_whitespace() || c.is_control() || c == ':')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_with_units_that_go_down() {
        assert_eq!(duration("500ms"), Some(Duration::from_millis(500)));
        assert_eq!(duration("1m30s"), Some(Duration::from_secs(90)));
        assert_eq!(duration("0s"), Some(Duration::ZERO));
        assert_eq!(duration("365d"), Some(LONGEST));
        for bad in ["", "5", "s", "30s1m", "1.5s", "-1s", "5 s", "366d", "99999999999999999999s", "1w", "1s1s"] {
            assert_eq!(duration(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_duration_that_is_typed_may_be_a_bare_number_of_seconds_and_of_any_length() {
        for (text, millis) in [
            ("90", Some(90_000)),
            ("0", Some(0)),
            ("1h30m", Some(5_400_000)),
            ("500ms", Some(500)),
            ("400d", Some(34_560_000_000)),
        ] {
            assert_eq!(typed_duration(text), millis.map(Duration::from_millis), "{text}");
        }
        for bad in ["", "m", "10x", "-5s", "+5", "5s5", "1.5h", "99999999999999999999s", "18446744073709551615d", "5ä"]
        {
            assert_eq!(typed_duration(bad), None, "{bad}");
        }
    }

    #[test]
    fn ranges_limits_sizes_and_modes_are_read_or_refused_whole() {
        assert_eq!(duration_range("500ms..30s"), Some((Duration::from_millis(500), Duration::from_secs(30))));
        assert_eq!(duration_range("0ms..0ms"), Some((Duration::ZERO, Duration::ZERO)));
        assert_eq!(duration_range("30s..1s"), None);
        assert_eq!(count_in_time("5 in 1m"), Some((5, Duration::from_secs(60))));
        assert_eq!(count_in_time("5 in 0s"), None);
        assert_eq!(size("64M"), Some(64 << 20));
        assert_eq!(size("99999999T"), None);
        assert_eq!(octal("0660"), Some(0o660));
        assert_eq!(octal("08"), None);
        assert_eq!(limit("1024:unlimited"), Some((1024, u64::MAX)));
        assert_eq!(limit("2:1"), None);
        assert_eq!(limit(""), None);
    }
}
