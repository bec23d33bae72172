//! The OpenAPI 3.1 description (<https://spec.openapis.org/oas/v3.1.1.html>), made from what the
//! service runs on: the catalogue's own schemas, and the codes of [`Refusal`] and [`Rejection`].
//!
//! It is put together by hand and not by annotations: the schemas of events are documents, not Rust
//! types, and must appear word for word. What keeps it true are the service's tests, which hold every
//! answer they get against it.

use std::sync::Arc;

use axum::{
    extract::State,
    http::{HeaderValue, StatusCode},
    response::Response,
};
use event_model::Catalogue;
use serde_json::{Map, Value, json};

use crate::{
    http::answer::json as respond,
    ingest::Ingest,
    refusal::{Refusal, Rejection},
};

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// `GET /openapi.json`.
pub(super) async fn openapi(State(ingest): State<Arc<Ingest>>) -> Response {
    respond(StatusCode::OK, JSON, &document(&ingest.schemas.current()))
}

/// Each status of an answer about events: when it is given, and whether it says when to come back.
const STATUSES: [(u16, &str, RetryAfter); 13] = [
    (200, "Every event is accepted, now or before", RetryAfter::Never),
    (
        202,
        "Every event is accepted, some of them for later publication",
        RetryAfter::Never,
    ),
    (
        207,
        "The events fared differently: send the `retry` ones again",
        RetryAfter::Sometimes,
    ),
    (
        400,
        "Not JSON, none of the shapes, or not what its content encoding says",
        RetryAfter::Never,
    ),
    (401, "No credential, or a wrong one", RetryAfter::Never),
    (403, "The credential may not send this type", RetryAfter::Never),
    (404, "There is no such event type", RetryAfter::Never),
    (408, "The body came too slowly: try again", RetryAfter::Never),
    (
        413,
        "Body, event or number of events too large: split the request",
        RetryAfter::Never,
    ),
    (415, "Unknown media type or content encoding", RetryAfter::Never),
    (422, "Every event is invalid", RetryAfter::Never),
    (429, "The quota is used up: wait", RetryAfter::Always),
    (
        503,
        "Nothing could be taken: wait and try again",
        RetryAfter::Always,
    ),
];

#[derive(Clone, Copy, PartialEq, Eq)]
enum RetryAfter {
    Never,
    Sometimes,
    Always,
}

/// The description of a service with this catalogue.
pub(crate) fn document(catalogue: &Catalogue) -> Value {
    json!({
        "openapi": "3.1.0",
        "jsonSchemaDialect": "https://json-schema.org/draft/2020-12/schema",
        "info": {
            "title": "Events",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Takes events, checks each against the schema of its type and publishes it. \
                            The answer says what became of each event.",
        },
        "paths": paths(),
        "components": {
            "securitySchemes": {"basic": {
                "type": "http", "scheme": "basic",
                "description": "The key and secret of a credential (RFC 7617)",
            }},
            "schemas": schemas(catalogue),
            "headers": {
                "RequestId": {
                    "description": "Names this request, as `requestid` in the answer does",
                    "schema": {"type": "string", "format": "uuid"},
                },
                "RetryAfter": {
                    "description": "After how many seconds to try again",
                    "schema": {"type": "integer", "minimum": 0},
                },
            },
        },
    })
}

fn paths() -> Value {
    let event_type = path_parameter("eventtype", "Such as `play`");
    let version = path_parameter("version", "`MODEL-REVISION-ADDITION`, such as `1-0-0`");
    json!({
        "/v1/events": {"post": take("Publish events", "publish", "Body", None, &[])},
        "/v1/events/{eventtype}": {
            "post": take("Publish events of one type", "publishOfType", "TypedBody", Some(&event_type), &[]),
        },
        "/v1/validate": {
            "post": take("The verdicts on events, of which none is published", "validate", "Body", None, &[202, 429]),
        },
        "/v1/schemas": {"get": {
            "operationId": "listTypes", "summary": "Every event type", "tags": ["catalogue"],
            "responses": {"200": content("The types", "application/json", "Types")},
        }},
        "/v1/schemas/{eventtype}": {"get": {
            "operationId": "getType", "summary": "The versions of an event type", "tags": ["catalogue"],
            "parameters": [event_type],
            "responses": {
                "200": content("The versions", "application/json", "Type"),
                "404": content("There is no such type", "application/problem+json", "Problem"),
            },
        }},
        "/v1/schemas/{eventtype}/{version}": {"get": {
            "operationId": "getSchema", "summary": "The JSON Schema of a version", "tags": ["catalogue"],
            "parameters": [event_type, version],
            "responses": {
                "200": content("The schema, with an `ETag`", "application/schema+json", "JsonSchema"),
                "304": {"description": "The schema is the one that `If-None-Match` names"},
                "404": content("There is no such schema", "application/problem+json", "Problem"),
            },
        }},
        "/openapi.json": {"get": {
            "operationId": "getOpenApi", "summary": "This description", "tags": ["documentation"],
            "responses": {"200": content("The description", "application/json", "JsonSchema")},
        }},
        "/docs": {"get": {
            "operationId": "getDocs", "summary": "A page to read and try it", "tags": ["documentation"],
            "responses": {"200": {
                "description": "The page",
                "content": {"text/html": {"schema": {"type": "string"}}},
            }},
        }},
    })
}

fn path_parameter(name: &str, description: &str) -> Value {
    json!({"name": name, "in": "path", "required": true, "description": description, "schema": {"type": "string"}})
}

fn content(description: &str, media_type: &str, schema: &str) -> Value {
    json!({"description": description, "content": {media_type: {"schema": reference(schema)}}})
}

fn reference(schema: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{schema}")})
}

