//! What led to a state.

use svd_api::{Why, WhyInstance};

use super::{Look, color, event, exit};
use crate::screen::Place;
use crate::text;

/// For each instance: its state in a sentence, the events that led there, its last output.
pub(crate) fn render(why: &Why, place: Place, look: &Look) -> String {
    why.instances.iter().map(|one| instance(one, place, look)).collect::<Vec<_>>().join("\n")
}

fn instance(why: &WhyInstance, place: Place, look: &Look) -> String {
    let now = &why.instance;
    let state = text::plain(&now.state);
    let mut shown = format!("{} is {}", text::plain(&now.id), look.paint.apply(color(&state), &state));
    let since = text::since(&now.since, &look.now);
    if !since.is_empty() {
        shown.push_str(&format!(" since {} ({since})", text::clock(&now.since, &look.now)));
    }
    match (&now.reason, &now.exit) {
        (Some(reason), _) => shown.push_str(&format!(": {}", text::plain(reason))),
        (None, Some(end)) if now.pid.is_none() => shown.push_str(&format!(": {}", exit(end))),
        (None, _) => {}
    }
    shown.push('\n');
    for past in &why.events {
        shown.push_str(&format!("  {}", event::line(past, look)));
    }
    if !why.output.is_empty() {
        shown.push_str("  last output:\n");
    }
    for line in &why.output {
        let message = match place {
            Place::Terminal => text::log_line(&line.message, place, look.paint),
            // Among sentences of ours, also a file gets no escape sequences.
            Place::Other => text::plain(&line.message),
        };
        shown.push_str(&format!("  {} | {message}\n", text::clock(&line.time, &look.now)));
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::screen::Paint;
    use svd_api::{Exit, Instance, LogLine};

    #[test]
    fn the_chain_is_told_from_the_state_back_to_the_output() {
        let why = Why {
            instances: vec![WhyInstance {
                instance: Instance {
                    id: "web.1".to_owned(),
                    pid: None,
                    state: "backoff".to_owned(),
                    release: None,
                    since: "2026-11-23T13:59:48Z".to_owned(),
                    restarts: 1,
                    exit: Some(Exit::Code { code: 1 }),
                    reason: None,
                    cpu_percent: None,
                    memory_bytes: None,
                },
                events: vec![event::tests::event(1, "web.1", "started")],
                output: vec![LogLine {
                    time: "2026-11-23T13:59:47.5Z".to_owned(),
                    instance: "web.1".to_owned(),
                    stream: "stderr".to_owned(),
                    message: "\x1b[31mno such table".to_owned(),
                    partial: false,
                }],
            }],
        };
        let look = Look { now: "2026-11-23T14:00:00Z[UTC]".parse().unwrap(), paint: Paint::Plain, width: None };
        assert_eq!(
            render(&why, Place::Other, &look),
            "\
web.1 is backoff since 13:59:48 (12s): exit code 1
  13:59:48  web.1 started
  last output:
  13:59:47 | \\x1b[31mno such table
"
        );
    }
}
