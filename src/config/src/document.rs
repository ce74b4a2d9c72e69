//! A Procfile.toml with the files it includes, and the environment that is laid over it.
//!
//! The whole of every file is checked, environments that are not asked for too. What comes out is a [`Draft`]: the
//! same thing that a plain Procfile gives.

use crate::field::{self, Section};
use crate::jobs::{NamedJob, RawJob};
use crate::keys;
use crate::notify::RawNotify;
use crate::plan::WithoutManager;
use crate::process::{Raw, RawEvidence};
use crate::report::{At, Report, Span};
use crate::rolling::{RawRecycle, RawUpdate};
use crate::source::{SourceKind, Sources};
use crate::tree::{self, Entry, Table, Value};
use crate::values;

/// A config in one layer: overlay and defaults are merged in, nothing is decided yet.
#[derive(Debug, Default)]
pub(crate) struct Draft {
    pub app: Option<At<String>>,
    pub env: Vec<(At<String>, String)>,
    pub env_file: Vec<At<String>>,
    pub processes: Vec<Named>,
    pub jobs: Vec<NamedJob>,
    pub control: Control,
    pub notify: RawNotify,
    /// `systemd.store_listeners`.
    pub store_listeners: Option<bool>,
}

/// A process and its keys.
#[derive(Clone, Debug)]
pub(crate) struct Named {
    pub name: At<String>,
    pub raw: Raw,
}

/// `[control]`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Control {
    pub socket_mode: Option<At<u32>>,
    pub socket_group: Option<At<String>>,
    pub read_group: Option<At<String>>,
    pub metrics: Option<At<bool>>,
    pub without_manager: Option<At<WithoutManager>>,
}

/// A Procfile.toml as it was written, or the part of it that could be read.
#[derive(Debug, Default)]
pub(crate) struct Document {
    pub app: Option<At<String>>,
    pub include: Vec<At<String>>,
    pub env: Vec<(At<String>, String)>,
    pub env_file: Vec<At<String>>,
    pub defaults: Raw,
    pub processes: Vec<Named>,
    pub jobs: Vec<NamedJob>,
    pub environments: Vec<Environment>,
    pub control: Control,
    pub notify: RawNotify,
    /// `systemd.store_listeners`.
    pub store_listeners: Option<bool>,
}

/// An overlay.
#[derive(Debug)]
pub(crate) struct Environment {
    pub name: At<String>,
    pub env: Vec<(At<String>, String)>,
    pub env_file: Option<Vec<At<String>>>,
    pub processes: Vec<Named>,
    pub jobs: Vec<NamedJob>,
}

/// What an included file adds.
#[derive(Debug, Default)]
pub(crate) struct Included {
    pub processes: Vec<Named>,
    pub jobs: Vec<NamedJob>,
}

/// Reads the main file and all included ones.
pub(crate) fn read(sources: &Sources, report: &mut Report) -> Document {
    let mut document = read_main(&sources.main.text, report);
    for (i, other) in sources.others.iter().enumerate() {
        if other.kind == SourceKind::Toml {
            let included = read_included(&tree::read(&other.text, i + 1, report), report);
            document.processes.extend(included.processes);
            document.jobs.extend(included.jobs);
        }
    }
    check_duplicates(&mut document, report);
    check_overlays(&document, report);
    document
}

/// Reads the text of a main file.
pub(crate) fn read_main(text: &str, report: &mut Report) -> Document {
    let table = tree::read(text, 0, report);
    let top = Section { label: String::new(), path: String::new(), table: &table };
    top.check_known(report);
    let allows = overlay_allows(&top, report);
    Document {
        app: top.get("app").and_then(|f| {
            let app = f.parsed(report, |t| values::is_app(t).then(|| t.to_owned()));
            app.map(|a| At::new(a.value, a.span))
        }),
        include: top.get("include").and_then(|f| f.texts(report)).unwrap_or_default(),
        env: top.get("env").and_then(|f| f.variables(report)).unwrap_or_default(),
        env_file: top.get("env_file").and_then(|f| f.text_or_texts(report)).unwrap_or_default(),
        defaults: top
            .get("defaults")
            .and_then(|f| f.map(report).map(|t| Raw::read(&f.section(t, "process.*"), report)))
            .unwrap_or_default(),
        processes: processes(&top, None, report),
        jobs: jobs(&top, None, report),
        environments: environments(&top, &allows, report),
        control: top
            .get("control")
            .and_then(|f| f.map(report).map(|t| control(&f.section(t, "control"), report)))
            .unwrap_or_default(),
        notify: top
            .get("notify")
            .and_then(|f| f.map(report).map(|t| RawNotify::read(&f, &f.section(t, "notify"), report)))
            .unwrap_or_default(),
        store_listeners: top
            .get("systemd")
            .and_then(|f| f.map(report).and_then(|t| store_listeners(&f.section(t, "systemd"), report))),
    }
}

