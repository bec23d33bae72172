//! Settings of the second delivery.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use http::Uri;
use service_runtime::settings::InvalidSetting;
use service_runtime::units::{parse_bytes, parse_duration};

use crate::budget::READ_ALLOWANCE;
use crate::elasticsearch::client::{Credential, Trust};
use crate::elasticsearch::index::IndexPattern;
use crate::pace::Pace;

/// A shard gives 2 MB/s to all its readers; half of it is left to the archive, whatever the backlog.
const PACE: Pace = Pace {
    behind: Duration::from_secs(2),
    idle: Duration::from_secs(2),
    bytes_per_second: 1_000_000,
};
/// A body that Elasticsearch takes by default is at most 100 MB (`http.max_content_length`).
const BATCH_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Flags of the second delivery.
#[derive(Args, Clone, Debug)]
pub struct ElasticsearchSettings {
    /// An Elasticsearch or OpenSearch cluster to deliver to as well, such as https://search:9200. What
    /// it gets is whole events: fields with x-pii too.
    #[arg(long, help_heading = "Elasticsearch")]
    pub elasticsearch_url: Option<String>,

    /// The index of a day (UTC, by arrival): %Y, %m and %d are replaced.
    #[arg(long, default_value = "events-%Y.%m.%d", help_heading = "Elasticsearch")]
    pub elasticsearch_index: String,

    /// File with what identifies us there: user:password, or ApiKey and a key. Read again when it is
    /// refused.
    #[arg(long, help_heading = "Elasticsearch")]
    pub elasticsearch_auth_file: Option<PathBuf>,

    /// File with the certificates (PEM) to trust there instead of the system's.
    #[arg(long, help_heading = "Elasticsearch")]
    pub elasticsearch_ca_file: Option<PathBuf>,

    /// How large a request's body becomes at most.
    #[arg(long, default_value = "4MiB", value_parser = parse_bytes, help_heading = "Elasticsearch")]
    pub elasticsearch_batch_bytes: u64,

    /// How many requests are out at a time.
    #[arg(long, default_value_t = 4, help_heading = "Elasticsearch")]
    pub elasticsearch_concurrency: usize,

    /// Memory for what is read and not yet delivered there.
    #[arg(long, default_value = "64MiB", value_parser = parse_bytes, help_heading = "Elasticsearch")]
    pub elasticsearch_memory_budget: u64,

    /// How long a request may take.
    #[arg(long, default_value = "30s", value_parser = parse_duration, help_heading = "Elasticsearch")]
    pub elasticsearch_timeout: Duration,

    /// Events older than this are skipped there, and counted. Unless set, it catches up however long
    /// that takes.
    #[arg(long, value_parser = parse_duration, help_heading = "Elasticsearch")]
    pub elasticsearch_max_lag: Option<Duration>,
}

/// The checked settings of the second delivery.
#[derive(Clone, Debug)]
pub struct Elasticsearch {
    /// The cluster, without a `/` at the end.
    pub url: Uri,
    /// The index of each day.
    pub index: IndexPattern,
    /// Who we are there.
    pub credential: Credential,
    /// Whom we trust.
    pub trust: Trust,
    /// The most bytes of one body.
    pub batch_bytes: usize,
    /// The most requests at a time.
    pub concurrency: usize,
    /// Bytes for all shards.
    pub memory_budget: u64,
    /// Of one request.
    pub timeout: Duration,
    /// What is older is skipped.
    pub max_lag: Option<Duration>,
    /// How often a shard is asked.
    pub pace: Pace,
}

