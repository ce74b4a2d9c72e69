//! A bounded HTTP load on 127.0.0.1, for the promise that nothing is refused, reset or dropped.
//!
//! Three kinds of clients, each a thread: one connection for each request; connections that are kept and used again
//! after a pause; and slow requests, which are in flight most of the time. A failed request is kept with its instant,
//! its kind and what had come until then, so that a test's message explains it. Clients behave as real ones do: a
//! connection that was kept may be closed by the server between two requests, and a GET that got not one byte on it is
//! sent once more on a new one. That is counted apart and is no failure; anything else is.
//!
//! The load ends by itself: after [`LONGEST`], or after [`MOST`] requests.

use super::DEADLINE;
use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

/// How long a load lasts at most, whoever forgets to stop it.
pub const LONGEST: Duration = Duration::from_secs(300);
/// How many requests a load sends at most.
pub const MOST: u64 = 400_000;
/// A client that waits longer than this for a connection or for the next bytes calls it a failure.
const PATIENCE: Duration = Duration::from_secs(15);
/// Failures that are kept whole; more are only counted.
const KEPT: usize = 30;
/// A right answer that took longer is told as a failure is, without being one.
const LATE: Duration = Duration::from_secs(2);
/// Requests on one kept connection before the client itself takes a new one.
const PER_CONNECTION: u32 = 50;

/// What to send, and what is a right answer.
#[derive(Clone, Debug)]
pub struct Load {
    to: SocketAddr,
    fresh: usize,
    kept: usize,
    slow: usize,
    path: String,
    slow_path: String,
    expect: String,
    pause: Duration,
    most: u64,
}

/// The kinds of clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Client {
    /// A connection for each request.
    Fresh,
    /// A connection that is used again.
    Kept,
    /// A request that takes its time, on a connection of its own.
    Slow,
}

/// How a request failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Nobody listened.
    Refused,
    /// The connection was reset.
    Reset,
    /// The connection was closed before the answer was whole.
    Cut,
    /// An answer, but not 200 or not what was expected.
    Wrong,
    /// Nothing came in time.
    TimedOut,
    /// Anything else, such as no more local ports.
    Other,
    /// A right answer that took long.
    Late,
}

/// A request that failed.
#[derive(Clone, Debug)]
pub struct Failure {
    client: Client,
    kind: Kind,
    /// Since the load began.
    at: Duration,
    /// Wall clock, to find it in logs.
    clock: SystemTime,
    /// How long the request had been under way.
    took: Duration,
    /// Where it failed, and what had come until then.
    detail: String,
}

/// What became of all requests.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Right answers, by kind of client.
    pub ok: BTreeMap<Client, u64>,
    /// Kept connections that were found closed, and whose request was right on a new one.
    pub retried: u64,
    /// Among them those that were not closed but reset.
    pub retried_after_reset: u64,
    /// Failed requests, by kind.
    pub failed: BTreeMap<Kind, u64>,
    /// The first failures.
    pub failures: Vec<Failure>,
    /// The first right answers that were late.
    pub late: Vec<Failure>,
    /// Right answers by what their body says, its first line: which generation, where the program tells.
    pub by: BTreeMap<String, u64>,
    /// The slowest right answer of a client that is not slow.
    pub slowest: Duration,
}

/// A load that is under way. Dropping it ends it.
pub struct Running {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared {
    load: Load,
    began: Instant,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    tally: Tally,
    sent: u64,
    over: bool,
}

impl Load {
    /// Two clients of each kind but no slow ones, `GET /` to 127.0.0.1.
    pub fn on(port: u16) -> Load {
        Load {
            to: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port),
            fresh: 2,
            kept: 2,
            slow: 0,
            path: "/".to_owned(),
            slow_path: "/slow".to_owned(),
            expect: String::new(),
            pause: Duration::from_millis(5),
            most: u64::MAX,
        }
    }

    /// How many clients of each kind.
    #[must_use]
    pub fn clients(self, fresh: usize, kept: usize, slow: usize) -> Load {
        Load { fresh, kept, slow, ..self }
    }

    /// Another address than 127.0.0.1; it must be a loopback address.
    #[must_use]
    pub fn to(self, address: IpAddr) -> Load {
        assert!(address.is_loopback(), "a load goes to this machine only");
        Load { to: SocketAddr::new(address, self.to.port()), ..self }
    }

    /// What the clients ask for, but for the slow ones.
    #[must_use]
    pub fn path(self, path: &str) -> Load {
        Load { path: path.to_owned(), ..self }
    }

    /// What the slow clients ask for, `/slow` otherwise.
    #[must_use]
    pub fn slow_path(self, path: &str) -> Load {
        Load { slow_path: path.to_owned(), ..self }
    }

