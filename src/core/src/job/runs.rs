//! What a due instant becomes, and the way of a run to its end.
//!
//! ```text
//!            begins            recorded     first spawn asked for     nothing of its tree is left, no further attempt
//! Queued  -> Recording      -> Recorded  -> Started                -> over
//! ```
//! From each of the first three a stop leads straight to the end. Forbidden: `Started` before `Recorded` (a manager that is
//! killed in between must find it), and back from `Started` (what was asked for may run).

use std::collections::BTreeSet;
use std::sync::Arc;

use svd_config::plan::Overlap;

use super::open::{Active, Stage};
use super::record::{Cause, JobChange, Phase, Run, RunId, RunNews, RunResult, Wall};
use crate::action::{Action, Outcome};
use crate::machine::{Core, Course};
use crate::name::InstanceName;
use crate::service::{End, Life};
use crate::state::Reason;
use crate::tree::{self, Aim, Instance, Listing};
use crate::verdict::{self, Verdict};

/// What has become of something that was to run.
pub(crate) enum Fell {
    /// There is a run of this number: begun, waiting, or over at once.
    Run(RunId),
    /// Somebody asked for it while it cannot run: why.
    Refused(String),
}

impl Core {
    pub(crate) fn new_run(
        &mut self,
        job: &Arc<str>,
        cause: Cause,
        scheduled: Option<Wall>,
        phase: Phase,
        why: String,
    ) -> Run {
        self.jobs.last = RunId(self.jobs.last.0.saturating_add(1));
        let wall = self.jobs.wall;
        Run {
            id: self.jobs.last,
            job: job.clone(),
            cause,
            scheduled,
            count: 1,
            created: wall,
            started: matches!(phase, Phase::Begun).then_some(wall),
            ended: matches!(phase, Phase::Ended(_)).then_some(wall),
            attempts: 0,
            exit: None,
            phase,
            stopping: None,
            why,
            actor: None,
        }
    }

    /// A run that is over as soon as it is noted.
    pub(crate) fn note_over(&mut self, run: Run, out: &mut Vec<Action>) {
        let gone = self.jobs.remember(&run);
        if !gone.is_empty() {
            out.push(Action::Jobs(JobChange::Forget(run.job.clone(), gone)));
        }
        out.push(Action::Jobs(JobChange::Run(Box::new(run.clone()))));
        out.push(Action::RunNews(RunNews::Ended(Box::new(run))));
        self.changed = true;
    }

    /// It is to run now.
    pub(crate) fn fall_due(
        &mut self,
        job: &Arc<str>,
        cause: Cause,
        scheduled: Option<Wall>,
        out: &mut Vec<Action>,
    ) -> Fell {
        let Some(plan) = self.jobs.plan_of(job) else { return Fell::Refused(format!("there is no job {job}")) };
        let (overlap, lock) = (plan.overlap, plan.lock.clone());
        let others = self.in_the_way(job, overlap, lock.as_deref());
        // What is caught up waits for its turn whatever is said of those that come on time: it is late anyway.
        let overlap = match (cause, overlap) {
            (Cause::CatchUp, Overlap::Skip | Overlap::Replace) => Overlap::Queue,
            (_, overlap) => overlap,
        };
        let own_queued = self.jobs.runs.of_job(job).find(|active| active.stage() == Stage::Queued);
        let queued = own_queued.map(|active| active.run.id);
        let waits = overlap == Overlap::Queue && queued.is_some();
        // One that waits goes first.
        let Some(first) = queued.filter(|_| waits).or(others.first().copied()) else {
            return Fell::Run(self.begin_new(job, cause, scheduled, out));
        };
        let why = self.why_in_the_way(job, first);
        match overlap {
            Overlap::Allow => Fell::Run(self.begin_new(job, cause, scheduled, out)),
            Overlap::Skip => self.skip(job, cause, scheduled, why, out),
            Overlap::Queue if queued.is_some() && cause != Cause::CatchUp => {
                self.skip(job, cause, scheduled, format!("{why}, and one waits at most"), out)
            }
            Overlap::Queue => Fell::Run(self.queue(job, cause, scheduled, why, out)),
            Overlap::Replace => {
                for id in queued.into_iter().chain(others) {
                    self.stop_run(id, RunResult::Replaced, format!("a later run of {job} takes its place"), out);
                }
                self.conclude_runs(out);
                match self.in_the_way(job, overlap, lock.as_deref()).is_empty() {
                    true => Fell::Run(self.begin_new(job, cause, scheduled, out)),
                    false => Fell::Run(self.queue(job, cause, scheduled, why, out)),
                }
            }
        }
    }

