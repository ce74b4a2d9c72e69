//! The keeper's decisions: (table, input, now) to effects. No system call, no clock, no waiting.
//!
//! Life of a spawn, where "report" numbers and keeps a report until it is acknowledged:
//!
//! ```text
//!            Forked --exec seen: report Spawned--> Running --reaped: report Exited--> Exited
//!              |--reaped, no exec: report Exited before_exec------------------------> Exited
//!              |--stage failed, then reaped: report SpawnFailed---------------------> Failed
//! (no process) |--fork failed: report SpawnFailed-----------------------------------> Failed
//! ```
//!
//! A service may name another one of its processes as its main process: see `step/successor.rs`.
//!
//! A report of a failed stage waits for the reap, so that whoever hears of it knows that no process is left. Spawned
//! comes before Exited, because the caller reads the status pipe to its end before it reaps.

mod deadlines;
mod manager;
mod requests;
mod successor;
mod upgrade;

pub use deadlines::next_deadline;
pub use manager::{exit_code, pid as manager_pid};
pub use requests::is_stop;

use crate::notify::is_news;
use crate::table::{Forget, Mode, Pace, Ping, Record, Table, stamp};
use svd_sys::clock::Now;
use svd_wire::{Exit, FdRole, Life, NotifyState, Report, Request, Rusage, SpawnError, SpawnId, SpawnSpec, Stage};

/// Something that happened.
#[derive(Debug)]
pub enum Input {
    /// A manager was forked.
    ManagerStarted {
        /// Its process id.
        pid: i32,
    },
    /// It could not be.
    ManagerNotStarted,
    /// The manager asks for something.
    Request {
        /// What.
        request: Request,
        /// How many descriptors came with it.
        fds: usize,
    },
    /// The manager asks to start something, but its descriptors did not all arrive: the keeper has too many open.
    SpawnWithoutFds {
        /// The spawn.
        spawn: SpawnId,
    },
    /// The manager sent what is no request.
    Malformed,
    /// The manager closed its socket.
    HungUp,
    /// A manager that was forked did not become its program; it is about to end.
    ManagerNotRun {
        /// Why, for people.
        why: String,
    },
    /// The trial of the program that the keeper is to become was forked: its process id, or the errno.
    TrialStarted(Result<i32, i32>),
    /// The keeper could not become the program.
    NotBecome {
        /// Why, for people.
        why: String,
    },
    /// A spawn was forked.
    Forked {
        /// The spawn.
        spawn: SpawnId,
        /// Its process id.
        pid: i32,
    },
    /// A spawn could not be forked.
    NotForked {
        /// The spawn.
        spawn: SpawnId,
        /// Why.
        errno: i32,
    },
    /// A spawn has become its program.
    Execed {
        /// The spawn.
        spawn: SpawnId,
    },
    /// A spawn failed before exec; its process is about to end.
    StageFailed {
        /// The spawn.
        spawn: SpawnId,
        /// Where and why.
        error: SpawnError,
    },
    /// A child was reaped.
    Reaped {
        /// The process id it had.
        pid: i32,
        /// How it ended.
        exit: Exit,
        /// What it used.
        rusage: Rusage,
    },
    /// All zombies are reaped; children are left.
    ChildrenLeft,
    /// There is no child at all.
    NoChildren,
    /// The keeper was sent a signal.
    Signal(i32),
    /// A service's notify state.
    Notified {
        /// The spawn.
        spawn: SpawnId,
        /// What it has said so far.
        state: Box<NotifyState>,
    },
    /// A service has named another one of its processes as its main process.
    MainNamed {
        /// The spawn.
        spawn: SpawnId,
        /// The process.
        pid: i32,
    },
    /// The main process that a service has named has ended, and it was not ours to reap.
    MainEnded {
        /// The spawn.
        spawn: SpawnId,
        /// The process id it had.
        pid: i32,
    },
    /// Somebody connected to the control socket.
    Knock,
    /// Deadlines may have passed.
    Tick,
}

/// How a manager is started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// As usual.
    Normal,
    /// In safe mode: those before it have crashed.
    Safe,
}

