//! An upgrade of the manager or of the keeper itself: [`Upgrade`] has the states and what leads from one to the next.

use super::Effect;
use super::manager::{self, describe};
use crate::entry::TRIAL_PASSED;
use crate::table::{Manager, Mode, Ping, Table, Told, Turn, Upgrade};
use svd_sys::clock::Now;
use svd_wire::{Exit, UpgradeOutcome};

/// How long the program that the keeper is to become may take to read its state.
const TRIAL: u64 = 5_000_000_000;
/// So often the new program is tried again where somebody else has killed its manager: perhaps the kernel, for want of memory.
const TRIES: u32 = 3;
/// How long a manager may take to end that has asked for another one in its place.
const LAST_WORDS: u64 = 2_000_000_000;

/// Whose doing the end of a manager was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum By {
    /// Its own, or the keeper's for what it did.
    Itself,
    /// Somebody else has killed it.
    Others,
}

/// Managers are to be run from the program that came with the request.
pub(super) fn manager_requested(table: &mut Table, note: Vec<u8>, now: Now) -> Vec<Effect> {
    if is_under_way(table) {
        return manager::kill(table, "asked for an upgrade during another one");
    }
    let Manager::Up { pid, live_since, .. } = table.manager else { return Vec::new() };
    table.upgrade = Upgrade::Switching { note, turn: Turn::Old, killed: 0, why: None };
    // What crashed may be mended in it.
    table.crashes = 0;
    table.failures = 0;
    table.manager = Manager::Dying { pid, live_since, kill_at: Some(now.mono_ns.saturating_add(LAST_WORDS)) };
    vec![Effect::TakeProgram, Effect::CloseLink]
}

/// The keeper is to become the program that managers are run from.
pub(super) fn keeper_requested(table: &mut Table, note: Vec<u8>) -> Vec<Effect> {
    if is_under_way(table) {
        return manager::kill(table, "asked for an upgrade during another one");
    }
    table.upgrade = Upgrade::Trial { note, pid: None, kill_at: None };
    vec![Effect::TryProgram]
}

/// The outcome is stored.
pub(super) fn seen(table: &mut Table) {
    if matches!(table.upgrade, Upgrade::Done { .. }) {
        table.upgrade = Upgrade::None;
    }
}

/// A manager is being started.
pub(super) fn manager_starts(table: &mut Table) {
    if let Upgrade::Switching { turn, .. } = &mut table.upgrade {
        *turn = Turn::New;
    }
}

/// A manager did something wrong, before its end is known.
pub(super) fn manager_erred(table: &mut Table, what: &str) {
    if let Upgrade::Switching { turn: Turn::New | Turn::Probation, why, .. } = &mut table.upgrade {
        why.get_or_insert_with(|| what.to_owned());
    }
}

/// A manager has ended, or could not be started: `None` where that is of no concern to an upgrade, else what is to be done; the
/// next manager is due at once.
pub(super) fn manager_gone(table: &mut Table, exit: Option<Exit>, by: By) -> Option<Vec<Effect>> {
    let Upgrade::Switching { note, turn, killed, why } = &mut table.upgrade else { return None };
    if *turn == Turn::Old {
        return Some(Vec::new());
    }
    if by == By::Others && *killed < TRIES {
        *killed = killed.saturating_add(1);
        *turn = Turn::New;
        return Some(Vec::new());
    }
    let note = std::mem::take(note);
    let ended =
        || exit.map_or_else(|| "it could not be started".to_owned(), |exit| format!("it ended ({})", describe(exit)));
    let why = why.take().unwrap_or_else(|| format!("{} before it was ready to work", ended()));
    let say = format!("the new manager was refused, the former one is run again: {why}");
    done(table, note, UpgradeOutcome::ManagerRefused { why });
    Some(vec![Effect::Say(say), Effect::TakeProgramBack])
}