/// Reads the tree of an included file.
pub(crate) fn read_included(table: &Table, report: &mut Report) -> Included {
    for entry in table.entries.iter().filter(|e| e.name != "process" && e.name != "job") {
        let message = match keys::key(&entry.name) {
            Some(_) => {
                format!(
                    "\"{}\" belongs in the main file; included files have [process] and [job] tables only",
                    entry.name
                )
            }
            None => {
                field::unknown(entry, "", ["process", "job"].into_iter(), report);
                continue;
            }
        };
        report.problem(entry.name_span, message);
    }
    let top = Section { label: String::new(), path: String::new(), table };
    Included { processes: processes(&top, None, report), jobs: jobs(&top, None, report) }
}

/// The tables of `job`; in an overlay only with the keys that may differ.
fn jobs(section: &Section<'_>, allows: Option<&Allows>, report: &mut Report) -> Vec<NamedJob> {
    let Some(job) = section.get("job") else { return Vec::new() };
    let mut named = Vec::new();
    for entry in job.map(report).map(|t| t.entries.as_slice()).unwrap_or_default() {
        if !check_name("a job", entry, report) {
            continue;
        }
        let label = if section.label.is_empty() { "job".to_owned() } else { format!("{}.job", section.label) };
        let label = format!("{label}.{}", entry.name);
        let Value::Table(table) = &entry.node.value else {
            let message = format!("[{label}] must be a table; found {}", entry.node.describe());
            report.problem_with(entry.node.span, message, "a job has no short form: write run = … and schedule = …");
            continue;
        };
        if let Some(allows) = allows {
            table.entries.iter().for_each(|e| allows.check_of("job", e, &e.name, &label, report));
        }
        let raw = RawJob::read(&Section { label, path: "job.*".to_owned(), table }, report);
        named.push(NamedJob { name: At::new(entry.name.clone(), entry.name_span), raw });
    }
    named
}

/// The tables of `process`; in an overlay only with the keys that may differ.
fn processes(section: &Section<'_>, allows: Option<&Allows>, report: &mut Report) -> Vec<Named> {
    let Some(process) = section.get("process") else { return Vec::new() };
    let mut named = Vec::new();
    for entry in process.map(report).map(|t| t.entries.as_slice()).unwrap_or_default() {
        if !check_name("a process", entry, report) {
            continue;
        }
        let label = if section.label.is_empty() { "process".to_owned() } else { format!("{}.process", section.label) };
        let label = format!("{label}.{}", entry.name);
        let raw = match &entry.node.value {
            Value::Table(table) => {
                if let Some(allows) = allows {
                    table.entries.iter().for_each(|e| allows.check(e, &e.name, &label, report));
                }
                Raw::read(&Section { label, path: "process.*".to_owned(), table }, report)
            }
            Value::Text(line) if !line.trim().is_empty() && !line.contains('\0') => {
                if let Some(allows) = allows {
                    allows.check(entry, "run", &label, report);
                }
                Raw::line(line.trim(), entry.node.span)
            }
            _ => {
                let message = format!("[{label}] must be a table or a command; found {}", entry.node.describe());
                report.problem(entry.node.span, message);
                continue;
            }
        };
        named.push(Named { name: At::new(entry.name.clone(), entry.name_span), raw });
    }
    named
}

fn check_name(what: &str, entry: &Entry, report: &mut Report) -> bool {
    let fine = values::is_name(&entry.name);
    if !fine {
        let message = format!(
            "\"{}\" is not the name of {what}; names have letters, digits, _ and -, at most 64",
            entry.name.escape_debug()
        );
        report.problem(entry.name_span, message);
    }
    fine
}

/// Which keys may differ between environments.
struct Allows {
    keys: Vec<String>,
}

impl Allows {
    fn check(&self, entry: &Entry, key: &str, label: &str, report: &mut Report) {
        self.check_of("process", entry, key, label, report);
    }

