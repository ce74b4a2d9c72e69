//! What a new config means for what runs.

mod common;

use common::{plan, toml};
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
    check("[process.db]\nrun = \"y\"", "", &["-db"]);
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
