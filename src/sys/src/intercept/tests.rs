//! Real programs, whose bind and listen calls come here.

use super::*;
use crate::listen::{self, Group};
use crate::spawn::{self, Child, Identity, Others, Program, Session, Started};
use crate::wait::{self, Ended};
use std::ffi::CString;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(30);
const NOBODY: u32 = 65534;

/// A child with the filter, and what a manager has of it.
struct Rig {
    ours: OwnedFd,
    out: OwnedFd,
    child: Started,
    ledger: Ledger,
    memfd: OwnedFd,
}

/// What was done about the calls of a child.
#[derive(Debug, Default, PartialEq, Eq)]
struct Seen {
    replaced: u32,
    listened: u32,
    continued: u32,
}

impl Rig {
    fn python(script: &str) -> Rig {
        Rig::start(&["/usr/bin/python3", "-c", script], None)
    }

    fn start(argv: &[&str], identity: Option<Identity<'_>>) -> Rig {
        let (ours, childs) = channel().unwrap();
        Rig::start_over(ours, &childs, argv, identity)
    }

    fn start_over(ours: OwnedFd, childs: &OwnedFd, argv: &[&str], identity: Option<Identity<'_>>) -> Rig {
        let (out, out_in) = fd::pipe().unwrap();
        let null = fd::open_null().unwrap();
        let argv: Vec<CString> = argv.iter().map(|arg| CString::new(*arg).unwrap()).collect();
        let fds = [(out_in.as_fd(), 1)];
        let child = spawn::start(&Child {
            program: Program::Path(&argv[0]),
            argv: &argv,
            env: &[c"PATH=/usr/bin:/bin".into(), c"PYTHONDONTWRITEBYTECODE=1".into()],
            cwd: Some(c"/tmp"),
            umask: None,
            nice: None,
            oom_score_adj: None,
            identity,
            limits: &[],
            fds: &fds,
            others: Others::Close,
            null: null.as_fd(),
            session: Session::Own,
            die_with: None,
            filter: Some(childs.as_fd()),
            cgroups: &[],
            confine: Default::default(),
        })
        .unwrap();
        let (ledger, memfd) = Ledger::create().unwrap();
        Rig { ours, out, child, ledger, memfd }
    }

    fn listener(&self) -> OwnedFd {
        assert!(fd::wait_readable(self.ours.as_fd(), PATIENCE).unwrap(), "the child hands out nothing");
        match peek(self.ours.as_fd()).unwrap() {
            Handed::Listener(listener) => listener,
            other => panic!("{other:?}"),
        }
    }

    /// The next call; `None` when all who have the filter have ended.
    fn next(&self, listener: &OwnedFd) -> Option<Call> {
        loop {
            let ready = crate::fd::wait_readable(listener.as_fd(), PATIENCE).unwrap();
            assert!(ready, "no call comes and nobody ends");
            if let Some(call) = self.ledger.receive(listener.as_fd(), 7).unwrap() {
                return Some(call);
            }
            if hung_up(listener.as_fd()) {
                return None;
            }
        }
    }

    /// Answers all calls as a manager with one slot does, until `enough`, or all have ended.
    fn serve(&self, slot: BorrowedFd<'_>, enough: impl Fn(&Seen) -> bool) -> Seen {
        let listener = self.listener();
        let mut seen = Seen::default();
        while !enough(&seen) {
            let Some(call) = self.next(&listener) else { break };
            decide(listener.as_fd(), &call, slot, &mut seen);
            self.ledger.done(&call);
        }
        seen
    }

    /// Waits for its end and returns what it wrote.
    fn end(self) -> (Ended, String) {
        assert!(fd::wait_readable(self.child.pidfd.as_fd(), PATIENCE).unwrap(), "it does not end");
        let (ended, _) = wait::reap(self.child.pid).unwrap().unwrap();
        let mut text = String::new();
        std::fs::File::from(self.out).read_to_string(&mut text).unwrap();
        (ended, text)
    }

