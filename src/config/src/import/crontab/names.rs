//! Names for jobs, which a crontab has none for: what the command is about, as a person would call it.

use std::collections::BTreeSet;

/// Longer names are cut.
const LONGEST: usize = 40;

/// Commands before the one that matters: what they do is to make it possible.
const PREPARATIONS: &[&str] = &[
    "cd", "test", "[", "[[", "export", "source", ".", "umask", "ulimit", "set", "sleep", "true", ":", "mkdir", "pushd",
    "echo", "date", "eval",
];

/// Words of a shell before a command.
const KEYWORDS: &[&str] = &["if", "then", "else", "elif", "while", "until", "do", "!", "{", "(", "time", "exec"];

/// Programs that run another one: those of their options that take a word, and how many words stand before it.
const WRAPPERS: &[(&str, &[&str], usize)] = &[
    ("sudo", &["-u", "-g", "-h", "-p", "-C", "-D", "-R", "-T"], 0),
    ("doas", &["-u", "-C"], 0),
    ("nice", &["-n"], 0),
    ("ionice", &["-c", "-n"], 0),
    ("chrt", &["-p"], 1),
    ("timeout", &["-k", "-s"], 1),
    ("flock", &["-w", "-E"], 1),
    ("env", &["-u", "-C"], 0),
    ("setlock", &[], 1),
    ("chronic", &[], 0),
    ("cronic", &[], 0),
    ("nohup", &[], 0),
    ("setsid", &[], 0),
    ("command", &[], 0),
    ("stdbuf", &["-i", "-o", "-e"], 0),
    ("systemd-cat", &["-t", "-p"], 0),
    ("bundle", &[], 1),
    ("poetry", &[], 1),
    ("pipenv", &[], 1),
    ("uv", &[], 1),
    ("npx", &["-p"], 0),
];

/// Programs that run a script.
const INTERPRETERS: &[&str] = &[
    "sh", "bash", "dash", "zsh", "ksh", "python", "python2", "python3", "php", "perl", "ruby", "node", "nodejs",
    "deno", "java", "Rscript", "tclsh", "lua",
];

/// A name that is not taken yet.
pub(crate) fn unique(command: &str, taken: &mut BTreeSet<String>) -> String {
    let name = of(command);
    let mut chosen = name.clone();
    let mut number = 2;
    while !taken.insert(chosen.clone()) {
        chosen = format!("{name}-{number}");
        number += 1;
    }
    chosen
}

/// A name by what the command runs.
fn of(command: &str) -> String {
    let parts = parts(command);
    let names = parts.iter().filter_map(|words| part_name(words, 0));
    let mut prepared = None;
    for (name, preparation) in names {
        if !preparation {
            return name;
        }
        prepared = prepared.or(Some(name));
    }
    prepared.unwrap_or_else(|| "job".to_owned())
}

/// The commands of a line, between the shell's operators, in words without quotes. Roughly: a name is all that comes of it.
fn parts(command: &str) -> Vec<Vec<String>> {
    let mut parts = vec![Vec::new()];
    let mut word: Option<String> = None;
    let mut quote = None;
    // What stands behind > and < is a file.
    let mut redirected = false;
    let end = |word: &mut Option<String>, parts: &mut Vec<Vec<String>>, redirected: &mut bool| {
        if let Some(word) = word.take()
            && !std::mem::take(redirected)
            && let Some(part) = parts.last_mut()
        {
            part.push(word);
        }
    };
    for c in command.chars() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (Some(_), c) => word.get_or_insert_default().push(c),
            (None, '"' | '\'') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, ';' | '|' | '&' | '(' | ')' | '`' | '\n') => {
                // Of `2>&1` nothing is left.
                let split = !(c == '&' && redirected);
                end(&mut word, &mut parts, &mut redirected);
                match split {
                    true => parts.push(Vec::new()),
                    false => redirected = true,
                }
            }
            (None, '<' | '>') => {
                // The number of a descriptor goes with it.
                if word.as_ref().is_some_and(|word| word.chars().all(|c| c.is_ascii_digit())) {
                    word = None;
                }
                end(&mut word, &mut parts, &mut redirected);
                redirected = true;
            }
            (None, c) if c.is_whitespace() => {
                if word.is_some() {
                    end(&mut word, &mut parts, &mut redirected);
                }
            }
            (None, c) => word.get_or_insert_default().push(c),
        }
    }
    end(&mut word, &mut parts, &mut redirected);
    parts
}

