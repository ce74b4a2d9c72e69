//! All that is known of jobs and their runs in progress, and when the next one is due.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use jiff::tz::TimeZone;
use svd_config::Plan;
use svd_config::plan::{JOB, JobPlan};
use svd_config::schedule::{Known, Schedule};

use super::open::{Active, OpenRuns, Stage};
use super::record::{JobChange, JobState, Phase, Run, RunId, RunResult, StoredJobs, Wall};
use super::ticks::Calendar;
use crate::action::Action;
use crate::machine::Core;
use crate::name::OpId;

/// The zones that a plan names, as the caller has looked them up.
pub type Zones = BTreeMap<String, TimeZone>;

/// Runs of jobs that are gone from the config are remembered so long.
const ORPHAN_AGE: std::time::Duration = std::time::Duration::from_secs(30 * 86_400);

/// Everything about jobs.
#[derive(Clone, Debug, Default)]
pub(crate) struct Jobs {
    /// What the store had, until the inventory is complete.
    pub stored: Option<Box<StoredJobs>>,
    /// The plan that was taken in.
    pub plan: Option<Arc<Plan>>,
    /// The one by which runs were last looked for whose job is gone.
    pub looked: Option<Arc<Plan>>,
    /// The zones of the plan, each with what was last looked up of it.
    pub zones: BTreeMap<String, (TimeZone, Cell<Known>)>,
    /// What was last looked up of UTC, which stands for zones that are gone.
    pub utc: Cell<Known>,
    pub wall: Wall,
    /// The clock was put back since that was last looked into.
    pub put_back: bool,
    pub jobs: BTreeMap<Arc<str>, Job>,
    /// When each job is due next.
    pub agenda: BTreeSet<(Wall, Arc<str>)>,
    pub runs: OpenRuns,
    /// Something was asked to end that has not begun.
    pub stop_asked: bool,
    pub last: RunId,
    /// Nothing begins: what begins could not be recorded, and a later manager would begin it again.
    pub held: bool,
    /// Stops in progress, and the runs that they wait for.
    pub stops: Vec<(OpId, BTreeSet<RunId>)>,
}

/// A job of the plan.
#[derive(Clone, Debug)]
pub(crate) struct Job {
    /// Its place in the plan.
    pub at: usize,
    pub state: JobState,
    /// When it is due, with jitter, and the instant of its schedule.
    pub due: Option<(Wall, Wall)>,
    /// Runs that are over.
    pub history: VecDeque<(RunId, Wall)>,
    /// The last one that has happened.
    pub latest: Option<Run>,
    /// When the last one that succeeded was over.
    pub succeeded: Option<Wall>,
}

/// What runs of a job are called as instances: `job:report`.
pub(crate) fn process_name(job: &str) -> Arc<str> {
    Arc::from(format!("{JOB}{job}"))
}

/// The job whose runs are called like this.
pub(crate) fn job_of(process: &str) -> Option<&str> {
    process.strip_prefix(JOB)
}

impl Jobs {
    pub fn plan_of(&self, name: &str) -> Option<&JobPlan> {
        let job = self.jobs.get(name)?;
        self.plan.as_ref()?.jobs.get(job.at)
    }

    pub fn is_paused(&self, name: &str) -> bool {
        let said = self.jobs.get(name).and_then(|job| job.state.paused);
        said.unwrap_or_else(|| self.plan_of(name).is_some_and(|plan| plan.paused))
    }

    /// A run of this number that is not over.
    pub fn active(&self, process: &str, index: u32) -> Option<&Active> {
        self.runs.get(RunId(index)).filter(|active| job_of(process) == Some(&active.run.job))
    }

    /// The zone of a job's schedule. All zones of a plan were looked up; one that is gone meanwhile counts as UTC.
    pub fn calendar<'a>(&'a self, plan: &'a JobPlan, state: &JobState) -> Option<Calendar<'a>> {
        let schedule = plan.schedule.as_ref()?;
        let found = self.zones.get(&schedule.zone).map(|(zone, known)| (zone, known));
        let (zone, known) = found.unwrap_or((const { &TimeZone::UTC }, &self.utc));
        Some(Calendar { schedule: &schedule.schedule, zone, known, ahead: state.ahead })
    }

