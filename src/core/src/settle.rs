//! What follows from what is desired and what is observed: the timers that are due, stops, starts, what can be
//! forgotten, and the end of everything. Called after each event; it looks at levels, never at the event.

use std::collections::BTreeSet;
use std::ops::Bound::{Excluded, Included, Unbounded};
use std::sync::Arc;

use svd_config::plan::JOB;

use crate::action::{Action, Fact, FactKind, Outcome};
use crate::drain::Queue;
use crate::event::{Lineage, Origin};
use crate::machine::{Core, Course, Haste, Mode};
use crate::name::{InstanceName, SpawnId};
use crate::service::{Cx, How, Life, Spawn};
use crate::state::Reason;
use crate::tree::{Aim, Instance, Listing, Process};
use crate::verdict::{Counts, Verdict};

/// So many looks in one step at most. Each change that one brings about is followed by another that finds nothing more to do,
/// so that a handful is enough.
const MAX_LOOKS: usize = 100;

/// The first name after all those that begin with [`JOB`].
const AFTER_JOBS: &str = "job;";

/// So many instances at most are starting at once.
pub const MAX_STARTING: usize = 64;

impl Core {
    /// Looks again as long as what is desired has changed meanwhile: nothing may be left that only the next event would bring
    /// about.
    pub(crate) fn settle(&mut self, out: &mut Vec<Action>) {
        for _ in 0..MAX_LOOKS {
            self.changed = false;
            self.look(out);
            if !self.changed {
                return;
            }
        }
    }

    fn look(&mut self, out: &mut Vec<Action>) {
        self.fire_timers(out);
        self.end_for_essential(out);
        if self.mode == Mode::Normal {
            self.take_jobs_in(out);
            self.tick_jobs(out);
        }
        self.conclude_runs(out);
        if self.mode == Mode::Normal {
            self.begin_queued(out);
        }
        if self.is_active() {
            self.replace_aged(out);
            self.conclude_apply(out);
        }
        // Before the starts: a pause of nothing would hide from a command that its instance has failed.
        self.advance_ops(out);
        if self.is_active() {
            self.replace(out);
        }
        if matches!(self.course, Course::Running) {
            self.turn_gates(out);
        }
        self.begin_stops(out);
        self.skip_queues(out);
        self.begin_starts(out);
        self.forget(out);
        self.advance_ops(out);
        self.finish(out);
    }

    /// Whether it starts and replaces by itself.
    pub(crate) fn is_active(&self) -> bool {
        matches!(self.course, Course::Running) && self.mode == Mode::Normal
    }

    fn fire_timers(&mut self, out: &mut Vec<Action>) {
        let now = self.now;
        for id in self.spawns_where(|_, _, spawn| spawn.deadline().is_some_and(|at| at <= now)) {
            self.on(id, out, |spawn, cx| spawn.tick(cx));
        }
    }

    fn end_for_essential(&mut self, out: &mut Vec<Action>) {
        if self.essential.is_some() && self.is_active() {
            out.push(Action::Record(Fact { instance: None, spawn: None, op: None, kind: FactKind::EssentialFailed }));
            self.begin_end(None, Haste::InOrder, out);
        }
    }

    /// Takes the course to the end, or hastens it.
    pub(crate) fn begin_end(&mut self, op: Option<crate::OpId>, wanted: Haste, out: &mut Vec<Action>) {
        match &mut self.course {
            Course::Ending { ops, haste } => {
                ops.extend(op);
                if wanted == Haste::AtOnce {
                    *haste = wanted;
                }
            }
            Course::Running => {
                self.course = Course::Ending { ops: op.into_iter().collect(), haste: wanted };
                out.push(Action::Record(Fact { instance: None, spawn: None, op, kind: FactKind::ShuttingDown }));
                self.supersede("shutdown", out);
            }
            Course::Adopting { .. } | Course::Finished => {}
        }
    }

    /// The processes that are no runs of jobs. Of those there may be thousands at once, and most that is looked for in each turn
    /// is none of theirs.
    pub(crate) fn services(&self) -> impl Iterator<Item = (&Arc<str>, &Process)> {
        let before = self.processes.range::<str, _>((Unbounded, Excluded(JOB)));
        before.chain(self.processes.range::<str, _>((Included(AFTER_JOBS), Unbounded)))
    }

