use std::thread;

use prometheus::{Registry, TextEncoder};

use super::*;

fn event_type(name: &str) -> EventType {
    name.parse().expect("a type")
}

/// The sum of each column, by type and partner. Fails unless every row balances.
pub(crate) fn balanced(families: &[MetricFamily]) -> BTreeMap<(String, String), u64> {
    let mut received = BTreeMap::new();
    let mut accounted = BTreeMap::new();
    for family in families {
        let column = family.name();
        let into = match column {
            "events_received_total" => &mut received,
            "events_published_total"
            | "events_spooled_total"
            | "events_duplicate_total"
            | "events_rejected_total"
            | "events_retry_total"
            | "events_in_progress" => &mut accounted,
            _ => continue,
        };
        for metric in family.get_metric() {
            let label = |name: &str| {
                let label = metric.get_label().iter().find(|label| label.name() == name);
                label.expect("every row has it").value().to_owned()
            };
            let value = metric.get_counter().get_value() + metric.get_gauge().get_value();
            *into.entry((label("eventtype"), label("partner"))).or_default() += value as u64;
        }
    }
    assert_eq!(received, accounted);
    received
}

#[test]
fn every_scrape_balances_while_events_come_and_go() {
    let registry = Registry::new();
    let ledger = Ledger::new().expect("valid names");
    registry
        .register(Box::new(ledger.clone()))
        .expect("a new registry");
    const EACH: u64 = 20_000;
    thread::scope(|scope| {
        let workers: Vec<_> = ["northwind", "halcyon"]
            .into_iter()
            .map(|partner| {
                let partner = ledger.partner(&partner.into());
                scope.spawn(move || {
                    let row = partner.row(Some(&event_type("play")));
                    for number in 0..EACH {
                        if number % 5 == 0 {
                            partner.row(None).reject(&Rejection::MissingType);
                            continue;
                        }
                        row.begin();
                        row.settle(match number % 5 {
                            1 => Settled::Published,
                            2 => Settled::Spooled,
                            3 => Settled::Duplicate(Durability::Published),
                            _ => Settled::Retry,
                        });
                    }
                })
            })
            .collect();
        while !workers.iter().all(thread::ScopedJoinHandle::is_finished) {
            balanced(&registry.gather());
        }
    });
    let rows = balanced(&registry.gather());
    let expected = |share: u64| share * EACH / 5;
    let row = |event_type: &str, partner: &str| rows[&(event_type.to_owned(), partner.to_owned())];
    assert_eq!(row("play", "northwind"), expected(4));
    assert_eq!(row("unknown", "halcyon"), expected(1));
    let text = TextEncoder::new()
        .encode_to_string(&registry.gather())
        .expect("text");
    let line = r#"events_rejected_total{eventtype="unknown",partner="halcyon",reason="missing_type"} 4000"#;
    assert!(text.contains(line), "{text}");
    assert!(text.contains(r#"events_in_progress{eventtype="play",partner="halcyon"} 0"#));
    assert!(text.contains("# TYPE events_in_progress gauge"));
}

#[test]
fn labels_are_bounded_and_nothing_goes_uncounted() {
    let ledger = Ledger::new().expect("valid names");
    for number in 0..1_000 {
        let partner = ledger.partner(&format!("partner{number}").into());
        partner.row(Some(&event_type("play"))).begin();
        let first = ledger.partner(&"partner0".into());
        first.row(Some(&event_type(&format!("type{number}")))).begin();
    }
    let rows = balanced(&ledger.collect());
    assert!(rows.len() <= 2 * LABELS + 2, "{} rows", rows.len());
    assert_eq!(rows.values().sum::<u64>(), 2_000);
    assert_eq!(
        rows[&("play".to_owned(), OTHER.to_owned())],
        1_000 - LABELS as u64
    );
    assert_eq!(
        rows[&(OTHER.to_owned(), "partner0".to_owned())],
        1_000 - (LABELS as u64 - 1),
        "one of its types is play"
    );
}

#[test]
fn every_name_and_reason_is_there_from_the_start() {
    let registry = Registry::new();
    let ledger = Ledger::new().expect("valid names");
    registry.register(Box::new(ledger)).expect("a new registry");
    let text = TextEncoder::new()
        .encode_to_string(&registry.gather())
        .expect("text");
    for (name, _) in [RECEIVED, PUBLISHED, SPOOLED, DUPLICATE, RETRY, IN_PROGRESS] {
        assert!(text.contains(&format!("\n{name}{{")), "{name}: {text}");
    }
    for reason in Rejection::CODES {
        assert!(text.contains(&format!("reason=\"{reason}\"")), "{reason}: {text}");
    }
}
