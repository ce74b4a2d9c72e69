//! What an instance may use is enforced by the kernel, changed while it runs, and told where it cannot be had; an end for lack
//! of memory is told apart from other ends.

mod common;

use common::{App, children, eventually, is_alive, skipped, status_field};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use svd_sys::cgroup;

/// The file of a controller in the cgroup of a process, whichever version this machine has.
fn file(pid: i32, controller: &str, unified: &str, v1: &str) -> PathBuf {
    let places = cgroup::places(pid).unwrap();
    match places.v1.get(controller) {
        Some(dir) => dir.join(v1),
        None => places.unified.unwrap().join(unified),
    }
}

fn value(path: &PathBuf) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display())).trim().to_owned()
}

/// Starts svd where it has a cgroup to itself: where systemd has the cgroups of version 2, in a scope that is delegated.
fn boot(app: &mut App) {
    let is_systemds = PathBuf::from("/run/systemd/system").exists();
    if !is_systemds || !cgroup::places(svd_sys::process::pid()).unwrap().v1.is_empty() {
        return app.boot();
    }
    let svd = app.command();
    let mut command = Command::new("systemd-run");
    command.current_dir(app.path("")).env("SVD_TEST_DIR", app.path("")).stdin(Stdio::null());
    command.args(["--quiet", "--scope", "-p", "Delegate=yes", "--"]).arg(svd.get_program()).args(svd.get_args());
    app.boot_with(command);
}

/// Whether cgroups can be made here.
fn may_limit() -> bool {
    let places = cgroup::places(svd_sys::process::pid()).unwrap();
    let dir = places.v1.get("memory").cloned().or(places.unified);
    dir.is_some_and(|dir| cgroup::may_write(&dir).is_ok())
}

fn kill_manager(app: &App) {
    let status = app.status();
    let (pid, starts) = (status["svd"]["manager_pid"].as_i64().unwrap(), status["svd"]["manager_starts"].as_i64());
    let proc = svd_sys::tree::read_proc(i32::try_from(pid).unwrap()).unwrap();
    svd_sys::tree::kill_verified(&proc, 9).unwrap();
    app.until("the next manager", |status| (status["svd"]["manager_starts"].as_i64() > starts).then_some(()));
}

#[test]
fn limits_are_the_kernels_and_change_without_a_restart_whoever_is_the_manager() {
    if !may_limit() {
        return skipped("cgroups need root, or a unit with Delegate=yes");
    }
    // given: a process that looks at its own limits first
    let config = |limits: &str| {
        format!(
            "[process.web]\nrun = [\"/bin/sh\", \"-c\", \"cat /proc/self/cgroup; exec sleep 1000\"]\n{limits}\n[process.free]\nrun = [\"sleep\", \"1000\"]\n"
        )
    };
    let mut app = App::new(&config("limits = { memory = \"64M\", cpu = \"50%\", pids = 50 }"));
    boot(&mut app);
    app.wait("all", "ready");
    let pid = app.pid("web.1");
    let memory = file(pid, "memory", "memory.max", "memory.limit_in_bytes");
    let pids = file(pid, "pids", "pids.max", "pids.max");
    let cpu = file(pid, "cpu", "cpu.max", "cpu.cfs_quota_us");
    assert_eq!((value(&memory).as_str(), value(&pids).as_str()), ("67108864", "50"));
    assert!(value(&cpu).starts_with("50000"), "{}", value(&cpu));
    // then: its program has run nowhere else
    eventually("its first words", || String::from_utf8_lossy(&app.segments("web.1", "out")).contains("/svd-web.1-"));
    // and: nobody is in there but it, and the other one is limited by nothing
    assert_eq!(cgroup::members(memory.parent().unwrap()).unwrap(), [pid]);
    let free = file(app.pid("free.1"), "pids", "pids.max", "pids.max");
    assert_ne!(free, pids);
    // when
    app.configure(&config("limits = { memory = \"96M\", cpu = \"50%\" }"));
    let said = app.ok(&["apply"]);
    // then
    assert!(said.contains("limits.memory, limits.pids changed, takes effect without a restart"), "{said}");
    eventually("the new limits", || value(&memory) == "100663296" && value(&pids) == "max");
    assert_eq!(app.pid("web.1"), pid);
    // when: the next manager is told the next ones
    kill_manager(&app);
    app.configure(&config("limits = { memory = \"80M\", cpu = \"200%\" }"));
    app.ok(&["apply"]);
    eventually("the limits after that", || value(&memory) == "83886080" && value(&cpu).starts_with("200000"));
    assert_eq!(app.pid("web.1"), pid);
    // and: a restart has them from its beginning, and the old place is gone
    app.ok(&["restart", "web"]);
    assert_eq!(value(&file(app.pid("web.1"), "memory", "memory.max", "memory.limit_in_bytes")), "83886080");
    eventually("the old cgroup to be removed", || !memory.exists());
    let last = file(app.pid("web.1"), "memory", "memory.max", "memory.limit_in_bytes");
    assert_eq!(app.stop(), Some(0));
    assert!(!last.parent().unwrap().exists(), "{} is left", last.display());
}

