//! Jobs: scenarios, and random histories in which managers are killed after any action.

#[path = "../../config/tests/schedule_walk/mod.rs"]
#[allow(dead_code)]
mod schedule_walk;
#[path = "jobs/world.rs"]
mod world;

use std::collections::BTreeMap;
use std::time::Duration;

use fastrand::Rng;
use jiff::Timestamp;
use svd_core::{ExitStatus, JobCommand, Outcome, Phase, Run, RunId, RunResult, Waits, Wall};
use world::{World, at, ends, zone};

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// A config of one job that runs every ten seconds.
fn every_ten(keys: &str) -> String {
    format!("[job.report]\nrun = \"x\"\nschedule = \"every 10s\"\n{keys}\n")
}

#[test]
fn a_job_runs_at_its_instants_and_not_before() {
    // given
    let mut world = World::new("[job.report]\nrun = \"x\"\nschedule = \"*/15 * * * *\"\n", "2026-11-25T11:59:30Z");
    // when
    world.run_for(secs(1900));
    // then
    assert_eq!(world.starts("report"), "12:00:00 12:15:00 12:30:00");
    assert_eq!(world.results("report"), "succeeded succeeded succeeded");
}

#[test]
fn a_run_that_is_due_while_another_is_in_progress_is_skipped_and_history_says_why() {
    let mut world = World::new(&every_ten(""), "2026-11-25T12:00:01Z");
    world.scripts.insert("report".into(), [ends(15, 0)].into());
    world.run_for(secs(35));
    assert_eq!(world.results("report"), "succeeded skipped succeeded");
    assert_eq!(world.runs[&RunId(2)].why, "run 1 is in progress");
}

#[test]
fn with_queue_one_waits_and_a_further_one_is_skipped() {
    let mut world = World::new(&every_ten("overlap = \"queue\""), "2026-11-25T12:00:01Z");
    world.scripts.insert("report".into(), [ends(35, 0), ends(30, 0)].into());
    world.run_for(secs(46));
    assert_eq!(world.results("report"), "succeeded running skipped skipped");
    assert_eq!(world.starts("report"), "12:00:10 12:00:45");
}

#[test]
fn with_replace_the_one_in_progress_is_stopped_and_the_later_one_begins_when_nothing_is_left_of_it() {
    let mut world = World::new(&every_ten("overlap = \"replace\""), "2026-11-25T12:00:01Z");
    let stubborn = world::Script { stubborn: true, ..ends(100, 0) };
    world.scripts.insert("report".into(), [ends(100, 0), stubborn].into());
    world.run_for(secs(32));
    // The second one does not end at TERM and is killed after ten seconds; meanwhile the third one has taken the fourth's place.
    assert_eq!(world.starts("report"), "12:00:10 12:00:20");
    world.run_for(secs(10));
    assert_eq!(world.results("report").split(' ').take(2).collect::<Vec<_>>(), ["replaced", "replaced"]);
    assert_eq!(world.runs[&RunId(2)].exit, Some(ExitStatus::Signal { signal: 9, core: false }));
}

#[test]
fn with_allow_runs_go_on_beside_each_other() {
    let mut world = World::new(&every_ten("overlap = \"allow\""), "2026-11-25T12:00:01Z");
    world.scripts.insert("report".into(), [ends(25, 0), ends(25, 0)].into());
    world.run_for(secs(40));
    assert_eq!(world.starts("report"), "12:00:10 12:00:20 12:00:30 12:00:40");
}

