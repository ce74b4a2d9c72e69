//! Reports field by field. The numbers of the kinds are for ever.

use super::bytes::{Reader, Writer};
use super::request::{MAX_BUILD, name};
use super::{DecodeError, Known, spec};
use crate::message::{
    Exit, Extended, Instance, Life, NotifyState, Reloading, Report, Rusage, SignalSent, SpawnError, SpawnId, Stage,
    Stamp, UpgradeOutcome,
};
use crate::{MAX_STORED_NAME, MAX_TAG};

/// The longest reason of a refused upgrade in bytes.
const MAX_WHY: usize = 4096;
/// The longest status text in bytes.
const MAX_STATUS: usize = 512;

pub(super) fn encode(report: &Report, to: &mut Writer) -> u16 {
    match report {
        Report::Welcome {
            version,
            features,
            build,
            boot,
            keeper_pid,
            manager_starts,
            last_death,
            last_spawn,
            orphans_reaped,
        } => {
            to.u16(*version);
            to.u64(*features);
            to.bytes(build.as_bytes());
            to.array(boot);
            to.i32(*keeper_pid);
            to.u32(*manager_starts);
            to.option(*last_death, write_exit);
            to.u64(last_spawn.0);
            to.u64(*orphans_reaped);
            1
        }
        Report::Held { name } => {
            to.bytes(name.as_bytes());
            2
        }
        Report::Instance(instance) => {
            write_instance(instance, to);
            3
        }
        Report::InventoryEnd { instances, held } => {
            to.u32(*instances);
            to.u32(*held);
            4
        }
        Report::Spawned { seq, spawn, pid, at } => {
            to.u64(*seq);
            to.u64(spawn.0);
            to.i32(*pid);
            write_stamp(to, *at);
            5
        }
        Report::SpawnFailed { seq, spawn, error, at } => {
            to.u64(*seq);
            to.u64(spawn.0);
            write_error(to, *error);
            write_stamp(to, *at);
            6
        }
        Report::Exited { seq, spawn, pid, exit, before_exec, rusage, started, at } => {
            to.u64(*seq);
            to.u64(spawn.0);
            to.i32(*pid);
            write_exit(to, *exit);
            to.bool(*before_exec);
            to.u64(rusage.user_us);
            to.u64(rusage.system_us);
            to.u64(rusage.max_rss);
            write_stamp(to, *started);
            write_stamp(to, *at);
            7
        }
        Report::Notified { spawn, state } => {
            to.u64(spawn.0);
            write_notify(state, to);
            8
        }
        Report::SignalReceived { seq, signal } => {
            to.u64(*seq);
            to.i32(*signal);
            9
        }
        Report::Ping => 10,
        Report::Upgraded { note, outcome, build } => {
            to.bytes(note);
            write_outcome(to, outcome);
            to.bytes(build.as_bytes());
            11
        }
    }
}

pub(super) fn decode(kind: u16, from: &mut Reader<'_>) -> Result<Report, DecodeError> {
    Ok(match kind {
        1 => Report::Welcome {
            version: from.u16()?,
            features: from.u64()?,
            build: from.text(MAX_BUILD, "build")?,
            boot: from.array()?,
            keeper_pid: from.i32()?,
            manager_starts: from.u32()?,
            last_death: from.option("last_death", read_exit)?,
            last_spawn: SpawnId(from.u64()?),
            orphans_reaped: from.u64()?,
        },
        2 => Report::Held { name: name(from)? },
        3 => Report::Instance(Box::new(read_instance(from)?)),
        4 => Report::InventoryEnd { instances: from.u32()?, held: from.u32()? },
        5 => Report::Spawned { seq: from.u64()?, spawn: SpawnId(from.u64()?), pid: from.i32()?, at: read_stamp(from)? },
        6 => Report::SpawnFailed {
            seq: from.u64()?,
            spawn: SpawnId(from.u64()?),
            error: read_error(from)?,
            at: read_stamp(from)?,
        },
        7 => Report::Exited {
            seq: from.u64()?,
            spawn: SpawnId(from.u64()?),
            pid: from.i32()?,
            exit: read_exit(from)?,
            before_exec: from.bool("before_exec")?,
            rusage: Rusage { user_us: from.u64()?, system_us: from.u64()?, max_rss: from.u64()? },
            started: read_stamp(from)?,
            at: read_stamp(from)?,
        },
        8 => Report::Notified { spawn: SpawnId(from.u64()?), state: read_notify(from)? },
        9 => Report::SignalReceived { seq: from.u64()?, signal: from.i32()? },
        10 => Report::Ping,
        11 => Report::Upgraded {
            note: from.bytes(MAX_TAG, "note")?,
            outcome: read_outcome(from)?,
            build: from.text(MAX_BUILD, "build")?,
        },
        other => return Err(DecodeError::UnknownKind(other)),
    })
}

