//! What people do with jobs: run one now, stop runs, pause and resume.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::open::Stage;
use super::record::{Cause, JobChange, JobState, RunId, RunResult};
use super::runs::Fell;
use crate::action::{Action, Outcome};
use crate::event::{JobCommand, Waits};
use crate::machine::{Core, Course};
use crate::name::OpId;

impl Core {
    /// What the command would do, in words; or why it would be refused. Changes nothing.
    pub(crate) fn job_words(&self, command: &JobCommand) -> Result<Vec<String>, String> {
        if !matches!(self.course, Course::Running | Course::Adopting { .. }) {
            return Err("svd is shutting down".to_owned());
        }
        let known = |job: &str| match self.jobs.jobs.contains_key(job) {
            true => Ok(()),
            false => Err(format!("there is no job {job:?}: svctl jobs lists them")),
        };
        if self.are_jobs_held() && !matches!(command, JobCommand::Stop(_)) {
            return Err(
                "nothing can be recorded of jobs now, so none begins and none is changed: see svctl status".to_owned()
            );
        }
        match command {
            JobCommand::Run { job, .. } => {
                known(job)?;
                Ok(vec![format!("run {job} now")])
            }
            JobCommand::Stop(targets) => {
                targets.iter().try_for_each(|(job, _)| known(job))?;
                let runs = self.meant(targets);
                match runs.is_empty() {
                    true => Err("none of these is in progress".to_owned()),
                    false => Ok(runs.iter().map(|id| self.stop_words(*id)).collect()),
                }
            }
            JobCommand::Pause(jobs) | JobCommand::Resume(jobs) => {
                jobs.iter().try_for_each(|job| known(job))?;
                let pause = matches!(command, JobCommand::Pause(_));
                let changed = jobs.iter().filter(|job| self.jobs.is_paused(job) != pause);
                let verb = if pause { "pause" } else { "resume" };
                Ok(changed.map(|job| format!("{verb} {job}")).collect())
            }
        }
    }

    fn stop_words(&self, id: RunId) -> String {
        let job = self.jobs.runs.get(id).map_or("", |active| &active.run.job);
        format!("stop {id} of {job}")
    }

    /// Runs that are not over, of these jobs or with these numbers.
    fn meant(&self, targets: &[(Arc<str>, Option<RunId>)]) -> BTreeSet<RunId> {
        let runs = self.jobs.runs.iter().map(|active| &active.run);
        let is_meant = |job: &str, id: RunId| targets.iter().any(|(j, run)| **j == *job && run.is_none_or(|r| r == id));
        runs.filter(|run| is_meant(&run.job, run.id)).map(|run| run.id).collect()
    }

    pub(crate) fn job_command(&mut self, op: OpId, command: &JobCommand, out: &mut Vec<Action>) {
        if let Err(why) = self.job_words(command) {
            out.push(Action::Done { op, outcome: Outcome::Refused(why) });
            return;
        }
        match command {
            JobCommand::Run { job, actor, waits } => self.run_by_hand(op, job, actor.clone(), *waits, out),
            JobCommand::Stop(targets) => {
                let runs = self.meant(targets);
                for id in &runs {
                    self.stop_run(*id, RunResult::Cancelled, "stopped by hand".to_owned(), out);
                }
                self.jobs.stops.push((op, runs));
            }
            JobCommand::Pause(jobs) => self.pause(op, jobs, true, out),
            JobCommand::Resume(jobs) => self.pause(op, jobs, false, out),
        }
    }

    fn run_by_hand(&mut self, op: OpId, job: &Arc<str>, actor: Option<String>, waits: Waits, out: &mut Vec<Action>) {
        let mut ours = Vec::new();
        let fell = self.fall_due(job, Cause::Hand, None, &mut ours);
        let id = match fell {
            Fell::Refused(why) => {
                out.push(Action::Done { op, outcome: Outcome::Refused(why) });
                return;
            }
            Fell::Run(id) => id,
        };
        for action in &mut ours {
            match action {
                Action::Jobs(JobChange::Run(run)) if run.id == id => run.actor = actor.clone(),
                Action::RunNews(news) if news.run().id == id => news.run_mut().actor = actor.clone(),
                _ => {}
            }
        }
        out.append(&mut ours);
        let Some(run) = self.jobs.runs.run_mut(id) else { return };
        run.actor = actor;
        match waits {
            Waits::ForBegin => out.push(Action::Ran { op, run: Box::new(run.clone()) }),
            Waits::ForEnd => self.jobs.runs.await_end(id, op),
        }
    }

    fn pause(&mut self, op: OpId, jobs: &[Arc<str>], pause: bool, out: &mut Vec<Action>) {
        let (app, wall) = (self.plan.app.clone(), self.jobs.wall);
        let mut changed = 0;
        for name in jobs.iter().collect::<BTreeSet<_>>() {
            let was = self.jobs.is_paused(name);
            let Some(job) = self.jobs.jobs.get_mut(name) else { continue };
            let state = JobState { paused: Some(pause), idle: pause, ..job.state.clone() };
            // What came while it was paused is not missed.
            let handled = if was && !pause { state.handled.map(|handled| handled.max(wall)) } else { state.handled };
            changed += usize::from(was != pause);
            job.state = JobState { handled, ..state };
            out.push(Action::Jobs(JobChange::State(name.clone(), job.state.clone())));
            self.jobs.arm(&app, name);
        }
        let verb = if pause { "paused" } else { "resumed" };
        let told = if changed == 0 { format!("{verb} already") } else { verb.to_owned() };
        out.push(Action::Done { op, outcome: Outcome::Done(told) });
    }

    /// Somebody waits for the end of a run.
    pub(crate) fn is_run_busy(&self) -> bool {
        let runs = &self.jobs.runs;
        runs.are_awaited() || runs.at(Stage::Recording).next().is_some() || !self.jobs.stops.is_empty()
    }
}
