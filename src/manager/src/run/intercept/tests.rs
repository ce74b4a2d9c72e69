//! Real programs that bind by themselves.

use super::*;
use std::ffi::CString;
use std::io::Read;
use std::net::{TcpListener, TcpStream};
use svd_sys::listen::Group;
use svd_sys::spawn::{self, Child, Others, Program, Session, Started};

const PATIENCE: Duration = Duration::from_secs(30);
const SPAWN: SpawnId = SpawnId(7);

/// A child with the filter, our end of its channel and its output.
struct Running {
    channel: OwnedFd,
    out: std::fs::File,
    child: Started,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ended = svd_sys::pidfd::send_signal(self.child.pidfd.as_fd(), 9);
    }
}

fn python(script: &str) -> Running {
    let (channel, childs) = intercept::channel().unwrap();
    let (out, out_in) = svd_sys::fd::pipe().unwrap();
    let null = svd_sys::fd::open_null().unwrap();
    let argv: Vec<CString> = ["/usr/bin/python3", "-c", script].map(|word| CString::new(word).unwrap()).into();
    let child = spawn::start(&Child {
        program: Program::Path(&argv[0]),
        argv: &argv,
        env: &[c"PATH=/usr/bin:/bin".into()],
        cwd: Some(c"/tmp"),
        umask: None,
        nice: None,
        oom_score_adj: None,
        identity: None,
        limits: &[],
        fds: &[(out_in.as_fd(), 1)],
        others: Others::Close,
        null: null.as_fd(),
        session: Session::Own,
        die_with: None,
        filter: Some(childs.as_fd()),
        cgroups: &[],
        confine: Default::default(),
    })
    .unwrap();
    Running { channel, out: out.into(), child }
}

fn tcp(address: &str) -> (Listener, Ours, SocketAddr) {
    let address: SocketAddr = address.parse().unwrap();
    let plan = ListenAddress::Tcp { address, v6only: false };
    let socket = listen::tcp(address, false, Group::Shared, 16).unwrap();
    ours(plan, socket)
}

fn ours(plan: ListenAddress, socket: OwnedFd) -> (Listener, Ours, SocketAddr) {
    let key = Key::new("web", &plan);
    let listener = Listener::new(plan, socket);
    let ours = Ours::new(key, &listener, listener.socket(svd_core::Slot(0)).unwrap()).unwrap();
    let at = listener.at.unwrap_or("127.0.0.1:1".parse().unwrap());
    (listener, ours, at)
}

struct Manager {
    told: mpsc::UnboundedReceiver<Inner>,
    task: AbortHandle,
}

impl Manager {
    fn begin(program: &Running, ours: Vec<Ours>, ledger: &SharedLedger) -> Manager {
        let (inner, told) = mpsc::unbounded_channel();
        let task = serve(SPAWN, program.channel.try_clone().unwrap(), ours, ledger.clone(), inner);
        Manager { told, task }
    }

    async fn next(&mut self) -> Seen {
        match tokio::time::timeout(PATIENCE, self.told.recv()).await.expect("nothing was seen") {
            Some(Inner::Intercepted(SPAWN, seen)) => seen,
            other => panic!("{other:?}"),
        }
    }
}

fn ledger() -> SharedLedger {
    Arc::new(Ledger::create().unwrap().0)
}

/// What the server behind this address says.
async fn greeting(at: SocketAddr) -> String {
    let read = move || {
        let mut text = String::new();
        TcpStream::connect(at)?.read_to_string(&mut text).map(|_| text)
    };
    tokio::task::spawn_blocking(read).await.unwrap().unwrap()
}

/// A server that says what it sees of its socket.
fn server(family: &str, address: &str, port: u16) -> String {
    format!(
        "import socket
s = socket.socket(socket.{family})
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind(('{address}', {port}))
s.listen(1)
other = socket.socket()
other.bind(('127.0.0.1', 0))
while True:
    c, _ = s.accept()
    c.sendall(('%d %d' % (s.getsockname()[1], other.getsockname()[1])).encode())
    c.close()
"
    )
}