fn write_outcome(to: &mut Writer, outcome: &UpgradeOutcome) {
    match outcome {
        UpgradeOutcome::ManagerRuns => to.u8(1),
        UpgradeOutcome::ManagerRefused { why } => {
            to.u8(2);
            to.bytes(why.as_bytes());
        }
        UpgradeOutcome::KeeperRuns => to.u8(3),
        UpgradeOutcome::KeeperRefused { why } => {
            to.u8(4);
            to.bytes(why.as_bytes());
        }
        UpgradeOutcome::UnderWay => to.u8(5),
        UpgradeOutcome::Nothing => to.u8(6),
    }
}

fn read_outcome(from: &mut Reader<'_>) -> Result<UpgradeOutcome, DecodeError> {
    match from.u8()? {
        1 => Ok(UpgradeOutcome::ManagerRuns),
        2 => Ok(UpgradeOutcome::ManagerRefused { why: from.text(MAX_WHY, "why")? }),
        3 => Ok(UpgradeOutcome::KeeperRuns),
        4 => Ok(UpgradeOutcome::KeeperRefused { why: from.text(MAX_WHY, "why")? }),
        5 => Ok(UpgradeOutcome::UnderWay),
        6 => Ok(UpgradeOutcome::Nothing),
        _ => Err(DecodeError::Value("outcome")),
    }
}

pub(super) fn write_stamp(to: &mut Writer, stamp: Stamp) {
    to.u64(stamp.boot_ns);
    to.u64(stamp.real_ns);
}

pub(super) fn read_stamp(from: &mut Reader<'_>) -> Result<Stamp, DecodeError> {
    Ok(Stamp { boot_ns: from.u64()?, real_ns: from.u64()? })
}

pub(super) fn write_exit(to: &mut Writer, exit: Exit) {
    match exit {
        Exit::Code(code) => {
            to.u8(1);
            to.u8(code);
        }
        Exit::Signal { signal, core } => {
            to.u8(2);
            to.i32(signal);
            to.bool(core);
        }
        Exit::Unknown => to.u8(3),
    }
}

pub(super) fn read_exit(from: &mut Reader<'_>) -> Result<Exit, DecodeError> {
    match from.u8()? {
        1 => Ok(Exit::Code(from.u8()?)),
        2 => Ok(Exit::Signal { signal: from.i32()?, core: from.bool("core")? }),
        3 => Ok(Exit::Unknown),
        _ => Err(DecodeError::Value("exit")),
    }
}

pub(super) fn write_error(to: &mut Writer, error: SpawnError) {
    to.u8(match error.stage {
        Stage::Fork => 1,
        Stage::Session => 2,
        Stage::Limits => 3,
        Stage::Credentials => 4,
        Stage::Directory => 5,
        Stage::Descriptors => 6,
        Stage::Exec => 7,
    });
    to.i32(error.errno);
}

pub(super) fn read_error(from: &mut Reader<'_>) -> Result<SpawnError, DecodeError> {
    let stage = match from.u8()? {
        1 => Stage::Fork,
        2 => Stage::Session,
        3 => Stage::Limits,
        4 => Stage::Credentials,
        5 => Stage::Directory,
        6 => Stage::Descriptors,
        7 => Stage::Exec,
        _ => return Err(DecodeError::Value("stage")),
    };
    Ok(SpawnError { stage, errno: from.i32()? })
}

fn write_notify(state: &NotifyState, to: &mut Writer) {
    to.option(state.ready, write_stamp);
    to.bool(state.stopping);
    to.bytes(state.status.as_bytes());
    to.u64(state.dropped);
    // It is the last that a message has, so the tail of the message is its own.
    to.tagged(HEARD, state.heard, write_stamp);
    to.tagged(RELOADING, state.reloading, |to, reloading| {
        write_stamp(to, reloading.at);
        to.option(reloading.since_us, Writer::u64);
    });
    to.tagged(RELOADED, state.reloaded, write_stamp);
    to.tagged(WATCHDOG, state.watchdog_us, Writer::u64);
    to.tagged(TRIGGER, state.trigger, write_stamp);
    to.tagged(EXTENDED, state.extended, |to, extended| {
        write_stamp(to, extended.at);
        to.u64(extended.until_ns);
    });
    to.tagged(ERRNO, state.errno, Writer::i32);
    to.tagged(EXIT_STATUS, state.exit_status, Writer::i32);
    to.tagged(MAIN, state.main, Writer::i32);
    to.tagged(STORED, Some(&state.stored).filter(|stored| !stored.is_empty()), |to, stored| {
        to.list(stored, |to, name| to.bytes(name.as_bytes()));
    });
    to.tagged(REFUSED, Some(state.refused).filter(|refused| *refused > 0), Writer::u64);
}

