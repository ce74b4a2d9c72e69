//! What happened: `GET /v1/events` and history.

use serde::{Deserialize, Serialize};

/// One event.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub struct Event {
    /// Number in this state directory, growing.
    pub id: i64,
    /// RFC 3339 in UTC.
    pub time: String,
    /// `instance.ready`, `instance.exited`, `command.stop`, `manager.started`, …
    pub kind: String,
    /// The process it concerns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process: Option<String>,
    /// The instance it concerns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// The number of the start it concerns: the events of one start have the same, until svd itself is started anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spawn: Option<u64>,
    /// Process id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<i32>,
    /// How it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit: Option<crate::Exit>,
    /// Who asked: user name or uid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor: Option<String>,
    /// Why it was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// A sentence for people.
    pub message: String,
}
