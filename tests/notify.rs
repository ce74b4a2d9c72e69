//! What services say over their notify sockets (sd_notify(3)), through real programs: watchdogs, reloads, more time, another main
//! process, stored descriptors, and those who say what they should not.

mod common;

use common::App;
use serde_json::Value;
use std::io::Write as _;
use std::os::unix::net::UnixDatagram;

/// A service that says READY=1 and then does line by line what it is told over the named pipe `NAME.cmd`: a Python
/// expression or statement. `say` sends a message, `fds` one with descriptors, `barrier` waits until all before it was taken in.
const PUPPET: &str = r#"
import array, os, select, signal, socket, sys, threading, time
name = sys.argv[1]
sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
PATH = os.environ['NOTIFY_SOCKET']
def say(text, path=None):
    sock.sendto(text if isinstance(text, bytes) else text.encode(), path or PATH)
def fds(text, *numbers):
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array('i', numbers))]
    sock.sendmsg([text.encode()], rights, 0, PATH)
def barrier():
    read, write = os.pipe()
    fds('BARRIER=1', write)
    os.close(write)
    poll = select.poll()
    poll.register(read, 0)
    assert poll.poll(20000), 'no answer to the barrier'
    os.close(read)
def file(name, text):
    with open(name + '.new', 'w') as out: out.write(text)
    os.rename(name + '.new', name)
sent, silent, beat = 0, False, threading.Condition()
def ping(every=0.05):
    def run():
        global sent
        while not silent:
            say('WATCHDOG=1')
            with beat:
                sent += 1
                beat.notify_all()
                beat.wait(every)
    threading.Thread(target=run, daemon=True).start()
def pinged(count):
    with beat:
        enough = sent + count
        while sent < enough: beat.wait()
def child(run=None):
    pid = os.fork()
    if pid: return pid
    if run:
        run()
        os._exit(0)
    while True: signal.pause()
def ended(pid, reap=True):
    os.waitid(os.P_PID, pid, os.WEXITED | (0 if reap else os.WNOWAIT))
def reload_with(answer):
    signal.signal(signal.SIGHUP, lambda *_: answer())
def now(): return time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
file(name + '.env', ''.join(k + '=' + v + '\n' for k, v in os.environ.items()))
if len(sys.argv) > 2: exec(sys.argv[2])
say('READY=1')
if name + '.cmd' in os.listdir('.'):
    for line in open(name + '.cmd'): exec(line)
while True: signal.pause()
"#;

/// An app of puppets, with what is to be in the config of each.
fn puppets(config: &[(&str, &str)]) -> (App, Vec<std::fs::File>) {
    let with_start: Vec<_> = config.iter().map(|(name, keys)| (*name, *keys, "")).collect();
    puppets_that(&with_start)
}

/// As [`puppets`]; the last is what each does before it is ready.
fn puppets_that(config: &[(&str, &str, &str)]) -> (App, Vec<std::fs::File>) {
    let mut text = String::new();
    for (name, keys, start) in config {
        let ready = if keys.contains("ready =") { "" } else { "ready = { notify = true }" };
        text +=
            &format!("[process.{name}]\nrun = [\"@PY@\", \"puppet.py\", \"{name}\", \"{start}\"]\n{ready}\n{keys}\n");
    }
    let mut app = App::new(&text);
    app.write("puppet.py", PUPPET);
    let strings = config.iter().map(|(name, ..)| app.fifo(&format!("{name}.cmd"))).collect();
    app.boot();
    app.wait("all", "ready");
    (app, strings)
}

/// Has a puppet do something, and waits until svd has taken in what it said by that.
fn pull(app: &App, string: &mut std::fs::File, what: &str) {
    let done = app.path("done");
    let _none = std::fs::remove_file(&done);
    writeln!(string, "{what}").unwrap();
    writeln!(string, "barrier(); file('done', 'yes')").unwrap();
    common::eventually("the puppet has done it", || done.exists());
}

