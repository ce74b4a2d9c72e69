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
