//! Tells what happens to the events: each object as it is committed in China and as its copy appears
//! in Europe. It looks from outside, as an analyst would: it lists the buckets and opens the objects.

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::time::Duration;

use aws_clients::describe;
use aws_sdk_s3::Client;
use aws_sdk_s3::types::Object;
use bytes::Bytes;
use flate2::bufread::MultiGzDecoder;
use service_runtime::Shutdown;

use crate::aws::{ARCHIVE_SUFFIX, Aws, DESTINATION_BUCKET, SOURCE_BUCKET};
use crate::console;

/// How often the buckets are listed: soon enough for a person, rare enough to cost nothing.
const LOOK_INTERVAL: Duration = Duration::from_millis(300);

/// A look that failed; the next one may succeed.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct LookFailed(String);

/// What has been seen in one bucket: key → ETag.
type Seen = HashMap<String, String>;

/// Both buckets as they were at the last look.
#[derive(Debug)]
pub(crate) struct Journey {
    source: Client,
    destination: Client,
    in_source: Seen,
    in_destination: Seen,
    shown_a_line: bool,
}

impl Journey {
    /// Takes what lies in the buckets now as seen.
    pub(crate) async fn start(aws: &Aws) -> Self {
        let mut journey = Self {
            source: aws_clients::s3(&aws.source.config),
            destination: aws_clients::s3(&aws.destination.config),
            in_source: Seen::new(),
            in_destination: Seen::new(),
            shown_a_line: false,
        };
        let earlier = news(&journey.source, SOURCE_BUCKET, &mut journey.in_source).await;
        let copies = news(
            &journey.destination,
            DESTINATION_BUCKET,
            &mut journey.in_destination,
        )
        .await;
        if let (Ok(earlier), Ok(copies)) = (earlier, copies)
            && !earlier.is_empty()
        {
            let (earlier, copies) = (earlier.len(), copies.len());
            console::say(
                "found",
                &format!("{earlier} objects in China and {copies} in Europe from earlier runs"),
            );
        }
        journey
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

    async fn look(&mut self) -> Result<(), LookFailed> {
        for object in news(&self.source, SOURCE_BUCKET, &mut self.in_source).await? {
            self.tell_committed(object.key().unwrap_or_default()).await?;
        }
        for object in news(&self.destination, DESTINATION_BUCKET, &mut self.in_destination).await? {
            self.tell_copied(object.key().unwrap_or_default());
        }
        Ok(())
    }

    async fn tell_committed(&mut self, key: &str) -> Result<(), LookFailed> {
        let body = get(&self.source, SOURCE_BUCKET, key).await?;
        let (lines, first) =
            open(&body).map_err(|error| LookFailed(format!("s3://{SOURCE_BUCKET}/{key}: {error}")))?;
        let size = console::size(body.len());
        console::say(
            "china",
            &format!("s3://{SOURCE_BUCKET}/{key}  {lines} events, {size}"),
        );
        if !self.shown_a_line {
            self.shown_a_line = true;
            console::say("first line", &first);
        }
        Ok(())
    }

    fn tell_copied(&self, key: &str) {
        let (copy, original) = (self.in_destination.get(key), self.in_source.get(key));
        let verdict = if copy == original {
            "equal by checksum"
        } else {
            "NOT EQUAL to the source"
        };
        console::say("europe", &format!("s3://{DESTINATION_BUCKET}/{key}  {verdict}"));
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
            if key.ends_with(ARCHIVE_SUFFIX) && seen.get(key).is_none_or(|known| known != etag) {
                seen.insert(key.to_owned(), etag.to_owned());
                news.push(object);
            }
        }
    }
    news.sort_by_key(|object| object.last_modified().copied());
    Ok(news)
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

/// How many lines the gzip body holds, and the first of them.
fn open(body: &[u8]) -> std::io::Result<(usize, String)> {
    let mut lines = BufReader::new(MultiGzDecoder::new(body)).lines();
    let first = lines.next().transpose()?.unwrap_or_default();
    let mut count = usize::from(!first.is_empty());
    for line in lines {
        line?;
        count += 1;
    }
    Ok((count, first))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    #[test]
    fn an_object_is_opened_across_gzip_members() {
        let mut body = Vec::new();
        for lines in ["{\"a\":1}\n{\"a\":2}\n", "{\"a\":3}\n"] {
            let mut member = GzEncoder::new(&mut body, Compression::fast());
            member
                .write_all(lines.as_bytes())
                .expect("memory takes every byte");
            member.finish().expect("memory takes every byte");
        }
        assert_eq!(open(&body).expect("it is gzip"), (3, "{\"a\":1}".to_owned()));
        assert!(open(b"plain").is_err());
    }
}
