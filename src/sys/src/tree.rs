//! The process tree as /proc shows it: who descends from whom, who belongs to an instance, and signalling a process
//! found that way without ever hitting another one that got its number.
//!
//! It works without cgroups, which a container usually cannot write. It is a snapshot: whoever kills by it scans
//! again until nobody is left.

use crate::pidfd;
use std::collections::{HashMap, HashSet};
use std::fs;
use std::io;
use std::os::fd::AsFd;

/// One process, from /proc/PID/stat (proc_pid_stat(5)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proc {
    /// Process id.
    pub pid: i32,
    /// Parent.
    pub ppid: i32,
    /// Process group.
    pub pgrp: i32,
    /// Session.
    pub session: i32,
    /// When it started, in clock ticks since boot: with the pid, it names a process for ever.
    pub starttime: u64,
    /// The state's letter: R, S, D, Z, T, …
    pub state: char,
    flags: u64,
}

impl Proc {
    /// Whether it has ended: a zombie or dead.
    pub fn has_ended(&self) -> bool {
        matches!(self.state, 'Z' | 'X' | 'x')
    }

    /// Whether it has never called exec since it was forked (PF_FORKNOEXEC). True of zombies too.
    pub fn never_ran_a_program(&self) -> bool {
        const PF_FORKNOEXEC: u64 = 0x40;
        self.flags & PF_FORKNOEXEC != 0
    }
}

/// Reads one process; `None` when it is gone.
pub fn read_proc(pid: i32) -> Option<Proc> {
    parse_stat(&fs::read(format!("/proc/{pid}/stat")).ok()?)
}

fn parse_stat(stat: &[u8]) -> Option<Proc> {
    // The name is in parentheses and may contain anything, so the fields are counted from the last ")".
    let close = stat.iter().rposition(|byte| *byte == b')')?;
    let head = std::str::from_utf8(stat.get(..close)?.split(|byte| *byte == b' ').next()?).ok()?;
    let tail = std::str::from_utf8(stat.get(close.checked_add(1)?..)?).ok()?;
    let mut fields = tail.split_ascii_whitespace();
    let state = fields.next()?.chars().next()?;
    let ppid = fields.next()?.parse().ok()?;
    let pgrp = fields.next()?.parse().ok()?;
    let session = fields.next()?.parse().ok()?;
    // After tty_nr and tpgid come the flags (field 9); the start time is field 22.
    let flags = fields.nth(2)?.parse().ok()?;
    let starttime = fields.nth(12)?.parse().ok()?;
    Some(Proc { pid: head.trim().parse().ok()?, ppid, pgrp, session, starttime, state, flags })
}

/// All processes at about one moment.
#[derive(Clone, Debug, Default)]
pub struct Scan {
    procs: Vec<Proc>,
}

impl Scan {
    /// Reads /proc. Processes that come and go meanwhile may be missing.
    pub fn read() -> io::Result<Scan> {
        let mut procs = Vec::new();
        for entry in fs::read_dir("/proc")? {
            let Ok(entry) = entry else { continue };
            let pid = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok());
            procs.extend(pid.and_then(read_proc));
        }
        Ok(Scan { procs })
    }

    /// All processes.
    pub fn procs(&self) -> &[Proc] {
        &self.procs
    }

    /// Everybody below `root`, without `root` itself; zombies included.
    pub fn descendants(&self, root: i32) -> Vec<Proc> {
        let below = self.below(root);
        self.procs.iter().filter(|proc| below.contains(&proc.pid)).copied().collect()
    }

    /// Everybody below the keeper who has not ended, for questions about any number of instances. Nobody else is ever a
    /// member of one. `key` is the variable whose value only one instance's processes have in their environment: it
    /// finds those that left the session, and excludes strangers who got the number of a main process that is gone.
    pub fn kin(&self, keeper: i32, key: &str) -> Kin {
        let children = self.children();
        let ours = below(&children, keeper);
        let alive = self.procs.iter().filter(|proc| !proc.has_ended() && ours.contains(&proc.pid));
        let procs = alive.map(|proc| (*proc, environ_cookie(proc.pid, key))).collect();
        Kin { children, procs }
    }

    fn below(&self, root: i32) -> HashSet<i32> {
        below(&self.children(), root)
    }

    fn children(&self) -> HashMap<i32, Vec<i32>> {
        let mut children: HashMap<i32, Vec<i32>> = HashMap::new();
        for proc in &self.procs {
            children.entry(proc.ppid).or_default().push(proc.pid);
        }
        children
    }
}

fn below(children: &HashMap<i32, Vec<i32>>, root: i32) -> HashSet<i32> {
    let mut below = HashSet::new();
    let mut open = vec![root];
    while let Some(parent) = open.pop() {
        for child in children.get(&parent).into_iter().flatten() {
            if *child != root && below.insert(*child) {
                open.push(*child);
            }
        }
    }
    below
}

