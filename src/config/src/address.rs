//! Texts that mean an address to listen on. Only addresses, never names: a name may mean another address tomorrow, and
//! looking it up could hang a start.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::plan::ListenAddress;

/// An address as it was written, without what else a listener has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Tcp(SocketAddr),
    Udp(SocketAddr),
    /// The path, relative ones too.
    Unix(String),
}

/// Why a text is no address, and the way out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub what: String,
    pub way_out: String,
}

fn fault<T>(what: impl Into<String>, way_out: impl Into<String>) -> Result<T, Fault> {
    Err(Fault { what: what.into(), way_out: way_out.into() })
}

/// What is allowed, for those who wrote something else altogether.
const FORMS: &str = "write \"127.0.0.1:8080\", \"[::1]:8080\", \":8080\" for all addresses, \"udp:127.0.0.1:53\" or \"unix:run/web.sock\"";

/// The longest path that fits into an address of a Unix socket with the NUL behind it (unix(7)).
pub(crate) const LONGEST_PATH: usize = 107;

/// `HOST:PORT`, `[HOST]:PORT`, `:PORT`, each with `tcp:` or `udp:` before it, and `unix:PATH`.
pub(crate) fn parse(text: &str) -> Result<Form, Fault> {
    if let Some(path) = text.strip_prefix("unix:") {
        return unix(path);
    }
    if text.contains("://") {
        return fault("is a URL", "leave out what stands before and behind HOST:PORT");
    }
    if let Some(rest) = text.strip_prefix("udp:") {
        return inet("udp:", rest).map(Form::Udp);
    }
    let (prefix, rest) = text.strip_prefix("tcp:").map_or(("", text), |rest| ("tcp:", rest));
    if rest.starts_with(['/', '.']) {
        return fault("is a path", format!("write \"unix:{}\"", rest.escape_debug()));
    }
    inet(prefix, rest).map(Form::Tcp)
}

fn unix(path: &str) -> Result<Form, Fault> {
    if path.is_empty() || path.ends_with('/') {
        return fault("has no path", "write \"unix:\" and the path of the socket");
    }
    if path.starts_with('@') {
        return fault("is an abstract name, which nobody's permissions protect", "write the path of a socket");
    }
    Ok(Form::Unix(path.to_owned()))
}

fn inet(prefix: &str, text: &str) -> Result<SocketAddr, Fault> {
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        let all = format!(
            "write \"{prefix}:{text}\" for all addresses, or \"{prefix}127.0.0.1:{text}\" for this machine only"
        );
        return fault("has no address", all);
    }
    let Some((host, port)) = text.rsplit_once(':') else {
        return fault("has no port", FORMS);
    };
    let Ok(port) = port.parse::<u16>() else {
        return match port.parse::<u32>() {
            Ok(_) => fault("has a port beyond 65535", "ports go from 1 to 65535; with 0 svd picks one"),
            Err(_) => fault("has no port at its end", FORMS),
        };
    };
    if host.is_empty() || host == "*" {
        // The wildcard of IPv6 takes IPv4 connections too.
        return Ok(SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), port));
    }
    if let Ok(address) = host.parse::<Ipv4Addr>() {
        return Ok(SocketAddr::new(IpAddr::V4(address), port));
    }
    if host.contains(':') && !host.starts_with('[') {
        return fault("has an IPv6 address without brackets", format!("write \"{prefix}[{host}]:{port}\""));
    }
    if host.starts_with('[') {
        let Ok(address @ SocketAddr::V6(v6)) = text.parse::<SocketAddr>() else {
            return fault("has something in brackets that is no IPv6 address", FORMS);
        };
        return match v6.ip().to_ipv4_mapped() {
            Some(v4) => fault("is an IPv4 address in the clothes of IPv6", format!("write \"{prefix}{v4}:{port}\"")),
            None => Ok(address),
        };
    }
    let way_out = if host == "localhost" {
        format!("write \"{prefix}127.0.0.1:{port}\", or \"{prefix}[::1]:{port}\" for IPv6")
    } else {
        format!(
            "write the address itself, such as \"{prefix}127.0.0.1:{port}\", or \"{prefix}:{port}\" for all addresses"
        )
    };
    fault("has a name where an IP address must be", way_out)
}

/// As messages show it.
pub(crate) fn shown(address: &ListenAddress) -> String {
    match address {
        ListenAddress::Tcp { address, .. } => address.to_string(),
        ListenAddress::Udp { address, .. } => format!("udp:{address}"),
        ListenAddress::Unix { path, .. } => format!("unix:{}", path.display()),
    }
}

/// Whether the two cannot both be listened on.
pub(crate) fn collide(a: &ListenAddress, b: &ListenAddress) -> bool {
    match (a, b) {
        (ListenAddress::Tcp { address: a, v6only: av }, ListenAddress::Tcp { address: b, v6only: bv })
        | (ListenAddress::Udp { address: a, v6only: av }, ListenAddress::Udp { address: b, v6only: bv }) => {
            a.port() == b.port() && a.port() != 0 && (covers(a, *av, b) || covers(b, *bv, a))
        }
        (ListenAddress::Unix { path: a, .. }, ListenAddress::Unix { path: b, .. }) => a == b,
        _ => false,
    }
}

