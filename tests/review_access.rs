//! Directories and groups: who can reach what.

mod common;

use common::{App, skipped};
use std::process::Command;

const NOTIFIER: &str = r#"
import os, socket, signal
socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendto(b"READY=1", os.environ["NOTIFY_SOCKET"])
while True: signal.pause()
"#;

#[test]
fn a_service_of_another_user_reaches_its_notify_socket_whatever_the_umask_is() {
    if svd_sys::process::uid() != 0 {
        return skipped("only root can start services as other users");
    }
    // given svd is started with a umask that keeps all others out
    let mut app = App::new(
        "[process.web]
         run = [\"@PY@\", \"notifier.py\"]
         ready = { notify = true, timeout = \"20s\" }
         user = \"65534\"",
    );
    app.write("notifier.py", NOTIFIER);
    let svd = app.command();
    let mut command = Command::new("/bin/sh");
    command.args(["-c", "umask 077; exec \"$@\"", "sh"]).arg(svd.get_program()).args(svd.get_args());
    command.current_dir(app.path(".")).env("SVD_TEST_DIR", app.path(".")).stdin(std::process::Stdio::null());
    // when
    app.boot_with(command);
    // then
    app.wait("web", "ready");
}

#[test]
fn a_group_that_does_not_exist_ends_svd_before_anything_is_started() {
    for key in ["read_group", "socket_group"] {
        // given
        let mut app = App::new(&format!("[process]\nweb = \"touch @DIR@/ran\"\n[control]\n{key} = \"no-such-group\""));
        // when
        app.spawn(app.command());
        // then
        assert_eq!(app.ended().code(), Some(1));
        assert_eq!(app.err().closed().iter().filter(|line| line.contains("no-such-group")).count(), 1);
        assert!(!app.path("ran").exists());
        assert_eq!(app.over(), Some(1));
    }
}

/// Fault 50.
#[test]
fn a_second_svd_with_another_state_directory_leaves_the_control_socket_of_the_first() {
    if svd_sys::process::uid() != 0 {
        return skipped("only root can start svd as a user of its own choice");
    }
    // given a user with one runtime directory, whose svd runs
    let app = App::new("app = \"twin\"\n[process]\nweb = \"sleep 1000\"");
    for dir in ["runtime", "first", "second"] {
        std::fs::create_dir(app.path(dir)).unwrap();
        std::os::unix::fs::chown(app.path(dir), Some(65534), Some(65534)).unwrap();
    }
    let svd = |state: &str| {
        let mut command = Command::new(app.command().get_program());
        command
            .env_remove("SVD_ROOT")
            .env("XDG_RUNTIME_DIR", app.path("runtime"))
            .env("XDG_STATE_HOME", app.path(state));
        command.current_dir(app.path(".")).env("SVD_TEST_DIR", app.path(".")).stdin(std::process::Stdio::null());
        std::os::unix::process::CommandExt::uid(&mut command, 65534);
        std::os::unix::process::CommandExt::gid(&mut command, 65534);
        command.stdout(std::process::Stdio::piped());
        command
    };
    let mut first = svd("first").spawn().unwrap();
    let mut line = String::new();
    let mut out = std::io::BufReader::new(first.stdout.take().unwrap());
    while !line.contains("ready") {
        assert_ne!(std::io::BufRead::read_line(&mut out, &mut line).unwrap(), 0, "{line}");
    }
    // when another one is started for the same app, from another state directory
    let second = svd("second").stderr(std::process::Stdio::piped()).output().unwrap();
    // then
    assert_eq!(second.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&second.stderr).contains("another svd runs this app already"));
    let socket = app.path("runtime/svd/twin/control.sock");
    assert_eq!(common::request(&socket, "GET", "/v1/status", None).unwrap().status, 200);
    assert_eq!(common::request(&socket, "POST", "/v1/shutdown", Some("{}")).unwrap().status, 200);
    assert_eq!(first.wait().unwrap().code(), Some(0));
}

/// Fault 51.
#[test]
fn a_control_socket_that_was_removed_is_there_again_under_the_next_manager() {
    // given
    let mut app = App::start("[process]\nweb = \"sleep 1000\"");
    app.wait("web", "ready");
    let (pid, manager) = (app.pid("web.1"), app.status()["svd"]["manager_pid"].as_i64().unwrap());
    let manager = svd_sys::pidfd::open(i32::try_from(manager).unwrap()).unwrap();
    // when the file is removed and the manager replaced
    std::fs::remove_file(app.socket()).unwrap();
    svd_sys::pidfd::send_signal(std::os::fd::AsFd::as_fd(&manager), 9).unwrap();
    // then
    common::wait_path(&app.socket());
    app.until("the next manager", |status| (status["svd"]["manager_starts"] == 2).then_some(()));
    assert_eq!(app.pid("web.1"), pid);
    assert_eq!(app.stop(), Some(0));
}
