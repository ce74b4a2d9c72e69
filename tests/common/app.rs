//! One svd with a directory of its own.

use super::{DEADLINE, Lines, http, wait};
use serde_json::Value;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// One svd, its config and its files. Dropping it stops svd and checks that nothing is left of it.
pub struct App {
    dir: PathBuf,
    svd: Option<Running>,
    /// A line for every event, whichever manager told it: what [`App::until`] is woken by.
    bell: Lines,
}

struct Running {
    child: Child,
    pidfd: OwnedFd,
    out: Lines,
    err: Lines,
}

/// What a command printed and how it ended.
#[derive(Debug)]
pub struct Reply {
    /// Exit code; `None` after a signal.
    pub code: Option<i32>,
    /// What it printed.
    pub out: String,
    /// What it complained about.
    pub err: String,
}

/// A Python that every user may run.
pub fn python() -> &'static str {
    static PYTHON: OnceLock<String> = OnceLock::new();
    PYTHON.get_or_init(|| {
        // What is first in PATH may be a slow wrapper, or in somebody's home.
        let places = ["/usr/bin/python3", "/usr/local/bin/python3"];
        places.iter().find(|path| Path::new(path).exists()).map_or_else(
            || {
                let print = Command::new("python3").args(["-c", "import sys; print(sys.executable)"]).output();
                String::from_utf8(print.expect("the tests need python3").stdout).expect("UTF-8").trim().to_owned()
            },
            |path| (*path).to_owned(),
        )
    })
}

impl App {
    /// An app with this `Procfile.toml`, not started yet. `@DIR@` in it stands for the app's directory, `@PY@` for
    /// Python.
    pub fn new(config: &str) -> App {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        // What svd leaves behind when it is killed is then ours, not init's, and can be found.
        svd_sys::process::set_subreaper().expect("prctl");
        // One that a test has left behind, whose process had the same number, is left alone.
        let dir = loop {
            let name = format!("svdt-{}-{}.", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
            let dir = std::env::temp_dir().join(name);
            match std::fs::create_dir(&dir) {
                Ok(()) => break dir,
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(error) => panic!("no directory of our own: {error}"),
            }
        };
        // Services that run as other users start here.
        std::fs::set_permissions(&dir, std::fs::Permissions::from_mode(0o755)).expect("chmod");
        let app = App { dir, svd: None, bell: Lines::default() };
        app.configure(config);
        app
    }

    /// Such an app, started, and its control socket answers.
    pub fn start(config: &str) -> App {
        let mut app = App::new(config);
        app.boot();
        app
    }

    /// Replaces the config.
    pub fn configure(&self, config: &str) {
        self.write("Procfile.toml", config);
    }

    /// Writes a file of the app's directory, with `@DIR@` and `@PY@` replaced.
    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        let text = text.replace("@DIR@", &self.dir.display().to_string()).replace("@PY@", python());
        std::fs::write(&path, text).expect("a writable directory");
        path
    }

    /// Writes an executable file of the app's directory.
    pub fn script(&self, name: &str, text: &str) -> PathBuf {
        let path = self.write(name, text);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("chmod");
        path
    }

    /// Makes a named pipe in the app's directory. What is written to it stays there until somebody reads it, as long as
    /// the file is kept.
    pub fn fifo(&self, name: &str) -> std::fs::File {
        let path = self.path(name);
        assert!(Command::new("mkfifo").arg(&path).status().expect("mkfifo").success());
        // For both directions, so that opening it waits for nobody.
        std::fs::File::options().read(true).write(true).open(path).expect("a named pipe")
    }

    /// A path in the app's directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// What a file of the app's directory has in it.
    pub fn read(&self, name: &str) -> String {
        String::from_utf8_lossy(&std::fs::read(self.path(name)).unwrap_or_default()).into_owned()
    }

    /// The control socket.
    pub fn socket(&self) -> PathBuf {
        self.path("root/run/control.sock")
    }

