//! What the core wants done.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::desired::Change;
use crate::event::{Lineage, Note, Slot};
use crate::job::{JobChange, Run, RunNews};
use crate::name::{InstanceName, OpId, SpawnId};
use crate::state::{ExitStatus, Reason};

/// What is done to those who are left of a tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sweep {
    /// The main process is gone: TERM and CONT to whoever is left of its tree, and watch until nobody is.
    Terminate,
    /// KILL to the whole tree, main process included, again and again until nobody is left.
    Kill,
}

/// What the core wants done. Results come back as events.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Start a process. Answered by `Spawned`, `SpawnFailed` or `Exited`.
    Spawn {
        /// Under this id.
        spawn: SpawnId,
        /// As this instance, with the current plan's command.
        instance: InstanceName,
        /// To be written into its tag.
        lineage: Lineage,
    },
    /// Look for the evidence of readiness that the plan names until it is found ([`crate::Event::Ready`]) or the spawn ends.
    Probe {
        /// Which spawn.
        spawn: SpawnId,
    },
    /// Have the keeper tell what it has said so far. Answered by [`crate::Event::Said`].
    Recall {
        /// Which spawn.
        spawn: SpawnId,
    },
    /// Close the descriptors that are kept for the next start of an instance.
    EmptyStore {
        /// Which instance.
        instance: InstanceName,
    },
    /// Send a signal to the main process.
    Signal {
        /// Which spawn.
        spawn: SpawnId,
        /// Which signal.
        signal: i32,
    },
    /// End those who are left. Answered by `TreeEmpty` when the main process has ended and nobody is left.
    Sweep {
        /// Whose tree.
        spawn: SpawnId,
        /// How.
        how: Sweep,
    },
    /// Send new connections of the gated listeners of a process to these slots, by these weights. Asked for again after a
    /// manager's death. A slot that is named and not there yet is made first.
    Gate {
        /// The process.
        process: Arc<str>,
        /// Slots with weights above 0; never empty.
        weights: Vec<(Slot, u32)>,
    },
    /// No new connection goes to its slot any more: wait until nobody there waits to be accepted, handshakes that had begun
    /// included. Answered by [`crate::Event::QueueEmpty`].
    WatchQueue {
        /// Which spawn.
        spawn: SpawnId,
    },
    /// Run the proof of its plan until it succeeds. Answered by [`crate::Event::Drained`].
    ProveDrained {
        /// Which spawn.
        spawn: SpawnId,
    },
    /// It is ready: look after its health and memory, as its plan says, until it ends. Answered by [`crate::Event::Worn`],
    /// which may come again and again.
    Watch {
        /// Which spawn.
        spawn: SpawnId,
    },
    /// An apply has failed: the plan before it is in force again, and this one is what some spawns still run by.
    TakeBack {
        /// Why.
        why: String,
    },
    /// All instances run by the plan in force: the other one is needed no more. May come again where it was done already.
    DropOther,
    /// Write on a spawn for a later manager.
    Annotate {
        /// Which spawn.
        spawn: SpawnId,
        /// The whole note.
        note: Note,
    },
    /// Nobody needs this ended spawn's record any more (its output may still be open: the driver waits for that).
    Forget {
        /// Which spawn.
        spawn: SpawnId,
    },
    /// Store durably, before the outcome of the command that caused it is told. All changes of a step come together with
    /// `TakeBack` and `DropOther`, before what follows from them: a later manager has to find all of them or none.
    Persist(Change),
    /// Something happened that history and `why` tell.
    Record(Fact),
    /// The command has ended.
    Done {
        /// Which.
        op: OpId,
        /// How.
        outcome: Outcome,
    },
    /// Store this about jobs. A run that is begun there is answered by [`crate::Event::RunRecorded`] when that is on disk, all
    /// else by nothing.
    Jobs(JobChange),
    /// What happened to a run, for history and for whoever wants to hear of it. What it says is stored with the same step.
    RunNews(RunNews),
    /// A command that runs a job is done: this is the run, over or not.
    Ran {
        /// Which command.
        op: OpId,
        /// The run.
        run: Box<Run>,
    },
    /// Everything has stopped: svd ends with this code.
    Finish {
        /// The code.
        code: u8,
    },
}

