//! Writing: changes and events of one transaction, and forgetting what is too old.

use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, Transaction, params};
use svd_api as api;
use svd_core::{Change, Desired, InstanceName, StoredJobs, Target};

use super::types::{Batch, NewEvent, Notified, StoreError};

/// So many events are kept.
pub const MAX_EVENTS: u64 = 100_000;
/// So long they are kept, in nanoseconds: 90 days.
const MAX_AGE_NS: u64 = 90 * 86_400 * 1_000_000_000;
/// So many are kept whatever their age, since a clock that jumps must not empty history.
const MIN_EVENTS: u64 = 1_000;
/// At most so many are deleted with a commit, beside as many as it added: a commit stays short.
const PRUNE_STEP: u64 = 64;
/// Longer texts are cut, in bytes: one event must not fill the disk.
const MAX_TEXT: usize = 4096;

/// What is desired, as it is stored.
pub fn load(connection: &Connection) -> Result<Desired, StoreError> {
    let mut desired = Desired::default();
    let mut rows = connection.prepare("SELECT process, count FROM scale")?;
    for row in rows.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, u32>(1)?)))? {
        let (process, count) = row?;
        desired.scale.insert(process.into(), count);
    }
    let mut rows = connection.prepare("SELECT process FROM disabled")?;
    for process in rows.query_map([], |row| row.get::<_, String>(0))? {
        desired.disabled.insert(process?.into());
    }
    let mut rows = connection.prepare("SELECT process, number FROM stopped")?;
    for row in rows.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, u32>(1)?)))? {
        let (process, number) = row?;
        desired.stopped.insert(Target { process: process.into(), index: (number != 0).then_some(number) });
    }
    let mut rows = connection.prepare("SELECT process, number, generation FROM generation")?;
    let read = |row: &rusqlite::Row<'_>| Ok((row.get::<_, String>(0)?, row.get::<_, u32>(1)?, row.get::<_, i64>(2)?));
    for row in rows.query_map([], read)? {
        let (process, number, generation) = row?;
        desired.generation.insert(InstanceName::new(process, number), generation.cast_unsigned());
    }
    Ok(desired)
}

/// Forgets what holds for one keeper only, where the stored state is of another one.
pub fn begin(connection: &mut Connection, boot: &[u8; 16]) -> Result<(), StoreError> {
    let transaction = connection.transaction()?;
    let read = |row: &rusqlite::Row<'_>| row.get::<_, Vec<u8>>(0);
    let stored = transaction.query_row("SELECT value FROM meta WHERE key = 'boot'", [], read).optional()?;
    if stored.as_deref() != Some(boot) {
        transaction.execute_batch("DELETE FROM stopped; DELETE FROM generation;")?;
        transaction.execute_batch("UPDATE job SET rebooted = 0; UPDATE run SET lost = 1 WHERE ended IS NULL;")?;
        transaction.execute("INSERT OR REPLACE INTO meta (key, value) VALUES ('boot', ?1)", [boot])?;
    }
    // Where nobody was ever told of anything, nobody is told of what lies long behind.
    transaction.execute(
        "INSERT OR IGNORE INTO meta (key, value) VALUES ('notified', (SELECT coalesce(max(id), 0) FROM event))",
        [],
    )?;
    transaction.commit()?;
    Ok(())
}

/// Who has been told of what.
pub fn notified(connection: &Connection) -> Result<Notified, StoreError> {
    let read = |row: &rusqlite::Row<'_>| row.get::<_, i64>(0);
    let stored = connection.query_row("SELECT value FROM meta WHERE key = 'notified'", [], read).optional()?;
    let mark = stored.map_or_else(|| last(connection), Ok)?;
    // A space, and the character after it.
    let mut ahead = connection.prepare("SELECT key FROM meta WHERE key >= 'told ' AND key < 'told!'")?;
    let keys = ahead.query_map([], |row| row.get::<_, String>(0))?.collect::<Result<Vec<_>, _>>()?;
    let ahead = keys.iter().filter_map(|key| {
        let (event, place) = key.strip_prefix("told ")?.split_once(' ')?;
        Some((event.parse().ok()?, place.to_owned()))
    });
    Ok(Notified { mark, ahead: ahead.collect() })
}

