//! Reading history.

use rusqlite::types::Value;
use rusqlite::{Connection, Row, params_from_iter};
use svd_api as api;

use super::types::{EventQuery, StoreError};

const MAX_LIMIT: u32 = 10_000;
const DEFAULT_LIMIT: u32 = 1_000;
const MAX_TARGETS: usize = 256;

/// The events that the query asks for, oldest first.
pub fn events(connection: &Connection, query: &EventQuery) -> Result<Vec<api::Event>, StoreError> {
    let mut sql = String::from(
        "SELECT id, time_ns, kind, process, instance, pid, exit, actor, reason, message FROM event WHERE 1",
    );
    let mut values: Vec<Value> = Vec::new();
    if !query.target.is_empty() {
        let terms: Vec<&str> =
            query.target.iter().take(MAX_TARGETS).map(|target| target_term(target, &mut values)).collect();
        sql.push_str(&format!(" AND ({})", terms.join(" OR ")));
    }
    if !query.kinds.is_empty() {
        let marks = vec!["?"; query.kinds.len()].join(",");
        values.extend(query.kinds.iter().cloned().map(Value::Text));
        sql.push_str(&format!(" AND kind IN ({marks})"));
    }
    for (id, term) in [(query.after_id, " AND id > ?"), (query.before_id, " AND id < ?")] {
        if let Some(id) = id {
            sql.push_str(term);
            values.push(Value::Integer(id));
        }
    }
    let forward = query.after_id.is_some();
    sql.push_str(if forward { " ORDER BY id LIMIT ?" } else { " ORDER BY id DESC LIMIT ?" });
    let limit = if query.limit == 0 { DEFAULT_LIMIT } else { query.limit.min(MAX_LIMIT) };
    values.push(Value::Integer(i64::from(limit)));

    let mut statement = connection.prepare_cached(&sql)?;
    let mut found = statement.query_map(params_from_iter(values), event)?.collect::<Result<Vec<_>, _>>()?;
    if !forward {
        found.reverse();
    }
    Ok(found)
}

/// A process's name means all of its events, an instance's name its own and those of its process as a whole.
fn target_term(target: &str, values: &mut Vec<Value>) -> &'static str {
    match target.rsplit_once('.') {
        Some((process, number)) if number.parse::<u32>().is_ok() => {
            values.extend([Value::Text(target.to_owned()), Value::Text(process.to_owned())]);
            "instance = ? OR (process = ? AND instance IS NULL)"
        }
        _ => {
            values.push(Value::Text(target.to_owned()));
            "process = ?"
        }
    }
}

fn event(row: &Row<'_>) -> rusqlite::Result<api::Event> {
    let exit: Option<String> = row.get(6)?;
    Ok(api::Event {
        id: row.get(0)?,
        time: rfc3339(row.get(1)?),
        kind: row.get(2)?,
        process: row.get(3)?,
        instance: row.get(4)?,
        pid: row.get(5)?,
        exit: exit.and_then(|text| serde_json::from_str(&text).ok()),
        actor: row.get(7)?,
        reason: row.get(8)?,
        message: row.get(9)?,
    })
}

/// An instant of nanoseconds since 1970, with milliseconds.
pub fn rfc3339(time_ns: i64) -> String {
    let time = jiff::Timestamp::from_nanosecond(i128::from(time_ns)).unwrap_or_default();
    format!("{time:.3}")
}
