//! A main process that is not the one that was started: a service names it (`MAINPID=`), because the one that was started is
//! about to leave, as daemons and servers that replace themselves do it.
//!
//! The spawn lives as long as the main process lives that was named last. Where the one that was started ends before, that is
//! no end of the spawn. The successor is an orphan then, the keeper reaps it, and its status is known. Where its parent is
//! another process, which lives on and reaps it, its status is `Unknown`: nobody is told it.

use super::{Effect, End, ended, requests};
use crate::table::{Record, Table};
use svd_sys::clock::Now;
use svd_wire::{Exit, Life, Rusage, SpawnId};

/// The service has named this process. The caller has seen that it lives and belongs to the spawn.
pub(super) fn named(table: &mut Table, spawn: SpawnId, pid: i32) -> Vec<Effect> {
    let Some(record) = table.records.get_mut(&spawn) else { return Vec::new() };
    let Life::Running { pid: started, .. } = record.life else { return Vec::new() };
    if let Some(before) = record.notify.main.filter(|before| *before != started && *before != pid) {
        table.by_pid.remove(&before);
    }
    record.notify.main = Some(pid).filter(|pid| *pid != started);
    table.by_pid.insert(pid, spawn);
    table.dirty.insert(spawn);
    Vec::new()
}

/// The process that was reaped is the one that was started, and the spawn goes on with the one that it has named.
pub(super) fn takes_over(record: &mut Record, reaped: i32) -> bool {
    match (record.life, record.notify.main) {
        (Life::Running { pid, at }, Some(main)) if pid == reaped && main != reaped => {
            record.life = Life::Running { pid: main, at };
            true
        }
        _ => false,
    }
}

/// The named process has ended, and somebody else has reaped it or will.
pub(super) fn lost(table: &mut Table, spawn: SpawnId, pid: i32, now: Now) -> Vec<Effect> {
    let Some(record) = table.records.get(&spawn) else { return Vec::new() };
    let Life::Running { at, .. } = record.life else { return Vec::new() };
    if record.notify.main != Some(pid) || table.by_pid.get(&pid) != Some(&spawn) {
        return Vec::new();
    }
    table.by_pid.remove(&pid);
    let end = End { pid, exit: Exit::Unknown, before_exec: false, started: at };
    ended(table, spawn, end, Rusage::default(), now);
    let mut effects = vec![Effect::CloseProcess(spawn)];
    effects.extend(requests::forget_if_done(table, spawn));
    effects
}
