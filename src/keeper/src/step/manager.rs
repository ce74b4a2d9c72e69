//! The life of the manager process: started, live, told to die, dead, started again.

use super::requests::STOP_WITHOUT_MANAGER;
use super::upgrade::By;
use super::{Effect, Start, heard, is_stop, upgrade};
use crate::table::{Conversation, Manager, Mode, Ping, Table, Told};
use svd_sys::clock::Now;
use svd_sys::signal::{ABRT, CONT, KILL, TERM};
use svd_wire::{Exit, PROTOCOL_MIN, Phase, Report};

const SECOND: u64 = 1_000_000_000;
/// A manager that was live for longer than this starts the back-off anew.
const LONG_LIFE: u64 = 60 * SECOND;
/// A manager that was live for longer than this has done its work, and what killed it is not what it finds at its start:
/// the next one waits [`FIRST_BACKOFF`] and not longer. While none lives, output stands still and nobody is answered.
const SHORT_LIFE: u64 = SECOND / 10;
/// The second quick restart waits this long, each further one twice as long.
const FIRST_BACKOFF: u64 = SECOND / 10;
/// No restart waits longer.
const LAST_BACKOFF: u64 = 30 * SECOND;
/// So many managers in a row that crashed, and the next one is started in safe mode.
pub(super) const CRASHES: u32 = 5;
/// So many managers in a row that did not become live, and the keeper says that it has none, or gives up where it was told to.
const MAX_FAILURES: u32 = 10;
/// How long main processes have when the keeper stops by itself.
const STOP_GRACE: u64 = 10 * SECOND;
/// How long the final KILL may take.
const END_GRACE: u64 = 10 * SECOND;
/// From ABRT, which leaves a core to look at, to KILL.
const ABORT_GRACE: u64 = SECOND;
/// From the end of the conversation to KILL.
const LAST_WORDS: u64 = 2 * SECOND;
/// A sign of life is good for so long.
pub(super) const FRESH: u64 = 5 * SECOND;

/// The manager's process id, while it is not reaped.
pub fn pid(table: &Table) -> Option<i32> {
    match table.manager {
        Manager::Up { pid, .. } | Manager::Dying { pid, .. } => Some(pid),
        Manager::Absent { .. } | Manager::Starting => None,
    }
}

pub(super) fn start(table: &mut Table) -> Vec<Effect> {
    table.manager = Manager::Starting;
    upgrade::manager_starts(table);
    table.starts = table.starts.saturating_add(1);
    vec![Effect::StartManager(if table.crashes >= CRASHES { Start::Safe } else { Start::Normal })]
}

pub(super) fn started(table: &mut Table, pid: i32, now: Now) -> Vec<Effect> {
    let talk = Box::new(Conversation {
        phase: Phase::Greeting,
        handover: std::collections::VecDeque::new(),
        sent_through: 0,
        ping: Ping::Answered(now.mono_ns),
        watch: false,
        version: PROTOCOL_MIN,
        features: 0,
        upgrade: Told::Yes,
    });
    table.manager = Manager::Up { pid, since: now.mono_ns, live_since: None, talk };
    Vec::new()
}

pub(super) fn not_started(table: &mut Table, now: Now) -> Vec<Effect> {
    match upgrade::manager_gone(table, None, By::Itself) {
        Some(effects) => next_at_once(table, effects, now),
        None => {
            table.crashes = table.crashes.saturating_add(1);
            failed(table, None, now)
        }
    }
}

/// Part of an upgrade, and no death to be counted.
fn next_at_once(table: &mut Table, effects: Vec<Effect>, now: Now) -> Vec<Effect> {
    table.manager = Manager::Absent { retry_at: now.mono_ns };
    effects
}

