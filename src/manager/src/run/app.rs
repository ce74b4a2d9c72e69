//! The main loop and the state it owns. It decides nothing: the core does.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use svd_api as api;
use svd_core::{Action, Command, Core, Event, InstanceName, OpId, Slot, SpawnId, Time};
use svd_wire::Request;
use tokio::sync::{Semaphore, broadcast, mpsc, oneshot, watch};
use tokio::task::AbortHandle;

use super::Inner;
use super::cgroups::{Ground, OwnOoms};
use super::commits::Commits;
use super::errands::Errand;
use super::host::Host;
use super::intercept::SharedLedger;
use super::knock::Knock;
use super::limits::Fitting;
use super::notices::Messenger;
use super::ooms::OomWatch;
use super::place::Place;
use super::recycle::MemoryWatch;
use super::reload::Reloads;
use super::settings::Settings;
use super::spawns::Spawns;
use super::sweep::Sweeper;
use super::upgrade::Upgrade;
use super::usage::UsageSampler;
use super::wall::{WallClock, wall};
use super::zones::ZoneWatch;
use crate::ask::{Actor, Ask};
use crate::listen::{Key, Listeners};
use crate::logs::{LogEvent, Logs};
use crate::notify::Notices;
use crate::seam::{Link, LinkError, config_name, wish_to_memfd};

/// How long the end of svd waits for its last history and output to reach the disk.
pub const LAST_WORDS: Duration = Duration::from_secs(5);

/// So much is taken from each source in one turn.
const AT_ONCE: usize = 64;

/// How long the end of svd waits for those who are to be told of something.
const FAREWELL: Duration = Duration::from_secs(3);

/// What is known of the keeper.
#[derive(Clone, Debug)]
pub struct KeeperFacts {
    /// Random id of its life.
    pub boot: [u8; 16],
    /// Its process id.
    pub pid: i32,
    /// Which start of a manager this is.
    pub manager_starts: u32,
    /// The version of the protocol between it and this manager.
    pub protocol: u16,
    /// Its feature bits.
    pub features: u64,
    /// Its build, for people.
    pub build: String,
}

/// A command that has not ended.
#[derive(Default)]
pub struct Op {
    /// Whom to tell.
    pub reply: Option<oneshot::Sender<api::CommandResult>>,
    /// Who asked.
    pub actor: Option<Actor>,
    /// Why, as given.
    pub reason: Option<String>,
    /// The command in words: `stop web`.
    pub words: String,
    /// What was to be done, a line each.
    pub changes: Vec<String>,
    /// What has failed since, as targets of `why`.
    pub evidence: BTreeSet<String>,
}

/// All state of the manager.
pub struct App {
    pub(super) core: Core,
    pub(super) link: Link,
    pub(super) keeper: KeeperFacts,
    pub(super) place: Place,
    pub(super) settings: Settings,
    pub(super) logs: Logs,
    pub(super) commits: Commits,
    pub(super) spawns: Spawns,
    /// Spawns that had ended before this manager began, and whose they were: their ends may not be in history yet, and
    /// the keeper's report of them may come when the core needs the spawn no more.
    pub(super) ended_before: BTreeMap<SpawnId, InstanceName>,
    /// Commands that run beside spawns: for which, and to find out what.
    pub(super) sides: BTreeMap<u64, (SpawnId, Errand)>,
    pub(super) next_side: u64,
    /// Who is to be told of what has happened.
    pub(super) notices: Notices,
    /// Commands that tell of it.
    pub(super) messengers: BTreeMap<u64, Messenger>,
    /// Tries by HTTP that may still be made at once.
    pub(super) tries: Arc<Semaphore>,
    pub(super) listeners: Listeners,
    /// How the core last weighed the slots of each gated process.
    pub(super) weights: BTreeMap<Arc<str>, Vec<(Slot, u32)>>,
    /// What listens for names of Unix listeners that are taken away.
    pub(super) names: BTreeMap<Key, AbortHandle>,
    /// Probes that wait to be let through a gate.
    pub(super) knocks: VecDeque<Knock>,
    /// Reloads that wait for their instances.
    pub(super) reloads: Reloads,
    /// Intercepted calls that have no answer yet; `None` where there can be none.
    pub(super) ledger: Option<SharedLedger>,
    /// Processes whose programs cannot be intercepted: why.
    pub(super) not_intercepted: BTreeMap<Arc<str>, String>,
    /// Where cgroups are made.
    pub(super) cgroups: Arc<Ground>,
    /// Limits that cannot be had, by process.
    pub(super) lacks: BTreeMap<String, Vec<String>>,
    pub(super) fitting: Fitting,
    pub(super) own_ooms: OwnOoms,
    pub(super) oom_watch: OomWatch,
    pub(super) zones: ZoneWatch,
    /// How many runs of each job have come to each result since this manager began.
    pub(super) run_counts: BTreeMap<(String, &'static str), u64>,
    pub(super) memory_watch: MemoryWatch,
    pub(super) sweeper: Sweeper,
    pub(super) scan_due: bool,
    pub(super) ops: BTreeMap<OpId, Op>,
    pub(super) next_op: u64,
    pub(super) usage: UsageSampler,
    pub(super) warnings: Vec<String>,
    pub(super) dropping: BTreeMap<String, String>,
    /// Why the config on disk was refused, since it was last tried.
    pub(super) invalid: Option<String>,
    pub(super) inner: mpsc::UnboundedSender<Inner>,
    pub(super) events: broadcast::Sender<Arc<api::Event>>,
    pub(super) version: watch::Sender<u64>,
    pub(super) queue: VecDeque<Event>,
    pub(super) watched: Watched,
    pub(super) stopping: Stopping,
    /// When svd ends although somebody has not been told of it.
    pub(super) farewell: Option<Time>,
    pub(super) wish: Wish,
    pub(super) host: Host,
    pub(super) upgrade: Upgrade,
    pub(super) wall: WallClock,
}

/// Whether the keeper expects signs of life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Watched {
    /// Yes.
    On,
    /// No: an idle svd does not wake up.
    Off,
}