    fn take_zones(&mut self, zones: Zones) {
        self.zones = zones.into_iter().map(|(name, zone)| (name, (zone, Cell::default()))).collect();
    }

    /// Works out when a job is due next.
    pub fn arm(&mut self, app: &str, name: &Arc<str>) {
        let Some(job) = self.jobs.get(name) else { return };
        let (before, next) = (job.due, self.next_of(app, name, job));
        if before == next {
            return;
        }
        if let Some((due, _)) = before {
            self.agenda.remove(&(due, name.clone()));
        }
        if let Some((due, _)) = next {
            self.agenda.insert((due, name.clone()));
        }
        if let Some(job) = self.jobs.get_mut(name) {
            job.due = next;
        }
    }

    fn next_of(&self, app: &str, name: &str, job: &Job) -> Option<(Wall, Wall)> {
        let plan = self.plan.as_ref()?.jobs.get(job.at)?;
        if job.state.paused.unwrap_or(plan.paused) {
            return None;
        }
        let instant = self.calendar(plan, &job.state)?.next(job.state.handled?)?;
        Some((instant.after(super::ticks::jitter(app, name, plan.jitter)), instant))
    }

    /// Notes a run that is over, and answers which ones are to be forgotten for it.
    pub fn remember(&mut self, run: &Run) -> Vec<RunId> {
        let wall = self.wall;
        let Some(history) = self.plan_of(&run.job).map(|plan| plan.history) else { return Vec::new() };
        let Some(job) = self.jobs.get_mut(&run.job) else { return Vec::new() };
        job.history.push_back((run.id, run.ended.unwrap_or(wall)));
        if run.result().is_some_and(RunResult::has_happened) {
            job.latest = Some(run.clone());
        }
        if run.result() == Some(RunResult::Succeeded) {
            job.succeeded = run.ended;
        }
        let mut gone = Vec::new();
        while let Some((id, ended)) = job.history.front() {
            let many = job.history.len() > usize::try_from(history.keep).unwrap_or(usize::MAX);
            let old = wall.since(*ended) > history.age && job.history.len() > 1;
            if !many && !old {
                break;
            }
            gone.push(*id);
            job.history.pop_front();
        }
        gone
    }
}

impl Core {
    /// What the store has of jobs, and the zones of the plan. Before anything else is told.
    pub fn load_jobs(&mut self, stored: StoredJobs, zones: Zones, now: Wall) {
        self.jobs.wall = now;
        self.jobs.take_zones(zones);
        self.jobs.last = stored.last;
        for run in &stored.open {
            let stage = match run.phase {
                Phase::Queued => Stage::Queued,
                Phase::Begun | Phase::Ended(_) => Stage::Recorded,
            };
            self.jobs.runs.insert(Active::new(run.clone(), stage));
            self.jobs.stop_asked |= run.stopping.is_some();
        }
        self.jobs.stored = Some(Box::new(stored));
    }

    /// The store is only this manager's memory while there is a real one somewhere: nothing begins, and what is in progress goes on
    /// and is told to the manager that has the real one.
    pub fn hold_jobs(&mut self) {
        self.jobs.held = true;
    }

    pub(crate) fn are_jobs_held(&self) -> bool {
        self.jobs.held || self.mode == crate::Mode::Safe
    }

    /// The zones of the plan, or of the one that is applied next; or the same ones with new data.
    pub fn set_zones(&mut self, zones: Zones) {
        self.jobs.take_zones(zones);
        let app = self.plan.app.clone();
        for name in self.jobs.jobs.keys().cloned().collect::<Vec<_>>() {
            self.jobs.arm(&app, &name);
        }
    }

    /// What the clock on the wall shows. Tell it before events and ticks, and when the clock was set.
    pub fn set_wall(&mut self, wall: Wall) {
        /// A clock that is held back by less is being steered, not set.
        const STEP: std::time::Duration = std::time::Duration::from_secs(1);
        let back = self.jobs.wall.since(wall) >= STEP;
        self.jobs.wall = wall;
        if back {
            self.jobs.put_back = true;
        }
    }

