//! Where the objects of a day lie, and what their keys say.

use std::sync::Arc;

use jiff::civil::Date;

use crate::config::Config;
use crate::layout::Layout;
use crate::period::Unit;
use crate::record::Arrival;
use crate::sequence::{SequenceNumber, ShardId};

/// The folders of an archive.
#[derive(Clone, Debug)]
pub struct Folders {
    layout: Arc<Layout>,
}

/// An object of the archive by its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// Its shard.
    pub shard: ShardId,
    /// The first record of its cut.
    pub first: SequenceNumber,
}

impl Folders {
    /// The folders that `config` archives into.
    pub fn new(config: &Config) -> Self {
        Self {
            layout: Arc::clone(&config.layout),
        }
    }

    /// What the keys of a day's objects begin with, as far as it does not depend on their lines. Keys
    /// of other days can begin so too, where a partition stands before the date.
    pub fn of_day(&self, date: Date) -> [String; 2] {
        let Layout {
            prefix, error_prefix, ..
        } = self.layout.as_ref();
        [prefix.folder(date), error_prefix.folder(date)]
    }

    /// Whether an object of this key lies under a day.
    pub fn is_of_day(&self, key: &str, date: Date) -> bool {
        let Layout {
            prefix, error_prefix, ..
        } = self.layout.as_ref();
        prefix.is_of(key, date) || error_prefix.is_of(key, date)
    }

    /// Reads `{stream}-{shard}-{first sequence number}.jsonl…` off the end of a key; `None` for what
    /// is no object of this stream.
    pub fn read(&self, key: &str) -> Option<Named> {
        let name = key.rsplit('/').next()?;
        let name = name.strip_prefix(&self.layout.stream)?.strip_prefix('-')?;
        let (name, _extension) = name.split_once(".jsonl")?;
        let (shard, first) = name.rsplit_once('-')?;
        Some(Named {
            shard: ShardId::try_from(shard.to_owned()).ok()?,
            first: SequenceNumber::try_from(first.to_owned()).ok()?,
        })
    }

    /// The day that a record belongs to.
    pub fn date(&self, arrival: Arrival) -> Date {
        self.layout.zone.period(arrival, Unit::Day).date()
    }
}

/// Whether query engines skip this key: its name begins with `_` or `.`.
pub fn is_hidden(key: &str) -> bool {
    let name = key.rsplit('/').next().unwrap_or_default();
    name.is_empty() || name.starts_with(['_', '.'])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::LinesTo;

    fn folders() -> Folders {
        let layout = Layout {
            stream: "events".to_owned(),
            prefix: "raw/".parse().expect("valid"),
            error_prefix: "errors/".parse().expect("valid"),
            zone: crate::period::Zone::utc(),
            record_partitions_max: 1,
            lines: LinesTo::Bucket,
        };
        Folders {
            layout: Arc::new(layout),
        }
    }

    #[test]
    fn a_day_has_a_folder_of_each_kind() {
        assert_eq!(
            folders().of_day(jiff::civil::date(2026, 1, 2)),
            ["raw/2026/01/02/", "errors/2026/01/02/"]
        );
    }

    #[test]
    fn keys_are_read_back_and_others_are_left_alone() {
        let named = folders().read("raw/2026/01/02/events-shardId-000000000001-4960.jsonl.gz");
        let named = named.expect("ours");
        assert_eq!(
            (named.shard.as_str(), named.first.as_str()),
            ("shardId-000000000001", "4960")
        );
        for key in [
            "raw/2026/01/02/_SUCCESS",
            "raw/2026/01/02/plays-shardId-000000000001-4960.jsonl.gz",
            "raw/2026/01/02/events-shardId-000000000001-4960.parquet",
            "raw/2026/01/02/events-shardId-000000000001-x.jsonl",
            "raw/2026/01/02/",
        ] {
            assert_eq!(folders().read(key), None, "{key}");
        }
    }
}
