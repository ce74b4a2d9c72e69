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
