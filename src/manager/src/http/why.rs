//! `why`: an instance's state together with the events and the output that led to it.

use svd_api as api;

use super::ApiState;
use super::answer::{Answer, Failure, json};
use super::dispatch::resolve;
use super::query::Query;
use crate::ask::Usage;
use crate::store::EventQuery;

/// More instances than this make no readable answer.
const INSTANCES: usize = 32;
/// Events of each instance.
const EVENTS: u32 = 20;
/// Lines of each instance.
const LINES: usize = 10;

/// Why the target's instances are in their states.
pub async fn why(state: &ApiState, query: &Query) -> Result<Answer, Failure> {
    let names = resolve(state, query.list("target")).await?;
    if names.len() > INSTANCES {
        let many = names.len();
        return Err(Failure::bad(format!("{many} instances are meant, {INSTANCES} at most; name fewer in `target`")));
    }
    let tree = super::look::tree(state, Usage::Skip).await?;
    let mut instances = Vec::new();
    for instance in tree.processes.into_iter().flat_map(|process| process.instances) {
        if !names.contains(&instance.id) {
            continue;
        }
        let events = EventQuery { target: vec![instance.id.clone()], limit: EVENTS, ..EventQuery::default() };
        let mut events = super::stream::history(state, events).await?;
        // An end that the keeper kept over a manager's death is stored after what followed from it: people read by time.
        // Times of one format and one zone sort as text.
        events.sort_by(|a, b| a.time.cmp(&b.time).then(a.id.cmp(&b.id)));
        let output = super::logs::last(state, &instance.id, LINES).await?;
        instances.push(api::WhyInstance { instance, events, output });
    }
    Ok(json(&api::Why { instances }))
}
