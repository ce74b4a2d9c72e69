//! All listeners of an app: which there are, which a plan asks for, and which nobody uses any more.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

use svd_config::Plan;
use svd_config::plan::{ListenAddress, ListenerPlan, ProcessPlan, Traffic};
use svd_core::Slot;
use svd_sys::listen::{self, Group};

use super::explain::{self, Kind};
use super::group::{BACKLOG, Gate, Listener};
use super::handed::Handed;
use super::key::Key;
use super::socket_file::{self, Access, Found, Identity};
use crate::plan::Accounts;

/// The slots that every gated listener has from the start: one generation's and the next one's.
const SLOTS: Slot = Slot(1);

/// A socket for the keeper to hold, and its name.
pub type Held = (String, Arc<OwnedFd>);

/// The listeners.
#[derive(Debug, Default)]
pub struct Listeners {
    pub(super) all: BTreeMap<Key, Listener>,
    /// Sockets of socket units.
    pub(super) handed: Vec<Handed>,
    /// What the user should know of them, by listener.
    troubles: BTreeMap<Key, String>,
}

/// What a new plan needs and is not there yet, made ready and out of anybody's reach. Dropped, it leaves nothing behind.
#[derive(Debug, Default)]
pub struct Prepared {
    new: BTreeMap<Key, Listener>,
    /// Unix listeners that are there already, and who may connect from now on.
    access: Vec<(Key, std::path::PathBuf, Access)>,
}

impl Drop for Prepared {
    fn drop(&mut self) {
        for listener in self.new.values() {
            if let Some(path) = listener.own_path() {
                let _gone = std::fs::remove_file(socket_file::hidden(path));
            }
        }
    }
}

impl Listeners {
    /// Those that the keeper holds for a new manager, taken out of what it holds by name. What the plans say of them comes
    /// with [`Listeners::adopt`].
    pub fn take_over(named: &mut BTreeMap<String, OwnedFd>) -> BTreeMap<Key, Vec<OwnedFd>> {
        let mut found: BTreeMap<(Key, Slot), OwnedFd> = BTreeMap::new();
        let names: BTreeMap<String, (Key, Slot)> =
            named.keys().filter_map(|name| Some((name.clone(), Key::read(name)?))).collect();
        for (name, key) in names {
            found.extend(named.remove(&name).map(|socket| (key, socket)));
        }
        let mut sockets: BTreeMap<Key, Vec<OwnedFd>> = BTreeMap::new();
        for ((key, _), socket) in found {
            sockets.entry(key).or_default().push(socket);
        }
        sockets
    }

