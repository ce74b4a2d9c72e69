//! What the manager is to be told next. It is read off the table, never queued: a socket that is full costs nothing,
//! and what happened meanwhile is told as it then is.

use crate::table::{Conversation, Handover, Instant, Manager, Ping, Record, Table, Told, Upgrade};
use svd_sys::clock::Now;
use svd_wire::{FEATURE_UPGRADE, FEATURES, FdRole, Life, Phase, Report, SpawnId, UpgradeOutcome};

/// A descriptor that goes with a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FdRef {
    /// The pidfd of a spawn.
    Pidfd(SpawnId),
    /// A held descriptor of a spawn.
    Held(SpawnId, FdRole),
    /// A named one.
    Named(String),
}

/// What [`sent`] is told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Item {
    /// The question whether it is there.
    Ping,
    /// The first part of the handover.
    Handover,
    /// The numbered report of this number.
    Numbered(u64),
    /// The notify state of this spawn.
    Notified(SpawnId),
    /// How the upgrade stands.
    Upgraded,
}

/// The next message.
#[derive(Debug, PartialEq, Eq)]
pub struct Message {
    /// What.
    pub report: Report,
    /// With which descriptors.
    pub fds: Vec<FdRef>,
    /// For [`sent`].
    pub item: Item,
}

/// The next message, `None` when the manager knows everything or nobody is there to be told.
pub fn next(table: &Table, now: Instant) -> Option<Message> {
    let Manager::Up { talk, .. } = &table.manager else { return None };
    if talk.phase == Phase::Greeting || talk.phase == Phase::Ending {
        return None;
    }
    if matches!(talk.ping, Ping::Wanted(_)) {
        return Some(Message { report: Report::Ping, fds: Vec::new(), item: Item::Ping });
    }
    if let Some(part) = talk.handover.front() {
        let (report, fds) = handover(table, talk, part);
        return Some(Message { report, fds, item: Item::Handover });
    }
    if talk.phase != Phase::Live {
        return None;
    }
    let index = usize::try_from(talk.sent_through.saturating_sub(table.acked_through())).ok()?;
    if let Some(report) = table.pending.get(index) {
        let item = Item::Numbered(talk.sent_through.saturating_add(1));
        let fds = numbered_fds(table, report);
        return Some(Message { report: known_to(report.clone(), talk.features), fds, item });
    }
    if talk.upgrade == Told::No && talk.features & FEATURE_UPGRADE != 0 {
        return Some(Message { report: upgraded(&table.upgrade), fds: Vec::new(), item: Item::Upgraded });
    }
    let open = |spawn: &&SpawnId| table.records.get(spawn).is_some_and(|record| record.pace.opens() <= now);
    let spawn = *table.recalled.first().or_else(|| table.dirty.iter().find(open))?;
    let state = table.records.get(&spawn)?.said(&table.stores);
    Some(Message { report: Report::Notified { spawn, state }, fds: Vec::new(), item: Item::Notified(spawn) })
}

/// When there will be something to tell that is held back now, because a service talks too much.
pub fn next_opening(table: &Table, now: Instant) -> Option<Instant> {
    if !table.is_live() {
        return None;
    }
    let opens = |spawn: &SpawnId| table.records.get(spawn).map(|record| record.pace.opens());
    table.dirty.iter().filter_map(opens).filter(|at| *at > now).min()
}

/// The message was sent.
pub fn sent(table: &mut Table, item: Item, now: Now) {
    if let Item::Notified(spawn) = item {
        table.dirty.remove(&spawn);
        table.recalled.remove(&spawn);
        if let Some(record) = table.records.get_mut(&spawn) {
            record.pace.count(now.mono_ns);
        }
    }
    let Some(talk) = table.talk() else { return };
    match item {
        Item::Ping => talk.ping = Ping::Asked(now.mono_ns),
        Item::Handover => {
            talk.handover.pop_front();
        }
        Item::Numbered(seq) => talk.sent_through = seq,
        Item::Notified(_) => {}
        Item::Upgraded => talk.upgrade = Told::Yes,
    }
}

fn upgraded(upgrade: &Upgrade) -> Report {
    let (note, outcome) = match upgrade {
        Upgrade::None => (&Vec::new(), UpgradeOutcome::Nothing),
        Upgrade::Switching { note, .. } | Upgrade::Trial { note, .. } | Upgrade::Proven { note } => {
            (note, UpgradeOutcome::UnderWay)
        }
        Upgrade::Done { note, outcome } => (note, outcome.clone()),
    };
    Report::Upgraded { note: note.clone(), outcome, build: env!("CARGO_PKG_VERSION").to_owned() }
}

/// A failure in words that a manager with these features knows: one of an older build may come after a start that it could
/// not have asked for.
fn known_to(mut report: Report, features: u64) -> Report {
    match &mut report {
        Report::SpawnFailed { error, .. } => error.stage = error.stage.known_to(features),
        Report::Instance(instance) => {
            if let Life::Failed { error, .. } = &mut instance.life {
                error.stage = error.stage.known_to(features);
            }
        }
        _ => {}
    }
    report
}

/// The pidfd goes along as long as the process is not reaped.
fn numbered_fds(table: &Table, report: &Report) -> Vec<FdRef> {
    match report {
        Report::Spawned { spawn, .. } if table.records.get(spawn).is_some_and(|record| record.living().is_some()) => {
            vec![FdRef::Pidfd(*spawn)]
        }
        _ => Vec::new(),
    }
}

fn handover(table: &Table, talk: &Conversation, part: &Handover) -> (Report, Vec<FdRef>) {
    match part {
        Handover::Welcome => (welcome(table, talk), Vec::new()),
        Handover::Held(name) => (Report::Held { name: name.clone() }, vec![FdRef::Named(name.clone())]),
        Handover::Instance(spawn) => match table.records.get(spawn) {
            Some(record) => {
                let report = Report::Instance(Box::new(record.instance(*spawn, &table.stores)));
                (known_to(report, talk.features), instance_fds(*spawn, record))
            }
            // Records are only dropped for a live manager, and it is live only after the handover.
            None => (Report::Ping, Vec::new()),
        },
        Handover::End { instances, held } => (Report::InventoryEnd { instances: *instances, held: *held }, Vec::new()),
    }
}

fn instance_fds(spawn: SpawnId, record: &Record) -> Vec<FdRef> {
    let pidfd = record.living().map(|_| FdRef::Pidfd(spawn));
    pidfd.into_iter().chain(record.held.iter().map(|role| FdRef::Held(spawn, *role))).collect()
}

fn welcome(table: &Table, talk: &Conversation) -> Report {
    Report::Welcome {
        version: talk.version,
        features: FEATURES | table.features,
        build: env!("CARGO_PKG_VERSION").to_owned(),
        boot: table.boot,
        keeper_pid: table.keeper_pid,
        manager_starts: table.starts,
        last_death: table.last_death,
        last_spawn: table.last_spawn,
        orphans_reaped: table.orphans_reaped,
    }
}
