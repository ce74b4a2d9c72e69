//! What the core does, told as scenes: one behaviour each, in a kind world with scripted processes.

mod sim;

use std::sync::Arc;

use sim::Sim;
use sim::plans::{after, count, oneshot, plan, process, tcp};
use sim::run::Unkindness;
use sim::world::{Character, Left, StartsBy};
use svd_config::plan::{Condition, ProcessPlan, RestartLimit, RestartWhen, StopStep};
use svd_core::*;

fn world(processes: Vec<ProcessPlan>) -> Sim {
    Sim::new(1, plan(processes), Unkindness::default())
}

fn target(text: &str) -> Target {
    match text.split_once('.') {
        Some((process, index)) => Target { process: process.into(), index: Some(index.parse().expect("a number")) },
        None => Target { process: text.into(), index: None },
    }
}

fn name(text: &str) -> InstanceName {
    let target = target(text);
    InstanceName { process: target.process, index: target.index.expect("an instance") }
}

impl Sim {
    fn script(&mut self, instance: &str, characters: Vec<Character>) {
        self.characters.insert(instance.to_owned(), characters);
    }

    fn view(&self, instance: &str) -> InstanceView {
        let mut all = self.core.as_ref().expect("up").view();
        all.find(|view| view.name == name(instance)).expect("an instance of this name")
    }

    #[track_caller]
    fn states(&self, expect: &str) {
        let all = self.core.as_ref().expect("up").view();
        let states: Vec<String> = all.map(|view| format!("{}={}", view.name, view.state.word())).collect();
        assert_eq!(states.join(" "), expect);
    }

    fn order_of(&self, wanted: impl Fn(&FactKind) -> bool) -> Vec<String> {
        let facts = self.facts.iter().filter(|(_, fact)| wanted(&fact.kind));
        facts.filter_map(|(_, fact)| fact.instance.as_ref().map(ToString::to_string)).collect()
    }
}

fn ends(after: u64, exit: ExitStatus) -> Character {
    Character { ends: Some((after, exit)), ..Character::good(false) }
}

#[test]
fn processes_start_in_the_order_of_after_and_stop_in_reverse() {
    // given web after worker after redis
    let mut sim = world(vec![
        after(process("web"), "worker", Condition::Ready),
        after(tcp(count(process("worker"), 2)), "redis", Condition::Ready),
        tcp(process("redis")),
    ]);
    // when all is started and stopped
    sim.up();
    sim.states("web.1=waiting worker.1=waiting worker.2=waiting redis.1=starting");
    let waits = sim.view("worker.1").reason.map(|reason| reason.to_string());
    assert_eq!(waits.as_deref(), Some("waits for redis to be ready (redis.1 is starting)"));
    sim.run_until_idle();
    sim.states("web.1=ready worker.1=ready worker.2=ready redis.1=ready");
    sim.command(Command::Shutdown { now: false });
    sim.run_until_idle();
    // then
    let starts = sim.order_of(|kind| matches!(kind, FactKind::Starting));
    assert_eq!(starts, ["redis.1", "worker.1", "worker.2", "web.1"]);
    let stops = sim.order_of(|kind| matches!(kind, FactKind::Stopping(_)));
    assert_eq!(stops, ["web.1", "worker.1", "worker.2", "redis.1"]);
    assert_eq!(sim.finished, Some(0));
}

/// Fault 38.
#[test]
fn two_hundred_instances_start_sixty_four_at_a_time() {
    let mut sim = world(vec![tcp(count(process("web"), 200))]);
    sim.up();
    assert_eq!(sim.world.last_spawn, MAX_STARTING as u64);
    sim.run_until_idle();
    assert_eq!(sim.world.last_spawn, 200);
}

#[test]
fn a_program_that_is_not_found_is_given_up_at_once() {
    let mut sim = world(vec![process("web")]);
    let failure =
        SpawnFailure { message: "cannot run \"gunicorn\": not found".to_owned(), code: 127, transient: false };
    sim.script("web.1", vec![Character { start: StartsBy::Failing(failure), ..Character::good(false) }]);
    sim.up();
    sim.run_until_idle();
    assert_eq!(sim.view("web.1").state, State::Failed);
    assert_eq!(sim.world.last_spawn, 1);
}

