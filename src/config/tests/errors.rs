//! What users read when a config is wrong.

mod common;

use common::{env_file, errors, procfile, source, toml};
use svd_config::{SourceKind, Sources};

/// The first lines of all errors.
#[track_caller]
fn check_sources(sources: &Sources, expected: &[&str]) {
    let found: Vec<String> =
        errors(sources).problems.iter().map(|p| p.to_string().lines().next().unwrap_or("").to_owned()).collect();
    assert_eq!(found, expected);
}

#[track_caller]
fn check(text: &str, expected: &[&str]) {
    check_sources(&toml(text), expected);
}

/// The whole text of all errors.
#[track_caller]
fn check_whole(text: &str, expected: &[&str]) {
    assert_eq!(errors(&toml(text)).to_string().lines().collect::<Vec<_>>(), expected);
}

/// One error in a process table that has a command.
#[track_caller]
fn check_web(line: &str, expected: &str) {
    check(&format!("[process.web]\nrun = \"x\"\n{line}\n"), &[expected]);
}

#[test]
fn an_error_shows_place_line_caret_and_the_way_out() {
    let text = "[process.web]\nrun = \"a | b\"\n  restrat = \"always\"\n[process.db]\n";
    check_whole(
        text,
        &[
            "Procfile.toml:2:10: \"run\" in [process.web] has the shell operator \"|\", which needs a shell; set shell = true, or quote it",
            "  run = \"a | b\"",
            "           ^",
            "Procfile.toml:3:3: unknown key \"restrat\" in [process.web]; did you mean \"restart\"?",
            "    restrat = \"always\"",
            "    ^~~~~~~",
            "Procfile.toml:4:10: process \"db\" has no \"run\"",
            "  [process.db]",
            "           ^~",
            "  help: say what it runs: run = \"command\"",
        ],
    );
}

#[test]
fn columns_count_characters_and_tabs_do_not_move_the_caret() {
    check_whole(
        "[process.web]\nrun = \"x\"\n\tenv = { \"Ä\" = \"ö\", B = 1 }\n",
        &[
            "Procfile.toml:3:25: \"B\" in \"env\" in [process.web] must be a string; put its value in quotes",
            "   env = { \"Ä\" = \"ö\", B = 1 }",
            "                          ^",
        ],
    );
}

#[test]
fn keys_of_later_stages_are_unknown_keys() {
    let found = errors(&toml("[process.web]\nrun = \"x\"\nscale = \"1\"\n"));
    let message = &found.problems[0].message;
    assert!(message.starts_with("unknown key \"scale\" in [process.web]"), "{message}");
    for text in ["[[migration]]\nname = \"x\"", "[release]\nkeep = 5"] {
        let found = errors(&toml(&format!("process.web = \"x\"\n{text}\n")));
        assert!(found.problems[0].message.starts_with("unknown key"), "{found}");
    }
    for key in ["tcp = 1", "supervisord_rpc = false"] {
        let found = errors(&toml(&format!("process.web = \"x\"\n[control]\n{key}\n")));
        assert!(found.problems[0].message.contains(" in [control]"), "{found}");
    }
}

