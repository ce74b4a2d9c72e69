//! What is wrong with a schedule, and where.

use std::ops::Range;

use thiserror::Error;

/// A text that is no schedule, or one that would never run.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{message}; {help}")]
pub struct ScheduleError {
    /// The bytes of the text that are wrong; may be empty where something is missing.
    pub span: Range<usize>,
    /// What was found, in one line.
    pub message: String,
    /// What is allowed, or the way out.
    pub help: String,
}

/// Longer expressions are shown in part.
const LONGEST_LINE: usize = 160;

impl ScheduleError {
    pub(crate) fn new(span: Range<usize>, message: impl Into<String>, help: impl Into<String>) -> ScheduleError {
        ScheduleError { span, message: message.into(), help: help.into() }
    }

    /// Two lines: the text that was read, and `^~~~` below what is wrong with it.
    pub fn excerpt(&self, text: &str) -> String {
        excerpt(text, &self.span)
    }
}

/// Two lines: a line of text, and `^~~~` below a piece of it, in bytes.
pub(crate) fn excerpt(text: &str, span: &Range<usize>) -> String {
    let before = text.get(..span.start).unwrap_or(text).chars().count();
    let marked = text.get(span.clone()).unwrap_or("").chars().count().max(1);
    let cut = if text.chars().count() > LONGEST_LINE { before.saturating_sub(LONGEST_LINE / 2) } else { 0 };
    let shown: String =
        text.chars().skip(cut).take(LONGEST_LINE).map(|c| if c.is_control() { ' ' } else { c }).collect();
    let from = before - cut;
    let width = marked.min(LONGEST_LINE.saturating_sub(from)).max(1);
    format!("{}\n{}^{}", shown.trim_end(), " ".repeat(from), "~".repeat(width - 1))
}

/// A piece of the text as messages show it: quoted, without control characters, and of bounded length.
pub(crate) fn shown(piece: &str) -> String {
    const LONGEST: usize = 40;
    if piece.chars().count() <= LONGEST {
        return format!("{piece:?}");
    }
    let start: String = piece.chars().take(LONGEST).collect();
    format!("{start:?}…")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_caret_stands_below_the_fault_counted_in_characters() {
        let text = "ä 25 * * *";
        let error = ScheduleError::new(3..5, "m", "h");
        assert_eq!(error.excerpt(text), "ä 25 * * *\n  ^~");
        assert_eq!(error.to_string(), "m; h");
    }

    #[test]
    fn a_long_text_is_shown_around_the_fault() {
        let text = format!("{}x{}", "1,".repeat(300), ",2".repeat(300));
        let excerpt = ScheduleError::new(600..601, "m", "h").excerpt(&text);
        let (line, caret) = excerpt.split_once('\n').unwrap();
        assert_eq!(line.chars().nth(caret.find('^').unwrap()), Some('x'));
        assert!(line.len() <= LONGEST_LINE);
    }
}
