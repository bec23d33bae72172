//! Documents as the body of a `_bulk` request, and its answer item by item
//! (<https://www.elastic.co/docs/api/doc/elasticsearch/operation/operation-bulk>).
//!
//! Each item succeeds or fails by itself, inside an answer of HTTP 200. Invariant: every document of a
//! request ends as delivered, refused for good, or to be sent again; one that the answer does not mention
//! is sent again. `op_type` is `create`: a document that is there already is one that we delivered.

use bytes::Bytes;
use serde::Deserialize;

/// One event on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// Action line and document, each with its line break.
    lines: Bytes,
}

/// What became of one document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was created.
    Created,
    /// It was there already.
    Exists,
    /// The cluster will never take it.
    Refused,
    /// It is to be sent again.
    Again,
}

/// An answer that is none.
#[derive(Debug, thiserror::Error)]
#[error("the answer is not that of _bulk")]
pub struct NotAnAnswer;

#[derive(Deserialize)]
struct Answer {
    items: Vec<Item>,
}

#[derive(Deserialize)]
struct Item {
    create: Option<ItemResult>,
}

#[derive(Deserialize)]
struct ItemResult {
    status: u16,
    error: Option<ItemError>,
}

#[derive(Deserialize)]
struct ItemError {
    #[serde(rename = "type")]
    kind: String,
}

impl Document {
    /// The document `line`, one JSON object without a line break. `index` and `id` hold nothing that JSON
    /// would escape.
    pub fn new(index: &str, id: &str, line: &[u8]) -> Self {
        let action = format!("{{\"create\":{{\"_index\":\"{index}\",\"_id\":\"{id}\"}}}}\n");
        let mut lines = Vec::with_capacity(action.len() + line.len() + 1);
        lines.extend_from_slice(action.as_bytes());
        lines.extend_from_slice(line);
        lines.push(b'\n');
        Self { lines: lines.into() }
    }

    /// Its size in a body, in bytes.
    pub fn bytes(&self) -> usize {
        self.lines.len()
    }
}

/// The body of a request for `documents`.
pub fn body(documents: &[Document]) -> Bytes {
    let mut body = Vec::with_capacity(documents.iter().map(Document::bytes).sum());
    for document in documents {
        body.extend_from_slice(&document.lines);
    }
    body.into()
}

/// What became of each of `count` documents, in their order.
pub fn outcomes(answer: &[u8], count: usize) -> Result<Vec<Outcome>, NotAnAnswer> {
    let answer: Answer = serde_json::from_slice(answer).map_err(|_| NotAnAnswer)?;
    if answer.items.len() > count {
        return Err(NotAnAnswer);
    }
    let mut outcomes: Vec<_> = answer.items.iter().map(outcome).collect();
    outcomes.resize(count, Outcome::Again);
    Ok(outcomes)
}

fn outcome(item: &Item) -> Outcome {
    let Some(result) = &item.create else {
        return Outcome::Again;
    };
    let kind = result.error.as_ref().map_or("", |error| error.kind.as_str());
    match result.status {
        200 | 201 => Outcome::Created,
        409 => Outcome::Exists,
        // What is wrong is the document, not the cluster or the index.
        400 if !is_of_the_cluster(kind) => Outcome::Refused,
        413 => Outcome::Refused,
        _ => Outcome::Again,
    }
}

/// Errors of status 400 that another day, or an administrator, cures.
fn is_of_the_cluster(kind: &str) -> bool {
    matches!(
        kind,
        "index_closed_exception"
            | "cluster_block_exception"
            | "validation_exception"
            | "invalid_index_name_exception"
            | "resource_already_exists_exception"
            | "index_not_found_exception"
            | "no_shard_available_action_exception"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_two_lines_a_document() {
        let documents = [
            Document::new("events-2026.01.02", "shardId-000000000000:49", br#"{"n":1}"#),
            Document::new("events-2026.01.02", "shardId-000000000000:50:1", br#"{"n":2}"#),
        ];
        assert_eq!(
            body(&documents),
            "{\"create\":{\"_index\":\"events-2026.01.02\",\"_id\":\"shardId-000000000000:49\"}}\n{\"n\":1}\n\
             {\"create\":{\"_index\":\"events-2026.01.02\",\"_id\":\"shardId-000000000000:50:1\"}}\n{\"n\":2}\n"
        );
    }

    #[test]
    fn each_item_has_its_own_outcome() {
        let answer = serde_json::json!({"took": 3, "errors": true, "items": [
            {"create": {"_id": "a", "status": 201, "result": "created"}},
            {"create": {"_id": "b", "status": 409, "error": {"type": "version_conflict_engine_exception"}}},
            {"create": {"_id": "c", "status": 400, "error": {"type": "document_parsing_exception", "reason": "…"}}},
            {"create": {"_id": "d", "status": 429, "error": {"type": "es_rejected_execution_exception"}}},
            {"create": {"_id": "e", "status": 503, "error": {"type": "unavailable_shards_exception"}}},
            {"create": {"_id": "f", "status": 403, "error": {"type": "cluster_block_exception"}}},
            {"create": {"_id": "g", "status": 400, "error": {"type": "validation_exception"}}},
            {"create": {"_id": "h", "status": 404, "error": {"type": "index_not_found_exception"}}},
            {"index": {"_id": "i", "status": 201}},
        ]});
        let outcomes = outcomes(answer.to_string().as_bytes(), 11).expect("an answer");
        let expected = [
            Outcome::Created,
            Outcome::Exists,
            Outcome::Refused,
            Outcome::Again,
            Outcome::Again,
            Outcome::Again,
            Outcome::Again,
            Outcome::Again,
            Outcome::Again,
            Outcome::Again,
            Outcome::Again,
        ];
        assert_eq!(outcomes, expected, "what is not mentioned is sent again");
    }

    #[test]
    fn what_is_no_answer_is_not_taken_for_one() {
        for answer in [
            "",
            "{}",
            "<html>",
            r#"{"items":[{"create":{"status":201}},{"create":{"status":201}}]}"#,
        ] {
            assert!(outcomes(answer.as_bytes(), 1).is_err(), "{answer}");
        }
    }
}
