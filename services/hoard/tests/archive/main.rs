//! `hoard` as it runs: the real AWS SDK against an emulated Kinesis and S3. Every test ends with the
//! same predicate, [`world::World::assert_exact`]: what lies in the bucket is what was in the stream.

mod crashes;
mod cuts;
mod day_marker;
mod elasticsearch;
mod elasticsearch_tls;
mod end_to_end;
mod firehose;
mod horizon;
mod identity;
mod prefixes;
mod reading;
mod refusals;
mod replay;
mod replicas;
mod resharding;
mod search;
mod verify;
mod world;
mod zombies;
