//! Whatever changes something: one order, its progress while it is carried out, its outcome.

use std::collections::BTreeMap;

use serde::Serialize;
use svd_api::{
    ApplyRequest, CommandKind, CommandRequest, CommandResult, OutcomeWord, ScaleCount, ScaleRequest, ShutdownRequest,
    SignalRequest, Status,
};

use super::progress::Progress;
use super::{Session, status};
use crate::args::{Change, ChangeOptions};
use crate::client::{Answer, Error, LOOK, Query};
use crate::failure::{FAILED, Failure, HELD, REFUSED, ROLLED_BACK};
use crate::screen::{Format, Place, Screen};
use crate::view;

/// How often a manager may be replaced while we ask the next one what is.
const ATTEMPTS: usize = 3;

/// Something to be carried out.
pub(super) struct Order<'a, T> {
    /// Its route below `/v1`.
    route: &'a str,
    /// As the user called it.
    verb: &'a str,
    /// Whose events are its progress; empty is all.
    targets: &'a [String],
    options: &'a ChangeOptions,
    body: T,
    /// What it means when svd is gone after it.
    end: End,
    /// Whether the user has seen what is going to be done.
    plan: Plan,
}

impl<'a, T> Order<'a, T> {
    /// One whose outcome says it all.
    pub fn new(
        route: &'a str,
        verb: &'a str,
        targets: &'a [String],
        options: &'a ChangeOptions,
        body: T,
    ) -> Order<'a, T> {
        Order { route, verb, targets, options, body, end: End::Unexpected, plan: Plan::WithOutcome }
    }
}

/// Whether what is going to be done was shown before.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Plan {
    /// It was: the outcome need not repeat it.
    Shown,
    /// It comes with the outcome.
    WithOutcome,
}

/// What it means when svd is gone after an order.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    /// It is what was asked for.
    Asked,
    /// Something else ended it.
    Unexpected,
}

/// start, stop, restart, reload, drain, enable, disable.
pub(crate) async fn command(session: &mut Session<'_, '_>, kind: CommandKind, change: &Change) -> Result<(), Failure> {
    on_targets(session, kind, change, false).await
}

/// Kills; `replaced` spares all but what is left of replaced instances.
pub(crate) async fn kill(session: &mut Session<'_, '_>, change: &Change, replaced: bool) -> Result<(), Failure> {
    on_targets(session, CommandKind::Kill, change, replaced).await
}

/// As the user calls it, and the route.
pub(super) fn verb(kind: CommandKind) -> &'static str {
    match kind {
        CommandKind::Start => "start",
        CommandKind::Stop => "stop",
        CommandKind::Restart => "restart",
        CommandKind::Reload => "reload",
        CommandKind::Drain => "drain",
        CommandKind::Kill => "kill",
        CommandKind::Enable => "enable",
        CommandKind::Disable => "disable",
    }
}

async fn on_targets(
    session: &mut Session<'_, '_>,
    kind: CommandKind,
    change: &Change,
    replaced: bool,
) -> Result<(), Failure> {
    let verb = verb(kind);
    let (targets, options) = (&change.targets, &change.options);
    let body =
        CommandRequest { targets: targets.clone(), replaced, reason: options.reason.clone(), dry_run: options.dry_run };
    let route = format!("/processes/{verb}");
    carry_out(
        session,
        Order { route: &route, verb, targets, options, body, end: End::Unexpected, plan: Plan::WithOutcome },
    )
    .await
}

pub(crate) async fn scale(
    session: &mut Session<'_, '_>,
    counts: &[(String, ScaleCount)],
    options: &ChangeOptions,
) -> Result<(), Failure> {
    let mut named = BTreeMap::new();
    for (process, count) in counts {
        if named.insert(process.clone(), *count).is_some() {
            return Err(Failure::Usage(format!("{process} is named twice")));
        }
    }
    let targets: Vec<String> = named.keys().cloned().collect();
    let body = ScaleRequest { counts: named, reason: options.reason.clone(), dry_run: options.dry_run };
    let order = Order {
        route: "/processes/scale",
        verb: "scale",
        targets: &targets,
        options,
        body,
        end: End::Unexpected,
        plan: Plan::WithOutcome,
    };
    carry_out(session, order).await
}

