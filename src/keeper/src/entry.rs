//! Which of its roles the program `svd` plays, by its arguments. Everything else in them is the manager's to read.

use std::ffi::OsString;
use std::os::fd::RawFd;

/// The descriptor on which a manager finds its socket to the keeper.
pub const WIRE_FD: RawFd = 3;
/// The first argument by which the keeper starts the program again as manager; the user's arguments follow.
pub const MANAGER_ARG: &str = "manager";

/// The first argument by which a keeper tries out whether the program can go on in its place; descriptor [`WIRE_FD`] is its state.
pub const TRIAL_ARG: &str = "keeper-trial";

/// The exit code of a trial that went well: one that no program has by chance.
pub const TRIAL_PASSED: u8 = 79;

/// A role of the program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// Started by a keeper: [`WIRE_FD`] is the socket to it.
    Manager,
    /// Started by a keeper that would become this program: reads its state, and says by its exit code whether it can go on from it.
    Trial,
    /// `svd [run …] -- command`: one process and nothing else, as tini does it.
    Single {
        /// The command and its arguments; empty where none was given.
        argv: Vec<OsString>,
    },
    /// Runs an application.
    Keeper,
    /// Options before `--` that mean nothing for a single command.
    Misused {
        /// The first of them.
        option: OsString,
    },
    /// Answers and ends (`check`, `doctor`, help, version): the manager's code without a keeper.
    Tool,
}

/// The role for these arguments, the program's own name not among them.
pub fn entry(args: &[OsString]) -> Entry {
    let first = args.first().and_then(|arg| arg.to_str()).unwrap_or_default();
    if first == MANAGER_ARG {
        return Entry::Manager;
    }
    if first == TRIAL_ARG {
        return Entry::Trial;
    }
    let separator = args.iter().position(|arg| arg == "--");
    let options = args.get(..separator.unwrap_or(args.len())).unwrap_or_default();
    let asks = |arg: &OsString| matches!(arg.to_str(), Some("-h" | "--help" | "-V" | "--version"));
    if options.iter().any(asks) || (separator != Some(0) && matches!(first, "check" | "doctor" | "help" | "version")) {
        return Entry::Tool;
    }
    let stray = options.iter().enumerate().find(|(at, option)| *at > 0 || *option != "run");
    match separator {
        Some(_) if let Some((_, option)) = stray => Entry::Misused { option: option.clone() },
        Some(at) => Entry::Single { argv: args.iter().skip(at.saturating_add(1)).cloned().collect() },
        None => Entry::Keeper,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_choose_the_role() {
        let check = |args: &[&str], expected: Entry| {
            let args: Vec<OsString> = args.iter().map(OsString::from).collect();
            assert_eq!(entry(&args), expected, "{args:?}");
        };
        let single = |argv: &[&str]| Entry::Single { argv: argv.iter().map(OsString::from).collect() };
        check(&[], Entry::Keeper);
        check(&["run", "-c", "Procfile"], Entry::Keeper);
        check(&["nonsense"], Entry::Keeper);
        check(&["manager", "run"], Entry::Manager);
        check(&["keeper-trial"], Entry::Trial);
        check(&["--", "ls", "-l"], single(&["ls", "-l"]));
        check(&["run", "--", "check", "--help"], single(&["check", "--help"]));
        check(&["--"], single(&[]));
        check(&["-c", "x", "--", "ls"], Entry::Misused { option: "-c".into() });
        check(&["run", "--only", "a", "--", "ls"], Entry::Misused { option: "--only".into() });
        check(&["check", "-c", "x"], Entry::Tool);
        check(&["doctor", "--json"], Entry::Tool);
        check(&["--version"], Entry::Tool);
        check(&["run", "--help"], Entry::Tool);
    }
}
