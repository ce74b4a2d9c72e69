//! Telling others of what has happened: the main loop's side. It takes in what is on disk, starts the commands and the posts
//! that the queue gives out, ends the commands in their time, and stores how far everybody has been told.
//!
//! A command is started by the keeper and goes on when the manager dies: its successor finds by the tag which event it tells
//! of, and waits for its end. A post dies with the manager, and is made again.

use std::collections::BTreeSet;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use svd_api as api;
use svd_config::Plan;
use svd_config::plan::{JOB, WebhookPlan};
use svd_core::{InstanceName, Run, SpawnId, Sweep};
use svd_wire::{Exit, Life, Request, SpawnError};
use tokio::io::Interest;
use tokio::sync::{mpsc, oneshot};

use super::Inner;
use super::app::App;
use super::jobs::told_of_run;
use super::launch::explain;
use super::reports::exit_status;
use super::sweep::Main;
use crate::notify::{self, Given, How, Notice, Notices, Place, Post};
use crate::seam::{LinkError, Purpose, Tag};
use crate::store::{EventQuery, NewEvent, RunQuery, Store};

const TERM: i32 = 15;
/// Between TERM and KILL, and for what a command leaves behind.
const GRACE: Duration = Duration::from_secs(5);
/// So much of the end of what a command writes is kept.
const SAID: usize = 2048;
/// So many events that nobody was told of are read at a time.
const AT_A_TIME: u32 = 1000;
/// What lies longer behind is told to nobody any more.
const STALE: Duration = Duration::from_secs(24 * 3600);
/// Sets the spawns that only the sweeper knows apart from the core's.
const ASIDE: u64 = 1 << 62;

/// A command that tells of an event.
#[derive(Debug)]
pub struct Messenger {
    /// `None` for one of a manager before that nobody waits for any more.
    notice: Option<Notice>,
    cookie: String,
    pid: Option<i32>,
    stage: Stage,
    /// Asks for the end of what it has written.
    output: Option<oneshot::Sender<()>>,
    /// All that it has written, where it has closed its output before its end.
    said: Option<String>,
    /// What is told of it when its output is known.
    ended: Option<Result<(), String>>,
}

/// Where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// It runs, in its time.
    Runs,
    /// Its time is over: it was sent TERM.
    Late,
    /// It was killed.
    Killed,
    /// It has ended; who is left of it is being ended.
    Ended,
    /// Nobody is left of it.
    Gone,
}

/// The number of the run that an event is about.
fn run_of(event: &api::Event) -> Option<u32> {
    event.instance.as_deref()?.strip_prefix(JOB)?.rsplit_once('.')?.1.parse().ok()
}

/// How long ago an event was.
fn age(event: &api::Event) -> Duration {
    let now = crate::instant::instant(svd_sys::clock::now().real_ns);
    let then = event.time.parse::<jiff::Timestamp>().unwrap_or(now);
    // None where the clock was put back since.
    now.duration_since(then).try_into().unwrap_or_default()
}

/// What a manager before has not told everybody of.
pub async fn outstanding(store: &Store, plan: &Plan) -> Notices {
    let notified = match store.notified().await {
        Ok(Ok(notified)) => notified,
        Ok(Err(error)) => {
            tracing::error!(%error, "what is still to be told cannot be read");
            return Notices::new(i64::MAX, BTreeSet::new());
        }
        Err(_ended) => return Notices::new(i64::MAX, BTreeSet::new()),
    };
    let mut after = notified.mark;
    let mut notices = Notices::new(notified.mark, notified.ahead);
    let kinds = notify::kinds(plan);
    if kinds.is_empty() {
        return notices;
    }
    let oldest = svd_sys::clock::now().real_ns.saturating_sub(u64::try_from(STALE.as_nanos()).unwrap_or(u64::MAX));
    let oldest = crate::instant::instant(oldest).to_string();
    loop {
        let kinds = kinds.clone();
        let query = EventQuery { after_id: Some(after), limit: AT_A_TIME, kinds, ..EventQuery::default() };
        let Ok(Ok(events)) = store.events(query).await else { return notices };
        let Some(last) = events.last() else { return notices };
        after = last.id;
        // Both are written in one way, in UTC. What is too much for a place is dropped there, and counted.
        for event in events.into_iter().filter(|event| event.time >= oldest) {
            notices.offer(&Arc::new(event), plan);
        }
    }
}

