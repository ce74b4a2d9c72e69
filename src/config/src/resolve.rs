//! Draft to plan: defaults, combinations, variables, ports, order. After this nothing is checked again.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use crate::advice::{self, Keys};
use crate::document::{self, Control, Draft, Named};
use crate::environment::{self, EnvFiles, KEEP_ENV, Known, OWN, Variables};
use crate::error::{Errors, Warning};
use crate::listeners::{self, Base, Prepared};
use crate::order;
use crate::plan::{
    ConfinePlan, ControlPlan, Dependency, ExecPlan, Handoff, JobPlan, Late, ListenAddress, ListenerPlan, LogPlan,
    NotifyPlan, Plan, ProcessPlan, ReadyBy, ReadyPlan, RestartLimit, RestartPlan, RestartWhen, Run, StopStep,
    SuccessExit, WithoutManager,
};
use crate::ports;
use crate::process::{Raw, RawEvidence, RawRun};
use crate::procfile;
use crate::report::{At, Report, Span};
use crate::source::{SourceKind, Sources};
use crate::values;
use crate::words::{self, SplitError};

/// Instances that one svd runs at most.
const MOST_INSTANCES: u32 = 5000;

/// Makes a plan, or tells all that is wrong with all files.
pub fn plan(sources: &Sources) -> Result<(Plan, Vec<Warning>), Errors> {
    let mut report = Report::over(sources);
    let mut files = EnvFiles::new(sources);
    let (draft, shared) = match sources.main.kind {
        SourceKind::Procfile | SourceKind::EnvFile => plain(sources, &mut files, &mut report),
        SourceKind::Toml => {
            let document = document::read(sources, &mut report);
            for include in document.include.iter().filter(|i| !is_pattern(&i.value)) {
                if environment::find(sources, &include.value, SourceKind::Toml).is_none() {
                    let message = format!("included file \"{}\" does not exist", include.value.escape_debug());
                    report.problem_with(include.span, message, "create it, or take it out of include");
                }
            }
            let draft = document.draft(sources.environment.as_deref(), &mut report);
            let mut shared = Variables::new();
            files.layer(&mut shared, &draft.env, &draft.env_file, &mut report);
            (draft, shared)
        }
    };
    let resolver = Resolver { sources, files, report, shared };
    resolver.resolve(draft)
}

/// Whether a name in `include` is a pattern, which may match nothing.
pub(crate) fn is_pattern(name: &str) -> bool {
    name.contains(['*', '?', '['])
}

fn plain(sources: &Sources, files: &mut EnvFiles<'_>, report: &mut Report) -> (Draft, Variables) {
    if let Some(environment) = &sources.environment {
        report.problem_whole(format!(
            "no environment \"{environment}\"; a plain Procfile has none: environments need a Procfile.toml"
        ));
    }
    let mut processes = procfile::read(&sources.main.text, report);
    let mut shared = Variables::new();
    files.layer_optional(&mut shared, ".env", report);
    let mut seen = sources.inherited.clone();
    seen.extend(shared.iter().map(|(name, value)| (name.clone(), value.value.clone())));
    // PORT is always given, so that the one of the environment says nothing about its value.
    seen.remove("PORT");
    procfile::choose_shells(&mut processes, &seen);
    (Draft { processes, ..Draft::default() }, shared)
}

/// Makes the plan out of the draft.
pub(crate) struct Resolver<'a> {
    pub sources: &'a Sources,
    pub files: EnvFiles<'a>,
    pub report: Report,
    /// The variables of all processes and jobs.
    pub shared: Variables,
}

/// A process, as far as it is known.
pub(crate) struct Asked<'a> {
    pub name: &'a str,
    pub raw: &'a Raw,
    pub listen: &'a [ListenerPlan],
    pub known: &'a Known<'a>,
}

impl Asked<'_> {
    pub fn is_oneshot(&self) -> bool {
        self.raw.oneshot.as_ref().is_some_and(|oneshot| oneshot.value)
    }

    /// It has sockets that one can be seen to listen on; datagrams are not listened for.
    pub fn has_streams(&self) -> bool {
        self.listen.iter().any(|listener| !matches!(listener.address, ListenAddress::Udp { .. }))
    }

    /// A listener could not be read, which has been told.
    pub fn misses_listeners(&self) -> bool {
        self.raw.listen.as_ref().is_some_and(|raw| raw.value.is_empty() || raw.value.len() != self.listen.len())
    }

    pub fn count(&self) -> u32 {
        self.raw.count.as_ref().map_or(1, |count| count.value)
    }
}

