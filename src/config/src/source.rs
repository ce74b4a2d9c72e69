//! The texts a plan is made of, as the caller read them.

use std::collections::BTreeMap;
use std::path::PathBuf;

/// What kind of file a text comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceKind {
    /// A plain Procfile.
    Procfile,
    /// A Procfile.toml, or a file that one includes.
    Toml,
    /// A file of `KEY=value` lines.
    EnvFile,
}

/// One file that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Path as messages show it.
    pub path: PathBuf,
    /// What it is.
    pub kind: SourceKind,
    /// Its contents.
    pub text: String,
    /// Permission bits of the file, for the warning about readable secrets.
    pub mode: u32,
}

/// Everything that a plan is made of. With the same `Sources` the same plan comes out, on any machine: a manager that
/// takes over after a crash gets the applied sources back from the keeper, whatever the files say by then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sources {
    /// The config file that was asked for.
    pub main: Source,
    /// Absolute directory of the main file.
    pub dir: PathBuf,
    /// Included files and env files, by the path that names them in the config (joined with `dir`).
    pub others: Vec<Source>,
    /// `-e`.
    pub environment: Option<String>,
    /// `--only`; empty is all.
    pub only: Vec<String>,
    /// `--no-jobs`.
    pub no_jobs: bool,
    /// svd's own environment: for `PORT` and for `keep_env`.
    pub inherited: BTreeMap<String, String>,
}
