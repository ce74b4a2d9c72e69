//! Programs that bind by themselves: their bind(2) and listen(2) wait for an answer here. One that means a listener of their
//! process gets svd's socket in the place of its own; all others go on as if nobody had asked.
//!
//! So does shutdown(2), by which many servers take a socket out of service when they end: of one of svd's it would take it away
//! from all who have it, now and later, and who waits there with it. It succeeds and is not run.
//!
//! One task for each spawn, from its start until its record goes, since all of its tree has the filter. A call is written
//! down in a ledger that the keeper holds before it is known here, so a manager that is killed in the middle leaves it to its
//! successor, and to the program it only takes longer. Every step can be made twice: a bind of a socket that is svd's already
//! is answered with success.

use std::ffi::OsStr;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use svd_config::plan::ListenAddress;
use svd_core::SpawnId;
use svd_sys::intercept::{self, Answer, Bound, Call, Handed, Kind, Ledger, Sock, What};
use svd_sys::listen;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use super::Inner;
use crate::listen::{Key, Listener};

/// The kernel's word for a call that does not wait any more.
const ENOENT: i32 = 2;
const ESRCH: i32 = 3;
/// When no descriptor is free, or a call cannot be received, it is tried again after this.
const BLIND: Duration = Duration::from_secs(1);

/// The ledger, which all tasks use.
pub type SharedLedger = Arc<Ledger>;

/// A socket that a program may mean.
#[derive(Clone, Debug)]
pub struct Ours {
    key: Key,
    address: ListenAddress,
    at: Option<SocketAddr>,
    socket: Arc<OwnedFd>,
    cookie: u64,
}

/// What was seen of a program.
#[derive(Debug, PartialEq, Eq)]
pub enum Seen {
    /// It has bound one of the listeners.
    Bound(Key),
    /// It listens on it.
    Listens(Key),
    /// The kernel did not let it have the filter: why.
    Refused(String),
    /// It may not be looked into: why. Its calls run as if nobody had asked, which they still have to be told.
    Blind(String),
}

impl Ours {
    /// A slot's socket of a listener.
    pub fn new(key: Key, listener: &Listener, socket: &Arc<OwnedFd>) -> io::Result<Ours> {
        let cookie = listen::cookie(socket.as_fd())?;
        Ok(Ours { key, address: listener.address.clone(), at: listener.at, socket: socket.clone(), cookie })
    }

    fn kind(&self) -> Kind {
        match self.address {
            ListenAddress::Tcp { .. } | ListenAddress::Unix { .. } => Kind::Stream,
            ListenAddress::Udp { .. } => Kind::Datagram,
        }
    }

    /// Whether a program that binds this would collide with it, so that it must be meant.
    fn is_meant(&self, bound: &Bound, pid: i32) -> bool {
        match (bound, &self.address, self.at) {
            (Bound::Inet(wanted), ListenAddress::Tcp { .. } | ListenAddress::Udp { .. }, Some(at)) => {
                wanted.port() == at.port() && meets(wanted.ip(), at.ip())
            }
            (Bound::Unix(wanted), ListenAddress::Unix { path, .. }, _) => is_path(wanted, path, pid),
            (Bound::Inet(_) | Bound::Unix(_) | Bound::Else, _, _) => false,
        }
    }
}

/// Either takes connections to the other. Families do not matter where one takes all: a program that asks for the one may
/// as well have the other.
fn meets(a: IpAddr, b: IpAddr) -> bool {
    let (a, b) = (a.to_canonical(), b.to_canonical());
    a == b || a.is_unspecified() || b.is_unspecified()
}

/// Whether a path, as a process sees it, is this one.
fn is_path(wanted: &[u8], path: &Path, pid: i32) -> bool {
    let wanted = Path::new(OsStr::from_bytes(wanted));
    if wanted == path {
        return true;
    }
    if wanted.file_name() != path.file_name() {
        return false;
    }
    // Another way to the same directory: relative, through links, or in a root of its own.
    let base = if wanted.is_absolute() { "root" } else { "cwd" };
    let inside = wanted.strip_prefix("/").unwrap_or(wanted).parent().unwrap_or(Path::new(""));
    let theirs = PathBuf::from(format!("/proc/{pid}/{base}")).join(inside);
    let identity = |dir: &Path| dir.metadata().ok().map(|found| (found.dev(), found.ino()));
    path.parent().is_some_and(|ours| identity(ours).is_some() && identity(&theirs) == identity(ours))
}

/// Serves the calls of a spawn.
pub fn serve(
    spawn: SpawnId,
    channel: OwnedFd,
    ours: Vec<Ours>,
    ledger: SharedLedger,
    inner: mpsc::UnboundedSender<Inner>,
) -> AbortHandle {
    let service = Service { spawn, ours: ours.into(), ledger, inner };
    tokio::spawn(async move {
        let Some(listener) = service.listener(channel).await else { return };
        service.run(listener).await;
    })
    .abort_handle()
}

#[derive(Clone)]
struct Service {
    spawn: SpawnId,
    ours: Arc<[Ours]>,
    ledger: SharedLedger,
    inner: mpsc::UnboundedSender<Inner>,
}

impl Service {
    /// Waits for the filter's listener; `None` where there will be none.
    async fn listener(&self, channel: OwnedFd) -> Option<OwnedFd> {
        let channel = self.watch(&channel).await;
        loop {
            let Ok(mut guard) = channel.readable().await else { return None };
            match intercept::peek(channel.get_ref().as_fd()) {
                Ok(Handed::Nothing) => guard.clear_ready(),
                Ok(Handed::Listener(listener)) => return Some(listener),
                Ok(Handed::Closed) => return None,
                Ok(Handed::Refused(error)) => {
                    self.tell(Seen::Refused(error.to_string()));
                    return None;
                }
                Err(error) => self.pause("a filter's listener cannot be had", &error).await,
            }
        }
    }

