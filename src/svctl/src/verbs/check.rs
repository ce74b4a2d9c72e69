//! `svctl check`: a config is judged without a running svd. What only the machine can say (whether its users exist) is
//! left to `svd check` on that machine.

use std::path::Path;

use serde_json::json;
use svd_config::{LoadOptions, ReadError, Sources};

use crate::failure::{FAILED, Failure};
use crate::find::Caller;
use crate::read_config::Disk;
use crate::screen::{Format, Screen};
use crate::text;

pub(crate) fn run(
    screen: &mut Screen<'_>,
    caller: &Caller,
    file: Option<&Path>,
    environment: Option<&str>,
    schema: bool,
) -> Result<(), Failure> {
    if schema {
        let text = serde_json::to_string_pretty(&svd_config::schema());
        return screen.print(&format!("{}\n", text.map_err(|error| Failure::Failed(error.to_string()))?));
    }
    let checked = read(caller, file, environment).and_then(|sources| match svd_config::plan(&sources) {
        Ok((plan, warnings)) => Ok((sources, plan, warnings)),
        Err(errors) => Err(ReadError::Config(errors)),
    });
    match checked {
        Ok((sources, plan, warnings)) => {
            let names: Vec<&str> = plan.processes.iter().map(|process| process.name.as_str()).collect();
            let warnings: Vec<String> = warnings.iter().map(ToString::to_string).collect();
            if screen.format == Format::Json {
                return screen.print_json(
                    &json!({"ok": true, "app": plan.app, "processes": names, "warnings": warnings, "problems": []}),
                );
            }
            for warning in &warnings {
                screen.note(&text::plain_lines(warning));
            }
            let file = sources.main.path.display().to_string();
            let names = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
            screen.print(&format!("{} is good: app {}, processes {names}\n", text::plain(&file), plan.app))
        }
        Err(ReadError::File(message)) => Err(Failure::Failed(message)),
        Err(ReadError::Config(errors)) => {
            if screen.format == Format::Json {
                let problems: Vec<svd_api::Problem> = errors.problems.iter().map(problem).collect();
                let summary = problems.first().map(|problem| problem.rendered.lines().next().unwrap_or_default());
                screen.print_json(&json!({"ok": false, "error": summary, "problems": problems}))?;
            } else {
                screen.note(&text::plain_lines(&errors.to_string()));
            }
            Err(Failure::Told(FAILED))
        }
    }
}

fn read(caller: &Caller, file: Option<&Path>, environment: Option<&str>) -> Result<Sources, ReadError> {
    let path = svd_config::find(file, &caller.cwd, &Disk)?;
    let options =
        LoadOptions { environment: environment.map(str::to_owned), only: Vec::new(), inherited: caller.env.clone() };
    svd_config::read(&path, options, &Disk)
}

fn problem(problem: &svd_config::Problem) -> svd_api::Problem {
    svd_api::Problem {
        file: problem.path.display().to_string(),
        line: u32::try_from(problem.line).unwrap_or(u32::MAX),
        column: u32::try_from(problem.column).unwrap_or(u32::MAX),
        message: problem.message.clone(),
        rendered: problem.to_string(),
    }
}
