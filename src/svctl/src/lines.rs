//! Answers without an end, line by line: newline-delimited JSON, and server-sent events made of such lines.

use http_body_util::BodyExt;
use hyper::body::Incoming;

use crate::client::{Connection, Error};

/// Longest line that is taken, bytes: a server that sends more has lost its way.
const LONGEST: usize = 4 << 20;

/// The lines of a body, as they come.
pub(crate) struct Lines {
    body: Incoming,
    split: Split,
    /// Keeps the connection's task alive.
    _connection: Connection,
}

impl Lines {
    pub fn new(body: Incoming, connection: Connection) -> Lines {
        Lines { body, split: Split::default(), _connection: connection }
    }

    /// The next line without its newline; `None` at a clean end. Cancellation-safe: what has arrived stays in the buffer.
    pub async fn next(&mut self) -> Result<Option<Vec<u8>>, Error> {
        loop {
            if let Some(line) = self.split.line() {
                return Ok(Some(line));
            }
            match self.body.frame().await {
                None if self.split.is_empty() => return Ok(None),
                None => return Err(Error::Cut("the last line is incomplete".to_owned())),
                Some(Err(error)) => return Err(Error::Cut(error.to_string())),
                Some(Ok(frame)) => {
                    if let Some(data) = frame.data_ref() {
                        self.split.push(data);
                        if self.split.buffer.len() > LONGEST {
                            return Err(Error::Cut(format!("a line is longer than {LONGEST} bytes")));
                        }
                    }
                }
            }
        }
    }

    /// The data of the next server-sent event; comments, which keep the connection alive, are skipped.
    /// Cancellation-safe as [`Lines::next`], since the data of an event is one line here.
    pub async fn next_event(&mut self) -> Result<Option<Vec<u8>>, Error> {
        while let Some(line) = self.next().await? {
            if let Some(data) = event_data(&line) {
                return Ok(Some(data.to_vec()));
            }
        }
        Ok(None)
    }
}

/// JSON holds no newline, so one `data:` line is a whole event; `id:`, `event:` and `retry:` are repeated in it.
fn event_data(line: &[u8]) -> Option<&[u8]> {
    let data = line.strip_prefix(b"data:")?;
    let data = data.strip_prefix(b" ").unwrap_or(data);
    Some(data.strip_suffix(b"\r").unwrap_or(data))
}

/// Cuts bytes into lines.
#[derive(Default)]
struct Split {
    buffer: Vec<u8>,
    /// Before this there is no newline.
    searched: usize,
}

impl Split {
    fn push(&mut self, data: &[u8]) {
        self.buffer.extend_from_slice(data);
    }

    fn is_empty(&self) -> bool {
        self.buffer.is_empty()
    }

    fn line(&mut self) -> Option<Vec<u8>> {
        let Some(end) = self.buffer[self.searched..].iter().position(|b| *b == b'\n') else {
            self.searched = self.buffer.len();
            return None;
        };
        let rest = self.buffer.split_off(self.searched + end + 1);
        let mut line = std::mem::replace(&mut self.buffer, rest);
        line.pop();
        self.searched = 0;
        Some(line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_out_however_the_bytes_are_cut() {
        let mut split = Split::default();
        let mut lines = Vec::new();
        for piece in ["a", "b\nc", "\n\n", "d\ne"] {
            split.push(piece.as_bytes());
            while let Some(line) = split.line() {
                lines.push(String::from_utf8(line).unwrap());
            }
        }
        assert_eq!(lines, ["ab", "c", "", "d"]);
        assert!(!split.is_empty());
    }

    #[test]
    fn only_data_lines_are_events() {
        assert_eq!(event_data(b"data: {}"), Some(&b"{}"[..]));
        assert_eq!(event_data(b"data:{}\r"), Some(&b"{}"[..]));
        for other in [&b": keep alive"[..], b"", b"id: 7", b"event: x"] {
            assert_eq!(event_data(other), None);
        }
    }
}
