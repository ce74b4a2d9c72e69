//! Reading the notify sockets: who speaks, what is said, and which main process and which descriptors are meant by it.
//!
//! Whatever a datagram is, the next one may be a good one: nothing that is sent ends the reading, and a descriptor that is not
//! kept is closed.

use super::{DATAGRAMS_AT_ONCE, Keeper, Source};
use crate::notify::{self, Attached, MAX_DATAGRAM, Speakers};
use crate::step::{Input, manager_pid};
use crate::table::stamp;
use std::os::fd::{AsFd, OwnedFd};
use svd_sys::epoll::Interest;
use svd_sys::packet::{PeerCredentials, SenderProcess};
use svd_sys::tree::{self, Proc};
use svd_sys::{clock, dgram, pidfd, process};
use svd_wire::{FdRole, MARK, SpawnId, SpawnSpec};

/// How far up the process tree is looked for the spawn that a process belongs to.
const GENERATIONS: usize = 64;

/// What marks the processes of a spawn.
pub(super) fn mark(spec: &SpawnSpec) -> Option<String> {
    let marked = spec.env.iter().find_map(|entry| entry.strip_prefix(MARK.as_bytes())?.strip_prefix(b"="))?;
    String::from_utf8(marked.to_vec()).ok()
}

impl Keeper {
    /// Takes in so many datagrams at most.
    pub(super) fn read_notify(&mut self, spawn: SpawnId, limit: usize) {
        let mut buffer = [0; MAX_DATAGRAM];
        let Some(mut state) = self.table.records.get(&spawn).map(|record| record.notify.clone()) else { return };
        for _ in 0..limit {
            let Some(kept) = self.holdings.find(spawn) else { return };
            let (Some((_, socket, _)), Some(speakers)) =
                (kept.held.iter().find(|(role, _, _)| *role == FdRole::Notify), kept.speakers.clone())
            else {
                return;
            };
            let (len, sender, process, fds) = match dgram::recv(socket.as_fd(), &mut buffer) {
                Ok(dgram::Datagram::Whole { len, sender, process, fds }) => (len, sender, process, fds),
                Ok(dgram::Datagram::Truncated) => {
                    notify::drop_one(&mut state);
                    continue;
                }
                Err(_) => break,
            };
            let said = notify::parse(buffer.get(..len).unwrap_or_default(), fds.len());
            match said.filter(|_| self.may_speak(spawn, &speakers, sender, process)) {
                Some(said) => {
                    notify::take(&mut state, &said, stamp(clock::now()));
                    if let Some(name) = said.remove {
                        self.remove_stored(spawn, name);
                    }
                    self.take_main(spawn, &speakers, &mut state, said.main, None);
                    self.take_attached(spawn, &speakers, &mut state, said.attached, fds);
                }
                None => notify::drop_one(&mut state),
            }
        }
        self.input(Input::Notified { spawn, state: Box::new(state) });
    }

    /// Deals with the descriptors of a datagram. A barrier's is closed by the way: all before it is taken in.
    fn take_attached(
        &mut self,
        spawn: SpawnId,
        speakers: &Speakers,
        state: &mut svd_wire::NotifyState,
        attached: Attached<'_>,
        mut fds: Vec<OwnedFd>,
    ) {
        let refused = match attached {
            Attached::Barrier => 0,
            Attached::Nothing => fds.len(),
            Attached::Store { name, keep_hung } => {
                fds.into_iter().filter_map(|fd| self.store(spawn, name, keep_hung, fd).err()).count()
            }
            Attached::Main => {
                if let Some(fd) = fds.pop() {
                    self.take_main(spawn, speakers, state, pidfd::pid_of(fd.as_fd()).or(Some(0)), Some(fd));
                }
                0
            }
        };
        state.refused = state.refused.saturating_add(u64::try_from(refused).unwrap_or(u64::MAX));
    }

    /// Whether a sender may speak for a spawn. The kernel attests its user and number and, since Linux 6.5, has a handle of it.
    ///
    /// A zombie still has its session and its parent. Of a process that was reaped nothing is left by which it could be told whose
    /// it was: it is not heard, or another service that runs as the same user could have any word said by a child that ends at
    /// once. Our own children are heard to the last word, see [`hear_out`](Self::hear_out); others wait with BARRIER=1.
    fn may_speak(
        &self,
        spawn: SpawnId,
        speakers: &Speakers,
        sender: Option<PeerCredentials>,
        process: SenderProcess,
    ) -> bool {
        let Some(sender) = sender.filter(|sender| speakers.include(sender.uid)) else { return false };
        let number = || match &process {
            SenderProcess::Held(process) => pidfd::pid_of(process.as_fd()),
            SenderProcess::Gone => None,
            // The number may be another process's by now, and then that one is judged.
            SenderProcess::NotTold => Some(sender.pid),
        };
        let Some(proc) = number().and_then(tree::read_proc) else { return false };
        self.belongs(spawn, speakers, &proc) && number() == Some(proc.pid)
    }