/// How a command ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// As asked. The text says what was done, for people.
    Done(String),
    /// Tried, and failed: why.
    Failed(String),
    /// Refused before anything was changed: why, and the way out.
    Refused(String),
    /// Tried, and failed; what ran before runs on: why.
    RolledBack(String),
    /// Tried, and failed, and what was before could not be brought back either: nothing healthy was stopped. Why.
    Held(String),
}

/// Something that happened to an instance, for history.
#[derive(Clone, Debug, PartialEq)]
pub struct Fact {
    /// Which instance; `None`: svd as a whole.
    pub instance: Option<InstanceName>,
    /// Which spawn, where one is concerned.
    pub spawn: Option<SpawnId>,
    /// Because of which command, where one asked for it.
    pub op: Option<OpId>,
    /// What.
    pub kind: FactKind,
}

/// What happened.
#[derive(Clone, Debug, PartialEq)]
pub enum FactKind {
    /// A start was begun.
    Starting,
    /// Its program runs, with this process id.
    Started(i32),
    /// It is ready, so long after its start.
    Ready(Duration),
    /// It could not be started.
    StartFailed(String),
    /// It was not ready in time.
    ReadyTimeout(Duration),
    /// A run of a job took too long.
    TimedOut(Duration),
    /// It ended.
    Exited(ExitStatus),
    /// It is started again after this pause; failure number n in a row.
    Backoff(Duration, u32),
    /// It is given up.
    Failed(Reason),
    /// It was not seen to listen, and counts as ready all the same.
    CountsAsReady(Duration),
    /// It was started beside another one, and has taken its place.
    Replaced,
    /// It drains.
    Draining(Reason),
    /// It was told to take no new work.
    Quieted(i32),
    /// Its queue was not empty in time, or the proof that it is drained did not come: it is stopped all the same.
    DrainTimeout(Duration),
    /// Its health probes failed.
    Unhealthy(String),
    /// Its health probes succeed again.
    Recovered,
    /// It gave no sign of life for so long; none: it said itself that it hangs.
    Hung(Option<Duration>),
    /// It has named another one of its processes as its main process.
    MainNamed(i32),
    /// It is due to be replaced: why.
    Worn(String),
    /// The replacement of a process is given up, what runs stays: why.
    RolledBack(String),
    /// A one-shot has done its work.
    Completed,
    /// Its stop began.
    Stopping(Reason),
    /// A signal was sent.
    Signalled(i32),
    /// The ladder ran out: the whole tree is killed.
    Escalated,
    /// Processes were left after its main process had ended.
    LeftOver,
    /// It would not die.
    Stuck,
    /// Nothing is left of it.
    Stopped,
    /// It was found alive, by a new manager.
    Adopted,
    /// The process is scaled.
    Scaled {
        /// From so many.
        from: u32,
        /// To so many.
        to: u32,
    },
    /// An essential process failed for good: svd stops all.
    EssentialFailed,
    /// Stop of everything began.
    ShuttingDown,
}

