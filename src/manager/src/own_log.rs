//! svd's own log: `svd-log/` in the state directory, a file a day, kept a week.

use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use tracing_appender::rolling::{Builder, Rotation};

/// Files kept.
const DAYS: usize = 7;

/// Begins to log. Where that is not possible svd runs without: the disk's trouble is told elsewhere.
pub fn start(root: &Path) {
    let dir = root.join("svd-log");
    // The appender complains aloud about a directory that is not there before it makes it.
    let _made = std::fs::DirBuilder::new().recursive(true).mode(0o750).create(&dir);
    let built = Builder::new()
        .rotation(Rotation::DAILY)
        .filename_prefix("svd")
        .filename_suffix("log")
        .max_log_files(DAYS)
        .build(dir);
    if let Ok(appender) = built {
        let log = tracing_subscriber::fmt().with_ansi(false).with_target(false);
        // Fails where somebody set another one up, as a test may.
        let _other = log.with_writer(std::sync::Mutex::new(appender)).try_init();
    }
}