/// Fault 19.
#[test]
fn a_host_without_room_is_tried_again_beyond_the_limit() {
    let mut sim = world(vec![process("web")]);
    let failure = SpawnFailure { message: "no processes left".to_owned(), code: 200, transient: true };
    sim.script("web.1", vec![Character { start: StartsBy::Failing(failure), ..Character::good(false) }; 8]);
    sim.up();
    sim.run_until_idle();
    sim.states("web.1=ready");
    assert_eq!(sim.view("web.1").restarts, 8);
}

/// Fault 37.
#[test]
fn a_crash_loop_is_paced_and_then_given_up() {
    let mut sim = world(vec![process("web")]);
    sim.script("web.1", vec![ends(10, ExitStatus::Code(3)); 9]);
    sim.up();
    sim.run_until_idle();
    // three restarts are allowed in the window: four starts in all
    assert_eq!(sim.world.last_spawn, 4);
    let why = sim.view("web.1").reason.map(|reason| reason.to_string());
    assert_eq!(why.as_deref(), Some("exited with code 3; more than 3 restarts in 60 s"));
    assert!(sim.world.now.0 >= 1_000_000_000 + 3_500_000_000, "0.5 + 1 + 2 s of pauses");
}

#[test]
fn back_off_goes_on_where_a_killed_manager_left_it() {
    let mut sim = world(vec![process("web")]);
    sim.script("web.1", vec![ends(10, ExitStatus::Code(3)); 3]);
    sim.up();
    for _ in 0..100 {
        sim.run_for(30);
        if sim.core.is_some() {
            sim.down();
        }
        sim.up();
    }
    sim.run_until_idle();
    sim.states("web.1=ready");
    assert_eq!(sim.world.last_spawn, 4);
}

#[test]
fn what_is_left_after_an_exit_does_not_delay_the_restart() {
    let mut sim = world(vec![process("web")]);
    let leaver = Character { leaves: Left::Stubborn, ..ends(100, ExitStatus::Code(0)) };
    sim.script("web.1", vec![leaver]);
    sim.up();
    sim.run_for(1000);
    // then the second runs while the first one's child still lives
    sim.states("web.1=ready");
    assert_eq!(sim.world.kept.len(), 2);
    // and after the ladder's time that is killed and forgotten
    sim.run_until_idle();
    assert_eq!(sim.world.kept.len(), 1);
    assert_eq!(sim.order_of(|kind| *kind == FactKind::LeftOver), ["web.1"]);
}

#[test]
fn a_program_that_ignores_term_is_killed_after_the_ladders_time() {
    let mut sim = world(vec![process("web")]);
    sim.script("web.1", vec![Character { obeys: None, ..Character::good(false) }]);
    sim.up();
    sim.run_for(100);
    let op = sim.command(Command::Stop(vec![target("web")]));
    sim.run_for(1990);
    assert_eq!(sim.view("web.1").state, State::Stopping);
    sim.run_for(20);
    assert_eq!(sim.view("web.1").state, State::Stopped);
    assert_eq!(sim.view("web.1").exit, Some(ExitStatus::Signal { signal: 9, core: false }));
    assert_eq!(sim.outcomes[&op], Outcome::Done("stopped web.1".to_owned()));
    assert_eq!(sim.order_of(|kind| *kind == FactKind::Escalated), ["web.1"]);
}

#[test]
fn a_killed_manager_sends_no_second_term_and_gives_no_second_grace() {
    let mut sim = world(vec![process("web")]);
    sim.script("web.1", vec![Character { obeys: None, ..Character::good(false) }]);
    sim.up();
    sim.run_for(100);
    sim.command(Command::Stop(vec![target("web")]));
    sim.run_for(1000);
    sim.down();
    sim.up();
    sim.run_for(990);
    assert_eq!(sim.view("web.1").state, State::Stopping);
    sim.run_for(20);
    assert_eq!(sim.view("web.1").state, State::Stopped);
    assert_eq!(sim.world.kept[&SpawnId(1)].signals, [15, 18, 9]);
}

