//! What a manager leaves with the keeper so that its successor runs the same config, whatever the files say by then. It
//! lives in a sealed memfd, never on disk: it holds the environment's values.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use svd_config::{Source, SourceKind, Sources};

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
}

#[derive(Serialize, Deserialize)]
struct Text {
    main: File,
    dir: PathBuf,
    others: Vec<File>,
    environment: Option<String>,
    only: Vec<String>,
    inherited: BTreeMap<String, String>,
    root: PathBuf,
    runtime: PathBuf,
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
            inherited: sources.inherited.clone(),
            root: self.root.clone(),
            runtime: self.runtime.clone(),
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
                inherited: text.inherited,
            },
            root: text.root,
            runtime: text.runtime,
        })
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
