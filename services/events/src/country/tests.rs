use std::{sync::Arc, time::Duration};

use service_runtime::Runtime;

use super::*;
use crate::{
    metrics::Metrics,
    reload::{Reloadable, watch},
};

/// Writes a database of these IPv4 networks and countries, and gives it as a source.
pub(crate) fn database(folder: &Path, networks: &[(&str, &str)]) -> CountryDatabase {
    let path = folder.join("countries.mmdb");
    // A file is replaced, never written over: a reader finds the old one or the new one.
    std::fs::write(path.with_extension("new"), encoded(networks)).expect("written");
    std::fs::rename(path.with_extension("new"), &path).expect("renamed");
    CountryDatabase::new(&path)
}

/// A database in the format's own words: a binary search tree over the bits of addresses with
/// records of 24 bits, 16 zeros, the data, and the metadata behind its marker.
fn encoded(networks: &[(&str, &str)]) -> Vec<u8> {
    enum Child {
        Node(usize),
        Data(usize),
    }
    let mut nodes: Vec<[Option<Child>; 2]> = vec![[None, None]];
    let mut data = Vec::new();
    for (network, country) in networks {
        let network: ipnetwork::Ipv4Network = network.parse().expect("a network");
        let at = data.len();
        data.extend(map(&[("country", map(&[("iso_code", text(country))]))]));
        let mut node = 0;
        for depth in 0..network.prefix() {
            let bit = usize::try_from(network.ip().to_bits() >> (31 - depth) & 1).expect("a bit");
            if depth + 1 == network.prefix() {
                nodes[node][bit] = Some(Child::Data(at));
            } else if let Some(Child::Node(next)) = nodes[node][bit] {
                node = next;
            } else {
                nodes.push([None, None]);
                let next = nodes.len() - 1;
                nodes[node][bit] = Some(Child::Node(next));
                node = next;
            }
        }
    }
    let count = nodes.len();
    let record = |child: &Option<Child>| match child {
        None => count,
        Some(Child::Node(node)) => *node,
        Some(Child::Data(at)) => count + 16 + at,
    };
    let mut file = Vec::new();
    for child in nodes.iter().flatten() {
        file.extend(&u32::try_from(record(child)).expect("a small tree").to_be_bytes()[1..]);
    }
    file.extend([0; 16]);
    file.extend(data);
    file.extend(b"\xab\xcd\xefMaxMind.com");
    file.extend(map(&[
        ("binary_format_major_version", unsigned(5, 2)),
        ("binary_format_minor_version", unsigned(5, 0)),
        ("build_epoch", unsigned(9, 1_700_000_000)),
        ("database_type", text("Test-Country")),
        ("description", map(&[("en", text("a test's"))])),
        ("ip_version", unsigned(5, 4)),
        ("languages", vec![0, 4]),
        (
            "node_count",
            unsigned(6, u32::try_from(count).expect("a small tree")),
        ),
        ("record_size", unsigned(5, 24)),
    ]));
    file
}

/// The control byte of a value: its type, above 7 in a byte of its own, and its size.
fn control(kind: u8, size: usize) -> Vec<u8> {
    let size = u8::try_from(size).expect("a small value");
    assert!(size < 29, "larger values have their size elsewhere");
    if kind > 7 {
        vec![size, kind - 7]
    } else {
        vec![kind << 5 | size]
    }
}

fn text(text: &str) -> Vec<u8> {
    [control(2, text.len()), text.into()].concat()
}

fn unsigned(kind: u8, number: u32) -> Vec<u8> {
    let bytes: Vec<u8> = number
        .to_be_bytes()
        .into_iter()
        .skip_while(|byte| *byte == 0)
        .collect();
    [control(kind, bytes.len()), bytes].concat()
}

fn map(fields: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let fields_of = fields
        .iter()
        .flat_map(|(name, value)| [text(name), value.clone()]);
    [control(7, fields.len())]
        .into_iter()
        .chain(fields_of)
        .collect::<Vec<_>>()
        .concat()
}

