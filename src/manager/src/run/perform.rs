//! Performing what the core wants done.

use std::collections::BTreeSet;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use svd_api as api;
use svd_config::Plan;
use svd_config::plan::{LogPlan, ProcessPlan, ReadyBy};
use svd_core::action::FactKind;
use svd_core::{Action, Event, Fact, InstanceName, Lineage, OpId, Outcome, Reason, SpawnFailure, SpawnId, Sweep};
use svd_wire::{FdRole, Request, SpawnSpec};

use super::app::{App, Stopping, Wish};
use super::errands::Errand;
use super::handoff::Filter;
use super::launch::{Launch, Start, Surroundings};
use super::probe::{self, Evidence};
use super::spawns::{Output, Phase, Spawn, to_wire};
use super::sweep::Main;
use crate::listen::key;
use crate::logs::{Limits, Stream, StreamKey};
use crate::seam::{LinkError, Purpose, Tag, encode_note};
use crate::store::NewEvent;

const KILL: i32 = 9;
/// A spawn spec up to this size travels in the message itself, a larger one in a memfd.
const INLINE: usize = 48 * 1024;

impl App {
    /// Does one thing.
    pub(super) fn perform(&mut self, action: Action) -> Result<(), LinkError> {
        match action {
            Action::Spawn { spawn, instance, lineage } => self.spawn(spawn, instance, lineage),
            Action::Probe { spawn } => self.probe(spawn),
            Action::Recall { spawn } => self.recall(spawn),
            Action::EmptyStore { instance } => self.empty_store(&instance),
            Action::Signal { spawn, signal } => {
                if signal == KILL
                    && let Some(known) = self.spawns.get_mut(&spawn)
                {
                    known.killed = true;
                }
                self.link.send(&Request::Signal { spawn: to_wire(spawn), signal }, Vec::new())
            }
            Action::Sweep { spawn, how } => {
                self.sweep(spawn, how);
                Ok(())
            }
            Action::Annotate { spawn, note } => {
                if let Some(known) = self.spawns.get_mut(&spawn) {
                    known.draining = note.draining;
                }
                self.link.send(&Request::Annotate { spawn: to_wire(spawn), note: encode_note(&note) }, Vec::new())
            }
            Action::Forget { spawn } => {
                if let Some(known) = self.spawns.get_mut(&spawn) {
                    known.forgettable = true;
                }
                self.forget_if_done(spawn)
            }
            Action::Persist(change) => {
                self.commits.change(change);
                self.wish = Wish::Changed;
                Ok(())
            }
            Action::Record(fact) => {
                self.record(fact);
                Ok(())
            }
            Action::Jobs(change) => {
                self.store_job(change);
                Ok(())
            }
            Action::RunNews(news) => {
                self.run_news(&news);
                Ok(())
            }
            Action::Ran { op, run } => {
                self.ran(op, &run);
                Ok(())
            }
            Action::Done { op, outcome } => {
                self.done(op, outcome);
                Ok(())
            }
            Action::Gate { process, weights } => self.gate(process, weights),
            Action::WatchQueue { spawn } => {
                self.watch_queue(spawn);
                Ok(())
            }
            Action::ProveDrained { spawn } => self.errand(spawn, Errand::Drained),
            Action::Watch { spawn } => {
                self.watch(spawn);
                Ok(())
            }
            Action::TakeBack { why } => self.take_back(why),
            Action::DropOther => self.drop_other(),
            Action::Finish { code } => {
                self.stopping = Stopping::Finished(code);
                Ok(())
            }
        }
    }

