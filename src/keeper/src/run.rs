//! The loop: waits for the kernel, turns what happened into inputs, performs the effects. It decides nothing.
//!
//! It never waits for anybody but the kernel: the socket to the manager, status pipes and notify sockets are all
//! read and written without blocking.

mod above;

use crate::holdings::Holdings;
use crate::host::{self, Host, Left};
use crate::launch::{Launcher, exit, rusage, spawn_error};
use crate::notify::{self, MAX_DATAGRAM, Speakers};
use crate::outbox;
use crate::step::{Effect, Input, manager_pid, next_deadline, step};
use crate::table::Table;
use std::collections::HashMap;
use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;
use svd_sys::clock;
use svd_sys::epoll::{Epoll, Event, Interest};
use svd_sys::packet::{Packet, PacketSocket};
use svd_sys::signal::{self, SignalFd};
use svd_sys::spawn::{Progress, StatusPipe};
use svd_sys::wait::{self, Peek};
use svd_sys::{dgram, fd, limits, pidfd, process, report, tree};
use svd_wire::{
    DecodeError, FEATURE_HOST, FdRole, MAX_MESSAGE, Request, SpawnId, SpawnSpec, decode_request, decode_spec,
    encode_report,
};

/// Where the kernel's buffers allow it, a whole inventory fits.
const SOCKET_BUFFER: usize = 1024 * 1024;
/// The most requests and notify datagrams that are read before others have their turn.
const REQUESTS_A_TURN: usize = 64;
const DATAGRAMS_A_TURN: usize = 8;
/// The name under which the manager has the keeper hold the listening socket of the control API.
const CONTROL: &str = "control";
/// The largest spec in a memfd: the kernel takes no more than about 6 MiB of arguments and environment (execve(2)).
const MAX_SPEC: usize = 8 * 1024 * 1024;
/// Descriptors that only the keeper itself may use: to start a manager when everything else is used up.
const RESERVED_FDS: u64 = 16;

const TOKEN_SIGNAL: u64 = 0;
const TOKEN_LINK: u64 = 1;
const TOKEN_CONTROL: u64 = 2;
const TOKEN_HOST: u64 = 3;
const TOKEN_FIRST: u64 = 16;

/// Runs the keeper until everything has ended; returns svd's exit code. `args` are the user's, for the manager.
pub fn run(args: Vec<OsString>) -> u8 {
    std::panic::set_hook(Box::new(|info| report::line(&format!("internal error: {info}"))));
    let mut keeper = match Keeper::new(args) {
        Ok(keeper) => keeper,
        Err(error) => {
            report::line(&format!("cannot start: {error}"));
            return 1;
        }
    };
    loop {
        // The last belt: one bad event must not end the tree.
        if catch_unwind(AssertUnwindSafe(|| keeper.turn())).is_err() {
            report::line("an event was given up");
        }
        if let Some(code) = keeper.leave {
            return code;
        }
    }
}

/// Whose descriptor has something to say.
#[derive(Clone, Copy, Debug)]
enum Source {
    Status(SpawnId),
    Notify(SpawnId),
}

struct Link {
    socket: PacketSocket,
    interest: Interest,
}

struct Keeper {
    table: Table,
    holdings: Holdings,
    launcher: Launcher,
    epoll: Epoll,
    signals: SignalFd,
    sources: HashMap<u64, Source>,
    next_token: u64,
    link: Option<Link>,
    manager_pidfd: Option<OwnedFd>,
    manager_status: Option<StatusPipe>,
    /// Descriptors of the request that is being taken in.
    attached: Vec<OwnedFd>,
    buffer: Vec<u8>,
    reap: Reap,
    leave: Option<u8>,
    host: Option<Host>,
    /// Whether its socket is waited for.
    host_left: Left,
}

/// Whether zombies are to be looked for before the next wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reap {
    Done,
    Again,
}