    /// `svd run` for this app: the caller may add to it and give it to [`App::boot_with`].
    pub fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_svd"));
        command.current_dir(&self.dir).env("SVD_TEST_DIR", &self.dir).stdin(Stdio::null());
        command.arg("run").arg("--root").arg(self.path("root")).args(["--log-format", "json"]);
        command
    }

    /// Starts svd and waits until its control socket answers.
    pub fn boot(&mut self) {
        self.boot_with(self.command());
    }

    /// Starts svd by this command and waits until its control socket answers.
    pub fn boot_with(&mut self, command: Command) {
        self.spawn(command);
        self.until("svd to answer", |_| Some(()));
    }

    /// Starts svd by this command and waits for nothing.
    pub fn spawn(&mut self, mut command: Command) {
        assert!(self.svd.is_none(), "svd runs already");
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("svd can be started");
        let pidfd = svd_sys::pidfd::open(child.id().cast_signed()).expect("a pidfd");
        let out = Lines::of(child.stdout.take().expect("piped"));
        let err = Lines::of(child.stderr.take().expect("piped"));
        self.svd = Some(Running { child, pidfd, out, err });
        self.listen();
    }

    /// Follows the events over the deaths of managers, for as long as svd lives.
    fn listen(&self) {
        let (socket, bell) = (self.socket(), self.bell.clone());
        let svd = self.running().pidfd.try_clone().expect("dup");
        std::thread::spawn(move || {
            while !svd_sys::pidfd::has_ended(svd.as_fd()).expect("poll") {
                if !socket.exists() {
                    wait::wait_ended(svd.as_fd(), Duration::from_millis(5));
                    continue;
                }
                if let Ok(stream) = http::connect(&socket) {
                    bell.push("connected".to_owned());
                    let _ = stream.set_read_timeout(None);
                    let _ = std::io::Write::write_all(
                        &mut &stream,
                        b"GET /v1/events?follow=true HTTP/1.1\r\nHost: svd\r\nConnection: close\r\n\r\n",
                    );
                    let part = Lines::of(stream);
                    let mut seen = 0;
                    while !wait::wait_ended(svd.as_fd(), Duration::ZERO) {
                        let far = Instant::now() + Duration::from_secs(3600);
                        let closed = part.changed(&mut seen, far);
                        bell.push(String::new());
                        if closed {
                            break;
                        }
                    }
                }
                bell.push("the event stream was closed".to_owned());
                wait::wait_ended(svd.as_fd(), Duration::from_millis(5));
            }
            bell.push("svd has ended".to_owned());
        });
    }

    fn running(&self) -> &Running {
        self.svd.as_ref().expect("svd was started")
    }

    /// The keeper's pid: svd's own.
    pub fn keeper(&self) -> i32 {
        self.running().child.id().cast_signed()
    }

    /// svd's standard output.
    pub fn out(&self) -> &Lines {
        &self.running().out
    }

    /// svd's standard error.
    pub fn err(&self) -> &Lines {
        &self.running().err
    }

    /// `svctl --root … ARGS`, not started.
    pub fn svctl_command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_svctl"));
        command.arg("--root").arg(self.path("root")).args(args).current_dir(&self.dir).stdin(Stdio::null());
        command
    }

    /// Runs `svctl ARGS`.
    pub fn svctl(&self, args: &[&str]) -> Reply {
        Reply::of(self.svctl_command(args))
    }

    /// Runs `svctl ARGS`, which must succeed, and gives what it printed.
    pub fn ok(&self, args: &[&str]) -> String {
        let reply = self.svctl(args);
        assert_eq!(reply.code, Some(0), "svctl {args:?}: {reply:?}\n{}", self.diagnosis());
        reply.out
    }

    /// `svctl wait TARGET --for WHAT`, which must succeed.
    pub fn wait(&self, target: &str, what: &str) {
        self.ok(&["wait", target, "--for", what, "--timeout", "40s"]);
    }

    /// One request to the control socket, which must be answered.
    pub fn request(&self, method: &str, path: &str, body: Option<&str>) -> http::Answer {
        http::request(&self.socket(), method, path, body)
            .unwrap_or_else(|error| panic!("{method} {path}: {error}\n{}", self.diagnosis()))
    }

    /// The tree as `GET /v1/status` tells it.
    pub fn status(&self) -> Value {
        self.try_status().unwrap_or_else(|| panic!("no status\n{}", self.diagnosis()))
    }

    fn try_status(&self) -> Option<Value> {
        let answer = http::request(&self.socket(), "GET", "/v1/status", None).ok()?;
        (answer.status == 200).then(|| answer.json())
    }

    /// Waits until `look` finds in the status what it looks for; it looks again at each event.
    pub fn until<T>(&self, what: &str, mut look: impl FnMut(&Value) -> Option<T>) -> T {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let seen = self.bell.count();
            let status = self.try_status();
            if let Some(found) = status.as_ref().and_then(&mut look) {
                return found;
            }
            let ended = svd_sys::pidfd::has_ended(self.running().pidfd.as_fd()).expect("poll");
            assert!(!ended, "svd ended while the test waited for {what}\n{}", self.diagnosis());
            let woken = self.bell.more_than(seen, deadline);
            assert!(woken, "waited in vain for {what}; status: {status:#?}\n{}", self.diagnosis());
        }
    }

    /// Waits until the instance is in this state, and gives it.
    pub fn until_state(&self, id: &str, state: &str) -> Value {
        self.until(&format!("{id} to be {state}"), |status| {
            find(status, id).filter(|found| found["state"] == state).cloned()
        })
    }

    /// The instance as status shows it.
    pub fn instance(&self, id: &str) -> Value {
        let status = self.status();
        find(&status, id).unwrap_or_else(|| panic!("no instance {id} in {status:#}")).clone()
    }

    /// The process as status shows it.
    pub fn process(&self, name: &str) -> Value {
        let status = self.status();
        let processes = status["processes"].as_array().expect("an array");
        processes.iter().find(|process| process["name"] == name).expect("such a process").clone()
    }

    /// The pid of an instance that runs.
    pub fn pid(&self, id: &str) -> i32 {
        let instance = self.instance(id);
        let pid = instance["pid"].as_i64().unwrap_or_else(|| panic!("{id} does not run: {instance:#}"));
        i32::try_from(pid).expect("a pid")
    }

    /// All events so far, oldest first.
    pub fn events(&self) -> Vec<Value> {
        let mut all: Vec<Value> = Vec::new();
        loop {
            let after = all.last().map_or(0, |event| event["id"].as_i64().expect("an id"));
            let answer = self.request("GET", &format!("/v1/events?limit=10000&after={after}"), None);
            assert_eq!(answer.status, 200, "{answer:?}");
            let Value::Array(page) = answer.json() else { panic!("no events in {answer:?}") };
            if page.is_empty() {
                return all;
            }
            all.extend(page);
        }
    }

    /// The events of one instance, oldest first.
    pub fn events_of(&self, instance: &str) -> Vec<Value> {
        self.events().into_iter().filter(|event| event["instance"] == instance).collect()
    }

    /// The lines that `svctl logs` gives for a target, as JSON.
    pub fn logs(&self, target: &str) -> Vec<Value> {
        let text = self.ok(&["--json", "logs", "--since", "1h", target]);
        text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    }

    /// What the segments of an instance's stream have, in their order: `out` or `err`.
    pub fn segments(&self, instance: &str, stream: &str) -> Vec<u8> {
        let dir = self.path("root/logs").join(instance);
        let mut paths: Vec<PathBuf> = std::fs::read_dir(&dir)
            .map(|entries| entries.filter_map(|entry| Some(entry.ok()?.path())).collect())
            .unwrap_or_default();
        paths.retain(|path| {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or("");
            name.starts_with(&format!("{stream}.")) && name.ends_with(".log")
        });
        paths.sort();
        paths.iter().flat_map(|path| std::fs::read(path).expect("a readable segment")).collect()
    }

    /// Sends svd a signal.
    pub fn signal(&self, signal: i32) {
        svd_sys::pidfd::send_signal(self.running().pidfd.as_fd(), signal).expect("svd lives");
    }

    /// Waits until svd has ended by itself, and gives its exit status.
    pub fn ended(&mut self) -> ExitStatus {
        let running = self.svd.as_mut().expect("svd was started");
        if !wait::wait_ended(running.pidfd.as_fd(), DEADLINE) {
            panic!("svd does not end\n{}", self.diagnosis());
        }
        running.child.wait().expect("our child")
    }

    /// Asks svd to stop everything, waits until it has ended, checks that nothing is left, and gives the exit code. It
    /// may be started again.
    pub fn stop(&mut self) -> Option<i32> {
        self.signal(15);
        self.over()
    }

    /// As [`App::stop`] where svd is not our own child: `keeper` is sent the signal.
    pub fn stop_through(&mut self, keeper: i32) -> Option<i32> {
        let pidfd = svd_sys::pidfd::open(keeper).expect("svd lives");
        svd_sys::pidfd::send_signal(pidfd.as_fd(), 15).expect("svd lives");
        self.over()
    }

    /// Waits until svd has ended by itself, checks that nothing is left, and gives the exit code.
    pub fn over(&mut self) -> Option<i32> {
        let code = self.ended().code();
        let left = self.left_over();
        assert!(left.is_empty(), "svd has ended, but there is still {left:?}\n{}", self.diagnosis());
        self.svd = None;
        code
    }

    /// Forgets the svd that has ended, whatever is left of it, so that another one can be started.
    pub fn forget(&mut self) {
        self.ended();
        self.svd = None;
    }

    /// Everybody alive who was started in the app's directory or by its svd: pid and command line.
    pub fn left_over(&self) -> Vec<(i32, String)> {
        let dir = self.dir.display().to_string();
        let mut left = Vec::new();
        for proc in svd_sys::tree::Scan::read().expect("/proc").procs() {
            let part = |name: &str| {
                let bytes = std::fs::read(format!("/proc/{}/{name}", proc.pid)).unwrap_or_default();
                String::from_utf8_lossy(&bytes).replace('\0', " ")
            };
            let ours = part("environ").contains(&dir) || part("cmdline").contains(&dir);
            if ours && !proc.has_ended() && proc.pid != svd_sys::process::pid() {
                left.push((proc.pid, part("cmdline")));
            }
        }
        left
    }

    /// What svd printed last and what its tree is, for a failure's message.
    pub fn diagnosis(&self) -> String {
        let mut text = String::new();
        let mut section = |title: &str, lines: Vec<String>| {
            let from = lines.len().saturating_sub(30);
            text += &format!("--- {title}\n{}\n", lines[from..].join("\n"));
        };
        if let Some(running) = &self.svd {
            section("svd's stdout", running.out.all());
            section("svd's stderr", running.err.all());
        }
        section("processes", self.left_over().iter().map(|(pid, line)| format!("{pid} {line}")).collect());
        text
    }
}

