//! The two ways in which libc reports failure, turned into `io::Result`.

use std::io;

/// A call that returns -1 and sets errno.
pub(crate) fn cvt(result: libc::c_int) -> io::Result<libc::c_int> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// As [`cvt`], for calls that return a byte count.
pub(crate) fn cvt_size(result: libc::ssize_t) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}

/// As [`cvt`], for `syscall(2)`.
pub(crate) fn cvt_long(result: libc::c_long) -> io::Result<libc::c_long> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// An error made here, with an errno of the kernel's.
pub(crate) fn errno(errno: i32) -> io::Error {
    io::Error::from_raw_os_error(errno)
}
