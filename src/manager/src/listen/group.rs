//! One listener: its sockets, one for each slot, and the gate between them.
//!
//! The sockets of a TCP listener are a SO_REUSEPORT group. The number of each slot is its index in the group, which is the order
//! in which they began to listen; so none is closed while svd lives, and the keeper is given them in this order.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use svd_config::plan::ListenAddress;
use svd_core::{MAX_SLOTS, Slot};
use svd_sys::gate::{self, MAX_PROBES, Probe};
use svd_sys::listen::{self, Group};

use super::socket_file::Identity;

/// So many connections may wait to be accepted; the kernel takes no more than net.core.somaxconn (4096).
pub const BACKLOG: u32 = 4096;

/// A gate that was never turned: all to the first slot.
const FIRST: [(Slot, u32); 1] = [(Slot(0), 1)];

/// One listener.
#[derive(Debug)]
pub struct Listener {
    /// As the config has it.
    pub address: ListenAddress,
    /// Where it really is, with the port that the kernel chose; `None` for Unix.
    pub at: Option<SocketAddr>,
    /// The file that this manager has bound it to; `None` where it is no Unix listener, or another manager did.
    pub file: Option<Identity>,
    /// Who has made its first socket.
    pub origin: Origin,
    sockets: Vec<Arc<OwnedFd>>,
    /// The slots as the kernel counts the sockets of the group: by when each began to listen.
    order: Vec<Slot>,
    /// Between the slots.
    pub gate: Gate,
}

/// Who has made a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// svd: the file of a Unix listener is its too.
    Own,
    /// A socket unit: its file is left alone, and it goes on when svd ends.
    Handed,
}

/// What picks the slot of a new connection.
#[derive(Debug)]
pub enum Gate {
    /// There is one slot only.
    None,
    /// The kernel takes no gate: why. There is one slot only.
    Refused(String),
    /// By weights, probes apart.
    Open(Open),
}

/// A gate that works.
#[derive(Debug, Default)]
pub struct Open {
    /// `None` in a manager that took over, until the core has said them again: the kernel knows them.
    weights: Option<Vec<(Slot, u32)>>,
    probes: Vec<Probe>,
}

impl Listener {
    /// With one socket, and no gate yet.
    pub fn new(address: ListenAddress, socket: OwnedFd) -> Listener {
        let at = listen::address(socket.as_fd()).ok();
        Listener {
            address,
            at,
            file: None,
            origin: Origin::Own,
            sockets: vec![Arc::new(socket)],
            order: vec![Slot(0)],
            gate: Gate::None,
        }
    }

    /// As the keeper holds it for a new manager, slot by slot.
    pub fn taken_over(address: ListenAddress, sockets: Vec<OwnedFd>) -> Listener {
        let at = sockets.first().and_then(|socket| listen::address(socket.as_fd()).ok());
        let gate = if sockets.len() > 1 { Gate::Open(Open::default()) } else { Gate::None };
        let order = (0..MAX_SLOTS).map(Slot).take(sockets.len()).collect();
        Listener {
            address,
            at,
            file: None,
            origin: Origin::Own,
            sockets: sockets.into_iter().map(Arc::new).collect(),
            order,
            gate,
        }
    }

    /// Its path, where svd has made that and looks after it.
    pub fn own_path(&self) -> Option<&std::path::Path> {
        match &self.address {
            ListenAddress::Unix { path, .. } if self.origin == Origin::Own => Some(path),
            ListenAddress::Unix { .. } | ListenAddress::Tcp { .. } | ListenAddress::Udp { .. } => None,
        }
    }

    /// The socket of a slot. One that is not gated has one only, for all.
    pub fn socket(&self, slot: Slot) -> Option<&Arc<OwnedFd>> {
        match self.gate {
            Gate::Open(_) => self.sockets.get(usize::from(slot.0)),
            Gate::None | Gate::Refused(_) => self.sockets.first(),
        }
    }

    /// All its sockets, by slot.
    pub fn sockets(&self) -> impl Iterator<Item = (Slot, &Arc<OwnedFd>)> {
        (0..MAX_SLOTS).map(Slot).zip(&self.sockets)
    }

    /// Whether there are several slots, or can be.
    pub fn is_gated(&self) -> bool {
        matches!(self.gate, Gate::Open(_))
    }

    /// Makes a gate, with all to the first slot, where there is none. Without a second slot it changes nothing.
    pub fn open_gate(&mut self) {
        if let (Gate::None, Some(socket)) = (&self.gate, self.sockets.first()) {
            if self.origin == Origin::Handed && !listen::may_share(socket.as_fd()).unwrap_or(false) {
                self.gate = Gate::Refused("its socket unit has no ReusePort=yes".to_owned());
                return;
            }
            self.gate = match turn(socket, &self.order, &FIRST, &[]) {
                Ok(()) => Gate::Open(Open { weights: Some(FIRST.to_vec()), probes: Vec::new() }),
                Err(error) => Gate::Refused(error.to_string()),
            };
        }
    }

