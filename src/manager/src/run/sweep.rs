//! Ending whole trees: whoever is left of a spawn is found, signalled and waited for until a full scan finds nobody.
//!
//! Works without cgroups: by descent, session, group and the cookie in the environment; where there is a cgroup, also by that. One scan at a time serves all
//! spawns that wait for one; it runs on a thread of its own, since reading another process's environment can wait in the
//! kernel. Deadlines are the core's: it asks for KILL when TERM has had its time.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::time::Duration;

use svd_core::{SpawnId, Sweep};
use svd_sys::tree::{Proc, Scan, kill_verified};
use svd_sys::{cgroup, fd, pidfd};
use tokio::io::Interest;
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};

use super::Inner;
use super::launch::COOKIE;

const TERM: i32 = 15;
const CONT: i32 = 18;
const KILL: i32 = 9;
/// When somebody of a tree has ended, the others who end in the same moment are waited for as long before it is looked
/// at again.
const TOGETHER: Duration = Duration::from_millis(20);
/// When somebody cannot be watched, or /proc cannot be read (no descriptors left), it is tried again after this.
const BLIND: Duration = Duration::from_secs(1);

/// Whether a spawn's main process has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Main {
    /// It lives, as far as the keeper has told.
    Alive,
    /// Its end was reported.
    Ended,
}

/// Whose tree is to be ended.
#[derive(Clone, Debug)]
struct Job {
    how: Sweep,
    main: i32,
    main_is: Main,
    cookie: String,
    /// Its cgroup, where it has one: whoever is in there is of its tree, whatever else it has left.
    cgroup: Option<PathBuf>,
    /// Who was sent TERM already: nobody gets it twice.
    asked: HashSet<(i32, u64)>,
    /// Waits for those whom the last scan found.
    watch: Option<AbortHandle>,
}

impl Job {
    /// Waits for these instead of those found before, who are among them or have ended.
    fn watch(&mut self, task: Option<AbortHandle>) {
        if let Some(before) = std::mem::replace(&mut self.watch, task) {
            before.abort();
        }
    }
}

/// What a scan found for one spawn.
#[derive(Debug)]
pub struct Left {
    spawn: SpawnId,
    procs: Vec<Proc>,
    pidfds: Vec<OwnedFd>,
    sight: Sight,
}

/// Whether the end of all who were found can be waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sight {
    All,
    /// Some could not be watched, or nobody could be looked for.
    Some,
    /// Some had ended already when they were to be watched.
    Fewer,
}

/// Runs the scans.
pub struct Sweeper {
    keeper: i32,
    jobs: BTreeMap<SpawnId, Job>,
    scan: ScanState,
    inner: mpsc::UnboundedSender<Inner>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ScanState {
    Idle,
    Running,
    /// Something changed while it ran: another follows.
    RunningStale,
}

impl Sweeper {
    /// A sweeper for the tree of this keeper.
    pub fn new(keeper: i32, inner: mpsc::UnboundedSender<Inner>) -> Sweeper {
        Sweeper { keeper, jobs: BTreeMap::new(), scan: ScanState::Idle, inner }
    }

    /// Ends a tree, or goes over from asking to killing.
    pub fn request(
        &mut self,
        spawn: SpawnId,
        how: Sweep,
        (main, main_is): (i32, Main),
        cookie: &str,
        cgroup: Option<PathBuf>,
    ) {
        let job = self.jobs.entry(spawn).or_insert_with(|| Job {
            how,
            main,
            main_is,
            cookie: cookie.to_owned(),
            cgroup,
            asked: HashSet::new(),
            watch: None,
        });
        job.how = how;
        job.main = main;
        job.main_is = main_is;
    }

    /// No process of it ever came to be.
    pub fn dismiss(&mut self, spawn: SpawnId) {
        if let Some(mut job) = self.jobs.remove(&spawn) {
            job.watch(None);
        }
    }

