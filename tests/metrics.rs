//! `/metrics`: well-formed for every reader, and true.

mod common;

use std::collections::{BTreeMap, BTreeSet};

use common::{App, eventually};

/// A sample: its name with its labels, as written, in their order.
type Samples = BTreeMap<String, f64>;

/// Reads the text format (version 0.0.4) as strictly as its description allows, and stricter: each family has HELP, then
/// TYPE, then all of its samples; no series twice; counters end with _total and are not negative.
fn parse(text: &str) -> Samples {
    assert!(text.ends_with('\n'), "the last line has no end");
    let mut samples = Samples::new();
    let mut families = BTreeSet::new();
    let mut lines = text.lines().peekable();
    while let Some(help) = lines.next() {
        let (name, words) = help.strip_prefix("# HELP ").and_then(|rest| rest.split_once(' ')).expect(help);
        assert!(is_name(name) && name.starts_with("svd_") && words.ends_with('.'), "{help}");
        assert!(families.insert(name.to_owned()), "{name} begins twice");
        let kind = lines.next().and_then(|line| line.strip_prefix("# TYPE ")?.strip_prefix(name)?.strip_prefix(' '));
        let kind = kind.unwrap_or_else(|| panic!("no type behind {help}"));
        assert!(["counter", "gauge"].contains(&kind), "{kind}");
        assert_eq!(kind == "counter", name.ends_with("_total"), "{name} is a {kind}");
        while let Some(line) = lines.next_if(|line| !line.starts_with('#')) {
            let (series, value) = line.rsplit_once(' ').expect(line);
            let labels = series.strip_prefix(name).unwrap_or_else(|| panic!("{line} is not of {name}"));
            check_labels(labels);
            let value: f64 = value.parse().expect(line);
            assert!(value.is_finite() && (kind == "gauge" || value >= 0.0), "{line}");
            assert!(samples.insert(series.to_owned(), value).is_none(), "{series} twice");
        }
    }
    samples
}

/// `{a="b",c="d"}` or nothing.
fn check_labels(labels: &str) {
    let Some(inner) = labels.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) else {
        assert_eq!(labels, "");
        return;
    };
    let mut rest = inner;
    let mut seen = BTreeSet::new();
    loop {
        let (name, after) = rest.split_once("=\"").expect(labels);
        assert!(is_name(name) && !name.contains(':') && seen.insert(name), "{labels}");
        let mut end = None;
        let mut escaped = false;
        for (at, c) in after.char_indices() {
            match (escaped, c) {
                (true, c) => {
                    assert!("\\\"n".contains(c), "{labels}");
                    escaped = false;
                }
                (false, '\\') => escaped = true,
                (false, '"') => {
                    end = Some(at);
                    break;
                }
                (false, _) => {}
            }
        }
        match &after[end.expect(labels) + 1..] {
            "" => return,
            more => rest = more.strip_prefix(',').expect(labels),
        }
    }
}

fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == ':')
}

fn metrics(app: &App) -> Samples {
    let answer = app.request("GET", "/metrics", None);
    assert_eq!(answer.status, 200);
    parse(&answer.body)
}

