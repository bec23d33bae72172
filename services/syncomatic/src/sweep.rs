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

use crate::copy::{Copier, RedactedRoutes};
use crate::failure::{CallFailure, CopyFailure};
use crate::uploads::Uploads;

/// What was seen of an upload.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    etag: String,
    parts: usize,
}

/// What a round has seen and left alone, by the key of its journal entry.
type Left = HashMap<String, Seen>;

/// Looks through the journals, again and again: that of copies, and where a route redacts that of
/// quarantined lines.
pub(crate) async fn sweep(
    copier: Arc<Copier>,
    redacted: Option<RedactedRoutes>,
    interval: Duration,
    shutdown: Shutdown,
) -> Result<(), BoxError> {
    let quarantine = redacted.as_ref().map(|routes| copier.quarantine_uploads(routes));
    let mut places: Vec<(Uploads<'_>, Left)> = std::iter::once(copier.uploads())
        .chain(quarantine)
        .map(|uploads| (uploads, Left::new()))
        .collect();
    loop {
        let turn = async {
            look(&copier, &mut places).await;
            tokio::time::sleep(interval).await;
        };
        // A round that is dropped leaves what it has not ended to the next one, here or elsewhere.
        tokio::select! {
            () = turn => {}
            () = shutdown.requested() => return Ok(()),
        }
    }
}

async fn look(copier: &Copier, places: &mut [(Uploads<'_>, Left)]) {
    for (uploads, before) in places {
        match round(copier, uploads, before).await {
            Ok(left) => *before = left,
            Err(error) => {
                copier.metrics.transfers.sweep_failed();
                tracing::warn!(side = %uploads.at(), error = %error, "cannot look for abandoned uploads");
            }
        }
    }
}

/// One round; what it has seen and left alone.
async fn round(copier: &Copier, uploads: &Uploads<'_>, before: &Left) -> Result<Left, CopyFailure> {
    let mut left = Left::new();
    for journal_key in journal_keys(uploads).await? {
        let Some(found) = uploads.journal().read_at(&journal_key).await? else {
            continue;
        };
        let key = &found.entry.destination_key;
        let parts = match &found.entry.upload_id {
            Some(id) => uploads.parts(key, id).await?.map(|parts| parts.len()),
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
            Some(_) if !key.is_empty() => uploads.abort_all(key).await?,
            _ => 0,
        };
        uploads.journal().remove_at(&journal_key, &found.etag).await?;
        copier.metrics.transfers.uploads_swept(aborted);
        tracing::info!(
            side = %uploads.at(),
            aborted,
            "removed the journal of an upload that has ended or was abandoned"
        );
    }
    Ok(left)
}

async fn journal_keys(uploads: &Uploads<'_>) -> Result<Vec<String>, CallFailure> {
    let journal = uploads.journal();
    let pages = journal
        .client
        .list_objects_v2()
        .bucket(journal.bucket)
        .prefix(journal.prefix)
        .into_paginator()
        .send();
    let pages = pages.try_collect().await;
    let pages = pages.map_err(|error| CallFailure::new(uploads.at(), "ListObjectsV2", &error))?;
    let objects = pages
        .into_iter()
        .flat_map(|page| page.contents.unwrap_or_default());
    Ok(objects.filter_map(|object| object.key).collect())
}