fn notify(app: &App, id: &str) -> Value {
    app.instance(id)["notify"].clone()
}

/// Waits until svd shows this of what an instance said: what was taken in is told a moment later, without an event.
fn shows(app: &App, id: &str, field: &str, value: impl Into<Value>) {
    let value = value.into();
    common::eventually(&format!("{id} to be shown with {field} = {value}"), || notify(app, id)[field] == value);
}

fn has_event(app: &App, id: &str, kind: &str) -> bool {
    app.events_of(id).iter().any(|event| event["kind"] == kind)
}

#[test]
fn one_that_gives_no_sign_of_life_is_aborted_and_started_again_and_others_are_not() {
    // given: two that ping, and were told how often
    let keys = "watchdog = \"1500ms\"\nrestart = { backoff = \"10ms\" }";
    let (app, _strings) = puppets_that(&[("web", keys, ""), ("calm", keys, "ping()")]);
    assert!(app.read("web.env").contains("WATCHDOG_USEC=1500000\n"), "{}", app.read("web.env"));
    let (web, calm) = (app.pid("web.1"), app.pid("calm.1"));
    assert!(app.read("web.env").lines().any(|line| line == format!("WATCHDOG_PID={web}")));
    // when: one of them hangs
    // then: it is sent ABRT, and started again; its command pipe is served by the next one
    app.until("web.1 to be another", |status| {
        let pid = status["processes"][0]["instances"][0]["pid"].as_i64()?;
        (pid != i64::from(web)).then_some(())
    });
    app.wait("web", "ready");
    let hung = app.events_of("web.1").into_iter().find(|event| event["kind"] == "instance.hung").expect("told");
    assert!(hung["message"].as_str().unwrap().contains("no sign of life for 1.5 s"), "{hung}");
    let exited = app.events_of("web.1").into_iter().find(|event| event["kind"] == "instance.exited").expect("told");
    assert_eq!(exited["exit"]["signal"], "ABRT", "{exited}");
    let backoff = app.ok(&["why", "web.1"]);
    assert!(backoff.contains("watchdog"), "{backoff}");
    // and: the one that pings is as it was
    assert_eq!(app.pid("calm.1"), calm);
}

/// Fault 35.
#[test]
fn a_stopped_or_killed_manager_trips_no_watchdog() {
    // given
    let (mut app, mut strings) = puppets_that(&[("web", "watchdog = \"1s\"", "ping()")]);
    let pid = app.pid("web.1");
    let manager = |app: &App| i32::try_from(app.status()["svd"]["manager_pid"].as_i64().unwrap()).unwrap();
    // when: the manager stands still for several of its intervals, counted by the service's own pings
    let stopped = manager(&app);
    let pidfd = svd_sys::pidfd::open(stopped).unwrap();
    svd_sys::pidfd::send_signal(std::os::fd::AsFd::as_fd(&pidfd), 19).unwrap();
    writeln!(strings[0], "pinged(80); file('slept', 'yes')").unwrap();
    common::eventually("the service has gone on for four intervals", || app.path("slept").exists());
    svd_sys::pidfd::send_signal(std::os::fd::AsFd::as_fd(&pidfd), 18).unwrap();
    // and when: it is killed
    app.until("it answers again", |_| Some(()));
    svd_sys::pidfd::send_signal(std::os::fd::AsFd::as_fd(&pidfd), 9).unwrap();
    app.until("the next manager", |status| {
        (status["svd"]["manager_pid"].as_i64()? != i64::from(stopped)).then_some(())
    });
    writeln!(strings[0], "pinged(60); file('again', 'yes')").unwrap();
    common::eventually("the service has gone on for three intervals", || app.path("again").exists());
    // then
    assert_eq!(app.pid("web.1"), pid);
    assert!(!has_event(&app, "web.1", "instance.hung"));
    assert_eq!(app.stop(), Some(0));
}