#[test]
fn metrics_are_well_formed_and_say_what_has_happened() {
    // given
    let mut app = App::new(
        "app = \"shop\"
         [notify]
         events = [\"process.failed\"]
         run = \"true\"
         [process.web]
         run = \"sleep 1000\"
         count = 2
         listen = \"127.0.0.1:0\"
         ready = \"started\"
         [process.bad]
         run = \"sh -c 'echo twelve bytes; exit 1'\"
         restart = { limit = \"2 in 1m\", backoff = \"10ms\" }
         [process.off]
         run = \"sleep 1000\"
         count = 0",
    );
    app.boot();
    app.wait("web", "ready");
    app.until_state("bad.1", "failed");
    eventually("the notice", || {
        metrics(&app).get("svd_notices_total{place=\"command\",result=\"told\"}") == Some(&1.0)
    });
    // then
    let found = metrics(&app);
    let is = |series: &str, value: f64| {
        assert_eq!(found.get(series), Some(&value), "{series}\n{found:#?}");
    };
    is("svd_manager_starts_total", 1.0);
    is("svd_store_healthy", 1.0);
    is("svd_process_want{process=\"web\"}", 2.0);
    is("svd_process_want{process=\"off\"}", 0.0);
    is("svd_process_instances{process=\"web\",state=\"ready\"}", 2.0);
    is("svd_process_instances{process=\"web\",state=\"failed\"}", 0.0);
    is("svd_process_instances{process=\"bad\",state=\"failed\"}", 1.0);
    is("svd_instance_ready{process=\"web\",instance=\"web.2\"}", 1.0);
    is("svd_instance_ready{process=\"bad\",instance=\"bad.1\"}", 0.0);
    is("svd_instance_restarts_total{process=\"web\",instance=\"web.1\"}", 0.0);
    is("svd_instance_restarts_total{process=\"bad\",instance=\"bad.1\"}", 2.0);
    is("svd_listener_held{process=\"web\",listener=\"http\",kind=\"tcp\"}", 1.0);
    is("svd_log_dropped_bytes_total", 0.0);
    is("svd_notices_total{place=\"command\",result=\"told\"}", 1.0);
    is("svd_notices_total{place=\"command\",result=\"failed\"}", 0.0);
    assert_eq!(found["svd_log_stored_bytes_total"], 3.0 * 13.0, "{found:#?}");
    let since = found["svd_instance_state_since_seconds{process=\"web\",instance=\"web.1\"}"];
    let now = svd_sys::clock::now().real_ns as f64 / 1e9;
    assert!(since > now - 3600.0 && since <= now, "{since}");
    // when one is killed and another manager looks after all
    let pid = app.pid("web.1");
    app.ok(&["signal", "KILL", "web.1"]);
    app.until("another web.1", |status| {
        let one = &status["processes"][0]["instances"][0];
        (one["state"] == "ready" && one["pid"] != pid).then_some(())
    });
    let before = common::manager(app.keeper()).expect("a manager");
    svd_sys::tree::kill_verified(&before, 9).expect("kill");
    app.until("another manager", |status| (status["svd"]["manager_starts"] == 2).then_some(()));
    // then
    let found = metrics(&app);
    assert_eq!(found["svd_manager_starts_total"], 2.0);
    assert_eq!(found["svd_instance_restarts_total{process=\"web\",instance=\"web.1\"}"], 1.0);
    assert_eq!(found["svd_process_instances{process=\"web\",state=\"ready\"}"], 2.0);
}

#[test]
fn metrics_can_be_switched_off_and_on_again_by_an_apply() {
    let off = "[control]\nmetrics = false\n[process.web]\nrun = \"sleep 1000\"\n";
    let app = App::start(off);
    let answer = app.request("GET", "/metrics", None);
    assert_eq!(answer.status, 404);
    assert!(answer.json()["error"].as_str().unwrap().contains("[control] metrics = false"));
    app.configure(&off.replace("false", "true"));
    app.ok(&["apply"]);
    assert!(metrics(&app).contains_key("svd_warnings"));
}

#[test]
fn jobs_are_counted_by_what_became_of_their_runs_and_tell_when_they_last_ended_and_come_next() {
    // given
    let app = App::start(
        "[job.report]
         run = \"exit 3\"
         shell = true
         schedule = \"every 1h\"
         [job.idle]
         run = \"true\"
         schedule = \"every 1h\"
         paused = true",
    );
    // when
    for _ in 0..2 {
        assert_eq!(app.svctl(&["run", "report", "--wait"]).code, Some(3));
    }
    // then
    let found = metrics(&app);
    for (series, value) in [
        ("svd_job_runs_total{job=\"report\",result=\"failed\"}", 2.0),
        ("svd_job_runs_total{job=\"report\",result=\"succeeded\"}", 0.0),
        ("svd_job_running{job=\"report\"}", 0.0),
        ("svd_job_waiting{job=\"report\"}", 0.0),
        ("svd_job_missed_total{job=\"report\"}", 0.0),
        ("svd_job_last_run_success{job=\"report\"}", 0.0),
        ("svd_job_paused{job=\"report\"}", 0.0),
        ("svd_job_paused{job=\"idle\"}", 1.0),
    ] {
        assert_eq!(found.get(series), Some(&value), "{series}\n{found:#?}");
    }
    let now = svd_sys::clock::now().real_ns as f64 / 1e9;
    let (ended, next) =
        (found["svd_job_last_run_end_seconds{job=\"report\"}"], found["svd_job_next_run_seconds{job=\"report\"}"]);
    assert!(ended > now - 60.0 && ended <= now && next > now - 60.0 && next <= now + 3600.0, "{ended} {next}");
    assert_eq!(next % 3600.0, 0.0, "on the hour");
    assert!(!found.contains_key("svd_job_next_run_seconds{job=\"idle\"}"), "a paused one has no next run");
    assert!(!found.contains_key("svd_job_last_run_end_seconds{job=\"idle\"}"), "nor has it ever run");
}

#[test]
fn when_a_job_last_began_and_last_succeeded_is_told_whoever_is_the_manager() {
    // given a job that has succeeded and then failed, and runs
    let app = App::start(
        "[job.report]
         run = \"if test -e long; then sleep 1000; fi; test ! -e bad\"
         shell = true",
    );
    let of = |app: &App, what: &str| metrics(app).get(&format!("svd_job_{what}{{job=\"report\"}}")).copied();
    assert_eq!((of(&app, "last_success_seconds"), of(&app, "last_run_start_seconds")), (None, None));
    assert_eq!(app.svctl(&["run", "report", "--wait"]).code, Some(0));
    let (succeeded, ended) = (of(&app, "last_success_seconds"), of(&app, "last_run_end_seconds"));
    assert!(succeeded.is_some() && succeeded == ended, "{succeeded:?} {ended:?}");
    app.write("bad", "");
    assert_eq!(app.svctl(&["run", "report", "--wait"]).code, Some(1));
    let failed = of(&app, "last_run_start_seconds");
    assert!(failed >= succeeded, "{failed:?} {succeeded:?}");
    app.write("long", "");
    app.ok(&["run", "report"]);
    let began = of(&app, "last_run_start_seconds");
    assert!(began > failed, "{began:?} {failed:?}");
    // when
    let before = app.status()["svd"]["manager_pid"].clone();
    svd_sys::tree::kill_verified(&common::manager(app.keeper()).unwrap(), 9).unwrap();
    app.until("another manager", |status| (status["svd"]["manager_pid"] != before).then_some(()));
    // then
    assert_eq!((of(&app, "last_success_seconds"), of(&app, "last_run_start_seconds")), (succeeded, began));
}
