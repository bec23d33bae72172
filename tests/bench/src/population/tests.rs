use std::collections::{BTreeMap, HashMap, HashSet};

use event_model::{Catalogue, Envelope, EventId, RawEvent};

use super::*;

const EVENTS: usize = 6_000;

fn events(mix: Mix) -> Vec<Event> {
    let mut population = Population::new(Mix {
        devices: 2_000,
        ..mix
    });
    (0..EVENTS).map(|_| population.event()).collect()
}

/// The type of an event that the catalogue accepts, and its id.
fn judged(catalogue: &Catalogue, event: &Event) -> Option<(String, EventId)> {
    let raw = RawEvent::parse(event.json.as_bytes(), 32).ok()?;
    let envelope = Envelope::read(&raw).ok()?;
    let event_type = envelope.event_type?;
    let schema = catalogue.latest(event_type.as_str())?;
    schema.verdict(&raw).ok()?;
    Some((event_type.to_string(), envelope.event_id?))
}

#[test]
fn the_seed_decides_everything() {
    let mix = |seed| Mix {
        seed,
        invalid: 0.1,
        duplicates: 0.1,
        ..Mix::default()
    };
    assert_eq!(events(mix(7)), events(mix(7)));
    assert_ne!(events(mix(7)), events(mix(8)));
}

#[test]
fn every_event_is_valid_but_for_the_share_that_shall_not_be() {
    let catalogue = Catalogue::bundled().expect("the bundled schemas");
    let (invalid, duplicates) = (0.05, 0.1);
    let events = events(Mix {
        invalid,
        duplicates,
        ..Mix::default()
    });
    let mut ids = HashSet::new();
    let mut kinds = HashMap::new();
    for event in &events {
        *kinds.entry(format!("{:?}", event.kind)).or_insert(0_usize) += 1;
        let id = judged(&catalogue, event).map(|(_, id)| id);
        match event.kind {
            Kind::New => assert!(ids.insert(id.expect("valid")), "an id twice: {}", event.json),
            Kind::Duplicate => assert!(ids.contains(&id.expect("valid")), "never sent: {}", event.json),
            Kind::Invalid => assert_eq!(id, None, "valid: {}", event.json),
        }
    }
    let near = |kind: &str, share: f64| {
        let (count, expected) = (kinds[kind], EVENTS as f64 * share);
        assert!(
            (count as f64 - expected).abs() < expected / 5.0,
            "{count} {kind}, not {expected}"
        );
    };
    near("Duplicate", duplicates);
    near("Invalid", invalid * (1.0 - duplicates));
}

#[test]
fn every_type_is_there_in_the_proportion_of_a_music_service_and_of_real_size() {
    let catalogue = Catalogue::bundled().expect("the bundled schemas");
    let events = events(Mix::default());
    let mut types = BTreeMap::<String, usize>::new();
    for event in &events {
        let (event_type, _) = judged(&catalogue, event).unwrap_or_else(|| panic!("{}", event.json));
        *types.entry(event_type).or_default() += 1;
    }
    let known: Vec<String> = catalogue.event_types().map(ToString::to_string).collect();
    assert_eq!(types.keys().cloned().collect::<Vec<_>>(), known);
    assert!(
        types["play"] > EVENTS / 2 && types["navigation"] > EVENTS / 5,
        "{types:?}"
    );
    let bytes: usize = events.iter().map(|event| event.json.len()).sum();
    let mean = bytes / EVENTS;
    assert!((400..500).contains(&mean), "{mean} bytes an event");
}

#[test]
fn devices_and_apps_send_only_what_they_may() {
    let catalogue = Catalogue::bundled().expect("the bundled schemas");
    for producer in [Producer::Device, Producer::App, Producer::Platform] {
        for event in events(Mix {
            producer,
            ..Mix::default()
        }) {
            let (event_type, _) = judged(&catalogue, &event).expect("valid");
            let schema = catalogue.latest(&event_type).expect("a type");
            assert!(
                schema.producers().contains(&producer),
                "{producer:?} sends {event_type}"
            );
        }
    }
}

#[test]
fn few_devices_are_busy_as_the_skew_says() {
    let shares = |skew| {
        let cumulative = zipf(1_000, skew);
        assert!(cumulative.is_sorted());
        assert!((cumulative[999] - 1.0).abs() < 1e-9);
        (cumulative[0], cumulative[99])
    };
    let (first, hundred) = shares(0.0);
    assert!((first - 0.001).abs() < 1e-9 && (hundred - 0.1).abs() < 1e-9);
    // 1 / (1 + 1/2 + … + 1/1000), by the harmonic numbers H(1000) and H(100).
    let (first, hundred) = shares(1.0);
    assert!((first - 1.0 / 7.485_470_86).abs() < 1e-6);
    assert!((hundred - 5.187_377_52 / 7.485_470_86).abs() < 1e-6);
}

#[test]
fn a_body_is_an_event_or_an_array_of_them() {
    let mut population = Population::new(Mix {
        devices: 10,
        ..Mix::default()
    });
    let single: serde_json::Value = serde_json::from_slice(&population.body(1)).expect("JSON");
    assert!(single.is_object());
    let several: Vec<serde_json::Value> = serde_json::from_slice(&population.body(3)).expect("JSON");
    assert_eq!(several.len(), 3);
}
