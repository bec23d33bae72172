//! The one place where versions come and go.
//!
//! Under S3's one lock, in this order: the condition is decided, the state is written (the
//! versions, and the notifications they cause), files are renamed, memory is changed. So of any
//! number of conditional writers exactly one wins, and what was acknowledged is in the state. The
//! state names the place that a file is renamed to, and a file's id is unique: a process that ends
//! between the two steps leaves a staged file under a known id, which `Catalogue::settle` moves.
//!
//! Notifications are written with the versions (an outbox) and handed to the queue after the lock
//! is released and before the caller answers. The end of the process in between makes them late,
//! not lost: they are handed over when the cloud is opened again.

use std::fs;

use s3s::{S3Error, S3Result};

use super::Backend;
use super::body::{Staged, internal};
use super::catalogue::{Versions, current_content, no_such_bucket};
use super::change::{Change, put_back};
use super::checksum::Checksum;
use super::condition::WriteCondition;
use super::notification::{self, Delivery, Event};
use super::record::{self, Content, Headers, Version, Versioning};
use crate::state::{State, StateError, Table};

/// An object that is complete and verified, and not yet visible.
pub(super) struct NewObject<'a> {
    pub(super) bucket: &'a str,
    pub(super) key: &'a str,
    pub(super) bytes: u64,
    pub(super) etag: String,
    pub(super) checksum: Checksum,
    pub(super) headers: Headers,
    pub(super) tags: Vec<(String, String)>,
    pub(super) part_bytes: Vec<u64>,
    pub(super) staged: Staged,
    pub(super) condition: WriteCondition,
    pub(super) event: Event,
    /// The upload that this object ends.
    pub(super) upload_id: Option<&'a str>,
}

/// What a write answers.
pub(super) struct Committed {
    /// `None` when the bucket never had versioning.
    pub(super) version_id: Option<String>,
    pub(super) modified_ms: u64,
}

/// What a delete answers.
#[derive(Default)]
pub(super) struct Deleted {
    pub(super) version_id: Option<String>,
    pub(super) delete_marker: bool,
}

impl Backend {
    /// Makes an object visible, if its condition holds.
    pub(super) fn commit(&self, new: NewObject<'_>) -> S3Result<Committed> {
        let (bucket_name, key) = (new.bucket, new.key);
        let mut catalogue = self.lock();
        if let Some(upload_id) = new.upload_id {
            catalogue.upload(bucket_name, key, upload_id)?;
        }
        let sequence = catalogue.next_sequence();
        let bucket = catalogue.bucket(bucket_name)?;
        let versions = bucket.keys.get(key);
        new.condition
            .check_put(current_content(versions).map(|(_, content)| content.etag.as_str()))?;

        let versioning = bucket.settings.versioning;
        let body = new.staged.keep();
        let content = Content {
            bytes: new.bytes,
            etag: new.etag,
            checksum: new.checksum,
            headers: new.headers,
            tags: new.tags,
            part_bytes: new.part_bytes,
            body,
        };
        let version = self.new_version(versioning, sequence, Some(content));
        let committed = Committed {
            version_id: (versioning != Versioning::Never).then(|| version.id().to_owned()),
            modified_ms: version.modified_ms,
        };
        let mut change = Change::adding(version, versions, versioning);
        change.place(&self.bodies, bucket_name, key);
        let deliveries = change.added.as_ref().map_or_else(Vec::new, |added| {
            let configuration = &bucket.settings.notifications;
            notification::deliveries(
                &self.account,
                bucket_name,
                configuration,
                versioning,
                new.event,
                key,
                added,
            )
        });

        let outbox = self.keep(bucket_name, key, &change, sequence, &deliveries, new.upload_id)?;
        let upload = new
            .upload_id
            .and_then(|upload_id| catalogue.uploads.remove(upload_id));
        let moved = change.move_files(&self.bodies, bucket_name, key);
        let bucket = catalogue.bucket_mut(bucket_name)?;
        change.apply(&mut bucket.keys, key);
        drop(catalogue);

        for part in upload.iter().flat_map(|upload| upload.parts.values()) {
            self.bodies.discard_staged(&part.body);
        }
        moved.map_err(internal)?;
        self.deliver(deliveries, &outbox)?;
        Ok(committed)
    }

