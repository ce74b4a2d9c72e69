//! What lands in the files.

use super::rig::{DEADLINE, LARGE, Rig, inner, scratch_dir, texts, write};
use crate::logs::{Limits, LogEvent, LogQuery, Stream};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

const SMALL: Limits = Limits { segment: 8192, max_size: 1 << 30 };

#[test]
fn bytes_are_stored_as_they_were_written_and_the_end_is_told_once_they_are() {
    let mut rig = Rig::new();
    let out = rig.attach("web.1", Stream::Stdout, 7, LARGE);
    let err = rig.attach("web.1", Stream::Stderr, 7, LARGE);
    let binary: Vec<u8> = (0..=255).collect();
    write(&out, &binary);
    drop(out);
    rig.wait_eof(7, Stream::Stdout);
    assert_eq!(rig.stored("web.1", "out"), binary);

    write(&err, b"no newline");
    drop(err);
    rig.wait_eof(7, Stream::Stderr);
    assert_eq!(rig.stored("web.1", "err"), b"no newline");
    let log = &rig.files("web.1", "err", ".log")[0];
    assert_eq!(fs::metadata(log).unwrap().permissions().mode() & 0o777, 0o640);
    assert_eq!(fs::metadata(log.parent().unwrap()).unwrap().permissions().mode() & 0o777, 0o750);
}

#[test]
fn nothing_is_made_before_the_first_byte() {
    let mut rig = Rig::new();
    drop(rig.attach("web.1", Stream::Stdout, 1, LARGE));
    rig.wait_eof(1, Stream::Stdout);
    assert!(!rig.dir.join("logs").exists());
}

#[test]
fn segments_end_with_a_line() {
    let mut rig = Rig::new();
    let out = rig.attach("web.1", Stream::Stdout, 1, SMALL);
    let mut written = Vec::new();
    for number in 0..20_000 {
        written.extend_from_slice(format!("line {number} {}\n", "x".repeat(number % 90)).as_bytes());
    }
    for piece in written.chunks(777) {
        write(&out, piece);
    }
    drop(out);
    rig.wait_eof(1, Stream::Stdout);
    assert_eq!(rig.stored("web.1", "out"), written);
    let files = rig.files("web.1", "out", ".log");
    assert!(files.len() > 80, "{}", files.len());
    for file in files {
        let bytes = fs::read(&file).unwrap();
        assert!(bytes.ends_with(b"\n") && bytes.len() < 8192 + 100, "{file:?} {}", bytes.len());
    }
}

/// Fault 29.
#[test]
fn a_line_without_end_is_split_a_quarter_beyond_the_segment() {
    let mut rig = Rig::new();
    let out = rig.attach("web.1", Stream::Stdout, 1, SMALL);
    let written = vec![b'x'; 1 << 20];
    write(&out, &written);
    write(&out, b"\nnext\n");
    drop(out);
    rig.wait_eof(1, Stream::Stdout);
    assert_eq!(rig.stored("web.1", "out").len(), written.len() + 6);
    let files = rig.files("web.1", "out", ".log");
    assert_eq!(fs::metadata(&files[0]).unwrap().len(), 8192 + 2048);
    // Readers put it together again, up to 64 KiB a piece.
    let items = texts(&rig.query(LogQuery::default()));
    assert_eq!(items.len(), 18);
    assert_eq!(items[0].len(), 65536 + 1);
    assert_eq!(items[17], "next");
}

#[test]
fn the_oldest_segments_go_when_all_are_larger_than_allowed() {
    let mut rig = Rig::new();
    let limits = Limits { segment: 8192, max_size: 40_000 };
    let out = rig.attach("web.1", Stream::Stdout, 1, limits);
    for number in 0..20_000 {
        write(&out, format!("line {number}\n").as_bytes());
    }
    drop(out);
    rig.wait_eof(1, Stream::Stdout);
    let stored = rig.stored("web.1", "out");
    assert!(stored.len() <= 40_000 && stored.len() > 30_000, "{}", stored.len());
    assert!(stored.ends_with(b"line 19999\n"));
    assert_eq!(rig.files("web.1", "out", ".log").len(), rig.files("web.1", "out", ".idx").len());
}

