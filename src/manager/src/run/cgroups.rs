//! The cgroups of instances: where they can be made, what is written to them, and what they tell.
//!
//! Version 2: svd's own processes move into a leaf (`svd-main`), since a cgroup with controllers may have none itself, and each
//! start has a cgroup beside that. Nobody else writes there: svd takes only a cgroup that is its own, by `Delegate=yes` of systemd
//! or because nobody but svd is in it. Version 1: only the hierarchies of the limits that are asked for, below svd's own place.
//! Elsewhere, as in most containers: none, and nothing else is different.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use svd_config::plan::LimitsPlan;
use svd_sys::cgroup;
use svd_sys::tree::Scan;

/// svd's own leaf. Names with this beginning collide with no file of the kernel's, which begin with a controller's name.
const MAIN: &str = "svd-main";
/// What names of cgroups that svd makes begin with.
const PREFIX: &str = "svd-";
/// The controllers that limits are of, as version 2 names them.
const CONTROLLERS: [&str; 4] = ["memory", "cpu", "pids", "io"];
/// The period in which a share of the processor is used up, microseconds.
const PERIOD: u32 = 100_000;
/// Somebody may fork while all are moved.
const ROUNDS: usize = 16;
/// Largest memfd that is read, bytes.
const LARGEST: usize = 64 * 1024;

/// Where the cgroups of instances are made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ground {
    /// Below this one, in the unified hierarchy.
    Unified {
        /// The directory.
        base: PathBuf,
        /// Whether svd made it, and removes it at its end.
        made: bool,
        /// The controllers that count there.
        controllers: BTreeSet<String>,
    },
    /// Below these, by controller.
    V1 {
        /// The directories; each is made when it is needed.
        bases: BTreeMap<String, PathBuf>,
    },
    /// Nowhere.
    None {
        /// Why, with the way out.
        why: String,
    },
}

/// What a start enters.
#[derive(Debug, Default)]
pub struct Entered {
    /// For the child.
    pub entrances: Vec<OwnedFd>,
    /// Limits that it does not have, each in a sentence.
    pub lacking: Vec<String>,
}

/// One limit as the kernel takes it.
struct Limit {
    key: &'static str,
    controller: &'static str,
    /// The files, with what is written to them.
    files: Vec<(&'static str, String)>,
}

/// The limits that differ, with the value that stands for none where one was taken back.
fn differing(before: Option<&LimitsPlan>, now: &LimitsPlan, version: Version) -> Vec<(Limit, bool)> {
    let size = |bytes: Option<u64>, none: &str| bytes.map_or_else(|| none.to_owned(), |bytes| bytes.to_string());
    let mut found = Vec::new();
    let mut push = |key, differs: bool, is_asked: bool, controller, files: Vec<(&'static str, String)>| {
        if differs {
            found.push((Limit { key, controller, files }, is_asked));
        }
    };
    // Where nothing is known of before, all is written.
    let differs = |of: fn(&LimitsPlan) -> Option<u64>| before.is_none_or(|before| of(before) != of(now));
    let memory = |plan: &LimitsPlan| plan.memory;
    let high = |plan: &LimitsPlan| plan.memory_high;
    let cpu = |plan: &LimitsPlan| plan.cpu.map(u64::from);
    let pids = |plan: &LimitsPlan| plan.pids.map(u64::from);
    let weight = |plan: &LimitsPlan| plan.io_weight.map(u64::from);
    let quota = |none: &str| match now.cpu {
        Some(percent) => (u64::from(percent) * u64::from(PERIOD) / 100).to_string(),
        None => none.to_owned(),
    };
    let one = |file, value| vec![(file, value)];
    let (limit_file, cpu_files) = match version {
        Version::Unified => {
            (one("memory.max", size(now.memory, "max")), one("cpu.max", format!("{} {PERIOD}", quota("max"))))
        }
        Version::V1 => (
            one("memory.limit_in_bytes", size(now.memory, "-1")),
            vec![("cpu.cfs_period_us", PERIOD.to_string()), ("cpu.cfs_quota_us", quota("-1"))],
        ),
    };
    push("memory", differs(memory), now.memory.is_some(), "memory", limit_file);
    push(
        "memory_high",
        differs(high),
        now.memory_high.is_some(),
        "memory",
        one("memory.high", size(now.memory_high, "max")),
    );
    push("cpu", differs(cpu), now.cpu.is_some(), "cpu", cpu_files);
    push("pids", differs(pids), now.pids.is_some(), "pids", one("pids.max", size(pids(now), "max")));
    push("io_weight", differs(weight), now.io_weight.is_some(), "io", one("io.weight", size(weight(now), "100")));
    found
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    Unified,
    V1,
}

impl Ground {
    /// Looks where the keeper is, and prepares the place. `root` tells two svd of one name apart.
    pub fn prepare(keeper: i32, app: &str, root: &Path) -> Ground {
        let places = match cgroup::places(keeper) {
            Ok(places) => places,
            Err(error) => return none(format!("it cannot be told where svd is ({error})")),
        };
        let name = format!("{PREFIX}{app}-{:08x}", hash(root));
        match places.unified {
            // Of both at once, each controller is in one.
            Some(dir) if CONTROLLERS.iter().all(|controller| !places.v1.contains_key(*controller)) => {
                unified(&dir, keeper, &name)
            }
            Some(_) | None => v1(&places.v1, &name),
        }
    }

