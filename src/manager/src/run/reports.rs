//! What the keeper and the log thread report, on its way to the core and into history.

use std::os::fd::OwnedFd;

use svd_api as api;
use svd_core::{Command, Event, ExitStatus, SpawnId};
use svd_wire::{Exit, FdRole, Report, Request, SpawnError, Stamp};

use super::app::{App, Op, Stopping};
use super::launch::explain;
use super::spawns::{Output, Phase, Wire, from_wire};
use crate::ask::Actor;
use crate::logs::{LogEvent, Stream};
use crate::seam::LinkError;
use crate::store::NewEvent;

/// A main process that ended, as the keeper reports it.
struct End {
    seq: u64,
    pid: i32,
    exit: Exit,
    before_exec: bool,
    at: Stamp,
}

impl App {
    /// Takes one report in.
    pub(super) fn report(&mut self, report: Report, _fds: Vec<OwnedFd>) -> Result<(), LinkError> {
        match report {
            Report::Spawned { seq, spawn, pid, at } => {
                self.commits.ack(seq);
                match from_wire(spawn) {
                    Wire::Core(spawn) => self.spawned(seq, spawn, pid, at),
                    Wire::Side(_) => Ok(()),
                }
            }
            Report::SpawnFailed { seq, spawn, error, at } => {
                self.commits.ack(seq);
                match from_wire(spawn) {
                    Wire::Core(spawn) => self.spawn_failed(seq, spawn, error, at),
                    Wire::Side(id) => self.errand_ended(id, Exit::Code(127)),
                }
            }
            Report::Exited { seq, spawn, pid, exit, before_exec, at, .. } => {
                self.commits.ack(seq);
                match from_wire(spawn) {
                    Wire::Core(spawn) => self.exited(spawn, End { seq, pid, exit, before_exec, at }),
                    Wire::Side(id) => self.errand_ended(id, exit),
                }
            }
            Report::Notified { spawn, state } => match from_wire(spawn) {
                Wire::Core(spawn) => self.notified(spawn, state),
                Wire::Side(_) => Ok(()),
            },
            Report::SignalReceived { seq, signal } => {
                self.commits.ack(seq);
                self.signal_received(signal)
            }
            Report::Upgraded { note, outcome, build } => self.upgraded(&note, outcome, build),
            Report::Ping => self.link.send(&Request::Pong, Vec::new()),
            unexpected @ (Report::Welcome { .. }
            | Report::Held { .. }
            | Report::Instance(_)
            | Report::InventoryEnd { .. }) => {
                Err(LinkError::OutOfTurn { wanted: "an event", got: format!("{unexpected:?}") })
            }
        }
    }

    fn spawned(&mut self, seq: u64, spawn: SpawnId, pid: i32, at: Stamp) -> Result<(), LinkError> {
        match self.spawns.get_mut(&spawn) {
            Some(known) if known.phase == Phase::Asked => known.phase = Phase::Running(pid),
            Some(_) => {}
            None if self.ended_before.contains_key(&spawn) => {}
            None => return Ok(()),
        }
        let event = self.instance_event(spawn, seq, at, "instance.started", format!("started, pid {pid}"));
        self.commits.event(NewEvent { pid: Some(pid), ..event });
        self.turn(Event::Spawned { spawn, pid })
    }

    fn spawn_failed(&mut self, seq: u64, spawn: SpawnId, error: SpawnError, at: Stamp) -> Result<(), LinkError> {
        let failure = match self.spawns.get_mut(&spawn) {
            Some(known) => {
                known.phase = Phase::Ended(None);
                known.rest();
                explain(error, &known.program, &known.cwd)
            }
            None if self.ended_before.contains_key(&spawn) => explain(error, "it".as_ref(), "it".as_ref()),
            None => return Ok(()),
        };
        self.sweeper.dismiss(spawn);
        let message = format!("could not be started: {}", failure.message);
        let event = self.instance_event(spawn, seq, at, "instance.start_failed", message);
        self.commits.event(event);
        self.ended_before.remove(&spawn);
        self.turn(Event::SpawnFailed { spawn, failure })?;
        self.forget_if_done(spawn)
    }

    fn exited(&mut self, spawn: SpawnId, end: End) -> Result<(), LinkError> {
        match self.spawns.get_mut(&spawn) {
            Some(known) => {
                known.phase = Phase::Ended(Some(end.pid));
                known.rest();
                // A program that ends well takes its socket's path away, which others may be using.
                let process = known.instance.process.clone();
                self.listeners.mend(&process);
                self.revive_slots(&process);
            }
            None if self.ended_before.contains_key(&spawn) => {}
            None => return Ok(()),
        }
        let exit = exit_status(end.exit);
        let mut message = exit.to_string();
        if let Exit::Signal { signal, core } = end.exit {
            let dumped = if core { " (core dumped)" } else { "" };
            message = format!("ended by signal {}{dumped}", svd_sys::signal::name(signal));
        }
        if end.before_exec {
            message = format!("died before exec: {message}");
        }
        let event = self.instance_event(spawn, end.seq, end.at, "instance.exited", message);
        self.commits.event(NewEvent { pid: Some(end.pid), exit: Some(api_exit(exit)), ..event });
        self.ended_before.remove(&spawn);
        self.recall_errands(spawn)?;
        self.ended_while_reloading(spawn);
        self.turn(Event::Exited { spawn, exit, before_exec: end.before_exec })?;
        if self.sweeper.has(spawn) {
            self.sweeper.main_ended(spawn, end.pid);
            self.scan_due = true;
        }
        self.drop_unused_listeners()?;
        if let Some(process) = self.spawns.get(&spawn).map(|spawn| spawn.instance.process.clone()) {
            self.close_abandoned(&process);
        }
        self.forget_if_done(spawn)
    }

