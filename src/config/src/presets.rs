//! What is known of programs: the table behind `preset`. Each value is TOML as a user would write it below
//! `[process.NAME]`, with its reason; the manual prints both.
//!
//! A preset lies between the process's own keys, which win, and `[defaults]`. What is about listeners is left out where a
//! process has none.

use std::fmt::Write as _;

use crate::field::Section;
use crate::process::Raw;
use crate::report::{Report, Span};
use crate::tree::{self, Node, Table, Value};

/// What one program needs to lose nothing.
#[derive(Debug, PartialEq, Eq)]
pub struct Preset {
    /// Its name in the config.
    pub name: &'static str,
    /// What else it needs, as the end of a sentence that begins with "needs"; empty where that is nothing.
    pub needs: &'static str,
    /// The keys that it sets.
    pub settings: &'static [Setting],
}

/// One key that a preset sets.
#[derive(Debug, PartialEq, Eq)]
pub struct Setting {
    /// The key below `process.*`.
    pub key: &'static str,
    /// Its value in TOML.
    pub value: &'static str,
    /// Why.
    pub why: &'static str,
}

const fn set(key: &'static str, value: &'static str, why: &'static str) -> Setting {
    Setting { key, value, why }
}

/// All presets, in the order of the manual.
pub const PRESETS: &[Preset] = &[
    Preset {
        name: "gunicorn",
        needs: "no --bind, or the same address: it is not used when the listener is handed over.",
        settings: &[
            set(
                "handoff",
                "\"listen-fds\"",
                "it takes LISTEN_FDS; its master listens before any worker has loaded the app, so that only a \
                 connection that was accepted shows that it serves",
            ),
            set("stop", "[\"TERM\", \"35s\", \"KILL\"]", "TERM lets workers finish for --graceful-timeout, 30s"),
        ],
    },
    Preset {
        name: "uvicorn",
        needs: "--host and --port (or --uds) of the listener.",
        settings: &[
            set("handoff", "\"intercept\"", "it knows no LISTEN_FDS; it binds when the app's startup is complete"),
            set(
                "stop",
                "[\"TERM\", \"60s\", \"KILL\"]",
                "it waits for its requests without end, unless --timeout-graceful-shutdown is given",
            ),
            set(
                "restart.success_exit",
                "[0, \"TERM\"]",
                "after a clean end it dies by the signal; with --workers it exits 0",
            ),
        ],
    },
    Preset {
        name: "hypercorn",
        needs: "--bind with the address of the listener.",
        settings: &[
            set("handoff", "\"intercept\"", "it knows no LISTEN_FDS; it listens when the app's startup is complete"),
            set(
                "stop",
                "[\"TERM\", \"70s\", \"KILL\"]",
                "requests get 3s (--graceful-timeout), the app's own shutdown 60s",
            ),
        ],
    },
    Preset {
        name: "nginx",
        needs: "\"daemon off;\", and listen directives with the addresses of the listeners.",
        settings: &[
            set(
                "handoff",
                "\"auto\"",
                "it binds by itself, also with reuseport; NGINX is for listen directives that say the address as it is here",
            ),
            set(
                "stop",
                "[\"QUIT\", \"60s\", \"TERM\", \"5s\", \"KILL\"]",
                "QUIT finishes requests, without end; TERM drops them",
            ),
        ],
    },
    Preset {
        name: "node",
        needs: "a handler of SIGTERM that closes the server: without one it ends at once.",
        settings: &[
            set("handoff", "\"intercept\"", "a server calls listen by itself"),
            set("stop", "[\"TERM\", \"30s\", \"KILL\"]", "what it waits for is up to the app"),
            set(
                "restart.success_exit",
                "[0, \"TERM\", 143]",
                "without a handler it dies by the signal; 143 is what apps say instead",
            ),
        ],
    },
    Preset {
        name: "puma",
        needs: "the address of the listener in its binds, or --bind-to-activated-sockets only.",
        settings: &[
            set(
                "handoff",
                "\"listen-fds\"",
                "it takes LISTEN_FDS; in a cluster it listens before any worker has loaded the app, so that only a \
                 connection that was accepted shows that it serves",
            ),
            set(
                "stop",
                "[\"TERM\", \"60s\", \"KILL\"]",
                "TERM finishes requests; workers of a cluster get 30s (worker_shutdown_timeout)",
            ),
            set(
                "restart.success_exit",
                "[0, \"TERM\", 143]",
                "after a clean end it dies by the signal (raise_exception_on_sigterm)",
            ),
        ],
    },
    Preset {
        name: "php-fpm",
        needs: "--nodaemonize, process_control_timeout in its config (with 0 requests are cut off), and a TCP listener \
                with the address of its listen directive: it removes the paths of Unix sockets when it ends.",
        settings: &[
            set("handoff", "\"env:FPM_SOCKETS\"", "it takes descriptors by this variable"),
            set(
                "stop",
                "[\"QUIT\", \"60s\", \"TERM\", \"5s\", \"KILL\"]",
                "QUIT finishes requests for process_control_timeout; TERM drops them",
            ),
        ],
    },
    Preset {
        name: "celery",
        needs: "a worker, not beat: a new one starts before the old one has ended.",
        settings: &[
            set(
                "stop",
                "[\"TERM\", \"none\"]",
                "TERM to the main process takes no new task and waits for the running ones without end; what comes \
                 after it loses tasks",
            ),
            set(
                "update",
                "{ strategy = \"overlap\", bake = \"5s\" }",
                "no signal tells it to be quiet but TERM itself, and nothing shows that it works but that it goes on",
            ),
        ],
    },
    Preset {
        name: "rq",
        needs: "the default worker: SimpleWorker ends at once.",
        settings: &[
            set(
                "stop",
                "[\"TERM\", \"none\"]",
                "TERM finishes the job that runs, whose own timeout is the bound; a second signal kills it",
            ),
            set(
                "update",
                "{ strategy = \"overlap\", bake = \"5s\" }",
                "no signal tells it to be quiet but TERM itself, and nothing shows that it works but that it goes on",
            ),
        ],
    },
    Preset {
        name: "sidekiq",
        needs: "",
        settings: &[
            set("ready", "{ notify = true }", "it sends READY=1 when the app is loaded (6.0.6 and newer)"),
            set("quiet", "\"TSTP\"", "it fetches no job from then on, for good"),
            set(
                "stop",
                "[\"TERM\", \"30s\", \"KILL\"]",
                "jobs get 25s (--timeout), then they are pushed back, which takes up to 3s",
            ),
        ],
    },
];

