//! How instances are replaced, watched, drained and stopped: what can be said, what comes out, and what is refused.

mod common;

use std::time::Duration;

use common::{errors, plan, toml};
use svd_config::Sources;
use svd_config::plan::*;

fn web(lines: &str) -> Sources {
    toml(&format!("[process.web]\nrun = \"x\"\n{lines}\n"))
}

fn of(lines: &str) -> ProcessPlan {
    plan(&web(lines)).processes.remove(0)
}

/// One error: its place and message, and the way out.
#[track_caller]
fn check_error(lines: &str, message: &str, help: &str) {
    let found = errors(&web(lines));
    let shown: Vec<(String, String)> = found
        .problems
        .iter()
        .map(|p| (format!("{}:{}: {}", p.line, p.column, p.message), p.help.clone().unwrap_or_default()))
        .collect();
    assert_eq!(shown, [(message.to_owned(), help.to_owned())], "{lines}");
}

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn updates_are_planned_with_what_is_said_and_defaults() {
    assert_eq!(of("").update, UpdatePlan::default());
    let overlap = UpdatePlan { strategy: Strategy::Overlap, ..UpdatePlan::default() };
    assert_eq!(of("update = \"overlap\"").update, overlap);
    assert_eq!(of("listen = \":80\"\nupdate = { bake = \"10s\" }").update, UpdatePlan { bake: SECOND * 10, ..overlap });
    let canary = vec![CanaryStep { percent: 10, hold: SECOND * 60 }, CanaryStep { percent: 50, hold: SECOND * 90 }];
    assert_eq!(
        of("listen = \":80\"\nupdate = { canary = [\"10% 1m\", \"50% 1m30s\"], surge = 2 }").update,
        UpdatePlan { strategy: Strategy::Overlap, surge: 2, unavailable: 1, bake: Duration::ZERO, canary }
    );
    // Shares are shares of the count, rounded up
    let surge = |count: u32, share: &str| {
        of(&format!("count = {count}\nupdate = {{ strategy = \"overlap\", surge = \"{share}\" }}")).update.surge
    };
    assert_eq!((surge(4, "100%"), surge(5, "50%"), surge(10, "1%"), surge(0, "100%")), (4, 3, 1, 1));
    assert_eq!(of("count = 4\nupdate = { unavailable = \"50%\" }").update.unavailable, 2);
    // What has no meaning may be said to be none
    of("update = { strategy = \"overlap\", unavailable = 0 }");
    of("update = { strategy = \"exclusive\", surge = 0 }");
}

#[test]
fn updates_that_cannot_be_are_refused_with_the_way_out() {
    check_error(
        "update = \"overlapp\"",
        "3:10: \"update\" in [process.web] must be \"overlap\", \"handover\", \"exclusive\" or a table; found \"overlapp\"; did you mean \"overlap\"?",
        "",
    );
    check_error(
        "update = { surge = \"0%\" }",
        "3:20: \"surge\" in [process.web.update] must be a whole number up to 1000, or a share from \"1%\" to \"100%\"; found \"0%\"",
        "",
    );
    check_error(
        "update = { strategy = \"overlap\", surge = 0 }",
        "3:42: \"surge\" in [process.web.update] leaves no room for a new instance beside the old one (\"overlap\")",
        "write at least 1, or strategy = \"exclusive\"",
    );
    check_error(
        "update = { surge = 2 }",
        "3:20: \"surge\" in [process.web.update] has no meaning with \"exclusive\": the old one ends before the new one starts",
        "leave it out, or take unavailable: so many are replaced at once",
    );
    check_error(
        "update = { strategy = \"handover\", unavailable = 1 }",
        "3:49: \"unavailable\" in [process.web.update] has no meaning with \"handover\": no instance is ever missing",
        "leave it out, or take surge: so many are replaced at once",
    );
    check_error(
        "update = { unavailable = 0 }",
        "3:26: \"unavailable\" in [process.web.update] leaves no instance to replace: with \"exclusive\" one goes first",
        "write at least 1, or strategy = \"overlap\"",
    );
    check_error(
        "oneshot = true\nupdate = \"overlap\"",
        "4:10: process \"web\" is a one-shot, and two of it would run at once with \"overlap\"",
        "one-shots take only \"exclusive\", which is their default",
    );
    of("oneshot = true\nupdate = \"exclusive\"");
}