pub(super) fn died(table: &mut Table, exit: Exit, now: Now) -> Vec<Effect> {
    let live_since = match table.manager {
        Manager::Up { live_since, .. } | Manager::Dying { live_since, .. } => live_since,
        Manager::Absent { .. } | Manager::Starting => None,
    };
    // One that is killed while all was well with it is somebody else's doing: a person, or the kernel for want of memory.
    // That its socket has closed may be seen before its end is; where the keeper itself has killed it no KILL is due any more.
    let is_alone = matches!(table.manager, Manager::Up { .. } | Manager::Dying { kill_at: Some(_), .. });
    let by = match exit {
        Exit::Signal { signal: KILL, .. } if is_alone => By::Others,
        Exit::Signal { .. } | Exit::Code(_) | Exit::Unknown => By::Itself,
    };
    table.last_death = Some(exit);
    let stop = |report: &Report| matches!(report, Report::SignalReceived { signal, .. } if is_stop(*signal));
    if table.mode == Mode::Serving && table.pending.iter().any(stop) {
        table.stop_by.get_or_insert(now.mono_ns.saturating_add(STOP_WITHOUT_MANAGER));
    }
    let mut effects = vec![Effect::CloseLink];
    if table.mode == Mode::Serving && !table.ever_live && table.records.is_empty() {
        // It could not even begin, as with a config error, and has said why. There is nothing to keep.
        effects.extend(end(table, exit_code(exit), now));
    } else if table.mode == Mode::Serving
        && let Some(more) = upgrade::manager_gone(table, Some(exit), by)
    {
        effects.extend(next_at_once(table, more, now));
    } else if table.mode == Mode::Serving {
        effects.push(Effect::Say(format!("the manager ended ({}); its processes go on", describe(exit))));
        if by == By::Itself {
            table.crashes = table.crashes.saturating_add(1);
            // One that becomes live and crashes, in safe mode too, keeps nothing running either.
            if table.crashes > CRASHES && live_since.is_some() {
                table.failures = table.failures.saturating_add(1);
            }
        }
        effects.extend(failed(table, live_since, now));
    }
    if table.mode != Mode::Serving {
        table.manager = Manager::Absent { retry_at: u64::MAX };
    }
    effects
}

/// A manager is gone or did not come to be: when is the next one started?
fn failed(table: &mut Table, live_since: Option<u64>, now: Now) -> Vec<Effect> {
    let lived = live_since.map(|since| now.mono_ns.saturating_sub(since));
    match lived {
        Some(lived) if lived > LONG_LIFE => {
            table.quick_deaths = 0;
            table.crashes = 0;
            table.failures = 0;
        }
        Some(lived) if lived > SHORT_LIFE => table.quick_deaths = table.quick_deaths.min(1),
        Some(_) => {}
        None => table.failures = table.failures.saturating_add(1),
    }
    let doublings = table.quick_deaths.saturating_sub(1).min(16);
    let wait = match table.quick_deaths {
        0 => 0,
        _ => FIRST_BACKOFF.saturating_mul(1_u64.checked_shl(doublings).unwrap_or(1)).min(LAST_BACKOFF),
    };
    table.quick_deaths = table.quick_deaths.saturating_add(1);
    table.manager = Manager::Absent { retry_at: now.mono_ns.saturating_add(wait) };
    if table.crashes == CRASHES {
        return vec![Effect::Say(format!(
            "{CRASHES} managers in a row have crashed: the next one is started in safe mode, in which it keeps what runs and starts nothing"
        ))];
    }
    if table.failures < MAX_FAILURES || table.mode != Mode::Serving {
        return Vec::new();
    }
    if table.exit_without_manager {
        return stop_alone(table, "no manager can be kept running", now);
    }
    if table.failures == MAX_FAILURES {
        return vec![Effect::Say(
            "no manager can be kept running: the processes go on without one, and another one is tried every 30 s"
                .to_owned(),
        )];
    }
    Vec::new()
}

/// Kills the manager for what it did; the next one is started when it is reaped.
pub(super) fn kill(table: &mut Table, why: &str) -> Vec<Effect> {
    let Manager::Up { pid, live_since, .. } = table.manager else { return Vec::new() };
    table.manager = Manager::Dying { pid, live_since, kill_at: None };
    upgrade::manager_erred(table, &format!("it {why}"));
    vec![Effect::Say(format!("the manager {why}")), Effect::CloseLink, Effect::SignalManager(KILL)]
}

