//! When a job runs: `"*/15 6-22 * * mon-fri"`, `"@daily"`, `"every 90s"`, `"@reboot"`.
//!
//! A text becomes a [`Schedule`] or a [`ScheduleError`] with the place of the fault; a [`Schedule`] tells the next instant
//! after another one in a zone that the caller has looked up, and reads itself out in words. What a crontab line means is
//! what Debian's cron makes of it, with two exceptions: what that one accepts and never runs, or reads as something else
//! than is written there, is an error here.
//!
//! The way of a text is fields, calendar, instants. Nothing here reads a clock or the zone data.

mod calendar;
mod error;
mod fields;
mod instants;
mod interval;
mod kinds;
mod reading;
mod segment;
mod zones;

pub use error::ScheduleError;
pub(crate) use error::{excerpt, shown};
pub(crate) use fields::{DAY, Field, HOUR, MINUTE, MONTH, Piece, WEEKDAY, pieces};
pub use instants::Crontab;
pub use interval::Interval;
pub use kinds::Schedule;
pub use segment::Known;
pub use zones::unknown_zone;