/// Whether the keeper holds what is desired as it is now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// Yes.
    Held,
    /// It has changed since.
    Changed,
}

/// Whether svd as a whole is stopping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stopping {
    /// It runs.
    No,
    /// A stop of everything was asked for.
    Asked,
    /// The manager before was asked for it. What it was asked may be told again by the keeper, and is then no haste.
    Inherited,
    /// Everything has stopped: svd ends with this code.
    Finished(u8),
}

/// Where the main loop's events come from.
pub struct Sources {
    /// Questions and orders of the control API.
    pub asks: mpsc::Receiver<Ask>,
    /// Results of tasks.
    pub inner: mpsc::UnboundedReceiver<Inner>,
    /// The log thread.
    pub logs: mpsc::UnboundedReceiver<LogEvent>,
}

/// What is left when everything has stopped.
pub struct Ended {
    /// svd's exit code.
    pub code: u8,
    /// The link, to tell the keeper.
    pub link: Link,
}

/// The instant, as the core counts.
pub fn now() -> Time {
    Time(svd_sys::clock::now().boot_ns)
}

impl App {
    /// Runs until everything has stopped.
    ///
    /// The futures waited on are all cancel-safe: a message is taken whole or stays where it is.
    pub async fn run(mut self, mut sources: Sources) -> Result<Ended, LinkError> {
        self.watch_names();
        self.turn(Event::AdoptEnd)?;
        self.settle()?;
        self.weigh_the_rest();
        self.drop_unused_listeners()?;
        loop {
            let mut deadline = self.core.next_deadline();
            if let Stopping::Finished(code) = self.stopping {
                // Whoever is to be told of it gets a moment for it. What is left then is told when svd starts again.
                let farewell = *self.farewell.get_or_insert_with(|| now().after(FAREWELL));
                if self.notices.is_idle() && self.commits.is_idle() || farewell <= now() {
                    return self.finish(code).await;
                }
                deadline = Some(farewell);
            }
            self.wall.arm(self.core.next_wall());
            tokio::select! {
                biased;
                report = self.link.recv() => {
                    let (report, fds) = report.map_err(|error| self.upgrade.explain(error))?;
                    self.report(report, fds)?;
                }
                committed = self.commits.next() => self.committed(committed)?,
                Some(inner) = sources.inner.recv() => self.inner(inner)?,
                Some(event) = sources.logs.recv() => self.log_event(event)?,
                Some(ask) = sources.asks.recv() => self.ask(ask)?,
                () = until(deadline) => self.turn(Event::Tick)?,
                () = self.wall.rang() => self.turn(Event::Tick)?,
            }
            self.take_what_is_there(&mut sources)?;
            self.settle()?;
        }
    }

