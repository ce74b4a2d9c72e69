//! States of an instance as users see them, and why it is in one.

use std::fmt;
use std::time::Duration;

use crate::name::{InstanceName, SpawnId};
use crate::time::Time;

/// State of an instance (the words that `status` prints).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// Waits for what it comes after.
    Waiting,
    /// Started, not ready yet.
    Starting,
    /// May take traffic.
    Ready,
    /// Ready, but its health probes fail.
    Unhealthy,
    /// Is to be stopped, and finishes what it has.
    Draining,
    /// Is being stopped.
    Stopping,
    /// Ended; starts again after a pause.
    Backoff,
    /// A one-shot that has done its work.
    Completed,
    /// Not running, and not meant to.
    Stopped,
    /// Gave up.
    Failed,
    /// Would not die.
    Stuck,
}

impl State {
    /// The word of the API.
    pub fn word(self) -> &'static str {
        match self {
            State::Waiting => "waiting",
            State::Starting => "starting",
            State::Ready => "ready",
            State::Unhealthy => "unhealthy",
            State::Draining => "draining",
            State::Stopping => "stopping",
            State::Backoff => "backoff",
            State::Completed => "completed",
            State::Stopped => "stopped",
            State::Failed => "failed",
            State::Stuck => "stuck",
        }
    }
}

/// How a main process ended. Never invented: what is not known is `Unknown`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitStatus {
    /// With this code.
    Code(u8),
    /// By this signal.
    Signal {
        /// Its number.
        signal: i32,
        /// A core was dumped.
        core: bool,
    },
    /// Nobody can tell.
    Unknown,
}

impl fmt::Display for ExitStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ExitStatus::Code(code) => write!(f, "exited with code {code}"),
            ExitStatus::Signal { signal, core } => {
                let dumped = if *core { " (core dumped)" } else { "" };
                write!(f, "ended by signal {}{dumped}", svd_config::signal_name(*signal))
            }
            ExitStatus::Unknown => write!(f, "ended, status unknown"),
        }
    }
}

/// Why an instance is in its state.
#[derive(Clone, Debug, PartialEq)]
pub enum Reason {
    /// Waits for this process (and what it is waiting for, in words: `redis is starting`).
    After(String),
    /// Its program ended.
    Exited(ExitStatus),
    /// It was ended before its program ran.
    BeforeExec(ExitStatus),
    /// It could not be started.
    StartFailed(String),
    /// It was not ready in time.
    ReadyTimeout(Duration),
    /// A run of a job took longer than it may.
    TimedOut(Duration),
    /// A later run of the job takes its place.
    LaterRun,
    /// More restarts than its limit allows; the last end.
    RestartLimit {
        /// The limit's count.
        count: u32,
        /// The limit's window.
        window: Duration,
        /// Its last end, in words.
        last: String,
    },
    /// Stopped by hand.
    ByHand,
    /// Switched off.
    Disabled,
    /// Scaled away.
    ScaledDown,
    /// No longer in the config.
    Removed,
    /// Is being replaced.
    Restart,
    /// Is being replaced, since its health probes failed.
    Unhealthy(String),
    /// Its replacement did not come up, and it had been told to take no new work.
    Quieted,
    /// Was started to replace one that runs, and is needed no more.
    TakenBack,
    /// Was drained by hand.
    Drained,
    /// Is to replace this one.
    ToReplace(String),
    /// Why it does not count as ready yet.
    NotReadyYet(String),
    /// Its stop ladder waits without end; why it is stopped.
    WithoutEnd(String),
    /// svd stops all.
    Shutdown,
    /// It said so itself (`STOPPING=1`).
    BySelf,
    /// It gave no sign of life for so long; none: it said itself that it hangs.
    Hung(Option<Duration>),
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::After(what) => write!(f, "{what}"),
            Reason::Exited(exit) => write!(f, "{exit}"),
            Reason::BeforeExec(exit) => write!(f, "died before exec: {exit}"),
            Reason::StartFailed(why) => write!(f, "{why}"),
            Reason::ReadyTimeout(t) => write!(f, "not ready within {:.1} s", t.as_secs_f64()),
            Reason::TimedOut(t) => write!(f, "took longer than {:.1} s", t.as_secs_f64()),
            Reason::LaterRun => write!(f, "a later run takes its place"),
            Reason::RestartLimit { count, window: Duration::MAX, last } => {
                write!(f, "{last}; after {count} more attempts")
            }
            Reason::RestartLimit { count, window, last } => {
                write!(f, "{last}; more than {count} restarts in {} s", window.as_secs())
            }
            Reason::ByHand => write!(f, "stopped by hand"),
            Reason::Disabled => write!(f, "disabled"),
            Reason::ScaledDown => write!(f, "scaled down"),
            Reason::Removed => write!(f, "no longer in the config"),
            Reason::Restart => write!(f, "is being replaced"),
            Reason::Unhealthy(why) => write!(f, "is unhealthy: {why}"),
            Reason::Quieted => write!(f, "takes no new work since a replacement that did not come up"),
            Reason::TakenBack => write!(f, "the replacement was given up"),
            Reason::Drained => write!(f, "drained by hand"),
            Reason::ToReplace(what) => write!(f, "is to replace {what}"),
            Reason::NotReadyYet(why) => write!(f, "not ready yet: {why}"),
            Reason::WithoutEnd(why) => write!(f, "{why}; finishes what it has, without a deadline"),
            Reason::Shutdown => write!(f, "svd stops all"),
            Reason::BySelf => write!(f, "is stopping by itself"),
            Reason::Hung(Some(t)) => write!(f, "watchdog: no sign of life for {:.1} s", t.as_secs_f64()),
            Reason::Hung(None) => write!(f, "watchdog: it said itself that it hangs"),
        }
    }
}

/// An instance as status shows it.
#[derive(Clone, Debug, PartialEq)]
pub struct InstanceView {
    /// Its name.
    pub name: InstanceName,
    /// Its state.
    pub state: State,
    /// Since when.
    pub since: Time,
    /// The current spawn, where there is one.
    pub spawn: Option<SpawnId>,
    /// Its process id, while its main process lives.
    pub pid: Option<i32>,
    /// Restarts that nobody asked for.
    pub restarts: u32,
    /// Its last end.
    pub exit: Option<ExitStatus>,
    /// Why it is not well, or not running.
    pub reason: Option<Reason>,
    /// Which of the spawns of its name this is.
    pub seat: Seat,
}

/// Which of the spawns of an instance's name a view shows. While an instance is replaced there can be several.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seat {
    /// The one that has the name.
    Current,
    /// One that was started beside it and has not taken its place yet.
    Candidate,
    /// One that was replaced and still finishes its work.
    Replaced,
}
