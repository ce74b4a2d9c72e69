//! What a service says over its notify socket (sd_notify(3)): one datagram of `KEY=value` lines.
//!
//! The keeper reads these itself, because a full queue makes the service's sd_notify block while no manager is there.
//! It keeps a level, not the messages. A line that it does not know, or whose value makes no sense, is passed over; a datagram
//! that breaks the rules of the protocol is dropped as a whole.

use svd_wire::{Extended, MAX_STORED_NAME, NotifyState, Reloading, Stamp};

/// Largest datagram in bytes, as systemd has it.
pub const MAX_DATAGRAM: usize = 4096;
/// Largest status in bytes.
const MAX_STATUS: usize = 512;
/// What a stored descriptor is called that was given no name.
const STORED: &str = "stored";

/// Who may speak for a service: processes of these users that belong to the spawn. One that has ended by the time its
/// message is read counts as one of its own: its socket is its own, and nobody else's users can write to it.
#[derive(Clone, Debug)]
pub struct Speakers {
    /// The user the service runs as.
    pub service: u32,
    /// The user the keeper runs as.
    pub keeper: u32,
    /// The process that was forked, which leads a session of its own.
    pub session: i32,
    /// What marks its processes ([`svd_wire::MARK`]).
    pub mark: Option<String>,
}

impl Speakers {
    /// Whether processes of this user may speak for it.
    pub fn include(&self, uid: u32) -> bool {
        uid == 0 || uid == self.service || uid == self.keeper
    }
}

/// What the descriptors of a datagram are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attached<'a> {
    /// Nothing: they are closed.
    Nothing,
    /// To be closed once all that was said before has been taken in.
    Barrier,
    /// To be kept in the store.
    Store {
        /// Under this name.
        name: &'a str,
        /// Also when the other side hangs up.
        keep_hung: bool,
    },
    /// It is the pidfd of the new main process.
    Main,
}

/// One datagram, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said<'a> {
    /// `MAINPID=`.
    pub main: Option<i32>,
    /// What its descriptors are for.
    pub attached: Attached<'a>,
    /// `FDSTOREREMOVE=1`: the descriptors of this name leave the store.
    pub remove: Option<&'a str>,
    ready: bool,
    stopping: bool,
    status: Option<&'a str>,
    reloading: bool,
    monotonic_us: Option<u64>,
    heard: bool,
    trigger: bool,
    watchdog_us: Option<u64>,
    extend_us: Option<u64>,
    errno: Option<i32>,
    exit_status: Option<i32>,
}

/// Reads a datagram that came with so many descriptors; `None` where it breaks the rules.
pub fn parse(datagram: &[u8], fds: usize) -> Option<Said<'_>> {
    // One trailing NUL is tolerated, as systemd does.
    let text = std::str::from_utf8(datagram.strip_suffix(b"\0").unwrap_or(datagram)).ok()?;
    if text.is_empty() || text.contains('\0') {
        return None;
    }
    let mut said = Said {
        main: None,
        attached: Attached::Nothing,
        remove: None,
        ready: false,
        stopping: false,
        status: None,
        reloading: false,
        monotonic_us: None,
        heard: false,
        trigger: false,
        watchdog_us: None,
        extend_us: None,
        errno: None,
        exit_status: None,
    };
    let (mut barriers, mut lines) = (0_usize, 0_usize);
    let (mut store, mut remove, mut poll, mut main_fd, mut name) = (false, false, true, false, None);
    for line in text.lines().filter(|line| !line.is_empty()) {
        lines = lines.saturating_add(1);
        match line.split_once('=') {
            Some(("READY", "1")) => said.ready = true,
            Some(("STOPPING", "1")) => said.stopping = true,
            Some(("STATUS", status)) => said.status = Some(cut(status)),
            Some(("RELOADING", "1")) => said.reloading = true,
            Some(("MONOTONIC_USEC", at)) => said.monotonic_us = number(at),
            Some(("WATCHDOG", "1")) => said.heard = true,
            Some(("WATCHDOG", "trigger")) => said.trigger = true,
            Some(("WATCHDOG_USEC", every)) => said.watchdog_us = number(every),
            Some(("EXTEND_TIMEOUT_USEC", time)) => said.extend_us = number(time),
            Some(("ERRNO", errno)) => said.errno = number(errno),
            Some(("EXIT_STATUS", status)) => said.exit_status = number(status),
            Some(("MAINPID", pid)) => said.main = number(pid).filter(|pid| *pid > 1),
            Some(("MAINPIDFD", "1")) => main_fd = true,
            Some(("BARRIER", "1")) => barriers = barriers.saturating_add(1),
            Some(("FDSTORE", "1")) => store = true,
            Some(("FDSTOREREMOVE", "1")) => remove = true,
            Some(("FDNAME", given)) => name = Some(given).filter(|given| is_name(given)),
            Some(("FDPOLL", "0")) => poll = false,
            _ => {}
        }
    }
    if barriers > 0 {
        // Alone, with exactly one descriptor.
        return (lines == 1 && fds == 1).then_some(Said { attached: Attached::Barrier, ..said });
    }
    if (store && (fds == 0 || main_fd)) || (main_fd && fds != 1) || (remove && name.is_none()) {
        return None;
    }
    said.remove = name.filter(|_| remove);
    said.attached = match (store, main_fd) {
        (true, _) => Attached::Store { name: name.unwrap_or(STORED), keep_hung: !poll },
        (false, true) => Attached::Main,
        (false, false) => Attached::Nothing,
    };
    Some(said)
}

