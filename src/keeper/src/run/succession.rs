//! The keeper becomes another program: same process, same children, same descriptors.
//!
//! What it knows goes into a sealed memfd ([`KeeperState`]), of which the new program is told the number by a variable of its
//! environment. A process of the new program has read such a state before (the trial), since there is no way back from
//! an exec that succeeds. All signals stay blocked meanwhile: those that come are pending for the new program.

use super::{Keeper, Link, Reap, SOCKET_BUFFER, Source, TOKEN_LINK};
use crate::entry::{TRIAL_PASSED, WIRE_FD};
use crate::launch::{Launcher, Programs};
use crate::notify::Speakers;
use crate::step::Input;
use crate::table::{Conversation, Forget, Manager, Pace, Ping, Record, Table, Told, Upgrade};
use std::collections::HashSet;
use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStringExt;
use svd_sys::epoll::Interest;
use svd_sys::limits::Limit;
use svd_sys::packet::PacketSocket;
use svd_sys::spawn::StatusPipe;
use svd_sys::{clock, dgram, fd, process, report};
use svd_wire::{
    FdRole, HeldFd, KeeperState, LastPing, MAX_STATE, ManagerState, NamedFd, Phase, ProgramState, RecordState,
    SpeakersState, StatusState, StoredFd, UpgradeOutcome, decode_state, encode_state,
};

/// The variable that tells a keeper the number of the descriptor with the state it is to go on from. Nobody else sees it.
pub(crate) const STATE_VARIABLE: &str = "SVD_KEEPER_STATE";
/// The name that ps(1) shows; after an exec by descriptor it would be a number.
const NAME: &str = "svd";
/// The variable that tells a keeper why the program that was to follow it could not.
pub(crate) const REFUSED_VARIABLE: &str = "SVD_KEEPER_REFUSED";

/// Reads the state that a keeper has given this process, and says by an exit code ([`TRIAL_PASSED`]) whether this program could go on from it.
pub fn trial() -> u8 {
    let read = fd::take_inherited(WIRE_FD).and_then(|memfd| fd::read_memfd(memfd, MAX_STATE));
    match read
        .map_err(|error| error.to_string())
        .and_then(|bytes| decode_state(&bytes).map_err(|error| error.to_string()))
    {
        Ok(_) => TRIAL_PASSED,
        Err(error) => {
            report::line(&format!("this build cannot take over from the keeper that runs: {error}"));
            1
        }
    }
}

/// The state that an earlier program of this process has left for this one, and why the one in between was none for it; `None`
/// in a keeper that begins. Where the state cannot be read the earlier program is become again, with the same state.
pub(super) fn inherited_state() -> Option<(io::Result<KeeperState>, Option<String>)> {
    let told = std::env::var_os(STATE_VARIABLE)?;
    let numbers = told.to_str().unwrap_or_default();
    let (state, former) = numbers.split_once(':').map_or((numbers, None), |(state, former)| (state, Some(former)));
    let refused = std::env::var(REFUSED_VARIABLE).ok();
    let read = read_state(state);
    let former = former.map(former_program);
    match (&read, former) {
        (Err(error), Some(former)) => {
            // Nothing was taken over yet, and nothing is close-on-exec.
            report::line(&format!(
                "this build cannot go on from what the keeper before knew: {error}; that one goes on"
            ));
            let why = format!("it could not read what the keeper knows after all: {error}");
            let _none_is_left = former.map(|former| go_back(state, &former, &why));
        }
        // There is no way back any more, and nothing to be kept open for it.
        (Ok(_), former) => drop(former),
        (Err(_), None) => {}
    }
    Some((read, refused))
}

fn former_program(number: &str) -> io::Result<OwnedFd> {
    let number: RawFd = number.parse().map_err(|_| io::ErrorKind::InvalidInput)?;
    fd::take_inherited(number)
}

/// Becomes the earlier program again.
fn go_back(state: &str, former: &OwnedFd, why: &str) -> io::Error {
    let env: Vec<CString> = [(STATE_VARIABLE, state), (REFUSED_VARIABLE, why)]
        .iter()
        .filter_map(|(key, value)| CString::new(format!("{key}={value}")).ok())
        .collect();
    process::become_pinned(former.as_fd(), &argv(), &env, &[])
}

fn argv() -> Vec<CString> {
    std::env::args_os().filter_map(|arg| CString::new(arg.into_vec()).ok()).collect()
}

fn read_state(number: &str) -> io::Result<KeeperState> {
    let number: RawFd = number.parse().map_err(|_| io::ErrorKind::InvalidInput)?;
    // A copy: where this fails the earlier program reads it again.
    let copy = fd::copy_inherited(number)?;
    let state = decode_state(&fd::read_memfd(copy, MAX_STATE)?)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
    drop(fd::take_inherited(number)?);
    Ok(state)
}

