//! The observed tree: processes, their instances, and the spawns of each. It owns the data and answers questions of
//! one instance; it takes no action.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use svd_config::Plan;
use svd_config::plan::{
    ExecPlan, Handoff, Late, LogPlan, NotifyPlan, ProcessPlan, ReadyBy, ReadyPlan, RecyclePlan, RestartPlan,
    RestartWhen, Run, StopStep, Strategy, UpdatePlan,
};

use crate::desired::{Desired, Which};
use crate::event::Slot;
use crate::ladder::{SIGKILL, SIGTERM};
use crate::name::{InstanceName, Target};
use crate::service::Spawn;
use crate::state::Reason;
use crate::time::Time;

/// A process and its instances.
#[derive(Clone, Debug)]
pub(crate) struct Process {
    /// By the plan in force.
    pub plan: Planned,
    /// By the other plan of an apply in progress, where that has it.
    pub other: Option<Planned>,
    pub listing: Listing,
    /// Where the gate was last told to send connections; empty: this manager has not told it yet.
    pub gate: Vec<(Slot, u32)>,
    /// The last replacement that was given up, and why.
    pub given_up: Option<(u64, String)>,
    /// How soon it is replaced again without anybody asking.
    pub pace: Pace,
    /// Boxed: a node of the map has room for eleven, and nearly every process has one.
    pub instances: BTreeMap<u32, Box<Instance>>,
}

/// What a process is like. A thousand processes are not kept twice: it points into the plan that has it.
#[derive(Clone, Debug)]
pub(crate) enum Planned {
    /// By this plan, in this place.
    By(Arc<Plan>, usize),
    /// The runs of a job: by this plan, in this place.
    Job(Arc<Plan>, usize),
    /// No plan has it.
    Unknown(Box<ProcessPlan>),
}

impl Deref for Planned {
    type Target = ProcessPlan;

    fn deref(&self) -> &ProcessPlan {
        match self {
            Planned::By(plan, at) => &plan.processes[*at],
            Planned::Job(plan, at) => &plan.jobs[*at].process,
            Planned::Unknown(plan) => plan,
        }
    }
}

/// Replacements that nobody asked for get rarer where they do not help: those that fail, and those of instances that fall ill
/// soon again (a database that is gone makes all of them ill, and no new one is any better). Known to this manager only.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Pace {
    /// None before then.
    pub until: Time,
    /// How many in a row did not help.
    pub times: u32,
    /// When the last one of them was.
    last: Time,
}

impl Pace {
    const FIRST: Duration = Duration::from_secs(10);
    const LONGEST: Duration = Duration::from_secs(600);

    /// One more did not help, or is to show whether it does.
    pub fn slow_down(&mut self, now: Time) {
        let soon = self.last.after(Pace::LONGEST * 2) > now;
        self.times = if soon { self.times.saturating_add(1) } else { 1 };
        let pause = Pace::FIRST.saturating_mul(1 << self.times.saturating_sub(1).min(16)).min(Pace::LONGEST);
        (self.until, self.last) = (now.after(pause), now);
    }
}

/// Whether the plan has the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Listing {
    Listed,
    /// It was removed; kept, with its last plan, until its instances are gone.
    Retired,
}

/// An instance.
#[derive(Clone, Debug)]
pub(crate) struct Instance {
    /// The one that has the name.
    pub current: Option<Spawn>,
    /// One that was started beside it to take its place.
    pub candidate: Option<Spawn>,
    /// Those of which something may be left: earlier ones, replaced ones, candidates that are needed no more.
    pub older: Vec<Spawn>,
    /// Since when it has been waiting or stopped, where it is.
    pub idle_since: Time,
}

/// What is to become of an instance.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Aim {
    Run,
    Stop(Reason),
}

impl Instance {
    pub fn new(now: Time) -> Instance {
        Instance { current: None, candidate: None, older: Vec::new(), idle_since: now }
    }