impl Keeper {
    fn new(args: Vec<OsString>) -> io::Result<Self> {
        fd::ensure_stdio()?;
        let handed = host::handed_over(|name| std::env::var_os(name));
        let host = Host::from_env(|name| std::env::var_os(name), process::pid(), clock::now().mono_ns);
        fd::cloexec_inherited()?;
        signal::block_all_and_reset()?;
        process::set_subreaper()?;
        let launcher = Launcher::prepare(args)?;
        let epoll = Epoll::new()?;
        let signals = SignalFd::new()?;
        epoll.add(signals.as_fd(), TOKEN_SIGNAL, Interest::Read)?;
        let mut table = Table::new(fd::random()?, process::pid());
        table.features = if host.is_some() { FEATURE_HOST } else { 0 };
        let mut holdings = Holdings::default();
        for (name, socket) in handed {
            table.named.insert(name.clone());
            holdings.hold(name, socket);
        }
        Ok(Keeper {
            table,
            holdings,
            launcher,
            epoll,
            signals,
            sources: HashMap::new(),
            next_token: TOKEN_FIRST,
            link: None,
            manager_pidfd: None,
            manager_status: None,
            attached: Vec::new(),
            buffer: vec![0; MAX_MESSAGE],
            // Somebody may have exec'd us with children.
            reap: Reap::Again,
            leave: None,
            host,
            host_left: Left::Nothing,
        })
    }

    fn turn(&mut self) {
        if self.reap == Reap::Again {
            self.reap = Reap::Done;
            self.reap();
        }
        self.input(Input::Tick);
        self.beat();
        self.tell();
        self.tell_host();
        if self.leave.is_some() || self.reap == Reap::Again {
            return;
        }
        let now = clock::now().mono_ns;
        let due = self.host.as_ref().and_then(Host::due);
        let timeout = next_deadline(&self.table)
            .into_iter()
            .chain(due)
            .min()
            .map(|at| Duration::from_nanos(at.saturating_sub(now)));
        let mut events = Vec::new();
        if let Err(error) = self.epoll.wait(&mut events, timeout) {
            report::line(&format!("cannot wait for events: {error}"));
            self.leave = Some(1);
            return;
        }
        for event in events {
            self.event(event);
        }
    }

    fn event(&mut self, event: Event) {
        match event.token {
            TOKEN_SIGNAL => self.read_signals(),
            TOKEN_LINK => {
                if event.readable() {
                    self.read_requests(REQUESTS_A_TURN);
                }
            }
            TOKEN_CONTROL => self.input(Input::Knock),
            // What is left is sent at the end of the turn.
            TOKEN_HOST => {}
            token => match self.sources.get(&token).copied() {
                Some(Source::Status(spawn)) => self.read_status(spawn),
                Some(Source::Notify(spawn)) => self.read_notify(spawn),
                None => {}
            },
        }
    }

    fn input(&mut self, input: Input) {
        let now = clock::now();
        for effect in step(&mut self.table, input, now) {
            self.perform(effect);
        }
    }

    fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::StartManager => self.start_manager(),
            Effect::SignalManager(signal) => {
                if let Some(pidfd) = &self.manager_pidfd {
                    // ESRCH: it was reaped, and the table will hear of it.
                    let _gone = pidfd::send_signal(pidfd.as_fd(), signal);
                }
            }
            Effect::CloseLink => self.close_link(),
            Effect::Fork(spawn, spec) => self.fork(spawn, &spec),
            Effect::Signal(spawn, signal) => {
                if let Some(pidfd) = self.holdings.find(spawn).and_then(|kept| kept.pidfd.as_ref()) {
                    let _gone = pidfd::send_signal(pidfd.as_fd(), signal);
                }
            }
            Effect::Close(spawn, role) => self.close_held(spawn, role),
            Effect::CloseProcess(spawn) => {
                if let Some(kept) = self.holdings.find_mut(spawn) {
                    kept.pidfd = None;
                }
                self.close_status(spawn);
            }
            Effect::CloseAll(spawn) => {
                self.close_status(spawn);
                self.close_held(spawn, FdRole::Notify);
                self.holdings.remove(spawn);
            }
            Effect::Hold(name) => {
                if let Some(fd) = self.attached.pop() {
                    self.hold(name, fd);
                }
            }
            Effect::Drop(name) => {
                if let Some(fd) = self.holdings.drop_named(&name)
                    && name == CONTROL
                {
                    let _never_added = self.epoll.delete(fd.as_fd());
                }
            }
            Effect::TellHost(state, attach) => self.for_host(state, attach),
            Effect::KillEverything => kill_everything(),
            Effect::Reap => self.reap = Reap::Again,
            Effect::Say(line) => report::line(&line),
            Effect::Leave(code) => self.leave = Some(code),
        }
    }

    // ---- the manager ----

    fn start_manager(&mut self) {
        match self.try_start_manager() {
            Ok(pid) => self.input(Input::ManagerStarted { pid }),
            Err(error) => {
                report::line(&format!("cannot start the manager: {error}"));
                self.close_link();
                self.input(Input::ManagerNotStarted);
            }
        }
    }

    fn try_start_manager(&mut self) -> io::Result<i32> {
        let (ours, theirs) = PacketSocket::pair()?;
        ours.set_buffers(SOCKET_BUFFER);
        theirs.set_buffers(SOCKET_BUFFER);
        self.epoll.add(ours.as_fd(), TOKEN_LINK, Interest::Read)?;
        self.link = Some(Link { socket: ours, interest: Interest::Read });
        let started = self.launcher.manager(&theirs)?;
        self.manager_pidfd = Some(started.pidfd);
        self.manager_status = Some(started.status);
        Ok(started.pid)
    }

    fn close_link(&mut self) {
        // Only our end is closed and nobody else has it, so epoll forgets it by itself.
        self.link = None;
    }

    fn read_requests(&mut self, limit: usize) {
        for _ in 0..limit {
            let Some(link) = &self.link else { return };
            match link.socket.recv_even_without_fds(&mut self.buffer) {
                Ok(Some(Packet::Whole { len, fds })) => self.request(len, fds),
                Ok(Some(Packet::FdsLost { len })) => self.request_without_fds(len),
                Ok(None) => return self.input(Input::HungUp),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::InvalidData => return self.input(Input::Malformed),
                Err(_) => return self.input(Input::HungUp),
            }
        }
    }

    fn request(&mut self, len: usize, mut fds: Vec<OwnedFd>) {
        let packet = self.buffer.get(..len).unwrap_or_default();
        let request = match decode_request(packet, fds.len()) {
            Ok((_, request)) => request,
            Err(DecodeError::Skip(_)) => return,
            Err(_) => return self.input(Input::Malformed),
        };
        let request = match request {
            Request::SpawnMemfd { spawn, len } if !fds.is_empty() => match spec_in(fds.remove(0), len) {
                Some(spec) => Request::Spawn { spawn, spec: Box::new(spec) },
                None => return self.input(Input::Malformed),
            },
            other => other,
        };
        if let Request::Spawn { spawn, .. } = &request
            && uses_reserve(&fds)
        {
            return self.input(Input::SpawnWithoutFds { spawn: *spawn });
        }
        let count = fds.len();
        self.attached = fds;
        self.input(Input::Request { request, fds: count });
        self.attached.clear();
    }

    /// The descriptors of a request were lost because we have too many. A start can be refused for that.
    fn request_without_fds(&mut self, len: usize) {
        let packet = self.buffer.get(..len).unwrap_or_default();
        let announced = packet.get(10..12).and_then(|bytes| bytes.try_into().ok()).map_or(0, u16::from_le_bytes);
        match decode_request(packet, usize::from(announced)) {
            Ok((_, Request::Spawn { spawn, .. } | Request::SpawnMemfd { spawn, .. })) => {
                self.input(Input::SpawnWithoutFds { spawn });
            }
            _ => self.input(Input::Malformed),
        }
    }

    /// Tells the manager what it does not know, as far as its socket takes it.
    fn tell(&mut self) {
        let mut full = false;
        while let Some(message) = outbox::next(&self.table) {
            let Some(link) = &self.link else { break };
            let Some(fds) = self.holdings.resolve(&message.fds) else {
                report::line("a held descriptor is missing");
                self.input(Input::Malformed);
                break;
            };
            let Ok(packet) = encode_report(&message.report, fds.len()) else {
                // Every field that a report carries is bounded below a message's size.
                report::line("a report is too large to be told");
                outbox::sent(&mut self.table, message.item, clock::now());
                continue;
            };
            match link.socket.send(&packet, &fds) {
                Ok(()) => outbox::sent(&mut self.table, message.item, clock::now()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    full = true;
                    break;
                }
                // Its death is told by its socket's end, where requests may still lie.
                Err(_) => break,
            }
        }
        let interest = if full { Interest::ReadWrite } else { Interest::Read };
        if let Some(link) = &mut self.link
            && link.interest != interest
            && self.epoll.modify(link.socket.as_fd(), TOKEN_LINK, interest).is_ok()
        {
            link.interest = interest;
        }
    }

    // ---- spawns ----

    fn fork(&mut self, spawn: SpawnId, spec: &SpawnSpec) {
        let attached = std::mem::take(&mut self.attached);
        match self.launcher.spawn(spec, &attached) {
            Ok(started) => {
                let token = self.watch(Source::Status(spawn));
                let watched = self.epoll.add(started.status.as_fd(), token, Interest::Read);
                let kept = self.holdings.spawn(spawn);
                kept.pidfd = Some(started.pidfd);
                kept.status = Some((started.status, token));
                if let Err(error) = watched {
                    // Its end still tells; only the moment of exec is not seen.
                    report::line(&format!("cannot watch a status pipe: {error}"));
                }
                self.keep(spawn, spec, attached);
                self.input(Input::Forked { spawn, pid: started.pid });
            }
            Err(error) => {
                let errno = error.raw_os_error().unwrap_or(0);
                self.input(Input::NotForked { spawn, errno });
            }
        }
    }

    /// Keeps what the child was not given.
    fn keep(&mut self, spawn: SpawnId, spec: &SpawnSpec, attached: Vec<OwnedFd>) {
        let keeper = process::uid();
        let service = spec.credentials.as_ref().map_or(keeper, |who| who.uid);
        for (role, fd) in spec.fds.iter().zip(attached) {
            let mut token = None;
            match role {
                FdRole::Child(_) | FdRole::Filter => continue,
                FdRole::Stdout | FdRole::Stderr | FdRole::Ready | FdRole::Intercept => {}
                FdRole::Notify => {
                    let number = self.watch(Source::Notify(spawn));
                    token = Some(number);
                    let asked = dgram::pass_credentials(fd.as_fd());
                    if let Err(error) = asked.and(self.epoll.add(fd.as_fd(), number, Interest::Read)) {
                        report::line(&format!("cannot watch a notify socket: {error}"));
                    }
                }
            }
            let kept = self.holdings.spawn(spawn);
            kept.speakers = Some(Speakers { service, keeper });
            kept.held.push((*role, fd, token));
        }
    }

    fn watch(&mut self, source: Source) -> u64 {
        let token = self.next_token;
        self.next_token = self.next_token.saturating_add(1);
        self.sources.insert(token, source);
        token
    }

    fn close_status(&mut self, spawn: SpawnId) {
        if let Some((_pipe, token)) = self.holdings.find_mut(spawn).and_then(|kept| kept.status.take()) {
            self.sources.remove(&token);
        }
    }

    fn close_held(&mut self, spawn: SpawnId, role: FdRole) {
        let Some(kept) = self.holdings.find_mut(spawn) else { return };
        let Some(index) = kept.held.iter().position(|(held, _, _)| *held == role) else { return };
        let (_, fd, token) = kept.held.swap_remove(index);
        if let Some(token) = token {
            self.sources.remove(&token);
            // The manager has a duplicate, which keeps the socket in our epoll set.
            let _never_added = self.epoll.delete(fd.as_fd());
        }
    }

    fn read_status(&mut self, spawn: SpawnId) {
        let Some((pipe, _)) = self.holdings.find_mut(spawn).and_then(|kept| kept.status.as_mut()) else { return };
        match pipe.progress() {
            Progress::Pending => return,
            Progress::Failed(stage, errno) => {
                self.input(Input::StageFailed { spawn, error: spawn_error(stage, errno) });
            }
            Progress::Execed => {
                let pid = self.table.records.get(&spawn).and_then(|record| record.living());
                // Killed in the instant between its last word and exec, the pipe looks the same; the kernel knows.
                if !pid.and_then(tree::read_proc).is_some_and(|proc| proc.never_ran_a_program()) {
                    self.input(Input::Execed { spawn });
                }
            }
            Progress::Died => {}
        }
        self.close_status(spawn);
    }

    fn read_notify(&mut self, spawn: SpawnId) {
        let Some(mut state) = self.table.records.get(&spawn).map(|record| record.notify.clone()) else { return };
        let Some(kept) = self.holdings.find(spawn) else { return };
        let (Some((_, socket, _)), Some(speakers)) =
            (kept.held.iter().find(|(role, _, _)| *role == FdRole::Notify), kept.speakers)
        else {
            return;
        };
        let at = crate::table::stamp(clock::now());
        let mut buffer = [0; MAX_DATAGRAM];
        for _ in 0..DATAGRAMS_A_TURN {
            match dgram::recv(socket.as_fd(), &mut buffer) {
                Ok(dgram::Datagram::Whole { len, sender }) => {
                    notify::take(&mut state, buffer.get(..len).unwrap_or_default(), sender, speakers, at);
                }
                Ok(dgram::Datagram::Truncated) => notify::drop_one(&mut state),
                // Whatever else it is, the next datagram may be a good one.
                Err(_) => break,
            }
        }
        self.input(Input::Notified { spawn, state });
    }

    fn hold(&mut self, name: String, fd: OwnedFd) {
        let control = name == CONTROL;
        if let Some(old) = self.holdings.hold(name, fd)
            && control
        {
            let _never_added = self.epoll.delete(old.as_fd());
        }
        let named = outbox::FdRef::Named(CONTROL.to_owned());
        if control
            && let Some(fd) = self.holdings.resolve(&[named]).and_then(|fds| fds.first().copied())
            && let Err(error) = self.epoll.add(fd, TOKEN_CONTROL, Interest::ReadEdge)
        {
            report::line(&format!("cannot watch the control socket: {error}"));
        }
    }

    // ---- signals and zombies ----

    fn read_signals(&mut self) {
        // One of each number at most can be pending, and real-time signals are bounded by RLIMIT_SIGPENDING.
        for _ in 0..signal::MAX {
            match self.signals.read() {
                Ok(Some(signal::CHLD)) => self.reap = Reap::Again,
                Ok(Some(number)) => self.input(Input::Signal(number)),
                Ok(None) => return,
                Err(error) => {
                    report::line(&format!("cannot read signals: {error}"));
                    return;
                }
            }
        }
    }

    /// Reaps every zombie there is: signals of one number that come together are one.
    fn reap(&mut self) {
        loop {
            match wait::peek() {
                Ok(Peek::Zombie(pid)) => {
                    if !self.reap_one(pid) {
                        return;
                    }
                }
                Ok(Peek::NoneYet) => return self.input(Input::ChildrenLeft),
                Ok(Peek::NoChildren) => return self.input(Input::NoChildren),
                Err(error) => return report::line(&format!("cannot look for zombies: {error}")),
            }
        }
    }

    fn reap_one(&mut self, pid: i32) -> bool {
        // What it said before it died comes first: the status pipe while its /proc entry is still there, and the
        // last requests of a manager.
        if let Some(spawn) = self.table.by_pid.get(&pid).copied() {
            self.read_status(spawn);
        }
        if manager_pid(&self.table) == Some(pid) {
            self.read_requests(usize::MAX);
            if let Some(Progress::Failed(stage, errno)) = self.manager_status.as_mut().map(StatusPipe::progress) {
                let error = io::Error::from_raw_os_error(errno);
                report::line(&format!("cannot run the manager ({stage:?}): {error}"));
            }
            self.manager_status = None;
            self.manager_pidfd = None;
        }
        match wait::reap(pid) {
            Ok(Some((ended, usage))) => {
                self.input(Input::Reaped { pid, exit: exit(ended), rusage: rusage(usage) });
                true
            }
            Ok(None) => false,
            Err(error) => {
                report::line(&format!("cannot reap process {pid}: {error}"));
                false
            }
        }
    }
}

