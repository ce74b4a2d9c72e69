//! Messages between keeper and manager: framed, versioned, bounded.
//!
//! The two sides talk over an inherited `SOCK_SEQPACKET` socket pair. One packet is one message of at most
//! [`MAX_MESSAGE`] bytes with at most [`MAX_FDS`] descriptors. This crate turns messages into bytes and back and
//! says which request is permitted in which phase; it opens, reads and writes nothing.

#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects
    )
)]

mod codec;
mod message;
mod phase;
mod spec;
mod state;

#[cfg(fuzzing)]
pub use codec::with_checksum;
pub use codec::{
    DecodeError, EncodeError, Header, StateError, decode_report, decode_request, decode_spec, decode_state,
    encode_report, encode_request, encode_spec, encode_state,
};
pub use message::{
    Exit, Extended, Instance, Life, NotifyState, Reloading, Report, Request, Rusage, SignalSent, SpawnError, SpawnId,
    Stage, Stamp, UpgradeOutcome,
};
pub use phase::{Phase, permitted};
pub use spec::{Confinement, Credentials, FdRole, Rlimit, SpawnSpec, SpecError, StoreSpec};
pub use state::{
    HeldFd, KeeperState, LastPing, ManagerState, NamedFd, ProgramState, RecordState, SpeakersState, StatusState,
    StoredFd,
};

/// The oldest protocol version this build can speak.
pub const PROTOCOL_MIN: u16 = 1;
/// The newest protocol version this build can speak.
pub const PROTOCOL_MAX: u16 = 2;
/// Feature bit of HELLO and of its answer: the side knows [`Request::UpgradeManager`], [`Request::UpgradeKeeper`],
/// [`Request::UpgradeSeen`] and [`Report::Upgraded`].
pub const FEATURE_UPGRADE: u64 = 1;
/// Feature bit of the keeper: it knows [`Request::WithoutManager`], and starts managers in safe mode.
pub const FEATURE_SAFE_MODE: u64 = 1 << 1;
/// The variable of a manager's environment that has it start in safe mode.
pub const SAFE_MODE_VARIABLE: &str = "SVD_SAFE_MODE";
/// Feature bit: the side knows [`FdRole::Cgroup`], [`SpawnSpec::confinement`] and the stages that belong to them.
pub const FEATURE_CONFINE: u64 = 1 << 3;
/// All feature bits of this build.
pub const FEATURES: u64 = FEATURE_UPGRADE | FEATURE_SAFE_MODE | FEATURE_NOTIFY | FEATURE_CONFINE;
/// The version of the encoding of a [`KeeperState`]. It changes only where an older build could not make sense of it any more.
pub const STATE_VERSION: u16 = 1;
/// The largest encoded [`KeeperState`] in bytes: a full table with full tags, notes and descriptors.
pub const MAX_STATE: usize = 256 * 1024 * 1024;
/// Feature bit of a keeper's [`Report::Welcome`]: it takes [`Request::Recall`], [`Request::Empty`] and
/// [`SpawnSpec::store`], and its [`NotifyState`] has more than `ready`, `stopping`, `status` and `dropped`.
pub const FEATURE_NOTIFY: u64 = 1 << 2;
/// The variable whose value marks all processes of one spawn.
pub const MARK: &str = "SVD_SPAWN";
/// The most descriptors in a store.
pub const MAX_STORED: u32 = 64;
/// The longest name of a stored descriptor in bytes.
pub const MAX_STORED_NAME: usize = 255;
/// The largest message in bytes, header included. A larger spawn spec travels in a sealed memfd.
pub const MAX_MESSAGE: usize = 64 * 1024;
/// The most descriptors one message may carry (the kernel's own limit is 253, SCM_MAX_FD).
pub const MAX_FDS: usize = 64;
/// The longest tag or note in bytes: what the manager writes on a spawn for its own successor.
pub const MAX_TAG: usize = 4096;
/// The longest name of a held descriptor in bytes.
pub const MAX_NAME: usize = 255;
/// The longest text for the service manager above svd in bytes: it takes no larger datagram.
pub const MAX_HOST_STATE: usize = 4096;
/// Feature bit of the keeper's welcome: there is a service manager above it, and it passes on what that is to be told
/// ([`Request::TellHost`]).
pub const FEATURE_HOST: u64 = 1 << 8;
/// The most spawn records, live and ended, a keeper holds. When they are used up it refuses to spawn.
pub const MAX_SPAWNS: usize = 8192;
