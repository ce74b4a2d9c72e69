//! Warnings about commands: what stands between svd and the program, and what the program does otherwise than the config
//! expects. Nothing is said of a command that is not known, nor of signals where nobody counts on them.

use std::time::Duration;

use crate::plan::{Handoff, ListenAddress, ProcessPlan, Run, StopStep, Strategy};
use crate::process::{Raw, RawRun};
use crate::programs::{self, Command, Signals};
use crate::report::{At, Report, Span};
use crate::shell_line::{self, End};
use crate::values;

/// Which keys can be said: a plain Procfile has none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keys {
    /// All of them.
    All,
    /// None: the way out is another file.
    None,
}

/// Notes what there is to say about the command of a process.
pub(crate) fn give(plan: &ProcessPlan, raw: &Raw, keys: Keys, report: &mut Report) {
    let Some(run) = &raw.run else { return };
    if plan.oneshot {
        return;
    }
    let counts = !plan.listen.is_empty()
        || raw.quiet.is_some()
        || raw.preset.is_some()
        || raw.drained.is_some()
        || raw.stop.is_some();
    let mut adviser = Adviser { plan, raw, run, keys, counts, report };
    let words = match &plan.exec.run {
        Run::Shell(line) => adviser.line(line, Shell::Sh),
        Run::Words(words) => {
            let words: Vec<String> = words.iter().map(|word| word.replace("$$", "$")).collect();
            adviser.words(words)
        }
        Run::Literal(words) => adviser.words(words.clone()),
    };
    adviser.command(&programs::command(&words));
}

struct Adviser<'a> {
    plan: &'a ProcessPlan,
    raw: &'a Raw,
    run: &'a At<RawRun>,
    keys: Keys,
    /// Somebody counts on signals.
    counts: bool,
    report: &'a mut Report,
}

/// Which shell reads a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shell {
    /// `/bin/sh`, which may be one that replaces itself by nothing.
    Sh,
    /// One that replaces itself by a simple last command.
    Replacing,
}

