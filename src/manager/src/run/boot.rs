//! How a manager comes to be: afresh, from files, or in the place of one that died, from what the keeper holds.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use svd_config::plan::{ControlPlan, WithoutManager};
use svd_core::{Command, Core, Mode, SpawnId};
use svd_sys::lock::{LockError, lock_file};
use svd_wire::{FEATURE_SAFE_MODE, Life, Request, SAFE_MODE_VARIABLE};
use tokio::sync::oneshot::error::RecvError;
use tokio::sync::{broadcast, mpsc, watch};

use super::app::{App, Ended, KeeperFacts, LAST_WORDS, Op, Sources, Stopping, Watched, Wish};
use super::cgroups::{Ground as Cgroups, OwnOoms};
use super::commits::Commits;
use super::host::{Above, Host};
use super::intercepted::{LEDGER, held_ledger};
use super::limits::Fitting;
use super::place::{Place, RootAsked};
use super::recycle::MemoryWatch;
use super::reload::Reloads;
use super::reports::exit_status;
use super::settings::{Setting, Settings};
use super::spawns::Spawns;
use super::sweep::Sweeper;
use super::terminal::Terminal;
use super::upgrade::Upgrade;
use super::usage::UsageSampler;
use super::wall::{WallClock, wall};
use crate::ask::Handle;
use crate::cli::RunArgs;
use crate::http::{self, Access, ApiState};
use crate::listen::{Key, Listeners, take_handed};
use crate::logs::{Logs, Printed};
use crate::plan::{self, ControlGroups, LoadError, Loaded, Snapshot};
use crate::seam::{Configs, Found, Inventory, Link, LinkError, Tag, config_name, config_number, wish_from_memfd};
use crate::store::{NewEvent, Place as StorePlace, Store, StoreError};

/// Name under which the keeper holds the control socket's listener. The keeper watches it to know that a manager is wanted.
const CONTROL: &str = "control";
/// Name under which the keeper holds the lock.
const LOCK: &str = "lock";
/// Name under which the keeper holds the lock of the runtime directory, where that is not in the state directory.
const RUNTIME_LOCK: &str = "runtime-lock";
/// Name under which the keeper holds the notes of what the foreground has printed.
const PRINTED: &str = "printed";
/// Name under which the keeper holds what is desired, and which of the configs it holds that is about.
pub const DESIRED: &str = "desired";
/// Name under which the keeper holds where cgroups are made.
const CGROUPS: &str = "cgroups";
/// The number of the config that svd is started with.
const FIRST_CONFIG: u64 = 1;
/// Name under which the keeper is told that svd stops all.
pub const STOPPING: &str = "stopping";
/// How long open answers of the API may take at the end.
const API_END: Duration = Duration::from_secs(3);

/// Why a manager could not begin.
#[derive(Debug, thiserror::Error)]
enum BootError {
    /// The link broke.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// The config is wrong: told already, exit 2.
    #[error("{0}")]
    Config(String),
    /// Anything else: exit 1.
    #[error("{0}")]
    Other(String),
}

/// What stands after the start, however it came about.
struct Ground {
    settings: Settings,
    listeners: Listeners,
    place: Place,
    groups: ControlGroups,
    control: UnixListener,
    /// What the foreground has printed; `None` where that is not known.
    printed: Option<Printed>,
    /// Where cgroups are made.
    cgroups: Cgroups,
    store: Store,
    /// It is this manager's memory, while there is a real one.
    stand_in: bool,
    desired: svd_core::Desired,
    warnings: Vec<String>,
    above: Above,
    /// Names of what the keeper is to let go, which may be asked of it only when the inventory was taken in.
    obsolete: Vec<String>,
}

/// Runs the manager on this link to its keeper. Returns svd's exit code.
pub fn run(args: &RunArgs, socket: OwnedFd) -> u8 {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            crate::say::line(&format!("svd: the manager cannot start: {error}"));
            return 1;
        }
    };
    let result = runtime.block_on(begin(args, socket));
    // What still runs on other threads (a scan of processes) is not waited for.
    runtime.shutdown_background();
    match result {
        Ok(code) => code,
        Err(error) => {
            match error {
                BootError::Link(LinkError::Replaced) => tracing::info!(%error, "the manager ends"),
                _ => tracing::error!(%error, "the manager ends"),
            }
            match error {
                BootError::Config(text) => {
                    crate::say::line(text.trim_end());
                    2
                }
                BootError::Link(LinkError::Replaced) => 0,
                BootError::Link(LinkError::Closed) => 1,
                BootError::Link(_) | BootError::Other(_) => {
                    crate::say::line(&format!("svd: {error}"));
                    1
                }
            }
        }
    }
}

