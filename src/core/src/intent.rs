//! What a command means: which changes of what is desired, for which instances, or why it is refused. Worked out
//! without changing anything, so that `--dry-run` tells exactly what would be done.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::Arc;

use svd_config::Plan;
use svd_config::plan::Strategy;

use crate::action::FactKind;
use crate::desired::{Change, Desired};
use crate::drain::Queue;
use crate::event::Command;
use crate::machine::{Core, Course, Haste, Mode};
use crate::name::{InstanceName, Target};
use crate::order::Hope;
use crate::service::{How, Life, Spawn};
use crate::tree::{self, Aim, Instance, Listing, Process};
use crate::verdict::Verdict;

/// Why most commands are refused in safe mode.
const SAFE_MODE: &str = "svd is in safe mode, since its managers crashed again and again: it keeps what runs, and takes only stop, drain, disable, \
                         kill, signal, shutdown and upgrade; `svctl upgrade` puts a sound svd in its place, or tries this one again";

/// More instances than this are a typing error.
const MAX_INSTANCES: u32 = 1000;

/// What a command means.
#[derive(Debug, Default)]
pub(crate) struct Intent {
    pub verb: &'static str,
    pub changes: Vec<Change>,
    pub goals: BTreeMap<InstanceName, Goal>,
    /// The plan from now on.
    pub plan: Option<Arc<Plan>>,
    pub facts: Vec<FactKind>,
    /// Instances whose past is forgotten: they are started as if they had been asked to end.
    pub forgiven: Vec<InstanceName>,
    pub how: Option<How>,
    pub end: Option<Haste>,
    /// What would be done, a line each.
    pub words: Vec<String>,
    /// What was done, when it is done.
    pub summary: String,
}

/// What must come about for an instance before a command is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Goal {
    /// It is up, in this generation or a later one.
    Rise { generation: u64, from: From },
    /// Nothing is left of it.
    Fall,
    /// Nothing is left of those that were replaced.
    Clear,
}

/// What a rising instance comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum From {
    /// It is not running, or is on its way up already.
    Rest,
    /// It is running and is replaced, one by one.
    Old,
}

/// The instances that a command names, process by process.
type Chosen = BTreeMap<Arc<str>, Choice>;

#[derive(Debug, Default)]
struct Choice {
    /// The process as a whole was named.
    whole: bool,
    indexes: BTreeSet<u32>,
}

impl Core {
    /// What the command would do, in words; or why it would be refused. Changes nothing.
    pub fn dry_run(&self, command: &Command) -> Result<Vec<String>, String> {
        if let Command::Jobs(command) = command {
            return self.job_words(command);
        }
        self.intent(command).map(|intent| match intent.words.is_empty() {
            true => vec!["nothing to change".to_owned()],
            false => intent.words,
        })
    }

    pub(crate) fn intent(&self, command: &Command) -> Result<Intent, String> {
        if let Command::Shutdown { now } = command {
            return Ok(self.shutdown_intent(*now));
        }
        if matches!(self.course, Course::Ending { .. } | Course::Finished) {
            return Err("svd is shutting down".to_owned());
        }
        if self.mode == Mode::Safe && !command.only_ends() {
            return Err(SAFE_MODE.to_owned());
        }
        let mut intent = match command {
            Command::Start(targets) => self.start_intent("start", &self.choose(targets)?, Again::WhatEnded)?,
            Command::Restart(targets) => self.start_intent("restart", &self.choose(targets)?, Again::All)?,
            Command::Enable(processes) => self.enable_intent(processes)?,
            Command::Stop(targets) => self.stop_intent("stop", targets, How::Ladder)?,
            Command::Kill(targets) => self.stop_intent("kill", targets, How::Kill)?,
            Command::KillReplaced(targets) => self.kill_replaced_intent(targets)?,
            Command::Drain(targets) => self.stop_intent("drain", targets, How::Drain(Queue::None))?,
            Command::Disable(processes) => self.disable_intent(processes)?,
            Command::Scale(counts) => self.scale_intent(counts)?,
            Command::Apply { plan, restart } => self.apply_intent(plan, restart)?,
            Command::Shutdown { now } => self.shutdown_intent(*now),
            // They have ways of their own (job/commands.rs).
            Command::Jobs(command) => Intent { words: self.job_words(command)?, ..Intent::default() },
        };
        self.describe(&mut intent);
        Ok(intent)
    }

