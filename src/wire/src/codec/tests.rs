//! Round trips, and bytes that are no message.

use super::*;
use crate::message::{
    Exit, Extended, Instance, Life, NotifyState, Reloading, Rusage, SignalSent, SpawnError, SpawnId, Stage, Stamp,
};
use crate::spec::{Confinement, Credentials, FdRole, Rlimit, SpawnSpec, StoreSpec};
use crate::{MAX_HOST_STATE, MAX_NAME};

/// xorshift: the same histories on every machine.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    fn bytes(&mut self, limit: u64) -> Vec<u8> {
        (0..self.below(limit)).map(|_| self.next() as u8).collect()
    }

    fn text(&mut self, limit: u64) -> String {
        (0..=self.below(limit)).map(|_| char::from(b'a' + self.below(26) as u8)).collect()
    }

    fn stamp(&mut self) -> Stamp {
        Stamp { boot_ns: self.next(), real_ns: self.next() }
    }

    fn exit(&mut self) -> Exit {
        match self.below(3) {
            0 => Exit::Code(self.next() as u8),
            1 => Exit::Signal { signal: self.below(64) as i32, core: self.below(2) == 1 },
            _ => Exit::Unknown,
        }
    }

    fn error(&mut self) -> SpawnError {
        let stages = [
            Stage::Fork,
            Stage::Session,
            Stage::Limits,
            Stage::Credentials,
            Stage::Directory,
            Stage::Descriptors,
            Stage::Exec,
            Stage::Cgroup,
            Stage::Mounts,
            Stage::Capabilities,
        ];
        SpawnError { stage: stages[self.below(10) as usize], errno: self.next() as i32 }
    }

    fn role(&mut self) -> FdRole {
        match self.below(8) {
            0 => FdRole::Stdout,
            1 => FdRole::Stderr,
            2 => FdRole::Ready,
            3 => FdRole::Notify,
            4 => FdRole::Intercept,
            5 => FdRole::Filter,
            6 => FdRole::Cgroup(self.next() as u32),
            _ => FdRole::Child(self.next() as u32),
        }
    }

    fn maybe<T>(&mut self, make: impl FnOnce(&mut Self) -> T) -> Option<T> {
        (self.below(2) == 1).then(|| make(self))
    }

    fn list<T>(&mut self, mut make: impl FnMut(&mut Self) -> T) -> Vec<T> {
        (0..self.below(6)).map(|_| make(self)).collect()
    }

    fn spec(&mut self) -> SpawnSpec {
        SpawnSpec {
            tag: self.bytes(50),
            path: self.bytes(50),
            argv: self.list(|random| random.bytes(30)),
            env: self.list(|random| random.bytes(30)),
            cwd: self.bytes(20),
            umask: self.maybe(|random| random.next() as u32),
            nice: self.maybe(|random| random.next() as i32),
            oom_score_adj: self.maybe(|random| random.next() as i32),
            credentials: self.maybe(|random| Credentials {
                uid: random.next() as u32,
                gid: random.next() as u32,
                groups: random.list(|random| random.next() as u32),
            }),
            rlimits: self.list(|random| Rlimit {
                resource: random.next() as u32,
                soft: random.next(),
                hard: random.next(),
            }),
            fds: self.list(Self::role),
            store: self.maybe(|random| StoreSpec {
                name: random.text(20),
                limit: random.below(65) as u32,
                first: random.next() as u32,
            }),
            confinement: Confinement {
                capabilities: self.maybe(Self::next),
                no_new_privs: self.below(2) == 1,
                private_tmp: self.below(2) == 1,
                read_only: self.list(|random| random.bytes(20)),
                read_write: self.list(|random| random.bytes(20)),
            },
        }
    }

    fn notify(&mut self) -> NotifyState {
        NotifyState {
            ready: self.maybe(Self::stamp),
            stopping: self.below(2) == 1,
            status: self.text(100),
            dropped: self.next(),
            heard: self.maybe(Self::stamp),
            reloading: self
                .maybe(|random| Reloading { at: random.stamp(), since_us: random.maybe(|random| random.next()) }),
            reloaded: self.maybe(Self::stamp),
            watchdog_us: self.maybe(Self::next),
            trigger: self.maybe(Self::stamp),
            extended: self.maybe(|random| Extended { at: random.stamp(), until_ns: random.next() }),
            errno: self.maybe(|random| random.next() as i32),
            exit_status: self.maybe(|random| random.next() as i32),
            main: self.maybe(|random| random.next() as i32),
            stored: self.list(|random| random.text(20)),
            refused: self.below(3),
        }
    }

    fn request(&mut self) -> Request {
        let spawn = SpawnId(self.next());
        match self.below(17) {
            0 => Request::Hello {
                min: self.next() as u16,
                max: self.next() as u16,
                features: self.next(),
                build: self.text(20),
            },
            1 => Request::Ready,
            2 => Request::Spawn { spawn, spec: Box::new(self.spec()) },
            3 => Request::SpawnMemfd { spawn, len: self.next() as u32 },
            4 => Request::Signal { spawn, signal: 1 + self.below(64) as i32 },
            5 => Request::Ack { through: self.next() },
            6 => Request::Annotate { spawn, note: self.bytes(100) },
            7 => Request::Release { spawn, role: self.role() },
            8 => Request::Forget { spawn },
            9 => Request::Hold { name: self.text(20) },
            10 => Request::Drop { name: self.text(20) },
            11 => Request::Watch { on: self.below(2) == 1 },
            12 => Request::Pong,
            13 => Request::Recall { spawn },
            14 => Request::Empty { store: self.text(20) },
            15 => {
                let state = self.text(MAX_HOST_STATE as u64);
                let attach = (self.below(2) == 1).then(|| self.text(MAX_NAME as u64));
                Request::TellHost { state, attach }
            }
            _ => Request::Exit { code: self.next() as u8 },
        }
    }

    fn life(&mut self) -> Life {
        let pid = self.next() as i32;
        match self.below(4) {
            0 => Life::Forked { pid, at: self.stamp() },
            1 => Life::Running { pid, at: self.stamp() },
            2 => Life::Failed { error: self.error(), at: self.stamp() },
            _ => Life::Exited {
                pid,
                exit: self.exit(),
                before_exec: self.below(2) == 1,
                started: self.stamp(),
                at: self.stamp(),
            },
        }
    }

    fn report(&mut self) -> Report {
        let (seq, spawn, pid) = (self.next(), SpawnId(self.next()), self.next() as i32);
        match self.below(10) {
            0 => Report::Welcome {
                version: self.next() as u16,
                features: self.next(),
                build: self.text(20),
                boot: std::array::from_fn(|_| self.next() as u8),
                keeper_pid: pid,
                manager_starts: self.next() as u32,
                last_death: self.maybe(Self::exit),
                last_spawn: spawn,
                orphans_reaped: self.next(),
            },
            1 => Report::Held { name: self.text(20) },
            2 => Report::Instance(Box::new(Instance {
                spawn,
                tag: self.bytes(100),
                note: self.bytes(100),
                life: self.life(),
                pidfd: self.below(2) == 1,
                held: self.list(Self::role),
                last_signal: self.maybe(|random| SignalSent { signal: random.next() as i32, at: random.stamp() }),
                notify: self.notify(),
            })),
            3 => Report::InventoryEnd { instances: self.next() as u32, held: self.next() as u32 },
            4 => Report::Spawned { seq, spawn, pid, at: self.stamp() },
            5 => Report::SpawnFailed { seq, spawn, error: self.error(), at: self.stamp() },
            6 => Report::Exited {
                seq,
                spawn,
                pid,
                exit: self.exit(),
                before_exec: self.below(2) == 1,
                rusage: Rusage { user_us: self.next(), system_us: self.next(), max_rss: self.next() },
                started: self.stamp(),
                at: self.stamp(),
            },
            7 => Report::Notified { spawn, state: self.notify() },
            8 => Report::SignalReceived { seq, signal: pid },
            _ => Report::Ping,
        }
    }
}

