//! Commands in progress: accepted, followed until what they wanted has come about, and told once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use svd_config::Plan;

use crate::action::{Action, Fact, FactKind, Outcome};
use crate::desired::Change;
use crate::event::Command;
use crate::intent::{From, Goal, Intent};
use crate::machine::{Core, Course};
use crate::name::{InstanceName, OpId};
use crate::order::Hope;
use crate::service::{How, Spawn};
use crate::tree::{self, Aim};
use crate::verdict::Verdict;

/// A command in progress.
#[derive(Clone, Debug)]
pub(crate) struct Op {
    pub id: OpId,
    /// What has not come about yet.
    pub goals: BTreeMap<InstanceName, Goal>,
    /// Those that are replaced: what they leave behind is told at its end.
    pub replaced: BTreeSet<InstanceName>,
    pub summary: String,
    pub kind: OpKind,
}

/// What its end depends on beside its goals.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum OpKind {
    Plain,
    /// What is stopped for it finishes what it has first.
    Drain,
    /// A new plan: it may be taken back.
    Apply,
    /// It was taken back, for this reason: its goals are those of the plan before.
    TakenBack(String),
}

impl Op {
    pub fn concerns(&self, name: &InstanceName) -> bool {
        self.goals.contains_key(name)
    }
}

/// What is known of the restarts in progress, by process and generation: asked once for all their instances.
type Rolls = BTreeMap<(Arc<str>, u64), Option<String>>;

/// How far one goal is.
enum Progress {
    Pending,
    Reached,
    Failed(String),
    /// What ran before runs on.
    RolledBack(String),
}

impl Core {
    pub(crate) fn command(&mut self, id: OpId, command: &Command, out: &mut Vec<Action>) {
        if let Command::Jobs(command) = command {
            return self.job_command(id, command, out);
        }
        match self.intent(command) {
            Err(why) => out.push(Action::Done { op: id, outcome: Outcome::Refused(why) }),
            Ok(intent) => self.accept(id, intent, out),
        }
    }

    fn accept(&mut self, id: OpId, intent: Intent, out: &mut Vec<Action>) {
        if let Some(haste) = intent.end {
            return self.begin_end(Some(id), haste, out);
        }
        for change in intent.changes {
            self.change(change, out);
        }
        for name in &intent.forgiven {
            self.forgive(name, out);
        }
        let kind = match (intent.verb, intent.how) {
            ("apply", _) => OpKind::Apply,
            (_, Some(How::Drain(_))) => OpKind::Drain,
            (_, Some(How::Ladder | How::Kill) | None) => OpKind::Plain,
        };
        let before = intent.plan.map(|plan| std::mem::replace(&mut self.plan, plan));
        match (&kind, self.is_applying()) {
            (OpKind::Apply, true) => self.other = Some(before.clone().unwrap_or_else(|| self.plan.clone())),
            // Nothing is to be replaced for it.
            (OpKind::Apply, false) => out.push(Action::DropOther),
            (OpKind::Plain | OpKind::Drain | OpKind::TakenBack(_), _) => {}
        }
        let old = std::mem::take(&mut self.processes);
        self.processes = tree::grow(&self.plan, self.other.as_ref(), &self.desired, old, self.now);
        if let Some(before) = before {
            self.probe_anew(&before, out);
        }
        for kind in intent.facts {
            out.push(Action::Record(Fact { instance: None, spawn: None, op: Some(id), kind }));
        }
        self.supersede(intent.verb, out);
        let old = |goal: &Goal| matches!(goal, Goal::Rise { from: From::Old, .. });
        let replaced = intent.goals.iter().filter(|(_, goal)| old(goal)).map(|(name, _)| name.clone()).collect();
        self.ops.push(Op { id, goals: intent.goals, replaced, summary: intent.summary, kind });
        self.touch(id, intent.how, out);
    }

