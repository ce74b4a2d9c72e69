//! The manager's end of the seam to the keeper: the link, the inventory, and what is written on spawns.

mod inventory;
mod link;
mod tag;

pub use inventory::{Found, Inventory};
pub use link::{Link, LinkError};
pub use tag::{Purpose, Tag, decode_note, encode_note};
