//! `listen`, `traffic` and `handoff` as they were said: each value checked by itself. Addresses may have variables in them,
//! so what they mean is found out when the plan is made.

use crate::field::{Field, Section};
use crate::handoff;
use crate::keys;
use crate::plan::{Handoff, Traffic};
use crate::report::{At, Report};
use crate::tree::Value;
use crate::values;

/// One listener as it was said.
#[derive(Clone, Debug)]
pub(crate) struct RawListener {
    /// `None`: the only one, without a name.
    pub name: Option<At<String>>,
    pub address: At<String>,
    pub traffic: Option<At<Traffic>>,
    pub mode: Option<At<u32>>,
    pub user: Option<At<String>>,
    pub group: Option<At<String>>,
    pub v6only: Option<At<bool>>,
}

impl RawListener {
    fn of(name: Option<At<String>>, address: At<String>) -> RawListener {
        RawListener { name, address, traffic: None, mode: None, user: None, group: None, v6only: None }
    }

    /// The only listener of a process, at this address.
    pub fn at(address: At<String>) -> RawListener {
        RawListener::of(None, address)
    }
}

/// Descriptors of one start that are listeners, at most: what svd hands over at once has room for some others beside them.
const MOST: usize = 48;

const TRAFFIC: &[(&str, Traffic)] = &[("gated", Traffic::Gated), ("shared", Traffic::Shared)];

/// `traffic`, of a process or of one listener.
pub(crate) fn traffic(field: &Field<'_>, report: &mut Report) -> Option<At<Traffic>> {
    field.choice(TRAFFIC, report)
}

/// `handoff`.
pub(crate) fn handoff(field: &Field<'_>, report: &mut Report) -> Option<At<Handoff>> {
    let Value::Text(text) = &field.node.value else {
        field.wrong(field.node, report);
        return None;
    };
    let parsed = if text.contains('\0') { Err(String::new()) } else { handoff::parse(text) };
    match parsed {
        Ok(handoff) => Some(At::new(handoff, field.node.span)),
        Err(reason) => {
            field.wrong_because(field.node, &reason, report);
            None
        }
    }
}

/// `listen`: empty where nothing of it could be read, so that it is not missed besides.
pub(crate) fn listen(field: &Field<'_>, report: &mut Report) -> At<Vec<RawListener>> {
    At::new(listeners(field, report).unwrap_or_default(), field.node.span)
}

fn listeners(field: &Field<'_>, report: &mut Report) -> Option<Vec<RawListener>> {
    let span = field.node.span;
    let Value::Table(table) = &field.node.value else {
        let address = field.text(report)?;
        return Some(vec![RawListener::at(address)]);
    };
    if table.entries.is_empty() {
        field.wrong_because(field.node, " without anything in it", report);
        return None;
    }
    if table.entries.len() > MOST {
        report.problem(
            span,
            format!("{} has {} listeners; at most {MOST} are possible", field.title(), table.entries.len()),
        );
        return None;
    }
    let mut listeners = Vec::new();
    for entry in &table.entries {
        let name = &entry.name;
        if keys::key(&format!("process.*.listen.*.{name}")).is_some() {
            let message = format!(
                "\"{name}\" in {} is a key of one listener, and a listener's name stands above it",
                field.title()
            );
            let help = "write listen = { http = { address = \"…\" } }, with a name of your own for http";
            report.problem_with(entry.name_span, message, help);
            continue;
        }
        if !values::is_name(name) {
            let shown = name.escape_debug();
            let message =
                format!("\"{shown}\" is not the name of a listener; names have letters, digits, _ and -, at most 64");
            report.problem(entry.name_span, message);
            continue;
        }
        let name = Some(At::new(name.clone(), entry.name_span));
        match &entry.node.value {
            Value::Text(text) if !text.is_empty() && !text.contains('\0') => {
                listeners.push(RawListener::of(name, At::new(text.clone(), entry.node.span)));
            }
            Value::Table(table) => {
                let label = format!("{}.listen.{}", field.label, entry.name);
                let section = Section { label, path: "process.*.listen.*".to_owned(), table };
                section.check_known(report);
                let traffic = section.get("traffic").and_then(|f| traffic(&f, report));
                let mode = section.get("mode").and_then(|f| f.mode(report, |m| m <= 0o777));
                let user = section.get("user").and_then(|f| f.account(report));
                let group = section.get("group").and_then(|f| f.account(report));
                let v6only = section.get("v6only").and_then(|f| f.boolean(report));
                match section.get("address") {
                    Some(address) => listeners.extend(address.text(report).map(|address| RawListener {
                        name,
                        address,
                        traffic,
                        mode,
                        user,
                        group,
                        v6only,
                    })),
                    None => report.problem(entry.name_span, format!("[{}] has no \"address\"", section.label)),
                }
            }
            _ => field.wrong(&entry.node, report),
        }
    }
    Some(listeners)
}
