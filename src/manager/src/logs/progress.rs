//! How far the log thread has got, for those who follow: places and a bell. Followers read the files themselves, at
//! their own pace; nothing here grows with what they have not read.

use super::types::{Position, TrackId};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

/// Where each stream ends: up to there bytes and time marks are both on disk.
#[derive(Clone, Debug, Default)]
pub(super) struct Progress(Arc<Mutex<HashMap<TrackId, Position>>>);

impl Progress {
    /// Every entry is complete by itself, so a thread that panicked with the lock held has broken nothing.
    fn lock(&self) -> MutexGuard<'_, HashMap<TrackId, Position>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn set(&self, track: &TrackId, position: Position) {
        let mut ends = self.lock();
        match ends.get_mut(track) {
            Some(end) => *end = position,
            None => drop(ends.insert(track.clone(), position)),
        }
    }

    pub fn get(&self, track: &TrackId) -> Option<Position> {
        self.lock().get(track).copied()
    }

    /// Nothing will be written there any more.
    pub fn forget(&self, instance: &str) {
        self.lock().retain(|track, _| *track.instance != *instance);
    }

    pub fn for_each(&self, mut seen: impl FnMut(&TrackId, Position)) {
        self.lock().iter().for_each(|(track, end)| seen(track, *end));
    }
}

/// Rung after the places have changed.
pub(super) type Bell = watch::Sender<u64>;
/// Heard by followers; ends when the log thread does.
pub(super) type Ear = watch::Receiver<u64>;
