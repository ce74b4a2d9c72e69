//! The variables of each process: layers of tables and env files, and the port of each process.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use crate::envfile;
use crate::process::Raw;
use crate::report::{At, Report, Span};
use crate::source::{SourceKind, Sources};
use crate::values;

/// Variables with the places of their names; later layers replace earlier ones.
pub(crate) type Variables = BTreeMap<String, At<String>>;

/// Variables that svd gives to every process, whatever the config says.
pub(crate) const OWN: &[&str] = &[
    "SVD_APP",
    "SVD_ENVIRONMENT",
    "SVD_PROCESS",
    "SVD_INSTANCE",
    "SVD_INDEX",
    "SVD_RELEASE",
    "SVD_CONTROL",
    "PS",
    "PORT",
];

/// Variables that svd gives to every run of a job.
pub(crate) const OF_RUNS: &[&str] =
    &["SVD_APP", "SVD_ENVIRONMENT", "SVD_CONTROL", "SVD_JOB", "SVD_RUN", "SVD_ATTEMPT", "SVD_SCHEDULED"];

/// Variables that a command gets that is told of an event. Not every event has all of them.
pub(crate) const OF_EVENTS: &[&str] =
    &["SVD_APP", "SVD_ENVIRONMENT", "SVD_CONTROL", "SVD_EVENT", "SVD_EVENT_ID", "SVD_TIME", "SVD_MESSAGE"];

/// Variables that a command of a job gets that is told of a run.
pub(crate) const OF_RUN_NEWS: &[&str] = &[
    "SVD_APP",
    "SVD_ENVIRONMENT",
    "SVD_CONTROL",
    "SVD_EVENT",
    "SVD_EVENT_ID",
    "SVD_TIME",
    "SVD_MESSAGE",
    "SVD_JOB",
    "SVD_RUN",
    "SVD_RESULT",
    "SVD_EXIT",
    "SVD_ATTEMPT",
    "SVD_SCHEDULED",
];

/// Variables that svd gives to every process from the account it runs as, unless the config says otherwise.
pub(crate) const ACCOUNT: &[&str] = &["HOME", "USER", "LOGNAME", "SHELL"];

/// The env files of a plan, each read once.
pub(crate) struct EnvFiles<'a> {
    pub sources: &'a Sources,
    read: BTreeMap<usize, Vec<envfile::Variable>>,
    /// A file is missing: that a variable is not set says nothing then.
    pub incomplete: bool,
}

impl<'a> EnvFiles<'a> {
    pub fn new(sources: &'a Sources) -> EnvFiles<'a> {
        EnvFiles { sources, read: BTreeMap::new(), incomplete: false }
    }

    /// Lays a table and files over the variables.
    pub fn layer(
        &mut self,
        variables: &mut Variables,
        table: &[(At<String>, String)],
        files: &[At<String>],
        report: &mut Report,
    ) {
        for (name, value) in table {
            warn_of_own(name, report);
            variables.insert(name.value.clone(), At::new(value.clone(), name.span));
        }
        for file in files {
            match find(self.sources, &file.value, SourceKind::EnvFile) {
                Some(index) => self.load(index, variables, report),
                None => {
                    self.incomplete = true;
                    let message = format!("env file \"{}\" does not exist", file.value.escape_debug());
                    report.problem_with(file.span, message, "create it, or take it out of env_file");
                }
            }
        }
    }

    /// Lays `.env` over the variables where it is there: for a plain Procfile.
    pub fn layer_optional(&mut self, variables: &mut Variables, name: &str, report: &mut Report) {
        if let Some(index) = find(self.sources, name, SourceKind::EnvFile) {
            self.load(index, variables, report);
        }
    }

    fn load(&mut self, index: usize, variables: &mut Variables, report: &mut Report) {
        let Some(source) = self.sources.others.get(index) else { return };
        let file = index + 1;
        let lines = self.read.entry(index).or_insert_with(|| {
            let mode = source.mode & 0o777;
            if mode & 0o007 != 0 || mode & 0o020 != 0 {
                let who = if mode & 0o007 != 0 { "everybody may use" } else { "its group may write" };
                let help = format!("chmod 0640 {}", source.path.display());
                report.warn(Some(Span { file, start: 0, end: 0 }), format!("{who} this file (mode {mode:04o})"), help);
            }
            let lines = envfile::read(&source.text, file, report);
            lines.iter().for_each(|line| warn_of_own(&line.name, report));
            lines
        });
        for line in lines {
            variables.insert(line.name.value.clone(), At::new(line.value.clone(), line.name.span));
        }
    }
}

fn warn_of_own(name: &At<String>, report: &mut Report) {
    if OWN.contains(&name.value.as_str()) && name.value != "PORT" {
        let message = format!("{} is set by svd itself; what is said here has no effect", name.value);
        report.warn(Some(name.span), message, "choose another name");
    }
}

/// The index in `others` of the file that a config names like this.
pub(crate) fn find(sources: &Sources, name: &str, kind: SourceKind) -> Option<usize> {
    let wanted = normal(&sources.dir.join(name));
    sources.others.iter().position(|o| o.kind == kind && normal(&sources.dir.join(&o.path)) == wanted)
}

/// The path without `.` and, where they only go back within it, `..`.
fn normal(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir if matches!(out.components().next_back(), Some(Component::Normal(_))) => {
                out.pop();
            }
            part => out.push(part),
        }
    }
    out
}