#[test]
fn a_service_may_pull_the_trigger_itself_and_set_its_own_interval() {
    let keys = "restart = { backoff = \"10ms\" }";
    let (app, mut strings) = puppets(&[("web", keys), ("own", keys)]);
    let (web, own) = (app.pid("web.1"), app.pid("own.1"));
    // when
    writeln!(strings[0], "say('WATCHDOG=trigger')").unwrap();
    writeln!(strings[1], "say('WATCHDOG_USEC=300000')").unwrap();
    // then
    for (id, before, why) in [("web.1", web, "said itself that it hangs"), ("own.1", own, "no sign of life for 0.3 s")]
    {
        app.until("the one that hangs to be replaced", |_| {
            let told = app.events_of(id).into_iter().find(|event| event["kind"] == "instance.hung")?;
            assert!(told["message"].as_str().unwrap().contains(why), "{told}");
            (app.instance(id)["state"] == "ready" && app.pid(id) != before).then_some(())
        });
    }
}

#[test]
fn reload_waits_for_one_that_answers_and_fails_for_one_that_does_not_come_to_an_end() {
    // given
    let (app, mut strings) = puppets(&[("web", "reload = { signal = \"HUP\", timeout = \"1s\" }")]);
    let pid = app.pid("web.1");
    // when: it answers, and is ready again
    let mut read = app.fifo("read");
    let full =
        "say('RELOADING=1\\nMONOTONIC_USEC=%d' % now()), open('read').readline(), file('done', 'yes'), say('READY=1')";
    pull(&app, &mut strings[0], &format!("reload_with(lambda: ({full}))"));
    std::fs::remove_file(app.path("done")).unwrap();
    let told = std::thread::scope(|scope| {
        let reload = scope.spawn(|| app.ok(&["reload", "web"]));
        shows(&app, "web.1", "reloading", true);
        assert!(!reload.is_finished());
        read.write_all(b"\n").unwrap();
        reload.join().unwrap()
    });
    // then: it has read its config before the command ended
    assert!(told.contains("reloaded") && app.path("done").exists(), "{told}");
    assert!(has_event(&app, "web.1", "instance.signalled"));
    // when: it answers and does not come to an end
    pull(&app, &mut strings[0], "reload_with(lambda: say('RELOADING=1\\nMONOTONIC_USEC=%d' % now()))");
    let reply = app.svctl(&["reload", "web"]);
    // then
    assert_eq!(reply.code, Some(1), "{reply:?}");
    assert!(reply.err.contains("has not said READY=1 within"), "{reply:?}");
    shows(&app, "web.1", "reloading", true);
    // when: what it answers began before it was asked
    pull(&app, &mut strings[0], "say('READY=1')");
    let stale = "say('RELOADING=1\\nMONOTONIC_USEC=%d' % (now() - 5000000)), say('READY=1')";
    pull(&app, &mut strings[0], &format!("reload_with(lambda: ({stale}))"));
    let told = app.ok(&["reload", "web"]);
    // then
    assert!(told.contains("nobody can tell"), "{told}");
    assert_eq!(app.pid("web.1"), pid);
}

