//! Routes that change things. The main loop decides; here is only how its answer becomes an HTTP status.

use std::time::Duration;

use hyper::StatusCode;
use svd_api as api;
use tokio::sync::oneshot;

use super::ApiState;
use super::access::actor;
use super::answer::{Answer, Failure, json, with_status};
use super::dispatch::{Caller, LOOK_TIME, ask};
use super::query::Query;
use super::server::{Shared, ended};
use crate::ask::{Actor, Ask, Role};

/// An upgrade has ended within this, in whatever way: each of its steps has a deadline of a few seconds.
const OUTCOME_TIME: Duration = Duration::from_secs(60);

/// start, stop, restart, reload, drain, kill, enable, disable.
pub async fn command(
    state: &ApiState,
    caller: Caller,
    kind: api::CommandKind,
    request: api::CommandRequest,
) -> Result<Answer, Failure> {
    has_targets(&request.targets)?;
    if request.replaced && kind != api::CommandKind::Kill {
        return Err(Failure::bad("`replaced` goes with kill only; nothing was changed"));
    }
    order(state, caller, |actor, reply| Ask::Command { kind, request, actor, reply }).await
}

/// How many instances.
pub async fn scale(state: &ApiState, caller: Caller, request: api::ScaleRequest) -> Result<Answer, Failure> {
    if request.counts.is_empty() {
        return Err(Failure::bad("`counts` is empty; say what to scale: {\"counts\":{\"web\":{\"to\":4}}}"));
    }
    order(state, caller, |actor, reply| Ask::Scale { request, actor, reply }).await
}

/// A signal to main processes.
pub async fn signal(state: &ApiState, caller: Caller, request: api::SignalRequest) -> Result<Answer, Failure> {
    has_targets(&request.targets)?;
    order(state, caller, |actor, reply| Ask::Signal { request, actor, reply }).await
}

/// Re-read the config. Another file than the one in force is for admins: whoever names the file names the commands and
/// the users they run as, and errors quote it.
pub async fn apply(state: &ApiState, caller: Caller, request: api::ApplyRequest) -> Result<Answer, Failure> {
    if let Some(file) = request.file.as_deref().filter(|file| !file.starts_with('/')) {
        return Err(Failure::bad(format!("`file` has to be an absolute path, and `{file}` is not")));
    }
    if request.file.is_some() && caller.role < Role::Admin {
        let message =
            "another config file is for root and the user svd runs as; without `file` the one in force is read again";
        return Err(Failure::new(StatusCode::FORBIDDEN, message.to_owned()));
    }
    order(state, caller, |actor, reply| Ask::Apply { request, actor, reply }).await
}

/// Become another build. Another file than svd's own is for admins: svd runs it with all its rights.
pub async fn upgrade(state: &ApiState, caller: Caller, request: api::UpgradeRequest) -> Result<Answer, Failure> {
    token(&request.token)?;
    if let Some(file) = request.binary.as_deref().filter(|file| !file.starts_with('/')) {
        return Err(Failure::bad(format!("`binary` has to be an absolute path, and `{file}` is not")));
    }
    if request.binary.is_some() && caller.role < Role::Admin {
        let message = "another program is for root and the user svd runs as; without `binary` the file that svd was started from is taken";
        return Err(Failure::new(StatusCode::FORBIDDEN, message.to_owned()));
    }
    order(state, caller, |actor, reply| Ask::Upgrade { request, actor, reply }).await
}

/// How an upgrade has ended: waits until it has.
pub async fn upgrade_outcome(shared: &Shared, query: &Query) -> Result<Answer, Failure> {
    let token = token(query.text("token").unwrap_or_default())?.to_owned();
    let mut stop = shared.stop.clone();
    tokio::select! {
        result = ask(&shared.state, Some(OUTCOME_TIME), |reply| Ask::UpgradeOutcome { token, reply }) => Ok(told(&result?)),
        () = ended(&mut stop) => Err(Failure::unavailable("svd is ending")),
    }
}

fn token(token: &str) -> Result<&str, Failure> {
    let is_good =
        (1..=64).contains(&token.len()) && token.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    if is_good { Ok(token) } else { Err(Failure::bad("`token` has to be 1 to 64 letters, digits and dashes")) }
}

/// Stop all and end.
pub async fn shutdown(state: &ApiState, caller: Caller, request: api::ShutdownRequest) -> Result<Answer, Failure> {
    order(state, caller, |actor, reply| Ask::Shutdown { request, actor, reply }).await
}

/// What a one-off command is run with.
pub async fn exec(state: &ApiState, caller: Caller, request: api::ExecRequest) -> Result<Answer, Failure> {
    let actor = actor(caller.uid, caller.role).await;
    let process = request.process;
    let answer = ask(state, Some(LOOK_TIME), |reply| Ask::Exec { process, actor, reply }).await?;
    Ok(json(&answer.map_err(Failure::missing)?))
}

fn has_targets(targets: &[String]) -> Result<(), Failure> {
    if targets.is_empty() {
        return Err(Failure::bad("`targets` is empty; name processes or instances, or `all`"));
    }
    Ok(())
}

/// A command takes as long as its stop ladders do: there is no deadline. A client that leaves does not take it back.
pub async fn order(
    state: &ApiState,
    caller: Caller,
    make: impl FnOnce(Actor, oneshot::Sender<api::CommandResult>) -> Ask,
) -> Result<Answer, Failure> {
    let actor = actor(caller.uid, caller.role).await;
    Ok(told(&ask(state, None, |reply| make(actor, reply)).await?))
}

/// An outcome with the status that goes with it.
fn told(result: &api::CommandResult) -> Answer {
    let status = match result.outcome {
        api::OutcomeWord::Done | api::OutcomeWord::Planned => StatusCode::OK,
        api::OutcomeWord::Refused => StatusCode::CONFLICT,
        api::OutcomeWord::Failed | api::OutcomeWord::RolledBack | api::OutcomeWord::Held => {
            StatusCode::INTERNAL_SERVER_ERROR
        }
    };
    with_status(status, result)
}
