//! `hoard replay …`: what to rebuild, and how the result is shown.

use std::fmt::Write;

use clap::Parser;
use jiff::civil::Date;
use serde::Serialize;
use service_runtime::settings::{InvalidSetting, RuntimeSettings};

use super::verify::{check_lines, parse_day};
use super::{Failed, print};
use crate::config::{Config, Settings};
use crate::layout::START;
use crate::replay::{self, Outcome, Range, Wanted};
use crate::sequence::{SequenceNumber, ShardId};
use crate::verify::progress::Progress;

/// Rebuilds what is missing from the archive out of the stream, under the same keys, with the service's
/// own settings. Nothing is ever overwritten.
#[derive(Parser, Clone, Debug)]
#[command(about, long_about = None)]
pub(super) struct Replay {
    /// Rebuilds whatever a quick verification of this day misses: YYYY-MM-DD, today or yesterday (UTC).
    #[arg(long, value_parser = parse_day, conflicts_with_all = ["shard", "after", "first", "last"], help_heading = "Replay")]
    day: Option<Date>,

    /// Rebuilds a range of this shard, as hoard verify prints it.
    #[arg(long, requires_all = ["after", "last"], help_heading = "Replay")]
    shard: Option<String>,

    /// The record before the range, or start.
    #[arg(long, requires = "shard", help_heading = "Replay")]
    after: Option<String>,

    /// The first record of the range, where it is one cut that is there in part.
    #[arg(long, requires = "shard", help_heading = "Replay")]
    first: Option<String>,

    /// The last record of the range.
    #[arg(long, requires = "shard", help_heading = "Replay")]
    last: Option<String>,

    /// Prints one JSON object.
    #[arg(long, help_heading = "Replay")]
    json: bool,

    #[command(flatten)]
    service: Settings,
}

/// What was asked for.
pub(super) struct Asked {
    config: Config,
    wanted: Wanted,
    json: bool,
}

impl service_runtime::settings::Settings for Replay {
    const NAME: &'static str = "hoard replay";
    const ENV_PREFIX: &'static str = Settings::ENV_PREFIX;
    const ADMIN_LISTEN: &'static str = Settings::ADMIN_LISTEN;
    type Config = Asked;

    fn runtime(&self) -> &RuntimeSettings {
        self.service.runtime()
    }

    fn validate(self) -> Result<Asked, InvalidSetting> {
        let wanted = match (self.day, self.shard, self.after, self.last) {
            (Some(day), ..) => Wanted::Days(day, day),
            (None, Some(shard), Some(after), Some(last)) => {
                Wanted::Range(range(shard, after, self.first, last)?)
            }
            _ => {
                let problem = "or --shard with --after and --last must be given";
                return Err(InvalidSetting::new("--day", problem));
            }
        };
        let config = self.service.validate()?;
        check_lines(&config)?;
        Ok(Asked {
            wanted,
            json: self.json,
            config,
        })
    }
}

fn range(shard: String, after: String, first: Option<String>, last: String) -> Result<Range, InvalidSetting> {
    let invalid = |flag: &'static str| {
        move |error: crate::sequence::InvalidName| InvalidSetting::new(flag, error.to_string())
    };
    let after = match after.as_str() {
        START => None,
        _ => Some(SequenceNumber::try_from(after).map_err(invalid("--after"))?),
    };
    let last = SequenceNumber::try_from(last).map_err(invalid("--last"))?;
    if after.as_ref().is_some_and(|after| *after >= last) {
        return Err(InvalidSetting::new("--last", "must be greater than --after"));
    }
    Ok(Range {
        shard: ShardId::try_from(shard).map_err(invalid("--shard"))?,
        after,
        first: first
            .map(SequenceNumber::try_from)
            .transpose()
            .map_err(invalid("--first"))?,
        last,
    })
}

#[derive(Serialize)]
struct Printed<'a> {
    whole: bool,
    outcomes: &'a [Outcome],
}

/// Rebuilds and prints; `true` when all is well.
pub(super) async fn run(asked: Asked) -> Result<bool, Failed> {
    let aws = aws_clients::load(&aws_clients::Endpoint::default()).await;
    let (kinesis, s3) = (aws_clients::kinesis(&aws), aws_clients::s3(&aws));
    let progress = Progress::default();
    let outcomes = replay::run(asked.config, kinesis, s3, asked.wanted, &progress).await;
    let outcomes = outcomes.map_err(|error| Failed::because(&error))?;
    let whole = outcomes.iter().all(Outcome::is_good);
    let text = if asked.json {
        let result = Printed {
            whole,
            outcomes: &outcomes,
        };
        let json = serde_json::to_string(&result).map_err(|error| Failed::because(&error))?;
        format!("{json}\n")
    } else {
        table(&outcomes, whole)
    };
    print(&text)?;
    Ok(whole)
}

fn table(outcomes: &[Outcome], whole: bool) -> String {
    let mut text = String::new();
    for outcome in outcomes {
        // Writing to a string does not fail.
        let _written = match outcome {
            Outcome::Rebuilt { key, lines } => writeln!(text, "rebuilt        {key} ({lines} lines)"),
            Outcome::Present { key } => writeln!(text, "there already  {key}"),
            Outcome::Different { key } => {
                writeln!(
                    text,
                    "DIFFERENT      {key}: left as it is, and nothing of its cut was written"
                )
            }
            Outcome::Gone { shard, after, last } => {
                let after = after.as_ref().map_or(START, SequenceNumber::as_str);
                writeln!(
                    text,
                    "GONE           {shard} after {after} up to {last}: the stream no longer has all of it"
                )
            }
            Outcome::NotCommitted { shard, last } => {
                writeln!(
                    text,
                    "NOT COMMITTED  {shard} up to {last}: the service is at work there"
                )
            }
        };
    }
    text.push_str(match (whole, outcomes.is_empty()) {
        (true, true) => "nothing is missing\n",
        (true, false) => "all is there\n",
        (false, _) => "NOT ALL IS THERE\n",
    });
    text
}
