//! Real connections through real groups of two and three sockets.

use super::*;
use crate::fd;
use crate::listen::{self, Group};
use nix::sys::socket::{setsockopt, sockopt};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::{AsFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// A group on a free port, each socket non-blocking, in the order of its slots.
fn group(address: &str, slots: usize) -> (Vec<TcpListener>, u16) {
    let address: SocketAddr = address.parse().unwrap();
    let first = listen::tcp(address, false, Group::Shared, 4096).unwrap();
    let port = listen::address(first.as_fd()).unwrap().port();
    let mut group = vec![first];
    for _ in 1..slots {
        group.push(listen::tcp(SocketAddr::new(address.ip(), port), false, Group::Shared, 4096).unwrap());
    }
    let of = |fd: OwnedFd| {
        fd::set_nonblocking(fd.as_fd()).unwrap();
        TcpListener::from(fd)
    };
    (group.into_iter().map(of).collect(), port)
}

/// How many connections each slot has; they are accepted.
fn taken(group: &[TcpListener]) -> Vec<usize> {
    let count = |listener: &TcpListener| {
        let mut count = 0;
        while listener.accept().is_ok() {
            count += 1;
        }
        count
    };
    group.iter().map(count).collect()
}

fn connect_all(client: &str, port: u16, count: usize) -> Vec<TcpStream> {
    (0..count).map(|_| TcpStream::connect((client, port)).unwrap()).collect()
}

/// A socket that has its source address before it is connected.
fn bound(source: SocketAddr) -> (OwnedFd, SocketAddr) {
    let family = if source.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    // SAFETY: no pointers; the descriptor is new.
    let socket = unsafe { OwnedFd::from_raw_fd(libc::socket(family, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0)) };
    listen::bind_inet(&socket, source).unwrap();
    let source = listen::address(socket.as_fd()).unwrap();
    (socket, source)
}

fn connect(socket: OwnedFd, to: SocketAddr) -> TcpStream {
    use nix::sys::socket::{SockaddrIn, SockaddrIn6, connect};
    match to {
        SocketAddr::V4(to) => connect(socket.as_raw_fd(), &SockaddrIn::from(to)).unwrap(),
        SocketAddr::V6(to) => connect(socket.as_raw_fd(), &SockaddrIn6::from(to)).unwrap(),
    }
    socket.into()
}

/// Where the group listens, where the client connects, where it comes from.
const WAYS: [(&str, &str, &str); 4] = [
    ("127.0.0.1:0", "127.0.0.1", "127.0.0.1:0"),
    ("[::1]:0", "::1", "[::1]:0"),
    ("[::]:0", "::1", "[::1]:0"),
    ("[::]:0", "127.0.0.1", "127.0.0.1:0"),
];

#[test]
fn one_slot_with_all_the_weight_gets_every_connection() {
    for (address, client, _) in WAYS {
        let (group, port) = group(address, 3);
        for slot in [2, 0, 1] {
            attach(group[0].as_fd(), &[(slot, 100)], &[]).unwrap();
            let _open = connect_all(client, port, 50);
            let mut expected = vec![0; 3];
            expected[usize::from(slot)] = 50;
            assert_eq!(taken(&group), expected, "{address}");
        }
    }
}

#[test]
fn weights_of_one_to_three_are_a_quarter_and_three_quarters() {
    for (address, client, _) in WAYS {
        let (group, port) = group(address, 2);
        // Any socket of the group will do.
        attach(group[1].as_fd(), &[(0, 1), (1, 3)], &[]).unwrap();
        let _open = connect_all(client, port, 600);
        let shares = taken(&group);
        assert_eq!(shares[0] + shares[1], 600);
        // Expected 150, standard deviation 11: beyond these bounds once in a hundred million runs.
        assert!((90..210).contains(&shares[0]), "{address}: {shares:?}");
    }
}

#[test]
fn a_slot_without_weight_gets_nothing_and_small_shares_are_kept() {
    let (group, port) = group("127.0.0.1:0", 3);
    attach(group[0].as_fd(), &[(0, u32::MAX), (1, 0), (2, u32::MAX)], &[]).unwrap();
    let _open = connect_all("127.0.0.1", port, 400);
    let shares = taken(&group);
    assert_eq!(shares[1], 0);
    assert!((120..280).contains(&shares[0]), "{shares:?}");
}

#[test]
fn probes_reach_their_slot_and_nobody_else_does() {
    for (address, client, source) in WAYS {
        let (group, port) = group(address, 2);
        let to = SocketAddr::new(client.parse().unwrap(), port);
        let (sockets, mut probes): (Vec<_>, Vec<_>) = (0..MAX_PROBES)
            .map(|_| {
                let (socket, source) = bound(source.parse().unwrap());
                (socket, Probe { source, slot: 1 })
            })
            .unzip();
        // Some that are of the other family, and some of the same one with another address.
        probes[3].source = SocketAddr::new(Ipv4Addr::new(127, 9, 9, 9).into(), probes[3].source.port());
        probes[4].source = SocketAddr::new("fe80::1".parse().unwrap(), probes[4].source.port());
        attach(group[0].as_fd(), &[(0, 1)], &probes).unwrap();
        for (at, socket) in sockets.into_iter().enumerate() {
            let _probe = connect(socket, to);
            let _other = connect_all(client, port, 3);
            let expected = if [3, 4].contains(&at) { [4, 0] } else { [3, 1] };
            assert_eq!(taken(&group), expected, "{address} probe {at}");
        }
        // Once its rule is gone, it is a connection as any other.
        let (socket, source) = bound(source.parse().unwrap());
        attach(group[0].as_fd(), &[(0, 1)], &[Probe { source, slot: 1 }]).unwrap();
        attach(group[0].as_fd(), &[(0, 1)], &[]).unwrap();
        let _once_a_probe = connect(socket, to);
        assert_eq!(taken(&group), [1, 0]);
    }
}

#[test]
fn an_ipv4_probe_may_be_named_in_ipv6_form() {
    let (group, port) = group("[::]:0", 2);
    let (socket, source) = bound("127.0.0.1:0".parse().unwrap());
    let mapped = SocketAddr::new(Ipv4Addr::LOCALHOST.to_ipv6_mapped().into(), source.port());
    attach(group[0].as_fd(), &[(0, 1)], &[Probe { source: mapped, slot: 1 }]).unwrap();
    let _probe = connect(socket, SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port));
    assert_eq!(taken(&group), [0, 1]);
}

