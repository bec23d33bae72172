//! What is done to AWS: to its calls, its shards, its queue and its clock.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Mutex,
};

use aws_sdk_kinesis::Client as Kinesis;
use aws_sdk_sqs::Client as Sqs;
use local::aws::STREAM;
use local_cloud::{Faults, LostAnswer, Rule};
use rand::{rngs::StdRng, seq::SliceRandom};
use serde::Deserialize;
use serde_json::json;
use tokio::{
    sync::mpsc,
    time::{Duration, Instant, sleep, sleep_until},
};

use super::{
    faults::{self, Episode, Place},
    ledger::Position,
    timeline::Timeline,
    world::World,
};
use crate::load::lock;

/// Open shards: at least, and at most.
const SHARDS: std::ops::RangeInclusive<usize> = 2..=6;
/// How long a stream is given to be active again.
const ACTIVE: Duration = Duration::from_secs(10);
/// How far the clock may be moved in a round: less than messages are kept.
const JUMPS_MAX: Duration = Duration::from_secs(36 * 3_600);

/// The rules of both sides: those of every day, behind those that are there for a while.
pub(super) struct Wire {
    china: Faults,
    europe: Faults,
    passing: Mutex<Vec<(Place, Rule)>>,
    lost: mpsc::UnboundedReceiver<LostAnswer>,
}

/// What is read of an answer to PutRecords.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Put {
    records: Vec<Taken>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Taken {
    shard_id: Option<String>,
    sequence_number: Option<String>,
}

impl Wire {
    pub(super) fn new(world: &World) -> Self {
        let china = world.aws.source.cloud.faults().clone();
        Self {
            lost: china.watch_lost_answers(),
            china,
            europe: world.aws.destination.cloud.faults().clone(),
            passing: Mutex::default(),
        }
    }

    /// Everyday faults from now on.
    pub(super) fn disturb(&self) {
        // For as long as it takes: two at once must not mix.
        let passing = lock(&self.passing);
        for place in [Place::China, Place::Europe] {
            let faults = self.at(place);
            faults.clear();
            let here = passing.iter().filter(|(of, _)| *of == place);
            for rule in here.map(|(_, rule)| rule.clone()).chain(faults::everyday(place)) {
                faults.inject(rule);
            }
        }
    }

    fn at(&self, place: Place) -> &Faults {
        match place {
            Place::China => &self.china,
            Place::Europe => &self.europe,
        }
    }

    /// This rule too, until it is lifted.
    pub(super) fn impose(&self, place: Place, rule: &Rule) {
        lock(&self.passing).push((place, rule.clone()));
        self.disturb();
    }

    /// Without this rule again.
    pub(super) fn lift(&self, place: Place, rule: &Rule) {
        let mut passing = lock(&self.passing);
        let like_it = |(of, other): &(Place, Rule)| *of == place && other == rule;
        if let Some(at) = passing.iter().position(like_it) {
            passing.remove(at);
        }
        drop(passing);
        self.disturb();
    }

    /// Waits until a call has met this rule; `false` when none does for so long.
    pub(super) async fn meets(&self, place: Place, rule: &Rule, patience: Duration) -> bool {
        let until = Instant::now() + patience;
        while Instant::now() < until {
            if self.at(place).fired(rule) > 0 {
                return true;
            }
            sleep(Duration::from_millis(5)).await;
        }
        false
    }

    /// No faults from now on.
    pub(super) fn calm(&self) {
        lock(&self.passing).clear();
        self.china.clear();
        self.europe.clear();
    }

    /// Has one episode after the other until then.
    pub(super) async fn episodes(&self, rng: &mut StdRng, timeline: &Timeline, until: Instant) {
        loop {
            let (after, episode) = Episode::draw(rng);
            let at = Instant::now() + after;
            if at + episode.lasts > until {
                return sleep_until(until).await;
            }
            sleep_until(at).await;
            timeline.fault(
                "outage or slowness",
                json!({ "name": episode.name, "for_ms": episode.lasts.as_millis() }),
            );
            self.impose(episode.place, &episode.rule);
            sleep(episode.lasts).await;
            self.lift(episode.place, &episode.rule);
        }
    }

    /// Records whose producer was not told of them, since the last time.
    pub(super) fn untold(&mut self) -> HashSet<Position> {
        let mut untold = HashSet::new();
        while let Ok(lost) = self.lost.try_recv() {
            if lost.operation != "kinesis:PutRecords" {
                continue;
            }
            let put: Put = serde_json::from_slice(&lost.body).unwrap_or(Put { records: Vec::new() });
            let taken = put.records.into_iter();
            untold.extend(taken.filter_map(|taken| Some((taken.shard_id?, taken.sequence_number?))));
        }
        untold
    }

    /// How many calls were disturbed, by side, operation and kind.
    pub(super) fn counts(&self) -> BTreeMap<String, u64> {
        let sides = [("China", &self.china), ("Europe", &self.europe)];
        let counts = sides.into_iter().flat_map(|(side, faults)| {
            let taken = faults.actions_taken().into_iter();
            taken.map(move |((operation, kind), count)| (format!("{side} {operation} {kind}"), count))
        });
        counts.collect()
    }
}

