//! svd in the foreground: what it shows, and how Ctrl-C ends it.

mod common;

use common::{App, Lines, Reply, python};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

const CONFIG: &str = "[process.web]
run = [\"/bin/sh\", \"-c\", \"echo hello from web; echo oops >&2; exec sleep 1000\"]
count = 2
[process.worker]
run = [\"/bin/sh\", \"-c\", \"echo at work; exec sleep 1000\"]
after = [\"web\"]
";

/// `svd` as a person types it.
fn plain(app: &App) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_svd"));
    command.current_dir(app.path("")).env("SVD_ROOT", app.path("root")).env("SVD_TEST_DIR", app.path(""));
    command.stdin(Stdio::null());
    command
}

#[test]
fn output_is_prefixed_with_the_instance_and_uncoloured_where_there_is_no_terminal() {
    // given: no arguments at all, and the root from the environment
    let mut app = App::new(CONFIG);
    app.boot_with(plain(&app));
    // then
    for text in ["hello from web", "oops", "at work"] {
        app.out().containing(text);
    }
    let lines = app.out().until("both", |lines| {
        let of = |name: &str| lines.iter().any(|l| l.contains(name) && l.contains("hello from web"));
        (of("web.1") && of("web.2")).then(|| lines.to_vec())
    });
    assert!(lines.iter().all(|line| !line.contains('\u{1b}')), "{lines:?}");
    let worker = app.out().containing("at work");
    assert!(worker.contains("worker.1"), "{worker}");
    assert_eq!(app.stop(), Some(0));
}

#[test]
fn with_log_format_json_every_line_is_an_object() {
    let mut app = App::start(CONFIG);
    app.out().containing("at work");
    app.ok(&["restart", "worker"]);
    let out = app.out().clone();
    assert_eq!(app.stop(), Some(0));
    let mut seen = 0;
    for line in out.closed() {
        let object: serde_json::Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{line}: {error}"));
        assert!(object["time"].is_string(), "{line}");
        if object["message"] == "oops" {
            assert_eq!(object["stream"], "stderr", "{line}");
            seen += 1;
        }
        if object["message"] == "hello from web" {
            assert!(object["instance"].as_str().unwrap().starts_with("web."), "{line}");
            assert_eq!(object["stream"], "stdout", "{line}");
        }
    }
    assert_eq!(seen, 2);
}

/// Colours and Ctrl-C on a terminal, as a shell gives them: INT to the whole foreground group.
/// Fault 18.
#[test]
fn on_a_terminal_there_are_colours_and_ctrl_c_stops_all() {
    let app = App::new(CONFIG);
    let driver = app.write(
        "driver.py",
        r#"
import os, pty, sys
pid, master = pty.fork()
if pid == 0:
    os.environ.pop('NO_COLOR', None)
    os.environ['TERM'] = 'xterm'
    os.execv(sys.argv[1], sys.argv[1:])
text = b''
while b'at work' not in text:
    text += os.read(master, 65536)
sys.stdout.buffer.write(text); sys.stdout.flush()
os.write(master, b'\x03')
try:
    while data := os.read(master, 65536): sys.stdout.buffer.write(data)
except OSError: pass
_, status = os.waitpid(pid, 0)
print('\nended with', os.waitstatus_to_exitcode(status))
"#,
    );
    let mut command = Command::new(python());
    command.arg(driver).arg(env!("CARGO_BIN_EXE_svd")).arg("--root").arg(app.path("root")).current_dir(app.path(""));
    let reply = Reply::of(command);
    assert!(reply.out.contains("ended with 0"), "{reply:?}");
    assert!(reply.out.contains("\u{1b}["), "no colours: {reply:?}");
    // and: the services were stopped properly, by TERM from svd and not by the terminal's INT
    let mut app = app;
    app.boot();
    for id in ["web.1", "web.2", "worker.1"] {
        let exited: Vec<_> = app.events_of(id).into_iter().filter(|event| event["kind"] == "instance.exited").collect();
        assert_eq!(exited.len(), 1, "{exited:?}");
        assert_eq!(exited[0]["exit"]["signal"], "TERM", "{exited:?}");
    }
}

#[test]
fn ctrl_c_stops_all_in_reverse_order_and_a_second_one_hastens_it() {
    // given: svd as leader of a group, as a shell starts it, and a service that is slow to end
    let mut app = App::new(
        "[process.base]
         run = [\"/bin/sh\", \"-c\", \"trap '' TERM INT; echo up; while :; do sleep 1000 & wait; done\"]
         ready = { log = \"up\" }
         stop = [\"TERM\", \"10m\", \"KILL\"]
         [process.web]
         run = [\"sleep\", \"1000\"]
         after = [\"base\"]",
    );
    let mut command = app.command();
    command.process_group(0);
    app.boot_with(command);
    app.wait("all", "ready");
    let group = nix::unistd::Pid::from_raw(app.keeper());
    // when
    nix::sys::signal::killpg(group, nix::sys::signal::Signal::SIGINT).unwrap();
    // then: what comes later in the order goes first
    app.until_state("base.1", "stopping");
    assert_eq!(app.instance("web.1")["state"], "stopped");
    assert_eq!(app.status()["svd"]["state"], "stopping");
    // when
    nix::sys::signal::killpg(group, nix::sys::signal::Signal::SIGINT).unwrap();
    // then
    assert_eq!(app.over(), Some(0));
}

#[test]
fn a_reader_that_goes_away_is_no_reason_to_stop() {
    // given: svd whose output nobody reads any more
    let app = App::new(
        "process.chatty = { run = [\"/bin/sh\", \"-c\", \"while echo chat; do sleep 0.01; done\"] }
         process.quiet = { run = [\"sleep\", \"1000\"] }",
    );
    let mut child = app.command().stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let pidfd = svd_sys::pidfd::open(child.id().cast_signed()).unwrap();
    drop(Lines::of(child.stderr.take().unwrap()));
    drop(child.stdout.take());
    common::wait_path(&app.socket());
    // then: it goes on, and so do the services
    app.wait("all", "ready");
    common::eventually("output in the log", || app.segments("chatty.1", "out").len() > 500);
    app.ok(&["restart", "all"]);
    app.ok(&["shutdown"]);
    assert!(common::wait_ended(std::os::fd::AsFd::as_fd(&pidfd), common::DEADLINE));
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn only_the_named_processes_run_and_a_plain_procfile_is_understood() {
    if std::net::TcpListener::bind(("0.0.0.0", 5000)).is_err() {
        return common::skipped("port 5000, where a Procfile's first process listens, is taken by somebody");
    }
    // given: a Procfile as foreman knows it
    let mut app = App::new("");
    std::fs::remove_file(app.path("Procfile.toml")).unwrap();
    app.write("Procfile", "web: echo port $PORT && exec sleep 1000\nworker: sleep 1000\nother: sleep 1000\n");
    app.write(".env", "GREETING=hello\n");
    let mut command = app.command();
    command.args(["--only", "web,worker"]);
    app.boot_with(command);
    app.wait("all", "ready");
    // then
    app.out().containing("port 5000");
    let env = common::environ(app.pid("worker.1"));
    assert_eq!((env["PORT"].as_str(), env["GREETING"].as_str()), ("5100", "hello"));
    assert_eq!(app.status()["processes"].as_array().unwrap().len(), 2);
    assert_eq!(app.stop(), Some(0));
}
