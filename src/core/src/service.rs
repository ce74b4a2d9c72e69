//! One spawn's life, as a state machine. It owns what is known of one start of one instance, and sends what its
//! stop needs. It never decides whether an instance is to run: that is `settle`'s, from what is desired.
//!
//! ```text
//!                Spawned          Ready            stop asked / timeout   Exited          SpawnFailed
//! Launching   -> Running          (ignored)        Stopping               Ended           Ended (tree empty)
//! Running     -> (ignored)        Running, ready   Draining or Stopping   Ended           (ignored)
//! Draining    -> (ignored)        (ignored)        Stopping               Ended           (ignored)
//! Stopping    -> pid learnt       (ignored)        KILL hastens           Ended           Ended (tree empty)
//! Stuck       -> (ignored)        (ignored)        (ignored)              Ended           (ignored)
//! Ended       -> told once        (ignored)        KILL hastens the sweep told once       told once
//! ```
//! `Draining` goes through its steps, `Queue -> Proof -> (Stopping)`, by `QueueEmpty`, `Drained` or their deadlines; what has
//! nothing to wait for goes straight to `Stopping`. `Ended` carries the tree's own small machine: `Terminating -> Killing -> Stuck`, and from each of them `Empty` by
//! `TreeEmpty`. Forbidden: `Ended` back to any life (a spawn is one start; a restart is another spawn), `Stopping`
//! back to `Running` (the signal cannot be unsent), and `TreeEmpty` before `Ended` (it says that the main process is
//! gone, so it is ignored while that has not been told; the sweep is asked for again at `Exited`).

use std::time::Duration;

use svd_config::plan::{Late, ProcessPlan, ReadyBy, StopStep};

use crate::action::{Action, Fact, FactKind, Sweep};
use crate::climb::Climb;
use crate::drain::{DrainStep, Queue};
use crate::event::{Lineage, Note, SpawnFailure};
use crate::ladder::{self, LEFT_PATIENCE, Rung, SIGCONT, SIGKILL, SIGTERM, patience};
use crate::name::{InstanceName, OpId, SpawnId};
use crate::signs::{Said, Signs};
use crate::state::{ExitStatus, Reason};
use crate::time::Time;

/// How long after KILL something counts as stuck.
pub(crate) const STUCK_AFTER: Duration = Duration::from_secs(10);
/// How long fork to exec may take (a working directory on a dead network disk hangs there).
pub(crate) const LAUNCH_TIMEOUT: Duration = Duration::from_secs(60);

/// One start of one instance.
#[derive(Clone, Debug)]
pub(crate) struct Spawn {
    pub id: SpawnId,
    pub lineage: Lineage,
    pub note: Note,
    /// When it was forked.
    pub since: Time,
    pub told: Told,
    /// The last signal that a manager before this one had sent to it.
    pub sent: Option<(i32, Time)>,
    /// Its health probes fail: since when, and what the last one saw. Known to this manager only; its probes find out again.
    pub ill: Option<(Time, String)>,
    /// Why it did not count as ready when that was last looked for; likewise.
    pub last_try: Option<String>,
    /// What it has said, and the signs of life that it owes.
    pub said: Said,
    pub signs: Signs,
    pub life: Life,
}

/// Which of its facts history has from this manager. Reports that the manager before did not acknowledge are told
/// again after adoption; they change no state then, but history still needs them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Told {
    Nothing,
    Start,
    End,
}

#[derive(Clone, Debug)]
pub(crate) enum Life {
    /// Asked for or forked; exec not seen.
    Launching,
    /// Its program runs, and nobody wants it to end.
    Running { pid: i32, readiness: Readiness },
    /// It is to end, and finishes what it has.
    Draining { pid: i32, begun: Time, step: DrainStep, reason: Reason },
    /// It is being ended.
    Stopping { pid: Option<i32>, begun: Time, climb: Climb, reason: Reason },
    /// KILL did not end it.
    Stuck { pid: Option<i32>, since: Time, reason: Reason },
    /// Its main process is gone.
    Ended { end: End, at: Time, tree: Tree },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Readiness {
    /// Probed for, until then.
    Probing {
        deadline: Time,
    },
    Ready,
    /// A run of a job: its end is all that is waited for, until then.
    Working {
        deadline: Time,
    },
    /// It said that it is stopping. It is helped on when that takes longer than its own ladder would.
    Leaving {
        deadline: Time,
    },
}

/// How it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum End {
    NotStarted(SpawnFailure),
    Exited {
        exit: ExitStatus,
        before_exec: bool,
    },
    /// It was ended because it was not ready in time.
    NeverReady {
        exit: ExitStatus,
    },
    /// It was ended because it hung.
    Hung {
        exit: ExitStatus,
    },
}

