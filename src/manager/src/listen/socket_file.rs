//! The file of a Unix listener. It has a second, hidden name beside it, `.NAME.svd`: programs take away the path before they
//! bind it, or when they end, and the socket behind it would be out of reach for ever.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::group::BACKLOG;

/// Longest path that a socket can be bound to (sun_path, unix(7)), less its NUL.
const LONGEST: usize = 107;

/// Who may connect.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Access {
    /// Permission bits.
    pub mode: u32,
    /// Owner; `None` keeps svd's own.
    pub uid: Option<u32>,
    /// Group; `None` keeps svd's own.
    pub gid: Option<u32>,
}

/// Which file it is: device and inode.
pub type Identity = (u64, u64);

/// Makes a listening socket that nobody can reach yet: it has its hidden name only. What is left at the path must be the
/// socket of a program that has ended, or nothing.
pub fn make(path: &Path, access: Access) -> Result<(OwnedFd, Identity), String> {
    check(path)?;
    let hidden = hidden(path);
    let failed = |what: &str, error: io::Error| format!("{} cannot be {what}: {error}", path.display());
    match fs::remove_file(&hidden) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed("made", error)),
        Ok(()) | Err(_) => {}
    }
    let socket = bind(&hidden).map_err(|error| match error.kind() {
        io::ErrorKind::PermissionDenied => {
            format!("{} cannot be made: svd may not write to its directory", path.display())
        }
        _ => failed("made", error),
    })?;
    // Who may write to the directory may have put something else there meanwhile, but no new socket of ours.
    let own = svd_sys::process::uid();
    let is_new = |found: &fs::Metadata| found.nlink() == 1 && found.uid() == own;
    match allow_if(&hidden, access, is_new) {
        Ok(identity) => Ok((socket, identity)),
        Err(error) => {
            let _as_good = fs::remove_file(&hidden);
            Err(failed("given its mode and owner (for another owner svd must be root)", error))
        }
    }
}

/// Gives the file of a socket that is there already its mode and owner. Whoever is connected stays. The directory often belongs to
/// the service, which can put anything in its place: what is no socket, or not the one that was bound (in a manager that did
/// not bind it: not the one that has the hidden name too, and no name elsewhere), is left alone, with an error.
pub fn allow(path: &Path, access: Access, bound: Option<Identity>) -> io::Result<()> {
    let bound_by_another = identity(&hidden(path));
    let is_ours = |found: &fs::Metadata| match bound {
        Some(bound) => identity_of(found) == bound,
        None => Some(identity_of(found)) == bound_by_another && found.nlink() <= 2,
    };
    allow_if(path, access, is_ours).map(drop)
}

/// Changes exactly the file that was found to be right; a link is none.
fn allow_if(path: &Path, access: Access, is_right: impl Fn(&fs::Metadata) -> bool) -> io::Result<Identity> {
    let file = svd_sys::files::pin(path)?;
    let found = file.metadata()?;
    if !found.file_type().is_socket() || !is_right(&found) {
        return Err(io::Error::other("somebody has put something else in its place"));
    }
    let differs = |wanted: Option<u32>, is: u32| wanted.is_some_and(|wanted| wanted != is);
    if differs(access.uid, found.uid()) || differs(access.gid, found.gid()) {
        svd_sys::files::give(file.as_fd(), access.uid, access.gid)?;
    }
    // After the owner: chown(2) may clear bits. The way through /proc leads to this very file.
    fs::set_permissions(format!("/proc/self/fd/{}", file.as_raw_fd()), Permissions::from_mode(access.mode))?;
    Ok(identity_of(&found))
}

/// The hidden name beside a path.
pub fn hidden(path: &Path) -> PathBuf {
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(".svd");
    path.with_file_name(name)
}