/// The beginning of the keys of those who were told of an event: in the order of its number.
fn told(event: i64) -> String {
    format!("told {event:019}")
}

/// Writes all of what is desired into a new database, whose events go on after `last`.
pub fn restore(
    connection: &mut Connection,
    desired: &Desired,
    jobs: &StoredJobs,
    boot: Option<&[u8; 16]>,
    last: i64,
) -> Result<(), StoreError> {
    let transaction = connection.transaction()?;
    super::jobs::restore(&transaction, jobs)?;
    for change in desired.scale.iter().map(|(process, count)| Change::Scale(process.clone(), Some(*count))) {
        store_change(&transaction, &change)?;
    }
    for change in desired.disabled.iter().map(|process| Change::Disabled(process.clone(), true)) {
        store_change(&transaction, &change)?;
    }
    for change in desired.stopped.iter().map(|target| Change::Stopped(target.clone(), true)) {
        store_change(&transaction, &change)?;
    }
    for change in desired.generation.iter().map(|(instance, n)| Change::Generation(instance.clone(), *n)) {
        store_change(&transaction, &change)?;
    }
    if let Some(boot) = boot {
        transaction.execute("INSERT OR REPLACE INTO meta (key, value) VALUES ('boot', ?1)", [boot])?;
    }
    transaction.execute("INSERT INTO sqlite_sequence (name, seq) VALUES ('event', ?1)", [last])?;
    transaction.execute("INSERT INTO meta (key, value) VALUES ('notified', ?1)", [last])?;
    transaction.commit()?;
    Ok(())
}

/// The last event's number; 0 where there is none.
pub fn last(connection: &Connection) -> Result<i64, StoreError> {
    Ok(connection.query_row("SELECT coalesce(max(id), 0) FROM event", [], |row| row.get(0))?)
}

/// How many events there are.
pub fn count(connection: &Connection) -> Result<u64, StoreError> {
    let count: i64 = connection.query_row("SELECT count(*) FROM event", [], |row| row.get(0))?;
    Ok(count.cast_unsigned())
}

/// Stores a batch; answers its events with their numbers, without those that were there.
pub fn apply(transaction: &Transaction<'_>, batch: &Batch) -> Result<Vec<Arc<api::Event>>, StoreError> {
    for change in &batch.changes {
        store_change(transaction, change)?;
    }
    for change in &batch.jobs {
        super::jobs::store(transaction, change)?;
    }
    let mut stored = Vec::with_capacity(batch.events.len());
    for event in &batch.events {
        stored.extend(store_event(transaction, event)?.map(Arc::new));
    }
    for (event, place) in &batch.told {
        let key = format!("{} {place}", told(*event));
        run(transaction, "INSERT OR REPLACE INTO meta (key, value) VALUES (?1, 1)", params![key])?;
    }
    if let Some(mark) = batch.notified {
        let behind = told(mark.saturating_add(1));
        run(transaction, "DELETE FROM meta WHERE key >= 'told ' AND key < ?1", params![behind])?;
        run(
            transaction,
            "INSERT INTO meta (key, value) VALUES ('notified', ?1)
             ON CONFLICT (key) DO UPDATE SET value = max(value, excluded.value)",
            params![mark],
        )?;
    }
    Ok(stored)
}

