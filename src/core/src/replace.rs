//! Replacing instances by others that are started beside them: who is started, who takes a place, what is given up.
//!
//! A newer generation is desired of an instance (restart, apply, bad health, age): a candidate is started beside the one
//! that runs. The first candidate of a generation is alone until it is ready; then the others follow, as many at once as
//! `surge` allows. A candidate that was well for long enough takes the place; the one before it is drained. One that fails
//! costs its generation: all candidates of it are put aside, and what ran runs on. Nothing of this is remembered but in
//! the notes on the spawns and in the generations desired, so that the next manager goes on where the one before was.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use svd_config::plan::Strategy;

use crate::action::{Action, Fact, FactKind};
use crate::desired::{Change, Which};
use crate::event::{Lineage, MAX_SLOTS, Note, Origin, Slot};
use crate::machine::Core;
use crate::name::{InstanceName, SpawnId};
use crate::service::{Cx, Life, Readiness, Spawn};
use crate::state::Reason;
use crate::time::Time;
use crate::tree::{Aim, Instance, Listing, Process};
use crate::verdict;

/// So long one that was replaced counts for `surge`: it still uses memory, but it may take days to finish.
const COUNTS_FOR: Duration = Duration::from_secs(60);

/// So many slots are kept back for candidates.
const KEPT_BACK: u8 = 8;

/// What becomes of a candidate.
enum Fate {
    Stays,
    /// It is needed no more.
    Aside,
    /// Its generation is given up.
    GivenUp(String),
}

impl Core {
    pub(crate) fn replace(&mut self, out: &mut Vec<Action>) {
        self.judge_candidates(out);
        self.promote(out);
        self.begin_candidates(out);
    }

    fn judge_candidates(&mut self, out: &mut Vec<Action>) {
        let mut given_up: BTreeMap<(Arc<str>, u64), String> = BTreeMap::new();
        let mut aside = Vec::new();
        for (name, process) in self.services() {
            for (index, instance) in &process.instances {
                let Some(candidate) = &instance.candidate else { continue };
                match self.fate(name, process, *index, candidate) {
                    Fate::Stays => {}
                    Fate::Aside => aside.push(InstanceName { process: name.clone(), index: *index }),
                    Fate::GivenUp(why) => {
                        given_up.entry((name.clone(), candidate.lineage.generation)).or_insert(why);
                    }
                }
            }
        }
        for name in aside {
            self.put_aside(&name, out);
        }
        for ((process, generation), why) in given_up {
            self.give_up(&process, generation, why, out);
        }
    }

    fn fate(&self, name: &Arc<str>, process: &Process, index: u32, candidate: &Spawn) -> Fate {
        if self.aim(name, process, index) != Aim::Run {
            // It is stopped where it is, with all others of its name.
            return Fate::Stays;
        }
        let newest = candidate.lineage.generation == self.generation(name, index);
        if candidate.note.asked || !newest || !process.is_beside() {
            return Fate::Aside;
        }
        let plan = process.planned(self.desired.runs_by(name, candidate.lineage.generation));
        let new = format!("the new {name}.{index}");
        let tried = || candidate.last_try.as_ref().map_or_else(String::new, |last| format!("; last try: {last}"));
        match &candidate.life {
            Life::Ended { end, .. } => {
                let early = if candidate.note.ready.is_some() { "" } else { " before it was ready" };
                let reason = verdict::reason(plan, end);
                Fate::GivenUp(match reason {
                    Reason::ReadyTimeout(_) => format!("{new} was {reason}{}", tried()),
                    Reason::StartFailed(why) => format!("{new} could not be started: {why}"),
                    reason => format!("{new} {reason}{early}"),
                })
            }
            Life::Stopping { reason, .. } | Life::Stuck { reason, .. } => match reason {
                Reason::ReadyTimeout(_) => Fate::GivenUp(format!("{new} was {reason}{}", tried())),
                reason => Fate::GivenUp(format!("{new} {reason}")),
            },
            Life::Running { .. } => match &candidate.ill {
                Some((_, why)) => Fate::GivenUp(format!("{new} is unhealthy: {why}")),
                None => Fate::Stays,
            },
            Life::Launching | Life::Draining { .. } => Fate::Stays,
        }
    }