    /// The runs of jobs, as processes.
    pub(crate) fn run_processes(&self) -> impl Iterator<Item = (&Arc<str>, &Process)> {
        self.processes.range::<str, _>((Included(JOB), Excluded(AFTER_JOBS)))
    }

    pub(crate) fn spawns_where(&self, mut test: impl FnMut(&Arc<str>, u32, &Spawn) -> bool) -> Vec<SpawnId> {
        let mut found = Vec::new();
        for (name, process) in &self.processes {
            for (index, instance) in &process.instances {
                found.extend(instance.spawns().filter(|spawn| test(name, *index, spawn)).map(|spawn| spawn.id));
            }
        }
        found
    }

    fn begin_stops(&mut self, out: &mut Vec<Action>) {
        let how = match self.course {
            Course::Ending { haste: Haste::AtOnce, .. } => How::Kill,
            Course::Ending { haste: Haste::InOrder, .. } => How::Ladder,
            Course::Adopting { .. } | Course::Running | Course::Finished => How::Ladder,
        };
        // No stop of another process depends on one that begins here, so all can be asked for before the first begins.
        let mut held = None;
        let mut due = Vec::new();
        for (name, process) in &self.processes {
            self.due_stops(name, process, how, &mut held, &mut due);
        }
        // The gates turn away from them.
        self.changed |= !due.is_empty();
        for (id, reason) in due {
            let how = self.how_to_stop(id, &reason, how);
            self.on(id, out, |spawn, cx| spawn.stop(cx, reason, how));
        }
    }

    /// What is replaced or scaled away finishes what it has first; what is stopped by hand or at the end goes its ladder.
    pub(crate) fn how_to_stop(&self, id: SpawnId, reason: &Reason, how: How) -> How {
        let drains = match reason {
            Reason::Restart
            | Reason::ScaledDown
            | Reason::Removed
            | Reason::Unhealthy(_)
            | Reason::TakenBack
            | Reason::Quieted
            | Reason::Drained => true,
            Reason::After(_)
            | Reason::Exited(_)
            | Reason::BeforeExec(_)
            | Reason::StartFailed(_)
            | Reason::ReadyTimeout(_)
            | Reason::TimedOut(_)
            | Reason::LaterRun
            | Reason::RestartLimit { .. }
            | Reason::ByHand
            | Reason::Disabled
            | Reason::Shutdown
            | Reason::ToReplace(_)
            | Reason::NotReadyYet(_)
            | Reason::WithoutEnd(_)
            | Reason::BySelf
            | Reason::Hung(_) => false,
        };
        match (how, drains && matches!(self.course, Course::Running)) {
            (How::Ladder, true) => {
                let name = self.names.get(&id).map_or("", |name| &*name.process);
                let process = self.processes.get(name);
                let found = process.and_then(|process| Some((process, process.spawns().find(|spawn| spawn.id == id)?)));
                How::Drain(found.map_or(Queue::None, |(process, spawn)| self.queue_of(name, process, spawn)))
            }
            (how, _) => how,
        }
    }

