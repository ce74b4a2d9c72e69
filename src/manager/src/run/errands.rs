//! Commands that svd runs beside an instance to learn something of it: whether it is ready, well, or has finished its work.
//! At most one of each kind at a time. They run in the instance's surroundings, with their output thrown away, and what
//! they leave behind ends with the instance.

use std::time::Duration;

use svd_config::plan::{DrainedPlan, HealthBy, HealthPlan, ProcessPlan, ReadyBy, Run};
use svd_core::{Event, SpawnId};
use svd_wire::{Exit, Request};
use tokio::task::AbortHandle;

use super::Inner;
use super::app::App;
use super::reports::exit_status;
use crate::seam::{LinkError, Purpose, Tag};

/// How long a proof that an instance has finished may take.
const ONE_PROOF: Duration = Duration::from_secs(60);

/// What a command is to find out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Errand {
    /// Whether it is ready.
    Ready,
    /// Whether it is well.
    Health,
    /// Whether it has finished its work.
    Drained,
}

/// Where an errand of a spawn is.
#[derive(Debug)]
pub enum Stage {
    /// The pause before the next try.
    Pause(AbortHandle),
    /// The command runs, under this number.
    Runs {
        /// Its number on the wire.
        id: u64,
        /// Ends it when it takes too long.
        limit: Option<AbortHandle>,
        /// It took too long.
        late: bool,
    },
}

/// The command of an errand, as the plan has it.
struct Task<'a> {
    run: &'a Run,
    every: Duration,
    limit: Option<Duration>,
}

impl Errand {
    fn task(self, process: &ProcessPlan) -> Option<Task<'_>> {
        match self {
            Errand::Ready => match &process.ready.by {
                ReadyBy::Run { run, every } => Some(Task { run, every: *every, limit: None }),
                ReadyBy::Started
                | ReadyBy::Ended
                | ReadyBy::Listening
                | ReadyBy::Notify
                | ReadyBy::Fd(_)
                | ReadyBy::Log(_)
                | ReadyBy::Tcp { .. }
                | ReadyBy::Http { .. } => None,
            },
            Errand::Health => match &process.health {
                Some(HealthPlan { by: HealthBy::Run(run), every, timeout, .. }) => {
                    Some(Task { run, every: *every, limit: Some(*timeout) })
                }
                Some(HealthPlan { by: HealthBy::Http { .. } | HealthBy::Tcp { .. }, .. }) | None => None,
            },
            Errand::Drained => {
                let DrainedPlan { run, every, .. } = process.drained.as_ref()?;
                Some(Task { run, every: *every, limit: Some(ONE_PROOF) })
            }
        }
    }
}

impl App {
    /// Goes on an errand for a spawn, unless it is under way. Where its plan has no such command, nothing happens.
    pub(super) fn errand(&mut self, spawn: SpawnId, errand: Errand) -> Result<(), LinkError> {
        let plan = self.plan_of(spawn);
        let Some(known) = self.spawns.get(&spawn) else { return Ok(()) };
        if known.pid().is_none() || matches!(known.errands.get(&errand), Some(Stage::Runs { .. })) {
            return Ok(());
        }
        let (instance, cookie) = (known.instance.clone(), known.cookie.clone());
        let Some(process) = plan.process(&instance.process) else { return Ok(()) };
        let Some(task) = errand.task(process) else { return Ok(()) };
        let dirs = self.dirs();
        // The cookie is the instance's own: what the command leaves behind ends with the instance.
        let spec = self.surroundings(&plan, &dirs).side_command(process, instance.index, task.run, &cookie);
        let (stage, spec) = match spec {
            Ok(mut spec) => {
                let id = self.next_side;
                self.next_side = self.next_side.saturating_add(2);
                self.sides.insert(id, (spawn, errand));
                spec.tag = Tag { instance, purpose: Purpose::Probe(spawn), cookie, listens: None }.encode();
                let limit = task.limit.map(|limit| self.later(limit, Inner::ErrandLate(id)));
                (Stage::Runs { id, limit, late: false }, Some((id, spec)))
            }
            Err(failure) => {
                tracing::warn!(%instance, failure = failure.message, "a command of its config cannot be run");
                self.learnt(spawn, errand, Err(failure.message))?;
                (Stage::Pause(self.later(task.every, Inner::ErrandAgain(spawn, errand))), None)
            }
        };
        if let Some(known) = self.spawns.get_mut(&spawn) {
            known.set_errand(errand, stage);
        }
        match spec {
            Some((id, spec)) => self.send_spawn(svd_wire::SpawnId(id), spec, Vec::new()),
            None => Ok(()),
        }
    }