impl Keeper {
    /// Has the program that managers are run from read the state as it is now.
    pub(super) fn try_program(&mut self) {
        let started = match self.trial_of_state() {
            Ok(pid) => Ok(pid),
            Err(error) => Err(error.raw_os_error().unwrap_or(0)),
        };
        self.input(Input::TrialStarted(started));
    }

    fn trial_of_state(&mut self) -> io::Result<i32> {
        let (state, _fds) = self.state().ok_or(io::ErrorKind::InvalidInput)?;
        let memfd = fd::memfd("svd-keeper", &encode_state(&state))?;
        let started = self.launcher.trial(memfd.as_fd())?;
        self.trial_pidfd = Some(started.pidfd);
        Ok(started.pid)
    }

    /// Becomes the program that managers are run from. Returns only where that is not possible, with the reason; without one
    /// where the manager has gone in this very turn, and the next one is to be waited for.
    pub(super) fn become_program(&mut self) -> Option<String> {
        let (state, mut fds) = self.state()?;
        let memfd = match fd::memfd("svd-keeper", &encode_state(&state)) {
            Ok(memfd) => memfd,
            Err(error) => return Some(format!("what it knows could not be written down: {error}")),
        };
        // What this process is now: the way back.
        let own: OwnedFd = match std::fs::File::open("/proc/self/exe") {
            Ok(own) => own.into(),
            Err(error) => return Some(format!("its own program cannot be opened: {error}")),
        };
        fds.extend([memfd.as_raw_fd(), own.as_raw_fd()]);
        let mut env = self.launcher.env.clone();
        env.extend(CString::new(format!("{STATE_VARIABLE}={}:{}", memfd.as_raw_fd(), own.as_raw_fd())));
        // A program that does not take handles of senders would be left with them.
        self.ask_for_senders(false);
        let error = process::become_pinned(self.launcher.program.as_fd(), &argv(), &env, &fds);
        self.ask_for_senders(true);
        Some(format!("the program could not be executed: {error}"))
    }

    /// Whether a handle of its sender is to come with each datagram of a service.
    fn ask_for_senders(&self, wanted: bool) {
        let all = self.table.records.keys().filter_map(|spawn| self.holdings.find(*spawn)).flat_map(|kept| &kept.held);
        for (_, socket, _) in all.filter(|(role, _, _)| *role == FdRole::Notify) {
            // Before Linux 6.5 the number alone has to do.
            let _only_the_number = dgram::pass_process(socket.as_fd(), wanted);
        }
    }

    /// All that the keeper knows, and the descriptors it needs for it. `None` while no manager is live.
    fn state(&self) -> Option<(KeeperState, Vec<RawFd>)> {
        let mut fds = Vec::new();
        let manager = self.manager_state(&mut fds)?;
        let mut number = |fd: &OwnedFd| {
            fds.push(fd.as_raw_fd());
            fd.as_raw_fd()
        };
        let table = &self.table;
        let upgrade_note = match &table.upgrade {
            Upgrade::Trial { note, .. }
            | Upgrade::Proven { note }
            | Upgrade::Switching { note, .. }
            | Upgrade::Done { note, .. } => note.clone(),
            Upgrade::None => Vec::new(),
        };
        let program = ProgramState {
            current: number(&self.launcher.program),
            previous: self.launcher.former.as_ref().map(&mut number),
            args: self.launcher.args.iter().map(|arg| arg.to_bytes().to_vec()).collect(),
            env: self.launcher.env.iter().map(|entry| entry.to_bytes().to_vec()).collect(),
            nofile: self.launcher.nofile.map(|limit| (limit.soft, limit.hard)),
            oom: self.launcher.oom,
        };
        let stored = table.stores.all().filter_map(|(store, one)| {
            let fd = number(self.holdings.stored_fd(one.id)?);
            Some(StoredFd { store: store.to_owned(), name: one.name.clone(), keep_hung: one.keep_hung, fd })
        });
        let stored = stored.collect();
        let named = self.holdings.named().map(|(name, fd)| NamedFd { name: name.clone(), fd: number(fd) }).collect();
        let mut records = Vec::with_capacity(table.records.len());
        for (spawn, record) in &table.records {
            let kept = self.holdings.find(*spawn);
            records.push(RecordState {
                instance: record.instance(*spawn, &table.stores),
                failure: record.failure,
                last_seq: record.last_seq,
                is_forgotten: record.forget == Forget::WhenDone,
                pidfd: kept.and_then(|kept| kept.pidfd.as_ref()).map(&mut number),
                status: kept.and_then(|kept| kept.status.as_ref()).map(|(pipe, _)| status_state(pipe)),
                held: kept
                    .map(|kept| kept.held.iter().map(|(role, fd, _)| HeldFd { role: *role, fd: number(fd) }).collect())
                    .unwrap_or_default(),
                speakers: kept.and_then(|kept| kept.speakers.clone()).map(
                    |Speakers { service, keeper, session, mark }| SpeakersState { service, keeper, session, mark },
                ),
                store: record.store.clone(),
                named: kept.and_then(|kept| kept.named.as_ref()).map(&mut number),
            });
        }
        fds.extend(records.iter().filter_map(|record| record.status.as_ref()).map(|status| status.fd));
        let state = KeeperState {
            boot: table.boot,
            keeper_pid: table.keeper_pid,
            last_seq: table.last_seq,
            pending: table.pending.iter().cloned().collect(),
            // What was recalled and not told yet is told by the next program as if it had changed.
            dirty: table.dirty.union(&table.recalled).copied().collect(),
            last_spawn: table.last_spawn,
            orphans_reaped: table.orphans_reaped,
            starts: table.starts,
            last_death: table.last_death,
            quick_deaths: table.quick_deaths,
            crashes: table.crashes,
            exit_without_manager: table.exit_without_manager,
            manager,
            program,
            upgrade_note,
            named,
            stored,
            records,
        };
        Some((state, fds))
    }