async fn begin(args: &RunArgs, socket: OwnedFd) -> Result<u8, BootError> {
    let mut link = Link::new(socket)?;
    let mut inventory = Inventory::take(&mut link).await?;
    let configs = configs(&mut inventory);
    let mut ground = match configs.is_empty() {
        true => afresh(args, &mut link, &mut inventory).await?,
        false => take_over(configs, &mut link, &mut inventory).await?,
    };
    crate::own_log::start(&ground.place.root);
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        start = inventory.manager_starts,
        spawns = inventory.spawns.len(),
        "manager started"
    );
    link.send(&Request::Ready, Vec::new())?;
    if inventory.keeper_features & FEATURE_SAFE_MODE != 0 {
        let exit = ground.settings.in_force().plan.control.without_manager == WithoutManager::Exit;
        link.send(&Request::WithoutManager { exit }, Vec::new())?;
    }
    for name in std::mem::take(&mut ground.obsolete) {
        link.send(&Request::Drop { name }, Vec::new())?;
    }
    live(args, link, inventory, ground).await
}

/// The first manager: everything is checked before anything is touched, and what a successor needs is given to the keeper.
async fn afresh(args: &RunArgs, link: &mut Link, inventory: &mut Inventory) -> Result<Ground, BootError> {
    let inherited: BTreeMap<String, String> = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    let loaded = plan::from_disk(args, &inherited).map_err(told)?;
    for warning in &loaded.warnings {
        crate::say::line(&format!("svd: {warning}"));
    }
    let app = &loaded.plan.app;
    let uid = svd_sys::process::uid();
    let asked = if args.root.is_some() || inherited.get("SVD_ROOT").is_some_and(|root| !root.is_empty()) {
        RootAsked::ByName
    } else {
        RootAsked::Default
    };
    let absolute = |path: std::path::PathBuf| std::path::absolute(&path).unwrap_or(path);
    let root = absolute(svd_config::paths::state_root(uid, &inherited, app, args.root.as_deref()));
    let runtime = absolute(svd_config::paths::runtime_dir(uid, &inherited, app, args.root.as_deref()));
    let place = Place::prepare(root, runtime, asked, app).map_err(BootError::Other)?;
    if let Some(told) = &place.volatile {
        crate::say::line(&format!("svd: {told}"));
    }
    let mut locks = Vec::new();
    for (name, dir) in [(LOCK, Some(&place.root)), (RUNTIME_LOCK, place.runtime_apart())] {
        let Some(dir) = dir else { continue };
        let lock = match inventory.named.remove(name) {
            Some(held) => held,
            None => lock(dir, app, inventory.keeper_pid).map_err(BootError::Other)?,
        };
        locks.push((name, lock));
    }
    let groups = control_groups(&loaded.plan.control).map_err(BootError::Other)?;
    place.prepare_notify().map_err(BootError::Other)?;
    end_leftovers(inventory.keeper_pid, &place).await;
    let above = Above::of(inventory.keeper_features, &loaded.plan);
    let mut listeners = Listeners::default();
    let handed = take_handed(&mut inventory.named);
    let names: Vec<String> = handed.iter().map(|one| one.held.clone()).collect();
    let useless = listeners.take_up(handed, &loaded.plan);
    let restored = listeners.held();
    let prepared =
        listeners.prepare(&loaded.plan, &loaded.accounts).map_err(|wrong| BootError::Other(wrong.join("\nsvd: ")))?;
    let (store, desired, warnings) = open_store(&place, inventory.boot).await?;
    let control = bind_control(&place, loaded.plan.control.socket_mode, groups).map_err(BootError::Other)?;
    let io = |error: io::Error| BootError::Link(error.into());
    above.forget(link, &useless, &restored)?;
    let made = listeners.install(prepared).into_iter().chain(listeners.open_gates(&loaded.plan));
    for (name, socket) in restored.into_iter().chain(made) {
        link.send(&Request::Hold { name: name.clone() }, vec![socket.try_clone().map_err(io)?])?;
        if listeners.is_to_be_stored(&name) {
            above.store(link, &name)?;
        }
    }
    listeners.drop_unmatched().iter().for_each(|told| crate::say::line(&format!("svd: {told}")));
    let obsolete = names.into_iter().filter(|name| !listeners.keeps_handed(name)).collect();
    for trouble in listeners.troubles() {
        crate::say::line(&format!("svd: {trouble}"));
    }
    let loaded = Loaded { plan: listeners.fit(loaded.plan), ..loaded };
    let setting = setting(FIRST_CONFIG, loaded, &place, groups);
    for (name, lock) in locks {
        link.send(&Request::Hold { name: name.into() }, vec![lock])?;
    }
    link.send(&Request::Hold { name: CONTROL.into() }, vec![control.try_clone().map_err(io)?.into()])?;
    // With every stream of earlier runs in it, or a successor would take them for new.
    let printed = noted(Printed::begin(&place.logs()));
    if let Some(printed) = &printed {
        link.send(&Request::Hold { name: PRINTED.into() }, vec![printed.share().map_err(io)?])?;
    }
    let cgroups = super::limits::ground(inventory, &setting.plan, &place.root);
    link.send(&Request::Hold { name: CGROUPS.into() }, vec![cgroups.to_memfd().map_err(io)?])?;
    // Last: a successor that finds the config finds everything.
    let name = config_name(setting.number);
    link.send(&Request::Hold { name }, vec![setting.snapshot.to_memfd().map_err(io)?])?;
    let settings = Settings::new(setting, None, FIRST_CONFIG, None);
    let stand_in = false;
    Ok(Ground {
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
        warnings,
        above,
        obsolete,
    })
}

