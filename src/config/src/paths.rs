//! What an app is called and where its state, runtime files and control socket are. svd and svctl both ask here, so
//! that one finds the other.
//!
//! Pure rules over user id and environment: nothing is looked at, created or made absolute here. Variables that are
//! empty count as unset, and XDG directories that are not absolute are ignored, as their specification wants it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::document;
use crate::report::Report;
use crate::source::{Source, SourceKind};

/// Name of the control socket in the runtime directory.
pub const SOCKET_NAME: &str = "control.sock";

/// Runtime directories of svds that run as root, one below it for each app.
pub const SYSTEM_RUNTIME: &str = "/run/svd";

/// State directories of svds that run as root, one below it for each app.
pub const SYSTEM_STATE: &str = "/var/lib/svd";

/// The app of a config: what its main file says, else made of its directory's name; empty where none can be made. Other
/// errors in the file do not matter: what runs was started before they were made.
pub fn app(main: &Source, dir: &Path) -> String {
    let said = match main.kind {
        SourceKind::Toml => document::read_main(&main.text, &mut Report::of(main)).app.map(|app| app.value),
        SourceKind::Procfile | SourceKind::EnvFile => None,
    };
    said.unwrap_or_else(|| crate::app_of_dir(dir))
}

/// State directory: `root` (`--root`), else `$SVD_ROOT`, else `/var/lib/svd/APP` as root, and for others
/// `$XDG_STATE_HOME/svd/APP`, `~/.local/state/svd/APP`, or without a home `/tmp/svd-UID/APP` (whoever creates that must
/// check that it is their own). `uid` is the effective user id.
pub fn state_root(uid: u32, env: &BTreeMap<String, String>, app: &str, root: Option<&Path>) -> PathBuf {
    match chosen_root(env, root) {
        Some(root) => root,
        None => user_state(uid, env).join(app),
    }
}

/// Runtime directory, for the control socket and the lock: `ROOT/run` where a root is given (so that several svds of
/// one app can run side by side), else `/run/svd/APP` as root, `$XDG_RUNTIME_DIR/svd/APP` for others, else `run` below
/// the state directory.
pub fn runtime_dir(uid: u32, env: &BTreeMap<String, String>, app: &str, root: Option<&Path>) -> PathBuf {
    if let Some(root) = chosen_root(env, root) {
        return root.join("run");
    }
    match user_runtime(uid, env) {
        Some(dir) => dir.join(app),
        None => state_root(uid, env, app, None).join("run"),
    }
}

/// The control socket, in the runtime directory.
pub fn socket(uid: u32, env: &BTreeMap<String, String>, app: &str, root: Option<&Path>) -> PathBuf {
    runtime_dir(uid, env, app, root).join(SOCKET_NAME)
}

/// The directory in which this user's apps have their runtime directories, where there is such a one.
pub fn user_runtime(uid: u32, env: &BTreeMap<String, String>) -> Option<PathBuf> {
    if uid == 0 {
        return Some(PathBuf::from(SYSTEM_RUNTIME));
    }
    absolute(env, "XDG_RUNTIME_DIR").map(|dir| dir.join("svd"))
}

/// The directory in which this user's apps have their state directories.
pub fn user_state(uid: u32, env: &BTreeMap<String, String>) -> PathBuf {
    if uid == 0 {
        return PathBuf::from(SYSTEM_STATE);
    }
    if let Some(dir) = absolute(env, "XDG_STATE_HOME") {
        return dir.join("svd");
    }
    match absolute(env, "HOME") {
        Some(home) => home.join(".local/state/svd"),
        None => temporary(uid),
    }
}

/// `/tmp/svd-UID`: where a user's apps go who have no other place. Anybody could have made it: check whose it is.
pub fn temporary(uid: u32) -> PathBuf {
    PathBuf::from(format!("/tmp/svd-{uid}"))
}

fn chosen_root(env: &BTreeMap<String, String>, root: Option<&Path>) -> Option<PathBuf> {
    let named = env.get("SVD_ROOT").filter(|value| !value.is_empty());
    root.map(Path::to_path_buf).or_else(|| named.map(PathBuf::from))
}

fn absolute(env: &BTreeMap<String, String>, name: &str) -> Option<PathBuf> {
    env.get(name).map(PathBuf::from).filter(|path| path.is_absolute())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[track_caller]
    fn check(uid: u32, pairs: &[(&str, &str)], root: Option<&str>, state: &str, socket_path: &str) {
        let env = env(pairs);
        let root = root.map(Path::new);
        assert_eq!(state_root(uid, &env, "shop", root), Path::new(state));
        assert_eq!(socket(uid, &env, "shop", root), Path::new(socket_path));
    }

    #[test]
    fn the_app_is_what_the_file_says_even_when_the_rest_of_it_is_wrong() {
        let app_of = |kind, text: &str| {
            let main = Source { path: "Procfile.toml".into(), kind, text: text.to_owned(), mode: 0o600 };
            app(&main, Path::new("/srv/My Shop"))
        };
        assert_eq!(app_of(SourceKind::Toml, "app = \"blog\"\nprocces = 1\n[process.web]\nrun = 7\n"), "blog");
        assert_eq!(app_of(SourceKind::Toml, "[process]\nweb = \"web\"\n"), "my-shop");
        assert_eq!(app_of(SourceKind::Procfile, "app: web"), "my-shop");
    }

    #[test]
    fn root_has_the_system_directories_whatever_its_own_environment_says() {
        let xdg = [("HOME", "/root"), ("XDG_RUNTIME_DIR", "/run/user/0"), ("XDG_STATE_HOME", "/root/state")];
        check(0, &xdg, None, "/var/lib/svd/shop", "/run/svd/shop/control.sock");
    }

    #[test]
    fn others_have_their_own_directories() {
        let home = ("HOME", "/home/ann");
        let state = "/home/ann/.local/state/svd/shop";
        check(
            1000,
            &[home, ("XDG_RUNTIME_DIR", "/run/user/1000")],
            None,
            state,
            "/run/user/1000/svd/shop/control.sock",
        );
        check(1000, &[home], None, state, "/home/ann/.local/state/svd/shop/run/control.sock");
        check(1000, &[home, ("XDG_STATE_HOME", "/s")], None, "/s/svd/shop", "/s/svd/shop/run/control.sock");
        check(1000, &[], None, "/tmp/svd-1000/shop", "/tmp/svd-1000/shop/run/control.sock");
    }

    #[test]
    fn a_given_root_holds_everything_and_the_option_wins_over_the_variable() {
        let both = [("SVD_ROOT", "/srv/a"), ("XDG_RUNTIME_DIR", "/run/user/1000")];
        check(0, &both, None, "/srv/a", "/srv/a/run/control.sock");
        check(1000, &both, Some("/srv/b"), "/srv/b", "/srv/b/run/control.sock");
    }

    #[test]
    fn empty_and_relative_values_count_as_unset() {
        let bad = [("SVD_ROOT", ""), ("XDG_RUNTIME_DIR", "run"), ("XDG_STATE_HOME", ""), ("HOME", "/h")];
        check(7, &bad, None, "/h/.local/state/svd/shop", "/h/.local/state/svd/shop/run/control.sock");
    }
}
