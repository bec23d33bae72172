//! Who may send what: the clients, their partners, and keyed hashes of their secrets.
//!
//! Secrets are 256 random bits and are never stored. What is stored is HMAC-SHA256 of key and secret
//! under a hash key that is kept elsewhere, so that the file alone proves nothing to anyone. A
//! client may have two secrets, so that one can be replaced while the other works.

mod file;

use std::{
    collections::HashMap,
    fmt, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use event_model::{EventType, Producer, Schema};
use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use subtle::{Choice, ConstantTimeEq};

pub use self::file::{ChangeError, Keep, NewClient, Store, create_hash_key};
use crate::{quota::Quota, reload::Source};

/// How many secrets of one client work at the same time.
pub const MAX_SECRETS: usize = 2;

/// The longest partner, client and key, in characters.
const MAX_NAME: usize = 64;

type Hash = [u8; 32];

/// The key under which secrets are hashed: at least 32 bytes.
#[derive(Clone)]
pub struct HashKey(Arc<[u8]>);

impl HashKey {
    /// Takes the key as hexadecimal digits, as it stands in its file.
    ///
    /// # Errors
    /// When it is not hexadecimal, or shorter than 32 bytes.
    pub fn from_hex(text: &str) -> Result<Self, CredentialsError> {
        match from_hex(text.trim()) {
            Some(key) if key.len() >= 32 => Ok(Self(key.into())),
            _ => Err(CredentialsError::HashKey),
        }
    }

    /// Reads the key from its file.
    ///
    /// # Errors
    /// When there is no such file, or no such key in it.
    pub fn read(file: &Path) -> Result<Self, CredentialsError> {
        Self::from_hex(&read(file)?)
    }

    /// A new random key, and the text to put in its file.
    #[must_use]
    pub fn generate() -> (Self, String) {
        let key: Hash = rand::random();
        (Self(key.as_slice().into()), to_hex(&key))
    }

    /// The hash binds secret to key: a hash that is copied to another client proves nothing there.
    fn hash(&self, key: &str, secret: &str) -> Hash {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes any key length");
        mac.update(&(key.len() as u64).to_be_bytes());
        mac.update(key.as_bytes());
        mac.update(secret.as_bytes());
        mac.finalize().into_bytes().into()
    }
}

impl fmt::Debug for HashKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HashKey(…)")
    }
}

/// The credentials file: JSON, of this shape.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct CredentialsFile {
    /// Every client.
    pub clients: Vec<ClientEntry>,
    /// Partners with a quota of their own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub partners: Vec<PartnerEntry>,
}

/// What a partner has of its own, beside its clients.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct PartnerEntry {
    /// The partner that clients name.
    pub partner: String,
    /// How many events all of its clients together may send, in place of `--partner-quota`.
    pub quota: Quota,
}

impl CredentialsFile {
    fn read(path: &Path) -> Result<Self, CredentialsError> {
        serde_json::from_str(&read(path)?).map_err(|error| CredentialsError::Shape {
            line: error.line(),
            column: error.column(),
        })
    }
}

/// One client in the credentials file.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ClientEntry {
    /// The public half of the credential.
    pub key: String,
    /// What its events carry as `clientid`.
    pub clientid: String,
    /// What its events carry as `partnerid`.
    pub partner: String,
    /// What kind of client it is; the schemas say which kinds may send which type.
    pub kind: Producer,
    /// The event types it may send, or `["*"]` for all that its kind may.
    pub allow: Vec<String>,
    /// How many events it may send, in place of `--client-quota`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quota: Option<Quota>,
    /// Up to two keyed hashes, in hexadecimal, the oldest first.
    pub secrets: Vec<String>,
}

/// A credential that was just made. The secret is nowhere else: show it once.
pub struct NewCredential {
    /// What goes into the credentials file.
    pub entry: ClientEntry,
    /// The secret half, for the client alone.
    pub secret: String,
}

impl fmt::Debug for NewCredential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewCredential")
            .field("key", &self.entry.key)
            .finish_non_exhaustive()
    }
}

/// Makes a client with a random key and a random 256-bit secret.
#[must_use]
pub fn issue(
    hash_key: &HashKey,
    clientid: &str,
    partner: &str,
    kind: Producer,
    allow: &[&str],
) -> NewCredential {
    let key = to_hex(&rand::random::<[u8; 10]>());
    let (secret, hash) = new_secret(hash_key, &key);
    let entry = ClientEntry {
        secrets: vec![hash],
        key,
        clientid: clientid.to_owned(),
        partner: partner.to_owned(),
        kind,
        allow: allow.iter().map(|allowed| (*allowed).to_owned()).collect(),
        quota: None,
    };
    NewCredential { entry, secret }
}

