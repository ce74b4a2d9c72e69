//! How long whoever runs svd waits between asking it to stop and killing everything, and whether the stop ladders fit into
//! that. Pure: the caller says what it found around it.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::plan::{Plan, ProcessPlan, StopStep};
use crate::values;

/// The variable that says it.
pub const STOP_GRACE: &str = "SVD_STOP_GRACE";

/// What `docker stop` and `podman stop` wait when nothing else is said.
const ENGINE: Duration = Duration::from_secs(10);
/// What Kubernetes waits (terminationGracePeriodSeconds) when nothing else is said.
const KUBERNETES: Duration = Duration::from_secs(30);

/// What the process that asks has around it.
#[derive(Clone, Debug)]
pub struct Around<'a> {
    /// Its environment.
    pub env: &'a BTreeMap<String, String>,
    /// It is the first process of a container, or has only the engine's init above it.
    pub first: bool,
    /// A file by which an engine marks a container (`/.dockerenv`, `/run/.containerenv`) is there.
    pub marked: bool,
}

/// The time from the request to stop to the end of everything.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Grace {
    time: Duration,
    /// By whom, and how to say otherwise.
    by: &'static str,
    help: &'static str,
}

/// Files by which engines mark a container.
pub const MARKS: &[&str] = &["/.dockerenv", "/run/.containerenv"];

/// What there is to say where svd's own stop may take longer than it will be given; `None` where it fits, or where nobody
/// is known to end svd by force.
pub fn stop_grace_warning(plan: &Plan, around: &Around<'_>) -> Option<String> {
    let grace = match grace(around) {
        Ok(grace) => grace?,
        Err(wrong) => return Some(wrong),
    };
    let (longest, chain) = longest_stop(plan)?;
    if longest.is_some_and(|longest| longest <= grace.time) {
        return None;
    }
    let takes = match longest {
        Some(longest) => format!("up to {}s", longest.as_secs_f64().ceil()),
        None => "any time".to_owned(),
    };
    Some(format!(
        "to stop all in order may take {takes} ({}), and {} kills everything after {}s: {}, or shorten `stop`",
        chain.join(", then "),
        grace.by,
        grace.time.as_secs_f64().ceil(),
        grace.help,
    ))
}

fn grace(around: &Around<'_>) -> Result<Option<Grace>, String> {
    if let Some(said) = around.env.get(STOP_GRACE).filter(|said| !said.is_empty()) {
        let time = values::typed_duration(said).ok_or_else(|| {
            format!("{STOP_GRACE}=\"{}\" is no time such as \"30s\" or \"2m\"; it is not used", said.escape_debug())
        })?;
        let help = "give svd more time there and say so in SVD_STOP_GRACE";
        return Ok(Some(Grace { time, by: "whoever runs svd (SVD_STOP_GRACE)", help }));
    }
    if !around.first {
        return Ok(None);
    }
    if around.env.contains_key("KUBERNETES_SERVICE_HOST") {
        let help = "set terminationGracePeriodSeconds and the same time in SVD_STOP_GRACE";
        return Ok(Some(Grace { time: KUBERNETES, by: "Kubernetes, unless told otherwise,", help }));
    }
    if around.marked || around.env.get("container").is_some_and(|name| !name.is_empty()) {
        let help = "run the container with a longer --stop-timeout and the same time in SVD_STOP_GRACE";
        return Ok(Some(Grace { time: ENGINE, by: "the container's engine, unless told otherwise,", help }));
    }
    Ok(None)
}

/// How long it may take to stop all in order, and which processes one after the other take that long; the first `None`: without
/// end; `None`: there is nothing to stop.
pub fn longest_stop(plan: &Plan) -> Option<(Option<Duration>, Vec<&str>)> {
    let mut known = BTreeMap::new();
    let all = plan.processes.iter().map(|process| chain(plan, process, &mut known));
    let (time, chain) = all.max_by_key(|(time, _)| *time)?;
    Some(((time < Duration::MAX).then_some(time), chain))
}