/// Tags of what a service said.
const HEARD: u16 = 1;
const RELOADING: u16 = 2;
const RELOADED: u16 = 3;
const WATCHDOG: u16 = 4;
const TRIGGER: u16 = 5;
const EXTENDED: u16 = 6;
const ERRNO: u16 = 7;
const EXIT_STATUS: u16 = 8;
const MAIN: u16 = 9;
const STORED: u16 = 10;
const REFUSED: u16 = 11;

fn read_notify(from: &mut Reader<'_>) -> Result<NotifyState, DecodeError> {
    let mut state = NotifyState {
        ready: from.option("ready", read_stamp)?,
        stopping: from.bool("stopping")?,
        status: from.text(MAX_STATUS, "status")?,
        dropped: from.u64()?,
        ..NotifyState::default()
    };
    super::tail(from, |tag, field| {
        match tag {
            HEARD => state.heard = Some(read_stamp(field)?),
            RELOADING => {
                let (at, since_us) = (read_stamp(field)?, field.option("reloading", Reader::u64)?);
                state.reloading = Some(Reloading { at, since_us });
            }
            RELOADED => state.reloaded = Some(read_stamp(field)?),
            WATCHDOG => state.watchdog_us = Some(field.u64()?),
            TRIGGER => state.trigger = Some(read_stamp(field)?),
            EXTENDED => state.extended = Some(Extended { at: read_stamp(field)?, until_ns: field.u64()? }),
            ERRNO => state.errno = Some(field.i32()?),
            EXIT_STATUS => state.exit_status = Some(field.i32()?),
            MAIN => state.main = Some(field.i32()?),
            STORED => state.stored = field.list(4, |field| field.text(MAX_STORED_NAME, "stored"))?,
            REFUSED => state.refused = field.u64()?,
            _ => return Ok(Known::No),
        }
        Ok(Known::Yes)
    })?;
    Ok(state)
}

pub(super) fn write_instance(instance: &Instance, to: &mut Writer) {
    to.u64(instance.spawn.0);
    to.bytes(&instance.tag);
    to.bytes(&instance.note);
    match instance.life {
        Life::Forked { pid, at } => {
            to.u8(1);
            to.i32(pid);
            write_stamp(to, at);
        }
        Life::Running { pid, at } => {
            to.u8(2);
            to.i32(pid);
            write_stamp(to, at);
        }
        Life::Failed { error, at } => {
            to.u8(3);
            write_error(to, error);
            write_stamp(to, at);
        }
        Life::Exited { pid, exit, before_exec, started, at } => {
            to.u8(4);
            to.i32(pid);
            write_exit(to, exit);
            to.bool(before_exec);
            write_stamp(to, started);
            write_stamp(to, at);
        }
    }
    to.bool(instance.pidfd);
    to.list(&instance.held, |to, role| spec::write_role(*role, to));
    to.option(instance.last_signal, |to, sent| {
        to.i32(sent.signal);
        write_stamp(to, sent.at);
    });
    write_notify(&instance.notify, to);
}

pub(super) fn read_instance(from: &mut Reader<'_>) -> Result<Instance, DecodeError> {
    Ok(Instance {
        spawn: SpawnId(from.u64()?),
        tag: from.bytes(MAX_TAG, "tag")?,
        note: from.bytes(MAX_TAG, "note")?,
        life: match from.u8()? {
            1 => Life::Forked { pid: from.i32()?, at: read_stamp(from)? },
            2 => Life::Running { pid: from.i32()?, at: read_stamp(from)? },
            3 => Life::Failed { error: read_error(from)?, at: read_stamp(from)? },
            4 => Life::Exited {
                pid: from.i32()?,
                exit: read_exit(from)?,
                before_exec: from.bool("before_exec")?,
                started: read_stamp(from)?,
                at: read_stamp(from)?,
            },
            _ => return Err(DecodeError::Value("life")),
        },
        pidfd: from.bool("pidfd")?,
        held: from.list(1, spec::read_role)?,
        last_signal: from
            .option("last_signal", |from| Ok(SignalSent { signal: from.i32()?, at: read_stamp(from)? }))?,
        notify: read_notify(from)?,
    })
}
