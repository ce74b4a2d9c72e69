//! How long to wait before a restart.

use std::time::Duration;

use svd_config::plan::RestartPlan;

use crate::name::{InstanceName, SpawnId};

/// The pause after failure number `failures` in a row (from 1): `backoff_min` doubled each time, up to `backoff_max`,
/// and up to a quarter more, so that instances that died together do not come back together. The quarter is a hash of
/// the spawn and its name, not chance: a new manager comes to the same pause. Zero stays zero.
pub(crate) fn pause(plan: &RestartPlan, failures: u32, spawn: SpawnId, name: &InstanceName) -> Duration {
    let doublings = failures.saturating_sub(1).min(31);
    let base = plan.backoff_min.saturating_mul(1 << doublings).min(plan.backoff_max.max(plan.backoff_min));
    base.saturating_add(share(base / 4, spawn, name))
}

/// A part of a time, from nothing to all of it: a hash of the spawn and its name, so that every manager comes to the same.
pub(crate) fn share(of: Duration, spawn: SpawnId, name: &InstanceName) -> Duration {
    of.mul_f64((hash(spawn, name) % 1024) as f64 / 1023.0)
}

/// FNV-1a over the name and the spawn, then mixed: neighbouring spawns must come out far apart.
fn hash(spawn: SpawnId, name: &InstanceName) -> u64 {
    let bytes = name.process.bytes().chain(name.index.to_le_bytes()).chain(spawn.0.to_le_bytes());
    let mut h = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3));
    h ^= h >> 32;
    h = h.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    h ^ (h >> 29)
}

#[cfg(test)]
mod tests {
    use svd_config::plan::RestartWhen;

    use super::*;

    fn plan(min: u64, max: u64) -> RestartPlan {
        RestartPlan {
            when: RestartWhen::Always,
            backoff_min: Duration::from_millis(min),
            backoff_max: Duration::from_millis(max),
            limit: None,
            success_exit: vec![],
        }
    }

    #[test]
    fn pauses_double_up_to_the_longest_and_vary_by_a_quarter_at_most() {
        let name = InstanceName::new("web", 1);
        for spawn in 1..100 {
            for (failures, base) in [(1, 500), (2, 1000), (3, 2000), (7, 30_000), (200, 30_000)] {
                let p = pause(&plan(500, 30_000), failures, SpawnId(spawn), &name).as_millis();
                assert!(p >= base && p <= base * 5 / 4, "{failures}: {p}");
            }
        }
    }

    #[test]
    fn zero_stays_zero() {
        assert_eq!(pause(&plan(0, 0), 9, SpawnId(1), &InstanceName::new("web", 1)), Duration::ZERO);
    }

    #[test]
    fn instances_that_died_together_do_not_come_back_together() {
        let name = InstanceName::new("web", 1);
        let mut pauses: Vec<_> = (1..50).map(|s| pause(&plan(1000, 1000), 1, SpawnId(s), &name)).collect();
        pauses.sort();
        pauses.dedup();
        assert!(pauses.len() > 40);
    }
}
