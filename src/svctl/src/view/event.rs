//! Events as lines.

use svd_api::Event;

use super::Look;
use crate::text;

/// One line of `svctl events`: time, what it concerns, what happened, who and why.
pub(crate) fn line(event: &Event, look: &Look) -> String {
    let mut shown = format!("{}  {}", text::clock(&event.time, &look.now), sentence(event));
    if let Some(actor) = &event.actor {
        shown.push_str(&format!(" (by {})", text::plain(actor)));
    }
    if let Some(reason) = &event.reason {
        shown.push_str(&format!(": {}", text::plain(reason)));
    }
    shown.push('\n');
    shown
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
