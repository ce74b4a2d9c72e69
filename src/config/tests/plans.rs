//! What comes out of a config that is right.

mod common;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use common::{env_file, plan, plan_and_warnings, procfile, source, toml};
use svd_config::plan::*;
use svd_config::{Need, SourceKind, wanted, wanted_by_included};

const KEEP: &[&str] = &["PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LC_*", "TZ", "TMPDIR", "TERM"];

fn texts(words: &[&str]) -> Vec<String> {
    words.iter().map(|w| (*w).to_owned()).collect()
}

fn env(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// A process of which nothing was said but its command.
fn bare(name: &str, words: &[&str], port: u16) -> ProcessPlan {
    ProcessPlan {
        name: name.to_owned(),
        count: 1,
        exec: ExecPlan {
            run: Run::Words(texts(words)),
            cwd: PathBuf::from("/srv/shop"),
            user: None,
            group: None,
            umask: None,
            nice: None,
            oom_score_adj: None,
            env: BTreeMap::new(),
            keep_env: texts(KEEP),
            rlimits: Vec::new(),
            confine: ConfinePlan::default(),
            port,
            input: None,
        },
        after: Vec::new(),
        oneshot: false,
        essential: false,
        ready: ReadyPlan { by: ReadyBy::Started, timeout: Duration::from_secs(60), late: Late::Fails },
        restart: RestartPlan {
            when: RestartWhen::Always,
            backoff_min: Duration::from_millis(500),
            backoff_max: Duration::from_secs(30),
            limit: Some(RestartLimit { count: 5, window: Duration::from_secs(60) }),
            success_exit: vec![SuccessExit::Code(0)],
        },
        stop: vec![StopStep::Signal(15), StopStep::Wait(Duration::from_secs(10)), StopStep::Signal(9)],
        reload_signal: 1,
        notify: NotifyPlan::default(),
        logs: LogPlan::Segments { segment: 64 << 20, max_size: 1 << 30 },
        listen: Vec::new(),
        handoff: Handoff::Auto,
        update: UpdatePlan::default(),
        health: None,
        quiet: None,
        drained: None,
        recycle: RecyclePlan::default(),
        limits: LimitsPlan::default(),
    }
}

#[test]
fn the_short_form_gets_every_default() {
    let found = plan(&toml("[process]\nclock = \"python clock.py\"\nweb = \"srv $PORT '$PORT'\"\n"));
    let control = ControlPlan {
        socket_mode: 0o600,
        socket_group: None,
        read_group: None,
        metrics: true,
        without_manager: svd_config::plan::WithoutManager::Keep,
    };
    let clock = bare("clock", &["python", "clock.py"], 5100);
    let web = bare("web", &["srv", "${PORT}", "$$PORT"], 5000);
    let expected = Plan {
        app: "shop".to_owned(),
        environment: None,
        dir: "/srv/shop".into(),
        processes: vec![clock, web],
        jobs: vec![],
        control,
        notify: None,
        store_listeners: true,
    };
    assert_eq!(found, expected);
}

#[test]
fn every_key_gets_into_the_plan() {
    // Given the config of the manual, with each key of a process
    let mut sources = toml(
        r#"
app = "shop"
include = ["conf.d/*.toml"]
env_file = [".env"]
overlay_allows = ["env", "count", "logs"]

[env]
LOG_LEVEL = "info"
REGION = "eu"

[defaults]
restart = { limit = "9 in 1m" }
rlimits = { core = 0 }

[process]
clock = "python clock.py"
migrate = { run = "m", oneshot = true }

[process.web]
run = "gunicorn -w ${WORKERS:-4} shop:app"
count = 2
cwd = "app"
user = "www-data"
group = 33
umask = "027"
nice = 5
oom_score_adj = -100
env = { A = "1", PORT = "8080" }
env_file = "web.env"
keep_env = ["PATH", "AWS_*"]
rlimits = { nofile = 65536, stack = "8388608:unlimited" }
after = { migrate = "completed", clock = "started" }
essential = true
ready = { http = "/healthz", timeout = "30s" }
restart = { when = "on-failure", backoff = "0s", success_exit = [0, 143, "SIGTERM"] }
stop = ["QUIT", "30s", "KILL"]
reload = "USR2"
logs = { max_size = "100M" }

[environment.staging]
env = { LOG_LEVEL = "debug" }
process.web.count = 3
process.web.env.B = "2"
process.clock.logs = "none"

[control]
socket_mode = "0660"
socket_group = "svd"
read_group = "svd-read"
"#,
    );
    sources.environment = Some("staging".to_owned());
    sources.others = vec![
        source("/srv/shop/conf.d/x.toml", SourceKind::Toml, "[process.extra]\nrun = [\"a\", \"$B|c\"]\n"),
        env_file(".env", "REGION=us\nC='x y'\n"),
        env_file("./web.env", "A=9\n"),
    ];
    // When it is planned
    let plan = plan(&sources);
    // Then each value is where it belongs
    let web = plan.process("web").unwrap();
    let layers = [("A", "9"), ("B", "2"), ("C", "x y"), ("LOG_LEVEL", "debug"), ("REGION", "us")];
    let expected = ProcessPlan {
        count: 3,
        exec: ExecPlan {
            run: Run::Words(texts(&["gunicorn", "-w", "${WORKERS:-4}", "shop:app"])),
            cwd: "/srv/shop/app".into(),
            user: Some("www-data".to_owned()),
            group: Some("33".to_owned()),
            umask: Some(0o027),
            nice: Some(5),
            oom_score_adj: Some(-100),
            env: env(&layers),
            keep_env: texts(&["PATH", "AWS_*"]),
            rlimits: vec![
                RlimitPlan { resource: 3, soft: 8_388_608, hard: u64::MAX },
                RlimitPlan { resource: 4, soft: 0, hard: 0 },
                RlimitPlan { resource: 7, soft: 65536, hard: 65536 },
            ],
            confine: ConfinePlan::default(),
            port: 8080,
            input: None,
        },
        after: vec![
            Dependency { process: "migrate".to_owned(), condition: Condition::Completed },
            Dependency { process: "clock".to_owned(), condition: Condition::Started },
        ],
        essential: true,
        ready: ReadyPlan {
            by: ReadyBy::Http { port: None, path: "/healthz".to_owned() },
            timeout: Duration::from_secs(30),
            late: Late::Fails,
        },
        restart: RestartPlan {
            when: RestartWhen::OnFailure,
            backoff_min: Duration::ZERO,
            backoff_max: Duration::ZERO,
            limit: Some(RestartLimit { count: 9, window: Duration::from_secs(60) }),
            success_exit: vec![SuccessExit::Code(0), SuccessExit::Code(143), SuccessExit::Signal(15)],
        },
        stop: vec![StopStep::Signal(3), StopStep::Wait(Duration::from_secs(30)), StopStep::Signal(9)],
        reload_signal: 12,
        logs: LogPlan::Segments { segment: 25 << 20, max_size: 100 << 20 },
        ..bare("web", &[], 0)
    };
    assert_eq!(web, &expected);
    assert_eq!(plan.process("clock").unwrap().logs, LogPlan::Null);
    assert_eq!(plan.process("migrate").unwrap().restart.when, RestartWhen::Never);
    assert_eq!(plan.process("extra").unwrap().exec.run, Run::Literal(texts(&["a", "$B|c"])));
    assert_eq!(plan.control.socket_mode, 0o660);
    // And its debug output names variables, but tells no value
    let shown = format!("{plan:?}");
    assert!(shown.contains("LOG_LEVEL") && !shown.contains("debug"), "{shown}");
}

#[test]
fn evidence_of_every_kind_is_planned() {
    let cases = [
        ("\"started\"", ReadyBy::Started),
        ("{ notify = true }", ReadyBy::Notify),
        ("{ fd = 3 }", ReadyBy::Fd(3)),
        ("{ log = \"up [0-9]+\" }", ReadyBy::Log("up [0-9]+".to_owned())),
        ("{ tcp = true, port = 80 }", ReadyBy::Tcp { port: Some(80) }),
        (
            "{ run = \"ok $PORT\", every = \"2s\" }",
            ReadyBy::Run { run: Run::Words(texts(&["ok", "${PORT}"])), every: Duration::from_secs(2) },
        ),
        (
            "{ run = [\"sh\", \"-c\", \"a|b\"] }",
            ReadyBy::Run { run: Run::Literal(texts(&["sh", "-c", "a|b"])), every: Duration::from_secs(1) },
        ),
    ];
    for (text, by) in cases {
        let plan = plan(&toml(&format!("[process.web]\nrun = \"x\"\nready = {text}")));
        assert_eq!(plan.process("web").unwrap().ready.by, by, "{text}");
    }
}

#[test]
fn a_plain_procfile_follows_foreman() {
    // Given lines with and without shell operators, and variables whose values a shell would split
    let mut sources = procfile(
        "# comment\r\nworker: work -q $QUEUES\r\nweb: srv -p $PORT \"$OPTS\" # x\nplain: srv -l $LEVEL\nclock:   A=1 exec tick | tee\n\
         none: srv $NOPE\nbad line\n",
    );
    sources.others = vec![env_file("/srv/shop/.env", "QUEUES=\"a b\"\nexport LEVEL=info\nPORT=7000\nOPTS='-x -y'\n")];
    // When it is planned
    let (plan, warnings) = plan_and_warnings(&sources);
    // Then what means the same without a shell gets none, ports are foreman's, and the environment is kept
    let runs: Vec<(&str, u16, Run)> =
        plan.processes.iter().map(|p| (p.name.as_str(), p.exec.port, p.exec.run.clone())).collect();
    assert_eq!(
        runs,
        [
            ("worker", 7100, Run::Shell("work -q $QUEUES".to_owned())),
            ("web", 7000, Run::Shell("srv -p $PORT \"$OPTS\" # x".to_owned())),
            ("plain", 7200, Run::Words(texts(&["srv", "-l", "${LEVEL}"]))),
            ("clock", 7300, Run::Shell("A=1 exec tick | tee".to_owned())),
            ("none", 7400, Run::Shell("srv $NOPE".to_owned())),
        ]
    );
    assert_eq!(plan.processes[0].exec.keep_env, ["*"]);
    assert_eq!(plan.processes[0].exec.env, env(&[("LEVEL", "info"), ("OPTS", "-x -y"), ("QUEUES", "a b")]));
    let warnings: Vec<String> = warnings.iter().map(ToString::to_string).collect();
    assert_eq!(
        warnings,
        [
            "Procfile:3:6: warning: \"run\" in [process.web] keeps a shell as the main process where /bin/sh is dash: signals reach the shell, not \"srv\"; write \"exec srv\" instead of \"srv\"",
            "Procfile:7:1: warning: this line is ignored; lines are NAME: command, comments begin with #",
        ]
    );
}

#[test]
fn env_files_are_read_by_foremans_rules() {
    let mut sources = procfile("web: x");
    let text =
        "A=plain # kept\nB='lit\\n'\nC=\"two\\nlines \\\"q\\\"\"\nD=\nE=a=b  \r\n\n  # no\nexport F=1\nA2=it's\n";
    sources.others = vec![env_file(".env", text)];
    let expected = [
        ("A", "plain # kept"),
        ("A2", "it's"),
        ("B", "lit\\n"),
        ("C", "two\nlines \"q\""),
        ("D", ""),
        ("E", "a=b"),
        ("F", "1"),
    ];
    assert_eq!(plan(&sources).processes[0].exec.env, env(&expected));
}

#[test]
fn ports_come_from_svds_environment_where_the_config_has_none() {
    let mut sources = toml("[process]\na = \"x\"\nb = { run = \"x\", env = { PORT = \"9000\" } }\nweb = \"x\"");
    sources.inherited.insert("PORT".to_owned(), "3000".to_owned());
    let ports: Vec<u16> = plan(&sources).processes.iter().map(|p| p.exec.port).collect();
    assert_eq!(ports, [3100, 9000, 3000]);
}

#[test]
fn secrets_that_others_may_read_and_names_that_svd_owns_get_warnings() {
    let mut sources = toml("env_file = \".env\"\nenv = { SVD_INDEX = \"1\" }\nprocess.web = \"x\"");
    sources.others = vec![env_file("/srv/shop/.env", "A=1\n")];
    sources.others[0].mode = 0o644;
    let warnings: Vec<String> = plan_and_warnings(&sources).1.iter().map(ToString::to_string).collect();
    assert_eq!(
        warnings,
        [
            "Procfile.toml:2:9: warning: SVD_INDEX is set by svd itself; what is said here has no effect; choose another name",
            "/srv/shop/.env:1:1: warning: everybody may use this file (mode 0644); chmod 0640 /srv/shop/.env",
        ]
    );
}

#[test]
fn only_selects_and_drops_what_is_waited_for_with_a_warning() {
    let mut sources = toml("[process]\ndb = \"x\"\nweb = { run = \"x\", after = [\"db\"] }");
    sources.only = vec!["web".to_owned()];
    let (plan, warnings) = plan_and_warnings(&sources);
    assert_eq!(plan.processes.len(), 1);
    assert!(plan.processes[0].after.is_empty());
    assert_eq!(
        warnings[0].to_string(),
        "Procfile.toml: warning: web starts without waiting for db, which --only leaves out; name db in --only too"
    );
}

#[test]
fn processes_keep_the_order_of_the_file() {
    let text = "[process.z]\nrun = \"x\"\n[process]\nm = \"x\"\n[process.a]\nrun = \"x\"\n";
    let plan = plan(&toml(text));
    assert_eq!(plan.processes.iter().map(|p| p.name.as_str()).collect::<Vec<_>>(), ["z", "m", "a"]);
}

#[test]
fn the_same_sources_give_the_same_plan() {
    let sources = toml("process.web = \"x\"\n[process.db]\nrun = \"y\"");
    assert_eq!(plan(&sources), plan(&sources.clone()));
}

#[test]
fn defaults_do_not_make_one_shots_impossible() {
    let text = "[defaults]\nrestart = \"always\"\nready = { notify = true }\n[process]\nm = { run = \"x\", oneshot = true }\nweb = \"x\"";
    let plan = plan(&toml(text));
    assert_eq!(plan.process("m").unwrap().restart.when, RestartWhen::Never);
    assert_eq!(plan.process("m").unwrap().ready.by, ReadyBy::Started);
    assert_eq!(plan.process("web").unwrap().ready.by, ReadyBy::Notify);
}

#[test]
fn the_caller_learns_what_else_to_read() {
    let dir = PathBuf::from("/srv/shop");
    let main = toml(
        "include = [\"conf.d/*.toml\", \"a.toml\"]\nenv_file = \".env\"\noverlay_allows = [\"env_file\"]\n\
         [process.web]\nrun = \"x\"\nenv_file = [\"web.env\", \".env\"]\n[environment.staging]\nprocess.web.env_file = \"s.env\"",
    )
    .main;
    let found: Vec<(String, Need)> = wanted(&main, &dir, Some("staging"))
        .unwrap()
        .into_iter()
        .map(|w| (format!("{} {}", w.path.display(), w.named_at), w.need))
        .collect();
    let expected = [
        ("/srv/shop/conf.d/*.toml Procfile.toml:1:12", Need::Pattern),
        ("/srv/shop/a.toml Procfile.toml:1:29", Need::Required),
        ("/srv/shop/.env Procfile.toml:2:12", Need::Required),
        ("/srv/shop/web.env Procfile.toml:6:13", Need::Required),
        ("/srv/shop/s.env Procfile.toml:8:24", Need::Required),
    ];
    assert_eq!(found, expected.map(|(text, need)| (text.to_owned(), need)));
    let included = source("/srv/shop/a.toml", SourceKind::Toml, "process.b = { run = \"x\", env_file = \"b.env\" }");
    assert_eq!(wanted_by_included(&included, &dir)[0].path, PathBuf::from("/srv/shop/b.env"));
    let plain = wanted(&procfile("web: x").main, &dir, None).unwrap();
    assert_eq!((plain[0].path.clone(), plain[0].need), (PathBuf::from("/srv/shop/.env"), Need::Optional));
    assert!(wanted(&toml("[").main, &dir, None).is_err());
}
