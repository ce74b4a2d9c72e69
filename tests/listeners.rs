//! Sockets that svd holds: bound before anything runs, handed over in every way, there for as long as somebody names them.

mod common;

use common::{App, wait_path};
use serde_json::Value;
use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;

/// Accepts from `s` and says its name and pid.
const SERVE: &str = "
while True:
    c, _ = s.accept()
    c.sendall(('%s %d' % (os.environ['SVD_PROCESS'], os.getpid())).encode())
    c.close()
";

/// What the server says.
fn greeting(mut stream: impl Read) -> String {
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("an answer");
    text
}

fn tcp(address: &str) -> String {
    greeting(TcpStream::connect(address).expect("somebody listens"))
}

/// The address of a process's only listener, or of the one of this name.
fn address(app: &App, process: &str, name: &str) -> String {
    let process = app.process(process);
    let listeners = process["listeners"].as_array().unwrap();
    let found = listeners.iter().find(|listener| listener["name"] == name);
    found.unwrap_or_else(|| panic!("{name} in {process:#}"))["address"].as_str().unwrap().to_owned()
}

/// A port that nobody has, as far as anybody can tell.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn inode(path: &Path) -> u64 {
    std::os::unix::fs::MetadataExt::ino(&std::fs::symlink_metadata(path).unwrap())
}

