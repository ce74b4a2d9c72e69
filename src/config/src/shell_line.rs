//! What a shell makes of a line: whether it stays the main process, and what it runs last. A light reading, for advice
//! only: in doubt it says that all is well.
//!
//! Measured with dash 0.5.12 and bash 5.2: dash forks for every command of `-c` that has no `exec` in front. bash replaces
//! itself by the last command of a list where that is a simple one without redirections and nothing runs in the background.

/// A line in its commands.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Line {
    /// How its last command is run.
    pub end: End,
    /// The words of the last command, without quotes and redirections.
    pub last: Vec<String>,
}

/// How the last command of a line is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// A command takes the place of the shell, or the shell handles signals by itself.
    Exec,
    /// A simple command, at the end of a list perhaps.
    Simple,
    /// As before, with a redirection in it or something in the background before it.
    Encumbered,
    /// In a pipe.
    Pipe,
    /// In a loop, a group or the background: what runs is not said by the last word.
    Compound,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Word(String),
    /// `;`, `&`, `&&`, `||`, `|`, a line break, `(` or `)`.
    Operator(&'static str),
    Redirection,
}

/// First words of what is no simple command.
const COMPOUND: &[&str] = &["if", "while", "until", "for", "case", "{", "!", "function", "eval", ".", "source", "wait"];

/// Words that may stand in front of a command within a compound one.
const INTRODUCERS: &[&str] = &["then", "do", "else", "elif", "{", "!", "if", "while", "until"];

/// Reads a line.
pub(crate) fn read(text: &str) -> Line {
    let tokens = tokens(text);
    let mut commands: Vec<(Vec<String>, bool)> = Vec::new();
    let mut operators: Vec<&str> = Vec::new();
    let mut words: Vec<String> = Vec::new();
    let (mut redirected, mut group) = (false, false);
    for token in tokens {
        match token {
            Token::Word(word) => words.push(word),
            Token::Redirection => redirected = true,
            Token::Operator("(" | ")") => group = true,
            Token::Operator(operator) => {
                commands.push((std::mem::take(&mut words), redirected));
                redirected = false;
                operators.push(operator);
            }
        }
    }
    commands.push((words, redirected));
    // A line may end with a semicolon or a line break.
    while commands.len() > 1
        && commands.last().is_some_and(|(words, _)| words.is_empty())
        && operators.last().is_some_and(|operator| [";", "\n"].contains(operator))
    {
        commands.pop();
        operators.pop();
    }
    let first = |words: &[String]| {
        let at = words.iter().position(|word| !INTRODUCERS.contains(&word.as_str())).unwrap_or(0);
        words.get(at).cloned().unwrap_or_default()
    };
    let piped = operators.iter().rev().find(|operator| !["&&", "||"].contains(operator)) == Some(&"|");
    let replaces = |words: &[String]| match first(words).as_str() {
        "exec" => words.iter().skip_while(|word| *word != "exec").count() > 1,
        "trap" => true,
        _ => false,
    };
    let (last, redirected) = commands.last().cloned().unwrap_or_default();
    let end = if piped {
        End::Pipe
    } else if commands.iter().any(|(words, _)| replaces(words)) {
        End::Exec
    } else if group || last.first().is_none_or(|word| is_compound(word)) {
        End::Compound
    } else if redirected || operators.contains(&"&") {
        End::Encumbered
    } else {
        End::Simple
    };
    let last = match end {
        // The words of the command that takes the place are those that count.
        End::Exec => commands
            .iter()
            .rev()
            .find(|(words, _)| first(words) == "exec")
            .map_or(last, |(words, _)| words.iter().skip_while(|word| *word != "exec").skip(1).cloned().collect()),
        End::Simple | End::Encumbered | End::Pipe | End::Compound => last,
    };
    Line { end, last: last.into_iter().skip_while(|word| is_assignment(word)).collect() }
}

fn is_compound(word: &str) -> bool {
    COMPOUND.contains(&word) || ["done", "fi", "esac", "}", "then", "do", "else", "true", "false", ":"].contains(&word)
}

fn is_assignment(word: &str) -> bool {
    word.split_once('=').is_some_and(|(name, _)| {
        name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
    })
}

