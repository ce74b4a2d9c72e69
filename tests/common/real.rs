//! The real programs that `.ci/real-programs` installs.

use super::DEADLINE;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};

/// A port that nobody listens on now.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    listener.local_addr().expect("an address").port()
}

/// The path of a program of Debian's packages, or `None`, said loudly. With `SVD_REAL=1` a missing one is a failure; with
/// `SVD_REAL=0` none is looked for.
pub fn program(name: &str) -> Option<String> {
    let places = ["/usr/sbin", "/usr/bin", "/usr/local/bin", "/usr/games"];
    let mut found = places.iter().filter_map(|place| with_prefix(Path::new(place), name)).collect::<Vec<_>>();
    found.sort();
    missing(found.into_iter().next(), name)
}

/// The path of a program in the tests' Python environment, or `None`, said loudly.
pub fn venv(name: &str) -> Option<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/real/venv/bin").join(name);
    missing(path.exists().then_some(path), name)
}

/// `php-fpm*` has a version in its name; others are as they are called.
fn with_prefix(place: &Path, name: &str) -> Option<PathBuf> {
    let Some(prefix) = name.strip_suffix('*') else {
        let path = place.join(name);
        return path.exists().then_some(path);
    };
    let entries = std::fs::read_dir(place).ok()?;
    let mut names = entries.filter_map(|entry| Some(entry.ok()?.path()));
    names.find(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(prefix)))
}

fn missing(path: Option<PathBuf>, name: &str) -> Option<String> {
    let wanted = std::env::var("SVD_REAL").unwrap_or_default();
    if wanted == "0" {
        super::skipped(&format!("SVD_REAL=0: without {name}"));
        return None;
    }
    if path.is_none() {
        assert!(wanted != "1", "SVD_REAL=1, and {name} is missing: .ci/real-programs installs it");
        super::skipped(&format!("{name} is not installed: .ci/real-programs installs it"));
    }
    path.map(|path| path.display().to_string())
}

/// A client of Redis in a few lines.
pub struct Redis {
    reader: BufReader<TcpStream>,
}

impl Redis {
    /// Connects; the server must listen.
    pub fn on(port: u16) -> Redis {
        let stream = TcpStream::connect(("127.0.0.1", port)).expect("redis listens");
        stream.set_read_timeout(Some(2 * DEADLINE)).expect("a timeout");
        Redis { reader: BufReader::new(stream) }
    }

    /// Sends a command and gives the answer's values: one for a simple answer, all of them for an array. Nothing for null.
    pub fn ask(&mut self, words: &[&str]) -> Vec<String> {
        let mut text = format!("*{}\r\n", words.len());
        for word in words {
            text += &format!("${}\r\n{word}\r\n", word.len());
        }
        self.reader.get_mut().write_all(text.as_bytes()).expect("redis takes the command");
        let mut values = Vec::new();
        self.read(&mut values);
        values
    }

    fn read(&mut self, values: &mut Vec<String>) {
        let line = self.line();
        let (kind, rest) = line.split_at(1);
        match kind {
            "*" => {
                for _ in 0..rest.parse::<i64>().expect("a length").max(0) {
                    self.read(values);
                }
            }
            "$" if rest == "-1" => {}
            // The values of these tests have no line ends.
            "$" => values.push(self.line()),
            "-" => panic!("redis says {rest}"),
            _ => values.push(rest.to_owned()),
        }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.reader.read_line(&mut line).expect("redis answers in time");
        assert!(!line.is_empty(), "redis closed the connection");
        line.trim_end().to_owned()
    }
}
