//! How running instances are replaced, told as scenes: by others beside them, through the gate, failing closed.

mod sim;

use std::sync::Arc;
use std::time::Duration;

use sim::Sim;
use sim::plans::{QUIET, count, gated, ms, plan, process, tcp};
use sim::run::Unkindness;
use sim::world::Character;
use svd_config::plan::{CanaryStep, DrainedPlan, Late, ProcessPlan, Run, StopStep, Strategy};
use svd_core::*;

fn world(processes: Vec<ProcessPlan>) -> Sim {
    let mut sim = Sim::new(1, plan(processes), Unkindness::default());
    sim.up();
    sim.run_until_idle();
    sim
}

fn target(process: &str) -> Target {
    Target { process: process.into(), index: None }
}

fn ends(after: u64, code: u8) -> Character {
    Character { ends: Some((after, ExitStatus::Code(code))), ..Character::good(false) }
}

fn never_ready() -> Character {
    Character { ready: None, ..Character::good(false) }
}

impl Sim {
    fn restart(&mut self, process: &str) -> OpId {
        self.command(Command::Restart(vec![target(process)]))
    }

    fn apply(&mut self, processes: Vec<ProcessPlan>, restart: &[&str]) -> OpId {
        let restart = restart.iter().map(|name| Arc::from(*name)).collect();
        self.command(Command::Apply { plan: plan(processes), restart })
    }

    fn script(&mut self, instance: &str, characters: Vec<Character>) {
        self.characters.insert(instance.to_owned(), characters);
    }

    /// `web.1=ready`, with a + for a candidate and a - for one that was replaced.
    #[track_caller]
    fn states(&self, expect: &str) {
        let shown = self.core.as_ref().expect("up").view().map(|view| {
            let mark = match view.seat {
                Seat::Current => "",
                Seat::Candidate => "+",
                Seat::Replaced => "-",
            };
            format!("{mark}{}={}", view.name, view.state.word())
        });
        assert_eq!(shown.collect::<Vec<_>>().join(" "), expect);
    }

    fn gate(&self, process: &str) -> Vec<(u8, u32)> {
        self.gates[process].iter().map(|(slot, weight)| (slot.0, *weight)).collect()
    }

    /// The spawns that run for an instance, oldest first.
    fn spawns(&self, process: &str, index: u32) -> Vec<u64> {
        let name = InstanceName::new(process, index);
        self.world.kept.iter().filter(|(_, kept)| kept.instance == name && kept.is_live()).map(|(id, _)| id.0).collect()
    }

    fn rolled_back(&self, op: OpId) -> &str {
        match &self.outcomes[&op] {
            Outcome::RolledBack(why) => why,
            other => panic!("{other:?}"),
        }
    }

    fn until(&mut self, what: &str, met: impl Fn(&Sim) -> bool) {
        while !met(self) {
            assert!(self.advance(Time(u64::MAX)), "never: {what}");
        }
    }
}

#[test]
fn a_new_one_is_proven_before_the_gate_turns_and_the_old_one_is_drained_before_it_is_told_to_end() {
    // given
    let mut sim = world(vec![gated(process("web"))]);
    assert_eq!(sim.gate("web"), [(0, 1)]);
    // when
    let op = sim.restart("web");
    sim.states("web.1=ready +web.1=starting");
    sim.run_for(50);
    // then nobody is sent to it before it is ready
    assert_eq!(sim.gate("web"), [(0, 1)]);
    sim.until("the gate turns", |sim| sim.gate("web") == [(1, 1)]);
    sim.states("web.1=ready -web.1=draining");
    assert!(sim.world.kept[&SpawnId(1)].signals.is_empty());
    assert_eq!(
        sim.outcomes[&op],
        Outcome::Done("restarted web.1; still finishing what they have: web.1 (pid 101)".into())
    );
    sim.until("its queue is empty", |sim| !sim.world.kept[&SpawnId(1)].queue);
    sim.run_until_idle();
    sim.states("web.1=ready");
    assert_eq!(sim.spawns("web", 1), [2]);
}

#[test]
fn the_first_of_a_generation_is_alone_until_it_is_ready_then_surge_says_how_many_follow() {
    let mut web = gated(count(process("web"), 4));
    web.update.surge = 2;
    let mut sim = world(vec![web]);
    sim.restart("web");
    sim.run_for(50);
    assert_eq!(sim.world.last_spawn, 5, "one more than the four");
    sim.run_until_idle();
    sim.states("web.1=ready web.2=ready web.3=ready web.4=ready");
    assert_eq!(sim.world.last_spawn, 8);
    assert_eq!(sim.gate("web").iter().map(|(_, weight)| weight).sum::<u32>(), 4);
}

