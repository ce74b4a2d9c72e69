//! From files on disk to a plan that can be run on this machine, and back again after a manager's death.

mod accounts;
mod load;
mod program;
mod snapshot;
mod zones;

pub use accounts::{Account, Accounts};
pub use load::{LoadError, Loaded, from_disk, recheck};
pub use program::{Lookup, lookup};
pub use snapshot::{ControlGroups, Snapshot};
pub use zones::zones;
