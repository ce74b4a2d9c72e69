//! What happens while a command is carried out: its events as they come, and what it waits for when none come.

use std::time::Duration;

use svd_api::{Event, Status};
use tokio::time::Instant;

use super::status::matches;
use crate::client::{Client, LOOK, Query};
use crate::lines::Lines;
use crate::screen::Paint;
use crate::view::{self, Look};

/// After so long without an event people want to know what it waits for.
const QUIET: Duration = if cfg!(test) { Duration::from_secs(1) } else { Duration::from_secs(5) };
/// Then it is looked at again after so long.
const AGAIN: Duration = Duration::from_secs(15);
/// What has been told already is told again after so long, so that a long wait does not look like a hang.
const REPEAT: Duration = Duration::from_secs(60);

/// The events of a command's targets, and what it waits for.
pub(crate) struct Progress {
    client: Client,
    targets: Vec<String>,
    /// `None`: there are no more.
    events: Option<Lines>,
    paint: Paint,
    look_at: Instant,
    /// What it was waiting for when that was last told, and when.
    told: Option<(Vec<String>, Instant)>,
}

impl Progress {
    /// Begins to listen: before the command is given, so that its first event is not missed. `None` where that cannot be
    /// done: without progress the command is as good.
    pub async fn begin(client: &Client, targets: &[String], paint: Paint) -> Option<Progress> {
        let query = Query::new("/events").with_each("target", targets).with("follow", "true");
        let events = client.stream(query.path()).await.ok()?.ok()?;
        Some(Progress {
            client: client.clone(),
            targets: targets.to_vec(),
            events: Some(events),
            paint,
            look_at: Instant::now() + QUIET,
            told: None,
        })
    }

    /// The next sentence. Never ends by itself. Cancellation-safe as far as it matters: an event is taken in one step, and a
    /// look that is given up is made again.
    pub async fn next(&mut self, look: impl Fn() -> Look) -> String {
        loop {
            tokio::select! {
                // Events tell more than a look does.
                biased;
                event = next_event(&mut self.events) => match event {
                    Some(event) => {
                        self.look_at = Instant::now() + QUIET;
                        self.told = None;
                        return self.paint.apply(view::event::color(&event.kind), &view::event::sentence(&event));
                    }
                    None => self.events = None,
                },
                () = tokio::time::sleep_until(self.look_at) => {
                    let waits = self.waits(&look()).await;
                    self.look_at = Instant::now() + AGAIN;
                    if let Some(sentence) = waits {
                        return sentence;
                    }
                }
            }
        }
    }

    /// What it waits for, unless that was told a short while ago.
    async fn waits(&mut self, look: &Look) -> Option<String> {
        let answer = self.client.get(Query::new("/status").path(), Some(LOOK)).await.ok()?;
        let status: Status = answer.take().ok()?;
        let is_meant = |process: &str, instance: &str| {
            self.targets.is_empty()
                || self.targets.iter().any(|target| matches(target, process) || matches(target, instance))
        };
        let waits = view::status::waits(&status, is_meant, look);
        let what: Vec<String> = waits.iter().map(|wait| wait.what.clone()).collect();
        let known = self.told.as_ref().is_some_and(|(before, at)| *before == what && Instant::now() < *at + REPEAT);
        if what.is_empty() || known {
            return None;
        }
        self.told = Some((what, Instant::now()));
        Some(self.paint.apply("2", &view::status::waiting(&waits)))
    }
}

/// The next event; `None` when there are to be no more. Without events it never comes.
async fn next_event(events: &mut Option<Lines>) -> Option<Event> {
    let Some(lines) = events else { return std::future::pending().await };
    loop {
        let data = lines.next_event().await.ok()??;
        // What is no event is a remark of a newer server.
        if let Ok(event) = serde_json::from_slice(&data) {
            return Some(event);
        }
    }
}