impl App {
    /// Takes in what has happened and is on disk.
    pub(super) fn notice(&mut self, event: &Arc<api::Event>) {
        if self.notices.offer(event, self.core.plan()) == Given::Dropped {
            let told =
                format!("too many events wait to be told; {} (number {}) and others are not", event.kind, event.id);
            self.history("notify.dropped", told);
        }
    }

    /// Performs what can be performed now.
    pub(super) fn tell_next(&mut self) -> Result<(), LinkError> {
        while let Some(notice) = self.notices.next() {
            match &notice.how {
                How::Run(_) => match run_of(&notice.event) {
                    Some(run) => self.look_up_run(run, notice),
                    None => self.start_messenger(notice, None)?,
                },
                How::Post(to) => {
                    let body = self.told_of(&notice).into();
                    let post = Post { to: to.clone(), body, content_type: "application/json", within: notify::HOUR };
                    self.post(notice, post);
                }
                How::Ping { url, timeout, start } => {
                    let to = WebhookPlan { url: url.clone(), headers: Vec::new(), timeout: *timeout };
                    let run = notice.event.instance.as_deref().unwrap_or_default();
                    let body = format!("{run}: {}\n", notice.event.message).into();
                    // What waited for others, or for svd to come back, would say of today what was true yesterday.
                    let worth = if *start { notify::BEGIN } else { notify::END };
                    match worth.checked_sub(age(&notice.event)).filter(|left| !left.is_zero()) {
                        Some(within) => {
                            self.post(notice, Post { to, body, content_type: "text/plain; charset=utf-8", within });
                        }
                        None => self.note_told(&notice, Err(format!("it is older than {} s", worth.as_secs()))),
                    }
                }
            }
        }
        if let Some(mark) = self.notices.take_mark() {
            self.commits.notified(mark);
        }
        self.commits.told(self.notices.take_told());
        Ok(())
    }

    fn post(&self, notice: Notice, post: Post) {
        let (inner, tries) = (self.inner.clone(), self.tries.clone());
        tokio::spawn(async move {
            let told = notify::deliver(post, &tries).await;
            // A closed channel means that the manager is ending.
            let _ending = inner.send(Inner::Posted(Box::new(notice), told));
        });
    }

    fn told_of(&self, notice: &Notice) -> Vec<u8> {
        let plan = self.core.plan();
        notify::json(notice.name, &plan.app, plan.environment.as_deref(), &notice.event)
    }

    /// Somebody was told, or not.
    pub(super) fn told(&mut self, notice: &Notice, told: Result<(), String>) -> Result<(), LinkError> {
        self.note_told(notice, told);
        self.tell_next()
    }

    fn note_told(&mut self, notice: &Notice, told: Result<(), String>) {
        self.notices.done(notice, told.is_ok());
        if let Err(why) = told {
            let Notice { name, event, .. } = notice;
            let whom = match &notice.place {
                Place::Command | Place::Webhook => "nobody".to_owned(),
                Place::JobCommand(job) => format!("the hook of job {job}"),
                Place::JobPing(job) => format!("the ping of job {job}"),
            };
            self.history("notify.failed", format!("{whom} could not be told of {name} (event {}): {why}", event.id));
        }
    }

    fn history(&mut self, kind: &str, message: String) {
        let time_ns = svd_sys::clock::now().real_ns;
        self.commits.event(NewEvent { time_ns, kind: kind.to_owned(), message, ..NewEvent::default() });
    }

    /// The history knows more about a run than the event does. It may have others since.
    fn look_up_run(&self, run: u32, notice: Notice) {
        let asked = self.commits.store().runs(RunQuery { run: Some(run), ..RunQuery::default() });
        let inner = self.inner.clone();
        tokio::spawn(async move {
            // One that is not remembered any more is told with what the event says.
            let run = asked.await.ok().and_then(Result::ok).and_then(|runs| runs.into_iter().next());
            // A closed channel means that the manager is ending.
            let _ending = inner.send(Inner::NoticeOfRun(Box::new((notice, run))));
        });
    }

    /// What is known of the run has been looked up.
    pub(super) fn tell_of_run(&mut self, (notice, run): (Notice, Option<Run>)) -> Result<(), LinkError> {
        self.start_messenger(notice, run.as_ref())?;
        self.tell_next()
    }

