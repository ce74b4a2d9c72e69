//! What the findings mean, in words: for each guarantee whether it holds, why, what follows, and the way out.

use serde::Serialize;
use svd_sys::handshakes::Way;

use super::bind::{Promise, Tried};
use super::confined::Limits;
use super::findings::{Findings, Gate};

/// As many connections as svd lets wait on a listener.
const BACKLOG: u32 = 4096;

/// The report.
#[derive(Clone, Debug, Serialize, PartialEq, Eq)]
pub struct Report {
    version: &'static str,
    kernel: String,
    uid: u32,
    user: Option<String>,
    checks: Vec<Check>,
}

/// One guarantee.
#[derive(Clone, Debug, Serialize, PartialEq, Eq)]
pub struct Check {
    /// A word for programs.
    name: &'static str,
    /// Whether it holds.
    answer: Answer,
    /// What was found.
    found: String,
    /// What follows from it, where it does not hold.
    follows: Option<String>,
    /// What can be done about it.
    way_out: Option<String>,
}

/// Whether a guarantee holds.
#[derive(Clone, Copy, Debug, Serialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Answer {
    /// It does.
    Yes,
    /// With restrictions.
    Partly,
    /// It does not.
    No,
    /// It could not be tried.
    Unknown,
}

impl Answer {
    fn word(self) -> &'static str {
        match self {
            Answer::Yes => "yes",
            Answer::Partly => "partly",
            Answer::No => "no",
            Answer::Unknown => "unknown",
        }
    }
}

/// A check that holds.
fn yes(name: &'static str, found: impl Into<String>) -> Check {
    Check { name, answer: Answer::Yes, found: found.into(), follows: None, way_out: None }
}

/// One that does not, or not whole.
fn lacks(name: &'static str, answer: Answer, found: String, follows: &str, way_out: &str) -> Check {
    let said = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    Check { name, answer, found, follows: said(follows), way_out: said(way_out) }
}

/// Judges.
pub fn report(found: &Findings) -> Report {
    let mut checks = vec![gate(&found.gate), interception("interception", &found.own)];
    checks.extend(found.other.as_ref().map(|other| interception("other_users", other)));
    checks.extend(forked(found));
    checks.push(limits(&found.limits));
    checks.push(mounts(found));
    checks.push(permitted(
        "capabilities",
        &found.capabilities,
        "capabilities can be taken away from processes",
        "capabilities cannot be taken away from processes",
        "a process that asks for `capabilities` is not started",
        "CAP_SETPCAP for svd: start it as root",
    ));
    checks.push(queue(found.somaxconn));
    checks.push(handshakes(&found.handshakes));
    checks.push(oom(&found.spared));
    Report {
        version: env!("CARGO_PKG_VERSION"),
        kernel: found.kernel.clone(),
        uid: found.uid,
        user: found.user.clone(),
        checks,
    }
}

fn gate(gate: &Gate) -> Check {
    let follows = "a listener is one queue for all generations, as with traffic = \"shared\": a new one gets users as soon as it \
                   accepts, before it is proven; no connection is refused all the same";
    let way_out = "Linux 4.6 or later, and no sandbox that has its own network stack";
    let no = |found: String| lacks("gate", Answer::No, found, follows, way_out);
    match gate {
        Gate::Works => {
            yes("gate", "new connections go where svd directs them: a new generation is proven before it gets a user")
        }
        Gate::Refused(why) => {
            no(format!("the kernel does not let new connections be directed (SO_ATTACH_REUSEPORT_CBPF): {why}"))
        }
        Gate::Ignored => no("the kernel takes directions for new connections and does not follow them".to_owned()),
        Gate::Unknown(why) => {
            lacks("gate", Answer::Unknown, format!("new connections could not be tried: {why}"), "", "")
        }
    }
}

fn interception(name: &'static str, tried: &Tried) -> Check {
    let whose = match name {
        "other_users" => "programs of other users",
        _ => "programs",
    };
    let follows = format!("{whose} that bind by themselves find their port taken by svd");
    let handoff = "have them take svd's sockets (handoff = \"listen-fds\", \"stdin\" or \"env:NAME\")";
    match tried {
        Tried::Works(Promise::None) => yes(name, format!("{whose} that bind by themselves are given svd's sockets")),
        Tried::Works(Promise::NoNewPrivs) => lacks(
            name,
            Answer::Partly,
            format!("{whose} that bind by themselves are given svd's sockets, at the price of no_new_privs"),
            "set-user-ID programs that they start (sudo, ping) gain no privileges",
            &format!("give svd CAP_SYS_ADMIN, or {handoff}"),
        ),
        Tried::Refused(why) => lacks(
            name,
            Answer::No,
            format!("bind calls cannot be intercepted: {why}"),
            &follows,
            &format!("a kernel and a container profile that permit seccomp filters with a listener, or {handoff}"),
        ),
        Tried::Unseen(why) if name == "other_users" => lacks(
            name,
            Answer::No,
            format!("svd may not look into processes of other users: {why}"),
            &follows,
            &format!("give svd CAP_SYS_PTRACE (docker run --cap-add SYS_PTRACE), or {handoff}"),
        ),
        Tried::Unseen(why) => lacks(
            name,
            Answer::No,
            format!("svd may not look into its processes: {why}"),
            &follows,
            &format!(
                "kernel.yama.ptrace_scope below 2, a container profile that permits process_vm_readv(2), or {handoff}"
            ),
        ),
        Tried::Unknown(why) => {
            lacks(name, Answer::Unknown, format!("interception of {whose} could not be tried: {why}"), "", "")
        }
    }
}