#[test]
fn values_are_refused_with_what_is_allowed_and_what_was_found() {
    let p = "Procfile.toml:3";
    let cases = [
        ("count = \"two\"", ":9: \"count\" in [process.web] must be a whole number from 0 to 1000; found \"two\""),
        ("count = 1001", ":9: \"count\" in [process.web] must be a whole number from 0 to 1000; found the number 1001"),
        ("count = -1", ":9: \"count\" in [process.web] must be a whole number from 0 to 1000; found the number -1"),
        ("count = 1.5", ":9: \"count\" in [process.web] must be a whole number from 0 to 1000; found a fraction"),
        (
            "count = 99999999999999999999",
            ":9: \"count\" in [process.web] must be a whole number from 0 to 1000; found a number beyond 64 bits",
        ),
        (
            "umask = 22",
            ":9: \"umask\" in [process.web] must be an octal mask such as \"022\" or 0o022; found the number 22; write it as a string or with 0o in front",
        ),
        ("nice = 20", ":8: \"nice\" in [process.web] must be a whole number from -20 to 19; found the number 20"),
        (
            "restart = \"on-failur\"",
            ":11: \"restart\" in [process.web] must be \"always\", \"on-failure\", \"never\" or a table; found \"on-failur\"; did you mean \"on-failure\"?",
        ),
        (
            "restart = { backoff = \"30s..1s\" }",
            ":23: \"backoff\" in [process.web.restart] must be a time, or two as \"500ms..30s\", up to \"1d\"; found \"30s..1s\"",
        ),
        (
            "restart = { backof = \"1s\" }",
            ":13: unknown key \"backof\" in [process.web.restart]; did you mean \"backoff\"?",
        ),
        (
            "restart = { limit = \"5\" }",
            ":21: \"limit\" in [process.web.restart] must be \"COUNT in TIME\" such as \"5 in 1m\", or \"none\"; found \"5\"",
        ),
        (
            "restart = { success_exit = [256] }",
            ":29: \"success_exit\" in [process.web.restart] must be an array of exit codes from 0 to 255 and signals such as \"TERM\"; found the number 256",
        ),
        (
            "stop = [\"TREM\"]",
            ":9: \"stop\" in [process.web] must be an array of signals and times such as [\"TERM\", \"30s\", \"KILL\"], with KILL or \"none\" only at its end; found \"TREM\"; did you mean \"TERM\"?",
        ),
        (
            "stop = [\"KILL\", \"1s\"]",
            ":9: KILL must be the last step of \"stop\" in [process.web]: it leaves nothing to wait for",
        ),
        (
            "stop = []",
            ":8: \"stop\" in [process.web] must be an array of signals and times such as [\"TERM\", \"30s\", \"KILL\"], with KILL or \"none\" only at its end; found an array without anything in it",
        ),
        (
            "ready = { timeout = \"1s\" }",
            ":1: \"ready\" in [process.web] says no evidence; it needs one of listening, notify, fd, log, run, tcp and http",
        ),
        (
            "ready = { fd = 3, notify = true }",
            ":19: \"ready\" in [process.web] has \"fd\" and \"notify\"; only one evidence is possible",
        ),
        (
            "ready = { fd = 3, port = 80 }",
            ":19: \"port\" in [process.web.ready] only goes with tcp or http, not with \"fd\"",
        ),
        ("ready = { log = \"(\" }", ":17: \"log\" in [process.web.ready] is not a regular expression: unclosed group"),
        (
            "ready = { http = \"healthz\" }",
            ":18: \"http\" in [process.web.ready] must be a path that begins with /; found \"healthz\"",
        ),
        ("ready = { tcp = false }", ":17: \"tcp\" in [process.web.ready] must be true; found false"),
        (
            "rlimits = { nofiles = 1 }",
            ":13: unknown key \"nofiles\" in [process.web.rlimits]; did you mean \"nofile\"?",
        ),
        (
            "rlimits = { nofile = \"2:1\" }",
            ":22: \"nofile\" in [process.web.rlimits] must be a number, \"unlimited\" or \"SOFT:HARD\" with SOFT not above HARD; found \"2:1\"",
        ),
        (
            "logs = { max_size = \"1G\", segment = \"2G\" }",
            ":37: \"segment\" in [process.web.logs] is 2147483648 bytes, more than max_size, which is 1073741824 bytes",
        ),
        (
            "after = [\"wbe\"]",
            ":10: \"after\" in [process.web] names process \"wbe\", which does not exist; did you mean \"web\"?",
        ),
        ("after = [\"web\"]", ":10: process \"web\" cannot come after itself"),
        ("env_file = \"x.env\"", ":12: env file \"x.env\" does not exist"),
        ("env = { PORT = \"http\" }", ":9: PORT must be a whole number from 1 to 65535"),
        ("keep_env = [\"A*B\"]", ":13: \"A*B\" in \"keep_env\" in [process.web] is not a name, PREFIX* or *"),
    ];
    for (line, expected) in cases {
        check_web(line, &format!("{p}{expected}"));
    }
}

