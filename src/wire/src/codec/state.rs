//! A keeper's state as bytes: a head with version, length and checksum, then sections that each carry a tag and a length.
//!
//! The program that a keeper becomes may be younger or older than the one it was. A section whose tag it does not know
//! is skipped, unless the tag has the critical bit; a section that it needs and does not find is an error. Both are
//! found out by a trial in a process of its own, before the keeper becomes anything.

use super::bytes::{Reader, Writer};
use super::report::{read_error, read_exit, read_instance, write_error, write_exit, write_instance};
use super::{CRITICAL_TAG, DecodeError, Known, report, spec};
use crate::message::SpawnId;
use crate::state::{
    HeldFd, KeeperState, LastPing, ManagerState, NamedFd, ProgramState, RecordState, SpeakersState, StatusState,
    StoredFd,
};
use crate::{MAX_NAME, MAX_STATE, MAX_STORED_NAME, MAX_TAG, STATE_VERSION};

const MAGIC: [u8; 4] = *b"SVDS";
/// The longest argument or variable of the environment, as the kernel takes them (MAX_ARG_STRLEN).
const MAX_STRING: usize = 128 * 1024;
/// The most bytes a status pipe can have told.
const MAX_STATUS: usize = 64;

const GENERAL: u16 = CRITICAL_TAG | 1;
const PENDING: u16 = CRITICAL_TAG | 2;
const DIRTY: u16 = CRITICAL_TAG | 3;
const MANAGER: u16 = CRITICAL_TAG | 4;
const PROGRAM: u16 = CRITICAL_TAG | 5;
const UPGRADE: u16 = CRITICAL_TAG | 6;
const NAMED: u16 = CRITICAL_TAG | 7;
const RECORD: u16 = CRITICAL_TAG | 8;
const CRASHES: u16 = 9;
const STORED: u16 = 10;

/// Why bytes are no state that this build can go on with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StateError {
    /// It is not one, or was cut off or changed.
    #[error("not the state of a keeper, or a damaged one")]
    Damaged,
    /// Its encoding is not known here.
    #[error("the state has version {0} of its encoding, and this build reads version {STATE_VERSION}")]
    Version(u16),
    /// A section is missing.
    #[error("the state lacks section {0}")]
    Missing(&'static str),
    /// A section cannot be read.
    #[error("the state cannot be read: {0}")]
    Section(#[from] DecodeError),
}

/// A state as the bytes of a memfd.
pub fn encode_state(state: &KeeperState) -> Vec<u8> {
    let mut body = Writer::default();
    section(&mut body, GENERAL, |to| {
        to.array(&state.boot);
        to.i32(state.keeper_pid);
        to.u64(state.last_seq);
        to.u64(state.last_spawn.0);
        to.u64(state.orphans_reaped);
        to.u32(state.starts);
        to.option(state.last_death, write_exit);
        to.u32(state.quick_deaths);
    });
    section(&mut body, CRASHES, |to| {
        to.u32(state.crashes);
        to.bool(state.exit_without_manager);
    });
    section(&mut body, PENDING, |to| {
        to.list(&state.pending, |to, pending| {
            let mut fields = Writer::default();
            to.u16(report::encode(pending, &mut fields));
            to.bytes(&fields.into_bytes());
        });
    });
    section(&mut body, DIRTY, |to| to.list(&state.dirty, |to, spawn| to.u64(spawn.0)));
    section(&mut body, MANAGER, |to| write_manager(&state.manager, to));
    section(&mut body, PROGRAM, |to| write_program(&state.program, to));
    section(&mut body, UPGRADE, |to| to.bytes(&state.upgrade_note));
    section(&mut body, NAMED, |to| {
        to.list(&state.named, |to, named| {
            to.bytes(named.name.as_bytes());
            to.i32(named.fd);
        });
    });
    section(&mut body, STORED, |to| {
        to.list(&state.stored, |to, stored| {
            to.bytes(stored.store.as_bytes());
            to.bytes(stored.name.as_bytes());
            to.bool(stored.keep_hung);
            to.i32(stored.fd);
        });
    });
    for record in &state.records {
        section(&mut body, RECORD, |to| write_record(record, to));
    }
    sealed(&body.into_bytes())
}

/// A body with its head.
fn sealed(body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(body.len().saturating_add(16));
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&STATE_VERSION.to_le_bytes());
    bytes.extend_from_slice(&0_u16.to_le_bytes());
    bytes.extend_from_slice(&u32::try_from(body.len()).unwrap_or(u32::MAX).to_le_bytes());
    bytes.extend_from_slice(&checksum(body).to_le_bytes());
    bytes.extend_from_slice(body);
    bytes
}

