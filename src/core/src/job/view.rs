//! What people see of jobs.

use std::sync::Arc;

use svd_config::plan::JobPlan;

use super::open::Active;
use super::record::{Run, RunId, Wall};
use crate::machine::Core;
use crate::name::InstanceName;
use crate::service::Spawn;

/// A job as status shows it.
#[derive(Clone, Debug)]
pub struct JobView<'a> {
    /// Its plan.
    pub plan: &'a JobPlan,
    /// It does not run by its schedule.
    pub paused: bool,
    /// When it is due next, with jitter.
    pub next: Option<Wall>,
    /// How many instants were missed, ever.
    pub missed: u64,
    /// Runs that are not over, the oldest first; each with the process id of its main process.
    pub open: Vec<(&'a Run, Option<i32>)>,
    /// The last run that has happened.
    pub latest: Option<&'a Run>,
    /// When the last one that succeeded was over.
    pub succeeded: Option<Wall>,
}

impl Core {
    /// All jobs, in the plan's order.
    pub fn jobs(&self) -> impl Iterator<Item = JobView<'_>> {
        let plan = self.jobs.plan.as_ref().unwrap_or(&self.plan);
        plan.jobs.iter().filter_map(|plan| self.job_view(plan))
    }

    /// The job of this name.
    pub fn job(&self, name: &str) -> Option<JobView<'_>> {
        self.jobs().find(|view| view.plan.name == name)
    }

    fn job_view<'a>(&'a self, plan: &'a JobPlan) -> Option<JobView<'a>> {
        let job = self.jobs.jobs.get(plan.name.as_str())?;
        let open = self.jobs.runs.of_job(&plan.name);
        Some(JobView {
            plan,
            paused: self.jobs.is_paused(&plan.name),
            next: job.due.map(|(due, _)| due),
            missed: job.state.missed,
            open: open.map(|active| (&active.run, self.pid_of(active))).collect(),
            latest: job.latest.as_ref(),
            succeeded: job.succeeded,
        })
    }

    fn pid_of(&self, active: &Active) -> Option<i32> {
        self.instance(&active.name)?.current.as_ref().and_then(Spawn::pid)
    }

    /// A run that is not over.
    pub fn run(&self, id: RunId) -> Option<&Run> {
        self.jobs.runs.get(id).map(|active| &active.run)
    }

    /// The run that an instance is, where it is one and not over.
    pub fn run_of(&self, name: &InstanceName) -> Option<&Run> {
        self.jobs.active(&name.process, name.index).map(|active| &active.run)
    }

    /// The runs of a job that are remembered, those that are not over among them; oldest first.
    pub fn runs_of(&self, job: &str) -> Vec<RunId> {
        let over = self.jobs.jobs.get(job).into_iter().flat_map(|job| job.history.iter().map(|(id, _)| *id));
        let open = self.jobs.runs.of_job(job).map(|active| active.run.id);
        let mut runs: Vec<RunId> = over.chain(open).collect();
        runs.sort_unstable();
        runs
    }

    /// The names of all jobs.
    pub fn job_names(&self) -> Vec<Arc<str>> {
        self.jobs.jobs.keys().cloned().collect()
    }
}
