//! `limits`, `capabilities` and what else a process may do less than svd: each value checked by itself, then combinations.

use std::path::{Component, Path, PathBuf};

use crate::field::{Field, Section};
use crate::plan::{ConfinePlan, LimitsPlan};
use crate::process::{Raw, number, size};
use crate::report::{At, Report};
use crate::resolve::Resolver;
use crate::values;

/// `limits`.
#[derive(Clone, Debug, Default)]
pub(crate) struct RawLimits {
    pub memory: Option<At<u64>>,
    pub memory_high: Option<At<u64>>,
    pub cpu: Option<At<u32>>,
    pub pids: Option<At<u32>>,
    pub io_weight: Option<At<u16>>,
}

impl RawLimits {
    /// Laid over a lower one, key by key.
    pub fn over(self, low: RawLimits) -> RawLimits {
        RawLimits {
            memory: self.memory.or(low.memory),
            memory_high: self.memory_high.or(low.memory_high),
            cpu: self.cpu.or(low.cpu),
            pids: self.pids.or(low.pids),
            io_weight: self.io_weight.or(low.io_weight),
        }
    }
}

/// What it may do less than svd.
#[derive(Clone, Debug, Default)]
pub(crate) struct RawConfine {
    pub capabilities: Option<u64>,
    pub no_new_privs: Option<At<bool>>,
    pub private_tmp: Option<At<bool>>,
    pub read_only: Option<Vec<At<PathBuf>>>,
    pub read_write: Option<Vec<At<PathBuf>>>,
}

impl RawConfine {
    /// Laid over a lower one, key by key.
    pub fn over(self, low: RawConfine) -> RawConfine {
        RawConfine {
            capabilities: self.capabilities.or(low.capabilities),
            no_new_privs: self.no_new_privs.or(low.no_new_privs),
            private_tmp: self.private_tmp.or(low.private_tmp),
            read_only: self.read_only.or(low.read_only),
            read_write: self.read_write.or(low.read_write),
        }
    }
}

/// Reads `limits`.
pub(crate) fn limits(field: &Field<'_>, report: &mut Report) -> RawLimits {
    let Some(section) = field.group() else {
        field.wrong(field.node, report);
        return RawLimits::default();
    };
    let mut bytes = |name: &str| section.get(name).and_then(|f| size(&f, 1 << 20, 1 << 50, report));
    let (memory, memory_high) = (bytes("memory"), bytes("memory_high"));
    RawLimits {
        memory,
        memory_high,
        cpu: section.get("cpu").and_then(|f| f.parsed(report, share)),
        pids: section.get("pids").and_then(|f| number(&f, report)),
        io_weight: section.get("io_weight").and_then(|f| number(&f, report)),
    }
}

/// `150%`.
fn share(text: &str) -> Option<u32> {
    let digits = text.strip_suffix('%').filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))?;
    digits.parse().ok().filter(|percent| (1..=100_000).contains(percent))
}

/// Reads the other keys of a process table.
pub(crate) fn read(section: &Section<'_>, report: &mut Report) -> RawConfine {
    RawConfine {
        capabilities: section.get("capabilities").and_then(|f| capabilities(&f, report)),
        no_new_privs: section.get("no_new_privs").and_then(|f| f.boolean(report)),
        private_tmp: section.get("private_tmp").and_then(|f| f.boolean(report)),
        read_only: section.get("read_only").and_then(|f| paths(&f, report)),
        read_write: section.get("read_write").and_then(|f| paths(&f, report)),
    }
}

fn capabilities(field: &Field<'_>, report: &mut Report) -> Option<u64> {
    let mut bits = 0;
    let names = field.texts(report)?;
    let mut fine = true;
    for name in names {
        let upper = name.value.to_ascii_uppercase();
        let short = upper.strip_prefix("CAP_").unwrap_or(&upper);
        match CAPABILITIES.iter().position(|known| *known == short) {
            Some(number) => bits |= 1 << number,
            None => {
                fine = false;
                let more = values::did_you_mean(short, CAPABILITIES.iter().copied());
                let text = name.value.escape_debug();
                report.problem(name.span, format!("\"{text}\" in {} is no capability{more}", field.title()));
            }
        }
    }
    fine.then_some(bits)
}

