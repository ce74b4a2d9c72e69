//! svd becomes another build of itself, and nothing that it keeps is restarted.
//!
//! ```text
//! asked --the file is svd--> stored --on disk--> UpgradeManager --> this manager ends
//! the next one: Upgraded(ManagerRuns) --both asked for--> UpgradeKeeper --> Upgraded(KeeperRuns)
//! ```
//!
//! The keeper runs the next manager from the new program, and the former program again where that does not come up. What was asked
//! for is in the note that the keeper tells again; so whichever manager lives at the end answers.

use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use svd_api as api;
use svd_config::plan::WithoutManager;
use svd_wire::{FEATURE_UPGRADE, Request, STATE_VERSION, UpgradeOutcome};

use super::Inner;
use super::app::{App, KeeperFacts, Stopping};
use super::asks::{Answer, Asked};
use crate::ask::Actor;
use crate::build::Build;
use crate::seam::{LinkError, Scope, UpgradeNote};
use crate::store::NewEvent;

/// How long an order may take to reach the disk.
const STORED_WITHIN: Duration = Duration::from_secs(10);
/// The most who wait for an outcome.
const MOST_WAITING: usize = 64;

/// What this manager knows of upgrades.
#[derive(Default)]
pub struct Upgrade {
    stage: Stage,
    /// Who asked how one ended that has not.
    waiting: Vec<(String, Answer)>,
    /// The last one that has.
    last: Option<(String, api::CommandResult)>,
    /// Those that were asked for before the keeper has told how things stand.
    early: Vec<(api::UpgradeRequest, Actor, Answer)>,
}

#[derive(Default)]
enum Stage {
    /// The keeper has not told yet how things stand.
    #[default]
    Unknown,
    /// Nothing is under way.
    None,
    /// A file is being looked at.
    Checking,
    /// It is good, and the keeper is told when the order is stored.
    Storing { note: UpgradeNote, program: OwnedFd },
    /// The keeper is about it.
    UnderWay,
}

/// A program that was looked at, and for whom.
pub struct Checked {
    asked: Asked,
    note: UpgradeNote,
    result: Result<(OwnedFd, Build), String>,
}

impl std::fmt::Debug for Checked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Checked").field("note", &self.note).finish_non_exhaustive()
    }
}

impl Upgrade {
    /// Below a keeper with these feature bits.
    pub fn below(features: u64) -> Upgrade {
        let stage = if features & FEATURE_UPGRADE == 0 { Stage::None } else { Stage::Unknown };
        Upgrade { stage, ..Upgrade::default() }
    }

    /// What the end of the link means.
    pub fn explain(&self, error: LinkError) -> LinkError {
        match (error, &self.stage) {
            (LinkError::Closed | LinkError::Io(_), Stage::UnderWay) => LinkError::Replaced,
            (error, _) => error,
        }
    }
}

impl App {
    /// Begins with a look at the file, which must not hold up anything else.
    pub(super) fn upgrade(
        &mut self,
        request: api::UpgradeRequest,
        actor: Actor,
        reply: Answer,
    ) -> Result<(), LinkError> {
        // The keeper tells it with the first that it tells; whoever comes between, after a manager's death say, waits for that.
        if matches!(self.upgrade.stage, Stage::Unknown) && self.upgrade.early.len() < MOST_WAITING {
            self.upgrade.early.push((request, actor, reply));
            return Ok(());
        }
        let path: Result<PathBuf, String> = match request.binary {
            Some(path) => Ok(PathBuf::from(path)),
            None => own_file(self.keeper.pid),
        };
        let shown = path.as_ref().map(|path| path.display().to_string()).unwrap_or_default();
        let note = UpgradeNote {
            token: request.token,
            scope: if request.manager_only { Scope::Manager } else { Scope::Both },
            path: shown.clone(),
            actor: Some(actor.name.clone()),
            reason: request.reason.clone(),
        };
        let asked = Asked {
            words: format!("upgrade {shown}"),
            actor: Some(actor),
            reason: request.reason,
            dry_run: request.dry_run,
            reply: Some(reply),
        };
        if let Some(message) = self.not_now() {
            return self.refuse(asked, message);
        }
        let path: PathBuf = match path {
            Ok(path) => path,
            Err(message) => return self.refuse(asked, message),
        };
        self.upgrade.stage = Stage::Checking;
        let (inner, own_uid) = (self.inner.clone(), svd_sys::process::uid());
        tokio::task::spawn_blocking(move || {
            let result = look_at(&path, own_uid);
            // The main loop is gone only when svd is.
            let _ended = inner.send(Inner::Upgradable(Box::new(Checked { asked, note, result })));
        });
        Ok(())
    }

