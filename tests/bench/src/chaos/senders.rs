//! Clients: each sends one batch after the other, and each batch until all of it is accepted or refused,
//! as a client is to do. What it was told of each attempt goes into the books.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use event_model::Producer;
use http::{HeaderName, HeaderValue, StatusCode};
use jiff::Timestamp;
use rand::{Rng, SeedableRng, rngs::StdRng};
use serde_json::Value;
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout},
};
use uuid::Uuid;

use super::ledger::{Attempt, Code, Sent, Told};
use crate::{
    Failure,
    load::{Connection, Target, lock},
    population::{Kind, Mix, Population},
};

/// The header by which a request says which attempt it is; `events` takes it for the edge's country.
pub(super) const COUNTRY_HEADER: &str = "x-country";
/// Devices of one sender: few, so that each sends often enough for its order to mean something.
const DEVICES: usize = 40;
/// Events a request at most.
const BATCH_MAX: usize = 40;
/// How long clients wait for an answer, the impatient ones and the patient ones.
const PATIENCE: std::ops::Range<Duration> = Duration::from_secs(2)..Duration::from_secs(8);
/// Between two attempts.
const PAUSE_MS: std::ops::Range<u64> = 20..300;
/// A batch that is not accepted within this time is a failure: longer than everything that is done to the
/// pipeline together.
const GIVE_UP: Duration = Duration::from_secs(180);

/// Where an instance of `events` takes requests, while it does.
#[derive(Clone, Copy, Debug)]
pub(super) struct Door {
    pub(super) address: SocketAddr,
    /// Which process it is.
    pub(super) life: usize,
}

/// What is known of all events of a round.
pub(super) type Books = Arc<Mutex<HashMap<Uuid, Sent>>>;

/// What a sender is.
#[derive(Clone, Debug)]
pub(super) struct Role {
    pub(super) seed: u64,
    pub(super) producer: Producer,
    pub(super) key: String,
    pub(super) secret: String,
    /// The instance that it keeps to, if it does: then the order of its devices' events is looked at,
    /// where that instance also sends one record an event.
    pub(super) keeps_to: Option<usize>,
    pub(super) in_order: bool,
    /// Events a second.
    pub(super) rate: f64,
}

pub(super) struct Sender {
    role: Role,
    doors: Vec<watch::Receiver<Option<Door>>>,
    books: Books,
    rng: StdRng,
    population: Population,
    /// Events of each device so far.
    numbers: HashMap<String, u64>,
    requests: u32,
    connections: HashMap<usize, (usize, Connection)>,
}

/// An event that its client still has to send.
struct Pending {
    id: Uuid,
    json: String,
}

impl Sender {
    pub(super) fn new(role: Role, doors: Vec<watch::Receiver<Option<Door>>>, books: Books) -> Self {
        let population = Population::new(Mix {
            seed: role.seed,
            devices: DEVICES,
            invalid: 0.02,
            duplicates: 0.03,
            producer: role.producer,
            start: Timestamp::now(),
            ..Mix::default()
        });
        Self {
            rng: StdRng::seed_from_u64(role.seed),
            role,
            doors,
            books,
            population,
            numbers: HashMap::new(),
            requests: 0,
            connections: HashMap::new(),
        }
    }

    /// Sends until told to stop, and ends what is begun.
    pub(super) async fn run(mut self, stop: watch::Receiver<bool>) -> Result<(), Failure> {
        let mut next = Instant::now();
        while !*stop.borrow() {
            let batch = self.batch();
            next += Duration::from_secs_f64(to_f64(batch.len()) / self.role.rate);
            self.send(batch).await?;
            // Who was held up does not make up for it all at once.
            next = next.max(Instant::now() - Duration::from_millis(500));
            tokio::time::sleep_until(next).await;
        }
        Ok(())
    }

    /// The next events, entered into the books.
    fn batch(&mut self) -> Vec<Pending> {
        let size = self.rng.random_range(1..=BATCH_MAX);
        let mut batch = Vec::with_capacity(size);
        for _ in 0..size {
            let event = self.population.event();
            let value: Value = serde_json::from_str(&event.json).unwrap_or_default();
            let text = |name: &str| value[name].as_str();
            let Some(id) = text("eventid").and_then(|id| id.parse().ok()) else {
                continue;
            };
            let device = text("deviceid").unwrap_or_default().to_owned();
            let is_numbered = event.kind == Kind::New && self.role.in_order;
            let order = is_numbered.then(|| {
                let number = self.numbers.entry(device.clone()).or_default();
                *number += 1;
                (device, *number)
            });
            lock(&self.books).entry(id).or_insert(Sent {
                kind: event.kind,
                order,
                attempts: Vec::new(),
            });
            batch.push(Pending { id, json: event.json });
        }
        batch
    }

    async fn send(&mut self, mut batch: Vec<Pending>) -> Result<(), Failure> {
        let begun = Instant::now();
        while !batch.is_empty() {
            if begun.elapsed() > GIVE_UP {
                let ids: Vec<String> = batch.iter().map(|pending| pending.id.to_string()).collect();
                let problem = format!("not accepted within {GIVE_UP:?}: {}", ids.join(", "));
                return Err(events_failed(problem));
            }
            let told = self.attempt(&batch).await?;
            let mut told = told.into_iter();
            batch.retain(|_| matches!(told.next(), None | Some(Told::Retry | Told::Nothing)));
            if !batch.is_empty() {
                sleep(Duration::from_millis(self.rng.random_range(PAUSE_MS))).await;
            }
        }
        Ok(())
    }