    /// A right answer has this text in its body.
    #[must_use]
    pub fn expect(self, text: &str) -> Load {
        Load { expect: text.to_owned(), ..self }
    }

    /// The pause of each client between two requests.
    #[must_use]
    pub fn pause(self, pause: Duration) -> Load {
        Load { pause, ..self }
    }

    /// One request of each client, and what became of them.
    pub fn once(self) -> Tally {
        let running = Load { most: 1, ..self }.begin();
        running.finish()
    }

    /// Begins, and waits until each kind of client has had a right answer.
    pub fn start(self) -> Running {
        let kinds = [self.fresh, self.kept, self.slow];
        let running = self.begin();
        let wanted = kinds.iter().filter(|count| **count > 0).count();
        running.until("the first answers", |tally| tally.ok.len() == wanted);
        running
    }

    fn begin(self) -> Running {
        assert!(self.to.ip().is_loopback(), "a load goes to this machine only");
        let kinds = [(Client::Fresh, self.fresh), (Client::Kept, self.kept), (Client::Slow, self.slow)];
        let shared = Arc::new(Shared {
            load: self,
            began: Instant::now(),
            state: Mutex::new(State::default()),
            changed: Condvar::new(),
        });
        let mut threads = Vec::new();
        for (client, count) in kinds {
            for _ in 0..count {
                let shared = shared.clone();
                threads.push(std::thread::spawn(move || shared.run(client)));
            }
        }
        Running { shared, threads }
    }
}

impl Running {
    /// Waits until the tally is such; panics after the deadline of all tests. A load that has failed already goes on: the
    /// end will tell.
    pub fn until(&self, what: &str, look: impl Fn(&Tally) -> bool) {
        let deadline = Instant::now() + DEADLINE;
        let mut state = self.shared.lock();
        while !look(&state.tally) {
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero() && !state.over, "the load waited in vain for {what}: {}", state.tally);
            state = self.shared.changed.wait_timeout(state, left).expect("not poisoned").0;
        }
    }

    /// Waits until each client has had this many more right answers on the average, so that what was just changed is met
    /// by requests that began after it.
    pub fn more(&self, count: u64) {
        let clients = |client| match client {
            Client::Fresh => self.shared.load.fresh,
            Client::Kept => self.shared.load.kept,
            Client::Slow => self.shared.load.slow,
        } as u64;
        let before = self.tally();
        self.until("more answers", |tally| {
            // A slow one counts for many.
            let wanted = |client| if client == Client::Slow { 1 } else { count } * clients(client);
            let had = |tally: &Tally, client| tally.ok.get(&client).copied().unwrap_or(0);
            [Client::Fresh, Client::Kept, Client::Slow]
                .iter()
                .all(|client| had(tally, *client) >= had(&before, *client) + wanted(*client))
        });
    }

    /// What became of the requests until now.
    pub fn tally(&self) -> Tally {
        self.shared.lock().tally.clone()
    }

    /// Waits until the load has ended by itself.
    fn finish(mut self) -> Tally {
        self.join();
        self.tally()
    }

    /// Ends the load: requests in flight are waited for.
    pub fn stop(mut self) -> Tally {
        self.end();
        self.tally()
    }

    fn end(&mut self) {
        self.shared.lock().over = true;
        self.shared.changed.notify_all();
        self.join();
    }

    fn join(&mut self) {
        for thread in self.threads.drain(..) {
            let ended = thread.join();
            assert!(ended.is_ok() || std::thread::panicking(), "a client panicked");
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end();
    }
}

impl Tally {
    /// All right answers.
    pub fn answered(&self) -> u64 {
        self.ok.values().sum()
    }

    /// All failures.
    pub fn lost(&self) -> u64 {
        self.failed.values().sum()
    }