    /// Deletes a key's current version (or puts a delete marker in front of it), or one version.
    pub(super) fn delete(
        &self,
        bucket_name: &str,
        key: &str,
        version_id: Option<&str>,
        condition: &WriteCondition,
    ) -> S3Result<Deleted> {
        let mut catalogue = self.lock();
        let sequence = catalogue.next_sequence();
        let bucket = catalogue.bucket(bucket_name)?;
        let versions = bucket.keys.get(key);
        condition.check_delete(current_content(versions).map(|(_, content)| content.etag.as_str()))?;

        let versioning = bucket.settings.versioning;
        let (change, event, deleted) = match version_id {
            Some(version_id) => {
                let found =
                    versions.and_then(|versions| versions.iter().find(|version| version.id() == version_id));
                let deleted = Deleted {
                    version_id: Some(version_id.to_owned()),
                    delete_marker: found.is_some_and(|version| version.content.is_none()),
                };
                let Some(found) = found else { return Ok(deleted) };
                (
                    Change {
                        removed: vec![found.clone()],
                        ..Change::default()
                    },
                    Event::Delete,
                    deleted,
                )
            }
            None if versioning == Versioning::Never => {
                let Some(versions) = versions else {
                    return Ok(Deleted::default());
                };
                (
                    Change {
                        removed: versions.clone(),
                        ..Change::default()
                    },
                    Event::Delete,
                    Deleted::default(),
                )
            }
            None => {
                let marker = self.new_version(versioning, sequence, None);
                let deleted = Deleted {
                    version_id: Some(marker.id().to_owned()),
                    delete_marker: true,
                };
                (
                    Change::adding(marker, versions, versioning),
                    Event::DeleteMarkerCreated,
                    deleted,
                )
            }
        };
        let told = change
            .added
            .as_ref()
            .or(change.removed.first())
            .map(|version| Version {
                // A record of a removal says neither size nor ETag, and has a sequencer of its own.
                content: None,
                sequence,
                ..version.clone()
            });
        let deliveries = told.map_or_else(Vec::new, |told| {
            let configuration = &bucket.settings.notifications;
            notification::deliveries(
                &self.account,
                bucket_name,
                configuration,
                versioning,
                event,
                key,
                &told,
            )
        });

        let set_aside = change
            .set_aside(&self.bodies, bucket_name, key)
            .map_err(internal)?;
        let outbox = match self.keep(bucket_name, key, &change, sequence, &deliveries, None) {
            Ok(outbox) => outbox,
            Err(error) => {
                put_back(&set_aside);
                return Err(error);
            }
        };
        let moved = change.move_files(&self.bodies, bucket_name, key);
        let bucket = catalogue.bucket_mut(bucket_name)?;
        change.apply(&mut bucket.keys, key);
        drop(catalogue);

        for (_, aside) in &set_aside {
            if let Err(error) = fs::remove_file(aside) {
                tracing::warn!(%error, "the file of a deleted version stays until the next start");
            }
        }
        moved.map_err(internal)?;
        self.deliver(deliveries, &outbox)?;
        Ok(deleted)
    }

    /// Rewrites one version in the state and in memory (its tags).
    pub(super) fn amend(
        &self,
        bucket_name: &str,
        key: &str,
        version_id: Option<&str>,
        amend: impl FnOnce(&mut Content),
    ) -> S3Result<Option<String>> {
        let mut catalogue = self.lock();
        let bucket = catalogue.bucket_mut(bucket_name)?;
        let versioned = bucket.settings.versioning != Versioning::Never;
        let versions = bucket
            .keys
            .get_mut(key)
            .ok_or_else(super::catalogue::no_such_key)?;
        let version = select_mut(versions, version_id)?;
        let mut amended = version.clone();
        match &mut amended.content {
            Some(content) => amend(content),
            None => return Err(super::read::is_delete_marker(version_id.is_some(), version.id())),
        }
        if self.state.is_durable() {
            let value = record::encode("object version", &amended).map_err(storage)?;
            let stored_key = record::version_key(bucket_name, key, amended.sequence);
            self.state
                .put(Table::Objects, &stored_key, &value)
                .map_err(storage)?;
        }
        let id = versioned.then(|| amended.id().to_owned());
        *version = amended;
        Ok(id)
    }

    fn new_version(&self, versioning: Versioning, sequence: u64, content: Option<Content>) -> Version {
        let version_id =
            (versioning == Versioning::Enabled).then(|| uuid::Uuid::new_v4().simple().to_string());
        Version {
            sequence,
            version_id,
            modified_ms: self.clock.now_ms(),
            content,
        }
    }

