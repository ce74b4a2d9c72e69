//! The plan: a config that was read, checked and resolved. Later layers never check it again.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// All that one svd runs.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// Name of the app: `[a-z0-9][a-z0-9-]*`.
    pub app: String,
    /// The environment whose overlay was applied (`-e`).
    pub environment: Option<String>,
    /// Absolute directory of the config file; relative paths in it start here.
    pub dir: PathBuf,
    /// The processes, in the order in which the files name them.
    pub processes: Vec<ProcessPlan>,
    /// Who may use the control socket.
    pub control: ControlPlan,
}

impl Plan {
    /// The process of this name.
    pub fn process(&self, name: &str) -> Option<&ProcessPlan> {
        self.processes.iter().find(|p| p.name == name)
    }
}

/// One process and how it is kept.
#[derive(Clone, Debug, PartialEq)]
pub struct ProcessPlan {
    /// `[A-Za-z0-9_-]+`.
    pub name: String,
    /// How many instances the config asks for, 0 to 1000.
    pub count: u32,
    /// What is started. A change of any of it needs a restart of the instances.
    pub exec: ExecPlan,
    /// What must hold before it starts; it stops before these do.
    pub after: Vec<Dependency>,
    /// Runs to completion; exit 0 (or a code of `success_exit`) is `completed`.
    pub oneshot: bool,
    /// When it fails for good, svd stops all and exits with its code.
    pub essential: bool,
    /// When an instance counts as ready.
    pub ready: ReadyPlan,
    /// When and how fast it is started again.
    pub restart: RestartPlan,
    /// The stop ladder: never empty; the whole tree is killed after the last step in any case.
    pub stop: Vec<StopStep>,
    /// The signal that `svctl reload` sends.
    pub reload_signal: i32,
    /// Where its output goes.
    pub logs: LogPlan,
}

/// What is started and with what. Its `Debug` shows the names of the variables, never their values.
#[derive(Clone, PartialEq)]
pub struct ExecPlan {
    /// The command.
    pub run: Run,
    /// Absolute working directory.
    pub cwd: PathBuf,
    /// User name or number; `None` keeps svd's own.
    pub user: Option<String>,
    /// Group name or number; `None` is the user's primary group.
    pub group: Option<String>,
    /// File mode creation mask.
    pub umask: Option<u32>,
    /// Nice value, -20 to 19.
    pub nice: Option<i32>,
    /// -1000 to 1000.
    pub oom_score_adj: Option<i32>,
    /// `[env]`, then env files, then the process's own: later ones win. Values are literal. Never has `PORT`, which
    /// is given per instance.
    pub env: BTreeMap<String, String>,
    /// Which variables of svd's own environment are passed on: names, `PREFIX*`, or `*`.
    pub keep_env: Vec<String>,
    /// Resource limits, in the kernel's numbers.
    pub rlimits: Vec<RlimitPlan>,
    /// `PORT` of instance 1; instance n gets `port + n - 1`.
    pub port: u16,
}

impl fmt::Debug for ExecPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExecPlan")
            .field("run", &self.run)
            .field("cwd", &self.cwd)
            .field("user", &self.user)
            .field("group", &self.group)
            .field("umask", &self.umask)
            .field("nice", &self.nice)
            .field("oom_score_adj", &self.oom_score_adj)
            .field("env", &self.env.keys().collect::<Vec<_>>())
            .field("keep_env", &self.keep_env)
            .field("rlimits", &self.rlimits)
            .field("port", &self.port)
            .finish()
    }
}

/// A command.
#[derive(Clone, Debug, PartialEq)]
pub enum Run {
    /// Words for [`crate::expand`], which replaces `${VAR}` and `${VAR:-default}` with the instance's environment at
    /// each start, then exec'd without a shell. `$$` stands for a dollar sign: one that was quoted or escaped in the
    /// config is written like this, so that quotes need not be kept.
    Words(Vec<String>),
    /// An array in the config: taken literally, exec'd without a shell.
    Literal(Vec<String>),
    /// A line for `/bin/sh -c`.
    Shell(String),
}

