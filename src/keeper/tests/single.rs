//! `svd -- command`, as a container's entry point uses it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

use std::io::{BufRead, BufReader};
use std::os::fd::AsFd;
use std::process::{Command, Stdio};
use svd_sys::{clock, pidfd, signal, tree};

fn single(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_svd-keeper-rig"));
    command.arg("--").args(args).stdin(Stdio::null());
    command
}

#[test]
fn the_commands_exit_code_is_svds() {
    let check = |args: &[&str], code: i32| {
        assert_eq!(single(args).stderr(Stdio::null()).status().unwrap().code(), Some(code), "{args:?}");
    };
    check(&["true"], 0);
    check(&["sh", "-c", "exit 42"], 42);
    check(&["sh", "-c", "kill -9 $$"], 128 + 9);
    check(&["no-such-command"], 127);
    check(&["/no/such/command"], 127);
    check(&["/etc/passwd"], 126);
    check(&["/"], 126);
    check(&[], 2);
}

#[test]
fn what_cannot_run_is_named() {
    let output = single(&["no-such-command"]).output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.starts_with("svd: cannot run \"no-such-command\": "), "{text}");
}

#[test]
fn signals_reach_the_command() {
    for name in ["TERM", "INT", "HUP", "USR1", "WINCH", "RTMIN+1"] {
        let script =
            format!("trap 'exit 33' {}; echo up; while :; do read line || :; done", signal::number(name).unwrap());
        let mut child = single(&["sh", "-c", &script]).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let keeper = pidfd::open(child.id().cast_signed()).unwrap();
        pidfd::send_signal(keeper.as_fd(), signal::number(name).unwrap()).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(33), "{name}");
    }
}

#[test]
fn orphans_are_ended_with_the_command_even_those_that_ignore_term() {
    let orphan = "setsid sh -c 'trap \"\" TERM; echo $$; while :; do sleep 100; done' & ";
    let script = format!("( {orphan} ) | {{ read pid; echo $pid; exit 5; }}");
    let mut child = single(&["sh", "-c", &script]).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(5));
    assert!(tree::read_proc(line.trim().parse().unwrap()).is_none());
}

#[test]
fn orphans_are_reaped_while_the_command_runs() {
    // cat ends when the last orphan has.
    let script = "{ for i in $(seq 200); do (/bin/true &); done; } | cat; echo done; read line";
    let mut child = single(&["sh", "-c", script]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let zombies = || {
        let below = tree::descendants(child.id().cast_signed()).unwrap();
        below.iter().filter(|proc| proc.has_ended()).count()
    };
    let deadline = clock::now().mono_ns + 10_000_000_000;
    while zombies() > 0 {
        assert!(clock::now().mono_ns < deadline, "zombies stay");
        std::thread::yield_now();
    }
    drop(child.stdin.take());
    child.wait().unwrap();
}
