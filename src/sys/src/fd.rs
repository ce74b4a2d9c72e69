//! Descriptors: pipes, memfds, flags.

use crate::cvt::{cvt, cvt_long, errno};
use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::FileExt;

/// A pipe: (read end, write end), both close-on-exec and blocking.
pub fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).map_err(io::Error::from)
}

/// Asks for a pipe buffer of `bytes` (`F_SETPIPE_SZ`) and returns what the kernel gave. EPERM above
/// /proc/sys/fs/pipe-max-size without privilege.
pub fn set_pipe_size(pipe: BorrowedFd<'_>, bytes: usize) -> io::Result<usize> {
    let bytes = libc::c_int::try_from(bytes).map_err(|_| errno(libc::EINVAL))?;
    // SAFETY: fcntl with an integer argument on a descriptor that lives through the call.
    let got = cvt(unsafe { libc::fcntl(pipe.as_raw_fd(), libc::F_SETPIPE_SZ, bytes) })?;
    usize::try_from(got).map_err(|_| errno(libc::EINVAL))
}

/// How many bytes are waiting to be read (`FIONREAD`).
pub fn readable_bytes(fd: BorrowedFd<'_>) -> io::Result<usize> {
    let mut count: libc::c_int = 0;
    // SAFETY: FIONREAD writes one int.
    cvt(unsafe { libc::ioctl(fd.as_raw_fd(), libc::FIONREAD, &mut count) })?;
    Ok(usize::try_from(count).unwrap_or(0))
}

/// Whether two of our descriptors are duplicates: of one open file description (kcmp(2)). Where the kernel does not tell,
/// they are not.
pub fn is_duplicate(first: BorrowedFd<'_>, second: BorrowedFd<'_>) -> bool {
    const KCMP_FILE: libc::c_int = 0;
    let me = crate::process::pid();
    // SAFETY: no pointers; the descriptors live through the call.
    let order = unsafe { libc::syscall(libc::SYS_kcmp, me, me, KCMP_FILE, first.as_raw_fd(), second.as_raw_fd()) };
    order == 0
}

/// Sets `O_NONBLOCK`. It belongs to the open file description: everybody who shares it is changed too, so it must
/// never be used on a descriptor that an application has.
pub fn set_nonblocking(fd: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: fcntl without pointers.
    let flags = cvt(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_GETFL) })?;
    // SAFETY: as above.
    cvt(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFL, flags | libc::O_NONBLOCK) })?;
    Ok(())
}

/// Reads what is there into `buffer`: as read(2). EAGAIN where the descriptor is non-blocking and has nothing.
pub fn read(fd: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<usize> {
    nix::unistd::read(fd, buffer).map_err(io::Error::from)
}

/// Writes as much of `bytes` as fits: as write(2).
pub fn write(fd: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<usize> {
    nix::unistd::write(fd, bytes).map_err(io::Error::from)
}

/// A sealed memfd with these contents: nobody can change it afterwards.
pub fn memfd(name: &str, bytes: &[u8]) -> io::Result<OwnedFd> {
    let name = CString::new(name).map_err(|_| errno(libc::EINVAL))?;
    // SAFETY: a NUL-terminated name.
    let raw = cvt(unsafe { libc::memfd_create(name.as_ptr(), libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING) })?;
    // SAFETY: just created, owned by nobody else.
    let file = std::fs::File::from(unsafe { OwnedFd::from_raw_fd(raw) });
    file.write_all_at(bytes, 0)?;
    let seals = libc::F_SEAL_SEAL | libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_WRITE;
    // SAFETY: fcntl with an integer argument.
    cvt(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_ADD_SEALS, seals) })?;
    Ok(file.into())
}

/// An empty memfd that everybody who holds it can write to.
pub fn shared_memfd(name: &str) -> io::Result<OwnedFd> {
    let name = CString::new(name).map_err(|_| errno(libc::EINVAL))?;
    // SAFETY: a NUL-terminated name.
    let raw = cvt(unsafe { libc::memfd_create(name.as_ptr(), libc::MFD_CLOEXEC) })?;
    // SAFETY: just created, owned by nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(raw) })
}

/// The contents of a sealed memfd. EINVAL where it is not sealed against writing or is larger than `limit` bytes.
pub fn read_memfd(memfd: OwnedFd, limit: usize) -> io::Result<Vec<u8>> {
    // SAFETY: fcntl without pointers.
    let seals = cvt(unsafe { libc::fcntl(memfd.as_raw_fd(), libc::F_GET_SEALS) })?;
    let wanted = libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_WRITE;
    if seals & wanted != wanted {
        return Err(errno(libc::EINVAL));
    }
    let file = std::fs::File::from(memfd);
    let len = usize::try_from(file.metadata()?.len()).map_err(|_| errno(libc::EINVAL))?;
    if len > limit {
        return Err(errno(libc::EINVAL));
    }
    let mut bytes = vec![0; len];
    file.read_exact_at(&mut bytes, 0)?;
    Ok(bytes)
}

/// Takes over a descriptor that this process inherited under a known number and makes it close-on-exec.
/// EBADF where there is none. Call it once for a number: two owners of one descriptor close each other's.
pub fn take_inherited(number: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: fcntl without pointers; it fails where the number is not open.
    cvt(unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) })?;
    // SAFETY: the number is open, and by contract nobody else in this process owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// A copy of a descriptor that this process inherited under a known number, close-on-exec; the number stays open.
