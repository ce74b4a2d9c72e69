//! Jobs through the real binaries: by hand, by schedules of seconds, over the deaths of managers and of svd itself.

mod common;

use common::{App, Reply, wait_path};
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::Duration;

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// The runs that are remembered of a job, oldest first.
fn runs(app: &App, job: &str) -> Vec<Value> {
    let mut runs = json(&app.ok(&["--json", "jobs", "history", job, "-n", "1000"])).as_array().unwrap().clone();
    runs.reverse();
    runs
}

/// The job as status shows it.
fn job(status: &Value, name: &str) -> Value {
    let jobs = status["jobs"].as_array().expect("an array");
    jobs.iter().find(|job| job["name"] == name).unwrap_or_else(|| panic!("no job {name} in {status:#}")).clone()
}

fn messages(app: &App, run: &str) -> Vec<String> {
    app.logs(run).iter().map(|line| line["message"].as_str().unwrap().to_owned()).collect()
}

fn kill_manager(app: &App) {
    let pid = app.status()["svd"]["manager_pid"].as_i64().unwrap();
    let pidfd = svd_sys::pidfd::open(pid as i32).unwrap();
    svd_sys::pidfd::send_signal(std::os::fd::AsFd::as_fd(&pidfd), 9).unwrap();
    assert!(common::wait_ended(std::os::fd::AsFd::as_fd(&pidfd), common::DEADLINE));
}

#[test]
fn a_job_is_run_by_hand_and_svctl_ends_with_its_code() {
    // given jobs without a schedule, with what a process has, and with standard input
    let app = App::start(
        "[env]\nCOLOUR = \"blue\"\n\
         [job.report]\nrun = \"cat; echo $SVD_JOB $SVD_RUN $SVD_ATTEMPT $COLOUR; exit 7\"\nshell = true\nstdin = \"one\\ntwo\\n\"\n\
         [job.good]\nrun = \"true\"\n[job.killed]\nrun = \"kill -9 $$\"\nshell = true\n\
         [job.lenient]\nrun = \"exit 3\"\nshell = true\nsuccess_exit = [0, 3]\n[job.gone]\nrun = \"/no/such/program\"\n",
    );
    // when
    let failed = app.svctl(&["run", "report", "--wait"]);
    // then
    assert_eq!(failed.code, Some(7), "{failed:?}");
    assert_eq!(app.svctl(&["run", "good", "--wait"]).code, Some(0));
    assert_eq!(app.svctl(&["run", "killed", "--wait"]).code, Some(137));
    assert_eq!(app.svctl(&["run", "lenient", "--wait"]).code, Some(0));
    let gone = app.svctl(&["run", "gone", "--wait"]);
    assert!(gone.code == Some(1) && gone.err.contains("no such program"), "{gone:?}");
    // and: the output of each run is its own
    let lines = json_lines(&app.ok(&["--json", "logs", "job:report", "--run", "1"]));
    assert_eq!(lines, ["one", "two", "report 1 1 blue"]);
    let why = app.ok(&["why", "job:report"]);
    for part in ["run 1 failed, exit code 7", "exited with code 7", "report 1 1 blue"] {
        assert!(why.contains(part), "{why}");
    }
    // and: an unknown one is refused, with what there is
    let unknown = app.svctl(&["run", "raport"]);
    assert!(unknown.code == Some(3) && unknown.err.contains("there is no job \"raport\""), "{unknown:?}");
}

