//! The promises, checked at every action against the model world, and at rest.

use svd_config::plan::{Condition, ProcessPlan, ReadyBy, Strategy};
use svd_core::*;

use super::plans::QUIET;
use super::run::Sim;
use super::world::{Happening, Kept};

impl Sim {
    pub fn broken(&self, what: &str) -> ! {
        panic!("promise broken: {what}");
    }

    fn want(&self, process: &ProcessPlan) -> u32 {
        self.desired.scale.get(process.name.as_str()).copied().unwrap_or(process.count)
    }

    /// The instance is to run, as far as people, the config and svd's own end say.
    fn wanted(&self, name: &InstanceName) -> bool {
        let target = |index| Target { process: name.process.clone(), index };
        self.shutdown.is_none()
            && self.plan.process(&name.process).is_some_and(|p| name.index <= self.want(p))
            && !self.desired.disabled.contains(&name.process)
            && !self.desired.stopped.contains(&target(None))
            && !self.desired.stopped.contains(&target(Some(name.index)))
    }

    fn generation(&self, name: &InstanceName) -> u64 {
        self.desired.generation.get(name).copied().unwrap_or(0)
    }

    fn of<'a>(&'a self, name: &'a InstanceName) -> impl Iterator<Item = (&'a SpawnId, &'a Kept)> {
        self.world.kept.iter().filter(|(_, kept)| kept.instance == *name)
    }

    fn kept(&self, id: SpawnId) -> Option<&Kept> {
        self.world.kept.get(&id)
    }

    pub fn check(&mut self, action: &Action) {
        match action {
            // Jobs have a simulation of their own (tests/jobs.rs).
            Action::Jobs(_) | Action::RunNews(_) | Action::Ran { .. } => self.broken("there are no jobs here"),
            Action::Spawn { spawn, instance, lineage } => self.check_spawn(*spawn, instance, lineage),
            Action::Signal { spawn, signal } => {
                let Some(kept) = self.kept(*spawn) else { self.broken("a spawn that nobody knows is signalled") };
                if *signal == QUIET {
                    return self.check_quiet(kept);
                }
                if *signal != 18 && kept.signals.is_empty() && kept.queue && self.shutdown.is_none() {
                    self.check_queue(kept);
                }
                if *signal != 18 && kept.signals.contains(signal) && !self.ladder_repeats(kept, *signal) {
                    self.broken("a signal of the ladder is sent twice");
                }
                self.check_may_end(kept);
            }
            Action::Sweep { spawn, how } => {
                let Some(kept) = self.kept(*spawn) else { self.broken("a spawn that nobody knows is swept") };
                if kept.is_live() {
                    if *how == Sweep::Terminate {
                        self.broken("those who are left are ended while the main process lives");
                    }
                    self.check_may_end(kept);
                }
            }
            Action::Annotate { spawn, note } => self.check_annotate(*spawn, *note),
            Action::Forget { spawn } => self.check_forget(*spawn),
            Action::Done { op, .. } => {
                if self.outcomes.contains_key(op) || !self.pending.contains(op) {
                    self.broken("an outcome is told twice");
                }
            }
            Action::Finish { code } => self.check_finish(*code),
            Action::Gate { .. } => {}
            Action::Probe { .. }
            | Action::Recall { .. }
            | Action::EmptyStore { .. }
            | Action::WatchQueue { .. }
            | Action::ProveDrained { .. }
            | Action::Watch { .. }
            | Action::TakeBack { .. }
            | Action::DropOther
            | Action::Persist(_)
            | Action::Record(_) => {}
        }
    }

    fn ladder_repeats(&self, kept: &Kept, signal: i32) -> bool {
        // A plan that was changed meanwhile has another ladder: its own signals are sent once each.
        let plan = self.plan_for(&kept.instance.process, kept.lineage.generation);
        let steps = plan.map(|p| p.stop.clone()).unwrap_or_default();
        kept.ladder.as_ref().is_some_and(|ladder| *ladder != steps)
            || steps.iter().filter(|step| **step == svd_config::plan::StopStep::Signal(signal)).count() > 1
    }

    /// Ending it is justified: somebody asked, or it was not ready in time.
    fn check_may_end(&self, kept: &Kept) {
        // A stop in progress was justified when it began.
        let killed = kept.ladder.is_some() || kept.last_signal.is_some_and(|(signal, _)| signal == 9);
        if kept.note.asked || !kept.is_live() || kept.said_stopping || killed {
            return;
        }
        let plan = self.plan_for(&kept.instance.process, kept.lineage.generation);
        // One of a removed process waits for those after it to stop, and can be too late meanwhile.
        let late = plan.is_none_or(|p| {
            p.ready.by != ReadyBy::Started
                && kept.note.ready.is_none()
                && kept.exec_at.is_some_and(|at| self.world.now.since(at) >= p.ready.timeout)
        });
        // It was too late by the plan of an apply that has ended meanwhile.
        let told = self.facts.iter().rev().any(|(_, fact)| {
            matches!(fact.kind, FactKind::ReadyTimeout(_)) && fact.instance.as_ref() == Some(&kept.instance)
        });
        if !late && !told {
            self.broken("a healthy process is ended");
        }
    }

    fn check_annotate(&self, spawn: SpawnId, note: Note) {
        let Some(kept) = self.kept(spawn) else { self.broken("a note for a spawn that nobody knows") };
        if kept.note.asked && !note.asked {
            self.broken("it is forgotten that its end was asked for");
        }
        if !note.asked || kept.note.asked {
            return;
        }
        let name = &kept.instance;
        if !kept.is_live() {
            // What has ended is to be started without its past.
            return;
        }
        let beside = self.is_beside(name);
        let newer = self.of(name).any(|(id, _)| *id > spawn);
        let alone = kept.lineage.origin == Origin::Beside && !kept.note.promoted;
        let quieted = kept.note.quiet;
        if self.wanted(name)
            && kept.lineage.generation >= self.generation(name)
            && !newer
            && !(alone && kept.note.replaced)
            && !quieted
        {
            self.broken("an instance is stopped that nobody wants stopped");
        }
        if self.wanted(name) && beside && !alone && !kept.note.replaced && !quieted && !newer {
            self.broken("one that serves is stopped before another one has its place");
        }
        if self.wanted(name) && !beside && !kept.note.replaced {
            let mates = self
                .world
                .kept
                .values()
                .filter(|k| k.instance.process == name.process && k.instance != *name && self.wanted(&k.instance));
            for mate in mates {
                let room = self.plan.process(&name.process).map_or(1, |plan| plan.update.unavailable);
                if mate.note.asked && mate.is_live() && !mate.is_immortal() && !mate.note.replaced && room == 1 {
                    self.broken("two instances of a process are down for a restart");
                }
            }
        } else if !self.wanted(name) && !alone && self.shutdown != Some(true) && !self.kills.contains(name) {
            for dependent in self.world.kept.values().filter(|k| k.is_live() && !k.is_immortal()) {
                let plan = self.plan.process(&dependent.instance.process);
                let comes_after = plan.is_some_and(|p| p.after.iter().any(|d| *d.process == *name.process));
                if comes_after && !self.wanted(&dependent.instance) {
                    self.broken("something is stopped before what comes after it");
                }
            }
        }
    }

    fn check_spawn(&mut self, spawn: SpawnId, name: &InstanceName, lineage: &Lineage) {
        if spawn.0 <= self.world.last_spawn {
            self.broken("a spawn id is used twice");
        }
        if self.finished.is_some() || !self.wanted(name) {
            self.broken("something is started that is not to run");
        }
        let plan = self.plan_for(&name.process, lineage.generation).cloned();
        let Some(plan) = plan else { self.broken("started without a plan") };
        let beside = lineage.origin == Origin::Beside;
        for (_, kept) in self.of(name) {
            let candidate = kept.lineage.origin == Origin::Beside && !kept.note.promoted;
            let in_place = !kept.note.replaced && !candidate;
            if kept.is_live() && !kept.note.replaced && (if beside { candidate } else { in_place }) {
                self.broken("two copies of an instance");
            }
            if kept.note.asked && !kept.is_gone() && in_place {
                self.broken("started while something of the stopped one is left");
            }
        }
        let as_it_was = !beside && self.is_beside(name) && lineage.generation < self.generation(name);
        if lineage.generation != self.generation(name) && !as_it_was {
            self.broken("started in another generation than desired");
        }
        // What waits for what is up to the plan in force.
        self.check_order(&self.plan.process(&name.process).cloned().unwrap_or_else(|| plan.clone()));
        let gated = self.plan.process(&name.process).is_some_and(|plan| plan.is_gated());
        let mut live = self.world.kept.values().filter(|k| k.is_live() && k.instance.process == name.process);
        if gated && live.any(|k| k.lineage.slot == lineage.slot) {
            self.broken("two share a slot although one is free");
        }
        if beside {
            self.check_beside(name, lineage);
        } else {
            self.check_past(name, lineage, &plan);
        }
    }

    fn is_beside(&self, name: &InstanceName) -> bool {
        let plan = self.plan.process(&name.process);
        plan.is_some_and(|plan| plan.update.strategy != Strategy::Exclusive && !plan.oneshot)
    }

    /// The first of a generation is alone until it is ready, and never more are beside than surge allows.
    fn check_beside(&self, name: &InstanceName, lineage: &Lineage) {
        let live = || self.world.kept.values().filter(|k| k.is_live() && k.instance.process == name.process);
        let candidates =
            live().filter(|k| k.lineage.origin == Origin::Beside && !k.note.promoted && !k.note.replaced).count();
        let surge = self.plan.process(&name.process).map_or(1, |plan| plan.update.surge);
        if candidates >= surge as usize {
            self.broken("more are started beside than surge allows");
        }
        let mates = || live().filter(|k| k.lineage.generation == lineage.generation && !k.note.replaced);
        let waiting = mates().any(|k| k.lineage.origin == Origin::Beside && !k.note.promoted);
        // That the first has ended since may not have been told yet.
        let shown = self.world.kept.values().any(|k| {
            let mate = k.instance.process == name.process && k.lineage.generation == lineage.generation;
            mate && k.note.ready.is_some()
        });
        if waiting && !shown {
            self.broken("a second one is started before the first has shown what it is worth");
        }
    }

    fn check_quiet(&self, kept: &Kept) {
        if kept.signals.contains(&QUIET) {
            self.broken("told twice to take no new work");
        }
        if !kept.note.quiet {
            self.broken("told to take no new work without a note of it");
        }
    }

    /// One that waits for the queue of its slot is not told to end before that is empty, or has taken too long, or does not
    /// matter.
    fn check_queue(&self, kept: &Kept) {
        let gate = self.gates.get(&kept.instance.process);
        let open = gate.is_some_and(|gate| gate.iter().any(|(slot, _)| *slot == kept.lineage.slot));
        let served = self.world.kept.values().any(|other| {
            let mate = other.instance.process == kept.instance.process && other.lineage.slot == kept.lineage.slot;
            mate && other.is_live() && !other.note.asked && other.note.ready.is_some()
        });
        let late = kept.note.draining.is_some_and(|at| self.world.now.since(at) >= std::time::Duration::from_secs(10));
        let by_hand = !self.wanted(&kept.instance);
        // A plan that knows of no slots may have come in force meanwhile.
        let plan = self.plan_for(&kept.instance.process, kept.lineage.generation);
        let by_hand = by_hand || plan.is_none_or(|plan| !plan.is_gated());
        if !open && !served && !late && !by_hand {
            self.broken("told to end while somebody waits to be accepted");
        }
    }

    /// Connections are sent to those who are ready, where there is anybody.
    pub fn check_gate(&self, process: &str, weights: &[(Slot, u32)]) {
        if weights.is_empty() || weights.iter().any(|(_, weight)| *weight == 0) {
            self.broken("a gate without a way");
        }
        let ready = |slot: &Slot| {
            let core = self.core.as_ref().expect("it acts");
            core.view().any(|view| {
                let seen = view.spawn.filter(|_| *view.name.process == *process);
                let slot_is = seen.and_then(|spawn| core.slot_of(spawn)) == Some(*slot);
                slot_is && matches!(view.state, State::Ready | State::Unhealthy) && view.seat != Seat::Replaced
            })
        };
        let anybody = (0..MAX_SLOTS).map(Slot).any(|slot| ready(&slot));
        if anybody && weights.iter().any(|(slot, _)| !ready(slot)) {
            let views = self.core.iter().flat_map(|core| {
                core.view().map(|v| (v.name.to_string(), v.state, v.seat, v.spawn.and_then(|id| core.slot_of(id))))
            });
            let views: Vec<_> = views.filter(|(name, ..)| name.starts_with(process)).collect();
            self.broken(&format!("connections are sent where nobody is ready: {weights:?} {views:?}"));
        }
    }

    fn check_order(&self, plan: &ProcessPlan) {
        for dependency in &plan.after {
            let Some(of) = self.plan.process(&dependency.process) else { continue };
            for index in 1..=self.want(of) {
                let name = InstanceName::new(of.name.as_str(), index);
                // What happened and is not told yet cannot be known.
                let newest = self.of(&name).filter(|(_, kept)| in_place(kept)).last();
                let untold = self.world.agenda.values().any(|h| match h {
                    Happening::Deliver { event: Event::Exited { spawn, .. }, .. } => {
                        newest.is_some_and(|(id, _)| id == spawn)
                    }
                    _ => false,
                });
                let holds = newest.is_some_and(|(_, kept)| {
                    let completed = kept.lineage.generation == self.generation(&name)
                        && matches!(
                            &kept.life,
                            AdoptedLife::Exited { exit: ExitStatus::Code(0), before_exec: false, .. }
                        );
                    match (dependency.condition, of.oneshot) {
                        (Condition::Started, true) => completed || matches!(kept.life, AdoptedLife::Running { .. }),
                        (Condition::Started, false) => matches!(kept.life, AdoptedLife::Running { .. }),
                        (Condition::Ready, false) => {
                            matches!(kept.life, AdoptedLife::Running { .. }) && kept.note.ready.is_some()
                        }
                        (Condition::Ready, true) | (Condition::Completed, _) => completed,
                    }
                });
                if !holds && !untold {
                    self.broken("something is started before what it comes after");
                }
            }
        }
    }

    /// Back-off, limit, completion: what must hold over any number of managers.
    fn check_past(&mut self, name: &InstanceName, lineage: &Lineage, plan: &ProcessPlan) {
        let now = self.world.now;
        let generation = self.generation(name);
        let generation = if self.is_beside(name) { 0 } else { generation };
        let past = self.of(name).filter(|(_, kept)| in_place(kept)).last();
        let past = past.filter(|(_, last)| !last.note.asked && last.lineage.generation >= generation);
        let Some(last) = past.map(|(_, last)| last.clone()) else {
            self.restarts.remove(name);
            return;
        };
        let (at, exit) = match &last.life {
            AdoptedLife::Exited { exit, before_exec, at } => (*at, (!before_exec).then_some(*exit)),
            AdoptedLife::Failed { at, .. } => (*at, None),
            AdoptedLife::Forked { .. } | AdoptedLife::Running { .. } => return,
        };
        // One that was signalled for being late while the report of its good end was on the way counts as late: the
        // core cannot know better.
        let late = last.ladder.is_some() && last.note.ready.is_none();
        if plan.oneshot && exit == Some(ExitStatus::Code(0)) && last.last_signal.is_none() && !late {
            self.broken("a completed one-shot is run again");
        }
        if lineage.failures == 0 || lineage.restarts != last.lineage.restarts + 1 {
            self.broken("a restart lost its history");
        }
        if lineage.failures <= last.lineage.failures && now.since(last.note.ready.unwrap_or(now)).as_secs() < 10 {
            self.broken("failures are forgiven too early");
        }
        let doubled = plan.restart.backoff_min.saturating_mul(1 << (lineage.failures - 1).min(31));
        if now.since(at) < doubled.min(plan.restart.backoff_max) {
            self.broken("a pause is shortened");
        }
        let transient = matches!(&last.life, AdoptedLife::Failed { failure, .. } if failure.transient);
        if let (Some(limit), false) = (plan.restart.limit, transient) {
            if last.lineage.origin == Origin::Beside {
                // It began without a past.
                self.restarts.remove(name);
            }
            let (under, restarts) = self.restarts.entry(name.clone()).or_default();
            if *under != Some(limit) {
                (*under, *restarts) = (Some(limit), vec![]);
            }
            // What counts is when its end was told; that may be some hundred milliseconds after it.
            let window = limit.window.saturating_sub(super::plans::ms(500));
            let inside = restarts.iter().filter(|t| at.since(**t) < window).count();
            restarts.push(now);
            if inside >= limit.count as usize {
                self.broken("more restarts than the limit allows");
            }
        }
    }

    fn check_forget(&self, spawn: SpawnId) {
        let Some(kept) = self.kept(spawn) else { self.broken("a spawn is forgotten twice") };
        if !kept.is_gone() {
            self.broken("something is forgotten of which something is left");
        }
        let superseded = self.of(&kept.instance).any(|(id, _)| *id > spawn);
        let listed = self.plan.process(&kept.instance.process).is_some_and(|p| kept.instance.index <= self.want(p));
        if listed && !superseded && !kept.note.replaced {
            self.broken("the last spawn of an instance is forgotten");
        }
    }

    fn check_finish(&self, code: u8) {
        if let Some(kept) = self.world.kept.values().find(|kept| !kept.is_gone() && !kept.is_immortal()) {
            self.broken(&format!("{} is left over at the end", kept.instance));
        }
        let essential = self.facts.iter().any(|(_, fact)| fact.kind == FactKind::EssentialFailed);
        if code == 0 && (essential || self.world.kept.values().any(|kept| !kept.is_gone())) {
            self.broken("svd ends with 0 although something went wrong");
        }
        if self.shutdown.is_none() {
            self.broken("svd ends although nobody asked");
        }
    }

    /// Nothing moves: nothing is armed, nothing is owed, and everything is where it is to be.
    pub fn check_idle(&mut self) {
        if !self.pending.is_empty() {
            self.broken(&format!("outcomes are owed: {:?}", self.pending));
        }
        if self.finished.is_some() {
            return;
        }
        let Some(core) = &self.core else { self.broken("no manager") };
        if core.busy() || core.next_deadline().is_some() {
            self.broken("busy with nothing");
        }
        if core.desired() != &self.desired {
            self.broken("something desired was not stored");
        }
        if !self.desired.boundaries.is_empty() || self.desired.taken_back || self.before.is_some() {
            self.broken(&format!(
                "an apply does not come to its end: {:?} {:?}",
                self.desired,
                core.view().map(|v| (v.name.to_string(), v.state, v.seat, v.reason)).collect::<Vec<_>>()
            ));
        }
        for view in core.view() {
            if view.seat != Seat::Current {
                if !self.of(&view.name).any(|(_, kept)| kept.is_immortal()) {
                    self.broken(&format!("{} has company at rest: {:?}", view.name, view.seat));
                }
                continue;
            }
            let left = self.of(&view.name).any(|(_, kept)| !kept.is_gone());
            let ok = match (self.wanted(&view.name), view.state) {
                (true, State::Ready) => self.of(&view.name).any(|(_, kept)| kept.is_live() && !kept.note.asked),
                (true, State::Completed | State::Failed | State::Stopped | State::Waiting) => true,
                (false, State::Stopped) => !left,
                (_, State::Stuck) => self.of(&view.name).any(|(_, kept)| kept.is_immortal()),
                // Whoever is ill and could not be replaced serves on.
                (true, State::Unhealthy) => true,
                (true, State::Draining | State::Stopping | State::Starting | State::Backoff) => false,
                (false, _) => false,
            };
            if !ok {
                self.broken(&format!("{} rests as {}", view.name, view.state.word()));
            }
        }
        for kept in self.world.kept.values().filter(|kept| !kept.is_gone() && !kept.is_immortal()) {
            if !self.wanted(&kept.instance) || !kept.is_live() {
                self.broken(&format!("{} is left over", kept.instance));
            }
        }
    }
}

/// It has its name, or had it last.
fn in_place(kept: &Kept) -> bool {
    !kept.note.replaced && (kept.lineage.origin == Origin::Place || kept.note.promoted)
}
