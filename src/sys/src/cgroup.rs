//! Control groups (cgroups(7)): where a process is, and the files of one. Nothing is decided here.

use crate::cvt::cvt;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{CStr, CString, OsString};
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// A tree deeper than this is not followed.
const DEEPEST: usize = 32;

/// The directories of the cgroups that a process is in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Places {
    /// In the unified hierarchy (version 2), where that is mounted.
    pub unified: Option<PathBuf>,
    /// In the hierarchies of version 1, by controller.
    pub v1: BTreeMap<String, PathBuf>,
}

/// Where a process is, as far as its cgroups can be reached through what is mounted here.
pub fn places(pid: i32) -> io::Result<Places> {
    let mounts = std::fs::read("/proc/self/mountinfo")?;
    let member = std::fs::read(format!("/proc/{pid}/cgroup"))?;
    Ok(join(&mounts, &member))
}

/// A line of mountinfo (proc_pid_mountinfo(5)) about a cgroup hierarchy.
struct Mounted {
    /// What part of the hierarchy is mounted.
    root: PathBuf,
    at: PathBuf,
    /// Controllers; `None`: version 2.
    controllers: Option<Vec<String>>,
}

fn join(mounts: &[u8], member: &[u8]) -> Places {
    let mounts: Vec<Mounted> = mounts.split(|byte| *byte == b'\n').filter_map(mounted).collect();
    let mut places = Places::default();
    for line in member.split(|byte| *byte == b'\n') {
        // hierarchy:controllers:path
        let mut parts = line.splitn(3, |byte| *byte == b':');
        let (Some(_), Some(controllers), Some(path)) = (parts.next(), parts.next(), parts.next()) else { continue };
        let path = PathBuf::from(OsString::from_vec(path.to_vec()));
        let inside = |mount: &Mounted| Some(mount.at.join(path.strip_prefix(&mount.root).ok()?));
        if controllers.is_empty() {
            places.unified = mounts.iter().filter(|mount| mount.controllers.is_none()).find_map(inside);
            continue;
        }
        for controller in controllers.split(|byte| *byte == b',') {
            let name = String::from_utf8_lossy(controller).into_owned();
            let has = |mount: &&Mounted| mount.controllers.as_ref().is_some_and(|all| all.contains(&name));
            if let Some(dir) = mounts.iter().filter(has).find_map(inside) {
                places.v1.insert(name, dir);
            }
        }
    }
    places
}

fn mounted(line: &[u8]) -> Option<Mounted> {
    // id parent major:minor root mount-point options optional… - type source super-options
    let mut words = line.split(|byte| *byte == b' ');
    let root = unescape(words.nth(3)?);
    let at = unescape(words.next()?);
    let mut words = words.skip_while(|word| *word != b"-").skip(1);
    let kind = words.next()?;
    let controllers = match kind {
        b"cgroup2" => None,
        b"cgroup" => {
            let options = String::from_utf8_lossy(words.nth(1)?).into_owned();
            Some(options.split(',').map(str::to_owned).collect())
        }
        _ => return None,
    };
    Some(Mounted { root, at, controllers })
}

