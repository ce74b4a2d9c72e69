//! What the core is told.

use std::sync::Arc;

use svd_config::Plan;

use crate::job::RunId;
use crate::name::{InstanceName, OpId, SpawnId, Target};
use crate::signs::Said;
use crate::state::ExitStatus;
use crate::time::Time;

/// What an instance has been through before a spawn. It travels in the spawn's tag, so that back-off and limits hold over
/// a manager's death.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lineage {
    /// The generation this spawn belongs to ([`crate::Desired::generation`]).
    pub generation: u64,
    /// Restarts so far that nobody asked for, as `status` shows them.
    pub restarts: u32,
    /// Failures in a row: the exponent of the back-off.
    pub failures: u32,
    /// When the restarts inside the limit's rolling window happened; never longer than the limit's count.
    pub recent: Vec<Time>,
    /// The slot of the process's gated listeners that it accepts from; 0 where it has none.
    pub slot: Slot,
    /// How it came to be started.
    pub origin: Origin,
}

/// A slot: the part of a gated listener that one instance of a process accepts from. Counted from 0, in the order in which
/// the sockets were bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(pub u8);

/// More slots than these are never made for a listener: instances beyond them share.
pub const MAX_SLOTS: u8 = 64;

/// How a spawn came to be started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Origin {
    /// In the place of nothing, or of what had ended.
    #[default]
    Place,
    /// Beside a running one that it is to replace.
    Beside,
}

/// What a manager writes on a spawn for its successor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Note {
    /// When it became ready.
    pub ready: Option<Time>,
    /// The tree of the ended main process was seen empty.
    pub swept: bool,
    /// Its end was asked for (stop, restart, scaling down, shutdown): no failure, whatever its status.
    pub asked: bool,
    /// It counts as ready although it was not seen to be ([`svd_config::plan::Late`]).
    pub late: bool,
    /// One that was started beside another has taken its place.
    pub promoted: bool,
    /// It is not in the way of another start of its name: another one has taken its place, or it was to take another's and
    /// is needed no more.
    pub replaced: bool,
    /// It was told to take no new work.
    pub quiet: bool,
    /// It gave no sign of life in time, or said itself that it hangs: it is being ended for that.
    pub hung: bool,
    /// Since when it drains: it is to end, and finishes what it has first.
    pub draining: Option<Time>,
}

/// A spawn in the keeper's inventory, as a new manager finds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Adopted {
    /// The spawn.
    pub spawn: SpawnId,
    /// Which instance it is of; it may be of one that the plan no longer has.
    pub instance: InstanceName,
    /// Its history before.
    pub lineage: Lineage,
    /// What was written on it.
    pub note: Note,
    /// Where it is.
    pub life: AdoptedLife,
    /// The last signal sent to it on request, and when.
    pub last_signal: Option<(i32, Time)>,
    /// It said `READY=1`.
    pub notified_ready: bool,
    /// What it has said beside that.
    pub said: Said,
}

/// Where an adopted spawn is in its life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AdoptedLife {
    /// Forked, exec not yet seen: `Spawned`, `SpawnFailed` or `Exited` will come.
    Forked {
        /// When.
        at: Time,
    },
    /// It runs.
    Running {
        /// Its process id.
        pid: i32,
        /// Since when.
        at: Time,
    },
    /// It never became a program.
    Failed {
        /// Why.
        failure: SpawnFailure,
        /// When.
        at: Time,
    },
    /// It ended.
    Exited {
        /// How.
        exit: ExitStatus,
        /// Its program never ran.
        before_exec: bool,
        /// When.
        at: Time,
    },
}

/// Why a start failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpawnFailure {
    /// A sentence for people, with the way out: `cannot run "gunicorn": not found in PATH (/usr/bin:/bin)`.
    pub message: String,
    /// The exit code that stands for it: 127 not found, 126 not executable, 200 to 219 as systemd numbers them.
    pub code: u8,
    /// True where trying again may help (no memory, no processes left, text file busy).
    pub transient: bool,
}

/// Why a running instance is to be replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wear {
    /// Its health probes failed as often as its plan allows; what the last one saw.
    Unhealthy(String),
    /// Its tree uses so many bytes.
    Memory(u64),
    /// It is so old.
    Age(std::time::Duration),
}

