//! Where decisions are recorded.

use std::time::Duration;

use clap::{Args, ValueEnum};
use service_runtime::settings::InvalidSetting;
use service_runtime::units::parse_duration;

use crate::ledger::{LedgerSide, Place};
use crate::policy::Routes;
use crate::redact::HashKey;

const LINGER_MAX: Duration = Duration::from_secs(5);
const INSTANCE_BYTES_MAX: usize = 64;

#[derive(Args, Debug)]
#[command(next_help_heading = "Ledger")]
pub(super) struct LedgerSettings {
    /// Bucket for the ledger of every decision; none is kept without it.
    #[arg(long, requires = "ledger_side")]
    ledger_bucket: Option<String>,
    /// On which side that bucket is. At the destination, --hash-key-file is needed too.
    #[arg(long, value_enum, requires = "ledger_bucket")]
    ledger_side: Option<Side>,
    /// What stands before YYYY/MM/DD/ in the ledger's keys. Nothing below it in the source bucket travels.
    #[arg(long, default_value = "_ledger/")]
    ledger_prefix: String,
    /// This writer's name in the ledger; the name of the host unless set. Each needs its own.
    #[arg(long)]
    ledger_instance: Option<String>,
    /// For how long a line may wait for others before they are written. Its message waits too.
    #[arg(long, default_value = "50ms", value_parser = parse_duration)]
    ledger_linger: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Side {
    Source,
    Destination,
}

impl LedgerSettings {
    /// Where the ledger is kept, if one is, and the routes without it.
    pub(super) fn place(
        self,
        routes: Routes,
        source_bucket: &str,
        key: Option<&HashKey>,
    ) -> Result<(Routes, Option<Place>), InvalidSetting> {
        let (Some(bucket), Some(side)) = (self.ledger_bucket, self.ledger_side) else {
            return Ok((routes, None));
        };
        let side = match (side, key) {
            (Side::Source, _) => LedgerSide::Source,
            (Side::Destination, Some(key)) => LedgerSide::Destination(key.clone()),
            (Side::Destination, None) => {
                let problem =
                    "is needed by a ledger at the destination, which must not tell what can be guessed";
                return Err(InvalidSetting::new("--hash-key-file", problem));
            }
        };
        if self.ledger_prefix.is_empty() {
            let problem = "must not be empty: nothing below it travels";
            return Err(InvalidSetting::new("--ledger-prefix", problem));
        }
        let instance = self.ledger_instance.unwrap_or_else(host_name);
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        if instance.is_empty() || instance.len() > INSTANCE_BYTES_MAX || !instance.bytes().all(plain) {
            let problem = "must be 1 to 64 letters, digits, dots, hyphens and underscores";
            return Err(InvalidSetting::new("--ledger-instance", problem));
        }
        if self.ledger_linger > LINGER_MAX {
            return Err(InvalidSetting::new("--ledger-linger", "must be at most 5s"));
        }
        let routes = if matches!(side, LedgerSide::Source) && bucket == source_bucket {
            let reserved = routes.reserve(&self.ledger_prefix);
            reserved.map_err(|invalid| InvalidSetting::new("--route", invalid.to_string()))?
        } else {
            routes
        };
        let place = Place {
            side,
            bucket,
            prefix: self.ledger_prefix,
            instance,
            linger: self.ledger_linger,
        };
        Ok((routes, Some(place)))
    }
}

/// Kubernetes sets it to the pod's name.
fn host_name() -> String {
    std::env::var("HOSTNAME").unwrap_or_else(|_| "syncomatic".to_owned())
}