#[test]
fn every_message_comes_back_as_it_was_sent() {
    let mut random = Random(0x5eed);
    for _ in 0..20_000 {
        let request = random.request();
        let (header, back) = decode_request(&encode_request(&request, 3).unwrap(), 3).unwrap();
        assert_eq!((header.fds, header.version, back), (3, PROTOCOL_MAX, request));
        let report = random.report();
        assert_eq!(decode_report(&encode_report(&report, 0).unwrap(), 0).unwrap().1, report);
    }
}

#[test]
fn a_message_that_is_cut_anywhere_is_refused() {
    let mut random = Random(7);
    for _ in 0..200 {
        let packet = encode_request(&random.request(), 0).unwrap();
        for len in 0..packet.len() {
            assert!(decode_request(&packet[..len], 0).is_err());
        }
        let packet = encode_report(&random.report(), 0).unwrap();
        for len in 0..packet.len() {
            assert!(decode_report(&packet[..len], 0).is_err());
        }
    }
}

/// Fault 65.
#[test]
fn any_bytes_are_decoded_without_panic() {
    let mut random = Random(99);
    for round in 0..100_000_u32 {
        // Noise alone never gets past the header, so half of the rounds damage a true message.
        let mut packet = match round % 4 {
            0 => random.bytes(200),
            1 => encode_report(&random.report(), 0).unwrap(),
            _ => encode_request(&random.request(), 0).unwrap(),
        };
        if !packet.is_empty() {
            for _ in 0..=random.below(4) {
                let at = random.below(packet.len() as u64) as usize;
                packet[at] = random.next() as u8;
            }
        }
        let _either = decode_request(&packet, 0);
        let _either = decode_report(&packet, 0);
        let _either = decode_spec(&packet);
    }
}

