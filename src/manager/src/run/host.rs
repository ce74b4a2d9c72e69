//! What the service manager above svd is told (sd_notify(3)), where there is one. It goes by the keeper, which is the main process and
//! the only one that is listened to; the keeper feeds the watchdog by itself.
//!
//! | when                                                         | what                                              |
//! |--------------------------------------------------------------|---------------------------------------------------|
//! | the counts change                                            | `STATUS=5 of 6 ready; worker.1 backoff`           |
//! | something starts, before the first READY                     | `EXTEND_TIMEOUT_USEC=`, its time to become ready  |
//! | nothing starts or waits any more                             | `READY=1`                                         |
//! | an apply begins, however it was asked for                    | `RELOADING=1` and `MONOTONIC_USEC=`               |
//! | it has ended, or was refused                                 | `READY=1`                                         |
//! | all is to stop                                               | `STOPPING=1`, `EXTEND_TIMEOUT_USEC=`, the ladders |
//! | a listener is made or let go                                 | `FDSTORE=1` or `FDSTOREREMOVE=1`                  |
//!
//! READY does not wait for what has failed or is pausing before its next start: a service manager that waited for that would stop those
//! that serve. What must not be missing is `essential`: without it svd ends.
//!
//! Nothing here is remembered by a later manager. It says all of it again, which changes nothing.

use std::time::Duration;

use svd_config::Plan;
use svd_core::{InstanceView, Seat, State};
use svd_wire::Request;

use super::Inner;
use super::app::{App, Stopping};
use crate::listen::{Handed, Held, stored_name};
use crate::seam::{Link, LinkError};

/// What an end takes beside the ladders: history and output reach the disk, the keeper reaps.
const END: Duration = Duration::from_secs(30);
/// What a start takes beside the time that an instance has to become ready.
const START: Duration = Duration::from_secs(15);
/// Where a stop has no end, the time is extended so often, by twice as much.
const AGAIN: Duration = Duration::from_secs(30);
/// No time is extended by more.
const LONGEST: Duration = Duration::from_secs(24 * 3600);
/// So many that are not ready are named in the status.
const NAMED: usize = 3;

/// What the service manager knows.
#[derive(Debug)]
pub struct Host {
    above: Above,
    stage: Stage,
    reload: Reload,
    status: String,
}

/// Whether there is a service manager, and what it stores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Above {
    /// Nobody is there to be told.
    Nobody,
    /// There is one.
    Someone,
    /// There is one, and listeners are given to its store.
    Store,
}

/// How far it was told that svd is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Starting,
    Ready,
    Stopping,
}

/// Whether it was told that svd reloads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reload {
    No,
    Told,
}

impl Host {
    /// Nothing is told yet.
    pub fn new(above: Above) -> Host {
        Host { above, stage: Stage::Starting, reload: Reload::No, status: String::new() }
    }
}

impl Above {
    /// By what the keeper can do, and what this config wants stored.
    pub fn of(keeper: u64, plan: &Plan) -> Above {
        match (keeper & svd_wire::FEATURE_HOST != 0, plan.store_listeners) {
            (false, _) => Above::Nobody,
            (true, false) => Above::Someone,
            (true, true) => Above::Store,
        }
    }

    /// Has what was stored before closed: what is of no use, and what was taken up, which is stored anew, in another order or not at
    /// all.
    pub fn forget(self, link: &mut Link, useless: &[Handed], taken_up: &[Held]) -> Result<(), LinkError> {
        let taken_up = taken_up.iter().filter_map(|(name, _)| stored_name(name));
        useless.iter().map(|one| one.name.clone()).chain(taken_up).try_for_each(|name| self.remove(link, &name))
    }

    /// Has a listener stored that the keeper holds under this name.
    pub fn store(self, link: &mut Link, held: &str) -> Result<(), LinkError> {
        match stored_name(held) {
            Some(name) if self == Above::Store => {
                let state = format!("FDSTORE=1\nFDNAME={name}\nFDPOLL=0");
                link.send(&Request::TellHost { state, attach: Some(held.to_owned()) }, Vec::new())
            }
            _ => Ok(()),
        }
    }

    /// Has what is stored under this name closed.
    pub fn remove(self, link: &mut Link, stored: &str) -> Result<(), LinkError> {
        match self {
            Above::Nobody => Ok(()),
            Above::Someone | Above::Store => {
                let state = format!("FDSTOREREMOVE=1\nFDNAME={stored}");
                link.send(&Request::TellHost { state, attach: None }, Vec::new())
            }
        }
    }
}