    fn kill(self) -> String {
        crate::pidfd::send_signal(self.child.pidfd.as_fd(), libc::SIGKILL).unwrap();
        self.end().1
    }
}

fn hung_up(fd: BorrowedFd<'_>) -> bool {
    let mut set = [libc::pollfd { fd: fd.as_raw_fd(), events: 0, revents: 0 }];
    // SAFETY: one valid pollfd.
    unsafe { libc::poll(set.as_mut_ptr(), 1, 0) };
    set[0].revents & libc::POLLHUP != 0
}

/// The rule of a manager whose slot is one TCP socket.
fn decide(listener: BorrowedFd<'_>, call: &Call, slot: BorrowedFd<'_>, seen: &mut Seen) {
    assert_eq!(call.tag, 7);
    let ours = listen::cookie(slot).unwrap();
    let what = match call.what {
        What::Bind { fd, .. } => {
            let sock = socket_of(listener, call, fd).unwrap();
            if let Some(copy) = &sock.fd {
                assert_eq!(listen::cookie(copy.as_fd()).unwrap(), sock.cookie);
            }
            let port = listen::address(slot).unwrap().port();
            match address_of(listener, call).unwrap() {
                _ if sock.cookie == ours => Answer::Done,
                Bound::Inet(address) if address.port() == port && sock.kind == Kind::Stream => {
                    if sock.nonblocking {
                        listen::set_nonblocking_shared(slot).unwrap();
                    }
                    replace(listener, call, fd, slot, sock.cloexec).unwrap();
                    seen.replaced += 1;
                    Answer::Done
                }
                _ => {
                    seen.continued += 1;
                    Answer::Continue
                }
            }
        }
        What::Listen { fd } if socket_of(listener, call, fd).unwrap().cookie == ours => {
            seen.listened += 1;
            Answer::Done
        }
        What::Listen { .. } | What::Shutdown { .. } | What::Other => {
            seen.continued += 1;
            Answer::Continue
        }
    };
    assert!(is_waiting(listener, call).unwrap());
    answer(listener, call, what).unwrap();
    assert!(!is_waiting(listener, call).unwrap());
}

fn slot(address: &str) -> (OwnedFd, u16) {
    let slot = listen::tcp(address.parse().unwrap(), false, Group::Shared, 4096).unwrap();
    let port = listen::address(slot.as_fd()).unwrap().port();
    (slot, port)
}

/// What a program says of the socket that it believes to have bound.
const TELL: &str = "
import fcntl, os, socket
def tell(s):
    flags = fcntl.fcntl(s, fcntl.F_GETFL) & os.O_NONBLOCK, fcntl.fcntl(s, fcntl.F_GETFD)
    print(s.getsockname()[1], bool(flags[0]), flags[1], s.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN), flush=True)
";

#[test]
fn an_ordinary_server_gets_the_slot_instead_of_its_own_socket_and_serves() {
    let (slot, port) = slot("0.0.0.0:0");
    // Connections that come before anybody serves wait.
    let mut early = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let argv = ["/usr/bin/python3", "-m", "http.server", "--bind", "127.0.0.1", &port.to_string()];
    let rig = Rig::start(&argv, None);
    let seen = rig.serve(slot.as_fd(), |seen| seen.listened > 0);
    assert_eq!(seen, Seen { replaced: 1, listened: 1, continued: 0 });
    early.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
    let mut page = String::new();
    early.read_to_string(&mut page).unwrap();
    assert!(page.starts_with("HTTP/1.0 200"), "{page}");
    // It accepts the next one and waits for its request.
    let late = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let (server, client) = (late.peer_addr().unwrap(), late.local_addr().unwrap());
    let deadline = crate::clock::now().mono_ns + 20_000_000_000;
    while crate::accepted::holder(server, client, &[rig.child.pid]).unwrap() != Some(rig.child.pid) {
        assert!(crate::clock::now().mono_ns < deadline, "it does not accept");
        std::thread::yield_now();
    }
    // The slot's queue is the kernel's 4096 or less, not the program's 5.
    assert!(listen::is_listening(slot.as_fd()).unwrap());
    rig.kill();
}

