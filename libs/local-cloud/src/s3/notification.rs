//! Event notifications: which commits a bucket's configuration wants told, and in what words.
//!
//! <https://docs.aws.amazon.com/AmazonS3/latest/userguide/notification-content-structure.html>

use std::fmt::Write as _;

use s3s::dto::{NotificationConfiguration, QueueConfiguration};
use s3s::{S3Result, s3_error};
use serde_json::json;

use super::record::{Version, Versioning};
use crate::account::Account;

/// The events that are emulated, without `s3:`.
const EVENTS: [&str; 8] = [
    "ObjectCreated:*",
    "ObjectCreated:Put",
    "ObjectCreated:Post",
    "ObjectCreated:Copy",
    "ObjectCreated:CompleteMultipartUpload",
    "ObjectRemoved:*",
    "ObjectRemoved:Delete",
    "ObjectRemoved:DeleteMarkerCreated",
];

/// What happened to a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    Put,
    Copy,
    CompleteMultipartUpload,
    Delete,
    DeleteMarkerCreated,
}

impl Event {
    /// As records name it.
    fn name(self) -> &'static str {
        match self {
            Self::Put => "ObjectCreated:Put",
            Self::Copy => "ObjectCreated:Copy",
            Self::CompleteMultipartUpload => "ObjectCreated:CompleteMultipartUpload",
            Self::Delete => "ObjectRemoved:Delete",
            Self::DeleteMarkerCreated => "ObjectRemoved:DeleteMarkerCreated",
        }
    }
}

/// A message for a queue, decided at commit.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(super) struct Delivery {
    pub(super) queue_arn: String,
    pub(super) body: String,
}

/// The messages that a commit causes.
pub(super) fn deliveries(
    account: &Account,
    bucket: &str,
    configuration: &NotificationConfiguration,
    versioning: Versioning,
    event: Event,
    key: &str,
    version: &Version,
) -> Vec<Delivery> {
    let queues = configuration.queue_configurations.iter().flatten();
    let wanted = queues.filter(|queue| wants(queue, event, key));
    wanted
        .map(|queue| Delivery {
            queue_arn: queue.queue_arn.clone(),
            body: record(
                account,
                bucket,
                queue.id.as_deref(),
                versioning,
                event,
                key,
                version,
            ),
        })
        .collect()
}

fn wants(queue: &QueueConfiguration, event: Event, key: &str) -> bool {
    let event_is_wanted = queue.events.iter().any(|wanted| {
        let wanted = wanted.as_ref().strip_prefix("s3:").unwrap_or_default();
        wanted
            .strip_suffix('*')
            .map_or(wanted == event.name(), |kind| event.name().starts_with(kind))
    });
    let (prefix, suffix) = filter(queue);
    event_is_wanted && key.starts_with(prefix) && key.ends_with(suffix)
}

/// Prefix and suffix that keys must have.
fn filter(queue: &QueueConfiguration) -> (&str, &str) {
    let rules = queue
        .filter
        .iter()
        .flat_map(|filter| &filter.key)
        .flat_map(|key| &key.filter_rules)
        .flatten();
    let (mut prefix, mut suffix) = ("", "");
    for rule in rules {
        let value = rule.value.as_deref().unwrap_or_default();
        match rule
            .name
            .as_ref()
            .map(|name| name.as_str().to_ascii_lowercase())
            .as_deref()
        {
            Some("prefix") => prefix = value,
            Some("suffix") => suffix = value,
            _ => {}
        }
    }
    (prefix, suffix)
}

fn record(
    account: &Account,
    bucket: &str,
    configuration_id: Option<&str>,
    versioning: Versioning,
    event: Event,
    key: &str,
    version: &Version,
) -> String {
    let mut object = json!({ "key": form_encode(key), "sequencer": format!("{:018X}", version.sequence) });
    if let Some(content) = &version.content {
        object["size"] = json!(content.bytes);
        object["eTag"] = json!(content.etag);
    }
    if versioning != Versioning::Never {
        object["versionId"] = json!(version.id());
    }
    let principal = format!("AWS:{}", account.id);
    let record = json!({
        "eventVersion": "2.1",
        "eventSource": "aws:s3",
        "awsRegion": account.region,
        "eventTime": time(version.modified_ms),
        "eventName": event.name(),
        "userIdentity": { "principalId": principal },
        "requestParameters": { "sourceIPAddress": "127.0.0.1" },
        "responseElements": { "x-amz-request-id": request_id(), "x-amz-id-2": "local-cloud" },
        "s3": {
            "s3SchemaVersion": "1.0",
            "configurationId": configuration_id,
            "bucket": {
                "name": bucket,
                "ownerIdentity": { "principalId": account.id },
                "arn": account.arn("s3", bucket),
            },
            "object": object,
        },
    });
    json!({ "Records": [record] }).to_string()
}

