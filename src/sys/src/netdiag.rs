//! What sockets there are: asked of the kernel by netlink (sock_diag(7)), else read in /proc/net, which is slower and
//! works where netlink is forbidden or the kernel was built without.

use crate::cvt::{cvt, cvt_size, errno};
use nix::sys::socket::{setsockopt, sockopt};
use nix::sys::time::{TimeVal, TimeValLike};
use std::collections::HashSet;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// States of a TCP socket (include/net/tcp_states.h), as bits.
pub(crate) const ESTABLISHED: u32 = 1 << 1;
pub(crate) const SYN_RECV: u32 = 1 << 3;
/// The other side has said that it sends no more, and may still wait for an answer.
pub(crate) const CLOSE_WAIT: u32 = 1 << 8;
pub(crate) const LISTEN: u32 = 1 << 10;
/// Bound and nothing more; told since Linux 6.8.
pub(crate) const BOUND: u32 = 1 << 13;
pub(crate) const ANY: u32 = u32::MAX;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Tcp,
    Udp,
}

/// One socket. IPv4 addresses in IPv6 form are IPv4 addresses here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) local: SocketAddr,
    pub(crate) remote: SocketAddr,
    /// Its state, as a bit.
    pub(crate) state: u32,
    /// 0 where no process has it: it is not accepted yet, or closed.
    pub(crate) inode: u64,
}

/// The sockets with this local port that are in one of these states, of both address families.
pub(crate) fn list(protocol: Protocol, states: u32, port: u16) -> io::Result<Vec<Row>> {
    let wanted = |row: &Row| row.local.port() == port && states & row.state != 0;
    let mut rows = by_netlink(protocol, states, port).or_else(|error| read_proc(protocol).map_err(|_| error))?;
    rows.retain(wanted);
    Ok(rows)
}

/// Which of the two ways works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    Netlink,
    Proc,
}

/// Tries them in the order in which [`list`] does.
pub(crate) fn source() -> io::Result<Source> {
    match by_netlink(Protocol::Tcp, SYN_RECV, 0) {
        Ok(_) => Ok(Source::Netlink),
        Err(_) => read_proc(Protocol::Tcp).map(|_| Source::Proc),
    }
}

/// The TCP connection between these two ends, seen from the `local` one.
pub(crate) fn connection(local: SocketAddr, remote: SocketAddr) -> io::Result<Option<Row>> {
    let (local, remote) = (canonical(local), canonical(remote));
    // Where there is none, the kernel tells of a listener that would take it.
    let is_it = |row: &Row| (row.local, row.remote) == (local, remote);
    match exactly(local, remote) {
        Ok(row) => Ok(row.filter(is_it)),
        // ENOENT is both: no such connection, or nobody to ask.
        Err(error) => {
            let rows = read_proc(Protocol::Tcp).map_err(|_| error)?;
            Ok(rows.into_iter().find(is_it))
        }
    }
}

fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

// ---- netlink ----

const SOCK_DIAG_BY_FAMILY: u16 = 20;
const REQUEST_LEN: u32 = 72;
const HEADER: usize = 16;
/// The longest wait for an answer, which the kernel makes while we ask: seconds.
const PATIENCE: i64 = 2;

fn by_netlink(protocol: Protocol, states: u32, port: u16) -> io::Result<Vec<Row>> {
    let mut rows = Vec::new();
    for family in [libc::AF_INET, libc::AF_INET6] {
        let none = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 0);
        let local = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port);
        let flags = libc::NLM_F_REQUEST | libc::NLM_F_DUMP;
        ask(&request(protocol, family, states, flags, (local, none)), &mut |body| rows.extend(row(body)))?;
    }
    Ok(rows)
}

fn exactly(local: SocketAddr, remote: SocketAddr) -> io::Result<Option<Row>> {
    let family = if local.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    let mut found = None;
    ask(&request(Protocol::Tcp, family, ANY, libc::NLM_F_REQUEST, (local, remote)), &mut |body| {
        found = row(body).or(found)
    })?;
    Ok(found)
}

