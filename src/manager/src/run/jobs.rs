//! Jobs in the manager: what the core wants stored and told of them, and what the control API asks and is shown.

use std::collections::BTreeSet;
use std::sync::Arc;

use svd_api as api;
use svd_config::glob;
use svd_config::plan::JOB;
use svd_config::schedule::Schedule;
use svd_core::{
    Cause, Command, InstanceName, JobChange, JobCommand, JobView, OpId, Phase, Run, RunId, RunNews, RunResult, Waits,
    Wall,
};

use super::app::App;
use super::asks::{Answer, Asked};
use super::reports::api_exit;
use crate::ask::Actor;
use crate::seam::LinkError;
use crate::store::NewEvent;

/// A job, and one of its runs where that was named.
type NamedRuns = (Arc<str>, Option<RunId>);

impl App {
    /// Stores something about jobs with this turn.
    pub(super) fn store_job(&mut self, change: JobChange) {
        if let JobChange::Forget(job, runs) = &change {
            for run in runs {
                self.logs.forget(format!("{JOB}{job}.{}", run.0));
            }
        }
        self.commits.job(change);
    }

    /// Something happened to a run: history has it. Whoever else is to hear of it is told from here.
    pub(super) fn run_news(&mut self, news: &RunNews) {
        let run = news.run();
        let (kind, message) = match (news, run.result()) {
            (RunNews::Queued(_), _) => ("job.queued".to_owned(), format!("{} waits: {}", run.id, run.why)),
            (RunNews::Begun(_), _) => ("job.started".to_owned(), format!("{} begins{}", run.id, for_instant(run))),
            (RunNews::Ended(_), result) => {
                let result = result.unwrap_or(RunResult::Unknown);
                *self.run_counts.entry((run.job.to_string(), result.word())).or_default() += 1;
                (format!("job.{}", result.word().replace('-', "_")), ended(run, result))
            }
        };
        self.commits.event(NewEvent {
            time_ns: svd_sys::clock::now().real_ns,
            kind,
            process: Some(format!("{JOB}{}", run.job)),
            instance: Some(format!("{JOB}{}.{}", run.job, run.id.0)),
            exit: run.exit.map(api_exit),
            actor: run.actor.clone(),
            message,
            ..NewEvent::default()
        });
    }

    /// A command that runs a job is done.
    pub(super) fn ran(&mut self, op: OpId, run: &Run) {
        let Some(op) = self.ops.remove(&op) else { return };
        let (outcome, message) = match run.phase {
            Phase::Queued => (api::OutcomeWord::Done, format!("{} of {} waits: {}", run.id, run.job, run.why)),
            Phase::Begun => (api::OutcomeWord::Done, format!("{} of {} begins", run.id, run.job)),
            Phase::Ended(RunResult::Succeeded) => {
                (api::OutcomeWord::Done, format!("{} of {} {}", run.id, run.job, ended(run, RunResult::Succeeded)))
            }
            Phase::Ended(result) => {
                (api::OutcomeWord::Failed, format!("{} of {} {}", run.id, run.job, ended(run, result)))
            }
        };
        let evidence = match outcome {
            api::OutcomeWord::Failed => vec![format!("{JOB}{}.{}", run.job, run.id.0)],
            _ => Vec::new(),
        };
        if let Some(reply) = op.reply {
            let (changes, problems, run) = (op.changes, Vec::new(), Some(shown(run, None)));
            self.commits.reply((reply, api::CommandResult { outcome, message, changes, problems, evidence, run }));
        }
    }

    /// The variables that a run is told beside those of its command.
    pub(super) fn run_variables(&self, name: &InstanceName) -> Vec<(String, String)> {
        let Some(run) = self.core.run_of(name) else { return Vec::new() };
        vec![
            ("SVD_JOB".to_owned(), run.job.to_string()),
            ("SVD_RUN".to_owned(), run.id.0.to_string()),
            ("SVD_ATTEMPT".to_owned(), self.core.attempt_of(name).to_string()),
            ("SVD_SCHEDULED".to_owned(), run.scheduled.map(instant).unwrap_or_default()),
        ]
    }

