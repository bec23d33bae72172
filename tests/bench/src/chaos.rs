//! The whole pipeline as processes over the emulated AWS, under load, while everything is done to it that
//! can be; and the proof that nothing was lost and nothing doubled.
//!
//! A run goes in rounds. In each, clients send, and programs are killed, drained and paused, calls to AWS
//! fail, hang, lose their answers and bring wrong bytes, shards split and merge, messages come again and
//! out of order, and the clock of AWS jumps. Then everything is left alone until what is under way has
//! arrived, and the ledger is drawn up. The first loss ends the run.
//!
//! The seed decides what happens and when. How the programs' threads meet it is the machine's doing: the
//! same seed tries the same things, and need not find the same.
//!
//! | module | is for |
//! |---|---|
//! | `faults` | what is done, drawn from the seed |
//! | `slot`, `wire` | doing it: to a program, to AWS |
//! | `senders` | the clients, and what they were told |
//! | `stores` | what is in the stream and in the buckets |
//! | `ledger` | the one held against the other |

mod faults;
mod ledger;
mod senders;
mod slot;
mod stores;
mod timeline;
mod wire;
mod world;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};

use clap::Args;
use event_model::Producer;
use local::aws::{DESTINATION_BUCKET, SOURCE_BUCKET};
use rand::Rng;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, sleep},
};

use self::{
    ledger::{Balance, Cause, Life},
    senders::{Role, Sender},
    slot::Slot,
    stores::{BucketReader, Object, StreamReader},
    timeline::Timeline,
    wire::Wire,
    world::{Kind, World},
};
use crate::{Failure, load::lock, report::provenance};

/// Clients that send side by side.
const SENDERS: usize = 8;
/// How long what is under way may take to arrive once everything is left alone. Longer than hoard's longest
/// pause between two tries, several times.
const SETTLE: Duration = Duration::from_secs(90);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(250);

/// How long, how much, and what happens.
#[derive(Args, Clone, Debug)]
pub struct Plan {
    /// Minutes of faults; settling and checking come on top.
    #[arg(long, default_value_t = 10.0, value_parser = minutes)]
    pub minutes: f64,

    /// Seconds of faults between two ledgers.
    #[arg(long, default_value_t = 60.0, value_parser = minutes)]
    pub round_seconds: f64,

    /// Decides what happens and what is sent.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,

    /// Events a second, all clients together.
    #[arg(long, default_value_t = 300.0, value_parser = minutes)]
    pub rate: f64,

    /// Instances of events; every second one aggregates.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=8))]
    pub events: u8,

    /// Replicas of hoard.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=8))]
    pub hoards: u8,

    /// Instances of syncomatic.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=8))]
    pub syncomatics: u8,

    /// Also writes each fault to this file as it happens, one JSON object a line.
    #[arg(long, value_name = "FILE")]
    pub timeline: Option<PathBuf>,

    /// Also writes what came of it to this file, as JSON.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,

    /// Where streams, buckets, spools and logs are while it runs; kept when something is wrong.
    #[arg(long, value_name = "FOLDER")]
    pub folder: Option<PathBuf>,
}

fn minutes(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(number) if number.is_finite() && number > 0.0 => Ok(number),
        _ => Err("must be a number above 0".to_owned()),
    }
}

/// What came of a run in which nothing was wrong.
#[derive(Clone, Debug)]
pub struct Survived {
    balance: Balance,
    faults: BTreeMap<String, u64>,
    rounds: u64,
    took: Duration,
}

impl Survived {
    /// Faults of every kind together.
    #[must_use]
    pub fn faults(&self) -> u64 {
        self.faults.values().sum()
    }

    /// Faults whose kind begins so, such as `kill -9` or `China kinesis:PutRecords`.
    #[must_use]
    pub fn faults_of(&self, kind: &str) -> u64 {
        let of_kind = self.faults.iter().filter(|(name, _)| name.starts_with(kind));
        of_kind.map(|(_, count)| count).sum()
    }

    /// Events that were answered `accepted`, published and spooled.
    #[must_use]
    pub fn accepted(&self) -> (u64, u64) {
        (self.balance.published, self.balance.spooled)
    }

