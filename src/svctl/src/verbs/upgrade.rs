//! upgrade: asks the manager that runs, is cut off by its end, and asks the next one how it went.

use std::path::Path;
use std::time::Duration;

use svd_api::UpgradeRequest;
use tokio::time::Instant;

use super::Session;
use super::change::{outcome, tell};
use crate::args::ChangeOptions;
use crate::client::{Answer, Error, Query};
use crate::failure::Failure;

/// All steps of an upgrade together have deadlines far below this.
const LONGEST: Duration = Duration::from_secs(90);
/// How many managers are asked at most. Each takes the connection when it is there, so this is no number of tries in vain.
const ATTEMPTS: usize = 200;

pub(crate) async fn run(
    session: &mut Session<'_, '_>,
    binary: Option<&Path>,
    manager_only: bool,
    options: &ChangeOptions,
) -> Result<(), Failure> {
    let binary = match binary {
        None => None,
        Some(path) => {
            let path = session.caller.cwd.join(path);
            let text = path.to_str().ok_or_else(|| Failure::Usage(format!("{} is not UTF-8", path.display())))?;
            Some(text.to_owned())
        }
    };
    let token = token(session.look().now.timestamp());
    let body = UpgradeRequest {
        token: token.clone(),
        binary,
        manager_only,
        reason: options.reason.clone(),
        dry_run: options.dry_run,
    };
    let longest = options.timeout.unwrap_or(LONGEST);
    let began = Instant::now();
    let late = || {
        Failure::Failed(format!(
            "the upgrade has not ended within {} s; svd goes on with it: see `svctl events`",
            longest.as_secs_f32()
        ))
    };
    match session.client.post(Query::new("/upgrade").path(), &body, Some(longest)).await {
        Ok(answer) if answer.status == 404 => {
            return Err(Failure::Refused(
                "the svd that runs is older than upgrades without a restart; it is replaced when it is started anew: nothing was changed".to_owned(),
            ));
        }
        // It ends for the upgrade: what it was asked, the next one answers.
        Err(Error::Cut(_)) => {}
        Ok(answer) if is_ending(&answer) => {}
        // Refused or planned: this manager goes on.
        Ok(answer) => {
            let result = outcome(&answer)?;
            return tell(session, &result, &[]);
        }
        Err(Error::Late(_)) => return Err(late()),
        Err(error) => return Err(session.client.failure(error)),
    }
    let query = Query::new("/upgrade").with("token", &token);
    for _ in 0..ATTEMPTS {
        let left = longest.saturating_sub(began.elapsed());
        if left.is_zero() {
            return Err(late());
        }
        // No wait between: the socket stays open while there is no manager, and the next one takes the connection. One that
        // does not know of this upgrade yet waits until it does.
        match session.client.get(query.path(), Some(left)).await {
            Ok(answer) if is_ending(&answer) => {}
            Ok(answer) => {
                let result = outcome(&answer)?;
                return tell(session, &result, &[]);
            }
            Err(Error::Cut(_)) => {}
            Err(Error::Late(_)) => return Err(late()),
            Err(error) => return Err(session.client.failure(error)),
        }
    }
    Err(Failure::Failed(
        "svd's managers are replaced faster than they can answer: `svctl events` tells how the upgrade went".to_owned(),
    ))
}

/// Whether a manager could not answer because it ends, and not because it has too much to do.
fn is_ending(answer: &Answer) -> bool {
    answer.status == 503 && answer.error().contains("end")
}

/// A name that nobody else uses.
fn token(now: jiff::Timestamp) -> String {
    format!("{}-{}", std::process::id(), now.as_nanosecond())
}
