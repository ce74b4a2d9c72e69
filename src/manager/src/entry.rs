//! The two ways into this crate: as the manager below a keeper, and as a tool that runs nothing.

use std::ffi::OsString;
use std::io::Write;
use std::os::fd::OwnedFd;

use clap::Parser;

use crate::build::Build;
use crate::cli::{Cli, Command, VersionArgs};

/// The manager below a keeper. `args` is the user's command line, without the program's name. Returns svd's exit code.
pub fn manage(args: &[OsString], socket: OwnedFd) -> u8 {
    svd_sys::process::set_name("svd-manager");
    match parse(args) {
        Ok(Cli { command: Some(Command::Check(args)), .. }) => crate::check::check(&args),
        Ok(Cli { command: Some(Command::Doctor(args)), .. }) => crate::doctor::doctor(&args),
        Ok(Cli { command: Some(Command::Version(args)), .. }) => version(&args),
        Ok(Cli { command: Some(Command::Run(args)), .. }) => crate::run::run(&args, socket),
        Ok(Cli { command: None, run }) => crate::run::run(&run, socket),
        Err(code) => code,
    }
}

/// `svd check`, `svd --help` and the like: nothing is kept running for these.
pub fn tool(args: &[OsString]) -> u8 {
    match parse(args) {
        Ok(Cli { command: Some(Command::Check(args)), .. }) => crate::check::check(&args),
        Ok(Cli { command: Some(Command::Doctor(args)), .. }) => crate::doctor::doctor(&args),
        Ok(Cli { command: Some(Command::Version(args)), .. }) => version(&args),
        Ok(Cli { command: Some(Command::Run(_)) | None, .. }) => {
            crate::say::line("svd: run needs a keeper");
            2
        }
        Err(code) => code,
    }
}

fn version(args: &VersionArgs) -> u8 {
    let own = Build::own();
    let text = if args.json {
        own.to_json()
    } else {
        let (min, max) = own.protocol;
        format!("svd {}, protocol between keeper and manager {min} to {max}, keeper state {}", own.version, own.state)
    };
    match writeln!(std::io::stdout(), "{text}") {
        Ok(()) => 0,
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => 0,
        Err(_) => 1,
    }
}

fn parse(args: &[OsString]) -> Result<Cli, u8> {
    let program = OsString::from("svd");
    Cli::try_parse_from(std::iter::once(&program).chain(args)).map_err(|error| {
        // Help and version are no errors; a closed terminal is nobody's fault.
        let _closed = error.print();
        u8::try_from(error.exit_code()).unwrap_or(2)
    })
}
