//! All that the keeper knows, without any descriptor: what [`crate::step`] changes and [`crate::outbox`] tells.

use crate::stores::Stores;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use svd_sys::clock::Now;
use svd_wire::{
    Exit, FdRole, Instance, Life, NotifyState, Phase, Report, SignalSent, SpawnError, SpawnId, Stamp, StoreSpec,
    UpgradeOutcome,
};

/// Nanoseconds of CLOCK_MONOTONIC, as all deadlines are.
pub type Instant = u64;

/// One spawn.
#[derive(Debug)]
pub struct Record {
    /// Written on it at spawn.
    pub tag: Vec<u8>,
    /// Written on it since.
    pub note: Vec<u8>,
    /// Where it is in its life.
    pub life: Life,
    /// Why it will not become a program, from its status pipe; it is told when it is reaped.
    pub failure: Option<SpawnError>,
    /// Descriptors held for it.
    pub held: Vec<FdRole>,
    /// Last signal on request.
    pub last_signal: Option<SignalSent>,
    /// What it said over its notify socket.
    pub notify: NotifyState,
    /// How often that was told lately.
    pub pace: Pace,
    /// The store of descriptors that it may fill.
    pub store: Option<StoreSpec>,
    /// The number of its last report; 0 when none yet.
    pub last_seq: u64,
    /// The manager does not need the record any more.
    pub forget: Forget,
}

/// How often a manager was told lately what a service has said. A service that never stops talking must not keep a manager
/// from all else.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pace {
    /// Since when is counted.
    since: Instant,
    /// So often.
    told: u32,
}

impl Pace {
    const BURST: u32 = 16;
    const WINDOW: Instant = 250_000_000;

    /// When it may be told again.
    pub fn opens(self) -> Instant {
        if self.told < Self::BURST { 0 } else { self.since.saturating_add(Self::WINDOW) }
    }

    /// It was told.
    pub fn count(&mut self, now: Instant) {
        if now >= self.since.saturating_add(Self::WINDOW) {
            *self = Pace { since: now, told: 0 };
        }
        self.told = self.told.saturating_add(1);
    }
}

/// Whether a record is still needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forget {
    /// It is.
    Keep,
    /// It goes as soon as the process has ended and its reports are acknowledged.
    WhenDone,
}

impl Record {
    /// The process id while the process is not reaped.
    pub fn living(&self) -> Option<i32> {
        match self.life {
            Life::Forked { pid, .. } | Life::Running { pid, .. } => Some(pid),
            Life::Failed { .. } | Life::Exited { .. } => None,
        }
    }

    /// What it has said, with what is in its store by now.
    pub fn said(&self, stores: &Stores) -> NotifyState {
        let stored = self.store.as_ref().map(|store| stores.names(&store.name)).unwrap_or_default();
        NotifyState { stored, ..self.notify.clone() }
    }

    /// The line of the inventory.
    pub fn instance(&self, spawn: SpawnId, stores: &Stores) -> Instance {
        Instance {
            spawn,
            tag: self.tag.clone(),
            note: self.note.clone(),
            life: self.life,
            pidfd: self.living().is_some(),
            held: self.held.clone(),
            last_signal: self.last_signal,
            notify: self.said(stores),
        }
    }
}

/// One part of what a new manager is told first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Handover {
    /// The greeting.
    Welcome,
    /// A named descriptor.
    Held(String),
    /// A record.
    Instance(SpawnId),
    /// The end, with how many of both there were.
    End {
        /// Records.
        instances: u32,
        /// Named descriptors.
        held: u32,
    },
}

/// The question whether the manager is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ping {
    /// Not asked; the last sign of life.
    Answered(Instant),
    /// To be asked as soon as the socket takes it.
    Wanted(Instant),
    /// Asked at.
    Asked(Instant),
}