/// Any bytes with a head and a checksum that are right, so that fuzzing reaches what lies behind them.
#[cfg(fuzzing)]
pub fn with_checksum(body: &[u8]) -> Vec<u8> {
    sealed(body)
}

/// The state in these bytes.
pub fn decode_state(bytes: &[u8]) -> Result<KeeperState, StateError> {
    let damaged = |_: DecodeError| StateError::Damaged;
    if bytes.len() > MAX_STATE {
        return Err(StateError::Damaged);
    }
    let mut head = Reader::new(bytes);
    if head.array::<4>().map_err(damaged)? != MAGIC {
        return Err(StateError::Damaged);
    }
    let version = head.u16().map_err(damaged)?;
    if version != STATE_VERSION {
        return Err(StateError::Version(version));
    }
    head.u16().map_err(damaged)?;
    let len = head.u32().map_err(damaged)?;
    let sum = head.u32().map_err(damaged)?;
    let body = head.take(head.left()).map_err(damaged)?;
    if usize::try_from(len) != Ok(body.len()) || checksum(body) != sum {
        return Err(StateError::Damaged);
    }
    sections(body)?.whole()
}

#[derive(Default)]
struct Parts {
    general: Option<General>,
    crashes: u32,
    exit_without_manager: bool,
    pending: Option<Vec<crate::message::Report>>,
    dirty: Option<Vec<SpawnId>>,
    manager: Option<ManagerState>,
    program: Option<ProgramState>,
    upgrade_note: Option<Vec<u8>>,
    named: Option<Vec<NamedFd>>,
    stored: Vec<StoredFd>,
    records: Vec<RecordState>,
}

struct General {
    boot: [u8; 16],
    keeper_pid: i32,
    last_seq: u64,
    last_spawn: SpawnId,
    orphans_reaped: u64,
    starts: u32,
    last_death: Option<crate::message::Exit>,
    quick_deaths: u32,
}

impl Parts {
    fn whole(self) -> Result<KeeperState, StateError> {
        let general = self.general.ok_or(StateError::Missing("general"))?;
        Ok(KeeperState {
            boot: general.boot,
            keeper_pid: general.keeper_pid,
            last_seq: general.last_seq,
            last_spawn: general.last_spawn,
            orphans_reaped: general.orphans_reaped,
            starts: general.starts,
            last_death: general.last_death,
            quick_deaths: general.quick_deaths,
            crashes: self.crashes,
            exit_without_manager: self.exit_without_manager,
            pending: self.pending.ok_or(StateError::Missing("reports"))?,
            dirty: self.dirty.ok_or(StateError::Missing("notifications"))?,
            manager: self.manager.ok_or(StateError::Missing("manager"))?,
            program: self.program.ok_or(StateError::Missing("program"))?,
            upgrade_note: self.upgrade_note.ok_or(StateError::Missing("upgrade"))?,
            named: self.named.ok_or(StateError::Missing("names"))?,
            stored: self.stored,
            records: self.records,
        })
    }
}

