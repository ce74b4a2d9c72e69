//! Where a stop is on its ladder. A later manager finds the place again by the last signal that was sent.

use std::time::Duration;

use svd_config::plan::{ProcessPlan, StopStep};

use crate::ladder::{self, SIGKILL};
use crate::service::STUCK_AFTER;
use crate::time::Time;

const SIGABRT: i32 = 6;
/// How long one that hangs may take to write its core dump.
const DUMP_TIME: Duration = Duration::from_secs(10);

/// Where on the stop ladder. The steps are those of the plan under which the stop began: a new plan in the middle of
/// a climb must not send a signal again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Climb {
    Waiting { steps: Vec<StopStep>, next: usize, until: Time },
    Killing { stuck_at: Time },
}

impl Climb {
    /// The place on the ladder after the last signal sent, with the time that has passed there; the foot of it where
    /// none was. No signal is sent twice: programs escalate by themselves on a second TERM.
    pub fn resumed(plan: &ProcessPlan, sent: Option<(i32, Time)>, now: Time) -> Climb {
        let steps = plan.stop.clone();
        let Some((signal, at)) = sent else { return Climb::Waiting { steps, next: 0, until: now } };
        if signal == SIGKILL {
            return Climb::Killing { stuck_at: at.after(STUCK_AFTER) };
        }
        let next = ladder::after_signal(&steps, signal).unwrap_or(0);
        match steps.get(next) {
            Some(StopStep::Wait(wait)) if next > 0 => {
                let until = at.after(*wait);
                Climb::Waiting { steps, next: next + 1, until }
            }
            Some(StopStep::Wait(_) | StopStep::Forever | StopStep::Signal(_)) | None => {
                Climb::Waiting { steps, next, until: now }
            }
        }
    }
}

impl Climb {
    /// As [`Self::resumed`], for one that hangs: it is asked for a core dump, and gets no other chance.
    pub fn aborting(sent: Option<(i32, Time)>, now: Time) -> Climb {
        let steps = vec![StopStep::Signal(SIGABRT), StopStep::Wait(DUMP_TIME), StopStep::Signal(SIGKILL)];
        match sent {
            Some((SIGKILL, at)) => Climb::Killing { stuck_at: at.after(STUCK_AFTER) },
            Some((SIGABRT, at)) => Climb::Waiting { steps, next: 2, until: at.after(DUMP_TIME) },
            Some(_) | None => Climb::Waiting { steps, next: 0, until: now },
        }
    }

    /// A signal of the ladder was sent.
    pub fn has_signalled(&self) -> bool {
        match self {
            Climb::Waiting { steps, next, .. } => steps.iter().take(*next).any(|s| matches!(s, StopStep::Signal(_))),
            Climb::Killing { .. } => true,
        }
    }
}