impl Resolver<'_> {
    fn resolve(mut self, draft: Draft) -> Result<(Plan, Vec<Warning>), Errors> {
        let app = self.app(draft.app.as_ref());
        if draft.processes.is_empty() && draft.jobs.is_empty() && !self.report.has_problems() {
            self.report.problem_whole(match self.sources.main.kind {
                SourceKind::Toml => "no process and no job; add one: [process.web] with run = \"…\"",
                _ => "no process; add a line such as web: ./server",
            });
        }
        let base = self.base_port();
        let prepared = listeners::prepare(base, &draft.processes, &self.shared, &mut self.files, &mut self.report);
        let mut processes = Vec::new();
        for (named, prepared) in draft.processes.iter().zip(prepared) {
            processes.extend(self.process(named, prepared));
        }
        let jobs: Vec<JobPlan> = draft.jobs.iter().filter_map(|job| self.job(job)).collect();
        let instances: u32 = processes.iter().map(|p| p.count).sum();
        if instances > MOST_INSTANCES {
            self.report.problem_whole(format!(
                "the processes have {instances} instances together; at most {MOST_INSTANCES} are possible"
            ));
        }
        if !self.report.is_broken() {
            order::check(&draft.processes, &mut self.report);
        }
        let notify = self.notify(&draft.notify);
        let environment = self.sources.environment.clone();
        let dir = self.sources.dir.clone();
        let (control, store_listeners) = (control(draft.control), draft.store_listeners.unwrap_or(true));
        let mut plan = Plan { app, environment, dir, processes, jobs, control, notify, store_listeners };
        if !self.report.has_problems() {
            order::select(&mut plan, self.sources, &mut self.report);
        }
        self.report.finish().map(|warnings| (plan, warnings))
    }

    fn app(&mut self, given: Option<&At<String>>) -> String {
        if let Some(app) = given {
            return app.value.clone();
        }
        let app = app_of_dir(&self.sources.dir);
        if app.is_empty() && !self.report.has_problems() {
            let way_out = match self.sources.main.kind {
                SourceKind::Toml => "say app = \"…\"",
                _ => "start svd in a directory with a name, or say app = \"…\" in a Procfile.toml",
            };
            let dir = self.sources.dir.display();
            self.report.problem_whole(format!(
                "the app has no name: none can be made from the directory \"{dir}\"; {way_out}"
            ));
        }
        app
    }

    fn base_port(&mut self) -> Base {
        let foreman = Base { port: ports::DEFAULT_BASE, said: false };
        if self.shared.contains_key("PORT") {
            let port = environment::take_port(&mut self.shared, &mut self.report);
            return port.map_or(foreman, |port| Base { port: port.value, said: true });
        }
        let Some(text) = self.sources.inherited.get("PORT").filter(|t| !t.is_empty()) else {
            return foreman;
        };
        let port = environment::parse_port(text);
        if port.is_none() {
            self.report.problem_whole("PORT in svd's own environment must be a whole number from 1 to 65535");
        }
        port.map_or(foreman, |port| Base { port, said: true })
    }

    fn process(&mut self, named: &Named, prepared: Prepared) -> Option<ProcessPlan> {
        let (name, raw) = (&named.name, &named.raw);
        let Prepared { port, variables, listen } = prepared;
        let mut env: BTreeMap<String, String> =
            self.shared.iter().map(|(name, value)| (name.clone(), value.value.clone())).collect();
        env.extend(variables.iter().map(|(name, value)| (name.clone(), value.value.clone())));
        let shared = std::mem::take(&mut self.shared);
        let known = Known {
            own: &variables,
            shared: &shared,
            keep_env: raw.keep_env.as_deref(),
            sources: self.sources,
            given: OWN,
        };
        let asked = Asked { name: &name.value, raw, listen: &listen, known: &known };
        let run = self.run(named, &known);
        let handoff = self.handoff(&asked);
        let ready = self.ready(&asked, &handoff);
        let health = self.health(&asked);
        let drained = self.drained(&asked);
        self.check_fd_store(&asked, &handoff);
        let update = self.update(&asked, &handoff);
        self.shared = shared;

        let oneshot = raw.oneshot.as_ref().is_some_and(|o| o.value);
        let restart = self.restart(named, oneshot);
        let logs = self.logs(named);
        let stop = self.stop(named);
        let recycle = self.recycle(named);
        let notify = notify(raw);
        let label = format!("process.{}", name.value);
        let limits = self.limits(&label, raw);
        let confine = self.confine(&label, raw);
        let exec = ExecPlan { confine, ..self.exec(raw, run?, env, port, None) };
        let after = raw.after.as_deref().unwrap_or_default().iter();
        let plan = ProcessPlan {
            name: name.value.clone(),
            count: raw.count.as_ref().map_or(1, |c| c.value),
            exec,
            after: after
                .map(|a| Dependency { process: a.process.value.clone(), condition: a.condition.value })
                .collect(),
            oneshot,
            essential: raw.essential.as_ref().is_some_and(|e| e.value),
            ready: ready?,
            restart,
            stop,
            reload_signal: raw.reload.and_then(|reload| reload.signal).unwrap_or(1),
            notify,
            logs,
            listen,
            handoff,
            update,
            health: health?,
            quiet: raw.quiet.as_ref().map(|q| q.value),
            drained: drained?,
            recycle,
            limits,
        };
        let keys = match self.sources.main.kind {
            SourceKind::Toml => Keys::All,
            SourceKind::Procfile | SourceKind::EnvFile => Keys::None,
        };
        advice::give(&plan, raw, keys, &mut self.report);
        Some(plan)
    }

    /// What is started, and in which surroundings.
    pub(crate) fn exec(
        &self,
        raw: &Raw,
        run: Run,
        env: BTreeMap<String, String>,
        port: u16,
        input: Option<String>,
    ) -> ExecPlan {
        ExecPlan {
            run,
            cwd: match &raw.cwd {
                Some(cwd) => self.sources.dir.join(&cwd.value),
                None => self.sources.dir.clone(),
            },
            user: raw.user.as_ref().map(|u| u.value.clone()),
            group: raw.group.as_ref().map(|g| g.value.clone()),
            umask: raw.umask.as_ref().map(|u| u.value),
            nice: raw.nice.as_ref().map(|n| n.value),
            oom_score_adj: raw.oom_score_adj.as_ref().map(|o| o.value),
            env,
            keep_env: raw.keep_env.clone().unwrap_or_else(|| KEEP_ENV.iter().map(|name| (*name).to_owned()).collect()),
            rlimits: {
                let mut limits = raw.rlimits.clone();
                limits.sort_by_key(|l| l.resource);
                limits
            },
            confine: ConfinePlan::default(),
            port,
            input,
        }
    }

    fn run(&mut self, named: &Named, known: &Known<'_>) -> Option<Run> {
        let name = &named.name.value;
        let Some(run) = &named.raw.run else {
            if !self.report.is_broken() {
                let message = format!("process \"{name}\" has no \"run\"");
                self.report.problem_with(named.name.span, message, "say what it runs: run = \"command\"");
            }
            return None;
        };
        let shell = named.raw.shell.as_ref().filter(|s| s.value);
        match (&run.value, shell) {
            (RawRun::Line(line), Some(_)) => Some(Run::Shell(line.clone())),
            (RawRun::Array(_), Some(shell)) => {
                let message =
                    format!("shell = true in [process.{name}] needs run as a string: an array is executed as it is");
                self.report.problem(shell.span, message);
                None
            }
            (RawRun::Array(words), None) => Some(Run::Literal(words.clone())),
            (RawRun::Line(line), None) => {
                let title = format!("\"run\" in [process.{name}]");
                self.words(&title, line, run.span, "set shell = true, or quote it", known)
            }
        }
    }

    /// Splits a line that no shell will see, and checks that its variables will be there.
    pub(crate) fn words(
        &mut self,
        title: &str,
        line: &str,
        span: Span,
        way_out: &str,
        known: &Known<'_>,
    ) -> Option<Run> {
        let split = match words::split(line) {
            Ok(split) => split,
            Err(SplitError::NeedsShell { what, range }) => {
                let at = self.report.part(span, line, range);
                self.report.problem(at, format!("{title} has {what}, which needs a shell; {way_out}"));
                return None;
            }
            Err(SplitError::OpenQuote { range }) => {
                let at = self.report.part(span, line, range);
                self.report.problem(at, format!("{title} has a quote that is not closed"));
                return None;
            }
            Err(SplitError::Empty) => {
                self.report.problem(span, format!("{title} is empty"));
                return None;
            }
        };
        for variable in &split.variables {
            let name = &variable.name;
            if variable.default.is_none() && !self.files.incomplete && !self.report.is_broken() && !known.has(name) {
                let at = self.report.part(span, line, variable.range.clone());
                let message = format!("{title} uses ${name}, which is not set{}", known.suggest(name));
                self.report.problem_with(at, message, format!("set it in env, or write ${{{name}:-default}}"));
            }
        }
        Some(Run::Words(split.words))
    }

    /// A command that is no process of its own.
    pub(crate) fn probe(&mut self, title: &str, run: &At<RawRun>, known: &Known<'_>) -> Option<Run> {
        match &run.value {
            RawRun::Array(words) => Some(Run::Literal(words.clone())),
            RawRun::Line(line) => {
                self.words(title, line, run.span, "write [\"sh\", \"-c\", \"…\"], or quote it", known)
            }
        }
    }

    fn ready(&mut self, asked: &Asked<'_>, handoff: &Handoff) -> Option<ReadyPlan> {
        let minute = Duration::from_secs(60);
        let (name, oneshot) = (asked.name, asked.is_oneshot());
        let may_listen = asked.has_streams() && *handoff != Handoff::None && !oneshot;
        let Some(At { value: ready, span }) = &asked.raw.ready else {
            let by = if may_listen { ReadyBy::Listening } else { ReadyBy::Started };
            return Some(ReadyPlan { by, timeout: minute, late: Late::Fails });
        };
        if oneshot && !matches!(ready.by, RawEvidence::Started) {
            let message = format!(
                "process \"{name}\" is a one-shot: it is ready when it has completed, \"ready\" does not go with it"
            );
            self.report.problem(*span, message);
        }
        let by = match &ready.by {
            RawEvidence::Started => ReadyBy::Started,
            RawEvidence::Listening => {
                if asked.raw.listen.is_none() {
                    let message = format!("process \"{name}\" cannot be seen to listen: it has no \"listen\"");
                    let help = "say where it listens: listen = \"127.0.0.1:8080\", or take ready.tcp or ready.http";
                    self.report.problem_with(*span, message, help);
                } else if *handoff == Handoff::None {
                    let message =
                        format!("process \"{name}\" cannot be seen to listen: handoff = \"none\" hands it nothing");
                    self.report.problem_with(*span, message, "take another handoff, or another evidence");
                } else if !asked.has_streams() && !asked.misses_listeners() {
                    let message = format!("process \"{name}\" cannot be seen to listen: datagrams come without that");
                    self.report.problem_with(*span, message, "take another evidence, such as ready.log");
                }
                ReadyBy::Listening
            }
            RawEvidence::Notify => ReadyBy::Notify,
            RawEvidence::Fd(fd) => {
                self.check_ready_fd(asked, handoff, At::new(*fd, *span));
                ReadyBy::Fd(*fd)
            }
            RawEvidence::Log(pattern) => {
                if asked.raw.logs.none.as_ref().is_some_and(|none| none.value) {
                    let message =
                        format!("ready.log in [process.{name}] needs the output that logs = \"none\" throws away");
                    self.report.problem(*span, message);
                }
                ReadyBy::Log(pattern.clone())
            }
            RawEvidence::Tcp { port } => ReadyBy::Tcp { port: *port },
            RawEvidence::Http { port, path } => ReadyBy::Http { port: *port, path: path.clone() },
            RawEvidence::Run { run, every } => ReadyBy::Run {
                run: self.probe(&format!("\"run\" in [process.{name}.ready]"), run, asked.known)?,
                every: every.unwrap_or(Duration::from_secs(1)),
            },
        };
        Some(ReadyPlan { by, timeout: ready.timeout.unwrap_or(minute), late: ready.late })
    }

    pub(crate) fn stop(&mut self, named: &Named) -> Vec<StopStep> {
        let Some(At { value: steps, span }) = &named.raw.stop else {
            return vec![StopStep::Signal(15), StopStep::Wait(Duration::from_secs(10)), StopStep::Signal(values::KILL)];
        };
        if steps.as_slice() == [StopStep::Forever] && named.raw.quiet.is_none() {
            let name = &named.name.value;
            let message = format!("\"stop\" in [process.{name}] tells nothing to end and waits for it without end");
            self.report.problem_with(*span, message, "put a signal in front: [\"TERM\", \"none\"], or set quiet");
        }
        steps.clone()
    }

    fn restart(&mut self, named: &Named, oneshot: bool) -> RestartPlan {
        let raw = &named.raw.restart;
        let when = match &raw.when {
            Some(when) => {
                if oneshot && when.value == RestartWhen::Always {
                    let message =
                        format!("process \"{}\" is a one-shot and would be restarted always", named.name.value);
                    self.report.problem_with(when.span, message, "one-shots take \"never\" and \"on-failure\"");
                }
                when.value
            }
            None if oneshot => RestartWhen::Never,
            None => RestartWhen::Always,
        };
        let (backoff_min, backoff_max) = raw.backoff.unwrap_or((Duration::from_millis(500), Duration::from_secs(30)));
        let default_limit = RestartLimit { count: 5, window: Duration::from_secs(60) };
        RestartPlan {
            when,
            backoff_min,
            backoff_max,
            limit: raw.limit.unwrap_or(Some(default_limit)),
            success_exit: raw.success_exit.clone().unwrap_or_else(|| vec![SuccessExit::Code(0)]),
        }
    }

    fn logs(&mut self, named: &Named) -> LogPlan {
        let Raw { logs, .. } = &named.raw;
        if logs.none.as_ref().is_some_and(|n| n.value) {
            return LogPlan::Null;
        }
        let max_size = logs.max_size.as_ref().map_or(1 << 30, |m| m.value);
        let segment = logs.segment.as_ref().map_or((64 << 20).min(max_size / 4), |s| s.value);
        if segment > max_size
            && let Some(at) = logs.segment.as_ref()
        {
            let message = format!(
                "\"segment\" in [process.{}.logs] is {segment} bytes, more than max_size, which is {max_size} bytes",
                named.name.value
            );
            self.report.problem(at.span, message);
        }
        LogPlan::Segments { segment, max_size }
    }
}

