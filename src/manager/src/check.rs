//! `svd check`: a config is read and judged, and nothing is touched.

use std::io::Write;

use svd_config::CheckResult;

use crate::cli::{CheckArgs, RunArgs};
use crate::doctor::confined;
use crate::plan::{self, LoadError};

/// Prints what is found. 0: the config is good; 2: it is not.
pub fn check(args: &CheckArgs) -> u8 {
    if args.schema {
        print(&serde_json::to_string_pretty(&svd_config::schema()).unwrap_or_default());
        return 0;
    }
    let result = judge(args).unwrap_or_else(LoadError::into_check_result);
    let (remarks, sentence) = (result.remarks(), result.sentence());
    if args.json {
        print(&result.json().to_string());
        return result.exit_code();
    }
    if !remarks.is_empty() {
        crate::say::line(&remarks);
    }
    if !sentence.is_empty() {
        print(&sentence);
    }
    result.exit_code()
}

fn judge(args: &CheckArgs) -> Result<CheckResult, LoadError> {
    let inherited =
        std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    let run = RunArgs {
        config: args.config.clone().or_else(|| args.config_option.clone()),
        environment: args.environment.clone(),
        ..RunArgs::default()
    };
    let loaded = plan::from_disk(&run, &inherited.collect())?;
    let mut warnings = loaded.warnings;
    if let confined::Limits::None(why) = confined::limits() {
        // Where only this place has none, the one where svd will run may have some.
        let limited = loaded.plan.processes.iter().filter(|process| process.limits != Default::default());
        warnings.extend(limited.map(|process| format!("limits of {} cannot be had on this host: {why}", process.name)));
    }
    Ok(CheckResult::good(&loaded.sources.main.path, &loaded.plan, warnings))
}

/// A reader that has closed its end has seen what it wanted.
fn print(text: &str) {
    let _closed = writeln!(std::io::stdout(), "{text}");
}