impl ElasticsearchSettings {
    /// Checks them; `None` when there is no such delivery.
    ///
    /// # Errors
    /// What cannot work, by the flag.
    pub fn validate(self) -> Result<Option<Elasticsearch>, InvalidSetting> {
        let Some(url) = self.elasticsearch_url else {
            let without_url = [
                (
                    "--elasticsearch-auth-file",
                    self.elasticsearch_auth_file.is_some(),
                ),
                ("--elasticsearch-ca-file", self.elasticsearch_ca_file.is_some()),
                ("--elasticsearch-max-lag", self.elasticsearch_max_lag.is_some()),
            ];
            return match without_url.iter().find(|(_, is_set)| *is_set) {
                Some((flag, _)) => Err(InvalidSetting::new(
                    *flag,
                    "has no meaning without --elasticsearch-url",
                )),
                None => Ok(None),
            };
        };
        let refuse = |flag: &str, problem: String| Err(InvalidSetting::new(flag, problem));
        if !(64 * 1024..=BATCH_BYTES_MAX).contains(&self.elasticsearch_batch_bytes) {
            return refuse(
                "--elasticsearch-batch-bytes",
                "must be from 64KiB to 64MiB".to_owned(),
            );
        }
        if !(1..=64).contains(&self.elasticsearch_concurrency) {
            return refuse("--elasticsearch-concurrency", "must be from 1 to 64".to_owned());
        }
        if self.elasticsearch_memory_budget < READ_ALLOWANCE {
            let problem = format!("must be at least {READ_ALLOWANCE}, which one read can take");
            return refuse("--elasticsearch-memory-budget", problem);
        }
        if self.elasticsearch_timeout < Duration::from_secs(1) {
            return refuse("--elasticsearch-timeout", "must be at least 1s".to_owned());
        }
        if self
            .elasticsearch_max_lag
            .is_some_and(|lag| lag < Duration::from_secs(60))
        {
            return refuse("--elasticsearch-max-lag", "must be at least 1m".to_owned());
        }
        let invalid = |flag: &'static str| move |problem| InvalidSetting::new(flag, problem);
        Ok(Some(Elasticsearch {
            url: parse_url(&url).map_err(invalid("--elasticsearch-url"))?,
            index: IndexPattern::parse(&self.elasticsearch_index)
                .map_err(invalid("--elasticsearch-index"))?,
            credential: Credential::from_file(self.elasticsearch_auth_file)
                .map_err(invalid("--elasticsearch-auth-file"))?,
            trust: Trust::new(self.elasticsearch_ca_file.as_deref())
                .map_err(invalid("--elasticsearch-ca-file"))?,
            batch_bytes: usize::try_from(self.elasticsearch_batch_bytes).unwrap_or(usize::MAX),
            concurrency: self.elasticsearch_concurrency,
            memory_budget: self.elasticsearch_memory_budget,
            timeout: self.elasticsearch_timeout,
            max_lag: self.elasticsearch_max_lag,
            pace: PACE,
        }))
    }
}

fn parse_url(text: &str) -> Result<Uri, String> {
    let url: Uri = text
        .trim_end_matches('/')
        .parse()
        .map_err(|_| "is no URL".to_owned())?;
    if !matches!(url.scheme_str(), Some("http" | "https")) || url.host().is_none_or(str::is_empty) {
        return Err("must begin with https:// or http:// and name a host".to_owned());
    }
    if url
        .authority()
        .is_some_and(|authority| authority.as_str().contains('@'))
    {
        return Err(
            "must not hold a password, which processes beside us could read: use --elasticsearch-auth-file"
                .to_owned(),
        );
    }
    if url.query().is_some() {
        return Err("must not have a query".to_owned());
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        settings: ElasticsearchSettings,
    }

    fn validate(args: &[&str]) -> Result<Option<Elasticsearch>, String> {
        let line = Line::try_parse_from(["hoard"].iter().chain(args)).expect("known flags");
        line.settings.validate().map_err(|error| error.to_string())
    }

    #[test]
    fn without_a_url_there_is_no_such_delivery() {
        assert!(validate(&[]).expect("nothing is wrong").is_none());
        let error = validate(&["--elasticsearch-max-lag", "1h"]).expect_err("of no use");
        assert!(error.contains("--elasticsearch-url"), "{error}");
    }

    #[test]
    fn what_cannot_work_is_refused_by_name() {
        let url = ["--elasticsearch-url", "https://search:9200/"];
        let found = validate(&url).expect("valid").expect("wanted");
        assert_eq!(found.url.to_string().trim_end_matches('/'), "https://search:9200");
        let cases = [
            ["--elasticsearch-index", "Events"],
            ["--elasticsearch-index", "events"],
            ["--elasticsearch-batch-bytes", "1KiB"],
            ["--elasticsearch-concurrency", "0"],
            ["--elasticsearch-memory-budget", "1MiB"],
            ["--elasticsearch-timeout", "10ms"],
            ["--elasticsearch-max-lag", "1s"],
            ["--elasticsearch-auth-file", "/nowhere"],
            ["--elasticsearch-ca-file", "/nowhere"],
        ];
        for wrong in cases {
            let error = validate(&[&url[..], &wrong].concat()).expect_err("cannot work");
            assert!(error.contains(wrong[0]), "{wrong:?}: {error}");
        }
        for wrong in [
            "search:9200",
            "ftp://search",
            "https://me:secret@search",
            "https://",
        ] {
            let error = validate(&["--elasticsearch-url", wrong]).expect_err("no such place");
            assert!(
                error.contains("--elasticsearch-url") && !error.contains("secret"),
                "{wrong}: {error}"
            );
        }
    }
}