fn store_change(transaction: &Transaction<'_>, change: &Change) -> Result<(), StoreError> {
    match change {
        Change::Scale(process, Some(count)) => run(
            transaction,
            "INSERT OR REPLACE INTO scale (process, count) VALUES (?1, ?2)",
            params![&**process, count],
        ),
        Change::Scale(process, None) => run(transaction, "DELETE FROM scale WHERE process = ?1", params![&**process]),
        Change::Disabled(process, true) => {
            run(transaction, "INSERT OR REPLACE INTO disabled (process) VALUES (?1)", params![&**process])
        }
        Change::Disabled(process, false) => {
            run(transaction, "DELETE FROM disabled WHERE process = ?1", params![&**process])
        }
        Change::Stopped(target, true) => run(
            transaction,
            "INSERT OR REPLACE INTO stopped (process, number) VALUES (?1, ?2)",
            params![&*target.process, target.index.unwrap_or(0)],
        ),
        Change::Stopped(target, false) => run(
            transaction,
            "DELETE FROM stopped WHERE process = ?1 AND number = ?2",
            params![&*target.process, target.index.unwrap_or(0)],
        ),
        Change::Generation(instance, generation) => run(
            transaction,
            "INSERT OR REPLACE INTO generation (process, number, generation) VALUES (?1, ?2, ?3)",
            params![&*instance.process, instance.index, generation.cast_signed()],
        ),
        // They are about plans that only the keeper holds.
        Change::Boundaries(..) | Change::TakenBack(_) => Ok(()),
    }
}

fn run(transaction: &Transaction<'_>, sql: &str, values: &[&dyn rusqlite::ToSql]) -> Result<(), StoreError> {
    transaction.prepare_cached(sql)?.execute(values)?;
    Ok(())
}

/// `None` where the event's report is stored already.
fn store_event(transaction: &Transaction<'_>, event: &NewEvent) -> Result<Option<api::Event>, StoreError> {
    let exit = event.exit.as_ref().and_then(|exit| serde_json::to_string(exit).ok());
    let (boot, seq) = event.report.map(|(boot, seq)| (boot, seq.cast_signed())).unzip();
    let reason = event.reason.as_deref().map(cut);
    let message = cut(&event.message);
    // The conflict is named: any other violation stays an error.
    let added = transaction
        .prepare_cached(
            "INSERT INTO event (time_ns, kind, process, instance, spawn, pid, exit, actor, reason, message, boot, seq)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)
             ON CONFLICT (boot, seq) WHERE boot IS NOT NULL DO NOTHING",
        )?
        .execute(params![
            event.time_ns.cast_signed(),
            event.kind,
            event.process,
            event.instance,
            event.spawn.map(u64::cast_signed),
            event.pid,
            exit,
            event.actor,
            reason,
            message,
            boot,
            seq,
        ])?;
    if added == 0 {
        return Ok(None);
    }
    Ok(Some(api::Event {
        id: transaction.last_insert_rowid(),
        time: super::read::rfc3339(event.time_ns),
        kind: event.kind.clone(),
        process: event.process.clone(),
        instance: event.instance.clone(),
        spawn: event.spawn,
        pid: event.pid,
        exit: event.exit.clone(),
        actor: event.actor.clone(),
        reason,
        message,
    }))
}

fn cut(text: &str) -> String {
    if text.len() <= MAX_TEXT {
        return text.to_owned();
    }
    let end = (0..=MAX_TEXT).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    format!("{}…", &text[..end])
}

/// Deletes some of what is too much or too old; `count` is how many there are, and `added` how many of them are new.
pub fn prune(transaction: &Transaction<'_>, count: u64, added: u64) -> Result<u64, StoreError> {
    let step = PRUNE_STEP.saturating_add(added);
    let many = count.saturating_sub(MAX_EVENTS).min(step);
    let mut gone = 0;
    if many > 0 {
        gone = transaction
            .prepare_cached("DELETE FROM event WHERE id IN (SELECT id FROM event ORDER BY id LIMIT ?1)")?
            .execute([many.cast_signed()])?;
    } else if count > MIN_EVENTS {
        gone = transaction
            .prepare_cached(
                "DELETE FROM event WHERE id IN (SELECT id FROM event ORDER BY id LIMIT ?1)
                 AND time_ns < (SELECT time_ns FROM event ORDER BY id DESC LIMIT 1) - ?2",
            )?
            .execute([step.min(count - MIN_EVENTS).cast_signed(), MAX_AGE_NS.cast_signed()])?;
    }
    Ok(gone as u64)
}
