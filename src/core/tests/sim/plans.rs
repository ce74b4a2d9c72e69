//! Plans: plain ones for scenarios, random ones for histories.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use svd_config::Plan;
use svd_config::plan::*;

pub fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

pub fn process(name: &str) -> ProcessPlan {
    ProcessPlan {
        name: name.to_owned(),
        count: 1,
        exec: ExecPlan {
            run: Run::Literal(vec!["x".to_owned()]),
            cwd: "/".into(),
            user: None,
            group: None,
            umask: None,
            nice: None,
            oom_score_adj: None,
            env: BTreeMap::new(),
            keep_env: vec![],
            rlimits: vec![],
            confine: Default::default(),
            port: 5000,
            input: None,
        },
        after: vec![],
        oneshot: false,
        essential: false,
        ready: ReadyPlan { by: ReadyBy::Started, timeout: ms(3000), late: Late::Fails },
        restart: RestartPlan {
            when: RestartWhen::Always,
            backoff_min: ms(500),
            backoff_max: ms(4000),
            limit: Some(RestartLimit { count: 3, window: ms(60_000) }),
            success_exit: vec![SuccessExit::Code(0)],
        },
        stop: vec![StopStep::Signal(15), StopStep::Wait(ms(2000)), StopStep::Signal(9)],
        reload_signal: 1,
        notify: NotifyPlan::default(),
        logs: LogPlan::Null,
        listen: Vec::new(),
        handoff: Handoff::Auto,
        update: UpdatePlan::default(),
        health: None,
        quiet: None,
        drained: None,
        recycle: RecyclePlan::default(),
        limits: Default::default(),
    }
}

pub fn tcp(mut p: ProcessPlan) -> ProcessPlan {
    p.ready.by = ReadyBy::Tcp { port: None };
    p
}

/// The signal that model processes take no new work after.
pub const QUIET: i32 = 20;

pub fn listener() -> ListenerPlan {
    let address = ListenAddress::Tcp { address: ([0, 0, 0, 0], 80).into(), v6only: false };
    ListenerPlan { name: "http".to_owned(), address, traffic: Traffic::Gated }
}

/// With a gated listener, replaced by others beside.
pub fn gated(mut p: ProcessPlan) -> ProcessPlan {
    p.listen = vec![listener()];
    p.update.strategy = Strategy::Overlap;
    tcp(p)
}

pub fn oneshot(mut p: ProcessPlan) -> ProcessPlan {
    p.oneshot = true;
    p.restart.when = RestartWhen::Never;
    p
}

pub fn count(mut p: ProcessPlan, n: u32) -> ProcessPlan {
    p.count = n;
    p
}

pub fn after(mut p: ProcessPlan, of: &str, condition: Condition) -> ProcessPlan {
    p.after.push(Dependency { process: of.to_owned(), condition });
    p
}

pub fn plan(processes: Vec<ProcessPlan>) -> Arc<Plan> {
    let control = ControlPlan {
        socket_mode: 0o600,
        socket_group: None,
        read_group: None,
        metrics: true,
        without_manager: svd_config::plan::WithoutManager::Keep,
    };
    Arc::new(Plan {
        app: "app".to_owned(),
        environment: None,
        dir: "/".into(),
        processes,
        jobs: Vec::new(),
        control,
        notify: None,
        store_listeners: true,
    })
}

const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];

pub fn random(rng: &mut Rng) -> Arc<Plan> {
    let mut processes: Vec<ProcessPlan> = Vec::new();
    for name in NAMES {
        if rng.u8(..) < 100 {
            continue;
        }
        let mut p = random_process(rng, name);
        for other in &processes {
            if rng.u8(..) < 90 {
                let condition = match (other.oneshot, rng.u8(..3)) {
                    (true, 0) => Condition::Completed,
                    (_, 1) => Condition::Started,
                    (_, _) => Condition::Ready,
                };
                p.after.push(Dependency { process: other.name.clone(), condition });
            }
        }
        processes.push(p);
    }
    plan(processes)
}

