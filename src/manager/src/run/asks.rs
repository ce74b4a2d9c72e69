//! Answers to what the control API asks.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use svd_api as api;
use svd_config::plan::{Handoff, JOB, ProcessPlan};
use svd_core::{Command, InstanceName, InstanceView, Seat, State, Target};
use svd_wire::Request;
use tokio::sync::oneshot;

use super::app::{App, Op};
use super::spawns::to_wire;
use super::targets;
use crate::ask::{Actor, Ask};
use crate::seam::LinkError;
use crate::store::NewEvent;

pub(super) type Answer = oneshot::Sender<api::CommandResult>;

/// What follows when signals are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    /// The answer.
    Answer,
    /// The wait for those that can tell when they have reloaded.
    AwaitReload,
}

/// What goes with every command.
pub(super) struct Asked {
    pub words: String,
    pub actor: Option<Actor>,
    pub reason: Option<String>,
    pub dry_run: bool,
    pub reply: Option<Answer>,
}

impl Asked {
    /// What history keeps of it.
    pub fn event(&self, kind: &str, message: String) -> NewEvent {
        NewEvent {
            time_ns: svd_sys::clock::now().real_ns,
            kind: kind.to_owned(),
            actor: self.actor.as_ref().map(|actor| actor.name.clone()),
            reason: self.reason.clone(),
            message,
            ..NewEvent::default()
        }
    }

    /// As a command that has begun, which is to do this.
    pub fn into_op(self, changes: Vec<String>) -> Op {
        let Asked { words, actor, reason, dry_run: _, reply } = self;
        Op { reply, actor, reason, words, changes, ..Op::default() }
    }
}

impl App {
    /// Answers, or begins what will be answered.
    pub(super) fn ask(&mut self, ask: Ask) -> Result<(), LinkError> {
        match ask {
            Ask::Status { usage, reply } => {
                let status = self.status(usage);
                let _left = reply.send(status);
                Ok(())
            }
            Ask::Metrics { reply } => {
                let _left = reply.send(self.metrics());
                Ok(())
            }
            Ask::Command { kind, request, actor, reply } => self.command(kind, request, actor, reply),
            Ask::Scale { request, actor, reply } => self.scale(request, actor, reply),
            Ask::Signal { request, actor, reply } => self.signal(request, actor, reply),
            Ask::Apply { request, actor, reply } => self.apply(request, actor, reply),
            Ask::Upgrade { request, actor, reply } => self.upgrade(request, actor, reply),
            Ask::UpgradeOutcome { token, reply } => {
                self.upgrade_outcome(token, reply);
                Ok(())
            }
            Ask::Shutdown { request, actor, reply } => {
                let asked = Asked {
                    words: if request.now { "shutdown --now".into() } else { "shutdown".into() },
                    actor: Some(actor),
                    reason: request.reason,
                    dry_run: request.dry_run,
                    reply: Some(reply),
                };
                self.begin(asked, Command::Shutdown { now: request.now })
            }
            Ask::Resolve { targets, reply } => {
                let _left = reply.send(self.resolve_instances(&targets));
                Ok(())
            }
            Ask::RunJob { request, actor, reply } => self.run_job(request, actor, reply),
            Ask::PauseJobs { pause, request, actor, reply } => self.pause_jobs(pause, request, actor, reply),
            Ask::Env { process, reply } => {
                let _left = reply.send(self.env(&process));
                Ok(())
            }
            Ask::Exec { process, actor, reply } => {
                let _left = reply.send(self.exec(process.as_deref(), &actor));
                Ok(())
            }
        }
    }

    /// The processes of the plan and the instances there are, each name once: while one is replaced, several spawns have it.
    fn names(&self) -> (Vec<String>, Vec<InstanceName>) {
        let plan = self.core.plan();
        let processes = plan.processes.iter().map(|process| process.name.clone()).collect();
        let mut seen = BTreeSet::new();
        let names = self.core.view().map(|view| view.name);
        (processes, names.filter(|name| seen.insert(name.clone())).collect())
    }

