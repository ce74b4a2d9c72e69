//! The accept loop: takes connections in, within bounds, until it is told to stop.

use std::io;
use std::os::unix::net::UnixListener as StdListener;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::access::{Access, Peer};
use super::connection;
use super::limits::{Rank, Registry};
use crate::ask::Handle;
use crate::logs::Logs;
use crate::store::Store;

/// What the routes work with.
#[derive(Clone)]
pub struct ApiState {
    /// The main loop.
    pub handle: Handle,
    /// History.
    pub store: Store,
    /// Who may do what.
    pub access: Access,
    /// Output.
    pub logs: Logs,
}

/// Answers get so long to end when svd does.
pub const END: Duration = Duration::from_secs(2);
/// When accept(2) fails for want of descriptors or memory, it is tried again when a connection has ended, or after this:
/// what others in the process free is told to nobody.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What all connections share.
pub struct Shared {
    /// See [`ApiState`].
    pub state: ApiState,
    /// Turns true when svd ends.
    pub stop: watch::Receiver<bool>,
}

/// Waits for the end of svd: the flag is true, or nobody is left who could set it.
pub async fn ended(stop: &mut watch::Receiver<bool>) {
    let _either = stop.wait_for(|stop| *stop).await;
}

/// Serves the control API on a listening Unix socket until `stop` turns true (or its sender is gone). It then accepts no
/// more; streams end at once and other answers within 2 s. Needs a tokio runtime with io and time. An error: the
/// listener cannot be used at all.
pub async fn serve(listener: StdListener, state: ApiState, stop: watch::Receiver<bool>) -> io::Result<()> {
    // The keeper holds the same socket but never accepts from it, so nobody minds the flag that all share.
    listener.set_nonblocking(true)?;
    let listener = UnixListener::from_std(listener)?;
    let registry = Arc::new(Registry::default());
    let mut stopped = stop.clone();
    let shared = Arc::new(Shared { state, stop });
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            () = ended(&mut stopped) => break,
            Some(_) = connections.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => admit(stream, &shared, &registry, &mut connections),
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                tracing::warn!(%error, "cannot accept control connections");
                tokio::select! {
                    () = ended(&mut stopped) => break,
                    () = registry.ended.notified() => {}
                    () = tokio::time::sleep(ACCEPT_PAUSE) => {}
                }
            }
        }
    }
    drop(listener);
    let all = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(END, all).await.is_err() {
        connections.shutdown().await;
    }
    Ok(())
}

fn admit(stream: UnixStream, shared: &Arc<Shared>, registry: &Arc<Registry>, connections: &mut JoinSet<()>) {
    let Ok(credentials) = stream.peer_cred() else { return };
    let peer = Peer { uid: credentials.uid(), gid: credentials.gid(), pid: credentials.pid() };
    let rank = if shared.state.access.is_admin(peer.uid) { Rank::Admin } else { Rank::Other };
    match registry.admit(peer.uid, rank) {
        Some(place) => {
            connections.spawn(connection::run(stream, peer, place, shared.clone()));
        }
        None => {
            // One write without waiting: a fresh socket's buffer has room for it.
            let _best_effort = stream.try_write(BUSY.as_bytes());
        }
    }
}

/// The answer where there is no place, without reading the question.
const BUSY: &str = "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\ncontent-length: 70\r\n\
                    connection: close\r\nretry-after: 1\r\n\r\n\
                    {\"error\":\"too many connections to svd; close some or try again soon\"}\n";

#[cfg(test)]
#[test]
fn the_answer_without_a_place_has_the_length_that_it_says() {
    let (head, body) = BUSY.split_once("\r\n\r\n").unwrap();
    assert!(head.contains(&format!("content-length: {}\r\n", body.len())), "{}", body.len());
    serde_json::from_str::<svd_api::ErrorReply>(body).unwrap();
}