#[test]
fn flags_of_the_programs_own_descriptor_are_kept() {
    for (nonblocking, inheritable) in [(false, false), (true, false), (false, true), (true, true)] {
        let (slot, port) = slot("127.0.0.1:0");
        let python = |flag: bool| if flag { "True" } else { "False" };
        let script = format!(
            "{TELL}
s = socket.socket()
s.setblocking(not {}); s.set_inheritable({})
s.bind(('127.0.0.1', {port})); s.listen(1); tell(s)",
            python(nonblocking),
            python(inheritable)
        );
        let rig = Rig::python(&script);
        let seen = rig.serve(slot.as_fd(), |_| false);
        assert_eq!(seen, Seen { replaced: 1, listened: 1, continued: 0 });
        let expected = format!("{port} {} {} 1\n", python(nonblocking), u8::from(!inheritable));
        assert_eq!(rig.end(), (Ended::Code(0), expected));
    }
}

#[test]
fn forked_children_threads_and_executed_grandchildren_are_intercepted_too() {
    let (slot, port) = slot("127.0.0.1:0");
    let script = format!(
        "{TELL}
import subprocess, sys, threading
def serve():
    s = socket.socket(); s.bind(('127.0.0.1', {port})); s.listen(); tell(s)
if os.fork() == 0:
    serve(); os._exit(0)
os.wait()
t = threading.Thread(target=serve); t.start(); t.join()
subprocess.run([sys.executable, '-c', 'import socket; s = socket.socket(); s.bind((\"\", {port})); s.listen(); print(s.getsockname()[1], flush=True)'], check=True)
",
    );
    let rig = Rig::python(&script);
    let seen = rig.serve(slot.as_fd(), |_| false);
    assert_eq!(seen, Seen { replaced: 3, listened: 3, continued: 0 });
    let (ended, text) = rig.end();
    assert_eq!((ended, text), (Ended::Code(0), format!("{port} False 1 1\n{port} False 1 1\n{port}\n")));
}

#[test]
fn many_at_once_are_all_answered() {
    let (slot, port) = slot("127.0.0.1:0");
    let script = format!(
        "
import os, socket
for _ in range(50):
    if os.fork() == 0:
        s = socket.socket(); s.bind(('127.0.0.1', {port})); s.listen(); os._exit(s.getsockname()[1] != {port})
print(sum(os.wait()[1] for _ in range(50)))"
    );
    let rig = Rig::python(&script);
    assert_eq!(rig.serve(slot.as_fd(), |_| false), Seen { replaced: 50, listened: 50, continued: 0 });
    assert_eq!(rig.ledger.unanswered(), []);
    assert_eq!(rig.end(), (Ended::Code(0), "0\n".into()));
}

#[test]
fn what_has_nothing_to_do_with_the_slot_runs_as_if_nobody_had_asked() {
    let (slot, port) = slot("127.0.0.1:0");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let other = TcpListener::bind(("127.0.0.1", taken)).unwrap();
    let path = std::env::temp_dir().join(format!("svd-sys-intercept-{}", std::process::id()));
    let script = format!(
        "{TELL}
s = socket.socket(); s.bind(('127.0.0.1', 0)); s.listen(3)
print(s.getsockname()[1] not in (0, {port}))
u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); u.bind(('127.0.0.1', {port})); print(u.getsockname()[1] == {port})
x = socket.socket(socket.AF_UNIX); x.bind('{path}'); print(x.getsockname()); os.unlink('{path}')
a = socket.socket(socket.AF_UNIX); a.bind('\\0svd-{port}'); print(a.getsockname())
try: s = socket.socket(); s.bind(('127.0.0.1', {taken}))
except OSError as e: print(e.errno)
try: s.bind(('127.0.0.1', 'x'))
except TypeError: print('own error')
",
        path = path.display()
    );
    let rig = Rig::python(&script);
    let seen = rig.serve(slot.as_fd(), |_| false);
    assert_eq!(seen, Seen { replaced: 0, listened: 0, continued: 6 });
    let expected = format!("True\nTrue\n{}\nb'\\x00svd-{port}'\n{}\nown error\n", path.display(), libc::EADDRINUSE);
    assert_eq!(rig.end(), (Ended::Code(0), expected));
    drop(other);
}

