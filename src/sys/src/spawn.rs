//! Starting a process: everything that can be prepared is prepared here, before the fork; what can fail only in the
//! child (`child.rs`) comes back over a close-on-exec pipe as (stage, errno).
//!
//! It is a plain fork, not vfork: the parent never stands still because a child hangs in an open or exec. It must
//! come from a small process; the cost of a fork grows with the memory of the forker.

use crate::child::{self, Image, Move};
use crate::confine::Confine;
use crate::cvt::{cvt_long, errno};
use crate::limits::Limit;
use crate::{fd, pidfd};
use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

#[cfg(not(target_pointer_width = "64"))]
compile_error!("user and group ids are set by the 64-bit system calls");

/// The step between fork and exec at which a start failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// `setsid(2)` or `setpgid(2)`.
    Session,
    /// Limits, nice value, oom_score_adj.
    Limits,
    /// Supplementary groups, gid, uid.
    Credentials,
    /// Working directory.
    Directory,
    /// Placing descriptors, and sending the filter's listener.
    Descriptors,
    /// `execve(2)`.
    Exec,
    /// Entering its cgroups.
    Cgroup,
    /// A mount namespace of its own, and what is mounted there.
    Mounts,
    /// Its capabilities and no_new_privs.
    Capabilities,
}

/// What to run.
#[derive(Clone, Copy, Debug)]
pub enum Program<'a> {
    /// The file of this absolute path.
    Path(&'a CStr),
    /// The file behind this descriptor, whatever its path holds by now.
    Pinned(BorrowedFd<'a>),
}

/// Which session or group the child is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Session {
    /// A session of its own, without a terminal.
    Own,
    /// A group of its own in our session.
    Group,
    /// A group of its own, made the foreground group of the terminal on descriptor 0.
    Foreground,
}

/// What happens to descriptors that are not given to the child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Others {
    /// It gets none of them; 0, 1 and 2 are /dev/null where they are not given.
    Close,
    /// It gets those that are not close-on-exec, 0, 1 and 2 among them.
    Inherit,
}

/// Numeric user and groups.
#[derive(Clone, Copy, Debug)]
pub struct Identity<'a> {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Supplementary groups.
    pub groups: &'a [u32],
}

/// A process to start. Signal dispositions are always the defaults and the signal mask is always empty.
#[derive(Debug)]
pub struct Child<'a> {
    /// What to run.
    pub program: Program<'a>,
    /// Argument vector.
    pub argv: &'a [CString],
    /// Environment. An entry `LISTEN_PID=` or `WATCHDOG_PID=` without a value is given the child's own process id,
    /// which nobody knows before the fork.
    pub env: &'a [CString],
    /// Working directory, entered as the child's user; `None` keeps ours.
    pub cwd: Option<&'a CStr>,
    /// File mode creation mask; `None` keeps ours.
    pub umask: Option<u32>,
    /// Nice value; `None` keeps ours.
    pub nice: Option<i32>,
    /// oom_score_adj; `None` keeps ours.
    pub oom_score_adj: Option<i32>,
    /// User and groups; `None` keeps ours.
    pub identity: Option<Identity<'a>>,
    /// Resource limits by number, set in this order before the user changes.
    pub limits: &'a [(u32, Limit)],
    /// Descriptors and the numbers they get.
    pub fds: &'a [(BorrowedFd<'a>, u32)],
    /// What happens to all others.
    pub others: Others,
    /// An open /dev/null.
    pub null: BorrowedFd<'a>,
    /// Session or group.
    pub session: Session,
    /// Our own process id, where the child is to be killed when we die.
    pub die_with: Option<i32>,
    /// The child's end of [`crate::intercept::channel`], where its bind(2), listen(2) and shutdown(2) calls are to be told to whoever
    /// reads the other end.
    pub filter: Option<BorrowedFd<'a>>,
    /// `cgroup.procs` of the cgroups that it enters, open for writing.
    pub cgroups: &'a [BorrowedFd<'a>],
    /// What it may do less than we.
    pub confine: Confine<'a>,
}

/// A process that was forked.
#[derive(Debug)]
pub struct Started {
    /// Its process id.
    pub pid: i32,
    /// Its pidfd.
    pub pidfd: OwnedFd,
    /// Tells whether it became its program.
    pub status: StatusPipe,
}

