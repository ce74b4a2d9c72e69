//! What a build of svd is and speaks: what `svd version --json` prints, and what an upgrade asks of a file before it is run as
//! anything.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use svd_sys::spawn::{self, Child, Others, Program, Session};
use svd_sys::{fd, pidfd, signal, wait};
use svd_wire::{FEATURE_UPGRADE, PROTOCOL_MAX, PROTOCOL_MIN, STATE_VERSION};

/// How long a program may take to say what it is.
const ANSWER: Duration = Duration::from_secs(5);
/// The most it may say, bytes.
const LONGEST: usize = 4096;

/// A build.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Build {
    /// Its version.
    pub version: String,
    /// Oldest and newest protocol between keeper and manager that it speaks.
    pub protocol: (u16, u16),
    /// The encoding of a keeper's state that it reads.
    pub state: u16,
    /// Its feature bits.
    pub features: u64,
}

impl Build {
    /// This one.
    pub fn own() -> Build {
        Build {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            protocol: (PROTOCOL_MIN, PROTOCOL_MAX),
            state: STATE_VERSION,
            features: FEATURE_UPGRADE,
        }
    }

    /// As `svd version --json` prints it.
    pub fn to_json(&self) -> String {
        serde_json::json!({
            "version": self.version,
            "protocol": { "min": self.protocol.0, "max": self.protocol.1 },
            "state": self.state,
            "features": self.features,
        })
        .to_string()
    }

    fn from_json(text: &[u8]) -> Option<Build> {
        let value: serde_json::Value = serde_json::from_slice(text).ok()?;
        let number = |value: &serde_json::Value| value.as_u64();
        let short = |value: &serde_json::Value| u16::try_from(value.as_u64()?).ok();
        Some(Build {
            version: value.get("version")?.as_str()?.to_owned(),
            protocol: (short(value.get("protocol")?.get("min")?)?, short(value.get("protocol")?.get("max")?)?),
            state: short(value.get("state")?)?,
            features: number(value.get("features")?)?,
        })
    }

    /// What the program behind this descriptor says it is; it is run for that, and ended where it does not answer in time.
    /// Blocks for as long.
    pub fn of(program: &OwnedFd) -> Result<Build, String> {
        let said = ask(program).map_err(|error| format!("cannot be run: {error}"))??;
        Build::from_json(&said)
            .ok_or_else(|| "is not svd, or a build of it from before upgrades without a restart".to_owned())
    }
}

fn ask(program: &OwnedFd) -> io::Result<Result<Vec<u8>, String>> {
    let null = fd::open_null()?;
    let (out, out_in) = fd::pipe()?;
    let argv = [c"svd".to_owned(), c"version".to_owned(), c"--json".to_owned()];
    let mut started = spawn::start(&Child {
        program: Program::Pinned(program.as_fd()),
        argv: &argv,
        env: &[],
        cwd: None,
        umask: None,
        nice: None,
        oom_score_adj: None,
        identity: None,
        limits: &[],
        fds: &[(out_in.as_fd(), 1)],
        others: Others::Close,
        null: null.as_fd(),
        session: Session::Own,
        die_with: Some(svd_sys::process::pid()),
        filter: None,
    })?;
    drop(out_in);
    let ended = fd::wait_readable(started.pidfd.as_fd(), ANSWER)?;
    if !ended {
        pidfd::send_signal(started.pidfd.as_fd(), signal::KILL)?;
        fd::wait_readable(started.pidfd.as_fd(), ANSWER)?;
    }
    let progress = started.status.progress();
    wait::reap(started.pid)?;
    if let spawn::Progress::Failed(_, errno) = progress {
        return Err(io::Error::from_raw_os_error(errno));
    }
    if !ended {
        return Ok(Err(format!("does not say within {} s what it is", ANSWER.as_secs())));
    }
    // What it started may hold the pipe open: what has been written by now is all it said.
    fd::set_nonblocking(out.as_fd())?;
    let mut said = vec![0; LONGEST];
    match fd::read(out.as_fd(), &mut said) {
        Ok(len) => said.truncate(len),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => said.clear(),
        Err(error) => return Err(error),
    }
    Ok(Ok(said))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_build_comes_back_from_what_it_prints() {
        assert_eq!(Build::from_json(Build::own().to_json().as_bytes()), Some(Build::own()));
    }

    #[test]
    fn programs_that_are_not_svd_are_told_by_what_they_do() {
        let check = |path: &str, expected: &str| {
            let program = std::fs::File::open(path).unwrap().into();
            let error = Build::of(&program).unwrap_err();
            assert!(error.contains(expected), "{path}: {error}");
        };
        check("/bin/true", "is not svd");
        check("/bin/echo", "is not svd");
        check("/etc/passwd", "cannot be run: Permission denied");
    }
}
