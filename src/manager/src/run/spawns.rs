//! What the driver knows of each spawn, beside what the core decides about it.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use svd_core::{InstanceName, SpawnId};
use svd_wire::NotifyState;
use tokio::task::AbortHandle;

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
    /// The side command that looks for its readiness.
    pub probe_command: Option<u64>,
    /// Readiness is being looked for.
    pub probing: bool,
    /// Why it was not found ready when that was last tried.
    pub not_ready: Option<String>,
    /// The core needs its record no more.
    pub forgettable: bool,
}

impl Spawn {
    /// Stops looking for readiness.
    pub fn stop_probe(&mut self) {
        self.probing = false;
        if let Some(task) = self.probe.take() {
            task.abort();
        }
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

/// All spawns.
pub type Spawns = BTreeMap<SpawnId, Spawn>;