impl Reply {
    /// Runs the command to its end.
    pub fn of(mut command: Command) -> Reply {
        let output = command.output().expect("it can be started");
        Reply {
            code: output.status.code(),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// The instance of this name in a status.
fn find<'a>(status: &'a Value, id: &str) -> Option<&'a Value> {
    let processes = status["processes"].as_array()?;
    let mut instances = processes.iter().filter_map(|process| process["instances"].as_array()).flatten();
    instances.find(|instance| instance["id"] == id)
}

impl Drop for App {
    fn drop(&mut self) {
        let failed = std::thread::panicking();
        if failed {
            eprintln!("{}", self.diagnosis());
        }
        let mut complaint = None;
        if let Some(mut running) = self.svd.take() {
            let _ = svd_sys::pidfd::send_signal(running.pidfd.as_fd(), 15);
            if !wait::wait_ended(running.pidfd.as_fd(), DEADLINE) {
                complaint = Some(format!("svd does not end; its stderr: {:?}", running.err.all()));
                let _ = svd_sys::pidfd::send_signal(running.pidfd.as_fd(), 9);
            }
            let _ = running.child.wait();
        }
        let left = self.left_over();
        for (pid, _) in &left {
            if let Some(proc) = svd_sys::tree::read_proc(*pid) {
                let _ = svd_sys::tree::kill_verified(&proc, 9);
            }
        }
        if !left.is_empty() && complaint.is_none() {
            complaint = Some(format!("there is still {left:?}"));
        }
        match complaint {
            Some(complaint) if !failed => panic!("{complaint}; see {}", self.dir.display()),
            Some(complaint) => eprintln!("{complaint}"),
            None => {}
        }
        if !failed {
            let _ = std::fs::remove_dir_all(&self.dir);
        }
    }
}
