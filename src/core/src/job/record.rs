//! What is remembered of jobs and of their runs, over managers and starts of svd.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use crate::state::ExitStatus;

/// An instant of `CLOCK_REALTIME`, in nanoseconds since 1970. It jumps when somebody sets the clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Wall(pub i64);

impl Wall {
    /// So much later; stays at the end of time.
    pub fn after(self, d: Duration) -> Wall {
        Wall(self.0.saturating_add(i64::try_from(d.as_nanos()).unwrap_or(i64::MAX)))
    }

    /// So much earlier.
    pub fn before(self, d: Duration) -> Wall {
        Wall(self.0.saturating_sub(i64::try_from(d.as_nanos()).unwrap_or(i64::MAX)))
    }

    /// How long ago `earlier` was; zero where it lies ahead.
    pub fn since(self, earlier: Wall) -> Duration {
        Duration::from_nanos(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// As schedules and people have it.
    pub fn timestamp(self) -> Timestamp {
        Timestamp::from_nanosecond(i128::from(self.0)).unwrap_or(Timestamp::UNIX_EPOCH)
    }
}

impl From<Timestamp> for Wall {
    fn from(instant: Timestamp) -> Wall {
        Wall(i64::try_from(instant.as_nanosecond()).unwrap_or(i64::MAX))
    }
}

impl fmt::Display for Wall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.timestamp())
    }
}

/// One run of a job: a number that no other run of the app ever has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RunId(pub u32);

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "run {}", self.0)
    }
}

/// Why there is a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Its schedule.
    Schedule,
    /// Its schedule, earlier: it was missed then.
    CatchUp,
    /// The start of svd (`@reboot`).
    Reboot,
    /// Somebody asked for it.
    Hand,
}

impl Cause {
    const ALL: [(Cause, &str); 4] =
        [(Cause::Schedule, "schedule"), (Cause::CatchUp, "catch-up"), (Cause::Reboot, "reboot"), (Cause::Hand, "hand")];

    /// The word of store and API.
    pub fn word(self) -> &'static str {
        Cause::ALL.iter().find(|(cause, _)| *cause == self).map_or("schedule", |(_, word)| word)
    }

    /// The cause of this word.
    pub fn of_word(word: &str) -> Option<Cause> {
        Cause::ALL.iter().find(|(_, own)| *own == word).map(|(cause, _)| *cause)
    }
}

/// What became of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunResult {
    /// Its last attempt ended well.
    Succeeded,
    /// Its last attempt did not.
    Failed,
    /// Its last attempt took too long.
    TimedOut,
    /// It did not happen, since another one was in progress.
    Skipped,
    /// It did not happen, since svd was not there, or the clock was put forward over it.
    Missed,
    /// It was stopped for a later one, or waited and a later one took its place.
    Replaced,
    /// It was stopped by hand or with svd.
    Cancelled,
    /// Nobody can tell.
    Unknown,
}

impl RunResult {
    const ALL: [(RunResult, &str); 8] = [
        (RunResult::Succeeded, "succeeded"),
        (RunResult::Failed, "failed"),
        (RunResult::TimedOut, "timed-out"),
        (RunResult::Skipped, "skipped"),
        (RunResult::Missed, "missed"),
        (RunResult::Replaced, "replaced"),
        (RunResult::Cancelled, "cancelled"),
        (RunResult::Unknown, "unknown"),
    ];

    /// All of them.
    pub fn all() -> impl Iterator<Item = RunResult> {
        RunResult::ALL.iter().map(|(result, _)| *result)
    }

    /// The word of store and API.
    pub fn word(self) -> &'static str {
        RunResult::ALL.iter().find(|(result, _)| *result == self).map_or("unknown", |(_, word)| word)
    }

    /// The result of this word.
    pub fn of_word(word: &str) -> Option<RunResult> {
        RunResult::ALL.iter().find(|(_, own)| *own == word).map(|(result, _)| *result)
    }

    /// Something was started for it, or was to be.
    pub fn has_happened(self) -> bool {
        match self {
            RunResult::Skipped | RunResult::Missed => false,
            RunResult::Succeeded
            | RunResult::Failed
            | RunResult::TimedOut
            | RunResult::Replaced
            | RunResult::Cancelled
            | RunResult::Unknown => true,
        }
    }
}