#[test]
fn impossible_combinations_are_refused() {
    check_web(
        "oneshot = true\nrestart = \"always\"",
        "Procfile.toml:4:11: process \"web\" is a one-shot and would be restarted always",
    );
    check_web(
        "oneshot = true\nready = { notify = true }",
        "Procfile.toml:4:9: process \"web\" is a one-shot: it is ready when it has completed, \"ready\" does not go with it",
    );
    check_web(
        "logs = \"none\"\nready = { log = \"up\" }",
        "Procfile.toml:4:9: ready.log in [process.web] needs the output that logs = \"none\" throws away",
    );
    check(
        "[process.web]\nrun = [\"a\"]\nshell = true",
        &["Procfile.toml:3:9: shell = true in [process.web] needs run as a string: an array is executed as it is"],
    );
    check(
        "[process]\na = \"a\"\n[process.web]\nrun = \"x\"\nafter = { a = \"completed\" }",
        &["Procfile.toml:5:15: process \"a\" never completes: it is no one-shot"],
    );
}

#[test]
fn commands_that_need_a_shell_are_refused_at_the_operator() {
    let cases = [
        ("run = 'a && b'", ":10", "the shell operator \"&\""),
        ("run = \"LOG=1 x\"", ":8", "the assignment \"LOG=\""),
        ("run = 'ls *.py'", ":11", "the wildcard \"*\""),
        ("run = 'exec x'", ":8", "the shell's own command \"exec\""),
        ("run = \"\\u0061 > b\"", ":7", "the shell operator \">\""),
    ];
    for (line, column, what) in cases {
        let expected = format!(
            "Procfile.toml:2{column}: \"run\" in [process.web] has {what}, which needs a shell; set shell = true, or quote it"
        );
        check(&format!("[process.web]\n{line}"), &[&expected]);
    }
}

#[test]
fn a_variable_that_nothing_sets_is_an_error_where_it_stands() {
    check(
        "env.LEVEL = \"1\"\n[process.web]\nrun = \"x $LEVLE ${OK:-1} $PORT $HOME $SVD_INDEX\"",
        &["Procfile.toml:3:10: \"run\" in [process.web] uses $LEVLE, which is not set; did you mean \"LEVEL\"?"],
    );
    check(
        "process.web = \"x $SECRET\"",
        &[
            "Procfile.toml:1:18: \"run\" in [process.web] uses $SECRET, which is not set; svd's own environment has it, but keep_env does not",
        ],
    );
}

/// Fault 39.
#[test]
fn cycles_are_printed() {
    check(
        "[process.web]\nrun = \"x\"\nafter = [\"db\"]\n[process.db]\nrun = \"x\"\nafter = [\"web\"]",
        &["Procfile.toml:6:10: processes wait for each other: web -> db -> web"],
    );
}

#[test]
fn overlays_may_differ_in_what_is_allowed_only() {
    check(
        "process.web = \"x\"\n[environment.staging]\nprocess.web.run = \"y\"\nprocess.wbe.count = 2\ncount = 1\nfoo = 1",
        &[
            "Procfile.toml:3:13: \"run\" in [environment.staging.process.web] may not differ between environments",
            "Procfile.toml:4:9: [environment.staging] overlays process \"wbe\", which does not exist; did you mean \"web\"?",
            "Procfile.toml:5:1: \"count\" in [environment.staging] has to name its process",
            "Procfile.toml:6:1: unknown key \"foo\" in [environment.staging]",
        ],
    );
    check(
        "overlay_allows = [\"env\", \"limit\"]\nprocess.web = \"x\"",
        &["Procfile.toml:1:26: \"limit\" in overlay_allows is no key of processes or jobs; did you mean \"limits\"?"],
    );
    let mut sources = toml("process.web = \"x\"\n[environment.staging]\n[environment.production]");
    sources.environment = Some("prodction".to_owned());
    check_sources(
        &sources,
        &["Procfile.toml: no environment \"prodction\"; there are staging, production; did you mean \"production\"?"],
    );
}

#[test]
fn errors_of_all_files_come_at_once_in_order() {
    // Given a main file, an included one and an env file, each with a fault
    let mut sources = toml(
        "include = [\"conf.d/*.toml\", \"gone.toml\"]\nenv_file = \".env\"\n[process.web]\nrun = \"x\"\ncount = -1",
    );
    sources.others = vec![
        source(
            "/srv/shop/conf.d/a.toml",
            SourceKind::Toml,
            "app = \"x\"\n[process]\nweb = \"y\"\n[process.b]\nrun = \n",
        ),
        env_file("/srv/shop/.env", "A=1\nB 2\n"),
    ];
    // When it is planned, then all of them are told, file by file, and none is told that is a consequence
    check_sources(
        &sources,
        &[
            "Procfile.toml:1:29: included file \"gone.toml\" does not exist",
            "Procfile.toml:5:9: \"count\" in [process.web] must be a whole number from 0 to 1000; found the number -1",
            "/srv/shop/conf.d/a.toml:1:1: \"app\" belongs in the main file; included files have [process] and [job] tables only",
            "/srv/shop/conf.d/a.toml:3:1: process \"web\" is already defined at Procfile.toml:3:10",
            "/srv/shop/conf.d/a.toml:5:7: not valid TOML: string values must be quoted, expected literal string",
            "/srv/shop/.env:2:1: this line has no \"=\"",
        ],
    );
}

