//! Sockets that were there before this svd: of a socket unit, or listeners that an earlier svd had put into the store of the service
//! manager. The keeper was started with them (`LISTEN_FDS`) and holds each as `systemd:NUMBER:NAME`.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use svd_config::Plan;
use svd_config::plan::{ListenAddress, ListenerPlan, ProcessPlan};
use svd_core::{MAX_SLOTS, Slot};
use svd_sys::gate;
use svd_sys::listen::{self, Bound};

use super::group::{BACKLOG, Listener, Origin};
use super::key::Key;
use super::set::{Held, Listeners, all_of, key};
use super::socket_file::{self, Found};

/// What the keeper's names of them begin with.
const HELD: &str = "systemd:";
/// What the names of stored listeners begin with. The service manager takes no name with a colon in it.
const STORED: &str = "svd-";
/// Its names have at most so many bytes.
const LONGEST: usize = 255;

/// One of them.
#[derive(Clone, Debug)]
pub struct Handed {
    /// What the keeper calls it.
    pub held: String,
    /// What its unit calls it.
    pub name: String,
    /// Itself.
    pub socket: Arc<OwnedFd>,
}

/// All of them, taken out of what the keeper holds by name.
pub fn take(named: &mut BTreeMap<String, OwnedFd>) -> Vec<Handed> {
    let names: Vec<String> = named.keys().filter(|name| name.starts_with(HELD)).cloned().collect();
    let read = |held: String| {
        let name = held.strip_prefix(HELD)?.split_once(':')?.1.to_owned();
        let socket = Arc::new(named.remove(&held)?);
        Some(Handed { held, name, socket })
    };
    names.into_iter().filter_map(read).collect()
}

/// The name under which a held listener is stored; `None` where it would be too long.
pub fn stored_name(held: &str) -> Option<String> {
    let mut name = String::from(STORED);
    for byte in held.bytes() {
        match byte {
            b':' | b'%' | 0..=b' ' | 0x7f.. => name.push_str(&format!("%{byte:02x}")),
            plain => name.push(char::from(plain)),
        }
    }
    (name.len() <= LONGEST).then_some(name)
}

impl Handed {
    /// Which slot of which listener it is, where an earlier svd has stored it.
    pub fn stored(&self) -> Option<(Key, Slot)> {
        let mut bytes = Vec::new();
        let mut rest = self.name.strip_prefix(STORED)?.bytes();
        while let Some(byte) = rest.next() {
            bytes.push(match byte {
                b'%' => {
                    let digits = [rest.next()?, rest.next()?];
                    u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?
                }
                plain => plain,
            });
        }
        Key::read(std::str::from_utf8(&bytes).ok()?)
    }

    /// Whether it is what a process's listener asks for: by its address, or by its name and kind.
    pub fn fits(&self, process: &str, wanted: &ListenerPlan) -> Fit {
        let Ok(bound) = listen::bound(self.socket.as_fd()) else { return Fit::No };
        let is_there = match (&wanted.address, &bound) {
            (ListenAddress::Tcp { address, v6only }, Bound::Tcp(at, only)) => same(*address, *v6only, *at, *only),
            (ListenAddress::Udp { address, v6only }, Bound::Udp(at, only)) => same(*address, *v6only, *at, *only),
            (ListenAddress::Unix { path, .. }, Bound::Unix(at)) => path == at,
            _ => return Fit::No,
        };
        let named = self.name == format!("{process}.{}", wanted.name) || self.name == process;
        match (is_there, named) {
            (true, _) => Fit::Address,
            (false, true) => Fit::Name,
            (false, false) => Fit::No,
        }
    }

    /// In words.
    pub fn describe(&self) -> String {
        let at = match listen::bound(self.socket.as_fd()) {
            Ok(Bound::Tcp(at, _)) => at.to_string(),
            Ok(Bound::Udp(at, _)) => format!("udp:{at}"),
            Ok(Bound::Unix(path)) => format!("unix:{}", path.display()),
            Ok(Bound::Other) | Err(_) => "no listener of a kind that svd has".to_owned(),
        };
        format!("{} ({at})", self.name)
    }
}

