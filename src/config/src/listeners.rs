//! Ports and listeners of all processes: variables in addresses replaced, every address the only one of its kind, and no
//! process told a PORT on which another one listens.
//!
//! An address with `$PORT` needs the process's port, and ports are handed out around the addresses without it. So there are
//! two rounds: what is known without a port, then ports, then the rest.

use std::path::Path;

use crate::address::{self, Form};
use crate::document::Named;
use crate::environment::{self, EnvFiles, Known, Variables};
use crate::plan::{ListenAddress, ListenerPlan, Traffic};
use crate::ports;
use crate::report::{At, Report, Span};
use crate::sockets::RawListener;
use crate::source::Sources;
use crate::words;

/// The port from which the ports of all processes are counted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Base {
    pub port: u16,
    /// A variable says it; else it is foreman's.
    pub said: bool,
}

/// What a process gets.
pub(crate) struct Prepared {
    /// `PORT` of its first instance, where no listener says it.
    pub port: u16,
    /// Its own variables.
    pub variables: Variables,
    pub listen: Vec<ListenerPlan>,
}

/// Listeners of one svd, at most: the keeper holds several descriptors for each.
const MOST: usize = 1000;

/// Permission bits of a Unix socket of which nothing is said.
const MODE: u32 = 0o660;

/// Prepares all processes, in their order.
pub(crate) fn prepare(
    base: Base,
    processes: &[Named],
    shared: &Variables,
    files: &mut EnvFiles<'_>,
    report: &mut Report,
) -> Vec<Prepared> {
    let sources = files.sources;
    let mut seats: Vec<Seat<'_>> = Vec::new();
    for named in processes {
        let mut variables = environment::own(&named.raw, files, report);
        let own = environment::take_port(&mut variables, report);
        seats.push(Seat { named, variables, own, found: Vec::new() });
    }
    let ground = Ground { shared, sources, incomplete: files.incomplete };
    for seat in &mut seats {
        let port = match (&seat.own, base.said) {
            (Some(own), _) => Port::Is(own.value),
            (None, true) => Port::Later,
            (None, false) => Port::Unsaid,
        };
        seat.look(port, &ground, report);
    }
    let ports = hand_out(base, &seats, report);
    for (seat, port) in seats.iter_mut().zip(&ports) {
        seat.look(Port::Is(*port), &ground, report);
    }
    let mut all = Vec::new();
    for seat in &seats {
        all.push(seat.plans(&sources.dir, report));
    }
    check_collisions(&seats, &all, report);
    for (seat, listen) in seats.iter().zip(&all) {
        warn_of_other_port(seat, listen, report);
    }
    let prepared = seats.into_iter().zip(ports).zip(all);
    prepared.map(|((seat, port), listen)| Prepared { port, variables: seat.variables, listen: plans(listen) }).collect()
}

/// What is the same for all processes.
struct Ground<'a> {
    shared: &'a Variables,
    sources: &'a Sources,
    /// An env file is missing.
    incomplete: bool,
}

/// A process while its listeners are looked for.
struct Seat<'a> {
    named: &'a Named,
    variables: Variables,
    /// The PORT of its own environment.
    own: Option<At<u16>>,
    /// One for each listener, once it was looked at.
    found: Vec<Found>,
}

/// The way out with the variable that the port was written with.
fn with_variable(way_out: &str, text: &str, expanded: &str) -> String {
    let variable = text.find(":$").and_then(|at| text.get(at..));
    match (variable, expanded.rsplit_once(':')) {
        (Some(variable), Some((_, port))) => way_out.replace(&format!(":{port}"), variable),
        _ => way_out.to_owned(),
    }
}

/// What is known of an address.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Found {
    Is(Form),
    /// It is known as soon as the port is.
    NeedsPort,
    /// A problem was noted.
    Bad,
}

/// What `$PORT` means in an address.
#[derive(Clone, Copy, Debug)]
enum Port {
    Is(u16),
    /// It will be handed out, whatever the address says for want of one.
    Later,
    /// Nobody says it: a default in the address counts, and without one it is handed out.
    Unsaid,
}

