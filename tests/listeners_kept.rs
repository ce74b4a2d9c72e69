//! Sockets that svd holds stay as they are, whatever a program does to them.

mod common;

use common::{App, skipped};
use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;

/// A port that nobody has, as far as anybody can tell.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[test]
fn a_program_that_nobody_may_look_into_listens_by_itself_where_it_likes() {
    if svd_sys::process::uid() != 0 {
        return skipped("only root can start svd as a user that may not look into everything");
    }
    // given an svd without privileges, and a program that has made itself undumpable
    let (port, metrics) = (free_port(), free_port());
    let mut app = App::new(&format!(
        "[process.web]
         run = [\"@PY@\", \"@DIR@/web.py\", \"{metrics}\"]
         listen = \"127.0.0.1:{port}\"
         ready = {{ listening = true, timeout = \"20s\" }}"
    ));
    app.write(
        "web.py",
        "import ctypes, os, socket, sys
ctypes.CDLL(None).prctl(4, 0, 0, 0, 0)
others = []
for port in [0] * 50 + [int(sys.argv[1])]:
    others.append(socket.socket())
    others[-1].bind(('127.0.0.1', port))
    others[-1].listen(1)
s = socket.socket(fileno=3)
while True:
    s.accept()[0].close()
",
    );
    std::os::unix::fs::chown(app.path("."), Some(65534), Some(65534)).unwrap();
    let mut command = app.command();
    std::os::unix::process::CommandExt::uid(&mut command, 65534);
    std::os::unix::process::CommandExt::gid(&mut command, 65534);
    // when
    app.boot_with(command);
    // then
    app.wait("web", "ready");
    TcpStream::connect(("127.0.0.1", metrics)).unwrap();
    let told = app.events_of("web.1");
    assert!(told.iter().any(|event| event["kind"] == "instance.not_intercepted"), "{told:#?}");
    assert_eq!(app.stop(), Some(0));
}

#[test]
fn who_waits_for_an_instance_that_is_gone_is_told_at_once_and_not_left_to_a_later_one() {
    // given two instances, one of which accepts from nobody
    let mut app = App::new(
        "[process.web]
         run = [\"@PY@\", \"@DIR@/web.py\"]
         count = 2
         listen = \"127.0.0.1:0\"
         handoff = \"listen-fds\"
         ready = \"started\"
         restart = { when = \"never\" }",
    );
    app.write(
        "web.py",
        "import os, socket, time
s = socket.socket(fileno=3)
kept = []
while os.environ['SVD_INDEX'] == '1':
    kept.append(s.accept())
time.sleep(1000)
",
    );
    app.boot();
    app.wait("web", "ready");
    let address = app.process("web")["listeners"][0]["address"].as_str().unwrap().to_owned();
    let clients: Vec<TcpStream> = (0..40).map(|_| TcpStream::connect(&address).unwrap()).collect();
    // when it ends
    let gone = svd_sys::pidfd::open(app.pid("web.2")).unwrap();
    svd_sys::pidfd::send_signal(gone.as_fd(), 9).unwrap();
    // then who waited for it is sent away, and the others are not
    let told = app.until("those who wait to be closed", |_| {
        app.events().into_iter().find(|event| event["kind"] == "process.connections_closed")
    });
    assert_eq!(told["instance"], "web.2", "{told:#}");
    let closed = clients.iter().filter(|client| {
        client.set_nonblocking(true).unwrap();
        !matches!((&**client).read(&mut [0]), Err(error) if error.kind() == std::io::ErrorKind::WouldBlock)
    });
    let closed = closed.count();
    assert!((1..40).contains(&closed), "{closed}");
    assert!(told["message"].as_str().unwrap().starts_with(&format!("{closed} connection")), "{told:#}");
    assert_eq!(app.stop(), Some(0));
}