    /// What a manager finds that takes over from one that knew nothing of cgroups.
    pub fn unprepared() -> Ground {
        none(
            "svd was begun by an earlier version, which made none; they are there when svd is started again".to_owned(),
        )
    }

    /// As a memfd for the next manager.
    pub fn to_memfd(&self) -> io::Result<OwnedFd> {
        svd_sys::fd::memfd("svd-cgroups", &serde_json::to_vec(self)?)
    }

    /// Reads what the manager before left.
    pub fn taken_over(memfd: Option<OwnedFd>) -> Ground {
        let read = memfd.and_then(|memfd| svd_sys::fd::read_memfd(memfd, LARGEST).ok());
        read.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_else(Ground::unprepared)
    }

    fn version(&self) -> Option<Version> {
        match self {
            Ground::Unified { .. } => Some(Version::Unified),
            Ground::V1 { .. } => Some(Version::V1),
            Ground::None { .. } => None,
        }
    }

    /// Which of these limits cannot be had here, each in a sentence.
    pub fn lacks(&self, limits: &LimitsPlan) -> Vec<String> {
        let fresh = LimitsPlan::default();
        let asked = differing(Some(&fresh), limits, self.version().unwrap_or(Version::Unified));
        asked.iter().filter_map(|(limit, _)| self.refuses(limit)).collect()
    }

    fn refuses(&self, limit: &Limit) -> Option<String> {
        let why = match self {
            Ground::None { why } => why.clone(),
            Ground::Unified { controllers, .. } if controllers.contains(limit.controller) => return None,
            Ground::Unified { base, .. } => {
                format!("the controller \"{}\" is not handed on to {}", limit.controller, base.display())
            }
            Ground::V1 { .. } if ["memory_high", "io_weight"].contains(&limit.key) => {
                "this machine has version 1 of cgroups, which has no such limit; start it with version 2".to_owned()
            }
            Ground::V1 { bases } if bases.contains_key(limit.controller) => return None,
            Ground::V1 { .. } => {
                format!("the hierarchy of the controller \"{}\" cannot be written to", limit.controller)
            }
        };
        Some(lack(limit, &why))
    }

    /// The directories of a cgroup, by controller; empty where it has none.
    fn dirs(&self, name: &str) -> Vec<PathBuf> {
        match self {
            Ground::Unified { base, .. } => vec![base.join(name)],
            Ground::V1 { bases } => bases.values().map(|base| base.join(name)).collect(),
            Ground::None { .. } => Vec::new(),
        }
    }

    fn dir_of(&self, name: &str, controller: &str) -> Option<PathBuf> {
        match self {
            Ground::Unified { base, controllers, .. } => controllers.contains(controller).then(|| base.join(name)),
            Ground::V1 { bases } => bases.get(controller).map(|base| base.join(name)),
            Ground::None { .. } => None,
        }
    }

