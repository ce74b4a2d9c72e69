//! The table of commands. `--help`, the man page and the completions all come from it; nothing is listed twice.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use svd_api::{ScaleCount, WaitFor};

use crate::values::{self, When};

/// Looks at and steers an application that svd keeps running
///
/// Without a command it shows the status. The app is found by --socket, --root, -a or $SVD_CONTROL, else it is the one
/// whose config lies in the current directory, else the only one that runs.
///
/// A TARGET is a process (web), an instance (web.2), a pattern (w*) or all; for stop, why, logs and events also the runs of a
/// job (job:report) or one of them (job:report.17).
#[derive(Debug, Parser)]
#[command(name = "svctl", version, disable_help_subcommand = true, after_help = EXIT_CODES)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Option<Command>,
}

const EXIT_CODES: &str = "\
Exit codes: 0 done, 1 failed, 2 usage or config error, 3 refused before anything was changed, 4 failed and taken back: what ran before \
runs on, 5 failed and could not be taken back either: nothing that was well was stopped, 69 svd is not running; exec ends with the code \
of its command.";

/// Options of all commands.
#[derive(Debug, Default, Args)]
pub(crate) struct Global {
    /// The app, where several run on this host
    #[arg(short = 'a', long, global = true, value_name = "APP")]
    pub app: Option<String>,
    /// Control socket of the app
    #[arg(long, global = true, value_name = "PATH")]
    pub socket: Option<PathBuf>,
    /// The --root that svd was started with
    #[arg(long, global = true, value_name = "DIR")]
    pub root: Option<PathBuf>,
    /// Print JSON; errors too are then an object on standard output: {"error": "..."}
    #[arg(long, global = true)]
    pub json: bool,
    /// When to use colour; NO_COLOR in the environment switches auto off
    #[arg(long, global = true, value_name = "WHEN", value_enum, default_value_t)]
    pub color: Color,
}

