//! What all batches share: the rules for their entries, and results one by one.

use std::collections::HashSet;

use bytes::Bytes;
use serde::Serialize;

use super::answer;
use crate::sqs::error::{empty_batch, ids_not_distinct, invalid_batch_id, too_many_entries};
use crate::wire::json::ApiError;

const ENTRIES_MAX: usize = 10;
const ID_CHARS_MAX: usize = 80;

/// Refuses a whole batch for the shape of its entries; `kind` is what AWS calls an entry.
pub(super) fn check_ids<'a>(kind: &str, ids: impl ExactSizeIterator<Item = &'a str>) -> Result<(), ApiError> {
    let count = ids.len();
    if count == 0 {
        return Err(empty_batch(kind));
    }
    if count > ENTRIES_MAX {
        return Err(too_many_entries(count));
    }
    let mut seen = HashSet::with_capacity(count);
    for id in ids {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        if id.is_empty() || id.len() > ID_CHARS_MAX || !id.bytes().all(allowed) {
            return Err(invalid_batch_id());
        }
        if !seen.insert(id) {
            return Err(ids_not_distinct(id));
        }
    }
    Ok(())
}

/// The answer of a batch: every entry is in one of the two lists.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct BatchResult<T> {
    successful: Vec<T>,
    failed: Vec<FailedEntry>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct FailedEntry {
    id: String,
    sender_fault: bool,
    code: String,
    message: String,
}

impl<T: Serialize> BatchResult<T> {
    pub(super) fn new() -> Self {
        Self {
            successful: Vec::new(),
            failed: Vec::new(),
        }
    }

    pub(super) fn succeed(&mut self, entry: T) {
        self.successful.push(entry);
    }

    pub(super) fn fail(&mut self, id: String, error: ApiError) {
        let code = error
            .query_code
            .map_or_else(|| error.code.into_owned(), str::to_owned);
        self.failed.push(FailedEntry {
            id,
            sender_fault: error.status < 500,
            code,
            message: error.message,
        });
    }

    pub(super) fn answer(&self) -> Result<Bytes, ApiError> {
        answer(self)
    }
}
