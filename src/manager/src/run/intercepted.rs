//! The main loop's side of interception: who is served, and what follows from what was seen.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use svd_config::plan::{ListenAddress, ProcessPlan, ReadyBy};
use svd_core::SpawnId;
use svd_sys::intercept::Ledger;
use svd_wire::Request;

use super::app::App;
use super::intercept::{self, Ours, Seen, SharedLedger};
use super::spawns::{Phase, Spawn};
use crate::seam::LinkError;
use crate::store::NewEvent;

/// Name under which the keeper holds the ledger of intercepted calls.
pub const LEDGER: &str = "intercepted";

/// The ledger that the keeper holds for a new manager. One that another build has laid out in its own way is of no use.
pub fn held_ledger(memfd: OwnedFd) -> Option<SharedLedger> {
    let opened = Ledger::open(memfd);
    opened
        .inspect_err(|error| tracing::error!(%error, "the ledger of intercepted calls cannot be read"))
        .ok()
        .map(Arc::new)
}

impl App {
    /// Serves the intercepted calls of a spawn.
    pub(super) fn intercept(&mut self, spawn: SpawnId, channel: OwnedFd) -> Result<(), LinkError> {
        let ledger = match &self.ledger {
            Some(ledger) => ledger.clone(),
            None => {
                let (ledger, memfd) = Ledger::create()?;
                self.link.send(&Request::Hold { name: LEDGER.into() }, vec![memfd])?;
                self.ledger.insert(Arc::new(ledger)).clone()
            }
        };
        let Some(known) = self.spawns.get_mut(&spawn) else { return Ok(()) };
        let slot = known.slot;
        let listeners = &self.listeners;
        let ours = known.listens.iter().filter_map(|key| {
            let listener = listeners.get(key)?;
            Ours::new(key.clone(), listener, listener.socket(slot)?).ok()
        });
        let task = intercept::serve(spawn, channel, ours.collect(), ledger, self.inner.clone());
        known.intercept = Some(task);
        Ok(())
    }

    /// Strikes out the calls of those of whom nothing is left.
    pub(super) fn clear_ledger(&self) {
        let Some(ledger) = &self.ledger else { return };
        let gone = |tag: u64| !self.spawns.contains_key(&SpawnId(tag));
        ledger.unanswered().iter().filter(|call| gone(call.tag)).for_each(|call| ledger.done(call));
    }

    /// Something was seen of a program.
    pub(super) fn intercepted(&mut self, spawn: SpawnId, seen: Seen) -> Result<(), LinkError> {
        let plan = self.plan_of(spawn);
        let Some(known) = self.spawns.get_mut(&spawn) else { return Ok(()) };
        let process = plan.process(&known.instance.process);
        match seen {
            Seen::Refused(why) => {
                super::spawns::abort(&mut known.intercept);
                self.not_intercepted(spawn, &why);
                return Ok(());
            }
            // Its calls still wait for an answer each, of whoever of its tree makes them: who answers them stays.
            Seen::Blind(why) => {
                self.not_intercepted(spawn, &why);
                return Ok(());
            }
            Seen::Bound(key) => {
                // Many take away what is at the path before they bind it.
                self.listeners.mend(&key.process);
                if !process.is_some_and(has_only_datagrams) {
                    return Ok(());
                }
            }
            Seen::Listens(_) => {}
        }
        known.seen_listening = true;
        match process.map(|process| &process.ready.by) {
            Some(ReadyBy::Listening) => self.evidence(spawn),
            Some(_) | None => Ok(()),
        }
    }

    /// A program cannot be intercepted, and will be given its listeners in another way at its next start. Told once.
    pub(super) fn not_intercepted(&mut self, spawn: SpawnId, why: &str) {
        let Some(known) = self.spawns.get(&spawn) else { return };
        let instance = known.instance.clone();
        let message = format!(
            "its own bind cannot be intercepted here ({why}): from its next start on it is given its listeners by LISTEN_FDS"
        );
        if self.not_intercepted.insert(instance.process.clone(), why.to_owned()).is_some() {
            return;
        }
        self.commits.event(NewEvent {
            time_ns: svd_sys::clock::now().real_ns,
            kind: "instance.not_intercepted".into(),
            process: Some(instance.process.to_string()),
            instance: Some(instance.to_string()),
            spawn: Some(spawn.0),
            message,
            ..NewEvent::default()
        });
    }

    /// That, for status.
    pub(super) fn interception_troubles(&self) -> impl Iterator<Item = String> {
        self.not_intercepted.iter().map(|(process, why)| {
            format!("{process}: what it binds by itself cannot be intercepted here ({why}); it is given its listeners by LISTEN_FDS")
        })
    }

    /// The sockets of a start block, as those of other supervisors do, or do not, where its program expects that: whoever had
    /// them before may have wished otherwise. Not where others have them already.
    pub(super) fn set_blocking(&self, process: &ProcessPlan, spawn: &Spawn) {
        for key in &spawn.listens {
            let Some(listener) = self.listeners.get(key) else { continue };
            let shared = |other: &&Spawn| {
                !matches!(other.phase, Phase::Ended(_))
                    && other.listens.contains(key)
                    && (!listener.is_gated() || other.slot == spawn.slot)
            };
            if self.spawns.values().any(|other| shared(&other)) {
                continue;
            }
            let Some(socket) = listener.socket(spawn.slot) else { continue };
            let set = match process.handoff.wants_nonblocking() {
                true => svd_sys::listen::set_nonblocking_shared(socket.as_fd()),
                false => svd_sys::listen::set_blocking_shared(socket.as_fd()),
            };
            if let Err(error) = set {
                tracing::warn!(process = process.name, %error, "whether a listener blocks cannot be set");
            }
        }
    }
}

/// A socket for datagrams is ready for use when it is bound.
fn has_only_datagrams(process: &ProcessPlan) -> bool {
    process.listen.iter().all(|wanted| matches!(wanted.address, ListenAddress::Udp { .. }))
}
