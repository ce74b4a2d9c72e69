//! `svctl health`: whether all is well, for whoever asks by exit code: an engine's health check, a script, a monitor.

use serde::Serialize;
use svd_api::{Role, Status};

use super::Session;
use super::status::select;
use crate::client::Query;
use crate::failure::{FAILED, Failure};
use crate::screen::Format;
use crate::text;

/// Whether all is well.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Health {
    /// Nothing is in the way.
    ok: bool,
    /// Instances that are ready or completed.
    ready: usize,
    /// Instances that are to be.
    want: usize,
    /// What is not well, a sentence each.
    problems: Vec<String>,
}

pub(crate) async fn run(session: &mut Session<'_, '_>, targets: &[String]) -> Result<(), Failure> {
    let mut status: Status = session.client.look(Query::new("/status").path()).await?;
    select(&mut status, targets)?;
    let health = judge(&status);
    match session.screen.format {
        Format::Json => session.screen.print_json(&health)?,
        Format::Human => session.screen.print(&format!("{}\n", sentence(&health)))?,
    }
    if health.ok { Ok(()) } else { Err(Failure::Told(FAILED)) }
}

/// What was stopped or disabled on purpose is well, and so is what is beside the one that has the name.
fn judge(status: &Status) -> Health {
    let instances = || status.processes.iter().flat_map(|process| &process.instances);
    let current = || instances().filter(|instance| instance.role == Role::Current);
    let ending = (status.svd.state != "running").then(|| format!("svd is {}", status.svd.state));
    let ill = current().filter(|instance| !matches!(instance.state.as_str(), "ready" | "completed" | "stopped"));
    let ill = ill.map(|instance| {
        let reason = instance.reason.as_ref().map(|reason| format!(" ({reason})")).unwrap_or_default();
        format!("{} is {}{reason}", instance.id, instance.state)
    });
    let problems: Vec<String> = ending.into_iter().chain(ill).collect();
    Health {
        ok: problems.is_empty(),
        ready: current().filter(|instance| matches!(instance.state.as_str(), "ready" | "completed")).count(),
        want: current().filter(|instance| instance.state != "stopped").count(),
        problems,
    }
}

/// One line: engines keep only a few bytes of what a health check prints.
fn sentence(health: &Health) -> String {
    let count = format!("{} of {} ready", health.ready, health.want);
    match health.problems.as_slice() {
        [] => count,
        problems => format!("{count}: {}", text::plain(&problems.join("; "))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::status::tests::{instance, process, shop};
    use svd_api::Instance;

    fn status(svd: &str, instances: &[(&str, Role, &str)]) -> Status {
        let of = |(id, role, state): &(&str, Role, &str)| Instance {
            role: *role,
            reason: (*state == "backoff").then(|| "exit code 3".to_owned()),
            ..instance(id, state, None)
        };
        let mut status = shop(vec![process("web", instances.iter().map(of).collect())]);
        status.svd.state = svd.to_owned();
        status
    }

    #[test]
    fn well_is_what_is_ready_completed_or_stopped_on_purpose_whatever_is_beside_it() {
        let check = |svd: &str, instances: &[(&str, Role, &str)], expected: &str, ok: bool| {
            let health = judge(&status(svd, instances));
            assert_eq!((sentence(&health).as_str(), health.ok), (expected, ok));
        };
        let (current, replaced, candidate) = (Role::Current, Role::Replaced, Role::Candidate);
        check("running", &[("web.1", current, "ready"), ("web.1", replaced, "draining")], "1 of 1 ready", true);
        check("running", &[("web.1", current, "ready"), ("web.1", candidate, "starting")], "1 of 1 ready", true);
        check("running", &[("a.1", current, "completed"), ("b.1", current, "stopped")], "1 of 1 ready", true);
        let ill = [("web.1", current, "ready"), ("web.2", current, "backoff")];
        check("running", &ill, "1 of 2 ready: web.2 is backoff (exit code 3)", false);
        check("running", &[("web.1", current, "starting")], "0 of 1 ready: web.1 is starting", false);
        check("stopping", &[("web.1", current, "ready")], "1 of 1 ready: svd is stopping", false);
        check("running", &[], "0 of 0 ready", true);
    }
}
