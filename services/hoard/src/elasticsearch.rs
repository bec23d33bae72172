//! A second delivery, for people who look for an event: into Elasticsearch or OpenSearch, an index a day.
//!
//! ```text
//! read → document → batch → _bulk → cursor
//! ```
//!
//! It is apart from the archive in everything: readers, position, memory, concurrency. When the cluster
//! is slow or away, the archive does not notice; when it has been away for longer than is allowed, this
//! delivery skips forward and counts what it left out. Nothing here is lost: the archive has it.
//!
//! Each document is created under an id made of its record's place, so sending one again, by this replica
//! or another, changes nothing.
//!
//! | module | |
//! |---|---|
//! | [`settings`] | flags |
//! | [`supervise`] | one task for each shard that this replica looks after |
//! | [`deliver`] | one shard |
//! | [`bulk`] | documents as a body, answers item by item |
//! | [`client`] | HTTP and TLS |
//! | [`cursor`] | how far a shard has been delivered, in the bucket |
//! | [`index`](mod@index) | the index of a day |
//! | [`metrics`] | what is shown |

pub mod bulk;
pub mod client;
pub mod cursor;
pub mod deliver;
pub mod index;
pub mod metrics;
pub mod settings;
pub mod supervise;

pub use settings::{Elasticsearch, ElasticsearchSettings};
