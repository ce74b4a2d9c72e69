//! Typed reading of tables by way of the table of keys.
//!
//! A [`Section`] is a table with the path of its keys; a [`Field`] is a value together with its key. Messages get
//! their "must be …" from the key. A field that is wrong is noted once and read as absent.

use crate::keys::{self, Key, Kind};
use crate::report::{At, Report, Span};
use crate::tree::{Entry, Node, Table, Value};
use crate::values;

/// A table and where its keys are in the table of keys.
pub(crate) struct Section<'a> {
    /// How messages call it: `process.web`; empty at the top level.
    pub label: String,
    /// The path of its keys: `process.*`.
    pub path: String,
    pub table: &'a Table,
}

/// A value with its key.
pub(crate) struct Field<'a> {
    pub key: &'static Key,
    pub label: String,
    pub name_span: Span,
    pub node: &'a Node,
}

impl<'a> Section<'a> {
    /// The field of this name, where the text has it and the table of keys knows it.
    pub fn get(&self, name: &str) -> Option<Field<'a>> {
        let entry = self.table.entries.iter().find(|e| e.name == name)?;
        let path = if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) };
        let key = keys::key(&path)?;
        Some(Field { key, label: self.label.clone(), name_span: entry.name_span, node: &entry.node })
    }

    /// Notes the keys that the table of keys does not know; tables below that have keys of their own are looked at
    /// too, those with names that the user chooses are not.
    pub fn check_known(&self, report: &mut Report) {
        for entry in &self.table.entries {
            if let Some(field) = self.get(&entry.name) {
                if let Some(section) = field.group() {
                    section.check_known(report);
                }
                continue;
            }
            let names: Vec<&str> = keys::children(&self.path).map(Key::name).collect();
            unknown(entry, &self.label, names.into_iter(), report);
        }
    }
}

/// Notes an unknown key.
pub(crate) fn unknown<'n>(
    entry: &Entry,
    label: &str,
    known: impl Iterator<Item = &'n str> + Clone,
    report: &mut Report,
) {
    let name = entry.name.escape_debug();
    let suggestion = values::did_you_mean(&entry.name, known.clone());
    let message = format!("unknown key \"{name}\"{}{suggestion}", place(label));
    if suggestion.is_empty() {
        report.problem_with(
            entry.name_span,
            message,
            format!("known keys here: {}", known.collect::<Vec<_>>().join(", ")),
        );
    } else {
        report.problem(entry.name_span, message);
    }
}

fn place(label: &str) -> String {
    if label.is_empty() { " at the top level".to_owned() } else { format!(" in [{label}]") }
}

impl<'a> Field<'a> {
    /// `"count" in [process.web]`.
    pub fn title(&self) -> String {
        format!("\"{}\"{}", self.key.name(), place(&self.label))
    }

