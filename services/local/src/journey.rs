//! Tells what happens to the events: each object as it is committed in China and as its copy appears
//! in Europe. It looks from outside, as an analyst would: it lists the buckets and opens the objects. What
//! it sees is on the page too ([`crate::landed`]).

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::time::Duration;

use aws_clients::describe;
use aws_sdk_s3::Client;
use aws_sdk_s3::types::Object;
use bytes::Bytes;
use flate2::bufread::MultiGzDecoder;
use serde::Deserialize;
use service_runtime::Shutdown;

use crate::aws::{ARCHIVE_SUFFIX, Aws, DESTINATION_BUCKET, SOURCE_BUCKET};
use crate::console;
use crate::landed::{LATEST_MAX, Landed, Landing, Sum};

/// How often the buckets are listed: soon enough for a person, rare enough to cost nothing.
const LOOK_INTERVAL: Duration = Duration::from_millis(300);

/// A look that failed; the next one may succeed.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct LookFailed(String);

/// What has been seen in one bucket, by key.
type Seen = HashMap<String, Version>;

/// An object as it was last seen.
#[derive(Debug, PartialEq, Eq)]
struct Version {
    etag: String,
    bytes: u64,
}

/// Both buckets as they were at the last look.
#[derive(Debug)]
pub(crate) struct Journey {
    source: Client,
    destination: Client,
    in_source: Seen,
    in_destination: Seen,
    landed: Landed,
    shown_a_line: bool,
}

impl Journey {
    /// Takes what lies in the buckets now as seen; `landed` learns of it, and of all that comes.
    pub(crate) async fn start(aws: &Aws, landed: Landed) -> Self {
        let mut journey = Self {
            source: aws_clients::s3(&aws.source.config),
            destination: aws_clients::s3(&aws.destination.config),
            in_source: Seen::new(),
            in_destination: Seen::new(),
            landed,
            shown_a_line: false,
        };
        if let Err(error) = journey.recall().await {
            tracing::warn!(%error, "cannot look into the buckets");
        }
        journey
    }

    /// What earlier runs have left.
    async fn recall(&mut self) -> Result<(), LookFailed> {
        let copies = self.copies().await?;
        let earlier = self.commits().await?;
        if earlier.is_empty() {
            return Ok(());
        }
        console::say(
            "found",
            &format!(
                "{} objects in China and {} in Europe from earlier runs",
                earlier.len(),
                copies.len()
            ),
        );
        for object in earlier.iter().skip(earlier.len().saturating_sub(LATEST_MAX)) {
            self.landed.committed(landing(object));
            let key = object.key().unwrap_or_default();
            if let Some(count) = record_count(&self.source, key).await? {
                self.landed.opened(key, count, &[]);
            }
        }
        for copy in &copies {
            self.note_copy(copy);
        }
        Ok(())
    }

    /// Looks until `stop` is requested, and once more after that.
    pub(crate) async fn tell(mut self, stop: Shutdown) {
        loop {
            let last = stop.is_requested();
            if let Err(error) = self.look().await {
                tracing::warn!(%error, "cannot look into the buckets");
            }
            if last {
                return;
            }
            tokio::select! {
                () = tokio::time::sleep(LOOK_INTERVAL) => {}
                () = stop.requested() => {}
            }
        }
    }

    /// Europe is listed first: the object of a copy that is seen there is then seen in China.
    async fn look(&mut self) -> Result<(), LookFailed> {
        let copies = self.copies().await?;
        for object in self.commits().await? {
            self.landed.committed(landing(&object));
            self.tell_committed(object.key().unwrap_or_default()).await?;
        }
        for copy in &copies {
            let verdict = if self.note_copy(copy) {
                "equal by checksum"
            } else {
                "NOT EQUAL to the source"
            };
            let key = copy.key().unwrap_or_default();
            console::say("europe", &format!("s3://{DESTINATION_BUCKET}/{key}  {verdict}"));
        }
        Ok(())
    }

    /// What is new in China.
    async fn commits(&mut self) -> Result<Vec<Object>, LookFailed> {
        let news = news(&self.source, SOURCE_BUCKET, &mut self.in_source).await?;
        self.note_sums(news.len());
        Ok(news)
    }

    /// What is new in Europe.
    async fn copies(&mut self) -> Result<Vec<Object>, LookFailed> {
        let news = news(&self.destination, DESTINATION_BUCKET, &mut self.in_destination).await?;
        self.note_sums(news.len());
        Ok(news)
    }

    fn note_sums(&self, news: usize) {
        if news > 0 {
            self.landed.sums(sum(&self.in_source), sum(&self.in_destination));
        }
    }

    /// Whether the copy is the object.
    fn note_copy(&self, copy: &Object) -> bool {
        let key = copy.key().unwrap_or_default();
        let original = self.in_source.get(key);
        let equal = original.is_some() && original == self.in_destination.get(key);
        self.landed.copied(key, modified_ms(copy), equal);
        equal
    }

