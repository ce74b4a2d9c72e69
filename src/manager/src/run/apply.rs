//! A config read again: what differs is told, checked and given to the core; a config that is refused changes nothing.

use std::sync::Arc;

use svd_api as api;
use svd_config::{Change, ChangeKind, Effect};
use svd_core::Command;

use super::app::App;
use super::asks::{Answer, Asked};
use crate::ask::Actor;
use crate::plan::{self, Loaded};
use crate::seam::LinkError;

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
        let loaded = match plan::recheck(&self.snapshot.sources, file.as_deref()) {
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
        let changes = svd_config::diff(&old, &loaded.plan);
        let words: Vec<String> = changes.iter().map(|change| describe(change, self.core.desired())).collect();
        if asked.dry_run || changes.is_empty() {
            let (outcome, message) = match (asked.dry_run, changes.is_empty()) {
                (_, true) => (api::OutcomeWord::Done, "nothing to change".to_owned()),
                (true, false) => (api::OutcomeWord::Planned, "nothing was changed (dry run)".to_owned()),
                (false, false) => (api::OutcomeWord::Done, String::new()),
            };
            if !asked.dry_run {
                self.adopt_sources(&loaded)?;
            }
            let (changes, problems, evidence) = (words, Vec::new(), Vec::new());
            self.answer(asked, api::CommandResult { outcome, message, changes, problems, evidence });
            return Ok(());
        }
        let restart: Vec<Arc<str>> = changes
            .iter()
            .filter(|change| matches!(change.kind, ChangeKind::Changed { effect: Effect::Restart, .. }))
            .map(|change| Arc::from(change.process.as_str()))
            .collect();
        let plan = Arc::new(loaded.plan.clone());
        let command = Command::Apply { plan, restart };
        if let Err(message) = self.core.dry_run(&command) {
            return self.refuse(asked, message);
        }
        self.commits.event(asked.event("command.apply", format!("{}: {}", asked.words, words.join("; "))));
        self.adopt_sources(&loaded)?;
        self.order(asked.into_op(words), command)
    }

    /// From now on a new manager begins with this config.
    fn adopt_sources(&mut self, loaded: &Loaded) -> Result<(), LinkError> {
        self.snapshot.sources = loaded.sources.clone();
        self.snapshot.accounts = loaded.accounts.clone();
        self.accounts = loaded.accounts.clone();
        self.warnings = loaded.warnings.clone();
        self.commits.config(self.snapshot.to_memfd()?);
        Ok(())
    }

    /// Whether what the new config adds or changes can be started here: its program and directory are there. What waits
    /// for a one-shot is left out, since that may bring the program about.
    fn runnable(&self, old: &svd_config::Plan, loaded: &Loaded) -> Result<(), String> {
        let dirs = self.dirs();
        let surroundings = super::launch::Surroundings {
            accounts: &loaded.accounts,
            inherited: &loaded.sources.inherited,
            ..self.surroundings(&loaded.plan, &dirs)
        };
        for process in &loaded.plan.processes {
            let unchanged = old.process(&process.name).is_some_and(|before| before.exec == process.exec);
            if unchanged || !process.after.is_empty() {
                continue;
            }
            let at = |what: String| format!("[process.{}]: {what}; the running config stays", process.name);
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
