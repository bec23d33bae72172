//! Uploads in parts under way: begun under an entry of the journal, resumed by it, listed and ended.
//!
//! An upload of either side goes through here, so that whatever step a crash falls on, it is resumed by
//! the next try or ended by the sweep. Those of copies are kept track of in the destination bucket, those
//! of quarantined lines beside the quarantine.

use std::collections::BTreeMap;

use aws_clients::{Failure, classify};
use aws_sdk_s3::Client;
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use crate::copy::{Copier, RedactedRoutes};
use crate::endpoint::Endpoint;
use crate::failure::{At, CallFailure, CopyFailure};
use crate::journal::{Entry, Found, Journal};
use crate::metrics::Metrics;
use crate::stream::in_base64;

/// Looks at a journal that others keep changing.
const JOURNAL_TRIES: u32 = 5;
/// Behind the quarantine's prefix: where its uploads are kept track of.
const QUARANTINE_JOURNAL: &str = "_uploads/";

/// The uploads of one bucket, and their journal.
#[derive(Clone)]
pub(crate) struct Uploads<'c> {
    endpoint: &'c Endpoint,
    pub(crate) bucket: &'c str,
    journal_prefix: String,
    metrics: &'c Metrics,
}

/// A part that S3 has.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    pub(crate) etag: String,
    pub(crate) bytes: u64,
    pub(crate) crc64_nvme: u64,
}

/// An upload under way, and what it holds already.
pub(crate) struct Begun {
    pub(crate) id: String,
    pub(crate) journal: Found,
    pub(crate) stored: BTreeMap<i32, Stored>,
}

impl Copier {
    /// The uploads of copies.
    pub(crate) fn uploads(&self) -> Uploads<'_> {
        Uploads {
            endpoint: &self.destination,
            bucket: &self.destination.bucket,
            journal_prefix: self.journal_prefix.clone(),
            metrics: &self.metrics,
        }
    }

    /// The uploads of lines that may not pass.
    pub(crate) fn quarantine_uploads<'c>(&'c self, routes: &'c RedactedRoutes) -> Uploads<'c> {
        Uploads {
            endpoint: &self.source,
            bucket: &routes.quarantine_bucket,
            journal_prefix: format!("{}{QUARANTINE_JOURNAL}", routes.quarantine_prefix),
            metrics: &self.metrics,
        }
    }
}

impl Uploads<'_> {
    pub(crate) fn at(&self) -> At {
        self.endpoint.at
    }

    pub(crate) fn client(&self) -> Client {
        self.endpoint.client()
    }

    /// For calls that send a body.
    pub(crate) fn sending_client(&self) -> Client {
        self.endpoint.uploads()
    }

    pub(crate) fn journal(&self) -> Journal<'_> {
        Journal {
            at: self.at(),
            client: self.client(),
            bucket: self.bucket,
            prefix: &self.journal_prefix,
        }
    }

    /// The upload that the journal names for exactly what is `wanted`, or the one that `begin` begins;
    /// `None` if that finds nothing to upload any more.
    pub(crate) async fn open<F>(
        &self,
        wanted: &Entry,
        begin: impl Fn() -> F,
    ) -> Result<Option<Begun>, CopyFailure>
    where
        F: Future<Output = Result<Option<String>, CopyFailure>>,
    {
        let key = &wanted.destination_key;
        for _ in 0..JOURNAL_TRIES {
            let found = self.journal().read(key).await?;
            if let Some(found) = &found {
                if let Some(id) = resumable(&found.entry, wanted)
                    && let Some(stored) = self.stored(key, id).await?
                {
                    self.metrics.transfers.upload_begun("resumed");
                    let (id, journal) = (id.to_owned(), found.clone());
                    return Ok(Some(Begun { id, journal, stored }));
                }
                self.abort_all(key).await?;
            }
            let over = found.as_ref().map(|found| found.etag.as_str());
            let Some(announced) = self.journal().write(wanted.clone(), over).await? else {
                continue;
            };
            let Some(id) = begin().await? else {
                self.journal().remove(&announced).await?;
                return Ok(None);
            };
            let named = Entry {
                upload_id: Some(id.clone()),
                ..wanted.clone()
            };
            match self.journal().write(named, Some(&announced.etag)).await? {
                Some(journal) => {
                    self.metrics.transfers.upload_begun("new");
                    let stored = BTreeMap::new();
                    return Ok(Some(Begun { id, journal, stored }));
                }
                None => self.abort(key, &id).await?,
            }
        }
        Err(CopyFailure::StillChanging(JOURNAL_TRIES))
    }

    /// The parts an upload has, with their checksums; `None` if it has ended.
    async fn stored(&self, key: &str, id: &str) -> Result<Option<BTreeMap<i32, Stored>>, CopyFailure> {
        let Some(listed) = self.parts(key, id).await? else {
            return Ok(None);
        };
        let usable = listed.into_iter().filter_map(|part| {
            let stored = Stored {
                bytes: u64::try_from(part.size?).ok()?,
                crc64_nvme: from_base64(part.checksum_crc64_nvme.as_deref()?)?,
                etag: part.e_tag?,
            };
            Some((part.part_number?, stored))
        });
        Ok(Some(usable.collect()))
    }

    /// What an upload has; `None` if it has ended.
    pub(crate) async fn parts(
        &self,
        key: &str,
        id: &str,
    ) -> Result<Option<Vec<aws_sdk_s3::types::Part>>, CallFailure> {
        let client = self.client();
        let request = client.list_parts().bucket(self.bucket).key(key).upload_id(id);
        let pages = request.into_paginator().items().send();
        match pages.try_collect().await {
            Ok(parts) => Ok(Some(parts)),
            Err(error) if classify(&error) == Failure::NotFound || is_no_such_upload(&error) => Ok(None),
            Err(error) => Err(CallFailure::new(self.at(), "ListParts", &error)),
        }
    }

    /// Ends an upload of which nothing will come.
    pub(crate) async fn give_up(&self, journal: &Found) -> Result<(), CopyFailure> {
        if let Some(id) = &journal.entry.upload_id {
            self.abort(&journal.entry.destination_key, id).await?;
        }
        self.journal().remove(journal).await?;
        Ok(())
    }

    /// Ends every open upload of a key that has a journal entry: they are ours.
    pub(crate) async fn abort_all(&self, key: &str) -> Result<usize, CopyFailure> {
        let client = self.client();
        let mut request = client.list_multipart_uploads().bucket(self.bucket).prefix(key);
        let mut aborted = 0;
        loop {
            let page = request.clone().send().await;
            let page = page.map_err(|error| CallFailure::new(self.at(), "ListMultipartUploads", &error))?;
            for upload in page.uploads.unwrap_or_default() {
                if upload.key.as_deref() == Some(key)
                    && let Some(id) = upload.upload_id
                {
                    self.abort(key, &id).await?;
                    aborted += 1;
                }
            }
            if page.is_truncated != Some(true) {
                return Ok(aborted);
            }
            request = request
                .set_key_marker(page.next_key_marker)
                .set_upload_id_marker(page.next_upload_id_marker);
        }
    }

    async fn abort(&self, key: &str, id: &str) -> Result<(), CopyFailure> {
        let client = self.client();
        let request = client
            .abort_multipart_upload()
            .bucket(self.bucket)
            .key(key)
            .upload_id(id);
        match request.send().await {
            Ok(_) => Ok(()),
            Err(error) if classify(&error) == Failure::NotFound || is_no_such_upload(&error) => Ok(()),
            Err(error) => Err(CallFailure::new(self.at(), "AbortMultipartUpload", &error).into()),
        }
    }
}

