//! Commands and addresses that are told of the runs of a job.

mod common;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;

use common::{App, DEADLINE, file_with, manager};
use serde_json::Value;
use svd_sys::tree::kill_verified;

/// Appends what it is told to a file named as its first argument, in one line.
const TELLER: &str = "#!/bin/sh\nevent=$(cat)\n\
    echo \"$SVD_JOB $SVD_RUN $SVD_RESULT $SVD_EXIT $SVD_ATTEMPT $COLOUR ${event%%:*}\" >>\"$1\"\n";

fn lines(app: &App, file: &str, count: usize) -> Vec<String> {
    file_with(&app.path(file), |text| {
        let all: Vec<String> = text.lines().map(str::to_owned).collect();
        (all.len() >= count && text.ends_with('\n')).then_some(all)
    })
}

/// A server of pings.
struct Pinged(TcpListener);

impl Pinged {
    fn open() -> Pinged {
        Pinged(TcpListener::bind(("127.0.0.1", 0)).expect("a port"))
    }

    fn url(&self) -> String {
        format!("http://{}/abc?x=1", self.0.local_addr().unwrap())
    }

    /// Waits for a ping: its path and its body.
    fn answer(&self, code: &str) -> (String, String) {
        assert!(svd_sys::fd::wait_readable(std::os::fd::AsFd::as_fd(&self.0), DEADLINE).unwrap(), "nobody came");
        let (stream, _) = self.0.accept().expect("somebody");
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        let mut reader = BufReader::new(stream);
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert!(reader.read_line(&mut head).expect("a line") > 0, "{head}");
        }
        let length = head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
        let mut body = vec![0; length.expect("a length")];
        reader.read_exact(&mut body).expect("a body");
        write!(reader.into_inner(), "HTTP/1.1 {code}\r\nContent-Length: 0\r\n\r\n").expect("an answer");
        let path = head.split(' ').nth(1).expect("a path").to_owned();
        (path, String::from_utf8(body).unwrap())
    }
}

