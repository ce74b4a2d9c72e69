//! Limits of instances on their way to the kernel, what cannot be had of them, and ends for lack of memory told apart.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use svd_config::plan::{LimitsPlan, ProcessPlan};
use svd_core::{ExitStatus, InstanceName, SpawnId};
use svd_wire::{Exit, FEATURE_CONFINE};

use super::Inner;
use super::app::App;
use super::cgroups::{self, Entered, Ground};
use super::reports::exit_status;
use super::spawns::Spawn;
use crate::seam::Inventory;
use crate::store::NewEvent;

const KILL: i32 = 9;

/// Limits of instances that run are changed on a thread, one batch after the other: to make room below a lower limit the kernel
/// may have to write memory out first, and the writer waits for that.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fitting {
    /// Nothing is being changed.
    #[default]
    Idle,
    /// A batch is.
    Busy,
    /// A batch is, and what is wanted has changed since.
    Stale,
}

impl App {
    /// Makes the cgroup of a start. Answers what its child enters by; nothing where there is none.
    pub(super) fn enter_cgroup(&mut self, spawn: SpawnId, known: &mut Spawn, process: &ProcessPlan) -> Vec<OwnedFd> {
        let name = cgroups::name(&known.instance, &known.cookie);
        let Entered { entrances, lacking } = self.cgroups.enter(&name, &process.limits);
        known.limits = Some(process.limits);
        known.cgroup = Some(name);
        self.lacking(spawn, &known.instance, lacking);
        entrances
    }

    /// Nobody is left of a spawn: its cgroup goes, unless a later manager has to read there how it ended.
    pub(super) fn leave_cgroup(&self, spawn: SpawnId) {
        let Some(name) = self.spawns.get(&spawn).and_then(|known| known.cgroup.as_deref()) else { return };
        if self.cgroups.ooms(name).unwrap_or(0) == 0 {
            self.cgroups.remove(name);
        }
    }

    /// Why a start has to be refused that is to be confined.
    pub(super) fn cannot_confine(&self, process: &ProcessPlan) -> Option<String> {
        let confine = &process.exec.confine;
        if *confine == Default::default() {
            return None;
        }
        if self.keeper.features & FEATURE_CONFINE == 0 {
            return Some(
                "the keeper that runs is of an older build and knows neither capabilities nor mounts of its own; \
                 `svctl upgrade` replaces it"
                    .to_owned(),
            );
        }
        if !confine.private_tmp {
            return None;
        }
        let hidden = |path: PathBuf| svd_config::TEMPORARY.iter().any(|dir| path.starts_with(dir)).then_some(path);
        if let Some(cwd) = hidden(process.exec.cwd.clone()) {
            return Some(format!(
                "its directory {} is not there with private_tmp; move it or leave that out",
                cwd.display()
            ));
        }
        // What it is told to talk to would not be there.
        hidden(self.place.runtime.clone()).map(|dir| {
            format!(
                "svd's own files in {} are not there for it with private_tmp; give svd another --root",
                dir.display()
            )
        })
    }

    /// What is lacking on this host of what the plan in force asks for.
    pub(super) fn look_for_lacks(&mut self) {
        let plan = self.core.plan().clone();
        self.lacks.retain(|process, _| plan.program(process).is_some());
        for process in programs(&plan) {
            let lacking = self.cgroups.lacks(&process.limits);
            self.note_lacks(&process.name, lacking);
        }
    }

    fn note_lacks(&mut self, process: &str, lacking: Vec<String>) -> bool {
        if lacking.is_empty() {
            self.lacks.remove(process);
            return false;
        }
        self.lacks.insert(process.into(), lacking.clone()) != Some(lacking)
    }

    /// What a start does not have although it is to: told in status, and in the history of the instance, for `why`.
    fn lacking(&mut self, spawn: SpawnId, instance: &InstanceName, lacking: Vec<String>) {
        let message = lacking.join("; ");
        self.note_lacks(&instance.process, lacking);
        if message.is_empty() {
            return;
        }
        self.commits.event(NewEvent {
            time_ns: svd_sys::clock::now().real_ns,
            kind: "limits.missing".into(),
            process: Some(instance.process.to_string()),
            instance: Some(instance.to_string()),
            spawn: Some(spawn.0),
            message,
            ..NewEvent::default()
        });
    }

