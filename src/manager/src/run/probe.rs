//! Evidence of readiness that must be looked for: a descriptor, a connection that is accepted, an answer over HTTP.
//!
//! The kernel cannot tell when another process begins to listen or accepts, so it is looked at again and again with a growing
//! pause, until the evidence is there, the core's deadline passes or the instance ends (then the task is aborted).

use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use svd_core::SpawnId;
use tokio::io::Interest;
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};

use super::Inner;
use super::knock::{Visit, Way};

const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// How long an answer may take, from when the connection was accepted.
const ONE_TRY: Duration = Duration::from_secs(5);
/// One listener after the other is tried: a connection stays for ever in the queue of one from which the program never accepts,
/// and its drain would wait for it.
const NEXT: Duration = Duration::from_secs(2);

/// What is looked for.
pub enum Evidence {
    /// A newline on this pipe.
    Line(OwnedFd),
    /// It accepts from a slot of its own, or of its generation's, of any of these listeners. Looked for after a while only,
    /// where it may show sooner that it listens.
    Accepts(Vec<Way>, Duration),
    /// A connection.
    Tcp(Way),
    /// An answer of 200 to 399.
    Http(Way, String),
    /// It is still there after so long: nothing else can be seen of it.
    Lives(Duration),
}

/// Looks for it in a task of its own, which ends with [`Inner::Evidence`] or in vain.
pub fn watch(spawn: SpawnId, evidence: Evidence, inner: mpsc::UnboundedSender<Inner>) -> AbortHandle {
    tokio::spawn(async move {
        let seeker = Seeker { spawn, inner: inner.clone(), tried: false };
        let found = match evidence {
            Evidence::Line(pipe) => line(pipe).await,
            Evidence::Lives(time) => {
                tokio::time::sleep(time).await;
                true
            }
            Evidence::Accepts(ways, delay) => {
                tokio::time::sleep(delay).await;
                // Dropped, and with it all of them, when the first has found it or this task is aborted.
                let mut any = JoinSet::new();
                let mut wait = Duration::ZERO;
                for way in ways {
                    let seeker = seeker.clone();
                    any.spawn(async move {
                        tokio::time::sleep(wait).await;
                        seeker.find(Question::Accepts(way)).await
                    });
                    wait = wait.saturating_add(NEXT);
                }
                any.join_next().await.is_some()
            }
            Evidence::Tcp(way) => seeker.find(Question::Tcp(way)).await,
            Evidence::Http(way, path) => seeker.find(Question::Http(way, path)).await,
        };
        if found {
            // A closed channel means that the manager is ending.
            let _ending = inner.send(Inner::Evidence(spawn));
        }
    })
    .abort_handle()
}

/// What is tried until it succeeds.
enum Question {
    Accepts(Way),
    Tcp(Way),
    Http(Way, String),
}

/// Who looks for it.
#[derive(Clone)]
struct Seeker {
    spawn: SpawnId,
    inner: mpsc::UnboundedSender<Inner>,
    /// A try has failed: what is seen meanwhile says less than why.
    tried: bool,
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

impl Seeker {
    async fn find(mut self, question: Question) -> bool {
        let mut pause = FIRST_PAUSE;
        loop {
            let attempt = match &question {
                Question::Accepts(way) => self.accepts(way).await,
                Question::Tcp(way) => self.visit(way, "nobody accepts there").await.map(drop),
                Question::Http(way, path) => self.http(way, path).await,
            };
            let Err(why) = attempt else { return true };
            self.tried = true;
            self.tell(why);
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Connects, and waits until somebody accepts.
    async fn visit(&self, way: &Way, meanwhile: &str) -> Result<Visit, String> {
        let mut visit = connect(way).await?;
        if let Way::Door(_) = way {
            self.meanwhile(format!("{}: {meanwhile}", way.name()));
        }
        tokio::select! {
            () = way.until_accepted() => {}
            () = visit.news() => {}
        }
        Ok(visit)
    }

    /// As [`Seeker::visit`]; where others accept from the same slot it must have been this one.
    async fn accepts(&self, way: &Way) -> Result<(), String> {
        let visit = self.visit(way, "it was not seen to listen, and nobody accepts there").await?;
        if visit.hosts.iter().all(|(host, _)| *host == self.spawn) {
            return Ok(());
        }
        match visit.host().await {
            Some(host) if host == self.spawn => Ok(()),
            Some(_) => Err(format!("{}: it was not seen to listen, and only others accept there", way.name())),
            // It may well have been one that is to be replaced.
            None => Err(format!(
                "{}: it was not seen to listen, and it cannot be told whether it or another instance has accepted there; say \
                 with `ready` how it shows that it is ready, or replace it with strategy = \"exclusive\"",
                way.name()
            )),
        }
    }

    async fn http(&self, way: &Way, path: &str) -> Result<(), String> {
        let what = format!("GET {path} on {}", way.name());
        let mut visit = connect(way).await?;
        if let Way::Door(_) = way {
            self.meanwhile(format!("{what}: nobody accepts there"));
        }
        // The request waits in the queue with the connection, until the program accepts: the time for the answer begins then.
        let late = async {
            way.until_accepted().await;
            self.meanwhile(format!("{what}: no answer yet"));
            tokio::time::sleep(ONE_TRY).await;
        };
        let answer = tokio::select! {
            answer = visit.get(path) => answer,
            () = late => return Err(format!("{what}: no answer within {} s", ONE_TRY.as_secs())),
        };
        let judged = judge(&what, answer);
        visit.leave().await;
        judged
    }

    fn meanwhile(&self, what: String) {
        if !self.tried {
            self.tell(what);
        }
    }

    fn tell(&self, why: String) {
        let _ending = self.inner.send(Inner::ProbeFailed(self.spawn, why));
    }
}

async fn connect(way: &Way) -> Result<Visit, String> {
    way.connect().await.map_err(|error| format!("{}: {error}", way.name()))
}

/// What an answer says: 200 to 399 is well.
pub fn judge(what: &str, answer: std::io::Result<Option<u16>>) -> Result<(), String> {
    match answer {
        Ok(Some(200..=399)) => Ok(()),
        Ok(Some(code)) => Err(format!("{what}: answer {code}")),
        Ok(None) => Err(format!("{what}: the answer is not HTTP")),
        Err(error) => Err(format!("{what}: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

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
        let (inner, _told) = mpsc::unbounded_channel();
        let seeker = Seeker { spawn: SpawnId(1), inner, tried: false };
        let way = Way::Port(port);
        let probed = tokio::time::timeout(ONE_TRY, seeker.http(&way, "/healthz")).await;
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
