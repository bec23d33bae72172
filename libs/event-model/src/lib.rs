//! What an event is: names, ids, schemas, and the line that is stored for it.
//!
//! An event is a flat JSON object that a client sends. It goes through this crate in one direction:
//!
//! 1. [`RawEvent::parse`] reads the client's bytes once, and refuses what has no single meaning;
//! 2. [`Envelope::read`] takes out the fields that every event type shares;
//! 3. [`Catalogue::get`] finds the schema and [`Schema::verdict`] judges the event by it;
//! 4. [`ServerFields::splice`] makes the stored line: the client's own bytes, with the fields that
//!    only the server may set written in front of them.
//!
//! Beside that way lies [`compatibility`]: what may change from one version of a schema to the next.
//!
//! There is no I/O here: no runtime, no HTTP, no AWS. The bundled schemas are part of the build.

mod catalogue;
pub mod compatibility;
mod envelope;
mod ids;
mod raw;
mod schema;
mod splice;
mod tree;
mod types;
mod verdict;

pub use catalogue::{Catalogue, CatalogueError, CatalogueProblem, bundled_documents};
pub use envelope::{Envelope, EnvelopeError, SERVER_SET_FIELDS, field, server_set_pii};
pub use ids::{EventId, EventType, InvalidId, SchemaVersion};
pub use raw::{MAX_DEPTH_LIMIT, MalformedEvent, MalformedReason, RawEvent, syntax_fault};
pub use schema::{Pii, Producer, Schema};
pub use splice::ServerFields;
pub use tree::{Member, Tree};
pub use verdict::{MAX_ERRORS, SchemaError};