fn spec_in(memfd: OwnedFd, len: u32) -> Option<SpawnSpec> {
    let bytes = fd::read_memfd(memfd, MAX_SPEC).ok()?;
    if usize::try_from(len) != Ok(bytes.len()) {
        return None;
    }
    decode_spec(&bytes).ok()
}

/// The kernel gives the lowest free number, so a high one says that nearly all are used.
fn uses_reserve(fds: &[OwnedFd]) -> bool {
    let Ok(limit) = limits::nofile() else { return false };
    let last = limit.soft.saturating_sub(RESERVED_FDS);
    fds.iter().any(|fd| u64::try_from(fd.as_raw_fd()).is_ok_and(|number| number >= last))
}

/// KILL to everybody below us. As PID 1 the kernel does that at once for the whole namespace; else each is looked up
/// and signalled by pidfd, and the caller does it again after each death.
fn kill_everything() {
    if process::signal_namespace(signal::KILL).is_ok() {
        return;
    }
    match tree::descendants(process::pid()) {
        Ok(below) => {
            for proc in below.iter().filter(|proc| !proc.has_ended()) {
                if let Err(error) = tree::kill_verified(proc, signal::KILL) {
                    report::line(&format!("cannot kill process {}: {error}", proc.pid));
                }
            }
        }
        Err(error) => report::line(&format!("cannot read /proc: {error}")),
    }
}
