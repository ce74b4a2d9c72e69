//! Which instants of a schedule have come, and what each of them is: due now, or missed.

use std::cell::Cell;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use jiff::tz::TimeZone;
use svd_config::plan::{CatchUp, CatchUpMode};
use svd_config::schedule::{Known, Schedule};

use super::record::{Cause, JobChange, JobState, Phase, Run, RunResult, Wall};
use crate::action::Action;
use crate::machine::{Core, Course};

/// What is late by so much at most is due and not missed: a manager was replaced, or the machine had much to do.
const LATE: Duration = Duration::from_secs(60);
/// So many missed instants are counted one by one; of more it is said that there are more.
const COUNTED: u32 = 1000;
/// The first stretch of time in which the last missed instants are looked for.
const STRETCH: Duration = Duration::from_secs(3600);

/// A schedule in its zone, without what is done with already.
pub(crate) struct Calendar<'a> {
    pub schedule: &'a Schedule,
    pub zone: &'a TimeZone,
    pub known: &'a Cell<Known>,
    pub ahead: Option<(Wall, Wall)>,
}

impl Calendar<'_> {
    /// The first instant after another one.
    pub fn next(&self, after: Wall) -> Option<Wall> {
        let next = |after: Wall| {
            let mut known = self.known.get();
            let next = self.schedule.next_by(after.timestamp(), self.zone, &mut known);
            self.known.set(known);
            next.map(Wall::from)
        };
        let found = next(after)?;
        match self.ahead {
            Some((from, to)) if from < found && found <= to => next(to),
            Some(_) | None => Some(found),
        }
    }

    /// The last instants after `from`, not later than `to`; at most so many.
    fn last(&self, from: Wall, to: Wall, most: usize) -> VecDeque<Wall> {
        let mut stretch = STRETCH;
        loop {
            let begin = from.max(to.before(stretch));
            let mut found = VecDeque::new();
            let mut at = begin;
            while let Some(next) = self.next(at).filter(|next| *next <= to) {
                found.push_back(next);
                if found.len() > most {
                    found.pop_front();
                }
                at = next;
            }
            if found.len() >= most || begin == from {
                return found;
            }
            stretch = stretch.saturating_mul(8);
        }
    }
}

/// What has come since a job was last looked at.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Come {
    /// To be begun, oldest first, and why.
    pub due: Vec<(Wall, Cause)>,
    /// The first missed one that is not caught up, the last one, how many; and whether there are more than were counted.
    pub missed: Option<(Wall, Wall, u32, bool)>,
}

/// Looks at the instants after `handled` that have come by `now`, which is the clock's time less the jitter.
pub(crate) fn come(calendar: &Calendar<'_>, handled: Wall, now: Wall, catch_up: CatchUp) -> Come {
    let edge = now.before(LATE);
    let mut come = Come::default();
    let mut at = handled;
    let mut count: u32 = 0;
    let mut first = None;
    while let Some(next) = calendar.next(at).filter(|next| *next < edge) {
        if count == COUNTED {
            break;
        }
        first = first.or(Some(next));
        (count, at) = (count + 1, next);
    }
    let just_before = Wall(edge.0.saturating_sub(1));
    let more = calendar.next(at).is_some_and(|next| next < edge);
    let most = match catch_up.mode {
        CatchUpMode::Skip => 0,
        CatchUpMode::Once => 1,
        CatchUpMode::All => usize::try_from(catch_up.max).unwrap_or(usize::MAX),
    };
    if let Some(first) = first {
        let from = handled.max(now.before(catch_up.within));
        let caught = if most > 0 { calendar.last(from, just_before, most) } else { VecDeque::new() };
        let last = match more {
            false => at,
            true => calendar.last(at, just_before, 1).back().copied().unwrap_or(at),
        };
        let left = count.saturating_sub(u32::try_from(caught.len()).unwrap_or(u32::MAX));
        if left > 0 || more {
            come.missed = Some((first, last, left.max(1), more));
        }
        come.due.extend(caught.into_iter().map(|instant| (instant, Cause::CatchUp)));
    }
    let mut at = handled.max(just_before);
    while let Some(next) = calendar.next(at).filter(|next| *next <= now) {
        come.due.push((next, Cause::Schedule));
        at = next;
    }
    come
}

