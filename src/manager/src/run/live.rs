//! The manager's main loop, put together on what [`super::boot`] has laid.

use std::collections::{BTreeMap, VecDeque};
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::time::Duration;

use svd_core::{Command, Core, Mode, SpawnId};
use svd_wire::{Request, SAFE_MODE_VARIABLE};
use tokio::sync::{Semaphore, broadcast, mpsc, watch};

use super::app::{App, Ended, KeeperFacts, LAST_WORDS, Op, Sources, Stopping, Watched, Wish};
use super::boot::{BootError, STOPPING, stored};
use super::cgroups::{Ground as Cgroups, OwnOoms};
use super::commits::Commits;
use super::host::{Above, Host};
use super::intercepted::{LEDGER, held_ledger};
use super::limits::Fitting;
use super::ooms::OomWatch;
use super::place::Place;
use super::recycle::MemoryWatch;
use super::reload::Reloads;
use super::reports::exit_status;
use super::settings::Settings;
use super::spawns::Spawns;
use super::sweep::Sweeper;
use super::terminal::Terminal;
use super::upgrade::Upgrade;
use super::usage::UsageSampler;
use super::wall::{WallClock, wall};
use super::zones::ZoneWatch;
use crate::ask::Handle;
use crate::cli::RunArgs;
use crate::http::{self, Access, ApiState};
use crate::listen::Listeners;
use crate::logs::{Logs, Printed};
use crate::notify::MOST_TRIES;
use crate::plan::ControlGroups;
use crate::seam::{Inventory, Link};
use crate::store::{NewEvent, Store};

/// How long open answers of the API may take at the end.
const API_END: Duration = Duration::from_secs(3);

/// What stands after the start, however it came about.
pub(super) struct Ground {
    pub(super) settings: Settings,
    pub(super) listeners: Listeners,
    pub(super) place: Place,
    pub(super) groups: ControlGroups,
    pub(super) control: UnixListener,
    /// What the foreground has printed; `None` where that is not known.
    pub(super) printed: Option<Printed>,
    /// Where cgroups are made.
    pub(super) cgroups: Cgroups,
    pub(super) store: Store,
    /// It is this manager's memory, while there is a real one.
    pub(super) stand_in: bool,
    pub(super) desired: svd_core::Desired,
    /// What of it is not in the store yet.
    pub(super) unstored: Vec<svd_core::Change>,
    pub(super) warnings: Vec<String>,
    pub(super) above: Above,
    /// Names of what the keeper is to let go, which may be asked of it only when the inventory was taken in.
    pub(super) obsolete: Vec<String>,
}

