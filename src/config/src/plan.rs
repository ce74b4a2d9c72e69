//! The plan: a config that was read, checked and resolved. Later layers never check it again.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

mod job;
mod notify;

pub use job::{CatchUp, CatchUpMode, HistoryPlan, JobHooks, JobPlan, Overlap, PingPlan, RunIds, SchedulePlan};
pub use notify::{HookPlan, NoticePlan, Scheme, Url, WebhookPlan};

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
    /// The jobs, in the order in which the files name them.
    pub jobs: Vec<JobPlan>,
    /// Who may use the control socket.
    pub control: ControlPlan,
    /// Who is told of what happens.
    pub notify: Option<NoticePlan>,
    /// Listeners are kept in the store of descriptors of the service manager above svd.
    pub store_listeners: bool,
}

impl Plan {
    /// The process of this name.
    pub fn process(&self, name: &str) -> Option<&ProcessPlan> {
        self.processes.iter().find(|p| p.name == name)
    }

    /// The job of this name.
    pub fn job(&self, name: &str) -> Option<&JobPlan> {
        self.jobs.iter().find(|job| job.name == name)
    }

    /// What is started under this name: a process, or the runs of a job (`job:report`).
    pub fn program(&self, name: &str) -> Option<&ProcessPlan> {
        match name.strip_prefix(JOB) {
            Some(job) => self.job(job).map(|job| &job.process),
            None => self.process(name),
        }
    }
}

/// What stands before the name of a job wherever processes and jobs are named together. No process's name has a colon.
pub const JOB: &str = "job:";

/// One process and how it is kept.
#[derive(Clone, Debug, PartialEq)]
pub struct ProcessPlan {
    /// `[A-Za-z0-9_-]+`; of the runs of a job `job:` and the job's name.
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
    /// What it may say over `$NOTIFY_SOCKET` beside that it is ready, and what is expected of it there. A change of all but
    /// `reload_timeout` needs a restart of the instances.
    pub notify: NotifyPlan,
    /// Where its output goes.
    pub logs: LogPlan,
    /// The sockets that svd holds for it, in the order of the config, each with a name and an address of its own. A change
    /// needs a restart of the instances.
    pub listen: Vec<ListenerPlan>,
    /// How an instance gets them. A change needs a restart of the instances.
    pub handoff: Handoff,
    /// How running instances are replaced.
    pub update: UpdatePlan,
    /// What shows that a ready instance is still well.
    pub health: Option<HealthPlan>,
    /// The signal that tells an instance to take no new work; sent when its drain begins.
    pub quiet: Option<i32>,
    /// Proof that an instance has finished its work: its stop ladder begins only then.
    pub drained: Option<DrainedPlan>,
    /// When an instance is replaced although it is well.
    pub recycle: RecyclePlan,
    /// What each of its instances may use.
    pub limits: LimitsPlan,
}

/// What is heard over `$NOTIFY_SOCKET` and expected there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotifyPlan {
    /// A ready instance says `WATCHDOG=1` at least so often, or counts as hung.
    pub watchdog: Option<Duration>,
    /// So many descriptors are kept for its next start, 0 to 64.
    pub fd_store: u32,
    /// How long an instance that has said `RELOADING=1` after the reload signal may take until `READY=1`.
    pub reload_timeout: Duration,
}

impl Default for NotifyPlan {
    fn default() -> NotifyPlan {
        NotifyPlan { watchdog: None, fd_store: 0, reload_timeout: Duration::from_secs(60) }
    }
}

impl ProcessPlan {
    /// Its instances are given a notify socket.
    pub fn has_notify_socket(&self) -> bool {
        self.ready.by == ReadyBy::Notify || self.notify.watchdog.is_some() || self.notify.fd_store > 0
    }

    /// Its generations accept from slots, and a gate picks the slot: new ones are proven before they see a user.
    pub fn is_gated(&self) -> bool {
        self.listen.iter().any(|listener| listener.traffic == Traffic::Gated)
    }

