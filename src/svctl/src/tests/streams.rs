//! Answers without an end: they are passed on line by line, survive a new manager, and end quietly with their reader.

use std::io;

use super::*;

fn line(time: &str, instance: &str, message: &str) -> String {
    format!(
        "{{\"time\":\"2020-01-01T00:00:{time}Z\",\"instance\":\"{instance}\",\"stream\":\"stdout\",\"message\":\"{message}\"}}\n"
    )
}

#[test]
fn logs_are_shown_line_by_line_however_they_are_cut_into_pieces() {
    let text = line("01", "web.1", "one") + &line("02", "db.1", "two");
    let (head, tail) = text.split_at(30);
    let server = Server::new(vec![("GET /v1/logs?target=web", Reply::Stream(vec![head.to_owned(), tail.to_owned()]))]);
    let ran = svctl(server.socket(), &["logs", "web", "--grep", "a b", "-n", "5", "--stream", "stdout"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let texts: Vec<&str> = ran.out.lines().map(|line| &line[line.find("00:").unwrap()..][9..]).collect();
    assert!(texts[0].ends_with("web.1 | one") && texts[1].ends_with("db.1  | two"), "{ran:?}");
    assert_eq!(server.requests(), ["GET /v1/logs?target=web&grep=a%20b&stream=stdout&n=5"]);
}

#[test]
fn with_json_the_lines_are_passed_on_as_they_are() {
    let text = line("01", "web.1", "one");
    let server = Server::new(vec![("GET /v1/logs", Reply::Stream(vec![text.clone()]))]);
    let ran = svctl(server.socket(), &["--json", "logs"]);
    assert_eq!((ran.code, ran.out), (0, text));
}

#[test]
fn following_goes_on_after_a_cut_without_losing_or_doubling_lines() {
    let (one, two, three) = (line("01", "web.1", "one"), line("02", "web.1", "two"), line("03", "web.1", "three"));
    let server = Server::new(vec![
        ("GET /v1/logs?n=10&follow=true", Reply::CutStream(vec![one, two.clone()])),
        ("GET /v1/logs?since=", Reply::CutStream(vec![two, three])),
        ("GET /v1/logs?since=", Reply::End),
    ]);
    let ran = svctl(server.socket(), &["logs", "-f"]);
    assert_eq!((ran.code, ran.err.as_str()), (0, "svctl: svd has ended\n"), "{ran:?}");
    let texts: Vec<&str> = ran.out.lines().filter_map(|line| line.split(" | ").nth(1)).collect();
    assert_eq!(texts, ["one", "two", "three"]);
    let requests = server.requests();
    assert_eq!(requests[1], "GET /v1/logs?since=2020-01-01T00%3A00%3A01Z&follow=true");
}

#[test]
fn a_server_that_only_cuts_is_given_up_on() {
    let script = (0..5).map(|_| ("GET /v1/logs", Reply::Cut)).collect();
    let ran = svctl(Server::new(script).socket(), &["logs", "-f"]);
    assert_eq!(ran.code, 1);
    assert!(ran.err.contains("5 times"), "{ran:?}");
}

/// A pipe whose reader has gone.
struct Closed;

impl io::Write for Closed {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::BrokenPipe.into())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    let server = Server::new(vec![("GET /v1/logs", Reply::Stream(vec![line("01", "web.1", "one")]))]);
    let mut err = Vec::new();
    assert_eq!(svctl_to(server.socket(), &["logs"], &mut Closed, &mut err), 0);
    assert_eq!(String::from_utf8(err).unwrap(), "");
}

fn event(id: i64) -> String {
    format!("{{\"id\":{id},\"time\":\"2020-01-01T00:00:00Z\",\"kind\":\"x\",\"message\":\"event {id}\"}}")
}

#[test]
fn events_go_on_behind_the_last_one_after_a_cut() {
    let data = |id| format!("id: {id}\nevent: x\ndata: {}\n\n", event(id));
    let server = Server::new(vec![
        ("GET /v1/events?limit=2", Reply::Json(200, format!("[{},{}]", event(3), event(4)))),
        ("GET /v1/events?after=4&follow=true", Reply::CutStream(vec![data(5)])),
        ("GET /v1/events?after=5&follow=true", Reply::CutStream(vec![data(5), data(6)])),
        ("GET /v1/events?after=6&follow=true", Reply::End),
    ]);
    let ran = svctl(server.socket(), &["events", "-f", "-n", "2"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let ids: Vec<&str> = ran.out.lines().filter_map(|line| line.split("event ").nth(1)).collect();
    assert_eq!(ids, ["3", "4", "5", "6"]);
}

#[test]
fn past_events_are_a_list_in_json() {
    let server = Server::new(vec![("GET /v1/events?limit=20", Reply::Json(200, format!("[{}]", event(3))))]);
    let ran = svctl(server.socket(), &["events", "--json"]);
    assert!(ran.code == 0 && ran.out.starts_with("[{\"id\":3,"), "{ran:?}");
}
