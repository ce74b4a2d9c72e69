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
const STATUS_LINE: u64 = 64;
/// Where the code ends in `HTTP/1.1 200`.
const CODE_END: usize = 12;
/// How long the rest of an answer is waited for.
const DRAIN: Duration = Duration::from_millis(500);
/// How much of an answer is read and thrown away.
const LONGEST_ANSWER: u64 = 1 << 20;

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
        let told = |why: String| {
            let _ending = inner.send(Inner::ProbeFailed(spawn, why));
        };
        let found = match evidence {
            Evidence::Line(pipe) => line(pipe).await,
            Evidence::Tcp(port) => again(|| connect(port), &told).await,
            Evidence::Http(port, path) => again(|| http(port, path.clone()), &told).await,
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

/// Tries until it succeeds; tells why it did not, once for each reason in a row.
async fn again<F, T>(mut attempt: F, told: &impl Fn(String)) -> bool
where
    F: FnMut() -> T,
    T: Future<Output = Result<(), String>>,
{
    let mut pause = FIRST_PAUSE;
    let mut last = String::new();
    loop {
        let why = match tokio::time::timeout(ONE_TRY, attempt()).await {
            Ok(Ok(())) => return true,
            Ok(Err(why)) => why,
            Err(_late) => format!("no answer within {} s", ONE_TRY.as_secs()),
        };
        if why != last {
            told(why.clone());
            last = why;
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

async fn connect(port: u16) -> Result<(), String> {
    TcpStream::connect(("127.0.0.1", port)).await.map(drop).map_err(|error| format!("port {port}: {error}"))
}

async fn http(port: u16, path: String) -> Result<(), String> {
    let code = get(port, &path).await.map_err(|error| format!("GET {path} on port {port}: {error}"))?;
    match code {
        Some(200..=399) => Ok(()),
        Some(code) => Err(format!("GET {path} on port {port}: answer {code}")),
        None => Err(format!("GET {path} on port {port}: the answer is not HTTP")),
    }
}

/// The status of the answer; `None` where it has none.
async fn get(port: u16, path: &str) -> std::io::Result<Option<u16>> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    let request =
        format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUser-Agent: svd\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut status = Vec::new();
    // Until the code is there, and no further: a server may keep the connection open, whatever it was asked.
    while status.len() < CODE_END {
        if (&mut stream).take(STATUS_LINE).read_buf(&mut status).await? == 0 {
            break;
        }
    }
    // The rest is read too, for a moment: a server whose answer is hung up on complains in its log. It decides nothing.
    let mut rest = stream.take(LONGEST_ANSWER);
    let _read_or_not = tokio::time::timeout(DRAIN, tokio::io::copy(&mut rest, &mut tokio::io::sink())).await;
    Ok(status
        .strip_prefix(b"HTTP/1.")
        .and_then(|rest| rest.get(2..5))
        .and_then(|code| std::str::from_utf8(code).ok())
        .and_then(|code| code.parse::<u16>().ok()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_good_answer_counts_though_the_server_never_closes_the_connection() {
        // given a server that ignores "Connection: close"
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await.unwrap();
            // Holds the connection open until the prober has left.
            let mut rest = Vec::new();
            let _left = stream.read_to_end(&mut rest).await;
        });
        // when
        let probed = tokio::time::timeout(ONE_TRY, http(port, "/healthz".to_owned())).await;
        // then
        assert_eq!(probed, Ok(Ok(())));
        server.await.unwrap();
    }

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
