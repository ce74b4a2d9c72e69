//! A spawn spec as bytes: within a message, or alone in a memfd.

use super::bytes::{Reader, Writer};
use super::{DecodeError, Known};
use crate::spec::{Credentials, FdRole, Rlimit, SpawnSpec, SpecError, StoreSpec};
use crate::{MAX_FDS, MAX_NAME, MAX_STORED, MAX_TAG};
use std::collections::HashSet;

/// The largest string in a spec; the kernel takes 128 KiB each (MAX_ARG_STRLEN).
const MAX_STRING: usize = 128 * 1024;

/// Tag of the store.
const STORE: u16 = 1;

/// A spec as the bytes of a memfd.
pub fn encode_spec(spec: &SpawnSpec) -> Vec<u8> {
    let mut writer = Writer::default();
    write(spec, &mut writer);
    writer.into_bytes()
}

/// The spec in the bytes of a memfd.
pub fn decode_spec(bytes: &[u8]) -> Result<SpawnSpec, DecodeError> {
    let mut reader = Reader::new(bytes);
    let spec = read(&mut reader)?;
    super::skip_tail(&mut reader)?;
    Ok(spec)
}

impl SpawnSpec {
    /// Whether the spec can be started as it is: what the types do not say.
    pub fn check(&self) -> Result<(), SpecError> {
        for (name, path) in [("path", &self.path), ("cwd", &self.cwd)] {
            if path.first() != Some(&b'/') {
                return Err(SpecError::Relative(name));
            }
        }
        if self.argv.is_empty() {
            return Err(SpecError::NoArgument);
        }
        let strings = [("path", &self.path), ("cwd", &self.cwd)]
            .into_iter()
            .chain(self.argv.iter().map(|arg| ("argv", arg)))
            .chain(self.env.iter().map(|entry| ("env", entry)));
        for (name, string) in strings {
            if string.contains(&0) {
                return Err(SpecError::Nul(name));
            }
            if string.len() > MAX_STRING {
                return Err(SpecError::TooLarge(name));
            }
        }
        if self.tag.len() > MAX_TAG {
            return Err(SpecError::TooLarge("tag"));
        }
        if self.store.as_ref().is_some_and(|store| store.limit > MAX_STORED || store.name.len() > MAX_NAME) {
            return Err(SpecError::TooLarge("store"));
        }
        if self.fds.len() >= MAX_FDS {
            return Err(SpecError::TooLarge("fds"));
        }
        let mut roles = HashSet::new();
        match self.fds.iter().find(|role| !roles.insert(**role)) {
            Some(twice) => Err(SpecError::RoleTwice(*twice)),
            None => Ok(()),
        }
    }
}

pub(super) fn write(spec: &SpawnSpec, to: &mut Writer) {
    to.bytes(&spec.tag);
    to.bytes(&spec.path);
    to.list(&spec.argv, |to, arg| to.bytes(arg));
    to.list(&spec.env, |to, entry| to.bytes(entry));
    to.bytes(&spec.cwd);
    to.option(spec.umask, Writer::u32);
    to.option(spec.nice, Writer::i32);
    to.option(spec.oom_score_adj, Writer::i32);
    to.option(spec.credentials.as_ref(), |to, who| {
        to.u32(who.uid);
        to.u32(who.gid);
        to.list(&who.groups, |to, group| to.u32(*group));
    });
    to.list(&spec.rlimits, |to, limit| {
        to.u32(limit.resource);
        to.u64(limit.soft);
        to.u64(limit.hard);
    });
    to.list(&spec.fds, |to, role| write_role(*role, to));
    to.tagged(STORE, spec.store.as_ref(), write_store);
}

pub(super) fn write_store(to: &mut Writer, store: &StoreSpec) {
    to.bytes(store.name.as_bytes());
    to.u32(store.limit);
    to.u32(store.first);
}

pub(super) fn read_store(from: &mut Reader<'_>) -> Result<StoreSpec, DecodeError> {
    let store = StoreSpec { name: from.text(MAX_NAME, "store")?, limit: from.u32()?, first: from.u32()? };
    if store.limit > MAX_STORED { Err(DecodeError::Value("store")) } else { Ok(store) }
}

pub(super) fn read(from: &mut Reader<'_>) -> Result<SpawnSpec, DecodeError> {
    let mut spec = SpawnSpec {
        tag: from.bytes(MAX_TAG, "tag")?,
        path: from.bytes(MAX_STRING, "path")?,
        argv: from.list(4, |from| from.bytes(MAX_STRING, "argv"))?,
        env: from.list(4, |from| from.bytes(MAX_STRING, "env"))?,
        cwd: from.bytes(MAX_STRING, "cwd")?,
        umask: from.option("umask", Reader::u32)?,
        nice: from.option("nice", Reader::i32)?,
        oom_score_adj: from.option("oom_score_adj", Reader::i32)?,
        credentials: from.option("credentials", |from| {
            Ok(Credentials { uid: from.u32()?, gid: from.u32()?, groups: from.list(4, Reader::u32)? })
        })?,
        rlimits: from.list(20, |from| Ok(Rlimit { resource: from.u32()?, soft: from.u64()?, hard: from.u64()? }))?,
        fds: from.list(1, read_role)?,
        store: None,
    };
    // A spec is the last that a message has, so the tail of the message is its own.
    super::tail(from, |tag, field| {
        if tag != STORE {
            return Ok(Known::No);
        }
        spec.store = Some(read_store(field)?);
        Ok(Known::Yes)
    })?;
    Ok(spec)
}

pub(super) fn write_role(role: FdRole, to: &mut Writer) {
    match role {
        FdRole::Child(number) => {
            to.u8(1);
            to.u32(number);
        }
        FdRole::Stdout => to.u8(2),
        FdRole::Stderr => to.u8(3),
        FdRole::Ready => to.u8(4),
        FdRole::Notify => to.u8(5),
        FdRole::Intercept => to.u8(6),
        FdRole::Filter => to.u8(7),
    }
}

pub(super) fn read_role(from: &mut Reader<'_>) -> Result<FdRole, DecodeError> {
    match from.u8()? {
        1 => Ok(FdRole::Child(from.u32()?)),
        2 => Ok(FdRole::Stdout),
        3 => Ok(FdRole::Stderr),
        4 => Ok(FdRole::Ready),
        5 => Ok(FdRole::Notify),
        6 => Ok(FdRole::Intercept),
        7 => Ok(FdRole::Filter),
        _ => Err(DecodeError::Value("role")),
    }
}
