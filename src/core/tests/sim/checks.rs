//! The promises, checked at every action against the model world, and at rest.

use svd_config::plan::{Condition, ProcessPlan, ReadyBy};
use svd_core::*;

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
            Action::Spawn { spawn, instance, lineage } => self.check_spawn(*spawn, instance, lineage),
            Action::Signal { spawn, signal } => {
                let Some(kept) = self.kept(*spawn) else { self.broken("a spawn that nobody knows is signalled") };
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
            Action::Probe { .. }
            | Action::Gate { .. }
            | Action::WatchQueue { .. }
            | Action::ProveDrained { .. }
            | Action::Watch { .. }
            | Action::TakeBack
            | Action::DropOther
            | Action::Persist(_)
            | Action::Record(_) => {}
        }
    }

    fn ladder_repeats(&self, kept: &Kept, signal: i32) -> bool {
        // A plan that was changed meanwhile has another ladder: its own signals are sent once each.
        let steps = self.plan.process(&kept.instance.process).map(|p| p.stop.clone()).unwrap_or_default();
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
        let plan = self.plan.process(&kept.instance.process);
        // One of a removed process waits for those after it to stop, and can be too late meanwhile.
        let late = plan.is_none_or(|p| {
            p.ready.by != ReadyBy::Started
                && kept.note.ready.is_none()
                && kept.exec_at.is_some_and(|at| self.world.now.since(at) >= p.ready.timeout)
        });
        if !late {
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
        let newer = self.of(name).any(|(id, _)| *id > spawn);
        if self.wanted(name) && kept.lineage.generation >= self.generation(name) && !newer {
            self.broken("an instance is stopped that nobody wants stopped");
        }
        if self.wanted(name) {
            let mates = self
                .world
                .kept
                .values()
                .filter(|k| k.instance.process == name.process && k.instance != *name && self.wanted(&k.instance));
            for mate in mates {
                if mate.note.asked && mate.is_live() && !mate.is_immortal() {
                    self.broken("two instances of a process are down for a restart");
                }
            }
        } else if self.shutdown != Some(true) && !self.kills.contains(name) {
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
        let Some(plan) = self.plan.process(&name.process).cloned() else { self.broken("started without a plan") };
        for (_, kept) in self.of(name) {
            if kept.is_live() {
                self.broken("two copies of an instance");
            }
            if kept.note.asked && !kept.is_gone() {
                self.broken("started while something of the stopped one is left");
            }
        }
        if lineage.generation != self.generation(name) {
            self.broken("started in another generation than desired");
        }
        self.check_order(&plan);
        self.check_past(name, lineage, &plan);
    }

    fn check_order(&self, plan: &ProcessPlan) {
        for dependency in &plan.after {
            let Some(of) = self.plan.process(&dependency.process) else { continue };
            for index in 1..=self.want(of) {
                let name = InstanceName::new(of.name.as_str(), index);
                // What happened and is not told yet cannot be known.
                let newest = self.of(&name).last();
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
        let past = self.of(name).last().filter(|(_, last)| !last.note.asked && last.lineage.generation >= generation);
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
        if listed && !superseded {
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
        for view in core.view() {
            let left = self.of(&view.name).any(|(_, kept)| !kept.is_gone());
            let ok = match (self.wanted(&view.name), view.state) {
                (true, State::Ready) => self.of(&view.name).any(|(_, kept)| kept.is_live() && !kept.note.asked),
                (true, State::Completed | State::Failed | State::Stopped | State::Waiting) => true,
                (false, State::Stopped) => !left,
                (_, State::Stuck) => self.of(&view.name).any(|(_, kept)| kept.is_immortal()),
                (true, State::Unhealthy | State::Draining | State::Stopping | State::Starting | State::Backoff) => {
                    false
                }
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
