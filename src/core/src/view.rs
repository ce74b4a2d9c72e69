//! What people see of it: states, since when, and why.

use std::sync::Arc;

use crate::machine::Core;
use crate::name::InstanceName;
use crate::service::{Life, Readiness, Spawn};
use crate::state::{ExitStatus, InstanceView, Reason, State};
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
        let leaving = self.processes.iter().flat_map(|(name, process)| {
            let from = self.want(name).saturating_add(1);
            process.instances.range(from..).map(move |(index, instance)| (name, process, *index, instance))
        });
        wanted.chain(leaving).map(|(name, process, index, instance)| self.view_of(name, process, index, instance))
    }

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
            seat: crate::Seat::Current,
        }
    }

    /// The state of an instance and since when.
    pub(crate) fn state(&self, name: &Arc<str>, process: &Process, index: u32, instance: &Instance) -> (State, Time) {
        if let Some(spawn) = instance.spawns().find(|spawn| spawn.note.asked && spawn.is_stuck()) {
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
            Life::Running { readiness: Readiness::Ready, .. } => {
                (State::Ready, spawn.note.ready.unwrap_or(spawn.since))
            }
            Life::Running { readiness: Readiness::Leaving { .. }, .. } => (State::Stopping, spawn.since),
            Life::Stopping { begun, .. } => (State::Stopping, *begun),
            Life::Stuck { since, .. } => (State::Stuck, *since),
            Life::Ended { at, .. } => match aim {
                Aim::Stop(_) => (self.rest(instance), instance.idle_since.max(*at)),
                Aim::Run if instance.spawns().any(Spawn::is_falling) => (State::Stopping, *at),
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
        match (instance.is_gone(), instance.is_stuck()) {
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
                Life::Launching | Life::Running { .. } | Life::Stopping { .. } | Life::Stuck { .. } => None,
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
                Some(Life::Launching | Life::Stuck { .. } | Life::Ended { .. }) | None => aim.or(Some(Reason::Restart)),
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
        Life::Launching | Life::Running { .. } | Life::Stopping { .. } | Life::Stuck { .. } => None,
    }
}

fn stuck_since(spawn: &Spawn) -> Time {
    match spawn.life {
        Life::Stuck { since, .. } => since,
        Life::Ended { at, .. } => at,
        Life::Launching | Life::Running { .. } | Life::Stopping { .. } => spawn.since,
    }
}