    fn probe_anew(&mut self, before: &Plan, out: &mut Vec<Action>) {
        let plan = self.plan.clone();
        let changed = |name: &str| match (before.process(name), plan.process(name)) {
            (Some(before), Some(after)) => before.ready != after.ready,
            (None, _) | (_, None) => false,
        };
        for id in self.spawns_where(|name, _, spawn| spawn.is_rising() && changed(name)) {
            self.on(id, out, |spawn, cx| spawn.probe_anew(cx));
        }
    }

    /// What has ended is taken for something that was asked to: it is started without its past.
    fn forgive(&mut self, name: &InstanceName, out: &mut Vec<Action>) {
        let Some(spawn) = self.instance_mut(name).and_then(|instance| instance.current.as_mut()) else { return };
        if !spawn.is_live() && !spawn.note.asked {
            spawn.note.asked = true;
            out.push(Action::Annotate { spawn: spawn.id, note: spawn.note });
        }
    }

    /// A change of what is desired, stored before anything follows from it.
    pub(crate) fn change(&mut self, change: Change, out: &mut Vec<Action>) {
        self.desired.apply(&change);
        self.changed = true;
        out.push(Action::Persist(change));
    }

    /// What a command does to instances that have no process to be stopped: history learns it; and the KILL of
    /// `kill`, which waits for no order.
    fn touch(&mut self, id: OpId, how: Option<How>, out: &mut Vec<Action>) {
        let Some(goals) = self.ops.last().map(|op| op.goals.clone()) else { return };
        let now = self.now;
        for name in goals.iter().filter(|(_, goal)| **goal == Goal::Fall).map(|(name, _)| name) {
            let Some(instance) = self.instance_mut(name) else { continue };
            let ids: Vec<_> = instance.spawns().filter(|spawn| !spawn.is_gone()).map(|spawn| spawn.id).collect();
            if ids.is_empty() {
                instance.idle_since = now;
                let (instance, kind) = (Some(name.clone()), FactKind::Stopped);
                out.push(Action::Record(Fact { instance, spawn: None, op: Some(id), kind }));
            }
            if how == Some(How::Kill) {
                for id in ids {
                    self.on(id, out, |spawn, cx| spawn.stop(cx, crate::Reason::ByHand, How::Kill));
                }
            }
        }
        for name in goals.iter().filter(|(_, goal)| **goal == Goal::Clear).map(|(name, _)| name) {
            let lingering = self.instance(name).into_iter().flat_map(|instance| instance.lingering());
            for id in lingering.map(|spawn| spawn.id).collect::<Vec<_>>() {
                self.on(id, out, |spawn, cx| spawn.stop(cx, crate::Reason::ByHand, How::Kill));
            }
        }
    }

    /// Ends the commands whose goal the newest one has made impossible.
    pub(crate) fn supersede(&mut self, verb: &str, out: &mut Vec<Action>) {
        let impossible = |core: &Core, op: &Op| {
            op.goals.iter().any(|(name, goal)| match (goal, core.aim_of(name)) {
                (Goal::Rise { .. }, Aim::Stop(_)) | (Goal::Fall, Aim::Run) => true,
                (Goal::Rise { .. }, Aim::Run) | (Goal::Fall, Aim::Stop(_)) | (Goal::Clear, _) => false,
            })
        };
        let (gone, kept) = std::mem::take(&mut self.ops).into_iter().partition(|op| impossible(self, op));
        self.ops = kept;
        for op in Vec::<Op>::into_iter(gone) {
            self.fail(op, format!("superseded by {verb}"), out);
        }
    }

    pub(crate) fn aim_of(&self, name: &InstanceName) -> Aim {
        match self.processes.get(&name.process) {
            Some(process) => self.aim(&name.process, process, name.index),
            None => Aim::Stop(crate::Reason::Removed),
        }
    }

