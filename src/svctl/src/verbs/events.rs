//! `svctl events`: what happened, and what happens.

use svd_api::Event;

use super::Session;
use super::reconnect::{Brought, Next, Reconnect};
use crate::client::{Error, Query};
use crate::failure::Failure;
use crate::screen::Format;
use crate::view;

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
        Format::Json | Format::Human => shown.iter().try_for_each(|event| show(session, event))?,
    }
    if !follow {
        return Ok(());
    }
    let mut reconnect = Reconnect::default();
    loop {
        let before = last;
        let end = follow_once(session, target, &mut last).await?;
        let brought = if last == before { Brought::Nothing } else { Brought::Something };
        match reconnect.after(session, end, brought)? {
            Next::Connect => {}
            Next::Stop => return Ok(()),
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
