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
}

impl Desired {
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
        }
    }
}
