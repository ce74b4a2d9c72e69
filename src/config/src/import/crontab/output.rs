//! The config's text: what jobs share first, then the jobs with the comments that stood above them.

use std::collections::BTreeMap;

use super::super::write;
use super::command::Run;

/// What the text is made of, in the order of the input.
#[derive(Debug)]
pub(crate) enum Item {
    Blank,
    /// A comment line, with its `#`.
    Comment(String),
    /// A line that could not be translated.
    Lost {
        number: usize,
        text: String,
        why: String,
    },
    Job(Box<Job>),
}

/// A job in the words of the config.
#[derive(Debug)]
pub(crate) struct Job {
    pub name: String,
    pub line: usize,
    pub run: Run,
    pub stdin: Option<String>,
    pub schedule: String,
    /// `None` is UTC.
    pub zone: Option<String>,
    /// In minutes.
    pub jitter: Option<u32>,
    pub user: Option<String>,
    pub cwd: Option<String>,
    pub env: BTreeMap<String, String>,
}

/// Writes a Procfile.toml.
pub(crate) fn write(items: &[Item]) -> String {
    let shared = shared(items);
    let mut text = String::new();
    // A block of comments at the very top is about the whole file, unless a job follows at once.
    let head = items.iter().take_while(|item| matches!(item, Item::Comment(_))).count();
    let head = if matches!(items.get(head), Some(Item::Job(_))) { 0 } else { head };
    let (head, rest) = items.split_at(head);
    for item in head {
        put(&mut text, item, &shared);
    }
    if !shared.is_empty() {
        gap(&mut text);
        text.push_str("[env]\n");
        for (name, value) in &shared {
            text.push_str(&format!("{} = {}\n", write::key(name), write::text(value)));
        }
        gap(&mut text);
    }
    for item in rest {
        put(&mut text, item, &shared);
    }
    text.truncate(text.trim_end().len());
    text.push('\n');
    text
}

/// The variables that all jobs have in common.
fn shared(items: &[Item]) -> BTreeMap<String, String> {
    let mut jobs = items.iter().filter_map(|item| match item {
        Item::Job(job) => Some(&job.env),
        Item::Blank | Item::Comment(_) | Item::Lost { .. } => None,
    });
    let Some(first) = jobs.next() else { return BTreeMap::new() };
    let mut shared = first.clone();
    for env in jobs {
        shared.retain(|name, value| env.get(name) == Some(value));
    }
    shared
}

/// An empty line, unless there is one or nothing stands above it.
fn gap(text: &mut String) {
    if !text.is_empty() && !text.ends_with("\n\n") {
        text.push('\n');
    }
}

fn put(text: &mut String, item: &Item, shared: &BTreeMap<String, String>) {
    match item {
        Item::Blank => gap(text),
        Item::Comment(comment) => text.push_str(&format!("{}\n", harmless(comment))),
        Item::Lost { number, text: line, why } => {
            gap(text);
            text.push_str(&format!(
                "# Line {number} is not translated: {}\n# {}\n\n",
                harmless(why),
                harmless(line.trim())
            ));
        }
        Item::Job(job) => put_job(text, job, shared),
    }
}

fn put_job(text: &mut String, job: &Job, shared: &BTreeMap<String, String>) {
    // A comment right above stays right above.
    if !text.lines().next_back().is_some_and(|line| line.starts_with('#')) {
        gap(text);
    }
    text.push_str(&format!("[job.{}]\n", write::key(&job.name)));
    let mut line = |key: &str, value: String| text.push_str(&format!("{key} = {value}\n"));
    match &job.run {
        Run::Words(words) => line("run", write::text(words)),
        Run::Shell(command) => {
            line("run", write::text(command));
            line("shell", "true".to_owned());
        }
        Run::Array(words) => line("run", write::texts(words)),
    }
    if let Some(stdin) = &job.stdin {
        line("stdin", write::text(stdin));
    }
    line("schedule", write::text(&job.schedule));
    if let Some(zone) = &job.zone {
        line("timezone", write::text(zone));
    }
    if let Some(minutes) = job.jitter {
        line("jitter", write::text(&format!("{minutes}m")));
    }
    line("overlap", write::text("allow"));
    if let Some(user) = &job.user {
        line("user", write::text(user));
    }
    if let Some(cwd) = &job.cwd {
        line("cwd", write::text(cwd));
    }
    let own: Vec<String> = job
        .env
        .iter()
        .filter(|(name, value)| shared.get(*name) != Some(*value))
        .map(|(name, value)| format!("{} = {}", write::key(name), write::text(value)))
        .collect();
    if !own.is_empty() {
        line("env", format!("{{ {} }}", own.join(", ")));
    }
    gap(text);
}

/// TOML allows no control characters in comments, but tabs.
fn harmless(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\t' { ' ' } else { c }).collect()
}
