//! Managers killed all the while, and commands that are carried through nevertheless.

use super::{App, DEADLINE, Reply, children, wait};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long managers are killed at most, whoever forgets to stop it.
const LONGEST: Duration = Duration::from_secs(300);

/// The manager below this keeper, if there is one now: its only child that runs svd.
pub fn manager(keeper: i32) -> Option<svd_sys::tree::Proc> {
    let svd = std::fs::read_link(format!("/proc/{keeper}/exe")).ok()?;
    let runs_svd = |pid: &i32| std::fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe == svd);
    // A child that was forked for a service shows the keeper's program too, until it execs its own.
    let proc = children(keeper).into_iter().filter(runs_svd).find_map(svd_sys::tree::read_proc)?;
    (!proc.never_ran_a_program()).then_some(proc)
}

/// Kills the manager of one svd again and again, until it is dropped.
pub struct Killer {
    over: Arc<AtomicBool>,
    killed: Arc<AtomicU32>,
    thread: Option<JoinHandle<()>>,
}

impl Killer {
    /// `kill -9` at random instants, `every` after it has answered for the first time on the average. One that has not
    /// begun to work is spared, and where that takes long, in a debug build on a machine that is busy, it is given as long
    /// to work: otherwise none would ever get anywhere.
    pub fn of(app: &App, every: Duration) -> Killer {
        let (over, killed) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
        let (keeper, socket, began) = (app.keeper(), app.socket(), Instant::now());
        let thread = std::thread::spawn({
            let (over, killed) = (over.clone(), killed.clone());
            move || {
                let (mut seed, mut last) = (20_261_125, (0, 0));
                let mut missing = Instant::now();
                while !over.load(Ordering::Relaxed) && began.elapsed() < LONGEST {
                    if super::request(&socket, "GET", "/v1/status", None).is_err() {
                        continue;
                    }
                    wait::instant_within((every * 2).max(missing.elapsed() * 2), &mut seed);
                    let Some(manager) = manager(keeper) else { continue };
                    let this = (manager.pid, manager.starttime);
                    // One that is not reaped yet can be met twice.
                    let delivered = svd_sys::tree::kill_verified(&manager, 9).expect("kill");
                    if this != last && delivered == svd_sys::tree::Delivery::Delivered {
                        killed.fetch_add(1, Ordering::Relaxed);
                        (last, missing) = (this, Instant::now());
                    }
                }
            }
        });
        Killer { over, killed, thread: Some(thread) }
    }

    /// How many it has killed until now.
    pub fn killed(&self) -> u32 {
        self.killed.load(Ordering::Relaxed)
    }

    /// Ends it and gives how many it has killed.
    pub fn stop(mut self) -> u32 {
        self.end();
        self.killed()
    }

    fn end(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            assert!(ended.is_ok() || std::thread::panicking(), "the killer panicked");
        }
    }
}

impl Drop for Killer {
    fn drop(&mut self) {
        self.end();
    }
}

/// The pids of a process's instances, those that are ready, by instance.
pub fn ready_pids(app: &App, process: &str) -> Vec<(String, i64)> {
    // A status may be cut off when its manager is killed: then the next one is asked.
    app.until("a status", |status| {
        let found = status["processes"].as_array()?.iter().find(|one| one["name"] == process)?;
        let ready = found["instances"].as_array()?.iter().filter(|instance| instance["state"] == "ready");
        Some(ready.filter_map(|one| Some((one["id"].as_str()?.to_owned(), one["pid"].as_i64()?))).collect())
    })
}

/// Restarts a process and waits until every instance is a new one and ready. A manager that is killed cuts off the
/// command that it was carrying out: what it had stored comes about by the next one; what it had not is said again.
pub fn roll(app: &App, process: &str) {
    let before = ready_pids(app, process);
    change(app, &["restart", process], |status| {
        let found = status["processes"].as_array()?.iter().find(|one| one["name"] == process)?;
        let instances = found["instances"].as_array()?;
        let new = instances.iter().all(|one| {
            one["state"] == "ready" && one["pid"].as_i64().is_some_and(|pid| before.iter().all(|(_, old)| *old != pid))
        });
        (new && instances.len() == before.len()).then_some(())
    });
}

/// Gives a command until it has come about: `done` finds in the status that it has. It is only given again where the one
/// before was cut off and had not been stored.
pub fn change<T>(app: &App, args: &[&str], mut done: impl FnMut(&serde_json::Value) -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        let reply = app.svctl(args);
        match reply.code {
            Some(0) => return app.until(&format!("{args:?} to come about"), done),
            _ if cut_off(&reply) => {}
            _ => panic!("svctl {args:?}: {reply:?}\n{}", app.diagnosis()),
        }
        // Whether it was stored shows in that something is under way; nothing under way and not done: it was not.
        let came = app.until("the next manager's word", |status| {
            if let Some(found) = done(status) {
                return Some(Some(found));
            }
            let settled = status["processes"].as_array()?.iter().all(|process| {
                process["instances"].as_array().is_some_and(|all| all.iter().all(|one| one["state"] == "ready"))
            });
            settled.then_some(None)
        });
        if let Some(found) = came {
            return found;
        }
        assert!(began.elapsed() < 2 * DEADLINE, "svctl {args:?} does not come about: {reply:?}\n{}", app.diagnosis());
    }
}

/// Whether the command's manager died before it answered.
fn cut_off(reply: &Reply) -> bool {
    let told = ["svd cut the connection", "did not answer within", "was carried out is unknown"];
    reply.code == Some(69) || told.iter().any(|told| reply.err.contains(told))
}
