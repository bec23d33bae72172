use proptest::prelude::*;

use super::*;

fn route(text: &str) -> Route {
    text.parse().expect("a well-formed route")
}

fn routes(texts: &[&str]) -> Result<Routes, InvalidRoute> {
    let routes = texts.iter().map(|text| route(text)).collect();
    Routes::new(routes, Partition::AwsCn, Partition::Aws)
}

fn copy_to(key: &str) -> Decision {
    copied(key, Treatment::Verbatim)
}

fn copied(key: &str, treatment: Treatment) -> Decision {
    let destination_key = key.to_owned();
    Decision::Copy {
        destination_key,
        treatment,
    }
}

#[test]
fn regions_belong_to_partitions() {
    for (region, partition) in [
        ("cn-north-1", Partition::AwsCn),
        ("cn-northwest-1", Partition::AwsCn),
        ("eu-west-1", Partition::Aws),
        ("us-east-1", Partition::Aws),
        ("ap-southeast-7", Partition::Aws),
        ("us-gov-west-1", Partition::AwsUsGov),
        ("eusc-de-east-1", Partition::AwsEusc),
    ] {
        assert_eq!(Partition::of_region(region), Ok(partition), "{region}");
    }
    for region in [
        "",
        "cn",
        "cn-north",
        "cn-north-1a",
        "eu--1",
        "EU-west-1",
        "us-iso-east-1",
        "us-isob-east-1",
        "moon-north-1",
        "cn-north-1 ",
    ] {
        assert!(Partition::of_region(region).is_err(), "{region:?}");
    }
}

#[test]
fn a_verbatim_copy_stays_in_its_partition_or_leaves_china_for_aws() {
    use Partition::{Aws, AwsCn, AwsEusc, AwsUsGov};
    let all = [Aws, AwsCn, AwsUsGov, AwsEusc];
    for from in all {
        for to in all {
            let allowed = from == to || (from == AwsCn && to == Aws);
            let table = Routes::new(vec![route("=>:verbatim")], from, to);
            assert_eq!(table.is_ok(), allowed, "{from} to {to}");
        }
    }
    let refused = Routes::new(vec![route("logs/=>logs/:verbatim")], Aws, AwsCn).expect_err("into China");
    assert_eq!(refused, InvalidRoute::ForbiddenDirection { from: Aws, to: AwsCn });
    for harmless in ["logs/:denied", "logs/=>logs/:redacted"] {
        for from in all {
            for to in all {
                assert!(
                    Routes::new(vec![route(harmless)], from, to).is_ok(),
                    "{harmless} {from} {to}"
                );
            }
        }
    }
    let mixed = vec![route("a/=>a/:redacted"), route("b/=>b/:verbatim")];
    assert!(
        Routes::new(mixed, Aws, AwsCn).is_err(),
        "one verbatim route is enough"
    );
}

#[test]
fn the_treatment_is_the_route_s_own() {
    let table = routes(&["=>all/:redacted", "raw/=>raw/:verbatim"]).expect("valid");
    assert_eq!(table.decide("a"), copied("all/a", Treatment::Redacted));
    assert_eq!(table.decide("raw/a"), copied("raw/a", Treatment::Verbatim));
    assert!(table.redact() && !routes(&["=>:verbatim"]).expect("valid").redact());
    let (route, rest) = table.find("raw/a").expect("a route");
    assert_eq!((route.to_string().as_str(), rest), ("raw/=>raw/:verbatim", "a"));
}

#[test]
fn nothing_leaves_a_reserved_prefix() {
    let table = routes(&["=>:redacted"])
        .and_then(|table| table.reserve("_quarantine/"))
        .expect("valid");
    assert_eq!(table.decide("_quarantine/a"), Decision::Denied(Denial::Own));
    assert_eq!(
        table.decide("_quarantin"),
        copied("_quarantin", Treatment::Redacted)
    );
    let below = routes(&["_quarantine/a/=>a/:verbatim"]).and_then(|table| table.reserve("_quarantine/"));
    assert!(matches!(below, Err(InvalidRoute::Reserved(..))));
    assert!(
        routes(&["=>:redacted", "_quarantine/:denied"])
            .and_then(|table| table.reserve("_quarantine/"))
            .is_ok()
    );
}

