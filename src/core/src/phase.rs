//! Questions about one spawn, read off where it is in its life (`service.rs`). Nothing here changes anything.

use crate::service::{Life, Readiness, Spawn, Tree};

impl Spawn {
    /// Its main process may be alive.
    pub fn is_live(&self) -> bool {
        match self.life {
            Life::Launching
            | Life::Running { .. }
            | Life::Draining { .. }
            | Life::Stopping { .. }
            | Life::Stuck { .. } => true,
            Life::Ended { .. } => false,
        }
    }

    /// Nothing is left of it.
    pub fn is_gone(&self) -> bool {
        match self.life {
            Life::Ended { tree: Tree::Empty, .. } => true,
            Life::Ended { tree: Tree::Terminating { .. } | Tree::Killing { .. } | Tree::Stuck, .. } => false,
            Life::Launching
            | Life::Running { .. }
            | Life::Draining { .. }
            | Life::Stopping { .. }
            | Life::Stuck { .. } => false,
        }
    }

    /// Something of it survived KILL.
    pub fn is_stuck(&self) -> bool {
        match self.life {
            Life::Stuck { .. } | Life::Ended { tree: Tree::Stuck, .. } => true,
            Life::Ended { tree: Tree::Terminating { .. } | Tree::Killing { .. } | Tree::Empty, .. } => false,
            Life::Launching | Life::Running { .. } | Life::Draining { .. } | Life::Stopping { .. } => false,
        }
    }

    /// It is on its way to ready (it takes one of the places for starting).
    pub fn is_rising(&self) -> bool {
        match self.life {
            Life::Launching | Life::Running { readiness: Readiness::Probing { .. }, .. } => true,
            Life::Running {
                readiness: Readiness::Ready | Readiness::Working { .. } | Readiness::Leaving { .. },
                ..
            } => false,
            Life::Draining { .. } | Life::Stopping { .. } | Life::Stuck { .. } | Life::Ended { .. } => false,
        }
    }

    pub fn is_ready(&self) -> bool {
        matches!(self.life, Life::Running { readiness: Readiness::Ready, .. })
    }

    /// Its end was asked for, and something is left of it: no successor may start yet.
    pub fn is_falling(&self) -> bool {
        self.note.asked && !self.is_gone()
    }

    pub fn pid(&self) -> Option<i32> {
        match self.life {
            Life::Running { pid, .. } | Life::Draining { pid, .. } => Some(pid),
            Life::Stopping { pid, .. } | Life::Stuck { pid, .. } => pid,
            Life::Launching | Life::Ended { .. } => None,
        }
    }
}
