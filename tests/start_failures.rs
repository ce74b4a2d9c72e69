//! A program that cannot be started: each cause is told apart, with the way out, and nothing is tried in vain.

mod common;

use common::App;
use std::os::unix::fs::{PermissionsExt, symlink};

/// What status says of a process that could not be started.
fn reason(app: &App, name: &str) -> String {
    let instance = app.until_state(&format!("{name}.1"), "failed");
    instance["reason"].as_str().unwrap_or_else(|| panic!("no reason in {instance:#}")).to_owned()
}

/// Fault 8.
#[test]
fn each_cause_of_a_failed_start_has_words_of_its_own_and_is_not_tried_in_vain() {
    // given
    let app = App::new(
        "[defaults]
         restart = { backoff = \"1ms..1ms\", limit = \"2 in 1m\" }
         [process]
         missing = \"no-such-program-at-all\"
         absent.run = [\"@DIR@/not-there\"]
         forbidden.run = [\"@DIR@/forbidden\"]
         garbage.run = [\"@DIR@/garbage\"]
         interpreter.run = [\"@DIR@/interpreter\"]
         loop.run = [\"@DIR@/loop\"]
         directory.run = [\"@DIR@\"]
         [process.nowhere]
         run = \"true\"
         cwd = \"gone\"
         [process.toobig]
         run = [\"true\", \"@BIG@\"]"
            .replace("@BIG@", &"x".repeat(200_000))
            .as_str(),
    );
    app.write("forbidden", "#!/bin/sh\n");
    app.script("garbage", "\u{1}\u{2}not a program\n");
    app.script("interpreter", "#!/no/such/interpreter\n");
    symlink(app.path("loop"), app.path("loop")).unwrap();
    let mut app = app;
    // when
    app.boot();
    // then
    let expected = [
        ("missing", "no-such-program-at-all"),
        ("absent", "not-there"),
        ("forbidden", "not executable"),
        ("garbage", "#!"),
        ("interpreter", "interpreter"),
        ("loop", "/loop"),
        ("directory", "cannot run"),
        ("nowhere", "gone"),
        ("toobig", "long"),
    ];
    for (name, word) in expected {
        let reason = reason(&app, name);
        assert!(reason.contains(word), "{name}: {reason}");
        eprintln!("{name}: {reason}");
        let failures = app.events_of(&format!("{name}.1"));
        let failures = failures.iter().filter(|event| event["kind"] == "instance.start_failed").count();
        // A program is not there or is none; a directory may still be mounted, and is tried for up to the limit.
        let expected = if name == "nowhere" { 3 } else { 1 };
        assert_eq!(failures, expected, "{name} was tried {failures} times");
        let why = app.svctl(&["why", name]);
        assert!(why.out.contains(word), "{name}: {why:?}");
    }
}

/// "Text file busy" passes: it is tried again until the limit says otherwise.
/// Fault 8.
#[test]
fn a_program_that_is_still_being_written_is_tried_again() {
    // given: a program that is open for writing
    let app = App::new(
        "process.busy = { run = [\"@DIR@/busy\", \"1000\"], restart = { backoff = \"20ms..100ms\", limit = \"none\" } }",
    );
    std::fs::copy("/bin/sleep", app.path("busy")).unwrap();
    std::fs::set_permissions(app.path("busy"), std::fs::Permissions::from_mode(0o755)).unwrap();
    let writer = std::fs::File::options().append(true).open(app.path("busy")).unwrap();
    let mut app = app;
    app.boot();
    app.until("two vain starts", |status| {
        let instance = &status["processes"][0]["instances"][0];
        assert_ne!(instance["state"], "failed", "{instance:#}");
        (instance["restarts"].as_u64()? >= 2).then_some(())
    });
    // when
    drop(writer);
    // then
    app.wait("busy", "ready");
}

/// A user who does not exist is found before anything is started.
/// Fault 8.
#[test]
fn an_unknown_user_or_group_is_a_config_error_or_a_reason_never_a_start_as_somebody_else() {
    for key in ["user", "group"] {
        let mut app = App::new(&format!("[process.web]\nrun = \"sh -c 'id > ran'\"\n{key} = \"no-such-name\""));
        app.spawn(app.command());
        let code = app.over();
        let err = app.svctl(&["check"]);
        assert_eq!(code, Some(2), "{key}: {err:?}");
        assert!(!app.path("ran").exists());
    }
}

/// The exit code of a command that cannot be run is the shell's and tini's.
/// Fault 8.
#[test]
fn an_essential_process_that_cannot_be_started_ends_svd_with_127_or_126() {
    for (run, code) in [("\"no-such-program-at-all\"", 127), ("[\"@DIR@/forbidden\"]", 126)] {
        let mut app = App::new(&format!("process.web = {{ run = {run}, essential = true }}"));
        app.write("forbidden", "#!/bin/sh\n");
        app.spawn(app.command());
        assert_eq!(app.over(), Some(code), "{run}");
    }
}
