//! What differs between two plans, and what that means for running instances. Values of variables never appear.

use std::collections::BTreeMap;

use crate::fingerprint::{announced, fingerprint};
use crate::plan::{ExecPlan, JobPlan, ListenAddress, LogPlan, Plan, ProcessPlan, Run};

/// One difference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The process that it is about.
    pub process: String,
    /// What it is.
    pub kind: ChangeKind,
}

/// What a difference is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChangeKind {
    /// The new plan has a process that the old one has not.
    Added,
    /// The old plan has a process that the new one has not.
    Removed,
    /// The process differs in these keys; a variable is named `env.NAME`. Never empty.
    Changed {
        /// The keys, as the table of keys names them below `process.*`.
        keys: Vec<String>,
        /// What has to happen.
        effect: Effect,
    },
    /// The config asks for another number of instances. A process may have this beside [`ChangeKind::Changed`].
    Count {
        /// So many in the old plan.
        from: u32,
        /// So many in the new plan.
        to: u32,
    },
}

/// What a changed key means for running instances.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// They have to be restarted.
    Restart,
    /// They go on.
    Live,
}

/// The differences: in the order of the new plan, then those processes that only the old one has.
pub fn diff(old: &Plan, new: &Plan) -> Vec<Change> {
    let mut changes = Vec::new();
    for process in &new.processes {
        let mut push = |kind| changes.push(Change { process: process.name.clone(), kind });
        let Some(before) = old.process(&process.name) else {
            push(ChangeKind::Added);
            continue;
        };
        let keys = changed_keys(before, process);
        if !keys.is_empty() {
            let same = fingerprint(before) == fingerprint(process);
            push(ChangeKind::Changed { keys, effect: if same { Effect::Live } else { Effect::Restart } });
        }
        if before.count != process.count {
            push(ChangeKind::Count { from: before.count, to: process.count });
        }
    }
    for process in old.processes.iter().filter(|p| new.process(&p.name).is_none()) {
        changes.push(Change { process: process.name.clone(), kind: ChangeKind::Removed });
    }
    changes
}

/// One difference between the jobs of two plans.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobChange {
    /// The job.
    pub job: String,
    /// What it is.
    pub kind: JobChangeKind,
}

/// What a difference of a job is. Runs in progress go on as they are, whatever it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JobChangeKind {
    /// The new plan has a job that the old one has not.
    Added,
    /// The old plan has a job that the new one has not.
    Removed,
    /// The job differs in these keys; a variable is named `env.NAME`. Never empty.
    Changed(Vec<String>),
}

/// The differences of jobs: in the order of the new plan, then those that only the old one has.
pub fn diff_jobs(old: &Plan, new: &Plan) -> Vec<JobChange> {
    let mut changes = Vec::new();
    for job in &new.jobs {
        let kind = match old.job(&job.name).map(|before| changed_job(before, job)) {
            None => JobChangeKind::Added,
            Some(keys) if keys.is_empty() => continue,
            Some(keys) => JobChangeKind::Changed(keys),
        };
        changes.push(JobChange { job: job.name.clone(), kind });
    }
    for job in old.jobs.iter().filter(|job| new.job(&job.name).is_none()) {
        changes.push(JobChange { job: job.name.clone(), kind: JobChangeKind::Removed });
    }
    changes
}

