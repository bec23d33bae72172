//! One program of the pipeline, started again and again.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use rand::rngs::StdRng;
use rustix::process::Signal;
use serde_json::json;
use tokio::{
    sync::watch,
    time::{Instant, sleep, sleep_until},
};

use super::{
    faults::{Blow, held_call},
    ledger::{End, Life},
    senders::Door,
    timeline::Timeline,
    wire::Wire,
    world::{Kind, World},
};
use crate::{
    Failure,
    load::lock,
    program::{Program, logged},
};

/// How often it is looked whether it still runs.
const LOOK: Duration = Duration::from_millis(100);
/// How long a call is waited for in which a program is to be killed.
const CALL_WITHIN: Duration = Duration::from_millis(1_500);
/// Longer than a program takes to be ready, however badly AWS was treated before.
const READY: Duration = Duration::from_secs(60);

pub(super) struct Slot {
    pub(super) kind: Kind,
    pub(super) number: usize,
    pub(super) door: watch::Sender<Option<Door>>,
    running: Option<Program>,
    /// How often it was started.
    starts: usize,
    /// Of `events`: which process it is now.
    life: usize,
    lives: Arc<Mutex<Vec<Life>>>,
}

impl Slot {
    pub(super) fn new(kind: Kind, number: usize, lives: &Arc<Mutex<Vec<Life>>>) -> Self {
        Self {
            kind,
            number,
            door: watch::Sender::new(None),
            running: None,
            starts: 0,
            life: 0,
            lives: Arc::clone(lives),
        }
    }

    pub(super) fn name(&self) -> String {
        format!("{}-{}", self.kind.as_str(), self.number)
    }

    /// Starts it; `events` is started when it listens.
    pub(super) async fn start(&mut self, world: &World) -> Result<(), Failure> {
        self.starts += 1;
        let mut program = world.launch(self.kind, self.number, self.starts)?;
        if self.kind == Kind::Events {
            let address: SocketAddr = program
                .logged(|line| logged(line, "listening", "address"))
                .await?;
            let mut lives = lock(&self.lives);
            lives.push(Life::default());
            self.life = lives.len() - 1;
            let life = self.life;
            self.door.send_replace(Some(Door { address, life }));
        }
        self.running = Some(program);
        Ok(())
    }

    /// Deals it one blow after the other until then, and leaves it running.
    pub(super) async fn suffer(
        &mut self,
        (world, wire): (&World, &Wire),
        rng: &mut StdRng,
        timeline: &Timeline,
        until: Instant,
    ) -> Result<(), Failure> {
        loop {
            let (after, blow) = Blow::draw(rng);
            let at = Instant::now() + after;
            if at > until {
                return self.rest(until).await;
            }
            self.rest(at).await?;
            self.blow(blow, (world, wire), timeline).await?;
        }
    }

    async fn blow(
        &mut self,
        blow: Blow,
        (world, wire): (&World, &Wire),
        timeline: &Timeline,
    ) -> Result<(), Failure> {
        let name = self.name();
        match blow {
            Blow::Kill(down) => {
                timeline.fault("kill -9", json!({ "program": name, "down_ms": down.as_millis() }));
                self.kill(world).await?;
                sleep(down).await;
                self.start(world).await
            }
            Blow::KillInCall { call, after, down } => {
                let (place, rule) = held_call(self.kind, call);
                wire.impose(place, &rule);
                let kind = match wire.meets(place, &rule, CALL_WITHIN).await {
                    true => "kill -9 in a call",
                    false => "kill -9",
                };
                sleep(after).await;
                timeline.fault(
                    kind,
                    json!({ "program": name, "rule": rule, "down_ms": down.as_millis() }),
                );
                self.kill(world).await?;
                wire.lift(place, &rule);
                sleep(down).await;
                self.start(world).await
            }
            Blow::Drain(down) => {
                timeline.fault("SIGTERM", json!({ "program": name, "down_ms": down.as_millis() }));
                self.drain(world).await?;
                sleep(down).await;
                self.start(world).await
            }
            Blow::Pause(lasts) => {
                timeline.fault("SIGSTOP", json!({ "program": name, "for_ms": lasts.as_millis() }));
                let from = world.clock.now_ms();
                if let Some(program) = &self.running {
                    program.signal(Signal::STOP)?;
                    sleep(lasts).await;
                    program.signal(Signal::CONT)?;
                }
                let to = world.clock.now_ms();
                if self.kind == Kind::Events
                    && let Some(life) = lock(&self.lives).get_mut(self.life)
                {
                    life.pauses.push((from, to));
                }
                Ok(())
            }
        }
    }

