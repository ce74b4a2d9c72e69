//! Hours of churn leave the keeper as it was: its memory, its descriptors and its children. Seconds of it by default;
//! `SVD_TEST_SOAK` says how many.

mod common;

use common::{App, Load, change, eventually, free_port, instant_within, roll};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Leaves a process behind that its keeper has to reap, and ends.
const LITTERER: &str = "(setsid sh -c 'exit 3' &) ; (sh -c 'exit 4' &) ; exit 0";

/// The keeper at rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Sample {
    after: Duration,
    rounds: u32,
    descriptors: usize,
    /// Its own memory without the program's text, in KiB.
    anonymous: u64,
    resident: u64,
    manager_descriptors: usize,
}

/// Fault 31.
#[test]
fn churn_leaves_the_keeper_its_size_its_descriptors_and_no_zombie_and_drops_no_request() {
    let seconds: u64 = std::env::var("SVD_TEST_SOAK").map_or(15, |text| text.parse().expect("a number"));
    let soak = Duration::from_secs(seconds);
    let mut seed = std::env::var("SVD_TEST_SEED").map_or(20_261_125, |text| text.parse().expect("a number"));

    // given: a server with a load on it, a worker that is scaled, one that fails again and again, and a job that leaves
    // processes behind
    let port = free_port();
    let mut app = App::new("");
    configure(&app, port, 0);
    app.write("polite.py", include_str!("servers/polite.py"));
    let svd = app.path("svd");
    install(&svd);
    let usual = app.command();
    let mut command = Command::new(&svd);
    command.args(usual.get_args()).current_dir(app.path("")).stdin(Stdio::null());
    app.boot_with(command);
    app.wait("web", "ready");
    app.wait("worker", "ready");
    let keeper = app.keeper();
    let load = Load::on(port).clients(1, 1, 0).pause(Duration::from_millis(20)).expect("generation").start();

    // when: everything that users do, and what befalls them, again and again
    let began = Instant::now();
    let mut samples: Vec<Sample> = Vec::new();
    let mut rounds = 0;
    let mut counts = [0_u32; ACTIONS];
    while began.elapsed() < soak || samples.len() < 6 {
        // Each kind once in a round, in another order each time.
        let mut order: Vec<usize> = (0..ACTIONS).collect();
        for last in (1..ACTIONS).rev() {
            order.swap(last, random(&mut seed, last + 1));
        }
        for action in order {
            act(&app, action, rounds, port, &svd, began.elapsed() > soak / 2, &mut seed);
            counts[action] += 1;
        }
        rounds += 1;
        samples.push(sample(&app, keeper, began, rounds));
    }
    let tally = load.stop();

    // then: nobody noticed, and the keeper is as it was
    eprintln!("rounds  seconds  descriptors  anonymous KiB  resident KiB  descriptors of the manager");
    let step = samples.len().div_ceil(30);
    for sample in samples.iter().step_by(step).chain(samples.last()) {
        let Sample { after, rounds, descriptors, anonymous, resident, manager_descriptors } = sample;
        eprintln!(
            "{rounds:6}  {:7}  {descriptors:11}  {anonymous:13}  {resident:12}  {manager_descriptors}",
            after.as_secs()
        );
    }
    eprintln!("{rounds} rounds of {counts:?} in {:?}", began.elapsed());
    tally.assert_whole("the soak");
    let second =
        &samples[samples.iter().position(|sample| sample.after > soak / 2).unwrap_or(0).min(samples.len() / 2)..];
    let most = |part: &[Sample], what: fn(&Sample) -> u64| part.iter().map(what).max().unwrap_or(0);
    let (early, late) = (&second[..second.len().div_ceil(3)], &second[second.len() - second.len().div_ceil(3)..]);
    let descriptors = [early, late].map(|part| most(part, |sample| sample.descriptors as u64));
    assert_eq!(descriptors[0], descriptors[1], "the keeper's descriptors at rest");
    // One page of the allocator more or less says nothing.
    let memory = [early, late].map(|part| most(part, |sample| sample.anonymous));
    assert!(memory[1] <= memory[0] + 64, "the keeper's own memory grew from {} to {} KiB", memory[0], memory[1]);
    // Connections of clients that have just gone are among them.
    let least = |part: &[Sample]| part.iter().map(|sample| sample.manager_descriptors).min().unwrap_or(0);
    assert!(least(late) <= least(early) + 4, "the manager's descriptors grew from {} to {}", least(early), least(late));
    assert_eq!(app.stop(), Some(0));
}

const ACTIONS: usize = 8;

