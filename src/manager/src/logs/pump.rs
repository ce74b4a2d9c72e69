//! The log thread: waits for all pipes at once and lets each track take its turn.
//!
//! It owns the pipes and the tracks; commands come over a channel with a pipe as the bell. It waits without a
//! timeout: while nobody writes, nothing wakes up. It never waits for anything else but the disk. Should it panic,
//! the process is ended: the keeper has the pipes and starts a manager that goes on where the files end, which a
//! process with a dead log thread would not.

use super::progress::{Bell, Progress};
use super::segment::Place;
use super::track::{Batch, Note, Outcome, Patience, Scratch, Track};
use super::types::{Limits, LogEvent, Stream, StreamKey, TrackId};
use super::watch::{Seen, Watch};
use crate::abort::AbortOnPanic;
use regex::bytes::Regex;
use std::collections::HashMap;
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError};
use std::time::Duration;
use svd_sys::epoll::{Epoll, Event, Interest};
use svd_sys::{clock, fd};
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::oneshot;

/// Bytes a stream may move in its turn, so that a flood does not starve others.
const BUDGET: u64 = 1024 * 1024;
/// Tracks whose files are open at once, two each; and the part of all descriptors that these may take.
const OPEN_TRACKS: usize = 256;
const PART_OF_DESCRIPTORS: u64 = 8;
/// In a flood of small pieces the pump pauses so long and finds them collected: a fifth of the processor time, see
/// the head of the module.
const PACE: Duration = Duration::from_micros(50);
/// A round that moved less, sooner than [`FLOOD_WITHIN`] after the one before, is part of such a flood.
const SMALL: u64 = 32 * 1024;
const FLOOD_WITHIN: u64 = 200_000;
/// So many such rounds in a row make a flood: a burst of some lines is stored without a pause.
const FLOOD_ROUNDS: u32 = 16;
const BELL: u64 = 0;

pub(super) enum Command {
    Attach { key: StreamKey, pipe: OwnedFd, limits: Limits },
    Watch { spawn: u64, pattern: Regex },
    Forget { instance: String },
    Flush { until_ns: u64, done: oneshot::Sender<bool> },
    Stop { until_ns: u64, done: oneshot::Sender<bool> },
}

struct Source {
    pipe: OwnedFd,
    track: TrackId,
    spawn: u64,
}

pub(super) struct Pump {
    pub root: PathBuf,
    pub commands: Receiver<Command>,
    pub bell: OwnedFd,
    pub rung: Arc<AtomicBool>,
    pub events: UnboundedSender<LogEvent>,
    pub progress: Progress,
    pub readers: Bell,
    pub dropped: Arc<AtomicU64>,
}

struct State {
    pump: Pump,
    epoll: Epoll,
    scratch: Scratch,
    sources: HashMap<u64, Source>,
    next_token: u64,
    tracks: HashMap<TrackId, Track>,
    watches: Vec<Watch>,
    /// A watch has not looked at all that is stored.
    watch_behind: bool,
    turns: u64,
    open: usize,
    open_tracks: usize,
    advanced: bool,
}

impl Pump {
    /// Makes what the thread needs, so that errors are told to the caller, and returns its body.
    pub fn prepare(self) -> io::Result<impl FnOnce() + Send> {
        let epoll = Epoll::new()?;
        epoll.add(self.bell.as_fd(), BELL, Interest::Read)?;
        let mut state = State {
            epoll,
            scratch: Scratch::new()?,
            sources: HashMap::new(),
            next_token: BELL + 1,
            tracks: HashMap::new(),
            watches: Vec::new(),
            watch_behind: false,
            turns: 0,
            open: 0,
            open_tracks: open_tracks(),
            advanced: false,
            pump: self,
        };
        Ok(move || {
            let _abort = AbortOnPanic;
            state.run();
        })
    }
}

/// How many tracks may be open, so that descriptors are left for the pipes of new starts and for the control API.
fn open_tracks() -> usize {
    let files = svd_sys::limits::nofile().map_or(u64::MAX, |limit| limit.soft) / PART_OF_DESCRIPTORS;
    usize::try_from(files / 2).unwrap_or(OPEN_TRACKS).clamp(4, OPEN_TRACKS)
}

