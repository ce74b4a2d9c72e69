//! Jobs and their runs in the database.

use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};
use svd_core::{Cause, ExitStatus, JobChange, JobState, Phase, Run, RunId, RunResult, StoredJobs, Wall};

use super::types::StoreError;

/// Which runs to read. The answer is newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunQuery {
    /// Of this job; `None`: of all.
    pub job: Option<String>,
    /// Only earlier ones than this.
    pub before: Option<u32>,
    /// Only this one.
    pub run: Option<u32>,
    /// At most so many, 1 to 10,000; 0 means 100.
    pub limit: u32,
}

const COLUMNS: &str =
    "id, job, cause, scheduled, count, created, started, ended, attempts, exit, phase, stopping, why, actor";

/// All that a manager begins with.
pub fn load(connection: &Connection) -> Result<StoredJobs, StoreError> {
    let mut stored = StoredJobs { last: last(connection)?, ..StoredJobs::default() };
    let mut rows = connection.prepare(
        "SELECT name, handled, gap_from, gap_to, ahead_from, ahead_to, paused, idle, schedule, rebooted, missed FROM job",
    )?;
    for row in rows.query_map([], state)? {
        let (name, state) = row?;
        stored.states.insert(name.into(), state);
    }
    let mut rows = connection.prepare(&format!("SELECT {COLUMNS}, lost FROM run WHERE ended IS NULL ORDER BY id"))?;
    for row in rows.query_map([], |row| Ok((run(row)?, row.get::<_, bool>(14)?)))? {
        let (run, lost) = row?;
        if lost {
            stored.lost.push(run.id);
        }
        stored.open.push(run);
    }
    let mut rows = connection.prepare("SELECT job, id, ended FROM run WHERE ended IS NOT NULL ORDER BY id")?;
    let over = |row: &Row<'_>| Ok((row.get::<_, String>(0)?, RunId(row.get(1)?), Wall(row.get(2)?)));
    for row in rows.query_map([], over)? {
        let (job, id, ended) = row?;
        stored.history.entry(Arc::from(job)).or_default().push((id, ended));
    }
    let mut rows = connection.prepare(&format!(
        "SELECT {COLUMNS} FROM run WHERE id IN
         (SELECT max(id) FROM run WHERE ended IS NOT NULL AND phase NOT IN ('skipped', 'missed') GROUP BY job)"
    ))?;
    for row in rows.query_map([], run)? {
        let run = row?;
        stored.latest.insert(run.job.clone(), run);
    }
    let mut rows = connection.prepare("SELECT job, max(ended) FROM run WHERE phase = 'succeeded' GROUP BY job")?;
    for row in rows.query_map([], |row| Ok((row.get::<_, String>(0)?, Wall(row.get(1)?))))? {
        let (job, ended) = row?;
        stored.succeeded.insert(Arc::from(job), ended);
    }
    Ok(stored)
}

fn last(connection: &Connection) -> Result<RunId, StoreError> {
    let read = |row: &Row<'_>| row.get::<_, u32>(0);
    let last = connection.query_row("SELECT value FROM meta WHERE key = 'run'", [], read).optional()?;
    Ok(RunId(last.unwrap_or(0)))
}

fn state(row: &Row<'_>) -> rusqlite::Result<(String, JobState)> {
    let wall = |at: usize| row.get::<_, Option<i64>>(at).map(|instant| instant.map(Wall));
    let state = JobState {
        handled: wall(1)?,
        gap: wall(2)?.zip(wall(3)?),
        ahead: wall(4)?.zip(wall(5)?),
        paused: row.get(6)?,
        idle: row.get(7)?,
        schedule: row.get(8)?,
        rebooted: row.get(9)?,
        missed: row.get::<_, i64>(10)?.cast_unsigned(),
    };
    Ok((row.get(0)?, state))
}

fn run(row: &Row<'_>) -> rusqlite::Result<Run> {
    let text = |at: usize| row.get::<_, String>(at);
    let wall = |at: usize| row.get::<_, Option<i64>>(at).map(|instant| instant.map(Wall));
    let phase = match text(10)?.as_str() {
        "queued" => Phase::Queued,
        "begun" => Phase::Begun,
        other => Phase::Ended(RunResult::of_word(other).unwrap_or(RunResult::Unknown)),
    };
    Ok(Run {
        id: RunId(row.get(0)?),
        job: Arc::from(text(1)?),
        cause: Cause::of_word(&text(2)?).unwrap_or(Cause::Schedule),
        scheduled: wall(3)?,
        count: row.get(4)?,
        created: Wall(row.get(5)?),
        started: wall(6)?,
        ended: wall(7)?,
        attempts: row.get(8)?,
        exit: row.get::<_, Option<String>>(9)?.as_deref().map(exit_of),
        phase,
        stopping: row.get::<_, Option<String>>(11)?.as_deref().and_then(RunResult::of_word),
        why: text(12)?,
        actor: row.get(13)?,
    })
}

/// `code 3`, `signal 9`, `signal 11 core`, `signal 9 oom` (which an earlier build reads as a signal), `unknown`.
fn exit_text(exit: ExitStatus) -> String {
    match exit {
        ExitStatus::Code(code) => format!("code {code}"),
        ExitStatus::Signal { signal, core: false } => format!("signal {signal}"),
        ExitStatus::Signal { signal, core: true } => format!("signal {signal} core"),
        ExitStatus::OutOfMemory => "signal 9 oom".to_owned(),
        ExitStatus::Unknown => "unknown".to_owned(),
    }
}