/// The manager does not talk any more: it is ending, or has just ended. It may finish its last words; if it does not end
/// by itself it is made to.
pub(super) fn hung_up(table: &mut Table, now: Now) -> Vec<Effect> {
    let Manager::Up { pid, live_since, .. } = table.manager else { return Vec::new() };
    let kill_at = Some(now.mono_ns.saturating_add(LAST_WORDS));
    table.manager = Manager::Dying { pid, live_since, kill_at };
    vec![Effect::CloseLink]
}

/// Ends a manager that does not answer: ABRT first, KILL a second later.
pub(super) fn abort(table: &mut Table, why: &str, now: Now) -> Vec<Effect> {
    let Manager::Up { pid, live_since, .. } = table.manager else { return Vec::new() };
    table.manager = Manager::Dying { pid, live_since, kill_at: Some(now.mono_ns.saturating_add(ABORT_GRACE)) };
    upgrade::manager_erred(table, &format!("it {why}"));
    vec![Effect::Say(format!("the manager {why}; it is replaced")), Effect::CloseLink, Effect::SignalManager(ABRT)]
}

/// Asks whether the manager is there, unless it was heard of a moment ago or was asked already.
pub(super) fn ask_unless_heard(table: &mut Table, now: Now) {
    let Some(talk) = table.talk() else { return };
    if talk.phase == Phase::Live
        && matches!(talk.ping, Ping::Answered(_))
        && now.mono_ns.saturating_sub(heard(talk.ping)) >= FRESH
    {
        // Counted from now: the question may wait for a socket that the manager does not read.
        talk.ping = Ping::Wanted(now.mono_ns);
    }
}

/// Shuts the tree down without a manager.
pub(super) fn stop_alone(table: &mut Table, why: &str, now: Now) -> Vec<Effect> {
    let mut effects = vec![Effect::Say(format!("{why}: stopping all processes"))];
    if let Some(pid) = pid(table) {
        table.manager = Manager::Dying { pid, live_since: None, kill_at: None };
        effects.extend([Effect::CloseLink, Effect::SignalManager(KILL)]);
    } else {
        table.manager = Manager::Absent { retry_at: u64::MAX };
    }
    if table.by_pid.is_empty() {
        effects.extend(end(table, 1, now));
        return effects;
    }
    table.mode = Mode::Stopping { until: now.mono_ns.saturating_add(STOP_GRACE) };
    for spawn in table.by_pid.values() {
        // CONT, because TERM waits for a stopped process to go on.
        effects.extend([Effect::Signal(*spawn, TERM), Effect::Signal(*spawn, CONT)]);
    }
    effects
}

/// Kills whatever is left and leaves with this code.
pub(super) fn end(table: &mut Table, code: u8, now: Now) -> Vec<Effect> {
    if matches!(table.mode, Mode::Ending { .. }) {
        return Vec::new();
    }
    table.mode = Mode::Ending { code, until: now.mono_ns.saturating_add(END_GRACE) };
    if let Some(talk) = table.talk() {
        talk.phase = Phase::Ending;
    }
    // Perhaps nobody is there, and then no signal will tell.
    vec![Effect::KillEverything, Effect::Reap]
}

/// 128+n for a signal, as shells have it.
pub fn exit_code(exit: Exit) -> u8 {
    match exit {
        Exit::Code(code) => code,
        Exit::Signal { signal, .. } => u8::try_from(signal.saturating_add(128)).unwrap_or(u8::MAX),
        Exit::Unknown => 1,
    }
}

pub(super) fn describe(exit: Exit) -> String {
    match exit {
        Exit::Code(code) => format!("exit code {code}"),
        Exit::Signal { signal, .. } => format!("signal {}", svd_sys::signal::name(signal)),
        Exit::Unknown => "status unknown".to_owned(),
    }
}
