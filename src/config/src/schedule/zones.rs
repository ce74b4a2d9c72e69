//! What to say about a time zone that does not exist.

use crate::values::nearest;

/// The message for a name that none of `names` is: `unknown time zone "berlin"; did you mean "Europe/Berlin"?`.
///
/// Whoever looks up a zone has the names; nothing here reads the zone data.
pub fn unknown_zone<'a>(name: &str, names: impl Iterator<Item = &'a str> + Clone) -> String {
    // People leave out the continent, or write a blank for the underscore.
    let written = name.trim().replace(' ', "_");
    let city = |zone: &&str| zone.rsplit('/').next().is_some_and(|last| last.eq_ignore_ascii_case(&written));
    let meant = names.clone().find(|zone| zone.eq_ignore_ascii_case(&written)).or_else(|| names.clone().find(city));
    let meant = meant.or_else(|| nearest(&written, names.clone())).or_else(|| {
        let cities = names.clone().filter_map(|zone| zone.rsplit('/').next());
        let near = nearest(&written, cities)?;
        names.clone().find(|zone| zone.rsplit('/').next() == Some(near))
    });
    match meant {
        Some(zone) => format!("unknown time zone {name:?}; did you mean \"{zone}\"?"),
        None => format!("unknown time zone {name:?}; write a name of the tz database, as in Europe/Berlin or UTC"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_zone_that_was_probably_meant_is_named() {
        let names = ["America/New_York", "America/Los_Angeles", "Europe/Berlin", "UTC"];
        for (name, meant) in [
            ("Berlin", "Europe/Berlin"),
            ("berlni", "Europe/Berlin"),
            ("Europe/Berln", "Europe/Berlin"),
            ("new york", "America/New_York"),
            ("utc ", "UTC"),
        ] {
            let said = unknown_zone(name, names.iter().copied());
            assert!(said.ends_with(&format!("did you mean \"{meant}\"?")), "{said}");
        }
        let said = unknown_zone("Mars/Olympus_Mons", names.iter().copied());
        assert!(said.ends_with("as in Europe/Berlin or UTC"), "{said}");
    }
}