    fn targets(&self, patterns: &[String]) -> Result<Vec<Target>, String> {
        let (processes, instances) = self.names();
        let processes: Vec<&str> = processes.iter().map(String::as_str).collect();
        targets::resolve(patterns, &processes, &instances)
    }

    fn resolve_instances(&self, patterns: &[String]) -> Result<Vec<String>, String> {
        let (processes, instances) = self.names();
        let processes: Vec<&str> = processes.iter().map(String::as_str).collect();
        let all = ["all".to_owned()];
        let patterns = if patterns.is_empty() { &all[..] } else { patterns };
        let (of_jobs, patterns): (Vec<String>, Vec<String>) =
            patterns.iter().cloned().partition(|pattern| pattern.starts_with(JOB));
        let mut names = Vec::new();
        for target in &of_jobs {
            names.extend(self.resolve_runs(target)?);
        }
        let targets = targets::resolve(&patterns, &processes, &instances)?;
        names.extend(targets::instances_of(&targets, &instances).iter().map(ToString::to_string));
        Ok(names)
    }

    fn command(
        &mut self,
        kind: api::CommandKind,
        request: api::CommandRequest,
        actor: Actor,
        reply: Answer,
    ) -> Result<(), LinkError> {
        let word = match kind {
            api::CommandKind::Start => "start",
            api::CommandKind::Stop => "stop",
            api::CommandKind::Restart => "restart",
            api::CommandKind::Reload => "reload",
            api::CommandKind::Drain => "drain",
            api::CommandKind::Kill if request.replaced => "kill --now --replaced",
            api::CommandKind::Kill => "kill --now",
            api::CommandKind::Enable => "enable",
            api::CommandKind::Disable => "disable",
        };
        let asked = Asked {
            words: format!("{word} {}", request.targets.join(" ")),
            actor: Some(actor),
            reason: request.reason,
            dry_run: request.dry_run,
            reply: Some(reply),
        };
        let of_jobs = request.targets.iter().filter(|target| target.starts_with(JOB)).count();
        if of_jobs > 0 {
            return match kind {
                api::CommandKind::Stop if of_jobs == request.targets.len() => self.stop_runs(&request.targets, asked),
                api::CommandKind::Stop => {
                    self.refuse(asked, "stop processes and runs of jobs with two commands".to_owned())
                }
                _ => {
                    let message =
                        format!("{word} is for processes; jobs have svctl run, jobs pause, jobs resume and stop");
                    self.refuse(asked, message)
                }
            };
        }
        let targets = match self.targets(&request.targets) {
            Ok(targets) => targets,
            Err(message) => return self.refuse(asked, message),
        };
        let command = match kind {
            api::CommandKind::Start => Command::Start(targets),
            api::CommandKind::Stop => Command::Stop(targets),
            api::CommandKind::Restart => Command::Restart(targets),
            api::CommandKind::Drain => Command::Drain(targets),
            api::CommandKind::Kill if request.replaced => Command::KillReplaced(targets),
            api::CommandKind::Kill => Command::Kill(targets),
            api::CommandKind::Enable => match whole_processes(word, targets) {
                Ok(processes) => Command::Enable(processes),
                Err(message) => return self.refuse(asked, message),
            },
            api::CommandKind::Disable => match whole_processes(word, targets) {
                Ok(processes) => Command::Disable(processes),
                Err(message) => return self.refuse(asked, message),
            },
            api::CommandKind::Reload => {
                let signals = self.reload_signals(&targets);
                if let Some(message) = self.would_end(&signals) {
                    return self.refuse(asked, message);
                }
                return self.send_signals(asked, signals, Then::AwaitReload);
            }
        };
        self.begin(asked, command)
    }

