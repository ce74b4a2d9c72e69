//! Commands: outcomes become exit codes, and what is unknown is called unknown.

use super::*;

fn result(outcome: &str, message: &str) -> String {
    format!(r#"{{"outcome":"{outcome}","message":"{message}","changes":["web.1"]}}"#)
}

fn status() -> String {
    r#"{"app":"shop","environment":null,"release":null,
        "svd":{"version":"0.1.0","keeper_pid":1,"manager_pid":17,"manager_starts":2,"state":"running","config":"/c","root":"/r"},
        "processes":[],"jobs":[],"deploy":null}"#
        .to_owned()
}

#[test]
fn done_is_0_and_says_what_was_changed() {
    let server = Server::new(vec![("POST /v1/processes/stop", Reply::Json(200, result("done", "stopped web")))]);
    let ran = svctl(server.socket(), &["stop", "web", "db.*", "--reason", "maintenance"]);
    assert_eq!((ran.code, ran.out.as_str()), (0, "stopped web\n  web.1\n"), "{ran:?}");
    assert_eq!(
        server.requests(),
        [r#"POST /v1/processes/stop {"targets":["web","db.*"],"reason":"maintenance","dry_run":false}"#]
    );
}

#[test]
fn refused_is_3_and_failed_is_1() {
    for (status, outcome, code) in [(409, "refused", 3), (500, "failed", 1)] {
        let reply = Reply::Json(status, result(outcome, "not today"));
        let server = Server::new(vec![("POST /v1/processes/restart", reply)]);
        let ran = svctl(server.socket(), &["restart", "web"]);
        assert_eq!((ran.code, ran.err.as_str()), (code, "svctl: not today\n  web.1\n"));
    }
}

#[test]
fn rolled_back_is_4_and_held_is_5_and_both_say_what_runs_and_where_the_evidence_is() {
    let answer = |outcome: &str| {
        format!(r#"{{"outcome":"{outcome}","message":"web.1 exited with code 1","changes":[],"evidence":["web"]}}"#)
    };
    for (outcome, code, meaning) in
        [("rolled_back", 4, "what ran before runs on"), ("held", 5, "nothing that was well was stopped")]
    {
        let server = Server::new(vec![("POST /v1/apply", Reply::Json(500, answer(outcome)))]);
        let ran = svctl(server.socket(), &["apply", "--json"]);
        assert_eq!(ran.code, code, "{ran:?}");
        assert!(ran.out.contains(&format!(r#""outcome":"{outcome}""#)) && ran.out.contains("evidence"), "{ran:?}");
        let server = Server::new(vec![("POST /v1/processes/restart", Reply::Json(500, answer(outcome)))]);
        let ran = svctl(server.socket(), &["restart", "web"]);
        let expected = format!("svctl: web.1 exited with code 1\n{meaning}\nwhat failed is told by `svctl why web`\n");
        assert_eq!((ran.code, ran.err), (code, expected));
    }
}

#[test]
fn drain_and_kill_of_replaced_ones_are_sent_as_such() {
    let server = Server::new(vec![
        ("POST /v1/processes/drain", Reply::Json(200, result("done", "drained worker.2"))),
        ("POST /v1/processes/kill", Reply::Json(200, result("planned", "would kill"))),
        ("POST /v1/processes/kill", Reply::Json(200, result("done", "killed"))),
    ]);
    assert_eq!(svctl(server.socket(), &["drain", "worker.2", "--reason", "patch"]).code, 0);
    assert_eq!(svctl(server.socket(), &["kill", "--now", "--replaced", "worker", "--dry-run"]).code, 0);
    assert_eq!(svctl(server.socket(), &["kill", "--now", "worker"]).code, 0);
    assert_eq!(
        server.requests(),
        [
            r#"POST /v1/processes/drain {"targets":["worker.2"],"reason":"patch","dry_run":false}"#,
            r#"POST /v1/processes/kill {"targets":["worker"],"replaced":true,"reason":null,"dry_run":true}"#,
            r#"POST /v1/processes/kill {"targets":["worker"],"reason":null,"dry_run":false}"#,
        ]
    );
}

#[test]
fn an_error_of_the_server_is_told_and_has_its_code() {
    for (status, code) in [(400, 2), (404, 2), (403, 3), (503, 1)] {
        let server =
            Server::new(vec![("POST /v1/shutdown", Reply::Json(status, r#"{"error":"no such thing"}"#.to_owned()))]);
        let ran = svctl(server.socket(), &["shutdown"]);
        assert_eq!((ran.code, ran.err.as_str()), (code, "svctl: no such thing\n"));
    }
}

#[test]
fn apply_shows_the_plan_before_it_asks_for_it() {
    let server = Server::new(vec![
        ("POST /v1/apply", Reply::Json(200, result("planned", "nothing was changed (dry run)"))),
        ("POST /v1/apply", Reply::Json(200, result("done", "restarted web.1"))),
    ]);
    let ran = svctl(server.socket(), &["apply"]);
    assert_eq!((ran.code, ran.out.as_str()), (0, "web.1\nrestarted web.1\n"), "{ran:?}");
    let asked: Vec<bool> = server.requests().iter().map(|request| request.contains(r#""dry_run":true"#)).collect();
    assert_eq!(asked, [true, false]);
}

#[test]
fn with_json_an_error_is_an_object_on_standard_output() {
    let server = Server::new(vec![("GET /v1/why", Reply::Json(404, r#"{"error":"no web"}"#.to_owned()))]);
    let ran = svctl(server.socket(), &["why", "web", "--json"]);
    assert_eq!((ran.code, ran.out.as_str(), ran.err.as_str()), (2, "{\"error\":\"no web\"}\n", ""));
}

#[test]
fn svd_not_running_is_69_and_names_the_socket_and_the_way_out() {
    let dir = TempDir::new();
    let missing = dir.path().join("control.sock");
    let ran = svctl(&missing, &["status"]);
    assert_eq!(ran.code, 69);
    assert!(ran.err.contains(missing.to_str().unwrap()) && ran.err.contains("start it with `svd`"), "{ran:?}");
    // A socket that is left over refuses.
    drop(std::os::unix::net::UnixListener::bind(&missing).unwrap());
    assert_eq!(svctl(&missing, &["stop", "web"]).code, 69);
}

#[test]
fn a_connection_cut_in_a_command_leaves_its_outcome_unknown_and_shows_what_is() {
    let server = Server::new(vec![
        ("POST /v1/processes/stop", Reply::Cut),
        // The next manager dies too, the one after it answers.
        ("GET /v1/status", Reply::Cut),
        ("GET /v1/status", Reply::Json(200, status())),
    ]);
    let ran = svctl(server.socket(), &["stop", "web"]);
    assert_eq!(ran.code, 1);
    assert!(ran.err.contains("whether stop was carried out is unknown"), "{ran:?}");
    assert!(ran.out.contains("manager started 2 times"), "{ran:?}");
    assert_eq!(server.requests().len(), 3);
}

#[test]
fn a_shutdown_after_which_svd_is_gone_is_done() {
    let server = Server::new(vec![("POST /v1/shutdown", Reply::End)]);
    let ran = svctl(server.socket(), &["shutdown"]);
    assert_eq!((ran.code, ran.out.as_str()), (0, "svd has ended\n"), "{ran:?}");
    let server = Server::new(vec![("POST /v1/processes/stop", Reply::End)]);
    let ran = svctl(server.socket(), &["stop", "web"]);
    assert_eq!(ran.code, 1);
    assert!(ran.err.contains("svd has ended meanwhile"), "{ran:?}");
}

#[test]
fn progress_is_shown_while_a_command_runs() {
    let event = |id: u32, message: &str| {
        format!(
            "id: {id}\ndata: {{\"id\":{id},\"time\":\"2026-11-23T10:00:00Z\",\"kind\":\"x\",\"instance\":\"web.1\",\"message\":\"{message}\"}}\n\n"
        )
    };
    let events = vec![": hello\n\n".to_owned(), event(7, "stopping") + &event(8, "web.1 ready after 0.8 s")];
    let server = Server::new(vec![
        ("GET /v1/events?target=web&follow=true", Reply::Stream(events)),
        ("POST /v1/processes/restart", Reply::Json(200, result("done", "restarted web"))),
    ]);
    let ran = svctl(server.socket(), &["restart", "web", "-v"]);
    assert_eq!((ran.code, ran.out.as_str()), (0, "restarted web\n  web.1\n"));
    assert_eq!(ran.err, "web.1 stopping\nweb.1 ready after 0.8 s\n");
}

#[test]
fn a_command_that_takes_long_says_what_it_waits_for() {
    let tree = status().replace(
        r#""processes":[]"#,
        r#""processes":[{"name":"web","want":1,"ready":1,"listeners":[],"instances":[{"id":"web.1","role":"replaced","pid":7,
           "state":"draining","release":null,"since":"","restarts":0,"exit":null,"reason":"waits until nobody waits in its queue",
           "cpu_percent":null,"memory_bytes":null}]}]"#,
    );
    let server = Server::new(vec![
        ("GET /v1/events?target=web&follow=true", Reply::Stream(vec![": hello\n\n".to_owned()])),
        ("POST /v1/processes/restart", Reply::AfterNext(Box::new(Reply::Json(200, result("done", "restarted web"))))),
        ("GET /v1/status", Reply::Json(200, tree)),
    ]);
    let ran = svctl(server.socket(), &["restart", "web", "-v"]);
    assert_eq!((ran.code, ran.out.as_str()), (0, "restarted web\n  web.1\n"));
    assert_eq!(ran.err, "waits: web.1 (ending) is draining: waits until nobody waits in its queue\n");
}

#[test]
fn scale_sends_counts_and_differences_and_refuses_a_name_given_twice() {
    let server = Server::new(vec![("POST /v1/processes/scale", Reply::Json(200, result("planned", "would scale")))]);
    assert_eq!(svctl(server.socket(), &["scale", "web=4", "db=-1", "--dry-run"]).code, 0);
    assert_eq!(
        server.requests(),
        [r#"POST /v1/processes/scale {"counts":{"db":{"by":-1},"web":{"to":4}},"reason":null,"dry_run":true}"#]
    );
    let ran = svctl(Path::new("/nowhere"), &["scale", "web=4", "web=5"]);
    assert_eq!((ran.code, ran.err.as_str()), (2, "svctl: web is named twice\n"));
}

#[test]
fn kill_without_now_is_refused_with_its_reason() {
    let ran = svctl(Path::new("/nowhere"), &["kill", "web"]);
    assert_eq!(ran.code, 2);
    assert!(ran.err.contains("svctl kill --now TARGET"), "{ran:?}");
}

#[test]
fn wait_is_1_when_the_time_is_over_and_goes_on_with_the_next_manager() {
    let server = Server::new(vec![
        ("GET /v1/wait?target=web&for=ready&timeout=", Reply::Cut),
        (
            "GET /v1/wait?target=web&for=ready&timeout=",
            Reply::Json(200, r#"{"met":false,"message":"web.1 is starting"}"#.to_owned()),
        ),
    ]);
    let ran = svctl(server.socket(), &["wait", "web", "--timeout", "5s"]);
    assert_eq!((ran.code, ran.err.as_str()), (1, "svctl: web.1 is starting\n"));
    assert_eq!(server.requests().len(), 2);
}

#[test]
fn a_status_of_something_that_is_not_there_is_an_error() {
    let server = Server::new(vec![("GET /v1/status?usage=true", Reply::Json(200, status()))]);
    let ran = svctl(server.socket(), &["ps", "web"]);
    assert_eq!((ran.code, ran.err.as_str()), (2, "svctl: web names no process or instance; there are: no processes\n"));
}