impl State {
    fn run(&mut self) {
        let mut events: Vec<Event> = Vec::new();
        let mut before = 0;
        let mut small_rounds = 0;
        loop {
            events.clear();
            let timeout = self.watch_behind.then_some(Duration::ZERO);
            if let Err(error) = self.epoll.wait(&mut events, timeout) {
                // Only EBADF, EFAULT and EINVAL are left: a mistake in here, and no way to read the pipes.
                panic!("epoll_wait: {error}");
            }
            let started = clock::now();
            let mut moved = 0;
            for event in &events {
                if event.token == BELL {
                    if !self.hear() {
                        return;
                    }
                } else {
                    moved += self.turn(event.token, started.real_ns).unwrap_or(0);
                }
            }
            self.step_watches();
            self.publish();
            if moved > 0 && moved < SMALL && started.mono_ns.saturating_sub(before) < FLOOD_WITHIN {
                small_rounds += 1;
            } else {
                small_rounds = 0;
            }
            before = started.mono_ns;
            if small_rounds >= FLOOD_ROUNDS {
                // A command ends the pause.
                match self.pump.commands.recv_timeout(PACE) {
                    Ok(command) => {
                        if !self.obey(command) {
                            return;
                        }
                    }
                    Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) => return,
                }
                before = clock::now().mono_ns;
            }
        }
    }

    /// Takes the commands; false when the thread is to end.
    fn hear(&mut self) -> bool {
        let mut bytes = [0; 16];
        // One byte at most is in the bell; that it cannot be read would be told again.
        let _ = fd::read(self.pump.bell.as_fd(), &mut bytes);
        self.pump.rung.store(false, Ordering::SeqCst);
        loop {
            match self.pump.commands.try_recv() {
                Ok(command) => {
                    if !self.obey(command) {
                        return false;
                    }
                }
                Err(TryRecvError::Empty) => return true,
                Err(TryRecvError::Disconnected) => return false,
            }
        }
    }

    fn obey(&mut self, command: Command) -> bool {
        match command {
            Command::Attach { key, pipe, limits } => self.attach(key, pipe, limits),
            Command::Watch { spawn, pattern } => self.watch(spawn, pattern),
            Command::Forget { instance } => self.forget(&instance),
            Command::Flush { until_ns, done } => {
                // Whoever asked may have stopped waiting.
                let _ = done.send(self.flush(until_ns));
            }
            Command::Stop { until_ns, done } => {
                let empty = self.flush(until_ns);
                let _ = done.send(empty);
                return false;
            }
        }
        true
    }

    fn tell(&self, event: LogEvent) {
        // The manager is on its way out when nobody listens any more; bytes are stored all the same.
        let _ = self.pump.events.send(event);
    }

    fn attach(&mut self, key: StreamKey, pipe: OwnedFd, limits: Limits) {
        let Some(place) = Place::new(&self.pump.root, &key.instance, key.stream) else {
            self.refuse(&key, io::Error::new(ErrorKind::InvalidInput, "not the name of an instance"));
            return;
        };
        let track = place.id().clone();
        let token = self.next_token;
        self.next_token += 1;
        // The keeper has it non-blocking already; a read that waits would stop everybody's logs.
        let added =
            fd::set_nonblocking(pipe.as_fd()).and_then(|()| self.epoll.add(pipe.as_fd(), token, Interest::Read));
        if let Err(error) = added {
            self.refuse(&key, error);
            return;
        }
        for watch in self.watches.iter_mut().filter(|watch| watch.spawn == key.spawn) {
            if let Err(error) = watch.add(place.clone()) {
                tracing::warn!(instance = %key.instance, %error, "the log cannot be watched for readiness");
            }
        }
        self.watch_behind |= !self.watches.is_empty();
        self.tracks.entry(track.clone()).or_insert_with(|| Track::new(place, limits)).set_limits(limits);
        self.sources.insert(token, Source { pipe, track, spawn: key.spawn });
    }

    /// Takes everything of an instance away. What somebody still writes to it has a file without a name.
    fn forget(&mut self, instance: &str) {
        if let Err(error) = Place::remove(&self.pump.root, instance) {
            tracing::warn!(%instance, %error, "its output cannot be deleted");
        }
        self.pump.progress.forget(instance);
    }

    fn refuse(&self, key: &StreamKey, error: io::Error) {
        let instance = Arc::from(key.instance.as_str());
        self.tell(LogEvent::Dropping { instance, stream: key.stream, bytes: 0, error });
    }

    fn watch(&mut self, spawn: u64, pattern: Regex) {
        let mut watch = Watch::new(spawn, pattern);
        for source in self.sources.values().filter(|source| source.spawn == spawn) {
            let Some(track) = self.tracks.get(&source.track) else { continue };
            if let Err(error) = watch.add(track.place().clone()) {
                tracing::warn!(instance = %source.track.instance, %error, "the log cannot be watched for readiness");
            }
        }
        self.watches.retain(|other| other.spawn != spawn);
        self.watches.push(watch);
        self.watch_behind = true;
    }

    fn turn(&mut self, token: u64, now: u64) -> Option<u64> {
        self.turns += 1;
        let source = self.sources.get(&token)?;
        let track = self.tracks.get_mut(&source.track)?;
        track.used = self.turns;
        let was_open = track.is_open();
        if !was_open && self.open >= self.open_tracks {
            self.close_idle();
        }
        let mut patience = Patience::Ask;
        let (moved, outcome) = loop {
            let source = self.sources.get(&token)?;
            let track = self.tracks.get_mut(&source.track)?;
            let spawn = source.spawn;
            let batch = Batch { pipe: source.pipe.as_fd(), spawn, now, budget: BUDGET, patience };
            let mut matched = false;
            let watches = &self.watches;
            let turn = track.turn(&batch, &mut self.scratch, |bytes| {
                matched |= watches.iter().any(|watch| watch.spawn == spawn && watch.matches_dropped(bytes));
            });
            let (id, end) = (source.track.clone(), track.end());
            if turn.stored > 0 {
                self.pump.progress.set(&id, end);
                self.advanced = true;
                self.watch_behind |= !self.watches.is_empty();
            }
            self.pump.dropped.fetch_add(turn.dropped, Ordering::Relaxed);
            for note in turn.notes {
                let (instance, stream) = (id.instance.clone(), id.stream);
                self.tell(match note {
                    Note::Dropping { bytes, error } => LogEvent::Dropping { instance, stream, bytes, error },
                    Note::Resumed { bytes } => LogEvent::Resumed { instance, stream, bytes },
                });
            }
            if matched {
                self.watches.retain(|watch| watch.spawn != spawn);
                self.tell(LogEvent::Matched { spawn });
            }
            if turn.outcome != Outcome::NoDescriptor {
                break (turn.stored + turn.dropped, turn.outcome);
            }
            self.close_idle();
            patience = Patience::None;
        };
        let source = self.sources.get(&token)?;
        let is_open = self.tracks.get(&source.track)?.is_open();
        self.open = (self.open + usize::from(is_open)).saturating_sub(usize::from(was_open));
        if outcome == Outcome::End {
            self.end(token);
        }
        Some(moved)
    }

    /// Closes the files of the track that was written to longest ago.
    fn close_idle(&mut self) {
        let idle = self.tracks.values_mut().filter(|track| track.is_open()).min_by_key(|track| track.used);
        if let Some(track) = idle {
            track.close();
            self.open = self.open.saturating_sub(1);
        }
    }

    fn end(&mut self, token: u64) {
        // The last lines count for readiness, and readers see them before the end is told.
        while self.watch_behind {
            self.step_watches();
        }
        self.publish();
        let Some(source) = self.sources.remove(&token) else { return };
        // The keeper has a duplicate: closing alone would leave it in the epoll set.
        let _ = self.epoll.delete(source.pipe.as_fd());
        if !self.sources.values().any(|other| other.spawn == source.spawn) {
            self.watches.retain(|watch| watch.spawn != source.spawn);
        }
        if !self.sources.values().any(|other| other.track == source.track)
            && let Some(track) = self.tracks.remove(&source.track)
        {
            self.open = self.open.saturating_sub(usize::from(track.is_open()));
        }
        let stream: Stream = source.track.stream;
        self.tell(LogEvent::Eof { spawn: source.spawn, stream });
    }

    fn step_watches(&mut self) {
        if !self.watch_behind {
            return;
        }
        self.watch_behind = false;
        let mut matched = Vec::new();
        let progress = &self.pump.progress;
        for watch in &mut self.watches {
            match watch.step(|track| progress.get(track)) {
                Ok(Seen::Match) => matched.push(watch.spawn),
                Ok(Seen::AllNothing) => {}
                Ok(Seen::More) => self.watch_behind = true,
                Err(error) => tracing::warn!(spawn = watch.spawn, %error, "the log cannot be read for readiness"),
            }
        }
        self.watches.retain(|watch| !matched.contains(&watch.spawn));
        for spawn in matched {
            self.tell(LogEvent::Matched { spawn });
        }
    }

    fn publish(&mut self) {
        if std::mem::take(&mut self.advanced) {
            self.pump.readers.send_modify(|count| *count = count.wrapping_add(1));
        }
    }

    /// Takes what is in the pipes until each has been found empty; says whether that was before `until_ns`
    /// (`CLOCK_MONOTONIC`).
    fn flush(&mut self, until_ns: u64) -> bool {
        let mut left: Vec<u64> = self.sources.keys().copied().collect();
        while !left.is_empty() {
            let now = clock::now().real_ns;
            left.retain(|token| self.turn(*token, now).is_some_and(|moved| moved > 0));
            self.publish();
            if clock::now().mono_ns >= until_ns {
                return left.is_empty();
            }
        }
        true
    }
}
