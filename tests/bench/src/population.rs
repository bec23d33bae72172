//! Devices, the people who use them, and what they send: the same events for the same seed.
//!
//! Few devices are busy and many are quiet: which one acts next follows Zipf's law. A device acts in
//! sessions: it fetches a token, then its owner moves through screens, plays, stops and skips, and now
//! and then speaks to it. New accounts and devices appear all the time. A share of the events is wrong
//! or sent twice, as is asked for.

mod device;
mod words;

use bytes::Bytes;
use event_model::Producer;
use jiff::{SignedDuration, Timestamp};
use rand::{Rng, SeedableRng, rngs::StdRng};

use self::device::Device;

/// How many of the events sent last may be sent again.
const REMEMBERED: usize = 1_000;

/// What a population is like.
#[derive(Clone, Copy, Debug)]
pub struct Mix {
    /// Decides everything.
    pub seed: u64,
    /// How many devices there are.
    pub devices: usize,
    /// The exponent of Zipf's law: 0 makes all devices equally busy, 1 a few of them very.
    pub skew: f64,
    /// The share of events that no schema allows, from 0 to 1.
    pub invalid: f64,
    /// The share of events that were sent before, from 0 to 1.
    pub duplicates: f64,
    /// Who sends: a device and an app may not send every type.
    pub producer: Producer,
    /// When the first event happens.
    pub start: Timestamp,
}

impl Default for Mix {
    /// What a platform's service sends of a hundred thousand devices, all of it valid.
    fn default() -> Self {
        Self {
            seed: 1,
            devices: 100_000,
            skew: 0.6,
            invalid: 0.0,
            duplicates: 0.0,
            producer: Producer::Platform,
            start: "2026-03-02T05:00:00Z".parse().expect("a time"),
        }
    }
}

/// What the service should make of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Accept it.
    New,
    /// Recognise it.
    Duplicate,
    /// Refuse it.
    Invalid,
}

/// One event as a client would send it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The JSON object.
    pub json: String,
    /// What should become of it.
    pub kind: Kind,
}

/// Devices that go on acting.
#[derive(Clone, Debug)]
pub struct Population {
    mix: Mix,
    rng: StdRng,
    now: Timestamp,
    devices: Vec<Device>,
    /// For each device the share of all events that it and those before it send.
    activity: Vec<f64>,
    sent: Vec<String>,
}

impl Population {
    /// The population at its start.
    #[must_use]
    pub fn new(mix: Mix) -> Self {
        let mut rng = StdRng::seed_from_u64(mix.seed);
        let devices: Vec<_> = (0..mix.devices.max(1)).map(|_| Device::new(&mut rng)).collect();
        Self {
            activity: zipf(devices.len(), mix.skew),
            now: mix.start,
            devices,
            rng,
            mix,
            sent: Vec::new(),
        }
    }

    /// The next event of any device.
    pub fn event(&mut self) -> Event {
        if !self.sent.is_empty() && self.rng.random_bool(self.mix.duplicates.clamp(0.0, 1.0)) {
            let again = self.rng.random_range(0..self.sent.len());
            return Event {
                json: self.sent[again].clone(),
                kind: Kind::Duplicate,
            };
        }
        self.now += SignedDuration::from_millis(self.rng.random_range(1..40));
        let draw = self.rng.random::<f64>();
        let busy = self.activity.partition_point(|share| *share < draw);
        let busy = busy.min(self.devices.len() - 1);
        let mut fields = self.devices[busy].act(self.mix.producer, self.now, &mut self.rng);
        if self.rng.random_bool(self.mix.invalid.clamp(0.0, 1.0)) {
            fields.spoil(&mut self.rng);
            return Event {
                json: fields.json(),
                kind: Kind::Invalid,
            };
        }
        let json = fields.json();
        if self.mix.duplicates > 0.0 {
            if self.sent.len() < REMEMBERED {
                self.sent.push(json.clone());
            } else {
                let forgotten = self.rng.random_range(0..REMEMBERED);
                self.sent[forgotten].clone_from(&json);
            }
        }
        Event {
            json,
            kind: Kind::New,
        }
    }

    /// A request's body: one event as an object, several as an array.
    pub fn body(&mut self, events: usize) -> Bytes {
        if events == 1 {
            return self.event().json.into();
        }
        let mut body = String::from("[");
        for index in 0..events {
            body.push_str(if index > 0 { "," } else { "" });
            body.push_str(&self.event().json);
        }
        body.push(']');
        body.into()
    }
}

/// Cumulative shares by Zipf's law: the device of rank `r` is as busy as `1 / r^skew`.
fn zipf(devices: usize, skew: f64) -> Vec<f64> {
    let mut sum = 0.0;
    let cumulative: Vec<f64> = (1..=devices)
        .map(|rank| {
            #[expect(clippy::cast_precision_loss, reason = "there are fewer devices than 2^52")]
            let rank = rank as f64;
            sum += rank.powf(-skew);
            sum
        })
        .collect();
    cumulative.into_iter().map(|share| share / sum).collect()
}

#[cfg(test)]
#[path = "population/tests.rs"]
mod tests;
