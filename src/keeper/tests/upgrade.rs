//! A real keeper that becomes another program, and managers that are run from another one; the test plays the managers.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

mod rig;

use rig::{Inventory, Manager, Rig, program, program_spec, read_all, shell};
use std::collections::HashMap;
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use svd_sys::{fd, pidfd, signal, spawn, tree};
use svd_wire::{Exit, FdRole, Report, Request, SpawnId, SpawnSpec, UpgradeOutcome};

/// A copy of the program under a name of its own, gone with the test.
struct Copy {
    folder: PathBuf,
    path: PathBuf,
}

impl Copy {
    fn named(name: &str) -> Copy {
        let folder = std::env::temp_dir().join(format!(
            "svd-upgrade-{}-{name}-{:?}",
            std::process::id(),
            std::thread::current().id()
        ));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join(name);
        // By a process of its own: what this one has open for writing, a keeper that another test forks has too for a moment,
        // and then the file is busy when it is to be run.
        assert!(std::process::Command::new("cp").arg(program()).arg(&path).status().unwrap().success());
        Copy { folder, path }
    }

    fn open(&self) -> OwnedFd {
        File::open(&self.path).unwrap().into()
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        let _left = std::fs::remove_dir_all(&self.folder);
    }
}

/// Has managers run from this program; the new one is live, and was told again what is not acknowledged.
fn switch(rig: &Rig, manager: Manager, to: &Copy) -> (Manager, Inventory, Vec<Report>) {
    manager.send(&Request::UpgradeManager { note: b"m".to_vec() }, &[to.open().as_fd()]);
    drop(manager);
    let (manager, inventory) = rig.live();
    assert_eq!(std::fs::read_link(format!("/proc/{}/exe", manager.pid)).unwrap(), to.path);
    let mut again = Vec::new();
    loop {
        match manager.report() {
            Report::Upgraded { note, outcome, .. } => {
                assert_eq!((note, outcome), (b"m".to_vec(), UpgradeOutcome::ManagerRuns));
                break;
            }
            report => again.push(report),
        }
    }
    manager.send(&Request::UpgradeSeen, &[]);
    (manager, inventory, again)
}

/// How an upgrade has ended; other reports before that are an error.
fn outcome(manager: &Manager) -> (Vec<u8>, UpgradeOutcome) {
    match manager.report() {
        Report::Upgraded { note, outcome, .. } => (note, outcome),
        other => panic!("no outcome of an upgrade: {other:?}"),
    }
}

fn exe(rig: &Rig) -> PathBuf {
    std::fs::read_link(format!("/proc/{}/exe", rig.pid())).unwrap()
}

/// What a descriptor is, whatever its number: the same in every process.
fn identity(fd: &OwnedFd) -> String {
    std::fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd())).unwrap().display().to_string()
}

