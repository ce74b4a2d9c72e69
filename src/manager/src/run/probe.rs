//! Evidence of readiness that must be looked for: a descriptor, a port, an answer over HTTP.
//!
//! The kernel cannot tell when another process begins to listen, so ports are tried again and again with a growing pause,
//! until the evidence is there, the core's deadline passes or the instance ends (then the task is aborted).

use std::os::fd::OwnedFd;
use std::time::Duration;

use svd_core::SpawnId;
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use super::Inner;

const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
const ONE_TRY: Duration = Duration::from_secs(5);
/// Longest status line of an HTTP answer that is read.
const STATUS_LINE: usize = 64;

/// What is looked for.
pub enum Evidence {
    /// A newline on this pipe.
    Line(OwnedFd),
    /// A connection.
    Tcp(u16),
    /// An answer of 200 to 399.
    Http(u16, String),
}

/// Looks for it in a task of its own, which ends with [`Inner::Evidence`] or in vain.
pub fn watch(spawn: SpawnId, evidence: Evidence, inner: mpsc::UnboundedSender<Inner>) -> AbortHandle {
    tokio::spawn(async move {
        let found = match evidence {
            Evidence::Line(pipe) => line(pipe).await,
            Evidence::Tcp(port) => again(|| connect(port)).await,
            Evidence::Http(port, path) => again(|| http(port, path.clone())).await,
        };
        if found {
            // A closed channel means that the manager is ending.
            let _ending = inner.send(Inner::Evidence(spawn));
        }
    })
    .abort_handle()
}

/// Tells the main loop after a pause that a command is to be tried again.
pub fn later(spawn: SpawnId, pause: Duration, inner: mpsc::UnboundedSender<Inner>) -> AbortHandle {
    tokio::spawn(async move {
        tokio::time::sleep(pause).await;
        let _ending = inner.send(Inner::ProbeAgain(spawn));
    })
    .abort_handle()
}

/// s6's rule: anything, then a newline; the end of the pipe without one is no readiness.
async fn line(pipe: OwnedFd) -> bool {
    let Ok(pipe) = crate::reactor::watch(pipe, Interest::READABLE) else { return false };
    let mut buffer = [0; 256];
    loop {
        let Ok(mut guard) = pipe.readable().await else { return false };
        match svd_sys::fd::read(std::os::fd::AsFd::as_fd(&pipe), &mut buffer) {
            Ok(0) => return false,
            Ok(n) if buffer.iter().take(n).any(|byte| *byte == b'\n') => return true,
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => guard.clear_ready(),
            Err(_) => return false,
        }
    }
}

/// Tries until it succeeds.
async fn again<F, T>(mut attempt: F) -> bool
where
    F: FnMut() -> T,
    T: Future<Output = std::io::Result<()>>,
{
    let mut pause = FIRST_PAUSE;
    loop {
        if let Ok(Ok(())) = tokio::time::timeout(ONE_TRY, attempt()).await {
            return true;
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

async fn connect(port: u16) -> std::io::Result<()> {
    TcpStream::connect(("127.0.0.1", port)).await.map(drop)
}

async fn http(port: u16, path: String) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    let request =
        format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUser-Agent: svd\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut status = Vec::with_capacity(STATUS_LINE);
    stream.take(STATUS_LINE as u64).read_to_end(&mut status).await?;
    let code = status
        .strip_prefix(b"HTTP/1.")
        .and_then(|rest| rest.get(2..5))
        .and_then(|code| std::str::from_utf8(code).ok())
        .and_then(|code| code.parse::<u16>().ok());
    match code {
        Some(200..=399) => Ok(()),
        Some(_) | None => Err(std::io::ErrorKind::InvalidData.into()),
    }
}
