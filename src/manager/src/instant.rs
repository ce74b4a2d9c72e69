//! Instants for people and scripts.

use jiff::Timestamp;

/// The instant so many nanoseconds after 1970. `{:.6}` shows it as RFC 3339 in UTC, with microseconds.
pub fn instant(real_ns: u64) -> Timestamp {
    // What lies beyond the year 9999 comes from a broken clock.
    Timestamp::from_nanosecond(i128::from(real_ns)).unwrap_or(Timestamp::UNIX_EPOCH)
}
