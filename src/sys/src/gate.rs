//! The gate: which socket of a SO_REUSEPORT group a new connection goes to.
//!
//! A classic BPF program that the kernel runs for the first packet of each connection and that returns the index of a
//! socket: its slot (SO_ATTACH_REUSEPORT_CBPF, socket(7), Linux 4.6; TCP and no privilege). Exchanging it is one system
//! call: each connection sees the old program or the new one, and none is lost. It belongs to the group, and stays with it
//! when the process that attached it is gone.
//!
//! A probe is recognised by its source address and port, which the caller has bound before; nobody else on the machine
//! can have both, and nobody outside can send from an address of this machine.

use crate::cvt::{cvt, errno};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, BorrowedFd};

/// A connection that goes to a slot of its own, whatever the weights say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probe {
    /// Where it comes from. An IPv4 address in IPv6 form means the IPv4 address.
    pub source: SocketAddr,
    /// Where it goes.
    pub slot: u8,
}

/// The most probes at a time: the program must stay within what sockets may hold (net.core.optmem_max, 20 KiB on older
/// kernels).
pub const MAX_PROBES: usize = 32;

/// SO_ATTACH_REUSEPORT_CBPF of all architectures that svd is for; libc has it for Android only.
const SO_ATTACH_REUSEPORT_CBPF: libc::c_int = 51;

/// Directs new connections: probes to their slots, all others by weight. `fd` is any socket of the group; the
/// weights are pairs (slot, share) of slots that exist: an index beyond the group would fall back to the kernel's hash.
///
/// EINVAL where no weight is above 0, there are too many probes, or the socket is not of a group; ENOPROTOOPT where
/// the kernel has no such thing.
pub fn attach(fd: BorrowedFd<'_>, weights: &[(u8, u32)], probes: &[Probe]) -> io::Result<()> {
    let mut program = program(weights, probes).ok_or_else(|| errno(libc::EINVAL))?;
    let len = libc::c_ushort::try_from(program.len()).map_err(|_| errno(libc::EINVAL))?;
    let filter = libc::sock_fprog { len, filter: program.as_mut_ptr() };
    let size = libc::socklen_t::try_from(std::mem::size_of::<libc::sock_fprog>()).map_err(|_| errno(libc::EINVAL))?;
    // SAFETY: `filter` has the stated size and points at a program of the stated length; the kernel copies both.
    cvt(unsafe {
        let option = (&raw const filter).cast();
        libc::setsockopt(fd.as_raw_fd(), libc::SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, option, size)
    })?;
    Ok(())
}

/// Waits until no packet is being directed by a program that was exchanged before: one that was on its way through the
/// kernel on another processor in that very moment belongs to its slot only a moment later, and is not told by
/// [`crate::handshakes`] before that. It takes some ten milliseconds (membarrier(2), Linux 4.3; a grace period of RCU, under
/// which the kernel receives packets). EINVAL with nohz_full, EPERM or ENOSYS where it is not permitted.
pub fn settle() -> io::Result<()> {
    const MEMBARRIER_CMD_GLOBAL: libc::c_int = 1;
    // SAFETY: no pointers.
    crate::cvt::cvt_long(unsafe { libc::syscall(libc::SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0) })?;
    Ok(())
}

/// Where the network header begins, whatever the packet's data pointer is at (SKF_NET_OFF).
const NET: u32 = 0xfff0_0000;
/// A random number (SKF_AD_OFF + SKF_AD_RANDOM, Linux 4.0).
const RANDOM: u32 = 0xffff_f000 + 56;

const LD_B: u16 = 0x30; // A = byte at k
const LD_H: u16 = 0x28; // A = two bytes at k
const LD_H_IND: u16 = 0x48; // A = two bytes at X + k
const LD_W: u16 = 0x20; // A = four bytes at k
const LD_MEM: u16 = 0x60; // A = M[k]
const ST: u16 = 0x02; // M[k] = A
const AND: u16 = 0x54; // A &= k
const LSH: u16 = 0x64; // A <<= k
const RSH: u16 = 0x74; // A >>= k
const TAX: u16 = 0x07; // X = A
const JA: u16 = 0x05; // over k instructions
const JEQ: u16 = 0x15; // A == k: over jt instructions, else over jf
const JGE: u16 = 0x35; // A >= k: likewise
const RET: u16 = 0x06; // k is the index

/// M[PORT] is the source port, and from M[ADDRESS] on are the words of the source address.
const PORT: u32 = 0;
const ADDRESS: u32 = 1;

fn branch(code: u16, k: u32, yes: u8, no: u8) -> libc::sock_filter {
    libc::sock_filter { code, jt: yes, jf: no, k }
}

fn plain(code: u16, k: u32) -> libc::sock_filter {
    branch(code, k, 0, 0)
}

