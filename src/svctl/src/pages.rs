//! Man page and completions, made from the table of commands.

use clap::{Command, CommandFactory};
use clap_complete::aot;

use crate::args::{Cli, Shell};

/// svctl's command line.
pub fn command() -> Command {
    Cli::command()
}

/// The completion script of svctl for a shell.
pub(crate) fn completions(shell: Shell) -> String {
    let shell = match shell {
        Shell::Bash => aot::Shell::Bash,
        Shell::Zsh => aot::Shell::Zsh,
        Shell::Fish => aot::Shell::Fish,
    };
    completion_script(command(), shell)
}

/// All completion scripts of a command line: name of the file, as the shells look for it, and text.
pub fn completion_scripts(command: &Command) -> Vec<(String, String)> {
    let name = command.get_name();
    vec![
        (format!("{name}.bash"), completion_script(command.clone(), aot::Shell::Bash)),
        (format!("_{name}"), completion_script(command.clone(), aot::Shell::Zsh)),
        (format!("{name}.fish"), completion_script(command.clone(), aot::Shell::Fish)),
    ]
}

fn completion_script(mut command: Command, shell: aot::Shell) -> String {
    let name = command.get_name().to_owned();
    let mut script = Vec::new();
    aot::generate(shell, &mut command, name, &mut script);
    String::from_utf8_lossy(&script).into_owned()
}

/// One man page (section 1) for a command line, with all its subcommands in it.
pub fn manual(command: &Command) -> String {
    // Global options are shown once, at the top.
    let mut built = command.clone();
    built.build();
    let name = built.get_name().to_owned();
    let page = clap_mangen::Man::new(command.clone().disable_help_subcommand(true)).manual("svd Manual");
    let mut roff = Vec::new();
    let mut section = |write: &dyn Fn(&mut Vec<u8>) -> std::io::Result<()>| {
        let mut part = Vec::new();
        // A Vec takes everything.
        let _infallible = write(&mut part);
        roff.extend_from_slice(&part);
    };
    section(&|w| page.render_title(w));
    section(&|w| page.render_name_section(w));
    section(&|w| page.render_synopsis_section(w));
    section(&|w| page.render_description_section(w));
    section(&|w| page.render_options_section(w));
    let text = String::from_utf8_lossy(&roff);
    // Every part begins with the same definition of the apostrophe; the title's is enough.
    let (title, rest) = text.split_once(".TH ").unwrap_or(("", &text));
    let mut text = format!("{title}.TH {}", rest.replace(title, ""));
    let subcommands: Vec<&Command> = built.get_subcommands().filter(|sub| !sub.is_hide_set()).collect();
    if !subcommands.is_empty() {
        text.push_str(".SH COMMANDS\n");
    }
    for sub in subcommands {
        text.push_str(&subsection(&name, sub));
    }
    if let Some(after) = command.get_after_help() {
        let after = after.to_string();
        text.push_str(&format!(".SH EXIT STATUS\n{}\n", escape(after.trim_start_matches("Exit codes: "))));
    }
    ascii(&text)
}

fn subsection(name: &str, sub: &Command) -> String {
    // A command that only leads to others is shown by them.
    let mut below = sub.get_subcommands().filter(|below| !below.is_hide_set() && below.get_name() != "help").peekable();
    if sub.get_name() != "help" && below.peek().is_some() {
        return below.map(|below| subsection(name, below)).collect();
    }
    let mut command = sub.clone();
    let usage = command.render_usage().to_string();
    let usage = usage.trim_start_matches("Usage: ").trim();
    let usage = if usage.starts_with(name) { usage.to_owned() } else { format!("{name} {usage}") };
    let mut text = format!(".SS \"{}\"\n", escape(&usage).replace('"', "\\(dq"));
    if let Some(about) = sub.get_about() {
        text.push_str(&format!("{}\n", escape(&about.to_string())));
    }
    let mut aliases = sub.get_visible_aliases().peekable();
    if aliases.peek().is_some() {
        text.push_str(&format!(".br\nAlso: {}\n", escape(&aliases.collect::<Vec<_>>().join(", "))));
    }
    for argument in sub.get_arguments() {
        if argument.is_global_set() || argument.is_hide_set() || argument.get_id() == "help" {
            continue;
        }
        let Some(help) = argument.get_help() else { continue };
        let short = argument.get_short().map(|short| format!("-{short}, ")).unwrap_or_default();
        let title = format!("{short}{argument}");
        text.push_str(&format!(".TP\n\\fB{}\\fR\n{}\n", escape(&title), escape(&help.to_string())));
        let values: Vec<String> = argument
            .get_possible_values()
            .iter()
            .filter(|value| !value.is_hide_set())
            .map(|v| v.get_name().to_owned())
            .collect();
        if argument.get_action().takes_values() && !values.is_empty() {
            text.push_str(&format!("(one of: {})\n", escape(&values.join(", "))));
        }
    }
    text
}

/// Text as roff shows it as it is: no control lines, and hyphens that can be copied.
fn escape(text: &str) -> String {
    let escaped = text.replace('\\', "\\e").replace('-', "\\-");
    let lines: Vec<String> = escaped
        .lines()
        .map(|line| if line.starts_with(['.', '\'']) { format!("\\&{line}") } else { line.to_owned() })
        .collect();
    lines.join("\n")
}

/// With other characters by their numbers: what a roff takes a page's bytes for depends on the locale.
fn ascii(text: &str) -> String {
    text.chars().map(|c| if c.is_ascii() { c.to_string() } else { format!("\\[u{:04X}]", u32::from(c)) }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_commands_is_sound() {
        command().debug_assert();
    }

    #[test]
    fn the_man_page_has_every_command_and_its_options() {
        let page = manual(&command());
        for sub in command().get_subcommands() {
            assert!(page.contains(&format!(".SS \"svctl {}", sub.get_name())), "{}\n{page}", sub.get_name());
        }
        for text in [".TH svctl 1", ".SH EXIT STATUS", "\\-\\-dry\\-run", "Also: ps"] {
            assert!(page.contains(text), "{text}\n{page}");
        }
    }

    #[test]
    fn every_shell_gets_a_script_that_knows_the_commands() {
        for (file, script) in completion_scripts(&command()) {
            assert!(script.contains("disable") && script.contains("dry-run"), "{file}");
        }
    }
}
