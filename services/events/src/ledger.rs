//! The ledger: every event that was received and what became of it, by type and partner.
//!
//! For each type and partner, at any moment and so in any scrape, it holds exactly that
//!
//! ```text
//! received = published + spooled + duplicate + rejected (for all reasons) + retry + in progress
//! ```
//!
//! The counts of a row change together under its lock, and a scrape copies them under the same. An
//! event enters when it is judged and is in progress as long as its ticket is not settled
//! ([`crate::submission`]), so none can be left out or counted twice. What is refused as a whole request
//! has no events; `events_requests_total` has those.
//!
//! Labels are bounded: types are those of the catalogue, partners those of the credentials, and of
//! either only the first [`LABELS`] get a label of their own; later ones share `other`. An event whose
//! type is not known is of the type `unknown`.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock},
};

use event_model::EventType;
use prometheus::{
    core::{Collector, Desc},
    proto::{Counter, Gauge, LabelPair, Metric, MetricFamily, MetricType},
};

use crate::{
    refusal::Rejection,
    submission::{Durability, Settled},
};

/// Types, and partners, with a label of their own.
const LABELS: usize = 128;
const OTHER: &str = "other";
const UNKNOWN: &str = "unknown";

/// Name and meaning of each column.
const RECEIVED: (&str, &str) = (
    "events_received_total",
    "Events received: the sum of published, spooled, duplicate, rejected, retry and in progress.",
);
const PUBLISHED: (&str, &str) = (
    "events_published_total",
    "Events that were answered as published.",
);
const SPOOLED: (&str, &str) = (
    "events_spooled_total",
    "Events that were answered as spooled: they are on disk and will be in the stream.",
);
const DUPLICATE: (&str, &str) = (
    "events_duplicate_total",
    "Events that had been accepted before under the same id and were not sent again.",
);
const REJECTED: (&str, &str) = ("events_rejected_total", "Events that were refused, by reason.");
const RETRY: (&str, &str) = (
    "events_retry_total",
    "Events that the client was asked to send again.",
);
const IN_PROGRESS: (&str, &str) = (
    "events_in_progress",
    "Events that are judged and valid, and not answered yet.",
);

/// All rows; clones share them.
#[derive(Clone)]
pub(crate) struct Ledger {
    partners: Arc<RwLock<BTreeMap<Arc<str>, Arc<Partner>>>>,
    descriptions: Arc<[Desc]>,
}

/// The rows of one partner.
#[derive(Default)]
pub(crate) struct Partner {
    unknown: Arc<Row>,
    other: Arc<Row>,
    types: RwLock<HashMap<EventType, Arc<Row>>>,
}

/// What became of the events of one type and partner.
#[derive(Default)]
pub(crate) struct Row(Mutex<Counts>);

#[derive(Clone, Copy, Default)]
struct Counts {
    received: u64,
    published: u64,
    spooled: u64,
    duplicate: u64,
    rejected: [u64; Rejection::CODES.len()],
    retry: u64,
    in_progress: u64,
}

impl Row {
    /// A valid event is in progress from now on.
    pub(crate) fn begin(&self) {
        let mut counts = self.lock();
        counts.received += 1;
        counts.in_progress += 1;
    }

    /// An event that was in progress is settled.
    pub(crate) fn settle(&self, settled: Settled) {
        let mut counts = self.lock();
        counts.in_progress -= 1;
        let column = match settled {
            Settled::Published => &mut counts.published,
            Settled::Spooled => &mut counts.spooled,
            Settled::Duplicate(Durability::Published | Durability::Spooled) => &mut counts.duplicate,
            Settled::Retry => &mut counts.retry,
        };
        *column += 1;
    }

    /// An event was refused.
    pub(crate) fn reject(&self, reason: &Rejection) {
        let mut counts = self.lock();
        counts.received += 1;
        counts.rejected[reason.index()] += 1;
    }

    /// Nothing under the lock can panic, so what a poisoned one holds is whole.
    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Partner {
    /// The row of a type.
    pub(crate) fn row(&self, event_type: Option<&EventType>) -> Arc<Row> {
        let Some(event_type) = event_type else {
            return Arc::clone(&self.unknown);
        };
        let types = self.types.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(row) = types.get(event_type) {
            return Arc::clone(row);
        }
        drop(types);
        let mut types = self.types.write().unwrap_or_else(PoisonError::into_inner);
        if types.len() >= LABELS && !types.contains_key(event_type) {
            return Arc::clone(&self.other);
        }
        Arc::clone(types.entry(event_type.clone()).or_default())
    }

    /// Every row that counts something, with the label of its type.
    fn rows(&self) -> Vec<(String, Counts)> {
        let types = self.types.read().unwrap_or_else(PoisonError::into_inner);
        let named = types.iter().map(|(name, row)| (name.to_string(), row));
        let others = [
            (UNKNOWN.to_owned(), &self.unknown),
            (OTHER.to_owned(), &self.other),
        ];
        let rows = named.chain(others).map(|(name, row)| (name, *row.lock()));
        rows.filter(|(_, counts)| counts.received > 0).collect()
    }
}

impl Ledger {
    pub(crate) fn new() -> prometheus::Result<Self> {
        let columns = [
            RECEIVED,
            PUBLISHED,
            SPOOLED,
            DUPLICATE,
            REJECTED,
            RETRY,
            IN_PROGRESS,
        ];
        let describe = |(name, help): (&str, &str)| {
            let reason = (name == REJECTED.0).then_some("reason");
            let labels = ["eventtype", "partner"]
                .into_iter()
                .chain(reason)
                .map(str::to_owned);
            Desc::new(name.to_owned(), help.to_owned(), labels.collect(), HashMap::new())
        };
        let descriptions = columns.into_iter().map(describe).collect::<Result<Vec<_>, _>>()?;
        Ok(Self {
            partners: Arc::default(),
            descriptions: descriptions.into(),
        })
    }