    /// The listener whose port all instances are told as `PORT`: the first one with TCP.
    pub fn port_listener(&self) -> Option<&ListenerPlan> {
        self.listen.iter().find(|listener| matches!(listener.address, ListenAddress::Tcp { .. }))
    }
}

/// A socket that svd holds for a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerPlan {
    /// `[A-Za-z0-9_-]+`; its name in LISTEN_FDNAMES. One that is not named in the config is the only one of its process
    /// and called `http` (TCP), `unix` or `udp`.
    pub name: String,
    /// Where it listens.
    pub address: ListenAddress,
    /// How connections reach generations.
    pub traffic: Traffic,
}

/// Where a listener listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListenAddress {
    /// Port 0: the kernel picks one, which stays for svd's life.
    Tcp {
        /// Address and port.
        address: SocketAddr,
        /// An IPv6 wildcard takes no IPv4 connections (else it takes both).
        v6only: bool,
    },
    /// Datagrams.
    Udp {
        /// Address and port.
        address: SocketAddr,
        /// As for TCP.
        v6only: bool,
    },
    /// A stream socket in the file system.
    Unix {
        /// Absolute path, at most 107 bytes.
        path: PathBuf,
        /// Permission bits.
        mode: u32,
        /// Owner, by name or number; `None`: the process's user.
        user: Option<String>,
        /// Group, by name or number; `None`: the process's group.
        group: Option<String>,
    },
}

/// How connections of a listener reach the generations of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Traffic {
    /// Each generation accepts from a slot of its own, and the gate picks the slot. TCP only.
    Gated,
    /// One queue for all.
    Shared,
}

/// How an instance gets its listeners.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Handoff {
    /// LISTEN_FDS, and interception for a program that binds by itself.
    Auto,
    /// LISTEN_FDS, LISTEN_PID, LISTEN_FDNAMES; descriptors from 3 on.
    ListenFds,
    /// What it binds by itself is put in the place of its own socket.
    Intercept,
    /// The only listener is descriptor 0.
    Stdin,
    /// Descriptors from 3 on, told in this variable.
    Env {
        /// The variable.
        name: String,
        /// Its value, for [`crate::handoff_value`].
        template: String,
    },
    /// Not at all: svd only holds the address.
    None,
}

/// How running instances are replaced by new ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpdatePlan {
    /// In which order.
    pub strategy: Strategy,
    /// So many instances more than wanted may run meanwhile, at least 1 (`Exclusive`: not used).
    pub surge: u32,
    /// So many instances may be missing meanwhile, at least 1 (used by `Exclusive` only).
    pub unavailable: u32,
    /// So long a new instance must have been well under traffic before an old one goes for it.
    pub bake: Duration,
    /// Shares of the traffic for the new generation, one after the other, before it gets all it is due.
    pub canary: Vec<CanaryStep>,
}

impl Default for UpdatePlan {
    fn default() -> UpdatePlan {
        UpdatePlan { strategy: Strategy::Exclusive, surge: 1, unavailable: 1, bake: Duration::ZERO, canary: Vec::new() }
    }
}

/// The order of a replacement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strategy {
    /// Start the new one, wait until it is ready, turn the gate, drain the old one.
    Overlap,
    /// Quiet the old one, start the new one, drain the old one when the new one is ready.
    Handover,
    /// Stop the old one, then start the new one.
    Exclusive,
}

/// One step of a canary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CanaryStep {
    /// Share of the traffic, 1 to 99 percent.
    pub percent: u8,
    /// For so long.
    pub hold: Duration,
}

/// What shows that a ready instance is well.
#[derive(Clone, Debug, PartialEq)]
pub struct HealthPlan {
    /// By what.
    pub by: HealthBy,
    /// Time between two probes.
    pub every: Duration,
    /// How long one may take.
    pub timeout: Duration,
    /// So many failures in a row and it is replaced; at least 1.
    pub failures: u32,
}