/// When to use colour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Color {
    /// On a terminal.
    #[default]
    Auto,
    Always,
    Never,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show the tree: instances, state, pid, uptime, restarts, cpu, memory, and the reason when not well
    #[command(visible_alias = "ps")]
    Status {
        /// Only these
        targets: Vec<String>,
    },
    /// Show the tree live, with cpu, memory and the last lines of output, and keys to stop, restart and scale
    ///
    /// Keys that change something ask first. `?` shows them all.
    Top {
        /// How often to look
        #[arg(long, value_name = "TIME", default_value = "1s", value_parser = values::interval)]
        interval: Duration,
        /// One look, as text; with --json as svctl status has it
        #[arg(long)]
        once: bool,
    },
    /// Ask whether all is well, in one line: exit 0 when every instance that is to run is ready or completed, else 1
    ///
    /// For health checks of engines and monitors. What was stopped or disabled on purpose is well; what starts is not yet.
    Health {
        /// Only these
        targets: Vec<String>,
    },
    /// Tell what led to an instance's state: the chain of events and its last output
    Why { target: String },
    /// Start what is stopped or has failed
    Start(Change),
    /// Stop; it stays stopped until it is started again
    Stop(Change),
    /// Replace instances one by one, each new one ready before the next is touched
    Restart(Change),
    /// Send the reload signal
    Reload(Change),
    /// Tell to take no new work, wait until it has finished, then stop; it stays stopped until it is started again
    ///
    /// What counts as finished is the process's own matter: its listeners have nobody waiting any more, its `drained`
    /// command agrees, it has ended by itself.
    Drain(Change),
    /// Kill the whole process tree at once, without its stop signals and grace periods
    Kill {
        #[command(flatten)]
        change: Change,
        /// Required, since the processes get no chance to finish their work
        #[arg(long)]
        now: bool,
        /// Only what is left of instances that were replaced and still finish their work; what replaced them runs on
        #[arg(long)]
        replaced: bool,
    },
    /// Allow a process that was disabled, and start it
    Enable(Change),
    /// Stop, and keep stopped even when svd is started again
    Disable(Change),
    /// Set how many instances run: web=4, worker=+2, db=-1; processes that are not named keep theirs
    ///
    /// The number stays over applies and new starts of svd. Scaling to the config's own count follows the config again.
    Scale {
        #[arg(required = true, value_name = "PROCESS=COUNT", value_parser = values::scale)]
        counts: Vec<(String, ScaleCount)>,
        #[command(flatten)]
        options: ChangeOptions,
    },
    /// Send a signal to main processes
    Signal {
        /// Name or number: USR1, SIGHUP, 10, RTMIN+3
        #[arg(value_parser = values::signal)]
        signal: String,
        #[arg(required = true)]
        targets: Vec<String>,
        #[command(flatten)]
        options: ChangeOptions,
    },
    /// List jobs: when each runs next, what became of the last run; look at their history, pause and resume them
    Jobs {
        #[command(subcommand)]
        command: Option<JobsCommand>,
    },
    /// Run a job now, whatever its schedule says
    Run {
        job: String,
        /// Wait until the run is over, and end with its exit code
        #[arg(short, long)]
        wait: bool,
        #[command(flatten)]
        options: ChangeOptions,
    },
    /// Show what instances and runs of jobs wrote, merged in time order
    Logs(Logs),
    /// Run a command as a process would be run: its environment, directory and user, on this terminal
    Exec {
        /// As this process; default: the first of the config
        #[arg(long, value_name = "NAME")]
        process: Option<String>,
        #[arg(last = true, required = true, value_name = "COMMAND")]
        command: Vec<std::ffi::OsString>,
    },
    /// Re-read the config and change only what differs
    Apply {
        /// Another config file; default: the one svd was started with
        file: Option<PathBuf>,
        #[command(flatten)]
        options: ChangeOptions,
    },
    /// List the variables a process gets and where each comes from; never a value
    Env {
        /// Default: every process
        process: Option<String>,
    },
    /// Show what happened
    Events {
        /// Only what concerns this target
        target: Option<String>,
        /// Go on with what happens from now on
        #[arg(short, long)]
        follow: bool,
        /// How many of the past
        #[arg(short = 'n', long, value_name = "N", default_value_t = 20)]
        lines: usize,
    },
    /// Wait until a target is in a state; exit 1 when the time is over
    Wait {
        target: String,
        /// What to wait for
        #[arg(long = "for", value_name = "STATE", value_enum, default_value = "ready")]
        state: WaitState,
        /// How long: 30s, 5m; default: without end
        #[arg(long, value_parser = values::duration)]
        timeout: Option<Duration>,
    },
    /// Have svd become the build that lies on disk now, without restarting any process
    ///
    /// The manager first, then the keeper in place; where the new one does not come up, the former one runs again (exit 4).
    /// Listeners, processes and their output are not touched.
    Upgrade {
        /// Another svd; only for root and the user svd runs as. Default: the file that svd was started from
        binary: Option<PathBuf>,
        /// Leave the keeper, which needs it seldom, as it is
        #[arg(long)]
        manager_only: bool,
        #[command(flatten)]
        options: ChangeOptions,
    },
    /// Stop everything in order and end svd
    Shutdown {
        /// Kill at once, without stop signals and grace periods
        #[arg(long)]
        now: bool,
        #[command(flatten)]
        options: ChangeOptions,
    },
    /// Check a config without a running svd: exit 0 when it is good, 2 when not
    Check {
        /// Default: Procfile.toml, else Procfile, in the current directory
        file: Option<PathBuf>,
        /// With this environment's overlay
        #[arg(short, long, value_name = "ENVIRONMENT")]
        environment: Option<String>,
        /// Print a JSON schema of the config for editors instead
        #[arg(long)]
        schema: bool,
    },
    /// Try out what svd can guarantee on this host, as the user who asks, without a running svd: exit 0 whatever it finds
    ///
    /// Each line says whether a guarantee holds, and where it does not, what follows and the way out. svd runs in either case.
    Doctor,
    /// Tell when a schedule would run, in words and instants, without a running svd: exit 2 when it is invalid or never runs
    Schedule {
        /// Five fields in quotes, a macro, or an interval: "*/15 6-22 * * mon-fri", @daily, "every 90s"
        #[arg(value_name = "EXPR")]
        expression: String,
        /// The zone whose clock counts: Europe/Berlin
        #[arg(long, value_name = "ZONE", default_value = "UTC")]
        timezone: String,
        /// Begin after this instant, not now: 2026-11-23T14:30:00Z, or a time of the zone: "2026-11-23 14:30"
        #[arg(long, value_name = "TIME", value_parser = values::when)]
        after: Option<When>,
        /// How many instants
        #[arg(short = 'n', long, value_name = "N", default_value_t = 5, value_parser = values::count)]
        count: usize,
    },
    /// Translate the config of another program to a Procfile.toml, without a running svd
    #[command(subcommand)]
    Import(Import),
    /// Print a completion script
    Completions { shell: Shell },
}

