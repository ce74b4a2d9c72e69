//! Reaching one slot of a listener from outside, as a user would: past the gate, which sends everybody else where the weights
//! say.
//!
//! A visitor binds its end first, so that its source address and port are its own, and tells the main loop, which owns the
//! gates; only when the rule for it is in force it connects. When it is dropped, its rule goes.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use svd_config::plan::ListenAddress;
use svd_core::{Slot, SpawnId};
use svd_sys::tree::Scan;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream, UnixStream};
use tokio::sync::{mpsc, oneshot};

use super::Inner;
use crate::listen::{Key, Listener};

/// The first pause between two looks at a queue, and the longest. The kernel tells nobody when a queue becomes empty.
const LOOK: (Duration, Duration) = (Duration::from_millis(2), Duration::from_millis(250));
/// Longest status line of an HTTP answer that is read.
const STATUS_LINE: u64 = 64;
/// Where the code ends in `HTTP/1.1 200`.
const CODE_END: usize = 12;
/// How long the rest of an answer is waited for.
const DRAIN: Duration = Duration::from_millis(500);
/// How much of an answer is read and thrown away.
const LONGEST_ANSWER: u64 = 1 << 20;

/// A visitor asks to be let through to a slot.
#[derive(Debug)]
pub struct Knock {
    /// Of which listener.
    pub key: Key,
    /// Which slot.
    pub slot: Slot,
    /// Where the visitor comes from; `None` for Unix, where there is no gate.
    pub source: Option<SocketAddr>,
    /// Told when it may come: who accepts from that slot, with their main processes.
    pub reply: oneshot::Sender<Vec<(SpawnId, i32)>>,
}

/// One slot of a listener.
#[derive(Clone, Debug)]
pub struct Door {
    key: Key,
    slot: Slot,
    to: To,
    socket: Arc<OwnedFd>,
    inner: mpsc::UnboundedSender<Inner>,
}

#[derive(Clone, Debug)]
enum To {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

/// Where a probe goes.
#[derive(Clone, Debug)]
pub enum Way {
    /// To a slot.
    Door(Door),
    /// To this port of 127.0.0.1, which svd does not hold.
    Port(u16),
}

/// A connection to it.
pub struct Visit {
    stream: Stream,
    /// Who accepts there.
    pub hosts: Vec<(SpawnId, i32)>,
    /// Both ends of a TCP connection: the server's and ours.
    ends: Option<(SocketAddr, SocketAddr)>,
    _rule: Option<Rule>,
}

enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// Takes its rule away when it goes, also when its task is aborted.
struct Rule {
    key: Key,
    source: SocketAddr,
    inner: mpsc::UnboundedSender<Inner>,
}

impl Drop for Rule {
    fn drop(&mut self) {
        // A closed channel means that the manager is ending: the next one sets all rules anew.
        let _ending = self.inner.send(Inner::KnockOver(self.key.clone(), self.source));
    }
}

impl Door {
    /// To a slot of a listener; `None` for UDP, to which nobody can connect.
    pub fn new(key: Key, listener: &Listener, slot: Slot, inner: mpsc::UnboundedSender<Inner>) -> Option<Door> {
        let to = match (&listener.address, listener.at) {
            (ListenAddress::Tcp { v6only, .. }, Some(at)) => To::Tcp(reachable(at, *v6only)),
            (ListenAddress::Unix { path, .. }, _) => To::Unix(path.clone()),
            (ListenAddress::Tcp { .. }, None) | (ListenAddress::Udp { .. }, _) => return None,
        };
        Some(Door { key, slot, to, socket: listener.socket(slot)?.clone(), inner })
    }

    async fn connect(&self) -> io::Result<Visit> {
        match &self.to {
            To::Tcp(at) => {
                let socket = if at.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
                let mut from = *at;
                from.set_port(0);
                socket.bind(from)?;
                let source = socket.local_addr()?;
                let rule = Rule { key: self.key.clone(), source, inner: self.inner.clone() };
                let hosts = self.knock(Some(source)).await?;
                let stream = socket.connect(*at).await?;
                Ok(Visit { stream: Stream::Tcp(stream), hosts, ends: Some((*at, source)), _rule: Some(rule) })
            }
            To::Unix(path) => {
                let hosts = self.knock(None).await?;
                let stream = UnixStream::connect(path).await?;
                Ok(Visit { stream: Stream::Unix(stream), hosts, ends: None, _rule: None })
            }
        }
    }

    async fn knock(&self, source: Option<SocketAddr>) -> io::Result<Vec<(SpawnId, i32)>> {
        let (reply, answer) = oneshot::channel();
        let knock = Knock { key: self.key.clone(), slot: self.slot, source, reply };
        let closed = || io::Error::other("the listener is gone, or its gate cannot be turned");
        self.inner.send(Inner::Knock(knock)).map_err(|_| closed())?;
        answer.await.map_err(|_| closed())
    }

    /// Whether nobody waits to be accepted there.
    pub fn is_empty(&self) -> bool {
        // A listening socket is readable while somebody waits.
        !svd_sys::fd::wait_readable(self.socket.as_fd(), Duration::ZERO).unwrap_or(true)
    }