    fn due_stops<'a>(
        &'a self,
        name: &Arc<str>,
        process: &'a Process,
        how: How,
        held: &mut Option<BTreeSet<&'a str>>,
        due: &mut Vec<(SpawnId, Reason)>,
    ) {
        // How many instances of a generation may be taken down in this step: asked once, not once an instance.
        let mut rooms: Vec<(u64, u32)> = Vec::new();
        let mut taken = 0;
        for (index, instance) in &process.instances {
            let ending = !matches!(self.course, Course::Running);
            for older in instance.older.iter().filter(|spawn| can_stop(spawn, how, ending)) {
                due.push((older.id, reason_of_older(older)));
            }
            if let (Some(candidate), Aim::Stop(reason)) = (&instance.candidate, self.aim(name, process, *index))
                && can_stop(candidate, how, ending)
            {
                due.push((candidate.id, reason));
            }
            let Some(spawn) = instance.current.as_ref().filter(|spawn| can_stop(spawn, how, ending)) else { continue };
            match self.aim(name, process, *index) {
                Aim::Stop(reason) => {
                    if how == How::Kill || !held.get_or_insert_with(|| self.held_stops()).contains(&**name) {
                        let by_hand = reason == Reason::ByHand;
                        due.push((spawn.id, if by_hand { self.by_hand(name, *index) } else { reason }));
                    }
                }
                Aim::Run if process.is_beside() => {
                    // It was told to take no new work, and who was to replace it did not come up.
                    let left_alone = instance.candidate.is_none() && !instance.is_stale(self.generation(name, *index));
                    if spawn.note.quiet && !spawn.note.asked && left_alone {
                        due.push((spawn.id, Reason::Quieted));
                    }
                }
                Aim::Run => {
                    let roll = self.generation(name, *index);
                    let stale = !spawn.note.asked && instance.is_stale(roll) && self.mode == Mode::Normal;
                    if !stale {
                        continue;
                    }
                    let known = rooms.iter().find(|(generation, _)| *generation == roll).map(|(_, room)| *room);
                    let room = known.unwrap_or_else(|| self.may_replace(name, process, roll));
                    if known.is_none() {
                        rooms.push((roll, room));
                    }
                    if room > taken {
                        taken += 1;
                        due.push((spawn.id, Reason::Restart));
                    }
                }
            }
        }
    }

    fn begin_starts(&mut self, out: &mut Vec<Action>) {
        if !self.is_active() {
            return;
        }
        let mut free = MAX_STARTING.saturating_sub(self.spawns_where(|_, _, spawn| spawn.is_rising()).len());
        self.start_runs(&mut free, out);
        // Nearly always nothing is to be started: that is found out without looking each name up.
        if free == 0 || !self.is_any_start_due() {
            return;
        }
        let plan = self.plan.clone();
        for listed in &plan.processes {
            if free == 0 {
                return;
            }
            let Some((name, process)) = self.processes.get_key_value(listed.name.as_str()) else { continue };
            let due: Vec<(u32, Lineage)> = process
                .instances
                .iter()
                .filter_map(|(index, instance)| Some((*index, self.due_start(name, process, *index, instance)?)))
                .collect();
            if due.is_empty() || self.unmet(&process.plan).is_some() {
                continue;
            }
            let name = name.clone();
            for (index, lineage) in due.into_iter().take(free) {
                free -= 1;
                self.start(InstanceName { process: name.clone(), index }, lineage, out);
            }
        }
    }

    fn is_any_start_due(&self) -> bool {
        self.services().any(|(name, process)| {
            let mut instances = process.instances.iter();
            instances.any(|(index, instance)| self.due_start(name, process, *index, instance).is_some())
        })
    }

    /// The history with which an instance is to be started now; `None` where it is not.
    pub(crate) fn due_start(
        &self,
        name: &Arc<str>,
        process: &Process,
        index: u32,
        instance: &Instance,
    ) -> Option<Lineage> {
        if instance.is_occupied() || self.aim(name, process, index) != Aim::Run {
            return None;
        }
        match self.verdict(name, process, index, instance) {
            // Who is to take its place is on its way.
            Verdict::Fresh if instance.candidate.is_some() => None,
            Verdict::Fresh => Some(Lineage { generation: self.generation(name, index), ..Lineage::default() }),
            Verdict::Again { until, mut next, counts, .. } if until <= self.now => {
                let plan = process.planned(self.desired.runs_by(name, next.generation));
                if plan.restart.limit.is_some() && counts == Counts::ForLimit {
                    next.recent.push(self.now);
                }
                Some(next)
            }
            Verdict::Again { .. } | Verdict::Alive | Verdict::Completed | Verdict::Over(_) | Verdict::Failed(_) => None,
        }
    }

    pub(crate) fn start(&mut self, name: InstanceName, mut lineage: Lineage, out: &mut Vec<Action>) {
        // Not before: those that are started together must not take the same one.
        lineage.slot = self.slot_in_place(&name, lineage.generation);
        let id = SpawnId(self.last_spawn.0 + 1);
        let spawn = Spawn::new(id, lineage.clone(), crate::Note::default(), self.now);
        let Some(instance) = self.instance_mut(&name) else { return };
        instance.older.extend(instance.current.replace(spawn));
        self.last_spawn = id;
        self.names.insert(id, name.clone());
        self.on(id, out, |_, cx: &mut Cx<'_>| cx.record(id, FactKind::Starting));
        out.push(Action::Spawn { spawn: id, instance: name, lineage });
    }

    /// Lets go of what nobody needs: swept spawns with a successor that the keeper knows of, instances that are gone
    /// and not to come back, processes without instances.
    fn forget(&mut self, out: &mut Vec<Action>) {
        let ending = !matches!(self.course, Course::Running);
        let held = self.are_jobs_held();
        let mut forgotten = Vec::new();
        for (name, process) in &mut self.processes {
            if !process.instances.values().any(|instance| instance.is_gone() || instance.spawns().any(Spawn::is_gone)) {
                continue;
            }
            let want = match process.listing {
                Listing::Listed => crate::tree::want(&self.desired, &process.plan),
                Listing::Retired => 0,
            };
            process.instances.retain(|index, instance| {
                // While a successor is only asked for, the older record is what a new manager would go by.
                let confirmed = !instance.current.as_ref().is_some_and(|spawn| matches!(spawn.life, Life::Launching));
                if confirmed {
                    instance.older.retain(|spawn| keep(spawn, &mut forgotten));
                }
                // At the end of everything the keeper drops all records itself.
                // The next attempt of a run goes by the record of the one before.
                // The manager that can store it has to find it.
                let held = held && crate::job::job_of(name).is_some();
                let open = held || self.jobs.active(name, *index).is_some();
                if ending || *index <= want || open || !instance.is_gone() {
                    return true;
                }
                forgotten.extend(instance.spawns().map(|spawn| spawn.id));
                false
            });
        }
        self.processes.retain(|name, process| {
            let stays = || process.listing == Listing::Listed && crate::job::job_of(name).is_none();
            !process.instances.is_empty() || stays()
        });
        for spawn in forgotten {
            self.names.remove(&spawn);
            out.push(Action::Forget { spawn });
        }
    }

    fn finish(&mut self, out: &mut Vec<Action>) {
        let Course::Ending { ops, .. } = &self.course else { return };
        let all = || self.processes.values().flat_map(|process| process.instances.values().map(Box::as_ref));
        if !all().all(Instance::is_at_rest) {
            return;
        }
        let stuck = all().any(Instance::has_stuck);
        let outcome = match stuck {
            false => Outcome::Done("all stopped".to_owned()),
            true => Outcome::Failed(format!("all stopped but what does not die: {}", self.stuck_names())),
        };
        out.extend(ops.iter().map(|op| Action::Done { op: *op, outcome: outcome.clone() }));
        out.push(Action::Finish { code: self.essential.unwrap_or(u8::from(stuck)) });
        self.course = Course::Finished;
    }

    fn stuck_names(&self) -> String {
        let mut names = Vec::new();
        for (name, process) in &self.processes {
            let stuck = process.instances.iter().filter(|(_, instance)| instance.has_stuck());
            names.extend(stuck.map(|(index, _)| format!("{name}.{index}")));
        }
        names.join(", ")
    }
}

/// Why an older spawn is stopped, where nobody has said so yet.
fn reason_of_older(spawn: &Spawn) -> Reason {
    match (spawn.lineage.origin, spawn.note.promoted) {
        (Origin::Beside, false) => Reason::TakenBack,
        (Origin::Beside, true) | (Origin::Place, _) => match &spawn.ill {
            Some((_, why)) => Reason::Unhealthy(why.clone()),
            None => Reason::Restart,
        },
    }
}

/// A stop would change something: it has not begun, or was not asked for, or can be hastened.
fn can_stop(spawn: &Spawn, how: How, ending: bool) -> bool {
    match spawn.life {
        Life::Launching | Life::Running { .. } => true,
        Life::Draining { .. } => ending || how == How::Kill,
        Life::Stopping { .. } => !spawn.note.asked || how == How::Kill,
        Life::Ended { .. } => how == How::Kill,
        Life::Stuck { .. } => false,
    }
}

fn keep(spawn: &Spawn, forgotten: &mut Vec<SpawnId>) -> bool {
    if spawn.is_gone() {
        forgotten.push(spawn.id);
    }
    !spawn.is_gone()
}
