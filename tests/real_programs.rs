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
    ("rq_worker.py", include_str!("servers/rq_worker.py")),
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

/// Restarts, scales and applies under load, with managers killed all the while, and upgrades svd; then stops all. Nothing may fail, and
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
    // svd becomes another build, here the same one again: the keeper goes on as the new program, in the same process.
    let before = ready_pids(&app, "web");
    for _ in 0..3 {
        app.ok(&["upgrade"]);
        load.more(10);
    }
    assert_eq!(ready_pids(&app, "web"), before, "{what}: an upgrade restarts nothing");
    let tally = load.stop();
    tally.assert_whole(&format!("{what} with {killed} managers killed and three upgrades"));
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
    for (options, handoff) in [("", "auto"), ("reuseport", "auto"), ("", "env:NGINX")] {
        let port = free_port();
        let config = web("nginx", &format!("{nginx} -e stderr -p @DIR@ -c nginx.conf"), &format!("0.0.0.0:{port}"));
        let config = format!("{config}handoff = \"{handoff}\"\n");
        let conf = include_str!("servers/nginx.conf");
        let conf = conf.replace("@PORT@", &port.to_string()).replace("@OPTIONS@", options);
        let slow = "generation ?\n".repeat(8 * 1024 / 13);
        let app = app(&config, &[("nginx.conf", conf), ("slow", slow)]);
        put_through_its_paces(&format!("nginx {options} {handoff}"), app, load(port), &config, 10);
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
        let config =
            web("puma", &run, &format!("0.0.0.0:{port}")) + "ready = { listening = true, timeout = \"10s\" }\n";
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

/// What was found in Redis when all tasks were to be done.
#[derive(Debug, Default)]
struct Found {
    /// Tasks that were never done.
    lost: Vec<usize>,
    /// Tasks that were done, or begun, more than once.
    again: Vec<usize>,
}

/// Puts tasks into the queue, rolls the workers so often while they are done, waits until all are done, stops all, and says
/// what was not done exactly once.
fn roll_workers(what: &str, mut app: App, redis: &mut Redis, mut push: Command, tasks: usize, rolls: u32) -> Found {
    let start = Instant::now();
    let pushed = push.current_dir(app.path("")).output().expect("it can be started");
    assert!(pushed.status.success(), "{what}: {pushed:?}");
    // when: they are rolled while the tasks are under way
    let mut done = vec![0; tasks];
    let mut count = 0;
    for number in 0..rolls {
        let share = tasks * (number as usize + 1) / (rolls as usize + 1);
        while count < share && next_done(redis, &mut done) {
            count += 1;
        }
        app.ok(&["restart", "worker"]);
    }
    eprintln!("{what}: {rolls} rolls, {count} of {tasks} tasks were seen to be done after {:?}", start.elapsed());
    while done.contains(&0) && next_done(redis, &mut done) {}
    eprintln!("{what}: {} tasks after {:?}", done.iter().filter(|times| **times > 0).count(), start.elapsed());
    // then: those that the last workers have done as well
    app.ok(&["stop", "worker"]);
    while redis.ask(&["LLEN", "done"]) != ["0"] {
        next_done(redis, &mut done);
    }
    let mut begun = |number: usize| -> u32 {
        redis.ask(&["GET", &format!("begun:{number}")]).first().map_or(0, |text| text.parse().expect("a number"))
    };
    let found = Found {
        lost: (0..tasks).filter(|number| done[*number] == 0).collect(),
        again: (0..tasks).filter(|number| done[*number] > 1 || begun(*number) > 1).collect(),
    };
    eprintln!("{what}: {found:?}");
    assert_eq!(app.stop(), Some(0), "{what}");
    found
}

/// Waits for the next task that is done and counts it; false when none is for a while.
fn next_done(redis: &mut Redis, done: &mut [u32]) -> bool {
    let seconds = DEADLINE.as_secs().to_string();
    let answer = redis.ask(&["BLPOP", "done", &seconds]);
    let Some(number) = answer.get(1) else { return false };
    done[number.parse::<usize>().expect("a number")] += 1;
    true
}

impl Found {
    /// Each task was done once.
    fn assert_none(&self, what: &str) {
        assert!(self.lost.is_empty() && self.again.is_empty(), "{what}: {self:?}");
    }
}

/// In threads, because Celery's processes have a gap of their own; see the next test.
#[test]
fn celery_does_each_task_once_while_its_workers_are_rolled() {
    let Some(celery) = venv("celery") else { return };
    let run = format!("{celery} -A celery_tasks worker -P threads -c 24 -l INFO");
    let Some((app, mut redis, url)) = workers("celery", &run, 2) else { return };
    let mut push = Command::new(venv("python").expect("a venv has one"));
    push.args(["push.py", "celery", "1000", "3"]).env("REDIS_URL", url);
    roll_workers("celery", app, &mut redis, push, 1000, 10).assert_none("celery");
}

/// As by default: TERM to more than the main process would lose tasks. A task that is just being given to a process when
/// TERM comes is done, and put back into the queue by Celery nevertheless: without svd one of 1,000 was done twice in 20
/// such ends.
#[test]
fn celery_in_processes_loses_no_task_while_its_workers_are_rolled() {
    let Some(celery) = venv("celery") else { return };
    let run = format!("{celery} -A celery_tasks worker -c 12 -l INFO");
    let Some((app, mut redis, url)) = workers("celery", &run, 2) else { return };
    let mut push = Command::new(venv("python").expect("a venv has one"));
    push.args(["push.py", "celery", "300", "2"]).env("REDIS_URL", url);
    let found = roll_workers("celery in processes", app, &mut redis, push, 300, 4);
    assert!(found.lost.is_empty() && found.again.len() <= 4, "celery: {found:?}");
}

/// With a worker that does not lose the job that it has taken and not begun yet when TERM comes, as RQ's own does: without
/// svd two of 1,000 in 60 such ends.
#[test]
fn rq_does_each_job_once_while_its_workers_are_rolled() {
    let Some(rq) = venv("rq") else { return };
    let run = format!("{rq} worker -w rq_worker.Worker --url @URL@");
    let Some((app, mut redis, url)) = workers("rq", &run, 6) else { return };
    let mut push = Command::new(venv("python").expect("a venv has one"));
    push.args(["push.py", "rq", "1000", "0.3"]).env("REDIS_URL", url);
    roll_workers("rq", app, &mut redis, push, 1000, 10).assert_none("rq");
}

#[test]
fn sidekiq_does_each_job_once_while_its_workers_are_rolled() {
    let Some(sidekiq) = program("sidekiq") else { return };
    let run = format!("{sidekiq} -r ./sidekiq_jobs.rb -c 20");
    let Some((app, mut redis, url)) = workers("sidekiq", &run, 2) else { return };
    let mut push = Command::new("ruby");
    push.args(["sidekiq_jobs.rb", "1000", "1"]).env("REDIS_URL", url);
    roll_workers("sidekiq", app, &mut redis, push, 1000, 10).assert_none("sidekiq");
}