    /// Runs in progress that do not let another one of this job begin.
    fn in_the_way(&self, job: &str, overlap: Overlap, lock: Option<&str>) -> Vec<RunId> {
        let own = self.jobs.runs.of_job(job).filter(|_| overlap != Overlap::Allow);
        let locks =
            |other: &str| other != job && self.jobs.plan_of(other).and_then(|plan| plan.lock.as_deref()) == lock;
        let all = lock.is_some().then(|| self.jobs.runs.iter());
        let others = all.into_iter().flatten().filter(|active| locks(&active.run.job));
        let in_progress = own.chain(others).filter(|active| active.is_in_progress());
        let mut found: Vec<RunId> = in_progress.map(|active| active.run.id).collect();
        found.sort_unstable();
        found
    }

    fn why_in_the_way(&self, job: &str, other: RunId) -> String {
        let Some(active) = self.jobs.runs.get(other) else { return format!("{other} is in progress") };
        let of = &active.run.job;
        match (**of == *job, active.stage()) {
            (true, Stage::Queued) => format!("{other} waits already"),
            (true, _) => format!("{other} is in progress"),
            (false, _) => {
                let lock = self.jobs.plan_of(job).and_then(|plan| plan.lock.clone()).unwrap_or_default();
                format!("{other} of {of} has the lock {lock}")
            }
        }
    }

    fn begin_new(&mut self, job: &Arc<str>, cause: Cause, scheduled: Option<Wall>, out: &mut Vec<Action>) -> RunId {
        let run = self.new_run(job, cause, scheduled, Phase::Begun, String::new());
        let id = run.id;
        self.jobs.runs.insert(Active::new(run.clone(), Stage::Recording));
        self.announce_begun(run, out);
        id
    }

    fn announce_begun(&mut self, run: Run, out: &mut Vec<Action>) {
        out.push(Action::Jobs(JobChange::Run(Box::new(run.clone()))));
        out.push(Action::RunNews(RunNews::Begun(Box::new(run))));
        self.changed = true;
    }

    fn queue(
        &mut self,
        job: &Arc<str>,
        cause: Cause,
        scheduled: Option<Wall>,
        why: String,
        out: &mut Vec<Action>,
    ) -> RunId {
        let run = self.new_run(job, cause, scheduled, Phase::Queued, why);
        let id = run.id;
        self.jobs.runs.insert(Active::new(run.clone(), Stage::Queued));
        out.push(Action::Jobs(JobChange::Run(Box::new(run.clone()))));
        out.push(Action::RunNews(RunNews::Queued(Box::new(run))));
        self.changed = true;
        id
    }

    fn skip(
        &mut self,
        job: &Arc<str>,
        cause: Cause,
        scheduled: Option<Wall>,
        why: String,
        out: &mut Vec<Action>,
    ) -> Fell {
        if cause == Cause::Hand {
            return Fell::Refused(format!("{job} does not run beside another: {why}"));
        }
        let run = self.new_run(job, cause, scheduled, Phase::Ended(RunResult::Skipped), why);
        let id = run.id;
        self.note_over(run, out);
        Fell::Run(id)
    }

