//! A manager that speaks version 1 of the protocol, below a keeper of today. The other direction, and whole programs, are in the
//! workspace's `tests/skew.rs`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

mod rig;

use rig::{PATIENCE, Rig, program};
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use svd_sys::{pidfd, signal, tree};
use svd_wire::Request;

/// The old svd, unpacked into this directory.
fn old_svd(dir: &Path) -> PathBuf {
    let packed = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/svd-protocol-1.xz");
    let path = dir.join("old-svd");
    let script = "import lzma, shutil, sys; shutil.copyfileobj(lzma.open(sys.argv[1]), open(sys.argv[2], 'wb'))";
    // In a process of its own: a file that another test's child has open for writing for a moment could not be run.
    assert!(Command::new("python3").args(["-c", script]).arg(packed).arg(&path).status().unwrap().success());
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    path
}

fn get(socket: &Path, path: &str) -> Option<String> {
    let mut stream = UnixStream::connect(socket).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: svd\r\nConnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    answer.starts_with("HTTP/1.1 200").then_some(answer)
}

/// Waits until somebody answers there.
fn answer(socket: &Path, path: &str) -> String {
    let deadline = svd_sys::clock::now().mono_ns + 30_000_000_000;
    loop {
        if let Some(answer) = get(socket, path) {
            return answer;
        }
        assert!(svd_sys::clock::now().mono_ns < deadline, "nobody answers {path}");
        std::thread::yield_now();
    }
}

/// Fault 46.
#[test]
fn an_old_manager_keeps_an_app_below_a_keeper_of_today_and_so_does_the_next_old_one() {
    if !cfg!(target_arch = "x86_64") {
        eprintln!("SKIPPED: the programs of earlier builds are for x86-64");
        return;
    }
    // given: a keeper of today whose managers are told the arguments of a real svd
    let dir = std::env::temp_dir().join(format!("svd-skew-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    std::fs::write(dir.join("Procfile.toml"), "[process.web]\nrun = \"sleep 1000\"\n").unwrap();
    let mut rig = Rig::start_by(|path| {
        let mut command = Command::new(program());
        command.args(["run", "--root"]).arg(dir.join("root")).current_dir(&dir).env("RIG_SOCKET", path);
        command
    });
    let (manager, _) = rig.live();
    // when: it is told to run managers from the old program
    let old = old_svd(&dir);
    let program = std::fs::File::open(&old).unwrap();
    manager.send(&Request::UpgradeManager { note: Vec::new() }, &[program.as_fd()]);
    drop(manager);
    // then: the old manager is live, and starts the app
    let socket = dir.join("root/run/control.sock");
    answer(&socket, "/v1/wait?target=web&timeout=20s");
    let child = |name: &str| {
        let below = tree::descendants(rig.pid()).unwrap();
        below
            .into_iter()
            .find(|proc| std::fs::read_link(format!("/proc/{}/exe", proc.pid)).is_ok_and(|exe| exe.ends_with(name)))
    };
    let web = child("sleep").unwrap_or_else(|| panic!("no sleep: {:?}", tree::descendants(rig.pid())));
    // and: where it is killed the next old one takes over from the keeper of today
    let first = child("old-svd").unwrap();
    pidfd::send_signal(pidfd::open(first.pid).unwrap().as_fd(), signal::KILL).unwrap();
    let status = answer(&socket, "/v1/status");
    assert!(status.contains("\"manager_starts\":3"), "{status}");
    assert!(status.contains(&format!("\"pid\":{}", web.pid)) && status.contains("\"restarts\":0"), "{status}");
    // and: an end of everything is understood
    rig.signal(signal::TERM);
    assert_eq!(rig.wait().code(), Some(0));
    std::fs::remove_dir_all(dir).unwrap();
}