impl Listeners {
    /// Takes up what was handed over to the first manager of a keeper: the listeners that an earlier svd has stored and that this
    /// plan still names; answers what is of no use any more. What came from socket units is used by [`Listeners::prepare`].
    pub fn take_up(&mut self, handed: Vec<Handed>, plan: &Plan) -> Vec<Handed> {
        let (stored, given): (Vec<Handed>, Vec<Handed>) = handed.into_iter().partition(|one| one.stored().is_some());
        self.handed = given.into_iter().filter(|one| listen::adopt(one.socket.as_fd()).is_ok()).collect();
        let mut slots: BTreeMap<(Key, Slot), Handed> =
            stored.into_iter().filter_map(|one| Some((one.stored()?, one))).collect();
        for (process, wanted) in all_of(plan) {
            let key = key(process, wanted);
            let found = (0..MAX_SLOTS).map_while(|slot| slots.remove(&(key.clone(), Slot(slot))));
            let sockets: Vec<OwnedFd> = found.filter_map(|one| one.socket.try_clone().ok()).collect();
            if sockets.is_empty() {
                continue;
            }
            let reachable = |path: &Path| socket_file::mend(path).is_ok_and(|found| found == Found::There);
            match &wanted.address {
                ListenAddress::Unix { path, .. } if !reachable(path) => {}
                address => {
                    self.all.insert(key, Listener::taken_over(address.clone(), waiting_first(sockets)));
                }
            }
        }
        let obsolete: Vec<Handed> = slots.into_values().collect();
        for one in &obsolete {
            // Others have it too, and its address may be wanted for another listener at once.
            let _not_tcp = listen::close_for_all(one.socket.as_fd());
        }
        obsolete
    }

    /// In a later manager: which of its listeners came from socket units.
    pub fn recognise(&mut self, handed: Vec<Handed>) {
        let cookie = |socket: &OwnedFd| listen::cookie(socket.as_fd()).ok();
        let theirs: Vec<u64> = handed.iter().filter_map(|one| cookie(&one.socket)).collect();
        for listener in self.all.values_mut() {
            let first = listener.sockets().next().and_then(|(_, socket)| cookie(socket));
            if first.is_some_and(|first| theirs.contains(&first)) {
                listener.origin = Origin::Handed;
            }
        }
        self.handed = handed;
    }

    /// The listener of a process, on the socket of a unit that fits best and that no other listener has.
    pub(super) fn handed_for(
        &self,
        process: &ProcessPlan,
        wanted: &ListenerPlan,
        prepared: &BTreeMap<Key, Listener>,
    ) -> Option<Listener> {
        let others = || self.all.values().chain(prepared.values()).filter(|one| one.origin == Origin::Handed);
        let cookie = |socket: &OwnedFd| listen::cookie(socket.as_fd()).ok();
        let is_taken = |one: &Handed| {
            let first = |other: &Listener| other.sockets().next().and_then(|(_, socket)| cookie(socket));
            others().any(|other| first(other) == cookie(&one.socket))
        };
        let free = self.handed.iter().filter(|one| !is_taken(one));
        let (_, best) = free.map(|one| (one.fits(&process.name, wanted), one)).max_by_key(|(fit, _)| *fit)?;
        if best.fits(&process.name, wanted) == Fit::No {
            return None;
        }
        let mut listener = Listener::new(wanted.address.clone(), best.socket.try_clone().ok()?);
        listener.origin = Origin::Handed;
        Some(listener)
    }

    /// Whether the socket that the keeper holds under this name is of a listener of svd's own. Those of socket units are kept by the
    /// service manager already, and where svd is killed all that come find their way to them.
    pub fn is_to_be_stored(&self, held: &str) -> bool {
        Key::read(held).and_then(|(key, _)| self.all.get(&key)).is_some_and(|listener| listener.origin == Origin::Own)
    }

