//! Real servers and workers, each by its preset, rolled under load: nothing is dropped, nothing is done twice.
//!
//! `.ci/real-programs` installs the programs. What is missing is skipped, loudly; with `SVD_REAL=1` it is a failure.

mod common;

use common::{App, DEADLINE, Killer, Load, Redis, Running, change, free_port, program, ready_pids, roll, venv};
use std::process::Command;
use std::time::{Duration, Instant};

/// How often a manager is killed, on the average, while requests come.
const KILLS: Duration = Duration::from_millis(200);

/// The files of `tests/servers`, for all of these tests.
const FILES: &[(&str, &str)] = &[
    ("wsgi.py", include_str!("servers/wsgi.py")),
    ("asgi.py", include_str!("servers/asgi.py")),
    ("server.js", include_str!("servers/server.js")),
    ("config.ru", include_str!("servers/config.ru")),
    ("index.php", include_str!("servers/index.php")),
    ("celery_tasks.py", include_str!("servers/celery_tasks.py")),
    ("rq_tasks.py", include_str!("servers/rq_tasks.py")),
    ("push.py", include_str!("servers/push.py")),
    ("sidekiq_jobs.rb", include_str!("servers/sidekiq_jobs.rb")),
];

/// An app with the files above, and `more` with `@…@` of its own replaced already.
fn app(config: &str, more: &[(&str, String)]) -> App {
    let mut app = App::new(config);
    for (name, text) in FILES {
        app.write(name, text);
    }
    for (name, text) in more {
        app.write(name, text);
    }
    app.boot();
    app.wait("all", "ready");
    app
}

/// A web process with a preset.
fn web(preset: &str, run: &str, listen: &str) -> String {
    format!(
        "[process.web]
         preset = \"{preset}\"
         run = \"{run}\"
         listen = \"{listen}\"
         env = {{ GENERATION = \"0\" }}\n"
    )
}

fn load(port: u16) -> Running {
    Load::on(port).clients(2, 3, 2).expect("generation").start()
}

/// Restarts, scales and applies under load, with managers killed all the while; then stops all. Nothing may fail, and
/// every end of an old instance must count as a good one.
fn put_through_its_paces(what: &str, mut app: App, load: Running, config: &str, restarts: u32) {
    let start = Instant::now();
    let killer = Killer::of(&app, KILLS);
    for _ in 0..restarts {
        roll(&app, "web");
        load.more(10);
    }
    eprintln!("{what}: {restarts} restarts after {:?}", start.elapsed());
    for count in [5, 1] {
        change(&app, &["scale", &format!("web={count}")], |status| all_ready(status, count));
        load.more(10);
    }
    eprintln!("{what}: scaled after {:?}", start.elapsed());
    let before = ready_pids(&app, "web");
    app.configure(&config.replace("GENERATION = \"0\"", "GENERATION = \"1\""));
    change(&app, &["apply"], |status| {
        let new = |pid: &serde_json::Value| before.iter().all(|(_, old)| pid.as_i64() != Some(*old));
        all_ready(status, 1).filter(|()| new(&find(status, "web").expect("web")["instances"][0]["pid"]))
    });
    load.more(10);
    let killed = killer.stop();
    let tally = load.stop();
    tally.assert_whole(&format!("{what} with {killed} managers killed"));
    eprintln!("{what}: {:?} in all", start.elapsed());
    let failures: Vec<_> = app.events().into_iter().filter(|event| event["kind"] == "instance.failed").collect();
    assert!(failures.is_empty(), "{what}: {failures:?}");
    assert_eq!(app.process("web")["instances"][0]["restarts"], 0, "{what}: an end of an old one counts as a failure");
    assert_eq!(app.stop(), Some(0), "{what}");
}

fn find<'a>(status: &'a serde_json::Value, process: &str) -> Option<&'a serde_json::Value> {
    status["processes"].as_array()?.iter().find(|one| one["name"] == process)
}

fn all_ready(status: &serde_json::Value, count: usize) -> Option<()> {
    let web = find(status, "web")?;
    let all = web["instances"].as_array()?;
    (web["want"] == count && all.len() == count && all.iter().all(|one| one["state"] == "ready")).then_some(())
}

/// A new generation that cannot be loaded: the command says so, the old one serves on, nobody notices.
fn refuses_a_broken_generation(what: &str, app: &App, port: u16) {
    let before = ready_pids(app, "web");
    let load = load(port);
    app.write("broken", "");
    let start = Instant::now();
    let reply = app.svctl(&["restart", "web"]);
    eprintln!("{what}, broken: {:?} after {:?}: {}{}", reply.code, start.elapsed(), reply.out, reply.err);
    assert_eq!(reply.code, Some(4), "{what}: {reply:?}\n{}", app.diagnosis());
    assert!(start.elapsed() < Duration::from_secs(60), "{what}: {:?}", start.elapsed());
    load.more(10);
    load.stop().assert_whole(&format!("{what}, a generation that cannot be loaded"));
    assert_eq!(ready_pids(app, "web"), before, "{what}");
    std::fs::remove_file(app.path("broken")).expect("it was there");
}