fn exit_of(text: &str) -> ExitStatus {
    let mut words = text.split(' ');
    let number = |word: Option<&str>| word.and_then(|word| word.parse::<i32>().ok());
    match words.next() {
        Some("code") => {
            number(words.next()).and_then(|code| u8::try_from(code).ok()).map_or(ExitStatus::Unknown, ExitStatus::Code)
        }
        Some("signal") => match number(words.next()) {
            Some(signal) => match words.next() {
                Some("oom") => ExitStatus::OutOfMemory,
                other => ExitStatus::Signal { signal, core: other == Some("core") },
            },
            None => ExitStatus::Unknown,
        },
        Some(_) | None => ExitStatus::Unknown,
    }
}

/// Stores one change.
pub fn store(transaction: &Transaction<'_>, change: &JobChange) -> Result<(), StoreError> {
    match change {
        JobChange::State(name, state) => {
            let ((gap_from, gap_to), (ahead_from, ahead_to)) = (state.gap.unzip(), state.ahead.unzip());
            let wall = |instant: Option<Wall>| instant.map(|wall| wall.0);
            transaction
                .prepare_cached(
                    "INSERT OR REPLACE INTO job (name, handled, gap_from, gap_to, ahead_from, ahead_to, paused, idle,
                     schedule, rebooted, missed) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
                )?
                .execute(params![
                    &**name,
                    wall(state.handled),
                    wall(gap_from),
                    wall(gap_to),
                    wall(ahead_from),
                    wall(ahead_to),
                    state.paused,
                    state.idle,
                    state.schedule,
                    state.rebooted,
                    state.missed.cast_signed(),
                ])?;
        }
        JobChange::Gone(name) => {
            transaction.prepare_cached("DELETE FROM job WHERE name = ?1")?.execute([&**name])?;
        }
        JobChange::Run(run) => {
            transaction
                .prepare_cached(
                    "INSERT OR REPLACE INTO run (id, job, cause, scheduled, count, created, started, ended, attempts, exit,
                     phase, stopping, why, actor) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)",
                )?
                .execute(params![
                    run.id.0,
                    &*run.job,
                    run.cause.word(),
                    run.scheduled.map(|wall| wall.0),
                    run.count,
                    run.created.0,
                    run.started.map(|wall| wall.0),
                    run.ended.map(|wall| wall.0),
                    run.attempts,
                    run.exit.map(exit_text),
                    match run.phase {
                        Phase::Queued => "queued",
                        Phase::Begun => "begun",
                        Phase::Ended(result) => result.word(),
                    },
                    run.stopping.map(RunResult::word),
                    run.why,
                    run.actor,
                ])?;
            // A number is never used twice, also when its run is forgotten.
            transaction
                .prepare_cached(
                    "INSERT INTO meta (key, value) VALUES ('run', ?1)
                     ON CONFLICT (key) DO UPDATE SET value = max(value, excluded.value)",
                )?
                .execute([run.id.0])?;
        }
        JobChange::Forget(_, runs) => {
            for id in runs {
                transaction.prepare_cached("DELETE FROM run WHERE id = ?1")?.execute([id.0])?;
            }
        }
    }
    Ok(())
}

/// Makes the change in what is kept for a database that has to be replaced.
pub fn mirror(stored: &mut StoredJobs, change: &JobChange) {
    match change {
        JobChange::State(name, state) => {
            stored.states.insert(name.clone(), state.clone());
        }
        JobChange::Gone(name) => {
            stored.states.remove(name);
        }
        JobChange::Run(run) => {
            stored.last = stored.last.max(run.id);
            stored.open.retain(|open| open.id != run.id);
            match run.result() {
                None => stored.open.push((**run).clone()),
                Some(result) if result.has_happened() => {
                    stored.latest.insert(run.job.clone(), (**run).clone());
                }
                Some(_) => {}
            }
        }
        JobChange::Forget(..) => {}
    }
}

/// Writes that into a new database.
pub fn restore(transaction: &Transaction<'_>, stored: &StoredJobs) -> Result<(), StoreError> {
    for (name, state) in &stored.states {
        store(transaction, &JobChange::State(name.clone(), state.clone()))?;
    }
    for run in stored.open.iter().chain(stored.latest.values()) {
        store(transaction, &JobChange::Run(Box::new(run.clone())))?;
    }
    transaction.execute("INSERT OR REPLACE INTO meta (key, value) VALUES ('run', ?1)", [stored.last.0])?;
    Ok(())
}

/// The runs that the query asks for.
pub fn runs(connection: &Connection, query: &RunQuery) -> Result<Vec<Run>, StoreError> {
    let limit = if query.limit == 0 { 100 } else { query.limit.min(10_000) };
    let mut statement = connection.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM run WHERE (?1 IS NULL OR job = ?1) AND (?2 IS NULL OR id < ?2) AND (?3 IS NULL OR id = ?3)
         ORDER BY id DESC LIMIT ?4"
    ))?;
    let found = statement.query_map(params![query.job, query.before, query.run, limit], run)?;
    Ok(found.collect::<Result<Vec<_>, _>>()?)
}
