//! The tree as a table.

use comfy_table::CellAlignment::{Left, Right};
use svd_api::{Instance, Process, Role, Status};

use super::{Look, color, exit, name, table};
use crate::text;

const COLUMNS: &[(&str, comfy_table::CellAlignment)] = &[
    ("TARGET", Left),
    ("STATE", Left),
    ("PID", Right),
    ("UPTIME", Left),
    ("RESTARTS", Right),
    ("CPU", Right),
    ("MEM", Right),
    ("RELEASE", Left),
    ("REASON", Left),
];

/// Header, table, who listens where, warnings.
pub(crate) fn render(status: &Status, look: &Look) -> String {
    let mut shown = header(status);
    let rows: Vec<Vec<String>> = status.processes.iter().flat_map(|process| rows(process, look)).collect();
    if rows.is_empty() && status.jobs.is_empty() {
        shown.push_str("no processes\n");
    } else {
        shown.push_str(&colored(&table::render(COLUMNS, &rows, look.width), look));
    }
    for process in status.processes.iter().filter(|process| !process.listeners.is_empty()) {
        shown.push_str(&listeners(process, look));
    }
    if !status.jobs.is_empty() {
        shown.push_str(&format!("\n{}", super::jobs::list(&status.jobs, look)));
    }
    for warning in &status.warnings {
        shown.push_str(&format!("{} {}\n", look.paint.apply("33", "warning:"), text::plain(warning)));
    }
    shown
}

fn header(status: &Status) -> String {
    let svd = &status.svd;
    let times = if svd.manager_starts == 1 { "time" } else { "times" };
    let mut parts = vec![text::plain(&status.app).into_owned()];
    parts.extend(status.environment.as_deref().map(|name| text::plain(name).into_owned()));
    parts.extend(status.release.as_deref().map(|id| format!("release {}", text::plain(id))));
    parts.push(format!("svd {}", text::plain(&svd.version)));
    parts.push(format!("pid {}", svd.keeper_pid));
    parts.push(format!("manager started {} {times}", svd.manager_starts));
    if svd.state != "running" {
        parts.push(text::plain(&svd.state).into_owned());
    }
    format!("{}\n", parts.join(" · "))
}

/// Something that is on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wait {
    /// What, without times: the same as long as it is the same.
    pub what: String,
    /// With how long already.
    pub shown: String,
}

/// Which of the meant instances are on their way from one state to another: what a command that has not ended waits for.
/// `is_meant` is asked with the names of process and instance.
pub(crate) fn waits(status: &Status, is_meant: impl Fn(&str, &str) -> bool, look: &Look) -> Vec<Wait> {
    let mut waits = Vec::new();
    for process in &status.processes {
        for instance in process.instances.iter().filter(|instance| is_meant(&process.name, &instance.id)) {
            let is_settled = matches!(instance.state.as_str(), "ready" | "completed" | "stopped" | "failed");
            if is_settled && instance.role == Role::Current {
                continue;
            }
            let since = text::since(&instance.since, &look.now);
            let (who, state) = (name(instance), text::plain(&instance.state));
            let why = match reason(process, instance, "") {
                why if why.is_empty() => why,
                why => format!(": {why}"),
            };
            let ago = if since.is_empty() { since } else { format!(" for {since}") };
            waits.push(Wait { what: format!("{who} {state}{why}"), shown: format!("{who} is {state}{ago}{why}") });
        }
    }
    waits
}

/// More than these are too long for a line that comes again and again.
const WAITS: usize = 4;

/// What a command waits for, as a line.
pub(crate) fn waiting(waits: &[Wait]) -> String {
    let shown: Vec<&str> = waits.iter().take(WAITS).map(|wait| wait.shown.as_str()).collect();
    let more = match waits.len().saturating_sub(WAITS) {
        0 => String::new(),
        more => format!(" | and {more} more"),
    };
    format!("waits: {}{more}", shown.join(" | "))
}