    /// What every spawn of this app is surrounded by.
    pub(super) fn surroundings<'a>(&'a self, plan: &'a Arc<Plan>, dirs: &'a Dirs) -> Surroundings<'a> {
        let snapshot = &self.settings.of(plan).snapshot;
        Surroundings {
            plan,
            accounts: &snapshot.accounts,
            inherited: &snapshot.sources.inherited,
            control: &dirs.control,
            notify_dir: &dirs.notify,
            keeper: self.keeper.features,
            listeners: &self.listeners,
        }
    }

    /// The directories that `surroundings` borrows.
    pub(super) fn dirs(&self) -> Dirs {
        Dirs { control: self.place.control(), notify: self.place.notify_dir() }
    }

    fn spawn(&mut self, spawn: SpawnId, instance: InstanceName, lineage: Lineage) -> Result<(), LinkError> {
        let plan = self.plan_of(spawn);
        let slot = self.core.slot_of(spawn).unwrap_or(lineage.slot);
        let tag = Purpose::Instance(lineage);
        let mut known = Spawn::new(instance.clone(), self.cookie(spawn.0), slot);
        let by_itself =
            plan.program(&instance.process).is_some_and(|process| self.cgroups.counts_ooms(&process.limits));
        known.ooms_before = if by_itself { None } else { self.own_ooms.now() };
        let mut tag = Tag {
            instance: instance.clone(),
            purpose: tag,
            cookie: known.cookie.clone(),
            listens: None,
            ooms: known.ooms_before,
        };
        let Some(process) = plan.program(&instance.process) else {
            self.spawns.insert(spawn, known);
            let failure = SpawnFailure { message: "it is not in the config".into(), code: 111, transient: false };
            self.queue.push_back(Event::SpawnFailed { spawn, failure });
            return Ok(());
        };
        known.cwd = process.exec.cwd.clone();
        known.listens = process.listen.iter().map(|wanted| key(process, wanted)).collect();
        tag.listens = Some(known.listens.iter().map(|key| key.address.to_string()).collect());
        let launch = self.prepare(process, &plan, &known, tag.encode())?;
        let Launch { mut spec, mut fds, stdout, stderr, ready, intercept, refused } = match launch {
            Ok(launch) => launch,
            Err(failure) => {
                self.start_failed(spawn, &instance, &failure);
                known.phase = Phase::Ended(None);
                self.spawns.insert(spawn, known);
                self.queue.push_back(Event::SpawnFailed { spawn, failure });
                return Ok(());
            }
        };
        known.program = super::launch::program_of(&spec);
        known.ready = ready;
        let entrances = self.enter_cgroup(spawn, &mut known, process);
        spec.fds.extend((0..).take(entrances.len()).map(FdRole::Cgroup));
        fds.extend(entrances);
        if let LogPlan::Segments { segment, max_size } = process.logs {
            let limits = Limits { segment, max_size };
            for (pipe, stream) in [(stdout, Stream::Stdout), (stderr, Stream::Stderr)] {
                let Some(pipe) = pipe else { continue };
                self.attach(spawn, &instance, stream, pipe, limits);
                match stream {
                    Stream::Stdout => known.stdout = Output::Open,
                    Stream::Stderr => known.stderr = Output::Open,
                }
            }
        }
        if let Some(cgroup) = &known.cgroup {
            self.watch_ooms(spawn, cgroup);
        }
        self.spawns.insert(spawn, known);
        if let Some(channel) = intercept {
            self.intercept(spawn, channel)?;
        }
        if let Some(error) = refused {
            self.not_intercepted(spawn, &error.to_string());
        }
        self.send_spawn(to_wire(spawn), spec, fds)?;
        self.turn_gates(&instance.process);
        Ok(())
    }

    /// Everything for a start, its slot included. The inner error: why it cannot be.
    fn prepare(
        &mut self,
        process: &ProcessPlan,
        plan: &Arc<Plan>,
        spawn: &Spawn,
        tag: Vec<u8>,
    ) -> Result<Result<Launch, SpawnFailure>, LinkError> {
        if let Some(message) = self.cannot_confine(process) {
            return Ok(Err(SpawnFailure { message, code: 226, transient: false }));
        }
        if let Err(error) = self.reach(process, spawn.slot)? {
            let message = format!("no slot can be made for it: {error}");
            return Ok(Err(SpawnFailure { message, code: 111, transient: true }));
        }
        self.listeners.mend(&process.name);
        self.revive_slots(&process.name);
        // Who came late, by a handshake that had begun before.
        self.close_abandoned(&process.name);
        self.set_blocking(process, spawn);
        let filter = match self.not_intercepted.contains_key(&spawn.instance.process) {
            true => Filter::Refused,
            false => Filter::AsAsked,
        };
        let dirs = self.dirs();
        let more = self.run_variables(&spawn.instance);
        let start = Start { instance: &spawn.instance, cookie: &spawn.cookie, tag, slot: spawn.slot, filter, more };
        Ok(self.surroundings(plan, &dirs).launch(process, start))
    }

    pub(super) fn attach(
        &self,
        spawn: SpawnId,
        instance: &InstanceName,
        stream: Stream,
        pipe: OwnedFd,
        limits: Limits,
    ) {
        let key = StreamKey { instance: instance.to_string(), spawn: spawn.0, stream };
        self.logs.attach(key, pipe, limits);
    }

    pub(super) fn send_spawn(
        &mut self,
        id: svd_wire::SpawnId,
        spec: SpawnSpec,
        mut fds: Vec<OwnedFd>,
    ) -> Result<(), LinkError> {
        let texts: usize = spec.env.iter().chain(&spec.argv).map(|text| text.len().saturating_add(4)).sum();
        let groups = spec.credentials.as_ref().map_or(0, |account| account.groups.len().saturating_mul(4));
        let size = texts.saturating_add(groups);
        if size <= INLINE {
            return self.link.send(&Request::Spawn { spawn: id, spec: Box::new(spec) }, fds);
        }
        let bytes = svd_wire::encode_spec(&spec);
        let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        fds.insert(0, svd_sys::fd::memfd("svd-spawn", &bytes)?);
        self.link.send(&Request::SpawnMemfd { spawn: id, len }, fds)
    }

    /// A value that marks one spawn's processes for ever.
    fn cookie(&self, number: u64) -> String {
        let boot: String = self.keeper.boot.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        format!("{boot}-{number}")
    }

    fn sweep(&mut self, spawn: SpawnId, how: Sweep) {
        let Some(known) = self.spawns.get(&spawn) else { return };
        let (main, main_is) = match known.phase {
            Phase::Running(pid) => (pid, Main::Alive),
            Phase::Ended(Some(pid)) => (pid, Main::Ended),
            Phase::Ended(None) => {
                // No process ever came to be.
                self.queue.push_back(Event::TreeEmpty { spawn });
                return;
            }
            Phase::Asked => (i32::MAX, Main::Alive),
        };
        let tracked = known.cgroup.as_deref().and_then(|name| self.cgroups.tracked(name));
        let cookie = known.cookie.clone();
        if let Some(known) = self.spawns.get_mut(&spawn) {
            known.killed |= how == Sweep::Kill;
        }
        self.sweeper.request(spawn, how, (main, main_is), &cookie, tracked);
        if how == Sweep::Kill && main_is == Main::Alive {
            // The keeper reaches it by its pidfd at once, also where its program does not run yet.
            let kill = Request::Signal { spawn: to_wire(spawn), signal: KILL };
            if let Err(error) = self.link.send(&kill, Vec::new()) {
                tracing::error!(%error, "kill could not be asked for");
            }
        }
        self.scan_due = true;
    }

    /// The plan that a spawn runs by.
    pub(super) fn plan_of(&self, spawn: SpawnId) -> Arc<Plan> {
        self.core.plan_of(spawn).unwrap_or(self.core.plan()).clone()
    }

    /// Begins to look for readiness.
    fn probe(&mut self, spawn: SpawnId) -> Result<(), LinkError> {
        let plan = self.plan_of(spawn);
        let Some(known) = self.spawns.get_mut(&spawn) else { return Ok(()) };
        let Some(process) = plan.process(&known.instance.process) else { return Ok(()) };
        known.stop_probe();
        known.probing = true;
        let index = known.instance.index;
        let evidence = match &process.ready.by {
            // Its end will be told.
            ReadyBy::Ended => return Ok(()),
            ReadyBy::Started => {
                self.queue.push_back(Event::Ready { spawn });
                return Ok(());
            }
            ReadyBy::Listening => match self.listening(spawn, process) {
                Some(evidence) if !self.spawns.get(&spawn).is_some_and(|known| known.seen_listening) => evidence,
                Some(_) | None => {
                    self.queue.push_back(Event::Ready { spawn });
                    return Ok(());
                }
            },
            ReadyBy::Notify => {
                if known.notify.ready.is_some() {
                    self.queue.push_back(Event::Ready { spawn });
                }
                return Ok(());
            }
            ReadyBy::Log(pattern) => {
                match regex::bytes::Regex::new(pattern) {
                    Ok(pattern) => self.logs.watch_line(spawn.0, pattern),
                    // The config was checked; a pattern that passed there compiles here.
                    Err(error) => tracing::error!(%error, "ready pattern does not compile"),
                }
                return Ok(());
            }
            ReadyBy::Run { .. } => return self.errand(spawn, Errand::Ready),
            ReadyBy::Fd(_) => match known.ready.take() {
                Some(pipe) => Evidence::Line(pipe),
                None => return Ok(()),
            },
            ReadyBy::Tcp { port } => Evidence::Tcp(self.way(spawn, process, index, *port)),
            ReadyBy::Http { port, path } => Evidence::Http(self.way(spawn, process, index, *port), path.clone()),
        };
        let task = probe::watch(spawn, evidence, self.inner.clone());
        if let Some(known) = self.spawns.get_mut(&spawn) {
            known.probe = Some(task);
        }
        Ok(())
    }

    /// The evidence of readiness is there.
    pub(super) fn evidence(&mut self, spawn: SpawnId) -> Result<(), LinkError> {
        let Some(known) = self.spawns.get_mut(&spawn) else { return Ok(()) };
        if !known.probing {
            return Ok(());
        }
        known.stop_probe();
        self.turn(Event::Ready { spawn })
    }

    /// The evidence was looked for in vain: why, for those who ask.
    pub(super) fn not_ready(&mut self, spawn: SpawnId, why: String) -> Result<(), LinkError> {
        let Some(known) = self.spawns.get_mut(&spawn).filter(|known| known.probing) else { return Ok(()) };
        if known.not_ready.as_ref() == Some(&why) {
            return Ok(());
        }
        known.not_ready = Some(why.clone());
        self.queue.push_back(Event::NotReady { spawn, why });
        Ok(())
    }

    /// Lets the keeper drop a record that nobody needs.
    pub(super) fn forget_if_done(&mut self, spawn: SpawnId) -> Result<(), LinkError> {
        if self.spawns.get(&spawn).is_some_and(Spawn::is_done) {
            if let Some(mut known) = self.spawns.remove(&spawn) {
                known.stop_intercepting();
                if let Some(name) = &known.cgroup {
                    self.cgroups.remove(name);
                }
                self.oom_watch.forget(spawn);
                // A socket that is gone already is as good.
                let _gone = std::fs::remove_file(self.place.notify_dir().join(known.cookie));
            }
            self.commits.forget(to_wire(spawn));
        }
        Ok(())
    }

    /// The keeper's copy of an output is no longer needed.
    pub(super) fn release(&mut self, spawn: SpawnId, role: FdRole) -> Result<(), LinkError> {
        self.link.send(&Request::Release { spawn: to_wire(spawn), role }, Vec::new())
    }

    /// Writes a fact into history. Starts and ends are written where the keeper's report comes in, so that each is
    /// written exactly once whatever happens to managers.
    fn record(&mut self, fact: Fact) {
        self.note_evidence(&fact);
        match fact.kind {
            FactKind::Started(_) | FactKind::StartFailed(_) | FactKind::Exited(_) => return,
            FactKind::Starting
            | FactKind::Ready(_)
            | FactKind::ReadyTimeout(_)
            | FactKind::TimedOut(_)
            | FactKind::Backoff(..)
            | FactKind::Failed(_)
            | FactKind::CountsAsReady(_)
            | FactKind::Replaced
            | FactKind::Draining(_)
            | FactKind::Quieted(_)
            | FactKind::DrainTimeout(_)
            | FactKind::Unhealthy(_)
            | FactKind::Recovered
            | FactKind::Hung(_)
            | FactKind::MainNamed(_)
            | FactKind::Worn(_)
            | FactKind::RolledBack(_)
            | FactKind::Completed
            | FactKind::Stopping(_)
            | FactKind::Signalled(_)
            | FactKind::Escalated
            | FactKind::LeftOver
            | FactKind::Stuck
            | FactKind::Stopped
            | FactKind::Adopted
            | FactKind::Scaled { .. }
            | FactKind::EssentialFailed
            | FactKind::ShuttingDown => {}
        }
        if fact.kind == FactKind::ShuttingDown && self.stopping == Stopping::No {
            // Not asked for by a command: something essential has failed.
            self.stopping = Stopping::Asked;
        }
        if fact.kind == FactKind::ShuttingDown {
            self.leave_word_of_shutdown();
        }
        let op = fact.op.and_then(|op| self.ops.get(&op));
        let name = |signal: i32| svd_sys::signal::name(signal);
        let message = match &fact.kind {
            FactKind::Signalled(signal) => format!("was sent {}", name(*signal)),
            FactKind::ReadyTimeout(_) => {
                let why = fact.spawn.and_then(|spawn| self.spawns.get(&spawn)?.not_ready.as_ref());
                why.map_or_else(|| fact.kind.to_string(), |why| format!("{}; last try: {why}", fact.kind))
            }
            other => other.to_string(),
        };
        let op = op.filter(|_| is_asked(&fact.kind));
        let event = NewEvent {
            time_ns: svd_sys::clock::now().real_ns,
            kind: fact.kind.name().to_owned(),
            process: fact.instance.as_ref().map(|instance| instance.process.to_string()),
            instance: fact.instance.as_ref().filter(|instance| instance.index > 0).map(ToString::to_string),
            spawn: fact.spawn.map(|spawn| spawn.0),
            pid: fact.spawn.and_then(|spawn| self.spawns.get(&spawn)).and_then(Spawn::pid),
            exit: None,
            actor: op.and_then(|op| op.actor.as_ref()).map(|actor| actor.name.clone()),
            reason: op.and_then(|op| op.reason.clone()),
            message,
            report: None,
        };
        self.commits.event(event);
    }

    /// Remembers for a command what failed on its account, so that its outcome can name where that is told.
    fn note_evidence(&mut self, fact: &Fact) {
        let is_failure = matches!(
            fact.kind,
            FactKind::StartFailed(_)
                | FactKind::ReadyTimeout(_)
                | FactKind::TimedOut(_)
                | FactKind::Failed(_)
                | FactKind::Stuck
                | FactKind::RolledBack(_)
        );
        let Some(instance) = fact.instance.as_ref().filter(|_| is_failure) else { return };
        // The number 0 stands for the process as a whole.
        let name = if instance.index == 0 { instance.process.to_string() } else { instance.to_string() };
        match fact.op {
            Some(op) => {
                if let Some(op) = self.ops.get_mut(&op) {
                    op.evidence.insert(name);
                }
            }
            // A generation is given up for all who wait for it. Only a command that fails tells its evidence.
            None if matches!(fact.kind, FactKind::RolledBack(_)) => {
                for op in self.ops.values_mut() {
                    op.evidence.insert(name.clone());
                }
            }
            None => {}
        }
    }

    /// A manager that takes over in the middle of a shutdown goes on with it.
    fn leave_word_of_shutdown(&mut self) {
        let told = svd_sys::fd::memfd(super::boot::STOPPING, b"")
            .map_err(LinkError::from)
            .and_then(|memfd| self.link.send(&Request::Hold { name: super::boot::STOPPING.into() }, vec![memfd]));
        if let Err(error) = told {
            tracing::warn!(%error, "a manager that takes over now would not know that svd stops all");
        }
    }

    /// A start that failed before the keeper was asked.
    fn start_failed(&mut self, spawn: SpawnId, instance: &InstanceName, failure: &SpawnFailure) {
        self.commits.event(NewEvent {
            time_ns: svd_sys::clock::now().real_ns,
            kind: "instance.start_failed".into(),
            process: Some(instance.process.to_string()),
            instance: Some(instance.to_string()),
            spawn: Some(spawn.0),
            message: format!("could not be started: {}", failure.message),
            ..NewEvent::default()
        });
    }

    /// A command has ended.
    fn done(&mut self, op: OpId, outcome: Outcome) {
        let Some(op) = self.ops.remove(&op) else { return };
        let (word, message) = match outcome {
            Outcome::Done(message) => (api::OutcomeWord::Done, message),
            Outcome::Failed(message) => (api::OutcomeWord::Failed, message),
            Outcome::Refused(message) => (api::OutcomeWord::Refused, message),
            Outcome::RolledBack(message) => (api::OutcomeWord::RolledBack, message),
            Outcome::Held(message) => (api::OutcomeWord::Held, message),
        };
        let is_failure =
            !matches!(word, api::OutcomeWord::Done | api::OutcomeWord::Planned | api::OutcomeWord::Refused);
        let kind = match word {
            api::OutcomeWord::Done | api::OutcomeWord::Planned => "command.done",
            api::OutcomeWord::Failed => "command.failed",
            api::OutcomeWord::Refused => "command.refused",
            api::OutcomeWord::RolledBack => "command.rolled_back",
            api::OutcomeWord::Held => "command.held",
        };
        self.commits.event(NewEvent {
            time_ns: svd_sys::clock::now().real_ns,
            kind: kind.into(),
            actor: op.actor.as_ref().map(|actor| actor.name.clone()),
            reason: op.reason.clone(),
            message: format!("{}: {message}", op.words),
            ..NewEvent::default()
        });
        if let Some(reply) = op.reply {
            let evidence = if is_failure { evidence(op.evidence) } else { Vec::new() };
            let (outcome, changes, problems) = (word, op.changes, Vec::new());
            self.commits
                .reply((reply, api::CommandResult { outcome, message, changes, problems, evidence, run: None }));
        }
    }
}

