//! `svctl events`: what happened, and what happens.

use svd_api::Event;

use super::Session;
use crate::client::{Error, Query};
use crate::failure::Failure;
use crate::screen::Format;
use crate::view;

/// Connections that brought nothing before they were cut, in a row, after which following is given up.
pub(crate) const EMPTY_CONNECTIONS: u32 = 5;

pub(crate) async fn run(
    session: &mut Session<'_, '_>,
    target: Option<&str>,
    follow: bool,
    count: usize,
) -> Result<(), Failure> {
    // With 0, one is fetched and not shown: following begins behind it.
    let query = Query::new("/events").with_some("target", target).with("limit", &count.max(1).to_string());
    let past: Vec<Event> = session.client.look(query.path()).await?;
    let mut last = past.last().map_or(0, |event| event.id);
    let shown = &past[past.len().saturating_sub(count)..];
    match session.screen.format {
        // Followed, it is one object a line, since a list that never ends cannot be parsed.
        Format::Json if !follow => session.screen.print_json(&shown)?,
        _ => shown.iter().try_for_each(|event| show(session, event))?,
    }
    if !follow {
        return Ok(());
    }
    let mut empty = 0;
    loop {
        let before = last;
        match follow_once(session, target, &mut last).await? {
            Some(Error::NotRunning(_)) => {
                session.screen.note("svctl: svd has ended");
                return Ok(());
            }
            Some(error @ (Error::Denied | Error::Connect(_) | Error::Late(_))) => {
                return Err(session.client.failure(error));
            }
            // The manager is being replaced: its socket stays open, and the next one goes on behind the last event.
            Some(Error::Cut(_)) | None => {}
        }
        empty = if last == before { empty + 1 } else { 0 };
        if empty == EMPTY_CONNECTIONS {
            return Err(Failure::Failed(format!("svd cut the connection {empty} times without a new event")));
        }
    }
}

/// Follows until the connection ends; tells how.
async fn follow_once(
    session: &mut Session<'_, '_>,
    target: Option<&str>,
    last: &mut i64,
) -> Result<Option<Error>, Failure> {
    let query =
        Query::new("/events").with_some("target", target).with("after", &last.to_string()).with("follow", "true");
    let mut lines = match session.client.stream(query.path()).await {
        Ok(Ok(lines)) => lines,
        Ok(Err(answer)) => return Err(Failure::from_status(answer.status, answer.error())),
        Err(error) => return Ok(Some(error)),
    };
    loop {
        let data = match lines.next_event().await {
            Ok(Some(data)) => data,
            Ok(None) => return Ok(None),
            Err(error) => return Ok(Some(error)),
        };
        // What is no event is a remark of a newer server.
        let Ok(event) = serde_json::from_slice::<Event>(&data) else { continue };
        if event.id > *last {
            *last = event.id;
            show(session, &event)?;
        }
    }
}

fn show(session: &mut Session<'_, '_>, event: &Event) -> Result<(), Failure> {
    match session.screen.format {
        Format::Json => session.screen.print_json(event),
        Format::Human => session.screen.print(&view::event::line(event, &session.look())),
    }
}