#[test]
fn gunicorn_is_rolled_without_a_lost_request() {
    let Some(gunicorn) = venv("gunicorn") else { return };
    let port = free_port();
    let run = format!("{gunicorn} -w 2 -k gthread --threads 8 -b 0.0.0.0:{port} wsgi:app");
    let config = web("gunicorn", &run, &format!("0.0.0.0:{port}"));
    let app = app(&config, &[]);
    refuses_a_broken_generation("gunicorn", &app, port);
    put_through_its_paces("gunicorn", app, load(port), &config, 3);
}

#[test]
fn uvicorn_is_rolled_without_a_lost_request() {
    let Some(uvicorn) = venv("uvicorn") else { return };
    for options in ["", "--workers 2"] {
        let port = free_port();
        let config =
            web("uvicorn", &format!("{uvicorn} {options} --port {port} asgi:app"), &format!("127.0.0.1:{port}"));
        let app = app(&config, &[]);
        if options.is_empty() {
            refuses_a_broken_generation("uvicorn", &app, port);
        }
        put_through_its_paces(&format!("uvicorn {options}"), app, load(port), &config, 3);
    }
}

#[test]
fn hypercorn_is_rolled_without_a_lost_request() {
    let Some(hypercorn) = venv("hypercorn") else { return };
    for workers in [1, 2] {
        let port = free_port();
        let run = format!("{hypercorn} -w {workers} -b 127.0.0.1:{port} asgi:app");
        let config = web("hypercorn", &run, &format!("127.0.0.1:{port}"));
        let app = app(&config, &[]);
        if workers == 1 {
            refuses_a_broken_generation("hypercorn", &app, port);
        }
        put_through_its_paces(&format!("hypercorn -w {workers}"), app, load(port), &config, 3);
    }
}

#[test]
fn nginx_is_rolled_without_a_lost_request() {
    let Some(nginx) = program("nginx") else { return };
    for options in ["", "reuseport"] {
        let port = free_port();
        let config = web("nginx", &format!("{nginx} -e stderr -p @DIR@ -c nginx.conf"), &format!("0.0.0.0:{port}"));
        let conf = include_str!("servers/nginx.conf");
        let conf = conf.replace("@PORT@", &port.to_string()).replace("@OPTIONS@", options);
        let slow = "generation ?\n".repeat(8 * 1024 / 13);
        let app = app(&config, &[("nginx.conf", conf), ("slow", slow)]);
        put_through_its_paces(&format!("nginx {options}"), app, load(port), &config, 10);
    }
}

#[test]
fn node_is_rolled_without_a_lost_request() {
    let Some(node) = program("node") else { return };
    let port = free_port();
    let config = web("node", &format!("{node} server.js polite"), &format!("0.0.0.0:{port}"));
    let app = app(&config, &[]);
    put_through_its_paces("node", app, load(port), &config, 10);
}

/// It knows nothing of TERM: what it has begun is lost if TERM comes in the middle of it.
#[test]
fn node_without_a_handler_for_term_is_rolled_without_a_lost_request() {
    let Some(node) = program("node") else { return };
    let port = free_port();
    let config = web("node", &format!("{node} server.js"), &format!("[::]:{port}"));
    let app = app(&config, &[]);
    put_through_its_paces("node without a handler", app, load(port), &config, 10);
}

#[test]
fn puma_is_rolled_without_a_lost_request() {
    let Some(puma) = program("puma") else { return };
    for options in ["-t 8:8", "-t 8:8 -w 2"] {
        let port = free_port();
        let run = format!("{puma} {options} -b tcp://0.0.0.0:{port} config.ru");
        // With workers of its own the master lives on when none of them can load the application: it is the time that tells.
        let config = web("puma", &run, &format!("0.0.0.0:{port}")) + "ready = { listening = true, timeout = \"10s\" }\n";
        let app = app(&config, &[]);
        refuses_a_broken_generation(&format!("puma {options}"), &app, port);
        put_through_its_paces(&format!("puma {options}"), app, load(port), &config, 3);
    }
}

#[test]
fn php_fpm_is_rolled_without_a_lost_request() {
    let (Some(fpm), Some(nginx)) = (program("php-fpm*"), program("nginx")) else { return };
    let (port, inner) = (free_port(), free_port());
    let config = format!(
        "[process.front]
         preset = \"nginx\"
         run = \"{nginx} -e stderr -p @DIR@ -c nginx.conf\"
         listen = \"127.0.0.1:{port}\"\n"
    ) + &web("php-fpm", &format!("{fpm} -y @DIR@/fpm.conf"), &format!("127.0.0.1:{inner}"));
    let with_ports = |text: &str| text.replace("@PORT@", &port.to_string()).replace("@FPM@", &inner.to_string());
    let files = [
        ("fpm.conf", with_ports(include_str!("servers/fpm.conf"))),
        ("nginx.conf", with_ports(include_str!("servers/nginx_fpm.conf"))),
    ];
    let app = app(&config, &files);
    let load = Load::on(port).clients(2, 3, 2).slow_path("/?slow").expect("generation").start();
    put_through_its_paces("php-fpm", app, load, &config, 3);
}

