//! What the tests run: `keeper PATH` is a keeper; the managers that it starts connect to PATH (or $RIG_SOCKET), hand their end of the
//! wire over and sleep until they are killed, so that the test can play the manager. `-- COMMAND` is tini's mode.
//!
//! A copy of it under another name is another program, which does what its name says: `hangs`, `exits`, `crashes` as a
//! manager; `cannot`, `dawdles` as a trial; `locks` passes its trial and then cannot be executed any more.

use std::ffi::OsString;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::time::Duration;
use svd_keeper::{Entry, WIRE_FD};
use svd_sys::fd;
use svd_sys::packet::PacketSocket;

fn main() -> ExitCode {
    let args: Vec<OsString> = std::env::args_os().skip(1).collect();
    let exe = std::env::current_exe().unwrap_or_default();
    let nature = exe.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
    match (svd_keeper::entry(&args), nature.as_str()) {
        (Entry::Manager, "hangs") | (Entry::Trial, "dawdles") => loop {
            std::thread::park();
        },
        (Entry::Manager, "crashes") => std::process::abort(),
        (Entry::Manager, "exits") | (Entry::Trial, "cannot") => return ExitCode::SUCCESS,
        (Entry::Trial, "locks") => {
            let _unwritable = std::fs::set_permissions(&exe, std::os::unix::fs::PermissionsExt::from_mode(0o600));
        }
        _ => {}
    }
    match svd_keeper::entry(&args) {
        Entry::Trial => svd_keeper::trial().into(),
        Entry::Manager => manager(&args),
        Entry::Single { argv } => svd_keeper::run_single(argv, &std::env::var_os("PATH").unwrap_or_default()).into(),
        Entry::Keeper => svd_keeper::run(args).into(),
        Entry::Misused { .. } | Entry::Tool => ExitCode::FAILURE,
    }
}

fn manager(args: &[OsString]) -> ExitCode {
    let told = std::env::var("RIG_SOCKET").ok();
    let Some(path) = told.as_deref().or_else(|| args.get(1)?.to_str()) else { return ExitCode::from(2) };
    if let Some(code) = path.strip_prefix("exit-") {
        return ExitCode::from(code.parse::<u8>().unwrap_or(99));
    }
    let Ok(wire) = fd::take_inherited(WIRE_FD) else { return ExitCode::from(3) };
    let Ok(stream) = UnixStream::connect(path) else { return ExitCode::from(4) };
    let Ok(socket) = PacketSocket::from_fd(OwnedFd::from(stream)) else { return ExitCode::from(5) };
    let pid = std::process::id().to_le_bytes();
    if socket.send(&pid, &[wire.as_fd()]).is_err() {
        return ExitCode::from(6);
    }
    drop(wire);
    // Until the test closes the connection, or kills us.
    while !matches!(fd::wait_readable(socket.as_fd(), Duration::from_secs(60)), Ok(true)) {}
    ExitCode::SUCCESS
}
