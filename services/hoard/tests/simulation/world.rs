//! Time, chance, and what lies between the replicas and AWS: calls that are slow, lost, repeated and
//! late; replicas that crash, pause and come back, with clocks of different speeds; shards that split
//! and merge. One seed is one course of events, on one thread.

use std::collections::{BTreeMap, HashSet};
use std::rc::Rc;
use std::time::Duration;

use hoard::heartbeat;
use hoard::layout::{Layout, LinesTo};
use hoard::period::Zone;
use hoard::sequence::ShardId;
use hoard::store::ETag;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::time::Instant;

use crate::broken::Protocol;
use crate::bucket::{Bucket, Condition, Content, Violation, sequence};
use crate::replica::{Act, INTERVAL, Part, Replica};
use crate::shard::{Action, ShardTask};
use crate::stream::Stream;

/// For so long everything goes wrong, in milliseconds.
const CHAOS: u64 = 2_000;
/// So long after that everything must be archived.
const PATIENCE: u64 = 30_000;
/// A client that has no answer by then asks again.
const TIMEOUT: u64 = 150;
const REPLICAS: usize = 3;

/// A call to AWS.
#[derive(Clone, Debug)]
pub(crate) enum Request {
    Get(String),
    Put(String, Content, Condition),
    List,
    Delete(String),
    /// Records strictly after one, and at most so many.
    Read(ShardId, u64, usize),
}

#[derive(Clone, Debug)]
pub(crate) enum Answer {
    Found(Option<(Content, ETag)>),
    /// The new version; none if the condition did not hold.
    Put(Option<ETag>),
    Listed(Vec<(String, ETag)>),
    Deleted,
    /// And whether the shard is closed and this was the last of it.
    Records(Vec<u64>, bool),
}

#[derive(Debug)]
enum Event {
    /// A call reaches AWS. A repeated one is answered to nobody.
    Arrives(usize, u64, Request, bool),
    Answered(usize, u64, Answer),
    /// The client has waited long enough.
    TimedOut(usize, u64),
    Beat(usize),
    Look(usize),
    Rested(usize, ShardId),
    Crash,
    Pause,
    Drain,
    Start,
    Append,
    Split,
    Merge,
}

/// What a course of events came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Course {
    pub(crate) calls: u64,
    pub(crate) records: u64,
    pub(crate) crashes: u64,
    pub(crate) pauses: u64,
    pub(crate) drains: u64,
    pub(crate) reshards: u64,
    pub(crate) claims: u64,
    /// Of everything that happened, in its order.
    pub(crate) hash: u64,
}

pub(crate) struct World {
    chance: StdRng,
    protocol: Protocol,
    layout: Rc<Layout>,
    start: Instant,
    now: u64,
    agenda: BTreeMap<(u64, u64), Event>,
    tickets: u64,
    bucket: Bucket,
    stream: Stream,
    replicas: Vec<Replica>,
    course: Course,
}

/// Runs the course of events of a seed to its end, or to the first violation.
pub(crate) fn run(seed: u64, protocol: Protocol) -> Result<Course, Violation> {
    let mut world = World {
        chance: StdRng::seed_from_u64(seed),
        protocol,
        layout: Rc::new(Layout {
            stream: "events".to_owned(),
            prefix: "raw/".parse().expect("a prefix"),
            error_prefix: "errors/".parse().expect("a prefix"),
            zone: Zone::utc(),
            record_partitions_max: 1,
            lines: LinesTo::Bucket,
        }),
        start: Instant::now(),
        now: 0,
        agenda: BTreeMap::new(),
        tickets: 0,
        bucket: Bucket::default(),
        stream: Stream::default(),
        replicas: Vec::new(),
        course: Course::default(),
    };
    world.prepare();
    world.go_on()?;
    Ok(world.course)
}