/// Redis without files, and workers with a preset.
fn workers(preset: &str, run: &str, count: u32) -> Option<(App, Redis, String)> {
    let redis = program("redis-server")?;
    let port = free_port();
    let url = format!("redis://127.0.0.1:{port}/0");
    let config = format!(
        "[process.redis]
         run = \"{redis} --port {port} --bind 127.0.0.1 --save '' --appendonly no\"
         ready = {{ log = \"Ready to accept connections\" }}
         [process.worker]
         preset = \"{preset}\"
         run = \"{}\"
         count = {count}
         after = [\"redis\"]
         update = {{ surge = \"100%\", bake = \"0s\" }}
         env = {{ REDIS_URL = \"{url}\", PYTHONPATH = \"@DIR@\" }}\n",
        run.replace("@URL@", &url)
    );
    let app = app(&config, &[]);
    let client = Redis::on(port);
    Some((app, client, url))
}

/// Puts tasks into the queue, rolls the workers so often while they are done, and checks that each was done once.
fn each_task_is_done_once(what: &str, app: &mut App, redis: &mut Redis, mut push: Command, tasks: usize, rolls: u32) {
    let start = Instant::now();
    let pushed = push.current_dir(app.path("")).output().expect("it can be started");
    assert!(pushed.status.success(), "{what}: {pushed:?}");
    // when: they are rolled while the tasks are under way
    let mut done = Vec::new();
    for number in 0..rolls {
        let share = tasks * (number as usize + 1) / (rolls as usize + 1);
        while done.len() < share {
            done.push(next_done(what, redis, app));
        }
        app.ok(&["restart", "worker"]);
    }
    eprintln!("{what}: {rolls} rolls and {} of {tasks} tasks after {:?}", done.len(), start.elapsed());
    while done.len() < tasks {
        done.push(next_done(what, redis, app));
    }
    eprintln!("{what}: {tasks} tasks after {:?}", start.elapsed());
    // then: each once, also when the last worker has ended
    app.ok(&["stop", "worker"]);
    assert_eq!(redis.ask(&["LLEN", "done"]), ["0"], "{what}: tasks were done twice");
    done.sort_unstable();
    assert_eq!(done, (0..tasks).collect::<Vec<_>>(), "{what}");
    for number in 0..tasks {
        assert_eq!(redis.ask(&["GET", &format!("begun:{number}")]), ["1"], "{what}: task {number} was begun again");
    }
    assert_eq!(app.stop(), Some(0), "{what}");
}

/// The number of the next task that is done.
fn next_done(what: &str, redis: &mut Redis, app: &App) -> usize {
    let seconds = DEADLINE.as_secs().to_string();
    let answer = redis.ask(&["BLPOP", "done", &seconds]);
    assert_eq!(answer.len(), 2, "{what}: no task is done any more\n{}", app.diagnosis());
    answer[1].parse().expect("a number")
}

#[test]
fn celery_does_each_task_once_while_its_workers_are_rolled() {
    let Some(celery) = venv("celery") else { return };
    // Prefork, as by default: TERM to more than the main process would lose tasks.
    let run = format!("{celery} -A celery_tasks worker -c 24 -l INFO");
    let Some((mut app, mut redis, url)) = workers("celery", &run, 2) else { return };
    let mut push = Command::new(venv("python").expect("a venv has one"));
    push.args(["push.py", "celery", "1000", "3"]).env("REDIS_URL", url);
    each_task_is_done_once("celery", &mut app, &mut redis, push, 1000, 10);
}

#[test]
fn rq_does_each_job_once_while_its_workers_are_rolled() {
    let Some(rq) = venv("rq") else { return };
    let run = format!("{rq} worker --url @URL@");
    let Some((mut app, mut redis, url)) = workers("rq", &run, 6) else { return };
    let mut push = Command::new(venv("python").expect("a venv has one"));
    push.args(["push.py", "rq", "1000", "0.3"]).env("REDIS_URL", url);
    each_task_is_done_once("rq", &mut app, &mut redis, push, 1000, 10);
}

#[test]
fn sidekiq_does_each_job_once_while_its_workers_are_rolled() {
    let Some(sidekiq) = program("sidekiq") else { return };
    let run = format!("{sidekiq} -r ./sidekiq_jobs.rb -c 20");
    let Some((mut app, mut redis, url)) = workers("sidekiq", &run, 2) else { return };
    let mut push = Command::new("ruby");
    push.args(["sidekiq_jobs.rb", "1000", "1"]).env("REDIS_URL", url);
    each_task_is_done_once("sidekiq", &mut app, &mut redis, push, 1000, 10);
}