/// Space, tab, newline and backslash stand as three octal digits there.
fn unescape(word: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(word.len());
    let mut rest = word;
    while let Some((first, after)) = rest.split_first() {
        let code = after.get(..3).and_then(|digits| std::str::from_utf8(digits).ok());
        match code.filter(|_| *first == b'\\').and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = after.get(3..).unwrap_or_default();
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    PathBuf::from(OsString::from_vec(bytes))
}

/// Whether cgroups can be made below this one: EROFS where it is mounted read-only, as in most containers, EACCES where it
/// is somebody else's.
pub fn may_write(dir: &Path) -> io::Result<()> {
    for path in [dir.to_owned(), dir.join("cgroup.procs")] {
        let path = c_path(&path)?;
        // SAFETY: a NUL-terminated string.
        cvt(unsafe { libc::faccessat(libc::AT_FDCWD, path.as_ptr(), libc::W_OK, libc::AT_EACCESS) })?;
    }
    Ok(())
}

/// Whether it is the root of the whole unified hierarchy, which may have processes beside controllers.
pub fn is_root(dir: &Path) -> bool {
    !dir.join("cgroup.type").exists()
}

/// Whether systemd has given it to whoever runs in it (`Delegate=yes`).
pub fn is_delegated(dir: &Path) -> bool {
    // The first is for everybody to see, since systemd 251; the second only for root.
    [c"user.delegate", c"trusted.delegate"].into_iter().any(|name| attribute(dir, name) == Some(b'1'))
}

fn attribute(dir: &Path, name: &CStr) -> Option<u8> {
    let path = c_path(dir).ok()?;
    let mut value = [0_u8; 8];
    // SAFETY: two NUL-terminated strings and a buffer with its length.
    let got = unsafe { libc::getxattr(path.as_ptr(), name.as_ptr(), value.as_mut_ptr().cast(), value.len()) };
    (got > 0).then(|| value.first().copied()).flatten()
}

/// The words of a file such as `cgroup.controllers`; none where it cannot be read.
pub fn words(dir: &Path, file: &str) -> BTreeSet<String> {
    let text = std::fs::read_to_string(dir.join(file)).unwrap_or_default();
    text.split_ascii_whitespace().map(str::to_owned).collect()
}

/// The number behind a key of a flat keyed file, such as `oom_kill` of `memory.events`.
pub fn count(dir: &Path, file: &str, key: &str) -> Option<u64> {
    let text = std::fs::read_to_string(dir.join(file)).ok()?;
    text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')?.trim().parse().ok())
}

/// The number that a file is.
pub fn number(dir: &Path, file: &str) -> Option<u64> {
    std::fs::read_to_string(dir.join(file)).ok()?.trim().parse().ok()
}

/// How much of the last ten seconds some of its tasks have waited for `what` (`cpu`, `memory`, `io`), percent (Pressure Stall
/// Information, Linux 4.20). `None` where the kernel does not measure it.
pub fn pressure(dir: &Path, what: &str) -> Option<f32> {
    let text = std::fs::read_to_string(dir.join(format!("{what}.pressure"))).ok()?;
    some_of_ten_seconds(&text)
}

fn some_of_ten_seconds(text: &str) -> Option<f32> {
    let some = text.lines().find_map(|line| line.strip_prefix("some "))?;
    some.split(' ').find_map(|field| field.strip_prefix("avg10=")?.parse().ok())
}

/// Writes a file of a cgroup, in one call as the kernel wants it.
pub fn set(dir: &Path, file: &str, value: &str) -> io::Result<()> {
    let mut file = std::fs::File::options().write(true).custom_flags(libc::O_CLOEXEC).open(dir.join(file))?;
    file.write_all(value.as_bytes())
}

/// Makes a cgroup; one that is there already is as good.
pub fn make(dir: &Path) -> io::Result<()> {
    match std::fs::create_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    }
}

/// Its `cgroup.procs`, for a child that enters by writing 0 to it.
pub fn entrance(dir: &Path) -> io::Result<OwnedFd> {
    Ok(std::fs::File::options().write(true).custom_flags(libc::O_CLOEXEC).open(dir.join("cgroup.procs"))?.into())
}

/// The processes of this cgroup itself.
pub fn members(dir: &Path) -> io::Result<Vec<i32>> {
    let text = std::fs::read_to_string(dir.join("cgroup.procs"))?;
    // 0 stands for one of another pid namespace.
    Ok(text.split_ascii_whitespace().filter_map(|pid| pid.parse().ok()).filter(|pid| *pid > 0).collect())
}

/// The processes of this cgroup and of all below it.
pub fn all_members(dir: &Path) -> io::Result<Vec<i32>> {
    let mut all = members(dir)?;
    for below in children(dir, DEEPEST) {
        // One that is removed meanwhile has nobody.
        all.extend(members(&below).unwrap_or_default());
    }
    Ok(all)
}

/// The cgroups below, each before those below it.
fn children(dir: &Path, depth: usize) -> Vec<PathBuf> {
    let Some(depth) = depth.checked_sub(1) else { return Vec::new() };
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            let path = entry.path();
            found.push(path.clone());
            found.extend(children(&path, depth));
        }
    }
    found
}

/// Whether anybody lives in it or below; `None` where the hierarchy does not tell (version 1).
pub fn is_populated(dir: &Path) -> Option<bool> {
    count(dir, "cgroup.events", "populated").map(|number| number != 0)
}

/// Sends KILL to all in it and below at once, whoever forks meanwhile included (Linux 5.14; ENOENT before).
pub fn kill(dir: &Path) -> io::Result<()> {
    set(dir, "cgroup.kill", "1")
}

