//! One object against what is written on it.

use std::fmt::{Display, Formatter};

use serde::Serialize;

use crate::encode::crc_to_hex;
use crate::sequence::ShardId;
use crate::verify::Found;
use crate::verify::bucket::{Bucket, Download, Tries, Unreadable};
use crate::verify::chain::{Entry, Role};
use crate::verify::content::{Content, ContentReader};
use crate::verify::described::Described;
use crate::verify::folders::Folders;
use crate::verify::progress::Progress;
use crate::verify::report::{Fault, Totals};

/// So many bytes are decompressed before other readers get their turn: some milliseconds at most.
const BYTES_PER_TURN: usize = 64 * 1024;

/// Reads objects and finds what is wrong with them.
#[derive(Clone)]
pub struct Inspector {
    /// Where they are.
    pub bucket: Bucket,
    /// Whose they must be.
    pub stream: String,
    /// Where they must lie.
    pub folders: Folders,
    /// Metadata only.
    pub is_quick: bool,
    /// Told of each object and byte.
    pub progress: Progress,
}

/// What became of one object.
pub struct Checked {
    /// The shard that its key names.
    pub shard: ShardId,
    /// Its place in the chain; `None` when it could not be told, or it is another stream's.
    pub entry: Option<Entry>,
    /// What it holds.
    pub totals: Totals,
    /// What is wrong with it.
    pub faults: Vec<Fault>,
}

/// What is wrong with an object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Problem {
    /// It was listed and is gone.
    Gone,
    /// Its metadata is not what hoard writes.
    Metadata {
        /// What of it.
        detail: String,
    },
    /// Its key names another shard or cut than its metadata.
    Place,
    /// Its records did not arrive on the day that it lies under.
    Day {
        /// The days on which they did.
        arrived: String,
    },
    /// It cannot be decompressed.
    Damaged {
        /// What the decompressor says.
        detail: String,
    },
    /// Its lines are more or fewer than announced.
    Lines {
        /// As announced.
        expected: u64,
        /// As counted.
        found: u64,
    },
    /// Their size differs from what is announced.
    Bytes {
        /// As announced.
        expected: u64,
        /// As counted.
        found: u64,
    },
    /// Their CRC-64/NVME differs from what is announced.
    Crc {
        /// As announced.
        expected: String,
        /// As computed.
        found: String,
    },
    /// A line is empty, or the last one is not ended.
    LineEnds,
}

impl Display for Problem {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Gone => f.write_str("was listed and is gone"),
            Self::Metadata { detail } => f.write_str(detail),
            Self::Place => f.write_str("its metadata names another shard or cut than its key"),
            Self::Day { arrived } => write!(f, "its records arrived on {arrived}"),
            Self::Damaged { detail } => write!(f, "cannot be decompressed: {detail}"),
            Self::Lines { expected, found } => write!(f, "{found} lines, {expected} announced"),
            Self::Bytes { expected, found } => write!(f, "{found} bytes of lines, {expected} announced"),
            Self::Crc { expected, found } => write!(f, "CRC-64/NVME {found}, {expected} announced"),
            Self::LineEnds => f.write_str("a line is empty, or the last one is not ended"),
        }
    }
}

impl Inspector {
    /// Reads one object: neighbours, and all of them in a quick verification, by their metadata only.
    pub async fn inspect(&self, found: Found) -> Result<Checked, Unreadable> {
        let (metadata, content) = if self.is_quick || found.role != Role::Asked {
            (self.bucket.metadata(&found.key).await?, None)
        } else {
            match self.read(&found.key).await? {
                Some((metadata, content)) => (Some(metadata), Some(content)),
                None => (None, None),
            }
        };
        self.progress.object();
        let mut checked = Checked {
            shard: found.shard.clone(),
            entry: None,
            totals: Totals::default(),
            faults: Vec::new(),
        };
        let key = found.key.clone();
        let mut fault = |problem| {
            // A neighbour's faults are told when its own day is verified.
            if found.role == Role::Asked {
                checked.faults.push(Fault {
                    key: key.clone(),
                    problem,
                });
            }
        };
        let Some(metadata) = metadata else {
            fault(Problem::Gone);
            return Ok(checked);
        };
        let described = match Described::read(&metadata) {
            Ok(described) => described,
            Err(error) => {
                let detail = error.to_string();
                fault(Problem::Metadata { detail });
                return Ok(checked);
            }
        };
        if described.stream != self.stream {
            return Ok(checked);
        }
        if (&described.shard, &described.first) != (&found.shard, &found.first) {
            fault(Problem::Place);
        }
        let days =
            [described.first_arrival, described.last_arrival].map(|arrival| self.folders.date(arrival));
        if days != [found.date; 2] {
            let arrived = format!("{} to {}", days[0], days[1]);
            fault(Problem::Day { arrived });
        }
        match content {
            Some(Ok(content)) => compare(&described, &content, &mut fault),
            Some(Err(error)) => fault(Problem::Damaged {
                detail: error.to_string(),
            }),
            None => {}
        }
        if found.role == Role::Asked {
            checked.totals = Totals {
                objects: 1,
                lines: described.lines,
                bytes: described.bytes,
            };
        }
        checked.entry = Some(Entry {
            key,
            date: found.date,
            role: found.role,
            after: described.after,
            first: described.first,
            last: described.last,
            cut_objects: described.cut_objects,
        });
        Ok(checked)
    }

    /// An object's metadata and content; the content is an error where it cannot be decompressed.
    async fn read(&self, key: &str) -> Result<Option<Read>, Unreadable> {
        let mut tries = Tries::new(key);
        loop {
            let Some(mut download) = self.bucket.get(key).await? else {
                return Ok(None);
            };
            match self.decompress(key, &mut download).await {
                Ok(content) => return Ok(Some((download.metadata, content))),
                Err(failed) => tries.pause(failed).await?,
            }
        }
    }

    async fn decompress(
        &self,
        key: &str,
        download: &mut Download,
    ) -> Result<std::io::Result<Content>, crate::retry::FailedCall> {
        let mut reader = match ContentReader::for_key(key) {
            Ok(reader) => reader,
            Err(error) => return Ok(Err(error)),
        };
        while let Some(bytes) = download.next().await? {
            self.progress.bytes(bytes.len());
            for chunk in bytes.chunks(BYTES_PER_TURN) {
                if let Err(error) = reader.push(chunk) {
                    return Ok(Err(error));
                }
                tokio::task::yield_now().await;
            }
        }
        Ok(reader.finish())
    }
}

type Read = (
    std::collections::HashMap<String, String>,
    std::io::Result<Content>,
);

fn compare(described: &Described, content: &Content, fault: &mut impl FnMut(Problem)) {
    let (expected, found) = (described.lines, content.lines);
    if expected != found {
        fault(Problem::Lines { expected, found });
    }
    let (expected, found) = (described.bytes, content.bytes);
    if expected != found {
        fault(Problem::Bytes { expected, found });
    }
    if described.crc != content.crc {
        fault(Problem::Crc {
            expected: crc_to_hex(described.crc),
            found: crc_to_hex(content.crc),
        });
    }
    if !content.is_lines {
        fault(Problem::LineEnds);
    }
}
