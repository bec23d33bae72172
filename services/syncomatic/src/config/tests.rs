use std::io::Write;

use tempfile::NamedTempFile;

use service_runtime::settings::Settings as _;

use super::*;

const COMPLETE: [&str; 12] = [
    "--source-region=cn-north-1",
    "--source-bucket=events-cn",
    "--source-queue=new-objects",
    "--source-profile=china",
    "--destination-region=eu-west-1",
    "--destination-bucket=events-eu",
    "--destination-profile=europe",
    "--admin-listen=127.0.0.1:0",
    "--concurrency=8",
    "--memory-bytes=8MiB",
    "--visibility-timeout=30s",
    "--tries=3",
];

/// The complete settings with each of `changes` in the place of the setting it names, or added.
fn validate(changes: &[&str]) -> Result<Config, InvalidSetting> {
    let name = |setting: &str| setting.split('=').next().map(str::to_owned);
    let kept = COMPLETE
        .iter()
        .filter(|setting| !changes.iter().any(|change| name(change) == name(setting)));
    let changes = changes.iter().filter(|change| change.contains('='));
    let arguments = ["syncomatic"].iter().chain(kept).chain(changes);
    Settings::try_parse_from(arguments)
        .expect("well-formed settings")
        .validate()
}

fn refusal(changes: &[&str]) -> String {
    validate(changes).expect_err("a refusal").to_string()
}

#[test]
fn complete_settings_become_two_sides_and_one_route() {
    let config = validate(&["--source-prefix=logs/", "--destination-prefix=cn/logs/"]).expect("valid");
    assert_eq!(
        (config.source.partition, config.destination.partition),
        (Partition::AwsCn, Partition::Aws)
    );
    assert_eq!(config.source.endpoint.profile.as_deref(), Some("china"));
    assert_eq!(config.destination.endpoint.profile.as_deref(), Some("europe"));
    assert_eq!(config.queue, Queue::Name("new-objects".into()));
    assert_eq!((config.limits.concurrency, config.limits.tries), (8, 3));
    let destination_key = "cn/logs/1".to_owned();
    let treatment = crate::policy::Treatment::Verbatim;
    assert_eq!(
        config.routes.decide("logs/1"),
        crate::policy::Decision::Copy {
            destination_key,
            treatment
        }
    );
}

#[test]
fn from_the_european_side_to_china_nothing_starts() {
    let reversed = ["--source-region=eu-west-1", "--destination-region=cn-north-1"];
    let text = refusal(&reversed);
    assert!(
        text.contains("--route") && text.contains("from aws to aws-cn"),
        "{text}"
    );
    let mut file = NamedTempFile::new().expect("a temporary file");
    writeln!(file, "{}", "0b".repeat(32)).expect("written");
    let key = format!("--hash-key-file={}", file.path().display());
    let redacted = [
        reversed.as_slice(),
        &["--route=events/=>events/:redacted", "--memory-bytes=64MiB", &key],
    ]
    .concat();
    assert!(validate(&redacted).is_ok_and(|config| config.redacted.is_some()));
}

#[test]
fn a_redacted_route_needs_a_key_and_room_and_keeps_its_quarantine() {
    let mut file = NamedTempFile::new().expect("a temporary file");
    writeln!(file, "{}", "0b".repeat(32)).expect("written");
    let key = format!("--hash-key-file={}", file.path().display());
    let complete = ["--route==>:redacted", "--memory-bytes=64MiB", &key];
    let config = validate(&complete).expect("valid");
    let redacted = config.redacted.expect("a redacted route");
    assert_eq!(redacted.quarantine_bucket, "events-cn");
    let own = crate::policy::Decision::Denied(crate::policy::Denial::Own);
    assert_eq!(config.routes.decide("_quarantine/x"), own);
    assert!(validate(&[]).expect("valid").redacted.is_none());

    let elsewhere = validate(&[complete.as_slice(), &["--quarantine-bucket=kept"]].concat()).expect("valid");
    assert_ne!(
        elsewhere.routes.decide("_quarantine/x"),
        own,
        "that bucket notifies nobody here"
    );

    for (changes, expected) in [
        (vec![complete[0], complete[1]], "--hash-key-file"),
        (
            vec![complete[0], complete[1], "--hash-key-file=/nowhere"],
            "--hash-key-file",
        ),
        (vec![complete[0], complete[2]], "--memory-bytes"),
        (
            [complete.as_slice(), &["--hash-key-name=K 1"]].concat(),
            "--hash-key-name",
        ),
        (
            [complete.as_slice(), &["--schemas-folder=/nowhere"]].concat(),
            "--schemas-folder",
        ),
        (
            [complete.as_slice(), &["--line-max-bytes=2MiB"]].concat(),
            "--line-max-bytes",
        ),
        (
            [complete.as_slice(), &["--quarantine-prefix="]].concat(),
            "--quarantine-prefix",
        ),
        (
            vec!["--route=_quarantine/a=>a:redacted", complete[1], complete[2]],
            "--route",
        ),
    ] {
        let text = refusal(&changes);
        assert!(text.starts_with(&format!("{expected}:")), "{changes:?}: {text}");
    }
}

