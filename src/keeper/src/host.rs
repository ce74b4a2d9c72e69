//! The service manager above svd, where there is one (systemd): what it is told over `$NOTIFY_SOCKET` (sd_notify(3)), its watchdog,
//! and the sockets that it hands over (sd_listen_fds(3)).
//!
//! The keeper does this because it is the main process, the only one that is listened to. What is told comes from the manager;
//! the keeper knows no words but that of the watchdog. Nothing here waits: a queue takes what the socket does not.

use crate::table::{Instant, Table};
use std::collections::VecDeque;
use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStringExt;
use svd_sys::{dgram, fd, process, report};

const SECOND: u64 = 1_000_000_000;
/// So many messages wait for a service manager that does not read; what comes then is given up.
const LONGEST_QUEUE: usize = 1024;
/// The first descriptor that is handed over (SD_LISTEN_FDS_START).
const FIRST_HANDED: RawFd = 3;
/// More descriptors than this nobody hands over.
const MOST_HANDED: usize = 1024;
/// The watchdog is fed so long without a live manager: as long as the first one may take to come up.
const WITHOUT_MANAGER: u64 = 60 * SECOND;
/// Variables about descriptors that were meant for the keeper alone.
const FOR_KEEPER: &[&str] = &["LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"];

/// What the names of handed-over sockets begin with among those that the keeper holds: `systemd:NUMBER:NAME`.
const HANDED: &str = "systemd:";

/// Whether a manager has a use for this variable of the keeper's.
pub fn is_for_keeper(name: &[u8]) -> bool {
    FOR_KEEPER.iter().any(|own| own.as_bytes() == name)
}

/// The service manager.
#[derive(Debug)]
pub struct Host {
    name: Vec<u8>,
    socket: Option<OwnedFd>,
    queue: VecDeque<(String, Option<OwnedFd>)>,
    watchdog: Option<Watchdog>,
}

/// A life sign is expected from time to time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Watchdog {
    /// Half of what is allowed.
    every: u64,
    /// When the next one is due.
    due: Instant,
    /// When a manager was last seen live.
    seen: Instant,
}

/// What is left to send after a try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    /// Nothing.
    Nothing,
    /// Something, when the socket becomes writable.
    Something,
}

impl Host {
    /// By the keeper's environment: `None` where nobody wants to be told anything.
    pub fn from_env(variable: impl Fn(&str) -> Option<OsString>, pid: i32, now: Instant) -> Option<Host> {
        let name = variable("NOTIFY_SOCKET")?.into_vec();
        if name.is_empty() {
            return None;
        }
        let number =
            |name: &str| variable(name).and_then(|text| text.to_str().and_then(|text| text.parse::<u64>().ok()));
        let meant = number("WATCHDOG_PID").is_none_or(|wanted| i32::try_from(wanted) == Ok(pid));
        let allowed = number("WATCHDOG_USEC").filter(|micros| meant && *micros > 0);
        let watchdog = allowed.map(|micros| {
            // Half of it in nanoseconds.
            let every = micros.saturating_mul(500);
            Watchdog { every, due: now.saturating_add(every), seen: now }
        });
        Some(Host { name, socket: None, queue: VecDeque::new(), watchdog })
    }

    /// Takes one message up, with the descriptor that goes along. It is sent by [`Host::flush`].
    pub fn tell(&mut self, state: String, attach: Option<OwnedFd>) {
        if self.queue.len() >= LONGEST_QUEUE {
            report::line("the service manager does not read what it is told; a message is given up");
            return;
        }
        self.queue.push_back((state, attach));
    }

    /// Sends what it can.
    pub fn flush(&mut self) -> Left {
        while let Some((state, attach)) = self.queue.front() {
            let fds: Vec<BorrowedFd<'_>> = attach.iter().map(AsFd::as_fd).collect();
            let sent = send(&mut self.socket, &self.name, state.as_bytes(), &fds);
            match sent {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Left::Something,
                Err(error) => {
                    report::line(&format!("the service manager cannot be told anything: {error}"));
                    self.queue.clear();
                    return Left::Nothing;
                }
                Ok(()) => {}
            }
            self.queue.pop_front();
        }
        Left::Nothing
    }

    /// The socket, to wait until it is writable.
    pub fn socket(&self) -> Option<BorrowedFd<'_>> {
        self.socket.as_ref().map(AsFd::as_fd)
    }

    /// When a sign of life is due.
    pub fn due(&self) -> Option<Instant> {
        self.watchdog.map(|watchdog| watchdog.due)
    }

    /// Gives the sign of life that is due, if svd is well: its manager is live, or has not been for a moment only. The caller asks
    /// the manager at the same time, and replaces one that does not answer. Says whether one was due.
    pub fn beat(&mut self, table: &Table, now: Instant) -> bool {
        let Some(watchdog) = &mut self.watchdog else { return false };
        if table.is_live() {
            watchdog.seen = now;
        }
        if now < watchdog.due {
            return false;
        }
        watchdog.due = now.saturating_add(watchdog.every);
        if now.saturating_sub(watchdog.seen) < WITHOUT_MANAGER {
            self.tell("WATCHDOG=1".to_owned(), None);
        }
        true
    }
}