fn country(countries: &Countries, address: &str) -> Option<String> {
    let country = countries.country_of(address.parse().expect("an address"));
    country.map(|country| country.as_str().to_owned())
}

#[test]
fn an_address_is_in_the_country_of_its_network() {
    let folder = tempfile::tempdir().expect("a folder");
    let networks = [
        ("192.0.2.0/24", "SE"),
        ("192.0.2.128/25", "CN"),
        ("10.0.0.0/8", "XX"),
    ];
    let countries = database(folder.path(), &networks[..1])
        .read()
        .expect("a database");
    assert_eq!(country(&countries, "192.0.2.1").as_deref(), Some("se"));
    assert_eq!(country(&countries, "192.0.3.1"), None);
    assert_eq!(
        country(&countries, "2001:db8::1"),
        None,
        "it holds no IPv6 addresses"
    );
    let countries = database(folder.path(), &networks[1..])
        .read()
        .expect("a database");
    assert_eq!(country(&countries, "192.0.2.200").as_deref(), Some("cn"));
    assert_eq!(country(&countries, "10.1.2.3"), None, "XX is nowhere");
}

#[test]
fn a_file_that_is_damaged_is_refused_as_a_whole_and_never_panics() {
    let folder = tempfile::tempdir().expect("a folder");
    let source = database(folder.path(), &[("192.0.2.0/24", "SE"), ("203.0.113.0/24", "CN")]);
    let whole = std::fs::read(&source.path).expect("just written");
    source.read().expect("whole");
    for length in 0..whole.len() {
        std::fs::write(&source.path, &whole[..length]).expect("written");
        source.read().expect_err("cut off");
    }
    for at in 0..whole.len() {
        let mut damaged = whole.clone();
        damaged[at] ^= 0xff;
        std::fs::write(&source.path, &damaged).expect("written");
        // Some damage cannot be seen; what passes must answer.
        if let Ok(countries) = source.read() {
            country(&countries, "192.0.2.1");
        }
    }
    std::fs::remove_file(&source.path).expect("removed");
    let problem = source.read().expect_err("gone").to_string();
    assert!(problem.contains("countries.mmdb"), "{problem}");
}

#[tokio::test]
async fn a_file_that_changes_is_read_again_and_a_damaged_one_changes_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let runtime = Runtime::new("events");
    let metrics = Metrics::register(&runtime.registry).expect("a new registry");
    let networks = |code| [("192.0.2.0/24", code)];
    let source = database(folder.path(), &networks("SE"));
    let path = source.path.clone();
    let countries = Arc::new(Reloadable::read(source).expect("a database"));
    let mut watching = tokio::task::JoinSet::new();
    watching.spawn(watch(
        Arc::clone(&countries),
        Duration::from_millis(10),
        metrics.country_database_reload.clone(),
        runtime.shutdown.clone(),
    ));
    let code = || country(&countries.current(), "192.0.2.1");
    let failures = || {
        let families = runtime.registry.gather();
        let name = "events_country_database_reload_failures_total";
        let family = families.iter().find(|family| family.name() == name);
        family.expect("it is there").get_metric()[0]
            .get_counter()
            .get_value()
    };
    let until = async |condition: &dyn Fn() -> bool| {
        let waiting = async {
            while !condition() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let patience = Duration::from_secs(30);
        tokio::time::timeout(patience, waiting).await.expect("in time");
    };
    database(folder.path(), &networks("CN"));
    until(&|| code().as_deref() == Some("cn")).await;
    std::fs::write(&path, "no database").expect("written");
    until(&|| failures() > 0.0).await;
    assert_eq!(code().as_deref(), Some("cn"), "the last good one stays");
    database(folder.path(), &networks("FR"));
    until(&|| code().as_deref() == Some("fr")).await;
    runtime.shutdown.request();
    watching
        .join_next()
        .await
        .expect("a task")
        .expect("no panic")
        .expect("it ends");
}