/// How much later than its schedule a job begins: always the same part of `most`, another one for each job of each app.
pub(crate) fn jitter(app: &str, job: &str, most: Duration) -> Duration {
    let bytes = app.bytes().chain([0]).chain(job.bytes());
    let mut h = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3));
    h ^= h >> 32;
    h = h.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    h ^= h >> 29;
    let most = u64::try_from(most.as_millis()).unwrap_or(u64::MAX);
    Duration::from_millis(h % most.saturating_add(1))
}

impl Core {
    /// Begins what is due.
    pub(crate) fn tick_jobs(&mut self, out: &mut Vec<Action>) {
        if !matches!(self.course, Course::Running) || self.are_jobs_held() {
            return;
        }
        if std::mem::take(&mut self.jobs.put_back) {
            self.look_back(out);
        }
        while let Some((due, name)) = self.jobs.agenda.first().cloned() {
            if due > self.jobs.wall {
                return;
            }
            self.tick_job(&name, out);
        }
    }

    fn tick_job(&mut self, name: &Arc<str>, out: &mut Vec<Action>) {
        let app = self.plan.app.clone();
        let found = self.jobs.plan_of(name).zip(self.jobs.jobs.get(name)).and_then(|(plan, job)| {
            let handled = job.state.handled?;
            let now = self.jobs.wall.before(jitter(&app, name, plan.jitter));
            let come = come(&self.jobs.calendar(plan, &job.state)?, handled, now, plan.catch_up);
            Some((come, handled, now))
        });
        let Some((come, handled, now)) = found else { return self.jobs.arm(&app, name) };
        if let Some(job) = self.jobs.jobs.get_mut(name) {
            let state = &mut job.state;
            state.handled = Some(handled.max(now));
            state.ahead = state.ahead.filter(|(_, to)| *to > now);
            let late = come.due.first().is_some_and(|(_, cause)| *cause == Cause::CatchUp);
            if come.missed.is_some() || late {
                let begun = come.due.first().map_or(now, |(first, _)| Wall(first.0.saturating_sub(1)));
                state.gap = Some((handled, begun));
            }
            if let Some((_, _, count, _)) = come.missed {
                state.missed = state.missed.saturating_add(u64::from(count));
            }
            out.push(Action::Jobs(JobChange::State(name.clone(), state.clone())));
        }
        if let Some((first, last, count, more)) = come.missed {
            let many = if more { format!("more than {count}") } else { count.to_string() };
            let why = match count {
                1 if !more => "svd was not running then, or the clock was put forward over it".to_owned(),
                _ => {
                    format!("{many} from {first} on: svd was not running then, or the clock was put forward over them")
                }
            };
            self.note_missed(name, last, count, why, out);
        }
        for (instant, cause) in come.due {
            self.fall_due(name, cause, Some(instant), out);
        }
        self.jobs.arm(&app, name);
    }

    fn note_missed(&mut self, name: &Arc<str>, last: Wall, count: u32, why: String, out: &mut Vec<Action>) {
        let run = self.new_run(name, Cause::Schedule, Some(last), Phase::Ended(RunResult::Missed), why);
        self.note_over(Run { count, ..run }, out);
    }

    /// The clock was put back. What has been begun is not begun again when it comes again. What the clock had only been put
    /// forward over is still to come: a clock that was years ahead for a moment must not silence a job for years.
    fn look_back(&mut self, out: &mut Vec<Action>) {
        let wall = self.jobs.wall;
        let app = self.plan.app.clone();
        let mut changed = Vec::new();
        for (name, job) in &mut self.jobs.jobs {
            let JobState { handled: Some(handled), gap: Some((from, to)), ahead, .. } = job.state else { continue };
            if wall >= to {
                continue;
            }
            let until = ahead.map_or(handled, |(_, until)| until.max(handled));
            job.state.handled = Some(from.max(wall));
            job.state.ahead = Some((to, until)).filter(|(from, to)| from < to);
            job.state.gap = None;
            out.push(Action::Jobs(JobChange::State(name.clone(), job.state.clone())));
            changed.push(name.clone());
        }
        for name in changed {
            self.jobs.arm(&app, &name);
        }
    }
}
