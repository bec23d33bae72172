//! Lines of one writer, each with the SHA-256 of the line before it.
//!
//! A chain begins with a line that names its writer, the policy and the end of the same writer's chain
//! before, where one was found, and ends with a line that says so, where the writer ended in order.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::Entry;
use crate::redact::hex;

/// What the first line has in the place of a hash.
pub(super) const NOTHING_BEFORE: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// A line of a chain, as it is referred to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Link {
    pub(super) instance: String,
    pub(super) seq: u64,
    pub(super) sha256: String,
}

#[derive(Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
enum Content<'a> {
    Genesis {
        instance: &'a str,
        program: &'a str,
        policy: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        previous: Option<&'a Link>,
    },
    Object(&'a Entry),
    Close,
}

#[derive(Serialize)]
struct Line<'a> {
    seq: u64,
    prev: &'a str,
    time: Timestamp,
    #[serde(flatten)]
    content: Content<'a>,
}

/// What of a line holds the chain together.
#[derive(Debug, Deserialize)]
pub(super) struct Held {
    pub(super) seq: u64,
    pub(super) prev: String,
    pub(super) time: Timestamp,
    pub(super) kind: String,
    #[serde(default)]
    pub(super) instance: Option<String>,
    #[serde(default)]
    pub(super) previous: Option<Link>,
}

/// A chain, as its writer has it.
pub(super) struct Chain {
    pub(super) instance: String,
    next: u64,
    last: String,
    /// No line is earlier than the one before, even if the clock is: the days of the keys follow the chain.
    latest: Timestamp,
}

impl Chain {
    pub(super) fn new(instance: String) -> Self {
        Self {
            instance,
            next: 0,
            last: NOTHING_BEFORE.to_owned(),
            latest: Timestamp::UNIX_EPOCH,
        }
    }

    /// The number of the next line.
    pub(super) fn next(&self) -> u64 {
        self.next
    }

    /// The time of the next line.
    pub(super) fn now(&mut self) -> Timestamp {
        self.latest = self.latest.max(Timestamp::now());
        self.latest
    }

    pub(super) fn genesis(&mut self, policy: &str, previous: Option<&Link>, into: &mut Vec<u8>) {
        let instance = self.instance.clone();
        let content = Content::Genesis {
            instance: &instance,
            program: concat!("syncomatic ", env!("CARGO_PKG_VERSION")),
            policy,
            previous,
        };
        self.append(content, into);
    }

    pub(super) fn entry(&mut self, entry: &Entry, into: &mut Vec<u8>) {
        self.append(Content::Object(entry), into);
    }

    pub(super) fn close(&mut self, into: &mut Vec<u8>) {
        self.append(Content::Close, into);
    }

    fn append(&mut self, content: Content<'_>, into: &mut Vec<u8>) {
        let time = self.now();
        let line = Line {
            seq: self.next,
            prev: &self.last,
            time,
            content,
        };
        let begin = into.len();
        serde_json::to_writer(&mut *into, &line).expect("our own types into memory");
        self.last = hash(&into[begin..]);
        self.next += 1;
        into.push(b'\n');
    }
}

/// SHA-256 of a line without its line break, in hexadecimal digits.
pub(super) fn hash(line: &[u8]) -> String {
    hex(&Sha256::digest(line))
}
