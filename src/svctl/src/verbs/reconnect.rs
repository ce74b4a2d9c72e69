//! Following goes on when the manager is replaced: its socket stays open, and its successor takes the next connection.

use super::Session;
use crate::client::Error;
use crate::failure::Failure;

/// Connections that brought nothing before they were cut, in a row, after which nobody tries again.
pub(super) const EMPTY_CONNECTIONS: u32 = 5;

/// What a connection brought before it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Brought {
    Something,
    Nothing,
}

/// What is to be done when a connection has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Connect again, and ask for what comes behind the last that was shown.
    Connect,
    /// Stop: svd has ended.
    Stop,
}

/// Counts the connections that were of no use.
#[derive(Debug, Default)]
pub(super) struct Reconnect {
    empty: u32,
}

impl Reconnect {
    /// A connection has ended, in order or with an error.
    pub fn after(
        &mut self,
        session: &mut Session<'_, '_>,
        end: Option<Error>,
        brought: Brought,
    ) -> Result<Next, Failure> {
        match end {
            Some(Error::NotRunning(_)) => {
                session.screen.note("svctl: svd has ended");
                return Ok(Next::Stop);
            }
            Some(error @ (Error::Denied | Error::Connect(_) | Error::Late(_))) => {
                return Err(session.client.failure(error));
            }
            Some(Error::Cut(_)) | None => {}
        }
        self.empty = match brought {
            Brought::Something => 0,
            Brought::Nothing => self.empty + 1,
        };
        if self.empty == EMPTY_CONNECTIONS {
            return Err(Failure::Failed(format!("svd cut the connection {} times without anything new", self.empty)));
        }
        Ok(Next::Connect)
    }
}
