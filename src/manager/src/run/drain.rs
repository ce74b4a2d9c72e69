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
use svd_sys::conversations::{self, Patience};
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
    match process::handles(drain.main, drain.signal) {
        Some(true) => {
            let [_, short] = QUIET;
            let limit = CATCHES.saturating_sub(drain.since);
            let _late = tokio::time::timeout(limit, quiet_for(drain, short)).await;
        }
        Some(false) => {
            let [long, short] = QUIET;
            let strict = STRICT.saturating_sub(drain.since);
            if tokio::time::timeout(strict, quiet_for(drain, long)).await.is_err() {
                quiet_for(drain, short).await;
            }
        }
        // It is gone, or another's.
        None => {}
    }
}

/// Waits until all connections of its tree are quiet.
async fn quiet_for(drain: &Drain, patience: Patience) {
    let ports: Vec<u16> = drain.queues.iter().map(|queue| queue.port).collect();
    let mut pause = FIRST_PAUSE;
    loop {
        let (main, ports) = (drain.main, ports.clone());
        if !tokio::task::spawn_blocking(move || is_busy(main, &ports, patience)).await.unwrap_or(false) {
            return;
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LOOK);
    }
}

/// Whether a process or one below it is in the middle of something. What cannot be told is no reason to wait.
fn is_busy(main: i32, ports: &[u16], patience: Patience) -> bool {
    let is_open = |pid: i32| conversations::are_open(pid, ports, patience).unwrap_or(false);
    is_open(main) || tree::descendants(main).is_ok_and(|below| below.iter().any(|proc| is_open(proc.pid)))
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
        assert!(is_busy(process::pid(), &[at.port()], short));
        assert!(!is_busy(process::pid(), &[at.port() ^ 1], long));
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