    pub(crate) fn advance_ops(&mut self, out: &mut Vec<Action>) {
        // A failed one takes generations back, which can end another one that waits for them: once more then.
        loop {
            let mut failed = false;
            for mut op in std::mem::take(&mut self.ops) {
                match self.advance(&mut op) {
                    Progress::Pending => self.ops.push(op),
                    Progress::Reached => {
                        let outcome = match &op.kind {
                            OpKind::TakenBack(why) => {
                                Outcome::RolledBack(format!("{why}; the config before is in force again"))
                            }
                            OpKind::Plain | OpKind::Drain | OpKind::Apply => Outcome::Done(self.summary_of(&op)),
                        };
                        out.push(Action::Done { op: op.id, outcome });
                    }
                    Progress::Failed(why) if op.kind == OpKind::Apply && self.can_take_back() => {
                        failed = true;
                        self.ops.push(op);
                        self.take_back(&why, out);
                    }
                    Progress::Failed(why) => {
                        failed = true;
                        self.fail(op, why, out);
                    }
                    Progress::RolledBack(why) => {
                        failed = true;
                        self.leave(&op, out);
                        out.push(Action::Done { op: op.id, outcome: rolled_back(op.kind, why) });
                    }
                }
            }
            if !failed {
                return;
            }
        }
    }

    fn advance(&self, op: &mut Op) -> Progress {
        let (mut failure, mut rolls) = (None, Rolls::new());
        op.goals.retain(|name, goal| match self.progress(name, *goal, &mut rolls) {
            Progress::Pending => true,
            Progress::Reached => false,
            other @ (Progress::Failed(_) | Progress::RolledBack(_)) => {
                failure.get_or_insert(other);
                true
            }
        });
        match failure {
            Some(failure) => failure,
            None if op.goals.is_empty() => Progress::Reached,
            None => Progress::Pending,
        }
    }

    fn progress(&self, name: &InstanceName, goal: Goal, rolls: &mut Rolls) -> Progress {
        let process = self.processes.get(&name.process);
        let found = process.and_then(|process| Some((process, process.instances.get(&name.index)?)));
        let (process, instance) = match (found, goal) {
            (Some(found), _) => found,
            (None, Goal::Fall | Goal::Clear) => return Progress::Reached,
            (None, Goal::Rise { .. }) => return Progress::Failed(format!("{name} is no longer in the config")),
        };
        let stuck = match goal {
            Goal::Rise { .. } => instance.is_stuck(),
            Goal::Fall => instance.has_stuck(),
            Goal::Clear => false,
        };
        if stuck {
            return Progress::Failed(format!("{name} is stuck: KILL did not end it"));
        }
        match goal {
            Goal::Fall if instance.is_gone() => Progress::Reached,
            Goal::Clear if instance.lingering().all(Spawn::is_stuck) => Progress::Reached,
            Goal::Fall | Goal::Clear => Progress::Pending,
            Goal::Rise { generation, .. } => {
                let desired = self.generation(&name.process, name.index);
                if generation > desired {
                    return match &process.given_up {
                        Some((given_up, why)) if *given_up == generation => Progress::RolledBack(why.clone()),
                        Some(_) | None => Progress::Failed(format!("the restart of {name} was taken back")),
                    };
                }
                if process.is_beside() && (instance.candidate.is_some() || instance.is_outdated(desired)) {
                    return match self.unmet(&process.plan) {
                        Some(unmet) if unmet.hope == Hope::None && instance.candidate.is_none() => {
                            Progress::Failed(format!("{name} {}", unmet.text))
                        }
                        Some(_) | None => Progress::Pending,
                    };
                }
                let falling = instance.in_place().any(Spawn::is_falling);
                if instance.is_stale(desired) && !falling {
                    let ask = || self.broken_roll(&name.process, process, desired);
                    if let Some(why) = rolls.entry((name.process.clone(), desired)).or_insert_with(ask) {
                        return Progress::Failed(format!("{why}; {name} keeps running as it was"));
                    }
                }
                if instance.is_occupied() {
                    let spawn = instance.current.as_ref();
                    let up = spawn.is_some_and(|spawn| spawn.lineage.generation >= generation && spawn.is_ready());
                    return if up && !process.plan.oneshot { Progress::Reached } else { Progress::Pending };
                }
                let goes_on = "svd goes on trying";
                let why = |what: &str| format!("{name} {}{what}", self.end_text(name));
                match self.verdict(&name.process, process, name.index, instance) {
                    Verdict::Completed => Progress::Reached,
                    Verdict::Over(_) => Progress::Failed(why("")),
                    Verdict::Failed(reason) => Progress::Failed(format!("{name} failed: {reason}")),
                    Verdict::Again { .. } => Progress::Failed(why(&format!("; {goes_on}"))),
                    Verdict::Alive | Verdict::Fresh => match self.unmet(&process.plan) {
                        Some(unmet) if unmet.hope == Hope::None => Progress::Failed(format!("{name} {}", unmet.text)),
                        Some(_) | None => Progress::Pending,
                    },
                }
            }
        }
    }