#[test]
fn a_ledger_has_a_side_and_keeps_what_can_be_guessed_on_the_source_s() {
    let config = validate(&[
        "--ledger-bucket=events-cn",
        "--ledger-side=source",
        "--ledger-instance=a",
    ]);
    let config = config.expect("valid");
    assert_eq!(config.ledger.expect("a ledger").instance, "a");
    let own = crate::policy::Decision::Denied(crate::policy::Denial::Own);
    assert_eq!(config.routes.decide("_ledger/x"), own);
    assert!(validate(&[]).expect("valid").ledger.is_none());
    let both = ["--ledger-bucket=b", "--ledger-side=source"];
    for (changes, expected) in [
        (
            vec!["--ledger-bucket=b", "--ledger-side=destination"],
            "--hash-key-file",
        ),
        (
            [both.as_slice(), &["--ledger-instance=a/b"]].concat(),
            "--ledger-instance",
        ),
        (
            [both.as_slice(), &["--ledger-prefix="]].concat(),
            "--ledger-prefix",
        ),
        (
            [both.as_slice(), &["--ledger-linger=6s"]].concat(),
            "--ledger-linger",
        ),
    ] {
        let text = refusal(&changes);
        assert!(text.starts_with(&format!("{expected}:")), "{changes:?}: {text}");
    }
}

#[test]
fn each_side_has_its_own_credentials() {
    let text = refusal(&["--destination-profile"]);
    assert!(
        text.contains("--destination-profile") && text.contains("either a profile or"),
        "{text}"
    );

    let mut file = NamedTempFile::new().expect("a temporary file");
    writeln!(file, "a-secret").expect("written");
    let secret_file = format!("--source-secret-access-key-file={}", file.path().display());
    let config = validate(&["--source-profile", "--source-access-key-id=id", &secret_file]).expect("valid");
    let credentials = config
        .source
        .endpoint
        .credentials
        .clone()
        .expect("static credentials");
    assert_eq!(
        (credentials.access_key_id(), credentials.secret_access_key()),
        ("id", "a-secret")
    );
    assert!(
        !format!("{config:?}").contains("a-secret"),
        "Debug must not show the secret"
    );

    let both = refusal(&["--source-access-key-id=id", &secret_file]);
    assert!(both.contains("--source-profile"), "{both}");
    let missing = refusal(&[
        "--source-profile",
        "--source-access-key-id=id",
        "--source-secret-access-key-file=/nowhere",
    ]);
    assert!(missing.contains("cannot read /nowhere"), "{missing}");
}

#[test]
fn what_contradicts_itself_is_named() {
    for (changes, expected) in [
        (vec!["--source-region=china"], "--source-region"),
        (vec!["--destination-region=us-iso-east-1"], "--destination-region"),
        (
            vec!["--source-dead-letter-queue=new-objects"],
            "--source-dead-letter-queue",
        ),
        (vec!["--source-bucket="], "--source-bucket"),
        (
            vec![
                "--destination-region=cn-north-1",
                "--destination-bucket=events-cn",
            ],
            "--destination-bucket",
        ),
        (vec!["--concurrency=0"], "--concurrency"),
        (vec!["--memory-bytes=1000"], "--memory-bytes"),
        (vec!["--visibility-timeout=1s"], "--visibility-timeout"),
        (vec!["--visibility-timeout=2500ms"], "--visibility-timeout"),
        (vec!["--visibility-timeout=13h"], "--visibility-timeout"),
        (vec!["--progress-deadline=1ms"], "--progress-deadline"),
        (vec!["--tries=0"], "--tries"),
        (vec!["--route=a"], "--route"),
        (vec!["--route=a=>b:verbatim", "--route=a:denied"], "--route"),
    ] {
        let text = refusal(&changes);
        assert!(text.starts_with(&format!("{expected}:")), "{changes:?}: {text}");
    }
}

#[test]
fn routes_can_be_listed_in_one_variable() {
    let config = validate(&["--route=events/=>events/:verbatim,_hoard/:denied"]).expect("valid");
    let denied = crate::policy::Decision::Denied(crate::policy::Denial::Declared);
    assert_eq!(config.routes.decide("_hoard/state"), denied);
}