    /// All sockets, as the keeper is to hold them.
    pub fn held(&self) -> Vec<Held> {
        let of = |(key, listener): (&Key, &Listener)| -> Vec<Held> {
            listener.sockets().map(|(slot, socket)| (key.held(slot), socket.clone())).collect()
        };
        self.all.iter().flat_map(of).collect()
    }

    /// Whether the keeper is to go on holding a socket of a unit under the name that it had from the start: by it, later managers
    /// know whose it is.
    pub fn keeps_handed(&self, held: &str) -> bool {
        self.handed.iter().any(|one| one.held == held)
    }

    /// Lets go of the sockets of units that no listener of this app has; answers what there is to say of them.
    pub fn drop_unmatched(&mut self) -> Vec<String> {
        let cookie = |socket: &OwnedFd| listen::cookie(socket.as_fd()).ok();
        let used = self.all.values().filter(|one| one.origin == Origin::Handed);
        let used: Vec<Option<u64>> =
            used.map(|one| one.sockets().next().and_then(|(_, first)| cookie(first))).collect();
        let (kept, unmatched): (Vec<Handed>, Vec<Handed>) =
            std::mem::take(&mut self.handed).into_iter().partition(|one| used.contains(&cookie(&one.socket)));
        self.handed = kept;
        let tell =
            |one: Handed| format!("{} was handed over, and no process listens there: it is closed", one.describe());
        unmatched.into_iter().map(tell).collect()
    }
}

/// The sockets of a group, those first in which somebody waits: instances are started in the first slots, and who waits elsewhere
/// would be sent away. The kernel counts a socket of a group by when it began to listen, and puts the last one in the place of one
/// that goes; so those that nobody waits in go, and begin anew. One that cannot is left out.
fn waiting_first(mut sockets: Vec<OwnedFd>) -> Vec<OwnedFd> {
    let waits = |socket: &OwnedFd| listen::waiting(socket.as_fd()).unwrap_or(0) > 0;
    let Some(at) = sockets.first().and_then(|first| listen::address(first.as_fd()).ok()) else { return sockets };
    if sockets.iter().skip_while(|socket| waits(socket)).all(|socket| !waits(socket)) {
        return sockets;
    }
    let mut empty = Vec::new();
    while let Some(index) = sockets.iter().position(|socket| !waits(socket)) {
        let socket = sockets.swap_remove(index);
        if listen::close_for_all(socket.as_fd()).is_ok() {
            empty.push(socket);
        }
    }
    // Until all listen again, what is new goes to the first.
    if let Some(first) = sockets.first() {
        let _no_gate = gate::attach(first.as_fd(), &[(0, 1)], &[]);
    }
    sockets.extend(empty.into_iter().filter(|socket| listen::again(socket.as_fd(), at, BACKLOG).is_ok()));
    sockets
}

/// How well a socket fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fit {
    /// Not at all.
    No,
    /// It is named after the listener and is of its kind, at another address.
    Name,
    /// It is where the listener is to be.
    Address,
}

