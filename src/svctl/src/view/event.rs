//! Events as lines.

use svd_api::Event;

use super::Look;
use crate::text;

/// One line of `svctl events`: time, what it concerns, what happened, who and why.
pub(crate) fn line(event: &Event, look: &Look) -> String {
    let sentence = look.paint.apply(color(&event.kind), &sentence(event));
    let mut shown = format!("{}  {sentence}", text::clock(&event.time, &look.now));
    if let Some(actor) = &event.actor {
        shown.push_str(&format!(" (by {})", text::plain(actor)));
    }
    if let Some(reason) = &event.reason {
        shown.push_str(&format!(": {}", text::plain(reason)));
    }
    shown.push('\n');
    shown
}

/// The colour of a kind of event: green went well, yellow is no failure yet, red needs somebody. Most have none.
pub(crate) fn color(kind: &str) -> &'static str {
    match kind {
        "instance.ready" | "instance.replaced" | "instance.recovered" | "instance.completed" | "command.done" => "32",
        "instance.backoff"
        | "instance.worn"
        | "instance.left_over"
        | "instance.drain_timeout"
        | "instance.escalated"
        | "logs.dropping"
        | "command.refused" => "33",
        "instance.failed"
        | "instance.start_failed"
        | "instance.ready_timeout"
        | "instance.unhealthy"
        | "instance.stuck"
        | "process.rolled_back"
        | "process.essential_failed"
        | "command.failed"
        | "command.rolled_back"
        | "command.held" => "31",
        _ => "",
    }
}

/// What happened, with what it concerns in front unless the sentence begins with it.
pub(crate) fn sentence(event: &Event) -> String {
    let message = text::plain(&event.message);
    match event.instance.as_ref().or(event.process.as_ref()) {
        Some(subject) if !begins_with(&message, subject) => format!("{} {message}", text::plain(subject)),
        _ => message.into_owned(),
    }
}

fn begins_with(message: &str, subject: &str) -> bool {
    message.strip_prefix(subject).is_some_and(|rest| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '-'))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::screen::Paint;

    pub(crate) fn event(id: i64, instance: &str, message: &str) -> Event {
        Event {
            id,
            time: "2026-11-23T13:59:48.25Z".to_owned(),
            kind: "instance.ready".to_owned(),
            process: None,
            instance: Some(instance.to_owned()),
            spawn: None,
            pid: None,
            exit: None,
            actor: None,
            reason: None,
            message: message.to_owned(),
        }
    }

    #[test]
    fn what_failed_is_red_and_what_serves_is_green() {
        let look = Look { now: "2026-11-23T14:00:00Z[UTC]".parse().unwrap(), paint: Paint::Colors, width: None };
        let mut event = event(1, "web.1", "has taken the place of the one before it");
        event.kind = "instance.replaced".to_owned();
        assert_eq!(line(&event, &look), "13:59:48  \x1b[32mweb.1 has taken the place of the one before it\x1b[0m\n");
        event.kind = "process.rolled_back".to_owned();
        assert!(line(&event, &look).contains("\x1b[31m"));
        event.kind = "instance.draining".to_owned();
        assert!(!line(&event, &look).contains('\x1b'));
    }

    #[test]
    fn a_line_names_its_subject_once() {
        let look = Look { now: "2026-11-23T14:00:00Z[UTC]".parse().unwrap(), paint: Paint::Plain, width: None };
        assert_eq!(line(&event(1, "web.1", "ready after 0.8 s"), &look), "13:59:48  web.1 ready after 0.8 s\n");
        assert_eq!(line(&event(1, "web.1", "web.1 is ready"), &look), "13:59:48  web.1 is ready\n");
        let mut asked = event(1, "web.1", "web.12 too");
        asked.actor = Some("ann".to_owned());
        asked.reason = Some("new key\r".to_owned());
        assert_eq!(line(&asked, &look), "13:59:48  web.1 web.12 too (by ann): new key\\x0d\n");
    }
}
