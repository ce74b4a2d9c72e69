//! The clock on the wall, by which jobs run. It sleeps from one instant to the next, and hears when the clock is set.

use svd_core::Wall;
use svd_sys::timer::{Rang, WallTimer};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::reactor;

/// What the clock on the wall shows now.
pub fn wall() -> Wall {
    Wall(i64::try_from(svd_sys::clock::now().real_ns).unwrap_or(i64::MAX))
}

/// Waits for instants of the clock on the wall.
#[derive(Default)]
pub struct WallClock {
    timer: Option<AsyncFd<WallTimer>>,
    /// For what it is armed.
    armed: Option<Option<Wall>>,
}

impl WallClock {
    /// Waits for this instant from now on; `None`: for none. An svd that never has a job never has a timer.
    pub fn arm(&mut self, at: Option<Wall>) {
        if self.armed == Some(at) || (at.is_none() && self.timer.is_none()) {
            return;
        }
        if self.timer.is_none() {
            match WallTimer::new().and_then(|timer| reactor::watch(timer, Interest::READABLE)) {
                Ok(timer) => self.timer = Some(timer),
                Err(error) => {
                    tracing::error!(%error, "there is no timer for jobs; it is tried again with the next event");
                    return;
                }
            }
        }
        let Some(timer) = &self.timer else { return };
        match timer.get_ref().arm(at.map(|wall| wall.0)) {
            Ok(()) => self.armed = Some(at),
            Err(error) => tracing::error!(%error, "the timer for jobs cannot be set"),
        }
    }

    /// The instant has come, or the clock was set. Cancel-safe: nothing is taken before it is told.
    pub async fn rang(&mut self) {
        let Some(timer) = &self.timer else { return std::future::pending().await };
        loop {
            let Ok(mut ready) = timer.readable().await else { return std::future::pending().await };
            match timer.get_ref().take() {
                Ok(Rang::Not) => ready.clear_ready(),
                Ok(Rang::Due | Rang::ClockSet) => break,
                Err(error) => {
                    tracing::error!(%error, "the timer for jobs fails");
                    ready.clear_ready();
                }
            }
        }
        self.armed = None;
    }
}
