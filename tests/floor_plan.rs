//! Who may import whom, checked against what cargo and the files say. ARCHITECTURE.md explains the plan.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// One crate of the plan.
struct Row {
    name: &'static str,
    /// Crates of this workspace that it may import.
    ours: &'static [&'static str],
    /// Guarded crates of others that it may import; what is not in [`GUARDED`] is free.
    others: &'static [&'static str],
}

/// The floor plan. The root package holds the two binaries, three lines each.
const PLAN: &[Row] = &[
    Row { name: "svctl", ours: &["svd-keeper", "svd-manager", "svd-ctl"], others: &[] },
    Row { name: "svd-sys", ours: &[], others: &["nix", "libc"] },
    Row { name: "svd-wire", ours: &[], others: &[] },
    Row { name: "svd-keeper", ours: &["svd-sys", "svd-wire"], others: &[] },
    Row { name: "svd-config", ours: &[], others: &["serde", "serde_json", "toml", "cron", "chrono"] },
    Row { name: "svd-core", ours: &["svd-config"], others: &[] },
    Row { name: "svd-api", ours: &[], others: &["serde", "serde_json"] },
    Row {
        name: "svd-manager",
        ours: &["svd-sys", "svd-wire", "svd-config", "svd-core", "svd-api"],
        // clap: svd's own command line is read by the manager, so that the keeper stays without a parser.
        others: &["serde", "serde_json", "tokio", "hyper", "hyper-util", "http-body-util", "clap", "tokio-rustls"],
    },
    Row {
        name: "svd-ctl",
        ours: &["svd-config", "svd-api"],
        // nix: `svctl exec` becomes the process's user and takes its umask.
        others: &[
            "nix",
            "serde",
            "serde_json",
            "tokio",
            "hyper",
            "hyper-util",
            "http-body-util",
            "clap",
            "clap_complete",
            "clap_mangen",
            "comfy-table",
            "crossterm",
        ],
    },
];

/// Crates of others that a row must name before it may import them.
const GUARDED: &[&str] = &[
    "nix",
    "libc",
    "rustix",
    "serde",
    "serde_json",
    "toml",
    "cron",
    "chrono",
    "tokio",
    "tokio-rustls",
    "axum",
    "hyper",
    "hyper-util",
    "http-body-util",
    "reqwest",
    "clap",
    "clap_complete",
    "clap_mangen",
    "comfy-table",
    "ratatui",
    "crossterm",
];

/// All that PID 1 is made of, beside the standard library; procedural macros run in the compiler only.
const KEEPER_CLOSURE: &[&str] =
    &["bitflags", "cfg-if", "libc", "memoffset", "nix", "svd-keeper", "svd-sys", "svd-wire", "thiserror"];

/// The longest file, in lines before its tests. `config/src/keys.rs` is a table, and tables may be longer.
const LONGEST: usize = 600;
const TABLES: &[&str] = &["src/config/src/keys.rs"];

