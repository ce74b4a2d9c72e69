//! PID 1 or subreaper: forks, reaps, signals, holds descriptors, and knows no policy.
//!
//! The keeper starts a manager and keeps one running. Whatever must outlive the manager is held here: the processes,
//! their pipes, the sockets on which they listen, the listener of a system call filter with the calls that it waits for, the
//! record of how each ended. Of all these it knows no more than that they are to be kept. Everything that can be decided elsewhere is decided in the manager.

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

mod entry;
#[cfg(fuzzing)]
pub mod fuzz;
mod holdings;
mod host;
mod launch;
mod notify;
mod outbox;
mod program;
mod run;
mod single;
mod step;
mod stores;
mod table;

pub use entry::{Entry, MANAGER_ARG, TRIAL_ARG, TRIAL_PASSED, WIRE_FD, entry};
pub use program::{Manage, Tool, main};
pub use run::{run, trial};
pub use single::run_single;
