//! Waiting until nobody is left in a slot that gets no new connections any more, and an instance can be told to stop.
//!
//! A connection belongs to a slot from its first packet on, which the gate directed; so who had begun a handshake before the
//! gate turned will still be in the old slot's queue when it is complete, however slow the client is. The kernel tells
//! nobody when a queue has become empty or a handshake has ended, so both are looked at again with growing pauses.
//!
//! Many programs were never written for a graceful stop: the signal that begins it ends them at once, and with them whatever
//! they are in the middle of. So it is also waited until no accepted connection is in the middle of anything, as far as the
//! kernel shows. One that is kept open between requests may never be quiet for long, so after a while a short moment will
//! do. A program that catches the signal mostly finishes by itself, but not always (Node.js catches TERM and exits): for it a
//! short moment will do from the start, and it is told to stop after a while in any case.
//!
//! The core has a deadline of its own for all of it.

use std::collections::BTreeSet;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use svd_core::SpawnId;
use svd_sys::conversations::{self, Ends, Open, Patience};
use svd_sys::handshakes::{self, Handshake};
use svd_sys::{listen, process, tree};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use super::Inner;

const FIRST_PAUSE: Duration = Duration::from_millis(2);
const LONGEST_PAUSE: Duration = Duration::from_millis(250);

/// A connection is quiet when nothing has happened on it for so long; after [`STRICT`] the second holds.
const QUIET: [Patience; 2] = [
    Patience { answered: Duration::from_secs(1), silent: Duration::from_secs(1) },
    Patience { answered: Duration::from_millis(20), silent: Duration::ZERO },
];
/// So long a connection has to be quiet for longer.
const STRICT: Duration = Duration::from_secs(5);
/// So long is waited for a program that catches the signal.
const CATCHES: Duration = Duration::from_secs(15);
/// Longest pause between two looks at connections.
const LOOK: Duration = Duration::from_millis(50);

/// What is to be drained.
#[derive(Debug)]
pub struct Drain {
    /// The queues of its slot.
    pub queues: Vec<Queue>,
    /// Its main process.
    pub main: i32,
    /// The signal by which its stop begins.
    pub signal: i32,
    /// How long it has been draining already, under managers before this one.
    pub since: Duration,
}

/// The queue of one slot of a listener.
#[derive(Debug)]
pub struct Queue {
    /// The slot's socket.
    pub socket: Arc<OwnedFd>,
    /// The listener's port.
    pub port: u16,
}

/// Tells the main loop when nobody is left.
pub fn watch(spawn: SpawnId, drain: Drain, inner: mpsc::UnboundedSender<Inner>) -> AbortHandle {
    tokio::spawn(async move {
        empty(&drain.queues).await;
        quiet(&drain).await;
        // A closed channel means that the manager is ending.
        let _ending = inner.send(Inner::QueueEmpty(spawn));
    })
    .abort_handle()
}

