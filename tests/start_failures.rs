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

/// A place with room for so many tasks, gone with the test.
struct Room(std::path::PathBuf);

impl Room {
    fn of(tasks: u32) -> Option<Room> {
        let here = svd_sys::cgroup::places(svd_sys::process::pid()).ok()?.v1.remove("pids")?;
        let dir = here.join(format!("svdt-{}", svd_sys::process::pid()));
        std::fs::create_dir(&dir).ok()?;
        let room = Room(dir);
        room.set(&tasks.to_string());
        Some(room)
    }

    fn set(&self, tasks: &str) {
        std::fs::write(self.0.join("pids.max"), tasks).unwrap();
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        let _still_used = std::fs::remove_dir(&self.0);
    }
}

/// Fault 19.
#[test]
fn where_there_is_no_room_for_another_process_that_is_told_and_tried_again_until_there_is() {
    let Some(room) = Room::of(60) else { return common::skipped("needs root and the pids controller of cgroups v1") };
    // given: room for about forty of a hundred
    let mut app = App::new(
        "process.many = { run = \"sleep 1000\", count = 100, restart = { backoff = \"20ms..200ms\", limit = \"none\" } }",
    );
    let svd = app.command();
    let mut command = std::process::Command::new("/bin/sh");
    let enter = "echo $$ > \"$0\"; exec \"$@\"";
    command.current_dir(app.path("")).env("SVD_TEST_DIR", app.path("")).stdin(std::process::Stdio::null());
    command.args(["-c", enter]).arg(room.0.join("cgroup.procs")).arg(svd.get_program()).args(svd.get_args());
    // when
    app.boot_with(command);
    // then: some run, the others are tried again, and svd answers
    let running = |status: &serde_json::Value| {
        let instances = status["processes"][0]["instances"].as_array().unwrap().iter();
        instances.filter(|instance| instance["state"] == "ready").count()
    };
    let told = |app: &App| app.events().iter().filter(|event| event["kind"] == "instance.start_failed").count();
    app.until("as many as there is room for", |status| (running(status) > 20).then_some(()));
    app.until("the others to be tried again", |_| (told(&app) > 100).then_some(()));
    let status = app.status();
    assert!((21..60).contains(&running(&status)), "{}", running(&status));
    let failed = app.events().into_iter().find(|event| event["kind"] == "instance.start_failed").unwrap();
    assert!(failed["message"].as_str().unwrap().contains("no process can be started now"), "{failed:#}");
    // when: a manager is killed meanwhile, and there is room
    let manager = common::manager(app.keeper()).unwrap();
    svd_sys::tree::kill_verified(&manager, 9).unwrap();
    room.set("max");
    // then
    app.until("all of them", |status| (running(status) == 100).then_some(()));
    assert_eq!(app.status()["svd"]["manager_starts"], 2);
    assert_eq!(app.stop(), Some(0));
}