    fn check_of(&self, what: &str, entry: &Entry, key: &str, label: &str, report: &mut Report) {
        let known = keys::key(&format!("{what}.*.{key}")).is_some();
        if known && !self.keys.iter().any(|k| k == key) {
            let list = self.keys.iter().map(|k| format!("\"{k}\"")).collect::<Vec<_>>().join(", ");
            let message = format!("\"{key}\" in [{label}] may not differ between environments");
            let help = format!("overlay_allows is [{list}]; add \"{key}\" to it at the top level");
            report.problem_with(entry.name_span, message, help);
        }
    }
}

fn overlay_allows(top: &Section<'_>, report: &mut Report) -> Allows {
    let Some(field) = top.get("overlay_allows") else {
        return Allows { keys: vec!["env".to_owned(), "count".to_owned()] };
    };
    let known = || keys::children("process.*").chain(keys::children("job.*")).map(keys::Key::name);
    let mut allowed = Vec::new();
    for name in field.texts(report).unwrap_or_default() {
        if !known().any(|k| k == name.value) {
            let shown = name.value.escape_debug();
            let suggestion = values::did_you_mean(&name.value, known());
            report.problem(
                name.span,
                format!("\"{shown}\" in overlay_allows is no key of processes or jobs{suggestion}"),
            );
        }
        // Kept either way, so that a slip here is not told again at each use.
        allowed.push(name.value);
    }
    Allows { keys: allowed }
}

fn environments(top: &Section<'_>, allows: &Allows, report: &mut Report) -> Vec<Environment> {
    let Some(field) = top.get("environment") else { return Vec::new() };
    let mut environments = Vec::new();
    for entry in field.map(report).map(|t| t.entries.as_slice()).unwrap_or_default() {
        if !check_name("an environment", entry, report) {
            continue;
        }
        let label = format!("environment.{}", entry.name);
        let Value::Table(table) = &entry.node.value else {
            report.problem(entry.node.span, format!("[{label}] must be a table; found {}", entry.node.describe()));
            continue;
        };
        let section = Section { label: label.clone(), path: "environment.*".to_owned(), table };
        for entry in &table.entries {
            let known = section.get(&entry.name).is_some();
            if known && entry.name != "process" && entry.name != "job" {
                allows.check(entry, &entry.name, &label, report);
            }
            if !known && keys::key(&format!("process.*.{}", entry.name)).is_some() {
                let message = format!("\"{}\" in [{label}] has to name its process", entry.name);
                report.problem_with(entry.name_span, message, format!("write process.NAME.{} = …", entry.name));
            } else if !known {
                let names = keys::children("environment.*").map(keys::Key::name);
                field::unknown(entry, &label, names.collect::<Vec<_>>().into_iter(), report);
            }
        }
        environments.push(Environment {
            name: At::new(entry.name.clone(), entry.name_span),
            env: section.get("env").and_then(|f| f.variables(report)).unwrap_or_default(),
            env_file: section.get("env_file").and_then(|f| f.text_or_texts(report)),
            processes: processes(&section, Some(allows), report),
            jobs: jobs(&section, Some(allows), report),
        });
    }
    environments
}

fn control(section: &Section<'_>, report: &mut Report) -> Control {
    Control {
        socket_mode: section.get("socket_mode").and_then(|f| f.mode(report, |m| m & 0o600 == 0o600 && m & !0o666 == 0)),
        socket_group: section.get("socket_group").and_then(|f| f.account(report)),
        read_group: section.get("read_group").and_then(|f| f.account(report)),
        metrics: section.get("metrics").and_then(|f| f.boolean(report)),
        without_manager: section
            .get("without_manager")
            .and_then(|f| f.choice(&[("keep", WithoutManager::Keep), ("exit", WithoutManager::Exit)], report)),
    }
}

fn store_listeners(section: &Section<'_>, report: &mut Report) -> Option<bool> {
    section.get("store_listeners").and_then(|f| f.boolean(report)).map(|said| said.value)
}

/// One name, one process and one job, over all files. TOML itself refuses duplicates within a file.
fn check_duplicates(document: &mut Document, report: &mut Report) {
    let mut seen: Vec<(&'static str, String, Span)> = Vec::new();
    let mut is_first = |what: &'static str, name: &At<String>| {
        if let Some((_, _, first)) = seen.iter().find(|(w, n, _)| *w == what && *n == name.value) {
            let message = format!("{what} \"{}\" is already defined at {}", name.value, report.place(*first));
            report.problem(name.span, message);
            return false;
        }
        seen.push((what, name.value.clone(), name.span));
        true
    };
    document.processes.retain(|process| is_first("process", &process.name));
    document.jobs.retain(|job| is_first("job", &job.name));
}

