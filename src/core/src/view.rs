//! What people see of it: states, since when, and why. An instance has a line for the one that has its name, and one for each
//! that is beside it.

use std::sync::Arc;

use crate::climb::Climb;
use crate::machine::Core;
use crate::name::InstanceName;
use crate::service::{Life, Readiness, Spawn};
use crate::state::{ExitStatus, InstanceView, Reason, Seat, State};
use crate::time::Time;
use crate::tree::{Aim, Instance, Process};
use crate::verdict::{self, Verdict};

impl Core {
    /// All instances: those that are wanted in the plan's order, then those on their way out.
    pub fn view(&self) -> impl Iterator<Item = InstanceView> + '_ {
        let wanted = self.plan.processes.iter().filter_map(|plan| self.processes.get_key_value(plan.name.as_str()));
        let wanted = wanted.flat_map(|(name, process)| {
            process.instances.range(..=self.want(name)).map(move |(index, instance)| (name, process, *index, instance))
        });
        // Runs of jobs are shown as runs.
        let leaving = self.processes.iter().filter(|(name, _)| crate::job::job_of(name).is_none());
        let leaving = leaving.flat_map(|(name, process)| {
            let from = self.want(name).saturating_add(1);
            process.instances.range(from..).map(move |(index, instance)| (name, process, *index, instance))
        });
        wanted.chain(leaving).flat_map(|(name, process, index, instance)| {
            let full = InstanceName { process: name.clone(), index };
            let beside =
                instance.candidate.iter().filter(|spawn| !spawn.is_gone()).map(|spawn| (spawn, Seat::Candidate));
            let replaced = instance.lingering().filter(|spawn| spawn.is_live()).map(|spawn| (spawn, Seat::Replaced));
            let before = instance.current.as_ref().and_then(Spawn::pid);
            let others =
                beside.chain(replaced).map(move |(spawn, seat)| beside_view(full.clone(), spawn, seat, before));
            std::iter::once(self.view_of(name, process, index, instance)).chain(others)
        })
    }

    /// The instance as the one has it that has the name.
    fn view_of(&self, name: &Arc<str>, process: &Process, index: u32, instance: &Instance) -> InstanceView {
        let (state, since) = self.state(name, process, index, instance);
        let current = instance.current.as_ref();
        InstanceView {
            name: InstanceName { process: name.clone(), index },
            state,
            since,
            spawn: current.filter(|spawn| spawn.is_live()).map(|spawn| spawn.id),
            pid: current.and_then(Spawn::pid),
            restarts: current.map_or(0, |spawn| spawn.lineage.restarts),
            exit: current.and_then(exit).or_else(|| instance.older.last().and_then(exit)),
            reason: self.reason(state, name, process, index, instance),
            seat: Seat::Current,
        }
    }

    /// The state of an instance and since when.
    pub(crate) fn state(&self, name: &Arc<str>, process: &Process, index: u32, instance: &Instance) -> (State, Time) {
        if let Some(spawn) = instance.in_place().find(|spawn| spawn.note.asked && spawn.is_stuck()) {
            return (State::Stuck, stuck_since(spawn));
        }
        let aim = self.aim(name, process, index);
        let Some(spawn) = &instance.current else {
            return match aim {
                Aim::Run => (State::Waiting, instance.idle_since),
                Aim::Stop(_) => (self.rest(instance), instance.idle_since),
            };
        };
        match &spawn.life {
            Life::Launching | Life::Running { readiness: Readiness::Probing { .. }, .. } => {
                (State::Starting, spawn.since)
            }
            Life::Running { readiness: Readiness::Ready, .. } => match &spawn.ill {
                Some((since, _)) => (State::Unhealthy, *since),
                None => (State::Ready, spawn.note.ready.unwrap_or(spawn.since)),
            },
            Life::Running { readiness: Readiness::Working { .. }, .. } => (State::Ready, spawn.since),
            Life::Running { readiness: Readiness::Leaving { .. }, .. } => (State::Stopping, spawn.since),
            Life::Draining { begun, .. } => (State::Draining, *begun),
            Life::Stopping { begun, .. } => (State::Stopping, *begun),
            Life::Stuck { since, .. } => (State::Stuck, *since),
            Life::Ended { at, .. } => match aim {
                Aim::Stop(_) => (self.rest(instance), instance.idle_since.max(*at)),
                Aim::Run if instance.in_place().any(Spawn::is_falling) => (State::Stopping, *at),
                Aim::Run => match self.verdict(name, process, index, instance) {
                    Verdict::Alive | Verdict::Fresh => (State::Waiting, instance.idle_since.max(*at)),
                    Verdict::Again { until, .. } if until <= self.now => (State::Waiting, until),
                    Verdict::Again { .. } => (State::Backoff, *at),
                    Verdict::Completed => (State::Completed, *at),
                    Verdict::Over(_) => (State::Stopped, *at),
                    Verdict::Failed(_) => (State::Failed, *at),
                },
            },
        }
    }

    /// The state of an instance that is not to run and whose main process is gone.
    fn rest(&self, instance: &Instance) -> State {
        match (instance.is_gone(), instance.has_stuck()) {
            (true, _) => State::Stopped,
            (false, true) => State::Stuck,
            (false, false) => State::Stopping,
        }
    }

    fn reason(
        &self,
        state: State,
        name: &Arc<str>,
        process: &Process,
        index: u32,
        instance: &Instance,
    ) -> Option<Reason> {
        let aim = match self.aim(name, process, index) {
            Aim::Stop(reason) => Some(reason),
            Aim::Run => None,
        };
        let verdict = || match self.verdict(name, process, index, instance) {
            Verdict::Failed(reason) | Verdict::Over(reason) => Some(reason),
            Verdict::Again { .. } => instance.current.as_ref().and_then(|spawn| match &spawn.life {
                Life::Ended { end, .. } => Some(verdict::reason(&process.plan, end)),
                Life::Launching
                | Life::Running { .. }
                | Life::Draining { .. }
                | Life::Stopping { .. }
                | Life::Stuck { .. } => None,
            }),
            Verdict::Alive | Verdict::Fresh | Verdict::Completed => None,
        };
        match state {
            State::Waiting => self.unmet(&process.plan).map(|unmet| Reason::After(unmet.text)).or_else(|| {
                let text = format!("waits for its turn: at most {} start at once", crate::MAX_STARTING);
                Some(Reason::After(text))
            }),
            State::Stopping => match instance.current.as_ref().map(|spawn| &spawn.life) {
                Some(Life::Running { .. }) => Some(Reason::BySelf),
                // What was begun to replace it, and has become its end since.
                Some(Life::Stopping { reason: Reason::Restart, .. }) => aim.or(Some(Reason::Restart)),
                Some(Life::Stopping { reason, .. }) => Some(reason.clone()),
                Some(Life::Launching | Life::Draining { .. } | Life::Stuck { .. } | Life::Ended { .. }) | None => {
                    aim.or(Some(Reason::Restart))
                }
            },
            State::Starting | State::Ready | State::Unhealthy | State::Draining | State::Stuck | State::Completed => {
                aim
            }
            State::Stopped | State::Failed | State::Backoff => aim.or_else(verdict),
        }
    }

    /// Why it does not run, in words.
    pub(crate) fn reason_text(&self, name: &Arc<str>, process: &Process, index: u32, instance: &Instance) -> String {
        let (state, _) = self.state(name, process, index, instance);
        match self.reason(state, name, process, index, instance) {
            Some(reason) => reason.to_string(),
            None => state.word().to_owned(),
        }
    }
}

