//! The main loop's side of the listeners: it owns the gates, so everybody who wants one turned asks it.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use svd_config::plan::{Handoff, ListenAddress, ListenerPlan, ProcessPlan, StopStep};
use svd_core::{Slot, SpawnId};
use svd_wire::Request;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc;

use super::Inner;
use super::app::App;
use super::drain::{self, Drain, Queue};
use super::knock::{Door, Knock, Way};
use super::probe::Evidence;
use super::spawns::Phase;
use crate::listen::{Held, Key, key};
use crate::seam::LinkError;

/// A program whose calls are intercepted shows by itself that it listens; one that was given its sockets may never do so.
const UNSEEN: Duration = Duration::from_secs(1);

const KILL: i32 = 9;

impl App {
    /// Has the keeper hold sockets for later managers.
    pub(super) fn hold_sockets(&mut self, held: Vec<Held>) -> Result<(), LinkError> {
        for (name, socket) in held {
            self.link.send(&Request::Hold { name: name.clone() }, vec![socket.try_clone()?])?;
            self.store(&name)?;
        }
        Ok(())
    }

    /// Makes the slots up to this one for a process. The inner error: there are no descriptors left.
    pub(super) fn reach(&mut self, process: &ProcessPlan, slot: Slot) -> Result<io::Result<()>, LinkError> {
        match self.listeners.reach(process, slot) {
            Ok(made) => self.hold_sockets(made).map(Ok),
            Err(error) => Ok(Err(error)),
        }
    }

    /// The core has weighed the slots of a process.
    pub(super) fn gate(&mut self, process: Arc<str>, weights: Vec<(Slot, u32)>) -> Result<(), LinkError> {
        let last = weights.iter().map(|(slot, _)| *slot).max().unwrap_or_default();
        for plan in [Some(self.core.plan().clone()), self.settings.other().map(|other| other.plan.clone())] {
            let Some(process) = plan.as_ref().and_then(|plan| plan.process(&process)) else { continue };
            if let Err(error) = self.reach(process, last)? {
                tracing::error!(process = process.name, %error, "a slot cannot be made; the gate stays as it is");
                return Ok(());
            }
        }
        self.weights.insert(process.clone(), weights);
        self.turn_gates(&process);
        self.close_abandoned(&process);
        Ok(())
    }

    /// Turns the gates of a process as its weights say.
    pub(super) fn turn_gates(&mut self, process: &str) {
        let Some(given) = self.weights.get(process) else { return };
        let keys: Vec<Key> = self.listeners.keys().filter(|key| *key.process == *process).cloned().collect();
        for key in keys {
            let weights = self.weights_of(&key, given);
            let Some(listener) = self.listeners.get_mut(&key).filter(|listener| listener.is_gated()) else { continue };
            if let Err(error) = listener.weigh(weights) {
                tracing::error!(listener = %key, %error, "the gate cannot be turned");
            }
        }
        self.answer_knocks();
    }

    /// Where the config in force or an apply's other one does not have a listener, only the slots of those who have it count:
    /// in the others nobody would ever accept.
    pub(super) fn weights_of(&self, key: &Key, given: &[(Slot, u32)]) -> Vec<(Slot, u32)> {
        let has = |plan: &svd_config::Plan| {
            plan.process(&key.process)
                .is_some_and(|process| process.listen.iter().any(|one| super::gate::key(process, one) == *key))
        };
        let in_both = has(self.core.plan()) && self.settings.other().is_none_or(|other| has(&other.plan));
        if in_both {
            return given.to_vec();
        }
        let live =
            self.spawns.values().filter(|spawn| !matches!(spawn.phase, Phase::Ended(_)) && spawn.listens.contains(key));
        let slots: BTreeSet<Slot> = live.map(|spawn| spawn.slot).collect();
        let kept: Vec<(Slot, u32)> = given.iter().filter(|(slot, _)| slots.contains(slot)).copied().collect();
        match (kept.is_empty(), slots.is_empty()) {
            (false, _) => kept,
            (true, false) => slots.into_iter().map(|slot| (slot, 1)).collect(),
            (true, true) => given.to_vec(),
        }
    }