#[test]
fn of_jobs_with_one_lock_only_one_run_is_in_progress_and_each_says_what_becomes_of_its_own() {
    let mut world = World::new(
        "[job.a]\nrun = \"x\"\nlock = \"db\"\n[job.b]\nrun = \"x\"\nlock = \"db\"\noverlap = \"queue\"\n\
         [job.c]\nrun = \"x\"\nlock = \"db\"\n[job.d]\nrun = \"x\"\nlock = \"db\"\noverlap = \"replace\"\n",
        "2026-11-25T12:00:00Z",
    );
    world.scripts.insert("a".into(), [ends(100, 0)].into());
    world.run_now(1, "a", Waits::ForBegin);
    world.run_now(2, "b", Waits::ForBegin);
    world.run_now(3, "c", Waits::ForBegin);
    assert_eq!((world.results("a"), world.results("b")), ("running".into(), "queued".into()));
    let refused = Outcome::Refused("c does not run beside another: run 1 of a has the lock db".to_owned());
    assert_eq!(world.outcomes[&svd_core::OpId(3)], refused);
    world.run_now(4, "d", Waits::ForBegin);
    world.run_for(secs(5));
    assert_eq!(world.results("a"), "replaced");
    assert_eq!((world.results("b"), world.results("d")), ("succeeded".into(), "succeeded".into()));
}

#[test]
fn a_failed_run_is_tried_again_with_growing_pauses_and_counts_as_one() {
    let keys = "retry = { attempts = 2, backoff = \"10s..1m\" }";
    let mut world = World::new(&format!("[job.report]\nrun = \"x\"\n{keys}\n"), "2026-11-25T12:00:00Z");
    world.scripts.insert("report".into(), [ends(0, 3), ends(0, 3), ends(0, 0)].into());
    world.run_now(1, "report", Waits::ForEnd);
    world.run_for(secs(60));
    assert_eq!((world.results("report").as_str(), world.runs[&RunId(1)].attempts), ("succeeded", 3));
    assert_eq!(world.ran[&svd_core::OpId(1)].phase, Phase::Ended(RunResult::Succeeded));
    let pauses: Vec<_> = world.started.windows(2).map(|pair| pair[1].2.since(pair[0].2).as_secs()).collect();
    assert!((10..=13).contains(&pauses[0]) && (20..=25).contains(&pauses[1]), "{pauses:?}");
    // and: attempts come to an end
    world.scripts.insert("report".into(), [ends(0, 3), ends(0, 3), ends(0, 4)].into());
    world.run_now(2, "report", Waits::ForEnd);
    world.run_for(secs(60));
    let run = &world.ran[&svd_core::OpId(2)];
    assert_eq!((run.phase, run.exit), (Phase::Ended(RunResult::Failed), Some(ExitStatus::Code(4))));
}

#[test]
fn attempts_never_delay_the_schedule() {
    let keys = "overlap = \"allow\"\nretry = { attempts = 5, backoff = \"4s\" }";
    let mut world = World::new(&every_ten(keys), "2026-11-25T12:00:01Z");
    world.scripts.insert("report".into(), [ends(0, 1), ends(0, 1), ends(0, 1), ends(0, 1)].into());
    world.run_for(secs(30));
    let scheduled: Vec<_> = world.started.iter().filter(|(_, attempt, _)| *attempt == 1).map(|s| s.2).collect();
    assert_eq!(scheduled, ["2026-11-25T12:00:10Z", "2026-11-25T12:00:20Z", "2026-11-25T12:00:30Z"].map(at));
}

#[test]
fn a_run_that_takes_too_long_goes_down_its_ladder_and_has_timed_out() {
    let mut world = World::new("[job.report]\nrun = \"x\"\ntimeout = \"5s\"\n", "2026-11-25T12:00:00Z");
    world.scripts.insert("report".into(), [world::Script { stubborn: true, ..ends(100, 0) }].into());
    world.run_now(1, "report", Waits::ForEnd);
    world.run_for(secs(14));
    assert_eq!(world.results("report"), "running");
    // when its manager is replaced in the middle of the ladder
    world.kill();
    world.run_for(secs(2));
    assert_eq!(world.results("report"), "timed-out");
    let run = &world.runs[&RunId(1)];
    assert_eq!(run.ended.unwrap().since(run.started.unwrap()), secs(15));
}

