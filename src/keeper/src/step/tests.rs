//! Histories of one keeper without a kernel.

use super::*;
use crate::outbox;
use crate::table::{Manager, Upgrade};
use svd_sys::signal::{ABRT, CONT, KILL, TERM};
use svd_wire::{Phase, UpgradeOutcome};

const MANAGER: i32 = 1000;

/// A keeper whose clock is turned by hand.
struct Sim {
    table: Table,
    now: Now,
    next_pid: i32,
    said: Vec<Report>,
}

impl Sim {
    fn new() -> Sim {
        Sim { table: Table::new([0; 16], 1), now: Now::default(), next_pid: MANAGER, said: Vec::new() }
    }

    /// A keeper with a live manager.
    fn live() -> Sim {
        let mut sim = Sim::new();
        sim.at(1, Input::Tick);
        sim.become_live();
        sim
    }

    /// Takes an input in, performs what can be performed without a kernel, and tells the manager all it can be told.
    fn at(&mut self, seconds: u64, input: Input) -> Vec<Effect> {
        self.now.mono_ns = self.now.mono_ns.max(seconds * 1_000_000_000);
        let mut effects = step(&mut self.table, input, self.now);
        let mut more = Vec::new();
        for effect in &effects {
            let answer = match effect {
                Effect::StartManager(_) => Input::ManagerStarted { pid: self.pid() },
                Effect::Fork(spawn, _) => Input::Forked { spawn: *spawn, pid: self.pid() },
                Effect::TryProgram => Input::TrialStarted(Ok(self.pid())),
                _ => continue,
            };
            more.extend(step(&mut self.table, answer, self.now));
        }
        effects.extend(more);
        while let Some(message) = outbox::next(&self.table, self.now.mono_ns) {
            outbox::sent(&mut self.table, message.item, self.now);
            self.said.push(message.report);
        }
        effects
    }

    fn pid(&mut self) -> i32 {
        self.next_pid += 1;
        self.next_pid
    }

    fn seconds(&self) -> u64 {
        self.now.mono_ns / 1_000_000_000
    }

    fn ask(&mut self, request: Request) -> Vec<Effect> {
        let fds = match &request {
            Request::Spawn { spec, .. } => spec.fds.len(),
            Request::Hold { .. } | Request::UpgradeManager { .. } => 1,
            _ => 0,
        };
        self.at(0, Input::Request { request, fds })
    }

    fn become_live(&mut self) {
        assert!(self.ask(Request::Hello { min: 1, max: 9, features: 0, build: String::new() }).is_empty());
        assert!(self.ask(Request::Ready).is_empty());
        assert!(self.table.is_live());
    }

    fn spawn(&mut self, id: u64) {
        let spec = SpawnSpec {
            path: b"/bin/true".to_vec(),
            argv: vec![b"true".to_vec()],
            cwd: b"/".to_vec(),
            ..SpawnSpec::default()
        };
        self.ask(Request::Spawn { spawn: SpawnId(id), spec: Box::new(spec) });
    }

    fn manager_dies(&mut self, exit: Exit) -> Vec<Effect> {
        let pid = manager_pid(&self.table).unwrap();
        self.at(0, Input::Reaped { pid, exit, rusage: Rusage::default() })
    }

    /// Lets time pass to the next deadline.
    fn next(&mut self) -> Vec<Effect> {
        self.now.mono_ns = next_deadline(&self.table).expect("nothing is due").max(self.now.mono_ns);
        self.at(0, Input::Tick)
    }
}

const CRASH: Exit = Exit::Signal { signal: 11, core: false };

#[test]
fn an_idle_keeper_does_not_wake_up() {
    let mut sim = Sim::live();
    sim.spawn(1);
    sim.at(2, Input::Execed { spawn: SpawnId(1) });
    assert!(next_deadline(&sim.table).is_some());
    sim.ask(Request::Ack { through: 1 });
    assert_eq!(next_deadline(&sim.table), None);
}