/// An operation that takes events. A type is not found only where the path names it.
fn take(summary: &str, id: &str, body: &str, parameter: Option<&Value>, never: &[u16]) -> Value {
    let encoding = json!({
        "name": "Content-Encoding", "in": "header", "required": false,
        "schema": {"enum": ["identity", "gzip", "zstd"]},
    });
    let parameters: Vec<_> = parameter.cloned().into_iter().chain([encoding]).collect();
    let given = |status: u16| !never.contains(&status) && (status != 404 || parameter.is_some());
    let responses: Map<String, Value> = STATUSES
        .iter()
        .filter(|(status, ..)| given(*status))
        .map(|(status, when, retry_after)| (status.to_string(), answer(*status, when, *retry_after)))
        .collect();
    json!({
        "operationId": id, "summary": summary, "tags": ["events"],
        "security": [{"basic": []}],
        "parameters": parameters,
        "requestBody": {"required": true, "content": {
            "application/json": {"schema": reference(body)},
            "application/x-ndjson": {"schema": {"type": "string", "description": "One event a line"}},
        }},
        "responses": responses,
    })
}

fn answer(status: u16, when: &str, retry_after: RetryAfter) -> Value {
    let (media_type, schema) = if status < 300 {
        ("application/json", "Answer")
    } else {
        ("application/problem+json", "Problem")
    };
    let mut answer = content(when, media_type, schema);
    answer["headers"]["x-request-id"] = json!({"$ref": "#/components/headers/RequestId"});
    if retry_after != RetryAfter::Never {
        answer["headers"]["Retry-After"] = json!({"$ref": "#/components/headers/RetryAfter"});
    }
    answer
}

fn schemas(catalogue: &Catalogue) -> Value {
    let mut schemas = answer_schemas();
    let mut events = Vec::new();
    for event_type in catalogue.event_types() {
        let name = event_type.as_str();
        let Some(schema) = catalogue.latest(name) else {
            continue;
        };
        schemas[name] = serde_json::from_slice(schema.document()).expect("a schema of the catalogue is JSON");
        events.push(reference(name));
    }
    schemas["Event"] = json!({
        "description": "By the latest schema of its type; earlier ones are at /v1/schemas",
        "required": ["eventtype"],
        "oneOf": events,
        "discriminator": {"propertyName": "eventtype"},
    });
    schemas["TypedEvent"] = json!({
        "description": "Of the type in the path, which may be left out here",
        "anyOf": events,
    });
    schemas["Body"] = body("Event");
    schemas["TypedBody"] = body("TypedEvent");
    schemas
}

/// One event, several, or several with the time of sending.
fn body(event: &str) -> Value {
    let events = json!({"type": "array", "minItems": 1, "items": reference(event)});
    let batch = json!({
        "type": "object", "required": ["events"], "additionalProperties": false,
        "properties": {"sentat": {"type": "string", "format": "date-time"}, "events": events},
    });
    json!({"anyOf": [reference(event), events, batch]})
}

fn answer_schemas() -> Value {
    let count = json!({"type": "integer", "minimum": 0});
    let request_id = json!({"type": "string", "format": "uuid"});
    let results =
        json!({"type": "array", "description": "In the order of the request", "items": reference("Result")});
    let codes: Vec<_> = Refusal::CODES.iter().collect();
    json!({
        "Answer": {
            "type": "object", "additionalProperties": false,
            "required": ["requestid", "accepted", "duplicate", "rejected", "retry", "results"],
            "properties": {
                "requestid": request_id, "accepted": count, "duplicate": count, "rejected": count, "retry": count,
                "results": results,
            },
        },
        "Problem": {
            "description": "RFC 9457; a problem about single events carries their results",
            "type": "object", "additionalProperties": false,
            "required": ["type", "title", "status", "detail", "requestid"],
            "properties": {
                "type": {"type": "string", "format": "uri-reference"},
                "title": {"type": "string"},
                "status": {"type": "integer", "minimum": 400, "maximum": 599},
                "detail": {"type": "string"},
                "code": {"enum": codes},
                "requestid": request_id, "accepted": count, "duplicate": count, "rejected": count, "retry": count,
                "results": results,
            },
        },
        "Result": {
            "description": "What became of one event",
            "type": "object", "additionalProperties": false, "required": ["index", "status"],
            "properties": {
                "index": count,
                "eventid": {"type": "string", "format": "uuid"},
                "status": {"enum": ["accepted", "duplicate", "rejected", "retry"]},
                "durability": {"enum": ["published", "spooled"]},
                "code": {"enum": Rejection::CODES},
                "schemaversion": {"type": "string"},
                "errors": {"type": "array", "items": reference("EventError")},
            },
        },
        "EventError": {
            "description": "What is wrong and where; never a value of the event",
            "type": "object", "additionalProperties": false, "required": ["pointer", "message"],
            "properties": {
                "pointer": {"type": "string", "format": "json-pointer"},
                "keyword": {"type": "string"},
                "message": {"type": "string"},
            },
        },
        "Types": {
            "type": "object", "additionalProperties": false, "required": ["eventtypes"],
            "properties": {"eventtypes": {"type": "array", "items": reference("Type")}},
        },
        "Type": {
            "type": "object", "additionalProperties": false,
            "required": ["eventtype", "title", "producers", "latest", "versions"],
            "properties": {
                "eventtype": {"type": "string"},
                "title": {"type": "string"},
                "producers": {"type": "array", "items": {"enum": ["device", "app", "platform"]}},
                "latest": {"type": "string"},
                "versions": {"type": "array", "items": {"type": "string"}},
            },
        },
        "JsonSchema": {"type": "object"},
    })
}
