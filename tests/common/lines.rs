//! What a process prints, line by line, as it comes.

use super::DEADLINE;
use std::io::{BufRead, BufReader, Read};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Instant;

/// Lines that a thread reads from a pipe. Cheap to clone.
#[derive(Clone, Default)]
pub struct Lines {
    inner: Arc<Inner>,
}

#[derive(Default)]
struct Inner {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    lines: Vec<String>,
    closed: bool,
}

impl Lines {
    /// Begins to read.
    pub fn of(reader: impl Read + Send + 'static) -> Lines {
        let lines = Lines::default();
        lines.follow(reader);
        lines
    }

    /// Adds what another reader gives.
    pub fn follow(&self, reader: impl Read + Send + 'static) {
        let lines = self.clone();
        std::thread::spawn(move || {
            let mut reader = BufReader::new(reader);
            let mut line = Vec::new();
            while matches!(reader.read_until(b'\n', &mut line), Ok(count) if count > 0) {
                lines.push(String::from_utf8_lossy(&line).trim_end_matches('\n').to_owned());
                line.clear();
            }
            lines.lock().closed = true;
            lines.inner.changed.notify_all();
        });
    }

    /// Adds one line.
    pub fn push(&self, line: String) {
        self.lock().lines.push(line);
        self.inner.changed.notify_all();
    }

    /// All lines so far.
    pub fn all(&self) -> Vec<String> {
        self.lock().lines.clone()
    }

    /// How many lines there are so far.
    pub fn count(&self) -> usize {
        self.lock().lines.len()
    }

    /// Waits until there are more than `count` lines; says whether there are.
    pub fn more_than(&self, count: usize, deadline: Instant) -> bool {
        let mut state = self.lock();
        while state.lines.len() <= count {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            state = self.inner.changed.wait_timeout(state, left).expect("not poisoned").0;
        }
        true
    }

    /// Waits until there are more than `seen` lines, and counts them there, or until the writer has closed its end: then
    /// it is true.
    pub fn changed(&self, seen: &mut usize, deadline: Instant) -> bool {
        let mut state = self.lock();
        while state.lines.len() <= *seen && !state.closed {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            state = self.inner.changed.wait_timeout(state, left).expect("not poisoned").0;
        }
        *seen = state.lines.len();
        state.closed
    }

    /// Waits until `look` finds in the lines what it looks for.
    pub fn until<T>(&self, what: &str, mut look: impl FnMut(&[String]) -> Option<T>) -> T {
        let deadline = Instant::now() + DEADLINE;
        let mut state = self.lock();
        loop {
            if let Some(found) = look(&state.lines) {
                return found;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || state.closed {
                let tail = state.lines.iter().rev().take(20).rev().cloned().collect::<Vec<_>>().join("\n");
                panic!("waited in vain for {what}; the last lines are\n{tail}");
            }
            state = self.inner.changed.wait_timeout(state, left).expect("not poisoned").0;
        }
    }

    /// Waits for a line that contains `text`, and gives it.
    pub fn containing(&self, text: &str) -> String {
        self.until(&format!("a line with {text:?}"), |lines| lines.iter().find(|line| line.contains(text)).cloned())
    }

    /// Waits until the writer has closed its end.
    pub fn closed(&self) -> Vec<String> {
        let deadline = Instant::now() + DEADLINE;
        let mut state = self.lock();
        while !state.closed {
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "the output was not closed");
            state = self.inner.changed.wait_timeout(state, left).expect("not poisoned").0;
        }
        state.lines.clone()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.inner.state.lock().expect("not poisoned")
    }
}
