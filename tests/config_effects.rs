//! What a config says is what the kernel says of the child; and what is waited for is waited for.

mod common;

use common::{App, environ, skipped, status_field};
use serde_json::Value;

fn at(app: &App, kind: &str, process: &str) -> usize {
    let events = app.events();
    let found = events.iter().position(|event| event["kind"] == kind && event["process"] == process);
    found.unwrap_or_else(|| panic!("no {kind} of {process} in {events:#?}"))
}

/// Fault 20.
#[test]
fn limits_priorities_masks_and_directories_are_seen_by_the_kernel() {
    // given
    let app = App::new(
        "[process.web]
         run = [\"sleep\", \"1000\"]
         cwd = \"below\"
         umask = \"027\"
         nice = 7
         oom_score_adj = 500
         rlimits = { nofile = \"321:654\", core = 0, nproc = 7654 }
         [process.plain]
         run = [\"sleep\", \"1000\"]",
    );
    std::fs::create_dir(app.path("below")).unwrap();
    let mut app = app;
    app.boot();
    app.wait("all", "ready");
    // then
    let pid = app.pid("web.1");
    let read = |pid: i32, name: &str| std::fs::read_to_string(format!("/proc/{pid}/{name}")).unwrap();
    assert_eq!(status_field(pid, "Umask"), "0027");
    assert_eq!(read(pid, "oom_score_adj").trim(), "500");
    assert_eq!(std::fs::read_link(format!("/proc/{pid}/cwd")).unwrap(), app.path("below"));
    let stat = read(pid, "stat");
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
    assert_eq!(fields[16], "7", "nice");
    let limits = read(pid, "limits");
    let limit = |name: &str| {
        let line = limits.lines().find(|line| line.starts_with(name)).unwrap();
        line[name.len()..].split_ascii_whitespace().take(2).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(limit("Max open files"), ["321", "654"]);
    assert_eq!(limit("Max core file size"), ["0", "0"]);
    assert_eq!(limit("Max processes"), ["7654", "7654"]);
    // and: a session and group of its own, stdin from nowhere, parent the keeper
    assert_eq!((fields[2], fields[3]), (pid.to_string().as_str(), pid.to_string().as_str()));
    assert_eq!(fields[1], app.keeper().to_string());
    assert_eq!(std::fs::read_link(format!("/proc/{pid}/fd/0")).unwrap().to_str(), Some("/dev/null"));
    // and: who says nothing gets what svd was started with, not what svd made of itself
    let plain = app.pid("plain.1");
    let ours = std::process::id().cast_signed();
    assert_eq!(read(plain, "limits"), read(ours, "limits"));
    assert_eq!(read(plain, "oom_score_adj"), read(ours, "oom_score_adj"));
    assert_eq!(status_field(plain, "Umask"), status_field(ours, "Umask"));
}

/// Fault 64.
#[test]
fn another_user_and_group_are_taken_on_completely() {
    if svd_sys::process::uid() != 0 {
        return skipped("running as another user needs root");
    }
    let app = App::start(
        "[process.user]\nrun = [\"sleep\", \"1000\"]\nuser = \"nobody\"
         [process.numbers]\nrun = [\"sleep\", \"1000\"]\nuser = 65534\ngroup = 12",
    );
    app.wait("all", "ready");
    let of = |id: &str, field: &str| {
        status_field(app.pid(id), field).split_ascii_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(of("user.1", "Uid"), ["65534"; 4]);
    assert!(of("user.1", "Gid").iter().all(|gid| gid != "0"));
    assert!(!of("user.1", "Groups").contains(&"0".to_owned()), "root's groups are kept");
    assert_eq!(of("user.1", "CapEff"), ["0000000000000000"]);
    assert_eq!(of("numbers.1", "Gid"), ["12"; 4]);
    assert_eq!(environ(app.pid("user.1"))["USER"], "nobody");
}

/// Fault 63.
#[test]
fn the_environment_is_built_from_its_layers_and_from_nothing_else() {
    // given: svd started by somebody with an environment of his own
    let app = App::new(
        "env_file = \"all.env\"
         [env]
         ONE = \"top\"
         TWO = \"top\"
         THREE = \"top\"
         DOLLAR = \"$ONE\"
         [process.web]
         run = [\"sleep\", \"1000\"]
         count = 2
         env = { THREE = \"web\", PORT = \"7100\" }
         env_file = [\"web.env\"]
         keep_env = [\"PATH\", \"KEPT_*\"]
         [process.other]
         run = [\"sleep\", \"1000\"]",
    );
    app.write("all.env", "# a comment\nTWO=file\nexport QUOTED=\"a b\"\n");
    app.write("web.env", "FOUR='four $ONE'\n");
    let mut app = app;
    let mut command = app.command();
    command.env("KEPT_ONE", "1").env("DROPPED", "2").env("NOTIFY_SOCKET", "/nowhere").env("LISTEN_FDS", "3");
    app.boot_with(command);
    app.wait("all", "ready");
    // then
    let env = environ(app.pid("web.2"));
    let expected = [
        ("ONE", "top"),
        ("TWO", "file"),
        ("THREE", "web"),
        ("DOLLAR", "$ONE"),
        ("QUOTED", "a b"),
        ("FOUR", "four $ONE"),
        ("KEPT_ONE", "1"),
        ("SVD_PROCESS", "web"),
        ("SVD_INSTANCE", "web.2"),
        ("SVD_INDEX", "2"),
        ("PS", "web.2"),
        ("PORT", "7101"),
    ];
    for (name, value) in expected {
        assert_eq!(env.get(name).map(String::as_str), Some(value), "{name} in {env:#?}");
    }
    assert_eq!(env["SVD_CONTROL"], app.socket().display().to_string());
    for name in ["DROPPED", "NOTIFY_SOCKET", "LISTEN_FDS", "SVD_TEST_DIR"] {
        assert!(!env.contains_key(name), "{name}");
    }
    let other = environ(app.pid("other.1"));
    assert!(!other.contains_key("FOUR") && !other.contains_key("KEPT_ONE"), "{other:#?}");
}

/// Where words are expanded without a shell, no value can become a word or a command.
#[test]
fn words_are_expanded_at_each_start_without_a_shell() {
    let app = App::start(
        r#"
[env]
TRICKY = "a b; $(touch gone) * '"
[process.words]
run = "printf '<%s>\n' $TRICKY ${UNSET:-default value} '$TRICKY' \"${SVD_INSTANCE}!\" plain\\ word"
oneshot = true
[process.array]
run = ["printf", "<%s>\n", "$TRICKY", "*"]
oneshot = true
[process.shell]
run = "echo $((1 + 2)) | cat; touch made"
shell = true
oneshot = true
"#,
    );
    app.wait("all", "completed");
    let said =
        |name: &str| app.logs(name).iter().map(|line| line["message"].as_str().unwrap().to_owned()).collect::<Vec<_>>();
    assert_eq!(
        said("words"),
        ["<a b; $(touch gone) * '>", "<default value>", "<$TRICKY>", "<words.1!>", "<plain word>"]
    );
    assert_eq!(said("array"), ["<$TRICKY>", "<*>"]);
    assert_eq!(said("shell"), ["3"]);
    assert!(app.path("made").exists() && !app.path("gone").exists());
}

/// Says what it is told to by a named pipe, each in its own way of getting ready.
const WAITER: &str = r#"
import http.server, os, signal, socket, sys
how = sys.argv[1]
port = int(os.environ['PORT'])
if how == 'http-slow':
    server = http.server.HTTPServer(('127.0.0.1', port), type('H', (http.server.BaseHTTPRequestHandler,), {
        'do_GET': lambda self: (self.send_response(200 if os.path.exists('well') and self.path == '/healthz' else 503), self.end_headers()),
        'log_message': lambda *a: None}))
    open('up', 'w').close()
    server.serve_forever()
open(how + '.gate').read(1)
if how == 'notify':
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
        s.sendto(b'STATUS=all is well\nREADY=1\n', os.environ['NOTIFY_SOCKET'])
if how == 'fd': os.write(5, b'\n'); os.close(5)
if how == 'log': print('listening on', port, flush=True)
if how == 'run': open('run.there', 'w').close()
if how == 'tcp':
    listener = socket.create_server(('127.0.0.1', port))
while True: signal.pause()
"#;

#[test]
fn each_kind_of_readiness_is_waited_for() {
    // given: one process for each kind, each behind a gate
    let base = 20_000 + std::process::id() % 10_000;
    let mut config = String::new();
    let kinds = [
        ("notify", "{ notify = true }"),
        ("fd", "{ fd = 5 }"),
        ("log", "{ log = \"listening on [0-9]+$\" }"),
        ("run", "{ run = [\"test\", \"-e\", \"run.there\"], every = \"20ms\" }"),
        ("tcp", "{ tcp = true }"),
    ];
    for (n, (how, ready)) in kinds.iter().enumerate() {
        config += &format!(
            "[process.{how}]\nrun = [\"@PY@\", \"waiter.py\", \"{how}\"]\nready = {ready}\nenv = {{ PORT = \"{}\" }}\n",
            base + n as u32
        );
    }
    config += &format!(
        "[process.http]\nrun = [\"@PY@\", \"waiter.py\", \"http-slow\"]\nready = {{ http = \"/healthz\" }}\nenv = {{ PORT = \"{}\" }}\n",
        base + 10
    );
    let app = App::new(&config);
    app.write("waiter.py", WAITER);
    let gates: Vec<_> = kinds.iter().map(|(how, _)| app.fifo(&format!("{how}.gate"))).collect();
    let mut app = app;
    app.boot();
    common::wait_path(&app.path("up"));
    for ((how, _), mut gate) in kinds.iter().zip(gates) {
        // then: not before
        let instance = app.until_state(&format!("{how}.1"), "starting");
        assert_eq!(instance["state"], "starting", "{how}");
        // but then
        std::io::Write::write_all(&mut gate, b"x").unwrap();
        app.wait(how, "ready");
    }
    assert_eq!(app.instance("notify.1")["reason"], "all is well");
    assert_eq!(app.instance("http.1")["state"], "starting");
    app.write("well", "");
    app.wait("http", "ready");
}

#[test]
fn who_is_not_ready_in_time_has_failed_and_is_tried_again_until_the_limit() {
    let app = App::start(
        "[process.web]
         run = [\"sleep\", \"1000\"]
         ready = { run = \"false\", every = \"20ms\", timeout = \"200ms\" }
         restart = { backoff = \"10ms..10ms\", limit = \"1 in 1m\" }",
    );
    let failed = app.until_state("web.1", "failed");
    assert!(failed["reason"].as_str().unwrap().contains("not ready"), "{failed:#}");
    let count = |kind: &str| app.events_of("web.1").iter().filter(|event| event["kind"] == kind).count();
    assert_eq!((count("instance.starting"), count("instance.ready_timeout")), (2, 2));
    assert_eq!(app.instance("web.1")["pid"], Value::Null);
    let reply = app.svctl(&["start", "web"]);
    assert_eq!(reply.code, Some(1), "a start that comes to nothing has failed: {reply:?}");
}

#[test]
fn conditions_hold_before_a_process_starts() {
    let mut app = App::new(
        "[process.base]\nrun = [\"/bin/sh\", \"-c\", \"read x < ready; echo up; exec sleep 1000\"]\nready = { log = \"up\" }
         [process.migrate]\nrun = [\"/bin/sh\", \"-c\", \"read x < done; exit 0\"]\noneshot = true
         [process.eager]\nrun = [\"sleep\", \"1000\"]\nafter = { base = \"started\" }
         [process.web]\nrun = [\"sleep\", \"1000\"]\nafter = { base = \"ready\", migrate = \"completed\" }
         [process.late]\nrun = [\"sleep\", \"1000\"]\nafter = [\"web\"]",
    );
    let (mut ready, mut done) = (app.fifo("ready"), app.fifo("done"));
    app.boot();
    // then: who only waits for a start runs; the others wait, and say for what
    app.wait("eager", "ready");
    let waits = app.until_state("web.1", "waiting");
    assert!(!waits["reason"].as_str().unwrap().is_empty(), "{waits:#}");
    std::io::Write::write_all(&mut ready, b"\n").unwrap();
    app.wait("base", "ready");
    assert_eq!(app.instance("web.1")["state"], "waiting");
    assert!(app.instance("web.1")["reason"].as_str().unwrap().contains("migrate"));
    std::io::Write::write_all(&mut done, b"\n").unwrap();
    app.wait("all", "ready");
    assert_eq!(app.instance("migrate.1")["state"], "completed");
    // and: in order
    assert!(at(&app, "instance.ready", "base") < at(&app, "instance.starting", "web"));
    assert!(at(&app, "instance.completed", "migrate") < at(&app, "instance.starting", "web"));
    assert!(at(&app, "instance.ready", "web") < at(&app, "instance.starting", "late"));
    // and: the other way round at the end
    assert_eq!(app.stop(), Some(0));
    app.boot();
    let stopped = |name: &str| {
        let events = app.events();
        events.iter().position(|event| event["kind"] == "instance.stopped" && event["process"] == name).unwrap()
    };
    assert!(stopped("late") < stopped("web") && stopped("web") < stopped("base"));
}

#[test]
fn restart_policies_and_success_codes_decide_about_the_next_start() {
    let app = App::start(
        "[defaults]
         restart = { backoff = \"10ms..10ms\", limit = \"2 in 1m\" }
         [process.always]\nrun = \"true\"
         [process.on-failure-good]\nrun = \"true\"\nrestart = \"on-failure\"
         [process.on-failure-bad]\nrun = \"false\"\nrestart = \"on-failure\"
         [process.never]\nrun = \"false\"\nrestart = \"never\"
         [process.success]\nrun = [\"sh\", \"-c\", \"exit 5\"]\nrestart = { when = \"on-failure\", success_exit = [5] }
         [process.signal]\nrun = [\"sh\", \"-c\", \"kill -USR1 $$\"]\nrestart = { when = \"on-failure\", success_exit = [\"USR1\"] }
         [process.oneshot]\nrun = [\"sh\", \"-c\", \"exit 5\"]\noneshot = true\nrestart = { success_exit = [0, 5] }
         [process.bad-oneshot]\nrun = \"false\"\noneshot = true",
    );
    let expected = [
        ("always", "failed", 2),
        ("on-failure-good", "stopped", 0),
        ("on-failure-bad", "failed", 2),
        ("never", "failed", 0),
        ("success", "stopped", 0),
        ("signal", "stopped", 0),
        ("oneshot", "completed", 0),
        ("bad-oneshot", "failed", 0),
    ];
    for (name, state, restarts) in expected {
        let instance = app.until_state(&format!("{name}.1"), state);
        assert_eq!(instance["restarts"], restarts, "{name}: {instance:#}");
    }
}

#[test]
fn the_code_of_an_essential_process_is_svds_own() {
    for (command, code) in [("exit 42", 42), ("kill -KILL $$", 137), ("kill -TERM $$", 143)] {
        let mut app = App::new(&format!(
            "[process.main]\nrun = [\"sh\", \"-c\", \"{command}\"]\nessential = true\nrestart = \"never\"
             [process.other]\nrun = [\"sleep\", \"1000\"]"
        ));
        app.spawn(app.command());
        assert_eq!(app.over(), Some(code), "{command}");
    }
    // and: one that has restarts left is no reason to end
    let mut app = App::start(
        "[process.main]\nrun = [\"sh\", \"-c\", \"test -e again && exec sleep 1000; touch again; exit 1\"]\nessential = true
         restart = { backoff = \"10ms..10ms\" }",
    );
    app.wait("main", "ready");
    app.until("the restart", |status| (status["processes"][0]["instances"][0]["restarts"] == 1).then_some(()));
    assert_eq!(app.stop(), Some(0));
}
