//! Reading history.

use std::collections::BTreeSet;

use rusqlite::types::Value;
use rusqlite::{Connection, Row, params_from_iter};
use svd_api as api;

use super::types::{EventQuery, MAX_TARGETS, StoreError};
use crate::instant::instant;

const MAX_LIMIT: u32 = 10_000;
const DEFAULT_LIMIT: u32 = 1_000;

/// The events that the query asks for, oldest first.
pub fn events(connection: &Connection, query: &EventQuery) -> Result<Vec<api::Event>, StoreError> {
    let mut filter = String::new();
    let mut filter_values: Vec<Value> = Vec::new();
    if !query.kinds.is_empty() {
        filter.push_str(&format!(" AND kind IN ({})", vec!["?"; query.kinds.len()].join(",")));
        filter_values.extend(query.kinds.iter().cloned().map(Value::Text));
    }
    for (id, term) in [(query.after_id, " AND id > ?"), (query.before_id, " AND id < ?")] {
        if let Some(id) = id {
            filter.push_str(term);
            filter_values.push(Value::Integer(id));
        }
    }
    let is_forward = query.after_id.is_some();
    let order = if is_forward { "ORDER BY id LIMIT ?" } else { "ORDER BY id DESC LIMIT ?" };
    let limit = if query.limit == 0 { DEFAULT_LIMIT } else { query.limit.min(MAX_LIMIT) };
    let limit = Value::Integer(i64::from(limit));

    // Each term walks its own index in the order of ids and stops at the limit. One condition with OR would collect all
    // events of all targets first.
    let mut values: Vec<Value> = Vec::new();
    let mut walks = Vec::new();
    let terms = if query.target.is_empty() { vec![("1", Vec::new())] } else { terms(&query.target) };
    for (term, names) in terms {
        walks.push(format!("SELECT id FROM (SELECT id FROM event WHERE {term}{filter} {order})"));
        values.extend(names.into_iter().map(Value::Text).chain(filter_values.iter().cloned()).chain([limit.clone()]));
    }
    values.push(limit);
    let sql = format!(
        "SELECT id, time_ns, kind, process, instance, pid, exit, actor, reason, message, spawn FROM event \
         WHERE id IN ({}) {order}",
        walks.join(" UNION ALL ")
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let mut found = statement.query_map(params_from_iter(values), event)?.collect::<Result<Vec<_>, _>>()?;
    if !is_forward {
        found.reverse();
    }
    Ok(found)
}

/// Conditions with their values, each for other events. A process's name means all of its events, an instance's name its
/// own and those of its process as a whole.
fn terms(targets: &[String]) -> Vec<(&'static str, Vec<String>)> {
    let mut processes = BTreeSet::new();
    let mut instances = BTreeSet::new();
    for target in targets.iter().take(MAX_TARGETS) {
        match target.rsplit_once('.') {
            Some((process, number)) if number.parse::<u32>().is_ok() => {
                instances.insert((process, target));
            }
            _ => {
                processes.insert(target.as_str());
            }
        }
    }
    instances.retain(|(process, _)| !processes.contains(process));
    let owners: BTreeSet<&str> = instances.iter().map(|(process, _)| *process).collect();
    let processes = processes.into_iter().map(|name| ("process = ?", vec![name.to_owned()]));
    let owners = owners.into_iter().map(|name| ("process = ? AND instance IS NULL", vec![name.to_owned()]));
    let instances = instances.into_iter().map(|(_, name)| ("instance = ?", vec![name.clone()]));
    processes.chain(owners).chain(instances).collect()
}

fn event(row: &Row<'_>) -> rusqlite::Result<api::Event> {
    let exit: Option<String> = row.get(6)?;
    Ok(api::Event {
        id: row.get(0)?,
        time: rfc3339(row.get::<_, i64>(1)?.cast_unsigned()),
        kind: row.get(2)?,
        process: row.get(3)?,
        instance: row.get(4)?,
        spawn: row.get::<_, Option<i64>>(10)?.map(i64::cast_unsigned),
        pid: row.get(5)?,
        exit: exit.and_then(|text| serde_json::from_str(&text).ok()),
        actor: row.get(7)?,
        reason: row.get(8)?,
        message: row.get(9)?,
    })
}

/// An instant of nanoseconds since 1970, with milliseconds.
pub fn rfc3339(time_ns: u64) -> String {
    format!("{:.3}", instant(time_ns))
}