    /// Makes the slots up to this one; answers the new ones, which the keeper is to hold. New connections reach them only when
    /// the gate says so.
    pub fn reach(&mut self, slot: Slot) -> io::Result<Vec<(Slot, Arc<OwnedFd>)>> {
        let mut made = Vec::new();
        let (Gate::Open(_), ListenAddress::Tcp { v6only, .. }, Some(at)) = (&self.gate, &self.address, self.at) else {
            return Ok(made);
        };
        while self.sockets.len() <= usize::from(slot.0) {
            let number = u8::try_from(self.sockets.len()).ok().filter(|number| *number < MAX_SLOTS);
            let number = number.ok_or_else(|| io::Error::other("there are no more slots"))?;
            let socket = Arc::new(listen::tcp(at, *v6only, Group::Shared, BACKLOG)?);
            self.sockets.push(socket.clone());
            self.order.push(Slot(number));
            made.push((Slot(number), socket));
        }
        Ok(made)
    }

    /// Has those slots listen again that a program has shut down, and the gate lead to all slots again; answers which they were.
    /// What waited there is lost. The kernel puts the last of the group in the place of one that goes, and one that comes at the
    /// end; which of several has gone first it tells nobody, so that is taken to be their order.
    pub fn revive(&mut self) -> io::Result<Vec<Slot>> {
        let (ListenAddress::Tcp { .. }, Some(at)) = (&self.address, self.at) else { return Ok(Vec::new()) };
        let dead = |(_, socket): &(Slot, &Arc<OwnedFd>)| !listen::is_listening(socket.as_fd()).unwrap_or(true);
        let dead: Vec<(Slot, Arc<OwnedFd>)> =
            self.sockets().filter(dead).map(|(slot, one)| (slot, one.clone())).collect();
        for (slot, _) in &dead {
            if let Some(index) = self.order.iter().position(|one| one == slot) {
                self.order.swap_remove(index);
            }
        }
        for (slot, socket) in &dead {
            listen::again(socket.as_fd(), at, BACKLOG)?;
            self.order.push(*slot);
        }
        if !dead.is_empty() {
            self.turn()?;
        }
        Ok(dead.into_iter().map(|(slot, _)| slot).collect())
    }

    /// Sends new connections by these weights.
    pub fn weigh(&mut self, weights: Vec<(Slot, u32)>) -> io::Result<()> {
        let before = match &mut self.gate {
            Gate::Open(open) if open.weights.as_ref() != Some(&weights) => open.weights.replace(weights),
            Gate::Open(_) | Gate::None | Gate::Refused(_) => return Ok(()),
        };
        let turned = self.turn();
        if let (Err(_), Gate::Open(open)) = (&turned, &mut self.gate) {
            open.weights = before;
        }
        turned
    }

    /// Whether the weights are known.
    pub fn is_weighed(&self) -> bool {
        match &self.gate {
            Gate::Open(open) => open.weights.is_some(),
            Gate::None | Gate::Refused(_) => true,
        }
    }

    /// Whether another probe can be added now.
    pub fn takes_probe(&self) -> bool {
        match &self.gate {
            Gate::Open(open) => open.weights.is_some() && open.probes.len() < MAX_PROBES,
            Gate::None | Gate::Refused(_) => true,
        }
    }

    /// Sends connections from this source to this slot.
    pub fn add_probe(&mut self, source: SocketAddr, slot: Slot) -> io::Result<()> {
        let Gate::Open(open) = &mut self.gate else { return Ok(()) };
        open.probes.retain(|probe| probe.source != source);
        open.probes.push(Probe { source, slot: slot.0 });
        self.turn().inspect_err(|_| self.forget_probe(source))
    }

    /// The probe from there is over.
    pub fn remove_probe(&mut self, source: SocketAddr) -> io::Result<()> {
        self.forget_probe(source);
        self.turn()
    }

    fn forget_probe(&mut self, source: SocketAddr) {
        if let Gate::Open(open) = &mut self.gate {
            open.probes.retain(|probe| probe.source != source);
        }
    }

    fn turn(&self) -> io::Result<()> {
        match (&self.gate, self.sockets.first()) {
            (Gate::Open(Open { weights: Some(weights), probes }), Some(socket)) => {
                turn(socket, &self.order, weights, probes)
            }
            _ => Ok(()),
        }
    }
}

