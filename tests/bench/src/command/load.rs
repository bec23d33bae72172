//! `bench load`: how an installation copes with so many events a second.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};

use clap::{Args, ValueEnum};
use event_model::Producer;
use jiff::Timestamp;
use serde_json::json;
use tokio::time::{MissedTickBehavior, interval};

use crate::{
    Failure,
    load::{Arrivals, Bodies, Loaded, Progress, Target, lock, open, progress},
    population::{Mix, Population},
};

#[derive(Args, Debug)]
pub(super) struct Load {
    /// Where `events` is: http://HOST[:PORT][/PATH].
    #[arg(long)]
    url: String,

    /// The credential's key.
    #[arg(long, env = "BENCH_KEY")]
    key: String,

    /// The credential's secret. The variable keeps it out of the list of processes.
    #[arg(long, env = "BENCH_SECRET", hide_env_values = true)]
    secret: String,

    /// Events a second, on average; the gaps between requests are exponential.
    #[arg(long, default_value_t = 100.0, value_parser = positive)]
    rate: f64,

    /// Events a request.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    batch: u16,

    /// For how long.
    #[arg(long, default_value = "30s", value_parser = humantime::parse_duration)]
    duration: Duration,

    /// Requests that can be out at the same time, each on a connection of its own.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=20_000))]
    connections: u16,

    /// What the credential is for, which decides the event types.
    #[arg(long, value_enum, default_value_t = Kind::Platform)]
    kind: Kind,

    /// Devices that send.
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    devices: u32,

    /// How uneven devices are: the exponent of Zipf's law, 0 for all alike.
    #[arg(long, default_value_t = 0.6, value_parser = share_or_more)]
    skew: f64,

    /// Share of events that no schema allows, 0 to 1.
    #[arg(long, default_value_t = 0.0, value_parser = share)]
    invalid: f64,

    /// Share of events that were sent before, 0 to 1.
    #[arg(long, default_value_t = 0.0, value_parser = share)]
    duplicates: f64,

    /// Decides devices, events and gaps; only the times of the events are those of the clock. Events of
    /// the same seed have the same ids only at the same time.
    #[arg(long, default_value_t = 1)]
    seed: u64,

    /// Also writes what came of it to this file, as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Kind {
    Device,
    App,
    Platform,
}

fn positive(text: &str) -> Result<f64, String> {
    let number: f64 = text.parse().map_err(|_| "must be a number".to_owned())?;
    let valid = number.is_finite() && number > 0.0;
    if valid {
        Ok(number)
    } else {
        Err("must be more than 0".to_owned())
    }
}

fn share(text: &str) -> Result<f64, String> {
    let number: f64 = text.parse().map_err(|_| "must be a number".to_owned())?;
    let valid = (0.0..=1.0).contains(&number);
    if valid {
        Ok(number)
    } else {
        Err("must be 0 to 1".to_owned())
    }
}

fn share_or_more(text: &str) -> Result<f64, String> {
    let number: f64 = text.parse().map_err(|_| "must be a number".to_owned())?;
    let valid = (0.0..=3.0).contains(&number);
    if valid {
        Ok(number)
    } else {
        Err("must be 0 to 3".to_owned())
    }
}

impl Load {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let target = Target::resolve(&self.url, &self.key, &self.secret).await?;
        let arrivals = Arrivals {
            rate: self.rate / f64::from(self.batch),
            duration: self.duration,
            seed: self.seed,
        };
        let progress = progress();
        let bodies = self.bodies();
        let loaded = tokio::select! {
            loaded = open(&target, usize::from(self.connections), arrivals, &bodies, &progress) => loaded?,
            () = show_progress(&progress) => return Ok(()),
        };
        self.show(&loaded)
    }

    fn bodies(&self) -> Bodies {
        let mut population = Population::new(Mix {
            seed: self.seed,
            devices: usize::try_from(self.devices).unwrap_or(usize::MAX),
            skew: self.skew,
            invalid: self.invalid,
            duplicates: self.duplicates,
            producer: match self.kind {
                Kind::Device => Producer::Device,
                Kind::App => Producer::App,
                Kind::Platform => Producer::Platform,
            },
            start: Timestamp::now(),
        });
        let batch = usize::from(self.batch);
        Arc::new(Mutex::new(move || Some(population.body(batch))))
    }

    #[expect(clippy::print_stdout, reason = "its output is for people")]
    fn show(&self, loaded: &Loaded) -> Result<(), Failure> {
        let seconds = loaded.took.as_secs_f64();
        let statuses: Vec<_> = loaded
            .statuses
            .iter()
            .map(|(status, count)| format!("{status}: {count}"))
            .collect();
        println!("{:>12}  {:.1} s", "took", seconds);
        println!(
            "{:>12}  {} ({} broken)",
            "requests", loaded.requests, loaded.broken
        );
        println!("{:>12}  {}", "statuses", statuses.join(", "));
        for (name, count) in [
            ("accepted", loaded.accepted),
            ("duplicates", loaded.duplicates),
            ("rejected", loaded.rejected),
            ("retry", loaded.retry),
        ] {
            println!("{name:>12}  {count} events");
        }
        for (name, quantile) in [
            ("p50", 0.5),
            ("p90", 0.9),
            ("p99", 0.99),
            ("p99.9", 0.999),
            ("longest", 1.0),
        ] {
            println!("{name:>12}  {:.2} ms", loaded.latency_ms(quantile));
        }
        let Some(path) = &self.json else { return Ok(()) };
        let report = json!({
            "took_seconds": seconds,
            "requests": loaded.requests,
            "broken": loaded.broken,
            "statuses": loaded.statuses,
            "accepted": loaded.accepted,
            "duplicates": loaded.duplicates,
            "rejected": loaded.rejected,
            "retry": loaded.retry,
            "latency_ms": {
                "p50": loaded.latency_ms(0.5),
                "p90": loaded.latency_ms(0.9),
                "p99": loaded.latency_ms(0.99),
                "p999": loaded.latency_ms(0.999),
                "longest": loaded.latency_ms(1.0),
            },
        });
        std::fs::write(path, report.to_string())
            .map_err(Failure::system(format!("cannot write {}", path.display())))
    }
}

/// Says once a second what has been answered; never ends.
#[expect(clippy::print_stderr, reason = "a person waits for it")]
async fn show_progress(progress: &Progress) {
    let mut second = interval(Duration::from_secs(1));
    second.set_missed_tick_behavior(MissedTickBehavior::Skip);
    second.tick().await;
    let mut before = 0;
    loop {
        second.tick().await;
        let (requests, accepted, p99) = {
            let loaded = lock(progress);
            (loaded.requests, loaded.accepted, loaded.latency_ms(0.99))
        };
        eprintln!(
            "{:>8} requests/s  {accepted:>10} accepted  p99 {p99:.2} ms",
            requests - before
        );
        before = requests;
    }
}
