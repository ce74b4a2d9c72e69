//! The smaller answers.

use serde::{Deserialize, Serialize};

/// Every error answer.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub struct ErrorReply {
    /// What is wrong and the way out, in a sentence.
    pub error: String,
}

/// An error or warning in a config.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub struct Problem {
    /// The file.
    pub file: String,
    /// From 1.
    pub line: u32,
    /// From 1, in characters.
    pub column: u32,
    /// What is wrong.
    pub message: String,
    /// All of it as a terminal shows it, with the line and a caret.
    pub rendered: String,
}

/// Answer to `GET /v1/why?target=…`.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub struct Why {
    /// The instances the target names.
    pub instances: Vec<WhyInstance>,
    /// The jobs the target names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub jobs: Vec<WhyJob>,
}

/// What the last runs of a job, or the one that is meant, came from and to.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub struct WhyJob {
    /// As in status.
    pub job: crate::Job,
    /// The oldest first.
    pub runs: Vec<WhyRun>,
}

/// A run with what happened to it.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub struct WhyRun {
    /// It.
    pub run: crate::Run,
    /// The chain of events, oldest first.
    pub events: Vec<crate::Event>,
    /// Its last lines of output, oldest first.
    pub output: Vec<crate::LogLine>,
}

/// Why one instance is in its state.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub struct WhyInstance {
    /// As in status.
    pub instance: crate::Instance,
    /// The chain of events that led to it, oldest first.
    pub events: Vec<crate::Event>,
    /// Its last lines of output, oldest first.
    pub output: Vec<crate::LogLine>,
    /// The last attempt to replace it, where that did not succeed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<Attempt>,
}

/// An attempt to replace an instance that did not succeed: what became of the one that was started beside it.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub struct Attempt {
    /// The number of its start, as events have it.
    pub spawn: u64,
    /// What happened to it, and what came of that for its process, oldest first.
    pub events: Vec<crate::Event>,
    /// Its last lines of output, oldest first.
    pub output: Vec<crate::LogLine>,
}

/// Answer to `GET /v1/env?process=…`: names only, and where each comes from; never a value.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub struct EnvReply {
    /// The process.
    pub process: String,
    /// Its variables, by name.
    pub variables: Vec<EnvVariable>,
}

/// One variable.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub struct EnvVariable {
    /// Its name.
    pub name: String,
    /// `config`, `svd` or `inherited`.
    pub source: String,
}

/// Body of `POST /v1/exec`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct ExecRequest {
    /// As this process; default: the first one.
    #[serde(default)]
    pub process: Option<String>,
}

/// Answer to `POST /v1/exec`: what a one-off command is to be run with. Only for root and for the user svd runs as, since it
/// holds the environment's values.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub struct ExecReply {
    /// Environment, complete.
    pub env: Vec<(String, String)>,
    /// Working directory.
    pub cwd: String,
    /// User to become, where it is another.
    #[serde(default)]
    pub uid: Option<u32>,
    /// Primary group.
    #[serde(default)]
    pub gid: Option<u32>,
    /// Supplementary groups.
    #[serde(default)]
    pub groups: Vec<u32>,
    /// File mode creation mask.
    #[serde(default)]
    pub umask: Option<u32>,
}

/// What `GET /v1/wait?target=…&for=…&timeout=…` waits for.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum WaitFor {
    /// All instances of the target are ready or completed; one that is replaced counts as it is now.
    Ready,
    /// All are stopped (or completed, or failed), and so is whatever is to replace them or was replaced by them.
    Stopped,
    /// All one-shots among them are completed.
    Completed,
}

/// Answer to `GET /v1/wait`.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub struct WaitReply {
    /// Whether it came about within the time.
    pub met: bool,
    /// It cannot come about without somebody's doing: an instance has failed for good. The wait ended early.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub hopeless: bool,
    /// What holds it up, otherwise.
    pub message: String,
}

/// Answer to `GET /v1/version`.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub struct Version {
    /// The manager's version.
    pub version: String,
    /// The API's: `v1`.
    pub api: String,
}

/// Answer to `GET /v1/health`: HTTP status 200 when the main loop answers, 503 with an [`ErrorReply`] otherwise.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub struct Health {
    /// Always `ok`.
    pub status: String,
}
