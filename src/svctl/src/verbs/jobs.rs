//! `svctl jobs`: what there is, what has been, pause and resume. `svctl run`: one now.

use svd_api::{CommandResult, Exit, Job, JobsRequest, Run, RunRequest};

use super::Session;
use super::change::{self, Order};
use crate::args::{ChangeOptions, JobsCommand};
use crate::client::Query;
use crate::failure::{DONE, FAILED, Failure};
use crate::screen::Format;
use crate::view;

/// What stands before the name of a job where processes and jobs are named together.
pub(crate) const JOB: &str = "job:";

/// `svctl jobs …`.
pub(crate) async fn run(session: &mut Session<'_, '_>, command: Option<&JobsCommand>) -> Result<(), Failure> {
    match command {
        None => list(session).await,
        Some(JobsCommand::History { job, lines }) => history(session, job.as_deref(), *lines).await,
        Some(JobsCommand::Pause { jobs, options }) => pause(session, "pause", jobs, options).await,
        Some(JobsCommand::Resume { jobs, options }) => pause(session, "resume", jobs, options).await,
    }
}

async fn list(session: &mut Session<'_, '_>) -> Result<(), Failure> {
    let jobs: Vec<Job> = session.client.look(Query::new("/jobs").path()).await?;
    match session.screen.format {
        Format::Json => session.screen.print_json(&jobs),
        Format::Human => session.screen.print(&view::jobs::list(&jobs, &session.look())),
    }
}

async fn history(session: &mut Session<'_, '_>, job: Option<&str>, lines: u32) -> Result<(), Failure> {
    let job = job.map(|job| job.strip_prefix(JOB).unwrap_or(job));
    let query = Query::new("/runs").with_some("job", job).with("limit", &lines.to_string());
    let runs: Vec<Run> = session.client.look(query.path()).await?;
    match session.screen.format {
        Format::Json => session.screen.print_json(&runs),
        Format::Human => session.screen.print(&view::jobs::history(&runs, job.is_none(), &session.look())),
    }
}

async fn pause(
    session: &mut Session<'_, '_>,
    verb: &str,
    jobs: &[String],
    options: &ChangeOptions,
) -> Result<(), Failure> {
    let body = JobsRequest { jobs: jobs.to_vec(), reason: options.reason.clone(), dry_run: options.dry_run };
    let targets: Vec<String> = jobs.iter().map(|job| target(job)).collect();
    let route = format!("/jobs/{verb}");
    change::carry_out(session, Order::new(&route, verb, &targets, options, body)).await
}

/// `job:report`, however it was written.
fn target(job: &str) -> String {
    format!("{JOB}{}", job.strip_prefix(JOB).unwrap_or(job))
}

/// `svctl run JOB`; with `wait` it ends with the code of the run.
pub(crate) async fn run_now(
    session: &mut Session<'_, '_>,
    job: &str,
    wait: bool,
    options: &ChangeOptions,
) -> Result<(), Failure> {
    let body = RunRequest {
        job: job.strip_prefix(JOB).unwrap_or(job).to_owned(),
        wait,
        reason: options.reason.clone(),
        dry_run: options.dry_run,
    };
    let targets = [target(job)];
    let mut result = None;
    let order = Order::new("/jobs/run", "run", &targets, options, body);
    match change::carry_out_into(session, order, &mut result).await {
        Err(Failure::Told(FAILED)) if wait => {
            let code = result.as_ref().and_then(code).filter(|code| *code != DONE);
            Err(Failure::Told(code.unwrap_or(FAILED)))
        }
        other => other,
    }
}

/// The code of the run, as a shell would have it.
fn code(result: &CommandResult) -> Option<u8> {
    match result.run.as_ref()?.exit.as_ref()? {
        Exit::Code { code } => Some(*code),
        Exit::Signal { signal, .. } => {
            let number = crate::values::signal_number(signal).and_then(|number| u8::try_from(number).ok());
            Some(number.map_or(FAILED, |number| number.saturating_add(128)))
        }
        Exit::Unknown { .. } => Some(FAILED),
    }
}