#[test]
fn a_later_versions_fields_and_messages_are_skipped_unless_critical() {
    let mut packet = encode_request(&Request::Ready, 0).unwrap();
    let field = |tag: u16| [&tag.to_le_bytes()[..], &3_u32.to_le_bytes(), b"abc"].concat();
    let with = |packet: &[u8], field: &[u8]| {
        let mut packet = [packet, field].concat();
        let len = (packet.len() - HEADER) as u32;
        packet[12..16].copy_from_slice(&len.to_le_bytes());
        packet
    };
    assert_eq!(decode_request(&with(&packet, &field(5)), 0).unwrap().1, Request::Ready);
    assert_eq!(decode_request(&with(&packet, &field(0x8005)), 0), Err(DecodeError::UnknownField(0x8005)));
    packet[6..8].copy_from_slice(&999_u16.to_le_bytes());
    assert_eq!(decode_request(&packet, 0), Err(DecodeError::UnknownKind(999)));
    packet[8] = 0;
    assert_eq!(decode_request(&packet, 0), Err(DecodeError::Skip(999)));
}

/// A keeper lives longer than its managers, so that what a number means stays.
#[test]
fn each_role_has_its_number_and_only_the_childs_are_not_held() {
    let roles = [
        (2, FdRole::Stdout, false),
        (3, FdRole::Stderr, false),
        (4, FdRole::Ready, false),
        (5, FdRole::Notify, false),
        (6, FdRole::Intercept, false),
        (7, FdRole::Filter, true),
    ];
    for (number, role, childs) in roles {
        let packet = encode_request(&Request::Release { spawn: SpawnId(1), role }, 0).unwrap();
        assert_eq!(packet[HEADER..], [1, 0, 0, 0, 0, 0, 0, 0, number]);
        assert_eq!(role.is_childs(), childs);
    }
    let packet = encode_request(&Request::Release { spawn: SpawnId(1), role: FdRole::Child(9) }, 0).unwrap();
    assert_eq!(packet[HEADER + 8..], [1, 9, 0, 0, 0]);
    assert!(FdRole::Child(9).is_childs());
    let packet = encode_request(&Request::Release { spawn: SpawnId(1), role: FdRole::Cgroup(2) }, 0).unwrap();
    assert_eq!(packet[HEADER + 8..], [8, 2, 0, 0, 0]);
    assert!(FdRole::Cgroup(2).is_childs());
    let mut unknown = encode_request(&Request::Release { spawn: SpawnId(1), role: FdRole::Filter }, 0).unwrap();
    unknown[HEADER + 8] = 9;
    assert_eq!(decode_request(&unknown, 0), Err(DecodeError::Value("role")));
}