impl FactKind {
    /// The event's name in the API: `instance.ready`.
    pub fn name(&self) -> &'static str {
        match self {
            FactKind::Starting => "instance.starting",
            FactKind::Started(_) => "instance.started",
            FactKind::Ready(_) => "instance.ready",
            FactKind::StartFailed(_) => "instance.start_failed",
            FactKind::ReadyTimeout(_) => "instance.ready_timeout",
            FactKind::TimedOut(_) => "instance.timed_out",
            FactKind::Exited(_) => "instance.exited",
            FactKind::Backoff(..) => "instance.backoff",
            FactKind::Failed(_) => "instance.failed",
            FactKind::CountsAsReady(_) => "instance.ready",
            FactKind::Replaced => "instance.replaced",
            FactKind::Draining(_) => "instance.draining",
            FactKind::Quieted(_) => "instance.quieted",
            FactKind::DrainTimeout(_) => "instance.drain_timeout",
            FactKind::Unhealthy(_) => "instance.unhealthy",
            FactKind::Recovered => "instance.recovered",
            FactKind::Hung(_) => "instance.hung",
            FactKind::MainNamed(_) => "instance.main_named",
            FactKind::Worn(_) => "instance.worn",
            FactKind::RolledBack(_) => "process.rolled_back",
            FactKind::Completed => "instance.completed",
            FactKind::Stopping(_) => "instance.stopping",
            FactKind::Signalled(_) => "instance.signalled",
            FactKind::Escalated => "instance.escalated",
            FactKind::LeftOver => "instance.left_over",
            FactKind::Stuck => "instance.stuck",
            FactKind::Stopped => "instance.stopped",
            FactKind::Adopted => "instance.adopted",
            FactKind::Scaled { .. } => "process.scaled",
            FactKind::EssentialFailed => "process.essential_failed",
            FactKind::ShuttingDown => "svd.shutting_down",
        }
    }
}

impl fmt::Display for FactKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FactKind::Starting => write!(f, "starting"),
            FactKind::Started(pid) => write!(f, "started, pid {pid}"),
            FactKind::Ready(after) => write!(f, "ready after {:.1} s", after.as_secs_f64()),
            FactKind::StartFailed(why) => write!(f, "could not be started: {why}"),
            FactKind::ReadyTimeout(t) => write!(f, "not ready within {:.1} s", t.as_secs_f64()),
            FactKind::TimedOut(t) => write!(f, "took longer than {:.1} s", t.as_secs_f64()),
            FactKind::Exited(exit) => write!(f, "{exit}"),
            FactKind::Backoff(pause, n) => {
                write!(f, "starts again in {:.1} s (failure {n} in a row)", pause.as_secs_f64())
            }
            FactKind::Failed(why) => write!(f, "failed: {why}"),
            FactKind::CountsAsReady(after) => {
                write!(f, "counts as ready after {:.1} s, though it was not seen to listen", after.as_secs_f64())
            }
            FactKind::Replaced => write!(f, "has taken the place of the one before it"),
            FactKind::Draining(why) => write!(f, "finishes what it has: {why}"),
            FactKind::Quieted(signal) => {
                write!(f, "was told to take no new work by {}", svd_config::signal_name(*signal))
            }
            FactKind::DrainTimeout(after) => {
                write!(f, "has not finished within {:.1} s: it is stopped all the same", after.as_secs_f64())
            }
            FactKind::Unhealthy(why) => write!(f, "is unhealthy: {why}"),
            FactKind::Recovered => write!(f, "is healthy again"),
            FactKind::Hung(silent) => write!(f, "hangs: {}", Reason::Hung(*silent)),
            FactKind::MainNamed(pid) => write!(f, "named pid {pid} as its main process"),
            FactKind::Worn(why) => write!(f, "is to be replaced: {why}"),
            FactKind::RolledBack(why) => write!(f, "the replacement was given up: {why}"),
            FactKind::Completed => write!(f, "completed"),
            FactKind::Stopping(why) => write!(f, "stopping: {why}"),
            FactKind::Signalled(signal) => write!(f, "was sent signal {signal}"),
            FactKind::Escalated => write!(f, "did not end in time: the whole tree is killed"),
            FactKind::LeftOver => write!(f, "left processes behind: they are ended"),
            FactKind::Stuck => write!(f, "does not die: a process is stuck in the kernel"),
            FactKind::Stopped => write!(f, "stopped"),
            FactKind::Adopted => write!(f, "goes on under a new manager"),
            FactKind::Scaled { from, to } => write!(f, "scaled from {from} to {to}"),
            FactKind::EssentialFailed => write!(f, "essential process failed: svd stops all"),
            FactKind::ShuttingDown => write!(f, "svd stops all"),
        }
    }
}