/// Without the instances of processes that are named as a whole.
fn evidence(names: BTreeSet<String>) -> Vec<String> {
    let whole = |name: &str| name.rsplit_once('.').is_some_and(|(process, _)| names.contains(process));
    names.iter().filter(|name| !whole(name)).cloned().collect()
}

/// Whether a fact is what a command asked for, and not what came of it by itself.
fn is_asked(kind: &FactKind) -> bool {
    match kind {
        FactKind::Starting | FactKind::Scaled { .. } | FactKind::ShuttingDown | FactKind::Draining(_) => true,
        FactKind::Stopping(reason) => {
            !matches!(reason, Reason::ReadyTimeout(_) | Reason::TimedOut(_) | Reason::BySelf | Reason::Hung(_))
        }
        FactKind::Started(_)
        | FactKind::Ready(_)
        | FactKind::StartFailed(_)
        | FactKind::ReadyTimeout(_)
        | FactKind::TimedOut(_)
        | FactKind::Exited(_)
        | FactKind::Backoff(..)
        | FactKind::Failed(_)
        | FactKind::CountsAsReady(_)
        | FactKind::Replaced
        | FactKind::Quieted(_)
        | FactKind::DrainTimeout(_)
        | FactKind::Unhealthy(_)
        | FactKind::Recovered
        | FactKind::Hung(_)
        | FactKind::MainNamed(_)
        | FactKind::Worn(_)
        | FactKind::RolledBack(_)
        | FactKind::Completed
        | FactKind::Signalled(_)
        | FactKind::Escalated
        | FactKind::LeftOver
        | FactKind::Stuck
        | FactKind::Stopped
        | FactKind::Adopted
        | FactKind::EssentialFailed => false,
    }
}

/// Paths that spawns are told.
pub struct Dirs {
    control: std::path::PathBuf,
    notify: std::path::PathBuf,
}
