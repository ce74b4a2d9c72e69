//! What a process may use and what it may do less than svd: what can be said, what comes out, and what is refused.

mod common;

use std::path::PathBuf;

use common::{errors, plan, toml};
use svd_config::plan::*;
use svd_config::{ChangeKind, Effect, Sources, diff, fingerprint};

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

fn paths(texts: &[&str]) -> Vec<PathBuf> {
    texts.iter().map(PathBuf::from).collect()
}

#[test]
fn limits_are_planned_as_said_and_nothing_is_limited_by_default() {
    assert_eq!(of("").limits, LimitsPlan::default());
    let said = "limits = { memory = \"512M\", memory_high = 419430400, cpu = \"150%\", pids = 200, io_weight = 50 }";
    assert_eq!(
        of(said).limits,
        LimitsPlan {
            memory: Some(512 << 20),
            memory_high: Some(400 << 20),
            cpu: Some(150),
            pids: Some(200),
            io_weight: Some(50)
        }
    );
    // Each by itself over those of the defaults, which count for one-shots too.
    let sources = toml(
        "[defaults]\nlimits = { memory = \"1G\", pids = 10 }\n[process.a]\nrun = \"x\"\noneshot = true\nlimits = { pids = 20 }\n",
    );
    let expected = LimitsPlan { memory: Some(1 << 30), pids: Some(20), ..LimitsPlan::default() };
    assert_eq!(plan(&sources).processes[0].limits, expected);
}

#[test]
fn limits_that_cannot_be_are_refused() {
    check_error(
        "limits = { memory = \"1K\" }",
        "3:21: \"memory\" in [process.web.limits] must be a size from \"1M\" to \"1024T\"; found \"1K\"",
        "",
    );
    check_error(
        "limits = { cpu = \"1.5\" }",
        "3:18: \"cpu\" in [process.web.limits] must be a share from \"1%\" to \"100000%\", 100% being one core; found \"1.5\"",
        "",
    );
    check_error(
        "limits = { cpu = \"0%\" }",
        "3:18: \"cpu\" in [process.web.limits] must be a share from \"1%\" to \"100000%\", 100% being one core; found \"0%\"",
        "",
    );
    check_error(
        "limits = { memory = \"1M\", memory_high = \"2M\" }",
        "3:41: \"memory_high\" in [process.web.limits] is above memory: the kernel would kill before it slows down",
        "write one that is below memory, or leave one of them out",
    );
    check_error(
        "limits = { memry = \"1M\" }",
        "3:12: unknown key \"memry\" in [process.web.limits]; did you mean \"memory\"?",
        "",
    );
    check_error(
        "limits = \"512M\"",
        "3:10: \"limits\" in [process.web] must be a table with memory, memory_high, cpu, pids and io_weight; found \"512M\"",
        "",
    );
}

#[test]
fn what_it_may_do_less_is_planned_as_said() {
    assert_eq!(of("").exec.confine, ConfinePlan::default());
    let said = "capabilities = [\"NET_BIND_SERVICE\", \"cap_chown\"]
no_new_privs = true
private_tmp = true
read_only = [\"/srv\", \"/\", \"/etc/\"]
read_write = [\"/srv/shop\"]";
    assert_eq!(
        of(said).exec.confine,
        ConfinePlan {
            capabilities: Some(1 << 10 | 1),
            no_new_privs: true,
            private_tmp: true,
            read_only: paths(&["/", "/etc", "/srv"]),
            read_write: paths(&["/srv/shop"]),
        }
    );
    assert_eq!(of("capabilities = []").exec.confine.capabilities, Some(0));
    // An empty list takes back what the defaults say.
    let sources = toml("[defaults]\nread_only = [\"/\"]\n[process.a]\nrun = \"x\"\nread_only = []\n");
    assert_eq!(plan(&sources).processes[0].exec.confine, ConfinePlan::default());
}

#[test]
fn what_makes_no_sense_or_has_no_effect_is_refused() {
    check_error(
        "capabilities = [\"NET_BIND_SERVISE\"]",
        "3:17: \"NET_BIND_SERVISE\" in \"capabilities\" in [process.web] is no capability; did you mean \"NET_BIND_SERVICE\"?",
        "",
    );
    check_error(
        "read_only = [\"etc\"]",
        "3:14: \"etc\" in \"read_only\" in [process.web] is not an absolute path without \"..\"",
        "",
    );
    check_error(
        "read_only = [\"/srv\"]\nread_write = [\"/var/lib\"]",
        "4:15: /var/lib in \"read_write\" in [process.web] is below no path of read_only, so it can be written to anyway",
        "leave it out, or name what is above it in read_only",
    );
    check_error(
        "private_tmp = true\nread_only = [\"/tmp/x\"]",
        "4:14: /tmp/x in [process.web] does not exist for it: private_tmp gives it an empty one in its place",
        "leave one of the two out",
    );
}

#[test]
fn limits_change_without_a_restart_and_confinement_by_one() {
    let check = |old: &str, new: &str, keys: &[&str], effect: Effect| {
        let changes = diff(&plan(&web(old)), &plan(&web(new)));
        let keys = keys.iter().map(|key| (*key).to_owned()).collect();
        assert_eq!(
            changes.into_iter().map(|change| change.kind).collect::<Vec<_>>(),
            [ChangeKind::Changed { keys, effect }]
        );
    };
    let keys = ["limits.memory", "limits.cpu"];
    check("limits = { memory = \"1G\" }", "limits = { memory = \"2G\", cpu = \"10%\" }", &keys, Effect::Live);
    check("", "capabilities = []", &["capabilities"], Effect::Restart);
    check("", "read_only = [\"/\"]", &["read_only"], Effect::Restart);
    check("no_new_privs = true", "private_tmp = true", &["no_new_privs", "private_tmp"], Effect::Restart);
    // Saying nothing leaves the number that instances of earlier builds have.
    assert_eq!(fingerprint(&of("")), fingerprint(&of("no_new_privs = false")));
}
