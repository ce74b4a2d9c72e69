//! A real keeper, forking real processes; the test plays its managers.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

mod rig;

use rig::{Manager, Rig, program, program_spec, read_all, shell};
use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::process::Command;
use svd_sys::intercept::{self, Answer, Bound, Handed, Ledger, What};
use svd_sys::listen::{self, Group};
use svd_sys::{fd, pidfd, signal, tree};
use svd_wire::{Exit, FdRole, Life, Report, Request, Rlimit, SpawnError, SpawnId, SpawnSpec, Stage};

#[test]
fn a_process_runs_and_its_end_is_reported_after_its_start() {
    let mut rig = Rig::start();
    let (manager, inventory) = rig.live();
    assert!(matches!(inventory.welcome, Report::Welcome { manager_starts: 1, last_death: None, .. }));
    manager.spawn(1, shell("exit 7"), &[]);
    let Report::Spawned { seq: 1, spawn: SpawnId(1), pid, .. } = manager.report() else { panic!() };
    let Report::Exited { seq: 2, spawn: SpawnId(1), pid: same, exit, before_exec: false, .. } = manager.report() else {
        panic!()
    };
    assert_eq!((same, exit), (pid, Exit::Code(7)));
    manager.exit(5);
    assert_eq!(rig.wait().code(), Some(5));
}

/// Fault 6: a child that is dead before its parent has written it down.
#[test]
fn ten_thousand_short_lives_have_one_start_and_one_end_each_in_order() {
    let mut rig = Rig::start();
    let (manager, _) = rig.live();
    let descriptors = rig.open_fds();
    let mut seen: HashMap<u64, u32> = HashMap::new();
    let (mut asked, mut ended) = (0_u64, 0);
    let began = svd_sys::clock::now().mono_ns;
    while ended < 10_000 {
        while asked < 10_000 && asked - ended < 200 {
            asked += 1;
            manager.spawn(asked, program_spec("/bin/true"), &[]);
        }
        match manager.report() {
            Report::Spawned { spawn, .. } => assert_eq!(seen.insert(spawn.0, 1), None),
            Report::Exited { seq, spawn, exit, before_exec: false, .. } => {
                assert_eq!((seen.insert(spawn.0, 2), exit), (Some(1), Exit::Code(0)));
                manager.send(&Request::Ack { through: seq }, &[]);
                manager.send(&Request::Forget { spawn }, &[]);
                ended += 1;
            }
            other => panic!("{other:?}"),
        }
    }
    let seconds = (svd_sys::clock::now().mono_ns - began) as f64 / 1e9;
    eprintln!("{:.0} spawns a second", 10_000.0 / seconds);
    // A request that is answered was read after all the others.
    manager.spawn(10_001, program_spec("/no/such"), &[]);
    assert!(matches!(manager.report(), Report::SpawnFailed { .. }));
    rig.comes_to_open_fds(descriptors..=descriptors, "after 10,000 lives");
    manager.exit(0);
    assert_eq!(rig.wait().code(), Some(0));
}

/// Fault 8.
#[test]
fn each_stage_of_a_failed_start_is_told_with_its_errno_and_no_process_is_left() {
    let mut rig = Rig::start();
    let (manager, _) = rig.live();
    let mut id = 0;
    let mut check = |spec: SpawnSpec, stage, errno| {
        id += 1;
        manager.spawn(id, spec, &[]);
        let Report::SpawnFailed { spawn, error, .. } = manager.report() else { panic!("{stage:?} did not fail") };
        assert_eq!((spawn.0, error), (id, SpawnError { stage, errno }));
    };
    let with = |change: fn(&mut SpawnSpec)| {
        let mut spec = program_spec("/bin/true");
        change(&mut spec);
        spec
    };
    let script = std::env::temp_dir().join(format!("svd-noexec-{}", std::process::id()));
    std::fs::write(&script, "neither ELF nor #!\n").unwrap();
    std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    check(program_spec("/no/such"), Stage::Exec, 2);
    check(program_spec("/etc/passwd"), Stage::Exec, 13);
    check(program_spec(script.to_str().unwrap()), Stage::Exec, 8);
    check(with(|spec| spec.cwd = b"/no/such".to_vec()), Stage::Directory, 2);
    check(with(|spec| spec.rlimits = vec![Rlimit { resource: 99, soft: 1, hard: 1 }]), Stage::Limits, 22);
    check(with(|spec| spec.oom_score_adj = Some(5000)), Stage::Limits, 22);
    check(with(|spec| spec.argv.clear()), Stage::Fork, 22);
    check(with(|spec| spec.path = b"true".to_vec()), Stage::Fork, 22);
    assert!(tree::descendants(rig.pid()).unwrap().iter().all(|proc| proc.pid == manager.pid));
    std::fs::remove_file(script).unwrap();
    manager.exit(0);
    rig.wait();
}

