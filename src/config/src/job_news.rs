//! Who is told of the runs of a job: the commands `on_failure`, `on_success` and `on_missed`, and the addresses of `ping`.

use std::time::Duration;

use crate::environment::OF_RUN_NEWS;
use crate::field::{Field, Section};
use crate::jobs::RawJob;
use crate::notify::{LONGEST_HOOK, LONGEST_TRY, TRY};
use crate::plan::{HookPlan, JobHooks, PingPlan, RunIds, Url};
use crate::process::{self, RawRun};
use crate::report::{At, Report};
use crate::resolve::Resolver;
use crate::rolling::time;

/// The shortest time that a command or a try may be given.
const SHORTEST: Duration = Duration::from_millis(100);

/// The keys that were given.
#[derive(Clone, Debug, Default)]
pub(crate) struct RawNews {
    pub failure: Option<RawHook>,
    pub success: Option<RawHook>,
    pub missed: Option<RawHook>,
    pub ping: Option<RawPing>,
}

/// A command and its time.
#[derive(Clone, Debug)]
pub(crate) struct RawHook {
    run: At<RawRun>,
    timeout: Option<At<Duration>>,
}

/// Where it is told by HTTP.
#[derive(Clone, Debug)]
pub(crate) enum RawPing {
    /// One address, of which the others follow.
    One(At<String>),
    /// Each for itself.
    Each {
        start: Option<At<String>>,
        success: Option<At<String>>,
        failure: Option<At<String>>,
        timeout: Option<At<Duration>>,
    },
}

impl RawNews {
    /// Reads them from the table of a job.
    pub fn read(section: &Section<'_>, report: &mut Report) -> RawNews {
        let mut read = |name: &str| section.get(name).and_then(|field| hook(&field, report));
        let (failure, success, missed) = (read("on_failure"), read("on_success"), read("on_missed"));
        RawNews { failure, success, missed, ping: section.get("ping").and_then(|field| ping(&field, report)) }
    }

    /// These laid over lower ones.
    pub fn over(self, low: RawNews) -> RawNews {
        RawNews {
            failure: self.failure.or(low.failure),
            success: self.success.or(low.success),
            missed: self.missed.or(low.missed),
            ping: self.ping.or(low.ping),
        }
    }
}

fn hook(field: &Field<'_>, report: &mut Report) -> Option<RawHook> {
    let Some(section) = field.group() else {
        return Some(RawHook { run: process::command(field, report)?, timeout: None });
    };
    let timeout = section.get("timeout").and_then(|f| time(&f, SHORTEST, LONGEST_HOOK, report));
    let Some(run) = section.get("run") else {
        report.problem_with(field.name_span, format!("{} has no \"run\"", field.title()), "say run = \"command\"");
        return None;
    };
    Some(RawHook { run: process::command(&run, report)?, timeout })
}

fn ping(field: &Field<'_>, report: &mut Report) -> Option<RawPing> {
    let Some(section) = field.group() else {
        return field.text(report).map(RawPing::One);
    };
    let mut address = |name: &str| section.get(name).and_then(|f| f.text(report));
    let (start, success, failure) = (address("start"), address("success"), address("failure"));
    if ["start", "success", "failure"].iter().all(|name| section.get(name).is_none()) {
        let help = "say success = \"https://…\", and start and failure where the service has them";
        report.problem_with(field.name_span, format!("{} tells nobody", field.title()), help);
    }
    let timeout = section.get("timeout").and_then(|f| time(&f, SHORTEST, LONGEST_TRY, report));
    Some(RawPing::Each { start, success, failure, timeout })
}

impl Resolver<'_> {
    /// The commands of a job that are told of its runs. They have its user, its directory and its variables.
    pub(crate) fn job_hooks(&mut self, name: &str, raw: &RawJob) -> JobHooks {
        let mut resolve = |key: &str, hook: &Option<RawHook>| -> Option<HookPlan> {
            let RawHook { run, timeout } = hook.as_ref()?;
            self.hook(&format!("\"{key}\" in [job.{name}]"), run, timeout, &raw.process, OF_RUN_NEWS)
        };
        JobHooks {
            failure: resolve("on_failure", &raw.news.failure),
            success: resolve("on_success", &raw.news.success),
            missed: resolve("on_missed", &raw.news.missed),
        }
    }

    /// The addresses of a job that are told of its runs; `None` where none is right.
    pub(crate) fn ping(&mut self, name: &str, raw: &RawPing) -> Option<PingPlan> {
        let mut resolve = |key: &str, text: &Option<At<String>>| -> Option<Url> {
            self.url(&format!("\"{key}\" in [job.{name}]"), text.as_ref()?)
        };
        match raw {
            RawPing::One(text) => {
                let success = resolve("ping", &Some(text.clone()))?;
                let (start, failure) = (Some(success.below("start")), Some(success.below("fail")));
                Some(PingPlan { start, success: Some(success), failure, ids: RunIds::Told, timeout: TRY })
            }
            RawPing::Each { start, success, failure, timeout } => Some(PingPlan {
                start: resolve("ping.start", start),
                success: resolve("ping.success", success),
                failure: resolve("ping.failure", failure),
                ids: RunIds::NotTold,
                timeout: timeout.as_ref().map_or(TRY, |timeout| timeout.value),
            }),
        }
    }
}