impl Seat<'_> {
    fn listeners(&self) -> &[RawListener] {
        self.named.raw.listen.as_ref().map(|listen| listen.value.as_slice()).unwrap_or_default()
    }

    /// Finds the address of each listener that is not known yet.
    fn look(&mut self, port: Port, ground: &Ground<'_>, report: &mut Report) {
        let mut found = std::mem::take(&mut self.found);
        found.resize(self.listeners().len(), Found::NeedsPort);
        for (raw, found) in self.listeners().iter().zip(&mut found) {
            if *found == Found::NeedsPort {
                *found = self.address(raw, port, ground, report);
            }
        }
        self.found = found;
    }

    fn address(&self, raw: &RawListener, port: Port, ground: &Ground<'_>, report: &mut Report) -> Found {
        let keep_env = self.named.raw.keep_env.as_deref();
        let known = Known {
            own: &self.variables,
            shared: ground.shared,
            keep_env,
            sources: ground.sources,
            given: environment::OWN,
        };
        let (mut later, mut others) = (false, false);
        let expanded = words::expand_word(&raw.address.value, |name| match (name, port) {
            ("PORT", Port::Is(port)) => Some(port.to_string()),
            ("PORT", Port::Later) => {
                later = true;
                Some("1".to_owned())
            }
            ("PORT", Port::Unsaid) => None,
            (name, _) => {
                others = true;
                known.value(name)
            }
        });
        let (text, span) = (&raw.address.value, raw.address.span);
        let expanded = match expanded {
            _ if later => return Found::NeedsPort,
            Ok(expanded) => expanded,
            Err(error) if error.variable == "PORT" => return Found::NeedsPort,
            Err(error) => {
                if !ground.incomplete && !report.is_broken() {
                    let name = &error.variable;
                    let message = format!("{} uses ${name}, which is not set{}", self.title(raw), known.suggest(name));
                    report.problem_with(span, message, format!("set it in env, or write ${{{name}:-default}}"));
                }
                return Found::Bad;
            }
        };
        match address::parse(&expanded) {
            Ok(form) => Found::Is(form),
            // What is in a variable may be no one else's business. A port is.
            Err(fault) if others => {
                let shown = text.escape_debug();
                let message =
                    format!("\"{shown}\" in {}, with its variables replaced, {}", self.title(raw), fault.what);
                report.problem_with(span, message, "see what the variables are, or write the address itself");
                Found::Bad
            }
            Err(fault) => {
                let message = format!("\"{}\" in {} {}", text.escape_debug(), self.title(raw), fault.what);
                report.problem_with(span, message, with_variable(&fault.way_out, text, &expanded));
                Found::Bad
            }
        }
    }

    /// How messages call a listener.
    fn title(&self, raw: &RawListener) -> String {
        let process = &self.named.name.value;
        match &raw.name {
            Some(name) => format!("\"{}\" in [process.{process}.listen]", name.value),
            None => format!("\"listen\" in [process.{process}]"),
        }
    }

    /// The port of each TCP listener that is known.
    fn tcp_ports(&self) -> impl Iterator<Item = u16> {
        self.found.iter().filter_map(|found| match found {
            Found::Is(Form::Tcp(address)) => Some(address.port()).filter(|port| *port != 0),
            Found::Is(Form::Udp(_) | Form::Unix(_)) | Found::NeedsPort | Found::Bad => None,
        })
    }

    fn plans(&self, dir: &Path, report: &mut Report) -> Vec<(ListenerPlan, Span)> {
        let mut plans = Vec::new();
        let raw = &self.named.raw;
        for (listener, found) in self.listeners().iter().zip(&self.found) {
            let Found::Is(form) = found else { continue };
            check_options(&self.title(listener), listener, form, report);
            let v6only = listener.v6only.as_ref().is_some_and(|v6only| v6only.value);
            let address = match form {
                Form::Tcp(address) => ListenAddress::Tcp { address: *address, v6only },
                Form::Udp(address) => ListenAddress::Udp { address: *address, v6only },
                Form::Unix(path) => {
                    let path = dir.join(path);
                    let length = path.as_os_str().len();
                    if length > address::LONGEST_PATH {
                        let message = format!(
                            "the path of {} has {length} bytes; a socket's path has at most {}",
                            self.title(listener),
                            address::LONGEST_PATH
                        );
                        let help = "write a shorter one, such as unix:/run/NAME.sock";
                        report.problem_with(listener.address.span, message, help);
                    }
                    ListenAddress::Unix {
                        path,
                        mode: listener.mode.as_ref().map_or(MODE, |mode| mode.value),
                        user: listener.user.as_ref().map(|user| user.value.clone()),
                        group: listener.group.as_ref().map(|group| group.value.clone()),
                    }
                }
            };
            let said = listener.traffic.as_ref().or(raw.traffic.as_ref()).map(|traffic| traffic.value);
            let traffic = match form {
                Form::Tcp(_) => said.unwrap_or(Traffic::Gated),
                Form::Udp(_) | Form::Unix(_) => Traffic::Shared,
            };
            let name = match (&listener.name, form) {
                (Some(name), _) => name.value.clone(),
                (None, Form::Tcp(_)) => "http".to_owned(),
                (None, Form::Udp(_)) => "udp".to_owned(),
                (None, Form::Unix(_)) => "unix".to_owned(),
            };
            plans.push((ListenerPlan { name, address, traffic }, listener.address.span));
        }
        if let Some(At { value: Traffic::Gated, span }) = raw.traffic
            && !plans.is_empty()
            && !self.found.iter().any(|found| matches!(found, Found::Is(Form::Tcp(_)) | Found::Bad))
        {
            not_gated(&format!("\"traffic\" in [process.{}]", self.named.name.value), span, report);
        }
        plans
    }
}

