//! A number for everything whose change needs a restart.
//!
//! Instances remember it across crashes and upgrades of svd, so it may not depend on a compiler, a library or the
//! order of a struct: what is hashed is written out here, every part with a tag and its length, by FNV-1a with 64 bits.

use crate::plan::{Handoff, ListenAddress, ListenerPlan, LogPlan, ProcessPlan, ReadyBy, Run, Traffic};

/// The fingerprint of a process. Two plans of a process with the same one can share running instances.
pub fn fingerprint(process: &ProcessPlan) -> u64 {
    let exec = &process.exec;
    let mut hash = Fnv(0xcbf2_9ce4_8422_2325);
    match &exec.run {
        Run::Words(words) => hash.list("words", words.iter().map(String::as_str)),
        Run::Literal(words) => hash.list("literal", words.iter().map(String::as_str)),
        Run::Shell(line) => hash.text("shell", line),
    }
    hash.bytes("cwd", exec.cwd.as_os_str().as_encoded_bytes());
    hash.option("user", exec.user.as_deref());
    hash.option("group", exec.group.as_deref());
    hash.option("umask", exec.umask.map(|v| v.to_string()).as_deref());
    hash.option("nice", exec.nice.map(|v| v.to_string()).as_deref());
    hash.option("oom_score_adj", exec.oom_score_adj.map(|v| v.to_string()).as_deref());
    hash.list("env", exec.env.iter().flat_map(|(name, value)| [name.as_str(), value.as_str()]));
    hash.list("keep_env", exec.keep_env.iter().map(String::as_str));
    let limits: Vec<String> = exec.rlimits.iter().map(|l| format!("{}={}:{}", l.resource, l.soft, l.hard)).collect();
    hash.list("rlimits", limits.iter().map(String::as_str));
    if process.port_listener().is_none() {
        hash.text("port", &exec.port.to_string());
    }
    hash.option("announce", announced(process).as_deref());
    // Nothing about listeners where there are none: those who had none before svd knew them keep their number.
    if !process.listen.is_empty() {
        hash.list("listen", process.listen.iter().map(listener).collect::<Vec<_>>().iter().map(String::as_str));
        hash.text("handoff", &handoff(&process.handoff));
    }
    // Nothing where there is none: those who had none before svd knew them keep their number.
    if let Some(every) = process.notify.watchdog {
        hash.text("watchdog", &every.as_nanos().to_string());
    }
    if process.notify.fd_store > 0 {
        hash.text("fd_store", &process.notify.fd_store.to_string());
    }
    hash.text("logs", if process.logs == LogPlan::Null { "null" } else { "segments" });
    hash.0
}

/// What an instance is told of how to announce that it is ready, at its start.
pub(crate) fn announced(process: &ProcessPlan) -> Option<String> {
    match process.ready.by {
        ReadyBy::Notify => Some("notify".to_owned()),
        ReadyBy::Fd(fd) => Some(format!("fd {fd}")),
        ReadyBy::Started
        | ReadyBy::Ended
        | ReadyBy::Listening
        | ReadyBy::Log(_)
        | ReadyBy::Run { .. }
        | ReadyBy::Tcp { .. }
        | ReadyBy::Http { .. } => None,
    }
}

fn listener(listener: &ListenerPlan) -> String {
    let traffic = match listener.traffic {
        Traffic::Gated => "gated",
        Traffic::Shared => "shared",
    };
    let address = match &listener.address {
        ListenAddress::Tcp { address, v6only } => format!("tcp {address} {v6only}"),
        ListenAddress::Udp { address, v6only } => format!("udp {address} {v6only}"),
        ListenAddress::Unix { path, mode, user, group } => {
            let of = |account: &Option<String>| account.as_deref().map_or("-".to_owned(), |name| format!("={name}"));
            // Escaped, so that bytes that are no text tell paths apart, too.
            format!("unix {} {mode:o} {} {}", path.as_os_str().as_encoded_bytes().escape_ascii(), of(user), of(group))
        }
    };
    format!("{} {traffic} {address}", listener.name)
}

fn handoff(handoff: &Handoff) -> String {
    match handoff {
        Handoff::Auto => "auto".to_owned(),
        Handoff::ListenFds => "listen-fds".to_owned(),
        Handoff::Intercept => "intercept".to_owned(),
        Handoff::Stdin => "stdin".to_owned(),
        Handoff::Env { name, template } => format!("env {name}={template}"),
        Handoff::None => "none".to_owned(),
    }
}

struct Fnv(u64);

impl Fnv {
    fn raw(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    fn bytes(&mut self, tag: &str, bytes: &[u8]) {
        self.raw(format!("{tag} {}:", bytes.len()).as_bytes());
        self.raw(bytes);
    }

    fn text(&mut self, tag: &str, text: &str) {
        self.bytes(tag, text.as_bytes());
    }

    fn option(&mut self, tag: &str, text: Option<&str>) {
        match text {
            Some(text) => self.text(tag, text),
            None => self.raw(format!("{tag} none;").as_bytes()),
        }
    }

    fn list<'a>(&mut self, tag: &str, items: impl Iterator<Item = &'a str>) {
        self.raw(format!("{tag} [").as_bytes());
        items.for_each(|item| self.text("", item));
        self.raw(b"]");
    }
}
