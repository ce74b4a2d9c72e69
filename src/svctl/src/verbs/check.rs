//! `svctl check`: a config is judged without a running svd. What only the machine can say (whether its users exist) is
//! left to `svd check` on that machine.

use std::path::Path;

use svd_config::{CheckResult, LoadOptions, ReadError};

use crate::disk::Disk;
use crate::failure::Failure;
use crate::find::Caller;
use crate::screen::{Format, Screen};

/// Tells what is found, with its exit code.
pub(crate) fn run(
    screen: &mut Screen<'_>,
    caller: &Caller,
    file: Option<&Path>,
    environment: Option<&str>,
) -> Result<(), Failure> {
    let result = judge(caller, file, environment).unwrap_or_else(CheckResult::from);
    match screen.format {
        Format::Json => screen.print_json(&result.json())?,
        Format::Human => {
            let (remarks, sentence) = (result.remarks(), result.sentence());
            if !remarks.is_empty() {
                screen.note(&remarks);
            }
            if !sentence.is_empty() {
                screen.print(&format!("{sentence}\n"))?;
            }
        }
    }
    match result.exit_code() {
        0 => Ok(()),
        code => Err(Failure::Told(code)),
    }
}

/// Prints the JSON Schema of a Procfile.toml.
pub(crate) fn schema(screen: &mut Screen<'_>) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(&svd_config::schema());
    screen.print(&format!("{}\n", text.map_err(|error| Failure::Failed(error.to_string()))?))
}

fn judge(caller: &Caller, file: Option<&Path>, environment: Option<&str>) -> Result<CheckResult, ReadError> {
    let path = svd_config::find(file, &caller.cwd, &Disk)?;
    let options = LoadOptions {
        environment: environment.map(str::to_owned),
        inherited: caller.env.clone(),
        ..LoadOptions::default()
    };
    let sources = svd_config::read(&path, options, &Disk)?;
    let (plan, warnings) = svd_config::plan(&sources).map_err(ReadError::Config)?;
    let warnings = warnings.iter().map(ToString::to_string).collect();
    Ok(CheckResult::good(&sources.main.path, &plan, warnings))
}
