//! The same work with TLS between `events` and Kinesis, as in production. Clients come without TLS there too:
//! it ends before `events`.

use super::{
    BATCH, BATCH_CONNECTIONS, Plan, SINGLE_CONNECTIONS, bodies, processor_time, to_f64, world::World,
};
use crate::{
    Failure,
    population::Population,
    report::{Line, difference},
};

/// What it came to; each list has a value a round.
#[derive(Default)]
pub(super) struct OverTls {
    batched: Vec<f64>,
    single: Vec<f64>,
}

impl OverTls {
    /// One round more.
    pub(super) async fn measure(
        &mut self,
        plan: &Plan,
        world: &World,
        population: &mut Population,
    ) -> Result<(), Failure> {
        let (service, target) = (&world.service, &world.target);
        let batches = bodies(population, plan.batched, BATCH);
        let (micros, _) = processor_time(service, target, BATCH_CONNECTIONS, BATCH, batches).await?;
        self.batched.push(micros / to_f64(BATCH));
        let singles = bodies(population, plan.single, 1);
        let (micros, _) = processor_time(service, target, SINGLE_CONNECTIONS, 1, singles).await?;
        self.single.push(micros);
        Ok(())
    }

    /// Beside the same over plain HTTP.
    pub(super) fn lines(&self, batched: &[f64], single: &[f64]) -> Vec<Line> {
        let line = |what, unit, values: Vec<f64>| Line::new(what, unit, values);
        vec![
            line("TLS: events, batched", "CPU µs/event", self.batched.clone()),
            line(
                "TLS: added, batched",
                "CPU µs/event",
                difference(&self.batched, batched),
            ),
            line(
                "TLS: events, one event a request",
                "CPU µs/request",
                self.single.clone(),
            ),
            line(
                "TLS: added, one event a request",
                "CPU µs/request",
                difference(&self.single, single),
            ),
        ]
    }
}