/// Fault 15.
#[test]
fn what_does_not_die_is_stuck_gets_no_second_copy_and_does_not_hold_up_the_end() {
    let mut sim = world(vec![process("web"), process("worker")]);
    sim.script("web.1", vec![Character { immortal: true, ..Character::good(false) }]);
    sim.up();
    sim.run_for(100);
    let restart = sim.command(Command::Restart(vec![target("web")]));
    sim.run_until_idle();
    sim.states("web.1=stuck worker.1=ready");
    assert_eq!(sim.outcomes[&restart], Outcome::Failed("web.1 is stuck: KILL did not end it".to_owned()));
    let start = sim.command(Command::Start(vec![target("web")]));
    assert!(matches!(&sim.outcomes[&start], Outcome::Refused(why) if why.contains("no second copy")));
    sim.command(Command::Shutdown { now: false });
    sim.run_until_idle();
    assert_eq!(sim.finished, Some(1));
}

#[test]
fn what_was_stuck_and_ends_after_all_is_stopped() {
    let mut sim = world(vec![process("web")]);
    sim.script("web.1", vec![Character { immortal: true, ..Character::good(false) }]);
    sim.up();
    sim.run_for(100);
    sim.command(Command::Stop(vec![target("web")]));
    sim.run_for(60_000);
    sim.states("web.1=stuck");
    sim.world.exit(SpawnId(1), ExitStatus::Signal { signal: 9, core: false });
    sim.world.later(0, sim::world::Happening::Evidence(SpawnId(1)));
    sim.run_until_idle();
    sim.states("web.1=stopped");
}

#[test]
fn a_one_shot_completes_once_and_what_comes_after_it_waits_for_that() {
    let mut sim = world(vec![oneshot(process("migrate")), after(process("web"), "migrate", Condition::Ready)]);
    sim.up();
    sim.run_for(100);
    sim.states("migrate.1=ready web.1=waiting");
    sim.run_until_idle();
    sim.states("migrate.1=completed web.1=ready");
    sim.down();
    sim.run_until_idle();
    sim.states("migrate.1=completed web.1=ready");
    let op = sim.command(Command::Start(vec![target("migrate")]));
    assert_eq!(sim.outcomes[&op], Outcome::Done("nothing to change".to_owned()));
    sim.command(Command::Restart(vec![target("migrate")]));
    sim.run_until_idle();
    assert_eq!(sim.world.last_spawn, 3);
}

#[test]
fn a_failed_one_shot_keeps_what_comes_after_it_waiting_and_says_why() {
    let mut sim = world(vec![oneshot(process("migrate")), after(process("web"), "migrate", Condition::Completed)]);
    sim.script("migrate.1", vec![ends(50, ExitStatus::Code(2))]);
    sim.up();
    sim.run_until_idle();
    sim.states("migrate.1=failed web.1=waiting");
    let why = sim.view("web.1").reason.map(|reason| reason.to_string());
    assert_eq!(why.as_deref(), Some("waits for migrate to complete (migrate.1: exited with code 2)"));
    let op = sim.command(Command::Start(vec![target("web")]));
    assert!(matches!(&sim.outcomes[&op], Outcome::Refused(why) if why.contains("svctl start migrate web")));
    sim.command(Command::Start(vec![target("migrate"), target("web")]));
    sim.run_until_idle();
    sim.states("migrate.1=completed web.1=ready");
}

#[test]
fn a_restart_takes_one_instance_after_the_other() {
    let mut sim = world(vec![tcp(count(process("web"), 3))]);
    sim.up();
    sim.run_until_idle();
    let op = sim.command(Command::Restart(vec![target("web")]));
    while !sim.outcomes.contains_key(&op) {
        let core = sim.core.as_ref().expect("up");
        assert!(core.view().filter(|view| view.state == State::Ready).count() >= 2);
        assert!(sim.advance(Time(u64::MAX)));
    }
    assert_eq!(sim.outcomes[&op], Outcome::Done("restarted web.1, web.2, web.3".to_owned()));
    assert_eq!(sim.world.last_spawn, 6);
}

