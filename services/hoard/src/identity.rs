//! Which stream the states are of. A stream that was deleted and created again has the name of the first,
//! and shards of the same names; but a checkpoint of the one means nothing in the other.
//!
//! So the first instance writes down when the stream was created, beside the shards' states, and every
//! instance holds the stream that it finds against it, at the start and with every look at the stream. One
//! that differs is refused: only a person can know whether the old one's archive is complete.

use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::metrics::Step;
use crate::record::Arrival;
use crate::store::{Put, Store};

/// Creation times that differ by less are one: Kinesis calls them approximate. Nobody deletes a stream and
/// creates it anew within this.
const TOLERANCE_MILLIS: u64 = 1000;

/// What is written down.
#[derive(Debug, Serialize, Deserialize)]
struct Identity {
    created: Arrival,
}

/// Reads when the stream of the states was created, or writes down that it was at `created`; an error when
/// the two differ.
pub async fn check(store: &Store, stream: &str, created: Arrival) -> Result<(), Error> {
    let key = store.state_key("stream");
    loop {
        if let Some((body, _)) = store.get_state(&key).await {
            let known: Identity =
                serde_json::from_slice(&body).map_err(|source| Error::State { key, source })?;
            return compare(stream, known.created, created);
        }
        let body = serde_json::to_vec(&Identity { created }).map_err(|source| Error::State {
            key: key.clone(),
            source,
        })?;
        if let Put::Done(_) = store.put_state(Step::Own, &key, body, None).await {
            return Ok(());
        }
        // Written by another instance, or by a try of ours whose answer was lost: read it.
    }
}

fn compare(stream: &str, states: Arrival, found: Arrival) -> Result<(), Error> {
    if found.as_millis().abs_diff(states.as_millis()) <= TOLERANCE_MILLIS {
        return Ok(());
    }
    Err(Error::OtherStream {
        stream: stream.to_owned(),
        states,
        found,
    })
}
