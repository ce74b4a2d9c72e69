//! Watchdogs: who gives no sign of life is ended, and no lateness but its own counts against anybody.

use std::sync::Arc;
use std::time::Duration;

use svd_config::plan::{NotifyPlan, Plan};
use svd_core::*;

#[path = "sim/plans.rs"]
#[allow(dead_code)]
mod plans;

const SECOND: u64 = 1_000_000_000;
const EVERY: u64 = 30;

fn plan() -> Arc<Plan> {
    let mut web = plans::process("web");
    web.notify = NotifyPlan { watchdog: Some(Duration::from_secs(EVERY)), ..NotifyPlan::default() };
    plans::plan(vec![web])
}

fn at(seconds: u64) -> Time {
    Time(seconds * SECOND)
}

/// One that is ready since second 1.
fn running() -> (Core, SpawnId) {
    let mut core = Core::new(plan(), None, Desired::default(), SpawnId(0));
    core.step(at(1), Event::AdoptEnd);
    let spawn = SpawnId(1);
    core.step(at(1), Event::Spawned { spawn, pid: 7 });
    (core, spawn)
}

fn heard(spawn: SpawnId, seconds: u64) -> Event {
    Event::Said { spawn, said: Said { heard: Some(at(seconds)), ..Said::default() } }
}

fn asks(actions: &[Action]) -> bool {
    actions.iter().any(|action| matches!(action, Action::Recall { .. }))
}

fn aborts(actions: &[Action]) -> bool {
    actions.iter().any(|action| matches!(action, Action::Signal { signal: 6, .. }))
}

#[test]
fn nothing_happens_before_the_time_is_up_and_then_the_keeper_is_asked_first() {
    let (mut core, spawn) = running();
    assert_eq!(core.next_deadline(), Some(at(31)));
    let actions = core.step(at(31), Event::Tick);
    assert!(asks(&actions) && !aborts(&actions), "{actions:?}");
    assert_eq!(core.next_deadline(), None);
    // It was heard meanwhile: the next time is up 30 s after that.
    let actions = core.step(at(31), heard(spawn, 20));
    assert!(!aborts(&actions), "{actions:?}");
    assert_eq!(core.next_deadline(), Some(at(50)));
}

#[test]
fn one_that_was_not_heard_is_aborted_then_killed_and_started_again() {
    let (mut core, spawn) = running();
    core.step(at(31), Event::Tick);
    let actions = core.step(at(31), Event::Said { spawn, said: Said::default() });
    assert!(aborts(&actions), "{actions:?}");
    // The note comes before the signal, so that a successor knows what the signal was for.
    let noted = actions.iter().position(|action| matches!(action, Action::Annotate { note, .. } if note.hung)).unwrap();
    assert!(noted < actions.iter().position(|action| matches!(action, Action::Signal { .. })).unwrap());
    assert_eq!(core.next_deadline(), Some(at(41)));
    let actions = core.step(at(41), Event::Tick);
    assert!(actions.iter().any(|action| matches!(action, Action::Sweep { how: Sweep::Kill, .. })), "{actions:?}");
    let exit = ExitStatus::Signal { signal: 9, core: false };
    core.step(at(42), Event::Exited { spawn, exit, before_exec: false });
    core.step(at(42), Event::TreeEmpty { spawn });
    let view = core.view().next().unwrap();
    assert_eq!(view.reason, Some(Reason::Hung(Some(Duration::from_secs(EVERY)))), "{view:?}");
    let again = core.next_deadline().expect("it is started again");
    let actions = core.step(again, Event::Tick);
    assert!(actions.iter().any(|action| matches!(action, Action::Spawn { .. })), "{actions:?}");
}

/// Fault 35.
#[test]
fn a_manager_that_looks_too_late_or_gets_its_answer_too_late_judges_nobody() {
    // late to ask
    let (mut core, spawn) = running();
    let actions = core.step(at(60), Event::Tick);
    assert!(!asks(&actions) && !aborts(&actions), "{actions:?}");
    assert_eq!(core.next_deadline(), Some(at(90)));
    // late to be answered
    core.step(at(90), Event::Tick);
    let actions = core.step(at(99), heard(spawn, 3));
    assert!(!aborts(&actions), "{actions:?}");
    assert_eq!(core.next_deadline(), Some(at(129)));
}

#[test]
fn a_new_manager_goes_on_from_the_last_sign_and_goes_on_with_an_end() {
    let adopted = |note, heard: Option<Time>, last_signal| Adopted {
        spawn: SpawnId(4),
        instance: InstanceName::new("web", 1),
        lineage: Lineage::default(),
        note,
        life: AdoptedLife::Running { pid: 7, at: at(1) },
        last_signal,
        notified_ready: false,
        said: Said { heard, ..Said::default() },
    };
    let ready = Note { ready: Some(at(1)), ..Note::default() };
    let take = |adopted, now| {
        let mut core = Core::new(plan(), None, Desired::default(), SpawnId(4));
        core.step(now, Event::Adopt(Box::new(adopted)));
        let actions = core.step(now, Event::AdoptEnd);
        (core, actions)
    };
    let (core, _) = take(adopted(ready, Some(at(90)), None), at(100));
    assert_eq!(core.next_deadline(), Some(at(120)));
    // One that the manager before had aborted.
    let hung = Note { hung: true, ..ready };
    let (core, actions) = take(adopted(hung, None, Some((6, at(95)))), at(100));
    assert!(!aborts(&actions), "{actions:?}");
    assert_eq!(core.next_deadline(), Some(at(105)));
}

#[test]
fn an_interval_of_its_own_and_a_trigger_of_its_own_count_too() {
    let (mut core, spawn) = running();
    let every = Some(Duration::from_secs(5));
    core.step(at(10), Event::Said { spawn, said: Said { heard: Some(at(10)), every, ..Said::default() } });
    assert_eq!(core.next_deadline(), Some(at(15)));
    core.step(at(11), Event::Said { spawn, said: Said { every: Some(Duration::ZERO), ..Said::default() } });
    assert_eq!(core.next_deadline(), None);
    let actions = core.step(at(12), Event::Said { spawn, said: Said { trigger: true, ..Said::default() } });
    assert!(aborts(&actions), "{actions:?}");
}