    /// Nothing was refused, reset, cut, wrong or late; says `when` otherwise, and how each failed.
    pub fn assert_whole(&self, when: &str) {
        eprintln!("{when}: {self}");
        assert_eq!(self.lost(), 0, "{when}: requests failed\n{self}");
        assert!(self.answered() > 0, "{when}: no request was answered");
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} answered {:?}, {} failed {:?}, {} kept connections were closed between two requests ({} by a reset), \
             slowest {:?}, {} answerers",
            self.answered(),
            self.ok,
            self.lost(),
            self.failed,
            self.retried,
            self.retried_after_reset,
            self.slowest,
            self.by.len(),
        )?;
        for failure in self.failures.iter().chain(&self.late) {
            let clock = failure.clock.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
            write!(
                f,
                "\n  {:?} {:?} at {:.3?} (unix time {}.{:03}), {:.3?} after it began: {}",
                failure.client,
                failure.kind,
                failure.at,
                clock.as_secs(),
                clock.subsec_millis(),
                failure.took,
                failure.detail,
            )?;
        }
        Ok(())
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("not poisoned")
    }

    /// One client's life.
    fn run(&self, client: Client) {
        let path = if client == Client::Slow { &self.load.slow_path } else { &self.load.path };
        let mut connection: Option<Connection> = None;
        for _ in 0..self.load.most {
            if !self.may_send() {
                break;
            }
            let began = Instant::now();
            let keep = client == Client::Kept;
            let reused = connection.is_some();
            let mut result = self.ask(&mut connection, path, keep);
            if let Err(trouble) = &result
                && reused
                && trouble.nothing_came()
            {
                // The server had closed what it was free to close.
                let reset = trouble.kind == Kind::Reset;
                connection = None;
                result = self.ask(&mut connection, path, keep);
                if result.is_ok() {
                    let mut state = self.lock();
                    state.tally.retried += 1;
                    state.tally.retried_after_reset += u64::from(reset);
                }
            }
            if result.is_err() || connection.as_ref().is_some_and(|kept| kept.served >= PER_CONNECTION) {
                connection = None;
            }
            self.record(client, began, result);
            self.rest();
        }
    }

    /// Counts the request that comes next; false when there shall be none.
    fn may_send(&self) -> bool {
        let mut state = self.lock();
        if self.began.elapsed() > LONGEST || state.sent >= MOST {
            state.over = true;
        }
        state.sent += 1;
        !state.over
    }

    /// Until the pause is over or the load.
    fn rest(&self) {
        let until = Instant::now() + self.load.pause;
        let mut state = self.lock();
        while !state.over {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            state = self.changed.wait_timeout(state, left).expect("not poisoned").0;
        }
    }

    fn record(&self, client: Client, began: Instant, result: Result<String, Trouble>) {
        let took = began.elapsed();
        let mut state = self.lock();
        let tally = &mut state.tally;
        match result {
            Ok(body) => {
                *tally.ok.entry(client).or_default() += 1;
                let who: String = body.lines().next().unwrap_or("").chars().take(60).collect();
                if tally.by.len() < 1000 || tally.by.contains_key(&who) {
                    *tally.by.entry(who).or_default() += 1;
                }
                if client != Client::Slow {
                    tally.slowest = tally.slowest.max(took);
                    if took > LATE && tally.late.len() < KEPT {
                        let (at, clock) = (self.began.elapsed(), SystemTime::now());
                        let detail = format!("answered by {body:?}");
                        tally.late.push(Failure { client, kind: Kind::Late, at, clock, took, detail });
                    }
                }
            }
            Err(trouble) => {
                *tally.failed.entry(trouble.kind).or_default() += 1;
                if tally.failures.len() < KEPT {
                    let (at, clock) = (self.began.elapsed(), SystemTime::now());
                    let Trouble { kind, detail, .. } = trouble;
                    tally.failures.push(Failure { client, kind, at, clock, took, detail });
                }
            }
        }
        drop(state);
        self.changed.notify_all();
    }

    /// One request; connects when there is no connection, and leaves one that may be used again.
    fn ask(&self, slot: &mut Option<Connection>, path: &str, keep: bool) -> Result<String, Trouble> {
        let mut connection = match slot.take() {
            Some(connection) => connection,
            None => Connection::to(self.load.to)?,
        };
        let answer = connection.get(path, keep)?;
        let right = answer.status == 200 && answer.body.contains(&self.load.expect);
        if !right {
            let told: String = answer.body.chars().take(200).collect();
            return Err(connection.trouble(Kind::Wrong, &format!("status {}, body {told:?}", answer.status), &[]));
        }
        if keep && answer.keep {
            connection.served += 1;
            *slot = Some(connection);
        }
        Ok(answer.body)
    }
}

/// A connection and what it has been through.
struct Connection {
    stream: TcpStream,
    /// The client's own port, to find the connection in a trace.
    port: u16,
    served: u32,
}

struct Answer {
    status: u16,
    body: String,
    keep: bool,
}

/// Why a request has no answer.
struct Trouble {
    kind: Kind,
    detail: String,
    bytes: usize,
    connected: bool,
}

impl Trouble {
    /// Closed or reset before one byte of an answer: on a kept connection the server may do so.
    fn nothing_came(&self) -> bool {
        self.connected && self.bytes == 0 && matches!(self.kind, Kind::Cut | Kind::Reset)
    }
}