#[test]
fn a_service_gets_the_time_that_it_asks_for_to_start_to_reload_and_to_stop() {
    // given: a start, a reload and a stop that take longer than they may
    let start = "say('EXTEND_TIMEOUT_USEC=20000000'), time.sleep(1.2)";
    let app = App::new(&format!(
        "[process.web]\nrun = [\"@PY@\", \"puppet.py\", \"web\", \"{start}\"]\nready = {{ notify = true, timeout = \"500ms\" }}\n\
         reload = {{ timeout = \"300ms\" }}\nstop = [\"TERM\", \"300ms\", \"KILL\"]\nrestart = \"never\"\n"
    ));
    app.write("puppet.py", PUPPET);
    let mut string = app.fifo("web.cmd");
    let mut app = app;
    app.boot();
    app.wait("web", "ready");
    // when
    let slow =
        "say('RELOADING=1\\nMONOTONIC_USEC=%d\\nEXTEND_TIMEOUT_USEC=20000000' % now()), time.sleep(1), say('READY=1')";
    pull(&app, &mut string, &format!("reload_with(lambda: ({slow}))"));
    app.ok(&["reload", "web"]);
    let last = "say('EXTEND_TIMEOUT_USEC=20000000'), time.sleep(1), file('saved', 'yes'), os._exit(0)";
    pull(&app, &mut string, &format!("signal.signal(signal.SIGTERM, lambda *_: ({last}))"));
    app.ok(&["stop", "web"]);
    // then
    assert_eq!(app.read("saved"), "yes");
    assert_eq!(app.instance("web.1")["exit"]["code"], 0);
}

#[test]
fn stored_descriptors_outlive_restarts_and_crashes_and_are_closed_by_a_stop() {
    // given: one with a listener and a store of two
    let keys = "fd_store = 2\nlisten = \"127.0.0.1:0\"\nhandoff = \"listen-fds\"\nrestart = { backoff = \"10ms\" }";
    let (app, mut strings) = puppets(&[("web", keys)]);
    assert!(app.read("web.env").contains("FDSTORE=2\n"), "{}", app.read("web.env"));
    // when: it stores one twice, a second one, and a third that has no room
    pull(&app, &mut strings[0], "f = os.memfd_create('state'); os.write(f, b'precious')");
    pull(&app, &mut strings[0], "fds('FDSTORE=1\\nFDNAME=state', f); fds('FDSTORE=1\\nFDNAME=state', f)");
    pull(&app, &mut strings[0], "r, w = os.pipe(); fds('FDSTORE=1\\nFDNAME=pipe', r)");
    pull(&app, &mut strings[0], "fds('FDSTORE=1\\nFDNAME=more', os.memfd_create('more'))");
    // then
    shows(&app, "web.1", "stored", serde_json::json!(["state", "pipe"]));
    shows(&app, "web.1", "refused_descriptors", 1);
    // when: the other side of the pipe hangs up
    writeln!(strings[0], "os.close(r); os.close(w)").unwrap();
    shows(&app, "web.1", "stored", serde_json::json!(["state"]));
    // when: it is killed, and when it is restarted
    for round in 0..2 {
        let before = app.pid("web.1");
        match round {
            0 => _ = app.ok(&["signal", "KILL", "web"]),
            _ => _ = app.ok(&["restart", "web"]),
        }
        app.until("the next one", |status| {
            let found = &status["processes"][0]["instances"][0];
            (found["state"] == "ready" && found["pid"].as_i64()? != i64::from(before)).then_some(())
        });
        // Until it is gone it may take what the next one is to be told.
        common::eventually("the end of the one before", || !common::is_alive(before));
        // then: it finds it behind its listener
        let env = app.read("web.env");
        assert!(env.contains("LISTEN_FDS=2\n") && env.contains("LISTEN_FDNAMES=http:state"), "{env}");
        assert!(env.lines().any(|line| line == format!("LISTEN_PID={}", app.pid("web.1"))), "{env}");
        pull(&app, &mut strings[0], "file('found', os.pread(4, 100, 0).decode())");
        assert_eq!(app.read("found"), "precious");
    }
    // when: it is stopped and started
    app.ok(&["stop", "web"]);
    app.ok(&["start", "web"]);
    // then: nothing is left of it
    assert!(app.read("web.env").contains("LISTEN_FDS=1\n"), "{}", app.read("web.env"));
    // when: it stores, and takes out
    pull(&app, &mut strings[0], "fds('FDSTORE=1\\nFDNAME=a\\nFDPOLL=0', os.memfd_create('a'))");
    assert_eq!(notify(&app, "web.1")["stored"], serde_json::json!(["a"]));
    pull(&app, &mut strings[0], "say('FDSTOREREMOVE=1\\nFDNAME=a')");
    assert_eq!(notify(&app, "web.1"), Value::Null);
}