/// Faults 10, 11 and 12.
#[test]
fn a_child_has_exactly_the_announced_descriptors_and_no_inherited_signal_state() {
    let mut rig = Rig::start_by(|path| {
        let mut command = Command::new("/bin/sh");
        // Descriptors, ignored signals and a low limit that the keeper inherits and its children must not be changed by.
        let script = "trap '' PIPE INT HUP CHLD; ulimit -Sn 200; exec 9</etc/passwd; exec \"$0\" \"$1\"";
        command.args(["-c", script, program()]).arg(path);
        command
    });
    let (manager, _) = rig.live();
    let (out, out_in) = fd::pipe().unwrap();
    let (given, given_in) = fd::pipe().unwrap();
    drop(given_in);
    for number in [3_u32, 4, 5, 6, 17] {
        let mut spec = shell("echo /proc/$$/fd/*; grep -E 'Sig(Blk|Ign)' /proc/self/status; ulimit -Sn");
        spec.fds = vec![FdRole::Child(1), FdRole::Child(number)];
        manager.spawn(u64::from(number), spec, &[out_in.as_fd(), given.as_fd()]);
        while !matches!(manager.report(), Report::Exited { .. }) {}
    }
    drop(out_in);
    let text = read_all(out);
    let mut lines = text.lines();
    for number in [3, 4, 5, 6, 17] {
        let pattern = lines.next().unwrap();
        let numbers: Vec<&str> = pattern.split(' ').map(|path| path.rsplit('/').next().unwrap()).collect();
        // The shell reads the directory through the lowest free number.
        let directory = if number == 3 { 4 } else { 3 };
        let mut expected = vec![0, 1, 2, number, directory];
        expected.sort_unstable();
        let mut found: Vec<u32> = numbers.iter().map(|number| number.parse().unwrap()).collect();
        found.sort_unstable();
        assert_eq!(found, expected);
        assert_eq!(lines.next(), Some("SigBlk:\t0000000000000000"));
        assert_eq!(lines.next(), Some("SigIgn:\t0000000000000000"));
        assert_eq!(lines.next(), Some("200"));
    }
    manager.exit(0);
    rig.wait();
}

/// Fault 5: one wakeup for many deaths.
#[test]
fn five_hundred_deaths_while_the_keeper_is_stopped_are_all_reported() {
    let mut rig = Rig::start();
    let (manager, _) = rig.live();
    let mut pidfds = Vec::new();
    for id in 1..=500 {
        manager.spawn(
            id,
            SpawnSpec { argv: vec![b"sleep".to_vec(), b"100".to_vec()], ..program_spec("/bin/sleep") },
            &[],
        );
        let (Report::Spawned { .. }, mut fds) = manager.recv() else { panic!() };
        pidfds.push(fds.pop().unwrap());
    }
    rig.signal(signal::number("STOP").unwrap());
    for pidfd in &pidfds {
        pidfd::send_signal(pidfd.as_fd(), signal::KILL).unwrap();
        assert!(fd::wait_readable(pidfd.as_fd(), rig::PATIENCE).unwrap());
    }
    rig.signal(signal::CONT);
    let mut ended: Vec<u64> = (0..500)
        .map(|_| match manager.report() {
            Report::Exited { spawn, exit: Exit::Signal { signal: signal::KILL, .. }, .. } => spawn.0,
            other => panic!("{other:?}"),
        })
        .collect();
    ended.sort_unstable();
    assert_eq!(ended, (1..=500).collect::<Vec<_>>());
    manager.exit(0);
    rig.wait();
}

