//! The control socket does what its table says, for those who may, and nothing else.

mod common;

use common::{App, ask, connect, request, skipped};
use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::process::Command;

const CONFIG: &str = "process.web = { run = [\"sleep\", \"1000\"] }\n";

/// A name that is looked up in anything but a closed table runs code sooner or later.
/// Fault 55.
#[test]
fn what_is_not_in_the_table_is_answered_with_an_error_and_does_nothing() {
    // given
    let app = App::start(CONFIG);
    app.wait("web", "ready");
    let pid = app.pid("web.1");
    // when: names that reached code elsewhere, and methods that the table does not have
    let paths = [
        "/",
        "/v1",
        "/v1/",
        "/v2/status",
        "/V1/status",
        "/v1/status/",
        "/v1/../v1/status",
        "/v1/%2e%2e/status",
        "//v1/status",
        "/v1/processes/stop/web",
        "/v1/processes/__class__",
        "/v1/system.listMethods",
        "/RPC2",
        "/v1/processes/supervisor.supervisord.options.execve",
        "/v1/status%00",
        "/v1/processes/..%2f..%2fetc",
        "/v1/logs/../../../../etc/passwd",
        "/metrics/../etc",
        "/v1/shutdown/now",
    ];
    for path in paths {
        for method in ["GET", "POST", "DELETE", "PUT", "PATCH", "CONNECT", "TRACE", "BREW", "get"] {
            let Ok(answer) = request(&app.socket(), method, path, (method == "POST").then_some("{}")) else { continue };
            assert!((400..500).contains(&answer.status), "{method} {path}: {answer:?}");
        }
    }
    for (method, path) in
        [("GET", "/v1/shutdown"), ("POST", "/v1/status"), ("DELETE", "/v1/processes/web"), ("PUT", "/v1/apply")]
    {
        let answer = request(&app.socket(), method, path, None).unwrap();
        assert_eq!(answer.status, 405, "{method} {path}: {answer:?}");
    }
    // and: bodies that are not what they should be
    let bodies = [
        "",
        "{",
        "[]",
        "null",
        "{\"targets\":[]}",
        "{\"targets\":\"web\"}",
        "{\"targets\":[\"web\"],\"__init__\":1}",
        "{\"targets\":[\"../web\"]}",
        "{\"targets\":[\"no-such\"]}",
        "{\"targets\":[\"web.99\"]}",
        "{\"targets\":[1]}",
    ];
    for body in bodies {
        let answer = request(&app.socket(), "POST", "/v1/processes/stop", Some(body)).unwrap();
        assert!((400..500).contains(&answer.status), "{body}: {answer:?}");
        assert!(!answer.body.is_empty(), "{body}");
    }
    // and: parameters that the table does not have
    for path in
        ["/v1/status?verbose=1", "/v1/logs?file=/etc/passwd", "/v1/events?limit=-1", "/v1/wait?target=web&for=ever"]
    {
        let answer = request(&app.socket(), "GET", path, None).unwrap();
        assert_eq!(answer.status, 400, "{path}: {answer:?}");
    }
    // then
    assert_eq!(app.pid("web.1"), pid);
    assert_eq!(app.instance("web.1")["state"], "ready");
}

/// Garbage, huge heads and bodies, and clients that say nothing: bounded, and the next client is served.
/// Fault 57.
#[test]
fn garbage_floods_and_silent_clients_do_not_keep_others_from_being_served() {
    let app = App::start(CONFIG);
    app.wait("web", "ready");
    let before = common::open_descriptors(app.keeper()).len();
    // when: many connect and say nothing, or half a request
    let idle: Vec<_> = (0..100).filter_map(|_| connect(&app.socket()).ok()).collect();
    let mut slow: Vec<_> = (0..20).filter_map(|_| connect(&app.socket()).ok()).collect();
    for stream in &mut slow {
        let _ = stream.write_all(b"GET /v1/sta");
    }
    // and: what is no HTTP, or too large
    let garbage: Vec<Vec<u8>> = vec![
        b"\0\0\0\0\xff\xff\xff\xff".to_vec(),
        vec![b'A'; 300_000],
        [b"GET /v1/status HTTP/1.1\r\nX: ".to_vec(), vec![b'y'; 300_000], b"\r\n\r\n".to_vec()].concat(),
        b"POST /v1/apply HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999\r\n\r\n{".to_vec(),
        b"POST /v1/apply HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n".to_vec(),
        [
            b"POST /v1/apply HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 3000000\r\n\r\n".to_vec(),
            vec![b'{'; 3_000_000],
        ]
        .concat(),
    ];
    for bytes in garbage {
        let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(60)]).into_owned();
        if let Ok(answer) = ask(&app.socket(), &bytes) {
            assert!((400..600).contains(&answer.status), "{shown}: {answer:?}");
        }
    }
    // then: a good client is served at once
    let start = std::time::Instant::now();
    drop(idle);
    app.status();
    assert!(start.elapsed() < std::time::Duration::from_secs(2), "{:?}", start.elapsed());
    // and: a slow one is either still waited for or was closed, and the keeper holds nothing of it
    for mut stream in slow {
        let _ = stream.write_all(b"tus HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        let mut all = Vec::new();
        let _ = stream.read_to_end(&mut all);
        assert!(all.is_empty() || all.starts_with(b"HTTP/1.1 "), "{:?}", String::from_utf8_lossy(&all));
    }
    assert_eq!(common::open_descriptors(app.keeper()).len(), before);
    app.ok(&["restart", "web"]);
}

