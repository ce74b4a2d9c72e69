//! From numbers and paths to a process: the manager, and what the manager asks for.

use crate::entry::{MANAGER_ARG, TRIAL_ARG, WIRE_FD};
use crate::run::{REFUSED_VARIABLE, STATE_VARIABLE};
use crate::step::Start;
use crate::stores::{Stored, announce};
use std::borrow::Cow;
use std::ffi::{CString, OsString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use svd_sys::confine::Confine;
use svd_sys::limits::{self, Limit};
use svd_sys::packet::PacketSocket;
use svd_sys::spawn::{self, Child, Identity, Others, Program, Session, Started};
use svd_sys::{fd, process};
use svd_wire::{FdRole, SAFE_MODE_VARIABLE, SpawnError, SpawnSpec, Stage};

/// The manager's oom_score_adj where the keeper could lower its own: after the services, before the keeper.
const MANAGER_OOM: i32 = -900;
const KEEPER_OOM: i32 = -1000;

/// What every start needs, found out once.
#[derive(Debug)]
pub struct Launcher {
    null: OwnedFd,
    /// What managers are run from: the program as it was when it was opened, whatever lies at its path by now.
    pub program: OwnedFd,
    /// What they were run from before an upgrade.
    pub former: Option<OwnedFd>,
    /// svd's own arguments, without its name.
    pub args: Vec<CString>,
    /// The environment of managers.
    pub env: Vec<CString>,
    /// The limit of open files that svd was started with.
    pub nofile: Option<Limit>,
    /// The oom_score_adj that svd was started with, where the keeper has changed its own.
    pub oom: Option<i32>,
    die_with: Option<i32>,
}

/// The program that managers are run from, and the one before it.
#[derive(Debug)]
pub struct Programs {
    /// Now.
    pub program: OwnedFd,
    /// Before.
    pub former: Option<OwnedFd>,
}

impl Launcher {
    /// Raises the keeper's own limits and remembers the old ones for its children.
    pub fn prepare(args: Vec<OsString>) -> io::Result<Self> {
        let program = std::fs::File::open("/proc/self/exe")?.into();
        let nofile = limits::nofile().ok();
        if let Some(Limit { hard, .. }) = nofile {
            // Each instance takes about five descriptors. Where it cannot be raised, starts are refused sooner.
            let _refused = limits::set_nofile(Limit { soft: hard, hard });
        }
        let started_with = process::oom_score_adj().ok();
        let oom = started_with.filter(|_| process::set_oom_score_adj(KEEPER_OOM).is_ok());
        let args = args.into_iter().filter_map(|arg| CString::new(arg.into_vec()).ok()).collect();
        let own = [STATE_VARIABLE, REFUSED_VARIABLE, SAFE_MODE_VARIABLE];
        let is_own = |key: &OsString| own.iter().any(|own| key == own) || crate::host::is_for_keeper(key.as_bytes());
        let variables = std::env::vars_os().filter(|(key, _)| !is_own(key));
        let env = variables.filter_map(|(key, value)| {
            let entry = [key.as_bytes(), b"=", value.as_bytes()].concat();
            CString::new(entry).ok()
        });
        Launcher::resume(Programs { program, former: None }, args, env.collect(), nofile, oom)
    }

    /// As [`prepare`](Self::prepare) made it in an earlier program of this process.
    pub fn resume(
        programs: Programs,
        args: Vec<CString>,
        env: Vec<CString>,
        nofile: Option<Limit>,
        oom: Option<i32>,
    ) -> io::Result<Self> {
        let Programs { program, former } = programs;
        let die_with = Some(process::pid()).filter(|pid| *pid != 1);
        Ok(Launcher { null: fd::open_null()?, program, former, args, env, nofile, oom, die_with })
    }

    /// Runs later managers from another program.
    pub fn switch(&mut self, program: OwnedFd) {
        self.former = Some(std::mem::replace(&mut self.program, program));
    }

    /// Runs them from the former one again.
    pub fn switch_back(&mut self) {
        if let Some(former) = self.former.take() {
            self.program = former;
        }
    }

    /// Forks a manager that finds `wire` at [`WIRE_FD`]. It has the keeper's standard streams and raised limits, and a
    /// session of its own, so that the terminal's signals reach only the keeper.
    pub fn manager(&self, wire: &PacketSocket, how: Start) -> io::Result<Started> {
        let (stdin, stdout, stderr) = (std::io::stdin(), std::io::stdout(), std::io::stderr());
        let wire_fd = u32::try_from(WIRE_FD).unwrap_or(3);
        let fds = [(stdin.as_fd(), 0), (stdout.as_fd(), 1), (stderr.as_fd(), 2), (wire.as_fd(), wire_fd)];
        let mut argv: Vec<CString> = vec![c"svd: manager".into()];
        argv.extend(CString::new(MANAGER_ARG));
        argv.extend(self.args.iter().cloned());
        let mut env = self.env.clone();
        if how == Start::Safe {
            env.extend(CString::new(format!("{SAFE_MODE_VARIABLE}=1")));
        }
        self.own(&argv, &env, &fds)
    }

    /// Forks the program that managers are run from, to try whether it can read the keeper's state, which it finds at [`WIRE_FD`].
    pub fn trial(&self, state: BorrowedFd<'_>) -> io::Result<Started> {
        let (stdout, stderr) = (std::io::stdout(), std::io::stderr());
        let state_fd = u32::try_from(WIRE_FD).unwrap_or(3);
        let fds = [(stdout.as_fd(), 1), (stderr.as_fd(), 2), (state, state_fd)];
        let mut argv: Vec<CString> = vec![c"svd: trial".into()];
        argv.extend(CString::new(TRIAL_ARG));
        self.own(&argv, &self.env, &fds)
    }

    /// Forks svd's own program.
    fn own(&self, argv: &[CString], env: &[CString], fds: &[(BorrowedFd<'_>, u32)]) -> io::Result<Started> {
        spawn::start(&Child {
            program: Program::Pinned(self.program.as_fd()),
            argv,
            env,
            cwd: None,
            umask: None,
            nice: None,
            oom_score_adj: self.oom.map(|_| MANAGER_OOM),
            identity: None,
            limits: &[],
            fds,
            others: Others::Close,
            null: self.null.as_fd(),
            session: Session::Own,
            die_with: self.die_with,
            filter: None,
            cgroups: &[],
            confine: Default::default(),
        })
    }

    /// Forks what a spec says, with the descriptors that came with it and those of its store.
    pub fn spawn(
        &self,
        spec: &SpawnSpec,
        attached: &[OwnedFd],
        stored: &[(Stored, BorrowedFd<'_>)],
    ) -> io::Result<Started> {
        let path = c_string(&spec.path)?;
        let cwd = c_string(&spec.cwd)?;
        let argv = spec.argv.iter().map(|arg| c_string(arg)).collect::<io::Result<Vec<_>>>()?;
        let told: Vec<Stored> = stored.iter().map(|(stored, _)| stored.clone()).collect();
        let env = if told.is_empty() { Cow::Borrowed(&spec.env) } else { Cow::Owned(announce(&spec.env, &told)) };
        let env = env.iter().map(|entry| c_string(entry)).collect::<io::Result<Vec<_>>>()?;
        let mut limits: Vec<(u32, Limit)> = Vec::new();
        if !spec.rlimits.iter().any(|limit| limit.resource == limits::NOFILE) {
            limits.extend(self.nofile.map(|limit| (limits::NOFILE, limit)));
        }
        limits.extend(spec.rlimits.iter().map(|limit| (limit.resource, Limit { soft: limit.soft, hard: limit.hard })));
        let fds: Vec<(BorrowedFd<'_>, u32)> = spec
            .fds
            .iter()
            .zip(attached)
            .filter_map(|(role, fd)| match role {
                FdRole::Child(number) => Some((fd.as_fd(), *number)),
                FdRole::Stdout
                | FdRole::Stderr
                | FdRole::Ready
                | FdRole::Notify
                | FdRole::Intercept
                | FdRole::Filter
                | FdRole::Cgroup(_) => None,
            })
            .chain((spec.store.as_ref().map_or(0, |store| store.first)..).zip(stored).map(|(to, (_, fd))| (*fd, to)))
            .collect();
        let filter = spec.fds.iter().zip(attached).find(|(role, _)| **role == FdRole::Filter).map(|(_, fd)| fd.as_fd());
        let is_cgroup = |role: &FdRole| matches!(role, FdRole::Cgroup(_));
        let cgroups: Vec<BorrowedFd<'_>> =
            spec.fds.iter().zip(attached).filter(|(role, _)| is_cgroup(role)).map(|(_, fd)| fd.as_fd()).collect();
        let given = &spec.confinement;
        let strings = |paths: &[Vec<u8>]| paths.iter().map(|path| c_string(path)).collect::<io::Result<Vec<_>>>();
        let (read_only, read_write) = (strings(&given.read_only)?, strings(&given.read_write)?);
        let confine = Confine {
            capabilities: given.capabilities,
            no_new_privs: given.no_new_privs,
            private_tmp: given.private_tmp,
            read_only: &read_only,
            read_write: &read_write,
        };
        spawn::start(&Child {
            program: Program::Path(&path),
            argv: &argv,
            env: &env,
            cwd: Some(&cwd),
            umask: spec.umask,
            nice: spec.nice,
            oom_score_adj: spec.oom_score_adj.or(self.oom),
            identity: spec.credentials.as_ref().map(|who| Identity { uid: who.uid, gid: who.gid, groups: &who.groups }),
            limits: &limits,
            fds: &fds,
            others: Others::Close,
            null: self.null.as_fd(),
            session: Session::Own,
            die_with: self.die_with,
            filter,
            cgroups: &cgroups,
            confine,
        })
    }
}

fn c_string(bytes: &[u8]) -> io::Result<CString> {
    CString::new(bytes).map_err(|_| io::ErrorKind::InvalidInput.into())
}

/// The failure of a child in the words of the wire.
pub fn spawn_error(stage: spawn::Stage, errno: i32) -> SpawnError {
    let stage = match stage {
        spawn::Stage::Session => Stage::Session,
        spawn::Stage::Limits => Stage::Limits,
        spawn::Stage::Credentials => Stage::Credentials,
        spawn::Stage::Directory => Stage::Directory,
        spawn::Stage::Descriptors => Stage::Descriptors,
        spawn::Stage::Exec => Stage::Exec,
        spawn::Stage::Cgroup => Stage::Cgroup,
        spawn::Stage::Mounts => Stage::Mounts,
        spawn::Stage::Capabilities => Stage::Capabilities,
    };
    SpawnError { stage, errno }
}