    fn manager_state(&self, fds: &mut Vec<RawFd>) -> Option<ManagerState> {
        let Manager::Up { pid, since, live_since: Some(live_since), talk } = &self.table.manager else { return None };
        let (link, pidfd) = (&self.link.as_ref()?.socket, self.manager_pidfd.as_ref()?);
        let status = self.manager_status.as_ref().map(status_state);
        fds.extend([link.as_fd().as_raw_fd(), pidfd.as_raw_fd()]);
        fds.extend(status.as_ref().map(|status| status.fd));
        (talk.phase == Phase::Live && talk.handover.is_empty()).then(|| ManagerState {
            pid: *pid,
            pidfd: pidfd.as_raw_fd(),
            link: link.as_fd().as_raw_fd(),
            status,
            since: *since,
            live_since: *live_since,
            sent_through: talk.sent_through,
            ping: match talk.ping {
                Ping::Answered(at) => LastPing::Answered(at),
                Ping::Wanted(at) => LastPing::Wanted(at),
                Ping::Asked(at) => LastPing::Asked(at),
            },
            watch: talk.watch,
            features: talk.features,
        })
    }

    /// Goes on from what an earlier program of this process has left; `refused` where it was to be another one than this.
    pub(super) fn resume(state: KeeperState, refused: Option<String>) -> io::Result<Keeper> {
        Keeper::settle()?;
        process::set_name(NAME);
        let mut taken = Taken::default();
        let KeeperState { program, manager, named, stored, records, .. } = &state;
        let programs = Programs {
            program: taken.take(program.current)?,
            former: program.previous.map(|number| taken.take(number)).transpose()?,
        };
        let launcher = Launcher::resume(
            programs,
            strings(&program.args),
            strings(&program.env),
            program.nofile.map(|(soft, hard)| Limit { soft, hard }),
            program.oom,
        )?;
        let mut keeper = Keeper::with(table(&state, refused), launcher)?;
        let socket = PacketSocket::from_fd(taken.take(manager.link)?)?;
        socket.set_buffers(SOCKET_BUFFER);
        // What could not be sent for want of room goes out at the first turn.
        keeper.epoll.add(socket.as_fd(), TOKEN_LINK, Interest::Read)?;
        keeper.link = Some(Link { socket, interest: Interest::Read });
        keeper.manager_pidfd = Some(taken.take(manager.pidfd)?);
        keeper.manager_status = manager.status.as_ref().map(|status| taken.pipe(status)).transpose()?;
        for NamedFd { name, fd } in named {
            keeper.hold(name.clone(), taken.take(*fd)?);
        }
        for StoredFd { store, name, keep_hung, fd } in stored {
            keeper.keep_stored(store, name, *keep_hung, taken.take(*fd)?);
        }
        for record in records {
            keeper.resume_record(record, &mut taken)?;
        }
        // Who ended meanwhile is a zombie, whose signal may have come before.
        keeper.reap = Reap::Again;
        Ok(keeper)
    }

