//! The record of every decision, in lines that hold each other: who takes one away, changes it or moves it
//! breaks the chain, and `syncomatic ledger verify` says where.
//!
//! One line an object and decision: route, policy, what identifies the source object, what became of it,
//! counts by action, checksums before and after. No key, no value: a key stands as the digest that the
//! logs have, or, where the ledger lies on the destination side, as a keyed hash; there what identifies a
//! source object that did not travel verbatim is hashed too.
//!
//! Lines are written in groups, each one object that is never overwritten. A message is deleted only
//! after its lines are durable, so a decision that took effect is in the ledger at least once; while the
//! ledger cannot be written nothing is acknowledged, and after a bounded wait nothing is received.

mod chain;
pub mod verify;
mod writer;

use std::time::Duration;

use serde::Serialize;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use crate::converge::Converged;
use crate::failure::At;
use crate::metrics::Metrics;
use crate::object::SourceObject;
use crate::policy::Treatment;
use crate::redact::{FieldAction, HashKey, Tally};
use crate::sync::traceable;
pub use writer::Incomplete;
pub(crate) use writer::Writer;

/// Where the ledger is kept.
#[derive(Clone, Debug)]
pub struct Place {
    /// On which side.
    pub side: LedgerSide,
    /// A bucket of that side.
    pub bucket: String,
    /// Before its keys.
    pub prefix: String,
    /// The name of this writer; each run of it has a chain of its own.
    pub instance: String,
    /// For how long a line may wait for company.
    pub linger: Duration,
}

/// On which side the ledger is, and what follows for what it may say.
#[derive(Clone, Debug)]
pub enum LedgerSide {
    /// With the data it speaks of.
    Source,
    /// Beyond the border: what could be guessed from a checksum is hashed with this key.
    Destination(HashKey),
}

impl LedgerSide {
    pub(crate) fn at(&self) -> At {
        match self {
            Self::Source => At::Source,
            Self::Destination(_) => At::Destination,
        }
    }
}

/// One decision.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Entry {
    route: String,
    policy: String,
    key: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    etag: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    outcome: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    redacted: Option<Counts>,
    #[serde(rename = "source_crc64nvme", skip_serializing_if = "Option::is_none")]
    source_crc64_nvme: Option<String>,
    #[serde(rename = "destination_crc64nvme", skip_serializing_if = "Option::is_none")]
    destination_crc64_nvme: Option<String>,
}

/// What redaction did.
#[derive(Clone, Debug, Serialize)]
struct Counts {
    lines: u64,
    quarantined: u64,
    kept: u64,
    hashed: u64,
    dropped: u64,
    undeclared: u64,
    canaries: u64,
}

impl Counts {
    fn of(tally: &Tally) -> Self {
        Self {
            lines: tally.lines(),
            quarantined: tally.lines_quarantined(),
            kept: tally.fields_with(FieldAction::Kept),
            hashed: tally.fields_with(FieldAction::Hashed),
            dropped: tally.fields_with(FieldAction::Dropped),
            undeclared: tally.fields_with(FieldAction::Undeclared),
            canaries: tally.canaries().map(|(_, lines)| lines).sum(),
        }
    }
}

/// The way to the ledger. Dropping the last of it closes the chain.
#[derive(Clone)]
pub(crate) struct Ledger {
    side: LedgerSide,
    policy: String,
    lines: mpsc::Sender<Waiting>,
    patience: Duration,
}

/// A decision that waits to be durable.
pub(crate) struct Waiting {
    entry: Entry,
    durable: oneshot::Sender<()>,
}

/// The ledger did not take a line in time.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the ledger cannot be written")]
pub(crate) struct NotRecorded;

impl Ledger {
    /// The ledger, and what a [`Writer`] takes from it. At most `in_hand` decisions wait at once, each for at
    /// most `patience`.
    pub(crate) fn new(
        place: &Place,
        policy: &str,
        in_hand: usize,
        patience: Duration,
    ) -> (Self, mpsc::Receiver<Waiting>) {
        let (lines, waiting) = mpsc::channel(in_hand.max(1));
        let ledger = Self {
            side: place.side.clone(),
            policy: policy.to_owned(),
            lines,
            patience,
        };
        (ledger, waiting)
    }

    /// A decision about an object that was not copied, or not yet looked at.
    pub(crate) fn decision(&self, route: &str, key: &str, outcome: &str) -> Entry {
        let key = match &self.side {
            LedgerSide::Source => traceable(key),
            LedgerSide::Destination(hash_key) => hash_key.identity(key),
        };
        Entry {
            route: route.to_owned(),
            policy: self.policy.clone(),
            key,
            outcome: outcome.to_owned(),
            ..Entry::default()
        }
    }

    /// The decision about an object that is in place, or was found to be gone.
    pub(crate) fn in_place(&self, decision: Entry, treatment: Treatment, converged: &Converged) -> Entry {
        let Some(source) = &converged.source else {
            return decision;
        };
        let SourceObject {
            etag,
            version_id,
            size,
            crc64_nvme,
        } = source;
        let told = |text: &str| match (&self.side, treatment) {
            (LedgerSide::Destination(key), Treatment::Redacted) => key.identity(text),
            (LedgerSide::Source, _) | (_, Treatment::Verbatim) => text.to_owned(),
        };
        Entry {
            version: version_id.clone(),
            etag: Some(told(etag.trim_matches('"'))),
            size: Some(*size),
            redacted: converged.redacted.as_ref().map(|copy| Counts::of(&copy.tally)),
            source_crc64_nvme: crc64_nvme.as_deref().map(told),
            destination_crc64_nvme: converged.destination_crc64_nvme.clone(),
            ..decision
        }
    }

    /// Waits until the decision is durable.
    pub(crate) async fn record(&self, entry: Entry, metrics: &Metrics) -> Result<(), NotRecorded> {
        let _waiting = metrics.ledger_waiting();
        let recorded = async {
            let (durable, is_durable) = oneshot::channel();
            self.lines
                .send(Waiting { entry, durable })
                .await
                .map_err(|_| NotRecorded)?;
            is_durable.await.map_err(|_| NotRecorded)
        };
        timeout(self.patience, recorded).await.unwrap_or(Err(NotRecorded))
    }
}
