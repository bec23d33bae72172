//! Second stage: the body, within its bounds of size and time.

use axum::{
    body::{Body, Bytes},
    http::{HeaderMap, header},
};
use bytes::BytesMut;
use http_body_util::BodyExt;
use tokio::time::timeout;

use crate::{config::Limits, refusal::Refusal};

/// How many bytes a request may bring: what it announces, or without that the most that is read.
pub(crate) fn announced(headers: &HeaderMap, limits: &Limits) -> Result<usize, Refusal> {
    let limit = limits.body_bytes;
    // The HTTP library refuses a Content-Length that is not a number.
    let length = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse().ok());
    match length {
        None => Ok(limit),
        Some(length) if length <= limit => Ok(length),
        Some(_) => Err(Refusal::BodyTooLarge { limit }),
    }
}

/// Reads the whole body, or refuses it at the first byte too many or at the deadline.
pub(crate) async fn read(mut body: Body, headers: &HeaderMap, limits: &Limits) -> Result<Bytes, Refusal> {
    let limit = limits.body_bytes;
    // Room for what is announced, and no more than that on the client's word alone.
    let has_length = headers.contains_key(header::CONTENT_LENGTH);
    let room = if has_length {
        announced(headers, limits)?
    } else {
        0
    };
    let all = async {
        let mut bytes = BytesMut::with_capacity(room);
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame.map_err(|_| Refusal::BodyCutOff)?.into_data() else {
                continue;
            };
            if bytes.len() + data.len() > limit {
                return Err(Refusal::BodyTooLarge { limit });
            }
            bytes.extend_from_slice(&data);
        }
        Ok(bytes.freeze())
    };
    timeout(limits.body_timeout, all)
        .await
        .unwrap_or(Err(Refusal::BodyTooSlow))
}