#[test]
fn a_call_is_answered_with_an_error_or_told_what_it_is_about() {
    let script = "
import errno, socket
def go(family, address):
    kind = socket.SOCK_RAW if family == socket.AF_NETLINK else socket.SOCK_STREAM
    try: socket.socket(family, kind).bind(address)
    except OSError as e: print(errno.errorcode[e.errno], flush=True)
go(socket.AF_INET6, ('::ffff:127.0.0.1', 81)); go(socket.AF_INET6, ('fe80::1', 82, 3, 1))
go(socket.AF_UNIX, 'relative/path'); go(socket.AF_UNIX, b'\\0abstract\\0'); go(socket.AF_NETLINK, (0, 0))
socket.socket().listen(1)
";
    let rig = Rig::python(script);
    let listener = rig.listener();
    let mut told = Vec::new();
    while let Some(call) = rig.next(&listener) {
        if let What::Bind { .. } = call.what {
            told.push(address_of(listener.as_fd(), &call).unwrap());
            assert_eq!(directory_of(listener.as_fd(), &call).unwrap(), PathBuf::from("/tmp"));
            assert!(call.pid > 0);
            answer(listener.as_fd(), &call, Answer::Errno(libc::EPROTO)).unwrap();
        } else {
            assert_eq!(address_of(listener.as_fd(), &call).unwrap_err().raw_os_error(), Some(libc::EINVAL));
            answer(listener.as_fd(), &call, Answer::Continue).unwrap();
        }
        rig.ledger.done(&call);
    }
    let expected = [
        Bound::Inet("[::ffff:127.0.0.1]:81".parse().unwrap()),
        Bound::Inet(SocketAddrV6::new("fe80::1".parse().unwrap(), 82, 3_u32.to_be(), 1).into()),
        Bound::Unix(b"relative/path".to_vec()),
        Bound::Unix(b"\0abstract\0".to_vec()),
        Bound::Else,
    ];
    assert_eq!(told, expected);
    assert_eq!(rig.end(), (Ended::Code(0), "EPROTO\n".repeat(5)));
}

#[test]
fn whoever_comes_after_a_dead_reader_finds_what_it_did_not_answer() {
    let (slot, port) = slot("127.0.0.1:0");
    let script = format!("{TELL}\ns = socket.socket(); s.bind(('127.0.0.1', {port})); s.listen(1); tell(s)");
    let rig = Rig::python(&script);
    let listener = rig.listener();
    let call = rig.next(&listener).unwrap();
    // It dies with the call in its hands.
    let Rig { ours, out, child, ledger, memfd } = rig;
    drop((ledger, listener));
    let rig = Rig { ledger: Ledger::open(memfd.try_clone().unwrap()).unwrap(), ours, out, child, memfd };
    let listener = rig.listener();
    // The kernel tells it nobody again.
    assert_eq!(rig.ledger.receive(listener.as_fd(), 8).unwrap(), None);
    assert_eq!(rig.ledger.unanswered(), std::slice::from_ref(&call));
    let mut seen = Seen::default();
    decide(listener.as_fd(), &call, slot.as_fd(), &mut seen);
    rig.ledger.done(&call);
    assert_eq!(rig.ledger.unanswered(), []);
    // This one dies after it has put the socket in its place, before the answer: the next one does it over again.
    let call = rig.next(&listener).unwrap();
    let What::Listen { fd } = call.what else { panic!("{call:?}") };
    replace(listener.as_fd(), &call, fd, slot.as_fd(), true).unwrap();
    drop(listener);
    let listener = rig.listener();
    let [call] = &rig.ledger.unanswered()[..] else { panic!() };
    decide(listener.as_fd(), call, slot.as_fd(), &mut seen);
    rig.ledger.done(call);
    assert_eq!(seen, Seen { replaced: 1, listened: 1, continued: 0 });
    assert_eq!(rig.end(), (Ended::Code(0), format!("{port} False 1 1\n")));
}

