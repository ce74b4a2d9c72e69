//! `kill -9` of the manager loses nothing: no child, no line, no exit status, no client; nothing runs twice.

mod common;

use common::{App, DEADLINE, instant_within, is_alive};
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::Write;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

/// Prints numbered lines and, as `flapper`, ends again and again with a random code that it writes down first.
const TALKER: &str = r#"
import os, random, signal, sys
name, flaps = os.environ['SVD_INSTANCE'], sys.argv[1] == 'flapper'
state = name + '.count'
n = int(open(state).read()) if os.path.exists(state) else 0
def leave(code):
    with open(state + '.new', 'w') as f: f.write(str(n))
    os.rename(state + '.new', state)
    plan = os.open(name + '.plan', os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    os.write(plan, b'%d %d\n' % (os.getpid(), code))
    os._exit(code)
ending = False
def term(number, frame):
    global ending
    ending = True
signal.signal(signal.SIGTERM, term)
left = random.randrange(20, 200) if flaps else -1
while left and not ending:
    burst = min(random.randrange(1, 20), left) if flaps else random.randrange(1, 20)
    text = b''.join(b'%s %d\n' % (name.encode(), n + i) for i in range(burst))
    view = memoryview(text)
    while view: view = view[os.write(1, view):]
    n += burst
    left -= burst
    signal.sigtimedwait([], random.random() * 0.04)
leave(0 if ending else random.randrange(0, 256))
"#;

/// The anchor of the whole design.
/// Fault 40.
#[test]
fn managers_killed_at_random_instants_lose_no_line_no_exit_no_client_and_restart_nothing() {
    let kills: u32 = std::env::var("SVD_TEST_KILLS").map_or(100, |text| text.parse().expect("a number"));
    let mut seed = std::env::var("SVD_TEST_SEED").map_or(20_261_123, |text| text.parse().expect("a number"));

    // given: ten services that talk, and ten that end with random codes and are restarted
    let app = App::new(
        "[defaults]
         restart = { backoff = \"20ms..20ms\", limit = \"none\" }
         stop = [\"TERM\", \"20s\", \"KILL\"]
         logs = { segment = \"64K\", max_size = \"1G\" }
         [process.steady]
         run = [\"@PY@\", \"-S\", \"talker.py\", \"steady\"]
         count = 10
         [process.flapper]
         run = [\"@PY@\", \"-S\", \"talker.py\", \"flapper\"]
         count = 10",
    );
    app.write("talker.py", TALKER);
    let mut app = app;
    app.boot();
    app.wait("steady", "ready");
    let pids: Vec<i32> = (1..=10).map(|index| app.pid(&format!("steady.{index}"))).collect();

    // when: managers are killed while clients come all the time
    let over = AtomicBool::new(false);
    let (answered, cut) = (AtomicU32::new(0), AtomicU32::new(0));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    let stream = common::connect(&app.socket()).expect("a client was refused");
                    drop(stream);
                    // A manager may die while it answers: then the answer is cut, and the next one is asked.
                    let counter = if app_status(&app).is_some() { &answered } else { &cut };
                    counter.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let finish = Finish(&over);
        let mut killed = std::collections::HashSet::new();
        while killed.len() < kills as usize {
            instant_within(Duration::from_millis(400), &mut seed);
            let Some(manager) = manager(&app) else { continue };
            if svd_sys::tree::kill_verified(&manager, 9).unwrap() == svd_sys::tree::Delivery::Delivered {
                // One that is not reaped yet can be met twice.
                killed.insert((manager.pid, manager.starttime));
            }
        }
        drop(finish);
    });
    let starts = app.until("the last manager", |status| status["svd"]["manager_starts"].as_u64());
    eprintln!("{starts} managers; {answered:?} clients answered, {cut:?} cut off");
    assert!(starts > u64::from(kills), "{starts}");

    // then: the healthy ones never noticed
    for (index, pid) in (1..=10).zip(&pids) {
        let instance = app.instance(&format!("steady.{index}"));
        assert_eq!((instance["pid"].as_i64(), instance["restarts"].as_u64()), (Some(i64::from(*pid)), Some(0)));
    }

    // then: each end was reported exactly once, as it was planned
    app.ok(&["stop", "all"]);
    let mut planned: BTreeMap<(String, i64, i64), u32> = BTreeMap::new();
    for name in names() {
        for line in app.read(&format!("{name}.plan")).lines() {
            let (pid, code) = line.split_once(' ').unwrap();
            *planned.entry((name.clone(), pid.parse().unwrap(), code.parse().unwrap())).or_default() += 1;
        }
    }
    let mut told: BTreeMap<(String, i64, i64), u32> = BTreeMap::new();
    let mut met_at_start = 0;
    let events = app.events();
    for event in &events {
        if event["kind"] != "instance.exited" {
            continue;
        }
        if event["exit"]["signal"] == "TERM" {
            // The last stop met a flapper before its Python was ready to write anything down or to print.
            met_at_start += 1;
            continue;
        }
        let code = event["exit"]["code"].as_i64().unwrap_or_else(|| panic!("{event}"));
        let key = (event["instance"].as_str().unwrap().to_owned(), event["pid"].as_i64().unwrap(), code);
        *told.entry(key).or_default() += 1;
    }
    assert!(met_at_start <= 10, "{met_at_start} were ended by TERM");
    for key in planned.keys().chain(told.keys()) {
        let of = || events.iter().filter(|event| event["pid"] == key.1).map(ToString::to_string).collect::<Vec<_>>();
        let (planned, told) = (planned.get(key), told.get(key));
        assert_eq!(planned, told, "{key:?}: planned and told differ; the events of this pid are\n{}", of().join("\n"));
    }
    eprintln!("{} ends", told.values().sum::<u32>());

    // then: no line is missing or doubled, on disk and as svctl gives it
    let mut lines = 0;
    for name in names() {
        let expected: usize = app.read(&format!("{name}.count")).parse().unwrap();
        let stored = String::from_utf8(app.segments(&name, "out")).unwrap();
        check(&name, stored.lines(), expected);
        let shown = app.logs(&name);
        if expected <= 100_000 {
            check(&name, shown.iter().map(|line| line["message"].as_str().unwrap()), expected);
        }
        lines += expected;
    }
    eprintln!("{lines} lines");
    assert_eq!(app.stop(), Some(0));
}

fn names() -> Vec<String> {
    ["steady", "flapper"].iter().flat_map(|name| (1..=10).map(move |index| format!("{name}.{index}"))).collect()
}

fn check<'a>(name: &str, lines: impl Iterator<Item = &'a str>, expected: usize) {
    let mut count = 0;
    for line in lines {
        assert_eq!(line, format!("{name} {count}"));
        count += 1;
    }
    assert_eq!(count, expected, "{name} has lost its last lines");
}

fn app_status(app: &App) -> Option<Value> {
    let answer = common::request(&app.socket(), "GET", "/v1/status", None).ok()?;
    (answer.status == 200).then(|| answer.json())
}

/// The manager, if the keeper has one now: its only child that runs svd.
fn manager(app: &App) -> Option<svd_sys::tree::Proc> {
    let svd = std::fs::read_link(format!("/proc/{}/exe", app.keeper())).ok()?;
    let below = common::children(app.keeper());
    let runs_svd = |pid: &i32| std::fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe == svd);
    // A child that was forked for a service shows the keeper's program too, until it execs its own.
    let proc = below.into_iter().filter(runs_svd).find_map(svd_sys::tree::read_proc)?;
    (!proc.never_ran_a_program()).then_some(proc)
}

/// Ends the clients, also when the test fails.
struct Finish<'a>(&'a AtomicBool);

impl Drop for Finish<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// What happens while no manager lives is told by the next one, as it was and when it was.
/// Fault 43.
#[test]
fn ends_that_no_manager_saw_are_told_exactly_by_the_next_one() {
    // given: three services, and a manager that is held up
    let mut app = App::new(
        "[defaults]
         restart = \"never\"
         [process]
         three.run = [\"/bin/sh\", \"-c\", \"read x < gate; exit 3\"]
         segv.run = [\"/bin/sh\", \"-c\", \"ulimit -c 0; exec sleep 1000\"]
         killed.run = [\"sleep\", \"1000\"]
         lives.run = [\"sleep\", \"1000\"]",
    );
    let mut gate = app.fifo("gate");
    app.boot();
    app.wait("all", "ready");
    let pids = ["three.1", "segv.1", "killed.1", "lives.1"].map(|id| app.pid(id));
    let manager = i32::try_from(app.status()["svd"]["manager_pid"].as_i64().unwrap()).unwrap();
    let manager = svd_sys::pidfd::open(manager).unwrap();
    svd_sys::pidfd::send_signal(manager.as_fd(), 19).unwrap();

    // when: three end in three ways, and the manager is dead after that
    let ends: Vec<_> = pids[..3].iter().map(|pid| svd_sys::pidfd::open(*pid).unwrap()).collect();
    gate.write_all(b"\n").unwrap();
    svd_sys::pidfd::send_signal(ends[1].as_fd(), 11).unwrap();
    svd_sys::pidfd::send_signal(ends[2].as_fd(), 9).unwrap();
    assert!(ends.iter().all(|pidfd| common::wait_ended(pidfd.as_fd(), DEADLINE)));
    svd_sys::pidfd::send_signal(manager.as_fd(), 9).unwrap();

    // then
    app.until("the next manager", |status| (status["svd"]["manager_starts"] == 2).then_some(()));
    for name in ["three", "segv", "killed"] {
        app.wait(name, "stopped");
    }
    assert_eq!(app.instance("three.1")["exit"]["code"], 3);
    assert_eq!(app.instance("segv.1")["exit"]["signal"], "SEGV");
    assert_eq!(app.instance("killed.1")["exit"]["signal"], "KILL");
    let events = app.events();
    for (id, pid) in ["three.1", "segv.1", "killed.1"].iter().zip(pids) {
        let exits: Vec<_> = events.iter().filter(|e| e["instance"] == *id && e["kind"] == "instance.exited").collect();
        assert_eq!(exits.len(), 1, "{id}: {exits:?}");
        assert_eq!(exits[0]["pid"].as_i64(), Some(i64::from(pid)));
    }
    assert_eq!(app.pid("lives.1"), pids[3]);
    assert!(is_alive(pids[3]));
}

/// A manager that hangs is a dead manager: it is replaced while services go on.
/// Fault 42.
#[test]
fn a_manager_that_hangs_is_replaced() {
    // given
    let app = App::start("process.web = { run = [\"sleep\", \"1000\"] }");
    app.wait("web", "ready");
    let (pid, status) = (app.pid("web.1"), app.status());
    let manager = i32::try_from(status["svd"]["manager_pid"].as_i64().unwrap()).unwrap();
    let pidfd = svd_sys::pidfd::open(manager).unwrap();
    // when: it stands still, and people ask
    let start = std::time::Instant::now();
    svd_sys::pidfd::send_signal(pidfd.as_fd(), 19).unwrap();
    let mut waiting = Vec::new();
    while !common::wait_ended(pidfd.as_fd(), Duration::from_secs(1)) {
        assert!(start.elapsed() < DEADLINE, "it is not replaced");
        waiting.push(common::connect(&app.socket()).expect("a client was refused"));
    }
    // then: another one answers, and the service never noticed
    app.until("the next manager", |status| (status["svd"]["manager_starts"] == 2).then_some(()));
    assert_eq!(app.pid("web.1"), pid);
    assert_eq!(app.instance("web.1")["restarts"], 0);
}

/// A command that its manager does not survive leaves no half: what was asked for is stored, and comes about.
#[test]
fn a_restart_goes_on_where_a_killed_manager_left_it() {
    // given: four instances that take a while to end
    let app = App::start(
        "[process.web]
         run = [\"/bin/sh\", \"-c\", \"trap 'sleep 0.2; exit 0' TERM; echo up; while :; do sleep 1000 & wait; done\"]
         ready = { log = \"up\" }
         count = 4",
    );
    app.wait("web", "ready");
    let before: Vec<i32> = (1..=4).map(|index| app.pid(&format!("web.{index}"))).collect();
    // when: the manager dies in the middle
    std::thread::scope(|scope| {
        scope.spawn(|| app.svctl(&["restart", "web"]));
        app.until("the second to be stopped", |status| {
            let state = status["processes"][0]["instances"][1]["state"].as_str()?;
            (state != "ready").then_some(())
        });
        let manager = manager(&app).unwrap();
        svd_sys::tree::kill_verified(&manager, 9).unwrap();
    });
    // then: all are replaced, each once
    app.until("all four to be new and ready", |status| {
        let instances = status["processes"][0]["instances"].as_array()?;
        let done = instances
            .iter()
            .zip(&before)
            .all(|(instance, old)| instance["state"] == "ready" && instance["pid"].as_i64() != Some(i64::from(*old)));
        done.then_some(())
    });
    let started = app.events().iter().filter(|event| event["kind"] == "instance.started").count();
    assert_eq!(started, 8);
}

/// A stop of everything that was asked for is not forgotten with the manager that was asked.
#[test]
fn a_shutdown_goes_on_where_a_killed_manager_left_it() {
    // given: a shutdown that waits for a service, with another one stopped already
    let mut app = App::new(
        "[process.base]
         run = [\"/bin/sh\", \"-c\", \"trap 'read x < end; exit 0' TERM; echo up; while :; do sleep 1000 & wait; done\"]
         ready = { log = \"up\" }
         stop = [\"TERM\", \"5m\", \"KILL\"]
         [process.web]
         run = [\"sleep\", \"1000\"]
         after = [\"base\"]",
    );
    let mut end = app.fifo("end");
    app.boot();
    app.wait("all", "ready");
    app.signal(15);
    app.until_state("base.1", "stopping");
    // when
    svd_sys::tree::kill_verified(&manager(&app).unwrap(), 9).unwrap();
    let status = app.until("the next manager", |status| (status["svd"]["manager_starts"] == 2).then(|| status.clone()));
    // then: it knows that svd is stopping, starts nothing, and comes to the end
    assert_eq!(status["svd"]["state"], "stopping", "{status:#}");
    assert_eq!(app.instance("web.1")["pid"], Value::Null);
    end.write_all(b"\n").unwrap();
    assert_eq!(app.over(), Some(0));
}