    /// What somebody wants who sent svd a signal: TERM, INT, RTMIN+3: stop all; QUIT, or INT once more: at once; HUP: apply.
    fn signal_received(&mut self, signal: i32) -> Result<(), LinkError> {
        const HUP: i32 = 1;
        const INT: i32 = 2;
        const QUIT: i32 = 3;
        const TERM: i32 = 15;
        let name = svd_sys::signal::name(signal);
        tracing::info!(signal = name, "svd was sent a signal");
        let hastened = signal == INT && self.stopping == Stopping::Asked;
        let op = |words: String| Op {
            actor: Some(Actor { uid: 0, name: format!("signal {name}"), role: crate::ask::Role::Operate }),
            words,
            ..Op::default()
        };
        if signal == HUP {
            return self.apply_by_signal();
        }
        if signal == TERM || signal == INT || signal == QUIT || signal == svd_sys::signal::rtmin().saturating_add(3) {
            let now = signal == QUIT || hastened;
            return self.order(op("shutdown".into()), Command::Shutdown { now });
        }
        Ok(())
    }

    /// Takes in what the log thread tells.
    pub(super) fn log_event(&mut self, event: LogEvent) -> Result<(), LinkError> {
        match event {
            LogEvent::Eof { spawn, stream } => {
                let spawn = SpawnId(spawn);
                let Some(known) = self.spawns.get_mut(&spawn) else { return Ok(()) };
                let role = match stream {
                    Stream::Stdout => {
                        known.stdout = Output::Done;
                        FdRole::Stdout
                    }
                    Stream::Stderr => {
                        known.stderr = Output::Done;
                        FdRole::Stderr
                    }
                };
                self.release(spawn, role)?;
                self.forget_if_done(spawn)
            }
            LogEvent::Matched { spawn } => self.evidence(SpawnId(spawn)),
            LogEvent::Dropping { instance, stream, bytes, error } => {
                let told =
                    format!("{stream} of {instance} cannot be stored ({error}): {bytes} bytes were dropped so far");
                if self.dropping.insert(format!("{instance} {stream}"), told.clone()).is_none() {
                    self.log_trouble("logs.dropping", &instance, told);
                }
                Ok(())
            }
            LogEvent::Resumed { instance, stream, bytes } => {
                if self.dropping.remove(&format!("{instance} {stream}")).is_some() {
                    let told = format!("{stream} of {instance} is stored again; {bytes} bytes were dropped");
                    self.log_trouble("logs.resumed", &instance, told);
                }
                Ok(())
            }
        }
    }

    fn log_trouble(&mut self, kind: &str, instance: &str, message: String) {
        let process = instance.rsplit_once('.').map(|(process, _)| process.to_owned());
        self.commits.event(NewEvent {
            time_ns: svd_sys::clock::now().real_ns,
            kind: kind.to_owned(),
            process,
            instance: Some(instance.to_owned()),
            message,
            ..NewEvent::default()
        });
    }

    /// An event that a report tells: stored once, however often the keeper repeats it.
    fn instance_event(&self, spawn: SpawnId, seq: u64, at: Stamp, kind: &str, message: String) -> NewEvent {
        let known = self.spawns.get(&spawn).map(|known| &known.instance);
        let instance = known.or_else(|| self.ended_before.get(&spawn));
        NewEvent {
            time_ns: at.real_ns,
            kind: kind.to_owned(),
            process: instance.map(|instance| instance.process.to_string()),
            instance: instance.map(ToString::to_string),
            spawn: Some(spawn.0),
            message,
            report: Some((self.keeper.boot, seq)),
            ..NewEvent::default()
        }
    }
}

/// The core's word for an end.
pub fn exit_status(exit: Exit) -> ExitStatus {
    match exit {
        Exit::Code(code) => ExitStatus::Code(code),
        Exit::Signal { signal, core } => ExitStatus::Signal { signal, core },
        Exit::Unknown => ExitStatus::Unknown,
    }
}

/// The API's word for an end.
pub fn api_exit(exit: ExitStatus) -> api::Exit {
    match exit {
        ExitStatus::Code(code) => api::Exit::Code { code },
        ExitStatus::Signal { signal, core } => {
            api::Exit::Signal { signal: svd_sys::signal::name(signal), oom: false, core }
        }
        ExitStatus::Unknown => api::Exit::Unknown { unknown: true },
    }
}
