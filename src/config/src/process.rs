//! One table of process keys: each value checked by itself, nothing filled in yet.
//!
//! [`Raw`] keeps what was said and where, so that overlay, process and defaults can be laid over each other before
//! anything is decided about combinations.

use std::time::Duration;

use crate::field::{Field, Section};
use crate::plan::{Condition, Handoff, Late, RestartLimit, RestartWhen, RlimitPlan, StopStep, SuccessExit, Traffic};
use crate::presets::{self, Preset};
use crate::report::{At, Report, Span};
use crate::rolling::{self, RawDrained, RawHealth, RawRecycle, RawUpdate};
use crate::sockets::{self, RawListener};
use crate::tree::Value;
use crate::values;

/// The keys of one process table that were given.
#[derive(Clone, Debug, Default)]
pub(crate) struct Raw {
    pub run: Option<At<RawRun>>,
    pub shell: Option<At<bool>>,
    pub count: Option<At<u32>>,
    pub cwd: Option<At<String>>,
    pub user: Option<At<String>>,
    pub group: Option<At<String>>,
    pub umask: Option<At<u32>>,
    pub nice: Option<At<i32>>,
    pub oom_score_adj: Option<At<i32>>,
    pub env: Vec<(At<String>, String)>,
    pub env_file: Option<Vec<At<String>>>,
    pub keep_env: Option<Vec<String>>,
    pub rlimits: Vec<RlimitPlan>,
    pub after: Option<Vec<RawAfter>>,
    pub oneshot: Option<At<bool>>,
    pub essential: Option<At<bool>>,
    pub ready: Option<At<RawReady>>,
    pub restart: RawRestart,
    pub stop: Option<At<Vec<StopStep>>>,
    pub reload: Option<RawReload>,
    pub watchdog: Option<At<Duration>>,
    pub fd_store: Option<At<u32>>,
    pub logs: RawLogs,
    pub preset: Option<At<&'static Preset>>,
    /// Empty where nothing of it could be read.
    pub listen: Option<At<Vec<RawListener>>>,
    pub traffic: Option<At<Traffic>>,
    pub handoff: Option<At<Handoff>>,
    pub update: RawUpdate,
    pub health: Option<At<RawHealth>>,
    pub quiet: Option<At<i32>>,
    pub drained: Option<At<RawDrained>>,
    pub recycle: RawRecycle,
}

/// A command as it was written.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum RawRun {
    Line(String),
    Array(Vec<String>),
}

/// One entry of `after`.
#[derive(Clone, Debug)]
pub(crate) struct RawAfter {
    pub process: At<String>,
    pub condition: At<Condition>,
}

/// `ready`.
#[derive(Clone, Debug)]
pub(crate) struct RawReady {
    pub by: RawEvidence,
    pub timeout: Option<Duration>,
    pub late: Late,
}

/// The evidence of `ready`.
#[derive(Clone, Debug)]
pub(crate) enum RawEvidence {
    Started,
    Listening,
    Notify,
    Fd(u32),
    Log(String),
    Run { run: At<RawRun>, every: Option<Duration> },
    Tcp { port: Option<u16> },
    Http { port: Option<u16>, path: String },
}

/// `reload`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RawReload {
    pub signal: Option<i32>,
    pub timeout: Option<Duration>,
}

/// `restart`.
#[derive(Clone, Debug, Default)]
pub(crate) struct RawRestart {
    pub when: Option<At<RestartWhen>>,
    pub backoff: Option<(Duration, Duration)>,
    /// Outer: given at all; inner: `none`.
    pub limit: Option<Option<RestartLimit>>,
    pub success_exit: Option<Vec<SuccessExit>>,
}

/// `logs`.
#[derive(Clone, Debug, Default)]
pub(crate) struct RawLogs {
    /// `logs = "none"`, or a table; the table's keys fill up those of lower layers.
    pub none: Option<At<bool>>,
    pub max_size: Option<At<u64>>,
    pub segment: Option<At<u64>>,
}

