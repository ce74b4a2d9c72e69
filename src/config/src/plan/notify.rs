//! Who is told of what happens, and how.

use std::fmt;
use std::time::Duration;

use super::ExecPlan;

/// `[notify]`.
#[derive(Clone, Debug, PartialEq)]
pub struct NoticePlan {
    /// Names of happenings, each once.
    pub events: Vec<&'static str>,
    /// The command that is run for each of them.
    pub hook: Option<HookPlan>,
    /// Where each of them is posted.
    pub webhook: Option<WebhookPlan>,
}

/// A command that is run because something has happened.
#[derive(Clone, Debug, PartialEq)]
pub struct HookPlan {
    /// What is started, and in which surroundings.
    pub exec: ExecPlan,
    /// So long may it take.
    pub timeout: Duration,
}

/// A place that is told by HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebhookPlan {
    /// Where.
    pub url: Url,
    /// Headers besides those that every request has.
    pub headers: Vec<(String, String)>,
    /// So long may one try take.
    pub timeout: Duration,
}

/// An address of HTTP.
#[derive(Clone, PartialEq, Eq)]
pub struct Url {
    /// Whether it is https.
    pub scheme: Scheme,
    /// Name or address, without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
    /// Path and query; begins with `/`.
    pub path: String,
}

/// How it is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// In clear text.
    Http,
    /// By TLS.
    Https,
}

impl Url {
    /// Reads `http://HOST[:PORT][/PATH]`, or the same with https. What is wrong with it is a piece of a sentence.
    ///
    /// # Errors
    /// When it is none of the two.
    pub fn parse(text: &str) -> Result<Url, &'static str> {
        let (scheme, rest) = match text.split_once("://") {
            Some(("http", rest)) => (Scheme::Http, rest),
            Some(("https", rest)) => (Scheme::Https, rest),
            _ => return Err("begins neither with http:// nor with https://"),
        };
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err("has blanks or other characters that must be written with %");
        }
        let rest = rest.split('#').next().unwrap_or_default();
        let at = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(at);
        if authority.contains('@') {
            return Err("has a user name in it; take an Authorization header instead");
        }
        let (host, port) = match authority.strip_prefix('[') {
            Some(rest) => {
                let (host, port) = rest.split_once(']').ok_or("has an IPv6 address without its ]")?;
                (host, port.strip_prefix(':'))
            }
            None => match authority.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (authority, None),
            },
        };
        let port = match port {
            None => match scheme {
                Scheme::Http => 80,
                Scheme::Https => 443,
            },
            Some(port) => port.parse().ok().filter(|port| *port > 0).ok_or("has a port that is none")?,
        };
        if host.is_empty() {
            return Err("has no host");
        }
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        Ok(Url { scheme, host: host.to_owned(), port, path })
    }

    /// The same address with one more part at the end of its path, before what is asked.
    #[must_use]
    pub fn below(&self, part: &str) -> Url {
        let (path, asked) = match self.path.split_once('?') {
            Some((path, asked)) => (path, format!("?{asked}")),
            None => (self.path.as_str(), String::new()),
        };
        Url { path: format!("{}/{part}{asked}", path.trim_end_matches('/')), ..self.clone() }
    }

    /// The same address, with this at the end of what is asked.
    #[must_use]
    pub fn asking(&self, name: &str, value: &str) -> Url {
        let mark = if self.path.contains('?') { '&' } else { '?' };
        Url { path: format!("{}{mark}{name}={value}", self.path), ..self.clone() }
    }

    /// What stands in the Host header.
    pub fn authority(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        match (self.scheme, self.port) {
            (Scheme::Http, 80) | (Scheme::Https, 443) => host,
            (_, port) => format!("{host}:{port}"),
        }
    }
}

/// Without the path, which often is the secret.
impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.scheme {
            Scheme::Http => "http",
            Scheme::Https => "https",
        };
        write!(f, "{scheme}://{}", self.authority())
    }
}

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}/…")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_taken_apart_and_shown_without_its_path() {
        for (text, host, port, path, shown) in [
            ("http://a", "a", 80, "/", "http://a"),
            (
                "https://hooks.example.org/T0/x?y=1#z",
                "hooks.example.org",
                443,
                "/T0/x?y=1",
                "https://hooks.example.org",
            ),
            ("http://127.0.0.1:8080?a", "127.0.0.1", 8080, "/?a", "http://127.0.0.1:8080"),
            ("https://[::1]:8443/x", "::1", 8443, "/x", "https://[::1]:8443"),
        ] {
            let url = Url::parse(text).unwrap();
            assert_eq!((url.host.as_str(), url.port, url.path.as_str()), (host, port, path), "{text}");
            assert_eq!(url.to_string(), shown);
        }
        for text in [
            "a",
            "ftp://a",
            "http://",
            "http://a b",
            "http://u:p@a",
            "http://a:0",
            "http://a:x",
            "https://[::1",
            "http://ä",
        ] {
            assert!(Url::parse(text).is_err(), "{text}");
        }
    }
}
