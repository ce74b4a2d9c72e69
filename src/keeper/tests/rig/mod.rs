//! A real keeper in a process of its own; the test is its manager.
#![allow(dead_code)]

use std::ops::RangeBounds;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use svd_sys::packet::PacketSocket;
use svd_sys::{fd, pidfd};
use svd_wire::{
    FEATURES, Instance, MAX_MESSAGE, PROTOCOL_MAX, Report, Request, SpawnId, SpawnSpec, UpgradeOutcome, decode_report,
    encode_request,
};

pub const PATIENCE: Duration = Duration::from_secs(30);

pub fn program() -> &'static str {
    env!("CARGO_BIN_EXE_svd-keeper-rig")
}

pub struct Rig {
    pub keeper: Child,
    listener: UnixListener,
    path: PathBuf,
}

/// One manager of the keeper, played by the test.
pub struct Manager {
    pub pid: i32,
    wire: PacketSocket,
    /// The process at whose end of the wire we are; it ends when this is dropped.
    process: PacketSocket,
}

/// What a new manager is told.
pub struct Inventory {
    pub welcome: Report,
    pub held: Vec<(String, OwnedFd)>,
    pub instances: Vec<(Instance, Vec<OwnedFd>)>,
}

impl Rig {
    pub fn start() -> Rig {
        Rig::start_by(|path| {
            let mut command = Command::new(program());
            command.arg(path);
            command
        })
    }

    pub fn start_by(command: impl FnOnce(&PathBuf) -> Command) -> Rig {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("svd-rig-{}-{number}", std::process::id()));
        let _none = std::fs::remove_file(&path);
        let listener = UnixListener::bind(&path).unwrap();
        // What the test's own parent has left open is no concern of the keeper, whose descriptors are counted.
        fd::cloexec_inherited().unwrap();
        let keeper = command(&path).stdin(Stdio::null()).spawn().unwrap();
        Rig { keeper, listener, path }
    }

    pub fn pid(&self) -> i32 {
        self.keeper.id().cast_signed()
    }

    /// The next manager that the keeper starts.
    pub fn manager(&self) -> Manager {
        assert!(fd::wait_readable(self.listener.as_fd(), PATIENCE).unwrap(), "no manager came");
        Manager::accept(&self.listener)
    }

    /// The next manager, already live, and what it was told.
    pub fn live(&self) -> (Manager, Inventory) {
        let manager = self.manager();
        let inventory = manager.hello();
        manager.send(&Request::Ready, &[]);
        (manager, inventory)
    }

    pub fn wait(&mut self) -> ExitStatus {
        let pidfd = pidfd::open(self.pid()).unwrap();
        assert!(fd::wait_readable(pidfd.as_fd(), PATIENCE).unwrap(), "the keeper did not end");
        self.keeper.wait().unwrap()
    }

    pub fn signal(&self, signal: i32) {
        pidfd::send_signal(pidfd::open(self.pid()).unwrap().as_fd(), signal).unwrap();
    }

    pub fn open_fds(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.pid())).unwrap().count()
    }

    /// Waits until the keeper has as many descriptors as fit: it may still be at what it was just told, with a file open.
    pub fn comes_to_open_fds(&self, fits: impl RangeBounds<usize> + std::fmt::Debug, when: &str) {
        let deadline = svd_sys::clock::now().mono_ns + 30_000_000_000;
        loop {
            let found = self.open_fds();
            if fits.contains(&found) {
                return;
            }
            assert!(svd_sys::clock::now().mono_ns < deadline, "{when}: {found} descriptors, not {fits:?}");
            std::thread::yield_now();
        }
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        let _gone = std::fs::remove_file(&self.path);
        if self.keeper.try_wait().unwrap().is_none() {
            self.keeper.kill().unwrap();
            self.keeper.wait().unwrap();
            assert!(std::thread::panicking(), "the keeper was left running");
        }
    }
}

impl Manager {
    /// The manager that has connected.
    pub fn accept(listener: &UnixListener) -> Manager {
        let (stream, _) = listener.accept().unwrap();
        let process = PacketSocket::from_fd(stream.into()).unwrap();
        assert!(fd::wait_readable(process.as_fd(), PATIENCE).unwrap());
        let mut pid = [0; 4];
        let (_, mut fds) = process.recv(&mut pid).unwrap().unwrap();
        Manager { pid: i32::from_le_bytes(pid), wire: PacketSocket::from_fd(fds.pop().unwrap()).unwrap(), process }
    }

