//! Command lines: split into words as a shell would, and variables in words expanded.
//!
//! A word keeps its variables for later: `$$` stands for a dollar sign, `${NAME}` and `${NAME:-default}` for a
//! variable. Splitting writes a dollar sign that was quoted or escaped as `$$`, so that the quotes need not be kept.
//! What only a shell can do is refused here, never passed on as plain text.

use std::collections::BTreeMap;
use std::ops::Range;

/// A command line in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Split {
    /// The words, encoded as [`expand`] reads them.
    pub words: Vec<String>,
    /// The variables in them.
    pub variables: Vec<Variable>,
}

/// A variable in a command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Variable {
    pub name: String,
    pub default: Option<String>,
    /// Where it stands in the line, in bytes.
    pub range: Range<usize>,
    pub quoting: Quoting,
}

/// Whether a variable stands in double quotes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Quoting {
    Bare,
    Double,
}

/// Why a line cannot be split.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SplitError {
    /// It needs a shell, because of this.
    NeedsShell { what: String, range: Range<usize> },
    /// A quote without its end.
    OpenQuote { range: Range<usize> },
    /// Nothing to run.
    Empty,
}

/// A variable that is neither set nor has a default.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("${variable} is not set and has no default; set it or write ${{{variable}:-default}}")]
pub struct ExpandError {
    /// Its name.
    pub variable: String,
}

/// First words that are not programs, or not only: a shell has to run them.
const BUILTINS: &[&str] = &[
    "exec", "cd", "export", "source", ".", "eval", "set", "unset", "ulimit", "umask", "trap", "wait", "if", "while",
    "until", "for", "case", "command", "builtin", "type", "alias", ":", "{", "!",
];

/// Splits a line into words.
pub(crate) fn split(line: &str) -> Result<Split, SplitError> {
    let mut splitter = Splitter { line, at: 0, words: Vec::new(), word: None, variables: Vec::new() };
    splitter.run()?;
    let Splitter { words, variables, .. } = splitter;
    match words.first() {
        None => Err(SplitError::Empty),
        Some(first) if BUILTINS.contains(&first.as_str()) => {
            let start = line.len() - line.trim_start().len();
            let end = line.get(start..).and_then(|l| l.find(char::is_whitespace)).map_or(line.len(), |n| start + n);
            Err(SplitError::NeedsShell { what: format!("the shell's own command \"{first}\""), range: start..end })
        }
        Some(_) => Ok(Split { words, variables }),
    }
}

struct Splitter<'a> {
    line: &'a str,
    at: usize,
    words: Vec<String>,
    /// The word that is being read; `Some("")` after an empty pair of quotes.
    word: Option<String>,
    variables: Vec<Variable>,
}

