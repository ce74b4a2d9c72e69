//! `svd run`: prints all output, from a thread of its own, so that a terminal that was stopped (Ctrl-S) or a slow
//! reader never holds up supervision.

use super::follow::Follow;
use super::printer::Printer;
use std::io::{self, Write};
use std::thread::JoinHandle;
use svd_sys::clock;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, error::TryRecvError, unbounded_channel};

/// The printing thread. It ends when the log thread has ended and all is printed, or when nobody reads any more.
pub struct Foreground {
    system: UnboundedSender<(u64, String)>,
    thread: JoinHandle<()>,
}

impl Foreground {
    /// Prints what `follow` gives.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn start<W: Write + Send + 'static>(follow: Follow, printer: Printer<W>) -> io::Result<Foreground> {
        let (system, lines) = unbounded_channel();
        let runtime = tokio::runtime::Builder::new_current_thread().build()?;
        let thread = std::thread::Builder::new().name("print".to_owned()).spawn(move || {
            if let Err(error) = runtime.block_on(print(follow, printer, lines)) {
                tracing::warn!(%error, "output is no longer printed");
            }
        })?;
        Ok(Foreground { system, thread })
    }

    /// Prints a line of svd itself.
    pub fn system(&self, text: impl Into<String>) {
        // After printing has ended there is nobody to tell it to.
        let _ = self.system.send((clock::now().real_ns, text.into()));
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
    mut lines: UnboundedReceiver<(u64, String)>,
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
