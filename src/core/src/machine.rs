//! The whole machine: takes events in, lets what is desired work on what is observed, hands actions out.
//!
//! It is level-triggered: an event only changes what is observed or desired ([`Core::absorb`]); what follows from it
//! is worked out afresh each time (`settle.rs`). So it makes no difference whether a fact came as an event or, after
//! a manager's death, from the inventory.

use std::collections::BTreeMap;
use std::sync::Arc;

use svd_config::Plan;
use svd_config::plan::Late;

use crate::action::{Action, Fact, FactKind, Outcome};
use crate::desired::{Change, Desired, Which};
use crate::drain::DrainStepKind;
use crate::event::{Adopted, Event, Origin, Wear};
use crate::job::{Jobs, job_of};
use crate::name::{InstanceName, OpId, SpawnId};
use crate::ops::Op;
use crate::service::{Cx, Life, Spawn};
use crate::time::Time;
use crate::tree::{self, Aim, Instance, Listing, Process};
use crate::verdict::{self, Verdict};

/// The decisions about one app.
#[derive(Clone, Debug)]
pub struct Core {
    pub(crate) plan: Arc<Plan>,
    /// The other plan of an apply in progress ([`crate::Which::Other`]).
    pub(crate) other: Option<Arc<Plan>>,
    pub(crate) desired: Desired,
    pub(crate) processes: BTreeMap<Arc<str>, Process>,
    pub(crate) names: BTreeMap<SpawnId, InstanceName>,
    pub(crate) last_spawn: SpawnId,
    pub(crate) course: Course,
    pub(crate) ops: Vec<Op>,
    /// The code of the first essential instance that failed for good.
    pub(crate) essential: Option<u8>,
    pub(crate) now: Time,
    pub(crate) jobs: Jobs,
    /// What is desired, or who has which place, has changed since it was last looked at.
    pub(crate) changed: bool,
    pub(crate) mode: Mode,
}

/// How much the core does by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Everything.
    Normal,
    /// It keeps what runs, and stops what it is told to stop. It starts and replaces nothing: managers before this one crashed
    /// again and again, perhaps over just that.
    Safe,
}

/// What is desired, and by which plans, is told first and all at once, so that a later manager never finds effects of what it does
/// not know.
fn in_order(mut actions: Vec<Action>) -> Vec<Action> {
    actions.sort_by_key(|action| match action {
        Action::TakeBack { .. } | Action::DropOther | Action::Persist(_) => 0,
        // Connections are sent elsewhere before anybody is told to end.
        Action::Gate { .. } => 1,
        _ => 2,
    });
    actions
}

/// Where svd as a whole is.
#[derive(Clone, Debug)]
pub(crate) enum Course {
    /// Takes the inventory in, and does nothing.
    Adopting {
        found: Vec<Adopted>,
        early: Vec<Event>,
    },
    Running,
    /// Stops all.
    Ending {
        ops: Vec<OpId>,
        haste: Haste,
    },
    /// Has told the exit code. Nothing follows.
    Finished,
}

/// How all is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Haste {
    InOrder,
    AtOnce,
}

impl Core {
    /// A core that does nothing until [`Event::AdoptEnd`]. `plan` is the one in force, `other` the other one of an apply in
    /// progress ([`Desired::runs_by`]), `last_spawn` the largest spawn id ever used with this keeper.
    pub fn new(plan: Arc<Plan>, other: Option<Arc<Plan>>, desired: Desired, last_spawn: SpawnId) -> Core {
        Core {
            plan,
            other,
            desired,
            processes: BTreeMap::new(),
            names: BTreeMap::new(),
            last_spawn,
            course: Course::Adopting { found: Vec::new(), early: Vec::new() },
            ops: Vec::new(),
            essential: None,
            now: Time(0),
            jobs: Jobs::default(),
            changed: false,
            mode: Mode::Normal,
        }
    }

    /// Says how much it may do by itself. Before [`Event::AdoptEnd`].
    pub fn set_mode(&mut self, mode: Mode) {
        self.mode = mode;
    }

    /// Takes one event in and says what is to be done, in this order. What is told before [`Event::AdoptEnd`] takes
    /// effect there, before anything is started: a shutdown that was in progress, services that said `STOPPING=1`.
    pub fn step(&mut self, now: Time, event: Event) -> Vec<Action> {
        let mut out = self.take(now, event);
        out.extend(self.conclude(now));
        out
    }

