//! The load that the tests rely on sees what goes wrong: a load that notices nothing proves nothing.

mod common;

use common::{Client, Load, Tally};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

const FINE: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";

/// A server whose connections are handled by `serve`, the number of the connection given; the load is over when its
/// tally is such.
fn under(load: impl Fn(Load) -> Load, serve: fn(TcpStream, u32), over: fn(&Tally) -> bool) -> Tally {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let count = Arc::new(AtomicU32::new(0));
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let number = count.fetch_add(1, Ordering::Relaxed);
            std::thread::spawn(move || serve(stream, number));
        }
    });
    let running = load(Load::on(port).expect("hello")).start();
    running.until("what the test looks for", over);
    running.stop()
}

/// Reads one request; false when there is none.
fn request(stream: &mut TcpStream) -> bool {
    let mut all = Vec::new();
    let mut byte = [0];
    while stream.read(&mut byte).is_ok_and(|count| count > 0) {
        all.push(byte[0]);
        if all.ends_with(b"\r\n\r\n") {
            return true;
        }
    }
    false
}

fn serve_well(mut stream: TcpStream) {
    while request(&mut stream) {
        let _ = stream.write_all(FINE);
    }
}

fn failed(tally: &Tally, kind: &str) -> u64 {
    tally.failed.iter().find(|(key, _)| format!("{key:?}") == kind).map_or(0, |(_, count)| *count)
}

#[test]
fn a_server_that_answers_all_has_no_failures_and_all_clients_count() {
    let tally = under(|load| load.clients(2, 2, 1), |stream, _| serve_well(stream), |tally| tally.answered() > 100);
    tally.assert_whole("all is well");
    assert_eq!(tally.ok.keys().copied().collect::<Vec<_>>(), [Client::Fresh, Client::Kept, Client::Slow]);
    assert_eq!(tally.retried, 0, "{tally}");
    assert_eq!(tally.by.keys().collect::<Vec<_>>(), ["hello"]);
}

#[test]
fn an_answer_that_is_cut_off_is_a_failure() {
    let tally = under(
        |load| load.clients(1, 1, 0),
        |mut stream, number| {
            if number % 7 == 6 && request(&mut stream) {
                let _ = stream.write_all(&FINE[..FINE.len() - 1]);
            } else {
                serve_well(stream);
            }
        },
        |tally| tally.lost() > 0,
    );
    assert!(failed(&tally, "Cut") > 0, "{tally}");
    assert!(tally.to_string().contains("closed before the answer was whole"), "{tally}");
}

#[test]
fn a_new_connection_that_is_closed_without_an_answer_is_a_failure() {
    let tally = under(
        |load| load.clients(1, 0, 0),
        |mut stream, number| {
            if number % 7 == 6 {
                request(&mut stream);
            } else {
                serve_well(stream);
            }
        },
        |tally| tally.lost() > 0,
    );
    assert!(failed(&tally, "Cut") > 0, "{tally}");
}

#[test]
fn a_reset_is_a_failure_and_so_is_a_wrong_answer() {
    let reset = under(
        |load| load.clients(1, 0, 0),
        |mut stream, number| {
            // Closed with the request unread: the kernel resets.
            if number % 7 == 6 {
                let _ = stream.read(&mut [0]);
            } else {
                serve_well(stream);
            }
        },
        |tally| tally.lost() > 0,
    );
    assert!(failed(&reset, "Reset") > 0, "{reset}");
    let wrong = under(
        |load| load.clients(1, 0, 0),
        |mut stream, number| {
            if number % 7 == 6 && request(&mut stream) {
                let _ = stream.write_all(b"HTTP/1.1 500 Oh\r\nContent-Length: 5\r\n\r\nhello");
            } else {
                serve_well(stream);
            }
        },
        |tally| tally.lost() > 0,
    );
    assert_eq!(failed(&wrong, "Wrong"), wrong.lost(), "{wrong}");
    assert!(wrong.to_string().contains("status 500"), "{wrong}");
}

#[test]
fn a_server_that_goes_away_refuses() {
    // given: a server that serves the first three and then closes its socket
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for _ in 0..3 {
            let (stream, _) = listener.accept().unwrap();
            serve_well(stream);
        }
    });
    // when
    let running = Load::on(port).clients(1, 0, 0).start();
    running.until("a refusal", |tally| tally.lost() > 3);
    let tally = running.stop();
    // then
    assert!(failed(&tally, "Refused") > 0, "{tally}");
}

#[test]
fn a_kept_connection_that_was_closed_between_two_requests_is_counted_apart() {
    let tally = under(
        |load| load.clients(0, 2, 0).pause(Duration::from_millis(1)),
        |mut stream, _| {
            for _ in 0..3 {
                if !request(&mut stream) {
                    return;
                }
                let _ = stream.write_all(FINE);
            }
        },
        |tally| tally.retried >= 10,
    );
    tally.assert_whole("connections that are closed after three requests");
}
