//! Sockets that wait for connections or datagrams, and what the kernel tells of them.
//!
//! All are close-on-exec and blocking: they are handed to programs, and what a program has not asked for it must not get.

use crate::cvt::{cvt, errno};
use crate::packet::{get_int, get_int_at, set_int, set_int_at};
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrIn, SockaddrIn6, SockaddrLike, SockaddrStorage, UnixAddr, bind,
    getsockname,
};
use std::io;
use std::mem;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::path::Path;

/// Whether a TCP listener has others beside it on its address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// It has the address for itself.
    Alone,
    /// It is one of a group (SO_REUSEPORT, socket(7)), between whose sockets a [`crate::gate`] chooses. All must be made by
    /// the same user; the index of each is the order in which they began to listen, as long as none is closed.
    Shared,
}

/// Whether somebody listens at the path of a Unix socket. ECONNREFUSED where nobody does, EAGAIN where somebody does and as
/// many as may wait there already; never waits itself.
pub fn try_unix(path: &Path) -> io::Result<()> {
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let socket = nix::sys::socket::socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    Ok(nix::sys::socket::connect(socket.as_raw_fd(), &UnixAddr::new(path)?)?)
}

/// A TCP socket that listens on `address` (port 0: the kernel chooses), at most `backlog` connections waiting (the
/// kernel takes no more than net.core.somaxconn). An IPv6 one takes IPv4 connections too unless `v6only`.
///
/// TCP_NODELAY is set, which accepted sockets inherit: some servers set it only on sockets that they made themselves.
/// EADDRINUSE where another one has the port ([`crate::owner`] tells who), EACCES below ip_unprivileged_port_start,
/// EADDRNOTAVAIL where the address is not this machine's.
pub fn tcp(address: SocketAddr, v6only: bool, group: Group, backlog: u32) -> io::Result<OwnedFd> {
    let socket = inet(address, libc::SOCK_STREAM, v6only)?;
    set_int(socket.as_fd(), libc::SO_REUSEADDR, 1)?;
    if group == Group::Shared {
        set_int(socket.as_fd(), libc::SO_REUSEPORT, 1)?;
    }
    set_int_at(socket.as_fd(), libc::IPPROTO_TCP, libc::TCP_NODELAY, 1)?;
    bind_inet(&socket, address)?;
    listen(&socket, backlog)?;
    Ok(socket)
}

/// A UDP socket bound to `address`. Errors as of [`tcp`]. It has no SO_REUSEADDR, which for UDP would let any other
/// socket that has it take the port, and the datagrams, away.
pub fn udp(address: SocketAddr, v6only: bool) -> io::Result<OwnedFd> {
    let socket = inet(address, libc::SOCK_DGRAM, v6only)?;
    bind_inet(&socket, address)?;
    Ok(socket)
}

/// A Unix stream socket that listens at `path`, which must not exist (EADDRINUSE) and be at most 107 bytes long
/// (ENAMETOOLONG, unix(7)). Its mode is what the umask leaves; who may connect is for the caller to say, by chmod(2).
pub fn unix(path: &Path, backlog: u32) -> io::Result<OwnedFd> {
    let socket = make(libc::AF_UNIX, libc::SOCK_STREAM)?;
    bind(socket.as_raw_fd(), &UnixAddr::new(path)?)?;
    listen(&socket, backlog)?;
    Ok(socket)
}

/// The address that an IPv4 or IPv6 socket is bound to (getsockname(2)), with the port that the kernel chose. EAFNOSUPPORT for
/// other families.
pub fn address(fd: BorrowedFd<'_>) -> io::Result<SocketAddr> {
    let storage: SockaddrStorage = getsockname(fd.as_raw_fd())?;
    match (storage.as_sockaddr_in(), storage.as_sockaddr_in6()) {
        (Some(v4), _) => Ok(SocketAddr::V4((*v4).into())),
        (_, Some(v6)) => Ok(SocketAddr::V6((*v6).into())),
        _ => Err(errno(libc::EAFNOSUPPORT)),
    }
}

