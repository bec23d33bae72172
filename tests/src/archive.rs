//! A bucket as an analyst sees it: every archived object, opened, line by line.

use std::collections::BTreeMap;
use std::io::Read;

use aws_clients::{SdkConfig, describe};
use flate2::read::MultiGzDecoder;
use serde_json::Value;

/// Every archived object of a bucket: key → its bytes. State, whose name begins with `_`, is skipped
/// as Hive, Athena and Spark do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Archive {
    /// Compressed, as stored.
    pub objects: BTreeMap<String, Vec<u8>>,
}

/// One line of an object.
#[derive(Clone, Debug)]
pub struct Line {
    /// The object's key.
    pub key: String,
    /// Without its newline.
    pub text: String,
    /// The line as JSON.
    pub event: Value,
}

impl Archive {
    /// Reads a whole bucket.
    pub async fn read(config: &SdkConfig, bucket: &str) -> Result<Self, String> {
        let s3 = aws_clients::s3(config);
        let mut objects = BTreeMap::new();
        let mut pages = s3.list_objects_v2().bucket(bucket).into_paginator().send();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| describe(&error))?;
            for key in page.contents().iter().filter_map(|object| object.key()) {
                if key.starts_with('_') {
                    continue;
                }
                let object = s3.get_object().bucket(bucket).key(key).send().await;
                let body = object.map_err(|error| describe(&error))?.body.collect().await;
                let body = body.map_err(|error| error.to_string())?.into_bytes();
                objects.insert(key.to_owned(), body.into());
            }
        }
        Ok(Self { objects })
    }

    /// Every line of every object, in the order of the keys.
    pub fn lines(&self) -> Vec<Line> {
        let mut lines = Vec::new();
        self.each_line(|key, line| {
            let event = serde_json::from_str(line).unwrap_or_else(|error| panic!("a line of {key}: {error}"));
            lines.push(Line {
                key: key.to_owned(),
                text: line.to_owned(),
                event,
            });
        });
        lines
    }

    /// Shows every line and the key of its object, one object in memory at a time.
    pub fn each_line(&self, mut show: impl FnMut(&str, &str)) {
        for (key, body) in &self.objects {
            let mut text = String::new();
            MultiGzDecoder::new(body.as_slice())
                .read_to_string(&mut text)
                .unwrap_or_else(|error| panic!("{key} is not gzip: {error}"));
            assert!(text.ends_with('\n'), "the last line of {key} is not ended");
            for line in text.lines() {
                show(key, line);
            }
        }
    }
}
