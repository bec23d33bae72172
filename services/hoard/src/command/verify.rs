//! `hoard verify …`: which days, and how the result is shown.

use clap::Parser;
use jiff::ToSpan;
use jiff::civil::Date;
use service_runtime::settings::{InvalidSetting, RuntimeSettings};

use super::{Failed, print};
use crate::config::{Config, Settings};
use crate::verify::{self, Plan, progress::Progress};

/// Proves from the bucket that days of the archive are whole: per shard, cuts touch end to end up to
/// the checkpoint; per object, lines, size, CRC-64/NVME, line ends and day are those announced.
#[derive(Parser, Clone, Debug)]
#[command(about, long_about = None)]
pub(super) struct Verify {
    /// One day, as YYYY-MM-DD, or today or yesterday (UTC).
    #[arg(long, value_parser = parse_day, conflicts_with_all = ["from", "to"], help_heading = "Verification")]
    day: Option<Date>,

    /// The first of several days.
    #[arg(long, value_parser = parse_day, requires = "to", help_heading = "Verification")]
    from: Option<Date>,

    /// The last of them, inclusive.
    #[arg(long, value_parser = parse_day, requires = "from", help_heading = "Verification")]
    to: Option<Date>,

    /// Looks at metadata only and reads no content.
    #[arg(long, help_heading = "Verification")]
    quick: bool,

    /// Prints one JSON object.
    #[arg(long, help_heading = "Verification")]
    json: bool,

    /// Shows progress on standard error also where that is no terminal.
    #[arg(long, help_heading = "Verification")]
    progress: bool,

    /// How many objects are read at a time.
    #[arg(long, default_value = "16", value_parser = clap::value_parser!(u16).range(1..=256), help_heading = "Verification")]
    concurrency: u16,

    #[command(flatten)]
    service: Settings,
}

/// What was asked for.
pub(super) struct Asked {
    plan: Plan,
    json: bool,
    progress: bool,
}

impl service_runtime::settings::Settings for Verify {
    const NAME: &'static str = "hoard verify";
    const ENV_PREFIX: &'static str = Settings::ENV_PREFIX;
    const ADMIN_LISTEN: &'static str = Settings::ADMIN_LISTEN;
    type Config = Asked;

    fn runtime(&self) -> &RuntimeSettings {
        self.service.runtime()
    }

    fn validate(self) -> Result<Asked, InvalidSetting> {
        let (from, to) = match (self.day, self.from, self.to) {
            (Some(day), _, _) => (day, day),
            (None, Some(from), Some(to)) if from <= to => (from, to),
            (None, Some(_), Some(_)) => return Err(InvalidSetting::new("--to", "must not be before --from")),
            _ => return Err(InvalidSetting::new("--day", "or --from and --to must be given")),
        };
        let config = self.service.validate()?;
        check_lines(&config)?;
        Ok(Asked {
            plan: Plan {
                is_quick: self.quick,
                concurrency: self.concurrency.into(),
                ..Plan::new(&config, from, to)
            },
            json: self.json,
            progress: self.progress,
        })
    }
}

/// There is nothing to be said of lines that are elsewhere.
pub(super) fn check_lines(config: &Config) -> Result<(), InvalidSetting> {
    match &config.delivery_stream {
        Some(_) => {
            let problem =
                "is firehose: lines are not in this bucket, and what Firehose made of them is not known";
            Err(InvalidSetting::new("--deliver", problem))
        }
        None => Ok(()),
    }
}

/// Verifies and prints; `true` when all is well.
pub(super) async fn run(asked: Asked) -> Result<bool, Failed> {
    let aws = aws_clients::load(&aws_clients::Endpoint::default()).await;
    let progress = Progress::default();
    let work = verify::run(aws_clients::s3(&aws), &asked.plan, &progress);
    let report = progress.show(asked.progress, work).await;
    let report = report.map_err(|error| Failed::because(&error))?;
    let text = if asked.json {
        let json = serde_json::to_string(&report).map_err(|error| Failed::because(&error))?;
        format!("{json}\n")
    } else {
        report.to_string()
    };
    print(&text)?;
    Ok(report.whole)
}

/// A day as people write it.
pub(super) fn parse_day(text: &str) -> Result<Date, String> {
    match text {
        "today" => Ok(verify::today()),
        "yesterday" => Ok(verify::today().saturating_sub(1.day())),
        _ => text
            .parse()
            .map_err(|_| "write a day such as 2026-01-31, or today or yesterday".to_owned()),
    }
}