#[test]
fn a_restart_that_does_not_come_up_costs_one_instance_and_leaves_the_others() {
    let mut sim = world(vec![tcp(count(process("web"), 3))]);
    sim.up();
    sim.run_until_idle();
    sim.script("web.1", vec![ends(20, ExitStatus::Code(1)); 9]);
    let op = sim.command(Command::Restart(vec![target("web")]));
    sim.run_until_idle();
    assert!(matches!(&sim.outcomes[&op], Outcome::Failed(why) if why.starts_with("web.1 exited with code 1")));
    sim.states("web.1=failed web.2=ready web.3=ready");
    assert_eq!(sim.view("web.2").spawn, Some(SpawnId(2)));
    assert!(sim.desired.generation[&name("web.2")] == 0 && sim.desired.generation[&name("web.3")] == 0);
}

#[test]
fn a_restart_goes_on_under_the_next_manager() {
    let mut sim = world(vec![tcp(count(process("web"), 3))]);
    sim.up();
    sim.run_until_idle();
    sim.command(Command::Restart(vec![target("web")]));
    sim.run_for(120);
    sim.down();
    sim.run_until_idle();
    sim.states("web.1=ready web.2=ready web.3=ready");
    assert_eq!(sim.world.last_spawn, 6);
}

#[test]
fn what_was_stopped_by_hand_stays_stopped_under_the_next_manager() {
    let mut sim = world(vec![count(process("web"), 2)]);
    sim.up();
    sim.run_for(100);
    sim.command(Command::Stop(vec![target("web")]));
    sim.run_until_idle();
    sim.down();
    sim.run_until_idle();
    sim.states("web.1=stopped web.2=stopped");
    let op = sim.command(Command::Start(vec![target("web.2")]));
    sim.run_until_idle();
    sim.states("web.1=stopped web.2=ready");
    assert_eq!(sim.outcomes[&op], Outcome::Done("started web.2".to_owned()));
}

#[test]
fn scaling_touches_only_what_is_added_or_taken_away() {
    let mut sim = world(vec![count(process("web"), 2), process("worker")]);
    sim.up();
    sim.run_until_idle();
    let up = sim.command(Command::Scale(vec![("web".into(), 4)]));
    sim.run_until_idle();
    assert_eq!(sim.outcomes[&up], Outcome::Done("started web.3, web.4".to_owned()));
    let down = sim.command(Command::Scale(vec![("web".into(), 1)]));
    sim.run_until_idle();
    assert_eq!(sim.outcomes[&down], Outcome::Done("stopped web.2, web.3, web.4".to_owned()));
    sim.states("web.1=ready worker.1=ready");
    assert_eq!(sim.view("web.1").spawn, Some(SpawnId(1)));
    assert_eq!(sim.world.kept.len(), 2);
}

#[test]
fn a_new_plan_changes_only_what_it_changes() {
    let mut sim = world(vec![process("old"), process("same"), process("web")]);
    sim.up();
    sim.run_until_idle();
    let next = plan(vec![process("same"), process("web"), process("new")]);
    let same = sim.command(Command::Apply { plan: sim.plan.clone(), restart: vec![] });
    assert_eq!(sim.outcomes[&same], Outcome::Done("nothing to change".to_owned()));
    let op = sim.command(Command::Apply { plan: next, restart: vec![Arc::from("web")] });
    sim.run_until_idle();
    let done = "started new.1; restarted web.1; stopped old.1";
    assert_eq!(sim.outcomes[&op], Outcome::Done(done.to_owned()));
    sim.states("same.1=ready web.1=ready new.1=ready");
    assert_eq!(sim.view("same.1").spawn, Some(SpawnId(2)));
}

