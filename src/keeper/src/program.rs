//! The program `svd`: picks its role and plays it. The manager and the tools are given as functions, so that the keeper
//! depends on neither.

use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::process::ExitCode;

use svd_sys::{fd, report};

use crate::entry::{Entry, WIRE_FD, entry};

/// The manager below a keeper: the user's arguments and the socket to the keeper, to svd's exit code.
pub type Manage = fn(&[OsString], OwnedFd) -> u8;
/// What answers and ends: the user's arguments to an exit code.
pub type Tool = fn(&[OsString]) -> u8;

/// Plays the role that the arguments choose.
pub fn main(manage: Manage, tool: Tool) -> ExitCode {
    let args: Vec<OsString> = std::env::args_os().skip(1).collect();
    ExitCode::from(match entry(&args) {
        Entry::Manager => match fd::take_inherited(WIRE_FD) {
            Ok(socket) => manage(args.get(1..).unwrap_or_default(), socket),
            Err(error) => {
                report::line(&format!("`manager` is how svd starts itself, not a command ({error})"));
                2
            }
        },
        Entry::Trial => crate::trial(),
        Entry::Single { argv } => crate::run_single(argv, &std::env::var_os("PATH").unwrap_or_default()),
        Entry::Misused { option } => {
            let option = option.display();
            report::line(&format!(
                "\"{option}\" does not go with `-- COMMAND`, which runs that command alone: write svd -- COMMAND…"
            ));
            2
        }
        Entry::Keeper => crate::run(args),
        Entry::Tool => tool(&args),
    })
}
