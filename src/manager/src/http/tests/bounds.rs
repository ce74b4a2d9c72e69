use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use super::fake::{Fake, read_until, within};
use crate::http::limits::{CONNECTIONS, IDLE};

/// Status of an answer; 0 where the connection was closed without one.
fn code(text: &str) -> u16 {
    text.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0)
}

async fn is_closed(stream: &mut UnixStream) -> bool {
    let mut buffer = [0; 1024];
    !matches!(within(stream.read(&mut buffer)).await, Ok(count) if count > 0)
}

/// Fault 57.
#[tokio::test]
async fn garbage_is_refused_and_the_next_client_served() {
    let fake = Fake::start();
    let headers: String = (0..100).map(|n| format!("x-{n}: y\r\n")).collect();
    let cases: [(&str, Vec<u8>, u16); 7] = [
        ("no http", b"\0\x01\x02garbage\r\n\r\n".to_vec(), 400),
        ("no version", b"GET /v1/status\r\n\r\n".to_vec(), 400),
        ("long line", format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(20_000)).into_bytes(), 414),
        ("large header", format!("GET / HTTP/1.1\r\na: {}\r\n\r\n", "b".repeat(20_000)).into_bytes(), 431),
        ("many headers", format!("GET / HTTP/1.1\r\n{headers}\r\n").into_bytes(), 431),
        ("two lengths", b"POST /v1/apply HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n{}".to_vec(), 400),
        ("wrong length", b"POST /v1/apply HTTP/1.1\r\ncontent-length: -1\r\n\r\n".to_vec(), 400),
    ];
    for (name, bytes, expected) in cases {
        let text = fake.raw(&bytes).await;
        let got = code(&text);
        assert!(got == expected || (got == 431 && expected == 414), "{name}: {text}");
        assert_eq!(fake.get("/v1/health").await.0, 200, "after {name}");
    }
}

#[tokio::test]
async fn a_body_is_taken_up_to_its_bound() {
    let fake = Fake::start();
    let body = |size: usize| format!("{{\"reason\":\"{}\"}}", "r".repeat(size - 13));
    assert_eq!(fake.post("/v1/apply", &body(64 * 1024)).await.0, 200);
    assert_eq!(fake.post("/v1/apply", &body(64 * 1024 + 1)).await.0, 413);
    let chunked = "POST /v1/apply HTTP/1.1\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n";
    let many = format!("{chunked}{}", format!("2000\r\n{}\r\n", "x".repeat(0x2000)).repeat(9));
    assert_eq!(code(&fake.raw(many.as_bytes()).await), 413);
    // A length that is only claimed takes no memory
    let claimed = "POST /v1/apply HTTP/1.1\r\ncontent-length: 1073741824\r\nconnection: close\r\n\r\n{";
    assert_eq!(code(&fake.raw(claimed.as_bytes()).await), 413);
}