#[test]
fn what_svd_was_not_there_for_is_missed_and_caught_up_as_the_job_says() {
    let cases = [("skip", "succeeded missed", ""), ("once", "succeeded missed succeeded", ""), ("all", "", "all")];
    for (mode, results, all) in cases {
        // given a job that has run once
        let keys = format!("catch_up = \"{mode}\"");
        let text = format!("[job.report]\nrun = \"x\"\nschedule = \"0 * * * *\"\n{keys}\n");
        let mut world = World::new(&text, "2026-11-25T11:59:59Z");
        world.run_for(secs(60));
        // when svd is away for five hours and a bit
        world.power_cut(secs(5 * 3600 + 600));
        world.run_for(secs(60));
        // then
        match all {
            "" => assert_eq!(world.results("report"), results, "{mode}"),
            _ => assert_eq!(world.results("report"), "succeeded ".repeat(6).trim()),
        }
        let missed: u32 =
            world.runs.values().filter(|r| r.phase == Phase::Ended(RunResult::Missed)).map(|r| r.count).sum();
        assert_eq!(
            missed,
            match mode {
                "skip" => 5,
                "once" => 4,
                _ => 0,
            }
        );
        assert_eq!(world.core.job("report").unwrap().missed, u64::from(missed));
    }
}

#[test]
fn only_what_was_missed_within_its_time_is_caught_up_and_only_the_last_ones() {
    let keys = "catch_up = { mode = \"all\", within = \"3h\", max = 2 }";
    let text = format!("[job.report]\nrun = \"x\"\nschedule = \"0 * * * *\"\n{keys}\n");
    let mut world = World::new(&text, "2026-11-25T11:59:59Z");
    world.run_for(secs(60));
    world.power_cut(secs(6 * 3600 + 600));
    world.run_for(secs(60));
    let scheduled: Vec<_> = world.runs.values().filter(|run| run.attempts > 0).map(|run| run.scheduled).collect();
    assert_eq!(scheduled, ["12:00:00", "17:00:00", "18:00:00"].map(|t| Some(at(&format!("2026-11-25T{t}Z")))));
}

#[test]
fn a_year_without_svd_costs_no_time_to_count() {
    let mut world = World::new(&every_ten("catch_up = \"once\""), "2026-11-25T12:00:01Z");
    world.run_for(secs(30));
    world.power_cut(secs(365 * 86_400));
    world.run_for(secs(1));
    let missed = world.runs.values().find(|run| run.phase == Phase::Ended(RunResult::Missed)).unwrap();
    assert!(missed.why.starts_with("more than "), "{}", missed.why);
    assert!(world.results("report").starts_with("missed succeeded"), "{}", world.results("report"));
}

/// Fault 34.
#[test]
fn a_clock_put_back_runs_nothing_again() {
    let mut world = World::new(&every_ten(""), "2026-11-25T12:00:01Z");
    world.run_for(secs(30));
    assert_eq!(world.started.len(), 3);
    // when
    world.set_clock(-25);
    world.run_for(secs(24));
    // then
    assert_eq!(world.started.len(), 3);
    world.run_for(secs(10));
    assert_eq!(world.runs.values().last().unwrap().scheduled, Some(at("2026-11-25T12:00:40Z")));
}

/// Fault 34.
#[test]
fn a_clock_that_was_years_ahead_for_a_moment_silences_no_job_and_runs_nothing_twice() {
    for catch_up in ["skip", "once", "all"] {
        let mut world = World::new(&every_ten(&format!("catch_up = \"{catch_up}\"")), "2026-11-25T12:00:01Z");
        world.run_for(secs(30));
        let before = world.started.len();
        world.set_clock(10 * 365 * 86_400);
        world.run_for(secs(25));
        world.set_clock(-10 * 365 * 86_400);
        let ahead = world.started.len();
        world.run_for(secs(30));
        assert!(world.started.len() >= ahead + 3 && ahead > before, "{catch_up}");
        check_no_instant_twice(&world);
    }
}

