//! Zone data that changes while svd runs: distributions replace it several times a year, and jobs run by the new one.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use svd_config::Plan;
use svd_core::{Event, Zones};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use super::Inner;
use super::app::App;
use crate::plan;
use crate::seam::LinkError;
use crate::store::NewEvent;

/// Data is unpacked file by file: it is looked at when nothing has changed for so long,
const QUIET: Duration = Duration::from_millis(500);
/// and after so long in any case.
const LONGEST: Duration = Duration::from_secs(10);

/// What is known of zones.
#[derive(Default)]
pub struct ZoneWatch {
    zones: Zones,
    /// Listens for changes; none where no job has a zone with data.
    task: Option<AbortHandle>,
}

impl App {
    /// Looks up the zones of these plans, and hears of their changes from now on.
    pub(super) fn look_up_zones<'p>(&mut self, plans: impl IntoIterator<Item = &'p Plan>) {
        let names = plan::zone_names(plans);
        // Before it is read: what changes in between is heard of.
        self.watch_zones(&plan::zone_dirs(&names));
        self.zone_watch.zones = plan::zones(&names);
    }

    /// Those that were looked up.
    pub(super) fn zones(&self) -> Zones {
        self.zone_watch.zones.clone()
    }

    fn watch_zones(&mut self, dirs: &BTreeSet<PathBuf>) {
        if let Some(task) = self.zone_watch.task.take() {
            task.abort();
        }
        if dirs.is_empty() {
            return;
        }
        let watch = svd_sys::files::watch_dirs(dirs.iter().map(|dir| dir as &Path));
        match watch.and_then(|watch| crate::reactor::watch(watch, Interest::READABLE)) {
            Ok(watch) => {
                self.zone_watch.task = Some(tokio::spawn(changes(watch, self.inner.clone())).abort_handle());
            }
            Err(error) => tracing::warn!(%error, "new zone data is heard of with the next apply only"),
        }
    }

    /// The data of zones may have changed: when jobs run next is worked out anew.
    pub(super) fn zones_changed(&mut self) -> Result<(), LinkError> {
        let plan = self.core.plan().clone();
        let other = self.settings.other().map(|other| other.plan.clone());
        let before = self.zones();
        self.look_up_zones([Some(&*plan), other.as_deref()].into_iter().flatten());
        let after = self.zones();
        let changed: Vec<&str> = after
            .iter()
            .filter(|(name, zone)| before.get(*name) != Some(*zone))
            .map(|(name, _)| name.as_str())
            .collect();
        if changed.is_empty() {
            return Ok(());
        }
        self.commits.event(NewEvent {
            time_ns: svd_sys::clock::now().real_ns,
            kind: "zones.changed".to_owned(),
            message: format!("there is new zone data of {}: jobs run by it from now on", changed.join(", ")),
            ..NewEvent::default()
        });
        self.core.set_zones(after);
        self.turn(Event::Tick)
    }
}

/// Tells once, when something has changed and it is quiet again. Who is told looks where to listen next.
async fn changes(watch: AsyncFd<OwnedFd>, inner: mpsc::UnboundedSender<Inner>) {
    let Ok(()) = hear(&watch).await else { return };
    let over = tokio::time::Instant::now() + LONGEST;
    while let Ok(heard) = tokio::time::timeout(QUIET, hear(&watch)).await {
        if heard.is_err() || tokio::time::Instant::now() >= over {
            break;
        }
    }
    // A closed channel means that the manager is ending.
    let _ending = inner.send(Inner::ZonesChanged);
}

/// Takes what has happened, and waits where nothing has.
async fn hear(watch: &AsyncFd<OwnedFd>) -> io::Result<()> {
    let mut events = [0; 4096];
    loop {
        let mut ready = watch.readable().await?;
        match svd_sys::fd::read(watch.get_ref().as_fd(), &mut events) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => ready.clear_ready(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other.map(drop),
        }
    }
}
