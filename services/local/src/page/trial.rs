//! Trying the API out: what may be sent, and sending it with the credential of a demo client, which
//! never leaves this program.

use std::net::SocketAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::demo::DemoClients;

/// Bytes of an answer of the API that are taken; an event has 32 KiB at most.
const ANSWER_BYTES_MAX: usize = 1 << 20;
/// Types that are offered.
const TYPES_MAX: usize = 64;
/// Longer than the API itself waits for Kinesis and its disk.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);
/// The client that is offered first: it may send everything.
const FIRST_CLIENT: &str = "northwind-platform";

/// The public API, as a client sees it.
#[derive(Debug)]
pub(crate) struct Trial {
    http: reqwest::Client,
    events: SocketAddr,
    clients: DemoClients,
}

/// What can be chosen.
#[derive(Debug, Serialize)]
pub(crate) struct Choices {
    eventtypes: Vec<TypeChoice>,
    clients: Vec<ClientChoice>,
}

/// An event type at its latest version.
#[derive(Debug, Serialize)]
struct TypeChoice {
    eventtype: String,
    title: String,
    description: String,
    version: String,
    /// As they are written, fields in their order.
    examples: Vec<Box<RawValue>>,
}

/// A demo client, without its credential.
#[derive(Debug, Serialize)]
struct ClientChoice {
    name: String,
    partner: String,
}

/// What the page wants sent.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wish {
    /// The demo client's name.
    client: String,
    /// The body, as it was typed: whether it is JSON is for the API to say.
    body: String,
    /// Only ask for the verdict.
    #[serde(default)]
    dry_run: bool,
}

/// What the API answered.
#[derive(Debug, Serialize)]
pub(crate) struct Verdict {
    status: u16,
    /// How long it took.
    milliseconds: f64,
    answer: Box<RawValue>,
}

/// The part of an answer that says what became of each event.
#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    results: Vec<Outcome>,
}

#[derive(Deserialize)]
struct Outcome {
    status: String,
    #[serde(default)]
    eventid: String,
}

/// The API's catalogue, as far as it is used here.
#[derive(Deserialize)]
struct Catalogue {
    eventtypes: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    eventtype: String,
    latest: String,
}

#[derive(Deserialize)]
struct Schema {
    #[serde(default)]
    title: String,
    #[serde(default)]
    description: String,
    #[serde(default)]
    examples: Vec<Box<RawValue>>,
}

/// Why there is no answer to show.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TrialError {
    #[error("there is no demo client of that name")]
    UnknownClient,
    #[error("the API does not answer: {0}")]
    Unanswered(reqwest::Error),
    #[error("the API's answer is longer than {ANSWER_BYTES_MAX} bytes")]
    TooLong,
    #[error("the API's answer is not what is expected: {0}")]
    Unexpected(serde_json::Error),
}

impl Wish {
    /// Whether nothing is to be published.
    pub(crate) fn dry_run(&self) -> bool {
        self.dry_run
    }
}

impl Trial {
    /// With these clients at that API.
    pub(crate) fn new(http: reqwest::Client, events: SocketAddr, clients: DemoClients) -> Self {
        Self {
            http,
            events,
            clients,
        }
    }

    /// Where the API is.
    pub(crate) fn api(&self) -> String {
        format!("http://{}", self.events)
    }

    /// Asks the API for its types.
    pub(crate) async fn choices(&self) -> Result<Choices, TrialError> {
        let catalogue: Catalogue = self.get("/v1/schemas").await?;
        let mut eventtypes = Vec::new();
        for Entry { eventtype, latest } in catalogue.eventtypes.into_iter().take(TYPES_MAX) {
            let schema: Schema = self.get(&format!("/v1/schemas/{eventtype}/{latest}")).await?;
            eventtypes.push(TypeChoice {
                eventtype,
                title: schema.title,
                description: schema.description,
                version: latest,
                examples: schema.examples,
            });
        }
        let mut clients: Vec<_> = self.clients.clients.iter().collect();
        clients.sort_by_key(|client| client.name != FIRST_CLIENT);
        let clients = clients.into_iter().map(|client| ClientChoice {
            name: client.name.clone(),
            partner: client.partner.clone(),
        });
        Ok(Choices {
            eventtypes,
            clients: clients.collect(),
        })
    }

    /// Sends it as that client and gives what was answered, whatever it is.
    pub(crate) async fn send(&self, wish: Wish) -> Result<Verdict, TrialError> {
        let client = self
            .clients
            .named(&wish.client)
            .ok_or(TrialError::UnknownClient)?;
        let path = if wish.dry_run {
            "/v1/validate"
        } else {
            "/v1/events"
        };
        let started = std::time::Instant::now();
        let request = self
            .http
            .post(format!("{}{path}", self.api()))
            .timeout(ANSWER_TIMEOUT)
            .basic_auth(&client.key, Some(&client.secret))
            .header("content-type", "application/json")
            .body(wish.body);
        let answer = request.send().await.map_err(TrialError::Unanswered)?;
        let status = answer.status().as_u16();
        let body = bounded(answer).await?;
        Ok(Verdict {
            status,
            milliseconds: started.elapsed().as_secs_f64() * 1e3,
            answer: serde_json::from_slice(&body).map_err(TrialError::Unexpected)?,
        })
    }

    async fn get<T: for<'de> Deserialize<'de>>(&self, path: &str) -> Result<T, TrialError> {
        let request = self
            .http
            .get(format!("{}{path}", self.api()))
            .timeout(ANSWER_TIMEOUT);
        let answer = request.send().await.map_err(TrialError::Unanswered)?;
        let answer = answer.error_for_status().map_err(TrialError::Unanswered)?;
        serde_json::from_slice(&bounded(answer).await?).map_err(TrialError::Unexpected)
    }
}

impl Verdict {
    /// The ids of the events that are on their way now.
    pub(crate) fn accepted_ids(&self) -> Result<Vec<String>, TrialError> {
        let answer: Answer = serde_json::from_str(self.answer.get()).map_err(TrialError::Unexpected)?;
        let accepted = answer
            .results
            .into_iter()
            .filter(|result| result.status == "accepted");
        Ok(accepted.map(|result| result.eventid).collect())
    }
}

async fn bounded(mut answer: reqwest::Response) -> Result<Vec<u8>, TrialError> {
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(TrialError::Unanswered)? {
        body.extend_from_slice(&chunk);
        if body.len() > ANSWER_BYTES_MAX {
            return Err(TrialError::TooLong);
        }
    }
    Ok(body)
}
