//! From a request to its route: role, parameters and body are checked here, before anything is asked of anybody.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Body;
use hyper::{Request, StatusCode};
use serde::de::DeserializeOwned;
use tokio::sync::oneshot;

use super::answer::{Answer, Failure};
use super::query::Query;
use super::routes::{Endpoint, Found, ROUTES, Route, find};
use super::server::Shared;
use super::{command, jobs, logs, look, stream, wait, why};
use crate::ask::{Ask, Role};

/// Bytes of a request's body.
const BODY: usize = 64 * 1024;
/// The body is complete within this.
const BODY_TIME: Duration = Duration::from_secs(10);
/// The main loop takes a question within this.
const ASK_TIME: Duration = Duration::from_secs(5);
/// The main loop answers a question that changes nothing within this.
pub const LOOK_TIME: Duration = Duration::from_secs(10);

/// Who sent a request.
#[derive(Clone, Copy, Debug)]
pub struct Caller {
    /// Its user.
    pub uid: u32,
    /// What it may do.
    pub role: Role,
}

/// Answers a request.
pub async fn dispatch<B>(request: Request<B>, caller: Caller, shared: &Shared) -> Result<Answer, Failure>
where
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    if caller.role == Role::None {
        return Err(Failure::new(
            StatusCode::FORBIDDEN,
            format!(
                "user {} may not use this socket: it is for root, the user svd runs as, and members of [control] socket_group \
                 and read_group",
                caller.uid
            ),
        ));
    }
    let (head, body) = request.into_parts();
    let (route, name) = match find(head.method.as_str(), head.uri.path()) {
        Found::Route(route, name) => (route, name),
        Found::Methods(methods) => {
            let methods = methods.join(", ");
            let path = head.uri.path();
            return Err(Failure::method(format!("{} does not work on {path}; use {methods}", head.method), methods));
        }
        Found::Nothing => return Err(Failure::missing(no_route(head.uri.path()))),
    };
    permit(route, caller)?;
    let query = Query::parse(head.uri.query().unwrap_or(""), route)?;
    let resume = head.headers.get("last-event-id").map(|id| id.to_str().unwrap_or("?").to_owned());
    let state = &shared.state;
    match route.endpoint {
        Endpoint::Status => look::status(state, &query).await,
        Endpoint::Processes => look::processes(state, &query).await,
        Endpoint::Process => look::process(state, &query, &name.unwrap_or_default()).await,
        Endpoint::Env => look::env(state, &query).await,
        Endpoint::OpenApi => Ok(look::openapi()),
        Endpoint::Version => Ok(look::version()),
        Endpoint::Health => look::health(state).await,
        Endpoint::Why => why::why(state, &query).await,
        Endpoint::Wait => wait::wait(shared, &query).await,
        Endpoint::Logs => logs::logs(shared, &query).await,
        Endpoint::Events => stream::events(shared, &query, resume.as_deref()).await,
        Endpoint::Command(kind) => command::command(state, caller, kind, read(body).await?).await,
        Endpoint::Scale => command::scale(state, caller, read(body).await?).await,
        Endpoint::Signal => command::signal(state, caller, read(body).await?).await,
        Endpoint::Apply => command::apply(state, caller, read(body).await?).await,
        Endpoint::Upgrade => command::upgrade(state, caller, read(body).await?).await,
        Endpoint::UpgradeOutcome => command::upgrade_outcome(shared, &query).await,
        Endpoint::Jobs => jobs::jobs(state).await,
        Endpoint::Job => jobs::job(state, &name.unwrap_or_default()).await,
        Endpoint::Runs => jobs::runs(state, &query).await,
        Endpoint::RunJob => jobs::run(state, caller, read(body).await?).await,
        Endpoint::PauseJobs => jobs::pause(state, caller, true, read(body).await?).await,
        Endpoint::ResumeJobs => jobs::pause(state, caller, false, read(body).await?).await,
        Endpoint::Shutdown => command::shutdown(state, caller, read(body).await?).await,
        Endpoint::Exec => command::exec(state, caller, read(body).await?).await,
    }
}