    async fn kill(&mut self, world: &World) -> Result<(), Failure> {
        if let Some(program) = self.running.take() {
            let log = program.log().to_owned();
            program.kill().await?;
            self.ended(End::Killed, world, &log);
        }
        Ok(())
    }

    /// Ends it well.
    pub(super) async fn drain(&mut self, world: &World) -> Result<(), Failure> {
        if let Some(mut program) = self.running.take() {
            let log = program.log().to_owned();
            // Before that it has not asked for signals yet, and the kernel ends it.
            program
                .logged(|line| logged::<String>(line, "starting", "admin"))
                .await?;
            program.end().await?;
            self.ended(End::Drained, world, &log);
        }
        Ok(())
    }

    /// It ended as it should: nobody will read its log.
    fn ended(&mut self, how: End, world: &World, log: &std::path::Path) {
        self.door.send_replace(None);
        if self.kind == Kind::Events
            && let Some(life) = lock(&self.lives).get_mut(self.life)
        {
            life.end = Some((how, world.clock.now_ms()));
        }
        // What cannot be removed takes room, no more.
        std::fs::remove_file(log).unwrap_or_default();
    }

    /// Leaves it alone until then, and sees that it goes on running.
    async fn rest(&mut self, until: Instant) -> Result<(), Failure> {
        while Instant::now() < until {
            if let Some(program) = &mut self.running {
                program.runs()?;
            }
            sleep_until(until.min(Instant::now() + LOOK)).await;
        }
        Ok(())
    }

    /// Waits until it says that it is ready.
    pub(super) async fn ready(&mut self) -> Result<(), Failure> {
        self.until("to be ready", "/readyz", |_| true).await
    }

    /// Of `events`: waits until nothing waits in its spool.
    pub(super) async fn spool_empty(&mut self) -> Result<(), Failure> {
        let empty = |metrics: &str| {
            let mut lines = metrics.lines();
            lines.any(|line| {
                line.strip_prefix("events_spool_records ")
                    .is_some_and(|count| count.trim() == "0")
            })
        };
        self.until("to empty its spool", "/metrics", empty).await
    }

    /// Asks its admin port until the answer is good.
    async fn until(&mut self, what: &str, path: &str, good: impl Fn(&str) -> bool) -> Result<(), Failure> {
        let failed = |problem: String, name: String| Failure::Program {
            program: name,
            problem,
        };
        let name = self.name();
        let Some(program) = &mut self.running else {
            return Err(failed("is not running".to_owned(), name));
        };
        let admin: SocketAddr = program.logged(|line| logged(line, "starting", "admin")).await?;
        let url = format!("http://{admin}{path}");
        let patience = Instant::now() + READY;
        let mut last = String::new();
        while Instant::now() < patience {
            program.runs()?;
            if let Ok(answer) = reqwest::get(&url).await {
                let is_success = answer.status().is_success();
                last = answer.text().await.unwrap_or_default();
                if is_success && good(&last) {
                    return Ok(());
                }
            }
            sleep(LOOK).await;
        }
        let shown: String = last.chars().take(200).collect();
        Err(failed(
            format!("waited {READY:?} in vain for it {what}: {shown}"),
            name,
        ))
    }
}
