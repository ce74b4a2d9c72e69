//! What an instance is given of its listeners at its start: descriptors, the variables that tell of them, and the filter by
//! which a program that binds by itself gets them.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use svd_config::plan::{Handoff, ListenAddress, ProcessPlan};
use svd_core::Slot;
use svd_sys::intercept;
use svd_wire::FdRole;

use crate::listen::{Listener, Listeners};

/// The first descriptor of LISTEN_FDS (sd_listen_fds(3)).
pub(super) const FIRST: u32 = 3;

/// Whether a start is intercepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filter {
    /// Where its config asks for it.
    AsAsked,
    /// Never: the kernel has refused it, and LISTEN_FDS takes its place.
    Refused,
}

/// It.
#[derive(Debug, Default)]
pub struct Handed {
    /// Variables.
    pub env: Vec<(String, String)>,
    /// What the descriptors are for.
    pub roles: Vec<FdRole>,
    /// The descriptors.
    pub fds: Vec<OwnedFd>,
    /// Our copy of the socket over which the filter's listener comes.
    pub intercept: Option<OwnedFd>,
    /// Why its calls cannot be intercepted though they should.
    pub refused: Option<io::Error>,
}

/// What an instance in this slot is given. Fails where there are no descriptors left.
pub fn hand(process: &ProcessPlan, slot: Slot, listeners: &Listeners, filter: Filter) -> io::Result<Handed> {
    let mut handed = Handed::default();
    let mut given = Vec::new();
    for wanted in &process.listen {
        let missing = || io::Error::other(format!("its listener {} could not be made", wanted.name));
        let listener = listeners.of(&process.name, wanted).ok_or_else(missing)?;
        let socket = listener.socket(slot).ok_or_else(missing)?;
        given.push((wanted.name.as_str(), listener, socket));
    }
    if given.is_empty() {
        return Ok(handed);
    }
    let handoff = match (&process.handoff, filter) {
        (Handoff::Auto | Handoff::Intercept, Filter::Refused) => &Handoff::ListenFds,
        (other, _) => other,
    };
    if matches!(handoff, Handoff::Auto | Handoff::Intercept) {
        match intercept::channel() {
            Ok((ours, childs)) => {
                handed.intercept = Some(ours.try_clone()?);
                handed.roles.extend([FdRole::Intercept, FdRole::Filter]);
                handed.fds.extend([ours, childs]);
            }
            Err(error) => handed.refused = Some(error),
        }
    }
    match handoff {
        Handoff::Auto | Handoff::ListenFds => {
            for (number, (_, _, socket)) in (FIRST..).zip(&given) {
                handed.give(number, socket)?;
            }
            let names: Vec<&str> = given.iter().map(|(name, ..)| *name).collect();
            // The child fills its own process id in.
            handed.tell("LISTEN_PID", String::new());
            handed.tell("LISTEN_FDS", given.len().to_string());
            handed.tell("LISTEN_FDNAMES", names.join(":"));
        }
        Handoff::Stdin => {
            for (_, _, socket) in given.iter().take(1) {
                handed.give(0, socket)?;
            }
        }
        Handoff::Env { name, template } => {
            let mut value = String::new();
            for (number, (called, listener, socket)) in (FIRST..).zip(&given) {
                handed.give(number, socket)?;
                value.push_str(&fill(template, number, called, listener));
            }
            handed.tell(name, value);
        }
        Handoff::Intercept | Handoff::None => {}
    }
    Ok(handed)
}

impl Handed {
    fn give(&mut self, number: u32, socket: &OwnedFd) -> io::Result<()> {
        self.roles.push(FdRole::Child(number));
        self.fds.push(socket.as_fd().try_clone_to_owned()?);
        Ok(())
    }

    fn tell(&mut self, name: &str, value: String) {
        self.env.push((name.to_owned(), value));
    }
}