fn check_overlays(document: &Document, report: &mut Report) {
    if report.is_broken() {
        return;
    }
    let processes: Vec<&str> = document.processes.iter().map(|p| p.name.value.as_str()).collect();
    let jobs: Vec<&str> = document.jobs.iter().map(|job| job.name.value.as_str()).collect();
    let mut check = |environment: &Environment, what: &str, name: &At<String>, names: &[&str]| {
        if !names.contains(&name.value.as_str()) {
            let suggestion = values::did_you_mean(&name.value, names.iter().copied());
            let message = format!(
                "[environment.{}] overlays {what} \"{}\", which does not exist{suggestion}",
                environment.name.value, name.value
            );
            report.problem(name.span, message);
        }
    };
    for environment in &document.environments {
        environment.processes.iter().for_each(|process| check(environment, "process", &process.name, &processes));
        environment.jobs.iter().for_each(|job| check(environment, "job", &job.name, &jobs));
    }
}

impl Document {
    /// The document with an environment laid over it and the defaults below it.
    pub fn draft(self, environment: Option<&str>, report: &mut Report) -> Draft {
        let overlay = environment.and_then(|wanted| {
            let found = self.environments.iter().find(|e| e.name.value == wanted);
            if found.is_none() && !report.is_broken() {
                let names: Vec<&str> = self.environments.iter().map(|e| e.name.value.as_str()).collect();
                let known = match names.as_slice() {
                    [] => "the config has none".to_owned(),
                    names => format!("there are {}", names.join(", ")),
                };
                let suggestion = values::did_you_mean(wanted, names.iter().copied());
                report.problem_whole(format!("no environment \"{wanted}\"; {known}{suggestion}"));
            }
            found
        });
        let processes = self.processes.iter().map(|process| {
            let own = overlay.and_then(|o| o.processes.iter().find(|p| p.name.value == process.name.value));
            let raw = match own {
                Some(own) => own.raw.clone().over(&process.raw),
                None => process.raw.clone(),
            };
            Named { name: process.name.clone(), raw: layered(&process.name.value, raw, &self.defaults, report) }
        });
        let processes: Vec<Named> = processes.collect();
        let jobs = self.jobs.iter().map(|job| {
            let own = overlay.and_then(|o| o.jobs.iter().find(|other| other.name.value == job.name.value));
            let raw = match own {
                Some(own) => own.raw.clone().over(&job.raw),
                None => job.raw.clone(),
            };
            NamedJob { name: job.name.clone(), raw: raw.over_defaults(&self.defaults) }
        });
        let jobs: Vec<NamedJob> = jobs.collect();
        let mut env = self.env;
        env.extend(overlay.map(|o| o.env.clone()).unwrap_or_default());
        let env_file = overlay.and_then(|o| o.env_file.clone()).unwrap_or(self.env_file);
        let (control, notify, store_listeners) = (self.control, self.notify, self.store_listeners);
        Draft { app: self.app, env, env_file, processes, jobs, control, notify, store_listeners }
    }
}

/// The keys of a process over those of its preset over the defaults. A process whose command is in the defaults only is a
/// slip, but it is one that says what it does.
fn layered(name: &str, own: Raw, defaults: &Raw, report: &mut Report) -> Raw {
    let mut defaults = defaults.clone();
    if own.oneshot.as_ref().or(defaults.oneshot.as_ref()).is_some_and(|o| o.value) {
        // What the defaults say of services would be impossible for a one-shot that says nothing itself.
        defaults = Raw {
            ready: None,
            preset: None,
            listen: None,
            update: RawUpdate::default(),
            health: None,
            quiet: None,
            drained: None,
            recycle: RawRecycle::default(),
            ..defaults
        };
        defaults.restart.when = None;
    }
    let listens = own.listen.is_some() || defaults.listen.is_some();
    if !listens {
        // So would be what they say of listeners for one that has none.
        defaults.traffic = None;
        defaults.handoff = None;
        defaults.ready.take_if(|ready| matches!(ready.value.by, RawEvidence::Listening));
        defaults.update.canary = None;
    }
    match own.preset.as_ref().or(defaults.preset.as_ref()) {
        Some(At { value: preset, span }) => {
            let preset = preset.raw(&format!("process.{name}"), *span, listens, report);
            own.over(&preset.over(&defaults))
        }
        None => own.over(&defaults),
    }
}
