//! PutRecord and PutRecordBatch: check everything, deliver what is taken, answer entry by entry.

use std::borrow::Cow;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::json;

use super::stream::DeliveryStream;
use super::{Firehose, invalid_argument, validation};
use crate::wire::json::{ApiError, Call};

/// Records of one PutRecordBatch.
const RECORDS_MAX: usize = 500;
/// Data of one record: 1,000 KiB.
const RECORD_BYTES_MAX: usize = 1_024_000;
/// Data of one PutRecordBatch: 4 MiB.
const REQUEST_BYTES_MAX: usize = 4 << 20;
/// Also the `ErrorCode` of an entry that is to be sent again.
const UNAVAILABLE: &str = "ServiceUnavailableException";
const SLOW_DOWN: &str = "Slow down.";

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct PutRecordBatch<'a> {
    delivery_stream_name: String,
    #[serde(borrow)]
    records: Vec<Entry<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct PutRecord<'a> {
    delivery_stream_name: String,
    #[serde(borrow)]
    record: Entry<'a>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry<'a> {
    #[serde(borrow)]
    data: Cow<'a, str>,
}

impl Firehose {
    /// <https://docs.aws.amazon.com/firehose/latest/APIReference/API_PutRecordBatch.html>
    pub(super) async fn put_record_batch(&self, call: &Call<'_>) -> Result<Bytes, ApiError> {
        let input: PutRecordBatch<'_> = call.input()?;
        let records = check(&input.records)?;
        let stream = self.find(&input.delivery_stream_name)?;
        let throttled = call.throttle.choose(records.len());
        let is_throttled = |index: usize| throttled.get(index).copied().unwrap_or(false);
        let taken = records
            .iter()
            .enumerate()
            .filter(|(index, _)| !is_throttled(*index));
        let taken: Vec<u8> = taken.flat_map(|(_, data)| data).copied().collect();
        self.deliver(&stream, taken).await?;
        let results: Vec<_> = (0..records.len())
            .map(|index| match is_throttled(index) {
                true => json!({ "ErrorCode": UNAVAILABLE, "ErrorMessage": SLOW_DOWN }),
                false => json!({ "RecordId": record_id() }),
            })
            .collect();
        let failed = throttled.iter().filter(|throttled| **throttled).count();
        let answer = json!({ "FailedPutCount": failed, "Encrypted": false, "RequestResponses": results });
        Ok(Bytes::from(answer.to_string()))
    }

    /// <https://docs.aws.amazon.com/firehose/latest/APIReference/API_PutRecord.html>
    pub(super) async fn put_record(&self, call: &Call<'_>) -> Result<Bytes, ApiError> {
        let input: PutRecord<'_> = call.input()?;
        let data = decode("record.data", &input.record)?;
        let stream = self.find(&input.delivery_stream_name)?;
        if call.throttle.choose(1).contains(&true) {
            return Err(slow_down());
        }
        self.deliver(&stream, data).await?;
        let answer = json!({ "RecordId": record_id(), "Encrypted": false });
        Ok(Bytes::from(answer.to_string()))
    }

    /// Leaves the data in the bucket as Firehose does: one record behind the other, nothing in between.
    async fn deliver(&self, stream: &DeliveryStream, data: Vec<u8>) -> Result<(), ApiError> {
        if data.is_empty() {
            return Ok(());
        }
        let (bucket, key) = (&stream.destination.bucket, stream.object_key(self.clock.now_ms()));
        let put = self.bucket.put(bucket, &key, Bytes::from(data)).await;
        put.map_err(|reason| {
            tracing::error!(stream = stream.name, bucket, reason, "a delivery failed");
            ApiError::new(
                500,
                "InternalFailure",
                format!("cannot deliver into {bucket}: {reason}"),
            )
        })
    }
}

/// What Firehose says when it is given too much.
pub(super) fn slow_down() -> ApiError {
    ApiError::new(500, UNAVAILABLE, SLOW_DOWN)
}

/// All entries must be valid: one that is not refuses the whole request.
fn check(entries: &[Entry<'_>]) -> Result<Vec<Vec<u8>>, ApiError> {
    if entries.is_empty() {
        return Err(validation("records", "have length greater than or equal to 1"));
    }
    if entries.len() > RECORDS_MAX {
        return Err(validation("records", "have length less than or equal to 500"));
    }
    let records = entries.iter().zip(1..);
    let records = records.map(|(entry, number)| decode(&format!("records.{number}.member.data"), entry));
    let records: Vec<_> = records.collect::<Result<_, _>>()?;
    if records.iter().map(Vec::len).sum::<usize>() > REQUEST_BYTES_MAX {
        return Err(invalid_argument("Records size exceeds 4 MB limit"));
    }
    Ok(records)
}

fn decode(place: &str, entry: &Entry<'_>) -> Result<Vec<u8>, ApiError> {
    let data = BASE64_STANDARD.decode(entry.data.as_bytes());
    let data =
        data.map_err(|_| ApiError::new(400, "SerializationException", format!("{place} is not base64")))?;
    if data.len() > RECORD_BYTES_MAX {
        return Err(validation(place, "have length less than or equal to 1024000"));
    }
    Ok(data)
}

fn record_id() -> String {
    uuid::Uuid::new_v4().simple().to_string()
}
