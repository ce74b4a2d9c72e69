//! "Stopped" means that nobody is left, whatever the processes did to get away or to stay.

mod common;

use common::{App, DEADLINE, eventually, file_with, is_alive, no_sooner, skipped, wait_ended};
use serde_json::Value;
use std::io::Write;
use std::os::fd::AsFd;
use std::path::Path;
use std::time::{Duration, Instant};

/// Writes its own pid and that of a grandchild that left session and parent, and stays.
const DAEMONIZER: &str = r#"
import os, signal, sys
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        signal.signal(signal.SIGTERM, signal.SIG_IGN if 'stubborn' in sys.argv else signal.SIG_DFL)
        open('escaped.tmp', 'w').write(str(os.getpid()))
        os.rename('escaped.tmp', 'escaped')
        while True: signal.pause()
    os._exit(0)
os.wait()
while True: signal.pause()
"#;

fn pid_in(path: &Path) -> i32 {
    file_with(path, |text| text.trim().parse().ok())
}

fn kinds(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["kind"].as_str().unwrap()).collect()
}

/// Double fork and setsid: the grandchild is in no group or session of the service and has another parent.
/// Fault 2.
#[test]
fn a_daemonized_grandchild_ends_with_its_service() {
    for stubborn in ["", "stubborn"] {
        // given
        let app = App::new(&format!(
            "[process.web]\nrun = [\"@PY@\", \"service.py\", \"{stubborn}\"]\nstop = [\"TERM\", \"500ms\", \"KILL\"]"
        ));
        app.write("service.py", DAEMONIZER);
        let mut app = app;
        app.boot();
        let escaped = pid_in(&app.path("escaped"));
        assert!(is_alive(escaped));
        // when
        app.ok(&["stop", "web"]);
        // then
        assert!(!is_alive(escaped), "{stubborn}");
        assert_eq!(app.instance("web.1")["state"], "stopped");
        assert_eq!(app.stop(), Some(0));
    }
}