    /// What is there already goes into the same turn and the same transaction, within reason.
    fn take_what_is_there(&mut self, sources: &mut Sources) -> Result<(), LinkError> {
        for _ in 0..AT_ONCE {
            let report = self.link.try_recv().map_err(|error| self.upgrade.explain(error))?;
            let (inner, event) = (sources.inner.try_recv(), sources.logs.try_recv());
            if report.is_none() && inner.is_err() && event.is_err() {
                break;
            }
            if let Some((report, fds)) = report {
                self.report(report, fds)?;
            }
            if let Ok(inner) = inner {
                self.inner(inner)?;
            }
            if let Ok(event) = event {
                self.log_event(event)?;
            }
        }
        Ok(())
    }

    /// Tells the core and performs what that asks for of the spawn in question. What follows for all others is worked out
    /// once for everything that has come at once, at the end of the turn.
    pub(super) fn turn(&mut self, event: Event) -> Result<(), LinkError> {
        self.queue.push_back(event);
        while let Some(event) = self.queue.pop_front() {
            self.core.set_wall(wall());
            let actions = self.core.take(now(), event);
            self.perform_all(actions)?;
        }
        Ok(())
    }

    /// Performs a batch. What is desired by the end of it goes to the keeper before anything else of it is done: a manager
    /// that takes over in the middle then knows all of what some of which was done.
    fn perform_all(&mut self, actions: Vec<Action>) -> Result<(), LinkError> {
        for action in actions {
            match action {
                Action::Persist(_) | Action::TakeBack { .. } | Action::DropOther => {}
                Action::Spawn { .. }
                | Action::Probe { .. }
                | Action::Recall { .. }
                | Action::EmptyStore { .. }
                | Action::Signal { .. }
                | Action::Sweep { .. }
                | Action::Annotate { .. }
                | Action::Forget { .. }
                | Action::Record(_)
                | Action::Done { .. }
                | Action::Gate { .. }
                | Action::WatchQueue { .. }
                | Action::ProveDrained { .. }
                | Action::Watch { .. }
                | Action::Jobs(_)
                | Action::RunNews(_)
                | Action::Ran { .. }
                | Action::Finish { .. } => self.tell_wish()?,
            }
            self.perform(action)?;
        }
        Ok(())
    }

    /// Performs what follows from all that the core was told.
    fn conclude(&mut self) -> Result<(), LinkError> {
        loop {
            self.core.set_wall(wall());
            let actions = self.core.conclude(now());
            self.perform_all(actions)?;
            let Some(event) = self.queue.pop_front() else { return Ok(()) };
            self.turn(event)?;
        }
    }

    /// The end of a turn: what it gathered is sent on its way.
    fn settle(&mut self) -> Result<(), LinkError> {
        self.tell_wish()?;
        self.conclude()?;
        // The keeper knows at least as much as the store.
        self.tell_wish()?;
        self.commits.submit();
        if std::mem::take(&mut self.scan_due) {
            self.scan();
        }
        self.host_settle()?;
        let wanted = if self.core.busy() { Watched::On } else { Watched::Off };
        if wanted != self.watched {
            self.watched = wanted;
            self.link.send(&Request::Watch { on: wanted == Watched::On }, Vec::new())?;
        }
        Ok(())
    }

    /// Has the keeper hold what is desired and which configs that is about, where it has changed.
    fn tell_wish(&mut self) -> Result<(), LinkError> {
        if self.wish == Wish::Held {
            return Ok(());
        }
        self.wish = Wish::Held;
        self.settings.turn_to(self.core.plan());
        let memfd = wish_to_memfd(self.core.desired(), &self.settings.configs())?;
        self.link.send(&Request::Hold { name: super::boot::DESIRED.into() }, vec![memfd])?;
        for number in self.settings.take_obsolete() {
            self.link.send(&Request::Drop { name: config_name(number) }, Vec::new())?;
        }
        // Which plan a spawn runs by may just have changed.
        self.look_for_lacks();
        self.fit_limits();
        Ok(())
    }

    /// Scans the tree for those who are left.
    pub(super) fn scan(&mut self) {
        let mains = self.spawns.values().filter_map(super::spawns::Spawn::pid);
        let known = mains.chain([svd_sys::process::pid()]).collect::<Vec<_>>();
        self.sweeper.scan(known.into_iter());
    }

