//! What the API says, made into text. Pure: no I/O, no clock; the caller says what time it is and how wide a line may be.

pub(crate) mod env;
pub(crate) mod event;
pub(crate) mod jobs;
pub(crate) mod log;
pub(crate) mod result;
pub(crate) mod status;
mod table;
pub(crate) mod top;
pub(crate) mod why;

use crate::now::Now;
use crate::screen::Paint;
use svd_api::{Exit, Instance, Role};

/// How to show it.
#[derive(Clone, Debug)]
pub(crate) struct Look {
    pub now: Now,
    pub paint: Paint,
    /// Columns; `None` where lines may be of any length.
    pub width: Option<u16>,
}

/// The colour of a state: green is well, yellow is on its way, red needs somebody, dim is off.
pub(crate) fn color(state: &str) -> &'static str {
    match state {
        "ready" | "completed" => "32",
        "waiting" | "starting" | "draining" | "stopping" | "backoff" => "33",
        "unhealthy" | "failed" | "stuck" => "31",
        _ => "2",
    }
}

/// The name of an instance, told from others that have it too while it is replaced.
pub(crate) fn name(instance: &Instance) -> String {
    let id = crate::text::plain(&instance.id);
    match instance.role {
        Role::Current => id.into_owned(),
        Role::Candidate => format!("{id} (new)"),
        // Not "old": one that failed to replace another ends in the same way.
        Role::Replaced => format!("{id} (ending)"),
    }
}

/// How something ended, as a phrase.
pub(crate) fn exit(exit: &Exit) -> String {
    match exit {
        Exit::Code { code } => format!("exit code {code}"),
        Exit::Signal { signal, oom, core } => {
            let oom = if *oom { ", out of memory" } else { "" };
            let core = if *core { ", core dumped" } else { "" };
            format!("killed by {}{oom}{core}", crate::text::plain(signal))
        }
        Exit::Unknown { .. } => "ended, nobody knows how".to_owned(),
    }
}
