//! The stop ladder as a table to be climbed: which signals come next, and how long to wait after them.

use std::time::Duration;

use svd_config::plan::StopStep;

pub(crate) const SIGKILL: i32 = 9;
pub(crate) const SIGTERM: i32 = 15;
pub(crate) const SIGCONT: i32 = 18;

/// What follows after some signals of the ladder were sent.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Rung {
    /// Wait so long, then climb on from `next`.
    Wait { next: usize, wait: Duration },
    /// Nothing but KILL is left.
    Kill,
}

/// Climbs from step `from` to the next wait: the signals to be sent now, and what then.
pub(crate) fn climb(steps: &[StopStep], from: usize) -> (Vec<i32>, Rung) {
    let mut signals = Vec::new();
    for (i, step) in steps.iter().enumerate().skip(from) {
        match *step {
            StopStep::Signal(SIGKILL) => return (signals, Rung::Kill),
            StopStep::Signal(signal) => signals.push(signal),
            StopStep::Wait(wait) => return (signals, Rung::Wait { next: i + 1, wait }),
            StopStep::Forever => return (signals, Rung::Wait { next: i + 1, wait: Duration::MAX }),
        }
    }
    (signals, Rung::Kill)
}

/// The waits from step `from` on until the ladder comes to KILL or its end.
pub(crate) fn remaining(steps: &[StopStep], from: usize) -> Duration {
    steps
        .iter()
        .skip(from)
        .take_while(|step| **step != StopStep::Signal(SIGKILL))
        .map(|step| match step {
            StopStep::Signal(_) => Duration::ZERO,
            StopStep::Wait(wait) => *wait,
            StopStep::Forever => Duration::MAX,
        })
        .fold(Duration::ZERO, Duration::saturating_add)
}

/// The step after the one that sent `signal`; `None` where the ladder has no such signal. A CONT follows each TERM
/// (a stopped process could not see the TERM), so a CONT that is no step stands for TERM. Where a ladder names a
/// signal twice, the later place is taken: programs escalate by themselves on a second TERM, so it is better to wait
/// too little than to signal once too often.
pub(crate) fn after_signal(steps: &[StopStep], signal: i32) -> Option<usize> {
    let place = |s: i32| steps.iter().rposition(|step| *step == StopStep::Signal(s)).map(|i| i + 1);
    match place(signal) {
        None if signal == SIGCONT => place(SIGTERM),
        found => found,
    }
}

/// Those who are left of a tree whose main process had no deadline get so long.
pub(crate) const LEFT_PATIENCE: Duration = Duration::from_secs(30);

/// How long those who are left of a tree get: as long as the ladder from this step on, but never without end.
pub(crate) fn patience(steps: &[StopStep], from: usize) -> Duration {
    match remaining(steps, from) {
        Duration::MAX => LEFT_PATIENCE,
        time => time,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TERM_30_KILL: [StopStep; 3] =
        [StopStep::Signal(15), StopStep::Wait(Duration::from_secs(30)), StopStep::Signal(9)];

    #[test]
    fn a_ladder_sends_term_waits_and_kills() {
        assert_eq!(climb(&TERM_30_KILL, 0), (vec![15], Rung::Wait { next: 2, wait: Duration::from_secs(30) }));
        assert_eq!(climb(&TERM_30_KILL, 2), (vec![], Rung::Kill));
    }

    #[test]
    fn a_ladder_without_kill_ends_in_kill() {
        assert_eq!(climb(&[StopStep::Signal(2)], 0), (vec![2], Rung::Kill));
    }

    #[test]
    fn waits_behind_kill_do_not_count() {
        let steps =
            [StopStep::Wait(Duration::from_secs(1)), StopStep::Signal(9), StopStep::Wait(Duration::from_secs(9))];
        assert_eq!(remaining(&steps, 0), Duration::from_secs(1));
    }

    #[test]
    fn a_cont_stands_for_the_term_before_it() {
        assert_eq!(after_signal(&TERM_30_KILL, 18), Some(1));
        assert_eq!(after_signal(&TERM_30_KILL, 15), Some(1));
        assert_eq!(after_signal(&TERM_30_KILL, 3), None);
    }
}