#[test]
fn a_call_whose_task_is_gone_or_was_interrupted_is_known_as_such() {
    let rig = Rig::python("import socket; socket.socket().bind(('127.0.0.1', 1))");
    let listener = rig.listener();
    let call = rig.next(&listener).unwrap();
    let What::Bind { fd, .. } = call.what else { panic!() };
    crate::pidfd::send_signal(rig.child.pidfd.as_fd(), libc::SIGKILL).unwrap();
    assert!(fd::wait_readable(rig.child.pidfd.as_fd(), PATIENCE).unwrap());
    let gone = |error: io::Error| matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ESRCH));
    assert!(!is_waiting(listener.as_fd(), &call).unwrap());
    assert!(gone(address_of(listener.as_fd(), &call).unwrap_err()));
    assert!(gone(socket_of(listener.as_fd(), &call, fd).unwrap_err()));
    assert!(gone(replace(listener.as_fd(), &call, fd, rig.out.as_fd(), false).unwrap_err()));
    assert!(gone(answer(listener.as_fd(), &call, Answer::Done).unwrap_err()));
    rig.ledger.done(&call);
    assert_eq!(rig.ledger.unanswered(), []);
    assert!(rig.next(&listener).is_none(), "everybody has ended");
    assert!(matches!(peek(rig.ours.as_fd()).unwrap(), Handed::Listener(_)), "it stays there all the same");
    rig.end();
    // A signal ends the call; with SA_RESTART it is made again.
    let script = "
import signal, socket
signal.signal(signal.SIGUSR1, lambda *_: None); signal.siginterrupt(signal.SIGUSR1, False)
s = socket.socket(); s.bind(('127.0.0.1', 0)); print(s.getsockname()[1] > 0)";
    let rig = Rig::python(script);
    let listener = rig.listener();
    let first = rig.next(&listener).unwrap();
    crate::pidfd::send_signal(rig.child.pidfd.as_fd(), libc::SIGUSR1).unwrap();
    let second = rig.next(&listener).unwrap();
    assert_eq!((first.pid, first.what), (second.pid, second.what));
    assert!(!is_waiting(listener.as_fd(), &first).unwrap());
    assert!(is_waiting(listener.as_fd(), &second).unwrap());
    answer(listener.as_fd(), &second, Answer::Continue).unwrap();
    assert_eq!(rig.end(), (Ended::Code(0), "True\n".into()));
}

#[test]
fn nothing_is_handed_out_before_the_child_and_nothing_by_one_that_failed() {
    let (ours, childs) = channel().unwrap();
    assert!(matches!(peek(ours.as_fd()).unwrap(), Handed::Nothing));
    drop(childs);
    assert!(matches!(peek(ours.as_fd()).unwrap(), Handed::Closed));
    assert!(is_at_least("5.9.0-rc1", (5, 9)));
    assert!(is_at_least("6.1", (5, 9)));
    assert!(!is_at_least("5.8.18", (5, 9)));
    assert!(!is_at_least("4.19.0", (5, 9)));
    assert!(!is_at_least("", (5, 9)));
}

/// Runs this in a thread that another user, or fewer capabilities, or a filter apply to: all of them are a thread's.
fn in_thread(change: impl FnOnce() + Send, body: impl FnOnce() + Send) {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            change();
            body();
        });
        thread.join().unwrap();
    });
}