/// A manager is live. One from another program has to answer a question before it counts.
pub(super) fn manager_live(table: &mut Table, now: Now) -> Vec<Effect> {
    if let Upgrade::Switching { turn, .. } = &mut table.upgrade {
        *turn = Turn::Probation;
        if let Some(talk) = table.talk() {
            talk.ping = Ping::Wanted(now.mono_ns);
        }
    }
    become_if_proven(table)
}

/// A manager has answered a question.
pub(super) fn manager_answered(table: &mut Table) {
    if let Upgrade::Switching { note, turn: Turn::Probation, .. } = &mut table.upgrade {
        let note = std::mem::take(note);
        done(table, note, UpgradeOutcome::ManagerRuns);
    }
}

/// The trial runs, or could not be started.
pub(super) fn trial_started(table: &mut Table, started: Result<i32, i32>, now: Now) {
    let Upgrade::Trial { note, pid, kill_at } = &mut table.upgrade else { return };
    match started {
        Ok(number) => {
            *pid = Some(number);
            *kill_at = Some(now.mono_ns.saturating_add(TRIAL));
        }
        Err(errno) => {
            let note = std::mem::take(note);
            let why = format!("its trial could not be started: {}", std::io::Error::from_raw_os_error(errno));
            done(table, note, UpgradeOutcome::KeeperRefused { why });
        }
    }
}

/// Whether this is the process of the trial.
pub(super) fn is_trial(table: &Table, reaped: i32) -> bool {
    matches!(table.upgrade, Upgrade::Trial { pid: Some(pid), .. } if pid == reaped)
}

/// The trial has ended.
pub(super) fn trial_ended(table: &mut Table, exit: Exit) -> Vec<Effect> {
    let Upgrade::Trial { note, kill_at, .. } = &mut table.upgrade else { return Vec::new() };
    let note = std::mem::take(note);
    let mut effects = vec![Effect::ForgetTrial];
    if exit == Exit::Code(TRIAL_PASSED) {
        table.upgrade = Upgrade::Proven { note };
        effects.extend(become_if_proven(table));
        return effects;
    }
    let why = match kill_at {
        Some(_) => format!("it cannot take over what this keeper knows ({})", describe(exit)),
        None => "it did not say in time whether it can take over what this keeper knows".to_owned(),
    };
    done(table, note, UpgradeOutcome::KeeperRefused { why });
    effects
}

/// Ends a trial that takes too long.
pub(super) fn tick(table: &mut Table, now: Now) -> Option<Effect> {
    let Upgrade::Trial { kill_at, .. } = &mut table.upgrade else { return None };
    kill_at.take_if(|at| now.mono_ns >= *at).map(|_| Effect::KillTrial)
}

/// When [`tick`] has something to do.
pub(super) fn deadline(table: &Table) -> Option<u64> {
    match table.upgrade {
        Upgrade::Trial { kill_at, .. } => kill_at,
        Upgrade::None | Upgrade::Switching { .. } | Upgrade::Proven { .. } | Upgrade::Done { .. } => None,
    }
}

/// The program could not be become; this one goes on.
pub(super) fn not_become(table: &mut Table, why: String) -> Vec<Effect> {
    let Upgrade::Proven { note } = &mut table.upgrade else { return Vec::new() };
    let note = std::mem::take(note);
    done(table, note, UpgradeOutcome::KeeperRefused { why });
    Vec::new()
}

fn become_if_proven(table: &Table) -> Vec<Effect> {
    let ready = matches!(table.upgrade, Upgrade::Proven { .. }) && table.is_live() && table.mode == Mode::Serving;
    if ready { vec![Effect::Become] } else { Vec::new() }
}

fn is_under_way(table: &Table) -> bool {
    match table.upgrade {
        Upgrade::Switching { .. } | Upgrade::Trial { .. } | Upgrade::Proven { .. } => true,
        Upgrade::None | Upgrade::Done { .. } => false,
    }
}

fn done(table: &mut Table, note: Vec<u8>, outcome: UpgradeOutcome) {
    table.upgrade = Upgrade::Done { note, outcome };
    if let Some(talk) = table.talk() {
        talk.upgrade = Told::No;
    }
}