    /// Why no upgrade can begin.
    fn not_now(&self) -> Option<String> {
        match self.upgrade.stage {
            Stage::None => {}
            Stage::Unknown => return Some("svd's manager has only just begun: try again in a moment".into()),
            Stage::Checking | Stage::Storing { .. } | Stage::UnderWay => {
                return Some("another upgrade is under way: `svctl events` tells how it goes".into());
            }
        }
        if self.stopping != Stopping::No {
            return Some("svd is stopping".into());
        }
        (self.keeper.features & FEATURE_UPGRADE == 0).then(|| {
            let KeeperFacts { build, protocol, .. } = &self.keeper;
            format!(
                "the keeper that runs (svd {build}, protocol {protocol}) is older than upgrades without a restart; \
                 it is replaced when svd is started anew"
            )
        })
    }

    pub(super) fn upgrade_checked(&mut self, checked: Checked) -> Result<(), LinkError> {
        let Checked { asked, note, result } = checked;
        self.upgrade.stage = Stage::None;
        // svd may have been told to stop meanwhile.
        if let Some(message) = self.not_now() {
            return self.refuse(asked, message);
        }
        let (program, build) =
            match result.and_then(|(program, build)| self.fits(&build, note.scope).map(|()| (program, build))) {
                Ok(good) => good,
                Err(why) => {
                    let message = format!("{} {why}; nothing was changed", note.path);
                    return self.refuse(asked, message);
                }
            };
        let mut changes = vec![format!("manager: svd {} -> {}", env!("CARGO_PKG_VERSION"), build.version)];
        if note.scope == Scope::Both {
            changes.push(format!("keeper: svd {} -> {}", self.keeper.build, build.version));
        }
        if asked.dry_run {
            let message = "nothing was changed (dry run); no process would be restarted".into();
            self.answer(asked, result_of(api::OutcomeWord::Planned, message, changes));
            return Ok(());
        }
        self.commits.event(asked.event("command.upgrade", format!("{}: {}", asked.words, changes.join("; "))));
        let (inner, token) = (self.inner.clone(), note.token.clone());
        tokio::spawn(async move {
            tokio::time::sleep(STORED_WITHIN).await;
            let _ended = inner.send(Inner::UpgradeLate(token));
        });
        self.upgrade.stage = Stage::Storing { note, program };
        // Who asked is told by the next manager; the connection ends with this one.
        self.keep_waiting(asked);
        self.upgrade_when_stored()
    }

    /// Who asked for an upgrade is answered when it has ended, if this manager lives to see that.
    fn keep_waiting(&mut self, asked: Asked) {
        let token = match &self.upgrade.stage {
            Stage::Storing { note, .. } => note.token.clone(),
            Stage::Unknown | Stage::None | Stage::Checking | Stage::UnderWay => return,
        };
        if let Some(reply) = asked.reply {
            self.upgrade.waiting.push((token, reply));
        }
    }

    /// Whether a build can go on with what runs.
    fn fits(&self, build: &Build, scope: Scope) -> Result<(), String> {
        if build.features & FEATURE_UPGRADE == 0 {
            return Err(format!("(svd {}) cannot be upgraded from again without a restart", build.version));
        }
        let (min, max) = build.protocol;
        let ours = self.keeper.protocol;
        if !(min..=max).contains(&ours) {
            return Err(format!(
                "(svd {}) speaks the protocol between keeper and manager from {min} to {max}, and the keeper that runs speaks {ours}",
                build.version
            ));
        }
        if scope == Scope::Both && build.state != STATE_VERSION {
            return Err(format!(
                "(svd {}) reads encoding {} of what a keeper knows, and this one writes {STATE_VERSION}: `--manager-only` leaves the keeper as it is",
                build.version, build.state
            ));
        }
        Ok(())
    }

    /// Tells the keeper, once the order is on disk.
    pub(super) fn upgrade_when_stored(&mut self) -> Result<(), LinkError> {
        if !self.commits.is_idle() || !matches!(self.upgrade.stage, Stage::Storing { .. }) {
            return Ok(());
        }
        if self.stopping != Stopping::No {
            return self.upgrade_given_up("svd is stopping");
        }
        let Stage::Storing { note, program } = std::mem::replace(&mut self.upgrade.stage, Stage::UnderWay) else {
            return Ok(());
        };
        self.link.send(&Request::UpgradeManager { note: note.encode() }, vec![program])
    }

