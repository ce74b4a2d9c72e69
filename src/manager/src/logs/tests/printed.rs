//! What the foreground of the next manager begins with.

use super::rig::{DEADLINE, LARGE, Rig, scratch_dir, text, write};
use crate::logs::{Limits, Printed, Stream};
use std::fs;

/// What a foreground prints until the last line is `last`, with everything noted.
fn print_until(rig: &Rig, printed: &mut Printed, last: &str) -> Vec<String> {
    let mut follow = rig.logs.follow_printed(printed).unwrap();
    let mut texts = Vec::new();
    while texts.last().is_none_or(|text| text != last) {
        let next = async { tokio::time::timeout(DEADLINE, follow.next()).await };
        let item = rig.runtime.block_on(next).expect("in time").unwrap().expect("a line");
        let given = follow.given().map(|(id, at)| (id.clone(), at));
        printed.written(given.into_iter()).unwrap();
        texts.push(text(&item));
    }
    texts
}

fn next_manager(printed: &Printed) -> Printed {
    Printed::resume(printed.share().unwrap()).unwrap()
}

#[test]
fn only_what_came_after_svds_start_is_printed_and_new_streams_from_their_beginning() {
    let dir = scratch_dir();
    // given: output of an earlier run, of which one line has no end yet, and an svd that starts now
    let early = Rig::on(dir.clone());
    let web = early.attach("web.1", Stream::Stdout, 1, LARGE);
    write(&web, b"early\nhalf a");
    early.flush();
    let mut printed = Printed::begin(&dir.join("logs")).unwrap();
    // when: managers die, one of them before it has printed anything
    write(&web, b" line\nfirst\n");
    let new = early.attach("web.2", Stream::Stderr, 2, LARGE);
    write(&new, b"new\n");
    early.flush();
    drop(early);
    printed = next_manager(&printed);
    let rig = Rig::on(dir.clone());
    // then
    let mut seen = print_until(&rig, &mut printed, "new");
    if seen.len() == 1 {
        seen.extend(print_until(&rig, &mut printed, "first"));
    }
    seen.sort();
    assert_eq!(seen, ["first", "new"]);
    // and: the next one goes on behind what was printed
    let web = rig.attach("web.1", Stream::Stdout, 3, LARGE);
    write(&web, b"second\n");
    rig.flush();
    assert_eq!(print_until(&rig, &mut next_manager(&printed), "second"), ["second"]);
    drop(rig);
    fs::remove_dir_all(dir).unwrap();
}

#[test]
fn wherever_one_manager_stops_the_next_goes_on_over_segments_and_within_long_lines() {
    let dir = scratch_dir();
    // given: short lines over many segments, and one that comes in pieces
    let limits = Limits { segment: 64 * 1024, max_size: 1 << 30 };
    let mut printed = Printed::begin(&dir.join("logs")).unwrap();
    let mut rig = Rig::on(dir.clone());
    let web = rig.attach("web.1", Stream::Stdout, 1, limits);
    let mut expected = Vec::new();
    for number in 0..3000 {
        let line = format!("{number} {}", "x".repeat(number % 200));
        write(&web, format!("{line}\n").as_bytes());
        expected.push(line);
        if number % 1000 == 500 {
            rig.flush();
            write(&web, &vec![b'l'; 150_000]);
            write(&web, b"\n");
        }
    }
    drop(web);
    rig.wait_eof(1, Stream::Stdout);
    // when: each manager prints seven items
    let mut texts = Vec::new();
    while texts.last() != expected.last() {
        printed = next_manager(&printed);
        let mut follow = rig.logs.follow_printed(&printed).unwrap();
        for _ in 0..7 {
            let next = async { tokio::time::timeout(DEADLINE, follow.next()).await };
            let item = rig.runtime.block_on(next).expect("in time").unwrap().expect("a line");
            printed.written(follow.given().map(|(id, at)| (id.clone(), at)).into_iter()).unwrap();
            texts.push(text(&item));
            if texts.last() == expected.last() {
                break;
            }
        }
    }
    // then: nothing is missing, nothing comes twice
    let long: usize =
        texts.iter().filter(|text| text.starts_with('l')).map(|text| text.trim_end_matches('!').len()).sum();
    assert_eq!(long, 450_000);
    texts.retain(|text| !text.starts_with('l'));
    assert_eq!(texts, expected);
    drop(rig);
    fs::remove_dir_all(dir).unwrap();
}

#[test]
fn what_was_deleted_before_it_was_printed_is_told() {
    let dir = scratch_dir();
    let mut printed = Printed::begin(&dir.join("logs")).unwrap();
    let mut rig = Rig::on(dir.clone());
    // given: more lines than are kept, printed by nobody
    let web = rig.attach("web.1", Stream::Stdout, 1, Limits { segment: 4096, max_size: 8192 });
    for number in 0..5000 {
        write(&web, format!("line {number}\n").as_bytes());
    }
    drop(web);
    rig.wait_eof(1, Stream::Stdout);
    // when
    let seen = print_until(&rig, &mut printed, "line 4999");
    // then
    assert_eq!(seen[0], "[Deleted]");
    assert!(seen.len() > 300, "{}", seen.len());
    // and: once
    let web = rig.attach("web.1", Stream::Stdout, 2, LARGE);
    write(&web, b"more\n");
    rig.flush();
    assert_eq!(print_until(&rig, &mut next_manager(&printed), "more"), ["more"]);
    drop(rig);
    fs::remove_dir_all(dir).unwrap();
}