    /// A candidate is needed no more: it is stopped in the background, and is in nobody's way.
    fn put_aside(&mut self, name: &InstanceName, out: &mut Vec<Action>) {
        let Some(instance) = self.instance_mut(name) else { return };
        let Some(mut candidate) = instance.candidate.take() else { return };
        candidate.note.replaced = true;
        out.push(Action::Annotate { spawn: candidate.id, note: candidate.note });
        instance.older.push(candidate);
        self.changed = true;
    }

    /// A generation did not come up: what ran before it runs on.
    fn give_up(&mut self, process: &Arc<str>, generation: u64, why: String, out: &mut Vec<Action>) {
        let Some(known) = self.processes.get_mut(process) else { return };
        known.given_up = Some((generation, why.clone()));
        known.pace.slow_down(self.now);
        let mut back = Vec::new();
        let mut aside = Vec::new();
        for (index, instance) in &known.instances {
            let name = InstanceName { process: process.clone(), index: *index };
            if instance.candidate.as_ref().is_some_and(|spawn| spawn.lineage.generation == generation) {
                aside.push(name.clone());
            }
            let ours = self.desired.generation.get(&name).copied().unwrap_or(0) == generation;
            if let Some(spawn) = instance.current.as_ref().filter(|s| ours && s.lineage.generation < generation) {
                back.push(Change::Generation(name, spawn.lineage.generation));
            }
        }
        let whole = InstanceName { process: process.clone(), index: 0 };
        out.push(Action::Record(Fact {
            instance: Some(whole),
            spawn: None,
            op: None,
            kind: FactKind::RolledBack(why.clone()),
        }));
        aside.iter().for_each(|name| self.put_aside(name, out));
        let applied = self.desired.boundaries.get(process).is_some_and(|at| at.first() <= Some(&generation))
            && self.desired.runs_by(process, generation) == Which::InForce;
        for change in back {
            self.change(change, out);
        }
        if applied {
            self.take_back(&why, out);
        }
    }

    /// When a candidate that is ready may take the place: it was well for the time of `bake`, and the canary's steps are
    /// over. `None`: not ready.
    fn promotion_at(&self, process: &Process, candidate: &Spawn) -> Option<Time> {
        if !candidate.is_ready() || candidate.note.asked {
            return None;
        }
        let baked = candidate.note.ready?.after(process.plan.update.bake);
        let canary = self.canary_end(process, candidate.lineage.generation);
        Some(canary.map_or(baked, |end| end.max(baked)))
    }

    /// When the canary's steps of a generation end; `None` without them.
    fn canary_end(&self, process: &Process, generation: u64) -> Option<Time> {
        if process.plan.update.canary.is_empty() || !process.plan.is_gated() {
            return None;
        }
        let whole = process.plan.update.canary.iter().fold(Duration::ZERO, |sum, step| sum.saturating_add(step.hold));
        Some(first_ready(process, generation)?.after(whole))
    }

    /// The canary's step that a generation is in: its share of the traffic in percent, and when the next one begins.
    pub(crate) fn canary_step(&self, process: &Process, generation: u64) -> Option<(u8, Time)> {
        let end = self.canary_end(process, generation)?;
        if self.now >= end {
            return None;
        }
        let mut until = first_ready(process, generation)?;
        process.plan.update.canary.iter().find_map(|step| {
            until = until.after(step.hold);
            (self.now < until).then_some((step.percent, until))
        })
    }

    /// The next instant at which time alone changes something for a replacement.
    pub(crate) fn replacement_deadline(&self, name: &Arc<str>, process: &Process) -> Option<Time> {
        let candidates = || process.instances.values().filter_map(|instance| instance.candidate.as_ref());
        let promotions = candidates().filter_map(|candidate| self.promotion_at(process, candidate));
        let steps = candidates()
            .filter(|candidate| candidate.is_ready())
            .filter_map(|candidate| self.canary_step(process, candidate.lineage.generation).map(|(_, until)| until));
        let waiting = process.instances.iter().any(|(index, instance)| {
            instance.candidate.is_none() && instance.is_outdated(self.generation(name, *index))
        });
        let lingering = process.instances.values().flat_map(|instance| instance.lingering());
        let uncounted = lingering.filter(|_| waiting).filter_map(counts_until);
        promotions.chain(steps).chain(uncounted).filter(|at| *at > self.now).min()
    }