/// How far a child has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Nothing is known yet.
    Pending,
    /// It failed at this stage with this errno, and exits.
    Failed(Stage, i32),
    /// The pipe closed after the child had said that it is about to exec: its program runs, or it was killed in that
    /// instant ([`crate::tree::Proc::never_ran_a_program`] tells).
    Execed,
    /// The pipe closed before that: the child was killed between fork and exec.
    Died,
}

/// The read end of the close-on-exec pipe between a child and us.
#[derive(Debug)]
pub struct StatusPipe {
    fd: OwnedFd,
    bytes: [u8; STATUS_LEN],
    filled: usize,
}

/// Mark, then failure flag, stage, errno.
const STATUS_LEN: usize = 8;
pub(crate) const MARK: u8 = b'x';
pub(crate) const FAILURE: u8 = b'!';

impl StatusPipe {
    /// Reads what has come; never waits.
    pub fn progress(&mut self) -> Progress {
        loop {
            let room = self.bytes.get_mut(self.filled..).unwrap_or_default();
            match fd::read(self.fd.as_fd(), room) {
                Ok(0) => return self.verdict(),
                Ok(count) => self.filled = self.filled.saturating_add(count).min(STATUS_LEN),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    // A failure is told whole, in one write: there is no need to see the end of the pipe.
                    return match self.verdict() {
                        failed @ Progress::Failed(..) => failed,
                        Progress::Pending | Progress::Execed | Progress::Died => Progress::Pending,
                    };
                }
                Err(_) => return self.verdict(),
            }
        }
    }

    fn verdict(&self) -> Progress {
        let said = self.bytes.get(..self.filled).unwrap_or_default();
        let (marked, rest) = match said.strip_prefix(&[MARK]) {
            Some(rest) => (true, rest),
            None => (false, said),
        };
        match (rest, marked) {
            ([FAILURE, stage, a, b, c, d, ..], _) => {
                Progress::Failed(stage_of(*stage), i32::from_le_bytes([*a, *b, *c, *d]))
            }
            (_, true) => Progress::Execed,
            (_, false) => Progress::Died,
        }
    }
}

impl StatusPipe {
    /// The descriptor and what was read from it so far, for [`resume`](Self::resume) in another program.
    pub fn parts(&self) -> (BorrowedFd<'_>, &[u8]) {
        (self.fd.as_fd(), self.bytes.get(..self.filled).unwrap_or_default())
    }

    /// Goes on where another program of this process has stopped reading.
    pub fn resume(fd: OwnedFd, told: &[u8]) -> StatusPipe {
        let mut bytes = [0; STATUS_LEN];
        for (place, byte) in bytes.iter_mut().zip(told) {
            *place = *byte;
        }
        StatusPipe { fd, bytes, filled: told.len().min(STATUS_LEN) }
    }
}

