//! What a manager writes on an upgrade: the keeper tells it again, with the outcome, to the manager that comes after.

use svd_wire::MAX_TAG;

/// Which of svd's two processes are to become the new program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Only the manager.
    Manager,
    /// The manager, and then the keeper.
    Both,
}

/// An upgrade as it was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpgradeNote {
    /// Names it: whoever asked for it made it up, and asks the next manager by it.
    pub token: String,
    /// Who is upgraded.
    pub scope: Scope,
    /// The file of the new program.
    pub path: String,
    /// Who asked.
    pub actor: Option<String>,
    /// Why, as given.
    pub reason: Option<String>,
}

/// The most bytes of a text in a note; three of them and their names fit into [`MAX_TAG`].
const LONGEST: usize = MAX_TAG / 8;

impl UpgradeNote {
    /// As bytes of at most [`MAX_TAG`]. A path or reason that is too long for that is cut: both are only for people.
    pub fn encode(&self) -> Vec<u8> {
        let text = |text: &str| cut(text).to_owned();
        let scope = match self.scope {
            Scope::Manager => "manager",
            Scope::Both => "both",
        };
        serde_json::json!({
            "token": text(&self.token),
            "scope": scope,
            "path": text(&self.path),
            "actor": self.actor.as_deref().map(text),
            "reason": self.reason.as_deref().map(text),
        })
        .to_string()
        .into_bytes()
    }

    /// From the bytes of a note; `None` where they are none, as those of another build may be.
    pub fn decode(bytes: &[u8]) -> Option<UpgradeNote> {
        let value: serde_json::Value = serde_json::from_slice(bytes).ok()?;
        let text = |key: &str| value.get(key).and_then(|value| value.as_str()).map(str::to_owned);
        Some(UpgradeNote {
            token: text("token")?,
            scope: match text("scope")?.as_str() {
                "manager" => Scope::Manager,
                "both" => Scope::Both,
                _ => return None,
            },
            path: text("path")?,
            actor: text("actor"),
            reason: text("reason"),
        })
    }
}

/// The beginning, within the bound. JSON may need six bytes for one.
fn cut(text: &str) -> &str {
    let mut end = text.len().min(LONGEST);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let escaped = text[..end].chars().map(|c| if c < ' ' || c == '"' || c == '\\' { 6 } else { c.len_utf8() });
    let mut bytes = 0;
    let within = escaped.take_while(|len| {
        bytes += len;
        bytes <= LONGEST
    });
    text.char_indices().nth(within.count()).map_or(&text[..end], |(at, _)| &text[..at])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_comes_back_and_always_fits() {
        let note = UpgradeNote {
            token: "t".into(),
            scope: Scope::Both,
            path: "/usr/bin/svd".into(),
            actor: Some("root".into()),
            reason: None,
        };
        assert_eq!(UpgradeNote::decode(&note.encode()), Some(note.clone()));
        for filler in ["x", "\"", "\n", "ä"] {
            let long = UpgradeNote { path: filler.repeat(5000), reason: Some(filler.repeat(5000)), ..note.clone() };
            assert!(long.encode().len() <= MAX_TAG, "{filler:?}");
            assert!(UpgradeNote::decode(&long.encode()).is_some());
        }
    }

    #[test]
    fn what_is_no_note_is_none() {
        for bytes in [&b""[..], b"{}", b"\xff", b"{\"token\":\"t\",\"scope\":\"later\",\"path\":\"p\"}"] {
            assert_eq!(UpgradeNote::decode(bytes), None);
        }
    }
}
