//! What the manager asks for, and what the keeper is sent by signal.

use super::{Effect, manager, number, record, refuse, report, upgrade};
use crate::table::{Conversation, Forget, Handover, Manager, Mode, Ping, Table, Told, stamp};
use svd_sys::clock::Now;
use svd_wire::{
    Life, MAX_SPAWNS, PROTOCOL_MAX, PROTOCOL_MIN, Phase, Report, Request, Rusage, SignalSent, SpawnId, SpawnSpec,
    permitted,
};

const EAGAIN: i32 = 11;
const EINVAL: i32 = 22;
/// The most descriptors held by name: a listening socket for each slot of each address, and what the manager keeps.
const MAX_NAMED: usize = 8192;
/// The most reports that may wait for an acknowledgement: all of a full table, and then some.
const MAX_PENDING: usize = MAX_SPAWNS * 4;
/// The most signals to the keeper that wait for an acknowledgement.
const MAX_SIGNALS: usize = 64;

/// How long a stop that was asked for by signal waits for a manager to become live.
pub(super) const STOP_WITHOUT_MANAGER: u64 = 15_000_000_000;

pub(super) fn request(table: &mut Table, request: Request, fds: usize, now: Now) -> Vec<Effect> {
    let Some(phase) = table.talk().map(|talk| talk.phase) else { return Vec::new() };
    if phase == Phase::Ending {
        // It has said its last word; what it said before it noticed does not matter.
        return Vec::new();
    }
    if !permitted(phase, &request) || fds != expected_fds(&request) {
        return manager::kill(table, "asked for what is not allowed now");
    }
    match request {
        Request::Hello { min, max, features, .. } => hello(table, min, max, features),
        Request::Ready => ready(table, now),
        Request::Spawn { spawn, spec } => spawn_requested(table, spawn, spec, now),
        // The caller has read the memfd and asks as if it had come in the message.
        Request::SpawnMemfd { .. } => manager::kill(table, "sent a spec that cannot be read"),
        Request::Signal { spawn, signal } => {
            let at = stamp(now);
            match table.records.get_mut(&spawn) {
                Some(record) if record.living().is_some() => {
                    record.last_signal = Some(SignalSent { signal, at });
                    vec![Effect::Signal(spawn, signal)]
                }
                _ => Vec::new(),
            }
        }
        Request::Ack { through } => ack(table, through, now),
        Request::Annotate { spawn, note } => {
            if let Some(record) = table.records.get_mut(&spawn) {
                record.note = note;
            }
            Vec::new()
        }
        Request::Release { spawn, role } => match table.records.get_mut(&spawn) {
            Some(record) => {
                record.held.retain(|held| *held != role);
                vec![Effect::Close(spawn, role)]
            }
            None => Vec::new(),
        },
        Request::Forget { spawn } => {
            if let Some(record) = table.records.get_mut(&spawn) {
                record.forget = Forget::WhenDone;
            }
            forget_if_done(table, spawn).into_iter().collect()
        }
        Request::Hold { name } => {
            if table.named.len() >= MAX_NAMED && !table.named.contains(&name) {
                return manager::kill(table, "holds too many descriptors by name");
            }
            table.named.insert(name.clone());
            vec![Effect::Hold(name)]
        }
        Request::Drop { name } => {
            table.named.remove(&name);
            vec![Effect::Drop(name)]
        }
        Request::Watch { on } => {
            if let Some(talk) = table.talk() {
                talk.watch = on;
            }
            Vec::new()
        }
        Request::Pong => {
            if let Some(talk) = table.talk() {
                talk.ping = Ping::Answered(now.mono_ns);
            }
            upgrade::manager_answered(table);
            Vec::new()
        }
        Request::TellHost { state, attach } => vec![Effect::TellHost(state, attach)],
        Request::Exit { code } => manager::end(table, code, now),
        Request::Recall { spawn } => {
            if !table.records.contains_key(&spawn) {
                return Vec::new();
            }
            table.recalled.insert(spawn);
            vec![Effect::ReadNotify(spawn)]
        }
        Request::Empty { store } => vec![Effect::EmptyStore(store)],
        Request::UpgradeManager { note } => upgrade::manager_requested(table, note, now),
        Request::UpgradeKeeper { note } => upgrade::keeper_requested(table, note),
        Request::WithoutManager { exit } => {
            table.exit_without_manager = exit;
            Vec::new()
        }
        Request::UpgradeSeen => {
            upgrade::seen(table);
            Vec::new()
        }
    }
}

fn expected_fds(request: &Request) -> usize {
    match request {
        Request::Spawn { spec, .. } => spec.fds.len(),
        Request::Hold { .. } | Request::UpgradeManager { .. } => 1,
        _ => 0,
    }
}

fn hello(table: &mut Table, min: u16, max: u16, features: u64) -> Vec<Effect> {
    if min > PROTOCOL_MAX || max < PROTOCOL_MIN {
        return manager::kill(table, "speaks no version of the protocol that the keeper speaks");
    }
    let mut handover: std::collections::VecDeque<Handover> = [Handover::Welcome].into();
    handover.extend(table.named.iter().cloned().map(Handover::Held));
    handover.extend(table.records.keys().copied().map(Handover::Instance));
    handover.push_back(Handover::End {
        instances: u32::try_from(table.records.len()).unwrap_or(u32::MAX),
        held: u32::try_from(table.named.len()).unwrap_or(u32::MAX),
    });
    if let Some(talk) = table.talk() {
        talk.phase = Phase::Adopting;
        talk.handover = handover;
        talk.version = max.min(PROTOCOL_MAX);
        talk.features = features;
    }
    // The inventory tells what the services have said so far.
    table.dirty.clear();
    table.recalled.clear();
    Vec::new()
}