#[test]
fn a_canary_needs_a_gate_and_steps_that_go_up() {
    let canary = "update = { canary = [\"10% 1m\"] }";
    check_error(
        canary,
        "3:21: \"canary\" in [process.web.update] is impossible: there is no listener whose traffic could be shared out",
        "say where it listens: listen = \"0.0.0.0:8080\"",
    );
    check_error(
        &format!("{canary}\nlisten = \"unix:a\""),
        "3:21: \"canary\" in [process.web.update] is impossible: only a gate can share traffic out, and none of its listeners has one",
        "take a TCP listener with traffic = \"gated\"",
    );
    check_error(
        &format!("{canary}\nlisten = \":80\"\nhandoff = \"none\""),
        "3:21: \"canary\" in [process.web.update] is impossible: handoff = \"none\" hands it no traffic",
        "take another handoff",
    );
    check_error(
        &format!("{canary}\nlisten = \":80\"\nupdate.strategy = \"handover\"")
            .replace("update = { canary = [\"10% 1m\"] }", "update.canary = [\"10% 1m\"]"),
        "3:17: \"canary\" in [process.web.update] is impossible: only \"overlap\" has both generations under traffic",
        "write strategy = \"overlap\"",
    );
    for (steps, message) in [
        (
            "[\"50% 1m\", \"10% 1m\"]",
            "4:32: canary steps go up, and 10% in \"canary\" in [process.web.update] comes after 50%",
        ),
        (
            "[\"100% 1m\"]",
            "4:22: \"100% 1m\" in \"canary\" in [process.web.update] is no step: write a share from 1% to 99% and a time, such as \"10% 1m\"",
        ),
        (
            "[\"10%\"]",
            "4:22: \"10%\" in \"canary\" in [process.web.update] is no step: write a share from 1% to 99% and a time, such as \"10% 1m\"",
        ),
    ] {
        check_error(&format!("listen = \":80\"\nupdate = {{ canary = {steps} }}"), message, "");
    }
    let many = vec!["\"1% 1s\""; 21].join(",");
    check_error(
        &format!("update = {{ canary = [{many}] }}"),
        "3:21: \"canary\" in [process.web.update] has 21 steps; at most 20 are possible",
        "",
    );
}

#[test]
fn health_is_planned_and_checked() {
    let health = |text: &str| of(&format!("health = {text}")).health.unwrap();
    let tcp = HealthPlan { by: HealthBy::Tcp { port: None }, every: SECOND * 5, timeout: SECOND * 2, failures: 3 };
    assert_eq!(health("{ tcp = true }"), tcp);
    assert_eq!(
        health("{ http = \"/up\", port = 81, every = \"1m\", timeout = \"500ms\", failures = 1 }"),
        HealthPlan {
            by: HealthBy::Http { port: Some(81), path: "/up".to_owned() },
            every: SECOND * 60,
            timeout: SECOND / 2,
            failures: 1
        }
    );
    let words = vec!["ok".to_owned(), "${PORT}".to_owned()];
    assert_eq!(health("{ run = \"ok $PORT\" }").by, HealthBy::Run(Run::Words(words)));
    check_error(
        "health = { every = \"1s\" }",
        "3:1: \"health\" in [process.web] says no probe; it needs one of http, tcp and run",
        "",
    );
    check_error(
        "health = { tcp = true, http = \"/\" }",
        "3:24: \"health\" in [process.web] has \"tcp\" and \"http\"; only one probe is possible",
        "",
    );
    check_error(
        "health = { run = \"x\", port = 1 }",
        "3:23: \"port\" in [process.web.health] only goes with http or tcp, not with \"run\"",
        "",
    );
    check_error(
        "health = { tcp = true, failures = 0 }",
        "3:35: \"failures\" in [process.web.health] must be a whole number from 1 to 1000; found the number 0",
        "",
    );
    check_error(
        "health = { run = \"a | b\" }",
        "3:21: \"run\" in [process.web.health] has the shell operator \"|\", which needs a shell; write [\"sh\", \"-c\", \"…\"], or quote it",
        "",
    );
    check_error(
        "health = \"/healthz\"",
        "3:10: \"health\" in [process.web] must be a table with one of http, tcp and run; found \"/healthz\"",
        "",
    );
}

