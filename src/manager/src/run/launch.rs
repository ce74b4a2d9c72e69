//! From the plan to what the keeper is told to start: environment, words, program, numbers, descriptors.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use svd_config::plan::{ExecPlan, JOB, LogPlan, Plan, ProcessPlan, ReadyBy, Run};
use svd_core::{InstanceName, Slot, SpawnFailure};
use svd_sys::{dgram, fd};
use svd_wire::{Confinement, Credentials, FEATURE_NOTIFY, FdRole, Rlimit, SpawnSpec, StoreSpec};

use super::handoff::{self, Filter, Handed};
use crate::listen::Listeners;
use crate::plan::{Account, Accounts, lookup};

/// The variable that marks every process of a spawn, so that those that left its session are found.
pub const COOKIE: &str = svd_wire::MARK;

/// What systemd or another supervisor told svd itself; never passed on.
const OWN_AFFAIRS: [&str; 20] = [
    "NOTIFY_SOCKET",
    "WATCHDOG_USEC",
    "WATCHDOG_PID",
    "LISTEN_FDS",
    "LISTEN_PID",
    "LISTEN_FDNAMES",
    "LISTEN_PIDFDID",
    "FDSTORE",
    "INVOCATION_ID",
    "SYSTEMD_EXEC_PID",
    "JOURNAL_STREAM",
    "MAINPID",
    "MANAGERPID",
    "SERVICE_RESULT",
    "EXIT_CODE",
    "EXIT_STATUS",
    "MEMORY_PRESSURE_WATCH",
    "MEMORY_PRESSURE_WRITE",
    "CREDENTIALS_DIRECTORY",
    "SVD_ROOT",
];

/// What is the same for all spawns of an app.
pub struct Surroundings<'a> {
    /// The plan.
    pub plan: &'a Plan,
    /// Who runs what.
    pub accounts: &'a Accounts,
    /// svd's own environment.
    pub inherited: &'a BTreeMap<String, String>,
    /// Path of the control socket.
    pub control: &'a Path,
    /// Directory of the notify sockets.
    pub notify_dir: &'a Path,
    /// Feature bits of the keeper.
    pub keeper: u64,
    /// The sockets that svd holds.
    pub listeners: &'a Listeners,
}

/// A spec with the descriptors that go with it, and this side's ends.
pub struct Launch {
    /// What to start.
    pub spec: SpawnSpec,
    /// Descriptors in the order of `spec.fds`.
    pub fds: Vec<OwnedFd>,
    /// This side's ends of what the instance writes.
    pub stdout: Option<OwnedFd>,
    /// As `stdout`.
    pub stderr: Option<OwnedFd>,
    /// This side's end of the readiness pipe.
    pub ready: Option<OwnedFd>,
    /// This side's end of the socket over which the filter's listener comes.
    pub intercept: Option<OwnedFd>,
    /// Why its calls cannot be intercepted though they should.
    pub refused: Option<io::Error>,
}

/// Which start it is.
pub struct Start<'a> {
    /// Of which instance.
    pub instance: &'a InstanceName,
    /// What marks its processes.
    pub cookie: &'a str,
    /// What is written on it.
    pub tag: Vec<u8>,
    /// The slot that it accepts from.
    pub slot: Slot,
    /// Whether it is intercepted.
    pub filter: Filter,
    /// Variables of its own.
    pub more: Vec<(String, String)>,
}