/// Removes it with all below it. EBUSY where somebody is left. One that is gone is as good.
pub fn remove(dir: &Path) -> io::Result<()> {
    let below = children(dir, DEEPEST);
    for path in below.iter().rev().map(PathBuf::as_path).chain([dir]) {
        match std::fs::remove_dir(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
    }
    Ok(())
}

fn c_path(path: &Path) -> io::Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(|_| io::ErrorKind::InvalidInput.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(mounts: &str, member: &str, unified: Option<&str>, v1: &[(&str, &str)]) {
        let places = join(mounts.as_bytes(), member.as_bytes());
        let v1 = v1.iter().map(|(name, dir)| ((*name).to_owned(), PathBuf::from(dir))).collect();
        assert_eq!(places, Places { unified: unified.map(PathBuf::from), v1 });
    }

    #[test]
    fn of_pressure_the_last_ten_seconds_of_some_are_read() {
        let text =
            "some avg10=12.50 avg60=3.00 avg300=0.10 total=123\nfull avg10=9.00 avg60=1.00 avg300=0.00 total=45\n";
        assert_eq!(some_of_ten_seconds(text), Some(12.5));
        assert_eq!(some_of_ten_seconds("full avg10=9.00\n"), None);
    }

    #[test]
    fn a_process_is_found_in_the_unified_hierarchy_from_inside_a_namespace_or_from_outside() {
        let host = "29 22 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";
        check(host, "0::/system.slice/shop.service\n", Some("/sys/fs/cgroup/system.slice/shop.service"), &[]);
        let container = "700 22 0:26 /docker/abc /sys/fs/cgroup ro - cgroup2 cgroup rw\n";
        check(container, "0::/docker/abc/x\n", Some("/sys/fs/cgroup/x"), &[]);
        // somewhere that is not mounted here
        check(container, "0::/elsewhere\n", None, &[]);
        check("", "0::/\n", None, &[]);
    }

    #[test]
    fn controllers_of_version_1_are_found_each_in_its_hierarchy_beside_the_unified_one() {
        let mounts = "30 22 0:20 / /sys/fs/cgroup ro - tmpfs tmpfs ro\n\
                      31 30 0:21 / /sys/fs/cgroup/cpu,cpuacct rw shared:9 - cgroup cgroup rw,cpu,cpuacct\n\
                      32 30 0:22 /box /sys/fs/cgroup/my\\040memory rw - cgroup cgroup rw,memory\n\
                      33 30 0:23 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
        check(
            mounts,
            "9:name=systemd:/\n4:memory:/box/in\n1:cpu,cpuacct:/a\n0::/\n",
            Some("/sys/fs/cgroup/unified/"),
            &[
                ("cpu", "/sys/fs/cgroup/cpu,cpuacct/a"),
                ("cpuacct", "/sys/fs/cgroup/cpu,cpuacct/a"),
                ("memory", "/sys/fs/cgroup/my memory/in"),
            ],
        );
    }

    /// A place of our own in a hierarchy that tells whether somebody lives there; `None` where there is none.
    fn scratch(name: &str) -> Option<PathBuf> {
        let dir = places(crate::process::pid()).ok()?.unified?;
        may_write(&dir).ok()?;
        let dir = dir.join(format!("svd-test-{}-{name}", crate::process::pid()));
        make(&dir).ok().map(|()| dir)
    }

    #[test]
    fn a_child_enters_its_cgroup_and_all_of_it_are_killed_and_removed_at_once() {
        use crate::spawn::{Child, Others, Program, Session, start};
        use std::os::fd::AsFd;
        let Some(dir) = scratch("kill") else {
            eprintln!("SKIPPED a_child_enters_its_cgroup: no unified hierarchy can be written to");
            return;
        };
        // given: a child that has made another one, which has left its session
        let entrance = entrance(&dir).unwrap();
        let null = crate::fd::open_null().unwrap();
        let (ready, tell) = crate::fd::pipe().unwrap();
        let argv = [c"sh".to_owned(), c"-c".to_owned(), c"setsid sleep 1000 & echo >&1; exec sleep 1000".to_owned()];
        let env = [c"PATH=/usr/bin:/bin".to_owned()];
        let started = start(&Child {
            program: Program::Path(c"/bin/sh"),
            argv: &argv,
            env: &env,
            cwd: None,
            umask: None,
            nice: None,
            oom_score_adj: None,
            identity: None,
            limits: &[],
            fds: &[(tell.as_fd(), 1)],
            others: Others::Close,
            null: null.as_fd(),
            session: Session::Own,
            die_with: None,
            filter: None,
            cgroups: &[entrance.as_fd()],
            confine: Default::default(),
        })
        .unwrap();
        assert!(crate::fd::wait_readable(ready.as_fd(), std::time::Duration::from_secs(20)).unwrap());
        let inside = all_members(&dir).unwrap();
        assert!(inside.contains(&started.pid) && inside.len() == 2, "{inside:?}");
        assert_eq!(is_populated(&dir), Some(true));
        assert_eq!(remove(&dir).unwrap_err().raw_os_error(), Some(libc::EBUSY));
        // when
        let pidfds: Vec<OwnedFd> = inside.iter().map(|pid| crate::pidfd::open(*pid).unwrap()).collect();
        kill(&dir).unwrap();
        // then
        for pidfd in pidfds {
            assert!(crate::fd::wait_readable(pidfd.as_fd(), std::time::Duration::from_secs(20)).unwrap());
        }
        assert_eq!(is_populated(&dir), Some(false));
        crate::wait::reap(started.pid).unwrap();
        remove(&dir).unwrap();
        assert!(!dir.exists());
    }
}