/// Faults 40 and 43.
#[test]
fn a_new_manager_is_given_everything_and_told_again_what_was_not_acknowledged() {
    let mut rig = Rig::start();
    let (manager, _) = rig.live();
    let (out, out_in) = fd::pipe().unwrap();
    let (lock, _unused) = fd::pipe().unwrap();
    manager.send(&Request::Hold { name: "lock".into() }, &[lock.as_fd()]);
    let mut spec = shell("echo up; read line; echo unreached");
    spec.tag = b"web.1".to_vec();
    spec.fds = vec![FdRole::Child(1), FdRole::Stdout, FdRole::Child(0)];
    let (stdin, stdin_in) = fd::pipe().unwrap();
    manager.spawn(1, spec, &[out_in.as_fd(), out.as_fd(), stdin.as_fd()]);
    manager.spawn(2, shell("exit 3"), &[]);
    drop((out_in, stdin));
    assert!(fd::wait_readable(out.as_fd(), rig::PATIENCE).unwrap());
    drop(out);
    manager.send(&Request::Annotate { spawn: SpawnId(1), note: b"note".to_vec() }, &[]);
    let (mut pid, mut last) = (0, 0);
    while last == 0 || pid == 0 {
        match manager.report() {
            Report::Spawned { spawn: SpawnId(1), pid: of, .. } => pid = of,
            Report::Exited { seq, .. } => last = seq,
            _ => {}
        }
    }
    manager.send(&Request::Ack { through: 1 }, &[]);
    manager.send(&Request::Signal { spawn: SpawnId(1), signal: signal::USR2 }, &[]);
    // USR2 ends it, and the report of that is there before the manager is gone.
    assert!(matches!(manager.report(), Report::Exited { spawn: SpawnId(1), .. }));
    manager.kill();

    let (manager, mut inventory) = rig.live();
    let Report::Welcome { manager_starts: 2, last_death, last_spawn: SpawnId(2), .. } = inventory.welcome else {
        panic!()
    };
    assert_eq!(last_death, Some(Exit::Signal { signal: signal::KILL, core: false }));
    assert_eq!(inventory.held[0].0, "lock");
    let (web, mut fds) = inventory.instances.remove(0);
    assert_eq!((web.tag, web.note, web.held), (b"web.1".to_vec(), b"note".to_vec(), vec![FdRole::Stdout]));
    assert!(matches!(web.life, Life::Exited { pid: same, .. } if same == pid));
    assert_eq!(web.last_signal.unwrap().signal, signal::USR2);
    assert_eq!(read_all(fds.pop().unwrap()), "up\n");
    // Three of the four reports were not acknowledged.
    for seq in 2..=4 {
        let again = manager.report();
        let number = match again {
            Report::Spawned { seq, .. } | Report::Exited { seq, .. } => seq,
            other => panic!("{other:?}"),
        };
        assert_eq!(number, seq);
    }
    // A repeated spawn is answered and starts nothing.
    manager.spawn(2, shell("exit 99"), &[]);
    assert!(matches!(manager.report(), Report::Spawned { seq: 5, spawn: SpawnId(2), .. }));
    assert!(matches!(manager.report(), Report::Exited { seq: 6, exit: Exit::Code(3), .. }));
    manager.send(&Request::Ack { through: 6 }, &[]);
    manager.send(&Request::Forget { spawn: SpawnId(1) }, &[]);
    manager.send(&Request::Forget { spawn: SpawnId(2) }, &[]);
    manager.kill();
    let (manager, inventory) = rig.live();
    assert!(inventory.instances.is_empty());
    drop(stdin_in);
    manager.exit(0);
    rig.wait();
}