/// A command of a user.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// Start what is stopped or failed.
    Start(Vec<Target>),
    /// Stop; stays stopped until started.
    Stop(Vec<Target>),
    /// Replace every running instance one after the other: stop, start, ready, next. What is stopped is started.
    Restart(Vec<Target>),
    /// Stop without the ladder: KILL to the whole tree at once; stays stopped.
    Kill(Vec<Target>),
    /// KILL to what is left of earlier instances that were replaced and still finish their work; their successors stay.
    KillReplaced(Vec<Target>),
    /// Tell it to take no new work, wait until it has finished, stop; stays stopped until started.
    Drain(Vec<Target>),
    /// Allow and start.
    Enable(Vec<Arc<str>>),
    /// Stop and keep stopped over restarts of svd.
    Disable(Vec<Arc<str>>),
    /// So many instances each.
    Scale(Vec<(Arc<str>, u32)>),
    /// A new plan. `restart` names the processes whose instances must be replaced.
    Apply {
        /// The plan from now on.
        plan: Arc<Plan>,
        /// Processes whose running instances carry an outdated command, environment or the like.
        restart: Vec<Arc<str>>,
    },
    /// Something about jobs.
    Jobs(JobCommand),
    /// Stop all in reverse order, then finish.
    Shutdown {
        /// Skip the ladders: KILL at once. Given during a shutdown it hastens it.
        now: bool,
    },
}

impl Command {
    /// Whether it ends something and starts nothing.
    pub(crate) fn only_ends(&self) -> bool {
        match self {
            Command::Stop(_)
            | Command::Kill(_)
            | Command::KillReplaced(_)
            | Command::Drain(_)
            | Command::Disable(_)
            | Command::Jobs(JobCommand::Stop(_))
            | Command::Shutdown { .. } => true,
            // That a job is paused is stored nowhere but in the database, and no run begins anyway.
            Command::Jobs(JobCommand::Run { .. } | JobCommand::Pause(_) | JobCommand::Resume(_))
            | Command::Start(_)
            | Command::Restart(_)
            | Command::Enable(_)
            | Command::Scale(_)
            | Command::Apply { .. } => false,
        }
    }
}

/// A command about jobs.
#[derive(Clone, Debug, PartialEq)]
pub enum JobCommand {
    /// Run it now.
    Run {
        /// Which job.
        job: Arc<str>,
        /// Who asks.
        actor: Option<String>,
        /// When the command is done.
        waits: Waits,
    },
    /// Stop runs: all of a job, or one.
    Stop(Vec<(Arc<str>, Option<RunId>)>),
    /// Do not run them by their schedules.
    Pause(Vec<Arc<str>>),
    /// Do so again.
    Resume(Vec<Arc<str>>),
}

/// When a command that runs a job is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waits {
    /// When it is sure to begin.
    ForBegin,
    /// When the run is over.
    ForEnd,
}

/// What the core is told.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// One spawn of the inventory; all of them come before [`Event::AdoptEnd`].
    Adopt(Box<Adopted>),
    /// The inventory is complete: from now on the core acts.
    AdoptEnd,
    /// The program runs.
    Spawned {
        /// Which spawn.
        spawn: SpawnId,
        /// Its process id.
        pid: i32,
    },
    /// It did not come to run.
    SpawnFailed {
        /// Which spawn.
        spawn: SpawnId,
        /// Why.
        failure: SpawnFailure,
    },
    /// A main process ended. May be told twice; the second time changes nothing.
    Exited {
        /// Which spawn.
        spawn: SpawnId,
        /// How.
        exit: ExitStatus,
        /// Its program never ran.
        before_exec: bool,
    },
    /// The evidence that its plan names for readiness has come in.
    Ready {
        /// Which spawn.
        spawn: SpawnId,
    },
    /// It was looked for evidence of readiness, in vain: what was found instead.
    NotReady {
        /// Which spawn.
        spawn: SpawnId,
        /// Why it does not count as ready.
        why: String,
    },
    /// It said `STOPPING=1`.
    Stopping {
        /// Which spawn.
        spawn: SpawnId,
    },
    /// What it has said, where that has changed, and in answer to [`crate::Action::Recall`].
    Said {
        /// Which spawn.
        spawn: SpawnId,
        /// All of it.
        said: Said,
    },
    /// Its slot has nobody left who waits to be accepted, and nobody new comes ([`crate::Action::WatchQueue`]).
    QueueEmpty {
        /// Which spawn.
        spawn: SpawnId,
    },
    /// The proof that it has finished its work ([`crate::Action::ProveDrained`]).
    Drained {
        /// Which spawn.
        spawn: SpawnId,
    },
    /// It is to be replaced although it runs: its health probes have failed, or it is due for recycling.
    Worn {
        /// Which spawn.
        spawn: SpawnId,
        /// Why.
        why: Wear,
    },
    /// Its health probes succeed again.
    Recovered {
        /// Which spawn.
        spawn: SpawnId,
    },
    /// Its main process has ended and a full scan found nobody left of its tree.
    TreeEmpty {
        /// Which spawn.
        spawn: SpawnId,
    },
    /// A command.
    Command {
        /// Under which number its outcome is told.
        op: OpId,
        /// What.
        command: Command,
    },
    /// That this run begins is on disk ([`crate::JobChange::Run`]).
    RunRecorded {
        /// Which run.
        run: RunId,
    },
    /// A deadline given by `next_deadline` has passed.
    Tick,
}