/// `web listens on 0.0.0.0:8080 (http)`. svd holds the sockets: where nobody serves them, connections wait in the queue.
fn listeners(process: &Process, look: &Look) -> String {
    let addresses: Vec<String> = process
        .listeners
        .iter()
        .map(|listener| match text::plain(&listener.name) {
            name if name.is_empty() => text::plain(&listener.address).into_owned(),
            name => format!("{} ({name})", text::plain(&listener.address)),
        })
        .collect();
    let serves = |instance: &Instance| matches!(instance.state.as_str(), "ready" | "unhealthy");
    let unserved = if process.instances.iter().any(serves) {
        String::new()
    } else {
        format!(": {}", look.paint.apply("33", "nobody serves it now, connections wait"))
    };
    format!("{} listens on {}{unserved}\n", text::plain(&process.name), addresses.join(", "))
}

fn rows(process: &Process, look: &Look) -> Vec<Vec<String>> {
    if process.instances.is_empty() {
        let (state, reason) = if process.disabled {
            ("disabled", "")
        } else {
            ("stopped", if process.want == 0 { "scaled to 0" } else { "" })
        };
        let mut row = vec![String::new(); COLUMNS.len()];
        row[0] = process.name.clone();
        row[1] = state.to_owned();
        row[COLUMNS.len() - 1] = reason.to_owned();
        return vec![row];
    }
    process.instances.iter().map(|instance| row(process, instance, look)).collect()
}

fn row(process: &Process, instance: &Instance, look: &Look) -> Vec<String> {
    let since = text::since(&instance.since, &look.now);
    vec![
        name(instance),
        text::plain(&instance.state).into_owned(),
        instance.pid.map(|pid| pid.to_string()).unwrap_or_default(),
        if instance.pid.is_some() { since.clone() } else { String::new() },
        instance.restarts.to_string(),
        instance.cpu_percent.map(|percent| format!("{percent:.1}%")).unwrap_or_default(),
        instance.memory_bytes.map(text::bytes).unwrap_or_default(),
        instance.release.as_deref().map(|id| text::plain(id).into_owned()).unwrap_or_default(),
        reason(process, instance, &since),
    ]
}

/// Why it is not well; for one that does not run, also for how long; for one beside the current, what it is there for.
fn reason(process: &Process, instance: &Instance, since: &str) -> String {
    let well = matches!(instance.state.as_str(), "ready" | "completed");
    let mut parts = Vec::new();
    match (&instance.reason, &instance.exit) {
        (Some(reason), _) => parts.push(text::plain(reason).into_owned()),
        (None, Some(end)) if !well => parts.push(exit(end)),
        (None, _) => {}
    }
    if parts.is_empty() {
        match instance.role {
            Role::Current => {}
            Role::Candidate => parts.push("is to replace the one that runs".to_owned()),
            Role::Replaced => parts.push("is on its way out".to_owned()),
        }
    }
    parts.extend(instance.pressure.and_then(pressed));
    // A reason that says so already is enough.
    if process.disabled && !parts.iter().any(|part| part.contains("disabled")) {
        parts.push("disabled".to_owned());
    }
    if matches!(instance.state.as_str(), "failed" | "stopped" | "completed")
        && instance.pid.is_none()
        && !since.is_empty()
    {
        parts.push(format!("{since} ago"));
    }
    parts.join(", ")
}

/// What it waits for most, where that is worth a word.
fn pressed(pressure: svd_api::Pressure) -> Option<String> {
    const WORTH: f32 = 10.0;
    let svd_api::Pressure { cpu, memory, io } = pressure;
    let most =
        [(memory, "memory"), (io, "the disk"), (cpu, "a processor")].into_iter().max_by(|a, b| a.0.total_cmp(&b.0))?;
    (most.0 >= WORTH).then(|| format!("waits for {} {:.0}% of the time", most.1, most.0))
}

