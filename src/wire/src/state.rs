//! What a keeper hands to itself when it becomes another program: all that it knows, and the numbers of all descriptors.

use crate::message::{Exit, Instance, Report, SpawnError, SpawnId};
use crate::spec::{FdRole, StoreSpec};

/// A descriptor by its number in the process that goes on.
pub type Number = i32;

/// A named descriptor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedFd {
    /// Its name.
    pub name: String,
    /// Its number.
    pub fd: Number,
}

/// A descriptor that is held for a spawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeldFd {
    /// What it is for.
    pub role: FdRole,
    /// Its number.
    pub fd: Number,
}

/// The pipe over which a child tells how far it has come, and what it has told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusState {
    /// Its number.
    pub fd: Number,
    /// Bytes read so far.
    pub bytes: Vec<u8>,
}

/// Who may speak for a spawn over its notify socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpeakersState {
    /// The one it runs as.
    pub service: u32,
    /// The one the keeper ran as when it was started.
    pub keeper: u32,
    /// The session that its first process leads; 0 where an earlier build did not note it.
    pub session: i32,
    /// What marks its processes.
    pub mark: Option<String>,
}

/// One spawn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordState {
    /// What a manager is told of it, too.
    pub instance: Instance,
    /// Why it will not become a program.
    pub failure: Option<SpawnError>,
    /// The number of its last report; 0 when none yet.
    pub last_seq: u64,
    /// Whether it goes as soon as it has ended.
    pub is_forgotten: bool,
    /// Its pidfd, until it is reaped.
    pub pidfd: Option<Number>,
    /// Its status pipe, until it has spoken.
    pub status: Option<StatusState>,
    /// Held descriptors.
    pub held: Vec<HeldFd>,
    /// Who may speak for it.
    pub speakers: Option<SpeakersState>,
    /// The store that it may fill.
    pub store: Option<StoreSpec>,
    /// The pidfd of the main process that it has named, while the one that was started lives too.
    pub named: Option<Number>,
}

/// A descriptor in a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredFd {
    /// The store.
    pub store: String,
    /// The descriptor's name in it.
    pub name: String,
    /// It stays when the other side hangs up.
    pub keep_hung: bool,
    /// The descriptor.
    pub fd: Number,
}

/// The last sign of life of the manager, nanoseconds of CLOCK_MONOTONIC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LastPing {
    /// It answered, or was heard of, then.
    Answered(u64),
    /// It is to be asked.
    Wanted(u64),
    /// It was asked then.
    Asked(u64),
}

/// The live manager.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManagerState {
    /// Its process id.
    pub pid: i32,
    /// Its pidfd.
    pub pidfd: Number,
    /// The keeper's end of the socket to it.
    pub link: Number,
    /// Its status pipe, until it is reaped.
    pub status: Option<StatusState>,
    /// When it was started.
    pub since: u64,
    /// When it became live.
    pub live_since: u64,
    /// Numbered reports up to this one were sent to it.
    pub sent_through: u64,
    /// The heartbeat.
    pub ping: LastPing,
    /// Whether a heartbeat is wanted all the time.
    pub watch: bool,
    /// The feature bits it said it has.
    pub features: u64,
}

/// What every start needs, found out when the first program of this keeper began.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProgramState {
    /// The program that managers are run from.
    pub current: Number,
    /// The one before.
    pub previous: Option<Number>,
    /// svd's own arguments, without its name.
    pub args: Vec<Vec<u8>>,
    /// The environment of managers.
    pub env: Vec<Vec<u8>>,
    /// The limit of open files that svd was started with, soft and hard.
    pub nofile: Option<(u64, u64)>,
    /// The oom_score_adj that svd was started with, where the keeper has changed its own.
    pub oom: Option<i32>,
}

/// All of it. A keeper hands itself over only while a manager is live and it is not ending.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeeperState {
    /// Names this keeper's life.
    pub boot: [u8; 16],
    /// Its process id, as it sees it itself.
    pub keeper_pid: i32,
    /// The number of the last numbered report.
    pub last_seq: u64,
    /// Numbered reports that are not acknowledged, oldest first.
    pub pending: Vec<Report>,
    /// Spawns whose notify state the manager has not been told.
    pub dirty: Vec<SpawnId>,
    /// Largest spawn id ever.
    pub last_spawn: SpawnId,
    /// Zombies that were no main process.
    pub orphans_reaped: u64,
    /// Starts of managers so far.
    pub starts: u32,
    /// How the last one ended.
    pub last_death: Option<Exit>,
    /// Starts in a row since one lived long.
    pub quick_deaths: u32,
    /// Managers in a row that crashed soon after their start.
    pub crashes: u32,
    /// Whether all is to end where no manager can be kept running.
    pub exit_without_manager: bool,
    /// The manager.
    pub manager: ManagerState,
    /// Programs and what they are started with.
    pub program: ProgramState,
    /// What the manager wrote on this upgrade.
    pub upgrade_note: Vec<u8>,
    /// Descriptors held by name.
    pub named: Vec<NamedFd>,
    /// Descriptors in stores, each store's in their order.
    pub stored: Vec<StoredFd>,
    /// Spawns.
    pub records: Vec<RecordState>,
}
