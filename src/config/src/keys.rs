//! The table of keys: every key that a config may have, what it takes, what it does and how a change takes effect.
//!
//! The check for unknown keys, the words of error messages, the JSON schema and the manual page come from here.
//! Readers get at a value only through its entry, so a key that is not in the table cannot be read.

/// One key.
#[derive(Debug)]
pub struct Key {
    /// Its path; `*` stands for a name that the user chooses: `process.*.restart.backoff`.
    pub path: &'static str,
    /// What kinds of value it takes.
    pub kinds: &'static [Kind],
    /// What it is when it is not given, as text.
    pub default: &'static str,
    /// What is allowed; finishes the sentence "must be …".
    pub allowed: &'static str,
    /// What it does, in plain sentences.
    pub doc: &'static str,
    /// An example: of a process key as a line below `[process.web]`, of others as a whole file.
    pub example: &'static str,
    /// How a change takes effect.
    pub applies: Applies,
}

/// What kind of value a key takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A string.
    Text,
    /// One of these strings.
    OneOf(&'static [&'static str]),
    /// A whole number from the first to the second.
    Int(i64, i64),
    /// true or false.
    Bool,
    /// An array of strings.
    Texts,
    /// An array of strings and whole numbers.
    Scalars,
    /// A table of names that the user chooses, with these values.
    Map(&'static [Kind]),
    /// A table with the keys that the table of keys has below this one.
    Group,
}

/// How a change of a key takes effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applies {
    /// Running instances keep what they were started with: they have to be restarted.
    Restart,
    /// At once, without touching a running instance.
    Live,
    /// Instances are started or stopped until the number is right.
    Count,
    /// When svd itself is started the next time.
    Start,
}

impl Key {
    /// The last part of the path.
    pub fn name(&self) -> &'static str {
        self.path.rsplit('.').next().unwrap_or(self.path)
    }

    /// The kinds of value in words: `string or table`.
    pub fn kind_text(&self) -> String {
        self.kinds.iter().map(|k| k.text()).collect::<Vec<_>>().join(" or ")
    }
}

impl Kind {
    fn text(self) -> &'static str {
        match self {
            Kind::Text | Kind::OneOf(_) => "string",
            Kind::Int(..) => "whole number",
            Kind::Bool => "true or false",
            Kind::Texts => "array of strings",
            Kind::Scalars => "array of strings and whole numbers",
            Kind::Map(_) | Kind::Group => "table",
        }
    }
}

impl Applies {
    /// In words, for the manual.
    pub fn text(self) -> &'static str {
        match self {
            Applies::Restart => "a change restarts the instances",
            Applies::Live => "a change takes effect at once",
            Applies::Count => "a change starts or stops instances",
            Applies::Start => "a change takes effect when svd is started again",
        }
    }
}

/// The key with this path.
pub fn key(path: &str) -> Option<&'static Key> {
    KEYS.iter().find(|k| k.path == path)
}

/// The keys right below a path; `""` is the top level.
pub fn children(parent: &str) -> impl Iterator<Item = &'static Key> {
    KEYS.iter().filter(move |k| match k.path.rsplit_once('.') {
        Some((above, _)) => above == parent,
        None => parent.is_empty(),
    })
}

/// Signals that stop and reload keys and success_exit take, in words.
const SIGNALS: &str = "a signal such as \"TERM\", \"HUP\" or \"USR1\"";

/// Names of [`crate::presets::PRESETS`].
const PRESETS: &[&str] =
    &["gunicorn", "uvicorn", "hypercorn", "nginx", "node", "puma", "php-fpm", "celery", "rq", "sidekiq"];

