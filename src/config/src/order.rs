//! What waits for what: `after` checked as a whole, and `--only`.

use crate::document::Named;
use crate::plan::{Condition, JOB, Plan};
use crate::process::RawAfter;
use crate::report::Report;
use crate::source::Sources;
use crate::values;

/// Stands for all jobs in `--only`.
const JOBS: &str = "jobs";

/// Notes entries of `after` that cannot come true, and cycles.
pub(crate) fn check(processes: &[Named], report: &mut Report) {
    let find = |name: &str| processes.iter().find(|p| p.name.value == name);
    for process in processes {
        let entries = process.raw.after.as_deref().unwrap_or_default();
        for (i, entry) in entries.iter().enumerate() {
            let (name, own) = (&entry.process.value, &process.name.value);
            let shown = name.escape_debug();
            let Some(other) = find(name) else {
                let suggestion = values::did_you_mean(name, processes.iter().map(|p| p.name.value.as_str()));
                let message =
                    format!("\"after\" in [process.{own}] names process \"{shown}\", which does not exist{suggestion}");
                report.problem(entry.process.span, message);
                continue;
            };
            if name == own {
                report.problem(entry.process.span, format!("process \"{shown}\" cannot come after itself"));
            } else if entries.iter().take(i).any(|e| e.process.value == *name) {
                report.problem(entry.process.span, format!("\"after\" in [process.{own}] names \"{shown}\" twice"));
            }
            let oneshot = other.raw.oneshot.as_ref().is_some_and(|o| o.value);
            if entry.condition.value == Condition::Completed && !oneshot {
                let message = format!("process \"{shown}\" never completes: it is no one-shot");
                report.problem_with(
                    entry.condition.span,
                    message,
                    format!("set oneshot = true in [process.{name}], or wait for \"ready\""),
                );
            }
        }
    }
    check_cycles(processes, report);
}

/// Each cycle is told once, at the entry that closes it.
fn check_cycles(processes: &[Named], report: &mut Report) {
    let mut state = vec![State::New; processes.len()];
    for start in 0..processes.len() {
        if state.get(start) != Some(&State::New) {
            continue;
        }
        // A stack of our own: thousands of processes in a row must not end in a stack overflow.
        let mut path: Vec<(usize, usize)> = vec![(start, 0)];
        set(&mut state, start, State::Open);
        while let Some((at, next)) = path.last_mut() {
            let entry: Option<&RawAfter> =
                processes.get(*at).and_then(|p| p.raw.after.as_deref()).and_then(|after| after.get(*next));
            let Some(entry) = entry else {
                set(&mut state, *at, State::Done);
                path.pop();
                continue;
            };
            *next += 1;
            let Some(to) = processes.iter().position(|p| p.name.value == entry.process.value) else { continue };
            if to == *at {
                continue;
            }
            match state.get(to) {
                Some(State::New) => {
                    set(&mut state, to, State::Open);
                    path.push((to, 0));
                }
                Some(State::Open) => {
                    let from = path.iter().position(|(i, _)| *i == to).unwrap_or(0);
                    let mut names: Vec<&str> = path
                        .iter()
                        .skip(from)
                        .filter_map(|(i, _)| processes.get(*i))
                        .map(|p| p.name.value.as_str())
                        .collect();
                    names.push(&entry.process.value);
                    let message = format!("processes wait for each other: {}", names.join(" -> "));
                    report.problem_with(entry.process.span, message, "take one of them out of an \"after\"");
                }
                Some(State::Done) | None => {}
            }
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    New,
    Open,
    Done,
}

fn set(state: &mut [State], at: usize, to: State) {
    if let Some(slot) = state.get_mut(at) {
        *slot = to;
    }
}

/// Leaves out what `--only` does not name, and the jobs where there are to be none. `jobs` names all jobs, unless a process is
/// called that; `job:NAME` one.
pub(crate) fn select(plan: &mut Plan, sources: &Sources, report: &mut Report) {
    let only = &sources.only;
    if sources.no_jobs {
        plan.jobs.clear();
    }
    if only.is_empty() {
        return;
    }
    let all_jobs = plan.process(JOBS).is_none() && only.iter().any(|name| name == JOBS);
    for name in only {
        let is_job = name.strip_prefix(JOB).is_some_and(|job| plan.job(job).is_some());
        if plan.process(name).is_none() && !is_job && !(all_jobs && name == JOBS) {
            let jobs: Vec<String> = plan.jobs.iter().map(|job| format!("{JOB}{}", job.name)).collect();
            let names = || plan.processes.iter().map(|p| p.name.as_str()).chain(jobs.iter().map(String::as_str));
            let suggestion = values::did_you_mean(name, names());
            let known = names().collect::<Vec<_>>().join(", ");
            let what = if name.starts_with(JOB) { "" } else { "process " };
            let name = name.escape_debug();
            report.problem_whole(format!(
                "--only names {what}\"{name}\", which does not exist{suggestion}; there are {known}"
            ));
        }
    }
    plan.jobs.retain(|job| all_jobs || only.iter().any(|name| name.strip_prefix(JOB) == Some(&job.name)));
    plan.processes.retain(|p| only.contains(&p.name));
    for process in &mut plan.processes {
        let name = &process.name;
        process.after.retain(|dependency| {
            let kept = only.contains(&dependency.process);
            if !kept {
                let message =
                    format!("{name} starts without waiting for {}, which --only leaves out", dependency.process);
                report.warn(None, message, format!("name {} in --only too", dependency.process));
            }
            kept
        });
    }
}
