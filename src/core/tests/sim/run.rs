//! The simulated manager: feeds the core, performs its actions, dies, comes back.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use fastrand::Rng;
use svd_config::Plan;
use svd_config::plan::{ProcessPlan, ReadyBy, RestartLimit};
use svd_core::*;

use super::plans;
use super::world::{Character, Happening, Kept, Left, World};

/// A bound for one history: more steps than this are a livelock.
const MAX_STEPS: u32 = 30_000;

/// How unkind the world is.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unkindness {
    /// One in so many actions is a manager's last; 0: none.
    pub deaths: u32,
    /// Longest delay of a report, milliseconds.
    pub late: u64,
    /// One in so many reports is told twice; 0: none.
    pub doubled: u32,
    /// Processes have random characters.
    pub wild: bool,
}

pub struct Sim {
    pub rng: Rng,
    pub unkind: Unkindness,
    pub world: World,
    pub core: Option<Core>,
    pub manager: u32,
    /// The plan in force.
    pub plan: Arc<Plan>,
    /// The config in force as the keeper holds it, and the other one while an apply is in progress.
    pub config: Arc<Plan>,
    pub before: Option<Arc<Plan>>,
    pub gates: BTreeMap<Arc<str>, Vec<(Slot, u32)>>,
    pub desired: Desired,
    pub next_op: u64,
    pub pending: BTreeSet<OpId>,
    pub outcomes: BTreeMap<OpId, Outcome>,
    pub facts: Vec<(Time, Fact)>,
    pub finished: Option<u8>,
    /// Shutdown, in order or at once, as commanded or decided; a manager is told again by whoever started it.
    pub shutdown: Option<bool>,
    pub kills: BTreeSet<InstanceName>,
    pub probing: BTreeSet<SpawnId>,
    pub sweeping: BTreeSet<SpawnId>,
    pub pipe: Time,
    pub steps: u32,
    pub restarts: BTreeMap<InstanceName, (Option<RestartLimit>, Vec<Time>)>,
    pub characters: BTreeMap<String, Vec<Character>>,
    pub trace: Option<Vec<String>>,
    pub commands_left: u32,
}

impl Sim {
    pub fn new(seed: u64, plan: Arc<Plan>, unkind: Unkindness) -> Sim {
        let world = World { now: Time(1_000_000_000), ..World::default() };
        Sim {
            rng: Rng::with_seed(seed),
            unkind,
            world,
            core: None,
            manager: 0,
            config: plan.clone(),
            plan,
            before: None,
            gates: BTreeMap::new(),
            desired: Desired::default(),
            next_op: 1,
            pending: BTreeSet::new(),
            outcomes: BTreeMap::new(),
            facts: vec![],
            finished: None,
            shutdown: None,
            kills: BTreeSet::new(),
            probing: BTreeSet::new(),
            sweeping: BTreeSet::new(),
            pipe: Time(0),
            steps: 0,
            restarts: BTreeMap::new(),
            characters: BTreeMap::new(),
            trace: None,
            commands_left: 0,
        }
    }

    pub fn note(&mut self, text: impl FnOnce() -> String) {
        let now = self.world.now;
        if let Some(trace) = &mut self.trace {
            trace.push(format!("{:9.3} {}", now.0 as f64 / 1e9, text()));
        }
    }

    /// A new manager takes over.
    pub fn up(&mut self) {
        if self.core.is_some() || self.finished.is_some() {
            return;
        }
        self.manager += 1;
        self.pipe = self.world.now;
        self.note(|| "-- manager up".to_owned());
        self.plan = self.config.clone();
        self.core = Some(Core::new(
            self.config.clone(),
            self.before.clone(),
            self.desired.clone(),
            SpawnId(self.world.last_spawn),
        ));
        for adopted in self.world.inventory() {
            self.note(|| format!("adopt {adopted:?}"));
            self.step(Event::Adopt(Box::new(adopted)), false);
        }
        // The keeper's inventory tells what services said of themselves.
        let leaving = self.world.kept.iter().filter(|(_, kept)| kept.said_stopping && kept.is_live());
        for spawn in leaving.map(|(id, _)| *id).collect::<Vec<_>>() {
            self.step(Event::Stopping { spawn }, false);
        }
        if let Some(now) = self.shutdown {
            self.command(Command::Shutdown { now });
        }
        for event in self.world.unacked.clone() {
            self.post(event);
        }
        self.step(Event::AdoptEnd, false);
    }

    /// The manager is gone, with all that only it knew.
    pub fn down(&mut self) {
        self.note(|| "-- manager down".to_owned());
        self.core = None;
        self.probing.clear();
        self.sweeping.clear();
        self.pending.clear();
        let wait = self.rng.u64(0..5000);
        self.world.later(wait, Happening::ManagerUp);
    }

