use super::*;

pub(crate) const KEY: &str = "9a41c0ffee0011223344";
pub(crate) const SECRET: &str = "a-secret-of-the-tests";

fn hash_key() -> HashKey {
    HashKey::from_hex(&"5c".repeat(32)).expect("32 bytes")
}

fn entry() -> ClientEntry {
    ClientEntry {
        key: KEY.to_owned(),
        clientid: "northwind-app".to_owned(),
        partner: "northwind".to_owned(),
        kind: Producer::App,
        allow: vec!["play".to_owned(), "tokenrequest".to_owned()],
        quota: None,
        secrets: vec![to_hex(&hash_key().hash(KEY, SECRET))],
    }
}

/// A file with these clients and nothing else.
fn file(clients: Vec<ClientEntry>) -> CredentialsFile {
    CredentialsFile {
        clients,
        ..CredentialsFile::default()
    }
}

/// A client of the partner `northwind`.
pub(crate) fn client(name: &str, quota: Option<Quota>, partner_quota: Option<Quota>) -> Client {
    let entry = ClientEntry {
        clientid: name.to_owned(),
        quota,
        ..entry()
    };
    check(entry, partner_quota).expect("usable")
}

pub(crate) fn credentials() -> Credentials {
    Credentials::new(hash_key(), file(vec![entry()])).expect("usable")
}

#[test]
fn an_issued_credential_is_found_and_its_secret_is_not_stored() {
    let (hash_key, text) = HashKey::generate();
    let issued = issue(&hash_key, "northwind-app", "northwind", Producer::App, &["*"]);
    let file = file(vec![issued.entry.clone()]);
    let stored = serde_json::to_string(&file).expect("JSON");
    assert!(!stored.contains(&issued.secret));
    assert!(!format!("{issued:?}").contains(&issued.secret));

    let reread = HashKey::from_hex(&text).expect("its own text");
    let credentials = Credentials::new(reread, file).expect("usable");
    let client = credentials
        .find(&issued.entry.key, &issued.secret)
        .expect("known");
    assert_eq!(
        (client.client_id(), client.partner_id()),
        ("northwind-app", "northwind")
    );
    assert!(credentials.find(&issued.entry.key, "other").is_none());
}

#[test]
fn either_of_two_secrets_works_until_it_is_taken_out() {
    let mut rotating = entry();
    rotating.secrets.push(to_hex(&hash_key().hash(KEY, "the-next")));
    let both = file(vec![rotating.clone()]);
    let both = Credentials::new(hash_key(), both).expect("usable");
    assert!(both.find(KEY, SECRET).is_some() && both.find(KEY, "the-next").is_some());

    rotating.secrets.remove(0);
    let one = file(vec![rotating]);
    let after = Credentials::new(hash_key(), one).expect("usable");
    assert!(after.find(KEY, SECRET).is_none() && after.find(KEY, "the-next").is_some());
}

#[test]
fn a_hash_copied_to_another_key_proves_nothing() {
    let mut thief = entry();
    thief.key = "thief".to_owned();
    let file = file(vec![entry(), thief]);
    let credentials = Credentials::new(hash_key(), file).expect("usable");
    assert!(credentials.find("thief", SECRET).is_none());
}

#[test]
fn both_the_credential_and_the_kind_must_allow_a_type() {
    let catalogue = event_model::Catalogue::bundled().expect("the bundled catalogue");
    let credentials = credentials();
    let client = credentials.find(KEY, SECRET).expect("known");
    let may_send = |event_type| client.may_send(catalogue.latest(event_type).expect("a bundled type"));
    assert!(may_send("play"));
    assert!(!may_send("navigation"), "the credential does not allow it");
    assert!(!may_send("tokenrequest"), "only the platform sends it");
}