impl World {
    fn prepare(&mut self) {
        for _ in 0..self.chance.random_range(1..=3) {
            self.stream.open(Vec::new());
        }
        for _ in 0..REPLICAS {
            let at = self.chance.random_range(0..300);
            self.at(at, Event::Start);
        }
        for _ in 0..self.chance.random_range(8..16) {
            let at = self.chance.random_range(0..CHAOS);
            self.at(at, Event::Append);
        }
        for _ in 0..self.chance.random_range(1..6) {
            let at = self.chance.random_range(100..CHAOS);
            let what = self.chance.random_range(0..10);
            let event = match what {
                0..4 => Event::Crash,
                4..8 => Event::Pause,
                _ => Event::Drain,
            };
            self.at(at, event);
        }
        for _ in 0..self.chance.random_range(0..4) {
            let at = self.chance.random_range(0..CHAOS);
            let event = if self.chance.random_bool(0.6) {
                Event::Split
            } else {
                Event::Merge
            };
            self.at(at, event);
        }
    }

    fn go_on(&mut self) -> Result<(), Violation> {
        let mut checked_at = CHAOS;
        while let Some(((time, _), event)) = self.agenda.pop_first() {
            self.now = time;
            self.happens(event)?;
            if self.now > checked_at {
                checked_at = self.now + 100;
                let done = self.is_finished();
                if done.is_ok() {
                    return self.late_calls_arrive();
                }
                if self.now > CHAOS + PATIENCE {
                    return done;
                }
            }
        }
        self.is_finished()
    }

    /// Everything is archived; what is still under way must not change that.
    fn late_calls_arrive(&mut self) -> Result<(), Violation> {
        while let Some((_, event)) = self.agenda.pop_first() {
            if let Event::Arrives(_, _, request, _) = event {
                self.apply(&request)?;
            }
        }
        self.is_finished()
    }

    fn is_finished(&self) -> Result<(), Violation> {
        for shard in self.stream.list() {
            let records = self.stream.records(shard.id.as_str());
            if let Some(record) = records.iter().find(|record| self.bucket.home(**record).is_none()) {
                return Err(Violation::Unfinished { record: *record });
            }
            let state = self.bucket.state(&shard.id);
            let checkpoint = state.and_then(|state| state.checkpoint.clone());
            if let Some(record) = records.last()
                && checkpoint != Some(sequence(*record))
            {
                return Err(Violation::Unfinished { record: *record });
            }
            if shard.takes.is_none() && !state.is_some_and(|state| state.is_done()) {
                return Err(Violation::NotEnded {
                    shard: shard.id.to_string(),
                });
            }
        }
        Ok(())
    }

    fn is_calm(&self) -> bool {
        self.now > CHAOS
    }

    fn at(&mut self, time: u64, event: Event) {
        self.tickets += 1;
        self.agenda.insert((time, self.tickets), event);
    }

    fn after(&mut self, pause: u64, event: Event) {
        self.at(self.now + pause, event);
    }

    /// A time of the replica's own clock.
    fn clock(&self, replica: usize) -> Instant {
        let elapsed = Duration::from_millis(self.now).mul_f64(self.replicas[replica].speed);
        self.start + elapsed
    }

    fn note(&mut self, what: u64) {
        self.course.hash = (self.course.hash ^ what ^ self.now << 20).wrapping_mul(0x0100_0000_01b3);
    }

    fn happens(&mut self, event: Event) -> Result<(), Violation> {
        match event {
            Event::Arrives(replica, ticket, request, is_repeated) => {
                return self.arrives(replica, ticket, &request, is_repeated);
            }
            Event::Crash => self.crash(),
            Event::Pause => self.pause(),
            Event::Drain => self.drain(),
            Event::Start => self.start_replica(),
            Event::Append => self.append(),
            Event::Split => self.split(),
            Event::Merge => self.merge(),
            Event::Answered(replica, ..)
            | Event::TimedOut(replica, _)
            | Event::Beat(replica)
            | Event::Look(replica)
            | Event::Rested(replica, _) => {
                if !self.replicas[replica].is_running {
                    return Ok(());
                }
                let paused_until = self.replicas[replica].paused_until;
                if paused_until > self.now {
                    self.at(paused_until, event);
                    return Ok(());
                }
                return self.replica_happens(event);
            }
        }
        Ok(())
    }