    /// The end of a main process was reported: a scan is due where its tree is being ended.
    pub fn main_ended(&mut self, spawn: SpawnId, main: i32) {
        if let Some(job) = self.jobs.get_mut(&spawn) {
            (job.main, job.main_is) = (main, Main::Ended);
        }
    }

    /// Whether a tree is being ended.
    pub fn has(&self, spawn: SpawnId) -> bool {
        self.jobs.contains_key(&spawn)
    }

    /// Starts a scan, or has one follow the one that runs. `known` are the living main processes and the manager.
    pub fn scan(&mut self, known: impl Iterator<Item = i32>) {
        if self.jobs.is_empty() {
            return;
        }
        if self.scan != ScanState::Idle {
            self.scan = ScanState::RunningStale;
            return;
        }
        self.scan = ScanState::Running;
        let (keeper, jobs, inner) = (self.keeper, self.jobs.clone(), self.inner.clone());
        let known: BTreeSet<i32> = known.collect();
        tokio::task::spawn_blocking(move || {
            // A closed channel means that the manager is ending.
            let _ending = inner.send(Inner::Swept(look(keeper, &jobs, &known)));
        });
    }

    /// Takes a scan's result in. Returns the spawns of which nobody is left, and whether another scan is due.
    pub fn take(&mut self, found: Vec<Left>) -> (Vec<SpawnId>, ScanDue) {
        let stale = self.scan == ScanState::RunningStale;
        self.scan = ScanState::Idle;
        let mut empty = Vec::new();
        for left in found {
            let Some(job) = self.jobs.get_mut(&left.spawn) else { continue };
            if left.procs.is_empty() && left.sight == Sight::All {
                job.watch(None);
                if job.main_is == Main::Ended {
                    self.jobs.remove(&left.spawn);
                    empty.push(left.spawn);
                }
                continue;
            }
            job.asked.extend(left.procs.iter().map(|proc| (proc.pid, proc.starttime)));
            // One task for each tree: one that takes its time must not delay the news of another one's end.
            let task = tokio::spawn(again_when_fewer(left.pidfds, left.sight, self.inner.clone()));
            job.watch(Some(task.abort_handle()));
        }
        (empty, if stale && !self.jobs.is_empty() { ScanDue::Now } else { ScanDue::Later })
    }
}

/// Whether a scan must follow at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScanDue {
    /// Yes.
    Now,
    /// When somebody ends or is asked for.
    Later,
}

/// Has the tree looked at again when somebody of it has ended, or soon where not all of it could be seen.
async fn again_when_fewer(pidfds: Vec<OwnedFd>, sight: Sight, inner: mpsc::UnboundedSender<Inner>) {
    let mut all: JoinSet<()> = pidfds.into_iter().map(ended).collect();
    match sight {
        Sight::All => one_of(&mut all).await,
        Sight::Some => {
            let _late = tokio::time::timeout(BLIND, one_of(&mut all)).await;
        }
        Sight::Fewer => {}
    }
    let rest = async { while all.join_next().await.is_some() {} };
    let _not_all = tokio::time::timeout(TOGETHER, rest).await;
    let _ending = inner.send(Inner::ScanAgain);
}

async fn one_of(all: &mut JoinSet<()>) {
    if all.join_next().await.is_none() {
        std::future::pending::<()>().await;
    }
}

/// Waits until the process has ended; returns at once where that cannot be watched.
async fn ended(process: OwnedFd) {
    let Ok(process) = crate::reactor::watch(process, Interest::READABLE) else { return };
    // An error of the reactor means that it is being shut down.
    let _readable = process.readable().await;
}

