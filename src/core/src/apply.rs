//! A new plan comes in force, whole or not at all.
//!
//! While its instances are being replaced there are two plans: the one in force and the other one. Which of them a spawn
//! runs by is told by its generation and the boundaries ([`crate::Desired::runs_by`]). When all run by the plan in force, the
//! other one is dropped. When a replacement fails, the two change places, and what runs by the failed one is replaced once more.

use std::sync::Arc;

use crate::action::Action;
use crate::desired::{Change, Which};
use crate::intent::{From, Goal};
use crate::machine::Core;
use crate::name::InstanceName;
use crate::ops::OpKind;
use crate::order::Hope;
use crate::service::Life;
use crate::state::Reason;
use crate::tree::{self, Aim, Instance, Process};
use crate::verdict::{self, Verdict};

impl Core {
    /// An apply is in progress.
    pub(crate) fn is_applying(&self) -> bool {
        !self.desired.boundaries.is_empty()
    }

    /// There is a plan to go back to.
    pub(crate) fn can_take_back(&self) -> bool {
        self.is_applying() && !self.desired.taken_back && self.other.is_some()
    }

    /// Takes an apply back that has failed, and ends one that has come about.
    pub(crate) fn conclude_apply(&mut self, out: &mut Vec<Action>) {
        if !self.is_applying() {
            // A manager may have died in the middle of the end.
            if self.other.is_some() || self.desired.taken_back {
                self.end_apply(out);
            }
            return;
        }
        if let Some((process, why)) = self.trouble() {
            match self.desired.taken_back {
                false => self.take_back(&why, out),
                true => self.leave_as_it_is(&process, out),
            }
        }
        self.catch_up(out);
        // None before all: one that has come up is taken back too when another one does not.
        if self.desired.boundaries.keys().all(|name| self.has_come_about(name)) {
            for name in self.desired.boundaries.keys().cloned().collect::<Vec<_>>() {
                self.change(Change::Boundaries(name, Vec::new()), out);
            }
            self.end_apply(out);
        }
    }

    /// What rested when the plan came and is to run by now, is of the new plan too.
    fn catch_up(&mut self, out: &mut Vec<Action>) {
        if self.desired.taken_back {
            return;
        }
        let mut changes = Vec::new();
        for (name, at) in &self.desired.boundaries {
            let (Some(process), Some(since)) = (self.processes.get(name), at.last()) else { continue };
            for (index, instance) in &process.instances {
                let rests = matches!(
                    self.verdict(name, process, *index, instance),
                    Verdict::Completed | Verdict::Over(_) | Verdict::Failed(_)
                );
                if self.aim(name, process, *index) == Aim::Run && self.generation(name, *index) < *since && !rests {
                    let instance = InstanceName { process: name.clone(), index: *index };
                    changes.push(Change::Generation(instance, *since));
                }
            }
        }
        for change in changes {
            self.change(change, out);
        }
    }

    fn end_apply(&mut self, out: &mut Vec<Action>) {
        out.push(Action::DropOther);
        self.other = None;
        self.processes.values_mut().for_each(|process| process.other = None);
        if self.desired.taken_back {
            self.change(Change::TakenBack(false), out);
        }
    }

    /// All instances of a process have come up by the plan in force, or rest for good.
    fn has_come_about(&self, name: &Arc<str>) -> bool {
        let Some(process) = self.processes.get(name) else { return true };
        process.instances.iter().all(|(index, instance)| {
            self.aim(name, process, *index) != Aim::Run || self.is_settled(name, process, *index, instance)
        })
    }

    fn is_settled(&self, name: &Arc<str>, process: &Process, index: u32, instance: &Instance) -> bool {
        let desired = self.generation(name, index);
        // What it waits for may never come, and is no matter of the apply.
        let hopeless = || {
            self.unmet(&process.plan)
                .is_some_and(|unmet| unmet.hope == Hope::None || !self.desired.boundaries.contains_key(&unmet.process))
        };
        if instance.candidate.is_some() || (process.is_beside() && instance.is_outdated(desired)) {
            return instance.candidate.is_none() && hopeless();
        }
        let Some(spawn) = &instance.current else { return hopeless() };
        // What could not be brought back stays as it is.
        let which = self.desired.runs_by(name, spawn.lineage.generation);
        let by_plan = which == Which::InForce || self.desired.taken_back;
        match self.verdict(name, process, index, instance) {
            _ if instance.is_stuck() => true,
            Verdict::Alive => by_plan && !spawn.is_rising() && !spawn.note.asked && !instance.is_stale(desired),
            // One that was ready and ended is no matter of the apply any more.
            Verdict::Again { .. } => by_plan && (spawn.note.ready.is_some() || self.desired.taken_back),
            Verdict::Fresh => hopeless(),
            Verdict::Completed | Verdict::Over(_) | Verdict::Failed(_) => true,
        }
    }

