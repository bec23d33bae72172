//! Where the archive of a stream begins, decided once and for all instances.
//!
//! "Latest" means another place at every start, and records that arrive between two starts would be in
//! no object. So the first instance turns it into a time and writes that beside the shards' states; a
//! shard without a checkpoint begins there. Children of a later split have nothing from before it.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::metrics::Step;
use crate::record::Arrival;
use crate::store::{Put, Store};

/// Where an archive that does not exist yet is to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartPosition {
    /// With the oldest record that the stream still has.
    TrimHorizon,
    /// With what arrives from now on.
    Latest,
    /// With the first record that arrived at this time or later.
    At(Arrival),
}

/// Where the archive begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// With the oldest record that the stream had.
    TrimHorizon,
    /// With the first record that arrived at this time or later, in milliseconds since 1970.
    At(Arrival),
}

impl StartPosition {
    fn origin(self) -> Origin {
        match self {
            Self::TrimHorizon => Origin::TrimHorizon,
            Self::Latest => Origin::At(now()),
            Self::At(arrival) => Origin::At(arrival),
        }
    }
}

/// Reads where the archive begins, or decides it.
pub async fn settle(store: &Store, wanted: StartPosition) -> Result<Origin, Error> {
    let key = store.state_key("start");
    loop {
        if let Some((body, _)) = store.get_state(&key).await {
            return serde_json::from_slice(&body).map_err(|source| Error::State { key, source });
        }
        let origin = wanted.origin();
        let body = serde_json::to_vec(&origin).map_err(|source| Error::State {
            key: key.clone(),
            source,
        })?;
        if let Put::Done(_) = store.put_state(Step::Own, &key, body, None).await {
            tracing::info!(?origin, "the archive begins here");
            return Ok(origin);
        }
        // Written by another instance, or by a try of ours whose answer was lost: read it.
    }
}

/// This machine's clock, for ages that are shown and for "latest"; no decision rests on it.
pub fn now() -> Arrival {
    Arrival::from_millis(Timestamp::now().as_millisecond()).unwrap_or(Arrival::UNKNOWN)
}