impl App {
    /// What it is about listeners that is told by those who make them.
    pub(super) fn above(&self) -> Above {
        self.host.above
    }

    fn tell_host(&mut self, state: String) -> Result<(), LinkError> {
        self.link.send(&Request::TellHost { state, attach: None }, Vec::new())
    }

    /// An apply begins.
    pub(super) fn host_reloads(&mut self) -> Result<(), LinkError> {
        if self.host.above == Above::Nobody || self.host.stage != Stage::Ready {
            return Ok(());
        }
        self.host.reload = Reload::Told;
        let micros = svd_sys::clock::now().mono_ns / 1000;
        self.tell_host(format!("RELOADING=1\nMONOTONIC_USEC={micros}"))
    }

    /// The end of a turn: what has changed is told.
    pub(super) fn host_settle(&mut self) -> Result<(), LinkError> {
        if self.host.above == Above::Nobody {
            return Ok(());
        }
        let views: Vec<InstanceView> = self.core.view().filter(|view| view.seat == Seat::Current).collect();
        let status = status(&views, self.stopping != Stopping::No);
        let has_changed = status != self.host.status;
        let mut lines = Vec::new();
        match (self.host.stage, self.stopping) {
            (Stage::Starting | Stage::Ready, Stopping::Asked | Stopping::Inherited | Stopping::Finished(_)) => {
                self.host.stage = Stage::Stopping;
                lines.push("STOPPING=1".to_owned());
                lines.push(extend(self.stop_time()));
            }
            (Stage::Starting, Stopping::No) if !views.iter().any(is_coming) => {
                self.host.stage = Stage::Ready;
                lines.push("READY=1".to_owned());
            }
            (Stage::Starting, Stopping::No) if has_changed => lines.push(extend(self.start_time(&views))),
            (Stage::Ready, Stopping::No) if self.host.reload == Reload::Told && !self.applies() => {
                self.host.reload = Reload::No;
                lines.push("READY=1".to_owned());
            }
            (Stage::Starting | Stage::Ready, Stopping::No) | (Stage::Stopping, _) => {}
        }
        if has_changed {
            lines.push(format!("STATUS={status}"));
            self.host.status = status;
        }
        if lines.is_empty() { Ok(()) } else { self.tell_host(lines.join("\n")) }
    }

    /// A stop without end goes on.
    pub(super) fn host_extend(&mut self) -> Result<(), LinkError> {
        let time = self.stop_time();
        self.tell_host(extend(time))
    }

    /// How long the stop that has begun may take from now on.
    fn stop_time(&mut self) -> Duration {
        match svd_config::longest_stop(self.core.plan()) {
            Some((Some(longest), _)) => longest.saturating_add(END),
            Some((None, _)) => {
                self.later(AGAIN, Inner::HostExtend);
                AGAIN * 2
            }
            None => END,
        }
    }

    /// How long it may take until those that start now are ready.
    fn start_time(&self, views: &[InstanceView]) -> Duration {
        let starting = views.iter().filter(|view| view.state == State::Starting);
        let times = starting.filter_map(|view| self.core.plan().process(&view.name.process));
        times.map(|process| process.ready.timeout).max().unwrap_or_default().saturating_add(START)
    }

    /// Whether an apply is under way.
    fn applies(&self) -> bool {
        self.ops.values().any(|op| op.words.split(' ').next() == Some("apply"))
    }
}

/// It is on its way to be ready.
fn is_coming(view: &InstanceView) -> bool {
    matches!(view.state, State::Starting | State::Waiting)
}

fn extend(time: Duration) -> String {
    format!("EXTEND_TIMEOUT_USEC={}", time.min(LONGEST).as_micros())
}

/// One line. What is stopped on purpose does not count.
fn status(views: &[InstanceView], stopping: bool) -> String {
    if stopping {
        let left = views.iter().filter(|view| view.pid.is_some()).count();
        return format!("stopping, {left} left");
    }
    let meant: Vec<&InstanceView> = views.iter().filter(|view| view.state != State::Stopped).collect();
    let is_up = |view: &&&InstanceView| matches!(view.state, State::Ready | State::Completed);
    let up = meant.iter().filter(is_up).count();
    let others: Vec<String> =
        meant.iter().filter(|view| !is_up(view)).map(|view| format!("{} {}", view.name, view.state.word())).collect();
    let mut status = format!("{up} of {} ready", meant.len());
    if !others.is_empty() {
        status.push_str(&format!("; {}", others.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ")));
    }
    if others.len() > NAMED {
        status.push_str(&format!(" and {} more", others.len() - NAMED));
    }
    status
}