    /// Serves until nobody who has the filter is left. While somebody is, each call waits for an answer, so nothing else may
    /// end it.
    async fn run(&self, listener: OwnedFd) {
        let watched = self.watch(&listener).await;
        let listener = Arc::new(listener);
        // What the manager before had received and not answered.
        let (service, waiting) = (self.clone(), listener.clone());
        if let Err(error) = tokio::task::spawn_blocking(move || service.left_over(waiting.as_fd())).await {
            tracing::error!(spawn = self.spawn.0, %error, "what was left of intercepted calls is not answered");
        }
        loop {
            // It fails only where the runtime ends.
            let Ok(mut guard) = watched.readable().await else { return };
            if guard.ready().is_read_closed() {
                return;
            }
            let (service, calls) = (self.clone(), listener.clone());
            // Looking into another process can wait in the kernel. A call that waits may be told after the readiness was
            // cleared only if it is newer: tokio tells the two apart.
            match tokio::task::spawn_blocking(move || service.all_calls(calls.as_fd())).await {
                Ok(Ok(())) => guard.clear_ready(),
                Ok(Err(error)) => self.pause("a call cannot be received", &error).await,
                Err(end) if end.is_panic() => self.pause("answering a call has failed", &end).await,
                Err(_ending) => return,
            }
        }
    }

    /// A copy of a descriptor on the reactor, as soon as there is room for one.
    async fn watch(&self, fd: &OwnedFd) -> AsyncFd<OwnedFd> {
        loop {
            let watched = fd.try_clone().and_then(|copy| crate::reactor::watch(copy, Interest::READABLE));
            match watched {
                Ok(watched) => return watched,
                Err(error) => self.pause("intercepted calls cannot be waited for", &error).await,
            }
        }
    }

    async fn pause(&self, what: &str, why: &(dyn std::fmt::Display + Sync)) {
        tracing::warn!(spawn = self.spawn.0, "{what} ({why}); trying again");
        tokio::time::sleep(BLIND).await;
    }

    fn left_over(&self, listener: BorrowedFd<'_>) {
        let calls = self.ledger.unanswered();
        calls.iter().filter(|call| call.tag == self.spawn.0).for_each(|call| self.serve(listener, call));
    }

    fn all_calls(&self, listener: BorrowedFd<'_>) -> io::Result<()> {
        loop {
            let received = self.ledger.receive(listener, self.spawn.0)?;
            let Some(call) = received else { return Ok(()) };
            self.serve(listener, &call);
        }
    }

    fn serve(&self, listener: BorrowedFd<'_>, call: &Call) {
        let answer = match self.decide(listener, call) {
            Ok(answer) => Some(answer),
            Err(error) if is_gone(&error) => None,
            // The kernel says what is wrong with it, or lets it be.
            Err(error) => {
                if error.kind() == io::ErrorKind::PermissionDenied {
                    self.tell(Seen::Blind(error.to_string()));
                }
                Some(Answer::Continue)
            }
        };
        if let Some(answer) = answer
            && let Err(error) = intercept::answer(listener, call, answer)
            && !is_gone(&error)
        {
            // It stays in the ledger, for a later manager.
            tracing::error!(spawn = self.spawn.0, %error, "an intercepted call cannot be answered");
            return;
        }
        self.ledger.done(call);
    }

    fn decide(&self, listener: BorrowedFd<'_>, call: &Call) -> io::Result<Answer> {
        match call.what {
            What::Bind { fd, .. } => {
                let bound = intercept::address_of(listener, call)?;
                let Some(ours) = self.ours.iter().find(|ours| ours.is_meant(&bound, call.pid)) else {
                    return Ok(Answer::Continue);
                };
                let sock = intercept::socket_of(listener, call, fd)?;
                if let Some(ours) = self.is_ours(&sock) {
                    self.tell(Seen::Bound(ours.key.clone()));
                    return Ok(Answer::Done);
                }
                if sock.kind != ours.kind() {
                    return Ok(Answer::Continue);
                }
                if sock.nonblocking {
                    listen::set_nonblocking_shared(ours.socket.as_fd())?;
                }
                intercept::replace(listener, call, fd, ours.socket.as_fd(), sock.cloexec)?;
                self.tell(Seen::Bound(ours.key.clone()));
                Ok(Answer::Done)
            }
            What::Listen { fd } => {
                let sock = intercept::socket_of(listener, call, fd)?;
                let Some(ours) = self.is_ours(&sock) else { return Ok(Answer::Continue) };
                // It listens already, and a shorter queue than its own is not wanted.
                self.tell(Seen::Listens(ours.key.clone()));
                Ok(Answer::Done)
            }
            What::Shutdown { fd } => {
                let sock = intercept::socket_of(listener, call, fd)?;
                Ok(if self.is_ours(&sock).is_some() { Answer::Done } else { Answer::Continue })
            }
            What::Other => Ok(Answer::Continue),
        }
    }

    fn is_ours(&self, sock: &Sock) -> Option<&Ours> {
        self.ours.iter().find(|ours| ours.cookie == sock.cookie)
    }

    fn tell(&self, seen: Seen) {
        // A closed channel means that the manager is ending.
        let _ending = self.inner.send(Inner::Intercepted(self.spawn, seen));
    }
}

fn is_gone(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(ENOENT | ESRCH))
}

#[cfg(test)]
mod tests;