    /// The first half of [`Core::step`]: takes one event in, and says what follows for the spawn that it is about.
    /// Where many events have come at once, all are taken first; [`Core::conclude`] then looks at everything once.
    pub fn take(&mut self, now: Time, event: Event) -> Vec<Action> {
        self.now = self.now.max(now);
        let mut out = Vec::new();
        self.absorb(event, &mut out);
        in_order(out)
    }

    /// The second half of [`Core::step`]: what follows from all that was taken in. Call it before waiting for anything.
    pub fn conclude(&mut self, now: Time) -> Vec<Action> {
        self.now = self.now.max(now);
        let mut out = Vec::new();
        match self.course {
            Course::Running | Course::Ending { .. } => self.settle(&mut out),
            Course::Adopting { .. } | Course::Finished => {}
        }
        in_order(out)
    }

    /// The earliest instant at which time alone changes something: send [`Event::Tick`] then. `None`: nothing is
    /// armed, svd need not wake up.
    pub fn next_deadline(&self) -> Option<Time> {
        match self.course {
            Course::Adopting { .. } | Course::Finished => return None,
            Course::Running | Course::Ending { .. } => {}
        }
        let ages = match self.course {
            Course::Running if self.mode == Mode::Safe => None,
            Course::Running => self.services().filter_map(|(name, process)| self.next_age(name, process)).min(),
            Course::Adopting { .. } | Course::Ending { .. } | Course::Finished => None,
        };
        self.next_step().into_iter().chain(ages).min()
    }

    /// The earliest deadline of what is in progress.
    fn next_step(&self) -> Option<Time> {
        let mut earliest: Option<Time> = None;
        let mut arm = |at: Time| earliest = Some(earliest.map_or(at, |e| e.min(at)));
        for (name, process) in &self.processes {
            for (index, instance) in &process.instances {
                instance.spawns().filter_map(Spawn::deadline).for_each(&mut arm);
                if let Some(until) = self.pause_end(name, process, *index, instance) {
                    arm(until);
                }
            }
        }
        if matches!(self.course, Course::Running) && self.mode == Mode::Normal {
            self.services().filter_map(|(name, process)| self.replacement_deadline(name, process)).for_each(&mut arm);
        }
        earliest
    }

    /// When the next instance of a process is so old that it is to be replaced.
    fn next_age(&self, name: &Arc<str>, process: &Process) -> Option<Time> {
        process.plan.recycle.age?;
        process.instances.iter().filter_map(|(index, instance)| self.age_end(name, process, *index, instance)).min()
    }

    /// When an instance is so old that it is to be replaced: a tenth later at most, each another part of it, so that those
    /// that were started together are not replaced together.
    fn age_end(&self, name: &Arc<str>, process: &Process, index: u32, instance: &Instance) -> Option<Time> {
        let age = process.plan.recycle.age?;
        let spawn = instance.current.as_ref().filter(|spawn| spawn.is_ready() && !spawn.note.asked)?;
        let on_its_way = instance.candidate.is_some() || instance.is_stale(self.generation(name, index));
        if on_its_way || self.aim(name, process, index) != Aim::Run {
            return None;
        }
        let full = InstanceName { process: name.clone(), index };
        let due = spawn.note.ready?.after(age).after(crate::backoff::share(age / 10, spawn.id, &full));
        Some(due.max(process.pace.until))
    }

    /// Has those replaced that are due for their age.
    pub(crate) fn replace_aged(&mut self, out: &mut Vec<Action>) {
        let mut due = Vec::new();
        for (name, process) in self.services().filter(|(_, process)| process.plan.recycle.age.is_some()) {
            for (index, instance) in &process.instances {
                let Some(spawn) = &instance.current else { continue };
                if self.age_end(name, process, *index, instance).is_some_and(|at| at <= self.now) {
                    due.push((spawn.id, self.now.since(spawn.note.ready.unwrap_or(self.now))));
                }
            }
        }
        for (id, age) in due {
            self.worn(id, Wear::Age(age), out);
        }
    }

    /// When the pause of an instance ends; `None` where it is in no pause, or not to run.
    fn pause_end(&self, name: &Arc<str>, process: &Process, index: u32, instance: &Instance) -> Option<Time> {
        instance.current.as_ref().filter(|spawn| !spawn.is_live() && !spawn.note.asked)?;
        if self.mode == Mode::Safe {
            return None;
        }
        match (self.aim(name, process, index), self.verdict(name, process, index, instance)) {
            (Aim::Run, Verdict::Again { until, .. }) if until > self.now => Some(until),
            (Aim::Run | Aim::Stop(_), _) => None,
        }
    }

    /// Which instance a spawn is of, as long as it is remembered.
    pub fn instance_of(&self, spawn: SpawnId) -> Option<&InstanceName> {
        self.names.get(&spawn)
    }

