//! Who of an instance that lives on is killed by the kernel for lack of memory: a worker whose main process goes on would else be
//! told of only when that one ends, perhaps in weeks.
//!
//! The kernel counts them in `memory.events` of the cgroup (version 2, cgroup-v2.rst) and
//! says when that file changes. What was killed while there was no manager is told with the end of the main process.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use svd_core::SpawnId;
use svd_sys::files::Changes;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use super::Inner;
use super::app::App;
use super::spawns::Phase;
use crate::store::NewEvent;

/// So long after a change it is looked at: where the main process was killed, its end is told, and has come by then. The file changes
/// often where memory is only short.
const AFTER: Duration = Duration::from_secs(1);

/// Hears of kills.
#[derive(Debug, Default)]
pub struct OomWatch {
    /// Made for the first one that there is to hear of.
    hears: Option<(Changes, AbortHandle)>,
    /// By the number of its file: whose it is, and how many of it were killed when that was last looked at.
    watched: BTreeMap<i32, (SpawnId, u64)>,
}

impl Drop for OomWatch {
    fn drop(&mut self) {
        if let Some((_, task)) = &self.hears {
            task.abort();
        }
    }
}

impl OomWatch {
    fn changes(&mut self, inner: &mpsc::UnboundedSender<Inner>) -> std::io::Result<&Changes> {
        let hears = match self.hears.take().filter(|(_, task)| !task.is_finished()) {
            Some(hears) => hears,
            None => {
                let changes = Changes::new()?;
                let waits = crate::reactor::watch(changes.try_clone()?, Interest::READABLE)?;
                (changes, tokio::spawn(changed(waits, inner.clone())).abort_handle())
            }
        };
        Ok(&self.hears.insert(hears).0)
    }

    /// Nothing of a spawn is left.
    pub(super) fn forget(&mut self, spawn: SpawnId) {
        let (watched, hears) = (&mut self.watched, &self.hears);
        watched.retain(|file, (of, _)| {
            if *of == spawn
                && let Some((changes, _)) = hears
            {
                changes.remove(*file);
            }
            *of != spawn
        });
    }
}

/// Tells of changes, until the end.
async fn changed(waits: AsyncFd<Changes>, inner: mpsc::UnboundedSender<Inner>) {
    loop {
        let Ok(mut ready) = waits.readable().await else { return };
        ready.clear_ready();
        tokio::time::sleep(AFTER).await;
        match waits.get_ref().take() {
            Ok(files) if files.is_empty() => {}
            Ok(files) => {
                if inner.send(Inner::OomsChanged(files)).is_err() {
                    return;
                }
            }
            Err(error) => {
                return tracing::warn!(%error, "kills for lack of memory are told only with the end of an instance");
            }
        }
    }
}

impl App {
    /// Hears of kills in the cgroup of a spawn from now on, where the kernel says.
    pub(super) fn watch_ooms(&mut self, spawn: SpawnId, cgroup: &str) {
        let Some(file) = self.cgroups.oom_file(cgroup) else { return };
        let number = self.oom_watch.changes(&self.inner).and_then(|changes| changes.add(&file));
        match number {
            Ok(number) => {
                let before = self.cgroups.ooms(cgroup).unwrap_or(0);
                self.oom_watch.watched.insert(number, (spawn, before));
            }
            Err(error) => tracing::warn!(%error, cgroup, "a kill for lack of memory is told only with its end"),
        }
    }

    /// The counts of these files may have changed.
    pub(super) fn ooms_changed(&mut self, files: BTreeSet<i32>) {
        for file in files {
            let Some((spawn, before)) = self.oom_watch.watched.get(&file).copied() else { continue };
            let Some(known) = self.spawns.get(&spawn).filter(|known| matches!(known.phase, Phase::Running(_))) else {
                // All of it is told with its end.
                self.oom_watch.watched.remove(&file);
                continue;
            };
            let now = known.cgroup.as_deref().and_then(|name| self.cgroups.ooms(name)).unwrap_or(before);
            self.oom_watch.watched.insert(file, (spawn, now));
            let killed = match now.saturating_sub(before) {
                0 => continue,
                1 => "1 process".to_owned(),
                many => format!("{many} processes"),
            };
            let message = format!("the kernel has killed {killed} of it for lack of memory; its main process runs on");
            self.commits.event(NewEvent {
                time_ns: svd_sys::clock::now().real_ns,
                kind: "instance.oom_killed".into(),
                process: Some(known.instance.process.to_string()),
                instance: Some(known.instance.to_string()),
                spawn: Some(spawn.0),
                pid: known.pid(),
                message,
                ..NewEvent::default()
            });
        }
    }
}