/// Takes in what was said, but for processes and descriptors.
pub fn take(state: &mut NotifyState, said: &Said<'_>, at: Stamp) {
    if said.reloading {
        state.reloading = Some(Reloading { at, since_us: said.monotonic_us });
        state.reloaded = None;
    }
    if said.ready {
        state.ready.get_or_insert(at);
        if state.reloading.is_some() && !said.reloading {
            state.reloaded.get_or_insert(at);
        }
    }
    state.stopping |= said.stopping;
    if let Some(status) = said.status {
        status.clone_into(&mut state.status);
    }
    if said.heard {
        state.heard = Some(at);
    }
    if said.trigger {
        state.trigger.get_or_insert(at);
    }
    if let Some(every) = said.watchdog_us {
        // Whoever sets an interval is alive.
        (state.watchdog_us, state.heard) = (Some(every), Some(at));
    }
    if let Some(time) = said.extend_us {
        let until_ns = at.boot_ns.saturating_add(time.saturating_mul(1000));
        state.extended = Some(Extended { at, until_ns });
    }
    state.errno = said.errno.or(state.errno);
    state.exit_status = said.exit_status.or(state.exit_status);
}

/// Counts a datagram that was dropped.
pub fn drop_one(state: &mut NotifyState) {
    state.dropped = state.dropped.saturating_add(1);
}

/// Whether the manager is to be told at once. Signs of life alone are no news, and counters are told up to 64 and then
/// whenever they have doubled: whoever floods the socket wakes nobody up.
pub fn is_news(before: &NotifyState, now: &NotifyState) -> bool {
    let coarse = |count: u64| if count <= 64 { count } else { u64::from(count.ilog2()).saturating_add(64) };
    let gist = |state: &NotifyState| NotifyState {
        heard: None,
        dropped: coarse(state.dropped),
        refused: coarse(state.refused),
        ..state.clone()
    };
    before != now && gist(before) != gist(now)
}

/// A number without sign, spaces or anything else.
fn number<T: std::str::FromStr>(text: &str) -> Option<T> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

/// Whether descriptors can be stored under this name: it goes into LISTEN_FDNAMES.
fn is_name(name: &str) -> bool {
    (1..=MAX_STORED_NAME).contains(&name.len())
        && name.bytes().all(|byte| (byte.is_ascii_graphic() || byte == b' ') && byte != b':')
}