/// All keys, in the order of the manual.
pub const KEYS: &[Key] = &[
    Key {
        path: "app",
        kinds: &[Kind::Text],
        default: "the name of the directory, in lower case, with - for other characters",
        allowed: "lower-case letters, digits and -, beginning with a letter or digit, at most 64",
        doc: "The name of the app: of its control socket, its state and its logs.",
        example: "app = \"shop\"\nprocess.web = \"true\"",
        applies: Applies::Start,
    },
    Key {
        path: "include",
        kinds: &[Kind::Texts],
        default: "[]",
        allowed: "an array of file names or patterns",
        doc: "Other files whose [process] tables belong to this config. Relative names start at the directory of the \
              main file. A pattern with * or ? may match nothing; a plain name must exist. Included files have \
              processes only.",
        example: "include = [\"conf.d/*.toml\"]\nprocess.web = \"true\"",
        applies: Applies::Live,
    },
    Key {
        path: "env",
        kinds: &[Kind::Map(&[Kind::Text])],
        default: "{}",
        allowed: "a table of strings",
        doc: "Environment variables of every process. Values are literal: $ means nothing in them. Later layers win: \
              env, env_file, then the env and the env_file of the process.",
        example: "env = { LOG_LEVEL = \"info\" }\nprocess.web = \"true\"",
        applies: Applies::Restart,
    },
    Key {
        path: "env_file",
        kinds: &[Kind::Text, Kind::Texts],
        default: "[]; \".env\", where it exists, for a plain Procfile",
        allowed: "a file name or an array of file names",
        doc: "Files of KEY=value lines for every process; later files win over earlier ones and over env. A file that \
              others may read or its group may write gets a warning.",
        example: "env_file = [\".env\"]\nprocess.web = \"true\"",
        applies: Applies::Restart,
    },
    Key {
        path: "defaults",
        kinds: &[Kind::Group],
        default: "{}",
        allowed: "a table of process keys",
        doc: "Any process key, for all processes that do not say it themselves. The tables env, rlimits, restart, \
              logs, update and recycle are filled up key by key. One-shots take nothing from here that only goes with \
              services, and processes without listen nothing that is about listeners.",
        example: "[defaults]\nrestart = { limit = \"10 in 1m\" }\n[process]\nweb = \"true\"",
        applies: Applies::Live,
    },
    Key {
        path: "process",
        kinds: &[Kind::Map(&[Kind::Text, Kind::Group])],
        default: "none: a config needs one",
        allowed: "a table of processes, each a table or a command",
        doc: "The processes, by name: letters, digits, _ and -, at most 64. A string is short for a table with run.",
        example: "[process]\nclock = \"python clock.py\"\n[process.web]\nrun = \"gunicorn shop:app\"",
        applies: Applies::Live,
    },
    Key {
        path: "environment",
        kinds: &[Kind::Map(&[Kind::Group])],
        default: "{}",
        allowed: "a table of environments",
        doc: "Overlays by name; svd -e NAME lays one over the rest of the file. Only the keys of overlay_allows may \
              differ.",
        example: "process.web = \"true\"\n[environment.staging]\nenv = { LOG_LEVEL = \"debug\" }\nprocess.web.count = 1",
        applies: Applies::Live,
    },
    Key {
        path: "environment.*.env",
        kinds: &[Kind::Map(&[Kind::Text])],
        default: "{}",
        allowed: "a table of strings",
        doc: "Laid over the top-level env, variable by variable.",
        example: "process.web = \"true\"\n[environment.staging]\nenv = { LOG_LEVEL = \"debug\" }",
        applies: Applies::Restart,
    },
    Key {
        path: "environment.*.env_file",
        kinds: &[Kind::Text, Kind::Texts],
        default: "the top-level env_file",
        allowed: "a file name or an array of file names",
        doc: "In place of the top-level env_file, where overlay_allows has env_file.",
        example: "overlay_allows = [\"env_file\"]\nprocess.web = \"true\"\n[environment.staging]\nenv_file = \".env.staging\"",
        applies: Applies::Restart,
    },
    Key {
        path: "environment.*.process",
        kinds: &[Kind::Map(&[Kind::Text, Kind::Group])],
        default: "{}",
        allowed: "a table of processes",
        doc: "Keys of overlay_allows, for processes that the rest of the config has.",
        example: "process.web = \"true\"\n[environment.staging]\nprocess.web.count = 1",
        applies: Applies::Live,
    },
    Key {
        path: "overlay_allows",
        kinds: &[Kind::Texts],
        default: "[\"env\", \"count\"]",
        allowed: "an array of names of process keys",
        doc: "Which keys may differ between environments.",
        example: "overlay_allows = [\"env\", \"count\", \"rlimits\"]\nprocess.web = \"true\"",
        applies: Applies::Live,
    },
    Key {
        path: "control",
        kinds: &[Kind::Group],
        default: "{}",
        allowed: "a table",
        doc: "Who may use the control socket. root and the user that svd runs as always may.",
        example: "process.web = \"true\"\n[control]\nsocket_mode = \"0660\"",
        applies: Applies::Start,
    },
    Key {
        path: "control.socket_mode",
        kinds: &[Kind::Text, Kind::Int(0o600, 0o666)],
        default: "\"0600\"; with a socket_group \"0660\"; with a read_group \"0666\"",
        allowed: "an octal mode from \"0600\" to \"0666\" without execute bits",
        doc: "Permission bits of the control socket. A read_group needs \"0666\": anybody may connect then, and svd refuses \
              those whose credentials are of no use.",
        example: "process.web = \"true\"\n[control]\nsocket_mode = \"0660\"",
        applies: Applies::Start,
    },
    Key {
        path: "control.socket_group",
        kinds: &[Kind::Text],
        default: "svd's own group",
        allowed: "a group's name or number",
        doc: "The group of the control socket; its members may operate.",
        example: "process.web = \"true\"\n[control]\nsocket_group = \"svd\"",
        applies: Applies::Start,
    },
    Key {
        path: "control.read_group",
        kinds: &[Kind::Text],
        default: "none",
        allowed: "a group's name or number",
        doc: "Members of this group may look, but not operate.",
        example: "process.web = \"true\"\n[control]\nread_group = \"svd-read\"",
        applies: Applies::Start,
    },
    Key {
        path: "systemd",
        kinds: &[Kind::Group],
        default: "{}",
        allowed: "a table",
        doc: "How svd works together with systemd, where that runs it.",
        example: "process.web = \"true\"\n[systemd]\nstore_listeners = false",
        applies: Applies::Start,
    },
    Key {
        path: "systemd.store_listeners",
        kinds: &[Kind::Bool],
        default: "true",
        allowed: "true or false",
        doc: "Whether listeners are also kept in systemd's store of descriptors, so that connections wait, and none is refused, \
              while svd as a whole is killed or restarted. It needs FileDescriptorStoreMax= in svd's unit, and does nothing \
              without. Stopping the unit closes them. Sockets that came from a socket unit are not stored: systemd has them. The \
              file of a Unix listener is made anew by an orderly restart.",
        example: "process.web = \"true\"\n[systemd]\nstore_listeners = false",
        applies: Applies::Start,
    },
    Key {
        path: "process.*.run",
        kinds: &[Kind::Text, Kind::Texts],
        default: "none: every process needs one",
        allowed: "a command: a string, or an array of strings",
        doc: "The command. A string is split into words as a shell would, with quotes; $VAR and ${VAR:-default} are \
              replaced at each start and never split a word; then it is executed without a shell. A string that needs \
              a shell (pipes, redirections, wildcards, assignments) needs shell = true. An array is taken literally.",
        example: "run = \"gunicorn -w ${WORKERS:-4} -b 0.0.0.0:$PORT shop:app\"",
        applies: Applies::Restart,
    },
    Key {
        path: "process.*.shell",
        kinds: &[Kind::Bool],
        default: "false",
        allowed: "true or false",
        doc: "Hands run to /bin/sh -c.",
        example: "shell = true",
        applies: Applies::Restart,
    },
    Key {
        path: "process.*.count",
        kinds: &[Kind::Int(0, 1000)],
        default: "1",
        allowed: "a whole number from 0 to 1000",
        doc: "How many instances run, until `svctl scale` asks for another number, which then stays over applies and starts of svd; scaling to the number here follows the config again.",
        example: "count = 2",
        applies: Applies::Count,
    },
    Key {
        path: "process.*.preset",
        kinds: &[Kind::OneOf(PRESETS)],
        default: "none",
        allowed: "the name of a preset",
        doc: "Sets handoff, ready, quiet, stop, success_exit and update as a known program needs them; see PRESETS. Keys of the process win over it, and it wins over [defaults].",
        example: "preset = \"gunicorn\"",
        applies: Applies::Restart,
    },
    Key {
        path: "process.*.listen",
        kinds: &[Kind::Text, Kind::Map(&[Kind::Text, Kind::Group])],
        default: "none; \"0.0.0.0:$PORT\" for web of a plain Procfile",
        allowed: "an address, or a table of listeners by name, each an address or a table with address",
        doc: "Where it listens. svd holds the sockets, so that a restart of the process, and one of svd, refuses nobody. HOST:PORT with an IP address; [::]:8080 takes IPv4 too; :8080 is all addresses; tcp: may stand in front, udp: makes it datagrams, unix: a path. With port 0 svd picks one for as long as it runs. Variables are replaced as in run, and $PORT is the port of the process. A listener without a name is called http (TCP), unix or udp. A process with a TCP listener gets its port as PORT, in all instances.",
        example: "listen = { http = \"0.0.0.0:8080\", admin = \"unix:/run/shop/admin.sock\" }",
        applies: Applies::Restart,
    },
    Key {
        path: "process.*.listen.*.address",
        kinds: &[Kind::Text],
        default: "none: every listener needs one",
        allowed: "an address",
        doc: "Where it listens, as in listen.",
        example: "listen = { http = { address = \"127.0.0.1:8080\" } }",
        applies: Applies::Restart,
    },
    Key {
        path: "process.*.listen.*.traffic",
        kinds: &[Kind::OneOf(&["gated", "shared"])],
        default: "the process's traffic",
        allowed: "\"gated\" or \"shared\"",
        doc: "As traffic, of this listener.",
        example: "listen = { http = { address = \"127.0.0.1:8080\", traffic = \"shared\" } }",
        applies: Applies::Restart,
    },
    Key {
        path: "process.*.listen.*.mode",
        kinds: &[Kind::Text, Kind::Int(0, 0o777)],
        default: "\"0660\"",
        allowed: "an octal mode such as \"0660\"",
        doc: "Permission bits of a Unix socket: who may write to it may connect.",
        example: "listen = { app = { address = \"unix:run/app.sock\", mode = \"0666\" } }",
        applies: Applies::Restart,
    },
    Key {
        path: "process.*.listen.*.user",
        kinds: &[Kind::Text, Kind::Int(0, 4_294_967_294)],
        default: "the process's user",
        allowed: "a user's name or number",
        doc: "The owner of a Unix socket.",
        example: "listen = { app = { address = \"unix:run/app.sock\", user = \"www-data\" } }",
        applies: Applies::Restart,
    },
    Key {
        path: "process.*.listen.*.group",
        kinds: &[Kind::Text, Kind::Int(0, 4_294_967_294)],
        default: "the process's group",
        allowed: "a group's name or number",
        doc: "The group of a Unix socket, such as that of the server in front.",
        example: "listen = { app = { address = \"unix:run/app.sock\", group = \"www-data\" } }",
        applies: Applies::Restart,
    },
    Key {
        path: "process.*.listen.*.v6only",
        kinds: &[Kind::Bool],
        default: "false",
        allowed: "true or false",
        doc: "An IPv6 wildcard takes no IPv4 connections, so that 0.0.0.0 with the same port can be another listener.",
        example: "listen = { v4 = \"0.0.0.0:8080\", v6 = { address = \"[::]:8080\", v6only = true } }",
        applies: Applies::Restart,
    },
    Key {
        path: "process.*.traffic",
        kinds: &[Kind::OneOf(&["gated", "shared"])],
        default: "\"gated\" for TCP, else \"shared\"",
        allowed: "\"gated\" or \"shared\"",
        doc: "How connections reach instances. With a gate new instances get none before they are ready, and the old ones none from then on; only TCP has one. Shared: all take from one queue, from the moment they accept.",
        example: "listen = \"0.0.0.0:8080\"
traffic = \"shared\"",
        applies: Applies::Restart,
    },
    Key {
        path: "process.*.handoff",
        kinds: &[Kind::Text],
        default: "\"auto\"",
        allowed: "\"auto\", \"listen-fds\", \"intercept\", \"stdin\", \"env:NAME\", \"env:NAME=TEMPLATE\" or \"none\"",
        doc: "How an instance gets its listeners. listen-fds: descriptors from 3 on, with LISTEN_FDS, LISTEN_PID and LISTEN_FDNAMES. intercept: where it binds the address of a listener by itself, it gets that one instead. auto: both. stdin: its only listener is descriptor 0. env: descriptors from 3 on, told by a variable: TEMPLATE once for each listener, where {fd}, {address}, {port} and {name} are replaced and a mark such as {,} stands between two listeners only. Known are NGINX ({fd};), FPM_SOCKETS ({address}={fd}{,}) and UNICORN_FD; others get {fd}{,}. none: svd only holds the address. With auto and intercept, where svd is not root or has no CAP_SYS_ADMIN, the kernel demands no_new_privs of such a process and all below it: sudo, ping, crontab, sendmail and whatever else is set-user-ID or has file capabilities gain nothing there; any other handoff leaves them alone.",
        example: "listen = \"0.0.0.0:8080\"
handoff = \"env:NGINX\"",
        applies: Applies::Restart,
    },
    Key {
        path: "process.*.cwd",
        kinds: &[Kind::Text],
        default: "the directory of the config file",
        allowed: "a directory",
        doc: "The working directory; a relative one starts at the directory of the config file.",
        example: "cwd = \"backend\"",
        applies: Applies::Restart,
    },
    Key {
        path: "process.*.user",
        kinds: &[Kind::Text, Kind::Int(0, 4_294_967_294)],
        default: "svd's own",
        allowed: "a user's name or number",
        doc: "The user it runs as. Another one than svd's own needs svd to run as root.",
        example: "user = \"www-data\"",
        applies: Applies::Restart,
    },
    Key {
        path: "process.*.group",
        kinds: &[Kind::Text, Kind::Int(0, 4_294_967_294)],
        default: "the user's primary group",
        allowed: "a group's name or number",
        doc: "The group it runs as.",
        example: "group = \"www-data\"",
        applies: Applies::Restart,
    },
    Key {
        path: "process.*.umask",
        kinds: &[Kind::Text, Kind::Int(0, 0o777)],
        default: "svd's own",
        allowed: "an octal mask such as \"022\" or 0o022",
        doc: "The file mode creation mask.",
        example: "umask = \"027\"",
        applies: Applies::Restart,
    },
    Key {
        path: "process.*.nice",
        kinds: &[Kind::Int(-20, 19)],
        default: "svd's own",
        allowed: "a whole number from -20 to 19",
        doc: "The nice value. A lower one than svd's own needs root.",
        example: "nice = 10",
        applies: Applies::Restart,
    },
    Key {
        path: "process.*.oom_score_adj",
        kinds: &[Kind::Int(-1000, 1000)],
        default: "svd's own",
        allowed: "a whole number from -1000 to 1000",
        doc: "How willingly the kernel kills it when memory runs out: 1000 first, -1000 never. A lower one than svd's \
              own needs root.",
        example: "oom_score_adj = 500",
        applies: Applies::Restart,
    },
    Key {
        path: "process.*.env",
        kinds: &[Kind::Map(&[Kind::Text])],
        default: "{}",
        allowed: "a table of strings",
        doc: "Environment variables of this process; they win over the top-level ones. PORT here is the port of the \
              first instance.",
        example: "env = { WORKERS = \"4\" }",
        applies: Applies::Restart,
    },
    Key {
        path: "process.*.env_file",
        kinds: &[Kind::Text, Kind::Texts],
        default: "[]",
        allowed: "a file name or an array of file names",
        doc: "Files of KEY=value lines for this process; they win over everything else.",
        example: "env_file = \"web.env\"",
        applies: Applies::Restart,
    },
    Key {
        path: "process.*.keep_env",
        kinds: &[Kind::Texts],
        default: "[\"PATH\", \"HOME\", \"USER\", \"LOGNAME\", \"SHELL\", \"LANG\", \"LC_*\", \"TZ\", \"TMPDIR\", \
                  \"TERM\"]; [\"*\"] for a plain Procfile",
        allowed: "an array of variable names, PREFIX* or *",
        doc: "Which variables of svd's own environment the process gets.",
        example: "keep_env = [\"PATH\", \"AWS_*\"]",
        applies: Applies::Restart,
    },
    Key {
        path: "process.*.rlimits",
        kinds: &[Kind::Map(&[Kind::Text, Kind::Int(0, i64::MAX)])],
        default: "svd's own",
        allowed: "a table of limits, each a number, \"unlimited\" or \"SOFT:HARD\"",
        doc: "Resource limits in the kernel's units (see setrlimit(2)): as, core, cpu, data, fsize, locks, memlock, \
              msgqueue, nice, nofile, nproc, rss, rtprio, rttime, sigpending, stack.",
        example: "rlimits = { nofile = 65536, core = \"0\", stack = \"8388608:unlimited\" }",
        applies: Applies::Restart,
    },
    Key {
        path: "process.*.after",
        kinds: &[Kind::Texts, Kind::Map(&[Kind::OneOf(&["started", "ready", "completed"])])],
        default: "[]",
        allowed: "an array of process names, or a table such as { migrate = \"completed\" }",
        doc: "Processes that must be ready (a one-shot: completed) before this one starts, and that stop after it. A \
              table says what is waited for: started, ready or completed.",
        example: "after = { migrate = \"completed\", redis = \"ready\" }",
        applies: Applies::Live,
    },
    Key {
        path: "process.*.oneshot",
        kinds: &[Kind::Bool],
        default: "false",
        allowed: "true or false",
        doc: "Runs to completion instead of for ever. Exit 0, or an end of success_exit, is completed.",
        example: "oneshot = true",
        applies: Applies::Live,
    },
    Key {
        path: "process.*.essential",
        kinds: &[Kind::Bool],
        default: "false",
        allowed: "true or false",
        doc: "When it fails for good, svd stops all processes and exits with its code.",
        example: "essential = true",
        applies: Applies::Live,
    },
    Key {
        path: "process.*.ready",
        kinds: &[Kind::OneOf(&["started", "listening"]), Kind::Group],
        default: "\"listening\" with a TCP or Unix listener that is handed over, else \"started\"",
        allowed: "\"started\", \"listening\" or a table with one of listening, notify, fd, log, run, tcp and http",
        doc: "When an instance counts as ready. One that replaces another gets no connection through a gate before that, and \
              when it is not ready in time the other one goes on. web of a plain Procfile has 10s to be seen listening, \
              then the first one counts as ready all the same.",
        example: "ready = { http = \"/healthz\", timeout = \"30s\" }",
        applies: Applies::Live,
    },
    Key {
        path: "process.*.ready.listening",
        kinds: &[Kind::Bool],
        default: "false",
        allowed: "true",
        doc: "Ready when it is seen to listen on one of its listeners, or to accept from it.",
        example: "listen = \"0.0.0.0:8080\"
ready = { listening = true, timeout = \"90s\" }",
        applies: Applies::Live,
    },
    Key {
        path: "process.*.ready.notify",
        kinds: &[Kind::Bool],
        default: "false",
        allowed: "true",
        doc: "Ready when it sends READY=1 to $NOTIFY_SOCKET (sd_notify).",
        example: "ready = { notify = true }",
        applies: Applies::Restart,
    },
    Key {
        path: "process.*.ready.fd",
        kinds: &[Kind::Int(3, 255)],
        default: "none",
        allowed: "a whole number from 3 to 255",
        doc: "Ready when it writes a newline to this file descriptor.",
        example: "ready = { fd = 3 }",
        applies: Applies::Restart,
    },
    Key {
        path: "process.*.ready.log",
        kinds: &[Kind::Text],
        default: "none",
        allowed: "a regular expression",
        doc: "Ready when a line of its output matches.",
        example: "ready = { log = \"listening on port [0-9]+\" }",
        applies: Applies::Live,
    },
    Key {
        path: "process.*.ready.run",
        kinds: &[Kind::Text, Kind::Texts],
        default: "none",
        allowed: "a command: a string, or an array of strings",
        doc: "Ready when this command exits 0. It gets the environment of the instance and is tried again and again.",
        example: "ready = { run = \"pg_isready -q\", every = \"500ms\" }",
        applies: Applies::Live,
    },
    Key {
        path: "process.*.ready.every",
        kinds: &[Kind::Text],
        default: "\"1s\"",
        allowed: "a time from \"10ms\" to \"1h\"",
        doc: "The time between two tries of ready.run.",
        example: "ready = { run = \"true\", every = \"2s\" }",
        applies: Applies::Live,
    },
    Key {
        path: "process.*.ready.tcp",
        kinds: &[Kind::Bool],
        default: "false",
        allowed: "true",
        doc: "Ready when its port accepts a connection: its first TCP listener, through the gate, or ready.port on 127.0.0.1.",
        example: "ready = { tcp = true }",
        applies: Applies::Live,
    },
    Key {
        path: "process.*.ready.http",
        kinds: &[Kind::Text],
        default: "none",
        allowed: "a path that begins with /",
        doc: "Ready when GET of this path on its port, found as for ready.tcp, answers 200 to 399.",
        example: "ready = { http = \"/healthz\" }",
        applies: Applies::Live,
    },
    Key {
        path: "process.*.ready.port",
        kinds: &[Kind::Int(1, 65535)],
        default: "that of its first TCP listener, else the instance's $PORT",
        allowed: "a whole number from 1 to 65535",
        doc: "The port of ready.tcp and ready.http, on 127.0.0.1.",
        example: "ready = { tcp = true, port = 8080 }",
        applies: Applies::Live,
    },
    Key {
        path: "process.*.ready.timeout",
        kinds: &[Kind::Text],
        default: "\"60s\"",
        allowed: "a time from \"10ms\" to \"365d\"",
        doc: "An instance that is not ready by then counts as failed.",
        example: "ready = { notify = true, timeout = \"90s\" }",
        applies: Applies::Live,
    },
    Key {
        path: "process.*.restart",
        kinds: &[Kind::OneOf(&["always", "on-failure", "never"]), Kind::Group],
        default: "\"always\"; \"never\" for a one-shot",
        allowed: "\"always\", \"on-failure\", \"never\" or a table",
        doc: "When and how fast an instance that ended is started again. A string is short for a table with when.",
        example: "restart = \"on-failure\"",
        applies: Applies::Live,
    },
    Key {
        path: "process.*.restart.when",
        kinds: &[Kind::OneOf(&["always", "on-failure", "never"])],
        default: "\"always\"; \"never\" for a one-shot",
        allowed: "\"always\", \"on-failure\" or \"never\"",
        doc: "After which ends: every one, those that are no success, or none.",
        example: "restart = { when = \"on-failure\" }",
        applies: Applies::Live,
    },
    Key {
        path: "process.*.restart.backoff",
        kinds: &[Kind::Text],
        default: "\"500ms..30s\"",
        allowed: "a time, or two as \"500ms..30s\", up to \"1d\"",
        doc: "The pause before a restart: the first one, doubled at each failure in a row up to the second one. \"0s\" \
              restarts at once.",
        example: "restart = { backoff = \"1s..1m\" }",
        applies: Applies::Live,
    },
    Key {
        path: "process.*.restart.limit",
        kinds: &[Kind::Text],
        default: "\"5 in 1m\"",
        allowed: "\"COUNT in TIME\" such as \"5 in 1m\", or \"none\"",
        doc: "So many restarts in so long a time are allowed; then the instance is failed. With \"none\" svd never \
              gives up.",
        example: "restart = { limit = \"10 in 5m\" }",
        applies: Applies::Live,
    },
    Key {
        path: "process.*.restart.success_exit",
        kinds: &[Kind::Scalars],
        default: "[0]",
        allowed: "an array of exit codes from 0 to 255 and signals such as \"TERM\"",
        doc: "Ends that are no failure: for restart = \"on-failure\" and for one-shots.",
        example: "restart = { when = \"on-failure\", success_exit = [0, 143, \"SIGTERM\"] }",
        applies: Applies::Live,
    },
    Key {
        path: "process.*.stop",
        kinds: &[Kind::Texts],
        default: "[\"TERM\", \"10s\", \"KILL\"]",
        allowed: "an array of signals and times such as [\"TERM\", \"30s\", \"KILL\"], with KILL or \"none\" only at its end",
        doc: "How it is stopped, step by step: signals go to the main process, KILL to its whole tree. After the last \
              step the whole tree is killed in any case, but after \"none\", which waits without end (svctl kill --now ends it).",
        example: "stop = [\"QUIT\", \"30s\", \"TERM\", \"5s\", \"KILL\"]",
        applies: Applies::Live,
    },
    Key {
        path: "process.*.reload",
        kinds: &[Kind::Text],
        default: "\"HUP\"",
        allowed: SIGNALS,
        doc: "The signal that svctl reload sends.",
        example: "reload = \"USR2\"",
        applies: Applies::Live,
    },
    Key {
        path: "process.*.quiet",
        kinds: &[Kind::Text],
        default: "none",
        allowed: "a signal such as \"TSTP\"",
        doc: "The signal that tells a worker to take no new work. It is sent when its drain begins: with update = \"handover\" before its successor starts.",
        example: "quiet = \"TSTP\"",
        applies: Applies::Live,
    },
    Key {
        path: "process.*.drained",
        kinds: &[Kind::Text, Kind::Texts, Kind::Group],
        default: "none",
        allowed: "a command, or a table with run",
        doc: "Proof that an instance that is to be replaced has finished its work: its stop begins only then. A command is short for a table with run.",
        example: "drained = \"./busy --none\"",
        applies: Applies::Live,
    },
    Key {
        path: "process.*.drained.run",
        kinds: &[Kind::Text, Kind::Texts],
        default: "none: drained needs one",
        allowed: "a command: a string, or an array of strings",
        doc: "Exits 0 when the work is finished. It gets the environment of the instance and is tried again and again.",
        example: "drained = { run = \"./busy --none\" }",
        applies: Applies::Live,
    },
    Key {
        path: "process.*.drained.every",
        kinds: &[Kind::Text],
        default: "\"1s\"",
        allowed: "a time from \"10ms\" to \"1h\"",
        doc: "The time between two tries.",
        example: "drained = { run = \"./busy --none\", every = \"5s\" }",
        applies: Applies::Live,
    },
    Key {
        path: "process.*.drained.timeout",
        kinds: &[Kind::Text],
        default: "\"10m\"",
        allowed: "a time from \"10ms\" to \"365d\", or \"none\"",
        doc: "After so long its stop begins without the proof; with \"none\" never.",
        example: "drained = { run = \"./busy --none\", timeout = \"none\" }",
        applies: Applies::Live,
    },
    Key {
        path: "process.*.update",
        kinds: &[Kind::OneOf(&["overlap", "handover", "exclusive"]), Kind::Group],
        default: "\"overlap\" with listen, else \"handover\" with quiet, else \"exclusive\"",
        allowed: "\"overlap\", \"handover\", \"exclusive\" or a table",
        doc: "How running instances are replaced: by restart, apply, recycle and health. A string is short for a table with strategy.",
        example: "update = \"overlap\"",
        applies: Applies::Live,
    },
    Key {
        path: "process.*.update.strategy",
        kinds: &[Kind::OneOf(&["overlap", "handover", "exclusive"])],
        default: "\"overlap\" with listen, else \"handover\" with quiet, else \"exclusive\"",
        allowed: "\"overlap\", \"handover\" or \"exclusive\"",
        doc: "The order. overlap: start the new one, wait until it is ready, drain and stop the old one; when the new one does not come up, the old one goes on. handover: tell the old one to be quiet, start the new one, stop the old one when the new one is ready. exclusive: stop the old one, then start the new one; the only one for one-shots.",
        example: "update = { strategy = \"overlap\" }",
        applies: Applies::Live,
    },
    Key {
        path: "process.*.update.surge",
        kinds: &[Kind::Int(0, 1000), Kind::Text],
        default: "1",
        allowed: "a whole number up to 1000, or a share from \"1%\" to \"100%\"",
        doc: "So many new instances are started at once beside the old ones, at least 1; a share is one of count. For overlap and handover.",
        example: "update = { strategy = \"overlap\", surge = \"100%\" }",
        applies: Applies::Live,
    },
    Key {
        path: "process.*.update.unavailable",
        kinds: &[Kind::Int(0, 1000), Kind::Text],
        default: "1",
        allowed: "a whole number up to 1000, or a share from \"1%\" to \"100%\"",
        doc: "So many instances may be missing at once, at least 1; a share is one of count. For exclusive: the others never miss one.",
        example: "update = { strategy = \"exclusive\", unavailable = 2 }",
        applies: Applies::Live,
    },
    Key {
        path: "process.*.update.bake",
        kinds: &[Kind::Text],
        default: "\"0s\"",
        allowed: "a time up to \"1d\"",
        doc: "So long a new instance must have been well, under traffic where it has any, before an old one goes for it.",
        example: "update = { bake = \"10s\" }",
        applies: Applies::Live,
    },
    Key {
        path: "process.*.update.canary",
        kinds: &[Kind::Texts],
        default: "[]",
        allowed: "an array of shares and times such as [\"10% 1m\", \"50% 1m\"]",
        doc: "Shares of the connections for new instances, from 1% to 99% and going up, and for how long; then they get what they are due. For overlap with a gated listener.",
        example: "listen = \"0.0.0.0:8080\"
update = { canary = [\"10% 1m\", \"50% 1m\"] }",
        applies: Applies::Live,
    },
    Key {
        path: "process.*.health",
        kinds: &[Kind::Group],
        default: "none",
        allowed: "a table with one of http, tcp and run",
        doc: "What shows that an instance is still well once it was ready. One that is not is replaced as update says; never all at once.",
        example: "health = { http = \"/healthz\" }",
        applies: Applies::Live,
    },
    Key {
        path: "process.*.health.http",
        kinds: &[Kind::Text],
        default: "none",
        allowed: "a path that begins with /",
        doc: "GET of this path answers 200 to 399, on the port as for ready.http.",
        example: "health = { http = \"/healthz\", failures = 5 }",
        applies: Applies::Live,
    },
    Key {
        path: "process.*.health.tcp",
        kinds: &[Kind::Bool],
        default: "false",
        allowed: "true",
        doc: "Its port accepts a connection.",
        example: "health = { tcp = true }",
        applies: Applies::Live,
    },
    Key {
        path: "process.*.health.run",
        kinds: &[Kind::Text, Kind::Texts],
        default: "none",
        allowed: "a command: a string, or an array of strings",
        doc: "This command exits 0. It gets the environment of the instance.",
        example: "health = { run = \"./alive --quick\" }",
        applies: Applies::Live,
    },
    Key {
        path: "process.*.health.port",
        kinds: &[Kind::Int(1, 65535)],
        default: "that of its first TCP listener, else the instance's $PORT",
        allowed: "a whole number from 1 to 65535",
        doc: "The port of health.http and health.tcp, on 127.0.0.1.",
        example: "health = { tcp = true, port = 9000 }",
        applies: Applies::Live,
    },
    Key {
        path: "process.*.health.every",
        kinds: &[Kind::Text],
        default: "\"5s\"",
        allowed: "a time from \"100ms\" to \"1d\"",
        doc: "The time between two probes.",
        example: "health = { tcp = true, every = \"10s\" }",
        applies: Applies::Live,
    },
    Key {
        path: "process.*.health.timeout",
        kinds: &[Kind::Text],
        default: "\"2s\"",
        allowed: "a time from \"10ms\" to \"1h\"",
        doc: "How long a probe may take.",
        example: "health = { http = \"/healthz\", timeout = \"500ms\" }",
        applies: Applies::Live,
    },
    Key {
        path: "process.*.health.failures",
        kinds: &[Kind::Int(1, 1000)],
        default: "3",
        allowed: "a whole number from 1 to 1000",
        doc: "So many failures in a row and the instance is replaced.",
        example: "health = { tcp = true, failures = 5 }",
        applies: Applies::Live,
    },
    Key {
        path: "process.*.recycle",
        kinds: &[Kind::Group],
        default: "{}",
        allowed: "a table with memory, age or both",
        doc: "When an instance is replaced although it is well, as update says.",
        example: "recycle = { memory = \"400M\", age = \"1d\" }",
        applies: Applies::Live,
    },
    Key {
        path: "process.*.recycle.memory",
        kinds: &[Kind::Text, Kind::Int(1_048_576, 1 << 50)],
        default: "none",
        allowed: "a size from \"1M\" to \"1024T\"",
        doc: "When its processes use so much memory together.",
        example: "recycle = { memory = \"400M\" }",
        applies: Applies::Live,
    },
    Key {
        path: "process.*.recycle.age",
        kinds: &[Kind::Text],
        default: "none",
        allowed: "a time from \"10s\" to \"365d\"",
        doc: "So long after it became ready, and up to a tenth later, so that instances do not go together.",
        example: "recycle = { age = \"1d\" }",
        applies: Applies::Live,
    },
    Key {
        path: "process.*.logs",
        kinds: &[Kind::OneOf(&["none"]), Kind::Group],
        default: "{ max_size = \"1G\", segment = \"64M\" }",
        allowed: "\"none\" or a table with max_size and segment",
        doc: "Where its output goes: into segments on disk, or with \"none\" nowhere. A change to or from \"none\" \
              restarts the instances.",
        example: "logs = \"none\"",
        applies: Applies::Live,
    },
    Key {
        path: "process.*.logs.max_size",
        kinds: &[Kind::Text, Kind::Int(16_384, 1 << 50)],
        default: "\"1G\"",
        allowed: "a size from \"16K\" to \"1024T\"",
        doc: "When the segments of a stream are larger than this together, the oldest is deleted.",
        example: "logs = { max_size = \"200M\" }",
        applies: Applies::Live,
    },
    Key {
        path: "process.*.logs.segment",
        kinds: &[Kind::Text, Kind::Int(4_096, 1 << 40)],
        default: "\"64M\", or a quarter of max_size where that is less",
        allowed: "a size from \"4K\" to \"1T\", at most max_size",
        doc: "The size at which a new segment is begun.",
        example: "logs = { segment = \"16M\" }",
        applies: Applies::Live,
    },
];