/// A health probe.
#[derive(Clone, Debug, PartialEq)]
pub enum HealthBy {
    /// As [`ReadyBy::Http`].
    Http {
        /// The port.
        port: Option<u16>,
        /// The path, starting with `/`.
        path: String,
    },
    /// As [`ReadyBy::Tcp`].
    Tcp {
        /// The port.
        port: Option<u16>,
    },
    /// This command exits 0.
    Run(Run),
}

/// Proof that an instance has finished its work.
#[derive(Clone, Debug, PartialEq)]
pub struct DrainedPlan {
    /// Exits 0 when it has.
    pub run: Run,
    /// Time between two tries.
    pub every: Duration,
    /// After so long the stop ladder begins in any case; `None`: never without the proof.
    pub timeout: Option<Duration>,
}

/// When an instance is replaced although it is well. Nothing given: never.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RecyclePlan {
    /// When its process tree uses so many bytes of memory (resident).
    pub memory: Option<u64>,
    /// So long after it became ready, and up to a tenth more, so that not all go at once.
    pub age: Option<Duration>,
}

/// What a process and all that it starts may use together, by its cgroup. Nothing given: no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LimitsPlan {
    /// Bytes; above, somebody of it is killed.
    pub memory: Option<u64>,
    /// Bytes; above, it is slowed down.
    pub memory_high: Option<u64>,
    /// Processor time in percent of one core.
    pub cpu: Option<u32>,
    /// Processes and threads.
    pub pids: Option<u32>,
    /// Its share of a busy disk, 1 to 10000; others have 100.
    pub io_weight: Option<u16>,
}

/// What a process may do less than svd. Nothing given: nothing less.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConfinePlan {
    /// Exactly these capabilities, in the kernel's bits; `None`: what the kernel makes of its user.
    pub capabilities: Option<u64>,
    /// Programs that it starts gain no privileges.
    pub no_new_privs: bool,
    /// A /tmp and a /var/tmp of its own.
    pub private_tmp: bool,
    /// Absolute paths that it cannot write to, parents before children.
    pub read_only: Vec<PathBuf>,
    /// Absolute paths below those that it can write to, parents before children.
    pub read_write: Vec<PathBuf>,
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
    /// What it may do less than svd.
    pub confine: ConfinePlan,
    /// `PORT` of instance 1; instance n gets `port + n - 1`. A process with a TCP listener is told that one's port instead,
    /// all its instances alike.
    pub port: u16,
    /// What it reads from its standard input; `None`: nothing.
    pub input: Option<String>,
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
            .field("confine", &self.confine)
            .field("port", &self.port)
            .field("input", &self.input.as_ref().map(String::len))
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
    /// What it means when it takes longer.
    pub late: Late,
}

/// What it means that an instance is not ready in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Late {
    /// It has failed.
    Fails,
    /// It counts as ready all the same: `web` of a plain Procfile, which may have its own idea of a port. One that replaces an
    /// instance that was ready in time still fails.
    Counts,
}

/// The evidence that an instance is ready.
#[derive(Clone, Debug, PartialEq)]
pub enum ReadyBy {
    /// Exec succeeded.
    Started,
    /// Nothing: its end is all that is waited for, until the timeout. So it is for the runs of jobs.
    Ended,
    /// It was seen to listen on one of its listeners, or to accept from it.
    Listening,
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
    /// 127.0.0.1 accepts a connection on this port (`None`: its first TCP listener, through the gate; without one the
    /// instance's `$PORT`).
    Tcp {
        /// The port.
        port: Option<u16>,
    },
    /// `GET path` on 127.0.0.1 and this port (`None`: its first TCP listener, through the gate; without one the instance's
    /// `$PORT`) answers 200 to 399.
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
    /// Wait without end (`"none"`); nothing comes after it.
    Forever,
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
    /// Whether metrics are told.
    pub metrics: bool,
    /// What is done where no manager can be kept running.
    pub without_manager: WithoutManager,
}

/// What svd does where no manager can be kept running.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WithoutManager {
    /// The processes go on without one, and another one is tried again and again.
    Keep,
    /// All processes are stopped, and svd ends.
    Exit,
}
