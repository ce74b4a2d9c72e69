//! What is found on the host. Nothing is judged here.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use svd_sys::handshakes::{self, Way};
use svd_sys::listen::{self, Group};
use svd_sys::{fd, gate, process};

use super::bind::{self, Tried};
use super::confined::{self, Limits};
use super::reason;

/// A connection to ourselves takes no time.
const PATIENCE: Duration = Duration::from_secs(5);
/// Another user than any that svd may run as; it need not exist.
const NOBODY: u32 = 65534;
/// Bit of CAP_SYS_PTRACE (capabilities(7)).
const SYS_PTRACE: u32 = 19;

/// All of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Findings {
    /// Release of the kernel.
    pub kernel: String,
    /// Effective user.
    pub uid: u32,
    /// Its name, where it has one.
    pub user: Option<String>,
    /// Whether new connections go where they are directed.
    pub gate: Gate,
    /// Whether a program of this user can be given a socket.
    pub own: Tried,
    /// Whether one of another user can; `None`: nobody but root can start one.
    pub other: Option<Tried>,
    /// `kernel.yama.ptrace_scope`; `None`: there is no Yama.
    pub yama: Option<u32>,
    /// CAP_SYS_PTRACE is effective.
    pub may_trace: bool,
    /// What limits instances can have.
    pub limits: Limits,
    /// Whether they can have mounts of their own; why not.
    pub mounts: Result<(), String>,
    /// Whether they can be kept from writing anywhere but below some paths; why not.
    pub write_only_below: Result<(), String>,
    /// Whether capabilities can be taken away.
    pub capabilities: Result<(), String>,
    /// `net.core.somaxconn`.
    pub somaxconn: Option<u32>,
    /// How handshakes that have not ended are found; why they cannot be.
    pub handshakes: Result<Way, String>,
    /// Whether the keeper can be spared by the out-of-memory killer; why it cannot.
    pub spared: Result<(), String>,
}

/// Whether new connections go where they are directed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Gate {
    /// They do.
    Works,
    /// The kernel does not take the program: why.
    Refused(String),
    /// It takes the program, and connections go elsewhere.
    Ignored,
    /// It could not be tried: why.
    Unknown(String),
}

/// Looks, and tries.
pub fn look() -> Findings {
    let uid = svd_sys::process::uid();
    Findings {
        kernel: text("/proc/sys/kernel/osrelease").unwrap_or_else(|| "unknown".to_owned()),
        uid,
        user: svd_sys::users::user_name(uid).ok().flatten(),
        gate: gate().unwrap_or_else(|error| Gate::Unknown(reason(&error))),
        own: bind::intercept(None),
        other: (uid == 0).then(|| bind::intercept(Some(NOBODY))),
        yama: number("/proc/sys/kernel/yama/ptrace_scope"),
        may_trace: may_trace(),
        limits: confined::limits(),
        mounts: confined::mounts(),
        write_only_below: confined::write_only_below(),
        capabilities: confined::capabilities(),
        somaxconn: number("/proc/sys/net/core/somaxconn"),
        handshakes: handshakes::way().map_err(|error| reason(&error)),
        spared: spared().map_err(|error| reason(&error)),
    }
}

/// Directs a connection to each of two sockets on one port.
fn gate() -> io::Result<Gate> {
    let socket = |address: SocketAddr| listen::tcp(address, false, Group::Shared, 8);
    let first = socket((Ipv4Addr::LOCALHOST, 0).into())?;
    let address = listen::address(first.as_fd())?;
    let slots = [first, socket(address)?];
    for (slot, number) in slots.iter().zip(0..) {
        if let Err(error) = gate::attach(slots[0].as_fd(), &[(number, 1)], &[]) {
            return Ok(Gate::Refused(reason(&error)));
        }
        let _connection = TcpStream::connect_timeout(&address, PATIENCE)?;
        let elsewhere: u32 = slots.iter().map(waiting).sum::<u32>().saturating_sub(waiting(slot));
        // The first one waits in its slot already when the second is directed.
        if elsewhere != u32::from(number) || !fd::wait_readable(slot.as_fd(), PATIENCE)? {
            return Ok(Gate::Ignored);
        }
    }
    Ok(Gate::Works)
}

/// Takes on the oom_score_adj of a keeper, and its own again: the way back is up, which nobody is refused.
fn spared() -> io::Result<()> {
    const KEEPER: i32 = -1000;
    let own = process::oom_score_adj()?;
    process::set_oom_score_adj(KEEPER)?;
    process::set_oom_score_adj(own)
}

fn waiting(slot: &OwnedFd) -> u32 {
    listen::waiting(slot.as_fd()).unwrap_or(0)
}

fn text(path: &str) -> Option<String> {
    std::fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

fn number(path: &str) -> Option<u32> {
    text(path)?.parse().ok()
}

fn may_trace() -> bool {
    let Some(status) = text("/proc/self/status") else { return false };
    let bits = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    bits.and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok()).is_some_and(|bits| bits >> SYS_PTRACE & 1 == 1)
}