impl Surroundings<'_> {
    /// The environment of an instance, complete; without the cookie.
    pub fn environment(&self, process: &ProcessPlan, index: u32) -> BTreeMap<String, String> {
        let exec = &process.exec;
        let mut env = self.common_environment(exec);
        if process.name.starts_with(JOB) {
            // A run has no port and is no instance; what it is told beside is its own ([`Start::more`]).
            return env;
        }
        let instance = format!("{}.{index}", process.name);
        let port = match self.listeners.port(process) {
            Some(port) => u32::from(port),
            None => u32::from(exec.port) + index.saturating_sub(1),
        };
        let own = [
            ("SVD_PROCESS", process.name.clone()),
            ("SVD_INSTANCE", instance.clone()),
            ("SVD_INDEX", index.to_string()),
            ("PORT", port.to_string()),
            ("PS", instance),
        ];
        env.extend(own.map(|(name, value)| (name.to_owned(), value)));
        env
    }

    /// What everything has that is started in these surroundings.
    fn common_environment(&self, exec: &ExecPlan) -> BTreeMap<String, String> {
        let mut env: BTreeMap<String, String> = self
            .inherited
            .iter()
            .filter(|(name, _)| kept(name, &exec.keep_env) && !OWN_AFFAIRS.contains(&name.as_str()))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        if exec.user.is_some()
            && let Some(account) = self.accounts.of(exec)
        {
            env.insert("HOME".into(), account.user.home.display().to_string());
            env.insert("USER".into(), account.user.name.clone());
            env.insert("LOGNAME".into(), account.user.name.clone());
            env.insert("SHELL".into(), account.user.shell.display().to_string());
        }
        env.extend(exec.env.iter().map(|(name, value)| (name.clone(), value.clone())));
        let own = [
            ("SVD_APP", self.plan.app.clone()),
            ("SVD_ENVIRONMENT", self.plan.environment.clone().unwrap_or_default()),
            ("SVD_CONTROL", self.control.display().to_string()),
        ];
        env.extend(own.map(|(name, value)| (name.to_owned(), value)));
        env
    }

    /// What marks the processes of a spawn. An svd that is itself run by an svd adds to the mark it was given, so that its
    /// processes are found by both.
    fn mark(&self, cookie: &str) -> String {
        match self.inherited.get(COOKIE) {
            Some(outer) => format!("{outer}/{cookie}"),
            None => cookie.to_owned(),
        }
    }

    /// The argument vector of a command, its words expanded.
    fn argv(run: &Run, env: &BTreeMap<String, String>) -> Result<Vec<String>, String> {
        match run {
            Run::Literal(words) => Ok(words.clone()),
            Run::Shell(line) => Ok(vec!["/bin/sh".into(), "-c".into(), line.clone()]),
            Run::Words(words) => svd_config::expand(words, env).map_err(|error| error.to_string()),
        }
    }

    /// The program a process would start, for checks before anything is touched.
    pub fn program(&self, process: &ProcessPlan) -> Result<(String, crate::plan::Lookup), String> {
        let env = self.environment(process, 1);
        let argv = Self::argv(&process.exec.run, &env)?;
        let name = argv.into_iter().next().ok_or("the command is empty")?;
        let found = lookup(&name, env.get("PATH").map(String::as_str), &process.exec.cwd);
        Ok((name, found))
    }

    /// A command in the surroundings of an instance, with its output thrown away: a probe.
    pub fn side_command(
        &self,
        process: &ProcessPlan,
        index: u32,
        run: &Run,
        cookie: &str,
    ) -> Result<SpawnSpec, SpawnFailure> {
        let mut env = self.environment(process, index);
        env.insert(COOKIE.into(), self.mark(cookie));
        self.spec(&process.exec, run, &env)
    }

    /// A command that tells somebody something: `told` are the variables for it, and `input` what it reads. The keeper holds
    /// what it writes, so that the death of a manager is none of its concern; this side's end is answered.
    pub fn notice(
        &self,
        exec: &ExecPlan,
        cookie: &str,
        told: Vec<(&'static str, String)>,
        input: &[u8],
    ) -> Result<(SpawnSpec, Vec<OwnedFd>, OwnedFd), SpawnFailure> {
        let mut env = self.common_environment(exec);
        env.extend(told.into_iter().map(|(name, value)| (name.to_owned(), value)));
        env.insert(COOKIE.into(), self.mark(cookie));
        let mut spec = self.spec(exec, &exec.run, &env)?;
        let mut kit = Kit::default();
        let output = kit.pipe(FdRole::Stdout, 1).and_then(|output| {
            let writes = kit.fds.last().ok_or(io::ErrorKind::NotFound)?.try_clone()?;
            kit.add(FdRole::Child(2), writes);
            kit.add(FdRole::Child(0), fd::memfd("svd-event", input)?);
            Ok(output)
        });
        let output = output.map_err(resources)?;
        spec.fds = kit.roles;
        Ok((spec, kit.fds, output))
    }

    fn spec(&self, exec: &ExecPlan, run: &Run, env: &BTreeMap<String, String>) -> Result<SpawnSpec, SpawnFailure> {
        let account = self.accounts.of(exec);
        if account.is_none() && (exec.user.is_some() || exec.group.is_some()) {
            // Never as svd's own user instead.
            return Err(broken("its user was not looked up".into(), 217));
        }
        let argv = Self::argv(run, env).map_err(|message| broken(message, 127))?;
        let name = argv.first().ok_or_else(|| broken("the command is empty".into(), 127))?;
        let program = lookup(name, env.get("PATH").map(String::as_str), &exec.cwd);
        let spec = SpawnSpec {
            tag: Vec::new(),
            path: bytes(program.path()),
            argv: argv.iter().map(|word| word.clone().into_bytes()).collect(),
            env: env.iter().map(|(name, value)| format!("{name}={value}").into_bytes()).collect(),
            cwd: bytes(&exec.cwd),
            umask: exec.umask,
            nice: exec.nice,
            oom_score_adj: exec.oom_score_adj,
            credentials: account.map(credentials),
            rlimits: exec
                .rlimits
                .iter()
                .map(|limit| Rlimit { resource: limit.resource, soft: limit.soft, hard: limit.hard })
                .collect(),
            confinement: confinement(exec),
            fds: Vec::new(),
            store: None,
        };
        fits(&spec)?;
        Ok(spec)
    }

    /// Everything for one start of an instance.
    pub fn launch(&self, process: &ProcessPlan, start: Start<'_>) -> Result<Launch, SpawnFailure> {
        let Start { instance, cookie, tag, slot, filter, more } = start;
        let mut env = self.environment(process, instance.index);
        env.insert(COOKIE.into(), self.mark(cookie));
        env.extend(more);
        let mut kit = Kit::default();
        let (mut stdout, mut stderr, mut ready) = (None, None, None);
        if process.logs != LogPlan::Null {
            stdout = Some(kit.pipe(FdRole::Stdout, 1).map_err(resources)?);
            stderr = Some(kit.pipe(FdRole::Stderr, 2).map_err(resources)?);
        }
        match &process.ready.by {
            ReadyBy::Fd(number) => ready = Some(kit.pipe(FdRole::Ready, *number).map_err(resources)?),
            ReadyBy::Notify
            | ReadyBy::Started
            | ReadyBy::Ended
            | ReadyBy::Listening
            | ReadyBy::Log(_)
            | ReadyBy::Run { .. }
            | ReadyBy::Tcp { .. }
            | ReadyBy::Http { .. } => {}
        }
        if process.has_notify_socket() {
            let path = self.notify_dir.join(cookie);
            let owner = self.accounts.of(&process.exec).map(|account| account.user.uid);
            kit.notify(&path, owner).map_err(resources)?;
            env.insert("NOTIFY_SOCKET".into(), path.display().to_string());
        }
        // A keeper that knows nothing of these goes on without them.
        let expects = self.keeper & FEATURE_NOTIFY != 0;
        if let Some(every) = process.notify.watchdog.filter(|_| expects) {
            env.insert("WATCHDOG_USEC".into(), every.as_micros().to_string());
            // The child fills its own process id in.
            env.insert("WATCHDOG_PID".into(), String::new());
        }
        if let Some(input) = &process.exec.input {
            kit.roles.push(FdRole::Child(0));
            kit.fds.push(fd::memfd("svd-stdin", input.as_bytes()).map_err(resources)?);
        }
        let Handed { env: told, roles, fds, intercept, refused } =
            handoff::hand(process, slot, self.listeners, filter).map_err(resources)?;
        let listeners = told.iter().find(|(name, _)| name == "LISTEN_FDS").and_then(|(_, count)| count.parse().ok());
        let store = (process.notify.fd_store > 0 && expects).then(|| StoreSpec {
            name: instance.to_string(),
            limit: process.notify.fd_store,
            first: handoff::FIRST.saturating_add(listeners.unwrap_or(0)),
        });
        if let Some(store) = &store {
            env.insert("FDSTORE".into(), store.limit.to_string());
        }
        env.extend(told);
        kit.roles.extend(roles);
        kit.fds.extend(fds);
        let mut spec = self.spec(&process.exec, &process.exec.run, &env)?;
        spec.tag = tag;
        spec.fds = kit.roles;
        spec.store = store;
        Ok(Launch { spec, fds: kit.fds, stdout, stderr, ready, intercept, refused })
    }
}

