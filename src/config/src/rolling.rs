//! `update`, `health`, `drained` and `recycle` as they were said: each value checked by itself.

use std::time::Duration;

use crate::field::{Field, Section};
use crate::plan::{CanaryStep, Strategy};
use crate::process::{RawRun, command, number, path_of_url};
use crate::report::{At, Report, Span};
use crate::tree::Value;
use crate::values;

/// `update`.
#[derive(Clone, Debug, Default)]
pub(crate) struct RawUpdate {
    pub strategy: Option<At<Strategy>>,
    pub surge: Option<At<Amount>>,
    pub unavailable: Option<At<Amount>>,
    pub bake: Option<At<Duration>>,
    pub canary: Option<At<Vec<CanaryStep>>>,
}

/// A number of instances.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Amount {
    Number(u32),
    /// Of the count, rounded up; 1 to 100.
    Percent(u32),
}

impl Amount {
    /// So many of this count; at least 1 where it is no 0 itself.
    pub fn of(self, count: u32) -> u32 {
        match self {
            Amount::Number(number) => number,
            Amount::Percent(percent) => (count.saturating_mul(percent)).div_ceil(100).max(1),
        }
    }
}

impl RawUpdate {
    /// Laid over a lower one. Numbers and canary steps belong to the strategy they were said for: they are not taken from
    /// below when another one is said here.
    pub fn over(self, low: RawUpdate) -> RawUpdate {
        let said = |update: &RawUpdate| update.strategy.as_ref().map(|strategy| strategy.value);
        let other = said(&self).is_some() && said(&self) != said(&low);
        let (surge, unavailable, canary) =
            if other { (None, None, None) } else { (low.surge, low.unavailable, low.canary) };
        RawUpdate {
            strategy: self.strategy.or(low.strategy),
            surge: self.surge.or(surge),
            unavailable: self.unavailable.or(unavailable),
            bake: self.bake.or(low.bake),
            canary: self.canary.or(canary),
        }
    }
}

const STRATEGIES: &[(&str, Strategy)] =
    &[("overlap", Strategy::Overlap), ("handover", Strategy::Handover), ("exclusive", Strategy::Exclusive)];

/// As the config says it.
pub(crate) fn strategy_name(strategy: Strategy) -> &'static str {
    match strategy {
        Strategy::Overlap => "overlap",
        Strategy::Handover => "handover",
        Strategy::Exclusive => "exclusive",
    }
}

/// Reads `update`.
pub(crate) fn update(field: &Field<'_>, report: &mut Report) -> RawUpdate {
    let Some(section) = field.group() else {
        return RawUpdate { strategy: field.choice(STRATEGIES, report), ..RawUpdate::default() };
    };
    RawUpdate {
        strategy: section.get("strategy").and_then(|f| f.choice(STRATEGIES, report)),
        surge: section.get("surge").and_then(|f| amount(&f, report)),
        unavailable: section.get("unavailable").and_then(|f| amount(&f, report)),
        bake: section.get("bake").and_then(|f| time(&f, Duration::ZERO, DAY, report)),
        canary: section.get("canary").and_then(|f| canary(&f, report)),
    }
}

fn amount(field: &Field<'_>, report: &mut Report) -> Option<At<Amount>> {
    match &field.node.value {
        Value::Text(_) => field.parsed(report, |text| {
            let percent = text.strip_suffix('%')?.parse().ok()?;
            (1..=100).contains(&percent).then_some(Amount::Percent(percent))
        }),
        _ => number(field, report).map(|n| At::new(Amount::Number(n.value), n.span)),
    }
}

/// Canary steps of one update, at most.
const MOST_STEPS: usize = 20;

fn canary(field: &Field<'_>, report: &mut Report) -> Option<At<Vec<CanaryStep>>> {
    let texts = field.texts(report)?;
    if texts.len() > MOST_STEPS {
        let message = format!("{} has {} steps; at most {MOST_STEPS} are possible", field.title(), texts.len());
        report.problem(field.node.span, message);
        return None;
    }
    let mut steps: Vec<CanaryStep> = Vec::new();
    let mut fine = true;
    for text in texts {
        let step = canary_step(&text.value);
        let lower = steps.last().zip(step).filter(|(last, step)| step.percent <= last.percent);
        let problem = match (step, lower) {
            (None, _) => format!(
                "\"{}\" in {} is no step: write a share from 1% to 99% and a time, such as \"10% 1m\"",
                text.value.escape_debug(),
                field.title()
            ),
            (Some(step), Some((last, _))) => {
                format!("canary steps go up, and {}% in {} comes after {}%", step.percent, field.title(), last.percent)
            }
            (Some(step), None) => {
                steps.push(step);
                continue;
            }
        };
        fine = false;
        report.problem(text.span, problem);
    }
    fine.then(|| At::new(steps, field.node.span))
}

/// `10% 1m`.
fn canary_step(text: &str) -> Option<CanaryStep> {
    let (share, hold) = text.split_once('%')?;
    let percent: u8 = share.trim().parse().ok().filter(|percent| (1..=99).contains(percent))?;
    let hold = values::duration(hold.trim()).filter(|hold| !hold.is_zero())?;
    Some(CanaryStep { percent, hold })
}

/// `health`.
#[derive(Clone, Debug)]
pub(crate) struct RawHealth {
    pub by: RawHealthBy,
    pub every: Option<Duration>,
    pub timeout: Option<Duration>,
    pub failures: Option<u32>,
}

/// The probe of `health`.
#[derive(Clone, Debug)]
pub(crate) enum RawHealthBy {
    Http { port: Option<u16>, path: String },
    Tcp { port: Option<u16> },
    Run(At<RawRun>),
}

