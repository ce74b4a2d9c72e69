//! How an instance gets its listeners: the texts of `handoff`, and the values of variables that tell descriptors.

use crate::plan::Handoff;
use crate::values;

/// First descriptor that is handed over (sd_listen_fds(3)).
pub(crate) const FIRST_FD: u32 = 3;

/// Programs' own variables, whose form is known: name and template.
///
/// nginx reads numbers that end with `;` or `:` (ngx_add_inherited_sockets), PHP-FPM `ADDRESS=NUMBER` with commas between
/// (fpm_sockets_init_main), unicorn numbers with commas between.
const KNOWN: &[(&str, &str)] = &[("NGINX", "{fd};"), ("FPM_SOCKETS", "{address}={fd}{,}"), ("UNICORN_FD", "{fd}{,}")];

/// The template of a variable of which nothing is known.
const NUMBERS: &str = "{fd}{,}";

/// What a placeholder stands for.
const PLACEHOLDERS: &[&str] = &["fd", "address", "port", "name"];

/// One listener that an instance is handed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Handed {
    /// The descriptor's number in the instance.
    pub fd: u32,
    /// Where it listens: `127.0.0.1:8080`, `[::]:8080` or a path; with the port that was picked.
    pub address: String,
    /// The port; `None` for a path.
    pub port: Option<u16>,
    /// The listener's name.
    pub name: String,
}

/// The value of a variable for these listeners, by the template of a [`Handoff::Env`]: the template once for each listener,
/// one after the other. `{fd}`, `{address}`, `{port}` (empty for a path) and `{name}` are replaced; a mark in braces, such
/// as `{,}`, is put before every listener's text that has another one behind it and left out after the last one.
pub fn handoff_value(template: &str, listeners: &[Handed]) -> String {
    let mut value = String::new();
    for (i, listener) in listeners.iter().enumerate() {
        let last = i + 1 == listeners.len();
        for piece in pieces(template) {
            match piece {
                Piece::Text(text) => value.push_str(text),
                Piece::Between(mark) => value.push_str(if last { "" } else { mark }),
                Piece::Placeholder("fd") => value.push_str(&listener.fd.to_string()),
                Piece::Placeholder("address") => value.push_str(&listener.address),
                Piece::Placeholder("port") => value.extend(listener.port.map(|port| port.to_string())),
                Piece::Placeholder(_) => value.push_str(&listener.name),
                // A plan has none of these.
                Piece::Unknown(_) => {}
            }
        }
    }
    value
}

