//! How many connections there may be, and which one makes room for a new one.
//!
//! Who connects and asks nothing takes no place from who does: where all places are taken, the connection that has been
//! idle for longest is closed for the new one. A user who is neither root nor svd's own can only push out itself.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::Instant;

/// So many connections in all.
pub const CONNECTIONS: usize = 256;
/// So many of one user, who is neither root nor svd's own.
pub const PER_USER: usize = 64;
/// So many of all are kept free for root and svd's own user.
pub const RESERVE: usize = 8;
/// The first request's header is complete within this.
pub const FIRST_HEADER: Duration = Duration::from_secs(5);
/// A connection is kept open for so long between requests; also the bound on reading an answer that is not streamed.
pub const IDLE: Duration = Duration::from_secs(60);

/// All connections.
#[derive(Debug, Default)]
pub struct Registry {
    state: Mutex<State>,
    /// Told whenever a connection has ended.
    pub ended: Notify,
}

#[derive(Debug, Default)]
struct State {
    next: u64,
    open: HashMap<u64, Entry>,
}

#[derive(Debug)]
struct Entry {
    uid: u32,
    /// Since when it waits for a request; `None` while one is answered.
    idle: Option<Instant>,
    /// To be closed.
    evicted: Arc<Notify>,
}

/// The place of one connection; given back when dropped.
#[derive(Debug)]
pub struct Place {
    registry: Arc<Registry>,
    number: u64,
    /// Told when the connection is to be closed for another one.
    pub evicted: Arc<Notify>,
    /// When the connection is to be closed if nothing happens.
    pub deadline: watch::Sender<Option<Instant>>,
}

/// Whether a user's connections are limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rank {
    /// Root and svd's own user: only by the total.
    Admin,
    /// By the total without the reserve, and in number for each user.
    Other,
}

impl Registry {
    /// A place for a connection of this user; `None` where there is none.
    pub fn admit(self: &Arc<Registry>, uid: u32, rank: Rank) -> Option<Arc<Place>> {
        let mut state = self.lock();
        let of_user = state.open.values().filter(|entry| entry.uid == uid).count();
        let total = match rank {
            Rank::Admin => CONNECTIONS,
            Rank::Other => CONNECTIONS - RESERVE,
        };
        let is_full = state.open.len() >= total || (rank == Rank::Other && of_user >= PER_USER);
        if is_full && !state.evict(uid, rank) {
            return None;
        }
        let number = state.next;
        state.next += 1;
        let evicted = Arc::new(Notify::new());
        let now = Instant::now();
        state.open.insert(number, Entry { uid, idle: Some(now), evicted: evicted.clone() });
        let deadline = watch::Sender::new(Some(now + FIRST_HEADER));
        Some(Arc::new(Place { registry: self.clone(), number, evicted, deadline }))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change below is complete at once, so the state is sound even where a holder panicked.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Closes the connection that has been idle for longest among those that this user may push out.
    fn evict(&mut self, uid: u32, rank: Rank) -> bool {
        let may = |entry: &&u64| self.open.get(*entry).is_some_and(|entry| rank == Rank::Admin || entry.uid == uid);
        let idle = |number: &&u64| self.open.get(*number).and_then(|entry| entry.idle);
        let longest = self.open.keys().filter(may).filter(|number| idle(number).is_some()).min_by_key(idle).copied();
        match longest.and_then(|number| self.open.remove(&number)) {
            Some(entry) => {
                entry.evicted.notify_one();
                true
            }
            None => false,
        }
    }
}

impl Place {
    /// A request is being answered: its handler knows how long that may take.
    pub fn busy(&self) {
        self.set(None, None);
    }

    /// The connection waits for a request.
    pub fn idle(&self) {
        let now = Instant::now();
        self.set(Some(now), Some(now + IDLE));
    }

    fn set(&self, idle: Option<Instant>, deadline: Option<Instant>) {
        if let Some(entry) = self.registry.lock().open.get_mut(&self.number) {
            entry.idle = idle;
        }
        self.deadline.send_replace(deadline);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.registry.lock().open.remove(&self.number);
        self.registry.ended.notify_waiters();
        // For a waiter that is about to wait.
        self.registry.ended.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(registry: &Arc<Registry>, uid: u32, rank: Rank) -> Vec<Arc<Place>> {
        let mut places = Vec::new();
        while places.len() < 300 {
            match registry.admit(uid, rank) {
                Some(place) => {
                    place.busy();
                    places.push(place);
                }
                None => break,
            }
        }
        places
    }

    #[tokio::test]
    async fn a_user_gets_its_share_and_root_always_finds_a_place() {
        let registry = Arc::new(Registry::default());
        let users: Vec<_> = (1..=5).map(|uid| fill(&registry, uid, Rank::Other)).collect();
        assert_eq!(users.iter().map(Vec::len).collect::<Vec<_>>(), [64, 64, 64, 56, 0]);
        assert_eq!(fill(&registry, 0, Rank::Admin).len(), RESERVE);
    }

    #[tokio::test]
    async fn the_longest_idle_connection_makes_room_but_not_for_a_stranger() {
        let registry = Arc::new(Registry::default());
        let mut places = fill(&registry, 7, Rank::Other);
        places[3].idle();
        places[2].idle();

        let another = registry.admit(7, Rank::Other).unwrap();
        places[3].evicted.notified().await;
        another.busy();

        // A place given back is free; what was evicted gives nothing back twice
        drop(places.remove(3));
        assert_eq!(registry.lock().open.len(), PER_USER);
        drop(another);
        assert_eq!(registry.lock().open.len(), PER_USER - 1);

        // Given the total is reached, a stranger pushes nobody out, root does
        let others: Vec<_> = (10..14).map(|uid| fill(&registry, uid, Rank::Other)).collect();
        assert!(registry.admit(99, Rank::Other).is_none());
        let roots = fill(&registry, 0, Rank::Admin);
        assert_eq!(roots.len(), RESERVE + 1, "the reserve, and the place of the one who was idle");
        places[2].evicted.notified().await;
        drop(others);
    }
}
