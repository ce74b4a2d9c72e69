//! Which svd is meant: from the command line, the environment, the current directory, or because only one runs.
//!
//! Looks at the file system and connects to sockets; asks nothing of those who listen.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use svd_config::paths;

use crate::args::Global;
use crate::client::{self, Error};
use crate::disk::Disk;
use crate::failure::Failure;

/// Who asks, and from where.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    /// Effective user id.
    pub uid: u32,
    /// Environment; variables that are no UTF-8 are left out.
    pub env: BTreeMap<String, String>,
    /// Current directory, absolute.
    pub cwd: PathBuf,
    /// The file system's root; another one in tests only.
    pub slash: PathBuf,
}

/// The control socket to use.
pub(crate) async fn socket(global: &Global, caller: &Caller) -> Result<PathBuf, Failure> {
    let named = [global.socket.is_some(), global.root.is_some(), global.app.is_some()];
    if named.iter().filter(|given| **given).count() > 1 {
        return Err(Failure::Usage(
            "give only one of --socket, --root and -a: each names the app by itself".to_owned(),
        ));
    }
    if let Some(socket) = &global.socket {
        return Ok(caller.cwd.join(socket));
    }
    if let Some(root) = &global.root {
        return Ok(paths::socket(caller.uid, &caller.env, "", Some(&caller.cwd.join(root))));
    }
    if let Some(app) = &global.app {
        return of_app(app, "-a", caller).await;
    }
    if let Some(socket) = caller.env.get("SVD_CONTROL").filter(|value| !value.is_empty()) {
        return Ok(caller.cwd.join(socket));
    }
    if let Some(root) = caller.env.get("SVD_ROOT").filter(|value| !value.is_empty()) {
        return Ok(paths::socket(caller.uid, &caller.env, "", Some(&caller.cwd.join(root))));
    }
    // What lies here is what is meant, even if it does not run while another does: `svctl stop all` must never hit a
    // neighbour.
    if let Some(app) = svd_config::app_in(&caller.cwd, &Disk) {
        return of_app(&app, "the config in the current directory", caller).await;
    }
    the_only_one(caller).await
}

/// The socket of an app by name: the caller's own, else root's, which its members may use.
async fn of_app(app: &str, source: &str, caller: &Caller) -> Result<PathBuf, Failure> {
    let candidates = candidates(app, caller);
    let mut tried = Vec::new();
    for candidate in candidates {
        match client::connect(&candidate).await {
            Err(Error::NotRunning(error)) => {
                tried.push(format!("{} ({})", candidate.display(), client::reason(&error)))
            }
            // Anything else is told when it is used.
            _ => return Ok(candidate),
        }
    }
    let mut message = format!(
        "svd is not running for app {app} (from {source}): nothing answers on {}; start it with `svd` in the app's directory",
        tried.join(" or ")
    );
    let others = running(caller).await;
    if !others.is_empty() {
        message.push_str(&format!("; running: {}", names(&others)));
    }
    Err(Failure::NotRunning(message))
}

fn candidates(app: &str, caller: &Caller) -> Vec<PathBuf> {
    // $SVD_ROOT names another app's directory than the one that is asked for by name.
    let mut env = caller.env.clone();
    env.remove("SVD_ROOT");
    let mut sockets = vec![
        in_slash(caller, &paths::socket(caller.uid, &env, app, None)),
        in_slash(caller, &Path::new(paths::SYSTEM_RUNTIME).join(app).join(paths::SOCKET_NAME)),
        in_slash(caller, &paths::user_state(caller.uid, &env).join(app).join("run").join(paths::SOCKET_NAME)),
    ];
    // Where an svd goes whose state directory cannot be written.
    let fallback = in_slash(caller, &paths::temporary(caller.uid));
    if is_own(&fallback, caller.uid) {
        sockets.push(fallback.join(app).join("run").join(paths::SOCKET_NAME));
    }
    let mut seen = BTreeSet::new();
    sockets.retain(|socket| seen.insert(socket.clone()));
    sockets
}

async fn the_only_one(caller: &Caller) -> Result<PathBuf, Failure> {
    let mut found = running(caller).await;
    match found.len() {
        0 => {
            let dirs: Vec<String> = directories(caller).iter().map(|dir| dir.path.display().to_string()).collect();
            Err(Failure::NotRunning(format!(
                "svd is not running: no control socket answers below {}; start it with `svd` in the app's directory, or name its socket with --socket",
                dirs.join(", ")
            )))
        }
        1 => Ok(found.remove(0).socket),
        _ => Err(Failure::Usage(format!("several apps run; choose one with -a or --socket: {}", names(&found)))),
    }
}

/// An svd that runs.
struct Running {
    app: String,
    socket: PathBuf,
}

fn names(running: &[Running]) -> String {
    let names: Vec<String> =
        running.iter().map(|one| format!("{} ({})", crate::text::plain(&one.app), one.socket.display())).collect();
    names.join(", ")
}

/// A directory with a directory for each app.
struct AppsDir {
    path: PathBuf,
    /// Where the socket is in an app's directory.
    below: PathBuf,
}

fn directories(caller: &Caller) -> Vec<AppsDir> {
    let direct = || PathBuf::from(paths::SOCKET_NAME);
    let in_run = || Path::new("run").join(paths::SOCKET_NAME);
    let mut dirs = vec![AppsDir { path: in_slash(caller, Path::new(paths::SYSTEM_RUNTIME)), below: direct() }];
    if caller.uid != 0
        && let Some(path) = paths::user_runtime(caller.uid, &caller.env)
    {
        dirs.push(AppsDir { path: in_slash(caller, &path), below: direct() });
    }
    let state = in_slash(caller, &paths::user_state(caller.uid, &caller.env));
    dirs.push(AppsDir { path: state.clone(), below: in_run() });
    let fallback = in_slash(caller, &paths::temporary(caller.uid));
    if fallback != state && is_own(&fallback, caller.uid) {
        dirs.push(AppsDir { path: fallback, below: in_run() });
    }
    dirs
}

