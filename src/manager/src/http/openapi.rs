//! The OpenAPI 3.1 document: paths from the table of routes, schemas from schemas.json beside this file.

use serde_json::{Map, Value, json};

use super::routes::{Endpoint, Method, ROUTES, Route};
use crate::ask::Role;

/// Checked against the types of the API by a test.
const SCHEMAS: &str = include_str!("schemas.json");

/// The document. It is the same for the same build.
pub fn openapi() -> Value {
    let mut paths = Map::new();
    for route in ROUTES {
        let path = paths.entry(route.path).or_insert_with(|| json!({}));
        path[route.method.word().to_ascii_lowercase()] = operation(route);
    }
    // The file is part of the build and a test reads it.
    let schemas: Value = serde_json::from_str(SCHEMAS).unwrap_or_default();
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "svd control API",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "HTTP/1.1 over the control socket: `curl --unix-socket control.sock http://svd/v1/status`. \
                            Roles: `read` for members of [control] read_group, `operate` for members of socket_group, `admin` \
                            for root and the user svd runs as. Fields are added, never renamed.",
        },
        "servers": [{ "url": "http://svd" }],
        "paths": paths,
        "components": { "schemas": schemas },
    })
}

fn operation(route: &Route) -> Value {
    let mut parameters: Vec<Value> = route.params.iter().map(|param| {
        json!({ "name": param.name, "in": "query", "description": param.about, "schema": { "type": "string" } })
    }).collect();
    if route.path.contains('{') {
        parameters.insert(0, json!({ "name": "name", "in": "path", "required": true, "schema": { "type": "string" } }));
    }
    let success = match route.endpoint {
        Endpoint::Logs => json!({ "application/x-ndjson": { "schema": reference(route.answer) } }),
        Endpoint::Events => json!({
            "application/json": { "schema": reference(route.answer) },
            "text/event-stream": { "schema": { "type": "string" } },
        }),
        Endpoint::Metrics => json!({ "text/plain": { "schema": reference(route.answer) } }),
        _ => json!({ "application/json": { "schema": reference(route.answer) } }),
    };
    let mut responses = json!({
        "200": { "description": "done", "content": success },
        "default": { "description": "what is wrong", "content": content("ErrorReply") },
    });
    if route.answer == "CommandResult" {
        responses["409"] =
            json!({ "description": "refused, nothing was changed", "content": content("CommandResult") });
        responses["500"] = json!({ "description": "tried, and failed", "content": content("CommandResult") });
    }
    let mut operation = json!({
        "operationId": operation_id(route),
        "summary": route.summary,
        "x-role": role_word(route.role),
        "responses": responses,
    });
    if !parameters.is_empty() {
        operation["parameters"] = Value::Array(parameters);
    }
    if let Some(body) = route.body {
        operation["requestBody"] = json!({ "content": content(body) });
    }
    operation
}

/// `GET /v1/processes/{name}` is `get_processes_name`.
fn operation_id(route: &Route) -> String {
    let method = match route.method {
        Method::Get => "get",
        Method::Post => "post",
    };
    let path = route.path.trim_start_matches("/v1").replace(['/', '.'], "_").replace(['{', '}'], "");
    format!("{method}{path}")
}

fn role_word(role: Role) -> &'static str {
    match role {
        Role::None => "none",
        Role::Read => "read",
        Role::Operate => "operate",
        Role::Admin => "admin",
    }
}

fn content(schema: &str) -> Value {
    json!({ "application/json": { "schema": reference(schema) } })
}

fn reference(schema: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{schema}") })
}
