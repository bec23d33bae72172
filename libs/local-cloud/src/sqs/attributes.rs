//! The attributes of a queue: their names, ranges, defaults, and which of them do something here.
//!
//! <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SetQueueAttributes.html>

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use super::error::{invalid_attribute_name, invalid_attribute_value, unsupported};
use crate::wire::json::ApiError;

/// Bytes of the largest message, and of the largest batch.
pub(crate) const MESSAGE_BYTES_MAX: u64 = 1 << 20;
/// Seconds: the longest visibility time-out, delay and long poll.
pub(crate) const VISIBILITY_SECONDS_MAX: u64 = 43_200;
pub(crate) const DELAY_SECONDS_MAX: u64 = 900;
pub(crate) const WAIT_SECONDS_MAX: u64 = 20;

/// Kept and given back, without effect: there are no policies and no encryption in a local cloud.
const WITHOUT_EFFECT: [&str; 4] = [
    "KmsDataKeyReusePeriodSeconds",
    "KmsMasterKeyId",
    "Policy",
    "SqsManagedSseEnabled",
];
const FIFO: [&str; 4] = [
    "ContentBasedDeduplication",
    "DeduplicationScope",
    "FifoQueue",
    "FifoThroughputLimit",
];
/// What GetQueueAttributes tells besides what can be set.
pub(crate) const COMPUTED: [&str; 6] = [
    "ApproximateNumberOfMessages",
    "ApproximateNumberOfMessagesDelayed",
    "ApproximateNumberOfMessagesNotVisible",
    "CreatedTimestamp",
    "LastModifiedTimestamp",
    "QueueArn",
];

/// What can be set on a queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Attributes {
    pub(crate) delay_seconds: u64,
    pub(crate) message_bytes_max: u64,
    pub(crate) retention_seconds: u64,
    pub(crate) wait_seconds: u64,
    pub(crate) visibility_seconds: u64,
    pub(crate) redrive: Option<Redrive>,
    without_effect: BTreeMap<String, String>,
}

/// Where messages go that were received too often.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Redrive {
    pub(crate) dead_letter_target_arn: String,
    #[serde(deserialize_with = "number_or_text")]
    pub(crate) max_receive_count: u32,
}

/// AWS takes `5` and `"5"`.
fn number_or_text<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum NumberOrText {
        Number(u32),
        Text(String),
    }
    match NumberOrText::deserialize(deserializer)? {
        NumberOrText::Number(number) => Ok(number),
        NumberOrText::Text(text) => text.parse().map_err(serde::de::Error::custom),
    }
}

impl Default for Attributes {
    fn default() -> Self {
        Self {
            delay_seconds: 0,
            message_bytes_max: MESSAGE_BYTES_MAX,
            retention_seconds: 345_600,
            wait_seconds: 0,
            visibility_seconds: 30,
            redrive: None,
            without_effect: BTreeMap::new(),
        }
    }
}

impl Attributes {
    /// Sets one attribute from its text.
    pub(crate) fn set(&mut self, name: &str, value: &str) -> Result<(), ApiError> {
        let number = |range: RangeInclusive<u64>| {
            let number = value.parse().ok().filter(|number| range.contains(number));
            number.ok_or_else(|| invalid_attribute_value(name))
        };
        match name {
            "DelaySeconds" => self.delay_seconds = number(0..=DELAY_SECONDS_MAX)?,
            "MaximumMessageSize" => self.message_bytes_max = number(1_024..=MESSAGE_BYTES_MAX)?,
            "MessageRetentionPeriod" => self.retention_seconds = number(60..=1_209_600)?,
            "ReceiveMessageWaitTimeSeconds" => self.wait_seconds = number(0..=WAIT_SECONDS_MAX)?,
            "VisibilityTimeout" => self.visibility_seconds = number(0..=VISIBILITY_SECONDS_MAX)?,
            // An empty policy takes the dead letter queue away.
            "RedrivePolicy" if value.is_empty() => self.redrive = None,
            "RedrivePolicy" => self.redrive = Some(read_redrive(value)?),
            "RedriveAllowPolicy" => return Err(unsupported("the queue attribute RedriveAllowPolicy")),
            name if WITHOUT_EFFECT.contains(&name) => {
                self.without_effect.insert(name.to_owned(), value.to_owned());
            }
            name if FIFO.contains(&name) => return Err(unsupported("a FIFO queue")),
            _ => return Err(invalid_attribute_name(name)),
        }
        Ok(())
    }

