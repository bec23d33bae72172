use std::{collections::BTreeSet, os::unix::fs::PermissionsExt, thread};

use event_model::Producer;
use tempfile::TempDir;

use super::{super::Credentials, *};

struct Files {
    folder: TempDir,
    hash_key: HashKey,
}

impl Files {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        create_hash_key(&folder.path().join("hash-key")).expect("written");
        let hash_key = HashKey::read(&folder.path().join("hash-key")).expect("its own text");
        Self { folder, hash_key }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("credentials.json")
    }

    fn store(&self) -> Store {
        Store::new(&self.path())
    }

    fn add(&self, clientid: &str) -> Result<NewCredential, ChangeError> {
        let client = NewClient {
            clientid,
            partner: "northwind",
            kind: Producer::App,
            allow: &["play"],
        };
        self.store().add(&self.hash_key, client)
    }

    fn proves(&self, key: &str, secret: &str) -> bool {
        let credentials = Credentials::read(&self.path(), self.hash_key.clone()).expect("usable");
        credentials.find(key, secret).is_some()
    }
}

#[test]
fn a_client_is_added_rotated_retired_and_revoked() {
    let files = Files::new();
    let first = files.add("northwind-app").expect("added");
    let other = files.add("northwind-site").expect("added");
    let key = first.entry.key.as_str();
    assert!(files.proves(key, &first.secret));

    let second = files.store().rotate(&files.hash_key, key).expect("rotated");
    assert!(files.proves(key, &first.secret) && files.proves(key, &second.secret));

    files.store().retire(key, Keep::Newest).expect("retired");
    assert!(!files.proves(key, &first.secret) && files.proves(key, &second.secret));

    let third = files.store().rotate(&files.hash_key, key).expect("rotated");
    files.store().retire(key, Keep::Oldest).expect("given up");
    assert!(files.proves(key, &second.secret) && !files.proves(key, &third.secret));

    files.store().revoke(key).expect("revoked");
    assert!(!files.proves(key, &second.secret));
    assert!(
        files.proves(&other.entry.key, &other.secret),
        "the other client is as it was"
    );
}

#[test]
fn what_cannot_be_done_is_said_and_changes_nothing() {
    let files = Files::new();
    let store = files.store();
    let key = files.add("northwind-app").expect("added").entry.key;
    let before = fs::read(files.path()).expect("a file");
    let problem = |result: Result<(), ChangeError>| result.expect_err("refused").to_string();

    assert!(problem(files.add("northwind-app").map(drop)).contains(&key));
    assert!(problem(files.add("north wind").map(drop)).contains("1 to 64 letters"));
    assert!(problem(store.rotate(&files.hash_key, "nobody").map(drop)).contains("no client"));
    assert!(problem(store.revoke("nobody")).contains("no client"));
    assert!(problem(store.retire(&key, Keep::Newest)).contains("one secret only"));
    assert_eq!(fs::read(files.path()).expect("a file"), before);

    store.rotate(&files.hash_key, &key).expect("rotated");
    let before = fs::read(files.path()).expect("a file");
    let third = problem(store.rotate(&files.hash_key, &key).map(drop));
    assert!(third.contains("events client retire"), "{third}");
    assert_eq!(fs::read(files.path()).expect("a file"), before);

    fs::write(files.path(), "{\"clients\": [").expect("written");
    assert!(problem(files.add("another").map(drop)).contains("line 1"));
    assert_eq!(fs::read(files.path()).expect("a file"), b"{\"clients\": [");
}

#[test]
fn concurrent_changes_do_not_lose_one_another() {
    let files = Files::new();
    let added: BTreeSet<String> = thread::scope(|scope| {
        let adding: Vec<_> = (0..16)
            .map(|number| {
                let files = &files;
                scope.spawn(move || files.add(&format!("client-{number}")).expect("added").entry.key)
            })
            .collect();
        let added = adding.into_iter().map(|thread| thread.join().expect("no panic"));
        added.collect()
    });
    let clients = files.store().clients().expect("usable");
    let stored: BTreeSet<String> = clients.into_iter().map(|entry| entry.key).collect();
    assert_eq!((stored.len(), &stored), (16, &added));
}

#[test]
fn files_are_for_their_owner_alone_and_links_stay_links() {
    let files = Files::new();
    let key = files.add("northwind-app").expect("added").entry.key;
    let link = files.folder.path().join("link.json");
    std::os::unix::fs::symlink(files.path(), &link).expect("a link");
    Store::new(&link).revoke(&key).expect("revoked");
    assert!(fs::symlink_metadata(&link).expect("there").is_symlink());
    assert!(files.store().clients().expect("usable").is_empty());
    for name in ["credentials.json", "hash-key"] {
        let metadata = fs::metadata(files.folder.path().join(name)).expect("there");
        assert_eq!(metadata.permissions().mode() & 0o777, 0o600, "{name}");
    }
}

#[test]
fn a_hash_key_is_never_overwritten() {
    let files = Files::new();
    let path = files.folder.path().join("hash-key");
    let before = fs::read(&path).expect("a file");
    let error = create_hash_key(&path).expect_err("it exists");
    assert!(matches!(error, ChangeError::HashKeyExists { .. }), "{error}");
    assert_eq!(fs::read(&path).expect("a file"), before);
}
