//! `svctl top` on a terminal, as people sit before it.

mod common;

use common::{App, DEADLINE, is_alive};
use nix::pty::{Winsize, openpty};
use nix::sys::termios::{Termios, tcgetattr};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Instant;

/// A terminal with svctl top on it.
struct Seat {
    keyboard: File,
    /// Kept open, so that the terminal stays when svctl has left it.
    terminal: OwnedFd,
    svctl: Child,
    shown: Arc<(Mutex<Vec<u8>>, Condvar)>,
    before: Termios,
}

impl Seat {
    fn at(app: &App, args: &[&str]) -> Seat {
        let size = Winsize { ws_row: 20, ws_col: 100, ws_xpixel: 0, ws_ypixel: 0 };
        let pty = openpty(Some(&size), None).expect("a terminal");
        let before = tcgetattr(&pty.slave).unwrap();
        let end = || Stdio::from(pty.slave.try_clone().unwrap());
        let mut command = app.svctl_command(args);
        command.env("TERM", "xterm").env_remove("NO_COLOR").stdin(end()).stdout(end()).stderr(end());
        let svctl = command.spawn().expect("svctl");
        let shown = Arc::new((Mutex::new(Vec::new()), Condvar::new()));
        let mut screen = File::from(pty.master.try_clone().unwrap());
        std::thread::spawn({
            let shown = shown.clone();
            move || {
                let mut bytes = [0; 4096];
                // EIO: nobody has the other end any more.
                while let Ok(count) = screen.read(&mut bytes) {
                    shown.0.lock().unwrap().extend_from_slice(&bytes[..count]);
                    shown.1.notify_all();
                }
            }
        });
        Seat { keyboard: File::from(pty.master), terminal: pty.slave, svctl, shown, before }
    }

    /// Waits until this was shown since the last time that something was waited for.
    fn until(&self, text: &str) {
        let deadline = Instant::now() + DEADLINE;
        let mut shown = self.shown.0.lock().unwrap();
        loop {
            let so_far = String::from_utf8_lossy(&shown).into_owned();
            if let Some(at) = so_far.find(text) {
                let rest = so_far.as_bytes()[at + text.len()..].to_vec();
                *shown = rest;
                return;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "\"{text}\" was not shown, but {so_far:?}");
            shown = self.shown.1.wait_timeout(shown, left).unwrap().0;
        }
    }

    fn press(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).unwrap();
    }

    /// Waits until svctl has left: the terminal is as it was.
    fn left(mut self) -> Option<i32> {
        self.until("\x1b[?1049l");
        let pidfd = svd_sys::pidfd::open(self.svctl.id().cast_signed()).unwrap();
        assert!(common::wait_ended(pidfd.as_fd(), DEADLINE), "svctl stays");
        assert_eq!(tcgetattr(&self.terminal).unwrap(), self.before, "the terminal's settings");
        self.svctl.wait().unwrap().code()
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let _ended = self.svctl.kill();
        let _status = self.svctl.wait();
    }
}

fn app() -> App {
    let app = App::start(
        "[process.web]
         run = \"sh -c 'echo hello from web; exec sleep 1000'\"
         count = 2
         [process.worker]
         run = \"sleep 1000\"",
    );
    app.wait("all", "ready");
    app
}

#[test]
fn it_shows_what_runs_stops_what_is_chosen_after_a_question_and_leaves_the_terminal_as_it_was() {
    // given
    let app = app();
    let mut seat = Seat::at(&app, &["top", "--interval", "200ms"]);
    seat.until("\x1b[?1049h");
    seat.until("3 of 3 ready");
    seat.until("worker.1");
    seat.until("hello from web");
    // when the second row is to be stopped, and then is not
    let (first, second) = (app.pid("web.1"), app.pid("web.2"));
    seat.press("js");
    seat.until("stop web.2? y or n");
    seat.press("n");
    seat.until("stop web.2: no");
    // and then is
    seat.press("s");
    seat.until("stop web.2? y or n");
    seat.press("y");
    seat.until("stop web.2: ");
    app.until_state("web.2", "stopped");
    assert!(is_alive(first) && !is_alive(second));
    // and another process gets one more
    seat.press("\x1b[F");
    seat.press("+");
    seat.until("scale worker to 2? y or n");
    seat.press("y");
    seat.until("worker.2");
    // then
    seat.press("q");
    assert_eq!(seat.left(), Some(0));
}

#[test]
fn a_new_manager_is_met_without_leaving_the_screen_and_an_end_of_svd_is_told_there() {
    let mut app = app();
    let mut seat = Seat::at(&app, &["top", "--interval", "200ms"]);
    seat.until("3 of 3 ready");
    // when
    let manager = common::manager(app.keeper()).unwrap();
    svd_sys::tree::kill_verified(&manager, 9).unwrap();
    app.until("another manager", |status| (status["svd"]["manager_starts"] == 2).then_some(()));
    // then it goes on: what is changed is seen
    app.ok(&["scale", "worker=3"]);
    seat.until("worker.3");
    // when svd ends
    app.ok(&["shutdown"]);
    seat.until("asking again");
    seat.press("\x03");
    assert_eq!(seat.left(), Some(0));
    assert_eq!(app.over(), Some(0));
}

#[test]
fn a_signal_gives_the_terminal_back() {
    let app = app();
    let seat = Seat::at(&app, &["top"]);
    seat.until("3 of 3 ready");
    let pidfd = svd_sys::pidfd::open(seat.svctl.id().cast_signed()).unwrap();
    svd_sys::pidfd::send_signal(pidfd.as_fd(), 15).unwrap();
    assert_eq!(seat.left(), Some(0));
}

#[test]
fn without_a_terminal_it_says_what_else_there_is_and_one_look_is_plain_text_or_json() {
    let app = app();
    let refused = app.svctl(&["top"]);
    assert_eq!(refused.code, Some(2), "{refused:?}");
    assert!(refused.err.contains("no terminal") && refused.err.contains("--once"), "{refused:?}");
    let shown = app.ok(&["top", "--once", "--interval", "200ms"]);
    assert!(shown.contains("web.1") && shown.contains('%') && !shown.contains('\x1b'), "{shown}");
    let tree: serde_json::Value = serde_json::from_str(&app.ok(&["--json", "top", "--interval", "200ms"])).unwrap();
    let instance = &tree["processes"][0]["instances"][0];
    assert!(instance["cpu_percent"].is_number() && instance["memory_bytes"].as_u64().unwrap() > 0, "{tree:#}");
    let wrong = app.svctl(&["top", "--interval", "1ms"]);
    assert!(wrong.code == Some(2) && wrong.err.contains("200ms to 1h"), "{wrong:?}");
}
