//! What people type to name instances: `web`, `web.2`, `worker.*`, `w*`, `all`.

use std::collections::BTreeSet;

use svd_config::glob;
use svd_core::{InstanceName, Target};

/// Resolves patterns against the processes of the plan and the instances there are. A pattern that names nothing is
/// an error that lists what there is.
pub fn resolve(patterns: &[String], processes: &[&str], instances: &[InstanceName]) -> Result<Vec<Target>, String> {
    let mut targets = BTreeSet::new();
    for pattern in patterns {
        let before = targets.len();
        let whole = |name: &str| Target { process: name.into(), index: None };
        if pattern == "all" {
            targets.extend(processes.iter().map(|name| whole(name)));
            continue;
        }
        let matching = processes.iter().filter(|name| glob(pattern, name));
        targets.extend(matching.map(|name| whole(name)));
        let matching = instances.iter().filter(|instance| glob(pattern, &instance.to_string()));
        // A pattern that named whole processes means their instances already.
        if targets.len() == before {
            targets.extend(
                matching.map(|instance| Target { process: instance.process.clone(), index: Some(instance.index) }),
            );
        }
        if targets.len() == before && !already(pattern, &targets) {
            let known: Vec<&str> = processes.to_vec();
            return Err(format!("there is no process or instance \"{pattern}\"; there are: {}", known.join(", ")));
        }
    }
    Ok(targets.into_iter().collect())
}

fn already(pattern: &str, targets: &BTreeSet<Target>) -> bool {
    targets.iter().any(|target| glob(pattern, &target.to_string()))
}

/// The instances that targets mean, of those there are.
pub fn instances_of(targets: &[Target], instances: &[InstanceName]) -> Vec<InstanceName> {
    let meant = |instance: &&InstanceName| {
        targets.iter().any(|target| {
            target.process == instance.process && target.index.is_none_or(|index| index == instance.index)
        })
    };
    instances.iter().filter(meant).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(patterns: &[&str]) -> Result<String, String> {
        let instances = [("web", 1), ("web", 2), ("worker", 1)].map(|(name, index)| InstanceName::new(name, index));
        let patterns: Vec<String> = patterns.iter().map(ToString::to_string).collect();
        let targets = resolve(&patterns, &["web", "worker", "db"], &instances)?;
        Ok(targets.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn names_instances_globs_and_all_are_resolved() {
        assert_eq!(text(&["web"]).unwrap(), "web");
        assert_eq!(text(&["web.2"]).unwrap(), "web.2");
        assert_eq!(text(&["w*"]).unwrap(), "web worker");
        assert_eq!(text(&["web.*"]).unwrap(), "web.1 web.2");
        assert_eq!(text(&["all"]).unwrap(), "db web worker");
        assert_eq!(text(&["web", "web"]).unwrap(), "web");
    }

    #[test]
    fn what_names_nothing_is_an_error_that_lists_what_there_is() {
        assert_eq!(text(&["wbe"]).unwrap_err(), "there is no process or instance \"wbe\"; there are: web, worker, db");
        assert!(text(&["web.9"]).is_err());
    }
}