/// Reads `health`.
pub(crate) fn health(field: &Field<'_>, report: &mut Report) -> Option<At<RawHealth>> {
    let Some(section) = field.group() else {
        field.wrong(field.node, report);
        return None;
    };
    let every = section.get("every").and_then(|f| time(&f, Duration::from_millis(100), DAY, report));
    let timeout = section.get("timeout").and_then(|f| time(&f, SHORTEST, HOUR, report));
    let failures: Option<At<u32>> = section.get("failures").and_then(|f| number(&f, report));
    let port: Option<At<u16>> = section.get("port").and_then(|f| number(&f, report));
    let probe = one_of(field, &section, &["http", "tcp", "run"], "probe", report)?;
    let name = probe.key.name();
    if name == "run"
        && let Some(extra) = section.get("port")
    {
        report.problem(extra.name_span, format!("{} only goes with http or tcp, not with \"run\"", extra.title()));
    }
    let port = port.map(|port| port.value);
    let by = match name {
        "http" => probe.parsed(report, path_of_url).map(|path| RawHealthBy::Http { port, path: path.value }),
        "tcp" => must_be_true(&probe, report).map(|()| RawHealthBy::Tcp { port }),
        _ => command(&probe, report).map(RawHealthBy::Run),
    }?;
    let health = RawHealth {
        by,
        every: every.map(|t| t.value),
        timeout: timeout.map(|t| t.value),
        failures: failures.map(|n| n.value),
    };
    Some(At::new(health, field.node.span))
}

/// The only one of these keys that is given; notes when it is none or several.
pub(crate) fn one_of<'a>(
    field: &Field<'a>,
    section: &Section<'a>,
    names: &[&str],
    what: &str,
    report: &mut Report,
) -> Option<Field<'a>> {
    let mut given: Vec<Field<'a>> = names.iter().filter_map(|name| section.get(name)).collect();
    given.sort_by_key(|field| field.name_span);
    if given.len() == 1 {
        return given.pop();
    }
    let (last, others) = names.split_last()?;
    let message = if given.is_empty() {
        format!("{} says no {what}; it needs one of {} and {last}", field.title(), others.join(", "))
    } else {
        let given: Vec<String> = given.iter().map(|f| format!("\"{}\"", f.key.name())).collect();
        format!("{} has {}; only one {what} is possible", field.title(), given.join(" and "))
    };
    report.problem(given.get(1).map_or(field.name_span, |f| f.name_span), message);
    None
}

/// `true`: what would be off is left out.
pub(crate) fn must_be_true(field: &Field<'_>, report: &mut Report) -> Option<()> {
    match field.node.value {
        Value::Bool(true) => Some(()),
        _ => {
            field.wrong(field.node, report);
            None
        }
    }
}

/// `drained`.
#[derive(Clone, Debug)]
pub(crate) struct RawDrained {
    pub run: At<RawRun>,
    pub every: Option<Duration>,
    /// Outer: given at all; inner: `none`.
    pub timeout: Option<Option<Duration>>,
}

/// Reads `drained`.
pub(crate) fn drained(field: &Field<'_>, report: &mut Report) -> Option<At<RawDrained>> {
    let span = field.node.span;
    let Some(section) = field.group() else {
        let run = command(field, report)?;
        return Some(At::new(RawDrained { run, every: None, timeout: None }, span));
    };
    let every = section.get("every").and_then(|f| time(&f, SHORTEST, HOUR, report));
    let timeout = section.get("timeout").and_then(|f| {
        f.parsed(report, |text| match text {
            "none" => Some(None),
            _ => values::duration(text).filter(|t| *t >= SHORTEST).map(Some),
        })
    });
    let Some(run) = section.get("run") else {
        report.problem(field.name_span, format!("{} has no \"run\"", field.title()));
        return None;
    };
    let run = command(&run, report)?;
    Some(At::new(RawDrained { run, every: every.map(|t| t.value), timeout: timeout.map(|t| t.value) }, span))
}

/// `recycle`.
#[derive(Clone, Debug, Default)]
pub(crate) struct RawRecycle {
    pub memory: Option<At<u64>>,
    pub age: Option<At<Duration>>,
    /// The place of the key, where it was said.
    pub span: Option<Span>,
}

impl RawRecycle {
    /// Laid over a lower one.
    pub fn over(self, low: RawRecycle) -> RawRecycle {
        RawRecycle { memory: self.memory.or(low.memory), age: self.age.or(low.age), span: self.span.or(low.span) }
    }
}

/// Reads `recycle`.
pub(crate) fn recycle(field: &Field<'_>, report: &mut Report) -> RawRecycle {
    let Some(section) = field.group() else {
        field.wrong(field.node, report);
        return RawRecycle::default();
    };
    RawRecycle {
        memory: section.get("memory").and_then(|f| crate::process::size(&f, 1 << 20, 1 << 50, report)),
        age: section.get("age").and_then(|f| time(&f, Duration::from_secs(10), values::LONGEST, report)),
        span: Some(field.name_span),
    }
}

pub(crate) const SHORTEST: Duration = Duration::from_millis(10);
const HOUR: Duration = Duration::from_secs(3_600);
pub(crate) const DAY: Duration = Duration::from_secs(86_400);

/// A time from `low` to `high`.
pub(crate) fn time(field: &Field<'_>, low: Duration, high: Duration, report: &mut Report) -> Option<At<Duration>> {
    field.parsed(report, |text| values::duration(text).filter(|time| (low..=high).contains(time)))
}