/// One svd for each directory that it changes.
fn lock(dir: &Path, app: &str, keeper: i32) -> Result<OwnedFd, String> {
    lock_file(&Place::lock(dir), keeper).map_err(|error| match error {
        LockError::LockedBy { pid } => format!(
            "another svd runs this app already{}: {} is locked; stop it first (svctl -a {app} shutdown) or choose another --root",
            pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default(),
            dir.display(),
        ),
        LockError::Io(error) => format!("{} cannot be locked: {error}", Place::lock(dir).display()),
    })
}

fn setting(number: u64, loaded: Loaded, place: &Place, groups: ControlGroups) -> Setting {
    let snapshot = Snapshot {
        sources: loaded.sources,
        root: place.root.clone(),
        runtime: place.runtime.clone(),
        accounts: loaded.accounts,
        groups,
    };
    Setting { number, plan: Arc::new(loaded.plan), snapshot, warnings: loaded.warnings }
}

/// The configs that the keeper holds, by number; empty for the first manager.
fn configs(inventory: &mut Inventory) -> BTreeMap<u64, OwnedFd> {
    let numbers: Vec<u64> = inventory.named.keys().filter_map(|name| config_number(name)).collect();
    let take = |number: u64| Some((number, inventory.named.remove(&config_name(number))?));
    numbers.into_iter().filter_map(take).collect()
}

/// The configs that the wish names, the one in force first, and the names of the others: those were left by a manager that
/// died in the middle of an apply, or at its end.
fn settings(mut held: BTreeMap<u64, OwnedFd>, wish: Option<&Configs>) -> Result<(Settings, Vec<String>), BootError> {
    let last = held.last_key_value().map_or(0, |(number, _)| *number);
    // Without a wish there is one only: the wish is told before a second one counts.
    let first = held.first_key_value().map_or(0, |(number, _)| *number);
    let named = wish.cloned().unwrap_or(Configs { in_force: first, other: None, taken_back: None });
    let mut read = |number: u64| held.remove(&number).map(|memfd| read_setting(number, memfd));
    let in_force = read(named.in_force)
        .ok_or_else(|| BootError::Other(format!("the keeper holds no config number {}", named.in_force)))??;
    let other = named.other.and_then(read).transpose()?;
    let obsolete = held.into_keys().map(config_name).collect();
    Ok((Settings::new(in_force, other, last, named.taken_back), obsolete))
}

fn read_setting(number: u64, memfd: OwnedFd) -> Result<Setting, BootError> {
    let snapshot = Snapshot::from_memfd(memfd)
        .map_err(|error| BootError::Other(format!("the keeper's copy of the config is broken: {error}")))?;
    let (plan, warnings) = svd_config::plan(&snapshot.sources).map_err(|errors| told(LoadError::Config(errors)))?;
    let warnings = warnings.iter().map(ToString::to_string).collect();
    Ok(Setting { number, plan: Arc::new(plan), snapshot, warnings })
}

