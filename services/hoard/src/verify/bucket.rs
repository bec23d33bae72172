//! The bucket as a reader sees it: listed, looked at, read. Each call is tried a few times and then
//! given up, for somebody waits for the answer.

use std::collections::HashMap;
use std::time::Duration;

use aws_clients::Failure;
use aws_sdk_s3::Client;
use aws_sdk_s3::primitives::ByteStream;
use bytes::Bytes;
use service_runtime::backoff::Backoff;

use crate::retry::{FailedCall, call};

/// How often a call is made before it is given up: about half a minute.
const TRIES_MAX: u32 = 10;
/// One page of names, or the head of one object.
const CALL_TIMEOUT: Duration = Duration::from_secs(15);
/// How long the bytes of an object may pause.
const STALL_TIMEOUT: Duration = Duration::from_secs(30);

/// A bucket to read. Clones share the client.
#[derive(Clone, Debug)]
pub struct Bucket {
    client: Client,
    name: String,
}

/// What could not be read, and why.
#[derive(Debug, thiserror::Error)]
#[error("{what} cannot be read: {detail}")]
pub struct Unreadable {
    what: String,
    detail: String,
}

/// An object's bytes on their way.
pub struct Download {
    /// What was written on it.
    pub metadata: HashMap<String, String>,
    body: ByteStream,
}

/// Tries of one call.
pub struct Tries<'a> {
    what: &'a str,
    backoff: Backoff,
}

impl Bucket {
    /// The bucket `name`.
    pub fn new(client: Client, name: &str) -> Self {
        Self {
            client,
            name: name.to_owned(),
        }
    }

    /// Shows `take` each key under `prefix`, in the order of keys.
    pub async fn list(&self, prefix: &str, mut take: impl FnMut(&str)) -> Result<(), Unreadable> {
        let mut next_page: Option<String> = None;
        loop {
            let what = format!("the list of s3://{}/{prefix}", self.name);
            let mut tries = Tries::new(&what);
            let page = loop {
                let request = self.client.list_objects_v2().bucket(&self.name).prefix(prefix);
                let request = request.set_continuation_token(next_page.clone());
                match call(CALL_TIMEOUT, request.send()).await {
                    Ok(page) => break page,
                    Err(failed) => tries.pause(failed).await?,
                }
            };
            for key in page.contents().iter().filter_map(|object| object.key()) {
                take(key);
            }
            next_page = page.next_continuation_token;
            if next_page.is_none() {
                return Ok(());
            }
        }
    }

    /// An object's metadata; `None` when there is no such object.
    pub async fn metadata(&self, key: &str) -> Result<Option<HashMap<String, String>>, Unreadable> {
        let mut tries = Tries::new(key);
        loop {
            let request = self.client.head_object().bucket(&self.name).key(key);
            match call(CALL_TIMEOUT, request.send()).await {
                Ok(head) => return Ok(Some(head.metadata.unwrap_or_default())),
                Err(failed) if failed.failure == Failure::NotFound => return Ok(None),
                Err(failed) => tries.pause(failed).await?,
            }
        }
    }

    /// Begins to read an object; `None` when there is no such object.
    pub async fn get(&self, key: &str) -> Result<Option<Download>, Unreadable> {
        let mut tries = Tries::new(key);
        loop {
            let request = self.client.get_object().bucket(&self.name).key(key);
            match call(CALL_TIMEOUT, request.send()).await {
                Ok(answer) => {
                    let (metadata, body) = (answer.metadata.unwrap_or_default(), answer.body);
                    return Ok(Some(Download { metadata, body }));
                }
                Err(failed) if failed.failure == Failure::NotFound => return Ok(None),
                Err(failed) => tries.pause(failed).await?,
            }
        }
    }

    /// A small object as a whole; `None` when there is no such object.
    pub async fn get_small(&self, key: &str) -> Result<Option<Vec<u8>>, Unreadable> {
        let mut tries = Tries::new(key);
        'object: loop {
            let Some(mut download) = self.get(key).await? else {
                return Ok(None);
            };
            let mut body = Vec::new();
            loop {
                match download.next().await {
                    Ok(Some(chunk)) => body.extend_from_slice(&chunk),
                    Ok(None) => return Ok(Some(body)),
                    Err(failed) => {
                        tries.pause(failed).await?;
                        continue 'object;
                    }
                }
            }
        }
    }
}

impl Download {
    /// The next bytes; `None` at the end. After a failure the object must be read anew.
    pub async fn next(&mut self) -> Result<Option<Bytes>, FailedCall> {
        match tokio::time::timeout(STALL_TIMEOUT, self.body.try_next()).await {
            Ok(Ok(chunk)) => Ok(chunk),
            Ok(Err(error)) => Err(FailedCall::new(Failure::Transient, error.to_string())),
            Err(_) => Err(FailedCall::new(
                Failure::Timeout,
                format!("no bytes for {STALL_TIMEOUT:?}"),
            )),
        }
    }
}

impl<'a> Tries<'a> {
    /// `what` is read, a key for one.
    pub fn new(what: &'a str) -> Self {
        let (base, cap) = (Duration::from_millis(100), Duration::from_secs(5));
        Self {
            what,
            backoff: Backoff::new(base, cap),
        }
    }

    /// Waits before the next try, or gives up.
    pub async fn pause(&mut self, failed: FailedCall) -> Result<(), Unreadable> {
        if failed.failure.is_retryable() && self.backoff.tries() + 1 < TRIES_MAX {
            tokio::time::sleep(self.backoff.next_delay()).await;
            return Ok(());
        }
        Err(Unreadable {
            what: self.what.to_owned(),
            detail: failed.detail,
        })
    }
}
