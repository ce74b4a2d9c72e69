//! Text of others made fit for a terminal. A process, a name or a config must not be able to move the cursor, set the
//! title, answer for the keyboard or forge a line of another.

use std::fmt::Write;

/// What to do with "select graphic rendition", `ESC [ … m` (ECMA-48): it changes colours and nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sgr {
    /// It stays; the text then ends with a reset, so that its colours end with it.
    Keep,
    /// It is left out.
    Drop,
    /// It is shown like all other escape sequences.
    Show,
}

/// Control characters but tab, and with them all escape sequences, as `\x1b`; bytes that are not UTF-8 as `\xff`; C1
/// controls, line and paragraph separators, and the marks that turn the direction of writing around, as `\u{202e}`.
pub fn printable(bytes: &[u8], sgr: Sgr) -> String {
    let mut shown = String::with_capacity(bytes.len());
    let mut colored = false;
    let mut rest = bytes;
    while !rest.is_empty() {
        if sgr != Sgr::Show
            && let Some((sequence, behind)) = split_sgr(rest)
        {
            if sgr == Sgr::Keep {
                shown.push_str(sequence);
                colored = true;
            }
            rest = behind;
            continue;
        }
        // Up to where the next sequence may begin.
        let until = rest.iter().skip(1).position(|byte| *byte == 0x1b).map_or(rest.len(), |at| at + 1);
        let (part, behind) = rest.split_at(until);
        for chunk in part.utf8_chunks() {
            for character in chunk.valid().chars() {
                push(&mut shown, character);
            }
            for byte in chunk.invalid() {
                push_byte(&mut shown, *byte);
            }
        }
        rest = behind;
    }
    if colored {
        shown.push_str("\x1b[0m");
    }
    shown
}

/// Whether [`printable`] with [`Sgr::Show`] leaves the text as it is.
pub fn is_printable(text: &str) -> bool {
    !text.chars().any(steers)
}

fn steers(character: char) -> bool {
    match character {
        '\t' => false,
        '\u{200e}' | '\u{200f}' | '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => true,
        other => other.is_control(),
    }
}

fn push(shown: &mut String, character: char) {
    match u8::try_from(character) {
        _ if !steers(character) => shown.push(character),
        Ok(byte) if byte.is_ascii() => push_byte(shown, byte),
        // C1 too: `\x9b` is a byte that is not UTF-8.
        Ok(_) | Err(_) => {
            // Writing to a String cannot fail.
            let _infallible = write!(shown, "\\u{{{:x}}}", u32::from(character));
        }
    }
}

fn push_byte(shown: &mut String, byte: u8) {
    let _infallible = write!(shown, "\\x{byte:02x}");
}

/// `ESC [ digits ; … m` at the beginning, and what is behind it.
fn split_sgr(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let parameters = bytes.strip_prefix(b"\x1b[")?;
    let length = parameters.iter().take(32).position(|byte| !matches!(byte, b'0'..=b'9' | b';' | b':'))?;
    let (sequence, behind) = bytes.split_at_checked("\x1b[".len() + length + "m".len())?;
    Some((str::from_utf8(sequence).ok().filter(|sequence| sequence.ends_with('m'))?, behind))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_pass_and_everything_else_that_steers_a_terminal_is_shown() {
        for (raw, shown) in [
            (&b"plain\ttext"[..], "plain\ttext"),
            (b"\x1b[1;31mred\x1b[0m", "\x1b[1;31mred\x1b[0m\x1b[0m"),
            (b"\x1b[2Jgone", "\\x1b[2Jgone"),
            (b"\x1b]0;title\x07", "\\x1b]0;title\\x07"),
            (b"\x1b\x1b[31m", "\\x1b\x1b[31m\x1b[0m"),
            (b"\x1b[31", "\\x1b[31"),
            (b"\x1b[", "\\x1b["),
            (b"\x1b[31\xc3\xa4", "\\x1b[31\u{e4}"),
            (b"a\rb\x08\0\x7f", "a\\x0db\\x08\\x00\\x7f"),
            (b"\xff\xc3\xa4", "\\xff\u{e4}"),
            (b"\xc2\x9b2J", "\\u{9b}2J"),
            ("a\u{202e}b\u{2028}\u{200f}".as_bytes(), "a\\u{202e}b\\u{2028}\\u{200f}"),
        ] {
            assert_eq!(printable(raw, Sgr::Keep), shown);
        }
    }

    #[test]
    fn colours_are_left_out_or_shown_where_they_are_not_wanted() {
        assert_eq!(printable(b"\x1b[31mred\x1b[m!", Sgr::Drop), "red!");
        assert_eq!(printable(b"\x1b[31mred", Sgr::Show), "\\x1b[31mred");
        assert_eq!(printable(b"\x1b[2Jred", Sgr::Drop), "\\x1b[2Jred");
    }

    #[test]
    fn text_that_steers_nothing_is_printable_as_it_is() {
        assert!(is_printable("gr\u{fc}n\t50 %"));
        for text in ["a\nb", "\x1b[31m", "\u{9b}", "\u{202e}"] {
            assert!(!is_printable(text), "{text:?}");
        }
    }
}