#[tokio::test]
async fn a_program_that_binds_by_itself_gets_the_held_socket_and_is_seen_to_listen() {
    for (held, family, wanted) in
        [("0.0.0.0:0", "AF_INET", "0.0.0.0"), ("0.0.0.0:0", "AF_INET6", "::"), ("127.0.0.1:0", "AF_INET", "")]
    {
        // given
        let (listener, ours, at) = tcp(held);
        let key = ours.key.clone();
        let program = python(&server(family, wanted, at.port()));
        let mut manager = Manager::begin(&program, vec![ours], &ledger());
        // then
        assert_eq!(manager.next().await, Seen::Bound(key.clone()), "{family} {wanted}");
        assert_eq!(manager.next().await, Seen::Listens(key));
        let said = greeting(SocketAddr::new([127, 0, 0, 1].into(), at.port())).await;
        let (own, other) = said.split_once(' ').unwrap();
        assert_eq!(own, at.port().to_string());
        assert_ne!(other, own, "another bind is the program's own affair");
        drop(listener);
    }
}

#[tokio::test]
async fn a_bind_that_a_killed_manager_had_received_is_answered_by_the_next_one() {
    // given a manager that is gone after it has received the call
    let (_listener, ours, at) = tcp("127.0.0.1:0");
    let key = ours.key.clone();
    let program = python(&server("AF_INET", "127.0.0.1", at.port()));
    let ledger = ledger();
    let received = {
        let (channel, ledger) = (program.channel.try_clone().unwrap(), ledger.clone());
        move || {
            assert!(svd_sys::fd::wait_readable(channel.as_fd(), PATIENCE).unwrap());
            let Handed::Listener(calls) = intercept::peek(channel.as_fd()).unwrap() else { panic!() };
            assert!(svd_sys::fd::wait_readable(calls.as_fd(), PATIENCE).unwrap());
            ledger.receive(calls.as_fd(), SPAWN.0).unwrap().unwrap()
        }
    };
    let call = tokio::task::spawn_blocking(received).await.unwrap();
    assert!(matches!(call.what, What::Bind { .. }));
    // when
    let mut manager = Manager::begin(&program, vec![ours], &ledger);
    // then
    assert_eq!(manager.next().await, Seen::Bound(key.clone()));
    assert_eq!(manager.next().await, Seen::Listens(key));
    assert!(greeting(at).await.starts_with(&format!("{} ", at.port())));
    assert_eq!(ledger.unanswered(), []);
}

#[tokio::test]
async fn managers_that_come_and_go_answer_every_call_of_a_program() {
    // given a program that binds again and again
    let (_listener, ours, at) = tcp("127.0.0.1:0");
    let script = format!(
        "import socket, sys
for n in range(200):
    s = socket.socket()
    s.bind(('127.0.0.1', {}))
    assert s.getsockname()[1] == {}
    s.listen(5)
    s.close()
print('all', flush=True)
",
        at.port(),
        at.port()
    );
    let mut program = python(&script);
    let ledger = ledger();
    let mut out = program.out.try_clone().unwrap();
    let end = tokio::task::spawn_blocking(move || {
        let mut text = String::new();
        out.read_to_string(&mut text).map(|_| text)
    });
    // when each is ended after the first thing it sees
    let mut managers = 0;
    while !end.is_finished() {
        let mut manager = Manager::begin(&program, vec![ours.clone()], &ledger);
        managers += 1;
        let _seen = tokio::time::timeout(Duration::from_millis(200), manager.told.recv()).await;
        manager.task.abort();
    }
    // then
    assert_eq!(end.await.unwrap().unwrap(), "all\n");
    assert!(managers > 10, "{managers}");
    let _gone = program.out.read(&mut [0]);
}