#[test]
fn one_that_exits_before_it_is_ready_sees_no_user_and_costs_nobody_its_place() {
    let mut sim = world(vec![gated(count(process("web"), 2))]);
    sim.script("web.1", vec![ends(20, 3)]);
    let op = sim.restart("web");
    sim.run_until_idle();
    assert_eq!(sim.rolled_back(op), "the new web.1 exited with code 3 before it was ready; what ran before runs on");
    assert_eq!((sim.spawns("web", 1), sim.spawns("web", 2)), (vec![1], vec![2]));
    assert_eq!(sim.gate("web"), [(0, 1), (1, 1)]);
    assert_eq!(sim.world.last_spawn, 3, "the second was not even tried");
}

#[test]
fn one_that_is_never_ready_is_given_up_at_its_deadline_with_its_last_answer() {
    let mut sim = world(vec![gated(process("web"))]);
    sim.script("web.1", vec![never_ready()]);
    let op = sim.restart("web");
    sim.run_for(500);
    sim.step(Event::NotReady { spawn: SpawnId(2), why: "GET /healthz: answer 500".into() }, false);
    sim.run_until_idle();
    let why = "the new web.1 was not ready within 3.0 s; last try: GET /healthz: answer 500; what ran before runs on";
    assert_eq!(sim.rolled_back(op), why);
    assert_eq!(sim.spawns("web", 1), [1]);
}

#[test]
fn one_that_fails_while_it_bakes_gives_the_traffic_back() {
    let mut web = gated(process("web"));
    web.update.bake = ms(2000);
    let mut sim = world(vec![web]);
    sim.script("web.1", vec![ends(600, 1)]);
    let op = sim.restart("web");
    sim.until("it takes traffic", |sim| sim.gate("web") == [(1, 1)]);
    assert!(sim.world.kept[&SpawnId(1)].signals.is_empty(), "the old one is kept warm");
    sim.run_until_idle();
    assert_eq!(sim.gate("web"), [(0, 1)]);
    assert_eq!(sim.rolled_back(op), "the new web.1 exited with code 1; what ran before runs on");
}

#[test]
fn a_canary_gets_its_shares_for_their_times() {
    let mut web = gated(count(process("web"), 2));
    web.update.canary =
        vec![CanaryStep { percent: 10, hold: ms(60_000) }, CanaryStep { percent: 50, hold: ms(60_000) }];
    let mut sim = world(vec![web]);
    sim.restart("web");
    sim.run_for(1000);
    // 20 of 200 go to the one new one
    assert_eq!(sim.gate("web"), [(0, 90), (1, 90), (2, 20)]);
    sim.run_for(60_000);
    assert_eq!(sim.gate("web"), [(0, 50), (1, 50), (2, 100)]);
    sim.run_until_idle();
    assert_eq!(sim.gate("web").iter().map(|(_, weight)| *weight).collect::<Vec<_>>(), [1, 1]);
    sim.states("web.1=ready web.2=ready");
}

#[test]
fn an_old_one_that_crashes_while_the_new_one_is_tried_is_started_again_as_it_was() {
    let mut sim = world(vec![gated(process("web"))]);
    sim.script("web.1", vec![never_ready()]);
    sim.restart("web");
    sim.run_for(100);
    sim.world.exit(SpawnId(1), ExitStatus::Signal { signal: 11, core: false });
    sim.world.later(0, sim::world::Happening::Evidence(SpawnId(1)));
    sim.until("it is back", |sim| sim.spawns("web", 1) == [2, 3]);
    let back = &sim.world.kept[&SpawnId(3)];
    assert_eq!((back.lineage.generation, back.lineage.slot, back.lineage.origin), (0, Slot(0), Origin::Place));
    sim.run_until_idle();
    assert_eq!(sim.spawns("web", 1), [3]);
}

#[test]
fn an_apply_that_fails_in_one_process_is_taken_back_in_all() {
    // given
    let (web, api) = (gated(process("web")), gated(process("api")));
    let mut sim = world(vec![web.clone(), api.clone()]);
    // when web comes up by the new config and api does not
    let newer = |mut process: ProcessPlan| {
        process.exec.port += 1;
        process
    };
    sim.script("api.1", vec![Character { ready: Some(1500), ..ends(1000, 7) }]);
    let op = sim.apply(vec![newer(web.clone()), newer(api.clone())], &["web", "api"]);
    sim.until("the new web serves", |sim| sim.gate("web") == [(1, 1)]);
    sim.run_until_idle();
    // then both run by the old one, and no manager will ever know otherwise
    let why = "the new api.1 exited with code 7 before it was ready; the config before is in force again";
    assert_eq!(sim.rolled_back(op), why);
    assert_eq!(sim.config.process("web"), Some(&web));
    assert_eq!(sim.core.as_ref().map(|core| core.plan().process("api").cloned()), Some(Some(api)));
    assert_eq!(sim.spawns("web", 1), [5]);
    assert_eq!(sim.before, None);
}