/// What a queue is sent when a configuration that names it is put.
pub(super) fn test_event(bucket: &str, now_ms: u64) -> String {
    json!({
        "Service": "Amazon S3",
        "Event": "s3:TestEvent",
        "Time": time(now_ms),
        "Bucket": bucket,
        "RequestId": request_id(),
        "HostId": "local-cloud",
    })
    .to_string()
}

/// Checks a configuration and gives an id to each part that has none.
///
/// # Errors
/// What is not emulated (topics, functions, other events), and what S3 refuses: unknown filter
/// names, overlapping filters for one event, a queue that does not exist.
pub(super) fn accept(
    mut configuration: NotificationConfiguration,
    queue_exists: impl Fn(&str) -> bool,
) -> S3Result<NotificationConfiguration> {
    let elsewhere = configuration
        .topic_configurations
        .as_ref()
        .is_some_and(|topics| !topics.is_empty())
        || configuration
            .lambda_function_configurations
            .as_ref()
            .is_some_and(|functions| !functions.is_empty())
        || configuration.event_bridge_configuration.is_some();
    if elsewhere {
        return Err(s3_error!(
            NotImplemented,
            "local-cloud sends notifications to SQS queues only"
        ));
    }
    for queue in configuration.queue_configurations.iter_mut().flatten() {
        check_queue(queue)?;
        if !queue_exists(&queue.queue_arn) {
            return Err(s3_error!(
                InvalidArgument,
                "Unable to validate the following destination configurations: {}",
                queue.queue_arn
            ));
        }
        queue
            .id
            .get_or_insert_with(|| uuid::Uuid::new_v4().simple().to_string());
    }
    let queues: Vec<&QueueConfiguration> = configuration.queue_configurations.iter().flatten().collect();
    for (index, one) in queues.iter().enumerate() {
        if queues[index + 1..].iter().any(|other| overlap(one, other)) {
            return Err(s3_error!(
                InvalidArgument,
                "Configurations overlap. Configurations on the same bucket cannot share a common event type."
            ));
        }
    }
    Ok(configuration)
}

fn check_queue(queue: &QueueConfiguration) -> S3Result<()> {
    if queue.events.is_empty() {
        return Err(s3_error!(
            InvalidArgument,
            "A notification configuration names no event."
        ));
    }
    for event in &queue.events {
        let name = event.as_ref();
        if !name
            .strip_prefix("s3:")
            .is_some_and(|name| EVENTS.contains(&name))
        {
            return Err(s3_error!(
                NotImplemented,
                "local-cloud sends no notifications of {name}"
            ));
        }
    }
    let rules = queue
        .filter
        .iter()
        .flat_map(|filter| &filter.key)
        .flat_map(|key| &key.filter_rules)
        .flatten();
    let mut seen = Vec::new();
    for rule in rules {
        let name = rule
            .name
            .as_ref()
            .map(|name| name.as_str().to_ascii_lowercase())
            .unwrap_or_default();
        if !matches!(name.as_str(), "prefix" | "suffix") || seen.contains(&name) {
            return Err(s3_error!(
                InvalidArgument,
                "filter rule name must be either prefix or suffix, each once"
            ));
        }
        seen.push(name);
    }
    Ok(())
}

fn overlap(one: &QueueConfiguration, other: &QueueConfiguration) -> bool {
    let covers = |wide: &str, narrow: &str| {
        wide == narrow
            || wide
                .strip_suffix('*')
                .is_some_and(|kind| narrow.starts_with(kind))
    };
    let event_is_shared = one.events.iter().any(|left| {
        other
            .events
            .iter()
            .any(|right| covers(left.as_ref(), right.as_ref()) || covers(right.as_ref(), left.as_ref()))
    });
    let ((one_prefix, one_suffix), (other_prefix, other_suffix)) = (filter(one), filter(other));
    event_is_shared
        && (one_prefix.starts_with(other_prefix) || other_prefix.starts_with(one_prefix))
        && (one_suffix.ends_with(other_suffix) || other_suffix.ends_with(one_suffix))
}

/// A key as notifications and url-encoded listings carry it: a space becomes `+`, `/` stays, and
/// everything outside the form encoding's safe set is percent-encoded.
pub(super) fn form_encode(key: &str) -> String {
    let mut encoded = String::with_capacity(key.len());
    for byte in key.bytes() {
        match byte {
            b' ' => encoded.push('+'),
            b'/' | b'-' | b'_' | b'.' | b'*' => encoded.push(char::from(byte)),
            _ if byte.is_ascii_alphanumeric() => encoded.push(char::from(byte)),
            _ => {
                // Writing to a string cannot fail.
                let _ = write!(encoded, "%{byte:02X}");
            }
        }
    }
    encoded
}

