//! `svd run`: prints all output, from a thread of its own, so that a terminal that was stopped (Ctrl-S) or a slow
//! reader never holds up supervision.

use super::follow::Follow;
use super::printer::Printer;
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
    /// Prints what `follow` gives.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn start<W: Write + Send + 'static>(
        follow: Follow,
        printer: Printer<W>,
    ) -> io::Result<Foreground> {
        let (system, lines) = channel(WAITING);
        let runtime = tokio::runtime::Builder::new_current_thread().build()?;
        let thread = std::thread::Builder::new()
            .name("print".to_owned())
            .spawn(move || {
                if let Err(error) = runtime.block_on(print(follow, printer, lines)) {
                    tracing::warn!(%error, "output is no longer printed");
                }
            })?;
        Ok(Foreground {
            system,
            lost: AtomicU64::new(0),
            thread,
        })
    }

    /// Prints a line of svd itself.
    pub fn system(&self, text: impl Into<String>) {
        let now = clock::now().real_ns;
        let lost = self.lost.swap(0, Ordering::Relaxed);
        let mut text: String = text.into();
        if lost > 0 {
            text = format!(
                "({lost} lines of svd before this one were not printed: nobody read them) {text}"
            );
        }
        match self.system.try_send((now, text)) {
            // After printing has ended there is nobody to tell it to.
            Ok(()) | Err(TrySendError::Closed(_)) => {}
            Err(TrySendError::Full(_)) => {
                self.lost.store(lost.saturating_add(1), Ordering::Relaxed)
            }
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

async fn print<W: Write>(
    mut follow: Follow,
    mut printer: Printer<W>,
    mut lines: Receiver<(u64, String)>,
) -> io::Result<()> {
    let mut output_ended = false;
    let mut system_ended = false;
    while !(printer.is_closed() || output_ended && system_ended) {
        match lines.try_recv() {
            Ok((time, text)) => {
                printer.system(time, &text)?;
                continue;
            }
            Err(TryRecvError::Disconnected) => system_ended = true,
            Err(TryRecvError::Empty) => {}
        }
        // What has been collected is written before this waits, not at every line.
        tokio::select! {
            biased;
            item = follow.next(), if !output_ended => match item? {
                Some(item) => printer.item(&item)?,
                None => output_ended = true,
            },
            () = std::future::ready(()) => {
                printer.flush()?;
                if printer.is_closed() {
                    break;
                }
                tokio::select! {
                    item = follow.next(), if !output_ended => match item? {
                        Some(item) => printer.item(&item)?,
                        None => output_ended = true,
                    },
                    line = lines.recv(), if !system_ended => match line {
                        Some((time, text)) => printer.system(time, &text)?,
                        None => system_ended = true,
                    },
                    else => {}
                }
            }
        }
    }
    printer.flush()
}