    fn promote(&mut self, out: &mut Vec<Action>) {
        let now = self.now;
        let mut due = Vec::new();
        for (name, process) in self.services() {
            for (index, instance) in &process.instances {
                let Some(candidate) = &instance.candidate else { continue };
                let newest = candidate.lineage.generation == self.generation(name, *index);
                let at = self.promotion_at(process, candidate).filter(|_| newest);
                if at.is_some_and(|at| at <= now) && self.aim(name, process, *index) == Aim::Run {
                    due.push(InstanceName { process: name.clone(), index: *index });
                }
            }
        }
        self.changed |= !due.is_empty();
        for name in due {
            let Some(instance) = self.instance_mut(&name) else { continue };
            let Some(mut candidate) = instance.candidate.take() else { continue };
            candidate.note.promoted = true;
            let id = candidate.id;
            out.push(Action::Annotate { spawn: id, note: candidate.note });
            let before = instance.current.replace(candidate);
            if let Some(mut before) = before {
                before.note.replaced = true;
                out.push(Action::Annotate { spawn: before.id, note: before.note });
                instance.older.push(before);
            }
            self.on(id, out, |_, cx| cx.record(id, FactKind::Replaced));
        }
    }

    fn begin_candidates(&mut self, out: &mut Vec<Action>) {
        let mut due: Vec<(InstanceName, u64)> = Vec::new();
        for (name, process) in self.services() {
            let found = self.due_candidates(name, process);
            due.extend(found.into_iter().map(|(index, g)| (InstanceName { process: name.clone(), index }, g)));
        }
        if due.is_empty() {
            return;
        }
        let free = crate::MAX_STARTING.saturating_sub(self.spawns_where(|_, _, spawn| spawn.is_rising()).len());
        for (name, generation) in due.into_iter().take(free) {
            self.start_beside(name, generation, out);
        }
    }

    /// The instances beside which another one is to be started now, and of which generation.
    fn due_candidates(&self, name: &Arc<str>, process: &Process) -> Vec<(u32, u64)> {
        if process.listing == Listing::Retired || !process.is_beside() {
            return Vec::new();
        }
        let waits = |index: u32, instance: &Instance| {
            let generation = self.generation(name, index);
            let outdated = instance.candidate.is_none() && instance.is_outdated(generation);
            (outdated && self.aim(name, process, index) == Aim::Run).then_some((index, generation))
        };
        let waiting: Vec<(u32, u64)> =
            process.instances.iter().filter_map(|(index, instance)| waits(*index, instance)).collect();
        if waiting.is_empty() || self.unmet(&process.plan).is_some() {
            return Vec::new();
        }
        let candidates = || process.instances.values().filter_map(|instance| instance.candidate.as_ref());
        // One generation at a time, the oldest first.
        let running = candidates().map(|candidate| candidate.lineage.generation).min();
        let next = waiting.iter().map(|(_, generation)| *generation).min().unwrap_or(0);
        let generation = running.unwrap_or(next);
        let lingering = process.instances.values().flat_map(|instance| instance.lingering());
        let counted = match process.plan.update.strategy {
            Strategy::Overlap => lingering.filter(|s| counts_until(s).is_some_and(|until| until > self.now)).count(),
            // A worker's drain may take as long as its longest job, and holds up nobody.
            Strategy::Handover | Strategy::Exclusive => 0,
        };
        let extra = candidates().count() + counted;
        let surge = usize::try_from(process.plan.update.surge).unwrap_or(usize::MAX).max(1);
        let limit = match first_ready(process, generation) {
            Some(_) => surge,
            // Nothing is known of it yet: one of them is to show what it is worth.
            None if candidates().count() > 0 => 0,
            None => extra.saturating_add(1).min(surge),
        };
        let room = limit.saturating_sub(extra);
        waiting.into_iter().filter(|(_, g)| *g == generation).take(room).collect()
    }