/// The inode number of the socket that this connected Unix socket, known by its own, is connected to; `None` where nobody has
/// accepted it. By netlink alone; ENOENT also where the kernel was built without.
pub(crate) fn unix_peer(inode: u64) -> io::Result<Option<u64>> {
    // struct unix_diag_req, struct unix_diag_msg and what follows it (linux/unix_diag.h).
    const LEN: u32 = 40;
    const SHOW_PEER: u32 = 4;
    const MESSAGE: usize = 16;
    const PEER: u16 = 2;
    let inode = u32::try_from(inode).map_err(|_| errno(libc::EOVERFLOW))?;
    let mut request = Vec::new();
    request.extend(LEN.to_ne_bytes());
    request.extend(SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    request.extend(u16::try_from(libc::NLM_F_REQUEST).unwrap_or(1).to_ne_bytes());
    request.extend([0; 8]);
    request.extend([u8::try_from(libc::AF_UNIX).unwrap_or(1), 0, 0, 0]);
    for number in [ANY, inode, SHOW_PEER, u32::MAX, u32::MAX] {
        request.extend(number.to_ne_bytes());
    }
    let mut peer = None;
    ask(&request, &mut |body| {
        let mut attributes = body.get(MESSAGE..).unwrap_or_default();
        while let (Some(len), Some(kind)) = (u16_at(attributes, 0), u16_at(attributes, 2)) {
            if kind == PEER {
                peer = u32_at(attributes, 4).filter(|inode| *inode != 0).map(u64::from);
            }
            // Shorter than itself it would be for ever.
            attributes = attributes.get(usize::from(len).next_multiple_of(4).max(4)..).unwrap_or_default();
        }
    })?;
    Ok(peer)
}

/// struct nlmsghdr and struct inet_diag_req_v2 (sock_diag(7)).
fn request(
    protocol: Protocol,
    family: libc::c_int,
    states: u32,
    flags: libc::c_int,
    (local, remote): (SocketAddr, SocketAddr),
) -> Vec<u8> {
    let protocol = match protocol {
        Protocol::Tcp => libc::IPPROTO_TCP,
        Protocol::Udp => libc::IPPROTO_UDP,
    };
    let byte = |number: libc::c_int| u8::try_from(number).unwrap_or(0);
    let mut bytes = Vec::new();
    bytes.extend(REQUEST_LEN.to_ne_bytes());
    bytes.extend(SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    bytes.extend(u16::try_from(flags).unwrap_or(0).to_ne_bytes());
    bytes.extend([0; 8]);
    bytes.extend([byte(family), byte(protocol), 0, 0]);
    bytes.extend(states.to_ne_bytes());
    bytes.extend(local.port().to_be_bytes());
    bytes.extend(remote.port().to_be_bytes());
    for end in [local, remote] {
        match end.ip() {
            IpAddr::V4(ip) => {
                bytes.extend(ip.octets());
                bytes.extend([0; 12]);
            }
            IpAddr::V6(ip) => bytes.extend(ip.octets()),
        }
    }
    // Any interface; no cookie.
    bytes.extend([0; 4]);
    bytes.extend([0xff; 8]);
    bytes
}

/// How a connection stands: what TCP_INFO tells of it. The kernel counts time in ticks of 1 to 10 milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Traffic {
    /// Bytes that the program has not read.
    pub(crate) unread: u32,
    /// Bytes that the other side has not acknowledged.
    pub(crate) unsent: u32,
    /// Bytes that have come in so far, and packets with data that went out; `None` before Linux 4.6.
    pub(crate) totals: Option<(u64, u32)>,
    /// Milliseconds since something came in; since the connection was made where nothing has.
    pub(crate) last_received: u32,
    /// Milliseconds since something was sent, likewise.
    pub(crate) last_sent: u32,
}

/// The connections of this local port on which this side can still send, by netlink alone: /proc/net does not tell enough.
pub(crate) fn traffic(port: u16) -> io::Result<Vec<(Row, Traffic)>> {
    /// INET_DIAG_INFO as a bit of idiag_ext.
    const INFO: u8 = 1 << 1;
    const OPEN: u32 = ESTABLISHED | CLOSE_WAIT;
    let mut found = Vec::new();
    for family in [libc::AF_INET, libc::AF_INET6] {
        let none = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 0);
        let local = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port);
        let flags = libc::NLM_F_REQUEST | libc::NLM_F_DUMP;
        let mut request = request(Protocol::Tcp, family, OPEN, flags, (local, none));
        if let Some(extensions) = request.get_mut(HEADER.saturating_add(2)) {
            *extensions = INFO;
        }
        ask(&request, &mut |body| found.extend(row(body).zip(traffic_of(body))))?;
    }
    found.retain(|(row, _)| row.local.port() == port && row.state & OPEN != 0);
    Ok(found)
}

