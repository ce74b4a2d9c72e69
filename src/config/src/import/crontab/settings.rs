//! The environment lines of a crontab. Each job sees the lines above it; some of them are for cron, not for the job.

use std::collections::BTreeMap;

use crate::environment::{OWN, parse_port};
use crate::schedule::shown;
use crate::values;

use super::super::report::{Line, Remark, Told, Weight};
use super::lines::Setting;

/// What cron's own readers give to every job.
const DEFAULTS: &[(&str, &str)] = &[("SHELL", "/bin/sh"), ("PATH", "/usr/bin:/bin")];

/// Settings about the mail that cron sends.
const MAIL: &[&str] = &["MAILTO", "MAILFROM", "CONTENT_TYPE", "CONTENT_TRANSFER_ENCODING"];

/// The settings in force at a line.
pub(crate) struct Settings {
    values: BTreeMap<String, Set>,
    /// A job was read for which cron would have sent mail.
    mails: bool,
}

#[derive(Clone, Debug)]
struct Set {
    value: String,
    role: Role,
    /// The remark that is due when no job ever sees it; `None` for defaults.
    unused: Option<Remark>,
}

/// Whom a setting is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    /// The jobs.
    Job,
    /// Cron itself.
    Cron,
}

impl Default for Settings {
    fn default() -> Settings {
        let set = |value: &str| Set { value: value.to_owned(), role: Role::Job, unused: None };
        let values = DEFAULTS.iter().map(|(name, value)| ((*name).to_owned(), set(value))).collect();
        Settings { values, mails: false }
    }
}

impl Settings {
    /// Takes an environment line in.
    pub fn set(&mut self, setting: Setting, line: Line<'_>, start: usize, remarks: &mut Vec<Remark>) {
        let Setting { name, value } = setting;
        let span = start..line.text.trim_end().len();
        let mut tell = |weight, told| remarks.push(Remark::at(weight, line, span.clone(), told));
        if let Some((weight, told)) = refusal(&name, &value) {
            return tell(weight, told);
        }
        if let Some(told) = job_in_value(&name, &value) {
            tell(Weight::Note, told);
        }
        if let Some((weight, told)) = about(&name, &value) {
            tell(weight, told);
        }
        let cron = MAIL.contains(&name.as_str()) || name == "CRON_TZ" || name == "RANDOM_DELAY";
        let role = if cron { Role::Cron } else { Role::Job };
        let message = format!("{name} is set here for no job: none stands below it before it is set again");
        let unused = Remark::at(Weight::Note, line, span.clone(), Told::new(message, "it is not in the config"));
        // What has been told already need not be told to be of no use.
        let unused = Some(unused).filter(|_| !MAIL.contains(&name.as_str()));
        if let Some(Set { unused: Some(remark), .. }) = self.values.insert(name, Set { value, role, unused }) {
            remarks.push(remark);
        }
    }

    /// A job sees what is set now.
    pub fn used(&mut self) {
        for set in self.values.values_mut() {
            set.unused = None;
        }
        self.mails |= self.value("MAILTO").is_none();
    }

    /// Tells what no job has seen.
    pub fn finish(&mut self, remarks: &mut Vec<Remark>) {
        remarks.extend(self.values.values_mut().filter_map(|set| set.unused.take()));
    }

    pub fn value(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(|set| set.value.as_str())
    }

    pub fn has(&self, name: &str) -> bool {
        self.values.contains_key(name)
    }

    /// The shell of the commands.
    pub fn shell(&self) -> String {
        self.value("SHELL").filter(|shell| !shell.is_empty()).unwrap_or("/bin/sh").to_owned()
    }

    /// Cronie's upper bound of a delay, in minutes.
    pub fn random_delay(&self) -> Option<u32> {
        self.value("RANDOM_DELAY").and_then(delay)
    }

    /// What a job gets.
    pub fn variables(&self) -> BTreeMap<String, String> {
        let jobs = self.values.iter().filter(|(_, set)| set.role == Role::Job);
        jobs.map(|(name, set)| (name.clone(), set.value.clone())).collect()
    }

    /// Whether there is a job without MAILTO, whose owner cron would have written to.
    pub fn mails(&self) -> bool {
        self.mails
    }
}

/// Minutes, as far as a jitter can be.
fn delay(text: &str) -> Option<u32> {
    text.trim().parse().ok().filter(|minutes| *minutes <= super::LONGEST_DELAY)
}

/// Why a variable is not in the config.
fn refusal(name: &str, value: &str) -> Option<(Weight, Told)> {
    let told = |message: String, help: &str| Some((Weight::Differs, Told::new(message, help)));
    if name == "LOGNAME" {
        return Some((Weight::Note, Told::new("cron does not let LOGNAME be set", "jobs have their user's")));
    }
    if name == "PORT" && parse_port(value).is_none() {
        return told(format!("PORT is {}, and svd takes ports only", shown(value)), "name the variable otherwise");
    }
    if OWN.contains(&name) && name != "PORT" {
        return told(format!("{name} is set by svd itself"), "name the variable otherwise");
    }
    if !values::is_variable(name) {
        return told(format!("{} is no name of a variable in svd", shown(name)), "name the variable otherwise");
    }
    if value.chars().any(|c| c.is_control() && c != '\t') {
        return told(format!("the value of {name} has a control character in it"), "take it out");
    }
    None
}

/// A job with an assignment in front: cron reads the whole line as a setting.
fn job_in_value(name: &str, value: &str) -> Option<Told> {
    let mut words = value.split([' ', '\t']).filter(|word| !word.is_empty()).skip(1);
    let is_field = |word: &str| word.chars().all(|c| c.is_ascii_digit() || "*/,-".contains(c));
    let fields = words.by_ref().take(5).take_while(|word| is_field(word)).count();
    (fields == 5).then(|| {
        let message = format!("cron reads all of this as the value of {name}: it is no job, and never ran");
        Told::new(message, "put the setting on a line of its own")
    })
}

/// What is to be said of a setting that is for cron.
fn about(name: &str, value: &str) -> Option<(Weight, Told)> {
    let note = |message: String, help: &str| Some((Weight::Note, Told::new(message, help)));
    let differs = |message: String, help: &str| Some((Weight::Differs, Told::new(message, help)));
    match name {
        "MAILTO" if value.trim().is_empty() => note(
            "no mail for these jobs: svd sends none in any case".to_owned(),
            "their output is kept: `svctl logs job:NAME`",
        ),
        "MAILTO" => differs(
            format!("svd sends no mail: nothing goes to {}, and the variable is not set", shown(value)),
            "on_failure of a job, or [notify] with events = [\"job.failed\", \"job.missed\"] for all, tells somebody; the output is kept: \
             `svctl logs job:NAME`",
        ),
        name if MAIL.contains(&name) => {
            differs(format!("svd sends no mail: {name} has no effect, and the variable is not set"), "")
        }
        "CRON_TZ" => note(
            "the jobs below have it as their timezone, as in cronie".to_owned(),
            "Debian's cron does not know it, and goes by the machine's clock",
        ),
        "TZ" => note(
            "TZ is for the commands only, in svd as in cron".to_owned(),
            "what the schedule goes by is the job's timezone",
        ),
        "RANDOM_DELAY" if delay(value).is_some() => note(
            "the jobs below have it as their jitter, as in cronie; it differs from job to job, and stays".to_owned(),
            "Debian's cron does not know it",
        ),
        "RANDOM_DELAY" => differs(
            format!("{} is no number of minutes up to a day", shown(value)),
            "say it by jitter = \"…\" of the jobs below",
        ),
        _ => None,
    }
}