/// Colours the states. Done after the table is laid out, since its columns count characters.
fn colored(rendered: &str, look: &Look) -> String {
    let mut lines = rendered.lines();
    let Some(head) = lines.next() else { return String::new() };
    let at = head.find("STATE").unwrap_or(0);
    let mut shown = format!("{}\n", look.paint.apply("1", head));
    for line in lines {
        let state: &str = line.get(at..).and_then(|rest| rest.split(' ').next()).unwrap_or("");
        match line.get(..at) {
            Some(before) if !state.is_empty() => {
                shown.push_str(before);
                shown.push_str(&look.paint.apply(color(state), state));
                shown.push_str(&line[at + state.len()..]);
            }
            _ => shown.push_str(line),
        }
        shown.push('\n');
    }
    shown
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::screen::Paint;
    use svd_api::{Exit, Svd};

    fn look(width: Option<u16>, paint: Paint) -> Look {
        Look { now: "2026-11-23T14:00:00Z[UTC]".parse().unwrap(), paint, width }
    }

    pub(crate) fn instance(id: &str, state: &str, pid: Option<i32>) -> Instance {
        Instance {
            id: id.to_owned(),
            role: svd_api::Role::Current,
            spawn: None,
            pid,
            state: state.to_owned(),
            release: None,
            since: "2026-11-23T13:59:48Z".to_owned(),
            restarts: 0,
            exit: None,
            reason: None,
            cpu_percent: None,
            memory_bytes: None,
            pressure: None,
            notify: None,
        }
    }

    pub(crate) fn process(name: &str, instances: Vec<Instance>) -> Process {
        Process {
            name: name.to_owned(),
            want: u32::try_from(instances.len()).unwrap(),
            ready: 0,
            disabled: false,
            oneshot: false,
            listeners: Vec::new(),
            instances,
        }
    }

    pub(crate) fn shop(processes: Vec<Process>) -> Status {
        Status {
            app: "shop".to_owned(),
            environment: Some("production".to_owned()),
            release: None,
            svd: Svd {
                keeper_version: "0.1.0".into(),
                protocol: 2,
                version: "0.1.0".to_owned(),
                keeper_pid: 1,
                manager_pid: 17,
                manager_starts: 1,
                state: "running".to_owned(),
                config: "/srv/shop/Procfile.toml".to_owned(),
                root: "/var/lib/svd/shop".to_owned(),
            },
            processes,
            jobs: Vec::new(),
            deploy: None,
            warnings: Vec::new(),
        }
    }

    #[test]
    fn a_well_tree_is_a_table_without_empty_columns() {
        let mut web = instance("web.1", "ready", Some(4711));
        web.cpu_percent = Some(1.53);
        web.memory_bytes = Some(52_428_800);
        let mut worker = instance("worker.1", "ready", Some(17));
        worker.since = "2026-11-20T10:00:00Z".to_owned();
        worker.restarts = 3;
        let status = shop(vec![process("web", vec![web]), process("worker", vec![worker])]);
        assert_eq!(
            render(&status, &look(None, Paint::Plain)),
            "\
shop · production · svd 0.1.0 · pid 1 · manager started 1 time
TARGET    STATE   PID  UPTIME  RESTARTS   CPU  MEM
web.1     ready  4711  12s            0  1.5%  50M
worker.1  ready    17  3d 4h          3
"
        );
    }

    #[test]
    fn what_is_not_well_says_why_and_since_when() {
        let mut web = instance("web.1", "backoff", None);
        web.exit = Some(Exit::Code { code: 1 });
        let mut db = instance("db.1", "failed", None);
        db.reason = Some("gave up after 5 restarts in 1m\x1b[2J".to_owned());
        let mut disabled = process("cron", vec![]);
        disabled.disabled = true;
        let mut status =
            shop(vec![process("web", vec![web]), process("db", vec![db]), process("worker", vec![]), disabled]);
        status.svd.manager_starts = 2;
        status.svd.state = "stopping".to_owned();
        status.warnings.push("state is kept in memory".to_owned());
        assert_eq!(
            render(&status, &look(None, Paint::Plain)),
            "\
shop · production · svd 0.1.0 · pid 1 · manager started 2 times · stopping
TARGET  STATE     RESTARTS  REASON
web.1   backoff          0  exit code 1
db.1    failed           0  gave up after 5 restarts in 1m\\x1b[2J, 12s ago
worker  stopped             scaled to 0
cron    disabled
warning: state is kept in memory
"
        );
    }

    #[test]
    fn one_that_is_replaced_is_shown_with_the_new_and_the_ending_ones_of_its_name() {
        use svd_api::Listener;
        let listener = |name: &str, address: &str| Listener { name: name.to_owned(), address: address.to_owned() };
        let mut new = instance("web.1", "starting", Some(4790));
        new.role = Role::Candidate;
        let mut old = instance("web.1", "draining", Some(4500));
        old.role = Role::Replaced;
        old.since = "2026-11-23T13:58:00Z".to_owned();
        old.reason = Some("is being replaced; waits until nobody waits in its queue".to_owned());
        let mut web = process("web", vec![instance("web.1", "ready", Some(4711)), new, old]);
        web.listeners = vec![listener("http", "0.0.0.0:8080"), listener("admin", "unix:/run/shop/admin.sock")];
        let mut api = process("api", vec![instance("api.1", "backoff", None)]);
        api.listeners = vec![listener("http", "[::]:9000")];
        assert_eq!(
            render(&shop(vec![web, api]), &look(None, Paint::Plain)),
            "\
shop · production · svd 0.1.0 · pid 1 · manager started 1 time
TARGET          STATE      PID  UPTIME  RESTARTS  REASON
web.1           ready     4711  12s            0
web.1 (new)     starting  4790  12s            0  is to replace the one that runs
web.1 (ending)  draining  4500  2m             0  is being replaced; waits until nobody waits in its queue
api.1           backoff                        0
web listens on 0.0.0.0:8080 (http), unix:/run/shop/admin.sock (admin)
api listens on [::]:9000 (http): nobody serves it now, connections wait
"
        );
    }

    #[test]
    fn what_an_instance_waits_for_most_is_told_when_it_is_much() {
        let mut web = instance("web.1", "ready", Some(4711));
        web.pressure = Some(svd_api::Pressure { cpu: 12.0, memory: 41.6, io: 3.0 });
        let shown = |web: &Instance| render(&shop(vec![process("web", vec![web.clone()])]), &look(None, Paint::Plain));
        assert!(shown(&web).contains("  waits for memory 42% of the time\n"), "{}", shown(&web));
        web.pressure = Some(svd_api::Pressure { cpu: 9.9, memory: 0.0, io: 0.0 });
        assert!(!shown(&web).contains("waits for"), "{}", shown(&web));
    }

    #[test]
    fn what_a_command_waits_for_is_what_is_on_its_way() {
        let mut old = instance("web.1", "draining", Some(4500));
        old.role = Role::Replaced;
        old.reason = Some("is being replaced".to_owned());
        let mut new = instance("web.2", "ready", Some(4790));
        new.role = Role::Candidate;
        let web = vec![instance("web.1", "ready", Some(4711)), old, instance("web.2", "ready", Some(17)), new];
        let status = shop(vec![process("web", web), process("db", vec![instance("db.1", "starting", Some(3))])]);
        let found = waits(&status, |process, _| process == "web", &look(None, Paint::Plain));
        assert_eq!(found[0].what, "web.1 (ending) draining: is being replaced");
        assert_eq!(
            waiting(&found),
            "waits: web.1 (ending) is draining for 12s: is being replaced | web.2 (new) is ready for 12s: is to replace the one that runs"
        );
        let many: Vec<Wait> = (0..6).map(|_| found[0].clone()).collect();
        assert!(waiting(&many).ends_with(" | and 2 more"));
    }

    #[test]
    fn a_narrow_terminal_wraps_the_reason_only() {
        let mut web = instance("web.1", "failed", None);
        web.since = String::new();
        web.reason = Some("gave up after 5 restarts in 1m: exit code 1, last line: no such table".to_owned());
        let shown = render(&shop(vec![process("web", vec![web])]), &look(Some(60), Paint::Plain));
        let table: Vec<&str> = shown.lines().skip(1).collect();
        assert_eq!(table[0], "TARGET  STATE   RESTARTS  REASON");
        assert!(table.len() > 2 && table[1].starts_with("web.1   failed         0  gave up"), "{shown}");
        assert!(table.iter().all(|line| line.len() <= 60), "{shown}");
    }

    #[test]
    fn states_are_coloured_and_nothing_else_of_a_row() {
        let status = shop(vec![process("web", vec![instance("web.1", "ready", Some(4711))])]);
        let shown = render(&status, &look(Some(80), Paint::Colors));
        assert!(shown.contains("\nweb.1   \x1b[32mready\x1b[0m  4711  12s"), "{shown:?}");
    }
}