impl Raw {
    /// This table laid over a lower one: what it does not say is taken from there.
    pub fn over(self, lower: &Raw) -> Raw {
        let low = lower.clone();
        // A later entry of the same name wins when the environment is put together.
        let env = [low.env, self.env].concat();
        let mut rlimits = self.rlimits;
        rlimits.extend(
            low.rlimits
                .iter()
                .filter(|l| !rlimits.iter().any(|r| r.resource == l.resource))
                .copied()
                .collect::<Vec<_>>(),
        );
        // A command brings its own idea of a shell along.
        let shell = self.shell.or(if self.run.is_some() && lower.run.is_some() { None } else { low.shell });
        let logs = match self.logs.none {
            Some(At { value: true, .. }) => self.logs,
            _ => RawLogs {
                none: self.logs.none.or(low.logs.none),
                max_size: self.logs.max_size.or(low.logs.max_size),
                segment: self.logs.segment.or(low.logs.segment),
            },
        };
        Raw {
            run: self.run.or(low.run),
            shell,
            count: self.count.or(low.count),
            cwd: self.cwd.or(low.cwd),
            user: self.user.or(low.user),
            group: self.group.or(low.group),
            umask: self.umask.or(low.umask),
            nice: self.nice.or(low.nice),
            oom_score_adj: self.oom_score_adj.or(low.oom_score_adj),
            env,
            env_file: self.env_file.or(low.env_file),
            keep_env: self.keep_env.or(low.keep_env),
            rlimits,
            after: self.after.or(low.after),
            oneshot: self.oneshot.or(low.oneshot),
            essential: self.essential.or(low.essential),
            ready: self.ready.or(low.ready),
            restart: RawRestart {
                when: self.restart.when.or(low.restart.when),
                backoff: self.restart.backoff.or(low.restart.backoff),
                limit: self.restart.limit.or(low.restart.limit),
                success_exit: self.restart.success_exit.or(low.restart.success_exit),
            },
            stop: self.stop.or(low.stop),
            reload: self.reload.or(low.reload),
            watchdog: self.watchdog.or(low.watchdog),
            fd_store: self.fd_store.or(low.fd_store),
            logs,
            preset: self.preset.or(low.preset),
            listen: self.listen.or(low.listen),
            traffic: self.traffic.or(low.traffic),
            handoff: self.handoff.or(low.handoff),
            update: self.update.over(low.update),
            health: self.health.or(low.health),
            quiet: self.quiet.or(low.quiet),
            drained: self.drained.or(low.drained),
            recycle: self.recycle.over(low.recycle),
        }
    }

    /// Reads a table of process keys.
    pub fn read(section: &Section<'_>, report: &mut Report) -> Raw {
        section.check_known(report);
        let get = |name: &str| section.get(name);
        Raw {
            run: get("run").and_then(|f| command(&f, report)),
            shell: get("shell").and_then(|f| f.boolean(report)),
            count: get("count").and_then(|f| number(&f, report)),
            cwd: get("cwd").and_then(|f| f.text(report)),
            user: get("user").and_then(|f| f.account(report)),
            group: get("group").and_then(|f| f.account(report)),
            umask: get("umask").and_then(|f| f.mode(report, |m| m <= 0o777)),
            nice: get("nice").and_then(|f| number(&f, report)),
            oom_score_adj: get("oom_score_adj").and_then(|f| number(&f, report)),
            env: get("env").and_then(|f| f.variables(report)).unwrap_or_default(),
            env_file: get("env_file").and_then(|f| f.text_or_texts(report)),
            keep_env: get("keep_env").and_then(|f| keep_env(&f, report)),
            rlimits: get("rlimits").map(|f| rlimits(&f, report)).unwrap_or_default(),
            after: get("after").and_then(|f| after(&f, report)),
            oneshot: get("oneshot").and_then(|f| f.boolean(report)),
            essential: get("essential").and_then(|f| f.boolean(report)),
            ready: get("ready").and_then(|f| ready(&f, report)),
            restart: get("restart").map(|f| restart(&f, report)).unwrap_or_default(),
            stop: get("stop").and_then(|f| stop(&f, report)),
            reload: get("reload").and_then(|f| reload(&f, report)),
            watchdog: get("watchdog").and_then(|f| watchdog(&f, report)),
            fd_store: get("fd_store").and_then(|f| number(&f, report)),
            logs: get("logs").map(|f| logs(&f, report)).unwrap_or_default(),
            preset: get("preset").and_then(|f| f.choice(&presets::choices(), report)),
            listen: get("listen").map(|f| sockets::listen(&f, report)),
            traffic: get("traffic").and_then(|f| sockets::traffic(&f, report)),
            handoff: get("handoff").and_then(|f| sockets::handoff(&f, report)),
            update: get("update").map(|f| rolling::update(&f, report)).unwrap_or_default(),
            health: get("health").and_then(|f| rolling::health(&f, report)),
            quiet: get("quiet").and_then(|f| quiet(&f, report)),
            drained: get("drained").and_then(|f| rolling::drained(&f, report)),
            recycle: get("recycle").map(|f| rolling::recycle(&f, report)).unwrap_or_default(),
        }
    }