/// Who is left of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tree {
    Terminating { kill_at: Time },
    Killing { stuck_at: Time },
    Stuck,
    Empty,
}

/// How to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum How {
    Ladder,
    /// Whatever it has is finished first.
    Drain(Queue),
    Kill,
}

/// What a transition needs besides the spawn.
pub(crate) struct Cx<'a> {
    pub plan: &'a ProcessPlan,
    pub name: &'a InstanceName,
    pub op: Option<OpId>,
    pub now: Time,
    /// What it means that it is not ready in time.
    pub late: Late,
    pub out: &'a mut Vec<Action>,
}

impl Cx<'_> {
    pub fn record(&mut self, spawn: SpawnId, kind: FactKind) {
        let instance = Some(self.name.clone());
        self.out.push(Action::Record(Fact { instance, spawn: Some(spawn), op: self.op, kind }));
    }
}

impl Spawn {
    /// One that is asked for now.
    pub fn new(id: SpawnId, lineage: Lineage, note: Note, now: Time) -> Spawn {
        Spawn {
            id,
            lineage,
            note,
            since: now,
            told: Told::Nothing,
            sent: None,
            ill: None,
            last_try: None,
            said: Said::default(),
            signs: Signs::default(),
            life: Life::Launching,
        }
    }

    /// Its main process may be alive.
    pub fn is_live(&self) -> bool {
        match self.life {
            Life::Launching
            | Life::Running { .. }
            | Life::Draining { .. }
            | Life::Stopping { .. }
            | Life::Stuck { .. } => true,
            Life::Ended { .. } => false,
        }
    }

    /// Nothing is left of it.
    pub fn is_gone(&self) -> bool {
        match self.life {
            Life::Ended { tree: Tree::Empty, .. } => true,
            Life::Ended { tree: Tree::Terminating { .. } | Tree::Killing { .. } | Tree::Stuck, .. } => false,
            Life::Launching
            | Life::Running { .. }
            | Life::Draining { .. }
            | Life::Stopping { .. }
            | Life::Stuck { .. } => false,
        }
    }

    /// Something of it survived KILL.
    pub fn is_stuck(&self) -> bool {
        match self.life {
            Life::Stuck { .. } | Life::Ended { tree: Tree::Stuck, .. } => true,
            Life::Ended { tree: Tree::Terminating { .. } | Tree::Killing { .. } | Tree::Empty, .. } => false,
            Life::Launching | Life::Running { .. } | Life::Draining { .. } | Life::Stopping { .. } => false,
        }
    }

    /// It is on its way to ready (it takes one of the places for starting).
    pub fn is_rising(&self) -> bool {
        match self.life {
            Life::Launching | Life::Running { readiness: Readiness::Probing { .. }, .. } => true,
            Life::Running {
                readiness: Readiness::Ready | Readiness::Working { .. } | Readiness::Leaving { .. },
                ..
            } => false,
            Life::Draining { .. } | Life::Stopping { .. } | Life::Stuck { .. } | Life::Ended { .. } => false,
        }
    }

    pub fn is_ready(&self) -> bool {
        matches!(self.life, Life::Running { readiness: Readiness::Ready, .. })
    }

    /// Its end was asked for, and something is left of it: no successor may start yet.
    pub fn is_falling(&self) -> bool {
        self.note.asked && !self.is_gone()
    }

    pub fn pid(&self) -> Option<i32> {
        match self.life {
            Life::Running { pid, .. } | Life::Draining { pid, .. } => Some(pid),
            Life::Stopping { pid, .. } | Life::Stuck { pid, .. } => pid,
            Life::Launching | Life::Ended { .. } => None,
        }
    }