fn cut(text: &str) -> &str {
    let mut end = text.len().min(MAX_STATUS);
    while !text.is_char_boundary(end) {
        end = end.saturating_sub(1);
    }
    text.get(..end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: Stamp = Stamp { boot_ns: 1_000_000, real_ns: 2 };

    fn said(datagram: &[u8]) -> NotifyState {
        let mut state = NotifyState::default();
        take(&mut state, &parse(datagram, 0).unwrap(), AT);
        state
    }

    #[test]
    fn what_is_known_is_kept_and_the_rest_is_passed_over() {
        let state = said(b"X_OWN=1\nREADY=1\nSTATUS=going on\nWATCHDOG=1\n");
        assert!(state.ready.is_some() && !state.stopping && state.heard == Some(AT));
        assert_eq!(state.status, "going on");
        assert!(said(b"STOPPING=1\0").stopping);
        assert!(said(b"READY=0\nREADY").ready.is_none());
        let state = said(b"ERRNO=2\nEXIT_STATUS=7\nWATCHDOG_USEC=5\nEXTEND_TIMEOUT_USEC=3");
        assert_eq!((state.errno, state.exit_status, state.watchdog_us), (Some(2), Some(7), Some(5)));
        assert_eq!(state.extended, Some(Extended { at: AT, until_ns: 1_003_000 }));
        assert!(said(b"WATCHDOG=trigger").trigger.is_some());
        for bad in ["-1", "+1", "", " 1", "1x", "99999999999999999999999"] {
            let line = format!("WATCHDOG_USEC={bad}\nERRNO={bad}\nEXTEND_TIMEOUT_USEC={bad}\nMAINPID={bad}");
            assert_eq!(said(line.as_bytes()), NotifyState::default(), "{bad}");
        }
    }

    #[test]
    fn a_reload_is_over_with_the_ready_after_it() {
        let mut state = said(b"READY=1\nRELOADING=1\nMONOTONIC_USEC=7");
        assert_eq!(state.reloading, Some(Reloading { at: AT, since_us: Some(7) }));
        assert_eq!(state.reloaded, None);
        take(&mut state, &parse(b"READY=1", 0).unwrap(), AT);
        assert_eq!(state.reloaded, Some(AT));
        take(&mut state, &parse(b"RELOADING=1", 0).unwrap(), AT);
        assert_eq!(state.reloaded, None);
    }

    #[test]
    fn malformed_datagrams_are_refused_as_a_whole() {
        for (datagram, fds) in [
            (&b""[..], 0),
            (b"\0", 0),
            (b"READY=1\0STATUS=x", 0),
            (b"READY=1\nSTATUS=\xff", 0),
            (b"BARRIER=1", 0),
            (b"BARRIER=1", 2),
            (b"BARRIER=1\nBARRIER=1", 1),
            (b"BARRIER=1\nREADY=1", 1),
            (b"FDSTORE=1", 0),
            (b"FDSTORE=1\nMAINPIDFD=1", 1),
            (b"MAINPIDFD=1", 0),
            (b"MAINPIDFD=1", 2),
            (b"FDSTOREREMOVE=1", 0),
            (b"FDSTOREREMOVE=1\nFDNAME=a:b", 0),
        ] {
            assert_eq!(parse(datagram, fds), None, "{datagram:?} with {fds}");
        }
    }

    #[test]
    fn descriptors_are_for_what_the_datagram_says() {
        let attached = |text: &'static str, fds| parse(text.as_bytes(), fds).unwrap().attached;
        assert_eq!(attached("BARRIER=1\n", 1), Attached::Barrier);
        assert_eq!(attached("READY=1", 3), Attached::Nothing);
        assert_eq!(attached("MAINPIDFD=1", 1), Attached::Main);
        assert_eq!(attached("FDSTORE=1", 1), Attached::Store { name: "stored", keep_hung: false });
        assert_eq!(attached("FDSTORE=1\nFDNAME=a\nFDPOLL=0", 1), Attached::Store { name: "a", keep_hung: true });
        // A name that LISTEN_FDNAMES cannot carry is no name.
        assert_eq!(attached("FDSTORE=1\nFDNAME=a:b", 1), Attached::Store { name: "stored", keep_hung: false });
        assert_eq!(parse(b"FDSTOREREMOVE=1\nFDNAME=a", 0).unwrap().remove, Some("a"));
    }

    #[test]
    fn a_long_status_is_cut_between_characters() {
        assert_eq!(said(format!("STATUS=x{}", "ä".repeat(400)).as_bytes()).status.len(), 511);
    }

    #[test]
    fn signs_of_life_and_large_counts_are_no_news() {
        let state = |heard, dropped| NotifyState { heard, dropped, ..NotifyState::default() };
        assert!(!is_news(&state(None, 0), &state(Some(AT), 0)));
        assert!(is_news(&state(None, 0), &state(None, 1)));
        assert!(!is_news(&state(None, 100), &state(None, 101)));
        assert!(is_news(&state(None, 127), &state(None, 128)));
    }

    /// Fault 60.
    #[test]
    fn no_bytes_break_the_reader_and_nothing_it_keeps_grows() {
        let words = [
            "READY=1",
            "RELOADING=1",
            "STATUS=",
            "BARRIER=1",
            "FDSTORE=1",
            "FDNAME=",
            "MAINPID=",
            "WATCHDOG=",
            "trigger",
            "WATCHDOG_USEC=",
            "EXTEND_TIMEOUT_USEC=",
            "18446744073709551615",
            "\n",
            "=",
            "\0",
            "ä",
            ":",
            "MAINPIDFD=1",
            "FDSTOREREMOVE=1",
            "MONOTONIC_USEC=",
            "ERRNO=",
            "\r\n",
            "7",
        ];
        let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
        let mut next = move || {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            seed
        };
        let mut state = NotifyState::default();
        let mut read = 0_u32;
        for _ in 0..200_000 {
            let mut datagram = Vec::new();
            for _ in 0..next() % 12 {
                match next() % 4 {
                    0 => datagram.push(next() as u8),
                    1 => datagram.extend(std::iter::repeat_n(b'a', (next() % 700) as usize)),
                    _ => datagram.extend_from_slice(words[(next() % words.len() as u64) as usize].as_bytes()),
                }
            }
            datagram.truncate(MAX_DATAGRAM);
            let fds = (next() % 3) as usize;
            if let Some(said) = parse(&datagram, fds) {
                read += 1;
                take(&mut state, &said, Stamp { boot_ns: next(), real_ns: next() });
                let alone = said.attached != Attached::Barrier || (fds == 1 && state.status.len() <= MAX_STATUS);
                assert!(alone && said.main.is_none_or(|pid| pid > 1), "{datagram:?}");
                if let Attached::Store { name, .. } = said.attached {
                    assert!(is_name(name) && fds > 0, "{datagram:?}");
                }
            }
            assert!(state.status.len() <= MAX_STATUS);
            // What is kept can be told.
            let report = svd_wire::Report::Notified { spawn: svd_wire::SpawnId(1), state: state.clone() };
            assert!(svd_wire::encode_report(&report, 0).is_ok());
        }
        assert!(read > 1000, "only {read} datagrams made sense");
    }
}