pub(crate) async fn signal(
    session: &mut Session<'_, '_>,
    signal: &str,
    targets: &[String],
    options: &ChangeOptions,
) -> Result<(), Failure> {
    let body = SignalRequest {
        signal: signal.to_owned(),
        targets: targets.to_vec(),
        reason: options.reason.clone(),
        dry_run: options.dry_run,
    };
    let order = Order {
        route: "/processes/signal",
        verb: "signal",
        targets,
        options,
        body,
        end: End::Unexpected,
        plan: Plan::WithOutcome,
    };
    carry_out(session, order).await
}

pub(crate) async fn apply(
    session: &mut Session<'_, '_>,
    file: Option<&std::path::Path>,
    options: &ChangeOptions,
) -> Result<(), Failure> {
    let file = match file.map(|file| session.caller.cwd.join(file)) {
        None => None,
        Some(path) => match path.to_str() {
            Some(text) => Some(text.to_owned()),
            None => return Err(Failure::Usage(format!("{} is not UTF-8", path.display()))),
        },
    };
    let body = ApplyRequest { file, reason: options.reason.clone(), dry_run: options.dry_run };
    let plan = match (session.screen.format, options.dry_run) {
        (Format::Human, false) => show_plan(session, &body, options).await?,
        (Format::Human, true) | (Format::Json, _) => Plan::WithOutcome,
    };
    let end = End::Unexpected;
    carry_out(session, Order { route: "/apply", verb: "apply", targets: &[], options, body, end, plan }).await
}

/// Shows what an apply is going to change, before it changes anything. A refusal is left to the apply itself to tell.
async fn show_plan(
    session: &mut Session<'_, '_>,
    body: &ApplyRequest,
    options: &ChangeOptions,
) -> Result<Plan, Failure> {
    let dry = ApplyRequest { dry_run: true, ..body.clone() };
    let answer = session.client.post(Query::new("/apply").path(), &dry, options.timeout).await;
    let planned = answer.ok().and_then(|answer| serde_json::from_slice::<CommandResult>(&answer.body).ok());
    match planned {
        Some(planned) if planned.outcome == OutcomeWord::Planned && !planned.changes.is_empty() => {
            session.screen.print(&view::result::plan(&planned))?;
            Ok(Plan::Shown)
        }
        Some(_) | None => Ok(Plan::WithOutcome),
    }
}

pub(crate) async fn shutdown(session: &mut Session<'_, '_>, now: bool, options: &ChangeOptions) -> Result<(), Failure> {
    let body = ShutdownRequest { now, reason: options.reason.clone(), dry_run: options.dry_run };
    let end = if options.dry_run { End::Unexpected } else { End::Asked };
    carry_out(
        session,
        Order { route: "/shutdown", verb: "shutdown", targets: &[], options, body, end, plan: Plan::WithOutcome },
    )
    .await
}

pub(super) async fn carry_out<T: Serialize>(session: &mut Session<'_, '_>, order: Order<'_, T>) -> Result<(), Failure> {
    carry_out_into(session, order, &mut None).await
}

/// As [`carry_out`]; what svd answered is left in `result`.
pub(super) async fn carry_out_into<T: Serialize>(
    session: &mut Session<'_, '_>,
    order: Order<'_, T>,
    result: &mut Option<CommandResult>,
) -> Result<(), Failure> {
    let wanted = session.screen.err_place == Place::Terminal || order.options.verbose;
    let mut progress = if wanted && !order.options.dry_run {
        Progress::begin(&session.client, order.targets, session.screen.err_paint()).await
    } else {
        None
    };
    let query = Query::new(order.route);
    let answer = {
        let client = session.client.clone();
        let sent = client.post(query.path(), &order.body, order.options.timeout);
        tokio::pin!(sent);
        loop {
            tokio::select! {
                // Events that came before the answer are told before it.
                biased;
                told = next(&mut progress, &*session.screen) => session.screen.note(&told),
                answer = &mut sent => break answer,
            }
        }
    };
    match answer {
        Ok(answer) => conclude(session, &answer, &order, result),
        Err(Error::Cut(_)) => after_cut(session, &order).await,
        Err(Error::Late(time)) => Err(Failure::Failed(format!(
            "{} has not ended within {} s; svd goes on with it: see `svctl status`",
            order.verb,
            time.as_secs_f32()
        ))),
        Err(error) => Err(session.client.failure(error)),
    }
}

