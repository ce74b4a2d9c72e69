//! The runs that are not over, found by number, by job and by stage: thousands may wait at once, and each turn looks for the few
//! that something has come of.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::book::process_name;
use super::record::{Run, RunId};
use crate::name::{InstanceName, OpId};

/// A run that is not over.
#[derive(Clone, Debug)]
pub(crate) struct Active {
    pub run: Run,
    /// What it is called as an instance. Made once: it is asked for in each turn.
    pub name: InstanceName,
    stage: Stage,
    /// Who waits for its end.
    waiting: Vec<OpId>,
}

/// How far its beginning is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    /// It waits for others.
    Queued,
    /// That it begins is on its way to the disk.
    Recording,
    /// It is on disk: its first spawn may be asked for, once.
    Recorded,
    /// It was.
    Started,
}

impl Active {
    pub fn new(run: Run, stage: Stage) -> Active {
        let name = InstanceName { process: process_name(&run.job), index: run.id.0 };
        Active { run, name, stage, waiting: Vec::new() }
    }

    pub fn stage(&self) -> Stage {
        self.stage
    }

    /// It has begun, as far as others have to wait for it.
    pub fn is_in_progress(&self) -> bool {
        match self.stage {
            Stage::Queued => false,
            Stage::Recording | Stage::Recorded | Stage::Started => true,
        }
    }
}

/// All of them.
#[derive(Clone, Debug, Default)]
pub(crate) struct OpenRuns {
    runs: BTreeMap<RunId, Active>,
    by_job: BTreeMap<Arc<str>, BTreeSet<RunId>>,
    by_stage: BTreeSet<(Stage, RunId)>,
    waited_for: BTreeSet<RunId>,
}

impl OpenRuns {
    pub fn insert(&mut self, active: Active) {
        let id = active.run.id;
        self.remove(id);
        self.by_job.entry(active.run.job.clone()).or_default().insert(id);
        self.by_stage.insert((active.stage, id));
        self.runs.insert(id, active);
    }

    /// It is over: the run, what it is called as an instance, and who waits for its end.
    pub fn remove(&mut self, id: RunId) -> Option<(Run, InstanceName, Vec<OpId>)> {
        let Active { run, name, stage, waiting } = self.runs.remove(&id)?;
        self.by_stage.remove(&(stage, id));
        self.waited_for.remove(&id);
        if let Some(of_job) = self.by_job.get_mut(&run.job) {
            of_job.remove(&id);
            if of_job.is_empty() {
                self.by_job.remove(&run.job);
            }
        }
        Some((run, name, waiting))
    }

    pub fn get(&self, id: RunId) -> Option<&Active> {
        self.runs.get(&id)
    }

    /// What may change of it beside its stage. Its number and its job never do.
    pub fn run_mut(&mut self, id: RunId) -> Option<&mut Run> {
        self.runs.get_mut(&id).map(|active| &mut active.run)
    }

    /// It has come to this stage.
    pub fn advance(&mut self, id: RunId, stage: Stage) {
        let Some(active) = self.runs.get_mut(&id) else { return };
        self.by_stage.remove(&(active.stage, id));
        self.by_stage.insert((stage, id));
        active.stage = stage;
    }

    /// A command waits for its end.
    pub fn await_end(&mut self, id: RunId, op: OpId) {
        let Some(active) = self.runs.get_mut(&id) else { return };
        active.waiting.push(op);
        self.waited_for.insert(id);
    }

    /// Whether anybody waits for the end of any.
    pub fn are_awaited(&self) -> bool {
        !self.waited_for.is_empty()
    }

    /// All, the oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &Active> {
        self.runs.values()
    }

    /// Those of a job, the oldest first.
    pub fn of_job(&self, job: &str) -> impl Iterator<Item = &Active> {
        self.by_job.get(job).into_iter().flatten().filter_map(|id| self.runs.get(id))
    }

    /// Those that have come so far and no further, the oldest first.
    pub fn at(&self, stage: Stage) -> impl Iterator<Item = &Active> {
        let all = (stage, RunId(0))..=(stage, RunId(u32::MAX));
        self.by_stage.range(all).filter_map(|(_, id)| self.runs.get(id))
    }
}