    pub fn send(&self, request: &Request, fds: &[BorrowedFd<'_>]) {
        self.send_bytes(&encode_request(request, fds.len()).unwrap(), fds);
    }

    pub fn send_bytes(&self, bytes: &[u8], fds: &[BorrowedFd<'_>]) {
        loop {
            match self.wire.send(bytes, fds) {
                Ok(()) => return,
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    let epoll = svd_sys::epoll::Epoll::new().unwrap();
                    epoll.add(self.wire.as_fd(), 0, svd_sys::epoll::Interest::Write).unwrap();
                    epoll.wait(&mut Vec::new(), Some(PATIENCE)).unwrap();
                }
                Err(error) => panic!("cannot send: {error}"),
            }
        }
    }

    /// The next report but pings, which are answered, and the word that there is no upgrade or one under way.
    pub fn recv(&self) -> (Report, Vec<OwnedFd>) {
        loop {
            assert!(fd::wait_readable(self.wire.as_fd(), PATIENCE).unwrap(), "the keeper says nothing");
            let mut buffer = vec![0; MAX_MESSAGE];
            let (len, fds) = self.wire.recv(&mut buffer).unwrap().expect("the keeper hung up");
            match decode_report(&buffer[..len], fds.len()).unwrap().1 {
                Report::Ping => self.send(&Request::Pong, &[]),
                Report::Upgraded { outcome: UpgradeOutcome::Nothing | UpgradeOutcome::UnderWay, .. } => {}
                report => return (report, fds),
            }
        }
    }

    /// Waits until there is a report, and leaves it there.
    pub fn wait_for_a_report(&self) {
        assert!(fd::wait_readable(self.wire.as_fd(), PATIENCE).unwrap(), "the keeper says nothing");
    }

    pub fn report(&self) -> Report {
        self.recv().0
    }

    pub fn hello(&self) -> Inventory {
        self.send(&Request::Hello { min: 1, max: PROTOCOL_MAX, features: FEATURES, build: "test".into() }, &[]);
        let welcome = self.report();
        assert!(matches!(welcome, Report::Welcome { .. }));
        let mut inventory = Inventory { welcome, held: Vec::new(), instances: Vec::new() };
        loop {
            match self.recv() {
                (Report::Held { name }, mut fds) => inventory.held.push((name, fds.pop().unwrap())),
                (Report::Instance(instance), fds) => {
                    assert_eq!(fds.len(), instance.held.len() + usize::from(instance.pidfd));
                    inventory.instances.push((*instance, fds));
                }
                (Report::InventoryEnd { instances, held }, _) => {
                    assert_eq!(instances as usize, inventory.instances.len());
                    assert_eq!(held as usize, inventory.held.len());
                    return inventory;
                }
                (other, _) => panic!("not part of an inventory: {other:?}"),
            }
        }
    }

    pub fn spawn(&self, id: u64, spec: SpawnSpec, fds: &[BorrowedFd<'_>]) {
        self.send(&Request::Spawn { spawn: SpawnId(id), spec: Box::new(spec) }, fds);
    }

    pub fn kill(self) {
        pidfd::send_signal(pidfd::open(self.pid).unwrap().as_fd(), svd_sys::signal::KILL).unwrap();
    }

    pub fn exit(&self, code: u8) {
        self.send(&Request::Exit { code }, &[]);
    }
}

/// A shell that runs this.
pub fn shell(script: &str) -> SpawnSpec {
    SpawnSpec {
        path: b"/bin/sh".to_vec(),
        argv: vec![b"sh".to_vec(), b"-c".to_vec(), script.as_bytes().to_vec()],
        env: vec![b"PATH=/usr/bin:/bin".to_vec()],
        cwd: b"/".to_vec(),
        ..SpawnSpec::default()
    }
}

pub fn program_spec(path: &str) -> SpawnSpec {
    SpawnSpec { path: path.into(), argv: vec![path.into()], cwd: b"/".to_vec(), ..SpawnSpec::default() }
}

/// All that is written to a pipe until its last writer is gone.
pub fn read_all(pipe: OwnedFd) -> String {
    let mut text = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        assert!(fd::wait_readable(pipe.as_fd(), PATIENCE).unwrap(), "the pipe stays open");
        match fd::read(pipe.as_fd(), &mut buffer).unwrap() {
            0 => return String::from_utf8(text).unwrap(),
            count => text.extend_from_slice(&buffer[..count]),
        }
    }
}