fn sections(body: &[u8]) -> Result<Parts, DecodeError> {
    let mut parts = Parts::default();
    let mut rest = Reader::new(body);
    while rest.left() > 0 {
        let tag = rest.u16()?;
        let len = usize::try_from(rest.u32()?).map_err(|_| DecodeError::Length)?;
        let mut from = Reader::new(rest.take(len)?);
        let from = &mut from;
        match tag {
            GENERAL => {
                parts.general = Some(General {
                    boot: from.array()?,
                    keeper_pid: from.i32()?,
                    last_seq: from.u64()?,
                    last_spawn: SpawnId(from.u64()?),
                    orphans_reaped: from.u64()?,
                    starts: from.u32()?,
                    last_death: from.option("last_death", read_exit)?,
                    quick_deaths: from.u32()?,
                });
            }
            CRASHES => {
                parts.crashes = from.u32()?;
                parts.exit_without_manager = from.bool("exit_without_manager")?;
            }
            PENDING => {
                let read = |from: &mut Reader<'_>| {
                    let kind = from.u16()?;
                    let fields = from.bytes(MAX_STATE, "report")?;
                    report::decode(kind, &mut Reader::new(&fields))
                };
                parts.pending = Some(from.list(6, read)?);
            }
            DIRTY => parts.dirty = Some(from.list(8, |from| Ok(SpawnId(from.u64()?)))?),
            MANAGER => parts.manager = Some(read_manager(from)?),
            PROGRAM => parts.program = Some(read_program(from)?),
            UPGRADE => parts.upgrade_note = Some(from.bytes(MAX_TAG, "note")?),
            NAMED => {
                let read = |from: &mut Reader<'_>| Ok(NamedFd { name: from.text(MAX_NAME, "name")?, fd: from.i32()? });
                parts.named = Some(from.list(8, read)?);
            }
            STORED => {
                let read = |from: &mut Reader<'_>| {
                    Ok(StoredFd {
                        store: from.text(MAX_NAME, "store")?,
                        name: from.text(MAX_STORED_NAME, "stored")?,
                        keep_hung: from.bool("keep_hung")?,
                        fd: from.i32()?,
                    })
                };
                parts.stored = from.list(13, read)?;
            }
            RECORD => parts.records.push(read_record(from)?),
            unknown if unknown & CRITICAL_TAG != 0 => return Err(DecodeError::UnknownField(unknown)),
            _later_and_not_needed => {}
        }
    }
    Ok(parts)
}

fn section(to: &mut Writer, tag: u16, write: impl FnOnce(&mut Writer)) {
    let mut inner = Writer::default();
    write(&mut inner);
    to.u16(tag);
    to.bytes(&inner.into_bytes());
}

fn write_status(to: &mut Writer, status: &StatusState) {
    to.i32(status.fd);
    to.bytes(&status.bytes);
}

fn read_status(from: &mut Reader<'_>) -> Result<StatusState, DecodeError> {
    Ok(StatusState { fd: from.i32()?, bytes: from.bytes(MAX_STATUS, "status pipe")? })
}

fn write_manager(manager: &ManagerState, to: &mut Writer) {
    to.i32(manager.pid);
    to.i32(manager.pidfd);
    to.i32(manager.link);
    to.option(manager.status.as_ref(), write_status);
    to.u64(manager.since);
    to.u64(manager.live_since);
    to.u64(manager.sent_through);
    let (kind, at) = match manager.ping {
        LastPing::Answered(at) => (1, at),
        LastPing::Wanted(at) => (2, at),
        LastPing::Asked(at) => (3, at),
    };
    to.u8(kind);
    to.u64(at);
    to.bool(manager.watch);
    to.u64(manager.features);
}

fn read_manager(from: &mut Reader<'_>) -> Result<ManagerState, DecodeError> {
    Ok(ManagerState {
        pid: from.i32()?,
        pidfd: from.i32()?,
        link: from.i32()?,
        status: from.option("status", read_status)?,
        since: from.u64()?,
        live_since: from.u64()?,
        sent_through: from.u64()?,
        ping: match (from.u8()?, from.u64()?) {
            (1, at) => LastPing::Answered(at),
            (2, at) => LastPing::Wanted(at),
            (3, at) => LastPing::Asked(at),
            _ => return Err(DecodeError::Value("ping")),
        },
        watch: from.bool("watch")?,
        features: from.u64()?,
    })
}

fn write_program(program: &ProgramState, to: &mut Writer) {
    to.i32(program.current);
    to.option(program.previous, Writer::i32);
    to.list(&program.args, |to, arg| to.bytes(arg));
    to.list(&program.env, |to, entry| to.bytes(entry));
    to.option(program.nofile, |to, (soft, hard)| {
        to.u64(soft);
        to.u64(hard);
    });
    to.option(program.oom, Writer::i32);
}

fn read_program(from: &mut Reader<'_>) -> Result<ProgramState, DecodeError> {
    Ok(ProgramState {
        current: from.i32()?,
        previous: from.option("previous", Reader::i32)?,
        args: from.list(4, |from| from.bytes(MAX_STRING, "argument"))?,
        env: from.list(4, |from| from.bytes(MAX_STRING, "variable"))?,
        nofile: from.option("nofile", |from| Ok((from.u64()?, from.u64()?)))?,
        oom: from.option("oom", Reader::i32)?,
    })
}