/// Something to do.
#[derive(Debug, PartialEq, Eq)]
pub enum Effect {
    /// Fork a manager; answered by `ManagerStarted` or `ManagerNotStarted`.
    StartManager(Start),
    /// Send the manager a signal.
    SignalManager(i32),
    /// Close the socket to the manager.
    CloseLink,
    /// Fork a spawn with the descriptors of the request; answered by `Forked` or `NotForked`.
    Fork(SpawnId, Box<SpawnSpec>),
    /// Send a signal to a living main process.
    Signal(SpawnId, i32),
    /// Close a held descriptor.
    Close(SpawnId, FdRole),
    /// Close the pidfd and status pipe of a spawn that was reaped.
    CloseProcess(SpawnId),
    /// The process that was started has ended, and the one that it has named goes on: its pidfd takes the place.
    Succeed(SpawnId),
    /// Read what lies in its notify socket.
    ReadNotify(SpawnId),
    /// Close all descriptors of this store.
    EmptyStore(String),
    /// Close all that is held for a spawn.
    CloseAll(SpawnId),
    /// Keep the descriptor of the request under this name.
    Hold(String),
    /// Close the descriptor of this name.
    Drop(String),
    /// Tell the service manager above something, with a held descriptor where one is named.
    TellHost(String, Option<String>),
    /// Run managers from the program that came with the request; keep the former one.
    TakeProgram,
    /// Run managers from the former program again.
    TakeProgramBack,
    /// Have the program that managers are run from read the state, in a process of its own; answered by `TrialStarted`.
    TryProgram,
    /// Send KILL to that process.
    KillTrial,
    /// That process was reaped.
    ForgetTrial,
    /// Become that program when all else of this turn is done; answered by `NotBecome` or not at all.
    Become,
    /// Send KILL to everything below the keeper.
    KillEverything,
    /// Look for zombies.
    Reap,
    /// Say a line on standard error.
    Say(String),
    /// Leave with this exit code.
    Leave(u8),
}

/// Takes one input in.
pub fn step(table: &mut Table, input: Input, now: Now) -> Vec<Effect> {
    match input {
        Input::ManagerStarted { pid } => manager::started(table, pid, now),
        Input::ManagerNotStarted => manager::not_started(table, now),
        Input::Request { request, fds } => requests::request(table, request, fds, now),
        Input::SpawnWithoutFds { spawn } => {
            const EMFILE: i32 = 24;
            refuse(table, spawn, EMFILE, now);
            Vec::new()
        }
        Input::Malformed => manager::kill(table, "sent a message that is not allowed"),
        Input::HungUp => manager::hung_up(table, now),
        Input::ManagerNotRun { why } => {
            upgrade::manager_erred(table, &why);
            vec![Effect::Say(why)]
        }
        Input::TrialStarted(started) => {
            upgrade::trial_started(table, started, now);
            Vec::new()
        }
        Input::NotBecome { why } => upgrade::not_become(table, why),
        Input::Forked { spawn, pid } => {
            let at = stamp(now);
            if let Some(record) = table.records.get_mut(&spawn) {
                record.life = Life::Forked { pid, at };
                table.by_pid.insert(pid, spawn);
            }
            Vec::new()
        }
        Input::NotForked { spawn, errno } => {
            fail(table, spawn, SpawnError { stage: Stage::Fork, errno }, now);
            vec![Effect::CloseAll(spawn)]
        }
        Input::Execed { spawn } => {
            if let Some(record) = table.records.get_mut(&spawn)
                && let Life::Forked { pid, at } = record.life
            {
                record.life = Life::Running { pid, at };
                report(table, spawn, now, |seq| Report::Spawned { seq, spawn, pid, at });
            }
            Vec::new()
        }
        Input::StageFailed { spawn, error } => {
            if let Some(record) = table.records.get_mut(&spawn) {
                record.failure = Some(error);
            }
            Vec::new()
        }
        Input::Reaped { pid, exit, rusage } => reaped(table, pid, exit, rusage, now),
        Input::ChildrenLeft => match table.mode {
            // A death may have made orphans of processes that nobody could see before.
            Mode::Ending { .. } => vec![Effect::KillEverything],
            Mode::Serving | Mode::Stopping { .. } => Vec::new(),
        },
        Input::NoChildren => match table.mode {
            Mode::Ending { code, .. } => vec![Effect::Leave(code)],
            Mode::Serving | Mode::Stopping { .. } => Vec::new(),
        },
        Input::Signal(signal) => requests::signal(table, signal, now),
        Input::Notified { spawn, state } => {
            if let Some(record) = table.records.get_mut(&spawn) {
                if is_news(&record.notify, &state) {
                    table.dirty.insert(spawn);
                }
                record.notify = *state;
            }
            Vec::new()
        }
        Input::MainNamed { spawn, pid } => successor::named(table, spawn, pid),
        Input::MainEnded { spawn, pid } => successor::lost(table, spawn, pid, now),
        Input::Knock => {
            manager::ask_unless_heard(table, now);
            Vec::new()
        }
        Input::Tick => deadlines::tick(table, now),
    }
}

