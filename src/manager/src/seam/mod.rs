//! The manager's end of the seam to the keeper: the link, the inventory, and what is written on spawns.

mod inventory;
mod link;
mod tag;
mod upgrade;
mod wish;

pub use inventory::{Found, Inventory};
pub use link::{Link, LinkError};
pub use tag::{Purpose, Tag, decode_note, encode_note};
pub use upgrade::{Scope, UpgradeNote};
pub use wish::{Configs, config_name, config_number, wish_from_memfd, wish_to_memfd};