    fn replica_happens(&mut self, event: Event) -> Result<(), Violation> {
        match event {
            Event::Answered(replica, ticket, answer) => {
                if let Some(part) = self.take_call(replica, ticket) {
                    self.note(ticket);
                    return self.answered(replica, part, answer);
                }
            }
            Event::TimedOut(replica, ticket) => {
                if let Some(part) = self.take_call(replica, ticket) {
                    return self.timed_out(replica, part);
                }
            }
            Event::Beat(replica) => {
                let interval = self.on_clock(replica, INTERVAL);
                self.after(interval, Event::Beat(replica));
                self.drop_calls(replica, |part| *part == Part::Heart);
                let request = self.replicas[replica].beat();
                self.send(replica, Part::Heart, request);
            }
            Event::Look(replica) => self.look(replica),
            Event::Rested(replica, shard) => {
                let is_old = self.chance.random_bool(0.3);
                if let Some(task) = self.replicas[replica].tasks.get_mut(&shard)
                    && task.is_resting()
                {
                    let action = task.wake(is_old);
                    return self.carry_out(replica, shard, action);
                }
            }
            _ => {}
        }
        Ok(())
    }

    // Calls

    fn send(&mut self, replica: usize, part: Part, request: Request) {
        self.tickets += 1;
        self.course.calls += 1;
        let ticket = self.tickets;
        self.replicas[replica].calls.push((part, ticket));
        let (is_lost, is_repeated, delay) = if self.is_calm() {
            (false, false, self.chance.random_range(1..5))
        } else {
            let delay = match self.chance.random_range(0..100) {
                0..3 => self.chance.random_range(300..3000),
                3..10 => self.chance.random_range(50..300),
                _ => self.chance.random_range(1..20),
            };
            (
                self.chance.random_bool(0.04),
                self.chance.random_bool(0.04),
                delay,
            )
        };
        if is_repeated {
            let later = delay + self.chance.random_range(1..3000);
            self.after(later, Event::Arrives(replica, ticket, request.clone(), true));
        }
        if !is_lost {
            self.after(delay, Event::Arrives(replica, ticket, request, false));
        }
        self.after(TIMEOUT, Event::TimedOut(replica, ticket));
    }

    fn arrives(
        &mut self,
        replica: usize,
        ticket: u64,
        request: &Request,
        is_repeated: bool,
    ) -> Result<(), Violation> {
        self.note(ticket << 1 | u64::from(is_repeated));
        let answer = self.apply(request)?;
        let is_lost = !self.is_calm() && self.chance.random_bool(0.04);
        if !is_lost && !is_repeated {
            let delay = if self.is_calm() {
                1
            } else {
                self.chance.random_range(1..20)
            };
            self.after(delay, Event::Answered(replica, ticket, answer));
        }
        Ok(())
    }

    fn apply(&mut self, request: &Request) -> Result<Answer, Violation> {
        Ok(match request {
            Request::Get(key) => Answer::Found(self.bucket.get(key)),
            Request::List => Answer::Listed(self.bucket.list()),
            Request::Delete(key) => {
                self.bucket.delete(key);
                Answer::Deleted
            }
            Request::Put(key, content, condition) => {
                Answer::Put(self.bucket.put(&self.stream, key, content.clone(), condition)?)
            }
            Request::Read(shard, after, limit) => {
                let (records, is_end) = self.stream.read(shard.as_str(), *after, *limit);
                Answer::Records(records, is_end)
            }
        })
    }

    /// The part that waits for this call; none if it has given up.
    fn take_call(&mut self, replica: usize, ticket: u64) -> Option<Part> {
        let calls = &mut self.replicas[replica].calls;
        let place = calls.iter().position(|(_, waiting)| *waiting == ticket)?;
        Some(calls.swap_remove(place).0)
    }

    fn drop_calls(&mut self, replica: usize, is_dropped: impl Fn(&Part) -> bool) {
        self.replicas[replica].calls.retain(|(part, _)| !is_dropped(part));
    }

