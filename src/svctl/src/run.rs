//! From the command line to the exit code.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;
use svd_api::{CommandKind, ErrorReply};
use svd_config::import::CrontabKind;

use crate::args::{Cli, Command, Global, Import};
use crate::client::Client;
use crate::failure::{DONE, Failure};
use crate::find::{self, Caller};
use crate::pages;
use crate::screen::{Format, Screen};
use crate::verbs::import::Crontab;
use crate::verbs::schedule::Question;
use crate::verbs::{self, Session};

/// The whole of svctl.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse_from(std::env::args_os()) {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    let env: BTreeMap<String, String> =
        std::env::vars_os().filter_map(|(name, value)| text(name).zip(text(value))).collect();
    let cwd = match std::env::current_dir() {
        Ok(cwd) => cwd,
        // Removed below our feet: what is named absolutely still works.
        Err(_) => "/".into(),
    };
    let caller = Caller { uid: nix::unistd::geteuid().as_raw(), env, cwd, slash: "/".into() };
    let (mut out, mut err) = (io::stdout(), io::stderr());
    let mut screen = Screen::new(&mut out, &mut err, &cli.global, &caller.env);
    ExitCode::from(run(&cli, &caller, &mut screen))
}

fn text(text: OsString) -> Option<String> {
    text.into_string().ok()
}

/// Help and version are clap's to print, and so are usage errors, unless a program asked for JSON.
fn usage(error: &clap::Error) -> ExitCode {
    let asks_json = std::env::args_os().take_while(|argument| argument != "--").any(|argument| argument == "--json");
    if error.use_stderr() && asks_json {
        let reply = ErrorReply { error: error.to_string().trim_end().to_owned() };
        if let Ok(line) = serde_json::to_string(&reply) {
            let _nobody_reads = writeln!(io::stdout(), "{line}");
        }
    } else {
        let _nobody_reads = error.print();
    }
    ExitCode::from(if error.use_stderr() { crate::failure::USAGE } else { DONE })
}

/// Runs one command; the exit code.
pub(crate) fn run(cli: &Cli, caller: &Caller, screen: &mut Screen<'_>) -> u8 {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return tell(screen, &Failure::Failed(format!("cannot wait for events: {error}"))),
    };
    match runtime.block_on(dispatch(cli, caller, screen)) {
        Ok(()) => DONE,
        Err(failure) => tell(screen, &failure),
    }
}

fn tell(screen: &mut Screen<'_>, failure: &Failure) -> u8 {
    if let Some(message) = failure.message() {
        match screen.format {
            Format::Human => screen.note(&format!("svctl: {}", crate::text::plain_lines(message))),
            Format::Json => {
                // Where nobody reads it, the code still tells.
                let _nobody_reads = screen.print_json(&ErrorReply { error: message.to_owned() });
            }
        }
    }
    failure.code()
}

async fn dispatch(cli: &Cli, caller: &Caller, screen: &mut Screen<'_>) -> Result<(), Failure> {
    // These need no svd.
    match &cli.command {
        Some(Command::Completions { shell }) => return screen.print(&pages::completions(*shell)),
        Some(Command::Check { schema: true, .. }) => return verbs::check::schema(screen),
        Some(Command::Check { file, environment, schema: false }) => {
            return verbs::check::run(screen, caller, file.as_deref(), environment.as_deref());
        }
        Some(Command::Doctor) => return Err(verbs::doctor::run(screen)),
        Some(Command::Schedule { expression, timezone, after, count }) => {
            let question = Question { text: expression, zone: timezone, after: after.as_ref(), count: *count };
            return verbs::schedule::run(screen, &question);
        }
        Some(Command::Import(Import::Crontab { file, system, output })) => {
            let kind = if *system { CrontabKind::System } else { CrontabKind::User };
            return verbs::import::crontab(screen, caller, &Crontab { file, kind, output: output.as_deref() });
        }
        Some(Command::Kill { now: false, .. }) => {
            return Err(Failure::Usage(
                "kill ends whole process trees at once, without their stop signals and grace periods: say `svctl kill --now TARGET`, or `svctl stop TARGET` for an orderly end".to_owned(),
            ));
        }
        _ => {}
    }
    let mut session = connect(&cli.global, caller, screen).await?;
    let session = &mut session;
    match &cli.command {
        None => verbs::status::run(session, &[]).await,
        Some(Command::Status { targets }) => verbs::status::run(session, targets).await,
        Some(Command::Top { interval, once }) => verbs::top::run(session, *interval, *once).await,
        Some(Command::Health { targets }) => verbs::health::run(session, targets).await,
        Some(Command::Why { target }) => verbs::why::run(session, target).await,
        Some(Command::Start(change)) => verbs::change::command(session, CommandKind::Start, change).await,
        Some(Command::Stop(change)) => verbs::change::command(session, CommandKind::Stop, change).await,
        Some(Command::Restart(change)) => verbs::change::command(session, CommandKind::Restart, change).await,
        Some(Command::Reload(change)) => verbs::change::command(session, CommandKind::Reload, change).await,
        Some(Command::Drain(change)) => verbs::change::command(session, CommandKind::Drain, change).await,
        Some(Command::Kill { change, replaced, .. }) => verbs::change::kill(session, change, *replaced).await,
        Some(Command::Enable(change)) => verbs::change::command(session, CommandKind::Enable, change).await,
        Some(Command::Disable(change)) => verbs::change::command(session, CommandKind::Disable, change).await,
        Some(Command::Scale { counts, options }) => verbs::change::scale(session, counts, options).await,
        Some(Command::Signal { signal, targets, options }) => {
            verbs::change::signal(session, signal, targets, options).await
        }
        Some(Command::Jobs { command }) => verbs::jobs::run(session, command.as_ref()).await,
        Some(Command::Run { job, wait, options }) => verbs::jobs::run_now(session, job, *wait, options).await,
        Some(Command::Logs(options)) => verbs::logs::run(session, options).await,
        Some(Command::Exec { process, command }) => verbs::exec::run(session, process.clone(), command).await,
        Some(Command::Apply { file, options }) => verbs::change::apply(session, file.as_deref(), options).await,
        Some(Command::Env { process }) => verbs::env::run(session, process.clone()).await,
        Some(Command::Events { target, follow, lines }) => {
            verbs::events::run(session, target.as_deref(), *follow, *lines).await
        }
        Some(Command::Wait { target, state, timeout }) => verbs::wait::run(session, target, *state, *timeout).await,
        Some(Command::Upgrade { binary, manager_only, options }) => {
            verbs::upgrade::run(session, binary.as_deref(), *manager_only, options).await
        }
        Some(Command::Shutdown { now, options }) => verbs::change::shutdown(session, *now, options).await,
        // Dealt with above.
        Some(
            Command::Check { .. }
            | Command::Completions { .. }
            | Command::Doctor
            | Command::Import(_)
            | Command::Schedule { .. },
        ) => Ok(()),
    }
}

async fn connect<'s, 'w>(
    global: &Global,
    caller: &'s Caller,
    screen: &'s mut Screen<'w>,
) -> Result<Session<'s, 'w>, Failure> {
    let socket = find::socket(global, caller).await?;
    Ok(Session { client: Client::new(socket), caller, screen })
}