/// What a socket that somebody else has made is bound to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bound {
    /// It listens for TCP there; whether it takes IPv6 only.
    Tcp(SocketAddr, bool),
    /// It takes datagrams there; whether of IPv6 only.
    Udp(SocketAddr, bool),
    /// It listens at this path.
    Unix(std::path::PathBuf),
    /// Anything else.
    Other,
}

/// What a socket is bound to. ENOTSOCK for what is none.
pub fn bound(fd: BorrowedFd<'_>) -> io::Result<Bound> {
    let kind = get_int(fd, libc::SO_TYPE)?;
    let listens = is_listening(fd)?;
    let storage: SockaddrStorage = getsockname(fd.as_raw_fd())?;
    if let Some(unix) = storage.as_unix_addr() {
        let path = unix.path().filter(|_| listens && kind == libc::SOCK_STREAM);
        return Ok(path.map_or(Bound::Other, |path| Bound::Unix(path.to_owned())));
    }
    let Ok(at) = address(fd) else { return Ok(Bound::Other) };
    let v6only = at.is_ipv6() && get_int_at(fd, libc::IPPROTO_IPV6, libc::IPV6_V6ONLY)? != 0;
    Ok(match kind {
        libc::SOCK_STREAM if listens => Bound::Tcp(at, v6only),
        libc::SOCK_DGRAM => Bound::Udp(at, v6only),
        _ => Bound::Other,
    })
}

/// Makes a socket of somebody else's as those that are made here: blocking, and a TCP one with TCP_NODELAY, which accepted
/// sockets inherit.
pub fn adopt(fd: BorrowedFd<'_>) -> io::Result<()> {
    set_blocking_shared(fd)?;
    if let Bound::Tcp(..) = bound(fd)? {
        set_int_at(fd, libc::IPPROTO_TCP, libc::TCP_NODELAY, 1)?;
    }
    Ok(())
}

/// Whether the socket may be one of a group (SO_REUSEPORT): it must have been said before it was bound.
pub fn may_share(fd: BorrowedFd<'_>) -> io::Result<bool> {
    get_int(fd, libc::SO_REUSEPORT).map(|value| value != 0)
}

/// Takes a listening TCP socket out of service, for all who have it: its address is free at once.
pub fn close_for_all(fd: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: no pointers.
    cvt(unsafe { libc::shutdown(fd.as_raw_fd(), libc::SHUT_RDWR) })?;
    Ok(())
}

/// How many connections wait to be accepted from a TCP listener (tcpi_unacked of TCP_INFO, tcp(7)): those whose
/// handshake is complete. ENOPROTOOPT or EOPNOTSUPP for other sockets.
pub fn waiting(fd: BorrowedFd<'_>) -> io::Result<u32> {
    // SAFETY: all-zero is a valid tcp_info.
    let mut info: libc::tcp_info = unsafe { mem::zeroed() };
    let mut size = libc::socklen_t::try_from(mem::size_of::<libc::tcp_info>()).unwrap_or(0);
    // SAFETY: `info` has the stated size.
    cvt(unsafe {
        libc::getsockopt(fd.as_raw_fd(), libc::IPPROTO_TCP, libc::TCP_INFO, (&raw mut info).cast(), &mut size)
    })?;
    Ok(info.tcpi_unacked)
}

/// Accepts all connections that wait at a listening socket and closes them, without waiting for more; answers how many. Only
/// for a socket from which nobody else accepts: for the moment it is non-blocking, for all who share it. EMFILE and the
/// like where there is no room for one; what was closed until then is closed.
pub fn close_waiting(fd: BorrowedFd<'_>) -> io::Result<u32> {
    // SAFETY: fcntl without pointers.
    let flags = cvt(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_GETFL) })?;
    crate::fd::set_nonblocking(fd)?;
    let closed = close_all(fd);
    // SAFETY: fcntl without pointers.
    cvt(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFL, flags) })?;
    closed
}