    /// Lines in the stream, in China's bucket and in Europe's.
    #[must_use]
    pub fn lines(&self) -> (u64, u64, u64) {
        let balance = &self.balance;
        (balance.in_stream, balance.source_lines, balance.destination_lines)
    }

    fn json(&self, plan: &Plan) -> Value {
        let balance = &self.balance;
        let permitted = balance.permitted.iter();
        let permitted: BTreeMap<_, _> = permitted.map(|(cause, count)| (cause.as_str(), count)).collect();
        json!({
            "facts": provenance().into_iter().collect::<BTreeMap<_, _>>(),
            "seed": plan.seed,
            "rounds": self.rounds,
            "took_seconds": self.took.as_secs_f64(),
            "sent": balance.sent,
            "accepted_published": balance.published,
            "accepted_spooled": balance.spooled,
            "answered_duplicate": balance.recognised,
            "rejected": balance.rejected,
            "lines_in_stream": balance.in_stream,
            "lines_in_china": balance.source_lines,
            "lines_in_europe": balance.destination_lines,
            "lost": balance.lost,
            "duplicated": balance.duplicated,
            "permitted_duplicates": permitted,
            "faults": self.faults(),
            "faults_by_kind": self.faults,
        })
    }
}

impl std::fmt::Display for Survived {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let balance = &self.balance;
        let mut line = |name: &str, value: u64| writeln!(f, "{name:>42}  {value}");
        line("rounds", self.rounds)?;
        line("seconds", self.took.as_secs())?;
        line("events sent", balance.sent)?;
        line("answered accepted, published", balance.published)?;
        line("answered accepted, spooled", balance.spooled)?;
        line("answered duplicate", balance.recognised)?;
        line("answered rejected", balance.rejected)?;
        line("lines in the stream", balance.in_stream)?;
        line("lines in China's bucket", balance.source_lines)?;
        line("lines in Europe's bucket", balance.destination_lines)?;
        line("lost", balance.lost)?;
        line("duplicated", balance.duplicated)?;
        for cause in [
            Cause::AnswerLost,
            Cause::Killed,
            Cause::Paused,
            Cause::OtherProcess,
        ] {
            let count = balance.permitted.get(&cause).copied().unwrap_or_default();
            line(&format!("twice, {}", cause.as_str()), count)?;
        }
        line("faults", self.faults())?;
        for (kind, count) in &self.faults {
            line(kind, *count)?;
        }
        Ok(())
    }
}

/// Runs it and shows what came of it. `programs` is the binary that is each program of the pipeline when
/// it is called by its name.
///
/// # Errors
/// At the first loss, duplicate or program that does not do what it should; seed and timeline are
/// printed then, and the folder with all state and logs is kept.
#[expect(clippy::print_stdout, reason = "its output is for people")]
pub async fn run(plan: &Plan, programs: &Path) -> Result<Survived, Failure> {
    let timeline = Timeline::begin(plan.timeline.as_deref())?;
    let made = match &plan.folder {
        Some(folder) => TempDir::with_prefix_in("chaos-", folder),
        None => TempDir::with_prefix("chaos-"),
    };
    let folder = made.map_err(Failure::system("no folder"))?;
    println!("seed {}, in {}", plan.seed, folder.path().display());
    match Box::pin(survive(plan, programs, folder.path(), &timeline)).await {
        Ok(survived) => {
            print!("{survived}");
            if let Some(path) = &plan.json {
                std::fs::write(path, survived.json(plan).to_string())
                    .map_err(Failure::system(format!("cannot write {}", path.display())))?;
            }
            Ok(survived)
        }
        Err(failure) => {
            for line in timeline.lines() {
                println!("{line}");
            }
            println!("seed {}, kept in {}", plan.seed, folder.keep().display());
            Err(failure)
        }
    }
}

/// Everything that goes on from round to round.
struct Pipeline<'p> {
    plan: &'p Plan,
    world: World,
    wire: Wire,
    slots: Vec<Slot>,
    lives: Arc<Mutex<Vec<Life>>>,
    stream: StreamReader,
    source: BucketReader,
    destination: BucketReader,
}

