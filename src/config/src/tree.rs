//! A TOML text as a tree in file order, with a span on every key and value. Nothing here knows any key.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::report::{NOT_TOML, Report, Span};

/// A value and where it stands.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub span: Span,
    pub value: Value,
}

/// What TOML knows.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    Text(String),
    Int {
        value: i64,
        radix: u32,
    },
    Bool(bool),
    Array(Vec<Node>),
    Table(Table),
    /// A fraction, a date or a number beyond 64 bits: no key takes one. The words describe it in messages.
    Other(&'static str),
}

/// A table in the order of the file.
#[derive(Clone, Debug, Default)]
pub(crate) struct Table {
    pub entries: Vec<Entry>,
}

/// One `key = value`.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub name: String,
    pub name_span: Span,
    pub node: Node,
}

impl Node {
    /// `the string "two"`: how messages name what was found.
    pub fn describe(&self) -> String {
        match &self.value {
            Value::Text(text) => format!("\"{}\"", text.escape_debug()),
            Value::Int { value, .. } => format!("the number {value}"),
            Value::Bool(value) => value.to_string(),
            Value::Array(_) => "an array".to_owned(),
            Value::Table(_) => "a table".to_owned(),
            Value::Other(what) => (*what).to_owned(),
        }
    }
}

/// Reads a text; what is no TOML is noted and the rest is returned.
pub(crate) fn read(text: &str, file: usize, report: &mut Report) -> Table {
    let (table, errors) = DeTable::parse_recoverable(text);
    for error in errors {
        let range = error.span().unwrap_or(0..0);
        let message = error.message().lines().collect::<Vec<_>>().join(", ");
        report.broken(Span { file, start: range.start, end: range.end }, format!("{NOT_TOML}{message}"));
    }
    convert_table(table.into_inner(), file)
}

fn convert_table(table: DeTable<'_>, file: usize) -> Table {
    let mut entries: Vec<Entry> = table
        .into_iter()
        .map(|(key, value)| {
            let range = key.span();
            Entry {
                name: key.into_inner().into_owned(),
                name_span: Span { file, start: range.start, end: range.end },
                node: convert(value, file),
            }
        })
        .collect();
    entries.sort_by_key(|e| e.name_span);
    Table { entries }
}

fn convert(value: Spanned<DeValue<'_>>, file: usize) -> Node {
    let range = value.span();
    let value = match value.into_inner() {
        DeValue::String(text) => Value::Text(text.into_owned()),
        DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
            Ok(value) => Value::Int { value, radix: number.radix() },
            Err(_) => Value::Other("a number beyond 64 bits"),
        },
        DeValue::Float(_) => Value::Other("a fraction"),
        DeValue::Boolean(value) => Value::Bool(value),
        DeValue::Datetime(_) => Value::Other("a date"),
        DeValue::Array(items) => Value::Array(items.into_iter().map(|item| convert(item, file)).collect()),
        DeValue::Table(table) => Value::Table(convert_table(table, file)),
    };
    Node { span: Span { file, start: range.start, end: range.end }, value }
}
