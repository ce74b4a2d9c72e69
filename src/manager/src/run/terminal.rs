//! What `svd` shows in the foreground: the instances' output, and what svd itself does with them.

use std::io::IsTerminal;
use std::sync::Arc;
use std::time::Duration;

use svd_api as api;
use svd_config::Plan;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;
use tokio::task::JoinHandle;

use crate::cli::LogFormat;
use crate::logs::{Foreground, Format, Logs, Names, Printed, Printer, Selector};

/// The printing of a manager's life.
pub struct Terminal {
    state: Option<Running>,
}

struct Running {
    /// Owns the printing thread; gives it back when the events end.
    events: JoinHandle<Foreground>,
}

impl Terminal {
    /// Prints all output from where `printed` says, or else from now on, and the events that people care about. Where
    /// that cannot be, svd runs without.
    pub fn start(
        format: LogFormat,
        plan: &Plan,
        logs: &Logs,
        printed: Option<Printed>,
        events: broadcast::Receiver<Arc<api::Event>>,
    ) -> Terminal {
        let names: Vec<String> =
            plan.processes.iter().map(|process| format!("{}.{}", process.name, process.count.max(1))).collect();
        let format = match format {
            LogFormat::Json => Format::Json,
            LogFormat::Text => Format::Text(names_shown()),
        };
        let printer = Printer::new(std::io::stdout(), format, names.iter().map(String::as_str));
        let follow = match &printed {
            Some(printed) => logs.follow_printed(printed),
            None => logs.follow(Selector::default(), None),
        };
        let started = follow.and_then(|follow| Foreground::start(follow, printer, printed));
        match started {
            Ok(foreground) => Terminal { state: Some(Running { events: tokio::spawn(tell(foreground, events)) }) },
            Err(error) => {
                tracing::warn!(%error, "output is not printed");
                Terminal { state: None }
            }
        }
    }

    /// After the log thread has ended and the last event was sent: waits at most so long until all is printed.
    pub async fn finish(self, deadline: Duration) {
        let Some(running) = self.state else { return };
        if let Ok(Ok(foreground)) = tokio::time::timeout(deadline, running.events).await {
            foreground.finish(deadline).await;
        }
    }
}

/// no-color.org: set and not empty, whatever the value.
fn names_shown() -> Names {
    let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    if std::io::stdout().is_terminal() && !refused { Names::Colored } else { Names::Plain }
}

/// Ends when the main loop has dropped its sender.
async fn tell(foreground: Foreground, mut events: broadcast::Receiver<Arc<api::Event>>) -> Foreground {
    loop {
        match events.recv().await {
            Ok(event) => {
                if let Some(line) = line(&event) {
                    foreground.system(line);
                }
            }
            Err(RecvError::Lagged(n)) => foreground.system(format!("({n} events were too fast for this terminal)")),
            Err(RecvError::Closed) => return foreground,
        }
    }
}

/// The events that are worth a line; the steps between them are in `svctl why` and `svctl events`.
fn line(event: &api::Event) -> Option<String> {
    match event.kind.as_str() {
        "instance.starting" | "instance.signalled" | "instance.quieted" | "instance.adopted" | "manager.started" => {
            None
        }
        _ => match (&event.instance, &event.process) {
            (Some(subject), _) | (None, Some(subject)) => Some(format!("{subject} {}", event.message)),
            (None, None) => match &event.actor {
                Some(actor) => Some(format!("{} ({actor})", event.message)),
                None => Some(event.message.clone()),
            },
        },
    }
}
