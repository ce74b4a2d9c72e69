//! What a service says over its notify socket (sd_notify(3)): one datagram of `KEY=value` lines.
//!
//! The keeper reads these itself, because a full queue makes the service's sd_notify block while no manager is there.
//! It keeps a level, not the messages.

use svd_sys::packet::PeerCredentials;
use svd_wire::{NotifyState, Stamp};

/// Largest datagram in bytes, as systemd has it.
pub const MAX_DATAGRAM: usize = 4096;
/// Largest status in bytes.
const MAX_STATUS: usize = 512;

/// Who may speak for a service.
#[derive(Clone, Copy, Debug)]
pub struct Speakers {
    /// The user the service runs as.
    pub service: u32,
    /// The user the keeper runs as.
    pub keeper: u32,
}

impl Speakers {
    fn include(self, uid: u32) -> bool {
        uid == 0 || uid == self.service || uid == self.keeper
    }
}

/// Takes one whole datagram in. What is malformed or from a stranger is counted and otherwise ignored.
pub fn take(state: &mut NotifyState, datagram: &[u8], sender: Option<PeerCredentials>, speakers: Speakers, at: Stamp) {
    let known = sender.is_some_and(|sender| speakers.include(sender.uid));
    // One trailing NUL is tolerated, as systemd does.
    let text = datagram.strip_suffix(b"\0").unwrap_or(datagram);
    let text = std::str::from_utf8(text).ok().filter(|text| known && !text.is_empty() && !text.contains('\0'));
    let Some(text) = text else {
        drop_one(state);
        return;
    };
    for line in text.lines() {
        match line.split_once('=') {
            Some(("READY", "1")) => {
                state.ready.get_or_insert(at);
            }
            Some(("STOPPING", "1")) => state.stopping = true,
            Some(("STATUS", status)) => state.status = cut(status).to_owned(),
            _ => {}
        }
    }
}

/// Counts a datagram that was lost.
pub fn drop_one(state: &mut NotifyState) {
    state.dropped = state.dropped.saturating_add(1);
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

    const SPEAKERS: Speakers = Speakers { service: 7, keeper: 5 };

    fn said(datagram: &[u8], uid: Option<u32>) -> NotifyState {
        let mut state = NotifyState::default();
        let sender = uid.map(|uid| PeerCredentials { pid: 1, uid, gid: 1 });
        take(&mut state, datagram, sender, SPEAKERS, Stamp { boot_ns: 1, real_ns: 2 });
        state
    }

    #[test]
    fn ready_stopping_and_status_are_kept_and_the_rest_is_ignored() {
        let state = said(b"X_OWN=1\nREADY=1\nSTATUS=going on\nWATCHDOG=1\n", Some(7));
        assert!(state.ready.is_some() && !state.stopping && state.dropped == 0);
        assert_eq!(state.status, "going on");
        assert!(said(b"STOPPING=1\0", Some(0)).stopping);
        assert!(said(b"READY=0\nREADY", Some(7)).ready.is_none());
    }

    #[test]
    fn malformed_and_foreign_datagrams_are_counted_and_change_nothing() {
        let dropped = NotifyState { dropped: 1, ..NotifyState::default() };
        for (datagram, uid) in [
            (&b""[..], Some(7)),
            (b"\0", Some(7)),
            (b"READY=1\0STATUS=x", Some(7)),
            (b"READY=1\nSTATUS=\xff", Some(7)),
            (b"READY=1", None),
            (b"READY=1", Some(8)),
        ] {
            assert_eq!(said(datagram, uid), dropped, "{datagram:?}");
        }
    }

    #[test]
    fn a_long_status_is_cut_between_characters() {
        let status = said(format!("STATUS=x{}", "ä".repeat(400)).as_bytes(), Some(7)).status;
        assert_eq!(status.len(), 511);
    }
}
