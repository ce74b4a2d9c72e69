//! Random histories: random plans, commands and processes, reports late and doubled, managers killed after any
//! action. The promises are checked at every action (`sim/checks.rs`).

mod sim;

use std::panic::{AssertUnwindSafe, catch_unwind};

use sim::run::Unkindness;
use sim::world::Happening;
use sim::{Sim, plans};
use svd_core::{Command, InstanceName, SpawnId, State};

#[derive(Clone, Copy)]
enum Deaths {
    None,
    Some,
}

/// One history: a wild time, then a calm one until nothing moves, then the manager's death at rest, then the end.
fn history(seed: u64, deaths: Deaths, sim: &mut Option<Sim>, trace: bool) {
    let mut rng = fastrand::Rng::with_seed(seed);
    let plan = plans::random(&mut rng);
    let unkind = Unkindness {
        deaths: match deaths {
            Deaths::None => 0,
            Deaths::Some => rng.u32(5..60),
        },
        late: [0, 0, 20, 400][rng.usize(..4)],
        doubled: [0, 5][rng.usize(..2)],
        wild: true,
    };
    let s = sim.insert(Sim::new(seed, plan, unkind));
    s.trace = trace.then(Vec::new);
    for _ in 0..rng.u32(0..8) {
        let at = rng.u64(0..15_000);
        s.world.later(at, Happening::Command);
    }
    s.up();
    s.run_for(20_000);
    s.unkind = Unkindness::default();
    s.run_until_idle();
    if s.finished.is_none() {
        a_death_at_rest_changes_nothing(s);
        s.command(Command::Shutdown { now: rng.bool() });
        s.run_until_idle();
        if s.finished.is_none() {
            s.broken("it does not end");
        }
    }
}

type Picture = (InstanceName, State, Option<SpawnId>, Option<i32>, u32);

fn a_death_at_rest_changes_nothing(s: &mut Sim) {
    let picture = |s: &Sim| -> Vec<Picture> {
        let core = s.core.as_ref().expect("up");
        // That one is ill is found out again by its probes.
        let state = |state| if state == State::Unhealthy { State::Ready } else { state };
        core.view().map(|v| (v.name, state(v.state), v.spawn, v.pid, v.restarts)).collect()
    };
    let before = picture(s);
    let spawns = s.world.last_spawn;
    s.down();
    s.run_until_idle();
    if spawns != s.world.last_spawn {
        s.broken("a death at rest started something");
    }
    let after = picture(s);
    // A one-shot that had ended well in the instant before it was signalled for being late: the manager that sent the
    // signal could not know, the next one sees that no signal arrived.
    let better = |(a, b): (&Picture, &Picture)| {
        a.0 == b.0 && a.1 == State::Failed && matches!(b.1, State::Completed | State::Stopped)
    };
    let same = |pair: (&Picture, &Picture)| pair.0 == pair.1 || better(pair);
    if before.len() != after.len() || !before.iter().zip(&after).all(same) {
        s.note(|| format!("{before:?}\n{after:?}"));
        s.broken("a death at rest changed something");
    }
}

fn histories(from: u64, count: u64, deaths: Deaths) {
    for seed in from..from + count {
        if catch_unwind(AssertUnwindSafe(|| history(seed, deaths, &mut None, false))).is_ok() {
            continue;
        }
        let mut sim = None;
        let _ = catch_unwind(AssertUnwindSafe(|| history(seed, deaths, &mut sim, true)));
        let s = sim.expect("it got as far before");
        eprintln!(
            "plan: {:#?}",
            s.plan
                .processes
                .iter()
                .map(|p| (
                    &p.name,
                    p.count,
                    &p.after,
                    p.oneshot,
                    &p.ready,
                    &p.restart,
                    &p.stop,
                    &p.update,
                    p.is_gated()
                ))
                .collect::<Vec<_>>()
        );
        eprintln!("{}", s.trace.unwrap_or_default().join("\n"));
        panic!("seed {seed} breaks a promise (see above)");
    }
}

#[test]
fn promises_hold_in_30000_histories_with_one_manager() {
    histories(0, 30_000, Deaths::None);
}

/// Fault 40.
#[test]
fn promises_hold_in_40000_histories_with_managers_killed_after_any_action() {
    histories(1_000_000, 40_000, Deaths::Some);
}

#[test]
fn promises_hold_in_40000_more_histories_with_managers_killed_after_any_action() {
    histories(2_000_000, 40_000, Deaths::Some);
}
