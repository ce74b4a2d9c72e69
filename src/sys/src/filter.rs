//! The system call filter that tells bind(2), listen(2) and shutdown(2) to somebody else: the child's side, between fork and exec.
//!
//! Of shutdown only what takes a listening socket out of service: reading, or both ways. (Servers often end what they write on
//! every connection, which goes on without a detour.) Only these calls stop and wait for an answer (SECCOMP_RET_USER_NOTIF, seccomp_unotify(2)); all others run as if
//! there were no filter, and so do calls of a foreign architecture (32-bit programs, x32). The filter is inherited by
//! everybody whom the program forks, and by what it executes.
//!
//! The listener on which the calls are told goes over a socket to the other side and is closed here. Between the two
//! steps and exec the child makes none of these calls, so it never waits for itself.

use crate::packet;
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// The message that comes with the listener.
pub(crate) const LISTENER: u8 = b'f';
/// The first byte of a message that says why there is none; an errno as i32 little-endian follows.
pub(crate) const REFUSED: u8 = b'!';

#[cfg(target_arch = "x86_64")]
const ARCH: u32 = 0xc000_003e; // AUDIT_ARCH_X86_64
#[cfg(target_arch = "aarch64")]
const ARCH: u32 = 0xc000_00b7; // AUDIT_ARCH_AARCH64
#[cfg(target_arch = "riscv64")]
const ARCH: u32 = 0xc000_00f3; // AUDIT_ARCH_RISCV64

// Offsets in struct seccomp_data.
const NR: u32 = 0;
const ARCH_AT: u32 = 4;
const SECOND: u32 = 24; // The lower half of the second argument: all three architectures are little-endian.

const LOAD: u16 = 0x20; // BPF_LD | BPF_W | BPF_ABS
const EQUAL: u16 = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
const RETURN: u16 = 0x06; // BPF_RET | BPF_K

const fn insn(code: u16, jt: u8, jf: u8, k: u32) -> libc::sock_filter {
    libc::sock_filter { code, jt, jf, k }
}

static PROGRAM: [libc::sock_filter; 10] = [
    insn(LOAD, 0, 0, ARCH_AT),
    insn(EQUAL, 0, 7, ARCH),
    insn(LOAD, 0, 0, NR),
    insn(EQUAL, 4, 0, libc::SYS_bind as u32),
    insn(EQUAL, 3, 0, libc::SYS_listen as u32),
    insn(EQUAL, 0, 3, libc::SYS_shutdown as u32),
    insn(LOAD, 0, 0, SECOND),
    insn(EQUAL, 1, 0, libc::SHUT_WR as u32),
    insn(RETURN, 0, 0, libc::SECCOMP_RET_USER_NOTIF),
    insn(RETURN, 0, 0, libc::SECCOMP_RET_ALLOW),
];

/// Installs the filter and sends its listener over `socket`, which is closed. Where the kernel refuses the filter, that
/// is said over `socket`, and all is well: the program runs without. An error (an errno) is only that the listener could
/// not be sent, which leaves a process whose every bind fails (ENOSYS, without a listener).
///
/// # Safety
/// Only in a freshly forked child with one thread; `socket` is open and owned by nobody else.
pub(crate) unsafe fn install(socket: RawFd) -> Result<(), i32> {
    // SAFETY: by contract ours alone.
    let socket = unsafe { OwnedFd::from_raw_fd(socket) };
    // SAFETY: it outlives the borrow.
    let end = unsafe { BorrowedFd::borrow_raw(std::os::fd::AsRawFd::as_raw_fd(&socket)) };
    match listener() {
        Ok(listener) => {
            permit_a_look();
            // SAFETY: as above.
            let listener_end = unsafe { BorrowedFd::borrow_raw(std::os::fd::AsRawFd::as_raw_fd(&listener)) };
            packet::send(end, &[LISTENER], &[listener_end]).map_err(|error| error.raw_os_error().unwrap_or(libc::EIO))
        }
        Err(errno) => {
            let [a, b, c, d] = errno.to_le_bytes();
            // Nobody reads it: then nobody misses it.
            let _unread = packet::send(end, &[REFUSED, a, b, c, d], &[]);
            Ok(())
        }
    }
}

/// With CAP_SYS_ADMIN the filter is installed as it is; without, the kernel wants the promise that no program gains
/// privileges by exec any more (no_new_privs, prctl(2)).
fn listener() -> Result<OwnedFd, i32> {
    match install_filter() {
        Err(libc::EACCES) => {
            // SAFETY: prctl without pointers.
            if unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) } == -1 {
                return Err(libc::EACCES);
            }
            install_filter()
        }
        other => other,
    }
}

fn install_filter() -> Result<OwnedFd, i32> {
    let program = libc::sock_fprog { len: PROGRAM.len() as u16, filter: PROGRAM.as_ptr().cast_mut() };
    // SPEC_ALLOW: on kernels before 5.16 a filter slows its process down by default (speculation), for nothing here.
    let flags = libc::SECCOMP_FILTER_FLAG_NEW_LISTENER | libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW;
    // SAFETY: `program` points at a program of the stated length, which the kernel copies. The listener it returns is
    // close-on-exec and owned by nobody else.
    unsafe {
        let raw = libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const program);
        if raw == -1 {
            return Err(*libc::__errno_location());
        }
        Ok(OwnedFd::from_raw_fd(RawFd::try_from(raw).unwrap_or(-1)))
    }
}

/// Where Yama lets only ancestors look into a process (ptrace_scope 1, the default of some distributions), the manager,
/// which is a sibling, may look into this one all the same: our parent and its descendants are permitted it. It lasts
/// over exec and is not inherited. EINVAL without Yama.
fn permit_a_look() {
    // SAFETY: prctl and getppid without pointers.
    unsafe {
        libc::prctl(libc::PR_SET_PTRACER, libc::c_ulong::try_from(libc::getppid()).unwrap_or(0), 0, 0, 0);
    }
}