#[test]
fn the_largest_program_fits_where_sockets_may_hold_20_kib() {
    let source = |port| Probe { source: SocketAddr::new("2001:db8::1".parse().unwrap(), port), slot: 7 };
    let probes: Vec<Probe> = (0..MAX_PROBES as u16).map(source).collect();
    let weights: Vec<(u8, u32)> = (0..8).map(|slot| (slot, 1)).collect();
    // The kernel translates each instruction to at most ten of its own, of eight bytes, and nearly all of these to one or two
    // (bpf_convert_filter); what it makes of loads from the packet is longest.
    let code = program(&weights, &probes).unwrap();
    let loads = code.iter().filter(|insn| [LD_B, LD_H, LD_H_IND, LD_W].contains(&insn.code)).count();
    let largest = (code.len() - loads) * 2 * 8 + loads * 16 * 8 + 256;
    assert!(largest < 20_480, "{} instructions, at most {largest} bytes", code.len());
    let (group, _) = group("[::1]:0", 2);
    attach(group[0].as_fd(), &weights, &probes).unwrap();
}

#[test]
fn what_would_lead_nowhere_is_refused() {
    let (group, _) = group("127.0.0.1:0", 2);
    let refused = |fd: BorrowedFd<'_>, weights: &[(u8, u32)], probes: &[Probe]| {
        attach(fd, weights, probes).unwrap_err().raw_os_error() == Some(libc::EINVAL)
    };
    let probe = Probe { source: "127.0.0.1:1".parse().unwrap(), slot: 0 };
    assert!(refused(group[0].as_fd(), &[], &[]));
    assert!(refused(group[0].as_fd(), &[(0, 0)], &[probe]));
    assert!(refused(group[0].as_fd(), &[(0, 1)], &[probe; MAX_PROBES + 1]));
    let alone = listen::tcp("127.0.0.1:0".parse().unwrap(), false, Group::Alone, 1).unwrap();
    assert!(refused(alone.as_fd(), &[(0, 1)], &[]));
}