    async fn tell_committed(&mut self, key: &str) -> Result<(), LookFailed> {
        let body = get(&self.source, SOURCE_BUCKET, key).await?;
        let opened = open(&body, &self.landed.awaited())
            .map_err(|error| LookFailed(format!("s3://{SOURCE_BUCKET}/{key}: {error}")))?;
        self.landed.opened(key, opened.lines, &opened.found);
        let (lines, size) = (opened.lines, console::size(body.len()));
        console::say(
            "china",
            &format!("s3://{SOURCE_BUCKET}/{key}  {lines} events, {size}"),
        );
        if !self.shown_a_line {
            self.shown_a_line = true;
            console::say("first line", &opened.first);
        }
        Ok(())
    }
}

fn landing(object: &Object) -> Landing {
    Landing {
        key: object.key().unwrap_or_default().to_owned(),
        bytes: bytes(object),
        events: None,
        china_ms: modified_ms(object),
        europe_ms: None,
        equal: None,
    }
}

fn bytes(object: &Object) -> u64 {
    object.size().unwrap_or_default().try_into().unwrap_or_default()
}

fn modified_ms(object: &Object) -> i64 {
    let modified = object.last_modified().and_then(|at| at.to_millis().ok());
    modified.unwrap_or_default()
}

fn sum(seen: &Seen) -> Sum {
    Sum {
        objects: seen.len(),
        bytes: seen.values().map(|version| version.bytes).sum(),
    }
}

/// The archived objects that are new or changed since the last look, oldest first.
async fn news(client: &Client, bucket: &str, seen: &mut Seen) -> Result<Vec<Object>, LookFailed> {
    let mut news = Vec::new();
    let mut pages = client.list_objects_v2().bucket(bucket).into_paginator().send();
    while let Some(page) = pages.next().await {
        let page = page.map_err(|error| LookFailed(describe(&error)))?;
        for object in page.contents.unwrap_or_default() {
            let (Some(key), Some(etag)) = (object.key(), object.e_tag()) else {
                continue;
            };
            let version = Version {
                etag: etag.to_owned(),
                bytes: bytes(&object),
            };
            if key.ends_with(ARCHIVE_SUFFIX) && seen.get(key) != Some(&version) {
                seen.insert(key.to_owned(), version);
                news.push(object);
            }
        }
    }
    news.sort_by_key(|object| object.last_modified().copied());
    Ok(news)
}

/// The lines of an object, as hoard wrote them on it.
async fn record_count(client: &Client, key: &str) -> Result<Option<usize>, LookFailed> {
    let head = client.head_object().bucket(SOURCE_BUCKET).key(key).send().await;
    let head = head.map_err(|error| LookFailed(describe(&error)))?;
    let count = head.metadata().and_then(|metadata| metadata.get("record-count"));
    Ok(count.and_then(|count| count.parse().ok()))
}

async fn get(client: &Client, bucket: &str, key: &str) -> Result<Bytes, LookFailed> {
    let answer = client.get_object().bucket(bucket).key(key).send().await;
    let body = answer
        .map_err(|error| LookFailed(describe(&error)))?
        .body
        .collect()
        .await;
    Ok(body.map_err(|error| LookFailed(error.to_string()))?.into_bytes())
}

/// What an object holds.
#[derive(Debug, Default, PartialEq, Eq)]
struct Opened {
    lines: usize,
    first: String,
    /// The awaited events that are in it.
    found: Vec<String>,
}

/// The one field of a line that is looked at.
#[derive(Deserialize)]
struct Id {
    eventid: String,
}

/// Reads the gzip body to its end, with an eye on the `awaited` events.
fn open(body: &[u8], awaited: &[String]) -> std::io::Result<Opened> {
    let mut opened = Opened::default();
    for line in BufReader::new(MultiGzDecoder::new(body)).lines() {
        let line = line?;
        opened.lines += 1;
        // Text first: most lines are nobody's, and need not be parsed.
        if awaited.iter().any(|id| line.contains(id))
            && let Ok(Id { eventid }) = serde_json::from_str(&line)
            && awaited.contains(&eventid)
        {
            opened.found.push(eventid);
        }
        if opened.lines == 1 {
            opened.first = line;
        }
    }
    Ok(opened)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn gzip(members: &[&str]) -> Vec<u8> {
        let mut body = Vec::new();
        for lines in members {
            let mut member = GzEncoder::new(&mut body, Compression::fast());
            member
                .write_all(lines.as_bytes())
                .expect("memory takes every byte");
            member.finish().expect("memory takes every byte");
        }
        body
    }

    #[test]
    fn an_object_is_opened_across_gzip_members() {
        let body = gzip(&["{\"a\":1}\n{\"a\":2}\n", "{\"a\":3}\n"]);
        let opened = open(&body, &[]).expect("it is gzip");
        assert_eq!((opened.lines, opened.first.as_str()), (3, "{\"a\":1}"));
        assert!(open(b"plain", &[]).is_err());
    }

    #[test]
    fn an_awaited_event_is_found_by_its_own_id_alone() {
        let awaited = ["id-1", "id-2", "id-3"].map(str::to_owned);
        let body = gzip(&[
            "{\"eventid\":\"id-1\"}\n{\"eventid\":\"other\",\"track\":\"id-2\"}\n",
            "{ \"track\": \"x\", \"eventid\" : \"id-3\" }\nid-2 and no JSON\n",
        ]);
        assert_eq!(open(&body, &awaited).expect("it is gzip").found, ["id-1", "id-3"]);
    }
}