impl Connection {
    fn to(address: SocketAddr) -> Result<Connection, Trouble> {
        let failed = |error: io::Error| Trouble {
            kind: kind_of(&error),
            detail: format!("connecting to {address}: {error}"),
            bytes: 0,
            connected: false,
        };
        let stream = TcpStream::connect_timeout(&address, PATIENCE).map_err(failed)?;
        stream.set_read_timeout(Some(PATIENCE)).map_err(failed)?;
        stream.set_write_timeout(Some(PATIENCE)).map_err(failed)?;
        stream.set_nodelay(true).map_err(failed)?;
        let port = stream.local_addr().map_err(failed)?.port();
        Ok(Connection { stream, port, served: 0 })
    }

    fn trouble(&self, kind: Kind, what: &str, came: &[u8]) -> Trouble {
        let seen = String::from_utf8_lossy(&came[..came.len().min(200)]).into_owned();
        let detail = format!(
            "{what}; local port {}, {} requests before on this connection, {} bytes of the answer {seen:?}",
            self.port,
            self.served,
            came.len()
        );
        Trouble { kind, detail, bytes: came.len(), connected: true }
    }

    fn get(&mut self, path: &str, keep: bool) -> Result<Answer, Trouble> {
        let stay = if keep { "keep-alive" } else { "close" };
        let text = format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: {stay}\r\n\r\n");
        if let Err(error) = self.stream.write_all(text.as_bytes()) {
            return Err(self.trouble(kind_of(&error), &format!("sending: {error}"), &[]));
        }
        let mut came = Vec::new();
        let mut part = [0; 16 * 1024];
        loop {
            match parse(&came, false) {
                Parsed::Whole(answer) => return Ok(answer),
                Parsed::Nonsense => return Err(self.trouble(Kind::Wrong, "this is not HTTP", &came)),
                Parsed::More => {}
            }
            match self.stream.read(&mut part) {
                Ok(0) => {
                    return match parse(&came, true) {
                        Parsed::Whole(answer) => Ok(answer),
                        _ => Err(self.trouble(Kind::Cut, "closed before the answer was whole", &came)),
                    };
                }
                Ok(count) => came.extend_from_slice(&part[..count]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(self.trouble(kind_of(&error), &format!("reading: {error}"), &came)),
            }
        }
    }
}

fn kind_of(error: &io::Error) -> Kind {
    match error.kind() {
        ErrorKind::ConnectionRefused => Kind::Refused,
        ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted | ErrorKind::BrokenPipe => Kind::Reset,
        ErrorKind::WouldBlock | ErrorKind::TimedOut => Kind::TimedOut,
        _ => Kind::Other,
    }
}

enum Parsed {
    Whole(Answer),
    More,
    Nonsense,
}

/// An HTTP/1 answer by its length, its chunks, or (`ended`) by the end of the connection.
fn parse(came: &[u8], ended: bool) -> Parsed {
    let Some(end) = came.windows(4).position(|four| four == b"\r\n\r\n") else {
        let begins_right = came.iter().zip(b"HTTP/1.").all(|(is, should)| is == should);
        return if begins_right { Parsed::More } else { Parsed::Nonsense };
    };
    let head = String::from_utf8_lossy(&came[..end]).to_lowercase();
    let Some(status) = head.split(' ').nth(1).and_then(|word| word.parse().ok()) else { return Parsed::Nonsense };
    let header = |name: &str| head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim);
    let keep = head.starts_with("http/1.1") && header("connection") != Some("close");
    let rest = &came[end + 4..];
    let whole =
        |body: Vec<u8>, keep| Parsed::Whole(Answer { status, body: String::from_utf8_lossy(&body).into_owned(), keep });
    if header("transfer-encoding") == Some("chunked") {
        return dechunk(rest).map_or(Parsed::More, |body| whole(body, keep));
    }
    match header("content-length").and_then(|length| length.parse::<usize>().ok()) {
        Some(length) if rest.len() >= length => whole(rest[..length].to_vec(), keep),
        Some(_) => Parsed::More,
        None if ended => whole(rest.to_vec(), false),
        None => Parsed::More,
    }
}

fn dechunk(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut whole = Vec::new();
    loop {
        let end = rest.windows(2).position(|two| two == b"\r\n")?;
        let size = usize::from_str_radix(std::str::from_utf8(&rest[..end]).ok()?.trim(), 16).ok()?;
        rest = &rest[end + 2..];
        if size == 0 {
            // The last chunk is followed by an empty line.
            return rest.windows(2).any(|two| two == b"\r\n").then_some(whole);
        }
        whole.extend_from_slice(rest.get(..size)?);
        rest = rest.get(size + 2..)?;
    }
}