    /// Takes up what the keeper held, as far as these plans name it or a spawn that lives was given it; answers the names of
    /// the rest.
    pub fn adopt<'a>(
        held: BTreeMap<Key, Vec<OwnedFd>>,
        plans: impl Iterator<Item = &'a Arc<Plan>>,
        given: &BTreeSet<Key>,
    ) -> (Listeners, Vec<String>) {
        let mut listeners = Listeners::default();
        let mut named: BTreeMap<Key, ListenAddress> =
            given.iter().filter_map(|key| Some((key.clone(), key.listen_address()?))).collect();
        named.extend(
            plans.flat_map(|plan| all_of(plan)).map(|(process, plan)| (key(process, plan), plan.address.clone())),
        );
        let mut obsolete = Vec::new();
        for (key, sockets) in held {
            match named.get(&key) {
                Some(address) => {
                    listeners.all.insert(key, Listener::taken_over(address.clone(), sockets));
                }
                None => {
                    if let Some(path) = key.address.strip_prefix("unix:") {
                        socket_file::remove(Path::new(path));
                    }
                    obsolete.extend((0..).map(Slot).zip(&sockets).map(|(slot, _)| key.held(slot)));
                }
            }
        }
        (listeners, obsolete)
    }

    /// Makes what this plan needs and is not there yet. Nothing of it can be reached, and all that is wrong is told at once.
    pub fn prepare(&self, plan: &Plan, accounts: &Accounts) -> Result<Prepared, Vec<String>> {
        let mut prepared = Prepared::default();
        let mut wrong = Vec::new();
        for (process, wanted) in all_of(plan) {
            let key = key(process, wanted);
            if let Some(known) = self.all.get(&key) {
                if let Some(path) = known.own_path() {
                    let path = path.to_owned();
                    prepared.access.push((key, path, access(process, &wanted.address, accounts)));
                }
                continue;
            }
            if let Some(listener) = self.handed_for(process, wanted, &prepared.new) {
                prepared.new.insert(key, listener);
                continue;
            }
            let made = self.make(&key, process, &wanted.address, accounts, &prepared);
            match made {
                Ok((socket, file)) => {
                    let mut listener = Listener::new(wanted.address.clone(), socket);
                    listener.file = file;
                    prepared.new.insert(key, listener);
                }
                Err(why) => wrong.push(format!("[process.{}]: listener {}: {why}", process.name, wanted.name)),
            }
        }
        if wrong.is_empty() { Ok(prepared) } else { Err(wrong) }
    }

    fn make(
        &self,
        key: &Key,
        process: &ProcessPlan,
        address: &ListenAddress,
        accounts: &Accounts,
        prepared: &Prepared,
    ) -> Result<(OwnedFd, Option<Identity>), String> {
        let ours = || self.all.keys().chain(prepared.new.keys()).filter(|other| other.overlaps(key));
        if let Some(other) = ours().find(|other| other.process != key.process) {
            return Err(format!(
                "svd holds that for {}; take it away from there and apply that before it is given to {}",
                other.process, key.process
            ));
        }
        // The kernel prefers the narrower one at once, whoever is ready: its users would leave those that serve them.
        if let Some(other) = self.all.keys().find(|other| other.overlaps(key)) {
            return Err(format!(
                "it overlaps with {}, which {} listens on now: connections would reach the new instances before they are ready; \
                 take that away and apply, then add this and apply again (in between nobody listens there), or choose \
                 another port",
                other.address, key.process
            ));
        }
        match address {
            ListenAddress::Tcp { address, v6only } => {
                if address.port() != 0 && ours().next().is_none() {
                    alone(*address, *v6only).map_err(|error| explain::bind(&error, Kind::Tcp, *address))?;
                }
                listen::tcp(*address, *v6only, Group::Shared, BACKLOG)
                    .map_err(|error| explain::bind(&error, Kind::Tcp, *address))
                    .map(|socket| (socket, None))
            }
            ListenAddress::Udp { address, v6only } => listen::udp(*address, *v6only)
                .map_err(|error| explain::bind(&error, Kind::Udp, *address))
                .map(|socket| (socket, None)),
            ListenAddress::Unix { path, .. } => socket_file::make(path, access(process, address, accounts))
                .map(|(socket, identity)| (socket, Some(identity))),
        }
    }

    /// Takes up what was prepared: from now on it can be reached. Answers what the keeper is to hold.
    pub fn install(&mut self, mut prepared: Prepared) -> Vec<Held> {
        for (key, path, access) in std::mem::take(&mut prepared.access) {
            let bound = self.all.get(&key).and_then(|listener| listener.file);
            // It stays as it is where it cannot be changed, or is gone: mending is for that.
            if let Err(error) = socket_file::allow(&path, access, bound) {
                tracing::warn!(path = %path.display(), %error, "mode and owner of a listener cannot be changed");
            }
        }
        let mut held = Vec::new();
        for (key, listener) in std::mem::take(&mut prepared.new) {
            self.troubles.remove(&key);
            if let Some(path) = listener.own_path()
                && let Err(error) = socket_file::publish(path)
            {
                let told = format!("{}: {} cannot be moved into place: {error}", key.process, path.display());
                self.troubles.insert(key.clone(), told);
            }
            held.extend(listener.sockets().map(|(slot, socket)| (key.held(slot), socket.clone())));
            self.all.insert(key, listener);
        }
        held
    }

    /// Makes slots and a gate for all that this plan has gated; answers what the keeper is to hold. Where the kernel does not
    /// take a gate, or there are no more sockets, the listener stays shared.
    pub fn open_gates(&mut self, plan: &Plan) -> Vec<Held> {
        let mut held = Vec::new();
        for (process, wanted) in all_of(plan) {
            let key = key(process, wanted);
            let Some(listener) = self.all.get_mut(&key) else { continue };
            if wanted.traffic == Traffic::Shared {
                if listener.is_gated() && listener.sockets().count() > 1 {
                    let name = &wanted.name;
                    let told = format!("{}: traffic of {name} stays gated until svd is started again", process.name);
                    self.troubles.insert(key, told);
                }
                continue;
            }
            self.troubles.remove(&key);
            listener.open_gate();
            match listener.reach(SLOTS) {
                Ok(made) => held.extend(made.into_iter().map(|(slot, socket)| (key.held(slot), socket))),
                Err(error) => listener.gate = Gate::Refused(error.to_string()),
            }
            if let Gate::Refused(why) = &listener.gate {
                let told = format!(
                    "{}: {} cannot be gated here ({why}): all its generations accept from one queue, so a new one \
                     sees users as soon as it accepts",
                    process.name, wanted.name
                );
                self.troubles.insert(key, told);
            }
        }
        held
    }

    /// The plan as it can be kept here: shared where there is no gate, and gated where there are several slots already,
    /// in each of which somebody may wait. What is not bound yet stays as it is.
    pub fn fit(&self, mut plan: Plan) -> Plan {
        for process in &mut plan.processes {
            for wanted in &mut process.listen {
                let Some(listener) = self.all.get(&Key::new(&process.name, &wanted.address)) else { continue };
                match (wanted.traffic, &listener.gate) {
                    (Traffic::Gated, Gate::Refused(_)) => wanted.traffic = Traffic::Shared,
                    (Traffic::Shared, Gate::Open(_)) if listener.sockets().count() > 1 => {
                        wanted.traffic = Traffic::Gated
                    }
                    (Traffic::Gated, Gate::Open(_) | Gate::None) | (Traffic::Shared, _) => {}
                }
            }
        }
        plan
    }

    /// Makes the slots up to this one for the gated listeners of a process; answers what the keeper is to hold.
    pub fn reach(&mut self, process: &ProcessPlan, slot: Slot) -> io::Result<Vec<Held>> {
        let mut held = Vec::new();
        for wanted in process.listen.iter().filter(|wanted| wanted.traffic == Traffic::Gated) {
            let key = key(process, wanted);
            let Some(listener) = self.all.get_mut(&key) else { continue };
            held.extend(listener.reach(slot)?.into_iter().map(|(slot, socket)| (key.held(slot), socket)));
        }
        Ok(held)
    }

    /// A listener of a process.
    pub fn of(&self, process: &str, wanted: &ListenerPlan) -> Option<&Listener> {
        self.all.get(&Key::new(process, &wanted.address))
    }

    /// One of them.
    pub fn get(&self, key: &Key) -> Option<&Listener> {
        self.all.get(key)
    }

    /// One of them.
    pub fn get_mut(&mut self, key: &Key) -> Option<&mut Listener> {
        self.all.get_mut(key)
    }

    /// All of them.
    pub fn keys(&self) -> impl Iterator<Item = &Key> {
        self.all.keys()
    }

    /// Those whose gate nobody has spoken of since this manager took over.
    pub fn unweighed(&self) -> impl Iterator<Item = &Key> {
        self.all.iter().filter(|(_, listener)| !listener.is_weighed()).map(|(key, _)| key)
    }

    /// The port that a process is told as `PORT`: of its first TCP listener.
    pub fn port(&self, process: &ProcessPlan) -> Option<u16> {
        let tcp = |wanted: &&ListenerPlan| matches!(wanted.address, ListenAddress::Tcp { .. });
        let wanted = process.listen.iter().find(tcp)?;
        match (self.of(&process.name, wanted), &wanted.address) {
            (Some(Listener { at: Some(at), .. }), _) => Some(at.port()),
            // Not bound yet: a config that is being checked.
            (_, ListenAddress::Tcp { address, .. }) => Some(address.port()).filter(|port| *port != 0),
            _ => None,
        }
    }

    /// Closes all but those that are still used; answers the names that the keeper is to let go.
    pub fn keep_only(&mut self, used: &BTreeSet<Key>) -> Vec<String> {
        let mut gone = Vec::new();
        self.all.retain(|key, listener| {
            if used.contains(key) {
                return true;
            }
            gone.extend(listener.sockets().map(|(slot, _)| key.held(slot)));
            if let Some(path) = listener.own_path() {
                socket_file::remove(path);
            }
            false
        });
        self.troubles.retain(|key, _| self.all.contains_key(key));
        gone
    }

    /// Puts the paths of a process's Unix listeners back where somebody has taken them away.
    pub fn mend(&self, process: &str) {
        for listener in self.all.iter().filter(|(key, _)| &*key.process == process).map(|(_, listener)| listener) {
            let Some(path) = listener.own_path() else { continue };
            match socket_file::mend(path) {
                Ok(Found::There) => {}
                Ok(Found::Gone) => {
                    tracing::error!(path = %path.display(), "both names of a socket were removed: it cannot be reached");
                }
                Err(error) => tracing::warn!(path = %path.display(), %error, "a socket's path cannot be put back"),
            }
        }
    }

    /// The Unix listeners and the hidden names of their files.
    pub fn files(&self) -> impl Iterator<Item = (&Key, std::path::PathBuf)> {
        self.all.iter().filter_map(|(key, listener)| Some((key, socket_file::hidden(listener.own_path()?))))
    }

    /// In a new manager: lets go of Unix listeners that nobody can reach any more, so that they are made again.
    pub fn drop_unreachable(&mut self) {
        self.all.retain(|_, listener| match listener.own_path() {
            Some(path) => socket_file::mend(path).is_ok_and(|found| found == Found::There),
            None => true,
        });
    }

    /// Takes the files of all Unix listeners away: svd ends.
    pub fn remove_files(&self) {
        for listener in self.all.values() {
            if let Some(path) = listener.own_path() {
                socket_file::remove(path);
            }
        }
    }

    /// What the user should know of them.
    pub fn troubles(&self) -> impl Iterator<Item = &String> {
        self.troubles.values()
    }
}