fn is_root() -> bool {
    let root = crate::process::uid() == 0;
    if !root {
        eprintln!("SKIPPED: setting the user or dropping capabilities needs root");
    }
    root
}

fn become_nobody() {
    // SAFETY: system calls without pointers, for this thread only.
    unsafe {
        assert_eq!(libc::syscall(libc::SYS_setresgid, NOBODY, NOBODY, NOBODY), 0);
        assert_eq!(libc::syscall(libc::SYS_setresuid, NOBODY, NOBODY, NOBODY), 0);
    }
}

/// Takes these capabilities away from the thread.
fn without_capabilities(numbers: &[u32]) {
    #[repr(C)]
    #[derive(Clone, Copy, Default)]
    struct Set {
        effective: u32,
        permitted: u32,
        inheritable: u32,
    }
    let mut head = [0x2008_0522_u32, 0];
    let mut sets = [Set::default(); 2];
    // SAFETY: header and data as capget(2) wants them, version 3.
    unsafe {
        assert_eq!(libc::syscall(libc::SYS_capget, head.as_mut_ptr(), sets.as_mut_ptr()), 0);
        for number in numbers {
            let set = &mut sets[*number as usize / 32];
            set.effective &= !(1 << (number % 32));
            set.permitted &= !(1 << (number % 32));
        }
        assert_eq!(libc::syscall(libc::SYS_capset, head.as_mut_ptr(), sets.as_mut_ptr()), 0);
    }
}

fn has_capability(number: u32) -> bool {
    let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
    let set = status.lines().find_map(|line| line.strip_prefix("CapEff:")).unwrap();
    u64::from_str_radix(set.trim(), 16).unwrap() & 1 << number != 0
}

const CAP_SYS_PTRACE: u32 = 19;
const CAP_SYS_ADMIN: u32 = 21;

/// A server is intercepted; what it says of no_new_privs.
fn serves(identity: Option<Identity<'_>>) -> String {
    let (slot, port) = slot("127.0.0.1:0");
    let script = format!(
        "{TELL}
s = socket.socket(); s.bind(('127.0.0.1', {port})); s.listen(1); tell(s)
print(*[l.split()[1] for l in open('/proc/self/status') if l.startswith(('NoNewPrivs', 'Seccomp:'))], os.getuid())"
    );
    let rig = Rig::start(&["/usr/bin/python3", "-c", &script], identity);
    let seen = rig.serve(slot.as_fd(), |_| false);
    assert_eq!(seen, Seen { replaced: 1, listened: 1, continued: 0 });
    let (ended, text) = rig.end();
    assert_eq!(ended, Ended::Code(0), "{text}");
    text.strip_prefix(&format!("{port} False 1 1\n")).unwrap().to_owned()
}

#[test]
fn it_works_for_root_for_root_without_privilege_and_for_a_plain_user() {
    if !is_root() {
        assert!(serves(None).starts_with("1 2"));
        return;
    }
    let nobody = Identity { uid: NOBODY, gid: NOBODY, groups: &[] };
    // In a container root may be without it from the start.
    let no_new_privs = if has_capability(CAP_SYS_ADMIN) { "0" } else { "1" };
    assert_eq!(serves(None), format!("{no_new_privs} 2 0\n"));
    assert_eq!(serves(Some(nobody)), format!("{no_new_privs} 2 65534\n"));
    in_thread(|| without_capabilities(&[CAP_SYS_ADMIN]), || assert_eq!(serves(None), "1 2 0\n"));
    in_thread(|| without_capabilities(&[CAP_SYS_ADMIN]), || assert_eq!(serves(Some(nobody)), "1 2 65534\n"));
    in_thread(become_nobody, || assert_eq!(serves(None), "1 2 65534\n"));
}

/// What a container is usually given: no CAP_SYS_ADMIN, no CAP_SYS_PTRACE and, without that, no pidfd_getfd.
fn as_in_a_container() {
    without_capabilities(&[CAP_SYS_ADMIN, CAP_SYS_PTRACE]);
    forbid(libc::SYS_pidfd_getfd);
}

