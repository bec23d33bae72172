//! What redacted routes need to know.

use std::path::PathBuf;

use clap::Args;
use event_model::Catalogue;
use service_runtime::settings::InvalidSetting;
use service_runtime::units::parse_bytes;

use crate::copy::RedactedRoutes;
use crate::policy::Routes;
use crate::redact::{AllowList, HashKey, InvalidKey, OnCanary, Options, Redaction, read_schemas};

/// The shortest limit of a line: what the server adds to an event takes a good part of it.
const LINE_BYTES_MIN: u64 = 1024;
/// The longest: it is memory beside what a copy reserves anyway.
const LINE_BYTES_MAX: u64 = 1024 * 1024;

#[derive(Args, Debug)]
#[command(next_help_heading = "Redaction")]
pub(super) struct RedactionSettings {
    /// File with the key that values are hashed under, in hexadecimal digits; needed where a route
    /// redacts, or the ledger is at the destination. It never leaves this side.
    #[arg(long)]
    hash_key_file: Option<PathBuf>,
    /// The key's name, which stands in each hashed value. A new key needs a new name.
    #[arg(long, default_value = "k1")]
    hash_key_name: String,
    /// Folder with the schemas that say what may pass, each at EVENTTYPE/VERSION.json, in place of those of
    /// the build.
    #[arg(long)]
    schemas_folder: Option<PathBuf>,
    /// Bucket on the source side for lines that may not pass; the source bucket unless set.
    #[arg(long)]
    quarantine_bucket: Option<String>,
    /// What stands before the keys of such lines. Nothing below it in the source bucket travels.
    #[arg(long, default_value = "_quarantine/")]
    quarantine_prefix: String,
    /// What happens to a line with a kept value that looks like personal data.
    #[arg(long, value_enum, default_value = "count")]
    canary: OnCanary,
    /// Longest line, 1KiB to 1MiB; longer ones go to the quarantine.
    #[arg(long, default_value = "1MiB", value_parser = parse_bytes)]
    line_max_bytes: u64,
    /// Names of user metadata that a redacted copy keeps beside those that hoard writes, separated by
    /// commas.
    #[arg(long, value_delimiter = ',')]
    allow_metadata: Vec<String>,
    /// Keys of tags that a redacted copy keeps, separated by commas.
    #[arg(long, value_delimiter = ',')]
    allow_tags: Vec<String>,
}

impl RedactionSettings {
    /// The key, if one is given.
    pub(super) fn key(&self) -> Result<Option<HashKey>, InvalidSetting> {
        let Some(file) = &self.hash_key_file else {
            return Ok(None);
        };
        let key = HashKey::read(&self.hash_key_name, file).map_err(|invalid| {
            let flag = match invalid {
                InvalidKey::Name => "--hash-key-name",
                InvalidKey::Unreadable(_) | InvalidKey::Digits => "--hash-key-file",
            };
            InvalidSetting::new(flag, invalid.to_string())
        });
        key.map(Some)
    }

    /// How the routes redact, if any does, and the routes without what this program writes itself.
    pub(super) fn redacted(
        self,
        routes: Routes,
        source_bucket: &str,
        key: Option<HashKey>,
    ) -> Result<(Routes, Option<RedactedRoutes>), InvalidSetting> {
        if !routes.redact() {
            return Ok((routes, None));
        }
        let Some(key) = key else {
            let problem = "is needed by a redacted route: write 64 hexadecimal digits into a file, for example with \
                           `openssl rand -hex 32`";
            return Err(InvalidSetting::new("--hash-key-file", problem));
        };
        let unusable = |problem: String| InvalidSetting::new("--schemas-folder", problem);
        let catalogue = match &self.schemas_folder {
            Some(folder) => read_schemas(folder).map_err(|error| unusable(error.to_string()))?,
            None => Catalogue::bundled().map_err(|error| unusable(error.to_string()))?,
        };
        if !(LINE_BYTES_MIN..=LINE_BYTES_MAX).contains(&self.line_max_bytes) {
            return Err(InvalidSetting::new(
                "--line-max-bytes",
                "must be between 1KiB and 1MiB",
            ));
        }
        if self.quarantine_prefix.is_empty() {
            let problem = "must not be empty: nothing below it travels";
            return Err(InvalidSetting::new("--quarantine-prefix", problem));
        }
        let quarantine_bucket = self.quarantine_bucket.unwrap_or_else(|| source_bucket.to_owned());
        let routes = if quarantine_bucket == source_bucket {
            let reserved = routes.reserve(&self.quarantine_prefix);
            reserved.map_err(|invalid| InvalidSetting::new("--route", invalid.to_string()))?
        } else {
            routes
        };
        let options = Options {
            on_canary: self.canary,
            line_bytes_max: usize::try_from(self.line_max_bytes).unwrap_or(usize::MAX),
            allowed: AllowList::with(self.allow_metadata, self.allow_tags),
        };
        let redacted = RedactedRoutes {
            redaction: Redaction::new(&catalogue, key, options),
            quarantine_bucket,
            quarantine_prefix: self.quarantine_prefix,
        };
        Ok((routes, Some(redacted)))
    }
}