/// From the first of those that stop before this one to its own end: who needs it stops before it.
fn chain<'p>(
    plan: &'p Plan,
    process: &'p ProcessPlan,
    known: &mut BTreeMap<&'p str, (Duration, Vec<&'p str>)>,
) -> (Duration, Vec<&'p str>) {
    if let Some(found) = known.get(process.name.as_str()) {
        return found.clone();
    }
    let needs_it = |other: &&ProcessPlan| other.after.iter().any(|dependency| dependency.process == process.name);
    let before = plan.processes.iter().filter(needs_it).map(|other| chain(plan, other, known));
    let (time, mut names) = before.max_by_key(|(time, _)| *time).unwrap_or_default();
    let time = time.saturating_add(ladder(&process.stop));
    names.push(&process.name);
    known.insert(&process.name, (time, names.clone()));
    (time, names)
}

/// The waits of a ladder until KILL.
fn ladder(steps: &[StopStep]) -> Duration {
    const KILL: i32 = 9;
    let waits = steps.iter().take_while(|step| **step != StopStep::Signal(KILL)).map(|step| match step {
        StopStep::Signal(_) => Duration::ZERO,
        StopStep::Wait(wait) => *wait,
        StopStep::Forever => Duration::MAX,
    });
    waits.fold(Duration::ZERO, Duration::saturating_add)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Source, SourceKind, Sources};

    const CHAIN: &str = "[process.db]\nrun = \"db\"\nstop = [\"TERM\", \"4s\", \"KILL\"]\n\
                         [process.web]\nrun = \"web\"\nafter = [\"db\"]\nstop = [\"TERM\", \"5s\", \"INT\", \"2s\", \"KILL\"]\n\
                         [process.other]\nrun = \"other\"\nstop = [\"TERM\", \"8s\", \"KILL\"]\n";

    fn plan(text: &str) -> Plan {
        let main = Source { path: "Procfile.toml".into(), kind: SourceKind::Toml, text: text.to_owned(), mode: 0o600 };
        let (others, only, inherited, no_jobs) = Default::default();
        let sources = Sources { main, dir: "/shop".into(), others, environment: None, only, inherited, no_jobs };
        crate::plan(&sources).unwrap().0
    }

    fn warning(text: &str, env: &[(&str, &str)], first: bool, marked: bool) -> Option<String> {
        let env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        stop_grace_warning(&plan(text), &Around { env: &env, first, marked })
    }

    #[test]
    fn those_that_stop_one_after_the_other_are_added_up() {
        assert_eq!(longest_stop(&plan(CHAIN)), Some((Some(Duration::from_secs(11)), vec!["web", "db"])));
        let forever = "[process.web]\nrun = \"web\"\nstop = [\"TERM\", \"none\"]\n";
        assert_eq!(longest_stop(&plan(forever)), Some((None, vec!["web"])));
        assert_eq!(longest_stop(&Plan { processes: Vec::new(), ..plan(CHAIN) }), None);
    }

    #[test]
    fn a_stop_that_does_not_fit_into_the_grace_of_whoever_runs_svd_is_told() {
        let told = warning(CHAIN, &[], true, true).unwrap();
        let expected = "to stop all in order may take up to 11s (web, then db), and the container's engine, unless told otherwise, \
                        kills everything after 10s: run the container with a longer --stop-timeout and the same time in \
                        SVD_STOP_GRACE, or shorten `stop`";
        assert_eq!(told, expected);
        assert!(warning(CHAIN, &[("container", "podman")], true, false).is_some());
        assert!(warning(CHAIN, &[("SVD_STOP_GRACE", "10s")], false, false).unwrap().contains("after 10s"));
        assert!(warning(CHAIN, &[("SVD_STOP_GRACE", "soon")], false, false).unwrap().contains("is no time"));
        // what fits, and where nobody is known to end svd by force
        assert_eq!(warning(CHAIN, &[("SVD_STOP_GRACE", "11")], true, true), None);
        assert_eq!(warning(CHAIN, &[("KUBERNETES_SERVICE_HOST", "10.0.0.1")], true, true), None);
        assert_eq!(warning(CHAIN, &[], true, false), None);
        assert_eq!(warning(CHAIN, &[], false, true), None);
    }
}
