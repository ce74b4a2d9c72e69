//! `why`: an instance's state together with the events and the output that led to it.
//!
//! While an instance is replaced, several starts have its name; each is told by itself. One that was to replace it and did not
//! come up is gone when people ask: it is found again by the number of its start.

use std::collections::BTreeSet;

use svd_api as api;
use svd_config::plan::JOB;

use super::ApiState;
use super::answer::{Answer, Failure, json};
use super::dispatch::resolve;
use super::query::Query;
use crate::ask::Usage;
use crate::store::EventQuery;

/// More instances than this make no readable answer.
const INSTANCES: usize = 32;
/// Runs of a job.
const RUNS: u32 = 3;
/// Events of each instance.
const EVENTS: usize = 20;
/// Among so many of the newest events of a name those of one start are looked for.
const WINDOW: u32 = 200;
/// Among so many of the newest starts of a name one that failed is looked for.
const STARTS: u32 = 10;
/// Lines of each instance.
const LINES: usize = 10;
/// Output is stored, and its time taken, a little after or before the event that it belongs to.
const SLACK_NS: u64 = 1_000_000_000;

/// Why the target's instances are in their states.
pub async fn why(state: &ApiState, query: &Query) -> Result<Answer, Failure> {
    let (of_jobs, targets): (Vec<String>, Vec<String>) =
        query.list("target").into_iter().partition(|target| target.starts_with(JOB));
    let mut jobs = Vec::new();
    for target in &of_jobs {
        jobs.push(job(state, target).await?);
    }
    // Without a target all instances are meant.
    let names = if targets.is_empty() && !jobs.is_empty() { Vec::new() } else { resolve(state, targets).await? };
    if names.len() > INSTANCES {
        let many = names.len();
        return Err(Failure::bad(format!("{many} instances are meant, {INSTANCES} at most; name fewer in `target`")));
    }
    let tree = super::look::tree(state, Usage::Skip).await?;
    let all: Vec<api::Instance> = tree.processes.into_iter().flat_map(|process| process.instances).collect();
    let mut instances = Vec::new();
    for instance in all.iter().filter(|instance| names.contains(&instance.id)) {
        let others: BTreeSet<u64> = all
            .iter()
            .filter(|other| other.id == instance.id && other.role != instance.role)
            .filter_map(|other| other.spawn)
            .collect();
        instances.push(match instance.role {
            api::Role::Current => current(state, instance, others).await?,
            api::Role::Candidate | api::Role::Replaced => beside(state, instance).await?,
        });
    }
    Ok(json(&api::Why { instances, jobs }))
}

/// The last runs of a job, or the one that is named (`job:report.17`), with what happened to them. Of those that did not happen
/// the reason is all there is.
async fn job(state: &ApiState, target: &str) -> Result<api::WhyJob, Failure> {
    let bare = target.strip_prefix(JOB).unwrap_or(target);
    let (name, id) = match bare.rsplit_once('.').and_then(|(job, id)| Some((job, id.parse::<u32>().ok()?))) {
        Some((job, id)) => (job, Some(id)),
        None => (bare, None),
    };
    let job = super::jobs::find(state, name).await?;
    let mut found = super::jobs::read(state, Some(name.to_owned()), None, id, RUNS).await?;
    if let (Some(id), true) = (id, found.is_empty()) {
        return Err(Failure::missing(format!(
            "{name} has no run {id}, or it was forgotten: svctl jobs history {name}"
        )));
    }
    found.reverse();
    let mut runs = Vec::new();
    for run in found {
        let instance = format!("{JOB}{name}.{}", run.run);
        let happened = run.started.is_some();
        let output = if happened { super::logs::last(state, &instance, None, LINES).await? } else { Vec::new() };
        let events = newest(events(state, &instance, None).await?);
        // Those of a run alone, without what concerns the job as a whole.
        let events = events.into_iter().filter(|event| event.instance.as_ref() == Some(&instance)).collect();
        let pid = job.open.iter().find(|open| open.run == run.run).and_then(|open| open.pid);
        runs.push(api::WhyRun { run: api::Run { pid, ..run }, events, output });
    }
    Ok(api::WhyJob { job, runs })
}

