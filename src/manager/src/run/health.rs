//! Looking after the health of ready instances: probes at their pace, and how many of them have failed in a row.
//!
//! Probes by HTTP and TCP go through the gate to the instance's slot, where siblings may accept them. So the result counts
//! for the instance in whose process tree the connection is; where that cannot be told, because nobody has accepted or the
//! server was quicker than the look, it counts for the one on whose behalf it was asked: each asks for itself, so a slot
//! in which nobody accepts makes all of them unhealthy, one after the other.

use std::time::Duration;

use svd_config::plan::{HealthBy, ProcessPlan};
use svd_core::{Event, SpawnId, Wear};
use tokio::sync::mpsc;

use super::Inner;
use super::app::App;
use super::errands::Errand;
use super::knock::Way;
use super::probe::judge;
use crate::seam::LinkError;

/// How long is looked who of several has accepted, before the request is sent: some servers close at once after their answer.
const WHO: Duration = Duration::from_millis(200);
/// Pauses between two such looks: the first, and the longest.
const WHO_PAUSE: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(32));

/// What the probes of a spawn have seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// So many have failed in a row.
    failed: u32,
    /// That was told.
    told: bool,
}

/// What follows from a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Nothing,
    Unhealthy,
    Recovered,
}

impl Health {
    /// Takes a result in; `limit` failures in a row are too many, and again each time so many more have failed.
    fn take(&mut self, is_well: bool, limit: u32) -> Verdict {
        if is_well {
            self.failed = 0;
            return if std::mem::take(&mut self.told) { Verdict::Recovered } else { Verdict::Nothing };
        }
        self.failed = self.failed.saturating_add(1);
        if !self.failed.is_multiple_of(limit.max(1)) {
            return Verdict::Nothing;
        }
        self.told = true;
        Verdict::Unhealthy
    }
}

/// What is asked.
enum Question {
    Http(String),
    Tcp,
}

impl App {
    /// Begins to look after a ready spawn.
    pub(super) fn watch(&mut self, spawn: SpawnId) {
        let plan = self.plan_of(spawn);
        let Some(known) = self.spawns.get_mut(&spawn) else { return };
        super::spawns::abort(&mut known.watch);
        known.health = Health::default();
        let instance = known.instance.clone();
        let Some(process) = plan.process(&instance.process) else { return };
        self.watch_memory(spawn, process);
        let Some(health) = &process.health else { return };
        let (question, port) = match &health.by {
            HealthBy::Http { port, path } => (Question::Http(path.clone()), *port),
            HealthBy::Tcp { port } => (Question::Tcp, *port),
            HealthBy::Run(_) => {
                self.errand_later(spawn, Errand::Health);
                return;
            }
        };
        let way = self.way(spawn, process, instance.index, port);
        let task = tokio::spawn(look(spawn, way, question, (health.every, health.timeout), self.inner.clone()));
        if let Some(known) = self.spawns.get_mut(&spawn) {
            known.watch = Some(task.abort_handle());
        }
    }

    /// Takes the result of a health probe in.
    pub(super) fn health(&mut self, spawn: SpawnId, result: Result<(), String>) -> Result<(), LinkError> {
        let plan = self.plan_of(spawn);
        let Some(known) = self.spawns.get_mut(&spawn).filter(|known| known.pid().is_some()) else { return Ok(()) };
        let limit = plan.process(&known.instance.process).and_then(limit).unwrap_or(1);
        match (known.health.take(result.is_ok(), limit), result) {
            (Verdict::Unhealthy, Err(why)) => self.turn(Event::Worn { spawn, why: Wear::Unhealthy(why) }),
            (Verdict::Recovered, _) => self.turn(Event::Recovered { spawn }),
            (Verdict::Nothing | Verdict::Unhealthy, _) => Ok(()),
        }
    }
}

fn limit(process: &ProcessPlan) -> Option<u32> {
    Some(process.health.as_ref()?.failures)
}

/// Asks again and again, until it is aborted.
async fn look(
    spawn: SpawnId,
    way: Way,
    question: Question,
    (every, limit): (Duration, Duration),
    inner: mpsc::UnboundedSender<Inner>,
) {
    loop {
        tokio::time::sleep(every).await;
        let mut of = None;
        let answer = tokio::time::timeout(limit, ask(&way, &question, &mut of)).await;
        let result = answer.unwrap_or_else(|_late| {
            Err(format!("{}: no answer within {:.1} s", what(&way, &question), limit.as_secs_f64()))
        });
        // A closed channel means that the manager is ending.
        let _ending = inner.send(Inner::Health(of.unwrap_or(spawn), result));
    }
}

fn what(way: &Way, question: &Question) -> String {
    match question {
        Question::Http(path) => format!("GET {path} on {}", way.name()),
        Question::Tcp => way.name(),
    }
}

async fn ask(way: &Way, question: &Question, of: &mut Option<SpawnId>) -> Result<(), String> {
    let what = what(way, question);
    let mut visit = way.connect().await.map_err(|error| format!("{what}: {error}"))?;
    if visit.hosts.len() > 1 {
        let (mut pause, longest) = WHO_PAUSE;
        let find = async {
            loop {
                let host = visit.host().await;
                if host.is_some() {
                    return host;
                }
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(longest);
            }
        };
        *of = tokio::time::timeout(WHO, find).await.ok().flatten();
    }
    match question {
        Question::Http(path) => {
            let judged = judge(&what, visit.get(path).await);
            visit.leave().await;
            judged
        }
        Question::Tcp => {
            tokio::select! {
                () = way.until_accepted() => {}
                () = visit.news() => {}
            }
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_failures_in_a_row_are_told_and_so_many_more_again_and_a_success_ends_it() {
        let mut health = Health::default();
        let mut take =
            |results: &[bool]| -> Vec<Verdict> { results.iter().map(|well| health.take(*well, 2)).collect() };
        use Verdict::{Nothing, Recovered, Unhealthy};
        assert_eq!(take(&[false, true, false, true]), [Nothing; 4]);
        assert_eq!(take(&[false, false, false, false]), [Nothing, Unhealthy, Nothing, Unhealthy]);
        assert_eq!(take(&[true, true, false, false]), [Recovered, Nothing, Nothing, Unhealthy]);
    }
}