/// Makes the path lead to the socket, in one step: whoever connects finds it, or whatever was there before.
pub fn publish(path: &Path) -> io::Result<()> {
    let hidden = hidden(path);
    if identity(path) == identity(&hidden) && identity(path).is_some() {
        // rename(2) between two names of one file does nothing, and would leave the third name.
        return Ok(());
    }
    let third = hidden.with_extension("svd-new");
    let _stale = fs::remove_file(&third);
    fs::hard_link(&hidden, &third)?;
    fs::rename(&third, path)
}

/// What was found of the two names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// The path leads to the socket, or to what somebody else has put there since.
    There,
    /// Both are gone: nobody can reach the socket any more.
    Gone,
}

/// Puts a name back that somebody has taken away.
pub fn mend(path: &Path) -> io::Result<Found> {
    let hidden = hidden(path);
    match (identity(path), identity(&hidden)) {
        (Some(_), Some(_)) => {}
        (None, Some(_)) => publish(path)?,
        (Some(_), None) if is_socket(path) => fs::hard_link(path, hidden)?,
        (Some(_), None) => {}
        (None, None) => return Ok(Found::Gone),
    }
    Ok(Found::There)
}

/// Takes both names away, the path only while it leads to the socket.
pub fn remove(path: &Path) {
    let hidden = hidden(path);
    if identity(path).is_some() && identity(path) == identity(&hidden) {
        let _gone = fs::remove_file(path);
    }
    let _gone = fs::remove_file(hidden);
}

/// Whether a socket can be put there.
pub fn check(path: &Path) -> Result<(), String> {
    let dir = path.parent().unwrap_or(Path::new("/"));
    if !dir.is_dir() {
        return Err(format!("its directory {} does not exist; create it", dir.display()));
    }
    match path.symlink_metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(format!("{} cannot be looked at: {error}", path.display())),
        Ok(found) if !found.file_type().is_socket() => {
            return Err(format!("{} exists and is no socket; move it away or choose another path", path.display()));
        }
        Ok(_) => {}
    }
    // A connection tells a living socket from one whose program has ended. Where its queue is full, somebody holds it.
    match svd_sys::listen::try_unix(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Ok(_) | Err(_) => {
            Err(format!("{} is in use by another program; stop that or choose another path", path.display()))
        }
    }
}

/// Binds to a path; by way of its directory where it is too long for a socket.
fn bind(path: &Path) -> io::Result<OwnedFd> {
    if path.as_os_str().len() <= LONGEST {
        return svd_sys::listen::unix(path, BACKLOG);
    }
    let dir = File::open(path.parent().unwrap_or(Path::new("/")))?;
    let name = path.file_name().unwrap_or_default();
    svd_sys::listen::unix(&Path::new(&format!("/proc/self/fd/{}", dir.as_raw_fd())).join(name), BACKLOG)
}

fn identity(path: &Path) -> Option<Identity> {
    path.symlink_metadata().ok().map(|found| identity_of(&found))
}

fn identity_of(found: &fs::Metadata) -> Identity {
    (found.dev(), found.ino())
}

