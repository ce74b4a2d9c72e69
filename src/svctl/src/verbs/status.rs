//! `svctl status`: the tree, or some of it.

use svd_api::{Process, Status};
use svd_config::glob;

use super::Session;
use crate::client::Query;
use crate::failure::Failure;
use crate::screen::Format;
use crate::view;

pub(crate) async fn run(session: &mut Session<'_, '_>, targets: &[String]) -> Result<(), Failure> {
    let mut status = fetch(session).await?;
    select(&mut status, targets)?;
    show(session, &status)
}

/// The whole tree, with cpu and memory.
pub(crate) async fn fetch(session: &Session<'_, '_>) -> Result<Status, Failure> {
    session.client.look(Query::new("/status").with("usage", "true").path()).await
}

/// Shows a tree.
pub(crate) fn show(session: &mut Session<'_, '_>, status: &Status) -> Result<(), Failure> {
    match session.screen.format {
        Format::Json => session.screen.print_json(status),
        Format::Human => session.screen.print(&view::status::render(status, &session.look())),
    }
}

/// Leaves only what the targets name. One that names nothing is an error: a script must not take silence for health.
pub(super) fn select(status: &mut Status, targets: &[String]) -> Result<(), Failure> {
    for target in targets {
        let known = status.processes.iter().any(|process| {
            matches(target, &process.name) || process.instances.iter().any(|instance| matches(target, &instance.id))
        });
        if !known {
            let names: Vec<&str> = status.processes.iter().map(|process| process.name.as_str()).collect();
            let names = if names.is_empty() { "no processes".to_owned() } else { names.join(", ") };
            return Err(Failure::Usage(format!("{target} names no process or instance; there are: {names}")));
        }
    }
    if targets.is_empty() {
        return Ok(());
    }
    let whole = |process: &Process| targets.iter().any(|target| matches(target, &process.name));
    for process in &mut status.processes {
        if !whole(process) {
            process.instances.retain(|instance| targets.iter().any(|target| matches(target, &instance.id)));
        }
    }
    status.processes.retain(|process| whole(process) || !process.instances.is_empty());
    Ok(())
}

/// Whether a target names this: exactly, as a pattern, or as `all`.
pub(super) fn matches(target: &str, name: &str) -> bool {
    target == "all" || glob(target, name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_names_patterns_or_all() {
        for (target, name, expected) in [
            ("web", "web", true),
            ("web", "web.1", false),
            ("web.1", "web.1", true),
            ("w*", "worker.2", true),
            ("all", "anything", true),
            ("", "web", false),
        ] {
            assert_eq!(matches(target, name), expected, "{target} {name}");
        }
    }
}