/// The name of one command, and whether it only prepares another one.
fn part_name(words: &[String], depth: u8) -> Option<(String, bool)> {
    let mut words = words.iter().map(String::as_str).peekable();
    loop {
        let word = words.next()?;
        let program = base(word);
        if KEYWORDS.contains(&word) || is_assignment(word) || word.is_empty() {
            continue;
        }
        if let Some((_, valued, operands)) = WRAPPERS.iter().find(|(name, ..)| *name == program) {
            let rest: Vec<&str> = words.clone().collect();
            let inner = behind(&rest, valued, *operands);
            // `flock FILE -c 'command'`, and whatever has nothing behind it.
            return match inner {
                ["-c", line, ..] if depth < 3 => nested(line, depth),
                [] => sanitized(program).map(|name| (name, false)),
                inner if depth < 3 => {
                    part_name(&inner.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>(), depth + 1)
                }
                _ => None,
            };
        }
        let rest: Vec<&str> = words.collect();
        let name = name_of(program, &rest, depth);
        // A program that stands in the line itself has no name of its own.
        let preparation = PREPARATIONS.contains(&program) || INTERPRETERS.contains(&name.as_str());
        return sanitized(&name).map(|name| (name, preparation));
    }
}

/// The words behind the options and operands of a wrapper.
fn behind<'w>(words: &'w [&'w str], valued: &[&str], operands: usize) -> &'w [&'w str] {
    let mut at = 0;
    let mut operands = operands;
    while let Some(word) = words.get(at) {
        if valued.contains(word) {
            at += 2;
        } else if word.starts_with('-') && *word != "-c" || is_assignment(word) {
            at += 1;
        } else if operands > 0 && *word != "-c" {
            operands -= 1;
            at += 1;
        } else {
            break;
        }
    }
    words.get(at..).unwrap_or_default()
}

fn nested(line: &str, depth: u8) -> Option<(String, bool)> {
    let parts = parts(line);
    let mut names = parts.iter().filter_map(|words| part_name(words, depth + 1));
    let first = names.next()?;
    if first.1 { names.find(|(_, preparation)| !preparation).or(Some(first)) } else { Some(first) }
}

/// What a program with these words is about.
fn name_of(program: &str, words: &[&str], depth: u8) -> String {
    let plain = |word: &&&str| !word.starts_with('-');
    let first = words.iter().position(|word| !word.starts_with('-'));
    match program {
        "run-parts" => words.iter().rev().find(plain).map_or_else(|| program.to_owned(), |dir| base(dir).to_owned()),
        "curl" | "wget" => {
            let host = words.iter().find_map(|word| word.split_once("://")).map(|(_, rest)| rest);
            let host = host.and_then(|rest| rest.split(['/', ':', '?']).next()).unwrap_or_default();
            format!("{program}-{host}")
        }
        _ if INTERPRETERS.contains(&program) => {
            let before = |option: &str| words.iter().position(|word| *word == option);
            if let Some(line) = before("-c").and_then(|at| words.get(at + 1))
                && depth < 3
                && let Some((name, _)) = nested(line, depth)
            {
                return name;
            }
            if let Some(module) = before("-m").and_then(|at| words.get(at + 1)) {
                return (*module).to_owned();
            }
            if ["-c", "-e", "-E", "-r"].iter().any(|option| before(option).is_some()) {
                return program.to_owned();
            }
            match first.and_then(|at| words.get(at).map(|script| (*script, words.get(at + 1..).unwrap_or_default()))) {
                Some((script, rest)) => with_subcommand(stem(script), rest),
                None => program.to_owned(),
            }
        }
        _ => with_subcommand(stem(program), words),
    }
}

/// `backup-daily` for `backup.sh daily`: a word that names what is done, not a file or a number.
fn with_subcommand(name: &str, words: &[&str]) -> String {
    let word = words.iter().find(|word| !word.starts_with('-')).copied().unwrap_or_default();
    let names = word.starts_with(|c: char| c.is_ascii_alphabetic())
        && word.len() <= 24
        && word.chars().all(|c| c.is_ascii_alphanumeric() || "_:-".contains(c));
    if names { format!("{name}-{word}") } else { name.to_owned() }
}

fn base(word: &str) -> &str {
    word.trim_end_matches('/').rsplit('/').next().unwrap_or(word)
}

/// The name of a file without what tells its kind.
fn stem(word: &str) -> &str {
    let base = base(word);
    match base.rsplit_once('.') {
        Some((stem, ending)) if !stem.is_empty() && ending.len() <= 4 => stem,
        _ => base,
    }
}

fn is_assignment(word: &str) -> bool {
    word.split_once('=')
        .is_some_and(|(name, _)| !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'))
}

/// With `-` for whatever a name may not have; `None` when nothing is left.
fn sanitized(name: &str) -> Option<String> {
    let mut out = String::new();
    for c in name.chars() {
        match c {
            c if c.is_ascii_alphanumeric() || c == '_' => out.push(c),
            _ if out.ends_with('-') || out.is_empty() => {}
            _ => out.push('-'),
        }
        if out.len() == LONGEST {
            break;
        }
    }
    let name = out.trim_end_matches('-');
    (!name.is_empty()).then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_what_the_command_is_about() {
        for (command, name) in [
            ("/usr/local/bin/backup.sh", "backup"),
            ("/usr/local/bin/backup.sh daily >/dev/null 2>&1", "backup-daily"),
            ("cd / && run-parts --report /etc/cron.hourly", "cron-hourly"),
            ("test -x /usr/sbin/anacron || { cd / && run-parts --report /etc/cron.daily; }", "cron-daily"),
            (
                "[ -x /usr/lib/php/sessionclean ] && if [ ! -d /run/x ]; then /usr/lib/php/sessionclean; fi",
                "sessionclean",
            ),
            ("cd /srv/shop && python manage.py clearsessions", "manage-clearsessions"),
            ("php /var/www/artisan schedule:run >> /dev/null 2>&1", "artisan-schedule-run"),
            ("python3 -m shop.report --all", "shop-report"),
            ("sudo -u postgres nice -n 10 pg_dump shop", "pg_dump-shop"),
            ("flock -n /tmp/x.lock -c 'cd /x && ./sync.sh'", "sync"),
            ("flock -n /tmp/x.lock ./sync.sh all", "sync-all"),
            ("timeout -k 5 10m env A=b certbot -q renew", "certbot-renew"),
            ("bash -c 'sleep 5; ping.sh'", "ping"),
            ("bundle exec rake db:sessions:clear", "rake-db-sessions-clear"),
            ("curl -fsS --retry 3 https://hc.example.org/ping/abc", "curl-hc-example-org"),
            ("PATH=/x:$PATH ./a.b.py", "a-b"),
            ("perl -e 'sleep int(rand(43200))' && certbot -q renew", "certbot-renew"),
            ("echo hello", "echo-hello"),
            ("ls 2>&1 | logger -t x", "ls"),
            ("java -jar /opt/x/report-1.2.jar", "report-1-2"),
            ("$X", "X"),
            ("\"", "job"),
            ("🦀", "job"),
        ] {
            assert_eq!(of(command), name, "{command}");
        }
    }

    #[test]
    fn two_of_the_same_name_are_numbered() {
        let mut taken = BTreeSet::new();
        let names: Vec<String> = ["a", "a", "b", "a"].iter().map(|command| unique(command, &mut taken)).collect();
        assert_eq!(names, ["a", "a-2", "b", "a-3"]);
    }
}
