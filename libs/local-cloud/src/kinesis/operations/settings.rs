//! What can be changed about a stream: its retention period and its tags.

use std::borrow::Cow;
use std::collections::BTreeMap;

use bytes::Bytes;
use serde::Deserialize;

use super::shapes::{OneStream, page_size};
use super::{answer, empty_answer};
use crate::kinesis::error::{invalid_argument, validation};
use crate::kinesis::stream::{RETENTION_HOURS_DEFAULT, RETENTION_HOURS_MAX};
use crate::kinesis::{Kinesis, lock};
use crate::wire::json::{ApiError, Call};

const TAGS_MAX: usize = 50;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Retention {
    retention_period_hours: u32,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Tags {
    tags: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ListTags<'a> {
    #[serde(borrow)]
    exclusive_start_tag_key: Option<Cow<'a, str>>,
    limit: Option<usize>,
}

impl Kinesis {
    /// <https://docs.aws.amazon.com/kinesis/latest/APIReference/API_IncreaseStreamRetentionPeriod.html>
    pub(crate) fn increase_stream_retention_period(&self, call: &Call<'_>) -> Result<Bytes, ApiError> {
        self.set_retention(call, |wanted, existing, name| {
            (wanted < existing).then(|| {
                format!(
                    "Requested retention period ({wanted} hours) for stream {name} can not be shorter than \
                     existing retention period ({existing} hours). Use DecreaseRetentionPeriod API."
                )
            })
        })
    }

    /// <https://docs.aws.amazon.com/kinesis/latest/APIReference/API_DecreaseStreamRetentionPeriod.html>
    pub(crate) fn decrease_stream_retention_period(&self, call: &Call<'_>) -> Result<Bytes, ApiError> {
        self.set_retention(call, |wanted, existing, name| {
            (wanted > existing).then(|| {
                format!(
                    "Requested retention period ({wanted} hours) for stream {name} can not be longer than \
                     existing retention period ({existing} hours). Use IncreaseRetentionPeriod API."
                )
            })
        })
    }

    fn set_retention(
        &self,
        call: &Call<'_>,
        wrong_direction: impl FnOnce(u32, u32, &str) -> Option<String>,
    ) -> Result<Bytes, ApiError> {
        let Retention {
            retention_period_hours: hours,
        } = call.input()?;
        let stream = self.find(call.input::<OneStream<'_>>()?.stream())?;
        // Entering trims by the old retention: a longer one does not bring records back.
        let (mut stream, now_ms) = self.enter(&stream)?;
        if hours < RETENTION_HOURS_DEFAULT {
            return Err(invalid_argument(format!(
                "Minimum allowed retention period is {RETENTION_HOURS_DEFAULT} hours. \
                 Requested retention period ({hours} hours) is too short."
            )));
        }
        if hours > RETENTION_HOURS_MAX {
            return Err(invalid_argument(format!(
                "Maximum allowed retention period is {RETENTION_HOURS_MAX} hours. \
                 Requested retention period ({hours} hours) is too long."
            )));
        }
        if let Some(message) = wrong_direction(hours, stream.retention_hours, &stream.name) {
            return Err(invalid_argument(message));
        }
        let before = std::mem::replace(&mut stream.retention_hours, hours);
        self.save(&stream)
            .inspect_err(|_| stream.retention_hours = before)?;
        self.trim(&mut stream, now_ms)?;
        Ok(empty_answer())
    }

    /// <https://docs.aws.amazon.com/kinesis/latest/APIReference/API_AddTagsToStream.html>
    pub(crate) fn add_tags_to_stream(&self, call: &Call<'_>) -> Result<Bytes, ApiError> {
        let Tags { tags } = call.input()?;
        check_tags(&tags)?;
        let stream = self.find(call.input::<OneStream<'_>>()?.stream())?;
        let mut stream = lock(&stream);
        let mut all = stream.tags.clone();
        all.extend(tags);
        check_tags(&all)?;
        let before = std::mem::replace(&mut stream.tags, all);
        self.save(&stream).inspect_err(|_| stream.tags = before)?;
        Ok(empty_answer())
    }

    /// <https://docs.aws.amazon.com/kinesis/latest/APIReference/API_ListTagsForStream.html>
    pub(crate) fn list_tags_for_stream(&self, call: &Call<'_>) -> Result<Bytes, ApiError> {
        let page: ListTags<'_> = call.input()?;
        let limit = page_size(page.limit, TAGS_MAX, TAGS_MAX)?;
        let after = page.exclusive_start_tag_key.unwrap_or_default();
        let stream = self.find(call.input::<OneStream<'_>>()?.stream())?;
        let stream = lock(&stream);
        let mut behind = stream
            .tags
            .iter()
            .filter(|(key, _)| key.as_str() > after.as_ref());
        let tags: Vec<_> = behind
            .by_ref()
            .take(limit)
            .map(|(key, value)| serde_json::json!({ "Key": key, "Value": value }))
            .collect();
        answer(&serde_json::json!({ "Tags": tags, "HasMoreTags": behind.next().is_some() }))
    }
}

pub(super) fn check_tags(tags: &BTreeMap<String, String>) -> Result<(), ApiError> {
    if tags.len() > TAGS_MAX {
        return Err(invalid_argument(format!("A stream has at most {TAGS_MAX} tags.")));
    }
    if tags
        .iter()
        .any(|(key, value)| !(1..=128).contains(&key.chars().count()) || value.chars().count() > 256)
    {
        return Err(validation(
            "tags",
            "have keys of length 1 to 128 and values of length 0 to 256",
        ));
    }
    Ok(())
}