/// Fault 48.
#[test]
fn a_keeper_becomes_another_program_and_keeps_children_descriptors_reports_and_its_pid() {
    let mut rig = Rig::start();
    let (manager, _) = rig.live();
    let to = Copy::named("new");
    // Given a process with output, a notify socket and a note, one that has ended without an acknowledgement, and a held name.
    let (out, out_in) = fd::pipe().unwrap();
    let socket = rig_path("notify");
    let notify = UnixDatagram::bind(&socket).unwrap();
    notify.set_nonblocking(true).unwrap();
    let spec = SpawnSpec {
        fds: vec![FdRole::Child(1), FdRole::Stdout, FdRole::Notify],
        tag: b"tag".to_vec(),
        ..shell("echo hello; exec sleep 600")
    };
    let inode = identity(&out);
    manager.spawn(1, spec, &[out_in.as_fd(), out.as_fd(), notify.as_fd()]);
    drop((out, out_in, notify));
    let Report::Spawned { seq: 1, pid, .. } = manager.report() else { panic!() };
    manager.send(&Request::Annotate { spawn: SpawnId(1), note: b"note".to_vec() }, &[]);
    manager.send(&Request::Ack { through: 1 }, &[]);
    manager.spawn(2, shell("exit 3"), &[]);
    let Report::Spawned { seq: 2, .. } = manager.report() else { panic!() };
    let Report::Exited { seq: 3, spawn: SpawnId(2), .. } = manager.report() else { panic!() };
    let held = fd::memfd("held", b"contents").unwrap();
    manager.send(&Request::Hold { name: "held".into() }, &[held.as_fd()]);
    let (manager, before, again) = switch(&rig, manager, &to);
    assert!(matches!(again[..], [Report::Spawned { seq: 2, .. }, Report::Exited { seq: 3, .. }]));
    let descriptors = rig.open_fds();
    let keeper = rig.pid();
    assert_eq!(exe(&rig), PathBuf::from(program()));

    // When it becomes the other program,
    manager.send(&Request::UpgradeKeeper { note: b"k".to_vec() }, &[]);
    assert_eq!(outcome(&manager), (b"k".to_vec(), UpgradeOutcome::KeeperRuns));
    manager.send(&Request::UpgradeSeen, &[]);

    // then it is the same process with the same children, and the manager is the same and goes on,
    assert_eq!((exe(&rig), rig.pid()), (to.path.clone(), keeper));
    assert_eq!(std::fs::read_to_string(format!("/proc/{keeper}/comm")).unwrap().trim(), "svd");
    assert_eq!(tree::read_proc(pid).unwrap().ppid, keeper);
    manager.spawn(3, shell("(exec sleep 600) & exit 4"), &[]);
    assert!(matches!(manager.report(), Report::Spawned { seq: 4, spawn: SpawnId(3), .. }));
    assert!(matches!(manager.report(), Report::Exited { seq: 5, exit: Exit::Code(4), .. }));
    let orphan = tree::descendants(keeper)
        .unwrap()
        .into_iter()
        .find(|proc| proc.ppid == keeper && proc.pid != pid && proc.pid != manager.pid);
    assert!(orphan.is_some(), "it adopts orphans as before");
    // what services say is heard,
    let client = UnixDatagram::unbound().unwrap();
    client.send_to(b"READY=1", &socket).unwrap();
    assert!(matches!(manager.report(), Report::Notified { spawn: SpawnId(1), .. }));
    // no descriptor was lost, made twice or left,
    manager.send(&Request::Ack { through: 5 }, &[]);
    for spawn in [2, 3] {
        manager.send(&Request::Forget { spawn: SpawnId(spawn) }, &[]);
    }
    manager.spawn(4, program_spec("/no/such"), &[]);
    let Report::SpawnFailed { seq, .. } = manager.report() else { panic!() };
    manager.send(&Request::Ack { through: seq }, &[]);
    rig.comes_to_open_fds(..=descriptors, "after the upgrade");
    // and the next manager is told the same as the one before.
    manager.kill();
    let (manager, after) = rig.live();
    let told = |inventory: &Inventory| {
        let (instance, fds) = inventory.instances.iter().find(|(instance, _)| instance.spawn == SpawnId(1)).unwrap();
        (
            instance.tag.clone(),
            instance.note.clone(),
            instance.life,
            instance.held.clone(),
            fds[1..].iter().map(identity).collect::<Vec<_>>(),
        )
    };
    assert_eq!(told(&after), told(&before));
    assert_eq!(told(&after).4[0], inode);
    assert_eq!(after.held[0].0, "held");
    assert_eq!(fd::read_memfd(after.held.into_iter().next().unwrap().1, 100).unwrap(), b"contents");
    let (Report::Welcome { boot: new, .. }, Report::Welcome { boot: old, .. }) = (&after.welcome, &before.welcome)
    else {
        panic!()
    };
    assert_eq!(new, old, "reports keep their names");
    let out = after.instances.into_iter().find(|(instance, _)| instance.spawn == SpawnId(1)).unwrap().1.remove(1);
    pidfd::send_signal(pidfd::open(pid).unwrap().as_fd(), signal::KILL).unwrap();
    assert_eq!(read_all(out), "hello\n");
    manager.exit(6);
    assert_eq!(rig.wait().code(), Some(6));
    std::fs::remove_file(socket).unwrap();
}

/// Fault 48. Five hundred of them.
#[test]
fn five_hundred_times_another_program_while_processes_come_and_go_and_no_end_is_missed() {
    const TIMES: u32 = 500;
    let mut rig = Rig::start();
    let (manager, _) = rig.live();
    // The first time it loses what it was started with and never needed.
    manager.send(&Request::UpgradeKeeper { note: Vec::new() }, &[]);
    assert_eq!(outcome(&manager).1, UpgradeOutcome::KeeperRuns);
    let descriptors = rig.open_fds();
    let (mut asked, mut ended, mut times) = (0_u64, 0, 0);
    let mut seen: HashMap<u64, u32> = HashMap::new();
    manager.send(&Request::UpgradeKeeper { note: Vec::new() }, &[]);
    while times < TIMES || ended < asked {
        while times < TIMES && asked - ended < 20 {
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
            Report::Upgraded { outcome, .. } => {
                assert_eq!(outcome, UpgradeOutcome::KeeperRuns);
                times += 1;
                manager.send(&Request::UpgradeSeen, &[]);
                if times < TIMES {
                    manager.send(&Request::UpgradeKeeper { note: Vec::new() }, &[]);
                }
            }
            other => panic!("{other:?}"),
        }
    }
    eprintln!("{TIMES} times, {ended} processes meanwhile");
    assert!(ended > u64::from(TIMES));
    manager.spawn(asked + 1, program_spec("/no/such"), &[]);
    assert!(matches!(manager.report(), Report::SpawnFailed { .. }));
    rig.comes_to_open_fds(descriptors..=descriptors, "after the last");
    manager.exit(0);
    assert_eq!(rig.wait().code(), Some(0));
}