#[tokio::test(start_paused = true)]
async fn a_header_that_trickles_is_cut_off() {
    let fake = Fake::start();
    let mut stream = fake.connect().await;
    let begun = tokio::time::Instant::now();
    let mut sent = 0;
    // One byte a second, in the runtime's own time
    while stream.write_all(b"G").await.is_ok() && sent < 60 {
        sent += 1;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_come_is_given_up() {
    let fake = Fake::start();
    let mut stream = fake.connect().await;
    stream.write_all(b"POST /v1/apply HTTP/1.1\r\ncontent-length: 10\r\n\r\n{").await.unwrap();
    let begun = tokio::time::Instant::now();
    let mut buffer = [0; 1024];
    let count = stream.read(&mut buffer).await.unwrap();
    assert_eq!(code(&String::from_utf8_lossy(&buffer[..count])), 408);
    assert!(begun.elapsed() < Duration::from_secs(11), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_rests_is_closed_after_its_time_and_not_before() {
    let fake = Fake::start();
    let mut stream = fake.connect().await;
    for _ in 0..2 {
        stream.write_all(b"GET /v1/version HTTP/1.1\r\n\r\n").await.unwrap();
        read_until_paused(&mut stream).await;
        tokio::time::sleep(IDLE - Duration::from_secs(5)).await;
    }
    let mut buffer = [0; 16];
    assert_eq!(stream.read(&mut buffer).await.unwrap(), 0);
}

/// As `read_until`, without a deadline: in paused time a deadline passes at once.
async fn read_until_paused(stream: &mut UnixStream) {
    let mut text = String::new();
    while !text.ends_with("}\n") {
        let mut buffer = [0; 4096];
        let count = stream.read(&mut buffer).await.unwrap();
        assert_ne!(count, 0, "{text}");
        text.push_str(&String::from_utf8_lossy(&buffer[..count]));
    }
}

/// Fault 57.
#[tokio::test]
async fn idle_connections_without_end_keep_nobody_out() {
    let fake = Fake::start();
    let mut idle = Vec::new();
    for _ in 0..CONNECTIONS + 44 {
        idle.push(fake.connect().await);
    }
    let begun = tokio::time::Instant::now();
    assert_eq!(fake.get("/v1/health").await.0, 200);
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    // The oldest made room
    assert!(is_closed(&mut idle[0]).await);
}

#[tokio::test]
async fn when_all_are_busy_the_next_one_is_told_so_until_one_leaves() {
    let fake = Fake::start();
    let body = r#"{"targets":["slow"]}"#;
    let slow = format!("POST /v1/processes/stop HTTP/1.1\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    let mut busy = Vec::new();
    for _ in 0..CONNECTIONS {
        let mut stream = fake.connect().await;
        stream.write_all(slow.as_bytes()).await.unwrap();
        busy.push(stream);
    }
    // Given all of them are at work, which only shows from outside when the next one is refused
    let refused = within(async {
        loop {
            let text = fake.raw(b"GET /v1/health HTTP/1.1\r\nconnection: close\r\n\r\n").await;
            if code(&text) == 503 {
                return text;
            }
        }
    })
    .await;
    assert!(refused.contains("too many connections"), "{refused}");
    busy.truncate(10);
    within(async { while code(&fake.raw(b"GET /v1/health HTTP/1.1\r\nconnection: close\r\n\r\n").await) != 200 {} })
        .await;
}

/// Fault 57.
#[tokio::test]
async fn random_bytes_do_no_harm() {
    let fake = Fake::start();
    let seed = 0x5eed_u64;
    let mut random = fastrand::Rng::with_seed(seed);
    let words: [&[u8]; 14] = [
        b"GET ",
        b"POST ",
        b"/v1/",
        b"status",
        b"processes/",
        b"logs?",
        b"grep=",
        b" HTTP/1.1\r\n",
        b"\r\n",
        b"\r\n\r\n",
        b"content-length: ",
        b"transfer-encoding: chunked\r\n",
        b"{\"targets\":[",
        b"%ff&follow=0",
    ];
    for round in 0..400 {
        let mut bytes = Vec::new();
        for _ in 0..random.usize(1..40) {
            match random.bool() {
                true => bytes.extend_from_slice(words[random.usize(..words.len())]),
                false => bytes.extend((0..random.usize(..20)).map(|_| random.u8(..))),
            }
        }
        let mut stream = fake.connect().await;
        let _closed = stream.write_all(&bytes).await;
        // Half of them leave at once, the others at the end of what they have to say
        if random.bool() {
            stream.shutdown().await.ok();
            let mut answer = Vec::new();
            let _reset = within(stream.read_to_end(&mut answer)).await;
            assert!(answer.is_empty() || answer.starts_with(b"HTTP/1."), "seed {seed} round {round}");
        }
    }
    assert_eq!(fake.get("/v1/health").await.0, 200);
}

#[tokio::test]
async fn at_the_end_answers_end_and_streams_stop() {
    let mut fake = Fake::start();
    let mut follower = fake.connect().await;
    follower.write_all(b"GET /v1/events?follow=true HTTP/1.1\r\n\r\n").await.unwrap();
    read_until(&mut follower, ": events").await;
    let mut idle = fake.connect().await;
    let begun = tokio::time::Instant::now();

    fake.stop.send_replace(true);

    within(fake.server.take().unwrap()).await.unwrap().unwrap();
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    assert!(is_closed(&mut idle).await);
    let mut rest = String::new();
    within(follower.read_to_string(&mut rest)).await.unwrap();
    assert!(rest.ends_with("0\r\n\r\n"), "a whole answer: {rest:?}");
    assert!(UnixStream::connect(&fake.path).await.is_err());
}