#[test]
fn a_new_start_continues_in_the_same_segment_and_a_grandchild_keeps_its_name() {
    let mut rig = Rig::new();
    // given: a process that leaves a grandchild with its output behind
    let (read, held) = svd_sys::fd::pipe().unwrap();
    rig.attach_pipe("web.1", Stream::Stdout, 1, LARGE, read);
    let mut shell =
        Command::new("sh").args(["-c", "read wait; echo late"]).stdin(Stdio::piped()).stdout(held).spawn().unwrap();
    // when: the next start writes before it does
    let second = rig.attach("web.1", Stream::Stdout, 2, LARGE);
    write(&second, b"early\n");
    drop(second);
    rig.wait_eof(2, Stream::Stdout);
    drop(shell.stdin.take());
    rig.wait_eof(1, Stream::Stdout);
    shell.wait().unwrap();
    // then: each line belongs to its start
    let lines = rig.query(LogQuery::default());
    let origins: Vec<_> = lines
        .iter()
        .map(|item| match item {
            crate::logs::LogItem::Line(line) => (line.spawn, String::from_utf8(line.text.clone()).unwrap()),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(origins, [(2, "early".into()), (1, "late".into())]);
}

/// Fault 61.
#[test]
fn a_name_that_leads_elsewhere_is_refused() {
    let mut rig = Rig::new();
    for name in ["../x.1", "web", "web.", ".1", "a/b.1", "web.1.2", ""] {
        let _out = rig.attach(name, Stream::Stdout, 1, LARGE);
        assert!(matches!(rig.event(), LogEvent::Dropping { bytes: 0, .. }), "{name}");
    }
}

/// Fault 61.
#[test]
fn a_link_in_the_place_of_a_segment_is_not_followed() {
    let mut rig = Rig::new();
    let target = rig.dir.join("target");
    fs::write(&target, "").unwrap();
    let place = rig.dir.join("logs/web.1");
    fs::create_dir_all(&place).unwrap();
    std::os::unix::fs::symlink(&target, place.join("out.00000001.log")).unwrap();
    let out = rig.attach("web.1", Stream::Stdout, 1, LARGE);
    write(&out, b"secret\n");
    assert!(matches!(rig.event(), LogEvent::Dropping { bytes: 7, .. }));
    assert_eq!(fs::read(target).unwrap(), b"");
    assert_eq!(rig.logs.dropped_bytes(), 7);
}

#[test]
fn a_line_that_matches_is_told_once_wherever_it_was_written() {
    let mut rig = Rig::new();
    let pattern = || regex::bytes::Regex::new("^ready [0-9]+$").unwrap();
    let old = rig.attach("web.1", Stream::Stdout, 1, LARGE);
    write(&old, b"ready 1\n");
    drop(old);
    rig.wait_eof(1, Stream::Stdout);
    // The line of another start does not count, one written before the watch does.
    let out = rig.attach("web.1", Stream::Stdout, 2, LARGE);
    let err = rig.attach("web.1", Stream::Stderr, 2, LARGE);
    write(&out, b"starting\nready ");
    rig.flush();
    rig.logs.watch_line(2, pattern());
    write(&err, b"not ready 1\nready 1\n");
    assert!(matches!(rig.event(), LogEvent::Matched { spawn: 2 }));
    write(&out, b"2\nready 3\n");
    drop((out, err));
    assert!(matches!(rig.event(), LogEvent::Eof { .. }));
    assert!(matches!(rig.event(), LogEvent::Eof { .. }));

    let out = rig.attach("web.1", Stream::Stdout, 3, LARGE);
    write(&out, b"ready 4\n");
    rig.flush();
    rig.logs.watch_line(3, pattern());
    assert!(matches!(rig.event(), LogEvent::Matched { spawn: 3 }));
}

/// Faults 22 and 25.
#[test]
fn a_full_disk_never_blocks_the_process_and_every_lost_byte_is_counted() {
    let dir = scratch_dir();
    let script = "mount -t tmpfs -o size=1m tmpfs \"$SVD_TEST_DIR\" || exit 77; exec \"$@\"";
    let status = inner("full_disk_inner", &["unshare", "-m", "sh", "-c", script, "sh"])
        .env("SVD_TEST_DIR", &dir)
        .status()
        .unwrap();
    fs::remove_dir(&dir).unwrap();
    match status.code() {
        Some(0) => {}
        Some(77) => eprintln!("SKIPPED: mounting a small tmpfs needs root: the full disk is not tested"),
        code => panic!("{code:?}"),
    }
}

#[test]
#[ignore = "run by a_full_disk_never_blocks_the_process_and_every_lost_byte_is_counted, in a mount namespace"]
fn full_disk_inner() {
    let Some(dir) = std::env::var_os("SVD_TEST_DIR") else { return };
    let mut rig = Rig::on(dir.into());
    // given: a disk that something else has filled but for some pages
    let ballast = rig.dir.join("ballast");
    fs::write(&ballast, vec![0; 900 * 1024]).unwrap();
    let out = rig.attach("web.1", Stream::Stdout, 1, LARGE);
    // when: more comes than fits, without anybody being blocked
    let lines: Vec<u8> = (0..100_000).flat_map(|number| format!("line {number:08}\n").into_bytes()).collect();
    write(&out, &lines);
    assert!(matches!(rig.event(), LogEvent::Dropping { bytes: 1.., .. }));
    rig.flush();
    // and: room comes back
    fs::remove_file(ballast).unwrap();
    write(&out, b"after\n");
    drop(out);
    let LogEvent::Resumed { bytes, .. } = rig.event() else { panic!("not resumed") };
    rig.wait_eof(1, Stream::Stdout);
    // then: what was stored and what was counted is all there was, and the place is marked
    let stored = rig.stored("web.1", "out");
    assert_eq!(stored.len() as u64 + bytes, lines.len() as u64 + 6);
    assert_eq!(rig.logs.dropped_bytes(), bytes);
    assert!(stored.ends_with(b"after\n"));
    let items = texts(&rig.query(LogQuery { last: Some(2), ..LogQuery::default() }));
    assert_eq!(items, [format!("[NotStored {{ bytes: {bytes} }}]"), "after".to_owned()]);
}

#[test]
fn silent_streams_cause_no_wake_up() {
    let output = inner("silent_streams_inner", &[]).env("SVD_TEST_SILENT", "1").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

#[test]
#[ignore = "run by silent_streams_cause_no_wake_up, as the only one in its process"]
fn silent_streams_inner() {
    if std::env::var_os("SVD_TEST_SILENT").is_none() {
        return;
    }
    let mut rig = Rig::new();
    let mut pipes: Vec<_> = (1..=250)
        .flat_map(|number| Stream::ALL.map(|stream| rig.attach(&format!("web.{number}"), stream, number, LARGE)))
        .collect();
    pipes.iter().for_each(|pipe| write(pipe, b"hello\n"));
    rig.flush();
    let before = switches();
    // 500 ms in which nothing is written.
    let (silent, _held) = svd_sys::fd::pipe().unwrap();
    let waited = svd_sys::fd::wait_readable(std::os::fd::AsFd::as_fd(&silent), std::time::Duration::from_millis(500));
    assert!(!waited.unwrap());
    assert_eq!(switches(), before);
    // Descriptors: 500 pipes twice, at most 256 tracks of two files each, and the rest of the process.
    assert!(svd_sys::fd::count_open().unwrap() < 1000 + 512 + 50);
    pipes.clear();
    for _ in 0..500 {
        assert!(matches!(rig.event(), LogEvent::Eof { .. }));
    }
    assert_eq!(rig.stored("web.250", "err"), b"hello\n");
}

/// How often the log thread gave up the processor or lost it, once it waits.
fn switches() -> Vec<String> {
    let thread = fs::read_dir("/proc/self/task")
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| fs::read_to_string(path.join("comm")).unwrap().trim() == "logs")
        .unwrap();
    let deadline = svd_sys::clock::now().mono_ns + DEADLINE.as_nanos() as u64;
    while svd_sys::clock::now().mono_ns < deadline {
        let status = fs::read_to_string(thread.join("status")).unwrap();
        if status.lines().any(|line| line.starts_with("State:\tS")) {
            return status.lines().filter(|line| line.contains("ctxt_switches")).map(str::to_owned).collect();
        }
        std::thread::yield_now();
    }
    panic!("the log thread never waits");
}

/// Faults 24 and 28.
#[test]
fn a_flood_does_not_hold_up_a_quiet_stream() {
    let mut rig = Rig::new();
    let limits = Limits { segment: 1 << 20, max_size: 4 << 20 };
    let mut floods: Vec<_> = (1..=8)
        .map(|number| {
            let out = rig.attach(&format!("yes.{number}"), Stream::Stdout, number, limits);
            Command::new("yes").stdout(out).stderr(Stdio::null()).spawn().unwrap()
        })
        .collect();
    let mut longest = std::time::Duration::ZERO;
    for spawn in 100..200 {
        let quiet = rig.attach("quiet.1", Stream::Stdout, spawn, LARGE);
        let started = svd_sys::clock::now().mono_ns;
        write(&quiet, b"a line\n");
        drop(quiet);
        rig.wait_eof(spawn, Stream::Stdout);
        longest = longest.max(std::time::Duration::from_nanos(svd_sys::clock::now().mono_ns - started));
    }
    for flood in &mut floods {
        flood.kill().unwrap();
        flood.wait().unwrap();
    }
    assert!(longest < DEADLINE / 10, "{longest:?}");
    eprintln!("longest way of a line past eight floods: {longest:?}");
    assert_eq!(rig.stored("quiet.1", "out").len(), 700);
}

/// Fault 30.
#[test]
fn a_segment_deleted_by_somebody_else_is_not_written_to_for_ever() {
    let mut rig = Rig::new();
    let out = rig.attach("web.1", Stream::Stdout, 1, LARGE);
    write(&out, b"one\n");
    rig.flush();
    fs::remove_file(&rig.files("web.1", "out", ".log")[0]).unwrap();
    // The file is looked at with each time mark; another spawn's bytes always get one.
    let other = rig.attach("web.1", Stream::Stdout, 2, LARGE);
    write(&other, b"two\n");
    drop((out, other));
    rig.event();
    rig.event();
    assert_eq!(rig.stored("web.1", "out"), b"two\n");
}
