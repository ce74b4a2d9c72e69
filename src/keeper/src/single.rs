//! One command and nothing else, as tini runs it: `svd -- command`. There is no manager here.
//!
//! The command has svd's standard streams and environment, a group of its own that is the terminal's foreground, and
//! gets every signal that svd is sent. Orphans are reaped. When it ends, what is left of its tree is ended and svd
//! leaves with its exit code: 128+n for a signal, 127 not found, 126 not executable.

use crate::step::exit_code;
use std::ffi::{CString, OsStr, OsString};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use svd_sys::epoll::{Epoll, Interest};
use svd_sys::signal::{self, SignalFd};
use svd_sys::spawn::{self, Child, Others, Program, Progress, Session, Stage, Started};
use svd_sys::wait::{self, Ended, Peek};
use svd_sys::{clock, fd, pidfd, process, report, tree, tty};
use svd_wire::Exit;

/// How long descendants that outlive the command have after TERM, and again after KILL.
const GRACE: Duration = Duration::from_secs(2);
const NOT_FOUND: u8 = 127;
const NOT_EXECUTABLE: u8 = 126;
const USAGE: u8 = 2;
const FAILED: u8 = 1;

/// Runs `argv` and returns the exit code for svd. `search_path` is `$PATH`.
pub fn run_single(argv: Vec<OsString>, search_path: &OsStr) -> u8 {
    let Some(name) = argv.first().cloned() else {
        report::line("no command after --");
        return USAGE;
    };
    let cannot_run = |error: &dyn std::fmt::Display, code| {
        report::line(&format!("cannot run {:?}: {error}", name.to_string_lossy()));
        code
    };
    let path = match find(&name, search_path) {
        Ok(path) => path,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let missing =
                if name.as_encoded_bytes().contains(&b'/') { "no such program" } else { "no such program in PATH" };
            return cannot_run(&missing, NOT_FOUND);
        }
        Err(error) => return cannot_run(&error, NOT_EXECUTABLE),
    };
    match Single::start(&path, argv).and_then(Single::attend) {
        Ok(Outcome::Ended(code)) => code,
        Ok(Outcome::NotRun(stage, errno)) => {
            let error = io::Error::from_raw_os_error(errno);
            let code = if error.kind() == io::ErrorKind::NotFound { NOT_FOUND } else { NOT_EXECUTABLE };
            if stage == Stage::Exec {
                cannot_run(&error, code)
            } else {
                cannot_run(&format!("{error} ({stage:?})"), FAILED)
            }
        }
        Err(error) => cannot_run(&error, FAILED),
    }
}

/// The file of a command: as it is when it has a slash, else the first executable one in the search path.
fn find(name: &OsStr, search_path: &OsStr) -> io::Result<PathBuf> {
    if name.as_bytes().contains(&b'/') {
        return Ok(PathBuf::from(name));
    }
    let mut error = io::Error::from(io::ErrorKind::NotFound);
    for directory in std::env::split_paths(search_path) {
        let path = if directory.as_os_str().is_empty() { Path::new(".").join(name) } else { directory.join(name) };
        match path.metadata() {
            Ok(file) if file.is_file() && file.permissions().mode() & 0o111 != 0 => return Ok(path),
            Ok(file) if file.is_file() => error = io::ErrorKind::PermissionDenied.into(),
            Ok(_) | Err(_) => {}
        }
    }
    Err(error)
}

enum Outcome {
    Ended(u8),
    NotRun(Stage, i32),
}

