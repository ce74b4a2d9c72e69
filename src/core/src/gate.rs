//! Where new connections go: worked out from who is ready, never remembered.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::action::Action;
use crate::drain::{DrainStep, DrainStepKind, Queue};
use crate::event::{MAX_SLOTS, Slot};
use crate::machine::Core;
use crate::service::{Life, Spawn};
use crate::tree::{Aim, Instance, Process};

impl Core {
    /// Turns the gates of all processes to where they are to be.
    pub(crate) fn turn_gates(&mut self, out: &mut Vec<Action>) {
        let gated = self.services().filter(|(_, process)| process.plan.is_gated());
        let weights = gated.map(|(name, process)| (name.clone(), self.weights(name, process), &process.gate));
        let turned = weights.filter(|(_, weights, gate)| weights != *gate).map(|(name, weights, _)| (name, weights));
        let turned: Vec<_> = turned.collect();
        for (name, weights) in turned {
            out.push(Action::Gate { process: name.clone(), weights: weights.clone() });
            if let Some(process) = self.processes.get_mut(&name) {
                process.gate = weights;
            }
        }
    }

    /// Each instance that has somebody ready whom nobody has asked to end counts for that one's slot: its candidate, where that
    /// is ready, else its current spawn. In a canary's step the candidates together have the step's share. Where there is
    /// nobody, connections wait for whoever comes next.
    fn weights(&self, name: &Arc<str>, process: &Process) -> Vec<(Slot, u32)> {
        let (mut new, mut old): (BTreeMap<Slot, u32>, BTreeMap<Slot, u32>) = Default::default();
        let mut canary = None;
        for instance in process.instances.values() {
            match representative(instance) {
                Some((spawn, Seat::New)) => {
                    canary = canary.or_else(|| self.canary_step(process, spawn.lineage.generation));
                    *new.entry(spawn.lineage.slot).or_default() += 1;
                    // In a canary the one beside it serves on for the rest of the share.
                    if let Some(spawn) = instance.current.as_ref().filter(|spawn| canary.is_some() && serves(spawn)) {
                        *old.entry(spawn.lineage.slot).or_default() += 1;
                    }
                }
                Some((spawn, Seat::Old)) => *old.entry(spawn.lineage.slot).or_default() += 1,
                None => {}
            }
        }
        let mut weights: BTreeMap<Slot, u32> = BTreeMap::new();
        let (sum_new, sum_old) = (new.values().sum::<u32>(), old.values().sum::<u32>());
        let (share_new, share_old) = match canary {
            Some((percent, _)) if sum_new > 0 && sum_old > 0 => {
                (u32::from(percent).saturating_mul(sum_old), (100 - u32::from(percent.min(99))).saturating_mul(sum_new))
            }
            Some(_) | None => (1, 1),
        };
        for (slot, count) in new {
            *weights.entry(slot).or_default() += count.saturating_mul(share_new);
        }
        for (slot, count) in old {
            *weights.entry(slot).or_default() += count.saturating_mul(share_old);
        }
        if !weights.is_empty() {
            return weights.into_iter().collect();
        }
        let is_wanted = process.instances.keys().any(|index| self.aim(name, process, *index) == Aim::Run);
        let ends = |slot: Slot| process.spawns().any(|s| s.is_live() && s.note.asked && s.lineage.slot == slot);
        match (process.gate.is_empty(), is_wanted) {
            (false, true) if !process.gate.iter().any(|(slot, _)| ends(*slot)) => process.gate.clone(),
            // A new manager finds nobody ready: whoever was there last may come back.
            (true, true) => {
                let mine = process.spawns().filter(|spawn| !spawn.note.replaced);
                let last = mine.max_by_key(|spawn| (spawn.is_ready(), spawn.is_live(), spawn.id));
                vec![(last.map_or_else(Slot::default, |spawn| spawn.lineage.slot), 1)]
            }
            // Where nobody accepts them, so that those who end can finish what they have.
            (_, false) | (false, true) => vec![(waiting_room(process), 1)],
        }
    }

    /// Whether those who wait to be accepted from its slot, and those who were and have no answer yet, are waited for before it is
    /// told to end: nobody else accepts from there, and the gate turns away from one that is to end.
    pub(crate) fn queue_of(&self, name: &str, process: &Process, spawn: &Spawn) -> Queue {
        let gated = process.planned(self.desired.runs_by(name, spawn.lineage.generation)).is_gated();
        let slot = spawn.lineage.slot;
        let served = process.spawns().any(|other| other.id != spawn.id && other.lineage.slot == slot && serves(other));
        match gated && !served && spawn.note.ready.is_some() {
            true => Queue::Wait,
            false => Queue::None,
        }
    }

    /// Drains whose queue need not be waited for any more go on: somebody else serves their slot.
    pub(crate) fn skip_queues(&mut self, out: &mut Vec<Action>) {
        let mut due = Vec::new();
        for (name, process) in self.services() {
            for spawn in process.spawns() {
                let waits = matches!(spawn.life, Life::Draining { step: DrainStep::Queue { .. }, .. });
                if waits && self.queue_of(name, process, spawn) == Queue::None {
                    due.push(spawn.id);
                }
            }
        }
        for id in due {
            self.on(id, out, |spawn, cx| spawn.drained(cx, DrainStepKind::Queue));
        }
    }
}

/// A slot that nobody accepts from, one where connections wait already before others.
fn waiting_room(process: &Process) -> Slot {
    let idle = |slot: &Slot| !process.spawns().any(|spawn| spawn.is_live() && spawn.lineage.slot == *slot);
    let open = process.gate.iter().map(|(slot, _)| *slot).find(idle);
    open.or_else(|| (0..MAX_SLOTS).map(Slot).find(idle)).unwrap_or_default()
}

/// Which of an instance's spawns counts.
enum Seat {
    New,
    Old,
}

fn representative(instance: &Instance) -> Option<(&Spawn, Seat)> {
    let new = instance.candidate.as_ref().filter(|spawn| serves(spawn)).map(|spawn| (spawn, Seat::New));
    // One that takes no new work and has nobody beside it is about to be started anew.
    let stays = |spawn: &&Spawn| serves(spawn) && !(spawn.note.quiet && instance.candidate.is_none());
    new.or_else(|| instance.current.as_ref().filter(stays).map(|spawn| (spawn, Seat::Old)))
}

fn serves(spawn: &Spawn) -> bool {
    spawn.is_ready() && !spawn.note.asked
}
