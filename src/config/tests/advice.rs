//! Warnings about commands, and silence about ordinary ones.

mod common;

use common::{plan_and_warnings, procfile, toml};
use svd_config::Sources;

#[track_caller]
fn check_sources(sources: &Sources, expected: &[&str]) {
    let warnings: Vec<String> = plan_and_warnings(sources).1.iter().map(ToString::to_string).collect();
    assert_eq!(warnings, expected);
}

/// A process that listens, with this command and these lines.
#[track_caller]
fn check(lines: &str, expected: &[&str]) {
    check_sources(&toml(&format!("[process.web]\nlisten = \"127.0.0.1:8080\"\n{lines}\n")), expected);
}

#[test]
fn ordinary_commands_get_no_warning() {
    for lines in [
        "run = \"node server.js\"",
        "run = \"uvicorn shop:app --port $PORT\"",
        "run = \"bundle exec puma -t 5:5\"",
        "run = \"exec node server.js 2>&1\"\nshell = true",
        "run = \"cd app && exec node server.js\"\nshell = true",
        "run = [\"bash\", \"-c\", \"cd app && node server.js\"]",
        "run = \"sh start.sh\"",
        "run = \"gunicorn shop:app\"\npreset = \"gunicorn\"",
        "run = \"gunicorn --graceful-timeout 5 shop:app\"",
        "run = \"gunicorn -c conf.py shop:app\"",
        "run = \"nginx -g 'daemon off;'\"\npreset = \"nginx\"",
        "run = \"uvicorn shop:app --fd 3\"\nhandoff = \"listen-fds\"",
        "run = \"tini -- node server.js\"",
        "run = \"sidekiq -t 5\"",
    ] {
        check(lines, &[]);
    }
    // Where nobody counts on a signal, a shell or npm in front is no harm
    for line in
        ["web: exec node $X\njob: a && b\nother: npm start\n", "job: gunicorn app\nclock: while true; do a; done"]
    {
        check_sources(&procfile(line), &[]);
    }
    check_sources(
        &toml(
            "[process]\na = { run = \"a | b\", shell = true }\nb = { run = \"a; b\", shell = true, oneshot = true, stop = [\"INT\"] }",
        ),
        &[],
    );
}

#[test]
fn a_shell_in_front_of_a_listening_process_is_told() {
    let keeps = "Procfile.toml:3:7: warning: \"run\" in [process.web] keeps a shell as the main process";
    check(
        "run = \"cd app && gunicorn shop:app\"\nshell = true\npreset = \"gunicorn\"\nhandoff = \"auto\"",
        &[&format!(
            "{keeps} where /bin/sh is dash: signals reach the shell, not \"gunicorn\"; write \"exec gunicorn\" instead of \"gunicorn\""
        )],
    );
    check(
        "run = \"cd app && gunicorn shop:app\"\nshell = true\npreset = \"gunicorn\"",
        &[&format!(
            "{keeps} where /bin/sh is dash: signals reach the shell, not \"gunicorn\", which does not take LISTEN_FDS either, because LISTEN_PID is the shell; write \"exec gunicorn\" instead of \"gunicorn\""
        )],
    );
    check(
        "run = \"node server.js | tee log\"\nshell = true",
        &[&format!(
            "{keeps}: signals reach the shell, not what it starts; leave the pipe out: svd keeps the output by itself"
        )],
    );
    check(
        "run = \"while true; do node server.js; done\"\nshell = true",
        &[&format!("{keeps}: signals reach the shell, not what it starts; let it end with exec and the program")],
    );
    check(
        "run = [\"/bin/sh\", \"-ec\", \"node server.js\"]",
        &[&format!(
            "{keeps} where /bin/sh is dash: signals reach the shell, not \"node\"; write \"exec node\" instead of \"node\""
        )],
    );
    check(
        "run = \"bash -lc 'node server.js >> log'\"",
        &[&format!("{keeps}: signals reach the shell, not \"node\"; write \"exec node\" instead of \"node\"")],
    );
}