#[tokio::test]
async fn a_program_that_shuts_the_held_socket_down_takes_it_from_nobody() {
    // given
    let (listener, ours, at) = tcp("127.0.0.1:0");
    let script = format!(
        "import socket
own = socket.socket()
own.bind(('127.0.0.1', 0))
own.listen(1)
s = socket.socket()
s.bind(('127.0.0.1', {}))
s.listen(1)
for how in (socket.SHUT_RD, socket.SHUT_RDWR):
    s.shutdown(how)
own.shutdown(socket.SHUT_RDWR)
try:
    own.accept()
except OSError as error:
    print('own', error.errno, flush=True)
c, _ = s.accept()
c.shutdown(socket.SHUT_RD)
c.sendall(b'served')
",
        at.port()
    );
    let mut program = python(&script);
    let _manager = Manager::begin(&program, vec![ours], &ledger());
    // when the program has shut down both its own and the held one
    let mut out = program.out.try_clone().unwrap();
    let said = tokio::task::spawn_blocking(move || {
        let mut line = [0; 7];
        out.read_exact(&mut line).map(|()| line)
    });
    // then its own does not take connections any more, and the held one does
    assert_eq!(&said.await.unwrap().unwrap(), b"own 22\n");
    let socket = listener.socket(svd_core::Slot(0)).unwrap();
    assert!(listen::is_listening(socket.as_fd()).unwrap());
    assert_eq!(greeting(at).await, "served");
    let _gone = program.out.read(&mut [0]);
}

#[tokio::test]
async fn a_unix_path_is_recognised_however_the_program_names_it() {
    // given
    let dir = crate::listen::tests::Dir::new("intercept-unix");
    std::fs::create_dir(dir.path.join("run")).unwrap();
    std::os::unix::fs::symlink("run", dir.path.join("link")).unwrap();
    let path = dir.path.join("run/app.sock");
    let plan = ListenAddress::Unix { path: path.clone(), mode: 0o600, user: None, group: None };
    let socket = listen::unix(&path, 16).unwrap();
    let (_listener, ours, _) = ours(plan, socket);
    let key = ours.key.clone();
    let script = format!(
        "import os, socket
os.chdir('{}')
for path in ('run/app.sock', 'link/app.sock', os.getcwd() + '/link/../run/app.sock', 'run/app.sock2'):
    s = socket.socket(socket.AF_UNIX)
    s.setblocking(False)
    s.bind(path)
    s.listen(3)
input()
",
        dir.path.display()
    );
    let program = python(&script);
    let mut manager = Manager::begin(&program, vec![ours], &ledger());
    // then
    for _ in 0..3 {
        assert_eq!(manager.next().await, Seen::Bound(key.clone()));
        assert_eq!(manager.next().await, Seen::Listens(key.clone()));
    }
}

#[test]
fn an_address_is_meant_where_it_would_collide() {
    let is_meant = |ours: &Ours, address: &str| ours.is_meant(&Bound::Inet(address.parse().unwrap()), 1);
    let (_a, local, at) = tcp("127.0.0.1:0");
    let port = at.port();
    for (address, meant) in [("127.0.0.1", true), ("0.0.0.0", true), ("[::]", true), ("[::ffff:127.0.0.1]", true)] {
        assert_eq!(is_meant(&local, &format!("{address}:{port}")), meant, "{address}");
    }
    for address in ["127.0.0.2", "[::1]", "192.0.2.1"] {
        assert!(!is_meant(&local, &format!("{address}:{port}")), "{address}");
    }
    assert!(!is_meant(&local, &format!("127.0.0.1:{}", port ^ 1)));
    let (_b, wide, at) = tcp("0.0.0.0:0");
    assert!(is_meant(&wide, &format!("[::1]:{}", at.port())));
    assert!(!wide.is_meant(&Bound::Else, 1));
    drop(TcpListener::bind("127.0.0.1:0").unwrap());
}