    /// Takes in what a child of ours, which has ended and is not reaped yet, has said.
    pub(super) fn hear_out(&mut self, pid: i32) {
        let by_session = || self.table.by_pid.get(&tree::read_proc(pid)?.session);
        if let Some(spawn) = self.table.by_pid.get(&pid).or_else(by_session).copied() {
            self.read_notify(spawn, DATAGRAMS_AT_ONCE);
        }
    }

    /// Whether a process belongs to a spawn: in its session, with its mark, or below one of its main processes.
    fn belongs(&self, spawn: SpawnId, speakers: &Speakers, proc: &Proc) -> bool {
        if proc.pid == speakers.session || proc.session == speakers.session {
            return true;
        }
        let marked = tree::environ_cookie(proc.pid, MARK);
        if let (Some(marked), Some(own)) = (&marked, &speakers.mark) {
            let inner = marked.strip_prefix(own.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
            return inner;
        }
        let mut at = *proc;
        for _ in 0..GENERATIONS {
            if let Some(owner) = self.table.by_pid.get(&at.pid) {
                return *owner == spawn;
            }
            let Some(parent) = tree::read_proc(at.ppid) else { return false };
            at = parent;
        }
        false
    }

    /// A service names its main process: one that lives, belongs to it, and is none of svd's own. Any other is counted.
    fn take_main(
        &mut self,
        spawn: SpawnId,
        speakers: &Speakers,
        state: &mut svd_wire::NotifyState,
        named: Option<i32>,
        by: Option<OwnedFd>,
    ) {
        let Some(pid) = named else { return };
        match self.main(spawn, speakers, pid, by) {
            Some(pidfd) => {
                self.forget_main(spawn);
                self.input(Input::MainNamed { spawn, pid });
                state.main = self.table.records.get(&spawn).and_then(|record| record.notify.main);
                if state.main.is_some() {
                    self.watch_main(spawn, pidfd);
                }
            }
            None => notify::drop_one(state),
        }
    }

    /// The pidfd of a process that may be the main process of a spawn.
    fn main(&self, spawn: SpawnId, speakers: &Speakers, pid: i32, by: Option<OwnedFd>) -> Option<OwnedFd> {
        let record = self.table.records.get(&spawn)?;
        let others = self.table.by_pid.get(&pid).is_some_and(|owner| *owner != spawn);
        if pid <= 1 || pid == process::pid() || Some(pid) == manager_pid(&self.table) || others {
            return None;
        }
        record.living()?;
        // First the handle, then the look: what is looked at is what is held.
        let pidfd = by.or_else(|| pidfd::open(pid).ok())?;
        let proc = tree::read_proc(pid).filter(|proc| !proc.has_ended())?;
        let lives = pidfd::has_ended(pidfd.as_fd()).is_ok_and(|ended| !ended);
        (lives && self.belongs(spawn, speakers, &proc)).then_some(pidfd)
    }

    pub(super) fn watch_main(&mut self, spawn: SpawnId, pidfd: OwnedFd) {
        let token = self.watch(Source::Main(spawn));
        if let Err(error) = self.epoll.add(pidfd.as_fd(), token, Interest::Read) {
            svd_sys::report::line(&format!("cannot watch a main process: {error}"));
        }
        let kept = self.holdings.spawn(spawn);
        (kept.named, kept.named_token) = (Some(pidfd), Some(token));
    }

    /// The main process that was named before counts no more.
    pub(super) fn forget_main(&mut self, spawn: SpawnId) {
        self.unwatch_main(spawn);
        if let Some(kept) = self.holdings.find_mut(spawn) {
            kept.named = None;
        }
    }

    /// Its end is not waited for any more.
    fn unwatch_main(&mut self, spawn: SpawnId) {
        let Some(kept) = self.holdings.find_mut(spawn) else { return };
        let Some(token) = kept.named_token.take() else { return };
        self.sources.remove(&token);
        // Once it has taken the place of the one that was started, its pidfd is there.
        if let Some(pidfd) = kept.named.as_ref().or(kept.pidfd.as_ref()) {
            let _never_added = self.epoll.delete(pidfd.as_fd());
        }
    }

    /// The process that was started is reaped, and the one that it has named goes on.
    pub(super) fn succeed(&mut self, spawn: SpawnId) {
        if let Some(kept) = self.holdings.find_mut(spawn) {
            kept.pidfd = kept.named.take();
        }
        self.close_status(spawn);
    }

    /// The main process that was named has ended. Where it is our own child, it is reaped like any other.
    pub(super) fn main_ended(&mut self, spawn: SpawnId) {
        // Its last words come first.
        self.read_notify(spawn, DATAGRAMS_AT_ONCE);
        let Some(pid) = self.table.records.get(&spawn).and_then(|record| record.notify.main) else { return };
        self.unwatch_main(spawn);
        match tree::read_proc(pid) {
            Some(proc) if proc.ppid == process::pid() => {}
            Some(_) | None => self.input(Input::MainEnded { spawn, pid }),
        }
    }
}