/// A child in a session of its own, put into the background by a shell that is killed.
/// Fault 3.
#[test]
fn a_child_in_a_session_of_its_own_ends_with_its_service() {
    // given
    let app = App::start(
        "[process.web]
         run = [\"/bin/sh\", \"-c\", \"setsid sh -c 'echo $$ > escaped; exec sleep 1000' & exec sleep 1000\"]",
    );
    let escaped = pid_in(&app.path("escaped"));
    // when the service is killed outright, or stopped
    app.ok(&["kill", "--now", "web"]);
    // then
    assert!(!is_alive(escaped));
}

/// Somebody who threw its environment away and left everything cannot be told from others, but it is below svd.
/// Fault 2.
#[test]
fn a_process_without_any_mark_ends_at_the_latest_with_svd() {
    // given
    let mut app = App::start(
        "[process.web]
         run = [\"/bin/sh\", \"-c\", \"env -i setsid sh -c 'echo $$ > @DIR@/escaped; exec sleep 1000' & sleep 1000\"]",
    );
    let escaped = pid_in(&app.path("escaped"));
    let pidfd = svd_sys::pidfd::open(escaped).unwrap();
    // when
    assert_eq!(app.stop(), Some(0));
    // then
    assert!(wait_ended(pidfd.as_fd(), Duration::ZERO), "{escaped} is left");
}

/// Orphans whose parent died before them fall to svd, which must reap all of them.
/// Fault 4.
#[test]
fn two_thousand_orphans_leave_no_zombie() {
    // given: a service that ends before its children do
    let app = App::new("process.father = { run = [\"@PY@\", \"father.py\"], restart = \"never\" }");
    app.write(
        "father.py",
        r#"
import os
born, end = os.pipe()
for _ in range(2000):
    if os.fork() == 0:
        os.close(end)
        os.read(born, 1)   # the father's end is the only other one
        os._exit(0)
os._exit(0)
"#,
    );
    let mut app = app;
    app.boot();
    // when
    app.wait("father", "stopped");
    // then
    eventually("no zombies below svd", || common::zombies_below(app.keeper()) == 0);
    assert_eq!(app.instance("father.1")["exit"]["code"], 0);
}

/// Who does not listen to TERM is killed when its time is over, not before, and that is told.
/// Fault 13.
#[test]
fn a_service_that_ignores_term_is_killed_when_its_time_is_over() {
    // given
    let app = App::start(
        "[process.deaf]
         run = [\"/bin/sh\", \"-c\", \"trap '' TERM; echo deaf; while :; do sleep 1000; done\"]
         ready = { log = \"deaf\" }
         stop = [\"TERM\", \"600ms\", \"KILL\"]",
    );
    app.wait("deaf", "ready");
    // when
    let start = Instant::now();
    app.ok(&["stop", "deaf"]);
    // then
    no_sooner(start, Duration::from_millis(600), "the stop");
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    assert_eq!(app.instance("deaf.1")["exit"]["signal"], "KILL");
    assert!(kinds(&app.events_of("deaf.1")).contains(&"instance.escalated"));
}

/// The steps of the ladder are taken in their order, each to the main process.
/// Fault 13.
#[test]
fn the_stop_ladder_is_climbed_step_by_step() {
    // given
    let app = App::new(
        "[process.web]
         run = [\"@PY@\", \"-u\", \"service.py\"]
         ready = { log = \"^up\" }
         stop = [\"USR1\", \"200ms\", \"QUIT\", \"200ms\", \"TERM\", \"30s\", \"KILL\"]",
    );
    app.write(
        "service.py",
        r#"
import signal, sys, os
def say(number, frame):
    os.write(1, b'got %s\n' % signal.Signals(number).name.encode())
    if number == signal.SIGTERM: sys.exit(9)
for number in (signal.SIGUSR1, signal.SIGQUIT, signal.SIGTERM): signal.signal(number, say)
child = os.fork()
if child: os.write(1, b'up\n')
while True: signal.pause()
"#,
    );
    let mut app = app;
    app.boot();
    app.wait("web", "ready");
    // when
    app.ok(&["stop", "web"]);
    // then: the main process has heard each once; the child, being left, was ended with the tree
    let lines: Vec<String> = app.logs("web").iter().map(|line| line["message"].as_str().unwrap().to_owned()).collect();
    let got: Vec<&str> = lines.iter().filter_map(|line| line.strip_prefix("got ")).collect();
    assert_eq!(&got[..3], ["SIGUSR1", "SIGQUIT", "SIGTERM"], "{lines:?}");
    assert_eq!(app.instance("web.1")["exit"]["code"], 9);
}

/// TERM stays pending on a stopped process: it has to be continued.
/// Fault 14.
#[test]
fn a_stopped_child_ends_by_term_without_being_killed() {
    // given
    let app = App::start("process.web = { run = [\"sleep\", \"1000\"], stop = [\"TERM\", \"30s\", \"KILL\"] }");
    app.wait("web", "ready");
    let pid = app.pid("web.1");
    let pidfd = svd_sys::pidfd::open(pid).unwrap();
    svd_sys::pidfd::send_signal(pidfd.as_fd(), 19).unwrap();
    eventually("it to be stopped", || common::status_field(pid, "State").starts_with('T'));
    // when
    app.ok(&["stop", "web"]);
    // then
    assert_eq!(app.instance("web.1")["exit"]["signal"], "TERM");
    assert!(!kinds(&app.events_of("web.1")).contains(&"instance.escalated"));
}

/// A process that the kernel does not let die (a hung file system; here a frozen cgroup of version 1, which holds KILL
/// back as well).
/// Fault 15.
#[test]
fn a_process_that_cannot_die_is_told_as_stuck_and_no_second_one_is_started() {
    let freezer = Path::new("/sys/fs/cgroup/freezer");
    let group = freezer.join(format!("svd-test-{}", std::process::id()));
    if std::fs::create_dir(&group).is_err() || !group.join("freezer.state").exists() {
        let _ = std::fs::remove_dir(&group);
        return skipped("a process that cannot die needs root and a freezer cgroup of version 1");
    }
    // given
    let mut app = App::start(
        "process.web = { run = [\"sleep\", \"1000\"], stop = [\"TERM\", \"100ms\", \"KILL\"] }
         process.other = { run = [\"sleep\", \"1000\"] }",
    );
    app.wait("all", "ready");
    let (pid, other) = (app.pid("web.1"), app.pid("other.1"));
    std::fs::write(group.join("cgroup.procs"), pid.to_string()).unwrap();
    std::fs::write(group.join("freezer.state"), "FROZEN").unwrap();
    let thaw = Thaw(group);

    // when
    let start = Instant::now();
    let reply = app.svctl(&["restart", "web"]);
    // then: the command ends with an error that says so, in bounded time
    assert_eq!(reply.code, Some(1), "{reply:?}");
    assert!(reply.err.contains("web.1"), "{reply:?}");
    assert!(start.elapsed() < DEADLINE);
    let stuck = app.instance("web.1");
    assert_eq!((stuck["state"].as_str(), stuck["pid"].as_i64()), (Some("stuck"), Some(i64::from(pid))), "{stuck:#}");
    // and: no second copy, not even when asked for, and others go on
    app.svctl(&["start", "web"]);
    let below = svd_sys::tree::descendants(app.keeper()).unwrap();
    let sleeps = below.iter().filter(|proc| is_sleep(proc.pid)).count();
    assert_eq!(sleeps, 2, "{below:?}");
    assert_eq!(app.pid("other.1"), other);
    app.ok(&["restart", "other"]);

    // when: the kernel lets it go
    drop(thaw);
    // then: it is dead, and what is wanted comes about
    common::eventually("web to be no longer stuck", || !is_alive(pid));
    app.until("web to be settled", |status| {
        let state = status["processes"][0]["instances"][0]["state"].as_str()?;
        (state == "ready" || state == "stopped").then_some(())
    });
    assert_eq!(app.stop(), Some(0));
}

fn is_sleep(pid: i32) -> bool {
    std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.starts_with(b"sleep\0"))
}

/// Lets a frozen group go, also when the test fails.
struct Thaw(std::path::PathBuf);

impl Drop for Thaw {
    fn drop(&mut self) {
        let _ = std::fs::write(self.0.join("freezer.state"), "THAWED");
        eventually("the group to be empty", || std::fs::remove_dir(&self.0).is_ok());
    }
}

/// TERM while services are still being started.
/// Fault 16.
#[test]
fn a_stop_before_everything_has_started_stops_what_has_and_starts_nothing_more() {
    // given: a process that never gets ready, and others that wait for it
    let mut app = App::start(
        "[process.slow]
         run = [\"sleep\", \"1000\"]
         ready = { run = \"false\", timeout = \"5m\" }
         [process.many]
         run = [\"sleep\", \"1000\"]
         count = 20
         [process.late]
         run = [\"sleep\", \"1000\"]
         after = [\"slow\"]",
    );
    app.until_state("slow.1", "starting");
    assert_eq!(app.instance("late.1")["state"], "waiting");
    // when
    let start = Instant::now();
    assert_eq!(app.stop(), Some(0));
    // then
    assert!(start.elapsed() < Duration::from_secs(8), "{:?}", start.elapsed());
}

/// Stopping as asked must not hide that something essential had failed.
/// Fault 16.
#[test]
fn a_stop_after_an_essential_failure_does_not_turn_it_into_success() {
    // given: an essential failure whose shutdown is held up by a service that takes its time
    let mut app = App::new(
        "[process.migrate]
         run = [\"/bin/sh\", \"-c\", \"read x < fail; exit 7\"]
         oneshot = true
         essential = true
         [process.slow]
         run = [\"/bin/sh\", \"-c\", \"trap 'read x < end; exit 0' TERM; echo up; while :; do sleep 1000 & wait; done\"]
         ready = { log = \"up\" }
         stop = [\"TERM\", \"30s\", \"KILL\"]",
    );
    let (mut fail, mut end) = (app.fifo("fail"), app.fifo("end"));
    app.boot();
    app.wait("slow", "ready");
    fail.write_all(b"now\n").unwrap();
    app.until("the shutdown to begin", |status| (status["svd"]["state"] == "stopping").then_some(()));
    // when
    app.signal(15);
    end.write_all(b"now\n").unwrap();
    // then
    assert_eq!(app.over(), Some(7));
}