fn control(raw: Control) -> ControlPlan {
    let default_mode = match (&raw.socket_group, &raw.read_group) {
        (_, Some(_)) => 0o666,
        (Some(_), None) => 0o660,
        (None, None) => 0o600,
    };
    ControlPlan {
        socket_mode: raw.socket_mode.map_or(default_mode, |m| m.value),
        socket_group: raw.socket_group.map(|g| g.value),
        read_group: raw.read_group.map(|g| g.value),
        metrics: raw.metrics.is_none_or(|m| m.value),
        without_manager: raw.without_manager.map_or(WithoutManager::Keep, |w| w.value),
    }
}

/// The name of an app that does not say one: its directory's, made to fit.
pub fn app_of_dir(dir: &Path) -> String {
    let name = dir.file_name().map(|n| n.to_string_lossy().to_lowercase()).unwrap_or_default();
    let mut app: String =
        name.chars().map(|c| if c.is_ascii_lowercase() || c.is_ascii_digit() { c } else { '-' }).collect();
    app = app.trim_matches('-').to_owned();
    app.truncate(64);
    app
}

fn notify(raw: &Raw) -> NotifyPlan {
    let usual = NotifyPlan::default();
    NotifyPlan {
        watchdog: raw.watchdog.as_ref().map(|every| every.value),
        fd_store: raw.fd_store.as_ref().map_or(0, |most| most.value),
        reload_timeout: raw.reload.and_then(|reload| reload.timeout).unwrap_or(usual.reload_timeout),
    }
}