#[test]
fn a_daemon_that_hands_over_to_its_child_is_one_life_and_its_status_is_known() {
    // given: a main process that names its child and leaves
    let mut app =
        App::new("[process.web]\nrun = [\"@PY@\", \"daemon.py\"]\nready = { notify = true }\nrestart = \"never\"\n");
    app.write(
        "daemon.py",
        "import os, signal, socket\n\
         s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)\n\
         r, w = os.pipe()\n\
         kid = os.fork()\n\
         if kid == 0:\n    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))\n    signal.signal(signal.SIGUSR1, lambda *_: os._exit(7))\n    \
             os.close(w)\n    os.read(r, 1)\n    s.sendto(b'READY=1', os.environ['NOTIFY_SOCKET'])\n    while True: signal.pause()\n\
         s.sendto(b'MAINPID=%d' % kid, os.environ['NOTIFY_SOCKET'])\n\
         print(kid, flush=True)\n",
    );
    // when
    app.boot();
    app.wait("web", "ready");
    // then: the child is the main process, and its parent's end was none
    let told = app.events_of("web.1");
    assert!(told.iter().any(|event| event["kind"] == "instance.main_named"), "{told:#?}");
    assert!(!told.iter().any(|event| event["kind"] == "instance.exited"), "{told:#?}");
    let kid: i32 = String::from_utf8(app.segments("web.1", "out")).unwrap().trim().parse().unwrap();
    assert_eq!(app.pid("web.1"), kid);
    // when: the manager is killed, and the child is sent a signal through svd
    let manager = i32::try_from(app.status()["svd"]["manager_pid"].as_i64().unwrap()).unwrap();
    let pidfd = svd_sys::pidfd::open(manager).unwrap();
    svd_sys::pidfd::send_signal(std::os::fd::AsFd::as_fd(&pidfd), 9).unwrap();
    app.until("the next manager", |status| {
        (status["svd"]["manager_pid"].as_i64()? != i64::from(manager)).then_some(())
    });
    assert_eq!(app.pid("web.1"), kid);
    app.ok(&["signal", "USR1", "web"]);
    // then: its end is the instance's, with its status
    app.until("its end", |status| {
        let found = &status["processes"][0]["instances"][0];
        (found["exit"]["code"] == 7).then_some(())
    });
}

/// What a service has said, and what svd holds for it, is not lost with the programs that were told.
#[test]
fn what_a_service_has_said_and_stored_outlives_an_upgrade_of_manager_and_keeper() {
    // given: one that pings, has a descriptor stored, says how it is, and has named its child
    let keys = "watchdog = \"1500ms\"\nfd_store = 1\nrestart = { backoff = \"10ms\" }";
    let (app, mut strings) = puppets_that(&[("web", keys, "ping()")]);
    pull(&app, &mut strings[0], "f = os.memfd_create('state'); os.write(f, b'precious')");
    pull(&app, &mut strings[0], "fds('FDSTORE=1\\nFDNAME=state', f); say('STATUS=halfway\\nERRNO=5')");
    pull(&app, &mut strings[0], "main = child(); say('MAINPID=%d' % main); file('main', str(main))");
    let main: i32 = app.read("main").parse().unwrap();
    app.until("the named one to be the main process", |_| (app.pid("web.1") == main).then_some(()));
    let said = |app: &App| {
        let web = app.instance("web.1");
        assert_eq!((web["pid"].as_i64(), web["reason"].as_str()), (Some(i64::from(main)), Some("halfway")), "{web}");
        assert_eq!((&web["notify"]["errno"], &web["notify"]["stored"]), (&5.into(), &serde_json::json!(["state"])));
    };
    said(&app);
    // when
    app.ok(&["upgrade"]);
    // then: all of it is known, and signs of life are still heard
    assert!(app.events().iter().any(|event| event["kind"] == "upgrade.done"));
    said(&app);
    writeln!(strings[0], "pinged(60); file('pinged', 'yes')").unwrap();
    common::eventually("the service has gone on for two intervals", || app.path("pinged").exists());
    said(&app);
    assert!(!has_event(&app, "web.1", "instance.hung"));
    // when: it falls silent
    writeln!(strings[0], "silent = True").unwrap();
    // then: it is seen to, and the next one finds what was stored
    app.until("the next one", |_| {
        (app.instance("web.1")["state"] == "ready" && app.pid("web.1") != main).then_some(())
    });
    assert!(has_event(&app, "web.1", "instance.hung"));
    assert!(app.read("web.env").contains("LISTEN_FDNAMES=state\n"), "{}", app.read("web.env"));
    pull(&app, &mut strings[0], "file('found', os.pread(3, 100, 0).decode())");
    assert_eq!(app.read("found"), "precious");
}

