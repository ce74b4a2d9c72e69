//! The JSON Schema of a Procfile.toml, made from the table of keys: for editors that complete and check.

use serde_json::{Map, Value, json};

use crate::keys::{self, Key, Kind};

/// JSON Schema, draft 2020-12. It knows keys, kinds and bounds; texts with a form of their own are strings to it, so
/// what it takes may still be refused by [`crate::plan()`].
pub fn schema() -> Value {
    let process = group("process.*");
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Procfile.toml",
        "type": "object",
        "properties": properties(""),
        "additionalProperties": false,
        "$defs": { "process": process, "job": group("job.*") },
    })
}

fn properties(parent: &str) -> Map<String, Value> {
    keys::children(parent).map(|key| (key.name().to_owned(), of_key(key))).collect()
}

fn group(path: &str) -> Value {
    json!({ "type": "object", "properties": properties(path), "additionalProperties": false })
}

fn of_key(key: &Key) -> Value {
    let mut kinds: Vec<Value> = key.kinds.iter().map(|kind| of_kind(key, *kind)).collect();
    let mut schema = if kinds.len() == 1 { kinds.remove(0) } else { json!({ "anyOf": kinds }) };
    if let Value::Object(fields) = &mut schema {
        let description = format!("{} Default: {}.", key.doc, key.default);
        fields.insert("description".to_owned(), Value::String(description));
    }
    schema
}

fn of_kind(key: &Key, kind: Kind) -> Value {
    match kind {
        Kind::Text => json!({ "type": "string", "minLength": 1 }),
        Kind::OneOf(words) => json!({ "enum": words }),
        Kind::Int(low, high) => json!({ "type": "integer", "minimum": low, "maximum": high }),
        Kind::Bool => json!({ "type": "boolean" }),
        Kind::Texts => json!({ "type": "array", "items": { "type": "string" } }),
        Kind::Scalars => json!({ "type": "array", "items": { "type": ["string", "integer"] } }),
        Kind::Map(values) => {
            let mut values: Vec<Value> = values.iter().map(|kind| of_map_value(key, *kind)).collect();
            let values = if values.len() == 1 { values.remove(0) } else { json!({ "anyOf": values }) };
            json!({ "type": "object", "additionalProperties": values })
        }
        Kind::Group if key.path == "defaults" => json!({ "$ref": "#/$defs/process" }),
        Kind::Group => group(key.path),
    }
}

fn of_map_value(key: &Key, kind: Kind) -> Value {
    match kind {
        // Names of processes stand above process tables, names of environments above their own keys.
        Kind::Group if key.name() == "process" => json!({ "$ref": "#/$defs/process" }),
        Kind::Group if key.name() == "job" => json!({ "$ref": "#/$defs/job" }),
        Kind::Group => group(&format!("{}.*", key.path)),
        // An empty variable is fine.
        Kind::Text if key.name() == "env" => json!({ "type": "string" }),
        other => of_kind(key, other),
    }
}