#[test]
fn every_import_between_crates_is_in_the_plan() {
    let mut found = Vec::new();
    for package in workspace(&metadata()) {
        let name = text(&package["name"]);
        let Some(row) = PLAN.iter().find(|row| row.name == name) else {
            found.push(format!("{name} is not in the plan"));
            continue;
        };
        for dependency in list(&package["dependencies"]) {
            let other = text(&dependency["name"]);
            let dev_of_root = name == "svctl" && dependency["kind"] == "dev";
            let ours = dependency["path"].is_string();
            if ours && !row.ours.contains(&other) && !dev_of_root {
                found.push(format!("{name} must not import {other}"));
            }
            if GUARDED.contains(&other) && !row.others.contains(&other) && dependency["kind"] != "dev" {
                found.push(format!("{name} must not import {other}"));
            }
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn pid_1_is_made_of_a_handful_of_crates() {
    let metadata = metadata();
    let packages: BTreeMap<&str, &Value> =
        list(&metadata["packages"]).iter().map(|package| (text(&package["id"]), package)).collect();
    let nodes: BTreeMap<&str, &Value> =
        list(&metadata["resolve"]["nodes"]).iter().map(|node| (text(&node["id"]), node)).collect();

    let mut closure = BTreeSet::new();
    let mut open: Vec<&str> =
        packages.iter().filter(|(_, package)| package["name"] == "svd-keeper").map(|(id, _)| *id).collect();
    while let Some(id) = open.pop() {
        if is_macro(packages[id]) || !closure.insert(text(&packages[id]["name"])) {
            continue;
        }
        for dep in list(&nodes[id]["deps"]) {
            if list(&dep["dep_kinds"]).iter().any(|kind| kind["kind"].is_null()) {
                open.push(text(&dep["pkg"]));
            }
        }
    }

    let unplanned: Vec<_> = closure.iter().filter(|name| !KEEPER_CLOSURE.contains(name)).collect();
    assert!(closure.contains("svd-keeper"));
    assert!(unplanned.is_empty(), "the keeper would also be made of {unplanned:?}");
}

#[test]
fn unsafe_code_is_in_sys_and_nowhere_else() {
    let found: Vec<String> = rust_files(&root().join("src"))
        .into_iter()
        .filter(|path| !path.starts_with(root().join("src/sys")))
        .flat_map(|path| {
            let source = fs::read_to_string(&path).expect("a source file is readable");
            let lines: Vec<String> = source
                .lines()
                .enumerate()
                .filter(|(_, line)| says_unsafe(line))
                .map(|(number, _)| format!("{}:{}: unsafe code", path.display(), number + 1))
                .collect();
            lines
        })
        .collect();
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn every_crate_but_sys_forbids_unsafe_code() {
    let forbid = "unsafe_code = \"forbid\"";
    let workspace_forbids = fs::read_to_string(root().join("Cargo.toml")).expect("Cargo.toml is readable");
    assert!(workspace_forbids.contains(forbid), "the workspace's lints must say {forbid}");
    for package in workspace(&metadata()) {
        let name = text(&package["name"]);
        if name == "svctl" || name == "svd-sys" {
            continue; // the root package is three lines a binary; sys is where unsafe code belongs
        }
        let manifest = fs::read_to_string(text(&package["manifest_path"])).expect("a manifest is readable");
        let inherits = manifest.contains("[lints]\nworkspace = true");
        assert!(inherits || manifest.contains(forbid), "{name} must forbid unsafe code");
    }
}

#[test]
fn no_file_is_longer_than_a_reader_can_hold() {
    let mut found = Vec::new();
    for path in rust_files(&root().join("src")) {
        let short = path.strip_prefix(root()).expect("below the root").to_path_buf();
        let is_test = short.components().any(|part| part.as_os_str() == "tests") || short.ends_with("tests.rs");
        if is_test || TABLES.iter().any(|table| short == Path::new(table)) {
            continue;
        }
        let source = fs::read_to_string(&path).expect("a source file is readable");
        let lines = source.lines().take_while(|line| line.trim() != "#[cfg(test)]").count();
        if lines > LONGEST {
            found.push(format!("{}: {lines} lines", short.display()));
        }
    }
    assert!(found.is_empty(), "longer than {LONGEST} lines:\n{}", found.join("\n"));
}

#[test]
fn the_binaries_only_call_their_crate() {
    for path in rust_files(&root().join("src/bin")) {
        let source = fs::read_to_string(&path).expect("a source file is readable");
        let code = source.lines().filter(|line| !line.trim().is_empty() && !line.trim().starts_with("//")).count();
        assert!(code <= 12, "{}: {code} lines of code", path.display());
    }
}

#[test]
fn every_file_that_the_architecture_names_exists() {
    let text = fs::read_to_string(root().join("ARCHITECTURE.md")).expect("ARCHITECTURE.md is readable");
    let named: Vec<&str> = text.split('`').skip(1).step_by(2).filter(|word| word.ends_with(".rs")).collect();
    assert!(named.len() > 20, "the names are no longer in backticks: {named:?}");
    let missing: Vec<&str> = named
        .into_iter()
        .filter(|name| {
            // `core/settle.rs` stands for `src/core/src/settle.rs`.
            let in_crate = name
                .split_once('/')
                .is_some_and(|(of, file)| root().join("src").join(of).join("src").join(file).exists());
            !in_crate && !root().join(name).exists()
        })
        .collect();
    assert!(missing.is_empty(), "no such files: {missing:?}");
}

/// A hole that others had is ruled out by a test, and not by a sentence alone.
#[test]
fn every_test_that_the_security_page_names_exists() {
    let page = fs::read_to_string(root().join("SECURITY.md")).expect("SECURITY.md is readable");
    let is_test = |word: &&str| {
        word.len() > 25 && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_' || byte.is_ascii_digit())
    };
    let named: BTreeSet<&str> = page.split('`').skip(1).step_by(2).filter(is_test).collect();
    assert!(named.len() > 10, "the names are no longer in backticks: {named:?}");
    let mut sources = String::new();
    for folder in ["src", "tests"] {
        read_sources(&root().join(folder), &mut sources);
    }
    let missing: Vec<&&str> = named.iter().filter(|name| !sources.contains(&format!("fn {name}("))).collect();
    assert!(missing.is_empty(), "no such tests: {missing:?}");
}

/// Rows of FAULTS.md that no test stands for; each says there why.
const NO_TEST_YET: &[u32] = &[23, 45];

/// Page and tests name each other, so that neither can lose the other unnoticed.
#[test]
fn every_fault_of_the_page_is_ruled_out_by_tests_that_say_so() {
    let page = fs::read_to_string(root().join("FAULTS.md")).expect("FAULTS.md is readable");
    let mut on_page: BTreeSet<(u32, &str)> = BTreeSet::new();
    let mut numbers = Vec::new();
    let mut wrong = Vec::new();
    for line in page.lines() {
        let mut cells = line.trim_matches('|').split('|').map(str::trim);
        let Some(number) = cells.next().and_then(|cell| cell.parse::<u32>().ok()) else { continue };
        numbers.push(number);
        let tests: Vec<&str> = line.split('`').skip(1).step_by(2).filter(|word| word.len() > 10).collect();
        if tests.is_empty() != NO_TEST_YET.contains(&number) {
            wrong.push(format!("row {number}: {} tests", tests.len()));
        }
        on_page.extend(tests.into_iter().map(|test| (number, test)));
    }
    assert_eq!(numbers, (1..=66).collect::<Vec<_>>(), "the rows of FAULTS.md");

    let mut sources = String::new();
    for folder in ["src", "tests"] {
        read_sources(&root().join(folder), &mut sources);
    }
    let in_tests = faults_in(&sources);
    let named: BTreeSet<(u32, &str)> = in_tests.iter().map(|(number, test)| (*number, test.as_str())).collect();
    wrong.extend(on_page.difference(&named).map(|(number, test)| format!("{test} does not say `Fault {number}`")));
    wrong.extend(named.difference(&on_page).map(|(number, test)| format!("row {number} does not name {test}")));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The faults that the documentation of tests names, with the names of the tests.
fn faults_in(sources: &str) -> BTreeSet<(u32, String)> {
    let mut found = BTreeSet::new();
    let (mut faults, mut is_test) = (Vec::new(), false);
    for line in sources.lines().map(str::trim) {
        if let Some(text) = line.strip_prefix("///") {
            faults.extend(faults_of(text));
        } else if line.starts_with("#[") {
            is_test |= line == "#[test]" || line.starts_with("#[tokio::test");
        } else {
            if let Some((_, rest)) = line.split_once("fn ").filter(|_| is_test) {
                let name = rest.split('(').next().unwrap_or(rest);
                found.extend(faults.iter().map(|number| (*number, name.to_owned())));
            }
            (faults, is_test) = (Vec::new(), false);
        }
    }
    found
}

/// `Fault 3` names one, `Faults 3, 4 and 17` three.
fn faults_of(text: &str) -> Vec<u32> {
    let Some((_, rest)) = text.split_once("Fault") else { return Vec::new() };
    let words = rest.trim_start_matches('s').split([' ', ',', '.', ':']).filter(|word| !word.is_empty());
    let list = words.take_while(|word| *word == "and" || word.parse::<u32>().is_ok());
    list.filter_map(|word| word.parse().ok()).collect()
}

#[test]
fn the_numbers_of_faults_are_read_from_the_words_around_them() {
    assert_eq!(faults_of(" Fault 6: a child that is dead before 10 others."), [6]);
    assert_eq!(faults_of(" Something first. Faults 46, 47 and 48 through all of it, and 500 times."), [46, 47, 48]);
    assert_eq!(faults_of(" Faults are no fault 9."), [0_u32; 0]);
    let sources = "/// Fault 3.\n#[test]\nfn one() {\n}\n/// Fault 4.\nfn helper() {\n}\n";
    assert_eq!(faults_in(sources), BTreeSet::from([(3, "one".to_owned())]));
}

fn read_sources(folder: &std::path::Path, into: &mut String) {
    for entry in fs::read_dir(folder).expect("a folder of sources") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            read_sources(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.push_str(&fs::read_to_string(&path).expect("a readable source"));
        }
    }
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// What cargo says of the workspace, resolved for this machine, without the network.
fn metadata() -> Value {
    let version = run(Command::new(env!("CARGO")).arg("-vV"));
    let host = version.lines().find_map(|line| line.strip_prefix("host: ")).expect("cargo -vV names the host");
    let json = run(Command::new(env!("CARGO")).current_dir(root()).args([
        "metadata",
        "--format-version",
        "1",
        "--offline",
        "--filter-platform",
        host,
    ]));
    serde_json::from_str(&json).expect("cargo metadata prints JSON")
}

fn run(command: &mut Command) -> String {
    let output = command.output().expect("cargo can be run");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("cargo prints UTF-8")
}

/// The packages of this workspace.
fn workspace(metadata: &Value) -> Vec<&Value> {
    let members: BTreeSet<&str> = list(&metadata["workspace_members"]).iter().map(text).collect();
    list(&metadata["packages"]).iter().filter(|package| members.contains(text(&package["id"]))).collect()
}

fn is_macro(package: &Value) -> bool {
    list(&package["targets"]).iter().any(|target| list(&target["kind"]).iter().any(|kind| kind == "proc-macro"))
}

fn text(value: &Value) -> &str {
    value.as_str().expect("a string in cargo's metadata")
}

fn list(value: &Value) -> &[Value] {
    value.as_array().expect("a list in cargo's metadata")
}

/// All Rust files below a directory.
fn rust_files(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).expect("a source directory is readable") {
        let path = entry.expect("a directory entry is readable").path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    files
}

/// Whether a line has the keyword where code has it. The compiler's lint is the guard; this finds who switches it off.
fn says_unsafe(line: &str) -> bool {
    let code = line.split("//").next().unwrap_or(line);
    code.match_indices("unsafe").any(|(at, word)| {
        let before = code[..at].chars().next_back();
        let after = code[at + word.len()..].trim_start();
        let follows = ["{", "(", "fn ", "impl", "extern", "trait"].iter().any(|next| after.starts_with(next));
        follows && before.is_none_or(|before| !before.is_alphanumeric() && before != '_')
    })
}

#[test]
fn the_keyword_is_found_in_code_and_nowhere_else() {
    for code in ["unsafe { f() }", "    unsafe fn f() {}", "pub unsafe extern \"C\" fn f()", "#[unsafe(no_mangle)]"] {
        assert!(says_unsafe(code), "{code}");
    }
    for text in ["// unsafe { f() }", "unsafe_code = 1", "\"the successor is an unsafe function\"", "make_unsafe(1)"] {
        assert!(!says_unsafe(text), "{text}");
    }
}
