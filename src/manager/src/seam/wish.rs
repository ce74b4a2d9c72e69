//! What people asked for beyond the config, and which of the configs that the keeper holds it is about, as the keeper holds it
//! for the next manager. It is replaced as a whole, so a new config and what follows from it come into force in one step.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use svd_core::{Desired, InstanceName, Target};

/// The configs that the keeper holds and that instances run by, each under its number ([`config_name`]).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Configs {
    /// The one in force.
    pub in_force: u64,
    /// The other one of an apply in progress.
    pub other: Option<u64>,
    /// Why the last apply was taken back, until one succeeds.
    pub taken_back: Option<String>,
}

/// What the keeper calls a config.
pub fn config_name(number: u64) -> String {
    format!("{CONFIG}{number}")
}

/// The number of a config that the keeper holds under this name; `None` where it is something else.
pub fn config_number(name: &str) -> Option<u64> {
    name.strip_prefix(CONFIG)?.parse().ok()
}

const CONFIG: &str = "config:";

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
    #[serde(default)]
    config: u64,
    #[serde(default)]
    other_config: Option<u64>,
    #[serde(default)]
    why_taken_back: Option<String>,
}

/// As a sealed memfd.
pub fn wish_to_memfd(desired: &Desired, configs: &Configs) -> io::Result<OwnedFd> {
    let text = Text {
        scale: desired.scale.iter().map(|(process, count)| (process.to_string(), *count)).collect(),
        disabled: desired.disabled.iter().map(ToString::to_string).collect(),
        stopped: desired.stopped.iter().map(|target| (target.process.to_string(), target.index)).collect(),
        generation: desired.generation.iter().map(|(name, n)| (name.process.to_string(), name.index, *n)).collect(),
        boundaries: desired.boundaries.iter().map(|(process, at)| (process.to_string(), at.clone())).collect(),
        taken_back: desired.taken_back,
        config: configs.in_force,
        other_config: configs.other,
        why_taken_back: configs.taken_back.clone(),
    };
    svd_sys::fd::memfd("svd-desired", &serde_json::to_vec(&text)?)
}

/// Reads what the manager before left.
pub fn wish_from_memfd(memfd: OwnedFd) -> io::Result<(Desired, Configs)> {
    let text: Text = serde_json::from_slice(&svd_sys::fd::read_memfd(memfd, LIMIT)?)?;
    let configs = Configs { in_force: text.config, other: text.other_config, taken_back: text.why_taken_back };
    let desired = Desired {
        scale: text.scale.into_iter().map(|(process, count)| (Arc::from(process), count)).collect(),
        disabled: text.disabled.into_iter().map(Arc::from).collect(),
        stopped: text.stopped.into_iter().map(|(process, index)| Target { process: process.into(), index }).collect(),
        generation: text.generation.into_iter().map(|(process, i, n)| (InstanceName::new(process, i), n)).collect(),
        boundaries: text.boundaries.into_iter().map(|(process, at)| (process.into(), at)).collect(),
        taken_back: text.taken_back,
    };
    Ok((desired, configs))
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
        let configs = Configs { in_force: 8, other: Some(7), taken_back: Some("web.1 did not come up".into()) };
        let read = wish_from_memfd(wish_to_memfd(&desired, &configs).unwrap()).unwrap();
        assert_eq!(read, (desired, configs));
        assert_eq!(config_number(&config_name(12)), Some(12));
        assert_eq!(config_number("control"), None);
    }
}