    /// Writes a change to the state, all or nothing. Returns the outbox keys of the deliveries.
    fn keep(
        &self,
        bucket: &str,
        key: &str,
        change: &Change,
        sequence: u64,
        deliveries: &[Delivery],
        upload_id: Option<&str>,
    ) -> S3Result<Vec<Vec<u8>>> {
        if !self.state.is_durable() {
            return Ok(Vec::new());
        }
        let write = || {
            let mut batch = self.state.batch();
            for version in &change.removed {
                batch.remove(
                    Table::Objects,
                    &record::version_key(bucket, key, version.sequence),
                );
            }
            for version in change.demoted.iter().chain(&change.added) {
                let value = record::encode("object version", version)?;
                batch.put(
                    Table::Objects,
                    &record::version_key(bucket, key, version.sequence),
                    &value,
                );
            }
            if let Some(upload_id) = upload_id {
                remove_upload(&self.state, &mut batch, upload_id)?;
            }
            let mut outbox = Vec::with_capacity(deliveries.len());
            for (index, delivery) in deliveries.iter().enumerate() {
                let key = [sequence.to_be_bytes().as_slice(), &(index as u64).to_be_bytes()].concat();
                batch.put(Table::Outbox, &key, &record::encode("notification", delivery)?);
                outbox.push(key);
            }
            batch.commit()?;
            Ok(outbox)
        };
        write().map_err(storage)
    }

    /// Hands notifications to their queues, which keep them, and takes them out of the outbox.
    fn deliver(&self, deliveries: Vec<Delivery>, outbox: &[Vec<u8>]) -> S3Result<()> {
        for delivery in deliveries {
            send(self, delivery)?;
        }
        for key in outbox {
            self.state.remove(Table::Outbox, key).map_err(storage)?;
        }
        Ok(())
    }

    /// Hands over what the last process could not.
    pub(super) fn deliver_outbox(&self) -> Result<(), StateError> {
        for entry in self.state.scan(Table::Outbox) {
            let (key, delivery) = entry?;
            let delivery = record::decode("notification", &delivery)?;
            send(self, delivery).map_err(|error| StateError::Corrupt {
                what: "notification",
                reason: error.message().unwrap_or_default().to_owned(),
            })?;
            self.state.remove(Table::Outbox, &key)?;
        }
        Ok(())
    }
}

fn send(backend: &Backend, delivery: Delivery) -> S3Result<()> {
    if !backend.sqs.queue_exists(&delivery.queue_arn) {
        // S3 drops notifications of a queue that was deleted after it was configured.
        tracing::warn!(
            queue = delivery.queue_arn,
            "a notification was dropped: its queue is gone"
        );
        return Ok(());
    }
    backend.sqs.send_notification(&delivery.queue_arn, delivery.body).map_err(|error| {
        tracing::error!(queue = delivery.queue_arn, code = %error.code, "a notification could not be kept");
        S3Error::with_message(s3s::S3ErrorCode::InternalError, "a notification could not be kept")
    })
}

/// Removes an upload and its parts from the state.
pub(super) fn remove_upload(
    state: &State,
    batch: &mut crate::state::Batch<'_>,
    upload_id: &str,
) -> Result<(), StateError> {
    for entry in state.scan_prefix(Table::Uploads, upload_id.as_bytes()) {
        let (key, _) = entry?;
        batch.remove(Table::Uploads, &key);
    }
    Ok(())
}

/// The version that a request names, or the current one.
fn select_mut<'a>(versions: &'a mut Versions, version_id: Option<&str>) -> S3Result<&'a mut Version> {
    let found = match version_id {
        Some(version_id) => versions.iter_mut().find(|version| version.id() == version_id),
        None => versions.last_mut(),
    };
    found.ok_or_else(super::read::no_such_version)
}

pub(super) fn storage(error: StateError) -> S3Error {
    tracing::error!(%error, "a change could not be kept");
    S3Error::internal_error(error)
}

/// The settings of a bucket, in the state and in memory.
impl Backend {
    pub(super) fn change_bucket(
        &self,
        name: &str,
        change: impl FnOnce(&mut record::BucketSettings),
    ) -> S3Result<()> {
        let mut catalogue = self.lock();
        let bucket = catalogue.buckets.get_mut(name).ok_or_else(no_such_bucket)?;
        let mut settings = bucket.settings.clone();
        change(&mut settings);
        let value = record::encode("bucket", &settings).map_err(storage)?;
        self.state
            .put(Table::Buckets, name.as_bytes(), &value)
            .map_err(storage)?;
        bucket.settings = settings;
        Ok(())
    }
}