fn not_gated(title: &str, span: Span, report: &mut Report) {
    let help = "write \"shared\", or leave it out: all instances take from one queue";
    report.problem_with(span, format!("{title} cannot be \"gated\": only TCP has a gate"), help);
}

/// Notes what does not go with this kind of address.
fn check_options(title: &str, listener: &RawListener, form: &Form, report: &mut Report) {
    let owner = [
        ("mode", listener.mode.as_ref().map(|mode| mode.span)),
        ("user", listener.user.as_ref().map(|user| user.span)),
        ("group", listener.group.as_ref().map(|group| group.span)),
    ];
    let v6only = listener.v6only.as_ref().map(|v6only| v6only.span);
    let (wrong, fits): (&[(&str, Option<Span>)], &str) = match form {
        Form::Unix(_) => (&[("v6only", v6only)], "IPv6 addresses"),
        Form::Tcp(address) | Form::Udp(address) if address.is_ipv6() => (&owner, "unix: paths"),
        Form::Tcp(_) | Form::Udp(_) => {
            if let Some(span) = v6only {
                report.problem(span, format!("v6only of {title} only goes with IPv6 addresses"));
            }
            (&owner, "unix: paths")
        }
    };
    for (key, span) in wrong {
        if let Some(span) = span {
            report.problem(*span, format!("{key} of {title} only goes with {fits}"));
        }
    }
    if let Some(At { value: Traffic::Gated, span }) = listener.traffic
        && !matches!(form, Form::Tcp(_))
    {
        not_gated(&format!("traffic of {title}"), span, report);
    }
}