/// The names with their presets.
pub(crate) fn choices() -> Vec<(&'static str, &'static Preset)> {
    PRESETS.iter().map(|preset| (preset.name, preset)).collect()
}

/// Whether a key says nothing without a listener.
fn is_about_listeners(setting: &Setting) -> bool {
    ["handoff", "traffic"].contains(&setting.key)
}

impl Preset {
    /// Its keys as if they were written where the preset is named.
    pub(crate) fn raw(&self, label: &str, span: Span, listens: bool, report: &mut Report) -> Raw {
        let mut text = String::new();
        for setting in self.settings.iter().filter(|setting| listens || !is_about_listeners(setting)) {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{} = {}", setting.key, setting.value);
        }
        let mut table = tree::read(&text, span.file, report);
        move_to(&mut table, span);
        Raw::read(&Section { label: label.to_owned(), path: "process.*".to_owned(), table: &table }, report)
    }
}

fn move_to(table: &mut Table, span: Span) {
    for entry in &mut table.entries {
        entry.name_span = span;
        move_node(&mut entry.node, span);
    }
}

fn move_node(node: &mut Node, span: Span) {
    node.span = span;
    match &mut node.value {
        Value::Table(table) => move_to(table, span),
        Value::Array(items) => items.iter_mut().for_each(|item| move_node(item, span)),
        Value::Text(_) | Value::Int { .. } | Value::Bool(_) | Value::Other(_) => {}
    }
}