fn write_record(record: &RecordState, to: &mut Writer) {
    // With a length of its own: a later build may append to it.
    let mut instance = Writer::default();
    write_instance(&record.instance, &mut instance);
    to.bytes(&instance.into_bytes());
    to.option(record.failure, write_error);
    to.u64(record.last_seq);
    to.bool(record.is_forgotten);
    to.option(record.pidfd, Writer::i32);
    to.option(record.status.as_ref(), write_status);
    to.list(&record.held, |to, held| {
        spec::write_role(held.role, to);
        to.i32(held.fd);
    });
    to.option(record.speakers.as_ref(), |to, speakers| {
        to.u32(speakers.service);
        to.u32(speakers.keeper);
    });
    to.tagged(RECORD_STORE, record.store.as_ref(), spec::write_store);
    to.tagged(RECORD_NAMED, record.named, Writer::i32);
    to.tagged(RECORD_SESSION, record.speakers.as_ref(), |to, speakers| {
        to.i32(speakers.session);
        to.option(speakers.mark.as_ref(), |to, mark| to.bytes(mark.as_bytes()));
    });
}

/// Tags of what was added to a record.
const RECORD_STORE: u16 = 1;
const RECORD_NAMED: u16 = 2;
const RECORD_SESSION: u16 = 3;

fn read_record(from: &mut Reader<'_>) -> Result<RecordState, DecodeError> {
    let mut record = RecordState {
        instance: read_instance(&mut Reader::new(&from.bytes(MAX_STATE, "instance")?))?,
        failure: from.option("failure", read_error)?,
        last_seq: from.u64()?,
        is_forgotten: from.bool("is_forgotten")?,
        pidfd: from.option("pidfd", Reader::i32)?,
        status: from.option("status", read_status)?,
        held: from.list(5, |from| Ok(HeldFd { role: spec::read_role(from)?, fd: from.i32()? }))?,
        speakers: from.option("speakers", |from| {
            Ok(SpeakersState { service: from.u32()?, keeper: from.u32()?, session: 0, mark: None })
        })?,
        store: None,
        named: None,
    };
    super::tail(from, |tag, field| {
        match (tag, &mut record.speakers) {
            (RECORD_STORE, _) => record.store = Some(spec::read_store(field)?),
            (RECORD_NAMED, _) => record.named = Some(field.i32()?),
            (RECORD_SESSION, Some(speakers)) => {
                speakers.session = field.i32()?;
                speakers.mark = field.option("mark", |field| field.text(MAX_STRING, "mark"))?;
            }
            _ => return Ok(Known::No),
        }
        Ok(Known::Yes)
    })?;
    Ok(record)
}