/// The variables of a process by itself, without those that all have.
pub(crate) fn own(raw: &Raw, files: &mut EnvFiles<'_>, report: &mut Report) -> Variables {
    let mut variables = Variables::new();
    files.layer(&mut variables, &raw.env, raw.env_file.as_deref().unwrap_or_default(), report);
    variables
}

/// Takes `PORT` out of the variables: it is given per instance.
pub(crate) fn take_port(variables: &mut Variables, report: &mut Report) -> Option<At<u16>> {
    let port = variables.remove("PORT")?;
    match parse_port(&port.value) {
        Some(number) => Some(At::new(number, port.span)),
        None => {
            report.problem(port.span, "PORT must be a whole number from 1 to 65535");
            None
        }
    }
}

/// A port in text.
pub(crate) fn parse_port(text: &str) -> Option<u16> {
    text.trim().parse().ok().filter(|port| *port > 0)
}

/// The variables that a process will have, as far as that is known now.
pub(crate) struct Known<'a> {
    /// Those of the process.
    pub own: &'a Variables,
    /// Those of all processes.
    pub shared: &'a Variables,
    /// Its `keep_env`, where it says one.
    pub keep_env: Option<&'a [String]>,
    pub sources: &'a Sources,
    /// Those that svd gives it: [`OWN`] or [`OF_RUNS`].
    pub given: &'static [&'static str],
}

/// What a process keeps of svd's own environment when nothing is said: enough to find programs, files and words.
pub(crate) const KEEP_ENV: &[&str] =
    &["PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LC_*", "TZ", "TMPDIR", "TERM"];

impl Known<'_> {
    /// The value of a variable, where it is known before the process starts.
    pub fn value(&self, name: &str) -> Option<String> {
        let given = self.own.get(name).or_else(|| self.shared.get(name)).map(|value| value.value.clone());
        given.or_else(|| self.sources.inherited.get(name).filter(|_| self.keeps(name)).cloned())
    }

    /// Whether it will have this variable.
    pub fn has(&self, name: &str) -> bool {
        self.given.contains(&name) || ACCOUNT.contains(&name) || self.value(name).is_some()
    }

    /// A name that may be meant instead, and why svd's own variable is not passed on.
    pub fn suggest(&self, name: &str) -> String {
        let names = self.shared.keys().chain(self.own.keys()).map(String::as_str);
        let suggestion = values::did_you_mean(name, names);
        let kept = match self.sources.inherited.contains_key(name) {
            true => "; svd's own environment has it, but keep_env does not",
            false => "",
        };
        format!("{suggestion}{kept}")
    }

    fn keeps(&self, name: &str) -> bool {
        match self.keep_env {
            Some(patterns) => patterns.iter().any(|pattern| fits(pattern, name)),
            None => KEEP_ENV.iter().any(|pattern| fits(pattern, name)),
        }
    }
}

/// Whether a pattern of `keep_env` takes this name.
fn fits(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(prefix) => name.starts_with(prefix),
        None => pattern == name,
    }
}
