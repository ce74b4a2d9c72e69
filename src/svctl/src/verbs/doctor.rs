//! `svctl doctor`: what svd can guarantee on this host. svd itself tries it, since it makes the system calls: the one beside this
//! svctl, else the one in PATH.

use std::io;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

use crate::client::reason;
use crate::failure::Failure;
use crate::screen::{Format, Screen};

/// Becomes `svd doctor`, for good; returns only where that fails.
pub(crate) fn run(screen: &Screen<'_>) -> Failure {
    let svd = beside().unwrap_or_else(|| "svd".into());
    let mut command = Command::new(&svd);
    command.arg("doctor");
    if screen.format == Format::Json {
        command.arg("--json");
    }
    let error = command.exec();
    if error.kind() == io::ErrorKind::NotFound {
        return Failure::Failed(
            "svd does this, and is neither beside svctl nor in PATH: install both, or run `svd doctor` where it is"
                .to_owned(),
        );
    }
    Failure::Failed(format!("cannot run {}: {}", svd.display(), reason(&error)))
}

/// The svd that was installed with this svctl.
fn beside() -> Option<PathBuf> {
    Some(std::env::current_exe().ok()?.with_file_name("svd")).filter(|svd| svd.is_file())
}