/// Puts everything together and runs the main loop.
pub(super) async fn live(
    args: &RunArgs,
    link: Link,
    mut inventory: Inventory,
    ground: Ground,
) -> Result<u8, BootError> {
    let Ground {
        settings,
        listeners,
        place,
        groups,
        control,
        printed,
        cgroups,
        store,
        stand_in,
        desired,
        unstored,
        warnings,
        above,
        obsolete: _,
    } = ground;
    let (log_events, logs_in) = mpsc::unbounded_channel();
    let (inner, inner_in) = mpsc::unbounded_channel();
    let (asks, asks_in) = mpsc::channel(256);
    let (events, _) = broadcast::channel(1024);
    let (version, version_in) = watch::channel(0);
    let (end_api, api_end) = watch::channel(false);
    let logs = Logs::start(place.logs(), log_events)
        .map_err(|error| BootError::Other(format!("the log thread cannot be started: {error}")))?;
    let terminal = Terminal::start(args.log_format, &settings.in_force().plan, &logs, printed, events.subscribe());
    let handle = Handle { asks, events: events.clone(), version: version_in };
    let access = Access { own_uid: svd_sys::process::uid(), socket_group: groups.socket, read_group: groups.read };
    let jobs = stored(store.jobs().await)?;
    let api = ApiState { handle, store: store.clone(), access, logs: logs.clone() };
    control.set_nonblocking(true).map_err(|error| BootError::Link(error.into()))?;
    let api = tokio::spawn(http::serve(control, api, api_end));
    // Even wire numbers are the core's, odd ones side commands.
    let last = inventory.last_spawn / 2;
    let plan = settings.in_force().plan.clone();
    // Where generations are told to run by a config that is gone, they run by the one in force.
    let other = match (settings.other(), desired.boundaries.is_empty()) {
        (Some(other), _) => Some(other.plan.clone()),
        (None, false) => Some(plan.clone()),
        (None, true) => None,
    };
    let notices = super::notices::outstanding(&store, &plan).await;
    let mut app = App {
        core: Core::new(plan, other, desired, SpawnId(last)),
        link,
        keeper: KeeperFacts {
            boot: inventory.boot,
            pid: inventory.keeper_pid,
            manager_starts: inventory.manager_starts,
            protocol: inventory.protocol,
            features: inventory.keeper_features,
            build: std::mem::take(&mut inventory.keeper_build),
        },
        settings,
        place,
        logs,
        commits: Commits::new(store),
        spawns: Spawns::new(),
        ended_before: BTreeMap::new(),
        sides: BTreeMap::new(),
        next_side: last.saturating_mul(2).saturating_add(3),
        notices,
        messengers: BTreeMap::new(),
        tries: Arc::new(Semaphore::new(MOST_TRIES)),
        listeners,
        weights: BTreeMap::new(),
        names: BTreeMap::new(),
        knocks: VecDeque::new(),
        reloads: Reloads::default(),
        ledger: inventory.named.remove(LEDGER).and_then(held_ledger),
        not_intercepted: BTreeMap::new(),
        cgroups: Arc::new(cgroups),
        lacks: BTreeMap::new(),
        fitting: Fitting::Idle,
        own_ooms: OwnOoms::of(inventory.keeper_pid),
        oom_watch: OomWatch::default(),
        zones: ZoneWatch::default(),
        run_counts: BTreeMap::new(),
        memory_watch: MemoryWatch::Off,
        sweeper: Sweeper::new(inventory.keeper_pid, inner.clone()),
        scan_due: false,
        ops: BTreeMap::new(),
        next_op: 0,
        usage: UsageSampler::default(),
        warnings,
        dropping: BTreeMap::new(),
        invalid: None,
        inner,
        events,
        version,
        queue: Default::default(),
        watched: Watched::Off,
        stopping: Stopping::No,
        farewell: None,
        wish: Wish::Changed,
        host: Host::new(above),
        upgrade: Upgrade::below(inventory.keeper_features),
        wall: WallClock::default(),
    };
    for change in unstored {
        app.commits.change(change);
    }
    let mode = safe_mode();
    app.core.set_mode(mode);
    if mode == Mode::Safe {
        tracing::error!("{SAFE_MODE}");
        app.warnings.insert(0, SAFE_MODE.to_owned());
        app.commits.event(NewEvent {
            time_ns: svd_sys::clock::now().real_ns,
            kind: "manager.safe_mode".into(),
            message: SAFE_MODE.into(),
            ..NewEvent::default()
        });
    }
    let zones = app.zones.of(app.settings.plans(), &app.inner);
    app.core.load_jobs(jobs, zones, wall());
    if stand_in {
        app.core.hold_jobs();
    }
    app.commits.event(begun(&inventory));
    for found in inventory.spawns {
        app.adopt(found)?;
    }
    app.clear_ledger();
    app.notices.open();
    app.tell_next()?;
    if inventory.named.contains_key(STOPPING) {
        let op = Op { words: "shutdown".into(), ..Op::default() };
        app.order(op, Command::Shutdown { now: false })?;
        app.stopping = Stopping::Inherited;
    }
    let socket = app.place.control();
    let Ended { code, mut link } = app.run(Sources { asks: asks_in, inner: inner_in, logs: logs_in }).await?;
    // Whoever asked for the end gets an answer. The API may already have ended by itself; both ways it is over.
    let _ended = end_api.send(true);
    let _late = tokio::time::timeout(API_END, api).await;
    // Nobody answers there any more. A socket that somebody removed already is as good.
    let _gone = std::fs::remove_file(socket);
    terminal.finish(LAST_WORDS).await;
    link.send(&Request::Exit { code }, Vec::new())?;
    link.flush().await?;
    // The keeper ends this process too, when it has taken the message in.
    let _closed = tokio::time::timeout(LAST_WORDS, link.recv()).await;
    Ok(code)
}

/// What everybody is told in safe mode.
const SAFE_MODE: &str = "safe mode: managers crashed again and again, so this one keeps what runs and starts nothing; `svctl events` and \
                         svd.log tell what the others said; `svctl upgrade` puts a sound svd in its place, or tries this one again";

/// Whether the keeper has started this manager in safe mode.
pub(super) fn safe_mode() -> Mode {
    if std::env::var_os(SAFE_MODE_VARIABLE).is_some() { Mode::Safe } else { Mode::Normal }
}

fn begun(inventory: &Inventory) -> NewEvent {
    let before = match inventory.last_death {
        // Only one that makes way for another build ends so.
        Some(svd_wire::Exit::Code(0)) => "; the one before made way for it".to_owned(),
        Some(exit) => format!("; the one before {}", exit_status(exit)),
        None => String::new(),
    };
    NewEvent {
        time_ns: svd_sys::clock::now().real_ns,
        kind: if inventory.manager_starts > 1 { "manager.replaced".into() } else { "manager.started".into() },
        pid: Some(svd_sys::process::pid()),
        message: format!("manager number {} started{before}", inventory.manager_starts),
        ..NewEvent::default()
    }
}
