//! Presets: each is complete, and lies between what a process says and what the defaults say.

mod common;

use common::{errors, plan, plan_and_warnings, toml};
use svd_config::keys::key;
use svd_config::plan::*;
use svd_config::presets::PRESETS;
use svd_config::reference_man;

#[test]
fn every_preset_is_read_named_by_its_key_and_printed_with_reasons() {
    let man = reference_man();
    let named = format!("{:?}", key("process.*.preset").unwrap().kinds);
    for preset in PRESETS {
        let name = preset.name;
        for listen in ["", "listen = \"127.0.0.1:8080\"\n"] {
            let (plan, warnings) =
                plan_and_warnings(&toml(&format!("[process.web]\nrun = \"{name}\"\npreset = \"{name}\"\n{listen}")));
            assert_eq!(warnings, [], "{name}");
            assert!(plan.processes[0].stop.len() > 1);
        }
        assert!(named.contains(&format!("\"{name}\"")), "{name} in the table of keys");
        for setting in preset.settings {
            assert!(key(&format!("process.*.{}", setting.key)).is_some(), "{name}: {}", setting.key);
            assert!(!setting.why.ends_with('.') && !setting.why.is_empty(), "{name}: {}", setting.key);
            let line = format!("{} = {}", setting.key, setting.value).replace('-', "\\-");
            assert!(man.contains(&format!("\n.nf\n{line}\n.fi\nWhy: ")), "{line}");
        }
        assert!(preset.needs.is_empty() || preset.needs.ends_with('.'), "{name}");
    }
    assert_eq!(named.matches('"').count(), 2 * PRESETS.len());
}

#[test]
fn a_preset_wins_over_the_defaults_and_the_process_wins_over_it() {
    let text = "[defaults]\nstop = [\"INT\"]\nquiet = \"USR1\"\nupdate = { bake = \"1s\" }\n[process.web]\nrun = \"celery worker\"\npreset = \"celery\"\nupdate = { bake = \"30s\" }\n[process.other]\nrun = \"celery worker\"\npreset = \"celery\"\nstop = [\"TERM\", \"1h\", \"KILL\"]\nupdate = \"exclusive\"";
    let plan = plan(&toml(text));
    let (web, other) = (&plan.processes[0], &plan.processes[1]);
    assert_eq!(web.stop, [StopStep::Signal(15), StopStep::Forever]);
    assert_eq!((web.update.strategy, web.update.bake.as_secs()), (Strategy::Overlap, 30));
    assert_eq!(web.quiet, Some(10));
    assert_eq!(other.stop.len(), 3);
    assert_eq!((other.update.strategy, other.update.bake.as_secs()), (Strategy::Exclusive, 5));
}

#[test]
fn what_a_preset_says_of_listeners_needs_one() {
    let of = |lines: &str| {
        plan(&toml(&format!("[process.web]\nrun = \"uvicorn a:b\"\npreset = \"uvicorn\"\n{lines}"))).processes.remove(0)
    };
    assert_eq!(of("").handoff, Handoff::Auto);
    assert_eq!(of("listen = \":80\"").handoff, Handoff::Intercept);
    assert_eq!(of("listen = \":80\"\nhandoff = \"listen-fds\"").handoff, Handoff::ListenFds);
    // One in the defaults is for all services
    let found =
        plan(&toml("[defaults]\npreset = \"nginx\"\n[process]\nweb = \"nginx\"\nm = { run = \"x\", oneshot = true }"));
    assert_eq!(found.processes[0].stop[0], StopStep::Signal(3));
    assert_eq!(found.processes[1].stop[0], StopStep::Signal(15));
}

#[test]
fn what_does_not_go_with_a_preset_is_told_where_it_is_named() {
    let found = errors(&toml("[process.web]\nrun = \"sidekiq\"\npreset = \"sidekiqq\""));
    assert_eq!(
        found.problems[0].message,
        "\"preset\" in [process.web] must be the name of a preset; found \"sidekiqq\"; did you mean \"sidekiq\"?"
    );
    // The notification that sidekiq's preset waits for does not go with a one-shot
    let found = errors(&toml("[process.web]\nrun = \"sidekiq\"\npreset = \"sidekiq\"\noneshot = true"));
    assert_eq!(
        found.to_string().lines().take(3).collect::<Vec<_>>(),
        [
            "Procfile.toml:3:10: process \"web\" is a one-shot, which runs to completion: \"preset\" does not go with it",
            "  preset = \"sidekiq\"",
            "           ^~~~~~~~~",
        ]
    );
}
