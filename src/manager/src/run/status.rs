//! The tree as the API shows it.

use svd_api as api;
use svd_config::plan::{ListenAddress, ListenerPlan, ProcessPlan};
use svd_core::{InstanceName, InstanceView, Reason, Seat, State};
use svd_sys::clock::Now;

use super::app::{App, Stopping};
use super::reports::api_exit;
use super::usage::Taken;
use crate::ask::Usage;
use crate::instant::instant;

impl App {
    /// The whole tree.
    pub(super) fn status(&mut self, usage: Usage) -> api::Status {
        let views: Vec<InstanceView> = self.core.view().collect();
        let pids: Vec<i32> = views.iter().filter_map(|view| view.pid).collect();
        let sampled = match usage {
            Usage::Sample => self.usage.sample(&pids),
            Usage::Skip => Default::default(),
        };
        let clock = svd_sys::clock::now();
        let mut processes = self.configured();
        for view in &views {
            let instance = self.instance(view, clock, view.pid.and_then(|pid| sampled.get(&pid)));
            let process = match processes.iter_mut().find(|process| *process.name == *view.name.process) {
                Some(process) => process,
                None => {
                    // On its way out: no longer in the config.
                    processes.push(gone(&view.name));
                    let Some(process) = processes.last_mut() else { continue };
                    process
                }
            };
            if view.seat == Seat::Current && matches!(view.state, State::Ready | State::Completed) {
                process.ready = process.ready.saturating_add(1);
            }
            process.instances.push(instance);
        }
        let sources = &self.settings.in_force().snapshot.sources;
        api::Status {
            app: self.core.plan().app.clone(),
            environment: self.core.plan().environment.clone(),
            release: None,
            svd: api::Svd {
                version: env!("CARGO_PKG_VERSION").to_owned(),
                keeper_version: self.keeper.build.clone(),
                protocol: self.keeper.protocol,
                keeper_pid: self.keeper.pid,
                manager_pid: svd_sys::process::pid(),
                manager_starts: self.keeper.manager_starts,
                state: match self.stopping {
                    Stopping::No => "running".to_owned(),
                    Stopping::Asked | Stopping::Inherited | Stopping::Finished(_) => "stopping".to_owned(),
                },
                config: sources.dir.join(&sources.main.path).display().to_string(),
                root: self.place.root.display().to_string(),
            },
            processes,
            jobs: self.shown_jobs(),
            deploy: None,
            warnings: self.all_warnings(),
        }
    }

    /// The processes of the config, without their instances.
    fn configured(&self) -> Vec<api::Process> {
        let process = |process: &ProcessPlan| api::Process {
            name: process.name.clone(),
            want: self.core.want(&process.name),
            ready: 0,
            oneshot: process.oneshot,
            disabled: self.core.desired().disabled.contains(process.name.as_str()),
            listeners: process.listen.iter().map(|wanted| self.listener(process, wanted)).collect(),
            instances: Vec::new(),
        };
        self.core.plan().processes.iter().map(process).collect()
    }

    /// A listener with the port that it really has.
    fn listener(&self, process: &ProcessPlan, wanted: &ListenerPlan) -> api::Listener {
        let at = self.listeners.of(&process.name, wanted).and_then(|listener| listener.at);
        let address = match (&wanted.address, at) {
            (ListenAddress::Tcp { address, .. }, at) => at.unwrap_or(*address).to_string(),
            (ListenAddress::Udp { address, .. }, at) => format!("udp:{}", at.unwrap_or(*address)),
            (ListenAddress::Unix { path, .. }, _) => format!("unix:{}", path.display()),
        };
        api::Listener { name: wanted.name.clone(), address }
    }

