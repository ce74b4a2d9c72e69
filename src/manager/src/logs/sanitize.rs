//! Output of processes made safe for terminals. It is stored raw and shown like this: a process must not be able to
//! move the cursor, set the title, answer for the keyboard, or forge a line of another.

use std::fmt::Write;

/// Control characters but tab, and all escape sequences but colours (SGR), as `\x1b`; bytes that are not UTF-8 as
/// `\xff`; C1 controls and line and paragraph separators, and the marks that turn writing around, as `\u{202e}`.
pub fn sanitize(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some(first) = rest.first() {
        if *first == 0x1b
            && let Some(len) = sgr_len(rest)
        {
            out.extend(rest[..len].iter().map(|byte| char::from(*byte)));
            rest = &rest[len..];
            continue;
        }
        let until = rest.iter().skip(1).position(|byte| *byte == 0x1b).map_or(rest.len(), |at| at + 1);
        for chunk in rest[..until].utf8_chunks() {
            for character in chunk.valid().chars() {
                push(&mut out, character);
            }
            for byte in chunk.invalid() {
                push_byte(&mut out, *byte);
            }
        }
        rest = &rest[until..];
    }
    out
}

fn push(out: &mut String, character: char) {
    match character {
        '\t' => out.push('\t'),
        '\0'..='\x1f' | '\x7f' => push_byte(out, character as u8),
        '\u{80}'..='\u{9f}'
        | '\u{2028}'
        | '\u{2029}'
        | '\u{200e}'
        | '\u{200f}'
        | '\u{202a}'..='\u{202e}'
        | '\u{2066}'..='\u{2069}' => {
            // Writing to a String cannot fail.
            let _ = write!(out, "\\u{{{:x}}}", character as u32);
        }
        _ => out.push(character),
    }
}

fn push_byte(out: &mut String, byte: u8) {
    let _ = write!(out, "\\x{byte:02x}");
}

/// The length of `ESC [ digits ; … m` at the beginning.
fn sgr_len(bytes: &[u8]) -> Option<usize> {
    let parameters = bytes.strip_prefix(b"\x1b[")?;
    let len = parameters.iter().take(32).position(|byte| !matches!(byte, b'0'..=b'9' | b';' | b':'))?;
    (parameters[len] == b'm').then_some(len + 3)
}

#[cfg(test)]
mod tests {
    use super::sanitize;

    #[test]
    fn colours_pass_and_everything_else_that_steers_a_terminal_is_shown() {
        for (raw, shown) in [
            (&b"plain\ttext"[..], "plain\ttext"),
            (b"\x1b[1;31mred\x1b[0m", "\x1b[1;31mred\x1b[0m"),
            (b"\x1b[2Jgone", "\\x1b[2Jgone"),
            (b"\x1b]0;title\x07", "\\x1b]0;title\\x07"),
            (b"\x1b\x1b[31m", "\\x1b\x1b[31m"),
            (b"\x1b[31", "\\x1b[31"),
            (b"a\rb\x08\0\x7f", "a\\x0db\\x08\\x00\\x7f"),
            (b"\xff\xc3\xa4", "\\xff\u{e4}"),
            (b"\xc2\x9b2J", "\\u{9b}2J"),
            ("a\u{202e}b".as_bytes(), "a\\u{202e}b"),
        ] {
            assert_eq!(sanitize(raw), shown);
        }
    }
}
