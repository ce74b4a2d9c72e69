//! The loop: waits for the kernel, turns what happened into inputs, performs the effects. It decides nothing.
//!
//! It never waits for anybody but the kernel: the socket to the manager, status pipes and notify sockets are all
//! read and written without blocking.

mod above;
mod mailbox;
mod spawns;
mod stored;
mod succession;

pub use succession::trial;
pub(crate) use succession::{REFUSED_VARIABLE, STATE_VARIABLE};

use crate::holdings::Holdings;
use crate::host::{self, Host, Left};
use crate::launch::Launcher;
use crate::outbox;
use crate::step::{Effect, Input, Start, manager_pid, next_deadline, step};
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
use svd_sys::wait::{self, Ended, Peek, Usage};
use svd_sys::{fd, limits, pidfd, process, report, tree};
use svd_wire::{
    DecodeError, Exit, FEATURE_HOST, FdRole, MAX_MESSAGE, Request, Rusage, SpawnId, SpawnSpec, decode_request,
    decode_spec, encode_report,
};

/// Where the kernel's buffers allow it, a whole inventory fits.
const SOCKET_BUFFER: usize = 1024 * 1024;
/// The most requests and notify datagrams that are read before others have their turn.
const REQUESTS_A_TURN: usize = 64;
const DATAGRAMS_A_TURN: usize = 8;
/// The most that are read when the manager asks: a whole queue (net.unix.max_dgram_qlen, 512 where it is large).
const DATAGRAMS_AT_ONCE: usize = 600;
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
    let begun = match succession::inherited_state() {
        Some((state, refused)) => state.and_then(|state| Keeper::resume(state, refused)),
        None => Keeper::new(args),
    };
    let mut keeper = match begun {
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
        if keeper.turn_into == TurnInto::Program {
            keeper.turn_into = TurnInto::Nothing;
            if let Some(why) = keeper.become_program() {
                keeper.input(Input::NotBecome { why });
            }
        }
    }
}

/// Whose descriptor has something to say.
#[derive(Clone, Copy, Debug)]
enum Source {
    Status(SpawnId),
    Notify(SpawnId),
    Main(SpawnId),
    /// Its token is its number.
    Stored,
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
    /// The process that tries out the program that the keeper is to become.
    trial_pidfd: Option<OwnedFd>,
    /// Descriptors of the request that is being taken in.
    attached: Vec<OwnedFd>,
    buffer: Vec<u8>,
    reap: Reap,
    turn_into: TurnInto,
    leave: Option<u8>,
    host: Option<Host>,
    /// Whether its socket is waited for.
    host_left: Left,
}