    fn instance(&self, view: &InstanceView, clock: Now, taken: Option<&Taken>) -> api::Instance {
        // The core counts from the boot; people want to know the time of day. The two clocks are read one after the other: to
        // whole milliseconds the difference is always the same, and so is what is shown of an instant.
        const MILLISECOND: u64 = 1_000_000;
        let boot =
            clock.real_ns.saturating_sub(clock.boot_ns).saturating_add(MILLISECOND / 2) / MILLISECOND * MILLISECOND;
        api::Instance {
            id: view.name.to_string(),
            role: role(view.seat),
            spawn: view.spawn.map(|spawn| spawn.0),
            pid: view.pid,
            state: view.state.word().to_owned(),
            release: None,
            since: format!("{:.6}", instant(boot.saturating_add(view.since.0))),
            restarts: view.restarts,
            exit: view.exit.map(api_exit),
            reason: self.reason(view),
            cpu_percent: taken.map(|taken| taken.cpu_percent),
            memory_bytes: taken.map(|taken| taken.memory_bytes),
            pressure: taken.and(view.spawn).and_then(|spawn| self.pressure(spawn)),
            notify: view.spawn.and_then(|spawn| self.spawns.get(&spawn)).and_then(super::notified::shown),
        }
    }

    fn pressure(&self, spawn: svd_core::SpawnId) -> Option<api::Pressure> {
        self.cgroups.pressure(self.spawns.get(&spawn)?.cgroup.as_deref()?)
    }

    pub(super) fn all_warnings(&self) -> Vec<String> {
        let mut warnings = self.warnings.clone();
        warnings.extend(self.settings.in_force().warnings.iter().cloned());
        warnings.extend(self.place.volatile.clone());
        warnings.extend(self.commits.trouble.clone());
        warnings.extend(self.dropping.values().cloned());
        warnings.extend(self.listeners.troubles().cloned());
        warnings.extend(self.interception_troubles());
        warnings.extend(self.limit_troubles());
        warnings.extend(self.taken_back());
        warnings.extend(self.keeper_troubles());
        if let Some(invalid) = &self.invalid {
            warnings.push(format!("the config on disk cannot be applied, the running one stays: {invalid}"));
        }
        warnings
    }

    /// Why it is not well and what it waits for; or what it says of itself.
    fn reason(&self, view: &InstanceView) -> Option<String> {
        let spawn = view.spawn.and_then(|spawn| self.spawns.get(&spawn));
        let says = spawn.map(|spawn| spawn.notify.status.as_str()).filter(|says| !says.is_empty());
        if view.state == State::Draining {
            let parts = [view.reason.as_ref().map(ToString::to_string), Some(self.waits_for(view)), says.map(said)];
            return Some(parts.into_iter().flatten().collect::<Vec<_>>().join("; "));
        }
        let Some(reason) = &view.reason else { return says.map(str::to_owned) };
        let why = spawn.and_then(|spawn| spawn.not_ready.as_ref());
        Some(match (reason, why) {
            (Reason::ReadyTimeout(_), Some(why)) => format!("{reason}; last try: {why}"),
            (Reason::RestartLimit { last, .. }, Some(why)) if last.starts_with("not ready") => {
                format!("{reason}; last try: {why}")
            }
            (_, _) => reason.to_string(),
        })
    }

    /// What one that drains has to have finished before its stop begins.
    fn waits_for(&self, view: &InstanceView) -> String {
        let plan = view.spawn.and_then(|spawn| self.core.plan_of(spawn)).unwrap_or(self.core.plan());
        let process = plan.process(&view.name.process);
        let queue = process.is_some_and(ProcessPlan::is_gated).then_some("nobody waits in its queue");
        let proof = process.and_then(|process| process.drained.as_ref()).map(|_| "its `drained` command succeeds");
        match [queue, proof].into_iter().flatten().collect::<Vec<_>>().join(" and ") {
            none if none.is_empty() => "finishes its work".to_owned(),
            conditions => format!("waits until {conditions}"),
        }
    }
}

/// What a process says of itself, in a sentence of others.
fn said(text: &str) -> String {
    format!("it says: {text}")
}

fn role(seat: Seat) -> api::Role {
    match seat {
        Seat::Current => api::Role::Current,
        Seat::Candidate => api::Role::Candidate,
        Seat::Replaced => api::Role::Replaced,
    }
}

fn gone(name: &InstanceName) -> api::Process {
    api::Process {
        name: name.process.to_string(),
        want: 0,
        ready: 0,
        oneshot: false,
        disabled: false,
        listeners: Vec::new(),
        instances: Vec::new(),
    }
}
