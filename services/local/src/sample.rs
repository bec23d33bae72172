//! Sends the bundled sample as its clients would: over HTTP, each with its own credential, several
//! events a request.

use std::collections::BTreeSet;
use std::time::Instant;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::console;
use crate::demo::DemoClients;

/// One line an event: who sends it, from where, and the event itself.
const SAMPLE: &str = include_str!("../sample/events.ndjson");
/// The header that `events` is told to take the country from; a content network would set it.
pub(crate) const COUNTRY_HEADER: &str = "x-country";
/// A device gathers some events before it sends them.
const EVENTS_A_REQUEST: usize = 20;

#[derive(Debug, Deserialize)]
struct Sampled {
    client: String,
    country: String,
    event: Box<RawValue>,
}

/// What `events` answers, as far as this needs it.
#[derive(Debug, Deserialize)]
struct Answer {
    accepted: usize,
    rejected: usize,
    retry: usize,
}

/// Why the sample is not where it should be.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SendError {
    #[error("the sample is broken: {0}")]
    Sample(#[from] serde_json::Error),
    #[error("{0}")]
    Http(#[from] reqwest::Error),
    #[error("no demo client is called {0}: the data folder is of another version")]
    UnknownClient(String),
    #[error("{0} of the sample's events were not accepted")]
    NotAccepted(usize),
}

/// Sends the whole sample to `events`, such as `http://127.0.0.1:8080`, and says what became of it.
pub(crate) async fn send(events: &str, clients: &DemoClients) -> Result<(), SendError> {
    let started = Instant::now();
    let sent = send_all(events, clients).await;
    match &sent {
        Ok(Sent {
            accepted,
            rejected,
            retry,
            partners,
            countries,
        }) => {
            let total = accepted + rejected + retry;
            let took = started.elapsed().as_secs_f64();
            let from = format!("{partners} partners and {countries} countries");
            console::say(
                "accepted",
                &format!("{accepted} of {total} sample events from {from} in {took:.2} s"),
            );
        }
        Err(error) => console::say("sample", &format!("not sent to the end: {error}")),
    }
    match sent?.left() {
        0 => Ok(()),
        left => Err(SendError::NotAccepted(left)),
    }
}

struct Sent {
    accepted: usize,
    rejected: usize,
    retry: usize,
    partners: usize,
    countries: usize,
}

impl Sent {
    /// Events that are not in the stream.
    fn left(&self) -> usize {
        self.rejected + self.retry
    }
}

async fn send_all(events: &str, clients: &DemoClients) -> Result<Sent, SendError> {
    let http = reqwest::Client::new();
    let sample = read_sample()?;
    let (mut partners, mut countries) = (BTreeSet::new(), BTreeSet::new());
    let mut sent = Sent {
        accepted: 0,
        rejected: 0,
        retry: 0,
        partners: 0,
        countries: 0,
    };
    for batch in batches(&sample) {
        let (name, country) = (&batch[0].client, &batch[0].country);
        let client = clients
            .named(name)
            .ok_or_else(|| SendError::UnknownClient(name.clone()))?;
        partners.insert(client.partner.as_str());
        countries.insert(country.as_str());
        let body: Vec<&RawValue> = batch.iter().map(|sampled| &*sampled.event).collect();
        let request = http
            .post(format!("{events}/v1/events"))
            .basic_auth(&client.key, Some(&client.secret))
            .header(COUNTRY_HEADER, country)
            .json(&body);
        let answer: Answer = request.send().await?.error_for_status()?.json().await?;
        sent.accepted += answer.accepted;
        sent.rejected += answer.rejected;
        sent.retry += answer.retry;
    }
    (sent.partners, sent.countries) = (partners.len(), countries.len());
    Ok(sent)
}

fn read_sample() -> Result<Vec<Sampled>, serde_json::Error> {
    SAMPLE.lines().map(serde_json::from_str).collect()
}

/// Neighbours of one client and country, in the sample's order, as one request each.
fn batches(sample: &[Sampled]) -> impl Iterator<Item = &[Sampled]> {
    sample
        .chunk_by(|a, b| (&a.client, &a.country) == (&b.client, &b.country))
        .flat_map(|run| run.chunks(EVENTS_A_REQUEST))
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use event_model::{Catalogue, RawEvent, Tree, field};

    use super::*;

    #[test]
    fn every_sample_event_is_valid_by_the_bundled_schema_of_its_type() {
        let catalogue = Catalogue::bundled().expect("the bundled schemas are valid");
        let mut types = BTreeMap::<String, usize>::new();
        for (index, sampled) in read_sample().expect("one JSON object a line").iter().enumerate() {
            let event = RawEvent::parse(sampled.event.get().as_bytes(), 32).expect("an event");
            let event_type = event.field(field::EVENTTYPE).and_then(Tree::as_str);
            let event_type = event_type.expect("a sample names its type");
            let schema = catalogue.latest(event_type).expect("a known type");
            assert!(
                schema.verdict(&event).is_ok(),
                "line {}: {:?}",
                index + 1,
                schema.verdict(&event)
            );
            *types.entry(event_type.to_owned()).or_default() += 1;
        }
        let known: BTreeSet<_> = catalogue.event_types().map(ToString::to_string).collect();
        assert_eq!(
            types.into_keys().collect::<BTreeSet<_>>(),
            known,
            "every type is sampled"
        );
    }

    #[test]
    fn batches_keep_every_event_once_and_in_order() {
        let sample = read_sample().expect("one JSON object a line");
        let batched: Vec<_> = batches(&sample)
            .flatten()
            .map(|sampled| sampled.event.get())
            .collect();
        let all: Vec<_> = sample.iter().map(|sampled| sampled.event.get()).collect();
        assert_eq!(batched, all);
        assert!(batches(&sample).all(|batch| batch.len() <= EVENTS_A_REQUEST));
    }
}
