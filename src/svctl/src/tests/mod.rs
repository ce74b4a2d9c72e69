//! svctl against a server that answers as the test says, over a real Unix socket.

mod changes;
mod server;
mod streams;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use clap::Parser;

use crate::args::Cli;
use crate::find::Caller;
use crate::screen::{Format, Paint, Place, Screen};

pub(crate) use server::{Reply, Server};

/// A directory that goes when it is dropped.
pub(crate) struct TempDir(PathBuf);

impl TempDir {
    pub fn new() -> TempDir {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("svctl-test-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).unwrap();
        TempDir(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _left_over = std::fs::remove_dir_all(&self.0);
    }
}

pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// What a run of svctl left.
#[derive(Debug)]
pub(crate) struct Ran {
    pub code: u8,
    pub out: String,
    pub err: String,
}

/// Runs svctl with a control socket.
pub(crate) fn svctl(socket: &Path, arguments: &[&str]) -> Ran {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let code = svctl_to(socket, arguments, &mut out, &mut err);
    Ran { code, out: String::from_utf8(out).unwrap(), err: String::from_utf8(err).unwrap() }
}

/// Runs svctl with outputs of the test's own.
pub(crate) fn svctl_to(
    socket: &Path,
    arguments: &[&str],
    out: &mut dyn std::io::Write,
    err: &mut dyn std::io::Write,
) -> u8 {
    let words = ["svctl", "--socket", socket.to_str().unwrap()].into_iter().chain(arguments.iter().copied());
    let cli = Cli::try_parse_from(words).unwrap();
    let caller = Caller { uid: 0, env: BTreeMap::new(), cwd: "/".into(), slash: "/".into() };
    let format = if cli.global.json { Format::Json } else { Format::Human };
    let mut screen =
        Screen { out, err, place: Place::Other, err_place: Place::Other, paint: Paint::Plain, format, width: None };
    crate::run::run(&cli, &caller, &mut screen)
}