impl Adviser<'_> {
    /// Words that may be a shell with a line.
    fn words(&mut self, words: Vec<String>) -> Vec<String> {
        let shell = match words.first().and_then(|word| word.rsplit('/').next()) {
            Some("sh" | "dash" | "ash") => Shell::Sh,
            Some("bash" | "zsh" | "ksh") => Shell::Replacing,
            _ => return words,
        };
        let is_c = |word: &String| word.starts_with('-') && !word.starts_with("--") && word.contains('c');
        let line = words.iter().position(is_c).and_then(|at| words.get(at + 1));
        match line {
            Some(line) => self.line(line, shell),
            None => words,
        }
    }

    /// What a shell runs last, with a warning where it stays in front of it.
    fn line(&mut self, line: &str, shell: Shell) -> Vec<String> {
        let shell_line::Line { end, last } = shell_line::read(line);
        let stays = match end {
            End::Exec => false,
            End::Simple => shell == Shell::Sh,
            End::Encumbered | End::Pipe | End::Compound => true,
        };
        let name = &self.plan.name;
        if stays && self.counts {
            let program = programs::command(&last).name;
            let named = matches!(end, End::Simple | End::Encumbered) && !program.is_empty();
            let behind = if named { format!("\"{program}\"") } else { "what it starts".to_owned() };
            let fds = match self.hands_fds_only() {
                true => ", which does not take LISTEN_FDS either, because LISTEN_PID is the shell",
                false => "",
            };
            let sometimes = if end == End::Simple { " where /bin/sh is dash" } else { "" };
            let message = format!(
                "\"run\" in [process.{name}] keeps a shell as the main process{sometimes}: signals reach the shell, not \
                 {behind}{fds}"
            );
            let help = match end {
                End::Pipe => "leave the pipe out: svd keeps the output by itself".to_owned(),
                _ if named => format!("write \"exec {program}\" instead of \"{program}\""),
                _ => "let it end with exec and the program".to_owned(),
            };
            self.report.warn(Some(self.run.span), message, help);
        }
        last
    }

    fn hands_fds_only(&self) -> bool {
        !self.plan.listen.is_empty() && self.plan.handoff == Handoff::ListenFds
    }

    fn command(&mut self, command: &Command<'_>) {
        self.wrappers(command);
        let Some(program) = command.program() else { return };
        let (name, process) = (program.name, &self.plan.name);
        if let Some(option) = program.background.iter().find(|option| command.args.iter().any(|arg| arg == *option)) {
            let message = format!("{name} in [process.{process}] goes into the background with {option}");
            self.report.warn(
                Some(self.part(option)),
                message,
                "leave it out: svd keeps what it started, and that ends at once",
            );
        }
        if let Some(At { value: preset, span }) = &self.raw.preset
            && let Some(fits) = program.preset.filter(|fits| *fits != preset.name)
        {
            let message = format!("[process.{process}] has preset = \"{}\" and runs {name}", preset.name);
            self.report.warn(Some(*span), message, format!("write preset = \"{fits}\""));
        }
        self.deadline(command);
        self.quits(command);
        self.sockets(command);
        if name == "celery" && self.plan.update.strategy != Strategy::Exclusive && is_beat(command.args) {
            let message =
                format!("celery beat in [process.{process}] would run twice for a moment whenever it is replaced");
            self.report.warn(Some(self.run.span), message, "write update = \"exclusive\"");
        }
    }

    fn wrappers(&mut self, command: &Command<'_>) {
        let process = &self.plan.name;
        for wrapper in &command.wrappers {
            let front = wrapper.words.join(" ");
            let behind = if command.name.is_empty() { "what it starts" } else { command.name.as_str() };
            let (message, help) = match wrapper.signals {
                Signals::Lost if self.counts => (
                    format!("{front} in [process.{process}] stays in front of {behind} and keeps signals for itself"),
                    "run the program itself, as in run = \"node server.js\"",
                ),
                Signals::HandedOn if self.hands_fds_only() => (
                    format!(
                        "{front} in [process.{process}] stays in front of {behind}, which does not take LISTEN_FDS then, \
                         because LISTEN_PID is {front}"
                    ),
                    "run the program itself, or write handoff = \"intercept\"",
                ),
                Signals::Lost | Signals::HandedOn => continue,
            };
            let help = match self.keys {
                Keys::None => "run the program itself, as in web: node server.js",
                Keys::All => help,
            };
            self.report.warn(Some(self.run.span), message, help);
            return;
        }
    }

    /// A program that gives itself more time than the ladder does.
    fn deadline(&mut self, command: &Command<'_>) {
        let Some((needs, option)) = command.deadline() else { return };
        let Some(gets) = patience(&self.plan.stop) else { return };
        // Without a file that could say more, only what somebody wrote is worth a word.
        if needs <= gets || (self.keys == Keys::None && option.is_none()) {
            return;
        }
        let Some(program) = command.program() else { return };
        let (needs, gets) = (needs.as_secs_f64().ceil(), gets.as_secs_f64());
        let by = option.map_or_else(|| " by default".to_owned(), |option| format!(" ({option})"));
        let message = format!(
            "{} in [process.{}] takes up to {needs}s to finish{by}, and is killed after {gets}s",
            program.name, self.plan.name
        );
        let stop = format!("stop = [\"TERM\", \"{needs}s\", \"KILL\"]");
        let help = match (self.keys, option, program.preset) {
            (Keys::None, _, _) => format!("a Procfile.toml can say {stop}"),
            (Keys::All, None, Some(preset)) if self.raw.stop.is_none() => {
                format!("write preset = \"{preset}\", or {stop}")
            }
            _ => format!("write {stop}"),
        };
        let span = option.map_or(self.run.span, |option| self.part(option));
        self.report.warn(Some(span), message, help);
    }

    /// A program that TERM ends at once.
    fn quits(&mut self, command: &Command<'_>) {
        let Some(program) = command.program().filter(|program| program.quits) else { return };
        if self.keys == Keys::None || self.plan.listen.is_empty() || first_signal(&self.plan.stop) != Some(values::TERM)
        {
            return;
        }
        let message = format!(
            "{} in [process.{}] drops its requests when it gets TERM; QUIT lets it finish them",
            program.name, self.plan.name
        );
        let stop = "stop = [\"QUIT\", \"60s\", \"TERM\", \"5s\", \"KILL\"]";
        let help = match program.preset.filter(|_| self.raw.stop.is_none()) {
            Some(preset) => format!("write preset = \"{preset}\", or {stop}"),
            None => format!("write {stop}"),
        };
        self.report.warn(Some(self.run.span), message, help);
    }

    /// Listeners that the program does not take, or that it destroys.
    fn sockets(&mut self, command: &Command<'_>) {
        let Some(program) = command.program() else { return };
        let (name, process) = (program.name, &self.plan.name);
        let span = self.raw.handoff.as_ref().map_or(self.run.span, |handoff| handoff.span);
        if let Some((way_out, shows)) = program.no_fds
            && self.hands_fds_only()
            && !command.args.iter().any(|arg| arg.contains(shows))
        {
            let message = format!("{name} in [process.{process}] does not take LISTEN_FDS");
            let or = if way_out.is_empty() { String::new() } else { format!("{way_out}, or ") };
            self.report.warn(Some(span), message, format!("{or}write handoff = \"intercept\""));
        }
        let is_path = self.plan.listen.iter().any(|l| matches!(l.address, ListenAddress::Unix { .. }));
        if !is_path {
            return;
        }
        if name == "php-fpm" {
            let message = format!("php-fpm in [process.{process}] removes the path of its Unix socket when it ends");
            self.report.warn(Some(self.run.span), message, "let it listen on a TCP address, such as 127.0.0.1:9000");
        }
        if name == "gunicorn" && command.args.iter().any(|arg| arg.contains("fd://")) {
            let message =
                format!("gunicorn in [process.{process}] removes the path of a Unix socket that it got as fd://");
            let help = "leave --bind out and write handoff = \"listen-fds\"";
            self.report.warn(Some(self.run.span), message, help);
        }
    }

    /// Where an option stands, as closely as that can be told.
    fn part(&self, option: &str) -> Span {
        match &self.run.value {
            RawRun::Line(line) => match line.find(option) {
                Some(at) => self.report.part(self.run.span, line, at..at + option.len()),
                None => self.run.span,
            },
            RawRun::Array(_) => self.run.span,
        }
    }
}

