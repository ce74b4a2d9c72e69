//! `svd -- COMMAND`: one process as init of a container would run it.

mod common;

use common::{App, DEADLINE, Lines, eventually, is_alive, skipped, wait_ended};
use std::io::Write;
use std::os::fd::AsFd;
use std::process::{Child, Command, Stdio};

fn svd(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_svd"));
    command.arg("--").args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn code(args: &[&str]) -> Option<i32> {
    let output = svd(args).output().unwrap();
    if output.status.code().is_none() {
        eprintln!("{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
    output.status.code()
}

/// Ends the process when the test fails.
struct Ends(Child);

impl Drop for Ends {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn the_exit_code_is_the_commands_own() {
    assert_eq!(code(&["true"]), Some(0));
    assert_eq!(code(&["sh", "-c", "exit 7"]), Some(7));
    assert_eq!(code(&["sh", "-c", "kill -TERM $$"]), Some(143));
    assert_eq!(code(&["sh", "-c", "kill -KILL $$"]), Some(137));
    assert_eq!(code(&["no-such-program-at-all"]), Some(127));
    assert_eq!(code(&["/etc/passwd"]), Some(126));
    assert_eq!(code(&["/"]), Some(126));
}

#[test]
fn arguments_environment_directory_and_standard_input_pass_through() {
    // given: words with spaces, and input
    let app = App::new("");
    let mut child = svd(&["sh", "-c", "printf '%s|' \"$@\" \"$MARK\"; pwd; cat", "-", "a b", "", "--", "-e"])
        .env("MARK", "here")
        .current_dir(app.path(""))
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    // when
    child.stdin.take().unwrap().write_all(b"what was typed\n").unwrap();
    let output = child.wait_with_output().unwrap();
    // then: as it was, and not a byte of ours
    let dir = app.path("").canonicalize().unwrap();
    let expected = format!("a b||--|-e|here|{}\nwhat was typed\n", dir.display());
    assert_eq!(String::from_utf8_lossy(&output.stdout), expected);
    assert_eq!(output.stderr, b"");
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn signals_are_passed_on() {
    let app = App::new("");
    let script = app.write(
        "service.py",
        r#"
import signal, sys
def say(number, frame):
    print('got', signal.Signals(number).name)
    if number == signal.SIGTERM: sys.exit(5)
for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP, signal.SIGWINCH, signal.SIGINT):
    signal.signal(number, say)
print('up')
while True: signal.pause()
"#,
    );
    // given
    let mut child = Ends(svd(&[common::python(), "-u", script.to_str().unwrap()]).spawn().unwrap());
    let lines = Lines::of(child.0.stdout.take().unwrap());
    lines.containing("up");
    let pidfd = svd_sys::pidfd::open(child.0.id().cast_signed()).unwrap();
    // when, then
    for (number, name) in
        [(10, "SIGUSR1"), (12, "SIGUSR2"), (1, "SIGHUP"), (28, "SIGWINCH"), (2, "SIGINT"), (15, "SIGTERM")]
    {
        svd_sys::pidfd::send_signal(pidfd.as_fd(), number).unwrap();
        lines.containing(name);
    }
    assert!(wait_ended(pidfd.as_fd(), DEADLINE));
    assert_eq!(child.0.wait().unwrap().code(), Some(5));
}

#[test]
fn a_signal_that_ends_the_command_is_told_as_128_and_its_number() {
    let mut child = Ends(svd(&["sh", "-c", "echo up; exec sleep 1000"]).spawn().unwrap());
    let lines = Lines::of(child.0.stdout.take().unwrap());
    lines.containing("up");
    let pidfd = svd_sys::pidfd::open(child.0.id().cast_signed()).unwrap();
    svd_sys::pidfd::send_signal(pidfd.as_fd(), 15).unwrap();
    assert!(wait_ended(pidfd.as_fd(), DEADLINE));
    assert_eq!(child.0.wait().unwrap().code(), Some(143));
}

#[test]
fn orphans_are_reaped_while_the_command_lives_and_nobody_is_left_after_it() {
    let app = App::new("");
    // given: a command that makes orphans which end, and one that stays
    let script = app.write(
        "orphans.py",
        r#"
import os, signal
for n in range(100):
    if os.fork() == 0:
        if os.fork() == 0: os._exit(0)
        os._exit(0)
    os.wait()
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.write(1, b'left %d\n' % os.getpid())  # in one piece: two programs write here
        while True: signal.pause()
    os._exit(0)
os.wait()
os.write(1, b'made\n')
while True: signal.pause()
"#,
    );
    let mut child = Ends(svd(&[common::python(), script.to_str().unwrap()]).spawn().unwrap());
    let lines = Lines::of(child.0.stdout.take().unwrap());
    lines.containing("made");
    let line = lines.containing("left");
    let left: i32 = line.strip_prefix("left ").and_then(|pid| pid.parse().ok()).unwrap_or_else(|| panic!("{line:?}"));
    // then: no zombie
    let pid = child.0.id().cast_signed();
    eventually("no zombies", || common::zombies_below(pid) == 0);
    // when the command ends, so does who is left
    let pidfd = svd_sys::pidfd::open(pid).unwrap();
    svd_sys::pidfd::send_signal(pidfd.as_fd(), 15).unwrap();
    assert!(wait_ended(pidfd.as_fd(), DEADLINE));
    assert_eq!(child.0.wait().unwrap().code(), Some(143));
    assert!(!is_alive(left), "{left} is left");
}

/// As PID 1 the kernel drops signals that have no handler, and nobody else reaps.
#[test]
fn as_pid_1_it_forwards_reaps_and_ends_with_the_commands_code() {
    let may = Command::new("unshare").args(["--pid", "--fork", "--mount-proc", "true"]).stderr(Stdio::null()).status();
    if !may.is_ok_and(|status| status.success()) {
        return skipped("PID 1 needs root and unshare(1)");
    }
    let run = |script: &str| {
        let mut command = Command::new("unshare");
        command.args([
            "--pid",
            "--fork",
            "--mount-proc",
            "--kill-child",
            env!("CARGO_BIN_EXE_svd"),
            "--",
            "sh",
            "-c",
            script,
        ]);
        command.output().unwrap()
    };
    let output = run("echo $PPID; exit 9");
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(9), b"1\n".as_slice()));
    // a signal to PID 1 from inside reaches the command
    let output = run("trap 'echo got it; exit 3' USR1; kill -USR1 1; while :; do sleep 1000 & wait; done");
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(3), b"got it\n".as_slice()), "{output:?}");
}
