//! What led to a state.

use svd_api::{Attempt, Event, LogLine, Why, WhyInstance, WhyJob};

use super::{Look, color, event, exit, name};
use crate::screen::Place;
use crate::text;

/// For each instance: its state in a sentence, the events that led there, its last output; the last attempt to replace it, where
/// that came to nothing.
pub(crate) fn render(why: &Why, place: Place, look: &Look) -> String {
    let instances = why.instances.iter().map(|one| instance(one, place, look));
    instances.chain(why.jobs.iter().map(|one| job(one, place, look))).collect::<Vec<_>>().join("\n")
}

fn job(why: &WhyJob, place: Place, look: &Look) -> String {
    let mut shown = super::jobs::sentence(&why.job, look);
    for one in &why.runs {
        shown.push_str(&format!("  {}\n", super::jobs::run_sentence(&one.run, look)));
        shown.push_str(&told(&one.events, &one.output, place, look, "    "));
    }
    shown
}

fn instance(why: &WhyInstance, place: Place, look: &Look) -> String {
    let now = &why.instance;
    let state = text::plain(&now.state);
    let mut shown = format!("{} is {}", name(now), look.paint.apply(color(&state), &state));
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
    if let Some(notify) = &now.notify {
        shown.push_str(&format!("  {}\n", said(notify)));
    }
    shown.push_str(&told(&why.events, &why.output, place, look, "  "));
    if let Some(attempt) = &why.attempt {
        shown.push_str(&failed(attempt, place, look));
    }
    shown
}

/// What it said over its notify socket, and what was not heard of it.
fn said(notify: &svd_api::Notify) -> String {
    let some = |count: u64, text: &str| (count > 0).then(|| format!("{count} {text}"));
    let parts = [
        notify.reloading.then(|| "reads its config again".to_owned()),
        notify.errno.map(|errno| format!("told errno {errno}")),
        notify.exit_status.map(|status| format!("told exit status {status}")),
        (!notify.stored.is_empty()).then(|| format!("keeps {} with svd", text::plain(&notify.stored.join(", ")))),
        some(notify.refused_descriptors, "of its descriptors were not kept"),
        some(notify.dropped_messages, "messages to its notify socket were dropped"),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join("; ")
}

/// What became of one that was to replace it.
fn failed(attempt: &Attempt, place: Place, look: &Look) -> String {
    let when = attempt.events.first().map(|first| format!(", at {}", text::clock(&first.time, &look.now)));
    let head = look.paint.apply("31", "did not succeed");
    let when = when.unwrap_or_default();
    format!(
        "  the last attempt to replace it{when}, {head}:\n{}",
        told(&attempt.events, &attempt.output, place, look, "    ")
    )
}

fn told(events: &[Event], output: &[LogLine], place: Place, look: &Look, indent: &str) -> String {
    let mut shown = String::new();
    for past in events {
        shown.push_str(&format!("{indent}{}", event::line(past, look)));
    }
    if !output.is_empty() {
        shown.push_str(&format!("{indent}last output:\n"));
    }
    for line in output {
        let message = match place {
            Place::Terminal => text::log_line(&line.message, place, look.paint),
            // Among sentences of ours, also a file gets no escape sequences.
            Place::Other => text::plain(&line.message),
        };
        shown.push_str(&format!("{indent}{} | {message}\n", text::clock(&line.time, &look.now)));
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::screen::Paint;
    use crate::view::status::tests::instance;
    use svd_api::Exit;

    fn line(message: &str) -> LogLine {
        LogLine {
            time: "2026-11-23T13:59:47.5Z".to_owned(),
            instance: "web.1".to_owned(),
            stream: "stderr".to_owned(),
            message: message.to_owned(),
            partial: false,
        }
    }

    fn look() -> Look {
        Look { now: "2026-11-23T14:00:00Z[UTC]".parse().unwrap(), paint: Paint::Plain, width: None }
    }

    #[test]
    fn an_attempt_to_replace_it_that_failed_is_told_below_it_with_its_own_output() {
        let mut now = instance("web.1", "ready", Some(4711));
        now.since = "2026-11-23T13:00:00Z".to_owned();
        let mut old = instance("web.1", "draining", Some(17));
        old.role = svd_api::Role::Replaced;
        let attempt = Attempt {
            spawn: 7,
            events: vec![
                event::tests::event(1, "web.1", "started, pid 4790"),
                event::tests::event(2, "web.1", "not ready within 30.0 s; last try: GET /healthz answered 500"),
            ],
            output: vec![line("no such table")],
        };
        let why = Why {
            instances: vec![
                WhyInstance { instance: now, events: vec![], output: vec![line("GET /")], attempt: Some(attempt) },
                WhyInstance { instance: old, events: vec![], output: vec![], attempt: None },
            ],
            jobs: vec![],
        };
        assert_eq!(
            render(&why, Place::Other, &look()),
            "\
web.1 is ready since 13:00:00 (1h)
  last output:
  13:59:47 | GET /
  the last attempt to replace it, at 13:59:48, did not succeed:
    13:59:48  web.1 started, pid 4790
    13:59:48  web.1 not ready within 30.0 s; last try: GET /healthz answered 500
    last output:
    13:59:47 | no such table

web.1 (ending) is draining since 13:59:48 (12s)
"
        );
    }

    #[test]
    fn the_chain_is_told_from_the_state_back_to_the_output() {
        let mut now = instance("web.1", "backoff", None);
        now.exit = Some(Exit::Code { code: 1 });
        let why = Why {
            instances: vec![WhyInstance {
                instance: now,
                events: vec![event::tests::event(1, "web.1", "started")],
                output: vec![line("\x1b[31mno such table")],
                attempt: None,
            }],
            jobs: vec![],
        };
        assert_eq!(
            render(&why, Place::Other, &look()),
            "\
web.1 is backoff since 13:59:48 (12s): exit code 1
  13:59:48  web.1 started
  last output:
  13:59:47 | \\x1b[31mno such table
"
        );
    }
}