    /// Makes the cgroup of a start, with these limits.
    pub fn enter(&self, name: &str, limits: &LimitsPlan) -> Entered {
        let fresh = LimitsPlan::default();
        if matches!(self, Ground::V1 { .. }) && *limits == fresh {
            return Entered::default();
        }
        let mut entered = Entered::default();
        let mut failed = None;
        for dir in self.dirs(name) {
            let made = dir.parent().map_or(Ok(()), cgroup::make).and_then(|()| cgroup::make(&dir));
            match made.and_then(|()| cgroup::entrance(&dir)) {
                Ok(entrance) => entered.entrances.push(entrance),
                Err(error) => failed = Some(format!("{} cannot be made: {}", dir.display(), reason(&error))),
            }
        }
        if let Some(why) = failed {
            tracing::warn!("{why}");
            let asked = differing(Some(&fresh), limits, self.version().unwrap_or(Version::Unified));
            entered.entrances.clear();
            entered.lacking = asked.iter().map(|(limit, _)| lack(limit, &why)).collect();
            return entered;
        }
        entered.lacking = self.write(name, Some(&fresh), limits);
        entered
    }

    /// Writes what differs; answers what could not be. `None`: it is not known what stands there.
    pub fn write(&self, name: &str, before: Option<&LimitsPlan>, now: &LimitsPlan) -> Vec<String> {
        let mut lacking = Vec::new();
        for (limit, is_asked) in differing(before, now, self.version().unwrap_or(Version::Unified)) {
            if let Some(why) = self.refuses(&limit) {
                lacking.extend(is_asked.then_some(why));
                continue;
            }
            let Some(dir) = self.dir_of(name, limit.controller) else { continue };
            if !dir.exists() {
                let why = "it has had no cgroup since its start; it has one when it is restarted";
                lacking.extend(is_asked.then(|| lack(&limit, why)));
                continue;
            }
            let written = limit.files.iter().try_for_each(|(file, value)| {
                cgroup::set(&dir, file, value).map_err(|error| format!("{}/{file}: {}", dir.display(), reason(&error)))
            });
            match written {
                Err(why) if is_asked => lacking.push(lack(&limit, &why)),
                // What the kernel does not have needs no reset.
                Ok(()) | Err(_) => {}
            }
        }
        lacking
    }

    /// A directory whose members are those of the start and of whom it started; `None` where it has none.
    pub fn tracked(&self, name: &str) -> Option<PathBuf> {
        self.dirs(name).into_iter().find(|dir| dir.exists())
    }

    /// Whether the kernel counts kills for lack of memory for a start with these limits by itself.
    pub fn counts_ooms(&self, limits: &LimitsPlan) -> bool {
        match self {
            Ground::Unified { controllers, .. } => controllers.contains("memory"),
            Ground::V1 { bases } => *limits != LimitsPlan::default() && bases.contains_key("memory"),
            Ground::None { .. } => false,
        }
    }

    /// How many of it the kernel has killed for lack of memory; `None` where it does not count.
    pub fn ooms(&self, name: &str) -> Option<u64> {
        let dir = self.dir_of(name, "memory")?;
        match self.version()? {
            Version::Unified => cgroup::count(&dir, "memory.events", "oom_kill"),
            Version::V1 => cgroup::count(&dir, "memory.oom_control", "oom_kill"),
        }
    }

    /// What the members of one have waited for lately; `None` where they have none to themselves, or the kernel does not measure it.
    pub fn pressure(&self, name: &str) -> Option<svd_api::Pressure> {
        let Ground::Unified { base, .. } = self else { return None };
        let dir = base.join(name);
        let of = |what: &str| cgroup::pressure(&dir, what);
        Some(svd_api::Pressure { cpu: of("cpu")?, memory: of("memory")?, io: of("io")? })
    }

    /// The file that tells of kills for lack of memory among its members when it changes; `None` where there is none.
    pub fn oom_file(&self, name: &str) -> Option<PathBuf> {
        match self {
            Ground::Unified { .. } => Some(self.dir_of(name, "memory")?.join("memory.events")),
            Ground::V1 { .. } | Ground::None { .. } => None,
        }
    }

