//! What a manager leaves with the keeper so that its successor runs the same config, whatever the files say by then. It
//! lives in a sealed memfd, never on disk: it holds the environment's values.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use svd_config::{Source, SourceKind, Sources};
use svd_sys::users::User;

use super::{Account, Accounts};

/// Largest snapshot in bytes.
const LIMIT: usize = 64 * 1024 * 1024;

/// The applied config, and what of the command line a successor needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// The applied texts.
    pub sources: Sources,
    /// State directory.
    pub root: PathBuf,
    /// Runtime directory.
    pub runtime: PathBuf,
    /// Who the processes run as. A successor does not look them up again: it must not fail, or wait, because the user
    /// database does.
    pub accounts: Accounts,
    /// Who may use the control socket, for the same reason.
    pub groups: ControlGroups,
}

/// The groups of `[control]`, in numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ControlGroups {
    /// Members may operate.
    pub socket: Option<u32>,
    /// Members may look.
    pub read: Option<u32>,
}

#[derive(Serialize, Deserialize)]
struct Text {
    main: File,
    dir: PathBuf,
    others: Vec<File>,
    environment: Option<String>,
    only: Vec<String>,
    no_jobs: bool,
    inherited: BTreeMap<String, String>,
    root: PathBuf,
    runtime: PathBuf,
    accounts: Vec<Identity>,
    groups: ControlGroups,
}

#[derive(Serialize, Deserialize)]
struct Identity {
    /// As the config names them.
    key: (Option<String>, Option<String>),
    name: String,
    uid: u32,
    user_gid: u32,
    home: PathBuf,
    shell: PathBuf,
    gid: u32,
    groups: Vec<u32>,
}

#[derive(Serialize, Deserialize)]
struct File {
    path: PathBuf,
    kind: Kind,
    text: String,
    mode: u32,
}

#[derive(Serialize, Deserialize)]
enum Kind {
    Procfile,
    Toml,
    EnvFile,
}

impl Snapshot {
    /// As a sealed memfd.
    pub fn to_memfd(&self) -> io::Result<OwnedFd> {
        let sources = &self.sources;
        let text = Text {
            main: File::from(&sources.main),
            dir: sources.dir.clone(),
            others: sources.others.iter().map(File::from).collect(),
            environment: sources.environment.clone(),
            only: sources.only.clone(),
            no_jobs: sources.no_jobs,
            inherited: sources.inherited.clone(),
            root: self.root.clone(),
            runtime: self.runtime.clone(),
            accounts: self.accounts.iter().map(|(key, account)| Identity::new(key, account)).collect(),
            groups: self.groups,
        };
        svd_sys::fd::memfd("svd-config", &serde_json::to_vec(&text)?)
    }

    /// Reads what an earlier manager left.
    pub fn from_memfd(memfd: OwnedFd) -> io::Result<Snapshot> {
        let bytes = svd_sys::fd::read_memfd(memfd, LIMIT)?;
        let text: Text = serde_json::from_slice(&bytes)?;
        Ok(Snapshot {
            sources: Sources {
                main: text.main.into(),
                dir: text.dir,
                others: text.others.into_iter().map(Source::from).collect(),
                environment: text.environment,
                only: text.only,
                no_jobs: text.no_jobs,
                inherited: text.inherited,
            },
            root: text.root,
            runtime: text.runtime,
            accounts: text.accounts.into_iter().map(Identity::into_account).collect(),
            groups: text.groups,
        })
    }
}

impl Identity {
    fn new(key: &(Option<String>, Option<String>), account: &Account) -> Identity {
        let Account { user, gid, groups } = account.clone();
        let User { name, uid, gid: user_gid, home, shell } = user;
        Identity { key: key.clone(), name, uid, user_gid, home, shell, gid, groups }
    }

    fn into_account(self) -> ((Option<String>, Option<String>), Account) {
        let user = User { name: self.name, uid: self.uid, gid: self.user_gid, home: self.home, shell: self.shell };
        (self.key, Account { user, gid: self.gid, groups: self.groups })
    }
}

impl From<&Source> for File {
    fn from(source: &Source) -> File {
        let kind = match source.kind {
            SourceKind::Procfile => Kind::Procfile,
            SourceKind::Toml => Kind::Toml,
            SourceKind::EnvFile => Kind::EnvFile,
        };
        File { path: source.path.clone(), kind, text: source.text.clone(), mode: source.mode }
    }
}

impl From<File> for Source {
    fn from(file: File) -> Source {
        let kind = match file.kind {
            Kind::Procfile => SourceKind::Procfile,
            Kind::Toml => SourceKind::Toml,
            Kind::EnvFile => SourceKind::EnvFile,
        };
        Source { path: file.path, kind, text: file.text, mode: file.mode }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_successor_is_given_exactly_what_its_predecessor_ran() {
        // given
        let main = Source { path: "Procfile".into(), kind: SourceKind::Procfile, text: "web: x".into(), mode: 0o600 };
        let user = User { name: "app".into(), uid: 7, gid: 8, home: "/home/app".into(), shell: "/bin/sh".into() };
        let account = Account { user, gid: 9, groups: vec![8, 9, 10] };
        let before = Snapshot {
            sources: Sources {
                main,
                dir: "/srv".into(),
                others: Vec::new(),
                environment: Some("staging".into()),
                only: vec!["web".into()],
                no_jobs: true,
                inherited: BTreeMap::from([("A".to_owned(), "b".to_owned())]),
            },
            root: "/root".into(),
            runtime: "/run".into(),
            accounts: [((Some("app".to_owned()), None), account)].into_iter().collect(),
            groups: ControlGroups { socket: Some(50), read: None },
        };
        // when
        let after = Snapshot::from_memfd(before.to_memfd().unwrap()).unwrap();
        // then
        assert_eq!(after, before);
    }
}
