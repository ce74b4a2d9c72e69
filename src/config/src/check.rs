//! What a check of a config finds, told in the same words by `svd check` and `svctl check`.

use std::path::Path;

use serde_json::{Value, json};

use crate::error::{Errors, Problem};
use crate::files::ReadError;
use crate::plan::Plan;
use crate::printable::{Sgr, printable};

/// Whether a config can be run, and what there is to say about that.
#[derive(Clone, Debug, PartialEq)]
pub enum CheckResult {
    /// It can.
    Good {
        /// The main file.
        file: String,
        /// The app's name.
        app: String,
        /// Names of the processes.
        processes: Vec<String>,
        /// Names of the jobs.
        jobs: Vec<String>,
        /// What the user should know.
        warnings: Vec<String>,
    },
    /// It cannot.
    Bad {
        /// Faults that are no problems of a text: a file cannot be read, a user does not exist.
        faults: Vec<String>,
        /// Problems in the texts, all of them.
        problems: Vec<Problem>,
    },
}

impl CheckResult {
    /// On a config that has a plan.
    pub fn good(file: &Path, plan: &Plan, warnings: Vec<String>) -> CheckResult {
        CheckResult::Good {
            file: file.display().to_string(),
            app: plan.app.clone(),
            processes: plan.processes.iter().map(|process| process.name.clone()).collect(),
            jobs: plan.jobs.iter().map(|job| job.name.clone()).collect(),
            warnings,
        }
    }

    /// 0, or 2 where the config cannot be run.
    pub fn exit_code(&self) -> u8 {
        match self {
            CheckResult::Good { .. } => 0,
            CheckResult::Bad { .. } => 2,
        }
    }

    /// For programs. A problem has the fields that the control API gives it.
    pub fn json(&self) -> Value {
        match self {
            CheckResult::Good { file: _, app, processes, jobs, warnings } => {
                json!({"ok": true, "app": app, "processes": processes, "jobs": jobs, "warnings": warnings, "problems": []})
            }
            CheckResult::Bad { problems, .. } => {
                let error = self.remarks();
                let error = error.lines().next().unwrap_or_default();
                let problems: Vec<Value> = problems.iter().map(problem).collect();
                json!({"ok": false, "error": error, "problems": problems})
            }
        }
    }

    /// For people, on standard output: one line, or nothing.
    pub fn sentence(&self) -> String {
        match self {
            CheckResult::Good { file, app, processes, jobs, .. } => {
                let processes = if processes.is_empty() { "none".to_owned() } else { processes.join(", ") };
                let jobs = if jobs.is_empty() { String::new() } else { format!(", jobs {}", jobs.join(", ")) };
                format!("{} is good: app {app}, processes {processes}{jobs}", printable(file.as_bytes(), Sgr::Show))
            }
            CheckResult::Bad { .. } => String::new(),
        }
    }

    /// For people, on standard error: warnings, or all that is wrong. Printable; empty where there is nothing to say.
    pub fn remarks(&self) -> String {
        let texts: Vec<String> = match self {
            CheckResult::Good { warnings, .. } => warnings.clone(),
            CheckResult::Bad { faults, problems } => {
                faults.iter().cloned().chain(problems.iter().map(ToString::to_string)).collect()
            }
        };
        let lines = texts.iter().flat_map(|text| text.lines()).map(|line| printable(line.as_bytes(), Sgr::Show));
        lines.collect::<Vec<_>>().join("\n")
    }
}

impl From<Errors> for CheckResult {
    fn from(errors: Errors) -> CheckResult {
        CheckResult::Bad { faults: Vec::new(), problems: errors.problems }
    }
}

impl From<ReadError> for CheckResult {
    fn from(error: ReadError) -> CheckResult {
        match error {
            ReadError::File(fault) => CheckResult::Bad { faults: vec![fault], problems: Vec::new() },
            ReadError::Config(errors) => errors.into(),
        }
    }
}

fn problem(problem: &Problem) -> Value {
    json!({
        "file": problem.path.display().to_string(),
        "line": problem.line,
        "column": problem.column,
        "message": problem.message,
        "rendered": problem.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Source, SourceKind, Sources};

    fn check(text: &str) -> CheckResult {
        let main = Source { path: "Procfile.toml".into(), kind: SourceKind::Toml, text: text.to_owned(), mode: 0o600 };
        let (others, only, inherited) = Default::default();
        let sources = Sources { main, dir: "/shop".into(), others, environment: None, only, no_jobs: false, inherited };
        match crate::plan(&sources) {
            Ok((plan, warnings)) => {
                CheckResult::good(&sources.main.path, &plan, warnings.iter().map(ToString::to_string).collect())
            }
            Err(errors) => errors.into(),
        }
    }

    #[test]
    fn a_good_config_is_told_in_one_line_and_with_0() {
        let good = check("[process]\nweb = \"web\"\n");
        assert_eq!(good.exit_code(), 0);
        assert_eq!(good.sentence(), "Procfile.toml is good: app shop, processes web");
        assert_eq!(good.remarks(), "");
        let expected =
            json!({"ok": true, "app": "shop", "processes": ["web"], "jobs": [], "warnings": [], "problems": []});
        assert_eq!(good.json(), expected);
    }

    #[test]
    fn all_that_is_wrong_is_told_with_2_and_steers_no_terminal() {
        let bad = check("[process.web]\nrun = \"web\"\n\"\\u001b[2J\" = 1\ncount = -1\n");
        assert_eq!(bad.exit_code(), 2);
        assert_eq!(bad.sentence(), "");
        assert!(bad.remarks().contains("Procfile.toml:4:9: "), "{}", bad.remarks());
        assert!(!bad.remarks().contains('\x1b'), "{:?}", bad.remarks());
        assert_eq!(bad.json()["ok"], false);
        assert_eq!(bad.json()["problems"].as_array().map(Vec::len), Some(2));
        assert_eq!(bad.json()["problems"][1]["line"], 4);
    }

    #[test]
    fn a_file_that_cannot_be_read_is_told_with_2() {
        let bad = CheckResult::from(ReadError::File("there is no Procfile".to_owned()));
        assert_eq!((bad.exit_code(), bad.remarks().as_str()), (2, "there is no Procfile"));
        assert_eq!(bad.json(), json!({"ok": false, "error": "there is no Procfile", "problems": []}));
    }
}