fn paths(field: &Field<'_>, report: &mut Report) -> Option<Vec<At<PathBuf>>> {
    let mut found = Vec::new();
    let texts = field.texts(report)?;
    let count = texts.len();
    for text in texts {
        match clean(&text.value) {
            Some(path) => found.push(At::new(path, text.span)),
            None => {
                let shown = text.value.escape_debug();
                report.problem(
                    text.span,
                    format!("\"{shown}\" in {} is not an absolute path without \"..\"", field.title()),
                );
            }
        }
    }
    (found.len() == count).then_some(found)
}

fn clean(text: &str) -> Option<PathBuf> {
    let path = Path::new(text);
    let plain = path.components().all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
    // Its components again, so that "/srv/" and "/srv" are one.
    (path.is_absolute() && plain).then(|| path.components().collect())
}

impl Resolver<'_> {
    /// What each instance may use.
    pub(crate) fn limits(&mut self, label: &str, raw: &Raw) -> LimitsPlan {
        let raw = &raw.limits;
        if let (Some(high), Some(memory)) = (&raw.memory_high, &raw.memory)
            && high.value > memory.value
        {
            let message = format!(
                "\"memory_high\" in [{label}.limits] is above memory: the kernel would kill before it slows down"
            );
            self.report.problem_with(high.span, message, "write one that is below memory, or leave one of them out");
        }
        LimitsPlan {
            memory: raw.memory.as_ref().map(|memory| memory.value),
            memory_high: raw.memory_high.as_ref().map(|high| high.value),
            cpu: raw.cpu.as_ref().map(|cpu| cpu.value),
            pids: raw.pids.as_ref().map(|pids| pids.value),
            io_weight: raw.io_weight.as_ref().map(|weight| weight.value),
        }
    }

    /// What it may do less than svd.
    pub(crate) fn confine(&mut self, label: &str, raw: &Raw) -> ConfinePlan {
        let raw = &raw.confine;
        let private_tmp = raw.private_tmp.as_ref().is_some_and(|private| private.value);
        let (fixed, free) =
            (raw.read_only.as_deref().unwrap_or_default(), raw.read_write.as_deref().unwrap_or_default());
        for path in free {
            let below = |fixed: &At<PathBuf>| path.value.starts_with(&fixed.value) && path.value != fixed.value;
            if !fixed.iter().any(below) {
                let message = format!(
                    "{} in \"read_write\" in [{label}] is below no path of read_only, so it can be written to anyway",
                    path.value.display()
                );
                self.report.problem_with(path.span, message, "leave it out, or name what is above it in read_only");
            }
        }
        for path in fixed.iter().chain(free).filter(|_| private_tmp) {
            if TEMPORARY.iter().any(|dir| path.value.starts_with(dir)) {
                let message = format!(
                    "{} in [{label}] does not exist for it: private_tmp gives it an empty one in its place",
                    path.value.display()
                );
                self.report.problem_with(path.span, message, "leave one of the two out");
            }
        }
        let sorted = |paths: &[At<PathBuf>]| {
            let mut paths: Vec<PathBuf> = paths.iter().map(|path| path.value.clone()).collect();
            paths.sort();
            paths.dedup();
            paths
        };
        ConfinePlan {
            capabilities: raw.capabilities,
            no_new_privs: raw.no_new_privs.as_ref().is_some_and(|no| no.value),
            private_tmp,
            read_only: sorted(fixed),
            read_write: sorted(free),
        }
    }
}

/// What `private_tmp` replaces.
pub const TEMPORARY: [&str; 2] = ["/tmp", "/var/tmp"];

/// Names of capabilities without `CAP_`, in the order of their numbers (capabilities(7)).
const CAPABILITIES: &[&str] = &[
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];