pub fn copy_inherited(number: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: fcntl without pointers; it fails where the number is not open.
    let copy = cvt(unsafe { libc::fcntl(number, libc::F_DUPFD_CLOEXEC, 3) })?;
    // SAFETY: just made, owned by nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(copy) })
}

/// Opens a file for reading without waiting for anybody, as opening a named pipe would.
pub fn open_without_waiting(path: &std::path::Path) -> io::Result<OwnedFd> {
    use std::os::unix::fs::OpenOptionsExt;
    Ok(std::fs::File::options().read(true).custom_flags(libc::O_NONBLOCK).open(path)?.into())
}

/// Opens /dev/null for reading and writing, close-on-exec.
pub fn open_null() -> io::Result<OwnedFd> {
    Ok(std::fs::File::options().read(true).write(true).open("/dev/null")?.into())
}

/// Makes sure that 0, 1 and 2 are open, with /dev/null where they are not: otherwise the next descriptor that is
/// opened becomes somebody's standard output.
pub fn ensure_stdio() -> io::Result<()> {
    for number in 0..3 {
        // SAFETY: fcntl without pointers.
        if unsafe { libc::fcntl(number, libc::F_GETFD) } == -1 {
            // SAFETY: open(2) with a constant path; the lowest free number is `number`, since all below are open.
            cvt(unsafe { libc::open(c"/dev/null".as_ptr(), libc::O_RDWR) })?;
        }
    }
    Ok(())
}

/// Marks every inherited descriptor from 3 up as close-on-exec. Without close_range(2) (before Linux 5.11) it goes
/// through /proc/self/fd.
pub fn cloexec_inherited() -> io::Result<()> {
    const CLOSE_RANGE_CLOEXEC: libc::c_uint = 4;
    // SAFETY: no pointers; only flags of descriptors change.
    if unsafe { libc::syscall(libc::SYS_close_range, 3 as libc::c_uint, libc::c_uint::MAX, CLOSE_RANGE_CLOEXEC) } == 0 {
        return Ok(());
    }
    for entry in std::fs::read_dir("/proc/self/fd")? {
        let number = entry?.file_name().to_str().and_then(|name| name.parse::<RawFd>().ok());
        if let Some(number) = number.filter(|number| *number > 2) {
            // SAFETY: fcntl without pointers; a number that is closed by now fails with EBADF, which is fine.
            unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) };
        }
    }
    Ok(())
}

/// How many descriptors this process has open, by /proc/self/fd.
pub fn count_open() -> io::Result<usize> {
    // The directory's own descriptor is among those listed.
    Ok(std::fs::read_dir("/proc/self/fd")?.count().saturating_sub(1))
}

/// Random bytes, getrandom(2).
pub fn random<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    // SAFETY: the buffer has N bytes. The kernel fills up to 256 bytes in one go.
    let got = cvt_long(unsafe { libc::syscall(libc::SYS_getrandom, bytes.as_mut_ptr(), N, 0) })?;
    if usize::try_from(got) == Ok(N) { Ok(bytes) } else { Err(errno(libc::EIO)) }
}

/// Waits until the descriptor is readable or hung up, at most `timeout`; says whether it is.
pub fn wait_readable(fd: BorrowedFd<'_>, timeout: std::time::Duration) -> io::Result<bool> {
    let mut set = [libc::pollfd { fd: fd.as_fd().as_raw_fd(), events: libc::POLLIN, revents: 0 }];
    let millis = libc::c_int::try_from(timeout.as_millis()).unwrap_or(libc::c_int::MAX);
    // SAFETY: one valid pollfd.
    let ready = unsafe { libc::poll(set.as_mut_ptr(), 1, millis) };
    match cvt(ready) {
        Ok(count) => Ok(count > 0),
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_memfd_keeps_its_bytes_and_cannot_be_written() {
        let memfd = memfd("spec", b"hello").unwrap();
        let file = std::fs::File::from(memfd.try_clone().unwrap());
        assert_eq!(file.write_at(b"x", 0).unwrap_err().raw_os_error(), Some(libc::EPERM));
        assert_eq!(read_memfd(memfd.try_clone().unwrap(), 5).unwrap(), b"hello");
        assert!(read_memfd(memfd, 4).is_err());
    }

    #[test]
    fn what_is_written_to_a_shared_memfd_is_seen_through_every_copy_and_it_counts_as_unsealed() {
        let memfd = shared_memfd("notes").unwrap();
        let copy = std::fs::File::from(memfd.try_clone().unwrap());
        std::fs::File::from(memfd.try_clone().unwrap()).write_all_at(b"hello", 3).unwrap();
        let mut bytes = [0; 8];
        copy.read_exact_at(&mut bytes, 0).unwrap();
        assert_eq!(&bytes, b"\0\0\0hello");
        assert!(read_memfd(memfd, 8).is_err());
    }

    #[test]
    fn a_plain_file_is_no_sealed_memfd() {
        assert!(read_memfd(std::fs::File::open("/proc/self/exe").unwrap().into(), 1 << 30).is_err());
    }

    #[test]
    fn a_pipe_can_be_made_larger() {
        let (_read, write) = pipe().unwrap();
        assert!(set_pipe_size(write.as_fd(), 128 * 1024).unwrap() >= 128 * 1024);
    }
}
