//! What is known of programs beyond presets: how long they take to finish, what ends them at once, what they do not take.
//! The table is for advice only; what is in it was read in their sources or manuals, or measured.

use std::time::Duration;

/// What is known of one program.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Program {
    pub name: &'static str,
    /// The preset for it, where there is one.
    pub preset: Option<&'static str>,
    /// How long it takes to finish.
    pub deadline: Option<Deadline>,
    /// Options that send it into the background.
    pub background: &'static [&'static str],
    /// TERM cuts off what it works on; QUIT finishes it.
    pub quits: bool,
    /// It takes no LISTEN_FDS: what to do instead, and the word in its command that shows that this was done.
    pub no_fds: Option<(&'static str, &'static str)>,
}

/// The time that a program gives itself to finish.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Deadline {
    /// Options that say it, in seconds; the first one is named to users.
    pub options: &'static [&'static str],
    /// What it is without them, in seconds.
    pub default: Option<u32>,
    /// The default counts only with one of these options.
    pub only_with: &'static [&'static str],
    /// With one of these options the time may be said elsewhere.
    pub elsewhere: &'static [&'static str],
    /// So many seconds it takes beyond its own time.
    pub more: u32,
}

const NOTHING: Program =
    Program { name: "", preset: None, deadline: None, background: &[], quits: false, no_fds: None };

const fn deadline(options: &'static [&'static str]) -> Deadline {
    Deadline { options, default: None, only_with: &[], elsewhere: &[], more: 0 }
}

/// All that is known.
pub(crate) const PROGRAMS: &[Program] = &[
    Program {
        name: "gunicorn",
        preset: Some("gunicorn"),
        deadline: Some(Deadline {
            default: Some(30),
            elsewhere: &["-c", "--config"],
            ..deadline(&["--graceful-timeout"])
        }),
        background: &["-D", "--daemon"],
        ..NOTHING
    },
    Program {
        name: "uvicorn",
        preset: Some("uvicorn"),
        deadline: Some(deadline(&["--timeout-graceful-shutdown"])),
        no_fds: Some(("add --fd 3 to its command", "--fd")),
        ..NOTHING
    },
    Program {
        name: "hypercorn",
        preset: Some("hypercorn"),
        deadline: Some(deadline(&["--graceful-timeout"])),
        no_fds: Some(("add --bind fd://3 to its command", "fd://")),
        ..NOTHING
    },
    Program { name: "granian", no_fds: Some(("", "\0")), ..NOTHING },
    Program {
        name: "puma",
        preset: Some("puma"),
        // worker_shutdown_timeout, which no option says.
        deadline: Some(Deadline {
            default: Some(30),
            only_with: &["-w", "--workers"],
            elsewhere: &["-C", "--config"],
            ..deadline(&[])
        }),
        background: &["-d", "--daemon"],
        ..NOTHING
    },
    Program {
        name: "sidekiq",
        preset: Some("sidekiq"),
        deadline: Some(Deadline {
            default: Some(25),
            elsewhere: &["-C", "--config"],
            more: 3,
            ..deadline(&["--timeout", "-t"])
        }),
        ..NOTHING
    },
    Program {
        name: "celery",
        preset: Some("celery"),
        // A warm shutdown waits for tasks, which may take so long.
        deadline: Some(deadline(&["--time-limit"])),
        background: &["-D", "--detach"],
        ..NOTHING
    },
    Program {
        name: "nginx",
        preset: Some("nginx"),
        quits: true,
        no_fds: Some(("write handoff = \"auto\"", "\0")),
        ..NOTHING
    },
    Program {
        name: "php-fpm",
        preset: Some("php-fpm"),
        quits: true,
        background: &["-D", "--daemonize"],
        no_fds: Some(("write handoff = \"env:FPM_SOCKETS\"", "\0")),
        ..NOTHING
    },
    Program { name: "unicorn", quits: true, background: &["-D", "--daemonize"], ..NOTHING },
];

/// A program that starts another one and waits for it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Wrapper {
    /// The words that it begins with.
    pub words: &'static [&'static str],
    /// Whether the other one gets its signals.
    pub signals: Signals,
}

/// What becomes of signals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signals {
    /// It hands them on.
    HandedOn,
    /// It ends by them, or swallows them.
    Lost,
}