    pub fn command(&mut self, command: Command) -> OpId {
        let op = OpId(self.next_op);
        self.next_op += 1;
        if let Command::Shutdown { now } = command {
            self.shutdown = Some(now || self.shutdown == Some(true));
        }
        if let (Command::Kill(targets), Some(core)) = (&command, &self.core) {
            let all: Vec<_> = core.view().map(|view| view.name).collect();
            let hit = |name: &InstanceName| {
                targets.iter().any(|t| t.process == name.process && t.index.is_none_or(|i| i == name.index))
            };
            self.kills.extend(all.into_iter().filter(hit));
        }
        self.pending.insert(op);
        if let (Command::Apply { plan, .. }, Some(core)) = (&command, &self.core)
            && core.dry_run(&command).is_ok()
        {
            // The keeper is told of it together with what is desired.
            self.before = Some(std::mem::replace(&mut self.config, plan.clone()));
        }
        self.step(Event::Command { op, command }, false);
        op
    }

    pub fn step(&mut self, event: Event, report: bool) {
        let Some(mut core) = self.core.take() else { return };
        self.steps += 1;
        if self.steps > MAX_STEPS {
            self.broken("livelock: too many steps");
        }
        let acked = report.then(|| event.clone());
        self.note(|| format!("> {event:?}"));
        // A manager may take several events in before it lets the core look at everything.
        let more = report && self.another_is_due() && self.rng.bool();
        let mut actions = core.take(self.world.now, event);
        if !more {
            actions.extend(core.conclude(self.world.now));
        }
        self.plan = core.plan().clone();
        if !more && core.next_deadline().is_some_and(|at| at <= self.world.now) {
            self.broken("a deadline that has passed is still armed");
        }
        self.core = Some(core);
        let turns = actions.iter().filter_map(|action| match action {
            Action::Gate { process, weights } => Some((process.clone(), weights.clone())),
            _ => None,
        });
        let turned: BTreeMap<_, _> = turns.collect();
        let mut actions = actions.into_iter().peekable();
        while let Some(action) = actions.next() {
            self.note(|| format!("    {action:?}"));
            let wish =
                |action: &Action| matches!(action, Action::TakeBack { .. } | Action::DropOther | Action::Persist(_));
            let together = wish(&action);
            self.perform(action);
            if together && actions.peek().is_some_and(wish) {
                continue;
            }
            if self.unkind.deaths > 0 && self.rng.u32(..self.unkind.deaths) == 0 {
                return self.down();
            }
        }
        // What counts is where the gates are in the end.
        for (process, weights) in turned {
            self.check_gate(&process, &weights);
        }
        let done = acked.and_then(|acked| self.world.unacked.iter().position(|event| *event == acked));
        if let Some(i) = done {
            self.world.unacked.remove(i);
        }
    }

    /// The next thing to happen, at this very instant, is another event for this manager.
    fn another_is_due(&self) -> bool {
        let next = self.world.agenda.first_key_value().filter(|(key, _)| key.0 <= self.world.now);
        matches!(next, Some((_, Happening::Deliver { manager, .. })) if *manager == self.manager)
    }