/// A random 256-bit secret for the client of this key, and what is stored of it.
fn new_secret(hash_key: &HashKey, key: &str) -> (String, String) {
    let secret = BASE64_URL_SAFE_NO_PAD.encode(rand::random::<Hash>());
    let hash = to_hex(&hash_key.hash(key, &secret));
    (secret, hash)
}

/// What is wrong with the credentials.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// A file could not be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// The hash key is unusable.
    #[error("the hash key must be at least 64 hexadecimal digits (32 bytes)")]
    HashKey,
    /// The file is not of the shape it must have.
    #[error("the credentials file is not valid at line {line}, column {column}")]
    Shape {
        /// The line, from 1.
        line: usize,
        /// The column, from 1.
        column: usize,
    },
    /// A client in the file cannot be used.
    #[error("client {index} of the credentials file: {problem}")]
    Client {
        /// Which, counted from 0.
        index: usize,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// A partner in the file cannot be used.
    #[error("partner {index} of the credentials file: {problem}")]
    Partner {
        /// Which, counted from 0.
        index: usize,
        /// What is wrong with it.
        problem: &'static str,
    },
}

/// One client, as requests meet it.
#[derive(Debug)]
pub struct Client {
    client_id: String,
    partner_id: Arc<str>,
    /// `PARTNER/CLIENT`; neither holds a slash.
    name: Arc<str>,
    quota: Option<Quota>,
    partner_quota: Option<Quota>,
    kind: Producer,
    allow: Allow,
    hashes: [Hash; MAX_SECRETS],
}

#[derive(Debug)]
enum Allow {
    All,
    Types(Vec<EventType>),
}

impl Client {
    /// What its events carry as `clientid`.
    #[must_use]
    pub fn client_id(&self) -> &str {
        &self.client_id
    }

    /// What its events carry as `partnerid`.
    #[must_use]
    pub fn partner_id(&self) -> &str {
        &self.partner_id
    }

    /// What it is known by inside the service: its partner and its own id.
    pub(crate) fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// That name for what an event carries as `partnerid` and `clientid`.
    pub(crate) fn name_of(partner_id: &str, client_id: &str) -> String {
        format!("{partner_id}/{client_id}")
    }

    /// What its partner is known by inside the service.
    pub(crate) fn partner_name(&self) -> &Arc<str> {
        &self.partner_id
    }

    pub(crate) fn kind(&self) -> Producer {
        self.kind
    }

    /// Its own quota, if it has one.
    pub(crate) fn quota(&self) -> Option<Quota> {
        self.quota
    }

    /// Its partner's own quota, if that has one.
    pub(crate) fn partner_quota(&self) -> Option<Quota> {
        self.partner_quota
    }

    /// Whether it may send events of this schema: its credential and its kind must both allow it.
    #[must_use]
    pub fn may_send(&self, schema: &Schema) -> bool {
        let by_credential = match &self.allow {
            Allow::All => true,
            Allow::Types(types) => types.contains(schema.event_type()),
        };
        by_credential && schema.producers().contains(&self.kind)
    }
}

/// Every client, ready to be found.
#[derive(Debug)]
pub struct Credentials {
    hash_key: HashKey,
    clients: HashMap<String, Client>,
    /// Compared with when the key is unknown, so that an unknown key costs what a wrong secret does.
    nobody: [Hash; MAX_SECRETS],
}

impl Credentials {
    /// Reads the credentials file.
    ///
    /// # Errors
    /// What is wrong with it, without any of its content.
    pub fn read(file: &Path, hash_key: HashKey) -> Result<Self, CredentialsError> {
        Self::new(hash_key, CredentialsFile::read(file)?)
    }

    /// Checks every client.
    ///
    /// # Errors
    /// The first client that cannot be used, and why.
    pub fn new(hash_key: HashKey, file: CredentialsFile) -> Result<Self, CredentialsError> {
        Ok(Self {
            hash_key,
            clients: check_all(file)?,
            nobody: [rand::random(), rand::random()],
        })
    }

