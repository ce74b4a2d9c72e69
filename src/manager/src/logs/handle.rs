//! The manager's handle on the log thread: cheap to clone, never waits for the disk.

use super::follow::{Follow, Source};
use super::printed::Printed;
use super::progress::{Ear, Progress};
use super::pump::{Command, Pump};
use super::query::{LogQuery, Query};
use super::types::{Limits, LogEvent, Selector, StreamKey};
use regex::bytes::Regex;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::Sender;
use std::time::Duration;
use svd_sys::{clock, fd};
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::{oneshot, watch};

/// The log path of the manager. The thread ends with [`Logs::shutdown`].
#[derive(Clone)]
pub struct Logs(Arc<Inner>);

struct Inner {
    root: PathBuf,
    commands: Sender<Command>,
    bell: OwnedFd,
    rung: Arc<AtomicBool>,
    progress: Progress,
    ear: Ear,
    dropped: Arc<AtomicU64>,
}

impl Logs {
    /// Starts the thread for segments below `dir`, which is made with the first byte. Only one process may write
    /// there at a time.
    ///
    /// # Errors
    /// No descriptors or threads are to be had.
    pub fn start(dir: PathBuf, events: UnboundedSender<LogEvent>) -> io::Result<Logs> {
        let (commands, inbox) = std::sync::mpsc::channel();
        let (bell, ring) = fd::pipe()?;
        let rung = Arc::new(AtomicBool::new(false));
        let progress = Progress::default();
        let (readers, ear) = watch::channel(0);
        let dropped = Arc::new(AtomicU64::new(0));
        let body = Pump {
            root: dir.clone(),
            commands: inbox,
            bell,
            rung: rung.clone(),
            events,
            progress: progress.clone(),
            readers,
            dropped: dropped.clone(),
        }
        .prepare()?;
        std::thread::Builder::new().name("logs".to_owned()).spawn(body)?;
        Ok(Logs(Arc::new(Inner { root: dir, commands, bell: ring, rung, progress, ear, dropped })))
    }

    fn send(&self, command: Command) {
        // Fails only after shutdown, when there is nothing left to be done.
        let _ = self.0.commands.send(command);
        // One byte is enough for any number of commands, so that writing to the bell never waits.
        if !self.0.rung.swap(true, Ordering::SeqCst) {
            let _ = fd::write(self.0.bell.as_fd(), b"!");
        }
    }

    /// Stores what comes out of `pipe` from here on, until everybody has closed its other end
    /// ([`LogEvent::Eof`]). A name that is no instance's is answered by [`LogEvent::Dropping`].
    pub fn attach(&self, key: StreamKey, pipe: OwnedFd, limits: Limits) {
        self.send(Command::Attach { key, pipe, limits });
    }

    /// Deletes all that is stored of an instance that will not be started again.
    pub fn forget(&self, instance: String) {
        self.send(Command::Forget { instance });
    }

    /// Asks for one [`LogEvent::Matched`] with the first line of either stream of `spawn`, from its beginning on,
    /// that matches. Another call for the same spawn takes the place of the first.
    pub fn watch_line(&self, spawn: u64, pattern: Regex) {
        self.send(Command::Watch { spawn, pattern });
    }

    /// New lines from now on, those that match where a pattern is given.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn follow(&self, selector: Selector, grep: Option<Regex>) -> io::Result<Follow> {
        Follow::from_now(self.source(selector, grep))
    }

    /// All lines from where `printed` says that they were printed, also of instances that came after it was noted.
    ///
    /// # Errors
    /// As [`Logs::follow`].
    pub fn follow_printed(&self, printed: &Printed) -> io::Result<Follow> {
        Follow::from_printed(self.source(Selector::default(), None), printed)
    }

    fn source(&self, selector: Selector, grep: Option<Regex>) -> Source {
        let (progress, ear) = (self.0.progress.clone(), self.0.ear.clone());
        Source { root: self.0.root.clone(), selector, grep, progress, ear }
    }

    /// What is stored. Reads files: with `last` and a rare pattern possibly a lot of them, before it returns.
    ///
    /// # Errors
    /// The directory or its files cannot be read.
    pub fn query(&self, query: LogQuery) -> io::Result<Query> {
        Query::new(&self.0.root, query, self.0.progress.clone(), self.0.ear.clone())
    }

    /// Bytes that could not be stored since the start, over all streams.
    pub fn dropped_bytes(&self) -> u64 {
        self.0.dropped.load(Ordering::Relaxed)
    }

    /// Stores what is in the pipes; false when that was not done within `deadline` or the thread has ended.
    pub async fn flush(&self, deadline: Duration) -> bool {
        self.ask(deadline, |until_ns, done| Command::Flush { until_ns, done }).await
    }

    /// As [`Logs::flush`], then ends the thread. Followers come to their end.
    pub async fn shutdown(&self, deadline: Duration) -> bool {
        self.ask(deadline, |until_ns, done| Command::Stop { until_ns, done }).await
    }

    async fn ask(&self, deadline: Duration, command: impl FnOnce(u64, oneshot::Sender<bool>) -> Command) -> bool {
        let (done, answer) = oneshot::channel();
        let deadline = u64::try_from(deadline.as_nanos()).unwrap_or(u64::MAX);
        self.send(command(clock::now().mono_ns.saturating_add(deadline), done));
        answer.await.unwrap_or(false)
    }
}
