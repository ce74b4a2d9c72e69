//! Where output goes and what can be shown there. Decided once, at the start; nothing else asks about terminals.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal, Write};

use jiff::Zoned;
use serde::Serialize;

use crate::args::{Color, Global};
use crate::failure::Failure;
use crate::now::Now;
use crate::view::Look;

/// What standard output is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// A terminal: escape sequences of others must not reach it.
    Terminal,
    /// A file or pipe: gets the bytes as they are.
    Other,
}

/// Whether to colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Paint {
    Colors,
    Plain,
}

/// For people or for programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Human,
    Json,
}

/// Standard output and error.
pub(crate) struct Screen<'a> {
    pub out: &'a mut dyn Write,
    pub err: &'a mut dyn Write,
    pub place: Place,
    /// Whether standard error is a terminal, where progress is shown.
    pub err_place: Place,
    pub paint: Paint,
    pub format: Format,
    /// Columns; `None` where lines may be of any length.
    pub width: Option<u16>,
}

impl<'a> Screen<'a> {
    /// For the real standard output and error.
    pub fn new(
        out: &'a mut dyn Write,
        err: &'a mut dyn Write,
        global: &Global,
        env: &BTreeMap<String, String>,
    ) -> Screen<'a> {
        let place = if io::stdout().is_terminal() { Place::Terminal } else { Place::Other };
        let err_place = if io::stderr().is_terminal() { Place::Terminal } else { Place::Other };
        let width = match place {
            Place::Terminal => terminal_size::terminal_size_of(io::stdout()).map(|(width, _)| width.0),
            Place::Other => None,
        };
        let format = if global.json { Format::Json } else { Format::Human };
        Screen { out, err, place, err_place, paint: paint(global.color, place, env), format, width }
    }

    /// Prints text that ends with its newline.
    pub fn print(&mut self, text: &str) -> Result<(), Failure> {
        self.print_bytes(text.as_bytes())
    }

    /// Prints bytes as they are.
    pub fn print_bytes(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.out.write_all(bytes)?;
        Ok(self.out.flush()?)
    }

    /// Prints a value as one line of JSON.
    pub fn print_json<T: Serialize>(&mut self, value: &T) -> Result<(), Failure> {
        let mut line = serde_json::to_vec(value).map_err(|error| Failure::Failed(error.to_string()))?;
        line.push(b'\n');
        self.print_bytes(&line)
    }

    /// A remark to people, on standard error. That it cannot be written changes nothing.
    pub fn note(&mut self, text: &str) {
        let _nobody_reads = writeln!(self.err, "{text}").and_then(|()| self.err.flush());
    }

    /// Whether to colour what goes to standard error.
    pub fn err_paint(&self) -> Paint {
        match self.err_place {
            Place::Terminal => self.paint,
            Place::Other => Paint::Plain,
        }
    }

    /// What time it is, in the user's zone.
    pub fn now(&self) -> Zoned {
        Zoned::now()
    }

    /// How to show something now.
    pub fn look(&self) -> Look {
        Look { now: Now::here(), paint: self.paint, width: self.width }
    }
}

fn paint(asked: Color, place: Place, env: &BTreeMap<String, String>) -> Paint {
    // no-color.org: set and not empty, whatever the value. TERM=dumb is a terminal that shows no colours.
    let refused =
        env.get("NO_COLOR").is_some_and(|value| !value.is_empty()) || env.get("TERM").is_some_and(|t| t == "dumb");
    match (asked, place) {
        (Color::Always, _) => Paint::Colors,
        (Color::Auto, Place::Terminal) if !refused => Paint::Colors,
        (Color::Auto | Color::Never, _) => Paint::Plain,
    }
}

impl Paint {
    /// The text in a colour: a parameter of SGR, `31` is red.
    pub fn apply(self, sgr: &str, text: &str) -> String {
        match self {
            Paint::Colors if !sgr.is_empty() => format!("\x1b[{sgr}m{text}\x1b[0m"),
            Paint::Colors | Paint::Plain => text.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colour_is_for_terminals_unless_asked_for_or_refused() {
        let with = |name: &str, value: &str| BTreeMap::from([(name.to_owned(), value.to_owned())]);
        let none = BTreeMap::new();
        assert_eq!(paint(Color::Auto, Place::Terminal, &none), Paint::Colors);
        assert_eq!(paint(Color::Auto, Place::Other, &none), Paint::Plain);
        assert_eq!(paint(Color::Auto, Place::Terminal, &with("NO_COLOR", "1")), Paint::Plain);
        assert_eq!(paint(Color::Auto, Place::Terminal, &with("NO_COLOR", "")), Paint::Colors);
        assert_eq!(paint(Color::Auto, Place::Terminal, &with("TERM", "dumb")), Paint::Plain);
        assert_eq!(paint(Color::Always, Place::Other, &with("NO_COLOR", "1")), Paint::Colors);
        assert_eq!(paint(Color::Never, Place::Terminal, &none), Paint::Plain);
    }
}