#[test]
fn a_shell_in_front_of_a_worker_whose_signals_are_said_is_told() {
    let worker = |lines: &str| toml(&format!("[process.web]\nrun = \"a; work\"\nshell = true\n{lines}"));
    let warning = "Procfile.toml:2:7: warning: \"run\" in [process.web] keeps a shell as the main process where /bin/sh is dash: signals reach the shell, not \"work\"; write \"exec work\" instead of \"work\"";
    for lines in ["quiet = \"TSTP\"", "stop = [\"INT\", \"1m\"]", "drained = \"x\"", "preset = \"rq\""] {
        check_sources(&worker(lines), &[warning]);
    }
    check_sources(&worker("nice = 1"), &[]);
}

#[test]
fn wrappers_that_stay_in_front_are_told() {
    check(
        "run = \"npm start\"",
        &[
            "Procfile.toml:3:7: warning: npm start in [process.web] stays in front of what it starts and keeps signals for itself; run the program itself, as in run = \"node server.js\"",
        ],
    );
    check_sources(
        &procfile("web: npx serve -p $PORT\n"),
        &[
            "Procfile:1:6: warning: npx in [process.web] stays in front of serve and keeps signals for itself; run the program itself, as in web: node server.js",
        ],
    );
    check(
        "run = \"uv run gunicorn shop:app\"\npreset = \"gunicorn\"",
        &[
            "Procfile.toml:3:7: warning: uv run in [process.web] stays in front of gunicorn, which does not take LISTEN_FDS then, because LISTEN_PID is uv run; run the program itself, or write handoff = \"intercept\"",
        ],
    );
    check("run = \"uv run uvicorn shop:app\"\npreset = \"uvicorn\"", &[]);
}

#[test]
fn a_program_that_takes_longer_than_its_stop_is_told() {
    check(
        "run = \"gunicorn --graceful-timeout 120 shop:app\"\npreset = \"gunicorn\"",
        &[
            "Procfile.toml:3:17: warning: gunicorn in [process.web] takes up to 120s to finish (--graceful-timeout), and is killed after 35s; write stop = [\"TERM\", \"120s\", \"KILL\"]",
        ],
    );
    check(
        "run = \"gunicorn shop:app\"",
        &[
            "Procfile.toml:3:7: warning: gunicorn in [process.web] takes up to 30s to finish by default, and is killed after 10s; write preset = \"gunicorn\", or stop = [\"TERM\", \"30s\", \"KILL\"]",
        ],
    );
    check(
        "run = [\"python3\", \"-m\", \"gunicorn\", \"--graceful-timeout=60\"]\nstop = [\"TERM\", \"30s\", \"QUIT\", \"60s\"]",
        &[
            "Procfile.toml:3:7: warning: gunicorn in [process.web] takes up to 60s to finish (--graceful-timeout), and is killed after 30s; write stop = [\"TERM\", \"60s\", \"KILL\"]",
        ],
    );
    for (run, message) in [
        ("sidekiq -t 30", "16: warning: sidekiq in [process.w] takes up to 33s to finish (-t)"),
        (
            "uvicorn a:b --timeout-graceful-shutdown 31",
            "20: warning: uvicorn in [process.w] takes up to 31s to finish (--timeout-graceful-shutdown)",
        ),
        (
            "hypercorn --graceful-timeout 31 a:b",
            "18: warning: hypercorn in [process.w] takes up to 31s to finish (--graceful-timeout)",
        ),
        (
            "celery -A a worker --time-limit=3600",
            "27: warning: celery in [process.w] takes up to 3600s to finish (--time-limit)",
        ),
    ] {
        let stop = "stop = [\"TERM\", \"30s\", \"KILL\"]";
        let warnings = plan_and_warnings(&toml(&format!("[process.w]\n{stop}\nrun = \"{run}\""))).1;
        let found: Vec<String> = warnings.iter().map(ToString::to_string).collect();
        assert!(
            found.len() == 1
                && found[0].starts_with(&format!("Procfile.toml:3:{message}, and is killed after 30s; write stop")),
            "{found:?}"
        );
    }
    // One that waits without end waits long enough, and one that begins with another signal is not judged
    for stop in ["[\"TERM\", \"none\"]", "[\"INT\", \"1s\"]", "[\"TERM\", \"30s\"]"] {
        check_sources(&toml(&format!("[process.w]\nrun = \"gunicorn a\"\nstop = {stop}")), &[]);
    }
    // In a plain Procfile only what somebody wrote is told
    check_sources(&procfile("web: gunicorn a\n"), &[]);
    check_sources(
        &procfile("web: gunicorn --graceful-timeout 60 a\n"),
        &[
            "Procfile:1:15: warning: gunicorn in [process.web] takes up to 60s to finish (--graceful-timeout), and is killed after 10s; a Procfile.toml can say stop = [\"TERM\", \"60s\", \"KILL\"]",
        ],
    );
}

