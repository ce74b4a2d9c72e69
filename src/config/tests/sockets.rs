//! Listeners: what can be said of them, what comes out, and what is refused.

mod common;

use std::path::PathBuf;
use std::time::Duration;

use common::{env_file, errors, plan, plan_and_warnings, procfile, toml};
use svd_config::plan::*;
use svd_config::{Sources, fingerprint};

fn web(line: &str) -> Sources {
    toml(&format!("[process.web]\nrun = \"x\"\n{line}\n"))
}

#[track_caller]
fn check_listen(line: &str, expected: &[(&str, ListenAddress, Traffic)]) {
    let plan = plan(&web(line));
    let found = plan.process("web").unwrap().listen.clone();
    let expected: Vec<ListenerPlan> = expected
        .iter()
        .map(|(name, address, traffic)| ListenerPlan {
            name: (*name).to_owned(),
            address: address.clone(),
            traffic: *traffic,
        })
        .collect();
    assert_eq!(found, expected, "{line}");
}

fn tcp(address: &str) -> ListenAddress {
    ListenAddress::Tcp { address: address.parse().unwrap(), v6only: false }
}

fn unix(path: &str) -> ListenAddress {
    ListenAddress::Unix { path: PathBuf::from(path), mode: 0o660, user: None, group: None }
}

/// The messages of all errors, with their places, and the way out of each.
#[track_caller]
fn check_errors(sources: &Sources, expected: &[(&str, &str)]) {
    let found = errors(sources);
    let shown: Vec<(String, String)> = found
        .problems
        .iter()
        .map(|p| (format!("{}:{}: {}", p.line, p.column, p.message), p.help.clone().unwrap_or_default()))
        .collect();
    let shown: Vec<(&str, &str)> = shown.iter().map(|(message, help)| (message.as_str(), help.as_str())).collect();
    assert_eq!(shown, expected);
}

#[track_caller]
fn check_warnings(sources: &Sources, expected: &[&str]) {
    let warnings: Vec<String> = plan_and_warnings(sources).1.iter().map(ToString::to_string).collect();
    assert_eq!(warnings, expected);
}

#[test]
fn listeners_of_every_form_get_into_the_plan_in_their_order() {
    let gated = Traffic::Gated;
    check_listen("listen = \"0.0.0.0:8080\"", &[("http", tcp("0.0.0.0:8080"), gated)]);
    check_listen("listen = \":8080\"", &[("http", tcp("[::]:8080"), gated)]);
    check_listen("listen = \"[::1]:0\"", &[("http", tcp("[::1]:0"), gated)]);
    check_listen("listen = \"unix:run/web.sock\"", &[("unix", unix("/srv/shop/run/web.sock"), Traffic::Shared)]);
    let udp = ListenAddress::Udp { address: "127.0.0.1:53".parse().unwrap(), v6only: false };
    check_listen("listen = \"udp:127.0.0.1:53\"", &[("udp", udp, Traffic::Shared)]);
    check_listen(
        "listen = { web = \"0.0.0.0:8080\", admin = \"unix:/run/shop/admin.sock\" }",
        &[("web", tcp("0.0.0.0:8080"), gated), ("admin", unix("/run/shop/admin.sock"), Traffic::Shared)],
    );
    check_listen(
        "traffic = \"shared\"\nlisten = { a = \"0.0.0.0:8080\", b = { address = \"0.0.0.0:8081\", traffic = \"gated\" } }",
        &[("a", tcp("0.0.0.0:8080"), Traffic::Shared), ("b", tcp("0.0.0.0:8081"), gated)],
    );
    let owned = ListenAddress::Unix {
        path: PathBuf::from("/srv/shop/a.sock"),
        mode: 0o666,
        user: Some("www-data".to_owned()),
        group: Some("33".to_owned()),
    };
    check_listen(
        "[process.web.listen.app]\naddress = \"unix:a.sock\"\nmode = 0o666\nuser = \"www-data\"\ngroup = 33",
        &[("app", owned, Traffic::Shared)],
    );
    let v6 = ListenAddress::Tcp { address: "[::]:8080".parse().unwrap(), v6only: true };
    check_listen(
        "listen = { v4 = \"0.0.0.0:8080\", v6 = { address = \":8080\", v6only = true } }",
        &[("v4", tcp("0.0.0.0:8080"), gated), ("v6", v6, gated)],
    );
}

