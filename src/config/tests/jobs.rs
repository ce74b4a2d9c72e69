//! `[job.NAME]`: what a job is when nothing is said, and what is refused where.

mod common;

use std::time::Duration;

use common::{env_file, errors, plan, source, toml};
use svd_config::plan::{CatchUp, CatchUpMode, HistoryPlan, Overlap, ReadyBy, RestartWhen, Run, StopStep, SuccessExit};
use svd_config::{Plan, SourceKind};

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn job_plan(text: &str) -> Plan {
    plan(&toml(&format!("[job.report]\nrun = \"x\"\n{text}\n")))
}

#[track_caller]
fn check_refused(text: &str, place: &str, message: &str) {
    let found = errors(&toml(text));
    let first = &found.problems[0];
    assert_eq!(format!("{}:{}", first.line, first.column), place, "{found}");
    assert!(first.message.contains(message), "{found}");
}

#[test]
fn a_job_of_which_only_the_command_is_said_runs_by_hand_and_has_every_default() {
    // given a config without any process
    let plan = job_plan("");
    // then
    let job = plan.job("report").unwrap();
    assert_eq!((plan.processes.len(), plan.jobs.len()), (0, 1));
    assert_eq!((job.schedule.clone(), job.timeout(), job.retries, job.paused), (None, None, 0, false));
    assert_eq!((job.overlap, job.lock.clone(), job.jitter), (Overlap::Skip, None, Duration::ZERO));
    assert_eq!(job.catch_up, CatchUp { mode: CatchUpMode::Skip, within: secs(86_400), max: 10 });
    assert_eq!(job.history, HistoryPlan { keep: 100, age: secs(30 * 86_400) });
    assert_eq!(plan.program("job:report"), Some(&job.process));
    assert_eq!((job.process.oneshot, &job.process.ready.by), (true, &ReadyBy::Ended));
    assert_eq!((job.process.restart.when, job.process.exec.input.clone()), (RestartWhen::Never, None));
}

#[test]
fn every_key_gets_into_the_plan() {
    // given
    let mut sources = toml(
        r#"
include = ["more.toml"]
overlay_allows = ["env", "paused"]
[env]
A = "all"
[defaults]
user = "www-data"
stop = ["QUIT", "1s"]
umask = "027"
[process]
report = "a process of the same name"
[job.report]
run          = "a | b"
shell        = true
stdin        = "one\ntwo\n"
schedule     = "*/15 6-22 * * mon-fri"
timezone     = "Europe/Berlin"
overlap      = "queue"
lock         = "database"
timeout      = "10m"
stop         = ["INT", "5s", "KILL"]
retry        = { attempts = 3, backoff = "1s..1m" }
catch_up     = { mode = "all", within = "6h", max = 20 }
jitter       = "30s"
history      = { keep = 7, age = "1d" }
success_exit = [0, 3]
env          = { A = "own" }
env_file     = "job.env"
[environment.staging]
job.report   = { paused = true, env = { B = "over" } }
"#,
    );
    sources.environment = Some("staging".to_owned());
    let included = "[job.other]\nrun = [\"a\", \"$b\"]\nschedule = \"every 90s\"\ncatch_up = \"once\"\n";
    sources.others = vec![source("more.toml", SourceKind::Toml, included), env_file("job.env", "C=file\n")];
    // when
    let plan = plan(&sources);
    // then
    let job = plan.job("report").unwrap();
    let schedule = job.schedule.as_ref().unwrap();
    assert_eq!((schedule.text.as_str(), schedule.zone.as_str()), ("*/15 6-22 * * mon-fri", "Europe/Berlin"));
    assert_eq!((job.overlap, job.lock.as_deref()), (Overlap::Queue, Some("database")));
    assert_eq!((job.timeout(), job.retries, job.jitter, job.paused), (Some(secs(600)), 3, secs(30), true));
    assert_eq!(job.catch_up, CatchUp { mode: CatchUpMode::All, within: secs(6 * 3600), max: 20 });
    assert_eq!(job.history, HistoryPlan { keep: 7, age: secs(86_400) });
    let process = &job.process;
    assert_eq!((process.restart.backoff_min, process.restart.backoff_max), (secs(1), secs(60)));
    assert_eq!(process.restart.success_exit, [SuccessExit::Code(0), SuccessExit::Code(3)]);
    assert_eq!(process.stop, [StopStep::Signal(2), StopStep::Wait(secs(5)), StopStep::Signal(9)]);
    let exec = &process.exec;
    assert_eq!((&exec.run, exec.input.as_deref()), (&Run::Shell("a | b".to_owned()), Some("one\ntwo\n")));
    // the defaults are about where it runs, not how it is stopped
    assert_eq!((exec.user.as_deref(), exec.umask), (Some("www-data"), Some(0o027)));
    let env: Vec<_> = exec.env.iter().map(|(name, value)| format!("{name}={value}")).collect();
    assert_eq!(env, ["A=own", "B=over", "C=file"]);
    let other = plan.job("other").unwrap();
    assert_eq!(other.process.exec.run, Run::Literal(vec!["a".to_owned(), "$b".to_owned()]));
    assert_eq!(other.catch_up.mode, CatchUpMode::Once);
}

