//! What a killed svd left behind: a keeper that dies takes the main processes with it, not what they started. Two copies of
//! an app would fight over ports and data, so the old one is ended before the new one is begun.

use std::collections::HashSet;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use svd_sys::tree::{Proc, Scan, environ_cookie, kill_verified, read_proc};
use svd_sys::{clock, fd, pidfd};

use super::launch::COOKIE;

const TERM: i32 = 15;
const CONT: i32 = 18;
const KILL: i32 = 9;
/// How long they have after TERM, all of them together.
const GRACE: Duration = Duration::from_secs(10);
/// How long KILL may take.
const END: Duration = Duration::from_secs(5);

/// Ends everybody who was started by an earlier svd with this control socket, and says who that was. Only for the holder
/// of the locks: nobody else serves that socket. May take as long as [`GRACE`] and [`END`] together.
pub fn end(keeper: i32, control: &Path) -> Vec<i32> {
    let control = control.display().to_string();
    let mut ended = HashSet::new();
    for (signals, time) in [(&[TERM, CONT][..], GRACE), (&[KILL][..], END)] {
        let deadline = clock::now().mono_ns.saturating_add(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
        // Whoever ends may have started another meanwhile: until a scan finds nobody.
        loop {
            let left = find(keeper, &control);
            let now = clock::now().mono_ns;
            if left.is_empty() || now >= deadline {
                break;
            }
            let fresh = left.iter().filter(|proc| signals.contains(&KILL) || !ended.contains(&proc.pid));
            for proc in fresh {
                for signal in signals {
                    // One that is gone meanwhile is what was wanted.
                    let _gone = kill_verified(proc, *signal);
                }
            }
            ended.extend(left.iter().map(|proc| proc.pid));
            let until = Duration::from_nanos(deadline.saturating_sub(now));
            if !left.iter().filter_map(watch).all(|process| fd::wait_readable(process.as_fd(), until).unwrap_or(false))
            {
                break;
            }
        }
    }
    let mut ended: Vec<i32> = ended.into_iter().collect();
    ended.sort_unstable();
    ended
}

/// Those with the marks of an instance and this control socket in their environment; never whom this svd descends from.
fn find(keeper: i32, control: &str) -> Vec<Proc> {
    let Ok(scan) = Scan::read() else { return Vec::new() };
    let mut ours: HashSet<i32> = scan.descendants(keeper).iter().map(|proc| proc.pid).collect();
    let mut at = keeper;
    while ours.insert(at)
        && let Some(proc) = scan.procs().iter().find(|proc| proc.pid == at)
    {
        at = proc.ppid;
    }
    let marked = |proc: &&Proc| {
        environ_cookie(proc.pid, "SVD_CONTROL").as_deref() == Some(control)
            && environ_cookie(proc.pid, COOKIE).is_some()
    };
    let others = scan.procs().iter().filter(|proc| !proc.has_ended() && !ours.contains(&proc.pid));
    others.filter(marked).copied().collect()
}

/// A handle on exactly this process; `None` when it is gone.
fn watch(proc: &Proc) -> Option<OwnedFd> {
    let process = pidfd::open(proc.pid).ok()?;
    let same = read_proc(proc.pid).is_some_and(|now| now.starttime == proc.starttime);
    same.then_some(process)
}
