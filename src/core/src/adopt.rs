//! How a new manager's core takes up what the keeper holds. It rebuilds the state in which the core before it was,
//! from the plan, what is desired, and what is written on the spawns; what was in progress goes on where it was.

use std::time::Duration;

use svd_config::plan::{ProcessPlan, ReadyBy};

use crate::action::{Action, FactKind, Sweep};
use crate::climb::Climb;
use crate::drain::{DrainStep, queue_patience};
use crate::event::{Adopted, AdoptedLife, Origin};
use crate::ladder::patience;
use crate::ladder::{self, SIGKILL};
use crate::machine::Core;
use crate::name::{InstanceName, SpawnId};
use crate::service::{End, Life, Readiness, STUCK_AFTER, Spawn, Tree};
use crate::state::Reason;
use crate::time::Time;
use crate::tree::{self, Aim, Instance, Listing, Planned, Process};
use crate::verdict;

/// While no manager lived, nobody looked for readiness: so long at least is looked for it again, that no healthy
/// process is ended for the manager's death.
const READY_GRACE: Duration = Duration::from_secs(10);

impl Core {
    pub(crate) fn adopt(&mut self, mut found: Vec<Adopted>, out: &mut Vec<Action>) {
        self.processes =
            tree::grow(&self.plan, self.other.as_ref(), &self.desired, std::mem::take(&mut self.processes), self.now);
        found.sort_by_key(|adopted| adopted.spawn);
        for adopted in found {
            self.last_spawn = self.last_spawn.max(adopted.spawn);
            self.take_up(adopted, out);
        }
        self.adopt_runs(out);
        let names: Vec<InstanceName> = self.names.values().cloned().collect();
        names.iter().for_each(|name| self.note_essential(name));
    }

    fn take_up(&mut self, adopted: Adopted, out: &mut Vec<Action>) {
        let (id, name, now) = (adopted.spawn, adopted.instance.clone(), self.now);
        let of_job = tree::job_process(&self.plan, &name.process);
        let run = crate::job::job_of(&name.process).map(|_| self.run_aim(&name.process, name.index));
        let process = self.processes.entry(name.process.clone()).or_insert_with(|| {
            of_job.unwrap_or_else(|| Process {
                plan: Planned::Unknown(Box::new(tree::unknown_process(&name.process))),
                other: None,
                listing: Listing::Retired,
                gate: Vec::new(),
                given_up: None,
                pace: Default::default(),
                instances: Default::default(),
            })
        });
        let aim = || tree::aim(&self.desired, &name.process, listed(process), name.index);
        let reason = match run.unwrap_or_else(aim) {
            Aim::Stop(reason) => reason,
            Aim::Run => Reason::Restart,
        };
        let which = self.desired.runs_by(&name.process, adopted.lineage.generation);
        let spawn = taken_up(process.planned(which), adopted, reason, now);
        let instance = process.instances.entry(name.index).or_insert_with(|| Box::new(Instance::new(now)));
        if let Life::Ended { at, .. } = spawn.life {
            instance.idle_since = at;
        }
        match (spawn.note.replaced, spawn.lineage.origin, spawn.note.promoted) {
            (true, _, _) => instance.older.push(spawn),
            (false, Origin::Beside, false) => {
                // Of two the later one is meant.
                if let Some(mut before) = instance.candidate.replace(spawn) {
                    before.note.replaced = true;
                    out.push(Action::Annotate { spawn: before.id, note: before.note });
                    instance.older.push(before);
                }
            }
            (false, Origin::Beside, true) => {
                // The manager before may have died before it had written that on the one before.
                if let Some(mut before) = instance.current.replace(spawn) {
                    before.note.replaced = true;
                    out.push(Action::Annotate { spawn: before.id, note: before.note });
                    instance.older.push(before);
                }
            }
            (false, Origin::Place, _) => instance.older.extend(instance.current.replace(spawn)),
        }
        self.names.insert(id, name);
        self.resume(id, out);
    }

    /// Asks again for what the manager before was waiting for: a killed manager may not have come to it.
    fn resume(&mut self, id: SpawnId, out: &mut Vec<Action>) {
        self.on(id, out, |spawn, cx| {
            if spawn.is_live() {
                cx.record(id, FactKind::Adopted);
            }
            match spawn.life.clone() {
                Life::Running { readiness: Readiness::Probing { .. }, .. } => cx.out.push(Action::Probe { spawn: id }),
                Life::Running { readiness: Readiness::Ready, .. } if spawn.note.ready.is_none() => {
                    spawn.note.ready = Some(cx.now);
                    spawn.annotate(cx);
                    cx.record(id, FactKind::Ready(cx.now.since(spawn.since)));
                    cx.out.push(Action::Watch { spawn: id });
                }
                Life::Running { readiness: Readiness::Ready, .. } => cx.out.push(Action::Watch { spawn: id }),
                Life::Draining { .. } => spawn.ask_for_step(cx),
                Life::Stopping { climb: Climb::Killing { .. }, .. } => {
                    cx.out.push(Action::Sweep { spawn: id, how: Sweep::Kill });
                }
                Life::Ended { tree: Tree::Terminating { .. }, .. } => {
                    cx.out.push(Action::Sweep { spawn: id, how: Sweep::Terminate });
                }
                Life::Ended { tree: Tree::Killing { .. } | Tree::Stuck, .. } => {
                    cx.out.push(Action::Sweep { spawn: id, how: Sweep::Kill });
                }
                Life::Launching
                | Life::Running { .. }
                | Life::Stopping { climb: Climb::Waiting { .. }, .. }
                | Life::Stuck { .. }
                | Life::Ended { tree: Tree::Empty, .. } => {}
            }
            if spawn.is_ready() {
                spawn.listen_for_signs(cx);
            }
            let said = spawn.said.clone();
            spawn.says(cx, said);
        });
    }
}