    pub fn spawns(&self) -> impl Iterator<Item = &Spawn> {
        self.older.iter().chain(&self.current).chain(&self.candidate)
    }

    pub fn spawns_mut(&mut self) -> impl Iterator<Item = &mut Spawn> {
        self.older.iter_mut().chain(&mut self.current).chain(&mut self.candidate)
    }

    /// Nothing of it is left: that is what stopped means.
    pub fn is_gone(&self) -> bool {
        self.spawns().all(Spawn::is_gone)
    }

    /// Something of it does not die, and is in the way of another start.
    pub fn is_stuck(&self) -> bool {
        self.in_place().any(Spawn::is_stuck)
    }

    /// Something of it does not die.
    pub fn has_stuck(&self) -> bool {
        self.spawns().any(Spawn::is_stuck)
    }

    /// The spawns that are not beside the one that has the name.
    pub fn in_place(&self) -> impl Iterator<Item = &Spawn> {
        self.older.iter().filter(|spawn| !spawn.note.replaced).chain(&self.current)
    }

    /// Those that were replaced and of which something is left.
    pub fn lingering(&self) -> impl Iterator<Item = &Spawn> {
        self.older.iter().filter(|spawn| spawn.note.replaced && !spawn.is_gone())
    }

    /// Nothing will change by waiting: gone, or what is left does not die.
    pub fn is_at_rest(&self) -> bool {
        self.spawns().all(|spawn| spawn.is_gone() || spawn.is_stuck())
    }

    /// Something of it is in the way of another start. What an unasked end has left behind is not: it is ended in
    /// the background.
    pub fn is_occupied(&self) -> bool {
        self.in_place().any(|spawn| spawn.is_live() || spawn.is_falling())
    }

    /// Its current spawn lives and is of an older generation than this.
    pub fn is_stale(&self, generation: u64) -> bool {
        self.current.as_ref().is_some_and(|spawn| spawn.is_live() && spawn.lineage.generation < generation)
    }

    /// Its current spawn, alive or not, is of an older generation than this and nobody asked it to end: another one is to be
    /// started beside it.
    pub fn is_outdated(&self, generation: u64) -> bool {
        self.current.as_ref().is_some_and(|spawn| !spawn.note.asked && spawn.lineage.generation < generation)
    }
}

impl Process {
    /// What a spawn of it runs by.
    pub fn planned(&self, which: Which) -> &Planned {
        match which {
            Which::InForce => &self.plan,
            Which::Other => self.other.as_ref().unwrap_or(&self.plan),
        }
    }

    /// Its instances are replaced by starting others beside them.
    pub fn is_beside(&self) -> bool {
        match self.plan.update.strategy {
            Strategy::Overlap | Strategy::Handover => !self.plan.oneshot,
            Strategy::Exclusive => false,
        }
    }

    pub fn spawns(&self) -> impl Iterator<Item = &Spawn> {
        self.instances.values().flat_map(|instance| instance.spawns())
    }
}

/// What is to become of `index` of `process`, as far as people and the config say.
pub(crate) fn aim(desired: &Desired, process: &Arc<str>, plan: Option<&ProcessPlan>, index: u32) -> Aim {
    let Some(plan) = plan else { return Aim::Stop(Reason::Removed) };
    if index > want(desired, plan) {
        return Aim::Stop(Reason::ScaledDown);
    }
    if desired.disabled.contains(process) {
        return Aim::Stop(Reason::Disabled);
    }
    if !desired.stopped.is_empty() {
        let stopped = |index| desired.stopped.contains(&Target { process: process.clone(), index });
        if stopped(None) || stopped(Some(index)) {
            return Aim::Stop(Reason::ByHand);
        }
    }
    Aim::Run
}

/// How many instances are wanted of a process.
pub(crate) fn want(desired: &Desired, plan: &ProcessPlan) -> u32 {
    desired.scale.get(plan.name.as_str()).copied().unwrap_or(plan.count)
}

