use std::time::Duration;

use event_model::{EnvelopeError, SchemaError};
use serde_json::{Value, json};

use super::*;
use crate::{refusal::Scope, submission::Durability};

fn id() -> EventId {
    "0192f0c1-7a3e-7c54-9f0e-3b6d5a2c0001".parse().expect("a UUID")
}

fn rejected(reason: Rejection) -> Outcome {
    Outcome::Rejected(Rejected {
        event_id: None,
        event_type: None,
        schema_version: None,
        reason,
    })
}

fn invalid() -> Outcome {
    rejected(Rejection::Invalid(vec![SchemaError {
        pointer: "/action".to_owned(),
        keyword: "enum".to_owned(),
        message: "must be one of [\"play\"]".to_owned(),
    }]))
}

fn parts(result: &Result<Vec<Outcome>, Refusal>) -> (u16, Value, Response) {
    let metrics = Metrics::register(&prometheus::Registry::new()).expect("a new registry");
    let answer = Answer::new(result);
    let body = serde_json::to_value(&answer).expect("JSON");
    let response = answer.respond(&metrics, "/v1/events");
    (response.status().as_u16(), body, response)
}

#[test]
fn the_status_follows_from_the_outcomes() {
    use Outcome::{Duplicate, Published, Retry, Spooled, Valid};
    let again = |durability| Duplicate(id(), durability);
    let forbidden = || rejected(Rejection::Forbidden);
    let large = || rejected(Rejection::TooLarge { limit: 1 });
    let cases = [
        (vec![Published(id())], 200, false),
        (vec![Valid(None), Valid(Some(id()))], 200, false),
        (vec![Published(id()), Spooled(id())], 202, false),
        (vec![Spooled(id())], 202, false),
        (vec![again(Durability::Published)], 200, false),
        (vec![Published(id()), again(Durability::Published)], 200, false),
        (vec![Published(id()), again(Durability::Spooled)], 202, false),
        (vec![again(Durability::Published), Retry(id())], 207, true),
        (vec![again(Durability::Published), invalid()], 207, false),
        (vec![Spooled(id()), Retry(id())], 207, true),
        (vec![Spooled(id()), invalid()], 207, false),
        (vec![Published(id()), invalid()], 207, false),
        (vec![Published(id()), Retry(id())], 207, true),
        (vec![invalid(), Retry(id())], 207, true),
        (vec![invalid()], 422, false),
        (vec![invalid(), forbidden()], 422, false),
        (vec![forbidden(), forbidden()], 403, false),
        (vec![large()], 413, false),
        (vec![large(), forbidden()], 422, false),
        (vec![Retry(id()), Retry(id())], 503, true),
    ];
    for (outcomes, expected, retry_after) in cases {
        let result = Ok(outcomes);
        let (status, body, response) = parts(&result);
        assert_eq!(status, expected, "{result:?}");
        assert_eq!(
            response.headers().contains_key(header::RETRY_AFTER),
            retry_after,
            "{result:?}"
        );
        let media_type = if status < 300 { &JSON } else { &PROBLEM };
        assert_eq!(response.headers().get(header::CONTENT_TYPE), Some(media_type));
        let count = |name: &str| body[name].as_u64().expect("a number");
        let total = body["results"].as_array().expect("results").len() as u64;
        let sum = count("accepted") + count("duplicate") + count("rejected") + count("retry");
        assert_eq!(sum, total);
    }
}

#[test]
fn results_say_what_became_of_each_event_in_order() {
    let result = Ok(vec![
        Outcome::Published(id()),
        invalid(),
        Outcome::Retry(id()),
        Outcome::Duplicate(id(), Durability::Spooled),
        rejected(Rejection::Envelope(EnvelopeError::DeviceIdLength)),
    ]);
    let (_, mut body, _) = parts(&result);
    body.as_object_mut()
        .expect("an object")
        .remove("requestid")
        .expect("a request id");
    assert_eq!(
        body,
        json!({
            "accepted": 1, "duplicate": 1, "rejected": 2, "retry": 1,
            "results": [
                {"index": 0, "eventid": id().to_string(), "status": "accepted", "durability": "published"},
                {"index": 1, "status": "rejected", "code": "invalid", "errors": [
                    {"pointer": "/action", "keyword": "enum", "message": "must be one of [\"play\"]"},
                ]},
                {"index": 2, "eventid": id().to_string(), "status": "retry"},
                {"index": 3, "eventid": id().to_string(), "status": "duplicate", "durability": "spooled"},
                {"index": 4, "status": "rejected", "code": "invalid_envelope", "errors": [
                    {"pointer": "/deviceid", "message": "must be 1 to 256 characters"},
                ]},
            ],
        })
    );
}

#[test]
fn a_wait_is_told_in_whole_seconds_that_are_long_enough() {
    for (wait, seconds) in [(1, "1"), (1_000, "1"), (1_001, "2"), (90_000, "90")] {
        let wait = Duration::from_millis(wait);
        let scope = Scope::Partner;
        for refusal in [
            Refusal::OverQuota { scope, wait },
            Refusal::TooManyFailures { wait },
        ] {
            let (status, _, response) = parts(&Err(refusal));
            assert_eq!(status, 429);
            assert_eq!(response.headers()[header::RETRY_AFTER], seconds);
        }
    }
}

#[test]
fn refusals_are_problems_with_a_code() {
    let cases = [
        (
            Refusal::NotJson {
                offset: 7,
                problem: "x".to_owned(),
            },
            400,
        ),
        (Refusal::WrongShape("x"), 400),
        (Refusal::BodyCutOff, 400),
        (
            Refusal::BadEncoding {
                encoding: "gzip",
                offset: 7,
                problem: "x",
            },
            400,
        ),
        (Refusal::Unauthenticated, 401),
        (Refusal::Forbidden, 403),
        (Refusal::UnknownType, 404),
        (Refusal::BodyTooSlow, 408),
        (Refusal::BodyTooLarge { limit: 1 }, 413),
        (Refusal::TooManyEvents { limit: 1 }, 413),
        (Refusal::MediaType, 415),
        (Refusal::ContentEncoding, 415),
        (Refusal::Overloaded, 503),
        (Refusal::TooMuchInFlight, 503),
    ];
    for (refusal, expected) in cases {
        let code = refusal.code();
        let (status, body, response) = parts(&Err(refusal));
        assert_eq!(status, expected, "{code}");
        assert_eq!(body["status"], expected, "{code}");
        assert_eq!(body["code"], code);
        assert!(body["title"].is_string() && body["detail"].is_string() && body["requestid"].is_string());
        assert_eq!(response.headers().get(header::CONTENT_TYPE), Some(&PROBLEM));
        assert_eq!(
            response.headers().contains_key(header::RETRY_AFTER),
            status == 503
        );
        assert_eq!(
            response.headers().contains_key(header::WWW_AUTHENTICATE),
            status == 401
        );
    }
}