#[test]
fn drains_and_recycling_are_planned_and_checked() {
    let run = |words: &[&str]| Run::Words(words.iter().map(|word| (*word).to_owned()).collect());
    let minutes = |n: u32| Some(SECOND * 60 * n);
    let plain = DrainedPlan { run: run(&["./busy", "--none"]), every: SECOND, timeout: minutes(10) };
    assert_eq!(of("drained = \"./busy --none\"").drained, Some(plain.clone()));
    assert_eq!(
        of("drained = { run = \"./busy --none\", every = \"5s\", timeout = \"none\" }").drained,
        Some(DrainedPlan { every: SECOND * 5, timeout: None, ..plain })
    );
    assert_eq!(
        of("drained = [\"a\", \"$B\"]").drained.unwrap().run,
        Run::Literal(vec!["a".to_owned(), "$B".to_owned()])
    );
    assert_eq!(
        of("recycle = { memory = \"400M\", age = \"1d\" }").recycle,
        RecyclePlan { memory: Some(400 << 20), age: Some(SECOND * 86_400) }
    );
    check_error("drained = { every = \"1s\" }", "3:1: \"drained\" in [process.web] has no \"run\"", "");
    check_error(
        "drained = { run = \"x\", timeout = \"1ms\" }",
        "3:34: \"timeout\" in [process.web.drained] must be a time from \"10ms\" to \"365d\", or \"none\"; found \"1ms\"",
        "",
    );
    check_error("recycle = {}", "3:1: \"recycle\" in [process.web] says no reason; it needs memory or age", "");
    check_error(
        "recycle = { memory = \"1K\" }",
        "3:22: \"memory\" in [process.web.recycle] must be a size from \"1M\" to \"1024T\"; found \"1K\"",
        "",
    );
    check_error("quiet = \"KILL\"", "3:9: \"quiet\" in [process.web] cannot be KILL, which no process can handle", "");
}

#[test]
fn a_stop_may_wait_for_days_or_without_end() {
    let term = StopStep::Signal(15);
    assert_eq!(of("stop = [\"TERM\", \"7d\", \"KILL\"]").stop[1], StopStep::Wait(SECOND * 7 * 86_400));
    assert_eq!(of("stop = [\"TERM\", \"none\"]").stop, [term, StopStep::Forever]);
    assert_eq!(of("quiet = \"TERM\"\nstop = [\"none\"]").stop, [StopStep::Forever]);
    check_error(
        "stop = [\"TERM\", \"none\", \"KILL\"]",
        "3:17: \"none\" must be the last step of \"stop\" in [process.web]: it waits without end",
        "leave out what comes after it, or write a time instead",
    );
    check_error(
        "stop = [\"none\"]",
        "3:8: \"stop\" in [process.web] tells nothing to end and waits for it without end",
        "put a signal in front: [\"TERM\", \"none\"], or set quiet",
    );
}

#[test]
fn the_strategy_that_is_said_leaves_out_what_the_defaults_say_of_another() {
    let text = "[defaults]\nupdate = { strategy = \"overlap\", surge = 2, bake = \"5s\", canary = [\"10% 1m\"] }\n";
    let found = plan(&toml(&format!(
        "{text}[process]\nweb = {{ run = \"x\", listen = \":80\" }}\nwork = \"x\"\nother = {{ run = \"x\", update = \"exclusive\" }}\nm = {{ run = \"x\", oneshot = true }}"
    )));
    let update = |name: &str| found.process(name).unwrap().update.clone();
    let overlap = UpdatePlan { strategy: Strategy::Overlap, surge: 2, bake: SECOND * 5, ..UpdatePlan::default() };
    let canary = vec![CanaryStep { percent: 10, hold: SECOND * 60 }];
    assert_eq!(update("web"), UpdatePlan { canary, ..overlap.clone() });
    assert_eq!(update("work"), overlap);
    assert_eq!(update("other"), UpdatePlan { bake: SECOND * 5, ..UpdatePlan::default() });
    assert_eq!(update("m"), UpdatePlan::default());
}
