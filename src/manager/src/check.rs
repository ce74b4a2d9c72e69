//! `svd check`: a config is read and judged, and nothing is touched.

use std::io::Write;

use crate::cli::{CheckArgs, RunArgs};
use crate::plan::{self, LoadError};

/// Prints the verdict. 0: the config is good; 2: it is not.
pub fn check(args: &CheckArgs) -> u8 {
    if args.schema {
        return print(&pretty(&svd_config::schema()), 0);
    }
    let inherited =
        std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    let run = RunArgs {
        config: args.config.clone().or_else(|| args.config_option.clone()),
        environment: args.environment.clone(),
        ..RunArgs::default()
    };
    match plan::from_disk(&run, &inherited.collect()) {
        Ok(loaded) if args.json => {
            let warnings = loaded.warnings;
            let processes: Vec<&str> = loaded.plan.processes.iter().map(|process| process.name.as_str()).collect();
            let verdict = serde_json::json!({
                "ok": true, "app": loaded.plan.app, "processes": processes, "warnings": warnings, "problems": [],
            });
            print(&pretty(&verdict), 0)
        }
        Ok(loaded) => {
            for warning in &loaded.warnings {
                crate::say::line(&format!("warning: {warning}"));
            }
            let names: Vec<&str> = loaded.plan.processes.iter().map(|process| process.name.as_str()).collect();
            let path = loaded.sources.main.path.display();
            print(&format!("{path} is good: app {}, processes {}", loaded.plan.app, names.join(", ")), 0)
        }
        Err(error) if args.json => {
            let message = error.summary();
            let problems = match &error {
                LoadError::Config(errors) => errors.problems.iter().map(plan::problem).collect::<Vec<_>>(),
                LoadError::File(_) | LoadError::Machine(_) => Vec::new(),
            };
            print(&pretty(&serde_json::json!({ "ok": false, "error": message, "problems": problems })), 2)
        }
        Err(error) => {
            crate::say::line(error.render().trim_end());
            2
        }
    }
}

fn pretty(value: &serde_json::Value) -> String {
    serde_json::to_string_pretty(value).unwrap_or_default()
}

/// A reader that has closed its end has seen what it wanted.
fn print(text: &str, code: u8) -> u8 {
    let _closed = writeln!(std::io::stdout(), "{text}");
    code
}