    /// The manager has stored that it begins.
    pub(crate) fn recorded(&mut self, id: RunId) {
        if self.jobs.runs.get(id).is_some_and(|active| active.stage() == Stage::Recording) {
            self.jobs.runs.advance(id, Stage::Recorded);
        }
    }

    /// Has a run ended, for this result.
    pub(crate) fn stop_run(&mut self, id: RunId, result: RunResult, why: String, out: &mut Vec<Action>) {
        let Some(run) = self.jobs.runs.run_mut(id).filter(|run| run.stopping.is_none()) else { return };
        run.stopping = Some(result);
        run.why = why;
        // A manager that takes over has to know what it is stopped for.
        out.push(Action::Jobs(JobChange::Run(Box::new(run.clone()))));
        self.jobs.stop_asked = true;
        self.changed = true;
    }

    /// What is to become of an instance that is a run.
    pub(crate) fn run_aim(&self, process: &str, index: u32) -> Aim {
        match self.jobs.active(process, index).map(|active| active.run.stopping) {
            Some(None) => Aim::Run,
            Some(Some(RunResult::Replaced)) => Aim::Stop(Reason::LaterRun),
            Some(Some(_)) => Aim::Stop(Reason::ByHand),
            None => Aim::Stop(Reason::Removed),
        }
    }

    /// Begins those that have waited and need not any longer, the oldest first.
    pub(crate) fn begin_queued(&mut self, out: &mut Vec<Action>) {
        if !matches!(self.course, Course::Running) || self.are_jobs_held() {
            return;
        }
        let queued = self.jobs.runs.at(Stage::Queued);
        for id in queued.map(|active| active.run.id).collect::<Vec<_>>() {
            let Some(active) = self.jobs.runs.get(id).filter(|active| active.run.stopping.is_none()) else { continue };
            let job = active.run.job.clone();
            let Some(plan) = self.jobs.plan_of(&job) else { continue };
            if !self.in_the_way(&job, plan.overlap, plan.lock.as_deref()).is_empty() {
                continue;
            }
            let wall = self.jobs.wall;
            self.jobs.runs.advance(id, Stage::Recording);
            let Some(run) = self.jobs.runs.run_mut(id) else { continue };
            (run.phase, run.started, run.why) = (Phase::Begun, Some(wall), String::new());
            let run = run.clone();
            self.announce_begun(run, out);
        }
    }

    /// Asks for first spawns and for further attempts; at most so many, which are taken off `free`.
    pub(crate) fn start_runs(&mut self, free: &mut usize, out: &mut Vec<Action>) {
        if *free == 0 || self.are_jobs_held() {
            return;
        }
        // The oldest first. Of those that have begun only few have ended, and may be tried again.
        let may_start =
            |active: &&Active| active.run.stopping.is_none() && self.jobs.plan_of(&active.run.job).is_some();
        let recorded = self.jobs.runs.at(Stage::Recorded).filter(may_start).take(*free);
        let again = self.run_processes().flat_map(|(name, process)| {
            let waits = process.instances.iter().filter(|(_, instance)| !instance.is_occupied());
            waits.filter_map(|(index, _)| self.jobs.active(name, *index))
        });
        let mut due: Vec<RunId> = recorded.chain(again).map(|active| active.run.id).collect();
        due.sort_unstable();
        due.dedup();
        for id in due {
            if *free == 0 {
                return;
            }
            let Some(active) = self.jobs.runs.get(id) else { continue };
            let name = match active.stage() {
                Stage::Queued | Stage::Recording => continue,
                Stage::Recorded | Stage::Started => active.name.clone(),
            };
            let first = active.stage() == Stage::Recorded;
            if first && !self.make_place(&name) {
                continue;
            }
            let Some((key, process)) = self.processes.get_key_value(&name.process) else { continue };
            let Some(instance) = process.instances.get(&name.index) else { continue };
            let Some(lineage) = self.due_start(key, process, name.index, instance) else { continue };
            *free -= 1;
            self.jobs.runs.advance(id, Stage::Started);
            self.start(name, lineage, out);
        }
    }

