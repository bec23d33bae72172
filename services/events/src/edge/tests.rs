use axum::http::HeaderValue;

use super::*;
use crate::country::tests::database;

const HEADER: HeaderName = HeaderName::from_static("x-forwarded-for");
const COUNTRY: HeaderName = HeaderName::from_static("x-country");

fn edge() -> Edge {
    let proxies = ["198.51.100.0/24", "2001:db8:ffff::/48"];
    Edge {
        trusted_proxies: proxies.map(|network| network.parse().expect("a network")).into(),
        address_header: Some(HEADER),
        country_header: Some(COUNTRY),
        country_database: None,
    }
}

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn peer(text: &str) -> Peer {
    Peer(SocketAddr::new(ip(text), 4711))
}

fn headers(values: &[(HeaderName, &'static str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in values {
        headers.append(name, HeaderValue::from_static(value));
    }
    headers
}

#[test]
fn the_address_is_the_last_that_is_no_proxy_s_or_the_peer() {
    let proxy = "198.51.100.7";
    for (value, expected) in [
        ("192.0.2.1", "192.0.2.1"),
        ("10.0.0.1, 203.0.113.9 , 192.0.2.1", "192.0.2.1"),
        (
            "203.0.113.9, 192.0.2.1, 198.51.100.9, 2001:db8:ffff::1",
            "192.0.2.1",
        ),
        ("198.51.100.9", "198.51.100.9"),
        ("192.0.2.1:52311", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2:3:4:5:6"),
        ("[2001:db8:1:2::6]:52311", "2001:db8:1:2::6"),
        ("2001:db8:1:2:3:4:5:6:52311", "2001:db8:1:2:3:4:5:6"),
        ("192.0.2.1, unknown", proxy),
        ("", proxy),
    ] {
        let headers = headers(&[(HEADER, value)]);
        assert_eq!(edge().address(&headers, peer(proxy)), ip(expected), "{value}");
        for stranger in ["203.0.113.1", "2001:db8::1", "198.51.101.7"] {
            assert_eq!(edge().address(&headers, peer(stranger)), ip(stranger));
        }
        let nobody = Edge {
            trusted_proxies: Vec::new(),
            ..edge()
        };
        assert_eq!(nobody.address(&headers, peer(proxy)), ip(proxy));
    }
    let twice = headers(&[(HEADER, "203.0.113.9"), (HEADER, "192.0.2.1")]);
    assert_eq!(edge().address(&twice, peer(proxy)), ip("192.0.2.1"));
    let mapped = peer("::ffff:198.51.100.7");
    assert_eq!(edge().address(&twice, mapped), ip("192.0.2.1"));
    assert_eq!(edge().address(&HeaderMap::new(), peer(proxy)), ip(proxy));
}

#[test]
fn the_country_is_believed_of_a_proxy_alone() {
    for (value, expected) in [
        ("DE", Some("de")),
        ("fr", Some("fr")),
        ("T1", None),
        ("XX", None),
        ("DEU", None),
        ("\"x", None),
        ("", None),
    ] {
        let headers = headers(&[(COUNTRY, value)]);
        let country = edge().country(&headers, peer("198.51.100.7"));
        assert_eq!(country.as_ref().map(CountryCode::as_str), expected, "{value}");
        assert_eq!(edge().country(&headers, peer("203.0.113.1")), None);
    }
}

#[test]
fn the_database_answers_for_the_client_s_address_where_no_header_does() {
    let folder = tempfile::tempdir().expect("a folder");
    let source = database(folder.path(), &[("192.0.2.0/24", "SE"), ("203.0.113.0/24", "CN")]);
    let edge = Edge {
        country_database: Some(Arc::new(Reloadable::read(source).expect("a database"))),
        ..edge()
    };
    let country = |values: &[(HeaderName, &'static str)], from: &str| {
        let country = edge.country(&headers(values), peer(from));
        country.map(|country| country.as_str().to_owned())
    };
    let (proxy, stranger) = ("198.51.100.7", "203.0.113.1");
    assert_eq!(country(&[], stranger).as_deref(), Some("cn"));
    assert_eq!(country(&[(HEADER, "192.0.2.9")], proxy).as_deref(), Some("se"));
    let both = [(HEADER, "192.0.2.9"), (COUNTRY, "FR")];
    assert_eq!(
        country(&both, proxy).as_deref(),
        Some("fr"),
        "the edge knows better"
    );
    assert_eq!(
        country(&both, stranger).as_deref(),
        Some("cn"),
        "a stranger does not"
    );
    let unknown = [(HEADER, "192.0.2.9"), (COUNTRY, "XX")];
    assert_eq!(country(&unknown, proxy).as_deref(), Some("se"));
    assert_eq!(country(&[], proxy), None, "not in the database");
    assert_eq!(country(&[], "2001:db8::1"), None);
}