/// A manager in the place of one that died: nothing is read from the config's files, and nobody is looked up.
async fn take_over(
    configs: BTreeMap<u64, OwnedFd>,
    link: &mut Link,
    inventory: &mut Inventory,
) -> Result<Ground, BootError> {
    let held = inventory.named.remove(DESIRED).and_then(|memfd| wish_from_memfd(memfd).ok());
    let (mut settings, mut obsolete) = settings(configs, held.as_ref().map(|(_, configs)| configs))?;
    let (listeners, unused) = listeners(&mut settings, link, inventory)?;
    obsolete.extend(unused);
    let held = held.map(|(desired, _)| desired);
    let Snapshot { root, runtime, groups, .. } = settings.in_force().snapshot.clone();
    let place = Place { root, runtime, volatile: None };
    let socket_mode = settings.in_force().plan.control.socket_mode;
    let control =
        inventory.named.remove(CONTROL).ok_or_else(|| BootError::Other("the keeper holds no control socket".into()))?;
    let mut control = UnixListener::from(control);
    let missing = |error: io::Error| error.kind() == io::ErrorKind::NotFound;
    if place.control().symlink_metadata().is_err_and(missing) {
        // Somebody has removed the file, as those do who clear temporary directories: nobody can connect any more.
        control = bind_control(&place, socket_mode, groups).map_err(BootError::Other)?;
        let copy = control.try_clone().map_err(LinkError::from)?;
        link.send(&Request::Hold { name: CONTROL.into() }, vec![copy.into()])?;
    }
    let opened = match safe_mode() {
        Mode::Normal => open_store(&place, inventory.boot).await,
        // What is stored may be what the managers before have crashed over.
        Mode::Safe => Err(BootError::Other("the database is not opened in safe mode".into())),
    };
    let stand_in = opened.is_err();
    let (store, stored, warnings) = match (opened, &held) {
        (Ok(opened), _) => opened,
        (Err(error), None) if safe_mode() == Mode::Normal => return Err(error),
        // The disk broke while svd ran. What runs goes on.
        (Err(error), _) => without_store(&error)?,
    };
    // The keeper was told before the store was: it knows at least as much, also where the database was taken away.
    let desired = held.unwrap_or(stored);
    let printed = inventory.named.remove(PRINTED).and_then(|memfd| noted(Printed::resume(memfd)));
    let cgroups = Cgroups::taken_over(inventory.named.remove(CGROUPS));
    let above = Above::of(inventory.keeper_features, &settings.in_force().plan);
    Ok(Ground {
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
        warnings,
        above,
        obsolete,
    })
}

/// The listeners that the keeper holds, with those that are missing among them made again, and the names of what nobody uses.
/// That one cannot be made again ends nobody: what runs has its sockets.
fn listeners(
    settings: &mut Settings,
    link: &mut Link,
    inventory: &mut Inventory,
) -> Result<(Listeners, Vec<String>), BootError> {
    let held = Listeners::take_over(&mut inventory.named);
    let (mut listeners, obsolete) = Listeners::adopt(held, settings.plans(), &given(&inventory.spawns));
    listeners.recognise(take_handed(&mut inventory.named));
    listeners.drop_unreachable();
    let mut held = Vec::new();
    for setting in [Some(settings.in_force()), settings.other()].into_iter().flatten() {
        match listeners.prepare(&setting.plan, &setting.snapshot.accounts) {
            Ok(prepared) => held.extend(listeners.install(prepared)),
            Err(wrong) => {
                for what in wrong {
                    tracing::error!("{what}");
                    crate::say::line(&format!("svd: {what}"));
                }
            }
        }
        held.extend(listeners.open_gates(&setting.plan));
    }
    for (name, socket) in held {
        link.send(&Request::Hold { name }, vec![socket.try_clone().map_err(LinkError::from)?])?;
    }
    settings.fit(|plan| listeners.fit(plan));
    Ok((listeners, obsolete))
}

/// The listeners that those who live were given: one that an apply has replaced may still accept from its own.
fn given(spawns: &[Found]) -> BTreeSet<Key> {
    let living =
        spawns.iter().filter(|found| matches!(found.instance.life, Life::Forked { .. } | Life::Running { .. }));
    let tags = living.filter_map(|found| Tag::decode(&found.instance.tag));
    tags.flat_map(|tag| {
        let process: Arc<str> = tag.instance.process;
        let addresses = tag.listens.into_iter().flatten();
        addresses.map(move |address| Key { process: process.clone(), address: address.into() })
    })
    .collect()
}