#[test]
fn an_essential_process_that_fails_ends_all_with_its_code() {
    for (exit, code) in
        [(ExitStatus::Code(7), 7), (ExitStatus::Signal { signal: 11, core: true }, 139), (ExitStatus::Unknown, 1)]
    {
        let mut main = process("main");
        main.essential = true;
        main.restart.when = RestartWhen::Never;
        let mut sim = world(vec![main, process("web")]);
        sim.script("main.1", vec![ends(500, exit)]);
        sim.up();
        sim.run_until_idle();
        assert_eq!(sim.finished, Some(code));
    }
}

#[test]
fn a_shutdown_at_the_moment_of_an_essential_failure_still_tells_its_code() {
    let mut main = process("main");
    main.essential = true;
    main.restart.limit = Some(RestartLimit { count: 0, window: sim::plans::ms(1000) });
    let mut sim = world(vec![main, after(process("web"), "main", Condition::Started)]);
    sim.script("main.1", vec![ends(500, ExitStatus::Code(4))]);
    sim.script("web.1", vec![Character { obeys: Some((900, ExitStatus::Code(0))), ..Character::good(false) }]);
    sim.up();
    sim.run_for(300);
    // the shutdown stops web first; main fails before its turn comes
    sim.command(Command::Shutdown { now: false });
    sim.run_until_idle();
    assert_eq!(sim.finished, Some(4));
}

#[test]
fn a_shutdown_while_all_is_starting_leaves_nothing() {
    let mut sim = world(vec![tcp(count(process("web"), 100))]);
    sim.up();
    let start = sim.command(Command::Start(vec![target("web")]));
    let end = sim.command(Command::Shutdown { now: false });
    sim.run_until_idle();
    assert_eq!(sim.finished, Some(0));
    assert_eq!(sim.outcomes[&start], Outcome::Failed("superseded by shutdown".to_owned()));
    assert_eq!(sim.outcomes[&end], Outcome::Done("all stopped".to_owned()));
}

#[test]
fn a_second_shutdown_hastens_the_first() {
    let mut slow = process("web");
    slow.stop = vec![StopStep::Signal(15), StopStep::Wait(sim::plans::ms(600_000))];
    let mut sim = world(vec![slow]);
    sim.script("web.1", vec![Character { obeys: None, ..Character::good(false) }]);
    sim.up();
    sim.run_for(100);
    sim.command(Command::Shutdown { now: false });
    sim.run_for(1000);
    assert_eq!(sim.finished, None);
    sim.command(Command::Shutdown { now: true });
    sim.run_for(100);
    assert_eq!(sim.finished, Some(0));
}

#[test]
fn a_service_that_is_not_ready_in_time_is_stopped_and_counts_as_failed() {
    let mut sim = world(vec![tcp(process("web"))]);
    sim.script("web.1", vec![Character { ready: None, ..Character::good(false) }]);
    sim.up();
    let op = sim.command(Command::Start(vec![target("web")]));
    sim.run_until_idle();
    let why = "web.1 was not ready within 3.0 s; svd goes on trying";
    assert_eq!(sim.outcomes[&op], Outcome::Failed(why.to_owned()));
    sim.states("web.1=ready");
    assert_eq!(sim.view("web.1").restarts, 1);
}

#[test]
fn a_dry_run_tells_the_plan() {
    let mut sim = world(vec![count(process("web"), 2)]);
    sim.up();
    sim.run_until_idle();
    let core = sim.core.as_ref().expect("up");
    let words = core.dry_run(&Command::Scale(vec![("web".into(), 1)]));
    assert_eq!(words, Ok(vec!["scale web from 2 to 1".to_owned(), "web.2: stop".to_owned()]));
    let refused = core.dry_run(&Command::Stop(vec![target("wbe")]));
    assert_eq!(refused, Err("there is no process \"wbe\": svctl status lists them".to_owned()));
}

#[test]
fn a_thousand_instances_are_restarted_one_by_one_in_reasonable_time() {
    let mut sim = world(vec![tcp(count(process("web"), 1000))]);
    sim.up();
    sim.run_until_idle();
    let op = sim.command(Command::Restart(vec![target("web")]));
    sim.run_until_idle();
    assert!(matches!(&sim.outcomes[&op], Outcome::Done(_)));
    assert_eq!(sim.world.last_spawn, 2000);
}
