//! `svctl exec`: a one-off command as a process would be run, on this terminal.
//!
//! The command is a child of svctl, not of svd: it has this terminal, and ends with it.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::Command;

use nix::sys::signal::{Signal, kill};
use nix::sys::stat::{Mode, umask};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::{Gid, Pid, Uid, getegid, geteuid, getgroups, setgid, setgroups, setuid};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGWINCH};
use signal_hook::iterator::Signals;
use svd_api::{ExecReply, ExecRequest};

use super::Session;
use crate::client::{LOOK, Query, reason};
use crate::failure::Failure;

/// The shell's code for a command that cannot be run.
const NOT_EXECUTABLE: u8 = 126;
/// The shell's code for a command that is not there.
const NOT_FOUND: u8 = 127;

pub(crate) async fn run(
    session: &mut Session<'_, '_>,
    process: Option<String>,
    command: &[OsString],
) -> Result<(), Failure> {
    let request = ExecRequest { process };
    let path = Query::new("/exec");
    let answer = session.client.post(path.path(), &request, Some(LOOK)).await;
    let reply: ExecReply = answer.map_err(|error| session.client.failure(error))?.take()?;
    let Some((program, arguments)) = command.split_first() else {
        return Err(Failure::Usage("no command after --".to_owned()));
    };
    become_user(&reply)?;
    if let Some(mask) = reply.umask {
        umask(Mode::from_bits_truncate(mask));
    }
    let mut child = Command::new(program);
    child.args(arguments).env_clear().envs(reply.env.iter().map(|(name, value)| (name, value))).current_dir(&reply.cwd);
    // Editors, pagers and shells need to know the terminal; a process of svd has none, so the config rarely names it.
    if !reply.env.iter().any(|(name, _)| name == "TERM")
        && let Some(term) = session.caller.env.get("TERM")
    {
        child.env("TERM", term);
    }
    match supervise(&mut child, Attached::now()) {
        Ok(0) => Ok(()),
        Ok(code) => Err(Failure::Told(code)),
        Err(error) => {
            let code = if error.kind() == io::ErrorKind::NotFound { NOT_FOUND } else { NOT_EXECUTABLE };
            let name = program.to_string_lossy();
            // Without its directory every command is "not found", which is no help.
            let told = if std::path::Path::new(&reply.cwd).is_dir() {
                format!("cannot run {name}: {}", reason(&error))
            } else {
                format!("cannot run {name}: its working directory {} is not there", reply.cwd)
            };
            session.screen.note(&format!("svctl: {told}"));
            Err(Failure::Told(code))
        }
    }
}

/// Becomes the user of the process, for good: this svctl does nothing else any more.
fn become_user(reply: &ExecReply) -> Result<(), Failure> {
    let uid = Uid::from_raw(reply.uid.unwrap_or(geteuid().as_raw()));
    let gid = Gid::from_raw(reply.gid.unwrap_or(getegid().as_raw()));
    if reply.uid.is_none() && reply.gid.is_none() && reply.groups.is_empty() {
        return Ok(());
    }
    let denied = |error: nix::errno::Errno| {
        Failure::Refused(format!(
            "cannot become user {uid}, group {gid}, as the process runs ({}): this needs root",
            error.desc()
        ))
    };
    let mut wanted: Vec<Gid> = reply.groups.iter().copied().map(Gid::from_raw).collect();
    let mut has = getgroups().map_err(denied)?;
    wanted.sort_by_key(|group| group.as_raw());
    has.sort_by_key(|group| group.as_raw());
    // Groups first: after setuid there is no right to change them.
    if wanted != has && (geteuid().is_root() || uid != geteuid()) {
        setgroups(&wanted).map_err(denied)?;
    }
    if gid != getegid() {
        setgid(gid).map_err(denied)?;
    }
    if uid != geteuid() {
        setuid(uid).map_err(denied)?;
    }
    Ok(())
}

/// Who else sends the command its keyboard signals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Attached {
    /// The terminal does: Ctrl-C and Ctrl-\ reach its whole foreground group, and must not come twice.
    Terminal,
    /// Nobody.
    Nothing,
}

impl Attached {
    fn now() -> Attached {
        let terminal = io::IsTerminal::is_terminal(&io::stdin());
        if terminal { Attached::Terminal } else { Attached::Nothing }
    }

    /// The signals to pass on.
    fn passes(self, signal: i32) -> bool {
        match self {
            Attached::Terminal => !matches!(signal, SIGINT | SIGQUIT | SIGWINCH),
            Attached::Nothing => true,
        }
    }
}

/// Runs the command to its end, passing signals on. The code is its own, or 128 and its signal.
fn supervise(command: &mut Command, attached: Attached) -> io::Result<u8> {
    // Caught before the child is there, so that none that comes early ends svctl and leaves it alone. Caught signals
    // are back to their defaults after exec (execve(2)).
    let mut signals = Signals::new([SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGWINCH])?;
    let handle = signals.handle();
    let mut child = command.spawn()?;
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap_or(i32::MAX));
    let forwarder = std::thread::spawn(move || {
        for signal in signals.forever() {
            if attached.passes(signal)
                && let Ok(signal) = Signal::try_from(signal)
            {
                // It may have ended by now, and is not reaped before this thread has ended.
                let _ended = kill(pid, signal);
            }
        }
    });
    // Waited for and left unreaped until nobody signals it any more: its number is still its own.
    while let Err(nix::errno::Errno::EINTR) = waitid(Id::Pid(pid), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT) {}
    handle.close();
    if forwarder.join().is_err() {
        return Err(io::Error::other("the thread that passes signals on has panicked"));
    }
    let status = child.wait()?;
    let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
    Ok(u8::try_from(code).unwrap_or(u8::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str) -> io::Result<u8> {
        supervise(Command::new("sh").arg("-c").arg(script), Attached::Nothing)
    }

    // One test, since a signal to this process reaches the commands of all that run.
    #[test]
    fn a_command_gets_our_signals_and_its_end_is_ours() {
        assert_eq!(sh("exit 7").unwrap(), 7);
        assert_eq!(sh("kill -TERM $$").unwrap(), 143);
        assert_eq!(sh("true").unwrap(), 0);
        // given a command that tells svctl to end, as soon as it is ready for what comes of that
        assert_eq!(sh("trap 'exit 9' TERM; kill -TERM $PPID; while :; do :; done").unwrap(), 9);
        assert_eq!(
            supervise(&mut Command::new("/no/such"), Attached::Nothing).unwrap_err().kind(),
            io::ErrorKind::NotFound
        );
    }

    #[test]
    fn keyboard_signals_are_left_to_the_terminal() {
        assert!(!Attached::Terminal.passes(SIGINT));
        assert!(Attached::Nothing.passes(SIGINT));
        assert!(Attached::Terminal.passes(SIGTERM));
    }
}