/// The listener of a filter outlives every manager, and so does a call that one of them had received and not answered.
#[test]
fn a_bind_that_a_dead_manager_had_in_its_hands_is_answered_by_the_next_one() {
    let mut rig = Rig::start();
    let (manager, _) = rig.live();
    let descriptors = rig.open_fds();
    let slot = listen::tcp("127.0.0.1:0".parse().unwrap(), false, Group::Shared, 4096).unwrap();
    let port = listen::address(slot.as_fd()).unwrap().port();
    let (ledger, memfd) = Ledger::create().unwrap();
    manager.send(&Request::Hold { name: "intercepted".into() }, &[memfd.as_fd()]);
    manager.send(&Request::Hold { name: format!("listen:web:tcp:127.0.0.1:{port}:0") }, &[slot.as_fd()]);
    drop((memfd, slot));
    let (ours, childs) = intercept::channel().unwrap();
    let (out, out_in) = fd::pipe().unwrap();
    let script = format!(
        "import os, socket; s = socket.socket(); s.bind(('127.0.0.1', {port})); s.listen(1); \
         print(s.accept()[0].recv(5), len(os.listdir('/proc/self/fd')))"
    );
    let python = "/usr/bin/python3";
    let mut spec = program_spec(python);
    spec.argv = vec![python.into(), b"-c".to_vec(), script.into()];
    spec.fds = vec![FdRole::Filter, FdRole::Child(1), FdRole::Intercept];
    manager.spawn(1, spec, &[childs.as_fd(), out_in.as_fd(), ours.as_fd()]);
    drop((childs, out_in));
    let listener = |ours: BorrowedFd<'_>| {
        assert!(fd::wait_readable(ours, rig::PATIENCE).unwrap());
        let Handed::Listener(listener) = intercept::peek(ours).unwrap() else { panic!() };
        listener
    };
    let first = listener(ours.as_fd());
    drop(ours);
    assert!(fd::wait_readable(first.as_fd(), rig::PATIENCE).unwrap());
    let call = ledger.receive(first.as_fd(), 1).unwrap().unwrap();
    manager.kill();
    drop((first, ledger));

    let (manager, mut inventory) = rig.live();
    let mut held: HashMap<String, OwnedFd> = inventory.held.drain(..).collect();
    let slot = held.remove(&format!("listen:web:tcp:127.0.0.1:{port}:0")).unwrap();
    let ledger = Ledger::open(held.remove("intercepted").unwrap()).unwrap();
    let (web, mut fds) = inventory.instances.remove(0);
    assert_eq!(web.held, [FdRole::Intercept]);
    let ours = fds.pop().unwrap();
    let second = listener(ours.as_fd());
    assert_eq!(ledger.receive(second.as_fd(), 1).unwrap(), None);
    assert_eq!(ledger.unanswered(), [call]);
    for call in ledger.unanswered() {
        let What::Bind { fd, .. } = call.what else { panic!() };
        let sock = intercept::socket_of(second.as_fd(), &call, fd).unwrap();
        let bound = intercept::address_of(second.as_fd(), &call).unwrap();
        assert_eq!(bound, Bound::Inet(listen::address(slot.as_fd()).unwrap()));
        intercept::replace(second.as_fd(), &call, fd, slot.as_fd(), sock.cloexec).unwrap();
        intercept::answer(second.as_fd(), &call, Answer::Done).unwrap();
        ledger.done(&call);
    }
    assert!(fd::wait_readable(second.as_fd(), rig::PATIENCE).unwrap());
    let call = ledger.receive(second.as_fd(), 1).unwrap().unwrap();
    assert!(matches!(call.what, What::Listen { .. }));
    intercept::answer(second.as_fd(), &call, Answer::Done).unwrap();
    ledger.done(&call);
    let mut client = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
    std::io::Write::write_all(&mut client, b"hello").unwrap();
    // 0, 1, 2, the slot and the directory.
    assert_eq!(read_all(out), "b'hello' 5\n");
    drop((ours, second, held));

    // The ledger and the slot stay; what belonged to the spawn goes with it.
    let mut last = 0;
    while last == 0 {
        if let Report::Exited { seq, exit, .. } = manager.report() {
            assert_eq!(exit, Exit::Code(0));
            last = seq;
        }
    }
    manager.send(&Request::Ack { through: last }, &[]);
    manager.send(&Request::Forget { spawn: SpawnId(1) }, &[]);
    manager.spawn(2, shell("exit 0"), &[]);
    while !matches!(manager.report(), Report::Exited { spawn: SpawnId(2), .. }) {}
    rig.comes_to_open_fds(descriptors + 2..=descriptors + 2, "with the ledger and the slot");
    manager.exit(0);
    rig.wait();
}

