//! Evidence of readiness that must be looked for: a descriptor, a port, an answer over HTTP.
//!
//! The kernel cannot tell when another process begins to listen, so ports are tried again and again with a growing pause,
//! until the evidence is there, the core's deadline passes or the instance ends (then the task is aborted).

use std::os::fd::{AsFd, OwnedFd};
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
///
/// The newline stays in the pipe, which the keeper holds: a manager that is killed before it could write down that the
/// instance is ready leaves the evidence to its successor.
async fn line(pipe: OwnedFd) -> bool {
    let Ok(pipe) = crate::reactor::watch(pipe, Interest::READABLE) else { return false };
    let Ok((copy, copy_in)) = svd_sys::fd::pipe() else { return false };
    let mut buffer = [0; 256];
    loop {
        let Ok(mut guard) = pipe.readable().await else { return false };
        let copied = svd_sys::splice::tee(pipe.as_fd(), copy_in.as_fd(), buffer.len());
        match copied.and_then(|count| svd_sys::fd::read(copy.as_fd(), buffer.get_mut(..count).unwrap_or_default())) {
            Ok(0) => return false,
            Ok(n) if buffer.iter().take(n).any(|byte| *byte == b'\n') => return true,
            Ok(n) => {
                if svd_sys::fd::read(pipe.as_fd(), buffer.get_mut(..n).unwrap_or_default()).is_err() {
                    return false;
                }
            }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_newline_of_readiness_stays_for_a_later_manager() {
        // given
        let (read, write) = svd_sys::fd::pipe().unwrap();
        svd_sys::fd::set_nonblocking(read.as_fd()).unwrap();
        let of_successor = read.try_clone().unwrap();
        // when it comes in pieces, the last of them with more behind it
        let looking = tokio::spawn(line(read));
        svd_sys::fd::write(write.as_fd(), &[b'.'; 1000]).unwrap();
        tokio::task::yield_now().await;
        svd_sys::fd::write(write.as_fd(), b"up\nand more").unwrap();
        // then
        assert!(looking.await.unwrap());
        assert!(line(of_successor.try_clone().unwrap()).await);
        drop(write);
        assert!(line(of_successor).await);
    }

    #[tokio::test]
    async fn the_end_without_a_newline_is_no_readiness() {
        let (read, write) = svd_sys::fd::pipe().unwrap();
        svd_sys::fd::set_nonblocking(read.as_fd()).unwrap();
        svd_sys::fd::write(write.as_fd(), b"almost").unwrap();
        drop(write);
        assert!(!line(read).await);
    }
}
