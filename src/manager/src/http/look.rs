//! Routes that show what is.

use std::time::Duration;

use svd_api as api;

use super::ApiState;
use super::answer::{self, Answer, Failure, json};
use super::dispatch::{LOOK_TIME, ask};
use super::query::Query;
use crate::ask::{Ask, Usage};

/// A loop that does not answer within this is not healthy.
const HEALTH_TIME: Duration = Duration::from_secs(2);

/// The whole tree.
pub async fn status(state: &ApiState, query: &Query) -> Result<Answer, Failure> {
    Ok(json(&tree(state, usage(query)?).await?))
}

/// All processes.
pub async fn processes(state: &ApiState, query: &Query) -> Result<Answer, Failure> {
    Ok(json(&tree(state, usage(query)?).await?.processes))
}

/// One process.
pub async fn process(state: &ApiState, query: &Query, name: &str) -> Result<Answer, Failure> {
    let tree = tree(state, usage(query)?).await?;
    match tree.processes.iter().find(|process| process.name == name) {
        Some(process) => Ok(json(process)),
        None => {
            let known: Vec<_> = tree.processes.iter().map(|process| process.name.as_str()).collect();
            Err(Failure::missing(format!("there is no process `{name}`; there are: {}", known.join(", "))))
        }
    }
}

/// Names of variables.
pub async fn env(state: &ApiState, query: &Query) -> Result<Answer, Failure> {
    let process =
        query.text("process").ok_or_else(|| Failure::bad("say which process: /v1/env?process=web"))?.to_owned();
    let answer = ask(state, Some(LOOK_TIME), |reply| Ask::Env { process, reply }).await?;
    Ok(json(&answer.map_err(Failure::missing)?))
}

/// The description of the API.
pub fn openapi() -> Answer {
    json(&super::openapi())
}

/// Versions.
pub fn version() -> Answer {
    json(&api::Version { version: env!("CARGO_PKG_VERSION").to_owned(), api: "v1".to_owned() })
}

/// Whether the main loop answers.
pub async fn health(state: &ApiState) -> Result<Answer, Failure> {
    // Any answer is a sign of life.
    let _names = ask(state, Some(HEALTH_TIME), |reply| Ask::Resolve { targets: Vec::new(), reply }).await?;
    Ok(json(&api::Health { status: "ok".to_owned() }))
}

/// Metrics for Prometheus.
pub async fn metrics(state: &ApiState) -> Result<Answer, Failure> {
    match ask(state, Some(LOOK_TIME), |reply| Ask::Metrics { reply }).await? {
        Some(text) => Ok(answer::text("text/plain; version=0.0.4; charset=utf-8", text)),
        None => Err(Failure::missing("the config has [control] metrics = false")),
    }
}

/// Status from the main loop.
pub async fn tree(state: &ApiState, usage: Usage) -> Result<api::Status, Failure> {
    ask(state, Some(LOOK_TIME), |reply| Ask::Status { usage, reply }).await
}

fn usage(query: &Query) -> Result<Usage, Failure> {
    Ok(if query.flag("usage")? { Usage::Sample } else { Usage::Skip })
}
