//! Where the objects of a day lie, and what their keys say.

use jiff::civil::Date;
use jiff::tz::TimeZone;

use crate::config::Config;
use crate::record::Arrival;
use crate::sequence::{SequenceNumber, ShardId};

/// The folders of an archive.
#[derive(Clone, Debug)]
pub struct Folders {
    /// Before the date: of lines, of error lines.
    prefixes: [String; 2],
    stream: String,
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
            prefixes: [config.prefix.clone(), config.error_prefix.clone()],
            stream: config.stream.clone(),
        }
    }

    /// What the keys of a day's objects begin with.
    pub fn of_day(&self, date: Date) -> Vec<String> {
        let day = date.strftime("%Y/%m/%d");
        self.prefixes
            .iter()
            .map(|prefix| format!("{prefix}{day}/"))
            .collect()
    }

    /// Reads `{stream}-{shard}-{first sequence number}.jsonl…` off the end of a key; `None` for what
    /// is no object of this stream.
    pub fn read(&self, key: &str) -> Option<Named> {
        let name = key.rsplit('/').next()?;
        let name = name.strip_prefix(&self.stream)?.strip_prefix('-')?;
        let (name, _extension) = name.split_once(".jsonl")?;
        let (shard, first) = name.rsplit_once('-')?;
        Some(Named {
            shard: ShardId::try_from(shard.to_owned()).ok()?,
            first: SequenceNumber::try_from(first.to_owned()).ok()?,
        })
    }

    /// The day that a record belongs to.
    pub fn date(&self, arrival: Arrival) -> Date {
        arrival.timestamp().to_zoned_datetime(TimeZone::UTC).date()
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

    fn folders() -> Folders {
        Folders {
            prefixes: ["raw/".to_owned(), "errors/".to_owned()],
            stream: "events".to_owned(),
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
