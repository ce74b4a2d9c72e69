//! A new config: only what differs is touched, and what is wrong is refused before anything is.

mod common;

use common::{App, Reply};
use serde_json::Value;

const GOOD: &str =
    "[process.web]\nrun = [\"sleep\", \"1000\"]\ncount = 2\n[process.worker]\nrun = [\"sleep\", \"1001\"]\n";

fn pids(app: &App) -> Vec<(String, Value)> {
    let status = app.status();
    let processes = status["processes"].as_array().unwrap();
    let instances = processes.iter().flat_map(|process| process["instances"].as_array().unwrap());
    instances.map(|i| (i["id"].as_str().unwrap().to_owned(), i["pid"].clone())).collect()
}

/// Fault 53.
#[test]
fn a_broken_config_is_refused_with_its_place_and_the_old_one_keeps_running() {
    // given
    let app = App::start(GOOD);
    app.wait("all", "ready");
    let before = pids(&app);
    let broken = [
        ("[process.web]\nrun = [\"sleep\"\n", "Procfile.toml:"),
        ("[process.web]\nrun = \"sleep 1\"\nrestrat = \"never\"\n", "Procfile.toml:3:1: "),
        ("[process.web]\nrun = \"sleep 1\"\ncount = \"two\"\n", "Procfile.toml:3:9: "),
        ("[process.web]\nrun = \"sleep 1\"\nuser = \"no-such-user\"\n", "no-such-user"),
        ("[process.web]\nrun = \"no-such-program-at-all\"\n", "no-such-program-at-all"),
        ("[process.web]\nrun = \"sleep 1 | cat\"\n", "Procfile.toml:2:"),
    ];
    for (config, place) in broken {
        // when
        app.configure(config);
        let reply = app.svctl(&["apply"]);
        // then
        assert_eq!(reply.code, Some(3), "{config}: {reply:?}");
        assert!(reply.err.contains(place), "{config}: {reply:?}");
        assert_eq!(pids(&app), before, "{config}");
    }
    // and: a suggestion, and JSON for scripts
    app.configure("[process.web]\nrun = \"sleep 1\"\nrestrat = \"never\"\n");
    let reply = app.svctl(&["--json", "apply"]);
    assert!(reply.out.contains("did you mean") && reply.out.contains("\"line\":3"), "{reply:?}");
    // and: a good one is taken again
    app.configure(GOOD);
    app.ok(&["apply"]);
    assert_eq!(pids(&app), before);
}

#[test]
fn apply_touches_only_what_differs() {
    // given
    let app = App::start(GOOD);
    app.wait("all", "ready");
    let (web1, web2, worker) = (app.pid("web.1"), app.pid("web.2"), app.pid("worker.1"));
    // when: a dry run
    app.configure(&GOOD.replace("1001", "1002"));
    let plan = app.ok(&["apply", "--dry-run"]);
    // then: it says what would be, and does nothing
    assert!(plan.contains("worker") && !plan.contains("web"), "{plan}");
    assert_eq!(app.pid("worker.1"), worker);
    // when: one command changes
    app.ok(&["apply"]);
    // then
    assert_eq!((app.pid("web.1"), app.pid("web.2")), (web1, web2));
    assert_ne!(app.pid("worker.1"), worker);
    // when: keys change that take effect live
    let worker = app.pid("worker.1");
    app.configure(&format!(
        "{}restart = \"never\"\nstop = [\"INT\", \"5s\", \"KILL\"]\n",
        GOOD.replace("1001", "1002")
    ));
    app.ok(&["apply"]);
    // then: nobody is touched, and they take effect
    assert_eq!((app.pid("web.1"), app.pid("worker.1")), (web1, worker));
    app.ok(&["stop", "worker"]);
    assert_eq!(app.instance("worker.1")["exit"]["signal"], "INT");
    app.ok(&["start", "worker"]);
    // when: a process goes, another comes, and the count changes
    app.configure(
        "[process.web]\nrun = [\"sleep\", \"1000\"]\ncount = 3\n[process.new]\nrun = [\"sleep\", \"1003\"]\n",
    );
    app.ok(&["apply"]);
    app.wait("all", "ready");
    // then
    let names: Vec<String> = pids(&app).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["web.1", "web.2", "web.3", "new.1"]);
    assert_eq!((app.pid("web.1"), app.pid("web.2")), (web1, web2));
}