#[test]
fn a_paused_job_runs_by_hand_only_and_what_came_meanwhile_is_not_missed() {
    let mut world = World::new(&every_ten("catch_up = \"all\""), "2026-11-25T12:00:01Z");
    world.command(1, JobCommand::Pause(vec!["report".into()]));
    world.run_for(secs(120));
    assert_eq!((world.started.len(), world.core.next_wall()), (0, None));
    world.run_now(2, "report", Waits::ForEnd);
    // and over a new start of svd
    world.power_cut(secs(60));
    world.run_for(secs(60));
    world.command(3, JobCommand::Resume(vec!["report".into()]));
    world.run_for(secs(12));
    assert_eq!(world.results("report"), "unknown succeeded");
}

#[test]
fn reboot_runs_once_for_each_start_of_svd_whatever_happens_to_managers() {
    let text = "[job.boot]\nrun = \"x\"\nschedule = \"@reboot\"\n";
    let mut world = World::new(text, "2026-11-25T12:00:00Z");
    world.run_for(secs(5));
    world.kill();
    world.run_for(secs(5));
    assert_eq!(world.started.len(), 1);
    world.power_cut(secs(60));
    world.run_for(secs(5));
    assert_eq!(world.started.len(), 2);
    // and one that an apply adds waits for the next start
    world.apply(&format!("{text}[job.more]\nrun = \"x\"\nschedule = \"@reboot\"\n"));
    world.run_for(secs(5));
    assert_eq!(world.started.len(), 2);
}

/// Fault 44.
#[test]
fn what_was_in_progress_when_svd_died_is_unknown_and_not_started_again() {
    let mut world = World::new("[job.report]\nrun = \"x\"\n", "2026-11-25T12:00:00Z");
    world.scripts.insert("report".into(), [ends(100, 0)].into());
    world.run_now(1, "report", Waits::ForBegin);
    world.power_cut(secs(5));
    world.run_for(secs(200));
    assert_eq!((world.results("report").as_str(), world.started.len()), ("unknown", 1));
}

#[test]
fn while_nothing_can_be_recorded_nothing_begins_and_what_ended_meanwhile_is_taken_in_later() {
    // given a run in progress, and a manager in its place that has no store
    let mut world = World::new(&every_ten(""), "2026-11-25T12:00:01Z");
    world.scripts.insert("report".into(), [ends(15, 3)].into());
    world.run_for(secs(10));
    world.up_without_store();
    world.run_for(secs(30));
    let refused = "nothing can be recorded of jobs now";
    world.run_now(1, "report", Waits::ForBegin);
    assert!(matches!(&world.outcomes[&svd_core::OpId(1)], Outcome::Refused(why) if why.starts_with(refused)));
    assert_eq!(world.started.len(), 1);
    // when the next one has it again
    world.kill();
    world.run_for(secs(1));
    // then the run has its own end, and the instants since are late
    assert!(world.results("report").starts_with("failed "), "{}", world.results("report"));
    assert_eq!(world.runs[&RunId(1)].exit, Some(ExitStatus::Code(3)));
    check_no_instant_twice(&world);
}

#[test]
fn runs_are_stopped_by_hand_and_with_svd() {
    let mut world = World::new("[job.report]\nrun = \"x\"\noverlap = \"queue\"\n", "2026-11-25T12:00:00Z");
    world.scripts.insert("report".into(), [ends(100, 0), ends(100, 0)].into());
    world.run_now(1, "report", Waits::ForEnd);
    world.command(2, JobCommand::Stop(vec![("report".into(), None)]));
    world.run_for(secs(1));
    assert_eq!(world.outcomes[&svd_core::OpId(2)], Outcome::Done("stopped".to_owned()));
    world.run_now(3, "report", Waits::ForBegin);
    world.run_now(4, "report", Waits::ForEnd);
    world.shutdown();
    world.run_for(secs(1));
    assert!(world.finished);
    assert_eq!(world.results("report"), "cancelled cancelled cancelled");
    assert_eq!(world.runs[&RunId(3)].why, "svd stopped before it began");
}

