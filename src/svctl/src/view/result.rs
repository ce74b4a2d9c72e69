//! How a command ended.

use svd_api::CommandResult;

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

/// What is going to be done.
pub(crate) fn plan(planned: &CommandResult) -> String {
    planned.changes.iter().map(|change| format!("{}\n", text::plain(change))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use svd_api::{OutcomeWord, Problem};

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
        };
        assert_eq!(
            render(&result),
            "the config has 1 error; nothing was changed\n  web: 2 -> 4 instances\nProcfile.toml:3:1: unknown key\n  runn = 1\n  ^~~~\n"
        );
    }
}
