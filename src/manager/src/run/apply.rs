//! A config read again: what differs is told, checked and given to the core; a config that is refused changes nothing.

use std::sync::Arc;

use svd_api as api;
use svd_config::plan::JOB;
use svd_config::{Change, ChangeKind, Effect, JobChange, JobChangeKind};
use svd_core::Command;
use svd_wire::Request;

use super::app::{App, Wish};
use super::asks::{Answer, Asked};
use super::settings::Setting;
use crate::ask::Actor;
use crate::plan::{self, Loaded, Snapshot};
use crate::seam::{LinkError, config_name};

impl App {
    /// `kill -HUP` of svd: as `svctl apply`, the outcome is in history and in svd's own log.
    pub(super) fn apply_by_signal(&mut self) -> Result<(), LinkError> {
        let asked = Asked {
            words: "apply".into(),
            actor: Some(Actor { uid: 0, name: "signal HUP".into(), role: crate::ask::Role::Operate }),
            reason: None,
            dry_run: false,
            reply: None,
        };
        self.apply_asked(asked, None)
    }

    pub(super) fn apply(&mut self, request: api::ApplyRequest, actor: Actor, reply: Answer) -> Result<(), LinkError> {
        let asked = Asked {
            words: match &request.file {
                Some(file) => format!("apply {file}"),
                None => "apply".into(),
            },
            actor: Some(actor),
            reason: request.reason,
            dry_run: request.dry_run,
            reply: Some(reply),
        };
        self.apply_asked(asked, request.file)
    }

    /// Reads the config again; everything is checked before anything is touched.
    fn apply_asked(&mut self, asked: Asked, file: Option<String>) -> Result<(), LinkError> {
        if !asked.dry_run {
            self.host_reloads()?;
        }
        let loaded = match plan::recheck(&self.settings.in_force().snapshot.sources, file.as_deref()) {
            Ok(loaded) => loaded,
            Err(error) => {
                self.invalid = Some(error.summary());
                let (message, problems) = error.into_reply();
                return self.refuse_with(asked, message, problems);
            }
        };
        let old = self.core.plan().clone();
        if let Err(message) = self.runnable(&old, &loaded) {
            self.invalid = Some(message.clone());
            return self.refuse(asked, message);
        }
        if !asked.dry_run {
            self.invalid = None;
        }
        let fixed = svd_config::needs_new_start(&old, &loaded.plan);
        if !fixed.is_empty() {
            let message = format!(
                "{} cannot be changed while svd runs: stop svd and start it again, or put the old value back; nothing was changed",
                fixed.join(", ")
            );
            return self.refuse(asked, message);
        }
        let prepared = match self.listeners.prepare(&loaded.plan, &loaded.accounts) {
            Ok(prepared) => prepared,
            Err(wrong) => {
                let message = format!("{}; the running config stays", wrong.join("\n"));
                self.invalid = Some(wrong.into_iter().next().unwrap_or_default());
                return self.refuse(asked, message);
            }
        };
        let changes = svd_config::diff(&old, &self.listeners.fit(loaded.plan.clone()));
        let mut words: Vec<String> = changes.iter().map(|change| describe(change, self.core.desired())).collect();
        words.extend(svd_config::diff_jobs(&old, &loaded.plan).iter().map(describe_job));
        let outside = svd_config::changed_outside(&old, &loaded.plan);
        words.extend(outside.iter().map(|key| format!("~ {key} changed, takes effect at once")));
        if !words.is_empty() {
            words.extend(self.lacks_of(&loaded.plan));
        }
        if asked.dry_run || words.is_empty() {
            let (outcome, message) = match (asked.dry_run, words.is_empty()) {
                (_, true) => (api::OutcomeWord::Done, "nothing to change".to_owned()),
                (true, false) => (api::OutcomeWord::Planned, "nothing was changed (dry run)".to_owned()),
                (false, false) => (api::OutcomeWord::Done, String::new()),
            };
            if !asked.dry_run {
                self.hold_same(loaded)?;
            }
            let (changes, problems, evidence) = (words, Vec::new(), Vec::new());
            self.answer(asked, api::CommandResult { outcome, message, changes, problems, evidence, run: None });
            return Ok(());
        }
        let restart: Vec<Arc<str>> = changes
            .iter()
            .filter(|change| matches!(change.kind, ChangeKind::Changed { effect: Effect::Restart, .. }))
            .map(|change| Arc::from(change.process.as_str()))
            .collect();
        let plan = Arc::new(self.listeners.fit(loaded.plan.clone()));
        if let Err(message) = self.core.dry_run(&Command::Apply { plan, restart: restart.clone() }) {
            return self.refuse(asked, message);
        }
        // From here on nothing is refused. The new listeners can be reached before anybody who has them is started.
        let mut held = self.listeners.install(prepared);
        held.extend(self.listeners.open_gates(&loaded.plan));
        self.hold_sockets(held)?;
        self.watch_names();
        let loaded = Loaded { plan: self.listeners.fit(loaded.plan), ..loaded };
        // What could not be intercepted before may have become so.
        self.not_intercepted.clear();
        let setting = self.setting(loaded);
        let command = Command::Apply { plan: setting.plan.clone(), restart };
        self.commits.event(asked.event("command.apply", format!("{}: {}", asked.words, words.join("; "))));
        self.hold(&setting)?;
        // Those of the plan before may be needed again.
        let zones = self.zones.of([&old, &setting.plan].into_iter(), &self.inner);
        self.core.set_zones(zones);
        self.settings.begin(setting);
        self.wish = Wish::Changed;
        self.order(asked.into_op(words), command)
    }