/// What was applied is what a later manager knows, whatever the file says by then.
#[test]
fn a_new_manager_goes_by_the_config_that_was_applied() {
    let app = App::start(GOOD);
    app.wait("all", "ready");
    let before = pids(&app);
    app.configure("this is no config");
    let manager = i32::try_from(app.status()["svd"]["manager_pid"].as_i64().unwrap()).unwrap();
    svd_sys::tree::kill_verified(&svd_sys::tree::read_proc(manager).unwrap(), 9).unwrap();
    app.until("the next manager", |status| (status["svd"]["manager_starts"] == 2).then_some(()));
    assert_eq!(pids(&app), before);
    assert_eq!(app.svctl(&["apply"]).code, Some(3));
    app.configure(&GOOD.replace("count = 2", "count = 1"));
    app.ok(&["apply"]);
    assert_eq!(pids(&app).len(), 2);
}

/// Fault 53.
#[test]
fn a_config_with_errors_ends_the_start_with_2_and_all_of_them_at_once() {
    let app = App::new("[process.web]\nrun = \"sleep 1000\"\ncount = -1\nrestrat = \"always\"\nstop = [\"TREM\"]\n");
    for reply in [Reply::of(app.command()), check(&app)] {
        assert_eq!(reply.code, Some(2), "{reply:?}");
        for place in ["Procfile.toml:3:9: ", "Procfile.toml:4:1: ", "Procfile.toml:5:9: "] {
            assert!(reply.err.contains(place), "no {place} in {}", reply.err);
        }
        assert!(reply.err.contains("did you mean \"restart\"?"), "{}", reply.err);
    }
    assert!(!app.path("root/state.db").exists(), "something was touched");
    // and: without any config, or with a usage error
    std::fs::remove_file(app.path("Procfile.toml")).unwrap();
    assert_eq!(Reply::of(app.command()).code, Some(2));
    let mut usage = app.command();
    usage.arg("--no-such-option");
    assert_eq!(Reply::of(usage).code, Some(2));
}

#[test]
fn svd_and_svctl_find_the_same_in_the_same_files() {
    // given a config that is good, one with errors, and none
    let app = App::new(GOOD);
    let configs = [Some(GOOD), Some("[process.web]\nrun = \"sleep 1\"\nrestrat = \"always\"\ncount = -1\n"), None];
    for config in configs {
        match config {
            Some(text) => std::fs::write(app.path("Procfile.toml"), text).unwrap(),
            None => std::fs::remove_file(app.path("Procfile.toml")).unwrap(),
        }
        for arguments in [&["check"][..], &["check", "--json"]] {
            // when
            let mut svd = std::process::Command::new(env!("CARGO_BIN_EXE_svd"));
            svd.args(arguments).current_dir(app.path(""));
            let mut svctl = std::process::Command::new(env!("CARGO_BIN_EXE_svctl"));
            svctl.args(arguments).current_dir(app.path(""));
            let (svd, svctl) = (Reply::of(svd), Reply::of(svctl));
            // then
            assert_eq!(
                (svd.code, &svd.out, &svd.err),
                (svctl.code, &svctl.out, &svctl.err),
                "{arguments:?} {config:?}"
            );
            assert_eq!(svd.code, Some(if config == Some(GOOD) { 0 } else { 2 }));
        }
    }
}

fn check(app: &App) -> Reply {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_svd"));
    command.arg("check").current_dir(app.path(""));
    Reply::of(command)
}

#[test]
fn a_good_config_is_checked_without_touching_anything_and_an_overlay_is_applied() {
    let app = App::new(&format!("{GOOD}[environment.small]\nprocess.web.count = 1\nenv = {{ SIZE = \"small\" }}\n"));
    assert_eq!(check(&app).code, Some(0));
    let mut app = app;
    let mut command = app.command();
    command.args(["-e", "small", "--only", "web"]);
    app.boot_with(command);
    app.wait("all", "ready");
    assert_eq!(pids(&app).len(), 1);
    assert_eq!(app.status()["environment"], "small");
    let env = common::environ(app.pid("web.1"));
    assert_eq!(env["SIZE"], "small");
    assert_eq!(env["SVD_ENVIRONMENT"], "small");
}