    fn perform(&mut self, action: Action) {
        self.check(&action);
        match action {
            Action::Jobs(_) | Action::RunNews(_) | Action::Ran { .. } => {}
            Action::Spawn { spawn, instance, lineage } => {
                let process = self.plan_for(&instance.process, lineage.generation).expect("checked").clone();
                let scripted = self.characters.get_mut(&instance.to_string()).filter(|list| !list.is_empty());
                let character = match scripted {
                    Some(list) => list.remove(0),
                    None if self.unkind.wild => Character::random(&mut self.rng, process.oneshot),
                    None => Character::good(process.oneshot),
                };
                self.note(|| format!("      {character:?}"));
                let notifies = process.ready.by == ReadyBy::Notify;
                self.world.spawn(spawn, instance, lineage, character, notifies);
            }
            Action::Probe { spawn } => {
                self.probing.insert(spawn);
                self.look(spawn);
            }
            Action::Signal { spawn, signal } => {
                let ladder = self.plan_of(spawn).map(|plan| plan.stop.clone()).unwrap_or_default();
                if let Some(kept) = self.world.kept.get_mut(&spawn).filter(|_| signal != plans::QUIET) {
                    kept.ladder.get_or_insert(ladder);
                }
                self.world.signal(spawn, signal);
            }
            Action::Sweep { spawn, how } => {
                let ladder = self.plan_of(spawn).map(|plan| plan.stop.clone()).unwrap_or_default();
                if let Some(kept) = self.world.kept.get_mut(&spawn).filter(|_| how == Sweep::Kill) {
                    kept.ladder.get_or_insert(ladder);
                }
                self.sweeping.insert(spawn);
                self.world.sweep(spawn, how);
                self.look(spawn);
            }
            Action::Annotate { spawn, note } => {
                if let Some(kept) = self.world.kept.get_mut(&spawn) {
                    kept.note = note;
                }
            }
            Action::Forget { spawn } => {
                self.world.kept.remove(&spawn);
            }
            Action::Persist(change) => self.desired.apply(&change),
            Action::Record(fact) => {
                if fact.kind == FactKind::EssentialFailed {
                    self.shutdown = self.shutdown.or(Some(false));
                }
                self.facts.push((self.world.now, fact));
            }
            Action::Done { op, outcome } => {
                self.pending.remove(&op);
                self.outcomes.insert(op, outcome);
            }
            Action::Gate { process, weights } => {
                self.gates.insert(process, weights);
            }
            Action::WatchQueue { spawn } => {
                if let Some(kept) = self.world.kept.get_mut(&spawn) {
                    kept.queue = true;
                    if let Some(wait) = kept.character.drains {
                        self.world.later(wait, Happening::QueueEmpty(spawn));
                    }
                }
            }
            Action::ProveDrained { spawn } => {
                // Its queue was empty, or did not matter.
                if let Some(kept) = self.world.kept.get_mut(&spawn) {
                    kept.queue = false;
                }
                if let Some(wait) = self.world.kept.get(&spawn).and_then(|kept| kept.character.drains) {
                    self.world.later(wait, Happening::Drained(spawn));
                }
            }
            Action::Watch { spawn } => {
                if let Some(wait) = self.world.kept.get(&spawn).and_then(|kept| kept.character.sickens) {
                    self.world.later(wait, Happening::Sickens(spawn));
                }
            }
            Action::Recall { spawn } => {
                let said = Said { heard: Some(self.world.now), ..Said::default() };
                self.post(Event::Said { spawn, said });
            }
            Action::EmptyStore { .. } => {}
            Action::TakeBack { .. } => {
                if let Some(before) = &mut self.before {
                    std::mem::swap(before, &mut self.config);
                }
            }
            Action::DropOther => self.before = None,
            Action::Finish { code } => self.finished = Some(code),
        }
    }

    /// What a spawn runs by.
    pub fn plan_of(&self, spawn: SpawnId) -> Option<&ProcessPlan> {
        let kept = self.world.kept.get(&spawn)?;
        self.plan_for(&kept.instance.process, kept.lineage.generation)
    }

    /// What a generation of a process runs by.
    pub fn plan_for(&self, process: &str, generation: u64) -> Option<&ProcessPlan> {
        let core = self.core.as_ref()?;
        let other = core.other().and_then(|plan| plan.process(process));
        match core.desired().runs_by(process, generation) {
            Which::InForce => core.plan().process(process),
            Which::Other => other.or_else(|| core.plan().process(process)),
        }
    }

    /// Looks whether a probe or a sweep has its answer.
    fn look(&mut self, id: SpawnId) {
        let Some(kept) = self.world.kept.get(&id) else { return };
        let (live, evidence, gone) = (kept.is_live(), kept.evidence, kept.is_gone());
        if live && evidence && self.probing.remove(&id) {
            self.post(Event::Ready { spawn: id });
        }
        if gone && self.sweeping.remove(&id) {
            self.post(Event::TreeEmpty { spawn: id });
        }
    }

    /// Puts an event into the pipe to the manager; the order is kept, the time is not.
    fn post(&mut self, event: Event) {
        let late = if self.unkind.late > 0 { self.rng.u64(..self.unkind.late) } else { 0 };
        self.pipe = self.pipe.max(self.world.now.after(plans::ms(late)));
        let wait = self.pipe.since(self.world.now).as_millis() as u64;
        let doubled = self.unkind.doubled > 0 && self.rng.u32(..self.unkind.doubled) == 0;
        for _ in 0..1 + u32::from(doubled) {
            self.world.later(wait, Happening::Deliver { manager: self.manager, event: event.clone() });
        }
    }

