use super::*;
use crate::{
    config::tests::LIMITS,
    credentials::tests::{KEY, SECRET, credentials},
};

const PLAY: &str = r#""eventtype":"play","action":"play","musicsource":"tidal""#;

/// The code of the rejection and the version it was judged by, or `None` for a valid event.
fn verdict(path_type: Option<&str>, json: &str) -> Option<(&'static str, Option<String>)> {
    let catalogue = Catalogue::bundled().expect("the bundled catalogue");
    let credentials = credentials();
    let path_type = path_type.map(|name| name.parse().expect("a type"));
    let rules = Rules {
        catalogue: &catalogue,
        client: credentials.find(KEY, SECRET).expect("known"),
        limits: &LIMITS,
        path_type: path_type.as_ref(),
    };
    let rejected = rules.verdict(json).err()?;
    assert!(!format!("{rejected:?}").contains("canary"), "{rejected:?}");
    Some((
        rejected.reason.code(),
        rejected.schema_version.map(|version| version.to_string()),
    ))
}

#[test]
fn valid_events_pass_with_the_type_in_the_body_or_in_the_path() {
    assert_eq!(verdict(None, &format!("{{{PLAY}}}")), None);
    assert_eq!(verdict(Some("play"), &format!("{{{PLAY}}}")), None);
    assert_eq!(
        verdict(Some("play"), r#"{"action":"play","musicsource":"tidal"}"#),
        None
    );
    assert_eq!(
        verdict(None, &format!("{{{PLAY},\"schemaversion\":\"1-0-0\"}}")),
        None
    );
}

#[test]
fn each_fault_has_its_code() {
    let large = format!("{{{PLAY},\"track\":\"{}\"}}", "x".repeat(LIMITS.event_bytes));
    for (json, code) in [
        (large, "too_large"),
        (format!("{{{PLAY},{PLAY}}}"), "malformed"),
        (format!("{{{PLAY},\"partnerid\":\"canary\"}}"), "malformed"),
        ("\"canary\"".to_owned(), "malformed"),
        (format!("{{{PLAY},\"eventid\":\"canary\"}}"), "invalid_envelope"),
        (r#"{"action":"canary"}"#.to_owned(), "missing_type"),
        (r#"{"eventtype":"canary"}"#.to_owned(), "unknown_type"),
        (
            format!("{{{PLAY},\"schemaversion\":\"9-9-9\"}}"),
            "unknown_version",
        ),
        (
            r#"{"eventtype":"navigation","screen":"canary"}"#.to_owned(),
            "forbidden",
        ),
        (r#"{"eventtype":"play","action":"canary"}"#.to_owned(), "invalid"),
    ] {
        let found = verdict(None, &json).map(|(code, _)| code);
        assert_eq!(found, Some(code), "{}", &json[..json.len().min(80)]);
    }
    let mismatch = verdict(Some("navigation"), &format!("{{{PLAY}}}"));
    assert_eq!(mismatch.map(|(code, _)| code), Some("type_mismatch"));
}

#[test]
fn an_invalid_event_is_told_the_version_it_was_judged_by() {
    let found = verdict(None, r#"{"eventtype":"play","action":"canary"}"#);
    assert_eq!(found, Some(("invalid", Some("1-0-0".to_owned()))));
}
