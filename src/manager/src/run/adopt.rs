//! How a new manager takes up what the keeper holds of each spawn.

use std::sync::Arc;

use svd_config::Plan;
use svd_config::plan::LogPlan;
use svd_core::{Adopted, AdoptedLife, Event, SpawnId, Time, Which};
use svd_wire::{FdRole, Life, Request};

use super::app::App;
use super::launch::explain;
use super::spawns::{Output, Phase, Spawn, Wire, from_wire};
use crate::listen::{Key, key};
use crate::logs::{Limits, Stream};
use crate::seam::{Found, LinkError, Purpose, Tag, decode_note};

impl App {
    /// The plan that a generation of a process runs by; for spawns that the core does not know yet.
    fn plan_by(&self, process: &str, generation: u64) -> &Arc<Plan> {
        match (self.core.desired().runs_by(process, generation), self.settings.other()) {
            (Which::Other, Some(other)) => &other.plan,
            (Which::Other, None) | (Which::InForce, _) => &self.settings.in_force().plan,
        }
    }

    /// Takes over one spawn of the inventory.
    pub(super) fn adopt(&mut self, mut found: Found) -> Result<(), LinkError> {
        let instance = found.instance;
        let Some(tag) = Tag::decode(&instance.tag) else {
            tracing::error!(spawn = instance.spawn.0, "a spawn carries no tag that can be read; it is left alone");
            return Ok(());
        };
        let (id, lineage) = match (from_wire(instance.spawn), tag.purpose) {
            (Wire::Core(id), Purpose::Instance(lineage)) => (id, lineage),
            (Wire::Side(id), Purpose::Notice { event, place }) => {
                self.next_side = self.next_side.max(id.saturating_add(2) | 1);
                let output = found.held.remove(&FdRole::Stdout);
                return self.adopt_messenger(id, (event, &place), tag.cookie, instance.life, output);
            }
            // A readiness command of the manager before: the question is asked again.
            (Wire::Side(id), _) | (Wire::Core(SpawnId(id)), Purpose::Probe(_) | Purpose::Notice { .. }) => {
                match instance.life {
                    Life::Forked { .. } | Life::Running { .. } => {
                        self.link.send(&Request::Signal { spawn: instance.spawn, signal: 9 }, Vec::new())?;
                    }
                    Life::Failed { .. } | Life::Exited { .. } => self.commits.forget(instance.spawn),
                }
                self.next_side = self.next_side.max(id.saturating_add(2) | 1);
                return Ok(());
            }
        };
        let plan = self.plan_by(&tag.instance.process, lineage.generation).clone();
        let process = plan.program(&tag.instance.process);
        let mut spawn = Spawn::new(tag.instance.clone(), tag.cookie, lineage.slot);
        if let Some(process) = process {
            spawn.program = process.name.clone().into();
            spawn.cwd = process.exec.cwd.clone();
            spawn.listens = process.listen.iter().map(|wanted| key(process, wanted)).collect();
        }
        // Not what its process has by now.
        if let Some(listens) = &tag.listens {
            let process: &Arc<str> = &tag.instance.process;
            spawn.listens = listens
                .iter()
                .map(|address| Key { process: process.clone(), address: address.as_str().into() })
                .collect();
        }
        spawn.cgroup = Some(super::cgroups::name(&spawn.instance, &spawn.cookie));
        spawn.killed = instance.last_signal.is_some_and(|sent| sent.signal == 9);
        spawn.ooms_before = tag.ooms;
        spawn.ready = found.held.remove(&FdRole::Ready);
        spawn.notify = instance.notify;
        let boot = |stamp: svd_wire::Stamp| Time(stamp.boot_ns);
        let life = match instance.life {
            Life::Forked { at, .. } => AdoptedLife::Forked { at: boot(at) },
            Life::Running { pid, at } => {
                let pid = spawn.notify.main.unwrap_or(pid);
                spawn.phase = Phase::Running(pid);
                AdoptedLife::Running { pid, at: boot(at) }
            }
            Life::Failed { error, at } => {
                spawn.phase = Phase::Ended(None);
                AdoptedLife::Failed { failure: explain(error, &spawn.program, &spawn.cwd), at: boot(at) }
            }
            Life::Exited { pid, exit, before_exec, at, .. } => {
                spawn.phase = Phase::Ended(Some(pid));
                let exit = self.ended_as(&spawn, exit);
                spawn.end = Some(exit);
                AdoptedLife::Exited { exit, before_exec, at: boot(at) }
            }
        };
        let limits = match process.map(|process| &process.logs) {
            Some(LogPlan::Segments { segment, max_size }) => Limits { segment: *segment, max_size: *max_size },
            // What it still says is kept, whatever the config says by now.
            Some(LogPlan::Null) | None => Limits { segment: 64 << 20, max_size: 1 << 30 },
        };
        for (role, stream) in [(FdRole::Stdout, Stream::Stdout), (FdRole::Stderr, Stream::Stderr)] {
            let Some(pipe) = found.held.remove(&role) else { continue };
            match stream {
                Stream::Stdout => spawn.stdout = Output::Open,
                Stream::Stderr => spawn.stderr = Output::Open,
            }
            self.attach(id, &tag.instance, stream, pipe, limits);
        }
        if matches!(life, AdoptedLife::Failed { .. } | AdoptedLife::Exited { .. }) {
            self.ended_before.insert(id, tag.instance.clone());
        }
        let note = decode_note(&instance.note);
        spawn.draining = note.draining;
        let adopted = Adopted {
            spawn: id,
            instance: tag.instance,
            lineage,
            note,
            life,
            last_signal: instance.last_signal.map(|sent| (sent.signal, boot(sent.at))),
            notified_ready: spawn.notify.ready.is_some(),
            said: super::notified::said(&spawn.notify),
        };
        if let (Phase::Running(_), Some(cgroup)) = (spawn.phase, spawn.cgroup.clone()) {
            self.watch_ooms(id, &cgroup);
        }
        let stopping = spawn.notify.stopping;
        self.spawns.insert(id, spawn);
        if let Some(channel) = found.held.remove(&FdRole::Intercept) {
            self.intercept(id, channel)?;
        }
        self.turn(Event::Adopt(Box::new(adopted)))?;
        if stopping {
            self.turn(Event::Stopping { spawn: id })?;
        }
        Ok(())
    }
}
