//! What waits for what: starts in the order of `after`, stops in the reverse of it, replacements one by one.
//! It answers questions and changes nothing. The config has refused cycles.

use std::collections::BTreeSet;
use std::sync::Arc;

use svd_config::plan::{Condition, Dependency, ProcessPlan};

use crate::machine::Core;
use crate::service::{Life, Spawn};
use crate::state::State;
use crate::tree::{Aim, Instance, Listing, Process};
use crate::verdict::Verdict;

/// Why a process may not start yet.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Unmet {
    /// `waits for redis to be ready (redis.1 is starting)`
    pub text: String,
    /// The process that it waits for.
    pub process: Arc<str>,
    pub hope: Hope,
}

/// Whether waiting alone can help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hope {
    Some,
    None,
}

impl Core {
    /// The first condition of `after` that does not hold; `None`: it may start. A process that the plan does not have
    /// (`--only`) is not waited for.
    pub(crate) fn unmet(&self, plan: &ProcessPlan) -> Option<Unmet> {
        plan.after.iter().find_map(|dependency| self.unmet_by(dependency))
    }

    fn unmet_by(&self, dependency: &Dependency) -> Option<Unmet> {
        let (name, process) = self.processes.get_key_value(dependency.process.as_str())?;
        if process.listing == Listing::Retired {
            return None;
        }
        let wanted = process.instances.range(..=self.want(name));
        let (index, instance) = wanted
            .into_iter()
            .find(|(index, instance)| !self.holds(dependency.condition, name, process, **index, instance))?;
        let what = match (dependency.condition, process.plan.oneshot) {
            (Condition::Started, _) => "be started",
            (Condition::Ready, false) => "be ready",
            (Condition::Ready, true) | (Condition::Completed, _) => "complete",
        };
        let (state, _) = self.state(name, process, *index, instance);
        let hope = match state {
            State::Stopped | State::Failed | State::Stuck => Hope::None,
            State::Waiting => self.unmet(&process.plan).map_or(Hope::Some, |unmet| unmet.hope),
            State::Starting
            | State::Ready
            | State::Unhealthy
            | State::Draining
            | State::Stopping
            | State::Backoff
            | State::Completed => Hope::Some,
        };
        let word = match state {
            State::Waiting => "waiting itself",
            State::Backoff => "pausing before it starts again",
            State::Failed | State::Stopped => {
                return Some(Unmet {
                    text: format!(
                        "waits for {name} to {what} ({name}.{index}: {})",
                        self.reason_text(name, process, *index, instance)
                    ),
                    process: name.clone(),
                    hope,
                });
            }
            other => other.word(),
        };
        Some(Unmet {
            text: format!("waits for {name} to {what} ({name}.{index} is {word})"),
            process: name.clone(),
            hope,
        })
    }

    fn holds(&self, condition: Condition, name: &Arc<str>, process: &Process, index: u32, instance: &Instance) -> bool {
        if self.aim(name, process, index) != Aim::Run {
            return false;
        }
        let completed = || self.verdict(name, process, index, instance) == Verdict::Completed;
        match (condition, process.plan.oneshot) {
            (Condition::Started, _) => {
                instance.current.as_ref().is_some_and(|spawn| matches!(spawn.life, Life::Running { .. })) || completed()
            }
            (Condition::Ready, false) => instance.current.as_ref().is_some_and(Spawn::is_ready),
            (Condition::Ready, true) | (Condition::Completed, _) => completed(),
        }
    }

    /// It has come up: ready, or a one-shot that has completed.
    pub(crate) fn has_risen(&self, name: &Arc<str>, process: &Process, index: u32, instance: &Instance) -> bool {
        self.holds(Condition::Ready, name, process, index, instance)
    }

    /// The processes that keep running for others: something that comes after them is to stop and has not yet.
    pub(crate) fn held_stops(&self) -> BTreeSet<&str> {
        let waits = |(name, process): &(&Arc<str>, &Process)| {
            let mut instances = process.instances.iter();
            instances.any(|(index, instance)| !instance.is_at_rest() && self.aim(name, process, *index) != Aim::Run)
        };
        let with_order = self.services().filter(|(_, process)| !process.plan.after.is_empty());
        let after = with_order.filter(waits).flat_map(|(_, process)| &process.plan.after);
        after.map(|dependency| dependency.process.as_str()).collect()
    }

    /// Why the rest of a restart (those of the same generation) will not come about: one that was replaced before has
    /// failed since.
    pub(crate) fn broken_roll(&self, name: &Arc<str>, process: &Process, roll: u64) -> Option<String> {
        process.instances.range(..=self.want(name)).find_map(|(i, other)| {
            let mate = self.generation(name, *i) == roll && self.aim(name, process, *i) == Aim::Run;
            if mate && other.is_stuck() && other.is_occupied() {
                return Some(format!("{name}.{i} is stuck"));
            }
            if !mate || other.is_occupied() {
                return None;
            }
            match self.verdict(name, process, *i, other) {
                Verdict::Failed(reason) => Some(format!("{name}.{i} failed: {reason}")),
                Verdict::Again { .. } | Verdict::Fresh => match self.unmet(&process.plan) {
                    Some(unmet) if unmet.hope == Hope::None => Some(format!("{name}.{i} {}", unmet.text)),
                    Some(_) | None => None,
                },
                Verdict::Alive | Verdict::Completed | Verdict::Over(_) => None,
            }
        })
    }

    /// So many stale instances of this generation may be taken down for their replacement: as many as may be missing, less those
    /// that are down for their own or are coming up. None where one of the same restart that went before did not come up:
    /// the rest keeps running.
    pub(crate) fn may_replace(&self, name: &Arc<str>, process: &Process, roll: u64) -> u32 {
        let mut room = process.plan.update.unavailable.max(1);
        for (i, other) in process.instances.range(..=self.want(name)) {
            if self.aim(name, process, *i) != Aim::Run {
                continue;
            }
            let generation = self.generation(name, *i);
            if other.is_stuck() && other.is_at_rest() {
                if generation == roll {
                    return 0;
                }
                continue;
            }
            if other.is_stale(generation) {
                room = room.saturating_sub(u32::from(other.in_place().any(Spawn::is_falling)));
                continue;
            }
            let moving = other.in_place().any(|spawn| spawn.is_falling() || spawn.is_rising());
            let settled = || match self.verdict(name, process, *i, other) {
                Verdict::Over(_) => true,
                Verdict::Alive | Verdict::Fresh | Verdict::Again { .. } | Verdict::Completed | Verdict::Failed(_) => {
                    self.has_risen(name, process, *i, other)
                }
            };
            match (moving, generation != roll || settled()) {
                (true, _) => room = room.saturating_sub(1),
                (false, true) => {}
                (false, false) => return 0,
            }
        }
        room
    }
}
