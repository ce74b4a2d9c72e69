//! What a child inherits: nothing but what was announced, whatever svd itself was started with.

mod common;

use common::{App, children, eventually, open_descriptors, status_field};
use std::process::{Command, Stdio};

/// nohup, shells and cron hand ignored and blocked signals down; they survive exec.
/// Fault 10.
#[test]
fn a_child_has_default_dispositions_and_no_mask_whatever_svd_was_started_with() {
    // given: svd started with everything blocked, and much ignored
    let app = App::new("process.web = { run = [\"sleep\", \"1000\"] }");
    let launcher = app.write(
        "launcher.py",
        r#"
import os, signal, sys
for number in (signal.SIGPIPE, signal.SIGINT, signal.SIGHUP, signal.SIGTERM, signal.SIGUSR1, signal.SIGCHLD):
    signal.signal(number, signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_BLOCK, set(range(1, 65)) - {32, 33})
os.execv(sys.argv[1], sys.argv[1:])
"#,
    );
    let mut app = app;
    // when
    app.boot_with(through(&app, &launcher));
    app.wait("web", "ready");
    // then
    let pid = app.pid("web.1");
    for field in ["SigBlk", "SigIgn", "SigCgt"] {
        let mask = u64::from_str_radix(&status_field(pid, field), 16).unwrap();
        // glibc itself may use 32 and 33.
        assert_eq!(mask & !(3 << 31), 0, "{field}");
    }
    // and: svd works
    app.ok(&["restart", "web"]);
    assert_ne!(app.pid("web.1"), pid);
    assert_eq!(app.stop(), Some(0));
}

/// `svd run` of the app, started by a Python program that is given the command line.
fn through(app: &App, launcher: &std::path::Path) -> Command {
    let svd = app.command();
    let mut command = Command::new(common::python());
    command.current_dir(app.path("")).env("SVD_TEST_DIR", app.path("")).stdin(Stdio::null());
    command.arg(launcher).arg(svd.get_program()).args(svd.get_args());
    command
}

