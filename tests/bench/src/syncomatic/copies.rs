//! Objects of 64 MiB and of 4 KiB, by what copying cannot do without and then by the service: over plain
//! HTTP, and the same over TLS.

use std::time::Duration;

use bytes::Bytes;

use super::{Plan, World, noise};
use crate::{
    Failure,
    cores::Cores,
    report::{Line, difference},
};

const LARGE_BYTES: usize = 64 << 20;
const SMALL_BYTES: usize = 4 << 10;

/// What they came to; each list has a value a round.
#[derive(Default)]
pub(super) struct Copies {
    pub(super) large_floor: Vec<f64>,
    pub(super) large: Vec<f64>,
    pub(super) large_wall: Vec<f64>,
    pub(super) small_floor: Vec<f64>,
    pub(super) small: Vec<f64>,
    pub(super) small_wall: Vec<f64>,
}

impl Copies {
    /// One round more.
    pub(super) async fn measure(
        &mut self,
        world: &mut World,
        plan: &Plan,
        cores: &Cores,
        say: impl Fn(&str),
    ) -> Result<(), Failure> {
        say("large objects, the SDK alone");
        world
            .put("large", plan.large, &Bytes::from(noise(LARGE_BYTES)))
            .await?;
        let cpu = world.floor(cores, "large", plan.large, false).await?;
        let gib = f64::from(plan.large) / 16.0;
        self.large_floor.push(cpu.as_secs_f64() / gib);
        say("large objects");
        let used = world.copied("large", plan.large).await?;
        self.large.push(used.cpu.as_secs_f64() / gib);
        self.large_wall.push(gib * 1024.0 / used.wall.as_secs_f64());

        say("small objects, bare calls");
        world
            .put("small", plan.small, &Bytes::from(noise(SMALL_BYTES)))
            .await?;
        let cpu = world.floor(cores, "small", plan.small, true).await?;
        let millis = |cpu: Duration| cpu.as_secs_f64() * 1e3 / f64::from(plan.small);
        self.small_floor.push(millis(cpu));
        say("small objects");
        let used = world.copied("small", plan.small).await?;
        self.small.push(millis(used.cpu));
        self.small_wall
            .push(f64::from(plan.small) / used.wall.as_secs_f64());
        Ok(())
    }

    /// These copies over TLS, beside the same over plain HTTP.
    pub(super) fn lines_over_tls(&self, plain: &Self) -> Vec<Line> {
        let line = |what, unit, values: &[f64]| Line::new(what, unit, values.to_vec());
        vec![
            line("TLS, 64 MiB: the SDK alone", "core-s/GiB", &self.large_floor),
            line("TLS, 64 MiB: syncomatic, verbatim", "core-s/GiB", &self.large),
            Line::new(
                "TLS, 64 MiB: added to the SDK alone",
                "core-s/GiB",
                difference(&self.large_floor, &plain.large_floor),
            ),
            Line::new(
                "TLS, 64 MiB: added to syncomatic",
                "core-s/GiB",
                difference(&self.large, &plain.large),
            ),
            line("TLS, 64 MiB: on the wall clock", "MiB/s", &self.large_wall),
            line("TLS, 4 KiB: the bare calls", "core-ms/object", &self.small_floor),
            line("TLS, 4 KiB: syncomatic", "core-ms/object", &self.small),
            Line::new(
                "TLS, 4 KiB: added to syncomatic",
                "core-ms/object",
                difference(&self.small, &plain.small),
            ),
            line("TLS, 4 KiB: on the wall clock", "objects/s", &self.small_wall),
        ]
    }
}
