//! What changes things.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Commands on targets: `POST /v1/processes/{start,stop,restart,reload,drain,kill,enable,disable}`.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum CommandKind {
    /// Start what is stopped or failed.
    Start,
    /// Stop; stays stopped until started.
    Stop,
    /// Replace one by one.
    Restart,
    /// Send the reload signal.
    Reload,
    /// Tell it to take no new work, wait until it has finished, stop; stays stopped until started.
    Drain,
    /// KILL at once.
    Kill,
    /// Allow and start.
    Enable,
    /// Stop, and keep stopped over restarts of svd.
    Disable,
}

/// Body of a command on targets.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct CommandRequest {
    /// `web`, `web.2`, globs, `all`; never empty.
    pub targets: Vec<String>,
    /// `kill` only: what is left of instances that were replaced and still finish their work, and nothing else.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub replaced: bool,
    /// Why, for history.
    #[serde(default)]
    pub reason: Option<String>,
    /// Only say what would be done.
    #[serde(default)]
    pub dry_run: bool,
}

/// How many instances: `4`, or `+2`, `-1` from what is.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum ScaleCount {
    /// So many.
    To(u32),
    /// So many more or fewer.
    By(i32),
}

/// Body of `POST /v1/processes/scale`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct ScaleRequest {
    /// Process to count.
    pub counts: BTreeMap<String, ScaleCount>,
    /// Why, for history.
    #[serde(default)]
    pub reason: Option<String>,
    /// Only say what would be done.
    #[serde(default)]
    pub dry_run: bool,
}

/// Body of `POST /v1/processes/signal`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct SignalRequest {
    /// Name without SIG, or number: `USR1`, `10`, `RTMIN+3`.
    pub signal: String,
    /// As in [`CommandRequest`].
    pub targets: Vec<String>,
    /// Why, for history.
    #[serde(default)]
    pub reason: Option<String>,
    /// Only say what would be done.
    #[serde(default)]
    pub dry_run: bool,
}

/// Body of `POST /v1/apply`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct ApplyRequest {
    /// Another config file; absolute. Default: the one svd was started with.
    #[serde(default)]
    pub file: Option<String>,
    /// Why, for history.
    #[serde(default)]
    pub reason: Option<String>,
    /// Only say what would be done.
    #[serde(default)]
    pub dry_run: bool,
}

/// Body of `POST /v1/upgrade`. The manager that takes it is replaced: the connection is cut, and the outcome is to be asked of the
/// next one, `GET /v1/upgrade?token=…`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct UpgradeRequest {
    /// Made up by whoever asks: names the upgrade. 1 to 64 letters, digits and dashes.
    pub token: String,
    /// The program; absolute. Default: the file that svd was started from, as it is now.
    #[serde(default)]
    pub binary: Option<String>,
    /// Leave the keeper as it is.
    #[serde(default)]
    pub manager_only: bool,
    /// Why, for history.
    #[serde(default)]
    pub reason: Option<String>,
    /// Only say what would be done.
    #[serde(default)]
    pub dry_run: bool,
}

/// Body of `POST /v1/shutdown`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct ShutdownRequest {
    /// Skip the stop ladders.
    #[serde(default)]
    pub now: bool,
    /// Why, for history.
    #[serde(default)]
    pub reason: Option<String>,
    /// Only say what would be done.
    #[serde(default)]
    pub dry_run: bool,
}

/// How a command ended.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum OutcomeWord {
    /// As asked: exit 0.
    Done,
    /// `dry_run`: nothing was changed: exit 0.
    Planned,
    /// Tried, and failed: exit 1.
    Failed,
    /// Refused before anything was changed: exit 3.
    Refused,
    /// Tried, and failed; what ran before runs on: exit 4.
    #[serde(rename = "rolled_back")]
    RolledBack,
    /// Tried, and failed, and what was before could not be brought back either; nothing healthy was stopped: exit 5.
    Held,
}

/// Answer to every command. HTTP status 200 for done and planned, 409 for refused, 500 for failed, rolled back and held.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub struct CommandResult {
    /// How it ended.
    pub outcome: OutcomeWord,
    /// What was done, or why not, in a sentence or several lines.
    pub message: String,
    /// What was changed or would be, a line each.
    #[serde(default)]
    pub changes: Vec<String>,
    /// Errors in the config (apply).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<crate::Problem>,
    /// Targets of `GET /v1/why` that tell what failed: each event and the last output of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub evidence: Vec<String>,
    /// The run that was begun, and, where that was waited for, what became of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<crate::Run>,
}