/// Descriptors that no start may take, at most a quarter of all: for the control API, the store and the log files.
const RESERVED: u64 = 48;
const EMFILE: i32 = 24;

/// Descriptors as they are gathered for a spawn.
#[derive(Default)]
struct Kit {
    roles: Vec<FdRole>,
    fds: Vec<OwnedFd>,
}

impl Kit {
    fn add(&mut self, role: FdRole, fd: OwnedFd) {
        self.roles.push(role);
        self.fds.push(fd);
    }

    /// A pipe that the child writes to under `number`; the read end is held by the keeper and returned.
    fn pipe(&mut self, held: FdRole, number: u32) -> io::Result<OwnedFd> {
        let (read, write) = fd::pipe()?;
        // The kernel gives the lowest free number, so a high one says that nearly all are used.
        let limit = svd_sys::limits::nofile()?.soft;
        if u64::try_from(write.as_raw_fd()).is_ok_and(|number| number >= limit.saturating_sub(RESERVED.min(limit / 4)))
        {
            return Err(io::Error::from_raw_os_error(EMFILE));
        }
        fd::set_nonblocking(std::os::fd::AsFd::as_fd(&read))?;
        let copy = read.try_clone()?;
        self.roles.extend([held, FdRole::Child(number)]);
        self.fds.extend([read, write]);
        Ok(copy)
    }