#[test]
fn no_connection_fails_while_the_gate_turns() {
    let (group, port) = group("127.0.0.1:0", 2);
    let gate = group[0].try_clone().unwrap();
    attach(gate.as_fd(), &[(0, 1)], &[]).unwrap();
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let servers: Vec<_> = group
            .iter()
            .map(|listener| {
                scope.spawn(|| {
                    let mut served = 0_u32;
                    while !over.load(Ordering::Relaxed) {
                        if !fd::wait_readable(listener.as_fd(), Duration::from_millis(20)).unwrap() {
                            continue;
                        }
                        while let Ok((mut stream, _)) = listener.accept() {
                            let mut byte = [0];
                            stream.read_exact(&mut byte).unwrap();
                            stream.write_all(&byte).unwrap();
                            served += 1;
                        }
                    }
                    served
                })
            })
            .collect();
        let clients: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(move || {
                    for _ in 0..1000 {
                        let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
                        stream.write_all(b"x").unwrap();
                        stream.read_exact(&mut [0]).unwrap();
                    }
                })
            })
            .collect();
        let mut turns = 0_u32;
        while !clients.iter().all(std::thread::ScopedJoinHandle::is_finished) {
            turns += 1;
            let source = SocketAddr::new([127, 0, 0, 1].into(), 1);
            let weights = [(u8::try_from(turns % 2).unwrap(), 1)];
            attach(gate.as_fd(), &weights, &[Probe { source, slot: 0 }]).unwrap();
            std::thread::yield_now();
        }
        for client in clients {
            client.join().unwrap();
        }
        over.store(true, Ordering::Relaxed);
        let served: Vec<u32> = servers.into_iter().map(|server| server.join().unwrap()).collect();
        assert_eq!(served[0] + served[1], 2000);
        assert!(served.iter().all(|served| *served > 0), "{served:?} in {turns} turns");
    });
}

/// Nothing that began before the turn comes to the old slot after it has been found empty.
#[test]
fn after_the_turn_has_settled_only_what_is_pending_can_still_come_to_the_old_slot() {
    let (group, port) = group("127.0.0.1:0", 2);
    for turn in 0..6_u8 {
        let (old, new) = (turn % 2, (turn + 1) % 2);
        attach(group[0].as_fd(), &[(old, 1)], &[]).unwrap();
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    while !over.load(Ordering::Relaxed) {
                        let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
                        // Closed by a reset, so that tens of thousands of them leave no port in TIME_WAIT.
                        let reset = libc::linger { l_onoff: 1, l_linger: 0 };
                        setsockopt(&stream, sockopt::Linger, &reset).unwrap();
                        drop(stream);
                        drop(taken(&group[usize::from(new)..=usize::from(new)]));
                    }
                });
            }
            let old = &group[usize::from(old)];
            while taken(std::slice::from_ref(old)) == [0] {
                std::thread::yield_now();
            }
            attach(old.as_fd(), &[(new, 1)], &[]).unwrap();
            settle().unwrap();
            let left = crate::handshakes::pending(port).unwrap();
            while !left.is_disjoint(&crate::handshakes::pending(port).unwrap()) {
                std::thread::yield_now();
            }
            taken(std::slice::from_ref(old));
            settle().unwrap();
            let late = taken(std::slice::from_ref(old));
            over.store(true, Ordering::Relaxed);
            assert_eq!(late, [0]);
        });
    }
}