#[test]
fn where_the_filter_is_refused_the_start_goes_on_and_the_reason_is_kept() {
    // The keeper itself runs under a filter with a listener, so that no child can have one of its own.
    let (ours, childs) = intercept::channel().unwrap();
    let mut rig = Rig::start();
    let (manager, _) = rig.live();
    let mut outer = program_spec(program());
    let path = std::env::temp_dir().join(format!("svd-rig-inner-{}", std::process::id()));
    let _none = std::fs::remove_file(&path);
    let inner = std::os::unix::net::UnixListener::bind(&path).unwrap();
    outer.argv.push(path.to_str().unwrap().into());
    outer.fds = vec![FdRole::Intercept, FdRole::Filter];
    manager.spawn(1, outer, &[ours.as_fd(), childs.as_fd()]);
    drop(childs);
    assert!(fd::wait_readable(inner.as_fd(), rig::PATIENCE).unwrap());
    let within = Manager::accept(&inner);
    within.hello();
    within.send(&Request::Ready, &[]);
    let (ours, childs) = intercept::channel().unwrap();
    let mut spec = shell("exit 4");
    spec.fds = vec![FdRole::Intercept, FdRole::Filter];
    within.spawn(1, spec, &[ours.as_fd(), childs.as_fd()]);
    assert!(matches!(within.report(), Report::Spawned { .. }));
    assert!(matches!(within.report(), Report::Exited { exit: Exit::Code(4), .. }));
    let Handed::Refused(error) = intercept::peek(ours.as_fd()).unwrap() else { panic!() };
    assert_eq!(error.raw_os_error(), Some(16), "EBUSY");
    within.exit(0);
    while !matches!(manager.report(), Report::Exited { exit: Exit::Code(0), .. }) {}
    std::fs::remove_file(path).unwrap();
    manager.exit(0);
    rig.wait();
}

/// Fault 65.
#[test]
fn a_manager_that_talks_nonsense_is_replaced_and_the_processes_stay() {
    let mut rig = Rig::start();
    let (manager, _) = rig.live();
    manager.spawn(1, shell("exec sleep 1000"), &[]);
    let Report::Spawned { pid, .. } = manager.report() else { panic!() };
    manager.send_bytes(b"nonsense", &[]);
    let (manager, inventory) = rig.live();
    assert!(matches!(inventory.instances[0].0.life, Life::Running { pid: same, .. } if same == pid));
    // Out of its phase.
    manager.send(&Request::Ready, &[]);
    let (manager, _) = rig.live();
    // With a descriptor too few.
    manager.send(&Request::Hold { name: "x".into() }, &[]);
    let (manager, inventory) = rig.live();
    assert!(matches!(inventory.instances[0].0.life, Life::Running { pid: same, .. } if same == pid));
    manager.exit(0);
    assert_eq!(rig.wait().code(), Some(0));
    assert!(tree::read_proc(pid).is_none());
}

