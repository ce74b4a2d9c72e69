//! Stores of descriptors: putting in, taking out, and noticing that the other side of one has hung up.

use super::{Keeper, Source, uses_reserve};
use crate::stores::Stored;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use svd_sys::epoll::Interest;
use svd_sys::fd;
use svd_wire::{SpawnId, SpawnSpec};

/// It was not kept: there is no store, or no room in it.
pub(super) struct Refused;

impl Keeper {
    /// What a spawn is given of its store.
    pub(super) fn stored(&self, spec: &SpawnSpec) -> Vec<(Stored, BorrowedFd<'_>)> {
        let Some(store) = &spec.store else { return Vec::new() };
        let with_fd = |stored: &Stored| Some((stored.clone(), self.holdings.stored(stored.id)?));
        self.table.stores.of(&store.name).iter().filter_map(with_fd).collect()
    }

    /// Keeps one descriptor for a spawn and its successors. A duplicate of one that is there already is closed, and is no
    /// refusal.
    pub(super) fn store(&mut self, spawn: SpawnId, name: &str, keep_hung: bool, fd: OwnedFd) -> Result<(), Refused> {
        let store = self.table.records.get(&spawn).and_then(|record| record.store.clone()).ok_or(Refused)?;
        let known = self.table.stores.of(&store.name).iter().filter_map(|stored| self.holdings.stored(stored.id));
        if known.into_iter().any(|known| fd::is_duplicate(known, fd.as_fd())) {
            return Ok(());
        }
        let fds = [fd];
        if !self.table.stores.has_room(&store) || uses_reserve(&fds) {
            return Err(Refused);
        }
        let [fd] = fds;
        self.keep_stored(&store.name, name, keep_hung, fd);
        Ok(())
    }

    /// Keeps a descriptor in a store.
    pub(super) fn keep_stored(&mut self, store: &str, name: &str, keep_hung: bool, fd: OwnedFd) {
        let id = self.watch(Source::Stored);
        // Plain files and the like cannot hang up, and cannot be waited for.
        if keep_hung || self.epoll.add(fd.as_fd(), id, Interest::Hangup).is_err() {
            self.sources.remove(&id);
        }
        self.holdings.store(id, fd);
        self.table.stores.put(store, Stored { id, name: name.to_owned(), keep_hung });
        self.table.store_changed(store);
    }

    /// The descriptors of this name leave the store.
    pub(super) fn remove_stored(&mut self, spawn: SpawnId, name: &str) {
        let Some(store) = self.table.records.get(&spawn).and_then(|record| record.store.clone()) else { return };
        for id in self.table.stores.remove(&store.name, name) {
            self.close_stored(id);
        }
        self.table.store_changed(&store.name);
    }

    /// All descriptors leave the store.
    pub(super) fn empty_store(&mut self, store: &str) {
        for id in self.table.stores.empty(store) {
            self.close_stored(id);
        }
        self.table.store_changed(store);
    }

    /// Nobody is at the other side of a stored descriptor any more.
    pub(super) fn stored_hung_up(&mut self, id: u64) {
        self.close_stored(id);
        if let Some(store) = self.table.stores.remove_one(id) {
            self.table.store_changed(&store);
        }
    }

    fn close_stored(&mut self, id: u64) {
        self.sources.remove(&id);
        if let Some(fd) = self.holdings.unstore(id) {
            // Others may have duplicates, which would keep it in our epoll set.
            let _never_added = self.epoll.delete(fd.as_fd());
        }
    }
}