    /// Each instance with the signal on which its process reads its config again.
    fn reload_signals(&self, targets: &[Target]) -> Vec<(InstanceName, i32)> {
        let (_, instances) = self.names();
        // Of the plan that it runs by: while an apply is in progress there are two. One that is no longer in the config is
        // on its way out; SIGHUP is the default of the key.
        let plan = |name: &InstanceName| {
            let spawn = self.core.current_spawn(name).map(|(spawn, _)| spawn);
            spawn.and_then(|spawn| self.core.plan_of(spawn)).unwrap_or(self.core.plan())
        };
        let signal = |name: &InstanceName| plan(name).process(&name.process).map_or(1, |process| process.reload_signal);
        targets::instances_of(targets, &instances).into_iter().map(|name| (name.clone(), signal(&name))).collect()
    }

    /// Why they are not to be sent these: a main process that does nothing about its signal would end by it.
    fn would_end(&self, signals: &[(InstanceName, i32)]) -> Option<String> {
        signals.iter().find_map(|(name, signal)| {
            let pid = self.core.current_spawn(name)?.1?;
            let ends = svd_sys::process::ends_by(pid, *signal) == Some(true);
            ends.then(|| {
                let (signal, process) = (svd_sys::signal::name(*signal), &name.process);
                format!(
                    "{name} (pid {pid}) does nothing about {signal} and would end by it; `svctl restart {process}` has it read its \
                     config again, or say the signal that it reads it on: reload = {{ signal = \"…\" }} in [process.{process}]"
                )
            })
        })
    }

    fn scale(&mut self, request: api::ScaleRequest, actor: Actor, reply: Answer) -> Result<(), LinkError> {
        let mut counts = Vec::new();
        let mut words = vec!["scale".to_owned()];
        let mut wrong = None;
        for (name, count) in &request.counts {
            let now = self.core.want(name);
            let wanted = match count {
                api::ScaleCount::To(n) => {
                    words.push(format!("{name}={n}"));
                    *n
                }
                api::ScaleCount::By(n) => {
                    words.push(format!("{name}={n:+}"));
                    if n.is_negative() && n.unsigned_abs() > now {
                        wrong = Some(format!("{name} has {now}, so {n} is less than none; {name}=0 stops all of them"));
                    }
                    now.saturating_add_signed(*n)
                }
            };
            if self.core.plan().process(name).is_none() {
                wrong = Some(no_process(name, self.core.plan()));
            } else if wanted > 1000 {
                wrong = Some(format!("{name}={wanted} is more than svd runs of one process (1000)"));
            }
            counts.push((Arc::from(name.as_str()), wanted));
        }
        let asked = Asked {
            words: words.join(" "),
            actor: Some(actor),
            reason: request.reason,
            dry_run: request.dry_run,
            reply: Some(reply),
        };
        match wrong {
            Some(message) => self.refuse(asked, message),
            None => self.begin(asked, Command::Scale(counts)),
        }
    }

    fn signal(&mut self, request: api::SignalRequest, actor: Actor, reply: Answer) -> Result<(), LinkError> {
        let asked = Asked {
            words: format!("signal {} {}", request.signal, request.targets.join(" ")),
            actor: Some(actor),
            reason: request.reason,
            dry_run: request.dry_run,
            reply: Some(reply),
        };
        let Some(number) = svd_sys::signal::number(&request.signal) else {
            let message = format!("there is no signal \"{}\"; name one without SIG, such as USR1", request.signal);
            return self.refuse(asked, message);
        };
        match self.targets(&request.targets) {
            Ok(targets) => {
                let (_, instances) = self.names();
                let meant = targets::instances_of(&targets, &instances);
                self.send_signals(asked, meant.into_iter().map(|name| (name, number)).collect(), Then::Answer)
            }
            Err(message) => self.refuse(asked, message),
        }
    }

