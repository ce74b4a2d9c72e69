//! `svd run`: prints all output, from a thread of its own, so that a terminal that was stopped (Ctrl-S) or a slow
//! reader never holds up supervision.

use super::follow::Follow;
use super::printed::Printed;
use super::printer::Printer;
use super::types::{LogItem, Position, TrackId};
use std::collections::HashMap;
use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use svd_sys::clock;
use tokio::sync::mpsc::{Receiver, Sender, channel, error::TryRecvError, error::TrySendError};

/// So many lines of svd itself wait for a terminal that does not take them; those that come then are counted.
const WAITING: usize = 1024;

/// The printing thread. It ends when the log thread has ended and all is printed, or when nobody reads any more.
pub struct Foreground {
    system: Sender<(u64, String)>,
    /// Lines that were not printed since the last one that will be.
    lost: AtomicU64,
    thread: JoinHandle<()>,
}

impl Foreground {
    /// Prints what `follow` gives, and notes what is printed where it can be noted.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn start<W: Write + Send + 'static>(
        follow: Follow,
        printer: Printer<W>,
        printed: Option<Printed>,
    ) -> io::Result<Foreground> {
        let (system, lines) = channel(WAITING);
        let runtime = tokio::runtime::Builder::new_current_thread().build()?;
        let thread = std::thread::Builder::new().name("print".to_owned()).spawn(move || {
            if let Err(error) = runtime.block_on(print(follow, Page::new(printer, printed), lines)) {
                tracing::warn!(%error, "output is no longer printed");
            }
        })?;
        Ok(Foreground { system, lost: AtomicU64::new(0), thread })
    }

    /// Prints a line of svd itself.
    pub fn system(&self, text: impl Into<String>) {
        let now = clock::now().real_ns;
        let lost = self.lost.swap(0, Ordering::Relaxed);
        let mut text: String = text.into();
        if lost > 0 {
            text = format!("({lost} lines of svd before this one were not printed: nobody read them) {text}");
        }
        match self.system.try_send((now, text)) {
            // After printing has ended there is nobody to tell it to.
            Ok(()) | Err(TrySendError::Closed(_)) => {}
            Err(TrySendError::Full(_)) => self.lost.store(lost.saturating_add(1), Ordering::Relaxed),
        }
    }

    /// To be called after [`super::Logs::shutdown`]: waits at most `deadline` until all is printed, on a blocking
    /// thread of the runtime; says whether it is.
    pub async fn finish(self, deadline: std::time::Duration) -> bool {
        drop(self.system);
        let joined = tokio::task::spawn_blocking(|| self.thread.join().is_ok());
        matches!(tokio::time::timeout(deadline, joined).await, Ok(Ok(true)))
    }
}

/// What is being printed, and up to where it has come.
struct Page<W> {
    printer: Printer<W>,
    printed: Option<Printed>,
    /// Where each stream is that has lines on this page.
    ends: HashMap<TrackId, Position>,
}

impl<W: Write> Page<W> {
    fn new(mut printer: Printer<W>, printed: Option<Printed>) -> Page<W> {
        if printed.as_ref().is_some_and(Printed::is_cut) {
            printer.end_line();
        }
        Page { printer, printed, ends: HashMap::new() }
    }

    fn item(&mut self, item: &LogItem, given: Option<(&TrackId, Position)>) -> io::Result<()> {
        self.printer.item(item)?;
        if let (Some((id, at)), Some(_)) = (given, &self.printed) {
            match self.ends.get_mut(id) {
                Some(end) => *end = at,
                None => drop(self.ends.insert(id.clone(), at)),
            }
        }
        self.flush_if_full()
    }

    fn system(&mut self, time_ns: u64, text: &str) -> io::Result<()> {
        self.printer.system(time_ns, text)?;
        self.flush_if_full()
    }

    fn flush_if_full(&mut self) -> io::Result<()> {
        if self.printer.is_full() { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.printer.is_empty() {
            return Ok(());
        }
        self.note(Printed::writing);
        self.printer.flush()?;
        let ends = std::mem::take(&mut self.ends);
        self.note(|printed| printed.written(ends.into_iter()));
        Ok(())
    }

    /// Printing goes on without notes where they cannot be made.
    fn note(&mut self, note: impl FnOnce(&mut Printed) -> io::Result<()>) {
        let Some(mut printed) = self.printed.take() else { return };
        match note(&mut printed) {
            Ok(()) => self.printed = Some(printed),
            Err(error) => {
                tracing::warn!(%error, "it cannot be noted what is printed: a later manager prints from its start on");
                printed.give_up();
            }
        }
    }
}

async fn print<W: Write>(mut follow: Follow, mut page: Page<W>, mut lines: Receiver<(u64, String)>) -> io::Result<()> {
    let mut output_ended = false;
    let mut system_ended = false;
    while !(page.printer.is_closed() || output_ended && system_ended) {
        match lines.try_recv() {
            Ok((time, text)) => {
                page.system(time, &text)?;
                continue;
            }
            Err(TryRecvError::Disconnected) => system_ended = true,
            Err(TryRecvError::Empty) => {}
        }
        // What has been collected is written before this waits, not at every line.
        tokio::select! {
            biased;
            item = follow.next(), if !output_ended => match item? {
                Some(item) => page.item(&item, follow.given())?,
                None => output_ended = true,
            },
            () = std::future::ready(()) => {
                page.flush()?;
                if page.printer.is_closed() {
                    break;
                }
                tokio::select! {
                    item = follow.next(), if !output_ended => match item? {
                        Some(item) => page.item(&item, follow.given())?,
                        None => output_ended = true,
                    },
                    line = lines.recv(), if !system_ended => match line {
                        Some((time, text)) => page.system(time, &text)?,
                        None => system_ended = true,
                    },
                    else => {}
                }
            }
        }
    }
    page.flush()
}
