//! A delivery stream, and the one table that keeps them.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::state::{State, StateError, Table};

/// A delivery stream into a bucket.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct DeliveryStream {
    pub(super) name: String,
    pub(super) created_ms: u64,
    pub(super) destination: Destination,
}

/// A bucket, and what was said about it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Destination {
    pub(super) role_arn: String,
    pub(super) bucket: String,
    pub(super) prefix: Option<String>,
    pub(super) error_prefix: Option<String>,
    pub(super) buffer_mb: u32,
    pub(super) buffer_seconds: u32,
}

impl DeliveryStream {
    /// The name of an object that is delivered now, behind the UTC hour that Firehose adds to a prefix.
    ///
    /// <https://docs.aws.amazon.com/firehose/latest/dev/s3-object-name.html>
    pub(super) fn object_key(&self, now_ms: u64) -> String {
        let now = i64::try_from(now_ms)
            .ok()
            .and_then(|ms| Timestamp::from_millisecond(ms).ok());
        let now = now.unwrap_or(Timestamp::UNIX_EPOCH);
        let prefix = self.destination.prefix.as_deref().unwrap_or_default();
        let (folder, time) = (now.strftime("%Y/%m/%d/%H/"), now.strftime("%Y-%m-%d-%H-%M-%S"));
        format!("{prefix}{folder}{}-1-{time}-{}", self.name, uuid::Uuid::new_v4())
    }

    pub(super) fn save(&self, state: &State) -> Result<(), StateError> {
        let json = serde_json::to_vec(self).map_err(|error| corrupt(&error))?;
        state.put(Table::DeliveryStreams, self.name.as_bytes(), &json)
    }
}

/// All of them.
pub(super) fn load(state: &State) -> Result<BTreeMap<String, Arc<DeliveryStream>>, StateError> {
    let entries = state.scan(Table::DeliveryStreams).map(|entry| {
        let (_, json) = entry?;
        let stream: DeliveryStream = serde_json::from_slice(&json).map_err(|error| corrupt(&error))?;
        Ok((stream.name.clone(), Arc::new(stream)))
    });
    entries.collect()
}

fn corrupt(error: &serde_json::Error) -> StateError {
    StateError::Corrupt {
        what: "delivery stream",
        reason: error.to_string(),
    }
}