    /// What is lacking, for `status`.
    pub(super) fn limit_troubles(&self) -> impl Iterator<Item = String> + '_ {
        self.lacks.iter().flat_map(|(process, lacking)| lacking.iter().map(move |what| format!("{process}: {what}")))
    }

    /// Has those who live run by the limits of their plan, where these have changed.
    pub(super) fn fit_limits(&mut self) {
        if self.fitting != Fitting::Idle {
            self.fitting = Fitting::Stale;
            return;
        }
        let mut batch = Vec::new();
        let living: Vec<SpawnId> =
            self.spawns.iter().filter(|(_, known)| known.pid().is_some()).map(|(spawn, _)| *spawn).collect();
        for spawn in living {
            let plan = self.plan_of(spawn);
            let Some(known) = self.spawns.get_mut(&spawn) else { continue };
            let (Some(name), Some(process)) = (&known.cgroup, plan.process(&known.instance.process)) else { continue };
            if known.limits != Some(process.limits) {
                let before = known.limits.replace(process.limits);
                batch.push((spawn, name.clone(), before, process.limits));
            }
        }
        if batch.is_empty() {
            return;
        }
        self.fitting = Fitting::Busy;
        let (ground, inner) = (self.cgroups.clone(), self.inner.clone());
        tokio::task::spawn_blocking(move || {
            let _ending = inner.send(Inner::LimitsFitted(fit(&ground, batch)));
        });
    }

    /// A batch of limits was changed, with what could not be.
    pub(super) fn limits_fitted(&mut self, fitted: Vec<(SpawnId, Vec<String>)>) {
        for (spawn, lacking) in fitted {
            if let Some(instance) = self.spawns.get(&spawn).map(|known| known.instance.clone()) {
                self.lacking(spawn, &instance, lacking);
            }
        }
        let stale = std::mem::take(&mut self.fitting) == Fitting::Stale;
        if stale {
            self.fit_limits();
        }
        self.version.send_modify(|version| *version = version.wrapping_add(1));
    }

    /// Works out how a spawn ended, once.
    pub(super) fn note_end(&mut self, spawn: SpawnId, exit: Exit) -> ExitStatus {
        let Some(mut known) = self.spawns.remove(&spawn) else { return exit_status(exit) };
        let end = self.ended_as(&known, exit);
        known.end = Some(end);
        self.spawns.insert(spawn, known);
        end
    }

    /// How a spawn ended, a kill for lack of memory told apart: nobody here has killed it, and the kernel has counted one.
    pub(super) fn ended_as(&mut self, known: &Spawn, exit: Exit) -> ExitStatus {
        if let Some(end) = known.end {
            return end;
        }
        let status = exit_status(exit);
        let ExitStatus::Signal { signal: KILL, .. } = status else { return status };
        if known.killed {
            return status;
        }
        let is_oom = match known.cgroup.as_deref().and_then(|name| self.cgroups.ooms(name)) {
            Some(ooms) => ooms > 0,
            None => self.own_ooms.explains(known.ooms_before),
        };
        if is_oom { ExitStatus::OutOfMemory } else { status }
    }

    /// What there is to say of others of it that the kernel has killed for lack of memory.
    pub(super) fn others_killed(&self, known: &Spawn, end: ExitStatus) -> String {
        let ooms = known.cgroup.as_deref().and_then(|name| self.cgroups.ooms(name)).unwrap_or(0);
        match ooms.saturating_sub(u64::from(end == ExitStatus::OutOfMemory)) {
            0 => String::new(),
            1 => "; the kernel had killed 1 other process of it for lack of memory".to_owned(),
            many => format!("; the kernel had killed {many} other processes of it for lack of memory"),
        }
    }

    /// svd ends: nobody is left in the cgroups that it has made.
    pub(super) fn end_cgroups(&self) {
        for name in self.spawns.values().filter_map(|known| known.cgroup.as_ref()) {
            self.cgroups.remove(name);
        }
        self.cgroups.end();
    }

    /// The limits that an apply brings and that this host does not have, for its answer.
    pub(super) fn lacks_of(&self, plan: &svd_config::Plan) -> Vec<String> {
        let lacks = |process: &ProcessPlan| -> Vec<String> {
            self.cgroups.lacks(&process.limits).iter().map(|what| format!("! {}: {what}", process.name)).collect()
        };
        programs(plan).flat_map(lacks).collect()
    }
}

/// Where the first manager makes cgroups; says at once what cannot be had there.
pub fn ground(inventory: &Inventory, plan: &svd_config::Plan, root: &Path) -> Ground {
    let ground = match inventory.keeper_features & FEATURE_CONFINE {
        0 => Ground::unprepared(),
        _ => Ground::prepare(inventory.keeper_pid, &plan.app, root),
    };
    for process in programs(plan) {
        for what in ground.lacks(&process.limits) {
            crate::say::line(&format!("svd: {}: {what}; it runs without", process.name));
        }
    }
    ground
}

/// Processes, and what jobs run.
pub fn programs(plan: &svd_config::Plan) -> impl Iterator<Item = &ProcessPlan> {
    plan.processes.iter().chain(plan.jobs.iter().map(|job| &job.process))
}

/// A spawn, its cgroup, the limits it had where that is known, and those it gets.
type Fit = (SpawnId, String, Option<LimitsPlan>, LimitsPlan);

fn fit(ground: &Arc<Ground>, batch: Vec<Fit>) -> Vec<(SpawnId, Vec<String>)> {
    let write = |(spawn, name, before, now): Fit| (spawn, ground.write(&name, before.as_ref(), &now));
    batch.into_iter().map(write).collect()
}
