//! Lines on standard error that never make their writer wait.

use std::os::fd::{AsFd, AsRawFd};

/// Writes `svd: LINE` to standard error if it takes it at once, else drops it: a supervisor must not hang because
/// nobody reads its complaints.
pub fn line(text: &str) {
    let stderr = std::io::stderr();
    let mut set = [libc::pollfd { fd: stderr.as_fd().as_raw_fd(), events: libc::POLLOUT, revents: 0 }];
    // SAFETY: one valid pollfd.
    let ready = unsafe { libc::poll(set.as_mut_ptr(), 1, 0) };
    if ready != 1 {
        return;
    }
    // POLLOUT on a pipe promises room for PIPE_BUF (4096) bytes, so a short line does not wait.
    let mut bytes = Vec::with_capacity(256);
    bytes.extend_from_slice(b"svd: ");
    bytes.extend(text.bytes().take(1000).map(|byte| if byte == b'\n' { b' ' } else { byte }));
    bytes.push(b'\n');
    let _lost = crate::fd::write(stderr.as_fd(), &bytes);
}
