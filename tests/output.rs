//! No line is lost, whoever holds the pipe and whenever it is written.

mod common;

use common::App;
use std::io::Write;

fn messages(app: &App, target: &str) -> Vec<String> {
    app.logs(target).iter().map(|line| line["message"].as_str().unwrap().to_owned()).collect()
}

/// A grandchild that holds the output open: the end of the pipe never comes, the end of the process does.
/// Fault 26.
#[test]
fn a_grandchild_that_holds_the_pipe_delays_neither_the_exit_nor_the_restart_and_is_still_heard() {
    // given: a main process that leaves a child behind which says something when it is told to end
    let app = App::new(
        "[process.web]
         run = [\"/bin/sh\", \"-c\", \"@PY@ -u left.py & read x < end; exit 3\"]
         restart = { backoff = \"1ms..1ms\" }
         stop = [\"TERM\", \"2s\", \"KILL\"]",
    );
    app.write(
        "left.py",
        r#"
import os, signal, sys
def bye(number, frame):
    print('last words of', os.getpid())
    sys.exit()
signal.signal(signal.SIGTERM, bye)
name = f'left.{os.getpid()}'
open(name + '.tmp', 'w').close()
os.rename(name + '.tmp', 'left')
print('born')
while True: signal.pause()
"#,
    );
    let mut end = app.fifo("end");
    let mut app = app;
    app.boot();
    common::wait_path(&app.path("left"));
    let first = app.pid("web.1");
    // when: the main process ends
    end.write_all(b"\n").unwrap();
    // then: its end is told with its own code, the next one starts, and what the other says is kept
    let second = app.until("the restart", |status| {
        let pid = status["processes"][0]["instances"][0]["pid"].as_i64()?;
        (pid != i64::from(first)).then_some(pid)
    });
    let exited: Vec<_> =
        app.events_of("web.1").into_iter().filter(|event| event["kind"] == "instance.exited").collect();
    assert_eq!(exited.len(), 1);
    assert_eq!(exited[0]["exit"]["code"], 3);
    assert_ne!(second, 0);
    app.ok(&["stop", "web"]);
    let all = messages(&app, "web.1");
    assert!(all.iter().any(|line| line.starts_with("last words of")), "{all:?}");
}

/// Farewell lines: written after TERM, just before the end.
/// Fault 27.
#[test]
fn ten_thousand_lines_after_term_are_all_kept() {
    // given
    let app = App::new(
        "[process.web]
         run = [\"@PY@\", \"talker.py\"]
         ready = { log = \"^up\" }
         stop = [\"TERM\", \"30s\", \"KILL\"]",
    );
    app.write(
        "talker.py",
        r#"
import os, signal, sys
def bye(number, frame):
    for n in range(10000): print('line', n)
    sys.stderr.write('bye\n')
    sys.stdout.write('no newline at the end')
    sys.stdout.flush()
    os._exit(4)
signal.signal(signal.SIGTERM, bye)
print('up', flush=True)
while True: signal.pause()
"#,
    );
    let mut app = app;
    app.boot();
    app.wait("web", "ready");
    // when
    app.ok(&["stop", "web"]);
    // then: in the logs, and in the segment files as they were written
    let mut expected: Vec<String> = vec!["up".into()];
    expected.extend((0..10_000).map(|n| format!("line {n}")));
    expected.push("no newline at the end".into());
    let all = app.logs("web.1");
    let stdout: Vec<&str> =
        all.iter().filter(|l| l["stream"] == "stdout").map(|l| l["message"].as_str().unwrap()).collect();
    assert_eq!(stdout.len(), expected.len());
    assert_eq!(stdout, expected);
    assert!(all.iter().any(|line| line["stream"] == "stderr" && line["message"] == "bye"));
    assert_eq!(String::from_utf8(app.segments("web.1", "out")).unwrap(), expected.join("\n"));
    // and: on svd's own output
    app.out().containing("line 9999");
    assert_eq!(app.stop(), Some(0));
}

/// What a service writes while svd shuts down is kept as well.
/// Fault 27.
#[test]
fn lines_written_during_the_shutdown_of_svd_are_kept() {
    let mut app = App::start(
        "[process.web]
         run = [\"/bin/sh\", \"-c\", \"trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 1000 & wait; done\"]
         ready = { log = \"up\" }
         count = 5",
    );
    app.wait("web", "ready");
    assert_eq!(app.stop(), Some(0));
    for index in 1..=5 {
        assert_eq!(String::from_utf8(app.segments(&format!("web.{index}"), "out")).unwrap(), "up\nbye\n");
    }
}

/// Segments are cut between lines, the oldest goes when all are too large, and nothing else is lost.
/// Fault 30.
#[test]
fn rotation_keeps_every_line_whole_and_bounds_the_disk() {
    // given: 40,000 lines of 100 bytes into segments of 256 KiB, 16 MiB in all
    let mut app = App::start(
        "[process.web]
         run = [\"@PY@\", \"-c\", \"for n in range(40000): print('%099d' % n)\"]
         oneshot = true
         logs = { segment = \"256K\", max_size = \"16M\" }
         [process.small]
         run = [\"@PY@\", \"-c\", \"for n in range(40000): print('%099d' % n)\"]
         oneshot = true
         logs = { segment = \"64K\", max_size = \"256K\" }",
    );
    app.wait("all", "completed");
    assert_eq!(app.stop(), Some(0));
    // then: all are there
    let lines = String::from_utf8(app.segments("web.1", "out")).unwrap();
    for (n, line) in lines.lines().enumerate() {
        assert_eq!(line, format!("{n:099}"));
    }
    assert_eq!(lines.lines().count(), 40_000);
    // and: where there is little room, the newest are, without a gap
    let small = String::from_utf8(app.segments("small.1", "out")).unwrap();
    assert!((64 << 10..=256 << 10).contains(&small.len()), "{}", small.len());
    let first: usize = small.lines().next().unwrap().parse().unwrap();
    assert!(small.lines().map(|line| line.parse::<usize>().unwrap()).eq(first..40_000), "a gap");
}

/// Bytes that are no text, and a line without end, pass through svd and do not stay in its memory.
/// Faults 29 and 66.
#[test]
fn binary_and_endless_lines_are_stored_as_they_are_and_shown_as_text() {
    // given
    let app = App::start(
        "[process.raw]
         run = [\"@PY@\", \"-c\", \"import sys; sys.stdout.buffer.write(b'a\\\\0b\\\\xff\\\\x1b[2Jred\\\\n' + b'y' * 3000000 + b'\\\\nend\\\\n')\"]
         oneshot = true",
    );
    app.wait("raw", "completed");
    // then
    let stored = app.segments("raw.1", "out");
    assert!(stored.starts_with(b"a\0b\xff\x1b[2Jred\nyyy") && stored.ends_with(b"y\nend\n"), "{}", stored.len());
    assert_eq!(stored.len(), 12 + 3_000_001 + 4);
    // On a terminal nothing of it can move the cursor or clear the screen.
    let mut terminal = std::process::Command::new(common::python());
    terminal.args(["-c", "import pty, sys; pty.spawn(sys.argv[1:])", env!("CARGO_BIN_EXE_svctl"), "--root"]);
    terminal.arg(app.path("root")).args(["logs", "raw"]).stdin(std::process::Stdio::null());
    let shown = common::Reply::of(terminal).out;
    assert!(shown.contains("red") && !shown.contains("\u{1b}[2J") && !shown.contains('\0'), "it reaches the terminal");
    let last = messages(&app, "raw.1").pop();
    assert_eq!(last.as_deref(), Some("end"));
}

/// `svctl logs` picks by target, number and pattern, merged in time order.
/// Fault 28.
#[test]
fn eight_that_write_without_end_take_neither_memory_nor_the_disk_nor_the_answers_of_svd() {
    // given
    let mut app = App::new(
        "process.quiet = \"@PY@ -u quiet.py\"
         [process.flood]\nrun = [\"yes\", \"a line as any other\"]\ncount = 8\nlogs = { segment = \"1M\", max_size = \"2M\" }",
    );
    app.write("quiet.py", "import sys\nfor line in open('said'): print(line, end='')\n");
    let mut said = app.fifo("said");
    app.boot();
    // when: each has written more than is kept of it
    let dir = |instance: u32| app.path("root/logs").join(format!("flood.{instance}"));
    let oldest = |instance: u32| {
        let files = std::fs::read_dir(dir(instance)).into_iter().flatten().filter_map(|file| file.ok());
        files.map(|file| file.file_name()).filter(|name| name.as_encoded_bytes().ends_with(b".log")).min()
    };
    for instance in 1..=8 {
        common::eventually("output of each", || oldest(instance).is_some());
        let first = oldest(instance);
        common::eventually("the first of it to go", || oldest(instance) > first);
    }
    // then: one that says little is heard,
    writeln!(said, "here I am").unwrap();
    common::eventually("the quiet one to be heard", || messages(&app, "quiet.1") == ["here I am"]);
    // svd answers,
    for _ in 0..20 {
        assert_eq!(app.status()["processes"][1]["ready"], 8);
    }
    // and neither memory nor disk has grown beyond what is said
    for pid in [app.keeper(), common::manager(app.keeper()).unwrap().pid] {
        let kib: u64 = common::status_field(pid, "VmHWM").trim_end_matches(" kB").parse().unwrap();
        assert!(kib < 64 * 1024, "{pid}: {kib} KiB");
    }
    for instance in 1..=8 {
        let sizes =
            std::fs::read_dir(dir(instance)).unwrap().filter_map(|file| Some(file.ok()?.metadata().ok()?.len()));
        let bytes: u64 = sizes.sum();
        assert!(bytes <= 3 << 20, "flood.{instance}: {bytes} bytes");
    }
}

#[test]
fn logs_are_picked_by_target_number_and_pattern() {
    let app = App::start(
        "[process.one]\nrun = [\"/bin/sh\", \"-c\", \"echo first; echo second; echo third\"]\noneshot = true
         [process.two]\nrun = [\"/bin/sh\", \"-c\", \"echo fourth; echo oops >&2\"]\noneshot = true
         after = { one = \"completed\" }",
    );
    app.wait("all", "completed");
    assert_eq!(messages(&app, "one"), ["first", "second", "third"]);
    let of = |args: &[&str]| app.ok(args);
    let last = of(&["logs", "-n", "1", "one"]);
    assert!(last.contains("third") && !last.contains("second"), "{last}");
    let matched = of(&["logs", "--grep", "f[io]", "one", "two"]);
    assert!(matched.contains("first") && matched.contains("fourth") && !matched.contains("third"), "{matched}");
    let all = of(&["logs"]);
    let place = |word: &str| all.find(word).unwrap_or_else(|| panic!("no {word} in {all}"));
    assert!(place("third") < place("fourth"));
    assert!(all.contains("oops"));
    // and: `-f` shows what comes
    let mut follow = app.svctl_command(&["logs", "-f", "one"]).stdout(std::process::Stdio::piped()).spawn().unwrap();
    let lines = common::Lines::of(follow.stdout.take().unwrap());
    lines.containing("third");
    app.ok(&["restart", "one"]);
    lines.until("the second run", |lines| (lines.iter().filter(|l| l.contains("third")).count() == 2).then_some(()));
    follow.kill().unwrap();
    follow.wait().unwrap();
}
