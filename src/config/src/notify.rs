//! `[notify]`: who is told of what happens.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::environment::{Known, OF_EVENTS};
use crate::field::{Field, Section};
use crate::happenings::{HAPPENINGS, Happening, happening};
use crate::plan::{HookPlan, NoticePlan, Url, WebhookPlan};
use crate::process::{self, Raw, RawRun};
use crate::report::{At, Report};
use crate::resolve::Resolver;
use crate::rolling::time;
use crate::tree::Value;
use crate::values;
use crate::words;

/// The longest that a command may be given.
pub(crate) const LONGEST_HOOK: Duration = Duration::from_secs(3600);
/// The longest that one try by HTTP may be given.
pub(crate) const LONGEST_TRY: Duration = Duration::from_secs(60);
/// What both have when nothing is said.
const HOOK: Duration = Duration::from_secs(30);
pub(crate) const TRY: Duration = Duration::from_secs(10);

/// The keys that were given.
#[derive(Clone, Debug, Default)]
pub(crate) struct RawNotify {
    pub at: Option<crate::report::Span>,
    pub events: Vec<At<&'static Happening>>,
    pub run: Option<At<RawRun>>,
    pub timeout: Option<At<Duration>>,
    pub webhook: Option<RawWebhook>,
}

/// An address with what goes with it.
#[derive(Clone, Debug)]
pub(crate) struct RawWebhook {
    pub url: Option<At<String>>,
    pub headers: Vec<(At<String>, String)>,
    pub timeout: Option<Duration>,
}

impl RawNotify {
    /// Reads the table.
    pub fn read(field: &Field<'_>, section: &Section<'_>, report: &mut Report) -> RawNotify {
        RawNotify {
            at: Some(field.name_span),
            events: section.get("events").map(|f| events(&f, report)).unwrap_or_default(),
            run: section.get("run").and_then(|f| process::command(&f, report)),
            timeout: section.get("timeout").and_then(|f| time(&f, Duration::from_millis(100), LONGEST_HOOK, report)),
            webhook: section.get("webhook").map(|f| webhook(&f, report)),
        }
    }
}

fn events(field: &Field<'_>, report: &mut Report) -> Vec<At<&'static Happening>> {
    let mut found: Vec<At<&'static Happening>> = Vec::new();
    for text in field.texts(report).unwrap_or_default() {
        match happening(&text.value) {
            Some(happening) if found.iter().any(|other| other.value.name == happening.name) => {
                report.problem(text.span, format!("\"{}\" stands twice in {}", happening.name, field.title()));
            }
            Some(happening) => found.push(At::new(happening, text.span)),
            None => {
                let names = || HAPPENINGS.iter().map(|happening| happening.name);
                let suggestion = values::did_you_mean(&text.value, names());
                let message = format!("no event \"{}\"{suggestion}", text.value.escape_debug());
                report.problem_with(
                    text.span,
                    message,
                    format!("there are {}", names().collect::<Vec<_>>().join(", ")),
                );
            }
        }
    }
    found
}

fn webhook(field: &Field<'_>, report: &mut Report) -> RawWebhook {
    let nothing = RawWebhook { url: None, headers: Vec::new(), timeout: None };
    let Some(section) = field.group() else {
        return RawWebhook { url: field.text(report), ..nothing };
    };
    if section.get("url").is_none() {
        report.problem_with(field.name_span, "webhook has no \"url\"", "say where: url = \"https://…\"");
    }
    RawWebhook {
        url: section.get("url").and_then(|f| f.text(report)),
        headers: section.get("headers").map(|f| headers(&f, report)).unwrap_or_default(),
        timeout: section
            .get("timeout")
            .and_then(|f| time(&f, Duration::from_millis(100), LONGEST_TRY, report))
            .map(|timeout| timeout.value),
    }
}

/// Headers that svd writes itself.
const OWN_HEADERS: &[&str] =
    &["host", "content-length", "content-type", "connection", "transfer-encoding", "user-agent"];

fn headers(field: &Field<'_>, report: &mut Report) -> Vec<(At<String>, String)> {
    let mut headers = Vec::new();
    for entry in field.map(report).map(|table| table.entries.as_slice()).unwrap_or_default() {
        let token = !entry.name.is_empty()
            && entry.name.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b));
        let name = entry.name.escape_debug();
        if !token {
            report.problem(entry.name_span, format!("\"{name}\" in {} is no name of a header", field.title()));
        } else if OWN_HEADERS.contains(&entry.name.to_ascii_lowercase().as_str()) {
            report.problem(entry.name_span, format!("the header \"{name}\" is written by svd itself"));
        } else {
            match &entry.node.value {
                Value::Text(text) if text.chars().all(|c| !c.is_control()) => {
                    headers.push((At::new(entry.name.clone(), entry.node.span), text.clone()));
                }
                _ => report.problem(entry.node.span, format!("the header \"{name}\" must be a string in one line")),
            }
        }
    }
    headers
}