    /// The next instant at which time alone changes something.
    pub fn deadline(&self) -> Option<Time> {
        let deadline = match &self.life {
            Life::Launching => Some(self.since.after(LAUNCH_TIMEOUT)),
            Life::Running { readiness: Readiness::Probing { deadline }, .. } => {
                Some(self.signs.stretch(*deadline, self.since))
            }
            Life::Running { readiness: Readiness::Working { deadline }, .. } => Some(*deadline),
            Life::Running { readiness: Readiness::Leaving { deadline }, .. } => {
                Some(self.signs.stretch(*deadline, self.note.ready.unwrap_or(self.since)))
            }
            Life::Running { readiness: Readiness::Ready, .. } => self.signs.deadline(),
            Life::Draining { step: DrainStep::Queue { deadline } | DrainStep::Proof { deadline }, .. } => {
                Some(*deadline)
            }
            // One that hangs gets no more time, whatever it has said.
            Life::Stopping { climb: Climb::Waiting { until, next, .. }, begun, .. } if *next > 0 && !self.note.hung => {
                Some(self.signs.stretch(*until, *begun))
            }
            Life::Stopping { climb: Climb::Waiting { until, .. }, .. } => Some(*until),
            Life::Stopping { climb: Climb::Killing { stuck_at }, .. } => Some(*stuck_at),
            Life::Stuck { .. } => None,
            Life::Ended { tree: Tree::Terminating { kill_at }, .. } => Some(*kill_at),
            Life::Ended { tree: Tree::Killing { stuck_at }, .. } => Some(*stuck_at),
            Life::Ended { tree: Tree::Stuck | Tree::Empty, .. } => None,
        };
        // The end of time never comes.
        deadline.filter(|at| *at < Time(u64::MAX))
    }

    pub fn annotate(&self, cx: &mut Cx<'_>) {
        cx.out.push(Action::Annotate { spawn: self.id, note: self.note });
    }

    pub fn spawned(&mut self, cx: &mut Cx<'_>, pid: i32) {
        if self.told < Told::Start {
            self.told = Told::Start;
            cx.record(self.id, FactKind::Started(pid));
        }
        match &mut self.life {
            Life::Launching => self.run(cx, pid),
            Life::Stopping { pid: known, .. } | Life::Stuck { pid: known, .. } => *known = Some(pid),
            Life::Running { .. } | Life::Draining { .. } | Life::Ended { .. } => {}
        }
    }

    fn run(&mut self, cx: &mut Cx<'_>, pid: i32) {
        let deadline = cx.now.after(cx.plan.ready.timeout);
        self.life = Life::Running { pid, readiness: Readiness::Probing { deadline } };
        match cx.plan.ready.by {
            ReadyBy::Started => self.ready(cx),
            ReadyBy::Ended => self.life = Life::Running { pid, readiness: Readiness::Working { deadline } },
            ReadyBy::Listening
            | ReadyBy::Notify
            | ReadyBy::Fd(_)
            | ReadyBy::Log(_)
            | ReadyBy::Run { .. }
            | ReadyBy::Tcp { .. }
            | ReadyBy::Http { .. } => cx.out.push(Action::Probe { spawn: self.id }),
        }
    }

    /// The plan of its readiness has changed under it: looks for what the new one names.
    pub fn probe_anew(&mut self, cx: &mut Cx<'_>) {
        if let Life::Running { pid, readiness: Readiness::Probing { .. } } = self.life {
            self.run(cx, pid);
        }
    }

    pub fn ready(&mut self, cx: &mut Cx<'_>) {
        match &mut self.life {
            Life::Running { readiness: readiness @ Readiness::Probing { .. }, .. } => {
                *readiness = Readiness::Ready;
                self.note.ready = Some(cx.now);
                self.annotate(cx);
                cx.record(self.id, FactKind::Ready(cx.now.since(self.since)));
                cx.out.push(Action::Watch { spawn: self.id });
                self.listen_for_signs(cx);
            }
            Life::Running {
                readiness: Readiness::Ready | Readiness::Working { .. } | Readiness::Leaving { .. },
                ..
            } => {}
            Life::Launching
            | Life::Draining { .. }
            | Life::Stopping { .. }
            | Life::Stuck { .. }
            | Life::Ended { .. } => {}
        }
    }

