//! Waiting until nobody is left in a slot that gets no new connections any more.
//!
//! A connection belongs to a slot from its first packet on, which the gate directed; so who had begun a handshake before the
//! gate turned will still be in the old slot's queue when it is complete, however slow the client is. The kernel tells
//! nobody when a queue has become empty or a handshake has ended, so both are looked at again with growing pauses. The core
//! has a deadline of its own.

use std::collections::BTreeSet;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use svd_core::SpawnId;
use svd_sys::handshakes::{self, Handshake};
use svd_sys::listen;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use super::Inner;

const FIRST_PAUSE: Duration = Duration::from_millis(2);
const LONGEST_PAUSE: Duration = Duration::from_millis(250);

/// The queue of one slot of a listener.
#[derive(Debug)]
pub struct Queue {
    /// The slot's socket.
    pub socket: Arc<OwnedFd>,
    /// The listener's port.
    pub port: u16,
}

/// Tells the main loop when all of them are empty for good.
pub fn watch(spawn: SpawnId, queues: Vec<Queue>, inner: mpsc::UnboundedSender<Inner>) -> AbortHandle {
    tokio::spawn(async move {
        empty(&queues).await;
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
        watch(SpawnId(7), vec![queue], inner);
        // when one is accepted
        let _one = server.accept().unwrap();
        assert!(tokio::time::timeout(Duration::from_millis(50), told.recv()).await.is_err());
        // and the other
        let _other = server.accept().unwrap();
        // then
        let word = tokio::time::timeout(Duration::from_secs(20), told.recv()).await.unwrap();
        assert!(matches!(word, Some(Inner::QueueEmpty(SpawnId(7)))), "{word:?}");
    }
}