    /// The live spawn of an instance and the process id of its main process.
    pub fn current_spawn(&self, name: &InstanceName) -> Option<(SpawnId, Option<i32>)> {
        let spawn = self.instance(name)?.current.as_ref().filter(|spawn| spawn.is_live())?;
        Some((spawn.id, spawn.pid()))
    }

    /// The plan that a remembered spawn runs by.
    pub fn plan_of(&self, spawn: SpawnId) -> Option<&Arc<Plan>> {
        let name = self.names.get(&spawn)?;
        let generation = self.instance(name)?.spawns().find(|known| known.id == spawn)?.lineage.generation;
        match self.desired.runs_by(&name.process, generation) {
            crate::Which::InForce => Some(&self.plan),
            crate::Which::Other => self.other.as_ref(),
        }
    }

    /// The slot that a remembered spawn accepts from.
    pub fn slot_of(&self, spawn: SpawnId) -> Option<crate::Slot> {
        let name = self.names.get(&spawn)?;
        Some(self.instance(name)?.spawns().find(|known| known.id == spawn)?.lineage.slot)
    }

    /// The other plan of an apply in progress.
    pub fn other(&self) -> Option<&Arc<Plan>> {
        self.other.as_ref()
    }

    /// The plan in force.
    pub fn plan(&self) -> &Arc<Plan> {
        &self.plan
    }

    /// What people asked for, all changes included that were handed out as [`Action::Persist`].
    pub fn desired(&self) -> &Desired {
        &self.desired
    }

    /// How many instances of a process are wanted; 0 for one that the plan does not have.
    pub fn want(&self, process: &str) -> u32 {
        match self.processes.get(process) {
            Some(Process { listing: Listing::Retired, .. }) => 0,
            Some(known) => tree::want(&self.desired, &known.plan),
            // Before the inventory is complete nothing is known yet but the plan.
            None => self.plan.process(process).map_or(0, |plan| tree::want(&self.desired, plan)),
        }
    }

    /// Something is in progress: a command, a start, a stop, or a timer. The keeper had better watch the manager.
    pub fn busy(&self) -> bool {
        match self.course {
            Course::Adopting { .. } | Course::Ending { .. } => true,
            // That something will be old one day is no work in progress.
            Course::Running => !self.ops.is_empty() || self.is_run_busy() || self.next_step().is_some(),
            Course::Finished => false,
        }
    }

    pub(crate) fn instance(&self, name: &InstanceName) -> Option<&Instance> {
        self.processes.get(&name.process)?.instances.get(&name.index).map(Box::as_ref)
    }

    /// What is to become of an instance, the end of everything included.
    pub(crate) fn aim(&self, name: &Arc<str>, process: &Process, index: u32) -> Aim {
        match self.course {
            Course::Ending { .. } | Course::Finished => Aim::Stop(crate::state::Reason::Shutdown),
            Course::Adopting { .. } | Course::Running => self.lasting_aim(name, process, index),
        }
    }

    /// What is to become of an instance as far as people and the config say.
    pub(crate) fn lasting_aim(&self, name: &Arc<str>, process: &Process, index: u32) -> Aim {
        if job_of(name).is_some() {
            return self.run_aim(name, index);
        }
        let plan = match process.listing {
            Listing::Listed => Some(&*process.plan),
            Listing::Retired => None,
        };
        tree::aim(&self.desired, name, plan, index)
    }

    pub(crate) fn generation(&self, name: &Arc<str>, index: u32) -> u64 {
        tree::generation(&self.desired, name, index)
    }

    /// What the newest spawn of an instance means for it.
    pub(crate) fn verdict(&self, name: &Arc<str>, process: &Process, index: u32, instance: &Instance) -> Verdict {
        match &instance.current {
            None => Verdict::Fresh,
            Some(spawn) => {
                let full = InstanceName { process: name.clone(), index };
                let plan = process.planned(self.desired.runs_by(name, spawn.lineage.generation));
                // One that ends while another is to be started beside it is started again as it was.
                let generation = if process.is_beside() { 0 } else { self.generation(name, index) };
                verdict::verdict(plan, &full, spawn, generation)
            }
        }
    }

