//! The ways in: configs of other programs to a Procfile.toml and a report.
//!
//! Pure: text in, text and report out. Whatever is in the input is translated, kept as a comment, or told in the report;
//! nothing is dropped silently. What is told of the other program is what it really does, not what its manual says.

mod crontab;
mod report;
mod write;

pub use crontab::{CrontabKind, Surroundings, crontab};
pub use report::{Import, ImportedJob, Remark, Weight};
