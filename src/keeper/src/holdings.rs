//! Every descriptor that the keeper holds for somebody.

use crate::notify::Speakers;
use crate::outbox::FdRef;
use std::collections::{BTreeMap, HashMap};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use svd_sys::spawn::StatusPipe;
use svd_wire::{FdRole, SpawnId};

/// What belongs to one spawn.
#[derive(Debug, Default)]
pub struct Kept {
    /// Its pidfd, until it is reaped.
    pub pidfd: Option<OwnedFd>,
    /// The pidfd of the main process that it has named, while the one that was started lives too.
    pub named: Option<OwnedFd>,
    /// The token under which that one's end is waited for.
    pub named_token: Option<u64>,
    /// Its status pipe and its token, until it has spoken.
    pub status: Option<(StatusPipe, u64)>,
    /// The descriptors that are handed to every manager; the notify socket with its token.
    pub held: Vec<(FdRole, OwnedFd, Option<u64>)>,
    /// Who may speak over the notify socket.
    pub speakers: Option<Speakers>,
}

/// All of it.
#[derive(Debug, Default)]
pub struct Holdings {
    spawns: HashMap<SpawnId, Kept>,
    named: BTreeMap<String, OwnedFd>,
    stored: BTreeMap<u64, OwnedFd>,
}

impl Holdings {
    /// What belongs to this spawn; made where there is nothing yet.
    pub fn spawn(&mut self, spawn: SpawnId) -> &mut Kept {
        self.spawns.entry(spawn).or_default()
    }

    /// What belongs to this spawn.
    pub fn find(&self, spawn: SpawnId) -> Option<&Kept> {
        self.spawns.get(&spawn)
    }

    /// What belongs to this spawn, to be changed.
    pub fn find_mut(&mut self, spawn: SpawnId) -> Option<&mut Kept> {
        self.spawns.get_mut(&spawn)
    }

    /// All that is held by name.
    pub fn named(&self) -> impl Iterator<Item = (&String, &OwnedFd)> {
        self.named.iter()
    }

    /// Takes everything of a spawn out.
    pub fn remove(&mut self, spawn: SpawnId) -> Option<Kept> {
        self.spawns.remove(&spawn)
    }

    /// Holds a descriptor by name; returns the one that had it.
    pub fn hold(&mut self, name: String, fd: OwnedFd) -> Option<OwnedFd> {
        self.named.insert(name, fd)
    }

    /// Takes a named descriptor out.
    pub fn drop_named(&mut self, name: &str) -> Option<OwnedFd> {
        self.named.remove(name)
    }

    /// Keeps a descriptor of a store under its number.
    pub fn store(&mut self, id: u64, fd: OwnedFd) {
        self.stored.insert(id, fd);
    }

    /// A descriptor of a store.
    pub fn stored(&self, id: u64) -> Option<BorrowedFd<'_>> {
        self.stored.get(&id).map(AsFd::as_fd)
    }

    /// The same, as it is owned.
    pub fn stored_fd(&self, id: u64) -> Option<&OwnedFd> {
        self.stored.get(&id)
    }

    /// Takes a descriptor of a store out.
    pub fn unstore(&mut self, id: u64) -> Option<OwnedFd> {
        self.stored.remove(&id)
    }

    /// The descriptors of a message; `None` where one is missing.
    pub fn resolve(&self, refs: &[FdRef]) -> Option<Vec<BorrowedFd<'_>>> {
        refs.iter().map(|one| self.resolve_one(one)).collect()
    }

    fn resolve_one(&self, one: &FdRef) -> Option<BorrowedFd<'_>> {
        match one {
            FdRef::Pidfd(spawn) => self.find(*spawn)?.pidfd.as_ref().map(AsFd::as_fd),
            FdRef::Held(spawn, role) => {
                self.find(*spawn)?.held.iter().find(|(held, _, _)| held == role).map(|(_, fd, _)| fd.as_fd())
            }
            FdRef::Named(name) => self.named.get(name).map(AsFd::as_fd),
        }
    }
}