/// How a manager that is up stands.
#[derive(Debug)]
pub struct Conversation {
    /// Where the conversation is.
    pub phase: Phase,
    /// What is left to tell before it can be live.
    pub handover: VecDeque<Handover>,
    /// Numbered reports up to this one were sent to it.
    pub sent_through: u64,
    /// The heartbeat.
    pub ping: Ping,
    /// Whether a heartbeat is wanted all the time.
    pub watch: bool,
    /// The version of the protocol that both speak.
    pub version: u16,
    /// The feature bits of the manager.
    pub features: u64,
    /// Whether it was told how the upgrade stands.
    pub upgrade: Told,
}

/// Whether the manager knows something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// It does, or there is nothing to know.
    Yes,
    /// It is to be told.
    No,
}

/// An upgrade. `note` is what the manager wrote on it; it is told again with the outcome.
///
/// ```text
/// None --UpgradeManager--> Switching(Old) --it ends--> Switching(New) --live--> Switching(Probation) --answers--> Done(ManagerRuns)
///                              New, Probation --it ends, or is late--> Done(ManagerRefused), the former program is taken again
/// None, Done --UpgradeKeeper--> Trial --passed--> Proven --a manager is live--> exec, then Done(KeeperRuns)
///                                 |                 |--exec fails-------------> Done(KeeperRefused)
///                                 |--any other end, or too late---------------> Done(KeeperRefused)
/// Done --UpgradeSeen--> None
/// ```
///
/// Nothing else is requested while one is under way: the manager is told that it is.
#[derive(Debug, PartialEq, Eq)]
pub enum Upgrade {
    /// There is none.
    None,
    /// Managers are run from the new program from now on.
    Switching {
        /// The note.
        note: Vec<u8>,
        /// Whose turn it is.
        turn: Turn,
        /// How often somebody else has killed the new one, which says nothing of the program.
        killed: u32,
        /// What the new one did wrong, where it is known better than by its exit.
        why: Option<String>,
    },
    /// The program to become reads the state in a process of its own.
    Trial {
        /// The note.
        note: Vec<u8>,
        /// That process; `None` while it is being forked.
        pid: Option<i32>,
        /// When it gets KILL; `None` when it got that.
        kill_at: Option<Instant>,
    },
    /// It can read it, and is become as soon as a manager is live.
    Proven {
        /// The note.
        note: Vec<u8>,
    },
    /// It is over, and the outcome not yet stored by a manager.
    Done {
        /// The note.
        note: Vec<u8>,
        /// The outcome.
        outcome: UpgradeOutcome,
    },
}

/// Which manager an upgrade waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// For the end of the old one.
    Old,
    /// For the new one to become live.
    New,
    /// For the new one to answer a question: it is live before it has done anything.
    Probation,
}

/// The manager process.
#[derive(Debug)]
pub enum Manager {
    /// None; the next one is started then.
    Absent {
        /// When.
        retry_at: Instant,
    },
    /// Being forked in this very turn.
    Starting,
    /// It runs and is talked to.
    Up {
        /// Its process id.
        pid: i32,
        /// When it was started.
        since: Instant,
        /// When it became live.
        live_since: Option<Instant>,
        /// The conversation.
        talk: Box<Conversation>,
    },
    /// It was told to die and is no longer talked to.
    Dying {
        /// Its process id.
        pid: i32,
        /// When it became live.
        live_since: Option<Instant>,
        /// When it gets KILL; `None` when it got that.
        kill_at: Option<Instant>,
    },
}

/// What the keeper is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Keeping a manager and its processes.
    Serving,
    /// Shutting down by itself: the main processes were sent TERM.
    Stopping {
        /// When it gives up waiting.
        until: Instant,
    },
    /// Everything gets KILL; leaves with this code when nobody is left.
    Ending {
        /// The exit code.
        code: u8,
        /// When it gives up waiting.
        until: Instant,
    },
}