    /// The cgroup of a start of which nobody is left.
    pub fn remove(&self, name: &str) {
        for dir in self.dirs(name) {
            if let Err(error) = cgroup::remove(&dir) {
                // The next svd in this place removes it.
                tracing::warn!(%error, dir = %dir.display(), "a cgroup cannot be removed");
            }
        }
    }

    /// All that svd has made and can be removed while it still runs.
    pub fn end(&self) {
        let bases: Vec<&PathBuf> = match self {
            Ground::Unified { base, made: true, .. } => vec![base],
            Ground::Unified { .. } | Ground::None { .. } => Vec::new(),
            Ground::V1 { bases } => bases.values().collect(),
        };
        for base in bases {
            // It may never have been made.
            let _busy = cgroup::remove(base);
        }
    }
}

fn lack(limit: &Limit, why: &str) -> String {
    format!("limits.{} cannot be had: {why}", limit.key)
}

fn none(why: String) -> Ground {
    Ground::None { why }
}

/// The name of the cgroup of a start.
pub fn name(instance: &svd_core::InstanceName, cookie: &str) -> String {
    format!("{PREFIX}{instance}-{cookie}")
}

/// FNV-1a.
fn hash(root: &Path) -> u32 {
    let bytes = root.as_os_str().as_encoded_bytes().iter();
    bytes.fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_owned()
}

/// Why cgroups cannot be made below this one, with the way out.
pub fn unwritable(dir: &Path, error: &io::Error) -> String {
    let dir = dir.display();
    match error.kind() {
        io::ErrorKind::ReadOnlyFilesystem => {
            format!("{dir} is mounted read-only, as in most containers; set limits for the container as a whole")
        }
        io::ErrorKind::PermissionDenied => {
            format!("{dir} is not svd's to write to; run it in a systemd unit with Delegate=yes, or as root")
        }
        _ => format!("{dir} cannot be written to: {}", reason(error)),
    }
}

fn unified(dir: &Path, keeper: i32, name: &str) -> Ground {
    // The manager before has moved svd there and died before it could tell.
    let dir = match (dir.file_name(), dir.parent()) {
        (Some(own), Some(parent)) if own == MAIN => parent,
        _ => dir,
    };
    if let Err(error) = cgroup::may_write(dir) {
        return none(unwritable(dir, &error));
    }
    if cgroup::is_root(dir) {
        // Nobody has to move here, and it is everybody's.
        let base = dir.join(name);
        if let Err(error) = cgroup::make(&base) {
            return none(unwritable(dir, &error));
        }
        hand_on(dir);
        let controllers = hand_on(&base);
        clear(&base);
        return Ground::Unified { base, made: true, controllers };
    }
    if let Err(why) = may_take(dir, keeper).and_then(|()| move_into_leaf(dir)) {
        return none(why);
    }
    let controllers = hand_on(dir);
    clear(dir);
    Ground::Unified { base: dir.to_owned(), made: false, controllers }
}

/// Whether a cgroup is svd's alone.
pub fn may_take(dir: &Path, keeper: i32) -> Result<(), String> {
    if keeper == 1 {
        return Ok(());
    }
    let shown = dir.display();
    let told = |error: io::Error| format!("{shown} cannot be read: {}", reason(&error));
    let members = cgroup::members(dir).map_err(told)?;
    let scan = Scan::read().map_err(told)?;
    let ours: BTreeSet<i32> = scan.descendants(keeper).iter().map(|proc| proc.pid).chain([keeper]).collect();
    let strangers: Vec<String> =
        members.iter().filter(|pid| !ours.contains(pid)).take(3).map(ToString::to_string).collect();
    if !strangers.is_empty() {
        return Err(format!(
            "other processes are in svd's cgroup {shown} too (pid {}); run svd in a systemd unit of its own with Delegate=yes",
            strangers.join(", ")
        ));
    }
    // An svd that is run by another svd has its cgroup from that one.
    let is_nested = dir.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(PREFIX.as_bytes()));
    let delegated = dir.ancestors().take(if is_nested { usize::MAX } else { 1 }).any(cgroup::is_delegated);
    if Path::new("/run/systemd/system").exists() && !delegated {
        return Err(format!("{shown} is systemd's; write Delegate=yes into svd's unit"));
    }
    Ok(())
}