    /// All jobs, as the API shows them.
    pub(super) fn shown_jobs(&self) -> Vec<api::Job> {
        self.core.jobs().map(|view| shown_job(&view)).collect()
    }

    /// Runs a job because somebody asks for it.
    pub(super) fn run_job(&mut self, request: api::RunRequest, actor: Actor, reply: Answer) -> Result<(), LinkError> {
        let name = actor.name.clone();
        let job = request.job.strip_prefix(JOB).unwrap_or(&request.job);
        let waits = if request.wait { Waits::ForEnd } else { Waits::ForBegin };
        let command = JobCommand::Run { job: Arc::from(job), actor: Some(name), waits };
        let asked = Asked {
            words: format!("run {job}"),
            actor: Some(actor),
            reason: request.reason,
            dry_run: request.dry_run,
            reply: Some(reply),
        };
        self.begin(asked, Command::Jobs(command))
    }

    /// Pauses jobs, or resumes them.
    pub(super) fn pause_jobs(
        &mut self,
        pause: bool,
        request: api::JobsRequest,
        actor: Actor,
        reply: Answer,
    ) -> Result<(), LinkError> {
        let asked = Asked {
            words: format!("{} {}", if pause { "pause" } else { "resume" }, request.jobs.join(" ")),
            actor: Some(actor),
            reason: request.reason,
            dry_run: request.dry_run,
            reply: Some(reply),
        };
        let mut jobs = BTreeSet::new();
        for pattern in &request.jobs {
            match self.jobs_named(pattern) {
                Ok(named) => jobs.extend(named),
                Err(message) => return self.refuse(asked, message),
            }
        }
        let jobs = jobs.into_iter().collect();
        let command = if pause { JobCommand::Pause(jobs) } else { JobCommand::Resume(jobs) };
        self.begin(asked, Command::Jobs(command))
    }

    /// The jobs that a name or pattern means, with or without `job:` before it; `all` means all.
    fn jobs_named(&self, pattern: &str) -> Result<Vec<Arc<str>>, String> {
        let bare = pattern.strip_prefix(JOB).unwrap_or(pattern);
        let all = self.core.job_names();
        let named: Vec<Arc<str>> = all.iter().filter(|job| bare == "all" || glob(bare, job)).cloned().collect();
        match named.is_empty() {
            false => Ok(named),
            true => Err(format!("there is no job \"{bare}\"; there are: {}", listed(&all))),
        }
    }

    /// Stops runs: `job:report` all of a job, `job:report.17` one.
    pub(super) fn stop_runs(&mut self, targets: &[String], asked: Asked) -> Result<(), LinkError> {
        let mut runs = Vec::new();
        for target in targets {
            match self.runs_named(target) {
                Ok(named) => runs.extend(named),
                Err(message) => return self.refuse(asked, message),
            }
        }
        self.begin(asked, Command::Jobs(JobCommand::Stop(runs)))
    }

    fn runs_named(&self, target: &str) -> Result<Vec<NamedRuns>, String> {
        let bare = target.strip_prefix(JOB).unwrap_or(target);
        match bare.rsplit_once('.').and_then(|(job, id)| Some((job, RunId(id.parse().ok()?)))) {
            Some((job, id)) => Ok(self.jobs_named(job)?.into_iter().map(|job| (job, Some(id))).collect()),
            None => Ok(self.jobs_named(bare)?.into_iter().map(|job| (job, None)).collect()),
        }
    }

    /// The runs that a target of jobs means, as instances: those that are remembered, or the one that is named.
    pub(super) fn resolve_runs(&self, target: &str) -> Result<Vec<String>, String> {
        let mut names = Vec::new();
        for (job, id) in self.runs_named(target)? {
            match id {
                Some(id) => names.push(format!("{JOB}{job}.{}", id.0)),
                None => names.extend(self.core.runs_of(&job).iter().map(|id| format!("{JOB}{job}.{}", id.0))),
            }
        }
        Ok(names)
    }
}