/// Its parent is the one who is told how it ended, so svd says that it does not know.
#[test]
fn a_main_process_whose_parent_lives_is_signalled_and_its_end_is_the_instances_with_a_status_that_is_unknown() {
    for how in ["say('MAINPID=%d' % main)", "fds('MAINPIDFD=1', os.pidfd_open(main))"] {
        // given
        let (app, mut strings) = puppets(&[("web", "restart = \"never\"")]);
        let parent = app.pid("web.1");
        pull(&app, &mut strings[0], &format!("main = child(); file('main', str(main)); {how}"));
        let main: i32 = app.read("main").parse().unwrap();
        app.until("the named one to be the main process", |_| (app.pid("web.1") == main).then_some(()));
        assert!(has_event(&app, "web.1", "instance.main_named"));
        // when
        app.ok(&["signal", "TERM", "web"]);
        // then
        let exit = app.until("its end", |_| Some(app.instance("web.1")["exit"].clone()).filter(|exit| !exit.is_null()));
        assert_eq!(exit["unknown"], true, "{how}: {exit}");
        common::eventually("nobody of it to be left", || !common::is_alive(parent) && !common::is_alive(main));
    }
}

/// Fault 59. A process that is gone when its words are read has nothing left by which it could be told whose it was.
#[test]
fn who_is_gone_before_it_is_read_is_not_heard_but_last_words_of_a_service_are() {
    // given: a keeper that is held up
    let (app, mut strings) = puppets(&[("web", ""), ("sibling", ""), ("last", "restart = \"never\"")]);
    let env = app.read("web.env");
    let path = env.lines().find_map(|line| line.strip_prefix("NOTIFY_SOCKET=")).unwrap();
    let last = svd_sys::pidfd::open(app.pid("last.1")).unwrap();
    app.signal(19);
    // when: a child of a sibling speaks for another service, ends, and is reaped
    writeln!(strings[1], "ended(child(lambda: say('STATUS=spoofed\\nSTOPPING=1', '{path}')))").unwrap();
    writeln!(strings[1], "file('spoofed', 'yes')").unwrap();
    // and: so does one of its own, and another one that nobody has waited for yet
    writeln!(strings[0], "ended(child(lambda: say('EXIT_STATUS=4')))").unwrap();
    writeln!(strings[0], "ended(child(lambda: say('ERRNO=7')), reap=False); file('own', 'yes')").unwrap();
    // and: a main process names another one and ends
    writeln!(strings[2], "main = child(); file('main', str(main)); say('MAINPID=%d' % main); os._exit(3)").unwrap();
    common::wait_path(&app.path("spoofed"));
    common::wait_path(&app.path("own"));
    assert!(common::wait_ended(std::os::fd::AsFd::as_fd(&last), common::DEADLINE));
    app.signal(18);
    // then
    shows(&app, "web.1", "dropped_messages", 2);
    shows(&app, "web.1", "errno", 7);
    let web = app.instance("web.1");
    assert_eq!((web["state"].as_str(), web["reason"].as_str()), (Some("ready"), None), "{web}");
    assert_eq!(web["notify"]["exit_status"], Value::Null, "{web}");
    let main: i32 = app.read("main").parse().unwrap();
    app.until("the named one to be the main process", |_| (app.pid("last.1") == main).then_some(()));
    assert!(!has_event(&app, "last.1", "instance.exited"));
    // and: a short-lived helper that waits for the barrier is heard
    pull(&app, &mut strings[0], "ended(child(lambda: (say('EXIT_STATUS=4'), barrier())))");
    shows(&app, "web.1", "exit_status", 4);
}

