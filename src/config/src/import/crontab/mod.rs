//! Crontabs: a user's, and the system's with its sixth field.
//!
//! Each job gets what cron gives it: the settings above its line, /bin/sh or its SHELL, cron's short PATH, its owner's home
//! as the directory, what follows `%` as standard input, the zone of cron's own clock, and a new run even while the last
//! one still runs. Debian's cron is the measure; where cronie does otherwise, the report says so.

mod command;
mod lenient;
mod lines;
mod names;
mod output;
mod settings;

use std::collections::BTreeSet;
use std::ops::Range;

use crate::schedule::{Schedule, ScheduleError, shown};

use super::report::{Import, ImportedJob, Line, Remark, Told, Weight};
use lines::{Content, Entry};
use output::{Item, Job};
use settings::Settings;

/// Which form of crontab.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CrontabKind {
    /// A user's own, as `crontab -l` prints it.
    User,
    /// /etc/crontab and what lies in /etc/cron.d: the sixth field is the user.
    System,
}

/// What only the machine knows.
pub struct Surroundings<'s> {
    /// Which form it has.
    pub kind: CrontabKind,
    /// The zone of the machine's clock, by which cron runs; `None` where it has no name.
    pub zone: Option<String>,
    /// Whether there is a zone of this name.
    pub knows_zone: &'s dyn Fn(&str) -> bool,
    /// The home of a user; of the crontab's owner for `None`.
    pub home: &'s dyn Fn(Option<&str>) -> Option<String>,
}

/// A command of this length is refused by Debian's cron, which has a buffer of 1,000 bytes.
const LONGEST_COMMAND: usize = 1_000;

/// Bytes of standard input that a job may have.
const LONGEST_INPUT: usize = 64 * 1024;

/// Minutes over which svd spreads a job.
const LONGEST_DELAY: u32 = 24 * 60;

/// Translates a crontab.
pub fn crontab(text: &str, surroundings: &Surroundings<'_>) -> Import {
    let mut reader = Reader {
        surroundings,
        settings: Settings::default(),
        names: BTreeSet::new(),
        items: Vec::new(),
        remarks: Vec::new(),
    };
    let mut lines: Vec<&str> = text.split('\n').collect();
    // What follows the last newline is a line only when there is something.
    match lines.pop() {
        Some(last) if !last.is_empty() => {
            lines.push(last);
            let told = Told::new(
                "the last line has no newline",
                "crontab refuses such a file, and Debian's cron ignores it; here the line counts as any other",
            );
            let line = Line { number: lines.len(), text: last };
            reader.remarks.push(Remark::at(Weight::Note, line, last.len()..last.len(), told));
        }
        _ => {}
    }
    for (number, text) in (1..).zip(lines) {
        reader.line(Line { number, text });
    }
    reader.finish()
}

/// What has been read so far.
struct Reader<'r> {
    surroundings: &'r Surroundings<'r>,
    settings: Settings,
    names: BTreeSet<String>,
    items: Vec<Item>,
    remarks: Vec<Remark>,
}

