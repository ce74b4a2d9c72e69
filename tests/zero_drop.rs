//! No request is refused, reset or dropped, and a generation that does not come up healthy never sees a user: with
//! Python programs that know nothing of svd, under load, while managers are killed all the time.

mod common;

use common::{App, Killer, Load, Reply, Running, change, free_port, ready_pids, roll};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

/// How often a manager is killed, on the average, while requests come.
const KILLS: Duration = Duration::from_millis(200);
/// How often a process is restarted under load.
const RESTARTS: u32 = 10;

/// The unmodified `python3 -m http.server`: it binds by itself, dies at TERM, and closes each connection.
fn http_server(port: u16) -> String {
    format!(
        "[process.web]
         run = [\"@PY@\", \"-m\", \"http.server\", \"{port}\"]
         listen = \"0.0.0.0:{port}\"
         env = {{ COLOUR = \"red\" }}
         stop = [\"TERM\", \"20s\", \"KILL\"]
         logs = {{ max_size = \"64M\" }}\n"
    )
}

/// A server with keep-alive connections that finishes its requests on TERM.
fn polite(port: u16, generation: &str) -> String {
    format!(
        "[process.web]
         run = [\"@PY@\", \"-S\", \"polite.py\"]
         listen = \"0.0.0.0:{port}\"
         env = {{ GENERATION = \"{generation}\" }}
         ready = {{ http = \"/healthz\", timeout = \"4s\" }}
         stop = [\"TERM\", \"20s\", \"KILL\"]\n"
    )
}

/// The same server, but TERM ends it in the middle of its requests.
fn rude(port: u16) -> String {
    polite(port, "one").replace("GENERATION =", "RUDE = \"yes\", GENERATION =")
}

/// An app with both servers' files, started with this config.
fn app(config: &str) -> App {
    let mut app = App::new(config);
    app.write("polite.py", include_str!("servers/polite.py"));
    app.write("index.html", "the page\n");
    app.boot();
    app.wait("web", "ready");
    app
}

fn page(port: u16) -> Running {
    Load::on(port).path("/index.html").expect("the page").start()
}

fn polite_load(port: u16) -> Running {
    Load::on(port).clients(2, 3, 2).expect("generation").start()
}

#[test]
fn restarts_of_an_unmodified_http_server_lose_no_request() {
    // given: the program that everybody has, and clients
    let port = free_port();
    let app = app(&http_server(port));
    let load = page(port);
    // when
    for _ in 0..RESTARTS {
        app.ok(&["restart", "web"]);
        load.more(10);
    }
    // then
    load.stop().assert_whole("ten restarts of http.server");
}

#[test]
fn restarts_lose_no_request_while_managers_are_killed() {
    // given
    let port = free_port();
    let app = app(&http_server(port));
    let load = page(port);
    let killer = Killer::of(&app, KILLS);
    // when
    for _ in 0..RESTARTS {
        roll(&app, "web");
        load.more(10);
    }
    let killed = killer.stop();
    // then
    load.stop().assert_whole(&format!("ten restarts of http.server and {killed} managers killed"));
    assert!(killed > RESTARTS, "only {killed} managers were killed");
}

/// The program binds by itself: its bind may come in the middle of an upgrade, and is then answered by the next manager.
#[test]
fn restarts_in_the_middle_of_upgrades_lose_no_request() {
    // given
    let port = free_port();
    let app = app(&http_server(port));
    let load = page(port);
    // when
    for _ in 0..RESTARTS {
        std::thread::scope(|scope| {
            let rolled = scope.spawn(|| roll(&app, "web"));
            app.ok(&["upgrade"]);
            rolled.join().unwrap();
        });
        load.more(10);
    }
    // then
    load.stop().assert_whole("ten restarts and ten upgrades of svd at once");
}

#[test]
fn requests_in_flight_and_kept_connections_survive_restarts() {
    // given: slow requests are under way nearly all the time
    let port = free_port();
    let app = app(&polite(port, "one"));
    let load = polite_load(port);
    let killer = Killer::of(&app, KILLS);
    // when
    for _ in 0..RESTARTS {
        roll(&app, "web");
        load.more(10);
    }
    let killed = killer.stop();
    // then: each generation has answered
    let tally = load.stop();
    tally.assert_whole(&format!("ten restarts with slow requests and {killed} managers killed"));
    assert!(tally.by.len() > RESTARTS as usize, "{tally}");
}

/// It cannot finish anything itself: svd waits until it is in the middle of nothing.
#[test]
fn requests_in_flight_survive_restarts_of_a_program_that_dies_at_term() {
    // given
    let port = free_port();
    let app = app(&rude(port));
    let load = polite_load(port);
    // when
    for _ in 0..3 {
        app.ok(&["restart", "web"]);
        load.more(10);
    }
    app.ok(&["scale", "web=3"]);
    load.more(10);
    app.ok(&["scale", "web=1"]);
    load.more(10);
    // then
    load.stop().assert_whole("restarts of a program that dies at TERM");
}

#[test]
fn who_is_being_answered_gets_the_answer_when_the_last_instance_goes() {
    for (what, config, command) in [
        ("polite", polite as fn(u16, &str) -> String, &["scale", "web=0"][..]),
        ("rude", |port, _| rude(port), &["scale", "web=0"]),
        ("drained", |port, _| rude(port), &["drain", "web"]),
    ] {
        // given: a request that is under way
        let port = free_port();
        let app = app(&config(port, "one"));
        let answer = std::thread::spawn(move || Load::on(port).clients(0, 0, 1).expect("generation").once());
        common::file_with(&app.path("met.fine"), |met| met.contains("/slow").then_some(()));
        // when
        app.ok(command);
        // then
        answer.join().unwrap().assert_whole(&format!("{what}: a request in flight"));
    }
}

#[test]
fn people_who_come_by_either_address_family_are_served_through_restarts() {
    if !std::path::Path::new("/proc/net/if_inet6").exists() {
        return common::skipped("no IPv6 here");
    }
    // given
    let port = free_port();
    let app = app(&polite(port, "one").replace("0.0.0.0:", "[::]:"));
    let four = polite_load(port);
    let six = Load::on(port).to(std::net::Ipv6Addr::LOCALHOST.into()).expect("generation").start();
    // when
    for _ in 0..3 {
        app.ok(&["restart", "web"]);
        four.more(10);
        six.more(10);
    }
    // then
    four.stop().assert_whole("IPv4");
    six.stop().assert_whole("IPv6");
}

#[test]
fn a_canary_gets_its_share_and_then_all() {
    // given
    let port = free_port();
    let config = |generation| polite(port, generation) + "update = { canary = [\"25% 3s\"] }\n";
    let app = app(&config("old"));
    let load = Load::on(port).clients(4, 0, 0).expect("generation").start();
    load.more(10);
    let of = |generation: &str| {
        let tally = load.tally();
        let some = tally.by.iter().filter(|(who, _)| who.starts_with(&format!("generation {generation},")));
        some.map(|(_, count)| count).sum::<u64>()
    };
    // when
    app.configure(&config("new"));
    std::thread::scope(|scope| {
        scope.spawn(|| app.ok(&["apply"]));
        load.until("the canary", |tally| tally.by.keys().any(|who| who.starts_with("generation new")));
        let before = (of("old"), of("new"));
        load.more(100);
        let (old, new) = (of("old") - before.0, of("new") - before.1);
        // then: 400 answers or more, in a second or two; chance alone stays far from these bounds
        let share = new as f64 / (old + new) as f64;
        eprintln!("{new} of {} to the canary", old + new);
        assert!((0.12..0.40).contains(&share), "{new} of {}", old + new);
    });
    // and: all
    let old = of("old");
    load.more(10);
    assert!(of("old") - old <= 4, "the old one still gets new connections");
    load.stop().assert_whole("a canary");
}

#[test]
fn scaling_up_and_down_loses_no_request() {
    for (name, config) in [("http.server", http_server as fn(u16) -> String), ("polite", |port| polite(port, "one"))] {
        // given
        let port = free_port();
        let app = app(&config(port));
        let load = if name == "polite" { polite_load(port) } else { page(port) };
        let killer = Killer::of(&app, KILLS);
        // when
        for count in [5, 1, 3, 1] {
            change(&app, &["scale", &format!("web={count}")], |status| {
                let web = &status["processes"][0];
                let all = web["instances"].as_array()?.iter().filter(|one| one["state"] == "ready").count();
                (web["want"] == count && all == count && web["instances"].as_array()?.len() == count).then_some(())
            });
            load.more(10);
        }
        let killed = killer.stop();
        // then
        load.stop().assert_whole(&format!("scaling {name} and {killed} managers killed"));
    }
}

#[test]
fn applying_a_changed_environment_loses_no_request() {
    // given
    let port = free_port();
    let app = app(&polite(port, "0"));
    let load = polite_load(port);
    let killer = Killer::of(&app, KILLS);
    // when
    for generation in 1..=5 {
        let before = ready_pids(&app, "web");
        app.configure(&polite(port, &generation.to_string()));
        change(&app, &["apply"], |status| {
            let one = &status["processes"][0]["instances"];
            let new = one[0]["state"] == "ready" && one[0]["pid"].as_i64()? != before[0].1;
            (new && one.as_array()?.len() == 1).then_some(())
        });
        load.until("an answer of the new generation", |tally| {
            tally.by.keys().any(|who| who.starts_with(&format!("generation {generation},")))
        });
    }
    let killed = killer.stop();
    // then
    load.stop().assert_whole(&format!("five changed environments and {killed} managers killed"));
}

#[test]
fn a_plain_procfile_needs_no_config_for_restarts_and_scaling_that_lose_nothing() {
    // given: foreman's Procfile and nothing else
    let port = free_port();
    let mut app = App::new("");
    std::fs::remove_file(app.path("Procfile.toml")).unwrap();
    app.write("Procfile", "web: @PY@ -m http.server $PORT\n");
    app.write("index.html", "the page\n");
    let mut command = app.command();
    command.env("PORT", port.to_string());
    app.boot_with(command);
    app.wait("web", "ready");
    let load = page(port);
    // when
    for _ in 0..3 {
        app.ok(&["restart", "web"]);
        load.more(10);
    }
    app.ok(&["scale", "web=3"]);
    load.more(10);
    app.ok(&["restart", "web"]);
    load.more(10);
    app.ok(&["scale", "web=1"]);
    load.more(10);
    // then
    load.stop().assert_whole("restarts and scaling of a plain Procfile");
}

#[test]
fn a_generation_that_does_not_come_up_never_meets_a_user_and_the_old_one_serves_on() {
    for (mode, why) in [("exits", "3"), ("silent", ""), ("broken", "500"), ("hangs", "")] {
        // given
        let port = free_port();
        let app = app(&polite(port, "good"));
        let before = ready_pids(&app, "web");
        let load = polite_load(port);
        // when: what is started next does not work
        app.write("mode", mode);
        let start = Instant::now();
        let reply = app.svctl(&["restart", "web"]);
        // then: it is told so, in the time that readiness has and the starts that are tried, no longer
        eprintln!("{mode}: {:?} after {:?}\n{}{}", reply.code, start.elapsed(), reply.out, reply.err);
        assert_eq!(reply.code, Some(4), "{mode}: {reply:?}\n{}", app.diagnosis());
        assert!(start.elapsed() < Duration::from_secs(30), "{mode}: {:?}", start.elapsed());
        // and: the old one serves on, and no user has met the other
        load.more(10);
        load.stop().assert_whole(&format!("a generation that {mode}"));
        assert_eq!(app.read(&format!("met.{mode}")), "", "{mode}: requests reached it");
        assert_eq!(ready_pids(&app, "web"), before, "{mode}");
        // and: why tells what was seen
        let told = app.ok(&["why", "web"]);
        assert!(told.contains(why), "{mode}: {told}");
        // and: the next one that works is taken
        app.write("mode", "fine");
        app.ok(&["restart", "web"]);
        assert_ne!(ready_pids(&app, "web"), before, "{mode}");
    }
}

#[test]
fn a_bad_environment_is_not_applied_and_costs_no_request() {
    // given
    let port = free_port();
    let app = app(&polite(port, "good"));
    let before = ready_pids(&app, "web");
    let load = polite_load(port);
    let killer = Killer::of(&app, KILLS);
    // when: the new environment makes the program fail, while managers are killed
    app.write("mode", "broken");
    app.configure(&polite(port, "bad"));
    let reply = app.svctl(&["apply"]);
    killer.stop();
    app.until("only the old one to be left", |status| {
        let all = status["processes"][0]["instances"].as_array()?;
        (all.len() == 1 && all[0]["state"] == "ready" && all[0]["pid"].as_i64() == Some(before[0].1)).then_some(())
    });
    eprintln!("{reply:?}");
    // then
    load.more(10);
    let tally = load.stop();
    tally.assert_whole("a bad environment");
    assert!(tally.by.keys().all(|who| who.starts_with("generation good")), "{tally}");
    assert_eq!(app.read("met.broken"), "");
}

#[test]
fn a_server_that_fails_its_health_check_is_replaced_without_a_lost_request() {
    // given: two instances
    let port = free_port();
    let config = polite(port, "one")
        + "count = 2\nhealth = { http = \"/healthz\", every = \"200ms\", timeout = \"1s\", failures = 3 }\n";
    let app = app(&config);
    let before = ready_pids(&app, "web");
    let load = polite_load(port);
    // when: their health goes, and only that of these two
    for (_, pid) in &before {
        app.write(&format!("sick.{pid}"), "");
    }
    app.until("both to be replaced", |status| {
        let all = status["processes"][0]["instances"].as_array()?;
        let new = |one: &serde_json::Value| before.iter().all(|(_, old)| one["pid"].as_i64() != Some(*old));
        (all.len() == 2 && all.iter().all(|one| one["state"] == "ready" && new(one))).then_some(())
    });
    // then
    load.more(10);
    load.stop().assert_whole("two sick servers");
}

#[test]
fn connections_wait_while_a_server_that_crashed_is_started_again() {
    // given
    let port = free_port();
    let app = app(&(polite(port, "one") + "restart = { backoff = \"300ms..300ms\" }\n"));
    let pid = app.pid("web.1");
    let old = svd_sys::pidfd::open(pid).unwrap();
    // when: it is killed, and clients come before the next one is there
    svd_sys::pidfd::send_signal(old.as_fd(), 9).unwrap();
    assert!(common::wait_ended(old.as_fd(), common::DEADLINE));
    let load = Load::on(port).clients(5, 0, 0).expect("generation").start();
    // then: all are answered by the next one
    load.more(3);
    let tally = load.stop();
    tally.assert_whole("clients of a server that crashed");
    assert_ne!(app.pid("web.1"), pid);
}

#[test]
fn a_web_process_can_be_stopped_and_its_clients_are_then_refused_or_wait() {
    // given
    let port = free_port();
    let app = app(&polite(port, "one"));
    let load = polite_load(port);
    load.stop().assert_whole("before the stop");
    // when: it is stopped for good and started again
    app.ok(&["stop", "web"]);
    app.ok(&["start", "web"]);
    app.wait("web", "ready");
    // then
    polite_load(port).stop().assert_whole("after the start");
    let reply: Reply = app.svctl(&["status"]);
    assert!(reply.out.contains(&port.to_string()), "status shows the listener: {}", reply.out);
}
