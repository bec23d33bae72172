//! `syncomatic` keeps a bucket in one AWS partition equal to a bucket in another: every object that
//! is created in the source is soon in the destination, equal by checksum, along declared routes only.
//!
//! The stages, in the order of `sync`:
//!
//! | stage | does |
//! |---|---|
//! | `poll` | receives what can start at once, keeps it hidden, pauses when access is refused |
//! | [`notification`] | reads S3 records, SNS envelopes, EventBridge events |
//! | [`policy`] | finds the route; what no route declares is denied |
//! | `converge` | compares destination and source, copies, and compares again |
//! | `copy` | streams one object through, its checksum computed on the way |
//! | `multipart` | the same in parts, for large objects |
//! | `gather` | a part that is read before it is sent, where there is memory for it |
//! | `uploads`, `journal`, `sweep` | uploads in parts: begun, resumed after a crash, ended when nobody goes on |
//! | [`redact`], `upload` | lets pass what the schemas call harmless, where the route asks for it; writes what it comes to |
//! | `endpoint`, `bandwidth`, `budget`, `retries` | how much of it at a time |
//! | [`verify`] | decides what counts as proof |
//! | [`ledger`] | records the decision, in a chain of lines |
//! | `acknowledge` | deletes the message, leaves it, or sends it to the dead letter queue |
//! | `reconcile` | beside all that: holds both buckets against each other, and copies what is not in place |
//!
//! Three rules carry the guarantees. A notification is only a hint: what is copied is decided by what
//! both sides store at that moment. A destination object is only written over the one that was
//! compared. A message is only deleted once all its objects have been seen to be in place.
//!
//! Logs and metrics carry no object key, because people put names into keys: a log line has the first
//! 16 hexadecimal digits of the key's SHA-256 and the event's sequencer, with which somebody who knows
//! the key can find it.

pub mod attributes;
pub mod command;
pub mod config;
pub mod ledger;
pub mod notification;
pub mod policy;
pub mod redact;
pub mod verify;

mod acknowledge;
mod bandwidth;
mod budget;
mod circuit;
mod converge;
mod copy;
mod decide;
mod depth;
mod endpoint;
mod failure;
mod gather;
mod journal;
mod metrics;
mod multipart;
mod object;
mod poll;
mod queue;
mod reconcile;
mod retries;
mod service;
mod sides;
mod stream;
mod sweep;
mod sync;
mod upload;
mod uploads;

pub use config::{Config, ReconcileLimits, Settings};
pub use copy::RedactedRoutes;
pub use service::{Error, run, serve};
pub use sides::{Destination, Source};
