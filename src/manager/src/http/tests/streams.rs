use serde_json::json;
use tokio::io::AsyncWriteExt;

use super::fake::{Fake, read_until, within};

async fn follow(fake: &Fake, path: &str, headers: &str) -> tokio::net::UnixStream {
    let mut stream = fake.connect().await;
    stream.write_all(format!("GET {path} HTTP/1.1\r\n{headers}\r\n").as_bytes()).await.unwrap();
    stream
}

/// The ids of server-sent events, in order.
fn ids(text: &str) -> Vec<i64> {
    text.lines().filter_map(|line| line.strip_prefix("id: ")).map(|id| id.parse().unwrap()).collect()
}

#[tokio::test]
async fn history_is_an_array() {
    let fake = Fake::start();
    for kind in ["a", "b", "c"] {
        fake.happen(kind, Some("web.1")).await;
    }
    fake.happen("d", Some("gone.3")).await;
    let kinds = |events: serde_json::Value| -> Vec<String> {
        events.as_array().unwrap().iter().map(|event| event["kind"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(kinds(fake.get("/v1/events").await.1), ["a", "b", "c", "d"]);
    assert_eq!(kinds(fake.get("/v1/events?limit=2&before=4").await.1), ["b", "c"]);
    assert_eq!(kinds(fake.get("/v1/events?limit=1&after=1").await.1), ["b"]);
    assert_eq!(kinds(fake.get("/v1/events?kind=a,c").await.1), ["a", "c"]);
    assert_eq!(kinds(fake.get("/v1/events?target=gone").await.1), ["d"], "of a process that is no more");
}

#[tokio::test]
async fn a_follower_gets_what_happens_from_now_on() {
    let fake = Fake::start();
    fake.happen("before", None).await;
    let mut stream = follow(&fake, "/v1/events?follow=true", "").await;
    let head = read_until(&mut stream, ": events").await;
    assert!(head.contains("content-type: text/event-stream"), "{head}");
    let event = fake.happen("after", Some("web.1")).await;
    let text = read_until(&mut stream, "\n\n").await;
    assert_eq!(ids(&text), [event.id]);
    let data = text.lines().find_map(|line| line.strip_prefix("data: ")).unwrap();
    assert_eq!(serde_json::from_str::<svd_api::Event>(data).unwrap(), *event);
}

#[tokio::test]
async fn a_follower_that_comes_back_misses_nothing_and_gets_nothing_twice() {
    let fake = Fake::start();
    for _ in 0..250 {
        fake.happen("old", Some("web.1")).await;
    }
    let mut stream = follow(&fake, "/v1/events?follow=true", "last-event-id: 10\r\n").await;
    let mut text = read_until(&mut stream, "id: 250\n").await;
    for _ in 0..5 {
        fake.happen("new", Some("web.1")).await;
    }
    text += &read_until(&mut stream, "id: 255\n").await;
    assert_eq!(ids(&text), (11..=255).collect::<Vec<_>>());
    assert_eq!(fake.get("/v1/events?follow=true&after=x").await.0, 400);
}

#[tokio::test]
async fn a_follower_that_is_too_slow_reads_on_from_history() {
    let fake = Fake::start();
    let mut stream = follow(&fake, "/v1/events?follow=true", "").await;
    read_until(&mut stream, ": events").await;
    // The live channel holds 8; the runtime has one thread, so these all come before the follower's turn
    let events = (0..100).map(|_| crate::store::NewEvent { kind: "x".to_owned(), ..Default::default() }).collect();
    let stored = fake.state.store.commit(crate::store::Batch { changes: vec![], events }).await.unwrap().unwrap();
    for event in stored {
        fake.state.handle.events.send(event).unwrap();
    }
    assert_eq!(ids(&read_until(&mut stream, "id: 100\n").await), (1..=100).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_follower_of_one_instance_hears_of_it_and_of_its_process() {
    let fake = Fake::start();
    let mut stream = follow(&fake, "/v1/events?follow=true&target=web.2&kind=x", "").await;
    read_until(&mut stream, ": events").await;
    fake.happen("x", Some("web.1")).await;
    fake.happen("y", Some("web.2")).await;
    fake.happen("x", None).await;
    let wanted = fake.happen("x", Some("web.2")).await;
    assert_eq!(ids(&read_until(&mut stream, "id: ").await), [wanted.id]);
}

#[tokio::test]
async fn a_wait_that_is_met_already_answers_at_once() {
    let fake = Fake::start();
    let (code, reply) = fake.get("/v1/wait?target=web.1&for=ready").await;
    assert_eq!((code, &reply["met"]), (200, &json!(true)));
    assert_eq!(fake.get("/v1/wait?target=web&for=completed").await.1["met"], json!(true), "no one-shot among them");
}

#[tokio::test]
async fn a_wait_that_is_not_met_says_what_holds_it_up() {
    let fake = Fake::start();
    let (code, reply) = fake.get("/v1/wait?target=web&for=ready&timeout=50ms").await;
    assert_eq!((code, reply), (200, json!({"met": false, "message": "web.2 is backoff (exited with code 1)"})));
    assert_eq!(fake.get("/v1/wait?target=all&for=completed&timeout=0").await.1["met"], json!(false));
    assert_eq!(fake.get("/v1/wait?target=nobody").await.0, 404);
}

#[tokio::test]
async fn a_wait_ends_when_the_tree_gets_there() {
    let fake = Fake::start();
    let waiting = fake.get("/v1/wait?target=web,migrate&for=ready&timeout=1m");
    let changing = async {
        fake.change(|tree| tree.processes[0].instances[1].state = "starting".to_owned());
        tokio::task::yield_now().await;
        fake.change(|tree| tree.processes[1].instances[0].state = "completed".to_owned());
        tokio::task::yield_now().await;
        fake.change(|tree| tree.processes[0].instances[1].state = "ready".to_owned());
    };
    let ((code, reply), ()) = within(async { tokio::join!(waiting, changing) }).await;
    assert_eq!((code, &reply["met"]), (200, &json!(true)));
}

/// Lines of a JSON-lines answer, without the sizes of its chunks.
fn lines(text: &str) -> Vec<svd_api::LogLine> {
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

#[tokio::test]
async fn output_is_followed_and_then_found_again() {
    use crate::logs::{Limits, Stream, StreamKey};
    let fake = Fake::start();
    let mut follower = follow(&fake, "/v1/logs?target=web.1&follow=true&n=0", "").await;
    // The head of the answer tells the client that it follows from here on
    let head = read_until(&mut follower, "\r\n\r\n").await;
    assert!(head.contains("application/x-ndjson"), "{head}");
    let mut writers = Vec::new();
    for (instance, spawn, stream) in
        [("web.1", 1, Stream::Stdout), ("web.1", 1, Stream::Stderr), ("web.2", 2, Stream::Stdout)]
    {
        let (read, write) = svd_sys::fd::pipe().unwrap();
        svd_sys::fd::set_nonblocking(std::os::fd::AsFd::as_fd(&read)).unwrap();
        let key = StreamKey { instance: instance.to_owned(), spawn, stream };
        fake.state.logs.attach(key, read, Limits { segment: 1 << 20, max_size: 1 << 24 });
        writers.push(write);
    }
    let say = |index: usize, text: &str| {
        let fd = std::os::fd::AsFd::as_fd(&writers[index]);
        assert_eq!(svd_sys::fd::write(fd, text.as_bytes()).unwrap(), text.len());
    };
    say(2, "from a sibling\n");
    say(0, "hello \u{fc} \"quoted\"\nsecond\n");
    let mut text = read_until(&mut follower, "second").await;
    say(1, "trouble\n");
    text += &read_until(&mut follower, "trouble").await;
    let followed: Vec<_> = lines(&text).into_iter().map(|line| (line.stream, line.message)).collect();
    let expected = [("stdout", "hello \u{fc} \"quoted\""), ("stdout", "second"), ("stderr", "trouble")];
    assert_eq!(followed, expected.map(|(stream, message)| (stream.to_owned(), message.to_owned())));

    let found = async |query: &str| -> Vec<String> {
        let request = format!("GET /v1/logs{query} HTTP/1.1\r\nconnection: close\r\n\r\n");
        lines(&fake.raw(request.as_bytes()).await).into_iter().map(|line| line.message).collect()
    };
    assert_eq!(found("?target=web.1&n=1").await, ["trouble"]);
    assert_eq!(found("?target=web&grep=%5Efrom").await, ["from a sibling"]);
    assert_eq!(found("?stream=stderr").await, ["trouble"]);
    assert_eq!(found("?since=1h").await.len(), 4);
    assert_eq!(found("?until=1h").await.len(), 0);
    let why = fake.get("/v1/why?target=web.2").await.1;
    assert_eq!(why["instances"][0]["output"][0]["message"], json!("from a sibling"));

    drop(writers);
    within(fake.state.logs.shutdown(std::time::Duration::from_secs(5))).await;
}
