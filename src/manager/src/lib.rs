//! The manager: performs what the core decides, serves the control API, stores logs and state.

mod abort;
pub mod ask;
mod build;
mod check;
pub mod cli;
mod doctor;
mod entry;
pub mod http;
mod instant;
mod listen;
pub mod logs;
mod own_log;
mod plan;
mod reactor;
mod run;
mod say;
mod seam;
pub mod store;

pub use entry::{manage, tool};
