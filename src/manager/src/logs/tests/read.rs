//! What readers get.

use super::rig::{DEADLINE, LARGE, Rig, text, texts, write};
use crate::logs::{
    Follow, Foreground, Format, Limits, LogItem, LogQuery, Names, Printer, Selector, Stream, Unfinished,
};
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex};
use std::time::Duration;

fn next(rig: &Rig, follow: &mut Follow) -> Option<LogItem> {
    rig.runtime.block_on(async { tokio::time::timeout(DEADLINE, follow.next()).await }).expect("in time").unwrap()
}

/// Longer than two lines need to get different times.
fn pass_time() {
    let (silent, _held) = svd_sys::fd::pipe().unwrap();
    assert!(!svd_sys::fd::wait_readable(silent.as_fd(), Duration::from_millis(12)).unwrap());
}

#[test]
fn streams_are_merged_in_the_order_in_which_they_were_written() {
    let rig = Rig::new();
    let pipes = [
        rig.attach("web.1", Stream::Stdout, 1, LARGE),
        rig.attach("web.1", Stream::Stderr, 1, LARGE),
        rig.attach("worker.1", Stream::Stdout, 2, LARGE),
    ];
    let mut written = Vec::new();
    for number in 0..30 {
        write(&pipes[number * 7 % 3], format!("{number}\n").as_bytes());
        rig.flush();
        pass_time();
        written.push(number.to_string());
    }
    assert_eq!(texts(&rig.query(LogQuery::default())), written);
    let last = rig.query(LogQuery { last: Some(5), ..LogQuery::default() });
    assert_eq!(texts(&last), written[25..]);

    // a window in time, inclusive
    let all = rig.query(LogQuery::default());
    let window =
        LogQuery { since_ns: Some(all[10].time_ns()), until_ns: Some(all[19].time_ns()), ..LogQuery::default() };
    assert_eq!(rig.query(window), all[10..=19]);
    // names: a process, an instance, and none
    let names = |names: &[&str], stream| LogQuery {
        selector: Selector { names: names.iter().map(|name| (*name).to_owned()).collect(), stream },
        ..LogQuery::default()
    };
    assert_eq!(rig.query(names(&["web"], None)).len(), 20);
    assert_eq!(rig.query(names(&["web.1"], Some(Stream::Stderr))).len(), 10);
    assert_eq!(rig.query(names(&["worker"], None)).len(), 10);
    assert_eq!(rig.query(names(&["work"], None)).len(), 0);
}

#[test]
fn the_last_lines_that_match_are_found_across_segments() {
    let mut rig = Rig::new();
    let out = rig.attach("web.1", Stream::Stdout, 1, Limits { segment: 8192, max_size: 1 << 30 });
    for number in 0..20_000 {
        let word = if number % 5000 == 0 { "rare" } else { "line" };
        write(&out, format!("{word} {number}\n").as_bytes());
    }
    write(&out, b"unfinished");
    drop(out);
    rig.wait_eof(1, Stream::Stdout);
    let grep = Some(regex::bytes::Regex::new("^rare").unwrap());
    let found = rig.query(LogQuery { last: Some(3), grep: grep.clone(), ..LogQuery::default() });
    assert_eq!(texts(&found), ["rare 5000", "rare 10000", "rare 15000"]);
    assert_eq!(rig.query(LogQuery { last: Some(9), grep, ..LogQuery::default() }).len(), 4);
    let found = rig.query(LogQuery { last: Some(2), ..LogQuery::default() });
    assert_eq!(texts(&found), ["line 19999", "unfinished!"]);
    assert_eq!(rig.query(LogQuery { last: Some(0), ..LogQuery::default() }), []);
}

#[test]
fn a_follower_gets_every_line_once_across_rotation_and_from_new_instances() {
    let rig = Rig::new();
    let limits = Limits { segment: 8192, max_size: 1 << 30 };
    let out = rig.attach("web.1", Stream::Stdout, 1, limits);
    write(&out, b"before\nhalf");
    rig.flush();
    // given: a query that goes over into following, with a line in the middle
    let query = LogQuery { unfinished: Unfinished::Keep, ..LogQuery::default() };
    let mut answer = rig.logs.query(query).unwrap();
    assert_eq!(text(&answer.next().unwrap().unwrap()), "before");
    assert!(answer.next().is_none());
    write(&out, b" and half\n");
    rig.flush();
    let mut follow = answer.follow();
    // when
    let later = rig.attach("web.2", Stream::Stdout, 2, limits);
    write(&later, b"new\n");
    rig.flush();
    let writer = std::thread::spawn(move || {
        for number in 0..20_000 {
            write(&out, format!("line {number}\n").as_bytes());
        }
    });
    // then
    let mut first = [text(&next(&rig, &mut follow).unwrap()), text(&next(&rig, &mut follow).unwrap())];
    first.sort();
    if first[1] == "new" {
        assert_eq!(first[0], "half and half");
    }
    let mut seen = 0;
    let mut others = usize::from(first[1] == "new");
    while seen < 20_000 - usize::from(first[1] != "new") {
        match text(&next(&rig, &mut follow).unwrap()) {
            new if new == "new" => others += 1,
            line => {
                assert_eq!(line, format!("line {}", seen + usize::from(first[1] != "new")));
                seen += 1;
            }
        }
    }
    assert_eq!(others, 1);
    writer.join().unwrap();
    // and: the end
    assert!(rig.runtime.block_on(rig.logs.shutdown(DEADLINE)));
    assert_eq!(next(&rig, &mut follow), None);
}