#[derive(Debug, PartialEq, Eq)]
enum Piece<'a> {
    Text(&'a str),
    Placeholder(&'a str),
    /// Between two listeners.
    Between(&'a str),
    /// In braces, or an open brace and the rest.
    Unknown(&'a str),
}

fn pieces(template: &str) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let mut rest = template;
    while let Some((before, behind)) = rest.split_once('{') {
        if !before.is_empty() {
            pieces.push(Piece::Text(before));
        }
        let Some((inner, after)) = behind.split_once('}') else {
            pieces.push(Piece::Unknown(behind));
            return pieces;
        };
        pieces.push(if PLACEHOLDERS.contains(&inner) {
            Piece::Placeholder(inner)
        } else if !inner.is_empty() && inner.chars().all(|c| c.is_ascii_punctuation() || c == ' ') {
            Piece::Between(inner)
        } else {
            Piece::Unknown(inner)
        });
        rest = after;
    }
    if !rest.is_empty() {
        pieces.push(Piece::Text(rest));
    }
    pieces
}

/// Reads the value of `handoff`. `Err`: why not, as the end of a sentence; empty where it is nothing that is allowed.
pub(crate) fn parse(text: &str) -> Result<Handoff, String> {
    match text {
        "auto" => return Ok(Handoff::Auto),
        "listen-fds" => return Ok(Handoff::ListenFds),
        "intercept" => return Ok(Handoff::Intercept),
        "stdin" => return Ok(Handoff::Stdin),
        "none" => return Ok(Handoff::None),
        _ => {}
    }
    let Some(rest) = text.strip_prefix("env:") else {
        let words = ["auto", "listen-fds", "intercept", "stdin", "none", "env:NAME"];
        return Err(values::did_you_mean(text, words.into_iter()));
    };
    let (name, template) = rest.split_once('=').map_or((rest, None), |(name, template)| (name, Some(template)));
    if !values::is_variable(name) {
        return Err(format!("; \"{}\" is not the name of a variable", name.escape_debug()));
    }
    if let Some(own) = OWN.iter().find(|own| **own == name) {
        return Err(format!("; {own} is set by svd itself"));
    }
    let known = KNOWN.iter().find(|(known, _)| *known == name).map_or(NUMBERS, |(_, template)| *template);
    let template = template.unwrap_or(known);
    let pieces = pieces(template);
    if let Some(Piece::Unknown(inner)) = pieces.iter().find(|piece| matches!(piece, Piece::Unknown(_))) {
        let allowed = "{fd}, {address}, {port}, {name} and a mark between listeners such as {,}";
        return Err(format!("; \"{{{}\" in the template is none of {allowed}", inner.escape_debug()));
    }
    if !pieces.iter().any(|piece| matches!(piece, Piece::Placeholder(_))) {
        return Err("; the template says nothing of the listener: it needs {fd}".to_owned());
    }
    Ok(Handoff::Env { name: name.to_owned(), template: template.to_owned() })
}

/// Variables that have another meaning.
const OWN: &[&str] = &[
    "LISTEN_FDS",
    "LISTEN_PID",
    "LISTEN_FDNAMES",
    "PORT",
    "NOTIFY_SOCKET",
    "WATCHDOG_USEC",
    "WATCHDOG_PID",
    "FDSTORE",
];

impl Handoff {
    /// Whether the program expects non-blocking sockets. nginx leaves what NGINX tells as it is, since it is meant for its
    /// own upgrades, which pass on what it has made non-blocking (ngx_open_listening_sockets): with a blocking one an idle
    /// worker waits in accept(2) and sees no request to quit.
    pub fn wants_nonblocking(&self) -> bool {
        matches!(self, Handoff::Env { name, .. } if name == "NGINX")
    }

    /// Whether descriptors from 3 on are the listeners.
    pub fn numbers_descriptors(&self) -> bool {
        match self {
            Handoff::Auto | Handoff::ListenFds | Handoff::Env { .. } => true,
            Handoff::Intercept | Handoff::Stdin | Handoff::None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(handoff: &str, expected_one: &str, expected_two: &str) {
        let Handoff::Env { template, .. } = parse(handoff).unwrap() else { panic!("{handoff}") };
        let handed = |fd, address: &str, port, name: &str| Handed {
            fd,
            address: address.to_owned(),
            port,
            name: name.to_owned(),
        };
        let two = [handed(3, "127.0.0.1:9000", Some(9000), "http"), handed(4, "/run/x.sock", None, "admin")];
        assert_eq!(handoff_value(&template, &two[..1]), expected_one);
        assert_eq!(handoff_value(&template, &two), expected_two);
    }

    #[test]
    fn templates_tell_one_listener_and_several_ones() {
        check("env:NGINX", "3;", "3;4;");
        check("env:FPM_SOCKETS", "127.0.0.1:9000=3", "127.0.0.1:9000=3,/run/x.sock=4");
        check("env:UNICORN_FD", "3", "3,4");
        check("env:MY_FDS", "3", "3,4");
        check("env:MY_FDS={name}={fd}:{port}{ | }", "http=3:9000", "http=3:9000 | admin=4:");
        check("env:NGINX=fd {fd}", "fd 3", "fd 3fd 4");
    }

    #[test]
    fn what_is_no_handoff_is_refused_with_a_reason() {
        for (text, reason) in [
            ("atuo", "; did you mean \"auto\"?"),
            ("fds", ""),
            ("env:", "; \"\" is not the name of a variable"),
            ("env:LISTEN_FDS", "; LISTEN_FDS is set by svd itself"),
            (
                "env:X={pid}",
                "; \"{pid\" in the template is none of {fd}, {address}, {port}, {name} and a mark between listeners such as {,}",
            ),
            (
                "env:X={fd",
                "; \"{fd\" in the template is none of {fd}, {address}, {port}, {name} and a mark between listeners such as {,}",
            ),
            ("env:X=1", "; the template says nothing of the listener: it needs {fd}"),
            ("env:X=", "; the template says nothing of the listener: it needs {fd}"),
        ] {
            assert_eq!(parse(text), Err(reason.to_owned()), "{text}");
        }
    }
}
