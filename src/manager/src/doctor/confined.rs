//! What can be kept within limits here, looked at and tried out without touching anything that lasts.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use svd_sys::confine::Confine;
use svd_sys::spawn::{self, Child, Others, Program, Progress, Session};
use svd_sys::{cgroup, fd, pidfd, process, wait};

use super::reason;
use crate::run::cgroups::{may_take, unwritable};

/// A child that takes longer than this is ended.
const PATIENCE: Duration = Duration::from_secs(5);
const KILL: i32 = 9;

/// What limits there can be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Limits {
    /// All.
    All,
    /// With version 1: no memory_high and no io_weight.
    V1,
    /// An svd started from here would have none, one in a unit of its own might: why.
    NotFromHere(String),
    /// None: why.
    None(String),
}

/// Looks where this process is.
pub fn limits() -> Limits {
    let pid = process::pid();
    let places = match cgroup::places(pid) {
        Ok(places) => places,
        Err(error) => return Limits::None(reason(&error)),
    };
    let of_v1: Vec<_> = ["memory", "cpu", "pids"].iter().filter_map(|name| places.v1.get(*name)).collect();
    if !of_v1.is_empty() {
        return match of_v1.iter().find_map(|dir| cgroup::may_write(dir).err().map(|error| unwritable(dir, &error))) {
            None => Limits::V1,
            Some(why) => Limits::None(why),
        };
    }
    let Some(dir) = places.unified else { return Limits::None("no hierarchy of cgroups is mounted".to_owned()) };
    if let Err(error) = cgroup::may_write(&dir) {
        let why = unwritable(&dir, &error);
        let is_fixed = error.kind() == io::ErrorKind::ReadOnlyFilesystem;
        return if is_fixed { Limits::None(why) } else { Limits::NotFromHere(why) };
    }
    match cgroup::is_root(&dir) || may_take(&dir, pid).is_ok() {
        true => Limits::All,
        false => Limits::NotFromHere(may_take(&dir, pid).err().unwrap_or_default()),
    }
}

/// Whether a child can have mounts of its own, with everything read-only; why not.
pub fn mounts() -> Result<(), String> {
    let everything = [c"/".to_owned()];
    tried(Confine { private_tmp: true, read_only: &everything, ..Confine::default() })
}

/// Whether a child can be kept from writing anywhere but below some paths, by mounts or else by Landlock; why not.
pub fn write_only_below() -> Result<(), String> {
    let everything = [c"/".to_owned()];
    tried(Confine { read_only: &everything, ..Confine::default() })
}

/// Whether a child can be left without capabilities.
pub fn capabilities() -> Result<(), String> {
    tried(Confine { capabilities: Some(0), ..Confine::default() })
}

fn tried(confine: Confine<'_>) -> Result<(), String> {
    attempt(confine).unwrap_or_else(|error| Err(reason(&error)))
}

fn attempt(confine: Confine<'_>) -> io::Result<Result<(), String>> {
    let program: OwnedFd = std::fs::File::open("/proc/self/exe")?.into();
    let null = fd::open_null()?;
    let argv: Vec<CString> = vec![c"svd".to_owned(), c"version".to_owned()];
    let mut started = spawn::start(&Child {
        program: Program::Pinned(program.as_fd()),
        argv: &argv,
        env: &[],
        cwd: None,
        umask: None,
        nice: None,
        oom_score_adj: None,
        identity: None,
        limits: &[],
        fds: &[],
        others: Others::Close,
        null: null.as_fd(),
        session: Session::Own,
        die_with: Some(process::pid()),
        filter: None,
        cgroups: &[],
        confine,
    })?;
    if !fd::wait_readable(started.pidfd.as_fd(), PATIENCE)? {
        let _ended = pidfd::send_signal(started.pidfd.as_fd(), KILL);
        let _late = fd::wait_readable(started.pidfd.as_fd(), PATIENCE);
    }
    let _reaped = wait::reap(started.pid);
    Ok(match started.status.progress() {
        Progress::Execed => Ok(()),
        Progress::Failed(_, errno) => Err(reason(&io::Error::from_raw_os_error(errno))),
        Progress::Pending | Progress::Died => Err("the child could not be run".to_owned()),
    })
}
