//! Text to plan: Procfile, Procfile.toml, .env, overlays and the table of keys.
//!
//! Nothing here touches the file system or the environment: callers pass text and get a [`Plan`] or all errors.
//! They ask [`wanted()`] what else to read, then hand over all [`Sources`] to [`plan()`]. The way of a text is
//! tree → document or procfile → draft → plan; problems are collected on the way and told together.

mod address;
mod advice;
mod check;
mod confine;
mod diff;
mod document;
mod envfile;
mod environment;
mod error;
mod field;
mod files;
mod fingerprint;
mod glob;
mod grace;
mod handoff;
pub mod happenings;
pub mod import;
mod job_news;
mod jobs;
pub mod keys;
mod listeners;
mod man;
mod notify;
mod order;
pub mod paths;
pub mod plan;
mod ports;
pub mod presets;
mod printable;
mod process;
mod procfile;
mod programs;
mod report;
mod resolve;
mod rolling;
pub mod schedule;
mod schema;
mod shell_line;
mod sockets;
pub mod source;
mod tree;
mod upkeep;
mod values;
mod wanted;
mod words;

pub use check::CheckResult;
pub use confine::TEMPORARY;
pub use diff::{
    Change, ChangeKind, Effect, JobChange, JobChangeKind, changed_outside, diff, diff_jobs, needs_new_start,
};
pub use error::{Errors, Problem, Warning};
pub use files::{Files, LoadOptions, ReadError, app_in, find, read};
pub use fingerprint::fingerprint;
pub use glob::glob;
pub use grace::{Around, MARKS, longest_stop, stop_grace_warning};
pub use handoff::{Handed, handoff_value};
pub use man::reference_man;
pub use plan::Plan;
pub use printable::{Sgr, is_printable, printable};
pub use resolve::{app_of_dir, plan};
pub use schema::schema;
pub use source::{Source, SourceKind, Sources};
pub use values::{signal_name, typed_duration};
pub use wanted::{Need, Wanted, wanted, wanted_by_included};
pub use words::{ExpandError, expand};
