//! What a manager writes on a spawn, for its successor to read: which instance it is of and what it went through.
//!
//! The keeper stores it without looking. It is JSON, so that a later version can add to it and an earlier one passes
//! over what it does not know.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use svd_core::{InstanceName, Lineage, Note, Origin, Slot, SpawnId, Time};

/// What a spawn is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// It is an instance.
    Instance(Lineage),
    /// It finds out whether this spawn is ready (`ready = { run = … }`).
    Probe(SpawnId),
}

/// What is written on a spawn when it is started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tag {
    /// The instance it is, or is for.
    pub instance: InstanceName,
    /// What for.
    pub purpose: Purpose,
    /// Value of the variable that marks every process of this spawn.
    pub cookie: String,
    /// The addresses of the listeners that it was given, as keys of its process have them. `None` where that was not
    /// written down: by an earlier version, or for want of room.
    pub listens: Option<BTreeSet<String>>,
}

/// So many of the last restarts go into a tag, which has a bound ([`svd_wire::MAX_TAG`]). Only a successor reads them: a
/// limit that counts more is more patient after a manager's death.
const RECENT: usize = 150;

#[derive(Serialize, Deserialize)]
struct TagText {
    process: String,
    index: u32,
    cookie: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    probe: Option<u64>,
    #[serde(default)]
    generation: u64,
    #[serde(default)]
    restarts: u32,
    #[serde(default)]
    failures: u32,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    recent: Vec<u64>,
    #[serde(default)]
    slot: u8,
    #[serde(default)]
    beside: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    listens: Option<BTreeSet<String>>,
}

#[derive(Default, Serialize, Deserialize)]
struct NoteText {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ready: Option<u64>,
    #[serde(default)]
    swept: bool,
    #[serde(default)]
    asked: bool,
    #[serde(default)]
    late: bool,
    #[serde(default)]
    promoted: bool,
    #[serde(default)]
    replaced: bool,
    #[serde(default)]
    quiet: bool,
    #[serde(default)]
    hung: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    draining: Option<u64>,
}

impl Tag {
    /// As bytes for the spawn's tag.
    pub fn encode(&self) -> Vec<u8> {
        let (lineage, probe) = match &self.purpose {
            Purpose::Instance(lineage) => (lineage.clone(), None),
            Purpose::Probe(spawn) => (Lineage::default(), Some(spawn.0)),
        };
        let mut text = TagText {
            process: self.instance.process.to_string(),
            index: self.instance.index,
            cookie: self.cookie.clone(),
            probe,
            generation: lineage.generation,
            restarts: lineage.restarts,
            failures: lineage.failures,
            recent: lineage.recent.iter().skip(lineage.recent.len().saturating_sub(RECENT)).map(|t| t.0).collect(),
            slot: lineage.slot.0,
            beside: lineage.origin == Origin::Beside,
            listens: self.listens.clone(),
        };
        // Plain strings and numbers always serialize.
        let bytes = serde_json::to_vec(&text).unwrap_or_default();
        let over = bytes.len().saturating_sub(svd_wire::MAX_TAG);
        if over == 0 {
            return bytes;
        }
        // Listeners matter more than old restarts: each of these has at least two characters here.
        text.recent.drain(..over.div_ceil(2).min(text.recent.len()));
        let bytes = serde_json::to_vec(&text).unwrap_or_default();
        if bytes.len() <= svd_wire::MAX_TAG {
            return bytes;
        }
        text.listens = None;
        serde_json::to_vec(&text).unwrap_or_default()
    }

    /// Reads what an earlier manager wrote; `None` where it is not ours.
    pub fn decode(bytes: &[u8]) -> Option<Tag> {
        let text: TagText = serde_json::from_slice(bytes).ok()?;
        let purpose = match text.probe {
            Some(spawn) => Purpose::Probe(SpawnId(spawn)),
            None => Purpose::Instance(Lineage {
                generation: text.generation,
                restarts: text.restarts,
                failures: text.failures,
                recent: text.recent.into_iter().map(Time).collect(),
                slot: Slot(text.slot),
                origin: if text.beside { Origin::Beside } else { Origin::Place },
            }),
        };
        let instance = InstanceName::new(text.process, text.index);
        Some(Tag { instance, purpose, cookie: text.cookie, listens: text.listens })
    }
}

