//! What the keeper holds, as a new manager is told.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;

use svd_wire::{Exit, FEATURE_UPGRADE, FdRole, Instance, PROTOCOL_MAX, PROTOCOL_MIN, Report, Request};

use super::{Link, LinkError};

/// One spawn with the descriptors that came with it.
#[derive(Debug)]
pub struct Found {
    /// What the keeper knows.
    pub instance: Instance,
    /// The held descriptors.
    pub held: BTreeMap<FdRole, OwnedFd>,
}

/// All of it.
#[derive(Debug)]
pub struct Inventory {
    /// The version of the protocol that both speak.
    pub protocol: u16,
    /// The keeper's feature bits.
    pub keeper_features: u64,
    /// The keeper's build, for people.
    pub keeper_build: String,
    /// Random id of this keeper's life.
    pub boot: [u8; 16],
    /// The keeper's process id.
    pub keeper_pid: i32,
    /// Which start of a manager this is, from 1.
    pub manager_starts: u32,
    /// How the manager before ended.
    pub last_death: Option<Exit>,
    /// Largest spawn id of the wire ever used.
    pub last_spawn: u64,
    /// Descriptors held by name.
    pub named: BTreeMap<String, OwnedFd>,
    /// All spawns.
    pub spawns: Vec<Found>,
}

impl Inventory {
    /// Says hello and takes the inventory in.
    pub async fn take(link: &mut Link) -> Result<Inventory, LinkError> {
        let build = env!("CARGO_PKG_VERSION").to_owned();
        link.send(
            &Request::Hello { min: PROTOCOL_MIN, max: PROTOCOL_MAX, features: FEATURE_UPGRADE, build },
            Vec::new(),
        )?;
        link.flush().await?;
        let (report, _) = link.recv().await?;
        let Report::Welcome {
            version, features, build, boot, keeper_pid, manager_starts, last_death, last_spawn, ..
        } = report
        else {
            return Err(LinkError::OutOfTurn { wanted: "Welcome", got: format!("{report:?}") });
        };
        let mut inventory = Inventory {
            protocol: version,
            keeper_features: features,
            keeper_build: build,
            boot,
            keeper_pid,
            manager_starts,
            last_death,
            last_spawn: last_spawn.0,
            named: BTreeMap::new(),
            spawns: Vec::new(),
        };
        loop {
            let (report, mut fds) = link.recv().await?;
            match report {
                Report::Held { name } => {
                    let fd = fds.pop().ok_or(LinkError::DescriptorsLost)?;
                    inventory.named.insert(name, fd);
                }
                Report::Instance(instance) => {
                    if fds.len() != instance.held.len() + usize::from(instance.pidfd) {
                        return Err(LinkError::DescriptorsLost);
                    }
                    inventory.spawns.push(Found::new(*instance, fds));
                }
                Report::InventoryEnd { .. } => return Ok(inventory),
                other => {
                    return Err(LinkError::OutOfTurn { wanted: "the inventory", got: format!("{other:?}") });
                }
            }
        }
    }
}

impl Found {
    fn new(instance: Instance, fds: Vec<OwnedFd>) -> Found {
        let mut fds = fds.into_iter();
        if instance.pidfd {
            // The keeper signals and reaps; a second handle on the process is not needed here.
            drop(fds.next());
        }
        let held = instance.held.iter().copied().zip(fds).collect();
        Found { instance, held }
    }
}