    /// Goes on it after its pause for the first time.
    pub(super) fn errand_later(&mut self, spawn: SpawnId, errand: Errand) {
        let plan = self.plan_of(spawn);
        let Some(known) = self.spawns.get(&spawn) else { return };
        let Some(task) = plan.process(&known.instance.process).and_then(|process| errand.task(process)) else { return };
        let pause = Stage::Pause(self.later(task.every, Inner::ErrandAgain(spawn, errand)));
        if let Some(known) = self.spawns.get_mut(&spawn) {
            known.set_errand(errand, pause);
        }
    }

    /// A command has had its time.
    pub(super) fn errand_late(&mut self, id: u64) -> Result<(), LinkError> {
        let Some((spawn, errand)) = self.sides.get(&id).copied() else { return Ok(()) };
        if let Some(known) = self.spawns.get_mut(&spawn)
            && let Some(Stage::Runs { id: running, late, .. }) = known.errands.get_mut(&errand)
            && *running == id
        {
            *late = true;
        }
        self.link.send(&Request::Signal { spawn: svd_wire::SpawnId(id), signal: 9 }, Vec::new())
    }

    /// A command has ended.
    pub(super) fn errand_ended(&mut self, id: u64, exit: Exit) -> Result<(), LinkError> {
        self.commits.forget(svd_wire::SpawnId(id));
        let Some((spawn, errand)) = self.sides.remove(&id) else { return Ok(()) };
        let plan = self.plan_of(spawn);
        let Some(known) = self.spawns.get_mut(&spawn) else { return Ok(()) };
        let late = match known.errands.get(&errand) {
            Some(Stage::Runs { id: running, late, .. }) if *running == id => *late,
            // It was called back.
            Some(Stage::Runs { .. } | Stage::Pause(_)) | None => return Ok(()),
        };
        known.end_errand(errand);
        let process = plan.process(&known.instance.process);
        let learnt = match exit {
            Exit::Code(0) => Ok(()),
            _ if late => Err("the command took too long".to_owned()),
            other => Err(format!("the command {}", exit_status(other))),
        };
        let goes_on = match errand {
            Errand::Ready | Errand::Drained => learnt.is_err(),
            Errand::Health => true,
        };
        if let Some(task) = process.and_then(|process| errand.task(process)).filter(|_| goes_on) {
            let pause = Stage::Pause(self.later(task.every, Inner::ErrandAgain(spawn, errand)));
            if let Some(known) = self.spawns.get_mut(&spawn) {
                known.set_errand(errand, pause);
            }
        }
        self.learnt(spawn, errand, learnt)
    }

    fn learnt(&mut self, spawn: SpawnId, errand: Errand, learnt: Result<(), String>) -> Result<(), LinkError> {
        match (errand, learnt) {
            (Errand::Ready, Ok(())) => self.evidence(spawn),
            (Errand::Ready, Err(why)) => self.not_ready(spawn, why),
            (Errand::Health, learnt) => self.health(spawn, learnt),
            (Errand::Drained, Ok(())) => self.turn(Event::Drained { spawn }),
            (Errand::Drained, Err(_)) => Ok(()),
        }
    }

    /// Calls a spawn's commands back: it has ended.
    pub(super) fn recall_errands(&mut self, spawn: SpawnId) -> Result<(), LinkError> {
        let Some(known) = self.spawns.get_mut(&spawn) else { return Ok(()) };
        for id in known.end_errands() {
            self.link.send(&Request::Signal { spawn: svd_wire::SpawnId(id), signal: 9 }, Vec::new())?;
        }
        Ok(())
    }

    /// Tells the main loop something after a while.
    pub(super) fn later(&self, pause: Duration, what: Inner) -> AbortHandle {
        let inner = self.inner.clone();
        tokio::spawn(async move {
            tokio::time::sleep(pause).await;
            let _ending = inner.send(what);
        })
        .abort_handle()
    }
}