    fn absorb(&mut self, event: Event, out: &mut Vec<Action>) {
        match (&mut self.course, event) {
            (Course::Finished, Event::Command { op, .. }) => {
                out.push(Action::Done { op, outcome: Outcome::Refused("svd has ended".to_owned()) });
            }
            (Course::Finished, _) => {}
            (Course::Adopting { found, .. }, Event::Adopt(adopted)) => found.push(*adopted),
            (Course::Adopting { found, early }, Event::AdoptEnd) => {
                let (found, early) = (std::mem::take(found), std::mem::take(early));
                self.course = Course::Running;
                self.adopt(found, out);
                for event in early {
                    self.absorb(event, out);
                }
            }
            // Nothing is known yet that it could be about.
            (Course::Adopting { early, .. }, event) => early.push(event),
            (Course::Running | Course::Ending { .. }, Event::Adopt(_) | Event::AdoptEnd) => {}
            (Course::Running | Course::Ending { .. }, Event::Command { op, command }) => {
                self.command(op, &command, out);
            }
            (Course::Running | Course::Ending { .. }, Event::Tick) => {}
            (Course::Running | Course::Ending { .. }, Event::RunRecorded { run }) => self.recorded(run),
            (Course::Running | Course::Ending { .. }, Event::QueueEmpty { spawn }) => {
                self.on(spawn, out, |s, cx| s.drained(cx, DrainStepKind::Queue));
            }
            (Course::Running | Course::Ending { .. }, Event::Drained { spawn }) => {
                self.on(spawn, out, |s, cx| s.drained(cx, DrainStepKind::Proof));
            }
            (Course::Running | Course::Ending { .. }, Event::Worn { spawn, why }) => self.worn(spawn, why, out),
            (Course::Running | Course::Ending { .. }, Event::Recovered { spawn }) => {
                self.on(spawn, out, |s, cx| s.feel(cx, None));
            }
            (Course::Running | Course::Ending { .. }, Event::NotReady { spawn, why }) => {
                self.on(spawn, out, |s, _| s.last_try = Some(why));
            }
            (Course::Running | Course::Ending { .. }, Event::Spawned { spawn, pid }) => {
                self.on(spawn, out, |s, cx| s.spawned(cx, pid))
            }
            (Course::Running | Course::Ending { .. }, Event::Ready { spawn }) => {
                self.on(spawn, out, |s, cx| s.ready(cx))
            }
            (Course::Running | Course::Ending { .. }, Event::Said { spawn, said }) => {
                self.on(spawn, out, |s, cx| s.says(cx, said));
            }
            (Course::Running | Course::Ending { .. }, Event::Stopping { spawn }) => {
                self.on(spawn, out, |s, cx| s.leaving(cx))
            }
            (Course::Running | Course::Ending { .. }, Event::TreeEmpty { spawn }) => {
                let now = self.now;
                if let Some(instance) = self.names.get(&spawn).cloned().and_then(|name| self.instance_mut(&name)) {
                    instance.idle_since = now;
                }
                self.on(spawn, out, |s, cx| s.tree_empty(cx));
                self.empty_store(spawn, out);
            }
            (Course::Running | Course::Ending { .. }, Event::SpawnFailed { spawn, failure }) => {
                let mut news = false;
                self.on(spawn, out, |s, cx| news = s.failed(cx, failure));
                self.ended(spawn, news, out);
            }
            (Course::Running | Course::Ending { .. }, Event::Exited { spawn, exit, before_exec }) => {
                let mut news = false;
                self.on(spawn, out, |s, cx| news = s.exited(cx, exit, before_exec));
                self.ended(spawn, news, out);
            }
        }
    }

    pub(crate) fn instance_mut(&mut self, name: &InstanceName) -> Option<&mut Instance> {
        self.processes.get_mut(&name.process)?.instances.get_mut(&name.index).map(Box::as_mut)
    }