    /// The short form: a command and nothing else.
    pub fn line(line: &str, span: Span) -> Raw {
        Raw { run: Some(At::new(RawRun::Line(line.to_owned()), span)), ..Raw::default() }
    }
}

/// A whole number that the key takes.
pub(crate) fn number<T: TryFrom<i64>>(field: &Field<'_>, report: &mut Report) -> Option<At<T>> {
    let number = field.int(report)?;
    T::try_from(number.value).ok().map(|value| At::new(value, number.span))
}

/// A command: a line or an array.
pub(crate) fn command(field: &Field<'_>, report: &mut Report) -> Option<At<RawRun>> {
    match &field.node.value {
        Value::Text(text) if !text.trim().is_empty() && !text.contains('\0') => {
            Some(At::new(RawRun::Line(text.trim().to_owned()), field.node.span))
        }
        Value::Array(items) if !items.is_empty() => {
            let mut words = Vec::new();
            for (i, item) in items.iter().enumerate() {
                match &item.value {
                    // An empty argument is fine, an empty program is not.
                    Value::Text(text) if !text.contains('\0') && (i > 0 || !text.is_empty()) => {
                        words.push(text.clone())
                    }
                    _ => field.wrong(item, report),
                }
            }
            (words.len() == items.len()).then(|| At::new(RawRun::Array(words), field.node.span))
        }
        Value::Array(_) => {
            field.wrong_because(field.node, " without anything in it", report);
            None
        }
        _ => {
            field.wrong(field.node, report);
            None
        }
    }
}

fn keep_env(field: &Field<'_>, report: &mut Report) -> Option<Vec<String>> {
    let mut names = Vec::new();
    for name in field.texts(report)? {
        let stem = name.value.strip_suffix('*').unwrap_or(&name.value);
        if (stem.is_empty() && name.value == "*") || (values::is_variable(stem) && !stem.contains('*')) {
            names.push(name.value);
        } else {
            let message = format!("\"{}\" in {} is not a name, PREFIX* or *", name.value.escape_debug(), field.title());
            report.problem(name.span, message);
        }
    }
    Some(names)
}

fn rlimits(field: &Field<'_>, report: &mut Report) -> Vec<RlimitPlan> {
    let mut limits = Vec::new();
    for entry in field.map(report).map(|t| t.entries.as_slice()).unwrap_or_default() {
        let Some((_, resource)) = values::RLIMITS.iter().find(|(name, _)| *name == entry.name) else {
            let label = format!("{}.rlimits", field.label);
            crate::field::unknown(entry, &label, values::RLIMITS.iter().map(|(n, _)| *n), report);
            continue;
        };
        let limit = match &entry.node.value {
            Value::Text(text) => values::limit(text),
            Value::Int { value, .. } => u64::try_from(*value).ok().map(|v| (v, v)),
            _ => None,
        };
        match limit {
            Some((soft, hard)) => limits.push(RlimitPlan { resource: *resource, soft, hard }),
            None => {
                let message = format!(
                    "\"{}\" in [{}.rlimits] must be a number, \"unlimited\" or \"SOFT:HARD\" with SOFT not above HARD; found {}",
                    entry.name,
                    field.label,
                    entry.node.describe()
                );
                report.problem(entry.node.span, message);
            }
        }
    }
    limits
}

const CONDITIONS: &[(&str, Condition)] =
    &[("started", Condition::Started), ("ready", Condition::Ready), ("completed", Condition::Completed)];

fn after(field: &Field<'_>, report: &mut Report) -> Option<Vec<RawAfter>> {
    let Value::Table(table) = &field.node.value else {
        let names = field.texts(report)?;
        let entry = |name: At<String>| RawAfter { condition: At::new(Condition::Ready, name.span), process: name };
        return Some(names.into_iter().map(entry).collect());
    };
    let mut entries = Vec::new();
    for entry in &table.entries {
        let condition = match &entry.node.value {
            Value::Text(text) => CONDITIONS.iter().find(|(word, _)| word == text).map(|(_, condition)| *condition),
            _ => None,
        };
        let Some(condition) = condition else {
            let message = format!(
                "\"{}\" in {} must be \"started\", \"ready\" or \"completed\"; found {}",
                entry.name.escape_debug(),
                field.title(),
                entry.node.describe()
            );
            report.problem(entry.node.span, message);
            continue;
        };
        entries.push(RawAfter {
            process: At::new(entry.name.clone(), entry.name_span),
            condition: At::new(condition, entry.node.span),
        });
    }
    Some(entries)
}