/// Fault 24.
#[test]
fn a_follower_that_was_too_slow_is_told_what_it_missed() {
    let mut rig = Rig::new();
    let out = rig.attach("web.1", Stream::Stdout, 1, Limits { segment: 8192, max_size: 40_000 });
    write(&out, b"seen\n");
    rig.flush();
    let mut follow = rig.logs.follow(Selector::default(), None).unwrap();
    for number in 0..20_000 {
        write(&out, format!("line {number}\n").as_bytes());
    }
    drop(out);
    rig.wait_eof(1, Stream::Stdout);
    assert_eq!(text(&next(&rig, &mut follow).unwrap()), "[Deleted]");
    let first = text(&next(&rig, &mut follow).unwrap());
    let number: usize = first.strip_prefix("line ").unwrap().parse().unwrap();
    for number in number + 1..20_000 {
        assert_eq!(text(&next(&rig, &mut follow).unwrap()), format!("line {number}"));
    }
}

#[test]
fn a_pattern_filters_what_is_followed() {
    let rig = Rig::new();
    let grep = regex::bytes::Regex::new("b").unwrap();
    let mut follow = rig.logs.follow(Selector::default(), Some(grep)).unwrap();
    let out = rig.attach("web.1", Stream::Stdout, 1, LARGE);
    write(&out, b"a\nb\nc\nab\n");
    assert_eq!(text(&next(&rig, &mut follow).unwrap()), "b");
    assert_eq!(text(&next(&rig, &mut follow).unwrap()), "ab");
}

#[derive(Clone, Default)]
struct Paper(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Paper {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn printed(format: Format) -> String {
    let rig = Rig::new();
    let paper = Paper::default();
    let follow = rig.logs.follow(Selector::default(), None).unwrap();
    let foreground = Foreground::start(follow, Printer::new(paper.clone(), format, ["worker.12"]), None).unwrap();
    let out = rig.attach("web.1", Stream::Stdout, 7, LARGE);
    write(&out, b"hello \x1b[2J\r\nhalf");
    assert!(rig.runtime.block_on(rig.logs.shutdown(DEADLINE)));
    foreground.system("web.1 started");
    assert!(rig.runtime.block_on(foreground.finish(DEADLINE)));
    let text = paper.0.lock().unwrap().clone();
    String::from_utf8(text).unwrap()
}

/// Fault 66.
#[test]
fn the_foreground_shows_name_and_text_in_columns_and_no_escape_gets_through() {
    let text = printed(Format::Text(Names::Plain));
    let mut lines: Vec<_> = text.lines().map(|line| line.split_at(9).1).collect();
    lines.sort_unstable();
    assert_eq!(lines, ["svd       | web.1 started", "web.1     | half", "web.1     | hello \\x1b[2J"]);
    let text = printed(Format::Text(Names::Colored));
    assert!(text.contains("web.1     |\x1b[0m hello"), "{text:?}");
}

/// Fault 66.
#[test]
fn json_is_one_object_a_line() {
    let text = printed(Format::Json);
    let line = text.lines().find(|line| line.contains("hello")).unwrap();
    let object: serde_json::Value = serde_json::from_str(line).unwrap();
    assert_eq!(object["instance"], "web.1");
    assert_eq!(object["process"], "web");
    assert_eq!(object["stream"], "stdout");
    assert_eq!(object["spawn"], 7);
    assert_eq!(object["message"], "hello \u{1b}[2J");
    assert!(object.get("partial").is_none());
    assert!(object["time"].as_str().unwrap().ends_with('Z'));
    let half: serde_json::Value =
        serde_json::from_str(text.lines().find(|line| line.contains("half")).unwrap()).unwrap();
    assert_eq!(half["partial"], true);
}

#[test]
fn printing_stops_without_an_error_when_nobody_reads() {
    struct Closed;
    impl std::io::Write for Closed {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut printer = Printer::new(Closed, Format::Json, []);
    printer.system(0, "started").unwrap();
    printer.flush().unwrap();
    assert!(printer.is_closed());
    printer.system(0, "more").unwrap();
    printer.flush().unwrap();
}
