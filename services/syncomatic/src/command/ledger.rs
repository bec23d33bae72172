//! `syncomatic ledger verify`: walks every chain and says what does not hold.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use aws_clients::{Credentials, Endpoint};
use clap::{Args, Subcommand};

use super::Error;
use crate::failure::{At, CallFailure};
use crate::ledger::verify::{End, Report, Walk};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Walks the chains of a ledger: gaps, changed, moved and missing lines, ends that are gone. The exit
    /// code is 1 when anything does not hold.
    Verify(Verify),
}

/// Without a region, profile or key here, AWS is found by the SDK's own conventions.
#[derive(Args, Debug)]
pub(super) struct Verify {
    /// Bucket of the ledger.
    #[arg(long)]
    bucket: String,
    /// What stands before its keys.
    #[arg(long, default_value = "_ledger/")]
    prefix: String,
    /// Region of the bucket.
    #[arg(long)]
    region: Option<String>,
    /// Profile of the shared AWS configuration files.
    #[arg(long)]
    profile: Option<String>,
    /// Endpoint URL instead of AWS' own.
    #[arg(long)]
    endpoint_url: Option<String>,
    /// Access key id instead of a profile.
    #[arg(long, requires = "secret_access_key_file", conflicts_with = "profile")]
    access_key_id: Option<String>,
    /// File that holds the secret access key and nothing else.
    #[arg(long, requires = "access_key_id")]
    secret_access_key_file: Option<PathBuf>,
    /// Prints one JSON object.
    #[arg(long)]
    json: bool,
}

impl Command {
    pub(super) async fn run(self, out: &mut impl Write) -> Result<ExitCode, Error> {
        let Self::Verify(verify) = self;
        let endpoint = verify.endpoint()?;
        let s3 = aws_clients::s3(&aws_clients::load(&endpoint).await);
        let report = walk(&s3, &verify.bucket, &verify.prefix).await?;
        if verify.json {
            print_json(out, &report)
        } else {
            print_table(out, &report)
        }
        .map_err(Error::Print)?;
        Ok(if report.problems.is_empty() {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        })
    }
}

impl Verify {
    fn endpoint(&self) -> Result<Endpoint, Error> {
        let credentials = match (&self.access_key_id, &self.secret_access_key_file) {
            (Some(id), Some(file)) => {
                let secret = std::fs::read_to_string(file).map_err(|source| Error::Secret {
                    path: file.display().to_string(),
                    source,
                })?;
                Some(Credentials::new(
                    id,
                    secret.trim(),
                    None,
                    None,
                    "syncomatic-settings",
                ))
            }
            _ => None,
        };
        Ok(Endpoint {
            region: self.region.clone(),
            profile: self.profile.clone(),
            endpoint_url: self.endpoint_url.clone(),
            credentials,
        })
    }
}

/// One object at a time, in the order of the listing.
async fn walk(s3: &aws_sdk_s3::Client, bucket: &str, prefix: &str) -> Result<Report, Error> {
    // A command is told where to look: the side has no meaning here.
    let at = At::Source;
    let mut walk = Walk::default();
    let mut any = false;
    let mut pages = s3
        .list_objects_v2()
        .bucket(bucket)
        .prefix(prefix)
        .into_paginator()
        .send();
    while let Some(page) = pages.next().await {
        let page = page.map_err(|error| CallFailure::new(at, "ListObjectsV2", &error))?;
        for key in page
            .contents
            .unwrap_or_default()
            .into_iter()
            .filter_map(|object| object.key)
        {
            let get = s3.get_object().bucket(bucket).key(&key).send().await;
            let object = get.map_err(|error| CallFailure::new(at, "GetObject", &error))?;
            let body = object
                .body
                .collect()
                .await
                .map_err(|_| Error::Body { key: key.clone() })?;
            walk.object(&key, &body.into_bytes());
            any = true;
        }
    }
    if any {
        Ok(walk.finish())
    } else {
        Err(Error::NoLedger)
    }
}

fn print_json(out: &mut impl Write, report: &Report) -> std::io::Result<()> {
    serde_json::to_writer(&mut *out, report)?;
    writeln!(out)
}

fn print_table(out: &mut impl Write, report: &Report) -> std::io::Result<()> {
    let width = report
        .chains
        .iter()
        .map(|chain| chain.chain.len())
        .max()
        .unwrap_or(0)
        .max(5);
    writeln!(
        out,
        "{:width$}  {:>8}  {:>10}  {:20}  {:20}  end",
        "chain", "objects", "lines", "first", "last"
    )?;
    for chain in &report.chains {
        let time =
            |time: Option<jiff::Timestamp>| time.map_or_else(|| "-".to_owned(), |time| format!("{time:.0}"));
        let (first, last) = (time(chain.first), time(chain.last));
        let end = match chain.end {
            End::Closed => "closed",
            End::Followed => "followed by another chain",
            End::Open => "open: its last lines cannot be vouched for",
        };
        let (name, objects, lines) = (&chain.chain, chain.objects, chain.lines);
        writeln!(
            out,
            "{name:width$}  {objects:>8}  {lines:>10}  {first:20}  {last:20}  {end}"
        )?;
    }
    for problem in &report.problems {
        let place = match (problem.object.as_str(), problem.line) {
            ("", _) => problem.chain.clone(),
            (object, 0) => object.to_owned(),
            (object, line) => format!("{object}:{line}"),
        };
        writeln!(out, "{:?} at {place}: {}", problem.kind, problem.detail)?;
    }
    match report.problems.len() {
        0 => writeln!(out, "every chain holds"),
        problems => writeln!(out, "{problems} problem(s)"),
    }
}