/// Without notes the output is printed from now on.
fn noted(printed: io::Result<Printed>) -> Option<Printed> {
    printed
        .inspect_err(|error| crate::say::line(&format!("svd: it is not known what was printed already: {error}")))
        .ok()
}

async fn open_store(place: &Place, boot: [u8; 16]) -> Result<(Store, svd_core::Desired, Vec<String>), BootError> {
    let file = StorePlace::File(place.root.join("state.db"));
    let (store, loaded) = Store::open(file).map_err(|error| BootError::Other(error.to_string()))?;
    let desired = stored(store.begin(boot).await)?;
    for warning in &loaded.warnings {
        crate::say::line(&format!("svd: {warning}"));
    }
    Ok((store, desired, loaded.warnings))
}

/// What the store has answered.
fn stored<T>(answer: Result<Result<T, StoreError>, RecvError>) -> Result<T, BootError> {
    match answer {
        Ok(Ok(stored)) => Ok(stored),
        Ok(Err(error)) => Err(BootError::Other(error.to_string())),
        Err(_ended) => Err(BootError::Other("the store has ended".into())),
    }
}

/// History is kept in memory.
fn without_store(error: &BootError) -> Result<(Store, svd_core::Desired, Vec<String>), BootError> {
    let (store, loaded) = Store::open(StorePlace::Memory).map_err(|error| BootError::Other(error.to_string()))?;
    let told = format!("{error}; svd goes on without it: history and changes of scale are lost when its manager ends");
    crate::say::line(&format!("svd: {told}"));
    Ok((store, loaded.desired, vec![told]))
}

/// A control socket that is still there was left by an svd that did not end as asked, and maybe not it alone.
async fn end_leftovers(keeper: i32, place: &Place) {
    let control = place.control();
    if !control.exists() {
        return;
    }
    let ended = tokio::task::spawn_blocking(move || super::leftovers::end(keeper, &control)).await.unwrap_or_default();
    if !ended.is_empty() {
        let pids = ended.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        crate::say::line(&format!(
            "svd: an earlier svd of this app was killed; what it had left running was ended: {pids}"
        ));
    }
}

/// Binds the control socket. The lock is ours, so a file of that name is what a killed svd left.
fn bind_control(place: &Place, socket_mode: u32, groups: ControlGroups) -> Result<UnixListener, String> {
    let path = place.control();
    let failed =
        |what: &str, error: &dyn std::fmt::Display| format!("the control socket {} {what}: {error}", path.display());
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed("cannot be replaced", &error)),
        Ok(()) | Err(_) => {}
    }
    // Bound under another name with no rights for anybody, then moved into place with the right ones: nobody can connect
    // in between, and nobody finds it missing.
    let hidden = place.runtime.join(".control.sock");
    let _stale = std::fs::remove_file(&hidden);
    let listener = UnixListener::bind(&hidden).map_err(|error| failed("cannot be made", &error))?;
    let mode = std::fs::Permissions::from_mode(socket_mode);
    std::fs::set_permissions(&hidden, mode).map_err(|error| failed("cannot be given its mode", &error))?;
    if let Some(gid) = groups.socket {
        std::os::unix::fs::lchown(&hidden, None, Some(gid))
            .map_err(|error| failed("cannot be given its group", &error))?;
    }
    listener.set_nonblocking(true).map_err(|error| failed("cannot be used", &error))?;
    std::fs::rename(&hidden, &path).map_err(|error| failed("cannot be moved into place", &error))?;
    Ok(listener)
}

fn group_id(name: &str) -> Result<u32, String> {
    match svd_sys::users::lookup_group(name) {
        Ok(Some(gid)) => Ok(gid),
        Ok(None) => {
            Err(format!("[control]: group \"{name}\" does not exist on this machine; create it: groupadd {name}"))
        }
        Err(error) => Err(format!("[control]: group \"{name}\" cannot be looked up: {error}")),
    }
}

fn control_groups(control: &ControlPlan) -> Result<ControlGroups, String> {
    let gid = |name: &Option<String>| name.as_deref().map(group_id).transpose();
    Ok(ControlGroups { socket: gid(&control.socket_group)?, read: gid(&control.read_group)? })
}

/// Puts everything together and runs the main loop.
async fn live(args: &RunArgs, link: Link, mut inventory: Inventory, ground: Ground) -> Result<u8, BootError> {
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
    let zones = plan::zones(app.core.plan());
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
fn safe_mode() -> Mode {
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

fn told(error: LoadError) -> BootError {
    BootError::Config(error.render())
}