#[test]
fn an_apply_adds_changes_and_removes_jobs_without_touching_a_run_in_progress() {
    let mut world = World::new(&every_ten(""), "2026-11-25T12:00:01Z");
    world.scripts.insert("report".into(), [ends(25, 0)].into());
    world.run_for(secs(12));
    // when it is removed and another one comes
    world.apply("[job.other]\nrun = \"x\"\nschedule = \"every 10s\"\n");
    world.run_for(secs(10));
    // then the run goes on to its end, and the other one runs
    assert_eq!((world.results("report").as_str(), world.results("other").as_str()), ("running", "succeeded"));
    world.run_for(secs(20));
    assert_eq!(world.results("report"), "succeeded");
    // and a new schedule counts from now: nothing is missed by it
    world.apply("[job.other]\nrun = \"x\"\nschedule = \"every 2s\"\ncatch_up = \"all\"\n");
    world.run_for(secs(5));
    assert_eq!(world.core.job("other").unwrap().missed, 0);
}

#[test]
fn history_keeps_as_many_runs_as_it_says_and_numbers_are_never_used_again() {
    let mut world = World::new(&every_ten("history = { keep = 3, age = \"1h\" }"), "2026-11-25T12:00:01Z");
    world.run_for(secs(100));
    assert_eq!(world.runs.keys().map(|id| id.0).collect::<Vec<_>>(), [8, 9, 10]);
    world.kill();
    world.run_for(secs(10));
    assert_eq!(world.runs.keys().map(|id| id.0).collect::<Vec<_>>(), [9, 10, 11]);
}

#[test]
fn jitter_is_the_same_each_time_and_within_its_bound() {
    let mut world = World::new(&every_ten("jitter = \"5s\""), "2026-11-25T12:00:01Z");
    world.run_for(secs(100));
    let late: Vec<_> =
        world.started.iter().map(|(id, _, wall)| wall.since(world.runs[id].scheduled.unwrap())).collect();
    assert!(late.iter().all(|by| *by == late[0] && *by <= secs(5)), "{late:?}");
}

fn check_no_instant_twice(world: &World) {
    let mut seen: BTreeMap<(String, Wall), &Run> = BTreeMap::new();
    for run in world.runs.values().filter(|run| run.attempts > 0 || run.started.is_some()) {
        let Some(scheduled) = run.scheduled else { continue };
        if let Some(before) = seen.insert((run.job.to_string(), scheduled), run) {
            panic!("{} and {} are both of {scheduled}", before.id, run.id);
        }
    }
}

