//! What time it is for who looks.

use std::cell::OnceCell;

use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};

/// The instant, and in the user's zone where that is asked for: to look the zone up reads through all directories of zones, which would
/// be a good part of what a short answer costs.
#[derive(Clone, Debug)]
pub(crate) struct Now {
    at: Timestamp,
    zoned: OnceCell<Zoned>,
}

impl Now {
    /// By the clock of this machine.
    pub fn here() -> Now {
        Now { at: Timestamp::now(), zoned: OnceCell::new() }
    }

    pub fn timestamp(&self) -> Timestamp {
        self.at
    }

    /// In the user's zone.
    pub fn zoned(&self) -> &Zoned {
        self.zoned.get_or_init(|| self.at.to_zoned(TimeZone::system()))
    }
}

#[cfg(test)]
impl std::str::FromStr for Now {
    type Err = jiff::Error;

    fn from_str(text: &str) -> Result<Now, jiff::Error> {
        let zoned: Zoned = text.parse()?;
        Ok(Now { at: zoned.timestamp(), zoned: OnceCell::from(zoned) })
    }
}