#[test]
fn in_a_container_as_they_usually_are_it_works_for_root_and_for_another_user() {
    if !is_root() {
        return;
    }
    let nobody = Identity { uid: NOBODY, gid: NOBODY, groups: &[] };
    let only_group = Identity { uid: 0, ..nobody };
    in_thread(as_in_a_container, || assert_eq!(serves(None), "1 2 0\n"));
    in_thread(as_in_a_container, || assert_eq!(serves(Some(nobody)), "1 2 65534\n"));
    in_thread(as_in_a_container, || assert_eq!(serves(Some(only_group)), "1 2 0\n"));
    let and_without_reading_memory = || {
        as_in_a_container();
        forbid(libc::SYS_process_vm_readv);
    };
    in_thread(and_without_reading_memory, || assert_eq!(serves(None), "1 2 0\n"));
}

#[test]
fn where_nobody_may_look_that_is_an_error_and_the_call_can_go_on() {
    if !is_root() {
        return;
    }
    let nobody = Identity { uid: NOBODY, gid: NOBODY, groups: &[] };
    let forbidden = || {
        as_in_a_container();
        forbid(libc::SYS_process_vm_readv);
        forbid(libc::SYS_setresuid);
    };
    let script = "import socket; s = socket.socket(); s.bind(('127.0.0.1', 0)); print('ok')";
    // It is started by somebody who may do everything, and looked at by one who may not.
    let rig = Rig::start(&["/usr/bin/python3", "-c", script], Some(nobody));
    let refused = std::sync::Mutex::new(Vec::new());
    in_thread(forbidden, || {
        let listener = rig.listener();
        let call = rig.next(&listener).unwrap();
        let What::Bind { fd, .. } = call.what else { panic!() };
        let errors = [
            address_of(listener.as_fd(), &call).unwrap_err(),
            socket_of(listener.as_fd(), &call, fd).unwrap_err(),
            directory_of(listener.as_fd(), &call).unwrap_err(),
        ];
        refused.lock().unwrap().extend(errors.map(|error| error.kind()));
        answer(listener.as_fd(), &call, Answer::Continue).unwrap();
    });
    assert_eq!(refused.into_inner().unwrap(), [io::ErrorKind::PermissionDenied; 3]);
    assert_eq!(rig.end(), (Ended::Code(0), "ok\n".into()));
}