/// One history: random lengths and ends of runs, commands, and managers that are killed after any of their actions.
fn history(seed: u64) -> u32 {
    let mut rng = Rng::with_seed(seed);
    let overlap = |rng: &mut Rng| ["skip", "queue", "replace", "allow"][rng.usize(..4)];
    let mut text = String::new();
    for job in ["a", "b", "c"] {
        let overlap = overlap(&mut rng);
        let lock = if overlap != "allow" && rng.bool() { "lock = \"db\"\n" } else { "" };
        let timeout = if rng.bool() { "timeout = \"3s\"\n" } else { "" };
        let (seconds, attempts) = (rng.u32(1..8), rng.u32(0..3));
        text.push_str(&format!(
            "[job.{job}]\nrun = \"x\"\nschedule = \"every {seconds}s\"\noverlap = \"{overlap}\"\n{lock}{timeout}\
             retry = {{ attempts = {attempts}, backoff = \"1s..2s\" }}\nstop = [\"TERM\", \"2s\", \"KILL\"]\n\
             history = {{ keep = 1000 }}\n"
        ));
    }
    let mut world = World::new(&text, "2026-11-25T12:00:00.3Z");
    let begun = world.wall();
    world.seed(seed);
    world.random = Some(Rng::with_seed(seed + 1));
    world.deadly = Some(rng.u32(3..40));
    for op in 0..rng.u64(0..8) {
        world.run_for(Duration::from_millis(rng.u64(1..8000)));
        let job = ["a", "b", "c"][rng.usize(..3)];
        match rng.u32(..4) {
            0 => world.run_now(op, job, Waits::ForBegin),
            1 => world.command(op, JobCommand::Stop(vec![(job.into(), None)])),
            _ => {}
        }
    }
    world.run_for(secs(20));
    world.deadly = None;
    world.run_for(secs(5));
    // Every instant has one run, and only one: nothing is lost and nothing is doubled.
    for job in &world.plan.jobs {
        let schedule = &job.schedule.as_ref().unwrap().schedule;
        let now = world.wall();
        let next = |after: &Timestamp| schedule.next(*after, &zone("UTC")).filter(|next| Wall::from(*next) <= now);
        let wanted: Vec<Wall> = std::iter::successors(next(&begun.timestamp()), next).map(Wall::from).collect();
        let runs = world.runs.values().filter(|run| *run.job == *job.name);
        let mut found: Vec<Wall> = runs.filter_map(|run| run.scheduled).collect();
        found.sort();
        assert_eq!(found, wanted, "{}", job.name);
    }
    // What ran has the result of its last attempt, and at the end nothing is left.
    world.shutdown();
    world.run_for(secs(10));
    assert!(world.finished);
    for run in world.runs.values() {
        let Phase::Ended(result) = run.phase else { panic!("{run:?} is not over") };
        match result {
            RunResult::Succeeded => assert_eq!(run.exit, Some(ExitStatus::Code(0)), "{run:?}"),
            RunResult::Failed => assert_eq!(run.exit, Some(ExitStatus::Code(1)), "{run:?}"),
            RunResult::TimedOut => assert!(run.ended.unwrap().since(run.started.unwrap()) >= secs(3), "{run:?}"),
            RunResult::Skipped => assert_eq!(run.exit, None),
            RunResult::Replaced | RunResult::Cancelled => {}
            RunResult::Missed | RunResult::Unknown => panic!("{run:?}"),
        }
    }
    world.deaths
}

#[test]
fn whatever_a_manager_dies_of_no_instant_is_lost_and_none_has_two_runs() {
    let mut deaths = 0;
    for seed in 0..120 {
        let told = std::panic::catch_unwind(|| history(seed));
        deaths += told.unwrap_or_else(|_| panic!("seed {seed}"));
    }
    assert!(deaths > 300, "{deaths}");
}

/// A crontab as people have it: by the minute, at times of day that two nights a year do not have or have twice, by weekdays.
const CRONTAB: [&str; 6] =
    ["*/15 * * * *", "0 * * * *", "30 2 * * *", "15,45 1-3 * * sun", "0 6 * * mon-fri", "5 0 1 */3 *"];

/// Fault 36.
#[test]
fn a_year_of_a_crontab_is_run_as_cron_would_run_it_over_both_changes_of_the_clock() {
    for name in ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "America/Santiago", "UTC"] {
        // given
        let mut text = String::new();
        for (number, line) in CRONTAB.iter().enumerate() {
            text.push_str(&format!(
                "[job.j{number}]\nrun = \"x\"\nschedule = \"{line}\"\ntimezone = \"{name}\"\nhistory = {{ age = \"2d\" }}\n"
            ));
        }
        let mut world = World::new(&text, "2026-01-01T00:00:00Z");
        // when a year passes
        let mut begun: BTreeMap<String, Vec<Timestamp>> = BTreeMap::new();
        let year: u64 = 365 * 86_400;
        for _ in 0..365 {
            world.run_for(secs(year / 365));
            for news in std::mem::take(&mut world.news) {
                if let svd_core::RunNews::Begun(run) = news {
                    begun.entry(run.job.to_string()).or_default().push(run.scheduled.unwrap().timestamp());
                }
            }
            world.started.clear();
        }
        // then each job has begun when a walk over the clock on the wall says so
        let from: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let until = world.wall().timestamp();
        for (number, line) in CRONTAB.iter().enumerate() {
            let expected = schedule_walk::walk(line, &zone(name), from, until);
            assert_eq!(begun.get(&format!("j{number}")), Some(&expected), "{name} {line}");
        }
    }
}