#[test]
fn a_port_that_is_taken_ends_the_start_before_anything_runs_and_names_who_has_it() {
    // given
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let mut app = App::new(&format!(
        "[process.first]
         run = [\"touch\", \"@DIR@/ran\"]
         [process.web]
         run = [\"sleep\", \"1000\"]
         listen = {{ http = \"0.0.0.0:{port}\", far = \"192.0.2.1:80\" }}"
    ));
    // when
    app.spawn(app.command());
    let status = app.ended();
    // then
    assert_eq!(status.code(), Some(1));
    let told = app.err().all().join("\n");
    assert!(told.contains(&format!("[process.web]: listener http: port {port} is taken by ")), "{told}");
    assert!(told.contains(&format!("(pid {})", std::process::id())), "{told}");
    assert!(told.contains("listener far: 192.0.2.1 is no address of this machine"), "{told}");
    assert!(!app.path("ran").exists());
    app.forget();
}

#[test]
fn every_kind_of_listener_is_handed_over_in_every_way() {
    // given
    let by_number = |number: &str| format!("import os, socket\ns = socket.socket(fileno={number}){SERVE}");
    let port = free_port();
    let mut app = App::new(
        &"[process.fds]
         run = [\"@PY@\", \"@DIR@/fds.py\"]
         listen = { http = \"127.0.0.1:0\", admin = \"unix:@DIR@/fds.sock\", beat = \"udp:127.0.0.1:0\" }
         handoff = \"listen-fds\"
         [process.stdin]
         run = [\"@PY@\", \"@DIR@/stdin.py\"]
         listen = \"127.0.0.1:0\"
         handoff = \"stdin\"
         [process.env]
         run = [\"@PY@\", \"@DIR@/env.py\"]
         listen = { one = \"127.0.0.1:0\", two = \"[::1]:0\" }
         handoff = \"env:SOCKS={name}={fd},\"
         [process.v4]
         run = [\"@PY@\", \"@DIR@/v4.py\"]
         listen = \"0.0.0.0:PORT\"
         [process.v6]
         run = [\"@PY@\", \"@DIR@/v6.py\"]
         listen = \"[::]:0\"
         handoff = \"intercept\"
         [process.unix]
         run = [\"@PY@\", \"@DIR@/unix.py\"]
         listen = { unix = { address = \"unix:@DIR@/app.sock\", mode = \"0640\" } }
         [process.udp]
         run = [\"@PY@\", \"@DIR@/udp.py\"]
         listen = \"udp:127.0.0.1:0\""
            .replace("PORT", &port.to_string()),
    );
    app.write(
        "fds.py",
        &format!(
            "import os, socket
assert os.environ['LISTEN_PID'] == str(os.getpid()) and os.environ['LISTEN_FDS'] == '3'
assert os.environ['LISTEN_FDNAMES'] == 'http:admin:beat'
open('@DIR@/fds.port', 'w').write(os.environ['PORT'])
assert socket.socket(fileno=5).type == socket.SOCK_DGRAM
a = socket.socket(fileno=4)
s = socket.socket(fileno=3){SERVE}"
        ),
    );
    app.write("stdin.py", &by_number("0"));
    app.write("env.py", &by_number("int(dict(x.split('=') for x in os.environ['SOCKS'].split(',') if x)['two'])"));
    for (name, family, host) in [("v4", "AF_INET", "0.0.0.0"), ("v6", "AF_INET6", "::")] {
        app.write(
            &format!("{name}.py"),
            &format!(
                "import os, socket
s = socket.socket(socket.{family})
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind(('{host}', int(os.environ['PORT'])))
s.listen(1){SERVE}"
            ),
        );
    }
    app.write(
        "unix.py",
        &format!(
            "import os, socket
os.unlink('app.sock')
s = socket.socket(socket.AF_UNIX)
s.bind('app.sock')
s.listen(1){SERVE}"
        ),
    );
    app.write(
        "udp.py",
        "import os, socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(('127.0.0.1', int(os.environ['SVD_UDP_PORT'] if 'SVD_UDP_PORT' in os.environ else 0)))
import time; time.sleep(1000)",
    );
    // when
    app.boot();
    app.wait("all", "ready");
    // then
    let is = |said: String, id: &str| {
        let (process, _) = id.split_once('.').unwrap();
        assert_eq!(said, format!("{process} {}", app.pid(id)));
    };
    let fds = address(&app, "fds", "http");
    is(tcp(&fds), "fds.1");
    assert_eq!(app.read("fds.port"), fds.rsplit_once(':').unwrap().1);
    assert!(address(&app, "fds", "beat").starts_with("udp:127.0.0.1:"));
    is(tcp(&address(&app, "stdin", "http")), "stdin.1");
    is(tcp(&address(&app, "env", "two")), "env.1");
    assert_eq!(address(&app, "v4", "http"), format!("0.0.0.0:{port}"));
    is(tcp(&format!("127.0.0.1:{port}")), "v4.1");
    let v6 = address(&app, "v6", "http");
    is(tcp(&v6.replace("[::]", "127.0.0.1")), "v6.1");
    is(tcp(&v6.replace("[::]", "[::1]")), "v6.1");
    let path = app.path("app.sock");
    assert_eq!(address(&app, "unix", "unix"), format!("unix:{}", path.display()));
    is(greeting(UnixStream::connect(&path).unwrap()), "unix.1");
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o640);
    // and when svd ends, no file of a socket is left
    assert_eq!(app.stop(), Some(0));
    let left: Vec<_> = std::fs::read_dir(app.path(".")).unwrap().flatten().map(|entry| entry.file_name()).collect();
    assert!(left.iter().all(|name| !name.to_string_lossy().contains("sock")), "{left:?}");
}

#[test]
fn listeners_outlive_restarts_and_managers_and_their_paths_those_who_take_them_away() {
    // given a server that takes its path away when it begins and when it ends
    let mut app = App::new(
        "[process.web]
         run = [\"@PY@\", \"@DIR@/web.py\"]
         listen = { http = \"127.0.0.1:0\", file = \"unix:@DIR@/web.sock\" }",
    );
    app.write(
        "web.py",
        &format!(
            "import os, signal, socket, sys
def end(*_):
    os.unlink('@DIR@/web.sock')
    sys.exit(0)
signal.signal(signal.SIGTERM, end)
os.unlink('@DIR@/web.sock')
s = socket.socket(socket.AF_UNIX)
s.bind('@DIR@/web.sock')
s.listen(1){SERVE}"
        ),
    );
    app.boot();
    app.wait("web", "ready");
    let (path, port) = (app.path("web.sock"), address(&app, "web", "http"));
    let file = inode(&path);
    for round in 0..3 {
        // when
        app.ok(&["restart", "web"]);
        let manager = app.status()["svd"]["manager_pid"].as_i64().unwrap();
        svd_sys::pidfd::send_signal(
            std::os::fd::AsFd::as_fd(&svd_sys::pidfd::open(i32::try_from(manager).unwrap()).unwrap()),
            9,
        )
        .unwrap();
        // then the old one or the new one is there
        wait_path(&path);
        assert!(greeting(UnixStream::connect(&path).unwrap()).starts_with("web "));
        assert_eq!((address(&app, "web", "http"), inode(&path)), (port.clone(), file), "round {round}");
    }
    assert_eq!(app.stop(), Some(0));
}

#[test]
fn apply_adds_and_removes_listeners_and_leaves_the_others_alone() {
    // given
    let (one, two) = (free_port(), free_port());
    let config = |listen: &str| {
        format!(
            "[process.web]
             run = [\"@PY@\", \"@DIR@/web.py\"]
             listen = {listen}
             handoff = \"listen-fds\"
             [process.other]
             run = [\"@PY@\", \"@DIR@/other.py\"]
             listen = \"127.0.0.1:{two}\"
             handoff = \"stdin\""
        )
    };
    let mut app = App::new(&config(&format!("{{ a = \"127.0.0.1:0\", b = \"127.0.0.1:{one}\" }}")));
    app.write("web.py", &format!("import os, socket\ns = socket.socket(fileno=3){SERVE}"));
    app.write("other.py", &format!("import os, socket\ns = socket.socket(fileno=0){SERVE}"));
    app.boot();
    app.wait("all", "ready");
    let (kept, other) = (address(&app, "web", "a"), app.pid("other.1"));
    // when one is taken that somebody else has
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    app.configure(&config(&format!("{{ a = \"127.0.0.1:0\", c = \"127.0.0.1:{port}\" }}")));
    let reply = app.svctl(&["apply"]);
    // then nothing has changed
    assert_eq!(reply.code, Some(3), "{reply:?}");
    assert!(reply.err.contains(&format!("port {port} is taken by")), "{reply:?}");
    assert!(tcp(&kept).starts_with("web "));
    // and neither is one of another process
    app.configure(&config(&format!("{{ a = \"127.0.0.1:0\", c = \"0.0.0.0:{two}\" }}")));
    let reply = app.svctl(&["apply"]);
    assert_eq!(reply.code, Some(3), "{reply:?}");
    // when it is free
    drop(taken);
    app.configure(&config(&format!("{{ a = \"127.0.0.1:0\", c = \"127.0.0.1:{port}\" }}")));
    app.ok(&["apply"]);
    // then it is there, what is named no more is gone with those who had it, and the rest is untouched
    assert_eq!(address(&app, "web", "a"), kept);
    assert_eq!(address(&app, "web", "c"), format!("127.0.0.1:{port}"));
    assert_eq!(app.pid("other.1"), other);
    common::eventually("the old one to have gone", || TcpStream::connect(("127.0.0.1", one)).is_err());
    assert!(TcpStream::connect(("127.0.0.1", port)).is_ok());
    assert_eq!(app.stop(), Some(0));
}

#[test]
fn a_manager_killed_after_an_apply_that_was_taken_back_leaves_the_config_before_it() {
    // given
    let config = |mode: &str| {
        format!(
            "[process.web]
             run = [\"@PY@\", \"@DIR@/web.py\"]
             listen = \"127.0.0.1:0\"
             handoff = \"listen-fds\"
             env = {{ MODE = \"{mode}\" }}"
        )
    };
    let mut app = App::new(&config("good"));
    app.write(
        "web.py",
        &format!(
            "import os, socket, sys
if os.environ['MODE'] == 'bad':
    sys.exit(7)
s = socket.socket(fileno=3){SERVE}"
        ),
    );
    app.boot();
    app.wait("web", "ready");
    let before = app.pid("web.1");
    // when
    app.configure(&config("bad"));
    let reply = app.svctl(&["apply"]);
    // then
    assert_eq!(reply.code, Some(4), "{reply:?}");
    assert_eq!(app.pid("web.1"), before);
    let is_told = |status: &Value| {
        status["warnings"]
            .to_string()
            .contains("was taken back, the one before it runs: the new web.1 exited with code 7")
    };
    assert!(is_told(&app.status()), "{:#}", app.status());
    // and by a later manager
    let manager = app.status()["svd"]["manager_pid"].clone();
    let pidfd = svd_sys::pidfd::open(i32::try_from(manager.as_i64().unwrap()).unwrap()).unwrap();
    svd_sys::pidfd::send_signal(std::os::fd::AsFd::as_fd(&pidfd), 9).unwrap();
    app.until("the next manager", |status| (status["svd"]["manager_pid"] != manager).then_some(()));
    assert!(is_told(&app.status()), "{:#}", app.status());
    app.ok(&["restart", "web"]);
    let pid = app.pid("web.1");
    assert_ne!(pid, before);
    assert!(tcp(&address(&app, "web", "http")).ends_with(&pid.to_string()));
    // until one is applied that comes up
    app.configure(&config("better"));
    app.ok(&["apply"]);
    assert!(!is_told(&app.status()));
    assert_eq!(app.stop(), Some(0));
}

#[test]
fn a_manager_killed_while_an_old_instance_still_has_a_listener_that_no_config_names_is_replaced() {
    // given one that takes its time to stop
    let (old, new) = (free_port(), free_port());
    let config = |port: u16| {
        format!(
            "[process.web]
             run = [\"@PY@\", \"@DIR@/web.py\"]
             listen = \"127.0.0.1:{port}\"
             handoff = \"listen-fds\"
             stop = [\"TERM\", \"600s\", \"KILL\"]"
        )
    };
    let mut app = App::new(&config(old));
    let ignores = "import os, signal, socket
if not os.path.exists('@DIR@/began'):
    open('@DIR@/began', 'w').close()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)";
    app.write("web.py", &format!("{ignores}\ns = socket.socket(fileno=3){SERVE}"));
    app.boot();
    app.wait("web", "ready");
    let before = app.pid("web.1");
    // when its listener is taken out of the config
    app.configure(&config(new));
    let mut apply = app.svctl_command(&["apply"]).spawn().unwrap();
    app.until("it to be told to stop", |_| {
        app.events().iter().any(|event| event["kind"] == "instance.signalled" && event["pid"] == before).then_some(())
    });
    // and the manager is killed
    let manager = app.status()["svd"]["manager_pid"].clone();
    let pidfd = svd_sys::pidfd::open(i32::try_from(manager.as_i64().unwrap()).unwrap()).unwrap();
    svd_sys::pidfd::send_signal(std::os::fd::AsFd::as_fd(&pidfd), 9).unwrap();
    // then there is another, which keeps what the old one was given
    app.until("the next manager", |status| (status["svd"]["manager_pid"] != manager).then_some(()));
    assert_eq!(app.status()["svd"]["manager_starts"], 2);
    assert_eq!(tcp(&format!("127.0.0.1:{old}")), format!("web {before}"));
    assert_eq!(tcp(&format!("127.0.0.1:{new}")), format!("web {}", app.pid("web.1")));
    // until the old one has gone
    let pidfd = svd_sys::pidfd::open(before).unwrap();
    svd_sys::pidfd::send_signal(std::os::fd::AsFd::as_fd(&pidfd), 9).unwrap();
    common::eventually("its listener to have gone", || TcpStream::connect(("127.0.0.1", old)).is_err());
    apply.wait().unwrap();
    assert_eq!(app.stop(), Some(0));
}