    fn end_text(&self, name: &InstanceName) -> String {
        let spawn = self.instance(name).and_then(|instance| instance.current.as_ref());
        let plan = self
            .processes
            .get(&name.process)
            .zip(spawn)
            .map(|(process, spawn)| process.planned(self.desired.runs_by(&name.process, spawn.lineage.generation)));
        match (spawn.map(|spawn| &spawn.life), plan) {
            (Some(crate::service::Life::Ended { end, .. }), Some(plan)) => match end {
                crate::service::End::NotStarted(failure) => format!("could not be started: {}", failure.message),
                crate::service::End::NeverReady { .. } => {
                    format!("was not ready within {:.1} s", plan.ready.timeout.as_secs_f64())
                }
                crate::service::End::Exited { .. } | crate::service::End::Hung { .. } => {
                    format!("{} before it was ready", crate::verdict::reason(plan, end))
                }
            },
            _ => "did not come up".to_owned(),
        }
    }

    /// What was done, and who still finishes what it has.
    fn summary_of(&self, op: &Op) -> String {
        let left =
            op.replaced.iter().filter_map(|name| Some((name, self.instance(name)?))).flat_map(|(name, instance)| {
                instance.lingering().filter_map(Spawn::pid).map(move |pid| format!("{name} (pid {pid})"))
            });
        match left.collect::<Vec<_>>() {
            left if left.is_empty() => op.summary.clone(),
            left => format!("{}; still finishing what they have: {}", op.summary, left.join(", ")),
        }
    }

    /// A stop by hand is a drain, where that was what was asked for.
    pub(crate) fn by_hand(&self, name: &Arc<str>, index: u32) -> crate::Reason {
        let full = InstanceName { process: name.clone(), index };
        match self.ops.iter().any(|op| op.kind == OpKind::Drain && op.concerns(&full)) {
            true => crate::Reason::Drained,
            false => crate::Reason::ByHand,
        }
    }

    /// Ends a command that did not succeed.
    fn fail(&mut self, op: Op, why: String, out: &mut Vec<Action>) {
        self.leave(&op, out);
        let outcome = match op.kind {
            OpKind::Plain | OpKind::Drain | OpKind::Apply => Outcome::Failed(why),
            OpKind::TakenBack(_) => rolled_back(op.kind, why),
        };
        out.push(Action::Done { op: op.id, outcome });
    }

    /// Running instances that a command has not replaced yet stay as they are.
    fn leave(&mut self, op: &Op, out: &mut Vec<Action>) {
        for (name, goal) in &op.goals {
            let Goal::Rise { generation, from: From::Old } = *goal else { continue };
            let untouched = |spawn: &Spawn| !spawn.note.asked && spawn.lineage.generation < generation;
            let spawn = self.instance(name).and_then(|i| i.current.as_ref()).filter(|spawn| untouched(spawn));
            let Some(back) = spawn.map(|spawn| spawn.lineage.generation) else { continue };
            let ours = self.generation(&name.process, name.index) == generation;
            if ours && !matches!(self.course, Course::Finished) {
                self.change(Change::Generation(name.clone(), back), out);
            }
        }
    }
}

fn rolled_back(kind: OpKind, why: String) -> Outcome {
    match kind {
        OpKind::Plain | OpKind::Drain | OpKind::Apply => Outcome::RolledBack(format!("{why}; what ran before runs on")),
        OpKind::TakenBack(first) => {
            Outcome::Held(format!("{first}; and the config before did not come up again: {why}"))
        }
    }
}
