//! svd as PID 1 of a container.

mod common;

use common::{App, eventually, skipped};
use std::process::{Command, Stdio};

/// Whether a pid namespace can be made here.
fn may_unshare() -> bool {
    let mut command = Command::new("unshare");
    command.args(["--pid", "--fork", "--mount-proc", "true"]).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// `svd run` of the app as PID 1.
fn as_pid_1(app: &App) -> Command {
    let svd = app.command();
    let mut command = Command::new("unshare");
    command.args(["--pid", "--fork", "--mount-proc", "--kill-child"]);
    command.current_dir(app.path("")).env("SVD_TEST_DIR", app.path("")).stdin(Stdio::null());
    command.arg(svd.get_program()).args(svd.get_args());
    command
}

/// PID 1 as seen from outside its namespace.
fn inner(app: &App) -> i32 {
    let children = common::children(app.keeper());
    assert_eq!(children.len(), 1, "unshare has one child");
    children[0]
}

fn send(pid: i32, signal: i32) {
    let pidfd = svd_sys::pidfd::open(pid).unwrap();
    svd_sys::pidfd::send_signal(std::os::fd::AsFd::as_fd(&pidfd), signal).unwrap();
}

/// The kernel's default for PID 1 is to drop what has no handler; from outside it is to die of it.
/// Fault 17.
#[test]
fn no_signal_but_kill_and_those_that_ask_for_a_stop_ends_pid_1() {
    if !may_unshare() {
        return skipped("PID 1 needs root and unshare(1)");
    }
    // given
    let mut app = App::new("process.web = { run = [\"sleep\", \"1000\"] }");
    app.boot_with(as_pid_1(&app));
    app.wait("web", "ready");
    assert_eq!(app.status()["svd"]["keeper_pid"], 1);
    let (pid1, web) = (inner(&app), app.pid("web.1"));
    // when: every signal that is not KILL, STOP or one of TERM, INT, QUIT, PWR, RTMIN+3
    for signal in (1..=64).filter(|n| ![2, 3, 9, 15, 19, 30, 32, 33, 37].contains(n)) {
        send(pid1, signal);
        // then: it lives and answers
        let answer = app.request("GET", "/v1/health", None);
        assert_eq!(answer.status, 200, "after signal {signal}: {answer:?}");
    }
    assert_eq!(app.pid("web.1"), web);
    // and: stopped and continued, it goes on
    send(pid1, 19);
    send(pid1, 18);
    app.ok(&["restart", "web"]);
    // when: the halt signal of systemd's containers
    send(pid1, 37);
    // then
    assert_eq!(app.over(), Some(0));
}

/// Fault 17.
#[test]
fn each_signal_that_asks_for_a_stop_stops_all_in_order() {
    if !may_unshare() {
        return skipped("PID 1 needs root and unshare(1)");
    }
    for signal in [15, 2, 3, 30] {
        let mut app = App::new("process.web = { run = [\"sleep\", \"1000\"], count = 3 }");
        app.boot_with(as_pid_1(&app));
        app.wait("web", "ready");
        send(inner(&app), signal);
        assert_eq!(app.over(), Some(0), "{signal}");
    }
}

/// What nobody else reaps, PID 1 must.
/// Fault 4.
#[test]
fn pid_1_reaps_strangers() {
    if !may_unshare() {
        return skipped("PID 1 needs root and unshare(1)");
    }
    let mut app = App::new(
        "process.web = { run = [\"/bin/sh\", \"-c\", \"for i in 1 2 3 4 5 6 7 8 9; do (setsid true &); done; echo up; exec sleep 1000\"], ready = { log = \"up\" } }",
    );
    app.boot_with(as_pid_1(&app));
    app.wait("web", "ready");
    let pid1 = inner(&app);
    eventually("no zombies", || common::zombies_below(pid1) == 0);
    assert_eq!(app.stop_through(pid1), Some(0));
}