    /// Takes a plan in that is not known yet.
    pub(crate) fn take_jobs_in(&mut self, out: &mut Vec<Action>) {
        if self.jobs.plan.as_ref().is_some_and(|known| Arc::ptr_eq(known, &self.plan)) {
            return;
        }
        let first = self.jobs.plan.is_none();
        let plan = self.plan.clone();
        self.jobs.plan = Some(plan.clone());
        let stored = *self.jobs.stored.take().unwrap_or_default();
        let known = |name: &str| plan.jobs.iter().any(|job| job.name == name);
        let gone = self.jobs.jobs.keys().chain(stored.states.keys()).filter(|name| !known(name)).cloned();
        for name in gone.collect::<BTreeSet<_>>() {
            if let Some((due, _)) = self.jobs.jobs.remove(&name).and_then(|job| job.due) {
                self.jobs.agenda.remove(&(due, name.clone()));
            }
            out.push(Action::Jobs(JobChange::Gone(name)));
        }
        for (name, runs) in stored.history.iter().filter(|(name, _)| !known(name)) {
            let wall = self.jobs.wall;
            let old = runs.iter().filter(|(_, ended)| wall.since(*ended) > ORPHAN_AGE).map(|(id, _)| *id);
            let old: Vec<RunId> = old.collect();
            if !old.is_empty() {
                out.push(Action::Jobs(JobChange::Forget(name.clone(), old)));
            }
        }
        for (at, job) in plan.jobs.iter().enumerate() {
            let name: Arc<str> = Arc::from(job.name.as_str());
            let mut entry = self.jobs.jobs.remove(&name).unwrap_or_else(|| Job {
                at,
                state: stored.states.get(&name).cloned().unwrap_or_else(|| JobState {
                    // What comes while svd runs does not begin with it.
                    rebooted: !first,
                    ..JobState::default()
                }),
                due: None,
                history: stored.history.get(&name).cloned().unwrap_or_default().into(),
                latest: stored.latest.get(&name).cloned(),
                succeeded: stored.succeeded.get(&name).copied(),
            });
            entry.at = at;
            let before = entry.state.clone();
            let paused = entry.state.paused.unwrap_or(job.paused);
            let schedule = job.schedule.as_ref().map_or_else(String::new, |s| format!("{} {}", s.text, s.zone));
            // What another schedule would have run is not missed, nor is what came while it was paused.
            let anew = entry.state.handled.is_none() || entry.state.schedule != schedule || entry.state.idle && !paused;
            if anew {
                let wall = self.jobs.wall;
                entry.state = JobState { handled: Some(wall), gap: None, ahead: None, ..entry.state };
            }
            (entry.state.idle, entry.state.schedule) = (paused, schedule);
            let reboot = matches!(job.schedule.as_ref().map(|s| &s.schedule), Some(Schedule::Reboot));
            let due_now = reboot && first && !entry.state.rebooted && !self.are_jobs_held();
            entry.state.rebooted = true;
            if entry.state != before {
                out.push(Action::Jobs(JobChange::State(name.clone(), entry.state.clone())));
            }
            self.jobs.jobs.insert(name.clone(), entry);
            self.jobs.arm(&plan.app, &name);
            if due_now && !paused {
                self.fall_due(&name, super::Cause::Reboot, None, out);
            }
        }
        self.jobs.put_back |= first;
    }

    /// The earliest instant of the clock on the wall at which a job is due. `None`: nothing is.
    pub fn next_wall(&self) -> Option<Wall> {
        match self.course {
            crate::machine::Course::Running if self.are_jobs_held() => None,
            crate::machine::Course::Running => self.jobs.agenda.first().map(|(due, _)| *due),
            crate::machine::Course::Adopting { .. }
            | crate::machine::Course::Ending { .. }
            | crate::machine::Course::Finished => None,
        }
    }
}
