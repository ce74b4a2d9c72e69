//! Descriptors that tokio has no type for (pidfds, sequenced-packet sockets), on its reactor.

use std::io;
use std::os::fd::AsRawFd;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Watches a descriptor that `owner` owns alone: it is closed only when the watcher is dropped, which takes it off the
/// reactor first.
#[expect(
    deprecated,
    reason = "the successor is an unsafe function; its condition, an owner that keeps the descriptor open, is kept by the \
              types given here, and unsafe code stays in sys"
)]
pub fn watch<T: AsRawFd + Owner>(owner: T, interest: Interest) -> io::Result<AsyncFd<T>> {
    AsyncFd::with_interest(owner, interest)
}

/// Types that own exactly one descriptor for as long as they live.
pub trait Owner {}

impl Owner for std::os::fd::OwnedFd {}
impl Owner for svd_sys::files::Changes {}
impl Owner for svd_sys::packet::PacketSocket {}
impl Owner for svd_sys::timer::WallTimer {}
