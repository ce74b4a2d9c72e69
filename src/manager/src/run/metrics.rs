//! What `/metrics` tells. The number of samples is bounded by the config: names of processes, instances, listeners and places
//! are the only labels that are not from a closed list.

use svd_config::plan::ListenAddress;
use svd_core::{InstanceView, JobView, Phase, RunResult, Seat, State, Wall};

use super::app::App;
use crate::exposition::{Exposition, Type};

/// All states, so that a state in which nobody is has a 0.
const STATES: [State; 11] = [
    State::Waiting,
    State::Starting,
    State::Ready,
    State::Unhealthy,
    State::Draining,
    State::Stopping,
    State::Backoff,
    State::Completed,
    State::Stopped,
    State::Failed,
    State::Stuck,
];

impl App {
    /// The text; `None` where `[control] metrics = false`.
    pub(super) fn metrics(&self) -> Option<String> {
        if !self.core.plan().control.metrics {
            return None;
        }
        let mut text = Exposition::default();
        self.metrics_of_svd(&mut text);
        self.metrics_of_processes(&mut text);
        self.metrics_of_jobs(&mut text);
        self.metrics_of_listeners(&mut text);
        self.metrics_of_output(&mut text);
        self.metrics_of_notices(&mut text);
        Some(text.finish())
    }

    fn metrics_of_svd(&self, text: &mut Exposition) {
        let plan = self.core.plan();
        let environment = plan.environment.as_deref().unwrap_or_default();
        let labels = [("app", plan.app.as_str()), ("environment", environment), ("version", env!("CARGO_PKG_VERSION"))];
        text.family("svd_info", Type::Gauge, "Always 1; what runs.").count(&labels, 1);
        text.family("svd_manager_starts_total", Type::Counter, "Managers that the keeper has started.")
            .count(&[], u64::from(self.keeper.manager_starts));
        let stores = u64::from(self.commits.trouble.is_none() && self.place.volatile.is_none());
        text.family("svd_store_healthy", Type::Gauge, "Whether state and history are stored durably: 1 or 0.")
            .count(&[], stores);
        text.family("svd_warnings", Type::Gauge, "Warnings that svctl status shows.")
            .count(&[], self.all_warnings().len() as u64);
    }

    fn metrics_of_processes(&self, text: &mut Exposition) {
        let views: Vec<InstanceView> = self.core.view().collect();
        let plan = self.core.plan();
        let mut family = text.family("svd_process_want", Type::Gauge, "Instances that are to run.");
        for process in &plan.processes {
            family.count(&[("process", &process.name)], u64::from(self.core.want(&process.name)));
        }
        let mut family = text.family(
            "svd_process_instances",
            Type::Gauge,
            "Instances by state, those that replace others or were replaced included.",
        );
        for process in &plan.processes {
            for state in STATES {
                let is = |view: &&InstanceView| *view.name.process == *process.name && view.state == state;
                let count = views.iter().filter(is).count() as u64;
                family.count(&[("process", &process.name), ("state", state.word())], count);
            }
        }
        let current = || views.iter().filter(|view| view.seat == Seat::Current);
        let mut family = text.family("svd_instance_ready", Type::Gauge, "Whether it is ready or completed: 1 or 0.");
        for view in current() {
            let ready = matches!(view.state, State::Ready | State::Completed);
            family.count(&labels(view, &view.name.to_string()), u64::from(ready));
        }
        let mut family = text.family(
            "svd_instance_restarts_total",
            Type::Counter,
            "Starts after the first one, since it was last asked for by a command.",
        );
        for view in current() {
            family.count(&labels(view, &view.name.to_string()), u64::from(view.restarts));
        }
        let clock = svd_sys::clock::now();
        let boot = clock.real_ns.saturating_sub(clock.boot_ns);
        let mut family = text.family(
            "svd_instance_state_since_seconds",
            Type::Gauge,
            "When it came into its state, in seconds since 1970; for one that is ready its uptime counts from here.",
        );
        for view in current() {
            // To whole milliseconds, so that two looks see the same.
            let since = boot.saturating_add(view.since.0) / 1_000_000;
            family.sample(&labels(view, &view.name.to_string()), since as f64 / 1_000.0);
        }
    }

