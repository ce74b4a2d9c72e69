//! What the two sides say to each other.

use crate::spec::SpawnSpec;

/// One start of one instance, chosen by the manager, never used twice while a keeper lives.
///
/// It is what makes spawning idempotent: the keeper refuses a second spawn with the same id, and after a manager
/// crash its inventory tells whether the first one happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpawnId(pub u64);

/// An instant on two clocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stamp {
    /// `CLOCK_BOOTTIME` in nanoseconds: for durations and deadlines; does not jump, counts suspend.
    pub boot_ns: u64,
    /// `CLOCK_REALTIME` in nanoseconds since 1970: for people.
    pub real_ns: u64,
}

/// How a process ended, as the kernel told it (`wait4(2)`). Never invented.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It called exit with this code, 0 to 255.
    Code(u8),
    /// A signal ended it; `core` says whether a core was dumped.
    Signal {
        /// The signal's number.
        signal: i32,
        /// Whether the kernel wrote a core dump.
        core: bool,
    },
    /// The status could not be learnt.
    Unknown,
}

/// What the process and its waited-for children used, from `wait4(2)`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rusage {
    /// CPU time in user mode, microseconds.
    pub user_us: u64,
    /// CPU time in kernel mode, microseconds.
    pub system_us: u64,
    /// Largest resident set, bytes.
    pub max_rss: u64,
}

/// The step between fork and exec at which a start failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The keeper refused or could not fork: no process came to be.
    Fork,
    /// `setsid(2)`.
    Session,
    /// Limits, nice value, oom_score_adj.
    Limits,
    /// Supplementary groups, gid, uid.
    Credentials,
    /// Working directory.
    Directory,
    /// Placing descriptors.
    Descriptors,
    /// `execve(2)`.
    Exec,
    /// Entering its cgroups.
    Cgroup,
    /// A mount namespace of its own, and what is mounted there.
    Mounts,
    /// Its capabilities and no_new_privs.
    Capabilities,
}

impl Stage {
    /// What a side without [`FEATURE_CONFINE`](crate::FEATURE_CONFINE) knows that comes nearest.
    pub fn known_to(self, features: u64) -> Stage {
        if features & crate::FEATURE_CONFINE != 0 {
            return self;
        }
        match self {
            Stage::Cgroup | Stage::Mounts => Stage::Limits,
            Stage::Capabilities => Stage::Credentials,
            Stage::Fork
            | Stage::Session
            | Stage::Limits
            | Stage::Credentials
            | Stage::Directory
            | Stage::Descriptors
            | Stage::Exec => self,
        }
    }
}

/// Why a start failed: where, and the kernel's errno.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpawnError {
    /// The step that failed.
    pub stage: Stage,
    /// The errno of that step.
    pub errno: i32,
}

/// The last signal that the keeper sent to a spawn's main process on request, so that a new manager goes on
/// with a stop where the old one left it instead of starting it again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignalSent {
    /// The signal's number.
    pub signal: i32,
    /// When it was sent.
    pub at: Stamp,
}

/// What a service has said so far over its notify socket (sd_notify(3)), coalesced: a level, not a stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NotifyState {
    /// `READY=1` was received; when, first.
    pub ready: Option<Stamp>,
    /// `STOPPING=1` was received.
    pub stopping: bool,
    /// The last `STATUS=`, valid UTF-8, at most 512 bytes.
    pub status: String,
    /// Datagrams dropped: malformed, truncated, from another user or another spawn's process.
    pub dropped: u64,
    /// The last `WATCHDOG=1`. Not news by itself: it is told with the next news, or when asked for ([`Request::Recall`]).
    pub heard: Option<Stamp>,
    /// The last `RELOADING=1`.
    pub reloading: Option<Reloading>,
    /// The first `READY=1` after that.
    pub reloaded: Option<Stamp>,
    /// The last `WATCHDOG_USEC=`, microseconds.
    pub watchdog_us: Option<u64>,
    /// The first `WATCHDOG=trigger`.
    pub trigger: Option<Stamp>,
    /// The last `EXTEND_TIMEOUT_USEC=`.
    pub extended: Option<Extended>,
    /// The last `ERRNO=`.
    pub errno: Option<i32>,
    /// The last `EXIT_STATUS=`.
    pub exit_status: Option<i32>,
    /// The main process, where it is another one than was started (`MAINPID=`).
    pub main: Option<i32>,
    /// Names of the descriptors in its store, in their order (`FDSTORE=1`).
    pub stored: Vec<String>,
    /// Descriptors that came along and were closed: not asked for, or no room for them.
    pub refused: u64,
}

/// `RELOADING=1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reloading {
    /// When it was received.
    pub at: Stamp,
    /// `MONOTONIC_USEC=` beside it: when it began, by its own account.
    pub since_us: Option<u64>,
}

/// `EXTEND_TIMEOUT_USEC=`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extended {
    /// When it was received.
    pub at: Stamp,
    /// It asks for time until then, as [`Stamp::boot_ns`].
    pub until_ns: u64,
}