    /// The rows of a partner.
    pub(crate) fn partner(&self, name: &Arc<str>) -> Arc<Partner> {
        let partners = self.partners.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(partner) = partners.get(name) {
            return Arc::clone(partner);
        }
        drop(partners);
        let mut partners = self.partners.write().unwrap_or_else(PoisonError::into_inner);
        let name: Arc<str> = if partners.len() < LABELS || partners.contains_key(name) {
            Arc::clone(name)
        } else {
            OTHER.into()
        };
        Arc::clone(partners.entry(name).or_default())
    }

    /// A copy of every row: partner, type and counts.
    fn rows(&self) -> Vec<(Arc<str>, String, Counts)> {
        let partners = self.partners.read().unwrap_or_else(PoisonError::into_inner);
        let of = |(name, partner): (&Arc<str>, &Arc<Partner>)| {
            let name = Arc::clone(name);
            let rows = partner.rows().into_iter();
            rows.map(move |(event_type, counts)| (Arc::clone(&name), event_type, counts))
        };
        let mut rows: Vec<_> = partners.iter().flat_map(of).collect();
        if rows.is_empty() {
            // So that every series' name is there from the start.
            rows.push((OTHER.into(), UNKNOWN.to_owned(), Counts::default()));
        }
        rows
    }
}

impl Collector for Ledger {
    fn desc(&self) -> Vec<&Desc> {
        self.descriptions.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let rows = self.rows();
        let column = |column: (&str, &str), kind, value: fn(&Counts) -> u64| {
            let metrics = rows.iter().map(|(partner, event_type, counts)| {
                metric(
                    kind,
                    vec![label("eventtype", event_type), label("partner", partner)],
                    value(counts),
                )
            });
            family(column, kind, metrics.collect())
        };
        vec![
            column(RECEIVED, MetricType::COUNTER, |counts| counts.received),
            column(PUBLISHED, MetricType::COUNTER, |counts| counts.published),
            column(SPOOLED, MetricType::COUNTER, |counts| counts.spooled),
            column(DUPLICATE, MetricType::COUNTER, |counts| counts.duplicate),
            rejected(&rows),
            column(RETRY, MetricType::COUNTER, |counts| counts.retry),
            column(IN_PROGRESS, MetricType::GAUGE, |counts| counts.in_progress),
        ]
    }
}

/// One series for each reason that a row has; for all reasons, while there is none.
fn rejected(rows: &[(Arc<str>, String, Counts)]) -> MetricFamily {
    let none = rows
        .iter()
        .all(|(.., counts)| counts.rejected.iter().sum::<u64>() == 0);
    let of = |(partner, event_type, counts): &(Arc<str>, String, Counts)| {
        let labels = vec![label("eventtype", event_type), label("partner", partner)];
        let reasons = Rejection::CODES.into_iter().zip(counts.rejected);
        let shown = reasons.filter(|(_, count)| *count > 0 || none);
        let metric = |(reason, count): (&str, u64)| {
            let labels = [labels.clone(), vec![label("reason", reason)]].concat();
            metric(MetricType::COUNTER, labels, count)
        };
        shown.map(metric).collect::<Vec<_>>()
    };
    family(REJECTED, MetricType::COUNTER, rows.iter().flat_map(of).collect())
}

fn family((name, help): (&str, &str), kind: MetricType, metrics: Vec<Metric>) -> MetricFamily {
    let mut family = MetricFamily::default();
    family.set_name(name.to_owned());
    family.set_help(help.to_owned());
    family.set_field_type(kind);
    family.set_metric(metrics);
    family
}

fn metric(kind: MetricType, labels: Vec<LabelPair>, value: u64) -> Metric {
    let mut metric = Metric::default();
    metric.set_label(labels);
    if kind == MetricType::GAUGE {
        let mut gauge = Gauge::default();
        gauge.set_value(value as f64);
        metric.set_gauge(gauge);
    } else {
        let mut counter = Counter::default();
        counter.set_value(value as f64);
        metric.set_counter(counter);
    }
    metric
}

fn label(name: &str, value: &str) -> LabelPair {
    let mut label = LabelPair::default();
    label.set_name(name.to_owned());
    label.set_value(value.to_owned());
    label
}

#[cfg(test)]
#[path = "ledger/tests.rs"]
pub(crate) mod tests;
