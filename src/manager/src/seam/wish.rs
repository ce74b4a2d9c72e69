//! What people asked for beyond the config, as the keeper holds it for a manager that finds the disk broken. The store is
//! what counts; this is for when it cannot be opened in the middle of the night.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use svd_core::{Desired, InstanceName, Target};

/// Largest memfd that is read, bytes.
const LIMIT: usize = 16 * 1024 * 1024;

#[derive(Default, Serialize, Deserialize)]
struct Text {
    scale: BTreeMap<String, u32>,
    disabled: BTreeSet<String>,
    stopped: Vec<(String, Option<u32>)>,
    generation: Vec<(String, u32, u64)>,
    #[serde(default)]
    boundaries: BTreeMap<String, Vec<u64>>,
    #[serde(default)]
    taken_back: bool,
}

/// As a sealed memfd.
pub fn wish_to_memfd(desired: &Desired) -> io::Result<OwnedFd> {
    let text = Text {
        scale: desired.scale.iter().map(|(process, count)| (process.to_string(), *count)).collect(),
        disabled: desired.disabled.iter().map(ToString::to_string).collect(),
        stopped: desired.stopped.iter().map(|target| (target.process.to_string(), target.index)).collect(),
        generation: desired.generation.iter().map(|(name, n)| (name.process.to_string(), name.index, *n)).collect(),
        boundaries: desired.boundaries.iter().map(|(process, at)| (process.to_string(), at.clone())).collect(),
        taken_back: desired.taken_back,
    };
    svd_sys::fd::memfd("svd-desired", &serde_json::to_vec(&text)?)
}

/// Reads what the manager before left.
pub fn wish_from_memfd(memfd: OwnedFd) -> io::Result<Desired> {
    let text: Text = serde_json::from_slice(&svd_sys::fd::read_memfd(memfd, LIMIT)?)?;
    Ok(Desired {
        scale: text.scale.into_iter().map(|(process, count)| (Arc::from(process), count)).collect(),
        disabled: text.disabled.into_iter().map(Arc::from).collect(),
        stopped: text.stopped.into_iter().map(|(process, index)| Target { process: process.into(), index }).collect(),
        generation: text.generation.into_iter().map(|(process, i, n)| (InstanceName::new(process, i), n)).collect(),
        boundaries: text.boundaries.into_iter().map(|(process, at)| (process.into(), at)).collect(),
        taken_back: text.taken_back,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use svd_core::Change;

    #[test]
    fn a_later_manager_reads_what_was_wished() {
        let mut desired = Desired::default();
        desired.apply(&Change::Scale("web".into(), Some(3)));
        desired.apply(&Change::Disabled("db".into(), true));
        desired.apply(&Change::Stopped(Target { process: "web".into(), index: Some(2) }, true));
        desired.apply(&Change::Generation(InstanceName::new("web", 1), 7));
        desired.apply(&Change::Boundaries("web".into(), vec![3, 7]));
        desired.apply(&Change::TakenBack(true));
        assert_eq!(wish_from_memfd(wish_to_memfd(&desired).unwrap()).unwrap(), desired);
    }
}