/// The queues of struct inet_diag_msg, and struct tcp_info among its attributes.
fn traffic_of(body: &[u8]) -> Option<Traffic> {
    const MESSAGE: usize = 72;
    const INFO: u16 = 2;
    let mut attributes = body.get(MESSAGE..)?;
    loop {
        let (len, kind) = (usize::from(u16_at(attributes, 0)?), u16_at(attributes, 2)?);
        let value = attributes.get(4..len)?;
        if kind == INFO {
            return Some(Traffic {
                unread: u32_at(body, 56)?,
                unsent: u32_at(body, 60)?,
                totals: value
                    .get(128..)
                    .and_then(<[u8]>::first_chunk)
                    .map(|bytes| u64::from_ne_bytes(*bytes))
                    .zip(u32_at(value, 156)),
                last_sent: u32_at(value, 44)?,
                last_received: u32_at(value, 52)?,
            });
        }
        attributes = attributes.get(len.next_multiple_of(4)..)?;
    }
}

/// Sends one request and takes the sockets of all its answers, each as a struct inet_diag_msg with what follows it.
fn ask(request: &[u8], take: &mut dyn FnMut(&[u8])) -> io::Result<()> {
    // SAFETY: no pointers.
    let raw =
        cvt(unsafe { libc::socket(libc::AF_NETLINK, libc::SOCK_RAW | libc::SOCK_CLOEXEC, libc::NETLINK_SOCK_DIAG) })?;
    // SAFETY: just created, owned by nobody else.
    let socket = unsafe { OwnedFd::from_raw_fd(raw) };
    setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::seconds(PATIENCE))?;
    // SAFETY: the buffer has the stated length.
    cvt_size(unsafe { libc::send(socket.as_raw_fd(), request.as_ptr().cast(), request.len(), 0) })?;
    let mut buffer = vec![0_u8; 64 * 1024];
    loop {
        // SAFETY: as above.
        let len = cvt_size(unsafe { libc::recv(socket.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len(), 0) })?;
        let is_dump = u16_at(request, 6).is_some_and(|flags| i32::from(flags) & libc::NLM_F_DUMP == libc::NLM_F_DUMP);
        if messages(buffer.get(..len).unwrap_or_default(), take)? == Ends::Here || !is_dump {
            return Ok(());
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ends {
    Here,
    Later,
}

/// The messages of one packet.
fn messages(mut packet: &[u8], take: &mut dyn FnMut(&[u8])) -> io::Result<Ends> {
    while packet.len() >= HEADER {
        let len = u32_at(packet, 0).and_then(|len| usize::try_from(len).ok()).unwrap_or(0);
        let kind = u16_at(packet, 4).map_or(0, i32::from);
        let Some(body) = packet.get(HEADER..len) else { return Err(errno(libc::EBADMSG)) };
        match kind {
            libc::NLMSG_DONE => return Ok(Ends::Here),
            libc::NLMSG_ERROR => {
                let code = u32_at(body, 0).map_or(libc::EBADMSG, |code| code.cast_signed().saturating_neg());
                return if code == 0 { Ok(Ends::Here) } else { Err(errno(code)) };
            }
            _ if kind == i32::from(SOCK_DIAG_BY_FAMILY) => {
                take(body);
            }
            _ => {}
        }
        packet = packet.get(len.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(Ends::Later)
}

/// struct inet_diag_msg.
fn row(body: &[u8]) -> Option<Row> {
    let ip = |at: usize| -> Option<IpAddr> {
        let bytes: [u8; 16] = body.get(at..)?.first_chunk().copied()?;
        match i32::from(*body.first()?) {
            libc::AF_INET => bytes.first_chunk::<4>().map(|v4| IpAddr::from(*v4)),
            libc::AF_INET6 => Some(IpAddr::from(bytes).to_canonical()),
            _ => None,
        }
    };
    let port = |at: usize| body.get(at..)?.first_chunk::<2>().map(|port| u16::from_be_bytes(*port));
    Some(Row {
        local: SocketAddr::new(ip(8)?, port(4)?),
        remote: SocketAddr::new(ip(24)?, port(6)?),
        state: 1_u32.checked_shl(u32::from(*body.get(1)?))?,
        inode: u32_at(body, 68)?.into(),
    })
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|bytes| u16::from_ne_bytes(*bytes))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|bytes| u32::from_ne_bytes(*bytes))
}

// ---- /proc/net ----

fn read_proc(protocol: Protocol) -> io::Result<Vec<Row>> {
    let (v4, v6) = match protocol {
        Protocol::Tcp => ("/proc/net/tcp", "/proc/net/tcp6"),
        Protocol::Udp => ("/proc/net/udp", "/proc/net/udp6"),
    };
    let mut text = fs::read_to_string(v4)?;
    match fs::read_to_string(v6) {
        Ok(more) => text.push_str(&more),
        // A kernel without IPv6.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    Ok(text.lines().filter_map(line).collect())
}

/// One line of /proc/net/tcp and the like (proc_net_tcp(5)); headings are none.
fn line(line: &str) -> Option<Row> {
    let mut fields = line.split_ascii_whitespace();
    let (local, remote, state) = (fields.nth(1)?, fields.next()?, fields.next()?);
    let inode = fields.nth(5)?.parse().ok()?;
    let state = u32::from_str_radix(state, 16).ok()?;
    Some(Row { local: end(local)?, remote: end(remote)?, state: 1_u32.checked_shl(state)?, inode })
}

/// `0100007F:1F90`: words in the machine's order, the port as a number.
fn end(text: &str) -> Option<SocketAddr> {
    let (ip, port) = text.split_once(':')?;
    let word = |at: usize| {
        let digits = ip.get(at.checked_mul(8)?..at.checked_mul(8)?.checked_add(8)?)?;
        u32::from_str_radix(digits, 16).ok().map(u32::to_ne_bytes)
    };
    let ip = match ip.len() {
        8 => IpAddr::from(word(0)?),
        32 => {
            let words: Vec<[u8; 4]> = (0..4).map(word).collect::<Option<_>>()?;
            let bytes: [u8; 16] = words.concat().try_into().ok()?;
            IpAddr::V6(Ipv6Addr::from(bytes)).to_canonical()
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip, u16::from_str_radix(port, 16).ok()?))
}

/// The process among these that has the socket with this inode number. EACCES where there is none, but one may not be
/// looked at.
pub(crate) fn holder(inode: u64, among: impl IntoIterator<Item = i32>) -> io::Result<Option<i32>> {
    let wanted = format!("socket:[{inode}]");
    let mut refused = None;
    for pid in among {
        let entries = match fs::read_dir(format!("/proc/{pid}/fd")) {
            Ok(entries) => entries,
            Err(error) => {
                if error.kind() == io::ErrorKind::PermissionDenied {
                    refused = Some(error);
                }
                continue;
            }
        };
        for entry in entries {
            let Ok(entry) = entry else { break };
            match fs::read_link(entry.path()) {
                Ok(link) if link.as_os_str() == wanted.as_str() => return Ok(Some(pid)),
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => refused = Some(error),
                _ => {}
            }
        }
    }
    refused.map_or(Ok(None), Err)
}

/// The inode numbers of the sockets that a process has. EACCES where it may not be looked at.
pub(crate) fn sockets(pid: i32) -> io::Result<HashSet<u64>> {
    let entries = match fs::read_dir(format!("/proc/{pid}/fd")) {
        Ok(entries) => entries,
        // It has ended.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(HashSet::new()),
        Err(error) => return Err(error),
    };
    let number = |link: std::path::PathBuf| -> Option<u64> {
        link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
    };
    let mut found = HashSet::new();
    for entry in entries.flatten() {
        match fs::read_link(entry.path()) {
            Ok(link) => found.extend(number(link)),
            // Root may list another's descriptors, and without CAP_SYS_PTRACE see nothing of them.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return Err(error),
            // Closed meanwhile.
            Err(_) => {}
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream, UdpSocket};
    use std::os::fd::AsFd;

    #[test]
    fn both_ways_tell_the_same() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let local = listener.local_addr().unwrap();
        let client = TcpStream::connect(local).unwrap();
        let (server, remote) = listener.accept().unwrap();
        let wide = TcpListener::bind("[::]:0").unwrap();
        let mapped = TcpStream::connect(("127.0.0.1", wide.local_addr().unwrap().port())).unwrap();
        let (mapped_server, _) = wide.accept().unwrap();
        let udp = UdpSocket::bind("[::1]:0").unwrap();
        let by_proc = |protocol, port: u16| {
            let mut rows = read_proc(protocol).unwrap();
            rows.retain(|row| row.local.port() == port);
            rows.sort_by_key(|row| row.inode);
            rows
        };
        for (protocol, port) in [
            (Protocol::Tcp, local.port()),
            (Protocol::Tcp, wide.local_addr().unwrap().port()),
            (Protocol::Udp, udp.local_addr().unwrap().port()),
        ] {
            let mut rows = by_netlink(protocol, ANY, port).unwrap();
            rows.sort_by_key(|row| row.inode);
            assert_eq!(rows, by_proc(protocol, port));
            assert!(!rows.is_empty());
        }
        let inode = |fd: std::os::fd::BorrowedFd<'_>| crate::listen::cookie(fd).unwrap();
        assert_eq!(connection(local, remote).unwrap().unwrap().inode, inode(server.as_fd()));
        assert_eq!(connection(remote, local).unwrap().unwrap().inode, inode(client.as_fd()));
        let (ours, theirs) = (mapped.peer_addr().unwrap(), mapped.local_addr().unwrap());
        assert_eq!(exactly(ours, theirs).unwrap().unwrap().inode, inode(mapped_server.as_fd()));
        let nobody = SocketAddr::new(remote.ip(), 1);
        assert_eq!(connection(local, nobody).unwrap(), None);
    }

    #[test]
    fn a_line_is_read_and_what_is_none_is_left_out() {
        let header = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode";
        assert_eq!(line(header), None);
        let half_open = "   3: 0100007F:1F90 0200000A:C350 03 00000000:00000000 01:00000063 00000000     0        0 0";
        if cfg!(target_endian = "little") {
            let row = line(half_open).unwrap();
            assert_eq!((row.local, row.remote), ("127.0.0.1:8080".parse().unwrap(), "10.0.0.2:50000".parse().unwrap()));
            assert_eq!((row.state, row.inode), (SYN_RECV, 0));
            let v6 = "   0: 00000000000000000000000001000000:0050 00000000000000000000000000000000:0000 0A 0:0 0:0 0 7 0 99 1";
            let row = line(v6).unwrap();
            assert_eq!((row.local, row.state, row.inode), ("[::1]:80".parse().unwrap(), LISTEN, 99));
        }
        for cut in 0..half_open.len() {
            let _none_or_row = line(&half_open[..cut]);
        }
    }

    #[test]
    fn noise_from_the_kernel_is_no_panic() {
        let mut seed = 0x5eed_u64;
        for _ in 0..20_000 {
            let mut packet: Vec<u8> = (0..seed % 200)
                .map(|_| {
                    seed ^= seed << 13;
                    seed ^= seed >> 7;
                    seed ^= seed << 17;
                    seed as u8
                })
                .collect();
            if packet.len() > 16 && seed.is_multiple_of(2) {
                let len = packet.len() as u32;
                packet[..4].copy_from_slice(&len.to_ne_bytes());
                packet[4..6].copy_from_slice(&SOCK_DIAG_BY_FAMILY.to_ne_bytes());
            }
            let _either = messages(&packet, &mut |_| {});
            seed = seed.wrapping_add(1);
        }
    }
}
