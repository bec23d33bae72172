//! Ends uploads that nobody goes on with: of a copier that crashed and whose object has been deleted
//! since, or has been overwritten.
//!
//! An upload is abandoned when neither its journal entry nor the number of its parts has changed
//! between two rounds. That is measured by our own clock and by nobody's word; the rounds are much
//! further apart than a copy may go without progress. Whoever is slow all the same finds its upload
//! ended and begins anew.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use service_runtime::{BoxError, Shutdown};

use crate::copy::Copier;
use crate::failure::{At, CallFailure, CopyFailure};

/// What was seen of an upload.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    etag: String,
    parts: usize,
}

/// Looks through the journal, again and again.
pub(crate) async fn sweep(
    copier: Arc<Copier>,
    interval: Duration,
    shutdown: Shutdown,
) -> Result<(), BoxError> {
    let mut before = HashMap::new();
    loop {
        match round(&copier, &before).await {
            Ok(seen) => before = seen,
            Err(error) => {
                copier.metrics.transfers.sweep_failed();
                tracing::warn!(error = %error, "cannot look for abandoned uploads");
            }
        }
        tokio::select! {
            () = tokio::time::sleep(interval) => {}
            () = shutdown.requested() => return Ok(()),
        }
    }
}

/// One round; what it has seen and left alone.
async fn round(
    copier: &Copier,
    before: &HashMap<String, Seen>,
) -> Result<HashMap<String, Seen>, CopyFailure> {
    let mut left = HashMap::new();
    for journal_key in journal_keys(copier).await? {
        let Some(found) = copier.journal().read_at(&journal_key).await? else {
            continue;
        };
        let key = &found.entry.destination_key;
        let parts = match &found.entry.upload_id {
            Some(id) => copier.list_parts(key, id).await?.map(|parts| parts.len()),
            None => Some(0),
        };
        let seen = Seen {
            etag: found.etag.clone(),
            parts: parts.unwrap_or_default(),
        };
        if parts.is_some() && before.get(&journal_key) != Some(&seen) {
            left.insert(journal_key, seen);
            continue;
        }
        // It has ended, or nobody goes on with it.
        let aborted = match parts {
            Some(_) if !key.is_empty() => copier.abort_uploads(key).await?,
            _ => 0,
        };
        copier.journal().remove_at(&journal_key, &found.etag).await?;
        copier.metrics.transfers.uploads_swept(aborted);
        tracing::info!(
            aborted,
            "removed the journal of an upload that has ended or was abandoned"
        );
    }
    Ok(left)
}

async fn journal_keys(copier: &Copier) -> Result<Vec<String>, CallFailure> {
    let client = copier.destination.client();
    let pages = client
        .list_objects_v2()
        .bucket(&copier.destination.bucket)
        .prefix(&copier.journal_prefix)
        .into_paginator()
        .send();
    let pages = pages.try_collect().await;
    let pages = pages.map_err(|error| CallFailure::new(At::Destination, "ListObjectsV2", &error))?;
    let objects = pages
        .into_iter()
        .flat_map(|page| page.contents.unwrap_or_default());
    Ok(objects.filter_map(|object| object.key).collect())
}
