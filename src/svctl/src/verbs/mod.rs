//! One file for each group of commands: asks svd and hands what it says to `view`.

pub(crate) mod change;
pub(crate) mod check;
pub(crate) mod doctor;
pub(crate) mod env;
pub(crate) mod events;
pub(crate) mod exec;
pub(crate) mod health;
pub(crate) mod import;
pub(crate) mod jobs;
pub(crate) mod logs;
mod progress;
mod reconnect;
pub(crate) mod schedule;
pub(crate) mod status;
pub(crate) mod top;
pub(crate) mod upgrade;
pub(crate) mod wait;
pub(crate) mod why;

use crate::client::Client;
use crate::find::Caller;
use crate::screen::Screen;
use crate::view::Look;

/// What every command works with.
pub(crate) struct Session<'s, 'w> {
    pub client: Client,
    pub caller: &'s Caller,
    pub screen: &'s mut Screen<'w>,
}

impl Session<'_, '_> {
    /// How to show something now.
    pub fn look(&self) -> Look {
        self.screen.look()
    }
}