impl Resolver<'_> {
    /// `[notify]`, resolved; `None` where there is none, or something is wrong with it.
    pub(crate) fn notify(&mut self, raw: &RawNotify) -> Option<NoticePlan> {
        let at = raw.at?;
        if raw.run.is_none() && raw.webhook.is_none() {
            self.report.problem_with(at, "[notify] tells nobody", "say run = \"…\", webhook = \"https://…\", or both");
            return None;
        }
        if raw.events.is_empty() {
            let names: Vec<&str> = HAPPENINGS.iter().map(|happening| happening.name).collect();
            let help = format!("say of what: events = [\"process.failed\"]; there are {}", names.join(", "));
            self.report.problem_with(at, "[notify] tells of nothing", help);
        }
        if let (Some(timeout), None) = (&raw.timeout, &raw.run) {
            let help = "a webhook has its own: webhook = { url = \"…\", timeout = \"10s\" }";
            self.report.problem_with(timeout.span, "\"timeout\" in [notify] means nothing without \"run\"", help);
        }
        let hook =
            raw.run.as_ref().map(|run| self.hook("\"run\" in [notify]", run, &raw.timeout, &Raw::default(), OF_EVENTS));
        let webhook = raw.webhook.as_ref().map(|webhook| self.webhook(webhook));
        Some(NoticePlan {
            events: raw.events.iter().map(|event| event.value.name).collect(),
            hook: hook.flatten(),
            webhook: webhook.flatten(),
        })
    }

    /// A command that is run because something has happened, in the surroundings that `raw` says.
    pub(crate) fn hook(
        &mut self,
        title: &str,
        run: &At<RawRun>,
        timeout: &Option<At<Duration>>,
        raw: &Raw,
        given: &'static [&'static str],
    ) -> Option<HookPlan> {
        let variables = crate::environment::own(raw, &mut self.files, &mut self.report);
        let mut env: BTreeMap<String, String> =
            self.shared.iter().map(|(name, value)| (name.clone(), value.value.clone())).collect();
        env.extend(variables.iter().map(|(name, value)| (name.clone(), value.value.clone())));
        let shared = std::mem::take(&mut self.shared);
        let known =
            Known { own: &variables, shared: &shared, keep_env: raw.keep_env.as_deref(), sources: self.sources, given };
        let run = self.probe(title, run, &known);
        self.shared = shared;
        let timeout = timeout.as_ref().map_or(HOOK, |timeout| timeout.value);
        Some(HookPlan { exec: self.exec(raw, run?, env, 0, None), timeout })
    }

    fn webhook(&mut self, raw: &RawWebhook) -> Option<WebhookPlan> {
        let url = raw.url.as_ref().and_then(|url| self.url("\"webhook\" in [notify]", url));
        let mut headers = Vec::new();
        for (name, value) in &raw.headers {
            let value = self.expanded(&format!("the header \"{}\"", name.value), &At::new(value.clone(), name.span))?;
            headers.push((name.value.clone(), value));
        }
        Some(WebhookPlan { url: url?, headers, timeout: raw.timeout.unwrap_or(TRY) })
    }

    /// An address, its variables replaced.
    pub(crate) fn url(&mut self, title: &str, text: &At<String>) -> Option<Url> {
        let full = self.expanded(title, text)?;
        match Url::parse(&full) {
            Ok(url) => Some(url),
            Err(why) => {
                let help = "write http://HOST[:PORT]/PATH or https://HOST[:PORT]/PATH";
                self.report.problem_with(text.span, format!("{title} {why}"), help);
                None
            }
        }
    }

    /// A text with the variables of `[env]` and of its files in it.
    fn expanded(&mut self, title: &str, text: &At<String>) -> Option<String> {
        let shared = &self.shared;
        match words::expand_word(&text.value, |name| shared.get(name).map(|value| value.value.clone())) {
            Ok(full) if full.chars().all(|c| !c.is_control()) => Some(full),
            Ok(_) => {
                self.report.problem(text.span, format!("{title} has a control character in it"));
                None
            }
            Err(_) if self.files.incomplete => None,
            Err(error) => {
                let message = format!("{title} uses ${}, which is not set", error.variable);
                let help = "set it in the top-level env or env_file; write $$ for a dollar sign";
                self.report.problem_with(text.span, message, help);
                None
            }
        }
    }
}