fn act(app: &App, action: usize, round: u32, port: u16, svd: &Path, half_over: bool, seed: &mut u64) {
    match action {
        0 => roll(app, "web"),
        1 => {
            let count = 1 + random(seed, 6);
            change(app, &["scale", &format!("worker={count}")], |status| {
                let all = status["processes"].as_array()?.iter().find(|one| one["name"] == "worker")?["instances"]
                    .as_array()?;
                (all.len() == count && all.iter().all(|one| one["state"] == "ready")).then_some(())
            });
        }
        2 => {
            // Another variable each time: the worker is replaced, the server is not touched.
            configure(app, port, round + 1);
            let reply = app.svctl(&["apply"]);
            assert_eq!(reply.code, Some(0), "{reply:?}");
        }
        3 | 4 => {
            // At a random instant; the one after it goes on with what was under way.
            let pid = app.until("the manager's pid", |status| status["svd"]["manager_pid"].as_i64());
            instant_within(Duration::from_millis(100), seed);
            let Some(manager) = i32::try_from(pid).ok().and_then(svd_sys::tree::read_proc) else { return };
            let _gone = svd_sys::tree::kill_verified(&manager, 9).unwrap();
        }
        5 => {
            let pids = common::ready_pids(app, "worker");
            let (_, pid) = &pids[random(seed, pids.len())];
            let Some(worker) = i32::try_from(*pid).ok().and_then(svd_sys::tree::read_proc) else { return };
            let _gone = svd_sys::tree::kill_verified(&worker, 9).unwrap();
        }
        6 => {
            let reply = app.svctl(&["run", "litter", "--wait"]);
            assert_eq!(reply.code, Some(0), "{reply:?}");
        }
        _ => {
            // A keeper that goes on as another program begins with fresh memory: what it loses shows in the second half, in which
            // only the manager is replaced.
            install(svd);
            let args: &[&str] = if half_over { &["upgrade", "--manager-only"] } else { &["upgrade"] };
            let reply = app.svctl(args);
            assert_eq!(reply.code, Some(0), "{reply:?}\n{}", app.diagnosis());
        }
    }
}

/// Waits until nothing is under way, and looks.
fn sample(app: &App, keeper: i32, began: Instant, rounds: u32) -> Sample {
    change(app, &["scale", "worker=2"], |status| {
        let rests = |name: &str, count: usize| {
            let all =
                status["processes"].as_array()?.iter().find(|one| one["name"] == name)?["instances"].as_array()?;
            (all.len() == count && all.iter().all(|one| one["state"] == "ready")).then_some(())
        };
        rests("web", 2).and(rests("worker", 2))
    });
    change(app, &["stop", "flapper"], |status| {
        let flapper = status["processes"].as_array()?.iter().find(|one| one["name"] == "flapper")?;
        flapper["instances"].as_array()?.iter().all(|one| one["state"] == "stopped").then_some(())
    });
    eventually("no zombie below the keeper", || common::zombies_below(keeper) == 0);
    // What was given up is forgotten in the background: the same count for half a second is rest.
    let (mut last, mut since) = (0, Instant::now());
    eventually("the keeper's descriptors to come to rest", || {
        let count = common::open_descriptors(keeper).len();
        if count != last {
            (last, since) = (count, Instant::now());
        }
        since.elapsed() > Duration::from_millis(500)
    });
    // Not by its program, which may be another file than the keeper's by now.
    let manager = app.until("the manager's pid", |status| status["svd"]["manager_pid"].as_i64());
    let kib = |name| common::status_field(keeper, name).trim_end_matches(" kB").parse().unwrap();
    let found = Sample {
        after: began.elapsed(),
        rounds,
        descriptors: last,
        anonymous: kib("RssAnon"),
        resident: kib("VmRSS"),
        manager_descriptors: common::open_descriptors(i32::try_from(manager).unwrap()).len(),
    };
    // It may have ended before it was ready.
    let reply = app.svctl(&["start", "flapper"]);
    assert!([Some(0), Some(1)].contains(&reply.code), "{reply:?}");
    found
}

fn configure(app: &App, port: u16, round: u32) {
    app.configure(&format!(
        "[defaults]
         logs = {{ segment = \"64K\", max_size = \"1M\" }}
         restart = {{ backoff = \"20ms..200ms\", limit = \"none\" }}
         [process.web]
         run = [\"@PY@\", \"-S\", \"polite.py\"]
         listen = \"127.0.0.1:{port}\"
         count = 2
         ready = {{ http = \"/healthz\", timeout = \"20s\" }}
         [process.worker]
         run = \"sleep 100000\"
         env = {{ ROUND = \"{round}\" }}
         [process.flapper]
         run = \"sh -c 'echo again; exit 7'\"
         [job.litter]
         run = [\"sh\", \"-c\", \"{LITTERER}\"]
"
    ));
}

/// As package managers do it: written beside and moved into place, by a process of its own, so that no child forked
/// meanwhile has it open for writing.
fn install(path: &Path) {
    let new = path.with_extension("new");
    assert!(Command::new("cp").arg(env!("CARGO_BIN_EXE_svd")).arg(&new).status().unwrap().success());
    std::fs::rename(&new, path).unwrap();
}

/// xorshift64, below `most`: any sequence will do, as long as it can be repeated.
fn random(seed: &mut u64, most: usize) -> usize {
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    (*seed >> 16) as usize % most
}