/// The living processes below a keeper, each with its cookie. Made by [`Scan::kin`].
#[derive(Clone, Debug)]
pub struct Kin {
    children: HashMap<i32, Vec<i32>>,
    procs: Vec<(Proc, Option<String>)>,
}

impl Kin {
    /// The processes of an instance: below its main process, which led its own session and group, alive or not; in
    /// that session or group; or with its cookie, alone or as one of several that `/` separates (those of a supervisor
    /// that is run by another one carry both).
    pub fn members(&self, main: i32, cookie: &str) -> Vec<Proc> {
        let below_main = below(&self.children, main);
        let is_member = |(proc, found): &&(Proc, Option<String>)| match found {
            Some(found) => found.split('/').any(|part| part == cookie) || below_main.contains(&proc.pid),
            None => proc.pid == main || below_main.contains(&proc.pid) || proc.session == main || proc.pgrp == main,
        };
        self.procs.iter().filter(is_member).map(|(proc, _)| *proc).collect()
    }
}

/// Everybody below `root`, as of now.
pub fn descendants(root: i32) -> io::Result<Vec<Proc>> {
    Ok(Scan::read()?.descendants(root))
}

/// The value of one variable in the environment that a process was started with. `None` when it has none, is gone or
/// may not be looked at.
pub fn environ_cookie(pid: i32, key: &str) -> Option<String> {
    let environ = fs::read(format!("/proc/{pid}/environ")).ok()?;
    environ.split(|byte| *byte == 0).find_map(|entry| {
        let value = entry.strip_prefix(key.as_bytes())?.strip_prefix(b"=")?;
        String::from_utf8(value.to_vec()).ok()
    })
}

/// What became of a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// The process was sent it.
    Delivered,
    /// The process was gone already; nobody was sent anything.
    Gone,
}

/// Sends a signal to exactly this process. Its number may have been given to another one since the scan: a pidfd is
/// opened first and the start time compared after that, so what is signalled is what was seen.
pub fn kill_verified(proc: &Proc, signal: i32) -> io::Result<Delivery> {
    let gone = |error: &io::Error| error.raw_os_error() == Some(libc::ESRCH);
    let pidfd = match pidfd::open(proc.pid) {
        Ok(pidfd) => pidfd,
        Err(error) if gone(&error) => return Ok(Delivery::Gone),
        Err(error) => return Err(error),
    };
    if read_proc(proc.pid).map(|seen| seen.starttime) != Some(proc.starttime) {
        return Ok(Delivery::Gone);
    }
    match pidfd::send_signal(pidfd.as_fd(), signal) {
        Ok(()) => Ok(Delivery::Delivered),
        Err(error) if gone(&error) => Ok(Delivery::Gone),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_and_spaces_does_not_shift_the_fields() {
        let stat = b"42 (a) b (c)) S 1 2 3 0 -1 64 0 0 0 0 0 0 0 0 20 0 1 0 777 0 0";
        let proc = parse_stat(stat).unwrap();
        assert_eq!((proc.pid, proc.ppid, proc.pgrp, proc.session, proc.starttime), (42, 1, 2, 3, 777));
        assert!(proc.never_ran_a_program());
        assert_eq!(parse_stat(b"42 (x"), None);
        assert_eq!(parse_stat(b""), None);
    }

    #[test]
    fn a_child_is_found_below_us_by_cookie_and_is_killed_exactly_once() {
        let me = std::process::id().cast_signed();
        let mut child = std::process::Command::new("sleep").arg("60").env("SVD_TEST_COOKIE", "yes").spawn().unwrap();
        let pid = child.id().cast_signed();
        let scan = Scan::read().unwrap();
        let found = scan.descendants(me).into_iter().find(|proc| proc.pid == pid).unwrap();
        // Command::spawn returns when exec closes the descriptors, an instant before the new environment is there.
        let deadline = crate::clock::now().mono_ns + 20_000_000_000;
        let cookie = loop {
            let cookie = environ_cookie(pid, "SVD_TEST_COOKIE");
            if cookie.is_some() || crate::clock::now().mono_ns > deadline {
                break cookie;
            }
            std::thread::yield_now();
        };
        assert_eq!(cookie.as_deref(), Some("yes"));
        let kin = scan.kin(me, "SVD_TEST_COOKIE");
        assert_eq!(kin.members(i32::MAX, "yes").iter().map(|proc| proc.pid).collect::<Vec<_>>(), [pid]);
        assert!(kin.members(pid, "no").is_empty(), "a stranger's cookie excludes it");
        let stranger = Proc { starttime: found.starttime + 1, ..found };
        assert_eq!(kill_verified(&stranger, 9).unwrap(), Delivery::Gone);
        assert_eq!(kill_verified(&found, 9).unwrap(), Delivery::Delivered);
        child.wait().unwrap();
        assert_eq!(kill_verified(&found, 9).unwrap(), Delivery::Gone);
    }
}