const BALLOON: &str = "import os, signal, sys
held = []
signal.signal(signal.SIGUSR1, lambda *_: [held.append(bytearray(b'x' * (1 << 20))) for _ in range(512)])
print('up', flush=True)
while True: signal.pause()
";

/// Faults 33 and 43.
#[test]
fn an_end_for_lack_of_memory_is_told_as_such_once_and_a_kill_by_somebody_else_is_not() {
    if !may_limit() {
        return skipped("cgroups need root, or a unit with Delegate=yes");
    }
    // given
    let app = App::new(
        "[defaults]\nrestart = \"never\"\nrun = [\"@PY@\", \"balloon.py\"]\nready = { log = \"up\" }\nlimits = { memory = \"64M\" }
         [process.full]\n[process.killed]\n[process.twice]\n[process.twice.restart]\nwhen = \"always\"\nbackoff = \"0s\"\n",
    );
    let mut app = app;
    app.write("balloon.py", BALLOON);
    boot(&mut app);
    app.wait("all", "ready");
    // when: one runs out of memory, and an outsider kills another one
    app.ok(&["signal", "USR1", "full"]);
    let killed = svd_sys::tree::read_proc(app.pid("killed.1")).unwrap();
    svd_sys::tree::kill_verified(&killed, 9).unwrap();
    // then
    let full = app.until_state("full.1", "failed");
    assert_eq!(full["exit"], json!({"signal": "KILL", "oom": true}));
    assert!(full["reason"].as_str().unwrap().contains("(oom)"), "{full}");
    assert_eq!(app.until_state("killed.1", "failed")["exit"], json!({"signal": "KILL"}));
    assert!(app.ok(&["why", "full"]).contains("lack of memory (oom)"));
    // and: a later manager says the same, and nothing is told twice
    kill_manager(&app);
    assert_eq!(app.instance("full.1")["exit"], json!({"signal": "KILL", "oom": true}));
    assert_eq!(app.instance("killed.1")["exit"], json!({"signal": "KILL"}));
    let told =
        |app: &App, instance: &str| app.events_of(instance).iter().filter(|event| event["exit"]["oom"] == true).count();
    assert_eq!((told(&app, "full.1"), told(&app, "killed.1")), (1, 0));
    // when: one that is started again runs out of memory while no manager looks
    let (before, manager) = (app.pid("twice.1"), app.status()["svd"]["manager_pid"].as_i64().unwrap());
    let manager = svd_sys::tree::read_proc(i32::try_from(manager).unwrap()).unwrap();
    svd_sys::tree::kill_verified(&manager, 19).unwrap();
    let main = svd_sys::tree::read_proc(before).unwrap();
    svd_sys::tree::kill_verified(&main, 10).unwrap();
    eventually("its end", || !is_alive(before));
    svd_sys::tree::kill_verified(&manager, 9).unwrap();
    // then
    app.until("it to be started again", |status| {
        let twice = &status["processes"].as_array()?.iter().find(|process| process["name"] == "twice")?["instances"][0];
        (twice["pid"].as_i64()? != i64::from(before)).then_some(())
    });
    eventually("its end to be in history", || told(&app, "twice.1") == 1);
}