/// Whether a listener on `a` takes what is meant for `b`, or is it.
fn covers(a: &SocketAddr, v6only: bool, b: &SocketAddr) -> bool {
    match (a, b) {
        (SocketAddr::V4(a), SocketAddr::V4(b)) => a.ip().is_unspecified() || a.ip() == b.ip(),
        (SocketAddr::V6(a), SocketAddr::V6(b)) => {
            a.ip().is_unspecified() || (a.ip() == b.ip() && a.scope_id() == b.scope_id())
        }
        (SocketAddr::V6(a), SocketAddr::V4(_)) => a.ip().is_unspecified() && !v6only,
        (SocketAddr::V4(_), SocketAddr::V6(_)) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_an_address_is_read() {
        let tcp = |text: &str| Ok(Form::Tcp(text.parse().unwrap()));
        assert_eq!(parse("0.0.0.0:8080"), tcp("0.0.0.0:8080"));
        assert_eq!(parse("tcp:127.0.0.1:0"), tcp("127.0.0.1:0"));
        assert_eq!(parse("[::]:8080"), tcp("[::]:8080"));
        assert_eq!(parse("[fe80::1%2]:8080"), tcp("[fe80::1%2]:8080"));
        for all in [":8080", "*:8080", "tcp::8080"] {
            assert_eq!(parse(all), tcp("[::]:8080"), "{all}");
        }
        assert_eq!(parse("udp::53"), Ok(Form::Udp("[::]:53".parse().unwrap())));
        assert_eq!(parse("unix:run/web.sock"), Ok(Form::Unix("run/web.sock".to_owned())));
    }

    #[test]
    fn what_is_no_address_is_refused_with_what_to_write() {
        for (text, what, way_out) in [
            ("8080", "has no address", "\":8080\" for all addresses, or \"127.0.0.1:8080\""),
            ("udp:53", "has no address", "\"udp::53\""),
            ("localhost:80", "has a name where an IP address must be", "\"127.0.0.1:80\", or \"[::1]:80\""),
            ("shop.example:80", "has a name where an IP address must be", "or \":80\" for all"),
            ("1.2.3:80", "has a name where an IP address must be", "\"127.0.0.1:80\""),
            ("::1:80", "has an IPv6 address without brackets", "\"[::1]:80\""),
            ("[::ffff:1.2.3.4]:80", "is an IPv4 address in the clothes of IPv6", "\"1.2.3.4:80\""),
            ("[::g]:80", "has something in brackets that is no IPv6 address", "[::1]:8080"),
            ("127.0.0.1", "has no port", "write"),
            ("127.0.0.1:http", "has no port at its end", "write"),
            ("127.0.0.1:", "has no port at its end", "write"),
            ("127.0.0.1:65536", "has a port beyond 65535", "from 1 to 65535"),
            ("127.0.0.1:99999999999", "has no port at its end", "write"),
            ("http://0.0.0.0:80/", "is a URL", "HOST:PORT"),
            ("/run/web.sock", "is a path", "\"unix:/run/web.sock\""),
            ("./web.sock", "is a path", "\"unix:./web.sock\""),
            ("unix:", "has no path", "unix:"),
            ("unix:@web", "is an abstract name, which nobody's permissions protect", "path"),
        ] {
            let found = parse(text).expect_err(text);
            assert!(found.what == what && found.way_out.contains(way_out), "{text}: {found:?}");
        }
    }

    #[track_caller]
    fn check_collide(a: (&str, bool), b: (&str, bool), expected: bool) {
        let make = |(text, v6only): (&str, bool)| match parse(text).unwrap() {
            Form::Tcp(address) => ListenAddress::Tcp { address, v6only },
            Form::Udp(address) => ListenAddress::Udp { address, v6only },
            Form::Unix(path) => ListenAddress::Unix { path: path.into(), mode: 0, user: None, group: None },
        };
        assert_eq!(collide(&make(a), &make(b)), expected, "{a:?} {b:?}");
        assert_eq!(collide(&make(b), &make(a)), expected, "{b:?} {a:?}");
    }

    #[test]
    fn wildcards_collide_with_what_they_take() {
        check_collide(("0.0.0.0:80", false), ("127.0.0.1:80", false), true);
        check_collide(("127.0.0.2:80", false), ("127.0.0.1:80", false), false);
        check_collide(("127.0.0.1:81", false), ("127.0.0.1:80", false), false);
        check_collide(("[::]:80", false), ("127.0.0.1:80", false), true);
        check_collide(("[::]:80", false), ("0.0.0.0:80", false), true);
        check_collide(("[::]:80", true), ("0.0.0.0:80", false), false);
        check_collide(("[::]:80", true), ("[::1]:80", false), true);
        check_collide(("[::1]:80", false), ("0.0.0.0:80", false), false);
        check_collide(("127.0.0.1:0", false), ("127.0.0.1:0", false), false);
        check_collide(("udp:127.0.0.1:80", false), ("127.0.0.1:80", false), false);
        check_collide(("unix:/a", false), ("unix:/a", false), true);
    }
}