/// Faults 59 and 62.
#[test]
fn nobody_names_a_main_process_that_is_not_its_own() {
    let (app, mut strings) = puppets(&[("web", ""), ("other", "")]);
    let (web, other, keeper) = (app.pid("web.1"), app.pid("other.1"), app.keeper());
    let manager = app.status()["svd"]["manager_pid"].as_i64().unwrap();
    for pid in [i64::from(other), i64::from(keeper), manager, 1, i64::from(std::process::id()), 999_999_999] {
        pull(&app, &mut strings[0], &format!("say('MAINPID={pid}')"));
    }
    pull(&app, &mut strings[0], &format!("fds('MAINPIDFD=1', os.pidfd_open({other}))"));
    pull(&app, &mut strings[0], "fds('MAINPIDFD=1', 0)");
    assert_eq!((app.pid("web.1"), app.pid("other.1")), (web, other));
    // 1 is no process that anybody names: such a line is passed over.
    shows(&app, "web.1", "dropped_messages", 7);
    assert!(!has_event(&app, "web.1", "instance.main_named"));
}

/// Faults 59 and 60.
#[test]
fn what_is_malformed_or_spoofed_costs_a_counter_and_no_descriptor() {
    // given
    let (app, mut strings) = puppets(&[("web", ""), ("sibling", "")]);
    pull(&app, &mut strings[0], "say('STATUS=well')");
    let keeper_fds = || std::fs::read_dir(format!("/proc/{}/fd", app.keeper())).unwrap().count();
    let before = keeper_fds();
    let path = app.read("web.env").lines().find_map(|line| Some(line.strip_prefix("NOTIFY_SOCKET=")?.to_owned()));
    let path = path.unwrap();
    // when: what breaks the rules, by the service itself
    let mut refused = 0;
    for bad in [
        "say(b'')",
        "say(b'x' * 65536)",
        "say(b'STATUS=a\\0READY=1')",
        "say(b'STATUS=\\xff')",
        "say('BARRIER=1')",
        "fds('BARRIER=1', 1, 2)",
        "fds('BARRIER=1\\nBARRIER=1', 1)",
        "fds('BARRIER=1\\nSTATUS=a', 1)",
        "fds('STATUS=a', *([1] * 253))",
        "fds('MAINPIDFD=1', 1, 2)",
        "say('FDSTORE=1')",
    ] {
        pull(&app, &mut strings[0], bad);
        refused += 1;
        shows(&app, "web.1", "dropped_messages", refused);
    }
    // more than the kernel takes: the sender is told
    pull(&app, &mut strings[0], "import errno");
    pull(&app, &mut strings[0], "ok = False");
    writeln!(
        strings[0],
        "exec('try: fds(\"STATUS=a\", *([1] * 300))\\nexcept OSError as e: ok = e.errno == errno.EINVAL')"
    )
    .unwrap();
    pull(&app, &mut strings[0], "file('kernel', str(ok))");
    assert_eq!(app.read("kernel"), "True");
    // and: descriptors that nobody asked for, beside good words
    pull(&app, &mut strings[0], "fds('STATUS=well', 0, 1, 2)");
    shows(&app, "web.1", "refused_descriptors", 3);
    // when: a sibling and a stranger speak for it
    pull(&app, &mut strings[1], &format!("say('STATUS=spoofed\\nSTOPPING=1\\nMAINPID=%d' % os.getpid(), '{path}')"));
    UnixDatagram::unbound().unwrap().send_to(b"STATUS=spoofed\nSTOPPING=1", &path).unwrap();
    pull(&app, &mut strings[0], "say('ERRNO=5\\nEXIT_STATUS=3')");
    // then
    shows(&app, "web.1", "errno", 5);
    shows(&app, "web.1", "exit_status", 3);
    shows(&app, "web.1", "dropped_messages", refused + 2);
    let web = app.instance("web.1");
    assert_eq!((web["state"].as_str(), web["reason"].as_str()), (Some("ready"), Some("well")), "{web}");
    common::eventually("no descriptor of theirs is left", || keeper_fds() == before);
}

