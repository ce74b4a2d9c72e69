//! Lines of output.

use serde::{Deserialize, Serialize};

/// One line that an instance wrote, as `GET /v1/logs` gives it, one JSON object a line.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub struct LogLine {
    /// RFC 3339 in UTC with microseconds: when svd stored it.
    pub time: String,
    /// The instance.
    pub instance: String,
    /// `stdout` or `stderr`; `svd` for a remark of svd itself where output is missing.
    pub stream: String,
    /// The line without its newline; invalid UTF-8 replaced.
    pub message: String,
    /// Part of a line that was too long.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub partial: bool,
}
