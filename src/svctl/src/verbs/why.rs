//! `svctl why`.

use svd_api::Why;

use super::Session;
use crate::client::Query;
use crate::failure::Failure;
use crate::screen::Format;
use crate::view;

pub(crate) async fn run(session: &mut Session<'_, '_>, target: &str) -> Result<(), Failure> {
    let why: Why = session.client.look(Query::new("/why").with("target", target).path()).await?;
    match session.screen.format {
        Format::Json => session.screen.print_json(&why),
        Format::Human => {
            let text = view::why::render(&why, session.screen.place, &session.look());
            session.screen.print(&text)
        }
    }
}
