//! A process is known by what svd holds of it, never by a number: what is told of it is true, and nobody else is hit.

mod common;

use common::{App, DEADLINE, eventually, is_alive, skipped};
use serde_json::Value;
use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::process::{Command, Stdio};

/// A pid that was given to a stranger: signals for the ended service must not reach it, be it svctl signal, stop or kill.
/// Faults 1 and 62.
#[test]
fn a_stranger_with_the_pid_of_an_ended_service_is_never_signalled() {
    // A kernel where a pid namespace has its own pid_max: elsewhere the whole machine would be squeezed.
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse::<u32>().unwrap_or(0));
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    let may = Command::new("unshare").args(["--pid", "--fork", "--mount-proc", "true"]).stderr(Stdio::null()).status();
    if version < (6, 14) || !may.is_ok_and(|status| status.success()) {
        return skipped("pid reuse needs root, unshare(1) and a pid_max of the namespace's own (Linux 6.14)");
    }

    // given: in a pid namespace with few numbers, a service that has ended, and a stranger that got its number
    let app = App::new(
        "process.keeps = { run = [\"sleep\", \"1000\"] }
         process.victim = { run = \"true\", restart = \"never\" }",
    );
    let script = app.write(
        "driver.py",
        r#"
import os, signal, subprocess, sys, json
svd, svctl, root, where = sys.argv[1:]
open('/proc/sys/kernel/pid_max', 'w').write('500')
os.chdir(where)
# The first 300 numbers are not given out again.
while True:
    child = os.fork()
    if child == 0: os._exit(0)
    os.waitpid(child, 0)
    if child > 305: break
daemon = subprocess.Popen([svd, 'run', '--root', root, '--log-format', 'json'], stdout=subprocess.DEVNULL)
def ctl(*args, check=True):
    done = subprocess.run([svctl, '--root', root, *args], capture_output=True, text=True)
    if check and done.returncode: raise SystemExit(f'svctl {args}: {done}')
    return done.stdout
while True:
    if subprocess.run([svctl, '--root', root, 'wait', 'victim', '--for', 'stopped', '--timeout', '30s'],
                      capture_output=True).returncode == 0: break
    if daemon.poll() is not None: raise SystemExit('svd has ended')
events = json.loads(ctl('--json', 'events', '-n', '1000'))
pid = next(e['pid'] for e in events if e['kind'] == 'instance.started' and e.get('instance') == 'victim.1')
stranger = None
for _ in range(5000):
    ready, tell = os.pipe()
    child = os.fork()
    if child == 0:
        if os.getpid() != pid: os._exit(0)
        caught = []
        for number in range(1, 65):
            if number not in (9, 19, 17, 32, 33):
                signal.signal(number, lambda n, f: os.write(tell, b'%d ' % n))
        os.write(tell, b'ready ')
        while True: signal.pause()
    os.close(tell)
    if child == pid:
        stranger = child
        assert os.read(ready, 6) == b'ready '
        break
    os.close(ready)
    os.waitpid(child, 0)
assert stranger, f'pid {pid} never came again'
# when: everything is done to the ended service that signals one
for command in (['signal', 'USR1', 'victim'], ['stop', 'victim'], ['kill', '--now', 'victim'], ['reload', 'victim']):
    ctl(*command, check=False)
daemon.terminate()
assert daemon.wait(30) == 0, daemon.returncode
# then: the stranger lives and was sent nothing
assert os.waitpid(stranger, os.WNOHANG) == (0, 0), 'the stranger is dead'
os.set_blocking(ready, False)
try: raise SystemExit('the stranger was sent %r' % os.read(ready, 100))
except BlockingIOError: pass
print('spared', flush=True)
"#,
    );
    let output = Command::new("unshare")
        .args(["--pid", "--fork", "--mount-proc", "--kill-child", common::python()])
        .arg(script)
        .args([env!("CARGO_BIN_EXE_svd"), env!("CARGO_BIN_EXE_svctl")])
        .args([app.path("root"), app.path("")])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("spared"), "{said}{}", String::from_utf8_lossy(&output.stderr));
}