fn ready(field: &Field<'_>, report: &mut Report) -> Option<At<RawReady>> {
    let span = field.node.span;
    let Some(section) = field.group() else {
        let words = [("started", true), ("listening", false)];
        let started = field.choice(&words, report)?;
        let by = if started.value { RawEvidence::Started } else { RawEvidence::Listening };
        return Some(At::new(RawReady { by, timeout: None, late: Late::Fails }, started.span));
    };
    let timeout =
        section.get("timeout").and_then(|f| f.parsed(report, |t| values::duration(t).filter(|d| d.as_millis() >= 10)));
    let every = section.get("every").and_then(|f| {
        let hour = Duration::from_secs(3600);
        f.parsed(report, |t| values::duration(t).filter(|d| d.as_millis() >= 10 && *d <= hour))
    });
    let port: Option<At<u16>> = section.get("port").and_then(|f| number(&f, report));
    let evidence = rolling::one_of(field, &section, EVIDENCE, "evidence", report)?;
    let name = evidence.key.name();
    for (other, fits) in [("port", ["tcp", "http"].as_slice()), ("every", ["run"].as_slice())] {
        if let Some(extra) = section.get(other).filter(|_| !fits.contains(&name)) {
            report.problem(
                extra.name_span,
                format!("{} only goes with {}, not with \"{name}\"", extra.title(), fits.join(" or ")),
            );
        }
    }
    let port = port.map(|p| p.value);
    let by = match name {
        "listening" => rolling::must_be_true(&evidence, report).map(|()| RawEvidence::Listening),
        "notify" => rolling::must_be_true(&evidence, report).map(|()| RawEvidence::Notify),
        "fd" => number(&evidence, report).map(|n| RawEvidence::Fd(n.value)),
        "log" => pattern(&evidence, report).map(RawEvidence::Log),
        "run" => command(&evidence, report).map(|run| RawEvidence::Run { run, every: every.map(|e| e.value) }),
        "tcp" => rolling::must_be_true(&evidence, report).map(|()| RawEvidence::Tcp { port }),
        _ => evidence.parsed(report, path_of_url).map(|path| RawEvidence::Http { port, path: path.value }),
    }?;
    Some(At::new(RawReady { by, timeout: timeout.map(|t| t.value), late: Late::Fails }, span))
}

const EVIDENCE: &[&str] = &["listening", "notify", "fd", "log", "run", "tcp", "http"];

/// A path that can stand in the first line of a request.
pub(crate) fn path_of_url(text: &str) -> Option<String> {
    (text.starts_with('/') && text.bytes().all(|b| b.is_ascii_graphic())).then(|| text.to_owned())
}

fn pattern(field: &Field<'_>, report: &mut Report) -> Option<String> {
    let text = field.text(report)?;
    match regex::Regex::new(&text.value) {
        Ok(_) => Some(text.value),
        Err(error) => {
            let reason = error.to_string();
            let reason = reason.lines().last().unwrap_or("").trim_start_matches("error: ").to_owned();
            report.problem(text.span, format!("{} is not a regular expression: {reason}", field.title()));
            None
        }
    }
}

const WHEN: &[(&str, RestartWhen)] =
    &[("always", RestartWhen::Always), ("on-failure", RestartWhen::OnFailure), ("never", RestartWhen::Never)];

fn restart(field: &Field<'_>, report: &mut Report) -> RawRestart {
    let Some(section) = field.group() else {
        return RawRestart { when: field.choice(WHEN, report), ..RawRestart::default() };
    };
    let day = Duration::from_secs(86_400);
    RawRestart {
        when: section.get("when").and_then(|f| f.choice(WHEN, report)),
        backoff: section.get("backoff").and_then(|f| {
            f.parsed(report, |t| values::duration_range(t).filter(|(_, high)| *high <= day)).map(|b| b.value)
        }),
        limit: section.get("limit").and_then(|f| f.parsed(report, restart_limit).map(|l| l.value)),
        success_exit: section.get("success_exit").and_then(|f| success_exit(&f, report)),
    }
}

fn restart_limit(text: &str) -> Option<Option<RestartLimit>> {
    match text {
        "none" => Some(None),
        _ => values::count_in_time(text).map(|(count, window)| Some(RestartLimit { count, window })),
    }
}

pub(crate) fn success_exit(field: &Field<'_>, report: &mut Report) -> Option<Vec<SuccessExit>> {
    let Value::Array(items) = &field.node.value else {
        field.wrong(field.node, report);
        return None;
    };
    let mut ends = Vec::new();
    for item in items {
        let end = match &item.value {
            Value::Int { value, .. } => u8::try_from(*value).ok().map(SuccessExit::Code),
            Value::Text(text) => values::signal(text).map(SuccessExit::Signal),
            _ => None,
        };
        match end {
            Some(end) => ends.push(end),
            None => field.wrong_because(item, &suggest_signal(&item.value), report),
        }
    }
    Some(ends)
}

