//! Metrics in the text format of Prometheus (version 0.0.4): families with their HELP and TYPE, then their samples.

use std::fmt::Write as _;

/// What a number means over time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    /// It only grows, until somebody begins anew.
    Counter,
    /// It goes up and down.
    Gauge,
}

/// A text that is being written.
#[derive(Debug, Default)]
pub struct Exposition {
    text: String,
}

/// The samples of one family.
#[derive(Debug)]
pub struct Family<'e> {
    text: &'e mut String,
    name: &'static str,
}

impl Exposition {
    /// Begins a family; all of its samples follow. `help` is one line.
    pub fn family(&mut self, name: &'static str, kind: Type, help: &str) -> Family<'_> {
        let kind = match kind {
            Type::Counter => "counter",
            Type::Gauge => "gauge",
        };
        let help = help.replace('\\', "\\\\").replace('\n', "\\n");
        // Writing to a string cannot fail.
        let _ = write!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
        Family { text: &mut self.text, name }
    }

    /// All of it.
    pub fn finish(self) -> String {
        self.text
    }
}

impl Family<'_> {
    /// One sample.
    pub fn sample(&mut self, labels: &[(&str, &str)], value: f64) {
        self.text.push_str(self.name);
        for (at, (name, value)) in labels.iter().enumerate() {
            self.text.push(if at == 0 { '{' } else { ',' });
            let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            let _ = write!(self.text, "{name}=\"{value}\"");
        }
        if !labels.is_empty() {
            self.text.push('}');
        }
        let _ = writeln!(self.text, " {value}");
    }

    /// One sample that is a count.
    pub fn count(&mut self, labels: &[(&str, &str)], value: u64) {
        // Exact up to 2⁵³, as whoever reads it has it.
        self.sample(labels, value as f64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_stand_below_their_help_and_type_with_labels_that_are_escaped() {
        let mut text = Exposition::default();
        let mut family = text.family("a_total", Type::Counter, "How many\\ a.");
        family.count(&[], 3);
        family.count(&[("name", "a \"b\"\n\\c"), ("x", "")], 1 << 40);
        text.family("b", Type::Gauge, "Nothing.").sample(&[], 1.5);
        assert_eq!(
            text.finish(),
            "# HELP a_total How many\\\\ a.\n# TYPE a_total counter\na_total 3\n\
             a_total{name=\"a \\\"b\\\"\\n\\\\c\",x=\"\"} 1099511627776\n\
             # HELP b Nothing.\n# TYPE b gauge\nb 1.5\n"
        );
    }
}