/// Numbers a report and keeps it until it is acknowledged.
fn number(table: &mut Table, now: Now, make: impl FnOnce(u64) -> Report) -> u64 {
    table.last_seq = table.last_seq.saturating_add(1);
    if table.pending.is_empty() {
        table.pending_since = now.mono_ns;
    }
    table.pending.push_back(make(table.last_seq));
    table.last_seq
}

/// Numbers a report about a spawn.
fn report(table: &mut Table, spawn: SpawnId, now: Now, make: impl FnOnce(u64) -> Report) {
    let seq = number(table, now, make);
    if let Some(record) = table.records.get_mut(&spawn) {
        record.last_seq = seq;
    }
}

/// Reports that a spawn for which no record is made did not happen. Its id counts as used all the same: a manager that took
/// it again would take this report for its own.
fn refuse(table: &mut Table, spawn: SpawnId, errno: i32, now: Now) {
    table.last_spawn = table.last_spawn.max(spawn);
    let error = SpawnError { stage: Stage::Fork, errno };
    number(table, now, |seq| Report::SpawnFailed { seq, spawn, error, at: stamp(now) });
}

fn fail(table: &mut Table, spawn: SpawnId, error: SpawnError, now: Now) {
    let at = stamp(now);
    if let Some(record) = table.records.get_mut(&spawn) {
        record.life = Life::Failed { error, at };
        record.held.clear();
        report(table, spawn, now, |seq| Report::SpawnFailed { seq, spawn, error, at });
    }
}

fn reaped(table: &mut Table, pid: i32, exit: Exit, rusage: Rusage, now: Now) -> Vec<Effect> {
    if manager::pid(table) == Some(pid) {
        return manager::died(table, exit, now);
    }
    if upgrade::is_trial(table, pid) {
        return upgrade::trial_ended(table, exit);
    }
    let Some(spawn) = table.by_pid.remove(&pid) else {
        table.orphans_reaped = table.orphans_reaped.saturating_add(1);
        return Vec::new();
    };
    let Some(record) = table.records.get_mut(&spawn) else { return Vec::new() };
    if successor::takes_over(record, pid) {
        return vec![Effect::Succeed(spawn)];
    }
    let mut effects = vec![Effect::CloseProcess(spawn)];
    match (record.life, record.failure) {
        (Life::Forked { .. }, Some(error)) => {
            fail(table, spawn, error, now);
            effects = vec![Effect::CloseAll(spawn)];
        }
        (Life::Forked { at, .. }, None) => {
            ended(table, spawn, End { pid, exit, before_exec: true, started: at }, rusage, now)
        }
        (Life::Running { at, .. }, _) => {
            ended(table, spawn, End { pid, exit, before_exec: false, started: at }, rusage, now);
        }
        // Its end was that of the main process that it had named.
        (Life::Failed { .. } | Life::Exited { .. }, _) => {}
    }
    effects.extend(requests::forget_if_done(table, spawn));
    if matches!(table.mode, Mode::Stopping { .. }) && table.by_pid.is_empty() {
        effects.extend(manager::end(table, 1, now));
    }
    effects
}

struct End {
    pid: i32,
    exit: Exit,
    before_exec: bool,
    started: svd_wire::Stamp,
}

fn ended(table: &mut Table, spawn: SpawnId, end: End, rusage: Rusage, now: Now) {
    let at = stamp(now);
    let End { pid, exit, before_exec, started } = end;
    if let Some(record) = table.records.get_mut(&spawn) {
        record.life = Life::Exited { pid, exit, before_exec, started, at };
    }
    report(table, spawn, now, |seq| Report::Exited { seq, spawn, pid, exit, before_exec, rusage, started, at });
}

/// A record as it is made before the fork.
fn record(spec: &SpawnSpec, now: Now) -> Record {
    Record {
        tag: spec.tag.clone(),
        note: Vec::new(),
        life: Life::Forked { pid: 0, at: stamp(now) },
        failure: None,
        held: spec.fds.iter().filter(|role| !role.is_childs()).copied().collect(),
        last_signal: None,
        notify: NotifyState::default(),
        pace: Pace::default(),
        store: spec.store.clone(),
        last_seq: 0,
        forget: Forget::Keep,
    }
}

/// The last sign of life of a manager.
fn heard(ping: Ping) -> u64 {
    match ping {
        Ping::Answered(at) | Ping::Wanted(at) | Ping::Asked(at) => at,
    }
}

#[cfg(test)]
mod tests;
