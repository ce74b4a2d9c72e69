//! Managers that crash as soon as they begin, again and again: what runs goes on, and everybody is told.

mod common;

use common::{App, manager};
use svd_sys::signal::{ABRT, KILL};

fn app() -> App {
    let app = App::start(
        "[process.web]
         run = \"sleep 1000\"
         [process.worker]
         run = \"sleep 1000\"\n",
    );
    app.wait("all", "ready");
    app
}

/// Has the managers crash until one begins in safe mode.
fn crash(app: &App) {
    for number in 1..=5 {
        let proc = app.until("a manager", |status| {
            let proc = manager(app.keeper())?;
            let starts = status["svd"]["manager_starts"].as_i64()?;
            (starts == number && i64::from(proc.pid) == status["svd"]["manager_pid"].as_i64()?).then_some(proc)
        });
        svd_sys::tree::kill_verified(&proc, ABRT).unwrap();
    }
    app.until("safe mode", |status| is_safe(status).then_some(()));
}

fn is_safe(status: &serde_json::Value) -> bool {
    status["warnings"]
        .as_array()
        .is_some_and(|all| all.iter().any(|one| one.as_str().unwrap_or("").starts_with("safe mode")))
}

/// Fault 41.
#[test]
fn after_five_crashes_in_a_row_what_runs_goes_on_nothing_is_started_and_the_way_out_is_told() {
    // given
    let app = app();
    let (web, worker) = (app.pid("web.1"), app.pid("worker.1"));
    // when
    crash(&app);
    // then: all goes on, and whoever looks is told
    assert_eq!((app.pid("web.1"), app.pid("worker.1")), (web, worker));
    assert!(app.ok(&["status"]).contains("safe mode"), "a person is told too");
    app.err().containing("5 managers in a row have crashed");
    // and: what ends is known to have ended, and is not started again
    svd_sys::tree::kill_verified(&svd_sys::tree::read_proc(worker).unwrap(), KILL).unwrap();
    app.until("the worker's end", |status| (status["processes"][1]["instances"][0]["pid"].is_null()).then_some(()));
    let reply = app.svctl(&["start", "worker"]);
    assert_eq!(reply.code, Some(3), "{reply:?}");
    assert!(reply.err.contains("safe mode") && reply.err.contains("svctl upgrade"), "{reply:?}");
    assert_eq!(app.svctl(&["restart", "web"]).code, Some(3));
    assert_eq!(app.svctl(&["scale", "web=2"]).code, Some(3));
    // and: what is to end can be ended
    app.ok(&["stop", "web"]);
    assert!(!common::is_alive(web));
    // and: the way out works; what should run is started, what was stopped by hand stays so
    app.ok(&["upgrade"]);
    app.until_state("worker.1", "ready");
    assert!(!is_safe(&app.status()));
    assert_eq!(app.instance("web.1")["state"], "stopped");
}

/// The manager in safe mode has no database: what it is told stands with the keeper, and the next one stores it.
#[test]
fn what_was_ordered_in_safe_mode_holds_after_the_way_out_and_is_stored() {
    // given: what was asked for before, and what is stopped and switched off in safe mode
    let mut app = app();
    app.ok(&["scale", "web=2"]);
    crash(&app);
    app.ok(&["stop", "web"]);
    app.ok(&["disable", "worker"]);
    // when
    app.ok(&["upgrade"]);
    // then: it holds, also under the manager after that
    let holds = |app: &App| {
        assert!(!is_safe(&app.status()));
        assert_eq!(
            (&app.instance("web.1")["state"], &app.process("worker")["disabled"]),
            (&"stopped".into(), &true.into())
        );
    };
    holds(&app);
    let next = manager(app.keeper()).unwrap();
    svd_sys::tree::kill_verified(&next, KILL).unwrap();
    app.until("the manager after that", |status| {
        (status["svd"]["manager_pid"].as_i64()? != i64::from(next.pid)).then_some(())
    });
    holds(&app);
    // and: what is kept over the end of svd is kept
    assert_eq!(app.stop(), Some(0));
    app.boot();
    app.wait("web", "ready");
    assert_eq!((&app.process("worker")["disabled"], &app.process("web")["want"]), (&true.into(), &2.into()));
    app.ok(&["enable", "worker"]);
    app.wait("worker", "ready");
}

#[test]
fn a_stop_of_everything_is_orderly_in_safe_mode_too() {
    let mut app = app();
    crash(&app);
    assert_eq!(app.stop(), Some(0));
}