/// Where Yama permits a look only to ancestors, the child says that svd may look. Its own children say nothing of the kind.
fn forked(found: &Findings) -> Option<Check> {
    let works = matches!(found.own, Tried::Works(_));
    (works && !found.may_trace && found.yama == Some(1)).then(|| {
        lacks(
            "forked",
            Answer::Partly,
            "svd may look into the main process of an instance, not into those that it forks (kernel.yama.ptrace_scope is 1)"
                .to_owned(),
            "one that forks first and binds in its child finds its port taken by svd",
            "kernel.yama.ptrace_scope = 0, or CAP_SYS_PTRACE for svd",
        )
    })
}

fn limits(limits: &Limits) -> Check {
    let follows = "what `limits` asks for is not enforced; the processes run all the same, and status says so";
    let unit = "run svd in a systemd unit with Delegate=yes";
    match limits {
        Limits::All => yes("limits", "instances can have limits, each in a cgroup of its own"),
        Limits::V1 => lacks(
            "limits",
            Answer::Partly,
            "instances can have limits of memory, cpu and pids (version 1 of cgroups)".to_owned(),
            "memory_high and io_weight are not enforced; status says so",
            "a machine with version 2 of cgroups",
        ),
        Limits::NotFromHere(why) => lacks(
            "limits",
            Answer::Partly,
            format!("an svd that is started from here has no limits: {why}"),
            follows,
            unit,
        ),
        Limits::None(why) => lacks(
            "limits",
            Answer::No,
            format!("instances can have no limits: {why}"),
            follows,
            "a writable cgroup file system; in a container, limits of the container as a whole",
        ),
    }
}

fn permitted(
    name: &'static str,
    found: &Result<(), String>,
    good: &str,
    bad: &str,
    follows: &str,
    way_out: &str,
) -> Check {
    match found {
        Ok(()) => yes(name, good),
        Err(why) => lacks(name, Answer::No, format!("{bad}: {why}"), follows, way_out),
    }
}

fn mounts(found: &Findings) -> Check {
    const WAY_OUT: &str = "CAP_SYS_ADMIN for svd (docker run --cap-add SYS_ADMIN) and Linux 5.12";
    match (&found.mounts, &found.write_only_below) {
        (Err(why), Ok(())) => lacks(
            "mounts",
            Answer::Partly,
            format!(
                "read_only = [\"/\"] with read_write can be had by Landlock, other paths and private_tmp cannot: {why}"
            ),
            "a process that asks for these is not started",
            WAY_OUT,
        ),
        _ => permitted(
            "mounts",
            &found.mounts,
            "private_tmp, read_only and read_write can be had",
            "private_tmp, read_only and read_write cannot be had",
            "a process that asks for one of them is not started",
            WAY_OUT,
        ),
    }
}

fn queue(somaxconn: Option<u32>) -> Check {
    match somaxconn {
        Some(limit) if limit >= BACKLOG => {
            yes("queue", format!("up to {BACKLOG} connections wait on a listener while nobody accepts"))
        }
        Some(limit) => lacks(
            "queue",
            Answer::Partly,
            format!("only {limit} connections wait on a listener while nobody accepts (net.core.somaxconn)"),
            "in a burst the others are tried again by their clients, a second or more later",
            "sysctl net.core.somaxconn=4096 (docker run --sysctl net.core.somaxconn=4096)",
        ),
        None => lacks("queue", Answer::Unknown, "net.core.somaxconn cannot be read".to_owned(), "", ""),
    }
}

fn handshakes(found: &Result<Way, String>) -> Check {
    match found {
        Ok(Way::Netlink) => {
            yes("handshakes", "connections that are being made are seen (sock_diag): an old generation waits for them")
        }
        Ok(Way::Proc) => lacks(
            "handshakes",
            Answer::Partly,
            "connections that are being made are seen in /proc/net/tcp only, not by sock_diag".to_owned(),
            "with many thousand connections a drain costs some processor time",
            "a container profile that permits netlink sockets",
        ),
        Err(why) => lacks(
            "handshakes",
            Answer::No,
            format!("connections that are being made cannot be seen: {why}"),
            "one whose client is slow may be reset when an old generation ends",
            "a container profile that permits netlink sockets, or /proc mounted",
        ),
    }
}

