//! `svd doctor` and `svctl doctor` on this host, whatever it permits.

mod common;

use std::process::{Command, Output, Stdio};

use serde_json::Value;

fn run(program: &str, arguments: &[&str]) -> Output {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).output().unwrap()
}

#[test]
fn doctor_needs_no_running_svd_and_ends_with_0_whatever_it_finds() {
    let (svd, svctl) = (env!("CARGO_BIN_EXE_svd"), env!("CARGO_BIN_EXE_svctl"));
    let output = run(svctl, &["doctor", "--json"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let checks = report["checks"].as_array().unwrap();
    let names: Vec<&str> = checks.iter().map(|check| check["name"].as_str().unwrap()).collect();
    assert!(
        names.starts_with(&["gate", "interception"]) && names.ends_with(&["queue", "handshakes", "oom"]),
        "{report}"
    );
    for check in checks {
        let answer = check["answer"].as_str().unwrap();
        assert!(["yes", "partly", "no", "unknown"].contains(&answer), "{check}");
        // What does not hold says what follows and what can be done.
        if ["partly", "no"].contains(&answer) {
            assert!(check["follows"].is_string() && check["way_out"].is_string(), "{check}");
        }
    }
    // and people get the same from both
    let (ours, its) = (run(svctl, &["doctor"]), run(svd, &["doctor"]));
    assert_eq!(ours.status.code(), Some(0));
    assert_eq!(String::from_utf8(ours.stdout).unwrap(), String::from_utf8(its.stdout).unwrap());
}

#[test]
fn where_the_kernel_permits_everything_all_is_yes() {
    let permitted = std::fs::read_to_string("/proc/self/status").unwrap().contains("CapEff:\t000001ff");
    if !permitted {
        eprintln!("SKIPPED where_the_kernel_permits_everything_all_is_yes: it needs root with all capabilities");
        return;
    }
    let report: Value = serde_json::from_slice(&run(env!("CARGO_BIN_EXE_svd"), &["doctor", "--json"]).stdout).unwrap();
    let lacks = report["checks"].as_array().unwrap().iter().filter(|check| check["answer"] != "yes");
    let lacks: Vec<&str> = lacks.map(|check| check["name"].as_str().unwrap()).collect();
    // The host's setting are how long a queue may be, who may be spared when memory runs out, and which version of cgroups it has
    // and whose this one is.
    assert!(lacks.iter().all(|name| ["queue", "oom", "limits"].contains(name)), "{report:#}");
}

/// Fault 32.
#[test]
fn where_doctor_says_so_keeper_and_manager_are_spared_when_memory_runs_out_and_processes_are_not() {
    // given
    let report: Value = serde_json::from_slice(&run(env!("CARGO_BIN_EXE_svd"), &["doctor", "--json"]).stdout).unwrap();
    let oom = report["checks"].as_array().unwrap().iter().find(|check| check["name"] == "oom").unwrap();
    let own = adjusted("self");
    // when
    let app = common::App::start(
        "[process.plain]\nrun = [\"sleep\", \"1000\"]\n[process.first]\nrun = [\"sleep\", \"1000\"]\noom_score_adj = 1000\n",
    );
    app.wait("all", "ready");
    // then
    let manager = app.status()["svd"]["manager_pid"].to_string();
    let found = [adjusted(&app.keeper().to_string()), adjusted(&manager)];
    let expected = if oom["answer"] == "yes" { [-1000, -900] } else { [own, own] };
    assert_eq!(found, expected, "{oom}");
    assert_eq!(adjusted(&app.pid("plain.1").to_string()), own);
    assert_eq!(adjusted(&app.pid("first.1").to_string()), 1000);
}

fn adjusted(pid: &str) -> i32 {
    std::fs::read_to_string(format!("/proc/{pid}/oom_score_adj")).unwrap().trim().parse().unwrap()
}
