//! A look into the stream.

use aws_sdk_kinesis::types::ShardIteratorType;
use local::aws::STREAM;
use serde_json::Value;

use crate::Pipeline;

impl Pipeline {
    /// Every event in the stream, shard by shard, in order.
    pub async fn stream(&self) -> Vec<Value> {
        let kinesis = aws_clients::kinesis(&self.aws.source.config);
        let shards = kinesis.list_shards().stream_name(STREAM);
        let shards = shards.send().await.expect("shards");
        let mut events = Vec::new();
        for shard in shards.shards() {
            let call = kinesis
                .get_shard_iterator()
                .stream_name(STREAM)
                .shard_id(shard.shard_id());
            let call = call.shard_iterator_type(ShardIteratorType::TrimHorizon);
            let mut iterator = call.send().await.expect("an iterator").shard_iterator;
            while let Some(from) = iterator {
                let call = kinesis.get_records().shard_iterator(from);
                let answer = call.send().await.expect("records");
                let at_end = answer.millis_behind_latest() == Some(0) && answer.records().is_empty();
                let lines = answer.records().iter().map(|record| record.data().as_ref());
                events.extend(lines.map(|line| serde_json::from_slice::<Value>(line).expect("JSON")));
                iterator = answer.next_shard_iterator.filter(|_| !at_end);
            }
        }
        events
    }
}
