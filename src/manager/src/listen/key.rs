//! What tells one listener from all others, and the name under which the keeper holds each of its sockets.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use svd_config::plan::ListenAddress;
use svd_core::{MAX_SLOTS, Slot};

/// What every name begins with.
const HELD: &str = "listen:";

/// A listener of a process, by its address as the config says it: port 0 keeps its socket, and a new name keeps it too.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// Whose it is.
    pub process: Arc<str>,
    /// `tcp:0.0.0.0:8080`, `tcp6only:[::]:8080`, `udp:0.0.0.0:53`, `unix:/run/shop.sock`.
    pub address: Arc<str>,
}

impl Key {
    /// Of this process's listener at this address.
    pub fn new(process: &str, address: &ListenAddress) -> Key {
        let only = |v6only: bool| if v6only { "6only" } else { "" };
        let address = match address {
            ListenAddress::Tcp { address, v6only } => format!("tcp{}:{address}", only(*v6only)),
            ListenAddress::Udp { address, v6only } => format!("udp{}:{address}", only(*v6only)),
            ListenAddress::Unix { path, .. } => format!("unix:{}", path.display()),
        };
        Key { process: process.into(), address: address.into() }
    }

    /// The address, read back; what only a config says of a path is unknown here. `None` where it is none.
    pub fn listen_address(&self) -> Option<ListenAddress> {
        let (kind, address) = self.address.split_once(':')?;
        let inet = || address.parse::<SocketAddr>().ok();
        match kind {
            "tcp" | "tcp6only" => Some(ListenAddress::Tcp { address: inet()?, v6only: kind == "tcp6only" }),
            "udp" | "udp6only" => Some(ListenAddress::Udp { address: inet()?, v6only: kind == "udp6only" }),
            "unix" => Some(ListenAddress::Unix { path: address.into(), mode: 0, user: None, group: None }),
            _ => None,
        }
    }

    /// What the keeper calls the socket of this slot.
    pub fn held(&self, slot: Slot) -> String {
        format!("{HELD}{}:{}:{}", self.process, self.address, slot.0)
    }

    /// Reads such a name; `None` where it is none.
    pub fn read(name: &str) -> Option<(Key, Slot)> {
        let (key, slot) = name.strip_prefix(HELD)?.rsplit_once(':')?;
        let slot = slot.parse().ok().filter(|slot| *slot < MAX_SLOTS)?;
        let (process, address) = key.split_once(':')?;
        Some((Key { process: process.into(), address: address.into() }, Slot(slot)))
    }

    /// Whether a connection could mean either: both are of one kind and port, and their addresses overlap.
    pub fn overlaps(&self, other: &Key) -> bool {
        let (Some((kind, one)), Some((other_kind, another))) = (self.inet(), other.inet()) else {
            return self.address == other.address;
        };
        let (a, b) = (one.ip().to_canonical(), another.ip().to_canonical());
        // The unspecified address of IPv6 takes IPv4 too, unless it is told not to.
        let covers = |wild: IpAddr, key: &Key, plain: IpAddr| {
            wild.is_unspecified() && (wild.is_ipv6() == plain.is_ipv6() || wild.is_ipv6() && !key.is_v6only())
        };
        kind == other_kind
            && one.port() == another.port()
            && one.port() != 0
            && (a == b || covers(a, self, b) || covers(b, other, a))
    }

    fn is_v6only(&self) -> bool {
        self.address.split_once(':').is_some_and(|(kind, _)| kind.ends_with("6only"))
    }

    fn inet(&self) -> Option<(&str, SocketAddr)> {
        let (kind, address) = self.address.split_once(':')?;
        Some((kind.get(..3)?, address.parse().ok()?))
    }
}

impl fmt::Display for Key {
    /// `web's listener tcp:0.0.0.0:8080`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}'s listener {}", self.process, self.address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(process: &str, address: &str) -> Key {
        Key::new(process, &ListenAddress::Tcp { address: address.parse().unwrap(), v6only: false })
    }

    #[test]
    fn a_later_manager_reads_the_names_of_what_is_held() {
        let path = ListenAddress::Unix { path: "/run/a:b.sock".into(), mode: 0o660, user: None, group: None };
        let keys = [tcp("web", "0.0.0.0:8080"), tcp("web", "[::1]:0"), Key::new("web", &path)];
        for key in keys {
            let address = key.listen_address().unwrap();
            assert_eq!(Key::new("web", &address), key);
            assert_eq!(Key::read(&key.held(Slot(1))), Some((key, Slot(1))));
        }
        assert_eq!(tcp("web", "[::]:80").held(Slot(0)), "listen:web:tcp:[::]:80:0");
        assert_eq!(Key::read("control"), None);
        assert_eq!(Key::read(&format!("listen:web:tcp:[::]:80:{MAX_SLOTS}")), None);
    }

    #[test]
    fn addresses_overlap_where_a_connection_could_mean_either() {
        let overlap =
            |a: &str, b: &str| tcp("web", a).overlaps(&tcp("api", b)) && tcp("api", b).overlaps(&tcp("web", a));
        assert!(overlap("0.0.0.0:80", "127.0.0.1:80"));
        assert!(overlap("[::]:80", "127.0.0.1:80"));
        assert!(overlap("[::]:80", "0.0.0.0:80"));
        assert!(overlap("127.0.0.1:80", "[::ffff:127.0.0.1]:80"));
        assert!(!overlap("127.0.0.1:80", "127.0.0.2:80"));
        assert!(!overlap("0.0.0.0:80", "[::1]:80"));
        assert!(!overlap("127.0.0.1:80", "127.0.0.1:81"));
        assert!(!overlap("127.0.0.1:0", "127.0.0.1:0"));
        let only = Key::new("web", &ListenAddress::Tcp { address: "[::]:80".parse().unwrap(), v6only: true });
        assert!(!only.overlaps(&tcp("web", "0.0.0.0:80")) && only.overlaps(&tcp("web", "[::]:80")));
        let udp = ListenAddress::Udp { address: "0.0.0.0:80".parse().unwrap(), v6only: false };
        assert!(!Key::new("dns", &udp).overlaps(&tcp("web", "0.0.0.0:80")));
    }
}
