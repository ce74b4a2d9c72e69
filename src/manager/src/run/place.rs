//! Where this app's state and runtime files are, made ready.

use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
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
                let shared = Path::new(svd_config::paths::SYSTEM_RUNTIME).join(app);
                let mut candidates = [shared.join("state"), svd_config::paths::temporary(uid).join(app)];
                if uid != 0 {
                    // Where svctl looks first. An engine may have made /run writable for everybody.
                    candidates.reverse();
                }
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
                let runtime = match make(&runtime) {
                    Ok(()) => runtime,
                    Err(_) if instead.starts_with(&shared) => shared,
                    Err(_) => instead.join("run"),
                };
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

    /// The lock of a directory, which one svd holds for its life.
    pub fn lock(dir: &Path) -> PathBuf {
        dir.join("lock")
    }

    /// The runtime directory where the lock of the state directory does not cover it: two svds with one of these and two
    /// state directories would take each other's control socket away.
    pub fn runtime_apart(&self) -> Option<&PathBuf> {
        (!self.runtime.starts_with(&self.root)).then_some(&self.runtime)
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
    passable(dir, 0o751)?;
    for part in in_shared(dir, svd_sys::process::uid()) {
        is_ours(part)?;
    }
    let probe = dir.join(format!(".writable-{}", svd_sys::process::pid()));
    std::fs::File::create(&probe)?;
    std::fs::remove_file(&probe)
}

/// Makes a directory and those above it that are missing. What is made has this mode whatever the umask is: services that
/// run as other users pass through on the way to their notify sockets, members of groups to the control socket.
fn passable(dir: &Path, mode: u32) -> io::Result<()> {
    let missing: Vec<&Path> = dir.ancestors().take_while(|part| part.symlink_metadata().is_err()).collect();
    std::fs::DirBuilder::new().recursive(true).mode(mode).create(dir)?;
    missing.iter().try_for_each(|part| std::fs::set_permissions(part, std::fs::Permissions::from_mode(mode)))
}

/// The parts of a path below `/tmp/svd-UID`, and of another user than root below `/run/svd`, where everybody may have made them
/// first.
fn in_shared(dir: &Path, uid: u32) -> impl Iterator<Item = &Path> {
    let own = svd_config::paths::temporary(uid);
    let run = Path::new(svd_config::paths::SYSTEM_RUNTIME);
    dir.ancestors().filter(move |part| part.starts_with(&own) || uid != 0 && part.starts_with(run))
}

/// Refuses a directory that somebody else made, or may change.
fn is_ours(dir: &Path) -> io::Result<()> {
    let found = dir.symlink_metadata()?;
    if found.is_dir() && found.uid() == svd_sys::process::uid() && found.mode() & 0o022 == 0 {
        return Ok(());
    }
    let told = format!("{} is not a directory of svd's own user that only this user may change", dir.display());
    Err(io::Error::new(io::ErrorKind::PermissionDenied, told))
}

fn traversable(dir: &Path) -> io::Result<()> {
    passable(dir, 0o711)?;
    // What a keeper that was killed left behind is of no use to anybody.
    for entry in std::fs::read_dir(dir)?.flatten() {
        match std::fs::remove_file(entry.path()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fault 61.
    #[test]
    fn below_the_shared_temporary_directory_only_what_is_our_own_is_used() {
        // given a directory of ours with one that everybody may write to, and a link
        let own = std::env::temp_dir().join(format!("svd-place-{}", svd_sys::process::pid()));
        let open = own.join("open");
        passable(&open, 0o777).unwrap();
        std::fs::set_permissions(&own, std::fs::Permissions::from_mode(0o751)).unwrap();
        let link = own.join("link");
        std::os::unix::fs::symlink(&own, &link).unwrap();
        // then
        assert!(is_ours(&own).is_ok());
        assert!(is_ours(&open).is_err());
        assert!(is_ours(&link).is_err());
        let parts: Vec<&Path> = in_shared(Path::new("/tmp/svd-7/shop/run"), 7).collect();
        assert_eq!(parts, ["/tmp/svd-7/shop/run", "/tmp/svd-7/shop", "/tmp/svd-7"].map(Path::new));
        assert_eq!(in_shared(Path::new("/tmp/svd-8/shop"), 7).count(), 0);
        assert_eq!(in_shared(Path::new("/var/lib/svd/shop"), 0).count(), 0);
        assert_eq!(in_shared(Path::new("/run/svd/shop/state"), 0).count(), 0);
        assert_eq!(in_shared(Path::new("/run/svd/shop/state"), 7).count(), 3);
        std::fs::remove_dir_all(own).unwrap();
    }
}
