//! `state.db`: what is desired and what happened, durable before anybody is told.

pub mod jobs;
mod read;
mod schema;
#[cfg(test)]
mod tests;
mod thread;
mod types;
mod write;

pub use jobs::RunQuery;
pub use thread::Store;
pub use types::{Batch, Commit, EventQuery, Events, Loaded, MAX_TARGETS, NewEvent, Place, ReportKey, StoreError};
