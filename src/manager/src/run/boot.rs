//! How a manager comes to be: afresh, from files, or in the place of one that died, from what the keeper holds.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::Arc;

use svd_config::plan::{ControlPlan, WithoutManager};
use svd_core::Mode;
use svd_sys::lock::{LockError, lock_file};
use svd_wire::{FEATURE_SAFE_MODE, Life, Request};
use tokio::sync::oneshot::error::RecvError;

use super::cgroups::Ground as Cgroups;
use super::host::Above;
use super::live::{Ground, live, safe_mode};
use super::place::{Place, RootAsked};
use super::settings::{Setting, Settings};
use crate::cli::RunArgs;
use crate::listen::{Key, Listeners, take_handed};
use crate::logs::Printed;
use crate::plan::{self, ControlGroups, LoadError, Loaded, Snapshot};
use crate::seam::{
    Configs, Found, Inventory, Link, LinkError, Tag, config_name, config_number, wish_from_memfd, wish_to_memfd,
};
use crate::store::{Place as StorePlace, Store, StoreError};

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

/// Why a manager could not begin.
#[derive(Debug, thiserror::Error)]
pub(super) enum BootError {
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
    let (name, config) = (config_name(setting.number), setting.snapshot.to_memfd().map_err(io)?);
    let settings = Settings::new(setting, None, FIRST_CONFIG, None);
    // What the store has, or a successor in safe mode, which does not open it, would take nothing for what is wished.
    let wish = wish_to_memfd(&desired, &settings.configs()).map_err(io)?;
    link.send(&Request::Hold { name: DESIRED.into() }, vec![wish])?;
    // Last: a successor that finds the config finds everything.
    link.send(&Request::Hold { name }, vec![config])?;
    let (stand_in, unstored) = (false, Vec::new());
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
        unstored,
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
    // Managers that could not open the database, or were not to, have told the keeper only.
    let unstored = match (&opened, &held) {
        (Ok((_, stored, _)), Some(held)) => stored.changes_to(held),
        _ => Vec::new(),
    };
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
        unstored,
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
pub(super) fn stored<T>(answer: Result<Result<T, StoreError>, RecvError>) -> Result<T, BootError> {
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

fn told(error: LoadError) -> BootError {
    BootError::Config(error.render())
}