fn suggest_signal(value: &Value) -> String {
    match value {
        Value::Text(text) => values::did_you_mean(text, values::SIGNALS.iter().map(|(name, _)| *name)),
        _ => String::new(),
    }
}

fn stop(field: &Field<'_>, report: &mut Report) -> Option<At<Vec<StopStep>>> {
    let Value::Array(items) = &field.node.value else {
        field.wrong(field.node, report);
        return None;
    };
    if items.is_empty() {
        field.wrong_because(field.node, " without anything in it", report);
        return None;
    }
    let mut steps = Vec::new();
    for (i, item) in items.iter().enumerate() {
        let step = match &item.value {
            Value::Text(text) if text == "none" => Some(StopStep::Forever),
            Value::Text(text) => {
                values::signal(text).map(StopStep::Signal).or_else(|| values::duration(text).map(StopStep::Wait))
            }
            _ => None,
        };
        let last = i + 1 == items.len();
        match step {
            Some(StopStep::Signal(values::KILL)) if !last => {
                report.problem(
                    item.span,
                    format!("KILL must be the last step of {}: it leaves nothing to wait for", field.title()),
                );
            }
            Some(StopStep::Forever) if !last => {
                let message = format!("\"none\" must be the last step of {}: it waits without end", field.title());
                report.problem_with(item.span, message, "leave out what comes after it, or write a time instead");
            }
            Some(step) => steps.push(step),
            None => field.wrong_because(item, &suggest_signal(&item.value), report),
        }
    }
    (steps.len() == items.len()).then(|| At::new(steps, field.node.span))
}

/// A signal that leaves the choice to the instance.
fn quiet(field: &Field<'_>, report: &mut Report) -> Option<At<i32>> {
    let signal = signal(field, report)?;
    if [values::KILL, values::STOP].contains(&signal.value) {
        let name = values::signal_name(signal.value);
        let message = format!("{} cannot be {name}, which no process can handle", field.title());
        report.problem(signal.span, message);
        return None;
    }
    Some(signal)
}

fn reload(field: &Field<'_>, report: &mut Report) -> Option<RawReload> {
    let Some(section) = field.group() else {
        return signal(field, report).map(|signal| RawReload { signal: Some(signal.value), timeout: None });
    };
    let hour = Duration::from_secs(3600);
    let timeout = section
        .get("timeout")
        .and_then(|f| f.parsed(report, |t| values::duration(t).filter(|time| time.as_millis() >= 10 && *time <= hour)));
    let signal = section.get("signal").and_then(|f| signal(&f, report));
    Some(RawReload { signal: signal.map(|s| s.value), timeout: timeout.map(|t| t.value) })
}

fn watchdog(field: &Field<'_>, report: &mut Report) -> Option<At<Duration>> {
    let day = Duration::from_secs(86_400);
    field.parsed(report, |t| values::duration(t).filter(|time| time.as_millis() >= 100 && *time <= day))
}

fn signal(field: &Field<'_>, report: &mut Report) -> Option<At<i32>> {
    if let Value::Text(text) = &field.node.value
        && let Some(number) = values::signal(text)
    {
        return Some(At::new(number, field.node.span));
    }
    field.wrong_because(field.node, &suggest_signal(&field.node.value), report);
    None
}

fn logs(field: &Field<'_>, report: &mut Report) -> RawLogs {
    let Some(section) = field.group() else {
        let none = field.choice(&[("none", true)], report);
        return RawLogs { none, ..RawLogs::default() };
    };
    RawLogs {
        none: Some(At::new(false, field.node.span)),
        max_size: section.get("max_size").and_then(|f| size(&f, 16 << 10, 1 << 50, report)),
        segment: section.get("segment").and_then(|f| size(&f, 4 << 10, 1 << 40, report)),
    }
}

/// A size in bytes.
pub(crate) fn size(field: &Field<'_>, low: u64, high: u64, report: &mut Report) -> Option<At<u64>> {
    match &field.node.value {
        Value::Int { value, .. } => match u64::try_from(*value).ok().filter(|v| (low..=high).contains(v)) {
            Some(value) => Some(At::new(value, field.node.span)),
            None => {
                field.wrong(field.node, report);
                None
            }
        },
        _ => field.parsed(report, |t| values::size(t).filter(|v| (low..=high).contains(v))),
    }
}
