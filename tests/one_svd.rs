//! One svd for one state directory: a second one leaves the first alone, and a dead one is in nobody's way.

mod common;

use common::{App, DEADLINE, is_alive, wait_ended};
use std::os::fd::AsFd;
use std::process::{Child, Stdio};

/// Fault 50.
#[test]
fn a_second_svd_refuses_names_the_first_and_removes_nothing() {
    // given
    let app = App::start("process.web = { run = [\"sleep\", \"1000\"] }");
    app.wait("web", "ready");
    let pid = app.pid("web.1");
    // when
    let reply = common::Reply::of(app.command());
    // then
    assert_eq!(reply.code, Some(1), "{reply:?}");
    let said = reply.err + &reply.out;
    assert!(said.contains(&app.keeper().to_string()), "does not name the holder {}: {said}", app.keeper());
    // and: the first is reachable and untouched
    assert_eq!(app.pid("web.1"), pid);
    app.ok(&["status"]);
    app.ok(&["restart", "web"]);
}

/// Starters that race: unlink-then-bind would leave one that nobody can reach.
/// Fault 51.
#[test]
fn of_two_that_start_at_once_exactly_one_serves_and_it_is_reachable() {
    let rounds: u32 = std::env::var("SVD_TEST_RACES").map_or(10, |text| text.parse().expect("a number"));
    for round in 0..rounds {
        // given
        let app = App::new("process.web = { run = [\"sleep\", \"1000\"] }");
        // when
        let start = || -> (Child, std::os::fd::OwnedFd) {
            let child = app.command().stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
            let pidfd = svd_sys::pidfd::open(child.id().cast_signed()).unwrap();
            (child, pidfd)
        };
        let mut both = [start(), start()];
        common::wait_path(&app.socket());
        // then: one ends by itself, with 1
        let loser = loop {
            let ended = |n: usize| svd_sys::pidfd::has_ended(both[n].1.as_fd()).unwrap();
            match (ended(0), ended(1)) {
                (true, true) => panic!("round {round}: both have ended"),
                (true, false) => break 0,
                (false, true) => break 1,
                (false, false) => {
                    wait_ended(both[0].1.as_fd(), std::time::Duration::from_millis(10));
                    wait_ended(both[1].1.as_fd(), std::time::Duration::from_millis(10));
                }
            }
        };
        assert_eq!(both[loser].0.wait().unwrap().code(), Some(1), "round {round}");
        // and: the other one is who answers
        let winner = both[1 - loser].0.id();
        app.wait("web", "ready");
        assert_eq!(app.status()["svd"]["keeper_pid"].as_u64(), Some(u64::from(winner)), "round {round}");
        app.ok(&["shutdown"]);
        assert!(wait_ended(both[1 - loser].1.as_fd(), DEADLINE));
        assert_eq!(both[1 - loser].0.wait().unwrap().code(), Some(0), "round {round}");
    }
}

/// `kill -9` of the keeper itself: its processes go, what it left on disk is in nobody's way, and no end is invented.
/// Faults 44 and 49.
#[test]
fn after_kill_9_of_the_keeper_a_new_one_starts_with_one_copy_of_everything() {
    // given
    let mut app = App::start(
        "process.web = { run = [\"sleep\", \"1000\"], count = 3 }
         process.left = { run = [\"@PY@\", \"-c\", \"import signal; signal.signal(15, signal.SIG_IGN); signal.pause()\"] }",
    );
    app.wait("all", "ready");
    app.ok(&["scale", "web=2"]);
    let old: Vec<_> = ["web.1", "web.2", "left.1"].iter().map(|id| app.pid(id)).collect();
    let manager = i32::try_from(app.status()["svd"]["manager_pid"].as_i64().unwrap()).unwrap();
    let all: Vec<_> = old.iter().chain([&manager]).map(|pid| svd_sys::pidfd::open(*pid).unwrap()).collect();
    // when
    app.signal(9);
    app.forget();
    // then: none of its processes stays
    for (pidfd, pid) in all.iter().zip(old.iter().chain([&manager])) {
        assert!(wait_ended(pidfd.as_fd(), DEADLINE), "{pid} outlives the keeper");
    }
    // and: the next one starts as if nothing had been, with what was desired
    app.boot();
    app.wait("all", "ready");
    assert_eq!(app.process("web")["instances"].as_array().unwrap().len(), 2);
    assert!(old.iter().all(|pid| !is_alive(*pid)));
    for id in ["web.1", "web.2", "left.1"] {
        let exit = &app.instance(id)["exit"];
        assert!(exit.is_null() || exit["unknown"] == true, "an end was invented: {exit}");
        let told: Vec<_> = app.events_of(id).into_iter().filter(|event| event["kind"] == "instance.exited").collect();
        assert!(told.iter().all(|event| event["exit"]["unknown"] == true), "{told:?}");
    }
}

/// A socket file without anybody behind it.
/// Fault 51.
#[test]
fn svctl_says_69_when_svd_does_not_run_and_a_stale_socket_does_not_hinder_a_start() {
    let mut app = App::new("process.web = { run = [\"sleep\", \"1000\"] }");
    assert_eq!(app.svctl(&["status"]).code, Some(69));
    std::fs::create_dir_all(app.path("root/run")).unwrap();
    drop(std::os::unix::net::UnixListener::bind(app.socket()).unwrap());
    let reply = app.svctl(&["status"]);
    assert_eq!(reply.code, Some(69), "{reply:?}");
    app.spawn(app.command());
    app.until("svd to answer", |_| Some(()));
    app.wait("web", "ready");
}
