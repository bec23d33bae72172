//! The whole service, through the real SDK, between two emulated clouds: `cn-north-1` with a bucket
//! that notifies a queue, and `eu-west-1` with the bucket that is to become equal.

mod convergence;
mod copying;
mod drain;
mod failures;
mod harness;
mod keys;
mod ledger;
mod messages;
mod multipart;
mod privacy;
mod program;
mod reconcile;
mod reconcile_schedule;
mod redaction;
mod redaction_crashes;
mod shapes;
mod storm;