    /// In a new manager, after the core has begun: a gate that it did not speak of is given the slots of those who run.
    pub(super) fn weigh_the_rest(&mut self) {
        let rest: Vec<Key> = self.listeners.unweighed().cloned().collect();
        for key in rest {
            let users = self.spawns.values().filter(|spawn| spawn.pid().is_some() && spawn.listens.contains(&key));
            let slots: BTreeSet<Slot> = users.map(|spawn| spawn.slot).collect();
            let weights = match slots.is_empty() {
                true => vec![(Slot(0), 1)],
                false => slots.into_iter().map(|slot| (slot, 1)).collect(),
            };
            tracing::warn!(listener = %key, ?weights, "its gate is set by who runs");
            if let Some(listener) = self.listeners.get_mut(&key)
                && let Err(error) = listener.weigh(weights)
            {
                tracing::error!(listener = %key, %error, "the gate cannot be turned");
            }
        }
        self.answer_knocks();
    }

    /// A probe asks to be let through to a slot.
    pub(super) fn knock(&mut self, knock: Knock) {
        self.knocks.push_back(knock);
        self.answer_knocks();
    }

    /// A probe is over.
    pub(super) fn knock_over(&mut self, key: &Key, source: SocketAddr) {
        if let Some(listener) = self.listeners.get_mut(key)
            && let Err(error) = listener.remove_probe(source)
        {
            tracing::error!(listener = %key, %error, "the gate cannot be turned");
        }
        self.answer_knocks();
    }

    /// Lets those through for whom there is room, in the order in which they came.
    fn answer_knocks(&mut self) {
        let mut later = std::collections::VecDeque::new();
        while let Some(knock) = self.knocks.pop_front() {
            if knock.reply.is_closed() {
                continue;
            }
            // Where the listener is gone the visitor is told by the end of the channel.
            let Some(listener) = self.listeners.get_mut(&knock.key) else { continue };
            if !listener.takes_probe() {
                later.push_back(knock);
                continue;
            }
            if let Some(source) = knock.source
                && let Err(error) = listener.add_probe(source, knock.slot)
            {
                tracing::error!(listener = %knock.key, %error, "the gate cannot be turned for a probe");
                continue;
            }
            let slot = if listener.is_gated() { Some(knock.slot) } else { None };
            let hosts = self
                .spawns
                .iter()
                .filter(|(_, spawn)| spawn.listens.contains(&knock.key) && slot.is_none_or(|slot| slot == spawn.slot));
            let hosts = hosts.filter_map(|(id, spawn)| Some((*id, spawn.pid()?))).collect();
            let _left = knock.reply.send(hosts);
        }
        self.knocks = later;
    }

    /// How a probe reaches a spawn at this port, or at its own.
    pub(super) fn way(&self, spawn: SpawnId, process: &ProcessPlan, index: u32, port: Option<u16>) -> Way {
        let at_port = |wanted: &&ListenerPlan| {
            let listener = self.listeners.of(&process.name, wanted);
            let at = listener.and_then(|listener| listener.at);
            matches!(wanted.address, ListenAddress::Tcp { .. })
                && at.is_some_and(|at| port.is_none_or(|port| at.port() == port))
        };
        if let Some(door) = process.listen.iter().find(at_port).and_then(|wanted| self.door(spawn, process, wanted)) {
            return Way::Door(door);
        }
        let own = u32::from(process.exec.port).saturating_add(index).saturating_sub(1);
        Way::Port(port.or(u16::try_from(own).ok()).unwrap_or(0))
    }

    fn door(&self, spawn: SpawnId, process: &ProcessPlan, wanted: &ListenerPlan) -> Option<Door> {
        let slot = self.spawns.get(&spawn)?.slot;
        let listener = self.listeners.of(&process.name, wanted)?;
        Door::new(key(process, wanted), listener, slot, self.inner.clone())
    }

    /// What shows that a spawn listens, where it is not seen to do so; `None`: nothing needs to be shown.
    pub(super) fn listening(&self, spawn: SpawnId, process: &ProcessPlan) -> Option<Evidence> {
        let known = self.spawns.get(&spawn)?;
        if process.listen.is_empty() || process.handoff == Handoff::None {
            return None;
        }
        let delay = if known.intercept.is_some() { UNSEEN } else { Duration::ZERO };
        let doors = process.listen.iter().filter_map(|wanted| self.door(spawn, process, wanted)).map(Way::Door);
        let doors: Vec<Way> = doors.collect();
        match doors.is_empty() {
            false => Some(Evidence::Accepts(doors, delay)),
            // Of a socket for datagrams nothing can be seen but that it was bound.
            true => Some(Evidence::Lives(UNSEEN)),
        }
    }

