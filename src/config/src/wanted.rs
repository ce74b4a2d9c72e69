//! What else has to be read before a plan can be made: included files and env files.
//!
//! Callers ask about the main file first, read what is wanted, then ask [`wanted_by_included`] about each included
//! file, because processes there may name env files too. With all of it they call [`crate::plan()`].

use std::path::{Path, PathBuf};

use crate::document::{self, Named};
use crate::error::Errors;
use crate::jobs::NamedJob;
use crate::report::{At, Report};
use crate::resolve::is_pattern;
use crate::source::{Source, SourceKind};
use crate::tree;

/// Something to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Absolute path; of a [`Need::Pattern`] with wildcards (`*`, `?`, `[…]` within one component). Files that are
    /// read go into [`crate::Sources::others`] with this path, or relative to the main file's directory.
    pub path: PathBuf,
    /// As what to read it: `Toml` (included) or `EnvFile`.
    pub kind: SourceKind,
    /// What it means when there is nothing.
    pub need: Need,
    /// Where it was named: `Procfile.toml:3:12`; empty for the `.env` that belongs to a plain Procfile.
    pub named_at: String,
}

/// What it means when a wanted file does not exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// An error; [`crate::plan()`] tells it when the file is not among the sources.
    Required,
    /// Nothing.
    Optional,
    /// A pattern for any number of files, in the order of their names.
    Pattern,
}

/// What the main file wants. Of a main file that is no TOML all errors are told at once.
pub fn wanted(main: &Source, dir: &Path, environment: Option<&str>) -> Result<Vec<Wanted>, Errors> {
    let mut report = Report::of(main);
    if main.kind != SourceKind::Toml {
        // Read for its errors only when the plan is made.
        let env =
            Wanted { path: dir.join(".env"), kind: SourceKind::EnvFile, need: Need::Optional, named_at: String::new() };
        return Ok(vec![env]);
    }
    let document = document::read_main(&main.text, &mut report);
    if report.is_broken() {
        return report.finish().map(|_| Vec::new());
    }
    let mut wanted = Vec::new();
    for include in &document.include {
        let need = if is_pattern(&include.value) { Need::Pattern } else { Need::Required };
        push(&mut wanted, dir, include, SourceKind::Toml, need, &report);
    }
    let overlay = document.environments.iter().find(|e| Some(e.name.value.as_str()) == environment);
    let top = overlay.and_then(|o| o.env_file.as_ref()).unwrap_or(&document.env_file);
    let defaults = document.defaults.env_file.iter().flatten();
    let own = env_files(&document.processes, &document.jobs);
    let overlaid = overlay.map(|o| (o.processes.as_slice(), o.jobs.as_slice())).unwrap_or_default();
    let overlaid = env_files(overlaid.0, overlaid.1);
    for file in top.iter().chain(defaults).chain(own).chain(overlaid) {
        push(&mut wanted, dir, file, SourceKind::EnvFile, Need::Required, &report);
    }
    Ok(wanted)
}

/// What an included file wants: the env files of its processes and jobs. Its errors are told when the plan is made.
pub fn wanted_by_included(included: &Source, dir: &Path) -> Vec<Wanted> {
    let mut report = Report::of(included);
    let table = tree::read(&included.text, 0, &mut report);
    let included = document::read_included(&table, &mut report);
    let mut wanted = Vec::new();
    for file in env_files(&included.processes, &included.jobs) {
        push(&mut wanted, dir, file, SourceKind::EnvFile, Need::Required, &report);
    }
    wanted
}

fn env_files<'a>(processes: &'a [Named], jobs: &'a [NamedJob]) -> impl Iterator<Item = &'a At<String>> {
    let of_processes = processes.iter().flat_map(|p| p.raw.env_file.iter().flatten());
    of_processes.chain(jobs.iter().flat_map(|job| job.raw.process.env_file.iter().flatten()))
}

fn push(wanted: &mut Vec<Wanted>, dir: &Path, name: &At<String>, kind: SourceKind, need: Need, report: &Report) {
    let path = dir.join(&name.value);
    if !wanted.iter().any(|w| w.path == path && w.kind == kind) {
        wanted.push(Wanted { path, kind, need, named_at: report.place(name.span) });
    }
}
