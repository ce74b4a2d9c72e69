//! What the driver knows of each spawn, beside what the core decides about it.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use svd_config::plan::LimitsPlan;
use svd_core::{ExitStatus, InstanceName, Slot, SpawnId, Time};
use svd_wire::NotifyState;
use tokio::task::AbortHandle;

use super::errands::{Errand, Stage};
use super::health::Health;
use crate::listen::Key;

/// The core counts spawns 1, 2, 3; on the wire these are even numbers, and the odd ones are side commands (probes) that
/// the core does not know of.
pub fn to_wire(spawn: SpawnId) -> svd_wire::SpawnId {
    svd_wire::SpawnId(spawn.0.saturating_mul(2))
}

/// What a spawn id of the wire stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wire {
    /// A spawn of the core.
    Core(SpawnId),
    /// A side command.
    Side(u64),
}

/// Reads a spawn id of the wire.
pub fn from_wire(spawn: svd_wire::SpawnId) -> Wire {
    if spawn.0.is_multiple_of(2) { Wire::Core(SpawnId(spawn.0 / 2)) } else { Wire::Side(spawn.0) }
}

/// Where the main process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Asked for; exec not reported yet.
    Asked,
    /// Runs.
    Running(i32),
    /// Has ended; the pid it had, where it had one.
    Ended(Option<i32>),
}

/// One of the two outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// It has none, or all of it is stored.
    Done,
    /// Somebody can still write to it.
    Open,
}

/// One spawn.
#[derive(Debug)]
pub struct Spawn {
    /// Whose it is.
    pub instance: InstanceName,
    /// Value of the variable that marks its processes.
    pub cookie: String,
    /// The program, for messages.
    pub program: PathBuf,
    /// Its working directory, for messages.
    pub cwd: PathBuf,
    /// Where its main process is.
    pub phase: Phase,
    /// Standard output.
    pub stdout: Output,
    /// Standard error.
    pub stderr: Output,
    /// Read end of the readiness pipe, until it is watched.
    pub ready: Option<OwnedFd>,
    /// What it has said over its notify socket.
    pub notify: NotifyState,
    /// What looks for its readiness.
    pub probe: Option<AbortHandle>,
    /// The commands that find something out about it.
    pub errands: BTreeMap<Errand, Stage>,
    /// The slot that it accepts from.
    pub slot: Slot,
    /// The listeners that it was given.
    pub listens: BTreeSet<Key>,
    /// What answers its intercepted calls.
    pub intercept: Option<AbortHandle>,
    /// It was seen to listen.
    pub seen_listening: bool,
    /// What waits for its queue to become empty.
    pub drain: Option<AbortHandle>,
    /// Since when it drains.
    pub draining: Option<Time>,
    /// What looks after its health.
    pub watch: Option<AbortHandle>,
    /// What its health probes have seen.
    pub health: Health,
    /// It is to be replaced when its tree uses more bytes than this; set when it is ready.
    pub memory_limit: Option<u64>,
    /// The name of its cgroup, where it may have one.
    pub cgroup: Option<String>,
    /// The limits that were written there; `None`: by an earlier manager.
    pub limits: Option<LimitsPlan>,
    /// svd has sent it KILL.
    pub killed: bool,
    /// How many were killed for lack of memory in svd's own cgroup before it was started.
    pub ooms_before: Option<u64>,
    /// How it ended.
    pub end: Option<ExitStatus>,
    /// Readiness is being looked for.
    pub probing: bool,
    /// Why it was not found ready when that was last tried.
    pub not_ready: Option<String>,
    /// The core needs its record no more.
    pub forgettable: bool,
}

impl Spawn {
    /// One of which nothing is known but whose it is.
    pub fn new(instance: InstanceName, cookie: String, slot: Slot) -> Spawn {
        Spawn {
            instance,
            cookie,
            program: PathBuf::new(),
            cwd: PathBuf::new(),
            phase: Phase::Asked,
            stdout: Output::Done,
            stderr: Output::Done,
            ready: None,
            notify: NotifyState::default(),
            probe: None,
            errands: BTreeMap::new(),
            slot,
            listens: BTreeSet::new(),
            intercept: None,
            seen_listening: false,
            drain: None,
            draining: None,
            watch: None,
            health: Health::default(),
            memory_limit: None,
            cgroup: None,
            limits: None,
            killed: false,
            ooms_before: None,
            end: None,
            probing: false,
            not_ready: None,
            forgettable: false,
        }
    }

    /// Stops looking for readiness.
    pub fn stop_probe(&mut self) {
        self.probing = false;
        abort(&mut self.probe);
        if let Some(Stage::Pause(_)) = self.errands.get(&Errand::Ready) {
            self.end_errand(Errand::Ready);
        }
    }

    /// Its main process has ended: nothing is looked for any more.
    pub fn rest(&mut self) {
        self.stop_probe();
        abort(&mut self.drain);
        abort(&mut self.watch);
    }

    /// Nobody of it is left.
    pub fn stop_intercepting(&mut self) {
        abort(&mut self.intercept);
    }

    /// An errand has reached this stage.
    pub fn set_errand(&mut self, errand: Errand, stage: Stage) {
        self.end_errand(errand);
        self.errands.insert(errand, stage);
    }

    /// An errand is over; answers the number of its command, where one runs.
    pub fn end_errand(&mut self, errand: Errand) -> Option<u64> {
        match self.errands.remove(&errand)? {
            Stage::Pause(task) => {
                task.abort();
                None
            }
            Stage::Runs { id, limit, .. } => {
                if let Some(limit) = limit {
                    limit.abort();
                }
                Some(id)
            }
        }
    }

    /// All of them are over; answers the numbers of the commands that run.
    pub fn end_errands(&mut self) -> Vec<u64> {
        [Errand::Ready, Errand::Health, Errand::Drained]
            .into_iter()
            .filter_map(|errand| self.end_errand(errand))
            .collect()
    }

    /// Its living main process.
    pub fn pid(&self) -> Option<i32> {
        match self.phase {
            Phase::Running(pid) => Some(pid),
            Phase::Asked | Phase::Ended(_) => None,
        }
    }

    /// Whether the keeper's record can go.
    pub fn is_done(&self) -> bool {
        self.forgettable
            && matches!(self.phase, Phase::Ended(_))
            && self.stdout == Output::Done
            && self.stderr == Output::Done
    }
}

/// Ends a task, where there is one.
pub fn abort(task: &mut Option<AbortHandle>) {
    if let Some(task) = task.take() {
        task.abort();
    }
}

/// All spawns.
pub type Spawns = BTreeMap<SpawnId, Spawn>;
