//! Signs of life: what a spawn says of itself while it runs (sd_notify(3)), beside that it is ready or stopping.
//!
//! A watchdog is judged in two steps. When its time is up, the keeper is asked for the last sign of life: it has received
//! what this manager was never told. Only the answer is judged, and only where nobody was late: a manager that stood still, or
//! a machine that slept, gives everybody their time anew. So nobody is woken up by a sign of life, and no death or slowness of
//! a manager ends anybody.

use std::time::Duration;

use crate::action::{Action, FactKind};
use crate::ladder;
use crate::service::{Cx, How, Life, Readiness, Spawn};
use crate::state::Reason;
use crate::time::Time;

/// One that says that it is stopping gets so long at least.
const LEAVING_MIN: Duration = Duration::from_secs(10);
/// Whoever looks so much too late has stood still.
const STOOD_STILL: Duration = Duration::from_secs(2);

/// What a spawn has said so far, as the keeper has it: a level, not a message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Said {
    /// Its last `WATCHDOG=1`.
    pub heard: Option<Time>,
    /// The interval that it has set itself; zero switches the watchdog off.
    pub every: Option<Duration>,
    /// It has said itself that it hangs (`WATCHDOG=trigger`).
    pub trigger: bool,
    /// When it asked for more time, and until when.
    pub extended: Option<(Time, Time)>,
    /// Its main process, where it has named one.
    pub main: Option<i32>,
}

/// What is known of a spawn's signs of life.
#[derive(Clone, Debug, Default)]
pub(crate) struct Signs {
    /// How often one is due; none while nobody waits for any.
    every: Option<Duration>,
    /// The last one, or when waiting for them began.
    last: Time,
    /// When the keeper was asked for the last one.
    asked: Option<Time>,
    extended: Option<(Time, Time)>,
}

impl Signs {
    /// When the next one is due.
    pub fn deadline(&self) -> Option<Time> {
        let every = self.every.filter(|_| self.asked.is_none())?;
        Some(self.last.after(every))
    }

    /// A deadline of something that began then, with the time that was asked for since.
    pub fn stretch(&self, deadline: Time, begun: Time) -> Time {
        match self.extended {
            Some((asked, until)) if asked >= begun => deadline.max(until),
            Some(_) | None => deadline,
        }
    }
}

impl Spawn {
    /// It is ready: from now on signs of life are waited for, where its plan says so.
    pub(crate) fn listen_for_signs(&mut self, cx: &mut Cx<'_>) {
        let every = self.said.every.or(cx.plan.notify.watchdog).filter(|every| !every.is_zero());
        self.signs.every = every;
        self.signs.last = self.said.heard.unwrap_or_default().max(self.note.ready.unwrap_or(cx.now));
    }

    /// It said `STOPPING=1`.
    pub fn leaving(&mut self, cx: &mut Cx<'_>) {
        let patience = ladder::remaining(&cx.plan.stop, 0).max(LEAVING_MIN);
        let deadline = match &self.life {
            Life::Running { readiness: Readiness::Ready, .. } => cx.now.after(patience),
            Life::Running { readiness: Readiness::Probing { deadline }, .. } => *deadline,
            // What a run says of itself changes nothing of its deadline.
            Life::Running { readiness: Readiness::Working { .. } | Readiness::Leaving { .. }, .. } => return,
            Life::Launching
            | Life::Draining { .. }
            | Life::Stopping { .. }
            | Life::Stuck { .. }
            | Life::Ended { .. } => return,
        };
        if let Life::Running { readiness, .. } = &mut self.life {
            *readiness = Readiness::Leaving { deadline };
            cx.record(self.id, FactKind::Stopping(Reason::BySelf));
        }
    }

    /// Takes in what it has said.
    pub fn says(&mut self, cx: &mut Cx<'_>, said: Said) {
        self.signs.extended = said.extended;
        if let Some(main) = said.main {
            self.named(cx, main);
        }
        self.said = said;
        let Life::Running { readiness, .. } = &self.life else { return };
        if self.said.trigger && !self.note.hung {
            return self.hang(cx, None);
        }
        if *readiness != Readiness::Ready {
            return;
        }
        let before = self.signs.last;
        self.listen_for_signs(cx);
        self.signs.last = self.signs.last.max(before);
        self.judge(cx);
    }

    /// The time for a sign of life is up: the keeper may have received one.
    pub(crate) fn silent(&mut self, cx: &mut Cx<'_>) {
        let late = self.signs.deadline().map(|at| cx.now.since(at)).unwrap_or_default();
        if late > STOOD_STILL {
            self.signs.last = cx.now;
            return;
        }
        self.signs.asked = Some(cx.now);
        cx.out.push(Action::Recall { spawn: self.id });
    }

    /// The keeper has told the last sign of life.
    fn judge(&mut self, cx: &mut Cx<'_>) {
        let Some(asked) = self.signs.asked.take() else { return };
        let Some(every) = self.signs.every else { return };
        if self.signs.last.after(every) > cx.now {
            return;
        }
        if cx.now.since(asked) > STOOD_STILL {
            self.signs.last = cx.now;
            return;
        }
        self.hang(cx, Some(every));
    }

    fn hang(&mut self, cx: &mut Cx<'_>, silent: Option<Duration>) {
        self.note.hung = true;
        self.annotate(cx);
        cx.record(self.id, FactKind::Hung(silent));
        self.stop(cx, Reason::Hung(silent), How::Ladder);
    }

    /// Another process is its main process by now.
    fn named(&mut self, cx: &mut Cx<'_>, main: i32) {
        let pid = match &mut self.life {
            Life::Running { pid, .. } | Life::Draining { pid, .. } => pid,
            Life::Stopping { pid: Some(pid), .. } => pid,
            Life::Launching | Life::Stopping { pid: None, .. } | Life::Stuck { .. } | Life::Ended { .. } => return,
        };
        if *pid != main {
            *pid = main;
            cx.record(self.id, FactKind::MainNamed(main));
        }
    }
}
