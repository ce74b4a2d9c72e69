//! Sockets that svd holds stay as they are, whatever a program does to them.

mod common;

use common::{App, skipped};
use std::net::{TcpListener, TcpStream};

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
other = socket.socket()
other.bind(('127.0.0.1', int(sys.argv[1])))
other.listen(1)
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
