//! `svd check`: a config is read and judged, and nothing is touched.

use std::io::Write;

use svd_config::Verdict;

use crate::cli::{CheckArgs, RunArgs};
use crate::plan::{self, LoadError};

/// Prints the verdict. 0: the config is good; 2: it is not.
pub fn check(args: &CheckArgs) -> u8 {
    if args.schema {
        print(&serde_json::to_string_pretty(&svd_config::schema()).unwrap_or_default());
        return 0;
    }
    let verdict = judge(args).unwrap_or_else(LoadError::into_verdict);
    let (remarks, sentence) = (verdict.remarks(), verdict.sentence());
    if args.json {
        print(&verdict.json().to_string());
        return verdict.exit_code();
    }
    if !remarks.is_empty() {
        crate::say::line(&remarks);
    }
    if !sentence.is_empty() {
        print(&sentence);
    }
    verdict.exit_code()
}

fn judge(args: &CheckArgs) -> Result<Verdict, LoadError> {
    let inherited =
        std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    let run = RunArgs {
        config: args.config.clone().or_else(|| args.config_option.clone()),
        environment: args.environment.clone(),
        ..RunArgs::default()
    };
    let loaded = plan::from_disk(&run, &inherited.collect())?;
    Ok(Verdict::good(&loaded.sources.main.path, &loaded.plan, loaded.warnings))
}

/// A reader that has closed its end has seen what it wanted.
fn print(text: &str) {
    let _closed = writeln!(std::io::stdout(), "{text}");
}