#[test]
fn the_digest_stands_for_the_policy_and_not_for_how_it_is_written() {
    let digest = |texts: &[&str], redaction| routes(texts).expect("valid").digest(redaction);
    let one = digest(&["a=>a:verbatim", "b:denied"], "-");
    assert_eq!(one, digest(&["b:denied", "a=>a:verbatim"], "-"));
    assert_eq!(one.len(), 16);
    for other in [
        digest(&["a=>a:verbatim", "b:denied"], "0"),
        digest(&["a=>a:redacted", "b:denied"], "-"),
        digest(&["a=>a:verbatim"], "-"),
    ] {
        assert_ne!(one, other);
    }
    let inside = Routes::new(
        vec![route("a=>a:verbatim"), route("b:denied")],
        Partition::Aws,
        Partition::Aws,
    );
    assert_ne!(one, inside.expect("valid").digest("-"));
}

#[test]
fn the_longest_prefix_decides_and_what_none_matches_is_denied() {
    let table = routes(&[
        "events/=>cn/events/:verbatim",
        "events/_hoard/:denied",
        "a:b=>c:d:verbatim",
    ])
    .expect("a valid table");
    assert_eq!(table.decide("events/2026/a.gz"), copy_to("cn/events/2026/a.gz"));
    assert_eq!(
        table.decide("events/_hoard/state"),
        Decision::Denied(Denial::Declared)
    );
    assert_eq!(table.decide("a:b/1"), copy_to("c:d/1"));
    for key in ["", "event", "Events/1", "private/1", "/events/1"] {
        assert_eq!(table.decide(key), Decision::Denied(Denial::Undeclared), "{key}");
    }
}

#[test]
fn a_key_that_s3_would_not_take_is_denied() {
    let table = routes(&["in/=>:verbatim", "up/=>a-longer-prefix/:verbatim", "keep/:denied"]);
    assert!(
        matches!(table, Err(InvalidRoute::Collision(..))),
        "`` covers every destination"
    );

    let table = routes(&["in/=>:verbatim"]).expect("valid");
    assert_eq!(table.decide("in/"), Decision::Denied(Denial::UnusableKey));
    let table = routes(&["up/=>a-longer-prefix/:verbatim"]).expect("valid");
    let long = format!("up/{}", "x".repeat(KEY_BYTES_MAX - 3));
    assert_eq!(table.decide(&long), Decision::Denied(Denial::UnusableKey));
}

#[test]
fn tables_that_contradict_themselves_are_refused() {
    assert_eq!(
        routes(&["a=>b:verbatim", "a:denied"]).err(),
        Some(InvalidRoute::Duplicate("a".into()))
    );
    assert_eq!(routes(&[]).err(), Some(InvalidRoute::Empty));
    for colliding in [
        ["a/=>x/:verbatim", "b/=>x/:verbatim"],
        ["=>:verbatim", "eu/=>eu2/:verbatim"],
        ["eu/=>x/y/:verbatim", "cn/=>x/:verbatim"],
    ] {
        assert!(
            matches!(routes(&colliding), Err(InvalidRoute::Collision(..))),
            "{colliding:?}"
        );
    }
    assert!(
        routes(&["=>:verbatim", "a/=>a/:verbatim"]).is_ok(),
        "both write a key to itself"
    );
}

#[test]
fn only_routes_that_can_be_kept_are_read() {
    for text in [
        "a/=>b/:redacted",
        "=>:verbatim",
        "a:b=>c:d:verbatim",
        "a:denied",
        ":denied",
    ] {
        assert_eq!(route(text).to_string(), text);
    }
    for text in [
        "",
        "a",
        "a=>b",
        "a=>b:",
        "a=>b:copy",
        "a:verbatim",
        "a=>b:denied",
        "a:redacted",
    ] {
        assert_eq!(text.parse::<Route>(), Err(InvalidRoute::Syntax(text.into())));
    }
}

proptest! {
    #[test]
    fn two_keys_never_share_a_destination(
        prefixes in prop::collection::vec(("[ab/]{0,3}", "[ab/]{0,3}"), 1..4),
        one in "[ab/]{1,6}",
        two in "[ab/]{1,6}",
    ) {
        let declared = prefixes.iter().map(|(source, destination)| route(&format!("{source}=>{destination}:verbatim")));
        if let Ok(table) = Routes::new(declared.collect(), Partition::AwsCn, Partition::Aws)
            && let (Decision::Copy { destination_key: a, .. }, Decision::Copy { destination_key: b, .. }) =
                (table.decide(&one), table.decide(&two))
        {
            prop_assert_eq!(a == b, one == two);
        }
    }

    #[test]
    fn reading_a_route_never_panics(text in ".*") {
        let _ = text.parse::<Route>();
    }
}
