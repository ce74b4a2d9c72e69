//! The main loop: one event at a time to the core, its actions performed, results back as events.

mod adopt;
mod app;
mod apply;
mod asks;
mod boot;
pub mod cgroups;
mod commits;
mod drain;
mod errands;
mod gate;
mod handoff;
mod health;
mod host;
mod intercept;
mod intercepted;
mod jobs;
mod knock;
mod launch;
mod leftovers;
mod limits;
mod live;
mod metrics;
mod notices;
mod notified;
mod ooms;
mod perform;
mod place;
mod probe;
mod recycle;
mod reload;
mod reports;
mod settings;
mod slots;
mod spawns;
mod status;
mod sweep;
mod targets;
mod terminal;
mod upgrade;
mod usage;
mod wall;
mod zones;

use std::net::SocketAddr;
use std::sync::Arc;

use svd_core::SpawnId;

use crate::listen::Key;

pub use boot::run;
pub use jobs::shown as shown_run;

/// What tasks of the manager tell its main loop.
#[derive(Debug)]
pub enum Inner {
    /// The evidence of readiness is there.
    Evidence(SpawnId),
    /// A try to find it failed, for this reason.
    ProbeFailed(SpawnId, String),
    /// The pause between two tries of a command is over.
    ErrandAgain(SpawnId, errands::Errand),
    /// The command of this number has had its time.
    ErrandLate(u64),
    /// The command of this number that tells of an event has had its time, or what it left behind has.
    NoticeLate(u64),
    /// What it has written, the end of it.
    NoticeSaid(u64, String),
    /// An event of a run is to be told by a command, and the run is this one, where it is remembered.
    NoticeOfRun(Box<(crate::notify::Notice, Option<svd_core::Run>)>),
    /// A webhook was told, or not.
    Posted(Box<crate::notify::Notice>, Result<(), String>),
    /// Somebody who reloads may have had its time.
    ReloadLate,
    /// A probe asks to be let through a gate.
    Knock(knock::Knock),
    /// The probe from there is over.
    KnockOver(Key, SocketAddr),
    /// Something was seen of a program whose calls are intercepted.
    Intercepted(SpawnId, intercept::Seen),
    /// The file of one of its Unix listeners has got or lost a name.
    NamesChanged(Arc<str>),
    /// Files with the data of time zones have changed.
    ZonesChanged,
    /// Nobody waits in its slot any more.
    QueueEmpty(SpawnId),
    /// The result of a health probe.
    Health(SpawnId, Result<(), String>),
    /// The time of a stop without end is to be extended again.
    HostExtend,
    /// It is time to look at the memory of some.
    MemoryDue,
    /// Those use more memory than they may: so many bytes.
    MemoryOver(Vec<(SpawnId, u64)>),
    /// The counts of kills for lack of memory in these files may have changed.
    OomsChanged(std::collections::BTreeSet<i32>),
    /// Limits of these were changed: what of them could not be.
    LimitsFitted(Vec<(SpawnId, Vec<String>)>),
    /// The order of the upgrade of this token has had its time to reach the disk.
    UpgradeLate(String),
    /// A program to upgrade to was looked at.
    Upgradable(Box<upgrade::Checked>),
    /// A scan of the process tree has ended.
    Swept(Vec<sweep::Left>),
    /// Somebody who was being waited for has ended: scan again.
    ScanAgain,
}
