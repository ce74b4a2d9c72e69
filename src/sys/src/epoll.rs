//! epoll(7): which of many descriptors has something to say.

use crate::cvt::cvt;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::Duration;

/// What to wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interest {
    /// Readable or hung up, as long as it is.
    Read,
    /// Writable, as long as it is.
    Write,
    /// Both.
    ReadWrite,
    /// Became readable: told once for every arrival (`EPOLLET`). For descriptors that somebody else reads.
    ReadEdge,
    /// Only hang-up and errors.
    Hangup,
}

impl Interest {
    fn bits(self) -> u32 {
        let bits = match self {
            Interest::Read => libc::EPOLLIN | libc::EPOLLRDHUP,
            Interest::Write => libc::EPOLLOUT,
            Interest::ReadWrite => libc::EPOLLIN | libc::EPOLLRDHUP | libc::EPOLLOUT,
            Interest::ReadEdge => libc::EPOLLIN | libc::EPOLLET,
            Interest::Hangup => 0,
        };
        bits.cast_unsigned()
    }
}

/// One descriptor that has something to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// The token it was added with.
    pub token: u64,
    bits: u32,
}

impl Event {
    /// There is something to read, or an end or error that a read will tell.
    pub fn readable(self) -> bool {
        self.bits & (libc::EPOLLIN | libc::EPOLLRDHUP | libc::EPOLLHUP | libc::EPOLLERR).cast_unsigned() != 0
    }

    /// There is room to write, or an error that a write will tell.
    pub fn writable(self) -> bool {
        self.bits & (libc::EPOLLOUT | libc::EPOLLHUP | libc::EPOLLERR).cast_unsigned() != 0
    }

    /// The other side is gone.
    pub fn hangup(self) -> bool {
        self.bits & (libc::EPOLLHUP | libc::EPOLLERR).cast_unsigned() != 0
    }
}

/// An epoll instance.
#[derive(Debug)]
pub struct Epoll(OwnedFd);

/// How many events one wait returns at most.
const BATCH: usize = 64;

impl Epoll {
    /// A new one, close-on-exec.
    pub fn new() -> io::Result<Self> {
        // SAFETY: no pointers.
        let raw = cvt(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
        // SAFETY: just created, owned by nobody else.
        Ok(Epoll(unsafe { OwnedFd::from_raw_fd(raw) }))
    }

    /// Waits for `fd` too. EEXIST where it is there already, EPERM for plain files.
    pub fn add(&self, fd: BorrowedFd<'_>, token: u64, interest: Interest) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_ADD, fd, token, interest)
    }

    /// Waits for something else on `fd`.
    pub fn modify(&self, fd: BorrowedFd<'_>, token: u64, interest: Interest) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_MOD, fd, token, interest)
    }

    /// No longer waits for `fd`. Needed before closing a descriptor that has duplicates: epoll watches the open
    /// file description, which lives as long as any of them.
    pub fn delete(&self, fd: BorrowedFd<'_>) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_DEL, fd, 0, Interest::Hangup)
    }

    /// Waits until something happens or `timeout` (`None`: for ever) has passed and appends to `events`, at most 64.
    /// A signal ends the wait with no event.
    pub fn wait(&self, events: &mut Vec<Event>, timeout: Option<Duration>) -> io::Result<()> {
        let mut raw = [libc::epoll_event { events: 0, u64: 0 }; BATCH];
        // Rounded up: waking a little late is right, waking early spins.
        let millis = match timeout {
            None => -1,
            Some(timeout) => {
                let millis = timeout.as_nanos().div_ceil(1_000_000);
                libc::c_int::try_from(millis).unwrap_or(libc::c_int::MAX)
            }
        };
        let capacity = libc::c_int::try_from(BATCH).unwrap_or(1);
        // SAFETY: the buffer has room for `capacity` events.
        let count = match cvt(unsafe { libc::epoll_wait(self.0.as_raw_fd(), raw.as_mut_ptr(), capacity, millis) }) {
            Ok(count) => usize::try_from(count).unwrap_or(0),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
            Err(error) => return Err(error),
        };
        events.extend(raw.iter().take(count).map(|event| Event { token: event.u64, bits: event.events }));
        Ok(())
    }

    fn control(&self, operation: libc::c_int, fd: BorrowedFd<'_>, token: u64, interest: Interest) -> io::Result<()> {
        let mut event = libc::epoll_event { events: interest.bits(), u64: token };
        // SAFETY: a valid event and descriptors that live through the call.
        cvt(unsafe { libc::epoll_ctl(self.0.as_raw_fd(), operation, fd.as_raw_fd(), &mut event) })?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn a_written_pipe_is_readable_under_its_token() {
        let (read, write) = crate::fd::pipe().unwrap();
        let epoll = Epoll::new().unwrap();
        epoll.add(read.as_fd(), 7, Interest::Read).unwrap();
        let mut events = Vec::new();
        epoll.wait(&mut events, Some(Duration::ZERO)).unwrap();
        assert!(events.is_empty());
        crate::fd::write(write.as_fd(), b"x").unwrap();
        epoll.wait(&mut events, Some(Duration::from_secs(5))).unwrap();
        assert_eq!(events.len(), 1);
        assert!(events[0].token == 7 && events[0].readable() && !events[0].hangup());
    }
}