/// `celery -A shop beat`, or a worker with a beat in it.
fn is_beat(args: &[String]) -> bool {
    let named = ["-A", "--app", "-n", "--hostname", "-Q", "--queues"];
    let mut before = "";
    args.iter().any(|arg| {
        let value = named.contains(&std::mem::replace(&mut before, arg));
        !value && ["beat", "-B", "--beat"].contains(&arg.as_str())
    })
}

fn first_signal(stop: &[StopStep]) -> Option<i32> {
    stop.iter().find_map(|step| match step {
        StopStep::Signal(signal) => Some(*signal),
        StopStep::Wait(_) | StopStep::Forever => None,
    })
}

/// How long a ladder waits after TERM before it does anything worse; `None`: it does not begin with TERM, or waits without
/// end.
fn patience(stop: &[StopStep]) -> Option<Duration> {
    let mut steps = stop.iter().skip_while(|step| !matches!(step, StopStep::Signal(_)));
    let begins = matches!(steps.next(), Some(StopStep::Signal(values::TERM)));
    let mut patience = Duration::ZERO;
    for step in steps {
        match step {
            StopStep::Wait(wait) => patience += *wait,
            StopStep::Forever => return None,
            StopStep::Signal(_) => break,
        }
    }
    begins.then_some(patience)
}