    fn start_beside(&mut self, name: InstanceName, generation: u64, out: &mut Vec<Action>) {
        let Some(process) = self.processes.get(&name.process) else { return };
        let Some(current) = self.instance(&name).and_then(|instance| instance.current.as_ref()) else { return };
        // None is free: when one of those that end is gone, it is asked again.
        let Some(slot) = self.slot_beside(process, generation) else { return };
        let lineage = Lineage {
            generation,
            // Nobody asked for that of an ill one.
            restarts: current.ill.as_ref().map_or(0, |_| current.lineage.restarts.saturating_add(1)),
            slot,
            origin: Origin::Beside,
            ..Lineage::default()
        };
        let (before, quiet) = (current.id, process.plan.update.strategy == Strategy::Handover);
        let id = SpawnId(self.last_spawn.0 + 1);
        let spawn = Spawn::new(id, lineage.clone(), Note::default(), self.now);
        let Some(instance) = self.instance_mut(&name) else { return };
        instance.candidate = Some(spawn);
        self.last_spawn = id;
        self.names.insert(id, name.clone());
        if quiet {
            self.on(before, out, |spawn, cx| {
                if matches!(spawn.life, Life::Running { readiness: Readiness::Probing { .. } | Readiness::Ready, .. }) {
                    spawn.quieten(cx);
                }
            });
        }
        self.on(id, out, |_, cx: &mut Cx<'_>| cx.record(id, FactKind::Starting));
        out.push(Action::Spawn { spawn: id, instance: name, lineage });
    }

    /// The slot for a candidate: one that nobody accepts from and that gets no connections. Where all are in use, one of a
    /// generation that has shown what it is worth shares with one of its own. `None`: it has to wait.
    fn slot_beside(&self, process: &Process, generation: u64) -> Option<Slot> {
        if !process.plan.is_gated() {
            return Some(Slot(0));
        }
        let proven = |spawn: &&Spawn| spawn.is_ready();
        spare_slot(process).or_else(|| shared_slot(process, generation, proven))
    }

    /// The slot for an instance that is started in its place: the one of its last spawn or another one where connections may
    /// wait for it, else one that nobody accepts from. Beyond [`MAX_SLOTS`], less what is kept back for candidates, it shares
    /// with one of its generation.
    pub(crate) fn slot_in_place(&self, name: &InstanceName, generation: u64) -> Slot {
        let Some(process) = self.processes.get(&name.process).filter(|process| process.plan.is_gated()) else {
            return Slot(0);
        };
        let last = process.instances.get(&name.index).and_then(|instance| instance.current.as_ref());
        let own = last.map(|spawn| spawn.lineage.slot).filter(|slot| !is_taken(process, *slot));
        let open = |slot: &Slot| process.gate.iter().any(|(at, _)| at == slot);
        let waiting = || process.gate.iter().map(|(slot, _)| *slot).find(|slot| !is_taken(process, *slot));
        let found = own.filter(open).or_else(waiting).or(own);
        let taken = (0..MAX_SLOTS).map(Slot).filter(|slot| is_taken(process, *slot)).count();
        let spare = || spare_slot(process).filter(|_| taken < usize::from(MAX_SLOTS - KEPT_BACK));
        let shared = || shared_slot(process, generation, |_| true);
        found.or_else(spare).or_else(shared).or_else(|| spare_slot(process)).unwrap_or_default()
    }
}

/// Somebody accepts from the slot.
fn is_taken(process: &Process, slot: Slot) -> bool {
    process.spawns().any(|spawn| spawn.is_live() && spawn.lineage.slot == slot)
}

/// A slot that nobody accepts from and that gets no connections. `None`: all are in use.
fn spare_slot(process: &Process) -> Option<Slot> {
    let open = |slot: Slot| process.gate.iter().any(|(at, _)| *at == slot);
    (0..MAX_SLOTS).map(Slot).find(|slot| !is_taken(process, *slot) && !open(*slot))
}

/// The slot from which the fewest accept, of those of a generation.
fn shared_slot(process: &Process, generation: u64, fits: impl Fn(&&Spawn) -> bool) -> Option<Slot> {
    let live = || process.spawns().filter(|spawn| spawn.is_live());
    let mates = live().filter(|spawn| spawn.lineage.generation == generation && !spawn.note.replaced).filter(fits);
    mates.map(|spawn| spawn.lineage.slot).min_by_key(|slot| live().filter(|s| s.lineage.slot == *slot).count())
}

/// When the first of a generation became ready that is still there.
fn first_ready(process: &Process, generation: u64) -> Option<Time> {
    let mates = process.spawns().filter(|spawn| spawn.lineage.generation == generation && !spawn.note.replaced);
    mates.filter(|spawn| spawn.is_live()).filter_map(|spawn| spawn.note.ready).min()
}

/// Until when one that was replaced counts for `surge`; `None` for one that does not.
fn counts_until(spawn: &Spawn) -> Option<Time> {
    match &spawn.life {
        Life::Draining { begun, .. } | Life::Stopping { begun, .. } => Some(begun.after(COUNTS_FOR)),
        Life::Running { .. } | Life::Launching => Some(Time(u64::MAX)),
        Life::Stuck { .. } | Life::Ended { .. } => None,
    }
}
