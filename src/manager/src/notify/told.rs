//! An event in the words of those who are told of it.

use serde::Serialize;
use svd_api as api;
use svd_config::plan::JOB;

/// What a command reads and a webhook is sent.
#[derive(Serialize)]
struct Told<'a> {
    event: &'a str,
    app: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    environment: Option<&'a str>,
    #[serde(flatten)]
    entry: &'a api::Event,
}

/// As JSON in one line.
pub fn json(name: &str, app: &str, environment: Option<&str>, entry: &api::Event) -> Vec<u8> {
    // Strings and numbers always serialize.
    let mut bytes = serde_json::to_vec(&Told { event: name, app, environment, entry }).unwrap_or_default();
    bytes.push(b'\n');
    bytes
}

/// As variables of a command; without those that it has in any case.
pub fn variables(name: &str, entry: &api::Event) -> Vec<(&'static str, String)> {
    let mut variables = vec![
        ("SVD_EVENT", name.to_owned()),
        ("SVD_EVENT_ID", entry.id.to_string()),
        ("SVD_TIME", entry.time.clone()),
        // A command's arguments and variables are visible in one line each in many places.
        ("SVD_MESSAGE", entry.message.replace('\0', " ")),
    ];
    variables.extend(entry.process.clone().map(|process| ("SVD_PROCESS", process)));
    variables.extend(entry.instance.clone().map(|instance| ("SVD_INSTANCE", instance)));
    if let Some(job) = entry.process.as_deref().and_then(|process| process.strip_prefix(JOB)) {
        variables.push(("SVD_JOB", job.to_owned()));
        let run = entry.instance.as_deref().and_then(|instance| instance.rsplit_once('.'));
        variables.extend(run.map(|(_, run)| ("SVD_RUN", run.to_owned())));
        variables.extend(entry.kind.strip_prefix("job.").map(|result| ("SVD_RESULT", result.replace('_', "-"))));
    }
    variables.extend(entry.exit.as_ref().and_then(ended).map(|exit| ("SVD_EXIT", exit)));
    variables
}

/// A code, or the name of a signal.
fn ended(exit: &api::Exit) -> Option<String> {
    match exit {
        api::Exit::Code { code } => Some(code.to_string()),
        api::Exit::Signal { signal, .. } => Some(format!("SIG{signal}")),
        api::Exit::Unknown { .. } => None,
    }
}