    fn start_messenger(&mut self, notice: Notice, run: Option<&Run>) -> Result<(), LinkError> {
        let How::Run(hook) = &notice.how else { return Ok(()) };
        let id = self.next_side;
        self.next_side = self.next_side.saturating_add(2);
        let boot: String = self.keeper.boot.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        let cookie = format!("{boot}-n{id}");
        let (plan, dirs) = (self.core.plan().clone(), self.dirs());
        let mut variables = notify::variables(notice.name, &notice.event);
        variables.extend(run.map(told_of_run).unwrap_or_default());
        let made = self.surroundings(&plan, &dirs).notice(&hook.exec, &cookie, variables, &self.told_of(&notice));
        let (mut spec, fds, output) = match made {
            Ok(made) => made,
            Err(failure) => {
                // Who is next is looked for by whoever gave this one out.
                self.note_told(&notice, Err(failure.message));
                return Ok(());
            }
        };
        let purpose = Purpose::Notice { event: notice.event.id, place: notice.place.word().into_owned() };
        let instance = InstanceName::new(notice.event.process.clone().unwrap_or_default(), 0);
        spec.tag = Tag { instance, purpose, cookie: cookie.clone(), listens: None, ooms: None }.encode();
        self.later(hook.timeout, Inner::NoticeLate(id));
        let output = Some(self.listen_to(id, output));
        self.messengers.insert(
            id,
            Messenger { notice: Some(notice), cookie, pid: None, stage: Stage::Runs, output, said: None, ended: None },
        );
        self.send_spawn(svd_wire::SpawnId(id), spec, fds)
    }

    /// Reads what it writes, and keeps the end of it.
    fn listen_to(&self, id: u64, output: OwnedFd) -> oneshot::Sender<()> {
        let (enough, asked) = oneshot::channel();
        tokio::spawn(listen(id, output, asked, self.inner.clone()));
        enough
    }

    /// The keeper has started it.
    pub(super) fn messenger_runs(&mut self, id: u64, pid: i32) {
        if let Some(messenger) = self.messengers.get_mut(&id) {
            messenger.pid = Some(pid);
        }
    }

    /// Its time is over: that of the command, or of what it left behind.
    pub(super) fn notice_late(&mut self, id: u64) -> Result<(), LinkError> {
        let Some(messenger) = self.messengers.get_mut(&id) else { return Ok(()) };
        match messenger.stage {
            Stage::Runs => {
                messenger.stage = Stage::Late;
                self.later(GRACE, Inner::NoticeLate(id));
                self.link.send(&Request::Signal { spawn: svd_wire::SpawnId(id), signal: TERM }, Vec::new())
            }
            Stage::Late => {
                messenger.stage = Stage::Killed;
                self.sweep_messenger(id, Sweep::Kill);
                self.link.send(&Request::Signal { spawn: svd_wire::SpawnId(id), signal: 9 }, Vec::new())
            }
            Stage::Ended => {
                self.sweep_messenger(id, Sweep::Kill);
                Ok(())
            }
            Stage::Killed | Stage::Gone => Ok(()),
        }
    }

    fn sweep_messenger(&mut self, id: u64, how: Sweep) {
        let Some(messenger) = self.messengers.get(&id) else { return };
        let is = match messenger.stage {
            Stage::Runs | Stage::Late | Stage::Killed => Main::Alive,
            Stage::Ended | Stage::Gone => Main::Ended,
        };
        let main = (messenger.pid.unwrap_or(i32::MAX), is);
        self.sweeper.request(SpawnId(ASIDE | id), how, main, &messenger.cookie, None);
        self.scan_due = true;
    }

    /// It could not be started.
    pub(super) fn messenger_failed(&mut self, id: u64, error: SpawnError) -> Result<(), LinkError> {
        let Some(messenger) = self.messengers.remove(&id) else { return Ok(()) };
        self.commits.forget(svd_wire::SpawnId(id));
        let Some(notice) = messenger.notice else { return Ok(()) };
        let (program, cwd) = match &notice.how {
            How::Run(hook) => (command(hook), hook.exec.cwd.clone()),
            How::Post(_) | How::Ping { .. } => return Ok(()),
        };
        let why = explain(error, program.as_ref(), &cwd).message;
        self.told(&notice, Err(why))
    }

