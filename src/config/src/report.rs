//! Collects problems while a config is read, so that all of them are told at once.
//!
//! Owns the texts and turns byte spans into lines, columns and excerpts. Reading never stops at a problem: the
//! place that finds one notes it here and goes on with what is left.

use std::ops::RangeInclusive;
use std::path::PathBuf;

use crate::error::{Errors, Problem, Warning};
use crate::source::{Source, SourceKind, Sources};

/// A piece of one file, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Span {
    /// Index into the report's files: 0 is the main file, then the others in their order.
    pub file: usize,
    /// First byte.
    pub start: usize,
    /// One past the last byte.
    pub end: usize,
}

/// A value and where it was written.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct At<T> {
    pub value: T,
    pub span: Span,
}

impl<T> At<T> {
    pub fn new(value: T, span: Span) -> At<T> {
        At { value, span }
    }
}

struct File {
    path: PathBuf,
    text: String,
    kind: SourceKind,
}

struct Found {
    /// `None`: the main file as a whole.
    span: Option<Span>,
    message: String,
    help: Option<String>,
}

/// What was found so far.
pub(crate) struct Report {
    files: Vec<File>,
    problems: Vec<Found>,
    warnings: Vec<Found>,
    /// File and lines of what is no TOML: other faults there are consequences and are not told.
    broken: Vec<(usize, RangeInclusive<usize>)>,
}

impl Report {
    /// A report over one file.
    pub fn of(main: &Source) -> Report {
        let mut report = Report { files: Vec::new(), problems: Vec::new(), warnings: Vec::new(), broken: Vec::new() };
        report.add_file(main);
        report
    }

    /// A report over all files of a plan.
    pub fn over(sources: &Sources) -> Report {
        let mut report = Report::of(&sources.main);
        for other in &sources.others {
            report.add_file(other);
        }
        report
    }

    fn add_file(&mut self, source: &Source) {
        self.files.push(File { path: source.path.clone(), text: source.text.clone(), kind: source.kind });
    }

    /// Notes a problem whose message says it all.
    pub fn problem(&mut self, span: Span, message: impl Into<String>) {
        self.problems.push(Found { span: Some(span), message: message.into(), help: None });
    }

    /// Notes a problem with more to say than fits into one line.
    pub fn problem_with(&mut self, span: Span, message: impl Into<String>, help: impl Into<String>) {
        self.problems.push(Found { span: Some(span), message: message.into(), help: Some(help.into()) });
    }

    /// Notes a problem of the main file as a whole.
    pub fn problem_whole(&mut self, message: impl Into<String>) {
        self.problems.push(Found { span: None, message: message.into(), help: None });
    }

    /// Notes a place where the file is no TOML at all.
    pub fn broken(&mut self, span: Span, message: impl Into<String>) {
        let line = self.position(span).0;
        let text = self.files.get(span.file).map(|f| f.text.as_str()).unwrap_or_default();
        let mut below = text.lines().skip(line.saturating_sub(1)).map(|l| l.trim_start().starts_with('['));
        // Without its header a table's keys end up in the one before.
        let last = match below.next() {
            Some(true) => line + below.take_while(|is_header| !is_header).count(),
            _ => line,
        };
        self.broken.push((span.file, line..=last));
        self.problem(span, message);
    }

    /// Notes a warning.
    pub fn warn(&mut self, span: Option<Span>, message: impl Into<String>, help: impl Into<String>) {
        self.warnings.push(Found { span, message: message.into(), help: Some(help.into()) });
    }

    /// Whether something is wrong so far.
    pub fn has_problems(&self) -> bool {
        !self.problems.is_empty()
    }

    /// Whether a file could not be read as TOML: what is missing then may just be what was not understood.
    pub fn is_broken(&self) -> bool {
        !self.broken.is_empty()
    }

    /// `Procfile.toml:3:10`.
    pub fn place(&self, span: Span) -> String {
        let (line, column) = self.position(span);
        let path = self.files.get(span.file).map(|f| f.path.display().to_string()).unwrap_or_default();
        format!("{path}:{line}:{column}")
    }

