//! `svctl reload`: the signal, and the wait for those that tell when they have reloaded.
//!
//! An instance with a notify socket may answer the signal by `RELOADING=1` with the time at which it began
//! (`MONOTONIC_USEC=`), and say `READY=1` when it is done. One that began before it was asked was doing something else. One
//! that does not answer soon does not know of this, and nobody can tell when it has reloaded.

use std::collections::BTreeMap;
use std::time::Duration;

use svd_api as api;
use svd_core::{InstanceName, SpawnId, Time};
use svd_sys::clock::{self, Now};
use svd_wire::NotifyState;
use tokio::task::AbortHandle;

use super::Inner;
use super::app::{App, now};
use super::asks::Asked;
use super::spawns::abort;

/// How long an instance may take to answer the signal.
const ANSWER: Duration = Duration::from_secs(2);

/// Those that are under way.
#[derive(Default)]
pub(super) struct Reloads {
    all: Vec<Reload>,
    timer: Option<AbortHandle>,
}

/// One command.
struct Reload {
    asked: Asked,
    changes: Vec<String>,
    waits: BTreeMap<SpawnId, Wait>,
    /// What did not come about, and of whom.
    failed: Vec<(InstanceName, String)>,
    /// Those that have not answered.
    silent: Vec<InstanceName>,
}

/// Who is waited for.
pub(super) struct Wait {
    instance: InstanceName,
    asked: Now,
    timeout: Duration,
}

/// How far one has come.
#[derive(Debug, PartialEq, Eq)]
enum Progress {
    /// It may still come, until then.
    Waits(Time),
    Reloaded,
    /// It does not answer.
    Silent,
    /// It has answered, and has not come to an end in time.
    Late,
}

impl Wait {
    /// One that is sent the signal now.
    pub fn new(instance: InstanceName, timeout: Duration) -> Wait {
        Wait { instance, asked: clock::now(), timeout }
    }

    /// What it has said since it was asked.
    fn progress(&self, said: &NotifyState, now: Time) -> Progress {
        let asked = Time(self.asked.boot_ns);
        let answer = said.reloading.filter(|reloading| match reloading.since_us {
            Some(began) => began >= self.asked.mono_ns / 1000,
            None => reloading.at.boot_ns >= self.asked.boot_ns,
        });
        if answer.is_some() && said.reloaded.is_some() {
            return Progress::Reloaded;
        }
        let usual = asked.after(if answer.is_some() { self.timeout } else { ANSWER });
        let extended = said.extended.filter(|extended| extended.at.boot_ns >= self.asked.boot_ns);
        let until = extended.map_or(usual, |extended| usual.max(Time(extended.until_ns)));
        match (until > now, answer) {
            (true, _) => Progress::Waits(until),
            (false, Some(_)) => Progress::Late,
            (false, None) => Progress::Silent,
        }
    }
}

impl App {
    /// Who is waited for after the reload signal; nobody where it cannot tell, or this keeper does not.
    pub(super) fn reload_wait(&self, spawn: SpawnId) -> Option<Wait> {
        let known = self.spawns.get(&spawn)?;
        let plan = self.plan_of(spawn);
        let process = plan.process(&known.instance.process)?;
        let tells = process.has_notify_socket() && self.keeper.features & svd_wire::FEATURE_NOTIFY != 0;
        tells.then(|| Wait::new(known.instance.clone(), process.notify.reload_timeout))
    }

    /// The signals are sent; the command is answered when all who can tell have reloaded.
    pub(super) fn await_reload(&mut self, asked: Asked, changes: Vec<String>, waits: BTreeMap<SpawnId, Wait>) {
        self.reloads.all.push(Reload { asked, changes, waits, failed: Vec::new(), silent: Vec::new() });
        self.look_at_reloads();
    }

    /// One of those that reload has ended.
    pub(super) fn ended_while_reloading(&mut self, spawn: SpawnId) {
        for reload in &mut self.reloads.all {
            if let Some(wait) = reload.waits.remove(&spawn) {
                let why = format!("{} ended before it had reloaded", wait.instance);
                reload.failed.push((wait.instance, why));
            }
        }
        self.look_at_reloads();
    }