/// The next sentence of the progress. Without progress it never comes.
async fn next(progress: &mut Option<Progress>, screen: &Screen<'_>) -> String {
    match progress {
        Some(progress) => progress.next(|| screen.look()).await,
        None => std::future::pending().await,
    }
}

fn conclude<T>(
    session: &mut Session<'_, '_>,
    answer: &Answer,
    order: &Order<'_, T>,
    told: &mut Option<CommandResult>,
) -> Result<(), Failure> {
    let mut result = outcome(answer)?;
    *told = Some(result.clone());
    if order.plan == Plan::Shown && session.screen.format == Format::Human && is_success(&result) {
        result.changes.clear();
    }
    tell(session, &result, order.targets)
}

/// What an answer to an order says.
pub(super) fn outcome(answer: &Answer) -> Result<CommandResult, Failure> {
    serde_json::from_slice(&answer.body).map_err(|_| match answer.status {
        200 => Failure::Failed("svd's answer is not understood; is svctl of another version than svd?".to_owned()),
        status => Failure::from_status(status, answer.error()),
    })
}

fn is_success(result: &CommandResult) -> bool {
    matches!(result.outcome, OutcomeWord::Done | OutcomeWord::Planned)
}

/// Shows an outcome; its exit code.
pub(super) fn tell(session: &mut Session<'_, '_>, result: &CommandResult, targets: &[String]) -> Result<(), Failure> {
    let code = match result.outcome {
        OutcomeWord::Done | OutcomeWord::Planned => None,
        OutcomeWord::Failed => Some(FAILED),
        OutcomeWord::Refused => Some(REFUSED),
        OutcomeWord::RolledBack => Some(ROLLED_BACK),
        OutcomeWord::Held => Some(HELD),
    };
    match (session.screen.format, code) {
        (Format::Json, _) => session.screen.print_json(result)?,
        (Format::Human, None) => session.screen.print(&view::result::render(result))?,
        (Format::Human, Some(_)) => {
            let told = view::result::failure(result, targets);
            session.screen.note(&format!("svctl: {}", told.trim_end()));
        }
    }
    code.map_or(Ok(()), |code| Err(Failure::Told(code)))
}

/// The connection was cut while svd carried the order out: its manager was replaced or svd has ended. What became of the
/// order nobody can say; what is now, the next manager can.
async fn after_cut<T>(session: &mut Session<'_, '_>, order: &Order<'_, T>) -> Result<(), Failure> {
    let verb = order.verb;
    session.screen.note("svctl: the connection was cut: waiting for svd's next manager");
    for _ in 0..ATTEMPTS {
        // No wait between: the socket stays open while there is no manager, and the next one takes the connection.
        match session.client.get(Query::new("/status").with("usage", "true").path(), Some(LOOK)).await {
            Ok(answer) => {
                let status: Status = answer.take()?;
                if session.screen.format == Format::Human {
                    status::show(session, &status)?;
                }
                return Err(Failure::Failed(format!(
                    "whether {verb} was carried out is unknown: svd's manager was replaced meanwhile; `svctl status` says what is now"
                )));
            }
            Err(Error::NotRunning(_)) if order.end == End::Asked => {
                return match session.screen.format {
                    Format::Human => session.screen.print("svd has ended\n"),
                    Format::Json => session.screen.print_json(&CommandResult {
                        outcome: OutcomeWord::Done,
                        message: "svd has ended".to_owned(),
                        changes: Vec::new(),
                        problems: Vec::new(),
                        evidence: Vec::new(),
                        run: None,
                    }),
                };
            }
            Err(Error::NotRunning(_)) => {
                return Err(Failure::Failed(format!(
                    "whether {verb} was carried out is unknown: svd has ended meanwhile"
                )));
            }
            Err(Error::Cut(_)) => {}
            Err(error) => return Err(session.client.failure(error)),
        }
    }
    Err(Failure::Failed(format!(
        "whether {verb} was carried out is unknown: svd's manager was replaced meanwhile, and the next one does not answer"
    )))
}