/// Where a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It waits for another one to end.
    Queued,
    /// It may have been started.
    Begun,
    /// It is over.
    Ended(RunResult),
}

/// One run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// Its number.
    pub id: RunId,
    /// Of which job.
    pub job: Arc<str>,
    /// Why there is one.
    pub cause: Cause,
    /// The instant of the schedule that it stands for, without jitter.
    pub scheduled: Option<Wall>,
    /// For so many instants it stands: more than one for those that were missed together.
    pub count: u32,
    /// When it was noted.
    pub created: Wall,
    /// When it was begun.
    pub started: Option<Wall>,
    /// When it was over.
    pub ended: Option<Wall>,
    /// How often it was tried.
    pub attempts: u32,
    /// How its last attempt ended.
    pub exit: Option<ExitStatus>,
    /// Where it is.
    pub phase: Phase,
    /// What it is being stopped for.
    pub stopping: Option<RunResult>,
    /// Why it became what it is, for people; empty where there is nothing to say.
    pub why: String,
    /// Who asked for it.
    pub actor: Option<String>,
}

impl Run {
    /// What became of it.
    pub fn result(&self) -> Option<RunResult> {
        match self.phase {
            Phase::Ended(result) => Some(result),
            Phase::Queued | Phase::Begun => None,
        }
    }
}

/// What is remembered of a job.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JobState {
    /// Its instants up to this one are over and done with: begun, skipped or missed.
    pub handled: Option<Wall>,
    /// Instants from the first (exclusive) to the second were passed over without anything being begun: the clock was put forward.
    /// Should it be put back, they are still to come.
    pub gap: Option<(Wall, Wall)>,
    /// Instants from the first (exclusive) to the second are done with, though they lie ahead: the clock was put back.
    pub ahead: Option<(Wall, Wall)>,
    /// What people have said; `None`: as the config says.
    pub paused: Option<bool>,
    /// It was paused when this was written.
    pub idle: bool,
    /// The schedule and zone that all this is about.
    pub schedule: String,
    /// Its run for this start of svd was begun (`@reboot`).
    pub rebooted: bool,
    /// How many instants were missed, ever.
    pub missed: u64,
}

/// Something to be stored about jobs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JobChange {
    /// All of what is remembered of a job.
    State(Arc<str>, JobState),
    /// The job is gone from the config; its runs stay.
    Gone(Arc<str>),
    /// All of a run.
    Run(Box<Run>),
    /// Runs of a job that are too many or too old, and their output.
    Forget(Arc<str>, Vec<RunId>),
}

/// What happened to a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RunNews {
    /// It waits for another one to end.
    Queued(Box<Run>),
    /// It is begun: recorded, and about to be started.
    Begun(Box<Run>),
    /// It is over, or was skipped or missed.
    Ended(Box<Run>),
}

impl RunNews {
    /// The run.
    pub fn run(&self) -> &Run {
        match self {
            RunNews::Queued(run) | RunNews::Begun(run) | RunNews::Ended(run) => run,
        }
    }

    pub(crate) fn run_mut(&mut self) -> &mut Run {
        match self {
            RunNews::Queued(run) | RunNews::Begun(run) | RunNews::Ended(run) => run,
        }
    }
}

/// What the store has of jobs when a manager begins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoredJobs {
    /// By job.
    pub states: BTreeMap<Arc<str>, JobState>,
    /// Runs that are not over.
    pub open: Vec<Run>,
    /// Of those, the ones that an earlier start of svd has left.
    pub lost: Vec<RunId>,
    /// Runs that are over, by job: number and end, oldest first.
    pub history: BTreeMap<Arc<str>, Vec<(RunId, Wall)>>,
    /// By job, the last run that has happened.
    pub latest: BTreeMap<Arc<str>, Run>,
    /// By job, when the last one that succeeded was over, as far as runs are remembered.
    pub succeeded: BTreeMap<Arc<str>, Wall>,
    /// The largest number that a run ever had.
    pub last: RunId,
}