    /// The order has not reached the disk for so long that nobody waits for it any more.
    pub(super) fn upgrade_late(&mut self, token: &str) -> Result<(), LinkError> {
        match &self.upgrade.stage {
            Stage::Storing { note, .. } if note.token == token => {
                self.upgrade_given_up("the order could not be stored; `svctl status` says why")
            }
            _ => Ok(()),
        }
    }

    /// Nothing was asked of the keeper yet, and nothing is going to be.
    fn upgrade_given_up(&mut self, why: &str) -> Result<(), LinkError> {
        let Stage::Storing { note, .. } = std::mem::replace(&mut self.upgrade.stage, Stage::None) else {
            return Ok(());
        };
        let result = result_of(api::OutcomeWord::Refused, format!("{why}; nothing was changed"), Vec::new());
        for (_, reply) in self.upgrade.waiting.extract_if(.., |(token, _)| *token == note.token) {
            // Whoever asked may have left.
            let _left = reply.send(result.clone());
        }
        self.upgrade.last = Some((note.token, result));
        Ok(())
    }

    /// The keeper tells how far an upgrade has come.
    pub(super) fn upgraded(&mut self, note: &[u8], outcome: UpgradeOutcome, build: String) -> Result<(), LinkError> {
        self.take_in(note, outcome, build)?;
        for (request, actor, reply) in std::mem::take(&mut self.upgrade.early) {
            self.upgrade(request, actor, reply)?;
        }
        Ok(())
    }

    fn take_in(&mut self, note: &[u8], outcome: UpgradeOutcome, build: String) -> Result<(), LinkError> {
        self.keeper.build = build;
        if matches!(self.upgrade.stage, Stage::Unknown) {
            self.upgrade.stage = Stage::None;
        }
        if outcome == UpgradeOutcome::Nothing {
            for (_, reply) in std::mem::take(&mut self.upgrade.waiting) {
                // Whoever asked may have left.
                let _left = reply.send(unknown());
            }
            return Ok(());
        }
        let Some(note) = UpgradeNote::decode(note) else {
            // Of a build that writes other notes: nobody waits for it here.
            if outcome == UpgradeOutcome::UnderWay {
                self.upgrade.stage = Stage::UnderWay;
                return Ok(());
            }
            tracing::warn!(?outcome, "an upgrade that cannot be read has ended");
            self.upgrade.stage = Stage::None;
            return self.link.send(&Request::UpgradeSeen, Vec::new());
        };
        let own = env!("CARGO_PKG_VERSION");
        let (word, message) = match outcome {
            UpgradeOutcome::UnderWay | UpgradeOutcome::Nothing => {
                self.upgrade.stage = Stage::UnderWay;
                return Ok(());
            }
            UpgradeOutcome::ManagerRuns if note.scope == Scope::Both => {
                self.upgrade_event(
                    &note,
                    "upgrade.manager",
                    format!("the manager is svd {own} now, from {}", note.path),
                );
                self.upgrade.stage = Stage::UnderWay;
                return self.link.send(&Request::UpgradeKeeper { note: note.encode() }, Vec::new());
            }
            UpgradeOutcome::ManagerRuns => {
                let keeper = &self.keeper.build;
                let message = format!(
                    "the manager is svd {own} now, from {}; the keeper goes on as svd {keeper}, and no process was restarted",
                    note.path
                );
                (api::OutcomeWord::Done, message)
            }
            UpgradeOutcome::ManagerRefused { why } => {
                let message = format!(
                    "the manager of {} was not taken: {why}; the former one runs again, and no process was restarted",
                    note.path
                );
                (api::OutcomeWord::RolledBack, message)
            }
            UpgradeOutcome::KeeperRuns => {
                // It is the program that this manager is run from.
                self.keeper.features = Build::own().features;
                let exit = self.settings.in_force().plan.control.without_manager == WithoutManager::Exit;
                self.link.send(&Request::WithoutManager { exit }, Vec::new())?;
                let message =
                    format!("manager and keeper are svd {own} now, from {}; no process was restarted", note.path);
                (api::OutcomeWord::Done, message)
            }
            UpgradeOutcome::KeeperRefused { why } => {
                let message = format!(
                    "the manager is svd {own} now, from {}; the keeper goes on as svd {}: {why}; no process was restarted",
                    note.path, self.keeper.build
                );
                (api::OutcomeWord::Failed, message)
            }
        };
        let kind = if word == api::OutcomeWord::Done { "upgrade.done" } else { "upgrade.failed" };
        self.upgrade_event(&note, kind, message.clone());
        self.upgrade.stage = Stage::None;
        self.commits.upgrade_seen();
        let result = result_of(word, message, Vec::new());
        for (_, reply) in self.upgrade.waiting.extract_if(.., |(token, _)| *token == note.token) {
            self.commits.reply((reply, result.clone()));
        }
        self.upgrade.last = Some((note.token, result));
        Ok(())
    }