/// Fault 60.
#[test]
fn notify_messages_are_kept_as_a_level_and_malformed_ones_do_no_harm() {
    let mut rig = Rig::start();
    let (manager, _) = rig.live();
    let path = std::env::temp_dir().join(format!("svd-notify-{}", std::process::id()));
    let _none = std::fs::remove_file(&path);
    let socket = svd_sys::dgram::unix_dgram_bind(&path).unwrap();
    // A service that says what it is told to say; strangers are not heard.
    let says = format!(
        "exec python3 -c 'import socket, sys\ns = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)\n\
         for line in sys.stdin: s.sendto(bytes.fromhex(line), \"{}\")'",
        path.display()
    );
    let (script, pen) = svd_sys::fd::pipe().unwrap();
    let say = |message: &[u8]| {
        let hex: String = message.iter().map(|byte| format!("{byte:02x}")).collect();
        svd_sys::fd::write(pen.as_fd(), format!("{hex}\n").as_bytes()).unwrap();
    };
    let mut spec = shell(&says);
    spec.fds = vec![FdRole::Notify, FdRole::Child(0)];
    manager.spawn(1, spec, &[socket.as_fd(), script.as_fd()]);
    assert!(matches!(manager.report(), Report::Spawned { .. }));
    let stranger = UnixDatagram::unbound().unwrap();
    stranger.send_to(b"STATUS=spoofed\nREADY=1", &path).unwrap();
    say(b"");
    say(&[b'x'; 10_000]);
    say(b"A=\xff");
    say(b"READY=1\nSTATUS=serving\n");
    let mut state = svd_wire::NotifyState::default();
    while state.ready.is_none() {
        let Report::Notified { spawn: SpawnId(1), state: now } = manager.report() else { panic!() };
        state = now;
    }
    assert_eq!((state.status.as_str(), state.dropped), ("serving", 4));
    manager.kill();
    // While no manager is live, the queue of ten would be full soon.
    let manager = rig.manager();
    for number in 0..100 {
        say(format!("STATUS={number}").as_bytes());
    }
    let inventory = manager.hello();
    manager.send(&Request::Ready, &[]);
    let said = |state: &svd_wire::NotifyState| state.status.parse::<u32>().unwrap_or(0);
    let mut last = said(&inventory.instances[0].0.notify);
    while last != 99 {
        if let Report::Notified { state, .. } = manager.report() {
            last = said(&state);
        }
    }
    std::fs::remove_file(path).unwrap();
    manager.exit(0);
    rig.wait();
}

#[test]
fn signals_to_the_keeper_are_told_and_none_but_kill_ends_it() {
    let mut rig = Rig::start();
    let (manager, _) = rig.live();
    for number in 1..=signal::MAX {
        // STOP cannot be caught by anybody and is not sent.
        if ![signal::KILL, signal::number("STOP").unwrap()].contains(&number) {
            rig.signal(number);
        }
    }
    let mut told = Vec::new();
    while told.len() < 8 {
        if let Report::SignalReceived { signal, .. } = manager.report() {
            told.push(signal);
        }
    }
    told.sort_unstable();
    // PWR is told as TERM.
    assert_eq!(told, [1, 2, 3, 10, 12, 15, 15, signal::rtmin() + 3]);
    manager.exit(0);
    assert_eq!(rig.wait().code(), Some(0));
}

#[test]
fn a_first_manager_that_cannot_begin_gives_its_exit_code() {
    let mut rig = Rig::start_by(|_| {
        let mut command = Command::new(program());
        command.arg("exit-2");
        command
    });
    assert_eq!(rig.wait().code(), Some(2));
}

/// Faults 2, 3 and 4.
#[test]
fn the_end_reaches_those_who_left_their_session_and_leaves_no_zombie() {
    let mut rig = Rig::start();
    let (manager, _) = rig.live();
    let (out, out_in) = fd::pipe().unwrap();
    let mut spec = shell(
        "setsid sh -c 'sleep 1000 & sleep 1000 & echo $!; wait' & for i in $(seq 300); do (/bin/true &) ; done; wait",
    );
    spec.fds = vec![FdRole::Child(1)];
    manager.spawn(1, spec, &[out_in.as_fd()]);
    drop(out_in);
    assert!(fd::wait_readable(out.as_fd(), rig::PATIENCE).unwrap());
    manager.exit(3);
    assert_eq!(rig.wait().code(), Some(3));
    // Its pipe has no writer left: everybody who had it is dead.
    let pid: i32 = read_all(out).trim().parse().unwrap();
    assert!(tree::read_proc(pid).is_none());
}

#[test]
fn what_is_asked_just_before_the_manager_dies_still_counts() {
    let mut rig = Rig::start();
    let (manager, _) = rig.live();
    manager.exit(9);
    manager.kill();
    assert_eq!(rig.wait().code(), Some(9));
}