/// Fault 21.
#[test]
fn a_lost_descriptor_is_noticed() {
    let packet = encode_request(&Request::Hold { name: "lock".into() }, 1).unwrap();
    assert!(matches!(decode_request(&packet, 0), Err(DecodeError::Descriptors { announced: 1, arrived: 0 })));
}

#[test]
fn a_spec_too_large_for_a_message_goes_by_memfd() {
    let spec = SpawnSpec { env: vec![vec![b'x'; 70_000]], ..SpawnSpec::default() };
    let request = Request::Spawn { spawn: SpawnId(1), spec: Box::new(spec.clone()) };
    assert!(matches!(encode_request(&request, 1), Err(EncodeError::TooLarge(_))));
    assert_eq!(decode_spec(&encode_spec(&spec)).unwrap(), spec);
}

/// A keeper of an older build must refuse it, not start the process with more than it is to have.
#[test]
fn a_confinement_stands_in_the_tail_under_a_critical_tag_and_only_where_there_is_one() {
    let plain = encode_spec(&SpawnSpec::default());
    let confinement = Confinement { no_new_privs: true, ..Confinement::default() };
    let confined = encode_spec(&SpawnSpec { confinement, ..SpawnSpec::default() });
    assert_eq!(confined[..plain.len()], plain);
    assert_eq!(confined[plain.len()..][..2], [2, 0x80]);
}

#[test]
fn a_spec_that_cannot_be_started_is_named() {
    use crate::spec::SpecError;
    let good = SpawnSpec {
        path: b"/bin/true".to_vec(),
        argv: vec![b"true".to_vec()],
        cwd: b"/".to_vec(),
        ..SpawnSpec::default()
    };
    assert_eq!(good.check(), Ok(()));
    let check = |expected, change: fn(&mut SpawnSpec)| {
        let mut spec = good.clone();
        change(&mut spec);
        assert_eq!(spec.check(), Err(expected));
    };
    check(SpecError::Relative("path"), |spec| spec.path = b"true".to_vec());
    check(SpecError::Relative("cwd"), |spec| spec.cwd = Vec::new());
    check(SpecError::Relative("confinement"), |spec| spec.confinement.read_only = vec![b"etc".to_vec()]);
    check(SpecError::NoArgument, |spec| spec.argv.clear());
    check(SpecError::Nul("env"), |spec| spec.env = vec![b"A=\0".to_vec()]);
    check(SpecError::RoleTwice(FdRole::Child(3)), |spec| spec.fds = vec![FdRole::Child(3); 2]);
    check(SpecError::TooLarge("fds"), |spec| spec.fds = (0..64).map(FdRole::Child).collect());
}

#[test]
fn what_a_service_said_since_version_1_is_in_the_tail_that_a_reader_of_version_1_skips() {
    let spawn = SpawnId(7);
    let told = NotifyState { status: "on".into(), ..NotifyState::default() };
    let since = NotifyState { errno: Some(5), stored: vec!["a".into()], ..told.clone() };
    let plain = encode_report(&Report::Notified { spawn, state: told.clone() }, 0).unwrap();
    let more = encode_report(&Report::Notified { spawn, state: since.clone() }, 0).unwrap();
    // A keeper of version 1 sends the short one.
    assert_eq!(decode_report(&plain, 0).unwrap().1, Report::Notified { spawn, state: told });
    // To a manager of version 1 the long one is the short one and a tail that may be skipped.
    assert_eq!(more[HEADER..plain.len()], plain[HEADER..]);
    assert_eq!(skip_tail(&mut Reader::new(&more[plain.len()..])), Ok(()));
    assert_eq!(decode_report(&more, 0).unwrap().1, Report::Notified { spawn, state: since });
}
