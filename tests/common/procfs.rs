//! What /proc says.

use std::collections::BTreeMap;
use std::fs;

/// A field of /proc/PID/status, such as `SigIgn`, without the space around it.
pub fn status_field(pid: i32, name: &str) -> String {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).expect("the process lives");
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.unwrap_or_else(|| panic!("no {name} in /proc/{pid}/status")).trim().to_owned()
}

/// The environment that a process was started with.
pub fn environ(pid: i32) -> BTreeMap<String, String> {
    let bytes = fs::read(format!("/proc/{pid}/environ")).expect("the process lives");
    let text = String::from_utf8_lossy(&bytes).into_owned();
    text.split('\0').filter_map(|entry| entry.split_once('=')).map(|(k, v)| (k.into(), v.into())).collect()
}

/// The numbers of its open descriptors.
pub fn open_descriptors(pid: i32) -> Vec<u32> {
    let names = fs::read_dir(format!("/proc/{pid}/fd")).expect("the process lives");
    let mut numbers: Vec<u32> = names.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect();
    numbers.sort_unstable();
    numbers
}

/// Whether there is such a process and it has not ended.
pub fn is_alive(pid: i32) -> bool {
    svd_sys::tree::read_proc(pid).is_some_and(|proc| !proc.has_ended())
}

/// The children of a process that have not ended.
pub fn children(pid: i32) -> Vec<i32> {
    let all = svd_sys::tree::Scan::read().expect("/proc");
    all.procs().iter().filter(|proc| proc.ppid == pid && !proc.has_ended()).map(|proc| proc.pid).collect()
}

/// How many zombies there are below a process.
pub fn zombies_below(pid: i32) -> usize {
    let all = svd_sys::tree::Scan::read().expect("/proc");
    all.descendants(pid).iter().filter(|proc| proc.has_ended()).count()
}