fn is_own(dir: &Path, uid: u32) -> bool {
    std::fs::symlink_metadata(dir).is_ok_and(|meta| meta.is_dir() && meta.uid() == uid)
}

fn in_slash(caller: &Caller, path: &Path) -> PathBuf {
    caller.slash.join(path.strip_prefix("/").unwrap_or(path))
}

/// All svds that answer or that we may not ask, by app.
async fn running(caller: &Caller) -> Vec<Running> {
    let mut found = Vec::new();
    for dir in directories(caller) {
        let Ok(entries) = std::fs::read_dir(&dir.path) else { continue };
        let mut apps: Vec<_> = entries.flatten().map(|entry| entry.file_name()).collect();
        apps.sort();
        for app in apps {
            let socket = dir.path.join(&app).join(&dir.below);
            match client::connect(&socket).await {
                Err(Error::NotRunning(_)) => {}
                _ => found.push(Running { app: app.to_string_lossy().into_owned(), socket }),
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::{TempDir, block_on};
    use std::os::unix::net::UnixListener;

    struct Host {
        dir: TempDir,
        caller: Caller,
        listeners: Vec<UnixListener>,
    }

    impl Host {
        fn new(uid: u32) -> Host {
            let dir = TempDir::new();
            let cwd = dir.path().join("nowhere");
            std::fs::create_dir(&cwd).unwrap();
            let env = BTreeMap::from([("HOME".to_owned(), "/home/ann".to_owned())]);
            let caller = Caller { uid, env, cwd, slash: dir.path().to_path_buf() };
            Host { dir, caller, listeners: Vec::new() }
        }

        fn runs(&mut self, socket: &str) -> PathBuf {
            let path = self.dir.path().join(socket);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            self.listeners.push(UnixListener::bind(&path).unwrap());
            path
        }

        fn ended(&mut self, socket: &str) {
            self.runs(socket);
            self.listeners.pop();
        }

        fn find(&self, global: &Global) -> Result<PathBuf, Failure> {
            block_on(socket(global, &self.caller))
        }
    }

    fn app(name: &str) -> Global {
        Global { app: Some(name.to_owned()), ..Global::default() }
    }

    #[test]
    fn the_only_one_that_runs_is_found_and_a_stale_socket_does_not_count() {
        let mut host = Host::new(0);
        host.ended("run/svd/old/control.sock");
        let blog = host.runs("run/svd/blog/control.sock");
        assert_eq!(host.find(&Global::default()), Ok(blog));
    }

    #[test]
    fn with_several_running_they_are_listed_and_nothing_is_done() {
        let mut host = Host::new(0);
        host.runs("run/svd/blog/control.sock");
        host.runs("var/lib/svd/shop/run/control.sock");
        let failure = host.find(&Global::default()).unwrap_err();
        assert_eq!(failure.code(), 2);
        let message = failure.message().unwrap();
        assert!(message.contains("blog (") && message.contains("shop ("), "{message}");
    }

    #[test]
    fn with_none_running_it_says_where_it_looked() {
        let failure = Host::new(0).find(&Global::default()).unwrap_err();
        assert_eq!(failure.code(), 69);
        assert!(failure.message().unwrap().contains("/run/svd"), "{failure:?}");
    }

    #[test]
    fn an_app_by_name_is_the_callers_own_else_that_of_root() {
        let mut host = Host::new(1000);
        let roots = host.runs("run/svd/shop/control.sock");
        assert_eq!(host.find(&app("shop")), Ok(roots));
        let own = host.runs("home/ann/.local/state/svd/shop/run/control.sock");
        assert_eq!(host.find(&app("shop")), Ok(own));
        let failure = host.find(&app("blog")).unwrap_err();
        assert_eq!(failure.code(), 69);
        assert!(failure.message().unwrap().contains("running: shop ("), "{failure:?}");
    }

    #[test]
    fn a_config_in_the_current_directory_is_meant_even_when_only_another_app_runs() {
        let mut host = Host::new(0);
        host.runs("run/svd/blog/control.sock");
        std::fs::write(host.caller.cwd.join("Procfile.toml"), "app = \"shop\"\n").unwrap();
        let failure = host.find(&Global::default()).unwrap_err();
        assert_eq!(failure.code(), 69);
        assert!(failure.message().unwrap().contains("app shop (from the config"), "{failure:?}");
    }

    #[test]
    fn what_is_named_wins_in_order() {
        let mut host = Host::new(0);
        host.caller.env.insert("SVD_CONTROL".to_owned(), "/c.sock".to_owned());
        host.caller.env.insert("SVD_ROOT".to_owned(), "/srv/a".to_owned());
        assert_eq!(host.find(&Global::default()), Ok("/c.sock".into()));
        let root = Global { root: Some("/srv/b".into()), ..Global::default() };
        assert_eq!(host.find(&root), Ok("/srv/b/run/control.sock".into()));
        let socket = Global { socket: Some("x.sock".into()), ..Global::default() };
        assert_eq!(host.find(&socket), Ok(host.caller.cwd.join("x.sock")));
        host.caller.env.remove("SVD_CONTROL");
        assert_eq!(host.find(&Global::default()), Ok("/srv/a/run/control.sock".into()));
        let both = Global { app: Some("shop".to_owned()), ..root };
        assert_eq!(host.find(&both).unwrap_err().code(), 2);
    }
}