    /// Lets a spawn take something in. Reports about spawns that are no longer remembered are late doubles.
    pub(crate) fn on(&mut self, id: SpawnId, out: &mut Vec<Action>, f: impl FnOnce(&mut Spawn, &mut Cx<'_>)) {
        let Some(name) = self.names.get(&id) else { return };
        let op = self.ops.iter().rev().find(|op| op.concerns(name)).map(|op| op.id);
        let Some(Process { plan, other, instances, .. }) = self.processes.get_mut(&name.process) else { return };
        let Some(instance) = instances.get_mut(&name.index) else { return };
        // One that replaces another may be as late as that one was.
        let late_before = instance.current.as_ref().is_some_and(|spawn| spawn.note.late);
        let Some(spawn) = instance.spawns_mut().find(|spawn| spawn.id == id) else { return };
        let plan = match self.desired.runs_by(&name.process, spawn.lineage.generation) {
            Which::InForce => plan,
            Which::Other => other.as_ref().unwrap_or(plan),
        };
        let late = match (plan.ready.late, spawn.lineage.origin) {
            (Late::Counts, Origin::Place) => Late::Counts,
            (Late::Counts, Origin::Beside) if late_before => Late::Counts,
            (Late::Counts, Origin::Beside) | (Late::Fails, _) => Late::Fails,
        };
        f(spawn, &mut Cx { plan, name, op, now: self.now, late, out });
    }

    /// A running one is to be replaced: it is, as by a restart, unless that is on its way.
    fn worn(&mut self, id: SpawnId, why: Wear, out: &mut Vec<Action>) {
        if !self.is_active() {
            return;
        }
        if let Wear::Unhealthy(why) = &why {
            self.on(id, out, |spawn, cx| spawn.feel(cx, Some(why.clone())));
        }
        let Some(name) = self.names.get(&id).cloned() else { return };
        let Some((key, process)) = self.processes.get_key_value(&name.process) else { return };
        let Some(instance) = process.instances.get(&name.index) else { return };
        let current = instance.current.as_ref().is_some_and(|spawn| spawn.id == id && spawn.is_ready());
        let on_its_way = instance.candidate.is_some() || instance.is_stale(self.generation(key, name.index));
        let too_soon = self.now < process.pace.until;
        if !current || on_its_way || too_soon || self.aim(key, process, name.index) != Aim::Run {
            return;
        }
        let next = self.next_generation(key, process);
        let text = match &why {
            Wear::Unhealthy(_) => "its health probes fail".to_owned(),
            Wear::Memory(bytes) => format!("it uses {} MiB of memory", *bytes >> 20),
            Wear::Age(age) => format!("it is {} s old", age.as_secs()),
        };
        if let (Wear::Unhealthy(_), Some(process)) = (&why, self.processes.get_mut(&name.process)) {
            process.pace.slow_down(self.now);
        }
        self.on(id, out, |_, cx| cx.record(id, FactKind::Worn(text)));
        self.change(Change::Generation(name, next), out);
    }

    /// Nothing is left of a spawn: where its instance is not to run any more, what it has stored goes.
    fn empty_store(&self, id: SpawnId, out: &mut Vec<Action>) {
        let Some(name) = self.names.get(&id) else { return };
        let Some(process) = self.processes.get(&name.process) else { return };
        let Some(instance) = process.instances.get(&name.index) else { return };
        let stopped = matches!(self.aim(&name.process, process, name.index), Aim::Stop(_));
        if process.plan.notify.fd_store > 0 && stopped && instance.is_gone() {
            out.push(Action::EmptyStore { instance: name.clone() });
        }
    }

    /// A spawn's end was told: history learns what follows from it, and an essential one's failure is remembered.
    fn ended(&mut self, id: SpawnId, news: bool, out: &mut Vec<Action>) {
        let Some(name) = self.names.get(&id) else { return };
        let Some(process) = self.processes.get(&name.process) else { return };
        let Some(instance) = process.instances.get(&name.index) else { return };
        if instance.current.as_ref().is_none_or(|spawn| spawn.id != id) {
            return;
        }
        let verdict = self.verdict(&name.process, process, name.index, instance);
        let kind = match (&verdict, self.aim(&name.process, process, name.index)) {
            (Verdict::Again { pause, next, .. }, Aim::Run) => Some(FactKind::Backoff(*pause, next.failures)),
            (Verdict::Completed, _) => Some(FactKind::Completed),
            (Verdict::Over(_), _) => Some(FactKind::Stopped),
            (Verdict::Failed(why), _) => Some(FactKind::Failed(why.clone())),
            (Verdict::Again { .. }, Aim::Stop(_)) | (Verdict::Alive | Verdict::Fresh, _) => None,
        };
        if let Some(kind) = kind.filter(|_| news) {
            out.push(Action::Record(Fact { instance: Some(name.clone()), spawn: Some(id), op: None, kind }));
        }
        let name = name.clone();
        self.note_essential(&name);
    }

    /// Remembers the code of an essential instance that failed for good although it was to run.
    pub(crate) fn note_essential(&mut self, name: &InstanceName) {
        let Some(process) = self.processes.get(&name.process) else { return };
        let Some(instance) = process.instances.get(&name.index) else { return };
        if !process.plan.essential || self.essential.is_some() {
            return;
        }
        let failed = matches!(self.verdict(&name.process, process, name.index, instance), Verdict::Failed(_));
        let wanted = self.lasting_aim(&name.process, process, name.index) == Aim::Run;
        match &instance.current {
            Some(Spawn { life: Life::Ended { end, .. }, .. }) if failed && wanted => {
                self.essential = Some(verdict::exit_code(end));
            }
            Some(_) | None => {}
        }
    }
}
