//! What cannot be stored is told at once, and is stored when it can be.

mod common;

use common::{App, file_with, skipped};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

/// A small file system, taken away again at the end.
struct Small(PathBuf);

impl Small {
    fn mount(path: PathBuf) -> Option<Small> {
        std::fs::create_dir_all(&path).unwrap();
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=1m", "none"]).arg(&path).output();
        mounted.is_ok_and(|output| output.status.success()).then_some(Small(path))
    }

    fn fill(&self) -> PathBuf {
        let path = self.0.join("fill");
        let mut file = std::fs::File::create(&path).unwrap();
        let error = std::io::copy(&mut std::io::repeat(0), &mut file).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);
        path
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// Fault 22.
#[test]
fn on_a_full_disk_commands_are_answered_and_what_waits_is_stored_when_there_is_room() {
    // given
    let mut app = App::new("[process]\nweb = \"sleep 1000\"");
    let Some(small) = Small::mount(app.path("root")) else { return skipped("no file system can be mounted here") };
    app.boot();
    app.wait("web", "ready");
    let fill = small.fill();
    // when commands are given, one after another
    let begun = Instant::now();
    for _ in 0..5 {
        let reply = app.svctl(&["restart", "web"]);
        assert_eq!(reply.code, Some(1), "{reply:?}");
        assert!(reply.err.contains("could not be stored"), "{reply:?}");
    }
    // then each is done and says that it may not last
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    // when there is room again
    std::fs::remove_file(fill).unwrap();
    let begun = Instant::now();
    app.until("no more trouble", |status| status["warnings"].as_array().is_none_or(Vec::is_empty).then_some(()));
    app.ok(&["restart", "web"]);
    // then all that waited is stored, in one go
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    let restarts = app.events().iter().filter(|event| event["kind"] == "command.restart").count();
    assert_eq!(restarts, 6);
    assert_eq!(app.stop(), Some(0));
    drop(small);
}

/// The keeper tells the interrupt again, since it could not be stored that it was taken in.
#[test]
fn one_interrupt_stays_one_when_the_manager_is_killed_while_svd_stops() {
    // given a service that takes its time to end
    let mut app = App::new(
        "[process.web]
         run = [\"/bin/sh\", \"-c\", \"trap 'touch asked; sleep 1; touch ended; exit 0' TERM; echo up; while :; do sleep 0.05; done\"]
         ready = { log = \"up\" }",
    );
    let Some(small) = Small::mount(app.path("root")) else { return skipped("no file system can be mounted here") };
    app.boot();
    app.wait("web", "ready");
    let manager = i32::try_from(app.status()["svd"]["manager_pid"].as_i64().unwrap()).unwrap();
    small.fill();
    // when svd is interrupted once, and its manager is killed meanwhile
    app.signal(2);
    file_with(&app.path("asked"), |_| Some(()));
    let manager = svd_sys::pidfd::open(manager).unwrap();
    svd_sys::pidfd::send_signal(manager.as_fd(), 9).unwrap();
    // then the service comes to its end by itself
    assert_eq!(app.over(), Some(0));
    assert!(app.path("ended").exists());
}

/// Fault 54.
#[test]
fn a_database_that_a_later_version_has_written_is_refused_in_words_and_nothing_of_it_is_lost() {
    // given: what was asked for, in a database that is a later version's
    let mut app = App::new("[process]\nweb = \"sleep 1000\"\nworker = \"sleep 1000\"");
    app.boot();
    app.ok(&["scale", "web=3"]);
    app.ok(&["disable", "worker"]);
    assert_eq!(app.stop(), Some(0));
    let database = app.path("root/state.db");
    let schema = |more: &str| {
        let script = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); v = c.execute('pragma user_version').fetchone()[0]\n\
                      c.execute('pragma user_version = %d' % (v + int(sys.argv[2]))); c.commit(); c.close()";
        let done = Command::new("python3").args(["-c", script]).arg(&database).arg(more).status().unwrap();
        assert!(done.success());
    };
    schema("40");
    let before = std::fs::read(&database).unwrap();
    // when
    let refused = app.command().output().unwrap();
    // then
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && said.contains("written by a newer svd"), "{refused:?}");
    assert_eq!(std::fs::read(&database).unwrap(), before);
    // when: that version is given up
    schema("-40");
    app.boot();
    // then
    app.until("what was asked for", |status| {
        let process = |at: usize| &status["processes"][at];
        (process(0)["ready"] == 3 && process(1)["disabled"] == true).then_some(())
    });
    assert_eq!(app.stop(), Some(0));
}
