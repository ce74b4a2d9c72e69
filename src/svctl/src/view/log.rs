//! Lines of output with their instance in front, in a colour of its process.

use std::collections::BTreeMap;

use svd_api::LogLine;

use super::Look;
use crate::screen::Place;
use crate::text;

/// Neither red nor grey: these mean something.
const COLORS: [&str; 8] = ["36", "33", "32", "35", "34", "96", "93", "95"];

/// Remembers the colours and how wide the longest name was, so that the texts stand below each other.
#[derive(Default)]
pub(crate) struct Prefixes {
    colors: BTreeMap<String, &'static str>,
    width: usize,
}

impl Prefixes {
    /// `14:00:05 web.1 | text`
    pub fn line(&mut self, line: &LogLine, place: Place, look: &Look) -> String {
        let process = line.instance.rsplit_once('.').map_or(line.instance.as_str(), |(process, _)| process);
        let next = COLORS[self.colors.len() % COLORS.len()];
        let color = *self.colors.entry(process.to_owned()).or_insert(next);
        let name = text::plain(&line.instance);
        self.width = self.width.max(name.chars().count());
        let prefix = format!("{} {name:width$} |", text::clock(&line.time, &look.now), width = self.width);
        format!("{} {}\n", look.paint.apply(color, &prefix), text::log_line(&line.message, place, look.paint))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::screen::Paint;

    fn line(instance: &str, message: &str) -> LogLine {
        LogLine {
            time: "2026-11-23T13:59:48.123456Z".to_owned(),
            instance: instance.to_owned(),
            stream: "stdout".to_owned(),
            message: message.to_owned(),
            partial: false,
        }
    }

    #[test]
    fn texts_stand_below_each_other_and_processes_differ_in_colour() {
        let mut look = Look { now: "2026-11-23T14:00:00Z[UTC]".parse().unwrap(), paint: Paint::Plain, width: None };
        let mut prefixes = Prefixes::default();
        assert_eq!(prefixes.line(&line("worker.1", "a"), Place::Other, &look), "13:59:48 worker.1 | a\n");
        assert_eq!(prefixes.line(&line("web.1", "b"), Place::Other, &look), "13:59:48 web.1    | b\n");
        look.paint = Paint::Colors;
        let mut prefixes = Prefixes::default();
        let web1 = prefixes.line(&line("web.1", "a"), Place::Terminal, &look);
        let db1 = prefixes.line(&line("db.1", "a"), Place::Terminal, &look);
        let web2 = prefixes.line(&line("web.2", "a"), Place::Terminal, &look);
        assert_eq!(web1[..5], web2[..5]);
        assert_ne!(web1[..5], db1[..5]);
    }
}