    /// The span of a part of a string value, as closely as the way in which it was written allows: with escapes in
    /// it, the parts cannot be told apart and it is the whole value.
    pub fn part(&self, span: Span, value: &str, part: std::ops::Range<usize>) -> Span {
        let raw = self.files.get(span.file).and_then(|f| f.text.get(span.start..span.end));
        match raw.and_then(|raw| raw.find(value)) {
            Some(at) if part.end <= value.len() && !part.is_empty() => {
                Span { file: span.file, start: span.start + at + part.start, end: span.start + at + part.end }
            }
            _ => span,
        }
    }

    /// All problems, or the warnings when there is none.
    pub fn finish(mut self) -> Result<Vec<Warning>, Errors> {
        let mut found = std::mem::take(&mut self.problems);
        // In a line that is no TOML everything else is a consequence.
        found.retain(|f| match f.span {
            Some(span) if !f.message.starts_with(NOT_TOML) => {
                let line = self.position(span).0;
                !self.broken.iter().any(|(file, lines)| *file == span.file && lines.contains(&line))
            }
            _ => true,
        });
        found.sort_by_key(|f| f.span);
        found.dedup_by(|a, b| a.span == b.span && a.message == b.message);
        if found.is_empty() {
            self.warnings.sort_by_key(|f| f.span);
            self.warnings.dedup_by(|a, b| a.span == b.span && a.message == b.message);
            return Ok(self.warnings.iter().map(|f| self.warning(f)).collect());
        }
        Err(Errors { problems: found.iter().map(|f| self.render(f)).collect() })
    }

    fn warning(&self, found: &Found) -> Warning {
        let p = self.render(found);
        Warning { path: p.path, line: p.line, column: p.column, message: p.message, help: p.help }
    }

    fn render(&self, found: &Found) -> Problem {
        let file = found.span.map_or(0, |s| s.file);
        let path = self.files.get(file).map(|f| f.path.clone()).unwrap_or_default();
        let (line, column) = found.span.map_or((0, 0), |s| self.position(s));
        let excerpt = found.span.map(|s| self.excerpt(s)).unwrap_or_default();
        Problem { path, line, column, message: found.message.clone(), help: found.help.clone(), excerpt }
    }

    fn position(&self, span: Span) -> (usize, usize) {
        let Some(file) = self.files.get(span.file) else { return (0, 0) };
        let before = file.text.get(..span.start).unwrap_or(&file.text);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or("").chars().count() + 1;
        (line, column)
    }

    fn excerpt(&self, span: Span) -> String {
        let Some(file) = self.files.get(span.file) else { return String::new() };
        let start = span.start.min(file.text.len());
        let Some(before) = file.text.get(..start) else { return String::new() };
        let line_start = before.rfind('\n').map_or(0, |i| i + 1);
        let rest = file.text.get(line_start..).unwrap_or("");
        let line = rest.lines().next().unwrap_or("");
        let skipped = before.get(line_start..).unwrap_or("").chars().count();
        let marked = file.text.get(start..span.end.min(file.text.len())).unwrap_or("");
        let marked = marked.lines().next().unwrap_or("").chars().count().max(1);
        let mut shown: Vec<char> = line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        // The end of a line, where the error may be, is one or two characters behind it.
        let mut from = skipped.min(shown.len());
        let mut width = marked.min(shown.len().saturating_sub(skipped)).max(1);
        if file.kind == SourceKind::EnvFile {
            // What stands right of the `=` may be a secret, and messages end up in logs.
            // A line without one may be the second line of a secret.
            let named = shown.iter().position(|c| *c == '=').map_or(0, |equals| equals + 1);
            shown.truncate(named);
            shown.push('…');
            from = from.min(named);
            width = width.min(shown.len() - from);
        }
        if shown.len() > LONGEST_LINE {
            let cut = from.saturating_sub(LONGEST_LINE / 2).min(shown.len() - LONGEST_LINE);
            shown = shown.get(cut..cut + LONGEST_LINE).unwrap_or(&[]).to_vec();
            from -= cut;
            width = width.min(LONGEST_LINE - from).max(1);
        }
        let shown: String = shown.into_iter().collect();
        format!("{}\n{}^{}", shown.trim_end(), " ".repeat(from), "~".repeat(width - 1))
    }
}

/// How every message about a text that is no TOML begins.
pub(crate) const NOT_TOML: &str = "not valid TOML: ";

/// Longer source lines are shown in part.
const LONGEST_LINE: usize = 160;