    /// It has ended. What it has left running ends now, too.
    pub(super) fn messenger_ended(&mut self, id: u64, pid: i32, exit: Exit) -> Result<(), LinkError> {
        let Some(messenger) = self.messengers.get_mut(&id) else { return Ok(()) };
        if matches!(messenger.stage, Stage::Ended | Stage::Gone) {
            // It was told before.
            return Ok(());
        }
        let late = matches!(messenger.stage, Stage::Late | Stage::Killed);
        messenger.stage = Stage::Ended;
        messenger.pid = Some(pid);
        messenger.ended = Some(match exit {
            Exit::Code(0) => Ok(()),
            other => {
                let in_time = if late { "took too long, and " } else { "" };
                Err(format!("{in_time}{}", exit_status(other)))
            }
        });
        let said = messenger.said.take();
        // What it wrote is in the pipe by now, and read before anything is told. Who reads may have come to the end already,
        // and what was read is on its way.
        let reader = messenger.output.take().map(|enough| enough.send(()));
        self.sweep_messenger(id, Sweep::Terminate);
        self.later(GRACE, Inner::NoticeLate(id));
        match said {
            Some(said) => self.notice_said(id, said),
            None if reader.is_none() => self.notice_said(id, String::new()),
            None => Ok(()),
        }
    }

    /// All that it has written is known.
    pub(super) fn notice_said(&mut self, id: u64, said: String) -> Result<(), LinkError> {
        let Some(messenger) = self.messengers.get_mut(&id) else { return Ok(()) };
        let Some(ended) = messenger.ended.take() else {
            // It has closed its output, and goes on.
            messenger.said = Some(said);
            return Ok(());
        };
        let Some(notice) = messenger.notice.take() else { return Ok(()) };
        self.forget_messenger(id);
        let How::Run(hook) = &notice.how else { return Ok(()) };
        let said = said.trim_end();
        let command = command(hook);
        if ended.is_ok() && !said.is_empty() {
            let told = format!("{command}, told of {} (event {}), said: {said}", notice.name, notice.event.id);
            self.history("notify.said", told);
        }
        let told = ended.map_err(|why| match said {
            "" => format!("{command} {why}"),
            said => format!("{command} {why}; it said: {said}"),
        });
        self.told(&notice, told)
    }

    /// Nobody is left of it. Answers whether it was one at all.
    pub(super) fn messenger_gone(&mut self, spawn: SpawnId) -> bool {
        let id = spawn.0 & !ASIDE;
        if spawn.0 & ASIDE == 0 {
            return false;
        }
        if let Some(messenger) = self.messengers.get_mut(&id) {
            messenger.stage = Stage::Gone;
        }
        self.forget_messenger(id);
        true
    }

    /// Forgets one of which nobody is left, when everything is told.
    fn forget_messenger(&mut self, id: u64) {
        let done = |messenger: &Messenger| messenger.stage == Stage::Gone && messenger.notice.is_none();
        if self.messengers.get(&id).is_some_and(done) {
            self.messengers.remove(&id);
            self.commits.forget(svd_wire::SpawnId(id));
        }
    }

    /// Takes one over that a manager before has started.
    pub(super) fn adopt_messenger(
        &mut self,
        id: u64,
        (event, place): (i64, &str),
        cookie: String,
        life: Life,
        output: Option<OwnedFd>,
    ) -> Result<(), LinkError> {
        let notice = Place::of_word(place).and_then(|place| self.notices.resume(&place, event));
        let timeout = match notice.as_ref().map(|notice| &notice.how) {
            Some(How::Run(hook)) => hook.timeout,
            Some(How::Post(_) | How::Ping { .. }) | None => Duration::ZERO,
        };
        let output = output.map(|output| self.listen_to(id, output));
        let messenger = Messenger { notice, cookie, pid: None, stage: Stage::Runs, output, said: None, ended: None };
        self.messengers.insert(id, messenger);
        match life {
            Life::Forked { .. } => {}
            Life::Running { pid, .. } => self.messenger_runs(id, pid),
            // The keeper tells of it again, unless that was stored already.
            Life::Failed { error, .. } => return self.messenger_failed(id, error),
            Life::Exited { pid, exit, .. } => return self.messenger_ended(id, pid, exit),
        }
        // Its time begins anew: how much of it is over was not written down.
        self.later(timeout, Inner::NoticeLate(id));
        Ok(())
    }
}