    fn upgrade_event(&mut self, note: &UpgradeNote, kind: &str, message: String) {
        self.commits.event(NewEvent {
            time_ns: svd_sys::clock::now().real_ns,
            kind: kind.to_owned(),
            actor: note.actor.clone(),
            reason: note.reason.clone(),
            message,
            ..NewEvent::default()
        });
    }

    /// Answers how an upgrade has ended, when it has.
    pub(super) fn upgrade_outcome(&mut self, token: String, reply: Answer) {
        match &self.upgrade.last {
            Some((last, result)) if *last == token => {
                // Whoever asked may have left.
                let _left = reply.send(result.clone());
            }
            _ if matches!(self.upgrade.stage, Stage::None) => {
                let _left = reply.send(unknown());
            }
            _ => {
                self.upgrade.waiting.retain(|(_, reply)| !reply.is_closed());
                if self.upgrade.waiting.len() < MOST_WAITING {
                    self.upgrade.waiting.push((token, reply));
                }
            }
        }
    }
}

/// The answer to who asks for an upgrade that there is not.
fn unknown() -> api::CommandResult {
    let message = "the manager that was to begin the upgrade ended before it had, or one that knew the outcome has ended since: \
                   `svctl events` tells what became of it";
    result_of(api::OutcomeWord::Failed, message.into(), Vec::new())
}

fn result_of(outcome: api::OutcomeWord, message: String, changes: Vec<String>) -> api::CommandResult {
    api::CommandResult { outcome, message, changes, problems: Vec::new(), evidence: Vec::new(), run: None }
}

/// The file that svd was started from, whatever lies there by now: as it was called then, since a link may lead elsewhere by now.
fn own_file(keeper: i32) -> Result<PathBuf, String> {
    if let Some(called) = called(keeper) {
        return Ok(called);
    }
    let link = std::fs::read_link("/proc/self/exe")
        .map_err(|error| format!("cannot tell which file svd was started from: {error}"))?;
    let text = link.display().to_string();
    // So the kernel marks a file that was replaced or removed (proc_pid_exe(5)).
    Ok(PathBuf::from(text.strip_suffix(" (deleted)").unwrap_or(&text)))
}

/// The name by which the keeper was started, where it still leads to a file.
fn called(keeper: i32) -> Option<PathBuf> {
    use std::os::unix::ffi::OsStrExt;
    let line = std::fs::read(format!("/proc/{keeper}/cmdline")).ok()?;
    let name = Path::new(std::ffi::OsStr::from_bytes(line.split(|byte| *byte == 0).next()?));
    let found = if name.components().count() > 1 {
        std::fs::read_link(format!("/proc/{keeper}/cwd")).ok()?.join(name)
    } else {
        let path = std::env::var_os("PATH")?;
        std::env::split_paths(&path).map(|dir| dir.join(name)).find(|file| file.is_file())?
    };
    found.is_file().then_some(found)
}

/// Opens the file and sees that it may be run as svd, and is svd.
fn look_at(path: &Path, own_uid: u32) -> Result<(OwnedFd, Build), String> {
    let file = svd_sys::fd::open_without_waiting(path).map_err(|error| format!("cannot be opened: {error}"))?;
    let file = std::fs::File::from(file);
    let meta = file.metadata().map_err(|error| format!("cannot be looked at: {error}"))?;
    if !meta.is_file() {
        return Err("is not a file".into());
    }
    if meta.uid() != 0 && meta.uid() != own_uid {
        return Err(format!("belongs to user {}, who could make svd run anything", meta.uid()));
    }
    if meta.mode() & 0o002 != 0 {
        return Err("may be written by everybody, who could make svd run anything".into());
    }
    // A group of one's own, which many systems give each user, is as good as its owner.
    let own_group = meta.gid() == 0 || (meta.uid() == own_uid && meta.gid() == own_uid);
    if meta.mode() & 0o020 != 0 && !own_group {
        return Err(format!("may be written by group {}, whose members could make svd run anything", meta.gid()));
    }
    let program = OwnedFd::from(file);
    let build = Build::of(&program)?;
    Ok((program, build))
}