/// The variables about a run that a command is told beside those of the event.
pub(super) fn told_of_run(run: &Run) -> Vec<(&'static str, String)> {
    let attempts = (run.attempts > 0).then(|| ("SVD_ATTEMPT", run.attempts.to_string()));
    attempts.into_iter().chain(run.scheduled.map(|at| ("SVD_SCHEDULED", instant(at)))).collect()
}

fn listed(jobs: &[Arc<str>]) -> String {
    match jobs {
        [] => "none".to_owned(),
        jobs => jobs.iter().map(|job| &**job).collect::<Vec<_>>().join(", "),
    }
}

fn for_instant(run: &Run) -> String {
    match (run.cause, run.scheduled) {
        (Cause::Schedule, Some(at)) => format!(", scheduled for {}", instant(at)),
        (Cause::CatchUp, Some(at)) => format!(", missed at {}", instant(at)),
        (Cause::Reboot, _) => ", since svd was started".to_owned(),
        (Cause::Hand, _) => ", by hand".to_owned(),
        (Cause::Schedule | Cause::CatchUp, None) => String::new(),
    }
}

/// `succeeded after 1.2 s`, `was skipped: run 5 is in progress`.
fn ended(run: &Run, result: RunResult) -> String {
    let word = match result {
        RunResult::Succeeded => "succeeded",
        RunResult::Failed => "failed",
        RunResult::TimedOut => "took too long",
        RunResult::Skipped => "was skipped",
        RunResult::Missed => "was missed",
        RunResult::Replaced => "was replaced",
        RunResult::Cancelled => "was cancelled",
        RunResult::Unknown => "ended, nobody knows how",
    };
    let mut text = word.to_owned();
    if let (Some(started), Some(ended), true) = (run.started, run.ended, run.attempts > 0) {
        text.push_str(&format!(" after {:.1} s", ended.since(started).as_secs_f64()));
    }
    if run.attempts > 1 {
        text.push_str(&format!(" and {} attempts", run.attempts));
    }
    if !run.why.is_empty() {
        text.push_str(&format!(": {}", run.why));
    }
    text
}

fn instant(wall: Wall) -> String {
    format!("{:.3}", wall.timestamp())
}

fn shown_job(view: &JobView<'_>) -> api::Job {
    let schedule = view.plan.schedule.as_ref();
    let zoned = schedule.filter(|schedule| matches!(schedule.schedule, Schedule::Crontab(_)));
    let in_progress = view.open.iter().filter(|(run, _)| run.phase == Phase::Begun).count();
    api::Job {
        name: view.plan.name.clone(),
        schedule: schedule.map(|schedule| schedule.text.clone()),
        timezone: zoned.map(|schedule| schedule.zone.clone()),
        paused: view.paused,
        next: view.next.map(instant),
        missed: view.missed,
        running: u32::try_from(in_progress).unwrap_or(u32::MAX),
        open: view.open.iter().map(|(run, pid)| shown(run, *pid)).collect(),
        last: view.latest.map(|run| shown(run, None)),
    }
}

/// A run, as the API shows it.
pub fn shown(run: &Run, pid: Option<i32>) -> api::Run {
    let result = match run.phase {
        Phase::Queued => "queued",
        Phase::Begun => "running",
        Phase::Ended(result) => result.word(),
    };
    let seconds = run.started.zip(run.ended).map(|(started, ended)| ended.since(started).as_secs_f64());
    api::Run {
        run: run.id.0,
        job: run.job.to_string(),
        result: result.to_owned(),
        cause: run.cause.word().to_owned(),
        scheduled: run.scheduled.map(instant),
        count: run.count,
        started: run.started.map(instant),
        ended: run.ended.map(instant),
        seconds,
        attempts: run.attempts,
        exit: run.exit.map(api_exit),
        pid,
        why: Some(run.why.clone()).filter(|why| !why.is_empty()),
        actor: run.actor.clone(),
    }
}