    /// Waits until nobody waits to be accepted there.
    pub async fn until_empty(&self) {
        let (mut pause, longest) = LOOK;
        while !self.is_empty() {
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(longest);
        }
    }
}

impl Way {
    /// Connects.
    pub async fn connect(&self) -> io::Result<Visit> {
        match self {
            Way::Door(door) => door.connect().await,
            Way::Port(port) => {
                let stream = TcpStream::connect(("127.0.0.1", *port)).await?;
                Ok(Visit { stream: Stream::Tcp(stream), hosts: Vec::new(), ends: None, _rule: None })
            }
        }
    }

    /// Waits until those who had connected are accepted. Where svd does not hold the port, whoever listens has accepted.
    pub async fn until_accepted(&self) {
        match self {
            Way::Door(door) => door.until_empty().await,
            Way::Port(_) => {}
        }
    }

    /// For messages: `port 8080`.
    pub fn name(&self) -> String {
        match self {
            Way::Port(port) => format!("port {port}"),
            Way::Door(Door { to: To::Tcp(at), .. }) => format!("port {}", at.port()),
            Way::Door(Door { to: To::Unix(path), .. }) => path.display().to_string(),
        }
    }
}

impl Visit {
    /// Who of the hosts has accepted it; `None` where nobody has yet, or it cannot be told.
    pub async fn host(&self) -> Option<SpawnId> {
        let hosts = self.hosts.clone();
        // Reads /proc, which can wait in the kernel.
        let look = match (&self.stream, self.ends) {
            (Stream::Tcp(_), Some((server, ours))) => tokio::task::spawn_blocking(move || {
                host_among(&|pids| svd_sys::accepted::holder(server, ours, pids), &hosts)
            }),
            (Stream::Unix(stream), _) => {
                let ours = stream.as_fd().try_clone_to_owned().ok()?;
                tokio::task::spawn_blocking(move || {
                    host_among(&|pids| svd_sys::accepted::unix_holder(ours.as_fd(), pids), &hosts)
                })
            }
            (Stream::Tcp(_), None) => return None,
        };
        look.await.ok().flatten()
    }

    /// Asks `GET path` and answers the status; `None` where the answer is no HTTP.
    pub async fn get(&mut self, path: &str) -> io::Result<Option<u16>> {
        let Stream::Tcp(stream) = &mut self.stream else { return Ok(None) };
        let port = stream.peer_addr()?.port();
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUser-Agent: svd\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut status = Vec::new();
        // Until the code is there, and no further: a server may keep the connection open, whatever it was asked.
        while status.len() < CODE_END {
            if (&mut *stream).take(STATUS_LINE).read_buf(&mut status).await? == 0 {
                break;
            }
        }
        Ok(status
            .strip_prefix(b"HTTP/1.")
            .and_then(|rest| rest.get(2..5))
            .and_then(|code| std::str::from_utf8(code).ok())
            .and_then(|code| code.parse::<u16>().ok()))
    }

    /// Reads the rest of an answer, for a moment: a server whose answer is hung up on complains in its log.
    pub async fn leave(self) {
        let Stream::Tcp(stream) = self.stream else { return };
        let mut rest = stream.take(LONGEST_ANSWER);
        let _read_or_not = tokio::time::timeout(DRAIN, tokio::io::copy(&mut rest, &mut tokio::io::sink())).await;
    }

    /// Waits until the server has closed the connection, or said something.
    pub async fn news(&mut self) {
        let mut byte = [0];
        let _any = match &mut self.stream {
            Stream::Tcp(stream) => stream.read(&mut byte).await,
            Stream::Unix(stream) => stream.read(&mut byte).await,
        };
    }
}

/// The spawn in whose process tree the connection is.
fn host_among(find: &dyn Fn(&[i32]) -> io::Result<Option<i32>>, hosts: &[(SpawnId, i32)]) -> Option<SpawnId> {
    let holder = |pids: &[i32]| find(pids).ok().flatten();
    // Most accept in the main process; the others cost a look at all processes.
    let mains: Vec<i32> = hosts.iter().map(|(_, main)| *main).collect();
    if let Some(pid) = holder(&mains) {
        return hosts.iter().find(|(_, main)| *main == pid).map(|(spawn, _)| *spawn);
    }
    let scan = Scan::read().ok()?;
    hosts.iter().find_map(|(spawn, main)| {
        let tree: Vec<i32> = scan.descendants(*main).iter().map(|proc| proc.pid).collect();
        holder(&tree).map(|_| *spawn)
    })
}

/// An address by which this machine reaches the listener.
fn reachable(at: SocketAddr, v6only: bool) -> SocketAddr {
    let ip = match at.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        // One that takes both is reached by IPv4, which every machine has.
        IpAddr::V6(ip) if ip.is_unspecified() && !v6only => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        _ => return at,
    };
    SocketAddr::new(ip, at.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_listener_is_reached_by_an_address_of_this_machine() {
        let to = |at: &str, v6only| reachable(at.parse().unwrap(), v6only).to_string();
        assert_eq!(to("0.0.0.0:80", false), "127.0.0.1:80");
        assert_eq!(to("[::]:80", false), "127.0.0.1:80");
        assert_eq!(to("[::]:80", true), "[::1]:80");
        assert_eq!(to("10.0.0.5:80", false), "10.0.0.5:80");
        assert_eq!(to("[fe80::1%3]:80", false), "[fe80::1%3]:80");
    }
}
