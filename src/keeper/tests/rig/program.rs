//! What the tests run: `keeper PATH` is a keeper; the managers that it starts connect to PATH, hand their end of the
//! wire over and sleep until they are killed, so that the test can play the manager. `-- COMMAND` is tini's mode.

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
    match svd_keeper::entry(&args) {
        Entry::Manager => manager(&args),
        Entry::Single { argv } => svd_keeper::run_single(argv, &std::env::var_os("PATH").unwrap_or_default()).into(),
        Entry::Keeper => svd_keeper::run(args).into(),
        Entry::Misused { .. } | Entry::Tool => ExitCode::FAILURE,
    }
}

fn manager(args: &[OsString]) -> ExitCode {
    let Some(path) = args.get(1).and_then(|path| path.to_str()) else { return ExitCode::from(2) };
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