    fn inner(&mut self, inner: Inner) -> Result<(), LinkError> {
        match inner {
            Inner::Evidence(spawn) => self.evidence(spawn),
            Inner::ProbeFailed(spawn, why) => self.not_ready(spawn, why),
            Inner::ErrandAgain(spawn, errand) => self.errand(spawn, errand),
            Inner::ErrandLate(id) => self.errand_late(id),
            Inner::NoticeLate(id) => self.notice_late(id),
            Inner::NoticeSaid(id, said) => self.notice_said(id, said),
            Inner::NoticeOfRun(found) => self.tell_of_run(*found),
            Inner::Posted(notice, told) => self.told(&notice, told),
            Inner::ReloadLate => {
                self.look_at_reloads();
                Ok(())
            }
            Inner::Knock(knock) => {
                self.knock(knock);
                Ok(())
            }
            Inner::KnockOver(key, source) => {
                self.knock_over(&key, source);
                Ok(())
            }
            Inner::Intercepted(spawn, seen) => self.intercepted(spawn, seen),
            Inner::NamesChanged(process) => {
                self.listeners.mend(&process);
                Ok(())
            }
            Inner::ZonesChanged => self.zones_changed(),
            Inner::UpgradeLate(token) => self.upgrade_late(&token),
            Inner::Upgradable(checked) => self.upgrade_checked(*checked),
            Inner::QueueEmpty(spawn) => self.turn(Event::QueueEmpty { spawn }),
            Inner::Health(spawn, result) => self.health(spawn, result),
            Inner::HostExtend => self.host_extend(),
            Inner::MemoryDue => {
                self.memory_due();
                Ok(())
            }
            Inner::MemoryOver(over) => self.memory_over(over),
            Inner::OomsChanged(files) => {
                self.ooms_changed(files);
                Ok(())
            }
            Inner::LimitsFitted(fitted) => {
                self.limits_fitted(fitted);
                Ok(())
            }
            Inner::Swept(found) => {
                let (empty, due) = self.sweeper.take(found);
                self.scan_due |= due == super::sweep::ScanDue::Now;
                for spawn in empty {
                    self.leave_cgroup(spawn);
                    if self.messenger_gone(spawn) {
                        continue;
                    }
                    self.turn(Event::TreeEmpty { spawn })?;
                    if let Some(process) = self.spawns.get(&spawn).map(|spawn| spawn.instance.process.clone()) {
                        self.close_abandoned(&process);
                    }
                }
                Ok(())
            }
            Inner::ScanAgain => {
                self.scan_due = true;
                Ok(())
            }
        }
    }

    fn committed(&mut self, committed: super::commits::Committed) -> Result<(), LinkError> {
        for run in committed.runs {
            self.turn(Event::RunRecorded { run })?;
        }
        if let Some(through) = committed.ack {
            self.link.send(&Request::Ack { through }, Vec::new())?;
        }
        for spawn in committed.forget {
            self.link.send(&Request::Forget { spawn }, Vec::new())?;
        }
        for event in committed.events {
            self.notice(&event);
            // Nobody may be listening.
            let _nobody = self.events.send(event);
        }
        if committed.upgrade_seen {
            self.link.send(&Request::UpgradeSeen, Vec::new())?;
        }
        self.version.send_modify(|version| *version = version.wrapping_add(1));
        for (reply, result) in committed.replies {
            let _left = reply.send(result);
        }
        self.tell_next()?;
        self.upgrade_when_stored()
    }

    /// Registers a command and gives it to the core.
    pub(super) fn order(&mut self, op: Op, command: Command) -> Result<(), LinkError> {
        self.next_op = self.next_op.saturating_add(1);
        let id = OpId(self.next_op);
        if matches!(command, Command::Shutdown { .. }) {
            self.stopping = Stopping::Asked;
        }
        self.ops.insert(id, op);
        self.turn(Event::Command { op: id, command })
    }

    /// Everything has stopped: the last history and output reach the disk.
    async fn finish(mut self, code: u8) -> Result<Ended, LinkError> {
        self.commits.submit();
        while !self.commits.is_idle() {
            match tokio::time::timeout(LAST_WORDS, self.commits.next()).await {
                Ok(committed) => self.committed(committed)?,
                Err(_late) => {
                    tracing::error!("the last history could not be stored in time");
                    break;
                }
            }
        }
        self.logs.shutdown(LAST_WORDS).await;
        self.listeners.remove_files();
        self.end_cgroups();
        Ok(Ended { code, link: self.link })
    }
}

/// Waits until the instant; for ever where there is none.
///
/// tokio's clock stands still while the machine sleeps and the core's does not: after a suspend a timer may come late by what
/// was left of it, never early.
async fn until(deadline: Option<Time>) {
    match deadline {
        None => std::future::pending().await,
        Some(deadline) => tokio::time::sleep(deadline.since(now())).await,
    }
}
