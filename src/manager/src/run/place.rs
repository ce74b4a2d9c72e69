//! Where this app's state and runtime files are, made ready.

use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// The directories of a running app.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// State: `state.db`, `logs/`.
    pub root: PathBuf,
    /// Runtime: `control.sock`, `lock`, `notify/`.
    pub runtime: PathBuf,
    /// What of it does not survive, where the root proper cannot be written.
    pub volatile: Option<String>,
}

/// Longest path of a Unix socket (sun_path, unix(7)), less its NUL.
const SOCKET_PATH: usize = 107;
/// Longest name of a notify socket below the runtime directory.
const NOTIFY_NAME: usize = 48;

impl Place {
    /// Makes the directories. Where the root cannot be written (a read-only container), goes to `/run` or `/tmp` instead
    /// and says what that costs; a root that was asked for by name must be writable.
    pub fn prepare(root: PathBuf, runtime: PathBuf, asked: RootAsked, app: &str) -> Result<Place, String> {
        let made = make(&root);
        let (root, runtime, volatile) = match (made, asked) {
            (Ok(()), _) => (root, runtime, None),
            (Err(error), RootAsked::ByName) => {
                return Err(format!("the state directory {} cannot be written: {error}", root.display()));
            }
            (Err(error), RootAsked::Default) => {
                let uid = svd_sys::process::uid();
                let candidates =
                    [PathBuf::from(format!("/run/svd/{app}/state")), PathBuf::from(format!("/tmp/svd-{uid}/{app}"))];
                let found = candidates.into_iter().find(|dir| make(dir).is_ok());
                let Some(instead) = found else {
                    return Err(format!(
                        "the state directory {} cannot be written ({error}), and neither can /run or /tmp; give one with --root",
                        root.display()
                    ));
                };
                let told = format!(
                    "{} cannot be written ({error}): scale, disabled, history and logs are kept in {} and do not survive a reboot or a new container",
                    root.display(),
                    instead.display()
                );
                let runtime = if make(&runtime).is_ok() { runtime } else { instead.join("run") };
                (instead, runtime, Some(told))
            }
        };
        make(&runtime)
            .map_err(|error| format!("the runtime directory {} cannot be made: {error}", runtime.display()))?;
        let place = Place { root, runtime, volatile };
        let longest = place.notify_dir().as_os_str().len().saturating_add(NOTIFY_NAME);
        if longest > SOCKET_PATH {
            return Err(format!(
                "the runtime directory {} is too long for a socket's path ({longest} bytes, {SOCKET_PATH} allowed); choose a shorter --root",
                place.runtime.display()
            ));
        }
        Ok(place)
    }

    /// Makes the directory of the notify sockets and clears it of what a killed keeper left. Only for the holder of the
    /// lock.
    pub fn prepare_notify(&self) -> Result<(), String> {
        let dir = self.notify_dir();
        // Services run as other users must be able to reach their socket; its name cannot be listed.
        traversable(&dir).map_err(|error| format!("{} cannot be made: {error}", dir.display()))
    }

    /// The control socket.
    pub fn control(&self) -> PathBuf {
        self.runtime.join(svd_config::paths::SOCKET_NAME)
    }

    /// The lock that one svd holds for its life.
    pub fn lock(&self) -> PathBuf {
        self.root.join("lock")
    }

    /// Directory of the notify sockets.
    pub fn notify_dir(&self) -> PathBuf {
        self.runtime.join("notify")
    }

    /// Directory of the log segments.
    pub fn logs(&self) -> PathBuf {
        self.root.join("logs")
    }
}

/// Whether the root was asked for by name (`--root`, `$SVD_ROOT`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RootAsked {
    /// Yes: no other will do.
    ByName,
    /// No.
    Default,
}

/// Makes a directory that can be written to and that others may pass through but not list.
fn make(dir: &Path) -> io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o751).create(dir)?;
    let probe = dir.join(format!(".writable-{}", svd_sys::process::pid()));
    std::fs::File::create(&probe)?;
    std::fs::remove_file(&probe)
}

fn traversable(dir: &Path) -> io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o711).create(dir)?;
    // What a keeper that was killed left behind is of no use to anybody.
    for entry in std::fs::read_dir(dir)?.flatten() {
        match std::fs::remove_file(entry.path()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
    }
    Ok(())
}