/// Wrappers that stay in front. npm 11 was measured: it ends by TERM at once, and the program never sees it.
pub(crate) const WRAPPERS: &[Wrapper] = &[
    Wrapper { words: &["npm", "start"], signals: Signals::Lost },
    Wrapper { words: &["npm", "run"], signals: Signals::Lost },
    Wrapper { words: &["npm", "run-script"], signals: Signals::Lost },
    Wrapper { words: &["npm", "exec"], signals: Signals::Lost },
    Wrapper { words: &["npx"], signals: Signals::Lost },
    Wrapper { words: &["yarn"], signals: Signals::Lost },
    Wrapper { words: &["pnpm"], signals: Signals::Lost },
    Wrapper { words: &["go", "run"], signals: Signals::Lost },
    Wrapper { words: &["uv", "run"], signals: Signals::HandedOn },
    Wrapper { words: &["timeout"], signals: Signals::HandedOn },
    Wrapper { words: &["sudo"], signals: Signals::HandedOn },
    Wrapper { words: &["tini"], signals: Signals::HandedOn },
    Wrapper { words: &["dumb-init"], signals: Signals::HandedOn },
];

/// Words that put another program in their place.
const REPLACED: &[&[&str]] = &[
    &["bundle", "exec"],
    &["poetry", "run"],
    &["pipenv", "run"],
    &["rbenv", "exec"],
    &["env"],
    &["nice"],
    &["nohup"],
    &["stdbuf"],
    &["exec"],
    &["command"],
];

/// Options of these that take the next word.
const TAKES_A_WORD: &[(&str, &[&str])] = &[
    ("nice", &["-n"]),
    ("env", &["-u", "-C"]),
    ("sudo", &["-u", "-g"]),
    ("timeout", &["-s", "-k"]),
    ("stdbuf", &["-i", "-o", "-e"]),
];

/// Programs that take another one as their first word.
const INTERPRETERS: &[&str] = &["python", "ruby", "php", "node"];

/// A command without what is in front of it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Command<'a> {
    /// Wrappers that stay in front, outermost first.
    pub wrappers: Vec<&'static Wrapper>,
    /// The name of the program; empty where it is not known.
    pub name: String,
    pub args: &'a [String],
}

impl Command<'_> {
    /// What is known of it.
    pub fn program(&self) -> Option<&'static Program> {
        PROGRAMS.iter().find(|program| program.name == self.name)
    }

    /// Whether one of the options is among the arguments.
    pub fn has(&self, options: &[&str]) -> bool {
        options.iter().any(|option| self.value(option).is_some())
    }

    /// The value of an option: `--name VALUE`, `--name=VALUE` or `-nVALUE`; empty where none follows.
    pub fn value(&self, option: &str) -> Option<&str> {
        self.args.iter().enumerate().find_map(|(i, arg)| {
            let rest = arg.strip_prefix(option)?;
            match rest.strip_prefix('=') {
                _ if rest.is_empty() => Some(self.args.get(i + 1).map_or("", String::as_str)),
                Some(value) => Some(value),
                None if !option.starts_with("--") => Some(rest),
                None => None,
            }
        })
    }

    /// The time that it takes to finish, and the option that says so.
    pub fn deadline(&self) -> Option<(Duration, Option<&'static str>)> {
        let deadline = self.program()?.deadline.as_ref()?;
        let more = Duration::from_secs(deadline.more.into());
        for option in deadline.options {
            if let Some(value) = self.value(option) {
                let seconds: f64 = value.parse().ok()?;
                return Some((Duration::try_from_secs_f64(seconds).ok()?.saturating_add(more), Some(option)));
            }
        }
        let counts = deadline.only_with.is_empty() || self.has(deadline.only_with);
        let default = deadline.default.filter(|_| counts && !self.has(deadline.elsewhere))?;
        Some((Duration::from_secs(default.into()) + more, None))
    }
}

/// Looks through what is in front of a program.
pub(crate) fn command(words: &[String]) -> Command<'_> {
    let mut rest = words;
    let mut wrappers = Vec::new();
    // Each turn takes at least one word.
    while let Some(first) = rest.first() {
        let name = base(first);
        let begins = |prefix: &[&str]| {
            let same = |(word, given): (&&str, &String)| *word == given.as_str();
            prefix.len() <= rest.len()
                && prefix.first() == Some(&name.as_str())
                && prefix.iter().zip(rest).skip(1).all(same)
        };
        if let Some(wrapper) = WRAPPERS.iter().find(|wrapper| begins(wrapper.words)) {
            wrappers.push(wrapper);
            rest = behind(&name, rest.get(wrapper.words.len()..).unwrap_or_default());
            if matches!(name.as_str(), "npm" | "yarn" | "pnpm" | "go") {
                // What follows is the name of a script.
                return Command { wrappers, name: String::new(), args: &[] };
            }
        } else if let Some(words) = REPLACED.iter().find(|words| begins(words)) {
            rest = behind(&name, rest.get(words.len()..).unwrap_or_default());
        } else {
            let args = rest.get(1..).unwrap_or_default();
            let (name, args) = interpreted(&name, args).unwrap_or((name, args));
            return Command { wrappers, name, args };
        }
    }
    Command { wrappers, name: String::new(), args: &[] }
}