#[test]
fn clients_that_cannot_be_used_are_named_by_their_place() {
    type Change = fn(&mut ClientEntry);
    let cases: [(&str, Change); 9] = [
        ("1 to 64 letters", |entry| entry.key = String::new()),
        ("1 to 64 letters", |entry| entry.key = "a:b".to_owned()),
        ("1 to 64 letters", |entry| entry.partner = "x".repeat(65)),
        ("one or two secrets", |entry| entry.secrets.clear()),
        ("one or two secrets", |entry| {
            entry.secrets = vec!["00".repeat(32); 3];
        }),
        ("64 hexadecimal digits", |entry| {
            entry.secrets = vec!["plain-secret".to_owned()];
        }),
        ("allow must list", |entry| entry.allow.clear()),
        ("allow must list", |entry| entry.allow = vec!["Play".to_owned()]),
        ("another client's", |_| ()),
    ];
    for (expected, change) in cases {
        let mut changed = entry();
        change(&mut changed);
        let file = file(vec![entry(), changed]);
        let error = Credentials::new(hash_key(), file)
            .expect_err(expected)
            .to_string();
        assert!(error.starts_with("client 1 of the credentials file: "), "{error}");
        assert!(error.contains(expected), "{error}");
        assert!(!error.contains("plain-secret"), "{error}");
    }
}

#[test]
fn files_that_cannot_be_read_are_named_without_their_content() {
    let folder = tempfile::tempdir().expect("a folder");
    let (path, key) = (
        folder.path().join("credentials.json"),
        folder.path().join("hash-key"),
    );
    let read = || Credentials::read(&path, HashKey::read(&key)?);
    let problem = || read().expect_err("unusable").to_string();

    assert!(problem().contains("hash-key"), "{}", problem());
    std::fs::write(&key, "canary").expect("written");
    assert_eq!(
        problem(),
        "the hash key must be at least 64 hexadecimal digits (32 bytes)"
    );
    std::fs::write(&key, format!("{}\n", "5c".repeat(32))).expect("written");
    assert!(problem().contains("credentials.json"), "{}", problem());
    std::fs::write(&path, "{\n\"clients\": [{\"secret\": \"canary\"}]}").expect("written");
    assert!(
        problem().contains("line 2") && !problem().contains("canary"),
        "{}",
        problem()
    );
    std::fs::write(&path, serde_json::json!({"clients": [entry()]}).to_string()).expect("written");
    read().expect("usable");
}

#[test]
fn quotas_of_clients_and_partners_come_from_the_file() {
    let read = |partners: &str, quota: &str| {
        let mut client = serde_json::to_value(entry()).expect("JSON");
        if !quota.is_empty() {
            client["quota"] = quota.into();
        }
        let partners: serde_json::Value = serde_json::from_str(partners).expect("JSON");
        let text = serde_json::json!({"clients": [client], "partners": partners}).to_string();
        let file = serde_json::from_str(&text).map_err(|error| error.to_string())?;
        Credentials::new(hash_key(), file).map_err(|error| error.to_string())
    };
    let credentials = read(r#"[{"partner": "northwind", "quota": "500:1000"}]"#, "50").expect("usable");
    let client = credentials.find(KEY, SECRET).expect("known");
    let shown = |quota: Option<Quota>| quota.map(|quota| quota.to_string());
    assert_eq!(shown(client.quota()).as_deref(), Some("50:50"));
    assert_eq!(shown(client.partner_quota()).as_deref(), Some("500:1000"));
    let credentials = read(r#"[{"partner": "other", "quota": "5"}]"#, "").expect("usable");
    let client = credentials.find(KEY, SECRET).expect("known");
    assert_eq!((client.quota(), client.partner_quota()), (None, None));
    for (partners, quota, problem) in [
        ("[]", "0", "RATE"),
        (r#"[{"partner": "a b", "quota": "5"}]"#, "", "partner 0"),
        (
            r#"[{"partner": "a", "quota": "5"}, {"partner": "a", "quota": "5"}]"#,
            "",
            "partner 1",
        ),
        (r#"[{"partner": "a"}]"#, "", "quota"),
    ] {
        let error = read(partners, quota).expect_err(partners);
        assert!(error.contains(problem), "{error}");
    }
}
