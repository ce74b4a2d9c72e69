//! Types of the control API, shared by manager and svctl. No logic.
//!
//! Every type here is a promise to scripts: fields are added, never renamed or given another meaning.

mod command;
mod event;
mod jobs;
mod logs;
mod misc;
mod status;

pub use command::{
    ApplyRequest, CommandKind, CommandRequest, CommandResult, OutcomeWord, ScaleCount, ScaleRequest, ShutdownRequest,
    SignalRequest, UpgradeRequest,
};
pub use event::Event;
pub use jobs::{Job, JobsRequest, Run, RunRequest};
pub use logs::LogLine;
pub use misc::{
    Attempt, EnvReply, EnvVariable, ErrorReply, ExecReply, ExecRequest, Health, Problem, Version, WaitFor, WaitReply,
    Why, WhyInstance, WhyJob, WhyRun,
};
pub use status::{Exit, Instance, Listener, Notify, Pressure, Process, Role, Status, Svd};

/// Prefix of all routes of this version.
pub const PREFIX: &str = "/v1";
/// Name of the control socket in the runtime directory.
pub const SOCKET_NAME: &str = "control.sock";