async fn empty(queues: &[Queue]) {
    let ports: BTreeSet<u16> = queues.iter().map(|queue| queue.port).collect();
    // Who is just being directed is in neither. Where the kernel does not let us wait for that, it is a matter of microseconds.
    let _settled = tokio::task::spawn_blocking(svd_sys::gate::settle).await;
    // Also those that began after the gate had turned: they go elsewhere, and are waited for in vain, but not for long.
    let mut begun = pending(ports.clone()).await;
    let mut pause = FIRST_PAUSE;
    loop {
        if !begun.is_empty() {
            let now = pending(ports.clone()).await;
            begun.retain(|handshake| now.contains(handshake));
        }
        // In this order: what has left the first is in the second.
        if begun.is_empty() && queues.iter().all(is_empty) {
            return;
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Waits until what the stop's first signal would cut off is over.
async fn quiet(drain: &Drain) {
    let Some(handles) = process::handles(drain.main, drain.signal) else {
        // It is gone, or another's.
        return;
    };
    let work = Work::begun(drain).await;
    let [long, short] = QUIET;
    match handles {
        true => {
            let limit = CATCHES.saturating_sub(drain.since);
            let _late = tokio::time::timeout(limit, work.quiet_for(short)).await;
        }
        false => {
            let strict = STRICT.saturating_sub(drain.since);
            if tokio::time::timeout(strict, work.quiet_for(long)).await.is_err() {
                work.quiet_for(short).await;
            }
        }
    }
}

/// What a process and those below it may be in the middle of.
#[derive(Clone, Debug)]
struct Work {
    main: i32,
    ports: BTreeSet<u16>,
    /// All connections at these ports when its queues had become empty: its own, since it gets no others, and those that others
    /// had by then. Looked at where a process does not show what it has.
    begun: Arc<BTreeSet<Ends>>,
}

impl Work {
    async fn begun(drain: &Drain) -> Work {
        let ports: BTreeSet<u16> = drain.queues.iter().map(|queue| queue.port).collect();
        let look = ports.clone();
        let begun = tokio::task::spawn_blocking(move || conversations::accepted(&look)).await;
        let begun = begun.ok().and_then(Result::ok).unwrap_or_default();
        Work { main: drain.main, ports, begun: Arc::new(begun) }
    }

    /// Waits until all its connections are quiet.
    async fn quiet_for(&self, patience: Patience) {
        let mut pause = FIRST_PAUSE;
        loop {
            let work = self.clone();
            if !tokio::task::spawn_blocking(move || work.is_busy(patience)).await.unwrap_or(false) {
                return;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LOOK);
        }
    }

    /// What the kernel does not tell is no reason to wait.
    fn is_busy(&self, patience: Patience) -> bool {
        match conversations::open(&self.ports, patience) {
            Ok(open) => !open.is_empty() && self.has_any_of(&open),
            Err(_) => false,
        }
    }

    fn has_any_of(&self, open: &Open) -> bool {
        let below = tree::descendants(self.main).unwrap_or_default();
        let mut seen = true;
        for pid in [self.main].into_iter().chain(below.iter().map(|proc| proc.pid)) {
            match open.is_any_of(pid) {
                Ok(true) => return true,
                Ok(false) => {}
                // As root without CAP_SYS_PTRACE, as containers usually have it, and a program of another user.
                Err(_) => seen = false,
            }
        }
        !seen && open.is_any_among(&self.begun)
    }
}

fn is_empty(queue: &Queue) -> bool {
    match listen::waiting(queue.socket.as_fd()) {
        Ok(waiting) => waiting == 0,
        Err(error) => {
            tracing::warn!(%error, "a queue cannot be looked at; it is taken for empty");
            true
        }
    }
}

/// The handshakes that have begun at these ports. Reads a list of the kernel's, which can be long.
async fn pending(ports: BTreeSet<u16>) -> BTreeSet<Handshake> {
    let all = move || {
        let mut all = BTreeSet::new();
        for port in ports {
            match handshakes::pending(port) {
                Ok(some) => all.extend(some),
                Err(error) => tracing::warn!(%error, "handshakes in progress cannot be looked at"),
            }
        }
        all
    };
    tokio::task::spawn_blocking(all).await.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use svd_sys::listen::Group;

    #[tokio::test]
    async fn a_queue_is_empty_when_the_last_who_waited_was_accepted() {
        // given two who wait
        let socket = listen::tcp("127.0.0.1:0".parse().unwrap(), false, Group::Shared, 16).unwrap();
        let at = listen::address(socket.as_fd()).unwrap();
        let _clients = [TcpStream::connect(at).unwrap(), TcpStream::connect(at).unwrap()];
        let server = TcpListener::from(socket.try_clone().unwrap());
        let (inner, mut told) = mpsc::unbounded_channel();
        let queue = Queue { socket: Arc::new(socket), port: at.port() };
        // and a program that ends at once by the signal, and has nothing open
        watch(SpawnId(7), Drain { queues: vec![queue], main: 1, signal: 9, since: STRICT }, inner);
        // when one is accepted
        let _one = server.accept().unwrap();
        assert!(tokio::time::timeout(Duration::from_millis(50), told.recv()).await.is_err());
        // and the other
        let _other = server.accept().unwrap();
        // then
        let word = tokio::time::timeout(Duration::from_secs(20), told.recv()).await.unwrap();
        assert!(matches!(word, Some(Inner::QueueEmpty(SpawnId(7)))), "{word:?}");
    }

    #[tokio::test]
    async fn a_program_is_waited_for_until_it_has_answered() {
        // given this very process as the server of one who has asked, which neither catches nor ignores KILL
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = server.local_addr().unwrap();
        let mut client = TcpStream::connect(at).unwrap();
        let mut accepted = server.accept().unwrap().0;
        client.write_all(b"question").unwrap();
        accepted.read_exact(&mut [0; 8]).unwrap();
        let [long, short] = QUIET;
        let work = |main: i32, port: u16, begun: &[Ends]| Work {
            main,
            ports: BTreeSet::from([port]),
            begun: Arc::new(begun.iter().copied().collect()),
        };
        assert!(work(process::pid(), at.port(), &[]).is_busy(short));
        assert!(!work(process::pid(), at.port() ^ 1, &[]).is_busy(long));
        // what does not show its connections may have those that there were
        let ends = (at, client.local_addr().unwrap());
        let open = conversations::open(&BTreeSet::from([at.port()]), short).unwrap();
        assert!(open.is_any_among(&BTreeSet::from([ends])) && !open.is_any_among(&BTreeSet::new()));
        let queue = Queue { socket: Arc::new(server.into()), port: at.port() };
        let drain = Drain { queues: vec![queue], main: process::pid(), signal: 9, since: Duration::ZERO };
        let (inner, mut told) = mpsc::unbounded_channel();
        watch(SpawnId(7), drain, inner);
        assert!(tokio::time::timeout(Duration::from_millis(50), told.recv()).await.is_err());
        // when
        accepted.write_all(b"answer").unwrap();
        drop(accepted);
        // then
        let word = tokio::time::timeout(Duration::from_secs(20), told.recv()).await.unwrap();
        assert!(matches!(word, Some(Inner::QueueEmpty(SpawnId(7)))), "{word:?}");
    }
}