fn close_all(fd: BorrowedFd<'_>) -> io::Result<u32> {
    let mut closed: u32 = 0;
    loop {
        // SAFETY: accept4(2) takes null for an address that nobody asks for.
        let accepted = cvt(unsafe {
            libc::accept4(fd.as_raw_fd(), std::ptr::null_mut(), std::ptr::null_mut(), libc::SOCK_CLOEXEC)
        });
        match accepted {
            Ok(raw) => {
                // SAFETY: just made, owned by nobody else.
                drop(unsafe { OwnedFd::from_raw_fd(raw) });
                closed = closed.saturating_add(1);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(closed),
            // It has left by itself; accept(2) tells of it before it tells of the next.
            Err(error) if matches!(error.raw_os_error(), Some(libc::ECONNABORTED | libc::EINTR)) => {}
            Err(error) => return Err(error),
        }
    }
}

/// Has a TCP socket listen again that somebody has shut down (shutdown(2) takes it out of service for all who share it), on
/// the address that it was bound to. In its group it is the last from now on. Errors as of [`tcp`].
pub fn again(fd: BorrowedFd<'_>, address: SocketAddr, backlog: u32) -> io::Result<()> {
    match bind_inet(&fd, address) {
        // It still is: only where the kernel had chosen the port it has lost it.
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {}
        other => other?,
    }
    listen(&fd, backlog)
}

/// Whether the socket listens (SO_ACCEPTCONN, socket(7)).
pub fn is_listening(fd: BorrowedFd<'_>) -> io::Result<bool> {
    get_int(fd, libc::SO_ACCEPTCONN).map(|value| value != 0)
}

/// What tells one living socket from all others, whoever has a descriptor of it: its inode number, as in
/// `socket:[NUMBER]` of /proc/PID/fd. Not SO_COOKIE, which cannot be asked of a socket that is only seen there.
pub fn cookie(fd: BorrowedFd<'_>) -> io::Result<u64> {
    Ok(nix::sys::stat::fstat(fd)?.st_ino)
}

/// Sets O_NONBLOCK on a socket that is shared with programs. It changes all who have the socket: it is only for the moment at
/// which a program takes it over that expects that: in place of one of its own that was non-blocking, or by a handoff. One
/// that blocks in accept on the same socket would get EAGAIN from then on.
pub fn set_nonblocking_shared(fd: BorrowedFd<'_>) -> io::Result<()> {
    crate::fd::set_nonblocking(fd)
}

/// Clears O_NONBLOCK on a socket that is shared with programs, for the moment at which nobody has it and the next one is about
/// to: what the last one set would stay, and a program that expects a blocking socket, as one that it made itself is,
/// gets EAGAIN.
pub fn set_blocking_shared(fd: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: fcntl without pointers.
    let flags = cvt(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_GETFL) })?;
    // SAFETY: as above.
    cvt(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFL, flags & !libc::O_NONBLOCK) })?;
    Ok(())
}

fn inet(address: SocketAddr, kind: libc::c_int, v6only: bool) -> io::Result<OwnedFd> {
    match address.ip() {
        IpAddr::V4(_) => make(libc::AF_INET, kind),
        IpAddr::V6(_) => {
            let socket = make(libc::AF_INET6, kind)?;
            // Said in both cases: the default is the machine's (net.ipv6.bindv6only).
            set_int_at(socket.as_fd(), libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, v6only.into())?;
            Ok(socket)
        }
    }
}

fn make(family: libc::c_int, kind: libc::c_int) -> io::Result<OwnedFd> {
    // SAFETY: no pointers.
    let raw = cvt(unsafe { libc::socket(family, kind | libc::SOCK_CLOEXEC, 0) })?;
    // SAFETY: just created, owned by nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(raw) })
}

pub(crate) fn bind_inet(socket: &impl AsRawFd, address: SocketAddr) -> io::Result<()> {
    fn to(socket: &impl AsRawFd, address: &dyn SockaddrLike) -> nix::Result<()> {
        bind(socket.as_raw_fd(), address)
    }
    match address {
        SocketAddr::V4(v4) => to(socket, &SockaddrIn::from(v4))?,
        SocketAddr::V6(v6) => to(socket, &SockaddrIn6::from(v6))?,
    }
    Ok(())
}