    /// The table below this key, where it is a table with known keys.
    pub fn group(&self) -> Option<Section<'a>> {
        let open = !self.key.kinds.contains(&Kind::Group);
        match &self.node.value {
            Value::Table(table) if !open && self.key.path != "defaults" => Some(self.section(table, self.key.path)),
            _ => None,
        }
    }

    /// A table below this key whose keys have this path.
    pub fn section(&self, table: &'a Table, path: &str) -> Section<'a> {
        let name = self.key.name();
        let label = if self.label.is_empty() { name.to_owned() } else { format!("{}.{name}", self.label) };
        Section { label, path: path.to_owned(), table }
    }

    /// Notes that the value, or this part of it, is not what is allowed.
    pub fn wrong(&self, node: &Node, report: &mut Report) {
        self.wrong_because(node, "", report);
    }

    /// As [`Field::wrong`], with more words at the end of the message.
    pub fn wrong_because(&self, node: &Node, more: &str, report: &mut Report) {
        let message = format!("{} must be {}; found {}{more}", self.title(), self.key.allowed, node.describe());
        report.problem(node.span, message);
    }

    /// A string without NUL that is not empty.
    pub fn text(&self, report: &mut Report) -> Option<At<String>> {
        self.parsed(report, |text| Some(text.to_owned()))
    }

    /// A string that this function takes. It never sees an empty one or one with NUL.
    pub fn parsed<T>(&self, report: &mut Report, parse: impl Fn(&str) -> Option<T>) -> Option<At<T>> {
        let value = match &self.node.value {
            Value::Text(text) if is_clean(text) => parse(text),
            _ => None,
        };
        if value.is_none() {
            self.wrong(self.node, report);
        }
        value.map(|v| At::new(v, self.node.span))
    }

    /// One of these words, with a suggestion where it is nearly one.
    pub fn choice<T: Copy>(&self, words: &[(&str, T)], report: &mut Report) -> Option<At<T>> {
        if let Value::Text(text) = &self.node.value {
            if let Some((_, value)) = words.iter().find(|(word, _)| word == text) {
                return Some(At::new(*value, self.node.span));
            }
            let more = values::did_you_mean(text, words.iter().map(|(w, _)| *w));
            self.wrong_because(self.node, &more, report);
        } else {
            self.wrong(self.node, report);
        }
        None
    }

    /// A whole number within the bounds of the key.
    pub fn int(&self, report: &mut Report) -> Option<At<i64>> {
        if let Value::Int { value, .. } = self.node.value
            && self.key.kinds.iter().any(|k| matches!(k, Kind::Int(low, high) if (*low..=*high).contains(&value)))
        {
            return Some(At::new(value, self.node.span));
        }
        self.wrong(self.node, report);
        None
    }

    /// true or false.
    pub fn boolean(&self, report: &mut Report) -> Option<At<bool>> {
        if let Value::Bool(value) = self.node.value {
            return Some(At::new(value, self.node.span));
        }
        self.wrong(self.node, report);
        None
    }

    /// A name, or a number from 0 to 2³²-2 as text.
    pub fn account(&self, report: &mut Report) -> Option<At<String>> {
        match &self.node.value {
            Value::Int { value, .. } if (0..4_294_967_295).contains(value) => {
                Some(At::new(value.to_string(), self.node.span))
            }
            _ => self.parsed(report, |t| values::is_account(t).then(|| t.to_owned())),
        }
    }

    /// Octal digits in a string, or a number written with 0o.
    pub fn mode(&self, report: &mut Report, allowed: impl Fn(u32) -> bool) -> Option<At<u32>> {
        let mode = match &self.node.value {
            Value::Text(text) => values::octal(text),
            Value::Int { value, radix: 8 } => u32::try_from(*value).ok(),
            Value::Int { .. } => {
                // TOML reads 22 as decimal, which is 0o26: nobody means that.
                self.wrong_because(self.node, "; write it as a string or with 0o in front", report);
                return None;
            }
            _ => None,
        };
        match mode.filter(|m| allowed(*m)) {
            Some(mode) => Some(At::new(mode, self.node.span)),
            None => {
                self.wrong(self.node, report);
                None
            }
        }
    }

    /// An array of strings; those that are not strings or empty are noted and left out.
    pub fn texts(&self, report: &mut Report) -> Option<Vec<At<String>>> {
        let Value::Array(items) = &self.node.value else {
            self.wrong(self.node, report);
            return None;
        };
        let mut texts = Vec::new();
        for item in items {
            match &item.value {
                Value::Text(text) if is_clean(text) => texts.push(At::new(text.clone(), item.span)),
                _ => self.wrong(item, report),
            }
        }
        Some(texts)
    }

    /// A string, or an array of strings.
    pub fn text_or_texts(&self, report: &mut Report) -> Option<Vec<At<String>>> {
        match self.node.value {
            Value::Array(_) => self.texts(report),
            _ => self.text(report).map(|text| vec![text]),
        }
    }

    /// A table whose names the user chooses.
    pub fn map(&self, report: &mut Report) -> Option<&'a Table> {
        match &self.node.value {
            Value::Table(table) => Some(table),
            _ => {
                self.wrong(self.node, report);
                None
            }
        }
    }

    /// A table of environment variables.
    pub fn variables(&self, report: &mut Report) -> Option<Vec<(At<String>, String)>> {
        let mut variables = Vec::new();
        for entry in &self.map(report)?.entries {
            let name = entry.name.escape_debug();
            if !values::is_variable(&entry.name) {
                let message = format!("\"{name}\" in {} is not the name of a variable", self.title());
                report.problem(entry.name_span, message);
                continue;
            }
            match &entry.node.value {
                Value::Text(text) if !text.contains('\0') => {
                    variables.push((At::new(entry.name.clone(), entry.name_span), text.clone()));
                }
                Value::Text(_) => report.problem(entry.node.span, format!("the value of {name} has a NUL character")),
                Value::Int { .. } | Value::Bool(_) | Value::Other(_) => {
                    let message = format!("\"{name}\" in {} must be a string; put its value in quotes", self.title());
                    report.problem(entry.node.span, message);
                }
                Value::Array(_) | Value::Table(_) => {
                    let message = format!("\"{name}\" in {} must be a string", self.title());
                    report.problem(entry.node.span, message);
                }
            }
        }
        Some(variables)
    }
}

fn is_clean(text: &str) -> bool {
    !text.is_empty() && !text.contains('\0')
}