fn changed_job(old: &JobPlan, new: &JobPlan) -> Vec<String> {
    let (a, b) = (&old.process, &new.process);
    let text = |job: &JobPlan| job.schedule.as_ref().map(|schedule| schedule.text.clone());
    let zone = |job: &JobPlan| job.schedule.as_ref().map(|schedule| schedule.zone.clone());
    let mut keys = changed_exec(&a.exec, &b.exec);
    keys.extend(differing(&[
        ("stdin", a.exec.input != b.exec.input),
        ("schedule", text(old) != text(new)),
        ("timezone", old.schedule.is_some() && new.schedule.is_some() && zone(old) != zone(new)),
        ("overlap", old.overlap != new.overlap),
        ("lock", old.lock != new.lock),
        ("timeout", old.timeout() != new.timeout()),
        ("stop", a.stop != b.stop),
        ("retry.attempts", old.retries != new.retries),
        (
            "retry.backoff",
            (a.restart.backoff_min, a.restart.backoff_max) != (b.restart.backoff_min, b.restart.backoff_max),
        ),
        ("catch_up.mode", old.catch_up.mode != new.catch_up.mode),
        ("catch_up.within", old.catch_up.within != new.catch_up.within),
        ("catch_up.max", old.catch_up.max != new.catch_up.max),
        ("jitter", old.jitter != new.jitter),
        ("history.keep", old.history.keep != new.history.keep),
        ("history.age", old.history.age != new.history.age),
        ("success_exit", a.restart.success_exit != b.restart.success_exit),
        ("paused", old.paused != new.paused),
        ("on_failure", old.hooks.failure != new.hooks.failure),
        ("on_success", old.hooks.success != new.hooks.success),
        ("on_missed", old.hooks.missed != new.hooks.missed),
        ("ping", old.ping != new.ping),
    ]));
    keys
}

/// The keys outside of processes that differ: they take effect when svd itself is started again.
pub fn needs_new_start(old: &Plan, new: &Plan) -> Vec<&'static str> {
    let (a, b) = (&old.control, &new.control);
    [
        ("app", old.app != new.app),
        ("environment", old.environment != new.environment),
        ("control.socket_mode", a.socket_mode != b.socket_mode),
        ("control.socket_group", a.socket_group != b.socket_group),
        ("control.read_group", a.read_group != b.read_group),
        ("systemd.store_listeners", old.store_listeners != new.store_listeners),
        ("control.without_manager", a.without_manager != b.without_manager),
    ]
    .into_iter()
    .filter_map(|(key, differs)| differs.then_some(key))
    .collect()
}

/// The keys outside of processes and jobs that differ and take effect at once.
pub fn changed_outside(old: &Plan, new: &Plan) -> Vec<&'static str> {
    [("control.metrics", old.control.metrics != new.control.metrics), ("notify", old.notify != new.notify)]
        .into_iter()
        .filter_map(|(key, differs)| differs.then_some(key))
        .collect()
}

fn changed_keys(old: &ProcessPlan, new: &ProcessPlan) -> Vec<String> {
    let mut keys = changed_exec(&old.exec, &new.exec);
    keys.extend(changed_listen(old, new).into_iter().map(str::to_owned));
    let (a, b) = (&old.restart, &new.restart);
    let others = [
        ("after", old.after != new.after),
        ("oneshot", old.oneshot != new.oneshot),
        ("essential", old.essential != new.essential),
        ("ready", old.ready.by != new.ready.by || announced(old) != announced(new)),
        ("ready.timeout", old.ready.timeout != new.ready.timeout),
        ("restart.when", a.when != b.when),
        ("restart.backoff", (a.backoff_min, a.backoff_max) != (b.backoff_min, b.backoff_max)),
        ("restart.limit", a.limit != b.limit),
        ("restart.success_exit", a.success_exit != b.success_exit),
        ("stop", old.stop != new.stop),
        ("reload", old.reload_signal != new.reload_signal),
        ("reload.timeout", old.notify.reload_timeout != new.notify.reload_timeout),
        ("watchdog", old.notify.watchdog != new.notify.watchdog),
        ("fd_store", old.notify.fd_store != new.notify.fd_store),
        ("quiet", old.quiet != new.quiet),
        ("update.strategy", old.update.strategy != new.update.strategy),
        ("update.surge", old.update.surge != new.update.surge),
        ("update.unavailable", old.update.unavailable != new.update.unavailable),
        ("update.bake", old.update.bake != new.update.bake),
        ("update.canary", old.update.canary != new.update.canary),
        ("recycle.memory", old.recycle.memory != new.recycle.memory),
        ("recycle.age", old.recycle.age != new.recycle.age),
        ("limits.memory", old.limits.memory != new.limits.memory),
        ("limits.memory_high", old.limits.memory_high != new.limits.memory_high),
        ("limits.cpu", old.limits.cpu != new.limits.cpu),
        ("limits.pids", old.limits.pids != new.limits.pids),
        ("limits.io_weight", old.limits.io_weight != new.limits.io_weight),
    ];
    keys.extend(differing(&others));
    match (&old.health, &new.health) {
        (Some(a), Some(b)) => keys.extend(differing(&[
            ("health", a.by != b.by),
            ("health.every", a.every != b.every),
            ("health.timeout", a.timeout != b.timeout),
            ("health.failures", a.failures != b.failures),
        ])),
        (None, None) => {}
        (Some(_), None) | (None, Some(_)) => keys.push("health".to_owned()),
    }
    match (&old.drained, &new.drained) {
        (Some(a), Some(b)) => keys.extend(differing(&[
            ("drained.run", a.run != b.run),
            ("drained.every", a.every != b.every),
            ("drained.timeout", a.timeout != b.timeout),
        ])),
        (None, None) => {}
        (Some(_), None) | (None, Some(_)) => keys.push("drained".to_owned()),
    }
    match (&old.logs, &new.logs) {
        (LogPlan::Segments { segment: s1, max_size: m1 }, LogPlan::Segments { segment: s2, max_size: m2 }) => {
            keys.extend((m1 != m2).then(|| "logs.max_size".to_owned()));
            keys.extend((s1 != s2).then(|| "logs.segment".to_owned()));
        }
        (LogPlan::Null, LogPlan::Null) => {}
        (LogPlan::Null, LogPlan::Segments { .. }) | (LogPlan::Segments { .. }, LogPlan::Null) => {
            keys.push("logs".to_owned());
        }
    }
    keys
}

