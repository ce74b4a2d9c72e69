//! What `svctl status --json` prints.

use serde::{Deserialize, Serialize};

/// The whole tree.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub struct Status {
    /// Name of the app.
    pub app: String,
    /// The environment whose overlay is applied.
    pub environment: Option<String>,
    /// The release the tree is pinned to.
    pub release: Option<String>,
    /// svd itself.
    pub svd: Svd,
    /// The processes, in config order.
    pub processes: Vec<Process>,
    /// Scheduled jobs.
    pub jobs: Vec<crate::Job>,
    /// The deploy in progress.
    pub deploy: Option<serde_json::Value>,
    /// What the user should know: state kept in memory, config that does not parse, log bytes dropped.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// svd itself.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub struct Svd {
    /// The manager's version.
    pub version: String,
    /// The keeper's, which may be another after an upgrade of the manager alone.
    #[serde(default)]
    pub keeper_version: String,
    /// The version of the protocol between the two.
    #[serde(default)]
    pub protocol: u16,
    /// Process id of the keeper.
    pub keeper_pid: i32,
    /// Process id of the manager.
    pub manager_pid: i32,
    /// How many managers this keeper has started.
    pub manager_starts: u32,
    /// `running` or `stopping`.
    pub state: String,
    /// Configuration file.
    pub config: String,
    /// State directory.
    pub root: String,
}

/// One process.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub struct Process {
    /// Its name.
    pub name: String,
    /// How many instances there are to be.
    pub want: u32,
    /// How many are ready (one-shots: completed). Only instances with the role `current` count.
    pub ready: u32,
    /// Whether it is switched off.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub disabled: bool,
    /// Whether it runs to completion instead of staying up.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub oneshot: bool,
    /// Its listeners.
    pub listeners: Vec<Listener>,
    /// Its instances. While one is replaced there are several with its id, each with another role.
    pub instances: Vec<Instance>,
}

/// A socket that svd owns.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub struct Listener {
    /// Its name.
    pub name: String,
    /// Where it listens: `0.0.0.0:8080`, `[::]:8080`, `udp:0.0.0.0:53`, `unix:/run/shop/admin.sock`.
    pub address: String,
}

/// One instance.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub struct Instance {
    /// `web.1`.
    pub id: String,
    /// What it is among those of its id.
    #[serde(default, skip_serializing_if = "Role::is_current")]
    pub role: Role,
    /// The number of its start, as events have it; none while it does not run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spawn: Option<u64>,
    /// Process id of its main process, while it lives.
    pub pid: Option<i32>,
    /// `waiting`, `starting`, `ready`, `unhealthy`, `draining`, `stopping`, `backoff`, `completed`, `stopped`,
    /// `failed` or `stuck`.
    pub state: String,
    /// The release it runs.
    pub release: Option<String>,
    /// Since when it is in this state, RFC 3339 in UTC.
    pub since: String,
    /// Restarts that nobody asked for.
    pub restarts: u32,
    /// Its last end.
    pub exit: Option<Exit>,
    /// Why it is not well or not running; for one that is well, what it says of itself (`STATUS=`).
    pub reason: Option<String>,
    /// CPU use of its tree since the last look, 100 is one core.
    pub cpu_percent: Option<f32>,
    /// Resident memory of its tree.
    pub memory_bytes: Option<u64>,
    /// What it waits for, where the kernel measures it for each cgroup.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pressure: Option<Pressure>,
    /// What it said over its notify socket, where that is more than its state and reason tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notify: Option<Notify>,
}

/// How much of the last ten seconds some of an instance's processes have waited for something, percent (Pressure Stall Information).
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, PartialEq)]
pub struct Pressure {
    /// For a processor.
    pub cpu: f32,
    /// For memory to be freed or read in again.
    pub memory: f32,
    /// For reads and writes.
    pub io: f32,
}

/// What an instance said over its notify socket.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
pub struct Notify {
    /// It reads its config again: `RELOADING=1`, and no `READY=1` since.
    pub reloading: bool,
    /// Its last `ERRNO=`.
    pub errno: Option<i32>,
    /// Its last `EXIT_STATUS=`.
    pub exit_status: Option<i32>,
    /// Names of the descriptors that svd keeps for it (`FDSTORE=1`).
    pub stored: Vec<String>,
    /// Descriptors that it sent and that were closed: not asked for, or more than `fd_store`.
    pub refused_descriptors: u64,
    /// Messages that were dropped: malformed, or not from its own processes. Up to 64 told at once, then at each doubling.
    pub dropped_messages: u64,
}

/// What an instance is among those of its id.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// The one that is meant by its id.
    #[default]
    Current,
    /// Was started beside the current one and has not taken its place yet.
    Candidate,
    /// Was replaced by the current one, or was to replace it and is needed no more: it is on its way out.
    Replaced,
}

impl Role {
    /// Whether it is the current one.
    pub fn is_current(&self) -> bool {
        *self == Role::Current
    }
}

/// How a process ended: `{"code":1}`, `{"signal":"KILL","oom":true}` or `{"unknown":true}`.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
#[serde(untagged)]
pub enum Exit {
    /// With a code.
    Code {
        /// 0 to 255.
        code: u8,
    },
    /// By a signal.
    Signal {
        /// Its name without SIG.
        signal: String,
        /// The kernel ran out of memory.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        oom: bool,
        /// A core was dumped.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        core: bool,
    },
    /// Nobody can tell.
    Unknown {
        /// Always true.
        unknown: bool,
    },
}
