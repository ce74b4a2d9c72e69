//! A job's command: what cron hands to the shell, what to its standard input, and whether it needs the shell at all.

use crate::words;

/// A command and its standard input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Command {
    /// As the shell gets it.
    pub line: String,
    /// What follows the first bare `%`.
    pub stdin: Option<String>,
    /// Where in the text that `%` is.
    pub percent: Option<usize>,
    /// Where in the text `\\` stands, of which Debian's cron makes one.
    pub doubled: Option<usize>,
}

/// Splits at the first bare `%`, as Debian's cron does it.
pub(crate) fn split(text: &str) -> Command {
    let mut command = Command { line: String::new(), stdin: None, percent: None, doubled: None };
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        if escaped {
            escaped = false;
            if c == '%' || c == '\\' {
                command.line.pop();
            }
            if c == '\\' {
                command.doubled = command.doubled.or(at.checked_sub(1));
            }
        } else if c == '\\' {
            escaped = true;
        } else if c == '%' {
            command.percent = Some(at);
            command.stdin = text.get(at + 1..).map(input).filter(|input| !input.is_empty());
            break;
        }
        command.line.push(c);
    }
    // What a shell sees does not change by blanks at the end, unless the last one is escaped.
    if !command.line.ends_with("\\ ") && !command.line.ends_with("\\\t") {
        command.line.truncate(command.line.trim_end_matches([' ', '\t']).len());
    }
    command
}

/// The rest: `%` is a newline, `\%` a percent sign, and at the end is a newline.
fn input(text: &str) -> String {
    let mut out = String::new();
    let mut escaped = false;
    for c in text.chars() {
        let c = match (escaped, c) {
            (true, '%') => '%',
            (true, c) => {
                out.push('\\');
                c
            }
            (false, '%') => '\n',
            (false, c) => c,
        };
        escaped = c == '\\';
        if !escaped {
            out.push(c);
        }
    }
    if escaped {
        out.push('\\');
    }
    if !out.is_empty() && !out.ends_with('\n') {
        out.push('\n');
    }
    out
}

/// How svd runs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Run {
    /// Words without a shell.
    Words(String),
    /// A line for /bin/sh.
    Shell(String),
    /// A line for another shell.
    Array(Vec<String>),
}

/// Shells of which nothing is lost when a plain command does without them.
const PLAIN_SHELLS: &[&str] =
    &["/bin/sh", "/bin/bash", "/bin/dash", "/usr/bin/sh", "/usr/bin/bash", "/usr/bin/dash", "/usr/local/bin/bash"];

/// Programs that are something else, or nothing, outside a shell.
const SHELL_WORDS: &[&str] = &[
    "alias", "bg", "bind", "break", "continue", "declare", "dirs", "disown", "echo", "fc", "fg", "function", "getopts",
    "hash", "history", "jobs", "kill", "let", "local", "logout", "popd", "printf", "pushd", "pwd", "read", "readonly",
    "return", "select", "shift", "shopt", "suspend", "test", "time", "times", "typeset", "unalias",
];

/// Chooses: a command that means the same without a shell does without.
pub(crate) fn choose(line: &str, shell: &str, reads_a_file_first: bool) -> Run {
    let plain = |c: char| c.is_ascii_alphanumeric() || " _./:,=@+-".contains(c);
    let first = line.split(' ').next().unwrap_or_default();
    let needs_none = line.chars().all(plain) && words::split(line).is_ok() && !SHELL_WORDS.contains(&first);
    if needs_none && PLAIN_SHELLS.contains(&shell) && !reads_a_file_first {
        return Run::Words(line.to_owned());
    }
    match shell {
        "/bin/sh" => Run::Shell(line.to_owned()),
        other => Run::Array(vec![other.to_owned(), "-c".to_owned(), line.to_owned()]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_bare_percent_ends_the_command_and_the_rest_is_its_input() {
        for (text, line, stdin) in [
            ("cat", "cat", None),
            ("cat ", "cat", None),
            ("cat%", "cat", None),
            ("mail bob%Hi,%%two lines", "mail bob", Some("Hi,\n\ntwo lines\n")),
            ("mail bob%Hi%", "mail bob", Some("Hi\n")),
            ("date +\\%F > x", "date +%F > x", None),
            ("date +\\%F%100\\%%a\\b\\", "date +%F", Some("100%\na\\b\\\n")),
            ("sed 's/\\n/x/'", "sed 's/\\n/x/'", None),
            ("sed 's/\\\\n/x/'", "sed 's/\\n/x/'", None),
            ("a \\\\%b", "a \\", Some("b\n")),
            ("cat%\\\\%x", "cat", Some("\\%x\n")),
        ] {
            let command = split(text);
            assert_eq!((command.line.as_str(), command.stdin.as_deref()), (line, stdin), "{text}");
        }
    }

    #[test]
    fn a_shell_is_kept_where_it_may_matter() {
        let words = |line: &str| Run::Words(line.to_owned());
        let shell = |line: &str| Run::Shell(line.to_owned());
        for line in ["/usr/bin/backup --level=2 a@b:c", "python manage.py clearsessions"] {
            assert_eq!(choose(line, "/bin/sh", false), words(line));
            assert_eq!(choose(line, "/bin/bash", false), words(line));
        }
        for line in
            ["a | b", "a >/dev/null 2>&1", "A=1 b", "cd x", "echo a", "ls [ab]", "a 'b'", "a # b", "a $B", "~/a"]
        {
            assert_eq!(choose(line, "/bin/sh", false), shell(line));
        }
        let bash = |line: &str| Run::Array(vec!["/bin/bash".to_owned(), "-c".to_owned(), line.to_owned()]);
        assert_eq!(choose("a | b", "/bin/bash", false), bash("a | b"));
        // $BASH_ENV is read before the command.
        assert_eq!(choose("a b", "/bin/bash", true), bash("a b"));
        assert!(matches!(choose("a b", "/bin/zsh", false), Run::Array(_)));
    }
}
