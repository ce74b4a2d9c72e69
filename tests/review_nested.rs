//! An svd that is run by another svd.

mod common;

use common::{App, file_with, is_alive};
use std::os::fd::AsFd;

/// Fault 49.
#[test]
fn nobody_of_an_inner_svd_that_was_killed_is_left() {
    // given a service that is an svd itself, and a process of it that left everything but its mark
    let svd = env!("CARGO_BIN_EXE_svd");
    let mut app = App::new(&format!(
        "[process.inner]
         run = [\"{svd}\", \"run\", \"-c\", \"inner/Procfile.toml\", \"--root\", \"@DIR@/inner/root\"]
         restart = {{ when = \"never\" }}"
    ));
    std::fs::create_dir(app.path("inner")).unwrap();
    app.write(
        "inner/Procfile.toml",
        "[process.web]
         run = [\"/bin/sh\", \"-c\", \"setsid sh -c 'echo $$ > @DIR@/escaped; exec sleep 1000' & exec sleep 1000\"]",
    );
    app.boot();
    let escaped = file_with(&app.path("escaped"), |text| text.trim().parse().ok());
    assert!(is_alive(escaped));
    // when the inner svd is killed
    let inner = svd_sys::pidfd::open(app.pid("inner.1")).unwrap();
    svd_sys::pidfd::send_signal(inner.as_fd(), 9).unwrap();
    app.until_state("inner.1", "failed");
    app.ok(&["stop", "inner"]);
    // then
    assert!(!is_alive(escaped));
    assert_eq!(app.stop(), Some(0));
}