    /// Sends what is left of a batch once, and enters what is told of each event.
    async fn attempt(&mut self, batch: &[Pending]) -> Result<Vec<Told>, Failure> {
        let instance = match self.role.keeps_to {
            Some(instance) => instance,
            None => self.rng.random_range(0..self.doors.len()),
        };
        let Some(life) = self.connect(instance).await? else {
            return Ok(vec![Told::Nothing; batch.len()]);
        };
        let code = self.code();
        let body = format!(
            "[{}]",
            batch
                .iter()
                .map(|pending| pending.json.as_str())
                .collect::<Vec<_>>()
                .join(",")
        );
        // Entered before it is sent: whatever is stored of it has a line in the books.
        self.enter(batch, |_| Attempt {
            code,
            life,
            told: Told::Nothing,
        });
        let patience = self.rng.random_range(PATIENCE);
        let country = HeaderValue::from_bytes(&code).map_err(|error| events_failed(error.to_string()))?;
        let headers = [(HeaderName::from_static(COUNTRY_HEADER), country)];
        let Some((_, mut connection)) = self.connections.remove(&instance) else {
            return Ok(vec![Told::Nothing; batch.len()]);
        };
        let answered = timeout(patience, connection.post_with(&headers, Bytes::from(body))).await;
        let Ok(Ok((status, answer))) = answered else {
            return Ok(vec![Told::Nothing; batch.len()]);
        };
        self.connections.insert(instance, (life, connection));
        let told = read(status, &answer, batch.len()).map_err(events_failed)?;
        let mut books = lock(&self.books);
        for (pending, told) in batch.iter().zip(&told) {
            let attempts = books.get_mut(&pending.id).map(|sent| &mut sent.attempts);
            // The same event can be in one request twice: the first of its attempts without an answer.
            let mut open = attempts
                .into_iter()
                .flatten()
                .filter(|attempt| attempt.code == code);
            if let Some(attempt) = open.find(|attempt| attempt.told == Told::Nothing) {
                attempt.told = *told;
            }
        }
        Ok(told)
    }

    fn enter(&self, batch: &[Pending], attempt: impl Fn(&Pending) -> Attempt) {
        let mut books = lock(&self.books);
        for pending in batch {
            if let Some(sent) = books.get_mut(&pending.id) {
                sent.attempts.push(attempt(pending));
            }
        }
    }

    /// A connection to an instance, and which process answers there; `None` while there is none.
    async fn connect(&mut self, instance: usize) -> Result<Option<usize>, Failure> {
        let Some(door) = *self.doors[instance].borrow() else {
            self.connections.remove(&instance);
            return Ok(None);
        };
        if let Some((life, _)) = self.connections.get(&instance)
            && *life == door.life
        {
            return Ok(Some(door.life));
        }
        let url = format!("http://{}", door.address);
        let target = Target::resolve(&url, &self.role.key, &self.role.secret).await?;
        match Connection::open(&target).await {
            Ok(connection) => {
                self.connections.insert(instance, (door.life, connection));
                Ok(Some(door.life))
            }
            // Just ended: the next attempt finds the next process.
            Err(_) => Ok(None),
        }
    }

    /// The code of the next request: two letters, but not `xx`, which means that nobody knows.
    fn code(&mut self) -> Code {
        let letter = |number: u32| b'a' + u8::try_from(number % 26).unwrap_or_default();
        loop {
            self.requests += 1;
            let code = [letter(self.requests / 26), letter(self.requests)];
            if code != *b"xx" {
                return code;
            }
        }
    }
}

/// What an answer says of each event.
fn read(status: StatusCode, body: &[u8], events: usize) -> Result<Vec<Told>, String> {
    let answer: Value = serde_json::from_slice(body).map_err(|error| format!("{status}: {error}"))?;
    let Some(results) = answer["results"].as_array() else {
        return match status.as_u16() {
            // The whole request was refused, and nothing of it was taken.
            408 | 429 | 503 => Ok(vec![Told::Retry; events]),
            _ => Err(format!("{status}: {answer}")),
        };
    };
    if results.len() != events {
        return Err(format!("{} results for {events} events: {answer}", results.len()));
    }
    let told =
        results.iter().map(
            |result| match (result["status"].as_str(), result["durability"].as_str()) {
                (Some("accepted"), Some("published")) => Ok(Told::Published),
                (Some("accepted"), Some("spooled")) => Ok(Told::Spooled),
                (Some("duplicate"), _) => Ok(Told::Duplicate),
                (Some("rejected"), _) => Ok(Told::Rejected),
                (Some("retry"), _) => Ok(Told::Retry),
                _ => Err(format!("an unknown result: {result}")),
            },
        );
    told.collect()
}

fn events_failed(problem: String) -> Failure {
    Failure::Program {
        program: "events".to_owned(),
        problem,
    }
}

fn to_f64(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}
