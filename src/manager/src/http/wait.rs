//! `wait`: answers when instances are in a state, or when the time is up.
//!
//! It looks again whenever the main loop says that the tree has changed, and never otherwise.

use std::time::Duration;

use svd_api as api;

use super::answer::{Answer, Failure, json};
use super::dispatch::{LOOK_TIME, resolve};
use super::query::Query;
use super::server::{Shared, ended};
use crate::ask::Usage;

const DEFAULT: Duration = Duration::from_secs(60);
const LONGEST: Duration = Duration::from_secs(3600);

/// Waits for the target's instances.
pub async fn wait(shared: &Shared, query: &Query) -> Result<Answer, Failure> {
    let targets = query.list("target");
    let goal = match query.text("for") {
        None | Some("ready") => api::WaitFor::Ready,
        Some("stopped") => api::WaitFor::Stopped,
        Some("completed") => api::WaitFor::Completed,
        Some(other) => {
            return Err(Failure::bad(format!("for: `{other}` is none of `ready`, `stopped` and `completed`")));
        }
    };
    let limit = query.duration("timeout")?.unwrap_or(DEFAULT);
    if limit > LONGEST {
        return Err(Failure::bad("timeout: at most 1h; wait again where that is not enough"));
    }
    let state = &shared.state;
    let deadline = tokio::time::Instant::now() + limit;
    let mut version = state.handle.version.clone();
    let mut stop = shared.stop.clone();
    let mut message = String::new();
    loop {
        // Before the look, so that a change during it is not missed.
        version.mark_unchanged();
        let look = async {
            let names = resolve(state, targets.clone()).await?;
            let tree = super::look::tree(state, Usage::Skip).await?;
            Ok::<_, Failure>(hindrance(&tree, &names, goal))
        };
        // The first look is not cut short: `timeout=0` asks how it is now.
        let bound =
            (deadline - tokio::time::Instant::now()).max(if message.is_empty() { LOOK_TIME } else { Duration::ZERO });
        match tokio::time::timeout(bound, look).await {
            Ok(Ok(None)) => {
                return Ok(json(&api::WaitReply { met: true, hopeless: false, message: format!("{}", Met(goal)) }));
            }
            Ok(Ok(Some(Hindrance::ForGood(message)))) => {
                return Ok(json(&api::WaitReply { met: false, hopeless: true, message }));
            }
            Ok(Ok(Some(Hindrance::ForNow(hindered)))) => message = hindered,
            // Scaled away, or gone with its config, since the last look: nothing of it runs.
            Ok(Err(failure)) if goal == api::WaitFor::Stopped && !message.is_empty() && failure.is_missing() => {
                return Ok(json(&api::WaitReply { met: true, hopeless: false, message: format!("{}", Met(goal)) }));
            }
            Ok(Err(failure)) => return Err(failure),
            Err(_late) => return Ok(json(&api::WaitReply { met: false, hopeless: false, message })),
        }
        tokio::select! {
            changed = version.changed() => {
                if changed.is_err() {
                    return Err(Failure::unavailable(format!("svd is ending; {message}")));
                }
            }
            () = tokio::time::sleep_until(deadline) => return Ok(json(&api::WaitReply { met: false, hopeless: false, message })),
            () = ended(&mut stop) => {
                return Err(Failure::unavailable(format!("svd is ending; {message}")));
            }
        }
    }
}

struct Met(api::WaitFor);

impl std::fmt::Display for Met {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self.0 {
            api::WaitFor::Ready => "all are ready",
            api::WaitFor::Stopped => "all are stopped",
            api::WaitFor::Completed => "all one-shots are completed",
        })
    }
}

/// What is not as asked, in words.
enum Hindrance {
    /// It may come about yet.
    ForNow(String),
    /// An instance that was to be ready or completed has given up: only a command can change that.
    ForGood(String),
}

/// What is not yet as asked; `None` when all is. Ready and completed are asked of those that have the name; stopped is only
/// what has nothing running any more, nor anything beside it that is to replace it or was replaced by it.
fn hindrance(tree: &api::Status, names: &[String], goal: api::WaitFor) -> Option<Hindrance> {
    let mut held = Vec::new();
    let mut given_up = false;
    for process in &tree.processes {
        for instance in process.instances.iter().filter(|instance| names.contains(&instance.id)) {
            let (state, is_current) = (instance.state.as_str(), instance.role == api::Role::Current);
            let is_met = match goal {
                api::WaitFor::Ready => !is_current || matches!(state, "ready" | "completed"),
                api::WaitFor::Stopped => matches!(state, "stopped" | "completed" | "failed"),
                api::WaitFor::Completed => !is_current || !process.oneshot || state == "completed",
            };
            if !is_met {
                given_up |= state == "failed";
                let which = match instance.role {
                    api::Role::Current => "",
                    api::Role::Candidate => " (the new one)",
                    api::Role::Replaced => " (one that is on its way out)",
                };
                let reason = instance.reason.as_ref().map(|reason| format!(" ({reason})")).unwrap_or_default();
                held.push(format!("{}{which} is {state}{reason}", instance.id));
            }
        }
    }
    let text = match held.len() {
        0 => return None,
        1..=5 => held.join(", "),
        many => format!("{} and {} more", held[..4].join(", "), many - 4),
    };
    Some(if given_up { Hindrance::ForGood(text) } else { Hindrance::ForNow(text) })
}