/// A template with what it names of one listener.
fn fill(template: &str, number: u32, name: &str, listener: &Listener) -> String {
    let (address, port) = match (listener.at, &listener.address) {
        (Some(at), _) => (at.to_string(), at.port().to_string()),
        (None, ListenAddress::Unix { path, .. }) => (path.display().to_string(), String::new()),
        (None, ListenAddress::Tcp { address, .. } | ListenAddress::Udp { address, .. }) => {
            (address.to_string(), address.port().to_string())
        }
    };
    let values = [("{fd}", number.to_string()), ("{address}", address), ("{port}", port), ("{name}", name.to_owned())];
    let mut out = String::new();
    let mut rest = template;
    // One pass: what is put in is not looked at again.
    while let Some(at) = rest.find('{') {
        let (before, from) = rest.split_at(at);
        out.push_str(before);
        let known = values.iter().find(|(word, _)| from.starts_with(word));
        let (put, after) = match known {
            Some((word, value)) => (value.as_str(), from.get(word.len()..)),
            None => ("{", from.get(1..)),
        };
        out.push_str(put);
        rest = after.unwrap_or_default();
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::listen::tests::{Dir, listen, plan};
    use crate::plan::Accounts;
    use svd_config::Plan;

    /// web with a TCP and a Unix listener, and both of them bound.
    fn two(dir: &Dir) -> (Plan, Listeners) {
        let tcp = ListenAddress::Tcp { address: "127.0.0.1:0".parse().unwrap(), v6only: false };
        let unix = ListenAddress::Unix { path: dir.path.join("s"), mode: 0o600, user: None, group: None };
        let plan = plan(&[("web", &[listen("http", tcp), listen("admin", unix)])]);
        let mut listeners = Listeners::default();
        let prepared = listeners.prepare(&plan, &Accounts::default()).unwrap();
        listeners.install(prepared);
        listeners.open_gates(&plan);
        (plan, listeners)
    }

    fn given(handoff: Handoff, slot: Slot, filter: Filter) -> (Handed, u16, String, u64) {
        let dir = Dir::new(&format!("handoff-{:?}-{}", filter, handoff_name(&handoff)));
        let (mut plan, listeners) = two(&dir);
        let path = dir.path.join("s").display().to_string();
        let web = &mut plan.processes[0];
        web.handoff = handoff;
        let port = listeners.port(web).unwrap();
        let socket = listeners.of("web", &web.listen[0]).unwrap().socket(slot).unwrap();
        let cookie = svd_sys::listen::cookie(socket.as_fd()).unwrap();
        let handed = hand(web, slot, &listeners, filter).unwrap();
        assert_eq!(handed.roles.len(), handed.fds.len());
        (handed, port, path, cookie)
    }

    fn handoff_name(handoff: &Handoff) -> String {
        format!("{handoff:?}").chars().filter(char::is_ascii_alphabetic).collect()
    }

    fn variable<'a>(handed: &'a Handed, name: &str) -> Option<&'a str> {
        handed.env.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    #[test]
    fn auto_gives_the_sockets_of_the_slot_with_their_names_and_a_filter() {
        let (handed, _, _, cookie) = given(Handoff::Auto, Slot(1), Filter::AsAsked);
        let roles = [FdRole::Intercept, FdRole::Filter, FdRole::Child(3), FdRole::Child(4)];
        assert_eq!(handed.roles, roles);
        assert_eq!(svd_sys::listen::cookie(handed.fds[2].as_fd()).unwrap(), cookie);
        assert_eq!(variable(&handed, "LISTEN_FDS"), Some("2"));
        assert_eq!(variable(&handed, "LISTEN_PID"), Some(""));
        assert_eq!(variable(&handed, "LISTEN_FDNAMES"), Some("http:admin"));
        assert!(handed.intercept.is_some());
    }

    #[test]
    fn a_filter_that_was_refused_once_is_not_tried_again_and_listen_fds_takes_its_place() {
        for handoff in [Handoff::Auto, Handoff::Intercept] {
            let (handed, ..) = given(handoff, Slot(0), Filter::Refused);
            assert_eq!(handed.roles, [FdRole::Child(3), FdRole::Child(4)]);
            assert_eq!(variable(&handed, "LISTEN_FDS"), Some("2"));
            assert!(handed.intercept.is_none());
        }
    }

    #[test]
    fn a_template_is_filled_in_once_for_each_listener() {
        let fpm = |template: &str| Handoff::Env { name: "SOCKS".into(), template: template.into() };
        let (handed, port, path, _) = given(fpm("{address}={fd},"), Slot(0), Filter::AsAsked);
        let expected = format!("127.0.0.1:{port}=3,{path}=4,");
        assert_eq!(variable(&handed, "SOCKS"), Some(expected.as_str()));
        let (handed, port, ..) = given(fpm("{name}:{port}:{{fd}:{x};"), Slot(0), Filter::AsAsked);
        let expected = format!("http:{port}:{{3:{{x}};admin::{{4:{{x}};");
        assert_eq!(variable(&handed, "SOCKS"), Some(expected.as_str()));
    }

    #[test]
    fn the_other_ways_give_what_they_say() {
        let (handed, ..) = given(Handoff::Stdin, Slot(0), Filter::AsAsked);
        assert_eq!((handed.roles.as_slice(), handed.env.len()), (&[FdRole::Child(0)][..], 0));
        let (handed, ..) = given(Handoff::Intercept, Slot(0), Filter::AsAsked);
        assert_eq!((handed.roles.as_slice(), handed.env.len()), (&[FdRole::Intercept, FdRole::Filter][..], 0));
        let (handed, ..) = given(Handoff::None, Slot(0), Filter::AsAsked);
        assert!(handed.roles.is_empty() && handed.env.is_empty());
    }
}