#[test]
fn what_a_process_with_listeners_does_by_default_is_decided_by_them() {
    let of = |lines: &str| plan(&web(lines)).processes.remove(0);
    let minute = Duration::from_secs(60);
    let tcp = of("listen = \"0.0.0.0:8080\"");
    assert_eq!(tcp.ready, ReadyPlan { by: ReadyBy::Listening, timeout: minute, late: Late::Fails });
    assert_eq!((tcp.update.strategy, &tcp.handoff, tcp.is_gated()), (Strategy::Overlap, &Handoff::Auto, true));
    let unix = of("listen = \"unix:a.sock\"");
    assert_eq!((unix.ready.by, unix.update.strategy), (ReadyBy::Listening, Strategy::Overlap));
    // What is handed to nobody is no reason for anything
    let held = of("listen = \"0.0.0.0:8080\"\nhandoff = \"none\"");
    assert_eq!((held.ready.by, held.update.strategy), (ReadyBy::Started, Strategy::Exclusive));
    // Datagrams are not listened for
    let udp = of("listen = \"udp::53\"");
    assert_eq!((udp.ready.by, udp.update.strategy), (ReadyBy::Started, Strategy::Overlap));
    let quiet = of("quiet = \"TSTP\"");
    assert_eq!((quiet.update.strategy, quiet.quiet), (Strategy::Handover, Some(20)));
    assert_eq!(of("").update.strategy, Strategy::Exclusive);
    assert_eq!(of("oneshot = true\nquiet = \"TSTP\"").update.strategy, Strategy::Exclusive);
}

