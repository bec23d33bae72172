//! The stream: shards that take records, split and merge.

use hoard::sequence::ShardId;
use hoard::shards::Shard;

#[derive(Default)]
pub(crate) struct Stream {
    shards: Vec<Lane>,
    next_record: u64,
}

struct Lane {
    shard: Shard,
    records: Vec<u64>,
}

impl Stream {
    pub(crate) fn open(&mut self, parents: Vec<ShardId>) {
        let name = format!("shardId-{:012}", self.shards.len());
        let shard = Shard {
            id: ShardId::try_from(name).expect("valid"),
            parents,
            takes: Some(0..=0),
        };
        self.shards.push(Lane {
            shard,
            records: Vec::new(),
        });
    }

    /// Shards that take records, by their place.
    pub(crate) fn open_places(&self) -> Vec<usize> {
        let is_open = |place: &usize| self.shards[*place].shard.takes.is_some();
        (0..self.shards.len()).filter(is_open).collect()
    }

    pub(crate) fn close(&mut self, place: usize) -> ShardId {
        let shard = &mut self.shards[place].shard;
        shard.takes = None;
        shard.id.clone()
    }

    pub(crate) fn append(&mut self, place: usize, count: u64) {
        for _ in 0..count {
            // Gaps, as Kinesis has them.
            self.next_record += 3;
            self.shards[place].records.push(self.next_record);
        }
    }

    pub(crate) fn list(&self) -> Vec<Shard> {
        self.shards.iter().map(|lane| lane.shard.clone()).collect()
    }

    fn lane(&self, shard: &str) -> &Lane {
        let lane = self.shards.iter().find(|lane| lane.shard.id.as_str() == shard);
        lane.expect("only shards that exist are read")
    }

    pub(crate) fn records(&self, shard: &str) -> &[u64] {
        &self.lane(shard).records
    }

    /// The records after one, up to and with another.
    pub(crate) fn between(&self, shard: &str, after: u64, last: u64) -> &[u64] {
        let records = self.records(shard);
        let place = |bound: u64| records.partition_point(|record| *record <= bound);
        &records[place(after)..place(last)]
    }

    pub(crate) fn parents(&self, shard: &str) -> &[ShardId] {
        &self.lane(shard).shard.parents
    }

    /// So many records strictly after one, and whether the shard is closed and this was the last of it.
    pub(crate) fn read(&self, shard: &str, after: u64, limit: usize) -> (Vec<u64>, bool) {
        let lane = self.lane(shard);
        let begin = lane.records.partition_point(|record| *record <= after);
        let end = lane.records.len().min(begin.saturating_add(limit));
        let is_end = lane.shard.takes.is_none() && end == lane.records.len();
        (lane.records[begin..end].to_vec(), is_end)
    }
}
