//! The memory of instances that are to be replaced when they have grown too large: looked at now and then, while there are such.

use std::time::Duration;

use svd_config::plan::ProcessPlan;
use svd_core::{Event, SpawnId, Wear};

use super::Inner;
use super::app::App;
use super::usage;
use crate::seam::LinkError;

/// Time between two looks.
const EVERY: Duration = Duration::from_secs(10);

/// Whether a look is on its way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MemoryWatch {
    /// None is: svd does not wake up for it.
    #[default]
    Off,
    /// One is due, or in progress.
    On,
}

impl App {
    /// A spawn is ready: looks at its memory from now on, where its plan has a limit.
    pub(super) fn watch_memory(&mut self, spawn: SpawnId, process: &ProcessPlan) {
        let Some(known) = self.spawns.get_mut(&spawn) else { return };
        known.memory_limit = process.recycle.memory;
        if known.memory_limit.is_some() && self.memory_watch == MemoryWatch::Off {
            self.memory_watch = MemoryWatch::On;
            self.later(EVERY, Inner::MemoryDue);
        }
    }

    /// It is time to look.
    pub(super) fn memory_due(&mut self) {
        let limited =
            |(spawn, known): (&SpawnId, &super::spawns::Spawn)| Some((*spawn, known.pid()?, known.memory_limit?));
        let looked_at: Vec<(SpawnId, i32, u64)> = self.spawns.iter().filter_map(limited).collect();
        if looked_at.is_empty() {
            self.memory_watch = MemoryWatch::Off;
            return;
        }
        let inner = self.inner.clone();
        tokio::task::spawn_blocking(move || {
            let mains: Vec<i32> = looked_at.iter().map(|(_, main, _)| *main).collect();
            let used = usage::memory(&mains);
            let over = looked_at.into_iter().filter_map(|(spawn, main, limit)| {
                let bytes = used.get(&main).copied().filter(|bytes| *bytes > limit)?;
                Some((spawn, bytes))
            });
            let _ending = inner.send(Inner::MemoryOver(over.collect()));
        });
    }

    /// These were found to use more than they may.
    pub(super) fn memory_over(&mut self, over: Vec<(SpawnId, u64)>) -> Result<(), LinkError> {
        self.later(EVERY, Inner::MemoryDue);
        for (spawn, bytes) in over {
            self.turn(Event::Worn { spawn, why: Wear::Memory(bytes) })?;
        }
        Ok(())
    }
}
