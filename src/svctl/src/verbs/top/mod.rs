//! `svctl top`: the tree, live, with cpu and memory, the last lines of output, and keys for what is done most.

pub(crate) mod model;
mod terminal;

use std::time::Duration;

use svd_api::{CommandRequest, CommandResult, LogLine, OutcomeWord, ScaleRequest, Status};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior};

use self::model::{Act, Link, Model, Order};
use self::terminal::{Happened, Terminal};
use super::change::verb;
use super::{Session, status};
use crate::client::{Client, LOOK, Query};
use crate::failure::Failure;
use crate::screen::{Format, Place};
use crate::view;

/// So many lines of output are asked for.
const LINES: u64 = 50;

/// Shows the screen until somebody leaves it; `once` prints one frame.
pub(crate) async fn run(session: &mut Session<'_, '_>, interval: Duration, once: bool) -> Result<(), Failure> {
    if once || session.screen.format == Format::Json {
        return one_frame(session, interval).await;
    }
    let dumb = session.caller.env.get("TERM").is_none_or(|term| term.is_empty() || term == "dumb");
    if session.screen.place != Place::Terminal || dumb {
        let why = if dumb { "the terminal (TERM) can show no screen" } else { "standard output is no terminal" };
        return Err(Failure::Usage(format!(
            "top shows a live screen, and {why}: say `svctl top --once` for one look, or `svctl status`"
        )));
    }
    // Before the screen is taken, so that who may not look is told where it stays.
    let first: Status = status::fetch(session).await?;
    let mut model = Model { status: Some(first), link: Link::Answers, ..Model::new() };
    let terminal = Terminal::take(session.screen.out)?;
    live(session, terminal, &mut model, interval).await
}

/// Two looks, since cpu is what was used between them.
async fn one_frame(session: &mut Session<'_, '_>, interval: Duration) -> Result<(), Failure> {
    let _first: Status = status::fetch(session).await?;
    tokio::time::sleep_until(Instant::now() + interval).await;
    let tree = status::fetch(session).await?;
    match session.screen.format {
        Format::Json => session.screen.print_json(&tree),
        Format::Human => {
            let look = session.look();
            let model = Model { status: Some(tree), ..Model::new() };
            session.screen.print(&view::top::whole(&model, &look))
        }
    }
}

/// What comes of what was asked for meanwhile.
enum Came {
    Tree(Box<Result<Status, String>>),
    Lines(Vec<LogLine>),
    Outcome(String),
}

async fn live(
    session: &mut Session<'_, '_>,
    mut terminal: Terminal,
    model: &mut Model,
    interval: Duration,
) -> Result<(), Failure> {
    let (came, mut coming) = mpsc::unbounded_channel();
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // One question at a time: an svd that is slow is not asked more often for it.
    let mut asking = false;
    loop {
        let look = session.look();
        terminal.draw(session.screen.out, &view::top::frame(model, terminal.size(), &look))?;
        tokio::select! {
            _ = ticks.tick(), if !asking => {
                asking = true;
                tokio::spawn(ask(session.client.clone(), model.process(), came.clone()));
            }
            Some(news) = coming.recv() => match news {
                Came::Tree(tree) => {
                    asking = false;
                    match *tree {
                        Ok(tree) => (model.status, model.link) = (Some(tree), Link::Answers),
                        Err(why) => model.link = Link::Lost(why),
                    }
                }
                Came::Lines(lines) => model.lines = lines.into(),
                Came::Outcome(told) => {
                    model.told = Some(told);
                    ticks.reset_immediately();
                }
            },
            happened = terminal.next() => match happened {
                Happened::Key(key) => match model.key(key) {
                    Act::Nothing => {}
                    Act::Quit => return terminal.leave(session.screen.out),
                    Act::Suspend => terminal.suspend(session.screen.out)?,
                    Act::Carry(order) => drop(tokio::spawn(carry_out(session.client.clone(), order, came.clone()))),
                },
                Happened::Resized => {}
                Happened::Told => return terminal.leave(session.screen.out),
            },
        }
    }
}

/// Looks at the tree and at what the selected process has written.
async fn ask(client: Client, process: Option<String>, came: mpsc::UnboundedSender<Came>) {
    let tree = client.look::<Status>(Query::new("/status").with("usage", "true").path()).await;
    let tree = tree.map_err(|failure| failure.message().unwrap_or("svd does not answer").to_owned());
    if let (Ok(_), Some(process)) = (&tree, process) {
        let query = Query::new("/logs").with("target", &process).with("n", &LINES.to_string());
        if let Ok(answer) = client.get(query.path(), Some(LOOK)).await {
            let lines = answer.lines().filter_map(|line| serde_json::from_slice(line).ok()).collect();
            let _leaving = came.send(Came::Lines(lines));
        }
    }
    // Whoever is leaving does not listen any more.
    let _leaving = came.send(Came::Tree(Box::new(tree)));
}

/// Carries an order out, and says what became of it.
async fn carry_out(client: Client, order: Order, came: mpsc::UnboundedSender<Came>) {
    let words = order.words();
    let answer = match order {
        Order::Command(kind, target) => {
            let body = CommandRequest { targets: vec![target], replaced: false, reason: None, dry_run: false };
            client.post(Query::new(&format!("/processes/{}", verb(kind))).path(), &body, None).await
        }
        Order::Scale(process, count) => {
            let counts = [(process, svd_api::ScaleCount::To(count))].into();
            let body = ScaleRequest { counts, reason: None, dry_run: false };
            client.post(Query::new("/processes/scale").path(), &body, None).await
        }
    };
    let told = match answer.map_err(|error| client.failure(error)).and_then(|answer| answer.take::<CommandResult>()) {
        Ok(CommandResult { outcome: OutcomeWord::Done, message, .. }) => format!("{words}: {message}"),
        Ok(CommandResult { message, .. }) => format!("{words} failed: {message}"),
        Err(failure) => format!("{words}: {}", failure.message().unwrap_or("failed")),
    };
    let _leaving = came.send(Came::Outcome(told));
}