/// Signals of one number are merged by the kernel: one wake-up may mean hundreds of deaths.
/// Fault 5.
#[test]
fn two_hundred_deaths_behind_one_signal_are_two_hundred_records() {
    const COUNT: usize = 200;
    // given: many instances, and a keeper that is held up
    let app = App::start(&format!(
        "process.many = {{ run = [\"sleep\", \"1000\"], count = {COUNT}, restart = \"never\", logs = \"none\" }}"
    ));
    app.wait("many", "ready");
    let status = app.status();
    let instances = status["processes"][0]["instances"].as_array().unwrap();
    let pids: Vec<i32> = instances.iter().map(|i| i32::try_from(i["pid"].as_i64().unwrap()).unwrap()).collect();
    assert_eq!(pids.len(), COUNT);
    app.signal(19);

    // when: all die while it cannot look
    for pid in &pids {
        let pidfd = svd_sys::pidfd::open(*pid).unwrap();
        svd_sys::pidfd::send_signal(pidfd.as_fd(), 9).unwrap();
        assert!(common::wait_ended(pidfd.as_fd(), DEADLINE));
    }
    app.signal(18);

    // then: each death is recorded once, as it was
    app.wait("many", "stopped");
    let events = app.events();
    let exited: Vec<&Value> = events.iter().filter(|event| event["kind"] == "instance.exited").collect();
    let mut by_pid: BTreeMap<i64, usize> = BTreeMap::new();
    for event in &exited {
        assert_eq!(event["exit"]["signal"], "KILL", "{event}");
        *by_pid.entry(event["pid"].as_i64().unwrap()).or_default() += 1;
    }
    assert_eq!(by_pid.len(), COUNT);
    assert!(by_pid.values().all(|count| *count == 1), "{by_pid:?}");
}

/// A child that is dead before anybody has written its pid down must not be lost.
/// Fault 6.
#[test]
fn a_program_that_ends_at_once_a_thousand_times_has_one_start_and_one_end_each_time() {
    // given: programs that end before anything else can happen, restarted at once
    let app = App::start(
        "[defaults]\nlogs = \"none\"\nrestart = { backoff = \"0s..0s\", limit = \"none\" }
         [process.quick]\nrun = \"true\"\ncount = 4",
    );

    // when: it has been so a thousand times
    app.until("a thousand restarts", |status| {
        let instances = status["processes"][0]["instances"].as_array()?;
        let restarts: u64 = instances.iter().filter_map(|instance| instance["restarts"].as_u64()).sum();
        (restarts >= 1000).then_some(())
    });
    app.ok(&["stop", "quick"]);

    // then: starts and ends alternate, with the same pid
    let mut ends = 0;
    for index in 1..=4 {
        let mut running = None;
        for event in app.events_of(&format!("quick.{index}")) {
            match event["kind"].as_str().unwrap() {
                "instance.started" => {
                    assert_eq!(running, None, "started twice: {event}");
                    running = event["pid"].as_i64();
                }
                "instance.exited" => {
                    ends += 1;
                    // The stop may have met one on its way to its program.
                    if event["message"].as_str().unwrap().contains("before exec") {
                        assert_eq!(running, None, "{event}");
                        continue;
                    }
                    assert_eq!(running.take(), event["pid"].as_i64(), "ended without a start: {event}");
                    assert!(event["exit"]["code"] == 0 || event["exit"]["signal"] == "TERM", "{event}");
                }
                _ => {}
            }
        }
        assert_eq!(running, None, "quick.{index} has no end");
    }
    assert!(ends >= 1000, "only {ends} ends");
}

