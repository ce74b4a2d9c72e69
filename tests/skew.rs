//! svd of today beside an svd that speaks version 1 of the protocol between keeper and manager. The other direction, an old
//! manager below a keeper of today, is in `src/keeper/tests/skew.rs`.

mod common;

use common::{App, request, unpack};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::process::{Command, Stdio};
use svd_sys::packet::PacketSocket;
use svd_sys::{fd, pidfd, signal};

const CONFIG: &str = "[process.web]\nrun = \"sleep 1000\"\n";

/// An app that is run by the old svd.
fn old() -> Option<App> {
    let mut app = App::new(CONFIG);
    let svd = app.path("old-svd");
    unpack("svd-protocol-1.xz", &svd)?;
    let mut command = Command::new(svd);
    command.args(app.command().get_args()).current_dir(app.path("")).stdin(Stdio::null());
    app.boot_with(command);
    app.wait("web", "ready");
    Some(app)
}

/// Fault 46.
#[test]
fn svctl_of_today_steers_an_old_svd_and_says_that_it_cannot_be_upgraded_in_place() {
    let Some(app) = old() else { return };
    let pid = app.pid("web.1");
    // when
    let reply = app.svctl(&["upgrade"]);
    // then
    assert_eq!(reply.code, Some(3), "{reply:?}");
    assert!(reply.err.contains("older than upgrades without a restart"), "{reply:?}");
    assert_eq!(app.pid("web.1"), pid);
    // and
    app.ok(&["restart", "web"]);
    assert_ne!(app.pid("web.1"), pid);
}

/// Fault 46: from which there would be no way back.
#[test]
fn a_downgrade_to_a_build_that_knows_no_upgrade_is_refused_and_nothing_is_touched() {
    let app = App::start(CONFIG);
    app.wait("web", "ready");
    let svd = app.path("old-svd");
    let Some(()) = unpack("svd-protocol-1.xz", &svd) else { return };
    let before = (app.pid("web.1"), app.status()["svd"]["manager_pid"].clone());
    // when
    let reply = app.svctl(&["upgrade", svd.to_str().unwrap()]);
    // then
    assert_eq!(reply.code, Some(3), "{reply:?}");
    assert!(reply.err.contains("from before upgrades without a restart"), "{reply:?}");
    assert_eq!((app.pid("web.1"), app.status()["svd"]["manager_pid"].clone()), before);
}

/// Fault 46: the keeper is a program of the old build that gives its end of the wire to whoever listens at a socket.
#[test]
fn a_manager_of_today_keeps_an_app_below_an_old_keeper() {
    let app = App::new(CONFIG);
    let rig = app.path("old-keeper");
    let Some(()) = unpack("keeper-rig-protocol-1.xz", &rig) else { return };
    let listener = UnixListener::bind(app.path("wire")).unwrap();
    let mut keeper = Command::new(&rig).arg(app.path("wire")).stdin(Stdio::null()).spawn().unwrap();
    let ended = pidfd::open(keeper.id().cast_signed()).unwrap();
    for number in 1..=2 {
        // given: the wire of the keeper's next manager, which only waits, and a manager of today at it
        let (_waits, wire) = wire(&listener);
        let mut manager = manager(&app, wire);
        // then: it works, and what an earlier one has started goes on
        let tree = status(&app);
        assert_eq!(tree["svd"]["protocol"], 1, "{tree}");
        assert_eq!(tree["svd"]["manager_starts"], number, "{tree}");
        app.ok(&["wait", "web", "--timeout", "20s"]);
        let reply = app.svctl(&["upgrade"]);
        assert_eq!(reply.code, Some(3), "{reply:?}");
        assert!(reply.err.contains("protocol 1) is older than upgrades without a restart"), "{reply:?}");
        let restarts = status(&app)["processes"][0]["instances"][0]["restarts"].clone();
        assert_eq!(restarts, 0);
        if number == 2 {
            // and: an end of everything is understood
            app.ok(&["shutdown"]);
            assert!(manager.wait().unwrap().success());
            continue;
        }
        pidfd::send_signal(pidfd::open(manager.id().cast_signed()).unwrap().as_fd(), signal::KILL).unwrap();
        manager.wait().unwrap();
    }
    assert!(fd::wait_readable(ended.as_fd(), common::DEADLINE).unwrap(), "the keeper does not end");
    assert_eq!(keeper.wait().unwrap().code(), Some(0));
}

/// The tree, when somebody answers.
fn status(app: &App) -> serde_json::Value {
    let ask = || request(&app.socket(), "GET", "/v1/status", None).ok().filter(|answer| answer.status == 200);
    common::eventually("svd to answer", || ask().is_some());
    ask().expect("it answered").json()
}

/// The keeper's wire, and the process whose it was, which ends when this is dropped.
fn wire(listener: &UnixListener) -> (PacketSocket, OwnedFd) {
    assert!(fd::wait_readable(listener.as_fd(), common::DEADLINE).unwrap(), "no manager is started");
    let (stream, _) = listener.accept().unwrap();
    let process = PacketSocket::from_fd(stream.into()).unwrap();
    assert!(fd::wait_readable(process.as_fd(), common::DEADLINE).unwrap());
    let (_, mut fds) = process.recv(&mut [0; 4]).unwrap().unwrap();
    (process, fds.pop().unwrap())
}

/// A manager of today at this wire.
fn manager(app: &App, wire: OwnedFd) -> std::process::Child {
    let script = "exec 3<&0 </dev/null; exec \"$0\" manager \"$@\"";
    let mut command = Command::new("/bin/sh");
    command.args(["-c", script, env!("CARGO_BIN_EXE_svd")]).args(app.command().get_args()).current_dir(app.path(""));
    command.stdin(wire).stdout(Stdio::null()).spawn().unwrap()
}
