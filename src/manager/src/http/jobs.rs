//! Routes of jobs and their runs.

use svd_api as api;

use super::ApiState;
use super::answer::{Answer, Failure, json};
use super::command::order;
use super::dispatch::{Caller, LOOK_TIME};
use super::query::Query;
use crate::ask::{Ask, Usage};
use crate::run::shown_run;
use crate::store::RunQuery;

/// Runs of one answer.
const MOST: i64 = 10_000;

/// All jobs.
pub async fn jobs(state: &ApiState) -> Result<Answer, Failure> {
    Ok(json(&super::look::tree(state, Usage::Skip).await?.jobs))
}

/// One job.
pub async fn job(state: &ApiState, name: &str) -> Result<Answer, Failure> {
    Ok(json(&find(state, name).await?))
}

/// The job of this name; where there is none, that lists what there is.
pub async fn find(state: &ApiState, name: &str) -> Result<api::Job, Failure> {
    let tree = super::look::tree(state, Usage::Skip).await?;
    let known: Vec<_> = tree.jobs.iter().map(|job| job.name.clone()).collect();
    let missing = || Failure::missing(format!("there is no job `{name}`; there are: {}", known.join(", ")));
    tree.jobs.into_iter().find(|job| job.name == name).ok_or_else(missing)
}

/// Runs, newest first.
pub async fn runs(state: &ApiState, query: &Query) -> Result<Answer, Failure> {
    let number = |name: &str| Ok(query.number(name, i64::from(u32::MAX))?.and_then(|n| u32::try_from(n).ok()));
    let (before, run): (Option<u32>, Option<u32>) = (number("before")?, number("run")?);
    let limit = query.number("limit", MOST)?.and_then(|n| u32::try_from(n).ok()).unwrap_or(0);
    let job = query.text("job").map(str::to_owned);
    let found = read(state, job.clone(), before, run, limit).await?;
    if let Some(job) = job.filter(|_| found.is_empty()) {
        // A job that is gone may have history; one that never was is a slip.
        find(state, &job).await?;
    }
    Ok(json(&found))
}

/// Runs from the store, newest first.
pub async fn read(
    state: &ApiState,
    job: Option<String>,
    before: Option<u32>,
    run: Option<u32>,
    limit: u32,
) -> Result<Vec<api::Run>, Failure> {
    let answer = state.store.runs(RunQuery { job, before, run, limit });
    let failed = |why: String| Failure::unavailable(format!("history cannot be read: {why}"));
    match tokio::time::timeout(LOOK_TIME, answer).await {
        Ok(Ok(Ok(runs))) => Ok(runs.iter().map(|run| shown_run(run, None)).collect()),
        Ok(Ok(Err(error))) => Err(failed(error.to_string())),
        Ok(Err(_ended)) => Err(failed("the store has ended".to_owned())),
        Err(_late) => Err(failed("it takes too long".to_owned())),
    }
}

/// Runs a job now.
pub async fn run(state: &ApiState, caller: Caller, request: api::RunRequest) -> Result<Answer, Failure> {
    if request.job.is_empty() {
        return Err(Failure::bad("`job` is empty; say which: {\"job\":\"report\"}"));
    }
    order(state, caller, |actor, reply| Ask::RunJob { request, actor, reply }).await
}

/// Pauses jobs, or resumes them.
pub async fn pause(
    state: &ApiState,
    caller: Caller,
    pause: bool,
    request: api::JobsRequest,
) -> Result<Answer, Failure> {
    if request.jobs.is_empty() {
        return Err(Failure::bad("`jobs` is empty; name jobs, or `all`"));
    }
    order(state, caller, |actor, reply| Ask::PauseJobs { pause, request, actor, reply }).await
}
