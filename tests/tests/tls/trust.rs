//! Whom programs believe, and that one which believes nobody says so where an operator looks.

use pipeline_tests::Process;
use serde_json::Value;
use tls_front::{Authority, Front};

use crate::{ADDRESS, authority, pipeline};

/// What rustls says of a certificate whose authority is not trusted.
const UNTRUSTED: &str = "invalid peer certificate: UnknownIssuer";
/// And of one that names another host.
const OTHER_NAME: &str = "invalid peer certificate: certificate not valid for name";

/// No program becomes ready, each says why, and each still drains.
async fn none_is_ready(signed_by: &Authority, name: &str, trusted: &Authority, reason: &str) {
    let pipeline = pipeline(signed_by, name, trusted).await;
    let programs = [
        ("stream", pipeline.events_before_ready(&[])),
        ("bucket", pipeline.hoard_before_ready("hoard-0", &[])),
        ("sides", pipeline.syncomatic_before_ready(&[])),
    ];
    for (part, program) in programs {
        program.not_ready(part, reason).await;
        let ended = program.terminate().await;
        assert!(ended.status.success(), "{ended:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn programs_that_do_not_trust_the_authority_say_so_and_are_not_ready() {
    Box::pin(none_is_ready(&authority(), ADDRESS, &authority(), UNTRUSTED)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn programs_that_are_shown_another_hosts_certificate_say_so_and_are_not_ready() {
    let trusted = authority();
    Box::pin(none_is_ready(&trusted, "aws.example", &trusted, OTHER_NAME)).await;
}

/// What `hoard` says of a cluster that it does not connect to, while it archives.
async fn said_of_the_cluster(signed_by: &Authority, name: &str, trusted: &Authority) -> String {
    let pipeline = pipeline_tests::Pipeline::start(crate::PIPELINE).await;
    // Refused before a byte of HTTP, so that any port will do behind it.
    let nobody = ([127, 0, 0, 1], 1).into();
    let front = Front::start(signed_by, name, nobody).await.expect("a free port");
    let url = front.url();
    let ca_file = pipeline.file("search-ca.pem", &trusted.pem());
    let search = [
        ("--elasticsearch-url", url.as_str()),
        ("--elasticsearch-ca-file", &ca_file),
    ];
    let (events, hoard) = tokio::join!(pipeline.events(), pipeline.hoard_with(&search));
    let client = pipeline.client(&events, "northwind-speaker").await;
    let syncomatic = pipeline.syncomatic().await;
    let sent = client.send(100).await;
    let message = "elasticsearch: a request failed and is tried again";
    let failure = hoard.logged(message, "failure").await;
    assert_eq!(failure, "connection");
    let detail = hoard.logged(message, "detail").await;
    pipeline.holds_exactly(&sent).await;
    no_event_is_logged(&hoard);
    for program in [events, hoard, syncomatic] {
        let ended = program.terminate().await;
        assert!(ended.status.success(), "{ended:?}");
    }
    detail
}

fn no_event_is_logged(hoard: &Process) {
    for line in hoard.stdout() {
        let _json: Value = serde_json::from_str(&line).expect("a log line is JSON");
        assert!(!line.contains("tidal"), "{line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_is_not_trusted_is_told_in_the_log_and_the_archive_goes_on() {
    let said = Box::pin(said_of_the_cluster(&authority(), ADDRESS, &authority())).await;
    assert!(said.contains(UNTRUSTED), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_with_another_hosts_certificate_is_told_in_the_log_and_the_archive_goes_on() {
    let trusted = authority();
    let said = Box::pin(said_of_the_cluster(&trusted, "search.example", &trusted)).await;
    assert!(said.contains(OTHER_NAME), "{said}");
}
