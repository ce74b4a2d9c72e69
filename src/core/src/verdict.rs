//! What an end means: again, when; or given up, completed, over. A pure function of the plan and of what the keeper
//! keeps of the ended spawn, so that every manager comes to the same verdict and to the same deadline.

use std::time::Duration;

use svd_config::plan::{ProcessPlan, ReadyBy, RestartWhen, SuccessExit};

use crate::backoff;
use crate::event::Lineage;
use crate::name::InstanceName;
use crate::service::{End, Life, Spawn};
use crate::state::{ExitStatus, Reason};
use crate::time::Time;

/// A shorter time than this being ready never forgives earlier failures, however short the longest pause is.
const STEADY_MIN: Duration = Duration::from_secs(10);
/// Exit codes of a start that trying again cannot cure: not executable, not found.
const HOPELESS_CODES: [u8; 2] = [126, 127];

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Verdict {
    /// It lives.
    Alive,
    /// Its end was asked for, or it is of an older generation: where it is to run, it may start now, without a past.
    Fresh,
    /// To be started again.
    Again { until: Time, pause: Duration, next: Lineage, counts: Counts },
    /// A one-shot that has done its work.
    Completed,
    /// Ended well, and is not to be started again.
    Over(Reason),
    /// Given up.
    Failed(Reason),
}

/// Whether a restart counts for the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Counts {
    ForLimit,
    /// svd's host had no room for it: not its own fault.
    Not,
}

/// What the state of this spawn means for its instance, of which `generation` is desired.
pub(crate) fn verdict(plan: &ProcessPlan, name: &InstanceName, spawn: &Spawn, generation: u64) -> Verdict {
    let Life::Ended { end, at, .. } = &spawn.life else { return Verdict::Alive };
    if spawn.note.asked || spawn.lineage.generation < generation {
        return Verdict::Fresh;
    }
    if let End::NotStarted(failure) = end {
        if failure.transient {
            return again(plan, name, spawn, *at, Counts::Not);
        }
        if HOPELESS_CODES.contains(&failure.code) {
            return Verdict::Failed(reason(plan, end));
        }
    }
    let success = is_success(plan, spawn, end);
    match (plan.oneshot, success, plan.restart.when) {
        (true, true, _) => Verdict::Completed,
        (false, true, RestartWhen::Always) | (_, false, RestartWhen::Always | RestartWhen::OnFailure) => {
            match limit_reached(plan, spawn, *at) {
                None => again(plan, name, spawn, *at, Counts::ForLimit),
                Some((count, window)) => {
                    Verdict::Failed(Reason::RestartLimit { count, window, last: reason(plan, end).to_string() })
                }
            }
        }
        (false, true, RestartWhen::OnFailure | RestartWhen::Never) => Verdict::Over(reason(plan, end)),
        (_, false, RestartWhen::Never) => Verdict::Failed(reason(plan, end)),
    }
}

/// The end in the words of `status`.
pub(crate) fn reason(plan: &ProcessPlan, end: &End) -> Reason {
    match end {
        End::NotStarted(failure) => Reason::StartFailed(failure.message.clone()),
        End::Exited { exit, before_exec: false } => Reason::Exited(*exit),
        End::Exited { exit, before_exec: true } => Reason::BeforeExec(*exit),
        End::NeverReady { .. } => too_late(plan),
        End::Hung { .. } => Reason::Hung(plan.notify.watchdog),
    }
}

/// Why one is ended that was not ready in time, or, where its end is all that is waited for, has not come to it.
pub(crate) fn too_late(plan: &ProcessPlan) -> Reason {
    match plan.ready.by {
        ReadyBy::Ended => Reason::TimedOut(plan.ready.timeout),
        ReadyBy::Started
        | ReadyBy::Listening
        | ReadyBy::Notify
        | ReadyBy::Fd(_)
        | ReadyBy::Log(_)
        | ReadyBy::Run { .. }
        | ReadyBy::Tcp { .. }
        | ReadyBy::Http { .. } => Reason::ReadyTimeout(plan.ready.timeout),
    }
}

/// The status of the main process, where it had one.
pub(crate) fn status(end: &End) -> Option<ExitStatus> {
    match end {
        End::NotStarted(_) => None,
        End::Exited { exit, .. } | End::NeverReady { exit } | End::Hung { exit } => Some(*exit),
    }
}

/// svd's own exit code when an essential instance failed in this way: never 0.
pub(crate) fn exit_code(end: &End) -> u8 {
    let code = match end {
        End::NotStarted(failure) => failure.code,
        End::Exited { exit: ExitStatus::Code(code), .. } => *code,
        End::Exited { exit: ExitStatus::Signal { signal, .. }, .. } => {
            u8::try_from(*signal).unwrap_or(0).checked_add(128).unwrap_or(1)
        }
        End::Exited { exit: ExitStatus::Unknown, .. } | End::NeverReady { .. } | End::Hung { .. } => 1,
    };
    code.max(1)
}

/// A service that ends before it was ready has not done what it is there for, whatever its status. That also
/// classifies one that was ended for being late and then ended politely, for a manager that was not there.
fn is_success(plan: &ProcessPlan, spawn: &Spawn, end: &End) -> bool {
    let End::Exited { exit, before_exec: false } = end else { return false };
    let arrived = plan.oneshot || plan.ready.by == ReadyBy::Started || spawn.note.ready.is_some();
    arrived
        && plan.restart.success_exit.iter().any(|success| match (success, exit) {
            (SuccessExit::Code(a), ExitStatus::Code(b)) => a == b,
            (SuccessExit::Signal(a), ExitStatus::Signal { signal, .. }) => a == signal,
            (SuccessExit::Code(_) | SuccessExit::Signal(_), _) => false,
        })
}

fn recent(spawn: &Spawn, at: Time, window: Duration) -> Vec<Time> {
    spawn.lineage.recent.iter().copied().filter(|restart| at.since(*restart) < window).collect()
}

fn limit_reached(plan: &ProcessPlan, spawn: &Spawn, at: Time) -> Option<(u32, Duration)> {
    let limit = plan.restart.limit?;
    (recent(spawn, at, limit.window).len() >= limit.count as usize).then_some((limit.count, limit.window))
}

fn again(plan: &ProcessPlan, name: &InstanceName, spawn: &Spawn, at: Time, counts: Counts) -> Verdict {
    let steady = plan.restart.backoff_max.max(STEADY_MIN);
    let forgiven = spawn.note.ready.is_some_and(|ready| at.since(ready) >= steady);
    let failures = if forgiven { 1 } else { spawn.lineage.failures.saturating_add(1) };
    let pause = backoff::pause(&plan.restart, failures, spawn.id, name);
    let next = Lineage {
        generation: spawn.lineage.generation,
        restarts: spawn.lineage.restarts.saturating_add(1),
        failures,
        recent: plan.restart.limit.map_or_else(Vec::new, |limit| recent(spawn, at, limit.window)),
        slot: spawn.lineage.slot,
        origin: crate::Origin::Place,
    };
    Verdict::Again { until: at.after(pause), pause, next, counts }
}