#[test]
fn where_the_old_config_does_not_come_up_either_nothing_healthy_is_stopped() {
    let (web, api) = (gated(process("web")), gated(process("api")));
    let mut sim = world(vec![web.clone(), api.clone()]);
    let newer = |mut process: ProcessPlan| {
        process.exec.port += 1;
        process
    };
    sim.script("web.1", vec![Character::good(false), ends(10, 9)]);
    sim.script("api.1", vec![Character { ready: Some(1500), ..ends(1000, 7) }]);
    let op = sim.apply(vec![newer(web), newer(api)], &["web", "api"]);
    sim.run_until_idle();
    assert!(
        matches!(&sim.outcomes[&op], Outcome::Held(why) if why.contains("exited with code 9")),
        "{:?}",
        sim.outcomes
    );
    sim.states("web.1=ready api.1=ready");
}

#[test]
fn a_handover_quiets_the_old_one_first_and_starts_it_anew_where_the_new_one_fails() {
    let mut worker = tcp(process("worker"));
    worker.update.strategy = Strategy::Handover;
    worker.quiet = Some(QUIET);
    let mut sim = world(vec![worker]);
    sim.script("worker.1", vec![ends(20, 1)]);
    let op = sim.restart("worker");
    assert_eq!(sim.world.kept[&SpawnId(1)].signals, [QUIET]);
    sim.run_until_idle();
    assert!(sim.rolled_back(op).starts_with("the new worker.1 exited with code 1"));
    // one that takes no new work is of no use
    assert_eq!(sim.spawns("worker", 1), [3]);
    sim.states("worker.1=ready");
}

#[test]
fn the_proof_that_a_worker_has_finished_comes_before_its_stop_ladder() {
    let mut worker = tcp(process("worker"));
    worker.update.strategy = Strategy::Handover;
    let run = Run::Literal(vec!["busy".to_owned()]);
    worker.drained = Some(DrainedPlan { run, every: ms(100), timeout: None });
    let mut sim = world(vec![worker]);
    sim.world.kept.get_mut(&SpawnId(1)).expect("it runs").character.drains = Some(3_600_000);
    sim.restart("worker");
    sim.run_for(3_000_000);
    sim.states("worker.1=ready -worker.1=draining");
    assert!(sim.world.kept[&SpawnId(1)].signals.is_empty());
    sim.run_until_idle();
    sim.states("worker.1=ready");
}

#[test]
fn a_drain_whose_proof_does_not_come_ends_at_its_timeout() {
    let mut worker = tcp(process("worker"));
    worker.update.strategy = Strategy::Handover;
    let run = Run::Literal(vec!["busy".to_owned()]);
    worker.drained = Some(DrainedPlan { run, every: ms(100), timeout: Some(ms(5000)) });
    let mut sim = world(vec![worker]);
    sim.world.kept.get_mut(&SpawnId(1)).expect("it runs").character.drains = None;
    sim.restart("worker");
    sim.run_until_idle();
    let late = |fact: &FactKind| matches!(fact, FactKind::DrainTimeout(after) if *after == Duration::from_secs(5));
    assert!(sim.facts.iter().any(|(_, fact)| late(&fact.kind)));
    sim.states("worker.1=ready");
}

#[test]
fn a_ladder_without_end_leaves_an_old_one_to_its_work_until_somebody_knows_better() {
    let mut worker = tcp(process("worker"));
    worker.update.strategy = Strategy::Handover;
    worker.stop = vec![StopStep::Signal(15), StopStep::Forever];
    let mut sim = world(vec![worker]);
    sim.world.kept.get_mut(&SpawnId(1)).expect("it runs").character.obeys = None;
    let op = sim.restart("worker");
    sim.run_for(86_400_000);
    assert!(matches!(&sim.outcomes[&op], Outcome::Done(done) if done.contains("still finishing")));
    sim.states("worker.1=ready -worker.1=stopping");
    assert_eq!(sim.world.kept[&SpawnId(1)].signals, [15, 18]);
    sim.down();
    sim.up();
    sim.run_for(86_400_000);
    assert_eq!(sim.world.kept[&SpawnId(1)].signals, [15, 18], "no manager tells it twice");
    let op = sim.command(Command::KillReplaced(vec![target("worker")]));
    sim.run_until_idle();
    assert_eq!(sim.outcomes[&op], Outcome::Done("killed what was left of earlier worker.1".into()));
    sim.states("worker.1=ready");
}