#[test]
fn of_a_filters_socket_only_the_managers_end_is_kept() {
    let mut sim = Sim::live();
    let spec = SpawnSpec {
        path: b"/bin/true".to_vec(),
        argv: vec![b"true".to_vec()],
        cwd: b"/".to_vec(),
        fds: vec![FdRole::Child(3), FdRole::Filter, FdRole::Intercept, FdRole::Stdout],
        ..SpawnSpec::default()
    };
    sim.ask(Request::Spawn { spawn: SpawnId(1), spec: Box::new(spec) });
    let held = |sim: &Sim| sim.table.records[&SpawnId(1)].held.clone();
    assert_eq!(held(&sim), [FdRole::Intercept, FdRole::Stdout]);
    sim.manager_dies(CRASH);
    sim.next();
    sim.become_live();
    let told = sim.said.iter().rev().find_map(|report| match report {
        Report::Instance(instance) => Some(instance.held.clone()),
        _ => None,
    });
    assert_eq!(told, Some(vec![FdRole::Intercept, FdRole::Stdout]));
    let released = sim.ask(Request::Release { spawn: SpawnId(1), role: FdRole::Intercept });
    assert_eq!(released, [Effect::Close(SpawnId(1), FdRole::Intercept)]);
    assert_eq!(held(&sim), [FdRole::Stdout]);
}

#[test]
fn a_socket_for_each_slot_of_a_thousand_addresses_can_be_held_and_a_manager_that_holds_ever_more_is_killed() {
    let mut sim = Sim::live();
    let name = |number: usize| format!("listen:web:tcp:0.0.0.0:{number}:0");
    for number in 0..8192 {
        assert_eq!(sim.ask(Request::Hold { name: name(number) }), [Effect::Hold(name(number))]);
    }
    // The same name again replaces.
    assert_eq!(sim.ask(Request::Hold { name: name(0) }), [Effect::Hold(name(0))]);
    assert!(sim.ask(Request::Hold { name: name(8192) }).contains(&Effect::SignalManager(KILL)));
}

#[test]
fn a_first_manager_that_cannot_begin_ends_svd_with_its_code() {
    let mut sim = Sim::new();
    sim.at(1, Input::Tick);
    let effects = sim.manager_dies(Exit::Code(2));
    assert!(effects.contains(&Effect::KillEverything));
    assert_eq!(sim.at(1, Input::NoChildren), [Effect::Leave(2)]);
}

#[test]
fn the_first_restart_is_immediate_and_later_ones_wait_ever_longer() {
    let mut sim = Sim::live();
    let mut waits = Vec::new();
    for _ in 0..12 {
        sim.manager_dies(CRASH);
        let before = sim.now.mono_ns;
        assert!(matches!(sim.next()[..], [Effect::StartManager(_)]));
        waits.push((sim.now.mono_ns - before) / 1_000_000);
        sim.become_live();
    }
    assert_eq!(waits, [0, 100, 200, 400, 800, 1600, 3200, 6400, 12_800, 25_600, 30_000, 30_000]);
    let later = sim.seconds() + 100;
    sim.at(later, Input::Tick);
    sim.manager_dies(CRASH);
    let before = sim.now.mono_ns;
    assert!(sim.next().contains(&Effect::StartManager(Start::Normal)));
    assert_eq!(sim.now.mono_ns, before);
}

#[test]
fn managers_that_work_for_a_while_before_they_are_killed_are_replaced_soon_however_often() {
    let mut sim = Sim::live();
    for _ in 0..100 {
        sim.now.mono_ns += 200_000_000;
        sim.manager_dies(CRASH);
        let died = sim.now.mono_ns;
        assert!(matches!(sim.next()[..], [Effect::StartManager(_)]));
        assert!(sim.now.mono_ns - died <= 100_000_000, "{}", sim.now.mono_ns - died);
        sim.become_live();
    }
}

/// Fault 41.
#[test]
fn five_managers_that_crash_are_followed_by_one_in_safe_mode_and_the_processes_go_on() {
    let mut sim = Sim::live();
    sim.spawn(1);
    for _ in 0..4 {
        sim.manager_dies(CRASH);
        assert_eq!(sim.next(), [Effect::StartManager(Start::Normal)]);
        sim.become_live();
    }
    let effects = sim.manager_dies(CRASH);
    assert!(effects.iter().any(|effect| matches!(effect, Effect::Say(line) if line.contains("safe mode"))));
    assert_eq!(sim.next(), [Effect::StartManager(Start::Safe)]);
    sim.become_live();
    // Where that crashes too, soon or later, it is tried again; the processes are left alone.
    for _ in 0..30 {
        let effects = sim.manager_dies(CRASH);
        assert!(
            !effects.iter().any(|effect| matches!(effect, Effect::Signal(..) | Effect::KillEverything)),
            "{effects:?}"
        );
        assert_eq!(sim.next(), [Effect::StartManager(Start::Safe)]);
    }
    // One that has lived a while, or another build, begins anew.
    sim.become_live();
    sim.upgrade_manager();
    sim.manager_dies(Exit::Code(0));
    assert_eq!(sim.next(), [Effect::StartManager(Start::Normal)]);
}

