//! Files of `KEY=value` lines, by foreman's rules.
//!
//! A value is what follows the first `=`, without blanks at its end. In single quotes it is literal; in double
//! quotes `\n` is a line break and a backslash before any other character is dropped. Blank lines and lines that
//! begin with `#` are skipped; `export ` in front of a name is tolerated; a `#` within a value belongs to it.
//! Values never appear in messages.

use crate::report::{At, Report, Span};

/// One variable.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Variable {
    /// Its name, with its place.
    pub name: At<String>,
    /// Its value.
    pub value: String,
}

/// Reads a text. Lines that cannot be read are noted; of a name that is given twice the later one comes later.
pub(crate) fn read(text: &str, file: usize, report: &mut Report) -> Vec<Variable> {
    let mut variables = Vec::new();
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        let at = start;
        start += line.len();
        let body = line.trim();
        let indent = line.len() - line.trim_start().len();
        if body.is_empty() || body.starts_with('#') {
            continue;
        }
        let here = |from: usize, to: usize| Span { file, start: at + indent + from, end: at + indent + to };
        let skipped = body.strip_prefix("export ").map_or(0, |rest| body.len() - rest.trim_start().len());
        let rest = body.get(skipped..).unwrap_or("");
        let Some((name, raw)) = rest.split_once('=') else {
            let help = "lines are KEY=value, comments begin with #; a value cannot go on in the next line";
            report.problem_with(here(0, body.len().min(1)), "this line has no \"=\"", help);
            continue;
        };
        let name_span = here(skipped, skipped + name.len().max(1));
        if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
            let help = "names have letters, digits and _, and no blanks stand around the =";
            report.problem_with(name_span, "this is not the name of a variable", help);
            continue;
        }
        match unquote(raw) {
            Ok(value) if !value.contains('\0') => {
                variables.push(Variable { name: At::new(name.to_owned(), name_span), value });
            }
            Ok(_) => report.problem(name_span, format!("the value of {name} has a NUL character")),
            Err(Quote::Open) => {
                report.problem(
                    name_span,
                    format!("the value of {name} begins with a quote that is not closed in its line"),
                );
            }
            Err(Quote::Trailing) => {
                report.problem(name_span, format!("the value of {name} goes on after its closing quote"));
            }
        }
    }
    variables
}

enum Quote {
    Open,
    Trailing,
}

fn unquote(raw: &str) -> Result<String, Quote> {
    let quote = match raw.chars().next() {
        Some(c @ ('\'' | '"')) => c,
        _ => return Ok(raw.to_owned()),
    };
    let mut value = String::new();
    let mut chars = raw.chars().skip(1);
    while let Some(c) = chars.next() {
        if c == quote {
            return if chars.next().is_none() { Ok(value) } else { Err(Quote::Trailing) };
        }
        match c {
            '\\' if quote == '"' => match chars.next() {
                Some('n') => value.push('\n'),
                Some(c) => value.push(c),
                None => return Err(Quote::Open),
            },
            c => value.push(c),
        }
    }
    Err(Quote::Open)
}
