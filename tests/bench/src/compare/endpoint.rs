//! `bench compare http`: any endpoint that takes events.

use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use http::{HeaderName, HeaderValue};

use super::Work;
use crate::{
    Failure,
    load::{self, Arrivals, Loaded, Target},
    population::Population,
    program,
    report::{Line, Report},
};

/// Where the events go, and in which form.
#[derive(Args, Clone, Debug)]
pub struct Endpoint {
    /// http://HOST[:PORT]/PATH.
    #[arg(long)]
    url: String,

    /// A header of every request, `Name: value`; may be repeated. The content type is JSON unless set.
    #[arg(long = "header", value_name = "HEADER", value_parser = header)]
    headers: Vec<(HeaderName, HeaderValue)>,

    /// The body: {event} stands for one event, {array} for a JSON array of --batch, {lines} for as many lines.
    #[arg(long, default_value = "{array}")]
    body: String,

    /// Events a request.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    batch: u16,

    /// Requests a round, each with new events.
    #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u32).range(1..=5_000_000))]
    requests: u32,

    /// Connections.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=20_000))]
    connections: u16,

    /// How long latency is measured, a round.
    #[arg(long, default_value = "5s", value_parser = humantime::parse_duration)]
    latency: Duration,

    /// The process that serves, if it runs here: its processor time and memory are shown.
    #[arg(long)]
    pid: Option<u32>,

    #[command(flatten)]
    pub(super) work: Work,
}

fn header(text: &str) -> Result<(HeaderName, HeaderValue), String> {
    let (name, value) = text.split_once(':').ok_or("a header is written Name: value")?;
    let name = name
        .trim()
        .parse()
        .map_err(|_| "that is no header's name".to_owned())?;
    let mut value =
        HeaderValue::from_str(value.trim()).map_err(|_| "that is no header's value".to_owned())?;
    value.set_sensitive(true);
    Ok((name, value))
}

impl Endpoint {
    pub(super) async fn measure(&self) -> Result<Report, Failure> {
        let target = Target::plain(&self.url, &self.headers).await?;
        let mut population = Population::new(self.work.mix());
        let (mut rates, mut cpu, mut p50, mut p99) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let connections = usize::from(self.connections);
        let mut memory = Vec::new();
        for _ in 0..self.work.rounds {
            let bodies = (0..self.requests).map(|_| self.body(&mut population)).collect();
            let before = self.usage()?;
            let loaded = load::closed(&target, connections, &load::prepared(bodies)).await?;
            let after = self.usage()?;
            answered(&loaded)?;
            let events = f64::from(self.requests) * f64::from(self.events_a_request());
            let rate = f64::from(self.requests) / loaded.took.as_secs_f64();
            rates.push(events / loaded.took.as_secs_f64());
            if let (Some(before), Some(after)) = (before, after) {
                cpu.push(after.cpu.saturating_sub(before.cpu).as_secs_f64() * 1e6 / events);
                memory.push(to_mebibytes(after.peak_bytes));
            }
            let arrivals = Arrivals {
                rate: rate / 2.0,
                duration: self.latency,
                seed: self.work.seed,
            };
            let bodies: load::Bodies = {
                let (endpoint, mut population) = (self.clone(), population.clone());
                std::sync::Arc::new(std::sync::Mutex::new(move || {
                    Some(endpoint.body(&mut population))
                }))
            };
            let loaded = load::open(&target, connections, arrivals, &bodies, &load::progress()).await?;
            answered(&loaded)?;
            p50.push(loaded.latency_ms(0.5));
            p99.push(loaded.latency_ms(0.99));
        }
        let mut report = self.work.report(
            &format!("{} events a request", self.events_a_request()),
            &self.url,
        );
        report.lines.push(Line::new(
            "on the wall clock, as fast as it answers",
            "events/s",
            rates,
        ));
        report
            .lines
            .push(Line::new("latency at half of that, p50", "ms", p50));
        report
            .lines
            .push(Line::new("latency at half of that, p99", "ms", p99));
        if !cpu.is_empty() {
            report
                .lines
                .push(Line::new("processor time", "CPU µs/event", cpu));
            report.lines.push(Line::new("the most memory", "MiB", memory));
        }
        Ok(report)
    }

    fn events_a_request(&self) -> u16 {
        if self.body.contains("{event}") {
            1
        } else {
            self.batch
        }
    }

    fn body(&self, population: &mut Population) -> Bytes {
        if self.body.contains("{event}") {
            return self.body.replace("{event}", &population.event().json).into();
        }
        let events: Vec<String> = (0..self.batch).map(|_| population.event().json).collect();
        let body = self.body.replace("{array}", &format!("[{}]", events.join(",")));
        body.replace("{lines}", &events.join("\n")).into()
    }

    fn usage(&self) -> Result<Option<program::Usage>, Failure> {
        self.pid.map(program::usage_of).transpose()
    }
}

/// Every request got an answer that says that all is well: there are no figures of refusals.
fn answered(loaded: &Loaded) -> Result<(), Failure> {
    let refused = loaded.statuses.keys().any(|status| !(200..300).contains(status));
    if !refused && loaded.broken == 0 {
        return Ok(());
    }
    Err(Failure::NotMeasured(format!(
        "{} requests were not answered, and the others with {:?}",
        loaded.broken, loaded.statuses
    )))
}

pub(super) fn to_mebibytes(bytes: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "memory is less than 2^52 bytes")]
    let bytes = bytes as f64;
    bytes / f64::from(1 << 20)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::population::Mix;

    #[derive(Parser)]
    struct Flags {
        #[command(flatten)]
        endpoint: Endpoint,
    }

    fn endpoint(more: &[&str]) -> Endpoint {
        let flags = ["compare", "--url", "http://127.0.0.1:1/"].iter().chain(more);
        Flags::try_parse_from(flags).expect("flags").endpoint
    }

    #[test]
    fn a_body_is_what_its_template_says() {
        let mut population = Population::new(Mix::default());
        let mut body = |more: &[&str]| {
            let body = endpoint(more).body(&mut population);
            String::from_utf8(body.to_vec()).expect("text")
        };
        let array: Vec<serde_json::Value> = serde_json::from_str(&body(&["--batch", "3"])).expect("an array");
        assert_eq!(array.len(), 3);
        assert_eq!(body(&["--batch", "3", "--body", "{lines}"]).lines().count(), 3);
        let single = body(&["--body", r#"{"records":[{"value":{event}}]}"#]);
        let single: serde_json::Value = serde_json::from_str(&single).expect("JSON");
        assert!(single["records"][0]["value"]["eventid"].is_string());
    }

    #[test]
    fn a_header_is_a_name_and_a_value() {
        let headers = endpoint(&["--header", "X-Key: a: b"]).headers;
        assert_eq!(headers[0].0, "x-key");
        assert_eq!(headers[0].1, "a: b");
        for wrong in ["x-key", ": b", "x key: b"] {
            header(wrong).expect_err(wrong);
        }
    }
}
