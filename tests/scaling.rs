//! How many, and whether at all: what people ask for is stored, and holds.

mod common;

use common::App;

const CONFIG: &str =
    "process.web = { run = [\"sleep\", \"1000\"], count = 2 }\nprocess.worker = { run = [\"sleep\", \"1000\"] }\n";

fn states(app: &App, process: &str) -> Vec<String> {
    let process = app.process(process);
    let instances = process["instances"].as_array().unwrap();
    instances.iter().map(|i| format!("{} {}", i["id"].as_str().unwrap(), i["state"].as_str().unwrap())).collect()
}

#[test]
fn scaling_starts_and_stops_only_the_difference_and_holds_over_a_restart_of_svd() {
    // given
    let mut app = App::start(CONFIG);
    app.wait("all", "ready");
    let (web1, web2, worker) = (app.pid("web.1"), app.pid("web.2"), app.pid("worker.1"));
    // when: up, and by a difference
    app.ok(&["scale", "web=4", "worker=+1"]);
    app.wait("all", "ready");
    // then
    assert_eq!(states(&app, "web"), ["web.1 ready", "web.2 ready", "web.3 ready", "web.4 ready"]);
    assert_eq!((app.pid("web.1"), app.pid("web.2"), app.pid("worker.1")), (web1, web2, worker));
    assert_eq!(app.process("worker")["want"], 2);
    // when: down
    app.ok(&["scale", "web=-1", "worker=1"]);
    // then: the last ones went, properly
    assert_eq!(states(&app, "web"), ["web.1 ready", "web.2 ready", "web.3 ready"]);
    assert_eq!((app.pid("web.1"), app.pid("worker.1")), (web1, worker));
    let gone = app.events_of("web.4");
    let exited = gone.iter().find(|event| event["kind"] == "instance.exited").unwrap();
    assert_eq!(exited["exit"]["signal"], "TERM");
    // when: svd is started again
    assert_eq!(app.stop(), Some(0));
    app.boot();
    app.wait("all", "ready");
    // then: 3, not the 2 of the config
    assert_eq!(states(&app, "web").len(), 3);
    assert_eq!(app.process("web")["want"], 3);
    // and: to nothing, and from nothing
    app.ok(&["scale", "web=0"]);
    assert!(states(&app, "web").is_empty(), "{:?}", states(&app, "web"));
    app.ok(&["scale", "web=1"]);
    app.wait("web", "ready");
}

#[test]
fn nonsense_is_refused_before_anything_is_changed() {
    let app = App::start(CONFIG);
    app.wait("all", "ready");
    let pid = app.pid("web.1");
    for (args, code) in [
        (&["scale", "nosuch=1"][..], 3),
        (&["scale", "web=3", "nosuch=1"], 3),
        (&["scale", "web=100000"], 3),
        (&["scale", "web=-3"], 3),
        // It would end by it.
        (&["reload", "web"], 3),
        (&["scale", "web"], 2),
        (&["stop", "nosuch"], 3),
        (&["stop", "web.9"], 3),
        (&["stop"], 2),
        (&["kill", "web"], 2),
        (&["signal", "NOSUCH", "web"], 2),
        (&["nosuch"], 2),
    ] {
        let reply = app.svctl(args);
        assert_eq!(reply.code, Some(code), "{args:?}: {reply:?}");
        assert!(!reply.err.is_empty(), "{args:?}");
    }
    assert_eq!(app.pid("web.1"), pid);
    assert_eq!(states(&app, "web").len(), 2);
    let plan = app.ok(&["scale", "web=5", "--dry-run"]);
    assert!(plan.contains("web"), "{plan}");
    assert_eq!(states(&app, "web").len(), 2);
}

