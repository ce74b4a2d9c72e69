//! A timer on the clock on the wall (timerfd_create(2)), which also tells that the clock was set.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use crate::cvt::{cvt, cvt_size};

/// What a timer has to tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rang {
    /// Nothing yet.
    Not,
    /// Its instant has come.
    Due,
    /// The clock was set, by a person, by NTP, or by a resume from suspend. It has to be armed again.
    ClockSet,
}

/// A timer of `CLOCK_REALTIME`. Readable when its instant has come, or when the clock was set.
#[derive(Debug)]
pub struct WallTimer(OwnedFd);

impl WallTimer {
    /// One that is not armed.
    pub fn new() -> io::Result<WallTimer> {
        // SAFETY: no pointers.
        let raw = cvt(unsafe { libc::timerfd_create(libc::CLOCK_REALTIME, libc::TFD_CLOEXEC | libc::TFD_NONBLOCK) })?;
        // SAFETY: just created, owned by nobody else.
        Ok(WallTimer(unsafe { OwnedFd::from_raw_fd(raw) }))
    }

    /// Arms it for an instant, nanoseconds since 1970; `None`: for the end of time, so that it only tells that the clock was set.
    /// One that has passed comes at once, never early.
    pub fn arm(&self, real_ns: Option<i64>) -> io::Result<()> {
        const SECOND: i64 = 1_000_000_000;
        // A value of zero would disarm it. The kernel takes no seconds beyond 2^63 nanoseconds.
        let at = real_ns.unwrap_or(i64::MAX).max(1);
        let value = libc::timespec { tv_sec: at.div_euclid(SECOND), tv_nsec: at.rem_euclid(SECOND) };
        let spec = libc::itimerspec { it_interval: libc::timespec { tv_sec: 0, tv_nsec: 0 }, it_value: value };
        let flags = libc::TFD_TIMER_ABSTIME | libc::TFD_TIMER_CANCEL_ON_SET;
        let armed = |spec: &libc::itimerspec| {
            // SAFETY: `spec` is a valid itimerspec; the old value is not asked for.
            cvt(unsafe { libc::timerfd_settime(self.0.as_raw_fd(), flags, spec, std::ptr::null_mut()) })
        };
        match armed(&spec) {
            // The clock was set since it was last read: the timer is armed all the same (timerfd_create(2)), and tells it.
            Err(error) if error.raw_os_error() == Some(libc::ECANCELED) => Ok(()),
            other => other.map(drop),
        }
    }

    /// What it has to tell; takes it away.
    pub fn take(&self) -> io::Result<Rang> {
        let mut count = [0_u8; 8];
        // SAFETY: `count` has the eight bytes that the kernel writes.
        let read = unsafe { libc::read(self.0.as_raw_fd(), count.as_mut_ptr().cast(), count.len()) };
        match cvt_size(read) {
            Ok(_) => Ok(Rang::Due),
            Err(error) if error.raw_os_error() == Some(libc::ECANCELED) => Ok(Rang::ClockSet),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Rang::Not),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(Rang::Not),
            Err(error) => Err(error),
        }
    }
}

impl AsRawFd for WallTimer {
    fn as_raw_fd(&self) -> std::os::fd::RawFd {
        self.0.as_raw_fd()
    }
}

impl AsFd for WallTimer {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::clock;

    #[test]
    fn an_instant_that_has_passed_rings_at_once_and_only_once() {
        // given
        let timer = WallTimer::new().unwrap();
        assert_eq!(timer.take().unwrap(), Rang::Not);
        // when
        timer.arm(Some(clock::now().real_ns as i64 - 1)).unwrap();
        // then
        assert!(crate::fd::wait_readable(timer.as_fd(), Duration::from_secs(5)).unwrap());
        assert_eq!(timer.take().unwrap(), Rang::Due);
        assert_eq!(timer.take().unwrap(), Rang::Not);
    }

    #[test]
    fn an_instant_ahead_never_rings_before_it() {
        let timer = WallTimer::new().unwrap();
        let at = clock::now().real_ns as i64 + 20_000_000;
        timer.arm(Some(at)).unwrap();
        assert!(crate::fd::wait_readable(timer.as_fd(), Duration::from_secs(5)).unwrap());
        assert!(clock::now().real_ns as i64 >= at);
    }

    #[test]
    fn without_an_instant_it_is_armed_for_the_clock_alone() {
        let timer = WallTimer::new().unwrap();
        timer.arm(None).unwrap();
        assert!(!crate::fd::wait_readable(timer.as_fd(), Duration::ZERO).unwrap());
    }
}