    /// Has an instance for a run. False where its job is gone.
    fn make_place(&mut self, name: &InstanceName) -> bool {
        if !self.processes.contains_key(&name.process) {
            let Some(process) = tree::job_process(&self.plan, &name.process) else { return false };
            self.processes.insert(name.process.clone(), process);
        }
        let now = self.now;
        let Some(process) = self.processes.get_mut(&name.process) else { return false };
        process.instances.entry(name.index).or_insert_with(|| Box::new(Instance::new(now)));
        true
    }

    /// Ends the runs that are over.
    pub(crate) fn conclude_runs(&mut self, out: &mut Vec<Action>) {
        let same = self.jobs.looked.as_ref().zip(self.jobs.plan.as_ref()).is_some_and(|(a, b)| Arc::ptr_eq(a, b));
        self.jobs.looked.clone_from(&self.jobs.plan);
        // What has not begun goes on unless something is said about all of it, or about one.
        let ending = !matches!(self.course, Course::Running);
        let said = std::mem::take(&mut self.jobs.stop_asked) || ending || !same;
        let gone = |active: &Active| !same && self.jobs.plan_of(&active.run.job).is_none();
        let stages = [Stage::Queued, Stage::Recording, Stage::Recorded].into_iter().filter(|_| said);
        let not_begun = stages.flat_map(|stage| self.jobs.runs.at(stage));
        let rests = self.run_processes().flat_map(|(name, process)| {
            let rests = process.instances.iter().filter(|(_, instance)| instance.is_at_rest());
            rests.filter_map(|(index, _)| self.jobs.active(name, *index))
        });
        let rests = rests.filter(|active| active.stage() == Stage::Started);
        let mut over: Vec<(RunId, RunResult, String)> = not_begun
            .chain(rests)
            .filter_map(|active| self.became(active, gone).map(|(result, why)| (active.run.id, result, why)))
            .collect();
        over.sort_unstable_by_key(|(id, ..)| *id);
        for (id, result, why) in over {
            self.end_run(id, result, why, out);
        }
    }

    /// What has become of a run; `None` while it is not over. A job is gone with the plan, and only with another one.
    fn became(&self, active: &Active, gone: impl Fn(&Active) -> bool) -> Option<(RunResult, String)> {
        let run = &active.run;
        let ending = !matches!(self.course, Course::Running);
        let stopped = run.stopping.map(|result| (result, run.why.clone()));
        let name = &active.name;
        match active.stage() {
            Stage::Queued | Stage::Recording | Stage::Recorded => {
                let shutdown = ending.then(|| (RunResult::Cancelled, "svd stopped before it began".to_owned()));
                let why = || (RunResult::Cancelled, "the job is no longer in the config".to_owned());
                stopped.or(shutdown).or_else(|| gone(active).then(why))
            }
            Stage::Started => {
                let (key, process) = self.processes.get_key_value(&name.process)?;
                let instance = process.instances.get(&name.index)?;
                if !instance.is_at_rest() || (instance.has_stuck() && !ending) {
                    return None;
                }
                let spawn = instance.current.as_ref()?;
                let Life::Ended { end, .. } = &spawn.life else {
                    return Some((run.stopping.unwrap_or(RunResult::Cancelled), "it does not die".to_owned()));
                };
                let said = || verdict::reason(&process.plan, end).to_string();
                if spawn.note.asked {
                    let svd = || (RunResult::Cancelled, "svd was stopped".to_owned());
                    return Some(stopped.unwrap_or_else(svd));
                }
                match self.verdict(key, process, name.index, instance) {
                    Verdict::Completed => return Some((RunResult::Succeeded, String::new())),
                    // Asked to end in the pause between two attempts.
                    Verdict::Again { .. } if stopped.is_some() => return stopped,
                    Verdict::Again { .. } if !ending && process.listing == Listing::Listed => return None,
                    Verdict::Again { .. } | Verdict::Over(_) | Verdict::Failed(_) | Verdict::Fresh | Verdict::Alive => {
                    }
                }
                Some(match end {
                    End::NeverReady { .. } => (RunResult::TimedOut, said()),
                    End::NotStarted(_) | End::Exited { .. } | End::Hung { .. } => (RunResult::Failed, said()),
                })
            }
        }
    }

