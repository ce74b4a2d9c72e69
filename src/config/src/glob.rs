//! Patterns for names, of files and of instances, as in a shell.

/// Whether the whole text fits the pattern: `*` is any run of characters, `?` is one, `[a-z]` and `[!a-z]` are one of a
/// set. A bracket that is not closed fits nothing.
pub fn glob(pattern: &str, text: &str) -> bool {
    let (mut pattern, mut text) = (pattern, text);
    // What stands behind the last `*`, and the text from which it is to be tried next. Going back to the last one only
    // is enough, and keeps a pattern of many `*` from costing exponential time.
    let mut again: Option<(&str, &str)> = None;
    loop {
        if let Some(behind) = pattern.strip_prefix('*') {
            again = Some((behind, text));
            pattern = behind;
            continue;
        }
        let mut rest = text.chars();
        let Some(found) = rest.next() else { return pattern.is_empty() };
        if let Some(behind) = one(pattern, found) {
            (pattern, text) = (behind, rest.as_str());
            continue;
        }
        let Some((behind, from)) = again else { return false };
        let mut shorter = from.chars();
        shorter.next();
        (pattern, text) = (behind, shorter.as_str());
        again = Some((behind, text));
    }
}

/// What is left of the pattern when its first element, which is no `*`, fits the character.
fn one(pattern: &str, found: char) -> Option<&str> {
    let mut rest = pattern.chars();
    match rest.next()? {
        '?' => Some(rest.as_str()),
        '[' => {
            let (set, behind) = rest.as_str().split_once(']')?;
            in_set(set, found).then_some(behind)
        }
        literal => (literal == found).then_some(rest.as_str()),
    }
}

fn in_set(set: &str, found: char) -> bool {
    let (set, inverted) = match set.strip_prefix('!') {
        Some(rest) => (rest, true),
        None => (set, false),
    };
    let chars: Vec<char> = set.chars().collect();
    let mut at = chars.as_slice();
    let mut inside = false;
    while let Some((first, rest)) = at.split_first() {
        match rest {
            ['-', last, rest @ ..] => {
                inside |= (*first..=*last).contains(&found);
                at = rest;
            }
            rest => {
                inside |= *first == found;
                at = rest;
            }
        }
    }
    inside != inverted
}

#[cfg(test)]
mod tests {
    use super::glob;

    #[test]
    fn patterns_fit_as_in_a_shell() {
        for (pattern, text, fits) in [
            ("web", "web", true),
            ("web", "web.1", false),
            ("w*", "worker.2", true),
            ("*", "", true),
            ("", "", true),
            ("", "web", false),
            ("*.2", "worker.2", true),
            ("*.2", "worker.12", false),
            ("web.?", "web.3", true),
            ("web.?", "web.13", false),
            ("*b*1*", "web.1", true),
            ("*ab", "aab", true),
            ("*.toml", "web.toml", true),
            ("*.toml", "web.tom", false),
            ("[0-9]?-*", "10-web", true),
            ("[!0-9]*", "1", false),
            ("*[ab]", "xa", true),
            ("[ab", "a", false),
            ("*ö?", "größe", false),
            ("*ö?e", "größe", true),
        ] {
            assert_eq!(glob(pattern, text), fits, "{pattern} {text}");
        }
    }

    #[test]
    fn a_pattern_of_many_stars_ends_soon() {
        assert!(!glob(&"*a".repeat(200), &"a".repeat(199)));
        assert!(!glob(&format!("{}b", "*a".repeat(100)), &"a".repeat(10_000)));
    }
}