/// Moves everybody who is in this cgroup itself into a leaf of it.
fn move_into_leaf(dir: &Path) -> Result<(), String> {
    let leaf = dir.join(MAIN);
    let told = |error: io::Error| format!("svd cannot move into {}: {}", leaf.display(), reason(&error));
    cgroup::make(&leaf).map_err(told)?;
    for _ in 0..ROUNDS {
        let members = cgroup::members(dir).map_err(told)?;
        if members.is_empty() {
            return Ok(());
        }
        for pid in members {
            match cgroup::set(&leaf, "cgroup.procs", &pid.to_string()) {
                // ESRCH: it has ended meanwhile.
                Err(error) if error.raw_os_error() != Some(3) => return Err(told(error)),
                Ok(()) | Err(_) => {}
            }
        }
    }
    Err(format!("more and more processes appear in {}", dir.display()))
}

/// Has the controllers count in the cgroups below; answers which do.
fn hand_on(dir: &Path) -> BTreeSet<String> {
    let available = cgroup::words(dir, "cgroup.controllers");
    for controller in CONTROLLERS.iter().filter(|controller| available.contains(**controller)) {
        // One by one: the kernel takes all of a line or none. What is refused is missing below.
        if let Err(error) = cgroup::set(dir, "cgroup.subtree_control", &format!("+{controller}")) {
            tracing::warn!(%error, controller, dir = %dir.display(), "a controller cannot be handed on");
        }
    }
    cgroup::words(dir, "cgroup.subtree_control")
}

/// Removes what a killed svd left. The locks are ours, so it is nobody else's.
fn clear(base: &Path) {
    for entry in std::fs::read_dir(base).into_iter().flatten().flatten() {
        let name = entry.file_name();
        if name != MAIN && name.as_encoded_bytes().starts_with(PREFIX.as_bytes()) {
            // Where somebody still lives in it, it stays.
            let _busy = cgroup::remove(&entry.path());
        }
    }
}

fn v1(places: &BTreeMap<String, PathBuf>, name: &str) -> Ground {
    let mut why = None;
    let mut bases = BTreeMap::new();
    for controller in CONTROLLERS.iter().filter(|controller| **controller != "io") {
        let Some(dir) = places.get(*controller) else { continue };
        match cgroup::may_write(dir) {
            Ok(()) => {
                let base = dir.join(name);
                clear(&base);
                // One that is not there or not empty.
                let _not_left = cgroup::remove(&base);
                bases.insert((*controller).to_owned(), base);
            }
            Err(error) => why = Some(unwritable(dir, &error)),
        }
    }
    match (bases.is_empty(), why) {
        (false, _) => Ground::V1 { bases },
        (true, Some(why)) => none(why),
        (true, None) => none("no hierarchy of cgroups with controllers is mounted".to_owned()),
    }
}

/// What counts the kills for lack of memory where instances have no cgroups that do: the cgroup that svd itself is in, such as
/// its container's.
#[derive(Debug, Default)]
pub struct OwnOoms {
    file: Option<PathBuf>,
    /// The count up to which ends were explained by it: none explains two.
    told: u64,
}

impl OwnOoms {
    /// Of the cgroup that the keeper is in.
    pub fn of(keeper: i32) -> OwnOoms {
        let places = cgroup::places(keeper).unwrap_or_default();
        let unified = places.unified.filter(|dir| !cgroup::is_root(dir)).map(|dir| dir.join("memory.events"));
        let v1 = places.v1.get("memory").map(|dir| dir.join("memory.oom_control"));
        OwnOoms { file: unified.into_iter().chain(v1).find(|file| file.exists()), told: 0 }
    }

    /// The count by now; `None` where nobody counts.
    pub fn now(&self) -> Option<u64> {
        let file = self.file.as_ref()?;
        cgroup::count(file.parent()?, file.file_name()?.to_str()?, "oom_kill")
    }

    /// Whether one that was started at this count and killed may be explained by it, which it then is.
    pub fn explains(&mut self, since: Option<u64>) -> bool {
        let (Some(since), Some(now)) = (since, self.now()) else { return false };
        let told = self.told.max(since);
        let explains = now > told;
        if explains {
            self.told = told.saturating_add(1);
        }
        explains
    }
}