    /// The client that key and secret prove. The same work is done whether the key is unknown or the
    /// secret wrong, and hashes are compared in constant time.
    #[must_use]
    pub fn find(&self, key: &str, secret: &str) -> Option<&Client> {
        let hash = self.hash_key.hash(key, secret);
        let client = self.clients.get(key);
        let expected = client.map_or(&self.nobody, |client| &client.hashes);
        let matches = expected.iter().fold(Choice::from(0), |matches, expected| {
            matches | expected.ct_eq(&hash)
        });
        client.filter(|_| bool::from(matches))
    }
}

/// The two files that credentials come from.
#[derive(Clone, Debug)]
pub struct CredentialsFiles {
    /// The clients and the keyed hashes of their secrets.
    pub clients: PathBuf,
    /// The key that secrets are hashed under.
    pub hash_key: PathBuf,
}

impl Source for CredentialsFiles {
    const WHAT: &'static str = "credentials";
    type Value = Credentials;
    type Error = CredentialsError;

    fn files(&self) -> Vec<PathBuf> {
        vec![self.clients.clone(), self.hash_key.clone()]
    }

    fn read(&self) -> Result<Credentials, CredentialsError> {
        Credentials::read(&self.clients, HashKey::read(&self.hash_key)?)
    }
}

fn check_all(file: CredentialsFile) -> Result<HashMap<String, Client>, CredentialsError> {
    let quotas = partner_quotas(file.partners)?;
    let mut clients = HashMap::with_capacity(file.clients.len());
    for (index, entry) in file.clients.into_iter().enumerate() {
        let fault = |problem| CredentialsError::Client { index, problem };
        let key = entry.key.clone();
        let partner_quota = quotas.get(&entry.partner).copied();
        let client = check(entry, partner_quota).map_err(fault)?;
        if clients.insert(key, client).is_some() {
            return Err(fault("its key is another client's"));
        }
    }
    Ok(clients)
}

fn partner_quotas(entries: Vec<PartnerEntry>) -> Result<HashMap<String, Quota>, CredentialsError> {
    let mut quotas = HashMap::with_capacity(entries.len());
    for (index, entry) in entries.into_iter().enumerate() {
        let fault = |problem| CredentialsError::Partner { index, problem };
        if !is_name(&entry.partner) {
            return Err(fault("its name must be 1 to 64 letters, digits, '-', '_' or '.'"));
        }
        if quotas.insert(entry.partner, entry.quota).is_some() {
            return Err(fault("it is there twice"));
        }
    }
    Ok(quotas)
}

fn is_name(text: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    (1..=MAX_NAME).contains(&text.len()) && text.bytes().all(word)
}

fn check(entry: ClientEntry, partner_quota: Option<Quota>) -> Result<Client, &'static str> {
    if ![&entry.key, &entry.clientid, &entry.partner]
        .into_iter()
        .all(|name| is_name(name))
    {
        return Err("key, clientid and partner must be 1 to 64 letters, digits, '-', '_' or '.'");
    }
    if entry.secrets.is_empty() || entry.secrets.len() > MAX_SECRETS {
        return Err("it must have one or two secrets");
    }
    // A client with one secret gets a second hash that nothing can match.
    let mut hashes: [Hash; MAX_SECRETS] = [rand::random(), rand::random()];
    for (hash, secret) in hashes.iter_mut().zip(&entry.secrets) {
        *hash = from_hex(secret)
            .and_then(|bytes| bytes.try_into().ok())
            .ok_or("a secret must be the 64 hexadecimal digits of a keyed hash")?;
    }
    Ok(Client {
        allow: allow(&entry.allow)?,
        name: Client::name_of(&entry.partner, &entry.clientid).into(),
        client_id: entry.clientid,
        partner_id: entry.partner.into(),
        quota: entry.quota,
        partner_quota,
        kind: entry.kind,
        hashes,
    })
}

fn allow(types: &[String]) -> Result<Allow, &'static str> {
    if types == ["*"] {
        return Ok(Allow::All);
    }
    let types: Result<Vec<EventType>, _> = types.iter().map(|name| name.parse()).collect();
    match types {
        Ok(types) if !types.is_empty() => Ok(Allow::Types(types)),
        _ => Err("allow must list event types, or be [\"*\"]"),
    }
}

fn read(path: &Path) -> Result<String, CredentialsError> {
    std::fs::read_to_string(path).map_err(|source| CredentialsError::Read {
        path: path.display().to_string(),
        source,
    })
}

fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).ok())
        .collect()
}

#[cfg(test)]
#[path = "credentials/tests.rs"]
pub(crate) mod tests;
