//! How a spawn that is to end finishes what it has first: its steps before the stop ladder. Whether the queue of its slot
//! matters is `gate`'s to say; here is what is sent, awaited and told.

use std::time::Duration;

use svd_config::plan::ProcessPlan;

use crate::action::{Action, FactKind};
use crate::ladder;
use crate::service::{Cx, How, Life, Spawn};
use crate::state::Reason;
use crate::time::Time;

/// How long those who wait to be accepted from a slot that gets no new connections, and those who were and have no answer yet,
/// are waited for: as long as the stop ladder would wait, within these bounds.
const QUEUE_PATIENCE: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(600));
/// What a draining one is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DrainStep {
    /// Those who wait to be accepted from its slot.
    Queue { deadline: Time },
    /// The proof that it has finished its work; `Time(u64::MAX)`: without end.
    Proof { deadline: Time },
}

/// Whether those who wait to be accepted from its slot are waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Queue {
    Wait,
    /// Others serve the slot, or nobody new is kept from it.
    None,
}

/// A step without what is remembered of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DrainStepKind {
    Queue,
    Proof,
}

impl DrainStep {
    pub fn kind(self) -> DrainStepKind {
        match self {
            DrainStep::Queue { .. } => DrainStepKind::Queue,
            DrainStep::Proof { .. } => DrainStepKind::Proof,
        }
    }
}

impl Spawn {
    /// Lets it finish what it has, where there is anything that shows when it has; the ladder follows.
    pub(crate) fn drain(&mut self, cx: &mut Cx<'_>, pid: i32, reason: Reason, how: How) {
        let queue = matches!(how, How::Drain(Queue::Wait));
        if !queue && cx.plan.drained.is_none() {
            self.ask(cx, true);
            return self.descend(cx, reason, How::Ladder);
        }
        self.note.draining = Some(cx.now);
        self.note.asked = true;
        self.annotate(cx);
        cx.record(self.id, FactKind::Draining(reason.clone()));
        self.quieten(cx);
        let step = match queue {
            true => DrainStep::Queue { deadline: cx.now.after(queue_patience(cx.plan)) },
            false => proof(cx.plan, cx.now),
        };
        self.life = Life::Draining { pid, begun: cx.now, step, reason };
        self.ask_for_step(cx);
    }

    /// Tells it to take no new work, once, where its plan knows how.
    pub fn quieten(&mut self, cx: &mut Cx<'_>) {
        let Some(signal) = cx.plan.quiet.filter(|_| !self.note.quiet) else { return };
        self.note.quiet = true;
        self.annotate(cx);
        cx.out.push(Action::Signal { spawn: self.id, signal });
        cx.record(self.id, FactKind::Quieted(signal));
    }

    /// Has the driver look for what its step waits for.
    pub fn ask_for_step(&self, cx: &mut Cx<'_>) {
        if let Life::Draining { step, .. } = &self.life {
            cx.out.push(match step {
                DrainStep::Queue { .. } => Action::WatchQueue { spawn: self.id },
                DrainStep::Proof { .. } => Action::ProveDrained { spawn: self.id },
            });
        }
    }

    /// What a drain waited for is there, or does not come.
    pub fn drained(&mut self, cx: &mut Cx<'_>, what: DrainStepKind) {
        let Life::Draining { step, reason, .. } = &mut self.life else { return };
        match (&step, what, &cx.plan.drained) {
            (DrainStep::Queue { .. }, DrainStepKind::Queue, Some(_)) => {
                *step = proof(cx.plan, cx.now);
                self.ask_for_step(cx);
            }
            (DrainStep::Queue { .. }, DrainStepKind::Queue, None)
            | (DrainStep::Proof { .. }, DrainStepKind::Proof, _) => {
                let reason = reason.clone();
                self.descend(cx, reason, How::Ladder);
            }
            (DrainStep::Queue { .. }, DrainStepKind::Proof, _) | (DrainStep::Proof { .. }, DrainStepKind::Queue, _) => {
            }
        }
    }
}

/// How long the queue of a slot is waited for.
pub(crate) fn queue_patience(plan: &ProcessPlan) -> Duration {
    let (least, most) = QUEUE_PATIENCE;
    ladder::remaining(&plan.stop, 0).clamp(least, most)
}

/// The proof of its plan is waited for from now on.
fn proof(plan: &ProcessPlan, now: Time) -> DrainStep {
    let timeout = plan.drained.as_ref().and_then(|drained| drained.timeout);
    DrainStep::Proof { deadline: now.after(timeout.unwrap_or(Duration::MAX)) }
}