    fn resume_record(&mut self, record: &RecordState, taken: &mut Taken) -> io::Result<()> {
        let spawn = record.instance.spawn;
        let living = self.table.records.get(&spawn).and_then(Record::living).unwrap_or(0);
        let mut kept = crate::holdings::Kept {
            pidfd: record.pidfd.map(|number| taken.take(number)).transpose()?,
            speakers: record.speakers.clone().map(|SpeakersState { service, keeper, session, mark }| {
                // Of an earlier build: the process that was started is the one that runs.
                let session = if session == 0 { living } else { session };
                Speakers { service, keeper, session, mark }
            }),
            ..Default::default()
        };
        if record.named.is_none()
            && let Some(pidfd) = kept.pidfd.as_ref().filter(|_| record.instance.notify.main == Some(living))
        {
            // Its parent may be somebody else, who is told of its end in our place.
            let token = self.watch(Source::Main(spawn));
            self.epoll.add(pidfd.as_fd(), token, Interest::Read)?;
            kept.named_token = Some(token);
        }
        if let Some(status) = &record.status {
            let pipe = taken.pipe(status)?;
            let token = self.watch(Source::Status(spawn));
            if let Err(error) = self.epoll.add(pipe.as_fd(), token, Interest::Read) {
                // Its end still tells; only the moment of exec is not seen.
                report::line(&format!("cannot watch a status pipe: {error}"));
            }
            kept.status = Some((pipe, token));
        }
        for HeldFd { role, fd } in &record.held {
            let fd = taken.take(*fd)?;
            let mut token = None;
            if *role == FdRole::Notify {
                let _only_the_number = dgram::pass_process(fd.as_fd(), true);
                let number = self.watch(Source::Notify(spawn));
                if let Err(error) = self.epoll.add(fd.as_fd(), number, Interest::Read) {
                    report::line(&format!("cannot watch a notify socket: {error}"));
                }
                token = Some(number);
            }
            kept.held.push((*role, fd, token));
        }
        *self.holdings.spawn(spawn) = kept;
        if let Some(number) = record.named {
            self.watch_main(spawn, taken.take(number)?);
        }
        Ok(())
    }
}

/// Descriptors that were taken over: each once, since two owners of one would close each other's.
#[derive(Default)]
struct Taken(HashSet<RawFd>);

impl Taken {
    fn take(&mut self, number: RawFd) -> io::Result<OwnedFd> {
        if number <= 2 || !self.0.insert(number) {
            return Err(io::ErrorKind::InvalidData.into());
        }
        fd::take_inherited(number)
    }

    fn pipe(&mut self, status: &StatusState) -> io::Result<StatusPipe> {
        Ok(StatusPipe::resume(self.take(status.fd)?, &status.bytes))
    }
}

fn status_state(pipe: &StatusPipe) -> StatusState {
    let (fd, told) = pipe.parts();
    StatusState { fd: fd.as_raw_fd(), bytes: told.to_vec() }
}

fn strings(all: &[Vec<u8>]) -> Vec<CString> {
    all.iter().filter_map(|one| CString::new(one.as_slice()).ok()).collect()
}

fn table(state: &KeeperState, refused: Option<String>) -> Table {
    let mut table = Table::new(state.boot, state.keeper_pid);
    for one in &state.records {
        let spawn = one.instance.spawn;
        let record = Record {
            tag: one.instance.tag.clone(),
            note: one.instance.note.clone(),
            life: one.instance.life,
            failure: one.failure,
            held: one.instance.held.clone(),
            last_signal: one.instance.last_signal,
            notify: one.instance.notify.clone(),
            pace: Pace::default(),
            store: one.store.clone(),
            last_seq: one.last_seq,
            forget: if one.is_forgotten { Forget::WhenDone } else { Forget::Keep },
        };
        if let Some(pid) = record.living() {
            table.by_pid.insert(pid, spawn);
            if one.named.is_some() {
                table.by_pid.extend(record.notify.main.map(|main| (main, spawn)));
            }
        }
        table.records.insert(spawn, record);
    }
    let manager = &state.manager;
    table.named = state.named.iter().map(|named| named.name.clone()).collect();
    table.pending = state.pending.iter().cloned().collect();
    table.pending_since = clock::now().mono_ns;
    table.last_seq = state.last_seq;
    table.dirty = state.dirty.iter().copied().collect();
    table.last_spawn = state.last_spawn;
    table.orphans_reaped = state.orphans_reaped;
    table.starts = state.starts;
    table.last_death = state.last_death;
    table.quick_deaths = state.quick_deaths;
    table.crashes = state.crashes;
    table.exit_without_manager = state.exit_without_manager;
    table.ever_live = true;
    let outcome = refused.map_or(UpgradeOutcome::KeeperRuns, |why| UpgradeOutcome::KeeperRefused { why });
    table.upgrade = Upgrade::Done { note: state.upgrade_note.clone(), outcome };
    table.manager = Manager::Up {
        pid: manager.pid,
        since: manager.since,
        live_since: Some(manager.live_since),
        talk: Box::new(Conversation {
            phase: Phase::Live,
            handover: Default::default(),
            sent_through: manager.sent_through,
            ping: match manager.ping {
                LastPing::Answered(at) => Ping::Answered(at),
                LastPing::Wanted(at) => Ping::Wanted(at),
                LastPing::Asked(at) => Ping::Asked(at),
            },
            watch: manager.watch,
            version: svd_wire::PROTOCOL_MAX,
            features: manager.features,
            upgrade: Told::No,
        }),
    };
    table
}