/// A socket that is closed before all was read resets the other end, which is told so before what it has not read itself.
#[test]
fn what_is_asked_by_a_manager_that_dies_without_reading_what_it_was_told_still_counts() {
    let mut rig = Rig::start();
    let (manager, _) = rig.live();
    manager.spawn(1, program_spec("/no/such"), &[]);
    manager.wait_for_a_report();
    rig.signal(signal::number("STOP").unwrap());
    while tree::read_proc(rig.pid()).unwrap().state != 'T' {
        std::thread::yield_now();
    }
    manager.exit(9);
    manager.kill();
    rig.signal(signal::CONT);
    assert_eq!(rig.wait().code(), Some(9));
}

/// Fault 20.
#[test]
fn a_keeper_with_few_descriptors_refuses_starts_and_goes_on() {
    let mut rig = Rig::start_by(|path| {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "ulimit -n 64; exec \"$0\" \"$1\"", program()]).arg(path);
        command
    });
    let (manager, _) = rig.live();
    let (out, out_in) = fd::pipe().unwrap();
    let mut refused = 0;
    for id in 1..=100 {
        let mut spec = shell("exec sleep 1000");
        spec.fds = vec![FdRole::Child(1), FdRole::Stdout];
        manager.spawn(id, spec, &[out_in.as_fd(), out.as_fd()]);
        match manager.report() {
            Report::Spawned { .. } => {}
            Report::SpawnFailed { error, .. } => {
                assert_eq!(error, SpawnError { stage: Stage::Fork, errno: 24 });
                refused += 1;
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(refused > 50 && refused < 95, "{refused}");
    manager.kill();
    let (manager, inventory) = rig.live();
    assert!(inventory.instances.len() + refused >= 100);
    manager.exit(0);
    rig.wait();
}

/// Prints what a thousand live processes cost. Ignored: it measures and proves nothing.
#[test]
#[ignore = "a measurement"]
fn memory_of_a_thousand_records() {
    let mut rig = Rig::start();
    let (manager, _) = rig.live();
    let memory = || {
        let text = std::fs::read_to_string(format!("/proc/{}/smaps_rollup", rig.pid())).unwrap();
        let of = |key: &str| text.lines().find(|line| line.starts_with(key)).unwrap().to_owned();
        format!("{} {}", of("Rss:"), of("Pss:"))
    };
    eprintln!("0 records: {}", memory());
    for id in 1..=1000 {
        let (out, out_in) = fd::pipe().unwrap();
        let mut spec = SpawnSpec { argv: vec![b"sleep".to_vec(), b"100".to_vec()], ..program_spec("/bin/sleep") };
        spec.tag = vec![b'x'; 100];
        spec.fds = vec![FdRole::Child(1), FdRole::Stdout];
        manager.spawn(id, spec, &[out_in.as_fd(), out.as_fd()]);
        assert!(matches!(manager.report(), Report::Spawned { .. }));
    }
    eprintln!("1000 records: {}", memory());
    manager.exit(0);
    rig.wait();
}

/// Fault 17, and the end by one signal to the whole namespace.
#[test]
fn as_pid_1_it_survives_every_signal_and_ends_its_namespace() {
    let unshare = ["-pf", "--mount-proc", "--kill-child"];
    if !Command::new("unshare").args(unshare).arg("true").status().is_ok_and(|status| status.success()) {
        eprintln!("SKIPPED: this machine permits no pid namespace");
        return;
    }
    let mut rig = Rig::start_by(|path| {
        let mut command = Command::new("unshare");
        command.args(unshare).arg(program()).arg(path);
        command
    });
    let (manager, inventory) = rig.live();
    assert!(matches!(inventory.welcome, Report::Welcome { keeper_pid: 1, .. }));
    let (out, out_in) = fd::pipe().unwrap();
    let all: Vec<String> = (1..=signal::MAX).map(|number| format!("kill -{number} 1;")).collect();
    let mut spec = shell(&format!("{} setsid sleep 1000 & echo sent; wait", all.concat()));
    spec.fds = vec![FdRole::Child(1)];
    manager.spawn(1, spec, &[out_in.as_fd()]);
    drop(out_in);
    assert!(fd::wait_readable(out.as_fd(), rig::PATIENCE).unwrap());
    manager.exit(4);
    assert_eq!(rig.wait().code(), Some(4));
    assert_eq!(read_all(out), "sent\n");
}
