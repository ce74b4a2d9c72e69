//! svd below a service manager that speaks sd_notify and hands over sockets, as systemd does. Here the test is the service manager.

mod common;

use common::{App, DEADLINE, python};
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::process::{Command, Stdio};
use std::time::Instant;
use svd_sys::listen::Group;
use svd_sys::packet::{Packet, PacketSocket};

/// Says its pid to whoever connects, by the socket that it was given.
const SERVER: &str = "run = [\"@PY@\", \"-c\", '''
import os, socket
s = socket.socket(fileno=3)
while True:
    c, _ = s.accept()
    c.sendall(str(os.getpid()).encode())
    c.close()
''']
handoff = \"listen-fds\"
";

/// The service manager's end.
struct Above {
    socket: PacketSocket,
    /// What was told and not looked at yet.
    told: Vec<String>,
    /// The descriptors of its store.
    store: BTreeMap<String, OwnedFd>,
}

impl Above {
    fn new(app: &App) -> Above {
        let _before = std::fs::remove_file(app.path("notify"));
        let socket = UnixDatagram::bind(app.path("notify")).unwrap();
        Above { socket: PacketSocket::from_fd(socket.into()).unwrap(), told: Vec::new(), store: BTreeMap::new() }
    }

    /// `svd run` that is told where its service manager listens.
    fn command(&self, app: &App) -> Command {
        let mut command = app.command();
        command.env("NOTIFY_SOCKET", app.path("notify"));
        command
    }

    /// Waits for a message with a line that begins with this; its lines.
    fn until(&mut self, start: &str) -> Vec<String> {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let has = |text: &String| text.lines().any(|line| line.starts_with(start));
            if let Some(at) = self.told.iter().position(has) {
                let found = self.told.drain(..=at).next_back().unwrap();
                return found.lines().map(str::to_owned).collect();
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "nothing that begins with {start}: {:?}", self.told);
            svd_sys::fd::wait_readable(self.socket.as_fd(), left).unwrap();
            self.take();
        }
    }

    /// Takes in what is there.
    fn take(&mut self) {
        let mut buffer = [0; 8192];
        while let Ok(Some(Packet::Whole { len, mut fds })) = self.socket.recv_even_without_fds(&mut buffer) {
            let text = String::from_utf8(buffer[..len].to_vec()).unwrap();
            let name = text.lines().find_map(|line| line.strip_prefix("FDNAME=")).map(str::to_owned);
            if text.starts_with("FDSTORE=1") {
                self.store.insert(name.unwrap(), fds.remove(0));
            } else if text.starts_with("FDSTOREREMOVE=1") {
                self.store.remove(&name.unwrap());
            }
            self.told.push(text);
        }
    }

    /// Waits until listeners with these in their names are stored, and no others.
    fn until_stored(&mut self, parts: &[&str]) {
        let deadline = Instant::now() + DEADLINE;
        let fits = |store: &BTreeMap<String, OwnedFd>| {
            store.len() == parts.len() && store.keys().zip(parts).all(|(name, part)| name.contains(part))
        };
        while !fits(&self.store) {
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "{parts:?}, but {:?}", self.store);
            svd_sys::fd::wait_readable(self.socket.as_fd(), left).unwrap();
            self.take();
        }
    }
}

/// A command with these descriptors from 3 on, as sd_listen_fds(3) has it: LISTEN_PID is its own.
fn with_descriptors(command: &Command, given: &[(&str, BorrowedFd<'_>)]) -> Command {
    // What svd is started by gets them over its standard input, since nothing else is inherited.
    let script = "
import os, socket, sys
names, program = sys.argv[1], sys.argv[2:]
_, got, _, _ = socket.recv_fds(socket.socket(fileno=os.dup(0)), 1, 64)
got = [__import__('fcntl').fcntl(n, 0, 100) for n in got]
for at, n in enumerate(got):
    os.dup2(n, 3 + at)
os.closerange(3 + len(got), 200)
os.dup2(os.open('/dev/null', os.O_RDONLY), 0)
os.environ.update(LISTEN_FDS=str(len(got)), LISTEN_FDNAMES=names, LISTEN_PID=str(os.getpid()))
os.execv(program[0], program)
";
    let (ours, theirs) = UnixDatagram::pair().unwrap();
    let fds: Vec<BorrowedFd<'_>> = given.iter().map(|(_, fd)| *fd).collect();
    svd_sys::dgram::send(ours.as_fd(), b"x", &fds).unwrap();
    let names: Vec<&str> = given.iter().map(|(name, _)| *name).collect();
    let mut with = Command::new(python());
    with.arg("-c").arg(script).arg(names.join(":")).arg(command.get_program()).args(command.get_args());
    with.stdin(Stdio::from(OwnedFd::from(theirs))).current_dir(command.get_current_dir().unwrap());
    for (name, value) in command.get_envs() {
        with.env(name, value.unwrap());
    }
    with
}

/// What the server says.
fn greeting(mut stream: impl Read) -> String {
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

fn tcp(address: &str) -> String {
    greeting(TcpStream::connect(address).unwrap())
}

/// Where the only listener of web is.
fn address(app: &App) -> String {
    app.process("web")["listeners"][0]["address"].as_str().unwrap().to_owned()
}

fn warnings(status: &Value) -> String {
    status["warnings"].to_string()
}

#[test]
fn it_is_told_when_all_is_up_what_is_not_when_svd_reloads_and_that_it_stops() {
    // given one that becomes ready when somebody writes to a pipe, and one that does not come up
    let config = "[process.late]\nrun = [\"sleep\", \"1000\"]\nready = { run = [\"sh\", \"-c\", \"read x <go\"], timeout = \"7m\" }\n\
                  [process.broken]\nrun = [\"false\"]\nrestart = { backoff = \"10m\" }\nstop = [\"TERM\", \"40s\", \"KILL\"]\n";
    let mut app = App::new(config);
    let mut go = app.fifo("go");
    let mut above = Above::new(&app);
    app.boot_with(above.command(&app));
    // then it may take as long as that one has
    assert_eq!(
        above.until("STATUS=0 of 2 ready; late.1 starting, broken.1 backoff")[0],
        "EXTEND_TIMEOUT_USEC=435000000"
    );
    // when
    writeln!(go).unwrap();
    // then the one that serves is not held against the one that does not
    assert_eq!(above.until("READY=1")[1], "STATUS=1 of 2 ready; broken.1 backoff");
    // when the config is read again, a new one and one that is refused
    for config in [config.replace("10m", "11m"), "nonsense".to_owned()] {
        app.configure(&config);
        let before = svd_sys::clock::now().mono_ns / 1000;
        app.signal(1);
        let reloading = above.until("RELOADING=1");
        let at: u64 = reloading[1].strip_prefix("MONOTONIC_USEC=").unwrap().parse().unwrap();
        assert!(at >= before, "{at} {before}");
        above.until("READY=1");
    }
    // when
    app.signal(15);
    // then
    assert_eq!(above.until("STOPPING=1")[1], "EXTEND_TIMEOUT_USEC=70000000");
    assert_eq!(app.over(), Some(0));
}

#[test]
fn a_later_manager_says_again_how_it_is_and_the_watchdog_hears_nothing_of_its_predecessors_death() {
    let mut app = App::new("process.web = { run = [\"sleep\", \"1000\"] }");
    let mut above = Above::new(&app);
    let mut command = above.command(&app);
    command.env("WATCHDOG_USEC", "400000");
    app.boot_with(command);
    above.until("READY=1");
    above.until("WATCHDOG=1");
    // when
    kill(manager_of(&app));
    // then
    above.until("READY=1");
    above.until("WATCHDOG=1");
    // and one that is meant for somebody else is left alone
    let mut other = App::new("process.web = { run = [\"sleep\", \"1000\"] }");
    let mut above = Above::new(&other);
    let mut command = above.command(&other);
    command.env("WATCHDOG_USEC", "1000").env("WATCHDOG_PID", "1");
    other.boot_with(command);
    above.until("READY=1");
    other.ok(&["restart", "web"]);
    above.take();
    assert!(!above.told.iter().any(|text| text.contains("WATCHDOG")), "{:?}", above.told);
}

#[test]
fn no_process_gets_what_was_meant_for_svd() {
    // given
    let mut app = App::new("process.web = { run = [\"sleep\", \"1000\"], keep_env = [\"*\"] }");
    let above = Above::new(&app);
    let mut command = above.command(&app);
    command.env("INVOCATION_ID", "x").env("WATCHDOG_USEC", "60000000").env("CREDENTIALS_DIRECTORY", "/run/x");
    let socket = svd_sys::listen::tcp("127.0.0.1:0".parse().unwrap(), false, Group::Alone, 8).unwrap();
    // when
    app.boot_with(with_descriptors(&command, &[("x.socket", socket.as_fd())]));
    app.wait("web", "ready");
    // then
    let environment = common::environ(app.pid("web.1"));
    for name in ["NOTIFY_SOCKET", "LISTEN_", "WATCHDOG_", "INVOCATION_ID", "CREDENTIALS_DIRECTORY"] {
        assert!(!environment.keys().any(|has| has.starts_with(name)), "{name} {environment:?}");
    }
    assert_eq!(common::open_descriptors(app.pid("web.1")), [0, 1, 2]);
    // and what no process asked for was told, and is closed
    let told = format!("x.socket ({}) was handed over, and no process listens there", local(&socket));
    app.err().containing(&told);
    let (at, inode) = (local(&socket), svd_sys::listen::cookie(socket.as_fd()).unwrap());
    drop(socket);
    assert_eq!(holders(&app, inode), Vec::<i32>::new(), "{at}");
}

fn local(socket: &OwnedFd) -> String {
    svd_sys::listen::address(socket.as_fd()).unwrap().to_string()
}

fn manager_of(app: &App) -> i32 {
    app.status()["svd"]["manager_pid"].as_i64().unwrap().try_into().unwrap()
}

fn kill(pid: i32) {
    let pidfd = svd_sys::pidfd::open(pid).unwrap();
    svd_sys::pidfd::send_signal(pidfd.as_fd(), 9).unwrap();
}

/// Which processes of this app have this socket open.
fn holders(app: &App, inode: u64) -> Vec<i32> {
    let has = |pid: &i32| {
        let fds = std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
        let links = fds.filter_map(|fd| std::fs::read_link(fd.path()).ok());
        links.into_iter().any(|link| link.to_string_lossy() == format!("socket:[{inode}]"))
    };
    let below = common::children(app.keeper());
    below.into_iter().chain([app.keeper()]).filter(has).collect()
}

#[test]
fn a_socket_that_was_handed_over_is_the_listener_of_that_address_and_is_gated() {
    // given a socket as a unit with ListenStream=PORT and ReusePort=yes has it, with somebody waiting in it
    let socket = svd_sys::listen::tcp("[::]:0".parse().unwrap(), false, Group::Shared, 64).unwrap();
    let port = svd_sys::listen::address(socket.as_fd()).unwrap().port();
    let waits = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let mut app = App::new(&format!("[process.web]\n{SERVER}listen = \"0.0.0.0:{port}\"\nready = \"started\"\n"));
    let above = Above::new(&app);
    // when
    app.boot_with(with_descriptors(&above.command(&app), &[("shop.socket", socket.as_fd())]));
    app.wait("web", "ready");
    // then
    let first = app.pid("web.1").to_string();
    assert_eq!(greeting(waits), first);
    assert_eq!(warnings(&app.status()), "null");
    assert_eq!(address(&app), format!("[::]:{port}"));
    // when it is replaced beside itself, under a manager that took over
    kill(manager_of(&app));
    app.ok(&["restart", "web"]);
    // then
    let second = app.pid("web.1").to_string();
    assert_ne!(first, second);
    assert_eq!(tcp(&format!("127.0.0.1:{port}")), second);
    // and when svd ends, whoever comes waits for the next one
    assert_eq!(app.stop(), Some(0));
    let waits = TcpStream::connect(("127.0.0.1", port)).unwrap();
    app.boot_with(with_descriptors(&above.command(&app), &[("shop.socket", socket.as_fd())]));
    app.wait("web", "ready");
    assert_eq!(greeting(waits), app.pid("web.1").to_string());
}

#[test]
fn a_socket_that_cannot_be_gated_is_shared_and_that_is_told() {
    // given a socket without ReusePort=, named after the process
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = socket.local_addr().unwrap().port();
    let mut app = App::new(&format!("[process.web]\n{SERVER}listen = \"127.0.0.1:1\"\nready = \"started\"\n"));
    let above = Above::new(&app);
    // when
    app.boot_with(with_descriptors(&above.command(&app), &[("web", socket.as_fd())]));
    app.wait("web", "ready");
    // then
    assert_eq!(address(&app), format!("127.0.0.1:{port}"));
    assert_eq!(tcp(&format!("127.0.0.1:{port}")), app.pid("web.1").to_string());
    app.err().containing("cannot be gated here (its socket unit has no ReusePort=yes)");
    // By the new one, once the old one, which ends in the middle of a greeting, accepts no more.
    let old = svd_sys::pidfd::open(app.pid("web.1")).unwrap();
    app.ok(&["restart", "web"]);
    assert!(common::wait_ended(old.as_fd(), common::DEADLINE));
    assert_eq!(tcp(&format!("127.0.0.1:{port}")), app.pid("web.1").to_string());
}

#[test]
fn the_path_of_a_unix_socket_that_was_handed_over_is_left_alone() {
    // given
    let mut app =
        App::new(&format!("[process.web]\n{SERVER}listen = \"unix:@DIR@/unit/web.sock\"\nready = \"started\"\n"));
    std::fs::create_dir(app.path("unit")).unwrap();
    let path = app.path("unit/web.sock");
    let socket = UnixListener::bind(&path).unwrap();
    let above = Above::new(&app);
    let files = || std::fs::read_dir(path.parent().unwrap()).unwrap().count();
    // when
    app.boot_with(with_descriptors(&above.command(&app), &[("web.socket", socket.as_fd())]));
    app.wait("web", "ready");
    let old = svd_sys::pidfd::open(app.pid("web.1")).unwrap();
    kill(manager_of(&app));
    app.ok(&["restart", "web"]);
    // then: by the new one, once the old one, which ends in the middle of a greeting, accepts no more
    assert!(common::wait_ended(old.as_fd(), common::DEADLINE));
    assert_eq!(greeting(UnixStream::connect(&path).unwrap()), app.pid("web.1").to_string());
    assert_eq!(files(), 1, "{:?}", std::fs::read_dir(path.parent().unwrap()).unwrap().flatten().collect::<Vec<_>>());
    assert_eq!(app.stop(), Some(0));
    assert_eq!(files(), 1);
    UnixStream::connect(&path).unwrap();
}

#[test]
fn listeners_that_are_stored_refuse_nobody_while_svd_is_killed_and_started_again() {
    // given two listeners, one of which chose its port
    let config = format!(
        "[process.web]\n{SERVER}listen = {{ http = \"127.0.0.1:0\", admin = \"unix:@DIR@/admin.sock\" }}\nready = \"started\"\n"
    );
    let mut app = App::new(&config);
    let mut above = Above::new(&app);
    app.boot_with(above.command(&app));
    app.wait("web", "ready");
    above.until_stored(&["web%3atcp%3a127.0.0.1%3a0%3a0", "web%3atcp%3a127.0.0.1%3a0%3a1", "admin.sock%3a0"]);
    let process = app.process("web");
    let http = process["listeners"].as_array().unwrap().iter().find(|one| one["name"] == "http").unwrap();
    let at = http["address"].as_str().unwrap().to_owned();
    app.ok(&["restart", "web"]);
    // when the keeper is killed, and everything with it
    kill(app.keeper());
    app.forget();
    // then who comes now waits
    let waits: Vec<TcpStream> = (0..20).map(|_| TcpStream::connect(&at).unwrap()).collect();
    let waits_too = UnixStream::connect(app.path("admin.sock")).unwrap();
    // and is served by the next svd
    let stored = std::mem::take(&mut above.store);
    let given: Vec<(&str, BorrowedFd<'_>)> = stored.iter().map(|(name, fd)| (name.as_str(), fd.as_fd())).collect();
    app.boot_with(with_descriptors(&above.command(&app), &given));
    app.wait("web", "ready");
    let pid = app.pid("web.1").to_string();
    for waiting in waits {
        assert_eq!(greeting(waiting), pid);
    }
    assert_eq!(tcp(&at), pid);
    drop(waits_too);
    UnixStream::connect(app.path("admin.sock")).unwrap();
    above.until_stored(&["web%3atcp%3a127.0.0.1%3a0%3a0", "web%3atcp%3a127.0.0.1%3a0%3a1", "admin.sock%3a0"]);
    drop(stored);
    // when the config names one of them no more
    app.configure(&config.replace(", admin = \"unix:@DIR@/admin.sock\"", ""));
    app.ok(&["apply"]);
    // then it is taken out of the store
    above.until_stored(&["127.0.0.1%3a0%3a0", "127.0.0.1%3a0%3a1"]);
}

#[test]
fn what_is_stored_and_no_longer_wanted_makes_room() {
    // given a stored listener on all addresses
    let wide = |port: u16| format!("[process.web]\n{SERVER}listen = \"0.0.0.0:{port}\"\nready = \"started\"\n");
    let port = common::free_port();
    let mut app = App::new(&wide(port));
    let mut above = Above::new(&app);
    app.boot_with(above.command(&app));
    app.wait("web", "ready");
    above.until_stored(&["0.0.0.0", "0.0.0.0"]);
    kill(app.keeper());
    app.forget();
    // when the next config wants another one of the same port, and nothing stored
    app.configure(&format!("{}[systemd]\nstore_listeners = false\n", wide(port).replace("0.0.0.0", "127.0.0.1")));
    let stored: Vec<(String, OwnedFd)> =
        above.store.iter().map(|(name, fd)| (name.clone(), fd.try_clone().unwrap())).collect();
    let given: Vec<(&str, BorrowedFd<'_>)> = stored.iter().map(|(name, fd)| (name.as_str(), fd.as_fd())).collect();
    app.boot_with(with_descriptors(&above.command(&app), &given));
    app.wait("web", "ready");
    // then
    assert_eq!(tcp(&format!("127.0.0.1:{port}")), app.pid("web.1").to_string());
    above.until_stored(&[]);
}