fn oom(spared: &Result<(), String>) -> Check {
    match spared {
        Ok(()) => yes(
            "oom",
            "when memory runs out the keeper is never chosen (oom_score_adj -1000), the manager after all others (-900)",
        ),
        Err(why) => lacks(
            "oom",
            Answer::No,
            format!("the keeper cannot be spared when memory runs out (oom_score_adj -1000): {why}"),
            "the kernel may choose it, small as it is, and everything ends with it; a negative oom_score_adj in a config is refused too",
            "run svd as root with CAP_SYS_RESOURCE (docker run --cap-add SYS_RESOURCE), or give the processes a higher oom_score_adj",
        ),
    }
}

impl Report {
    /// For people: a line for each guarantee, with what follows and the way out below it.
    pub fn text(&self) -> String {
        let who = match &self.user {
            Some(name) => format!("{name} (uid {})", self.uid),
            None => format!("uid {}", self.uid),
        };
        let mut text = format!("svd {} on Linux {}, as {who}\n", self.version, self.kernel);
        for check in &self.checks {
            text.push_str(&format!("{:8}{}\n", check.answer.word(), check.found));
            for (title, said) in [("so", &check.follows), ("way out", &check.way_out)] {
                if let Some(said) = said {
                    text.push_str(&format!("{:8}{title}: {said}\n", ""));
                }
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> Findings {
        Findings {
            kernel: "6.18.0".to_owned(),
            uid: 0,
            user: Some("root".to_owned()),
            gate: Gate::Works,
            own: Tried::Works(Promise::None),
            other: Some(Tried::Works(Promise::None)),
            yama: Some(1),
            may_trace: true,
            limits: Limits::All,
            mounts: Ok(()),
            write_only_below: Ok(()),
            capabilities: Ok(()),
            somaxconn: Some(4096),
            handshakes: Ok(Way::Netlink),
            spared: Ok(()),
        }
    }

    fn answers(found: &Findings) -> String {
        let report = report(found);
        let words = report.checks.iter().map(|check| format!("{} {}", check.name, check.answer.word()));
        words.collect::<Vec<_>>().join(", ")
    }

    #[test]
    fn where_all_is_well_each_line_is_a_yes_and_needs_no_way_out() {
        assert_eq!(
            answers(&good()),
            "gate yes, interception yes, other_users yes, limits yes, mounts yes, capabilities yes, queue yes, handshakes yes, oom yes"
        );
        assert!(!report(&good()).text().contains("way out"));
    }

    #[test]
    fn what_is_missing_says_what_follows_and_the_way_out() {
        // given a container that permits little, and an old kernel
        let bad = Findings {
            uid: 1000,
            user: None,
            gate: Gate::Refused("Protocol not available".to_owned()),
            own: Tried::Refused("it needs Linux 5.9 or later".to_owned()),
            other: None,
            may_trace: false,
            limits: Limits::None("it is mounted read-only".to_owned()),
            mounts: Err("Operation not permitted".to_owned()),
            write_only_below: Err("Operation not permitted".to_owned()),
            capabilities: Err("Operation not permitted".to_owned()),
            somaxconn: Some(128),
            handshakes: Err("Operation not permitted".to_owned()),
            spared: Err("Permission denied".to_owned()),
            ..good()
        };
        assert_eq!(
            answers(&bad),
            "gate no, interception no, limits no, mounts no, capabilities no, queue partly, handshakes no, oom no"
        );
        let text = report(&bad).text();
        assert!(text.starts_with(concat!(
            "svd ",
            env!("CARGO_PKG_VERSION"),
            " on Linux 6.18.0, as uid 1000\nno      the kernel"
        )));
        assert_eq!(text.matches("\n        so: ").count(), 8, "{text}");
        assert_eq!(text.matches("\n        way out: ").count(), 8, "{text}");
    }

    #[test]
    fn a_plain_user_under_yama_is_told_what_it_costs() {
        let user = Findings { own: Tried::Works(Promise::NoNewPrivs), other: None, may_trace: false, ..good() };
        assert_eq!(
            answers(&user),
            "gate yes, interception partly, forked partly, limits yes, mounts yes, capabilities yes, queue yes, handshakes yes, oom yes"
        );
        assert!(report(&user).text().contains("no_new_privs"));
        // root of a container without CAP_SYS_PTRACE
        let root = Findings { other: Some(Tried::Unseen("EPERM".to_owned())), may_trace: false, yama: None, ..good() };
        assert_eq!(
            answers(&root),
            "gate yes, interception yes, other_users no, limits yes, mounts yes, capabilities yes, queue yes, handshakes yes, oom yes"
        );
        assert!(report(&root).text().contains("--cap-add SYS_PTRACE"));
    }
}