    fn shutdown_intent(&self, now: bool) -> Intent {
        let (haste, words) = match now {
            true => (Haste::AtOnce, "kill all instances at once, then end svd"),
            false => (Haste::InOrder, "stop all instances in reverse order, then end svd"),
        };
        Intent { verb: "shutdown", end: Some(haste), words: vec![words.to_owned()], ..Intent::default() }
    }

    fn known(&self, name: &str) -> Result<(&Arc<str>, &Process), String> {
        match self.plan.process(name) {
            Some(_) => self.processes.get_key_value(name).ok_or_else(|| format!("there is no process {name:?}")),
            None => Err(format!("there is no process {name:?}: svctl status lists them")),
        }
    }

    /// Resolves targets to instances, or says which of them does not exist.
    fn choose(&self, targets: &[Target]) -> Result<Chosen, String> {
        let mut chosen = Chosen::new();
        for target in targets {
            let (name, _) = self.known(&target.process)?;
            let want = self.want(name);
            let choice = chosen.entry(name.clone()).or_default();
            match target.index {
                None => {
                    choice.whole = true;
                    choice.indexes.extend(1..=want);
                }
                Some(index) if (1..=want).contains(&index) => {
                    choice.indexes.insert(index);
                }
                Some(index) => {
                    return Err(format!(
                        "there is no {name}.{index}: {name} has {want} instances; svctl scale changes that"
                    ));
                }
            }
        }
        Ok(chosen)
    }

    fn start_intent(&self, verb: &'static str, chosen: &Chosen, again: Again) -> Result<Intent, String> {
        if let Some(name) = chosen.keys().find(|name| self.desired.disabled.contains(*name)) {
            return Err(format!("{name} is disabled: svctl enable {name}"));
        }
        let mut intent = Intent { verb, ..Intent::default() };
        for (name, choice) in chosen {
            let (_, process) = self.known(name)?;
            self.check_start(name, process, choice, chosen)?;
            self.clear_stopped(name, choice, &mut intent.changes);
            let next = self.next_generation(name, process);
            for index in &choice.indexes {
                let instance = process.instances.get(index);
                if instance.is_some_and(|instance| again.raises(self, name, process, *index, instance)) {
                    let instance = InstanceName { process: name.clone(), index: *index };
                    intent.start_again(process, again, instance, next);
                }
            }
        }
        intent.goals = self.goals(&intent.changes, &self.plan, chosen);
        Ok(intent)
    }

    fn enable_intent(&self, processes: &[Arc<str>]) -> Result<Intent, String> {
        let targets: Vec<Target> = processes.iter().map(|p| Target { process: p.clone(), index: None }).collect();
        let chosen = self.choose(&targets)?;
        let mut intent = Intent { verb: "enable", ..Intent::default() };
        for (name, choice) in &chosen {
            let (_, process) = self.known(name)?;
            self.check_start(name, process, choice, &chosen)?;
            if self.desired.disabled.contains(name) {
                intent.changes.push(Change::Disabled(name.clone(), false));
            }
            self.clear_stopped(name, choice, &mut intent.changes);
            let next = self.next_generation(name, process);
            for (index, instance) in process.instances.range(..=self.want(name)) {
                if Again::WhatEnded.raises(self, name, process, *index, instance) {
                    let instance = InstanceName { process: name.clone(), index: *index };
                    intent.start_again(process, Again::WhatEnded, instance, next);
                }
            }
        }
        intent.goals = self.goals(&intent.changes, &self.plan, &chosen);
        Ok(intent)
    }

