//! The connections that a server is in the middle of: what a signal that ends it at once would cut off.
//!
//! The kernel knows nothing of requests and answers, only which side spoke last and when. For protocols in which the client
//! asks and the server answers that is enough.

use crate::netdiag::{Traffic, sockets, traffic};
use std::io;
use std::time::Duration;

/// How long ago something must have happened for a connection to count as quiet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// Since the server spoke last: it may be in the middle of an answer.
    pub answered: Duration,
    /// Since a client connected that has said nothing yet.
    pub silent: Duration,
}

/// Whether the process has a connection at one of these local ports, accepted by it or given to it, that is not quiet: it
/// has not read all, the client has not got all, the client spoke last, or either has only just done something. EACCES where
/// the process may not be looked at; errors of netlink where the kernel does not tell.
pub fn are_open(pid: i32, ports: &[u16], patience: Patience) -> io::Result<bool> {
    let own = sockets(pid)?;
    if own.is_empty() {
        return Ok(false);
    }
    for port in ports {
        let all = traffic(*port)?;
        if all.iter().any(|(row, traffic)| own.contains(&row.inode) && is_open(traffic, patience)) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn is_open(traffic: &Traffic, patience: Patience) -> bool {
    let younger = |millis: u32, limit: Duration| Duration::from_millis(millis.into()) < limit;
    if traffic.unread > 0 || traffic.unsent > 0 {
        return true;
    }
    match traffic.totals {
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
            let open = |patience| are_open(me, &[port], patience).unwrap();
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

    /// Until the kernel's clock has moved on.
    fn wait_for(condition: impl Fn() -> bool, what: &str) {
        let deadline = crate::clock::now().mono_ns + 20_000_000_000;
        while !condition() {
            assert!(crate::clock::now().mono_ns < deadline, "{what}");
            std::thread::yield_now();
        }
    }
}
