use std::collections::BTreeSet;

use serde::Serialize;
use serde_json::{Value, json};
use svd_api as api;

use crate::http::{ROUTES, openapi};

fn references(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) => {
            if let Some(Value::String(reference)) = map.get("$ref") {
                found.insert(reference.trim_start_matches("#/components/schemas/").to_owned());
            }
            map.values().for_each(|value| references(value, found));
        }
        Value::Array(values) => values.iter().for_each(|value| references(value, found)),
        _ => {}
    }
}

#[test]
fn every_route_is_described_and_every_schema_used_is_there() {
    let document = openapi();
    for route in ROUTES {
        let operation = &document["paths"][route.path][route.method.word().to_ascii_lowercase()];
        assert_eq!(operation["summary"], json!(route.summary), "{}", route.path);
    }
    let mut used = BTreeSet::new();
    references(&document, &mut used);
    let there: BTreeSet<String> = document["components"]["schemas"].as_object().unwrap().keys().cloned().collect();
    assert_eq!(used, there);
    assert_eq!(document.to_string(), openapi().to_string());
}

#[test]
fn operations_have_different_ids() {
    let document = openapi();
    let paths = document["paths"].as_object().unwrap().values();
    let ids: Vec<_> = paths.flat_map(|path| path.as_object().unwrap().values()).map(|o| &o["operationId"]).collect();
    assert_eq!(ids.len(), ROUTES.len());
    assert_eq!(ids.iter().map(|id| id.to_string()).collect::<BTreeSet<_>>().len(), ids.len());
}

/// The value has exactly the schema's properties, and all required ones.
fn check(name: &str, value: impl Serialize) {
    let document = openapi();
    let schema = &document["components"]["schemas"][name];
    let value = serde_json::to_value(value).unwrap();
    let keys: BTreeSet<&String> = value.as_object().unwrap().keys().collect();
    let properties: BTreeSet<&String> = schema["properties"].as_object().unwrap().keys().collect();
    assert_eq!(keys, properties, "{name}");
    for key in schema["required"].as_array().into_iter().flatten() {
        assert!(properties.contains(&key.as_str().unwrap().to_owned()), "{name}: {key}");
    }
}

#[test]
fn schemas_have_the_fields_of_the_types() {
    let mut status = super::fake::tree();
    status.warnings.push(String::new());
    let mut process = status.processes[0].clone();
    (process.disabled, process.oneshot) = (true, true);
    let text = String::new;
    let some = || Some(String::new());
    check("Svd", &status.svd);
    (process.instances[0].role, process.instances[0].spawn) = (api::Role::Replaced, Some(1));
    process.instances[0].notify = Some(api::Notify::default());
    process.instances[0].pressure = Some(api::Pressure::default());
    check("Notify", api::Notify::default());
    check("Pressure", api::Pressure::default());
    check("Instance", &process.instances[0]);
    check("Process", &process);
    check("Status", &status);
    check("Listener", api::Listener { name: text(), address: text() });
    check("ErrorReply", api::ErrorReply { error: text() });
    check("CommandRequest", api::CommandRequest { replaced: true, ..api::CommandRequest::default() });
    check("ScaleRequest", api::ScaleRequest::default());
    check("SignalRequest", api::SignalRequest::default());
    check("ApplyRequest", api::ApplyRequest::default());
    check("UpgradeRequest", api::UpgradeRequest::default());
    check("ShutdownRequest", api::ShutdownRequest::default());
    check("ExecRequest", api::ExecRequest::default());
    let problem = api::Problem { file: text(), line: 1, column: 1, message: text(), rendered: text() };
    check("Problem", &problem);
    let (outcome, evidence) = (api::OutcomeWord::Done, vec![text()]);
    let (message, changes, problems) = (text(), vec![], vec![problem]);
    let exit = || Some(api::Exit::Unknown { unknown: true });
    let run = api::Run {
        run: 1,
        job: text(),
        result: text(),
        cause: text(),
        scheduled: some(),
        count: 1,
        started: some(),
        ended: some(),
        seconds: Some(1.5),
        attempts: 1,
        exit: exit(),
        pid: Some(1),
        why: some(),
        actor: some(),
    };
    check("Run", &run);
    let result = api::CommandResult { outcome, message, changes, problems, evidence, run: Some(run.clone()) };
    check("CommandResult", result);
    let job = api::Job {
        name: text(),
        schedule: some(),
        timezone: some(),
        paused: false,
        next: None,
        missed: 0,
        running: 1,
        open: vec![run.clone()],
        last: Some(run.clone()),
    };
    check("Job", &job);
    check("RunRequest", api::RunRequest::default());
    check("JobsRequest", api::JobsRequest::default());
    let why = api::WhyRun { run, events: vec![], output: vec![] };
    check("WhyRun", &why);
    let why = api::WhyJob { job, runs: vec![why] };
    check("WhyJob", &why);
    check("Why", api::Why { instances: vec![], jobs: vec![why] });
    let instance = process.instances[0].clone();
    let attempt = api::Attempt { spawn: 1, events: vec![], output: vec![] };
    check("Attempt", &attempt);
    check("WhyInstance", api::WhyInstance { instance, events: vec![], output: vec![], attempt: Some(attempt) });
    check("EnvReply", api::EnvReply { process: text(), variables: vec![] });
    check("EnvVariable", api::EnvVariable { name: text(), source: text() });
    let (env, cwd, groups) = (vec![], text(), vec![]);
    check("ExecReply", api::ExecReply { env, cwd, uid: None, gid: None, groups, umask: None });
    check("WaitReply", api::WaitReply { met: true, hopeless: true, message: text() });
    let (time, instance, stream, message) = (text(), text(), text(), text());
    check("LogLine", api::LogLine { time, instance, stream, message, partial: true });
    check("Version", api::Version { version: text(), api: text() });
    check("Health", api::Health { status: text() });
    let (process, instance, actor, reason) = (some(), some(), some(), some());
    let exit = Some(api::Exit::Unknown { unknown: true });
    let (time, kind, message, spawn, pid) = (text(), text(), text(), Some(1), Some(1));
    check("Event", api::Event { id: 1, time, kind, process, instance, spawn, pid, exit, actor, reason, message });
}