pub(crate) fn generation(desired: &Desired, process: &Arc<str>, index: u32) -> u64 {
    if desired.generation.is_empty() {
        return 0;
    }
    desired.generation.get(&InstanceName { process: process.clone(), index }).copied().unwrap_or(0)
}

/// The table for a plan: its processes, each with as many instances as are wanted; what `old` knows is kept.
pub(crate) fn grow(
    plan: &Arc<Plan>,
    other: Option<&Arc<Plan>>,
    desired: &Desired,
    old: BTreeMap<Arc<str>, Process>,
    now: Time,
) -> BTreeMap<Arc<str>, Process> {
    let mut processes = old;
    for process in processes.values_mut() {
        process.listing = Listing::Retired;
    }
    for (at, listed) in plan.processes.iter().enumerate() {
        let planned = Planned::By(plan.clone(), at);
        let process = processes.entry(Arc::from(listed.name.as_str())).or_insert_with(|| Process {
            plan: planned.clone(),
            other: None,
            listing: Listing::Listed,
            gate: Vec::new(),
            given_up: None,
            pace: Pace::default(),
            instances: BTreeMap::new(),
        });
        process.plan = planned;
        process.listing = Listing::Listed;
        for index in 1..=want(desired, listed) {
            process.instances.entry(index).or_insert_with(|| Box::new(Instance::new(now)));
        }
    }
    for (name, process) in &mut processes {
        if let Some(planned) = planned_job(plan, name) {
            (process.plan, process.listing) = (planned, Listing::Listed);
        }
        let place = other.and_then(|plan| Some((plan, plan.processes.iter().position(|p| *p.name == **name)?)));
        process.other = place.map(|(plan, at)| Planned::By(plan.clone(), at));
    }
    processes
}

fn planned_job(plan: &Arc<Plan>, name: &str) -> Option<Planned> {
    let job = crate::job::job_of(name)?;
    let at = plan.jobs.iter().position(|known| known.name == job)?;
    Some(Planned::Job(plan.clone(), at))
}

/// What the runs of a job are instances of; kept as long as there are any.
pub(crate) fn job_process(plan: &Arc<Plan>, name: &str) -> Option<Process> {
    Some(Process {
        plan: planned_job(plan, name)?,
        other: None,
        listing: Listing::Listed,
        gate: Vec::new(),
        given_up: None,
        pace: Pace::default(),
        instances: BTreeMap::new(),
    })
}

/// The plan of a process that was found running and that no config names any more: enough to stop it.
pub(crate) fn unknown_process(name: &str) -> ProcessPlan {
    ProcessPlan {
        name: name.to_owned(),
        count: 0,
        exec: ExecPlan {
            run: Run::Literal(Vec::new()),
            cwd: "/".into(),
            user: None,
            group: None,
            umask: None,
            nice: None,
            oom_score_adj: None,
            env: BTreeMap::new(),
            keep_env: Vec::new(),
            rlimits: Vec::new(),
            port: 0,
            input: None,
        },
        after: Vec::new(),
        oneshot: false,
        essential: false,
        ready: ReadyPlan { by: ReadyBy::Started, timeout: Duration::from_secs(30), late: Late::Fails },
        restart: RestartPlan {
            when: RestartWhen::Never,
            backoff_min: Duration::ZERO,
            backoff_max: Duration::ZERO,
            limit: None,
            success_exit: Vec::new(),
        },
        stop: vec![StopStep::Signal(SIGTERM), StopStep::Wait(Duration::from_secs(10)), StopStep::Signal(SIGKILL)],
        reload_signal: 1,
        notify: NotifyPlan::default(),
        logs: LogPlan::Null,
        listen: Vec::new(),
        handoff: Handoff::Auto,
        update: UpdatePlan::default(),
        health: None,
        quiet: None,
        drained: None,
        recycle: RecyclePlan::default(),
    }
}