impl Reader<'_> {
    fn line(&mut self, mut line: Line<'_>) {
        if let Some(text) = line.text.strip_suffix('\r') {
            if !text.trim().is_empty() && !text.trim_start().starts_with('#') {
                let told = Told::new(
                    "the line ends with a carriage return, as on Windows",
                    "left out here; cron hands it to the command, as a part of its last word",
                );
                self.remark(Weight::Differs, line, text.len()..line.text.len(), told);
            }
            line.text = text;
        }
        match lines::read(line.text, self.surroundings.kind) {
            Content::Blank => self.items.push(Item::Blank),
            Content::Comment(text) => self.items.push(Item::Comment(text)),
            Content::Setting(setting) => {
                let start = line.text.len() - line.text.trim_start().len();
                self.settings.set(setting, line, start, &mut self.remarks);
            }
            Content::Entry(entry) => self.entry(line, &entry),
            Content::Nothing(span, why) => self.lost(line, span, Told::new(why, "")),
        }
    }

    /// A line that becomes no job: it stays in the config as a comment.
    fn lost(&mut self, line: Line<'_>, span: Range<usize>, told: Told) {
        self.items.push(Item::Lost { number: line.number, text: line.text.to_owned(), why: told.message.clone() });
        self.remark(Weight::Lost, line, span, told);
    }

    fn remark(&mut self, weight: Weight, line: Line<'_>, span: Range<usize>, told: Told) {
        self.remarks.push(Remark::at(weight, line, span, told));
    }

    fn entry(&mut self, line: Line<'_>, entry: &Entry) {
        let Some((schedule, spread)) = self.schedule(line, entry) else { return };
        let text = line.text.get(entry.command..).unwrap_or_default();
        let command = command::split(text);
        if command.line.trim().is_empty() {
            let told = Told::new("there is no command before the %", "");
            return self.lost(line, entry.command..line.text.len(), told);
        }
        if let Some(character) = line.text.chars().find(|c| c.is_control() && *c != '\t') {
            let told = Told::new(format!("the line has the control character {character:?} in it"), "take it out");
            return self.lost(line, entry.command..line.text.len(), told);
        }
        if command.stdin.as_ref().is_some_and(|input| input.len() > LONGEST_INPUT) {
            let told = Told::new("what follows the % is more than 64 KiB", "let the command read a file");
            return self.lost(line, entry.command..line.text.len(), told);
        }
        self.remarks_on_command(line, entry, &command);
        if schedule == "@reboot" {
            self.remark_on_reboot(line, entry);
        }
        self.settings.used();
        let zone = self.zone(line, entry);
        let shell = self.settings.shell();
        let name = names::unique(&command.line, &mut self.names);
        let cwd = self.cwd(line, entry);
        let jitter = match (spread, self.settings.random_delay()) {
            (None, delay) => delay,
            (Some(minutes), delay) => Some(minutes + delay.unwrap_or(0)),
        };
        if jitter.is_some_and(|minutes| minutes > LONGEST_DELAY) {
            let told =
                Told::new("~ and RANDOM_DELAY together are more than a day", "svd spreads a job over a day at most");
            self.remark(Weight::Differs, line, entry.schedule.clone(), told);
        }
        let job = Job {
            name,
            line: line.number,
            run: command::choose(&command.line, &shell, self.settings.has("BASH_ENV") || self.settings.has("ENV")),
            stdin: command.stdin,
            schedule,
            zone,
            jitter: jitter.filter(|minutes| *minutes > 0).map(|minutes| minutes.min(LONGEST_DELAY)),
            user: entry.user.clone(),
            cwd,
            env: self.settings.variables(),
        };
        self.items.push(Item::Job(Box::new(job)));
    }

    /// What svd does otherwise with a line that cron runs at the start of the machine.
    fn remark_on_reboot(&mut self, line: Line<'_>, entry: &Entry) {
        let told = Told::new(
            "cron runs it once after the machine has started, svd each time that svd itself is started",
            "a manager that is replaced, and an upgrade, are no start of svd",
        );
        self.remark(Weight::Differs, line, entry.schedule.clone(), told);
    }

    /// What a line's schedule is in strict words, and over how many minutes it is spread; `None` when the line is lost.
    fn schedule(&mut self, line: Line<'_>, entry: &Entry) -> Option<(String, Option<u32>)> {
        let words = lines::words_of(line.text, entry.schedule.clone());
        let written = words.iter().map(|word| word.text).collect::<Vec<_>>().join(" ");
        let error = match Schedule::parse(&written) {
            Ok(_) => return Some((written, None)),
            Err(error) => error,
        };
        let seed = hash(line.text);
        let Some(lenient) = lenient::read(&words, seed) else {
            let span = place(&error, &written, &words);
            self.lost(line, span, Told::new(error.message, error.help));
            return None;
        };
        for (span, told) in lenient.odd {
            self.remark(Weight::Note, line, span, told);
        }
        match lenient.schedule.map(|schedule| Schedule::parse(&schedule).map(|_| schedule)) {
            Some(Ok(schedule)) => Some((schedule, lenient.spread)),
            // Cron accepts these, too.
            None | Some(Err(_)) => {
                let why = error.message.strip_prefix("never runs: ").map(|why| (why, format!("{}; ", error.help)));
                let (why, more) = why.unwrap_or(("no time is selected", String::new()));
                let message = format!("it never ran: {why}");
                let help = format!("{more}cron accepts such a line and says nothing");
                self.lost(line, entry.schedule.clone(), Told { message, help });
                None
            }
        }
    }

    fn remarks_on_command(&mut self, line: Line<'_>, entry: &Entry, command: &command::Command) {
        let at = |offset: usize, length: usize| entry.command + offset..entry.command + offset + length;
        let text = line.text.get(entry.command..).unwrap_or_default();
        if let Some(percent) = command.percent {
            let told = Told::new(
                "cron ends the command here, and what follows is its standard input",
                "translated so; for a percent sign in the command write \\%",
            );
            self.remark(Weight::Note, line, at(percent, 1), told);
        }
        if let Some(doubled) = command.doubled {
            let told = Told::new(
                "of two backslashes Debian's cron hands one to the shell",
                "translated so; cronie hands both on",
            );
            self.remark(Weight::Note, line, at(doubled, 2), told);
        }
        if text.len() >= LONGEST_COMMAND {
            let message = format!("Debian's cron refuses a command of {} bytes", text.len());
            let told = Told::new(message, format!("its limit is {}; svd runs it", LONGEST_COMMAND - 1));
            self.remark(Weight::Differs, line, at(0, text.len()), told);
        }
        if entry.quiet {
            let told = Told::new(
                "with - cronie writes no line to syslog about it",
                "svd writes none in any case, and has a history of runs: history = { keep = 10 } keeps less of it",
            );
            self.remark(Weight::Note, line, entry.schedule.start - 1..entry.schedule.start, told);
        }
        let first = text.split([' ', '\t']).next().unwrap_or_default();
        if entry.user.is_none() && first == "root" {
            let told = Told::new(
                "the command is \"root\": this looks like a system crontab, whose sixth field is the user",
                "import it with --system",
            );
            self.remark(Weight::Note, line, at(0, first.len()), told);
        }
    }

    /// The zone whose clock counts, where it is not UTC.
    fn zone(&mut self, line: Line<'_>, entry: &Entry) -> Option<String> {
        let named = self.settings.value("CRON_TZ").map(str::to_owned);
        let machine = self.surroundings.zone.clone();
        let zone = match named.filter(|name| !name.is_empty()) {
            Some(name) if (self.surroundings.knows_zone)(&name) => Some(name),
            Some(name) => {
                let told = Told::new(
                    format!("CRON_TZ names no time zone that is known here: {}", shown(&name)),
                    "the job goes by the machine's clock, as with Debian's cron; cronie takes it for UTC",
                );
                self.remark(Weight::Differs, line, entry.schedule.clone(), told);
                machine
            }
            None => machine,
        };
        // What runs once after the start goes by no clock.
        let goes_by_one = line.text.get(entry.schedule.clone()) != Some("@reboot");
        zone.filter(|zone| goes_by_one && !["UTC", "Etc/UTC"].contains(&zone.as_str()))
    }

    /// The directory in which cron runs it: the home.
    fn cwd(&mut self, line: Line<'_>, entry: &Entry) -> Option<String> {
        if let Some(home) = self.settings.value("HOME") {
            return Some(home.to_owned()).filter(|home| !home.is_empty());
        }
        let home = (self.surroundings.home)(entry.user.as_deref());
        if home.is_none() {
            let whose = match &entry.user {
                Some(user) => format!("the home of {}", shown(user)),
                None => "the home of its owner".to_owned(),
            };
            let told = Told::new(
                format!("{whose} is not known here, and cron runs the job there"),
                "the job runs in the directory of the config file; say another one by cwd",
            );
            self.remark(Weight::Differs, line, entry.schedule.clone(), told);
        }
        home
    }

    fn finish(mut self) -> Import {
        self.settings.finish(&mut self.remarks);
        self.remarks.sort_by_key(|remark| (remark.line, remark.column));
        let jobs: Vec<&Job> = self
            .items
            .iter()
            .filter_map(|item| match item {
                Item::Job(job) => Some(&**job),
                Item::Blank | Item::Comment(_) | Item::Lost { .. } => None,
            })
            .collect();
        let mut remarks = self.general(&jobs);
        let jobs = jobs.iter().map(|job| ImportedJob { name: job.name.clone(), line: job.line }).collect();
        remarks.append(&mut self.remarks);
        Import { config: output::write(&self.items), jobs, remarks }
    }

    /// What is to be said of all jobs.
    fn general(&self, jobs: &[&Job]) -> Vec<Remark> {
        let mut remarks = Vec::new();
        if jobs.is_empty() {
            remarks.push(Remark::whole(Weight::Note, "there is no job in it", ""));
            return remarks;
        }
        if self.settings.mails() {
            remarks.push(Remark::whole(
                Weight::Differs,
                "cron mails what a job prints; svd sends no mail and keeps the output",
                "read it with `svctl logs job:NAME`; [notify] with events = [\"job.failed\", \"job.missed\"] tells somebody \
                 when one fails or is missed",
            ));
        }
        remarks.push(Remark::whole(
            Weight::Note,
            "every job has overlap = \"allow\", since cron starts a run while the last one still runs",
            "take it out of those that should not: svd skips such a run then, and tells so",
        ));
        if self.surroundings.zone.is_none() && jobs.iter().any(|job| job.zone.is_none()) {
            remarks.push(Remark::whole(
                Weight::Differs,
                "this machine's time zone has no name, so jobs go by UTC",
                "say another one by timezone",
            ));
        }
        if self.surroundings.kind == CrontabKind::User {
            remarks.push(Remark::whole(
                Weight::Note,
                "jobs of a user's crontab run as the user that svd runs as",
                "start svd as that user, or say user = \"…\"",
            ));
        }
        remarks
    }
}

/// Where the fault of the words, joined by single blanks, is in the line.
fn place(error: &ScheduleError, written: &str, words: &[crate::schedule::Piece<'_>]) -> Range<usize> {
    let mut at = 0;
    let mut found = None;
    for word in words {
        let end = at + word.text.len();
        if (at..=end).contains(&error.span.start) && found.is_none() {
            let start = word.at + (error.span.start - at);
            found = Some(start..(word.at + (error.span.end.min(end) - at)).max(start));
        }
        // Faults of several words reach to the last of them.
        if let Some(span) = &mut found
            && error.span.end >= end
            && error.span.start < end
        {
            span.end = word.at + word.text.len();
        }
        at = end + 1;
    }
    found.unwrap_or(0..written.len())
}

/// FNV-1a: the same for the same line, everywhere.
fn hash(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}