impl AsFd for StatusPipe {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

pub(crate) fn stage_number(stage: Stage) -> u8 {
    match stage {
        Stage::Session => 1,
        Stage::Limits => 2,
        Stage::Credentials => 3,
        Stage::Directory => 4,
        Stage::Descriptors => 5,
        Stage::Exec => 6,
        Stage::Cgroup => 7,
        Stage::Mounts => 8,
        Stage::Capabilities => 9,
    }
}

fn stage_of(number: u8) -> Stage {
    match number {
        1 => Stage::Session,
        2 => Stage::Limits,
        3 => Stage::Credentials,
        4 => Stage::Directory,
        5 => Stage::Descriptors,
        7 => Stage::Cgroup,
        8 => Stage::Mounts,
        9 => Stage::Capabilities,
        _ => Stage::Exec,
    }
}

/// An environment entry in which the child writes its own process id.
const PID_ENTRIES: [&[u8]; 2] = [b"LISTEN_PID=", b"WATCHDOG_PID="];
/// Room for the digits of a process id and the NUL.
const PID_ROOM: usize = 12;

/// Forks and lets the child become `child`. Never waits for it: its progress comes over [`Started::status`].
pub fn start(child: &Child<'_>) -> io::Result<Started> {
    if child.argv.is_empty() {
        return Err(errno(libc::EINVAL));
    }
    let (status, status_in) = fd::pipe()?;
    fd::set_nonblocking(status.as_fd())?;

    let mut argv: Vec<*const libc::c_char> = child.argv.iter().map(|arg| arg.as_ptr()).collect();
    argv.push(std::ptr::null());
    let mut with_pid: Vec<Vec<u8>> = Vec::new();
    for entry in child.env.iter().filter(|entry| PID_ENTRIES.contains(&entry.to_bytes())) {
        let mut bytes = entry.to_bytes().to_vec();
        bytes.resize(bytes.len().saturating_add(PID_ROOM), 0);
        with_pid.push(bytes);
    }
    let pid_slots: Vec<*mut u8> = with_pid
        .iter_mut()
        .map(|entry| entry.as_mut_ptr().wrapping_add(entry.len().saturating_sub(PID_ROOM)))
        .collect();
    let mut env: Vec<*const libc::c_char> = with_pid.iter().map(|entry| entry.as_ptr().cast()).collect();
    env.extend(child.env.iter().filter(|entry| !PID_ENTRIES.contains(&entry.to_bytes())).map(|entry| entry.as_ptr()));
    env.push(std::ptr::null());

    let mut moves = placing(child)?;
    let above = moves.iter().map(|placed| placed.target).max().unwrap_or(2).max(2).checked_add(1);
    let above = above.ok_or_else(|| errno(libc::EBADF))?;
    let gaps: Vec<RawFd> = (3..above).filter(|number| !moves.iter().any(|placed| placed.target == *number)).collect();
    let mut copies = vec![-1; child.confine.copies()];
    let mut oom_buffer = [0; PID_ROOM];
    let oom_text = child.oom_score_adj.map(|value| decimal(value, &mut oom_buffer)).unwrap_or_default();

    let mut image = Image {
        child,
        argv: &argv,
        env: &env,
        pid_slots: &pid_slots,
        moves: &mut moves,
        gaps: &gaps,
        above,
        oom_text,
        status: status_in.as_raw_fd(),
        pinned: -1,
        filter: -1,
        copies: &mut copies,
    };
    let mut raw_pidfd: RawFd = -1;
    // clone(2) rather than clone3: the same for our flags, and old seccomp filters know it. The order of the first
    // three arguments is the same on x86-64, aarch64 and riscv64.
    let flags = libc::c_long::from(libc::CLONE_PIDFD | libc::SIGCHLD);
    // SAFETY: without CLONE_VM and CLONE_FILES this is a fork; the null stack makes the child go on on its own copy
    // of ours. The child only calls `child::run`, which keeps to async-signal-safe calls and never returns.
    let pid = cvt_long(unsafe { libc::syscall(libc::SYS_clone, flags, 0, &raw mut raw_pidfd, 0, 0) })?;
    if pid == 0 {
        // SAFETY: this is the child, with one thread; everything in `image` was prepared before the fork.
        unsafe { child::run(&mut image) }
    }
    let pid = i32::try_from(pid).map_err(|_| errno(libc::EOVERFLOW))?;
    let pidfd = if raw_pidfd >= 0 {
        // SAFETY: the kernel just made it for us.
        unsafe { OwnedFd::from_raw_fd(raw_pidfd) }
    } else {
        // Before Linux 5.2 CLONE_PIDFD is ignored. The child is ours and unreaped, so its number is still its own.
        pidfd::open(pid)?
    };
    drop(status_in);
    Ok(Started { pid, pidfd, status: StatusPipe { fd: status, bytes: [0; STATUS_LEN], filled: 0 } })
}

/// Which descriptor goes where.
fn placing(child: &Child<'_>) -> io::Result<Vec<Move>> {
    let mut moves = Vec::with_capacity(child.fds.len().saturating_add(3));
    for (source, target) in child.fds {
        let target = RawFd::try_from(*target).map_err(|_| errno(libc::EBADF))?;
        moves.push(Move { source: source.as_raw_fd(), target, above: -1 });
    }
    if child.others == Others::Close {
        for number in 0..3 {
            if !moves.iter().any(|placed| placed.target == number) {
                moves.push(Move { source: child.null.as_raw_fd(), target: number, above: -1 });
            }
        }
    }
    Ok(moves)
}

/// The digits of `value` at the start of `buffer`. Allocation-free, so that the child can use it.
pub(crate) fn decimal(value: i32, buffer: &mut [u8; PID_ROOM]) -> &[u8] {
    let mut rest = value.unsigned_abs();
    let mut at = PID_ROOM;
    loop {
        at = at.saturating_sub(1);
        let digit = u8::try_from(rest.checked_rem(10).unwrap_or(0)).unwrap_or(0);
        if let Some(place) = buffer.get_mut(at) {
            *place = b'0'.saturating_add(digit);
        }
        rest = rest.checked_div(10).unwrap_or(0);
        if rest == 0 {
            break;
        }
    }
    if value < 0 {
        at = at.saturating_sub(1);
        if let Some(place) = buffer.get_mut(at) {
            *place = b'-';
        }
    }
    buffer.get(at..).unwrap_or_default()
}

/// The child's copy of its own process id, written after `KEY=`.
pub(crate) const SLOT_ROOM: usize = PID_ROOM;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wait::{self, Ended};
    use std::time::Duration;

