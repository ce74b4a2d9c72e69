//! Interception tried out: a child of ours binds a port that we hold, as a program that knows nothing of svd does.

use std::ffi::CString;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use super::reason;
use svd_sys::intercept::{self, Answer, Call, Handed, Ledger, What};
use svd_sys::listen::{self, Group};
use svd_sys::spawn::{self, Child, Identity, Others, Program, Session, Started};
use svd_sys::{fd, pidfd, wait};

/// A child that takes longer than this for a step is ended.
const PATIENCE: Duration = Duration::from_secs(5);
const KILL: i32 = 9;
/// It makes two; a call that a signal interrupts comes again.
const CALLS: usize = 8;
/// The variable that tells the child which address to bind. No option, since it is nothing for people.
pub const ADDRESS: &str = "SVD_DOCTOR_BIND";

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tried {
    /// The child was given our socket.
    Works(Promise),
    /// The kernel does not let the child have its filter: why.
    Refused(String),
    /// It has its filter, but what it binds cannot be looked at: why.
    Unseen(String),
    /// It could not be tried: why.
    Unknown(String),
}

/// What a filter costs the child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Promise {
    /// Nothing.
    None,
    /// no_new_privs: set-user-ID programs below it gain nothing.
    NoNewPrivs,
}

/// What the child does. 0 where it got its port.
pub fn as_a_program_does(address: &str) -> u8 {
    // Binds and listens.
    u8::from(TcpListener::bind(address).is_err())
}

/// Tries it, with a child of this user or of ours.
pub fn intercept(uid: Option<u32>) -> Tried {
    match attempt(uid) {
        Ok(tried) => tried,
        Err(error) => Tried::Unknown(reason(&error)),
    }
}

fn attempt(uid: Option<u32>) -> io::Result<Tried> {
    let socket = listen::tcp((Ipv4Addr::LOCALHOST, 0).into(), false, Group::Alone, 1)?;
    let address = listen::address(socket.as_fd())?;
    let (ours, childs) = match intercept::channel() {
        Ok(ends) => ends,
        Err(error) if error.kind() == io::ErrorKind::Unsupported => {
            return Ok(Tried::Refused("it needs Linux 5.9 or later".to_owned()));
        }
        Err(error) => return Err(error),
    };
    let mut child = Running(start(address, uid, &childs)?);
    drop(childs);
    if !fd::wait_readable(ours.as_fd(), PATIENCE)? {
        return Ok(Tried::Unknown("the child does not begin".to_owned()));
    }
    let listener = match intercept::peek(ours.as_fd())? {
        Handed::Listener(listener) => listener,
        Handed::Refused(error) => return Ok(Tried::Refused(refusal(&error))),
        Handed::Closed | Handed::Nothing => return Ok(Tried::Unknown("the child could not be started".to_owned())),
    };
    let (ledger, _memfd) = Ledger::create()?;
    let mut promise = None;
    for _ in 0..CALLS {
        fd::wait_readable(listener.as_fd(), PATIENCE)?;
        let Some(call) = ledger.receive(listener.as_fd(), 0)? else {
            // It has hung up, since the child has ended, or nothing came for too long.
            break;
        };
        let given = match call.what {
            What::Bind { fd, .. } => {
                promise = promise_of(call.pid);
                give(&listener, &call, fd, address, &socket)
            }
            What::Listen { .. } | What::Shutdown { .. } | What::Other => Ok(()),
        };
        let answer = if given.is_ok() { Answer::Done } else { Answer::Continue };
        let answered = intercept::answer(listener.as_fd(), &call, answer);
        ledger.done(&call);
        if let Err(error) = given {
            return Ok(Tried::Unseen(reason(&error)));
        }
        answered?;
    }
    match (child.end()?, promise) {
        (Some(wait::Ended::Code(0)), Some(promise)) => Ok(Tried::Works(promise)),
        (Some(_), None) => Ok(Tried::Unknown("the child could not be run".to_owned())),
        (Some(_), Some(_)) => Ok(Tried::Unseen("the child did not get the socket".to_owned())),
        (None, _) => Ok(Tried::Unknown(format!("the child took longer than {} s", PATIENCE.as_secs()))),
    }
}

/// Puts our socket in the place of the child's, having looked at both, as is done for a real program.
fn give(listener: &OwnedFd, call: &Call, fd: i32, address: SocketAddr, ours: &OwnedFd) -> io::Result<()> {
    let bound = intercept::address_of(listener.as_fd(), call)?;
    let socket = intercept::socket_of(listener.as_fd(), call, fd)?;
    if bound != intercept::Bound::Inet(address) {
        return Err(io::Error::other("the child binds something else"));
    }
    intercept::replace(listener.as_fd(), call, fd, ours.as_fd(), socket.cloexec)
}

/// This program again, with a filter.
fn start(address: SocketAddr, uid: Option<u32>, filter: &OwnedFd) -> io::Result<Started> {
    // By its descriptor: another user may not be able to reach its path.
    let program: OwnedFd = std::fs::File::open("/proc/self/exe")?.into();
    let null = fd::open_null()?;
    let word = |text: &str| CString::new(text).map_err(io::Error::other);
    let argv = [word("svd")?, word("doctor")?];
    let env = [word(&format!("{ADDRESS}={address}"))?];
    spawn::start(&Child {
        program: Program::Pinned(program.as_fd()),
        argv: &argv,
        env: &env,
        cwd: Some(c"/"),
        umask: None,
        nice: None,
        oom_score_adj: None,
        identity: uid.map(|uid| Identity { uid, gid: uid, groups: &[] }),
        limits: &[],
        fds: &[],
        others: Others::Close,
        null: null.as_fd(),
        session: Session::Own,
        die_with: Some(svd_sys::process::pid()),
        filter: Some(filter.as_fd()),
        cgroups: &[],
        confine: Default::default(),
    })
}

/// A child that does not outlive the trial.
struct Running(Started);

impl Running {
    /// Waits for its end, or brings it about; `None` where it had to.
    fn end(&mut self) -> io::Result<Option<wait::Ended>> {
        if !fd::wait_readable(self.0.pidfd.as_fd(), PATIENCE)? {
            return Ok(None);
        }
        Ok(wait::reap(self.0.pid)?.map(|(ended, _)| ended))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It has ended already, or does now.
        let _ended = pidfd::send_signal(self.0.pidfd.as_fd(), KILL);
        let _late = fd::wait_readable(self.0.pidfd.as_fd(), PATIENCE);
        let _reaped = wait::reap(self.0.pid);
    }
}

/// Whether a task runs with no_new_privs, and this process does not.
fn promise_of(pid: i32) -> Option<Promise> {
    let has = |path: String| {
        let status = std::fs::read_to_string(path).ok()?;
        let value = status.lines().find_map(|line| line.strip_prefix("NoNewPrivs:"))?;
        Some(value.trim() == "1")
    };
    let (own, childs) = (has("/proc/self/status".to_owned()), has(format!("/proc/{pid}/status")));
    Some(if childs? && !own.unwrap_or(false) { Promise::NoNewPrivs } else { Promise::None })
}

fn refusal(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ResourceBusy => "svd itself runs below something that intercepts system calls".to_owned(),
        io::ErrorKind::Unsupported => "the kernel has no such filters (CONFIG_SECCOMP_FILTER)".to_owned(),
        io::ErrorKind::InvalidInput => "the kernel is too old for such filters".to_owned(),
        _ => format!("seccomp(2) is refused: {}", reason(error)),
    }
}
