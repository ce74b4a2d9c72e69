//! What goes into the store and comes out of it.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use svd_api as api;
use svd_core::{Change, Desired, JobChange};
use tokio::sync::oneshot;

/// Where the state is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// In this file; its directory is created where it is missing.
    File(PathBuf),
    /// In memory: lost with this manager.
    Memory,
}

/// What was found when the store was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Loaded {
    /// What is desired, as the last manager left it. [`Store::begin`](super::Store::begin) says what of it still holds.
    pub desired: Desired,
    /// What the user should know, in sentences: a broken database that was moved aside.
    pub warnings: Vec<String>,
}

/// Who was told of what.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Notified {
    /// Of everything up to this event everybody has been told who is to be told.
    pub mark: i64,
    /// Beyond that: the event's number, and the word for the place that was told of it.
    pub ahead: BTreeSet<(i64, String)>,
}

/// What is stored together: all of it or nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Batch {
    /// Changes of what is desired, made in order.
    pub changes: Vec<Change>,
    /// What happened, in order.
    pub events: Vec<NewEvent>,
    /// Of everything up to this event everybody has been told who is to be told. It never goes back.
    pub notified: Option<i64>,
    /// Who was told of an event beyond that one, while others before it wait: the event's number, and the word for the place.
    pub told: Vec<(i64, String)>,
    /// What is remembered of jobs, in order.
    pub jobs: Vec<JobChange>,
}

impl Batch {
    /// Before a batch that failed is given again: drops the changes that `later`, a batch given after it, replaces. Otherwise
    /// an older value would be stored over a newer one.
    pub fn drop_superseded_by(&mut self, later: &Batch) {
        let is_same = |old: &Change, new: &Change| match (old, new) {
            (Change::Scale(old, _), Change::Scale(new, _)) => old == new,
            (Change::Disabled(old, _), Change::Disabled(new, _)) => old == new,
            (Change::Stopped(old, _), Change::Stopped(new, _)) => old == new,
            (Change::Generation(old, _), Change::Generation(new, _)) => old == new,
            (Change::Scale(..) | Change::Disabled(..) | Change::Stopped(..) | Change::Generation(..), _) => false,
            // They are not stored.
            (Change::Boundaries(..) | Change::TakenBack(_), _) => false,
        };
        self.changes.retain(|old| !later.changes.iter().any(|new| is_same(old, new)));
        let is_same = |old: &JobChange, new: &JobChange| match (old, new) {
            (JobChange::State(old, _) | JobChange::Gone(old), JobChange::State(new, _) | JobChange::Gone(new)) => {
                old == new
            }
            (JobChange::Run(old), JobChange::Run(new)) => old.id == new.id,
            (JobChange::Run(old), JobChange::Forget(_, gone)) => gone.contains(&old.id),
            // Forgetting twice does no harm.
            (JobChange::Forget(..), _) | (JobChange::State(..) | JobChange::Gone(_) | JobChange::Run(_), _) => false,
        };
        self.jobs.retain(|old| !later.jobs.iter().any(|new| is_same(old, new)));
    }
}

/// Names a report of the keeper for ever: the keeper's boot id and the report's number.
pub type ReportKey = ([u8; 16], u64);

/// Something that happened, before it has a number.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NewEvent {
    /// When: `CLOCK_REALTIME` in nanoseconds since 1970.
    pub time_ns: u64,
    /// `instance.ready`, `command.stop`, `manager.started`, …
    pub kind: String,
    /// The process it concerns.
    pub process: Option<String>,
    /// The instance it concerns: `web.1`.
    pub instance: Option<String>,
    /// The spawn it concerns.
    pub spawn: Option<u64>,
    /// Process id.
    pub pid: Option<i32>,
    /// How it ended.
    pub exit: Option<api::Exit>,
    /// Who asked.
    pub actor: Option<String>,
    /// Why it was asked.
    pub reason: Option<String>,
    /// A sentence for people.
    pub message: String,
    /// The keeper's report that told it. An event with a report that is stored already is skipped and not answered.
    pub report: Option<ReportKey>,
}

/// So many targets are looked at in a query; each may need two parts of a compound query, and SQLite takes 500.
pub const MAX_TARGETS: usize = 200;

/// Which events to read. The answer is oldest first, always.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventQuery {
    /// Names of processes or instances; empty: all events. A process's name means all of its events; an instance's name
    /// means its own and those of its process as a whole, not those of its siblings. At most [`MAX_TARGETS`] are looked at.
    pub target: Vec<String>,
    /// Only later ones than this, from the oldest of them on.
    pub after_id: Option<i64>,
    /// Only earlier ones than this.
    pub before_id: Option<i64>,
    /// At most so many, 1 to 10,000; 0 means 1,000. Without `after_id` these are the newest.
    pub limit: u32,
    /// Only these kinds; empty: all.
    pub kinds: Vec<String>,
}

/// Answer of [`Store::commit`](super::Store::commit). A receiver error means that the store's thread has ended.
pub type Commit = oneshot::Receiver<Result<Vec<Arc<api::Event>>, StoreError>>;
/// Answer of [`Store::events`](super::Store::events).
pub type Events = oneshot::Receiver<Result<Vec<api::Event>, StoreError>>;

/// Why the store could not do it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// Written by a later version.
    #[error(
        "{path} has schema version {found}, written by a newer svd; this svd ({build}) knows versions up to {known}. \
         Start the newer svd again, or move the file away to begin without history"
    )]
    Newer {
        /// The file.
        path: String,
        /// Its version.
        found: i64,
        /// The newest this build knows.
        known: i64,
        /// This build.
        build: &'static str,
    },
    /// Something else's database.
    #[error("{path} is a database, but not one of svd's; move it away or choose another --root")]
    Foreign {
        /// The file.
        path: String,
    },
    /// The file or its directory cannot be made or opened.
    #[error("cannot {what} {path}: {error}")]
    Open {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: String,
        /// What the kernel or SQLite says.
        error: String,
    },
    /// No space left; nothing of the batch is stored.
    #[error("the state cannot be stored, the disk is full: {0}")]
    Full(String),
    /// The file cannot be read as a database.
    #[error("the state database is damaged: {0}")]
    Damaged(String),
    /// Any other failure of SQLite; nothing of the batch is stored.
    #[error("the state cannot be stored or read: {0}")]
    Sql(String),
    /// More is waiting than the store takes.
    #[error("the store has too much to do; try again")]
    Busy,
    /// The store's thread has ended.
    #[error("the store has ended")]
    Closed,
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> StoreError {
        use rusqlite::ErrorCode;
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => StoreError::Full(error.to_string()),
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => StoreError::Damaged(error.to_string()),
            _ => StoreError::Sql(error.to_string()),
        }
    }
}
