//! When something has to happen without anybody saying so.
//!
//! With nothing to watch there is no deadline, and the keeper does not wake up.

use super::manager::{self, FRESH};
use super::{Effect, heard, upgrade};
use crate::table::{Instant, Manager, Mode, Ping, Table, Upgrade};
use svd_sys::clock::Now;
use svd_sys::signal::KILL;
use svd_wire::Phase;

const SECOND: u64 = 1_000_000_000;
/// The first manager may have a store to repair.
const FIRST_READY: u64 = 60 * SECOND;
/// Every later one.
const READY: u64 = 30 * SECOND;
/// One from another program, beside which the former one waits to be taken again.
const UPGRADE_READY: u64 = 4 * SECOND;
/// How long the answer to a question may take.
const ANSWER: u64 = 10 * SECOND;
/// Waking this much too late means that the machine or the whole container stood still, the manager with it.
const STOOD_STILL: u64 = 2 * SECOND;

/// The next deadline; `None` when only an event can change anything.
pub fn next_deadline(table: &Table) -> Option<Instant> {
    let manager = match &table.manager {
        Manager::Absent { retry_at } => Some(*retry_at).filter(|_| table.mode == Mode::Serving),
        Manager::Starting => None,
        Manager::Dying { kill_at, .. } => *kill_at,
        Manager::Up { since, talk, .. } => match (talk.phase, talk.ping) {
            (Phase::Ending, _) => None,
            (Phase::Greeting | Phase::Adopting, _) => Some(since.saturating_add(ready_within(table))),
            (Phase::Live, Ping::Answered(_)) => ask_at(table),
            (Phase::Live, Ping::Wanted(at) | Ping::Asked(at)) => Some(at.saturating_add(ANSWER)),
        },
    };
    let mode = match table.mode {
        Mode::Serving => table.stop_by,
        Mode::Stopping { until } | Mode::Ending { until, .. } => Some(until),
    };
    [manager, mode, upgrade::deadline(table)].into_iter().flatten().filter(|at| *at != u64::MAX).min()
}

/// Does what is due.
pub(super) fn tick(table: &mut Table, now: Now) -> Vec<Effect> {
    let passed = |at: Instant| now.mono_ns >= at;
    let mut effects = match table.mode {
        Mode::Serving if table.stop_by.is_some_and(passed) => {
            table.stop_by = None;
            manager::stop_alone(table, "asked to stop, and no manager to do it", now)
        }
        Mode::Stopping { until } if passed(until) => manager::end(table, 1, now),
        Mode::Ending { code, until } if passed(until) => {
            vec![Effect::Say("processes are left that cannot be killed".to_owned()), Effect::Leave(code)]
        }
        Mode::Serving | Mode::Stopping { .. } | Mode::Ending { .. } => Vec::new(),
    };
    effects.extend(upgrade::tick(table, now));
    let within = ready_within(table);
    let ask = ask_at(table);
    match &mut table.manager {
        Manager::Absent { retry_at } if table.mode == Mode::Serving && passed(*retry_at) => {
            effects.extend(manager::start(table));
        }
        Manager::Dying { kill_at: kill_at @ Some(_), .. } if kill_at.is_some_and(passed) => {
            *kill_at = None;
            effects.push(Effect::SignalManager(KILL));
        }
        Manager::Up { since, talk, .. } => match (talk.phase, talk.ping) {
            (Phase::Greeting | Phase::Adopting, _) => {
                let by = since.saturating_add(within);
                if passed(by.saturating_add(STOOD_STILL)) {
                    *since = now.mono_ns;
                } else if passed(by) {
                    effects.extend(manager::abort(table, "did not become ready in time", now));
                }
            }
            (Phase::Live, Ping::Answered(_)) if ask.is_some_and(passed) => talk.ping = Ping::Wanted(now.mono_ns),
            (Phase::Live, Ping::Wanted(at) | Ping::Asked(at)) => {
                let by = at.saturating_add(ANSWER);
                if passed(by.saturating_add(STOOD_STILL)) {
                    talk.ping = Ping::Wanted(now.mono_ns);
                } else if passed(by) {
                    effects.extend(manager::abort(table, "does not answer", now));
                }
            }
            (Phase::Live | Phase::Ending, _) => {}
        },
        Manager::Absent { .. } | Manager::Starting | Manager::Dying { .. } => {}
    }
    effects
}

/// How long a manager may take to become live.
fn ready_within(table: &Table) -> u64 {
    match table.upgrade {
        Upgrade::Switching { .. } => UPGRADE_READY,
        _ if table.starts <= 1 => FIRST_READY,
        Upgrade::None | Upgrade::Trial { .. } | Upgrade::Proven { .. } | Upgrade::Done { .. } => READY,
    }
}

/// When a live manager is to be asked: always while it is watched, and while a report waits for its acknowledgement.
fn ask_at(table: &Table) -> Option<Instant> {
    let Manager::Up { talk, .. } = &table.manager else { return None };
    let waiting = !table.pending.is_empty();
    if !talk.watch && !waiting {
        return None;
    }
    let since = if talk.watch { 0 } else { table.pending_since };
    Some(heard(talk.ping).max(since).saturating_add(FRESH))
}