#[test]
fn managers_that_somebody_else_kills_are_no_crashes() {
    let mut sim = Sim::live();
    for number in 0..20 {
        if number % 2 == 0 {
            // The end of its socket is seen first.
            sim.at(0, Input::HungUp);
        }
        sim.manager_dies(Exit::Signal { signal: KILL, core: false });
        assert_eq!(sim.next(), [Effect::StartManager(Start::Normal)]);
        sim.become_live();
    }
    // Those that the keeper kills for what they did are.
    for _ in 0..5 {
        sim.at(0, Input::Malformed);
        sim.manager_dies(Exit::Signal { signal: KILL, core: false });
        sim.next();
        sim.become_live();
    }
    assert_eq!(sim.table.crashes, 5);
}

#[test]
fn ten_managers_that_do_not_become_live_make_the_keeper_stop_everything_where_it_was_told_to() {
    let mut sim = Sim::live();
    sim.spawn(1);
    sim.at(1, Input::Execed { spawn: SpawnId(1) });
    let child = *sim.table.by_pid.keys().next().unwrap();
    sim.ask(Request::WithoutManager { exit: true });
    sim.manager_dies(CRASH);
    for _ in 0..9 {
        sim.next();
        sim.manager_dies(Exit::Code(1));
    }
    sim.next();
    let effects = sim.manager_dies(Exit::Code(1));
    assert!(effects.contains(&Effect::Signal(SpawnId(1), TERM)) && effects.contains(&Effect::Signal(SpawnId(1), CONT)));
    let effects = sim.at(0, Input::Reaped { pid: child, exit: Exit::Code(0), rusage: Rusage::default() });
    assert!(effects.contains(&Effect::KillEverything));
    assert_eq!(sim.at(0, Input::NoChildren), [Effect::Leave(1)]);
}

#[test]
fn a_stop_without_a_manager_is_done_by_the_keeper_and_kills_what_does_not_end() {
    let mut sim = Sim::live();
    sim.spawn(1);
    sim.at(1, Input::Execed { spawn: SpawnId(1) });
    sim.at(2, Input::Signal(TERM));
    // The manager dies before it has acknowledged the stop, and its successor hangs.
    sim.manager_dies(CRASH);
    sim.next();
    let effects = sim.next();
    assert_eq!(sim.seconds(), 17);
    assert!(effects.contains(&Effect::Signal(SpawnId(1), TERM)) && effects.contains(&Effect::SignalManager(KILL)));
    assert!(sim.next().contains(&Effect::KillEverything));
    assert_eq!(sim.seconds(), 27);
    // Nothing dies: after ten more seconds there is nothing that could be done.
    assert!(sim.next().contains(&Effect::Leave(1)));
}

/// Fault 42.
#[test]
fn a_manager_that_does_not_acknowledge_is_asked_and_one_that_does_not_answer_is_replaced() {
    let mut sim = Sim::live();
    sim.at(10, Input::Signal(svd_sys::signal::HUP));
    sim.next();
    assert_eq!((sim.seconds(), sim.said.last()), (15, Some(&Report::Ping)));
    sim.ask(Request::Pong);
    sim.next();
    assert_eq!(sim.seconds(), 20);
    assert!(sim.next().contains(&Effect::SignalManager(ABRT)));
    assert_eq!(sim.seconds(), 30);
    assert!(sim.next().contains(&Effect::SignalManager(KILL)));
    sim.manager_dies(CRASH);
    sim.next();
    sim.become_live();
    assert!(matches!(sim.said.last(), Some(Report::SignalReceived { seq: 1, signal: 1 })));
}

/// Fault 35.
#[test]
fn after_a_standstill_of_the_whole_machine_the_manager_is_asked_again_instead_of_killed() {
    let mut sim = Sim::live();
    sim.ask(Request::Watch { on: true });
    sim.next();
    assert_eq!(sim.said.last(), Some(&Report::Ping));
    assert!(sim.at(10_000, Input::Tick).is_empty());
    assert!(sim.table.is_live());
    assert!(sim.next().contains(&Effect::SignalManager(ABRT)));
}