    /// Ends it. A missed readiness, and an end that it has announced itself and does not come to, are not asked for:
    /// what follows is up to its restart policy.
    pub fn stop(&mut self, cx: &mut Cx<'_>, reason: Reason, how: How) {
        let asked = !matches!(reason, Reason::ReadyTimeout(_) | Reason::TimedOut(_) | Reason::BySelf | Reason::Hung(_));
        match &mut self.life {
            Life::Running { pid, readiness: Readiness::Probing { .. } | Readiness::Ready }
                if matches!(how, How::Drain(_)) && asked =>
            {
                let (pid, queue) = (*pid, how);
                self.drain(cx, pid, reason, queue);
            }
            Life::Draining { .. } => match how {
                How::Drain(_) => {}
                How::Ladder | How::Kill => self.descend(cx, reason, how),
            },
            Life::Launching | Life::Running { .. } => {
                self.ask(cx, asked);
                self.descend(cx, reason, how);
            }
            Life::Stopping { climb, reason: why, .. } => {
                let hasten = how == How::Kill && matches!(climb, Climb::Waiting { .. });
                if asked && !self.note.asked {
                    *why = reason.clone();
                    self.ask(cx, asked);
                    cx.record(self.id, FactKind::Stopping(reason));
                }
                if hasten {
                    self.kill(cx, FactKind::Signalled(SIGKILL));
                }
            }
            Life::Ended { tree: tree @ Tree::Terminating { .. }, .. } if how == How::Kill => {
                *tree = Tree::Killing { stuck_at: cx.now.after(STUCK_AFTER) };
                cx.out.push(Action::Sweep { spawn: self.id, how: Sweep::Kill });
            }
            Life::Stuck { .. } | Life::Ended { .. } => {}
        }
    }

    /// Begins the stop ladder, at the place where a manager before had come to on it.
    pub(crate) fn descend(&mut self, cx: &mut Cx<'_>, reason: Reason, how: How) {
        cx.record(self.id, FactKind::Stopping(reason.clone()));
        // One that is leaving may have been helped on by a manager before.
        let sent = match self.life {
            Life::Running { readiness: Readiness::Leaving { .. }, .. } => self.sent,
            Life::Running {
                readiness: Readiness::Probing { .. } | Readiness::Ready | Readiness::Working { .. },
                ..
            } => None,
            Life::Launching
            | Life::Draining { .. }
            | Life::Stopping { .. }
            | Life::Stuck { .. }
            | Life::Ended { .. } => None,
        };
        let climb = match reason {
            Reason::Hung(_) => Climb::aborting(None, cx.now),
            _ => Climb::resumed(cx.plan, sent, cx.now),
        };
        self.life = Life::Stopping { pid: self.pid(), begun: cx.now, climb, reason };
        match how {
            How::Ladder | How::Drain(_) => self.tick(cx),
            How::Kill => self.kill(cx, FactKind::Signalled(SIGKILL)),
        }
    }

    /// Its health probes fail, or succeed again.
    pub fn feel(&mut self, cx: &mut Cx<'_>, ill: Option<String>) {
        match (&self.ill, ill) {
            (None, Some(why)) => {
                cx.record(self.id, FactKind::Unhealthy(why.clone()));
                self.ill = Some((cx.now, why));
            }
            (Some((since, _)), Some(why)) => self.ill = Some((*since, why)),
            (Some(_), None) => {
                self.ill = None;
                cx.record(self.id, FactKind::Recovered);
            }
            (None, None) => {}
        }
    }

    /// The note is written before the signal: a later manager that finds the signal knows that it was asked for.
    pub(crate) fn ask(&mut self, cx: &mut Cx<'_>, asked: bool) {
        if asked && !self.note.asked {
            self.note.asked = true;
            self.annotate(cx);
        }
    }