    /// It is over: that is stored and told, and whoever waits for it hears of it.
    pub(crate) fn end_run(&mut self, id: RunId, result: RunResult, why: String, out: &mut Vec<Action>) {
        let Some((mut run, name, waiting)) = self.jobs.runs.remove(id) else { return };
        let wall = self.jobs.wall;
        let mut ended = wall;
        if let Some(spawn) = self.instance(&name).and_then(|instance| instance.current.as_ref()) {
            run.attempts = spawn.lineage.restarts.saturating_add(1);
            if let Life::Ended { end, at, .. } = &spawn.life {
                run.exit = verdict::status(end);
                ended = wall.before(self.now.since(*at));
            }
        }
        run.ended = Some(run.started.map_or(ended, |started| started.max(ended)));
        (run.phase, run.why) = (Phase::Ended(result), why);
        self.note_over(run.clone(), out);
        for op in waiting {
            out.push(Action::Ran { op, run: Box::new(run.clone()) });
        }
        let mut done = Vec::new();
        for (op, runs) in &mut self.jobs.stops {
            runs.remove(&id);
            if runs.is_empty() {
                done.push(*op);
            }
        }
        self.jobs.stops.retain(|(_, runs)| !runs.is_empty());
        out.extend(done.into_iter().map(|op| Action::Done { op, outcome: Outcome::Done("stopped".to_owned()) }));
    }

    /// Brings what the store had together with what the keeper's inventory has.
    pub(crate) fn adopt_runs(&mut self, out: &mut Vec<Action>) {
        let (lost, ended) = match &self.jobs.stored {
            Some(stored) => {
                let ended = stored.history.values().flatten().map(|(id, _)| *id);
                (stored.lost.iter().copied().collect::<BTreeSet<_>>(), ended.collect::<BTreeSet<_>>())
            }
            None => Default::default(),
        };
        let known = self.jobs.last;
        let found: Vec<InstanceName> =
            self.names.values().filter(|name| super::job_of(&name.process).is_some()).cloned().collect();
        for name in found {
            let (id, job) = (RunId(name.index), super::job_of(&name.process).unwrap_or_default());
            self.jobs.last = self.jobs.last.max(id);
            if self.jobs.runs.get(id).is_some() {
                self.jobs.runs.advance(id, Stage::Started);
            } else if id > known && !ended.contains(&id) {
                // The database is a new one: what runs is found again, why it was begun is not.
                let why = "its record was lost with the database".to_owned();
                let run = self.new_run(&Arc::from(job), Cause::Schedule, None, Phase::Begun, why);
                self.jobs.last = known.max(id);
                let run = Run { id, ..run };
                out.push(Action::Jobs(JobChange::Run(Box::new(run.clone()))));
                self.jobs.runs.insert(Active::new(run, Stage::Started));
            }
        }
        self.take_jobs_in(out);
        for id in lost {
            match self.jobs.runs.get(id).map(|active| active.stage()) {
                Some(Stage::Queued) => {
                    self.end_run(id, RunResult::Cancelled, "svd ended before it began".to_owned(), out);
                }
                Some(Stage::Recording | Stage::Recorded | Stage::Started) => {
                    self.end_run(id, RunResult::Unknown, "svd ended while it was in progress".to_owned(), out);
                }
                None => {}
            }
        }
    }

    /// Which attempt of its run an instance's newest spawn is, from 1.
    pub fn attempt_of(&self, name: &InstanceName) -> u32 {
        let spawn = self.instance(name).and_then(|instance| instance.current.as_ref());
        spawn.map_or(0, |spawn| spawn.lineage.restarts).saturating_add(1)
    }
}