fn listed(process: &Process) -> Option<&ProcessPlan> {
    match process.listing {
        Listing::Listed => Some(&process.plan),
        Listing::Retired => None,
    }
}

/// The spawn as the core before had it.
fn taken_up(plan: &ProcessPlan, adopted: Adopted, reason: Reason, now: Time) -> Spawn {
    let note = adopted.note;
    let (since, life) = match &adopted.life {
        AdoptedLife::Forked { at } if note.asked => (*at, stopping(plan, &adopted, None, reason, now)),
        AdoptedLife::Forked { at } => (*at, Life::Launching),
        AdoptedLife::Running { pid, at } if note.asked => match note.draining {
            // Its ladder has not begun: it goes on finishing what it has.
            Some(begun) if ladder_place(plan, &adopted).is_none() => {
                let step = DrainStep::Queue { deadline: begun.after(queue_patience(plan)) };
                (*at, Life::Draining { pid: *pid, begun, step, reason })
            }
            Some(_) | None => (*at, stopping(plan, &adopted, Some(*pid), reason, now)),
        },
        AdoptedLife::Running { pid, at } => (*at, running(plan, &adopted, *pid, *at, now)),
        AdoptedLife::Failed { failure, at } => {
            (*at, Life::Ended { end: End::NotStarted(failure.clone()), at: *at, tree: Tree::Empty })
        }
        AdoptedLife::Exited { exit, before_exec, at } => {
            let late =
                !note.asked && note.ready.is_none() && has_evidence(plan) && ladder_place(plan, &adopted).is_some();
            let end = match late {
                _ if note.hung => End::Hung { exit: *exit },
                true => End::NeverReady { exit: *exit },
                false => End::Exited { exit: *exit, before_exec: *before_exec },
            };
            (*at, Life::Ended { end, at: *at, tree: left(plan, &adopted, *at, now) })
        }
    };
    let (sent, said) = (adopted.last_signal, adopted.said);
    Spawn { life, sent, said, ..Spawn::new(adopted.spawn, adopted.lineage, note, since) }
}

fn has_evidence(plan: &ProcessPlan) -> bool {
    plan.ready.by != ReadyBy::Started
}

fn running(plan: &ProcessPlan, adopted: &Adopted, pid: i32, at: Time, now: Time) -> Life {
    if adopted.note.hung {
        let begun = adopted.last_signal.map_or(now, |(_, at)| at);
        let climb = Climb::aborting(adopted.last_signal, now);
        return Life::Stopping { pid: Some(pid), begun, climb, reason: Reason::Hung(plan.notify.watchdog) };
    }
    if adopted.last_signal.is_some_and(|(signal, _)| signal == SIGKILL) {
        return stopping(plan, adopted, Some(pid), Reason::BySelf, now);
    }
    if adopted.note.ready.is_some() || !has_evidence(plan) {
        return Life::Running { pid, readiness: Readiness::Ready };
    }
    let deadline = at.after(plan.ready.timeout);
    // A manager's death gives a run no more time: the keeper has seen to it meanwhile as ever.
    let working = plan.ready.by == ReadyBy::Ended;
    // Signalled by the ladder without being asked to end: it was too late, and is being ended for that.
    if ladder_place(plan, adopted).is_some_and(|(_, sent)| sent >= deadline) {
        return stopping(plan, adopted, Some(pid), verdict::too_late(plan), now);
    }
    if working {
        return Life::Running { pid, readiness: Readiness::Working { deadline } };
    }
    if plan.ready.by == ReadyBy::Notify && adopted.notified_ready {
        return Life::Running { pid, readiness: Readiness::Ready };
    }
    let deadline = deadline.max(now.after(plan.ready.timeout.min(READY_GRACE)));
    Life::Running { pid, readiness: Readiness::Probing { deadline } }
}

/// The step of the ladder after the last signal sent, and when that was; KILL is beyond its end.
fn ladder_place(plan: &ProcessPlan, adopted: &Adopted) -> Option<(usize, Time)> {
    let (signal, at) = adopted.last_signal?;
    match signal {
        SIGKILL => Some((plan.stop.len(), at)),
        _ => ladder::after_signal(&plan.stop, signal).map(|next| (next, at)),
    }
}

/// A stop in progress goes on at its step.
fn stopping(plan: &ProcessPlan, adopted: &Adopted, pid: Option<i32>, reason: Reason, now: Time) -> Life {
    let climb = Climb::resumed(plan, adopted.last_signal, now);
    let begun = adopted.last_signal.map_or(now, |(_, at)| at);
    Life::Stopping { pid, begun, climb, reason }
}

/// What is left of an ended one, as far as was seen.
fn left(plan: &ProcessPlan, adopted: &Adopted, at: Time, now: Time) -> Tree {
    if adopted.note.swept {
        return Tree::Empty;
    }
    let (from, base) = ladder_place(plan, adopted).unwrap_or((0, at));
    let kill_at = base.after(patience(&plan.stop, from));
    match kill_at <= now {
        true => Tree::Killing { stuck_at: now.after(STUCK_AFTER) },
        false => Tree::Terminating { kill_at },
    }
}