/// As bytes for the spawn's note.
pub fn encode_note(note: &Note) -> Vec<u8> {
    let text = NoteText {
        ready: note.ready.map(|t| t.0),
        swept: note.swept,
        asked: note.asked,
        late: note.late,
        promoted: note.promoted,
        replaced: note.replaced,
        quiet: note.quiet,
        hung: note.hung,
        draining: note.draining.map(|t| t.0),
    };
    serde_json::to_vec(&text).unwrap_or_default()
}

/// Reads a note; one that was never written is empty.
pub fn decode_note(bytes: &[u8]) -> Note {
    let text: NoteText = serde_json::from_slice(bytes).unwrap_or_default();
    Note {
        ready: text.ready.map(Time),
        swept: text.swept,
        asked: text.asked,
        late: text.late,
        promoted: text.promoted,
        replaced: text.replaced,
        quiet: text.quiet,
        hung: text.hung,
        draining: text.draining.map(Time),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_successor_reads_what_was_written_on_a_spawn() {
        let lineage = Lineage {
            generation: 3,
            restarts: 7,
            failures: 2,
            recent: vec![Time(5), Time(9)],
            slot: Slot(2),
            origin: Origin::Beside,
        };
        let tag = Tag {
            instance: InstanceName::new("web", 2),
            purpose: Purpose::Instance(lineage),
            cookie: "abc-4".to_owned(),
            listens: Some(["tcp:0.0.0.0:80".to_owned()].into()),
        };
        assert_eq!(Tag::decode(&tag.encode()), Some(tag.clone()));
        let probe = Tag { purpose: Purpose::Probe(SpawnId(4)), ..tag };
        assert_eq!(Tag::decode(&probe.encode()), Some(probe));
        let note = Note {
            ready: Some(Time(77)),
            swept: true,
            asked: false,
            late: true,
            promoted: true,
            replaced: true,
            quiet: true,
            hung: true,
            draining: Some(Time(79)),
        };
        assert_eq!(decode_note(&encode_note(&note)), note);
        assert_eq!(decode_note(b""), Note::default());
        assert_eq!(Tag::decode(b"garbage"), None);
    }

    #[test]
    fn a_tag_stays_within_its_bound_however_often_an_instance_was_restarted() {
        let recent: Vec<Time> = (0..10_000).map(|n| Time(u64::MAX - n)).collect();
        let lineage = Lineage {
            generation: u64::MAX,
            restarts: u32::MAX,
            failures: u32::MAX,
            recent: recent.clone(),
            slot: Slot(u8::MAX),
            origin: Origin::Beside,
        };
        let tag = Tag {
            instance: InstanceName::new("p".repeat(64), 1000),
            purpose: Purpose::Instance(lineage),
            cookie: "c".repeat(64),
            listens: Some(BTreeSet::new()),
        };
        let bytes = tag.encode();
        assert!(bytes.len() <= svd_wire::MAX_TAG, "{}", bytes.len());
        let Some(Tag { purpose: Purpose::Instance(read), .. }) = Tag::decode(&bytes) else { panic!() };
        assert_eq!(read.recent, recent[recent.len() - RECENT..]);
        // and however many listeners it has, which matter more
        for (count, kept) in [(10, true), (30, true), (100, false)] {
            let listens = (0..count).map(|n| format!("unix:{}{n}", "p".repeat(100))).collect();
            let tag = Tag { listens: Some(listens), ..tag.clone() };
            let bytes = tag.encode();
            assert!(bytes.len() <= svd_wire::MAX_TAG, "{}", bytes.len());
            assert_eq!(Tag::decode(&bytes).unwrap().listens, if kept { tag.listens } else { None });
        }
    }
}