    /// Sends signals to the main processes that live: of several spawns of one name, to the one that has it, not to one that
    /// is to replace it or was replaced by it.
    fn send_signals(&mut self, asked: Asked, signals: Vec<(InstanceName, i32)>, then: Then) -> Result<(), LinkError> {
        // A ladder that is being climbed is not disturbed: a manager that takes over reads its place off the last signal.
        let is_meant = |view: &InstanceView| {
            view.seat == Seat::Current
                && view.state == State::Stopping
                && signals.iter().any(|(name, _)| *name == view.name)
        };
        let stopping = self.core.view().find(is_meant).map(|view| view.name);
        if let Some(name) = stopping {
            let message = format!("{name} is stopping already; svctl kill --now {name} ends it at once");
            return self.refuse(asked, message);
        }
        let (mut changes, mut waits) = (Vec::new(), BTreeMap::new());
        for (name, signal) in signals {
            let Some((spawn, Some(pid))) = self.core.current_spawn(&name) else { continue };
            let signal_name = svd_sys::signal::name(signal);
            changes.push(format!("{signal_name} to {name} (pid {pid})"));
            if asked.dry_run {
                continue;
            }
            if then == Then::AwaitReload {
                waits.extend(self.reload_wait(spawn).map(|wait| (spawn, wait)));
            }
            self.link.send(&Request::Signal { spawn: to_wire(spawn), signal }, Vec::new())?;
            let message = format!("was sent {signal_name}: {}", asked.words);
            self.commits.event(NewEvent {
                process: Some(name.process.to_string()),
                instance: Some(name.to_string()),
                spawn: Some(spawn.0),
                pid: Some(pid),
                ..asked.event("instance.signalled", message)
            });
        }
        if changes.is_empty() {
            return self.refuse(asked, "none of these is running".into());
        }
        if !waits.is_empty() {
            self.await_reload(asked, changes, waits);
            return Ok(());
        }
        let (outcome, message) = if asked.dry_run {
            (api::OutcomeWord::Planned, "nothing was sent (dry run)".to_owned())
        } else {
            (api::OutcomeWord::Done, "sent".to_owned())
        };
        let (problems, evidence) = (Vec::new(), Vec::new());
        self.answer(asked, api::CommandResult { outcome, message, changes, problems, evidence, run: None });
        Ok(())
    }

    /// Answers when what is stored before has reached the disk.
    pub(super) fn answer(&mut self, asked: Asked, result: api::CommandResult) {
        if let Some(reply) = asked.reply {
            self.commits.reply((reply, result));
        }
    }

    /// Gives a command to the core, or tells what it would do.
    pub(super) fn begin(&mut self, asked: Asked, command: Command) -> Result<(), LinkError> {
        let changes = match self.core.dry_run(&command) {
            Ok(changes) => changes,
            Err(message) => return self.refuse(asked, message),
        };
        if asked.dry_run {
            let message = if changes.is_empty() { "nothing to do" } else { "nothing was changed (dry run)" };
            let result = api::CommandResult {
                outcome: api::OutcomeWord::Planned,
                message: message.into(),
                changes,
                problems: Vec::new(),
                evidence: Vec::new(),
                run: None,
            };
            self.answer(asked, result);
            return Ok(());
        }
        let kind = format!("command.{}", asked.words.split_ascii_whitespace().next().unwrap_or("unknown"));
        self.commits.event(asked.event(&kind, asked.words.clone()));
        self.order(asked.into_op(changes), command)
    }

    pub(super) fn refuse(&mut self, asked: Asked, message: String) -> Result<(), LinkError> {
        self.refuse_with(asked, message, Vec::new())
    }

    pub(super) fn refuse_with(
        &mut self,
        asked: Asked,
        message: String,
        problems: Vec<api::Problem>,
    ) -> Result<(), LinkError> {
        if !asked.dry_run {
            self.commits.event(asked.event("command.refused", format!("{}: {message}", asked.words)));
        }
        let (outcome, changes, evidence) = (api::OutcomeWord::Refused, Vec::new(), Vec::new());
        self.answer(asked, api::CommandResult { outcome, message, changes, problems, evidence, run: None });
        Ok(())
    }

