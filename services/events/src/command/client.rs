//! `events client …`: partners come, secrets rotate, clients go.

use std::{io::Write, path::PathBuf};

use clap::{Args, Subcommand};
use event_model::Producer;
use serde_json::{Value, json};

use super::Error;
use crate::credentials::{ClientEntry, HashKey, Keep, NewClient, NewCredential, Store, create_hash_key};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Adds a client and shows its key and secret, this once.
    New {
        /// The partner it belongs to; its events carry it as `partnerid`.
        #[arg(long)]
        partner: String,
        /// Its own name; its events carry it as `clientid`.
        #[arg(long)]
        clientid: String,
        /// What kind of client it is: device, app or platform.
        #[arg(long, value_parser = kind)]
        kind: Producer,
        /// The event types it may send, with commas between them, or '*' for all that its kind may.
        #[arg(long, value_delimiter = ',', required = true)]
        allow: Vec<String>,
        #[command(flatten)]
        file: File,
        #[command(flatten)]
        hash_key: HashKeyFile,
        #[command(flatten)]
        format: Format,
    },
    /// Gives a client a second secret and shows it, this once. The first one goes on working.
    Rotate {
        /// The client's key.
        #[arg(long)]
        key: String,
        #[command(flatten)]
        file: File,
        #[command(flatten)]
        hash_key: HashKeyFile,
        #[command(flatten)]
        format: Format,
    },
    /// Takes away one of a client's two secrets.
    Retire {
        /// The client's key.
        #[arg(long)]
        key: String,
        /// Which of the two stays.
        #[arg(long, value_enum)]
        keep: Keep,
        #[command(flatten)]
        file: File,
    },
    /// Takes a client out of the file.
    Revoke {
        /// The client's key.
        #[arg(long)]
        key: String,
        #[command(flatten)]
        file: File,
    },
    /// Lists the clients, without anything of their secrets but how many there are.
    List {
        #[command(flatten)]
        file: File,
        #[command(flatten)]
        format: Format,
    },
    /// Makes the key that secrets are hashed under, once for an installation.
    NewHashKey {
        /// Where to write it; it must not exist.
        #[arg(long)]
        file: PathBuf,
    },
}

#[derive(Args, Debug)]
pub(super) struct File {
    /// File with the clients and the keyed hashes of their secrets.
    #[arg(long, env = "EVENTS_CREDENTIALS_FILE")]
    credentials_file: PathBuf,
}

#[derive(Args, Debug)]
pub(super) struct HashKeyFile {
    /// File with the key that secrets are hashed under.
    #[arg(long, env = "EVENTS_CREDENTIALS_HASH_KEY_FILE")]
    credentials_hash_key_file: PathBuf,
}

#[derive(Args, Debug)]
pub(super) struct Format {
    /// Prints one JSON object.
    #[arg(long)]
    json: bool,
}

impl Command {
    pub(super) fn run(self, out: &mut impl Write) -> Result<(), Error> {
        match self {
            Self::New {
                partner,
                clientid,
                kind,
                allow,
                file,
                hash_key,
                format,
            } => {
                let client = NewClient {
                    clientid: &clientid,
                    partner: &partner,
                    kind,
                    allow: &allow.iter().map(String::as_str).collect::<Vec<_>>(),
                };
                let issued = file.store().add(&hash_key.read()?, client)?;
                show(out, &issued, &format, "revoke the client and add it again")
            }
            Self::Rotate {
                key,
                file,
                hash_key,
                format,
            } => {
                let issued = file.store().rotate(&hash_key.read()?, &key)?;
                show(
                    out,
                    &issued,
                    &format,
                    "retire it with --keep oldest and rotate again",
                )
            }
            Self::Retire { key, keep, file } => {
                file.store().retire(&key, keep)?;
                let kept = match keep {
                    Keep::Newest => "newest",
                    Keep::Oldest => "oldest",
                };
                Ok(writeln!(out, "{key} has only its {kept} secret now")?)
            }
            Self::Revoke { key, file } => {
                file.store().revoke(&key)?;
                Ok(writeln!(out, "{key} is revoked")?)
            }
            Self::List { file, format } => list(out, &file.store().clients()?, &format),
            Self::NewHashKey { file } => {
                create_hash_key(&file)?;
                Ok(writeln!(
                    out,
                    "{} holds a new hash key: keep it, every secret depends on it",
                    file.display()
                )?)
            }
        }
    }
}

impl File {
    fn store(&self) -> Store {
        Store::new(&self.credentials_file)
    }
}

impl HashKeyFile {
    fn read(&self) -> Result<HashKey, Error> {
        Ok(HashKey::read(&self.credentials_hash_key_file)?)
    }
}

fn kind(text: &str) -> Result<Producer, String> {
    text.parse()
        .map_err(|()| "must be device, app or platform".to_owned())
}

/// Shows a secret, the only time it can be.
fn show(
    out: &mut impl Write,
    issued: &NewCredential,
    format: &Format,
    remedy: &'static str,
) -> Result<(), Error> {
    let NewCredential { entry, secret } = issued;
    let text = if format.json {
        let mut shown = describe(entry);
        shown["secret"] = json!(secret);
        shown.to_string()
    } else {
        format!(
            "client  {} of {} ({})\nkey     {}\nsecret  {secret}\n\nThe secret is not stored and not shown again.",
            entry.clientid,
            entry.partner,
            entry.kind.as_str(),
            entry.key
        )
    };
    let shown = writeln!(out, "{text}").and_then(|()| out.flush());
    shown.map_err(|source| Error::SecretLost {
        key: entry.key.clone(),
        source,
        remedy,
    })
}

fn list(out: &mut impl Write, clients: &[ClientEntry], format: &Format) -> Result<(), Error> {
    if format.json {
        let clients: Vec<_> = clients.iter().map(describe).collect();
        return Ok(writeln!(out, "{}", json!({ "clients": clients }))?);
    }
    let row = |out: &mut dyn Write, cells: [&str; 6]| {
        let [key, clientid, partner, kind, secrets, allow] = cells;
        writeln!(
            out,
            "{key:<20}  {clientid:<24}  {partner:<16}  {kind:<8}  {secrets:<7}  {allow}"
        )
    };
    row(out, ["KEY", "CLIENT", "PARTNER", "KIND", "SECRETS", "ALLOW"])?;
    for entry in clients {
        let (secrets, allow) = (entry.secrets.len().to_string(), entry.allow.join(","));
        let (kind, partner) = (entry.kind.as_str(), &entry.partner);
        row(
            out,
            [&entry.key, &entry.clientid, partner, kind, &secrets, &allow],
        )?;
    }
    Ok(())
}

/// A client without its hashes.
fn describe(entry: &ClientEntry) -> Value {
    json!({
        "key": entry.key,
        "clientid": entry.clientid,
        "partner": entry.partner,
        "kind": entry.kind,
        "allow": entry.allow,
        "secrets": entry.secrets.len(),
    })
}
