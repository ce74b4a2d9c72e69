//! The command line of svd.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Keeps an application's process tree running.
#[derive(Debug, Parser)]
#[command(name = "svd", version, long_about = None, args_conflicts_with_subcommands = true)]
#[command(after_help = "\
`svd -- COMMAND…` runs one command as init of a container: it passes signals on, reaps, and ends with the command's code.

Exit codes: 0 stopped as asked, 1 failed, 2 config or usage error, an essential process's own code (128+n for a signal).")]
pub struct Cli {
    /// What to do; without one: run.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// Options of `run`.
    #[command(flatten)]
    pub run: RunArgs,
}

/// What svd does.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the app in the foreground (the default)
    Run(RunArgs),
    /// Validate a config: all errors at once, nothing is touched
    Check(CheckArgs),
    /// Try out what svd can guarantee on this host, as the user who asks: exit 0 whatever it finds
    Doctor(DoctorArgs),
    /// Print what this build is and speaks
    Version(VersionArgs),
}

/// Options of `svd version`.
#[derive(Clone, Debug, Args)]
pub struct VersionArgs {
    /// Print the result as JSON: version, protocol between keeper and manager, encoding of a keeper's state, feature bits
    #[arg(long)]
    pub json: bool,
}

/// Options of `svd doctor`.
#[derive(Clone, Debug, Args)]
pub struct DoctorArgs {
    /// Print the result as JSON
    #[arg(long)]
    pub json: bool,
}

/// Options of `svd run`.
#[derive(Clone, Debug, Default, Args)]
pub struct RunArgs {
    /// Config file [default: Procfile.toml, else Procfile, of the current directory]
    #[arg(short = 'c', long = "config", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Environment whose overlay is applied
    #[arg(short, long, value_name = "NAME")]
    pub environment: Option<String>,
    /// Run only these processes, and of the jobs only those named as job:NAME, or all by the word jobs; separated by commas
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub only: Vec<String>,
    /// Run no jobs
    #[arg(long)]
    pub no_jobs: bool,
    /// State directory [default: $SVD_ROOT, else /var/lib/svd/APP as root, $XDG_STATE_HOME/svd/APP for others]
    #[arg(long, value_name = "DIR")]
    pub root: Option<PathBuf>,
    /// How the instances' output is shown
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
}

/// Options of `svd check`.
#[derive(Clone, Debug, Args)]
pub struct CheckArgs {
    /// Config file [default: Procfile.toml, else Procfile, of the current directory]
    #[arg(value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Config file, as `svd run` takes it
    #[arg(short = 'c', long = "config", value_name = "FILE", conflicts_with = "config")]
    pub config_option: Option<PathBuf>,
    /// Environment whose overlay is applied
    #[arg(short, long, value_name = "NAME")]
    pub environment: Option<String>,
    /// Print the JSON Schema of Procfile.toml instead
    #[arg(long)]
    pub schema: bool,
    /// Print the result as JSON
    #[arg(long)]
    pub json: bool,
}

/// How the instances' output is shown in the foreground.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Prefixed lines, coloured on a terminal
    #[default]
    Text,
    /// One JSON object a line
    Json,
}

/// The whole command line, for man page and completions.
pub fn command() -> clap::Command {
    <Cli as clap::CommandFactory>::command()
}