/// Fault 47, for the keeper.
#[test]
fn a_program_that_cannot_take_over_is_refused_with_the_reason_and_the_keeper_goes_on() {
    let check = |name: &str, expected: &str| {
        let mut rig = Rig::start();
        let (manager, _) = rig.live();
        let to = Copy::named(name);
        let (manager, _, _) = switch(&rig, manager, &to);
        let descriptors = rig.open_fds();
        manager.send(&Request::UpgradeKeeper { note: b"k".to_vec() }, &[]);
        let (_, UpgradeOutcome::KeeperRefused { why }) = outcome(&manager) else { panic!("{name} was taken") };
        assert!(why.contains(expected), "{name}: {why}");
        assert_eq!(exe(&rig), PathBuf::from(program()));
        rig.comes_to_open_fds(descriptors..=descriptors, name);
        // Its descriptors are close-on-exec again: a child has none of them.
        let (out, out_in) = fd::pipe().unwrap();
        let spec = SpawnSpec { fds: vec![FdRole::Child(1)], ..shell("ls /proc/self/fd | wc -l") };
        manager.spawn(1, spec, &[out_in.as_fd()]);
        drop(out_in);
        assert_eq!(read_all(out).trim(), "4", "{name}");
        manager.exit(0);
        rig.wait();
    };
    check("cannot", "it cannot take over what this keeper knows (exit code 0)");
    check("dawdles", "it did not say in time");
    check("locks", "the program could not be executed: Permission denied");
}

/// Should the trial have been wrong, there is a way back: here to a program that prints what it is told.
/// Fault 47.
#[test]
fn a_program_that_cannot_read_the_state_after_all_gives_way_to_the_former_one_with_the_reason() {
    let state = fd::memfd("state", b"not the state of a keeper").unwrap();
    let former = OwnedFd::from(File::open("/usr/bin/env").unwrap());
    let (out, out_in) = fd::pipe().unwrap();
    let null = fd::open_null().unwrap();
    let path = std::ffi::CString::new(program()).unwrap();
    let (argv, env) = ([path.clone(), c"-0".to_owned()], [c"SVD_KEEPER_STATE=5:6".to_owned()]);
    let started = spawn::start(&spawn::Child {
        program: spawn::Program::Path(&path),
        argv: &argv,
        env: &env,
        cwd: None,
        umask: None,
        nice: None,
        oom_score_adj: None,
        identity: None,
        limits: &[],
        fds: &[(out_in.as_fd(), 1), (state.as_fd(), 5), (former.as_fd(), 6)],
        others: spawn::Others::Close,
        null: null.as_fd(),
        session: spawn::Session::Own,
        die_with: None,
        filter: None,
        cgroups: &[],
        confine: Default::default(),
    })
    .unwrap();
    drop(out_in);
    let text = read_all(out);
    assert!(text.contains("SVD_KEEPER_STATE=5\0") && text.contains("SVD_KEEPER_REFUSED=it could not read"), "{text:?}");
    svd_sys::wait::reap(started.pid).unwrap();
}

/// Fault 47, for the manager.
#[test]
fn a_manager_that_does_not_come_up_gives_way_to_the_former_one_and_the_reason_is_told() {
    let check = |name: &str, expected: &str| {
        let mut rig = Rig::start();
        let (manager, _) = rig.live();
        let to = Copy::named(name);
        if name == "locks" {
            std::fs::set_permissions(&to.path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        }
        manager.spawn(1, shell("exec sleep 600"), &[]);
        let Report::Spawned { seq, pid, .. } = manager.report() else { panic!() };
        manager.send(&Request::Ack { through: seq }, &[]);
        manager.send(&Request::UpgradeManager { note: b"m".to_vec() }, &[to.open().as_fd()]);
        drop(manager);
        let (manager, inventory) = rig.live();
        assert_eq!(std::fs::read_link(format!("/proc/{}/exe", manager.pid)).unwrap(), PathBuf::from(program()));
        let (note, UpgradeOutcome::ManagerRefused { why }) = outcome(&manager) else { panic!("{name} was taken") };
        assert_eq!(note, b"m");
        assert!(why.contains(expected), "{name}: {why}");
        assert_eq!((inventory.instances.len(), tree::read_proc(pid).is_some()), (1, true));
        manager.exit(0);
        rig.wait();
    };
    check("hangs", "it did not become ready in time");
    check("exits", "it ended (exit code 0) before it was ready to work");
    check("crashes", "it ended (signal ABRT) before it was ready to work");
    check("locks", "Permission denied");
}

#[test]
fn the_outcome_is_told_to_every_manager_until_one_has_stored_it() {
    let mut rig = Rig::start();
    let (manager, _) = rig.live();
    manager.send(&Request::UpgradeKeeper { note: b"k".to_vec() }, &[]);
    assert_eq!(outcome(&manager).1, UpgradeOutcome::KeeperRuns);
    manager.kill();
    let (manager, _) = rig.live();
    assert_eq!(outcome(&manager), (b"k".to_vec(), UpgradeOutcome::KeeperRuns));
    manager.send(&Request::UpgradeSeen, &[]);
    manager.spawn(1, program_spec("/no/such"), &[]);
    assert!(matches!(manager.report(), Report::SpawnFailed { .. }));
    manager.kill();
    let (manager, _) = rig.live();
    assert!(matches!(manager.report(), Report::SpawnFailed { .. }));
    manager.exit(0);
    rig.wait();
}

fn rig_path(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("svd-upgrade-{}-{name}", std::process::id()))
}