/// Fault 59.
#[test]
fn another_user_cannot_speak_for_a_service() {
    if svd_sys::process::uid() != 0 {
        return common::skipped("needs root to run services as other users");
    }
    // given: a service of nobody's, which is heard, and the socket of another one
    let code = "import os, socket, signal, sys\n\
        s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)\n\
        own = os.environ['NOTIFY_SOCKET']\n\
        s.sendto(b'READY=1', own)\n\
        sys.stdin = open('own.path')\n\
        try: s.sendto(b'STOPPING=1', sys.stdin.read())\n\
        except OSError as e: print(type(e).__name__, flush=True)\n\
        while True: signal.pause()\n";
    let mut app = App::new(
        "[process.own]\nrun = [\"@PY@\", \"puppet.py\", \"own\"]\nready = { notify = true }\n\
         [process.nobody]\nrun = [\"@PY@\", \"nobody.py\"]\nuser = 65534\nready = { notify = true }\nafter = [\"own\"]\n",
    );
    let start = "import os\nopen('own.path', 'w').write(os.environ['NOTIFY_SOCKET'])\n";
    app.write("puppet.py", &format!("{start}{PUPPET}"));
    app.write("nobody.py", code);
    // when
    app.boot();
    app.wait("all", "ready");
    // then
    common::eventually("what came of it", || !app.segments("nobody.1", "out").is_empty());
    assert_eq!(String::from_utf8_lossy(&app.segments("nobody.1", "out")), "PermissionError\n");
    assert_eq!(app.instance("own.1")["state"], "ready");
}

/// Fault 58.
#[test]
fn one_that_never_stops_talking_does_not_keep_svd_from_the_others() {
    // given: one that pings, one that will hang, and one that floods its socket with news
    let keys = "watchdog = \"1s\"\nrestart = { backoff = \"10ms\" }";
    let (app, mut strings) =
        puppets_that(&[("calm", keys, "ping()"), ("hangs", keys, "ping(0.3)"), ("loud", "", "n = 0")]);
    let (calm, loud) = (app.pid("calm.1"), app.pid("loud.1"));
    // when
    writeln!(strings[2], "while True: n += 1; say('STATUS=%d' % n)").unwrap();
    let flooded = |app: &App| app.instance("loud.1")["reason"].as_str().is_some_and(|said| said.len() >= 4);
    common::eventually("the flood", || flooded(&app));
    writeln!(strings[1], "os.kill(os.getpid(), signal.SIGSTOP)").unwrap();
    // then: the one that hangs is seen to, the one that pings is not, and svd answers
    app.until("the one that hangs", |_| has_event(&app, "hangs.1", "instance.hung").then_some(()));
    app.ok(&["status"]);
    assert_eq!((app.pid("calm.1"), app.pid("loud.1")), (calm, loud));
    assert!(!has_event(&app, "calm.1", "instance.hung"));
}