/// What the keeper becomes when the turn is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TurnInto {
    Nothing,
    /// The program that managers are run from.
    Program,
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
        Keeper::settle()?;
        let launcher = Launcher::prepare(args)?;
        let mut keeper = Keeper::with(Table::new(fd::random()?, process::pid()), launcher)?;
        for (name, socket) in handed {
            keeper.table.named.insert(name.clone());
            keeper.hold(name, socket);
        }
        Ok(keeper)
    }

    /// What every program of a keeper does first.
    fn settle() -> io::Result<()> {
        fd::ensure_stdio()?;
        fd::cloexec_inherited()?;
        signal::block_all_and_reset()?;
        process::set_subreaper()
    }

    fn with(mut table: Table, launcher: Launcher) -> io::Result<Self> {
        let host = Host::from_env(|name| std::env::var_os(name), process::pid(), clock::now().mono_ns);
        table.features = if host.is_some() { FEATURE_HOST } else { 0 };
        let epoll = Epoll::new()?;
        let signals = SignalFd::new()?;
        epoll.add(signals.as_fd(), TOKEN_SIGNAL, Interest::Read)?;
        Ok(Keeper {
            table,
            holdings: Holdings::default(),
            launcher,
            epoll,
            signals,
            sources: HashMap::new(),
            next_token: TOKEN_FIRST,
            link: None,
            manager_pidfd: None,
            manager_status: None,
            trial_pidfd: None,
            attached: Vec::new(),
            buffer: vec![0; MAX_MESSAGE],
            // Somebody may have exec'd us with children.
            reap: Reap::Again,
            turn_into: TurnInto::Nothing,
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
        if self.leave.is_some() || self.reap == Reap::Again || self.turn_into == TurnInto::Program {
            return;
        }
        let now = clock::now().mono_ns;
        let opening = outbox::next_opening(&self.table, now);
        let due = self.host.as_ref().and_then(Host::due);
        let deadline = next_deadline(&self.table).into_iter().chain(opening).chain(due).min();
        let timeout = deadline.map(|at| Duration::from_nanos(at.saturating_sub(now)));
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
                Some(Source::Notify(spawn)) => self.read_notify(spawn, DATAGRAMS_A_TURN),
                Some(Source::Main(spawn)) => self.main_ended(spawn),
                Some(Source::Stored) => self.stored_hung_up(token),
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
            Effect::StartManager(how) => self.start_manager(how),
            Effect::SignalManager(signal) => {
                if let Some(pidfd) = &self.manager_pidfd {
                    // ESRCH: it was reaped, and the table will hear of it.
                    let _gone = pidfd::send_signal(pidfd.as_fd(), signal);
                }
            }
            Effect::CloseLink => self.close_link(),
            Effect::Fork(spawn, spec) => self.fork(spawn, &spec),
            Effect::Signal(spawn, signal) => {
                let kept = self.holdings.find(spawn);
                if let Some(pidfd) = kept.and_then(|kept| kept.named.as_ref().or(kept.pidfd.as_ref())) {
                    let _gone = pidfd::send_signal(pidfd.as_fd(), signal);
                }
            }
            Effect::Close(spawn, role) => self.close_held(spawn, role),
            Effect::CloseProcess(spawn) => {
                self.forget_main(spawn);
                if let Some(kept) = self.holdings.find_mut(spawn) {
                    kept.pidfd = None;
                }
                self.close_status(spawn);
            }
            Effect::Succeed(spawn) => self.succeed(spawn),
            Effect::ReadNotify(spawn) => self.read_notify(spawn, DATAGRAMS_AT_ONCE),
            Effect::EmptyStore(store) => self.empty_store(&store),
            Effect::CloseAll(spawn) => {
                self.close_status(spawn);
                self.forget_main(spawn);
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
            Effect::TakeProgram => {
                if let Some(program) = self.attached.pop() {
                    self.launcher.switch(program);
                }
            }
            Effect::TakeProgramBack => self.launcher.switch_back(),
            Effect::TryProgram => self.try_program(),
            Effect::KillTrial => {
                if let Some(pidfd) = &self.trial_pidfd {
                    let _gone = pidfd::send_signal(pidfd.as_fd(), signal::KILL);
                }
            }
            Effect::ForgetTrial => self.trial_pidfd = None,
            Effect::Become => self.turn_into = TurnInto::Program,
            Effect::TellHost(state, attach) => self.for_host(state, attach),
            Effect::KillEverything => kill_everything(),
            Effect::Reap => self.reap = Reap::Again,
            Effect::Say(line) => report::line(&line),
            Effect::Leave(code) => self.leave = Some(code),
        }
    }

    // ---- the manager ----

    fn start_manager(&mut self, how: Start) {
        match self.try_start_manager(how) {
            Ok(pid) => self.input(Input::ManagerStarted { pid }),
            Err(error) => {
                report::line(&format!("cannot start the manager: {error}"));
                self.close_link();
                self.input(Input::ManagerNotStarted);
            }
        }
    }

    fn try_start_manager(&mut self, how: Start) -> io::Result<i32> {
        let (ours, theirs) = PacketSocket::pair()?;
        ours.set_buffers(SOCKET_BUFFER);
        theirs.set_buffers(SOCKET_BUFFER);
        self.epoll.add(ours.as_fd(), TOKEN_LINK, Interest::Read)?;
        self.link = Some(Link { socket: ours, interest: Interest::Read });
        let started = self.launcher.manager(&theirs, how)?;
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
                // The manager ended without reading all it was told: the kernel says so once, before what is still to be read here.
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {}
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
        while let Some(message) = outbox::next(&self.table, clock::now().mono_ns) {
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
        // What it said before it died comes first: the status pipe and the notify socket while its /proc entry is still
        // there, and the last requests of a manager.
        if let Some(spawn) = self.table.by_pid.get(&pid).copied() {
            self.read_status(spawn);
        }
        self.hear_out(pid);
        if manager_pid(&self.table) == Some(pid) {
            self.read_requests(usize::MAX);
            if let Some(Progress::Failed(stage, errno)) = self.manager_status.as_mut().map(StatusPipe::progress) {
                let error = io::Error::from_raw_os_error(errno);
                self.input(Input::ManagerNotRun { why: format!("cannot run the manager ({stage:?}): {error}") });
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

fn exit(ended: Ended) -> Exit {
    match ended {
        Ended::Code(code) => Exit::Code(code),
        Ended::Signal { signal, core } => Exit::Signal { signal, core },
        Ended::Unknown => Exit::Unknown,
    }
}

fn rusage(usage: Usage) -> Rusage {
    Rusage { user_us: usage.user_us, system_us: usage.system_us, max_rss: usage.max_rss }
}