fn ready(table: &mut Table, now: Now) -> Vec<Effect> {
    let sent_through = table.acked_through();
    let Manager::Up { live_since, talk, .. } = &mut table.manager else { return Vec::new() };
    if !talk.handover.is_empty() {
        return manager::kill(table, "was ready before it knew everything");
    }
    *live_since = Some(now.mono_ns);
    **talk = Conversation {
        phase: Phase::Live,
        handover: std::mem::take(&mut talk.handover),
        sent_through,
        ping: Ping::Answered(now.mono_ns),
        watch: false,
        version: talk.version,
        features: talk.features,
        upgrade: Told::No,
    };
    table.pending_since = now.mono_ns;
    table.ever_live = true;
    if table.crashes < manager::CRASHES {
        table.failures = 0;
    }
    table.stop_by = None;
    upgrade::manager_live(table, now)
}

fn spawn_requested(table: &mut Table, spawn: SpawnId, spec: Box<SpawnSpec>, now: Now) -> Vec<Effect> {
    if table.pending.len() >= MAX_PENDING {
        return manager::kill(table, "acknowledges nothing");
    }
    if let Some(known) = table.records.get(&spawn) {
        let life = known.life;
        answer_again(table, spawn, life, now);
        return Vec::new();
    }
    if spec.check().is_err() {
        refuse(table, spawn, EINVAL, now);
        return Vec::new();
    }
    if table.records.len() >= MAX_SPAWNS {
        refuse(table, spawn, EAGAIN, now);
        return Vec::new();
    }
    table.records.insert(spawn, record(&spec, now));
    table.last_spawn = table.last_spawn.max(spawn);
    vec![Effect::Fork(spawn, spec)]
}

/// A repeated spawn is answered as the first one was.
fn answer_again(table: &mut Table, spawn: SpawnId, life: Life, now: Now) {
    match life {
        // The answer is still to come.
        Life::Forked { .. } => {}
        Life::Running { pid, at } => report(table, spawn, now, |seq| Report::Spawned { seq, spawn, pid, at }),
        Life::Failed { error, at } => report(table, spawn, now, |seq| Report::SpawnFailed { seq, spawn, error, at }),
        Life::Exited { pid, exit, before_exec, started, at } => {
            if !before_exec {
                report(table, spawn, now, |seq| Report::Spawned { seq, spawn, pid, at: started });
            }
            let rusage = Rusage::default();
            report(table, spawn, now, |seq| Report::Exited { seq, spawn, pid, exit, before_exec, rusage, started, at });
        }
    }
}

fn ack(table: &mut Table, through: u64, now: Now) -> Vec<Effect> {
    // A manager may have stored a report just before it died, so its successor may acknowledge it without being told.
    if through > table.last_seq {
        return manager::kill(table, "acknowledged what was never reported");
    }
    if let Some(talk) = table.talk() {
        talk.sent_through = talk.sent_through.max(through);
    }
    let mut effects = Vec::new();
    while table.acked_through() < through {
        let Some(told) = table.pending.pop_front() else { break };
        let spawn = match told {
            Report::Spawned { spawn, .. } | Report::SpawnFailed { spawn, .. } | Report::Exited { spawn, .. } => spawn,
            _ => continue,
        };
        effects.extend(forget_if_done(table, spawn));
    }
    table.pending_since = now.mono_ns;
    effects
}

/// Drops a record that is not needed any more, once its process has ended and its reports are acknowledged.
pub(super) fn forget_if_done(table: &mut Table, spawn: SpawnId) -> Option<Effect> {
    let record = table.records.get(&spawn)?;
    let acked = record.last_seq <= table.acked_through();
    if record.forget == Forget::Keep || record.living().is_some() || !acked {
        return None;
    }
    table.records.remove(&spawn);
    table.dirty.remove(&spawn);
    table.recalled.remove(&spawn);
    Some(Effect::CloseAll(spawn))
}

/// Whether this signal asks for a stop of everything.
pub fn is_stop(signal: i32) -> bool {
    use svd_sys::signal::{INT, QUIT, TERM};
    [TERM, INT, QUIT, svd_sys::signal::rtmin().saturating_add(3)].contains(&signal)
}

/// What the keeper does with a signal to itself:
///
/// | signal                            | effect                                                    |
/// |-----------------------------------|-----------------------------------------------------------|
/// | TERM, INT, QUIT, RTMIN+3          | told to the manager, which stops everything; without a live manager within 15 s the keeper does it |
/// | PWR                               | as TERM                                                   |
/// | HUP, USR1, USR2                   | told to the manager                                       |
/// | CHLD                              | children are reaped (not here)                            |
/// | KILL, STOP                        | the kernel's; as PID 1 only from outside its namespace    |
/// | all others                        | nothing                                                   |
pub(super) fn signal(table: &mut Table, signal: i32, now: Now) -> Vec<Effect> {
    use svd_sys::signal::{HUP, PWR, TERM, USR1, USR2};
    let signal = if signal == PWR { TERM } else { signal };
    if !is_stop(signal) && ![HUP, USR1, USR2].contains(&signal) {
        return Vec::new();
    }
    if matches!(table.mode, Mode::Ending { .. } | Mode::Stopping { .. }) {
        return Vec::new();
    }
    let waiting = table.pending.iter().filter(|report| matches!(report, Report::SignalReceived { .. })).count();
    if waiting < MAX_SIGNALS {
        number(table, now, |seq| Report::SignalReceived { seq, signal });
    }
    if is_stop(signal) && !table.is_live() {
        table.stop_by.get_or_insert(now.mono_ns.saturating_add(STOP_WITHOUT_MANAGER));
    }
    Vec::new()
}