    fn answered(&mut self, replica: usize, part: Part, answer: Answer) -> Result<(), Violation> {
        match (part, answer) {
            (Part::Heart, answer) => {
                if let Some(request) = self.replicas[replica].beaten(answer) {
                    self.send(replica, Part::Heart, request);
                }
                // Nothing is claimed before others can see who claims it.
                if !self.replicas[replica].has_begun && self.replicas[replica].has_shown_up() {
                    self.replicas[replica].has_begun = true;
                    self.after(0, Event::Look(replica));
                }
            }
            (Part::Listing, Answer::Listed(names)) => {
                let now = self.clock(replica);
                let to_read = self.replicas[replica].listed(now, names);
                for (part, request) in to_read {
                    self.send(replica, part, request);
                }
                return self.looked(replica);
            }
            (Part::Meeting(other), Answer::Found(found)) => {
                if let Some((Content::Heartbeat(heartbeat), _)) = found {
                    self.replicas[replica].sight.met(&other, &heartbeat);
                }
                return self.looked(replica);
            }
            (Part::Reading(shard), Answer::Found(found)) => {
                let found = found.and_then(|(content, etag)| match content {
                    Content::State(state) => Some((*state, etag)),
                    _ => None,
                });
                self.replicas[replica].sight.saw(shard, found);
                return self.looked(replica);
            }
            (Part::Shard(shard), answer) => {
                if let Some(task) = self.replicas[replica].tasks.get_mut(&shard) {
                    let action = task.answered(answer);
                    return self.carry_out(replica, shard, action);
                }
            }
            (_, _) => {}
        }
        Ok(())
    }

    fn timed_out(&mut self, replica: usize, part: Part) -> Result<(), Violation> {
        match part {
            // The next beat or look makes up for it.
            Part::Heart | Part::Farewell => {}
            Part::Listing | Part::Meeting(_) | Part::Reading(_) => {
                self.drop_calls(replica, |part| {
                    matches!(part, Part::Listing | Part::Meeting(_) | Part::Reading(_))
                });
            }
            Part::Shard(shard) => {
                if let Some(task) = self.replicas[replica].tasks.get_mut(&shard) {
                    let action = task.again();
                    return self.carry_out(replica, shard, action);
                }
            }
        }
        Ok(())
    }

    // A replica

    fn on_clock(&self, replica: usize, pause: Duration) -> u64 {
        let real = pause.div_f64(self.replicas[replica].speed);
        u64::try_from(real.as_millis()).expect("short").max(1)
    }

    fn look(&mut self, replica: usize) {
        let pause = if self.replicas[replica].is_awaiting {
            INTERVAL / 4
        } else {
            INTERVAL
        };
        let pause = self.on_clock(replica, pause);
        self.after(pause, Event::Look(replica));
        let me = &self.replicas[replica];
        if me.is_looking() || me.is_leaving || !me.has_shown_up() {
            return;
        }
        self.replicas[replica].asked = self.clock(replica);
        self.send(replica, Part::Listing, Request::List);
    }