    fn metrics_of_jobs(&self, text: &mut Exposition) {
        let jobs: Vec<JobView<'_>> = self.core.jobs().collect();
        let seconds = |wall: Wall| (wall.0 / 1_000_000) as f64 / 1_000.0;
        let mut family = text.family("svd_job_running", Type::Gauge, "Runs in progress.");
        for job in &jobs {
            let running = job.open.iter().filter(|(run, _)| run.phase == Phase::Begun).count();
            family.count(&[("job", &job.plan.name)], running as u64);
        }
        let mut family = text.family("svd_job_waiting", Type::Gauge, "Runs that wait for another one to end.");
        for job in &jobs {
            let waiting = job.open.iter().filter(|(run, _)| run.phase == Phase::Queued).count();
            family.count(&[("job", &job.plan.name)], waiting as u64);
        }
        let mut family = text.family("svd_job_paused", Type::Gauge, "Whether it does not run by its schedule: 1 or 0.");
        for job in &jobs {
            family.count(&[("job", &job.plan.name)], u64::from(job.paused));
        }
        let next = "When it runs next by its schedule, in seconds since 1970.";
        let mut family = text.family("svd_job_next_run_seconds", Type::Gauge, next);
        for (job, next) in jobs.iter().filter_map(|job| Some((job, job.next?))) {
            family.sample(&[("job", &job.plan.name)], seconds(next));
        }
        let missed = "Instants of its schedule that were missed and not made up for.";
        let mut family = text.family("svd_job_missed_total", Type::Counter, missed);
        for job in &jobs {
            family.count(&[("job", &job.plan.name)], job.missed);
        }
        let over = "Runs that are over, by their result, since this manager began.";
        let mut family = text.family("svd_job_runs_total", Type::Counter, over);
        for job in &jobs {
            for result in RunResult::all() {
                let key = (job.plan.name.clone(), result.word());
                let count = self.run_counts.get(&key).copied().unwrap_or(0);
                family.count(&[("job", &job.plan.name), ("result", result.word())], count);
            }
        }
        let latest = || jobs.iter().filter_map(|job| Some((job, job.latest?)));
        let mut family = text.family(
            "svd_job_last_run_success",
            Type::Gauge,
            "Whether its last run that is over has succeeded: 1 or 0.",
        );
        for (job, run) in latest() {
            family.count(&[("job", &job.plan.name)], u64::from(run.result() == Some(RunResult::Succeeded)));
        }
        let began = "When its last run began, also one in progress, in seconds since 1970.";
        let mut family = text.family("svd_job_last_run_start_seconds", Type::Gauge, began);
        for job in &jobs {
            let runs = job.open.iter().map(|(run, _)| *run).chain(job.latest);
            let started = runs.filter_map(|run| run.started).max();
            started.into_iter().for_each(|at| family.sample(&[("job", &job.plan.name)], seconds(at)));
        }
        let succeeded =
            "When its last run that has succeeded was over, in seconds since 1970; as far as its history goes.";
        let mut family = text.family("svd_job_last_success_seconds", Type::Gauge, succeeded);
        for (job, at) in jobs.iter().filter_map(|job| Some((job, job.succeeded?))) {
            family.sample(&[("job", &job.plan.name)], seconds(at));
        }
        let mut family =
            text.family("svd_job_last_run_end_seconds", Type::Gauge, "When that was over, in seconds since 1970.");
        for (job, at) in latest().filter_map(|(job, run)| Some((job, run.ended?))) {
            family.sample(&[("job", &job.plan.name)], seconds(at));
        }
        let mut family = text.family("svd_job_last_run_duration_seconds", Type::Gauge, "How long it took.");
        for (job, run) in latest() {
            if let (Some(started), Some(ended)) = (run.started, run.ended) {
                family.sample(&[("job", &job.plan.name)], ended.since(started).as_secs_f64());
            }
        }
    }

    fn metrics_of_listeners(&self, text: &mut Exposition) {
        let mut family = text.family("svd_listener_held", Type::Gauge, "Whether svd holds the socket: 1 or 0.");
        for process in &self.core.plan().processes {
            for wanted in &process.listen {
                let held = self.listeners.of(&process.name, wanted);
                let kind = match wanted.address {
                    ListenAddress::Tcp { .. } => "tcp",
                    ListenAddress::Udp { .. } => "udp",
                    ListenAddress::Unix { .. } => "unix",
                };
                let labels = [("process", process.name.as_str()), ("listener", wanted.name.as_str()), ("kind", kind)];
                family.count(&labels, u64::from(held.is_some()));
            }
        }
    }

    fn metrics_of_output(&self, text: &mut Exposition) {
        text.family("svd_log_stored_bytes_total", Type::Counter, "Bytes of output stored since this manager began.")
            .count(&[], self.logs.stored_bytes());
        text.family(
            "svd_log_dropped_bytes_total",
            Type::Counter,
            "Bytes of output that could not be stored since this manager began.",
        )
        .count(&[], self.logs.dropped_bytes());
    }

    fn metrics_of_notices(&self, text: &mut Exposition) {
        let mut family =
            text.family("svd_notices_waiting", Type::Gauge, "Events of which a place is to be told, or is being told.");
        for (place, waiting, _) in self.notices.counters() {
            family.count(&[("place", &place)], waiting as u64);
        }
        let mut family = text.family(
            "svd_notices_total",
            Type::Counter,
            "What has come of the events of which a place was to be told, since this manager began.",
        );
        for (place, _, counters) in self.notices.counters() {
            let results = [("told", counters.told), ("failed", counters.failed), ("dropped", counters.dropped)];
            for (result, count) in results {
                family.count(&[("place", &place), ("result", result)], count);
            }
        }
    }
}

fn labels<'l>(view: &'l InstanceView, instance: &'l str) -> [(&'l str, &'l str); 2] {
    [("process", &view.name.process), ("instance", instance)]
}