/// CRC-32 as in ISO-HDLC (reflected 0x04C11DB7).
fn checksum(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            let low = crc & 1;
            crc >>= 1;
            if low == 1 {
                crc ^= 0xEDB8_8320;
            }
        }
    }
    !crc
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{Exit, Instance, Life, NotifyState, Report, Stamp};
    use crate::spec::FdRole;

    fn state() -> KeeperState {
        let at = Stamp { boot_ns: 1, real_ns: 2 };
        let instance = Instance {
            spawn: SpawnId(7),
            tag: b"tag".to_vec(),
            note: b"note".to_vec(),
            life: Life::Running { pid: 42, at },
            pidfd: true,
            held: vec![FdRole::Stdout, FdRole::Notify],
            last_signal: None,
            notify: NotifyState { status: "well".into(), ..NotifyState::default() },
        };
        KeeperState {
            boot: [3; 16],
            keeper_pid: 1,
            last_seq: 9,
            pending: vec![
                Report::SignalReceived { seq: 8, signal: 1 },
                Report::Spawned { seq: 9, spawn: SpawnId(7), pid: 42, at },
            ],
            dirty: vec![SpawnId(7)],
            last_spawn: SpawnId(7),
            orphans_reaped: 5,
            starts: 2,
            last_death: Some(Exit::Signal { signal: 9, core: false }),
            quick_deaths: 1,
            crashes: 3,
            exit_without_manager: true,
            manager: ManagerState {
                pid: 43,
                pidfd: 10,
                link: 11,
                status: Some(StatusState { fd: 12, bytes: b"x".to_vec() }),
                since: 1,
                live_since: 2,
                sent_through: 8,
                ping: LastPing::Asked(4),
                watch: true,
                features: 1,
            },
            program: ProgramState {
                current: 13,
                previous: Some(14),
                args: vec![b"run".to_vec()],
                env: vec![b"A=b".to_vec()],
                nofile: Some((1024, u64::MAX)),
                oom: Some(0),
            },
            upgrade_note: b"5".to_vec(),
            named: vec![NamedFd { name: "control".into(), fd: 15 }],
            records: vec![RecordState {
                instance,
                failure: None,
                last_seq: 9,
                is_forgotten: false,
                pidfd: Some(16),
                status: None,
                held: vec![HeldFd { role: FdRole::Stdout, fd: 17 }, HeldFd { role: FdRole::Notify, fd: 18 }],
                speakers: Some(SpeakersState { service: 1000, keeper: 0, session: 42, mark: Some("m".into()) }),
                store: Some(crate::StoreSpec { name: "web.1".into(), limit: 4, first: 3 }),
                named: Some(19),
            }],
            stored: vec![StoredFd { store: "web.1".into(), name: "a".into(), keep_hung: true, fd: 20 }],
        }
    }

    const VERSION_1: &[&str] = &[
        "53564453010000000e020000e8c28e3d01803b00000003030303030303030303030303030303010000000900000000000000",
        "0700000000000000050000000000000002000000010209000000000100000009000500000003000000010280400000000200",
        "000009000c000000080000000000000001000000050024000000090000000000000007000000000000002a00000001000000",
        "00000000020000000000000003800c0000000100000007000000000000000480400000002b0000000a0000000b000000010c",
        "0000000100000078010000000000000002000000000000000800000000000000030400000000000000010100000000000000",
        "0580350000000d000000010e000000010000000300000072756e0100000003000000413d62010004000000000000ffffffff",
        "ffffffff010000000006800500000001000000350780130000000100000007000000636f6e74726f6c0f0000000a00170000",
        "0001000000050000007765622e31010000006101140000000880a20000004600000007000000000000000300000074616704",
        "0000006e6f7465022a00000001000000000000000200000000000000010200000002050000000400000077656c6c00000000",
        "0000000000090000000000000000011000000000020000000211000000051200000001e80300000000000001001100000005",
        "0000007765622e3104000000030000000200040000001300000003000a0000002a00000001010000006d",
    ];

    fn with_section(tag: u16) -> Vec<u8> {
        let plain = encode_state(&state());
        let mut body = plain[16..].to_vec();
        body.extend_from_slice(&tag.to_le_bytes());
        body.extend_from_slice(&3_u32.to_le_bytes());
        body.extend_from_slice(b"new");
        let mut bytes = plain[..8].to_vec();
        bytes.extend_from_slice(&u32::try_from(body.len()).unwrap().to_le_bytes());
        bytes.extend_from_slice(&checksum(&body).to_le_bytes());
        bytes.extend_from_slice(&body);
        bytes
    }

    #[test]
    fn a_state_is_read_as_it_was_written() {
        assert_eq!(decode_state(&encode_state(&state())).unwrap(), state());
    }

    /// Keepers in the field write it like this, and go on as builds that read it. A change needs a section that may be missing
    /// and skipped, or another version: never another line here.
    #[test]
    fn the_bytes_of_version_1_are_what_they_were() {
        let hex: String = encode_state(&state()).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, VERSION_1.concat());
    }

    #[test]
    fn what_a_later_build_adds_is_skipped_unless_it_is_critical() {
        assert_eq!(decode_state(&with_section(99)).unwrap(), state());
        let critical = CRITICAL_TAG | 99;
        assert_eq!(decode_state(&with_section(critical)), Err(DecodeError::UnknownField(critical).into()));
    }

    /// Fault 54.
    #[test]
    fn another_version_is_refused_by_its_number() {
        let mut bytes = encode_state(&state());
        bytes[4] = 9;
        assert_eq!(decode_state(&bytes), Err(StateError::Version(9)));
    }

    /// Fault 52.
    #[test]
    fn a_state_that_was_cut_or_changed_anywhere_is_refused() {
        let bytes = encode_state(&state());
        for at in 0..bytes.len() {
            assert!(decode_state(&bytes[..at]).is_err(), "cut at {at}");
            let mut changed = bytes.clone();
            changed[at] ^= 0x10;
            // The two reserved bytes of the head are for later.
            assert!((6..8).contains(&at) || decode_state(&changed).is_err(), "changed at {at}");
        }
    }

    #[test]
    fn the_checksum_is_the_usual_one() {
        assert_eq!(checksum(b"123456789"), 0xCBF4_3926);
    }
}
