//! The words of the log path: what is attached, what is told, what is read.

use std::fmt;
use std::io;
use std::sync::Arc;

/// Which output of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stream {
    /// Descriptor 1.
    Stdout,
    /// Descriptor 2.
    Stderr,
}

impl Stream {
    /// Both, in the order of their descriptors.
    pub const ALL: [Stream; 2] = [Stream::Stdout, Stream::Stderr];

    /// `stdout` or `stderr`.
    pub fn name(self) -> &'static str {
        match self {
            Stream::Stdout => "stdout",
            Stream::Stderr => "stderr",
        }
    }

    /// How the names of its files begin.
    pub(super) fn stem(self) -> &'static str {
        match self {
            Stream::Stdout => "out",
            Stream::Stderr => "err",
        }
    }
}

impl fmt::Display for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Whose output comes out of a pipe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamKey {
    /// `web.1`: letters, digits, `_` and `-`, a dot, a number.
    pub instance: String,
    /// The start of the instance.
    pub spawn: u64,
    /// Which output.
    pub stream: Stream,
}

/// How much of a stream is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Size at which a new segment is begun, bytes; at least 4096 is used. A segment grows by up to a quarter more
    /// so that no line is split.
    pub segment: u64,
    /// Size of all segments of the stream at which the oldest are deleted, bytes. The current one never is.
    pub max_size: u64,
}

/// What the log thread tells the manager.
#[derive(Debug)]
pub enum LogEvent {
    /// Nobody can write to the pipe any more, and all its bytes are stored: the keeper may close its copy.
    Eof {
        /// The start of the instance.
        spawn: u64,
        /// Which output.
        stream: Stream,
    },
    /// A line matched the pattern given to [`super::Logs::watch_line`]. Told once.
    Matched {
        /// The start of the instance.
        spawn: u64,
    },
    /// Output of this stream cannot be stored and is being thrown away, so that the process is not blocked.
    Dropping {
        /// The instance.
        instance: Arc<str>,
        /// Which output.
        stream: Stream,
        /// Bytes lost until now in this gap.
        bytes: u64,
        /// Why.
        error: io::Error,
    },
    /// Output of this stream is stored again.
    Resumed {
        /// The instance.
        instance: Arc<str>,
        /// Which output.
        stream: Stream,
        /// Bytes lost in all of this gap, exactly.
        bytes: u64,
    },
}

/// A line of output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// When its first byte was read, `CLOCK_REALTIME` nanoseconds, at most 10 ms early.
    pub time_ns: u64,
    /// The instance.
    pub instance: Arc<str>,
    /// Which output.
    pub stream: Stream,
    /// The start of the instance; 0 where it is not known (the index is missing).
    pub spawn: u64,
    /// The bytes as written, without the newline; at most 64 KiB.
    pub text: Vec<u8>,
    /// It did not end with a newline here: too long, cut off by the end of the process or by lost bytes, or not
    /// finished yet.
    pub partial: bool,
}

/// A place where output is missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// When it was noticed, `CLOCK_REALTIME` nanoseconds.
    pub time_ns: u64,
    /// The instance.
    pub instance: Arc<str>,
    /// Which output.
    pub stream: Stream,
    /// Why.
    pub cause: GapCause,
}

/// Why output is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GapCause {
    /// It could not be stored.
    NotStored {
        /// How many bytes.
        bytes: u64,
    },
    /// It was stored and deleted, by `max_size`, before this reader came to it.
    Deleted,
}

/// What readers get.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogItem {
    /// A line.
    Line(LogLine),
    /// Here something is missing.
    Gap(Gap),
}

impl LogItem {
    /// When, `CLOCK_REALTIME` nanoseconds.
    pub fn time_ns(&self) -> u64 {
        match self {
            LogItem::Line(line) => line.time_ns,
            LogItem::Gap(gap) => gap.time_ns,
        }
    }
}

/// Which streams to read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector {
    /// Processes (`web`, also instances that scaling adds later) and instances (`web.1`); empty is all.
    pub names: Vec<String>,
    /// Only this output.
    pub stream: Option<Stream>,
}

impl Selector {
    pub(super) fn selects(&self, instance: &str, stream: Stream) -> bool {
        self.stream.is_none_or(|wanted| wanted == stream)
            && (self.names.is_empty() || self.names.iter().any(|name| name == instance || name == process_of(instance)))
    }
}

/// `web` of `web.1`.
pub(super) fn process_of(instance: &str) -> &str {
    instance.rsplit_once('.').map_or(instance, |(process, _)| process)
}

/// One file stream: all starts of an instance write into the same segments.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct TrackId {
    pub instance: Arc<str>,
    pub stream: Stream,
}

/// A place in a stream: the number of a segment and an offset in it. Ordered as the bytes are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Position {
    pub segment: u64,
    pub offset: u64,
}