fn random_process(rng: &mut Rng, name: &str) -> ProcessPlan {
    let mut p = process(name);
    p.count = rng.u32(0..4);
    p.oneshot = rng.u8(..) < 50;
    p.essential = rng.u8(..) < 12;
    p.exec.port = rng.u16(1..4);
    p.ready.by = match rng.u8(..3) {
        0 => ReadyBy::Started,
        1 => ReadyBy::Notify,
        _ => ReadyBy::Tcp { port: None },
    };
    p.ready.timeout = ms(rng.u64(500..4000));
    p.restart.when = match (p.oneshot, rng.u8(..5)) {
        (true, 0..=2) | (false, 0) => RestartWhen::Never,
        (_, 1) => RestartWhen::OnFailure,
        _ => RestartWhen::Always,
    };
    p.restart.backoff_min = ms([0, 100, 500, 3000][rng.usize(..4)]);
    p.restart.backoff_max = p.restart.backoff_min * rng.u32(1..9);
    p.restart.limit = match rng.u8(..4) {
        0 => None,
        _ => Some(RestartLimit { count: rng.u32(0..5), window: ms(rng.u64(1000..30_000)) }),
    };
    if p.restart.limit.is_none() && p.restart.backoff_min.is_zero() {
        p.restart.backoff_min = ms(100);
        p.restart.backoff_max = ms(1000);
    }
    if !p.oneshot && rng.bool() {
        p.update = UpdatePlan {
            strategy: if rng.bool() { Strategy::Overlap } else { Strategy::Handover },
            surge: rng.u32(1..4),
            unavailable: 1,
            bake: ms([0, 0, 700][rng.usize(..3)]),
            canary: vec![],
        };
        p.listen = if rng.bool() { vec![listener()] } else { vec![] };
        if rng.u8(..4) == 0 {
            p.update.canary =
                vec![CanaryStep { percent: 10, hold: ms(400) }, CanaryStep { percent: 50, hold: ms(300) }];
        }
        p.quiet = rng.bool().then_some(QUIET);
        if rng.u8(..4) == 0 {
            let timeout = Some(ms(rng.u64(100..3000)));
            p.drained = Some(DrainedPlan { run: Run::Literal(vec!["x".to_owned()]), every: ms(100), timeout });
        }
    } else {
        p.update.unavailable = rng.u32(1..3);
    }
    p.stop = match rng.u8(..5) {
        0 => vec![StopStep::Signal(9)],
        1 => vec![StopStep::Signal(15)],
        2 => vec![StopStep::Signal(2), StopStep::Wait(ms(700)), StopStep::Signal(15), StopStep::Wait(ms(900))],
        3 => vec![StopStep::Wait(ms(300)), StopStep::Signal(15), StopStep::Wait(ms(1500)), StopStep::Signal(9)],
        _ => p.stop,
    };
    p
}

/// The plan with something changed, and the processes whose instances are outdated by it.
pub fn mutate(rng: &mut Rng, old: &Plan) -> (Arc<Plan>, Vec<Arc<str>>) {
    let fresh = random(rng);
    let mut processes = Vec::new();
    let mut restart = Vec::new();
    for name in NAMES {
        match (old.process(name), fresh.process(name), rng.u8(..6)) {
            (Some(p), _, 0..=2) => processes.push(p.clone()),
            (Some(p), _, 3) => {
                let mut p = p.clone();
                p.count = rng.u32(0..4);
                p.exec.port += 1;
                restart.push(Arc::from(name));
                processes.push(p);
            }
            (Some(old), Some(p), 4) => {
                restart.push(Arc::from(name));
                // What runs for ever would never complete.
                processes.push(ProcessPlan { oneshot: old.oneshot, ..p.clone() });
            }
            (None, Some(p), _) => processes.push(p.clone()),
            _ => {}
        }
    }
    let names: Vec<(String, bool)> = processes.iter().map(|p| (p.name.clone(), p.oneshot)).collect();
    for (i, p) in processes.iter_mut().enumerate() {
        p.after.retain(|dependency| {
            let found = names[..i].iter().find(|(name, _)| *name == dependency.process);
            // The config refuses to wait for the completion of what does not complete.
            found.is_some_and(|(_, oneshot)| *oneshot || dependency.condition != Condition::Completed)
        });
    }
    (plan(processes), restart)
}
