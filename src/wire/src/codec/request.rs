//! Requests field by field. The numbers of the kinds are for ever.

use super::DecodeError;
use super::bytes::{Reader, Writer};
use super::spec;
use crate::message::{Request, SpawnId};
use crate::{MAX_HOST_STATE, MAX_NAME, MAX_TAG};

/// The longest build string in bytes.
pub(super) const MAX_BUILD: usize = 256;

pub(super) fn encode(request: &Request, to: &mut Writer) -> u16 {
    match request {
        Request::Hello { min, max, features, build } => {
            to.u16(*min);
            to.u16(*max);
            to.u64(*features);
            to.bytes(build.as_bytes());
            1
        }
        Request::Ready => 2,
        Request::Spawn { spawn, spec } => {
            to.u64(spawn.0);
            spec::write(spec, to);
            3
        }
        Request::SpawnMemfd { spawn, len } => {
            to.u64(spawn.0);
            to.u32(*len);
            4
        }
        Request::Signal { spawn, signal } => {
            to.u64(spawn.0);
            to.i32(*signal);
            5
        }
        Request::Ack { through } => {
            to.u64(*through);
            6
        }
        Request::Annotate { spawn, note } => {
            to.u64(spawn.0);
            to.bytes(note);
            7
        }
        Request::Release { spawn, role } => {
            to.u64(spawn.0);
            spec::write_role(*role, to);
            8
        }
        Request::Forget { spawn } => {
            to.u64(spawn.0);
            9
        }
        Request::Hold { name } => {
            to.bytes(name.as_bytes());
            10
        }
        Request::Drop { name } => {
            to.bytes(name.as_bytes());
            11
        }
        Request::Watch { on } => {
            to.bool(*on);
            12
        }
        Request::Pong => 13,
        Request::Exit { code } => {
            to.u8(*code);
            14
        }
        Request::Recall { spawn } => {
            to.u64(spawn.0);
            20
        }
        Request::Empty { store } => {
            to.bytes(store.as_bytes());
            21
        }
        Request::UpgradeManager { note } => {
            to.bytes(note);
            15
        }
        Request::UpgradeKeeper { note } => {
            to.bytes(note);
            16
        }
        Request::UpgradeSeen => 17,
        Request::TellHost { state, attach } => {
            to.bytes(state.as_bytes());
            to.option(attach.as_ref(), |to, name| to.bytes(name.as_bytes()));
            32
        }
        Request::WithoutManager { exit } => {
            to.bool(*exit);
            18
        }
    }
}

pub(super) fn decode(kind: u16, from: &mut Reader<'_>) -> Result<Request, DecodeError> {
    Ok(match kind {
        1 => Request::Hello {
            min: from.u16()?,
            max: from.u16()?,
            features: from.u64()?,
            build: from.text(MAX_BUILD, "build")?,
        },
        2 => Request::Ready,
        3 => Request::Spawn { spawn: SpawnId(from.u64()?), spec: Box::new(spec::read(from)?) },
        4 => Request::SpawnMemfd { spawn: SpawnId(from.u64()?), len: from.u32()? },
        5 => Request::Signal { spawn: SpawnId(from.u64()?), signal: signal(from)? },
        6 => Request::Ack { through: from.u64()? },
        7 => Request::Annotate { spawn: SpawnId(from.u64()?), note: from.bytes(MAX_TAG, "note")? },
        8 => Request::Release { spawn: SpawnId(from.u64()?), role: spec::read_role(from)? },
        9 => Request::Forget { spawn: SpawnId(from.u64()?) },
        10 => Request::Hold { name: name(from)? },
        11 => Request::Drop { name: name(from)? },
        12 => Request::Watch { on: from.bool("on")? },
        13 => Request::Pong,
        14 => Request::Exit { code: from.u8()? },
        20 => Request::Recall { spawn: SpawnId(from.u64()?) },
        21 => Request::Empty { store: name(from)? },
        15 => Request::UpgradeManager { note: from.bytes(MAX_TAG, "note")? },
        16 => Request::UpgradeKeeper { note: from.bytes(MAX_TAG, "note")? },
        17 => Request::UpgradeSeen,
        32 => Request::TellHost { state: from.text(MAX_HOST_STATE, "state")?, attach: from.option("attach", name)? },
        18 => Request::WithoutManager { exit: from.bool("exit")? },
        other => return Err(DecodeError::UnknownKind(other)),
    })
}

fn signal(from: &mut Reader<'_>) -> Result<i32, DecodeError> {
    let signal = from.i32()?;
    if (1..=64).contains(&signal) { Ok(signal) } else { Err(DecodeError::Value("signal")) }
}

pub(super) fn name(from: &mut Reader<'_>) -> Result<String, DecodeError> {
    let name = from.text(MAX_NAME, "name")?;
    if name.is_empty() { Err(DecodeError::Value("name")) } else { Ok(name) }
}