/// One scan for all jobs, with the signals that are due.
fn look(keeper: i32, jobs: &BTreeMap<SpawnId, Job>, known: &BTreeSet<i32>) -> Vec<Left> {
    let mut left: Vec<Left> = jobs
        .keys()
        .map(|spawn| Left { spawn: *spawn, procs: Vec::new(), pidfds: Vec::new(), sight: Sight::All })
        .collect();
    let all_mains_ended = jobs.values().all(|job| job.main_is == Main::Ended);
    if all_mains_ended && no_orphans(keeper, known) {
        return left;
    }
    let Ok(scan) = Scan::read() else {
        left.iter_mut().for_each(|found| found.sight = Sight::Some);
        return left;
    };
    let kin = scan.kin(keeper, COOKIE);
    for found in &mut left {
        let Some(job) = jobs.get(&found.spawn) else { continue };
        // A number whose process ended and that is in use again belongs to a stranger; then the kernel also guarantees
        // that no session or group of that number is left, and the cookie alone tells.
        let reused =
            job.main_is == Main::Ended && scan.procs().iter().any(|proc| proc.pid == job.main && !proc.has_ended());
        let main = if reused { i32::MAX } else { job.main };
        found.procs = kin.members(main, &job.cookie);
        let inside = job.cgroup.as_deref().and_then(|dir| cgroup::all_members(dir).ok()).unwrap_or_default();
        let known: HashSet<i32> = found.procs.iter().map(|proc| proc.pid).collect();
        let more = |proc: &&Proc| inside.contains(&proc.pid) && !known.contains(&proc.pid) && !proc.has_ended();
        found.procs.extend(scan.procs().iter().filter(more));
        if job.how == Sweep::Kill
            && let Some(dir) = &job.cgroup
        {
            // All at once, whoever is forked meanwhile included. Before Linux 5.14 the signals below do it alone.
            let _unknown = cgroup::kill(dir);
        }
        for proc in &found.procs {
            signal(job, proc);
            match watchable(proc) {
                Ok(Some(pidfd)) => found.pidfds.push(pidfd),
                Ok(None) => found.sight = Sight::Fewer,
                Err(_blind) if found.sight == Sight::All => found.sight = Sight::Some,
                Err(_blind) => {}
            }
        }
    }
    left
}

/// A handle on exactly this process; `None` where it has ended meanwhile.
fn watchable(proc: &Proc) -> std::io::Result<Option<OwnedFd>> {
    let opened = pidfd::open(proc.pid);
    if svd_sys::tree::read_proc(proc.pid).is_none_or(|now| now.starttime != proc.starttime) {
        return Ok(None);
    }
    let pidfd = opened?;
    fd::set_nonblocking(pidfd.as_fd())?;
    Ok(Some(pidfd))
}

fn signal(job: &Job, proc: &Proc) {
    let signals: &[i32] = match job.how {
        Sweep::Kill => &[KILL],
        Sweep::Terminate if job.asked.contains(&(proc.pid, proc.starttime)) => &[],
        Sweep::Terminate => &[TERM, CONT],
    };
    for signal in signals {
        // One that is gone meanwhile, or may not be signalled, is found by the next scan or not at all; the core's deadline
        // reports it as stuck.
        let _seen_by_next_scan = kill_verified(proc, *signal);
    }
}

/// Whether the keeper has no child but the known ones. Whoever is left of a tree whose main process has ended is below a
/// process that the kernel gave to the keeper (`PR_SET_CHILD_SUBREAPER`), so without such a one nobody is left. This spares
/// a scan of all processes for each of a thousand that end properly.
fn no_orphans(keeper: i32, known: &BTreeSet<i32>) -> bool {
    let path = format!("/proc/{keeper}/task/{keeper}/children");
    let Ok(text) = std::fs::read_to_string(&path) else { return false };
    let all_known =
        text.split_ascii_whitespace().filter_map(|pid| pid.parse().ok()).all(|pid: i32| known.contains(&pid));
    // When one that was listed is reaped while the kernel writes the list, it passes over another one (proc_pid_children(5)).
    // The list of the next moment then lacks the one that was reaped.
    all_known && std::fs::read_to_string(&path).is_ok_and(|again| again == text)
}
