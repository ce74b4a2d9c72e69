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
        // Anew each time: of two directories of one name, the one that is gone would be listened to.
        if let Some((_, task)) = self.listening.take() {
            task.abort();
        }
        self.listening = listen(directories, inner);
        // Looked up when they are listened for, so that no change is missed.
        self.zones = plan::zones(plans.into_iter().map(|plan| &**plan));
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

/// The directories in which something happens when the data of these zones changes, or comes or goes as a whole.
fn directories<'n>(names: impl Iterator<Item = &'n str>) -> BTreeSet<PathBuf> {
    let own = std::env::var_os("TZDIR").filter(|directory| !directory.is_empty()).map(PathBuf::from);
    let bases: Vec<PathBuf> = own.into_iter().chain(DIRECTORIES.iter().map(PathBuf::from)).collect();
    // Needs no data, and is that of all jobs of which nothing is said.
    let names: BTreeSet<&str> = names.filter(|name| *name != "UTC").collect();
    if names.is_empty() { BTreeSet::new() } else { directories_in(&names, &bases) }
}

fn directories_in(names: &BTreeSet<&str>, bases: &[PathBuf]) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    // The first one is where data is expected. It may come later.
    if let Some(first) = bases.first().filter(|base| !base.is_dir()) {
        found.extend(first.ancestors().find(|directory| directory.is_dir()).map(PathBuf::from));
    }
    for base in bases.iter().filter(|base| base.is_dir()) {
        if base.is_symlink() {
            found.extend(base.parent().map(PathBuf::from));
        }
        for file in names.iter().map(|name| base.join(name)) {
            // Those above it tell when its own goes and comes again.
            found.extend(file.ancestors().skip(1).take_while(|above| above.starts_with(base)).map(PathBuf::from));
            // Distributions link one name to another.
            found.extend(file.canonicalize().ok().as_deref().and_then(Path::parent).map(PathBuf::from));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_followed_and_what_is_missing_is_waited_for_above() {
        let dir = std::env::temp_dir().join(format!("svd-zones-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let dir = dir.canonicalize().unwrap();
        let (data, link, missing) = (dir.join("data"), dir.join("link/zones"), dir.join("not/there"));
        for made in [data.join("Europe"), data.join("posix"), dir.join("link")] {
            std::fs::create_dir_all(made).unwrap();
        }
        std::fs::write(data.join("posix/Berlin"), "").unwrap();
        std::os::unix::fs::symlink("../posix/Berlin", data.join("Europe/Berlin")).unwrap();
        std::os::unix::fs::symlink(&data, &link).unwrap();
        let found = directories_in(&BTreeSet::from(["Europe/Berlin"]), &[missing, link.clone()]);
        let expected = [dir.clone(), dir.join("link"), link.clone(), link.join("Europe"), data.join("posix")];
        assert_eq!(found, expected.into_iter().collect());
        assert_eq!(directories(["UTC"].into_iter()), BTreeSet::new());
        std::fs::remove_dir_all(dir).unwrap();
    }
}