/// What became of the command so far.
#[derive(Clone, Copy)]
enum Main {
    Running,
    Ended { code: u8, kill_at: u64, killed: Killed },
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Killed {
    NotYet,
    Yes,
}

struct Single {
    signals: SignalFd,
    epoll: Epoll,
    started: Started,
}

impl Single {
    fn start(path: &Path, argv: Vec<OsString>) -> io::Result<Single> {
        fd::ensure_stdio()?;
        signal::block_all_and_reset()?;
        if process::pid() != 1 {
            process::set_subreaper()?;
        }
        let path = CString::new(path.as_os_str().as_bytes())?;
        let argv = argv.into_iter().map(|arg| CString::new(arg.into_vec())).collect::<Result<Vec<_>, _>>()?;
        let env: Vec<CString> = std::env::vars_os()
            .filter_map(|(key, value)| CString::new([key.as_bytes(), b"=", value.as_bytes()].concat()).ok())
            .collect();
        let null = fd::open_null()?;
        let signals = SignalFd::new()?;
        let epoll = Epoll::new()?;
        epoll.add(signals.as_fd(), 0, Interest::Read)?;
        let stdin = io::stdin();
        let foreground = tty::is_controlling(stdin.as_fd());
        let started = spawn::start(&Child {
            program: Program::Path(&path),
            argv: &argv,
            env: &env,
            cwd: None,
            umask: None,
            nice: None,
            oom_score_adj: None,
            identity: None,
            limits: &[],
            fds: &[],
            others: Others::Inherit,
            null: null.as_fd(),
            session: if foreground { Session::Foreground } else { Session::Group },
            die_with: None,
            filter: None,
            cgroups: &[],
            confine: Default::default(),
        })?;
        Ok(Single { signals, epoll, started })
    }

    fn attend(mut self) -> io::Result<Outcome> {
        let mut main = Main::Running;
        let mut events = Vec::new();
        loop {
            // CHLD may have come before the descriptor was there, so zombies are looked for first.
            loop {
                match wait::peek()? {
                    Peek::Zombie(pid) => {
                        let Some((ended, _usage)) = wait::reap(pid)? else { break };
                        if pid == self.started.pid {
                            if let Progress::Failed(stage, errno) = self.started.status.progress() {
                                return Ok(Outcome::NotRun(stage, errno));
                            }
                            main = Main::Ended { code: code(ended), kill_at: after(GRACE), killed: Killed::NotYet };
                            signal_descendants(signal::TERM)?;
                        }
                    }
                    Peek::NoneYet => break,
                    Peek::NoChildren => match main {
                        Main::Ended { code, .. } => return Ok(Outcome::Ended(code)),
                        Main::Running => return Err(io::Error::other("the command is no child of svd any more")),
                    },
                }
            }
            let mut timeout = None;
            if let Main::Ended { code, kill_at, killed } = &mut main {
                let now = clock::now().mono_ns;
                if now >= *kill_at {
                    if *killed == Killed::Yes {
                        report::line("processes are left that cannot be killed");
                        return Ok(Outcome::Ended(*code));
                    }
                    (*kill_at, *killed) = (after(GRACE), Killed::Yes);
                }
                if *killed == Killed::Yes {
                    // Again after each death, which may have made orphans of processes that were started meanwhile.
                    signal_descendants(signal::KILL)?;
                }
                timeout = Some(Duration::from_nanos(kill_at.saturating_sub(now)));
            }
            events.clear();
            self.epoll.wait(&mut events, timeout)?;
            while let Some(number) = self.signals.read()? {
                if forwarded(number) {
                    // ESRCH: it has ended, and the next turn finds it.
                    let _gone = pidfd::send_signal(self.started.pidfd.as_fd(), number);
                }
            }
        }
    }
}

/// All signals but those by which the kernel tells of children, of the terminal, and of our own faults.
fn forwarded(number: i32) -> bool {
    const FAULTS: [&str; 7] = ["FPE", "ILL", "SEGV", "BUS", "ABRT", "TRAP", "SYS"];
    ![signal::CHLD, signal::TTIN, signal::TTOU].contains(&number)
        && !FAULTS.iter().any(|name| signal::number(name) == Some(number))
}

fn signal_descendants(number: i32) -> io::Result<()> {
    for proc in tree::descendants(process::pid())?.iter().filter(|proc| !proc.has_ended()) {
        let _one_of_many = tree::kill_verified(proc, number);
    }
    Ok(())
}

fn after(time: Duration) -> u64 {
    clock::now().mono_ns.saturating_add(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX))
}

fn code(ended: Ended) -> u8 {
    exit_code(match ended {
        Ended::Code(code) => Exit::Code(code),
        Ended::Signal { signal, core } => Exit::Signal { signal, core },
        Ended::Unknown => Exit::Unknown,
    })
}