#[test]
fn a_knock_asks_only_when_nothing_was_heard_for_a_while() {
    let mut sim = Sim::live();
    let pings = |sim: &Sim| sim.said.iter().filter(|report| **report == Report::Ping).count();
    sim.at(3, Input::Knock);
    assert_eq!(pings(&sim), 0);
    sim.at(10, Input::Knock);
    sim.at(10, Input::Knock);
    assert_eq!(pings(&sim), 1);
}

#[test]
fn a_stage_failure_is_told_only_when_the_process_is_gone() {
    let mut sim = Sim::live();
    sim.spawn(1);
    let pid = *sim.table.by_pid.keys().next().unwrap();
    let error = SpawnError { stage: Stage::Exec, errno: 2 };
    sim.at(1, Input::StageFailed { spawn: SpawnId(1), error });
    assert!(sim.table.pending.is_empty());
    sim.at(1, Input::Reaped { pid, exit: Exit::Code(127), rusage: Rusage::default() });
    assert!(matches!(sim.said.last(), Some(Report::SpawnFailed { seq: 1, error: told, .. }) if *told == error));
}

/// Fault 7.
#[test]
fn a_death_between_fork_and_exec_is_no_start() {
    let mut sim = Sim::live();
    sim.spawn(1);
    let pid = *sim.table.by_pid.keys().next().unwrap();
    sim.at(1, Input::Reaped { pid, exit: CRASH, rusage: Rusage::default() });
    assert!(matches!(sim.said.last(), Some(Report::Exited { seq: 1, before_exec: true, .. })));
}

#[test]
fn a_record_is_forgotten_only_after_its_end_is_acknowledged() {
    let mut sim = Sim::live();
    sim.spawn(1);
    let pid = *sim.table.by_pid.keys().next().unwrap();
    sim.at(1, Input::Execed { spawn: SpawnId(1) });
    sim.ask(Request::Forget { spawn: SpawnId(1) });
    sim.at(1, Input::Reaped { pid, exit: Exit::Code(0), rusage: Rusage::default() });
    assert_eq!(sim.table.records.len(), 1);
    assert_eq!(sim.ask(Request::Ack { through: 2 }), [Effect::CloseAll(SpawnId(1))]);
    assert!(sim.table.records.is_empty());
}

#[test]
fn a_full_table_refuses_and_does_not_forget() {
    let mut sim = Sim::live();
    for id in 1..=svd_wire::MAX_SPAWNS as u64 + 1 {
        sim.spawn(id);
    }
    assert_eq!(sim.table.records.len(), svd_wire::MAX_SPAWNS);
    assert!(matches!(
        sim.said.last(),
        Some(Report::SpawnFailed { error: SpawnError { stage: Stage::Fork, errno: 11 }, .. })
    ));
}

#[test]
fn what_was_never_reported_cannot_be_acknowledged() {
    let mut sim = Sim::live();
    assert!(sim.ask(Request::Ack { through: 1 }).contains(&Effect::SignalManager(KILL)));
}