#[test]
fn ill_instances_are_replaced_one_by_one_and_one_that_cannot_be_serves_on() {
    let mut sim = world(vec![gated(count(process("web"), 3))]);
    for spawn in 1..=3 {
        sim.step(Event::Worn { spawn: SpawnId(spawn), why: Wear::Unhealthy("no answer".into()) }, false);
    }
    sim.states("web.1=unhealthy +web.1=starting web.2=unhealthy web.3=unhealthy");
    sim.run_until_idle();
    sim.states("web.1=ready web.2=unhealthy web.3=unhealthy");
    // their probes go on failing; each further one waits longer, in case that none is any better
    let mut tells = 0;
    while sim.world.last_spawn < 6 {
        sim.run_for(5_000);
        tells += 1;
        for spawn in 2..=3 {
            sim.step(Event::Worn { spawn: SpawnId(spawn), why: Wear::Unhealthy("no answer".into()) }, false);
        }
    }
    assert_eq!(tells, 2 + 4, "after 10 s and then 20 s");
    sim.run_until_idle();
    sim.states("web.1=ready web.2=ready web.3=ready");
    // and once more, without success
    sim.run_for(3_600_000);
    sim.script("web.1", vec![ends(10, 1)]);
    let spawn = SpawnId(sim.spawns("web", 1)[0]);
    sim.step(Event::Worn { spawn, why: Wear::Unhealthy("no answer".into()) }, false);
    sim.run_until_idle();
    sim.states("web.1=unhealthy web.2=ready web.3=ready");
    sim.step(Event::Recovered { spawn }, false);
    sim.states("web.1=ready web.2=ready web.3=ready");
}

#[test]
fn instances_that_are_old_are_replaced_apart_from_each_other_and_nobody_waits_awake_for_it() {
    let mut web = gated(count(process("web"), 2));
    web.recycle.age = Some(ms(1_000_000));
    let mut sim = Sim::new(1, plan(vec![web]), Unkindness::default());
    sim.up();
    sim.run_for(10_000);
    assert!(!sim.core.as_ref().expect("up").busy());
    sim.run_for(1_100_000);
    let starts: Vec<Time> =
        sim.facts.iter().filter(|(_, fact)| fact.kind == FactKind::Starting).map(|(at, _)| *at).collect();
    assert_eq!(starts.len(), 4);
    assert!(starts[3].since(starts[2]) > Duration::from_secs(1), "{starts:?}");
    sim.states("web.1=ready web.2=ready");
}

#[test]
fn one_that_never_listens_counts_where_the_config_says_so_but_does_not_replace_one_that_did() {
    // given a web of a plain Procfile, which may have its own idea of a port
    let mut web = gated(process("web"));
    web.ready.late = Late::Counts;
    let mut sim = Sim::new(1, plan(vec![web]), Unkindness::default());
    sim.script("web.1", vec![never_ready(), never_ready(), Character::good(false), never_ready()]);
    sim.up();
    sim.run_until_idle();
    sim.states("web.1=ready");
    // it is replaced by one like it, and that by one that listens
    let op = sim.restart("web");
    sim.run_until_idle();
    assert!(matches!(&sim.outcomes[&op], Outcome::Done(_)));
    sim.restart("web");
    sim.run_until_idle();
    // and that by none that does not
    let op = sim.restart("web");
    sim.run_until_idle();
    assert!(sim.rolled_back(op).starts_with("the new web.1 was not ready within"));
}

#[test]
fn what_is_scaled_away_leaves_the_traffic_first() {
    let mut sim = world(vec![gated(count(process("web"), 3))]);
    sim.command(Command::Scale(vec![("web".into(), 1)]));
    assert_eq!(sim.gate("web"), [(0, 1)]);
    sim.states("web.1=ready web.2=draining web.3=draining");
    sim.run_until_idle();
    sim.states("web.1=ready");
}

#[test]
fn connections_wait_for_the_only_instance_that_has_crashed() {
    let mut sim = world(vec![gated(process("web"))]);
    sim.world.exit(SpawnId(1), ExitStatus::Code(1));
    sim.world.later(0, sim::world::Happening::Evidence(SpawnId(1)));
    sim.run_until_idle();
    assert_eq!(sim.gate("web"), [(0, 1)]);
    assert_eq!(sim.world.kept[&SpawnId(2)].lineage.slot, Slot(0));
}

#[test]
fn a_replacement_goes_on_under_the_next_manager_wherever_it_was() {
    for moment in (0..2000).step_by(25) {
        let mut web = gated(count(process("web"), 2));
        web.update.bake = ms(300);
        let mut sim = world(vec![web]);
        sim.restart("web");
        sim.run_for(moment);
        sim.down();
        sim.run_until_idle();
        sim.states("web.1=ready web.2=ready");
        assert_eq!(sim.world.last_spawn, 4, "killed after {moment} ms");
    }
}