    /// The notify socket: bound here, read by the keeper. Only its owner (and root) can send to it.
    fn notify(&mut self, path: &Path, owner: Option<u32>) -> io::Result<()> {
        use std::os::unix::fs::PermissionsExt;
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let socket = dgram::unix_dgram_bind(path)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
        if let Some(uid) = owner {
            std::os::unix::fs::lchown(path, Some(uid), None)?;
        }
        self.roles.push(FdRole::Notify);
        self.fds.push(socket);
        Ok(())
    }
}

fn confinement(exec: &ExecPlan) -> Confinement {
    let paths = |paths: &[PathBuf]| paths.iter().map(|path| bytes(path)).collect();
    let confine = &exec.confine;
    Confinement {
        capabilities: confine.capabilities,
        no_new_privs: confine.no_new_privs,
        private_tmp: confine.private_tmp,
        read_only: paths(&confine.read_only),
        read_write: paths(&confine.read_write),
    }
}

fn credentials(account: &Account) -> Credentials {
    Credentials { uid: account.user.uid, gid: account.gid, groups: account.groups.clone() }
}

fn bytes(path: &Path) -> Vec<u8> {
    path.as_os_str().as_bytes().to_vec()
}

fn resources(error: io::Error) -> SpawnFailure {
    let message = format!("svd has no descriptors or memory left for it: {error}");
    SpawnFailure { message, code: 111, transient: true }
}

fn broken(message: String, code: u8) -> SpawnFailure {
    SpawnFailure { message, code, transient: false }
}

/// Whether the kernel could take it. The keeper must not be asked for what cannot be: it would take that for a broken
/// manager, and the next one would ask again.
fn fits(spec: &SpawnSpec) -> Result<(), SpawnFailure> {
    // execve(2): one string may have 128 KiB with its NUL, all of them 6 MiB with their pointers.
    const LONGEST: usize = 128 * 1024 - 1;
    const ALL: usize = 6 * 1024 * 1024;
    let strings = || spec.argv.iter().chain(&spec.env);
    if let Some(long) = strings().find(|string| string.len() > LONGEST) {
        // Of a variable the name, never its value.
        let name = long.split(|byte| *byte == b'=').next().filter(|_| spec.env.contains(long));
        let start = name.unwrap_or(long).get(..40).or(name).unwrap_or(long);
        let start = String::from_utf8_lossy(start).into_owned();
        let message = format!(
            "cannot run it: {start:?}… is longer than the 128 KiB that the kernel takes as one argument or variable"
        );
        return Err(broken(message, 126));
    }
    if strings().map(|string| string.len().saturating_add(9)).sum::<usize>() > ALL {
        let message =
            "cannot run it: its arguments and variables are together longer than the 6 MiB that the kernel takes";
        return Err(broken(message.into(), 126));
    }
    spec.check().map_err(|error| broken(format!("cannot run it: {error}"), 126))
}

