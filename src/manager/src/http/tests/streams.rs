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
    let stored = fake.state.store.commit(crate::store::Batch { events, ..Default::default() }).await.unwrap().unwrap();
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
async fn a_wait_for_ready_looks_at_those_that_have_the_name_and_one_for_stopped_at_all_that_runs() {
    use svd_api::Role;
    let fake = Fake::start();
    fake.change(|tree| {
        let web = &mut tree.processes[0].instances;
        web[1] = web[0].clone();
        (web[1].role, web[1].state) = (Role::Candidate, "starting".to_owned());
        web.push(web[0].clone());
        (web[2].role, web[2].state) = (Role::Replaced, "draining".to_owned());
    });
    assert_eq!(fake.get("/v1/wait?target=web.1&for=ready").await.1["met"], json!(true));
    fake.change(|tree| {
        tree.processes[0].instances.remove(1);
        tree.processes[0].instances[0].state = "stopped".to_owned();
    });
    let reply = fake.get("/v1/wait?target=web.1&for=stopped&timeout=0").await.1;
    assert_eq!(reply["met"], json!(false));
    assert_eq!(reply["message"], json!("web.1 (one that is on its way out) is draining"));
    // and when it has gone the wait is over, also where nothing of the name is left
    let mut looks = fake.looks.clone();
    looks.mark_unchanged();
    let waiting = fake.get("/v1/wait?target=web.1&for=stopped&timeout=1m");
    let changing = async {
        looks.changed().await.unwrap();
        fake.change(|tree| tree.processes[0].instances.clear());
    };
    let ((_, reply), ()) = within(async { tokio::join!(waiting, changing) }).await;
    assert_eq!(reply["met"], json!(true), "{reply}");
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
async fn why_tells_each_start_of_a_name_by_itself_and_what_became_of_one_that_failed() {
    use crate::logs::{Limits, Stream, StreamKey};
    use svd_api::Role;
    let fake = Fake::start();
    // given web.1 as start 5, which has replaced 3, and a start 8 that was to replace it and failed
    fake.change(|tree| {
        let web = &mut tree.processes[0].instances;
        web[0].spawn = Some(5);
        web[1] = web[0].clone();
        (web[1].role, web[1].state, web[1].spawn) = (Role::Replaced, "draining".to_owned(), Some(3));
    });
    let mut follower = follow(&fake, "/v1/logs?target=web.1&follow=true&n=0", "").await;
    read_until(&mut follower, "\r\n\r\n").await;
    let mut writers = Vec::new();
    for spawn in [3, 5, 8] {
        let (read, write) = svd_sys::fd::pipe().unwrap();
        svd_sys::fd::set_nonblocking(std::os::fd::AsFd::as_fd(&read)).unwrap();
        let key = StreamKey { instance: "web.1".to_owned(), spawn, stream: Stream::Stderr };
        fake.state.logs.attach(key, read, Limits { segment: 1 << 20, max_size: 1 << 24 });
        writers.push(write);
    }
    for (kind, spawn) in [("instance.starting", 3), ("instance.starting", 5), ("instance.replaced", 3)] {
        fake.happen_to(kind, Some("web.1"), Some(spawn)).await;
    }
    fake.happen_to("instance.starting", Some("web.1"), Some(8)).await;
    for (writer, text) in [(1, "GET /\n"), (2, "no such table\n"), (0, "last job\n"), (1, "GET /more\n")] {
        let fd = std::os::fd::AsFd::as_fd(&writers[writer]);
        assert_eq!(svd_sys::fd::write(fd, text.as_bytes()).unwrap(), text.len());
        read_until(&mut follower, text.trim_end()).await;
    }
    fake.happen_to("instance.exited", Some("web.1"), Some(8)).await;
    fake.happen("process.rolled_back", Some("web")).await;

    // when one asks why
    let (code, why) = fake.get("/v1/why?target=web.1").await;
    assert_eq!(code, 200, "{why}");

    // then the evidence is apart from what the others did and wrote
    let list = |value: &serde_json::Value, key: &str| -> Vec<String> {
        value.as_array().unwrap().iter().map(|one| one[key].as_str().unwrap().to_owned()).collect()
    };
    let [current, replaced] = &why["instances"].as_array().unwrap()[..] else { panic!("{why}") };
    assert_eq!(list(&current["events"], "kind"), ["instance.starting", "process.rolled_back"]);
    assert_eq!(list(&current["output"], "message"), ["GET /", "GET /more"]);
    let attempt = &current["attempt"];
    assert_eq!(attempt["spawn"], json!(8));
    assert_eq!(list(&attempt["events"], "kind"), ["instance.starting", "instance.exited", "process.rolled_back"]);
    assert_eq!(list(&attempt["output"], "message"), ["no such table"]);
    assert_eq!(replaced["instance"]["role"], json!("replaced"));
    assert_eq!(list(&replaced["events"], "kind"), ["instance.starting", "instance.replaced"]);
    assert_eq!(list(&replaced["output"], "message"), ["last job"]);
    assert!(replaced.get("attempt").is_none());

    // and once a later start has replaced it, nothing has failed
    fake.change(|tree| tree.processes[0].instances[0].spawn = Some(9));
    fake.happen_to("instance.starting", Some("web.1"), Some(9)).await;
    let why = fake.get("/v1/why?target=web.1").await.1;
    assert!(why["instances"][0].get("attempt").is_none(), "{why}");
    drop(writers);
    within(fake.state.logs.shutdown(std::time::Duration::from_secs(5))).await;
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