impl Splitter<'_> {
    fn run(&mut self) -> Result<(), SplitError> {
        while let Some(c) = self.peek() {
            let start = self.at;
            match c {
                '\n' | '|' | '&' | ';' | '<' | '>' | '(' | ')' | '`' => {
                    let what =
                        if c == '\n' { "a line break".to_owned() } else { format!("the shell operator \"{c}\"") };
                    return Err(SplitError::NeedsShell { what, range: start..start + 1 });
                }
                '*' | '?' => {
                    let what = format!("the wildcard \"{c}\"");
                    return Err(SplitError::NeedsShell { what, range: start..start + 1 });
                }
                '~' | '#' if self.word.is_none() => {
                    return Err(SplitError::NeedsShell {
                        what: format!("a word with \"{c}\" in front"),
                        range: start..start + 1,
                    });
                }
                '=' if self.words.is_empty() && self.word.as_deref().is_some_and(is_assignable) => {
                    let name = self.word.clone().unwrap_or_default();
                    let range = start.saturating_sub(name.len())..start + 1;
                    return Err(SplitError::NeedsShell { what: format!("the assignment \"{name}=\""), range });
                }
                c if c.is_whitespace() => {
                    self.next();
                    self.end_word();
                }
                '\'' => self.single_quoted()?,
                '"' => self.double_quoted()?,
                '\\' => {
                    self.next();
                    match self.next() {
                        Some(c) => self.push_literal(c),
                        None => return Err(SplitError::OpenQuote { range: start..self.at }),
                    }
                }
                '$' => self.variable(Quoting::Bare)?,
                c => {
                    self.next();
                    self.push_literal(c);
                }
            }
        }
        self.end_word();
        Ok(())
    }

    fn peek(&self) -> Option<char> {
        self.line.get(self.at..).and_then(|rest| rest.chars().next())
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += c.len_utf8();
        Some(c)
    }

    fn end_word(&mut self) {
        self.words.extend(self.word.take());
    }

    fn push_literal(&mut self, c: char) {
        let word = self.word.get_or_insert_default();
        word.push(c);
        if c == '$' {
            word.push('$');
        }
    }

    fn single_quoted(&mut self) -> Result<(), SplitError> {
        let start = self.at;
        self.next();
        self.word.get_or_insert_default();
        while let Some(c) = self.next() {
            if c == '\'' {
                return Ok(());
            }
            self.push_literal(c);
        }
        Err(SplitError::OpenQuote { range: start..self.at })
    }

    fn double_quoted(&mut self) -> Result<(), SplitError> {
        let start = self.at;
        self.next();
        self.word.get_or_insert_default();
        while let Some(c) = self.peek() {
            match c {
                '"' => {
                    self.next();
                    return Ok(());
                }
                '`' => {
                    let what = "the shell operator \"`\"".to_owned();
                    return Err(SplitError::NeedsShell { what, range: self.at..self.at + 1 });
                }
                '$' => self.variable(Quoting::Double)?,
                '\\' => {
                    self.next();
                    match self.next() {
                        Some(c @ ('"' | '\\' | '$' | '`')) => self.push_literal(c),
                        Some('\n') => {}
                        Some(c) => {
                            self.push_literal('\\');
                            self.push_literal(c);
                        }
                        None => break,
                    }
                }
                c => {
                    self.next();
                    self.push_literal(c);
                }
            }
        }
        Err(SplitError::OpenQuote { range: start..self.at })
    }

    /// At a `$`: `$NAME`, `${NAME}`, `${NAME:-default}`, or a lone dollar sign.
    fn variable(&mut self, quoting: Quoting) -> Result<(), SplitError> {
        let start = self.at;
        self.next();
        let rest = self.line.get(self.at..).unwrap_or("");
        let (name, default, used) = match rest.chars().next() {
            Some('{') => {
                let inner = rest.get(1..).unwrap_or("");
                let end = inner.find('}');
                let body = end.and_then(|end| inner.get(..end)).unwrap_or("");
                match (end, braced(body)) {
                    (Some(end), Some((name, default))) => (name, default, end + 2),
                    (end, _) => {
                        let stop = end.map_or(self.line.len(), |end| self.at + end + 2);
                        let what = format!("\"{}\"", self.line.get(start..stop).unwrap_or("${"));
                        return Err(SplitError::NeedsShell { what, range: start..stop });
                    }
                }
            }
            Some(c) if is_name_start(c) => {
                let end = rest.find(|c| !is_name_char(c)).unwrap_or(rest.len());
                (rest.get(..end).unwrap_or(""), None, end)
            }
            Some(c) if c.is_ascii_digit() || "(@*#?!$-'\"".contains(c) && !(c == '"' && quoting == Quoting::Double) => {
                let what = format!("\"${c}\"");
                return Err(SplitError::NeedsShell { what, range: start..self.at + c.len_utf8() });
            }
            _ => {
                self.push_literal('$');
                return Ok(());
            }
        };
        self.at += used;
        let word = self.word.get_or_insert_default();
        match default {
            Some(default) => word.push_str(&format!("${{{name}:-{default}}}")),
            None => word.push_str(&format!("${{{name}}}")),
        }
        let range = start..self.at;
        let (name, default) = (name.to_owned(), default.map(str::to_owned));
        self.variables.push(Variable { name, default, range, quoting });
        Ok(())
    }
}

/// `NAME` or `NAME:-default`. Quotes, variables and braces in the default are for a shell.
fn braced(body: &str) -> Option<(&str, Option<&str>)> {
    let end = body.find(|c| !is_name_char(c)).unwrap_or(body.len());
    let (name, rest) = body.split_at_checked(end)?;
    if !name.starts_with(is_name_start) {
        return None;
    }
    if rest.is_empty() {
        return Some((name, None));
    }
    let default = rest.strip_prefix(":-")?;
    (!default.contains(['$', '`', '"', '\'', '\\', '{'])).then_some((name, Some(default)))
}

fn is_name_start(c: char) -> bool {
    c.is_ascii_alphabetic() || c == '_'
}

fn is_name_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

fn is_assignable(word: &str) -> bool {
    word.starts_with(is_name_start) && word.chars().all(is_name_char)
}

/// Replaces the variables of words with their values. A value never splits a word, and what it contains is not
/// looked at again. As in a shell, `:-` gives the default for an unset and for an empty variable; an empty variable
/// without a default is empty.
pub fn expand(words: &[String], env: &BTreeMap<String, String>) -> Result<Vec<String>, ExpandError> {
    words.iter().map(|word| expand_word(word, |name| env.get(name).cloned())).collect()
}

