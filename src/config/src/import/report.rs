//! What an import gives: the config, and what has to be said about it.

use std::fmt;
use std::ops::Range;

use crate::schedule::excerpt;

/// What came of an import.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Import {
    /// The text of a Procfile.toml.
    pub config: String,
    /// The jobs in it, in the order of the input.
    pub jobs: Vec<ImportedJob>,
    /// What is not as it was, in the order of the input; what is about all of it comes first.
    pub remarks: Vec<Remark>,
}

/// A job of the config, and where it comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImportedJob {
    /// Its name in the config.
    pub name: String,
    /// Its line in the input, from 1.
    pub line: usize,
}

/// How much a remark weighs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Weight {
    /// A line that should be a job is none in the config.
    Lost,
    /// It is in the config, but svd does something otherwise.
    Differs,
    /// It does in svd what it did before, which may not be what was meant.
    Note,
}

impl Weight {
    /// In one word, for programs.
    pub fn word(self) -> &'static str {
        match self {
            Weight::Lost => "lost",
            Weight::Differs => "differs",
            Weight::Note => "note",
        }
    }

    /// As people read it.
    fn told(self) -> &'static str {
        match self {
            Weight::Lost => "not translated",
            Weight::Differs => "differs",
            Weight::Note => "note",
        }
    }
}

/// One thing to say about the input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remark {
    /// How much it weighs.
    pub weight: Weight,
    /// Line, from 1; 0 when the input as a whole is meant.
    pub line: usize,
    /// Column, from 1, counted in characters; 0 when the input as a whole is meant.
    pub column: usize,
    /// What it is, in one line.
    pub message: String,
    /// The way out.
    pub help: String,
    /// The line and below it `^~~~` under what is meant; empty when the input as a whole is meant.
    pub excerpt: String,
}

impl Remark {
    /// About the input as a whole.
    pub(crate) fn whole(weight: Weight, message: impl Into<String>, help: impl Into<String>) -> Remark {
        let (message, help) = (message.into(), help.into());
        Remark { weight, line: 0, column: 0, message, help, excerpt: String::new() }
    }

    /// About a piece of a line, in bytes.
    pub(crate) fn at(weight: Weight, line: Line<'_>, span: Range<usize>, told: Told) -> Remark {
        let column = line.text.get(..span.start).map_or(0, |before| before.chars().count()) + 1;
        let Told { message, help } = told;
        Remark { weight, line: line.number, column, message, help, excerpt: excerpt(line.text, &span) }
    }
}

/// A line of the input.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Line<'t> {
    /// From 1.
    pub number: usize,
    /// Without its end.
    pub text: &'t str,
}

/// What is said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Told {
    pub message: String,
    pub help: String,
}

impl Told {
    pub fn new(message: impl Into<String>, help: impl Into<String>) -> Told {
        Told { message: message.into(), help: help.into() }
    }
}

impl fmt::Display for Remark {
    /// As compilers say it, without the name of the file, which the caller knows.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line > 0 {
            write!(f, "{}:{}: ", self.line, self.column)?;
        }
        write!(f, "{}: {}", self.weight.told(), self.message)?;
        for line in self.excerpt.lines() {
            write!(f, "\n  {line}")?;
        }
        if !self.help.is_empty() {
            write!(f, "\n  help: {}", self.help)?;
        }
        Ok(())
    }
}