/// Where a spawn is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    /// Forked; exec not yet seen.
    Forked {
        /// Its process id.
        pid: i32,
        /// When it was forked.
        at: Stamp,
    },
    /// Its program runs.
    Running {
        /// Its process id.
        pid: i32,
        /// When it was forked.
        at: Stamp,
    },
    /// It never became a program.
    Failed {
        /// Why.
        error: SpawnError,
        /// When.
        at: Stamp,
    },
    /// It ended.
    Exited {
        /// The process id it had.
        pid: i32,
        /// How.
        exit: Exit,
        /// True where it ended before exec: its program never ran.
        before_exec: bool,
        /// When it was forked.
        started: Stamp,
        /// When its end was seen.
        at: Stamp,
    },
}

/// One line of the keeper's inventory: all it knows of a spawn.
///
/// The message carries, in this order and as far as the keeper still holds them: the pidfd (while the main
/// process lives), then the held descriptors in the order of `held`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
    /// The spawn.
    pub spawn: SpawnId,
    /// What the manager wrote on it at spawn.
    pub tag: Vec<u8>,
    /// What the manager wrote on it since ([`Request::Annotate`]); empty when nothing.
    pub note: Vec<u8>,
    /// Where it is in its life.
    pub life: Life,
    /// Whether the pidfd is the first descriptor.
    pub pidfd: bool,
    /// Which held descriptors follow, in order ([`FdRole::Child`](crate::FdRole::Child) never among them).
    pub held: Vec<crate::FdRole>,
    /// The last signal sent on request.
    pub last_signal: Option<SignalSent>,
    /// What it said over its notify socket.
    pub notify: NotifyState,
}

/// What the manager asks of the keeper.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// First word of every manager.
    Hello {
        /// Oldest version it speaks.
        min: u16,
        /// Newest version it speaks.
        max: u16,
        /// Feature bits; none were defined in version 1.
        features: u64,
        /// Its build, for people.
        build: String,
    },
    /// The inventory is taken in: from now on this manager is live.
    Ready,
    /// Start a process. The descriptors of `spec.fds` are attached in their order. Answered by
    /// [`Report::Spawned`] or [`Report::SpawnFailed`]; a repeated id is answered as the first one was.
    Spawn {
        /// The id, never used before.
        spawn: SpawnId,
        /// What to start. Where it does not fit into a message, the encoded spec is the first descriptor
        /// (a sealed memfd) instead, and the decoder of the keeper is given its contents.
        spec: Box<SpawnSpec>,
    },
    /// As [`Request::Spawn`]; the encoded [`SpawnSpec`] is in a memfd, which is the first descriptor.
    SpawnMemfd {
        /// The id, never used before.
        spawn: SpawnId,
        /// Length of the encoded spec in bytes.
        len: u32,
    },
    /// Send a signal to the main process, through its pidfd. A spawn that has ended is left alone.
    Signal {
        /// Whom.
        spawn: SpawnId,
        /// Which, 1 to 64.
        signal: i32,
    },
    /// All reports up to and including this number are stored durably.
    Ack {
        /// The last number.
        through: u64,
    },
    /// Write on a spawn for a later manager; replaces the earlier note.
    Annotate {
        /// Which spawn.
        spawn: SpawnId,
        /// At most [`MAX_TAG`](crate::MAX_TAG) bytes.
        note: Vec<u8>,
    },
    /// Close one held descriptor of a spawn.
    Release {
        /// Which spawn.
        spawn: SpawnId,
        /// Which descriptor.
        role: crate::FdRole,
    },
    /// Drop the record of an ended spawn whose report is acknowledged, with all descriptors it still holds.
    Forget {
        /// Which spawn.
        spawn: SpawnId,
    },
    /// Hold the attached descriptor under this name for later managers; replaces one of the same name.
    Hold {
        /// Its name.
        name: String,
    },
    /// Close the descriptor held under this name.
    Drop {
        /// Its name.
        name: String,
    },
    /// While on, the keeper expects an answer to a [`Report::Ping`] every few seconds. Off while the manager has
    /// nothing to do: an idle svd does not wake up.
    Watch {
        /// On or off.
        on: bool,
    },
    /// The answer to [`Report::Ping`].
    Pong,
    /// Tell the service manager above svd something, as sd_notify(3) does. Only for a keeper with [`FEATURE_HOST`](crate::FEATURE_HOST).
    TellHost {
        /// Lines of `KEY=value`, at most [`MAX_HOST_STATE`](crate::MAX_HOST_STATE) bytes.
        state: String,
        /// The name of a held descriptor that goes along.
        attach: Option<String>,
    },
    /// Tell what a spawn has said so far, all that lies in its socket included. Answered by [`Report::Notified`], as
    /// long as the keeper has a record of it. For a keeper with [`FEATURE_NOTIFY`](crate::FEATURE_NOTIFY) only.
    Recall {
        /// Which spawn.
        spawn: SpawnId,
    },
    /// Close all descriptors of a store ([`SpawnSpec::store`]). For a keeper with
    /// [`FEATURE_NOTIFY`](crate::FEATURE_NOTIFY) only.
    Empty {
        /// The store's name.
        store: String,
    },
    /// Everything has ended: end what is left (KILL, then reap until nobody is there) and exit with this code.
    Exit {
        /// svd's exit code.
        code: u8,
    },
    /// Run later managers from the attached program. This one is to end; where the next does not become live in
    /// time, the former program is run again. Only to a keeper with [`FEATURE_UPGRADE`](crate::FEATURE_UPGRADE).
    UpgradeManager {
        /// Told again with the outcome; opaque to the keeper; at most [`MAX_TAG`](crate::MAX_TAG) bytes.
        note: Vec<u8>,
    },
    /// Become the program that managers are run from, in the same process. Only to a keeper with
    /// [`FEATURE_UPGRADE`](crate::FEATURE_UPGRADE).
    UpgradeKeeper {
        /// As above.
        note: Vec<u8>,
    },
    /// The outcome of an upgrade is stored and need not be told again.
    UpgradeSeen,
    /// What is to be done where no manager can be kept running, not even in safe mode. Only to a keeper with
    /// [`FEATURE_SAFE_MODE`](crate::FEATURE_SAFE_MODE).
    WithoutManager {
        /// Stop all processes and exit with 1, for an orchestrator that starts svd elsewhere. Else processes go on.
        exit: bool,
    },
}