/// Runs svctl as another user.
fn as_user(app: &App, uid: u32, gid: u32, args: &[&str]) -> common::Reply {
    // Where the build directory is in somebody's home, others cannot run what is in it.
    let copy = app.path("svctl-for-all");
    if !copy.exists() {
        // By another process: a descriptor of ours for writing to it would be in the children of other tests for a
        // moment, and a program that is open for writing cannot be run.
        let mut install = Command::new("install");
        install.args(["-m", "755", env!("CARGO_BIN_EXE_svctl")]).arg(&copy);
        assert!(install.status().unwrap().success());
    }
    let mut command = Command::new(copy);
    command.arg("--socket").arg(app.socket()).args(args).current_dir("/").uid(uid).gid(gid);
    common::Reply::of(command)
}

/// Who may look, who may change, and who may see secrets.
/// Fault 56.
#[test]
fn groups_decide_what_another_user_may_do() {
    if svd_sys::process::uid() != 0 {
        return skipped("becoming other users needs root");
    }
    const NOBODY: u32 = 65_534;
    const MEMBERS: u32 = 64_321;
    let look = &["status"][..];
    let change = &["restart", "web"][..];
    let exec = &["exec", "--", "true"][..];
    // (config, gid of the caller, what is allowed: look, change, exec)
    let cases = [
        ("", MEMBERS, [false, false, false]),
        ("[control]\nsocket_mode = \"0666\"\n", MEMBERS, [false, false, false]),
        ("[control]\nread_group = \"64321\"\nsocket_mode = \"0666\"\n", MEMBERS, [true, false, false]),
        ("[control]\nread_group = \"64321\"\nsocket_mode = \"0666\"\n", NOBODY, [false, false, false]),
        ("[control]\nsocket_group = \"64321\"\n", MEMBERS, [true, true, false]),
        ("[control]\nsocket_group = \"64321\"\n", NOBODY, [false, false, false]),
    ];
    for (control, gid, allowed) in cases {
        let app = App::start(&format!("{CONFIG}{control}"));
        app.wait("web", "ready");
        for (args, allowed) in [look, change, exec].iter().zip(allowed) {
            let reply = as_user(&app, NOBODY, gid, args);
            assert_eq!(reply.code == Some(0), allowed, "{control:?} gid {gid} {args:?}: {reply:?}");
        }
        // and: root may do everything
        for args in [look, change, exec] {
            app.ok(args);
        }
    }
}

/// Values of the environment are for those who could read them anyway.
/// Fault 63.
#[test]
fn no_secret_is_in_status_events_env_why_or_any_readable_file() {
    // given
    let app = App::new(
        "[process.web]
         run = [\"sleep\", \"1000\"]
         env = { TOKEN = \"canary-in-config\" }
         env_file = \"secret.env\"",
    );
    app.write("secret.env", "PASSWORD=canary-in-file\n");
    let mut app = app;
    app.boot();
    app.wait("web", "ready");
    assert_eq!(common::environ(app.pid("web.1"))["PASSWORD"], "canary-in-file");
    // then
    for path in [
        "/v1/status",
        "/v1/events",
        "/v1/env?process=web",
        "/v1/why?target=web",
        "/v1/processes/web",
        "/v1/openapi.json",
    ] {
        let answer = app.request("GET", path, None);
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        assert!(!answer.body.contains("canary"), "{path}: {}", answer.body);
    }
    let names = app.ok(&["env", "web"]);
    assert!(names.contains("TOKEN") && names.contains("PASSWORD") && !names.contains("canary"), "{names}");
    for file in files(&app.path("root")) {
        let bytes = std::fs::read(&file).unwrap_or_default();
        let found = bytes.windows(6).any(|six| six == b"canary");
        assert!(!found, "{} has a secret in it", file.display());
    }
    // and: exec, for root, has them
    let reply = app.svctl(&["exec", "--process", "web", "--", "sh", "-c", "echo $TOKEN $PASSWORD; exit 3"]);
    assert_eq!((reply.code, reply.out.as_str()), (Some(3), "canary-in-config canary-in-file\n"), "{reply:?}");
}

fn files(dir: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            found.extend(files(&entry.path()));
        } else if entry.file_type().unwrap().is_file() {
            found.push(entry.path());
        }
    }
    found
}

#[test]
fn scripts_get_json_and_exit_codes() {
    let app = App::start(
        "process.web = { run = [\"sleep\", \"1000\"] }\nprocess.bad = { run = \"false\", restart = \"never\" }\n",
    );
    app.until_state("bad.1", "failed");
    app.wait("web", "ready");
    let status: serde_json::Value = serde_json::from_str(&app.ok(&["status", "--json"])).unwrap();
    assert_eq!(status["processes"][0]["instances"][0]["id"], "web.1");
    assert_eq!(status["svd"]["keeper_pid"].as_i64(), Some(i64::from(app.keeper())));
    let text = app.ok(&["status"]);
    assert!(text.contains("web.1") && text.contains("ready") && !text.contains('\u{1b}'), "{text}");
    let reply = app.svctl(&["wait", "bad", "--for", "ready", "--timeout", "1s"]);
    assert_eq!(reply.code, Some(1), "{reply:?}");
    let why = app.ok(&["why", "bad"]);
    assert!(why.contains("exited with code 1"), "{why}");
    let events: serde_json::Value = serde_json::from_str(&app.ok(&["--json", "events", "-n", "100"])).unwrap();
    assert!(events.as_array().unwrap().iter().any(|event| event["kind"] == "instance.ready"), "{events:#}");
    assert_eq!(app.svctl(&["check"]).code, Some(0));
}