fn json_lines(text: &str) -> Vec<String> {
    text.lines().map(|line| json(line)["message"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn retries_timeouts_and_overlaps_are_told_in_history() {
    let app = App::start(
        "[job.flaky]\nrun = \"test $SVD_ATTEMPT = 3\"\nshell = true\nretry = { attempts = 4, backoff = \"10ms\" }\n\
         [job.slow]\nrun = \"sleep 1000\"\ntimeout = \"200ms\"\n\
         [job.long]\nrun = \"sleep 1000\"\n[job.next]\nrun = \"sleep 1000\"\noverlap = \"replace\"\n",
    );
    assert_eq!(app.svctl(&["run", "flaky", "--wait"]).code, Some(0));
    assert_eq!(runs(&app, "flaky")[0]["attempts"], 3);
    assert_eq!(app.svctl(&["run", "slow", "--wait"]).code, Some(143));
    assert_eq!(runs(&app, "slow")[0]["result"], "timed-out");
    // when one is in progress
    app.ok(&["run", "long"]);
    let refused = app.svctl(&["run", "long"]);
    assert!(refused.code == Some(3) && refused.err.contains("is in progress"), "{refused:?}");
    app.ok(&["stop", "job:long"]);
    assert_eq!(runs(&app, "long")[0]["result"], "cancelled");
    // and: a later one takes its place
    app.ok(&["run", "next"]);
    app.ok(&["run", "next"]);
    app.until("the later run to be in progress", |status| {
        let open = job(status, "next")["open"].clone();
        (open.as_array()?.len() == 1 && open[0]["result"] == "running" && open[0]["run"] == 5).then_some(())
    });
    assert_eq!(runs(&app, "next")[0]["result"], "replaced");
    // and: what is for processes is refused for jobs, with the way out
    let restart = app.svctl(&["restart", "job:next"]);
    assert!(restart.code == Some(3) && restart.err.contains("svctl run"), "{restart:?}");
}

#[test]
fn managers_killed_at_any_instant_lose_no_tick_and_double_none() {
    // given a job that runs each second and writes down which run it is, and one at the start of svd
    let app = App::start(
        "[job.tick]\nrun = \"echo $SVD_RUN $SVD_SCHEDULED >> ran\"\nshell = true\nschedule = \"every 1s\"\n\
         [job.boot]\nrun = \"echo up >> booted\"\nshell = true\nschedule = \"@reboot\"\n",
    );
    // when managers are killed while ten runs come
    let mut seed = 20_261_125;
    let mut kills = 0;
    while app.read("ran").lines().count() < 10 {
        // Each has begun its work; the keeper takes its time for those that die as soon as they begin.
        app.status();
        common::instant_within(Duration::from_millis(600), &mut seed);
        kill_manager(&app);
        kills += 1;
    }
    app.ok(&["jobs", "pause", "tick"]);
    app.until("nothing to be in progress", |status| (job(status, "tick")["running"] == 0).then_some(()));
    // then each instant has one run, and each run was started once
    assert!(kills > 5, "{kills}");
    let runs = runs(&app, "tick");
    let scheduled: Vec<&str> = runs.iter().map(|run| run["scheduled"].as_str().unwrap()).collect();
    let reply =
        app.ok(&["--json", "schedule", "every 1s", "--after", scheduled[0], "-n", &scheduled.len().to_string()]);
    let next = json(&reply)["next"].clone();
    let expected = next.as_array().unwrap().iter().map(|at| at.as_str().unwrap().replace('Z', ".000Z"));
    assert_eq!(scheduled[1..], expected.take(scheduled.len() - 1).collect::<Vec<_>>());
    let text = app.read("ran");
    let mut started: BTreeMap<&str, u32> = BTreeMap::new();
    text.lines().for_each(|line| *started.entry(line.split(' ').next().unwrap()).or_default() += 1);
    assert!(started.values().all(|times| *times == 1), "{text}");
    let succeeded = runs.iter().filter(|run| run["result"] == "succeeded").count();
    assert_eq!(succeeded, started.len(), "{runs:?}");
    assert_eq!(app.read("booted"), "up\n");
}

#[test]
fn a_run_in_progress_outlives_its_manager_and_its_end_and_output_are_taken_in_by_the_next() {
    // given
    let app = App::start("[job.report]\nrun = \"echo begun; read x < go; echo ended $x; exit 4\"\nshell = true\n");
    let go = app.fifo("go");
    app.ok(&["run", "report"]);
    app.out().containing("begun");
    // when
    kill_manager(&app);
    std::io::Write::write_all(&mut &go, b"well\n").unwrap();
    // then
    app.until("the run to be over", |status| (job(status, "report")["running"] == 0).then_some(()));
    let run = runs(&app, "report")[0].clone();
    assert_eq!((&run["result"], &run["exit"]["code"]), (&"failed".into(), &4.into()));
    assert_eq!(messages(&app, "job:report.1"), ["begun", "ended well"]);
}

#[test]
fn the_end_of_svd_is_recorded_for_what_was_in_progress_and_numbers_go_on() {
    // given
    let mut app = App::start(
        "[job.report]\nrun = \"sleep 1000\"\n[job.boot]\nrun = \"true\"\nschedule = \"@reboot\"\nhistory = { keep = 1 }\n",
    );
    app.ok(&["run", "report"]);
    // when svd is stopped, and started again
    assert_eq!(app.stop(), Some(0));
    app.boot();
    // then
    let run = runs(&app, "report")[0].clone();
    assert_eq!((&run["result"], &run["why"]), (&"cancelled".into(), &"svd was stopped".into()));
    app.until("the run at the start to be over", |status| (job(status, "boot")["last"]["run"] == 3).then_some(()));
    assert_eq!(runs(&app, "boot").len(), 1);
}

#[test]
fn apply_adds_changes_and_removes_jobs_and_leaves_runs_alone() {
    // given a run in progress
    let app = App::start("[job.report]\nrun = \"read x < go; echo $x\"\nshell = true\n");
    let go = app.fifo("go");
    app.ok(&["run", "report"]);
    // when it is removed, and another one comes
    app.configure("[job.other]\nrun = \"echo here\"\nschedule = \"every 1s\"\n");
    let told = app.ok(&["apply"]);
    // then
    assert!(told.contains("+ job:other: new") && told.contains("- job:report: no longer in the config"), "{told}");
    app.out().containing("here");
    std::io::Write::write_all(&mut &go, b"to the end\n").unwrap();
    app.out().containing("to the end");
    app.configure("[job.other]\nrun = \"echo there\"\nschedule = \"every 1s\"\ntimeout = \"5s\"\n");
    let told = app.ok(&["apply"]);
    assert!(told.contains("~ job:other: run, timeout changed"), "{told}");
    app.out().containing("there");
}

#[test]
fn a_paused_job_waits_for_resume_also_over_managers() {
    let app = App::start("[job.tick]\nrun = \"touch ticked\"\nschedule = \"every 1s\"\npaused = true\n");
    assert_eq!(job(&app.status(), "tick")["paused"], true);
    app.ok(&["jobs", "resume", "tick"]);
    wait_path(&app.path("ticked"));
    app.ok(&["jobs", "pause", "job:tick"]);
    kill_manager(&app);
    let paused = job(&app.status(), "tick");
    assert_eq!((&paused["paused"], &paused["next"]), (&true.into(), &Value::Null));
}

#[test]
fn only_and_no_jobs_choose_what_svd_runs() {
    let config = "[process.web]\nrun = \"sleep 1000\"\n[job.tick]\nrun = \"true\"\n";
    for (arguments, processes, jobs) in [(["--only", "jobs"].as_slice(), 0, 1), (&["--no-jobs"], 1, 0)] {
        let mut app = App::new(config);
        let mut command = app.command();
        command.args(arguments);
        app.boot_with(command);
        let status = app.status();
        let count = |key: &str| status[key].as_array().unwrap().len();
        assert_eq!((count("processes"), count("jobs")), (processes, jobs), "{arguments:?}");
    }
}

#[test]
fn a_schedule_that_never_matches_is_refused_by_check_with_its_place() {
    let app = App::new("[job.report]\nrun = \"x\"\nschedule = \"0 0 30 2 *\"\n");
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_svd"));
    command.arg("check").arg(app.path("Procfile.toml"));
    let reply = Reply::of(command);
    assert_eq!(reply.code, Some(2));
    assert!(reply.err.contains("Procfile.toml:3:17: ") && reply.err.contains("have no day 30"), "{reply:?}");
}

/// The file of a zone that is always so many hours ahead of UTC (RFC 8536, version 2).
fn zone_file(hours: i32) -> Vec<u8> {
    let mut block = b"TZif2".to_vec();
    block.extend([0; 15]);
    for count in [0_u32, 0, 0, 0, 1, 4] {
        block.extend(count.to_be_bytes());
    }
    block.extend((hours * 3600).to_be_bytes());
    block.extend(*b"\0\0AAA\0");
    let mut file = [block.clone(), block].concat();
    file.extend(format!("\n<{hours:+03}>{}\n", -hours).bytes());
    file
}

#[test]
fn jobs_go_by_new_data_of_their_zone_as_soon_as_it_is_on_disk() {
    // given
    let mut app = App::new("[job.noon]\nrun = \"true\"\nschedule = \"0 12 * * *\"\ntimezone = \"Europe/Berlin\"\n");
    let zones = app.path("zones/Europe");
    std::fs::create_dir_all(&zones).unwrap();
    std::fs::write(zones.join("Berlin"), zone_file(5)).unwrap();
    let mut command = app.command();
    command.env("TZDIR", app.path("zones"));
    app.boot_with(command);
    let next = |status: &Value| job(status, "noon")["next"].as_str().map(str::to_owned);
    app.until("the next run", |status| next(status)?.ends_with("T07:00:00.000Z").then_some(()));
    // when it is replaced as packages do it
    std::fs::write(zones.join("Berlin.new"), zone_file(-2)).unwrap();
    std::fs::rename(zones.join("Berlin.new"), zones.join("Berlin")).unwrap();
    // then
    app.until("another next run", |status| next(status)?.ends_with("T14:00:00.000Z").then_some(()));
    let told = app.events().into_iter().find(|event| event["kind"] == "jobs.zones_changed").expect("it is told");
    assert_eq!(told["message"], "jobs go by new data of Europe/Berlin");
    // and a manager that comes later hears of changes, too
    kill_manager(&app);
    app.until("another manager", |status| (status["svd"]["manager_starts"] == 2).then_some(()));
    std::fs::write(zones.join("Berlin"), zone_file(5)).unwrap();
    app.until("the first next run", |status| next(status)?.ends_with("T07:00:00.000Z").then_some(()));
}

#[test]
fn zone_data_that_is_taken_away_and_comes_again_is_heard_of() {
    // given zones behind a link, as some distributions have them, and none of them there yet
    let mut app = App::new("[job.noon]\nrun = \"true\"\nschedule = \"0 12 * * *\"\ntimezone = \"Europe/Berlin\"\n");
    let mut command = app.command();
    command.env("TZDIR", app.path("zones"));
    app.boot_with(command);
    let until = |hours: &[&str]| {
        app.until(&format!("the next run at {hours:?} UTC"), |status| {
            let next = job(status, "noon")["next"].as_str()?.to_owned();
            hours.iter().any(|hour| next.ends_with(&format!("T{hour}:00:00.000Z"))).then_some(())
        });
    };
    // then what the system has, or svd itself, counts
    let berlin = ["10", "11"];
    until(&berlin);
    // when
    let write = |version: &str, hours: i32| {
        std::fs::create_dir_all(app.path(version).join("Europe")).unwrap();
        std::fs::write(app.path(version).join("Europe/Berlin"), zone_file(hours)).unwrap();
    };
    write("version1", 5);
    std::os::unix::fs::symlink("version1", app.path("zones")).unwrap();
    until(&["07"]);
    // and: another version takes its place
    write("version2", 9);
    std::os::unix::fs::symlink("version2", app.path("new")).unwrap();
    std::fs::rename(app.path("new"), app.path("zones")).unwrap();
    until(&["03"]);
    // and: its files go, and come again
    std::fs::remove_dir_all(app.path("version2/Europe")).unwrap();
    until(&berlin);
    write("version2", 6);
    until(&["06"]);
}
