//! What the tests share: a directory, a log thread, pipes into it.

use crate::logs::{Limits, LogEvent, LogItem, LogQuery, Logs, Stream, StreamKey};
use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio::sync::mpsc::UnboundedReceiver;

pub const DEADLINE: Duration = Duration::from_secs(30);
pub const LARGE: Limits = Limits { segment: 64 << 20, max_size: 1 << 30 };

pub fn scratch_dir() -> PathBuf {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let dir = std::env::temp_dir().join(format!("svd-logs-{}-{number}", std::process::id()));
    fs::create_dir_all(&dir).unwrap();
    dir
}

pub struct Rig {
    pub dir: PathBuf,
    pub logs: Logs,
    pub events: UnboundedReceiver<LogEvent>,
    pub runtime: Runtime,
    owned: bool,
}

impl Rig {
    pub fn new() -> Rig {
        let mut rig = Rig::on(scratch_dir());
        rig.owned = true;
        rig
    }

    pub fn on(dir: PathBuf) -> Rig {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (tell, events) = tokio::sync::mpsc::unbounded_channel();
        let logs = Logs::start(dir.join("logs"), tell).unwrap();
        Rig { dir, logs, events, runtime, owned: false }
    }

    /// A new pipe into the log of `instance`; the end to write to.
    pub fn attach(&self, instance: &str, stream: Stream, spawn: u64, limits: Limits) -> OwnedFd {
        let (read, write) = svd_sys::fd::pipe().unwrap();
        self.attach_pipe(instance, stream, spawn, limits, read);
        write
    }

    pub fn attach_pipe(&self, instance: &str, stream: Stream, spawn: u64, limits: Limits, pipe: OwnedFd) {
        self.logs.attach(StreamKey { instance: instance.into(), spawn, stream }, pipe, limits);
    }

    pub fn event(&mut self) -> LogEvent {
        let event = async { tokio::time::timeout(DEADLINE, self.events.recv()).await };
        self.runtime.block_on(event).expect("an event in time").expect("the thread lives")
    }

    pub fn wait_eof(&mut self, spawn: u64, stream: Stream) {
        match self.event() {
            LogEvent::Eof { spawn: got, stream: of } => assert_eq!((got, of), (spawn, stream)),
            other => panic!("wanted the end of {spawn}, got {other:?}"),
        }
    }

    pub fn flush(&self) {
        assert!(self.runtime.block_on(self.logs.flush(DEADLINE)));
    }

    pub fn files(&self, instance: &str, stem: &str, suffix: &str) -> Vec<PathBuf> {
        let Ok(entries) = fs::read_dir(self.dir.join("logs").join(instance)) else { return Vec::new() };
        let mut files: Vec<_> = entries
            .map(|entry| entry.unwrap().path())
            .filter(|path| {
                let name = path.file_name().unwrap().to_str().unwrap();
                name.starts_with(stem) && name.ends_with(suffix)
            })
            .collect();
        files.sort();
        files
    }

    pub fn stored(&self, instance: &str, stem: &str) -> Vec<u8> {
        self.files(instance, stem, ".log").iter().flat_map(|path| fs::read(path).unwrap()).collect()
    }

    pub fn query(&self, query: LogQuery) -> Vec<LogItem> {
        self.logs.query(query).unwrap().map(Result::unwrap).collect()
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.runtime.block_on(self.logs.shutdown(Duration::ZERO));
        if self.owned {
            let _ = fs::remove_dir_all(&self.dir);
        }
    }
}

pub fn write(pipe: &OwnedFd, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        let count = svd_sys::fd::write(pipe.as_fd(), bytes).unwrap();
        bytes = &bytes[count..];
    }
}

/// The text of lines, `!` behind partial ones; gaps as `[…]`.
pub fn texts(items: &[LogItem]) -> Vec<String> {
    items.iter().map(text).collect()
}

pub fn text(item: &LogItem) -> String {
    match item {
        LogItem::Line(line) => {
            format!("{}{}", String::from_utf8_lossy(&line.text), if line.partial { "!" } else { "" })
        }
        LogItem::Gap(gap) => format!("[{:?}]", gap.cause),
    }
}

/// This test binary again, running one ignored test.
pub fn inner(test: &str, wrapper: &[&str]) -> Command {
    let name = std::thread::current().name().unwrap().to_owned();
    let path = name.rsplit_once("::").unwrap().0;
    let me = std::env::current_exe().unwrap();
    let mut command = match wrapper {
        [] => Command::new(me),
        [program, arguments @ ..] => {
            let mut command = Command::new(program);
            command.args(arguments).arg(me);
            command
        }
    };
    command.args(["--exact", &format!("{path}::{test}"), "--ignored", "--nocapture", "--test-threads=1"]);
    command.stdin(Stdio::null());
    command
}