    /// Lets the next thing happen; false: nothing ever will.
    pub fn advance(&mut self, until: Time) -> bool {
        let agenda = self.world.agenda.first_key_value().map(|(key, _)| key.0);
        let deadline = self.core.as_ref().and_then(Core::next_deadline);
        let next = match (agenda, deadline) {
            (Some(a), Some(d)) => a.min(d),
            (Some(t), None) | (None, Some(t)) => t,
            (None, None) => return false,
        };
        if next > until {
            self.world.now = until;
            return false;
        }
        self.world.now = self.world.now.max(next);
        match agenda {
            Some(at) if at <= self.world.now => {
                let (_, happening) = self.world.agenda.pop_first().expect("just seen");
                self.happen(happening);
            }
            _ => self.step(Event::Tick, false),
        }
        true
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Exec(id) => self.world.exec(id),
            Happening::Exit(id, status) => {
                self.world.exit(id, status);
                let left = self.world.kept.get(&id).map(|kept| (kept.left, kept.last_signal));
                // Whoever is left when the whole tree was being killed is killed as well.
                if let Some((Left::Polite | Left::Stubborn, Some((9, _)))) = left {
                    self.world.later(1, Happening::LeftEnd(id));
                }
                self.look(id);
            }
            Happening::Evidence(id) => {
                if let Some(kept) = self.world.kept.get_mut(&id) {
                    kept.evidence = true;
                }
                self.look(id);
            }
            Happening::SaysStopping(id) => {
                if let Some(kept) = self.world.kept.get_mut(&id).filter(|kept| kept.is_live()) {
                    kept.said_stopping = true;
                    if self.core.is_some() {
                        self.post(Event::Stopping { spawn: id });
                    }
                }
            }
            Happening::QueueEmpty(id) => {
                if let Some(kept) = self.world.kept.get_mut(&id) {
                    kept.queue = false;
                }
                self.tell(id, Event::QueueEmpty { spawn: id });
            }
            Happening::Drained(id) => self.tell(id, Event::Drained { spawn: id }),
            // In a calm world nobody falls ill.
            Happening::Sickens(id) if self.unkind.wild => {
                self.tell(id, Event::Worn { spawn: id, why: Wear::Unhealthy("ill".to_owned()) });
            }
            Happening::Sickens(_) => {}
            Happening::LeftEnd(id) => {
                if let Some(kept) = self.world.kept.get_mut(&id) {
                    kept.left = Left::Nobody;
                }
                self.look(id);
            }
            Happening::Deliver { manager, event } if manager == self.manager && self.core.is_some() => {
                let report = matches!(event, Event::Spawned { .. } | Event::SpawnFailed { .. } | Event::Exited { .. });
                self.step(event, report);
            }
            Happening::Deliver { .. } => {}
            Happening::ManagerUp => self.up(),
            Happening::Command => self.random_command(),
        }
        for event in std::mem::take(&mut self.world.news) {
            self.world.unacked.push(event.clone());
            if self.core.is_some() {
                self.post(event);
            }
        }
    }

    /// A manager that is there hears of it, where it is about one that lives.
    fn tell(&mut self, id: SpawnId, event: Event) {
        if self.core.is_some() && self.world.kept.get(&id).is_some_and(Kept::is_live) {
            self.post(event);
        }
    }

    pub fn run_for(&mut self, millis: u64) {
        let until = self.world.now.after(plans::ms(millis));
        while self.finished.is_none() && self.advance(until) {}
        if self.finished.is_none() {
            self.world.now = until;
        }
    }

    pub fn run_until_idle(&mut self) {
        while self.finished.is_none() && self.advance(Time(u64::MAX)) {}
        self.check_idle();
    }

    fn random_command(&mut self) {
        if self.core.is_none() || self.finished.is_some() {
            return;
        }
        let target = |rng: &mut Rng| Target {
            process: Arc::from(["a", "b", "c", "d", "e", "nobody"][rng.usize(..6)]),
            index: if rng.bool() { None } else { Some(rng.u32(1..4)) },
        };
        let rng = &mut self.rng;
        let some: Vec<Target> = (0..rng.usize(1..3)).map(|_| target(rng)).collect();
        let processes: Vec<Arc<str>> = some.iter().map(|target| target.process.clone()).collect();
        let command = match rng.u8(..40) {
            0..=6 => Command::Start(some),
            7..=12 => Command::Stop(some),
            13..=21 => Command::Restart(some),
            22 => Command::Kill(some),
            23 if rng.bool() => Command::KillReplaced(some),
            23 => Command::Drain(some),
            24..=26 => Command::Enable(processes),
            27..=28 => Command::Disable(processes),
            29..=33 => Command::Scale(processes.into_iter().map(|name| (name, rng.u32(0..5))).collect()),
            34..=38 => {
                let (plan, restart) = plans::mutate(rng, &self.plan);
                Command::Apply { plan, restart }
            }
            _ => Command::Shutdown { now: rng.bool() },
        };
        let core = self.core.as_ref().expect("checked");
        let before = core.clone();
        let dry = core.dry_run(&command);
        if before.view().ne(core.view()) {
            self.broken("a dry run changed something");
        }
        let op = self.command(command);
        let refused = match self.outcomes.get(&op) {
            Some(Outcome::Refused(_)) => Some(true),
            Some(Outcome::Done(_) | Outcome::Failed(_) | Outcome::RolledBack(_) | Outcome::Held(_)) => Some(false),
            None => self.pending.contains(&op).then_some(false),
        };
        if refused.is_some_and(|refused| refused != dry.is_err()) {
            self.broken("the dry run told something else than the command");
        }
    }
}