    fn climb(&mut self, cx: &mut Cx<'_>, steps: Vec<StopStep>, from: usize) {
        let (signals, rung) = ladder::climb(&steps, from);
        for signal in signals {
            cx.out.push(Action::Signal { spawn: self.id, signal });
            cx.record(self.id, FactKind::Signalled(signal));
            if signal == SIGTERM {
                cx.out.push(Action::Signal { spawn: self.id, signal: SIGCONT });
            }
        }
        match rung {
            Rung::Wait { next, wait } => self.set_climb(Climb::Waiting { steps, next, until: cx.now.after(wait) }),
            Rung::Kill if from == 0 => self.kill(cx, FactKind::Signalled(SIGKILL)),
            Rung::Kill => self.kill(cx, FactKind::Escalated),
        }
    }

    fn kill(&mut self, cx: &mut Cx<'_>, fact: FactKind) {
        self.set_climb(Climb::Killing { stuck_at: cx.now.after(STUCK_AFTER) });
        cx.out.push(Action::Sweep { spawn: self.id, how: Sweep::Kill });
        cx.record(self.id, fact);
    }

    fn set_climb(&mut self, to: Climb) {
        if let Life::Stopping { climb, .. } = &mut self.life {
            *climb = to;
        }
    }

    /// It could not be started: nobody can be left of it. True where that is news.
    pub fn failed(&mut self, cx: &mut Cx<'_>, failure: SpawnFailure) -> bool {
        let news = self.told < Told::End;
        if news {
            self.told = Told::End;
            cx.record(self.id, FactKind::StartFailed(failure.message.clone()));
        }
        match self.life {
            Life::Launching | Life::Stopping { .. } => {
                self.life = Life::Ended { end: End::NotStarted(failure), at: cx.now, tree: Tree::Empty };
                if self.note.asked {
                    cx.record(self.id, FactKind::Stopped);
                }
            }
            Life::Running { .. } | Life::Draining { .. } | Life::Stuck { .. } | Life::Ended { .. } => {}
        }
        news
    }

    /// Its main process ended. True where that is news.
    pub fn exited(&mut self, cx: &mut Cx<'_>, exit: ExitStatus, before_exec: bool) -> bool {
        let news = self.told < Told::End;
        if news {
            self.told = Told::End;
            cx.record(self.id, FactKind::Exited(exit));
        }
        let exited = End::Exited { exit, before_exec };
        let sweep_at = cx.now.after(patience(&cx.plan.stop, 0));
        let (end, tree) = match &self.life {
            Life::Ended { .. } => return news,
            Life::Launching | Life::Running { .. } | Life::Draining { .. } => {
                (exited, Tree::Terminating { kill_at: sweep_at })
            }
            Life::Stuck { reason, .. } => {
                let end = match reason {
                    Reason::ReadyTimeout(_) | Reason::TimedOut(_) => End::NeverReady { exit },
                    Reason::Hung(_) => End::Hung { exit },
                    _ => exited,
                };
                (end, Tree::Killing { stuck_at: cx.now.after(STUCK_AFTER) })
            }
            Life::Stopping { climb, reason, .. } => {
                let end = match reason {
                    Reason::ReadyTimeout(_) | Reason::TimedOut(_) if climb.has_signalled() => End::NeverReady { exit },
                    Reason::Hung(_) if climb.has_signalled() => End::Hung { exit },
                    // It came to its end by itself, late or not.
                    _ => exited,
                };
                let tree = match climb {
                    Climb::Waiting { steps, next, until } => {
                        let end = until.after(ladder::remaining(steps, *next));
                        let kill_at = if end < Time(u64::MAX) { end } else { cx.now.after(LEFT_PATIENCE) };
                        Tree::Terminating { kill_at }
                    }
                    Climb::Killing { stuck_at } => Tree::Killing { stuck_at: *stuck_at },
                };
                (end, tree)
            }
        };
        // A ladder without a wait gives nobody time: those who are left are killed at once as well.
        let tree = match tree {
            Tree::Terminating { kill_at } if kill_at <= cx.now => Tree::Killing { stuck_at: cx.now.after(STUCK_AFTER) },
            tree => tree,
        };
        let how = match tree {
            Tree::Terminating { .. } => Sweep::Terminate,
            Tree::Killing { .. } | Tree::Stuck | Tree::Empty => Sweep::Kill,
        };
        self.life = Life::Ended { end, at: cx.now, tree };
        cx.out.push(Action::Sweep { spawn: self.id, how });
        news
    }