fn tokens(text: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = text.chars().peekable();
    // What comes after a redirection is its target and no word of the command.
    let mut target = false;
    while let Some(c) = chars.next() {
        let operator = match c {
            ';' | '&' | '|' | '\n' | '(' | ')' => {
                let double = chars.next_if_eq(&c).is_some();
                match (c, double) {
                    (';', _) => ";",
                    ('&', true) => "&&",
                    ('&', false) if chars.next_if_eq(&'>').is_some() => {
                        end_word(&mut word, &mut target, &mut tokens);
                        tokens.push(Token::Redirection);
                        target = true;
                        continue;
                    }
                    ('&', false) => "&",
                    ('|', true) => "||",
                    ('|', false) => "|",
                    ('(', _) => "(",
                    (')', _) => ")",
                    _ => "\n",
                }
            }
            '<' | '>' => {
                // A number right before it is a descriptor.
                if word.as_ref().is_some_and(|word| word.bytes().all(|b| b.is_ascii_digit())) {
                    word = None;
                }
                end_word(&mut word, &mut target, &mut tokens);
                while chars.next_if(|c| "<>&|".contains(*c)).is_some() {}
                tokens.push(Token::Redirection);
                target = true;
                continue;
            }
            '#' if word.is_none() => {
                while chars.next_if(|c| *c != '\n').is_some() {}
                continue;
            }
            c if c.is_whitespace() => {
                end_word(&mut word, &mut target, &mut tokens);
                continue;
            }
            c => {
                let word = word.get_or_insert_default();
                match c {
                    '\\' => word.extend(chars.next()),
                    '\'' => word.extend(chars.by_ref().take_while(|c| *c != '\'')),
                    '"' => quoted(&mut chars, word),
                    '`' => {
                        word.push(c);
                        word.extend(chars.by_ref().take_while(|c| *c != '`'));
                    }
                    '$' if chars.peek() == Some(&'(') => substitution(&mut chars, word),
                    c => word.push(c),
                }
                continue;
            }
        };
        end_word(&mut word, &mut target, &mut tokens);
        tokens.push(Token::Operator(operator));
    }
    end_word(&mut word, &mut target, &mut tokens);
    tokens
}

type Chars<'a> = std::iter::Peekable<std::str::Chars<'a>>;

fn end_word(word: &mut Option<String>, target: &mut bool, tokens: &mut Vec<Token>) {
    if let Some(word) = word.take()
        && !std::mem::take(target)
    {
        tokens.push(Token::Word(word));
    }
}

fn quoted(chars: &mut Chars<'_>, word: &mut String) {
    while let Some(c) = chars.next() {
        match c {
            '"' => return,
            '\\' => word.extend(chars.next()),
            '$' if chars.peek() == Some(&'(') => substitution(chars, word),
            c => word.push(c),
        }
    }
}

/// At `$(`: all up to the parenthesis that closes it.
fn substitution(chars: &mut Chars<'_>, word: &mut String) {
    word.push('$');
    let mut depth = 0;
    for c in chars.by_ref() {
        word.push(c);
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, end: End, last: &str) {
        let line = read(text);
        assert_eq!((line.end, line.last.join(" ").as_str()), (end, last), "{text}");
    }

    #[test]
    fn the_last_command_of_a_line_is_found_and_how_it_is_run() {
        check("sleep 9", End::Simple, "sleep 9");
        check("cd / && sleep 9", End::Simple, "sleep 9");
        check("cd /; A=1 B='x y' sleep 9;\n", End::Simple, "sleep 9");
        check("export A=1\nsleep 9 # for ever", End::Simple, "sleep 9");
        check("x=$(date | cut -c 1); sleep \"$x\"", End::Simple, "sleep $x");
        check("if true; then true; fi; sleep 9", End::Simple, "sleep 9");
        check("sleep 9 > log 2>&1", End::Encumbered, "sleep 9");
        check("sleep 9 &> log", End::Encumbered, "sleep 9");
        check("true & sleep 9", End::Encumbered, "sleep 9");
        check("sleep 9 | cat", End::Pipe, "cat");
        check("exec sleep 9 | cat", End::Pipe, "cat");
        check("a | b; sleep 9", End::Simple, "sleep 9");
        check("a && b | c", End::Pipe, "c");
        check("(cd /; sleep 9)", End::Compound, "sleep 9");
        check("while true; do sleep 9; done", End::Compound, "done");
        check("sleep 9 &", End::Compound, "");
        check("sleep 9 & wait", End::Compound, "wait");
        check("a; true", End::Compound, "true");
        check("", End::Compound, "");
    }

    #[test]
    fn a_shell_that_goes_or_cares_is_well() {
        check("exec sleep 9", End::Exec, "sleep 9");
        check("cd / && exec sleep 9 2>&1", End::Exec, "sleep 9");
        check("if a; then exec b 1; else exec c 2; fi", End::Exec, "c 2");
        check("trap 'kill $p' TERM; sleep 9 & p=$!; wait", End::Exec, "wait");
        check("exec 2>&1; sleep 9", End::Simple, "sleep 9");
        check("echo 'exec | ;' \\; \"exec; $(a; b)\"", End::Simple, "echo exec | ; ; exec; $(a; b)");
    }
}