    /// A config that was read again, under a number of its own.
    fn setting(&mut self, loaded: Loaded) -> Setting {
        let number = self.settings.next_number();
        let before = &self.settings.in_force().snapshot;
        let snapshot = Snapshot { sources: loaded.sources, accounts: loaded.accounts, ..before.clone() };
        Setting { number, plan: Arc::new(loaded.plan), snapshot, warnings: loaded.warnings }
    }

    /// Has the keeper hold it. It counts for a later manager when the wish names it.
    fn hold(&mut self, setting: &Setting) -> Result<(), LinkError> {
        let memfd = setting.snapshot.to_memfd()?;
        self.link.send(&Request::Hold { name: config_name(setting.number) }, vec![memfd])
    }

    /// The texts have changed and what they say has not: a later manager begins with the new ones.
    fn hold_same(&mut self, loaded: Loaded) -> Result<(), LinkError> {
        let same = self.settings.in_force().plan.clone();
        let setting = Setting { plan: same, ..self.setting(loaded) };
        self.hold(&setting)?;
        self.settings.replace(setting);
        self.settings.taken_back = None;
        self.wish = Wish::Changed;
        Ok(())
    }

    /// The core takes an apply back. Which config is in force from now on goes to the keeper with the generations that the
    /// core has told it of in the same turn.
    pub(super) fn take_back(&mut self, why: String) -> Result<(), LinkError> {
        self.settings.turn_to(self.core.plan());
        self.settings.taken_back = Some(why);
        self.wish = Wish::Changed;
        if let Some(told) = self.taken_back() {
            tracing::warn!("{told}");
        }
        Ok(())
    }

    /// All instances run by the config in force.
    pub(super) fn drop_other(&mut self) -> Result<(), LinkError> {
        // It may come before the word that an apply is taken back: all of a step has happened in the core when it tells.
        self.settings.turn_to(self.core.plan());
        self.settings.drop_other();
        self.wish = Wish::Changed;
        let gated: Vec<Arc<str>> = self.weights.keys().cloned().collect();
        gated.iter().for_each(|process| self.turn_gates(process));
        self.drop_unused_listeners()
    }

    /// That the config on disk is not the one that runs, and why.
    pub(super) fn taken_back(&self) -> Option<String> {
        let why = self.settings.taken_back.as_ref()?;
        Some(format!(
            "the config that was applied last was taken back, the one before it runs: {why}; \
             correct it and apply it again, or put the old one back and apply that"
        ))
    }

    /// Whether what the new config adds or changes can be started here: its program and directory are there. What waits
    /// for a one-shot is left out, since that may bring the program about.
    fn runnable(&self, old: &svd_config::Plan, loaded: &Loaded) -> Result<(), String> {
        let dirs = self.dirs();
        let surroundings = super::launch::Surroundings {
            plan: &loaded.plan,
            accounts: &loaded.accounts,
            inherited: &loaded.sources.inherited,
            ..self.surroundings(self.core.plan(), &dirs)
        };
        let runs = loaded.plan.jobs.iter().map(|job| &job.process);
        for process in loaded.plan.processes.iter().chain(runs) {
            let unchanged = old.program(&process.name).is_some_and(|before| before.exec == process.exec);
            if unchanged || !process.after.is_empty() {
                continue;
            }
            let title = process
                .name
                .strip_prefix(JOB)
                .map_or_else(|| format!("[process.{}]", process.name), |job| format!("[job.{job}]"));
            let at = |what: String| format!("{title}: {what}; the running config stays");
            if !process.exec.cwd.is_dir() {
                return Err(at(format!("its directory {} does not exist", process.exec.cwd.display())));
            }
            match surroundings.program(process) {
                Err(what) => return Err(at(what)),
                Ok((_, plan::Lookup::Found(_))) => {}
                Ok((name, plan::Lookup::NotExecutable(path))) => {
                    return Err(at(format!("\"{name}\" ({}) is not executable", path.display())));
                }
                Ok((name, plan::Lookup::Missing(_))) => return Err(at(format!("there is no program \"{name}\""))),
            }
        }
        Ok(())
    }
}

/// A difference of a job, likewise.
fn describe_job(change: &JobChange) -> String {
    let job = format!("{JOB}{}", change.job);
    match &change.kind {
        JobChangeKind::Added => format!("+ {job}: new"),
        JobChangeKind::Removed => format!("- {job}: no longer in the config; what is in progress goes on to its end"),
        JobChangeKind::Changed(keys) => {
            format!("~ {job}: {} changed; what is in progress goes on as it is", keys.join(", "))
        }
    }
}

/// A difference between two configs, as the plan of `apply` shows it. Names of variables, never their values.
fn describe(change: &Change, desired: &svd_core::Desired) -> String {
    let process = &change.process;
    match &change.kind {
        ChangeKind::Added => format!("+ {process}: new, is started"),
        ChangeKind::Removed => format!("- {process}: no longer in the config, is stopped"),
        ChangeKind::Changed { keys, effect: Effect::Restart } => {
            format!("~ {process}: {} changed, its instances are replaced one by one", keys.join(", "))
        }
        ChangeKind::Changed { keys, effect: Effect::Live } => {
            format!("~ {process}: {} changed, takes effect without a restart", keys.join(", "))
        }
        ChangeKind::Count { from, to } => match desired.scale.get(process.as_str()) {
            None => format!("~ {process}: count {from} -> {to}"),
            Some(scaled) => format!(
                "~ {process}: count {from} -> {to} in the config; it stays at {scaled}, as it was scaled; \
                 `svctl scale {process}={to}` has it follow the config again"
            ),
        },
    }
}