/// One place that cannot be reached holds back nobody, and lets nobody be told twice.
#[test]
fn a_hook_that_was_told_is_not_told_again_by_the_next_manager_while_a_ping_is_still_tried() {
    // given: hooks of two jobs, one of which has a ping to where nobody listens
    let nobody = common::free_port();
    let app = App::start(&format!(
        "[job.bad]
         run = \"exit 7\"
         shell = true
         on_failure = [\"/bin/sh\", \"-c\", \"echo $SVD_RUN >>told\"]
         [job.pinged]
         run = \"true\"
         ping = \"http://127.0.0.1:{nobody}/\""
    ));
    app.ok(&["run", "pinged", "--wait"]);
    assert_eq!(app.svctl(&["run", "bad", "--wait"]).code, Some(7));
    assert_eq!(lines(&app, "told", 1), ["2"]);
    let is_done = |app: &App| {
        let metrics = app.request("GET", "/metrics", None).body;
        metrics.lines().any(|line| line == "svd_notices_total{place=\"job:bad\",result=\"told\"} 1")
    };
    common::eventually("the hook to be done with", || is_done(&app));
    // What is answered is on disk, with all before it.
    app.ok(&["jobs", "pause", "pinged"]);
    // when
    kill_verified(&manager(app.keeper()).unwrap(), 9).unwrap();
    app.until("another manager", |status| (status["svd"]["manager_starts"].as_i64() > Some(1)).then_some(()));
    assert_eq!(app.svctl(&["run", "bad", "--wait"]).code, Some(7));
    // then: each is told in its order, so a second word of run 2 would come before that of run 3
    assert_eq!(lines(&app, "told", 2), ["2", "3"]);
}

#[test]
fn a_hook_is_told_once_of_what_became_of_a_run_after_its_last_attempt_with_the_jobs_variables() {
    // given
    let app = App::start(
        "[job.bad]
         run = \"exit 7\"
         shell = true
         env = { COLOUR = \"blue\" }
         retry = { attempts = 2, backoff = \"10ms\" }
         on_failure = [\"./teller\", \"failures\"]
         on_success = [\"./teller\", \"successes\"]
         [job.good]
         run = \"true\"
         env = { COLOUR = \"red\" }
         on_failure = [\"./teller\", \"failures\"]
         on_success = { run = \"./teller successes\", timeout = \"20s\" }
         [job.late]
         run = \"sleep 1000\"
         timeout = \"100ms\"
         stop = [\"KILL\"]
         env = { COLOUR = \"grey\" }
         on_failure = [\"./teller\", \"failures\"]",
    );
    app.script("teller", TELLER);
    // when
    assert_eq!(app.svctl(&["run", "bad", "--wait"]).code, Some(7));
    assert_eq!(app.svctl(&["run", "good", "--wait"]).code, Some(0));
    assert_ne!(app.svctl(&["run", "late", "--wait"]).code, Some(0));
    // then
    let mut failures = lines(&app, "failures", 2);
    failures.sort();
    assert_eq!(failures, ["bad 1 failed 7 3 blue {\"event\"", "late 3 timed-out SIGKILL 1 grey {\"event\""]);
    assert_eq!(lines(&app, "successes", 1), ["good 2 succeeded 0 1 red {\"event\""]);
}

#[test]
fn a_hook_that_fails_is_told_in_the_history_and_a_slow_one_holds_up_neither_its_job_nor_others() {
    // given a hook that waits until somebody writes to it
    let app = App::start(
        "[job.slow]
         run = \"true\"
         on_success = [\"sh\", \"-c\", \"read line <gate; echo told $SVD_RUN $line $SVD_ATTEMPT >>told\"]
         [job.other]
         run = \"true\"
         on_success = [\"sh\", \"-c\", \"echo no; exit 9\"]",
    );
    let made = std::process::Command::new("mkfifo").arg(app.path("gate")).status().unwrap();
    assert!(made.success());
    // when the job runs again and again meanwhile
    for _ in 0..3 {
        assert_eq!(app.svctl(&["run", "slow", "--wait"]).code, Some(0));
    }
    assert_eq!(app.svctl(&["run", "other", "--wait"]).code, Some(0));
    // then another job's hook has run
    let failed = "the hook of job other could not be told of job.succeeded";
    app.until("the hook's failure", |_| {
        let told = app.events().into_iter().find(|event| event["kind"] == "notify.failed")?;
        let message = told["message"].as_str()?.to_owned();
        assert!(message.starts_with(failed) && message.ends_with("exited with code 9; it said: no"), "{message}");
        Some(())
    });
    // and those of the slow one come one after the other, each with all about its own run
    for run in 1..=3 {
        std::fs::write(app.path("gate"), format!("go {run}\n")).unwrap();
        assert_eq!(lines(&app, "told", run).last().unwrap(), &format!("told {run} go {run} 1"));
    }
}

#[test]
fn a_hook_is_told_also_when_the_manager_dies_before_or_while_it_is_told() {
    let app = App::start(
        "[job.bad]
         run = \"exit 1\"
         shell = true
         on_failure = [\"sh\", \"-c\", \"echo begun >>begun; read line <gate; echo told $SVD_RUN >>told\"]",
    );
    assert!(std::process::Command::new("mkfifo").arg(app.path("gate")).status().unwrap().success());
    assert_eq!(app.svctl(&["run", "bad", "--wait"]).code, Some(1));
    lines(&app, "begun", 1);
    // when
    let before = app.status()["svd"]["manager_pid"].clone();
    kill_verified(&manager(app.keeper()).unwrap(), 9).unwrap();
    app.until("another manager", |status| (status["svd"]["manager_pid"] != before).then_some(()));
    std::fs::write(app.path("gate"), "go\n").unwrap();
    // then the hook that runs is waited for, and not run again
    assert_eq!(lines(&app, "told", 1), ["told 1"]);
    assert_eq!(app.svctl(&["run", "bad", "--wait"]).code, Some(1));
    std::fs::write(app.path("gate"), "go\n").unwrap();
    assert_eq!(lines(&app, "told", 2), ["told 1", "told 2"]);
    assert_eq!(lines(&app, "begun", 2).len(), 2);
}

#[test]
fn pings_say_that_a_run_begins_and_how_it_ended_and_the_secret_is_shown_to_nobody() {
    // given one address for all, with the secret from a variable, and one for each
    let (one, each) = (Pinged::open(), Pinged::open());
    let (url, base) = (one.url(), format!("http://{}", each.0.local_addr().unwrap()));
    let mut app = App::new(&format!(
        "env = {{ PING = \"{url}\" }}
         [job.one]
         run = \"sh -c 'exit ${{CODE:-0}}'\"
         ping = \"$PING\"
         [job.each]
         run = \"sh -c 'exit 3'\"
         ping = {{ success = \"{base}/up\", failure = \"{base}/down\" }}"
    ));
    app.boot();
    // when
    assert_eq!(app.svctl(&["run", "one", "--wait"]).code, Some(0));
    // then
    let (path, body) = one.answer("200 OK");
    let rid = path.strip_prefix("/abc/start?x=1&rid=").unwrap_or_else(|| panic!("{path}")).to_owned();
    assert_eq!(rid.split('-').map(str::len).collect::<Vec<_>>(), [8, 4, 4, 4, 12], "{rid}");
    assert_eq!(body, "job:one.1: run 1 begins, by hand\n");
    let (path, body) = one.answer("200 OK");
    assert_eq!(path, format!("/abc?x=1&rid={rid}"), "the same of one run");
    assert!(body.starts_with("job:one.1: succeeded after "), "{body}");
    // and
    assert_eq!(app.svctl(&["run", "each", "--wait"]).code, Some(3));
    let (path, body) = each.answer("404 Nothing");
    assert!(path == "/down" && body.starts_with("job:each.2: failed after "), "{path} {body}");
    // what is refused for good is given up at once, and told without the path
    app.until("the failure", |_| {
        let told = app.events().into_iter().find(|event| event["kind"] == "notify.failed")?;
        let message = told["message"].as_str()?;
        let expected =
            format!("the ping of job each could not be told of job.failed (event {}): {base}: answer 404", id(&app, 2));
        assert_eq!(message, expected);
        Some(())
    });
    for shown in [app.status().to_string(), app.ok(&["--json", "events", "-n", "1000"]), app.ok(&["env", "--json"])] {
        assert!(!shown.contains("abc"), "{shown}");
    }
    // metrics count them by job
    let metrics = app.request("GET", "/metrics", None).body;
    assert!(metrics.contains("svd_notices_total{place=\"ping:each\",result=\"failed\"} 1"), "{metrics}");
}

/// The number of the event that says how a run ended.
fn id(app: &App, run: u32) -> Value {
    let ended = |event: &Value| {
        ["job.failed", "job.succeeded"].contains(&event["kind"].as_str().unwrap())
            && event["instance"].as_str().unwrap().ends_with(&format!(".{run}"))
    };
    app.events().into_iter().find(ended).expect("its end")["id"].clone()
}

#[test]
fn a_run_that_was_missed_is_told_to_on_missed() {
    // given a job that runs each second, and svd was not there for an hour
    let config = "[job.tick]
         run = \"true\"
         schedule = \"every 1s\"
         on_missed = [\"sh\", \"-c\", \"echo $SVD_JOB $SVD_RESULT until $SVD_SCHEDULED >>missed\"]";
    let mut app = App::new(config);
    app.boot();
    app.until("a first run", |status| status["jobs"][0]["last"]["run"].as_u64());
    assert_eq!(app.stop(), Some(0));
    let hour = "import sqlite3, sys; db = sqlite3.connect(sys.argv[1]); \
                db.execute('UPDATE job SET handled = handled - 3600000000000'); db.commit()";
    let mut command = std::process::Command::new(common::python());
    assert!(command.args(["-c", hour]).arg(app.path("root/state.db")).status().unwrap().success());
    // when
    app.boot();
    // then
    let told = lines(&app, "missed", 1);
    assert!(told[0].starts_with("tick missed until 20") && told[0].ends_with(".000Z"), "{told:?}");
    assert_eq!(app.stop(), Some(0));
    assert_eq!(lines(&app, "missed", 1).len(), 1, "told once of all of them");
}

#[test]
fn a_ping_that_comes_too_late_to_be_true_is_not_sent() {
    // given a run whose ping nobody takes, and svd was not there for the hour after it
    let address = Pinged::open().0.local_addr().unwrap();
    let url = format!("http://{address}/up");
    let mut app = App::new(&format!("[job.one]\nrun = \"true\"\nping = {{ success = \"{url}\" }}"));
    app.boot();
    assert_eq!(app.svctl(&["run", "one", "--wait"]).code, Some(0));
    assert_eq!(app.stop(), Some(0));
    let hour = "import sqlite3, sys; db = sqlite3.connect(sys.argv[1]); \
                db.execute('UPDATE event SET time_ns = time_ns - 3600000000000'); db.commit()";
    let mut command = std::process::Command::new(common::python());
    assert!(command.args(["-c", hour]).arg(app.path("root/state.db")).status().unwrap().success());
    // when there is a server
    let server = Pinged(TcpListener::bind(address).expect("the same port"));
    app.boot();
    assert_eq!(app.svctl(&["run", "one", "--wait"]).code, Some(0));
    // then that one is told as such, and the next one that is sent is that of the run of now
    let (_, body) = server.answer("200 OK");
    assert!(body.starts_with("job:one.2: succeeded"), "{body}");
    let told = app.events().into_iter().find(|event| event["kind"] == "notify.failed").expect("it is told");
    let message = told["message"].as_str().unwrap();
    assert!(message.starts_with("the ping of job one ") && message.ends_with("older than 600 s"), "{message}");
}

#[test]
fn what_is_wrong_with_hooks_and_pings_is_told_with_the_place_and_the_way_out() {
    let app = App::new(
        "[job.a]
         run = \"true\"
         on_failure = { timeout = \"3s\" }
         ping = \"ftp://x/\"
         [job.b]
         run = \"true\"
         on_success = \"echo $NOT_SET\"
         ping = { timeout = \"3s\" }",
    );
    let reply = app.svctl(&["check"]);
    assert_eq!(reply.code, Some(2), "{reply:?}");
    for part in [
        "Procfile.toml:3:",
        "\"on_failure\" in [job.a] has no \"run\"",
        "Procfile.toml:4:",
        "\"ping\" in [job.a] begins neither with http:// nor with https://",
        "$NOT_SET",
        "\"ping\" in [job.b] tells nobody",
        "say success = ",
    ] {
        assert!(reply.err.contains(part) || reply.out.contains(part), "{part}: {reply:?}");
    }
}
