//! What is in the stream and in the buckets, read on from where the last look ended.

use std::{collections::BTreeMap, io::Read};

use aws_clients::{SdkConfig, describe};
use aws_sdk_kinesis::{Client as Kinesis, types::ShardIteratorType};
use aws_sdk_s3::Client as S3;
use flate2::read::MultiGzDecoder;
use local::aws::STREAM;

use super::ledger::{Code, Copy, event_id};
use crate::Failure;

/// Where keys of the archive begin: with the century, or with the error prefix.
const ARCHIVE_PREFIXES: [&str; 2] = ["2", "errors/"];

/// The stream, and how far each shard has been read.
pub(super) struct StreamReader {
    kinesis: Kinesis,
    /// The last sequence number of each shard that was seen.
    read: BTreeMap<String, String>,
}

impl StreamReader {
    pub(super) fn new(config: &SdkConfig) -> Self {
        Self {
            kinesis: aws_clients::kinesis(config),
            read: BTreeMap::new(),
        }
    }

    /// Every line since the last time: shard by shard in the order of their births, so that the lines of
    /// one key come in the order in which they were stored.
    pub(super) async fn read_on(&mut self) -> Result<Vec<Copy>, Failure> {
        let mut copies = Vec::new();
        let shards = self.kinesis.list_shards().stream_name(STREAM).send().await;
        let shards = shards.map_err(|error| not_read("the shards", describe(&error)))?;
        let mut ids: Vec<String> = shards
            .shards()
            .iter()
            .map(|shard| shard.shard_id().to_owned())
            .collect();
        ids.sort();
        for shard in ids {
            self.read_shard(&shard, &mut copies).await?;
        }
        Ok(copies)
    }

    async fn read_shard(&mut self, shard: &str, copies: &mut Vec<Copy>) -> Result<(), Failure> {
        let call = self
            .kinesis
            .get_shard_iterator()
            .stream_name(STREAM)
            .shard_id(shard);
        let call = match self.read.get(shard) {
            Some(last) => call
                .shard_iterator_type(ShardIteratorType::AfterSequenceNumber)
                .starting_sequence_number(last),
            None => call.shard_iterator_type(ShardIteratorType::TrimHorizon),
        };
        let begun = call.send().await;
        let mut iterator = begun
            .map_err(|error| not_read(shard, describe(&error)))?
            .shard_iterator;
        while let Some(from) = iterator {
            let answer = self.kinesis.get_records().shard_iterator(from).send().await;
            let answer = answer.map_err(|error| not_read(shard, describe(&error)))?;
            let at_end = answer.millis_behind_latest() == Some(0) && answer.records().is_empty();
            for record in answer.records() {
                let position = (shard.to_owned(), record.sequence_number().to_owned());
                self.read.insert(shard.to_owned(), position.1.clone());
                let arrived = record
                    .approximate_arrival_timestamp()
                    .and_then(|time| time.to_millis().ok());
                let arrived_ms = arrived.and_then(|ms| u64::try_from(ms).ok()).unwrap_or_default();
                let data = record.data().as_ref();
                for line in lines_of(data)? {
                    copies.push(Copy {
                        position: position.clone(),
                        arrived_ms,
                        event: event_id(&line),
                        code: code(&line),
                        line,
                    });
                }
            }
            iterator = answer.next_shard_iterator.filter(|_| !at_end);
        }
        Ok(())
    }
}

/// The lines of a record: one, or those of an aggregate.
fn lines_of(data: &[u8]) -> Result<Vec<Vec<u8>>, Failure> {
    if !kpl::is_aggregate(data) {
        return Ok(vec![data.to_vec()]);
    }
    let records = kpl::open(data).map_err(|error| not_read("an aggregate", error.to_string()))?;
    Ok(records.iter().map(|record| record.data.to_vec()).collect())
}

/// The country of a stored line, by which the attempt that it came from is known.
fn code(line: &[u8]) -> Option<Code> {
    let value: serde_json::Value = serde_json::from_slice(line).ok()?;
    value["countrycode"].as_str()?.as_bytes().try_into().ok()
}

/// The archive in a bucket, and the objects that have been read.
pub(super) struct BucketReader {
    s3: S3,
    bucket: &'static str,
    /// Key → entity tag.
    seen: BTreeMap<String, String>,
}

/// A new object.
pub(super) struct Object {
    pub(super) key: String,
    /// As stored.
    pub(super) bytes: Vec<u8>,
    pub(super) lines: Vec<Vec<u8>>,
}

impl BucketReader {
    pub(super) fn new(config: &SdkConfig, bucket: &'static str) -> Self {
        Self {
            s3: aws_clients::s3(config),
            bucket,
            seen: BTreeMap::new(),
        }
    }

    /// Every object since the last time.
    ///
    /// # Errors
    /// When one that was there is gone or changed.
    pub(super) async fn read_on(&mut self) -> Result<Vec<Object>, Failure> {
        let listed = self.list().await?;
        for (key, tag) in &self.seen {
            match listed.get(key) {
                Some(now) if now == tag => {}
                Some(_) => return Err(self.wrong(&format!("{key} was overwritten with other content"))),
                None => return Err(self.wrong(&format!("{key} is gone"))),
            }
        }
        let mut objects = Vec::new();
        for (key, tag) in listed {
            if self.seen.contains_key(&key) {
                continue;
            }
            let got = self.s3.get_object().bucket(self.bucket).key(&key).send().await;
            let body = got
                .map_err(|error| self.wrong(&describe(&error)))?
                .body
                .collect()
                .await;
            let bytes = body.map_err(|error| self.wrong(&error.to_string()))?.to_vec();
            let mut text = Vec::new();
            MultiGzDecoder::new(bytes.as_slice())
                .read_to_end(&mut text)
                .map_err(|error| self.wrong(&format!("{key} is not gzip: {error}")))?;
            let Some(text) = text.strip_suffix(b"\n") else {
                return Err(self.wrong(&format!("the last line of {key} is not ended")));
            };
            let lines = text.split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
            self.seen.insert(key.clone(), tag);
            objects.push(Object { key, bytes, lines });
        }
        Ok(objects)
    }

    /// The first and the last day of the archive, YYYY-MM-DD.
    pub(super) fn days(&self) -> Option<(String, String)> {
        let mut days = self
            .seen
            .keys()
            .filter(|key| key.starts_with('2'))
            .map(|key| key[..10].replace('/', "-"));
        let first = days.next()?;
        let last = days.next_back().unwrap_or_else(|| first.clone());
        Some((first, last))
    }

    async fn list(&self) -> Result<BTreeMap<String, String>, Failure> {
        let mut listed = BTreeMap::new();
        for prefix in ARCHIVE_PREFIXES {
            let list = self.s3.list_objects_v2().bucket(self.bucket).prefix(prefix);
            let mut pages = list.into_paginator().send();
            while let Some(page) = pages.next().await {
                let page = page.map_err(|error| self.wrong(&describe(&error)))?;
                for object in page.contents() {
                    let (key, tag) = (
                        object.key().unwrap_or_default(),
                        object.e_tag().unwrap_or_default(),
                    );
                    listed.insert(key.to_owned(), tag.to_owned());
                }
            }
        }
        Ok(listed)
    }

    fn wrong(&self, what: &str) -> Failure {
        Failure::Program {
            program: self.bucket.to_owned(),
            problem: what.to_owned(),
        }
    }
}

fn not_read(what: &str, problem: impl std::fmt::Display) -> Failure {
    Failure::Program {
        program: "the emulated AWS".to_owned(),
        problem: format!("cannot read {what}: {problem}"),
    }
}