/// A filter on this thread that refuses a system call with EPERM, as a container's may.
fn forbid(call: libc::c_long) {
    let insn = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
    let mut program = [
        insn(0x20, 0, 0, 0),
        insn(0x15, 0, 1, call as u32),
        insn(0x06, 0, 0, libc::SECCOMP_RET_ERRNO | libc::EPERM as u32),
        insn(0x06, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let filter = libc::sock_fprog { len: 4, filter: program.as_mut_ptr() };
    // SAFETY: a program of four instructions, for this thread only.
    unsafe {
        assert_eq!(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
        assert_eq!(libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &raw const filter), 0);
    }
}

#[test]
fn where_the_filter_is_refused_the_program_runs_without_and_the_reason_is_told() {
    in_thread(
        || forbid(libc::SYS_seccomp),
        || {
            let rig =
                Rig::python("import socket; s = socket.socket(); s.bind(('127.0.0.1', 0)); s.listen(); print('ok')");
            assert!(fd::wait_readable(rig.ours.as_fd(), PATIENCE).unwrap());
            for _ in 0..2 {
                let Handed::Refused(error) = peek(rig.ours.as_fd()).unwrap() else { panic!() };
                assert_eq!(error.raw_os_error(), Some(libc::EPERM));
            }
            assert_eq!(rig.end(), (Ended::Code(0), "ok\n".into()));
        },
    );
}

#[test]
fn a_supervisor_under_the_filter_of_another_one_is_refused_its_own() {
    let (ours, childs) = channel().unwrap();
    in_thread(
        || (),
        || {
            // SAFETY: installs a filter for this thread only, and gives the socket away.
            unsafe {
                assert_eq!(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
                filter::install(std::os::fd::IntoRawFd::into_raw_fd(childs)).unwrap();
            }
            let Handed::Listener(_) = peek(ours.as_fd()).unwrap() else { panic!() };
            let rig = Rig::python("print('ok')");
            assert!(fd::wait_readable(rig.ours.as_fd(), PATIENCE).unwrap());
            let Handed::Refused(error) = peek(rig.ours.as_fd()).unwrap() else { panic!() };
            assert_eq!(error.raw_os_error(), Some(libc::EBUSY));
            assert_eq!(rig.end(), (Ended::Code(0), "ok\n".into()));
        },
    );
}

#[test]
fn a_listener_that_nobody_can_receive_fails_the_start_rather_than_every_bind() {
    let (ours, childs) = channel().unwrap();
    drop(ours);
    let mut rig = Rig::start_over(fd::pipe().unwrap().0, &childs, &["/bin/true"], None);
    assert!(fd::wait_readable(rig.child.pidfd.as_fd(), PATIENCE).unwrap());
    let failed = spawn::Progress::Failed(spawn::Stage::Descriptors, libc::EPIPE);
    assert_eq!(rig.child.status.progress(), failed);
    assert_eq!(rig.end().0, Ended::Code(126));
}

#[test]
fn the_child_keeps_no_descriptor_of_it() {
    let rig = Rig::start(&["/bin/ls", "-l", "/proc/self/fd"], None);
    let listener = rig.listener();
    assert!(rig.next(&listener).is_none());
    let (ended, text) = rig.end();
    assert_eq!(ended, Ended::Code(0));
    let links: Vec<&str> = text.lines().filter_map(|line| line.split(" -> ").nth(1)).collect();
    assert_eq!(links.len(), 4, "{text}");
    assert!(!text.contains("seccomp") && !text.contains("socket"), "{text}");
}

/// Prints what one intercepted bind costs, and one that is not. It measures and proves nothing.
#[test]
#[ignore = "a measurement"]
fn cost_of_one_interception() {
    let (slot, port) = slot("127.0.0.1:0");
    let script = |port: u16| {
        format!(
            "
import socket, time
n = 2000; times = []
for _ in range(n):
    s = socket.socket()
    began = time.perf_counter_ns(); s.bind(('127.0.0.1', {port})); times.append(time.perf_counter_ns() - began)
    s.close()
times.sort()
print('median', times[n // 2] / 1000, 'us, 99 %', times[n * 99 // 100] / 1000, 'us')"
        )
    };
    let rig = Rig::python(&script(port));
    assert_eq!(rig.serve(slot.as_fd(), |_| false).replaced, 2000);
    eprintln!("replaced: {}", rig.end().1.trim());
    let rig = Rig::python(&script(0));
    assert_eq!(rig.serve(slot.as_fd(), |_| false).continued, 2000);
    eprintln!("looked at and let go on: {}", rig.end().1.trim());
    let plain = std::process::Command::new("/usr/bin/python3").args(["-c", &script(0)]).output().unwrap();
    eprintln!("without a filter: {}", String::from_utf8(plain.stdout).unwrap().trim());
    let others = "
import os, time
n = 1000000; began = time.perf_counter_ns()
for _ in range(n): os.getppid()
print((time.perf_counter_ns() - began) / n, 'ns')";
    let rig = Rig::python(others);
    rig.serve(slot.as_fd(), |_| false);
    eprintln!("another call under the filter: {}", rig.end().1.trim());
    let plain = std::process::Command::new("/usr/bin/python3").args(["-c", others]).output().unwrap();
    eprintln!("without it: {}", String::from_utf8(plain.stdout).unwrap().trim());
}