/// Sends one datagram; over a new connection where the receiver has made its socket anew.
fn send(socket: &mut Option<OwnedFd>, name: &[u8], bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    if let Some(socket) = socket {
        match dgram::send(socket.as_fd(), bytes, fds) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Err(error),
            Err(_) => {}
            Ok(()) => return Ok(()),
        }
    }
    let fresh = socket.insert(dgram::connect(name)?);
    dgram::send(fresh.as_fd(), bytes, fds)
}

/// The sockets that were handed to this very process, each with the name under which it is held. Call it once, before
/// anything is opened: from then on they are owned here, and close-on-exec.
pub fn handed_over(variable: impl Fn(&str) -> Option<OsString>) -> Vec<(String, OwnedFd)> {
    let text = |name: &str| variable(name).and_then(|text| text.into_string().ok());
    let meant = text("LISTEN_PID").is_some_and(|pid| pid.parse() == Ok(process::pid()));
    let count = text("LISTEN_FDS").and_then(|count| count.parse::<usize>().ok()).unwrap_or(0);
    if !meant {
        return Vec::new();
    }
    let names = text("LISTEN_FDNAMES").unwrap_or_default();
    let mut names = names.split(':');
    let numbers = FIRST_HANDED..;
    numbers
        .take(count.min(MOST_HANDED))
        .filter_map(|number| {
            let name = names.next().filter(|name| !name.is_empty()).unwrap_or("unknown");
            match fd::take_inherited(number) {
                Ok(socket) => Some((format!("{HANDED}{number}:{name}"), socket)),
                Err(error) => {
                    report::line(&format!(
                        "descriptor {number} ({name}) was to be handed over and is not there: {error}"
                    ));
                    None
                }
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixDatagram;

    fn host(name: &str, variables: &[(&str, &str)]) -> Option<Host> {
        let find = |wanted: &str| {
            let given = variables.iter().find(|(name, _)| *name == wanted).map(|(_, value)| OsString::from(value));
            given.or_else(|| (wanted == "NOTIFY_SOCKET" && !name.is_empty()).then(|| OsString::from(name)))
        };
        Host::from_env(find, 7, 0)
    }

    #[test]
    fn a_watchdog_is_fed_at_half_its_time_and_only_when_it_is_meant_for_us() {
        assert!(host("", &[]).is_none());
        assert_eq!(host("/x", &[]).unwrap().due(), None);
        assert_eq!(host("/x", &[("WATCHDOG_USEC", "2000000")]).unwrap().due(), Some(SECOND));
        assert_eq!(host("/x", &[("WATCHDOG_USEC", "2000000"), ("WATCHDOG_PID", "7")]).unwrap().due(), Some(SECOND));
        assert_eq!(host("/x", &[("WATCHDOG_USEC", "2000000"), ("WATCHDOG_PID", "8")]).unwrap().due(), None);
        assert_eq!(host("/x", &[("WATCHDOG_USEC", "soon")]).unwrap().due(), None);
    }

    #[test]
    fn signs_of_life_end_when_no_manager_has_been_live_for_a_minute() {
        let mut host = host("/x", &[("WATCHDOG_USEC", "2000000")]).unwrap();
        let table = Table::new([0; 16], 1);
        assert!(!host.beat(&table, SECOND / 2));
        for second in 1..=59 {
            assert!(host.beat(&table, second * SECOND));
        }
        assert_eq!(host.queue.len(), 59);
        assert!(host.beat(&table, 60 * SECOND));
        assert_eq!((host.queue.len(), host.due()), (59, Some(61 * SECOND)));
    }

    #[test]
    fn what_a_full_queue_does_not_take_is_sent_later_and_in_order_also_to_a_socket_that_was_made_anew() {
        // given a receiver that does not read
        let path = std::env::temp_dir().join(format!("svd-keeper-host-{}", std::process::id()));
        let _stale = std::fs::remove_file(&path);
        let receiver = UnixDatagram::bind(&path).unwrap();
        let mut host = host(path.to_str().unwrap(), &[]).unwrap();
        let mut told = 0;
        while host.flush() == Left::Nothing {
            host.tell(format!("X={told}"), None);
            told += 1;
        }
        host.tell("READY=1".to_owned(), None);
        // when it reads
        let mut got = Vec::new();
        let mut buffer = [0; 64];
        receiver.set_nonblocking(true).unwrap();
        while got.last().map(String::as_str) != Some("READY=1") {
            while let Ok(len) = receiver.recv(&mut buffer) {
                got.push(String::from_utf8(buffer[..len].to_vec()).unwrap());
            }
            let _left = host.flush();
        }
        // then
        let expected: Vec<String> = (0..told).map(|n| format!("X={n}")).chain(["READY=1".to_owned()]).collect();
        assert_eq!(got, expected);
        // and when it has made its socket anew
        drop(receiver);
        std::fs::remove_file(&path).unwrap();
        let receiver = UnixDatagram::bind(&path).unwrap();
        host.tell("STOPPING=1".to_owned(), None);
        assert_eq!(host.flush(), Left::Nothing);
        let len = receiver.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..len], b"STOPPING=1");
        std::fs::remove_file(&path).unwrap();
        // and where nobody receives any more nothing is kept
        host.tell("X=1".to_owned(), None);
        drop(receiver);
        assert_eq!((host.flush(), host.queue.len()), (Left::Nothing, 0));
    }
}
