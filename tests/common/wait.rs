//! Waiting for something to be so, always with a deadline.

use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::time::{Duration, Instant};

/// How long a test waits for what should be there soon. Long: the machine may be loaded, and nobody waits for it when
/// all is well.
pub const DEADLINE: Duration = Duration::from_secs(40);

/// Waits until the file or socket exists.
pub fn wait_path(path: &Path) {
    watch(path, &format!("{} to appear", path.display()), || path.exists().then_some(()));
}

/// Waits until the file's contents are such that `look` finds something.
pub fn file_with<T>(path: &Path, look: impl Fn(&str) -> Option<T>) -> T {
    watch(path, &format!("{} to have the contents wanted", path.display()), || {
        look(&String::from_utf8_lossy(&std::fs::read(path).ok()?))
    })
}

/// Looks again at every change of the path's nearest directory that exists, and of the file itself.
fn watch<T>(path: &Path, what: &str, look: impl Fn() -> Option<T>) -> T {
    let deadline = Instant::now() + DEADLINE;
    let changes = AddWatchFlags::IN_CREATE | AddWatchFlags::IN_MOVED_TO | AddWatchFlags::IN_MODIFY;
    loop {
        let inotify = Inotify::init(InitFlags::IN_CLOEXEC).expect("inotify");
        let nearest = path.ancestors().skip(1).find(|above| above.exists()).expect("the root exists");
        inotify.add_watch(nearest, changes).expect("a watch");
        if path.exists() && !path.is_dir() {
            inotify.add_watch(path, changes).expect("a watch");
        }
        // The directory may have been made between the look for it and the watch.
        let still = path.ancestors().skip(1).find(|above| above.exists()) == Some(nearest);
        if let Some(found) = look() {
            return found;
        }
        let left = deadline.saturating_duration_since(Instant::now());
        assert!(!left.is_zero(), "waited in vain for {what}");
        if still {
            readable(inotify.as_fd(), left);
        }
    }
}

/// Waits until the process of this pidfd has ended; says whether it has.
pub fn wait_ended(pidfd: BorrowedFd<'_>, within: Duration) -> bool {
    readable(pidfd, within)
}

fn readable(fd: BorrowedFd<'_>, within: Duration) -> bool {
    let deadline = Instant::now() + within;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        // Rounded up: a wait of less than a millisecond would be none.
        if svd_sys::fd::wait_readable(fd, left + Duration::from_millis(1)).expect("poll") {
            return true;
        }
        if left.is_zero() {
            return false;
        }
    }
}

/// For what the kernel cannot tell, such as that a zombie was reaped: looks every few milliseconds.
pub fn eventually(what: &str, mut look: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !look() {
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

/// Lets a random time up to `most` pass, for faults that are to come at a random instant. `seed` is changed.
pub fn instant_within(most: Duration, seed: &mut u64) {
    // xorshift64: any sequence will do, as long as it can be repeated.
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    let until = Instant::now() + most.mul_f64((*seed >> 11) as f64 / (1u64 << 53) as f64);
    while let Some(left) = until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
        std::thread::park_timeout(left);
    }
}

/// Checks that at least `least` have passed since `start`.
pub fn no_sooner(start: Instant, least: Duration, what: &str) {
    let took = start.elapsed();
    assert!(took >= least, "{what} took only {took:?}, not {least:?}");
}