/// Fault 33.
#[test]
fn a_run_of_a_job_that_ends_for_lack_of_memory_is_told_as_such_and_one_with_few_processes_gets_no_more() {
    if !may_limit() {
        return skipped("cgroups need root, or a unit with Delegate=yes");
    }
    // given a job that needs more than it has, one that somebody else kills, and one that may have few processes
    let mut app = App::new(
        "[job.full]\nrun = [\"@PY@\", \"-c\", \"held = bytearray(b'x' * (512 << 20))\"]\nlimits = { memory = \"64M\" }
         on_failure = [\"sh\", \"-c\", \"cat >>told\"]
         [job.killed]\nrun = \"kill -9 $$\"\nshell = true\nlimits = { memory = \"64M\" }
         [job.crowd]\nrun = \"for n in 1 2 3 4 5 6; do sleep 1000 & done; wait\"\nshell = true\nlimits = { pids = 3 }\n",
    );
    boot(&mut app);
    // when
    assert_eq!(app.svctl(&["run", "full", "--wait"]).code, Some(137));
    assert_eq!(app.svctl(&["run", "killed", "--wait"]).code, Some(137));
    let crowd = app.svctl(&["run", "crowd", "--wait"]);
    // then
    let last = |job: &str| {
        let status = app.status();
        let jobs = status["jobs"].as_array().unwrap();
        jobs.iter().find(|shown| shown["name"] == job).unwrap()["last"].clone()
    };
    let full = last("full");
    assert_eq!((&full["exit"], &full["result"]), (&json!({"signal": "KILL", "oom": true}), &json!("failed")));
    assert!(full["why"].as_str().unwrap().contains("(oom)"), "{full}");
    assert!(app.ok(&["why", "job:full"]).contains("lack of memory (oom)"));
    assert_eq!(last("killed")["exit"], json!({"signal": "KILL"}));
    assert!(crowd.code != Some(0) && last("crowd")["result"] == "failed", "{crowd:?}");
    // and: so is who is told of the failure, and a later manager says the same
    let told = common::file_with(&app.path("told"), |text| text.ends_with('\n').then(|| text.to_owned()));
    let told: Value = serde_json::from_str(&told).unwrap();
    assert_eq!((&told["event"], &told["exit"]["oom"]), (&json!("job.failed"), &json!(true)));
    kill_manager(&app);
    assert_eq!(last("full")["exit"], json!({"signal": "KILL", "oom": true}));
}

/// Fault 33.
#[test]
fn a_worker_that_is_killed_for_lack_of_memory_is_told_with_the_end_of_its_main_process() {
    if !may_limit() {
        return skipped("cgroups need root, or a unit with Delegate=yes");
    }
    // given: one whose child takes all memory, and that ends by itself then
    let mut app = App::new(
        "process.web = { run = [\"@PY@\", \"parent.py\"], restart = \"never\", limits = { memory = \"64M\" } }",
    );
    app.write(
        "parent.py",
        "import os, sys
child = os.fork()
if child == 0:
    open('/proc/self/oom_score_adj', 'w').write('1000')
    held = [bytearray(b'x' * (1 << 20)) for _ in range(512)]
    os._exit(0)
_, status = os.waitpid(child, 0)
sys.exit(7 if os.WIFSIGNALED(status) else 0)
",
    );
    // when
    boot(&mut app);
    // then: its own end is no kill
    let web = app.until_state("web.1", "failed");
    assert_eq!(web["exit"], json!({"code": 7}));
    let events = app.events_of("web.1");
    let end = events.iter().find(|event| event["kind"] == "instance.exited").unwrap();
    let message = end["message"].as_str().unwrap();
    assert!(message.ends_with("the kernel had killed 1 other process of it for lack of memory"), "{message}");
}

/// Fault 33.
#[test]
fn a_worker_that_is_killed_for_lack_of_memory_is_told_of_at_once_while_its_main_process_runs_on() {
    if !may_limit() || cgroup::places(svd_sys::process::pid()).unwrap().v1.contains_key("memory") {
        return skipped("needs cgroups of version 2, and root or a unit with Delegate=yes");
    }
    // given: one that has a worker again whenever it is told to, and the worker takes all memory
    let mut app = App::new("process.web = { run = [\"@PY@\", \"main.py\"], limits = { memory = \"64M\" } }");
    app.write(
        "main.py",
        "import os, signal
def work(*_):
    if os.fork() == 0:
        open('/proc/self/oom_score_adj', 'w').write('1000')
        held = [bytearray(b'x' * (1 << 20)) for _ in range(512)]
        os._exit(0)
signal.signal(signal.SIGUSR1, work)
while True: signal.pause()
",
    );
    boot(&mut app);
    app.wait("web", "ready");
    let main = app.pid("web.1");
    let told = |app: &App| {
        let events = app.events_of("web.1").into_iter().filter(|event| event["kind"] == "instance.oom_killed");
        events.map(|event| event["message"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    for round in 1..=2 {
        // when
        app.ok(&["signal", "USR1", "web"]);
        // then: also by the next manager
        eventually("the kill to be told", || told(&app).len() == round);
        let message = told(&app).remove(round - 1);
        assert_eq!(message, "the kernel has killed 1 process of it for lack of memory; its main process runs on");
        assert_eq!((app.instance("web.1")["state"].as_str(), app.pid("web.1")), (Some("ready"), main));
        kill_manager(&app);
    }
    assert!(app.ok(&["why", "web"]).contains("killed 1 process of it for lack of memory"));
    // and: of those that are gone nothing is heard any more
    let watched = |app: &App| {
        let manager = app.status()["svd"]["manager_pid"].as_i64().unwrap();
        let all = std::fs::read_dir(format!("/proc/{manager}/fdinfo")).unwrap();
        let texts = all.filter_map(|file| std::fs::read_to_string(file.ok()?.path()).ok());
        texts.map(|text| text.lines().filter(|line| line.starts_with("inotify ")).count()).sum::<usize>()
    };
    let before = watched(&app);
    for _ in 0..3 {
        app.ok(&["restart", "web"]);
    }
    assert!(before > 0);
    eventually("the watches of those that were replaced to go", || watched(&app) == before);
}

#[test]
fn a_limit_that_cannot_be_had_is_told_everywhere_and_the_process_runs_without() {
    let may = Command::new("unshare").args(["--mount", "true"]).stderr(Stdio::null()).status();
    if !may.is_ok_and(|status| status.success()) {
        return skipped("hiding the cgroups needs root and unshare(1)");
    }
    // given: a machine without cgroups, as most containers are
    let mut app = App::new("process.web = { run = [\"sleep\", \"1000\"], limits = { memory = \"64M\", pids = 9 } }");
    let svd = app.command();
    let mut command = Command::new("unshare");
    command.current_dir(app.path("")).env("SVD_TEST_DIR", app.path("")).stdin(Stdio::null());
    command.args(["--mount", "/bin/sh", "-c", "mount -t tmpfs -o ro none /sys/fs/cgroup && exec \"$@\"", "sh"]);
    command.arg(svd.get_program()).args(svd.get_args());
    // when
    app.boot_with(command);
    app.wait("web", "ready");
    // then
    let told =
        |text: &str| ["memory", "pids"].iter().all(|key| text.contains(&format!("limits.{key} cannot be had: ")));
    assert!(told(&app.err().all().join("\n")), "{:?}", app.err().all());
    let warnings = app.status()["warnings"].to_string();
    assert!(told(&warnings), "{warnings}");
    let why = app.ok(&["why", "web"]);
    assert!(told(&why), "{why}");
    // and: when nothing is asked for any more there is nothing to tell
    app.configure("process.web = { run = [\"sleep\", \"1000\"] }");
    app.ok(&["apply"]);
    assert!(!app.status()["warnings"].to_string().contains("cannot be had"));
    // and: an apply that asks for one says so
    app.configure("process.web = { run = [\"sleep\", \"1000\"], limits = { cpu = \"10%\" } }");
    let said = app.ok(&["apply", "--dry-run"]);
    assert!(said.contains("web: limits.cpu cannot be had: "), "{said}");
}

/// One that leaves its session, its parent and its environment is found by its cgroup.
/// Fault 2.
#[test]
fn who_has_left_everything_but_its_cgroup_ends_with_its_instance() {
    if !may_limit() {
        return skipped("cgroups need root, or a unit with Delegate=yes");
    }
    // given
    let mut app = App::new(
        "process.web = { run = [\"/bin/sh\", \"-c\", \"(env -i /usr/bin/setsid /bin/sleep 98765 &); exec sleep 1000\"], limits = { pids = 50 } }",
    );
    boot(&mut app);
    app.wait("web", "ready");
    let dir = file(app.pid("web.1"), "pids", "pids.max", "pids.max").parent().unwrap().to_owned();
    let escaped = || -> Option<i32> {
        let members = cgroup::members(&dir).ok()?;
        members
            .into_iter()
            .find(|pid| std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.ends_with(b"98765\0")))
    };
    eventually("it to have escaped", || escaped().is_some());
    let escaped = escaped().unwrap();
    eventually("it to be an orphan", || children(app.keeper()).contains(&escaped));
    // when
    app.ok(&["stop", "web"]);
    // then
    assert!(!is_alive(escaped));
    eventually("the cgroup to be removed", || !dir.exists());
}

/// Children that nobody kills would take the machine with them; a keeper that is killed takes the app.
/// Fault 32.
#[test]
fn the_keeper_goes_last_the_manager_before_it_and_children_as_configured() {
    let own = svd_sys::process::oom_score_adj().unwrap();
    let may_lower = svd_sys::process::set_oom_score_adj(own - 1).is_ok();
    svd_sys::process::set_oom_score_adj(own).unwrap();
    // Without CAP_SYS_RESOURCE all have what svd was started with, or more.
    let (keeper, manager_score, last) = if may_lower { (-1000, -900, -500) } else { (own, own, own) };
    // given
    let app = App::start(&format!(
        "[defaults]\nrun = [\"sleep\", \"1000\"]\n[process.plain]\n[process.first]\noom_score_adj = 500
         [process.last]\noom_score_adj = {last}\n"
    ));
    let score = |pid: i32| -> i32 { value(&format!("/proc/{pid}/oom_score_adj").into()).parse().unwrap() };
    let manager = |app: &App| i32::try_from(app.status()["svd"]["manager_pid"].as_i64().unwrap()).unwrap();
    let check = |app: &App| {
        app.wait("all", "ready");
        assert_eq!((score(app.keeper()), score(manager(app))), (keeper, manager_score));
        let children = ["plain.1", "first.1", "last.1"].map(|id| score(app.pid(id)));
        assert_eq!(children, [own, 500, last]);
    };
    check(&app);
    // when, then: also by the next manager, and after a restart
    kill_manager(&app);
    check(&app);
    app.ok(&["restart", "all"]);
    check(&app);
}

fn capabilities(pid: i32) -> [String; 5] {
    ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"].map(|name| status_field(pid, name))
}

/// Fault 64.
#[test]
fn a_process_has_exactly_the_capabilities_that_it_is_given() {
    if svd_sys::process::uid() != 0 {
        return skipped("setting capabilities needs root");
    }
    // given: for root and for another user, some or none
    let app = App::start(
        "[defaults]\nrun = [\"sleep\", \"1000\"]
         [process.some]\nuser = 65534\ncapabilities = [\"NET_BIND_SERVICE\"]\nno_new_privs = true
         [process.none]\ncapabilities = []
         [process.user]\nuser = 65534\ngroup = 65533
         [process.plain]\n",
    );
    app.wait("all", "ready");
    // then
    let some = app.pid("some.1");
    assert_eq!(capabilities(some), ["0000000000000400"; 5].map(str::to_owned));
    assert_eq!(
        (status_field(some, "NoNewPrivs"), status_field(some, "Uid")),
        ("1".into(), "65534\t65534\t65534\t65534".into())
    );
    assert_eq!(capabilities(app.pid("none.1")), ["0000000000000000"; 5].map(str::to_owned));
    // and: where nothing is said, all is as the kernel makes it
    let (plain, user) = (app.pid("plain.1"), app.pid("user.1"));
    assert_eq!(capabilities(plain), capabilities(app.keeper()));
    assert_eq!(
        (status_field(plain, "NoNewPrivs"), status_field(user, "CapEff")),
        ("0".into(), "0000000000000000".into())
    );
    assert_eq!(
        (status_field(user, "Gid"), status_field(user, "Groups")),
        ("65533\t65533\t65533\t65533".into(), "65534".into())
    );
}

/// Fault 64.
#[test]
fn a_start_that_cannot_be_confined_as_asked_fails_and_says_why() {
    if svd_sys::process::uid() != 0 {
        return skipped("taking capabilities away needs root");
    }
    // given: an svd that lacks what its processes ask for
    let mut app = App::new(
        "[defaults]\nrun = [\"sleep\", \"1000\"]\nrestart = \"never\"
         [process.caps]\ncapabilities = [\"SYS_ADMIN\"]
         [process.fixed]\nread_only = [\"/etc\"]
         [process.hidden]\nprivate_tmp = true
         [process.plain]\n",
    );
    let svd = app.command();
    let mut command = Command::new(common::python());
    command.current_dir(app.path("")).env("SVD_TEST_DIR", app.path("")).stdin(Stdio::null());
    let without = "import ctypes, os, sys\nif ctypes.CDLL(None).prctl(24, 21, 0, 0, 0): raise SystemExit('prctl')\nos.execv(sys.argv[1], sys.argv[1:])";
    command.args(["-c", without]).arg(svd.get_program()).args(svd.get_args());
    // when
    app.boot_with(command);
    app.wait("plain", "ready");
    // then
    let why = |id: &str| -> Value { app.until_state(id, "failed")["reason"].clone() };
    for (id, words) in [
        ("caps.1", "its capabilities cannot be set: Operation not permitted"),
        ("fixed.1", "they need CAP_SYS_ADMIN: start svd as root"),
        ("hidden.1", "is not there with private_tmp"),
    ] {
        let why = why(id);
        assert!(why.as_str().unwrap().contains(words), "{id}: {why}");
    }
}

#[test]
fn a_process_cannot_write_where_it_must_not_and_has_a_tmp_of_its_own() {
    let may = Command::new("unshare").args(["--mount", "true"]).stderr(Stdio::null()).status();
    if !may.is_ok_and(|status| status.success()) {
        return skipped("mounts need root");
    }
    // given: svd's own files are not in /tmp, where a checkout may be
    let places = ["/run", env!("CARGO_TARGET_TMPDIR")]
        .map(|dir| PathBuf::from(dir).join(format!("confined-{}", std::process::id())));
    let outside = |root: &PathBuf| !root.starts_with("/tmp") && std::fs::create_dir_all(root.join("data")).is_ok();
    let root = places.into_iter().find(outside).unwrap();
    let script =
        "for place in x data/x /tmp/svd-confined; do echo >$place && echo wrote $place; done 2>/dev/null; ls -A /tmp";
    let config = format!(
        "[process.web]\nrun = [\"/bin/sh\", \"-c\", \"{script}\"]\ncwd = \"{0}\"\noneshot = true\nprivate_tmp = true
read_only = [\"/\"]\nread_write = [\"{0}/data\"]\n",
        root.display()
    );
    std::fs::write(root.join("Procfile.toml"), config).unwrap();
    // when
    let mut svd = Command::new(env!("CARGO_BIN_EXE_svd"));
    svd.arg("run").arg("-c").arg(root.join("Procfile.toml")).arg("--root").arg(root.join("root"));
    let mut svd = Running(svd.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap());
    let svctl = |args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_svctl"));
        command.arg("--root").arg(root.join("root")).args(args).output().unwrap()
    };
    eventually("it to have run", || svctl(&["wait", "web", "--for", "completed", "--timeout", "20s"]).status.success());
    // then
    let said = String::from_utf8(svctl(&["logs", "--since", "1h", "web"]).stdout).unwrap();
    let lines: Vec<&str> = said.lines().filter_map(|line| line.split_whitespace().last()).collect();
    assert_eq!(lines, ["data/x", "/tmp/svd-confined", "svd-confined"], "{said}");
    assert!(root.join("data/x").exists() && !PathBuf::from("/tmp/svd-confined").exists());
    assert!(svctl(&["shutdown"]).status.success());
    assert_eq!(svd.0.wait().unwrap().code(), Some(0));
    std::fs::remove_dir_all(root).unwrap();
}

#[test]
fn what_an_instance_waits_for_is_shown_to_who_looks() {
    let places = cgroup::places(svd_sys::process::pid()).unwrap();
    let measured = places.unified.is_some_and(|dir| cgroup::pressure(&dir, "cpu").is_some());
    if !may_limit() || !places.v1.is_empty() || !measured {
        return skipped("needs cgroups of version 2 with PSI, and root or a unit with Delegate=yes");
    }
    // given: one that would use a processor and may use a twentieth of one
    let mut app =
        App::new("process.web = { run = [\"@PY@\", \"-c\", \"while True: pass\"], limits = { cpu = \"5%\" } }");
    boot(&mut app);
    app.wait("web", "ready");
    // then
    eventually("what it waits for", || app.ok(&["status"]).contains("waits for a processor"));
    let status: Value = serde_json::from_str(&app.ok(&["status", "--json"])).unwrap();
    let pressure = &status["processes"][0]["instances"][0]["pressure"];
    assert!(pressure["cpu"].as_f64().unwrap() >= 10.0 && pressure["memory"].is_number(), "{status:#}");
}

#[test]
fn an_svd_without_privileges_keeps_a_process_from_writing_anywhere_but_where_it_may() {
    use std::os::unix::process::CommandExt as _;
    const NOBODY: u32 = 65534;
    if svd_sys::process::uid() != 0 {
        return skipped("needs root to start svd as another user");
    }
    // given: places of nobody's, one of which the process may write to, and an exception that Landlock cannot have
    let app = App::new("");
    let script =
        "for place in own/x data/x data/y/z; do mkdir -p data/y; echo >$place && echo wrote $place; done 2>/dev/null
        rm left 2>/dev/null || echo left is left; (echo >/dev/null) && echo to null; grep NoNewPrivs /proc/self/status";
    app.write("run.sh", script);
    app.configure(&format!(
        "[defaults]\nrun = [\"/bin/sh\", \"run.sh\"]\noneshot = true\nread_only = [\"/\"]\nread_write = [\"{0}/data\"]
         [process.web]\n[process.odd]\nread_only = [\"/\", \"{0}/data/y\"]\n",
        app.path("").display().to_string().trim_end_matches('/')
    ));
    for place in ["own", "data", "root"] {
        std::fs::create_dir(app.path(place)).unwrap();
    }
    app.write("left", "");
    for place in ["", "own", "data", "root", "left"] {
        std::os::unix::fs::chown(app.path(place), Some(NOBODY), Some(NOBODY)).unwrap();
    }
    let mut app = app;
    let mut svd = app.command();
    svd.uid(NOBODY).gid(NOBODY);
    let doctor = Command::new(env!("CARGO_BIN_EXE_svctl")).arg("doctor").uid(NOBODY).gid(NOBODY).output().unwrap();
    if !String::from_utf8_lossy(&doctor.stdout).contains("by Landlock") {
        return skipped("this kernel has no Landlock, or nobody may have mounts here");
    }
    // when
    app.boot_with(svd);
    app.wait("web", "completed");
    // then
    let said: Vec<String> = app.logs("web").iter().map(|line| line["message"].as_str().unwrap().to_owned()).collect();
    assert_eq!(said, ["wrote data/x", "wrote data/y/z", "left is left", "to null", "NoNewPrivs:\t1"]);
    assert!(app.path("data/x").exists() && !app.path("own/x").exists());
    // and: what cannot be had is no start at all
    let odd = app.until_state("odd.1", "failed");
    assert!(odd["reason"].as_str().unwrap().contains("needs Landlock only"), "{odd}");
    assert_eq!(app.stop(), Some(0));
}

/// Ends with the test, also with one that fails.
struct Running(std::process::Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ended = self.0.kill();
        let _status = self.0.wait();
    }
}

#[test]
fn check_says_before_anything_is_started_that_a_host_has_no_limits() {
    let may = Command::new("unshare").args(["--mount", "true"]).stderr(Stdio::null()).status();
    if !may.is_ok_and(|status| status.success()) {
        return skipped("making the cgroups read-only needs root and unshare(1)");
    }
    let app = App::new("process.web = { run = [\"sleep\", \"1000\"], limits = { memory = \"64M\" } }");
    // given: cgroups as most containers have them
    let script =
        "for dir in $(grep -o '/sys/fs/cgroup[^ ]*' /proc/mounts); do mount -o remount,bind,ro $dir || exit 9; done
                  exec \"$@\"";
    let mut command = Command::new("unshare");
    command.current_dir(app.path("")).args(["--mount", "/bin/sh", "-c", script, "sh"]);
    command.args([env!("CARGO_BIN_EXE_svd"), "check"]);
    // when
    let output = command.output().unwrap();
    // then
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{output:?}");
    assert!(
        said.contains("limits of web cannot be had on this host: ") && said.contains("mounted read-only"),
        "{said}"
    );
}