/// Whether `keep_env` passes a variable on.
pub fn kept(name: &str, patterns: &[String]) -> bool {
    patterns.iter().any(|pattern| match pattern.strip_suffix('*') {
        Some(prefix) => name.starts_with(prefix),
        None => name == pattern,
    })
}

/// What the keeper could not do, in words, with the way out and the code that stands for it.
pub fn explain(error: svd_wire::SpawnError, program: &Path, cwd: &Path) -> SpawnFailure {
    use svd_wire::Stage;
    let os = io::Error::from_raw_os_error(error.errno);
    let kind = os.kind();
    let shown = program.display();
    let (message, code, transient) = match error.stage {
        Stage::Fork => (format!("no process can be started now: {os}"), 111, true),
        Stage::Session => (format!("a session of its own was refused: {os}"), 111, false),
        Stage::Limits => (
            format!("its limits, nice value or oom_score_adj cannot be set: {os}; lower them or start svd as root"),
            205,
            false,
        ),
        Stage::Credentials => (
            format!("its user or group cannot be taken on: {os}; start svd as root or drop `user` and `group`"),
            217,
            false,
        ),
        Stage::Cgroup => (format!("its cgroup cannot be entered: {os}"), 219, true),
        Stage::Mounts => (mounts_refused(&os), 226, false),
        Stage::Capabilities => (
            format!(
                "its capabilities cannot be set: {os}; svd itself must have those that are named, and CAP_SETPCAP: start it as \
                 root, in a container with --cap-add, or drop `capabilities`"
            ),
            218,
            false,
        ),
        Stage::Directory => (format!("cannot change to its directory {}: {os}", cwd.display()), 200, false),
        Stage::Descriptors => (format!("its descriptors cannot be placed: {os}"), 202, true),
        Stage::Exec => match kind {
            io::ErrorKind::NotFound if program.is_relative() => {
                (format!("cannot run \"{shown}\": no such program in its PATH"), 127, false)
            }
            io::ErrorKind::NotFound if program.exists() => {
                (format!("cannot run {shown}: the interpreter that its first line names does not exist"), 127, false)
            }
            io::ErrorKind::NotFound => (format!("cannot run {shown}: no such program"), 127, false),
            io::ErrorKind::PermissionDenied => {
                (format!("cannot run {shown}: not executable (chmod +x?) or no permission"), 126, false)
            }
            io::ErrorKind::ExecutableFileBusy => (format!("cannot run {shown}: it is being written to"), 126, true),
            _ if error.errno == 8 => (
                format!("cannot run {shown}: not a program; a script needs a first line such as #!/bin/sh"),
                126,
                false,
            ),
            _ => (format!("cannot run {shown}: {os}"), 126, false),
        },
    };
    SpawnFailure { message, code, transient }
}

/// Why a process gets no mounts of its own, with the way out.
fn mounts_refused(os: &io::Error) -> String {
    let what = "its own mounts (private_tmp, read_only, read_write) cannot be made";
    match os.kind() {
        io::ErrorKind::PermissionDenied => {
            format!(
                "{what}: {os}; they need CAP_SYS_ADMIN: start svd as root, in a container with --cap-add SYS_ADMIN, or drop them \
                 (read_only = [\"/\"] with read_write needs Landlock only, Linux 5.13)"
            )
        }
        io::ErrorKind::NotFound => format!("{what}: {os}; each of their paths must exist"),
        io::ErrorKind::Unsupported => format!("{what}: {os}; read_only and read_write need Linux 5.12"),
        _ => format!("{what}: {os}"),
    }
}

/// The program of a spec as messages name it: its path, or the bare name that no directory of its PATH has.
pub fn program_of(spec: &SpawnSpec) -> PathBuf {
    let path = PathBuf::from(std::ffi::OsStr::from_bytes(&spec.path));
    match spec.argv.first() {
        Some(name) if !name.contains(&b'/') && !path.exists() => std::ffi::OsStr::from_bytes(name).into(),
        Some(_) | None => path,
    }
}