/// The port of each process.
fn hand_out(base: Base, seats: &[Seat<'_>], report: &mut Report) -> Vec<u16> {
    let mut requests: Vec<ports::Request<'_>> = Vec::new();
    for seat in seats {
        let name = &seat.named.name.value;
        let count = seat.named.raw.count.as_ref().map_or(1, |count| count.value);
        let listens: Vec<u16> = seat.tcp_ports().collect();
        if let Some(port) = seat.own.as_ref().filter(|_| listens.is_empty()) {
            let (start, end) = (u32::from(port.value), u32::from(port.value) + count);
            if end > 65_536 {
                report.problem(port.span, format!("PORT {start} leaves no room for {count} instances below 65536"));
            }
            let within = |port: u16| (start..end).contains(&u32::from(port));
            let clash = requests.iter().find(|request| {
                request.listens.is_empty()
                    && request.own.is_some_and(|p| u32::from(p) < end && start < u32::from(p) + request.count)
            });
            let others = seats.iter().filter(|other| other.named.name.value != *name);
            let listener = others.into_iter().find(|other| other.tcp_ports().any(within));
            if let Some(other) = clash {
                let message = format!("{name} gets the same PORT as {}", other.name);
                report.warn(Some(port.span), message, "give each its own, a count apart");
            } else if let Some(other) = listener {
                let message = format!("{name} gets a PORT on which {} listens", other.named.name.value);
                report.warn(Some(port.span), message, "give each its own, a count apart");
            }
        }
        requests.push(ports::Request { name, count, own: seat.own.as_ref().map(|port| port.value), listens });
    }
    ports::assign(base.port, &requests).unwrap_or_else(|| {
        report.problem_whole("there are not enough ports to give each instance its own PORT; use fewer processes");
        vec![base.port; seats.len()]
    })
}

fn check_collisions(seats: &[Seat<'_>], all: &[Vec<(ListenerPlan, Span)>], report: &mut Report) {
    let flat: Vec<(usize, &ListenerPlan, Span)> =
        all.iter().enumerate().flat_map(|(i, plans)| plans.iter().map(move |(plan, span)| (i, plan, *span))).collect();
    if flat.len() > MOST {
        report.problem_whole(format!(
            "the processes have {} listeners together; at most {MOST} are possible",
            flat.len()
        ));
        return;
    }
    let name = |seat: usize| seats.get(seat).map_or("", |seat| seat.named.name.value.as_str());
    for (n, (seat, plan, span)) in flat.iter().enumerate() {
        for (other_seat, other, other_span) in flat.iter().take(n) {
            let shown = address::shown(&plan.address);
            if address::collide(&plan.address, &other.address) {
                let message = format!(
                    "listener \"{}\" of process \"{}\" at {shown} collides with listener \"{}\" of process \"{}\" at {}, \
                     said at {}",
                    plan.name,
                    name(*seat),
                    other.name,
                    name(*other_seat),
                    address::shown(&other.address),
                    report.place(*other_span)
                );
                let help = "give each its own; the instances of one process share its listeners anyway";
                report.problem_with(*span, message, help);
                break;
            }
            if seat == other_seat && plan.address == other.address {
                let message = format!(
                    "listeners \"{}\" and \"{}\" of process \"{}\" are both {shown} and could not be told apart",
                    other.name,
                    plan.name,
                    name(*seat)
                );
                report.problem_with(*span, message, "give one of them a port, or another address such as 127.0.0.2:0");
                break;
            }
        }
    }
}

fn warn_of_other_port(seat: &Seat<'_>, listen: &[(ListenerPlan, Span)], report: &mut Report) {
    let tcp = listen.iter().find_map(|(plan, _)| match plan.address {
        ListenAddress::Tcp { address, .. } => Some((&plan.name, address.port())),
        ListenAddress::Udp { .. } | ListenAddress::Unix { .. } => None,
    });
    let (Some(own), Some((listener, port))) = (&seat.own, tcp) else { return };
    if own.value != port {
        let name = &seat.named.name.value;
        let told = if port == 0 { "the one that svd picks for it".to_owned() } else { port.to_string() };
        let message = format!("PORT of {name} is that of its listener \"{listener}\", {told}, not {}", own.value);
        report.warn(Some(own.span), message, "leave PORT out, or write listen with $PORT");
    }
}

fn plans(listen: Vec<(ListenerPlan, Span)>) -> Vec<ListenerPlan> {
    listen.into_iter().map(|(plan, _)| plan).collect()
}
