//! Ending whole trees: whoever is left of a spawn is found, signalled and waited for until a full scan finds nobody.
//!
//! Works without cgroups: by descent, session, group and the cookie in the environment. One scan at a time serves all
//! spawns that wait for one; it runs on a thread of its own, since reading another process's environment can wait in the
//! kernel. Deadlines are the core's: it asks for KILL when TERM has had its time.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::os::fd::{AsFd, OwnedFd};

use svd_core::{SpawnId, Sweep};
use svd_sys::tree::{Proc, Scan, Sought, kill_verified};
use svd_sys::{fd, pidfd};
use tokio::io::Interest;
use tokio::sync::mpsc;

use super::Inner;
use super::launch::COOKIE;

const TERM: i32 = 15;
const CONT: i32 = 18;
const KILL: i32 = 9;

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
    /// Who was sent TERM already: nobody gets it twice.
    asked: HashSet<(i32, u64)>,
}

/// What a scan found for one spawn.
#[derive(Debug)]
pub struct Left {
    spawn: SpawnId,
    procs: Vec<Proc>,
    pidfds: Vec<OwnedFd>,
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
    pub fn request(&mut self, spawn: SpawnId, how: Sweep, main: i32, main_is: Main, cookie: &str) {
        let job = self.jobs.entry(spawn).or_insert_with(|| Job {
            how,
            main,
            main_is,
            cookie: cookie.to_owned(),
            asked: HashSet::new(),
        });
        job.how = how;
        job.main_is = main_is;
    }

    /// The end of a main process was reported. True where its tree is being ended: a scan is due.
    pub fn main_ended(&mut self, spawn: SpawnId) {
        if let Some(job) = self.jobs.get_mut(&spawn) {
            job.main_is = Main::Ended;
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
        let mut wait_for = Vec::new();
        for left in found {
            let Some(job) = self.jobs.get_mut(&left.spawn) else { continue };
            if left.procs.is_empty() {
                if job.main_is == Main::Ended {
                    self.jobs.remove(&left.spawn);
                    empty.push(left.spawn);
                }
                continue;
            }
            job.asked.extend(left.procs.iter().map(|proc| (proc.pid, proc.starttime)));
            wait_for.extend(left.pidfds);
        }
        if !wait_for.is_empty() {
            let inner = self.inner.clone();
            tokio::spawn(async move {
                for pidfd in wait_for {
                    ended(pidfd).await;
                }
                let _ending = inner.send(Inner::ScanAgain);
            });
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

/// Waits until the process has ended; returns at once where that cannot be watched.
async fn ended(process: OwnedFd) {
    let Ok(process) = crate::reactor::watch(process, Interest::READABLE) else { return };
    // An error of the reactor means that it is being shut down.
    let _readable = process.readable().await;
}

/// One scan for all jobs, with the signals that are due.
fn look(keeper: i32, jobs: &BTreeMap<SpawnId, Job>, known: &BTreeSet<i32>) -> Vec<Left> {
    let mut left: Vec<Left> =
        jobs.keys().map(|spawn| Left { spawn: *spawn, procs: Vec::new(), pidfds: Vec::new() }).collect();
    let all_mains_ended = jobs.values().all(|job| job.main_is == Main::Ended);
    if all_mains_ended && no_orphans(keeper, known) {
        return left;
    }
    let Ok(scan) = Scan::read() else { return Vec::new() };
    for found in &mut left {
        let Some(job) = jobs.get(&found.spawn) else { continue };
        // A number whose process ended and that is in use again belongs to a stranger; then the kernel also guarantees
        // that no session or group of that number is left, and the cookie alone tells.
        let reused =
            job.main_is == Main::Ended && scan.procs().iter().any(|proc| proc.pid == job.main && !proc.has_ended());
        let main = if reused { i32::MAX } else { job.main };
        let sought = Sought { keeper, main, cookie: Some((COOKIE, &job.cookie)) };
        found.procs = scan.members(&sought);
        for proc in &found.procs {
            signal(job, proc);
            if let Ok(pidfd) = pidfd::open(proc.pid)
                && svd_sys::tree::read_proc(proc.pid).is_some_and(|now| now.starttime == proc.starttime)
                && fd::set_nonblocking(pidfd.as_fd()).is_ok()
            {
                found.pidfds.push(pidfd);
            }
        }
    }
    left
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
    let Ok(text) = std::fs::read_to_string(format!("/proc/{keeper}/task/{keeper}/children")) else { return false };
    text.split_ascii_whitespace().filter_map(|pid| pid.parse().ok()).all(|pid: i32| known.contains(&pid))
}
