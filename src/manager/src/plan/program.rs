//! Finding a program: PATH search as execvp(3) does it, done here so that the keeper is given an absolute path.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// PATH where a process's environment has none.
pub const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What a search found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// An executable file.
    Found(PathBuf),
    /// A file that may not be executed, or no file at all. Its exec will fail with this name, and say so.
    NotExecutable(PathBuf),
    /// Nothing of this name; the path is where it was looked for first.
    Missing(PathBuf),
}

impl Lookup {
    /// The path to give to execve, whatever was found.
    pub fn path(&self) -> &Path {
        match self {
            Lookup::Found(path) | Lookup::NotExecutable(path) | Lookup::Missing(path) => path,
        }
    }
}

/// Searches `name` in `path` (as `$PATH`, of the process to be started); a name with a slash is taken from `cwd`.
pub fn lookup(name: &str, path: Option<&str>, cwd: &Path) -> Lookup {
    if name.contains('/') {
        return judge(cwd.join(name));
    }
    let mut candidates = path.unwrap_or(DEFAULT_PATH).split(':').map(|dir| cwd.join(dir).join(name));
    let first = candidates.clone().next().unwrap_or_else(|| cwd.join(name));
    let mut denied = None;
    for candidate in candidates.by_ref() {
        match judge(candidate) {
            Lookup::Found(path) => return Lookup::Found(path),
            Lookup::NotExecutable(path) => denied = denied.or(Some(path)),
            Lookup::Missing(_) => {}
        }
    }
    match denied {
        Some(path) => Lookup::NotExecutable(path),
        None => Lookup::Missing(first),
    }
}

fn judge(path: PathBuf) -> Lookup {
    match std::fs::metadata(&path) {
        Ok(meta) if meta.is_file() && meta.permissions().mode() & 0o111 != 0 => Lookup::Found(path),
        Ok(_) => Lookup::NotExecutable(path),
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => Lookup::NotExecutable(path),
        Err(_) => Lookup::Missing(path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_searched_in_path_and_a_path_is_taken_from_the_working_directory() {
        assert_eq!(lookup("sh", Some("/nowhere:/bin"), Path::new("/")), Lookup::Found("/bin/sh".into()));
        assert_eq!(lookup("bin/sh", None, Path::new("/")), Lookup::Found("/bin/sh".into()));
        assert_eq!(lookup("no-such", Some("/bin"), Path::new("/")), Lookup::Missing("/bin/no-such".into()));
        assert_eq!(lookup("/etc/passwd", None, Path::new("/")), Lookup::NotExecutable("/etc/passwd".into()));
    }
}