fn turn(socket: &OwnedFd, order: &[Slot], weights: &[(Slot, u32)], probes: &[Probe]) -> io::Result<()> {
    let index = |slot: Slot| {
        let found = order.iter().zip(0_u8..).find(|(one, _)| **one == slot);
        found.map_or(slot.0, |(_, index)| index)
    };
    let weights: Vec<(u8, u32)> = weights.iter().map(|(slot, weight)| (index(*slot), *weight)).collect();
    let probes: Vec<Probe> = probes.iter().map(|one| Probe { slot: index(Slot(one.slot)), ..*one }).collect();
    gate::attach(socket.as_fd(), &weights, &probes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::ErrorKind;
    use std::net::{TcpListener, TcpStream};

    /// Who was accepted by each slot.
    fn accepted(listener: &Listener) -> Vec<usize> {
        let accept = |socket: &Arc<OwnedFd>| {
            let socket = TcpListener::from(socket.try_clone().unwrap());
            socket.set_nonblocking(true).unwrap();
            let mut count = 0;
            loop {
                match socket.accept() {
                    Ok(_) => count += 1,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => return count,
                    Err(error) => panic!("{error}"),
                }
            }
        };
        listener.sockets().map(|(_, socket)| accept(socket)).collect()
    }

    fn open(address: &str) -> Listener {
        let address: SocketAddr = address.parse().unwrap();
        let socket = listen::tcp(address, false, Group::Shared, BACKLOG).unwrap();
        let mut listener = Listener::new(ListenAddress::Tcp { address, v6only: false }, socket);
        listener.open_gate();
        assert!(listener.is_gated(), "{:?}", listener.gate);
        listener
    }

    fn connect(listener: &Listener, times: usize) -> Vec<TcpStream> {
        (0..times).map(|_| TcpStream::connect(listener.at.unwrap()).unwrap()).collect()
    }

    #[test]
    fn connections_go_to_the_slots_that_the_weights_name_and_to_no_other() {
        // given a second slot that is not named yet
        let mut listener = open("127.0.0.1:0");
        assert_eq!(listener.reach(Slot(1)).unwrap().len(), 1);
        assert_eq!(listener.reach(Slot(1)).unwrap().len(), 0);
        let _first = connect(&listener, 20);
        assert_eq!(accepted(&listener), [20, 0]);
        // when the gate turns
        listener.weigh(vec![(Slot(1), 1)]).unwrap();
        let _second = connect(&listener, 20);
        assert_eq!(accepted(&listener), [0, 20]);
        // and when it is between the two
        listener.weigh(vec![(Slot(0), 1), (Slot(1), 1)]).unwrap();
        let _both = connect(&listener, 100);
        let got = accepted(&listener);
        assert!(got.iter().all(|count| *count > 10), "{got:?}");
    }

    #[test]
    fn a_slot_that_a_program_has_shut_down_is_there_again_and_the_gate_finds_all() {
        // given four slots, of which the kernel chose the port
        let mut listener = open("127.0.0.1:0");
        listener.reach(Slot(3)).unwrap();
        for dead in [1, 0, 2] {
            // when one is shut down
            let socket = listener.socket(Slot(dead)).unwrap().try_clone().unwrap();
            std::os::unix::net::UnixStream::from(socket).shutdown(std::net::Shutdown::Both).unwrap();
            assert_eq!(listener.revive().unwrap(), [Slot(dead)]);
            // then each gets what is meant for it
            for slot in 0..4 {
                listener.weigh(vec![(Slot(slot), 1)]).unwrap();
                let _users = connect(&listener, 5);
                let mut expected = [0; 4];
                expected[usize::from(slot)] = 5;
                assert_eq!(accepted(&listener), expected, "{dead} {slot}");
            }
        }
        assert_eq!(listener.revive().unwrap(), []);
    }

    #[test]
    fn a_probe_reaches_its_slot_whatever_the_weights_say_and_turning_keeps_it() {
        // given
        let mut listener = open("127.0.0.1:0");
        listener.reach(Slot(1)).unwrap();
        let socket = socket_from("127.0.0.1:0");
        let source = socket.local_addr().unwrap();
        // when
        listener.add_probe(source, Slot(1)).unwrap();
        listener.weigh(vec![(Slot(0), 3)]).unwrap();
        let _probe = connect_from(socket, listener.at.unwrap());
        let _user = connect(&listener, 1);
        // then
        assert_eq!(accepted(&listener), [1, 1]);
        listener.remove_probe(source).unwrap();
        let _users = connect(&listener, 5);
        assert_eq!(accepted(&listener), [5, 0]);
    }

    #[test]
    fn a_new_manager_changes_no_weights_before_it_knows_them() {
        // given traffic to the second slot, and a manager that takes over
        let mut listener = open("127.0.0.1:0");
        listener.reach(Slot(1)).unwrap();
        listener.weigh(vec![(Slot(1), 1)]).unwrap();
        let sockets = listener.sockets().map(|(_, socket)| socket.try_clone().unwrap()).collect();
        let mut later = Listener::taken_over(listener.address.clone(), sockets);
        // then
        assert!(!later.takes_probe() && !later.is_weighed());
        later.open_gate();
        later.remove_probe("127.0.0.1:1".parse().unwrap()).unwrap();
        let _users = connect(&later, 5);
        assert_eq!(accepted(&later), [0, 5]);
        later.weigh(vec![(Slot(0), 1)]).unwrap();
        assert!(later.takes_probe());
    }

    /// A TCP socket bound to an address, not connected.
    fn socket_from(address: &str) -> tokio::net::TcpSocket {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind(address.parse().unwrap()).unwrap();
        socket
    }

    fn connect_from(socket: tokio::net::TcpSocket, to: SocketAddr) -> tokio::net::TcpStream {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(socket.connect(to)).unwrap()
    }
}