    /// A look is complete when nothing of it is under way.
    fn looked(&mut self, replica: usize) -> Result<(), Violation> {
        if self.replicas[replica].is_looking() || self.replicas[replica].is_leaving {
            return Ok(());
        }
        if self.replicas[replica].is_list_outdated() || self.chance.random_bool(0.2) {
            self.replicas[replica].listed = self.stream.list();
        }
        self.tidy(replica);
        for act in self.replicas[replica].decide(self.protocol) {
            match act {
                Act::HandOver(shard) => {
                    if let Some(task) = self.replicas[replica].tasks.get_mut(&shard) {
                        task.is_stopping = true;
                    }
                }
                Act::Take(shard) => {
                    self.course.claims += 1;
                    let found = self.replicas[replica].sight.found(&shard);
                    let mut task = self.task(replica, &shard);
                    let action = task.take(found);
                    self.replicas[replica].tasks.insert(shard.clone(), task);
                    self.carry_out(replica, shard, action)?;
                }
                Act::Release(shard) => {
                    if let Some((state, etag)) = self.replicas[replica].sight.found(&shard) {
                        let mut task = self.task(replica, &shard);
                        let action = task.release(state, etag);
                        self.replicas[replica].tasks.insert(shard.clone(), task);
                        self.carry_out(replica, shard, action)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// The first of the replicas clears away what the dead have left.
    fn tidy(&mut self, replica: usize) {
        let me = &self.replicas[replica];
        if me.sight.replicas().takers().first() == Some(&me.id) && self.chance.random_bool(0.3) {
            for name in me.sight.left_by_the_dead() {
                self.send(replica, Part::Farewell, Request::Delete(name));
            }
        }
    }

    fn task(&mut self, replica: usize, shard: &ShardId) -> ShardTask {
        self.tickets += 1;
        let cut_at = self.chance.random_range(1..12);
        ShardTask::new(
            &self.replicas[replica].id,
            shard,
            &self.layout,
            self.protocol,
            self.tickets,
            cut_at,
        )
    }

    fn carry_out(&mut self, replica: usize, shard: ShardId, action: Action) -> Result<(), Violation> {
        match action {
            Action::Send(request) => self.send(replica, Part::Shard(shard), request),
            Action::Sleep => {
                let pause = self.chance.random_range(5..60);
                self.after(pause, Event::Rested(replica, shard));
            }
            Action::Finished => {
                self.replicas[replica].tasks.remove(&shard);
                self.drop_calls(replica, |part| *part == Part::Shard(shard.clone()));
                self.is_empty(replica);
            }
            Action::Stuck => {
                return Err(Violation::Stuck {
                    shard: shard.to_string(),
                });
            }
        }
        Ok(())
    }

    /// One that is leaving goes when it has handed over everything.
    fn is_empty(&mut self, replica: usize) {
        let me = &self.replicas[replica];
        if !me.is_leaving || !me.tasks.is_empty() {
            return;
        }
        for name in [heartbeat::name(&me.id), heartbeat::leaving_name(&me.id)] {
            self.send(replica, Part::Farewell, Request::Delete(name));
        }
        self.replicas[replica].is_running = false;
        self.after(100, Event::Start);
    }

    // Chance

    fn any_running(&mut self) -> Option<usize> {
        let is_running = |place: &usize| self.replicas[*place].is_running;
        let running: Vec<usize> = (0..self.replicas.len()).filter(is_running).collect();
        (!running.is_empty()).then(|| running[self.chance.random_range(0..running.len())])
    }

    fn crash(&mut self) {
        if let Some(replica) = self.any_running() {
            self.course.crashes += 1;
            self.replicas[replica].is_running = false;
            self.replicas[replica].tasks.clear();
            let pause = self.chance.random_range(1..600);
            self.after(pause, Event::Start);
        }
    }

    /// Long enough to be taken for dead, or not.
    fn pause(&mut self) {
        if let Some(replica) = self.any_running() {
            self.course.pauses += 1;
            let until = self.now + self.chance.random_range(50..1500);
            self.replicas[replica].paused_until = until;
        }
    }

    fn drain(&mut self) {
        if let Some(replica) = self.any_running() {
            self.course.drains += 1;
            self.replicas[replica].is_leaving = true;
            for task in self.replicas[replica].tasks.values_mut() {
                task.is_stopping = true;
            }
            let mark = Request::Put(
                heartbeat::leaving_name(&self.replicas[replica].id),
                Content::Mark,
                Condition::Absent,
            );
            self.send(replica, Part::Farewell, mark);
            self.is_empty(replica);
        }
    }

    fn start_replica(&mut self) {
        let place = self.replicas.len();
        let speed = self.chance.random_range(0.7..1.4);
        let mut replica = Replica::new(place, speed, self.start);
        replica.listed = self.stream.list();
        self.replicas.push(replica);
        self.after(0, Event::Beat(place));
    }

    fn append(&mut self) {
        let open = self.stream.open_places();
        let place = open[self.chance.random_range(0..open.len())];
        let count = self.chance.random_range(1..10);
        self.stream.append(place, count);
        self.course.records += count;
    }

    fn split(&mut self) {
        let open = self.stream.open_places();
        let place = open[self.chance.random_range(0..open.len())];
        let parent = self.stream.close(place);
        self.stream.open(vec![parent.clone()]);
        self.stream.open(vec![parent]);
        self.course.reshards += 1;
    }

    fn merge(&mut self) {
        let open = self.stream.open_places();
        let pair: HashSet<usize> = (0..2)
            .map(|_| open[self.chance.random_range(0..open.len())])
            .collect();
        if pair.len() == 2 {
            let mut places: Vec<usize> = pair.into_iter().collect();
            places.sort_unstable();
            let parents = places.into_iter().map(|place| self.stream.close(place)).collect();
            self.stream.open(parents);
            self.course.reshards += 1;
        }
    }
}