async fn survive(
    plan: &Plan,
    programs: &Path,
    folder: &Path,
    timeline: &Timeline,
) -> Result<Survived, Failure> {
    let started = Instant::now();
    let mut pipeline = Pipeline::start(plan, programs, folder).await?;
    let mut survived = Survived {
        balance: Balance::default(),
        faults: BTreeMap::new(),
        rounds: 0,
        took: Duration::ZERO,
    };
    let (mut left, round_length) = (plan.minutes * 60.0, plan.round_seconds);
    while left > 0.0 {
        survived.rounds += 1;
        let length = Duration::from_secs_f64(left.min(round_length));
        left -= round_length;
        let balance = pipeline.round(survived.rounds, length, timeline).await?;
        survived.balance.add(&balance);
        survived.faults = pipeline.wire.counts();
        survived.faults.extend(timeline.counts());
        survived.took = started.elapsed();
        progress(&survived, &balance);
        timeline.note(
            "ledger",
            json!({ "round": survived.rounds, "lost": balance.lost, "duplicated": balance.duplicated }),
        );
        if !balance.is_clean() {
            return Err(Failure::Program {
                program: format!("the pipeline, in round {}", survived.rounds),
                problem: format!(
                    "{} lost, {} duplicated, {} otherwise wrong\n{}",
                    balance.lost,
                    balance.duplicated,
                    balance.otherwise_wrong,
                    balance.wrong.join("\n")
                ),
            });
        }
    }
    pipeline.end().await?;
    survived.took = started.elapsed();
    Ok(survived)
}

#[expect(clippy::print_stderr, reason = "a person waits for it")]
fn progress(survived: &Survived, balance: &Balance) {
    eprintln!(
        "round {:>4}, {:>5} s: {:>6} faults, {} events in the stream, {} in China, {} in Europe, {} lost, {} duplicated",
        survived.rounds,
        survived.took.as_secs(),
        survived.faults(),
        balance.in_stream,
        balance.source_lines,
        balance.destination_lines,
        balance.lost,
        balance.duplicated,
    );
}

impl<'p> Pipeline<'p> {
    async fn start(plan: &'p Plan, programs: &Path, folder: &Path) -> Result<Self, Failure> {
        let world = World::start(folder, programs, plan.seed).await?;
        let lives = Arc::default();
        let kinds = [
            (Kind::Events, plan.events),
            (Kind::Hoard, plan.hoards),
            (Kind::Syncomatic, plan.syncomatics),
        ];
        let mut slots: Vec<Slot> = kinds
            .into_iter()
            .flat_map(|(kind, count)| (0..usize::from(count)).map(move |number| (kind, number)))
            .map(|(kind, number)| Slot::new(kind, number, &lives))
            .collect();
        for slot in &mut slots {
            slot.start(&world).await?;
        }
        for slot in &mut slots {
            slot.ready().await?;
        }
        Ok(Self {
            plan,
            wire: Wire::new(&world),
            stream: StreamReader::new(&world.aws.source.config),
            source: BucketReader::new(&world.aws.source.config, SOURCE_BUCKET),
            destination: BucketReader::new(&world.aws.destination.config, DESTINATION_BUCKET),
            world,
            slots,
            lives,
        })
    }

    /// Faults for so long, then quiet, then the ledger.
    async fn round(&mut self, round: u64, length: Duration, timeline: &Timeline) -> Result<Balance, Failure> {
        let books = senders::Books::default();
        let stop = watch::Sender::new(false);
        let mut sending = JoinSet::new();
        for role in self.roles(round)? {
            let doors = self.slots.iter().filter(|slot| slot.kind == Kind::Events);
            let doors = doors.map(|slot| slot.door.subscribe()).collect();
            sending.spawn(Sender::new(role, doors, Arc::clone(&books)).run(stop.subscribe()));
        }
        self.disturb(round, length, timeline).await?;
        self.wire.calm();
        stop.send_replace(true);
        while let Some(ended) = sending.join_next().await {
            ended.map_err(|error| Failure::NotMeasured(format!("a client failed: {error}")))??;
        }
        self.settle(&books).await
    }

