//! `svctl wait`: for scripts.

use std::time::Duration;

use svd_api::WaitReply;
use tokio::time::Instant;

use super::Session;
use super::reconnect::EMPTY_CONNECTIONS;
use crate::args::WaitState;
use crate::client::{Error, LOOK, Query};
use crate::failure::{FAILED, Failure};
use crate::screen::Format;
use crate::text;

/// The longest that the server waits at once.
const SLICE: Duration = Duration::from_secs(3600);

/// Waits in slices, and goes on with the next manager when one is replaced: waiting changes nothing.
pub(crate) async fn run(
    session: &mut Session<'_, '_>,
    target: &str,
    state: WaitState,
    limit: Option<Duration>,
) -> Result<(), Failure> {
    let begun = Instant::now();
    let mut cut = 0;
    let reply: WaitReply = loop {
        let left = limit.map(|limit| limit.saturating_sub(begun.elapsed()));
        let slice = left.map_or(SLICE, |left| left.min(SLICE));
        let query = Query::new("/wait")
            .with("target", target)
            .with("for", state.word())
            .with("timeout", &format!("{}ms", slice.as_millis()));
        // The server keeps the time; ours is for a server that does not answer at all.
        match session.client.get(query.path(), Some(slice + LOOK)).await {
            Ok(answer) => {
                let reply: WaitReply = answer.take()?;
                let over = limit.is_some_and(|limit| begun.elapsed() >= limit || slice < SLICE);
                if reply.met || reply.hopeless || over {
                    break reply;
                }
            }
            Err(Error::Cut(_)) if cut < EMPTY_CONNECTIONS => cut += 1,
            Err(error) => return Err(session.client.failure(error)),
        }
    };
    match session.screen.format {
        Format::Json => session.screen.print_json(&reply)?,
        Format::Human if reply.met => session.screen.print(&format!("{}\n", text::plain(&reply.message)))?,
        Format::Human => session.screen.note(&format!("svctl: {}", text::plain(&reply.message))),
    }
    if reply.met { Ok(()) } else { Err(Failure::Told(FAILED)) }
}
