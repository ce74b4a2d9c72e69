//! The main loop: one event at a time to the core, its actions performed, results back as events.

mod app;
mod apply;
mod asks;
mod boot;
mod commits;
mod launch;
mod leftovers;
mod perform;
mod place;
mod probe;
mod reports;
mod settings;
mod spawns;
mod status;
mod sweep;
mod targets;
mod terminal;
mod usage;

use svd_core::SpawnId;

pub use boot::run;

/// What tasks of the manager tell its main loop.
#[derive(Debug)]
pub enum Inner {
    /// The evidence of readiness is there.
    Evidence(SpawnId),
    /// A try to find it failed, for this reason.
    ProbeFailed(SpawnId, String),
    /// The pause between two tries of a readiness command is over.
    ProbeAgain(SpawnId),
    /// A scan of the process tree has ended.
    Swept(Vec<sweep::Left>),
    /// Somebody who was being waited for has ended: scan again.
    ScanAgain,
}