/// Splits and merges shards until then.
pub(super) async fn reshard(world: &World, rng: &mut StdRng, timeline: &Timeline, until: Instant) {
    let kinesis = aws_clients::kinesis(&world.aws.source.config);
    loop {
        let (after, split, place) = faults::draw_reshard(rng);
        let at = Instant::now() + after;
        if at > until {
            return sleep_until(until).await;
        }
        sleep_until(at).await;
        // The stream may be away: then nothing changes this time.
        let changed = change_shards(&kinesis, split, place).await;
        if let Some(what) = changed {
            timeline.fault("reshard", what);
        }
    }
}

struct OpenShard {
    id: String,
    first: u128,
    last: u128,
}

async fn change_shards(kinesis: &Kinesis, split: bool, place: f64) -> Option<serde_json::Value> {
    let open = open_shards(kinesis).await?;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a place in a short list"
    )]
    let pick = |length: usize| ((length as f64 * place) as usize).min(length.saturating_sub(1));
    let what = if split && open.len() < *SHARDS.end() {
        let shard = &open[pick(open.len())];
        let middle = shard.first + (shard.last - shard.first) / 2 + 1;
        let call = kinesis
            .split_shard()
            .stream_name(STREAM)
            .shard_to_split(&shard.id);
        call.new_starting_hash_key(middle.to_string()).send().await.ok()?;
        json!({ "split": shard.id })
    } else if open.len() > *SHARDS.start() {
        let at = pick(open.len() - 1);
        let (shard, next) = (&open[at], &open[at + 1]);
        let call = kinesis
            .merge_shards()
            .stream_name(STREAM)
            .shard_to_merge(&shard.id);
        call.adjacent_shard_to_merge(&next.id).send().await.ok()?;
        json!({ "merge": [shard.id, next.id] })
    } else {
        return None;
    };
    let patience = Instant::now() + ACTIVE;
    while Instant::now() < patience {
        let summary = kinesis
            .describe_stream_summary()
            .stream_name(STREAM)
            .send()
            .await
            .ok();
        let status = summary.and_then(|answer| answer.stream_description_summary);
        if status.is_some_and(|summary| summary.stream_status().as_str() == "ACTIVE") {
            break;
        }
        sleep(Duration::from_millis(20)).await;
    }
    Some(what)
}

/// The shards that take records now, in the order of their ranges.
async fn open_shards(kinesis: &Kinesis) -> Option<Vec<OpenShard>> {
    let answer = kinesis.list_shards().stream_name(STREAM).send().await.ok()?;
    let open = answer.shards().iter().filter_map(|shard| {
        let numbers = shard.sequence_number_range()?;
        let range = shard.hash_key_range()?;
        let is_open = numbers.ending_sequence_number().is_none();
        is_open.then_some(OpenShard {
            id: shard.shard_id().to_owned(),
            first: range.starting_hash_key().parse().ok()?,
            last: range.ending_hash_key().parse().ok()?,
        })
    });
    let mut open: Vec<OpenShard> = open.collect();
    open.sort_by_key(|shard| shard.first);
    Some(open)
}

/// Takes messages out of the queue and puts them back in another order, some of them twice, until then.
pub(super) async fn shuffle(world: &World, rng: &mut StdRng, timeline: &Timeline, until: Instant) {
    let sqs = aws_clients::sqs(&world.aws.source.config);
    let queue = &world.aws.queue_url;
    loop {
        let (after, again) = faults::draw_shuffle(rng);
        let at = Instant::now() + after;
        if at > until {
            return sleep_until(until).await;
        }
        sleep_until(at).await;
        let call = sqs
            .receive_message()
            .queue_url(queue)
            .max_number_of_messages(10)
            .visibility_timeout(2);
        // The queue may be away: then nothing changes this time.
        let Ok(received) = call.send().await else {
            continue;
        };
        let mut messages = received.messages.unwrap_or_default();
        messages.shuffle(rng);
        for message in messages {
            timeline.fault("message redelivered out of order", json!({}));
            if again && announce(&sqs, queue, message.body()).await.is_some() {
                timeline.fault("message announced twice", json!({}));
            }
            sleep(faults::millis(rng, 0..50)).await;
            let back = sqs
                .change_message_visibility()
                .queue_url(queue)
                .visibility_timeout(0);
            let back = back.set_receipt_handle(message.receipt_handle).send().await;
            // Otherwise it comes back by itself.
            back.map(|_| ()).unwrap_or_default();
        }
    }
}

async fn announce(sqs: &Sqs, queue: &str, body: Option<&str>) -> Option<()> {
    let sent = sqs
        .send_message()
        .queue_url(queue)
        .message_body(body?)
        .send()
        .await;
    sent.ok().map(|_| ())
}

/// Moves the clock of China's AWS forwards until then.
pub(super) async fn jump(world: &World, rng: &mut StdRng, timeline: &Timeline, until: Instant) {
    let mut jumped = Duration::ZERO;
    loop {
        let (after, by) = faults::draw_jump(rng);
        let at = Instant::now() + after;
        if at > until || jumped + by > JUMPS_MAX {
            return sleep_until(until).await;
        }
        sleep_until(at).await;
        jumped += by;
        world.clock.advance(by);
        timeline.fault("clock jump", json!({ "seconds": by.as_secs() }));
    }
}
