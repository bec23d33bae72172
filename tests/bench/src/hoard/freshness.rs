//! From a put into the stream to an object that can be read.

use std::{
    collections::{HashMap, HashSet},
    io::Read,
    time::{Duration, Instant},
};

use aws_clients::describe;
use flate2::read::MultiGzDecoder;
use hdrhistogram::Histogram;
use serde_json::Value;
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::world::Stream;
use crate::Failure;

/// A record is put so often.
const PUT_EVERY: Duration = Duration::from_millis(25);
/// The bucket is looked at so often.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// What is not there by then has no figure.
const PATIENCE: Duration = Duration::from_secs(60);

/// Quantiles over the records of a round.
pub(super) struct Freshness {
    pub(super) p50: Duration,
    pub(super) p99: Duration,
}

/// Puts records for so long, and looks for each of them under `folder`.
pub(super) async fn measure(
    duration: Duration,
    stream: &Stream,
    folder: &str,
    events: &mut impl FnMut(u32) -> Vec<String>,
) -> Result<Freshness, Failure> {
    let count = u32::try_from(duration.as_millis() / PUT_EVERY.as_millis())
        .unwrap_or(u32::MAX)
        .max(100);
    // Each event with a name of its own, by which it is found again.
    let named: Vec<(String, String)> = events(count)
        .into_iter()
        .enumerate()
        .map(|(n, event)| {
            let name = format!("{folder}{n}");
            let event = format!("{{\"bench\":\"{name}\",{}", event.trim_start_matches('{'));
            (name, event)
        })
        .collect();
    let putting = async {
        let mut ticks = interval(PUT_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut put = HashMap::new();
        for (name, event) in named {
            ticks.tick().await;
            put.insert(name, Instant::now());
            stream.put_one(&event).await?;
        }
        Ok::<_, Failure>(put)
    };
    let (put, seen) = tokio::try_join!(putting, look(stream, folder, count as usize))?;
    let mut micros = Histogram::<u64>::new_with_bounds(1, 600_000_000, 3).expect("sensible bounds");
    for (name, put) in put {
        let seen = seen
            .get(&name)
            .ok_or_else(|| Failure::NotMeasured(format!("{name} is missing")))?;
        let took = seen.saturating_duration_since(put);
        micros.saturating_record(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
    }
    let quantile = |quantile| Duration::from_micros(micros.value_at_quantile(quantile));
    Ok(Freshness {
        p50: quantile(0.5),
        p99: quantile(0.99),
    })
}

/// When each event was first in an object that is listed, by its name.
async fn look(stream: &Stream, folder: &str, count: usize) -> Result<HashMap<String, Instant>, Failure> {
    let (mut seen, mut known) = (HashMap::new(), HashSet::new());
    let mut last_news = Instant::now();
    while seen.len() < count {
        let asked = stream
            .s3
            .list_objects_v2()
            .bucket(&stream.bucket)
            .prefix(folder)
            .send()
            .await;
        let listed = asked.map_err(|error| Failure::NotMeasured(describe(&error)))?;
        let listed_at = Instant::now();
        for key in listed.contents().iter().filter_map(|object| object.key()) {
            if known.insert(key.to_owned()) {
                last_news = listed_at;
                seen.extend(
                    names(stream, key)
                        .await?
                        .into_iter()
                        .map(|name| (name, listed_at)),
                );
            }
        }
        if last_news.elapsed() > PATIENCE {
            let problem = format!("{} of {count} records came into the bucket", seen.len());
            return Err(Failure::NotMeasured(problem));
        }
        sleep(LOOK_EVERY).await;
    }
    Ok(seen)
}

/// The names of the events in an object.
async fn names(stream: &Stream, key: &str) -> Result<Vec<String>, Failure> {
    let object = stream
        .s3
        .get_object()
        .bucket(&stream.bucket)
        .key(key)
        .send()
        .await;
    let object = object.map_err(|error| Failure::NotMeasured(describe(&error)))?;
    let body = object.body.collect().await;
    let body = body
        .map_err(|error| Failure::NotMeasured(format!("{key}: {error}")))?
        .into_bytes();
    let mut text = String::new();
    let read = MultiGzDecoder::new(&body[..]).read_to_string(&mut text);
    read.map_err(Failure::system(format!("{key} cannot be read")))?;
    let name = |line: &str| {
        let event: Value = serde_json::from_str(line).ok()?;
        Some(event["bench"].as_str()?.to_owned())
    };
    Ok(text.lines().filter_map(name).collect())
}