/// The end of the status pipe means success only where the child has said that it is about to exec.
/// Fault 7.
#[test]
fn a_child_that_is_killed_around_its_exec_is_never_taken_for_one_that_ran_and_goes_on_running() {
    // given: a service that is started again and again, and somebody who kills every new child of svd as fast as he can
    let app = App::start(
        "process.keeps = { run = [\"sleep\", \"1000\"] }
         [process.hunted]
         run = [\"/bin/sh\", \"-c\", \"echo ran; exec sleep 1000\"]
         restart = { backoff = \"1ms..1ms\", limit = \"none\" }",
    );
    app.wait("keeps", "ready");
    let spared: Vec<i32> = vec![app.pid("keeps.1"), manager(&app)];
    let hunter = app.write(
        "hunter.py",
        r#"
import os, sys
keeper, spared, count = int(sys.argv[1]), set(sys.argv[2].split(',')), int(sys.argv[3])
early = 0
path = f'/proc/{keeper}/task/{keeper}/children'
while count:
    for pid in set(open(path).read().split()) - spared:
        try:
            early += os.readlink(f'/proc/{pid}/exe').endswith('/svd')
            os.kill(int(pid), 9)
        except OSError:
            continue
        spared.add(pid)
        count -= 1
print(early)
"#,
    );

    // when: two hundred were killed
    let spared = spared.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    let output =
        Command::new(common::python()).arg(hunter).args([&app.keeper().to_string(), &spared, "200"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    app.ok(&["stop", "hunted"]);

    // then: every end has its record, and who died before exec never counted as started
    let events = app.events_of("hunted.1");
    let count = |kind: &str| events.iter().filter(|event| event["kind"] == kind).count();
    let early = events.iter().filter(|event| event["message"].as_str().unwrap().contains("before exec")).count();
    eprintln!("seen before exec by the hunter: {}, by svd: {early}", String::from_utf8_lossy(&output.stdout).trim());
    assert!(count("instance.starting") >= 200, "{}", count("instance.starting"));
    assert_eq!(
        count("instance.starting"),
        count("instance.exited") + count("instance.start_failed"),
        "every start has exactly one end"
    );
    let mut started = false;
    for event in &events {
        let message = event["message"].as_str().unwrap();
        match event["kind"].as_str().unwrap() {
            "instance.starting" => started = false,
            "instance.started" => started = true,
            "instance.exited" => assert_eq!(!started, message.contains("before exec"), "{event}"),
            _ => {}
        }
    }
    assert!(is_alive(app.pid("keeps.1")));
}

/// A stop that comes while the child still has the supervisor's handlers must not be swallowed by them.
/// Fault 9.
#[test]
fn a_stop_right_after_a_start_always_ends_the_child() {
    // given
    let app = App::start("process.brief = { run = [\"sleep\", \"1000\"], stop = [\"TERM\", \"20s\", \"KILL\"] }");
    app.wait("brief", "ready");
    let body = r#"{"targets":["brief"]}"#;
    for round in 0..100 {
        // when: start and stop at the same time
        app.request("POST", "/v1/processes/stop", Some(body));
        std::thread::scope(|scope| {
            let start = scope.spawn(|| app.request("POST", "/v1/processes/start", Some(body)));
            let stop = scope.spawn(|| app.request("POST", "/v1/processes/stop", Some(body)));
            start.join().unwrap();
            stop.join().unwrap();
        });
        // then: after one more stop nothing runs
        let answer = app.request("POST", "/v1/processes/stop", Some(body));
        assert_eq!(answer.status, 200, "round {round}: {answer:?}");
        assert_eq!(app.instance("brief.1")["pid"], Value::Null, "round {round}");
    }
    // and: TERM was enough each time
    for event in app.events_of("brief.1") {
        assert_ne!(event["kind"], "instance.escalated", "{event}");
        if event["kind"] == "instance.exited" {
            assert_eq!(event["exit"]["signal"], "TERM", "{event}");
        }
    }
    eventually("no zombies", || common::zombies_below(app.keeper()) == 0);
}

fn manager(app: &App) -> i32 {
    i32::try_from(app.status()["svd"]["manager_pid"].as_i64().unwrap()).unwrap()
}