/// The one that has the name: its chain, without what others of its name did, and what became of the last that was to replace
/// it. `others` are the starts of those that run beside it.
async fn current(
    state: &ApiState,
    instance: &api::Instance,
    mut others: BTreeSet<u64>,
) -> Result<api::WhyInstance, Failure> {
    let attempt = match failed_start(state, instance, &others).await? {
        Some(start) => Some(attempt(state, &instance.id, &start).await?),
        None => None,
    };
    others.extend(attempt.as_ref().map(|attempt| attempt.spawn));
    let mut events = events(state, &instance.id, None).await?;
    events.retain(|event| event.spawn.is_none_or(|spawn| !others.contains(&spawn)));
    let output = match instance.spawn.filter(|_| !others.is_empty()) {
        Some(spawn) => {
            let begun = begun(&events, spawn).map_or(0, |at| nanoseconds(&events[at].time));
            super::logs::last(state, &instance.id, Some((spawn, begun.saturating_sub(SLACK_NS))), LINES).await?
        }
        None => super::logs::last(state, &instance.id, None, LINES).await?,
    };
    Ok(api::WhyInstance { instance: instance.clone(), events: newest(events), output, attempt })
}

/// One that runs beside the one that has the name: what concerns its own start.
async fn beside(state: &ApiState, instance: &api::Instance) -> Result<api::WhyInstance, Failure> {
    let (mut events, mut output) = (events(state, &instance.id, None).await?, Vec::new());
    if let Some(spawn) = instance.spawn {
        // The same number may have been used before svd was started anew.
        let from = begun(&events, spawn);
        let since = from.map_or(0, |at| nanoseconds(&events[at].time));
        events.drain(..from.unwrap_or(0));
        events.retain(|event| event.spawn == Some(spawn));
        output = super::logs::last(state, &instance.id, Some((spawn, since.saturating_sub(SLACK_NS))), LINES).await?;
    } else {
        events.clear();
    }
    Ok(api::WhyInstance { instance: instance.clone(), events: newest(events), output, attempt: None })
}

/// The last start of this name after the one that has it now, which is not there any more: it was to replace it.
async fn failed_start(
    state: &ApiState,
    instance: &api::Instance,
    others: &BTreeSet<u64>,
) -> Result<Option<api::Event>, Failure> {
    let Some(own) = instance.spawn else { return Ok(None) };
    let kinds = vec!["instance.starting".to_owned()];
    let query = EventQuery { target: vec![instance.id.clone()], limit: STARTS, kinds, ..EventQuery::default() };
    let starts = super::stream::history(state, query).await?;
    // Where its own is not among them it is an older one, and all of them came after it.
    let after = starts.iter().rposition(|event| event.spawn == Some(own)).map_or(0, |at| at + 1);
    let failed = |event: &&api::Event| event.spawn.is_some_and(|spawn| spawn != own && !others.contains(&spawn));
    Ok(starts[after..].iter().rev().find(failed).cloned())
}

/// What became of a start that is not there any more.
async fn attempt(state: &ApiState, instance: &str, start: &api::Event) -> Result<api::Attempt, Failure> {
    let spawn = start.spawn.unwrap_or_default();
    let mut events = events(state, instance, Some(start.id - 1)).await?;
    events.retain(|event| event.spawn == Some(spawn) || event.kind == "process.rolled_back");
    let end = events.iter().rev().find(|event| event.spawn == Some(spawn)).unwrap_or(start);
    let ran = nanoseconds(&start.time).saturating_sub(SLACK_NS)..nanoseconds(&end.time).saturating_add(SLACK_NS);
    let output = super::logs::last_of_ended(state, instance, spawn, ran, LINES).await?;
    Ok(api::Attempt { spawn, events: newest(events), output })
}

/// The newest events of a name, or the first ones after an id, in the order in which they happened.
async fn events(state: &ApiState, instance: &str, after_id: Option<i64>) -> Result<Vec<api::Event>, Failure> {
    let query = EventQuery { target: vec![instance.to_owned()], limit: WINDOW, after_id, ..EventQuery::default() };
    let mut events = super::stream::history(state, query).await?;
    // An end that the keeper kept over a manager's death is stored after what followed from it: people read by time.
    // Times of one format and one zone sort as text.
    events.sort_by(|a, b| a.time.cmp(&b.time).then(a.id.cmp(&b.id)));
    Ok(events)
}

/// Where a start begins in these events.
fn begun(events: &[api::Event], spawn: u64) -> Option<usize> {
    events.iter().rposition(|event| event.spawn == Some(spawn) && event.kind == "instance.starting")
}

fn newest(mut events: Vec<api::Event>) -> Vec<api::Event> {
    events.drain(..events.len().saturating_sub(EVENTS));
    events
}

/// Since 1970; 0 where it is none.
fn nanoseconds(time: &str) -> u64 {
    let parsed = time.parse::<jiff::Timestamp>().ok();
    parsed.and_then(|time| u64::try_from(time.as_nanosecond()).ok()).unwrap_or(0)
}