fn listen(socket: &impl AsRawFd, backlog: u32) -> io::Result<()> {
    let backlog = libc::c_int::try_from(backlog).unwrap_or(libc::c_int::MAX);
    // SAFETY: no pointers.
    cvt(unsafe { libc::listen(socket.as_raw_fd(), backlog) })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};

    fn flags(fd: BorrowedFd<'_>) -> (libc::c_int, libc::c_int) {
        // SAFETY: fcntl without pointers.
        unsafe { (libc::fcntl(fd.as_raw_fd(), libc::F_GETFD), libc::fcntl(fd.as_raw_fd(), libc::F_GETFL)) }
    }

    #[test]
    fn sockets_are_blocking_and_close_on_exec_and_tell_what_they_are() {
        let path = std::env::temp_dir().join(format!("svd-sys-listen-{}", std::process::id()));
        let _none = std::fs::remove_file(&path);
        let tcp = tcp("127.0.0.1:0".parse().unwrap(), false, Group::Alone, 10).unwrap();
        let udp = udp("[::1]:0".parse().unwrap(), true).unwrap();
        let unix = unix(&path, 10).unwrap();
        for socket in [&tcp, &udp, &unix] {
            let (descriptor, status) = flags(socket.as_fd());
            assert_eq!((descriptor, status & libc::O_NONBLOCK), (libc::FD_CLOEXEC, 0));
        }
        assert!(is_listening(tcp.as_fd()).unwrap());
        assert!(!is_listening(udp.as_fd()).unwrap());
        assert!(is_listening(unix.as_fd()).unwrap());
        assert_ne!(address(tcp.as_fd()).unwrap().port(), 0);
        assert_eq!(address(udp.as_fd()).unwrap().ip(), IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1]));
        assert_eq!(address(unix.as_fd()).unwrap_err().raw_os_error(), Some(libc::EAFNOSUPPORT));
        let copy = tcp.try_clone().unwrap();
        assert_eq!(cookie(tcp.as_fd()).unwrap(), cookie(copy.as_fd()).unwrap());
        assert_ne!(cookie(tcp.as_fd()).unwrap(), cookie(udp.as_fd()).unwrap());
        set_nonblocking_shared(copy.as_fd()).unwrap();
        assert_ne!(flags(tcp.as_fd()).1 & libc::O_NONBLOCK, 0);
        set_blocking_shared(tcp.as_fd()).unwrap();
        assert_eq!(flags(copy.as_fd()).1 & libc::O_NONBLOCK, 0);
        assert!(waiting(unix.as_fd()).is_err());
        assert!(std::os::unix::net::UnixStream::connect(&path).is_ok());
        assert_eq!(super::unix(&path, 1).unwrap_err().raw_os_error(), Some(libc::EADDRINUSE));
        std::fs::remove_file(&path).unwrap();
        let long = std::path::PathBuf::from(format!("/{}", "x".repeat(108)));
        assert_eq!(super::unix(&long, 1).unwrap_err().raw_os_error(), Some(libc::ENAMETOOLONG));
    }

    #[test]
    fn connections_that_wait_are_counted_and_inherit_the_options() {
        let listener = tcp("127.0.0.1:0".parse().unwrap(), false, Group::Alone, 10).unwrap();
        let at = address(listener.as_fd()).unwrap();
        let _clients: Vec<TcpStream> = (0..3).map(|_| TcpStream::connect(at).unwrap()).collect();
        assert_eq!(waiting(listener.as_fd()).unwrap(), 3);
        let listener = TcpListener::from(listener);
        let (accepted, _) = listener.accept().unwrap();
        assert!(accepted.nodelay().unwrap());
        assert_eq!(waiting(listener.as_fd()).unwrap(), 2);
        drop((listener.accept().unwrap(), listener.accept().unwrap()));
        assert_eq!(waiting(listener.as_fd()).unwrap(), 0);
    }

    #[test]
    fn who_waits_can_be_sent_away_at_once() {
        use std::io::Read;
        let listener = tcp("127.0.0.1:0".parse().unwrap(), false, Group::Alone, 10).unwrap();
        let at = address(listener.as_fd()).unwrap();
        let mut clients: Vec<TcpStream> = (0..3).map(|_| TcpStream::connect(at).unwrap()).collect();
        assert_eq!(close_waiting(listener.as_fd()).unwrap(), 3);
        assert_eq!(close_waiting(listener.as_fd()).unwrap(), 0);
        assert_eq!(flags(listener.as_fd()).1 & libc::O_NONBLOCK, 0);
        assert!(clients.iter_mut().all(|client| client.read(&mut [0]).unwrap() == 0));
        let datagrams = udp("127.0.0.1:0".parse().unwrap(), false).unwrap();
        assert_eq!(close_waiting(datagrams.as_fd()).unwrap_err().raw_os_error(), Some(libc::EOPNOTSUPP));
    }

    #[test]
    fn an_address_is_shared_only_in_a_group_and_may_be_of_one_family() {
        let any = "[::]:0".parse().unwrap();
        let first = tcp(any, false, Group::Shared, 1).unwrap();
        let port = address(first.as_fd()).unwrap().port();
        let at = |ip: &str| SocketAddr::new(ip.parse().unwrap(), port);
        assert!(tcp(at("::"), false, Group::Shared, 1).is_ok());
        let in_use = |result: io::Result<OwnedFd>| result.unwrap_err().raw_os_error() == Some(libc::EADDRINUSE);
        assert!(in_use(tcp(at("::"), false, Group::Alone, 1)));
        assert!(in_use(tcp(at("127.0.0.1"), false, Group::Alone, 1)));
        let only_v6 = tcp(any, true, Group::Alone, 1).unwrap();
        let port = address(only_v6.as_fd()).unwrap().port();
        assert!(tcp(SocketAddr::new([0, 0, 0, 0].into(), port), false, Group::Alone, 1).is_ok());
        let taken = udp("127.0.0.1:0".parse().unwrap(), false).unwrap();
        assert!(in_use(udp(address(taken.as_fd()).unwrap(), false)));
    }

    #[test]
    fn sockets_of_others_tell_what_they_are_and_are_made_as_ours() {
        let path = std::env::temp_dir().join(format!("svd-sys-bound-{}", std::process::id()));
        let _none = std::fs::remove_file(&path);
        let theirs = TcpListener::bind("127.0.0.1:0").unwrap();
        theirs.set_nonblocking(true).unwrap();
        let at = theirs.local_addr().unwrap();
        assert_eq!(bound(theirs.as_fd()).unwrap(), Bound::Tcp(at, false));
        assert!(!may_share(theirs.as_fd()).unwrap());
        adopt(theirs.as_fd()).unwrap();
        let _user = TcpStream::connect(at).unwrap();
        assert!(theirs.accept().unwrap().0.nodelay().unwrap());
        assert_eq!(flags(theirs.as_fd()).1 & libc::O_NONBLOCK, 0);
        let wide = tcp("[::]:0".parse().unwrap(), true, Group::Shared, 1).unwrap();
        assert!(may_share(wide.as_fd()).unwrap());
        assert_eq!(bound(wide.as_fd()).unwrap(), Bound::Tcp(address(wide.as_fd()).unwrap(), true));
        let datagrams = udp("127.0.0.1:0".parse().unwrap(), false).unwrap();
        assert_eq!(bound(datagrams.as_fd()).unwrap(), Bound::Udp(address(datagrams.as_fd()).unwrap(), false));
        let file = unix(&path, 1).unwrap();
        assert_eq!(bound(file.as_fd()).unwrap(), Bound::Unix(path.clone()));
        std::fs::remove_file(&path).unwrap();
        assert_eq!(bound(std::os::unix::net::UnixDatagram::unbound().unwrap().as_fd()).unwrap(), Bound::Other);
        assert!(bound(std::fs::File::open("/dev/null").unwrap().as_fd()).is_err());
        // and one that is closed for all gives its port away though somebody still has it
        close_for_all(theirs.as_fd()).unwrap();
        tcp(at, false, Group::Alone, 1).unwrap();
    }
}