    fn c(text: &str) -> CString {
        CString::new(text).unwrap()
    }

    /// A session of its own, and nothing else that is special.
    fn plain<'a>(path: &'a CStr, null: BorrowedFd<'a>) -> Child<'a> {
        Child {
            program: Program::Path(path),
            argv: &[],
            env: &[],
            cwd: None,
            umask: None,
            nice: None,
            oom_score_adj: None,
            identity: None,
            limits: &[],
            fds: &[],
            others: Others::Close,
            null,
            session: Session::Own,
            die_with: None,
            filter: None,
            cgroups: &[],
            confine: Confine::default(),
        }
    }

    /// What has become of a child. Another test that forks in the same instant holds the pipe open until it execs.
    fn outcome(status: &mut StatusPipe) -> Progress {
        loop {
            match status.progress() {
                Progress::Pending => assert!(fd::wait_readable(status.as_fd(), Duration::from_secs(20)).unwrap()),
                known => return known,
            }
        }
    }

    /// Starts a program, waits for it, and returns its progress, end and standard output.
    fn run(
        change: impl for<'a> FnOnce(&mut Child<'a>, BorrowedFd<'a>),
        path: &str,
        args: &[&str],
        env: &[&str],
    ) -> (Progress, Ended, String) {
        let null = fd::open_null().unwrap();
        let (out, out_in) = fd::pipe().unwrap();
        let path = c(path);
        let argv: Vec<CString> = args.iter().map(|arg| c(arg)).collect();
        let env: Vec<CString> = env.iter().map(|entry| c(entry)).collect();
        let fds = [(out_in.as_fd(), 1)];
        let mut child = Child { argv: &argv, env: &env, fds: &fds, ..plain(&path, null.as_fd()) };
        change(&mut child, out_in.as_fd());
        let mut started = start(&child).unwrap();
        drop(out_in);
        assert!(fd::wait_readable(started.pidfd.as_fd(), Duration::from_secs(20)).unwrap());
        let mut text = Vec::new();
        std::io::Read::read_to_end(&mut std::fs::File::from(out), &mut text).unwrap();
        let progress = outcome(&mut started.status);
        let (ended, _usage) = wait::reap(started.pid).unwrap().unwrap();
        (progress, ended, String::from_utf8(text).unwrap())
    }

    #[test]
    fn a_program_runs_with_its_arguments_and_environment_and_its_own_pid_in_it() {
        let (progress, ended, text) =
            run(|_, _| {}, "/bin/sh", &["sh", "-c", "echo $A $((LISTEN_PID == $$)); exit 7"], &["A=b", "LISTEN_PID="]);
        assert_eq!((progress, ended, text.as_str()), (Progress::Execed, Ended::Code(7), "b 1\n"));
    }

    #[test]
    fn signals_and_descriptors_are_exactly_the_announced_ones() {
        let script = "grep -E 'Sig(Blk|Ign)' /proc/self/status; ls /proc/self/fd; readlink /proc/self/fd/0";
        let (_, ended, text) = run(|_, _| {}, "/bin/sh", &["sh", "-c", script], &["PATH=/usr/bin:/bin"]);
        assert_eq!(ended, Ended::Code(0));
        let zero = "0000000000000000";
        // `ls` itself opens the directory as descriptor 3.
        assert_eq!(text, format!("SigBlk:\t{zero}\nSigIgn:\t{zero}\n0\n1\n2\n3\n/dev/null\n"));
    }

