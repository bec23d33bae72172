use super::*;
use crate::object::SourceObject;

const NOW: i64 = 1_000_000;
const GRACE: i64 = 900;

fn listed(etag: &str, size: u64, age: i64) -> Listed {
    Listed {
        key: "k".to_owned(),
        size,
        etag: etag.to_owned(),
        modified: NOW - age,
        denial: None,
    }
}

fn pair(source: Option<Listed>, destination: Option<Listed>) -> Pair {
    Pair {
        source,
        destination,
        source_as_of: NOW,
        destination_as_of: NOW,
    }
}

fn rules(treatment: Treatment, is_deep: bool) -> Rules {
    Rules {
        treatment,
        is_deep,
        grace_seconds: GRACE,
    }
}

const QUICK: fn() -> Rules = || rules(Treatment::Verbatim, false);

#[test]
fn the_listings_tell_only_what_they_can_know() {
    use ByListing::{Known, Look};
    let equal = Known(State::Equal(Proof::Checksum));
    let old = GRACE + 1;
    let cases = [
        (
            "the same ETag and size",
            Some(listed("e", 5, old)),
            Some(listed("e", 5, old)),
            equal,
        ),
        (
            "another ETag: encryption, parts or other bytes",
            Some(listed("e-2", 5, old)),
            Some(listed("e-3", 5, old)),
            Look,
        ),
        (
            "another size: it may have changed in between",
            Some(listed("e", 5, old)),
            Some(listed("f", 6, old)),
            Look,
        ),
        (
            "the same ETag and another size",
            Some(listed("e", 5, old)),
            Some(listed("e", 6, old)),
            Look,
        ),
        ("overdue", Some(listed("e", 5, old)), None, Known(State::Missing)),
        (
            "as old as the grace",
            Some(listed("e", 5, GRACE)),
            None,
            Known(State::Missing),
        ),
        (
            "on its way",
            Some(listed("e", 5, GRACE - 1)),
            None,
            Known(State::Pending),
        ),
        (
            "at the destination for long",
            None,
            Some(listed("e", 5, old)),
            Known(State::Extra),
        ),
        (
            "its source may be newer than the listing",
            None,
            Some(listed("e", 5, GRACE - 1)),
            Look,
        ),
    ];
    for (what, source, destination, expected) in cases {
        let pair = pair(source, destination);
        assert_eq!(QUICK().by_listing(&pair), expected, "{what}");
        assert_eq!(
            rules(Treatment::Verbatim, true).by_listing(&pair),
            Look,
            "deep: {what}"
        );
    }
    let same = pair(Some(listed("e", 5, old)), Some(listed("e", 5, old)));
    assert_eq!(
        rules(Treatment::Redacted, false).by_listing(&same),
        Look,
        "redacted"
    );
}

/// Whose grace is shorter than clocks may be apart looks before it says that something is missing.
#[test]
fn without_a_grace_what_is_young_is_looked_at() {
    let at_once = Rules {
        grace_seconds: 0,
        ..QUICK()
    };
    let judged = |age| at_once.by_listing(&pair(Some(listed("e", 5, age)), None));
    assert_eq!(judged(0), ByListing::Look);
    assert_eq!(judged(CLOCKS_APART_SECONDS), ByListing::Known(State::Missing));
}

/// The source was listed when the object was old, the destination when it was younger, or the reverse: the
/// earlier listing is the one that tells nothing of it yet.
#[test]
fn the_earlier_listing_counts() {
    for (source_as_of, destination_as_of) in [(NOW, NOW + GRACE), (NOW + GRACE, NOW)] {
        let pair = Pair {
            source_as_of,
            destination_as_of,
            ..pair(Some(listed("e", 5, 10)), None)
        };
        assert_eq!(QUICK().by_listing(&pair), ByListing::Known(State::Pending));
        assert_eq!(age_seconds(pair.source.as_ref().expect("there"), &pair), 10);
    }
}

#[test]
fn what_stays_by_policy_is_no_difference_unless_it_is_there() {
    let denied = Listed {
        denial: Some(Denial::PersonalKey),
        ..listed("e", 5, 10)
    };
    let state = |destination| QUICK().by_listing(&pair(Some(denied.clone()), destination));
    assert_eq!(state(None), ByListing::Known(State::Denied(Denial::PersonalKey)));
    assert_eq!(state(Some(listed("e", 5, 10))), ByListing::Known(State::Extra));
}

fn source(etag: &str) -> SourceObject {
    SourceObject {
        etag: etag.to_owned(),
        version_id: None,
        size: 5,
        crc64_nvme: Some("AAAAAAAAAAA=".to_owned()),
    }
}

fn copy(marker: Option<&str>) -> DestinationObject {
    DestinationObject {
        etag: "d".to_owned(),
        size: 5,
        crc64_nvme: Some("AAAAAAAAAAA=".to_owned()),
        marker: marker.map(str::to_owned),
        output: None,
    }
}

#[test]
fn a_look_tells_why() {
    let verbatim = "1 bucket=b version=- etag=e size=5 crc64nvme=A policy=verbatim";
    let older = "1 bucket=b version=- etag=d size=5 crc64nvme=A policy=verbatim";
    let (redacted, other) = ("1 source=x policy=redacted:01", "1 source=x policy=redacted:02");
    for (difference, expected, found, why) in [
        (Difference::Size, verbatim, Some(verbatim), Why::Size),
        (Difference::Checksum, verbatim, Some(verbatim), Why::Checksum),
        (Difference::Marker, verbatim, None, Why::Unmarked),
        (Difference::Marker, verbatim, Some(older), Why::OtherSource),
        (Difference::Marker, verbatim, Some(redacted), Why::OtherTreatment),
        (Difference::Marker, redacted, Some(verbatim), Why::OtherTreatment),
        (Difference::Marker, redacted, Some(other), Why::OtherRedaction),
        (
            Difference::Marker,
            redacted,
            Some("2 x policy=else"),
            Why::UnknownMarker,
        ),
        (Difference::Marker, verbatim, Some("2"), Why::UnknownMarker),
    ] {
        let looks = (Some(copy(found)), Some(source("e")));
        let pair = pair(Some(listed("e", 5, GRACE)), Some(listed("d", 5, 0)));
        let state = QUICK().by_look(&pair, &looks, Err(difference), expected);
        assert_eq!(state, State::Different(why), "{difference:?} {found:?}");
    }
}

#[test]
fn a_look_tells_what_has_changed_since_the_listing() {
    let missing = Err(Difference::Missing);
    let old = || Some(listed("e", 5, GRACE));
    let look = |source_listed: Option<Listed>, looks: Looks, compared| {
        QUICK().by_look(&pair(source_listed, None), &looks, compared, "m")
    };
    assert_eq!(look(old(), (None, Some(source("e"))), missing), State::Missing);
    assert_eq!(
        look(old(), (None, Some(source("f"))), missing),
        State::Pending,
        "written anew"
    );
    assert_eq!(
        look(None, (Some(copy(None)), Some(source("e"))), missing),
        State::Pending,
        "new"
    );
    assert_eq!(look(old(), (None, None), missing), State::Vanished);
    assert_eq!(look(old(), (Some(copy(None)), None), missing), State::Vanished);
    assert_eq!(look(None, (Some(copy(None)), None), missing), State::Extra);
    assert_eq!(look(None, (None, None), missing), State::Vanished);
    let proved = look(
        old(),
        (Some(copy(None)), Some(source("e"))),
        Ok(Proof::Unattested),
    );
    assert_eq!(proved, State::Equal(Proof::Unattested));
}