/// What can be imported.
#[derive(Debug, Subcommand)]
pub(crate) enum Import {
    /// Translate a crontab to jobs; what is not the same is told on standard error
    ///
    /// Exit 1 when there is a line that could not be translated; the others are, and it is a comment.
    Crontab {
        /// A file, or - for standard input: `crontab -l | svctl import crontab -`
        file: PathBuf,
        /// The sixth field is the user, as in /etc/crontab and /etc/cron.d
        #[arg(long)]
        system: bool,
        /// Write the config to this new file instead of standard output
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
}

/// What `svctl jobs` does.
#[derive(Debug, Subcommand)]
pub(crate) enum JobsCommand {
    /// Show the runs that are remembered, the newest first: result, exit, duration, and why
    History {
        /// Default: of all jobs
        job: Option<String>,
        /// How many
        #[arg(short = 'n', long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=10_000))]
        lines: u32,
    },
    /// Do not run jobs by their schedules until resume; what is in progress goes on
    Pause {
        #[arg(required = true, value_name = "JOB")]
        jobs: Vec<String>,
        #[command(flatten)]
        options: ChangeOptions,
    },
    /// Run jobs by their schedules again; what came meanwhile is not made up for
    Resume {
        #[arg(required = true, value_name = "JOB")]
        jobs: Vec<String>,
        #[command(flatten)]
        options: ChangeOptions,
    },
}

/// A change of some targets.
#[derive(Debug, Args)]
pub(crate) struct Change {
    #[arg(required = true, value_name = "TARGET")]
    pub targets: Vec<String>,
    #[command(flatten)]
    pub options: ChangeOptions,
}

/// Options of whatever changes something.
#[derive(Debug, Default, Args)]
pub(crate) struct ChangeOptions {
    /// Why, for the history
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
    /// Only say what would be done
    #[arg(long)]
    pub dry_run: bool,
    /// Give up waiting for the end after this time (30s, 5m); svd goes on with it
    #[arg(long, value_parser = values::duration)]
    pub timeout: Option<Duration>,
    /// Show what happens meanwhile even where standard error is no terminal
    #[arg(short, long)]
    pub verbose: bool,
}

#[derive(Debug, Default, Args)]
pub(crate) struct Logs {
    /// Default: all; job:report for the runs of a job
    pub targets: Vec<String>,
    /// Only this run of the job that is named
    #[arg(long, value_name = "ID")]
    pub run: Option<u32>,
    /// Go on with what is written from now on
    #[arg(short, long)]
    pub follow: bool,
    /// How many of the last lines; default: 100, with -f 10, with --since all
    #[arg(short = 'n', long, value_name = "N")]
    pub lines: Option<u64>,
    /// From this time on: 10m (ago), 14:30, 2026-11-23, "2026-11-23 14:30", 2026-11-23T14:30:00Z
    #[arg(long, value_name = "TIME", value_parser = values::when)]
    pub since: Option<When>,
    /// Up to this time
    #[arg(long, value_name = "TIME", value_parser = values::when)]
    pub until: Option<When>,
    /// Only lines that match this regular expression
    #[arg(long, value_name = "REGEX")]
    pub grep: Option<String>,
    /// Only this stream
    #[arg(long, value_enum)]
    pub stream: Option<Stream>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Stream {
    Stdout,
    Stderr,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum WaitState {
    /// All instances are ready or completed
    Ready,
    /// Nothing of them runs any more, nor anything that replaces them or was replaced by them
    Stopped,
    /// All one-shots are completed
    Completed,
}

impl WaitState {
    pub fn api(self) -> WaitFor {
        match self {
            WaitState::Ready => WaitFor::Ready,
            WaitState::Stopped => WaitFor::Stopped,
            WaitState::Completed => WaitFor::Completed,
        }
    }

    pub fn word(self) -> &'static str {
        match self.api() {
            WaitFor::Ready => "ready",
            WaitFor::Stopped => "stopped",
            WaitFor::Completed => "completed",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Shell {
    Bash,
    Zsh,
    Fish,
}