/// How far an upgrade has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UpgradeOutcome {
    /// Managers are run from the new program; this one is.
    ManagerRuns,
    /// They are not; the former program was taken again.
    ManagerRefused {
        /// What went wrong with the new one, for people.
        why: String,
    },
    /// The keeper itself is the new program now.
    KeeperRuns,
    /// It is not, and goes on as the one it was.
    KeeperRefused {
        /// What went wrong, for people.
        why: String,
    },
    /// It is under way: told to a manager that comes in the middle of it, so that it begins no other one.
    UnderWay,
    /// There is none: told to a manager that has just become live, so that it knows.
    Nothing,
}

/// What the keeper tells the manager. Numbered reports (`seq`) are kept and told again to every new manager until
/// they are acknowledged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Report {
    /// The answer to [`Request::Hello`].
    Welcome {
        /// The version both speak.
        version: u16,
        /// Feature bits of the keeper.
        features: u64,
        /// The keeper's build, for people.
        build: String,
        /// Random, made when the keeper started: (boot, seq) names a report for ever.
        boot: [u8; 16],
        /// The keeper's process id, as it sees it itself.
        keeper_pid: i32,
        /// Which start of a manager this is, from 1.
        manager_starts: u32,
        /// How the manager before this one ended.
        last_death: Option<Exit>,
        /// The largest spawn id ever used; 0 when none.
        last_spawn: SpawnId,
        /// Zombies reaped that were no main process of a spawn.
        orphans_reaped: u64,
    },
    /// A descriptor held by name; it is attached.
    Held {
        /// Its name.
        name: String,
    },
    /// One spawn.
    Instance(Box<Instance>),
    /// The inventory is complete.
    InventoryEnd {
        /// How many [`Report::Instance`] there were.
        instances: u32,
        /// How many [`Report::Held`] there were.
        held: u32,
    },
    /// The program runs (exec succeeded). Attached: the pidfd.
    Spawned {
        /// Number of the report.
        seq: u64,
        /// Which spawn.
        spawn: SpawnId,
        /// Its process id.
        pid: i32,
        /// When it was forked.
        at: Stamp,
    },
    /// It did not come to run.
    SpawnFailed {
        /// Number of the report.
        seq: u64,
        /// Which spawn.
        spawn: SpawnId,
        /// Where and why.
        error: SpawnError,
        /// When.
        at: Stamp,
    },
    /// A main process ended. Comes after [`Report::Spawned`] of the same spawn, always.
    Exited {
        /// Number of the report.
        seq: u64,
        /// Which spawn.
        spawn: SpawnId,
        /// The process id it had.
        pid: i32,
        /// How.
        exit: Exit,
        /// True where its program never ran.
        before_exec: bool,
        /// What it used.
        rusage: Rusage,
        /// When it was forked.
        started: Stamp,
        /// When its end was seen.
        at: Stamp,
    },
    /// What a service has said over its notify socket changed.
    Notified {
        /// Which spawn.
        spawn: SpawnId,
        /// All it has said so far.
        state: NotifyState,
    },
    /// The keeper was sent a signal that asks for something (TERM, INT, QUIT, HUP, USR1, USR2, RTMIN+3, …).
    SignalReceived {
        /// Number of the report.
        seq: u64,
        /// The signal's number.
        signal: i32,
    },
    /// Are you there? Answered by [`Request::Pong`].
    Ping,
    /// An upgrade has come so far. Told to every manager with [`FEATURE_UPGRADE`](crate::FEATURE_UPGRADE) when it has become live
    /// and when it changes, until [`Request::UpgradeSeen`].
    Upgraded {
        /// As the manager gave it.
        note: Vec<u8>,
        /// How far.
        outcome: UpgradeOutcome,
        /// The keeper's build by now, for people.
        build: String,
    },
}
