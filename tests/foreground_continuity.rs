//! `kill -9` of the manager loses no line of what svd prints in the foreground.

mod common;

use common::{App, DEADLINE, Lines, eventually, instant_within};
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::Write;
use std::os::fd::AsFd;
use std::process::Command;
use std::time::Duration;

/// Prints numbered lines, in bursts, until TERM.
const TALKER: &str = r#"
import os, random, signal
ending = False
def term(number, frame):
    global ending
    ending = True
signal.signal(signal.SIGTERM, term)
n = [0, 0, 0]
while not ending:
    fd = random.choice([1, 1, 2])
    burst = random.randrange(1, 40)
    text = b''.join(b'n %d\n' % (n[fd] + i) for i in range(burst))
    view = memoryview(text)
    while view: view = view[os.write(fd, view):]
    n[fd] += burst
    signal.sigtimedwait([], random.random() * 0.02)
for fd in (1, 2): os.write(fd, b'end %d\n' % n[fd])
"#;

/// A page is written as a whole: of lines as short as these, never more than so many. Only they may come twice.
const PAGE: usize = 512;

fn manager(app: &App) -> Option<svd_sys::tree::Proc> {
    let answer = common::request(&app.socket(), "GET", "/v1/status", None).ok()?;
    let pid = answer.json()["svd"]["manager_pid"].as_i64()?;
    svd_sys::tree::read_proc(i32::try_from(pid).ok()?)
}

/// Kills a manager, and waits for the next one.
fn kill_manager(app: &App) {
    let before = app.until("a manager", |status| status["svd"]["manager_starts"].as_u64());
    let manager = manager(app).expect("a manager");
    svd_sys::tree::kill_verified(&manager, 9).expect("kill");
    app.until("the next manager", |status| (status["svd"]["manager_starts"].as_u64()? > before).then_some(()));
}

/// Where managers were killed while they wrote, as the next one left it.
#[derive(Debug, Default)]
struct Seams {
    /// Lines that were cut short.
    cut: usize,
    /// Empty lines: nothing had been cut short.
    empty: usize,
}

/// What was printed of each stream, in its order.
fn streams(lines: &[String]) -> (BTreeMap<String, Vec<String>>, Seams) {
    let (mut streams, mut seams) = (BTreeMap::<String, Vec<String>>::new(), Seams::default());
    for line in lines {
        if line.is_empty() {
            seams.empty += 1;
            continue;
        }
        let Ok(object) = serde_json::from_str::<Value>(line) else {
            assert_eq!(line.matches("{\"time\"").count(), 1, "a line is glued to another one: {line}");
            seams.cut += 1;
            continue;
        };
        let text = |key: &str| object[key].as_str().expect("a string").to_owned();
        if text("instance") != "svd" {
            streams.entry(format!("{} {}", text("instance"), text("stream"))).or_default().push(text("message"));
        }
    }
    (streams, seams)
}