#[test]
fn what_a_program_does_otherwise_than_expected_is_told() {
    check(
        "run = \"nginx -g 'daemon off;'\"",
        &[
            "Procfile.toml:3:7: warning: nginx in [process.web] drops its requests when it gets TERM; QUIT lets it finish them; write preset = \"nginx\", or stop = [\"QUIT\", \"60s\", \"TERM\", \"5s\", \"KILL\"]",
        ],
    );
    check(
        "run = \"uvicorn shop:app\"\nhandoff = \"listen-fds\"",
        &[
            "Procfile.toml:4:11: warning: uvicorn in [process.web] does not take LISTEN_FDS; add --fd 3 to its command, or write handoff = \"intercept\"",
        ],
    );
    check(
        "run = \"granian shop:app\"\nhandoff = \"listen-fds\"",
        &[
            "Procfile.toml:4:11: warning: granian in [process.web] does not take LISTEN_FDS; write handoff = \"intercept\"",
        ],
    );
    check(
        "run = \"gunicorn --daemon shop:app\"\npreset = \"gunicorn\"",
        &[
            "Procfile.toml:3:17: warning: gunicorn in [process.web] goes into the background with --daemon; leave it out: svd keeps what it started, and that ends at once",
        ],
    );
    check(
        "run = \"uvicorn shop:app\"\npreset = \"gunicorn\"\nhandoff = \"intercept\"",
        &[
            "Procfile.toml:4:10: warning: [process.web] has preset = \"gunicorn\" and runs uvicorn; write preset = \"uvicorn\"",
        ],
    );
    let unix = |lines: &str| toml(&format!("[process.web]\nlisten = \"unix:a.sock\"\n{lines}\n"));
    check_sources(
        &unix("run = \"php-fpm8.2 -F\"\npreset = \"php-fpm\""),
        &[
            "Procfile.toml:3:7: warning: php-fpm in [process.web] removes the path of its Unix socket when it ends; let it listen on a TCP address, such as 127.0.0.1:9000",
        ],
    );
    check_sources(
        &unix("run = \"gunicorn --bind fd://3 shop:app\"\npreset = \"gunicorn\""),
        &[
            "Procfile.toml:3:7: warning: gunicorn in [process.web] removes the path of a Unix socket that it got as fd://; leave --bind out and write handoff = \"listen-fds\"",
        ],
    );
    let celery = |run: &str| toml(&format!("[process.web]\nrun = \"{run}\"\npreset = \"celery\""));
    check_sources(
        &celery("celery -A shop beat"),
        &[
            "Procfile.toml:2:7: warning: celery beat in [process.web] would run twice for a moment whenever it is replaced; write update = \"exclusive\"",
        ],
    );
    check_sources(&celery("celery -A beat worker"), &[]);
}
