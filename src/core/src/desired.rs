//! What people asked for beyond the config: stored durably before a command is acknowledged.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::name::{InstanceName, Target};

/// What is desired, beside the plan.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Desired {
    /// Instances asked for by `scale`; replaces the config's count; kept over restarts of svd.
    pub scale: BTreeMap<Arc<str>, u32>,
    /// Processes switched off until `enable`; kept over restarts of svd.
    pub disabled: BTreeSet<Arc<str>>,
    /// What was stopped by hand; kept while this keeper lives, forgotten when svd itself is started afresh.
    pub stopped: BTreeSet<Target>,
    /// Which generation each instance is to have; an instance whose spawn has a smaller one is stale and is replaced. A
    /// restart raises it, so that a restart goes on where a killed manager left it. Absent: 0.
    pub generation: BTreeMap<InstanceName, u64>,
    /// While an apply is in progress, which of the two plans each generation of a process runs by ([`Desired::runs_by`]):
    /// ascending generations at which it changes. Absent: all run by the plan in force.
    pub boundaries: BTreeMap<Arc<str>, Vec<u64>>,
    /// The apply in progress was taken back: the plan in force is the one before it.
    pub taken_back: bool,
}

/// Which of two plans.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// The one in force.
    InForce,
    /// The other one of an apply in progress: the one before it, or, where it was taken back, the one that failed.
    Other,
}

/// One change of what is desired.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// So many instances; `None`: as the config says.
    Scale(Arc<str>, Option<u32>),
    /// Switched off, or on again.
    Disabled(Arc<str>, bool),
    /// Stopped by hand, or no longer.
    Stopped(Target, bool),
    /// This generation.
    Generation(InstanceName, u64),
    /// These boundaries; empty: none.
    Boundaries(Arc<str>, Vec<u64>),
    /// The apply in progress is taken back, or has ended.
    TakenBack(bool),
}

impl Desired {
    /// Which plan a generation of a process runs by: the newest generations by the one in force, and each boundary is where
    /// it changes.
    pub fn runs_by(&self, process: &str, generation: u64) -> Which {
        let above = self.boundaries.get(process).map_or(0, |all| all.iter().filter(|at| generation < **at).count());
        if above.is_multiple_of(2) { Which::InForce } else { Which::Other }
    }

    /// The changes after which this is as `wanted`, of what is kept for longer than an apply lasts.
    pub fn changes_to(&self, wanted: &Desired) -> Vec<Change> {
        let scaled = wanted.scale.iter().filter(|(process, n)| self.scale.get(*process) != Some(*n));
        let unscaled = self.scale.keys().filter(|process| !wanted.scale.contains_key(*process));
        let generations = wanted.generation.iter().filter(|(name, n)| self.generation.get(*name) != Some(*n));
        let disabled = wanted.disabled.difference(&self.disabled);
        let enabled = self.disabled.difference(&wanted.disabled);
        let stopped = wanted.stopped.difference(&self.stopped);
        let started = self.stopped.difference(&wanted.stopped);
        scaled
            .map(|(process, n)| Change::Scale(process.clone(), Some(*n)))
            .chain(unscaled.map(|process| Change::Scale(process.clone(), None)))
            .chain(disabled.map(|process| Change::Disabled(process.clone(), true)))
            .chain(enabled.map(|process| Change::Disabled(process.clone(), false)))
            .chain(stopped.map(|target| Change::Stopped(target.clone(), true)))
            .chain(started.map(|target| Change::Stopped(target.clone(), false)))
            .chain(generations.map(|(name, n)| Change::Generation(name.clone(), *n)))
            .collect()
    }

    /// Makes the change.
    pub fn apply(&mut self, change: &Change) {
        match change {
            Change::Scale(process, Some(n)) => {
                self.scale.insert(process.clone(), *n);
            }
            Change::Scale(process, None) => {
                self.scale.remove(process);
            }
            Change::Disabled(process, true) => {
                self.disabled.insert(process.clone());
            }
            Change::Disabled(process, false) => {
                self.disabled.remove(process);
            }
            Change::Stopped(target, true) => {
                self.stopped.insert(target.clone());
            }
            Change::Stopped(target, false) => {
                self.stopped.remove(target);
            }
            Change::Generation(instance, n) => {
                self.generation.insert(instance.clone(), *n);
            }
            Change::Boundaries(process, at) if at.is_empty() => {
                self.boundaries.remove(process);
            }
            Change::Boundaries(process, at) => {
                self.boundaries.insert(process.clone(), at.clone());
            }
            Change::TakenBack(taken_back) => self.taken_back = *taken_back,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_as_changed_makes_the_one_the_other() {
        let target = |name: &str, index| Target { process: name.into(), index };
        let make = |changes: &[Change]| {
            let mut desired = Desired::default();
            changes.iter().for_each(|change| desired.apply(change));
            desired
        };
        let before = make(&[
            Change::Scale("web".into(), Some(3)),
            Change::Scale("same".into(), Some(2)),
            Change::Disabled("db".into(), true),
            Change::Stopped(target("web", Some(2)), true),
            Change::Generation(InstanceName::new("web", 1), 4),
        ]);
        let after = make(&[
            Change::Scale("web".into(), Some(5)),
            Change::Scale("same".into(), Some(2)),
            Change::Scale("new".into(), Some(0)),
            Change::Disabled("mail".into(), true),
            Change::Stopped(target("web", None), true),
            Change::Generation(InstanceName::new("web", 1), 7),
        ]);
        let changes = before.changes_to(&after);
        assert_eq!(changes.len(), 7, "{changes:?}");
        let mut made = before.clone();
        changes.iter().for_each(|change| made.apply(change));
        assert_eq!(made, after);
        assert!(after.changes_to(&after).is_empty());
        let unscaled = after.changes_to(&Desired { scale: BTreeMap::new(), ..after.clone() });
        assert_eq!(unscaled.len(), 3, "{unscaled:?}");
    }
}
