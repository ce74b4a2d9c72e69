//! The ways in which svctl does not end with 0, and their exit codes. Scripts rely on the codes.

use std::io;

/// Done.
pub const DONE: u8 = 0;
/// The operation failed.
pub const FAILED: u8 = 1;
/// The command line is wrong, or the config that was to be checked.
pub const USAGE: u8 = 2;
/// Refused before anything was changed.
pub const REFUSED: u8 = 3;
/// Failed; what ran before runs on.
pub const ROLLED_BACK: u8 = 4;
/// Failed, and what was before could not be brought back either.
pub const HELD: u8 = 5;
/// svd is not running (EX_UNAVAILABLE of sysexits.h).
pub const NOT_RUNNING: u8 = 69;

/// Why a command ended early.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// It failed.
    Failed(String),
    /// What was asked makes no sense.
    Usage(String),
    /// It may not be done.
    Refused(String),
    /// Nobody answers on the control socket.
    NotRunning(String),
    /// Everything has been said already; only the code is left.
    Told(u8),
    /// Whoever read our output has gone: nobody is left to tell, and nothing is wrong.
    BrokenPipe,
}

impl Failure {
    /// The exit code.
    pub fn code(&self) -> u8 {
        match self {
            Failure::Failed(_) => FAILED,
            Failure::Usage(_) => USAGE,
            Failure::Refused(_) => REFUSED,
            Failure::NotRunning(_) => NOT_RUNNING,
            Failure::Told(code) => *code,
            Failure::BrokenPipe => DONE,
        }
    }

    /// What is left to say.
    pub fn message(&self) -> Option<&str> {
        match self {
            Failure::Failed(message)
            | Failure::Usage(message)
            | Failure::Refused(message)
            | Failure::NotRunning(message) => Some(message),
            Failure::Told(_) | Failure::BrokenPipe => None,
        }
    }

    /// What an answer that is no success means, by its HTTP status.
    pub fn from_status(status: u16, message: String) -> Failure {
        match status {
            403 | 409 => Failure::Refused(message),
            400..=499 => Failure::Usage(message),
            _ => Failure::Failed(message),
        }
    }
}

/// An error of writing to standard output.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Failure::BrokenPipe,
            _ => Failure::Failed(format!("cannot write the output: {error}")),
        }
    }
}
