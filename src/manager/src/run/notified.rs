//! What instances say over their notify sockets, as the keeper tells it: on its way to the core and to those who wait for it.

use std::time::Duration;

use svd_api as api;
use svd_core::{Event, InstanceName, Said, SpawnId, Time};
use svd_wire::{FEATURE_NOTIFY, NotifyState, Request};

use super::app::App;
use super::spawns::{Phase, Spawn, to_wire};
use crate::seam::LinkError;

impl App {
    /// Takes in all that a spawn has said so far.
    pub(super) fn notified(&mut self, spawn: SpawnId, state: NotifyState) -> Result<(), LinkError> {
        let Some(known) = self.spawns.get_mut(&spawn) else { return Ok(()) };
        let (ready, stopping) = (state.ready.is_some(), state.stopping && !known.notify.stopping);
        if let (Phase::Running(pid), Some(main)) = (&mut known.phase, state.main) {
            *pid = main;
        }
        let said = said(&state);
        known.notify = state;
        self.version.send_modify(|version| *version = version.wrapping_add(1));
        if ready && known.probing {
            self.evidence(spawn)?;
        }
        if stopping {
            self.turn(Event::Stopping { spawn })?;
        }
        self.turn(Event::Said { spawn, said })?;
        self.look_at_reloads();
        Ok(())
    }

    /// Asks the keeper what a spawn has said so far. An older keeper cannot tell: then nobody is judged.
    pub(super) fn recall(&mut self, spawn: SpawnId) -> Result<(), LinkError> {
        if self.keeper.features & FEATURE_NOTIFY == 0 {
            return Ok(());
        }
        self.link.send(&Request::Recall { spawn: to_wire(spawn) }, Vec::new())
    }

    /// Has the keeper close what an instance has stored.
    pub(super) fn empty_store(&mut self, instance: &InstanceName) -> Result<(), LinkError> {
        if self.keeper.features & FEATURE_NOTIFY == 0 {
            return Ok(());
        }
        self.link.send(&Request::Empty { store: instance.to_string() }, Vec::new())
    }

    /// What an older keeper does not do, though the config asks for it.
    pub(super) fn keeper_troubles(&self) -> Option<String> {
        let asks = |notify: svd_config::plan::NotifyPlan| notify.watchdog.is_some() || notify.fd_store > 0;
        let wanted = self.core.plan().processes.iter().any(|process| asks(process.notify));
        (wanted && self.keeper.features & FEATURE_NOTIFY == 0).then(|| {
            "watchdog and fd_store have no effect: the svd that runs is older than its manager; start svd again"
                .to_owned()
        })
    }
}

/// In the core's words.
pub(super) fn said(state: &NotifyState) -> Said {
    Said {
        heard: state.heard.map(|at| Time(at.boot_ns)),
        every: state.watchdog_us.map(Duration::from_micros),
        trigger: state.trigger.is_some(),
        extended: state.extended.map(|extended| (Time(extended.at.boot_ns), Time(extended.until_ns))),
        main: state.main,
    }
}

/// As the API shows it; nothing where nothing was said but what the state and the reason tell.
pub(super) fn shown(spawn: &Spawn) -> Option<api::Notify> {
    let state = &spawn.notify;
    let shown = api::Notify {
        reloading: state.reloading.is_some() && state.reloaded.is_none(),
        errno: state.errno,
        exit_status: state.exit_status,
        stored: state.stored.clone(),
        refused_descriptors: state.refused,
        dropped_messages: state.dropped,
    };
    (shown != api::Notify::default()).then_some(shown)
}
