//! svd becomes another build of itself while it keeps an app running, and goes back where the other one is no good.

mod common;

use common::{App, Killer, Load, free_port};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// A copy of svd in the app's directory, which a user would have installed there.
fn installed(app: &App) -> PathBuf {
    let path = app.path("svd");
    install(&path);
    path
}

/// As package managers do it: written beside and moved into place.
fn install(path: &Path) {
    let new = path.with_extension("new");
    copy(Path::new(env!("CARGO_BIN_EXE_svd")), &new);
    std::fs::rename(&new, path).unwrap();
}

/// By a process of its own: what this one has open for writing, a child that another test forks has too for a moment, and
/// then the file is busy when it is to be run.
fn copy(from: &Path, to: &Path) {
    assert!(Command::new("cp").arg(from).arg(to).status().unwrap().success());
}

fn exe(pid: i32) -> String {
    std::fs::read_link(format!("/proc/{pid}/exe")).unwrap().display().to_string()
}

fn manager_pid(status: &Value) -> i32 {
    i32::try_from(status["svd"]["manager_pid"].as_i64().unwrap()).unwrap()
}

/// An app of two instances behind a listener and a worker, run by the copy.
fn app(port: u16) -> (App, PathBuf) {
    let mut app = App::new(&format!(
        "[process.web]
         run = [\"@PY@\", \"-S\", \"polite.py\"]
         listen = \"127.0.0.1:{port}\"
         count = 2
         ready = {{ http = \"/healthz\", timeout = \"20s\" }}
         [process.worker]
         run = \"sleep 1000\"\n"
    ));
    app.write("polite.py", include_str!("servers/polite.py"));
    let svd = installed(&app);
    let usual = app.command();
    let mut command = Command::new(&svd);
    command.args(usual.get_args()).current_dir(app.path("")).stdin(std::process::Stdio::null());
    app.boot_with(command);
    app.wait("all", "ready");
    (app, svd)
}

fn pids(app: &App) -> Vec<i32> {
    ["web.1", "web.2", "worker.1"].iter().map(|id| app.pid(id)).collect()
}

/// Faults 46 and 48 through the whole of svd.
#[test]
fn manager_and_keeper_become_the_new_file_in_the_same_process_and_nothing_is_restarted() {
    // given: an app, and another file in the place of the program that runs
    let port = free_port();
    let (app, svd) = app(port);
    let (keeper, before) = (app.keeper(), pids(&app));
    install(&svd);
    assert!(exe(keeper).ends_with("(deleted)"));
    // when
    let told = app.ok(&["upgrade", "--reason", "a better svd"]);
    // then
    assert!(told.contains("manager and keeper are svd") && told.contains("no process was restarted"), "{told}");
    let status = app.status();
    let path = svd.display().to_string();
    assert_eq!((exe(keeper), exe(manager_pid(&status))), (path.clone(), path));
    assert_eq!(pids(&app), before);
    assert_eq!(status["svd"]["keeper_version"], env!("CARGO_PKG_VERSION"));
    let done = app.events().into_iter().find(|event| event["kind"] == "upgrade.done").unwrap();
    assert_eq!(done["reason"], "a better svd");
    // and: it goes on as before: a process that ends is started again, and its end is known
    Load::on(port).expect("generation").once().assert_whole("after the upgrade");
    svd_sys::tree::kill_verified(&svd_sys::tree::read_proc(before[2]).unwrap(), 9).unwrap();
    app.until("another worker", |status| {
        let worker = &status["processes"][1]["instances"][0];
        (worker["restarts"] == 1 && worker["state"] == "ready").then_some(())
    });
}

#[test]
fn a_dry_run_says_what_would_become_what_and_manager_only_leaves_the_keeper() {
    let (app, svd) = app(free_port());
    let manager = manager_pid(&app.status());
    // when
    let plan: Value = serde_json::from_str(&app.ok(&["--json", "upgrade", "--dry-run"])).unwrap();
    // then
    assert_eq!(plan["outcome"], "planned");
    assert_eq!(plan["changes"].as_array().unwrap().len(), 2, "{plan}");
    assert_eq!(manager_pid(&app.status()), manager);
    // when
    install(&svd);
    let told: Value = serde_json::from_str(&app.ok(&["--json", "upgrade", "--manager-only"])).unwrap();
    // then
    assert_eq!(told["outcome"], "done");
    assert!(told["message"].as_str().unwrap().contains("the keeper goes on as svd"), "{told}");
    assert!(exe(app.keeper()).ends_with("(deleted)"));
    assert_eq!(exe(manager_pid(&app.status())), svd.display().to_string());
    // and: the keeper can follow
    app.ok(&["upgrade"]);
    assert_eq!(exe(app.keeper()), svd.display().to_string());
}

/// Programs that are no svd, or say that they are and then are none.
fn impostors(app: &App) -> PathBuf {
    let source = app.write("impostor.rs", include_str!("servers/impostor.rs"));
    let program = app.path("impostor");
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let made = Command::new(rustc).arg("--edition=2024").arg("-o").arg(&program).arg(source).status().unwrap();
    assert!(made.success());
    program
}

/// Fault 47: before anything is touched.
#[test]
fn what_is_not_an_svd_that_fits_is_refused_and_nothing_is_touched() {
    let (app, _) = app(free_port());
    let impostor = impostors(&app);
    let (before, manager) = (pids(&app), manager_pid(&app.status()));
    let check = |path: &str, expected: &str| {
        let reply = app.svctl(&["upgrade", path]);
        assert_eq!(reply.code, Some(3), "{path}: {reply:?}");
        assert!(reply.err.contains(expected) && reply.err.contains("nothing was changed"), "{path}: {reply:?}");
    };
    let as_ = |name: &str| {
        let path = app.path(name);
        copy(&impostor, &path);
        path.display().to_string()
    };
    check("/no/such/svd", "cannot be opened: No such file");
    check("/tmp", "is not a file");
    let _pipe = app.fifo("pipe");
    check("pipe", "is not a file");
    check("/bin/true", "is not svd");
    app.write("text", "neither a program nor #!\n");
    check("text", "cannot be run: Permission denied");
    app.script("script", "neither ELF nor #!\n");
    check("script", "cannot be run: Exec format error");
    check(&as_("silent"), "does not say within 5 s what it is");
    check(&as_("before"), "cannot be upgraded from again without a restart");
    check(
        &as_("future"),
        "speaks the protocol between keeper and manager from 9 to 9, and the keeper that runs speaks 2",
    );
    let open = as_("open");
    std::fs::set_permissions(&open, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    check(&open, "may be written by everybody");
    assert_eq!((pids(&app), manager_pid(&app.status())), (before, manager));
}

/// Fault 47: after the old manager has gone.
#[test]
fn a_build_whose_manager_does_not_come_up_gives_way_to_the_former_one_in_bounded_time() {
    let (app, svd) = app(free_port());
    let impostor = impostors(&app);
    let before = pids(&app);
    for (name, expected) in [
        ("crashes", "it ended (signal ABRT) before it was ready to work"),
        ("exits", "it ended (exit code 0) before it was ready to work"),
        ("hangs", "it did not become ready in time"),
        ("mumbles", "it sent a message that is not allowed"),
    ] {
        let path = app.path(name);
        copy(&impostor, &path);
        // when
        let reply = app.svctl(&["upgrade", path.to_str().unwrap()]);
        // then
        assert_eq!(reply.code, Some(4), "{name}: {reply:?}");
        assert!(reply.err.contains(expected) && reply.err.contains("the former one runs again"), "{name}: {reply:?}");
        assert_eq!(exe(manager_pid(&app.status())), svd.display().to_string());
        assert_eq!(pids(&app), before, "{name}");
    }
    // and: a good one is still taken
    app.ok(&["upgrade"]);
    assert_eq!(pids(&app), before);
}

#[test]
fn a_stop_in_the_middle_of_an_upgrade_stops_all_and_leaves_nobody() {
    // given: an upgrade whose new manager hangs
    let (mut app, _) = app(free_port());
    let hangs = app.path("hangs");
    copy(&impostors(&app), &hangs);
    let mut upgrade = app.svctl_command(&["upgrade", hangs.to_str().unwrap()]).spawn().unwrap();
    let keeper = app.keeper();
    let is_new = |child: &i32| std::fs::read_link(format!("/proc/{child}/exe")).is_ok_and(|exe| exe == hangs);
    common::eventually("the new manager", || common::children(keeper).iter().any(is_new));
    // when: whoever runs svd has it stop; then it does, and nobody is left
    assert_eq!(app.stop(), Some(0));
    upgrade.wait().unwrap();
}

/// Promise 1, and what is left of fault 48.
/// Fault 48.
#[test]
fn upgrades_lose_no_request_and_restart_nothing_also_while_managers_are_killed() {
    // given
    let port = free_port();
    let (app, svd) = app(port);
    let before = pids(&app);
    let load = Load::on(port).clients(2, 3, 2).expect("generation").start();
    // when
    for _ in 0..10 {
        install(&svd);
        app.ok(&["upgrade"]);
        load.more(20);
    }
    assert_eq!(pids(&app), before);
    let killer = Killer::of(&app, Duration::from_millis(400));
    let mut carried_out = 0;
    for _ in 0..10 {
        // Its own manager may be killed in the middle: then the outcome is told by a later one, or it was never begun.
        let reply = app.svctl(&["upgrade"]);
        carried_out += u32::from(reply.code == Some(0));
        load.more(20);
    }
    let killed = killer.stop();
    app.ok(&["upgrade"]);
    // then
    assert!(carried_out > 0 && killed > 0, "{carried_out} upgrades carried out, {killed} managers killed");
    eprintln!("{carried_out} of 10 upgrades told as carried out, {killed} managers killed meanwhile");
    assert_eq!(pids(&app), before);
    assert_eq!(exe(app.keeper()), svd.display().to_string());
    load.stop().assert_whole(&format!("21 upgrades, {killed} managers killed"));
}