/// Refuses who may not.
fn permit(route: &Route, caller: Caller) -> Result<(), Failure> {
    if caller.role >= route.role {
        return Ok(());
    }
    let (needs, who) = match route.role {
        Role::Admin => ("admin", "root and the user svd runs as"),
        Role::Operate => ("operate", "root, the user svd runs as, and members of [control] socket_group"),
        Role::Read | Role::None => ("read", "root, the user svd runs as, and members of socket_group and read_group"),
    };
    let (method, path, uid) = (route.method.word(), route.path, caller.uid);
    let message = format!("{method} {path} needs the role `{needs}`, which user {uid} does not have; {who} have it");
    Err(Failure::new(StatusCode::FORBIDDEN, message))
}

fn no_route(path: &str) -> String {
    let shown: String = path.chars().take(80).collect();
    // The longest common beginning is the best guess; at least `/v1/` and a letter.
    let shared = |route: &&Route| route.path.bytes().zip(path.bytes()).take_while(|(a, b)| a == b).count();
    match ROUTES.iter().max_by_key(shared).filter(|route| shared(route) > 4) {
        Some(route) => format!("there is no {shown}; did you mean {}? All routes: /v1/openapi.json", route.path),
        None => format!("there is no {shown}; all routes: /v1/openapi.json"),
    }
}

/// The body as what the route takes. An empty one is `{}`.
async fn read<T, B>(body: B) -> Result<T, Failure>
where
    T: DeserializeOwned,
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let too_large = || Failure::new(StatusCode::PAYLOAD_TOO_LARGE, format!("the body is larger than {BODY} bytes"));
    if body.size_hint().lower() > BODY as u64 {
        return Err(too_large());
    }
    let collected = tokio::time::timeout(BODY_TIME, Limited::new(body, BODY).collect()).await;
    let bytes: Bytes = match collected {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(error)) if error.is::<LengthLimitError>() => return Err(too_large()),
        Ok(Err(error)) => return Err(Failure::bad(format!("the body cannot be read: {error}"))),
        Err(_late) => {
            let message = format!("the body did not come within {} s", BODY_TIME.as_secs());
            return Err(Failure::new(StatusCode::REQUEST_TIMEOUT, message));
        }
    };
    let text: &[u8] = if bytes.trim_ascii().is_empty() { b"{}" } else { &bytes };
    serde_json::from_slice(text)
        .map_err(|error| Failure::bad(format!("the body is not what this route takes: {error}")))
}

/// Asks the main loop, and waits at most `limit` for its answer, or as long as it takes.
pub async fn ask<T>(
    state: &super::ApiState,
    limit: Option<Duration>,
    make: impl FnOnce(oneshot::Sender<T>) -> Ask,
) -> Result<T, Failure> {
    let (reply, answer) = oneshot::channel();
    match tokio::time::timeout(ASK_TIME, state.handle.asks.send(make(reply))).await {
        Ok(Ok(())) => {}
        Ok(Err(_closed)) => return Err(Failure::unavailable("svd is ending")),
        Err(_late) => return Err(Failure::unavailable("svd has too much to do; try again")),
    }
    let answered = match limit {
        None => answer.await,
        Some(limit) => match tokio::time::timeout(limit, answer).await {
            Ok(answered) => answered,
            Err(_late) => {
                return Err(Failure::unavailable(format!("svd did not answer within {} s", limit.as_secs())));
            }
        },
    };
    answered.map_err(|_gone| Failure::unavailable("svd ended before it answered"))
}

/// The names of the instances that the query's `target` means.
pub async fn resolve(state: &super::ApiState, targets: Vec<String>) -> Result<Vec<String>, Failure> {
    ask(state, Some(LOOK_TIME), |reply| Ask::Resolve { targets, reply }).await?.map_err(Failure::missing)
}
