//! The table of routes. Everything the API does has a line here.

use crate::ask::Role;
use svd_api::CommandKind;

/// Methods that routes have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Looks.
    Get,
    /// Changes.
    Post,
}

impl Method {
    /// As in a request line.
    pub fn word(self) -> &'static str {
        match self {
            Method::Get => "GET",
            Method::Post => "POST",
        }
    }
}

/// What a route does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// The whole tree.
    Status,
    /// Its processes.
    Processes,
    /// One process.
    Process,
    /// A command on targets.
    Command(CommandKind),
    /// How many instances.
    Scale,
    /// A signal.
    Signal,
    /// All jobs.
    Jobs,
    /// One job.
    Job,
    /// Runs of jobs.
    Runs,
    /// Run a job now.
    RunJob,
    /// Do not run jobs by their schedules.
    PauseJobs,
    /// Do so again.
    ResumeJobs,
    /// Re-read the config.
    Apply,
    /// Become another build.
    Upgrade,
    /// How that has ended.
    UpgradeOutcome,
    /// Stop all.
    Shutdown,
    /// The chain of events behind a state.
    Why,
    /// Names of variables.
    Env,
    /// What a one-off command is run with.
    Exec,
    /// Wait for a state.
    Wait,
    /// Output.
    Logs,
    /// History and what happens.
    Events,
    /// The description of all this.
    OpenApi,
    /// Versions.
    Version,
    /// Whether the main loop answers.
    Health,
    /// Metrics for Prometheus.
    Metrics,
}

/// A query parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Param {
    /// Its name.
    pub name: &'static str,
    /// For people.
    pub about: &'static str,
}

/// One line of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// Its method.
    pub method: Method,
    /// Its path; a segment in braces stands for any one.
    pub path: &'static str,
    /// The least role.
    pub role: Role,
    /// What it does.
    pub endpoint: Endpoint,
    /// For people.
    pub summary: &'static str,
    /// Query parameters; any other is refused.
    pub params: &'static [Param],
    /// Schema of the request's body.
    pub body: Option<&'static str>,
    /// Schema of the answer.
    pub answer: &'static str,
}

const fn get(path: &'static str, endpoint: Endpoint, summary: &'static str, answer: &'static str) -> Route {
    Route { method: Method::Get, path, role: Role::Read, endpoint, summary, params: &[], body: None, answer }
}

const fn post(path: &'static str, endpoint: Endpoint, summary: &'static str, body: &'static str) -> Route {
    let answer = "CommandResult";
    Route { method: Method::Post, path, role: Role::Operate, endpoint, summary, params: &[], body: Some(body), answer }
}

const fn command(path: &'static str, kind: CommandKind, summary: &'static str) -> Route {
    post(path, Endpoint::Command(kind), summary, "CommandRequest")
}

const TARGET: Param = Param {
    name: "target",
    about: "a process, an instance (`web.2`), a glob or `all`; several by commas or by giving it again",
};
const USAGE: Param = Param { name: "usage", about: "`true`: also sample cpu and memory" };
const FOLLOW: Param = Param { name: "follow", about: "`true`: go on with what comes until the client leaves" };

