//! Slots of which nobody accepts any more: who still waits there is sent away, and not left to a generation that comes later.

use std::os::fd::AsFd;

use svd_core::{Slot, SpawnId};

use super::app::App;
use super::spawns::{Phase, Spawn};
use crate::listen::Key;
use crate::store::NewEvent;

impl App {
    /// Closes the connections that wait in slots of a process to which the gate sends nothing and from which nobody
    /// accepts: they would hang, or be served by the next instance there before it is proven. Where the gate is open, they
    /// wait for whoever comes next.
    pub(super) fn close_abandoned(&mut self, process: &str) {
        let Some(given) = self.weights.get(process) else { return };
        let mut abandoned: Vec<(Key, Slot)> = Vec::new();
        for key in self.listeners.keys().filter(|key| *key.process == *process) {
            let Some(listener) = self.listeners.get(key).filter(|listener| listener.is_gated()) else { continue };
            let open = self.weights_of(key, given);
            let is_used = |slot: Slot| {
                open.iter().any(|(one, _)| *one == slot)
                    || self.spawns.iter().any(|(id, spawn)| accepts_from(spawn, key, slot) && self.is_there(*id, spawn))
            };
            let free = listener.sockets().map(|(slot, _)| slot).filter(|slot| !is_used(*slot));
            abandoned.extend(free.map(|slot| (key.clone(), slot)));
        }
        for (key, slot) in abandoned {
            let Some(socket) = self.listeners.get(&key).and_then(|listener| listener.socket(slot)) else { continue };
            match svd_sys::listen::close_waiting(socket.as_fd()) {
                Ok(0) => {}
                Ok(closed) => self.closed(&key, slot, closed),
                Err(error) => {
                    tracing::error!(listener = %key, slot = slot.0, %error, "who waits there cannot be closed")
                }
            }
        }
    }

    /// Has the slots of a process listen again that a program has shut down for all who have them.
    pub(super) fn revive_slots(&mut self, process: &str) {
        let keys: Vec<Key> = self.listeners.keys().filter(|key| *key.process == *process).cloned().collect();
        for key in keys {
            let Some(listener) = self.listeners.get_mut(&key) else { continue };
            match listener.revive() {
                Ok(slots) if slots.is_empty() => {}
                Ok(slots) => tracing::warn!(listener = %key, ?slots, "shut down by its program; listens again"),
                Err(error) => tracing::error!(listener = %key, %error, "shut down by its program; cannot listen again"),
            }
        }
    }

    /// Whether anybody of a spawn may still accept.
    fn is_there(&self, id: SpawnId, spawn: &Spawn) -> bool {
        !matches!(spawn.phase, Phase::Ended(_)) || self.sweeper.has(id)
    }

    fn closed(&mut self, key: &Key, slot: Slot, closed: u32) {
        let last = self.spawns.iter().rev().find(|(_, spawn)| accepts_from(spawn, key, slot));
        let whose = last.map(|(_, spawn)| spawn.instance.to_string());
        let many = if closed == 1 { "1 connection that".to_owned() } else { format!("{closed} connections that") };
        let waited = whose.as_deref().unwrap_or(&key.process);
        let message =
            format!("{many} waited for {waited} at {} were closed: nobody is left to accept them", key.address);
        let message = if closed == 1 { message.replace(" were closed", " was closed") } else { message };
        self.commits.event(NewEvent {
            time_ns: svd_sys::clock::now().real_ns,
            kind: "process.connections_closed".into(),
            process: Some(key.process.to_string()),
            instance: whose.clone(),
            spawn: last.map(|(id, _)| id.0),
            message,
            ..NewEvent::default()
        });
    }
}

fn accepts_from(spawn: &Spawn, key: &Key, slot: Slot) -> bool {
    spawn.slot == slot && spawn.listens.contains(key)
}
