//! upgrade: asks the manager that runs, is cut off by its end, and asks the next one how it went.

use std::path::Path;
use std::time::{Duration, Instant};

use svd_api::UpgradeRequest;

use super::Session;
use super::change::{outcome, tell};
use crate::args::ChangeOptions;
use crate::client::{Error, Query};
use crate::failure::Failure;

/// All steps of an upgrade together have deadlines far below this.
const LONGEST: Duration = Duration::from_secs(90);

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
    let token = token();
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
        // Refused or planned: this manager goes on.
        Ok(answer) if answer.status != 503 => {
            let result = outcome(&answer)?;
            return tell(session, &result, &[]);
        }
        // It is ending for the upgrade.
        Ok(_) | Err(Error::Cut(_)) => {}
        Err(Error::Late(_)) => return Err(late()),
        Err(error) => return Err(session.client.failure(error)),
    }
    let query = Query::new("/upgrade").with("token", &token);
    loop {
        let left = longest.saturating_sub(began.elapsed());
        if left.is_zero() {
            return Err(late());
        }
        // No wait between: the socket stays open while there is no manager, and the next one takes the connection. One that
        // does not know of this upgrade yet waits until it does.
        match session.client.get(query.path(), Some(left)).await {
            Ok(answer) if answer.status == 503 => {}
            Ok(answer) => {
                let result = outcome(&answer)?;
                return tell(session, &result, &[]);
            }
            Err(Error::Cut(_)) => {}
            Err(Error::Late(_)) => return Err(late()),
            Err(error) => return Err(session.client.failure(error)),
        }
    }
}

/// A name that nobody else uses.
fn token() -> String {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    format!("{}-{}", std::process::id(), since.as_nanos())
}