fn time(ms: u64) -> String {
    let instant = i64::try_from(ms)
        .ok()
        .and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    instant
        .unwrap_or(jiff::Timestamp::UNIX_EPOCH)
        .strftime("%Y-%m-%dT%H:%M:%S.%3fZ")
        .to_string()
}

fn request_id() -> String {
    uuid::Uuid::new_v4().simple().to_string()[..16].to_ascii_uppercase()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use s3s::dto::{
        Event as EventName, FilterRule, FilterRuleName, NotificationConfigurationFilter, S3KeyFilter,
    };

    use super::*;

    fn queue(events: &[&'static str], prefix: &str, suffix: &str) -> QueueConfiguration {
        let rule = |name: &'static str, value: &str| FilterRule {
            name: Some(FilterRuleName::from_static(name)),
            value: Some(value.to_owned()),
        };
        let rules = vec![rule("prefix", prefix), rule("suffix", suffix)];
        QueueConfiguration {
            events: events
                .iter()
                .map(|event| EventName::from((*event).to_owned()))
                .collect(),
            filter: Some(NotificationConfigurationFilter {
                key: Some(S3KeyFilter {
                    filter_rules: Some(rules),
                }),
            }),
            id: None,
            queue_arn: "arn".to_owned(),
        }
    }

    fn accepted(queues: Vec<QueueConfiguration>) -> Result<(), String> {
        let configuration = NotificationConfiguration {
            queue_configurations: Some(queues),
            ..NotificationConfiguration::default()
        };
        accept(configuration, |arn| arn == "arn")
            .map(drop)
            .map_err(|error| error.code().as_str().to_owned())
    }

    #[test]
    fn events_and_filters_select() {
        let all = queue(&["s3:ObjectCreated:*"], "in/", ".gz");
        assert!(wants(&all, Event::Put, "in/a.gz"));
        assert!(wants(&all, Event::CompleteMultipartUpload, "in/a.gz"));
        assert!(!wants(&all, Event::Delete, "in/a.gz"));
        assert!(!wants(&all, Event::Put, "out/a.gz"));
        assert!(!wants(&all, Event::Put, "in/a.txt"));
        let copies = queue(&["s3:ObjectCreated:Copy"], "", "");
        assert!(wants(&copies, Event::Copy, "x"));
        assert!(!wants(&copies, Event::Put, "x"));
    }

    #[test]
    fn configurations_are_checked() {
        assert_eq!(accepted(vec![queue(&["s3:ObjectCreated:*"], "a/", "")]), Ok(()));
        let apart = vec![
            queue(&["s3:ObjectCreated:*"], "a/", ""),
            queue(&["s3:ObjectCreated:Put"], "b/", ""),
        ];
        assert_eq!(accepted(apart), Ok(()));
        let overlapping = vec![
            queue(&["s3:ObjectCreated:*"], "a/", ""),
            queue(&["s3:ObjectCreated:Put"], "a/b", ""),
        ];
        assert_eq!(accepted(overlapping), Err("InvalidArgument".to_owned()));
        assert_eq!(
            accepted(vec![queue(&["s3:Replication:*"], "", "")]),
            Err("NotImplemented".to_owned())
        );
        let missing = QueueConfiguration {
            queue_arn: "other".to_owned(),
            ..queue(&["s3:ObjectCreated:*"], "", "")
        };
        assert_eq!(accepted(vec![missing]), Err("InvalidArgument".to_owned()));
    }

    #[test]
    fn keys_are_form_encoded() {
        for (key, encoded) in [
            ("in/a b", "in/a+b"),
            ("in/a+b", "in/a%2Bb"),
            ("50%", "50%25"),
            ("[x]~", "%5Bx%5D%7E"),
            ("ü", "%C3%BC"),
            ("a//b", "a//b"),
            ("../x", "../x"),
            ("a=b&c", "a%3Db%26c"),
        ] {
            assert_eq!(form_encode(key), encoded);
        }
    }

    /// What consumers do: `+` is a space, then percent-decoding.
    fn form_decode(encoded: &str) -> String {
        let mut bytes = encoded.bytes();
        let mut decoded = Vec::new();
        while let Some(byte) = bytes.next() {
            decoded.push(match byte {
                b'+' => b' ',
                b'%' => {
                    let digits = [bytes.next().expect("a digit"), bytes.next().expect("a digit")];
                    let digits = std::str::from_utf8(&digits).expect("ASCII");
                    u8::from_str_radix(digits, 16).expect("hexadecimal")
                }
                _ => byte,
            });
        }
        String::from_utf8(decoded).expect("UTF-8")
    }

    proptest! {
        #[test]
        fn what_is_encoded_decodes_to_the_key(key in any::<String>()) {
            prop_assert_eq!(form_decode(&form_encode(&key)), key);
        }
    }

    #[test]
    fn times_have_milliseconds() {
        assert_eq!(time(1_700_000_000_007), "2023-11-14T22:13:20.007Z");
    }
}