/// `python -m gunicorn`, `ruby bin/puma`: the program that is meant, where it is a known one.
fn interpreted<'a>(name: &str, args: &'a [String]) -> Option<(String, &'a [String])> {
    if !INTERPRETERS.contains(&name) {
        return None;
    }
    let at = args.iter().position(|arg| !arg.starts_with('-'))?;
    let inner = base(args.get(at)?);
    let known = PROGRAMS.iter().any(|program| program.name == inner);
    known.then(|| (inner, args.get(at + 1..).unwrap_or_default()))
}

/// What follows the options, assignments and times of a wrapper.
fn behind<'a>(name: &str, words: &'a [String]) -> &'a [String] {
    let takes = TAKES_A_WORD.iter().find(|(of, _)| *of == name).map_or(&[][..], |(_, options)| options);
    let mut at = 0;
    while let Some(word) = words.get(at) {
        let is_option = word.starts_with('-') || (name == "env" && word.contains('='));
        if !is_option {
            break;
        }
        at += if takes.contains(&word.as_str()) { 2 } else { 1 };
        if word == "--" {
            break;
        }
    }
    // timeout's own argument.
    let at = if name == "timeout" { at + 1 } else { at };
    words.get(at..).unwrap_or_default()
}

/// `/usr/sbin/php-fpm8.2` as `php-fpm`.
fn base(word: &str) -> String {
    let name = word.rsplit('/').next().unwrap_or(word);
    let plain = name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.');
    if INTERPRETERS.contains(&plain) || plain == "php-fpm" { plain.to_owned() } else { name.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(line: &str, wrappers: &[&str], name: &str, args: &str) {
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        let found = command(&words);
        let front: Vec<&str> = found.wrappers.iter().map(|wrapper| wrapper.words[0]).collect();
        assert_eq!(
            (front.as_slice(), found.name.as_str(), found.args.join(" ").as_str()),
            (wrappers, name, args),
            "{line}"
        );
    }

    #[test]
    fn the_program_behind_wrappers_is_found() {
        check("gunicorn -w 4 app", &[], "gunicorn", "-w 4 app");
        check("/srv/.venv/bin/gunicorn app", &[], "gunicorn", "app");
        check("env -u X A=1 B=2 nice -n 5 gunicorn app", &[], "gunicorn", "app");
        check("bundle exec puma -w 2", &[], "puma", "-w 2");
        check("python3.11 -m celery worker", &[], "celery", "worker");
        check("python3 manage.py runserver", &[], "python", "manage.py runserver");
        check("ruby bin/puma -p 1", &[], "puma", "-p 1");
        check("php-fpm8.2 -F", &[], "php-fpm", "-F");
        check("npm run start", &["npm"], "", "");
        check("npm install", &[], "npm", "install");
        check("npx --yes gunicorn app", &["npx"], "gunicorn", "app");
        check(
            "tini -g -- sudo -u x timeout -k 5 10 uv run uvicorn a:b",
            &["tini", "sudo", "timeout", "uv"],
            "uvicorn",
            "a:b",
        );
        check("bundle exec", &[], "", "");
    }

    #[track_caller]
    fn check_deadline(line: &str, expected: Option<(u64, Option<&str>)>) {
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        let found = command(&words).deadline().map(|(time, option)| (time.as_secs(), option));
        assert_eq!(found, expected, "{line}");
    }

    #[test]
    fn the_time_a_program_takes_is_read_from_its_options() {
        check_deadline("gunicorn app", Some((30, None)));
        check_deadline("gunicorn --graceful-timeout 120 app", Some((120, Some("--graceful-timeout"))));
        check_deadline("gunicorn --graceful-timeout=5 app", Some((5, Some("--graceful-timeout"))));
        check_deadline("gunicorn --graceful-timeout ${T} app", None);
        check_deadline("gunicorn -c conf.py app", None);
        check_deadline("sidekiq", Some((28, None)));
        check_deadline("sidekiq -t60", Some((63, Some("-t"))));
        check_deadline("sidekiq --timeout 60 -C c.yml", Some((63, Some("--timeout"))));
        check_deadline("puma -t 5:5", None);
        check_deadline("puma -w 2 -t 5:5", Some((30, None)));
        check_deadline("uvicorn a:b", None);
        check_deadline("hypercorn --graceful-timeout 2.5 a:b", Some((2, Some("--graceful-timeout"))));
        check_deadline("gunicorn --graceful-timeout -1 a", None);
    }
}
