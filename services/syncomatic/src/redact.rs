//! What may leave a side of a stream of events: the allow-list that the schemas' `x-pii` is.
//!
//! | stage | does |
//! |---|---|
//! | [`plan`](self) | for each event type and schema version, what happens to each field |
//! | `line` | one line: kept bytes, keyed hashes, nothing else; or the reason why not |
//! | `codec` | gzip, zstd or plain lines, in and out, a bounded piece at a time |
//! | `transform` | an object's bytes into the copy's bytes and the quarantine's |
//! | `metadata` | the same for what an object carries beside its bytes |
//!
//! Everything here is pure: bytes in, bytes out, no call to anybody. The same object under the same
//! policy gives the same bytes, however the network cuts them up, so that a copy that is tried again is
//! the same copy.

mod canary;
mod codec;
mod key;
mod line;
mod metadata;
mod plan;
mod tally;
mod transform;

use std::fmt;
use std::sync::Arc;

use event_model::Catalogue;
use sha2::{Digest, Sha256};

pub use canary::{Canary, Content, Found, Pattern};
pub(crate) use key::hex;
pub use key::{HashKey, InvalidKey};
pub use line::Reason;
pub use metadata::AllowList;
pub(crate) use plan::Plan;
pub use plan::{UnusableSchemas, read_schemas};
pub use tally::{FieldAction, Tally};
pub use transform::{Fault, Transform};

/// Changes when the same object under the same settings would become other bytes: then copies of before
/// are no longer what this program would write.
const FORMAT: &str = "1";

/// What happens to a line with a value that looks like personal data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum OnCanary {
    /// It passes and is counted.
    #[default]
    Count,
    /// It is counted and quarantined.
    Quarantine,
}

/// How much memory there is for one object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// Enough for nearly all: zstd windows of up to 2 MiB.
    Usual,
    /// Enough for every one: windows of up to 8 MiB.
    Full,
}

/// How redaction is set up.
#[derive(Clone, Debug)]
pub struct Options {
    /// What happens to a line with a value that looks like personal data.
    pub on_canary: OnCanary,
    /// The longest line, in bytes.
    pub line_bytes_max: usize,
    /// What an object may carry beside its bytes.
    pub allowed: AllowList,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            on_canary: OnCanary::Count,
            line_bytes_max: 1024 * 1024,
            allowed: AllowList::default(),
        }
    }
}

/// Redaction as it is set up: schemas, key, options. Clones share it.
#[derive(Clone)]
pub struct Redaction {
    plan: Arc<Plan>,
    key: HashKey,
    canary: &'static Canary,
    options: Options,
    digest: String,
}

impl Redaction {
    /// Redaction by these schemas.
    #[must_use]
    pub fn new(catalogue: &Catalogue, key: HashKey, options: Options) -> Self {
        let plan = Plan::new(catalogue);
        let Options {
            on_canary,
            line_bytes_max,
            allowed,
        } = &options;
        // Everything that decides what bytes are written, and nothing else.
        let settings = format!(
            "{FORMAT}\n{}\n{} {}\n{on_canary:?}\n{line_bytes_max}\n{}\n{allowed}",
            plan.digest(),
            key.name(),
            key.fingerprint(),
            codec::FORMAT,
        );
        Self {
            digest: hex(&Sha256::digest(settings)[..8]),
            plan: Arc::new(plan),
            key,
            canary: Canary::shared(),
            options,
        }
    }

    /// 16 hexadecimal digits that stand for all that decides what is written for an object.
    #[must_use]
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// The event types, in the order of the places in [`Tally::fields`].
    #[must_use]
    pub fn event_types(&self) -> &[String] {
        self.plan.event_types()
    }

    /// What stands in place of text that identifies a source object.
    #[must_use]
    pub fn identity(&self, text: &str) -> String {
        self.key.identity(text)
    }

    /// Whether a key looks as if it held personal data.
    #[must_use]
    pub fn key_is_personal(&self, key: &str) -> bool {
        !self.canary.scan(key, Content::Text).is_empty()
    }

    /// Begins an object.
    #[must_use]
    pub fn transform(&self, room: Room) -> Transform<'_> {
        Transform::new(self, room)
    }

    fn quarantines_canaries(&self) -> bool {
        self.options.on_canary == OnCanary::Quarantine
    }
}

impl fmt::Debug for Redaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Redaction({})", self.digest)
    }
}
