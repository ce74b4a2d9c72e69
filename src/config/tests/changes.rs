//! What a new config means for what runs.

mod common;

use common::{env_file, plan, toml};
use svd_config::keys::{Applies, KEYS};
use svd_config::{Change, ChangeKind, Effect, diff, fingerprint, needs_new_start};

#[track_caller]
fn check(old: &str, new: &str, expected: &[&str]) {
    let wrap = |lines: &str| plan(&toml(&format!("[process.web]\nrun = \"x\"\n{lines}\n")));
    let changes: Vec<String> = diff(&wrap(old), &wrap(new)).iter().map(show).collect();
    assert_eq!(changes, expected, "{old} -> {new}");
}

fn show(change: &Change) -> String {
    match &change.kind {
        ChangeKind::Added => format!("+{}", change.process),
        ChangeKind::Removed => format!("-{}", change.process),
        ChangeKind::Changed { keys, effect: Effect::Restart } => {
            format!("restart {}: {}", change.process, keys.join(" "))
        }
        ChangeKind::Changed { keys, effect: Effect::Live } => format!("live {}: {}", change.process, keys.join(" ")),
        ChangeKind::Count { from, to } => format!("count {}: {from} -> {to}", change.process),
    }
}

#[test]
fn only_what_changed_is_told_with_its_effect() {
    check("", "", &[]);
    check("count = 2", "count = 3", &["count web: 2 -> 3"]);
    check(
        "env = { A = \"secret1\", B = \"\" }",
        "env = { A = \"secret2\", C = \"\" }",
        &["restart web: env.A env.B env.C"],
    );
    check("", "restart = \"never\"\nstop = [\"INT\"]", &["live web: restart.when stop"]);
    check("nice = 1\ncount = 1", "nice = 2\ncount = 2", &["restart web: nice", "count web: 1 -> 2"]);
    check("", "ready = { notify = true }", &["restart web: ready"]);
    check("", "ready = { tcp = true }", &["live web: ready"]);
    check("", "logs = \"none\"", &["restart web: logs"]);
    check("", "logs = { max_size = \"1M\" }", &["live web: logs.max_size logs.segment"]);
    check("", "shell = true", &["restart web: run shell"]);
    check("", "[process.db]\nrun = \"y\"", &["+db"]);
    check("", "listen = \":80\"", &["restart web: listen ready update.strategy"]);
    check("listen = \":80\"", "listen = \":81\"\nenv = { PORT = \"81\" }", &["restart web: listen"]);
    check("listen = \":80\"", "listen = \":80\"\ntraffic = \"shared\"", &["restart web: traffic"]);
    check("listen = \":80\"", "listen = \":80\"\nhandoff = \"stdin\"", &["restart web: handoff"]);
    check("quiet = \"INT\"", "quiet = \"HUP\"\nupdate = { bake = \"1s\" }", &["live web: quiet update.bake"]);
    check("health = { tcp = true }", "health = { tcp = true, every = \"9s\" }", &["live web: health.every"]);
    check("drained = \"x\"", "drained = { run = \"x\", timeout = \"none\" }", &["live web: drained.timeout"]);
    check("", "preset = \"nginx\"", &["live web: stop"]);
    check("[process.db]\nrun = \"y\"", "", &["-db"]);
}

/// A key whose change is not told, or told with another effect than the manual says, misleads.
#[test]
fn every_key_of_a_process_is_told_with_the_effect_that_the_manual_says() {
    for key in KEYS.iter().filter(|key| key.path.starts_with("process.*.")) {
        let name = key.path.trim_start_matches("process.*.");
        // These have no value of their own in the plan: what they do is.
        if ["preset", "count", "ready.timeout"].contains(&name) {
            continue;
        }
        let wrap = |lines: &str| {
            let mut sources = toml(&format!(
                "[process]\nmigrate = {{ run = \"m\", oneshot = true }}\nredis = \"r\"\n[process.web]\n{}\n{lines}\n",
                if name == "run" { "" } else { "run = \"x\"" }
            ));
            sources.others = vec![env_file("web.env", "A=1\n")];
            plan(&sources)
        };
        // What only goes with listeners is compared with a process that has the same ones
        let listen = key.example.lines().find(|line| line.starts_with("listen") && !name.starts_with("listen"));
        let before = if name == "run" { "run = \"x\"" } else { listen.unwrap_or_default() };
        let changes = diff(&wrap(before), &wrap(key.example));
        let (keys, effect) = match changes.as_slice() {
            [Change { kind: ChangeKind::Changed { keys, effect }, .. }] => (keys, *effect),
            other => panic!("{}: {other:?}", key.path),
        };
        let stem = name.split('.').next().unwrap_or(name);
        let told = |told: &String| told == name || told.split('.').next() == Some(stem) || stem.starts_with("env");
        assert!(keys.iter().any(told), "{}: {keys:?}", key.path);
        let whole = ["logs", "ready"].contains(&name);
        let expected = if key.applies == Applies::Restart { Effect::Restart } else { Effect::Live };
        assert!(effect == expected || whole, "{}: {keys:?} {effect:?}", key.path);
    }
}

#[test]
fn keys_outside_of_processes_are_told_too() {
    let old = plan(&toml("app = \"a\"\nprocess.web = \"x\""));
    let new = plan(&toml("app = \"b\"\nprocess.web = \"x\"\ncontrol.socket_mode = \"0660\""));
    assert_eq!(needs_new_start(&old, &new), ["app", "control.socket_mode"]);
}

#[test]
fn a_fingerprint_is_the_same_number_for_ever() {
    // Running instances carry it over upgrades of svd: this number may not change.
    let plan = plan(&toml("env = { A = \"1\" }\n[process.web]\nrun = \"x $PORT\"\nrlimits = { core = 0 }"));
    assert_eq!(fingerprint(&plan.processes[0]), FINGERPRINT);
}

const FINGERPRINT: u64 = 4913055920791998135;