/// One resource limit. `u64::MAX` is unlimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RlimitPlan {
    /// The kernel's number (`RLIMIT_NOFILE` is 7 on Linux, …).
    pub resource: u32,
    /// Soft limit.
    pub soft: u64,
    /// Hard limit.
    pub hard: u64,
}

/// Something that must hold before a process starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dependency {
    /// The process waited for.
    pub process: String,
    /// What of it.
    pub condition: Condition,
}

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// All its instances were started.
    Started,
    /// All its instances are ready (a one-shot: completed).
    Ready,
    /// A one-shot has completed.
    Completed,
}

/// When an instance counts as ready.
#[derive(Clone, Debug, PartialEq)]
pub struct ReadyPlan {
    /// By what evidence.
    pub by: ReadyBy,
    /// How long it may take from exec on. Always given; it is not used for `Started`.
    pub timeout: Duration,
}

/// The evidence that an instance is ready.
#[derive(Clone, Debug, PartialEq)]
pub enum ReadyBy {
    /// Exec succeeded.
    Started,
    /// `READY=1` over `$NOTIFY_SOCKET`.
    Notify,
    /// A newline written to this descriptor number, 3 to 255.
    Fd(u32),
    /// A line of its output matches this regular expression.
    Log(String),
    /// This command exits 0; tried again every `every` until the timeout.
    Run {
        /// The command, as `run` of a process.
        run: Run,
        /// Time between two tries.
        every: Duration,
    },
    /// 127.0.0.1 accepts a connection on this port (`None`: the instance's `$PORT`).
    Tcp {
        /// The port.
        port: Option<u16>,
    },
    /// `GET path` on 127.0.0.1 and this port (`None`: the instance's `$PORT`) answers 200 to 399.
    Http {
        /// The port.
        port: Option<u16>,
        /// The path, starting with `/`.
        path: String,
    },
}

/// When and how fast an instance is started again.
#[derive(Clone, Debug, PartialEq)]
pub struct RestartPlan {
    /// After which ends.
    pub when: RestartWhen,
    /// First pause; doubled at each failure in a row.
    pub backoff_min: Duration,
    /// Longest pause.
    pub backoff_max: Duration,
    /// So many restarts in so long a time and it is `failed`; `None`: never gives up.
    pub limit: Option<RestartLimit>,
    /// Ends that count as success.
    pub success_exit: Vec<SuccessExit>,
}

/// `5 in 1m`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RestartLimit {
    /// How many restarts are allowed in the window.
    pub count: u32,
    /// The rolling window.
    pub window: Duration,
}

/// After which ends an instance is started again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestartWhen {
    /// After every end that was not asked for.
    Always,
    /// After an end that is no success.
    OnFailure,
    /// Never.
    Never,
}

/// An end that counts as success.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SuccessExit {
    /// This exit code.
    Code(u8),
    /// Death by this signal.
    Signal(i32),
}

/// One step of the stop ladder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopStep {
    /// Send this signal to the main process (after TERM svd also sends CONT). KILL goes to the whole tree and ends
    /// the ladder.
    Signal(i32),
    /// Wait this long for the tree to end.
    Wait(Duration),
}

/// Where the output of a process goes.
#[derive(Clone, Debug, PartialEq)]
pub enum LogPlan {
    /// To /dev/null.
    Null,
    /// Into segments on disk.
    Segments {
        /// Size at which a new segment is begun, bytes.
        segment: u64,
        /// Size of all segments of one stream at which the oldest is deleted, bytes.
        max_size: u64,
    },
}

/// Who may use the control socket.
#[derive(Clone, Debug, PartialEq)]
pub struct ControlPlan {
    /// Mode of the socket, 0600 to 0666.
    pub socket_mode: u32,
    /// Group of the socket; its members may operate.
    pub socket_group: Option<String>,
    /// Members of this group may only look.
    pub read_group: Option<String>,
}
