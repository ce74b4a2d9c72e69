//! The manual page Procfile.toml(5), made from the table of keys. The same table gives the same page.

use std::fmt::Write as _;

use crate::keys::{self, Key};

/// The page in roff.
pub fn reference_man() -> String {
    let mut page = String::from(HEAD);
    together(&mut page);
    section(&mut page, "TOP LEVEL", "", keys::KEYS.iter().filter(|k| !k.path.contains('.')));
    section(&mut page, "KEYS OF [process.NAME] AND [defaults]", PROCESS, below("process.*."));
    presets(&mut page);
    section(&mut page, "KEYS OF [job.NAME]", JOBS, below("job.*."));
    let _ = writeln!(page, ".SH SCHEDULES\n{}", SCHEDULES.trim_end());
    section(&mut page, "KEYS OF [environment.NAME]", "", below("environment.*."));
    section(&mut page, "KEYS OF [control]", "", below("control."));
    section(&mut page, "KEYS OF [systemd]", "", below("systemd."));
    section(&mut page, "KEYS OF [notify]", "", below("notify."));
    notifications(&mut page);
    page.push_str(TAIL);
    page
}

fn below(prefix: &'static str) -> impl Iterator<Item = &'static Key> {
    keys::KEYS.iter().filter(move |k| k.path.starts_with(prefix))
}

fn section(page: &mut String, title: &str, intro: &str, keys: impl Iterator<Item = &'static Key>) {
    // Writing to a string cannot fail.
    let _ = writeln!(page, ".SH {}", escape(title));
    if !intro.is_empty() {
        let _ = writeln!(page, "{}", escape(intro));
    }
    for key in keys {
        let prefixes = ["process.*.", "job.*.", "environment.*.", "control.", "systemd."];
        let name = prefixes.iter().find_map(|p| key.path.strip_prefix(p));
        let _ = writeln!(page, ".TP\n.B {}", escape(&name.unwrap_or(key.path).replace('*', "NAME")));
        let _ = writeln!(page, "{}", escape(key.doc));
        let _ = writeln!(page, ".br\nTakes: {} ({}).", escape(key.allowed), escape(&key.kind_text()));
        let _ = writeln!(page, ".br\nDefault: {}.", escape(key.default));
        let _ = writeln!(page, ".br\nOn apply: {}.", escape(key.applies.text()));
        let _ = writeln!(page, ".IP\n.nf\n{}\n.fi", escape(key.example));
    }
}

/// How the keys about listeners and replacements work together, by two examples.
fn together(page: &mut String) {
    let _ = writeln!(page, ".SH TWO EXAMPLES");
    for (example, text) in [(WEB, WEB_TOLD), (WORKER, WORKER_TOLD)] {
        let _ = writeln!(page, ".IP\n.nf\n{}\n.fi\n.PP\n{}", escape(example.trim_end()), escape(text.trim_end()));
    }
}

fn notifications(page: &mut String) {
    let _ = writeln!(page, ".SH NOTIFICATIONS\n{}", escape(NOTIFICATIONS));
    for happening in crate::happenings::HAPPENINGS {
        let _ = writeln!(page, ".TP\n.B {}\nIt happens when {}.", escape(happening.name), escape(happening.when));
    }
}

fn presets(page: &mut String) {
    let _ = writeln!(page, ".SH PRESETS\n{}", escape(PRESETS));
    for preset in crate::presets::PRESETS {
        let needs = if preset.needs.is_empty() { "nothing besides." } else { preset.needs };
        let _ = writeln!(page, ".TP\n.B {}\nNeeds {}", escape(preset.name), escape(needs));
        for setting in preset.settings {
            let line = format!("{} = {}", setting.key, setting.value);
            let _ = writeln!(page, ".IP\n.nf\n{}\n.fi\nWhy: {}.", escape(&line), escape(setting.why));
        }
    }
}

/// Text as roff takes it: no line may begin with a control character, and `-` must stay one for copying.
fn escape(text: &str) -> String {
    let lines: Vec<String> = text
        .lines()
        .map(|line| {
            let line = line.replace('\\', "\\e").replace('-', "\\-");
            if line.starts_with(['.', '\'']) { format!("\\&{line}") } else { line }
        })
        .collect();
    lines.join("\n")
}

const NOTIFICATIONS: &str = "\
An event is what svctl events shows. It is told as a JSON object: event (a name of the list below), app, environment, and the fields \
of svctl events --json: id, time, kind, process, instance, pid, exit, actor, reason, message. A command has it on its standard input, \
and in the variables SVD_EVENT, SVD_EVENT_ID, SVD_TIME, SVD_MESSAGE, SVD_PROCESS, SVD_INSTANCE and SVD_EXIT (a code, or a signal such \
as SIGKILL). What it prints is kept in svd's own history (svctl events) when it fails.
Each place is told of one event at a time, in their order, and never delays what svd does besides; up to 1000 wait, and what comes \
then is dropped, counted and told. An event is told at least once: one that was being told when svd or its manager was killed is told \
again, within a day, unless the state cannot be stored. id tells the two apart from two events.
The events are:";

const HEAD: &str = r#".TH PROCFILE.TOML 5 "" svd "svd"
.SH NAME
Procfile.toml, Procfile \- the processes that svd runs
.SH DESCRIPTION
.B svd
in a directory takes
.IR Procfile.toml ,
else
.IR Procfile .
Unknown keys, bad values and impossible combinations are errors, told all at once with file, line and column before
anything is touched.
.SH PLAIN PROCFILE
Lines are
.IR "NAME: command" ;
names have letters, digits, _ and \-. Other lines are ignored, with a warning where they are no comments.
A file
.I .env
beside it gives variables: KEY=value, with # before comments, single quotes around literal values and double quotes
around values in which \en is a line break.
A command that a shell would take apart differently than svd goes through
.IR "sh \-c" ;
others are executed directly.
.SH PORT
Every instance gets a variable PORT. The base is PORT of the top\-level variables, else of svd's own environment, else
5000. The process web gets the base, whatever its place; the others get 100 more each, in the order of the
file, and further instances 1 more each. A process with a PORT of its own starts there. No two processes get the same port
by this rule, and none gets one on which another one listens. A process with a TCP listener gets the port of its first one, in
all instances.
.SH LISTENERS
svd holds the sockets of
.I listen
for as long as it runs, and hands them to the instances. Who connects while an instance is replaced waits or is served, and is
never refused.
.PP
A TCP listener has a gate, which sends each connection to one of the instances that are ready, by chance. Each instance has a
socket of its own behind the gate, its slot. Where nobody is ready, connections wait, up to the kernel's limit of 4096
(net.core.somaxconn). Unix and UDP listeners have no gate: all instances take from one queue.
.PP
The program need not know of this. It finds its sockets as LISTEN_FDS, or it binds the address of the listener as ever, and svd
puts its own socket in the place of the program's: see
.IR handoff .
The second needs root, or svd sets no_new_privs on the instance, so that sudo and the like gain nothing below it.
.B svctl doctor
tells what a host permits.
.B svctl status
shows the listeners, and a warning where an instance could not be given them.
.PP
The process
.I web
of a plain Procfile has the listener
.IR 0.0.0.0:$PORT .
A listener that apply adds is bound before anything else is done, and one that is taken is told with its holder's name. One that
apply removes is closed when the last instance that has it is gone; who comes then is refused.
.SH REPLACING INSTANCES
svctl restart, svctl apply, failed
.I health
and
.I recycle
replace instances in one way, one after the other, which
.I update
chooses:
.TP
.B overlap
A new instance starts beside the old one. It gets no connection but the probes of
.I ready
until it is ready; then the gate turns to it: at once, or in the shares of
.IR update.canary .
When it was well for
.IR update.bake ,
the old one is drained. For servers, and for workers of which two may run at once.
.TP
.B handover
The old one is sent
.I quiet
and takes no new work, a new one starts, and when that is ready the old one is drained. For workers.
.TP
.B exclusive
The old one stops, then the new one starts. For what may run only once. Connections wait meanwhile.
.PP
With overlap, a new one that ends, is not ready within
.IR ready.timeout ,
or becomes unhealthy before it has taken the place is stopped, and the old one goes on. The command exits 4 and says why, and
.B svctl why
keeps the evidence. An apply is then taken back as a whole: the config before is in force again, also for processes that had been
replaced already.
.SH DRAINING
Before an instance is told to stop, these happen in turn:
.IP 1. 4
It gets no new connections, and
.I quiet
is sent to it, where there is one.
.IP 2. 4
Nobody is left in its slot: all who wait there are accepted, and each who has asked has got an answer. So even a program
that dies at TERM loses no request. The longest wait is the sum of the times in
.IR stop ,
at least 10s and at most 10m; one that catches the first signal of
.I stop
is told after 15s at the latest and may finish by itself. Connections that are kept open without a request are not waited for:
they are closed, and clients open another one.
.IP 3. 4
The command of
.I drained
exits 0, or
.I drained.timeout
is over.
.PP
Then its
.I stop
begins. A command that replaces instances does not wait for those that still finish what they have, however many hours that takes. They
are shown by svctl status as (ending), and
.B svctl kill \-\-now \-\-replaced TARGET
ends them.
.B svctl drain TARGET
does the same with an instance that nobody replaces.
.SH WHAT AN INSTANCE GETS
A session of its own, /dev/null as standard input, pipes of svd as standard output and error, no other descriptor than
the announced ones, and an environment built afresh at each start: what keep_env lets through of svd's own, HOME, USER, LOGNAME
and SHELL where it runs as another user, the variables of this file, and last
.BR SVD_APP ,
.BR SVD_ENVIRONMENT ,
.B SVD_PROCESS
(web),
.B SVD_INSTANCE
(web.1),
.B SVD_INDEX
(1),
.B SVD_CONTROL
(path of the control socket),
.BR SVD_SPAWN ,
by which svd finds its processes,
.BR PORT ,
.B PS
(as SVD_INSTANCE),
.B NOTIFY_SOCKET
with ready = { notify = true }, watchdog or fd_store,
.B WATCHDOG_USEC
and
.B WATCHDOG_PID
with watchdog,
.B FDSTORE
with fd_store, and what
.I handoff
says of its listeners.
.SH WHAT SVD ITSELF IS TOLD
.B SVD_STOP_GRACE
in svd's environment, such as 30s, says how long whoever runs svd waits between asking it to stop and killing everything. svd warns where
the stop ladders, one after the other, may take longer. In a container 10s are assumed, below Kubernetes 30s. systemd is asked for the
time that is needed.
.PP
Below a service manager that speaks sd_notify (systemd) svd tells when nothing is starting any more, how many are ready, when it reloads and
stops, and feeds the watchdog. Sockets that it is handed over (LISTEN_FDS) are used for listeners with the same address, or for the
process (web) or listener (web.http) they are named after; TCP ones need ReusePort=yes to be gated. Nothing of that is passed on to
processes.
.SH NOTIFICATION
A process with ready = { notify = true },
.I watchdog
or
.I fd_store
finds a socket at $NOTIFY_SOCKET and says there what sd_notify(3) of systemd says. Each instance has a socket of its own.
.TP
.B READY=1
It is ready; after RELOADING=1, it has reloaded.
.TP
.BR STOPPING=1 ", " STATUS= ", " ERRNO= ", " EXIT_STATUS=
It is stopping; what it says of itself, and the last two numbers, are shown by svctl status, the numbers with \-\-json.
.TP
.B RELOADING=1
with MONOTONIC_USEC= the time of CLOCK_MONOTONIC at which it began. svctl reload sends the signal of
.IR reload ,
and, where this answers it within 2s, waits for READY=1 as long as
.I reload.timeout
says. What began before the signal is no answer. One that does not answer has been sent the signal, and the command says that nobody
can tell more.
.TP
.BR WATCHDOG=1 ", " WATCHDOG=trigger ", " WATCHDOG_USEC=
A sign of life; the instance hangs and is to be ended as
.I watchdog
says, at once and also without that key; another interval from now on, 0 for none.
.TP
.B EXTEND_TIMEOUT_USEC=
It needs so much time from now on, to start, to reload or to stop. It can only make what is in progress longer, and is sent again
before it is over. Who hangs gets none.
.TP
.BR MAINPID= ", " MAINPIDFD=1
Another of its own processes is its main process, which is sent signals, and whose end is the instance's. Where the process that was
started is gone by then, its exit status is known; where its parent lives and waits for it, it is unknown.
.TP
.BR FDSTORE=1 " with " FDNAME= " and " FDPOLL=0
svd keeps the descriptors that come along, up to
.IR fd_store ,
each once. They are closed when their other side hangs up, unless FDPOLL=0 is said; by FDSTOREREMOVE=1 with FDNAME=; and when the instance
is stopped. A restart, an end by itself and a replacement are no stop: the next start of the same instance has them behind its
listeners, as sd_listen_fds_with_names(3) tells.
.TP
.B BARRIER=1
alone and with one descriptor, which is closed when all that was said before has been taken in.
.PP
Heard are processes of the instance: in its session, below its main process, or with its SVD_SPAWN, as root, as svd's user or as the
instance's own. NOTIFYACCESS= is passed over. Of a process that its parent has waited for before svd reads what it said nobody can
tell whose it was, and it is not heard: a short-lived helper waits with BARRIER=1, as systemd\-notify(1) does. What the main process
says before it ends is heard. Everything else costs a counter
(dropped_messages and refused_descriptors of svctl \-\-json status) and nothing more: what is malformed, larger than 4096 bytes, has more than
64 descriptors or breaks the rules above, and what other processes say. Messages are told at most 64 times a second.
.SH VALUES
Times are numbers with ms, s, m, h or d, such as 500ms or 1m30s, at most 365d. Sizes are bytes, or with K, M, G or T
multiples of 1024. Signals are names with or without SIG.
"#;

const WEB: &str = r#"[process.web]
run    = "node server.js"
listen = "0.0.0.0:8080"
count  = 3
ready  = { http = "/healthz", timeout = "30s" }
health = { http = "/healthz", every = "5s", failures = 3 }
update = { canary = ["10% 1m"], bake = "10s" }
stop   = ["TERM", "30s", "KILL"]
"#;

const WEB_TOLD: &str = "\
A server that calls listen(8080). At svctl restart web a fourth instance starts. svd asks it for /healthz on port 8080, as a user \
would, for 30s at most; nobody else reaches it. When it has answered 200 to 399, it gets every tenth connection for a minute. Then it \
takes its place among the three, and one old instance is drained: it gets no more connections, its requests are answered, within \
30s, and TERM comes. So it goes on to the last one. Had it answered 500, or ended, the three old ones would run on as if nothing \
had been. Later, an instance that has failed health three times in a row is replaced in the same way; not more than one at a time.";

const WORKER: &str = r#"[process.worker]
run     = "bundle exec sidekiq --timeout 25"
count   = 2
ready   = { notify = true }
quiet   = "TSTP"
drained = { run = "./busy --none", timeout = "2h" }
stop    = ["TERM", "30s", "KILL"]
"#;

const WORKER_TOLD: &str = "\
A worker, with handover, since it has quiet and no listener. At svctl restart worker the first one is sent TSTP and takes no new \
job. Its successor starts, and is ready when it sends READY=1. Now the second one's turn comes, while the first one goes on with its \
jobs until ./busy --none exits 0, for two hours at most; only then TERM is sent. With preset = \"sidekiq\" the keys ready, quiet and \
stop can be left out.";

const PROCESS: &str = "\
Keys with a dot are those of a table: restart.limit is limit in restart = { limit = \"5 in 1m\" }.";

const JOBS: &str = "\
Keys with a dot are those of a table, as above. Some keys are those of processes.";

const SCHEDULES: &str = r#"A schedule is five fields of a crontab (minute, hour, day, month, weekday), one of @hourly, @daily, @weekly, @monthly, @yearly,
.IR @reboot ,
or
.IR "every TIME" .
A field is *, a number, a range or a list of them, each but a single number with a step as in */15 or 8\-18/2. Months and weekdays have names of
three letters; 0 and 7 are Sunday.
.B svctl schedule
reads one out in words and tells when it would run. One that never matches is an error.
.PP
The day rule is that of cron: where the day or the weekday field begins with *, both must match; where neither does, either of them is enough.
So 0 0 13 * 5 is each 13th and each Friday.
.PP
Where the clock is put forward, a job at fixed times whose time does not exist that day runs once at the end of the gap; where it is put back, it
runs the first time only. A job whose minute or hour field begins with * runs as time passes. A change of more than three hours is no daylight
saving, and gets no such care. The zones are those of the system, in TZDIR or /usr/share/zoneinfo, else those that svd has itself; new data of
the system counts as soon as it is installed.
.PP
every TIME counts from 1970\-01\-01 00:00 UTC, so that no start of svd moves it: every 1h is on the hour.
.I @reboot
is once for each start of svd, and not when only its manager is replaced.
.PP
No run begins before its instant, and for each instant one run begins at most, whatever is killed. One that is late by a minute at most is begun
late; what is later was missed, and
.I catch_up
says what becomes of it. A clock that somebody puts back runs nothing again.
.PP
The command gets the variables of this file and SVD_APP, SVD_ENVIRONMENT and SVD_CONTROL as a process does, and
.B SVD_JOB
(report),
.B SVD_RUN
(17),
.B SVD_ATTEMPT
(1) and
.B SVD_SCHEDULED
(the instant, as 2026\-11\-25T06:30:00.000Z; empty where none is stood for).
.SH HOOKS AND PINGS OF JOBS
.IR on_failure ,
.I on_success
and
.I on_missed
are run once for each run, after its last attempt, as the job's user, in its directory and with its variables, and besides with those of
NOTIFICATIONS and
.BR SVD_JOB ,
.B SVD_RUN
and
.B SVD_RESULT
(succeeded, failed, timed\-out, unknown or missed);
.B SVD_EXIT
(a code, or a signal such as SIGKILL),
.B SVD_ATTEMPT
and
.B SVD_SCHEDULED
where they are known. The event is on standard input as for
.IR notify.run .
Hooks of a job come one after the other, in the order of its runs, and hold up neither the job nor the hooks of others. What one prints, and that it
failed, is in
.BR "svctl events" .
unknown is the result of a run whose end nobody saw, such as one that a power cut ended.
.PP
.I ping
posts a line of text about the run. With one address, begin and failure go to the same address with /start and /fail behind its path, which is what
healthchecks.io and those like it want, and rid= with an id of the run, so that they match the two of a run; a table says each by itself, and nothing
is added. A ping is tried until ten minutes after what it tells of (that of the begin
for half a minute), unless the answer is one that no other try would change, such as 404. One that svd comes to only later is not sent at all. A stop by hand and a run that was skipped are neither success nor failure, and
ping nobody. A service that waits for the ping of success tells people when a job, svd or the whole machine is silent: what no hook on the
machine can do.
"#;

const PRESETS: &str = "\
What a preset sets, and why. The keys of a process win over its preset, and the preset wins over [defaults]. handoff is left \
out where a process has no listener.";

const TAIL: &str = r#".SH SEE ALSO
.BR svd (1),
.BR svctl (1)
"#;
