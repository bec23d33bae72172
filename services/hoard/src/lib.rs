//! `hoard` archives a Kinesis stream in S3 as JSON lines, each record in exactly one object, exactly
//! once, through crashes, hand-over, resharding and former owners that wake up late.
//!
//! Data flows one way; [`pipeline`] shows the order of the stages for one shard:
//!
//! | module | stage |
//! |---|---|
//! | [`service`] | checks bucket and stream, shows up among the replicas |
//! | [`supervisor`] | one task for each shard that this replica archives |
//! | [`shards`] | which shards there are, and which must wait: parents before children |
//! | [`heartbeat`], [`watch`], [`sight`], [`replicas`] | who is there, without trusting anybody's clock |
//! | [`placement`], [`ownership`] | whose each shard is, and what this replica does about it |
//! | [`horizon`], [`identity`] | what may have left the stream unread; whether it is the stream of the states |
//! | [`read`], [`pace`] | records strictly after the last one, within Kinesis' limits |
//! | [`unpack`] | the user records of an aggregate |
//! | [`line`](mod@line), [`fields`] | one JSON object a line, and the partition it belongs to |
//! | [`error_line`] | what is not one, kept with the reason |
//! | [`cut`], [`buffer`] | when a run of records ends: size, age, day, shard end, shutdown, memory |
//! | [`period`] | days and hours of a time zone |
//! | [`encode`] | compression and CRC as the records arrive |
//! | [`layout`], [`prefix`] | keys and metadata |
//! | [`commit`] | prepare → put → checkpoint |
//! | [`recover`] | finishes a cut that was prepared before a crash |
//! | [`protocol`], [`state`], [`pending`], [`invariants`] | the steps of ownership and of a cut, without I/O |
//! | [`claim`], [`store`] | compare-and-swap in the bucket |
//! | [`day_marker`], [`served_at`] | `_SUCCESS` for days that are complete, by Kinesis' clock |
//! | [`budget`] | one memory budget for all shards |
//! | [`firehose`](mod@firehose) | lines into a Firehose delivery stream in place of the bucket, at least once |
//! | [`command`] | what the program does beside the service |
//! | [`elasticsearch`] | a second delivery, apart from the archive in everything |
//! | [`replay`] | rebuilds what is missing out of the stream |
//! | [`verify`] | proves from the bucket that days of the archive are whole |
//!
//! There is no database: what S3 and Kinesis cannot give back is not kept.

pub mod archive;
pub mod budget;
pub mod buffer;
pub mod claim;
pub mod command;
pub mod commit;
pub mod config;
pub mod cut;
pub mod day_marker;
pub mod elasticsearch;
pub mod encode;
pub mod error;
pub mod error_line;
pub mod fields;
pub mod firehose;
pub mod heartbeat;
pub mod horizon;
pub mod identity;
pub mod invariants;
pub mod layout;
pub mod line;
pub mod metrics;
pub mod ownership;
pub mod pace;
pub mod pending;
pub mod period;
pub mod pipeline;
pub mod placement;
pub mod prefix;
pub mod protocol;
pub mod read;
pub mod record;
pub mod recover;
pub mod replay;
pub mod replicas;
pub mod retry;
pub mod sequence;
pub mod served_at;
pub mod service;
pub mod shards;
pub mod sight;
pub mod start;
pub mod state;
pub mod store;
pub mod supervisor;
pub mod unpack;
pub mod verify;
pub mod watch;

use service_runtime::Runtime;

pub use config::{Config, Settings};
pub use error::Error;
pub use service::{Clients, run};

/// Builds the clients by the SDK's own conventions (`AWS_REGION`, `AWS_PROFILE`,
/// `AWS_ENDPOINT_URL[_KINESIS|_S3|_FIREHOSE]`, the standard credential chain) and archives until a
/// drain is asked for.
///
/// # Errors
/// Those of [`run`].
pub async fn serve(config: Config, runtime: Runtime) -> Result<(), Error> {
    let configured = runtime.readiness.latch("aws configuration");
    let aws = aws_clients::load(&aws_clients::Endpoint::default()).await;
    let running = run(config, Clients::of(&aws), runtime);
    configured.open();
    running.await
}
