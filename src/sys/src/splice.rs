//! Moving bytes between pipes and files inside the kernel. None of these wait.

use crate::cvt::{cvt_size, errno};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

const FLAGS: libc::c_uint = libc::SPLICE_F_NONBLOCK | libc::SPLICE_F_MOVE;

/// Moves at most `len` bytes from the pipe to the file at `offset`, which it advances. 0 is the pipe's end;
/// `WouldBlock` when it is empty. EINVAL for files opened with O_APPEND.
pub fn splice_to_file(pipe: BorrowedFd<'_>, file: BorrowedFd<'_>, offset: &mut u64, len: usize) -> io::Result<usize> {
    let mut at = libc::loff_t::try_from(*offset).map_err(|_| errno(libc::EFBIG))?;
    // SAFETY: `at` is one loff_t; the source is a pipe and takes no offset.
    let moved = cvt_size(unsafe {
        libc::splice(pipe.as_raw_fd(), std::ptr::null_mut(), file.as_raw_fd(), &mut at, len, FLAGS)
    })?;
    *offset = u64::try_from(at).unwrap_or(*offset);
    Ok(moved)
}

/// Drops at most `len` bytes of the pipe into `null`, an open /dev/null.
pub fn splice_to_null(pipe: BorrowedFd<'_>, null: BorrowedFd<'_>, len: usize) -> io::Result<usize> {
    // SAFETY: no pointers are passed.
    cvt_size(unsafe {
        libc::splice(pipe.as_raw_fd(), std::ptr::null_mut(), null.as_raw_fd(), std::ptr::null_mut(), len, FLAGS)
    })
}

/// Moves at most `len` bytes from one pipe to another.
pub fn splice_pipes(from: BorrowedFd<'_>, to: BorrowedFd<'_>, len: usize) -> io::Result<usize> {
    // SAFETY: no pointers are passed.
    cvt_size(unsafe {
        libc::splice(from.as_raw_fd(), std::ptr::null_mut(), to.as_raw_fd(), std::ptr::null_mut(), len, FLAGS)
    })
}

/// Copies at most `len` bytes from one pipe to another without consuming them. 0 when there is nothing and no writer.
pub fn tee(from: BorrowedFd<'_>, to: BorrowedFd<'_>, len: usize) -> io::Result<usize> {
    // SAFETY: no pointers are passed.
    cvt_size(unsafe { libc::tee(from.as_raw_fd(), to.as_raw_fd(), len, libc::SPLICE_F_NONBLOCK) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fd;
    use std::os::fd::AsFd;
    use std::os::unix::fs::FileExt;

    #[test]
    fn bytes_are_copied_stored_and_consumed() {
        let (read, write) = fd::pipe().unwrap();
        let (copy, copy_in) = fd::pipe().unwrap();
        fd::write(write.as_fd(), b"hello").unwrap();
        assert_eq!(tee(read.as_fd(), copy_in.as_fd(), 100).unwrap(), 5);
        let path = std::env::temp_dir().join(format!("svd-sys-splice-{}", std::process::id()));
        let file = std::fs::File::options().create(true).truncate(true).read(true).write(true).open(&path).unwrap();
        let mut offset = 3;
        assert_eq!(splice_to_file(copy.as_fd(), file.as_fd(), &mut offset, 100).unwrap(), 5);
        assert_eq!(offset, 8);
        let mut bytes = [0; 5];
        file.read_exact_at(&mut bytes, 3).unwrap();
        assert_eq!(&bytes, b"hello");
        let null = fd::open_null().unwrap();
        assert_eq!(splice_to_null(read.as_fd(), null.as_fd(), 100).unwrap(), 5);
        assert_eq!(splice_to_null(read.as_fd(), null.as_fd(), 1).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        std::fs::remove_file(path).unwrap();
    }
}