/// All routes.
pub const ROUTES: &[Route] = &[
    Route { params: &[USAGE], ..get("/v1/status", Endpoint::Status, "The whole tree", "Status") },
    Route { params: &[USAGE], ..get("/v1/processes", Endpoint::Processes, "All processes", "Processes") },
    Route { params: &[USAGE], ..get("/v1/processes/{name}", Endpoint::Process, "One process", "Process") },
    command("/v1/processes/start", CommandKind::Start, "Start what is stopped or failed"),
    command("/v1/processes/stop", CommandKind::Stop, "Stop; stays stopped until started"),
    command("/v1/processes/restart", CommandKind::Restart, "Replace one by one"),
    command("/v1/processes/reload", CommandKind::Reload, "Send the reload signal"),
    command("/v1/processes/drain", CommandKind::Drain, "Take no new work, finish, stop; stays stopped until started"),
    command(
        "/v1/processes/kill",
        CommandKind::Kill,
        "KILL at once; with `replaced` only what is left of replaced instances",
    ),
    command("/v1/processes/enable", CommandKind::Enable, "Allow and start"),
    command("/v1/processes/disable", CommandKind::Disable, "Stop, and keep stopped over restarts of svd"),
    post("/v1/processes/scale", Endpoint::Scale, "Set how many instances there are to be", "ScaleRequest"),
    post("/v1/processes/signal", Endpoint::Signal, "Send a signal to main processes", "SignalRequest"),
    get("/v1/jobs", Endpoint::Jobs, "All jobs", "Jobs"),
    get("/v1/jobs/{name}", Endpoint::Job, "One job", "Job"),
    post("/v1/jobs/run", Endpoint::RunJob, "Run a job now; with `wait` answered when the run is over", "RunRequest"),
    post("/v1/jobs/pause", Endpoint::PauseJobs, "Do not run jobs by their schedules", "JobsRequest"),
    post("/v1/jobs/resume", Endpoint::ResumeJobs, "Run jobs by their schedules again", "JobsRequest"),
    Route {
        params: &[
            Param { name: "job", about: "of this job; default: of all" },
            Param { name: "run", about: "only the run with this number" },
            Param { name: "before", about: "only runs with a smaller number" },
            Param { name: "limit", about: "at most so many, at most 10000; default 100" },
        ],
        ..get("/v1/runs", Endpoint::Runs, "Runs of jobs, newest first", "Runs")
    },
    post("/v1/apply", Endpoint::Apply, "Re-read the config and change what differs", "ApplyRequest"),
    post("/v1/upgrade", Endpoint::Upgrade, "Become another build of svd without restarting anything", "UpgradeRequest"),
    Route {
        params: &[Param { name: "token", about: "as given when the upgrade was asked for" }],
        ..get("/v1/upgrade", Endpoint::UpgradeOutcome, "How an upgrade has ended, when it has", "CommandResult")
    },
    post("/v1/shutdown", Endpoint::Shutdown, "Stop all and end svd", "ShutdownRequest"),
    Route { params: &[TARGET], ..get("/v1/why", Endpoint::Why, "Why instances are in their states", "Why") },
    Route {
        params: &[Param { name: "process", about: "the process" }],
        ..get("/v1/env", Endpoint::Env, "Names and sources of a process's variables, never values", "EnvReply")
    },
    // A change by its role, not by what it does: the answer holds the values of the environment.
    Route {
        role: Role::Admin,
        answer: "ExecReply",
        ..post("/v1/exec", Endpoint::Exec, "What a one-off command is to be run with", "ExecRequest")
    },
    Route {
        params: &[
            TARGET,
            Param { name: "for", about: "`ready` (default), `stopped` or `completed`" },
            Param { name: "timeout", about: "a duration as `30s` or `10m`, at most 1h; default 1m" },
        ],
        ..get("/v1/wait", Endpoint::Wait, "Wait until instances are in a state", "WaitReply")
    },
    Route {
        params: &[
            TARGET,
            Param { name: "n", about: "the last so many lines, at most 10000; default 100, with `since` all" },
            Param { name: "since", about: "an instant (RFC 3339) or how long ago (`10m`)" },
            Param { name: "until", about: "an instant (RFC 3339) or how long ago (`10m`)" },
            Param { name: "grep", about: "only lines that this regular expression matches" },
            Param { name: "stream", about: "`stdout` or `stderr`; default both" },
            FOLLOW,
        ],
        ..get("/v1/logs", Endpoint::Logs, "Output in time order, a JSON object a line", "LogLine")
    },
    Route {
        params: &[
            TARGET,
            Param { name: "after", about: "only events after this id, from the oldest of them on" },
            Param { name: "before", about: "only events before this id" },
            Param { name: "kind", about: "only events of this kind; several by commas or by giving it again" },
            Param { name: "limit", about: "at most so many, at most 10000; default 1000; not with `follow`" },
            FOLLOW,
        ],
        ..get("/v1/events", Endpoint::Events, "History, oldest first; with `follow` server-sent events", "Events")
    },
    get("/v1/openapi.json", Endpoint::OpenApi, "This document", "Object"),
    get("/v1/version", Endpoint::Version, "Versions of svd and of the API", "Version"),
    get("/metrics", Endpoint::Metrics, "Metrics in Prometheus' text format", "Text"),
    get("/v1/health", Endpoint::Health, "Whether the main loop answers", "Health"),
];

/// What a request line leads to.
#[derive(Debug, PartialEq, Eq)]
pub enum Found {
    /// This route; the text that stands in its braces.
    Route(&'static Route, Option<String>),
    /// The path exists with these other methods.
    Methods(Vec<&'static str>),
    /// No such path.
    Nothing,
}

/// Looks a request line up. A route without braces comes before one with.
pub fn find(method: &str, path: &str) -> Found {
    let mut methods = Vec::new();
    let mut best: Option<(&'static Route, Option<String>)> = None;
    for route in ROUTES {
        let Some(name) = fit(route.path, path) else { continue };
        if route.method.word() != method {
            if !methods.contains(&route.method.word()) {
                methods.push(route.method.word());
            }
        } else if best.is_none() || name.is_none() {
            best = Some((route, name));
        }
    }
    match best {
        Some((route, name)) => Found::Route(route, name),
        None if methods.is_empty() => Found::Nothing,
        None => Found::Methods(methods),
    }
}

/// Whether the path fits; with what in the place of the braces.
fn fit(pattern: &str, path: &str) -> Option<Option<String>> {
    match pattern.split_once('{') {
        None => (pattern == path).then_some(None),
        Some((head, _)) => {
            let name = path.strip_prefix(head).filter(|name| !name.is_empty() && !name.contains('/'))?;
            super::query::decode(name).map(Some)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_named_like_a_command_can_be_looked_at() {
        let Found::Route(route, name) = find("GET", "/v1/processes/start") else { panic!() };
        assert_eq!((route.endpoint, name.as_deref()), (Endpoint::Process, Some("start")));
        let Found::Route(route, None) = find("POST", "/v1/processes/start") else { panic!() };
        assert_eq!(route.endpoint, Endpoint::Command(CommandKind::Start));
    }

    /// Fault 55.
    #[test]
    fn only_what_the_table_names_is_found() {
        for path in ["", "/", "/v1", "/v1/", "/v1/Status", "/v1/status/", "/v1/processes/", "/v1/processes/a/b", "*"] {
            assert_eq!(find("GET", path), Found::Nothing, "{path}");
        }
        assert_eq!(find("GET", "/v1/apply"), Found::Methods(vec!["POST"]));
        assert_eq!(find("POST", "/v1/processes/web"), Found::Methods(vec!["GET"]));
        assert_eq!(find("get", "/v1/status"), Found::Methods(vec!["GET"]));
    }

    #[test]
    fn a_route_that_changes_things_never_needs_less_than_operate() {
        for route in ROUTES {
            match route.method {
                Method::Get => assert_eq!(route.role, Role::Read, "{}", route.path),
                Method::Post => assert!(route.role >= Role::Operate, "{}", route.path),
            }
            assert_eq!(route.method == Method::Post, route.body.is_some(), "{}", route.path);
        }
    }
}
