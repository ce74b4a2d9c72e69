//! `svctl env`: names of variables, never values.

use svd_api::{EnvReply, Status};

use super::Session;
use crate::client::Query;
use crate::failure::Failure;
use crate::screen::Format;
use crate::view;

/// JSON is always a list, with one process too.
pub(crate) async fn run(session: &mut Session<'_, '_>, process: Option<String>) -> Result<(), Failure> {
    let processes = match process {
        Some(process) => vec![process],
        None => {
            let status: Status = session.client.look(Query::new("/status").path()).await?;
            status.processes.into_iter().map(|process| process.name).collect()
        }
    };
    let mut replies: Vec<EnvReply> = Vec::new();
    for process in &processes {
        replies.push(session.client.look(Query::new("/env").with("process", process).path()).await?);
    }
    match session.screen.format {
        Format::Json => session.screen.print_json(&replies),
        Format::Human => session.screen.print(&view::env::render(&replies, &session.look())),
    }
}
