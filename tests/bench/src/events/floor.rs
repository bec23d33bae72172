//! What reading an event and judging it costs by itself, in this process and on the measured core.

use std::{collections::HashMap, hint::black_box, time::Duration};

use event_model::{Catalogue, Envelope, RawEvent, bundled_documents};
use jsonschema::{Draft, PatternOptions, Validator};
use rustix::time::{ClockId, clock_gettime};
use serde_json::Value;

use crate::{
    Failure,
    cores::Cores,
    population::{Mix, Population},
};

/// Events a round.
const EVENTS: usize = 20_000;
/// How often each of them is read and judged.
const REPEATS: usize = 5;

/// Both ways to a verdict.
pub(super) struct Floors {
    catalogue: Catalogue,
    /// The same schemas for serde_json's own tree, by event type.
    plain: HashMap<String, Validator>,
}

impl Floors {
    pub(super) fn compile() -> Result<Self, Failure> {
        let unusable = |error: &dyn std::fmt::Display| Failure::NotMeasured(format!("a schema: {error}"));
        let mut plain = HashMap::new();
        for (path, document) in bundled_documents() {
            let schema: Value = serde_json::from_slice(document).map_err(|error| unusable(&error))?;
            let validator = jsonschema::options()
                .with_draft(Draft::Draft202012)
                .with_pattern_options(PatternOptions::regex())
                .should_validate_formats(true)
                .build(&schema)
                .map_err(|error| unusable(&error))?;
            let (event_type, _) = path.split_once('/').unwrap_or((path, ""));
            plain.insert(event_type.to_owned(), validator);
        }
        Ok(Self {
            catalogue: Catalogue::bundled().map_err(|error| unusable(&error))?,
            plain,
        })
    }

    /// Microseconds an event by serde_json's tree, and by the project's own.
    pub(super) fn measure(&self, population: &mut Population, cores: &Cores) -> Result<(f64, f64), Failure> {
        let events: Vec<String> = (0..EVENTS).map(|_| population.event().json).collect();
        let plain = cores.measured(|| micros(&events, |event| self.plainly(event)));
        let own = cores.measured(|| micros(&events, |event| self.own(event)));
        let none = || Failure::NotMeasured("an event of the generator's is not valid".to_owned());
        Ok((plain.ok_or_else(none)?, own.ok_or_else(none)?))
    }

    fn plainly(&self, event: &[u8]) -> Option<()> {
        let event: Value = serde_json::from_slice(event).ok()?;
        let validator = self.plain.get(event.get("eventtype")?.as_str()?)?;
        validator.is_valid(&event).then_some(())
    }

    fn own(&self, event: &[u8]) -> Option<()> {
        let event = RawEvent::parse(event, 32).ok()?;
        let envelope = Envelope::read(&event).ok()?;
        let schema = self.catalogue.latest(envelope.event_type.as_ref()?.as_str())?;
        schema.verdict(&event).ok()
    }

    /// Bytes an event, on average.
    pub(super) fn mean_bytes(&self, seed: u64) -> f64 {
        let mut population = Population::new(Mix {
            seed,
            ..Mix::default()
        });
        let bytes: usize = (0..EVENTS).map(|_| population.event().json.len()).sum();
        super::to_f64(bytes) / super::to_f64(EVENTS)
    }
}

/// Processor time an event; none if one is not valid.
fn micros(events: &[String], verdict: impl Fn(&[u8]) -> Option<()>) -> Option<f64> {
    let once = || {
        events
            .iter()
            .try_for_each(|event| black_box(verdict(black_box(event.as_bytes()))))
    };
    once()?;
    let before = thread_time();
    for _ in 0..REPEATS {
        once()?;
    }
    let used = thread_time().saturating_sub(before);
    Some(used.as_secs_f64() * 1e6 / super::to_f64(events.len() * REPEATS))
}

fn thread_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let (seconds, nanos) = (time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs());
    Duration::from_secs(seconds) + Duration::from_nanos(nanos)
}
