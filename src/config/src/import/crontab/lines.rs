//! What a line of a crontab is: a comment, a setting, or a job. As Debian's cron decides it: a setting first.

use crate::schedule::{Piece, pieces};
use crate::values::is_account;

use super::CrontabKind;

/// One line.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Content {
    /// Nothing but blanks.
    Blank,
    /// The text after the `#`s place, with it.
    Comment(String),
    /// `NAME = value`.
    Setting(Setting),
    /// A job.
    Entry(Entry),
    /// Neither, and why: the bytes that are wrong or missing.
    Nothing(std::ops::Range<usize>, &'static str),
}

/// An environment line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Setting {
    pub name: String,
    pub value: String,
}

/// A job's line in pieces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Where the schedule stands: five fields or a macro.
    pub schedule: std::ops::Range<usize>,
    /// The sixth field of a system crontab.
    pub user: Option<String>,
    /// Where the command begins.
    pub command: usize,
    /// Cronie's `-` in front: no line in syslog.
    pub quiet: bool,
}

/// Reads a line without its end.
pub(crate) fn read(line: &str, kind: CrontabKind) -> Content {
    let text = line.trim_start_matches([' ', '\t']);
    if text.trim().is_empty() {
        return Content::Blank;
    }
    if text.starts_with('#') {
        return Content::Comment(text.trim_end().to_owned());
    }
    match setting(text) {
        Some(setting) => Content::Setting(setting),
        None => entry(line, kind),
    }
}

/// `name = value`; blanks around the `=` are optional, and one pair of quotes around either is taken off.
fn setting(text: &str) -> Option<Setting> {
    let (name, rest) = match text.chars().next()? {
        quote @ ('"' | '\'') => {
            let (name, rest) = text.get(1..)?.split_once(quote)?;
            (name, rest)
        }
        _ => text.split_at(text.find(|c: char| c.is_whitespace() || c == '=')?),
    };
    let value = rest.trim_start().strip_prefix('=')?.trim_start();
    if name.is_empty() || name.contains('=') {
        return None;
    }
    let value = match value.chars().next() {
        Some(quote @ ('"' | '\'')) => {
            // Something after the closing quote makes it no setting.
            let (value, after) = value.get(1..)?.split_once(quote)?;
            after.trim().is_empty().then_some(value)?
        }
        _ => value.trim_end(),
    };
    Some(Setting { name: name.to_owned(), value: value.to_owned() })
}

fn entry(line: &str, kind: CrontabKind) -> Content {
    let words = pieces(line);
    let Some(first) = words.first() else { return Content::Blank };
    let quiet = first.text.len() > 1 && first.text.starts_with('-');
    let start = first.at + usize::from(quiet);
    let fields = if line.get(start..).is_some_and(|text| text.starts_with('@')) { 1 } else { 5 };
    let (Some(last), rest) = (words.get(fields - 1), words.get(fields..).unwrap_or_default()) else {
        return Content::Nothing(
            first.at..line.trim_end().len(),
            "it is neither NAME=value nor five fields and a command",
        );
    };
    let schedule = start..last.span().end;
    let (user, command) = match (kind, rest) {
        (CrontabKind::User, [command, ..]) => (None, command),
        (CrontabKind::System, [user, _, ..]) if !is_account(user.text) => {
            return Content::Nothing(
                user.span(),
                "no user has this name; without --system the sixth word is the command",
            );
        }
        (CrontabKind::System, [user, command, ..]) => (Some(user.text.to_owned()), command),
        (CrontabKind::System, [user]) => {
            let why = "there is no command after the user; without --system the sixth word is the command";
            return Content::Nothing(user.span(), why);
        }
        (CrontabKind::User | CrontabKind::System, []) => {
            return Content::Nothing(schedule, "there is no command after the schedule");
        }
    };
    Content::Entry(Entry { schedule, user, command: command.at, quiet })
}

/// The words of a piece of a line, with their places in the line.
pub(crate) fn words_of(line: &str, span: std::ops::Range<usize>) -> Vec<Piece<'_>> {
    let mut words = pieces(line.get(span.clone()).unwrap_or_default());
    for word in &mut words {
        word.at += span.start;
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(name: &str, value: &str) -> Content {
        Content::Setting(Setting { name: name.to_owned(), value: value.to_owned() })
    }

    #[test]
    fn a_setting_has_optional_blanks_and_quotes_and_its_value_is_literal() {
        for (line, name, value) in [
            ("A=b", "A", "b"),
            ("  A = b c  ", "A", "b c"),
            ("A='b c '", "A", "b c "),
            ("A=\"it's\"", "A", "it's"),
            ("\"A\" = b", "A", "b"),
            ("A=$HOME/bin # c", "A", "$HOME/bin # c"),
            ("MAILTO=", "MAILTO", ""),
            ("MAILTO=\"\"", "MAILTO", ""),
            ("A=b=c", "A", "b=c"),
            ("TZ=UTC 0 0 * * * cmd", "TZ", "UTC 0 0 * * * cmd"),
        ] {
            assert_eq!(read(line, CrontabKind::User), set(name, value), "{line}");
        }
    }

    #[test]
    fn what_is_no_setting_is_a_job_with_or_without_a_user() {
        let entry = |schedule, user: Option<&str>, command, quiet| {
            Content::Entry(Entry { schedule, user: user.map(str::to_owned), command, quiet })
        };
        assert_eq!(read("0 5 * * 1\ta=b c", CrontabKind::User), entry(0..9, None, 10, false));
        assert_eq!(read(" @daily  root cmd x", CrontabKind::System), entry(1..7, Some("root"), 14, false));
        assert_eq!(read("-*/5 * * * * root cmd", CrontabKind::System), entry(1..12, Some("root"), 18, true));
        assert!(matches!(read("0 5 * * 1", CrontabKind::User), Content::Nothing(..)));
        assert!(matches!(read("0 5 * * 1 cmd", CrontabKind::System), Content::Nothing(..)));
        assert!(matches!(read("what is this", CrontabKind::User), Content::Nothing(..)));
        assert_eq!(read(" \t", CrontabKind::User), Content::Blank);
        assert_eq!(read("  # a ", CrontabKind::User), Content::Comment("# a".to_owned()));
    }
}