    /// Fault 12.
    #[test]
    fn sources_and_targets_may_overlap_in_any_way() {
        let (first, first_in) = fd::pipe().unwrap();
        let (second, second_in) = fd::pipe().unwrap();
        fd::write(first_in.as_fd(), b"first\n").unwrap();
        fd::write(second_in.as_fd(), b"second\n").unwrap();
        drop((first_in, second_in));
        let targets = [first.as_raw_fd().cast_unsigned(), second.as_raw_fd().cast_unsigned()];
        let script = format!("cat /proc/self/fd/{} /proc/self/fd/{}", targets[0], targets[1]);
        let null = fd::open_null().unwrap();
        let (out, out_in) = fd::pipe().unwrap();
        // The two swap their numbers.
        let fds = [(first.as_fd(), targets[1]), (second.as_fd(), targets[0]), (out_in.as_fd(), 1)];
        let argv = [c("sh"), c("-c"), c(&script)];
        let path = c("/bin/sh");
        let started =
            start(&Child { argv: &argv, env: &[c("PATH=/usr/bin:/bin")], fds: &fds, ..plain(&path, null.as_fd()) })
                .unwrap();
        drop(out_in);
        let mut text = String::new();
        std::io::Read::read_to_string(&mut std::fs::File::from(out), &mut text).unwrap();
        assert_eq!(text, "second\nfirst\n");
        assert!(fd::wait_readable(started.pidfd.as_fd(), Duration::from_secs(20)).unwrap());
        wait::reap(started.pid).unwrap().unwrap();
    }