#[test]
fn variables_in_an_address_are_replaced_and_ports_go_around_it() {
    // Given a port that nobody says, one that the config says, and addresses with and without it
    let text = "[process]
web = { run = \"x\", listen = \"0.0.0.0:$PORT\" }
api = { run = \"x\", listen = \"$HOST:${PORT:-5200}\", env = { HOST = \"127.0.0.1\" } }
own = { run = \"x\", listen = \"127.0.0.1:$PORT\", env = { PORT = \"9000\" } }
path = { run = \"x\", listen = \"unix:${RUN:-run}/$NAME.sock\", env_file = \"web.env\" }
job = { run = \"x\" }";
    let mut sources = toml(text);
    sources.others = vec![env_file("web.env", "NAME=path\n")];
    let addresses = |sources: &Sources| -> Vec<Option<ListenAddress>> {
        plan(sources).processes.iter().map(|p| p.listen.first().map(|listener| listener.address.clone())).collect()
    };
    let path = Some(unix("/srv/shop/run/path.sock"));
    // Then the default in the address counts, and the port that it takes is told to nobody else
    assert_eq!(
        addresses(&sources),
        [Some(tcp("0.0.0.0:5000")), Some(tcp("127.0.0.1:5200")), Some(tcp("127.0.0.1:9000")), path.clone(), None]
    );
    let ports: Vec<u16> = plan(&sources).processes.iter().map(|p| p.exec.port).collect();
    assert_eq!(ports, [5000, 5100, 9000, 5300, 5400]);
    // And where somebody says a port, it is the one of the process
    sources.inherited.insert("PORT".to_owned(), "7000".to_owned());
    assert_eq!(
        addresses(&sources),
        [Some(tcp("0.0.0.0:7000")), Some(tcp("127.0.0.1:7100")), Some(tcp("127.0.0.1:9000")), path, None]
    );
}

#[test]
fn web_of_a_plain_procfile_owns_the_port_that_it_is_told() {
    let mut sources = procfile("worker: work\nweb: srv -p $PORT\n");
    sources.others = vec![env_file("/srv/shop/.env", "PORT=7000\n")];
    let (plan, warnings) = plan_and_warnings(&sources);
    let web = plan.process("web").unwrap();
    let expected = ListenerPlan { name: "http".to_owned(), address: tcp("0.0.0.0:7000"), traffic: Traffic::Gated };
    assert_eq!(web.listen, [expected]);
    assert_eq!((&web.handoff, web.update.strategy), (&Handoff::Auto, Strategy::Overlap));
    let ready = ReadyPlan { by: ReadyBy::Listening, timeout: Duration::from_secs(10), late: Late::Counts };
    assert_eq!(web.ready, ready);
    let worker = plan.process("worker").unwrap();
    assert_eq!((worker.listen.len(), &worker.ready.by), (0, &ReadyBy::Started));
    assert_eq!(warnings, []);
}

#[test]
fn an_address_that_is_none_is_refused_with_the_one_to_write() {
    check_errors(
        &web("listen = \"localhost:8080\""),
        &[(
            "3:10: \"localhost:8080\" in \"listen\" in [process.web] has a name where an IP address must be",
            "write \"127.0.0.1:8080\", or \"[::1]:8080\" for IPv6",
        )],
    );
    check_errors(
        &web("listen = \"localhost:${PORT:-8080}\""),
        &[(
            "3:10: \"localhost:${PORT:-8080}\" in \"listen\" in [process.web] has a name where an IP address must be",
            "write \"127.0.0.1:${PORT:-8080}\", or \"[::1]:${PORT:-8080}\" for IPv6",
        )],
    );
    check_errors(
        &web("listen = { http = 8080, b = \"/run/b.sock\", c = { address = \"1.2.3.4\" } }"),
        &[
            (
                "3:19: \"listen\" in [process.web] must be an address, or a table of listeners by name, each an address or a table with address; found the number 8080",
                "",
            ),
            ("3:29: \"/run/b.sock\" in \"b\" in [process.web.listen] is a path", "write \"unix:/run/b.sock\""),
            (
                "3:60: \"1.2.3.4\" in \"c\" in [process.web.listen] has no port",
                "write \"127.0.0.1:8080\", \"[::1]:8080\", \":8080\" for all addresses, \"udp:127.0.0.1:53\" or \"unix:run/web.sock\"",
            ),
        ],
    );
    check_errors(
        &web("listen = { address = \"0.0.0.0:80\" }"),
        &[(
            "3:12: \"address\" in \"listen\" in [process.web] is a key of one listener, and a listener's name stands above it",
            "write listen = { http = { address = \"…\" } }, with a name of your own for http",
        )],
    );
    check_errors(
        &web("listen = { \"a b\" = \"0.0.0.0:80\", c = { adress = \"x\" }, d = {} }"),
        &[
            ("3:12: \"a b\" is not the name of a listener; names have letters, digits, _ and -, at most 64", ""),
            ("3:34: [process.web.listen.c] has no \"address\"", ""),
            ("3:40: unknown key \"adress\" in [process.web.listen.c]; did you mean \"address\"?", ""),
            ("3:56: [process.web.listen.d] has no \"address\"", ""),
        ],
    );
    check_errors(
        &web("listen = {}"),
        &[(
            "3:10: \"listen\" in [process.web] must be an address, or a table of listeners by name, each an address or a table with address; found a table without anything in it",
            "",
        )],
    );
    check_errors(
        &web(&format!("listen = \"unix:{}\"", "x".repeat(98))),
        &[(
            "3:10: the path of \"listen\" in [process.web] has 108 bytes; a socket's path has at most 107",
            "write a shorter one, such as unix:/run/NAME.sock",
        )],
    );
    plan(&web(&format!("listen = \"unix:{}\"", "x".repeat(97))));
}

#[test]
fn a_variable_in_an_address_must_be_set_and_its_value_is_not_shown() {
    check_errors(
        &web("listen = \"$SECRET:8080\""),
        &[(
            "3:10: \"listen\" in [process.web] uses $SECRET, which is not set; svd's own environment has it, but keep_env does not",
            "set it in env, or write ${SECRET:-default}",
        )],
    );
    check_errors(
        &web("listen = \"${HOST}:8080\"\nenv = { HOST = \"hunter2\" }"),
        &[(
            "3:10: \"${HOST}:8080\" in \"listen\" in [process.web], with its variables replaced, has a name where an IP address must be",
            "see what the variables are, or write the address itself",
        )],
    );
}

#[test]
fn addresses_that_collide_are_told_with_both_places() {
    check_errors(
        &toml(
            "[process.web]\nrun = \"x\"\nlisten = \"0.0.0.0:8080\"\n[process.api]\nrun = \"x\"\nlisten = { a = \"127.0.0.1:8081\", b = \"127.0.0.1:8080\" }",
        ),
        &[(
            "6:38: listener \"b\" of process \"api\" at 127.0.0.1:8080 collides with listener \"http\" of process \"web\" at 0.0.0.0:8080, said at Procfile.toml:3:10",
            "give each its own; the instances of one process share its listeners anyway",
        )],
    );
    check_errors(
        &web("listen = { a = \"127.0.0.1:0\", b = \"127.0.0.1:0\" }"),
        &[(
            "3:35: listeners \"a\" and \"b\" of process \"web\" are both 127.0.0.1:0 and could not be told apart",
            "give one of them a port, or another address such as 127.0.0.2:0",
        )],
    );
    check_errors(
        &web("listen = { a = \"unix:run/a.sock\", b = \"unix:/srv/shop/run/a.sock\" }"),
        &[(
            "3:39: listener \"b\" of process \"web\" at unix:/srv/shop/run/a.sock collides with listener \"a\" of process \"web\" at unix:/srv/shop/run/a.sock, said at Procfile.toml:3:16",
            "give each its own; the instances of one process share its listeners anyway",
        )],
    );
    plan(&toml(
        "[defaults]\nlisten = \"127.0.0.1:0\"\n[process]\na = \"x\"\nb = \"x\"\nm = { run = \"x\", oneshot = true }",
    ));
    plan(&toml("[defaults]\nlisten = \"127.0.0.1:$PORT\"\n[process]\na = \"x\"\nb = \"x\""));
}

#[test]
fn options_go_with_their_kind_of_address_only() {
    check_errors(
        &web(
            "listen = { a = { address = \"0.0.0.0:80\", mode = \"0660\", v6only = true }, b = { address = \"unix:b\", v6only = true, traffic = \"gated\" } }",
        ),
        &[
            ("3:49: mode of \"a\" in [process.web.listen] only goes with unix: paths", ""),
            ("3:66: v6only of \"a\" in [process.web.listen] only goes with IPv6 addresses", ""),
            ("3:109: v6only of \"b\" in [process.web.listen] only goes with IPv6 addresses", ""),
            (
                "3:125: traffic of \"b\" in [process.web.listen] cannot be \"gated\": only TCP has a gate",
                "write \"shared\", or leave it out: all instances take from one queue",
            ),
        ],
    );
    check_errors(
        &web("listen = \"udp::53\"\ntraffic = \"gated\""),
        &[(
            "4:11: \"traffic\" in [process.web] cannot be \"gated\": only TCP has a gate",
            "write \"shared\", or leave it out: all instances take from one queue",
        )],
    );
    plan(&web("listen = { a = \"udp::53\", b = \":80\" }\ntraffic = \"gated\""));
    check_errors(
        &web("traffic = \"shared\"\nhandoff = \"stdin\"\nready = \"listening\""),
        &[
            (
                "3:11: \"traffic\" in [process.web] is about listeners, and it has none",
                "say where it listens: listen = \"127.0.0.1:8080\"",
            ),
            (
                "4:11: \"handoff\" in [process.web] is about listeners, and it has none",
                "say where it listens: listen = \"127.0.0.1:8080\"",
            ),
            (
                "5:9: process \"web\" cannot be seen to listen: it has no \"listen\"",
                "say where it listens: listen = \"127.0.0.1:8080\", or take ready.tcp or ready.http",
            ),
        ],
    );
    // What the defaults say of listeners is nothing to who has none
    plan(&toml("[defaults]\ntraffic = \"shared\"\nhandoff = \"stdin\"\nready = \"listening\"\n[process]\nweb = \"x\""));
}

#[test]
fn handoffs_are_planned_and_checked() {
    let handoff =
        |text: &str| plan(&web(&format!("listen = \":80\"\nhandoff = \"{text}\""))).processes.remove(0).handoff;
    let env = |name: &str, template: &str| Handoff::Env { name: name.to_owned(), template: template.to_owned() };
    assert_eq!(handoff("listen-fds"), Handoff::ListenFds);
    assert_eq!(handoff("intercept"), Handoff::Intercept);
    assert_eq!(handoff("stdin"), Handoff::Stdin);
    assert_eq!(handoff("env:NGINX"), env("NGINX", "{fd};"));
    assert!(handoff("env:NGINX").wants_nonblocking() && !handoff("env:FPM_SOCKETS").wants_nonblocking());
    assert_eq!(handoff("env:FPM_SOCKETS"), env("FPM_SOCKETS", "{address}={fd}{,}"));
    assert_eq!(handoff("env:FDS={name}:{fd}{ }"), env("FDS", "{name}:{fd}{ }"));
    check_errors(
        &web("listen = \":80\"\nhandoff = \"env:FDS={pid}\""),
        &[(
            "4:11: \"handoff\" in [process.web] must be \"auto\", \"listen-fds\", \"intercept\", \"stdin\", \"env:NAME\", \"env:NAME=TEMPLATE\" or \"none\"; found \"env:FDS={pid}\"; \"{pid\" in the template is none of {fd}, {address}, {port}, {name} and a mark between listeners such as {,}",
            "",
        )],
    );
    check_errors(
        &web("listen = { a = \":80\", b = \":81\" }\nhandoff = \"stdin\""),
        &[(
            "4:11: handoff = \"stdin\" in [process.web] takes one listener, and there are 2",
            "take \"auto\" or \"listen-fds\", or one listener",
        )],
    );
    check_errors(
        &web("listen = \":80\"\nhandoff = \"none\"\nready = { listening = true }"),
        &[(
            "5:9: process \"web\" cannot be seen to listen: handoff = \"none\" hands it nothing",
            "take another handoff, or another evidence",
        )],
    );
}

#[test]
fn a_listener_that_cannot_be_read_is_told_once() {
    check_errors(
        &web(
            "listen = 8080\ntraffic = \"gated\"\nhandoff = \"stdin\"\nready = \"listening\"\nupdate = { canary = [\"10% 1m\"], strategy = \"overlap\" }",
        ),
        &[(
            "3:10: \"listen\" in [process.web] must be an address, or a table of listeners by name, each an address or a table with address; found the number 8080",
            "",
        )],
    );
    check_errors(
        &web("listen = \"8080\"\nready = \"listening\"\nupdate = { canary = [\"10% 1m\"], strategy = \"overlap\" }"),
        &[(
            "3:10: \"8080\" in \"listen\" in [process.web] has no address",
            "write \":8080\" for all addresses, or \"127.0.0.1:8080\" for this machine only",
        )],
    );
    check_errors(
        &web("listen = \"udp::53\"\nready = \"listening\""),
        &[(
            "4:9: process \"web\" cannot be seen to listen: datagrams come without that",
            "take another evidence, such as ready.log",
        )],
    );
}

#[test]
fn an_overlay_may_move_listeners_where_it_is_allowed_to() {
    let mut sources = toml(
        "overlay_allows = [\"listen\"]\n[process.web]\nrun = \"x\"\nlisten = \":80\"\n[environment.dev]\nprocess.web.listen = \"127.0.0.1:8080\"",
    );
    sources.environment = Some("dev".to_owned());
    assert_eq!(plan(&sources).processes[0].listen[0].address, tcp("127.0.0.1:8080"));
}

#[test]
fn the_descriptor_of_readiness_is_no_listeners() {
    check_errors(
        &web("listen = { a = \":80\", b = \":81\" }\nready = { fd = 4 }"),
        &[(
            "4:9: descriptor 4 in \"ready\" in [process.web] is one of its listeners, which begin with 3",
            "write ready = { fd = 5 }",
        )],
    );
    plan(&web("listen = { a = \":80\", b = \":81\" }\nready = { fd = 5 }"));
    plan(&web("listen = \":80\"\nhandoff = \"intercept\"\nready = { fd = 3 }"));
}

#[test]
fn one_shots_have_no_listeners() {
    check_errors(
        &web(
            "oneshot = true\nlisten = \":80\"\nhealth = { tcp = true }\nrecycle = { age = \"1d\" }\npreset = \"node\"",
        ),
        &[
            ("4:10: process \"web\" is a one-shot, which runs to completion: \"listen\" does not go with it", ""),
            ("5:10: process \"web\" is a one-shot, which runs to completion: \"health\" does not go with it", ""),
            ("6:1: process \"web\" is a one-shot, which runs to completion: \"recycle\" does not go with it", ""),
            ("7:10: process \"web\" is a one-shot, which runs to completion: \"preset\" does not go with it", ""),
        ],
    );
}

#[test]
fn a_port_that_is_told_in_two_ways_gets_a_warning() {
    check_warnings(
        &web("listen = \"0.0.0.0:8080\"\nenv = { PORT = \"8081\" }"),
        &[
            "Procfile.toml:4:9: warning: PORT of web is that of its listener \"http\", 8080, not 8081; leave PORT out, or write listen with $PORT",
        ],
    );
    check_warnings(&web("listen = \"0.0.0.0:8080\"\nenv = { PORT = \"8080\" }"), &[]);
    check_warnings(
        &web("listen = \":80\"\nhandoff = \"env:NGINX\"\nenv = { NGINX = \"4;\" }"),
        &[
            "Procfile.toml:5:9: warning: NGINX of web is set by its handoff; what is said here has no effect; leave it out, or take another handoff",
        ],
    );
    check_warnings(
        &web("listen = \"0.0.0.0:0\"\nenv = { PORT = \"8081\" }"),
        &[
            "Procfile.toml:4:9: warning: PORT of web is that of its listener \"http\", the one that svd picks for it, not 8081; leave PORT out, or write listen with $PORT",
        ],
    );
    check_warnings(
        &toml(
            "[process.a]\nrun = \"x\"\nenv = { PORT = \"8080\" }\n[process.web]\nrun = \"x\"\nlisten = \"0.0.0.0:8080\"",
        ),
        &["Procfile.toml:3:9: warning: a gets a PORT on which web listens; give each its own, a count apart"],
    );
}

#[test]
fn listeners_are_part_of_what_an_instance_was_started_with() {
    let of = |lines: &str| fingerprint(&plan(&web(lines)).processes[0]);
    let base = of("listen = \":80\"");
    for other in [
        "",
        "listen = \":81\"",
        "listen = { web = \":80\" }",
        "listen = \":80\"\ntraffic = \"shared\"",
        "listen = \":80\"\nhandoff = \"stdin\"",
        "listen = \":80\"\nhandoff = \"env:A\"",
    ] {
        assert_ne!(of(other), base, "{other}");
    }
    // And what is only about replacing it is not, nor a port that it is not told
    for same in [
        "listen = \":80\"\nupdate = { bake = \"10s\" }\nhealth = { tcp = true }\nquiet = \"USR1\"\ndrained = \"x\"\nrecycle = { age = \"1d\" }",
        "listen = \":80\"\nenv = { PORT = \"80\" }",
    ] {
        assert_eq!(of(same), base, "{same}");
    }
}