/// The key of a process's listener.
pub fn key(process: &ProcessPlan, wanted: &ListenerPlan) -> Key {
    Key::new(&process.name, &wanted.address)
}

pub(super) fn all_of(plan: &Plan) -> impl Iterator<Item = (&ProcessPlan, &ListenerPlan)> {
    plan.processes.iter().flat_map(|process| process.listen.iter().map(move |wanted| (process, wanted)))
}

/// Whether anybody else listens there. A group is no obstacle to another socket of the same user that is to be of one,
/// so a group that is not ours would be joined, and would lose connections to us.
fn alone(address: SocketAddr, v6only: bool) -> io::Result<()> {
    listen::tcp(address, v6only, Group::Alone, 1).map(drop)
}

fn access(process: &ProcessPlan, address: &ListenAddress, accounts: &Accounts) -> Access {
    let ListenAddress::Unix { mode, user, group, .. } = address else { return Access::default() };
    let account =
        accounts.of_pair(user.as_ref().or(process.exec.user.as_ref()), group.as_ref().or(process.exec.group.as_ref()));
    Access { mode: *mode, uid: account.map(|account| account.user.uid), gid: account.map(|account| account.gid) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::listen::tests::{Dir, listen, plan};
    use std::os::fd::AsFd;

    fn tcp(address: &str) -> ListenAddress {
        ListenAddress::Tcp { address: address.parse().unwrap(), v6only: false }
    }

    /// A port that nobody has, as far as anybody can tell.
    fn free_port() -> u16 {
        std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
    }

    fn open(plan: &Plan) -> (Listeners, Vec<Held>) {
        let mut listeners = Listeners::default();
        let prepared = listeners.prepare(plan, &Accounts::default()).unwrap();
        let mut held = listeners.install(prepared);
        held.extend(listeners.open_gates(plan));
        (listeners, held)
    }

    #[test]
    fn what_a_plan_names_is_bound_and_found_again_by_a_later_manager_under_the_same_port() {
        // given
        let dir = Dir::new("set");
        let unix = ListenAddress::Unix { path: dir.path.join("s"), mode: 0o600, user: None, group: None };
        let plan = Arc::new(plan(&[("web", &[listen("http", tcp("127.0.0.1:0")), listen("admin", unix)])]));
        let (listeners, held) = open(&plan);
        let web = plan.process("web").unwrap();
        let port = listeners.port(web).unwrap();
        let names: Vec<&str> = held.iter().map(|(name, _)| name.as_str()).collect();
        let file = dir.path.join("s").display().to_string();
        let expected =
            ["listen:web:tcp:127.0.0.1:0:0", &format!("listen:web:unix:{file}:0"), "listen:web:tcp:127.0.0.1:0:1"];
        assert_eq!(names, expected);
        // when a manager takes over
        let mut named: BTreeMap<String, OwnedFd> =
            held.iter().map(|(name, socket)| (name.clone(), socket.try_clone().unwrap())).collect();
        named.insert("control".into(), svd_sys::fd::open_null().unwrap());
        drop((listeners, held));
        let found = Listeners::take_over(&mut named);
        let (mut later, obsolete) = Listeners::adopt(found, [&plan].into_iter(), &BTreeSet::new());
        // then
        assert_eq!((named.len(), obsolete.len()), (1, 0));
        later.drop_unreachable();
        assert_eq!(later.port(web), Some(port));
        assert!(later.of("web", &web.listen[0]).unwrap().is_gated());
        let nothing = later.prepare(&plan, &Accounts::default()).unwrap();
        assert!(nothing.new.is_empty());
        // and what no plan names is let go
        assert_eq!(later.keep_only(&BTreeSet::new()).len(), 3);
        assert!(std::net::TcpStream::connect(("127.0.0.1", port)).is_err());
        assert_eq!(std::fs::read_dir(&dir.path).unwrap().count(), 0);
    }

    #[test]
    fn a_later_manager_keeps_what_no_plan_names_while_a_spawn_that_was_given_it_lives() {
        // given a listener that an apply took out of the config
        let (listeners, held) = open(&plan(&[("web", &[listen("http", tcp("127.0.0.1:0"))])]));
        let key = listeners.keys().next().unwrap().clone();
        let after = Arc::new(plan(&[("web", &[])]));
        let adopt = |given: &BTreeSet<Key>| {
            let mut named: BTreeMap<String, OwnedFd> =
                held.iter().map(|(name, socket)| (name.clone(), socket.try_clone().unwrap())).collect();
            Listeners::adopt(Listeners::take_over(&mut named), [&after].into_iter(), given)
        };
        // when the one that it was given to lives, and when it does not
        let (with, none) = adopt(&BTreeSet::from([key.clone()]));
        let (without, all) = adopt(&BTreeSet::new());
        // then
        assert_eq!((with.get(&key).map(Listener::is_gated), none.len()), (Some(true), 0));
        assert_eq!((without.get(&key).is_none(), all.len()), (true, held.len()));
    }

    #[test]
    fn a_taken_port_is_an_error_that_names_its_owner_though_it_could_be_shared() {
        // given a program that lets others of its user listen beside it
        let taken = listen::tcp("127.0.0.1:0".parse().unwrap(), false, Group::Shared, 10).unwrap();
        let port = listen::address(taken.as_fd()).unwrap().port();
        let me = std::process::id();
        // when
        let dir = Dir::new("taken");
        let unix = ListenAddress::Unix { path: dir.path.join("s"), mode: 0o600, user: None, group: None };
        let wanted = [listen("admin", unix), listen("http", tcp(&format!("0.0.0.0:{port}")))];
        let plan = plan(&[("web", &wanted), ("far", &[listen("http", tcp("192.0.2.1:80"))])]);
        let wrong = Listeners::default().prepare(&plan, &Accounts::default()).unwrap_err();
        // then all that is wrong is told, and nothing is left
        assert_eq!(wrong.len(), 2, "{wrong:?}");
        let start = format!("[process.web]: listener http: port {port} is taken by ");
        assert!(wrong[0].starts_with(&start) && wrong[0].contains(&format!("(pid {me})")), "{wrong:?}");
        assert!(wrong[1].contains("192.0.2.1 is no address of this machine"), "{wrong:?}");
        assert_eq!(std::fs::read_dir(&dir.path).unwrap().count(), 0);
    }

    #[test]
    fn an_address_that_is_held_is_given_to_nobody_else_and_not_beside_one_that_it_overlaps_with() {
        let port = free_port();
        let config = |process: &str, addresses: &[String]| {
            let listeners: Vec<ListenerPlan> =
                addresses.iter().enumerate().map(|(n, address)| listen(&format!("l{n}"), tcp(address))).collect();
            plan(&[(process, &listeners)])
        };
        let local = format!("127.0.0.1:{port}");
        let (mut listeners, held) = open(&config("web", std::slice::from_ref(&local)));
        let wide = format!("0.0.0.0:{port}");
        let refused =
            |listeners: &Listeners, plan: &Plan| listeners.prepare(plan, &Accounts::default()).unwrap_err().join("\n");
        let wrong = refused(&listeners, &config("api", std::slice::from_ref(&wide)));
        assert!(wrong.contains("svd holds that for web"), "{wrong:?}");
        // when its own process changes it, or adds another, so that users would be taken from those who serve them
        for config in [config("web", std::slice::from_ref(&wide)), config("web", &[local.clone(), wide.clone()])] {
            let wrong = refused(&listeners, &config);
            assert!(wrong.contains(&format!("it overlaps with tcp:{local}, which web listens on now")), "{wrong:?}");
        }
        // and when it has gone
        listeners.keep_only(&BTreeSet::new());
        drop(held);
        listeners.prepare(&config("web", &[wide]), &Accounts::default()).unwrap();
    }

    #[test]
    fn a_listener_that_has_slots_stays_gated_and_one_that_has_none_becomes_so() {
        // given one of each
        let both = |a: Traffic, b: Traffic| {
            let mut one = listen("one", tcp("127.0.0.1:0"));
            let mut two = listen("two", tcp("127.0.0.2:0"));
            (one.traffic, two.traffic) = (a, b);
            plan(&[("web", &[one, two])])
        };
        let (mut listeners, held) = open(&both(Traffic::Gated, Traffic::Shared));
        assert_eq!(held.len(), 3);
        // when each is to be the other
        let plan = both(Traffic::Shared, Traffic::Gated);
        let more = listeners.open_gates(&plan);
        let plan = listeners.fit(plan);
        // then
        let traffic: Vec<Traffic> = plan.processes[0].listen.iter().map(|wanted| wanted.traffic).collect();
        assert_eq!((more.len(), traffic), (1, vec![Traffic::Gated; 2]));
        assert_eq!(listeners.troubles().count(), 1);
    }
}
