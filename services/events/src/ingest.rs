//! The order of the stages, for one request.

use std::{sync::Arc, time::Instant};

use axum::{body::Body, http::HeaderMap, http::HeaderName};
use event_model::{Catalogue, EventId, EventType};
use jiff::Timestamp;
use tokio::sync::mpsc;

use crate::{
    admission::{Admission, Admitted},
    attempts::{FailedAttempts, Peer},
    auth::authenticate,
    batch::{Owner, Record},
    config::Limits,
    credentials::{Client, Credentials, CredentialsFiles},
    decode::{Format, decode},
    enrich::{Enriched, Origin},
    http::{
        body,
        encoding::{Decompressor, Encoding},
    },
    metrics::Metrics,
    refusal::{Refusal, Rejected},
    reload::Reloadable,
    stream::StreamLimits,
    submission::{Settled, submission},
    validate::Rules,
};

/// What a record costs beside its bytes: queue entry, ticket, map entry. An estimate, on the high
/// side, so that the budget of bytes bounds memory for small events too.
const RECORD_OVERHEAD: usize = 512;

/// The stages and what they need.
pub(crate) struct Ingest {
    pub(crate) attempts: FailedAttempts,
    pub(crate) credentials: Arc<Reloadable<CredentialsFiles>>,
    pub(crate) catalogue: Catalogue,
    pub(crate) limits: Limits,
    pub(crate) decompressor: Decompressor,
    pub(crate) stream_limits: StreamLimits,
    /// The header in which the trusted edge names the country.
    pub(crate) country_header: Option<HeaderName>,
    pub(crate) admission: Admission,
    pub(crate) submissions: mpsc::Sender<Vec<Record>>,
    pub(crate) metrics: Arc<Metrics>,
}

/// What the client wants done with its events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Publish them.
    Publish,
    /// Only say what would become of them.
    Validate,
}

/// What became of one event.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It is in the stream.
    Published(EventId),
    /// It is on disk and will be in the stream.
    Spooled(EventId),
    /// It would be accepted; nothing was published.
    Valid(Option<EventId>),
    /// It will never be accepted as it is.
    Rejected(Rejected),
    /// It is not known to be in the stream: to be sent again.
    Retry(EventId),
}

impl Ingest {
    /// Takes one request through every stage. The outcomes are in the order of the events.
    pub(crate) async fn ingest(
        &self,
        purpose: Purpose,
        path_type: Option<&str>,
        peer: Peer,
        headers: &HeaderMap,
        request_body: Body,
    ) -> Result<Vec<Outcome>, Refusal> {
        let credentials = self.credentials.current();
        let client = self.prove(peer, headers, &credentials)?;
        let path_type = self.authorise(client, path_type)?;
        let format = Format::of(headers)?;
        let encoding = Encoding::of(headers)?;
        let mut admitted = self.admission.admit(body::announced(headers, &self.limits)?)?;
        let bytes = body::read(request_body, headers, &self.limits).await?;
        let bytes = self.decompressor.undo(encoding, bytes, &mut admitted).await?;
        let events = decode(&bytes, format, self.limits.events)?;

        let catalogue = &self.catalogue;
        let limits = self.limits.within(self.stream_limits.record_bytes());
        let rules = Rules {
            catalogue,
            client,
            limits: &limits,
            path_type: path_type.as_ref(),
        };
        if purpose == Purpose::Validate {
            let outcome = |event| match rules.verdict(event) {
                Ok(valid) => Outcome::Valid(valid.event_id),
                Err(rejected) => Outcome::Rejected(rejected),
            };
            return Ok(events.into_iter().map(outcome).collect());
        }
        let origin = Origin {
            client,
            country: self.country(headers),
            received: Timestamp::now(),
        };
        let judge = |event| rules.verdict(event).map(|valid| origin.enrich(&valid));
        let judged: Vec<_> = events.into_iter().map(judge).collect();
        drop(bytes);
        Ok(self.publish(judged, admitted).await)
    }

    /// Who it is; or a refusal, which says something else once too many attempts from there failed.
    fn prove<'c>(
        &self,
        peer: Peer,
        headers: &HeaderMap,
        credentials: &'c Credentials,
    ) -> Result<&'c Client, Refusal> {
        authenticate(headers, credentials).map_err(|refusal| {
            let (address, now) = (self.attempts.address(headers, peer), Instant::now());
            match self.attempts.check(address, now) {
                Ok(()) => self.attempts.failed(address, now),
                Err(limited) => return limited,
            }
            refusal
        })
    }

    /// A type in the path can be refused before the body is read.
    fn authorise(&self, client: &Client, path_type: Option<&str>) -> Result<Option<EventType>, Refusal> {
        let Some(name) = path_type else { return Ok(None) };
        let schema = self.catalogue.latest(name).ok_or(Refusal::UnknownType)?;
        if !client.may_send(schema) {
            return Err(Refusal::Forbidden);
        }
        Ok(Some(schema.event_type().clone()))
    }

    fn country(&self, headers: &HeaderMap) -> Option<String> {
        let value = headers.get(self.country_header.as_ref()?)?.to_str().ok()?;
        let two_letters = value.len() == 2 && value.bytes().all(|byte| byte.is_ascii_alphabetic());
        two_letters.then(|| value.to_ascii_lowercase())
    }

    /// Hands the valid events over together, so that they keep their order, and waits until each is
    /// settled.
    async fn publish(&self, judged: Vec<Result<Enriched, Rejected>>, mut admitted: Admitted) -> Vec<Outcome> {
        let valid = judged.iter().flatten();
        let (count, bytes) = valid.fold((0, 0), |(count, bytes), event| {
            (
                count + 1,
                bytes + event.line.len() + event.partition_key.len() + RECORD_OVERHEAD,
            )
        });
        let fits = admitted.resize(bytes).is_ok();
        let (tickets, answer) = submission(count, admitted, &self.metrics);
        let mut tickets = tickets.into_iter();
        let (mut records, mut outcomes) = (Vec::with_capacity(count), Vec::new());
        for event in judged {
            match event {
                Err(rejected) => {
                    self.metrics.rejected(&rejected.reason);
                    outcomes.push(Outcome::Rejected(rejected));
                }
                Ok(Enriched {
                    event_id,
                    line,
                    partition_key,
                }) => {
                    outcomes.push(Outcome::Retry(event_id));
                    let ticket = tickets.next().expect("as many tickets as valid events");
                    records.push(Record {
                        line,
                        partition_key,
                        owner: Owner::Client(ticket),
                    });
                }
            }
        }
        if count == 0 {
            return outcomes;
        }
        // What does not fit the budget, or finds the publisher gone, drops its tickets: `retry`.
        if fits {
            drop(self.submissions.send(records).await);
        } else {
            drop(records);
        }
        let settled = answer.await.unwrap_or_else(|_| vec![Settled::Retry; count]);
        let mut settled = settled.into_iter();
        for outcome in &mut outcomes {
            if let Outcome::Retry(event_id) = *outcome {
                *outcome = match settled.next() {
                    Some(Settled::Published) => Outcome::Published(event_id),
                    Some(Settled::Spooled) => Outcome::Spooled(event_id),
                    Some(Settled::Retry) | None => Outcome::Retry(event_id),
                };
            }
        }
        outcomes
    }
}