/// Everything.
#[derive(Debug)]
pub struct Table {
    /// All spawns, live and ended.
    pub records: BTreeMap<SpawnId, Record>,
    /// Living main processes.
    pub by_pid: HashMap<i32, SpawnId>,
    /// Names of held descriptors.
    pub named: BTreeSet<String>,
    /// Numbered reports that are not acknowledged, oldest first, without gaps.
    pub pending: VecDeque<Report>,
    /// The number of the last numbered report.
    pub last_seq: u64,
    /// Since when the oldest of `pending` waits.
    pub pending_since: Instant,
    /// Spawns whose notify state a live manager has not been told.
    pub dirty: BTreeSet<SpawnId>,
    /// Spawns whose notify state the manager has asked for.
    pub recalled: BTreeSet<SpawnId>,
    /// What is in the stores of descriptors.
    pub stores: Stores,
    /// Largest spawn id ever.
    pub last_spawn: SpawnId,
    /// Zombies that were no main process.
    pub orphans_reaped: u64,
    /// The manager.
    pub manager: Manager,
    /// Starts of managers so far.
    pub starts: u32,
    /// How the last one ended.
    pub last_death: Option<Exit>,
    /// Whether one was ever live.
    pub ever_live: bool,
    /// Managers in a row that did not become live.
    pub failures: u32,
    /// Starts in a row since one lived long.
    pub quick_deaths: u32,
    /// Managers in a row that crashed soon after their start. Those that somebody else has killed do not count.
    pub crashes: u32,
    /// Whether all is to end where no manager can be kept running.
    pub exit_without_manager: bool,
    /// A stop was asked for while no manager was live; the keeper stops by itself then.
    pub stop_by: Option<Instant>,
    /// What the keeper is about.
    pub mode: Mode,
    /// The upgrade.
    pub upgrade: Upgrade,
    /// Names this keeper's life.
    pub boot: [u8; 16],
    /// Its process id.
    pub keeper_pid: i32,
    /// Feature bits that this keeper has by what is above it, beside those that each of its build has.
    pub features: u64,
}

impl Table {
    /// An empty one, about to start the first manager.
    pub fn new(boot: [u8; 16], keeper_pid: i32) -> Self {
        Table {
            records: BTreeMap::new(),
            by_pid: HashMap::new(),
            named: BTreeSet::new(),
            pending: VecDeque::new(),
            last_seq: 0,
            pending_since: 0,
            dirty: BTreeSet::new(),
            recalled: BTreeSet::new(),
            stores: Stores::default(),
            last_spawn: SpawnId(0),
            orphans_reaped: 0,
            manager: Manager::Absent { retry_at: 0 },
            starts: 0,
            last_death: None,
            ever_live: false,
            failures: 0,
            quick_deaths: 0,
            crashes: 0,
            exit_without_manager: false,
            stop_by: None,
            mode: Mode::Serving,
            upgrade: Upgrade::None,
            boot,
            keeper_pid,
            features: 0,
        }
    }

    /// Something has been put into this store or taken out of it.
    pub fn store_changed(&mut self, store: &str) {
        let its = |record: &Record| record.store.as_ref().is_some_and(|spec| spec.name == store);
        let users = self.records.iter().filter(|(_, record)| its(record)).map(|(spawn, _)| *spawn);
        self.dirty.extend(users);
    }

    /// The number of the last acknowledged report.
    pub fn acked_through(&self) -> u64 {
        self.last_seq.saturating_sub(u64::try_from(self.pending.len()).unwrap_or(u64::MAX))
    }

    /// The conversation with a manager that is talked to.
    pub fn talk(&mut self) -> Option<&mut Conversation> {
        match &mut self.manager {
            Manager::Up { talk, .. } => Some(talk),
            Manager::Absent { .. } | Manager::Starting | Manager::Dying { .. } => None,
        }
    }

    /// Whether a manager is live.
    pub fn is_live(&self) -> bool {
        matches!(&self.manager, Manager::Up { talk, .. } if talk.phase == Phase::Live)
    }
}

/// The part of an instant that records carry.
pub fn stamp(now: Now) -> Stamp {
    Stamp { boot_ns: now.boot_ns, real_ns: now.real_ns }
}
