//! What things are called.

use std::fmt;
use std::sync::Arc;

/// An instance of a process: `web.1`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InstanceName {
    /// The process.
    pub process: Arc<str>,
    /// From 1.
    pub index: u32,
}

impl InstanceName {
    /// The instance `index` of `process`.
    pub fn new(process: impl Into<Arc<str>>, index: u32) -> InstanceName {
        InstanceName { process: process.into(), index }
    }
}

impl fmt::Display for InstanceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.process, self.index)
    }
}

/// A process or one of its instances, as commands name them (globs are resolved before).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Target {
    /// The process.
    pub process: Arc<str>,
    /// One instance; `None` is all, also those that scaling will add.
    pub index: Option<u32>,
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.index {
            Some(index) => write!(f, "{}.{index}", self.process),
            None => f.write_str(&self.process),
        }
    }
}

/// One start of one instance: never used twice while a keeper lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpawnId(pub u64);

/// One command of a user, from when it is given until its outcome is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OpId(pub u64);
