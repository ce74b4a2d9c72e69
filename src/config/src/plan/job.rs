//! A job: what it runs, when, and what becomes of a run that does not fit.

use std::time::Duration;

use super::{HookPlan, ProcessPlan, Url};
use crate::schedule::Schedule;

/// A command that runs by a schedule.
#[derive(Clone, Debug, PartialEq)]
pub struct JobPlan {
    /// `[A-Za-z0-9_-]+`.
    pub name: String,
    /// How one run of it is started and ended: a one-shot called `job:NAME`, each run an instance with the run's number.
    /// Its restart policy is the job's retry, the timeout of its readiness the job's own.
    pub process: ProcessPlan,
    /// When it runs; `None`: only by hand.
    pub schedule: Option<SchedulePlan>,
    /// What becomes of a run that is due while another one is in progress.
    pub overlap: Overlap,
    /// Of all jobs with this lock one run is in progress at most.
    pub lock: Option<String>,
    /// So many attempts after the first one.
    pub retries: u32,
    /// What becomes of missed runs.
    pub catch_up: CatchUp,
    /// Runs begin later than scheduled by a part of this.
    pub jitter: Duration,
    /// How many runs are remembered.
    pub history: HistoryPlan,
    /// It does not run by its schedule, unless people have said otherwise.
    pub paused: bool,
    /// Commands that are told of what became of its runs.
    pub hooks: JobHooks,
    /// Addresses that are told of its runs.
    pub ping: Option<PingPlan>,
}

/// Commands that are told of what became of runs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct JobHooks {
    /// `on_failure`.
    pub failure: Option<HookPlan>,
    /// `on_success`.
    pub success: Option<HookPlan>,
    /// `on_missed`.
    pub missed: Option<HookPlan>,
}

/// Addresses that are told of runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PingPlan {
    /// When one begins.
    pub start: Option<Url>,
    /// When one has succeeded.
    pub success: Option<Url>,
    /// When one has failed.
    pub failure: Option<Url>,
    /// Whether they are told by what belongs together.
    pub ids: RunIds,
    /// So long may one try take.
    pub timeout: Duration,
}

/// Whether pings carry an id of the run, as `rid` in what is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunIds {
    /// They do: services that know /start and /fail match the two of a run by it, also where runs overlap.
    Told,
    /// Each address is as the config has it.
    NotTold,
}

impl JobPlan {
    /// How long one attempt may take.
    pub fn timeout(&self) -> Option<Duration> {
        Some(self.process.ready.timeout).filter(|timeout| *timeout < Duration::MAX)
    }
}

/// When a job runs.
#[derive(Clone, Debug, PartialEq)]
pub struct SchedulePlan {
    /// As it was written.
    pub text: String,
    /// What that means.
    pub schedule: Schedule,
    /// Name of the zone whose clock it is about.
    pub zone: String,
}

/// What becomes of a run that is due while another one is in progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overlap {
    /// It does not happen.
    Skip,
    /// It begins when the other one has ended; one waits at most.
    Queue,
    /// The other one is stopped first.
    Replace,
    /// Both run.
    Allow,
}

impl Overlap {
    /// As the config says it.
    pub fn word(self) -> &'static str {
        match self {
            Overlap::Skip => "skip",
            Overlap::Queue => "queue",
            Overlap::Replace => "replace",
            Overlap::Allow => "allow",
        }
    }
}

/// What becomes of missed runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CatchUp {
    /// Which of them are run.
    pub mode: CatchUpMode,
    /// None that is older than this.
    pub within: Duration,
    /// Not more than these, the last ones.
    pub max: u32,
}

/// Which missed runs are caught up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CatchUpMode {
    /// None.
    Skip,
    /// The last one.
    Once,
    /// All.
    All,
}

/// How many runs of a job are remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HistoryPlan {
    /// So many.
    pub keep: u32,
    /// Until so long after their end; the last one always.
    pub age: Duration,
}
