//! A client of the control socket in a few lines, for what svctl would never send.

use serde_json::Value;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

/// An answer.
#[derive(Debug)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// The body as it came.
    pub body: String,
}

impl Answer {
    /// The body as JSON; null when it is none.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or(Value::Null)
    }
}

/// Connects, with a deadline on every read and write.
pub fn connect(socket: &Path) -> io::Result<UnixStream> {
    let stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(super::DEADLINE))?;
    stream.set_write_timeout(Some(super::DEADLINE))?;
    Ok(stream)
}

/// Sends bytes as they are, and reads the answer until the other side closes.
pub fn ask(socket: &Path, bytes: &[u8]) -> io::Result<Answer> {
    let mut stream = connect(socket)?;
    stream.write_all(bytes)?;
    let mut all = Vec::new();
    stream.read_to_end(&mut all)?;
    parse(&all).ok_or_else(|| io::Error::new(io::ErrorKind::UnexpectedEof, "the answer is cut off"))
}

/// One request.
pub fn request(socket: &Path, method: &str, path: &str, body: Option<&str>) -> io::Result<Answer> {
    let mut text = format!("{method} {path} HTTP/1.1\r\nHost: svd\r\nConnection: close\r\n");
    if let Some(body) = body {
        text += &format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len());
    }
    ask(socket, format!("{text}\r\n{}", body.unwrap_or("")).as_bytes())
}

fn parse(all: &[u8]) -> Option<Answer> {
    let end = all.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&all[..end]).to_lowercase();
    let status = head.split(' ').nth(1)?.parse().ok()?;
    let body = &all[end + 4..];
    let header = |name: &str| head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim);
    let body = if header("transfer-encoding") == Some("chunked") {
        dechunk(body)?
    } else {
        match header("content-length").and_then(|length| length.parse::<usize>().ok()) {
            Some(length) => body.get(..length)?.to_vec(),
            None => body.to_vec(),
        }
    };
    Some(Answer { status, body: String::from_utf8_lossy(&body).into_owned() })
}

fn dechunk(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut whole = Vec::new();
    loop {
        let end = rest.windows(2).position(|two| two == b"\r\n")?;
        let size = usize::from_str_radix(std::str::from_utf8(&rest[..end]).ok()?.trim(), 16).ok()?;
        rest = &rest[end + 2..];
        if size == 0 {
            return Some(whole);
        }
        whole.extend_from_slice(rest.get(..size)?);
        rest = rest.get(size + 2..)?;
    }
}
