//! The manual page Procfile.toml(5), made from the table of keys. The same table gives the same page.

use std::fmt::Write as _;

use crate::keys::{self, Key};

/// The page in roff.
pub fn reference_man() -> String {
    let mut page = String::from(HEAD);
    section(&mut page, "TOP LEVEL", "", keys::KEYS.iter().filter(|k| !k.path.contains('.')));
    section(&mut page, "KEYS OF [process.NAME] AND [defaults]", PROCESS, below("process.*."));
    presets(&mut page);
    section(&mut page, "KEYS OF [environment.NAME]", "", below("environment.*."));
    section(&mut page, "KEYS OF [control]", "", below("control."));
    page.push_str(TAIL);
    page
}

fn below(prefix: &'static str) -> impl Iterator<Item = &'static Key> {
    keys::KEYS.iter().filter(move |k| k.path.starts_with(prefix))
}

fn section(page: &mut String, title: &str, intro: &str, keys: impl Iterator<Item = &'static Key>) {
    // Writing to a string cannot fail.
    let _ = writeln!(page, ".SH {}", escape(title));
    if !intro.is_empty() {
        let _ = writeln!(page, "{}", escape(intro));
    }
    for key in keys {
        let name = ["process.*.", "environment.*.", "control."].iter().find_map(|p| key.path.strip_prefix(p));
        let _ = writeln!(page, ".TP\n.B {}", escape(&name.unwrap_or(key.path).replace('*', "NAME")));
        let _ = writeln!(page, "{}", escape(key.doc));
        let _ = writeln!(page, ".br\nTakes: {} ({}).", escape(key.allowed), escape(&key.kind_text()));
        let _ = writeln!(page, ".br\nDefault: {}.", escape(key.default));
        let _ = writeln!(page, ".br\nOn apply: {}.", escape(key.applies.text()));
        let _ = writeln!(page, ".IP\n.nf\n{}\n.fi", escape(key.example));
    }
}

fn presets(page: &mut String) {
    let _ = writeln!(page, ".SH PRESETS\n{}", escape(PRESETS));
    for preset in crate::presets::PRESETS {
        let needs = if preset.needs.is_empty() { "nothing besides." } else { preset.needs };
        let _ = writeln!(page, ".TP\n.B {}\nNeeds {}", escape(preset.name), escape(needs));
        for setting in preset.settings {
            let line = format!("{} = {}", setting.key, setting.value);
            let _ = writeln!(page, ".IP\n.nf\n{}\n.fi\nWhy: {}.", escape(&line), escape(setting.why));
        }
    }
}

/// Text as roff takes it: no line may begin with a control character, and `-` must stay one for copying.
fn escape(text: &str) -> String {
    let lines: Vec<String> = text
        .lines()
        .map(|line| {
            let line = line.replace('\\', "\\e").replace('-', "\\-");
            if line.starts_with(['.', '\'']) { format!("\\&{line}") } else { line }
        })
        .collect();
    lines.join("\n")
}

const HEAD: &str = r#".TH PROCFILE.TOML 5 "" svd "svd"
.SH NAME
Procfile.toml, Procfile \- the processes that svd runs
.SH DESCRIPTION
.B svd
in a directory takes
.IR Procfile.toml ,
else
.IR Procfile .
Unknown keys, bad values and impossible combinations are errors, told all at once with file, line and column before
anything is touched.
.SH PLAIN PROCFILE
Lines are
.IR "NAME: command" ;
names have letters, digits, _ and \-. Other lines are ignored, with a warning where they are no comments.
A file
.I .env
beside it gives variables: KEY=value, with # before comments, single quotes around literal values and double quotes
around values in which \en is a line break.
A command that a shell would take apart differently than svd goes through
.IR "sh \-c" ;
others are executed directly.
.SH PORT
Every instance gets a variable PORT. The base is PORT of the top\-level variables, else of svd's own environment, else
5000. The process web gets the base, whatever its place; the others get 100 more each, in the order of the
file, and further instances 1 more each. A process with a PORT of its own starts there. No two processes get the same port
by this rule, and none gets one on which another one listens. A process with a TCP listener gets the port of its first one, in
all instances.
.SH LISTENERS
svd holds the sockets of
.I listen
for as long as it runs, and hands them to the instances. Who connects while an instance is replaced waits or is served, and is
never refused.
.PP
A TCP listener has a gate, which sends each connection to the instances that are ready. New instances start beside the old
ones and are asked whether they are ready on the real port, through the gate, before anyone else reaches them. Those that do
not get ready go again, and the old ones go on. The old ones end when all that is queued for them is accepted, as their
.I stop
says.
.PP
The process
.I web
of a plain Procfile has the listener
.IR 0.0.0.0:$PORT .
.SH WHAT AN INSTANCE GETS
A session of its own, /dev/null as standard input, pipes of svd as standard output and error, no other descriptor than
the announced ones, and an environment built afresh at each start: what keep_env lets through of svd's own, HOME, USER, LOGNAME
and SHELL where it runs as another user, the variables of this file, and last
.BR SVD_APP ,
.BR SVD_ENVIRONMENT ,
.B SVD_PROCESS
(web),
.B SVD_INSTANCE
(web.1),
.B SVD_INDEX
(1),
.B SVD_CONTROL
(path of the control socket),
.BR SVD_SPAWN ,
by which svd finds its processes,
.BR PORT ,
.B PS
(as SVD_INSTANCE),
.B NOTIFY_SOCKET
with ready = { notify = true }, and what
.I handoff
says of its listeners.
.SH VALUES
Times are numbers with ms, s, m, h or d, such as 500ms or 1m30s, at most 365d. Sizes are bytes, or with K, M, G or T
multiples of 1024. Signals are names with or without SIG.
"#;

const PROCESS: &str = "\
Keys with a dot are those of a table: restart.limit is limit in restart = { limit = \"5 in 1m\" }.";

const PRESETS: &str = "\
What a preset sets, and why. The keys of a process win over its preset, and the preset wins over [defaults]. handoff is left \
out where a process has no listener.";

const TAIL: &str = r#".SH SEE ALSO
.BR svd (1),
.BR svctl (1)
"#;