    /// A start is refused where it could only wait for ever, or would put a second copy beside a stuck one.
    fn check_start(&self, name: &Arc<str>, process: &Process, choice: &Choice, chosen: &Chosen) -> Result<(), String> {
        for index in &choice.indexes {
            if process.instances.get(index).is_some_and(|instance| instance.is_stuck()) {
                return Err(format!(
                    "{name}.{index} is stuck: KILL did not end it, and no second copy is started beside it"
                ));
            }
        }
        match self.unmet(&process.plan) {
            Some(unmet) if unmet.hope == Hope::None && !chosen.contains_key(&unmet.process) => {
                Err(format!("{name} {}: svctl start {} {name}", unmet.text, unmet.process))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Clears what was stopped by hand. Where the whole process was stopped and only some instances are started, the
    /// others are stopped one by one first, so that a killed manager never leaves more running than was asked for.
    fn clear_stopped(&self, name: &Arc<str>, choice: &Choice, changes: &mut Vec<Change>) {
        let target = |index| Target { process: name.clone(), index };
        let stopped = |index| self.desired.stopped.contains(&target(index));
        if stopped(None) {
            if !choice.whole {
                let others = (1..=self.want(name)).filter(|i| !choice.indexes.contains(i) && !stopped(Some(*i)));
                changes.extend(others.map(|i| Change::Stopped(target(Some(i)), true)));
            }
            changes.push(Change::Stopped(target(None), false));
        }
        for by_hand in self.desired.stopped.iter().filter(|t| t.process == *name) {
            if by_hand.index.is_some_and(|i| choice.whole || choice.indexes.contains(&i)) {
                changes.push(Change::Stopped(by_hand.clone(), false));
            }
        }
    }

    /// A generation that no instance of the process has had: instances raised together are replaced one by one.
    pub(crate) fn next_generation(&self, name: &Arc<str>, process: &Process) -> u64 {
        let spawned =
            process.instances.values().flat_map(|instance| instance.spawns()).map(|spawn| spawn.lineage.generation);
        let desired = self.desired.generation.iter().filter(|(n, _)| n.process == *name).map(|(_, g)| *g);
        spawned.chain(desired).max().unwrap_or(0).saturating_add(1)
    }

    fn stop_intent(&self, verb: &'static str, targets: &[Target], how: How) -> Result<Intent, String> {
        let chosen = self.choose(targets)?;
        let fresh = targets.iter().filter(|target| !self.desired.stopped.contains(target));
        let changes: BTreeSet<&Target> = fresh.collect();
        let changes = changes.into_iter().map(|target| Change::Stopped(target.clone(), true)).collect();
        let mut intent = Intent { verb, changes, how: Some(how), ..Intent::default() };
        intent.goals = self.goals(&intent.changes, &self.plan, &chosen);
        Ok(intent)
    }

    fn disable_intent(&self, processes: &[Arc<str>]) -> Result<Intent, String> {
        let targets: Vec<Target> = processes.iter().map(|p| Target { process: p.clone(), index: None }).collect();
        let chosen = self.choose(&targets)?;
        let fresh = chosen.keys().filter(|name| !self.desired.disabled.contains(*name));
        let changes = fresh.map(|name| Change::Disabled(name.clone(), true)).collect();
        let mut intent = Intent { verb: "disable", changes, ..Intent::default() };
        intent.goals = self.goals(&intent.changes, &self.plan, &chosen);
        Ok(intent)
    }

    fn scale_intent(&self, counts: &[(Arc<str>, u32)]) -> Result<Intent, String> {
        let mut intent = Intent { verb: "scale", ..Intent::default() };
        for (name, to) in counts {
            let (name, _) = self.known(name)?;
            if *to > MAX_INSTANCES {
                return Err(format!("{name} cannot have {to} instances: at most {MAX_INSTANCES}"));
            }
            let from = self.want(name);
            // The config's own count is no wish beside it: from then on the config is followed again.
            let config = self.plan.process(name).map(|process| process.count);
            let wish = if config == Some(*to) { None } else { Some(*to) };
            if self.desired.scale.get(name).copied() != wish {
                intent.changes.push(Change::Scale(name.clone(), wish));
            }
            // New ones are of the newest generation that is desired, and so run by the same plan as the others.
            let newest = (1..=from).map(|index| self.generation(name, index)).max().unwrap_or(0);
            for index in from.saturating_add(1)..=*to {
                if self.generation(name, index) < newest {
                    let instance = InstanceName { process: name.clone(), index };
                    intent.changes.push(Change::Generation(instance, newest));
                }
            }
            if from != *to {
                intent.facts.push(FactKind::Scaled { from, to: *to });
                intent.words.push(format!("scale {name} from {from} to {to}"));
            }
        }
        intent.goals = self.goals(&intent.changes, &self.plan, &Chosen::new());
        Ok(intent)
    }

    fn kill_replaced_intent(&self, targets: &[Target]) -> Result<Intent, String> {
        let chosen = self.choose(targets)?;
        let mut intent = Intent { verb: "kill", how: Some(How::Kill), ..Intent::default() };
        for (name, choice) in &chosen {
            for index in &choice.indexes {
                let instance = InstanceName { process: name.clone(), index: *index };
                if self.instance(&instance).is_some_and(|known| known.lingering().next().is_some()) {
                    intent.goals.insert(instance, Goal::Clear);
                }
            }
        }
        Ok(intent)
    }

    fn apply_intent(&self, plan: &Arc<Plan>, restart: &[Arc<str>]) -> Result<Intent, String> {
        if self.is_applying() {
            let processes: Vec<&str> = self.desired.boundaries.keys().map(|name| &**name).collect();
            return Err(format!(
                "an apply is in progress: {} is being replaced; svctl events -f shows how far it is",
                processes.join(", ")
            ));
        }
        let mut intent = Intent { verb: "apply", ..Intent::default() };
        // One that comes back before it was stopped is what an earlier plan made it.
        let remains = |process: &Process| process.listing == Listing::Retired && process.spawns().any(Spawn::is_live);
        let back = self.processes.iter().filter(|(_, process)| remains(process)).map(|(name, _)| name);
        for name in restart.iter().chain(back).collect::<BTreeSet<_>>() {
            let Some((name, process)) = self.processes.get_key_value(name) else { continue };
            let Some(listed) = plan.process(name) else { continue };
            let next = self.next_generation(name, process);
            intent.changes.push(Change::Boundaries(name.clone(), vec![next]));
            // Those that the new plan does not want any more are among them: it may be taken back.
            for index in 1..=tree::want(&self.desired, listed).max(self.want(name)) {
                // One that rests, or that is added, is of the new plan when it is started.
                let raised = match process.instances.get(&index) {
                    Some(instance) if self.lasting_aim(name, process, index) == Aim::Run => {
                        instance.current.is_none() || Again::WhatIsOutdated.raises(self, name, process, index, instance)
                    }
                    Some(_) | None => true,
                };
                if raised {
                    intent.changes.push(Change::Generation(InstanceName { process: name.clone(), index }, next));
                }
            }
        }
        intent.goals = self.goals(&intent.changes, plan, &Chosen::new());
        if **plan != *self.plan {
            intent.plan = Some(plan.clone());
            intent.words.push("take the new config".to_owned());
        }
        Ok(intent)
    }

    /// What must come about: for each instance that the changes bring to run, to stop, or to be replaced, and for
    /// those that the command names.
    fn goals(&self, changes: &[Change], plan: &Plan, chosen: &Chosen) -> BTreeMap<InstanceName, Goal> {
        let mut desired = self.desired.clone();
        changes.iter().for_each(|change| desired.apply(change));
        let names = self.plan.processes.iter().chain(&plan.processes).map(|p| p.name.as_str());
        let mut goals = BTreeMap::new();
        for name in names.collect::<BTreeSet<_>>() {
            let shared: Arc<str> = self.processes.get_key_value(name).map_or_else(|| name.into(), |(n, _)| n.clone());
            let (before, after) = (self.plan.process(name), plan.process(name));
            let count = |plan, desired: &Desired| Option::map_or(plan, 0, |p| tree::want(desired, p));
            let last = count(before, &self.desired).max(count(after, &desired));
            for index in 1..=last {
                let instance = InstanceName { process: shared.clone(), index };
                let named = chosen.get(&shared).is_some_and(|choice| choice.indexes.contains(&index));
                let (was, is) = (self.generation(&shared, index), tree::generation(&desired, &shared, index));
                let from = tree::aim(&self.desired, &shared, before, index);
                let to = tree::aim(&desired, &shared, after, index);
                match (from, to) {
                    (Aim::Run, Aim::Run) if !named && was == is => {}
                    (Aim::Stop(_), Aim::Stop(_)) if !named => {}
                    (Aim::Run | Aim::Stop(_), Aim::Stop(_)) => {
                        goals.insert(instance, Goal::Fall);
                    }
                    (Aim::Run | Aim::Stop(_), Aim::Run) => {
                        let beside = after.is_some_and(|plan| plan.update.strategy != Strategy::Exclusive);
                        let stale = self
                            .instance(&instance)
                            .is_some_and(|i| if beside { i.is_outdated(is) } else { i.is_stale(is) });
                        let from = if stale { From::Old } else { From::Rest };
                        goals.insert(instance, Goal::Rise { generation: is, from });
                    }
                }
            }
        }
        goals
    }

    /// Fills in the words: what is to be done now, and what is told at the end.
    fn describe(&self, intent: &mut Intent) {
        let (mut started, mut replaced, mut stopped) = (Vec::new(), Vec::new(), Vec::new());
        let mut cleared = Vec::new();
        for change in &intent.changes {
            match change {
                Change::Disabled(name, true) => intent.words.push(format!("disable {name}")),
                Change::Disabled(name, false) => intent.words.push(format!("enable {name}")),
                Change::Scale(..)
                | Change::Stopped(..)
                | Change::Generation(..)
                | Change::Boundaries(..)
                | Change::TakenBack(_) => {}
            }
        }
        for (name, goal) in &intent.goals {
            let instance = self.instance(name);
            match goal {
                Goal::Rise { from: From::Old, .. } => {
                    let plan = intent.plan.as_ref().unwrap_or(&self.plan);
                    let strategy = plan.process(&name.process).map_or(Strategy::Exclusive, |p| p.update.strategy);
                    let steps = match strategy {
                        Strategy::Overlap => "start a new one beside it, wait until it is ready, drain the old one",
                        Strategy::Handover => "quiet it, start a new one, wait until that is ready, drain the old one",
                        Strategy::Exclusive => "stop, start, wait until it is ready",
                    };
                    intent.words.push(format!("{name}: {steps}"));
                    replaced.push(name.to_string());
                }
                Goal::Clear => {
                    intent.words.push(format!("{name}: kill what was replaced"));
                    cleared.push(name.to_string());
                }
                Goal::Rise { from: From::Rest, .. } => {
                    if !self.is_up(name) || intent.changes.iter().any(|c| raises(c, name)) {
                        intent.words.push(format!("{name}: start"));
                        started.push(name.to_string());
                    }
                }
                Goal::Fall => {
                    if instance.is_some_and(|instance| !instance.is_gone()) {
                        let verb = match intent.how {
                            Some(How::Kill) => "kill",
                            Some(How::Drain(_)) => "let it finish what it has, stop",
                            Some(How::Ladder) | None => "stop",
                        };
                        intent.words.push(format!("{name}: {verb}"));
                        stopped.push(name.to_string());
                    }
                }
            }
        }
        let down = match intent.how {
            Some(How::Kill) => "killed",
            Some(How::Drain(_)) => "drained",
            Some(How::Ladder) | None => "stopped",
        };
        let mut summary = String::new();
        let cleared = ("killed what was left of earlier", cleared);
        for (verb, names) in [("started", started), ("restarted", replaced), (down, stopped), cleared] {
            if !names.is_empty() {
                let _ = write!(summary, "{}{verb} {}", if summary.is_empty() { "" } else { "; " }, names.join(", "));
            }
        }
        if summary.is_empty() {
            summary = match intent.changes.is_empty() && intent.plan.is_none() {
                true => "nothing to change".to_owned(),
                false => "done; nothing had to be started or stopped".to_owned(),
            };
        }
        intent.summary = summary;
    }

    fn is_up(&self, name: &InstanceName) -> bool {
        let Some(process) = self.processes.get(&name.process) else { return false };
        let Some(instance) = process.instances.get(&name.index) else { return false };
        self.has_risen(&name.process, process, name.index, instance)
    }
}

fn raises(change: &Change, instance: &InstanceName) -> bool {
    matches!(change, Change::Generation(name, _) if name == instance)
}

/// Which instances get a new generation, and with it a start without a past.
#[derive(Clone, Copy, Debug)]
enum Again {
    All,
    /// What ended without being asked and is not completed.
    WhatEnded,
    /// What runs, or would run again with what it had; never what has completed or is not to run.
    WhatIsOutdated,
}

impl Intent {
    /// Has an instance started without its past.
    fn start_again(&mut self, process: &Process, again: Again, instance: InstanceName, next: u64) {
        match again {
            // A newer generation would be started beside what has ended, and given up at the first failure.
            Again::WhatEnded if process.is_beside() => self.forgiven.push(instance),
            Again::WhatEnded | Again::All | Again::WhatIsOutdated => {
                self.changes.push(Change::Generation(instance, next));
            }
        }
    }
}

impl Again {
    fn raises(self, core: &Core, name: &Arc<str>, process: &Process, index: u32, instance: &Instance) -> bool {
        let verdict = core.verdict(name, process, index, instance);
        let ended = matches!(verdict, Verdict::Again { .. } | Verdict::Over(_) | Verdict::Failed(_));
        match self {
            Again::All => true,
            Again::WhatEnded => ended,
            Again::WhatIsOutdated => {
                core.lasting_aim(name, process, index) == Aim::Run
                    && match instance.current.as_ref().map(|spawn| &spawn.life) {
                        Some(Life::Ended { .. }) => ended && !matches!(verdict, Verdict::Over(_)),
                        Some(
                            Life::Launching | Life::Running { .. } | Life::Draining { .. } | Life::Stopping { .. },
                        ) => true,
                        Some(Life::Stuck { .. }) | None => false,
                    }
            }
        }
    }
}