fn is_socket(path: &Path) -> bool {
    path.symlink_metadata().is_ok_and(|found| found.file_type().is_socket())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::listen::tests::Dir;
    use std::os::unix::net::UnixStream;

    const OURS: Access = Access { mode: 0o640, uid: None, gid: None };

    #[test]
    fn a_socket_is_reached_only_when_it_has_its_mode_and_replaces_what_a_killed_program_left() {
        // given what a killed program left
        let dir = Dir::new("unix-stale");
        let path = dir.path.join("app.sock");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        // when
        let (_socket, _) = make(&path, OURS).unwrap();
        // then
        assert_eq!(UnixStream::connect(&path).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
        publish(&path).unwrap();
        publish(&path).unwrap();
        assert_eq!(path.metadata().unwrap().mode() & 0o7777, 0o640);
        UnixStream::connect(&path).unwrap();
        assert_eq!(fs::read_dir(&dir.path).unwrap().count(), 2, "the path and the hidden name");
    }

    #[test]
    fn a_path_that_a_program_took_away_is_put_back_and_leads_to_the_same_socket() {
        // given
        let dir = Dir::new("unix-mend");
        let path = dir.path.join("app.sock");
        let (_socket, _) = make(&path, OURS).unwrap();
        publish(&path).unwrap();
        // when
        fs::remove_file(&path).unwrap();
        // then
        assert_eq!(mend(&path).unwrap(), Found::There);
        UnixStream::connect(&path).unwrap();
        // and the hidden one likewise
        fs::remove_file(hidden(&path)).unwrap();
        assert_eq!(mend(&path).unwrap(), Found::There);
        remove(&path);
        assert_eq!(fs::read_dir(&dir.path).unwrap().count(), 0);
        assert_eq!(mend(&path).unwrap(), Found::Gone);
    }

    #[test]
    fn what_is_no_stale_socket_is_left_alone() {
        let dir = Dir::new("unix-taken");
        let path = dir.path.join("app.sock");
        fs::write(&path, "precious").unwrap();
        assert!(make(&path, OURS).unwrap_err().contains("exists and is no socket"));
        let living = dir.path.join("living.sock");
        let _program = std::os::unix::net::UnixListener::bind(&living).unwrap();
        assert!(make(&living, OURS).unwrap_err().contains("is in use"));
        // also where no more may wait there, and a connection would have to wait itself
        let full = dir.path.join("full.sock");
        let _program = svd_sys::listen::unix(&full, 0).unwrap();
        let _waits = UnixStream::connect(&full).unwrap();
        assert!(make(&full, OURS).unwrap_err().contains("is in use"));
        let nowhere = dir.path.join("no/such/app.sock");
        assert!(make(&nowhere, OURS).unwrap_err().contains("does not exist; create it"));
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    }

    /// Fault 61.
    #[test]
    fn mode_and_owner_are_given_to_the_socket_alone_whatever_somebody_puts_in_its_place() {
        // given a socket whose path leads to a file of somebody else's by now
        let dir = Dir::new("unix-led");
        let (path, secret) = (dir.path.join("app.sock"), dir.path.join("secret"));
        let (_socket, bound) = make(&path, OURS).unwrap();
        publish(&path).unwrap();
        fs::write(&secret, "precious").unwrap();
        fs::set_permissions(&secret, Permissions::from_mode(0o600)).unwrap();
        let other = dir.path.join("other.sock");
        let _other = std::os::unix::net::UnixListener::bind(&other).unwrap();
        fs::set_permissions(&other, Permissions::from_mode(0o600)).unwrap();
        let mode = |path: &Path| path.metadata().unwrap().mode() & 0o7777;
        let open = Access { mode: 0o666, ..OURS };
        for bound in [Some(bound), None] {
            fs::remove_file(&path).unwrap();
            std::os::unix::fs::symlink(&secret, &path).unwrap();
            assert!(allow(&path, open, bound).is_err());
            fs::remove_file(&path).unwrap();
            fs::hard_link(&secret, &path).unwrap();
            assert!(allow(&path, open, bound).is_err());
            fs::remove_file(&path).unwrap();
            fs::hard_link(&other, &path).unwrap();
            assert!(allow(&path, open, bound).is_err());
        }
        assert_eq!((mode(&secret), mode(&other)), (0o600, 0o600));
        // when it is itself again
        publish(&path).unwrap();
        // then it gets them, from later managers too
        allow(&path, open, Some(bound)).unwrap();
        assert_eq!(mode(&path), 0o666);
        allow(&path, OURS, None).unwrap();
        assert_eq!(mode(&path), 0o640);
    }

    #[test]
    fn a_path_of_full_length_has_its_hidden_name_too() {
        let dir = Dir::new("unix-long");
        let fill = LONGEST - dir.path.as_os_str().len() - 1;
        let path = dir.path.join("s".repeat(fill));
        let (_socket, _) = make(&path, OURS).unwrap();
        publish(&path).unwrap();
        UnixStream::connect(&path).unwrap();
    }
}
