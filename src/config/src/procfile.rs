//! A plain Procfile: `NAME: command` lines, by foreman's rules.
//!
//! Lines that are not of that form are ignored as foreman does, but not silently. Commands mean what they mean under
//! foreman, which hands every line to a shell: one that a shell would take apart differently goes to `sh -c`.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::document::Named;
use crate::plan::Late;
use crate::process::{Raw, RawEvidence, RawReady, RawRun};
use crate::report::{At, Report, Span};
use crate::sockets::RawListener;
use crate::values;
use crate::words::{self, Quoting, Split};

/// How long `web` has to be seen to listen, before it counts as ready all the same.
const WEB_TIMEOUT: Duration = Duration::from_secs(10);

/// Reads the text of a plain Procfile. Its `web` owns the port that it is told.
pub(crate) fn read(text: &str, report: &mut Report) -> Vec<Named> {
    let mut processes: Vec<Named> = Vec::new();
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        let at = start;
        start += line.len();
        let body = line.trim_end();
        if body.trim().is_empty() || body.trim_start().starts_with('#') {
            continue;
        }
        let parts = body.split_once(':').map(|(name, command)| (name, command.trim()));
        let (name, command) = match parts {
            Some((name, command)) if values::is_name(name) && !command.is_empty() && !command.contains('\0') => {
                (name, command)
            }
            _ => {
                let indent = body.len() - body.trim_start().len();
                let span = Span { file: 0, start: at + indent, end: at + body.len() };
                report.warn(Some(span), "this line is ignored", "lines are NAME: command, comments begin with #");
                continue;
            }
        };
        let name_span = Span { file: 0, start: at, end: at + name.len() };
        if let Some(first) = processes.iter().find(|p| p.name.value == name) {
            let message = format!("process \"{name}\" is already defined at {}", report.place(first.name.span));
            report.problem(name_span, message);
            continue;
        }
        let offset = body.len() - command.len();
        let span = Span { file: 0, start: at + offset, end: at + body.len() };
        processes.push(Named { name: At::new(name.to_owned(), name_span), raw: Raw::line(command, span) });
    }
    for Named { name, raw } in &mut processes {
        raw.keep_env = Some(vec!["*".to_owned()]);
        if name.value == "web" {
            let address = At::new("0.0.0.0:$PORT".to_owned(), name.span);
            raw.listen = Some(At::new(vec![RawListener::at(address)], name.span));
            // It may have its own idea of a port.
            let ready = RawReady { by: RawEvidence::Listening, timeout: Some(WEB_TIMEOUT), late: Late::Counts };
            raw.ready = Some(At::new(ready, name.span));
        }
    }
    processes
}

/// Decides for each command whether it means the same without a shell; `env` is what the processes will see of
/// variables, as far as it is known now.
pub(crate) fn choose_shells(processes: &mut [Named], env: &BTreeMap<String, String>) {
    for process in processes {
        if let Some(At { value: RawRun::Line(line), span }) = &process.raw.run {
            let direct = words::split(line).is_ok_and(|split| same_without_shell(&split, env));
            process.raw.shell = Some(At::new(!direct, *span));
        }
    }
}

/// A shell splits the value of a variable outside of quotes at blanks, expands wildcards in it, and drops the word
/// when nothing is left. svd does none of this, so such a line is for a shell.
fn same_without_shell(split: &Split, env: &BTreeMap<String, String>) -> bool {
    split.variables.iter().all(|variable| {
        let set = env.get(&variable.name).filter(|v| !v.is_empty() || variable.default.is_none());
        match (set.or(variable.default.as_ref()), variable.quoting) {
            (Some(_), Quoting::Double) => true,
            (Some(value), Quoting::Bare) => {
                !value.is_empty() && !value.contains(|c: char| c.is_whitespace() || "*?[\\".contains(c))
            }
            (None, _) => OWN_NUMBERS.contains(&variable.name.as_str()),
        }
    })
}

/// Variables that svd sets to a single word whatever the config says.
const OWN_NUMBERS: &[&str] = &["PORT", "PS", "SVD_APP", "SVD_PROCESS", "SVD_INSTANCE", "SVD_INDEX"];