    /// What keeps the plan in force from coming about, of those who are replaced in their places: one that has failed before it
    /// was ready, or that does not die. Those that are replaced by others beside them are given up where they are judged.
    fn trouble(&self) -> Option<(Arc<str>, String)> {
        self.desired.boundaries.iter().find_map(|(name, at)| {
            let process = self.processes.get(name)?;
            let since = *at.last()?;
            let found = process.instances.iter().find_map(|(index, instance)| {
                if self.aim(name, process, *index) != Aim::Run {
                    return None;
                }
                let desired = self.generation(name, *index);
                if !process.is_beside() && instance.is_stale(desired) && !instance.is_stuck() {
                    return self.broken_roll(name, process, desired);
                }
                if self.desired.taken_back {
                    return None;
                }
                let spawn = instance.current.as_ref().filter(|spawn| spawn.lineage.generation >= since)?;
                let Life::Ended { end, .. } = &spawn.life else { return None };
                let judged = self.verdict(name, process, *index, instance);
                let early = spawn.note.ready.is_none() && matches!(judged, Verdict::Again { .. });
                let failed = !spawn.note.asked && (early || matches!(judged, Verdict::Failed(_)));
                let plan = process.planned(self.desired.runs_by(name, spawn.lineage.generation));
                failed.then(|| match verdict::reason(plan, end) {
                    reason @ Reason::ReadyTimeout(_) => format!("the new {name}.{index} was {reason}"),
                    reason => format!("the new {name}.{index} {reason}"),
                })
            })?;
            Some((name.clone(), found))
        })
    }

    /// What could not be brought back runs on as it is.
    fn leave_as_it_is(&mut self, process: &Arc<str>, out: &mut Vec<Action>) {
        let Some(known) = self.processes.get(process) else { return };
        let stale = known.instances.iter().filter_map(|(index, instance)| {
            let spawn = instance.current.as_ref().filter(|_| instance.is_stale(self.generation(process, *index)))?;
            let name = InstanceName { process: process.clone(), index: *index };
            Some(Change::Generation(name, spawn.lineage.generation))
        });
        for change in stale.collect::<Vec<_>>() {
            self.change(change, out);
        }
    }

    /// The plan before comes in force again, and what runs by the failed one is replaced.
    pub(crate) fn take_back(&mut self, why: &str, out: &mut Vec<Action>) {
        if !self.can_take_back() {
            return;
        }
        let Some(before) = self.other.clone() else { return };
        self.other = Some(std::mem::replace(&mut self.plan, before));
        out.push(Action::TakeBack { why: why.to_owned() });
        self.change(Change::TakenBack(true), out);
        let mut goals = std::collections::BTreeMap::new();
        for (name, mut at) in self.desired.boundaries.clone() {
            let Some(process) = self.processes.get(&name) else { continue };
            let (since, next) = (at.last().copied().unwrap_or(0), self.next_generation(&name, process));
            let want = self.plan.process(&name).map_or(0, |plan| tree::want(&self.desired, plan));
            let mut changes = Vec::new();
            for (index, instance) in process.instances.range(..=want) {
                let instance_name = InstanceName { process: name.clone(), index: *index };
                let newest = instance.current.as_ref().map(|spawn| spawn.lineage.generation);
                match newest {
                    Some(generation) if generation < since => {
                        changes.push(Change::Generation(instance_name, generation))
                    }
                    Some(_) => {
                        goals.insert(instance_name.clone(), Goal::Rise { generation: next, from: From::Old });
                        changes.push(Change::Generation(instance_name, next));
                    }
                    None => changes.push(Change::Generation(instance_name, next)),
                }
            }
            at.push(next);
            self.change(Change::Boundaries(name.clone(), at), out);
            for change in changes {
                self.change(change, out);
            }
        }
        let old = std::mem::take(&mut self.processes);
        self.processes = tree::grow(&self.plan, self.other.as_ref(), &self.desired, old, self.now);
        goals.retain(|name, _| self.aim_of(name) == Aim::Run);
        for op in self.ops.iter_mut().filter(|op| op.kind == OpKind::Apply) {
            op.kind = OpKind::TakenBack(why.to_owned());
            op.goals.clone_from(&goals);
        }
    }
}
