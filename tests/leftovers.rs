//! An svd that was killed leaves nobody to fight with the next one.

mod common;

use common::{App, is_alive};

/// Fault 49.
#[test]
fn what_a_killed_svd_left_running_is_ended_before_the_next_one_begins() {
    // given an instance with a child of its own that outlives its parent
    let mut app = App::new("[process.web]\nrun = [\"sh\", \"-c\", \"sleep 1000 & echo $!; wait\"]");
    app.boot();
    app.wait("web", "ready");
    let child: i32 = app.out().until("the child's pid", |lines| {
        lines
            .iter()
            .find_map(|line| serde_json::from_str::<serde_json::Value>(line).ok()?["message"].as_str()?.parse().ok())
    });
    // when svd itself is killed
    let keeper = app.keeper();
    let process = svd_sys::pidfd::open(keeper).unwrap();
    svd_sys::pidfd::send_signal(std::os::fd::AsFd::as_fd(&process), 9).unwrap();
    app.forget();
    assert!(is_alive(child), "the child was to be left");
    // and started again
    app.boot();
    app.wait("web", "ready");
    // then the old child is gone, and that is told
    assert!(!is_alive(child));
    app.err().containing(&format!("was ended: {child}"));
}
