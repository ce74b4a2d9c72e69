//! The disk breaks and the manager dies: what runs goes on, as it was asked for.

mod common;

use common::App;
use std::os::fd::AsFd;

fn pids(app: &App) -> Vec<i64> {
    let web = app.process("web");
    web["instances"].as_array().unwrap().iter().filter_map(|instance| instance["pid"].as_i64()).collect()
}

/// Both ways to lose a database under a running svd: something in its place that is none, and nothing.
fn lose_the_database_then_the_manager(lose: impl Fn(&std::path::Path), warned: bool) {
    // given an app that was scaled
    let mut app = App::new("[process]\nweb = \"sleep 1000\"");
    app.boot();
    app.wait("web", "ready");
    app.ok(&["scale", "web=3"]);
    app.wait("web", "ready");
    let before = pids(&app);
    assert_eq!(before.len(), 3);
    // when
    lose(&app.path("root"));
    let manager = i32::try_from(app.status()["svd"]["manager_pid"].as_i64().unwrap()).unwrap();
    let pidfd = svd_sys::pidfd::open(manager).unwrap();
    svd_sys::pidfd::send_signal(pidfd.as_fd(), 9).unwrap();
    // then a new manager keeps all three, and says what is wrong
    let status = app.until("a second manager", |status| (status["svd"]["manager_starts"] == 2).then(|| status.clone()));
    assert_eq!(pids(&app), before);
    let warnings = status["warnings"].to_string();
    assert_eq!(warnings.contains("goes on without it"), warned, "{warnings}");
    app.ok(&["scale", "web=1"]);
    assert_eq!(pids(&app).len(), 1);
}

fn remove_database(root: &std::path::Path) {
    for name in ["state.db", "state.db-wal", "state.db-shm"] {
        let _missing = std::fs::remove_file(root.join(name));
    }
}

#[test]
fn a_manager_that_cannot_open_the_database_goes_on_with_what_was_asked_for() {
    lose_the_database_then_the_manager(
        |root| {
            remove_database(root);
            std::fs::create_dir(root.join("state.db")).unwrap();
        },
        true,
    );
}

#[test]
fn a_manager_that_finds_no_database_goes_on_with_what_was_asked_for() {
    lose_the_database_then_the_manager(remove_database, false);
}