    /// Looks how far all have come, and answers the commands that are over.
    pub(super) fn look_at_reloads(&mut self) {
        if self.reloads.all.is_empty() {
            return;
        }
        let now = now();
        let mut earliest: Option<Time> = None;
        let nothing = NotifyState::default();
        for reload in &mut self.reloads.all {
            let waits = std::mem::take(&mut reload.waits);
            for (spawn, wait) in waits {
                let said = self.spawns.get(&spawn).map_or(&nothing, |known| &known.notify);
                match wait.progress(said, now) {
                    Progress::Waits(until) => {
                        earliest = Some(earliest.map_or(until, |at| at.min(until)));
                        reload.waits.insert(spawn, wait);
                    }
                    Progress::Reloaded => {}
                    Progress::Silent => reload.silent.push(wait.instance),
                    Progress::Late => {
                        let waited = now.since(Time(wait.asked.boot_ns)).as_secs_f64();
                        let why = format!(
                            "{} said RELOADING=1 and has not said READY=1 within {waited:.1} s; it goes on",
                            wait.instance
                        );
                        reload.failed.push((wait.instance, why));
                    }
                }
            }
        }
        let (over, open) =
            std::mem::take(&mut self.reloads.all).into_iter().partition(|reload| reload.waits.is_empty());
        self.reloads.all = open;
        abort(&mut self.reloads.timer);
        self.reloads.timer = earliest.map(|at| self.later(at.since(now), Inner::ReloadLate));
        let over: Vec<Reload> = over;
        for reload in over {
            let Reload { asked, changes, failed, silent, .. } = reload;
            let (outcome, message) = match (failed.is_empty(), silent.is_empty()) {
                (true, true) => (api::OutcomeWord::Done, "reloaded".to_owned()),
                (true, false) => {
                    let names: Vec<String> = silent.iter().map(ToString::to_string).collect();
                    let names = names.join(", ");
                    let message = format!("sent; nobody can tell when it has reloaded: no RELOADING=1 from {names}");
                    (api::OutcomeWord::Done, message)
                }
                (false, _) => {
                    let all: Vec<&str> = failed.iter().map(|(_, why)| why.as_str()).collect();
                    (api::OutcomeWord::Failed, all.join("; "))
                }
            };
            let kind = match outcome {
                api::OutcomeWord::Failed => "command.failed",
                _ => "command.done",
            };
            self.commits.event(asked.event(kind, format!("{}: {message}", asked.words)));
            let evidence = failed.into_iter().map(|(instance, _)| instance.to_string()).collect();
            let result = api::CommandResult { outcome, message, changes, problems: Vec::new(), evidence, run: None };
            self.answer(asked, result);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use svd_wire::{Extended, Reloading, Stamp};

    const ASKED: Now = Now { mono_ns: 5_000_000_000, boot_ns: 100_000_000_000, real_ns: 0 };

    fn at(seconds: u64) -> Stamp {
        Stamp { boot_ns: seconds * 1_000_000_000, real_ns: 0 }
    }

    fn progress(said: &NotifyState, now: u64) -> Progress {
        let wait = Wait { instance: InstanceName::new("web", 1), asked: ASKED, timeout: Duration::from_secs(10) };
        wait.progress(said, Time(now * 1_000_000_000))
    }

    fn said(since_us: Option<u64>, reloaded: Option<u64>) -> NotifyState {
        let reloading = Some(Reloading { at: at(101), since_us });
        NotifyState { reloading, reloaded: reloaded.map(at), ..NotifyState::default() }
    }

    #[test]
    fn a_reload_is_over_when_ready_follows_an_answer_to_this_very_request() {
        assert_eq!(progress(&NotifyState::default(), 101), Progress::Waits(Time(102_000_000_000)));
        assert_eq!(progress(&NotifyState::default(), 102), Progress::Silent);
        assert_eq!(progress(&said(Some(5_000_001), None), 105), Progress::Waits(Time(110_000_000_000)));
        assert_eq!(progress(&said(Some(5_000_001), None), 110), Progress::Late);
        assert_eq!(progress(&said(Some(5_000_001), Some(103)), 104), Progress::Reloaded);
        assert_eq!(progress(&said(None, Some(103)), 104), Progress::Reloaded);
        // One that began before it was asked is none.
        assert_eq!(progress(&said(Some(4_999_999), Some(103)), 104), Progress::Silent);
    }

    #[test]
    fn more_time_is_given_to_one_that_asks_for_it() {
        let extended = |asked| Some(Extended { at: at(asked), until_ns: 130_000_000_000 });
        let slow = |asked| NotifyState { extended: extended(asked), ..said(Some(5_000_001), None) };
        assert_eq!(progress(&slow(105), 120), Progress::Waits(Time(130_000_000_000)));
        assert_eq!(progress(&slow(99), 120), Progress::Late);
    }
}
