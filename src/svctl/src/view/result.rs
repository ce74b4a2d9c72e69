//! How a command ended.

use svd_api::{CommandResult, OutcomeWord};

use crate::text;

/// The message, below it the changes and the problems.
pub(crate) fn render(result: &CommandResult) -> String {
    let mut shown = String::new();
    if !result.message.is_empty() {
        shown.push_str(&format!("{}\n", text::plain_lines(result.message.trim_end())));
    }
    for change in &result.changes {
        shown.push_str(&format!("  {}\n", text::plain(change)));
    }
    for problem in &result.problems {
        shown.push_str(&format!("{}\n", text::plain_lines(problem.rendered.trim_end())));
    }
    shown
}

const RUNS_ON: &str = "what ran before runs on";
/// More names than these are no help.
const NAMES: usize = 3;

/// What failed, what that means for what runs, and where the evidence is. `targets` are what the command was for.
pub(crate) fn failure(result: &CommandResult, targets: &[String]) -> String {
    let mut shown = render(result);
    let (meaning, fallback) = match result.outcome {
        // The message of svd may say so already.
        OutcomeWord::RolledBack if result.message.contains(RUNS_ON) => (None, targets),
        OutcomeWord::RolledBack => (Some(RUNS_ON), targets),
        OutcomeWord::Held => (Some("nothing that was well was stopped"), targets),
        OutcomeWord::Failed => (None, &[][..]),
        OutcomeWord::Done | OutcomeWord::Planned | OutcomeWord::Refused => return shown,
    };
    if let Some(meaning) = meaning {
        shown.push_str(&format!("{meaning}\n"));
    }
    let names = if result.evidence.is_empty() { fallback } else { &result.evidence };
    match names {
        [] => {}
        names => {
            let ways: Vec<String> =
                names.iter().take(NAMES).map(|name| format!("`svctl why {}`", text::plain(name))).collect();
            let more = if names.len() > NAMES { ", …" } else { "" };
            shown.push_str(&format!("what failed is told by {}{more}\n", ways.join(", ")));
        }
    }
    shown
}

/// What is going to be done.
pub(crate) fn plan(planned: &CommandResult) -> String {
    planned.changes.iter().map(|change| format!("{}\n", text::plain(change))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use svd_api::{OutcomeWord, Problem};

    #[test]
    fn a_failure_says_what_still_runs_and_where_the_evidence_is() {
        let result = |outcome, evidence: &[&str]| CommandResult {
            outcome,
            message: "web: the new web.1 exited with code 1".to_owned(),
            changes: Vec::new(),
            problems: Vec::new(),
            evidence: evidence.iter().map(ToString::to_string).collect(),
            run: None,
        };
        let targets = ["all".to_owned()];
        let first = "web: the new web.1 exited with code 1\n";
        let check = |outcome, evidence: &[&str], rest: &str| {
            assert_eq!(failure(&result(outcome, evidence), &targets), format!("{first}{rest}"));
        };
        check(OutcomeWord::RolledBack, &["web"], "what ran before runs on\nwhat failed is told by `svctl why web`\n");
        // without a hint of the server's, by what the command was for
        check(OutcomeWord::RolledBack, &[], "what ran before runs on\nwhat failed is told by `svctl why all`\n");
        check(
            OutcomeWord::Held,
            &["a", "b", "c", "d"],
            "nothing that was well was stopped\n\
             what failed is told by `svctl why a`, `svctl why b`, `svctl why c`, …\n",
        );
        let mut said = result(OutcomeWord::RolledBack, &["web"]);
        said.message.push_str("; what ran before runs on");
        assert_eq!(failure(&said, &targets).matches("what ran before runs on").count(), 1);
        check(OutcomeWord::Failed, &["web.1"], "what failed is told by `svctl why web.1`\n");
        check(OutcomeWord::Failed, &[], "");
        check(OutcomeWord::Refused, &["web"], "");
    }

    #[test]
    fn changes_and_problems_stand_below_the_message() {
        let result = CommandResult {
            outcome: OutcomeWord::Refused,
            message: "the config has 1 error; nothing was changed".to_owned(),
            changes: vec!["web: 2 -> 4 instances".to_owned()],
            problems: vec![Problem {
                file: "Procfile.toml".to_owned(),
                line: 3,
                column: 1,
                message: "unknown key".to_owned(),
                rendered: "Procfile.toml:3:1: unknown key\n  runn = 1\n  ^~~~".to_owned(),
            }],
            evidence: Vec::new(),
            run: None,
        };
        assert_eq!(
            render(&result),
            "the config has 1 error; nothing was changed\n  web: 2 -> 4 instances\nProcfile.toml:3:1: unknown key\n  runn = 1\n  ^~~~\n"
        );
    }
}