/// The program of a hook, as messages name it.
fn command(hook: &svd_config::plan::HookPlan) -> String {
    use svd_config::plan::Run;
    match &hook.exec.run {
        Run::Words(words) | Run::Literal(words) => words.first().cloned().unwrap_or_default(),
        Run::Shell(line) => line.split(' ').next().unwrap_or_default().to_owned(),
    }
}

/// Reads until the end, or until what is there is enough. A pipe that somebody else still holds has no end.
async fn listen(id: u64, output: OwnedFd, mut enough: oneshot::Receiver<()>, inner: mpsc::UnboundedSender<Inner>) {
    let mut said = Vec::new();
    if let Ok(output) = crate::reactor::watch(output, Interest::READABLE) {
        loop {
            let last = tokio::select! {
                // An error of the reactor means that it is being shut down.
                ready = output.readable() => match ready {
                    Ok(mut ready) => {
                        ready.clear_ready();
                        false
                    }
                    Err(_) => true,
                },
                _ = &mut enough => true,
            };
            if read_all(&output, &mut said) == Ended::Yes || last {
                break;
            }
        }
        // Whoever writes into a full pipe would wait for ever: the keeper holds it until nobody is left.
        let text = String::from_utf8_lossy(&said).into_owned();
        if inner.send(Inner::NoticeSaid(id, text)).is_err() {
            return;
        }
        while read_all(&output, &mut said) == Ended::No {
            let Ok(mut ready) = output.readable().await else { return };
            ready.clear_ready();
        }
        return;
    }
    let _ending = inner.send(Inner::NoticeSaid(id, String::new()));
}

/// Whether a pipe can ever say more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    Yes,
    No,
}

/// Reads what is there, and keeps the end of it.
fn read_all(output: &tokio::io::unix::AsyncFd<OwnedFd>, said: &mut Vec<u8>) -> Ended {
    let mut buffer = [0; 4096];
    loop {
        match svd_sys::fd::read(output.get_ref().as_fd(), &mut buffer) {
            Ok(0) => return Ended::Yes,
            Ok(count) => {
                said.extend_from_slice(buffer.get(..count).unwrap_or_default());
                said.drain(..said.len().saturating_sub(SAID));
            }
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return Ended::No,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(_) => return Ended::Yes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Batch, Place as File};
    use svd_config::{Source, SourceKind, Sources};

    fn plan() -> Plan {
        let text = "[job.report]\nrun = \"x\"\non_failure = \"x\"\n".to_owned();
        let main = Source { path: "Procfile.toml".into(), kind: SourceKind::Toml, text, mode: 0o600 };
        let (others, only, inherited) = Default::default();
        let sources =
            Sources { main, dir: "/srv/shop".into(), others, environment: None, only, no_jobs: false, inherited };
        svd_config::plan(&sources).unwrap().0
    }

    #[tokio::test]
    async fn however_much_lies_behind_the_mark_what_is_worth_telling_is_found() {
        // given more than is read at a time, all of it too old, and one of now
        let dir = std::env::temp_dir().join(format!("svd-outstanding-{}", std::process::id()));
        let _stale = std::fs::remove_dir_all(&dir);
        let (store, _) = Store::open(File::File(dir.join("state.db"))).unwrap();
        let event = |time_ns| NewEvent {
            time_ns,
            kind: "job.failed".to_owned(),
            process: Some("job:report".to_owned()),
            instance: Some("job:report.1".to_owned()),
            ..NewEvent::default()
        };
        let old = std::iter::repeat_n(event(1_700_000_000_000_000_000), AT_A_TIME as usize + 1);
        let events = old.chain([event(svd_sys::clock::now().real_ns)]).collect();
        let stored = store.commit(Batch { events, notified: Some(0), ..Batch::default() }).await.unwrap().unwrap();
        // when
        let mut notices = outstanding(&store, &plan()).await;
        notices.open();
        // then
        assert_eq!(notices.next().map(|notice| notice.event.id), stored.last().map(|event| event.id));
        assert_eq!(notices.next(), None);
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
