//! From files to a plan for this machine.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use svd_api as api;
use svd_config::{CheckResult, Plan, Sources};

use super::Accounts;
use crate::cli::RunArgs;

/// A plan with all that is needed to run it.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The texts it was made of.
    pub sources: Sources,
    /// The plan.
    pub plan: Plan,
    /// Who its processes run as.
    pub accounts: Accounts,
    /// What the user should know.
    pub warnings: Vec<String>,
}

/// Why there is no plan.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A file is missing or cannot be read.
    #[error("{0}")]
    File(String),
    /// Errors in the config.
    #[error("{0}")]
    Config(svd_config::Errors),
    /// Something the config names does not exist on this machine.
    #[error("{}", .0.join("\n"))]
    Machine(Vec<String>),
}

impl From<svd_config::ReadError> for LoadError {
    fn from(error: svd_config::ReadError) -> LoadError {
        match error {
            svd_config::ReadError::File(text) => LoadError::File(text),
            svd_config::ReadError::Config(errors) => LoadError::Config(errors),
        }
    }
}

impl LoadError {
    /// As `svd check` tells it.
    pub fn into_check_result(self) -> CheckResult {
        match self {
            LoadError::File(fault) => CheckResult::Bad { faults: vec![fault], problems: Vec::new() },
            LoadError::Config(errors) => errors.into(),
            LoadError::Machine(faults) => CheckResult::Bad { faults, problems: Vec::new() },
        }
    }

    /// All of it, as a terminal shows it.
    pub fn render(&self) -> String {
        match self {
            LoadError::File(text) => format!("svd: {text}"),
            LoadError::Config(errors) => errors.to_string(),
            LoadError::Machine(lines) => lines.iter().map(|line| format!("svd: {line}\n")).collect(),
        }
    }

    /// The first sentence.
    pub fn summary(&self) -> String {
        self.render().lines().next().unwrap_or_default().to_owned()
    }

    /// As the API answers it: errors in the config go apart, each with its place.
    pub fn into_reply(self) -> (String, Vec<api::Problem>) {
        const STAYS: &str = "the config is not applied; the running one stays";
        match self {
            LoadError::Config(errors) => (STAYS.to_owned(), errors.problems.iter().map(problem).collect()),
            other @ (LoadError::File(_) | LoadError::Machine(_)) => {
                (format!("{STAYS}\n{}", other.render().trim_end()), Vec::new())
            }
        }
    }
}

/// A config error as the API tells it.
fn problem(problem: &svd_config::Problem) -> api::Problem {
    api::Problem {
        file: problem.path.display().to_string(),
        line: u32::try_from(problem.line).unwrap_or(u32::MAX),
        column: u32::try_from(problem.column).unwrap_or(u32::MAX),
        message: problem.message.clone(),
        rendered: problem.to_string(),
    }
}

/// Reads the config that the command line names.
pub fn from_disk(args: &RunArgs, inherited: &BTreeMap<String, String>) -> Result<Loaded, LoadError> {
    let here = std::env::current_dir().map_err(|error| LoadError::File(format!("no current directory: {error}")))?;
    let path = svd_config::find(args.config.as_deref(), &here, &Disk)?;
    let options = svd_config::LoadOptions {
        environment: args.environment.clone(),
        only: args.only.clone(),
        no_jobs: args.no_jobs,
        inherited: inherited.clone(),
    };
    let sources = svd_config::read(&path, options, &Disk)?;
    from_sources(sources)
}

/// Reads the same config again, or another file, for the same app.
pub fn recheck(before: &Sources, file: Option<&str>) -> Result<Loaded, LoadError> {
    let path = match file {
        Some(file) => PathBuf::from(file),
        None => before.dir.join(&before.main.path),
    };
    let options = svd_config::LoadOptions {
        environment: before.environment.clone(),
        only: before.only.clone(),
        no_jobs: before.no_jobs,
        inherited: before.inherited.clone(),
    };
    let sources = svd_config::read(&path, options, &Disk)?;
    from_sources(sources)
}

/// A plan from texts, with the accounts of this machine.
fn from_sources(sources: Sources) -> Result<Loaded, LoadError> {
    let (plan, warnings) = svd_config::plan(&sources).map_err(LoadError::Config)?;
    let mut accounts = Accounts::default();
    let mut missing = Vec::new();
    for process in &plan.processes {
        if let Err(message) = accounts.add(process) {
            missing.push(format!("{}: [process.{}]: {message}", sources.main.path.display(), process.name));
        }
    }
    for job in &plan.jobs {
        if let Err(message) = accounts.add(&job.process) {
            missing.push(format!("{}: [job.{}]: {message}", sources.main.path.display(), job.name));
        }
    }
    if !missing.is_empty() {
        return Err(LoadError::Machine(missing));
    }
    let mut warnings: Vec<String> = warnings.iter().map(ToString::to_string).collect();
    let around = svd_config::Around {
        env: &sources.inherited,
        first: is_first(),
        marked: svd_config::MARKS.iter().any(|mark| Path::new(mark).exists()),
    };
    warnings.extend(svd_config::stop_grace_warning(&plan, &around));
    Ok(Loaded { sources, plan, accounts, warnings })
}

/// Whether this svd is the first process of its pid namespace, or has only the first one above it. A manager is a child of its
/// keeper; what an engine runs in a container beside the first process has no parent there.
fn is_first() -> bool {
    let (own, parent) = (svd_sys::process::pid(), svd_sys::process::parent_pid());
    let above = svd_sys::tree::read_proc(parent).map(|keeper| keeper.ppid);
    own == 1 || parent <= 1 || above == Some(1)
}

/// The file system, for the config's reader.
pub struct Disk;

impl svd_config::Files for Disk {
    fn read(&self, path: &Path) -> io::Result<(String, u32)> {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(path)?.permissions().mode();
        Ok((std::fs::read_to_string(path)?, mode & 0o7777))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let names = std::fs::read_dir(dir)?.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        Ok(names.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_is_told_by_the_api_as_check_tells_it() {
        // given
        let problem = svd_config::Problem {
            path: "Procfile.toml".into(),
            line: 3,
            column: 9,
            message: "no such key".to_owned(),
            help: None,
            excerpt: "x = 1\n^".to_owned(),
        };
        // when
        let result = CheckResult::from(svd_config::Errors { problems: vec![problem.clone()] }).json();
        // then
        let told: api::Problem = serde_json::from_value(result["problems"][0].clone()).unwrap();
        assert_eq!(told, super::problem(&problem));
    }
}
