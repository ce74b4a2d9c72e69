//! What cannot be stored is told at once, and is stored when it can be.

mod common;

use common::{App, skipped};
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