/// The parts of a completed upload, in order.
pub(crate) fn completed(stored: &BTreeMap<i32, Stored>) -> CompletedMultipartUpload {
    let parts = stored.iter().map(|(number, part)| {
        CompletedPart::builder()
            .part_number(*number)
            .e_tag(&part.etag)
            .checksum_crc64_nvme(in_base64(part.crc64_nvme))
            .build()
    });
    CompletedMultipartUpload::builder()
        .set_parts(Some(parts.collect()))
        .build()
}

/// The upload to resume, if `found` agrees with what would be written now in everything but the id.
fn resumable<'f>(found: &'f Entry, wanted: &Entry) -> Option<&'f str> {
    let agrees = found.destination_key == wanted.destination_key
        && found.marker == wanted.marker
        && found.part_bytes == wanted.part_bytes;
    found.upload_id.as_deref().filter(|_| agrees)
}

fn from_base64(crc: &str) -> Option<u64> {
    let bytes = BASE64_STANDARD.decode(crc).ok()?;
    Some(u64::from_be_bytes(bytes.try_into().ok()?))
}

/// S3 answers it with 404 and a code of its own.
fn is_no_such_upload(error: &impl aws_sdk_s3::error::ProvideErrorMetadata) -> bool {
    error.code() == Some("NoSuchUpload")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_upload_is_resumed_only_for_exactly_the_same_plan() {
        let wanted = Entry {
            destination_key: "key".into(),
            marker: "1 version=a".into(),
            part_bytes: 8 << 20,
            upload_id: None,
        };
        let found = Entry {
            upload_id: Some("id".into()),
            ..wanted.clone()
        };
        assert_eq!(resumable(&found, &wanted), Some("id"));
        assert_eq!(resumable(&wanted, &wanted), None, "it has not been begun");
        let changes: [fn(&mut Entry); 3] = [
            |entry| entry.destination_key = "other".into(),
            |entry| entry.marker = "1 version=b".into(),
            |entry| entry.part_bytes = 16 << 20,
        ];
        for change in changes {
            let mut other = found.clone();
            change(&mut other);
            assert_eq!(resumable(&other, &wanted), None, "{other:?}");
        }
    }

    #[test]
    fn checksums_are_read_as_they_are_written() {
        for crc in [0, 1, u64::MAX, 0x0123_4567_89ab_cdef] {
            assert_eq!(from_base64(&in_base64(crc)), Some(crc));
        }
        for damaged in ["", "AAAA", "????????????"] {
            assert_eq!(from_base64(damaged), None, "{damaged}");
        }
    }
}
