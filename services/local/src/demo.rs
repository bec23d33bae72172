//! The demo clients: made once per data folder, with secrets that are good for nothing else.
//!
//! `events` gets what it would have in production: a credentials file with keyed hashes, and the hash
//! key in a file of its own. Beside them, and only because this is a development machine, lie the
//! secrets in the clear, so that a restart can print the same curl.

use std::fmt::Display;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use event_model::Producer;
use events::credentials::{CredentialsFile, HashKey, issue};
use serde::{Deserialize, Serialize};

/// The clients of the bundled sample.
const CLIENTS: &str = include_str!("../sample/clients.json");
/// The client that the printed curl uses.
const CURL_CLIENT: &str = "northwind-speaker";

/// What is known of a demo client before it has a credential.
#[derive(Debug, Deserialize)]
struct Described {
    name: String,
    partner: String,
    kind: Producer,
    allow: Vec<String>,
}

/// A demo client with its credential.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct DemoClient {
    /// What the sample calls it, and its events' `clientid`.
    pub name: String,
    /// Its events' `partnerid`.
    pub partner: String,
    /// For the `Authorization` header: the user.
    pub key: String,
    /// For the `Authorization` header: the password.
    pub secret: String,
}

/// Every demo client, and where `events` finds their credentials.
#[derive(Clone, Debug)]
pub struct DemoClients {
    /// With keyed hashes.
    pub credentials_file: PathBuf,
    /// The key of those hashes.
    pub hash_key_file: PathBuf,
    /// With secrets.
    pub clients: Vec<DemoClient>,
}

/// The demo credentials cannot be read or made.
#[derive(Debug, thiserror::Error)]
#[error("cannot use {} for the demo credentials: {source}", path.display())]
pub struct DemoError {
    path: PathBuf,
    source: io::Error,
}

impl DemoClients {
    /// Finds the credentials of an earlier run in the data folder, or makes new ones.
    ///
    /// # Errors
    /// The folder cannot be written, or holds something else under these names.
    pub fn open(data_folder: &Path) -> Result<Self, DemoError> {
        let folder = data_folder.join("credentials");
        let secrets_file = folder.join("demo-secrets.json");
        let unusable = |source| DemoError {
            path: folder.clone(),
            source,
        };
        let mut demo = Self {
            credentials_file: folder.join("clients.json"),
            hash_key_file: folder.join("hash-key"),
            clients: Vec::new(),
        };
        // Written last, so where it is there, the others are.
        demo.clients = match fs::read(&secrets_file) {
            Ok(secrets) => serde_json::from_slice(&secrets).map_err(|error| unusable(error.into()))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                demo.make(&folder, &secrets_file).map_err(unusable)?
            }
            Err(error) => return Err(unusable(error)),
        };
        Ok(demo)
    }

    fn make(&self, folder: &Path, secrets_file: &Path) -> io::Result<Vec<DemoClient>> {
        fs::create_dir_all(folder)?;
        let (hash_key, hash_key_text) = HashKey::generate();
        let mut file = CredentialsFile::default();
        let mut clients = Vec::new();
        let described: Vec<Described> = serde_json::from_str(CLIENTS)?;
        for Described {
            name,
            partner,
            kind,
            allow,
        } in described
        {
            let allow: Vec<&str> = allow.iter().map(String::as_str).collect();
            let credential = issue(&hash_key, &name, &partner, kind, &allow);
            let key = credential.entry.key.clone();
            file.clients.push(credential.entry);
            clients.push(DemoClient {
                name,
                partner,
                key,
                secret: credential.secret,
            });
        }
        write_private(&self.hash_key_file, hash_key_text.as_bytes())?;
        write_private(&self.credentials_file, &serde_json::to_vec_pretty(&file)?)?;
        write_private(secrets_file, &serde_json::to_vec_pretty(&clients)?)?;
        Ok(clients)
    }

    /// The client that the sample calls `name`.
    pub fn named(&self, name: &str) -> Option<&DemoClient> {
        self.clients.iter().find(|client| client.name == name)
    }

    /// A command that sends one event to `events`, host and port.
    pub fn curl(&self, events: impl Display) -> String {
        let client = self.named(CURL_CLIENT).or(self.clients.first());
        let credential = client.map(|client| format!("{}:{}", client.key, client.secret));
        format!(
            "curl -u {} http://{events}/v1/events/play -H 'content-type: application/json' \
             -d '{{\"deviceid\":\"my-speaker\",\"action\":\"play\",\"musicsource\":\"tidal\",\"artist\":\"Me\"}}'",
            credential.unwrap_or_default()
        )
    }
}

/// For the owner alone, and whole or not at all.
pub(crate) fn write_private(path: &Path, content: &[u8]) -> io::Result<()> {
    let unfinished = path.with_extension("unfinished");
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&unfinished)?
        .write_all(content)?;
    fs::rename(unfinished, path)
}