    type Change = dyn for<'a> Fn(&mut Child<'a>, &'a CStr, &'a [(u32, Limit)]);

    #[test]
    fn each_failure_tells_its_stage_and_errno() {
        let missing = c("/no/such/directory");
        let low = [(crate::limits::NOFILE, Limit { soft: 9, hard: 3 })];
        let check = |stage, errno, code, path: &str, change: &Change| {
            let null = fd::open_null().unwrap();
            let program = c(path);
            let argv = [c("x")];
            let mut child = Child {
                program: Program::Path(&program),
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
                die_with: None,
                filter: None,
                cgroups: &[],
                confine: Confine::default(),
            };
            change(&mut child, &missing, &low);
            let mut started = start(&child).unwrap();
            assert!(fd::wait_readable(started.pidfd.as_fd(), Duration::from_secs(20)).unwrap());
            assert_eq!(outcome(&mut started.status), Progress::Failed(stage, errno), "{path}");
            assert_eq!(wait::reap(started.pid).unwrap().unwrap().0, Ended::Code(code));
        };
        check(Stage::Exec, libc::ENOENT, 127, "/no/such/file", &|_, _, _| {});
        check(Stage::Exec, libc::EACCES, 126, "/etc/passwd", &|_, _, _| {});
        check(Stage::Exec, libc::ENOTDIR, 126, "/etc/passwd/x", &|_, _, _| {});
        check(Stage::Directory, libc::ENOENT, 126, "/bin/true", &|child, missing, _| child.cwd = Some(missing));
        check(Stage::Limits, libc::EINVAL, 126, "/bin/true", &|child, _, low| child.limits = low);
        if crate::process::uid() != 0 {
            const ROOT: Identity<'static> = Identity { uid: 0, gid: 0, groups: &[] };
            check(Stage::Credentials, libc::EPERM, 126, "/bin/true", &|child, _, _| child.identity = Some(ROOT));
        }
    }

    /// Fault 64.
    #[test]
    fn a_child_drops_to_its_user_with_exactly_its_groups() {
        if crate::process::uid() != 0 {
            eprintln!("SKIPPED: setting the user needs root");
            return;
        }
        let script = "grep -E '^(Uid|Gid|Groups|CapEff)' /proc/self/status";
        let (progress, _, text) = run(
            |child, _| child.identity = Some(Identity { uid: 54321, gid: 54322, groups: &[7, 8] }),
            "/bin/sh",
            &["sh", "-c", script],
            &["PATH=/usr/bin:/bin"],
        );
        assert_eq!(progress, Progress::Execed);
        assert_eq!(
            text,
            "Uid:\t54321\t54321\t54321\t54321\nGid:\t54322\t54322\t54322\t54322\nGroups:\t7 8 \nCapEff:\t0000000000000000\n"
        );
    }

    const STATUS: &str = "grep -E '^(Uid|Cap|NoNewPrivs)' /proc/self/status";
    const NET_BIND_SERVICE: u64 = 1 << 10;

    fn is_root() -> bool {
        let root = crate::process::uid() == 0;
        if !root {
            eprintln!("SKIPPED: it needs root");
        }
        root
    }

    #[test]
    fn a_child_has_exactly_its_capabilities_and_can_get_no_others() {
        if !is_root() {
            return;
        }
        for identity in [None, Some(Identity { uid: 54321, gid: 54321, groups: &[] })] {
            for (capabilities, no_new_privs) in [(NET_BIND_SERVICE, false), (0, true)] {
                let (progress, _, text) = run(
                    |child, _| {
                        child.identity = identity;
                        child.confine =
                            Confine { capabilities: Some(capabilities), no_new_privs, ..Confine::default() };
                    },
                    "/bin/sh",
                    &["sh", "-c", STATUS],
                    &["PATH=/usr/bin:/bin"],
                );
                assert_eq!(progress, Progress::Execed);
                let uid = identity.map_or(0, |identity| identity.uid);
                let sets = ["Inh", "Prm", "Eff", "Bnd", "Amb"].map(|set| format!("Cap{set}:\t{capabilities:016x}\n"));
                let expected = format!(
                    "Uid:\t{uid}\t{uid}\t{uid}\t{uid}\n{}NoNewPrivs:\t{}\n",
                    sets.concat(),
                    u8::from(no_new_privs)
                );
                assert_eq!(text, expected);
            }
        }
    }

    #[test]
    fn a_child_with_mounts_of_its_own_cannot_write_where_it_must_not_and_changes_nothing_for_others() {
        if !is_root() {
            return;
        }
        // given: in /, which is read-only to it, one place where it may write, with one in it where it may not
        let dir = std::env::temp_dir().join(format!("svd-mounts-{}", crate::process::pid()));
        std::fs::create_dir_all(dir.join("data/fixed")).unwrap();
        let path = |name: &str| c(dir.join(name).to_str().unwrap());
        let script =
            "cd \"$1\"; for place in x data/x data/fixed/x; do echo >$place || echo no $place; done 2>/dev/null";
        let (progress, code, text) = run(
            |child, _| {
                let read_only = vec![c("/")].leak();
                let read_write = vec![path("data")].leak();
                child.confine = Confine { read_only, read_write, ..Confine::default() };
            },
            "/bin/sh",
            &["sh", "-c", script, "sh", dir.to_str().unwrap()],
            &["PATH=/usr/bin:/bin"],
        );
        assert_eq!((progress, code), (Progress::Execed, Ended::Code(0)));
        assert_eq!(text, "no x\n");
        assert!(dir.join("data/x").exists() && dir.join("data/fixed/x").exists());
        std::fs::write(dir.join("x"), "the host can").unwrap();
        // and: a path that is read-only alone, and a /tmp of its own
        let (progress, _, text) = run(
            |child, _| {
                let read_only = vec![path("data")].leak();
                child.confine = Confine { read_only, ..Confine::default() };
            },
            "/bin/sh",
            &["sh", "-c", script, "sh", dir.to_str().unwrap()],
            &["PATH=/usr/bin:/bin"],
        );
        assert_eq!((progress, text.as_str()), (Progress::Execed, "no data/x\nno data/fixed/x\n"));
        let (progress, _, text) = run(
            |child, _| child.confine = Confine { private_tmp: true, ..Confine::default() },
            "/bin/sh",
            &["sh", "-c", "ls -A /tmp /var/tmp; echo >/tmp/svd-mounts-own; stat -c %a /tmp"],
            &["PATH=/usr/bin:/bin"],
        );
        assert_eq!((progress, text.as_str()), (Progress::Execed, "/tmp:\n\n/var/tmp:\n1777\n"));
        assert!(!std::path::Path::new("/tmp/svd-mounts-own").exists());
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn digits_are_written_without_allocating() {
        for value in [0, 7, 10, -1000, i32::MAX, i32::MIN] {
            assert_eq!(decimal(value, &mut [0; PID_ROOM]), value.to_string().as_bytes());
        }
    }
}
