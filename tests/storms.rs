//! Many at once: crashes, starts, and configs that cannot work.

mod common;

use common::App;
use serde_json::Value;
use std::collections::HashMap;

/// Fifty services that end at once must neither fork without end nor eat the machine.
/// Fault 37.
#[test]
fn fifty_crashing_services_are_given_up_at_their_limit_and_then_cost_nothing() {
    // given
    let app = App::start(
        "[defaults]\nrestart = { backoff = \"50ms..200ms\", limit = \"4 in 1m\" }\nlogs = \"none\"
         [process.crasher]\nrun = [\"false\"]\ncount = 50",
    );
    // when
    app.until("all to be given up", |status| {
        let instances = status["processes"][0]["instances"].as_array()?;
        instances.iter().all(|instance| instance["state"] == "failed").then_some(())
    });
    // then: each was started 1 + 4 times, and says why it is no longer
    let events = app.events();
    let mut starts: HashMap<&str, usize> = HashMap::new();
    for event in &events {
        if event["kind"] == "instance.started" {
            *starts.entry(event["instance"].as_str().unwrap()).or_default() += 1;
        }
    }
    assert_eq!(starts.len(), 50);
    assert!(starts.values().all(|count| *count == 5), "{starts:?}");
    assert_eq!(events.iter().filter(|event| event["kind"] == "instance.failed").count(), 50);
    let instance = app.instance("crasher.7");
    assert!(instance["reason"].as_str().unwrap().contains("4 restarts"), "{instance:#}");
    assert_eq!(instance["exit"]["code"], 1);
    // and: nothing is woken up any more
    let manager = i32::try_from(app.status()["svd"]["manager_pid"].as_i64().unwrap()).unwrap();
    let before = (cpu_ticks(manager), cpu_ticks(app.keeper()));
    let bystander = svd_sys::pidfd::open(app.keeper()).unwrap();
    assert!(!common::wait_ended(std::os::fd::AsFd::as_fd(&bystander), std::time::Duration::from_millis(500)));
    let after = (cpu_ticks(manager), cpu_ticks(app.keeper()));
    assert!(after.0 - before.0 <= 5 && after.1 - before.1 <= 5, "{before:?} {after:?}");
    // and: a start by hand begins anew
    app.svctl(&["start", "crasher.7"]);
    app.until("a second failure", |_| {
        let failed = app.events_of("crasher.7").iter().filter(|event| event["kind"] == "instance.failed").count();
        (failed == 2).then_some(())
    });
}

/// User and system time of a process, in hundredths of a second.
fn cpu_ticks(pid: i32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_ascii_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

/// Two hundred at once, in layers.
/// Fault 38.
#[test]
fn two_hundred_services_start_in_the_order_that_they_ask_for() {
    // given: five layers of forty, each behind the one below it
    let mut config = String::from("[defaults]\nlogs = \"none\"\n");
    for layer in 0..5 {
        for n in 0..20 {
            config += &format!("[process.l{layer}p{n}]\nrun = [\"sleep\", \"1000\"]\ncount = 2\n");
            if layer > 0 {
                config += &format!("after = [\"l{}p{n}\", \"l{}p{}\"]\n", layer - 1, layer - 1, (n + 1) % 20);
            }
        }
    }
    let mut app = App::start(&config);
    // when
    app.wait("all", "ready");
    // then: nobody was started before what it comes after was ready
    let events = app.events();
    let mut ready: HashMap<String, usize> = HashMap::new();
    let mut started = 0;
    for event in &events {
        let name = event["process"].as_str().unwrap_or("");
        match event["kind"].as_str().unwrap() {
            "instance.ready" => *ready.entry(name.to_owned()).or_default() += 1,
            "instance.starting" => {
                started += 1;
                let (layer, n) = name[1..]
                    .split_once('p')
                    .map(|(l, n)| (l.parse::<u32>().unwrap(), n.parse::<u32>().unwrap()))
                    .unwrap();
                for below in [n, (n + 1) % 20] {
                    if layer > 0 {
                        let before = format!("l{}p{below}", layer - 1);
                        assert_eq!(ready.get(&before), Some(&2), "{name} was started before {before} was ready");
                    }
                }
            }
            _ => {}
        }
    }
    assert_eq!(started, 200);
    // and: they stop the other way round
    assert_eq!(app.stop(), Some(0));
    app.boot();
    let events = app.events();
    let stopped: Vec<&str> = events
        .iter()
        .filter(|event| event["kind"] == "instance.stopped")
        .map(|event| event["process"].as_str().unwrap())
        .collect();
    let layers: Vec<&str> = stopped.iter().map(|name| &name[..2]).collect();
    assert_eq!(layers.len(), 200);
    for n in 0..20 {
        let of = |layer: usize| stopped.iter().rposition(|name| *name == format!("l{layer}p{n}")).unwrap();
        assert!((1..5).all(|layer| of(layer) < of(layer - 1)), "{n}");
    }
}

/// A config that cannot work is refused as a whole; what runs is not touched.
/// Fault 39.
#[test]
fn a_cycle_or_a_missing_dependency_is_refused_and_what_runs_stays_as_it_is() {
    let good = "[process]\na.run = [\"sleep\", \"1000\"]\n[process.b]\nrun = [\"sleep\", \"1000\"]\nafter = [\"a\"]\n";
    let app = App::start(good);
    app.wait("all", "ready");
    let before = picture(&app.status());
    let bad = [
        (
            "[process.a]\nrun = \"sleep 1\"\nafter = [\"b\"]\n[process.b]\nrun = \"sleep 1\"\nafter = [\"a\"]\n",
            "wait for each other",
        ),
        ("[process.a]\nrun = \"sleep 1\"\nafter = [\"a\"]\n", "a"),
        ("[process.a]\nrun = \"sleep 1\"\nafter = [\"c\"]\n", "c"),
    ];
    for (config, word) in bad {
        // when
        app.configure(config);
        let reply = app.svctl(&["apply"]);
        // then
        assert_eq!(reply.code, Some(3), "{reply:?}");
        assert!(reply.err.contains("Procfile.toml:") && reply.err.contains(word), "{reply:?}");
        assert_eq!(picture(&app.status()), before);
    }
    // and: it would not have started with it either
    let reply = common::Reply::of(app.command());
    assert_eq!(reply.code, Some(2), "{reply:?}");
}

/// What must not change: who runs, as what.
fn picture(status: &Value) -> Vec<String> {
    let processes = status["processes"].as_array().unwrap();
    let instances = processes.iter().flat_map(|process| process["instances"].as_array().unwrap());
    instances.map(|i| format!("{} {} {} {}", i["id"], i["pid"], i["state"], i["since"])).collect()
}
