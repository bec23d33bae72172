//! The order of the stages, for one request.

use std::{sync::Arc, time::Instant};

use axum::{body::Body, http::HeaderMap};
use event_model::{Catalogue, EventId, EventType};
use jiff::Timestamp;
use tokio::sync::mpsc;

use crate::{
    admission::{Admission, Admitted},
    attempts::FailedAttempts,
    auth::authenticate,
    batch::{Owner, Record},
    config::Limits,
    credentials::{Client, Credentials, CredentialsFiles},
    decode::{Decoded, Format, decode},
    dedupe::Window,
    edge::{Edge, Peer},
    enrich::{Enriched, Origin},
    http::{
        body,
        encoding::{Decompressor, Encoding},
    },
    metrics::{Metrics, Stopwatch},
    quota::Quotas,
    refusal::{Refusal, Rejected},
    reload::Reloadable,
    schemas::Schemas,
    stream::StreamLimits,
    submission::{Durability, Settled, submission},
    validate::Rules,
};

/// What a record costs beside its bytes: queue entry, ticket, map entry. An estimate, on the high
/// side, so that the budget of bytes bounds memory for small events too.
const RECORD_OVERHEAD: usize = 512;

/// The stages and what they need.
pub(crate) struct Ingest {
    pub(crate) attempts: FailedAttempts,
    pub(crate) credentials: Arc<Reloadable<CredentialsFiles>>,
    pub(crate) schemas: Arc<Reloadable<Schemas>>,
    pub(crate) limits: Limits,
    pub(crate) decompressor: Decompressor,
    pub(crate) stream_limits: StreamLimits,
    pub(crate) edge: Edge,
    pub(crate) quotas: Quotas,
    pub(crate) admission: Admission,
    pub(crate) window: Arc<Window>,
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
    /// It was accepted before, so, and is not sent again.
    Duplicate(EventId, Durability),
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
        let stages = &self.metrics.stages;
        let mut watch = Stopwatch::start();
        let credentials = self.credentials.current();
        let client = self.prove(peer, headers, &credentials)?;
        let catalogue = self.schemas.current();
        let path_type = authorise(client, path_type, &catalogue)?;
        watch.lap(&stages.auth);
        let format = Format::of(headers)?;
        let encoding = Encoding::of(headers)?;
        let announced = body::announced(headers, &self.limits)?;
        let mut admitted = self.admission.admit(client.name(), client.kind(), announced)?;
        let bytes = body::read(request_body, headers, &self.limits).await?;
        let bytes = self.decompressor.undo(encoding, bytes, &mut admitted).await?;
        watch.lap(&stages.read);
        let Decoded { events, sent_at } = decode(&bytes, format, self.limits.events)?;
        watch.lap(&stages.decode);

        let limits = self.limits.within(self.stream_limits.record_bytes());
        let rules = Rules {
            catalogue: &catalogue,
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
        self.charge(client, events.len())?;
        let origin = Origin {
            client,
            country: self.edge.country(headers, peer),
            received: Timestamp::now(),
            sent: sent_at,
        };
        let judge = |event| rules.verdict(event).map(|valid| origin.enrich(&valid));
        let judged: Vec<_> = events.into_iter().map(judge).collect();
        watch.lap(&stages.validate);
        drop(bytes);
        let outcomes = self.publish(client, path_type.as_ref(), judged, admitted).await;
        watch.lap(&stages.publish);
        Ok(outcomes)
    }

    /// Who it is; or a refusal, which says something else once too many attempts from there failed.
    fn prove<'c>(
        &self,
        peer: Peer,
        headers: &HeaderMap,
        credentials: &'c Credentials,
    ) -> Result<&'c Client, Refusal> {
        authenticate(headers, credentials).map_err(|refusal| {
            let (address, now) = (self.edge.address(headers, peer), Instant::now());
            match self.attempts.check(address, now) {
                Ok(()) => self.attempts.failed(address, now),
                Err(limited) => return limited,
            }
            refusal
        })
    }

    /// Charges a request's events, of whatever worth, to the quotas.
    fn charge(&self, client: &Client, events: usize) -> Result<(), Refusal> {
        let charged = self.quotas.charge(client, events, Instant::now());
        if let Err(Refusal::OverQuota { scope, .. }) = charged {
            self.metrics.over_quota(scope, events);
        }
        charged
    }

    /// Hands the valid events over together, so that they keep their order, and waits until each is
    /// settled.
    async fn publish(
        &self,
        client: &Client,
        path_type: Option<&EventType>,
        judged: Vec<Result<Enriched, Rejected>>,
        mut admitted: Admitted,
    ) -> Vec<Outcome> {
        let partner = self.metrics.ledger.partner(client.partner_name());
        let (mut rows, mut bytes) = (Vec::with_capacity(judged.len()), 0);
        for event in &judged {
            match event {
                Ok(event) => {
                    rows.push(partner.row(Some(&event.event_type)));
                    bytes += event.line.len() + event.partition_key.len() + RECORD_OVERHEAD;
                }
                Err(rejected) => {
                    let event_type = rejected.event_type.as_ref().or(path_type);
                    partner.row(event_type).reject(&rejected.reason);
                }
            }
        }
        let count = rows.len();
        let fits = admitted.resize(bytes).is_ok();
        let (tickets, answer) = submission(rows, admitted);
        let own_ids = judged.iter().flatten();
        let own_ids = own_ids.map(|event| event.has_own_id.then_some(event.event_id));
        let to_send = self.window.enter(client, own_ids.zip(tickets), Instant::now());
        let mut to_send = to_send.into_iter();
        let (mut records, mut outcomes) = (Vec::with_capacity(count), Vec::with_capacity(judged.len()));
        for event in judged {
            match event {
                Err(rejected) => outcomes.push(Outcome::Rejected(rejected)),
                Ok(event) => {
                    outcomes.push(Outcome::Retry(event.event_id));
                    records.extend(to_send.next().flatten().map(|ticket| Record {
                        line: event.line,
                        partition_key: event.partition_key,
                        owner: Owner::Client(ticket),
                    }));
                }
            }
        }
        if count == 0 {
            return outcomes;
        }
        // What does not fit the budget, or finds the publisher gone, drops its tickets: `retry`.
        if fits && !records.is_empty() {
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
                    Some(Settled::Duplicate(durability)) => Outcome::Duplicate(event_id, durability),
                    Some(Settled::Retry) | None => Outcome::Retry(event_id),
                };
            }
        }
        outcomes
    }
}

/// A type in the path can be refused before the body is read.
fn authorise(
    client: &Client,
    path_type: Option<&str>,
    catalogue: &Catalogue,
) -> Result<Option<EventType>, Refusal> {
    let Some(name) = path_type else { return Ok(None) };
    let schema = catalogue.latest(name).ok_or(Refusal::UnknownType)?;
    if !client.may_send(schema) {
        return Err(Refusal::Forbidden);
    }
    Ok(Some(schema.event_type().clone()))
}