/// Fault 65.
#[test]
fn random_histories_keep_the_books_in_order() {
    let mut seed = 0x5eed_u64;
    let mut random = move |limit: u64| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed % limit
    };
    for _ in 0..200 {
        let mut sim = Sim::live();
        let mut told: Vec<u64> = Vec::new();
        for _ in 0..400 {
            let id = random(20) + 1;
            let later = sim.seconds() + random(4);
            match random(14) {
                0 | 1 => sim.spawn(id),
                2 | 3 => drop(sim.at(later, Input::Execed { spawn: SpawnId(id) })),
                4 | 5 => {
                    let pids: Vec<i32> = sim.table.by_pid.keys().copied().collect();
                    if let Some(pid) = pids.get(random(20) as usize % pids.len().max(1)) {
                        sim.at(later, Input::Reaped { pid: *pid, exit: CRASH, rusage: Rusage::default() });
                    }
                }
                6 => {
                    let through = sim.table.acked_through() + random(3);
                    sim.ask(Request::Ack { through });
                }
                7 => drop(sim.ask(Request::Forget { spawn: SpawnId(id) })),
                8 => drop(sim.ask(Request::Signal { spawn: SpawnId(id), signal: TERM })),
                9 => drop(sim.at(later, Input::Tick)),
                10 => drop(sim.at(later, Input::Signal(svd_sys::signal::HUP))),
                11 => drop(sim.ask(Request::Pong)),
                12 if random(4) == 0 => {
                    if manager_pid(&sim.table).is_some() {
                        sim.manager_dies(CRASH);
                    }
                }
                12 => drop(sim.ask(Request::Watch { on: random(2) == 1 })),
                _ => {
                    let greeting = sim.table.talk().is_some_and(|talk| talk.phase == Phase::Greeting);
                    if greeting {
                        sim.said.clear();
                        sim.become_live();
                    }
                }
            }
            // Reports are without gaps, and every living process is in the books once.
            for (index, report) in sim.table.pending.iter().enumerate() {
                let (Report::Spawned { seq, .. }
                | Report::SpawnFailed { seq, .. }
                | Report::Exited { seq, .. }
                | Report::SignalReceived { seq, .. }) = report
                else {
                    panic!("not a numbered report: {report:?}");
                };
                assert_eq!(*seq, sim.table.acked_through() + index as u64 + 1);
            }
            let living: Vec<i32> = sim.table.records.values().filter_map(Record::living).collect();
            assert_eq!(living.len(), sim.table.by_pid.len());
            assert!(living.iter().all(|pid| sim.table.by_pid.contains_key(pid)));
            assert!(matches!(sim.table.manager, Manager::Absent { .. } | Manager::Up { .. } | Manager::Dying { .. }));
            told.clear();
        }
    }
}

#[test]
fn the_id_of_a_start_that_was_refused_is_never_given_again() {
    // given
    let mut sim = Sim::live();
    // when a start is refused, for which no record is made
    sim.at(2, Input::SpawnWithoutFds { spawn: SpawnId(8) });
    // then a later manager begins above it, since it will be told of the refusal again
    assert_eq!(sim.table.last_spawn, SpawnId(8));
    assert!(matches!(sim.said.last(), Some(Report::SpawnFailed { spawn: SpawnId(8), .. })));
}

// ---- upgrades ----

impl Sim {
    fn upgrade_manager(&mut self) -> Vec<Effect> {
        self.ask(Request::UpgradeManager { note: b"n".to_vec() })
    }

    /// Asks for the keeper's turn; the process of the trial.
    fn try_keeper(&mut self) -> i32 {
        assert_eq!(self.ask(Request::UpgradeKeeper { note: b"n".to_vec() }), [Effect::TryProgram]);
        match self.table.upgrade {
            Upgrade::Trial { pid: Some(pid), .. } => pid,
            ref other => panic!("no trial: {other:?}"),
        }
    }

    fn ends(&mut self, pid: i32, exit: Exit) -> Vec<Effect> {
        self.at(0, Input::Reaped { pid, exit, rusage: Rusage::default() })
    }

    fn outcome(&self) -> &UpgradeOutcome {
        match &self.table.upgrade {
            Upgrade::Done { outcome, .. } => outcome,
            other => panic!("not over: {other:?}"),
        }
    }
}

#[test]
fn an_upgrade_is_no_death_and_the_next_manager_is_due_at_once() {
    let mut sim = Sim::live();
    assert_eq!(sim.upgrade_manager(), [Effect::TakeProgram, Effect::CloseLink]);
    sim.manager_dies(Exit::Code(0));
    assert_eq!(sim.next(), [Effect::StartManager(Start::Normal)]);
    assert_eq!(sim.now.mono_ns, 1_000_000_000, "without a pause");
    sim.become_live();
    assert!(matches!(sim.table.upgrade, Upgrade::Switching { .. }), "it has done nothing yet");
    sim.at(1, Input::Tick);
    assert_eq!(sim.said.iter().filter(|report| **report == Report::Ping).count(), 1);
    sim.ask(Request::Pong);
    assert_eq!((sim.outcome(), sim.table.quick_deaths), (&UpgradeOutcome::ManagerRuns, 0));
}

#[test]
fn a_manager_that_has_asked_for_its_successor_and_stays_is_killed() {
    let mut sim = Sim::live();
    sim.upgrade_manager();
    assert_eq!(sim.next(), [Effect::SignalManager(KILL)]);
}