fn differing(keys: &[(&str, bool)]) -> Vec<String> {
    keys.iter().filter(|(_, differs)| *differs).map(|(key, _)| (*key).to_owned()).collect()
}

/// Keys that are about listeners and ports.
fn changed_listen(old: &ProcessPlan, new: &ProcessPlan) -> Vec<&'static str> {
    let mut keys = Vec::new();
    let where_ = |process: &ProcessPlan| -> Vec<(String, ListenAddress)> {
        process.listen.iter().map(|listener| (listener.name.clone(), listener.address.clone())).collect()
    };
    if where_(old) != where_(new) {
        keys.push("listen");
    } else if old.listen != new.listen {
        keys.push("traffic");
    }
    let listens = !old.listen.is_empty() || !new.listen.is_empty();
    if listens && old.handoff != new.handoff {
        keys.push("handoff");
    }
    // With a listener on both sides what PORT was counted to be is told to nobody.
    let told = |process: &ProcessPlan| process.port_listener().is_none().then_some(process.exec.port);
    if told(old).is_some() && told(new).is_some() && told(old) != told(new) {
        keys.push("env.PORT");
    }
    keys
}

fn changed_exec(old: &ExecPlan, new: &ExecPlan) -> Vec<String> {
    let is_shell = |run: &Run| matches!(run, Run::Shell(_));
    let keys = [
        ("run", old.run != new.run),
        ("shell", is_shell(&old.run) != is_shell(&new.run)),
        ("cwd", old.cwd != new.cwd),
        ("user", old.user != new.user),
        ("group", old.group != new.group),
        ("umask", old.umask != new.umask),
        ("nice", old.nice != new.nice),
        ("oom_score_adj", old.oom_score_adj != new.oom_score_adj),
        ("keep_env", old.keep_env != new.keep_env),
        ("rlimits", old.rlimits != new.rlimits),
        ("capabilities", old.confine.capabilities != new.confine.capabilities),
        ("no_new_privs", old.confine.no_new_privs != new.confine.no_new_privs),
        ("private_tmp", old.confine.private_tmp != new.confine.private_tmp),
        ("read_only", old.confine.read_only != new.confine.read_only),
        ("read_write", old.confine.read_write != new.confine.read_write),
    ];
    let mut keys = differing(&keys);
    let names: BTreeMap<&String, ()> = old.env.keys().chain(new.env.keys()).map(|name| (name, ())).collect();
    keys.extend(names.keys().filter(|n| old.env.get(**n) != new.env.get(**n)).map(|name| format!("env.{name}")));
    keys
}
