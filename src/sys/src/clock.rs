//! Reading clocks. Nothing else in the workspace asks the kernel for the time of the keeper's records.

/// One instant on three clocks, all in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// `CLOCK_MONOTONIC`: for deadlines; does not jump and stands still in suspend.
    pub mono_ns: u64,
    /// `CLOCK_BOOTTIME`: for durations that people see; does not jump, counts suspend.
    pub boot_ns: u64,
    /// `CLOCK_REALTIME` since 1970: for people.
    pub real_ns: u64,
}

/// The instant of the call.
pub fn now() -> Now {
    Now {
        mono_ns: read(libc::CLOCK_MONOTONIC),
        boot_ns: read(libc::CLOCK_BOOTTIME),
        real_ns: read(libc::CLOCK_REALTIME),
    }
}

fn read(clock: libc::clockid_t) -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid timespec; a clock the kernel lacks leaves it at zero.
    unsafe { libc::clock_gettime(clock, &mut time) };
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(time.tv_nsec).unwrap_or(0);
    seconds.saturating_mul(1_000_000_000).saturating_add(nanos)
}