#[test]
fn a_new_manager_that_is_late_or_dies_gives_way_to_the_former_program() {
    for late in [false, true] {
        let mut sim = Sim::live();
        sim.upgrade_manager();
        sim.manager_dies(Exit::Code(0));
        sim.next();
        if late {
            let effects = sim.next();
            assert!(effects.contains(&Effect::SignalManager(ABRT)), "{effects:?}");
            assert_eq!(sim.seconds(), 5, "four seconds after its start");
        }
        assert!(sim.manager_dies(CRASH).contains(&Effect::TakeProgramBack));
        assert!(matches!(sim.outcome(), UpgradeOutcome::ManagerRefused { .. }));
        assert_eq!(sim.next(), [Effect::StartManager(Start::Normal)]);
    }
}

#[test]
fn a_new_manager_that_becomes_live_and_then_crashes_or_hangs_gives_way_too() {
    for hangs in [false, true] {
        let mut sim = Sim::live();
        sim.upgrade_manager();
        sim.manager_dies(Exit::Code(0));
        sim.next();
        sim.become_live();
        if hangs {
            assert!(sim.next().contains(&Effect::SignalManager(ABRT)), "it was asked and did not answer");
        }
        assert!(sim.manager_dies(CRASH).contains(&Effect::TakeProgramBack));
        assert!(matches!(sim.outcome(), UpgradeOutcome::ManagerRefused { .. }));
    }
}

#[test]
fn a_new_manager_that_somebody_else_kills_is_tried_again_but_not_for_ever() {
    let mut sim = Sim::live();
    sim.upgrade_manager();
    sim.manager_dies(Exit::Code(0));
    for _ in 0..3 {
        sim.next();
        sim.become_live();
        let effects = sim.manager_dies(Exit::Signal { signal: KILL, core: false });
        assert!(!effects.contains(&Effect::TakeProgramBack), "{effects:?}");
    }
    sim.next();
    assert!(sim.manager_dies(Exit::Signal { signal: KILL, core: false }).contains(&Effect::TakeProgramBack));
}

#[test]
fn the_program_is_become_only_after_a_trial_that_passed_and_while_a_manager_is_live() {
    const PASSED: Exit = Exit::Code(crate::entry::TRIAL_PASSED);
    let mut sim = Sim::live();
    let trial = sim.try_keeper();
    sim.manager_dies(CRASH);
    assert_eq!(sim.ends(trial, PASSED), [Effect::ForgetTrial], "not while nobody is there to be handed over");
    sim.next();
    sim.ask(Request::Hello { min: 1, max: 9, features: 0, build: String::new() });
    assert_eq!(sim.ask(Request::Ready), [Effect::Become]);
    sim.at(0, Input::NotBecome { why: "it cannot".into() });
    assert_eq!(*sim.outcome(), UpgradeOutcome::KeeperRefused { why: "it cannot".into() });
}

#[test]
fn a_trial_that_fails_or_takes_too_long_changes_nothing() {
    let mut sim = Sim::live();
    let trial = sim.try_keeper();
    assert_eq!(sim.ends(trial, Exit::Code(0)), [Effect::ForgetTrial], "any other program exits so");
    assert!(matches!(sim.outcome(), UpgradeOutcome::KeeperRefused { .. }));
    sim.ask(Request::UpgradeSeen);
    assert_eq!(sim.table.upgrade, Upgrade::None);
    let trial = sim.try_keeper();
    assert_eq!(sim.next(), [Effect::KillTrial]);
    assert_eq!(next_deadline(&sim.table), None, "killed once");
    sim.ends(trial, Exit::Signal { signal: KILL, core: false });
    assert!(matches!(sim.outcome(), UpgradeOutcome::KeeperRefused { why } if why.contains("in time")));
}

#[test]
fn nothing_else_is_asked_for_while_an_upgrade_is_under_way() {
    let mut sim = Sim::live();
    sim.try_keeper();
    assert!(sim.upgrade_manager().contains(&Effect::SignalManager(KILL)));
}

#[test]
fn a_stop_of_everything_is_not_held_up_by_a_program_that_could_be_become() {
    let mut sim = Sim::live();
    let trial = sim.try_keeper();
    sim.ask(Request::Exit { code: 0 });
    assert_eq!(sim.ends(trial, Exit::Code(crate::entry::TRIAL_PASSED)), [Effect::ForgetTrial]);
}
