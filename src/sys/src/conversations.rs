//! The connections that a server is in the middle of: what a signal that ends it at once would cut off.
//!
//! The kernel knows nothing of requests and answers, only which side spoke last and when. For protocols in which the client
//! asks and the server answers that is enough.

use crate::netdiag::{CLOSE_WAIT, Row, Traffic, sockets, traffic};
use std::collections::{BTreeSet, HashMap};
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

/// How long ago something must have happened for a connection to count as quiet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// Since the server spoke last: it may be in the middle of an answer.
    pub answered: Duration,
    /// Since a client connected that has said nothing yet.
    pub silent: Duration,
}

/// The server's end and the client's.
pub type Ends = (SocketAddr, SocketAddr);

/// Connections that have been accepted and are not quiet: somebody has not read all, the client has not got all, the client
/// spoke last, or either has only just done something.
#[derive(Clone, Debug, Default)]
pub struct Open {
    /// By inode number.
    all: HashMap<u64, Ends>,
}

/// Those at these local ports. Errors of netlink where the kernel does not tell.
pub fn open(ports: &BTreeSet<u16>, patience: Patience) -> io::Result<Open> {
    all(ports, &|row, traffic| is_open(row, traffic, patience))
}

/// Those at these local ports, the quiet ones too.
pub fn accepted(ports: &BTreeSet<u16>) -> io::Result<BTreeSet<Ends>> {
    Ok(all(ports, &|_, _| true)?.all.into_values().collect())
}

fn all(ports: &BTreeSet<u16>, wanted: &dyn Fn(&Row, &Traffic) -> bool) -> io::Result<Open> {
    let mut all = HashMap::new();
    for port in ports {
        let rows = traffic(*port)?.into_iter().filter(|(row, traffic)| row.inode != 0 && wanted(row, traffic));
        all.extend(rows.map(|(row, _)| (row.inode, (row.local, row.remote))));
    }
    Ok(Open { all })
}

impl Open {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Whether the process has one, accepted by it or given to it. EACCES where it may not be looked at.
    pub fn is_any_of(&self, pid: i32) -> io::Result<bool> {
        Ok(!self.all.is_empty() && sockets(pid)?.iter().any(|inode| self.all.contains_key(inode)))
    }

    /// Whether one of these is among them.
    pub fn is_any_among(&self, ends: &BTreeSet<Ends>) -> bool {
        self.all.values().any(|one| ends.contains(one))
    }
}

fn is_open(row: &Row, traffic: &Traffic, patience: Patience) -> bool {
    // The kernel counts the end of what comes in as a byte of it: in the queue until the program reads the end, and in all.
    let end = u32::from(row.state == CLOSE_WAIT);
    let younger = |millis: u32, limit: Duration| Duration::from_millis(millis.into()) < limit;
    if traffic.unread > end || traffic.unsent > 0 {
        return true;
    }
    match traffic.totals.map(|(received, sent)| (received.saturating_sub(end.into()), sent)) {
        Some((0, 0)) => younger(traffic.last_received, patience.silent),
        // Connected and asked within one tick, as programs do, both times are the same.
        Some((_, 0)) => true,
        // Within one tick a question after an answer looks like an answer after a question, which is what happens.
        Some(_) | None => traffic.last_received < traffic.last_sent || younger(traffic.last_sent, patience.answered),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};

    const LONG: Patience = Patience { answered: Duration::from_secs(3600), silent: Duration::from_secs(3600) };
    const NONE: Patience = Patience { answered: Duration::ZERO, silent: Duration::ZERO };

    #[test]
    fn a_connection_is_open_until_the_last_question_has_its_answer() {
        for address in ["127.0.0.1:0", "[::]:0"] {
            let listener = TcpListener::bind(address).unwrap();
            let port = listener.local_addr().unwrap().port();
            let me = std::process::id().cast_signed();
            let open = |patience| super::open(&BTreeSet::from([port]), patience).unwrap().is_any_of(me).unwrap();
            let mut client = TcpStream::connect(("127.0.0.1", port)).unwrap();
            assert!(!open(LONG), "not accepted yet");
            let mut server = listener.accept().unwrap().0;
            // who has said nothing is waited for as long as is wished
            assert!(open(LONG) && !open(NONE));
            let mut bytes = [0; 8];
            for _ in 0..2 {
                // what is not read, or read and not answered
                client.write_all(b"question").unwrap();
                assert!(open(NONE));
                server.read_exact(&mut bytes).unwrap();
                wait_for(|| open(NONE), "a question that was read and not answered");
                // answered
                server.write_all(b"answer").unwrap();
                client.read_exact(&mut bytes[..6]).unwrap();
                assert!(open(LONG), "more of it may follow");
                // and the next question in a later tick
                let tick = Patience { answered: Duration::from_millis(20), silent: Duration::ZERO };
                wait_for(|| !open(tick), "an answer that was taken");
            }
            drop(server);
            assert!(!open(LONG));
        }
    }

    #[test]
    fn who_has_said_all_and_waits_for_an_answer_is_waited_for() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let ports = BTreeSet::from([listener.local_addr().unwrap().port()]);
        let open = || super::open(&ports, NONE).unwrap();
        let mut clients = [TcpStream::connect(listener.local_addr().unwrap()).unwrap(), {
            TcpStream::connect(listener.local_addr().unwrap()).unwrap()
        }];
        let mut servers = [listener.accept().unwrap().0, listener.accept().unwrap().0];
        // given one who has asked, and one who never will
        clients[0].write_all(b"question").unwrap();
        for client in &clients {
            client.shutdown(std::net::Shutdown::Write).unwrap();
        }
        let mut question = Vec::new();
        servers[0].read_to_end(&mut question).unwrap();
        // then
        let of = |client: &TcpStream| BTreeSet::from([(client.peer_addr().unwrap(), client.local_addr().unwrap())]);
        assert!(open().is_any_among(&of(&clients[0])));
        assert!(!open().is_any_among(&of(&clients[1])));
        assert_eq!(accepted(&ports).unwrap().len(), 2);
        // and when it has its answer
        servers[0].write_all(b"answer").unwrap();
        clients[0].read_exact(&mut [0; 6]).unwrap();
        wait_for(|| !open().is_any_among(&of(&clients[0])), "an answer that was taken");
    }

    /// Until the kernel's clock has moved on.
    fn wait_for(condition: impl Fn() -> bool, what: &str) {
        let deadline = crate::clock::now().mono_ns + 20_000_000_000;
        while !condition() {
            assert!(crate::clock::now().mono_ns < deadline, "{what}");
            std::thread::yield_now();
        }
    }
}
