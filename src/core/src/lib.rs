//! Decisions, pure: desired tree and observed tree and now, to actions.
//!
//! No I/O, no clock, no randomness, no environment, no log. The manager feeds [`Event`]s, performs [`Action`]s and
//! tells their results as events again. A manager that was killed builds a new [`Core`] from the plan, the stored
//! [`Desired`] and the keeper's inventory; nothing else survives, and nothing else is needed.

pub mod action;
mod adopt;
mod apply;
mod backoff;
mod climb;
pub mod desired;
mod drain;
pub mod event;
mod gate;
mod intent;
mod job;
mod ladder;
mod machine;
pub mod name;
mod ops;
mod order;
mod replace;
mod service;
mod settle;
mod signs;
pub mod state;
pub mod time;
mod tree;
mod verdict;
mod view;

pub use action::{Action, Fact, FactKind, Outcome, Sweep};
pub use desired::{Change, Desired, Which};
pub use event::{
    Adopted, AdoptedLife, Command, Event, JobCommand, Lineage, MAX_SLOTS, Note, Origin, Slot, SpawnFailure, Waits, Wear,
};
pub use job::{Cause, JobChange, JobState, JobView, Phase, Run, RunId, RunNews, RunResult, StoredJobs, Wall, Zones};
pub use machine::{Core, Mode};
pub use name::{InstanceName, OpId, SpawnId, Target};
pub use settle::MAX_STARTING;
pub use signs::Said;
pub use state::{ExitStatus, InstanceView, Reason, Seat, State};
pub use time::Time;