    /// The text of an attribute; None when it has no value, or when it cannot be set.
    pub(crate) fn get(&self, name: &str) -> Option<String> {
        Some(match name {
            "DelaySeconds" => self.delay_seconds.to_string(),
            "MaximumMessageSize" => self.message_bytes_max.to_string(),
            "MessageRetentionPeriod" => self.retention_seconds.to_string(),
            "ReceiveMessageWaitTimeSeconds" => self.wait_seconds.to_string(),
            "VisibilityTimeout" => self.visibility_seconds.to_string(),
            "RedrivePolicy" => serde_json::to_string(self.redrive.as_ref()?).ok()?,
            name => self.without_effect.get(name)?.clone(),
        })
    }

    /// The names of all attributes that can be set and read.
    pub(crate) fn names() -> impl Iterator<Item = &'static str> {
        let effective = [
            "DelaySeconds",
            "MaximumMessageSize",
            "MessageRetentionPeriod",
            "ReceiveMessageWaitTimeSeconds",
            "RedrivePolicy",
            "VisibilityTimeout",
        ];
        effective.into_iter().chain(WITHOUT_EFFECT)
    }
}

fn read_redrive(value: &str) -> Result<Redrive, ApiError> {
    let redrive: Option<Redrive> = serde_json::from_str(value).ok();
    redrive
        .filter(|redrive| (1..=1_000).contains(&redrive.max_receive_count))
        .ok_or_else(|| invalid_attribute_value("RedrivePolicy"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_the_ranges_and_defaults_of_aws() {
        for (name, default, least, most) in [
            ("DelaySeconds", "0", 0, 900),
            ("MaximumMessageSize", "1048576", 1_024, 1_048_576),
            ("MessageRetentionPeriod", "345600", 60, 1_209_600),
            ("ReceiveMessageWaitTimeSeconds", "0", 0, 20),
            ("VisibilityTimeout", "30", 0, 43_200),
        ] {
            let mut attributes = Attributes::default();
            assert_eq!(attributes.get(name).as_deref(), Some(default), "{name}");
            for good in [least, most] {
                attributes.set(name, &good.to_string()).expect("inside the range");
                assert_eq!(attributes.get(name), Some(good.to_string()));
            }
            for bad in [
                "-1".to_owned(),
                (most + 1).to_string(),
                "x".to_owned(),
                String::new(),
            ] {
                let error = attributes.set(name, &bad).expect_err("outside the range");
                assert_eq!(error.code, "InvalidAttributeValue", "{name}={bad}");
            }
            assert_eq!(attributes.get(name), Some(most.to_string()), "unchanged");
        }
    }

    #[test]
    fn a_redrive_policy_counts_in_numbers_or_text_and_can_be_taken_away() {
        let mut attributes = Attributes::default();
        for count in ["3", r#""3""#] {
            let policy = format!(r#"{{"deadLetterTargetArn":"arn","maxReceiveCount":{count}}}"#);
            attributes.set("RedrivePolicy", &policy).expect("a policy");
            let expected = r#"{"deadLetterTargetArn":"arn","maxReceiveCount":3}"#;
            assert_eq!(attributes.get("RedrivePolicy").as_deref(), Some(expected));
        }
        for bad in ["x", "{}", r#"{"deadLetterTargetArn":"arn","maxReceiveCount":0}"#] {
            assert!(attributes.set("RedrivePolicy", bad).is_err(), "{bad}");
        }
        attributes.set("RedrivePolicy", "").expect("taken away");
        assert_eq!(attributes.get("RedrivePolicy"), None);
    }

    #[test]
    fn what_is_not_emulated_is_refused() {
        let mut attributes = Attributes::default();
        for (name, code) in [
            ("FifoQueue", "UnsupportedOperation"),
            ("RedriveAllowPolicy", "UnsupportedOperation"),
            ("Colour", "InvalidAttributeName"),
            ("QueueArn", "InvalidAttributeName"),
        ] {
            assert_eq!(attributes.set(name, "true").expect_err("refused").code, code);
        }
    }
}