    /// Waits until the slot of a spawn is empty in all its gated listeners, and it can be told to stop.
    pub(super) fn watch_queue(&mut self, spawn: SpawnId) {
        let plan = self.plan_of(spawn);
        let Some(known) = self.spawns.get(&spawn) else { return };
        let Some(main) = known.pid() else { return };
        let queues = known.listens.iter().filter_map(|key| {
            let listener = self.listeners.get(key).filter(|listener| listener.is_gated())?;
            Some(Queue { socket: listener.socket(known.slot)?.clone(), port: listener.at?.port() })
        });
        let stop = plan.process(&known.instance.process).map(|process| process.stop.as_slice()).unwrap_or_default();
        let signals = stop.iter().filter_map(|step| match step {
            StopStep::Signal(signal) => Some(*signal),
            StopStep::Wait(_) | StopStep::Forever => None,
        });
        let signal = signals.into_iter().next().unwrap_or(KILL);
        let since = known.draining.map_or(Duration::ZERO, |begun| super::app::now().since(begun));
        let drain = Drain { queues: queues.collect(), main, signal, since };
        let task = drain::watch(spawn, drain, self.inner.clone());
        if let Some(known) = self.spawns.get_mut(&spawn) {
            super::spawns::abort(&mut known.drain);
            known.drain = Some(task);
        }
    }

    /// Listens for names of Unix listeners that are taken away: programs do that when they begin or end, and nobody can connect
    /// until the name is put back.
    pub(super) fn watch_names(&mut self) {
        let files: BTreeMap<Key, PathBuf> = self.listeners.files().map(|(key, file)| (key.clone(), file)).collect();
        self.names.retain(|key, task| {
            let stays = files.contains_key(key);
            if !stays {
                task.abort();
            }
            stays
        });
        for (key, file) in files {
            let Entry::Vacant(place) = self.names.entry(key) else { continue };
            let process = place.key().process.clone();
            match svd_sys::files::watch_names(&file).and_then(|watch| crate::reactor::watch(watch, Interest::READABLE))
            {
                Ok(watch) => {
                    place.insert(tokio::spawn(names(watch, process, self.inner.clone())).abort_handle());
                }
                Err(error) => {
                    tracing::warn!(file = %file.display(), %error, "names that are taken away are not heard of");
                }
            }
        }
    }

    /// Lets go of the listeners that neither a config names nor a living spawn has.
    pub(super) fn drop_unused_listeners(&mut self) -> Result<(), LinkError> {
        let plans = [Some(self.core.plan()), self.settings.other().map(|other| &other.plan)];
        let processes = plans.into_iter().flatten().flat_map(|plan| &plan.processes);
        let mut used: BTreeSet<Key> =
            processes.flat_map(|process| process.listen.iter().map(move |wanted| key(process, wanted))).collect();
        let living = self.spawns.values().filter(|spawn| !matches!(spawn.phase, Phase::Ended(_)));
        used.extend(living.flat_map(|spawn| spawn.listens.iter().cloned()));
        let gone = self.listeners.keep_only(&used);
        if !gone.is_empty() {
            self.watch_names();
        }
        for name in gone {
            if let Some(stored) = crate::listen::stored_name(&name) {
                self.above().remove(&mut self.link, &stored)?;
            }
            self.link.send(&Request::Drop { name }, Vec::new())?;
        }
        Ok(())
    }

    /// Has a socket stored for another svd, unless somebody else has it already.
    fn store(&mut self, name: &str) -> Result<(), LinkError> {
        match self.listeners.is_to_be_stored(name) {
            true => self.above().store(&mut self.link, name),
            false => Ok(()),
        }
    }
}

/// Tells of each change of a file's names.
async fn names(watch: AsyncFd<OwnedFd>, process: Arc<str>, inner: mpsc::UnboundedSender<Inner>) {
    let mut events = [0; 4096];
    loop {
        let Ok(mut guard) = watch.readable().await else { return };
        match svd_sys::fd::read(watch.get_ref().as_fd(), &mut events) {
            Ok(0) => return,
            Ok(_) => {
                if inner.send(Inner::NamesChanged(process.clone())).is_err() {
                    return;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => guard.clear_ready(),
            Err(_) => return,
        }
    }
}
