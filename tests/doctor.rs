//! `svd doctor` and `svctl doctor` on this host, whatever it permits.

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
    assert!(names.starts_with(&["gate", "interception"]) && names.ends_with(&["queue", "handshakes"]), "{report}");
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
    let output = run(env!("CARGO_BIN_EXE_svd"), &["doctor"]);
    let text = String::from_utf8(output.stdout).unwrap();
    let tried: Vec<&str> = text.lines().skip(1).filter(|line| !line.starts_with("yes ")).collect();
    // How long a queue may be is the host's setting, and so is which version of cgroups it has and whose this one is.
    let mut hosts = vec!["somaxconn", "in a burst", "limits", "Delegate=yes", "version 2 of cgroups", "memory_high"];
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:")).unwrap();
    if u64::from_str_radix(effective.trim(), 16).unwrap() >> 24 & 1 == 0 {
        hosts.extend(["when memory runs out", "takes the app with it", "CAP_SYS_RESOURCE"]);
    }
    assert!(tried.iter().all(|line| hosts.iter().any(|word| line.contains(word))), "{text}");
}