/// Descriptors that leak into children keep sockets and pipes open for ever, and hand out what is not theirs.
/// Fault 11.
#[test]
fn a_child_has_exactly_the_announced_descriptors_under_load_and_over_a_managers_death() {
    // given: svd started with descriptors that are none of its business, and many services
    let app = App::new(
        "[defaults]
         restart = { backoff = \"1ms..1ms\", limit = \"none\" }
         [process.many]
         run = [\"sleep\", \"1000\"]
         count = 40
         [process.marked]
         run = [\"@PY@\", \"-c\", \"import os, signal; os.write(7, b'\\\\n'); os.close(7); signal.pause()\"]
         ready = { fd = 7 }
         count = 4
         [process.notify]
         run = [\"@PY@\", \"notify.py\"]
         ready = { notify = true }
         count = 4
         [process.quick]
         run = [\"sleep\", \"0.01\"]
         count = 4",
    );
    app.write(
        "notify.py",
        "import os, signal, socket\nwith socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:\n    \
         s.sendto(b'READY=1', os.environ['NOTIFY_SOCKET'])\nsignal.pause()\n",
    );
    let launcher = app.write(
        "launcher.py",
        "import os, sys\nfor n in (3, 4, 9, 50, 200):\n    f = os.open('/dev/zero', os.O_RDONLY)\n    \
         os.dup2(f, n, inheritable=True)\nos.execv(sys.argv[1], sys.argv[1:])\n",
    );
    let mut app = app;
    app.boot_with(through(&app, &launcher));
    app.wait("many", "ready");
    app.wait("marked", "ready");
    app.wait("notify", "ready");
    let check = |app: &App| {
        for (name, count) in [("many", 40), ("marked", 4), ("notify", 4)] {
            for index in 1..=count {
                let open = open_descriptors(app.pid(&format!("{name}.{index}")));
                assert_eq!(open, [0, 1, 2], "{name}.{index}");
            }
        }
    };
    check(&app);
    // when: all are started anew while managers die
    let body = r#"{"targets":["many","marked","notify"]}"#;
    app.request("POST", "/v1/processes/stop", Some(body));
    std::thread::scope(|scope| {
        let socket = app.socket();
        let start = scope.spawn(move || {
            // The manager that was asked may be killed: then the answer is missing, not the outcome.
            let _ = common::request(&socket, "POST", "/v1/processes/start", Some(body));
        });
        for _ in 0..3 {
            kill_manager(&app);
        }
        start.join().unwrap();
    });
    app.ok(&["start", "many", "marked", "notify"]);
    for name in ["many", "marked", "notify"] {
        app.wait(name, "ready");
    }
    // then
    check(&app);
}

/// Kills the manager and waits until the next one answers.
fn kill_manager(app: &App) {
    let status = app.status();
    let (pid, starts) = (status["svd"]["manager_pid"].as_i64().unwrap(), status["svd"]["manager_starts"].as_i64());
    let proc = svd_sys::tree::read_proc(i32::try_from(pid).unwrap()).unwrap();
    svd_sys::tree::kill_verified(&proc, 9).unwrap();
    app.until("the next manager", |status| (status["svd"]["manager_starts"].as_i64() > starts).then_some(()));
}

/// A readiness descriptor whose number is that of something svd itself has open must arrive all the same.
/// Fault 12.
#[test]
fn a_readiness_descriptor_of_any_number_arrives_open_and_alone() {
    // given: one process for each number
    let numbers = (3..=24).chain([63, 255]);
    let process = |n| format!("[process.fd{n}]\nrun = [\"@PY@\", \"mark.py\", \"{n}\"]\nready = {{ fd = {n} }}\n");
    let mut app = App::new(&numbers.clone().map(process).collect::<String>());
    app.write("mark.py", "import os, signal, sys\nos.write(int(sys.argv[1]), b'\\n')\nsignal.pause()\n");
    // when
    app.boot();
    // then: all get ready, and have nothing else
    for n in numbers {
        app.wait(&format!("fd{n}"), "ready");
        assert_eq!(open_descriptors(app.pid(&format!("fd{n}.1"))), [0, 1, 2, n], "fd{n}");
    }
}

/// A child must neither have nor get the terminal that svd is started from.
/// Fault 18.
#[test]
fn a_hung_up_terminal_stops_nobody_but_in_order_and_children_have_no_terminal() {
    // given: svd in the background of a terminal with tostop, which stops background writers
    let app = App::new(
        "process.chatty = { run = [\"/bin/sh\", \"-c\", \"while echo chat; do sleep 0.01; done\"], stop = [\"TERM\", \"5s\", \"KILL\"] }",
    );
    let driver = app.write(
        "driver.py",
        r#"
import os, pty, signal, subprocess, sys, termios, threading, time
svd, svctl, root = sys.argv[1:]
leader, master = pty.fork()
if leader == 0:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    mode = termios.tcgetattr(0)
    mode[3] |= termios.TOSTOP
    termios.tcsetattr(0, termios.TCSANOW, mode)
    daemon = os.fork()
    if daemon == 0:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        os.setpgid(0, 0)
        os.execv(svd, [svd, 'run', '--root', root])
    try: os.setpgid(daemon, daemon)
    except OSError: pass
    open('daemon.tmp', 'w').write(str(daemon))
    os.rename('daemon.tmp', 'daemon')
    _, status = os.waitpid(daemon, os.WUNTRACED)
    open('end', 'w').write('stopped' if os.WIFSTOPPED(status) else str(os.waitstatus_to_exitcode(status)))
    os._exit(0)
def drain():
    try:
        while os.read(master, 65536): pass
    except OSError: pass
threading.Thread(target=drain, daemon=True).start()
def ctl(*args):
    return subprocess.run([svctl, '--root', root, *args], capture_output=True, text=True)
deadline = time.monotonic() + 30
while ctl('wait', 'chatty', '--for', 'ready', '--timeout', '10s').returncode:
    assert time.monotonic() < deadline and not os.path.exists('end'), 'svd does not answer'
# then: it runs although nobody may write to the terminal, and its child has no terminal
import json
instance = json.loads(ctl('status', '--json').stdout)['processes'][0]['instances'][0]
stat = open(f"/proc/{instance['pid']}/stat").read().rsplit(')', 1)[1].split()
assert stat[4] == '0', f'the child has the terminal {stat[4]}'
print('no terminal', flush=True)
# when: the terminal goes away
daemon = int(open('daemon').read())
os.close(master)
# then: svd is not suspended and not dead by accident: it still obeys
os.kill(daemon, signal.SIGTERM)
os.waitpid(leader, 0)
end = open('end').read()
assert end == '0', f'svd ended with {end}'
print('obeyed', flush=True)
"#,
    );
    let output = Command::new(common::python())
        .arg(driver)
        .args([env!("CARGO_BIN_EXE_svd"), env!("CARGO_BIN_EXE_svctl")])
        .arg(app.path("root"))
        .current_dir(app.path(""))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("obeyed"), "{said}{}", String::from_utf8_lossy(&output.stderr));
}

/// What the keeper holds for an instance it gives back when the instance is gone.
/// Fault 11.
#[test]
fn restarts_and_managers_deaths_leave_the_keepers_descriptors_as_they_were() {
    // given
    let app = App::start(
        "process.web = { run = [\"sleep\", \"1000\"], count = 4 }
         process.marked = { run = [\"/bin/sh\", \"-c\", \"echo >&3; exec sleep 1000\"], ready = { fd = 3 } }",
    );
    app.wait("all", "ready");
    kill_manager(&app);
    let before = open_descriptors(app.keeper()).len();
    // when
    for _ in 0..5 {
        app.ok(&["restart", "web", "marked"]);
        kill_manager(&app);
    }
    app.wait("all", "ready");
    // then
    eventually("the keeper to have as many descriptors as before", || open_descriptors(app.keeper()).len() <= before);
    assert_eq!(children(app.keeper()).len(), 6, "five instances and a manager");
}
