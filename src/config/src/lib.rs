//! Text to plan: Procfile, Procfile.toml, .env, overlays and the table of keys.
//!
//! Nothing here touches the file system or the environment: callers pass text and get a [`Plan`] or all errors.

pub mod paths;
pub mod plan;
pub mod source;

pub use plan::Plan;
pub use source::{Source, SourceKind, Sources};