/// As [`expand`], for one word, with the value of each variable from a function.
pub(crate) fn expand_word(word: &str, mut value: impl FnMut(&str) -> Option<String>) -> Result<String, ExpandError> {
    let mut out = String::with_capacity(word.len());
    let mut rest = word;
    while let Some(at) = rest.find('$') {
        out.push_str(rest.get(..at).unwrap_or(""));
        rest = rest.get(at + 1..).unwrap_or("");
        let (name, default, used) = if rest.starts_with('$') {
            out.push('$');
            rest = rest.get(1..).unwrap_or("");
            continue;
        } else if let Some(inner) = rest.strip_prefix('{') {
            let end = inner.find('}').unwrap_or(inner.len());
            match braced(inner.get(..end).unwrap_or("")) {
                Some((name, default)) => (name, default, end + 2),
                None => ("", None, 0),
            }
        } else if rest.starts_with(is_name_start) {
            let end = rest.find(|c| !is_name_char(c)).unwrap_or(rest.len());
            (rest.get(..end).unwrap_or(""), None, end)
        } else {
            ("", None, 0)
        };
        if name.is_empty() {
            // No word that came out of `split` has this; a dollar sign is a dollar sign then.
            out.push('$');
            continue;
        }
        rest = rest.get(used..).unwrap_or("");
        match (value(name), default) {
            (Some(value), Some(default)) if value.is_empty() => out.push_str(default),
            (Some(value), _) => out.push_str(&value),
            (None, Some(default)) => out.push_str(default),
            (None, None) => return Err(ExpandError { variable: name.to_owned() }),
        }
    }
    out.push_str(rest);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str, words: &[&str]) {
        let env = [("A", "one two"), ("E", ""), ("PORT", "5000")];
        let env = env.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
        let split = split(line).unwrap_or_else(|e| panic!("{line}: {e:?}"));
        assert_eq!(expand(&split.words, &env).unwrap(), words, "{line}");
    }

    #[test]
    fn a_line_is_split_and_expanded_as_a_shell_would_without_splitting_values() {
        check("gunicorn -w 4 shop:app", &["gunicorn", "-w", "4", "shop:app"]);
        check("a $A b", &["a", "one two", "b"]);
        check("a \"$A\"b '$A' \\$A", &["a", "one twob", "$A", "$A"]);
        check("a ${X:-de fault} ${E:-d} \"${E}\"", &["a", "de fault", "d", ""]);
        check("a ''  \"\" x\"y z\"", &["a", "", "", "xy z"]);
        check("a 'q\"q' \"q'q\" \"a\\n\\\"\"", &["a", "q\"q", "q'q", "a\\n\""]);
        check("a 5$ \"5$\" a=b --x=y", &["a", "5$", "5$", "a=b", "--x=y"]);
        check("srv --port=$PORT:${PORT}x$PORT\"z\"", &["srv", "--port=5000:5000x5000z"]);
        check("grep 'a|b' \"*\" \\*", &["grep", "a|b", "*", "*"]);
    }

    #[test]
    fn what_only_a_shell_can_do_is_refused_with_its_place() {
        let cases = [
            ("a | b", "the shell operator \"|\"", 2..3),
            ("a && b", "the shell operator \"&\"", 2..3),
            ("a $(b)", "\"$(\"", 2..4),
            ("a \"`b`\"", "the shell operator \"`\"", 3..4),
            ("ls *.py", "the wildcard \"*\"", 3..4),
            ("A=1 b", "the assignment \"A=\"", 0..2),
            ("exec b", "the shell's own command \"exec\"", 0..4),
            ("a ${B%x}", "\"${B%x}\"", 2..8),
            ("a ${B", "\"${B\"", 2..5),
            ("a $1", "\"$1\"", 2..4),
            ("a ~/b", "a word with \"~\" in front", 2..3),
            ("a\nb", "a line break", 1..2),
        ];
        for (line, what, range) in cases {
            assert_eq!(split(line), Err(SplitError::NeedsShell { what: what.to_owned(), range }), "{line}");
        }
        assert_eq!(split("a 'b"), Err(SplitError::OpenQuote { range: 2..4 }));
        assert_eq!(split("  "), Err(SplitError::Empty));
    }

    #[test]
    fn an_unset_variable_without_default_is_an_error_that_names_it() {
        let split = split("a $NOPE").unwrap();
        let error = expand(&split.words, &BTreeMap::new()).unwrap_err();
        assert_eq!(error.to_string(), "$NOPE is not set and has no default; set it or write ${NOPE:-default}");
    }
}
