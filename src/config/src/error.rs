//! Errors and warnings as users see them: place, message, source line, caret and the way out.
//!
//! This file owns the wording of nothing: messages are made where the fault is found. It owns how they look.

use std::fmt;
use std::path::PathBuf;

/// One thing that is wrong with a config. A plain struct: callers turn it into JSON as they like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The file, as its [`crate::Source`] names it.
    pub path: PathBuf,
    /// Line, from 1; 0 when the file as a whole is meant.
    pub line: usize,
    /// Column, from 1, counted in characters; 0 when the file as a whole is meant.
    pub column: usize,
    /// One line that is enough to act on.
    pub message: String,
    /// What else there is to say: allowed values, an example, the way out.
    pub help: Option<String>,
    /// The source line and below it `^~~~` under the offending text; empty when the file as a whole is meant.
    /// Values of env files are left out of it.
    pub excerpt: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_place(f, &self.path, self.line, self.column)?;
        write!(f, ": {}", self.message)?;
        for line in self.excerpt.lines() {
            write!(f, "\n  {line}")?;
        }
        if let Some(help) = &self.help {
            write!(f, "\n  help: {help}")?;
        }
        Ok(())
    }
}

/// All that is wrong, sorted by file and position. Never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Errors {
    /// The problems: first those of the main file, then those of the others in their order.
    pub problems: Vec<Problem>,
}

impl fmt::Display for Errors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, problem) in self.problems.iter().enumerate() {
            if i > 0 {
                writeln!(f)?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Errors {}

/// Something that works but is probably not meant, or is dangerous.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// The file, as its [`crate::Source`] names it.
    pub path: PathBuf,
    /// Line, from 1; 0 when the file as a whole is meant.
    pub line: usize,
    /// Column, from 1, in characters; 0 when the file as a whole is meant.
    pub column: usize,
    /// What it is, in one line.
    pub message: String,
    /// The way out.
    pub help: Option<String>,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_place(f, &self.path, self.line, self.column)?;
        write!(f, ": warning: {}", self.message)?;
        if let Some(help) = &self.help {
            write!(f, "; {help}")?;
        }
        Ok(())
    }
}

fn write_place(f: &mut fmt::Formatter<'_>, path: &std::path::Path, line: usize, column: usize) -> fmt::Result {
    write!(f, "{}", path.display())?;
    if line > 0 {
        write!(f, ":{line}:{column}")?;
    }
    Ok(())
}
