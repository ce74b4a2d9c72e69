//! `kill -9` of the process that stores, at any instant.

use super::rig::{LARGE, Rig, inner, scratch_dir, text};
use crate::logs::{Limits, LogQuery, Stream};
use std::fs;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const LIMITS: Limits = Limits { segment: 256 * 1024, max_size: 1 << 40 };

/// Kills: enough for every commit; `SVD_TEST_KILLS` for more.
fn kills() -> u32 {
    std::env::var("SVD_TEST_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(100)
}

/// Fault 30.
#[test]
fn kill_9_neither_loses_nor_doubles_a_line() {
    let dir = scratch_dir();
    // given: a process that writes numbered lines, and somebody who keeps its pipe
    let (read, write) = svd_sys::fd::pipe().unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let writer = {
        let stop = stop.clone();
        std::thread::spawn(move || {
            let mut out = fs::File::from(write);
            let mut number = 0_u64;
            while !stop.load(Ordering::Relaxed) {
                // One line, or many in one write, of different lengths.
                let mut lines = String::new();
                for _ in 0..=(number % 7) * 5 {
                    lines.push_str(&format!("{number} {}\n", &"x".repeat(100)[..(number % 97) as usize]));
                    number += 1;
                }
                out.write_all(lines.as_bytes()).unwrap();
            }
            number
        })
    };
    // when: whoever stores them is killed again and again
    let mut random = 1_u64;
    for _ in 0..kills() {
        let mut storing = inner("storing_inner", &[])
            .env("SVD_TEST_DIR", &dir)
            .stdin(read.try_clone().unwrap())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut said = storing.stdout.take().unwrap();
        let mut seen = Vec::new();
        while !seen.ends_with(b"storing\n") {
            let mut byte = [0];
            assert_eq!(said.read(&mut byte).unwrap(), 1, "{}", String::from_utf8_lossy(&seen));
            seen.push(byte[0]);
        }
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        // It says no more: this is the time until the kill, 0 to 8 ms.
        let _ = svd_sys::fd::wait_readable(said.as_fd(), Duration::from_millis(random >> 61));
        storing.kill().unwrap();
        storing.wait().unwrap();
    }
    stop.store(true, Ordering::Relaxed);
    let mut rig = Rig::on(dir.clone());
    rig.attach_pipe("web.1", Stream::Stdout, 1, LIMITS, read);
    let count = writer.join().unwrap();
    rig.wait_eof(1, Stream::Stdout);
    // then: every line is there once, in order, and no segment begins or ends within one
    let files = rig.files("web.1", "out", ".log");
    let mut expected = 0;
    for file in &files {
        let bytes = fs::read(file).unwrap();
        assert!(bytes.ends_with(b"\n"), "{file:?}");
        for line in bytes[..bytes.len() - 1].split(|byte| *byte == b'\n') {
            let line = std::str::from_utf8(line).unwrap();
            let (number, rest) = line.split_once(' ').unwrap_or_else(|| panic!("{file:?} {expected}: {line:?}"));
            assert_eq!(number.parse(), Ok(expected), "{file:?}");
            assert_eq!(rest.len() as u64, expected % 97);
            expected += 1;
        }
    }
    assert_eq!(expected, count);
    // and: readers see them with times that do not run backwards
    let mut before = 0;
    let mut read_back = 0;
    for item in rig.logs.query(LogQuery::default()).unwrap() {
        let item = item.unwrap();
        assert!(item.time_ns() >= before, "{} after {before}", text(&item));
        before = item.time_ns();
        read_back += 1;
    }
    assert_eq!(read_back, count);
    eprintln!("{} kills, {count} lines, {} segments", kills(), files.len());
    drop(rig);
    fs::remove_dir_all(dir).unwrap();
}

#[test]
#[ignore = "run and killed by kill_9_neither_loses_nor_doubles_a_line"]
fn storing_inner() {
    let Some(dir) = std::env::var_os("SVD_TEST_DIR") else { return };
    let mut rig = Rig::on(dir.into());
    let pipe = std::io::stdin().as_fd().try_clone_to_owned().unwrap();
    rig.attach_pipe("web.1", Stream::Stdout, 1, LIMITS, pipe);
    println!("\nstoring");
    rig.event();
}

#[test]
fn bytes_without_a_mark_get_the_time_of_the_file_and_a_torn_index_is_continued() {
    let mut rig = Rig::new();
    let out = rig.attach("web.1", Stream::Stdout, 1, LARGE);
    super::rig::write(&out, b"marked\n");
    drop(out);
    rig.wait_eof(1, Stream::Stdout);
    // given: what a manager leaves behind that is killed between bytes and mark, in the middle of a mark
    let log = rig.files("web.1", "out", ".log").remove(0);
    let index = rig.files("web.1", "out", ".idx").remove(0);
    fs::OpenOptions::new().append(true).open(&log).unwrap().write_all(b"unmarked\nhalf").unwrap();
    fs::OpenOptions::new().append(true).open(&index).unwrap().write_all(&[7; 11]).unwrap();
    let later = std::time::UNIX_EPOCH + Duration::from_nanos(svd_sys::clock::now().real_ns) + Duration::from_secs(100);
    fs::File::options().write(true).open(&log).unwrap().set_modified(later).unwrap();
    let later = later.duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos() as u64;
    let dir = rig.dir.clone();
    // when: it is read as it is (by another reader), and then continued
    let reader = Rig::on(dir.clone());
    let check = |rig: &Rig, texts: &[&str]| {
        let items = rig.query(LogQuery::default());
        assert_eq!(super::rig::texts(&items), texts);
        assert!(items[0].time_ns() < later - 50_000_000_000);
        assert_eq!(items[1].time_ns(), later);
    };
    check(&reader, &["marked", "unmarked", "half!"]);
    let out = reader.attach("web.1", Stream::Stdout, 1, LARGE);
    super::rig::write(&out, b" and half\n");
    reader.flush();
    // then: the recovered lines keep that time, and the line goes on
    check(&reader, &["marked", "unmarked", "half and half"]);
    assert_eq!(fs::metadata(&index).unwrap().len() % 32, 0);
    drop(reader);
    // and: without any index there are still lines
    fs::remove_file(&index).unwrap();
    let reader = Rig::on(dir);
    let items = reader.query(LogQuery::default());
    assert_eq!(super::rig::texts(&items), ["marked", "unmarked", "half and half"]);
    drop(rig);
}