    pub fn tree_empty(&mut self, cx: &mut Cx<'_>) {
        match &mut self.life {
            Life::Ended { tree: Tree::Empty, .. } => {}
            Life::Ended { tree, .. } => {
                *tree = Tree::Empty;
                self.note.swept = true;
                self.annotate(cx);
                if self.note.asked {
                    cx.record(self.id, FactKind::Stopped);
                }
            }
            Life::Launching
            | Life::Running { .. }
            | Life::Draining { .. }
            | Life::Stopping { .. }
            | Life::Stuck { .. } => {}
        }
    }

    /// Does what is due.
    pub fn tick(&mut self, cx: &mut Cx<'_>) {
        // Each turn either takes the next step of a finite ladder or leaves no deadline behind that has passed.
        while self.deadline().is_some_and(|at| at <= cx.now) {
            self.due(cx);
        }
    }

    fn due(&mut self, cx: &mut Cx<'_>) {
        match &mut self.life {
            Life::Launching => self.too_late(cx, LAUNCH_TIMEOUT),
            Life::Running { readiness: Readiness::Probing { .. } | Readiness::Working { .. }, .. } => {
                self.too_late(cx, cx.plan.ready.timeout)
            }
            Life::Running { readiness: Readiness::Leaving { .. }, .. } => match self.note.ready {
                Some(_) => self.stop(cx, Reason::BySelf, How::Ladder),
                None => self.too_late(cx, cx.plan.ready.timeout),
            },
            Life::Running { readiness: Readiness::Ready, .. } => self.silent(cx),
            Life::Draining { begun, step, .. } => {
                let (begun, what) = (*begun, step.kind());
                cx.record(self.id, FactKind::DrainTimeout(cx.now.since(begun)));
                self.drained(cx, what);
            }
            Life::Stopping { climb: Climb::Waiting { steps, next, .. }, .. } => {
                let (steps, next) = (std::mem::take(steps), *next);
                self.climb(cx, steps, next);
            }
            Life::Stopping { pid, climb: Climb::Killing { .. }, reason, .. } => {
                self.life = Life::Stuck { pid: *pid, since: cx.now, reason: reason.clone() };
                cx.record(self.id, FactKind::Stuck);
            }
            Life::Ended { tree: tree @ Tree::Terminating { .. }, .. } => {
                *tree = Tree::Killing { stuck_at: cx.now.after(STUCK_AFTER) };
                cx.out.push(Action::Sweep { spawn: self.id, how: Sweep::Kill });
                cx.record(self.id, if self.note.asked { FactKind::Escalated } else { FactKind::LeftOver });
            }
            Life::Ended { tree: tree @ Tree::Killing { .. }, .. } => {
                *tree = Tree::Stuck;
                cx.record(self.id, FactKind::Stuck);
            }
            Life::Stuck { .. } | Life::Ended { tree: Tree::Stuck | Tree::Empty, .. } => {}
        }
    }

    fn too_late(&mut self, cx: &mut Cx<'_>, timeout: Duration) {
        if let (Life::Running { readiness, .. }, Late::Counts) = (&mut self.life, cx.late) {
            *readiness = Readiness::Ready;
            self.note.ready = Some(cx.now);
            self.note.late = true;
            self.annotate(cx);
            self.listen_for_signs(cx);
            cx.out.push(Action::Watch { spawn: self.id });
            return cx.record(self.id, FactKind::CountsAsReady(cx.now.since(self.since)));
        }
        if let Life::Running { readiness: Readiness::Working { .. }, .. } = self.life {
            cx.record(self.id, FactKind::TimedOut(timeout));
            return self.stop(cx, Reason::TimedOut(timeout), How::Ladder);
        }
        cx.record(self.id, FactKind::ReadyTimeout(timeout));
        self.stop(cx, Reason::ReadyTimeout(timeout), How::Ladder);
    }
}