#[test]
fn a_schedule_that_is_none_or_never_matches_is_an_error_with_a_caret_into_it() {
    let job = |schedule: &str| format!("[job.report]\nrun = \"x\"\nschedule = \"{schedule}\"\n");
    check_refused(&job("0 25 * * *"), "3:15", "25");
    check_refused(&job("0 0 30 2 *"), "3:17", "never runs: the selected months have no day 30");
    check_refused(&job("@dayly"), "3:13", "did you mean \"@daily\"?");
    check_refused(&job("0 0 * * * *"), "3:23", "6 fields");
    let found = errors(&toml(&job("0 25 * * *")));
    assert!(found.to_string().contains("\n  schedule = \"0 25 * * *\"\n                ^~"), "{found}");
}

#[test]
fn what_means_nothing_or_contradicts_itself_is_refused_where_it_stands() {
    let job = |keys: &str| format!("[job.report]\nrun = \"x\"\n{keys}\n");
    let berlin = "timezone = \"Berlin\"\nschedule = \"@daily\"";
    check_refused(&job(berlin), "3:12", "unknown time zone \"Berlin\"; did you mean \"Europe/Berlin\"?");
    check_refused(&job("timezone = \"UTC\""), "3:12", "means nothing without \"schedule\"");
    check_refused(&job("schedule = \"@reboot\"\ncatch_up = \"once\""), "4:12", "@reboot has none");
    check_refused(&job("schedule = \"every 5s\"\ntimezone = \"UTC\""), "4:12", "times of day");
    check_refused(&job("overlap = \"allow\"\nlock = \"db\""), "3:11", "does not go with \"lock\"");
    check_refused("[job.report]\nschedule = \"@daily\"\n", "1:6", "has no \"run\"");
    check_refused("[job]\nreport = \"x\"\n", "2:10", "must be a table");
    check_refused("[job.report]\nrun = \"a | b\"\n", "2:10", "needs a shell");
    check_refused("[job.\"a b\"]\nrun = \"x\"\n", "1:6", "is not the name of a job");
    check_refused("[job.report]\nrun = \"x $PORT\"\n", "2:10", "uses $PORT, which is not set");
    plan(&toml("[job.report]\nrun = \"x $SVD_RUN $SVD_ATTEMPT\"\n"));
    check_refused(&job("count = 2"), "3:1", "unknown key \"count\" in [job.report]");
}

#[test]
fn only_and_no_jobs_choose_among_jobs_and_processes() {
    let text = "[process]\nweb = \"w\"\n[job.a]\nrun = \"a\"\n[job.b]\nrun = \"b\"\n";
    let chosen = |only: &[&str], no_jobs: bool| {
        let mut sources = toml(text);
        sources.only = only.iter().map(ToString::to_string).collect();
        sources.no_jobs = no_jobs;
        let plan = plan(&sources);
        let processes = plan.processes.iter().map(|process| process.name.clone());
        processes.chain(plan.jobs.iter().map(|job| format!("job:{}", job.name))).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(chosen(&[], false), "web job:a job:b");
    assert_eq!(chosen(&["jobs"], false), "job:a job:b");
    assert_eq!(chosen(&["web"], false), "web");
    assert_eq!(chosen(&["web", "job:b"], false), "web job:b");
    assert_eq!(chosen(&[], true), "web");
    let mut sources = toml(text);
    sources.only = vec!["job:c".to_owned()];
    let found = errors(&sources).to_string();
    assert!(found.contains("--only names \"job:c\", which does not exist"), "{found}");
}