    /// The clients: a third of them as devices, as apps and as the platform; half of them keep to an
    /// instance, the others go to any.
    fn roles(&self, round: u64) -> Result<Vec<Role>, Failure> {
        let names = [
            ("northwind-platform", Producer::Platform),
            ("halcyon-app", Producer::App),
            ("brightwave-watch", Producer::Device),
        ];
        let roles = (0..SENDERS).map(|number| {
            let (name, producer) = names[number % names.len()];
            let client = self.world.client(name)?;
            let instances = usize::from(self.plan.events);
            let keeps_to = (number % 2 == 0).then_some(number / 2 % instances);
            Ok(Role {
                seed: faults::chance(self.plan.seed, round, &format!("sender-{number}")).random(),
                producer,
                key: client.key.clone(),
                secret: client.secret.clone(),
                keeps_to,
                // Packed records can lie in a neighbour of their shard after a reshard.
                in_order: keeps_to.is_some_and(|instance| instance % 2 == 0),
                rate: self.plan.rate / f64::from(u32::try_from(SENDERS).unwrap_or(1)),
            })
        });
        roles.collect()
    }

    async fn disturb(&mut self, round: u64, length: Duration, timeline: &Timeline) -> Result<(), Failure> {
        let until = Instant::now() + length;
        let seed = self.plan.seed;
        let (world, wire) = (&self.world, &self.wire);
        wire.disturb();
        let slots = self.slots.iter_mut().map(|slot| async move {
            let mut rng = faults::chance(seed, round, &slot.name());
            slot.suffer((world, wire), &mut rng, timeline, until).await
        });
        let mut rngs =
            ["wire", "shards", "queue", "clock"].map(|purpose| faults::chance(seed, round, purpose));
        let [on_wire, on_shards, on_queue, on_clock] = &mut rngs;
        let on_programs = futures::future::try_join_all(slots);
        let on_aws = async {
            tokio::join!(
                wire.episodes(on_wire, timeline, until),
                Box::pin(wire::reshard(world, on_shards, timeline, until)),
                Box::pin(wire::shuffle(world, on_queue, timeline, until)),
                wire::jump(world, on_clock, timeline, until),
            );
            Ok(())
        };
        tokio::try_join!(on_programs, on_aws).map(|_| ())
    }

    /// Waits until all that was taken has arrived, or will not, and draws the balance.
    async fn settle(&mut self, books: &senders::Books) -> Result<Balance, Failure> {
        for slot in &mut self.slots {
            slot.ready().await?;
        }
        for slot in self.slots.iter_mut().filter(|slot| slot.kind == Kind::Events) {
            slot.spool_empty().await?;
        }
        let stream = self.stream.read_on().await?;
        let (mut source, mut destination) = (Vec::new(), Vec::new());
        let patience = Instant::now() + SETTLE;
        loop {
            source.extend(self.source.read_on().await?);
            destination.extend(self.destination.read_on().await?);
            let arrived = lines(&source) >= stream.len() && destination.len() >= source.len();
            if arrived || Instant::now() > patience {
                break;
            }
            sleep(LOOK).await;
        }
        let untold = self.wire.untold();
        let mut balance = {
            let (sent, lives) = (lock(books), lock(&self.lives));
            let (source, destination) = (all_lines(&source), all_lines(&destination));
            let books = ledger::Books {
                sent: &sent,
                lives: &lives,
                untold: &untold,
                stream: &stream,
                source: &source,
                destination: &destination,
            };
            books.balance()
        };
        balance.objects(&bytes(&source), &bytes(&destination));
        Ok(balance)
    }

    /// Ends the programs, which changes nothing any more, and has hoard's own check look at the archive.
    async fn end(mut self) -> Result<(), Failure> {
        for slot in &mut self.slots {
            slot.drain(&self.world).await?;
        }
        let late = self.source.read_on().await?.len() + self.destination.read_on().await?.len();
        if late > 0 {
            let problem = format!("{late} objects came after everything had arrived");
            return Err(Failure::NotMeasured(problem));
        }
        if let Some((first, last)) = self.source.days() {
            self.world.verify((&first, &last)).await?;
        }
        self.world.aws.stop().await;
        Ok(())
    }
}

fn lines(objects: &[Object]) -> usize {
    objects.iter().map(|object| object.lines.len()).sum()
}

fn all_lines(objects: &[Object]) -> Vec<Vec<u8>> {
    objects
        .iter()
        .flat_map(|object| object.lines.iter().cloned())
        .collect()
}

fn bytes(objects: &[Object]) -> BTreeMap<&str, &[u8]> {
    let bytes = objects
        .iter()
        .map(|object| (object.key.as_str(), object.bytes.as_slice()));
    bytes.collect()
}
