//! Values as TOML writes them.

/// A string in double quotes.
pub(crate) fn text(value: &str) -> String {
    let mut quoted = String::with_capacity(value.len() + 2);
    // Backslashes and quotes are common in commands; between single quotes they stay as they are.
    let literal = value.contains(['"', '\\']) && !value.contains('\'') && !value.chars().any(char::is_control);
    if literal {
        return format!("'{value}'");
    }
    quoted.push('"');
    for c in value.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            c if c.is_control() => quoted.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// An array of strings.
pub(crate) fn texts(values: &[String]) -> String {
    let values: Vec<String> = values.iter().map(|value| text(value)).collect();
    format!("[{}]", values.join(", "))
}

/// A key: bare where that is allowed.
pub(crate) fn key(name: &str) -> String {
    let bare =
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-');
    if bare { name.to_owned() } else { text(name) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_a_text_has_toml_reads_the_same_again() {
        for value in [
            "",
            "a",
            "a 'b' \"c\" \\d",
            "say \"x\" \\n",
            "'",
            "tab\t nl\n cr\r bell\u{7} del\u{7f} nel\u{85}",
            "ä 🦀",
            "'''\"\"\"",
        ] {
            let table: toml::Table = format!("{} = {}", key(value), text(value)).parse().unwrap();
            assert_eq!(table.get(value).and_then(|v| v.as_str()), Some(value), "{}", text(value));
        }
    }
}