#[test]
fn every_line_is_printed_over_the_deaths_of_managers_and_only_the_last_page_may_come_twice() {
    let kills: usize = std::env::var("SVD_TEST_KILLS").map_or(20, |text| text.parse().expect("a number"));
    let mut seed = std::env::var("SVD_TEST_SEED").map_or(20_261_123, |text| text.parse().expect("a number"));
    // given: three talkers
    let app = App::new(
        "[process.web]
         run = [\"@PY@\", \"-S\", \"talker.py\"]
         logs = { segment = \"64K\", max_size = \"1G\" }
         count = 3",
    );
    app.write("talker.py", TALKER);
    let mut app = app;
    app.boot();
    app.wait("web", "ready");
    // when
    for _ in 0..kills {
        instant_within(Duration::from_millis(300), &mut seed);
        kill_manager(&app);
    }
    app.ok(&["stop", "all"]);
    let out = app.out().clone();
    assert_eq!(app.stop(), Some(0));
    // then
    let (streams, seams) = streams(&out.closed());
    let seen = seams.cut + seams.empty;
    assert!(seen <= kills, "{seams:?}");
    assert_eq!(streams.len(), 6, "{:?}", streams.keys());
    let (mut total, mut again, mut pages) = (0, 0, 0);
    for (name, mut texts) in streams {
        let end = texts.pop().expect("a line");
        let count: usize =
            end.strip_prefix("end ").unwrap_or_else(|| panic!("{name} ends with {end}")).parse().unwrap();
        let mut next = 0;
        let mut position = 0;
        let mut back = 0;
        for text in texts {
            let number: usize = text.strip_prefix("n ").unwrap_or_else(|| panic!("{name}: {text}")).parse().unwrap();
            if number != position {
                // Printed before, by a manager that was killed before it could note that.
                assert!(number < position, "{name}: {number} comes after {position} lines");
                assert!(next - number <= PAGE, "{name}: {number} comes again after {next} lines");
                back += 1;
                again += next - number;
            }
            position = number + 1;
            next = next.max(position);
        }
        // Nothing comes twice but where a manager was killed while it wrote.
        assert!(back <= seen, "{name}: {back} pages came twice, {seams:?}");
        pages += back;
        assert_eq!(next, count, "{name}");
        total += count;
    }
    eprintln!("{kills} kills, {total} lines, {again} of them twice in {pages} pieces, {seams:?}");
}

/// The worst instant: in the middle of a line, since nobody reads what is printed.
#[test]
fn a_line_that_a_killed_manager_left_incomplete_is_ended_and_printed_again() {
    // given: an svd whose output nobody reads, until its pipe is full
    let mut app = App::new(
        "[process.web]
         run = [\"/bin/sh\", \"-c\", \"read go < gate; seq -f 'n %g' 0 2999; exec sleep 1000\"]",
    );
    let mut gate = app.fifo("gate");
    let pipe = app.fifo("printed");
    let svd = app.command();
    let mut command = Command::new("/bin/sh");
    command.args(["-c", "exec \"$0\" \"$@\" > printed"]).arg(svd.get_program()).args(svd.get_args());
    command.current_dir(app.path("")).env("SVD_TEST_DIR", app.path("")).stdin(std::process::Stdio::null());
    app.boot_with(command);
    app.wait("web", "ready");
    let mut begun = Vec::new();
    while !String::from_utf8_lossy(&begun).contains("web.1 ready") {
        let mut part = [0; 4096];
        assert!(svd_sys::fd::wait_readable(pipe.as_fd(), DEADLINE).unwrap());
        let count = svd_sys::fd::read(pipe.as_fd(), &mut part).unwrap();
        begun.extend_from_slice(&part[..count]);
    }
    // Many lines at once are written as one piece, larger than the pipe now is: a part of it goes in.
    assert_eq!(svd_sys::fd::set_pipe_size(pipe.as_fd(), 4096).unwrap(), 4096);
    gate.write_all(b"\n").unwrap();
    eventually("the pipe to be full", || svd_sys::fd::readable_bytes(pipe.as_fd()).unwrap() == 4096);
    // when
    kill_manager(&app);
    let out = Lines::of(pipe.try_clone().unwrap());
    out.containing("n 2999");
    assert_eq!(app.stop(), Some(0));
    // then: all of them, none of them glued to a part of another
    let (streams, seams) = streams(&out.all());
    assert_eq!(streams.len(), 1);
    let mut next = 0;
    for text in &streams["web.1 stdout"] {
        let number: usize = text.strip_prefix("n ").unwrap().parse().unwrap();
        assert!(number <= next && next - number <= PAGE, "{number} comes after {next} lines");
        next = next.max(number + 1);
    }
    assert_eq!(next, 3000);
    assert_eq!((seams.cut, seams.empty), (1, 0), "the pipe was not full in the middle of a line");
}

#[test]
fn output_of_earlier_runs_is_not_printed_by_later_managers() {
    // given: a run that is over
    let mut app = App::start("process.web = { run = [\"/bin/sh\", \"-c\", \"echo run $(cat run); exec sleep 1000\"] }");
    app.write("run", "0");
    app.ok(&["restart", "web"]);
    app.out().containing("run 0");
    assert_eq!(app.stop(), Some(0));
    // when
    app.write("run", "1");
    app.boot();
    app.out().containing("run 1");
    kill_manager(&app);
    app.write("run", "2");
    app.ok(&["restart", "web"]);
    app.out().containing("run 2");
    // then
    let lines = app.out().all();
    let count = |text: &str| lines.iter().filter(|line| line.contains(text)).count();
    assert_eq!(count("run 0"), 0, "{lines:#?}");
    assert!((1..=2).contains(&count("run 1")), "{lines:#?}");
    assert_eq!(app.stop(), Some(0));
}
