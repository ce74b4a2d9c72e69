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
        assert_eq!(app.err().all().iter().filter(|line| line.contains("no-such-group")).count(), 1);
        assert!(!app.path("ran").exists());
        assert_eq!(app.over(), Some(1));
    }
}