/// An IPv6 socket for all addresses takes IPv4 too, so it is what `0.0.0.0` asks for: a socket unit with a bare port has it.
fn same(wanted: SocketAddr, v6only: bool, at: SocketAddr, at_v6only: bool) -> bool {
    let wide = wanted.ip().is_unspecified() && at.ip().is_unspecified() && at.is_ipv6() && !at_v6only && !v6only;
    wanted.port() == at.port() && (wide || wanted.ip() == at.ip() && v6only == at_v6only)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::listen::tests::listen as wanted;
    use svd_sys::listen::Group;

    fn tcp(address: &str) -> ListenAddress {
        ListenAddress::Tcp { address: address.parse().unwrap(), v6only: false }
    }

    fn handed(name: &str, at: &str) -> (Handed, u16) {
        let socket = listen::tcp(at.parse().unwrap(), false, Group::Shared, 8).unwrap();
        let port = listen::address(socket.as_fd()).unwrap().port();
        (Handed { held: format!("systemd:3:{name}"), name: name.to_owned(), socket: Arc::new(socket) }, port)
    }

    #[test]
    fn a_stored_listener_is_found_again_under_its_name() {
        let path = ListenAddress::Unix { path: "/run/a:b %ö.sock".into(), mode: 0o660, user: None, group: None };
        for key in [Key::new("web", &tcp("[::1]:8080")), Key::new("web", &path)] {
            let name = stored_name(&key.held(Slot(1))).unwrap();
            assert!(name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b':'), "{name}");
            assert_eq!(Handed { name, ..handed("x", "127.0.0.1:0").0 }.stored(), Some((key, Slot(1))));
        }
        assert_eq!(handed("web.socket", "127.0.0.1:0").0.stored(), None);
        assert_eq!(handed("svd-%4", "127.0.0.1:0").0.stored(), None);
        assert_eq!(stored_name(&"x".repeat(300)), None);
    }

    #[test]
    fn a_socket_fits_by_address_or_by_name() {
        let (local, port) = handed("web.socket", "127.0.0.1:0");
        let at = |ip: &str| wanted("http", tcp(&format!("{ip}:{port}")));
        assert_eq!(local.fits("web", &at("127.0.0.1")), Fit::Address);
        assert_eq!(local.fits("web", &at("0.0.0.0")), Fit::No);
        assert_eq!(local.fits("web", &wanted("http", tcp("127.0.0.1:1"))), Fit::No);
        for name in ["web", "web.http"] {
            let (named, _) = handed(name, "127.0.0.1:0");
            assert_eq!(named.fits("web", &wanted("http", tcp("127.0.0.1:1"))), Fit::Name, "{name}");
            assert_eq!(named.fits("api", &wanted("http", tcp("127.0.0.1:1"))), Fit::No, "{name}");
            let udp = ListenAddress::Udp { address: "127.0.0.1:1".parse().unwrap(), v6only: false };
            assert_eq!(named.fits("web", &wanted("http", udp)), Fit::No, "{name}");
        }
        let (wide, port) = handed("x", "[::]:0");
        let at = |ip: &str| wanted("http", tcp(&format!("{ip}:{port}")));
        assert_eq!(wide.fits("web", &at("0.0.0.0")), Fit::Address);
        assert_eq!(wide.fits("web", &at("[::]")), Fit::Address);
        assert_eq!(wide.fits("web", &at("127.0.0.1")), Fit::No);
    }

    #[test]
    fn slots_in_which_somebody_waits_come_first_and_the_gate_finds_all() {
        // given four slots, and somebody in the second and the fourth
        let address = tcp("127.0.0.1:0");
        let mut listener = Listener::new(
            address.clone(),
            listen::tcp("127.0.0.1:0".parse().unwrap(), false, Group::Shared, 8).unwrap(),
        );
        listener.open_gate();
        listener.reach(Slot(3)).unwrap();
        let at = listener.at.unwrap();
        let mut users = Vec::new();
        for slot in [1, 3] {
            listener.weigh(vec![(Slot(slot), 1)]).unwrap();
            users.push(std::net::TcpStream::connect(at).unwrap());
        }
        // when
        let copies = listener.sockets().map(|(_, socket)| socket.try_clone().unwrap()).collect();
        drop(listener);
        let sockets = waiting_first(copies);
        // then
        let waiting = |sockets: &[OwnedFd]| -> Vec<u32> {
            sockets.iter().map(|socket| listen::waiting(socket.as_fd()).unwrap()).collect()
        };
        assert_eq!(waiting(&sockets), [1, 1, 0, 0]);
        let copies: Vec<OwnedFd> = sockets.iter().map(|socket| socket.try_clone().unwrap()).collect();
        let mut listener = Listener::taken_over(address, sockets);
        for slot in 0..4 {
            listener.weigh(vec![(Slot(slot), 1)]).unwrap();
            let before = waiting(&copies);
            users.push(std::net::TcpStream::connect(at).unwrap());
            let mut expected = before;
            expected[usize::from(slot)] += 1;
            assert_eq!(waiting(&copies), expected);
        }
    }
}
