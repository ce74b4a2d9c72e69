//! Lines for people in front of a terminal (as foreman prints them) or for a log collector (JSON).

use super::types::{GapCause, LogItem, Stream, process_of};
use crate::instant::instant;
use jiff::tz::TimeZone;
use serde::Serialize;
use std::borrow::Cow;
use std::io::{self, ErrorKind, Write};
use svd_config::{Sgr, printable};

/// How lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `HH:MM:SS web.1    | text`, local time.
    Text(Names),
    /// One object a line, UTC.
    Json,
}

/// How names are shown in front of lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Names {
    /// As they are.
    Plain,
    /// Coloured by process; for terminals.
    Colored,
}

/// The name under which svd itself speaks.
const OWN_NAME: &str = "svd";
const OWN_COLOR: &str = "\x1b[1;37m";
/// Written out when so much has been collected.
const CHUNK: usize = 32 * 1024;
/// foreman's colours, in its order.
const PALETTE: [&str; 10] = [
    "\x1b[36m",
    "\x1b[33m",
    "\x1b[32m",
    "\x1b[35m",
    "\x1b[34m",
    "\x1b[1;36m",
    "\x1b[1;33m",
    "\x1b[1;32m",
    "\x1b[1;35m",
    "\x1b[1;34m",
];

/// Formats and collects: call [`Printer::flush`] when nothing more is to come for now and when [`Printer::is_full`]. An end that nobody
/// reads any more is not an error: printing stops.
pub struct Printer<W> {
    out: W,
    format: Format,
    zone: TimeZone,
    width: usize,
    processes: Vec<String>,
    buffer: Vec<u8>,
    closed: bool,
}

#[derive(Serialize)]
struct Object<'a> {
    time: String,
    instance: &'a str,
    process: &'a str,
    stream: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    spawn: Option<u64>,
    message: Cow<'a, str>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    partial: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    lost_bytes: Option<u64>,
}

impl<W: Write> Printer<W> {
    /// Prints to `out`; `names` are the instances that are known already, for a straight edge from the first line on.
    pub fn new<'a>(out: W, format: Format, names: impl IntoIterator<Item = &'a str>) -> Printer<W> {
        let width = names.into_iter().map(str::len).chain([OWN_NAME.len(), 6]).max().unwrap_or(0);
        let zone = TimeZone::system();
        Printer { out, format, zone, width, processes: Vec::new(), buffer: Vec::new(), closed: false }
    }

    /// Nobody reads what is printed.
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// Nothing is collected.
    pub fn is_empty(&self) -> bool {
        self.buffer.is_empty()
    }

    /// Enough is collected.
    pub fn is_full(&self) -> bool {
        self.buffer.len() >= CHUNK
    }

    /// Ends a line that somebody else may have left incomplete.
    pub fn end_line(&mut self) {
        self.buffer.push(b'\n');
    }

    /// Prints a line or a gap.
    ///
    /// # Errors
    /// It cannot be formatted.
    pub fn item(&mut self, item: &LogItem) -> io::Result<()> {
        match item {
            LogItem::Line(line) => {
                let text = line.text.strip_suffix(b"\r").unwrap_or(&line.text);
                match self.format {
                    Format::Text(names) => {
                        self.prefix(line.time_ns, &line.instance, names);
                        self.text(&printable(text, Sgr::Keep));
                    }
                    Format::Json => self.object(&Object {
                        time: utc(line.time_ns),
                        instance: &line.instance,
                        process: process_of(&line.instance),
                        stream: line.stream.name(),
                        spawn: Some(line.spawn),
                        message: String::from_utf8_lossy(text),
                        partial: line.partial,
                        lost_bytes: None,
                    })?,
                }
            }
            LogItem::Gap(gap) => {
                let (message, lost_bytes) = match gap.cause {
                    GapCause::NotStored { bytes } => {
                        (format!("[{bytes} bytes of {} are lost: they could not be stored]", gap.stream), Some(bytes))
                    }
                    GapCause::Deleted => {
                        (format!("[output to {} that was here has been deleted to make room]", gap.stream), None)
                    }
                };
                match self.format {
                    Format::Text(names) => {
                        self.prefix(gap.time_ns, &gap.instance, names);
                        self.text(&message);
                    }
                    Format::Json => self.object(&Object {
                        time: utc(gap.time_ns),
                        instance: &gap.instance,
                        process: process_of(&gap.instance),
                        stream: gap.stream.name(),
                        spawn: None,
                        message: message.into(),
                        partial: false,
                        lost_bytes,
                    })?,
                }
            }
        }
        Ok(())
    }

    /// Prints a line of svd itself.
    ///
    /// # Errors
    /// As [`Printer::item`].
    pub fn system(&mut self, time_ns: u64, text: &str) -> io::Result<()> {
        for line in text.lines() {
            match self.format {
                Format::Text(names) => {
                    self.prefix(time_ns, OWN_NAME, names);
                    self.text(&printable(line.as_bytes(), Sgr::Keep));
                }
                Format::Json => self.object(&Object {
                    time: utc(time_ns),
                    instance: OWN_NAME,
                    process: OWN_NAME,
                    stream: Stream::Stderr.name(),
                    spawn: None,
                    message: line.into(),
                    partial: false,
                    lost_bytes: None,
                })?,
            }
        }
        Ok(())
    }

    /// Writes out what has been collected.
    ///
    /// # Errors
    /// The output cannot be written, except that nobody reads it.
    pub fn flush(&mut self) -> io::Result<()> {
        if self.closed {
            self.buffer.clear();
            return Ok(());
        }
        let result = self.out.write_all(&self.buffer).and_then(|()| self.out.flush());
        self.buffer.clear();
        match result {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => {
                self.closed = true;
                Ok(())
            }
            other => other,
        }
    }

    fn object(&mut self, object: &Object<'_>) -> io::Result<()> {
        serde_json::to_writer(&mut self.buffer, object)?;
        self.buffer.push(b'\n');
        Ok(())
    }

    fn prefix(&mut self, time_ns: u64, name: &str, names: Names) {
        self.width = self.width.max(name.len());
        let width = self.width;
        let (on, off) = match names {
            Names::Plain => ("", ""),
            Names::Colored => (self.color(name), "\x1b[0m"),
        };
        let time = instant(time_ns).to_zoned(self.zone.clone());
        let time = (time.hour(), time.minute(), time.second());
        // Writing to a Vec cannot fail.
        let _ = write!(self.buffer, "{on}{:02}:{:02}:{:02} {name:width$} |{off} ", time.0, time.1, time.2);
    }

    fn text(&mut self, text: &str) {
        self.buffer.extend_from_slice(text.as_bytes());
        self.buffer.push(b'\n');
    }

    fn color(&mut self, name: &str) -> &'static str {
        if name == OWN_NAME {
            return OWN_COLOR;
        }
        let process = process_of(name);
        let number = self.processes.iter().position(|known| known == process).unwrap_or_else(|| {
            self.processes.push(process.to_owned());
            self.processes.len() - 1
        });
        PALETTE[number % PALETTE.len()]
    }
}

fn utc(time_ns: u64) -> String {
    format!("{:.6}", instant(time_ns))
}
