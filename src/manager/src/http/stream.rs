//! Events: history as an array, or history and then what happens as server-sent events.
//!
//! A follower first subscribes and then reads the store, so nothing falls between the two; ids tell what it has
//! had. One that is too slow for the live channel reads on from the store.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use hyper::StatusCode;
use svd_api as api;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::watch;

use super::ApiState;
use super::answer::{Answer, Failure, json, stream};
use super::dispatch::resolve;
use super::query::Query;
use super::server::{Shared, ended};
use crate::store::{EventQuery, MAX_TARGETS, Store};

/// Events that a follower reads from the store at once.
const PAGE: u32 = 100;

/// History, or the stream.
pub async fn events(shared: &Shared, query: &Query, resume: Option<&str>) -> Result<Answer, Failure> {
    let state = &shared.state;
    let target = targets(state, query.list("target")).await?;
    let kinds = query.list("kind");
    let after = query.number("after", i64::MAX)?;
    let before = query.number("before", i64::MAX)?;
    let limit = query.number("limit", 10_000)?;
    if !query.flag("follow")? {
        let limit = limit.and_then(|limit| u32::try_from(limit).ok()).unwrap_or(0);
        let found = history(state, EventQuery { target, after_id: after, before_id: before, limit, kinds }).await?;
        return Ok(json(&found));
    }
    if before.is_some() || limit.is_some() {
        return Err(Failure::bad("`before` and `limit` do not go with `follow`"));
    }
    // A client that comes back says what it has had last.
    let after = match resume {
        None => after,
        Some(id) => Some(id.parse().map_err(|_| Failure::bad(format!("Last-Event-ID: `{id}` is not an event's id")))?),
    };
    let live = state.handle.events.subscribe();
    let mut waiting = VecDeque::new();
    let (last, is_behind) = match after {
        Some(after) => (after, true),
        None => {
            // Only what comes. The newest id marks where that begins.
            let newest = history(state, EventQuery { limit: 1, ..EventQuery::default() }).await?;
            (newest.last().map_or(0, |event| event.id), false)
        }
    };
    // Headers go out with the first bytes; a client sees that it is connected.
    waiting.push_back(Bytes::from_static(b": events of svd\n\n"));
    let stop = shared.stop.clone();
    let follower = Follower { store: state.store.clone(), live, stop, target, kinds, last, is_behind, waiting };
    Ok(stream("text/event-stream", futures_util::stream::unfold(follower, Follower::next)))
}

struct Follower {
    store: Store,
    live: Receiver<Arc<api::Event>>,
    stop: watch::Receiver<bool>,
    target: Vec<String>,
    kinds: Vec<String>,
    /// The last event it has had or that does not concern it.
    last: i64,
    /// There may be events in the store that it has not had and that will not come live.
    is_behind: bool,
    /// At most a page.
    waiting: VecDeque<Bytes>,
}

impl Follower {
    async fn next(mut self) -> Option<(Bytes, Follower)> {
        loop {
            if let Some(chunk) = self.waiting.pop_front() {
                return Some((chunk, self));
            }
            if *self.stop.borrow() {
                return None;
            }
            if self.is_behind {
                self.read().await?;
                continue;
            }
            let received = tokio::select! {
                received = self.live.recv() => received,
                () = ended(&mut self.stop) => return None,
            };
            match received {
                Ok(event) => self.take(&event),
                Err(RecvError::Lagged(_)) => self.is_behind = true,
                Err(RecvError::Closed) => return None,
            }
        }
    }

    /// A page from the store. `None`: it cannot be read, and the stream ends; the client may come back with its last id.
    async fn read(&mut self) -> Option<()> {
        let query = EventQuery {
            target: self.target.clone(),
            after_id: Some(self.last),
            limit: PAGE,
            kinds: self.kinds.clone(),
            ..EventQuery::default()
        };
        let page = self.store.events(query).await.ok()?.ok()?;
        self.is_behind = page.len() == PAGE as usize;
        page.iter().for_each(|event| self.push(event));
        Some(())
    }

    fn take(&mut self, event: &api::Event) {
        if event.id > self.last
            && concerns(event, &self.target)
            && (self.kinds.is_empty() || self.kinds.contains(&event.kind))
        {
            self.push(event);
        }
    }

    fn push(&mut self, event: &api::Event) {
        self.last = event.id;
        if let Ok(text) = serde_json::to_string(event) {
            self.waiting.push_back(format!("id: {}\ndata: {text}\n\n", event.id).into());
        }
    }
}

/// The store's rule for targets ([`EventQuery::target`]), for live events.
fn concerns(event: &api::Event, target: &[String]) -> bool {
    target.is_empty()
        || target.iter().any(|name| match name.rsplit_once('.') {
            Some((process, number)) if number.parse::<u32>().is_ok() => match &event.instance {
                Some(instance) => instance == name,
                None => event.process.as_deref() == Some(process),
            },
            _ => event.process.as_deref() == Some(name),
        })
}

/// Events from the store.
pub async fn history(state: &ApiState, query: EventQuery) -> Result<Vec<api::Event>, Failure> {
    match state.store.events(query).await {
        Ok(Ok(events)) => Ok(events),
        Ok(Err(error)) => Err(Failure::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())),
        Err(_ended) => Err(Failure::unavailable("svd is ending")),
    }
}

/// Names for the store. Globs mean the instances that there are; a name may also be of something that is no more, but has
/// to be in history then.
pub async fn targets(state: &ApiState, targets: Vec<String>) -> Result<Vec<String>, Failure> {
    if targets.iter().any(|target| target == "all") {
        return Ok(Vec::new());
    }
    let mut names = Vec::new();
    for target in targets {
        if target.contains(['*', '?', '[']) {
            names.extend(resolve(state, vec![target]).await?);
            continue;
        }
        if let Err(unknown) = resolve(state, vec![target.clone()]).await {
            let query = EventQuery { target: vec![target.clone()], limit: 1, ..EventQuery::default() };
            if history(state, query).await?.is_empty() {
                return Err(unknown);
            }
        }
        names.push(target);
    }
    if names.len() > MAX_TARGETS {
        let many = names.len();
        return Err(Failure::bad(format!(
            "`target` means {many} instances, {MAX_TARGETS} at most; name processes instead"
        )));
    }
    Ok(names)
}