fn exit(spawn: &Spawn) -> Option<ExitStatus> {
    match &spawn.life {
        Life::Ended { end, .. } => verdict::status(end),
        Life::Launching | Life::Running { .. } | Life::Draining { .. } | Life::Stopping { .. } | Life::Stuck { .. } => {
            None
        }
    }
}

/// Why one that is looked at for readiness does not count as ready yet.
fn not_ready(spawn: &Spawn) -> Option<Reason> {
    spawn.last_try.clone().map(Reason::NotReadyYet)
}

/// One that is beside the one that has the name.
fn beside_view(name: InstanceName, spawn: &Spawn, seat: Seat, current: Option<i32>) -> InstanceView {
    let successor = || current.map_or_else(|| "what was before".to_owned(), |pid| format!("pid {pid}"));
    let (state, since, reason) = match &spawn.life {
        Life::Launching | Life::Running { readiness: Readiness::Probing { .. }, .. } => {
            let reason = not_ready(spawn).unwrap_or_else(|| Reason::ToReplace(successor()));
            (State::Starting, spawn.since, Some(reason))
        }
        Life::Running { readiness: Readiness::Ready, .. } => {
            let since = spawn.note.ready.unwrap_or(spawn.since);
            (State::Ready, since, Some(Reason::ToReplace(successor())))
        }
        Life::Running { readiness: Readiness::Working { .. }, .. } => (State::Ready, spawn.since, None),
        Life::Running { readiness: Readiness::Leaving { .. }, .. } => {
            (State::Stopping, spawn.since, Some(Reason::BySelf))
        }
        Life::Draining { begun, reason, .. } => (State::Draining, *begun, Some(reason.clone())),
        Life::Stopping { begun, reason, climb: Climb::Waiting { until, .. }, .. } if *until == Time(u64::MAX) => {
            (State::Stopping, *begun, Some(Reason::WithoutEnd(reason.to_string())))
        }
        Life::Stopping { begun, reason, .. } => (State::Stopping, *begun, Some(reason.clone())),
        Life::Stuck { since, reason, .. } => (State::Stuck, *since, Some(reason.clone())),
        Life::Ended { at, .. } => (State::Stopping, *at, Some(Reason::TakenBack)),
    };
    InstanceView {
        name,
        state,
        since,
        spawn: Some(spawn.id).filter(|_| spawn.is_live()),
        pid: spawn.pid(),
        restarts: spawn.lineage.restarts,
        exit: exit(spawn),
        reason,
        seat,
    }
}

fn stuck_since(spawn: &Spawn) -> Time {
    match spawn.life {
        Life::Stuck { since, .. } => since,
        Life::Ended { at, .. } => at,
        Life::Launching | Life::Running { .. } | Life::Draining { .. } | Life::Stopping { .. } => spawn.since,
    }
}