#[test]
fn what_is_no_toml_is_told_at_its_place() {
    check("[process.web\nrun = \"x\"", &["Procfile.toml:1:13: not valid TOML: unclosed table, expected `]`"]);
    check(
        "a = 1\na = 2\n",
        &["Procfile.toml:1:1: unknown key \"a\" at the top level", "Procfile.toml:2:1: not valid TOML: duplicate key"],
    );
}

#[test]
fn values_of_env_files_never_appear_in_errors() {
    let mut sources = procfile("web: x");
    sources.others =
        vec![env_file(".env", "# fine\nTOKEN=\"hunter2\n TO-KEN=hunter2\nexport GOOD='x'\nEND='hunter2'x\n")];
    let shown = errors(&sources).to_string();
    assert!(!shown.contains("hunter2"), "{shown}");
    assert_eq!(
        shown.lines().filter(|l| l.starts_with(".env")).collect::<Vec<_>>(),
        [
            ".env:2:1: the value of TOKEN begins with a quote that is not closed in its line",
            ".env:3:2: this is not the name of a variable",
            ".env:5:1: the value of END goes on after its closing quote",
        ]
    );
}

#[test]
fn a_line_of_an_env_file_without_a_name_is_not_shown_either() {
    // A secret of several lines that somebody has pasted in.
    let mut sources = procfile("web: x");
    sources.others = vec![env_file(".env", "KEY=-----BEGIN-----\nhunter2hunter2\n")];
    let shown = errors(&sources).to_string();
    assert!(shown.contains(".env:2:1: ") && !shown.contains("hunter2"), "{shown}");
}

#[test]
fn an_error_at_the_end_of_a_long_line_of_windows_is_shown_there() {
    let text = format!("process.web = \"{}\r\n", "x".repeat(300));
    let shown = errors(&toml(&text)).to_string();
    assert!(shown.contains("Procfile.toml:1:"), "{shown}");
}

#[test]
fn a_plain_procfile_has_its_own_errors() {
    check_sources(&procfile("web: a\nweb: b\n"), &["Procfile:2:1: process \"web\" is already defined at Procfile:1:1"]);
    check_sources(&procfile("# nothing\n"), &["Procfile: no process; add a line such as web: ./server"]);
    let mut sources = procfile("web: a\n");
    sources.environment = Some("staging".to_owned());
    check_sources(
        &sources,
        &["Procfile: no environment \"staging\"; a plain Procfile has none: environments need a Procfile.toml"],
    );
}

#[test]
fn bounds_of_the_whole_are_kept() {
    let many: String = (0..6).map(|i| format!("[process.p{i}]\nrun = \"x\"\ncount = 1000\n")).collect();
    check(&many, &["Procfile.toml: the processes have 6000 instances together; at most 5000 are possible"]);
    let mut sources = toml("process.web = \"x\"");
    sources.dir = "/".into();
    check_sources(
        &sources,
        &["Procfile.toml: the app has no name: none can be made from the directory \"/\"; say app = \"…\""],
    );
    let mut sources = toml("process.web = \"x\"");
    sources.only = vec!["wbe".to_owned()];
    check_sources(
        &sources,
        &["Procfile.toml: --only names process \"wbe\", which does not exist; did you mean \"web\"?; there are web"],
    );
    check("", &["Procfile.toml: no process and no job; add one: [process.web] with run = \"…\""]);
    check(
        "app = \"Shop\"\nprocess.web = \"x\"",
        &[
            "Procfile.toml:1:7: \"app\" at the top level must be lower-case letters, digits and -, beginning with a letter or digit, at most 64; found \"Shop\"",
        ],
    );
}