/// Over so many instructions, which may be more than a comparison can jump.
fn over(instructions: usize) -> Option<libc::sock_filter> {
    Some(plain(JA, u32::try_from(instructions).ok()?))
}

/// The program; `None` where it would send connections nowhere.
///
/// ```text
///       is it IPv4: to v4; is it IPv6: to v6; to dice
/// v4:   remember source address and port; its probes; to dice
/// v6:   is TCP behind extension headers: to dice; remember source address and port; its probes
/// dice: a random number against the cumulated weights
/// ```
fn program(weights: &[(u8, u32)], probes: &[Probe]) -> Option<Vec<libc::sock_filter>> {
    if probes.len() > MAX_PROBES {
        return None;
    }
    let dice = dice(weights)?;
    if probes.is_empty() {
        return Some(dice);
    }
    let mut v4 = vec![
        plain(LD_W, NET.wrapping_add(12)),
        plain(ST, ADDRESS),
        // The low nibble of the first byte is the length of the header in words.
        plain(LD_B, NET),
        plain(AND, 0x0f),
        plain(LSH, 2),
        plain(TAX, 0),
        plain(LD_H_IND, NET),
        plain(ST, PORT),
    ];
    let mut v6 = vec![plain(LD_W, NET.wrapping_add(8)), plain(ST, ADDRESS)];
    for word in 1..4_u32 {
        v6.push(plain(LD_W, NET.wrapping_add(8).wrapping_add(word.wrapping_mul(4))));
        v6.push(plain(ST, ADDRESS.wrapping_add(word)));
    }
    v6.extend([plain(LD_H, NET.wrapping_add(40)), plain(ST, PORT)]);
    for Probe { source, slot } in probes {
        match source.ip().to_canonical() {
            IpAddr::V4(ip) => v4.extend(probe(source.port(), &[ip.to_bits()], *slot)),
            IpAddr::V6(ip) => {
                let bits = ip.to_bits();
                let words = [bits >> 96, bits >> 64, bits >> 32, bits].map(|word| u32::try_from(word & 0xffff_ffff));
                let [Ok(a), Ok(b), Ok(c), Ok(d)] = words else { return None };
                v6.extend(probe(source.port(), &[a, b, c, d], *slot));
            }
        }
    }
    const TCP: u32 = 6;
    let mut v6_entry = vec![plain(LD_B, NET.wrapping_add(6)), branch(JEQ, TCP, 1, 0), over(v6.len())?];
    v6_entry.append(&mut v6);
    v4.push(over(v6_entry.len())?);
    let mut program = vec![
        plain(LD_B, NET),
        plain(RSH, 4),
        branch(JEQ, 4, 3, 0),
        branch(JEQ, 6, 1, 0),
        over(v4.len().checked_add(v6_entry.len())?.checked_add(1)?)?,
        over(v4.len())?,
    ];
    program.append(&mut v4);
    program.append(&mut v6_entry);
    program.extend(dice);
    Some(program)
}

/// One probe, port first, so that all others cost one comparison. A is the source port before it and after it.
fn probe(port: u16, address: &[u32], slot: u8) -> Vec<libc::sock_filter> {
    // Behind each word: two instructions for each one that is left, and the return.
    let behind = |words: usize| u8::try_from(words.saturating_mul(2).saturating_add(1)).unwrap_or(u8::MAX);
    let mut code = vec![branch(JEQ, u32::from(port), 0, behind(address.len()).saturating_add(1))];
    for (at, word) in (ADDRESS..).zip(address) {
        let left = address.len().saturating_sub(usize::try_from(at).unwrap_or(0));
        code.extend([plain(LD_MEM, at), branch(JEQ, *word, 0, behind(left))]);
    }
    code.extend([plain(RET, u32::from(slot)), plain(LD_MEM, PORT)]);
    code
}

/// A random number against the cumulated weights.
fn dice(weights: &[(u8, u32)]) -> Option<Vec<libc::sock_filter>> {
    let shares: Vec<(u8, u32)> = weights.iter().filter(|(_, weight)| *weight > 0).copied().collect();
    let total: u128 = shares.iter().map(|(_, weight)| u128::from(*weight)).sum();
    let ((last, _), others) = shares.split_last()?;
    let mut code = Vec::new();
    if !others.is_empty() {
        code.push(plain(LD_W, RANDOM));
    }
    let mut sum = 0_u128;
    for (slot, weight) in others {
        sum = sum.saturating_add(u128::from(*weight));
        let limit = sum.saturating_mul(1 << 32).checked_div(total)?;
        code.extend([branch(JGE, u32::try_from(limit).unwrap_or(u32::MAX), 1, 0), plain(RET, u32::from(*slot))]);
    }
    code.push(plain(RET, u32::from(*last)));
    Some(code)
}

#[cfg(test)]
mod tests;
