//! Jobs and runs as tables.

use comfy_table::CellAlignment::{self, Left, Right};
use svd_api::{Job, Run};

use super::{Look, exit, table};
use crate::text;

const JOBS: &[(&str, CellAlignment)] = &[
    ("JOB", Left),
    ("NEXT", Left),
    ("ZONE", Left),
    ("NOW", Left),
    ("LAST", Left),
    ("RESULT", Left),
    ("TOOK", Right),
    ("SCHEDULE", Left),
];

const RUNS: &[(&str, CellAlignment)] = &[
    ("RUN", Right),
    ("JOB", Left),
    ("SCHEDULED", Left),
    ("STARTED", Left),
    ("RESULT", Left),
    ("TOOK", Right),
    ("TRIES", Right),
    ("BY", Left),
    ("WHY", Left),
];

/// All jobs.
pub(crate) fn list(jobs: &[Job], look: &Look) -> String {
    if jobs.is_empty() {
        return "no jobs\n".to_owned();
    }
    let rows: Vec<Vec<String>> = jobs.iter().map(|job| row(job, look)).collect();
    table::render(JOBS, &rows, look.width)
}

fn row(job: &Job, look: &Look) -> Vec<String> {
    let next = match (&job.next, job.paused, &job.schedule) {
        (_, true, _) => "paused".to_owned(),
        (Some(next), false, _) => text::clock(next, &look.now),
        (None, false, Some(schedule)) if schedule == "@reboot" => "when svd starts".to_owned(),
        (None, false, Some(_)) => "never".to_owned(),
        (None, false, None) => "by hand".to_owned(),
    };
    let now: Vec<String> = job.open.iter().map(|run| format!("{} ({})", run.result, run.run)).collect();
    let last = job.last.as_ref();
    vec![
        text::plain(&job.name).into_owned(),
        next,
        job.timezone.as_deref().map(|zone| text::plain(zone).into_owned()).unwrap_or_default(),
        now.join(", "),
        last.and_then(|run| run.started.as_ref()).map(|at| text::clock(at, &look.now)).unwrap_or_default(),
        last.map(result).unwrap_or_default(),
        last.map(took).unwrap_or_default(),
        job.schedule.as_deref().map(|schedule| text::plain(schedule).into_owned()).unwrap_or_default(),
    ]
}

/// `report runs next at 14:00:00 (*/15 * * * *, Europe/Berlin)`.
pub(crate) fn sentence(job: &Job, look: &Look) -> String {
    let name = text::plain(&job.name);
    let mut parts: Vec<String> = job.schedule.iter().map(|schedule| text::plain(schedule).into_owned()).collect();
    parts.extend(job.timezone.as_deref().map(|zone| text::plain(zone).into_owned()));
    let schedule = if parts.is_empty() { String::new() } else { format!(" ({})", parts.join(", ")) };
    let what = match (&job.next, job.paused) {
        (_, true) => "is paused: svctl jobs resume has it run again".to_owned(),
        (Some(next), false) => format!("runs next at {}", text::clock(next, &look.now)),
        (None, false) if job.schedule.is_some() => "has no further run by its schedule".to_owned(),
        (None, false) => "runs by hand only".to_owned(),
    };
    let missed = if job.missed > 0 { format!("; {} were missed so far", job.missed) } else { String::new() };
    format!("job:{name} {what}{schedule}{missed}\n")
}

/// `run 17 failed, exit code 3, after 1.2s, by schedule of 14:00:00: …`.
pub(crate) fn run_sentence(run: &Run, look: &Look) -> String {
    let color = match run.result.as_str() {
        "succeeded" => "32",
        "queued" | "running" | "skipped" | "replaced" | "cancelled" => "33",
        _ => "31",
    };
    let mut shown = format!("run {} {}", run.run, look.paint.apply(color, &result(run)));
    let took = took(run);
    if !took.is_empty() {
        shown.push_str(&format!(" after {took}"));
    }
    match (&run.scheduled, run.cause.as_str()) {
        (Some(at), _) => shown.push_str(&format!(", scheduled for {}", text::clock(at, &look.now))),
        (None, "hand") => shown.push_str(", by hand"),
        (None, _) => {}
    }
    if let Some(why) = &run.why {
        shown.push_str(&format!(": {}", text::plain(why)));
    }
    shown
}

/// Runs, of one job or of several.
pub(crate) fn history(runs: &[Run], several: bool, look: &Look) -> String {
    if runs.is_empty() {
        return "no runs\n".to_owned();
    }
    let clock = |at: &Option<String>| at.as_ref().map(|at| text::clock(at, &look.now)).unwrap_or_default();
    let row = |run: &Run| {
        let by = match (run.cause.as_str(), &run.actor) {
            ("schedule", _) => String::new(),
            (_, Some(actor)) => text::plain(actor).into_owned(),
            (cause, None) => text::plain(cause).into_owned(),
        };
        vec![
            run.run.to_string(),
            if several { text::plain(&run.job).into_owned() } else { String::new() },
            clock(&run.scheduled),
            clock(&run.started),
            result(run),
            took(run),
            if run.attempts > 1 { run.attempts.to_string() } else { String::new() },
            by,
            run.why.as_deref().map(|why| text::plain(why).into_owned()).unwrap_or_default(),
        ]
    };
    table::render(RUNS, &runs.iter().map(row).collect::<Vec<_>>(), look.width)
}

/// `failed, exit code 3`, `missed 12`.
fn result(run: &Run) -> String {
    let word = text::plain(&run.result).into_owned();
    match (&run.exit, run.count) {
        (Some(how), _) if run.result != "succeeded" => format!("{word}, {}", exit(how)),
        (_, count) if count > 1 => format!("{word} {count}"),
        (_, _) => word,
    }
}

fn took(run: &Run) -> String {
    match run.seconds {
        Some(seconds) if run.attempts > 0 && seconds < 60.0 => format!("{seconds:.1}s"),
        Some(seconds) if run.attempts > 0 => text::duration(seconds as i64),
        Some(_) | None => String::new(),
    }
}