#[test]
fn stopped_holds_over_a_managers_death_and_disabled_over_a_restart_of_svd() {
    // given
    let mut app = App::start(CONFIG);
    app.wait("all", "ready");
    let worker = app.pid("worker.1");
    // when: one instance is stopped by hand
    app.ok(&["stop", "web.2", "--reason", "it is too loud"]);
    assert_eq!(states(&app, "web"), ["web.1 ready", "web.2 stopped"]);
    let reason = app.instance("web.2")["reason"].as_str().unwrap().to_owned();
    assert!(reason.contains("by hand"), "{reason}");
    // and: the manager dies
    let manager = i32::try_from(app.status()["svd"]["manager_pid"].as_i64().unwrap()).unwrap();
    svd_sys::tree::kill_verified(&svd_sys::tree::read_proc(manager).unwrap(), 9).unwrap();
    app.until("the next manager", |status| (status["svd"]["manager_starts"] == 2).then_some(()));
    // then
    assert_eq!(states(&app, "web"), ["web.1 ready", "web.2 stopped"]);
    assert_eq!(app.pid("worker.1"), worker);
    // when: the other process is disabled
    app.ok(&["disable", "worker"]);
    assert_eq!(states(&app, "worker"), ["worker.1 stopped"]);
    assert_eq!(app.process("worker")["disabled"], true);
    // then: who is disabled is not started by a start, but by enable
    assert_eq!(app.svctl(&["start", "worker"]).code, Some(3));
    // when: svd is started again
    assert_eq!(app.stop(), Some(0));
    app.boot();
    app.wait("web", "ready");
    // then: stopped by hand is forgotten, disabled is not
    assert_eq!(states(&app, "web"), ["web.1 ready", "web.2 ready"]);
    assert_eq!(states(&app, "worker"), ["worker.1 stopped"]);
    app.ok(&["enable", "worker"]);
    app.wait("worker", "ready");
    // and: the history knows who did what, and why
    let events = app.events();
    let stop = events.iter().find(|event| event["kind"] == "command.stop").expect("the command is in the history");
    assert_eq!(stop["reason"], "it is too loud");
    assert!(!stop["actor"].as_str().unwrap().is_empty());
}

#[test]
fn restart_is_rolling_and_goes_on_only_when_the_new_one_is_ready() {
    // given: instances whose second start fails when told to
    let app = App::start(
        "[process.web]
         run = [\"/bin/sh\", \"-c\", \"test ! -e broken || exit 1; exec sleep 1000\"]
         ready = { run = [\"test\", \"!\", \"-e\", \"broken\"], every = \"20ms\", timeout = \"5s\" }
         restart = { backoff = \"10ms..10ms\", limit = \"2 in 1m\" }
         count = 3",
    );
    app.wait("web", "ready");
    let before: Vec<i32> = (1..=3).map(|index| app.pid(&format!("web.{index}"))).collect();
    // when
    app.ok(&["restart", "web"]);
    let after: Vec<i32> = (1..=3).map(|index| app.pid(&format!("web.{index}"))).collect();
    // then: all are new, and at no time was more than one of them away
    assert!(before.iter().zip(&after).all(|(old, new)| old != new));
    let mut away = 0;
    for event in app.events() {
        match event["kind"].as_str().unwrap() {
            "instance.stopping" => away += 1,
            "instance.ready" => away -= i32::from(away > 0),
            _ => {}
        }
        assert!(away <= 1, "{event}");
    }
    // when: new ones do not come up
    app.write("broken", "");
    let reply = app.svctl(&["restart", "web"]);
    // then: the command fails, and the others are spared
    assert_eq!(reply.code, Some(1), "{reply:?}");
    assert_eq!(app.pid("web.2"), after[1]);
    assert_eq!(app.pid("web.3"), after[2]);
    app.until_state("web.1", "failed");
}

#[test]
fn signals_and_reload_reach_main_processes() {
    let app = App::new(
        "[process.web]
         run = [\"@PY@\", \"-u\", \"service.py\"]
         ready = { log = \"^up\" }
         reload = \"USR2\"",
    );
    app.write(
        "service.py",
        "import signal\ndef say(n, f): print('got', signal.Signals(n).name)\nfor n in (signal.SIGUSR1, signal.SIGUSR2, \
         signal.SIGHUP): signal.signal(n, say)\nprint('up')\nwhile True: signal.pause()\n",
    );
    let mut app = app;
    app.boot();
    app.wait("web", "ready");
    let pid = app.pid("web.1");
    app.ok(&["signal", "USR1", "web"]);
    app.out().containing("got SIGUSR1");
    app.ok(&["signal", "SIGHUP", "web.1"]);
    app.out().containing("got SIGHUP");
    app.ok(&["reload", "web"]);
    app.out().containing("got SIGUSR2");
    assert_eq!(app.pid("web.1"), pid);
}