    fn env(&self, process: &str) -> Result<api::EnvReply, String> {
        let plan = self.core.plan();
        let Some(found) = plan.process(process) else {
            return Err(no_process(process, plan));
        };
        let dirs = self.dirs();
        let environment = self.surroundings(plan, &dirs).environment(found, 1);
        let inherited = &self.settings.in_force().snapshot.sources.inherited;
        let told = told_at_start(found);
        let given = told.iter().map(|name| api::EnvVariable { name: (*name).to_owned(), source: "svd".to_owned() });
        let mut variables: Vec<api::EnvVariable> = environment
            .iter()
            .filter(|(name, _)| !told.contains(&name.as_str()))
            .map(|(name, value)| {
                let source = match (found.exec.env.get(name), inherited.get(name)) {
                    (Some(own), _) if own == value => "config",
                    (_, Some(passed)) if passed == value && super::launch::kept(name, &found.exec.keep_env) => {
                        "inherited"
                    }
                    _ => "svd",
                };
                api::EnvVariable { name: name.clone(), source: source.to_owned() }
            })
            .chain(given)
            .collect();
        variables.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(api::EnvReply { process: process.to_owned(), variables })
    }

    fn exec(&mut self, process: Option<&str>, actor: &Actor) -> Result<api::ExecReply, String> {
        let plan = self.core.plan().clone();
        let found = match process {
            Some(name) => plan.process(name),
            None => plan.processes.first(),
        };
        let Some(found) = found else {
            return Err(no_process(process.unwrap_or_default(), &plan));
        };
        let dirs = self.dirs();
        let mut env = self.surroundings(&plan, &dirs).environment(found, 1);
        for own in ["PS", "SVD_INSTANCE", "SVD_INDEX"] {
            env.remove(own);
        }
        if self.listeners.port(found).is_none() {
            // That of one instance; a listener's is the same for all.
            env.remove("PORT");
        }
        let account = self.settings.in_force().snapshot.accounts.of(&found.exec);
        self.commits.event(NewEvent {
            time_ns: svd_sys::clock::now().real_ns,
            kind: "command.exec".into(),
            process: Some(found.name.clone()),
            actor: Some(actor.name.clone()),
            message: format!("exec in the environment of {}", found.name),
            ..NewEvent::default()
        });
        Ok(api::ExecReply {
            env: env.into_iter().collect(),
            cwd: found.exec.cwd.display().to_string(),
            uid: account.map(|account| account.user.uid),
            gid: account.map(|account| account.gid),
            groups: account.map(|account| account.groups.clone()).unwrap_or_default(),
            umask: found.exec.umask,
        })
    }
}

/// The variables that an instance gets with its descriptors: their values are made when it is started.
fn told_at_start(process: &ProcessPlan) -> Vec<&str> {
    let mut names = Vec::new();
    if process.has_notify_socket() {
        names.push("NOTIFY_SOCKET");
    }
    if process.notify.watchdog.is_some() {
        names.extend(["WATCHDOG_PID", "WATCHDOG_USEC"]);
    }
    if process.notify.fd_store > 0 {
        names.push("FDSTORE");
    }
    if !process.listen.is_empty() {
        match &process.handoff {
            Handoff::Auto | Handoff::ListenFds => names.extend(["LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PID"]),
            Handoff::Env { name, .. } => names.push(name),
            Handoff::Intercept | Handoff::Stdin | Handoff::None => {}
        }
    }
    names
}

/// The processes that targets name; an error where one of them is an instance.
fn whole_processes<C: FromIterator<Arc<str>>>(word: &str, targets: Vec<Target>) -> Result<C, String> {
    match targets.iter().find(|target| target.index.is_some()) {
        Some(one) => Err(format!("{one} is one instance; {word} takes whole processes: svctl {word} {}", one.process)),
        None => Ok(targets.into_iter().map(|target| target.process).collect()),
    }
}

fn no_process(name: &str, plan: &svd_config::Plan) -> String {
    let known: Vec<&str> = plan.processes.iter().map(|process| process.name.as_str()).collect();
    format!("there is no process \"{name}\"; there are: {}", known.join(", "))
}
