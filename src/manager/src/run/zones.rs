//! The rules of time zones change while svd runs: a package puts new files in the place of the old ones, and jobs go by them.

use std::collections::BTreeSet;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
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

/// Where the system has its zones, unless `TZDIR` says otherwise.
const DIRECTORIES: [&str; 3] = ["/usr/share/zoneinfo", "/usr/share/lib/zoneinfo", "/etc/zoneinfo"];
/// A package writes many files: so long nothing must have been written for its work to be done.
const QUIET: Duration = Duration::from_secs(1);
/// Whoever writes there again and again is not waited for longer.
const LONGEST: Duration = Duration::from_secs(30);

/// Who listens for new data of zones.
#[derive(Debug, Default)]
pub struct ZoneWatch {
    /// The zones that jobs go by.
    zones: Zones,
    /// Which directories are listened to, and by whom.
    listening: Option<(BTreeSet<PathBuf>, AbortHandle)>,
}

impl Drop for ZoneWatch {
    fn drop(&mut self) {
        if let Some((_, task)) = &self.listening {
            task.abort();
        }
    }
}

impl ZoneWatch {
    /// The zones of these plans, which are listened for from now on.
    pub fn of<'p>(
        &mut self,
        plans: impl Iterator<Item = &'p Arc<Plan>>,
        inner: &mpsc::UnboundedSender<Inner>,
    ) -> Zones {
        let plans: Vec<&Arc<Plan>> = plans.collect();
        let jobs = plans.iter().flat_map(|plan| &plan.jobs);
        let directories = directories(jobs.filter_map(|job| Some(job.schedule.as_ref()?.zone.as_str())));
        if self.listening.as_ref().is_none_or(|(listened, _)| *listened != directories) {
            if let Some((_, task)) = self.listening.take() {
                task.abort();
            }
            self.listening = listen(directories, inner);
        }
        // Looked up when they are listened for, so that no change is missed.
        self.zones = plans.into_iter().flat_map(|plan| plan::zones(plan)).collect();
        self.zones.clone()
    }
}

fn listen(
    directories: BTreeSet<PathBuf>,
    inner: &mpsc::UnboundedSender<Inner>,
) -> Option<(BTreeSet<PathBuf>, AbortHandle)> {
    if directories.is_empty() {
        return None;
    }
    let watch = svd_sys::files::watch_directories(directories.iter().map(PathBuf::as_path))
        .and_then(|watch| crate::reactor::watch(watch, Interest::READABLE));
    match watch {
        Ok(watch) => {
            let task = tokio::spawn(changes(watch, inner.clone())).abort_handle();
            Some((directories, task))
        }
        Err(error) => {
            tracing::warn!(%error, "new data of time zones is not heard of before svd applies a config or is upgraded");
            None
        }
    }
}

/// The directories in which the data of these zones is.
fn directories<'n>(names: impl Iterator<Item = &'n str>) -> BTreeSet<PathBuf> {
    let bases: Vec<PathBuf> = match std::env::var_os("TZDIR") {
        Some(directory) => vec![directory.into()],
        None => DIRECTORIES.iter().map(PathBuf::from).collect(),
    };
    let mut found = BTreeSet::new();
    for name in names {
        for file in bases.iter().map(|base| base.join(name)).filter(|file| file.exists()) {
            let real = file.canonicalize().ok();
            found.extend(
                [Some(file.as_path()), real.as_deref()]
                    .into_iter()
                    .flatten()
                    .filter_map(Path::parent)
                    .map(PathBuf::from),
            );
        }
    }
    found
}

/// Tells of changes, when they are over.
async fn changes(watch: AsyncFd<OwnedFd>, inner: mpsc::UnboundedSender<Inner>) {
    loop {
        if heard(&watch).await.is_none() {
            return;
        }
        let begun = tokio::time::Instant::now();
        while begun.elapsed() < LONGEST {
            match tokio::time::timeout(QUIET, heard(&watch)).await {
                Ok(Some(())) => {}
                Ok(None) => return,
                Err(_quiet) => break,
            }
        }
        if inner.send(Inner::ZonesChanged).is_err() {
            return;
        }
    }
}

/// Waits until something has changed. `None` at the end.
async fn heard(watch: &AsyncFd<OwnedFd>) -> Option<()> {
    let mut events = [0; 4096];
    loop {
        let mut ready = watch.readable().await.ok()?;
        match svd_sys::fd::read(watch.get_ref().as_fd(), &mut events) {
            Ok(_) => return Some(()),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => ready.clear_ready(),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => {
                tracing::warn!(%error, "new data of time zones is not heard of any more");
                return None;
            }
        }
    }
}

impl App {
    /// Files of zones have changed: jobs go by what is in them now.
    pub(super) fn zones_changed(&mut self) -> Result<(), LinkError> {
        jiff::tz::db().reset();
        let before = self.zones.zones.clone();
        let now = self.zones.of(self.settings.plans(), &self.inner);
        let changed: Vec<&str> =
            now.iter().filter(|(name, zone)| before.get(*name) != Some(*zone)).map(|(name, _)| name.as_str()).collect();
        if changed.is_empty() {
            return Ok(());
        }
        self.commits.event(NewEvent {
            time_ns: svd_sys::clock::now().real_ns,
            kind: "jobs.zones_changed".into(),
            message: format!("jobs go by new data of {}", changed.join(", ")),
            ..NewEvent::default()
        });
        self.core.set_zones(now);
        self.turn(Event::Tick)
    }
}
